//! The signs of a prompt that switches words or leaves some open: `[a|b]`, `[a:b:0.5]`, `{a|b}` and `__list__`, for their colours.

use std::ops::Range;

/// Longer prompts are not coloured this way.
const LONGEST: usize = 100_000;

/// An opening bracket, and the signs found behind it that belong to none further inside.
struct Opened {
    sign: char,
    at: usize,
    bars: Vec<usize>,
    colons: Vec<usize>,
}

/// Where such signs lie, in order and apart: brackets, bars, colons with their number, and names of lists.
pub fn signs(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut open: Vec<Opened> = Vec::new();
    let mut skip_to = 0;
    if text.len() > LONGEST {
        return found;
    }
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if at < skip_to {
            continue;
        }
        match c {
            '\\' => {
                chars.next();
            }
            '[' | '(' | '{' => open.push(Opened {
                sign: c,
                at,
                bars: Vec::new(),
                colons: Vec::new(),
            }),
            '|' => open.iter_mut().rev().take(1).for_each(|o| o.bars.push(at)),
            ':' => open
                .iter_mut()
                .rev()
                .take(1)
                .for_each(|o| o.colons.push(at)),
            ']' | ')' | '}' => {
                let partner = match c {
                    ']' => '[',
                    ')' => '(',
                    _ => '{',
                };
                if open.last().is_some_and(|opened| opened.sign == partner)
                    && let Some(opened) = open.pop()
                {
                    close(text, &opened, at, &mut found);
                }
            }
            '_' => {
                if let Some(length) = list_name(text.get(at..).unwrap_or("")) {
                    found.push(at..at + length);
                    skip_to = at + length;
                }
            }
            _ => {}
        }
    }
    found.sort_by_key(|range| range.start);
    found
}

/// The signs of a pair of brackets, if it switches or leaves something open.
fn close(text: &str, opened: &Opened, at: usize, found: &mut Vec<Range<usize>>) {
    let mut one = |at: usize| found.push(at..at + 1);
    match (
        opened.sign,
        opened.bars.is_empty(),
        opened.colons.as_slice(),
    ) {
        ('{', ..) | ('[', false, []) => {
            one(opened.at);
            opened.bars.iter().for_each(|bar| one(*bar));
            one(at);
        }
        ('[', true, colons @ ([last] | [_, last])) => {
            let number = text.get(last + 1..at).unwrap_or("").trim();
            if number.parse::<f64>().is_err() || number.contains(['n', 'N', 'f']) {
                return;
            }
            one(opened.at);
            if colons.len() == 2
                && let Some(first) = colons.first()
            {
                one(*first);
            }
            found.push(*last..at + 1);
        }
        _ => {}
    }
}

/// Bytes of `__name__`, with which a text begins.
fn list_name(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("__")?;
    let end = inner.find("__")?;
    let name = inner.get(..end)?;
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | '*' | '.' | ' ');
    (!name.trim().is_empty() && name.chars().all(fits)).then_some(end + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<&str> {
        signs(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn the_signs_of_what_switches_are_found() {
        assert_eq!(told("a [b|c|] d"), ["[", "|", "|", "]"]);
        assert_eq!(told("[a:b:0.5]"), ["[", ":", ":0.5]"]);
        assert_eq!(told("[a: 3 ] [b::4]"), ["[", ": 3 ]", "[", ":", ":4]"]);
        assert_eq!(told("[(a:1.2):b:3]"), ["[", ":", ":3]"]);
        assert_eq!(told("[[a|b]:c:3]"), ["[", "[", "|", "]", ":", ":3]"]);
        assert_eq!(
            told("{2$$a|b} __hats/all__ x"),
            ["{", "|", "}", "__hats/all__"]
        );
    }

    #[test]
    fn what_only_weighs_or_is_text_has_none() {
        for text in [
            "a fox",
            "[a]",
            "(a:1.2)",
            "[a:b:c]",
            "[a:b:nan]",
            "a|b",
            r"\[a|b\]",
            "[a|b:3]",
            "[a|b",
            "a|b]",
            "snake_case__",
            "(a|b)",
            "",
        ] {
            assert!(told(text).is_empty(), "{text}: {:?}", told(text));
        }
        for piece in ["[", "|", "{", "_", "[a|", "é]"] {
            signs(&piece.repeat(9999));
        }
    }
}
