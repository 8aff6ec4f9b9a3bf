//! Whether the models that files hold can really be built: the last word on what [`detect`] finds.

use std::path::{Path, PathBuf};

use crate::formats::FormatError;
use crate::formats::detect::{self, ModelInfo, ModelKind};
use crate::formats::diffusion_model::{Component, open_diffusion_model};
use crate::formats::gguf::read_gguf;
use crate::formats::ldm::open_controlnet;
use crate::formats::split::{self, ModelParts};
use crate::formats::upscaler::{UpscalerConfig, open_upscaler};
use crate::text::tokenizer::FolderTokenizer;

use super::autoencoder_kl::AutoencoderKlConfig;
use super::autoencoder_tiny::AutoencoderTinyConfig;
use super::clip_text::ClipTextConfig;
use super::controlnet::ControlNetConfig;
use super::error::Result;
use super::unet::UNetConfig;
use crate::formats::detect::Remembers;
use crate::graph::{KV_PAGE, KvShape, KvType};

use super::{AutoencoderKl, AutoencoderTiny, ClipText, ControlNet, Llama, RrdbNet, SrVgg, UNet};

/// All models at a path as [`detect::scan`] finds them, each checked by [`check`].
#[must_use]
pub fn scan(path: &Path) -> Vec<(PathBuf, std::result::Result<ModelInfo, FormatError>)> {
    let mut found = detect::scan(path);
    for (path, info) in &mut found {
        if let Ok(info) = info {
            check(path, info);
        }
    }
    found
}

/// Makes the networks of a model whose files look usable, which compares every weight with what the config needs, and notes
/// in `info` what is wrong. Weights are neither read nor copied.
pub fn check(path: &Path, info: &mut ModelInfo) {
    if info.kind() == ModelKind::Denoiser {
        complete(path, info);
    }
    if info.usable().is_err() {
        return;
    }
    let kind = info.kind();
    let made = detect::guarded(path, || {
        Ok(match kind {
            ModelKind::Chat => chat(path).map(|remembers| info.note_remembers(remembers)),
            ModelKind::TextToImage => text_to_image(path, info).map_err(|fault| fault.to_string()),
            ModelKind::ControlNet => controlnet(path).map_err(|fault| fault.to_string()),
            ModelKind::Upscaler => upscaler(path).map_err(|fault| fault.to_string()),
            _ => Ok(()),
        })
    });
    if let Err(fault) = made.unwrap_or_else(|fault| Err(fault.to_string())) {
        info.refuse_because(fault);
    }
}

fn chat(path: &Path) -> std::result::Result<Remembers, String> {
    let llama = if path.is_dir() {
        let llama = Llama::from_folder(path).map_err(|fault| fault.to_string())?;
        // A tokenizer that is not known makes the model of no use.
        FolderTokenizer::open(path).map_err(|fault| fault.to_string())?;
        llama
    } else {
        let file = read_gguf(path).map_err(|fault| fault.to_string())?;
        Llama::from_gguf(&file).map_err(|fault| fault.to_string())?
    };
    let config = llama.config();
    Ok(Remembers {
        tokens: config.context_length,
        layers: config.layers.len(),
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
    })
}

/// Tokens of a full conversation with a chat model, of which at most `longest` are wanted, and the bytes that their keys and values take.
#[must_use]
pub fn full_conversation(remembers: Remembers, longest: usize, kv_type: KvType) -> (usize, u64) {
    let tokens = remembers.tokens.clamp(1, longest.max(1));
    let shape = KvShape {
        layers: remembers.layers,
        kv_heads: remembers.kv_heads,
        head_dim: remembers.head_dim,
        pages: tokens.div_ceil(KV_PAGE),
        kv_type,
    };
    (tokens, shape.bytes())
}

/// A U-Net by itself is a model where its other parts are found; else it is told what is missing.
fn complete(path: &Path, info: &mut ModelInfo) {
    let whole =
        split::complete(&ModelParts::of(path)).and_then(|parts| ModelInfo::of_parts(&parts));
    match whole {
        Ok(whole) => *info = whole,
        Err(fault) => info.refuse_because(fault.to_string()),
    }
}

/// A model of the parts that are named; those that are not are looked for beside the U-Net.
///
/// # Errors
/// Parts that are missing, faulty, of another kind, or do not belong together.
pub fn of_parts(parts: &ModelParts) -> std::result::Result<ModelInfo, FormatError> {
    let mut info = ModelInfo::of_parts(&split::complete(parts)?)?;
    check(&parts.unet, &mut info);
    Ok(info)
}

