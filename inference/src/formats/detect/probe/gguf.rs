//! What is in a GGUF file.

use std::path::Path;

use super::*;

pub(super) fn gguf(path: &Path) -> Result<ModelInfo, FormatError> {
    let file = read_gguf(path)?;
    let meta = &file.metadata;
    let architecture = meta.opt_str("general.architecture")?.unwrap_or("");
    let kind_stated = meta.opt_str("general.type")?.unwrap_or("model");
    let kind = match (kind_stated, architecture) {
        ("adapter", _) => ModelKind::Lora,
        ("mmproj", _) | (_, "clip") => ModelKind::Other,
        (_, name) if PICTURE_ARCHITECTURES.contains(&name) => ModelKind::Denoiser,
        (_, "t5" | "t5encoder" | "bert" | "nomic-bert") => ModelKind::TextEncoder,
        _ if file.tensors.is_empty() => ModelKind::Vocabulary,
        _ => ModelKind::Chat,
    };
    if architecture.is_empty()
        && let Some(info) = checkpoint(path, &file)?
    {
        return Ok(info);
    }
    if !CHAT_ARCHITECTURES.contains(&architecture)
        && crate::formats::split::gguf::is_clip_text(&file)
    {
        let kind = ModelKind::TextEncoder;
        let mut info = start(kind, ModelLayout::Gguf, architecture, &file.tensors);
        info.set_files(weight_files(&file.tensors, path));
        info.unusable = Some(
            "this file is a CLIP text encoder only: name the U-Net that it belongs to, and it beside that (on the command line --model and --clip)".into(),
        );
        return Ok(info);
    }
    let mut info = start(kind, ModelLayout::Gguf, architecture, &file.tensors);
    info.set_files(weight_files(&file.tensors, path));
    info.name = meta.opt_str("general.name")?.map(brief);
    gguf_details(&mut info, meta, architecture);
    info.unusable = gguf_refusal(&file, kind, architecture);
    if kind == ModelKind::Chat {
        info.abilities.push("text completion".into());
        if meta.get("tokenizer.chat_template").is_some() {
            info.abilities.push("chat".into());
        }
    }
    Ok(info)
}

/// A whole checkpoint of a picture model, as stable-diffusion.cpp writes it.
fn checkpoint(path: &Path, file: &Gguf) -> Result<Option<ModelInfo>, FormatError> {
    if identify(&file.tensors) != Identity::StableDiffusion {
        return Ok(None);
    }
    let tensors = crate::formats::split::gguf::tensors(path, file)?;
    Ok(Some(
        match crate::formats::ldm::convert_checkpoint(path, &tensors) {
            Ok(model) => {
                let mut info = describe_diffusion(&model);
                info.layout = ModelLayout::Gguf;
                info.set_files(weight_files(&file.tensors, path));
                info
            }
            Err(fault) if is_refusal(&fault) => {
                let kind = ModelKind::TextToImage;
                let mut info = start(kind, ModelLayout::Gguf, "Stable Diffusion", &file.tensors);
                info.set_files(weight_files(&file.tensors, path));
                info.unusable = Some(fault.to_string());
                info
            }
            Err(fault) => return Err(fault),
        },
    ))
}

fn gguf_details(info: &mut ModelInfo, meta: &GgufMetadata, architecture: &str) {
    for (key, label) in [
        ("context_length", "context length"),
        ("block_count", "layers"),
        ("embedding_length", "width"),
        ("attention.head_count", "heads"),
        ("attention.head_count_kv", "key and value heads"),
        ("expert_count", "experts"),
        ("expert_used_count", "experts a token"),
    ] {
        if let Some(value) = meta.get(&format!("{architecture}.{key}")) {
            info.detail(label, value.summary());
        }
    }
    if let Ok(Some(tokens)) = meta.opt_array("tokenizer.ggml.tokens") {
        info.detail("vocabulary", tokens.len());
    }
    for (key, label) in [
        ("tokenizer.ggml.model", "tokenizer"),
        ("tokenizer.ggml.pre", "pre-tokenizer"),
        ("general.license", "licence"),
        ("general.size_label", "size label"),
    ] {
        if let Some(value) = meta.get(key) {
            info.detail(label, value.summary());
        }
    }
}

fn gguf_refusal(file: &Gguf, kind: ModelKind, architecture: &str) -> Option<String> {
    let shown = brief(architecture);
    let reason = match kind {
        ModelKind::Vocabulary => {
            return Some(
                "this file holds a vocabulary without weights; it can be used with `tokenize` only"
                    .into(),
            );
        }
        ModelKind::Lora => "this file is a LoRA only: LoRAs cannot be applied yet".into(),
        ModelKind::Denoiser if crate::formats::split::gguf::UNETS.contains(&architecture) => {
            return Some(format!(
                "this file is the U-Net of a Stable Diffusion model only (`{shown}`): its text encoder and autoencoder are needed too"
            ));
        }
        ModelKind::Denoiser => format!(
            "this is a picture model of the architecture `{shown}`, which Diptych cannot run yet; use a Stable Diffusion 1.x, 2.x or XL model"
        ),
        ModelKind::Chat if architecture.is_empty() => {
            "the file does not say its architecture (general.architecture); convert the model again"
                .into()
        }
        ModelKind::Chat if CHAT_ARCHITECTURES.contains(&architecture) => {
            if file.metadata.get("tokenizer.ggml.tokens").is_none() {
                return Some(
                    "the file has no tokenizer (tokenizer.ggml.tokens); convert the model again"
                        .into(),
                );
            }
            return check_types(&file.tensors);
        }
        _ => format!(
            "this is a model of the architecture `{shown}`, which Diptych cannot run yet; use one of {}",
            CHAT_ARCHITECTURES.join(", ")
        ),
    };
    Some(reason)
}
