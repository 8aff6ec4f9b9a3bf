//! The phrases of a prompt, and the prompt without one of them: for telling those that do something from those that do nothing.

use std::ops::Range;

/// More are not told apart.
pub const MOST_PHRASES: usize = 200;

/// The phrases of a prompt: what stands between commas, line breaks and `BREAK` outside of brackets. A prompt that is one phrase, or
/// `words`, is told by its words.
pub fn phrases(prompt: &str, words: bool) -> Vec<Range<usize>> {
    let by_commas = pieces(prompt, |c| matches!(c, ',' | '\n' | ';'));
    let found = if words || by_commas.len() < 2 {
        pieces(prompt, |c| c.is_whitespace() || matches!(c, ',' | ';'))
    } else {
        by_commas
    };
    found.into_iter().take(MOST_PHRASES).collect()
}

/// What stands between separators outside of brackets, without white space and `BREAK` around it.
fn pieces(prompt: &str, separates: impl Fn(char) -> bool) -> Vec<Range<usize>> {
    let (mut found, mut from, mut depth) = (Vec::new(), 0, 0usize);
    let mut put = |from: usize, to: usize| {
        let Some(piece) = prompt.get(from..to) else {
            return;
        };
        // BREAK is no phrase, and what is before it and after it are two.
        let mut start = from;
        for part in piece.split("BREAK") {
            let inner = part.trim();
            let lead = part.len() - part.trim_start().len();
            if inner.chars().any(char::is_alphanumeric) {
                found.push(start + lead..start + lead + inner.len());
            }
            start += part.len() + "BREAK".len();
        }
    };
    let mut chars = prompt.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '(' | '[' | '{' | '<' => depth += 1,
            ')' | ']' | '}' | '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 && separates(c) => {
                put(from, at);
                from = at + c.len_utf8();
            }
            _ => {}
        }
    }
    put(from, prompt.len());
    found
}

/// The prompt without a phrase, and without the separator that followed it (or, at the end, went before it).
pub fn without(prompt: &str, phrase: &Range<usize>) -> String {
    let (before, after) = (
        prompt.get(..phrase.start).unwrap_or(""),
        prompt.get(phrase.end..).unwrap_or(""),
    );
    let separator = |c: char| c.is_whitespace() || matches!(c, ',' | ';');
    let rest = after.trim_start_matches(separator);
    if rest.is_empty() {
        return before.trim_end_matches(separator).to_owned();
    }
    format!("{before}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(prompt: &str, words: bool) -> Vec<&str> {
        phrases(prompt, words)
            .into_iter()
            .map(|range| &prompt[range])
            .collect()
    }

    #[test]
    fn phrases_stand_between_commas_outside_of_brackets() {
        assert_eq!(
            told(
                "a red fox, (soft, warm:1.2) light,, [day|night],snow",
                false
            ),
            ["a red fox", "(soft, warm:1.2) light", "[day|night]", "snow"]
        );
        assert_eq!(told("a red fox", false), ["a", "red", "fox"]);
        assert_eq!(told("a, b c", true), ["a", "b", "c"]);
        assert_eq!(told("a BREAK b, c", false), ["a", "b", "c"]);
        assert!(told(" , ;\n", false).is_empty() && told("", true).is_empty());
        assert_eq!(told("é ü, 日本", false), ["é ü", "日本"]);
        assert_eq!(phrases(&"a,".repeat(9999), false).len(), MOST_PHRASES);
        for piece in ["(", ")", "\\", "BREAK", "<", ","] {
            phrases(&piece.repeat(9999), false);
        }
    }

    #[test]
    fn a_phrase_goes_with_its_comma() {
        let prompt = "a fox, red, in snow";
        let parts = phrases(prompt, false);
        let left: Vec<String> = parts.iter().map(|part| without(prompt, part)).collect();
        assert_eq!(left, ["red, in snow", "a fox, in snow", "a fox, red"]);
        assert_eq!(without("fox", &(0..3)), "");
    }
}
