//! Plans whose weights do not fit: the same bytes as without, within the budget, and the faults on the way.

use std::sync::Arc;

use super::*;
use crate::cpu::testing::{Random, worst_error};
use crate::formats::TensorData;
use crate::graph::{
    Activation, ExecError, Executor, Graph, GraphBuilder, HostTensor, Interrupt, MemoryUse,
    NeverInterrupt, PlanId, Run,
};

/// Layers of the network.
const LAYERS: usize = 6;
/// Width of a layer; its weight takes 576 KiB.
const WIDTH: usize = 384;

/// Layers with residuals; the first one's weight is also the last one's, as tables often are the heads of language models.
fn network(random: &mut Random, rows: usize) -> Graph {
    let g = GraphBuilder::new("network");
    let x = g.input("x", &[rows, WIDTH]).unwrap();
    let mut weight = |name: String| {
        let values: Vec<f32> = random
            .floats(WIDTH * WIDTH)
            .iter()
            .map(|value| value * 0.05)
            .collect();
        TensorData::from_f32(&name, &[WIDTH, WIDTH], &values).unwrap()
    };
    let weights: Vec<TensorData> = (0..LAYERS).map(|i| weight(format!("w{i}"))).collect();
    let mut h = x;
    for weight in weights.iter().chain(std::iter::once(&weights[0])) {
        let y = g.linear(&h, weight, None).unwrap();
        let y = g.activation(&y, Activation::Silu).unwrap();
        h = g.add(&h, &y).unwrap();
    }
    g.output("y", &h);
    g.finish()
}

fn open(budget: u64) -> GpuExecutor {
    let _turn = super::tests::gpu();
    GpuExecutor::open(AdapterChoice::Any, LimitPolicy::Defaults, Some(budget)).unwrap()
}

fn run(
    gpu: &mut GpuExecutor,
    plan: PlanId,
    x: &HostTensor,
    interrupt: &mut dyn Interrupt,
) -> Result<HostTensor, ExecError> {
    let run = Run {
        inputs: &[("x", x.clone())],
        states: &[],
        interrupt,
    };
    gpu.run(plan, run).map(|mut outputs| outputs.remove(0))
}

fn assert_within(memory: MemoryUse) {
    assert!(memory.peak <= memory.budget, "{memory:?}");
}

#[test]
fn a_model_larger_than_the_budget_gives_the_same_bytes() {
    let mut random = Random::fresh("a_model_larger_than_the_budget_gives_the_same_bytes");
    let graphs = [1usize, 40].map(|rows| Arc::new(network(&mut random, rows)));
    let inputs =
        [1usize, 40].map(|rows| HostTensor::f32([rows, WIDTH], random.floats(rows * WIDTH)));
    let mut roomy = open(1 << 28);
    let wanted: Vec<HostTensor> = graphs
        .iter()
        .zip(&inputs)
        .map(|(graph, x)| {
            let plan = roomy.prepare(Arc::clone(graph)).unwrap();
            run(&mut roomy, plan, x, &mut NeverInterrupt).unwrap()
        })
        .collect();
    let whole = roomy.memory();
    assert_eq!(whole.streamed, 0);
    // Weights take 3.4 MiB; from hardly more than a single slot to almost all.
    for budget in [1_600_000u64, 2_700_000, 3_500_000] {
        for (index, (graph, x)) in graphs.iter().zip(&inputs).enumerate() {
            let mut poor = open(budget);
            let refused = poor.prepare(Arc::clone(graph)).unwrap_err();
            assert!(
                matches!(refused, ExecError::OutOfMemory { .. }),
                "{refused}"
            );
            let plan = poor.prepare_streaming(Arc::clone(graph)).unwrap();
            let memory = poor.memory();
            assert!(memory.streamed > 0, "{memory:?}");
            for _ in 0..3 {
                let got = run(&mut poor, plan, x, &mut NeverInterrupt).unwrap();
                assert_eq!(got, wanted[index], "budget {budget}");
            }
            assert_within(poor.memory());
            poor.drop_plan(plan);
            let after = poor.memory();
            assert_eq!(
                (after.weights, after.activations, after.streamed),
                (0, 0, 0)
            );
        }
    }
}

