//! What an evaluation does to a run, as numbers, for runs whose vectors lie elsewhere: on a device.
//!
//! Whatever a sampler does to its latents is linear in them, in what it remembers, in the network's answer and in the noise; under a mask, value by value,
//! its factors are polynomials of the mask's value, of the second degree at most (a mask is laid on the predicted picture, and at the end on the latents).
//! So the factors need no formulas of their own: the sampler itself is run on unit vectors, at the mask's values 0, 1/2 and 1, and what comes out are the
//! factors. There is no second writing of any sampler that could differ from the first.

use super::ahead::{DrawnNoise, NoiseAhead};
use super::{Denoising, Half, Repaint, StepNoise};
use crate::diffusion::error::Result;

/// A vector of a run, as long as its latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunVector {
    /// The latents between steps.
    Latents,
    /// Within a step of two evaluations, the latents that the network is asked about.
    Ahead,
    /// Within a step of two evaluations, what the first gave.
    First,
    /// What multistep methods keep, the latest first; below [`RunVector::MOST_KEPT`].
    Kept(usize),
    /// Fresh noise of this evaluation.
    Noise,
    /// Under a mask: the latents to keep.
    Init,
    /// Under a mask: the noise that the run began with.
    InitNoise,
    /// The picture as predicted last.
    Denoised,
    /// How much of each value is drawn anew.
    Mask,
    /// What the network answers, after guidance.
    Answer,
}

impl RunVector {
    /// Vectors that a method keeps at most.
    pub const MOST_KEPT: usize = 4;
    /// Vectors that there are.
    pub const COUNT: usize = 9 + Self::MOST_KEPT;

    /// Its number, below [`Self::COUNT`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Latents => 0,
            Self::Ahead => 1,
            Self::First => 2,
            Self::Kept(place) if place < Self::MOST_KEPT => 3 + place,
            Self::Kept(_) => 2 + Self::MOST_KEPT,
            Self::Noise => 7,
            Self::Init => 8,
            Self::InitNoise => 9,
            Self::Denoised => 10,
            Self::Mask => 11,
            Self::Answer => 12,
        }
    }
}

/// What an evaluation can depend on; the picture predicted before is not among it.
const SOURCES: [RunVector; 11] = [
    RunVector::Latents,
    RunVector::Ahead,
    RunVector::First,
    RunVector::Kept(0),
    RunVector::Kept(1),
    RunVector::Kept(2),
    RunVector::Kept(3),
    RunVector::Noise,
    RunVector::Init,
    RunVector::InitNoise,
    RunVector::Answer,
];
/// Values of a mask that settle a polynomial of the second degree: 0, 1/2, 1.
const POINTS: usize = 3;

/// What the network must see: one vector, scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    /// The timestep it must be told.
    pub timestep: f32,
    /// The vector.
    pub of: RunVector,
    /// Its factor.
    pub scale: f32,
}

/// What an evaluation makes of the vectors of a run: `target = sum over sources of (f0 + f1 m + f2 m^2) source`, value by value, where `m` is the mask's
/// value (0 without a mask). All sources are those before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// What is read; [`RunVector::Answer`] is always among it.
    pub sources: Vec<RunVector>,
    /// What is written.
    pub targets: Vec<RunVector>,
    /// `f0, f1, f2` of each source, for each target.
    pub factors: Vec<[f32; 3]>,
    /// Whether there is a mask.
    pub masked: bool,
    /// Whether a whole step is done with it, as in [`super::StepDone`].
    pub outer_step_finished: bool,
    /// The noise of this evaluation, if it is a source.
    pub noise: Option<Vec<f32>>,
}

/// A run without its vectors. It goes through the same steps with the same generator of noise.
#[derive(Clone, Debug)]
pub struct Outline {
    /// Of unit vectors.
    run: Denoising,
    /// Values in the vectors of the run itself.
    count: usize,
}

impl Denoising {
    /// This run without its vectors.
    #[must_use]
    pub fn outline(&self) -> Outline {
        let run = Self {
            sampler: self.sampler,
            convention: self.convention,
            prediction: self.prediction,
            table: self.table.clone(),
            noise: StepNoise {
                rng: self.noise.rng.clone(),
                path: self.noise.path.clone(),
                drawn: None,
            },
            done: self.done,
            latents: Vec::new(),
            denoised: self.denoised.as_ref().map(|_| Vec::new()),
            half: self.half.as_ref().map(|_| Half {
                ahead: Vec::new(),
                first: Vec::new(),
            }),
            kept: vec![Vec::new(); self.kept.len()],
            repaint: self.repaint.as_ref().map(|_| Repaint {
                mask: Vec::new(),
                init: Vec::new(),
                noise: Vec::new(),
            }),
        };
        let count = self.latents.len();
        let mut outline = Outline { run, count };
        outline.set_units();
        outline
    }

