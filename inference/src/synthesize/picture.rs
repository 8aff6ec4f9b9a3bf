//! Stable Diffusion 1.5 and XL as single files: every key and shape of the original latent diffusion code.
//!
//! Names and order of layers: `ldm/modules/diffusionmodules/{openaimodel,model}.py` of <https://github.com/CompVis/stable-diffusion>, `sgm` of
//! <https://github.com/Stability-AI/generative-models>; text encoders as transformers and OpenCLIP name them.

use super::{Fill, Kind, Planned};
use crate::formats::{StorageDtype, TensorSpec};

/// Tokens of CLIP's vocabulary, and of the longest prompt.
const CLIP_TOKENS: usize = 49_408;
const CLIP_LENGTH: usize = 77;
/// Channels of the latents.
const LATENTS: usize = 4;

/// A U-Net of the original code.
struct UNet {
    base: usize,
    /// Width of each level in units of the base, and depth of its transformers.
    levels: &'static [(usize, usize)],
    middle_depth: usize,
    layers: usize,
    context: usize,
    /// Whether projections around transformers are matrices rather than 1x1 convolutions.
    linear: bool,
    /// Width of what is told beside the text.
    added: Option<usize>,
}

/// An autoencoder.
struct Vae {
    base: usize,
    levels: &'static [usize],
    layers: usize,
}

/// A text encoder.
struct Text {
    width: usize,
    layers: usize,
}

/// A list of tensors under a prefix.
struct List {
    dtype: StorageDtype,
    prefix: String,
    tensors: Vec<Planned>,
}

impl List {
    fn add(&mut self, name: &str, shape: &[usize]) {
        let name = format!("{}{name}", self.prefix);
        self.tensors.push(Planned::weights(name, shape, self.dtype));
    }

    fn add_filled(&mut self, name: &str, shape: &[usize], dtype: StorageDtype, fill: Fill) {
        let spec = TensorSpec::new(format!("{}{name}", self.prefix), shape, dtype);
        self.tensors.push(Planned { spec, fill });
    }

    fn offsets(&mut self, name: &str, width: usize) {
        self.add_filled(name, &[width], self.dtype, Fill::Offsets);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.add_filled(&format!("{name}.weight"), &[width], self.dtype, Fill::Gains);
        self.offsets(&format!("{name}.bias"), width);
    }

    fn conv(&mut self, name: &str, from: usize, to: usize, kernel: usize) {
        self.add(&format!("{name}.weight"), &[to, from, kernel, kernel]);
        self.offsets(&format!("{name}.bias"), to);
    }

    fn linear(&mut self, name: &str, from: usize, to: usize) {
        self.add(&format!("{name}.weight"), &[to, from]);
        self.offsets(&format!("{name}.bias"), to);
    }
}

/// All tensors of a kind.
pub(super) fn tensors(kind: Kind, dtype: StorageDtype) -> Vec<Planned> {
    let mut list = List {
        dtype,
        prefix: String::new(),
        tensors: Vec::new(),
    };
    let xl = matches!(kind, Kind::Sdxl | Kind::SdxlTiny);
    let tiny = matches!(kind, Kind::SdTiny | Kind::SdxlTiny);
    let clip = match tiny {
        false => Text {
            width: 768,
            layers: 12,
        },
        true => Text {
            width: 64,
            layers: 2,
        },
    };
    let open_clip = match tiny {
        false => Text {
            width: 1280,
            layers: 32,
        },
        true => Text {
            width: 64,
            layers: 2,
        },
    };
    // Six numbers beside the pooled text, each told by so many features.
    let features = if tiny { 32 } else { 256 };
    let unet = UNet {
        base: if tiny { 32 } else { 320 },
        levels: match (tiny, xl) {
            (false, false) => &[(1, 1), (2, 1), (4, 1), (4, 0)],
            (false, true) => &[(1, 0), (2, 2), (4, 10)],
            (true, false) => &[(1, 1), (2, 0)],
            (true, true) => &[(1, 0), (2, 2)],
        },
        middle_depth: match (tiny, xl) {
            (_, false) => 1,
            (false, true) => 10,
            (true, true) => 2,
        },
        layers: if tiny { 1 } else { 2 },
        context: clip.width + if xl { open_clip.width } else { 0 },
        linear: xl,
        added: xl.then_some(open_clip.width + 6 * features),
    };
    let vae = match tiny {
        false => Vae {
            base: 128,
            levels: &[1, 2, 4, 4],
            layers: 2,
        },
        true => Vae {
            base: 32,
            levels: &[1, 1, 2, 2],
            layers: 1,
        },
    };
    list.prefix = "model.diffusion_model.".into();
    put_unet(&mut list, &unet);
    list.prefix = "first_stage_model.".into();
    put_vae(&mut list, &vae);
    if xl {
        list.prefix = "conditioner.embedders.0.transformer.text_model.".into();
        put_clip(&mut list, &clip);
        list.prefix = "conditioner.embedders.1.model.".into();
        put_open_clip(&mut list, &open_clip);
    } else {
        list.prefix = "cond_stage_model.transformer.text_model.".into();
        put_clip(&mut list, &clip);
    }
    list.tensors
}

