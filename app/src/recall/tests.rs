use diptych_inference::engine::HiresUpscaler;
use diptych_inference::formats::picture::encode_png;

use super::*;

fn known(name: &str, hash: Option<&str>) -> KnownModel {
    KnownModel {
        model: ModelRef {
            name: name.into(),
            hash: hash.map(str::to_owned),
        },
        path: PathBuf::from(format!("models/{name}.safetensors")),
        title: None,
        factor: 8,
    }
}

fn models() -> Vec<KnownModel> {
    let mut sketch = known("sketch", Some("aaaaaaaaaa"));
    sketch.factor = 4;
    vec![
        sketch,
        known("dreamshaper_8", None),
        known("other", Some("c0d1994c73")),
    ]
}

fn against(models: &[KnownModel]) -> Against<'_> {
    Against {
        models,
        loras: &[],
        model: Some("sketch"),
        sampler: SamplerKind::EulerAncestral,
        schedule: ScheduleKind::Normal,
    }
}

/// A PNG file with texts, read as a dropped one would be.
fn picture(texts: &[(&str, &str)]) -> PictureInfo {
    let texts: Vec<(String, String)> = texts
        .iter()
        .map(|(k, v)| ((*k).into(), (*v).into()))
        .collect();
    let png = encode_png(&[128; 2 * 2 * 3], 2, 2, &texts).unwrap();
    read_bytes("dropped.png", &png).unwrap()
}

const WEB_UI: &str = "a (red:1.2) fox\nNegative prompt: blurry, bad\nSteps: 20, Sampler: DPM++ 2M, \
    Schedule type: Karras, CFG scale: 7.5, Seed: 42, Size: 512x768, Model hash: c0d1994c73, Model: renamed, RNG: CPU, Version: v1.9.0";

#[test]
fn a_web_ui_picture_gives_all_of_its_settings() {
    let models = models();
    let recalled = recall(
        &picture(&[("parameters", WEB_UI)]),
        Part::All,
        &against(&models),
    );
    assert_eq!(
        recalled,
        Recalled {
            software: Some("AUTOMATIC1111".into()),
            prompt: Some("a (red:1.2) fox".into()),
            negative: Some("blurry, bad".into()),
            size: Some((512, 768)),
            steps: Some(20),
            guidance: Some(7.5),
            sampler: Some(SamplerKind::DpmPp2M),
            schedule: Some(ScheduleKind::Karras),
            convention: Some(Convention::KDiffusion),
            spacing: Some(None),
            guidance_rescale: Some(0.0),
            clip_skip: Some(1),
            seed: Some(42),
            noise_source: Some(NoiseSource::Cpu),
            variation: Some(None),
            model: Some(models[2].model.clone()),
            loras: None,
            vae: None,
            init: None,
            controls: None,
            hires: None,
            notes: Vec::new(),
            prompt_syntax: Some(PromptSyntax::A1111),
            emphasis: Some(Emphasis::Original),
        }
    );
    assert_eq!(
        recalled.taken().join(", "),
        "prompt, negative prompt, model, size, steps, guidance, sampler, schedule, seed"
    );
}

#[test]
fn parts_are_taken_alone() {
    let models = models();
    let info = picture(&[("parameters", WEB_UI)]);
    let seed = recall(&info, Part::Seed, &against(&models));
    assert_eq!(seed.taken(), ["seed"]);
    let prompt = recall(&info, Part::Prompt, &against(&models));
    assert_eq!(prompt.taken(), ["prompt", "negative prompt"]);
    let remix = recall(&info, Part::Remix, &against(&models));
    assert_eq!((remix.seed, remix.steps), (None, Some(20)));
    assert_eq!(remix.prompt.as_deref(), Some("a (red:1.2) fox"));
}

