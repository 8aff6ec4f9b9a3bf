//! The runtime against the CPU oracle: whole graphs, memory, limits, faults. Single kernels have tests of their own.
//!
//! They need an adapter of any kind and fail without one.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::kernels::KernelLimits;
use super::*;
use crate::cpu::testing::{Random, run_once, worst_error};
use crate::cpu::{CpuExecutor, CpuMode};
use crate::formats::TensorData;
use crate::graph::{
    Activation, Conv2dSpec, ExecError, Executor, Graph, GraphBuilder, HostTensor, Interrupt,
    KV_PAGE, KvShape, KvType, NO_SLOT, NeverInterrupt, PagedAttentionSpec, RopeStyle, Run,
};

/// One device for all tests: software drivers do not like many at once.
pub(super) fn gpu() -> MutexGuard<'static, GpuExecutor> {
    static GPU: OnceLock<Mutex<GpuExecutor>> = OnceLock::new();
    GPU.get_or_init(|| {
        Mutex::new(
            GpuExecutor::open(AdapterChoice::Any, LimitPolicy::Defaults, Some(1 << 30))
                .expect("these tests need a Vulkan adapter; install mesa-vulkan-drivers"),
        )
    })
    .lock()
    .unwrap_or_else(PoisonError::into_inner)
}

fn weight(random: &mut Random, name: &str, shape: &[usize]) -> TensorData {
    let count = shape.iter().product();
    let scale = (shape.iter().skip(1).product::<usize>().max(1) as f32)
        .sqrt()
        .recip();
    let values: Vec<f32> = random
        .floats(count)
        .iter()
        .map(|value| value * scale)
        .collect();
    TensorData::from_f32(name, shape, &values).unwrap()
}

/// A small network of convolutions, norms, attention and residuals, with views, branches and two outputs.
fn picture_graph(random: &mut Random, [c, h, w]: [usize; 3]) -> Graph {
    let g = GraphBuilder::new("picture");
    let x = g.input("x", &[2, c, h, w]).unwrap();
    let bias = weight(random, "in.bias", &[16]);
    let first = g
        .conv2d(
            &x,
            &weight(random, "in", &[16, c, 3, 3]),
            Some(&bias),
            Conv2dSpec::same(3),
        )
        .unwrap();
    let [gain, offset] = ["gain", "offset"].map(|name| weight(random, name, &[16]));
    let normed = g.group_norm(&first, &gain, &offset, 4, 1e-5, true).unwrap();
    let second = g
        .conv2d(
            &normed,
            &weight(random, "mid", &[16, 16, 3, 3]),
            None,
            Conv2dSpec::new(2, 1),
        )
        .unwrap();
    let (h2, w2) = (second.dim(2), second.dim(3));
    let rows = g.reshape(&second, &[2, 16, h2 * w2]).unwrap();
    let rows = g.permute(&rows, &[0, 2, 1]).unwrap();
    let normed = g.layer_norm(&rows, &gain, Some(&offset), 1e-5).unwrap();
    let q = g
        .linear(&normed, &weight(random, "q", &[16, 16]), None)
        .unwrap();
    let k = g
        .linear(&normed, &weight(random, "k", &[16, 16]), None)
        .unwrap();
    let v = g
        .linear(&normed, &weight(random, "v", &[16, 16]), None)
        .unwrap();
    let attended = g.attention([&q, &k, &v], 2, 2, 0.35, false).unwrap();
    let wide = g
        .linear(&attended, &weight(random, "wide", &[32, 16]), None)
        .unwrap();
    let gated = g.split_gated(&wide, Activation::Gelu).unwrap();
    let rows = g.add(&rows, &gated).unwrap();
    let back = g.permute(&rows, &[0, 2, 1]).unwrap();
    let back = g.reshape(&back, &[2, 16, h2, w2]).unwrap();
    let up = g.upsample_nearest(&back, h, w).unwrap();
    let joined = g.concat(&[&up, &first], 1).unwrap();
    let out = g
        .conv2d(
            &joined,
            &weight(random, "out", &[c, 32, 1, 1]),
            None,
            Conv2dSpec::same(1),
        )
        .unwrap();
    g.output("small", &back);
    g.output("picture", &out);
    g.finish()
}

