//! What a run is given. Inputs keep their place in memory for themselves (see [`super::layout`]), so that what is equal in all runs, such as a prompt's
//! embeddings or what a ControlNet makes of its picture in all steps of a picture, is sent once.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::device::GpuDevice;
use super::plan::Plan;
use crate::graph::{ExecError, HostData, Run};

/// The data that lie in a plan's inputs, by node: known by where they are in host memory, which nobody can change or give to others as long as this
/// looks at them.
#[derive(Default)]
pub struct Sent(HashMap<usize, There>);

impl Sent {
    /// What lies in an input comes from elsewhere.
    pub fn forget(&mut self, input: usize) {
        self.0.remove(&input);
    }
}

enum There {
    F32(Weak<Vec<f32>>),
    U32(Weak<Vec<u32>>),
}

impl There {
    fn of(data: &HostData) -> Self {
        match data {
            HostData::F32(data) => Self::F32(Arc::downgrade(data)),
            HostData::U32(data) => Self::U32(Arc::downgrade(data)),
        }
    }

    fn is(&self, data: &HostData) -> bool {
        match (self, data) {
            (Self::F32(there), HostData::F32(data)) => there.as_ptr() == Arc::as_ptr(data),
            (Self::U32(there), HostData::U32(data)) => there.as_ptr() == Arc::as_ptr(data),
            _ => false,
        }
    }
}

/// Sends those of a run's inputs that are not there from the run before; gives their bytes.
///
/// # Errors
/// If the device is lost or the driver complains.
pub(super) fn send(device: &GpuDevice, plan: &mut Plan, run: &Run<'_>) -> Result<u64, ExecError> {
    let mut known = std::mem::take(&mut plan.sent);
    let mut sent = 0;
    for (name, id, _) in plan.graph.inputs() {
        let Some((_, tensor)) = run.inputs.iter().find(|(given, _)| *given == name) else {
            continue;
        };
        let Some((buffer, offset)) = plan.place(id.0) else {
            continue;
        };
        if known
            .0
            .get(&id.0)
            .is_some_and(|there| there.is(&tensor.data))
        {
            continue;
        }
        let bytes: &[u8] = match &tensor.data {
            HostData::F32(data) => bytemuck::cast_slice(data.as_slice()),
            HostData::U32(data) => bytemuck::cast_slice(data.as_slice()),
        };
        device.queue.write_buffer(buffer, offset, bytes);
        sent += bytes.len() as u64;
        known.0.insert(id.0, There::of(&tensor.data));
    }
    device.check("writing inputs")?;
    plan.sent = known;
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::cpu::testing::Random;
    use crate::gpu::{AdapterChoice, GpuExecutor, LimitPolicy};
    use crate::graph::{Activation, Executor, GraphBuilder, HostTensor, NeverInterrupt, Run};

    #[test]
    fn what_does_not_change_is_sent_once() {
        let _turn = crate::gpu::tests::gpu();
        let mut gpu =
            GpuExecutor::open(AdapterChoice::Any, LimitPolicy::Adapter, Some(1 << 28)).unwrap();
        // Many values of one size, of which most could lie where the inputs do once these are read.
        let g = GraphBuilder::new("sums");
        let (a, b) = (
            g.input("a", &[4, 64]).unwrap(),
            g.input("b", &[4, 64]).unwrap(),
        );
        let mut y = g.add(&a, &b).unwrap();
        for _ in 0..6 {
            y = g.activation(&y, Activation::Silu).unwrap();
            y = g
                .add(&y, &g.activation(&y, Activation::Gelu).unwrap())
                .unwrap();
        }
        g.output("y", &y);
        let plan = gpu.prepare(Arc::new(g.finish())).unwrap();
        let mut random = Random::fresh("what_does_not_change_is_sent_once");
        let mut floats = || HostTensor::f32([4, 64], random.floats(256));
        let (kept, one, two) = (floats(), floats(), floats());
        let mut run = |a: &HostTensor, b: &HostTensor| {
            let before = gpu.host_time().unwrap().bytes_sent;
            let run = Run {
                inputs: &[("a", a.clone()), ("b", b.clone())],
                states: &[],
                interrupt: &mut NeverInterrupt,
            };
            let y = gpu.run(plan, run).unwrap().remove(0);
            (y, gpu.host_time().unwrap().bytes_sent - before)
        };
        let (first, sent) = run(&kept, &one);
        assert_eq!(sent, 2048);
        let (second, sent) = run(&kept, &two);
        assert_eq!(sent, 1024);
        assert_ne!(first, second);
        let (again, sent) = run(&kept, &one);
        assert_eq!((again, sent), (first.clone(), 1024));
        // Equal values in other memory are others, and so is what was changed.
        let copy = HostTensor::f32([4, 64], kept.as_f32().to_vec());
        assert_eq!(run(&copy, &one), (first, 1024));
        drop(copy);
        let mut changed = kept.clone();
        if let crate::graph::HostData::F32(values) = &mut changed.data {
            Arc::make_mut(values)[7] += 1.0;
        }
        let (third, sent) = run(&changed, &one);
        assert_eq!(sent, 1024);
        let fresh = HostTensor::f32([4, 64], changed.as_f32().to_vec());
        assert_eq!(run(&fresh, &one), (third, 1024));
    }
}
