//! A chat model: decoder, tokenizer and template, as one file or folder holds them.

use std::path::Path;
use std::sync::OnceLock;

use super::error::JobError;
use super::kv::PrefixCache;
use crate::formats::detect::ModelInfo;
use crate::formats::gguf::read_gguf;
use crate::graph::{Graph, KV_PAGE, KvShape, KvType, StateId};
use crate::models::Llama;
use crate::models::llama::{LONGEST_CONTEXT, LlamaShape};
use crate::text::TextError;
use crate::text::grammar::Guide;
use crate::text::template::{CHATML, ChatMessage, RenderOptions, Rendered, render};
use crate::text::tokenizer::{EncodeOptions, FolderTokenizer, GgufVocab, Tokenizer};

/// A second context's worth of pages, for other conversations and branches, is added up to this size.
const ROOM_FOR_OTHERS: u64 = 512 << 20;

/// A loaded chat model.
pub struct ChatModel {
    llama: Llama,
    tokenizer: Tokenizer,
    template: Option<String>,
    context_length: usize,
    guide: OnceLock<Result<Guide, TextError>>,
}

/// A chat model's KV cache on the device.
pub struct ChatState {
    /// The cache.
    pub state: StateId,
    /// What lies where in it.
    pub cache: PrefixCache,
    /// Its size.
    pub bytes: u64,
}

/// Messages in which what is to be taken literally is marked.
struct Literal {
    messages: Vec<ChatMessage>,
    /// What marks it; `None` where there is nothing to mark.
    mark: Option<char>,
}

/// A text without its marks, and where they were.
fn without_marks(text: String, mark: Option<char>) -> (String, Vec<usize>) {
    let Some(mark) = mark else {
        return (text, Vec::new());
    };
    let mut places = Vec::new();
    let mut plain = String::with_capacity(text.len());
    for part in text.split(mark) {
        plain.push_str(part);
        places.push(plain.len());
    }
    places.pop();
    (plain, places)
}

impl ChatState {
    /// An empty cache.
    pub fn new(state: StateId, shape: KvShape) -> Self {
        Self {
            state,
            cache: PrefixCache::new(shape.pages),
            bytes: shape.bytes(),
        }
    }
}

impl ChatModel {
    /// Loads a GGUF file or a Hugging Face folder.
    ///
    /// # Errors
    /// If a file is faulty or its architecture or tokenizer is not known.
    pub fn load(path: &Path, _info: &ModelInfo) -> Result<Self, JobError> {
        if path.is_dir() {
            return Self::load_folder(path);
        }
        let file = read_gguf(path)?;
        let llama = Llama::from_gguf(&file)?;
        let vocabulary = GgufVocab::from_gguf(&file.metadata)?;
        let tokenizer = Tokenizer::new(vocabulary)?;
        if tokenizer.vocab_len() > llama.vocab_size() {
            return Err(JobError::Request(format!(
                "{}: the tokenizer has {} tokens, but the model only {}; the file is damaged",
                path.display(),
                tokenizer.vocab_len(),
                llama.vocab_size()
            )));
        }
        let template = file
            .metadata
            .opt_str("tokenizer.chat_template")?
            .map(str::to_owned);
        Ok(Self::new(llama, tokenizer, template))
    }

    fn load_folder(folder: &Path) -> Result<Self, JobError> {
        let llama = Llama::from_folder(folder)?;
        // Some folders have tokens that the model does not: what they are for (pictures) is no part of it.
        let FolderTokenizer {
            tokenizer,
            template,
        } = FolderTokenizer::open(folder)?;
        Ok(Self::new(llama, tokenizer, template))
    }

    fn new(llama: Llama, tokenizer: Tokenizer, template: Option<String>) -> Self {
        let context_length = llama.kept_context(LONGEST_CONTEXT);
        Self {
            llama,
            tokenizer,
            template,
            context_length,
            guide: OnceLock::new(),
        }
    }

