use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(texts: &[(&str, &str)]) -> Option<PictureInfo> {
    let texts: Vec<_> = texts
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    interpret(&texts)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn a1111_with_everything() {
    let text = "a (red:1.2) fox, \"quoted\"\nsecond line\nNegative prompt: blurry\nlow quality\n\
        Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7.5, Seed: 18446744073709551615, Size: 512x768, \
        Model hash: c0d1994c73, Model: sd_v1.5, Denoising strength: 0.4, \
        Lora hashes: \"a: 123, b: \\\"4\\\"\", Version: v1.9.0";
    let info = read(&[("parameters", text)]).unwrap();
    assert_eq!(info.software, some("AUTOMATIC1111"));
    assert_eq!(
        info.prompt,
        some("a (red:1.2) fox, \"quoted\"\nsecond line")
    );
    assert_eq!(info.negative_prompt, some("blurry\nlow quality"));
    assert_eq!(info.seed, Some(u64::MAX));
    assert_eq!((info.steps, info.cfg_scale), (Some(20), Some(7.5)));
    assert_eq!(
        (info.sampler.as_deref(), info.schedule.as_deref()),
        (Some("Euler a"), Some("Karras"))
    );
    assert_eq!((info.width, info.height), (Some(512), Some(768)));
    assert_eq!(
        (info.model.as_deref(), info.model_hash.as_deref()),
        (Some("sd_v1.5"), Some("c0d1994c73"))
    );
    assert_eq!(info.extra["Lora hashes"], "a: 123, b: \"4\"");
    assert_eq!(info.extra["Denoising strength"], "0.4");
}

#[test]
fn a1111_special_cases() {
    // Fewer than three pairs: part of the prompt.
    let info = a1111::parse("a fox\nstyle: flat, mood: calm");
    assert_eq!(info.prompt, some("a fox\nstyle: flat, mood: calm"));
    assert_eq!(info.negative_prompt, None);
    // No negative prompt: none was wanted.
    let info = a1111::parse("a fox\nSteps: 5, Sampler: DPM++ 2M Karras, Seed: 1");
    assert_eq!(info.negative_prompt, some(""));
    assert_eq!(
        (info.sampler, info.schedule),
        (some("DPM++ 2M"), some("Karras"))
    );
    // No prompt at all.
    let info = a1111::parse("Steps: 5, Sampler: DDIM, Seed: 1");
    assert_eq!((info.prompt, info.steps), (some(""), Some(5)));
    // Lines after the settings; other line ends.
    let info = a1111::parse("fox\r\nSteps: 5, Sampler: DDIM, Seed: 1\r\nTemplate: x");
    assert_eq!((info.prompt.as_deref(), info.seed), (Some("fox"), Some(1)));
    // Values that make no sense are not told.
    let info = a1111::parse("fox\nSteps: many, Sampler: DDIM, Seed: -1, Size: 5, CFG scale: nan");
    assert_eq!(
        (info.steps, info.seed, info.width, info.cfg_scale),
        (None, None, None, None)
    );
    assert_eq!(info.sampler, some("DDIM"));
    let info = a1111::parse("fox\nSteps: 1, Sampler: DDIM, Seed: 1, Version: f2.0.1");
    assert_eq!(info.software, some("Forge"));
}

#[test]
fn a1111_gives_back_what_was_written() {
    let mut info = PictureInfo {
        software: some("Diptych"),
        prompt: some("a red fox, flat style\nBREAK (night:1.1)"),
        negative_prompt: some("blurry: very, \"bad\""),
        seed: Some(42),
        steps: Some(30),
        sampler: some("DPM++ 2M"),
        schedule: some("Karras"),
        cfg_scale: Some(4.5),
        width: Some(64),
        height: Some(96),
        model: some("strange: name, with \"signs\"\nand lines"),
        model_hash: some("abcdef0123"),
        ..PictureInfo::default()
    };
    info.extra.insert("Version".into(), "Diptych 0.1.0".into());
    info.extra.insert("Convention".into(), "kdiffusion".into());
    let text = a1111::write(&info);
    assert!(text.ends_with("Version: Diptych 0.1.0"), "{text}");
    assert!(
        text.contains("CFG scale: 4.5, Seed: 42, Size: 64x96"),
        "{text}"
    );
    assert_eq!(a1111::parse(&text), info);
}

/// `CLIPSetLastLayer`, and loaders that have the number themselves; of the text encoder that the first pass reads.
#[test]
fn comfyui_last_layers_are_told() {
    let graph = |of_text: &str| {
        json!({
            "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
            "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512}},
            "20": {"class_type": "CLIPSetLastLayer", "inputs": {"stop_at_clip_layer": ["21", 0], "clip": ["10", 1]}},
            "21": {"class_type": "PrimitiveInt", "inputs": {"value": -3}},
            "10": {"class_type": "LoraLoader", "inputs": {"model": ["4", 0], "clip": ["22", 0], "lora_name": "x"}},
            "22": {"class_type": "CLIPSetLastLayer", "inputs": {"stop_at_clip_layer": -2, "clip": ["4", 1]}},
            "30": {"class_type": "Efficient Loader", "inputs": {"ckpt_name": "a", "clip_skip": -4}},
            "31": {"class_type": "Odd Loader", "inputs": {"ckpt_name": "a", "clip_skip": 7}},
            "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox", "clip": [of_text, 0]}},
            "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}},
            "8": {"class_type": "ControlNetApplyAdvanced", "inputs": {"positive": ["6", 0], "negative": ["7", 0]}},
            "3": {"class_type": "KSampler", "inputs": {"seed": 9, "steps": 20, "cfg": 7, "sampler_name": "euler", "scheduler": "normal",
                "model": ["10", 0], "positive": ["8", 0], "negative": ["8", 1], "latent_image": ["5", 0]}},
            "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}}
        })
    };
    for (of_text, layers) in [
        // The last that the encoder passes counts.
        ("20", Some("3")),
        ("10", Some("2")),
        ("22", Some("2")),
        ("4", None),
        ("30", Some("4")),
        ("31", None),
        ("6", None),
    ] {
        let info = read(&[("prompt", &graph(of_text).to_string())]).unwrap();
        let told = info.extra.get("Clip skip").map(String::as_str);
        assert_eq!(told, layers, "{of_text}");
    }
}

