//! Distilled autoencoders (TAESD) out of the files that people have, in place of a model's own.

use std::collections::BTreeMap;
use std::path::Path;

use diptych_inference::cpu::{CpuExecutor, CpuMode};
use diptych_inference::engine::{Command, DeviceChoice, Event, ImageRequest, Outcome, Request};
use diptych_inference::formats::TensorData;
use diptych_inference::formats::diffusion_model::open_autoencoder;
use diptych_inference::formats::safetensors::{read_safetensors, write_tensors};
use diptych_inference::graph::{Executor, HostTensor, NeverInterrupt, Run};
use diptych_inference::models::AutoencoderTiny;
use diptych_inference::models::autoencoder_tiny::AutoencoderTinyConfig;
use diptych_tests::{Client, fixture};
use serde_json::json;

use super::worst;

/// The fixture's autoencoder without its last level, which makes a quarter of it as the tiny models need; by the original's names where they are asked for.
fn write(to: &Path, original: bool) {
    let known = fixture("models/vae-tiny/diffusion_pytorch_model.safetensors");
    let known = read_safetensors(&known).unwrap();
    let mut tensors: Vec<TensorData> = Vec::new();
    for (name, tensor) in known.tensors.iter() {
        let parts: Vec<&str> = name.splitn(4, '.').collect();
        let number: usize = parts[2].parse().unwrap();
        let (half, end) = (parts[0], parts[3]);
        let number = match (half, number) {
            ("decoder", 0..9) | ("encoder", 0..7) => number,
            ("decoder", 12 | 13) => number - 3,
            ("encoder", 9) => 7,
            _ => continue,
        };
        let new = match (original, half) {
            (false, _) => format!("{half}.layers.{number}.{end}"),
            (true, "decoder") => format!("taesd_decoder.{}.{end}", number + 1),
            (true, _) => format!("taesd_encoder.{number}.{end}"),
        };
        tensors.push(tensor.renamed(&new));
    }
    write_tensors(to, &tensors, &BTreeMap::new()).unwrap();
}

/// Latents of the last step and the picture, drawn with this autoencoder, and previews' widths.
fn draw(client: &mut Client, vae: &Path, init: bool) -> (HostTensor, Vec<f32>, Vec<u32>) {
    let model = client.add_model(&fixture("models/tiny-sd")).unwrap();
    let vae = client.add_model(vae).unwrap();
    let mut request = json!({
        "model": { "name": model.name },
        "vae": { "name": vae.name },
        "prompt": "a red fox",
        "negative_prompt": "",
        "width": 96,
        "height": 80,
        "steps": 3,
        "seed": 5,
        "guidance": 2.0,
        "sampler": "Euler",
        "schedule": "Normal",
        "convention": "kdiffusion",
        "keep_latents": true,
        "preview": true
    });
    if init {
        let values = (0..3 * 80 * 96).map(|i| (i % 97) as f32 / 97.0).collect();
        let data = std::sync::Arc::new(HostTensor::f32([3, 80, 96], values));
        let hash = "begin".to_owned();
        client.send(Command::Blob { hash, data }).unwrap();
        request["init"] = json!({ "picture": "begin", "strength": 0.8 });
    }
    let request: ImageRequest = serde_json::from_value(request).unwrap();
    let first = client.events.len();
    let job = client.submit(Request::Image(request)).unwrap();
    let Outcome::Image { picture, .. } = client.result(job).unwrap() else {
        panic!("no picture")
    };
    let events = &client.events[first..];
    let latents = events.iter().rev().find_map(|event| match event {
        Event::Latents { latents, .. } => Some((**latents).clone()),
        _ => None,
    });
    let previews = events.iter().filter_map(|event| match event {
        Event::Step { preview, .. } => preview.as_ref().map(|preview| preview.width),
        _ => None,
    });
    let values = picture.rgb.iter().map(|&byte| f32::from(byte)).collect();
    (latents.unwrap(), values, previews.collect())
}

#[test]
fn a_distilled_autoencoder_decodes_latents_in_its_own_scale() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("taesd.safetensors");
    let renamed = folder.path().join("diffusers-names.safetensors");
    write(&original, true);
    write(&renamed, false);
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let (latents, picture, previews) = draw(&mut client, &original, false);

    // What it makes of the latents as they are: it was trained on them in the U-Net's scale, unlike the model's own.
    let part = open_autoencoder(&original).unwrap();
    let config = AutoencoderTinyConfig::from_json(&part.config_path, &part.config).unwrap();
    let vae = AutoencoderTiny::new(config, part.weights).unwrap();
    let (height, width) = (latents.shape[2], latents.shape[3]);
    let decoded = |scale: f32| -> Vec<f32> {
        let graph = vae.decode_graph(1, height, width).unwrap();
        let mut executor = CpuExecutor::new(CpuMode::Oracle);
        let plan = executor.prepare(std::sync::Arc::new(graph)).unwrap();
        let values = latents.as_f32().iter().map(|v| v / scale).collect();
        let run = Run {
            inputs: &[("latent", HostTensor::f32(latents.shape.clone(), values))],
            states: &[],
            interrupt: &mut NeverInterrupt,
        };
        let decoded = executor.run(plan, run).unwrap().remove(0);
        let plane = decoded.shape[2] * decoded.shape[3];
        let values = decoded.as_f32();
        (0..plane)
            .flat_map(|pixel| [0, 1, 2].map(|c| values[c * plane + pixel]))
            .map(|value| (value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0)
            .collect()
    };
    assert!(worst(&picture, &decoded(1.0)) <= 2.0);
    // In the scale of the model's own autoencoder it would be another picture.
    assert!(worst(&picture, &decoded(0.18215)) > 20.0);
    // Latents beyond what previews are made of otherwise are seen as it decodes them, not as a linear map's small picture.
    assert!(height * width > 256 && !previews.is_empty());
    assert!(previews.iter().all(|seen| *seen == 96), "{previews:?}");

    let (_, same, _) = draw(&mut client, &renamed, false);
    assert_eq!(picture, same, "by other names");
    // It encodes too.
    let (_, over, _) = draw(&mut client, &original, true);
    assert_ne!(picture, over);
}