#[test]
fn whole_graphs_equal_the_oracle() {
    let mut random = Random::fresh("whole_graphs_equal_the_oracle");
    let mut cpu = CpuExecutor::new(CpuMode::Oracle);
    let mut gpu = gpu();
    for shape in [[3, 8, 8], [5, 7, 11], [1, 1, 3]] {
        let graph = picture_graph(&mut random, shape);
        let [c, h, w] = shape;
        let x = HostTensor::f32([2, c, h, w], random.floats(2 * c * h * w));
        let wanted = run_once(&mut cpu, graph.clone(), &[("x", x.clone())]).unwrap();
        let got = run_once(&mut *gpu, graph, &[("x", x)]).unwrap();
        assert_eq!(got.len(), 2);
        for (got, wanted) in got.iter().zip(&wanted) {
            assert_eq!(got.shape, wanted.shape);
            let error = worst_error(got.as_f32(), wanted.as_f32());
            assert!(error < 1e-4, "{shape:?}: {error}");
        }
    }
}

#[test]
fn the_forecast_is_what_is_used_and_all_is_given_back() {
    let mut random = Random::fresh("the_forecast_is_what_is_used_and_all_is_given_back");
    let mut gpu = gpu();
    let graph = Arc::new(picture_graph(&mut random, [4, 16, 16]));
    let before = gpu.memory();
    let forecast = gpu.forecast(&graph);
    let plan = gpu.prepare(Arc::clone(&graph)).unwrap();
    let used = gpu.memory();
    assert_eq!(used.weights - before.weights, forecast.new_weights);
    assert_eq!(used.activations - before.activations, forecast.activations);
    // A second plan of the same weights shares them.
    let again = gpu.forecast(&graph);
    assert_eq!(
        (again.new_weights, again.shared_weights),
        (0, forecast.new_weights)
    );
    let second = gpu.prepare(graph).unwrap();
    assert_eq!(gpu.memory().weights, used.weights);
    gpu.drop_plan(plan);
    assert_eq!(gpu.memory().weights, used.weights);
    gpu.drop_plan(second);
    let after = gpu.memory();
    assert_eq!(
        (after.weights, after.activations),
        (before.weights, before.activations)
    );
}

#[test]
fn small_bindings_give_the_same_numbers() {
    let mut random = Random::fresh("small_bindings_give_the_same_numbers");
    let device = Arc::clone(gpu().device());
    let limits = KernelLimits {
        max_storage_binding: 16 << 10,
        max_workgroups: 32,
        ..KernelLimits::default()
    };
    let mut small = GpuExecutor::on(device, Some(1 << 30)).with_kernel_limits(limits);
    let mut cpu = CpuExecutor::new(CpuMode::Oracle);
    let graph = picture_graph(&mut random, [3, 24, 20]);
    let x = HostTensor::f32([2, 3, 24, 20], random.floats(2 * 3 * 24 * 20));
    let wanted = run_once(&mut cpu, graph.clone(), &[("x", x.clone())]).unwrap();
    let got = run_once(&mut small, graph, &[("x", x)]).unwrap();
    for (got, wanted) in got.iter().zip(&wanted) {
        let error = worst_error(got.as_f32(), wanted.as_f32());
        assert!(error < 1e-4, "{error}");
    }
}

/// One decoder layer over a paged cache.
fn decoder_graph(random: &mut Random, rows: usize, cache: KvShape) -> Graph {
    let g = GraphBuilder::new("decoder");
    let (heads, width) = (4, 4 * cache.head_dim);
    let ids = g.input_u32("ids", &[rows]).unwrap();
    let tables = [
        g.input_u32("positions", &[rows]).unwrap(),
        g.input_u32("write_slots", &[rows]).unwrap(),
        g.input_u32("sequences", &[rows]).unwrap(),
        g.input_u32("block_tables", &[1, 3]).unwrap(),
    ];
    let state = g.kv_state(cache);
    let x = g
        .embedding(&ids, &weight(random, "table", &[50, width]))
        .unwrap();
    let x = g
        .rms_norm(&x, &weight(random, "norm", &[width]), 1e-5)
        .unwrap();
    let kv_width = cache.kv_heads * cache.head_dim;
    let q = g
        .linear(&x, &weight(random, "q", &[width, width]), None)
        .unwrap();
    let k = g
        .linear(&x, &weight(random, "k", &[kv_width, width]), None)
        .unwrap();
    let v = g
        .linear(&x, &weight(random, "v", &[kv_width, width]), None)
        .unwrap();
    let freq = TensorData::from_f32("freq", &[2], &[1.0, 0.1]).unwrap();
    let q = g
        .rope(&q, &tables[0], heads, &freq, RopeStyle::Half, 1.0)
        .unwrap();
    let k = g
        .rope(&k, &tables[0], cache.kv_heads, &freq, RopeStyle::Half, 1.0)
        .unwrap();
    let spec = PagedAttentionSpec {
        state,
        layer: 0,
        heads,
        scale: 0.5,
        softcap: None,
        window: None,
    };
    let tables = [&tables[0], &tables[1], &tables[2], &tables[3]];
    let y = g.paged_attention([&q, &k, &v], tables, spec).unwrap();
    g.output("y", &y);
    g.finish()
}

