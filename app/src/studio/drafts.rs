//! Texts and settings as they are typed, given to the library a few times a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Longest time that a change waits: "text typed a second ago" survives a kill, and the library needs some of it too.
pub const INTERVAL: Duration = Duration::from_millis(350);

/// What the library was given.
#[derive(Debug, Default)]
pub struct Drafts {
    given: BTreeMap<String, Arc<str>>,
    last: Option<Instant>,
}

impl Drafts {
    /// What the library has already.
    pub fn begin(&mut self, restored: &BTreeMap<String, String>) {
        let given = restored.iter();
        self.given = given
            .map(|(key, text)| (key.clone(), text.as_str().into()))
            .collect();
    }

    /// Whether it is time to look for changes.
    pub fn due(&mut self, now: Instant, at_once: bool) -> bool {
        let due = at_once || self.last.is_none_or(|last| now >= last + INTERVAL);
        if due {
            self.last = Some(now);
        }
        due
    }

    /// Those that differ from what was given before, and now count as given.
    pub fn changed(&mut self, drafts: Vec<(String, Arc<str>)>) -> Vec<(String, Arc<str>)> {
        let mut changed = drafts;
        changed.retain(|(key, value)| self.given.get(key) != Some(value));
        self.given.extend(changed.iter().cloned());
        changed
    }
}

/// A draft of any state.
pub fn draft(key: &str, state: &impl Serialize) -> Option<(String, String)> {
    match serde_json::to_string(state) {
        Ok(text) => Some((key.to_owned(), text)),
        Err(error) => {
            tracing::error!("the draft '{key}' cannot be written: {error}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_given_and_only_now_and_then() {
        let mut drafts = Drafts::default();
        let now = Instant::now();
        assert!(drafts.due(now, false));
        assert!(!drafts.due(now + INTERVAL / 2, false));
        assert!(drafts.due(now + INTERVAL / 2, true));
        let text = |value: &str| vec![("create".to_owned(), Arc::from(value))];
        assert_eq!(drafts.changed(text("a")).len(), 1);
        assert_eq!(drafts.changed(text("a")).len(), 0);
        assert_eq!(drafts.changed(text("b")).len(), 1);
    }
}