/// Layers whose three products of one input are joined on a device.
fn joined_network(random: &mut Random, rows: usize) -> Graph {
    let g = GraphBuilder::new("joined network");
    let mut h = g.input("x", &[rows, WIDTH]).unwrap();
    let scale = TensorData::from_f32("scale", &[WIDTH], &random.floats(WIDTH)).unwrap();
    for layer in 0..4 {
        let normed = g.rms_norm(&h, &scale, 1e-5).unwrap();
        for part in ["q", "k", "v"] {
            let values = random.floats(WIDTH * WIDTH);
            let name = format!("{layer}.{part}");
            let w = TensorData::from_f32(&name, &[WIDTH, WIDTH], &values).unwrap();
            let y = g.linear(&normed, &w, None).unwrap();
            let y = g.rms_norm(&y, &scale, 1e-5).unwrap();
            h = g.add(&h, &y).unwrap();
        }
    }
    g.output("y", &h);
    g.finish()
}

#[test]
fn what_is_joined_gives_the_same_bytes_when_it_is_streamed() {
    let mut random = Random::fresh("what_is_joined_gives_the_same_bytes_when_it_is_streamed");
    for rows in [1usize, 2, 7, 40] {
        let graph = Arc::new(joined_network(&mut random, rows));
        let x = HostTensor::f32([rows, WIDTH], random.floats(rows * WIDTH));
        let weights = |gpu: &GpuExecutor, plan: PlanId| gpu.plans[&plan].graph.weights.len();
        let mut roomy = open(1 << 28);
        let plan = roomy.prepare(Arc::clone(&graph)).unwrap();
        // Three of each layer are one, and the scale that they share.
        assert_eq!((graph.weights.len(), weights(&roomy, plan)), (13, 5));
        let wanted = run(&mut roomy, plan, &x, &mut NeverInterrupt).unwrap();
        // A joined weight takes 1.7 MiB, all of them 6.8 MiB; what passes through a slot is there twice.
        for budget in [4_600_000u64, 5_900_000, 6_900_000] {
            let mut poor = open(budget);
            let plan = poor.prepare_streaming(Arc::clone(&graph)).unwrap();
            assert!(poor.memory().streamed > 0, "{:?}", poor.memory());
            assert_eq!(weights(&poor, plan), 5, "{rows} rows in {budget} bytes");
            for _ in 0..2 {
                let got = run(&mut poor, plan, &x, &mut NeverInterrupt).unwrap();
                assert_eq!(got, wanted, "{rows} rows in {budget} bytes");
            }
            assert_within(poor.memory());
        }
        // Not even one of the joined weights fits: each goes by itself, and what is added is the same but for its order.
        let mut poorest = open(2_400_000);
        let plan = poorest.prepare_streaming(Arc::clone(&graph)).unwrap();
        assert_eq!(weights(&poorest, plan), 13);
        let got = run(&mut poorest, plan, &x, &mut NeverInterrupt).unwrap();
        let error = worst_error(got.as_f32(), wanted.as_f32());
        assert!(error < 1e-4, "{rows} rows: {error}");
        assert_within(poorest.memory());
    }
}

#[test]
fn what_fits_is_not_streamed() {
    let mut random = Random::fresh("what_fits_is_not_streamed");
    let graph = Arc::new(network(&mut random, 2));
    let mut gpu = open(1 << 26);
    let plan = gpu.prepare_streaming(Arc::clone(&graph)).unwrap();
    assert_eq!(gpu.memory().streamed, 0);
    // The weights that are there already need no room: a second plan does not stream them either.
    let second = gpu.prepare_streaming(graph).unwrap();
    assert_eq!(gpu.memory().streamed, 0);
    gpu.drop_plan(plan);
    gpu.drop_plan(second);
}

