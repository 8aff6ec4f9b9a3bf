//! A CLIP text encoder in a file of its own, safetensors or GGUF: by transformers' names or OpenCLIP's, under whatever prefix.

use std::path::{Path, PathBuf};

use crate::formats::diffusers;
use crate::formats::diffusion_model::{Component, Family};
use crate::formats::error::FormatError;
use crate::formats::ldm::clip::{convert_clip, convert_open_clip};
use crate::formats::safetensors::read_any;
use crate::formats::scaled;
use crate::formats::weights::WeightMap;

use super::under;

/// What a text encoder is for in its model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// OpenAI's CLIP: that of 1.x, and the first of XL.
    Clip,
    /// OpenCLIP without its last layer: that of 2.x.
    OpenClip,
    /// OpenCLIP with its last layer and projection: the last of XL.
    Pools,
}

/// A text encoder.
pub(super) struct TextFile {
    pub path: PathBuf,
    /// Width of its states.
    pub width: usize,
    /// Width of the pooled text, where it has a projection.
    pub pooled: Option<usize>,
    /// Whether it has OpenCLIP's names.
    pub open_clip: bool,
    /// The weights, without a prefix.
    weights: WeightMap,
    /// The config where it came with one.
    component: Option<Component>,
}

impl TextFile {
    /// Opens a file, or a folder with `config.json`.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let refused = |what: &str| FormatError::UnsupportedModel {
            path: path.into(),
            what: what.into(),
            remedy:
                "use a CLIP text encoder (CLIP-L, CLIP-G or CLIP-H) of a Stable Diffusion model"
                    .into(),
        };
        let (tensors, component) = if path.is_dir() {
            let part = diffusers::open_component(path, "the text encoder", None)?;
            (part.weights.clone(), Some(part))
        } else if super::is_gguf(path)? {
            (super::gguf::read_text(path)?, None)
        } else {
            (scaled::plain(path, &read_any(path)?.tensors)?, None)
        };
        let prefix = |end: &str| {
            let name = tensors.names().find(|name| name.ends_with(end))?;
            name.strip_suffix(end).map(str::to_owned)
        };
        // A whole CLIP has a tower for pictures too, of which nothing is used.
        let text = |name: &String| !name.contains("vision_model") && !name.contains("visual");
        let (weights, open_clip) = if let Some(found) =
            prefix("text_model.embeddings.token_embedding.weight").filter(text)
        {
            (under(&tensors, &found), false)
        } else if let Some(found) = prefix("embeddings.token_embedding.weight").filter(text) {
            (under(&tensors, &found), false)
        } else if let Some(found) = prefix("transformer.resblocks.0.ln_1.weight").filter(text) {
            (under(&tensors, &found), true)
        } else {
            return Err(refused("no CLIP text encoder"));
        };
        let shape = |name: &str| weights.get(name).map(|tensor| tensor.shape().to_vec());
        let tokens = if open_clip {
            shape("token_embedding.weight")
        } else {
            shape("text_model.embeddings.token_embedding.weight")
                .or_else(|| shape("embeddings.token_embedding.weight"))
        };
        let Some(&[_, width]) = tokens.as_deref() else {
            return Err(refused("a CLIP text encoder without its tokens"));
        };
        // OpenCLIP's projection stands transposed.
        let pooled = match shape("text_projection.weight").as_deref() {
            Some(&[pooled, _]) => Some(pooled),
            _ => match shape("text_projection").as_deref() {
                Some(&[_, pooled]) => Some(pooled),
                _ => None,
            },
        };
        Ok(Self {
            path: path.into(),
            width,
            pooled,
            open_clip,
            weights,
            component,
        })
    }

    /// The network, as it is used in a role.
    pub fn component(&self, role: Role) -> Result<Component, FormatError> {
        let path = self.path.as_path();
        if let Some(part) = &self.component {
            return Ok(part.clone());
        }
        if self.open_clip {
            return convert_open_clip(path, &self.weights, role == Role::Pools);
        }
        let mut text = WeightMap::new(path);
        for (name, tensor) in self.weights.iter() {
            let layer = [
                "text_model.",
                "embeddings.",
                "encoder.",
                "final_layer_norm.",
            ]
            .iter()
            .any(|start| name.starts_with(start));
            if layer || role == Role::Pools && name == "text_projection.weight" {
                text.insert(name, tensor.clone());
            }
        }
        // The family tells the activation.
        let family = match role {
            Role::Clip => Family::Sd1,
            Role::OpenClip | Role::Pools => Family::Sd2,
        };
        convert_clip(path, &text, family)
    }
}
