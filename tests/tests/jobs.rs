//! Whole jobs against diffusers: the requests of `reference/jobs/jobs.json` through the engine, on both executors. Latents after each step are within 1e-3 of their
//! scale, pictures within 2 of 255 (`cargo test --release -p diptych-tests --test jobs -- --nocapture` prints the worst).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "jobs/distilled.rs"]
mod distilled;
#[path = "jobs/forecasts.rs"]
mod forecasts;
#[path = "jobs/mended.rs"]
mod mended;
#[path = "jobs/passes.rs"]
mod passes;
#[path = "jobs/unsound.rs"]
mod unsound;

use std::sync::Arc;

use diptych_inference::engine::{
    BlobRef, Command, DeviceChoice, Event, ImageRequest, LoraUse, Outcome, Request, UpscaleRequest,
};
use diptych_inference::formats::diffusion_model::{
    Component, DiffusionModel, Family, open_diffusion_model,
};
use diptych_inference::formats::ldm::open_controlnet;
use diptych_inference::formats::safetensors::{read_safetensors, write_tensors};
use diptych_inference::formats::{StorageDtype, TensorData};
use diptych_inference::graph::HostTensor;
use diptych_inference::models::controlnet::ControlNetConfig;
use diptych_inference::models::unet::UNetConfig;
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
    let lists = [
        "jobs",
        "controls",
        "passes",
        "loras",
        "kinds",
        "handovers",
        "presets",
        "unions",
        "kdiffusion",
    ]
    .into_iter()
    .flat_map(|list| {
        let text = std::fs::read_to_string(fixture(&format!("jobs/{list}.json"))).unwrap();
        serde_json::from_str::<Vec<Value>>(&text).unwrap()
    });
    lists.collect()
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

/// Data for the engine and their name, each value by its place.
fn blob(shape: [usize; 3], value: impl Fn(usize) -> f32) -> (String, Arc<HostTensor>) {
    let values = (0..shape.iter().product()).map(value).collect();
    ("given".to_owned(), Arc::new(HostTensor::f32(shape, values)))
}

