//! What a step allocates: once a plan has run a few times, the executor on a GPU asks the system for no memory but for the results that it gives away.
//! wgpu allocates for itself, and is counted apart.

// A failing test says why by its panic; an allocator that counts has to be one.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use diptych_inference::formats::StorageDtype;
use diptych_inference::formats::detect::probe;
use diptych_inference::gpu::{AdapterChoice, GpuExecutor, LimitPolicy};
use diptych_inference::graph::candidates::EXTRAS;
use diptych_inference::graph::draw::{DRAW_WORDS, DrawSettings};
use diptych_inference::graph::{
    Answer, DeviceVectors, Executor, Fed, HostData, HostTensor, NO_SLOT, NeverInterrupt, Next,
    Piece, PlanId, Run, StateId, Sums,
};
use diptych_inference::models::llama::LlamaShape;
use diptych_inference::pipelines::{ChatModel, ImageModel};
use diptych_inference::synthesize::{self, Kind, synthesize};

/// The system's allocator, which notes where it was called from while the thread asks for that.
struct Watched;

thread_local! {
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    static CALLS: RefCell<Vec<Backtrace>> = const { RefCell::new(Vec::new()) };
}

fn note() {
    // What noting allocates is not noted.
    if WATCHING.replace(false) {
        let call = Backtrace::force_capture();
        CALLS.with_borrow_mut(|calls| calls.push(call));
        WATCHING.set(true);
    }
}

// SAFETY: everything is done by the system's allocator.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as promised by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: as promised by the caller.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// The allocations of `work` on this thread.
fn watch<T>(work: impl FnOnce() -> T) -> (T, Vec<Backtrace>) {
    WATCHING.set(true);
    let made = work();
    WATCHING.set(false);
    (made, CALLS.take())
}

/// Crates that allocate on behalf of whoever calls them.
const CONTAINERS: [&str; 16] = [
    "alloc",
    "allocations",
    "arrayvec",
    "bit_vec",
    "core",
    "crossbeam_channel",
    "crossbeam_utils",
    "hashbrown",
    "indexmap",
    "once_cell",
    "parking_lot",
    "parking_lot_core",
    "smallvec",
    "std",
    "unknown",
    "rustc_hash",
];

/// The innermost function of a call that is no container's, and its crate.
fn caller(call: &Backtrace) -> (String, String) {
    let text = call.to_string();
    let functions = text.lines().filter_map(|line| {
        let (number, function) = line.trim().split_once(": ")?;
        number.parse::<usize>().ok().map(|_| function)
    });
    for function in functions {
        let name = function.trim_start_matches(['<', '&', '*', '(', '[']);
        let name = name.trim_start_matches("mut ").trim_start_matches("dyn ");
        let end = name.find(|c: char| !c.is_alphanumeric() && c != '_');
        let of = &name[..end.unwrap_or(name.len())];
        if !of.starts_with("__") && !CONTAINERS.contains(&of) {
            return (of.to_owned(), function.to_owned());
        }
    }
    ("nobody".into(), text)
}

/// What one more token of a sequence takes; where the device draws the next, the likeliest.
fn inputs(token: u32, place: u32, pages: usize, draws: bool) -> Vec<(&'static str, HostTensor)> {
    let words = DrawSettings::BEST.words().to_vec();
    let draw = draws.then(|| ("draw", HostTensor::f32([1, DRAW_WORDS], words)));
    let mut inputs = vec![
        ("ids", HostTensor::u32([1], vec![token])),
        ("positions", HostTensor::u32([1], vec![place])),
        ("write_slots", HostTensor::u32([1], vec![place])),
        ("sequences", HostTensor::u32([1], vec![0])),
        (
            "block_tables",
            HostTensor::u32([1, pages], (0..pages as u32).collect()),
        ),
        ("output_rows", HostTensor::u32([1], vec![0])),
        (
            "extras",
            HostTensor::u32([1, EXTRAS], vec![NO_SLOT; EXTRAS]),
        ),
        ("inverse_temperatures", HostTensor::f32([1], vec![1.0])),
    ];
    inputs.extend(draw);
    inputs
}

/// A plan that writes a token, and the cache that it writes to; it may draw the next one, too.
fn plan_of_a_token(
    gpu: &mut GpuExecutor,
    path: &Path,
    (pages, draws): (usize, bool),
) -> (PlanId, StateId) {
    let model = ChatModel::load(path, &probe(path).unwrap()).unwrap();
    let shape = LlamaShape {
        rows: 1,
        outputs: 1,
        sequences: 1,
        pages_per_sequence: pages,
        pages,
    };
    let graph = Arc::new(model.choosing_graph(&shape, draws).unwrap());
    let plan = gpu.prepare(graph).unwrap();
    let state = gpu.create_kv(model.llama().kv_shape(pages)).unwrap();
    (plan, state)
}

