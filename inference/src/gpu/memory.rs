//! Every buffer of the engine is made and counted here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::device::GpuDevice;
use crate::graph::{ExecError, MemoryUse};

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Weights.
    Weights,
    /// Arenas, uniforms and staging buffers of plans.
    Activations,
    /// KV caches.
    States,
}

const MIB: u64 = 1 << 20;
/// Assumed where the backend does not tell how much memory there is: what small integrated GPUs have.
const CAREFUL_DEFAULT: u64 = 2048 * MIB;

#[derive(Debug, Default)]
struct Counters {
    used: [AtomicU64; 3],
    peak: AtomicU64,
}

/// Makes buffers within a budget and counts them.
#[derive(Clone)]
pub struct Memory {
    device: Arc<GpuDevice>,
    counters: Arc<Counters>,
    budget: u64,
}

/// A buffer whose bytes are given back to the count when it is dropped.
pub struct Tracked {
    buffer: wgpu::Buffer,
    purpose: Purpose,
    counters: Arc<Counters>,
}

impl Tracked {
    /// The buffer.
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.counters.used[self.purpose as usize].fetch_sub(self.buffer.size(), Ordering::Relaxed);
        // Dropping a handle alone leaves the memory to the next poll; the next job may need it now.
        self.buffer.destroy();
    }
}

/// Bytes that are counted though no buffer of ours holds them, such as the driver's copies of what is being sent.
pub struct Reservation {
    bytes: u64,
    purpose: Purpose,
    counters: Arc<Counters>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.counters.used[self.purpose as usize].fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Memory {
    /// Counts for a device. Without a budget, nine tenths of what the backend tells, else a careful default.
    pub fn new(device: Arc<GpuDevice>, budget: Option<u64>) -> Self {
        let budget = budget.unwrap_or_else(|| match device.report.memory_bytes {
            Some(bytes) => bytes / 10 * 9,
            None => CAREFUL_DEFAULT,
        });
        Self {
            device,
            counters: Arc::default(),
            budget,
        }
    }

    fn used(&self) -> u64 {
        self.counters
            .used
            .iter()
            .map(|used| used.load(Ordering::Relaxed))
            .sum()
    }

    /// Bytes that are free within the budget.
    pub fn available(&self) -> u64 {
        self.budget.saturating_sub(self.used())
    }

    /// The share of the budget that is left free where weights are streamed, so that later plans and caches find room.
    pub fn headroom(&self) -> u64 {
        self.budget / 16
    }

    /// Counts bytes that are used without a buffer of ours.
    ///
    /// # Errors
    /// If they do not fit the budget.
    pub fn reserve(
        &self,
        what: &str,
        bytes: u64,
        purpose: Purpose,
    ) -> Result<Reservation, ExecError> {
        if bytes > self.available() {
            return Err(self.out_of_memory(what, bytes));
        }
        self.count(bytes, purpose);
        Ok(Reservation {
            bytes,
            purpose,
            counters: Arc::clone(&self.counters),
        })
    }

    fn count(&self, bytes: u64, purpose: Purpose) {
        self.counters.used[purpose as usize].fetch_add(bytes, Ordering::Relaxed);
        self.counters.peak.fetch_max(self.used(), Ordering::Relaxed);
    }

    /// The named error of an allocation that does not fit.
    pub fn out_of_memory(&self, what: &str, bytes: u64) -> ExecError {
        ExecError::OutOfMemory {
            what: what.to_owned(),
            needed: bytes.div_ceil(MIB),
            available: self.available() / MIB,
            budget: self.budget / MIB,
        }
    }

    /// Makes a buffer.
    ///
    /// # Errors
    /// If it does not fit the budget, the device's limits or the device.
    pub fn allocate(
        &self,
        label: &str,
        size: u64,
        usage: wgpu::BufferUsages,
        purpose: Purpose,
    ) -> Result<Tracked, ExecError> {
        let size = size.max(16).next_multiple_of(16);
        if size > self.available() {
            return Err(self.out_of_memory(label, size));
        }
        if size > self.device.limits.max_buffer_size {
            return Err(ExecError::Unsupported {
                executor: "gpu",
                label: label.to_owned(),
                detail: format!(
                    "a buffer of {} MiB where the device allows {} MiB",
                    size / MIB,
                    self.device.limits.max_buffer_size / MIB
                ),
            });
        }
        let scope = self
            .device
            .device
            .push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: false,
        });
        if pollster::block_on(scope.pop()).is_some() {
            return Err(self.out_of_memory(label, size));
        }
        self.device.check(label)?;
        self.device.note_made();
        self.count(size, purpose);
        Ok(Tracked {
            buffer,
            purpose,
            counters: Arc::clone(&self.counters),
        })
    }

    /// Bytes in use.
    pub fn usage(&self) -> MemoryUse {
        let used = |purpose: Purpose| self.counters.used[purpose as usize].load(Ordering::Relaxed);
        MemoryUse {
            weights: used(Purpose::Weights),
            activations: used(Purpose::Activations),
            states: used(Purpose::States),
            peak: self.counters.peak.load(Ordering::Relaxed),
            budget: self.budget,
            ..MemoryUse::default()
        }
    }
}
