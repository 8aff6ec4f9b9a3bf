//! `diptych draw --refiner`: a picture that one model begins and another finishes.

use std::path::PathBuf;

use clap::Args;
use diptych_inference::engine::{ImageRequest, ModelRef};
use diptych_inference::formats::detect::ModelKind;

use super::additions;
use super::client::Client;
use super::error::{CliError, Result};
use super::out;

/// Options about the model that finishes.
#[derive(Clone, Debug, Default, Args)]
pub struct RefinerArgs {
    /// Let this model finish the picture, such as SDXL's refiner
    #[arg(long, value_name = "PATH", conflicts_with = "step")]
    pub refiner: Option<PathBuf>,
    /// From which share of the steps on it draws
    #[arg(long, value_name = "F", requires = "refiner", default_value_t = 0.8, value_parser = |text: &str| super::args::number(text, 0.0, 1.0))]
    pub refiner_at: f32,
}

/// The model that finishes.
pub struct Refiner {
    model: ModelRef,
    at: f32,
}

impl RefinerArgs {
    /// Makes the refiner known, if one is asked for.
    ///
    /// # Errors
    /// If it is no text-to-image model.
    pub fn open(&self, client: &Client) -> Result<Option<Refiner>> {
        let Some(path) = &self.refiner else {
            return Ok(None);
        };
        let wanted = "--refiner takes a text-to-image model";
        let model = additions::model(client, path, ModelKind::TextToImage, wanted)?;
        Ok(Some(Refiner {
            model,
            at: self.refiner_at,
        }))
    }
}

impl Refiner {
    /// The picture as both models draw it.
    ///
    /// # Errors
    /// If the settings leave one of them no step.
    pub fn finish(&self, request: ImageRequest) -> Result<ImageRequest> {
        if request.branched.is_some() {
            out::remark(
                "note: the settings changed within the picture already; --refiner finishes the last of them",
            );
        }
        let finished = request.finished_by(self.model.clone(), self.at);
        if finished.model.name != self.model.name {
            return Err(CliError::Usage(format!(
                "--refiner-at {}: of {} steps none is left to one of the two models; choose another share, or more steps",
                self.at, finished.steps
            )));
        }
        Ok(finished)
    }
}
