//! What can be wrong with a noise schedule, a sampler's settings or a model's answer.

use thiserror::Error;

/// An error of the diffusion layer; every message names the cause and what to do about it.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum DiffusionError {
    /// The scheduler configuration is not JSON of the expected form.
    #[error("the scheduler configuration cannot be read: {0}")]
    ConfigSyntax(String),
    /// A field of the scheduler configuration has a value that cannot be used.
    #[error("the scheduler configuration has {field} = {value}: {remedy}")]
    ConfigValue {
        /// Key in `scheduler_config.json`.
        field: &'static str,
        /// Its value as found.
        value: String,
        /// What would be accepted.
        remedy: &'static str,
    },
    /// A name of a sampler, schedule, convention or spacing that is not known.
    #[error("unknown {what} \"{given}\"; known are: {known}")]
    UnknownName {
        /// Which kind of name was looked up.
        what: &'static str,
        /// The name as given.
        given: String,
        /// Every accepted name.
        known: String,
    },
    /// The number of steps is zero or more than the schedule can hold.
    #[error("{steps} steps cannot be sampled with {sampler}: choose 1 to {most}")]
    Steps {
        /// Steps asked for.
        steps: usize,
        /// Label of the sampler.
        sampler: &'static str,
        /// The most that this model, sampler and convention allow.
        most: usize,
    },
    /// The combination of sampler, schedule, convention and model does not exist.
    #[error("{what} is not possible: {remedy}")]
    Unsupported {
        /// The combination.
        what: String,
        /// What to choose instead.
        remedy: &'static str,
    },
    /// A buffer has another length than the latents.
    #[error("{what} holds {got} values where the latents hold {want}")]
    Length {
        /// Which buffer.
        what: &'static str,
        /// Values given.
        got: usize,
        /// Values needed.
        want: usize,
    },
    /// The model answered with infinities or NaN.
    #[error(
        "the model's prediction at step {step} is not finite (value {index} is {value}): \
         the weights are damaged or overflow at this precision"
    )]
    NotFinite {
        /// Outer step, from 0.
        step: usize,
        /// Index of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A model output was given after the last step.
    #[error("all {0} steps are done; no further prediction is expected")]
    Finished(usize),
    /// A stored sampler or generator state contradicts itself.
    #[error("the stored sampler state is damaged: {0}")]
    DamagedState(&'static str),
}

/// Result of the diffusion layer.
pub type Result<T> = std::result::Result<T, DiffusionError>;
