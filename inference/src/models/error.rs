//! Errors of making a model and of building its graphs.

use crate::formats::FormatError;
use crate::graph::GraphError;

/// A model could not be made, or not for what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The configuration or a weight is missing, wrong or of a kind that cannot be run.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Configuration and weights do not fit each other.
    #[error(transparent)]
    Graph(GraphError),
    /// A graph was asked for that this model cannot have.
    #[error("the {model} cannot be run so: {reason}")]
    Request {
        /// The kind of model.
        model: &'static str,
        /// What is wrong, and what is possible.
        reason: String,
    },
}

impl From<GraphError> for ModelError {
    fn from(error: GraphError) -> Self {
        // One kind of fault is one variant, whichever way it came.
        match error {
            GraphError::Weight(error) => Self::Format(error),
            other => Self::Graph(other),
        }
    }
}

pub(crate) type Result<T> = std::result::Result<T, ModelError>;