/// Runs a request that is to fail, and gives the reason.
fn refusal(client: &mut Client, request: Request) -> String {
    let job = client.submit(request).unwrap();
    match client.end(job).unwrap() {
        End::Failed(failure) => {
            assert!(!failure.bug, "{}", failure.message);
            failure.message
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn controlnets_that_do_not_fit_are_refused_before_anything_runs() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let good = named("control-euler");
    draw(&mut client, &good);
    client.add_model(&fixture("jobs/control-xl")).unwrap();
    client
        .add_model(&fixture("jobs/lora-kohya.safetensors"))
        .unwrap();
    let cases = [
        (
            "/controls/0/model/name",
            json!("control-xl"),
            "this ControlNet is for",
        ),
        (
            "/controls/0/model/name",
            json!("lora-kohya"),
            "ControlNet is needed",
        ),
        ("/controls/0/model/name", json!("nobody"), "nobody"),
        ("/controls/0/picture", json!("nowhere"), "nowhere"),
        ("/controls/0/weight", json!(1e9), "weight"),
        ("/controls/0/start", json!(1.0), "shares from 0 to 1"),
        (
            "/controls/0/preprocessor",
            json!({"canny": {"low": 9.0, "high": 3.0}}),
            "thresholds",
        ),
    ];
    for (place, value, word) in cases {
        let mut request = good["request"].clone();
        request["model"] = json!({ "name": "tiny-sd" });
        request["controls"][0]["start"] = json!(0.0);
        request["controls"][0]["preprocessor"] = json!("none");
        *request.pointer_mut(place).unwrap() = value.clone();
        let request: ImageRequest = serde_json::from_value(request).unwrap();
        let reason = refusal(&mut client, Request::Image(request));
        assert!(reason.contains(word), "{place}: {reason}");
    }
}

/// A ControlNet Union is told the kind of its picture, and edges found here are known to be lines.
#[test]
fn a_controlnet_for_several_kinds_is_told_which() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let good = named("union-depth");
    draw(&mut client, &good);
    client
        .add_model(&fixture("jobs/control-xl-file.safetensors"))
        .unwrap();
    let request = |net: &str, kind: Value, canny: bool| -> Request {
        let mut request = good["request"].clone();
        request["model"] = json!({ "name": "tiny-sdxl" });
        request["controls"][0]["model"]["name"] = json!(net);
        request["controls"][0]["kind"] = kind;
        if canny {
            request["controls"][0]["preprocessor"] = json!({"canny": {"low": 30.0, "high": 90.0}});
        }
        Request::Image(serde_json::from_value(request).unwrap())
    };
    for (net, kind, word) in [
        ("control-union", Value::Null, "say which this is: pose"),
        ("control-union", json!("tile"), "does not know"),
        ("control-xl-file", json!("depth"), "one kind"),
    ] {
        let reason = refusal(&mut client, request(net, kind, false));
        assert!(reason.contains(word), "{reason}");
    }
    let mut picture = |kind: Value| {
        let job = client.submit(request("control-union", kind, true)).unwrap();
        match client.result(job).unwrap() {
            Outcome::Image { picture, .. } => picture,
            other => panic!("{other:?}"),
        }
    };
    let lines = picture(json!("lines"));
    assert_eq!(picture(Value::Null), lines);
    assert_ne!(picture(json!("depth")), lines);
}

/// With its names of the original and with diffusers' it is one network.
#[test]
fn a_controlnet_in_a_single_file_is_that_of_its_folder() {
    for (file, folder) in [
        ("control-one-ldm", "control-one"),
        ("control-xl-file", "control-xl"),
    ] {
        let path = |name: &str| fixture(&format!("jobs/{name}"));
        let wanted = open_controlnet(&path(folder)).unwrap();
        let got = open_controlnet(&path(&format!("{file}.safetensors"))).unwrap();
        let config = |part: &Component| {
            let config = ControlNetConfig::from_json(&part.config_path, &part.config).unwrap();
            let unet = UNetConfig {
                sample_size: None,
                added: None,
                ..config.unet
            };
            (unet, config.hint_channels, config.picture_channels)
        };
        assert_eq!(config(&got), config(&wanted), "{file}");
        assert_eq!(got.weights.len(), wanted.weights.len(), "{file}");
        for (key, tensor) in wanted.weights.iter() {
            let found = got
                .weights
                .get(key)
                .unwrap_or_else(|| panic!("{file}: no {key}"));
            assert_eq!(
                found.to_f32().unwrap(),
                tensor.to_f32().unwrap(),
                "{file} {key}"
            );
        }
    }
}

/// A picture made larger in parts is the one made at once, but for a little where parts meet.
#[test]
fn a_picture_made_larger_in_parts_has_no_seams() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    // Flat in the middle, where a seam would show most, and with much going on elsewhere.
    let (width, height) = (150, 90);
    let value = |c: usize, y: usize, x: usize| {
        let wave = ((x * (c + 1)) as f32 / 9.0).sin() * (y as f32 / 7.0).cos();
        if (60..100).contains(&x) {
            0.5
        } else {
            0.5 + 0.4 * wave
        }
    };
    let all =
        (0..3).flat_map(|c| (0..height).flat_map(move |y| (0..width).map(move |x| value(c, y, x))));
    let data = Arc::new(HostTensor::f32(
        [3, height, width],
        all.collect::<Vec<f32>>(),
    ));
    let hash = "waves".to_owned();
    client.send(Command::Blob { hash, data }).unwrap();
    for file in ["esrgan-x2.safetensors", "esrgan-x4.pth", "srvgg-x4.pth"] {
        let model = client
            .add_model(&fixture(&format!("upscalers/{file}")))
            .unwrap();
        let mut draw = |tile: u32, scale: Option<f32>| {
            let request = UpscaleRequest {
                model: model.clone(),
                picture: BlobRef("waves".into()),
                tile: Some(tile),
                scale,
            };
            let job = client.submit(Request::Upscale(request)).unwrap();
            match client.result(job).unwrap() {
                Outcome::Image { picture, .. } => picture,
                other => panic!("{other:?}"),
            }
        };
        let whole = draw(0, None);
        let parts = draw(64, None);
        assert_eq!((whole.width, whole.height), (parts.width, parts.height));
        assert_eq!(whole.width as usize % width, 0);
        let pairs = whole.rgb.iter().zip(&parts.rgb);
        let most = pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        println!("{file}: in parts {most} of 255 from the whole");
        assert!(most <= 2, "{file}: {most}");
        let smaller = draw(0, Some(1.5));
        assert_eq!((smaller.width, smaller.height), (225, 135));
    }
}

