//! What is kept of the way: checkpoints, and the steps of a trace. The engine's thread only copies the run; a thread beside packs it, while the device
//! is at the next step, and what is told after it waits ([`Context::emit_made`]).

use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::{CHECKPOINT_SECONDS, ImageJob, Stage, state};
use crate::diffusion::Denoising;
use crate::engine::{Event, ImageRequest, Picture};
use crate::pipelines::{Context, JobError};

/// A picture between two steps, still to be put into bytes.
struct Standing {
    request: ImageRequest,
    seconds: f32,
    second: bool,
    run: Box<Denoising>,
}

impl Standing {
    fn bytes(&self) -> Result<Arc<[u8]>, JobError> {
        let bytes = state::write(&self.request, self.seconds, self.second, &self.run)?;
        Ok(bytes.into())
    }

    /// SHA-256 of the latents.
    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for value in self.run.latents() {
            hash.update(value.to_le_bytes());
        }
        hash.finalize().into()
    }
}

impl ImageJob {
    /// As it stands, where there is a run.
    fn standing(&self) -> Option<Standing> {
        let Stage::Denoise(run) = &self.stage else {
            return None;
        };
        Some(Standing {
            request: self.told_request(),
            seconds: self.seconds,
            second: self.first.is_some(),
            run: run.clone(),
        })
    }

    /// Tells the client from where the picture could go on, now and then.
    pub(super) fn checkpoint(&mut self, context: &mut Context<'_>) {
        if self
            .last_checkpoint
            .is_some_and(|last| last.elapsed().as_secs_f32() < CHECKPOINT_SECONDS)
        {
            return;
        }
        let Some(standing) = self.standing() else {
            return;
        };
        let job = context.job;
        context.emit_made(move || match standing.bytes() {
            Ok(bytes) => Some(Event::Checkpoint { job, bytes }),
            Err(error) => {
                tracing::warn!("no checkpoint: {error}");
                None
            }
        });
        self.last_checkpoint = Some(Instant::now());
    }

    /// Tells a client that keeps a trace where the picture stands between two steps.
    pub(super) fn trace(&mut self, context: &mut Context<'_>, preview: Option<&Arc<Picture>>) {
        if !self.request.trace {
            return;
        }
        let Some(standing) = self.standing() else {
            return;
        };
        let run = &standing.run;
        let place = (run.step_index() as u32, run.total_steps() as u32);
        let model = self.model.as_ref();
        let place = model.and_then(|model| self.place_in_passes(model, place).ok());
        let (index, total) = place.unwrap_or((0, 0));
        let (job, preview) = (context.job, preview.cloned());
        context.emit_made(move || {
            Some(match standing.bytes() {
                Ok(bytes) => Event::TraceStep {
                    job,
                    index,
                    total,
                    sigma: standing.run.sigma(),
                    sha256: standing.hash(),
                    bytes,
                    preview,
                },
                Err(error) => Event::Warning {
                    job,
                    message: format!("a step is missing in the trace: {error}"),
                },
            })
        });
    }
}