#[test]
fn what_cannot_be_taken_over_is_said() {
    let models = models();
    let text = "a fox <lora:ink:0.8>\nSteps: 0, Sampler: Restart, Schedule type: Align Your Steps, CFG scale: 400, Seed: 1, \
        Size: 511x9000, Model hash: 0123456789, Model: sd/fine, Clip skip: 2, Denoising strength: 0.5, Hires upscale: 2, \
        VAE: best.pt, Tiling: True, Face restoration: None, Version: v1.10";
    let recalled = recall(
        &picture(&[("parameters", text)]),
        Part::All,
        &against(&models),
    );
    assert_eq!((recalled.sampler, recalled.schedule), (None, None));
    assert_eq!((recalled.guidance, recalled.model.as_ref()), (None, None));
    assert_eq!(
        (recalled.steps, recalled.size),
        (Some(1), Some((512, 4096)))
    );
    assert_eq!(recalled.clip_skip, Some(2));
    let hires = recalled.hires.clone().flatten();
    let hires = hires.map(|hires| (hires.scale, hires.strength, hires.upscaler));
    assert_eq!(hires, Some((2.0, 0.5, HiresUpscaler::Latent)));
    assert_eq!(recalled.noise_source, Some(NoiseSource::Philox));
    let notes = recalled.notes.join("\n");
    for part in [
        "The sampler 'Restart' is not there yet; kept Euler a",
        "The schedule 'Align Your Steps' is not there yet; kept Normal",
        "'fine' (0123456789), which was not found; kept 'sketch'",
        "The LoRA 'ink' was not found",
        "0 steps",
        "guidance of 400",
        "larger than 4096",
        "VAE 'best.pt'",
        "tiled",
    ] {
        assert!(notes.contains(part), "{part} is missing in\n{notes}");
    }
    assert!(
        !notes.contains("Faces") && !notes.contains("drawn over"),
        "{notes}"
    );
}

#[test]
fn comfyui_and_invokeai_pictures_are_understood() {
    let models = models();
    let graph = r#"{
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15/DreamShaper-8.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["4", 1]}},
        "3": {"class_type": "KSampler", "inputs": {"seed": 9, "steps": 12, "cfg": 6.0, "sampler_name": "euler_ancestral", "scheduler": "karras",
            "denoise": 1.0, "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}}}"#;
    let recalled = recall(&picture(&[("prompt", graph)]), Part::All, &against(&models));
    assert_eq!(recalled.model, Some(models[1].model.clone()));
    assert_eq!(recalled.sampler, Some(SamplerKind::EulerAncestral));
    assert_eq!(
        (recalled.seed, recalled.negative.as_deref()),
        (Some(9), Some(""))
    );
    assert_eq!(recalled.notes, Vec::<String>::new());
    let invoke = r#"{"positive_prompt": "a fox++", "negative_prompt": "", "seed": 3, "steps": 12, "cfg_scale": 6.5, "scheduler": "dpmpp_2m_k",
        "width": 512, "height": 640, "model": {"hash": "blake3:ab", "name": "dream"}}"#;
    let recalled = recall(
        &picture(&[("invokeai_metadata", invoke)]),
        Part::All,
        &against(&models),
    );
    assert_eq!(
        (recalled.sampler, recalled.schedule, recalled.convention),
        (
            Some(SamplerKind::DpmPp2M),
            Some(ScheduleKind::Karras),
            Some(Convention::Diffusers)
        )
    );
    let notes = recalled.notes.join("\n");
    assert!(
        notes.contains("InvokeAI's own signs") && notes.contains("'dream', which was not found"),
        "{notes}"
    );
}

fn own() -> ImageRequest {
    serde_json::from_str(
        r#"{"model": {"name": "sketch", "hash": "aaaaaaaaaa"}, "prompt": "\n a fox\nSteps: 1, Seed: 2, Size: 3x3", "width": 60, "height": 64,
        "steps": 7, "guidance": 4.0, "sampler": "Heun", "schedule": "Normal", "convention": "diffusers", "spacing": "trailing", "seed": 77}"#,
    )
    .unwrap()
}

#[test]
fn our_own_pictures_come_back_exactly() {
    let models = models();
    let request = own();
    let json = serde_json::to_string(&Request::Image(request.clone())).unwrap();
    let info = picture(&[
        ("parameters", "misleading\nSteps: 1, Sampler: DDIM, Seed: 1"),
        ("diptych", &json),
    ]);
    let recalled = recall(&info, Part::All, &against(&models));
    assert_eq!(
        recalled,
        recall_request(&request, Part::All, &against(&models))
    );
    assert_eq!(recalled.prompt.as_deref(), Some(request.prompt.as_str()));
    assert_eq!(
        (recalled.size, recalled.steps, recalled.seed),
        (Some((60, 64)), Some(7), Some(77))
    );
    assert_eq!(
        (recalled.sampler, recalled.spacing),
        (Some(SamplerKind::Heun), Some(Some(Spacing::Trailing)))
    );
    assert_eq!(recalled.notes, Vec::<String>::new());
}

