//! A run as bytes: what is no buffer as JSON, the buffers as they lie in memory. A tenth of the size of JSON, and as exact.

use serde::{Deserialize, Serialize};

use super::state::StoredDenoising;
use super::{Denoising, Half, Repaint, StepNoise};
use crate::diffusion::error::{DiffusionError, Result};
use crate::diffusion::schedule::PredictionType;
use crate::diffusion::spec::{Convention, SamplerKind};
use crate::diffusion::table::StepTable;

/// Most buffers that are believed.
const MOST_BUFFERS: usize = 16;

/// Everything but the buffers, and which of them follow.
#[derive(Serialize, Deserialize)]
struct Head {
    sampler: SamplerKind,
    convention: Convention,
    prediction: PredictionType,
    table: StepTable,
    noise: StepNoise,
    done: usize,
    /// Values in each buffer.
    count: usize,
    denoised: bool,
    half: bool,
    kept: usize,
    repaint: bool,
}

impl Denoising {
    /// The run as bytes for [`Self::from_bytes`]: the length of the head (u32, little-endian), the head (JSON), and the buffers' values
    /// (f32): the lowest bytes of all of them, then the next, so that what is alike lies together for a compressor.
    ///
    /// # Errors
    /// [`DiffusionError::DamagedState`] for a run that cannot be written, which no run of this program is.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let head = Head {
            sampler: self.sampler,
            convention: self.convention,
            prediction: self.prediction,
            table: self.table.clone(),
            noise: self.noise.clone(),
            done: self.done,
            count: self.latents.len(),
            denoised: self.denoised.is_some(),
            half: self.half.is_some(),
            kept: self.kept.len(),
            repaint: self.repaint.is_some(),
        };
        let fault = DiffusionError::DamagedState("it cannot be written");
        let json = serde_json::to_vec(&head).map_err(|_| fault.clone())?;
        let length = u32::try_from(json.len()).map_err(|_| fault)?;
        let buffers: Vec<&[f32]> = std::iter::once(&self.latents)
            .chain(&self.denoised)
            .chain(self.half.iter().flat_map(|half| [&half.ahead, &half.first]))
            .chain(&self.kept)
            .chain(
                self.repaint
                    .iter()
                    .flat_map(|r| [&r.mask, &r.init, &r.noise]),
            )
            .map(Vec::as_slice)
            .collect();
        let values = buffers.len() * self.latents.len();
        let mut bytes = Vec::with_capacity(4 + json.len() + 4 * values);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&json);
        for shift in [0, 8, 16, 24] {
            for buffer in &buffers {
                bytes.extend(buffer.iter().map(|value| (value.to_bits() >> shift) as u8));
            }
        }
        Ok(bytes)
    }

    /// The run of [`Self::to_bytes`].
    ///
    /// # Errors
    /// [`DiffusionError::DamagedState`] if the bytes are not those of a run, or contradict themselves.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let damaged = DiffusionError::DamagedState;
        let (length, rest) = bytes
            .split_first_chunk::<4>()
            .ok_or(damaged("it is too short"))?;
        let (json, planes) = rest
            .split_at_checked(u32::from_le_bytes(*length) as usize)
            .ok_or(damaged("its head is longer than the whole"))?;
        let head: Head =
            serde_json::from_slice(json).map_err(|_| damaged("its head cannot be read"))?;
        let flag = |on: bool, buffers: usize| if on { buffers } else { 0 };
        let buffers = head
            .kept
            .checked_add(1 + flag(head.denoised, 1) + flag(head.half, 2) + flag(head.repaint, 3))
            .filter(|buffers| *buffers <= MOST_BUFFERS)
            .ok_or(damaged("it keeps more than any method needs"))?;
        let plane = planes.len() / 4;
        if head.count == 0
            || head.count.checked_mul(buffers) != Some(plane)
            || !planes.len().is_multiple_of(4)
        {
            return Err(damaged("its buffers are of another size than it says"));
        }
        let mut values = vec![0u32; plane];
        for (shift, bytes) in [0, 8, 16, 24].into_iter().zip(planes.chunks_exact(plane)) {
            for (value, byte) in values.iter_mut().zip(bytes) {
                *value |= u32::from(*byte) << shift;
            }
        }
        let mut buffers = values
            .chunks_exact(head.count)
            .map(|bits| -> Vec<f32> { bits.iter().map(|bits| f32::from_bits(*bits)).collect() });
        let mut next = || buffers.next().unwrap_or_default();
        let run = Self {
            sampler: head.sampler,
            convention: head.convention,
            prediction: head.prediction,
            table: head.table,
            noise: head.noise,
            done: head.done,
            latents: next(),
            denoised: head.denoised.then(&mut next),
            half: head.half.then(|| Half {
                ahead: next(),
                first: next(),
            }),
            kept: (0..head.kept).map(|_| next()).collect(),
            repaint: head.repaint.then(|| Repaint {
                mask: next(),
                init: next(),
                noise: next(),
            }),
        };
        Self::try_from(StoredDenoising::from(run))
    }

    /// Takes over from another run of the same picture which parts of it are drawn anew from here on.
    ///
    /// # Errors
    /// [`DiffusionError::Length`] if the other is of another size; nothing is changed then.
    pub fn repaint_as(&mut self, other: &Self) -> Result<()> {
        let (got, want) = (other.latents.len(), self.latents.len());
        if got != want {
            return Err(DiffusionError::Length {
                what: "the mask",
                got,
                want,
            });
        }
        self.repaint.clone_from(&other.repaint);
        Ok(())
    }

    /// The noise level at which the next step begins, 0 at the end. For methods that count in cumulative alphas it is made a sigma.
    pub fn sigma(&self) -> f32 {
        let Some(level) = self.table.levels.get(self.done).copied() else {
            return 0.0;
        };
        if StepTable::holds_alphas(self.sampler, self.table.space) && level > 0.0 {
            return ((1.0 - level) / level).max(0.0).sqrt();
        }
        level
    }

    /// What the network's answers are taken for.
    pub fn prediction(&self) -> PredictionType {
        self.prediction
    }

    /// Questions to the network that were answered so far.
    pub fn evals_done(&self) -> usize {
        let twice = self
            .table
            .midpoints
            .iter()
            .take(self.done)
            .flatten()
            .count();
        self.done + twice + usize::from(self.half.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{
        Beginning, NoiseSource, SamplerSpec, ScheduleKind, SchedulerConfig, TrainingSchedule,
    };

    const COUNT: usize = 32;

    fn run(sampler: SamplerKind, masked: bool, evals: usize) -> Denoising {
        let config = SchedulerConfig::stable_diffusion(PredictionType::Epsilon);
        let spec = SamplerSpec {
            sampler,
            schedule: ScheduleKind::Normal,
            convention: Convention::KDiffusion,
            spacing: None,
            steps: 8,
        };
        let mut beginning = Beginning::of_seed(NoiseSource::Cpu, 7, COUNT);
        if masked {
            beginning.init = Some((vec![0.25; COUNT], 1.0));
            beginning.mask = Some((0..COUNT).map(|i| (i % 3) as f32 / 2.0).collect());
        }
        let training = TrainingSchedule::new(&config).unwrap();
        let mut run = Denoising::new(&spec, &training, beginning).unwrap();
        go(&mut run, evals);
        run
    }

    /// A network that answers with something simple.
    fn go(run: &mut Denoising, evals: usize) {
        for _ in 0..evals {
            let Some(eval) = run.next_eval() else { break };
            let answer: Vec<f32> = eval.input.iter().map(|x| 0.3 * x + 0.01).collect();
            run.give(&answer).unwrap();
        }
    }

    #[test]
    fn every_sampler_goes_on_from_its_bytes_to_the_bit() {
        for sampler in SamplerKind::ALL {
            for masked in [false, true] {
                for evals in [0, 1, 5] {
                    let mut whole = run(sampler, masked, evals);
                    let bytes = whole.to_bytes().unwrap();
                    let mut read = Denoising::from_bytes(&bytes).unwrap();
                    assert_eq!(read, whole, "{sampler:?} after {evals}");
                    assert_eq!(read.evals_done(), evals);
                    go(&mut whole, 99);
                    go(&mut read, 99);
                    assert!(whole.is_finished());
                    assert_eq!(read.sigma(), 0.0);
                    let bits = |run: &Denoising| -> Vec<u32> {
                        run.latents().iter().map(|x| x.to_bits()).collect()
                    };
                    assert_eq!(bits(&read), bits(&whole), "{sampler:?} after {evals}");
                }
            }
        }
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let good = run(SamplerKind::DpmPp3MSde, true, 5).to_bytes().unwrap();
        let refused = |bytes: &[u8]| {
            let error = Denoising::from_bytes(bytes).unwrap_err();
            assert!(matches!(error, DiffusionError::DamagedState(_)), "{error}");
        };
        for length in 0..good.len() {
            refused(&good[..length]);
        }
        let mut long = good.clone();
        long.push(0);
        refused(&long);
        let head = u32::from_le_bytes(good[..4].try_into().unwrap()) as usize;
        let text = String::from_utf8(good[4..4 + head].to_vec()).unwrap();
        for (old, new) in [
            ("\"count\":32", "\"count\":0"),
            ("\"count\":32", "\"count\":18446744073709551615"),
            ("\"kept\":2", "\"kept\":18446744073709551615"),
            ("\"kept\":2", "\"kept\":1"),
            ("\"done\":5", "\"done\":9"),
        ] {
            let lie = text.replace(old, new);
            assert_ne!(lie, text, "{old}");
            let mut bytes = (lie.len() as u32).to_le_bytes().to_vec();
            bytes.extend_from_slice(lie.as_bytes());
            bytes.extend_from_slice(&good[4 + head..]);
            refused(&bytes);
        }
    }
}
