//! What in a person's text must not be read as a token: where it spells one, and where it begins or ends in the middle of one whose rest a template may
//! write beside it.

use super::special::SpecialFinder;
use crate::text::TextError;

/// Ends of a text that are looked at for parts of tokens, in bytes. Tokens that have a meaning are far shorter.
const LONGEST: usize = 256;

/// Looks for some special tokens, whole or in part.
#[derive(Debug)]
pub struct Guard {
    whole: SpecialFinder,
    /// The same tokens, written from the end.
    mirrored: SpecialFinder,
}

impl Guard {
    /// Looks for tokens with these texts.
    pub(super) fn new(tokens: &[(&str, u32)]) -> Self {
        let mirrored: Vec<(String, u32)> = tokens
            .iter()
            .map(|(text, id)| (mirror(text), *id))
            .collect();
        let whole = tokens.iter().map(|(text, id)| (*text, *id, true));
        let backwards = mirrored.iter().map(|(text, id)| (text.as_str(), *id, true));
        Self {
            whole: SpecialFinder::new(whole, false),
            mirrored: SpecialFinder::new(backwards, false),
        }
    }

    /// Places in a text, sorted: where nothing is read as a token that has one of them within it, none of the tokens comes out of this text, whatever stands
    /// before and behind it, and also where white space at its ends is taken off.
    ///
    /// # Errors
    /// Tokens that overlap beyond reason.
    pub fn places(&self, text: &str) -> Result<Vec<usize>, TextError> {
        let after_first = |start: usize| {
            let first = text.get(start..).and_then(|rest| rest.chars().next());
            start + first.map_or(0, char::len_utf8)
        };
        let spelled = self.whole.spelled(text)?;
        let mut places: Vec<usize> = spelled
            .iter()
            .map(|(range, _)| after_first(range.start))
            .collect();
        for text in [text, text.trim_end()] {
            let from = text.ceil_char_boundary(text.len().saturating_sub(LONGEST));
            let begun = self.whole.begun(text.get(from..).unwrap_or_default());
            places.extend(begun.into_iter().map(|at| after_first(from + at)));
        }
        for rest in [text, text.trim_start()] {
            let skipped = text.len() - rest.len();
            let head = rest
                .get(..rest.floor_char_boundary(LONGEST))
                .unwrap_or_default();
            for at in self.mirrored.begun(&mirror(head)) {
                // The token's last character here: the mark stands before it.
                let end = head.len() - at;
                let last = head.get(..end).and_then(|part| part.chars().next_back());
                places.push(skipped + end - last.map_or(0, char::len_utf8));
            }
        }
        places.sort_unstable();
        places.dedup();
        Ok(places)
    }
}

/// A text from its end.
fn mirror(text: &str) -> String {
    text.chars().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tokenizer::special::is_within;
    use proptest::prelude::*;

    const TOKENS: [(&str, u32); 4] = [("<|im_end|>", 0), ("<|x|>", 1), ("</s>", 2), ("é🦊é", 3)];

    #[test]
    fn parts_at_the_ends_are_marked_and_nothing_else() {
        let guard = Guard::new(&TOKENS);
        let places = |text: &str| guard.places(text).unwrap();
        assert!(places("a fox").is_empty());
        assert_eq!(places("<|im_end"), [1]);
        assert_eq!(places("a <|im_ \n"), [3]);
        assert_eq!(places("a <"), [3]);
        assert!(places("1 < 2").is_empty());
        assert_eq!(places("end|> b"), [4]);
        assert_eq!(places(" s> b"), [2]);
        assert_eq!(places("a </s> b"), [3]);
        // Where two are begun, the second within the first, both are marked.
        assert_eq!(places("<|im_end|><|x"), [1, 11]);
        assert_eq!(places("aé🦊"), [3]);
        assert!(places("").is_empty());
    }

    proptest! {
        /// However a text is made of pieces, none of which is a token by itself: with the places kept within each piece no token comes out.
        #[test]
        fn no_token_comes_out_of_pieces(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "<", "|", "im_", "end", "|>", "x", "/", "s>", "é", "🦊", " ", "\n", "<|", "<|x", "|im_end|>",
            ]), 1..12),
            cut in 0usize..12,
            trimmed in any::<bool>(),
        ) {
            let guard = Guard::new(&TOKENS);
            let cut = cut.min(pieces.len());
            let (mut text, mut literal) = (String::new(), Vec::new());
            for part in [&pieces[..cut], &pieces[cut..]] {
                let part = part.concat();
                // The second part stands for what a template writes: text without places of its own.
                let places = guard.places(&part).unwrap();
                let kept = if trimmed { part.trim() } else { part.as_str() };
                let gone = if trimmed { part.len() - part.trim_start().len() } else { 0 };
                let base = text.len();
                literal.extend(places.iter().filter(|at| **at >= gone && **at - gone <= kept.len()).map(|at| base + at - gone));
                text.push_str(kept);
                if base == 0 {
                    // Only the person's part is guarded.
                    let whole = pieces[cut..].concat();
                    let whole = if trimmed { whole.trim() } else { whole.as_str() };
                    let both = format!("{text}{whole}");
                    let end = text.len();
                    for (range, _) in guard.whole.spelled(&both).unwrap() {
                        let touches = range.start < end;
                        prop_assert!(!touches || is_within(&literal, &range), "{both:?} {range:?} {literal:?}");
                    }
                }
            }
            literal.sort_unstable();
            for (range, _) in guard.whole.spelled(&text).unwrap() {
                prop_assert!(is_within(&literal, &range), "{text:?} {range:?} {literal:?}");
            }
        }
    }
}
