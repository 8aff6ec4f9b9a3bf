//! Which page of a KV cache holds what: allocation, prefixes shared between turns and branches, eviction.
//!
//! A finished sequence stays in the cache. A new prompt takes over the longest beginning that any kept sequence has in
//! common with it: whole pages by reference, a partly filled page by a copy. When pages run short, the sequences used
//! longest ago are given up.

use crate::graph::KV_PAGE;

/// The pool has no page left, even after all kept sequences were given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the KV cache is full")]
pub struct PoolFull;

/// Tokens whose keys and values are (or are about to be) in the cache, and the pages they lie in.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    tokens: Vec<u32>,
    pages: Vec<u32>,
}

impl Sequence {
    /// Tokens in the cache.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether nothing is in the cache.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Pages in the order of positions.
    pub fn pages(&self) -> &[u32] {
        &self.pages
    }

    /// Cache slot of the token after these, if their last page has room for it.
    pub fn next_slot(&self) -> Option<u32> {
        let place = (self.len() % KV_PAGE) as u32;
        let page = self.pages.get(self.len() / KV_PAGE)?;
        (place > 0).then_some(page * KV_PAGE as u32 + place)
    }

    /// Cache slot of a position; the position must be below the length.
    fn slot(&self, position: usize) -> u32 {
        self.pages[position / KV_PAGE] * KV_PAGE as u32 + (position % KV_PAGE) as u32
    }
}

/// A page to copy before a sequence is extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageCopy {
    /// Source page.
    pub from: u32,
    /// Target page.
    pub to: u32,
}

#[derive(Debug)]
struct Kept {
    sequence: Sequence,
    last_used: u64,
}

/// Pages of one KV cache and the sequences kept in it.
#[derive(Debug)]
pub struct PrefixCache {
    references: Vec<u32>,
    free: Vec<u32>,
    kept: Vec<Kept>,
    clock: u64,
}

impl PrefixCache {
    /// A cache of `pages` empty pages.
    pub fn new(pages: usize) -> Self {
        let free = (0..pages as u32).rev().collect();
        Self {
            references: vec![0; pages],
            free,
            kept: Vec::new(),
            clock: 0,
        }
    }

    /// Starts a sequence for a prompt: with what is cached of it already, but never all of it, since the logits after
    /// its last token are wanted. The second value names a page to copy before anything is written.
    ///
    /// # Errors
    /// If there is no page for the copy.
    pub fn begin(&mut self, prompt: &[u32]) -> Result<(Sequence, Option<PageCopy>), PoolFull> {
        self.clock += 1;
        let Some((index, common)) = self
            .kept
            .iter()
            .enumerate()
            .map(|(index, kept)| (index, common(&kept.sequence.tokens, prompt)))
            .max_by_key(|&(_, n)| n)
        else {
            return Ok((Sequence::default(), None));
        };
        self.kept[index].last_used = self.clock;
        let whole = common / KV_PAGE;
        let source = &self.kept[index].sequence;
        let mut pages = source.pages[..whole].to_vec();
        let partial = (common % KV_PAGE != 0).then(|| source.pages[whole]);
        for &page in pages.iter().chain(&partial) {
            self.references[page as usize] += 1;
        }
        // The partial page stays referenced while room is made for its copy, so that it cannot be given up meanwhile.
        let copy = match partial {
            None => None,
            Some(from) => {
                let to = self.allocate();
                self.unreference(from);
                match to {
                    Ok(to) => {
                        pages.push(to);
                        Some(PageCopy { from, to })
                    }
                    Err(PoolFull) => {
                        pages.iter().for_each(|&page| self.unreference(page));
                        return Err(PoolFull);
                    }
                }
            }
        };
        Ok((
            Sequence {
                tokens: prompt[..common].to_vec(),
                pages,
            },
            copy,
        ))
    }

    /// How many of a prompt's tokens [`Self::begin`] would find.
    pub fn cached(&self, prompt: &[u32]) -> usize {
        let common = |kept: &Kept| common(&kept.sequence.tokens, prompt);
        self.kept.iter().map(common).max().unwrap_or(0)
    }

