//! Networks whose weights are no numbers, or whose numbers grow beyond 16 bits: a clear error that names the weight, or the right picture; never a black one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use diptych_inference::engine::{
    DeviceChoice, Event, ImageRequest, ModelRef, Outcome, Request, UpscaleRequest,
};
use diptych_inference::formats::safetensors::{read_safetensors, write_tensors};
use diptych_inference::formats::{StorageDtype, TensorData};
use diptych_tests::{Client, End, fixture};
use serde_json::{Value, json};

use super::{blob, refusal, worst};

const DEVICES: [DeviceChoice; 2] = [DeviceChoice::Cpu, DeviceChoice::Gpu];

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry
            .map(|entry| (entry.path(), entry.file_name()))
            .unwrap();
        match path.is_dir() {
            true => copy(&path, &to.join(name)),
            false => drop(std::fs::copy(&path, to.join(name)).unwrap()),
        }
    }
}

/// Writes a file of weights over itself, one of them changed.
fn change(file: &Path, tensor: &str, new: impl Fn(Vec<f32>) -> Vec<f32>) {
    let whole = read_safetensors(file).unwrap();
    assert!(whole.tensors.contains(tensor), "{tensor}");
    let tensors: Vec<TensorData> = whole
        .tensors
        .iter()
        .map(|(name, found)| {
            if name != tensor {
                let bytes = found.bytes().to_vec();
                return TensorData::new_owned(name, found.shape(), found.dtype(), bytes).unwrap();
            }
            let values = new(found.to_f32().unwrap());
            match found.dtype() {
                StorageDtype::F16 => {
                    let halves = values.iter().map(|v| half::f16::from_f32(*v).to_le_bytes());
                    let bytes: Vec<u8> = halves.flatten().collect();
                    TensorData::new_owned(name, found.shape(), StorageDtype::F16, bytes).unwrap()
                }
                _ => TensorData::from_f32(name, found.shape(), &values).unwrap(),
            }
        })
        .collect();
    drop(whole);
    write_tensors(file, &tensors, &BTreeMap::new()).unwrap();
}

/// A copy of a model of the fixtures in which one value of a weight is another.
fn spoilt(folder: &Path, model: &str, name: &str, weight: &str, value: f32) -> PathBuf {
    let path = folder.join(name);
    copy(&fixture(model), &path);
    let (part, tensor) = weight.split_once('/').unwrap();
    let file = ["diffusion_pytorch_model", "model"]
        .map(|stem| path.join(format!("{part}/{stem}.safetensors")));
    let file = file.iter().find(|file| file.is_file()).unwrap();
    change(file, tensor, |mut values| {
        values[1] = value;
        values
    });
    path
}

fn request(model: &ModelRef, more: &Value) -> Request {
    let mut request = json!({
        "model": { "name": model.name }, "prompt": "a red fox", "negative_prompt": "blurry",
        "width": 40, "height": 32, "steps": 3, "seed": 5, "guidance": 4.0, "sampler": "Euler",
        "schedule": "Normal", "convention": "kdiffusion", "prompt_syntax": "a1111", "preview": true, "trace": true,
    });
    for (key, value) in more.as_object().unwrap() {
        request[key] = value.clone();
    }
    Request::Image(serde_json::from_value::<ImageRequest>(request).unwrap())
}

