//! Noise schedules, samplers, guidance and noise generators: everything around the network, in f32 on the host, so that
//! both executors agree by construction; and as factors of sums, where the latents stay on a device ([`Outline`]).
#![doc = include_str!("README.md")]

mod beta;
mod bits;
mod brownian;
mod error;
mod guidance;
mod levels;
mod noise;
mod philox;
mod samplers;
mod schedule;
mod single;
mod source;
mod spec;
mod table;

pub use error::{DiffusionError, Result};
pub use guidance::{compose, guide, rescale};
pub use noise::TorchCpuRng;
pub use samplers::{
    Beginning, Denoising, DrawnNoise, Eval, Mixture, NoiseAhead, Outline, Question, Repaint,
    RunVector, StepDone,
};
pub use schedule::{BetaSchedule, PredictionType, SchedulerConfig, TrainingSchedule};
pub use source::{NoiseRng, NoiseSource, vary};
pub use spec::{Convention, SamplerKind, SamplerSpec, ScheduleKind, Spacing};
pub use table::{LatentSpace, Midpoint, StepTable};
