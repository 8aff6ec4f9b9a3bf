//! Ctrl+Up and Ctrl+Down: more or less weight for the words at hand, as AUTOMATIC1111's `edit-attention` does it.
//!
//! Words without a weight get brackets and one; words with one get another; at 1 the brackets go. Brackets alone (`((word))`) become a
//! number. Saner than there: a selection that cuts through a pair of brackets takes in the whole pair, and escapes are not brackets.

use std::ops::Range;

use super::syntax::{Group, ROUND, SQUARE, Scan, TokenKind};

/// One press changes a weight by so many hundredths.
const STEP: i64 = 5;
/// Weights go no further.
const LARGEST: i64 = 1000;
/// What ends a word, beside white space.
const DELIMITERS: &str = ".,\\/!?%^*;:{}=`~()[]<>|\"";

/// A changed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// All of it.
    pub text: String,
    /// What is selected then, in characters: the weighted words without brackets.
    pub selection: Range<usize>,
}

/// Gives the selected words, or else those at the cursor, `steps` times 0.05 more weight. `selection` counts characters; an empty one is the
/// cursor. `None` if there is nothing to weight.
pub fn change_weight(text: &str, selection: Range<usize>, steps: i32) -> Option<Edit> {
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(at, _)| at);
    let (start, end) = (
        selection.start.min(selection.end),
        selection.start.max(selection.end),
    );
    let selection = byte(start)..byte(end);
    let scan = Scan::of(text);
    let steps = i64::from(steps) * STEP;
    let target = match selection.is_empty() {
        true => at_cursor(text, &scan, selection.start)?,
        false => selected(text, &scan, selection)?,
    };
    let edited = match target {
        Target::Group(group) => reweight(text, &scan, &group, steps),
        Target::Words(words) => replace(text, words.clone(), text.get(words)?, 100 + steps),
        Target::Tag(number) => {
            let value = hundredths(text.get(number.clone())?.parse().ok()?);
            let new = written((value + steps).clamp(-LARGEST, LARGEST));
            let text = splice(text, number.clone(), &new)?;
            let at = number.start + new.len();
            Some((text, at..at))
        }
    };
    let (text, bytes) = edited?;
    let chars = |at: usize| text.get(..at).map_or(0, |before| before.chars().count());
    let selection = chars(bytes.start)..chars(bytes.end);
    Some(Edit { text, selection })
}

/// What a press changes.
enum Target {
    /// Words in brackets.
    Group(Group),
    /// Words without.
    Words(Range<usize>),
    /// The number of `<lora:name:0.8>`.
    Tag(Range<usize>),
}

fn at_cursor(text: &str, scan: &Scan, at: usize) -> Option<Target> {
    if let Some(token) = scan.token_at(at).filter(|t| t.kind == TokenKind::Tag) {
        let inner = text.get(token.range.clone())?;
        let colon = inner.rfind(':')?;
        let number = token.range.start + colon + 1..token.range.end - 1;
        text.get(number.clone())?.parse::<f64>().ok()?;
        return Some(Target::Tag(number));
    }
    if let Some(group) = scan.innermost(at) {
        return Some(Target::Group(group.clone()));
    }
    let word = word_at(text, at);
    if !word.is_empty() {
        return Some(Target::Words(word));
    }
    // Right behind or before a pair of brackets.
    let touches = |group: &&Group| {
        group
            .outer()
            .is_some_and(|outer| outer.end == at || outer.start == at)
    };
    let group = scan.groups.iter().rev().find(touches)?;
    Some(Target::Group(group.clone()))
}

fn word_at(text: &str, at: usize) -> Range<usize> {
    let ends = |c: char| c.is_whitespace() || DELIMITERS.contains(c);
    let (before, after) = text.split_at_checked(at).unwrap_or((text, ""));
    let start = before
        .char_indices()
        .rev()
        .take_while(|(_, c)| !ends(*c))
        .last()
        .map_or(before.len(), |(at, _)| at);
    let length = after.find(ends).unwrap_or(after.len());
    start..at + length
}

