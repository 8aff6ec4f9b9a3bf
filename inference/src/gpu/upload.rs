//! Weights on the device: packed once, shared by all plans that use them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use rayon::prelude::*;

use super::device::GpuDevice;
use super::kernels::PackedLayout;
use super::memory::{Memory, Purpose, Tracked};
use crate::formats::{TensorData, TensorKey};
use crate::graph::{ExecError, Interrupt};

/// Bytes that may wait for the queue before they are pushed on: uploads are copied once more on their way.
const IN_FLIGHT: u64 = 32 << 20;
/// They are never pushed on in smaller batches than this.
const MIN_BATCH: u64 = 1 << 20;

/// One weight on the device.
pub struct WeightBuffers {
    /// One buffer for each shard.
    pub shards: Vec<Tracked>,
}

/// Weights that some plan uses.
#[derive(Default)]
pub struct WeightStore {
    known: HashMap<TensorKey, Weak<WeightBuffers>>,
}

impl WeightStore {
    /// Whether a weight is on the device.
    pub fn contains(&self, key: &TensorKey) -> bool {
        self.known
            .get(key)
            .is_some_and(|weight| weight.strong_count() > 0)
    }

    /// Forgets weights that no plan uses any longer.
    pub fn tidy(&mut self) {
        self.known.retain(|_, weight| weight.strong_count() > 0);
    }

    /// Uploads those weights that are not there, and gives all of them. Shards are read from their files and packed in parallel, a
    /// batch at a time.
    ///
    /// # Errors
    /// If memory runs out, a file cannot be read, or the caller stops.
    pub fn upload(
        &mut self,
        device: &GpuDevice,
        memory: &Memory,
        weights: &[(TensorData, PackedLayout)],
        interrupt: &mut dyn Interrupt,
    ) -> Result<Vec<Arc<WeightBuffers>>, ExecError> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        // What is on its way is copied once more by the driver; it must find room beside the rest.
        let wanted: u64 = self.missing(weights);
        let most = (memory.available().saturating_sub(wanted) / 4).clamp(MIN_BATCH, IN_FLIGHT);
        let mut batch = Batch {
            device,
            waiting: Vec::new(),
            bytes: 0,
            most,
            last: None,
        };
        let mut uploaded: Vec<Arc<WeightBuffers>> = Vec::with_capacity(weights.len());
        let mut fresh: HashMap<TensorKey, Arc<WeightBuffers>> = HashMap::new();
        for (weight, layout) in weights {
            let key = weight.key();
            let there = fresh.get(&key).map(Arc::clone);
            if let Some(there) = there.or_else(|| self.known.get(&key).and_then(Weak::upgrade)) {
                uploaded.push(there);
                continue;
            }
            let shards = (0..layout.shards.len())
                .map(|shard| {
                    let bytes = layout.shard_bytes(shard);
                    memory.allocate(weight.name(), bytes, usage, Purpose::Weights)
                })
                .collect::<Result<Vec<_>, _>>()?;
            for (shard, buffer) in shards.iter().enumerate() {
                if interrupt.poll() {
                    return Err(ExecError::Interrupted);
                }
                batch.add((weight, layout, shard), buffer.buffer())?;
            }
            let there = Arc::new(WeightBuffers { shards });
            fresh.insert(key, Arc::clone(&there));
            uploaded.push(there);
        }
        batch.send()?;
        device.wait("uploading weights")?;
        // Only now: a weight of an upload that failed half way must not pass for one that is there.
        for (key, there) in fresh {
            self.known.insert(key, Arc::downgrade(&there));
        }
        Ok(uploaded)
    }

    /// Bytes of weights that are not there.
    fn missing(&self, weights: &[(TensorData, PackedLayout)]) -> u64 {
        weights
            .iter()
            .filter(|(weight, _)| !self.contains(&weight.key()))
            .map(|(_, layout)| layout.total_bytes())
            .sum()
    }
}

/// A shard of a weight.
pub type Shard<'a> = (&'a TensorData, &'a PackedLayout, usize);

/// Reads and packs shards in parallel, in their order.
///
/// # Errors
/// If a weight is not the one that its layout was made for.
pub fn pack(shards: &[Shard<'_>]) -> Result<Vec<Vec<u8>>, ExecError> {
    shards
        .par_iter()
        .map(|(weight, layout, shard)| {
            let mut packed = Vec::new();
            layout.pack_shard(weight, *shard, &mut packed)?;
            Ok(packed)
        })
        .collect()
}

/// Shards that wait to be packed together.
struct Batch<'a> {
    device: &'a GpuDevice,
    waiting: Vec<(Shard<'a>, wgpu::Buffer)>,
    bytes: u64,
    /// Bytes from which on a batch is sent. Two are on their way at once: one is copied while the next is read.
    most: u64,
    last: Option<wgpu::SubmissionIndex>,
}

impl<'a> Batch<'a> {
    fn add(&mut self, shard: Shard<'a>, buffer: &wgpu::Buffer) -> Result<(), ExecError> {
        self.bytes += shard.1.shard_bytes(shard.2);
        self.waiting.push((shard, buffer.clone()));
        if self.bytes >= self.most {
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), ExecError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let shards: Vec<Shard<'_>> = self.waiting.iter().map(|(shard, _)| *shard).collect();
        let packed = pack(&shards)?;
        if let Some(last) = self.last.take() {
            self.device.wait_for(last, "uploading weights")?;
        }
        for ((_, buffer), packed) in self.waiting.drain(..).zip(packed) {
            self.device.queue.write_buffer(&buffer, 0, &packed);
        }
        self.bytes = 0;
        self.last = Some(self.device.queue.submit([]));
        self.device.check("uploading weights")
    }
}
