//! Models whose networks lie in separate files, as ComfyUI keeps them: a U-Net (`diffusion_models` or `unet`), one or two CLIP text
//! encoders (`text_encoders` or `clip`) and an autoencoder (`vae`). What each file is, is told by its content.

pub(in crate::formats) mod gguf;
mod nearby;
mod text;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::diffusers;
use super::diffusion_model::{Component, DiffusionModel, Family, Layout, open_autoencoder};
use super::error::FormatError;
use super::gguf::looks_like_gguf;
use super::ldm::unet::{context_width, features};
use super::ldm::{Identity, Pieces, identify, put_together};
use super::safetensors::{Safetensors, read_any};
use super::scaled;
use super::weights::WeightMap;
use text::{Role, TextFile};

/// The original's prefix, which some U-Nets by themselves keep.
const PREFIX: &str = "model.diffusion_model.";

/// The files of a model.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ModelParts {
    /// The noise predictor: safetensors, GGUF or a diffusers folder, by the original's or diffusers' names.
    pub unet: PathBuf,
    /// The text encoders, in any order; none where they are to be found.
    pub text_encoders: Vec<PathBuf>,
    /// The autoencoder, if it is not to be found.
    pub vae: Option<PathBuf>,
}

impl ModelParts {
    /// A U-Net whose other parts are to be found.
    pub fn of(unet: impl Into<PathBuf>) -> Self {
        Self {
            unet: unet.into(),
            text_encoders: Vec::new(),
            vae: None,
        }
    }
}

/// Whether a file is GGUF.
pub(super) fn is_gguf(path: &Path) -> Result<bool, FormatError> {
    let mut start = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(16).read_to_end(&mut start))
        .map_err(|e| FormatError::io(path, "open", e))?;
    Ok(looks_like_gguf(&start))
}

/// A U-Net by itself, and what it wants of text encoders.
struct UNetFile {
    path: PathBuf,
    file: Safetensors,
    /// The config where it came with one.
    component: Option<Component>,
    /// Width of the text embeddings.
    context: usize,
    /// Width of what it is told beside them, in the XL family.
    told: Option<usize>,
}

impl UNetFile {
    fn open(path: &Path) -> Result<Self, FormatError> {
        let (file, component) = if path.is_dir() {
            let component = diffusers::open_component(path, "the U-Net", None)?;
            let tensors = component.weights.clone();
            let metadata = std::collections::BTreeMap::new();
            (Safetensors { tensors, metadata }, Some(component))
        } else if is_gguf(path)? {
            (gguf::read(path)?, None)
        } else {
            let file = read_any(path)?;
            let tensors = scaled::plain(path, &file.tensors)?;
            (Safetensors { tensors, ..file }, None)
        };
        let refused = |what: &str| FormatError::UnsupportedModel {
            path: path.into(),
            what: what.into(),
            remedy: "use the U-Net of a Stable Diffusion 1.x, 2.x or XL model".into(),
        };
        match identify(&file.tensors) {
            Identity::Part { what } if what.contains("U-Net") => {}
            Identity::Part { what } | Identity::Other { what } => return Err(refused(what)),
            // The prefix is all that it has of a checkpoint.
            Identity::StableDiffusion => {}
            Identity::Unknown => return Err(refused("no U-Net")),
        }
        let tensors = match file.tensors.filter_prefix(PREFIX) {
            bare if bare.is_empty() => file.tensors,
            bare => bare,
        };
        let context =
            context_width(&tensors).ok_or_else(|| refused("a U-Net that attends to no text"))?;
        let told = ["label_emb.0.0.weight", "add_embedding.linear_1.weight"]
            .iter()
            .find_map(|name| tensors.get(name)?.shape().get(1).copied());
        Ok(Self {
            path: path.into(),
            file: Safetensors { tensors, ..file },
            component,
            context,
            told,
        })
    }

