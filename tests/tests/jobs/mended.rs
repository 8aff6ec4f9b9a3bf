//! Whole jobs in which one thing must not be taken for another: files replaced in place, the other end of a way, other programs' counting.

use std::path::Path;

use diptych_inference::engine::{
    Command, DeviceChoice, Event, ImageRequest, ModelRef, Outcome, Request, Toward,
};
use diptych_inference::formats::TensorData;
use diptych_inference::formats::safetensors::{read_safetensors, write_tensors};
use diptych_tests::{Client, End, fixture};
use serde_json::{Value, json};

use super::worst;

/// A small picture in AUTOMATIC1111's way.
fn request(model: &ModelRef, prompt: &str, more: &Value) -> ImageRequest {
    let mut request = json!({
        "model": { "name": model.name },
        "prompt": prompt,
        "negative_prompt": "blurry",
        "width": 32,
        "height": 32,
        "steps": 4,
        "seed": 5,
        "guidance": 4.0,
        "sampler": "Euler",
        "schedule": "Normal",
        "convention": "kdiffusion",
        "prompt_syntax": "a1111"
    });
    for (key, value) in more.as_object().unwrap() {
        request[key] = value.clone();
    }
    serde_json::from_value(request).unwrap()
}

/// A picture, its request as told with it, and the warnings on the way.
fn draw(client: &mut Client, request: ImageRequest) -> (Vec<f32>, ImageRequest, Vec<String>) {
    let first = client.events.len();
    let job = client.submit(Request::Image(request)).unwrap();
    let Outcome::Image {
        picture, request, ..
    } = client.result(job).unwrap()
    else {
        panic!("no picture")
    };
    let Request::Image(told) = *request else {
        panic!("no picture's request")
    };
    let warnings = client.events[first..]
        .iter()
        .filter_map(|event| match event {
            Event::Warning { message, .. } => Some(message.clone()),
            _ => None,
        });
    let values = picture.rgb.iter().map(|&byte| f32::from(byte)).collect();
    (values, told, warnings.collect())
}

/// A LoRA of the fixtures with another strength, written over whatever lies there.
fn write_lora(to: &Path, factor: f32) {
    let whole = read_safetensors(&fixture("jobs/lora-kohya.safetensors")).unwrap();
    let tensors: Vec<TensorData> = whole
        .tensors
        .iter()
        .map(|(name, tensor)| {
            let mut values = tensor.to_f32().unwrap();
            if name.ends_with("lora_up.weight") {
                values.iter_mut().for_each(|value| *value *= factor);
            }
            TensorData::from_f32(name, tensor.shape(), &values).unwrap()
        })
        .collect();
    write_tensors(to, &tensors, &whole.metadata).unwrap();
}

#[test]
fn a_lora_replaced_in_place_is_read_anew_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ink.safetensors");
    write_lora(&path, 1.0);
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = client.add_model(&fixture("models/tiny-sd")).unwrap();
    client.add_model(&path).unwrap();
    let with = |hash: Value| {
        let loras = json!({"loras": [{"model": {"name": "ink", "hash": hash}, "weight": 1.0}]});
        request(&model, "a red fox", &loras)
    };
    let (before, told, _) = draw(&mut client, with(Value::Null));
    let hash = told.loras[0].model.hash.clone().unwrap();
    let (again, told, warnings) = draw(&mut client, told);
    assert!(again == before && warnings.is_empty(), "{warnings:?}");
    write_lora(&path, -3.0);
    let (after, told, warnings) = draw(&mut client, told);
    assert!(worst(&after, &before) > 2.0);
    let now = told.loras[0].model.hash.clone().unwrap();
    assert_ne!(now, hash);
    assert!(
        warnings
            .iter()
            .any(|w| w.contains("ink") && w.contains(&hash) && w.contains(&now)),
        "{warnings:?}"
    );
    // As whoever sees the file for the first time draws it.
    let mut fresh = Client::start(DeviceChoice::Cpu).unwrap();
    fresh.add_model(&fixture("models/tiny-sd")).unwrap();
    fresh.add_model(&path).unwrap();
    assert_eq!(draw(&mut fresh, with(Value::Null)).0, after);
}

/// Another weight of a LoRA that is in use is a merge or a factor, and no file is read for it.
fn weights_change_without_loading(device: DeviceChoice) {
    let lora = |client: &mut Client, weight: f32| {
        let model = client.add_model(&fixture("models/tiny-sd")).unwrap();
        let lora = client.add_model(&fixture("jobs/lora-kohya.safetensors"));
        let loras = json!({"loras": [{"model": {"name": lora.unwrap().name}, "weight": weight}]});
        let first = client.events.len();
        let picture = draw(client, request(&model, "a red fox", &loras)).0;
        let loaded = client.events[first..]
            .iter()
            .filter(|event| matches!(event, Event::Loading { .. }))
            .count();
        (picture, loaded)
    };
    let mut client = Client::start(device).unwrap();
    let (first, loaded) = lora(&mut client, 0.5);
    assert!(loaded > 0, "{device:?}");
    let mut seen = vec![first];
    for weight in [0.9, -0.4, 0.5] {
        let (picture, loaded) = lora(&mut client, weight);
        assert_eq!(loaded, 0, "{device:?} {weight}");
        // As a program that never knew another weight draws it.
        let fresh = lora(&mut Client::start(device).unwrap(), weight).0;
        assert_eq!(picture, fresh, "{device:?} {weight}");
        seen.push(picture);
    }
    assert_eq!(seen[0], seen[3], "{device:?}");
    assert!(worst(&seen[0], &seen[1]) > 1.0 && worst(&seen[1], &seen[2]) > 1.0);
}