fn make_tiny(folder: &Path) -> PathBuf {
    let path = folder.join("tiny.gguf");
    let options = synthesize::Options {
        kind: Kind::QwenTiny,
        quant: StorageDtype::Q8_0,
        seed: 5,
    };
    synthesize(&path, options, &mut |_, _| true).unwrap();
    path
}

/// What encoding a token takes, again and again, for a profiler to look at: of the model of `DIPTYCH_CHAT_MODEL`, else of a tiny one.
#[test]
#[ignore = "tells times, of which nothing is asserted"]
fn what_encoding_takes() {
    let folder = tempfile::tempdir().unwrap();
    let given = std::env::var_os("DIPTYCH_CHAT_MODEL").map(PathBuf::from);
    let path = given.unwrap_or_else(|| make_tiny(folder.path()));
    let mut gpu = GpuExecutor::open(AdapterChoice::Any, LimitPolicy::Adapter, None).unwrap();
    let (plan, state) = plan_of_a_token(&mut gpu, &path, (4, false));
    for place in 0..3 {
        let run = Run {
            inputs: &inputs(place, place, 4, false),
            states: &[state],
            interrupt: &mut NeverInterrupt,
        };
        gpu.run(plan, run).unwrap();
    }
    let mut times: Vec<f64> = (0..2000)
        .map(|_| {
            let told = gpu.encode_idle(plan, &[state]).unwrap().unwrap();
            1e6 * told.seconds / told.dispatches as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!(
        "encoding a dispatch: {:.2} us at best, {:.2} in the median, {:.2} at worst of {}",
        times[0],
        times[times.len() / 2],
        times[times.len() - 1],
        times.len()
    );
}

#[test]
fn a_token_allocates_nothing_of_ours_but_its_results() {
    for draws in [false, true] {
        tokens_allocate_nothing(draws);
    }
}

/// Tokens one after the other; where the device draws them, each is begun before the one before is read.
fn tokens_allocate_nothing(draws: bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = make_tiny(folder.path());
    let pages = 2;
    let mut gpu =
        GpuExecutor::open(AdapterChoice::Any, LimitPolicy::Adapter, Some(1 << 29)).unwrap();
    let (plan, state) = plan_of_a_token(&mut gpu, &path, (pages, draws));
    let mut theirs = 0;
    let mut ours: BTreeMap<String, usize> = BTreeMap::new();
    let (warm, watched) = (12, 32);
    let mut token = 7;
    for place in 0..warm + watched {
        let given = inputs(token, place, pages, draws);
        let mut coming = inputs(0, place + 1, pages, draws);
        coming.retain(|(name, _)| *name != "ids");
        let next = Next {
            inputs: &coming,
            input: "ids",
            output: "drawn",
        };
        let run = Run {
            inputs: &given,
            states: &[state],
            interrupt: &mut NeverInterrupt,
        };
        let once = || match draws {
            true => gpu.run_then(plan, run, &next),
            false => gpu.run(plan, run),
        };
        let (results, calls) = match place < warm {
            true => (once(), Vec::new()),
            false => watch(once),
        };
        let results = results.unwrap();
        assert_eq!(results.len(), 1 + usize::from(draws));
        token = match results.get(1).map(|drawn| &drawn.data) {
            Some(HostData::U32(drawn)) => drawn[0],
            _ => place % 50,
        };
        for call in &calls {
            let (of, function) = caller(call);
            match of.as_str() {
                "diptych_inference" if function.contains("read_results") => {}
                // wgpu keeps what it is to call in a box, which is made where it is asked.
                "diptych_inference" if function.contains("ask_for_results") => theirs += 1,
                // The same where a run is measured, which on a loaded machine may be any.
                "diptych_inference" if function.contains("ask_for_times") => theirs += 1,
                "diptych_inference" => *ours.entry(function).or_default() += 1,
                _ => theirs += 1,
            }
        }
    }
    let told = gpu.host_time().unwrap();
    let dispatches = told.dispatches / u64::from(warm + watched);
    println!(
        "{watched} tokens of {dispatches} dispatches, {} taken up: {theirs} allocations of wgpu's, {} a dispatch",
        told.taken_up,
        theirs as f64 / f64::from(watched) / dispatches as f64
    );
    assert_eq!(told.taken_up > u64::from(watched / 2), draws);
    // That something is counted at all is told by wgpu, which cannot do without.
    assert!(theirs > watched as usize);
    assert!(ours.is_empty(), "{ours:#?}");
}

/// The first time whatever a step needs is made is none of the steps that are watched. The order is that in which the engine tells them: the device is told
/// the next one before what the one before led to is taken.
#[test]
fn a_step_of_a_picture_allocates_nothing_of_ours_but_what_is_seen() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets");
    let path = assets.join("models/sketch");
    let info = probe(&path).unwrap();
    let model = ImageModel::load(&path, &info, &assets, String::new()).unwrap();
    let mut gpu =
        GpuExecutor::open(AdapterChoice::Any, LimitPolicy::Adapter, Some(1 << 29)).unwrap();
    let (rows, side) = (2, 8);
    let length = model.tokenizer().max_length();
    let graph = Arc::new(model.unet().graph(rows, side, side, length).unwrap());
    let plan = gpu.prepare(Arc::clone(&graph)).unwrap();
    let elements = model.latent_channels() * side * side;
    let set = gpu.create_vectors(6, elements, 1).unwrap();
    // Latents, what the network is asked, and after a place for what is seen the rows of its answer.
    let (latents, question, denoised, answer) = (0, 1, 2, 3);
    let noise: Vec<f32> = (0..elements).map(|i| (i as f32).sin()).collect();
    gpu.write_vectors(set, latents * elements, &noise).unwrap();
    let pieces: Vec<Piece> = (0..rows)
        .map(|row| Piece {
            from: question * elements,
            to: row * elements,
            len: elements,
        })
        .collect();
    let fed = Fed {
        set,
        input: "sample",
        pieces: &pieces,
        into: answer * elements,
    };
    let weights = [-3.0, 4.0];
    let scaled = Sums {
        reads: &[latents],
        writes: &[question],
        factors: &[[0.9, 0.0, 0.0]],
        mask: None,
        answer: None,
    };
    let mut ours: BTreeMap<String, usize> = BTreeMap::new();
    let (mut theirs, mut seen) = (0, 0);
    let (warm, watched) = (6, 24);
    for step in 0..warm + watched {
        let inputs: Vec<(&str, HostTensor)> = graph
            .inputs()
            .filter(|(name, ..)| *name != "sample")
            .map(|(name, id, _)| {
                let node = graph.node(id);
                let values = (0..node.elements()).map(|i| ((i as u32 + step) as f32).cos());
                (name, HostTensor::f32(node.shape.clone(), values.collect()))
            })
            .collect();
        let updated = Sums {
            reads: &[latents],
            writes: &[latents, denoised],
            factors: &[
                [0.9, 0.0, 0.0],
                [-0.1, 0.0, 0.0],
                [1.0, 0.0, 0.0],
                [-0.5, 0.0, 0.0],
            ],
            mask: None,
            answer: Some(Answer {
                first: answer,
                weights: &weights,
                rescale: None,
                number: step,
            }),
        };
        let looks = step % 3 == 0;
        let looked_at: &[usize] = if looks { &[denoised] } else { &[] };
        let mut interrupts = [NeverInterrupt; 2];
        let [first, second] = &mut interrupts;
        let mut once = || {
            gpu.sum(set, &scaled)?;
            let begun = Run {
                inputs: &inputs,
                states: &[],
                interrupt: first,
            };
            gpu.begin_fed(plan, begun, &fed)?;
            // What the step before was asked for.
            let looked = if step > 0 {
                Some(gpu.looked(set)?)
            } else {
                None
            };
            let run = Run {
                inputs: &inputs,
                states: &[],
                interrupt: second,
            };
            gpu.run_fed(plan, run, &fed)?;
            gpu.sum(set, &updated)?;
            gpu.look(set, looked_at)?;
            Ok::<_, diptych_inference::graph::ExecError>(looked)
        };
        if step < warm {
            once().unwrap();
            continue;
        }
        let (looked, calls) = watch(once);
        let looked = looked.unwrap().unwrap();
        let sees = !looked.vectors.is_empty();
        assert_eq!(sees, (step - 1) % 3 == 0);
        assert_eq!(looked.fault, None);
        seen += usize::from(sees);
        for call in &calls {
            let (of, function) = caller(call);
            match of.as_str() {
                "diptych_inference" if sees && function.contains("looked") => {}
                // As above.
                "diptych_inference" if looks && function.contains("News::ask") => theirs += 1,
                "diptych_inference" if function.contains("ask_for_times") => theirs += 1,
                "diptych_inference" => *ours.entry(function).or_default() += 1,
                _ => theirs += 1,
            }
        }
    }
    println!("{watched} steps, {seen} of them seen: {theirs} allocations of wgpu's");
    assert!(theirs > watched as usize && seen > 0);
    assert!(ours.is_empty(), "{ours:#?}");
}