fn resnet(list: &mut List, at: &str, from: usize, to: usize, time: usize) {
    list.norm(&format!("{at}.in_layers.0"), from);
    list.conv(&format!("{at}.in_layers.2"), from, to, 3);
    list.linear(&format!("{at}.emb_layers.1"), time, to);
    list.norm(&format!("{at}.out_layers.0"), to);
    list.conv(&format!("{at}.out_layers.3"), to, to, 3);
    if from != to {
        list.conv(&format!("{at}.skip_connection"), from, to, 1);
    }
}

fn transformer(list: &mut List, unet: &UNet, at: &str, width: usize, depth: usize) {
    if depth == 0 {
        return;
    }
    let project = |list: &mut List, name: &str| match unet.linear {
        true => list.linear(&format!("{at}.{name}"), width, width),
        false => list.conv(&format!("{at}.{name}"), width, width, 1),
    };
    list.norm(&format!("{at}.norm"), width);
    project(list, "proj_in");
    for block in 0..depth {
        let at = format!("{at}.transformer_blocks.{block}");
        for (attention, keys) in [("attn1", width), ("attn2", unet.context)] {
            list.add(&format!("{at}.{attention}.to_q.weight"), &[width, width]);
            list.add(&format!("{at}.{attention}.to_k.weight"), &[width, keys]);
            list.add(&format!("{at}.{attention}.to_v.weight"), &[width, keys]);
            list.linear(&format!("{at}.{attention}.to_out.0"), width, width);
        }
        list.linear(&format!("{at}.ff.net.0.proj"), width, 8 * width);
        list.linear(&format!("{at}.ff.net.2"), 4 * width, width);
        for norm in ["norm1", "norm2", "norm3"] {
            list.norm(&format!("{at}.{norm}"), width);
        }
    }
    project(list, "proj_out");
}

fn put_unet(list: &mut List, unet: &UNet) {
    let (base, time) = (unet.base, 4 * unet.base);
    list.linear("time_embed.0", base, time);
    list.linear("time_embed.2", time, time);
    if let Some(added) = unet.added {
        list.linear("label_emb.0.0", added, time);
        list.linear("label_emb.0.2", time, time);
    }
    list.conv("input_blocks.0.0", LATENTS, base, 3);
    let (mut width, mut skips, mut block) = (base, vec![base], 1);
    for (level, &(factor, depth)) in unet.levels.iter().enumerate() {
        for _ in 0..unet.layers {
            let at = format!("input_blocks.{block}");
            resnet(list, &format!("{at}.0"), width, factor * base, time);
            width = factor * base;
            transformer(list, unet, &format!("{at}.1"), width, depth);
            skips.push(width);
            block += 1;
        }
        if level + 1 < unet.levels.len() {
            list.conv(&format!("input_blocks.{block}.0.op"), width, width, 3);
            skips.push(width);
            block += 1;
        }
    }
    resnet(list, "middle_block.0", width, width, time);
    transformer(list, unet, "middle_block.1", width, unet.middle_depth);
    resnet(list, "middle_block.2", width, width, time);
    let mut block = 0;
    for (level, &(factor, depth)) in unet.levels.iter().enumerate().rev() {
        for layer in 0..=unet.layers {
            let at = format!("output_blocks.{block}");
            let skip = skips.pop().unwrap_or(base);
            resnet(list, &format!("{at}.0"), width + skip, factor * base, time);
            width = factor * base;
            transformer(list, unet, &format!("{at}.1"), width, depth);
            if level > 0 && layer == unet.layers {
                let place = if depth > 0 { 2 } else { 1 };
                list.conv(&format!("{at}.{place}.conv"), width, width, 3);
            }
            block += 1;
        }
    }
    list.norm("out.0", width);
    list.conv("out.2", width, LATENTS, 3);
}

