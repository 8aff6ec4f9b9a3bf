//! Distilled autoencoders in single files, as ComfyUI and AUTOMATIC1111 keep them in `vae_approx`: TAESD by Ollin Boer Bohan
//! (<https://github.com/madebyollin/taesd>).
//!
//! The original is a plain sequence, so its keys are numbers. diffusers' sequence is the same but for the decoder's first layer, which has no weights and
//! no number there. The two halves lie in a file each, or together under a prefix.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use crate::formats::diffusion_model::Component;
use crate::formats::error::FormatError;
use crate::formats::weights::WeightMap;

/// Most layers of one half; TAESD has twenty.
const MOST_LAYERS: usize = 200;

/// A half of the autoencoder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Encoder,
    Decoder,
}

impl Half {
    fn name(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
        }
    }
}

/// Where the decoder's keys begin, and how much its numbers are above diffusers'; `None` if there is none.
fn decoder_of(tensors: &WeightMap) -> Option<(&'static str, usize)> {
    let is = |prefix: &str, first: usize| {
        let has = |layer: usize, end: &str| tensors.contains(&format!("{prefix}{layer}.{end}"));
        // The convolution that takes the latents, and the first block after it.
        has(first, "weight") && has(first, "bias") && has(first + 2, "conv.0.weight")
    };
    [
        ("decoder.layers.", 0),
        ("taesd_decoder.", 1),
        ("decoder.", 1),
        ("", 1),
    ]
    .into_iter()
    .find(|(prefix, first)| is(prefix, *first))
}

/// Whether it is one, with its decoder.
pub(super) fn is_tiny(tensors: &WeightMap) -> bool {
    decoder_of(tensors).is_some()
}

/// diffusers' name of a tensor.
fn new_name(name: &str, (prefix, above): (&str, usize)) -> Option<String> {
    let numbered = |rest: &str, half: Half, above: usize| {
        let (number, end) = rest.split_once('.')?;
        let number: usize = number.parse().ok()?;
        let number = number.checked_sub(above)?;
        (number < MOST_LAYERS).then(|| format!("{}.layers.{number}.{end}", half.name()))
    };
    if let Some(rest) = name.strip_prefix(prefix)
        && let Some(new) = numbered(rest, Half::Decoder, above)
    {
        return Some(new);
    }
    // The encoder's numbers are the same everywhere; in a file by itself it has no decoder beside it.
    let of_encoder = match prefix {
        "decoder.layers." => "encoder.layers.",
        "taesd_decoder." => "taesd_encoder.",
        "decoder." => "encoder.",
        _ => return None,
    };
    numbered(name.strip_prefix(of_encoder)?, Half::Encoder, 0)
}

/// Infers the config and maps the keys of a distilled autoencoder. The encoder may be missing.
///
/// # Errors
/// Tensors that tell the config and are missing or make no sense.
pub fn convert_tiny(path: &Path, tensors: &WeightMap) -> Result<Component, FormatError> {
    let missing = |tensor: &str| FormatError::MissingTensor {
        path: path.into(),
        tensor: tensor.into(),
        wanted: vec![],
    };
    let decoder = decoder_of(tensors).ok_or_else(|| missing("decoder.layers.0.weight"))?;
    let mut weights = WeightMap::new(path);
    for (name, tensor) in tensors.iter() {
        if let Some(new) = new_name(name, decoder) {
            weights.insert(new.as_str(), tensor.renamed(&new));
        }
    }
    let side = |half: Half, layer: usize, axis: usize| {
        let name = format!("{}.layers.{layer}.weight", half.name());
        let tensor = weights.get(&name).ok_or_else(|| missing(&name))?;
        let length = tensor.shape().get(axis).copied();
        length.ok_or_else(|| missing(&name))
    };
    let down =
        levels(&weights, Half::Decoder).ok_or_else(|| missing("decoder.layers.2.conv.0.weight"))?;
    let up = levels(&weights, Half::Encoder);
    let pictures = side(Half::Decoder, down.last, 0)?;
    let taken = match &up {
        Some(_) => side(Half::Encoder, 0, 1)?,
        None => pictures,
    };
    let up = up.unwrap_or_else(|| down.clone());
    Ok(Component {
        class: "AutoencoderTiny".into(),
        config: json!({
            "_class_name": "AutoencoderTiny",
            "in_channels": taken,
            "out_channels": pictures,
            "latent_channels": side(Half::Decoder, 0, 1)?,
            "encoder_block_out_channels": up.widths,
            "num_encoder_blocks": up.blocks,
            "decoder_block_out_channels": down.widths,
            "num_decoder_blocks": down.blocks,
            "act_fn": "relu",
            // It is trained on latents as the U-Net has them.
            "scaling_factor": 1.0,
            "shift_factor": 0.0,
            "upsampling_scaling_factor": 2,
        }),
        config_path: path.into(),
        weights,
    })
}

