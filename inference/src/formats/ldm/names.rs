//! From diffusers' names of a U-Net's layers back to those of the original, which many additions to models use.

use super::count_from;
use crate::formats::weights::WeightMap;

/// Residual blocks of each level going down, of a U-Net with diffusers' names.
#[must_use]
pub fn layers_by_level(unet: &WeightMap) -> Vec<usize> {
    (0..count_from(unet, "down_blocks.", 0))
        .map(|level| count_from(unet, &format!("down_blocks.{level}.resnets."), 0))
        .collect()
}

/// The original's name of a layer (without `.weight`), by diffusers' name and the residual blocks of each level.
#[must_use]
pub fn original_name(layer: &str, levels: &[usize]) -> Option<String> {
    const PLAIN: [(&str, &str); 7] = [
        ("conv_in", "input_blocks.0.0"),
        ("time_embedding.linear_1", "time_embed.0"),
        ("time_embedding.linear_2", "time_embed.2"),
        ("add_embedding.linear_1", "label_emb.0.0"),
        ("add_embedding.linear_2", "label_emb.0.2"),
        ("conv_norm_out", "out.0"),
        ("conv_out", "out.2"),
    ];
    if let Some((_, original)) = PLAIN.iter().find(|(name, _)| *name == layer) {
        return Some((*original).to_owned());
    }
    if let Some(rest) = layer.strip_prefix("mid_block.") {
        let (part, rest) = rest.split_once('.')?;
        let (number, rest) = rest.split_once('.')?;
        return match (part, number) {
            ("resnets", "0") => Some(format!("middle_block.0.{}", resnet(rest)?)),
            ("resnets", "1") => Some(format!("middle_block.2.{}", resnet(rest)?)),
            ("attentions", "0") => Some(format!("middle_block.1.{rest}")),
            _ => None,
        };
    }
    let (way, rest) = layer.split_once('.')?;
    let (level, rest) = rest.split_once('.')?;
    let (part, rest) = rest.split_once('.')?;
    let (number, rest) = rest.split_once('.').unwrap_or((rest, ""));
    let (level, number): (usize, usize) = (level.parse().ok()?, number.parse().ok()?);
    let up = way == "up_blocks";
    let (blocks, before) = if up {
        let counts = levels.iter().rev().map(|layers| layers + 1);
        ("output_blocks", counts.take(level).sum::<usize>())
    } else if way == "down_blocks" {
        let counts = levels.iter().map(|layers| layers + 1);
        ("input_blocks", 1 + counts.take(level).sum::<usize>())
    } else {
        return None;
    };
    let layers = if up {
        *levels.iter().rev().nth(level)?
    } else {
        *levels.get(level)?
    };
    Some(match part {
        "resnets" => format!("{blocks}.{}.0.{}", before + number, resnet(rest)?),
        "attentions" => format!("{blocks}.{}.1.{rest}", before + number),
        "downsamplers" => format!("{blocks}.{}.0.op", before + layers),
        // Behind a transformer it is the third; additions name both.
        "upsamplers" => format!("{blocks}.{}.2.conv", before + layers),
        _ => return None,
    })
}

/// Names of a residual block's layers.
fn resnet(leaf: &str) -> Option<&'static str> {
    const NAMES: [(&str, &str); 6] = [
        ("norm1", "in_layers.0"),
        ("conv1", "in_layers.2"),
        ("norm2", "out_layers.0"),
        ("conv2", "out_layers.3"),
        ("time_emb_proj", "emb_layers.1"),
        ("conv_shortcut", "skip_connection"),
    ];
    let found = NAMES.iter().find(|(name, _)| *name == leaf)?;
    Some(found.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names as kohya's scripts have them for SDXL, whose three levels have two residual blocks each.
    #[test]
    fn names_of_sdxl_are_those_of_its_file() {
        for (layer, original) in [
            ("conv_in", "input_blocks.0.0"),
            (
                "down_blocks.0.resnets.1.conv1",
                "input_blocks.2.0.in_layers.2",
            ),
            ("down_blocks.0.downsamplers.0.conv", "input_blocks.3.0.op"),
            (
                "down_blocks.1.attentions.0.proj_in",
                "input_blocks.4.1.proj_in",
            ),
            (
                "down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_k",
                "input_blocks.8.1.transformer_blocks.9.attn2.to_k",
            ),
            ("mid_block.attentions.0.proj_out", "middle_block.1.proj_out"),
            ("mid_block.resnets.1.conv2", "middle_block.2.out_layers.3"),
            (
                "up_blocks.0.attentions.2.proj_in",
                "output_blocks.2.1.proj_in",
            ),
            ("up_blocks.0.upsamplers.0.conv", "output_blocks.2.2.conv"),
            (
                "up_blocks.1.resnets.0.conv_shortcut",
                "output_blocks.3.0.skip_connection",
            ),
            ("add_embedding.linear_2", "label_emb.0.2"),
        ] {
            assert_eq!(
                original_name(layer, &[2, 2, 2]).as_deref(),
                Some(original),
                "{layer}"
            );
        }
        for nothing in [
            "",
            "down_blocks",
            "up_blocks.x.resnets.0.conv1",
            "down_blocks.9.resnets.0.conv1",
        ] {
            assert_eq!(original_name(nothing, &[2, 2, 2]), None, "{nothing}");
        }
    }
}