fn decoder_inputs(
    ids: &[u32],
    start: u32,
    rows: usize,
    table: [u32; 3],
) -> [(&'static str, HostTensor); 5] {
    let page = KV_PAGE as u32;
    let slot = |position: u32| table[(position / page) as usize] * page + position % page;
    let pad = |mut values: Vec<u32>, fill: u32| {
        values.resize(rows, fill);
        HostTensor::u32([rows], values)
    };
    let positions: Vec<u32> = (start..start + ids.len() as u32).collect();
    [
        ("ids", pad(ids.to_vec(), 0)),
        (
            "write_slots",
            pad(positions.iter().map(|&p| slot(p)).collect(), NO_SLOT),
        ),
        ("positions", pad(positions, NO_SLOT)),
        ("sequences", pad(vec![0; ids.len()], 0)),
        ("block_tables", HostTensor::u32([1, 3], table.to_vec())),
    ]
}

#[test]
fn caches_outlive_runs_and_pages_can_be_copied() {
    let mut random = Random::fresh("caches_outlive_runs_and_pages_can_be_copied");
    let cache = KvShape {
        layers: 1,
        kv_heads: 2,
        head_dim: 6,
        pages: 5,
        kv_type: KvType::F32,
    };
    let graph = Arc::new(decoder_graph(&mut random, 80, cache));
    let ids: Vec<u32> = (0..150).map(|_| random.within(0, 49) as u32).collect();
    let mut gpu = gpu();
    let mut results = Vec::new();
    for executor in [
        &mut CpuExecutor::new(CpuMode::Oracle) as &mut dyn Executor,
        &mut *gpu,
    ] {
        let state = executor.create_kv(cache).unwrap();
        let plan = executor.prepare(Arc::clone(&graph)).unwrap();
        let mut outputs = Vec::new();
        for (start, end) in [(0usize, 70usize), (70, 100)] {
            let inputs = decoder_inputs(&ids[start..end], start as u32, 80, [3, 0, 2]);
            let run = Run {
                inputs: &inputs,
                states: &[state],
                interrupt: &mut NeverInterrupt,
            };
            outputs.push(executor.run(plan, run).unwrap().remove(0));
        }
        // A branch: the second page is copied and goes on differently.
        executor.copy_kv_page(state, 0, 4).unwrap();
        let inputs = decoder_inputs(&ids[100..150], 100, 80, [3, 4, 2]);
        let run = Run {
            inputs: &inputs,
            states: &[state],
            interrupt: &mut NeverInterrupt,
        };
        outputs.push(executor.run(plan, run).unwrap().remove(0));
        assert!(executor.copy_kv_page(state, 0, 5).is_err());
        executor.drop_plan(plan);
        executor.drop_state(state);
        results.push(outputs);
    }
    for (wanted, got) in results[0].iter().zip(&results[1]) {
        let error = worst_error(got.as_f32(), wanted.as_f32());
        assert!(error < 1e-4, "{error}");
    }
}

/// Stops a run before its submit of this number.
struct StopAt(usize);

impl Interrupt for StopAt {
    fn poll(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 == 0
    }
}

/// A run's beginning is encoded before it is asked for; whatever happens in between, it is the right one.
#[test]
fn runs_encoded_ahead_are_for_the_states_and_inputs_that_are_given() {
    let mut random = Random::fresh("runs_encoded_ahead");
    let cache = KvShape {
        layers: 1,
        kv_heads: 2,
        head_dim: 6,
        pages: 5,
        kv_type: KvType::F32,
    };
    let graph = Arc::new(decoder_graph(&mut random, 2, cache));
    let mut gpu = gpu();
    let mut cpu = CpuExecutor::new(CpuMode::Oracle);
    let plans = [
        cpu.prepare(Arc::clone(&graph)).unwrap(),
        gpu.prepare(Arc::clone(&graph)).unwrap(),
    ];
    // Two conversations in turn, each with a state on both executors, and how long it is.
    let make = |gpu: &mut GpuExecutor, cpu: &mut CpuExecutor| {
        (
            [cpu.create_kv(cache).unwrap(), gpu.create_kv(cache).unwrap()],
            0u32,
        )
    };
    let mut talks = [make(&mut gpu, &mut cpu), make(&mut gpu, &mut cpu)];
    let (mut stopped, mut ahead) = (0, 0);
    for round in 0..60 {
        let which = random.within(0, 1);
        if round % 11 == 5 {
            cpu.drop_state(talks[which].0[0]);
            gpu.drop_state(talks[which].0[1]);
            talks[which] = make(&mut gpu, &mut cpu);
        }
        let (states, length) = &mut talks[which];
        let ids = [random.within(0, 49) as u32];
        let inputs = decoder_inputs(&ids, *length, 2, [3, 0, 2]);
        let turn = |executor: &mut dyn Executor, which: usize, interrupt: &mut dyn Interrupt| {
            let run = Run {
                inputs: &inputs,
                states: &states[which..=which],
                interrupt,
            };
            executor.run(plans[which], run)
        };
        if round % 7 == 3 {
            let done = turn(&mut *gpu, 1, &mut StopAt(1));
            assert!(matches!(done, Err(ExecError::Interrupted)), "{done:?}");
            stopped += 1;
        }
        let before = gpu.submitter.host_time;
        let wanted = turn(&mut cpu, 0, &mut NeverInterrupt).unwrap();
        let got = turn(&mut *gpu, 1, &mut NeverInterrupt).unwrap();
        let plan = &gpu.plans[&plans[1]];
        let dispatches = gpu.submitter.host_time.dispatches - before.dispatches;
        assert_eq!(dispatches, plan.commands.len() as u64);
        ahead += usize::from(plan.ahead.is_made());
        // A padding row sees nothing.
        let error = worst_error(got[0].as_f32(), wanted[0].as_f32());
        assert!(error < 1e-4, "round {round}: {error}");
        *length += 1;
    }
    assert!(stopped == 9 && ahead > 40, "{stopped} {ahead}");
    for (states, _) in talks {
        gpu.drop_state(states[1]);
    }
    gpu.drop_plan(plans[1]);
}

#[test]
fn numbers_that_address_memory_are_checked() {
    let mut random = Random::fresh("numbers_that_address_memory_are_checked");
    let cache = KvShape {
        layers: 1,
        kv_heads: 1,
        head_dim: 4,
        pages: 2,
        kv_type: KvType::F32,
    };
    let graph = Arc::new(decoder_graph(&mut random, 4, cache));
    let mut gpu = gpu();
    let state = gpu.create_kv(cache).unwrap();
    let plan = gpu.prepare(graph).unwrap();
    let good = decoder_inputs(&[1, 2], 0, 4, [1, 0, 0]);
    for (index, bad) in [(0, 50u32), (1, 128), (2, 192), (3, 1), (4, 2)] {
        let mut inputs = good.clone();
        let (name, tensor) = &mut inputs[index];
        let shape = tensor.shape.clone();
        let count: usize = shape.iter().product();
        *tensor = HostTensor::u32(shape, vec![bad; count]);
        let name = *name;
        let run = Run {
            inputs: &inputs,
            states: &[state],
            interrupt: &mut NeverInterrupt,
        };
        match gpu.run(plan, run) {
            Err(ExecError::Input { name: told, .. }) => assert_eq!(told, name),
            other => panic!("{name} of {bad}: {other:?}"),
        }
    }
    let run = Run {
        inputs: &good,
        states: &[state],
        interrupt: &mut NeverInterrupt,
    };
    assert!(gpu.run(plan, run).is_ok());
    gpu.drop_plan(plan);
    gpu.drop_state(state);
}

struct After(usize);

impl Interrupt for After {
    fn poll(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 == 0
    }
}

#[test]
fn a_run_can_be_stopped_and_repeated() {
    let mut random = Random::fresh("a_run_can_be_stopped_and_repeated");
    let mut gpu = gpu();
    let graph = picture_graph(&mut random, [3, 8, 8]);
    let plan = gpu.prepare(Arc::new(graph)).unwrap();
    let inputs = [("x", HostTensor::f32([2, 3, 8, 8], random.floats(384)))];
    let stopped = gpu.run(
        plan,
        Run {
            inputs: &inputs,
            states: &[],
            interrupt: &mut After(1),
        },
    );
    assert!(matches!(stopped, Err(ExecError::Interrupted)));
    let first = gpu
        .run(
            plan,
            Run {
                inputs: &inputs,
                states: &[],
                interrupt: &mut NeverInterrupt,
            },
        )
        .unwrap();
    let second = gpu
        .run(
            plan,
            Run {
                inputs: &inputs,
                states: &[],
                interrupt: &mut NeverInterrupt,
            },
        )
        .unwrap();
    assert_eq!(first, second, "the same run gives the same bytes");
    gpu.drop_plan(plan);
}

#[test]
fn a_run_can_be_stopped_between_its_submits() {
    let mut random = Random::fresh("a_run_can_be_stopped_between_its_submits");
    let mut gpu = gpu();
    // More dispatches than one submit takes, though up to eight sums run as one.
    let g = GraphBuilder::new("long");
    let x = g.input("x", &[3, 5]).unwrap();
    let mut h = x.clone();
    for _ in 0..3600 {
        h = g.add(&h, &x).unwrap();
    }
    g.output("y", &h);
    let plan = gpu.prepare(Arc::new(g.finish())).unwrap();
    let inputs = [("x", HostTensor::f32([3, 5], random.floats(15)))];
    let mut run = |interrupt: &mut dyn Interrupt| {
        let run = Run {
            inputs: &inputs,
            states: &[],
            interrupt,
        };
        gpu.run(plan, run)
    };
    let wanted = run(&mut NeverInterrupt).unwrap();
    let mut stops = 0;
    let got = loop {
        match run(&mut After(stops + 1)) {
            Err(ExecError::Interrupted) => stops += 1,
            other => break other.unwrap(),
        }
    };
    assert!(stops >= 3, "asked {stops} times");
    assert_eq!(got, wanted);
}

#[test]
fn what_exceeds_the_budget_is_refused_before_anything_is_allocated() {
    let mut random = Random::fresh("what_exceeds_the_budget");
    let device = Arc::clone(gpu().device());
    let mut poor = GpuExecutor::on(device, Some(4096));
    let error = poor
        .prepare(Arc::new(picture_graph(&mut random, [3, 8, 8])))
        .unwrap_err();
    assert!(matches!(error, ExecError::OutOfMemory { .. }), "{error}");
    assert_eq!(poor.memory().peak, 0);
    let error = poor
        .create_kv(KvShape {
            layers: 2,
            kv_heads: 4,
            head_dim: 64,
            pages: 8,
            kv_type: KvType::F32,
        })
        .unwrap_err();
    assert!(matches!(error, ExecError::OutOfMemory { .. }), "{error}");
}

#[test]
fn a_lost_device_is_told_and_a_new_one_works() {
    let mut random = Random::fresh("a_lost_device_is_told_and_a_new_one_works");
    let guard = gpu();
    let graph = picture_graph(&mut random, [3, 8, 8]);
    let inputs = [("x", HostTensor::f32([2, 3, 8, 8], random.floats(384)))];
    for lose in [true, false] {
        let mut own =
            GpuExecutor::open(AdapterChoice::Any, LimitPolicy::Adapter, Some(1 << 28)).unwrap();
        let plan = own.prepare(Arc::new(graph.clone())).unwrap();
        if lose {
            own.device().lose();
        }
        let result = own.run(
            plan,
            Run {
                inputs: &inputs,
                states: &[],
                interrupt: &mut NeverInterrupt,
            },
        );
        assert_eq!(
            lose,
            matches!(result, Err(ExecError::DeviceLost { .. })),
            "{result:?}"
        );
    }
    drop(guard);
}

#[test]
fn this_device_passes_its_self_test() {
    let checks = self_test(&mut *gpu()).unwrap();
    assert!(checks.len() > 40);
    for check in checks {
        assert!(check.passed, "{check:?}");
    }
}