    /// In words, for messages.
    fn what(&self) -> String {
        let family = match (self.told, self.context) {
            (Some(_), 1280) => "the Stable Diffusion XL refiner",
            (Some(_), _) => "a Stable Diffusion XL model",
            (None, 1024) => "a Stable Diffusion 2.x model",
            (None, _) => "a Stable Diffusion 1.x model",
        };
        format!("the U-Net of {family}")
    }

    /// The text encoders that it needs, in words.
    fn needs(&self) -> String {
        match (self.told, self.context) {
            (Some(_), 2048) => "two text encoders (CLIP-L, 768 wide, and CLIP-G, 1280 wide)".into(),
            (Some(_), 1280) => "the text encoder CLIP-G (1280 wide)".into(),
            (Some(_), wide) => format!("text encoders that are together {wide} wide"),
            (None, wide) => format!("a text encoder that is {wide} wide"),
        }
    }

    /// All ways in which text encoders make up what it attends to: one, or the first and the second.
    fn fitting(&self, files: &[TextFile]) -> Vec<Vec<usize>> {
        let Some(told) = self.told else {
            let fits = |file: &TextFile| file.width == self.context;
            return (0..files.len())
                .filter(|at| files.get(*at).is_some_and(fits))
                .map(|at| vec![at])
                .collect();
        };
        // The last encoder gives the pooled text.
        let pools = |file: &TextFile| {
            file.pooled
                .is_some_and(|wide| features(told, wide).is_some())
        };
        let mut found = Vec::new();
        for (last, file) in files.iter().enumerate().filter(|(_, file)| pools(file)) {
            if file.width == self.context {
                found.push(vec![last]);
            }
            for (first, other) in files.iter().enumerate() {
                let fits = other.width.checked_add(file.width) == Some(self.context)
                    && other.width <= file.width
                    && !other.open_clip;
                // Of two equally wide ones the first that is named is the first.
                if first != last && fits && (other.width < file.width || first < last) {
                    found.push(vec![first, last]);
                }
            }
        }
        found
    }

    fn lacks(&self, reason: String) -> FormatError {
        FormatError::OtherParts {
            path: self.path.clone(),
            what: self.what(),
            reason,
        }
    }
}