fn picture(client: &mut Client, request: Request) -> Vec<f32> {
    let job = client.submit(request).unwrap();
    match client.result(job).unwrap() {
        Outcome::Image { picture, .. } => picture.rgb.iter().map(|&byte| f32::from(byte)).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn weights_that_are_no_numbers_are_named_and_nothing_is_drawn_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let picture_to_begin = blob([3, 32, 40], |place| (place % 97) as f32 / 97.0);
    let over = json!({"init": {"picture": picture_to_begin.0, "strength": 0.6}});
    let plain = json!({});
    // Model, weight, value, what is drawn, how many steps are done before it is found out, who made what.
    let (sd, xl) = ("models/tiny-sd", "jobs/tiny-sdxl");
    let cases = [
        (
            sd,
            "unet/conv_in.weight",
            f32::NAN,
            &plain,
            0,
            "in step 1 the U-Net made NaN",
        ),
        (
            sd,
            "unet/conv_out.bias",
            f32::INFINITY,
            &plain,
            0,
            "the U-Net made ",
        ),
        (
            sd,
            "text_encoder/text_model.final_layer_norm.weight",
            f32::NAN,
            &plain,
            0,
            "the text encoder made NaN",
        ),
        (
            sd,
            "vae/decoder.conv_in.weight",
            f32::NAN,
            &plain,
            3,
            "the autoencoder made ",
        ),
        (
            sd,
            "vae/encoder.conv_in.weight",
            f32::NAN,
            &over,
            0,
            "of the picture to begin from the autoencoder made ",
        ),
        (
            xl,
            "text_encoder_2/text_model.encoder.layers.0.layer_norm1.weight",
            f32::NAN,
            &plain,
            0,
            "second text encoder is damaged",
        ),
        (
            xl,
            "vae/decoder.conv_in.bias",
            f32::INFINITY,
            &plain,
            3,
            "the autoencoder made ",
        ),
    ];
    for device in DEVICES {
        let mut client = Client::start(device).unwrap();
        let (hash, data) = picture_to_begin.clone();
        client
            .send(diptych_inference::engine::Command::Blob { hash, data })
            .unwrap();
        let good = client.add_model(&fixture(sd)).unwrap();
        for (number, (model, weight, value, more, steps, words)) in cases.iter().enumerate() {
            let name = format!("spoilt-{number}");
            let path = folder.path().join(&name);
            if !path.exists() {
                spoilt(folder.path(), model, &name, weight, *value);
            }
            let bad = client.add_model(&path).unwrap();
            let first = client.events.len();
            let reason = refusal(&mut client, request(&bad, more));
            println!("{device:?}: {reason}");
            let (part, tensor) = weight.split_once('/').unwrap();
            for word in [
                &format!("'{name}'"),
                *words,
                &format!("`{tensor}`"),
                part,
                "fetch",
            ] {
                assert!(reason.contains(word), "{device:?} {weight}: {reason}");
            }
            let events = &client.events[first..];
            let done = events
                .iter()
                .filter(|event| matches!(event, Event::Step { .. }));
            assert_eq!(done.count(), *steps, "{device:?} {weight}");
            let shown = events.iter().any(|event| {
                matches!(event, Event::Step { preview: Some(preview), .. } if preview.rgb.iter().all(|byte| *byte == 0))
            });
            assert!(!shown, "{device:?} {weight}: a black preview");
            if part == "vae" && *model == sd && !weight.contains("encoder.") {
                // What was drawn is not lost: with another autoencoder it is a picture.
                client.add_model(&fixture("models/tiny-sd/vae")).unwrap();
                picture(&mut client, request(&bad, &json!({"vae": {"name": "vae"}})));
            }
        }
        // The next job goes well.
        picture(&mut client, request(&good, &plain));
    }
}

#[test]
fn additions_that_are_no_numbers_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let nan = |mut values: Vec<f32>| {
        values[0] = f32::NAN;
        values
    };
    let lora = folder.path().join("ink.safetensors");
    std::fs::copy(fixture("jobs/lora-kohya.safetensors"), &lora).unwrap();
    change(
        &lora,
        "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight",
        nan,
    );
    let net = folder.path().join("lines");
    copy(&fixture("jobs/control-one"), &net);
    change(
        &net.join("diffusion_pytorch_model.safetensors"),
        "controlnet_cond_embedding.conv_in.weight",
        nan,
    );
    let tiny = folder.path().join("tiny");
    copy(&fixture("models/vae-tiny"), &tiny);
    let upscaler = folder.path().join("larger.safetensors");
    std::fs::copy(fixture("upscalers/srvgg-x2.safetensors"), &upscaler).unwrap();
    for file in [
        tiny.join("model.safetensors"),
        tiny.join("diffusion_pytorch_model.safetensors"),
        upscaler.clone(),
    ] {
        if file.is_file() {
            let name = read_safetensors(&file)
                .unwrap()
                .tensors
                .names()
                .last()
                .unwrap()
                .to_owned();
            change(&file, &name, nan);
        }
    }
    let guide = blob([3, 32, 40], |place| (place % 31) as f32 / 31.0);
    for device in DEVICES {
        let mut client = Client::start(device).unwrap();
        let good = client.add_model(&fixture("models/tiny-sd")).unwrap();
        for path in [&lora, &net, &tiny, &upscaler] {
            client.add_model(path).unwrap();
        }
        let (hash, data) = guide.clone();
        client
            .send(diptych_inference::engine::Command::Blob { hash, data })
            .unwrap();
        for (more, words) in [
            (
                json!({"loras": [{"model": {"name": "ink"}, "weight": 1.0}]}),
                ["LoRA 'ink' is damaged", "lora_up"],
            ),
            (
                json!({"prompt": "a fox <lora:ink:0.5>"}),
                ["LoRA 'ink' is damaged", "lora_up"],
            ),
            (
                json!({"controls": [{"model": {"name": "lines"}, "picture": guide.0}]}),
                ["ControlNet 'lines' is damaged", "conv_in.weight"],
            ),
            (
                json!({"vae": {"name": "tiny"}}),
                ["a weight of this VAE is NaN", "tiny"],
            ),
            (
                json!({"hires": {"scale": 2.0, "strength": 0.5, "upscaler": {"model": {"name": "larger"}}}}),
                ["a weight of this upscaler is NaN", "larger"],
            ),
        ] {
            let reason = refusal(&mut client, request(&good, &more));
            assert!(
                words.iter().all(|word| reason.contains(word)),
                "{device:?}: {reason}"
            );
        }
        let reason = refusal(
            &mut client,
            Request::Upscale(UpscaleRequest {
                model: ModelRef::named("larger"),
                picture: diptych_inference::engine::BlobRef(guide.0.clone()),
                tile: None,
                scale: None,
            }),
        );
        assert!(
            reason.contains("a weight of this upscaler is NaN"),
            "{device:?}: {reason}"
        );
        // Left out, they do no harm.
        picture(&mut client, request(&good, &json!({})));
    }
}