#[test]
fn two_streaming_plans_share_a_ring_and_their_weights() {
    let mut random = Random::fresh("two_streaming_plans_share_a_ring_and_their_weights");
    let graph = Arc::new(network(&mut random, 1));
    let mut gpu = open(3_200_000);
    let first = gpu.prepare_streaming(Arc::clone(&graph)).unwrap();
    let one = gpu.memory();
    let second = gpu.prepare_streaming(graph).unwrap();
    let two = gpu.memory();
    assert_eq!(one.weights, two.weights);
    let x = HostTensor::f32([1, WIDTH], random.floats(WIDTH));
    let a = run(&mut gpu, first, &x, &mut NeverInterrupt).unwrap();
    let b = run(&mut gpu, second, &x, &mut NeverInterrupt).unwrap();
    assert_eq!(a, b);
    gpu.drop_plan(first);
    assert_eq!(run(&mut gpu, second, &x, &mut NeverInterrupt).unwrap(), a);
    assert_within(gpu.memory());
}

struct After(usize);

impl Interrupt for After {
    fn poll(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 == 0
    }
}

#[test]
fn a_streaming_run_can_be_stopped_anywhere_and_repeated() {
    let mut random = Random::fresh("a_streaming_run_can_be_stopped_anywhere_and_repeated");
    let graph = Arc::new(network(&mut random, 1));
    let mut gpu = open(2_700_000);
    let plan = gpu.prepare_streaming(graph).unwrap();
    let x = HostTensor::f32([1, WIDTH], random.floats(WIDTH));
    let wanted = run(&mut gpu, plan, &x, &mut NeverInterrupt).unwrap();
    let mut stops = 0;
    for polls in 1..100 {
        match run(&mut gpu, plan, &x, &mut After(polls)) {
            Err(ExecError::Interrupted) => stops += 1,
            Ok(got) => {
                assert_eq!(got, wanted);
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(
        stops >= 3,
        "a streaming run asks before each segment: {stops}"
    );
}

#[test]
fn a_streaming_run_tells_the_time_of_every_op() {
    let mut random = Random::fresh("a_streaming_run_tells_the_time_of_every_op");
    let graph = Arc::new(network(&mut random, 3));
    let _turn = super::tests::gpu();
    let limits = LimitPolicy::Adapter;
    let mut gpu = GpuExecutor::open(AdapterChoice::Any, limits, Some(2_700_000)).unwrap();
    let plan = gpu.prepare_streaming(Arc::clone(&graph)).unwrap();
    assert!(gpu.memory().streamed > 0);
    let x = HostTensor::f32([3, WIDTH], random.floats(3 * WIDTH));
    let wanted = run(&mut gpu, plan, &x, &mut NeverInterrupt).unwrap();
    let given = Run {
        inputs: &[("x", x)],
        states: &[],
        interrupt: &mut NeverInterrupt,
    };
    let (got, profile) = gpu.run_profiled(plan, given).unwrap();
    assert_eq!(got, [wanted]);
    let offered = gpu
        .device()
        .features
        .contains(wgpu::Features::TIMESTAMP_QUERY);
    assert_eq!(profile.is_some(), offered);
    if let Some(profile) = profile {
        let linear = profile.ops.iter().filter(|op| op.kernel.contains("mat"));
        assert_eq!(linear.count(), LAYERS + 1, "{:?}", profile.ops);
    }
}

#[test]
fn too_little_even_for_streaming_is_said_and_nothing_stays_taken() {
    let mut random = Random::fresh("too_little_even_for_streaming");
    let graph = Arc::new(network(&mut random, 1));
    let mut gpu = open(1 << 20);
    let error = gpu.prepare_streaming(graph).unwrap_err();
    assert!(matches!(error, ExecError::OutOfMemory { .. }), "{error}");
    let memory = gpu.memory();
    assert_eq!((memory.weights, memory.activations, memory.peak), (0, 0, 0));
}
