//! Whole models whose ops run as one where they can: the results are those of each op by itself, and less is done for them.
//!
//! How much less, for models of full size, tells
//!
//! ```text
//! diptych models synthesize sd15 FOLDER/sd15.safetensors
//! diptych models synthesize qwen3-0.6b FOLDER/qwen3.gguf
//! DIPTYCH_FULL_SIZE=FOLDER cargo test --release --workspace --test parity fused -- --ignored --nocapture
//! ```

use std::path::Path;
use std::sync::Arc;

use diptych_inference::diffusion::NoiseSource;
use diptych_inference::formats::detect::probe;
use diptych_inference::gpu::{GpuExecutor, LimitPolicy, Outline};
use diptych_inference::graph::{Executor, Graph, HostTensor, NeverInterrupt, Op, Run};
use diptych_inference::models::llama::LlamaShape;
use diptych_inference::pipelines::{ChatModel, ImageModel};

use crate::common::{gpu, relative_error};

/// Largest difference between both ways, relative to the largest value: they add in the same order, apart from norms of small groups.
const BOUND: f32 = 1e-4;

fn assets() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../assets"))
}

fn picture(path: &Path) -> ImageModel {
    ImageModel::load(path, &probe(path).unwrap(), assets(), String::new()).unwrap()
}

fn chat(path: &Path) -> ChatModel {
    ChatModel::load(path, &probe(path).unwrap()).unwrap()
}

/// One token of a chat, with room for so many pages.
fn token(model: &ChatModel, rows: usize, pages: usize) -> Graph {
    let shape = LlamaShape {
        rows,
        outputs: 1,
        sequences: 1,
        pages_per_sequence: pages,
        pages,
    };
    model.llama().graph(&shape).unwrap()
}

fn outlines(graph: &Graph) -> [Outline; 2] {
    [true, false].map(|fuse| {
        let executor = gpu(LimitPolicy::Adapter).with_fusion(fuse);
        executor.outline(graph).unwrap()
    })
}

/// Runs a picture model's graph both ways.
fn agree(what: &str, graph: Graph, inputs: &[(&str, HostTensor)], least: f64) {
    let [fused, apart] = outlines(&graph);
    let share = fused.dispatches as f64 / apart.dispatches as f64;
    println!(
        "{what}: {} dispatches, {} apart",
        fused.dispatches, apart.dispatches
    );
    assert!(share <= least, "{what}: {share:.2} of the dispatches");
    assert!(fused.moved < apart.moved);
    let graph = Arc::new(graph);
    let results = [true, false].map(|fuse| {
        let mut executor: GpuExecutor = gpu(LimitPolicy::Adapter).with_fusion(fuse);
        let plan = executor.prepare(Arc::clone(&graph)).unwrap();
        let states: Vec<_> = graph
            .states
            .iter()
            .map(|shape| executor.create_kv(*shape).unwrap())
            .collect();
        let run = Run {
            inputs,
            states: &states,
            interrupt: &mut NeverInterrupt,
        };
        executor.run(plan, run).unwrap().remove(0)
    });
    let error = relative_error(results[0].as_f32(), results[1].as_f32());
    println!("{what}: relative difference {error:.1e}");
    assert!(error <= BOUND, "{what}: {error:e}");
}

fn noise(graph: &Graph) -> Vec<(&'static str, HostTensor)> {
    graph
        .nodes
        .iter()
        .filter_map(|node| match &node.op {
            Op::Input { name } => {
                let known = ["sample", "time", "context", "latent"];
                let name = known.into_iter().find(|known| known == name)?;
                let values = NoiseSource::Philox.draw(7, node.elements());
                Some((name, HostTensor::f32(node.shape.clone(), values)))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn the_built_in_models_are_the_same() {
    let model = picture(&assets().join("models/sketch"));
    let context = model.text_encoder().config().max_positions;
    let [h, w] = model.unet().config().sample_size.unwrap_or([16, 16]);
    let graph = model.unet().graph(2, h, w, context).unwrap();
    let inputs = noise(&graph);
    agree("sketch, a step", graph, &inputs, 0.75);
    let graph = model.vae().decode_graph(h, w).unwrap();
    let inputs = noise(&graph);
    agree("sketch, decoding", graph, &inputs, 0.9);

    let model = chat(&assets().join("models/muse/muse.gguf"));
    for rows in [1, 32] {
        let graph = token(&model, rows, 4);
        let count = |n: usize| -> Vec<u32> { (0..n as u32).collect() };
        let inputs: Vec<(&str, HostTensor)> = graph
            .inputs()
            .map(|(name, _, node)| {
                let numbers = match name {
                    "sequences" => vec![0; node.elements()],
                    "outputs" | "output_rows" => vec![rows as u32 - 1],
                    _ => count(node.elements()),
                };
                (name, HostTensor::u32(node.shape.clone(), numbers))
            })
            .collect();
        agree(&format!("muse, {rows} rows"), graph.clone(), &inputs, 0.9);
    }
}

#[test]
#[ignore = "wants models of full size: see above"]
fn how_much_less_is_done() {
    let folder = std::env::var_os("DIPTYCH_FULL_SIZE").expect("DIPTYCH_FULL_SIZE names a folder");
    let folder = Path::new(&folder);
    let mut graphs = Vec::new();
    let pictures = folder.join("sd15.safetensors");
    if pictures.exists() {
        let model = picture(&pictures);
        graphs.push((
            "sd15, a step at 512x512",
            model.unet().graph(2, 64, 64, 77).unwrap(),
        ));
        graphs.push((
            "sd15, decoding 512x512",
            model.vae().decode_graph(64, 64).unwrap(),
        ));
    }
    let words = folder.join("qwen3.gguf");
    if words.exists() {
        let model = chat(&words);
        graphs.push(("qwen3-0.6b, a token", token(&model, 1, 8)));
        graphs.push(("qwen3-0.6b, 128 tokens", token(&model, 128, 8)));
    }
    assert!(!graphs.is_empty(), "no model there");
    for (name, graph) in graphs {
        let [fused, apart] = outlines(&graph);
        for (way, outline) in [("as one", &fused), ("apart", &apart)] {
            println!(
                "{name} {way}: {} dispatches, {} MiB moved, {} MiB of arenas",
                outline.dispatches,
                outline.moved >> 20,
                outline.arenas >> 20
            );
            println!("    {:?}", outline.kernels);
        }
    }
}
