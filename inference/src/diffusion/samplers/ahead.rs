//! The noise of a step, which does not depend on what the network says and can be drawn while it is at work. A Brownian path of 1024x1024 pixels takes as long
//! on the host as a fast GPU takes for the whole step.

use super::{Denoising, StepNoise};
use crate::diffusion::levels::through_logarithm;
use crate::diffusion::source::NoiseRng;
use crate::diffusion::spec::SamplerKind;

/// Noise that the next evaluation needs, not drawn yet.
pub struct NoiseAhead {
    noise: StepNoise,
    span: (f32, f32),
    count: usize,
}

/// Noise that was drawn ahead.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawnNoise {
    span: (f32, f32),
    values: Vec<f32>,
    /// The generator after it.
    rng: NoiseRng,
}

impl DrawnNoise {
    /// The same for a run of vectors of another length, and what was drawn.
    pub(super) fn stand_in(self, values: Vec<f32>) -> (Self, Vec<f32>) {
        let drawn = self.values;
        (Self { values, ..self }, drawn)
    }
}

impl NoiseAhead {
    /// The same for vectors of another length.
    pub(super) fn of_length(self, count: usize) -> Self {
        Self { count, ..self }
    }

    /// Draws it; on any thread.
    #[must_use]
    pub fn draw(mut self) -> DrawnNoise {
        let values = self.noise.between(self.span, self.count);
        DrawnNoise {
            span: self.span,
            values,
            rng: self.noise.rng,
        }
    }
}

impl StepNoise {
    /// Noise for the way between two levels; that which was drawn ahead, if it is this.
    fn between(&mut self, (from, to): (f32, f32), count: usize) -> Vec<f32> {
        if let Some(drawn) = self.drawn.take()
            && drawn.span == (from, to)
            && drawn.values.len() == count
        {
            self.rng = drawn.rng;
            return drawn.values;
        }
        match &self.path {
            Some(path) => path.noise(from, to, count),
            None => self.rng.randn(count),
        }
    }
}

impl Denoising {
    /// Between which levels the next evaluation needs noise, if it does.
    fn noise_span(&self) -> Option<(f32, f32)> {
        let stride = self.stride(self.done)?;
        let (from, to) = (stride.from, stride.to);
        let middle = self.midpoint();
        let end = match self.sampler {
            SamplerKind::DpmPpSde => {
                let middle = middle?.level;
                let to = match self.half {
                    None => middle,
                    Some(_) => through_logarithm(to),
                };
                return Some((through_logarithm(from), to));
            }
            SamplerKind::DpmPp2SAncestral | SamplerKind::Dpm2Ancestral => {
                (self.half.is_some() && middle.is_some()).then_some(to)
            }
            SamplerKind::EulerAncestral => (to > 0.0).then_some(to),
            // In the last step it is drawn, though it is not used.
            SamplerKind::DpmPp2MSde | SamplerKind::DpmPp3MSde => Some(to),
            SamplerKind::Lcm => (self.done + 1 < self.table.steps() && to > 0.0).then_some(to),
            _ => None,
        };
        end.map(|to| (from, to))
    }

    /// The noise that the next [`Self::give`] will need, to be drawn while the network is asked; nothing where it needs none.
    #[must_use]
    pub fn noise_ahead(&self) -> Option<NoiseAhead> {
        Some(NoiseAhead {
            span: self.noise_span()?,
            noise: self.noise.clone(),
            count: self.latents.len(),
        })
    }

    /// Takes noise that was drawn ahead for the next [`Self::give`]. The latents are those that they would be without it, to the bit.
    pub fn take_noise(&mut self, drawn: DrawnNoise) {
        self.noise.drawn = Some(drawn);
    }

    /// The noise of this evaluation; empty where it needs none.
    pub(super) fn draw_noise(&mut self) -> Vec<f32> {
        let span = self.noise_span();
        let count = self.latents.len();
        span.map_or_else(Vec::new, |span| self.noise.between(span, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{
        Beginning, Convention, NoiseSource, PredictionType, SamplerSpec, ScheduleKind,
        SchedulerConfig, TrainingSchedule,
    };

    /// A run, if there is the sampler in the convention.
    fn run(sampler: SamplerKind, convention: Convention, source: NoiseSource) -> Option<Denoising> {
        let config = SchedulerConfig::stable_diffusion(PredictionType::Epsilon);
        let spec = SamplerSpec {
            sampler,
            schedule: ScheduleKind::Normal,
            convention,
            spacing: None,
            steps: 6,
        };
        let training = TrainingSchedule::new(&config).unwrap();
        Denoising::new(&spec, &training, Beginning::of_seed(source, 7, 48)).ok()
    }

    #[test]
    fn noise_drawn_ahead_is_that_of_the_step_to_the_bit() {
        let mut ahead = 0;
        for sampler in SamplerKind::ALL {
            for source in [NoiseSource::Cpu, NoiseSource::Philox] {
                for convention in [Convention::KDiffusion, Convention::Diffusers] {
                    let Some(mut plain) = run(sampler, convention, source) else {
                        assert_eq!(convention, Convention::Diffusers, "{sampler:?}");
                        continue;
                    };
                    let mut helped = plain.clone();
                    while let Some(eval) = plain.next_eval() {
                        let answer: Vec<f32> = eval.input.iter().map(|x| 0.3 * x + 0.01).collect();
                        plain.give(&answer).unwrap();
                        if let Some(noise) = helped.noise_ahead() {
                            let drawn = std::thread::scope(|scope| {
                                scope.spawn(|| noise.draw()).join().unwrap()
                            });
                            let before = helped.to_bytes().unwrap();
                            helped.take_noise(drawn);
                            // What is stored meanwhile does not know of it.
                            assert_eq!(helped.to_bytes().unwrap(), before);
                            ahead += 1;
                        }
                        helped.give(&answer).unwrap();
                        assert_eq!(helped, plain, "{sampler:?} {convention:?}");
                        assert_eq!(helped.to_bytes().unwrap(), plain.to_bytes().unwrap());
                    }
                    assert!(helped.is_finished());
                }
            }
        }
        assert!(ahead > 60, "{ahead} steps with noise");
    }

    #[test]
    fn noise_of_another_step_is_not_taken() {
        let mut plain = run(
            SamplerKind::EulerAncestral,
            Convention::KDiffusion,
            NoiseSource::Cpu,
        )
        .unwrap();
        let stale = plain.noise_ahead().unwrap().draw();
        let mut helped = plain.clone();
        for _ in 0..3 {
            let eval = plain.next_eval().unwrap();
            plain.give(&eval.input).unwrap();
            helped.give(&eval.input).unwrap();
        }
        helped.take_noise(stale);
        let eval = plain.next_eval().unwrap();
        plain.give(&eval.input).unwrap();
        helped.give(&eval.input).unwrap();
        assert_eq!(helped, plain);
    }
}
