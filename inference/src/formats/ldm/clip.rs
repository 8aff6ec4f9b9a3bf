//! The text encoders: CLIP as transformers names it (1.x), and OpenCLIP with its fused projections (2.x).

use std::path::Path;

use serde_json::{Value, json};

use super::{CLIP, OPEN_CLIP, common_power, count_from, shape_of};
use crate::formats::diffusion_model::{Component, Family};
use crate::formats::error::FormatError;
use crate::formats::weights::{TensorData, WeightMap};

/// Channels of each head in all CLIP text encoders.
const HEAD_SIZE: usize = 64;

struct Shape<'a> {
    /// `[tokens, width]`
    tokens: &'a [usize],
    /// `[longest prompt, width]`
    positions: &'a [usize],
    /// Width between the layers of an MLP.
    intermediate: usize,
    layers: usize,
    activation: &'a str,
}

fn config(shape: &Shape<'_>) -> Value {
    let (vocab, width) = (shape.tokens[0], shape.tokens[1]);
    json!({
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": vocab,
        "hidden_size": width,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": width / common_power(HEAD_SIZE, &[width]),
        "max_position_embeddings": shape.positions[0],
        "hidden_act": shape.activation,
        "layer_norm_eps": 1e-5,
        // The last two tokens of CLIP's vocabulary begin and end a text.
        "bos_token_id": vocab.saturating_sub(2),
        "eos_token_id": vocab.saturating_sub(1),
    })
}

/// 1.x: the names are transformers' own.
pub(in crate::formats) fn convert_clip(
    path: &Path,
    text: &WeightMap,
    family: Family,
) -> Result<Component, FormatError> {
    // Files of the first days leave out this part of the names.
    let short = !text.has_prefix("text_model.");
    let mut weights = WeightMap::new(path);
    for (name, tensor) in text.iter() {
        if name.ends_with("position_ids") {
            continue;
        }
        let name = if short {
            format!("text_model.{name}")
        } else {
            name.to_owned()
        };
        weights.insert(name.as_str(), tensor.renamed(&name));
    }
    let shape = |name: &str| shape_of(path, &weights, CLIP, name, 2);
    let config = config(&Shape {
        tokens: shape("text_model.embeddings.token_embedding.weight")?,
        positions: shape("text_model.embeddings.position_embedding.weight")?,
        intermediate: shape("text_model.encoder.layers.0.mlp.fc1.weight")?[0],
        layers: count_from(&weights, "text_model.encoder.layers.", 0),
        activation: match family {
            // XL's first text encoder is that of 1.x.
            Family::Sd1 | Family::Sdxl => "quick_gelu",
            Family::Sd2 => "gelu",
        },
    });
    Ok(component(path, config, weights))
}

fn component(path: &Path, config: Value, weights: WeightMap) -> Component {
    Component {
        class: "CLIPTextModel".into(),
        config,
        config_path: path.into(),
        weights,
    }
}

/// 2.x: other names, query, key and value in one matrix, and a last layer that is not used: the conditioning is the
/// state before it. In XL (`whole`) it is used for the pooled text, and so is the projection, which stands transposed in the file.
pub(in crate::formats) fn convert_open_clip(
    path: &Path,
    text: &WeightMap,
    whole: bool,
) -> Result<Component, FormatError> {
    let shape = |name: &str, dims| shape_of(path, text, OPEN_CLIP, name, dims);
    let tokens = shape("token_embedding.weight", 2)?;
    let width = tokens[1];
    let found = count_from(text, "transformer.resblocks.", 0);
    // Files that were converted back from diffusers have neither the last layer nor the projection.
    let complete = !whole && text.contains("text_projection") && !(width == 1024 && found == 23);
    let layers = if complete {
        found.saturating_sub(1)
    } else {
        found
    };
    let config = config(&Shape {
        tokens,
        positions: shape("positional_embedding", 2)?,
        intermediate: shape("transformer.resblocks.0.mlp.c_fc.weight", 2)?[0],
        layers,
        activation: "gelu",
    });
    let mut weights = WeightMap::new(path);
    if whole {
        let stored = text.require("text_projection", &[width, projected(text)])?;
        let name = "text_projection.weight";
        weights.insert(name, transposed(&stored, name)?);
    }
    let mut add = |name: String, tensor: &TensorData| {
        weights.insert(name.as_str(), tensor.renamed(&name));
    };
    for (name, tensor) in text.iter() {
        let plain = match name {
            "positional_embedding" => Some("embeddings.position_embedding.weight"),
            "token_embedding.weight" => Some("embeddings.token_embedding.weight"),
            "ln_final.weight" => Some("final_layer_norm.weight"),
            "ln_final.bias" => Some("final_layer_norm.bias"),
            _ => None,
        };
        if let Some(plain) = plain {
            add(format!("text_model.{plain}"), tensor);
            continue;
        }
        let layer = name
            .strip_prefix("transformer.resblocks.")
            .and_then(|rest| rest.split_once('.'))
            .and_then(|(number, leaf)| Some((number.parse::<usize>().ok()?, leaf)));
        let Some((number, leaf)) = layer.filter(|(number, _)| *number < layers) else {
            continue;
        };
        let prefix = format!("text_model.encoder.layers.{number}");
        let fused = match leaf {
            "attn.in_proj_weight" => Some("weight"),
            "attn.in_proj_bias" => Some("bias"),
            _ => None,
        };
        if let Some(kind) = fused {
            for (i, part) in ["q_proj", "k_proj", "v_proj"].iter().enumerate() {
                let rows = tensor.slice_rows(i.saturating_mul(width), width)?;
                add(format!("{prefix}.self_attn.{part}.{kind}"), &rows);
            }
        } else if let Some(leaf) = layer_leaf(leaf) {
            add(format!("{prefix}.{leaf}"), tensor);
        }
    }
    Ok(component(path, config, weights))
}

/// Width of the pooled text.
fn projected(text: &WeightMap) -> usize {
    let shape = text.get("text_projection").map(TensorData::shape);
    shape.and_then(|shape| shape.get(1).copied()).unwrap_or(0)
}

/// A matrix with rows for columns, in its own type.
fn transposed(matrix: &TensorData, name: &str) -> Result<TensorData, FormatError> {
    let (&[rows, columns], size) = (matrix.shape(), matrix.dtype().block_bytes()) else {
        return Ok(matrix.renamed(name));
    };
    let bytes = matrix.bytes();
    let mut turned = Vec::with_capacity(bytes.len());
    for column in 0..columns {
        for row in 0..rows {
            let at = (row * columns + column) * size;
            turned.extend_from_slice(bytes.get(at..at + size).unwrap_or(&[]));
        }
    }
    TensorData::new_owned(name, &[columns, rows], matrix.dtype(), turned)
}

fn layer_leaf(leaf: &str) -> Option<String> {
    const NAMES: [(&str, &str); 5] = [
        ("attn.out_proj.", "self_attn.out_proj."),
        ("ln_1.", "layer_norm1."),
        ("ln_2.", "layer_norm2."),
        ("mlp.c_fc.", "mlp.fc1."),
        ("mlp.c_proj.", "mlp.fc2."),
    ];
    NAMES
        .iter()
        .find_map(|(old, new)| Some(format!("{new}{}", leaf.strip_prefix(old)?)))
}