/// Levels of a half.
#[derive(Clone)]
struct Levels {
    widths: Vec<usize>,
    blocks: Vec<usize>,
    /// Number of the last layer.
    last: usize,
}

/// Levels of a half, as its layers tell them in order: blocks belong to a level, which a convolution without a bias ends (the encoder's begins the next),
/// and one with a bias is the last of all. `None` where the half is missing or no such sequence.
fn levels(weights: &WeightMap, half: Half) -> Option<Levels> {
    let prefix = format!("{}.layers.", half.name());
    // For each number whether it is a block, whether it has a bias, and its width.
    let mut layers: BTreeMap<usize, [Option<usize>; 2]> = BTreeMap::new();
    for (name, tensor) in weights.iter() {
        let Some((number, end)) = name
            .strip_prefix(&prefix)
            .and_then(|rest| rest.split_once('.'))
        else {
            continue;
        };
        let width = tensor.shape().first().copied()?;
        let layer = layers.entry(number.parse().ok()?).or_default();
        match end {
            "conv.0.weight" => layer[0] = Some(width),
            "bias" => layer[1] = Some(width),
            _ => {}
        }
    }
    let mut layers = layers.into_iter();
    let (0, [None, Some(first)]) = layers.next()? else {
        return None;
    };
    let (mut widths, mut blocks) = (vec![first], vec![0]);
    for (number, layer) in layers {
        match layer {
            [Some(width), _] => {
                // Blocks tell the width of the level that they are in.
                *widths.last_mut()? = width;
                *blocks.last_mut()? += 1;
            }
            [None, None] => {
                widths.push(*widths.last()?);
                blocks.push(0);
            }
            [None, Some(_)] => {
                return Some(Levels {
                    widths,
                    blocks,
                    last: number,
                });
            }
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::formats::safetensors::read_safetensors;

    fn folder() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference/models/vae-tiny")
    }

    fn known() -> WeightMap {
        read_safetensors(&folder().join("diffusion_pytorch_model.safetensors"))
            .unwrap()
            .tensors
    }

    /// With the original's names, or those of files that hold both halves.
    fn renamed(of: &WeightMap, decoder: &str, encoder: Option<&str>) -> WeightMap {
        let mut renamed = WeightMap::new("taesd.safetensors");
        for (name, tensor) in of.iter() {
            let mut parts = name.splitn(4, '.');
            let (half, _) = (parts.next().unwrap(), parts.next().unwrap());
            let number: usize = parts.next().unwrap().parse().unwrap();
            let end = parts.next().unwrap();
            let new = match (half, encoder) {
                ("decoder", _) => format!("{decoder}{}.{end}", number + 1),
                (_, Some(encoder)) => format!("{encoder}{number}.{end}"),
                _ => continue,
            };
            renamed.insert(new.as_str(), tensor.renamed(&new));
        }
        renamed
    }

    #[test]
    fn every_spelling_gives_diffusers_names_and_config() {
        let (known, path) = (known(), Path::new("taesd.safetensors"));
        let text = std::fs::read_to_string(folder().join("config.json")).unwrap();
        let wanted: Value = serde_json::from_str(&text).unwrap();
        for (tensors, whole) in [
            (known.clone(), true),
            (
                renamed(&known, "taesd_decoder.", Some("taesd_encoder.")),
                true,
            ),
            (renamed(&known, "decoder.", Some("encoder.")), true),
            (renamed(&known, "", None), false),
        ] {
            assert!(is_tiny(&tensors));
            let part = convert_tiny(path, &tensors).unwrap();
            for (name, tensor) in known.iter() {
                let is_here = whole || name.starts_with("decoder.");
                assert_eq!(part.weights.contains(name), is_here, "{name}");
                if is_here {
                    assert_eq!(part.weights.get(name).unwrap().bytes(), tensor.bytes());
                }
            }
            for key in [
                "in_channels",
                "out_channels",
                "latent_channels",
                "decoder_block_out_channels",
                "num_decoder_blocks",
                "scaling_factor",
                "upsampling_scaling_factor",
            ] {
                assert_eq!(part.config[key], wanted[key], "{key}");
            }
            if whole {
                for key in ["encoder_block_out_channels", "num_encoder_blocks"] {
                    assert_eq!(part.config[key], wanted[key], "{key}");
                }
            }
        }
    }

    #[test]
    fn halves_and_other_networks_are_refused() {
        let known = known();
        assert!(!is_tiny(&known.filter_prefix("encoder.layers.")));
        let mut cut = WeightMap::new("cut");
        for (name, tensor) in known.iter() {
            if !name.starts_with("decoder.layers.13.") {
                cut.insert(name, tensor.clone());
            }
        }
        assert!(is_tiny(&cut) && convert_tiny(Path::new("cut"), &cut).is_err());
        let none = WeightMap::new("none");
        assert!(!is_tiny(&none) && convert_tiny(Path::new("none"), &none).is_err());
    }
}
