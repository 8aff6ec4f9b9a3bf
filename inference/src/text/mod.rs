//! Words in and out of the networks: tokenizers, chat templates, prompt syntax, token samplers, grammars, stop strings.
//!
//! Nothing here knows a tensor: text comes in, ids go out, and logits come back as a plain slice.

mod error;
pub mod grammar;
pub mod prompt;
pub mod rng;
pub mod sampling;
pub mod stop;
pub mod template;
pub mod tokenizer;

pub use error::TextError;
