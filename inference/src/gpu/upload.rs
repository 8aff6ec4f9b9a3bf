//! Weights on the device: packed once, shared by all plans that use them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::device::GpuDevice;
use super::kernels::PackedLayout;
use super::memory::{Memory, Purpose, Tracked};
use crate::formats::{TensorData, TensorKey};
use crate::graph::{ExecError, Interrupt};

/// Bytes that may wait for the queue before they are pushed on: uploads are copied once more on their way.
const IN_FLIGHT: u64 = 64 << 20;

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

    /// Uploads those weights that are not there, and gives all of them.
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
        let mut packed = Vec::new();
        let mut in_flight = 0;
        let mut uploaded = Vec::with_capacity(weights.len());
        for (weight, layout) in weights {
            let key = weight.key();
            if let Some(there) = self.known.get(&key).and_then(Weak::upgrade) {
                uploaded.push(there);
                continue;
            }
            let mut shards = Vec::with_capacity(layout.shards.len());
            for shard in 0..layout.shards.len() {
                if interrupt.poll() {
                    return Err(ExecError::Interrupted);
                }
                let buffer = memory.allocate(
                    weight.name(),
                    layout.shard_bytes(shard),
                    usage,
                    Purpose::Weights,
                )?;
                layout.pack_shard(weight, shard, &mut packed)?;
                device.queue.write_buffer(buffer.buffer(), 0, &packed);
                in_flight += packed.len() as u64;
                if in_flight > IN_FLIGHT {
                    device.queue.submit([]);
                    device.wait("uploading weights")?;
                    in_flight = 0;
                }
                shards.push(buffer);
            }
            let there = Arc::new(WeightBuffers { shards });
            self.known.insert(key, Arc::downgrade(&there));
            uploaded.push(there);
        }
        device.check("uploading weights")?;
        Ok(uploaded)
    }
}
