//! KV caches on the device: for every layer a buffer of keys and one of values.

use super::device::GpuDevice;
use super::memory::{Memory, Purpose, Tracked};
use crate::graph::{ExecError, KV_PAGE, KvShape};

/// One cache.
pub struct KvBuffers {
    /// Its size.
    pub shape: KvShape,
    /// Keys by layer, `[slots, slot_words]`; see [`KvShape::head_words`].
    pub keys: Vec<Tracked>,
    /// Values by layer, laid out as the keys.
    pub values: Vec<Tracked>,
    /// A page on its way: a buffer cannot be copied to itself.
    page: Tracked,
}

impl KvBuffers {
    /// A zeroed cache.
    ///
    /// # Errors
    /// If memory runs out, or one layer exceeds a binding of the device.
    pub fn new(device: &GpuDevice, memory: &Memory, shape: KvShape) -> Result<Self, ExecError> {
        let bytes = (shape.layer_words() as u64).saturating_mul(4);
        let limit = device.limits.max_storage_buffer_binding_size;
        if bytes > limit {
            return Err(ExecError::Unsupported {
                executor: "gpu",
                label: "KV cache".into(),
                detail: format!(
                    "{} positions: {} MiB a layer, and this device binds {} MiB at most; use a shorter context",
                    shape.slots(),
                    bytes >> 20,
                    limit >> 20
                ),
            });
        }
        let total = shape.bytes();
        if total > memory.available() {
            return Err(memory.out_of_memory("the KV cache", total));
        }
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        let layer = |kind: &str, layer: usize, bytes| {
            memory.allocate(&format!("kv {kind} {layer}"), bytes, usage, Purpose::States)
        };
        let keys = (0..shape.layers)
            .map(|index| layer("keys", index, bytes))
            .collect::<Result<_, _>>()?;
        let values = (0..shape.layers)
            .map(|index| layer("values", index, bytes))
            .collect::<Result<_, _>>()?;
        let page = layer("page", 0, Self::page_bytes(&shape))?;
        Ok(Self {
            shape,
            keys,
            values,
            page,
        })
    }

    fn page_bytes(shape: &KvShape) -> u64 {
        (KV_PAGE * shape.slot_words()) as u64 * 4
    }

    /// Copies one page of all layers.
    ///
    /// # Errors
    /// If a page does not exist, or the driver complains.
    pub fn copy_page(&self, device: &GpuDevice, from: u32, to: u32) -> Result<(), ExecError> {
        if let Some(page) = [from, to]
            .into_iter()
            .find(|page| *page as usize >= self.shape.pages)
        {
            return Err(ExecError::Unknown {
                what: "page",
                id: page.into(),
            });
        }
        let bytes = Self::page_bytes(&self.shape);
        let mut encoder = device
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for buffer in self.keys.iter().chain(&self.values) {
            let page = self.page.buffer();
            encoder.copy_buffer_to_buffer(buffer.buffer(), u64::from(from) * bytes, page, 0, bytes);
            encoder.copy_buffer_to_buffer(page, 0, buffer.buffer(), u64::from(to) * bytes, bytes);
        }
        device.queue.submit([encoder.finish()]);
        device.check("copying a page of the KV cache")
    }
}
