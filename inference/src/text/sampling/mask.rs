//! Which tokens may be chosen at all.

/// A set of token ids, as bits; a grammar's word on the next token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenMask {
    words: Vec<u32>,
}

impl TokenMask {
    /// Of bits, the lowest of each word first; ids beyond the last word are not in the set.
    #[must_use]
    pub fn from_words(words: Vec<u32>) -> Self {
        Self { words }
    }

    /// Of ids.
    #[must_use]
    pub fn of(ids: impl IntoIterator<Item = u32>) -> Self {
        let mut words: Vec<u32> = Vec::new();
        for id in ids {
            let at = id as usize / 32;
            if words.len() <= at {
                words.resize(at + 1, 0);
            }
            words[at] |= 1 << (id % 32);
        }
        Self { words }
    }

    /// Whether a token is in the set.
    #[must_use]
    pub fn allows(&self, id: u32) -> bool {
        self.words
            .get(id as usize / 32)
            .is_some_and(|word| word >> (id % 32) & 1 == 1)
    }

    /// The tokens in the set, in their order.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        let words = self.words.iter().zip(0u32..);
        words.flat_map(|(word, at)| {
            (0..32)
                .filter(move |bit| word >> bit & 1 == 1)
                .map(move |bit| at * 32 + bit)
        })
    }

    /// Tokens in the set.
    #[must_use]
    pub fn count(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        let ids = [0, 31, 32, 95, 1000];
        let mask = TokenMask::of(ids);
        for id in 0..2000 {
            assert_eq!(mask.allows(id), ids.contains(&id), "{id}");
        }
        assert_eq!(mask.count(), ids.len());
        assert_eq!(mask.ids().collect::<Vec<_>>(), ids);
        assert!(!TokenMask::default().allows(0));
    }
}
