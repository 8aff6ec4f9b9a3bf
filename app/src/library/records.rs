//! What the library keeps: plain data that the window, the command line and the tests share.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use diptych_inference::engine::{FinishReason, ImageRequest, ModelRef, Request, Written};
use diptych_inference::text::sampling::SamplingParams;
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970, UTC.
pub type Millis = i64;

/// The time now.
pub fn now() -> Millis {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| Millis::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

/// A number that no record of any instance had before: the time in the upper bits, so that numbers grow, and
/// randomness in the lower ones. Within one run each is greater than the one before, whatever the clock does. Positive, as
/// SQLite's row numbers are.
fn fresh() -> i64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    static LAST: AtomicI64 = AtomicI64::new(0);
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    let random = i64::from((hasher.finish() & 0xf_ffff) as u32);
    let number = (now() << 20) | random;
    let later = |last: i64| number.max(last.saturating_add(1));
    // The closure never declines.
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
        Some(later(last))
    });
    last.map_or(number, later)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl $name {
            /// A number that was not used before, by this instance or another. Later ones are greater.
            #[allow(clippy::new_without_default, reason = "two of them are never equal")]
            pub fn new() -> Self {
                Self(fresh())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

ids! {
    /// A picture.
    PictureId,
    /// A conversation.
    ConversationId,
    /// A message of a conversation.
    MessageId,
    /// A compare grid.
    GridId,
    /// A job, from before it is queued until its result is kept.
    TaskId,
    /// Settings of a conversation under a name.
    PresetId,
    /// One run of the program.
    SessionId,
}

/// A picture that is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PictureRecord {
    /// Its number.
    pub id: PictureId,
    /// Its file, absolute.
    pub path: PathBuf,
    /// When it was made.
    pub created: Millis,
    /// What reproduces it.
    pub request: ImageRequest,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// For a picture that was stopped: the steps that were done.
    pub steps_done: Option<u32>,
    /// Seconds that it took.
    pub seconds: f32,
    /// Whether the person marked it.
    pub favourite: bool,
    /// Whether the person threw it away; the file stays until the trash is emptied.
    pub trashed: bool,
    /// The grid that it belongs to.
    pub grid: Option<GridId>,
    /// Where it came from, if not from words alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// Which picture another one came from, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It went on from a step of another one with other settings.
    Branch {
        /// The other one.
        of: PictureId,
        /// Steps that were done in it.
        step: u32,
    },
    /// It is another one made larger.
    Enlarged {
        /// The other one; `None` if it is none of the library's.
        of: Option<PictureId>,
        /// The upscaler's name.
        with: String,
        /// Whether nobody knows how the other one was made: then the request tells nothing but a name.
        foreign: bool,
    },
}

impl Origin {
    /// The picture that it came from, if the library had it.
    pub fn of(&self) -> Option<PictureId> {
        match self {
            Self::Branch { of, .. } => Some(*of),
            Self::Enlarged { of, .. } => *of,
        }
    }

    /// Whether nobody knows how the picture was made.
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::Enlarged { foreign: true, .. })
    }
}

/// A conversation; its messages form a tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// Its number.
    pub id: ConversationId,
    /// Its name: the person's, or made of the first message.
    pub title: String,
    /// The model that answers; `None` is the studio's own choice.
    pub model: Option<ModelRef>,
    /// The system prompt; empty is none.
    pub system: String,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// Most tokens of an answer.
    pub max_tokens: u32,
    /// Seed of the answers; `None` is a new one each time.
    pub seed: Option<u64>,
    /// Whether old messages drop out when the model's context is full.
    #[serde(default)]
    pub drop_old: bool,
    /// Whether it stays at the top of the list.
    pub pinned: bool,
    /// When it was begun.
    pub created: Millis,
    /// When it was last changed.
    pub changed: Millis,
    /// The last message of the branch that is shown.
    pub leaf: Option<MessageId>,
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// It is whole.
    Done,
    /// It is being written, or was when the program ended.
    Writing,
    /// The person stopped it.
    Stopped,
    /// It failed; the reason is in [`AnswerInfo::failure`].
    Failed,
}

/// How an answer came about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AnswerInfo {
    /// The model's name.
    pub model: Option<ModelRef>,
    /// Seed of the choice of tokens.
    pub seed: u64,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Of them, taken from the cache.
    pub cached_tokens: u32,
    /// Tokens written.
    pub tokens: u32,
    /// The model's context length.
    pub context_length: u32,
    /// Seconds until the first token.
    pub first_token_seconds: f32,
    /// Seconds of writing the rest.
    pub decode_seconds: f32,
    /// Why it ended.
    pub reason: Option<FinishReason>,
    /// Why it failed.
    pub failure: Option<String>,
    /// Bytes at the beginning of the text that it was begun with: another answer went another way there.
    #[serde(default)]
    pub given: u32,
    /// Tokens of old messages that dropped out, because the context was full.
    #[serde(default)]
    pub dropped_tokens: u32,
    /// Of answers that are not whole: the tokens from which it can be gone on with, and the bytes of the text that they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Written>,
}