/// As SDXL's own autoencoder: its weights fit 16 bits, what it computes with them does not.
#[test]
fn an_autoencoder_whose_numbers_go_beyond_16_bits_draws() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide");
    copy(&fixture("jobs/tiny-sdxl"), &path);
    let file = path.join("vae/diffusion_pytorch_model.safetensors");
    for tensor in ["decoder.conv_in.weight", "encoder.conv_in.weight"] {
        change(&file, tensor, |values| {
            let most = values
                .iter()
                .fold(0f32, |most, value| most.max(value.abs()));
            values.iter().map(|value| value / most * 60_000.0).collect()
        });
    }
    let init = blob([3, 32, 40], |place| (place % 53) as f32 / 53.0);
    let over = json!({"init": {"picture": init.0, "strength": 0.6}});
    let drawn = DEVICES.map(|device| {
        let mut client = Client::start(device).unwrap();
        let (hash, data) = init.clone();
        client
            .send(diptych_inference::engine::Command::Blob { hash, data })
            .unwrap();
        let wide = client.add_model(&path).unwrap();
        [&json!({}), &over].map(|more| picture(&mut client, request(&wide, more)))
    });
    for (cpu, gpu) in drawn[0].iter().zip(&drawn[1]) {
        assert!(worst(cpu, gpu) <= 2.0, "{}", worst(cpu, gpu));
        let (least, most) = cpu
            .iter()
            .fold((255f32, 0f32), |(a, b), v| (a.min(*v), b.max(*v)));
        assert!(most - least > 20.0, "one colour: {least} to {most}");
    }
}

/// A job that is stopped while it makes what are no numbers has no picture either.
#[test]
fn nothing_of_a_stopped_job_is_black() {
    let folder = tempfile::tempdir().unwrap();
    let bad = spoilt(
        folder.path(),
        "models/tiny-sd",
        "bad",
        "vae/decoder.conv_in.weight",
        f32::NAN,
    );
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = client.add_model(&bad).unwrap();
    let job = client
        .submit(request(&model, &json!({"steps": 500})))
        .unwrap();
    client
        .wait(|event| matches!(event, Event::Step { index, .. } if *index > 2))
        .unwrap();
    client
        .send(diptych_inference::engine::Command::Cancel(job))
        .unwrap();
    match client.end(job).unwrap() {
        End::Cancelled(None) => {}
        other => panic!("{other:?}"),
    }
}