#[test]
fn loras_vae_and_start_of_a_request_are_taken_over() {
    use diptych_inference::engine::{BlobRef, InitPicture, LoraUse};
    let models = models();
    let mut request = own();
    request.prompt = "a fox".into();
    request.loras.push(LoraUse {
        model: ModelRef::named("ink"),
        weight: 0.8,
    });
    let loras = ["ink".to_owned()];
    let against = Against {
        loras: &loras,
        ..against(&models)
    };
    let recalled = recall_request(&request, Part::Prompt, &against);
    assert_eq!(recalled.prompt.as_deref(), Some("a fox"));
    assert_eq!(recalled.loras.as_ref().map(Vec::len), Some(1));
    assert_eq!((&recalled.vae, &recalled.init), (&None, &None));
    assert_eq!(recalled.notes, Vec::<String>::new());
    request.vae = Some(ModelRef::named("soft"));
    request.init = Some(InitPicture {
        picture: BlobRef("a".repeat(64)),
        strength: 0.4,
        mask: None,
    });
    let recalled = recall_request(&request, Part::All, &against);
    assert_eq!(recalled.vae, Some(request.vae.clone()));
    assert_eq!(recalled.init, Some(request.init.clone()));
    let taken = recalled.taken();
    for what in ["LoRAs", "VAE", "start picture"] {
        assert!(taken.contains(&what), "{taken:?}");
    }
    request.loras[0].model.name = "gone".into();
    let notes = recall_request(&request, Part::All, &against).notes;
    assert!(
        notes.iter().any(|note| note.contains("'gone'")),
        "{notes:?}"
    );
    // A picture without LoRAs: its prompt alone leaves the list as it is.
    request.loras.clear();
    assert_eq!(recall_request(&request, Part::Prompt, &against).loras, None);
}

#[test]
fn a_request_of_another_version_falls_back_to_the_text() {
    let models = models();
    let info = picture(&[
        ("parameters", WEB_UI),
        ("diptych", r#"{"image": {"size": "big"}}"#),
    ]);
    let recalled = recall(&info, Part::All, &against(&models));
    assert_eq!((recalled.seed, recalled.steps), (Some(42), Some(20)));
    assert!(
        recalled.notes[0].contains("Another version"),
        "{:?}",
        recalled.notes
    );
}

#[test]
fn a_model_of_the_same_name_and_another_content_is_told() {
    let models = models();
    let mut request = own();
    request.model.hash = Some("bbbbbbbbbb".into());
    let recalled = recall_request(&request, Part::All, &against(&models));
    assert_eq!(recalled.model, Some(models[0].model.clone()));
    assert!(
        recalled.notes[0].contains("another version"),
        "{:?}",
        recalled.notes
    );
}

#[test]
fn settings_copied_as_text_are_read_and_words_are_left_alone() {
    assert_eq!(read_text(WEB_UI).unwrap().seed, Some(42));
    for words in [
        "",
        "a red fox",
        "a fox\nstyle: flat, mood: calm, light: soft",
        "Steps: 5",
    ] {
        assert_eq!(read_text(words), None, "{words}");
    }
}

#[test]
fn files_that_tell_nothing_say_so() {
    let png = encode_png::<&str, &str>(&[0; 3], 1, 1, &[]).unwrap();
    assert!(matches!(
        read_bytes("x.png", &png),
        Err(FormatError::NoGenerationData { .. })
    ));
    assert!(read_bytes("x.png", b"").is_err());
    assert!(read_bytes("x.txt", b"hello there").is_err());
}

/// Real pictures of other programs: `DIPTYCH_METADATA=folder cargo test --release -p diptych --lib recall -- --ignored`.
#[test]
#[ignore = "needs a folder of pictures, named by DIPTYCH_METADATA"]
fn real_pictures_are_taken_over() {
    let folder =
        std::env::var_os("DIPTYCH_METADATA").expect("DIPTYCH_METADATA names a folder of pictures");
    let models = models();
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(info) = read_file(&path) else {
            continue;
        };
        let recalled = recall(&info, Part::All, &against(&models));
        println!(
            "{}: {:?} {:#?}",
            path.display(),
            recalled.taken(),
            recalled.notes
        );
        assert!(
            recalled.prompt.is_some_and(|text| !text.is_empty()),
            "{}",
            path.display()
        );
        assert!(
            recalled.seed.is_some() && recalled.steps.is_some(),
            "{}",
            path.display()
        );
        // A sampler is taken over or told about.
        let told = recalled.notes.iter().any(|note| note.contains("sampler"));
        assert!(recalled.sampler.is_some() || told, "{}", path.display());
        read += 1;
    }
    assert!(read > 0, "no picture could be read");
}
