//! Noise schedules, samplers, guidance and noise generators: everything around the network, in f32 on the host, so that
//! both executors agree by construction.
#![doc = include_str!("README.md")]

mod bits;
mod error;
mod guidance;
mod noise;
mod samplers;
mod schedule;
mod single;
mod spec;
mod table;

pub use error::{DiffusionError, Result};
pub use guidance::guide;
pub use noise::TorchCpuRng;
pub use samplers::{Denoising, Eval, StepDone};
pub use schedule::{BetaSchedule, PredictionType, SchedulerConfig, TrainingSchedule};
pub use spec::{Convention, SamplerKind, SamplerSpec, ScheduleKind, Spacing};
pub use table::{LatentSpace, StepTable};
