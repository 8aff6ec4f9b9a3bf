//! Work in parallel tasks, in bands between which the run can be stopped; and memory for it.

use std::cell::Cell;

use super::team::share;
use crate::graph::{ExecError, Interrupt};

/// Floating-point operations between two looks at the interrupt: about 50 ms of two slow cores.
const BAND_FLOPS: f64 = 4e9;

/// Floating-point operations from which on work is shared out: one core does fewer in the time that it takes to bring another in and to wait for it.
const SHARED_FROM: f64 = 1e5;

/// Elements that an element-wise loop gives to one task; 64 KiB, so that several passes stay in the cache.
pub(super) const CHUNK: usize = 16 * 1024;

/// The caller's wish to stop, asked between ops and between the bands of long ops.
pub(super) struct Poll<'a>(pub(super) &'a mut dyn Interrupt);

impl Poll<'_> {
    /// [`ExecError::Interrupted`] if the caller wants to stop.
    pub(super) fn check(&mut self) -> Result<(), ExecError> {
        if self.0.poll() {
            Err(ExecError::Interrupted)
        } else {
            Ok(())
        }
    }
}

/// Number of threads that run tasks.
pub(super) fn threads() -> usize {
    rayon::current_num_threads().max(1)
}

/// Runs `task(0..count)` in parallel, each about `flops` operations.
pub(super) fn for_tasks(
    count: usize,
    flops: f64,
    poll: &mut Poll<'_>,
    task: impl Fn(usize) + Sync,
) -> Result<(), ExecError> {
    if flops * count as f64 <= SHARED_FROM {
        poll.check()?;
        (0..count).for_each(task);
        return Ok(());
    }
    // At least a few tasks a thread, so that bands end evenly.
    let band = ((BAND_FLOPS / flops.max(1.0)) as usize).max(4 * threads());
    for start in (0..count).step_by(band) {
        poll.check()?;
        let end = count.min(start.saturating_add(band));
        share(end - start, &|index| task(start + index));
    }
    Ok(())
}

/// Chunks of `len` elements (the last may be shorter) in parallel, each with its number. One chunk alone is done at once: sharing it
/// out would take longer than most.
pub(super) fn for_chunks(out: &mut [f32], len: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let total = out.len();
    if total <= len {
        if total > 0 {
            work(0, out);
        }
        return;
    }
    let len = len.max(1);
    let shared = Shared::new(out);
    share(total.div_ceil(len), &|index| {
        let start = index * len;
        // SAFETY: a task has its own chunk.
        work(index, unsafe {
            shared.slice(start, len.min(total - start))
        });
    });
}

thread_local! {
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Lends `len` floats of the thread's own scratch memory, with whatever was left in them.
pub(super) fn with_scratch<T>(len: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
    // Taken, not borrowed: should a task ever start others on this thread, they get their own.
    let mut scratch = SCRATCH.take();
    if scratch.len() < len {
        scratch.resize(len, 0.0);
    }
    let result = work(scratch.get_mut(..len).unwrap_or_default());
    SCRATCH.set(scratch);
    result
}

/// That the allocator has no room for `len` elements.
fn no_room<T>(what: &str, len: usize) -> ExecError {
    ExecError::OutOfMemory {
        what: what.to_owned(),
        needed: (len as u64).saturating_mul(size_of::<T>() as u64) >> 20,
        available: 0,
        budget: 0,
    }
}

/// Room for `len` elements and none of them yet, or a named error where the allocator has no more.
pub(super) fn room<T>(what: &str, len: usize) -> Result<Vec<T>, ExecError> {
    let mut values = Vec::new();
    match values.try_reserve_exact(len) {
        Ok(()) => Ok(values),
        Err(_) => Err(no_room::<T>(what, len)),
    }
}

/// `len` zeros, or a named error where the allocator has no more.
///
/// Fresh pages come zeroed from the system, and are first touched by the threads that fill them.
pub(super) fn zeros<T: bytemuck::Zeroable>(what: &str, len: usize) -> Result<Vec<T>, ExecError> {
    let error = || no_room::<T>(what, len);
    let layout = std::alloc::Layout::array::<T>(len).map_err(|_| error())?;
    if layout.size() == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the layout is not of size zero.
    let pointer = unsafe { std::alloc::alloc_zeroed(layout) };
    if pointer.is_null() {
        return Err(error());
    }
    // SAFETY: allocated by the global allocator just now with the layout of `len` elements, and zeros are valid elements
    // (`Zeroable`).
    Ok(unsafe { Vec::from_raw_parts(pointer.cast::<T>(), len, len) })
}

/// A slice that several tasks write to, each its own elements.
pub(super) struct Shared<'a> {
    pointer: *mut f32,
    len: usize,
    slice: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: it only gives pointers and, in unsafe functions whose callers keep tasks apart, slices.
unsafe impl Sync for Shared<'_> {}
// SAFETY: as above; f32 can be written from any thread.
unsafe impl Send for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(super) fn new(slice: &'a mut [f32]) -> Self {
        Self {
            pointer: slice.as_mut_ptr(),
            len: slice.len(),
            slice: std::marker::PhantomData,
        }
    }

    /// Elements `start..start + len`; bounds are checked.
    ///
    /// # Safety
    /// No other task uses these elements while the slice lives.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn slice(&self, start: usize, len: usize) -> &mut [f32] {
        assert!(
            start.checked_add(len).is_some_and(|end| end <= self.len),
            "a task's part lies in the whole"
        );
        // SAFETY: in bounds as just checked; the caller keeps others off.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(start), len) }
    }

    /// Pointer to the elements from `start` on, of which `span` must exist.
    pub(super) fn at(&self, start: usize, span: usize) -> *mut f32 {
        assert!(
            start.checked_add(span).is_some_and(|end| end <= self.len),
            "a task's part lies in the whole"
        );
        // SAFETY: in bounds as just checked.
        unsafe { self.pointer.add(start) }
    }
}
