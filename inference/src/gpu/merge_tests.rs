//! Products of one input as one product, and what comes before attention over a paged cache as one, against the oracle and against each op by itself.

use std::sync::Arc;

use super::kernels::KernelLimits;
use super::merge::merged;
use super::*;
use crate::cpu::testing::{Random, run_once, worst_error};
use crate::cpu::{CpuExecutor, CpuMode};
use crate::formats::{StorageDtype, TensorData};
use crate::graph::{
    Activation, Executor, Graph, GraphBuilder, HostTensor, KV_PAGE, KvShape, KvType, NO_SLOT,
    NeverInterrupt, PagedAttentionSpec, RopeStyle, Run, Tensor,
};
use crate::synthesize::random_tensor;

fn weight(random: &mut Random, shape: &[usize], dtype: StorageDtype) -> TensorData {
    random_tensor("w", shape, dtype, random.bits()).unwrap()
}

/// Products of one input, of all widths, beside some that must stay by themselves; and a gate with what it gates, either first.
fn products(random: &mut Random, rows: usize, k: usize, dtype: StorageDtype) -> Graph {
    let g = GraphBuilder::new("products");
    let x = g.input("x", &[rows, k]).unwrap();
    let other = g.input("other", &[rows, 40]).unwrap();
    let mut made: Vec<Tensor> = Vec::new();
    for _ in 0..random.within(2, 7) {
        let n = random.within(1, 150);
        let w = weight(random, &[n, k], dtype);
        let bias = weight(random, &[n], StorageDtype::F32);
        made.push(g.linear(&x, &w, Some(&bias)).unwrap());
    }
    // Without a bias, and of another type.
    for dtype in [dtype, dtype, StorageDtype::F32] {
        let w = weight(random, &[40, k], dtype);
        made.push(g.linear(&x, &w, None).unwrap());
    }
    // What takes over what comes behind it, what is a result, and what is used twice.
    let w = weight(random, &[40, k], dtype);
    let summed = g.linear(&x, &w, None).unwrap();
    made.push(g.add(&other, &summed).unwrap());
    let w = weight(random, &[24, k], dtype);
    let shown = g.linear(&x, &w, None).unwrap();
    let w = weight(random, &[24, k], dtype);
    let twice = g.linear(&x, &w, None).unwrap();
    let doubled = g.affine(&x, 2.0, 0.1).unwrap();
    let again = g.linear(&doubled, &w, None).unwrap();
    made.extend([twice, again]);
    let both = [0, 1].map(|_| {
        let w = weight(random, &[70, k], dtype);
        let bias = weight(random, &[70], StorageDtype::F32);
        g.linear(&doubled, &w, Some(&bias)).unwrap()
    });
    let (gate, up) = match random.within(0, 1) {
        0 => (&both[0], &both[1]),
        _ => (&both[1], &both[0]),
    };
    made.push(g.gated(gate, up, Activation::Silu).unwrap());
    random.shuffle(&mut made);
    let all: Vec<&Tensor> = made.iter().collect();
    g.output("all", &g.concat(&all, 1).unwrap());
    g.output("shown", &shown);
    g.finish()
}

