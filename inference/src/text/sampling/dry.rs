//! DRY, "don't repeat yourself" (p-e-w 2024, text-generation-webui and llama.cpp): what would go on with a sequence that the text ends with, and that was
//! there before, becomes less likely the longer the sequence is.

use std::collections::HashMap;

/// For each token that would lengthen a repetition: the length of the longest sequence that it would go on with, where that is at least `least`.
/// `recent` is the text, the newest token last; tokens for which `breaks` says so are in no sequence.
pub(super) fn repetitions(
    recent: &[u32],
    least: usize,
    breaks: impl Fn(u32) -> bool,
) -> HashMap<u32, usize> {
    let newest_first: Vec<u32> = recent.iter().rev().copied().collect();
    let limit = newest_first.iter().take_while(|id| !breaks(**id)).count();
    let mut found = HashMap::new();
    if limit < least.max(1) {
        return found;
    }
    // What follows place `at - 1` going back is `at`: a match of the end of the text there was followed by that token.
    for (at, length) in matches(&newest_first).into_iter().enumerate().skip(1) {
        let length = length.min(limit);
        if length >= least.max(1) {
            let longest = found.entry(newest_first[at - 1]).or_insert(0);
            *longest = length.max(*longest);
        }
    }
    found
}

/// For each place the length of the longest common beginning of the list and of its rest from there (the Z function, in linear time).
fn matches(list: &[u32]) -> Vec<usize> {
    let mut lengths = vec![0; list.len()];
    let (mut left, mut right) = (0, 0);
    for at in 1..list.len() {
        let mut length = 0;
        if at < right {
            length = lengths[at - left].min(right - at);
        }
        while at + length < list.len() && list[length] == list[at + length] {
            length += 1;
        }
        if at + length > right {
            (left, right) = (at, at + length);
        }
        lengths[at] = length;
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_equal_a_plain_search() {
        for seed in 0..200u32 {
            let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
            let list: Vec<u32> = (0..seed % 40)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    state >> 31
                })
                .collect();
            let wanted: Vec<usize> = (0..list.len())
                .map(|at| {
                    let same = |(a, b): &(&u32, &u32)| a == b;
                    if at == 0 {
                        0
                    } else {
                        list.iter().zip(&list[at..]).take_while(same).count()
                    }
                })
                .collect();
            assert_eq!(matches(&list), wanted, "{list:?}");
        }
    }

    #[test]
    fn what_went_on_before_is_found_with_its_length() {
        // 1 2 3 4 . 9 2 3 5 . 1 2 3: after "2 3" came 5, after "1 2 3" came 4.
        let recent = [1, 2, 3, 4, 0, 9, 2, 3, 5, 0, 1, 2, 3];
        let found = repetitions(&recent, 2, |_| false);
        assert_eq!(found, HashMap::from([(4, 3), (5, 2)]));
        assert_eq!(repetitions(&recent, 3, |_| false), HashMap::from([(4, 3)]));
        // A breaker ends the sequence: only "3" is left, and "2 3" where 1 breaks.
        assert_eq!(repetitions(&recent, 2, |id| id == 2), HashMap::new());
        assert_eq!(
            repetitions(&recent, 2, |id| id == 1),
            HashMap::from([(4, 2), (5, 2)])
        );
        assert_eq!(repetitions(&[], 1, |_| false), HashMap::new());
    }
}
