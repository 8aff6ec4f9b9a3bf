use std::sync::Arc;

use super::super::testing::After;
use super::*;
use crate::graph::{
    Activation, Conv2dSpec, ExecError, Interrupt, KvShape, KvType, NeverInterrupt, PlanId, Run,
};

/// A few layers with residual connections, views and values of different sizes.
fn network(random: &mut Random, shared: &TensorData) -> Graph {
    let g = GraphBuilder::new("network");
    let x = g.input("x", &[2, 16, 24, 24]).unwrap();
    let conv = random_weight(random, "conv", &[32, 16, 3, 3]);
    let norm = [
        random_weight(random, "gain", &[32]),
        random_weight(random, "offset", &[32]),
    ];
    let h = g.conv2d(&x, &conv, None, Conv2dSpec::same(3)).unwrap();
    let n = g.group_norm(&h, &norm[0], &norm[1], 8, 1e-5, true).unwrap();
    let s = g.reshape(&n, &[2, 32, 576]).unwrap();
    let s = g.permute(&s, &[0, 2, 1]).unwrap();
    let q = g.linear(&s, shared, None).unwrap();
    let a = g.attention([&q, &q, &s], 4, 4, 0.35, false).unwrap();
    let s = g.add(&s, &a).unwrap();
    let s = g.activation(&s, Activation::Gelu).unwrap();
    let y = g.linear(&s, shared, None).unwrap();
    g.output("y", &y);
    g.finish()
}

