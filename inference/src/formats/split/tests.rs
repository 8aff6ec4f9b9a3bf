//! Checkpoints of the fixtures taken apart: put together again they are what they were.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use super::*;
use crate::formats::detect::{ModelInfo, ModelKind, probe};
use crate::formats::gguf::write::GgufWriter;
use crate::formats::ldm::open_checkpoint;
use crate::formats::safetensors::write_tensors;
use crate::formats::weights::{StorageDtype, TensorData};
use crate::models::check;

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/reference")
        .join(name)
}

/// Writes the tensors under `prefix`, with names that begin with `new`.
fn part(from: &WeightMap, prefix: &str, new: &str, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    let tensors: Vec<TensorData> = from
        .filter_prefix(prefix)
        .iter()
        .map(|(name, tensor)| tensor.renamed(&format!("{new}{name}")))
        .collect();
    assert!(!tensors.is_empty(), "{prefix}");
    write_tensors(to, &tensors, &BTreeMap::new()).unwrap();
}

fn same(name: &str, wanted: &Component, got: &Component) {
    assert_eq!(wanted.class, got.class, "{name}");
    assert_eq!(wanted.config, got.config, "{name}");
    let names = |part: &Component| part.weights.names().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(names(wanted), names(got), "{name}");
    for (key, tensor) in wanted.weights.iter() {
        let other = got.weights.get(key).unwrap();
        assert_eq!(tensor.shape(), other.shape(), "{name} {key}");
        assert_eq!(tensor.bytes(), other.bytes(), "{name} {key}");
    }
}

#[test]
fn what_was_taken_apart_is_put_together_again() {
    let cases: [(&str, &[&str]); 4] = [
        ("ldm/sd1.safetensors", &["cond_stage_model.transformer."]),
        ("ldm/sd2.safetensors", &["cond_stage_model.model."]),
        (
            "jobs/tiny-sdxl.safetensors",
            &[
                "conditioner.embedders.1.model.",
                "conditioner.embedders.0.transformer.",
            ],
        ),
        (
            "jobs/tiny-refiner.safetensors",
            &["conditioner.embedders.0.model."],
        ),
    ];
    for (place, (file, texts)) in cases.into_iter().enumerate() {
        let whole = open_checkpoint(&reference(file)).unwrap();
        let tensors = read_any(&reference(file)).unwrap().tensors;
        let folder = tempfile::tempdir().unwrap();
        let models = folder.path().join("models");
        // Both with and without their prefix.
        let new = if place == 0 { PREFIX } else { "" };
        let unet = models.join("diffusion_models/xl/the unet.safetensors");
        part(&tensors, PREFIX, new, &unet);
        for (number, prefix) in texts.iter().enumerate() {
            let new = if number == 1 {
                "clip_l.transformer."
            } else {
                ""
            };
            let to = models.join(format!("text_encoders/{number}.safetensors"));
            part(&tensors, prefix, new, &to);
        }
        part(
            &tensors,
            "first_stage_model.",
            "",
            &models.join("vae/a.safetensors"),
        );
        // Neighbours that are none of its parts.
        let lora = TensorData::from_f32("a.lora_down.weight", &[1, 1], &[1.0]).unwrap();
        write_tensors(&models.join("vae/b.safetensors"), &[lora], &BTreeMap::new()).unwrap();
        std::fs::write(models.join("text_encoders/readme.txt"), "no model").unwrap();

        let parts = complete(&ModelParts::of(&unet)).unwrap();
        assert_eq!(parts.text_encoders.len(), texts.len(), "{file}");
        let apart = open(&parts).unwrap();
        assert_eq!(apart.layout, Layout::Split);
        assert_eq!(apart.family, whole.family, "{file}");
        assert_eq!(apart.scheduler, whole.scheduler, "{file}");
        same("unet", &whole.unet, &apart.unet);
        same("vae", &whole.vae, &apart.vae);
        same("text", &whole.text_encoder, &apart.text_encoder);
        assert_eq!(
            whole.text_encoder_2.is_some(),
            apart.text_encoder_2.is_some()
        );
        if let (Some(wanted), Some(got)) = (&whole.text_encoder_2, &apart.text_encoder_2) {
            same("text 2", wanted, got);
        }
        // What a scan says of each.
        let usable: Vec<(ModelKind, bool)> = check::scan(&models)
            .into_iter()
            .map(|(_, info)| {
                info.map(|info| (info.kind(), info.usable().is_ok()))
                    .unwrap()
            })
            .collect();
        assert_eq!(
            usable[0],
            (ModelKind::TextToImage, true),
            "{file}: {usable:?}"
        );
        assert!(
            usable[1..=texts.len()]
                .iter()
                .all(|found| *found == (ModelKind::TextEncoder, false))
        );
    }
}

