//! Prompts as ComfyUI reads them (its `sd1_clip.py`): round brackets weigh, square ones are text; a word is not cut at the end of a
//! sequence unless it is long.

use super::{PromptChunk, PromptChunks};
use crate::text::TextError;
use crate::text::tokenizer::ClipTokenizer;

/// Brackets nested deeper than this are text.
const MAX_DEPTH: usize = 256;
/// Words of so many tokens are cut where a sequence ends.
const LONG_WORD: usize = 8;
const BRACKET: f32 = 1.1;

/// Text and its weight.
pub(super) type Segment = (String, f32);

/// Takes a prompt apart; `\(` and `\)` are brackets of the text.
pub(super) fn segments(prompt: &str) -> Vec<Segment> {
    // Escaped brackets are put aside as characters that no prompt holds.
    let hidden = prompt
        .replace(['\u{1}', '\u{2}'], "")
        .replace("\\)", "\u{1}")
        .replace("\\(", "\u{2}");
    let mut found = Vec::new();
    weigh(&hidden, 1.0, 0, &mut found);
    for (text, _) in &mut found {
        *text = text.replace('\u{1}', ")").replace('\u{2}', "(");
    }
    found
}

/// The parts of a text at its outermost brackets; a stray `)` is text.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut depth) = (Vec::new(), 0, 0i64);
    for (at, c) in text.char_indices() {
        match c {
            '(' => {
                if depth == 0 && at > from {
                    parts.extend(text.get(from..at));
                    from = at;
                }
                depth += 1;
            }
            ')' => {
                depth -= 1;
                if depth == 0 {
                    parts.extend(text.get(from..=at));
                    from = at + 1;
                }
            }
            _ => {}
        }
    }
    parts.extend(text.get(from..).filter(|rest| !rest.is_empty()));
    parts
}

fn weigh(text: &str, weight: f32, depth: usize, found: &mut Vec<Segment>) {
    for part in parts(text) {
        let inner = part
            .strip_prefix('(')
            .and_then(|part| part.strip_suffix(')'))
            .filter(|_| depth < MAX_DEPTH);
        let Some(inner) = inner else {
            found.push((part.to_owned(), weight));
            continue;
        };
        let number = inner
            .rsplit_once(':')
            .filter(|(words, _)| !words.is_empty());
        let said = number.and_then(|(words, number)| {
            let number: f32 = number.trim().parse().ok()?;
            number.is_finite().then_some((words, number))
        });
        match said {
            Some((words, number)) => weigh(words, number, depth + 1, found),
            None => weigh(inner, weight * BRACKET, depth + 1, found),
        }
    }
}

/// The sequences of a prompt.
///
/// # Errors
/// As [`ClipTokenizer::encode_words`].
pub(super) fn chunks(prompt: &str, tokenizer: &ClipTokenizer) -> Result<PromptChunks, TextError> {
    let room = tokenizer.chunk_length().max(1);
    let mut made: Vec<(Vec<u32>, Vec<f32>)> = vec![Default::default()];
    let mut token_count = 0;
    for (text, weight) in segments(prompt) {
        for word in text.split([' ', '\n']).filter(|word| !word.is_empty()) {
            let ids = tokenizer.encode_words(word)?;
            token_count += ids.len();
            let long = ids.len() >= LONG_WORD;
            let mut rest = ids.as_slice();
            while !rest.is_empty() {
                let Some((chunk, weights)) = made.last_mut() else {
                    break;
                };
                let free = room.saturating_sub(chunk.len());
                let fits = rest.len() <= free;
                let taken = match (fits, long || chunk.is_empty()) {
                    (true, _) => rest.len(),
                    (false, true) => free,
                    (false, false) => 0,
                };
                let (now, later) = rest.split_at(taken.min(rest.len()));
                chunk.extend_from_slice(now);
                weights.resize(chunk.len(), weight);
                rest = later;
                if !fits {
                    made.push(Default::default());
                }
            }
        }
    }
    let chunks = made
        .into_iter()
        .map(|(words, of_words)| {
            let (ids, _) = tokenizer.sequence(&words);
            let mut weights = vec![1.0];
            weights.extend(of_words);
            weights.resize(ids.len(), 1.0);
            PromptChunk { ids, weights }
        })
        .collect();
    Ok(PromptChunks {
        chunks,
        token_count,
        warnings: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(prompt: &str) -> Vec<(String, f32)> {
        segments(prompt)
    }

    #[test]
    fn brackets_are_read_as_comfyui_does() {
        let cases: [(&str, &[(&str, f32)]); 12] = [
            ("a fox", &[("a fox", 1.0)]),
            ("a (red) fox", &[("a ", 1.0), ("red", 1.1), (" fox", 1.0)]),
            ("((red))", &[("red", 1.1 * 1.1)]),
            ("(red:1.5)", &[("red", 1.5)]),
            // A number stands for itself, whatever is around it.
            ("(a (red:0.5))", &[("a ", 1.1), ("red", 0.5)]),
            ("(a:b:2)", &[("a:b", 2.0)]),
            ("(:2)", &[(":2", 1.1)]),
            ("(a:two)", &[("a:two", 1.1)]),
            ("[a:b:0.5]", &[("[a:b:0.5]", 1.0)]),
            (r"\(a\) (b)", &[("(a) ", 1.0), ("b", 1.1)]),
            ("(a", &[("(a", 1.0)]),
            ("(a:-1)", &[("a", -1.0)]),
        ];
        for (prompt, wanted) in cases {
            let wanted: Vec<(String, f32)> =
                wanted.iter().map(|(t, w)| ((*t).to_owned(), *w)).collect();
            assert_eq!(read(prompt), wanted, "{prompt}");
        }
        for piece in ["(", ")", "(a:", "())", ":"] {
            assert!(!read(&piece.repeat(20_000)).is_empty());
        }
    }
}