#[test]
fn products_of_one_input_agree() {
    let mut random = Random::fresh("products_of_one_input_agree");
    let device = Arc::clone(tests::gpu().device());
    let tiny = KernelLimits {
        max_storage_binding: 64 << 10,
        max_dispatch_flops: 1 << 18,
        busy_groups: 16,
        ..KernelLimits::default()
    };
    let types = [
        (StorageDtype::F32, 37),
        (StorageDtype::F16, 44),
        (StorageDtype::Q8_0, 96),
        (StorageDtype::Q4_0, 64),
        (StorageDtype::Q6K, 256),
        (StorageDtype::Q4K, 256),
    ];
    for (dtype, k) in types {
        for rows in [1, 4, 13, 70] {
            let graph = products(&mut random, rows, k, dtype);
            let inputs = [
                ("x", HostTensor::f32([rows, k], random.floats(rows * k))),
                (
                    "other",
                    HostTensor::f32([rows, 40], random.floats(rows * 40)),
                ),
            ];
            let mut oracle = CpuExecutor::new(CpuMode::Oracle);
            let wanted = run_once(&mut oracle, graph.clone(), &inputs).unwrap();
            let whole = merged(&graph, &KernelLimits::of(&device.limits)).unwrap();
            assert!(whole.weights.len() < graph.weights.len());
            let same = run_once(&mut oracle, whole, &inputs).unwrap();
            for (same, wanted) in same.iter().zip(&wanted) {
                assert!(worst_error(same.as_f32(), wanted.as_f32()) < 1e-6);
            }
            for limits in [KernelLimits::of(&device.limits), tiny] {
                let mut gpu =
                    GpuExecutor::on(Arc::clone(&device), Some(1 << 30)).with_kernel_limits(limits);
                let outline = gpu.outline(&graph).unwrap();
                if limits != tiny {
                    // One copy for each part of the concatenation, and none for columns.
                    let parts = graph.nodes.iter().find(|node| node.op.name() == "concat");
                    let copies = outline.kernels.get("copy").copied().unwrap_or(0);
                    assert_eq!(copies, parts.unwrap().inputs.len(), "{outline:?}");
                    assert!(!outline.kernels.contains_key("split_gated"), "{outline:?}");
                }
                let got = run_once(&mut gpu, graph.clone(), &inputs).unwrap();
                for (got, wanted) in got.iter().zip(&wanted) {
                    assert_eq!(got.shape, wanted.shape);
                    let error = worst_error(got.as_f32(), wanted.as_f32());
                    assert!(error < 1e-4, "{dtype} {rows} rows: {error}");
                }
            }
        }
    }
}

/// How a decoder's heads are.
#[derive(Clone, Copy, Debug)]
struct Layer {
    cache: KvShape,
    heads: usize,
    norms: bool,
    frequencies: usize,
    style: RopeStyle,
    /// Whether values are of another type than queries and keys.
    mixed: bool,
}

/// A decoder layer over a paged cache, from products on.
fn layer(random: &mut Random, rows: usize, made: &Layer) -> Graph {
    let g = GraphBuilder::new("layer");
    let dim = made.cache.head_dim;
    let x = g.input("x", &[rows, 64]).unwrap();
    let tables = [
        g.input_u32("positions", &[rows]).unwrap(),
        g.input_u32("write_slots", &[rows]).unwrap(),
        g.input_u32("sequences", &[rows]).unwrap(),
        g.input_u32("block_tables", &[1, 2]).unwrap(),
    ];
    let state = g.kv_state(made.cache);
    let freq: Vec<f32> = random
        .floats(made.frequencies)
        .iter()
        .map(|v| v.abs())
        .collect();
    let freq = TensorData::from_f32("freq", &[made.frequencies], &freq).unwrap();
    let mut side = |heads: usize, dtype: StorageDtype, turned: bool| {
        let w = weight(random, &[heads * dim, 64], dtype);
        let mut value = g.linear(&x, &w, None).unwrap();
        if turned && made.norms {
            value = g.reshape(&value, &[rows * heads, dim]).unwrap();
            let gain = weight(random, &[dim], StorageDtype::F32);
            value = g.rms_norm(&value, &gain, 1e-6).unwrap();
            value = g.reshape(&value, &[rows, heads * dim]).unwrap();
        }
        match turned {
            true => g
                .rope(&value, &tables[0], heads, &freq, made.style, 0.9)
                .unwrap(),
            false => value,
        }
    };
    let q = side(made.heads, StorageDtype::Q8_0, true);
    let k = side(made.cache.kv_heads, StorageDtype::Q8_0, true);
    let other = match made.mixed {
        true => StorageDtype::Q4_0,
        false => StorageDtype::Q8_0,
    };
    let v = side(made.cache.kv_heads, other, false);
    let spec = PagedAttentionSpec {
        state,
        layer: made.cache.layers - 1,
        heads: made.heads,
        scale: 0.3,
        softcap: None,
        window: None,
    };
    let tables = [&tables[0], &tables[1], &tables[2], &tables[3]];
    let y = g.paged_attention([&q, &k, &v], tables, spec).unwrap();
    let w = weight(random, &[64, made.heads * dim], StorageDtype::F32);
    let out = g.linear(&y, &w, None).unwrap();
    g.output("y", &g.add(&x, &out).unwrap());
    g.finish()
}

