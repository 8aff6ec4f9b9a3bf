//! What a run is given. Inputs keep their place in memory for themselves (see [`super::layout`]), so that what is equal in all runs, such as a prompt's
//! embeddings or what a ControlNet makes of its picture in all steps of a picture, is sent once.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::device::GpuDevice;
use super::layout::Compiled;
use super::plan::Plan;
use crate::graph::{ExecError, Graph, HostData, Op, Run};

/// Bytes up to which an input is sent together with its neighbours: a copy here costs less than a copy of its own for the device, for which wgpu makes a
/// buffer each time.
const SMALL: usize = 16 << 10;

/// The data that lie in a plan's inputs, by node: known by where they are in host memory, which nobody can change or give to others as long as this
/// looks at them.
#[derive(Default)]
pub struct Sent {
    there: HashMap<usize, There>,
    /// The inputs, by the place at which they lie.
    order: Vec<usize>,
    /// Neighbours on their way, kept so that a run need not make it anew.
    packed: Vec<u8>,
}

impl Sent {
    /// Nothing is there yet.
    pub fn nothing(graph: &Graph, compiled: &Compiled) -> Self {
        let mut order: Vec<usize> = graph.inputs().map(|(_, id, _)| id.0).collect();
        order.sort_by_key(|node| {
            let spot = compiled.spots.get(node);
            spot.map(|spot| (spot.arena, spot.offset))
        });
        Self {
            there: HashMap::with_capacity(order.len()),
            order,
            packed: Vec::new(),
        }
    }

    /// What lies in an input comes from elsewhere.
    pub fn forget(&mut self, input: usize) {
        self.there.remove(&input);
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

/// Sends those of a run's inputs that are not there from the run before, small neighbours as one; gives their bytes.
///
/// # Errors
/// If the device is lost or the driver complains.
pub(super) fn send(device: &GpuDevice, plan: &mut Plan, run: &Run<'_>) -> Result<u64, ExecError> {
    let mut known = std::mem::take(&mut plan.sent);
    let Sent {
        there,
        order,
        packed,
    } = &mut known;
    packed.clear();
    let mut sent = 0;
    // Where in the arena what is packed begins.
    let mut begin = 0;
    for &node in order.iter() {
        let data = match plan.graph.nodes.get(node).map(|node| &node.op) {
            Some(Op::Input { name }) => run.inputs.iter().find(|(given, _)| given == name),
            _ => None,
        };
        let (Some((_, tensor)), Some((buffer, offset))) = (data, plan.place(node)) else {
            // It may have come from elsewhere.
            flush(device, plan, begin, packed);
            continue;
        };
        let data = &tensor.data;
        if there.get(&node).is_some_and(|there| there.is(data)) {
            flush(device, plan, begin, packed);
            continue;
        }
        let bytes: &[u8] = match data {
            HostData::F32(data) => bytemuck::cast_slice(data.as_slice()),
            HostData::U32(data) => bytemuck::cast_slice(data.as_slice()),
        };
        let alone = bytes.len() > SMALL || Some(buffer) != plan.input_arena();
        if alone {
            flush(device, plan, begin, packed);
            device.queue.write_buffer(buffer, offset, bytes);
        } else {
            if packed.is_empty() {
                begin = offset;
            }
            // Between neighbours is nothing but what aligns them.
            let gap = usize::try_from(offset.saturating_sub(begin)).unwrap_or(0);
            packed.resize(gap.max(packed.len()), 0);
            packed.extend_from_slice(bytes);
        }
        sent += bytes.len() as u64;
        there.insert(node, There::of(data));
    }
    flush(device, plan, begin, packed);
    let checked = device.check("writing inputs");
    if checked.is_err() {
        there.clear();
    }
    plan.sent = known;
    checked.map(|()| sent)
}

/// Sends what was packed to its place in the arena of inputs.
fn flush(device: &GpuDevice, plan: &Plan, begin: u64, packed: &mut Vec<u8>) {
    if let Some(buffer) = plan.input_arena().filter(|_| !packed.is_empty()) {
        device.queue.write_buffer(buffer, begin, packed);
    }
    packed.clear();
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

    #[test]
    fn small_neighbours_sent_as_one_do_not_touch_what_lies_between() {
        let _turn = crate::gpu::tests::gpu();
        let mut gpu =
            GpuExecutor::open(AdapterChoice::Any, LimitPolicy::Adapter, Some(1 << 28)).unwrap();
        // Inputs of odd sizes, one of them too large to be packed with others.
        let sizes = [1usize, 3, 7, 33, 63, 250, 5000, 2, 120];
        let names: Vec<String> = (0..sizes.len()).map(|index| format!("x{index}")).collect();
        let g = GraphBuilder::new("many inputs");
        for (name, &size) in names.iter().zip(&sizes) {
            let x = g.input(name, &[1, size]).unwrap();
            g.output(name, &g.affine(&x, 2.0, 1.0).unwrap());
        }
        let plan = gpu.prepare(Arc::new(g.finish())).unwrap();
        let mut random = Random::fresh("small_neighbours_sent_as_one");
        let mut given: Vec<HostTensor> = sizes
            .iter()
            .map(|&size| HostTensor::f32([1, size], random.floats(size)))
            .collect();
        for round in 0..40usize {
            // Other inputs change in each round; the rest stay where they are.
            for (index, tensor) in given.iter_mut().enumerate() {
                if round == 0 || ((round * 2_654_435_761usize) >> index) & 1 == 1 {
                    *tensor = HostTensor::f32([1, sizes[index]], random.floats(sizes[index]));
                }
            }
            let inputs: Vec<(&str, HostTensor)> = names
                .iter()
                .map(String::as_str)
                .zip(given.iter().cloned())
                .collect();
            let run = Run {
                inputs: &inputs,
                states: &[],
                interrupt: &mut NeverInterrupt,
            };
            let results = gpu.run(plan, run).unwrap();
            for ((result, given), name) in results.iter().zip(&given).zip(&names) {
                let wanted: Vec<f32> = given.as_f32().iter().map(|x| x * 2.0 + 1.0).collect();
                for (got, wanted) in result.as_f32().iter().zip(&wanted) {
                    assert!((got - wanted).abs() < 1e-5, "round {round}, {name}");
                }
            }
        }
    }
}