#[test]
fn comfyui_first_pass_is_told() {
    let graph = json!({
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15/model.safetensors"}},
        "10": {"class_type": "LoraLoader", "inputs": {"model": ["4", 0], "clip": ["4", 1], "lora_name": "x"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": ["30", 0], "height": 768, "batch_size": 1}},
        "30": {"class_type": "PrimitiveInt", "inputs": {"value": 512}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["31", 0], "clip": ["10", 1]}},
        "31": {"class_type": "PrimitiveString", "inputs": {"value": "a fox"}},
        "61": {"class_type": "CLIPTextEncode", "inputs": {"text": "at night", "clip": ["10", 1]}},
        "62": {"class_type": "ConditioningCombine", "inputs": {"conditioning_1": ["6", 0], "conditioning_2": ["61", 0]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["10", 1]}},
        "8": {"class_type": "ControlNetApplyAdvanced", "inputs": {"positive": ["62", 0], "negative": ["7", 0], "image": ["40", 0]}},
        "3": {"class_type": "KSampler", "inputs": {"seed": ["32", 0], "steps": 20, "cfg": 7, "sampler_name": "euler", "scheduler": "normal",
            "denoise": 1.0, "model": ["10", 0], "positive": ["8", 0], "negative": ["8", 1], "latent_image": ["5", 0]}},
        "32": {"class_type": "Seed (rgthree)", "inputs": {"seed": 9}},
        "11": {"class_type": "LatentUpscale", "inputs": {"samples": ["3", 0], "width": 1024, "height": 1536}},
        "12": {"class_type": "KSampler", "inputs": {"seed": 77, "steps": 10, "cfg": 5, "sampler_name": "dpmpp_2m", "scheduler": "karras",
            "denoise": 0.5, "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["11", 0]}},
        "13": {"class_type": "VAEDecode", "inputs": {"samples": ["12", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["13", 0]}}
    });
    let info = read(&[("prompt", &graph.to_string()), ("workflow", "{}")]).unwrap();
    assert_eq!(info.software, some("ComfyUI"));
    assert_eq!(info.prompt, some("a fox\nat night"));
    assert_eq!(info.negative_prompt, some("blurry"));
    assert_eq!(
        (info.seed, info.steps, info.cfg_scale),
        (Some(9), Some(20), Some(7.0))
    );
    assert_eq!(
        (info.sampler.as_deref(), info.schedule.as_deref()),
        (Some("euler"), Some("normal"))
    );
    assert_eq!((info.width, info.height), (Some(512), Some(768)));
    assert_eq!(info.model, some("sd15/model.safetensors"));
}

#[test]
fn comfyui_parted_samplers_are_followed() {
    let graph = json!({
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox"}},
        "3": {"class_type": "FluxGuidance", "inputs": {"conditioning": ["2", 0], "guidance": 3.5}},
        "4": {"class_type": "BasicGuider", "inputs": {"model": ["1", 0], "conditioning": ["3", 0]}},
        "5": {"class_type": "RandomNoise", "inputs": {"noise_seed": 5}},
        "6": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
        "7": {"class_type": "BasicScheduler", "inputs": {"scheduler": "simple", "steps": 8, "denoise": 1, "model": ["1", 0]}},
        "8": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 1024, "height": 512}},
        "9": {"class_type": "SamplerCustomAdvanced", "inputs": {"noise": ["5", 0], "guider": ["4", 0], "sampler": ["6", 0], "sigmas": ["7", 0], "latent_image": ["8", 0]}},
        "10": {"class_type": "SaveImage", "inputs": {"images": ["9", 0]}}
    });
    let info = read(&[("prompt", &graph.to_string())]).unwrap();
    assert_eq!(
        (info.prompt, info.seed, info.steps),
        (some("a fox"), Some(5), Some(8))
    );
    assert_eq!(
        (info.sampler, info.schedule),
        (some("euler"), some("simple"))
    );
    assert_eq!(
        (info.model, info.width),
        (some("flux1.safetensors"), Some(1024))
    );
}

#[test]
fn comfyui_loops_end() {
    let graph = json!({
        "1": {"class_type": "KSampler", "inputs": {"seed": ["1", 0], "steps": ["2", 0], "model": ["3", 0], "positive": ["4", 0],
            "negative": ["4", 1], "latent_image": ["1", 0]}},
        "2": {"class_type": "A", "inputs": {"value": ["2", 0]}},
        "3": {"class_type": "B", "inputs": {"model": ["3", 0]}},
        "4": {"class_type": "C", "inputs": {"positive": ["4", 1], "negative": ["4", 0], "conditioning": ["4", 0]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}
    });
    // There is a sampler, but nothing can be told of it.
    let info = read(&[("prompt", &graph.to_string())]);
    assert!(info.is_none_or(|info| info.seed.is_none() && info.model.is_none()));
}

#[test]
fn invokeai_old_and_new() {
    let new = json!({"app_version": "4.0", "positive_prompt": "a fox", "negative_prompt": "", "seed": 3, "steps": 12, "cfg_scale": 6.5,
        "scheduler": "euler_a", "width": 512, "height": 640, "clip_skip": 1, "model": {"key": "k", "hash": "blake3:ab", "name": "dream", "base": "sd-1"}});
    let info = read(&[("invokeai_metadata", &new.to_string())]).unwrap();
    assert_eq!(
        (info.prompt, info.negative_prompt),
        (some("a fox"), some(""))
    );
    assert_eq!(
        (info.model, info.model_hash, info.height),
        (some("dream"), some("blake3:ab"), Some(640))
    );
    // One layer left out is what others call 2.
    assert_eq!(info.extra.get("Clip skip").map(String::as_str), Some("2"));
    let line =
        r#""a fox, night [blurry, "bad"]" -s 50 -S 2980747362 -W 512 -H 768 -C 5 -A k_lms -G 0.9"#;
    let info = read(&[("Dream", line)]).unwrap();
    assert_eq!(
        (info.prompt, info.negative_prompt),
        (some("a fox, night"), some("blurry, \"bad\""))
    );
    assert_eq!(
        (info.seed, info.steps, info.sampler),
        (Some(2_980_747_362), Some(50), some("k_lms"))
    );
}

#[test]
fn swarmui_fooocus_novelai() {
    let swarm = json!({"sui_image_params": {"prompt": "a fox", "negativeprompt": "bad", "model": "m", "seed": 1, "steps": 20, "cfgscale": 7.0,
        "width": 64, "height": 32, "sampler": "euler", "scheduler": "karras"}, "sui_models": [{"name": "m", "param": "model", "hash": "0x1"}]});
    let info = read(&[("parameters", &swarm.to_string())]).unwrap();
    assert_eq!(
        (info.software, info.negative_prompt, info.model_hash),
        (some("SwarmUI"), some("bad"), some("0x1"))
    );
    let fooocus = json!({"base_model": "m", "base_model_hash": "h", "prompt": "a fox", "negative_prompt": "", "resolution": "(768, 1280)",
        "seed": "6952411511246973023", "steps": 30, "sampler": "s", "scheduler": "karras", "guidance_scale": 4, "clip_skip": 2});
    let info = read(&[
        ("parameters", &fooocus.to_string()),
        ("fooocus_scheme", "fooocus"),
    ])
    .unwrap();
    assert_eq!(
        (info.software, info.seed),
        (some("Fooocus"), Some(6_952_411_511_246_973_023))
    );
    assert_eq!(
        (info.width, info.height, info.cfg_scale),
        (Some(768), Some(1280), Some(4.0))
    );
    assert_eq!(info.extra.get("Clip skip").map(String::as_str), Some("2"));
    let a1111 = "a fox\nSteps: 30, Sampler: Euler, Seed: 1, Size: 8x8";
    let info = read(&[("fooocus_scheme", "a1111"), ("parameters", a1111)]).unwrap();
    assert_eq!((info.software, info.steps), (some("Fooocus"), Some(30)));
    let comment = json!({"steps": 28, "sampler": "k_euler", "seed": 4, "scale": 11.0, "uc": "bad", "width": 512, "height": 768});
    let info = read(&[
        ("Title", "AI generated image"),
        ("Description", "a fox"),
        ("Software", "NovelAI"),
        ("Source", "NovelAI Diffusion V3 C1E1DE52"),
        ("Comment", &comment.to_string()),
    ])
    .unwrap();
    assert_eq!(
        (info.prompt, info.negative_prompt),
        (some("a fox"), some("bad"))
    );
    assert_eq!(
        (info.model, info.model_hash),
        (some("NovelAI Diffusion V3"), some("C1E1DE52"))
    );
}

#[test]
fn our_own_request_is_kept() {
    let info = read(&[
        (
            "parameters",
            "a fox\nSteps: 3, Sampler: Euler, Seed: 1, Version: Diptych 0.1.0",
        ),
        (REQUEST_KEY, r#"{"prompt":"a fox"}"#),
    ])
    .unwrap();
    assert_eq!(info.software, some("Diptych"));
    assert_eq!(info.request.unwrap()["prompt"], "a fox");
}

#[test]
fn what_is_unknown_is_not_guessed() {
    assert_eq!(read(&[]), None);
    assert_eq!(
        read(&[("Software", "GIMP"), ("Comment", "made with GIMP")]),
        None
    );
    assert_eq!(read(&[("prompt", "just words")]), None);
    assert_eq!(
        read(&[("prompt", r#"{"1":{"class_type":"LoadImage","inputs":{}}}"#)]),
        None
    );
    assert_eq!(read(&[("comment", "a holiday")]), None);
    let deep = "[".repeat(1_000_000);
    assert_eq!(
        read(&[("prompt", &deep), ("invokeai_metadata", &deep)]),
        None
    );
    let wide = format!("[{}0]", "0,".repeat(2_000_000));
    assert_eq!(parse_json(&wide), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_is_read_without_panic(text in "[ -~\n,:\"\\\\äß語]{0,120}", tail in "(Steps: 1, Sampler: \")?[a-z\",:\\\\ ]{0,40}") {
        let _ = a1111::parse(&text);
        let _ = a1111::parse(&format!("{text}\nSteps: 1, Seed: 2, {tail}"));
        let _ = json_forms::dream(&text);
    }

    #[test]
    fn written_settings_come_back(model in "[ -~\n]{0,20}", sampler in "[a-zA-Z+ 0-9]{1,20}", seed: u64, cfg in 0.0f64..100.0) {
        let info = PictureInfo {
            prompt: some("x"), steps: Some(3), seed: Some(seed), cfg_scale: Some(cfg),
            sampler: some(sampler.trim()).filter(|s| !s.is_empty()), schedule: some("Normal"),
            model: some(&model).filter(|m| !m.is_empty()),
            ..PictureInfo::default()
        };
        let back = a1111::parse(&a1111::write(&info));
        prop_assert_eq!(back.model, info.model);
        prop_assert_eq!(back.sampler, info.sampler);
        prop_assert_eq!(back.seed, info.seed);
        prop_assert_eq!(back.cfg_scale, info.cfg_scale);
    }
}
