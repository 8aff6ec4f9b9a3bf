//! Why a command line ends without success, and with which exit code.

use std::process::ExitCode;

use diptych_inference::engine::Failure;

/// Exit code of a run that was stopped by Ctrl+C: 128 and the number of SIGINT, as shells say it.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Why a command ends without success.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line asks for something that is not there; exit code 2.
    #[error("{0}")]
    Usage(String),
    /// A file, a device or a job failed; exit code 1.
    #[error("{0}")]
    Failed(String),
    /// All was said already; exit code 1.
    #[error("failed")]
    Said,
    /// Ctrl+C; exit code 130.
    #[error("interrupted")]
    Interrupted,
    /// Whoever read our output has enough of it; a quiet end.
    #[error("output closed")]
    OutputClosed,
}

impl CliError {
    /// A failure told in a person's words.
    pub fn failed(message: impl std::fmt::Display) -> Self {
        Self::Failed(message.to_string())
    }

    /// A failure at a file.
    pub fn at(path: &std::path::Path, action: &str, error: impl std::fmt::Display) -> Self {
        Self::Failed(format!("{}: cannot {action}: {error}", path.display()))
    }

    /// What the engine told about a job or its own start.
    pub fn of_engine(failure: &Failure) -> Self {
        if failure.bug {
            let message = &failure.message;
            return Self::Failed(format!(
                "{message}; this is a fault of the program: please report it (more with -v)"
            ));
        }
        Self::Failed(failure.message.clone())
    }

    /// The exit code, and the line to say (none for a quiet end); `verb` is the command whose help tells more.
    pub fn exit(&self, verb: Option<&str>) -> (ExitCode, Option<String>) {
        match self {
            Self::Usage(message) => (
                ExitCode::from(2),
                Some(match verb {
                    Some(verb) => format!("{message}; see 'diptych {verb} --help'"),
                    None => format!("{message}; see 'diptych --help'"),
                }),
            ),
            Self::Failed(message) => (ExitCode::from(1), Some(message.clone())),
            Self::Said => (ExitCode::from(1), None),
            Self::Interrupted => (ExitCode::from(EXIT_INTERRUPTED), None),
            Self::OutputClosed => (ExitCode::SUCCESS, None),
        }
    }
}

impl From<crate::pictures::PictureError> for CliError {
    fn from(error: crate::pictures::PictureError) -> Self {
        Self::failed(error)
    }
}

/// Result of a command.
pub type Result<T> = std::result::Result<T, CliError>;
