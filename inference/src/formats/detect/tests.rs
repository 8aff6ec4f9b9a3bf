use std::path::Path;

use super::*;
use crate::formats::TensorData;
use crate::formats::gguf::write::GgufWriter;
use crate::formats::safetensors::write_safetensors;
use crate::formats::weights::StorageDtype;

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/reference")
        .join(name)
}

#[test]
fn whole_models_are_told_and_usable() {
    for (path, architecture, layout) in [
        (
            "ldm/sd1.safetensors",
            "Stable Diffusion 1.x",
            ModelLayout::Safetensors,
        ),
        (
            "ldm/sd2.safetensors",
            "Stable Diffusion 2.x",
            ModelLayout::Safetensors,
        ),
        (
            "models/tiny-sd",
            "Stable Diffusion",
            ModelLayout::DiffusersFolder,
        ),
        (
            "models/tiny-sd2/model_index.json",
            "Stable Diffusion",
            ModelLayout::DiffusersFolder,
        ),
    ] {
        let info = probe(&reference(path)).unwrap();
        assert_eq!(info.usable(), Ok(()), "{path}");
        assert!(info.is_text_to_image() && !info.is_chat());
        assert_eq!(
            (info.architecture(), info.layout()),
            (architecture, layout),
            "{path}"
        );
        assert_eq!(info.dtypes()[0].dtype, StorageDtype::F16);
        assert!(info.file_bytes() > 2 * info.parameters() / 2, "{path}");
        assert_eq!(info.short_hash().unwrap().len(), 10);
    }
    let v = probe(&reference("ldm/sd2.safetensors")).unwrap();
    assert_eq!(v.details()["prediction"], "v_prediction");
    assert!(
        v.describe()
            .contains("Stable Diffusion 2.x text-to-image model, F16"),
        "{}",
        v.describe()
    );
}

#[test]
fn the_short_hash_is_that_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    write_safetensors(&path, &[("a", [1], [1.0])]).unwrap();
    let info = probe(&path).unwrap();
    let digest = sha2::Sha256::digest(std::fs::read(&path).unwrap());
    let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(info.short_hash().unwrap(), hex[..10]);
}

fn llama() -> GgufWriter {
    let mut writer = GgufWriter::new("llama");
    writer
        .set("general.name", "Tiny")
        .set("llama.context_length", 128u32)
        .set("tokenizer.ggml.tokens", vec!["a".to_owned()])
        .set("tokenizer.chat_template", "x")
        .tensor(TensorData::from_f32("token_embd.weight", &[1, 2], &[0.0; 2]).unwrap());
    writer
}

#[test]
fn gguf_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("named.wrongly");
    let told = |writer: &GgufWriter| {
        writer.write(&path).unwrap();
        probe(&path).unwrap()
    };
    let info = told(&llama());
    assert_eq!(
        (info.usable(), info.is_chat(), info.name()),
        (Ok(()), true, Some("Tiny"))
    );
    assert_eq!(info.abilities(), ["text completion", "chat"]);
    assert_eq!(info.details()["context length"], "128");

    let refused = |change: &dyn Fn(&mut GgufWriter), kind: ModelKind, words: &str| {
        let mut writer = llama();
        change(&mut writer);
        let info = told(&writer);
        assert_eq!(info.kind(), kind);
        let reason = info.usable().unwrap_err();
        assert!(reason.contains(words), "{reason}");
    };
    refused(
        &|w| {
            w.set("general.architecture", "mamba");
        },
        ModelKind::Chat,
        "`mamba`",
    );
    refused(
        &|w| {
            w.set("general.architecture", "flux");
        },
        ModelKind::Denoiser,
        "`flux`",
    );
    refused(
        &|w| {
            w.set("general.type", "adapter");
        },
        ModelKind::Lora,
        "LoRA",
    );
    let mxfp4 = TensorData::new_owned("b", &[1, 32], StorageDtype::Mxfp4, vec![0; 17]).unwrap();
    refused(
        &|w| {
            w.tensor(mxfp4.clone());
        },
        ModelKind::Chat,
        "MXFP4",
    );
    let mut writer = GgufWriter::new("llama");
    writer.set("tokenizer.ggml.tokens", vec!["a".to_owned()]);
    let info = told(&writer);
    assert_eq!(info.kind(), ModelKind::Vocabulary);
    assert!(info.usable().unwrap_err().contains("without weights"));
}

