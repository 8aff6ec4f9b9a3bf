//! Graphs whose ops run as one, against the oracle and against the same graphs with each op by itself.

use super::kernels::KernelLimits;
use super::*;
use crate::cpu::testing::{Random, run_once, worst_error};
use crate::cpu::{CpuExecutor, CpuMode};
use crate::formats::TensorData;
use crate::graph::{
    Activation, Conv2dSpec, Graph, GraphBuilder, HostTensor, RopeStyle, Tensor, UnaryKind,
};

/// Weights of a graph under construction.
struct Maker<'a> {
    g: GraphBuilder,
    random: &'a mut Random,
    count: usize,
}

impl Maker<'_> {
    fn weight(&mut self, shape: &[usize]) -> TensorData {
        self.count += 1;
        let fan = shape.iter().skip(1).product::<usize>().max(1) as f32;
        let values: Vec<f32> = self
            .random
            .floats(shape.iter().product())
            .iter()
            .map(|value| value / fan.sqrt())
            .collect();
        TensorData::from_f32(&format!("w{}", self.count), shape, &values).unwrap()
    }

    fn linear(&mut self, x: &Tensor, out: usize) -> Tensor {
        let (weight, bias) = (self.weight(&[out, x.last_dim()]), self.weight(&[out]));
        self.g.linear(x, &weight, Some(&bias)).unwrap()
    }

    fn conv(&mut self, x: &Tensor, out: usize, kernel: usize) -> Tensor {
        let weight = self.weight(&[out, x.dim(1), kernel, kernel]);
        let bias = self.weight(&[out]);
        let spec = Conv2dSpec::same(kernel);
        self.g.conv2d(x, &weight, Some(&bias), spec).unwrap()
    }
}

/// A residual block with a time embedding, a transformer over its pixels, scaling, and a second block; as U-Nets have them.
fn unet_like(random: &mut Random, [c, h, w]: [usize; 3]) -> Graph {
    let mut m = Maker {
        g: GraphBuilder::new("unet"),
        random,
        count: 0,
    };
    let x = m.g.input("x", &[2, c, h, w]).unwrap();
    let time = m.g.input("time", &[2, 12]).unwrap();
    let mut h1 = x.clone();
    for _ in 0..2 {
        let h0 = h1.clone();
        let mut h = m.conv(&h0, 24, 3);
        // Computed for every block anew.
        let t = m.g.activation(&time, Activation::Silu).unwrap();
        let t = m.linear(&t, 24);
        let t = m.g.reshape(&t, &[2, 24, 1, 1]).unwrap();
        h = m.g.add(&h, &t).unwrap();
        let (gain, offset) = (m.weight(&[24]), m.weight(&[24]));
        h = m.g.group_norm(&h, &gain, &offset, 4, 1e-5, true).unwrap();
        h = m.conv(&h, 24, 3);
        let skip = m.conv(&h0, 24, 1);
        h1 = m.g.add(&skip, &h).unwrap();
    }
    let pixels = m.g.permute(&h1, &[0, 2, 3, 1]).unwrap();
    let pixels = m.g.reshape(&pixels, &[2, h * w, 24]).unwrap();
    let mut s = m.linear(&pixels, 24);
    let [q, k, v] = [0, 1, 2].map(|_| m.linear(&s, 24));
    let attended = m.g.attention([&q, &k, &v], 3, 3, 0.35, false).unwrap();
    let out = m.linear(&attended, 24);
    s = m.g.add(&s, &out).unwrap();
    let wide = m.linear(&s, 96);
    let gated = m.g.split_gated(&wide, Activation::Gelu).unwrap();
    let out = m.linear(&gated, 24);
    s = m.g.add(&out, &s).unwrap();
    let out = m.linear(&s, 24);
    let out = m.g.reshape(&out, &[2, h, w, 24]).unwrap();
    let out = m.g.permute(&out, &[0, 3, 1, 2]).unwrap();
    let sum = m.g.add(&h1, &out).unwrap();
    let up = m.g.upsample_nearest(&sum, 2 * h, 2 * w).unwrap();
    let y = m.conv(&up, c, 3);
    let y = m.g.unary(&y, UnaryKind::Tanh).unwrap();
    m.g.output("y", &y);
    m.g.finish()
}

