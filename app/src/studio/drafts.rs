//! Texts and settings as they are typed, given to the library a few times a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

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

/// What was kept, changed as the person has changed the state since it began from `begun`: a library that opens late takes nothing away that was
/// typed meanwhile.
pub fn take_up<T: Serialize + DeserializeOwned>(kept: &str, begun: &T, now: &T) -> Option<T> {
    let mut kept: Value = serde_json::from_str(kept).ok()?;
    if let (Some(kept), Ok(Value::Object(begun)), Ok(Value::Object(now))) = (
        kept.as_object_mut(),
        serde_json::to_value(begun),
        serde_json::to_value(now),
    ) {
        for (name, value) in now {
            if begun.get(&name) != Some(&value) {
                kept.insert(name, value);
            }
        }
    }
    serde_json::from_value(kept).ok()
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_meanwhile_goes_before_what_was_kept() {
        use super::super::view::{View, Workspace};
        let kept = View {
            workspace: Workspace::Chat,
            queue_open: true,
            ..View::default()
        };
        let (_, kept) = draft("view", &kept).unwrap();
        let begun = View::default();
        let now = View {
            workspace: Workspace::Compare,
            ..View::default()
        };
        let taken: View = take_up(&kept, &begun, &now).unwrap();
        assert_eq!(
            (taken.workspace, taken.queue_open),
            (Workspace::Compare, true)
        );
        let untouched: View = take_up(&kept, &begun, &begun).unwrap();
        assert_eq!(untouched.workspace, Workspace::Chat);
        assert!(take_up("{", &begun, &now).is_none());
    }

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