fn text_to_image(path: &Path, info: &ModelInfo) -> Result<()> {
    let files = match info.parts() {
        Some(parts) => split::open(parts)?,
        None => open_diffusion_model(path)?,
    };
    let part = &files.text_encoder;
    let config = ClipTextConfig::from_json(&part.config_path, &part.config)?;
    let mut text_width = config.hidden_size;
    ClipText::new(config, part.weights.clone())?;
    if let Some(part) = &files.text_encoder_2 {
        let config = ClipTextConfig::from_json(&part.config_path, &part.config)?;
        text_width += config.hidden_size;
        ClipText::new(config, part.weights.clone())?;
    }
    let latent_channels = autoencoder(&files.vae)?;
    let part = &files.unet;
    let config = UNetConfig::from_json(&part.config_path, &part.config)?;
    let misfit = |key: &str, found: usize, whose: &str, wanted: usize| FormatError::InvalidConfig {
        path: part.config_path.clone(),
        key: key.into(),
        reason: format!("is {found}, but that of the {whose} is {wanted}"),
    };
    for (key, channels) in [
        ("in_channels", config.in_channels),
        ("out_channels", config.out_channels),
    ] {
        // Networks made for inpainting also see a mask and the masked picture.
        let inpaints = key == "in_channels" && channels == 2 * latent_channels + 1;
        if channels != latent_channels && !inpaints {
            return Err(misfit(key, channels, "autoencoder", latent_channels).into());
        }
    }
    if config.cross_attention_dim != text_width {
        let width = config.cross_attention_dim;
        return Err(misfit("cross_attention_dim", width, "text encoder", text_width).into());
    }
    UNet::new(config, part.weights.clone())?;
    Ok(())
}

fn controlnet(path: &Path) -> Result<()> {
    let part = open_controlnet(path)?;
    let config = ControlNetConfig::from_json(&part.config_path, &part.config)?;
    ControlNet::new(config, part.weights)?;
    Ok(())
}

fn upscaler(path: &Path) -> Result<()> {
    let file = open_upscaler(path)?;
    match file.config {
        UpscalerConfig::Rrdb(config) => RrdbNet::new(config, file.weights).map(|_| ()),
        UpscalerConfig::Compact(config) => SrVgg::new(config, file.weights).map(|_| ()),
    }
}

/// Gives the channels of the latents.
fn autoencoder(part: &Component) -> Result<usize> {
    if part.class == "AutoencoderTiny" {
        let config = AutoencoderTinyConfig::from_json(&part.config_path, &part.config)?;
        let channels = config.latent_channels;
        AutoencoderTiny::new(config, part.weights.clone())?;
        return Ok(channels);
    }
    let config = AutoencoderKlConfig::from_json(&part.config_path, &part.config)?;
    let channels = config.latent_channels;
    AutoencoderKl::new(config, part.weights.clone())?;
    Ok(channels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::gguf::write::GgufWriter;
    use crate::formats::safetensors::{read_safetensors, write_tensors};

    fn reference(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/reference")
            .join(name)
    }

    #[test]
    fn whole_models_pass() {
        for name in [
            "ldm/sd1.safetensors",
            "ldm/sd2.safetensors",
            "models/tiny-sd",
            "models/tiny-sd2",
        ] {
            let found = scan(&reference(name));
            assert_eq!(found.len(), 1, "{name}");
            assert_eq!(found[0].1.as_ref().unwrap().usable(), Ok(()), "{name}");
        }
    }

    #[test]
    fn the_built_in_models_pass() {
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/models");
        let found = scan(&assets);
        let kinds: Vec<ModelKind> = found
            .iter()
            .map(|(path, info)| {
                let info = info.as_ref().unwrap();
                assert_eq!(info.usable(), Ok(()), "{}", path.display());
                info.kind()
            })
            .collect();
        assert_eq!(kinds, [ModelKind::Chat, ModelKind::TextToImage]);
    }

    #[test]
    fn a_missing_weight_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sd1.safetensors");
        let file = read_safetensors(&reference("ldm/sd1.safetensors")).unwrap();
        let gone = "model.diffusion_model.out.2.bias";
        let kept: Vec<_> = file
            .tensors
            .iter()
            .filter(|(name, _)| *name != gone)
            .map(|(_, tensor)| tensor.clone())
            .collect();
        write_tensors(&path, &kept, &file.metadata).unwrap();
        let found = scan(&path);
        let reason = found[0].1.as_ref().unwrap().usable().unwrap_err();
        assert!(reason.contains("conv_out.bias"), "{reason}");
    }

    #[test]
    fn a_gguf_without_its_layers_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gguf");
        let whole = read_gguf(&reference("models/llama-gqa/model-F16.gguf")).unwrap();
        let mut writer = GgufWriter::default();
        for (key, value) in whole.metadata.iter() {
            writer.set(key, value.clone());
        }
        writer.set("tokenizer.ggml.tokens", vec!["a".to_owned()]);
        for (name, tensor) in whole.tensors.iter() {
            if name != "blk.0.ffn_up.weight" {
                writer.tensor(tensor.clone());
            }
        }
        writer.write(&path).unwrap();
        let found = scan(folder.path());
        let reason = found[0].1.as_ref().unwrap().usable().unwrap_err();
        assert!(reason.contains("blk.0.ffn_up.weight"), "{reason}");
    }
}
