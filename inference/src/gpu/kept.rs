//! Reading what a run has left on the device.

use super::device::{GpuDevice, MAPPED};
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
    match receiver.recv_timeout(MAPPED) {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::cpu::testing::Random;
    use crate::formats::StorageDtype;
    use crate::gpu::{AdapterChoice, GpuExecutor, LimitPolicy};
    use crate::graph::{Activation, Executor, GraphBuilder, HostTensor, NeverInterrupt, Run};
    use crate::synthesize::random_tensor;

    #[test]
    fn what_stays_is_not_overwritten_by_what_comes_after_it() {
        let _turn = crate::gpu::tests::gpu();
        let mut gpu =
            GpuExecutor::open(AdapterChoice::Any, LimitPolicy::Adapter, Some(1 << 28)).unwrap();
        let g = GraphBuilder::new("kept early");
        let x = g.input("x", &[8, 64]).unwrap();
        let early = g.affine(&x, 2.0, 1.0).unwrap();
        g.keep("early", &early);
        // Many values of its size, any of which could lie where it did.
        let w = random_tensor("w", &[64, 64], StorageDtype::F32, 1).unwrap();
        let mut y = g.linear(&early, &w, None).unwrap();
        for _ in 0..6 {
            let hidden = g.linear(&y, &w, None).unwrap();
            y = g.activation(&hidden, Activation::Silu).unwrap();
        }
        g.output("y", &y);
        let plan = gpu.prepare(Arc::new(g.finish())).unwrap();
        let values = Random::fresh("what_stays_is_not_overwritten").floats(512);
        let run = Run {
            inputs: &[("x", HostTensor::f32([8, 64], values.clone()))],
            states: &[],
            interrupt: &mut NeverInterrupt,
        };
        gpu.run(plan, run).unwrap();
        for (row, values) in values.chunks(64).enumerate() {
            let wanted: Vec<f32> = values.iter().map(|value| value * 2.0 + 1.0).collect();
            let kept = gpu.read_kept(plan, 0, row).unwrap();
            for (kept, wanted) in kept.iter().zip(&wanted) {
                assert!((kept - wanted).abs() < 1e-5, "row {row}: {kept} {wanted}");
            }
        }
    }
}