fn vae_resnet(list: &mut List, at: &str, from: usize, to: usize) {
    list.norm(&format!("{at}.norm1"), from);
    list.conv(&format!("{at}.conv1"), from, to, 3);
    list.norm(&format!("{at}.norm2"), to);
    list.conv(&format!("{at}.conv2"), to, to, 3);
    if from != to {
        list.conv(&format!("{at}.nin_shortcut"), from, to, 1);
    }
}

fn vae_middle(list: &mut List, side: &str, width: usize) {
    vae_resnet(list, &format!("{side}.mid.block_1"), width, width);
    list.norm(&format!("{side}.mid.attn_1.norm"), width);
    for name in ["q", "k", "v", "proj_out"] {
        list.conv(&format!("{side}.mid.attn_1.{name}"), width, width, 1);
    }
    vae_resnet(list, &format!("{side}.mid.block_2"), width, width);
}

fn put_vae(list: &mut List, vae: &Vae) {
    const COLOURS: usize = 3;
    let widest = vae.base * vae.levels.last().copied().unwrap_or(1);
    list.conv("encoder.conv_in", COLOURS, vae.base, 3);
    let mut width = vae.base;
    for (level, factor) in vae.levels.iter().enumerate() {
        for block in 0..vae.layers {
            let at = format!("encoder.down.{level}.block.{block}");
            vae_resnet(list, &at, width, factor * vae.base);
            width = factor * vae.base;
        }
        if level + 1 < vae.levels.len() {
            list.conv(
                &format!("encoder.down.{level}.downsample.conv"),
                width,
                width,
                3,
            );
        }
    }
    vae_middle(list, "encoder", widest);
    list.norm("encoder.norm_out", widest);
    list.conv("encoder.conv_out", widest, 2 * LATENTS, 3);

    list.conv("decoder.conv_in", LATENTS, widest, 3);
    vae_middle(list, "decoder", widest);
    let mut width = widest;
    for (level, factor) in vae.levels.iter().enumerate().rev() {
        for block in 0..=vae.layers {
            let at = format!("decoder.up.{level}.block.{block}");
            vae_resnet(list, &at, width, factor * vae.base);
            width = factor * vae.base;
        }
        if level > 0 {
            list.conv(
                &format!("decoder.up.{level}.upsample.conv"),
                width,
                width,
                3,
            );
        }
    }
    list.norm("decoder.norm_out", width);
    list.conv("decoder.conv_out", width, COLOURS, 3);
    list.conv("quant_conv", 2 * LATENTS, 2 * LATENTS, 1);
    list.conv("post_quant_conv", LATENTS, LATENTS, 1);
}

fn put_clip(list: &mut List, text: &Text) {
    let width = text.width;
    list.add_filled(
        "embeddings.position_ids",
        &[1, CLIP_LENGTH],
        StorageDtype::I64,
        Fill::Count,
    );
    list.add("embeddings.token_embedding.weight", &[CLIP_TOKENS, width]);
    list.add(
        "embeddings.position_embedding.weight",
        &[CLIP_LENGTH, width],
    );
    for layer in 0..text.layers {
        let at = format!("encoder.layers.{layer}");
        for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            list.linear(&format!("{at}.self_attn.{name}"), width, width);
        }
        list.norm(&format!("{at}.layer_norm1"), width);
        list.linear(&format!("{at}.mlp.fc1"), width, 4 * width);
        list.linear(&format!("{at}.mlp.fc2"), 4 * width, width);
        list.norm(&format!("{at}.layer_norm2"), width);
    }
    list.norm("final_layer_norm", width);
}

fn put_open_clip(list: &mut List, text: &Text) {
    let width = text.width;
    list.add("positional_embedding", &[CLIP_LENGTH, width]);
    list.add("text_projection", &[width, width]);
    // The logarithm of 100, where CLIP's training ends up.
    list.add_filled(
        "logit_scale",
        &[],
        list.dtype,
        Fill::Floats(vec![100f32.ln()]),
    );
    list.add("token_embedding.weight", &[CLIP_TOKENS, width]);
    for layer in 0..text.layers {
        let at = format!("transformer.resblocks.{layer}");
        list.add(&format!("{at}.attn.in_proj_weight"), &[3 * width, width]);
        list.offsets(&format!("{at}.attn.in_proj_bias"), 3 * width);
        list.linear(&format!("{at}.attn.out_proj"), width, width);
        list.norm(&format!("{at}.ln_1"), width);
        list.norm(&format!("{at}.ln_2"), width);
        list.linear(&format!("{at}.mlp.c_fc"), width, 4 * width);
        list.linear(&format!("{at}.mlp.c_proj"), 4 * width, width);
    }
    list.norm("ln_final", width);
}
