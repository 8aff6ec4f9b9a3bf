//! A run that asks the device for the time before and after each dispatch.

use super::device::{GpuDevice, MAPPED};
use super::plan::{Command, Group};
use crate::graph::{ExecError, Interrupt, OpTime};

/// Dispatches in a submit: few, since each has a pass of its own and long dispatches may not add up to seconds.
const IN_SUBMIT: usize = 64;
/// Bytes of a timestamp.
const STAMP: u64 = 8;

/// Whether the device tells the time.
pub fn has_timestamps(device: &GpuDevice) -> bool {
    device
        .device
        .features()
        .contains(wgpu::Features::TIMESTAMP_QUERY)
}

/// Runs dispatches, each in a pass of its own between two timestamps; adds the time of each kernel of each node to `times`. All are done
/// when it returns.
///
/// # Errors
/// If the run is stopped or the driver complains.
pub fn execute(
    device: &GpuDevice,
    commands: &[Command],
    state_groups: &[wgpu::BindGroup],
    interrupt: &mut dyn Interrupt,
    times: &mut Vec<OpTime>,
) -> Result<(), ExecError> {
    let queries = device.device.create_query_set(&wgpu::QuerySetDescriptor {
        label: Some("profile"),
        ty: wgpu::QueryType::Timestamp,
        count: 2 * IN_SUBMIT as u32,
    });
    let buffer = |usage| {
        device.note_made();
        device.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("profile"),
            size: 2 * IN_SUBMIT as u64 * STAMP,
            usage,
            mapped_at_creation: false,
        })
    };
    let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
    let readback = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    let period = f64::from(device.queue.get_timestamp_period()) * 1e-9;

    for commands in commands.chunks(IN_SUBMIT) {
        if interrupt.poll() {
            device.wait("stopping")?;
            return Err(ExecError::Interrupted);
        }
        let mut encoder = device
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (index, command) in commands.iter().enumerate() {
            let first = 2 * index as u32;
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &queries,
                    beginning_of_pass_write_index: Some(first),
                    end_of_pass_write_index: Some(first + 1),
                }),
            });
            let group = match &command.group {
                Group::Fixed(group) => Some(group),
                Group::States(index) => state_groups.get(*index),
            };
            pass.set_pipeline(&command.pipeline);
            pass.set_bind_group(0, group, &[]);
            let [x, y, z] = command.grid;
            pass.dispatch_workgroups(x, y, z);
        }
        let count = 2 * commands.len() as u32;
        encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
        encoder.copy_buffer_to_buffer(&resolved, 0, &readback, 0, u64::from(count) * STAMP);
        device.queue.submit([encoder.finish()]);
        let stamps = read(device, &readback, u64::from(count) * STAMP)?;
        for (command, pair) in commands.iter().zip(stamps.as_chunks::<2>().0) {
            let seconds = pair[1].saturating_sub(pair[0]) as f64 * period;
            let kernel = command.kernel.name();
            match times.last_mut() {
                Some(last) if last.node == command.node && last.kernel == kernel => {
                    last.seconds += seconds;
                }
                _ => times.push(OpTime {
                    node: command.node,
                    kernel,
                    seconds,
                }),
            }
        }
    }
    Ok(())
}

/// The timestamps in a buffer, which is ready to be copied to again afterwards.
fn read(device: &GpuDevice, buffer: &wgpu::Buffer, bytes: u64) -> Result<Vec<u64>, ExecError> {
    let failed = |message: String| ExecError::Backend {
        context: "reading timestamps".into(),
        message,
    };
    let (sender, receiver) = crossbeam_channel::bounded(1);
    buffer.map_async(wgpu::MapMode::Read, ..bytes, move |result| {
        // The receiver waits right below; it is only gone if this function has returned with an error.
        let _ = sender.send(result);
    });
    device.wait("reading timestamps")?;
    match receiver.recv_timeout(MAPPED) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed("the driver did not map the buffer".into())),
    }
    let stamps = {
        let view = buffer
            .get_mapped_range(..bytes)
            .map_err(|error| failed(error.to_string()))?;
        bytemuck::pod_collect_to_vec(&view)
    };
    buffer.unmap();
    Ok(stamps)
}
