//! Alt+Up and Alt+Down: the prompts of earlier pictures, and back to what was being written.

/// Where a person is in the history of prompts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryPlace {
    /// Index of the shown prompt; `None` is what is being written.
    index: Option<usize>,
    /// What was being written when the history was entered.
    draft: String,
    /// What the history last put there; another text means that the person wrote since.
    shown: String,
}

impl HistoryPlace {
    /// The next older prompt that differs from `current`. `history` begins with the newest.
    pub fn older<S: AsRef<str>>(&mut self, history: &[S], current: &str) -> Option<String> {
        self.sync(current);
        let from = self.index.map_or(0, |index| index + 1);
        let older = history
            .iter()
            .enumerate()
            .skip(from)
            .find(|(_, text)| text.as_ref() != current && !text.as_ref().is_empty());
        let (index, text) = older?;
        if self.index.is_none() {
            self.draft = current.to_owned();
        }
        self.index = Some(index);
        self.show(text.as_ref())
    }

    /// The next newer prompt that differs from `current`; at the end, what was being written.
    pub fn newer<S: AsRef<str>>(&mut self, history: &[S], current: &str) -> Option<String> {
        self.sync(current);
        let index = self.index?.min(history.len());
        let newer = history
            .iter()
            .enumerate()
            .take(index)
            .rev()
            .find(|(_, text)| text.as_ref() != current && !text.as_ref().is_empty());
        match newer {
            // The newest may be the very text that was being written.
            Some((index, text)) if text.as_ref() != self.draft || index > 0 => {
                self.index = Some(index);
                self.show(text.as_ref())
            }
            _ => {
                self.index = None;
                let draft = std::mem::take(&mut self.draft);
                self.show(&draft)
            }
        }
    }

    /// Writing leaves the history.
    fn sync(&mut self, current: &str) {
        if self.index.is_some() && current != self.shown {
            *self = Self::default();
        }
    }

    fn show(&mut self, text: &str) -> Option<String> {
        self.shown = text.to_owned();
        Some(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HISTORY: [&str; 4] = ["third", "second", "second", "first"];

    #[test]
    fn one_goes_back_and_forth_and_finds_ones_draft() {
        let mut place = HistoryPlace::default();
        assert_eq!(place.newer(&HISTORY, "draft"), None);
        let mut text = "draft".to_owned();
        for expected in ["third", "second", "first"] {
            text = place.older(&HISTORY, &text).unwrap();
            assert_eq!(text, expected);
        }
        assert_eq!(place.older(&HISTORY, &text), None);
        for expected in ["second", "third", "draft"] {
            text = place.newer(&HISTORY, &text).unwrap();
            assert_eq!(text, expected);
        }
        assert_eq!(place.newer(&HISTORY, &text), None);
    }

    #[test]
    fn the_newest_is_skipped_where_it_stands_already() {
        let mut place = HistoryPlace::default();
        assert_eq!(place.older(&HISTORY, "third").unwrap(), "second");
        assert_eq!(place.newer(&HISTORY, "second").unwrap(), "third");
        assert_eq!(place.newer(&HISTORY, "third"), None);
    }

    #[test]
    fn writing_begins_anew() {
        let mut place = HistoryPlace::default();
        assert_eq!(place.older(&HISTORY, "draft").unwrap(), "third");
        assert_eq!(place.older(&HISTORY, "third, changed").unwrap(), "third");
        assert_eq!(place.newer(&HISTORY, "third").unwrap(), "third, changed");
        assert_eq!(place.older::<&str>(&[], "x"), None);
    }
}
