//! Stop strings: a generation ends where one of them would begin, and no part of it is shown.

/// What became of a piece of streamed text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StopOutcome {
    /// Text that is certain to belong to the answer.
    pub text: String,
    /// The stop string that was found, as its position in the list; nothing more is to be pushed after that.
    pub stopped: Option<usize>,
}

/// Watches streamed text for stop strings, holding back what may become one.
#[derive(Debug, Clone, Default)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
    stopped: Option<usize>,
}

impl StopMatcher {
    /// Empty strings are kept in the list, so that positions stay true, but never match.
    pub fn new(stops: Vec<String>) -> Self {
        Self {
            stops,
            held: String::new(),
            stopped: None,
        }
    }

    /// Takes more text. The earliest stop string wins, the longest of those that begin together. After a stop everything is swallowed.
    pub fn push(&mut self, text: &str) -> StopOutcome {
        if let Some(stop) = self.stopped {
            return StopOutcome {
                text: String::new(),
                stopped: Some(stop),
            };
        }
        self.held.push_str(text);
        let found = self
            .stops
            .iter()
            .enumerate()
            .filter(|(_, stop)| !stop.is_empty())
            .filter_map(|(n, stop)| Some((self.held.find(stop.as_str())?, stop.len(), n)))
            .min_by_key(|&(at, len, n)| (at, usize::MAX - len, n));
        if let Some((at, _, n)) = found {
            let text = self.held[..at].to_owned();
            self.held.clear();
            self.stopped = Some(n);
            return StopOutcome {
                text,
                stopped: Some(n),
            };
        }
        let keep = self
            .stops
            .iter()
            .map(|stop| overlap(&self.held, stop))
            .max()
            .unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        StopOutcome {
            text: std::mem::replace(&mut self.held, rest),
            stopped: None,
        }
    }

    /// The text ended without a stop: what was held back belongs to it.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes at the end of `text` that begin `stop` without being all of it.
fn overlap(text: &str, stop: &str) -> usize {
    stop.char_indices()
        .map(|(at, _)| at)
        .rev()
        .find(|&len| len <= text.len() && text.ends_with(&stop[..len]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, Option<usize>) {
        let mut matcher = StopMatcher::new(stops.iter().map(|s| (*s).to_owned()).collect());
        let mut text = String::new();
        for piece in pieces {
            let outcome = matcher.push(piece);
            text.push_str(&outcome.text);
            if outcome.stopped.is_some() {
                assert_eq!(matcher.finish(), "");
                return (text, outcome.stopped);
            }
        }
        text.push_str(&matcher.finish());
        (text, None)
    }

    #[test]
    fn stops_across_pieces() {
        assert_eq!(
            run(&["\nUser:"], &["Hi", "\n", "Us", "er", ": x"]),
            ("Hi".to_owned(), Some(0))
        );
        assert_eq!(
            run(&["\nUser:"], &["Hi", "\nUs", "A"]),
            ("Hi\nUsA".to_owned(), None)
        );
        assert_eq!(
            run(&["ende", "END"], &["the en", "d"]),
            ("the end".to_owned(), None)
        );
        assert_eq!(run(&["b", "abc"], &["xa", "bc"]), ("x".to_owned(), Some(1)));
        assert_eq!(run(&["ab", "abc"], &["xabc"]), ("x".to_owned(), Some(1)));
        assert_eq!(
            run(&["", "é–"], &["caf", "é", "–"]),
            ("caf".to_owned(), Some(1))
        );
        assert_eq!(run(&[""], &["all"]), ("all".to_owned(), None));
        assert_eq!(
            run(&["aab"], &["a", "a", "a", "b", "c"]),
            ("a".to_owned(), Some(0))
        );
    }

    proptest! {
        /// However the text is cut, what is shown is the text before the first stop string; nothing shown is ever taken back.
        #[test]
        fn equals_the_search_over_the_whole_text(
            pieces in prop::collection::vec("[abé–]{0,4}", 0..12),
            stops in prop::collection::vec("[abé–]{1,4}", 1..4),
        ) {
            let whole: String = pieces.concat();
            let first = stops.iter().filter_map(|s| whole.find(s.as_str())).min();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (text, stopped) = run(&stops, &pieces);
            prop_assert_eq!(stopped.is_some(), first.is_some());
            // A short stop string may end before a longer one that begins earlier is complete.
            prop_assert!(whole.starts_with(&text));
            if first.is_none() { prop_assert_eq!(text, whole); } else {
                prop_assert!(stops.iter().any(|s| whole[text.len()..].starts_with(s)));
            }
        }
    }
}