/// The autoencoder in parts: the picture is that made at once but for what its norms see of each part, and no line shows where
/// parts meet.
#[test]
fn the_autoencoder_in_parts_leaves_no_seams() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let mut job = named("text-lms");
    job["request"]["width"] = json!(320);
    job["request"]["height"] = json!(160);
    job["request"]["steps"] = json!(2);
    let (_, whole) = draw(&mut client, &job);
    job["request"]["vae_tile"] = json!(128);
    let (_, parts) = draw(&mut client, &job);
    assert_eq!(whole.len(), parts.len());
    let mean = |a: &[f32], b: &[f32]| {
        let sum: f32 = a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum();
        sum / a.len() as f32
    };
    let apart = mean(&whole, &parts);
    println!("in parts: {apart:.2} of 255 from the whole in the mean");
    assert!(apart > 0.0, "nothing was done in parts");
    assert!(apart < 12.0, "{apart}");
    // The steps from column to column, where parts meet and elsewhere.
    let step = |picture: &[f32], x: usize| {
        let rows = picture.chunks_exact(3 * 320);
        let steps =
            rows.flat_map(|row| (0..3).map(|c| (row[3 * x + c] - row[3 * x - 3 + c]).abs()));
        steps.sum::<f32>() / (3 * 160) as f32
    };
    for x in 1..320 {
        let (with, without) = (step(&parts, x), step(&whole, x));
        assert!(
            with < without * 1.6 + 3.0,
            "column {x}: {with} instead of {without}"
        );
    }
}

#[test]
fn second_passes_and_learnt_words_that_cannot_be_are_refused_by_name() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let good = named("hires-latent");
    draw(&mut client, &good);
    for file in ["lora-kohya", "wordwide", "wordxl"] {
        client
            .add_model(&fixture(&format!("jobs/{file}.safetensors")))
            .unwrap();
    }
    let cases = [
        ("/hires/scale", json!(1.0), "times as large"),
        ("/hires/scale", json!(9.0), "times as large"),
        ("/hires/strength", json!(0.0), "strength"),
        ("/hires/steps", json!(0), "no steps"),
        (
            "/hires/upscaler",
            json!({"model": {"name": "nobody"}}),
            "nobody",
        ),
        (
            "/hires/upscaler",
            json!({"model": {"name": "lora-kohya"}}),
            "an upscaler is needed",
        ),
        ("/vae_tile", json!(3), "parts"),
        (
            "/embeddings",
            json!([{"name": "lora-kohya"}]),
            "embedding is needed",
        ),
        ("/embeddings", json!([{"name": "wordwide"}]), "24 wide"),
        (
            "/embeddings",
            json!([{"name": "wordxl"}]),
            "for SDXL (16 and 64 wide)",
        ),
    ];
    for (place, value, word) in cases {
        let mut request = good["request"].clone();
        request["model"] = json!({ "name": "tiny-sd" });
        for missing in ["/vae_tile", "/embeddings", "/hires/steps"] {
            if place == missing {
                let (parent, key) = missing.rsplit_once('/').unwrap();
                request.pointer_mut(parent).unwrap()[key] = Value::Null;
            }
        }
        *request.pointer_mut(place).unwrap() = value.clone();
        let request: ImageRequest = serde_json::from_value(request).unwrap();
        let reason = refusal(&mut client, Request::Image(request));
        assert!(reason.contains(word), "{place}: {reason}");
    }
}

/// Steps of both passes are counted through, whatever the strength of the second.
#[test]
fn steps_of_two_passes_are_counted_through() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let mut job = named("hires-lanczos");
    job["request"]["steps"] = json!(40);
    let (_, whole) = draw(&mut client, &job);
    let steps: Vec<(u32, u32)> = client
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Step { index, total, .. } => Some((*index, *total)),
            _ => None,
        })
        .collect();
    assert_eq!(steps.len(), 60);
    for (place, step) in (1u32..).zip(&steps) {
        assert_eq!(*step, (place, 60));
    }
    assert_eq!(whole.len(), 3 * 60 * 48);
}