/// What must not run as one, beside what may.
fn twisted(random: &mut Random, rows: usize) -> Graph {
    let mut m = Maker {
        g: GraphBuilder::new("twisted"),
        random,
        count: 0,
    };
    let x = m.g.input("x", &[1, rows, 32]).unwrap();
    // A value that is read twice, one that is a result as well, and a sum of one value with itself.
    let twice = m.linear(&x, 32);
    let a = m.g.activation(&twice, Activation::Relu).unwrap();
    let b = m.g.add(&a, &twice).unwrap();
    let shown = m.linear(&b, 32);
    let c = m.g.affine(&shown, 0.5, -0.1).unwrap();
    let d = m.g.add(&c, &c).unwrap();
    // A product whose result is turned for one that reads it turned.
    let e = m.linear(&d, 20);
    let turned = m.g.permute(&e, &[0, 2, 1]).unwrap();
    let f = m.linear(&turned, 48);
    let back = m.g.permute(&f, &[0, 2, 1]).unwrap();
    let g1 = m.linear(&back, 32);
    let g2 = m.linear(&back, 32);
    // Both operands could take the product over.
    let p = m.g.gated(&g1, &g2, Activation::Silu).unwrap();
    let q = m.linear(&p, 32);
    let r = m.g.mul(&q, &p).unwrap();
    let r = m.g.unary(&r, UnaryKind::LeakyRelu { slope: 0.1 }).unwrap();
    // A row that is added to all.
    let row = m.g.input("row", &[32]).unwrap();
    let s = m.g.add(&r, &row).unwrap();
    let t = m.g.activation(&s, Activation::Gelu).unwrap();
    let clamp = UnaryKind::Clamp {
        low: -1.0,
        high: 1.0,
    };
    let t = m.g.unary(&t, clamp).unwrap();
    m.g.output("shown", &shown);
    m.g.output("t", &t);
    m.g.output("turned", &turned);
    m.g.finish()
}

/// Heads that are normalised and rotated, and a gated product of few rows.
fn decoder_like(random: &mut Random, rows: usize) -> Graph {
    let mut m = Maker {
        g: GraphBuilder::new("decoder"),
        random,
        count: 0,
    };
    let x = m.g.input("x", &[rows, 64]).unwrap();
    let positions = m.g.input_u32("positions", &[rows]).unwrap();
    let freq: Vec<f32> = m.random.floats(8).iter().map(|v| v.abs()).collect();
    let freq = TensorData::from_f32("freq", &[8], &freq).unwrap();
    let gain = m.weight(&[16]);
    let q = m.linear(&x, 96);
    let q = m.g.reshape(&q, &[rows * 6, 16]).unwrap();
    let q = m.g.rms_norm(&q, &gain, 1e-6).unwrap();
    let q = m.g.reshape(&q, &[rows, 96]).unwrap();
    let q =
        m.g.rope(&q, &positions, 6, &freq, RopeStyle::Half, 1.0)
            .unwrap();
    // All heads normalised together, which is another thing.
    let k = m.linear(&x, 96);
    let gain = m.weight(&[96]);
    let k = m.g.rms_norm(&k, &gain, 1e-6).unwrap();
    let k =
        m.g.rope(&k, &positions, 6, &freq, RopeStyle::Interleaved, 1.0)
            .unwrap();
    let sum = m.g.add(&q, &k).unwrap();
    let out = m.linear(&sum, 64);
    let x = m.g.add(&x, &out).unwrap();
    let gate = m.linear(&x, 100);
    let up = m.linear(&x, 100);
    let h = m.g.gated(&gate, &up, Activation::Silu).unwrap();
    let down = m.linear(&h, 64);
    let x = m.g.add(&x, &down).unwrap();
    m.g.output("x", &x);
    m.g.finish()
}

