//! U-Nets, text encoders and checkpoints in GGUF.
//!
//! ComfyUI-GGUF (city96) writes U-Nets by the original's names without their prefix, with the architecture `sd1` or `sdxl`. Rows that no
//! type's blocks divide are joined before they are quantised; the shape that a tensor had is kept in `comfy.gguf.orig_shape.NAME`.
//! stable-diffusion.cpp writes whole checkpoints, by the names of single files and without an architecture.

use std::collections::BTreeMap;
use std::path::Path;

use crate::formats::error::FormatError;
use crate::formats::gguf::{Gguf, GgufMetadata, read_gguf};
use crate::formats::ldm::{CLIP_TEXT, Identity, identify};
use crate::formats::safetensors::Safetensors;
use crate::formats::scaled::halves;
use crate::formats::weights::{StorageDtype, TensorData, WeightMap, element_count};

/// Architectures of U-Nets that are run here.
pub(in crate::formats) const UNETS: [&str; 2] = ["sd1", "sdxl"];
const SHAPE: &str = "comfy.gguf.orig_shape.";

/// The tensors of a picture model, each in the shape that its network wants. What cannot be multiplied packed (convolutions, and rows
/// that are no whole blocks) becomes 16-bit floats when it is first used.
///
/// # Errors
/// All faults of the file; models that are no Stable Diffusion, by name.
pub(in crate::formats) fn read(path: &Path) -> Result<Safetensors, FormatError> {
    let file = read_gguf(path)?;
    let architecture = file.metadata.opt_str("general.architecture")?;
    match architecture {
        None | Some("") => {}
        Some(name) if UNETS.contains(&name) => {}
        Some(name) => {
            return Err(FormatError::UnsupportedModel {
                path: path.into(),
                what: format!("a model of the architecture `{name}`"),
                remedy: "use a U-Net of Stable Diffusion 1.x or XL".into(),
            });
        }
    }
    tensors(path, &file)
}

/// The tensors of a CLIP text encoder, by transformers' names or OpenCLIP's. Programs write them without an architecture (stable-diffusion.cpp), or with
/// one of their own.
///
/// # Errors
/// All faults of the file; text encoders of other kinds, by name.
pub(in crate::formats) fn read_text(path: &Path) -> Result<WeightMap, FormatError> {
    let file = read_gguf(path)?;
    if !is_clip_text(&file) {
        let architecture = file.metadata.opt_str("general.architecture")?;
        return Err(FormatError::UnsupportedModel {
            path: path.into(),
            what: format!(
                "a model of the architecture `{}`",
                architecture.unwrap_or("(none)")
            ),
            remedy:
                "use a CLIP text encoder (CLIP-L, CLIP-G or CLIP-H) of a Stable Diffusion model"
                    .into(),
        });
    }
    let mut text = WeightMap::new(path);
    for (name, tensor) in tensors(path, &file)?.tensors.iter() {
        // Positions are added as they are, not looked up or multiplied.
        let added = name.contains("position_embedding") || name.contains("positional_embedding");
        let tensor = match added && tensor.dtype().block_len() > 1 {
            true => unpacked(tensor)?,
            false => tensor.clone(),
        };
        text.insert(name, tensor);
    }
    Ok(text)
}

/// Whether a file holds a CLIP text encoder and nothing else; told by its tensors, since architectures say little.
pub(in crate::formats) fn is_clip_text(file: &Gguf) -> bool {
    matches!(identify(&file.tensors), Identity::Part { what } if what == CLIP_TEXT)
}

/// As 16-bit floats, made when they are first used.
fn unpacked(tensor: &TensorData) -> Result<TensorData, FormatError> {
    let packed = tensor.clone();
    TensorData::made_later(tensor, StorageDtype::F16, move || {
        // Callers make sure of the type.
        halves(&packed.to_f32().unwrap_or_default())
    })
}

/// As [`read`], of a file that was read.
pub(in crate::formats) fn tensors(path: &Path, file: &Gguf) -> Result<Safetensors, FormatError> {
    let mut tensors = WeightMap::new(path);
    for (name, tensor) in file.tensors.iter() {
        tensors.insert(name, in_shape(path, &file.metadata, name, tensor)?);
    }
    Ok(Safetensors {
        tensors,
        metadata: BTreeMap::new(),
    })
}

fn in_shape(
    path: &Path,
    metadata: &GgufMetadata,
    name: &str,
    tensor: &TensorData,
) -> Result<TensorData, FormatError> {
    let key = format!("{SHAPE}{name}");
    let shape = match metadata.opt_ints(&key)? {
        None => tensor.shape().to_vec(),
        Some(sizes) => {
            let shape: Option<Vec<usize>> =
                sizes.iter().map(|n| usize::try_from(*n).ok()).collect();
            shape
                .filter(|shape| element_count(shape) == Some(tensor.elements()))
                .ok_or_else(|| {
                    let wanted = format!("a shape of {} elements", tensor.elements());
                    metadata.wrong(&key, &format!("{sizes:?}"), &wanted)
                })?
        }
    };
    let dtype = tensor.dtype();
    let block = dtype.block_len();
    let whole_rows = shape.last().is_some_and(|row| row.is_multiple_of(block));
    if block == 1 || shape.len() == 2 && whole_rows {
        return tensor.with_shape(&shape);
    }
    if !dtype.is_float_weight() {
        return Err(FormatError::UnsupportedDtype {
            path: path.into(),
            tensor: name.into(),
            dtype,
        });
    }
    unpacked(tensor)?.with_shape(&shape)
}