    /// Refuses tokens that the model has no embedding for.
    pub(super) fn check_ids(&self, ids: Vec<u32>) -> Result<Vec<u32>, JobError> {
        let most = self.llama.vocab_size();
        match ids.iter().find(|id| **id as usize >= most) {
            None => Ok(ids),
            Some(id) => Err(JobError::Request(format!(
                "the text holds the token {:?} ({id}), which the model does not know: it has {most} tokens",
                self.tokenizer.piece_text(*id).unwrap_or_default()
            ))),
        }
    }

    /// With keys and values kept in another type.
    #[must_use]
    pub fn with_kv_type(mut self, kv_type: KvType) -> Self {
        self.llama = self.llama.with_kv_type(kv_type);
        self
    }

    /// With room for conversations of at most so many tokens, up to the model's own context.
    #[must_use]
    pub fn with_longest_context(mut self, tokens: usize) -> Self {
        self.context_length = self.llama.kept_context(tokens);
        self
    }

    /// The decoder.
    pub fn llama(&self) -> &Llama {
        &self.llama
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Its vocabulary for grammars, made ready the first time.
    ///
    /// # Errors
    /// If the vocabulary cannot be used for grammars.
    pub fn guide(&self) -> Result<&Guide, TextError> {
        let guide = self.guide.get_or_init(|| Guide::new(&self.tokenizer));
        guide.as_ref().map_err(Clone::clone)
    }

    /// Tokens that a conversation may have.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// Pages that one conversation may have.
    pub fn pages_per_sequence(&self) -> usize {
        self.context_length.div_ceil(KV_PAGE)
    }

    /// The cache that this model wants: one whole context, and where it is cheap another for other conversations.
    pub fn kv_shape(&self) -> KvShape {
        let pages = self.pages_per_sequence();
        let once = self.llama.kv_shape(pages);
        if once.bytes() <= ROOM_FOR_OTHERS {
            self.llama.kv_shape(2 * pages)
        } else {
            once
        }
    }

    /// Sizes of a plan of `rows` rows.
    pub fn shape(&self, rows: usize) -> LlamaShape {
        LlamaShape {
            rows,
            outputs: 1,
            sequences: 1,
            pages_per_sequence: self.pages_per_sequence(),
            pages: self.kv_shape().pages,
        }
    }

    /// The graph of a plan that answers are written with: it tells what choosing a token of the vocabulary needs.
    ///
    /// # Errors
    /// As [`Llama::choosing_graph`].
    pub fn choosing_graph(&self, shape: &LlamaShape) -> Result<Graph, JobError> {
        let tokens = self.tokenizer.vocab_len().min(self.llama.vocab_size());
        Ok(self.llama.choosing_graph(shape, tokens)?)
    }

    /// Sizes of a plan for one token of each of `streams` answers.
    pub fn shape_of_streams(&self, streams: usize) -> LlamaShape {
        LlamaShape {
            outputs: streams,
            sequences: streams,
            ..self.shape(streams)
        }
    }

    /// The tokens of a conversation that the assistant is to answer, and what to warn about. If the last message is the
    /// assistant's own, its words stand behind the template's beginning of an answer, to be gone on with. `now` is for
    /// templates that tell the date, in seconds since 1970.
    ///
    /// # Errors
    /// From template or tokenizer.
    pub fn encode_messages(
        &self,
        messages: &[ChatMessage],
        now: i64,
    ) -> Result<(Vec<u32>, Option<String>), JobError> {
        let name = |id: Option<u32>| {
            id.and_then(|id| self.tokenizer.piece_text(id))
                .unwrap_or_default()
                .to_owned()
        };
        let (bos, eos) = (name(self.tokenizer.bos()), name(self.tokenizer.eos()));
        let options = RenderOptions {
            add_generation_prompt: true,
            bos: bos.clone(),
            eos,
            now,
        };
        let (messages, begun) = match messages.split_last() {
            Some((last, before)) if last.role == "assistant" && !before.is_empty() => {
                (before, last.content.as_str())
            }
            _ => (messages, ""),
        };
        // What a person has written is text, whatever it spells: it must not end a message or begin another.
        let begun = ChatMessage::new("assistant", begun);
        let all: Vec<ChatMessage> = messages.iter().chain([&begun]).cloned().collect();
        let Literal { messages, mark } = self.literal(all)?;
        let (begun, messages) = messages.split_last().unwrap_or((&begun, &messages));
        let Rendered { text, warning } = render(self.template.as_deref(), messages, &options)?;
        let (text, literal) = without_marks(text + &begun.content, mark);
        // Templates that write the beginning themselves must not get a second one; those of Hugging Face folders write all of it.
        let own_template = self.tokenizer.is_json() && self.template.is_some();
        let add_special = self.tokenizer.add_bos_default()
            && !own_template
            && (bos.is_empty() || !text.starts_with(&bos));
        let options = EncodeOptions {
            add_special,
            parse_special: true,
        };
        let ids = self.tokenizer.encode_around(&text, options, &literal)?;
        Ok((self.check_ids(ids)?, warning))
    }

    /// The tokens of a text as a part of a person's message.
    ///
    /// # Errors
    /// From the tokenizer.
    pub fn encode_part(&self, text: &str) -> Result<Vec<u32>, JobError> {
        let message = vec![ChatMessage::new("user", text)];
        let Literal { messages, mark } = self.literal(message)?;
        let text = messages
            .into_iter()
            .next()
            .map_or_else(String::new, |message| message.content);
        let (text, literal) = without_marks(text, mark);
        let options = EncodeOptions {
            add_special: false,
            parse_special: true,
        };
        Ok(self.tokenizer.encode_around(&text, options, &literal)?)
    }

    /// Marks in messages what spells a special token and is not to be read as one: control tokens, ends of an answer, and, but for answers, in which models
    /// themselves part their thoughts so, what the template writes.
    fn literal(&self, messages: Vec<ChatMessage>) -> Result<Literal, JobError> {
        let template = self.template.as_deref().unwrap_or(CHATML);
        let of_template = |id: u32| {
            let text = self.tokenizer.piece_text(id).unwrap_or_default();
            template.contains(text) || CHATML.contains(text)
        };
        let mut places = Vec::with_capacity(messages.len());
        for message in &messages {
            let mut spelled = self.tokenizer.spelled(&message.content)?;
            spelled.retain(|(_, id)| {
                self.tokenizer.is_special(*id)
                    || self.tokenizer.is_end(*id)
                    || message.role != "assistant" && of_template(*id)
            });
            places.push(spelled);
        }
        let mut marked = Literal {
            messages,
            mark: None,
        };
        if places.iter().all(Vec::is_empty) {
            return Ok(marked);
        }
        // A code point that is no character, and that nobody has written here.
        let is_free = |mark: &char| {
            !template.contains(*mark) && !marked.messages.iter().any(|m| m.content.contains(*mark))
        };
        let Some(mark) = ('\u{fdd0}'..='\u{fdef}').find(is_free) else {
            return Err(JobError::Request(
                "the text spells control tokens of the model, and holds code points that are no characters; leave one of them out".into(),
            ));
        };
        marked.mark = Some(mark);
        for (message, places) in marked.messages.iter_mut().zip(places) {
            // After the first character of each, from the last on, so that places before stay what they are.
            let text = &message.content;
            let after_first = |start: usize| {
                let first = text.get(start..).and_then(|rest| rest.chars().next());
                start + first.map_or(0, char::len_utf8)
            };
            let mut marks: Vec<usize> = places
                .iter()
                .map(|(range, _)| after_first(range.start))
                .collect();
            marks.sort_unstable();
            marks.dedup();
            let mut content = text.clone();
            for place in marks.into_iter().rev() {
                content.insert(place, mark);
            }
            message.content = content;
        }
        Ok(marked)
    }

    /// The tokens of a text to be continued, in which special tokens are written as they are spelled.
    ///
    /// # Errors
    /// From the tokenizer.
    pub fn encode_raw(&self, text: &str) -> Result<Vec<u32>, JobError> {
        let options = EncodeOptions {
            add_special: self.tokenizer.add_bos_default(),
            parse_special: true,
        };
        self.check_ids(self.tokenizer.encode(text, options)?)
    }
}