#[test]
fn weights_of_loras_change_without_loading_on_the_cpu() {
    weights_change_without_loading(DeviceChoice::Cpu);
}

#[test]
fn weights_of_loras_change_without_loading_on_the_gpu() {
    weights_change_without_loading(DeviceChoice::Gpu);
}

/// At its end a way is the other picture, with the LoRA and the learnt word that only the other prompt names.
#[test]
fn the_other_end_of_a_way_has_its_own_loras_and_words() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = client.add_model(&fixture("models/tiny-sd")).unwrap();
    for file in ["lora-kohya", "wordthree"] {
        client
            .add_model(&fixture(&format!("jobs/{file}.safetensors")))
            .unwrap();
    }
    let words = "the cat <lora:lora-kohya:1.5>, a wordthree";
    let mut way = |amount: f32, prompt: &str| {
        let mut request = request(&model, "the cat", &json!({}));
        request.toward = Some(Toward {
            prompt: prompt.into(),
            negative_prompt: "blurry".into(),
            seed: 5,
            amount,
        });
        draw(&mut client, request).0
    };
    let (end, half) = (way(1.0, words), way(0.5, words));
    let (without_word, without_lora) = (
        way(1.0, "the cat <lora:lora-kohya:1.5>, a"),
        way(1.0, "the cat, a wordthree"),
    );
    let mut alone = |prompt: &str| draw(&mut client, request(&model, prompt, &json!({}))).0;
    let (other, plain) = (alone(words), alone("the cat"));
    assert!(worst(&end, &other) <= 1.0, "{}", worst(&end, &other));
    for different in [&without_word, &without_lora, &plain] {
        assert!(worst(different, &other) > 2.0);
    }
    assert!(worst(&half, &other) > 1.0 && worst(&half, &plain) > 1.0);
}

/// 2 is what other programs write beside pictures of models that read the last layer but one anyway.
#[test]
fn clip_skip_2_changes_nothing_where_a_layer_is_left_out_anyway() {
    for (folder, same) in [
        ("jobs/tiny-sdxl", true),
        ("models/tiny-sd2", true),
        ("models/tiny-sd", false),
    ] {
        let mut client = Client::start(DeviceChoice::Cpu).unwrap();
        let model = client.add_model(&fixture(folder)).unwrap();
        let mut skip = |layers: u32, convention: &str| {
            let more = json!({"clip_skip": layers, "convention": convention});
            draw(&mut client, request(&model, "a red fox", &more)).0
        };
        let (one, two) = (skip(1, "kdiffusion"), skip(2, "kdiffusion"));
        assert_eq!(one == two, same, "{folder}");
        // By diffusers' counting it is one deeper in every model.
        assert!(skip(1, "diffusers") != skip(2, "diffusers"), "{folder}");
    }
}

/// ComfyUI encodes an empty negative prompt, AUTOMATIC1111 makes nothing of it.
#[test]
fn an_empty_negative_prompt_is_a_text_for_comfyui() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = client.add_model(&fixture("jobs/tiny-sdxl")).unwrap();
    let mut with = |syntax: &str, negative: &str| {
        let more = json!({"prompt_syntax": syntax, "negative_prompt": negative});
        draw(&mut client, request(&model, "a red fox", &more)).0
    };
    assert_eq!(with("a1111", "blurry"), with("comfyui", "blurry"));
    assert!(worst(&with("a1111", ""), &with("comfyui", "")) > 1.0);
}

/// Settings that no picture can begin with, no picture can go on with either.
#[test]
fn settings_of_a_branch_are_checked() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = client.add_model(&fixture("models/tiny-sd")).unwrap();
    let whole = request(&model, "a red fox", &json!({"trace": true}));
    draw(&mut client, whole.clone());
    let state = client.events.iter().find_map(|event| match event {
        Event::TraceStep {
            index: 2, bytes, ..
        } => Some(bytes.clone()),
        _ => None,
    });
    let state = state.unwrap();
    for (more, word) in [
        (json!({"clip_skip": 0}), "CLIP skip"),
        (json!({"guidance_rescale": 9.0}), "guidance rescale"),
    ] {
        let request = Box::new(request(&model, "a cat", &more));
        let (job, step_state) = (client.next_job(), state.clone());
        client
            .send(Command::Branch {
                job,
                step_state,
                request,
            })
            .unwrap();
        let End::Failed(failure) = client.end(job).unwrap() else {
            panic!("{more} was drawn")
        };
        assert!(failure.message.contains(word), "{}", failure.message);
    }
}

/// Steps are counted through both passes: whoever asks for fewer than the first has gets no second, and whoever asks for more gets all of the first.
#[test]
fn a_picture_of_two_passes_ends_after_the_steps_that_were_asked_for() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = client.add_model(&fixture("models/tiny-sd")).unwrap();
    let mut after = |stop: Value| {
        let hires = json!({"scale": 2.0, "strength": 0.5, "upscaler": "latent"});
        let more = json!({"hires": hires, "stop_after": stop});
        let first = client.events.len();
        let (picture, _, _) = draw(&mut client, request(&model, "a red fox", &more));
        let steps = client.events[first..].iter();
        let steps = steps.filter(|event| matches!(event, Event::Step { .. }));
        (steps.count(), picture.len())
    };
    let (small, large) = (3 * 32 * 32, 3 * 64 * 64);
    let whole = after(Value::Null);
    assert!(whole.0 > 5 && whole.1 == large, "{whole:?}");
    assert_eq!(after(json!(2)), (2, small));
    assert_eq!(after(json!(4)), (4, small));
    assert_eq!(after(json!(5)), (5, large));
    assert_eq!(after(json!(99)), whole);
}
