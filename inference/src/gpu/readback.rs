//! The results of a run, copied to where the host can read them by the run's last submit.

use std::ops::RangeBounds;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::device::{GpuDevice, MAPPED};
use super::plan::Plan;
use crate::graph::{Dtype, ExecError, HostTensor};

/// Where the news arrives that a buffer can be read; kept with the buffer, so that a run makes none.
#[derive(Default)]
pub struct News {
    arrived: Mutex<Option<Result<(), wgpu::BufferAsyncError>>>,
    bell: Condvar,
}

impl News {
    /// Asks for bytes of a buffer once all that was submitted is done.
    pub(super) fn ask(self: &Arc<Self>, buffer: &wgpu::Buffer, bytes: impl RangeBounds<u64>) {
        *self.arrived.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let news = Arc::clone(self);
        buffer.map_async(wgpu::MapMode::Read, bytes, move |result| {
            *news.arrived.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            news.bell.notify_all();
        });
    }

    /// What became of it. The device is done; but another thread that waits for it may be the one that is told.
    fn wait(&self) -> Result<(), String> {
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .bell
            .wait_timeout_while(arrived, MAPPED, |arrived| arrived.is_none());
        let (mut arrived, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match arrived.take() {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the driver did not map the buffer".into()),
        }
    }

    /// What became of it, where the device may still be at other work: it is asked again and again.
    ///
    /// # Errors
    /// If the device is lost or the driver complains.
    pub(super) fn wait_polling(&self, device: &GpuDevice, context: &str) -> Result<(), ExecError> {
        let failed = |message: String| ExecError::Backend {
            context: context.to_owned(),
            message,
        };
        let since = Instant::now();
        loop {
            let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
            let waited =
                (self.bell)
                    .wait_timeout_while(arrived, Duration::from_millis(1), |news| news.is_none());
            match waited.unwrap_or_else(PoisonError::into_inner).0.take() {
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) => return Err(failed(error.to_string())),
                None if since.elapsed() > MAPPED => {
                    return Err(failed("the driver did not map the buffer".into()));
                }
                None => {}
            }
            let polled = device.device.poll(wgpu::PollType::Poll);
            device.check(context)?;
            polled.map_err(|error| failed(error.to_string()))?;
        }
    }
}

/// Copies the results of a plan to where they are read; to be encoded after its last dispatch.
pub(super) fn copy_results(plan: &Plan, encoder: &mut wgpu::CommandEncoder) {
    let (readback, offsets) = plan.readback();
    let graph = &plan.graph;
    for ((_, output), &offset) in graph.outputs.iter().zip(offsets) {
        let bytes = graph.node(*output).elements() as u64 * 4;
        if let Some((buffer, from)) = plan.place(graph.storage_of(*output).0) {
            encoder.copy_buffer_to_buffer(buffer, from, readback, offset, bytes);
        }
    }
}

/// [`copy_results`] as a submit of its own.
pub(super) fn submit_copies(device: &GpuDevice, plan: &Plan) -> wgpu::SubmissionIndex {
    let mut encoder = device
        .device
        .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    copy_results(plan, &mut encoder);
    device.queue.submit([encoder.finish()])
}

/// Asks for the results, whose copies are submitted. Not inlined, so that what wgpu allocates for it is known as that.
#[inline(never)]
pub(super) fn ask_for_results(plan: &Plan) {
    if !plan.graph.outputs.is_empty() {
        plan.news.ask(plan.readback().0, ..);
    }
}

/// The results that were asked for. Waits for the submit that copied them, or, where it is not known, for all.
///
/// # Errors
/// If the device is lost or the driver complains.
pub(super) fn read_results(
    device: &GpuDevice,
    plan: &Plan,
    copied: Option<wgpu::SubmissionIndex>,
) -> Result<Vec<HostTensor>, ExecError> {
    let (readback, offsets) = plan.readback();
    let graph = &plan.graph;
    if graph.outputs.is_empty() {
        device.wait("running")?;
        return Ok(Vec::new());
    }
    let failed = |message: String| ExecError::Backend {
        context: "reading results".into(),
        message,
    };
    match copied {
        Some(copied) => device.wait_for(copied, "reading results")?,
        None => device.wait("reading results")?,
    }
    plan.news.wait().map_err(failed)?;
    let results = {
        let view = readback
            .get_mapped_range(..)
            .map_err(|error| failed(error.to_string()))?;
        let tensor = |(output, &offset): (&(String, crate::graph::ValueId), &u64)| {
            let node = graph.node(output.1);
            let start = offset as usize;
            let bytes = &view[start..start + node.elements() * 4];
            match node.dtype {
                Dtype::F32 => {
                    HostTensor::f32(node.shape.clone(), bytemuck::pod_collect_to_vec(bytes))
                }
                Dtype::U32 => {
                    HostTensor::u32(node.shape.clone(), bytemuck::pod_collect_to_vec(bytes))
                }
            }
        };
        graph.outputs.iter().zip(offsets).map(tensor).collect()
    };
    readback.unmap();
    Ok(results)
}
