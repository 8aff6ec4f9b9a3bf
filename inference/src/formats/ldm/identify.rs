//! What kind of model a set of tensors is, told by names that only that kind has.

use super::{CLIP, OPEN_CLIP, UNET, VAE};
use crate::formats::weights::WeightMap;

/// What the tensors of a single file are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Identity {
    /// A Stable Diffusion 1.x, 2.x or XL checkpoint, whole as far as the prefixes tell.
    StableDiffusion,
    /// A model that is known and cannot be run.
    Other {
        /// Its name in words.
        what: &'static str,
    },
    /// A single part of a model, or something to be added to one.
    Part {
        /// Its name in words.
        what: &'static str,
    },
    /// None of these.
    Unknown,
}

/// What a text encoder by itself is called.
pub(in crate::formats) const CLIP_TEXT: &str = "a CLIP text encoder";

/// Tells what the tensors are.
#[must_use]
pub fn identify(tensors: &WeightMap) -> Identity {
    use Identity::{Other, Part, Unknown};
    let has = |name: &str| tensors.contains(name);
    let begins = |prefix: &str| tensors.has_prefix(prefix);
    // Files of the diffusion network alone leave out the prefix.
    let network = |name: &str| begins(&format!("{UNET}{name}")) || begins(name);

    if is_lora(tensors) {
        return Part { what: "a LoRA" };
    }
    if crate::formats::upscaler::is_upscaler(tensors) {
        return Part {
            what: "an upscaler",
        };
    }
    if begins("control_model.")
        || begins("controlnet_cond_embedding.")
        || begins("input_hint_block.")
    {
        return Part {
            what: "a ControlNet",
        };
    }
    // Additions to models that are known by name, to be told from what is nothing at all.
    for (name, what) in [
        ("adapter.body.", "a T2I adapter"),
        ("body.0.block1.", "a T2I adapter"),
        ("ip_adapter.", "an IP-Adapter"),
        ("vision_model.encoder.", "a CLIP image encoder"),
        (
            "down_blocks.0.motion_modules.",
            "an AnimateDiff motion module",
        ),
    ] {
        if begins(name) && !begins("text_model.") {
            return Other { what };
        }
    }
    for (name, what) in [
        ("joint_blocks.", "Stable Diffusion 3"),
        ("single_stream_modulation.", "FLUX.2"),
        ("distilled_guidance_layer.", "Chroma"),
        ("double_blocks.", "FLUX or another model of its kind"),
        ("double_stream_blocks.", "HiDream"),
        ("patchify_proj.", "LTX-Video"),
        ("txtfusion.", "Krea 2"),
        ("head.modulation", "Wan"),
        ("double_layers.", "AuraFlow"),
        ("cap_embedder.", "Lumina or Z-Image"),
        ("clip_txt_mapper.", "Stable Cascade"),
        ("net.x_embedder.", "Cosmos"),
        (
            "txt_in.",
            "Qwen-Image, HunyuanVideo or another model of their kind",
        ),
    ] {
        if network(name) {
            return Other { what };
        }
    }
    let unet = if has(&format!("{UNET}input_blocks.0.0.weight")) {
        Some(UNET)
    } else {
        has("input_blocks.0.0.weight").then_some("")
    };
    if let Some(prefix) = unet {
        return identify_unet(tensors, prefix);
    }
    if begins("conditioner.embedders.") {
        return Other { what: "SDXL" };
    }
    if begins(UNET) {
        return Other {
            what: "a diffusion model of an unknown architecture",
        };
    }
    if begins("down_blocks.0.") && has("conv_in.weight") {
        return Part {
            what: "a U-Net with diffusers' names",
        };
    }
    let autoencoder = |p: &str| {
        has(&format!("{p}decoder.conv_in.weight")) && has(&format!("{p}decoder.conv_out.weight"))
    };
    if autoencoder("") || autoencoder(VAE) {
        return Part {
            what: "an autoencoder (VAE)",
        };
    }
    if super::is_tiny(tensors) {
        return Part {
            what: "a tiny autoencoder (TAESD)",
        };
    }
    if begins("text_model.encoder.")
        || begins(CLIP)
        || begins(OPEN_CLIP)
        || tensors.names().any(is_text_layer)
    {
        return Part { what: CLIP_TEXT };
    }
    if crate::formats::embedding::is_embedding(tensors) {
        return Part {
            what: "a textual inversion embedding",
        };
    }
    if has("model.embed_tokens.weight") && begins("model.layers.0.") {
        return Part {
            what: "the weights of a language model",
        };
    }
    if begins("encoder.block.0.layer.0.SelfAttention.") {
        return Part {
            what: "a T5 text encoder",
        };
    }
    Unknown
}

