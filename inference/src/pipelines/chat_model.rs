//! A chat model: decoder, tokenizer and template, as one file or folder holds them.

use std::collections::HashSet;
use std::ops::RangeInclusive;
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
use crate::text::tokenizer::{EncodeOptions, FolderTokenizer, GgufVocab, Guard, Tokenizer};

/// A second context's worth of pages, for other conversations and branches, is added up to this size.
const ROOM_FOR_OTHERS: u64 = 512 << 20;

/// A loaded chat model.
pub struct ChatModel {
    llama: Llama,
    tokenizer: Tokenizer,
    template: Option<String>,
    context_length: usize,
    /// Whether the cache may have pages for other conversations.
    room_for_others: bool,
    guide: OnceLock<Result<Guide, TextError>>,
    guards: OnceLock<Result<Guards, TextError>>,
}

/// What is not to be read as a token in messages.
struct Guards {
    /// In those of a person.
    said: Guard,
    /// In answers.
    answered: Guard,
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

/// Messages, and what they are told of tools, in which what is to be taken literally is marked.
struct Literal {
    messages: Vec<ChatMessage>,
    tools: Vec<serde_json::Value>,
    /// What marks it; `None` where there is nothing to mark.
    mark: Option<char>,
}

/// Code points for marks: they are no characters, and never will be.
const NO_CHARACTERS: RangeInclusive<char> = '\u{fdd0}'..='\u{fdef}';

fn is_no_character(c: &char) -> bool {
    NO_CHARACTERS.contains(c)
}

/// Does something with each text of a conversation, and tells whether it is of an answer.
fn each_text(
    messages: &mut [ChatMessage],
    tools: &mut [serde_json::Value],
    each: &mut dyn FnMut(&mut String, bool) -> Result<(), TextError>,
) -> Result<(), TextError> {
    for message in messages {
        let answered = message.role == "assistant";
        each(&mut message.content, answered)?;
        for call in &mut message.tool_calls {
            each_string(call, &mut |text| each(text, answered))?;
        }
    }
    for tool in tools {
        each_string(tool, &mut |text| each(text, false))?;
    }
    Ok(())
}

/// Does something with each string of a value, names of an object's fields among them.
fn each_string(
    value: &mut serde_json::Value,
    each: &mut dyn FnMut(&mut String) -> Result<(), TextError>,
) -> Result<(), TextError> {
    match value {
        serde_json::Value::String(text) => each(text)?,
        serde_json::Value::Array(all) => {
            for one in all {
                each_string(one, each)?;
            }
        }
        serde_json::Value::Object(fields) => {
            for (mut name, mut one) in std::mem::take(fields) {
                each(&mut name)?;
                each_string(&mut one, each)?;
                fields.insert(name, one);
            }
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
    Ok(())
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
            room_for_others: true,
            guide: OnceLock::new(),
            guards: OnceLock::new(),
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

    /// With another template.
    #[cfg(test)]
    #[must_use]
    pub(super) fn with_template(mut self, template: &str) -> Self {
        self.template = Some(template.to_owned());
        self.guards = OnceLock::new();
        self
    }

    /// With another tokenizer.
    #[cfg(test)]
    #[must_use]
    pub(super) fn with_tokenizer(mut self, tokenizer: Tokenizer) -> Self {
        self.tokenizer = tokenizer;
        self.guards = OnceLock::new();
        self
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

    /// With a cache of no more than one conversation.
    #[must_use]
    pub fn without_room_for_others(mut self) -> Self {
        self.room_for_others = false;
        self
    }

    /// Bytes of a cache of one whole conversation, and of the cache that this model wants.
    pub fn cache_bytes(&self) -> (u64, u64) {
        let one = self.llama.kv_shape(self.pages_per_sequence());
        (one.bytes(), self.kv_shape().bytes())
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
        if self.room_for_others && once.bytes() <= ROOM_FOR_OTHERS {
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

    /// The graph of a plan that answers are written with: it tells what choosing a token of the vocabulary needs, and with `draws` draws one.
    ///
    /// # Errors
    /// As [`Llama::choosing_graph`].
    pub fn choosing_graph(&self, shape: &LlamaShape, draws: bool) -> Result<Graph, JobError> {
        let tokens = self.tokenizer.vocab_len().min(self.llama.vocab_size());
        Ok(self.llama.choosing_graph(shape, (tokens, draws))?)
    }

    /// Sizes of a plan for one token of each of `streams` answers.
    pub fn shape_of_streams(&self, streams: usize) -> LlamaShape {
        LlamaShape {
            outputs: streams,
            sequences: streams,
            ..self.shape(streams)
        }
    }

    /// As [`Self::encode_conversation`], without tools.
    ///
    /// # Errors
    /// From template or tokenizer.
    pub fn encode_messages(
        &self,
        messages: &[ChatMessage],
        now: i64,
    ) -> Result<(Vec<u32>, Option<String>), JobError> {
        self.encode_conversation(messages, &[], now)
    }

    /// The tokens of a conversation that the assistant is to answer, and what to warn about. If the last message is the
    /// assistant's own, its words stand behind the template's beginning of an answer, to be gone on with. `now` is for
    /// templates that tell the date, in seconds since 1970.
    ///
    /// # Errors
    /// From template or tokenizer.
    pub fn encode_conversation(
        &self,
        messages: &[ChatMessage],
        tools: &[serde_json::Value],
        now: i64,
    ) -> Result<(Vec<u32>, Option<String>), JobError> {
        let name = |id: Option<u32>| {
            id.and_then(|id| self.tokenizer.piece_text(id))
                .unwrap_or_default()
                .to_owned()
        };
        let (bos, eos) = (name(self.tokenizer.bos()), name(self.tokenizer.eos()));
        let (messages, begun) = match messages.split_last() {
            Some((last, before)) if last.role == "assistant" && !before.is_empty() => {
                (before, last.content.as_str())
            }
            _ => (messages, ""),
        };
        // What a person has written is text, whatever it spells: it must not end a message or begin another.
        let begun = ChatMessage::new("assistant", begun);
        let all: Vec<ChatMessage> = messages.iter().chain([&begun]).cloned().collect();
        let Literal {
            messages,
            tools,
            mark,
        } = self.literal(all, tools)?;
        let (begun, messages) = messages.split_last().unwrap_or((&begun, &messages));
        let mut options = RenderOptions {
            add_generation_prompt: true,
            bos: bos.clone(),
            eos,
            now,
            tools,
        };
        let template = self.template.as_deref();
        let Rendered { text, mut warning } = render(template, messages, &options)?;
        if !options.tools.is_empty() && warning.is_none() {
            options.tools.clear();
            let without = render(template, messages, &options);
            if without.is_ok_and(|without| without.text == text) {
                warning = Some("the model's chat template says nothing of tools, so the model does not know of them".to_owned());
            }
        }
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
        let Literal { messages, mark, .. } = self.literal(message, &[])?;
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

    /// What messages are looked through for, made ready the first time: control tokens, ends of an answer, and, but for answers, in which models themselves
    /// part their thoughts so, what the template writes. White space is no mark of a template, though some vocabularies have tokens of it.
    fn guards(&self) -> Result<&Guards, TextError> {
        let guards = self.guards.get_or_init(|| {
            let mut written = HashSet::new();
            for template in [self.template.as_deref().unwrap_or_default(), CHATML] {
                let spelled = self.tokenizer.spelled(template)?.into_iter();
                written.extend(spelled.map(|(_, id)| id));
            }
            let is_blank = |id: u32| {
                let text = self.tokenizer.piece_text(id).unwrap_or_default();
                text.trim().is_empty()
            };
            let always = |id: u32| self.tokenizer.is_special(id) || self.tokenizer.is_end(id);
            Ok(Guards {
                said: (self.tokenizer)
                    .guard(|id| always(id) || written.contains(&id) && !is_blank(id)),
                answered: self.tokenizer.guard(always),
            })
        });
        guards.as_ref().map_err(Clone::clone)
    }

    /// Marks in messages what spells a token that is not to be read as one, or a part of one at an end, whose rest may stand beside it.
    fn literal(
        &self,
        mut messages: Vec<ChatMessage>,
        tools: &[serde_json::Value],
    ) -> Result<Literal, JobError> {
        let guards = self.guards()?;
        let mut tools = tools.to_vec();
        let mut found = false;
        let mut seen = String::new();
        each_text(&mut messages, &mut tools, &mut |text, answered| {
            let guard = if answered {
                &guards.answered
            } else {
                &guards.said
            };
            found |= !guard.places(text)?.is_empty();
            seen.extend(text.chars().filter(is_no_character));
            Ok(())
        })?;
        if !found {
            return Ok(Literal {
                messages,
                tools,
                mark: None,
            });
        }
        // A code point that is no character, and that nobody has written here.
        let template = self.template.as_deref().unwrap_or(CHATML);
        seen.extend(template.chars().filter(is_no_character));
        let Some(mark) = NO_CHARACTERS.clone().find(|mark| !seen.contains(*mark)) else {
            return Err(JobError::Request(
                "the text spells control tokens of the model, and holds code points that are no characters; leave one of them out".into(),
            ));
        };
        each_text(&mut messages, &mut tools, &mut |text, answered| {
            let guard = if answered {
                &guards.answered
            } else {
                &guards.said
            };
            // From the last on, so that places before stay what they are.
            for place in guard.places(text)?.into_iter().rev() {
                text.insert(place, mark);
            }
            Ok(())
        })?;
        Ok(Literal {
            messages,
            tools,
            mark: Some(mark),
        })
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