    /// Makes room for more tokens and returns the slots to write them to, in order.
    ///
    /// # Errors
    /// If there are not enough pages; the sequence is then as it was.
    pub fn extend(
        &mut self,
        sequence: &mut Sequence,
        tokens: &[u32],
    ) -> Result<Vec<u32>, PoolFull> {
        let start = sequence.len();
        let wanted = (start + tokens.len()).div_ceil(KV_PAGE);
        let had = sequence.pages.len();
        while sequence.pages.len() < wanted {
            match self.allocate() {
                Ok(page) => sequence.pages.push(page),
                Err(PoolFull) => {
                    for page in sequence.pages.split_off(had) {
                        self.unreference(page);
                    }
                    return Err(PoolFull);
                }
            }
        }
        sequence.tokens.extend_from_slice(tokens);
        Ok((start..sequence.len())
            .map(|position| sequence.slot(position))
            .collect())
    }

    /// Takes tokens off the end again, whose keys and values were never written (a run was stopped).
    pub fn truncate(&mut self, sequence: &mut Sequence, len: usize) {
        sequence.tokens.truncate(len);
        for page in sequence
            .pages
            .split_off(len.div_ceil(KV_PAGE).min(sequence.pages.len()))
        {
            self.unreference(page);
        }
    }

    /// Lets others begin with a sequence that is still being written: what it holds now stays as it is, whatever is written behind it.
    pub fn share(&mut self, sequence: &Sequence) {
        let known = |kept: &Kept| kept.sequence.tokens.starts_with(&sequence.tokens);
        if sequence.is_empty() || self.kept.iter().any(known) {
            return;
        }
        for &page in &sequence.pages {
            self.references[page as usize] += 1;
        }
        self.keep(Sequence {
            tokens: sequence.tokens.clone(),
            pages: sequence.pages.clone(),
        });
    }

    /// Keeps a sequence for later prompts. Kept sequences that are a beginning of it are no longer needed.
    pub fn keep(&mut self, sequence: Sequence) {
        if sequence.is_empty() {
            return self.release(sequence);
        }
        self.clock += 1;
        let (covered, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.kept)
            .into_iter()
            .partition(|kept| sequence.tokens.starts_with(&kept.sequence.tokens));
        self.kept = kept;
        for covered in covered {
            self.release(covered.sequence);
        }
        self.kept.push(Kept {
            sequence,
            last_used: self.clock,
        });
    }

    /// Gives a sequence's pages back.
    pub fn release(&mut self, sequence: Sequence) {
        for page in sequence.pages {
            self.unreference(page);
        }
    }

    fn allocate(&mut self) -> Result<u32, PoolFull> {
        loop {
            if let Some(page) = self.free.pop() {
                self.references[page as usize] = 1;
                return Ok(page);
            }
            let oldest = self
                .kept
                .iter()
                .enumerate()
                .min_by_key(|(_, kept)| kept.last_used)
                .map(|(index, _)| index);
            let Some(oldest) = oldest else {
                return Err(PoolFull);
            };
            let given_up = self.kept.swap_remove(oldest);
            self.release(given_up.sequence);
        }
    }

    fn unreference(&mut self, page: u32) {
        let references = &mut self.references[page as usize];
        *references -= 1;
        if *references == 0 {
            self.free.push(page);
        }
    }
}