fn selected(text: &str, scan: &Scan, selection: Range<usize>) -> Option<Target> {
    let mut words = trimmed(text, selection)?;
    loop {
        let before = words.clone();
        for group in &scan.groups {
            let Some(outer) = group.outer() else {
                continue;
            };
            let apart = words.end <= outer.start || outer.end <= words.start;
            let around = words.start <= outer.start && outer.end <= words.end;
            let within = group.body.start <= words.start && words.end <= group.body.end;
            if !apart && !around && !within {
                words = words.start.min(outer.start)..words.end.max(outer.end);
            }
        }
        for token in &scan.tokens {
            let whole = matches!(
                token.kind,
                TokenKind::Escape | TokenKind::Tag | TokenKind::Break
            );
            if whole && words.start < token.range.end && token.range.start < words.end {
                words = words.start.min(token.range.start)..words.end.max(token.range.end);
            }
        }
        if words == before {
            break;
        }
    }
    // A bracket without partner would find one in the brackets that are put around it.
    let stray = |kind| kind == TokenKind::Unbalanced;
    if scan.tokens.iter().any(|token| {
        stray(token.kind) && words.start < token.range.end && token.range.start < words.end
    }) {
        return None;
    }
    let same = |group: &&Group| {
        let body = trimmed(text, group.body.clone());
        group.outer().as_ref() == Some(&words)
            || (group.close.is_some() && body == Some(words.clone()))
    };
    match scan.groups.iter().find(same) {
        Some(group) => Some(Target::Group(group.clone())),
        None => Some(Target::Words(words)),
    }
}

/// Without white space at the ends; `None` if there is nothing else.
fn trimmed(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let words = text.get(range.clone())?;
    let start = range.start + (words.len() - words.trim_start().len());
    let end = range.end - (words.len() - words.trim_end().len());
    (start < end).then_some(start..end)
}

/// Changes the weight of words in brackets.
fn reweight(text: &str, scan: &Scan, group: &Group, steps: i64) -> Option<(String, Range<usize>)> {
    let mut outer = group.outer()?;
    let weight = if group.number.is_some() {
        hundredths(group.factor)
    } else {
        let mut inner = group;
        // The outermost of pairs that hold nothing but the next one; the innermost may be the one at hand.
        while let Some(next) = scan.groups.iter().find(|next| {
            next.number.is_none()
                && next.square == group.square
                && next.outer() == Some(inner.body.clone())
        }) {
            inner = next;
        }
        let mut count = 1;
        outer = inner.outer()?;
        while let Some(next) = scan.groups.iter().find(|next| {
            next.number.is_none()
                && next.square == group.square
                && next.close.is_some()
                && next.body == outer
        }) {
            count += 1;
            outer = next.outer()?;
        }
        let one: f64 = if group.square { SQUARE } else { ROUND };
        let product = one.powi(count);
        let steps_of = (product * 100.0 / STEP as f64).round() as i64;
        let weight = steps_of.saturating_mul(STEP).saturating_add(steps);
        let words = text.get(inner.body.clone())?;
        return replace(text, outer, words, weight);
    };
    let words = text.get(group.body.clone())?;
    outer.end = group.outer()?.end;
    replace(text, outer, words, weight.saturating_add(steps))
}

/// Puts `words` in the place of `range`, with a weight unless it is 1.
fn replace(
    text: &str,
    range: Range<usize>,
    words: &str,
    weight: i64,
) -> Option<(String, Range<usize>)> {
    let weight = weight.clamp(-LARGEST, LARGEST);
    let (new, start) = match weight {
        100 => (words.to_owned(), range.start),
        _ => (format!("({words}:{})", written(weight)), range.start + 1),
    };
    let text = splice(text, range, &new)?;
    Some((text, start..start + words.len()))
}

fn splice(text: &str, range: Range<usize>, new: &str) -> Option<String> {
    let (before, after) = (text.get(..range.start)?, text.get(range.end..)?);
    Some(format!("{before}{new}{after}"))
}

fn hundredths(weight: f64) -> i64 {
    // Casts saturate; what is beyond is clamped later.
    (weight * 100.0).round() as i64
}

