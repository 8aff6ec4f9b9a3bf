//! What is stored of a run, and what of it is believed when it is read.

use serde::{Deserialize, Serialize};

use super::{Denoising, Half, Repaint, StepNoise};
use crate::diffusion::bits;
use crate::diffusion::error::DiffusionError;
use crate::diffusion::schedule::PredictionType;
use crate::diffusion::spec::{Convention, SamplerKind};
use crate::diffusion::table::StepTable;

/// Most buffers that a method keeps of earlier steps.
const MOST_KEPT: usize = 4;

#[derive(Serialize, Deserialize)]
pub(super) struct StoredDenoising {
    sampler: SamplerKind,
    convention: Convention,
    prediction: PredictionType,
    table: StepTable,
    noise: StepNoise,
    done: usize,
    #[serde(with = "bits::f32_vec")]
    latents: Vec<f32>,
    #[serde(with = "bits::f32_vec_option")]
    denoised: Option<Vec<f32>>,
    half: Option<Half>,
    #[serde(with = "bits::f32_vecs")]
    kept: Vec<Vec<f32>>,
    repaint: Option<Repaint>,
}

impl From<Denoising> for StoredDenoising {
    fn from(run: Denoising) -> Self {
        let Denoising {
            sampler,
            convention,
            prediction,
            table,
            noise,
            done,
            latents,
            denoised,
            half,
            kept,
            repaint,
        } = run;
        Self {
            sampler,
            convention,
            prediction,
            table,
            noise,
            done,
            latents,
            denoised,
            half,
            kept,
            repaint,
        }
    }
}

impl TryFrom<StoredDenoising> for Denoising {
    type Error = DiffusionError;

    fn try_from(stored: StoredDenoising) -> Result<Self, DiffusionError> {
        let damaged = |what| Err(DiffusionError::DamagedState(what));
        let StoredDenoising {
            sampler,
            convention,
            prediction,
            table,
            noise,
            done,
            latents,
            denoised,
            half,
            kept,
            repaint,
        } = stored;
        let (steps, count) = (table.timesteps.len(), latents.len());
        let lengths = [
            table.levels.len(),
            table.next_levels.len(),
            table.midpoints.len(),
        ];
        if steps == 0 || lengths.iter().any(|length| *length != steps) || done > steps {
            return damaged("its steps do not fit its table");
        }
        let buffers = half
            .iter()
            .flat_map(|half| [&half.ahead, &half.first])
            .chain(&denoised)
            .chain(&kept)
            .chain(repaint.iter().flat_map(|r| [&r.mask, &r.init, &r.noise]));
        if buffers.into_iter().any(|buffer| buffer.len() != count) || kept.len() > MOST_KEPT {
            return damaged("its buffers differ in length");
        }
        let has_middle = table.midpoints.get(done).is_some_and(Option::is_some);
        if half.is_some() && !(sampler.asks_twice() && has_middle) {
            return damaged("it stands in the middle of a step that has no middle");
        }
        let remembers = matches!(
            sampler,
            SamplerKind::DpmPp2M
                | SamplerKind::DpmPp2MSde
                | SamplerKind::DpmPp3MSde
                | SamplerKind::Lms
                | SamplerKind::UniPc
        );
        if remembers && done > 0 && kept.is_empty() {
            return damaged("it lacks the prediction that its next step needs");
        }
        Ok(Self {
            sampler,
            convention,
            prediction,
            table,
            noise,
            done,
            latents,
            denoised,
            half,
            kept,
            repaint,
        })
    }
}