    /// All vectors that there are of this run.
    pub fn vectors(&self) -> impl Iterator<Item = (RunVector, &[f32])> {
        let half = self.half.iter().flat_map(|half| {
            [
                (RunVector::Ahead, half.ahead.as_slice()),
                (RunVector::First, half.first.as_slice()),
            ]
        });
        let kept = self.kept.iter().enumerate();
        let repaint = self.repaint.iter().flat_map(|repaint| {
            [
                (RunVector::Mask, repaint.mask.as_slice()),
                (RunVector::Init, repaint.init.as_slice()),
                (RunVector::InitNoise, repaint.noise.as_slice()),
            ]
        });
        let denoised = self.denoised.iter();
        std::iter::once((RunVector::Latents, self.latents.as_slice()))
            .chain(denoised.map(|values| (RunVector::Denoised, values.as_slice())))
            .chain(half)
            .chain(kept.map(|(place, values)| (RunVector::Kept(place), values.as_slice())))
            .chain(repaint)
    }
}

impl Outline {
    /// The run, to ask how far it is; its vectors are not those of the run.
    #[must_use]
    pub fn run(&self) -> &Denoising {
        &self.run
    }

    /// Values in each vector of the run.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    fn points(&self) -> usize {
        match self.run.repaint {
            Some(_) => POINTS,
            None => 1,
        }
    }

    /// 1 at the place of a source, once for each value of the mask.
    fn unit(&self, of: RunVector) -> Vec<f32> {
        let one = SOURCES.map(|source| f32::from(u8::from(source == of)));
        one.repeat(self.points())
    }

    fn set_units(&mut self) {
        let unit = |of| self.unit(of);
        let (latents, ahead, first) = (
            unit(RunVector::Latents),
            unit(RunVector::Ahead),
            unit(RunVector::First),
        );
        let kept: Vec<Vec<f32>> = (0..self.run.kept.len())
            .map(|place| unit(RunVector::Kept(place)))
            .collect();
        let (init, noise) = (unit(RunVector::Init), unit(RunVector::InitNoise));
        let run = &mut self.run;
        if let Some(denoised) = &mut run.denoised {
            *denoised = vec![0.0; latents.len()];
        }
        if let Some(repaint) = &mut run.repaint {
            let mask = (0..init.len()).map(|place| (place / SOURCES.len()) as f32 / 2.0);
            *repaint = Repaint {
                mask: mask.collect(),
                init,
                noise,
            };
        }
        if let Some(half) = &mut run.half {
            *half = Half { ahead, first };
        }
        run.latents = latents;
        run.kept = kept;
    }

    /// What the network must see now; nothing when all steps are done. As [`Denoising::next_eval`].
    #[must_use]
    pub fn question(&self) -> Option<Question> {
        let eval = self.run.next_eval()?;
        let place = eval.input.iter().position(|value| *value != 0.0)?;
        Some(Question {
            timestep: eval.timestep,
            of: *SOURCES.get(place)?,
            scale: *eval.input.get(place)?,
        })
    }

    /// As [`Denoising::noise_ahead`], of the run itself.
    #[must_use]
    pub fn noise_ahead(&self) -> Option<NoiseAhead> {
        Some(self.run.noise_ahead()?.of_length(self.count))
    }

    /// What the network's answer to the last [`Self::question`] makes of the run's vectors. Noise that was drawn ahead for it is taken, else it is drawn.
    ///
    /// # Errors
    /// As [`Denoising::give`].
    pub fn give(&mut self, noise: Option<DrawnNoise>) -> Result<Mixture> {
        let noise = noise.or_else(|| self.noise_ahead().map(NoiseAhead::draw));
        let mut after = self.run.clone();
        let noise = match noise {
            Some(noise) => {
                let (stand_in, values) = noise.stand_in(self.unit(RunVector::Noise));
                after.take_noise(stand_in);
                Some(values)
            }
            None => None,
        };
        let done = after.give(&self.unit(RunVector::Answer))?;
        let mut mixture = self.mixture(&after);
        mixture.outer_step_finished = done.outer_step_finished;
        mixture.noise = noise.filter(|_| mixture.sources.contains(&RunVector::Noise));
        self.run = after;
        self.set_units();
        Ok(mixture)
    }

    /// Reads the factors off a run of unit vectors.
    fn mixture(&self, after: &Denoising) -> Mixture {
        let written = after.vectors().filter(|(vector, _)| {
            !matches!(
                vector,
                RunVector::Mask | RunVector::Init | RunVector::InitNoise
            )
        });
        let mut rows: Vec<(RunVector, Vec<[f32; 3]>)> = Vec::new();
        for (target, values) in written {
            let row: Vec<[f32; 3]> = (0..SOURCES.len())
                .map(|source| self.polynomial(values, source))
                .collect();
            let stays = SOURCES.iter().zip(&row).all(|(source, factors)| {
                let one = f32::from(u8::from(*source == target));
                *factors == [one, 0.0, 0.0]
            });
            if !(stays && SOURCES.contains(&target)) {
                rows.push((target, row));
            }
        }
        let used = |place: usize| {
            let some = |factors: &[f32; 3]| factors.iter().any(|factor| *factor != 0.0);
            SOURCES.get(place) == Some(&RunVector::Answer)
                || rows.iter().any(|(_, row)| row.get(place).is_some_and(some))
        };
        let places: Vec<usize> = (0..SOURCES.len()).filter(|place| used(*place)).collect();
        let factors = rows
            .iter()
            .flat_map(|(_, row)| places.iter().filter_map(|place| row.get(*place).copied()));
        Mixture {
            sources: places
                .iter()
                .filter_map(|place| SOURCES.get(*place).copied())
                .collect(),
            factors: factors.collect(),
            targets: rows.iter().map(|(target, _)| *target).collect(),
            masked: self.run.repaint.is_some(),
            outer_step_finished: false,
            noise: None,
        }
    }

    /// The factors of one source, through the values at the mask's points.
    fn polynomial(&self, values: &[f32], source: usize) -> [f32; 3] {
        let at = |point: usize| {
            let value = values.get(point * SOURCES.len() + source);
            value.copied().unwrap_or(0.0)
        };
        if self.points() == 1 {
            return [at(0), 0.0, 0.0];
        }
        let (middle, end) = (at(1) - at(0), at(2) - at(0));
        [at(0), 4.0 * middle - end, 2.0 * (end - 2.0 * middle)]
    }

    /// The vectors that change on the way, as many as there are now.
    #[must_use]
    pub fn state(&self) -> Vec<RunVector> {
        let all = self.run.vectors().map(|(vector, _)| vector);
        all.filter(|vector| {
            !matches!(
                vector,
                RunVector::Mask | RunVector::Init | RunVector::InitNoise
            )
        })
        .collect()
    }

    /// The run with its vectors: those of [`Self::state`] by `vector`, and what is the same on the whole way from `earlier`, the same run at another place.
    #[must_use]
    pub fn filled(
        &self,
        earlier: &Denoising,
        mut vector: impl FnMut(RunVector) -> Vec<f32>,
    ) -> Denoising {
        let mut run = self.run.clone();
        run.latents = vector(RunVector::Latents);
        if let Some(denoised) = &mut run.denoised {
            *denoised = vector(RunVector::Denoised);
        }
        if let Some(half) = &mut run.half {
            half.ahead = vector(RunVector::Ahead);
            half.first = vector(RunVector::First);
        }
        for (place, kept) in run.kept.iter_mut().enumerate() {
            *kept = vector(RunVector::Kept(place));
        }
        run.repaint.clone_from(&earlier.repaint);
        run
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::diffusion::{
        Beginning, Convention, NoiseSource, PredictionType, SamplerKind, SamplerSpec, ScheduleKind,
        SchedulerConfig, TrainingSchedule,
    };

    const COUNT: usize = 96;

    fn noise(seed: u64) -> Vec<f32> {
        NoiseSource::Cpu.draw(seed, COUNT)
    }

    /// A run, if there is the sampler in the convention.
    fn run(
        sampler: SamplerKind,
        convention: Convention,
        prediction: PredictionType,
        over: Option<bool>,
    ) -> Option<Denoising> {
        let config = SchedulerConfig::stable_diffusion(prediction);
        let spec = SamplerSpec {
            sampler,
            schedule: ScheduleKind::Normal,
            convention,
            spacing: None,
            steps: 7,
        };
        let training = TrainingSchedule::new(&config).unwrap();
        let mut beginning = Beginning::of_seed(NoiseSource::Cpu, 7, COUNT);
        if let Some(masked) = over {
            beginning.init = Some((noise(8), 0.8));
            // Hard, soft and everything between.
            let mask = (0..COUNT).map(|place| (place % 9) as f32 / 8.0);
            beginning.mask = masked.then(|| mask.collect());
        }
        Denoising::new(&spec, &training, beginning).ok()
    }

    /// What no linear map gives.
    fn network(input: &[f32], timestep: f32) -> Vec<f32> {
        let answer = |x: &f32| 0.8 * x + 0.1 * (3.0 * x).sin() + 1e-5 * timestep;
        input.iter().map(answer).collect()
    }

    /// Goes with an outline and vectors that lie beside it.
    struct Apart {
        outline: Outline,
        vectors: HashMap<usize, Vec<f32>>,
        whole: Denoising,
    }

    impl Apart {
        fn new(run: &Denoising) -> Self {
            let vectors = run
                .vectors()
                .map(|(v, values)| (v.index(), values.to_vec()));
            Self {
                outline: run.outline(),
                vectors: vectors.collect(),
                whole: run.clone(),
            }
        }

        fn step(&mut self) -> bool {
            let Some(question) = self.outline.question() else {
                return false;
            };
            let input: Vec<f32> = self.vectors[&question.of.index()]
                .iter()
                .map(|x| x * question.scale)
                .collect();
            let answer = network(&input, question.timestep);
            self.vectors.insert(RunVector::Answer.index(), answer);
            let drawn = self.outline.noise_ahead().map(NoiseAhead::draw);
            let mixture = self.outline.give(drawn).unwrap();
            if let Some(noise) = &mixture.noise {
                self.vectors.insert(RunVector::Noise.index(), noise.clone());
            }
            let mut made = Vec::new();
            let width = mixture.sources.len();
            for (target, row) in mixture.targets.iter().zip(mixture.factors.chunks(width)) {
                let value = |place: usize| {
                    let mask = match mixture.masked {
                        true => self.vectors[&RunVector::Mask.index()][place],
                        false => 0.0,
                    };
                    let parts = mixture.sources.iter().zip(row);
                    parts
                        .map(|(source, [a, b, c])| {
                            (a + mask * (b + mask * c)) * self.vectors[&source.index()][place]
                        })
                        .sum::<f32>()
                };
                made.push((target.index(), (0..COUNT).map(value).collect()));
            }
            self.vectors.extend(made);
            true
        }

        fn filled(&self) -> Denoising {
            self.outline
                .filled(&self.whole, |vector| self.vectors[&vector.index()].clone())
        }
    }

    #[test]
    fn every_sampler_is_what_its_numbers_say() {
        let mut runs = 0;
        for sampler in SamplerKind::ALL {
            for convention in [Convention::KDiffusion, Convention::Diffusers] {
                for prediction in [PredictionType::Epsilon, PredictionType::VPrediction] {
                    for over in [None, Some(false), Some(true)] {
                        let Some(mut plain) = run(sampler, convention, prediction, over) else {
                            continue;
                        };
                        let what = format!("{sampler:?} {convention:?} {prediction:?} {over:?}");
                        let mut apart = Apart::new(&plain);
                        while let Some(eval) = plain.next_eval() {
                            plain.give(&network(&eval.input, eval.timestep)).unwrap();
                            assert!(apart.step(), "{what}");
                            let filled = apart.filled();
                            assert_eq!(filled.evals_done(), plain.evals_done(), "{what}");
                            assert_eq!(filled.noise, plain.noise, "{what}");
                            let scale = plain.latents.iter().fold(1f32, |a, b| a.max(b.abs()));
                            let pairs = filled.vectors().zip(plain.vectors());
                            for ((vector, got), (wanted_vector, wanted)) in pairs {
                                assert_eq!(vector, wanted_vector, "{what}");
                                assert_eq!(got.len(), wanted.len(), "{what}");
                                for (got, wanted) in got.iter().zip(wanted) {
                                    let off = (got - wanted).abs() / scale;
                                    assert!(off < 2e-5, "{what} {vector:?}: {got} {wanted}");
                                }
                            }
                        }
                        assert!(!apart.step() && apart.filled().is_finished(), "{what}");
                        runs += 1;
                    }
                }
            }
        }
        assert!(runs > 90, "{runs}");
    }

    #[test]
    fn a_run_goes_on_from_any_place() {
        for sampler in SamplerKind::ALL {
            let masked = Some(true);
            let convention = Convention::KDiffusion;
            let made = run(sampler, convention, PredictionType::Epsilon, masked);
            let Some(plain) = made else { continue };
            let mut whole = Apart::new(&plain);
            let mut broken = Apart::new(&plain);
            while whole.step() {
                broken.step();
                // Put together, written, read and taken apart again.
                let bytes = broken.filled().to_bytes().unwrap();
                broken = Apart::new(&Denoising::from_bytes(&bytes).unwrap());
                assert_eq!(broken.filled(), whole.filled(), "{sampler:?}");
            }
        }
    }
}