fn names(paths: &[&Path]) -> String {
    const MOST: usize = 6;
    let shown: Vec<String> = paths
        .iter()
        .take(MOST)
        .map(|path| path.display().to_string())
        .collect();
    let more = if paths.len() > MOST { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Finds the parts that are not named: beside the U-Net, and in the folders that ComfyUI has for them.
///
/// # Errors
/// Parts that are missing, or of which there are several, with what to do; faulty files; named ones that do not fit.
pub fn complete(parts: &ModelParts) -> Result<ModelParts, FormatError> {
    let unet = UNetFile::open(&parts.unet)?;
    let mut near = nearby::Near::of(&parts.unet);
    let text_encoders = if parts.text_encoders.is_empty() {
        let files = near.text_encoders();
        let ways = unet.fitting(&files);
        match ways.as_slice() {
            [] => {
                return Err(unet.lacks(format!(
                    "it needs {}, which is not beside it nor in a folder text_encoders or clip next to its own; name it (on the command line --clip FILE, once for each)",
                    unet.needs()
                )));
            }
            [way] => paths(&files, way),
            _ => {
                let fitting: std::collections::BTreeSet<usize> =
                    ways.iter().flatten().copied().collect();
                let fitting: Vec<&Path> = fitting
                    .iter()
                    .filter_map(|at| files.get(*at))
                    .map(|file| file.path.as_path())
                    .collect();
                return Err(unet.lacks(format!(
                    "it needs {}, and several files are: {}; name those to use (on the command line --clip FILE, once for each)",
                    unet.needs(),
                    names(&fitting)
                )));
            }
        }
    } else {
        let files: Result<Vec<TextFile>, FormatError> = parts
            .text_encoders
            .iter()
            .map(|path| TextFile::open(path))
            .collect();
        let files = files?;
        let ways = unet.fitting(&files);
        let way = ways.iter().find(|way| way.len() == files.len());
        let Some(way) = way else {
            let given: Vec<String> = files
                .iter()
                .map(|file| format!("{} ({} wide)", file.path.display(), file.width))
                .collect();
            return Err(unet.lacks(format!(
                "it needs {}; named are {}",
                unet.needs(),
                given.join(", ")
            )));
        };
        paths(&files, way)
    };
    let vae = match &parts.vae {
        Some(vae) => vae.clone(),
        None => match near.autoencoders().as_slice() {
            [] => {
                return Err(unet.lacks(
                    "it needs an autoencoder (VAE), which is not beside it nor in a folder vae next to its own; name it (on the command line --vae FILE)".into(),
                ));
            }
            [one] => one.clone(),
            several => {
                let several: Vec<&Path> = several.iter().map(PathBuf::as_path).collect();
                return Err(unet.lacks(format!(
                    "which autoencoder (VAE) it needs cannot be told from them: {}; name the one to use (on the command line --vae FILE)",
                    names(&several)
                )));
            }
        },
    };
    Ok(ModelParts {
        unet: parts.unet.clone(),
        text_encoders,
        vae: Some(vae),
    })
}

fn paths(files: &[TextFile], way: &[usize]) -> Vec<PathBuf> {
    way.iter()
        .filter_map(|at| files.get(*at))
        .map(|file| file.path.clone())
        .collect()
}

/// Opens a model whose parts are all named ([`complete`]).
///
/// # Errors
/// Faulty files, and parts that do not belong together.
pub fn open(parts: &ModelParts) -> Result<DiffusionModel, FormatError> {
    let unet = UNetFile::open(&parts.unet)?;
    let files: Result<Vec<TextFile>, FormatError> = parts
        .text_encoders
        .iter()
        .map(|path| TextFile::open(path))
        .collect();
    let files = files?;
    let way = unet
        .fitting(&files)
        .into_iter()
        .find(|w| w.len() == files.len());
    let way = way.ok_or_else(|| unet.lacks(format!("it needs {}", unet.needs())))?;
    let vae = parts
        .vae
        .as_deref()
        .ok_or_else(|| unet.lacks("it needs an autoencoder (VAE)".into()))?;
    let ordered: Vec<&TextFile> = way.iter().filter_map(|at| files.get(*at)).collect();
    let open_clip = ordered.iter().any(|file| file.open_clip);
    let family = match (unet.told, unet.context) {
        (Some(_), _) => Family::Sdxl,
        (None, 768) => Family::Sd1,
        (None, 1024) => Family::Sd2,
        (None, _) if open_clip => Family::Sd2,
        (None, _) => Family::Sd1,
    };
    let mut encoders = Vec::new();
    for (at, file) in ordered.iter().enumerate() {
        let role = match (family, at + 1 == ordered.len()) {
            (Family::Sdxl, true) => Role::Pools,
            (Family::Sdxl, false) | (Family::Sd1, _) => Role::Clip,
            (Family::Sd2, _) => Role::OpenClip,
        };
        encoders.push(file.component(role)?);
    }
    let mut encoders = encoders.into_iter();
    let text_encoder = encoders
        .next()
        .ok_or_else(|| unet.lacks(format!("it needs {}", unet.needs())))?;
    let text_encoder_2 = encoders.next();
    let mut model = put_together(
        Pieces {
            source: &unet.path,
            layout: Layout::Split,
            family,
            unet: &unet.file.tensors,
            vae: open_autoencoder(vae)?,
            text_encoder,
            text_encoder_2,
        },
        &unet.file,
    )?;
    if let Some(component) = unet.component {
        model.unet = component;
    }
    Ok(model)
}

/// A map of the tensors under a prefix, or of all where there is none.
fn under(tensors: &WeightMap, prefix: &str) -> WeightMap {
    match prefix {
        "" => tensors.clone(),
        prefix => tensors.filter_prefix(prefix),
    }
}

#[cfg(test)]
mod tests;