/// Rows of a conversation from a position on; the last row is padding.
fn rows_at(random: &mut Random, rows: usize, start: usize) -> Vec<(&'static str, HostTensor)> {
    let table = [2u32, 0];
    let page = KV_PAGE as u32;
    let mut positions: Vec<u32> = (start as u32..).take(rows).collect();
    let mut slots: Vec<u32> = positions
        .iter()
        .map(|p| table[(p / page) as usize] * page + p % page)
        .collect();
    if rows > 1 {
        (positions[rows - 1], slots[rows - 1]) = (NO_SLOT, NO_SLOT);
    }
    vec![
        ("x", HostTensor::f32([rows, 64], random.floats(rows * 64))),
        ("positions", HostTensor::u32([rows], positions)),
        ("write_slots", HostTensor::u32([rows], slots)),
        ("sequences", HostTensor::u32([rows], vec![0; rows])),
        ("block_tables", HostTensor::u32([1, 2], table.to_vec())),
    ]
}

#[test]
fn heads_of_attention_agree() {
    let mut random = Random::fresh("heads_of_attention_agree");
    let device = Arc::clone(tests::gpu().device());
    for kv_type in [KvType::F32, KvType::F16, KvType::Q8] {
        for turn in 0..5 {
            let dim = [8, 33, 64, 128, 20][turn];
            let kv_heads = random.within(1, 3);
            let made = Layer {
                cache: KvShape {
                    layers: 2,
                    kv_heads,
                    head_dim: dim,
                    pages: 3,
                    kv_type,
                },
                heads: kv_heads * random.within(1, 3),
                norms: turn % 2 == 0,
                frequencies: random.within(1, dim / 2),
                style: [RopeStyle::Half, RopeStyle::Interleaved][random.within(0, 1)],
                mixed: turn == 3,
            };
            let [many, one] = [random.within(10, 70), 1]
                .map(|rows| (layer(&mut random.clone(), rows, &made), rows));
            let steps = [
                (&many, rows_at(&mut random, many.1, 0)),
                (&one, rows_at(&mut random, 1, many.1 - 1)),
            ];
            let run = |executor: &mut dyn Executor| {
                let state = executor.create_kv(made.cache).unwrap();
                let results = steps.each_ref().map(|((graph, _), inputs)| {
                    let plan = executor.prepare(Arc::new(graph.clone())).unwrap();
                    let run = Run {
                        inputs,
                        states: &[state],
                        interrupt: &mut NeverInterrupt,
                    };
                    executor.run(plan, run).unwrap().remove(0)
                });
                executor.drop_state(state);
                results
            };
            let wanted = run(&mut CpuExecutor::new(CpuMode::Oracle));
            let open = |fuse| GpuExecutor::on(Arc::clone(&device), Some(1 << 30)).with_fusion(fuse);
            let (mut fused, mut apart) = (open(true), open(false));
            let kernels = fused.outline(&one.0).unwrap();
            let heads = kernels
                .kernels
                .keys()
                .any(|name| name.starts_with("paged_heads"));
            assert_eq!(heads, kv_type != KvType::Q8, "{kernels:?}");
            // The product, its heads, attention, and the product behind it; values of another type by themselves, and parts of attention joined.
            if heads {
                assert!(
                    kernels.dispatches <= 5 + usize::from(made.mixed),
                    "{kernels:?}"
                );
            }
            let (all, plain) = (run(&mut fused), run(&mut apart));
            // What is kept in few bits may be rounded to either side.
            let bound = match kv_type {
                KvType::F32 => 1e-4,
                KvType::F16 => 2e-3,
                KvType::Q8 => 2e-2,
            };
            for ((all, plain), wanted) in all.iter().zip(&plain).zip(&wanted) {
                // Rows of padding give whatever they like.
                let rows = (wanted.as_f32().len() / 64 - 1).max(1) * 64;
                for (a, b) in [(all, wanted), (plain, wanted), (all, plain)] {
                    let error = worst_error(&a.as_f32()[..rows], &b.as_f32()[..rows]);
                    assert!(error < bound, "{made:?}: {error}");
                }
            }
        }
    }
}