#[test]
fn what_is_missing_or_does_not_fit_is_told() {
    let tensors = read_any(&reference("jobs/tiny-sdxl.safetensors"))
        .unwrap()
        .tensors;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    part(&tensors, PREFIX, "", &at("unet/u.safetensors"));
    part(
        &tensors,
        "conditioner.embedders.0.transformer.",
        "",
        &at("clip/l.safetensors"),
    );
    let refusal = |parts: &ModelParts| complete(parts).unwrap_err().to_string();
    let alone = ModelParts::of(at("unet/u.safetensors"));
    let told = refusal(&alone);
    assert!(
        told.contains("XL") && told.contains("80 wide") && told.contains("--clip"),
        "{told}"
    );
    // The one file of a scan tells the same.
    let found = check::scan(&at("unet/u.safetensors"));
    let told = found[0].1.as_ref().unwrap().usable().unwrap_err();
    assert!(told.contains("--clip"), "{told}");
    part(
        &tensors,
        "conditioner.embedders.1.model.",
        "",
        &at("clip/g.safetensors"),
    );
    let told = refusal(&alone);
    assert!(told.contains("VAE") && told.contains("--vae"), "{told}");
    part(
        &tensors,
        "first_stage_model.",
        "",
        &at("vae/one.safetensors"),
    );
    complete(&alone).unwrap();
    part(
        &tensors,
        "first_stage_model.",
        "",
        &at("vae/two.safetensors"),
    );
    let told = refusal(&alone);
    assert!(
        told.contains("one.safetensors") && told.contains("two.safetensors"),
        "{told}"
    );
    let with = |texts: &[&str], vae: Option<&str>| ModelParts {
        text_encoders: texts.iter().map(|name| at(name)).collect(),
        vae: vae.map(&at),
        ..alone.clone()
    };
    complete(&with(&[], Some("vae/two.safetensors"))).unwrap();
    complete(&with(
        &["clip/g.safetensors", "clip/l.safetensors"],
        Some("vae/two.safetensors"),
    ))
    .unwrap();
    let told = refusal(&with(&["clip/l.safetensors"], None));
    assert!(
        told.contains("named are") && told.contains("16 wide"),
        "{told}"
    );
    let told = refusal(&with(&["vae/one.safetensors"], None));
    assert!(told.contains("no CLIP text encoder"), "{told}");
    let told = refusal(&ModelParts::of(at("clip/l.safetensors")));
    assert!(told.contains("CLIP text encoder"), "{told}");
    part(
        &tensors,
        "conditioner.embedders.1.model.",
        "",
        &at("clip/g2.safetensors"),
    );
    let told = refusal(&with(&[], Some("vae/two.safetensors")));
    assert!(
        told.contains("g2.safetensors") && told.contains("several"),
        "{told}"
    );
}

#[test]
fn ggufs_of_other_models_and_false_shapes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, architecture: &str, sizes: Vec<i32>| {
        let path = folder.path().join(name);
        let mut writer = GgufWriter::default();
        writer.set("general.architecture", architecture.to_owned());
        writer.set("comfy.gguf.orig_shape.input_blocks.0.0.weight", sizes);
        let bytes = vec![0; 34 * 9 * 4];
        let tensor = TensorData::new_owned(
            "input_blocks.0.0.weight",
            &[9 * 4, 32],
            StorageDtype::Q8_0,
            bytes,
        );
        writer.tensor(tensor.unwrap());
        writer.write(&path).unwrap();
        path
    };
    let read = |path: &Path| gguf::read(path).map(|file| file.tensors);
    let good = read(&written("good.gguf", "sdxl", vec![32, 4, 3, 3])).unwrap();
    let tensor = good.get("input_blocks.0.0.weight").unwrap();
    assert_eq!(
        (tensor.shape(), tensor.dtype()),
        (&[32, 4, 3, 3][..], StorageDtype::F16)
    );
    assert_eq!(tensor.byte_count(), 2 * 32 * 36);
    assert!(tensor.to_f32().unwrap().iter().all(|value| *value == 0.0));
    let packed = read(&written("packed.gguf", "sd1", vec![18, 64])).unwrap();
    let packed = packed.get("input_blocks.0.0.weight").unwrap();
    assert_eq!(
        (packed.shape(), packed.dtype()),
        (&[18, 64][..], StorageDtype::Q8_0)
    );
    for (sizes, word) in [
        (vec![32, 4, 3], "1152 elements"),
        (vec![-32, -4, 3, 3], "1152 elements"),
        (vec![], "1152 elements"),
    ] {
        let told = read(&written("false.gguf", "sd1", sizes))
            .unwrap_err()
            .to_string();
        assert!(told.contains(word), "{told}");
    }
    let told = read(&written("flux.gguf", "flux", vec![32, 4, 3, 3]))
        .unwrap_err()
        .to_string();
    assert!(told.contains("flux"), "{told}");
    // A scan tells what it is, without reading weights.
    for (name, word) in [("flux.gguf", "flux"), ("good.gguf", "U-Net")] {
        let info: ModelInfo = probe(&folder.path().join(name)).unwrap();
        assert_eq!(info.kind(), ModelKind::Denoiser);
        assert!(info.usable().unwrap_err().contains(word));
        let found = check::scan(&folder.path().join(name));
        assert!(found[0].1.as_ref().unwrap().usable().is_err());
    }
}