fn inputs(random: &mut Random) -> [(&'static str, HostTensor); 1] {
    [(
        "x",
        HostTensor::f32([2, 16, 24, 24], random.floats(2 * 16 * 24 * 24)),
    )]
}

fn run(
    executor: &mut CpuExecutor,
    plan: PlanId,
    inputs: &[(&str, HostTensor)],
    interrupt: &mut dyn Interrupt,
) -> Result<Vec<HostTensor>, ExecError> {
    executor.run(
        plan,
        Run {
            inputs,
            states: &[],
            interrupt,
        },
    )
}

#[test]
fn weights_are_shared_by_plans_and_given_back() {
    let mut random = Random::fresh("weights_are_shared_by_plans_and_given_back");
    let shared = half_weight(
        &random_weight(&mut random, "shared", &[32, 32]),
        StorageDtype::F16,
    );
    // As floats beside the halves that they are made of, which lie in no file here; or these alone.
    for (mode, each) in [(CpuMode::Oracle, 4 + 2), (CpuMode::Fast, 2)] {
        let mut executor = CpuExecutor::new(mode);
        let (first, second) = (
            Arc::new(network(&mut random, &shared)),
            Arc::new(network(&mut random, &shared)),
        );
        let own = 4 * (32 * 16 * 9 + 64);
        let both = 32 * 32 * each;
        let forecast = executor.forecast(&first);
        assert_eq!(
            (forecast.new_weights, forecast.shared_weights),
            (own + both, 0)
        );
        let a = executor.prepare(Arc::clone(&first)).unwrap();
        assert_eq!(executor.memory().weights, own + both);
        let forecast = executor.forecast(&second);
        assert_eq!((forecast.new_weights, forecast.shared_weights), (own, both));
        let b = executor.prepare(second).unwrap();
        assert_eq!(executor.memory().weights, 2 * own + both);
        executor.drop_plan(a);
        assert_eq!(executor.memory().weights, own + both);
        run(&mut executor, b, &inputs(&mut random), &mut NeverInterrupt).unwrap();
        executor.drop_plan(b);
        executor.drop_plan(b);
        assert_eq!(executor.memory().weights, 0);
        assert!(matches!(
            run(&mut executor, a, &inputs(&mut random), &mut NeverInterrupt),
            Err(ExecError::Unknown { what: "plan", .. })
        ));
        assert!(executor.memory().peak > 2 * own + both);
    }
}

#[test]
fn what_is_forecast_is_what_is_used() {
    let mut random = Random::fresh("what_is_forecast_is_what_is_used");
    let shared = random_weight(&mut random, "shared", &[32, 32]);
    let mut executor = CpuExecutor::new(CpuMode::Fast);
    let graph = Arc::new(network(&mut random, &shared));
    let forecast = executor.forecast(&graph);
    // Values of 2 x 32 x 24 x 24 floats (147 KB): with s, q and the attention's result, three live at the highest point, and the
    // threads' tiles of attention or convolution; the input is half of one.
    let value = 4 * 2 * 32 * 24 * 24;
    assert!(
        forecast.activations >= 3 * value + value / 2,
        "{forecast:?}"
    );
    let tiles = forecast.activations - 3 * value - value / 2;
    assert!(
        tiles < 1_000_000 * rayon::current_num_threads() as u64 + value,
        "{forecast:?}"
    );
    let plan = executor.prepare(graph).unwrap();
    run(
        &mut executor,
        plan,
        &inputs(&mut random),
        &mut NeverInterrupt,
    )
    .unwrap();
    let memory = executor.memory();
    assert_eq!(memory.activations, forecast.activations);
    assert_eq!(memory.peak, forecast.new_weights + forecast.activations);
}

#[test]
fn too_little_memory_is_said_before_anything_is_taken() {
    let mut random = Random::fresh("too_little_memory_is_said_before_anything_is_taken");
    let shared = random_weight(&mut random, "shared", &[32, 32]);
    let graph = Arc::new(network(&mut random, &shared));
    let forecast = CpuExecutor::new(CpuMode::Fast).forecast(&graph);
    let needed = forecast.new_weights + forecast.activations;
    let mut executor = CpuExecutor::with_budget(CpuMode::Fast, Some(needed - 1));
    let error = executor.prepare(Arc::clone(&graph)).unwrap_err();
    assert!(
        matches!(&error, ExecError::OutOfMemory { what, .. } if what == "network"),
        "{error}"
    );
    assert_eq!(executor.memory().weights, 0);

    let mut executor = CpuExecutor::with_budget(CpuMode::Fast, Some(needed));
    let plan = executor.prepare(graph).unwrap();
    run(
        &mut executor,
        plan,
        &inputs(&mut random),
        &mut NeverInterrupt,
    )
    .unwrap();
    let shape = KvShape {
        layers: 1000,
        kv_heads: 8,
        head_dim: 64,
        pages: 1,
        kv_type: KvType::F32,
    };
    assert!(matches!(
        executor.create_kv(shape),
        Err(ExecError::OutOfMemory { .. })
    ));
    let small = KvShape {
        layers: 1,
        kv_heads: 1,
        head_dim: 1,
        pages: 1,
        kv_type: KvType::F32,
    };
    let state = executor.create_kv(small).unwrap();
    assert_eq!(executor.memory().states, small.bytes());
    // The cache took what the activations would need.
    assert!(matches!(
        run(
            &mut executor,
            plan,
            &inputs(&mut random),
            &mut NeverInterrupt
        ),
        Err(ExecError::OutOfMemory { .. })
    ));
    executor.drop_state(state);
    assert_eq!(executor.memory().states, 0);
    run(
        &mut executor,
        plan,
        &inputs(&mut random),
        &mut NeverInterrupt,
    )
    .unwrap();
}

#[test]
fn equal_runs_give_equal_bytes() {
    let mut random = Random::fresh("equal_runs_give_equal_bytes");
    let shared = random_weight(&mut random, "shared", &[32, 32]);
    let mut executor = CpuExecutor::new(CpuMode::Fast);
    let plan = executor
        .prepare(Arc::new(network(&mut random, &shared)))
        .unwrap();
    let inputs = inputs(&mut random);
    let first = run(&mut executor, plan, &inputs, &mut NeverInterrupt).unwrap();
    for _ in 0..5 {
        assert_eq!(
            run(&mut executor, plan, &inputs, &mut NeverInterrupt).unwrap(),
            first
        );
    }
}

#[test]
fn a_run_can_be_stopped_between_ops_and_within_long_ones() {
    let mut random = Random::fresh("a_run_can_be_stopped_between_ops_and_within_long_ones");
    let shared = random_weight(&mut random, "shared", &[32, 32]);
    let graph = Arc::new(network(&mut random, &shared));
    let mut executor = CpuExecutor::new(CpuMode::Fast);
    let plan = executor.prepare(Arc::clone(&graph)).unwrap();
    let given = inputs(&mut random);
    for polls in 1..=graph.nodes.len() {
        assert!(matches!(
            run(&mut executor, plan, &given, &mut After(polls)),
            Err(ExecError::Interrupted)
        ));
    }
    run(&mut executor, plan, &given, &mut NeverInterrupt).unwrap();

    // One op of 69 billion operations: a poll well after its start and well before its end is heard.
    let g = GraphBuilder::new("long");
    let x = g.input("x", &[1, 4096, 512]).unwrap();
    let y = g.attention([&x, &x, &x], 1, 1, 1.0, false).unwrap();
    g.output("y", &y);
    let plan = executor.prepare(Arc::new(g.finish())).unwrap();
    let given = [("x", HostTensor::f32([1, 4096, 512], vec![0.0; 4096 * 512]))];
    let mut interrupt = After(5);
    assert!(matches!(
        run(&mut executor, plan, &given, &mut interrupt),
        Err(ExecError::Interrupted)
    ));
    assert_eq!(interrupt.0, 0);
}