/// `1.05`, `1.1`, `2.0`.
fn written(hundredths: i64) -> String {
    let text = format!("{:.2}", hundredths as f64 / 100.0);
    text.strip_suffix('0').unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `|` is the cursor, or two of them the ends of the selection.
    fn press(marked: &str, steps: i32) -> Option<String> {
        let places: Vec<usize> = marked
            .chars()
            .enumerate()
            .filter(|(_, c)| *c == '|')
            .map(|(n, _)| n)
            .collect();
        let text = marked.replace('|', "");
        let selection = match places[..] {
            [at] => at..at,
            [start, end] => start..end - 1,
            _ => panic!("{marked}"),
        };
        let edit = change_weight(&text, selection, steps)?;
        let mut shown: Vec<char> = edit.text.chars().collect();
        shown.insert(edit.selection.end, '|');
        shown.insert(edit.selection.start, '|');
        Some(shown.into_iter().collect())
    }

    fn check(before: &str, steps: i32, after: &str) {
        assert_eq!(
            press(before, steps).as_deref(),
            Some(after),
            "{before} {steps}"
        );
    }

    #[test]
    fn words_get_brackets_and_a_weight() {
        check("a red| fox", 1, "a (|red|:1.05) fox");
        check("a |red fox|", 1, "a (|red fox|:1.05)");
        check("a| red fox", -1, "(|a|:0.95) red fox");
        check("a |red fox, |night", 2, "a (|red fox,|:1.1) night");
        check("re|d-haired", 1, "(|red-haired|:1.05)");
        check("|語 い", 1, "(|語|:1.05) い");
    }

    #[test]
    fn weights_change_and_vanish_at_one() {
        check("a (red fox:1.05)| b", 1, "a (|red fox|:1.1) b");
        check("a (red| fox:1.05)", 1, "a (|red fox|:1.1)");
        check("a (|red fox|:1.05)", -1, "a |red fox|");
        check("a (red|:1.95)", 1, "a (|red|:2.0)");
        check("a (red|:0.95)", 1, "a |red|");
        check("a (re|d:1.0)", 1, "a (|red|:1.05)");
        check("|(red:1.2)|", -1, "(|red|:1.15)");
        check("(red:1|.2)", 1, "(|red|:1.25)");
        check("(red|: 1.2 )", 1, "(|red|:1.25)");
    }

    #[test]
    fn every_step_can_be_taken_back() {
        let mut text = "a |red fox| b".to_owned();
        for _ in 0..30 {
            text = press(&text, 1).unwrap();
        }
        assert_eq!(text, "a (|red fox|:2.5) b");
        for _ in 0..30 {
            text = press(&text, -1).unwrap();
        }
        assert_eq!(text, "a |red fox| b");
        for _ in 0..25 {
            text = press(&text, -1).unwrap();
        }
        assert_eq!(text, "a (|red fox|:-0.25) b");
    }

    #[test]
    fn brackets_alone_become_a_number() {
        check("(red|)", 1, "(|red|:1.15)");
        check("((red|))", 1, "(|red|:1.25)");
        check("((|red|))", -1, "(|red|:1.15)");
        check("[red|]", 1, "(|red|:0.95)");
        check("[[red|]]", -1, "(|red|:0.8)");
        check("[red|]", 2, "|red|");
        check("|((red))|", 1, "(|red|:1.25)");
    }

    #[test]
    fn nested_weights_change_alone() {
        check("((a|:1.2) b:1.3)", 1, "((|a|:1.25) b:1.3)");
        check("((a:1.2) b|:1.3)", 1, "(|(a:1.2) b|:1.35)");
        check("(|(a:1.2) b|:1.3)", -1, "(|(a:1.2) b|:1.25)");
        check("((|a|:1.2) b:1.3)", -4, "(|a| b:1.3)");
        check("(one |two| three:1.3)", 1, "(one (|two|:1.05) three:1.3)");
    }

    #[test]
    fn what_is_cut_through_is_taken_whole() {
        check("x |a (b| c:1.2) y", 1, "x (|a (b c:1.2)|:1.05) y");
        check("x (b |c:1.2) y| z", 1, "x (|(b c:1.2) y|:1.05) z");
        check("x (b:1|.2) c|", 1, "x (|(b:1.2) c|:1.05)".trim());
        check(r"a \|(b\) c|", 1, r"a (|\(b\) c|:1.05)");
    }

    #[test]
    fn tags_change_their_number() {
        check("a <lora:ink|:0.8> b", 1, "a <lora:ink:0.85||> b");
        check("<lora:ink:1|>", -1, "<lora:ink:0.95||>");
        assert_eq!(press("<lora:in|k>", 1), None);
    }

    #[test]
    fn where_nothing_can_be_weighted_nothing_is() {
        assert_eq!(press("|", 1), None);
        assert_eq!(press("a  |  b", 1), None);
        assert_eq!(press("a|   |b", 1), None);
        assert_eq!(press("a, |, b", 1), None);
        assert_eq!(press("|a (b|", 1), None);
        assert_eq!(press("|a) b|", 1), None);
        assert!(change_weight("abc", 90..99, 1).is_some());
        check("(a|:1e9)", 1, "(|a:1e9|:1.15)");
    }

    #[test]
    fn weights_have_an_end() {
        check("(a|:10.0)", 1, "(|a|:10.0)");
        check("(a|:99999999)", 1, "(|a|:10.0)");
        check("(a|:-10.0)", -1, "(|a|:-10.0)");
    }
}
