//! Whole jobs against diffusers: the requests of `reference/jobs/jobs.json` through the engine, on both executors. Latents after each step are within 1e-3 of their
//! scale, pictures within 2 of 255 (`cargo test --release -p diptych-tests --test jobs -- --nocapture` prints the worst).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::sync::Arc;

use diptych_inference::engine::{Command, DeviceChoice, Event, ImageRequest, Outcome, Request};
use diptych_inference::formats::diffusion_model::{DiffusionModel, Family, open_diffusion_model};
use diptych_inference::graph::HostTensor;
use diptych_tests::{Client, End, fixture};
use serde_json::{Value, json};

/// Reads a tensor of a fixture as floats, whatever its type.
fn tensor(file: &str, key: &str) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(fixture(&format!("jobs/{file}.safetensors"))).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor(key).unwrap();
    let floats = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
    let values = match view.dtype() {
        safetensors::Dtype::F32 => view.data().chunks_exact(4).map(floats).collect(),
        safetensors::Dtype::U8 => view.data().iter().map(|&b| f32::from(b)).collect(),
        other => panic!("{other:?}"),
    };
    (view.shape().to_vec(), values)
}

fn jobs() -> Vec<Value> {
    let text = std::fs::read_to_string(fixture("jobs/jobs.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn worst(got: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(got.len(), wanted.len());
    let pairs = got.iter().zip(wanted);
    pairs.fold(0.0, |most, (a, b)| most.max((a - b).abs()))
}

/// Runs a job of the list; gives its latents after all steps, and its picture.
fn draw(client: &mut Client, job: &Value) -> (Vec<f32>, Vec<f32>) {
    let text = |key: &str| job[key].as_str().unwrap();
    let model = client.add_model(&fixture(text("model"))).unwrap();
    for addition in job["additions"].as_array().into_iter().flatten() {
        client
            .add_model(&fixture(addition.as_str().unwrap()))
            .unwrap();
    }
    for blob in job["blobs"].as_array().unwrap() {
        let key = blob.as_str().unwrap();
        let (shape, values) = tensor(text("name"), key);
        let data = Arc::new(HostTensor::f32(shape, values));
        let hash = key.to_owned();
        client.send(Command::Blob { hash, data }).unwrap();
    }
    let mut request = job["request"].clone();
    request["model"] = json!({ "name": model.name });
    request["keep_latents"] = json!(true);
    let request: ImageRequest = serde_json::from_value(request).unwrap();
    let first = client.events.len();
    let number = client.submit(Request::Image(request)).unwrap();
    let Outcome::Image { picture, .. } = client.result(number).unwrap() else {
        panic!("no picture")
    };
    let latents = client.events[first..]
        .iter()
        .filter_map(|event| match event {
            Event::Latents { latents, .. } => Some(latents.as_f32().to_vec()),
            _ => None,
        });
    let picture_values = picture.rgb.iter().map(|&byte| f32::from(byte)).collect();
    (latents.flatten().collect(), picture_values)
}

fn jobs_equal_diffusers(device: DeviceChoice) {
    let mut client = Client::start(device).unwrap();
    let mut faults = Vec::new();
    for job in jobs() {
        let name = job["name"].as_str().unwrap();
        let (latents, picture) = draw(&mut client, &job);
        let (_, wanted) = tensor(name, "latents");
        if latents.len() != wanted.len() {
            faults.push(format!(
                "{name}: {} latents, not {}",
                latents.len(),
                wanted.len()
            ));
            continue;
        }
        let scale = wanted
            .iter()
            .fold(0f32, |most, value| most.max(value.abs()));
        let of_latents = worst(&latents, &wanted) / scale;
        let of_picture = worst(&picture, &tensor(name, "picture").1);
        println!("{device:?} {name:<24} latents {of_latents:.1e}, picture {of_picture} of 255");
        if of_latents.is_nan() || of_latents > 1e-3 || of_picture > 2.0 {
            faults.push(format!(
                "{name}: latents {of_latents:e}, picture {of_picture} of 255"
            ));
        }
    }
    assert!(faults.is_empty(), "{device:?}\n{}", faults.join("\n"));
}

#[test]
fn jobs_equal_diffusers_on_the_cpu() {
    jobs_equal_diffusers(DeviceChoice::Cpu);
}

#[test]
fn jobs_equal_diffusers_on_the_gpu() {
    jobs_equal_diffusers(DeviceChoice::Gpu);
}

fn named(name: &str) -> Value {
    let mut jobs = jobs().into_iter();
    jobs.find(|job| job["name"] == name).unwrap()
}

/// In the way of AUTOMATIC1111: what is not masked stays to the bit, whatever is done to the rest, in all of the picture or a part of it.
#[test]
fn what_is_not_masked_stays() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let mut job = named("mask-euler");
    for only_masked in [Value::Null, json!(4)] {
        job["request"]["convention"] = json!("kdiffusion");
        job["request"]["init"]["mask"]["only_masked"] = only_masked.clone();
        let (_, drawn) = draw(&mut client, &job);
        let (shape, mask) = tensor("mask-euler", "mask");
        let (_, before) = tensor("mask-euler", "init");
        let (height, width) = (shape[1], shape[2]);
        let (mut kept, mut changed) = (0, 0);
        for place in 0..height * width {
            for channel in 0..3 {
                let old = (before[channel * height * width + place] * 255.0).round();
                let new = drawn[3 * place + channel];
                if mask[place] == 0.0 {
                    assert_eq!(new, old, "{only_masked} pixel {place}");
                    kept += 1;
                } else {
                    changed += usize::from((new - old).abs() > 2.0);
                }
            }
        }
        assert!(
            kept > 1000 && changed > 300,
            "{only_masked}: {kept} kept, {changed} changed"
        );
    }
}

#[test]
fn faulty_pictures_masks_and_settings_are_refused_by_name() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let good = named("mask-euler");
    draw(&mut client, &good);
    let small = Arc::new(HostTensor::f32([1, 2, 2], vec![1.0; 4]));
    let empty = Arc::new(HostTensor::f32([1, 32, 40], vec![0.0; 32 * 40]));
    for (hash, data) in [("small", small), ("empty", empty)] {
        let hash = hash.to_owned();
        client.send(Command::Blob { hash, data }).unwrap();
    }
    let cases = [
        ("/init/picture", json!("nowhere"), "nowhere"),
        ("/init/picture", json!("small"), "[3, height, width]"),
        ("/init/mask/mask", json!("small"), "2x2"),
        ("/init/mask/mask", json!("init"), "mask"),
        ("/init/strength", json!(0.0), "strength"),
        ("/init/strength", json!(7.0), "strength"),
        ("/clip_skip", json!(0), "CLIP skip"),
        ("/clip_skip", json!(9), "layers"),
        ("/guidance_rescale", json!(-1.0), "guidance rescale"),
        (
            "/variation",
            json!({"seed": 1, "strength": 2.0}),
            "variation",
        ),
    ];
    for (place, value, word) in cases {
        let mut request = good["request"].clone();
        request["model"] = json!({ "name": "tiny-sd" });
        for missing in ["/clip_skip", "/guidance_rescale", "/variation"] {
            if place == missing {
                request[&missing[1..]] = Value::Null;
            }
        }
        *request.pointer_mut(place).unwrap() = value.clone();
        let request: ImageRequest = serde_json::from_value(request).unwrap();
        let job = client.submit(Request::Image(request)).unwrap();
        let End::Failed(failure) = client.end(job).unwrap() else {
            panic!("{place} = {value} was drawn")
        };
        assert!(
            failure.message.contains(word) && !failure.bug,
            "{place}: {}",
            failure.message
        );
    }
}

