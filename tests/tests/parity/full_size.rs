//! U-Nets of full size with random weights: all executors agree. Not run unless asked for, since the files have gigabytes:
//!
//! ```text
//! diptych models synthesize sd15 FOLDER/sd15.safetensors
//! DIPTYCH_FULL_SIZE=FOLDER cargo test --release --workspace --test parity full_size -- --ignored --nocapture
//! ```

use std::path::Path;

use diptych_inference::cpu::{CpuExecutor, CpuMode};
use diptych_inference::formats::diffusion_model::open_diffusion_model;
use diptych_inference::gpu::{AdapterChoice, GpuExecutor, LimitPolicy};
use diptych_inference::graph::HostTensor;
use diptych_inference::models::UNet;
use diptych_inference::models::unet::UNetConfig;

use crate::common::{Subject, TOLERANCE};

/// Latent pixels a side: what a picture of 128 pixels has.
const SIDE: usize = 16;

/// Values about as spread as latents and embeddings are, the same in every run.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..count)
        .map(|_| (0..6).map(|_| uniform()).sum::<f32>() - 3.0)
        .collect()
}

fn agree(path: &Path) {
    let model = open_diffusion_model(path).unwrap();
    let config = UNetConfig::from_json(&model.unet.config_path, &model.unet.config).unwrap();
    let (channels, width) = (config.in_channels, config.cross_attention_dim);
    let added = config.added;
    let unet = UNet::new(config, model.unet.weights).unwrap();
    let tensor = |shape: &[usize], seed| {
        HostTensor::f32(shape.to_vec(), values(shape.iter().product(), seed))
    };
    let mut inputs = vec![
        ("sample", tensor(&[1, channels, SIDE, SIDE], 1)),
        ("time", unet.time_features(&[640.0])),
        ("context", tensor(&[1, 77, width], 2)),
    ];
    if let Some(added) = added {
        inputs.push(("added", tensor(&[1, added.width], 3)));
    }
    let graph = || unet.graph(1, SIDE, SIDE, 77).unwrap();
    // One after the other: each holds all weights while it runs.
    let run = |mut subject: Subject| subject.run(graph(), &inputs, &[]).remove(0);
    let cpu = |name, mode| Subject::new(name, Box::new(CpuExecutor::new(mode)));
    let oracle = run(cpu("cpu-oracle", CpuMode::Oracle));
    // Software Vulkan tells of less memory than there is.
    let gpu = GpuExecutor::open(AdapterChoice::Any, LimitPolicy::Adapter, Some(12 << 30));
    let gpu = gpu.expect("this test needs a Vulkan adapter");
    let others = [
        cpu("cpu-fast", CpuMode::Fast),
        Subject::new("gpu", Box::new(gpu)),
    ];
    for mut subject in others {
        let got = subject.run(graph(), &inputs, &[]).remove(0);
        subject.compare("output", &got, &oracle, TOLERANCE);
        let scale = oracle.as_f32().iter().fold(0f32, |m, v| m.max(v.abs()));
        let pairs = got.as_f32().iter().zip(oracle.as_f32());
        let worst = pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        println!(
            "parity {} {:<10} worst {:.2e}",
            path.display(),
            subject.name,
            worst / scale
        );
    }
}

#[test]
#[ignore = "reads files of gigabytes"]
fn full_size_unets_agree_between_executors() {
    let folder = std::env::var("DIPTYCH_FULL_SIZE").expect("DIPTYCH_FULL_SIZE names a folder");
    let mut tried = 0;
    for name in ["sd15.safetensors", "sdxl.safetensors"] {
        let path = Path::new(&folder).join(name);
        if path.is_file() {
            agree(&path);
            tried += 1;
        }
    }
    assert!(
        tried > 0,
        "{folder} holds neither sd15.safetensors nor sdxl.safetensors"
    );
}