#[test]
fn parts_and_other_models_are_told_by_their_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    for (tensor, kind, words) in [
        ("lora_unet_a.lora_down.weight", ModelKind::Lora, "LoRA"),
        ("control_model.x", ModelKind::ControlNet, "ControlNet"),
        ("double_blocks.0.img_attn.x", ModelKind::Other, "FLUX"),
        ("conditioner.embedders.0.x", ModelKind::Other, "SDXL"),
        (
            "text_model.encoder.x",
            ModelKind::TextEncoder,
            "text encoder",
        ),
        ("noise", ModelKind::Unknown, "not those of a model"),
    ] {
        write_safetensors(&path, &[(tensor, [1], [1.0])]).unwrap();
        let info = probe(&path).unwrap();
        assert_eq!(info.kind(), kind, "{tensor}");
        let reason = info.usable().unwrap_err();
        assert!(reason.contains(words), "{tensor}: {reason}");
    }
}

#[test]
fn a_learnt_word_is_told_by_its_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    write_safetensors(&path, &[("emb_params", [2, 768], [0.5f32; 2 * 768])]).unwrap();
    let info = probe(&path).unwrap();
    assert_eq!(info.kind(), ModelKind::Embedding);
    assert_eq!(info.usable(), Ok(()));
    assert_eq!(info.details()["vectors"], "2");
    assert_eq!(info.details()["for"], "SD 1.5");
}

#[test]
fn what_is_no_model_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("a.gguf"), b"").unwrap();
    std::fs::write(at("b.txt"), b"hello").unwrap();
    std::fs::write(at("c.safetensors"), [0xff; 64]).unwrap();
    std::fs::write(at("d.gguf"), b"GGUF\x03\0\0\0").unwrap();
    assert!(matches!(
        probe(&at("a.gguf")),
        Err(FormatError::UnknownFormat { .. })
    ));
    assert!(matches!(
        probe(&at("b.txt")),
        Err(FormatError::UnknownFormat { .. })
    ));
    assert!(matches!(
        probe(&at("c.safetensors")),
        Err(FormatError::HeaderTooLarge { .. })
    ));
    assert!(matches!(
        probe(&at("d.gguf")),
        Err(FormatError::Truncated { .. })
    ));
    assert!(matches!(probe(&at("none")), Err(FormatError::Io { .. })));
    assert!(matches!(
        probe(folder.path()),
        Err(FormatError::UnknownFormat { .. })
    ));
    // In a listing the damaged ones are told, other files are not.
    let names: Vec<String> = scan(folder.path())
        .iter()
        .map(|(path, info)| {
            assert!(info.is_err());
            path.file_name().unwrap().to_string_lossy().into_owned()
        })
        .collect();
    assert_eq!(names, ["a.gguf", "c.safetensors", "d.gguf"]);
    assert_eq!(scan(&at("b.txt")).len(), 1);

    let mut pickle = b"PK\x03\x04".to_vec();
    pickle.resize(30, 0);
    pickle.extend(b"archive/data.pkl");
    std::fs::write(at("e.bin"), pickle).unwrap();
    let info = probe(&at("e.bin")).unwrap();
    assert_eq!(info.layout(), ModelLayout::Pickle);
    assert!(info.usable().unwrap_err().contains("PyTorch"));
}

