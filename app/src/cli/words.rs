//! What prompts are made of: lists, variants, and what weights do.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use diptych_inference::engine::{ImageRequest, ModelRef};
use diptych_inference::text::prompt::Emphasis;

use super::args::{DrawArgs, Global, Syntax};
use super::client::check_readable;
use super::error::Result;
use super::out;
use crate::folders;
use crate::wildcards::{FOLDER, Wildcards};

/// Options about prompts.
#[derive(Clone, Debug, Default, Args)]
pub struct WordArgs {
    /// Folder of the lists that __name__ takes lines from: text files (default: 'wildcards' among your data). {a|b} takes one of
    /// its variants. Which is taken follows from the seed
    #[arg(long, value_name = "FOLDER")]
    pub wildcards: Option<PathBuf>,
    /// What a weight does to a word (default: as the program whose syntax is read)
    #[arg(long, value_enum)]
    pub emphasis: Option<EmphasisArg>,
}

/// `--emphasis`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EmphasisArg {
    /// Multiplies it and restores the mean of all, as AUTOMATIC1111 does
    Original,
    /// Multiplies it
    NoNorm,
    /// Moves it away from nothing, as ComfyUI does
    Comfyui,
}

impl WordArgs {
    /// What weights do, where it is said or follows from the syntax.
    pub fn emphasis(&self, syntax: Option<Syntax>) -> Option<Emphasis> {
        match (self.emphasis, syntax) {
            (Some(EmphasisArg::Original), _) => Some(Emphasis::Original),
            (Some(EmphasisArg::NoNorm), _) => Some(Emphasis::NoNorm),
            (Some(EmphasisArg::Comfyui), _) | (None, Some(Syntax::Comfyui)) => {
                Some(Emphasis::ComfyUi)
            }
            (None, Some(Syntax::A1111)) => Some(Emphasis::Original),
            (None, _) => None,
        }
    }
}

/// Resolves prompts.
pub(super) struct Words {
    lists: Wildcards,
    /// The first picture's prompts are taken as they were resolved before.
    settled: bool,
}

/// The person's own lists.
pub(super) fn lists(global: &Global) -> Wildcards {
    let data = folders::data(global.data_dir.as_deref());
    Wildcards::new(data.map(|data| data.join(FOLDER)).unwrap_or_default())
}

/// A prompt with its variants and lists resolved by a seed; what could not be taken as meant is said.
pub(super) fn resolved(lists: &Wildcards, prompt: &str, seed: u64) -> String {
    let mut request = ImageRequest::new(ModelRef::named(""), prompt, 0, 0);
    request.seed = seed;
    for warning in lists.apply(&mut request) {
        out::remark(&format!("note: {warning}"));
    }
    request.prompt
}

impl Words {
    /// The lists of the folder named, or of the person's own. `from` tells that the settings are those of an earlier picture.
    ///
    /// # Errors
    /// If the folder that was named cannot be read.
    pub fn new(global: &Global, args: &DrawArgs, from: bool) -> Result<Self> {
        let folder = match &args.words.wildcards {
            Some(folder) => {
                check_readable(folder)?;
                folder.clone()
            }
            None => return Ok(Self::of(lists(global), args, from)),
        };
        Ok(Self::of(Wildcards::new(folder), args, from))
    }

    fn of(lists: Wildcards, args: &DrawArgs, from: bool) -> Self {
        let changed = args.prompt.is_some() || args.basic.negative.is_some() || args.seed.is_some();
        Self {
            lists,
            settled: from && !changed,
        }
    }

    /// Resolves the prompts of one of several pictures; gives what could not be taken as meant.
    pub fn apply(&self, request: &mut ImageRequest, number: u32) -> Vec<String> {
        if self.settled && number == 0 {
            return Vec::new();
        }
        self.lists.apply(request)
    }
}
