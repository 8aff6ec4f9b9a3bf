//! Reading what a run has left on the device.

use super::device::GpuDevice;
use super::plan::Plan;
use crate::graph::{ExecError, kept_row};

/// One row of a result that stays on the device.
///
/// # Errors
/// If there is no such row, the plan has not been run, or from the driver.
pub(super) fn read_kept(
    device: &GpuDevice,
    plan: &Plan,
    index: usize,
    row: usize,
) -> Result<Vec<f32>, ExecError> {
    let (id, width) = kept_row(&plan.graph, index, row)?;
    let place = plan.place(plan.graph.storage_of(id).0);
    let (Some((buffer, base)), true) = (place, plan.done.get()) else {
        return Err(ExecError::Unknown {
            what: "result of a run",
            id: index as u64,
        });
    };
    let (readback, _) = plan.readback();
    let bytes = width as u64 * 4;
    let mut encoder = device
        .device
        .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encoder.copy_buffer_to_buffer(buffer, base + row as u64 * bytes, readback, 0, bytes);
    device.queue.submit([encoder.finish()]);
    let failed = |message: String| ExecError::Backend {
        context: "reading a result".into(),
        message,
    };
    let (sender, receiver) = crossbeam_channel::bounded(1);
    readback.map_async(wgpu::MapMode::Read, ..bytes, move |result| {
        // The receiver waits right below; it is only gone if this function has returned with an error.
        let _ = sender.send(result);
    });
    device.wait("reading a result")?;
    match receiver.try_recv() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed("the driver did not map the buffer".into())),
    }
    let values = {
        let view = readback
            .get_mapped_range(..bytes)
            .map_err(|error| failed(error.to_string()))?;
        bytemuck::pod_collect_to_vec(&view)
    };
    readback.unmap();
    Ok(values)
}
