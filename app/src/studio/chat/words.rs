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

/// The words of an answer that make a prompt: without Markdown's marks, and without an introduction ("Gladly:") where
/// exactly one line follows it.
pub fn prompt_of(answer: &str) -> String {
    let lines: Vec<&str> = answer
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("```"))
        .collect();
    let words = match lines.as_slice() {
        [introduction, prompt] if introduction.ends_with(':') => (*prompt).to_owned(),
        lines => lines.join("\n"),
    };
    let bare = words.trim_matches(['"', '“', '”', '`', '*', ' ']);
    bare.replace("**", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_make_prompts() {
        assert_eq!(
            prompt_of("Gladly:\na red fox, blue background"),
            "a red fox, blue background"
        );
        assert_eq!(prompt_of("\"a **red** fox\""), "a red fox");
        assert_eq!(prompt_of("Here:\n\n```\na fox\n```"), "a fox");
        assert_eq!(prompt_of("One:\n1. a\n2. b"), "One:\n1. a\n2. b");
    }
}