/// Tokens at the beginning of a prompt that need not be computed: never all of them, since the logits after the last one are wanted.
fn common(tokens: &[u32], prompt: &[u32]) -> usize {
    let most = prompt.len().saturating_sub(1);
    let same = tokens.iter().zip(prompt).take_while(|(a, b)| a == b);
    same.count().min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(range: std::ops::Range<u32>) -> Vec<u32> {
        range.collect()
    }

    fn used(cache: &PrefixCache) -> usize {
        cache.references.len() - cache.free.len()
    }

    #[test]
    fn a_later_turn_shares_whole_pages_and_copies_the_partial_one() {
        let mut cache = PrefixCache::new(8);
        let (mut first, copy) = cache.begin(&tokens(0..100)).unwrap();
        assert!(copy.is_none() && first.is_empty());
        let slots = cache.extend(&mut first, &tokens(0..100)).unwrap();
        assert_eq!(slots.len(), 100);
        assert_eq!(slots[64] % KV_PAGE as u32, 0);
        let first_pages = first.pages().to_vec();
        cache.keep(first);

        let prompt = tokens(0..150);
        let (mut second, copy) = cache.begin(&prompt).unwrap();
        assert_eq!(second.len(), 100);
        assert_eq!(
            second.pages()[0],
            first_pages[0],
            "the whole page is shared"
        );
        let copy = copy.unwrap();
        assert_eq!((copy.from, copy.to), (first_pages[1], second.pages()[1]));
        assert_ne!(copy.from, copy.to);
        cache.extend(&mut second, &prompt[100..]).unwrap();
        cache.keep(second);
        // The first sequence is a beginning of the second and is no longer kept by itself.
        assert_eq!(cache.kept.len(), 1);
        assert_eq!(used(&cache), 3);
    }

    #[test]
    fn a_sequence_that_is_being_written_is_shared_and_stays_as_it_was() {
        let mut cache = PrefixCache::new(8);
        let prompt = tokens(0..100);
        let (mut first, _) = cache.begin(&prompt).unwrap();
        cache.extend(&mut first, &prompt).unwrap();
        cache.share(&first);
        cache.share(&first);
        assert_eq!(cache.kept.len(), 1);
        cache.extend(&mut first, &tokens(500..560)).unwrap();
        let (second, copy) = cache.begin(&prompt).unwrap();
        assert_eq!(second.len(), 99);
        assert_eq!(second.pages()[0], first.pages()[0]);
        assert_eq!(copy.unwrap().from, first.pages()[1]);
        cache.release(second);
        // The finished one takes the place of what was shared of it.
        cache.keep(first);
        assert_eq!((cache.kept.len(), used(&cache)), (1, 3));
    }

    #[test]
    fn branches_are_kept_side_by_side() {
        let mut cache = PrefixCache::new(8);
        for ending in [1000, 2000] {
            let mut prompt = tokens(0..64);
            prompt.push(ending);
            let (mut sequence, _) = cache.begin(&prompt).unwrap();
            let done = sequence.len();
            cache.extend(&mut sequence, &prompt[done..]).unwrap();
            cache.keep(sequence);
        }
        assert_eq!(cache.kept.len(), 2);
        assert_eq!(used(&cache), 3, "one shared page and two endings");
    }

    #[test]
    fn the_last_token_is_always_computed_again() {
        let mut cache = PrefixCache::new(4);
        let prompt = tokens(0..64);
        let (mut sequence, _) = cache.begin(&prompt).unwrap();
        cache.extend(&mut sequence, &prompt).unwrap();
        cache.keep(sequence);
        let (again, copy) = cache.begin(&prompt).unwrap();
        assert_eq!(again.len(), 63);
        assert!(copy.is_some());
        cache.release(again);
    }

    #[test]
    fn the_oldest_goes_first_and_a_full_pool_changes_nothing() {
        let mut cache = PrefixCache::new(3);
        for start in [0, 1000] {
            let prompt = tokens(start..start + 64);
            let (mut sequence, _) = cache.begin(&prompt).unwrap();
            cache.extend(&mut sequence, &prompt).unwrap();
            cache.keep(sequence);
        }
        let prompt = tokens(5000..5128);
        let (mut sequence, _) = cache.begin(&prompt).unwrap();
        cache.extend(&mut sequence, &prompt).unwrap();
        assert_eq!(cache.kept.len(), 1);
        assert_eq!(cache.kept[0].sequence.tokens[0], 1000);
        let before = sequence.pages().to_vec();
        assert_eq!(cache.extend(&mut sequence, &tokens(0..200)), Err(PoolFull));
        assert_eq!(sequence.pages(), before);
        assert_eq!(sequence.len(), 128);
        cache.release(sequence);
        assert_eq!(used(&cache), 0);
    }

    #[test]
    fn taking_tokens_back_gives_pages_back() {
        let mut cache = PrefixCache::new(3);
        let (mut sequence, _) = cache.begin(&tokens(0..130)).unwrap();
        cache.extend(&mut sequence, &tokens(0..130)).unwrap();
        cache.truncate(&mut sequence, 64);
        assert_eq!((sequence.len(), sequence.pages().len()), (64, 1));
        cache.truncate(&mut sequence, 0);
        assert_eq!(used(&cache), 0);
        cache.release(sequence);
    }
}