#[test]
fn folders_are_searched_once_and_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["deep/er/still", ".hidden", "hub/blobs", "hub/snapshots/1"] {
        std::fs::create_dir_all(at(name)).unwrap();
    }
    llama().write(&at("deep/er/still/model.gguf")).unwrap();
    llama().write(&at(".hidden/model.gguf")).unwrap();
    llama().write(&at("hub/blobs/0123abcd")).unwrap();
    for n in 1..=2u32 {
        let mut part = llama();
        part.set("split.count", 2u32).set("split.no", n - 1);
        if n == 2 {
            part = GgufWriter::new("llama");
            part.set("split.count", 2u32).set("split.no", 1u32);
        }
        part.write(&at(&format!("split-{n:05}-of-00002.gguf")))
            .unwrap();
    }
    std::fs::write(at("notes.txt"), "no model").unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.path(), at("deep/loop")).unwrap();
        std::os::unix::fs::symlink(at("deep/er"), at("deep/again")).unwrap();
        std::os::unix::fs::symlink(at("hub/blobs/0123abcd"), at("hub/snapshots/1/m.gguf")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("broken.gguf")).unwrap();
    }
    let found = scan(folder.path());
    for (path, info) in &found {
        assert_eq!(
            info.as_ref().unwrap().usable(),
            Ok(()),
            "{}",
            path.display()
        );
    }
    let names: Vec<String> = found
        .iter()
        .map(|(path, _)| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let expected: &[&str] = if cfg!(unix) {
        &["model.gguf", "m.gguf", "split-00001-of-00002.gguf"]
    } else {
        &["model.gguf", "split-00001-of-00002.gguf"]
    };
    assert_eq!(names, expected);
}

#[test]
fn a_component_folder_says_what_is_missing() {
    let info = probe(&reference("models/unet-sd1")).unwrap();
    assert_eq!(info.kind(), ModelKind::Denoiser);
    assert!(info.usable().unwrap_err().contains("model_index.json"));
    let gguf = |info: &ModelInfo| info.layout() == ModelLayout::Gguf;
    let found = scan(&reference("models/llama-gqa"));
    assert!(found.len() > 1);
    assert!(
        found
            .iter()
            .skip(1)
            .all(|(_, info)| gguf(info.as_ref().unwrap()))
    );
    let info = probe(&reference("models/llama-linear")).unwrap();
    assert_eq!(info.kind(), ModelKind::Chat);
    assert!(info.usable().unwrap_err().contains("GGUF"));
}

#[test]
fn counts_are_short() {
    for (count, shown) in [
        (7, "7"),
        (12_345, "12 k"),
        (9_800_000, "9.8 M"),
        (859_520_964, "860 M"),
        (1_066_235_307, "1.1 B"),
    ] {
        assert_eq!(short_count(count), shown);
    }
}

#[test]
fn descriptions_have_their_article() {
    for (words, wanted) in [
        ("llama chat model", "a llama chat model"),
        ("autoencoder, F32", "an autoencoder, F32"),
        ("SDXL text-to-image model", "an SDXL text-to-image model"),
        ("Stable Diffusion 1.x LoRA", "a Stable Diffusion 1.x LoRA"),
        ("unknown weights", "unknown weights"),
    ] {
        assert_eq!(super::with_article(words), wanted);
    }
}

/// Told by its tensors alone, or by its config.
#[test]
fn a_controlnet_for_several_kinds_tells_how_many() {
    for (name, kinds) in [
        ("jobs/control-union", Some("6")),
        ("jobs/control-union-file.safetensors", Some("6")),
        ("jobs/control-xl", None),
        ("jobs/control-xl-file.safetensors", None),
    ] {
        let info = probe(&reference(name)).unwrap();
        assert_eq!(info.kind(), ModelKind::ControlNet, "{name}");
        let told = info.details().get("picture kinds").map(String::as_str);
        assert_eq!(told, kinds, "{name}");
    }
}

/// What is converted while loading is foreseen; what lies in a file is not counted.
#[test]
fn what_will_be_converted_is_told() {
    let tiny = probe(&reference("models/tiny-sd")).unwrap();
    assert_eq!(tiny.converted_bytes(), 0);
    for unet in ["unet-scaled.safetensors", "unet-Q8_0.gguf"] {
        let parts = ModelParts::of(reference(&format!("split/{unet}")));
        let whole = split::complete(&ModelParts {
            text_encoders: vec![reference("split/clip.safetensors")],
            vae: Some(reference("split/vae.safetensors")),
            ..parts
        });
        let info = ModelInfo::of_parts(&whole.unwrap()).unwrap();
        let (converted, all) = (info.converted_bytes(), 4 * info.parameters());
        assert!(converted > 0 && converted < all, "{unet}: {converted}");
    }
}
