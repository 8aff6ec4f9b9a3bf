//! Ready-made words: system prompts, and questions to begin with.

/// System prompts to choose from: a name and the text.
pub const PRESETS: &[(&str, &str)] = &[
    (
        "Prompt writer",
        "You write prompts for pictures. Answer with one vivid prompt of a few phrases: subject, style, light, colours, background. No explanations.",
    ),
    (
        "Patient teacher",
        "You explain clearly and kindly, in short sentences and with one example. If something is uncertain, say so.",
    ),
    (
        "Brief",
        "Answer in at most three sentences. No introduction, no repetition of the question.",
    ),
    (
        "Editor",
        "You improve the wording of the text that you are given. Keep its meaning and language. Answer with the improved text alone.",
    ),
];

/// Questions that begin a conversation: a title for the card and the words that are sent.
pub const STARTERS: &[(&str, &str)] = &[
    ("Expand a prompt", "Expand this prompt: a red fox"),
    ("Find ideas", "Give me ideas for a picture"),
    ("Learn a setting", "What is guidance?"),
];