/// A single file with the original names gives the very networks of the diffusers folder with the same weights.
#[test]
fn an_sdxl_checkpoint_gives_the_networks_of_its_folder() {
    let folder = open_diffusion_model(&fixture("jobs/tiny-sdxl")).unwrap();
    let file = open_diffusion_model(&fixture("jobs/tiny-sdxl.safetensors")).unwrap();
    assert_eq!(file.family, Some(Family::Sdxl));
    let second = |model: &DiffusionModel| model.text_encoder_2.clone().unwrap();
    let pairs = [
        ("unet", folder.unet.clone(), file.unet.clone()),
        ("vae", folder.vae.clone(), file.vae.clone()),
        (
            "text",
            folder.text_encoder.clone(),
            file.text_encoder.clone(),
        ),
        ("text 2", second(&folder), second(&file)),
    ];
    for (name, wanted, got) in pairs {
        let mut compared = 0;
        for (key, tensor) in wanted.weights.iter() {
            // transformers of today writes this encoder without the prefix.
            let prefixed = format!("text_model.{key}");
            let found = got.weights.get(key).or_else(|| got.weights.get(&prefixed));
            let found = found.unwrap_or_else(|| panic!("{name}: no {key}"));
            assert_eq!(found.shape(), tensor.shape(), "{name} {key}");
            assert_eq!(
                found.to_f32().unwrap(),
                tensor.to_f32().unwrap(),
                "{name} {key}"
            );
            compared += 1;
        }
        assert!(compared > 20, "{name}: only {compared} tensors");
    }
    for key in [
        "addition_embed_type",
        "addition_time_embed_dim",
        "projection_class_embeddings_input_dim",
        "cross_attention_dim",
        "block_out_channels",
    ] {
        assert_eq!(file.unet.config[key], folder.unet.config[key], "{key}");
    }
    assert_eq!(file.vae.config["scaling_factor"], json!(0.13025));
}