/// A text that was given along with a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its file's name, without folders.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Settings of a conversation under a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatPreset {
    /// Its number.
    pub id: PresetId,
    /// Its name: the person's.
    pub name: String,
    /// The model that it is for; `None` is for all.
    pub model: Option<ModelRef>,
    /// The system prompt; empty is none.
    pub system: String,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// Most tokens of an answer.
    pub max_tokens: u32,
}

/// A message of a conversation. Messages with the same parent are siblings: other wordings of the same turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its number.
    pub id: MessageId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The message before it; `None` for the first.
    pub parent: Option<MessageId>,
    /// Who says it.
    pub role: Role,
    /// What it says: Markdown.
    pub text: String,
    /// Texts that were given along with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// How far it is.
    pub state: MessageState,
    /// For answers: how they came about.
    pub info: Option<AnswerInfo>,
    /// When it was begun.
    pub created: Millis,
}

/// A compare grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GridRecord {
    /// Its number.
    pub id: GridId,
    /// Its name.
    pub title: String,
    /// Prompts, seeds, settings, cells: what the compare panel makes of it.
    pub spec: serde_json::Value,
    /// When it was made.
    pub created: Millis,
    /// When it was last changed.
    pub changed: Millis,
}

/// Where a job's result goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Among the pictures.
    Gallery,
    /// Among the pictures, and into a cell of a compare grid.
    Cell {
        /// The grid.
        grid: GridId,
        /// Row: the prompt.
        row: u32,
        /// Column: the seed.
        column: u32,
    },
    /// Into a message of a conversation.
    Answer {
        /// The conversation.
        conversation: ConversationId,
        /// The message that the answer is written into.
        message: MessageId,
    },
    /// Into a lane of the chat comparison.
    Lane {
        /// The comparison.
        grid: GridId,
        /// Which of its lanes.
        lane: u32,
    },
    /// Variants of a prompt, to become rows of a compare grid.
    Variants {
        /// The grid.
        grid: GridId,
    },
    /// Into a file that the command line was given.
    File {
        /// The file.
        path: PathBuf,
    },
    /// Among the pictures, as a branch of another one.
    Branch {
        /// The other one.
        of: PictureId,
        /// Steps that were done in it.
        step: u32,
    },
    /// Among the pictures, as another one made larger.
    Enlarged {
        /// The other one; `None` if it is none of the library's.
        of: Option<PictureId>,
        /// How the other one was made.
        request: Box<ImageRequest>,
        /// Whether nobody knows that: then the request tells nothing but a name.
        foreign: bool,
    },
    /// Nowhere: drawn to find out which words of a picture matter.
    Words {
        /// The picture.
        of: PictureId,
    },
    /// Nowhere: drawn anew to see whether the same comes of it.
    Again {
        /// The picture.
        of: PictureId,
    },
    /// Into the file of a way between two pictures.
    Way {
        /// The picture at its beginning.
        from: PictureId,
        /// The picture at its end.
        to: PictureId,
    },
}

impl Target {
    /// Whether the result goes to a dialog that waits for it, and nowhere else: it is asked for again where that is gone.
    pub fn is_asked(&self) -> bool {
        matches!(
            self,
            Self::Words { .. } | Self::Again { .. } | Self::Way { .. }
        )
    }

    /// Whether the result is one of the pictures in Create.
    pub fn is_gallery(&self) -> bool {
        matches!(
            self,
            Self::Gallery | Self::Branch { .. } | Self::Enlarged { .. }
        )
    }
}

/// How far a kept job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// It waits.
    Waiting,
    /// It runs.
    Running,
    /// The person put it to sleep.
    Paused,
    /// It failed and waits for the person's word.
    Failed,
}

/// A job that is not done, as the library keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Its number.
    pub id: TaskId,
    /// The run of the program that does it.
    pub session: SessionId,
    /// What is to be done.
    pub request: Request,
    /// Where the result goes.
    pub target: Target,
    /// How far it is.
    pub state: TaskState,
    /// Place in the queue: lower ones come first.
    pub position: f64,
    /// Steps or tokens done, and in all where that is known.
    pub progress: Option<(u32, u32)>,
    /// What the engine needs to go on with it.
    #[serde(skip)]
    pub checkpoint: Option<Vec<u8>>,
    /// When it was queued.
    pub created: Millis,
}