#[test]
fn a_layer_of_a_decoder_is_eight_dispatches() {
    let mut random = Random::fresh("a_layer_of_a_decoder_is_eight_dispatches");
    let device = Arc::clone(tests::gpu().device());
    let g = GraphBuilder::new("layers");
    let cache = KvShape {
        layers: 2,
        kv_heads: 2,
        head_dim: 32,
        pages: 2,
        kv_type: KvType::F16,
    };
    let rows = 1;
    let mut x = g.input("x", &[rows, 64]).unwrap();
    let tables = [
        g.input_u32("positions", &[rows]).unwrap(),
        g.input_u32("write_slots", &[rows]).unwrap(),
        g.input_u32("sequences", &[rows]).unwrap(),
        g.input_u32("block_tables", &[1, 1]).unwrap(),
    ];
    let state = g.kv_state(cache);
    let freq = TensorData::from_f32("freq", &[16], &random.floats(16)).unwrap();
    for index in 0..cache.layers {
        let mut linear = |x: &Tensor, n: usize| {
            let w = weight(&mut random, &[n, x.last_dim()], StorageDtype::Q8_0);
            g.linear(x, &w, None).unwrap()
        };
        let gain = TensorData::from_f32("gain", &[64], &[1.0; 64]).unwrap();
        let head_gain = TensorData::from_f32("gain", &[32], &[1.0; 32]).unwrap();
        let n = g.rms_norm(&x, &gain, 1e-6).unwrap();
        let head = |value: Tensor, heads: usize| {
            let value = g.reshape(&value, &[rows * heads, 32]).unwrap();
            let value = g.rms_norm(&value, &head_gain, 1e-6).unwrap();
            let value = g.reshape(&value, &[rows, heads * 32]).unwrap();
            g.rope(&value, &tables[0], heads, &freq, RopeStyle::Half, 1.0)
                .unwrap()
        };
        let q = head(linear(&n, 128), 4);
        let k = head(linear(&n, 64), 2);
        let v = linear(&n, 64);
        let spec = PagedAttentionSpec {
            state,
            layer: index,
            heads: 4,
            scale: 0.2,
            softcap: None,
            window: None,
        };
        let tables = [&tables[0], &tables[1], &tables[2], &tables[3]];
        let y = g.paged_attention([&q, &k, &v], tables, spec).unwrap();
        x = g.add(&x, &linear(&y, 64)).unwrap();
        let n = g.rms_norm(&x, &gain, 1e-6).unwrap();
        let (gate, up) = (linear(&n, 96), linear(&n, 96));
        let h = g.gated(&gate, &up, Activation::Silu).unwrap();
        x = g.add(&x, &linear(&h, 64)).unwrap();
    }
    g.output("x", &x);
    let gpu = GpuExecutor::on(device, Some(1 << 30));
    let outline = gpu.outline(&g.finish()).unwrap();
    assert_eq!(outline.dispatches, 16, "{outline:?}");
}
