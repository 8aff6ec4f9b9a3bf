//! The list of conversations: its order, its groups, and the search over all of them.

use super::Chat;
use super::talk::Talk;
use crate::library::Found;
use crate::library::records::{Conversation, ConversationId, Millis};
use crate::studio::house::House;

/// Most results of a search.
const MOST_FOUND: usize = 80;
const DAY: Millis = 86_400_000;

/// A part of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Kept at the top.
    Pinned,
    /// Changed today.
    Today,
    /// Changed yesterday.
    Yesterday,
    /// Changed in the last seven days.
    Week,
    /// All others.
    Earlier,
}

impl Group {
    /// Its heading.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pinned => "Pinned",
            Self::Today => "Today",
            Self::Yesterday => "Yesterday",
            Self::Week => "Last 7 days",
            Self::Earlier => "Earlier",
        }
    }

    /// The group of a conversation; `midnight` is when today began at the person's place.
    pub fn of(conversation: &Conversation, midnight: Millis) -> Self {
        let changed = conversation.changed;
        if conversation.pinned {
            Self::Pinned
        } else if changed >= midnight {
            Self::Today
        } else if changed >= midnight - DAY {
            Self::Yesterday
        } else if changed >= midnight - 7 * DAY {
            Self::Week
        } else {
            Self::Earlier
        }
    }
}

/// The places of conversations in the order of the list: pinned ones first, then the one changed last.
pub fn order(talks: &[Talk]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..talks.len()).collect();
    order.sort_by_cached_key(|&index| {
        talks.get(index).map(|talk| {
            let conversation = &talk.conversation;
            (
                std::cmp::Reverse(conversation.pinned),
                std::cmp::Reverse(conversation.changed),
                std::cmp::Reverse(conversation.id),
            )
        })
    });
    order
}

/// A number that changes with whatever the list's order and groups depend on.
pub fn stamp(talks: &[Talk]) -> u64 {
    let mut stamp = talks.len() as u64;
    let mut mix = |number: i64| {
        stamp = (stamp.rotate_left(5) ^ number.cast_unsigned()).wrapping_mul(0x517c_c1b7_2722_0a95);
    };
    for talk in talks {
        let conversation = &talk.conversation;
        mix(conversation.id.0);
        mix(conversation.changed);
        mix(i64::from(conversation.pinned));
    }
    stamp
}

impl Chat {
    /// All conversations, in no order.
    pub fn talks(&self) -> &[Talk] {
        &self.talks
    }

    /// All conversations, pinned ones first, then the one changed last.
    pub fn listed(&self) -> Vec<&Talk> {
        let order = order(&self.talks);
        order
            .into_iter()
            .filter_map(|index| self.talks.get(index))
            .collect()
    }

    /// Whether the search of the list differs from the one whose results are there; then the library is asked.
    pub(super) fn look_up(&mut self, house: &House) {
        let wanted = self.search.trim().to_owned();
        if wanted == self.looked_up {
            return;
        }
        self.looked_up.clone_from(&wanted);
        if wanted.is_empty() {
            self.found.clear();
            return;
        }
        house.look_up("the search", move |library| {
            let found = library.search_conversations(&wanted, MOST_FOUND)?;
            let text = wanted.clone();
            Ok(Some(crate::library::keeper::LibraryEvent::Found {
                text,
                found,
            }))
        });
    }

    pub(super) fn take_found(&mut self, text: &str, found: &[Found]) {
        if text == self.looked_up {
            self.found = found.to_vec();
        }
    }

    /// What the search found, with the conversations as they are called now; those deleted meanwhile are left out.
    pub fn found(&self) -> impl Iterator<Item = (&Found, &Talk)> {
        self.found
            .iter()
            .filter_map(|found| Some((found, self.talk(found.conversation)?)))
    }

    /// The conversation that is shown.
    pub fn current(&self) -> Option<ConversationId> {
        self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studio::chat::talk::settings_of;

    #[test]
    fn groups_follow_the_calendar() {
        let midnight = 1_000 * DAY;
        let at = |changed, pinned| {
            let conversation = Conversation {
                changed,
                pinned,
                ..settings_of(None)
            };
            Group::of(&conversation, midnight)
        };
        assert_eq!(at(midnight + 5, false), Group::Today);
        assert_eq!(at(midnight - 1, false), Group::Yesterday);
        assert_eq!(at(midnight - DAY, false), Group::Yesterday);
        assert_eq!(at(midnight - DAY - 1, false), Group::Week);
        assert_eq!(at(midnight - 30 * DAY, false), Group::Earlier);
        assert_eq!(at(midnight - 30 * DAY, true), Group::Pinned);
    }
}
