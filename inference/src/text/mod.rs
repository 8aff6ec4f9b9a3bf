//! Tokenizers, chat templates, prompt syntax and token samplers.
