//! What the command line says of a model beside its path: the other files of one that lies in several, and how it was distilled.

use std::path::{Path, PathBuf};

use clap::Args;
use diptych_inference::engine::{ModelParts, ModelRef};
use diptych_inference::formats::detect::{ModelInfo, ModelKind};

use super::client::{Client, check_readable};
use super::error::Result;

/// Options about the model itself.
#[derive(Clone, Debug, Default, Args)]
pub struct KindArgs {
    /// A text encoder (CLIP-L, CLIP-G or CLIP-H) of a model in separate files, whose U-Net is named by --model and whose autoencoder by --vae;
    /// twice for SDXL, in any order. What is not named is looked for beside the U-Net and in ComfyUI's folders
    #[arg(long, value_name = "FILE", requires = "model")]
    pub clip: Vec<PathBuf>,
    /// Settings of models (or LoRAs) that draw in a few steps, where you say nothing else; models that tell that they are of such a kind
    /// have them without being asked
    #[arg(long, value_enum)]
    pub preset: Option<crate::presets::Preset>,
}

impl KindArgs {
    /// Makes the model at a path known, whole or as a U-Net with the parts that are named; and tells whether `vae` is now one of them.
    ///
    /// # Errors
    /// What cannot be read or used, and parts that are missing or do not fit.
    pub fn model(
        &self,
        client: &Client,
        path: &Path,
        vae: Option<&PathBuf>,
    ) -> Result<((ModelRef, ModelInfo), bool)> {
        for file in std::iter::once(path)
            .chain(self.clip.iter().map(PathBuf::as_path))
            .chain(vae.map(PathBuf::as_path))
        {
            check_readable(file)?;
        }
        let named = ModelParts {
            unet: path.to_owned(),
            text_encoders: self.clip.clone(),
            vae: vae.cloned(),
        };
        if !self.clip.is_empty() {
            return Ok((client.add_parts(named)?, vae.is_some()));
        }
        if vae.is_some() {
            let found = client.add_models(vec![path.to_owned()])?;
            if let [one] = found.as_slice()
                && one.model.is_none()
                && let Ok(info) = &one.info
                && info.kind() == ModelKind::Denoiser
            {
                return Ok((client.add_parts(named)?, true));
            }
        }
        Ok((client.add_model(path)?, false))
    }
}