/// Two attentions: over positions relative to each other, by a mask of weights for all batches, as T5 has them; and with keys hidden by what is given for
/// all heads of a batch, which other ops made.
fn masked(random: &mut Random, rows: usize) -> Graph {
    let mut m = Maker {
        g: GraphBuilder::new("masked"),
        random,
        count: 0,
    };
    let x = m.g.input("x", &[2, rows, 24]).unwrap();
    let [q, k, v] = [0, 1, 2].map(|_| m.linear(&x, 24));
    let mut places = m.random.floats(rows * rows * 3);
    for hidden in places.iter_mut().step_by(5) {
        *hidden = f32::NEG_INFINITY;
    }
    let places = TensorData::from_f32("places", &[rows, rows, 3], &places).unwrap();
    let places = m.g.constant(&places).unwrap();
    let places = m.g.permute(&places, &[2, 0, 1]).unwrap();
    let places = m.g.reshape(&places, &[1, 3, rows, rows]).unwrap();
    let seen =
        m.g.attention_with_mask([&q, &k, &v], &places, 3, 3, 0.35, false)
            .unwrap();
    let x = m.g.add(&x, &seen).unwrap();
    // Far below what hides a key, where it is negative.
    let given = m.g.input("given", &[2, 1, rows, rows]).unwrap();
    let given = m.g.affine(&given, 1e36, 0.0).unwrap();
    let low = UnaryKind::Clamp {
        low: -3e30,
        high: 0.0,
    };
    let given = m.g.unary(&given, low).unwrap();
    let column = m.g.input("column", &[rows]).unwrap();
    let given = m.g.add(&given, &column).unwrap();
    let q = m.linear(&x, 24);
    let kv = m.linear(&x, 8);
    let seen =
        m.g.attention_with_mask([&q, &kv, &kv], &given, 3, 1, 0.35, true)
            .unwrap();
    let y = m.linear(&seen, 24);
    m.g.output("y", &y);
    m.g.output("given", &given);
    m.g.finish()
}

/// The graph as it is run, with each op by itself, and by the oracle.
fn agree(random: &mut Random, graph: &Graph, fewer: bool) {
    let inputs: Vec<(&str, HostTensor)> = graph
        .inputs()
        .map(|(name, _, node)| {
            let count = node.elements();
            let value = match node.dtype {
                crate::graph::Dtype::F32 => {
                    HostTensor::f32(node.shape.clone(), random.floats(count))
                }
                crate::graph::Dtype::U32 => {
                    let numbers = (0..count).map(|_| random.within(0, 500) as u32).collect();
                    HostTensor::u32(node.shape.clone(), numbers)
                }
            };
            (name, value)
        })
        .collect();
    let mut oracle = CpuExecutor::new(CpuMode::Oracle);
    let wanted = run_once(&mut oracle, graph.clone(), &inputs).unwrap();
    let device = std::sync::Arc::clone(tests::gpu().device());
    let tiny = KernelLimits {
        max_storage_binding: 16 << 10,
        max_workgroups: 64,
        max_dispatch_flops: 1 << 16,
        busy_groups: 16,
        ..KernelLimits::default()
    };
    for limits in [KernelLimits::of(&device.limits), tiny] {
        let open = |fuse| {
            GpuExecutor::on(std::sync::Arc::clone(&device), Some(1 << 30))
                .with_kernel_limits(limits)
                .with_fusion(fuse)
        };
        let (mut fused, mut apart) = (open(true), open(false));
        let counts = [&fused, &apart].map(|executor| executor.outline(graph).unwrap());
        if limits != tiny {
            let [fused, apart] = &counts;
            println!(
                "{}: {} dispatches, {} apart",
                graph.name, fused.dispatches, apart.dispatches
            );
            assert_eq!(fused.dispatches < apart.dispatches, fewer);
            assert!(fused.moved <= apart.moved);
        }
        let all = run_once(&mut fused, graph.clone(), &inputs).unwrap();
        let plain = run_once(&mut apart, graph.clone(), &inputs).unwrap();
        for ((all, plain), wanted) in all.iter().zip(&plain).zip(&wanted) {
            assert_eq!(all.shape, wanted.shape);
            let errors = [
                worst_error(all.as_f32(), wanted.as_f32()),
                worst_error(plain.as_f32(), wanted.as_f32()),
                worst_error(all.as_f32(), plain.as_f32()),
            ];
            assert!(
                errors.iter().all(|&error| error < 2e-4),
                "{}: {errors:?}",
                graph.name
            );
        }
    }
}

