//! Which pictures are chosen: one, several, a row of them.

use std::collections::BTreeSet;

use crate::library::records::PictureId;

/// How a click chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// This one alone.
    Only,
    /// This one too, or no longer.
    Toggle,
    /// All from the last one to this one.
    Range,
}

/// The chosen pictures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    ids: BTreeSet<PictureId>,
    /// The one that was chosen last.
    last: Option<PictureId>,
    /// Where a row begins.
    anchor: Option<PictureId>,
}

impl Selection {
    /// Whether a picture is chosen.
    pub fn has(&self, id: PictureId) -> bool {
        self.ids.contains(&id)
    }

    /// How many are chosen.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether none is chosen.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The one that was chosen last, if it still is.
    pub fn last(&self) -> Option<PictureId> {
        self.last
            .filter(|last| self.ids.contains(last))
            .or_else(|| self.ids.last().copied())
    }

    /// All of them, oldest first.
    pub fn ids(&self) -> Vec<PictureId> {
        self.ids.iter().copied().collect()
    }

    /// Chooses none.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Chooses all of these.
    pub fn all(&mut self, shown: &[PictureId]) {
        self.ids = shown.iter().copied().collect();
        self.last = shown.first().copied();
        self.anchor = self.last;
    }

    /// Chooses by a click; `shown` is the order on the screen.
    pub fn pick(&mut self, id: PictureId, pick: Pick, shown: &[PictureId]) {
        let place = |id: PictureId| shown.iter().position(|other| *other == id);
        match pick {
            Pick::Only => {
                self.ids = BTreeSet::from([id]);
                self.anchor = Some(id);
            }
            Pick::Toggle => {
                if !self.ids.remove(&id) {
                    self.ids.insert(id);
                }
                self.anchor = Some(id);
            }
            Pick::Range => {
                let from = self.anchor.and_then(place);
                match (from, place(id)) {
                    (Some(from), Some(to)) => {
                        let row = shown.get(from.min(to)..=from.max(to)).unwrap_or_default();
                        self.ids = row.iter().copied().collect();
                    }
                    _ => {
                        self.ids = BTreeSet::from([id]);
                        self.anchor = Some(id);
                    }
                }
            }
        }
        self.last = Some(id);
    }

    /// Chooses what lies so many places further, and nothing else.
    pub fn step(&mut self, by: i32, shown: &[PictureId]) {
        let here = self
            .last()
            .and_then(|last| shown.iter().position(|id| *id == last));
        let to = match here {
            Some(here) => here
                .saturating_add_signed(by as isize)
                .min(shown.len().saturating_sub(1)),
            None => 0,
        };
        if let Some(id) = shown.get(to) {
            self.pick(*id, Pick::Only, shown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[i64]) -> Vec<PictureId> {
        numbers.iter().copied().map(PictureId).collect()
    }

    #[test]
    fn clicks_choose_one_some_and_rows() {
        let shown = ids(&[9, 8, 7, 6, 5]);
        let mut selection = Selection::default();
        selection.pick(PictureId(8), Pick::Only, &shown);
        selection.pick(PictureId(6), Pick::Range, &shown);
        assert_eq!(selection.ids(), ids(&[6, 7, 8]));
        selection.pick(PictureId(9), Pick::Range, &shown);
        assert_eq!(selection.ids(), ids(&[8, 9]));
        selection.pick(PictureId(9), Pick::Toggle, &shown);
        selection.pick(PictureId(5), Pick::Toggle, &shown);
        assert_eq!(selection.ids(), ids(&[5, 8]));
        assert_eq!(selection.last(), Some(PictureId(5)));
        selection.all(&shown);
        assert_eq!((selection.len(), selection.last()), (5, Some(PictureId(9))));
    }

    #[test]
    fn steps_stay_within() {
        let shown = ids(&[9, 8, 7]);
        let mut selection = Selection::default();
        selection.step(1, &shown);
        assert_eq!(selection.last(), Some(PictureId(9)));
        selection.step(5, &shown);
        assert_eq!(selection.last(), Some(PictureId(7)));
        selection.step(-1, &shown);
        assert_eq!(selection.ids(), ids(&[8]));
        selection.step(-9, &shown);
        assert_eq!(selection.ids(), ids(&[9]));
        selection.step(1, &[]);
    }
}