fn is_lora(tensors: &WeightMap) -> bool {
    let ends = [
        ".lora_down.weight",
        ".lora_up.weight",
        ".lora_A.weight",
        ".lora.down.weight",
        ".hada_w1_a",
        ".lokr_w1",
    ];
    tensors
        .names()
        .any(|name| ends.iter().any(|end| name.ends_with(end)))
}

/// A U-Net of the original code: which one is told by its inputs and by what stands beside it.
fn identify_unet(tensors: &WeightMap, prefix: &str) -> Identity {
    use Identity::{Other, Part, StableDiffusion};
    let shape = |name: &str| {
        tensors
            .get(&format!("{prefix}{name}"))
            .map(crate::formats::TensorData::shape)
    };
    let embeds_more = shape("label_emb.0.0.weight").is_some();
    let xl = tensors.has_prefix(super::OPEN_CLIP_XL) && tensors.has_prefix(super::CLIP_XL)
        || tensors.has_prefix(super::OPEN_CLIP_REFINER);
    if !xl && embeds_more && is_sdxl(tensors, prefix) {
        return Part {
            what: "the U-Net of an SDXL model",
        };
    }
    if !xl && tensors.has_prefix("conditioner.embedders.") {
        return Other {
            what: "an SDXL model without one of its text encoders",
        };
    }
    let inputs = shape("input_blocks.0.0.weight").and_then(|s| s.get(1).copied());
    let outputs = shape("out.2.weight").and_then(|s| s.first().copied());
    match (inputs, outputs) {
        (Some(8), Some(4)) => {
            return Other {
                what: "an InstructPix2Pix model",
            };
        }
        (Some(7), Some(4)) => {
            return Other {
                what: "the Stable Diffusion upscaler",
            };
        }
        (Some(5), Some(4)) => {
            return Other {
                what: "the depth-guided Stable Diffusion 2",
            };
        }
        _ => {}
    }
    let alone = ![VAE, "cond_stage_model.", "conditioner."]
        .iter()
        .any(|part| tensors.has_prefix(part));
    // unCLIP is made of 2.x; by itself anything else that is told more than the text is of the XL family.
    let of_xl = alone
        && super::unet::context_width(&tensors.filter_prefix(prefix))
            .is_some_and(|width| width != 1024);
    if embeds_more && !xl && of_xl {
        return Part {
            what: "the U-Net of an SDXL model",
        };
    }
    if embeds_more && !xl {
        return Other {
            what: "a Stable Diffusion model conditioned on classes or pictures (unCLIP)",
        };
    }
    if tensors
        .names()
        .any(|name| name.contains(".time_stack.") || name.contains(".time_mixer."))
    {
        return Other {
            what: "Stable Video Diffusion",
        };
    }
    if prefix.is_empty() || alone {
        return Part {
            what: "the U-Net of a Stable Diffusion model",
        };
    }
    StableDiffusion
}

/// The first layer of a text encoder, by transformers' name or OpenCLIP's, under whatever prefix.
fn is_text_layer(name: &str) -> bool {
    (name.ends_with("text_model.encoder.layers.0.layer_norm1.weight")
        || name.ends_with("transformer.resblocks.0.ln_1.weight"))
        && !name.contains("visual")
}

/// The context of SDXL is 2048 wide, that of its refiner 1280.
fn is_sdxl(tensors: &WeightMap, prefix: &str) -> bool {
    super::unet::context_width(&tensors.filter_prefix(prefix))
        .is_some_and(|width| width == 2048 || width == 1280)
}
