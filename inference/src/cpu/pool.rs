//! Memory for the values of a run. Fresh memory comes in pages that the system clears and hands out one by one, which takes longer than most
//! element-wise ops; so what a value gives back serves the next of its size, as long as the run stays within what was foreseen for it.

use super::parallel::{for_chunks, room, zeros};
use super::team::share;
use crate::graph::ExecError;

/// Values of fewer elements are left to the allocator, which keeps such memory at hand itself.
const FROM: usize = 16 * 1024;

/// Memory of a run.
pub(super) struct Pool {
    spare: Vec<Vec<f32>>,
    /// Bytes of those.
    held: u64,
    /// Bytes of values, inputs among them.
    live: u64,
    /// Bytes that the run may take.
    most: u64,
}

impl Pool {
    /// For a run that was foreseen to take `most` bytes, `inputs` of them for what it is given.
    pub(super) fn new(most: u64, inputs: u64) -> Self {
        Self {
            spare: Vec::new(),
            held: 0,
            live: inputs,
            most,
        }
    }

    /// Memory of a value of `len` elements, with whatever was left in it, or of zeros; `scratch` bytes more are needed meanwhile.
    ///
    /// # Errors
    /// The allocator has no more.
    pub(super) fn take(
        &mut self,
        what: &str,
        len: usize,
        scratch: u64,
    ) -> Result<Vec<f32>, ExecError> {
        self.find(len, scratch).map_or_else(|| zeros(what, len), Ok)
    }

    /// As [`Self::take`]: used memory, or with room for the elements and none of them yet.
    ///
    /// # Errors
    /// The allocator has no more.
    pub(super) fn take_room(
        &mut self,
        what: &str,
        len: usize,
        scratch: u64,
    ) -> Result<Vec<f32>, ExecError> {
        self.find(len, scratch).map_or_else(|| room(what, len), Ok)
    }

    /// Spare memory of just this length (what is too large would be more than was foreseen); where there is none, room is made for it.
    fn find(&mut self, len: usize, scratch: u64) -> Option<Vec<f32>> {
        let place = self.spare.iter().rposition(|spare| spare.len() == len);
        let found = place.map(|place| self.spare.remove(place));
        if found.is_some() {
            self.held -= bytes(len);
            self.live += bytes(len);
            self.make_room(scratch);
        } else {
            self.make_room(scratch + bytes(len));
            self.live += bytes(len);
        }
        found
    }

    /// Gives spare memory back to the system, the oldest first, until so many bytes more fit.
    pub(super) fn make_room(&mut self, more: u64) {
        while self.live + self.held + more > self.most && !self.spare.is_empty() {
            self.held -= bytes(self.spare.remove(0).len());
        }
    }

    /// Takes back a value's memory.
    pub(super) fn give(&mut self, values: Vec<f32>) {
        let len = values.len();
        self.live = self.live.saturating_sub(bytes(len));
        if len >= FROM {
            self.held += bytes(len);
            self.spare.push(values);
        }
    }
}

fn bytes(len: usize) -> u64 {
    4 * len as u64
}

/// Where an op works that changes its first operand in place.
pub(super) enum Out<'a> {
    /// What holds the operand already.
    Held(&'a mut [f32]),
    /// Memory of its length, or with room for it ([`Pool::take_room`]), to which the operand is copied part by part just before it is changed.
    Copy(&'a mut Vec<f32>, &'a [f32]),
}

impl Out<'_> {
    /// Elements of the operand.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Held(out) => out.len(),
            Self::Copy(_, source) => source.len(),
        }
    }

    /// As [`for_chunks`], on chunks of the operand.
    pub(super) fn for_chunks(self, len: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
        let (out, source) = match self {
            Self::Held(out) => return for_chunks(out, len, work),
            Self::Copy(out, source) => (out, source),
        };
        let (total, len) = (source.len(), len.max(1));
        if out.len() == total {
            return for_chunks(out, len, |index, out| {
                let start = index * len;
                out.copy_from_slice(&source[start..start + out.len()]);
                work(index, out);
            });
        }
        out.clear();
        out.reserve_exact(total);
        let room = Room(out.as_mut_ptr());
        let task = |index: usize| {
            let part = &source[index * len..total.min((index + 1) * len)];
            // SAFETY: room for `total` elements was just reserved, of which a task has its own; they are written before they are lent.
            let part = unsafe {
                let start = room.at(index * len);
                start.copy_from_nonoverlapping(part.as_ptr(), part.len());
                std::slice::from_raw_parts_mut(start, part.len())
            };
            work(index, part);
        };
        if total <= len {
            (0..total.min(1)).for_each(task);
        } else {
            share(total.div_ceil(len), &task);
        }
        // SAFETY: all of them were written; where a task panicked this is not reached.
        unsafe { out.set_len(total) };
    }
}

/// A pointer that several tasks use, each for elements of its own.
struct Room(*mut f32);

// SAFETY: it only gives pointers, in an unsafe function whose callers keep tasks apart.
unsafe impl Sync for Room {}

impl Room {
    /// # Safety
    /// There is room for more than `index` elements.
    unsafe fn at(&self, index: usize) -> *mut f32 {
        // SAFETY: as the caller says.
        unsafe { self.0.add(index) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_serves_again_within_what_was_foreseen() {
        let mut pool = Pool::new(4 * 3 * FROM as u64, 0);
        let first = pool.take("first", FROM, 0).unwrap();
        let second = pool.take("second", FROM, 0).unwrap();
        let address = first.as_ptr();
        pool.give(first);
        // Of another length: the spare one stays as long as there is room.
        pool.make_room(bytes(FROM));
        assert_eq!(pool.spare.len(), 1);
        let again = pool.take("again", FROM, 0).unwrap();
        assert_eq!(again.as_ptr(), address);
        pool.give(second);
        pool.make_room(bytes(FROM));
        assert_eq!((pool.spare.len(), pool.held), (1, bytes(FROM)));
        pool.make_room(bytes(FROM + 1));
        assert_eq!((pool.spare.len(), pool.held), (0, 0));
        pool.give(again);
        assert_eq!(pool.live, 0);
        pool.give(vec![0.0; FROM - 1]);
        assert_eq!(pool.spare.len(), 1);
    }

    #[test]
    fn operands_are_copied_to_used_and_to_new_memory() {
        for (len, chunk) in [(0, 4), (1, 4), (4, 4), (1003, 10), (100_000, 4096)] {
            let source: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let wanted: Vec<f32> = source.iter().map(|x| 2.0 * x + 1.0).collect();
            let double = |index: usize, out: &mut [f32]| {
                for (i, x) in out.iter_mut().enumerate() {
                    assert_eq!(*x, (index * chunk + i) as f32);
                    *x = 2.0 * *x + 1.0;
                }
            };
            let mut pool = Pool::new(u64::MAX, 0);
            let mut out = pool.take_room("new", len, 0).unwrap();
            Out::Copy(&mut out, &source).for_chunks(chunk, double);
            assert_eq!(out, wanted);
            Out::Copy(&mut out, &source).for_chunks(chunk, double);
            assert_eq!(out, wanted);
            let mut held = source.clone();
            Out::Held(&mut held).for_chunks(chunk, double);
            assert_eq!(held, wanted);
        }
    }
}
