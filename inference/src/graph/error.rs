//! Errors of building and of running a graph.

use crate::formats::FormatError;

/// A graph could not be built: shapes do not fit each other.
///
/// Configurations come from files, so these errors are about a person's file, not only about our code.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// Operands of one op do not fit each other.
    #[error(
        "{label}: {op} cannot take {detail}; the model's configuration and its weights do not fit each other"
    )]
    Shape {
        /// Where in the model.
        label: String,
        /// The op's name.
        op: &'static str,
        /// The shapes, in words.
        detail: String,
    },
    /// A size so large that its product does not fit the address space.
    #[error("{label}: a tensor of shape {shape:?} is too large to address")]
    TooLarge {
        /// Where in the model.
        label: String,
        /// The shape.
        shape: Vec<usize>,
    },
    /// A weight is missing, misshapen or of a type that cannot be computed with.
    #[error(transparent)]
    Weight(#[from] FormatError),
}

/// A graph could not be prepared or run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The caller asked to stop ([`super::Interrupt`]); nothing is wrong.
    #[error("stopped")]
    Interrupted,
    /// An input is missing or has another shape or type than the graph says.
    #[error("input '{name}' of {graph}: {detail}")]
    Input {
        /// The graph's name.
        graph: String,
        /// The input's name.
        name: String,
        /// What is wrong with it.
        detail: String,
    },
    /// This executor cannot run an op with these operands.
    #[error("{label}: the {executor} executor cannot run {detail}")]
    Unsupported {
        /// `cpu` or `gpu`.
        executor: &'static str,
        /// Where in the model.
        label: String,
        /// The op and its operands, in words.
        detail: String,
    },
    /// Memory does not suffice.
    #[error(
        "out of memory: {what} needs {needed} MiB, and {available} MiB of the budget of {budget} MiB are free; use a smaller picture, model or context, or raise the memory budget"
    )]
    OutOfMemory {
        /// What asked for the memory.
        what: String,
        /// Asked for, MiB.
        needed: u64,
        /// Free, MiB.
        available: u64,
        /// In all, MiB.
        budget: u64,
    },
    /// The device is gone; the engine rebuilds it.
    #[error("the graphics device was lost ({reason})")]
    DeviceLost {
        /// The driver's words.
        reason: String,
    },
    /// The driver or candle reported an error.
    #[error("{context}: {message}")]
    Backend {
        /// What was being done.
        context: String,
        /// The backend's words.
        message: String,
    },
    /// A plan or state that does not exist (any longer).
    #[error("{what} {id} does not exist on this device")]
    Unknown {
        /// `plan` or `state`.
        what: &'static str,
        /// Its number.
        id: u64,
    },
    /// Reading a weight failed.
    #[error(transparent)]
    Weight(#[from] FormatError),
}