#[test]
fn parts_of_picture_models_agree() {
    let mut random = Random::fresh("parts_of_picture_models_agree");
    for shape in [[3, 6, 8], [5, 7, 9], [24, 4, 4], [2, 1, 5]] {
        let graph = unet_like(&mut random, shape);
        agree(&mut random, &graph, true);
    }
}

#[test]
fn what_is_read_elsewhere_is_kept() {
    let mut random = Random::fresh("what_is_read_elsewhere_is_kept");
    for rows in [1, 5, 17, 40, 100] {
        let graph = twisted(&mut random, rows);
        agree(&mut random, &graph, true);
    }
}

#[test]
fn parts_of_decoders_agree() {
    let mut random = Random::fresh("parts_of_decoders_agree");
    for rows in [1, 3, 8, 30] {
        let graph = decoder_like(&mut random, rows);
        agree(&mut random, &graph, true);
    }
}

#[test]
fn masks_that_other_ops_made_agree() {
    let mut random = Random::fresh("masks_that_other_ops_made_agree");
    for rows in [1, 7, 23, 36] {
        let graph = masked(&mut random, rows);
        agree(&mut random, &graph, true);
    }
}

/// Element-wise ops one behind the other, with values that are broadcast, gates either way round, and now and then a second reader.
fn chained(random: &mut Random) -> Graph {
    let g = GraphBuilder::new("chained");
    let rank = random.within(2, 4);
    let shape: Vec<usize> = (0..rank).map(|_| random.within(1, 9)).collect();
    let mut earlier = g.input("x", &shape).unwrap();
    let v = g.affine(&earlier, -1.2, 0.3).unwrap();
    let mut v = g.activation(&v, Activation::Gelu).unwrap();
    for index in 0..random.within(4, 14) {
        let other = |random: &mut Random, alike: bool| {
            let mut own = shape.clone();
            if !alike {
                own.drain(..random.within(0, rank - 1));
                for len in &mut own {
                    *len = if random.within(0, 1) == 0 { 1 } else { *len };
                }
            }
            g.input(&format!("m{index}"), &own).unwrap()
        };
        let next = match random.within(0, 8) {
            0 => g.activation(&v, Activation::Silu),
            1 => g.affine(&v, 0.7, 0.1),
            2 => g.unary(&v, UnaryKind::Tanh),
            3 => g.add(&v, &other(random, false)),
            4 => g.mul(&v, &other(random, false)),
            5 => g.add(&other(random, true), &v),
            6 => g.gated(&v, &other(random, true), Activation::GeluTanh),
            7 => g.gated(&other(random, true), &v, Activation::QuickGelu),
            _ => g.add(&v, &earlier),
        };
        if random.within(0, 3) == 0 {
            earlier = v.clone();
        }
        v = next.unwrap();
    }
    g.output("y", &v);
    g.finish()
}

#[test]
fn random_chains_of_ops_agree() {
    let mut random = Random::fresh("random_chains_of_ops_agree");
    for _ in 0..12 {
        let graph = chained(&mut random);
        agree(&mut random, &graph, true);
    }
}

#[test]
fn a_single_op_is_left_alone() {
    let mut random = Random::fresh("a_single_op_is_left_alone");
    let g = GraphBuilder::new("one");
    let x = g.input("x", &[3, 5]).unwrap();
    let y = g.activation(&x, Activation::Relu).unwrap();
    g.output("y", &y);
    agree(&mut random, &g.finish(), false);
}
