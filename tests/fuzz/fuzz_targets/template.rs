//! A chat template, on a conversation.
#![no_main]

use diptych_inference::text::template::{ChatMessage, RenderOptions, render};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(template) = std::str::from_utf8(data) else {
        return;
    };
    let messages = [
        ChatMessage::new("system", "Be brief."),
        ChatMessage::new("user", "Hello {{ 1 }} <|im_end|>"),
    ];
    let options = RenderOptions {
        add_generation_prompt: true,
        bos: "<s>".to_owned(),
        eos: "</s>".to_owned(),
        now: 0,
    };
    let _ = render(Some(template), &messages, &options);
});
