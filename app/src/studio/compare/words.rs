//! Which words of a prompt differ from those of others.

use std::ops::Range;

/// Longer prompts are compared by their common beginning and end only.
const MOST_WORDS: usize = 400;

/// The words of a text as byte ranges: runs of letters and digits, and every other mark that is no white space.
pub fn words(text: &str) -> Vec<Range<usize>> {
    let mut words: Vec<Range<usize>> = Vec::new();
    let mut inside = false;
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        if c.is_whitespace() {
            inside = false;
        } else if c.is_alphanumeric() || c == '\'' {
            match words.last_mut().filter(|_| inside) {
                Some(word) => word.end = end,
                None => words.push(at..end),
            }
            inside = true;
        } else {
            words.push(at..end);
            inside = false;
        }
    }
    words
}

fn spelled<'a>(text: &'a str, ranges: &[Range<usize>]) -> Vec<&'a str> {
    ranges
        .iter()
        .map(|range| text.get(range.clone()).unwrap_or_default())
        .collect()
}

/// For each word of `b` whether it belongs to a longest common subsequence with `a`.
fn common(a: &[&str], b: &[&str]) -> Vec<bool> {
    let head = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let rest = a.len().min(b.len()) - head;
    let tail = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take(rest)
        .take_while(|(a, b)| a == b)
        .count();
    let mut kept = vec![false; b.len()];
    kept.iter_mut().take(head).for_each(|kept| *kept = true);
    kept.iter_mut()
        .rev()
        .take(tail)
        .for_each(|kept| *kept = true);
    let a = a.get(head..a.len() - tail).unwrap_or_default();
    let middle = b.get(head..b.len() - tail).unwrap_or_default();
    if a.len() > MOST_WORDS || middle.len() > MOST_WORDS {
        return kept;
    }
    // Lengths of the longest common subsequences of all ends of both.
    let width = middle.len() + 1;
    let mut lengths = vec![0u16; (a.len() + 1) * width];
    let at = |i: usize, j: usize| i * width + j;
    for i in (0..a.len()).rev() {
        for j in (0..middle.len()).rev() {
            lengths[at(i, j)] = if a[i] == middle[j] {
                lengths[at(i + 1, j + 1)] + 1
            } else {
                lengths[at(i + 1, j)].max(lengths[at(i, j + 1)])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < middle.len() {
        if a[i] == middle[j] {
            kept[head + j] = true;
            (i, j) = (i + 1, j + 1);
        } else if lengths[at(i + 1, j)] >= lengths[at(i, j + 1)] {
            i += 1;
        } else {
            j += 1;
        }
    }
    kept
}

/// For each text the byte ranges of the words by which it differs: those of the first that most of the others lack, and
/// those of the others that the first lacks. Neighbouring words make one range.
pub fn differing(texts: &[&str]) -> Vec<Vec<Range<usize>>> {
    let ranges: Vec<_> = texts.iter().map(|text| words(text)).collect();
    let spelled: Vec<_> = texts
        .iter()
        .zip(&ranges)
        .map(|(text, ranges)| spelled(text, ranges))
        .collect();
    let Some((first, others)) = spelled.split_first() else {
        return Vec::new();
    };
    let mut lacking = vec![0usize; first.len()];
    for other in others {
        for (count, kept) in lacking.iter_mut().zip(common(other, first)) {
            *count += usize::from(!kept);
        }
    }
    let mut differing = vec![
        lacking
            .iter()
            .map(|count| *count > 0 && 2 * count >= others.len())
            .collect::<Vec<_>>(),
    ];
    for other in others {
        differing.push(common(first, other).iter().map(|kept| !kept).collect());
    }
    differing
        .iter()
        .zip(&ranges)
        .map(|(differs, ranges)| joined(differs, ranges))
        .collect()
}

fn joined(differs: &[bool], ranges: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = Vec::new();
    let mut before = false;
    for (differs, range) in differs.iter().zip(ranges) {
        if *differs {
            match joined.last_mut().filter(|_| before) {
                Some(last) => last.end = range.end,
                None => joined.push(range.clone()),
            }
        }
        before = *differs;
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(texts: &[&str]) -> Vec<Vec<String>> {
        let found = differing(texts);
        let texts = texts.iter().zip(found);
        texts
            .map(|(text, ranges)| {
                ranges
                    .into_iter()
                    .map(|range| text[range].to_owned())
                    .collect()
            })
            .collect()
    }

    #[test]
    fn differing_words_are_found() {
        assert_eq!(
            marked(&["a red fox, flat style", "a blue fox, flat style"]),
            [["red"], ["blue"]]
        );
        assert_eq!(
            marked(&["a fox", "a fox in the deep snow"]),
            [vec![], vec!["in the deep snow"]]
        );
        assert_eq!(
            marked(&["a fox", "a fox", "a cat"]),
            [vec!["fox"], vec![], vec!["cat"]]
        );
        assert_eq!(
            marked(&["a fox", "a fox", "a fox", "a cat"])[0],
            Vec::<String>::new()
        );
        assert_eq!(marked(&["same", "same"]), [Vec::<String>::new(), vec![]]);
        assert_eq!(marked(&["one"]), [Vec::<String>::new()]);
        assert_eq!(marked(&[]), Vec::<Vec<String>>::new());
    }

    #[test]
    fn any_text_is_taken() {
        let odd = "(größer:1.2), 猫が \u{1f98a}\u{301} x";
        for range in words(odd) {
            assert!(odd.get(range).is_some());
        }
        let long = "word ".repeat(3000);
        let other = format!("x {}", "else ".repeat(3000));
        assert_eq!(differing(&[&long, &other]).len(), 2);
        assert_eq!(marked(&["a, b, c", "a, c"]), [vec!["b,"], vec![]]);
    }
}