/// As that of the base model: the refiner's only text encoder is OpenCLIP, with its projection.
#[test]
fn an_sdxl_refiner_in_a_single_file_gives_the_networks_of_its_folder() {
    let folder = open_diffusion_model(&fixture("jobs/tiny-refiner")).unwrap();
    let file = open_diffusion_model(&fixture("jobs/tiny-refiner.safetensors")).unwrap();
    assert_eq!(file.family, Some(Family::Sdxl));
    assert!(file.text_encoder_2.is_none() && folder.text_encoder_2.is_none());
    for (name, wanted, got) in [
        ("unet", &folder.unet, &file.unet),
        ("text", &folder.text_encoder, &file.text_encoder),
    ] {
        for (key, tensor) in wanted.weights.iter() {
            let prefixed = format!("text_model.{key}");
            let found = got.weights.get(key).or_else(|| got.weights.get(&prefixed));
            let found = found.unwrap_or_else(|| panic!("{name}: no {key}"));
            let values = (found.to_f32().unwrap(), tensor.to_f32().unwrap());
            assert_eq!(values.0, values.1, "{name} {key}");
        }
    }
    for key in ["addition_time_embed_dim", "cross_attention_dim"] {
        assert_eq!(file.unet.config[key], folder.unet.config[key], "{key}");
    }
}

/// A file of zeros in halves.
fn zeros(name: &str, shape: &[usize]) -> TensorData {
    let bytes = vec![0; 2 * shape.iter().product::<usize>()];
    TensorData::new_owned(name, shape, StorageDtype::F16, bytes).unwrap()
}

/// A LoRA and an embedding for SDXL or SD 2.x with a model as wide as SD 1.5: told by name before anything runs.
#[test]
fn what_is_for_another_family_is_told_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let small = read_safetensors(&fixture("ldm/sd1.safetensors")).unwrap();
    let table = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight";
    let width = small.tensors.get(table).unwrap().shape()[1];
    let wide: Vec<TensorData> = small
        .tensors
        .iter()
        .map(|(name, tensor)| {
            let text = name.starts_with("cond_stage_model.");
            let reads_text =
                name.ends_with("attn2.to_k.weight") || name.ends_with("attn2.to_v.weight");
            if !text && !reads_text || name.ends_with("position_ids") {
                return tensor.clone();
            }
            let widened = |(place, side): (usize, &usize)| {
                let is_text = *side == width && (text || place == 1);
                if is_text { 768 } else { *side }
            };
            let shape: Vec<usize> = tensor.shape().iter().enumerate().map(widened).collect();
            zeros(name, &shape)
        })
        .collect();
    let model = folder.path().join("wide.safetensors");
    write_tensors(&model, &wide, &small.metadata).unwrap();
    let lora = folder.path().join("style.safetensors");
    let layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k";
    let factors = [
        zeros(&format!("{layer}.lora_down.weight"), &[2, 2048]),
        zeros(&format!("{layer}.lora_up.weight"), &[8, 2]),
    ];
    write_tensors(&lora, &factors, &small.metadata).unwrap();
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = client.add_model(&model).unwrap();
    let lora = client.add_model(&lora).unwrap();
    let mut request = ImageRequest::new(model.clone(), "a fox", 64, 64);
    request.loras = vec![LoraUse {
        model: lora,
        weight: 1.0,
    }];
    let reason = refusal(&mut client, Request::Image(request));
    assert!(
        reason.contains("this LoRA is for SDXL; the loaded model is SD 1.5"),
        "{reason}"
    );
    for (shapes, words) in [
        (
            &[("emb_params", 1024)][..],
            "this embedding is for SD 2.x (1024 wide); the loaded model is SD 1.5 (768 wide)",
        ),
        (
            &[("clip_l", 768), ("clip_g", 1280)],
            "this embedding is for SDXL (768 and 1280 wide)",
        ),
    ] {
        let path = folder
            .path()
            .join(format!("word{}.safetensors", shapes.len()));
        let vectors: Vec<TensorData> = shapes
            .iter()
            .map(|(name, width)| zeros(name, &[2, *width]))
            .collect();
        write_tensors(&path, &vectors, &small.metadata).unwrap();
        let word = client.add_model(&path).unwrap();
        let mut request = ImageRequest::new(model.clone(), format!("a {}", word.name), 64, 64);
        request.embeddings = vec![word];
        let reason = refusal(&mut client, Request::Image(request));
        assert!(reason.contains(words), "{reason}");
    }
}
