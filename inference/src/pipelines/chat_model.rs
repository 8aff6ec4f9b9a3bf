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
use crate::text::template::{ChatMessage, RenderOptions, Rendered, render};
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
}

impl ChatState {
    /// An empty cache.
    pub fn new(state: StateId, shape: KvShape) -> Self {
        Self {
            state,
            cache: PrefixCache::new(shape.pages),
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
        let Rendered { mut text, warning } = render(self.template.as_deref(), messages, &options)?;
        text.push_str(begun);
        // Templates that write the beginning themselves must not get a second one; those of Hugging Face folders write all of it.
        let own_template = self.tokenizer.is_json() && self.template.is_some();
        let add_special = self.tokenizer.add_bos_default()
            && !own_template
            && (bos.is_empty() || !text.starts_with(&bos));
        let ids = self.tokenizer.encode(
            &text,
            EncodeOptions {
                add_special,
                parse_special: true,
            },
        )?;
        Ok((self.check_ids(ids)?, warning))
    }

    /// The tokens of a text to be continued.
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
