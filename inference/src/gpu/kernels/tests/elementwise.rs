//! Copies, element-wise functions, scaling and rotary embeddings.

use super::bench::Case;
use super::{Random, check, wide};
use crate::formats::TensorData;
use crate::graph::{
    Activation, BinaryKind, HostTensor, NO_SLOT, Op, RopeStyle, UnaryKind, WeightId,
};

/// The error function: the Taylor series near zero, Laplace's continued fraction elsewhere.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    let value = if a < 3.0 {
        let (mut term, mut sum) = (a, a);
        for n in 1..120 {
            term *= -a * a / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let mut fraction = a;
        for n in (1..60).rev() {
            fraction = a + f64::from(n) / 2.0 / fraction;
        }
        1.0 - (-a * a).exp() / std::f64::consts::PI.sqrt() / fraction
    };
    value.copysign(x)
}

pub(super) fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => 0.5 * x * (1.0 + erf(x / 2f64.sqrt())),
        Activation::GeluTanh => {
            0.5 * x
                * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
        }
        Activation::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
        Activation::Relu => x.max(0.0),
    }
}

pub(super) const ACTIVATIONS: [Activation; 5] = [
    Activation::Silu,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::QuickGelu,
    Activation::Relu,
];

#[test]
fn the_reference_knows_the_error_function() {
    for (x, known) in [
        (0.5, 0.520_499_877_813_046_5),
        (1.0, 0.842_700_792_949_714_9),
        (3.5, 0.999_999_256_901_627_7),
    ] {
        assert!(
            (erf(x) - known).abs() < 1e-14 && (erf(-x) + known).abs() < 1e-14,
            "{x}"
        );
    }
}

#[test]
fn unary_functions() {
    let mut random = Random::new("unary_functions");
    let kinds = ACTIVATIONS.map(UnaryKind::Activation).into_iter().chain([
        UnaryKind::Tanh,
        UnaryKind::Affine {
            factor: -2.5,
            offset: 0.75,
        },
        UnaryKind::Clamp {
            low: -0.25,
            high: 0.5,
        },
        UnaryKind::LeakyRelu { slope: 0.2 },
    ]);
    for kind in kinds {
        for spread in [0.01f32, 1.0, 6.0] {
            // Beyond one band of the tiny limits.
            let values: Vec<f32> = random
                .values(&[20_003])
                .iter()
                .map(|v| v * spread)
                .collect();
            let expected: Vec<f64> = values.iter().map(|&v| unary(kind, f64::from(v))).collect();
            let case = Case::new(
                Op::Unary(kind),
                vec![HostTensor::f32([20_003], values)],
                Vec::new(),
                &[20_003],
            );
            check(&format!("{kind:?} within {spread}"), &case, &expected, 1e-6);
        }
        // Each of the large values by itself, so that the largest does not hide the others.
        for value in [
            -1e30f32, -1e10, -1e4, -100.0, -88.0, -40.0, -10.0, 0.0, 10.0, 40.0, 88.0, 100.0, 1e4,
            1e10, 1e30,
        ] {
            let expected = [unary(kind, f64::from(value))];
            let case = Case::new(
                Op::Unary(kind),
                vec![HostTensor::f32([1], vec![value])],
                Vec::new(),
                &[1],
            );
            let tolerance = if expected[0].abs() < 1e-5 { 1e30 } else { 2e-6 };
            let [outcome, _] = check(&format!("{kind:?} of {value}"), &case, &expected, tolerance);
            assert!(
                (f64::from(outcome.output[0]) - expected[0]).abs()
                    <= 1e-5 * expected[0].abs().max(1.0)
            );
        }
    }
}

pub(super) fn unary(kind: UnaryKind, x: f64) -> f64 {
    match kind {
        UnaryKind::Activation(activation) => activate(activation, x),
        UnaryKind::Tanh => x.tanh(),
        UnaryKind::Affine { factor, offset } => x * f64::from(factor) + f64::from(offset),
        UnaryKind::Clamp { low, high } => x.clamp(f64::from(low), f64::from(high)),
        UnaryKind::LeakyRelu { slope } => x.max(0.0) + f64::from(slope) * x.min(0.0),
    }
}

#[test]
fn gates() {
    let mut random = Random::new("gates");
    for activation in ACTIVATIONS {
        let shape = [2, 61, 173];
        let (gate, up) = (random.tensor(&shape), random.tensor(&shape));
        let expected: Vec<f64> = wide(gate.as_f32())
            .iter()
            .zip(wide(up.as_f32()))
            .map(|(&gate, up)| activate(activation, gate) * up)
            .collect();
        let case = Case::new(Op::Gated { activation }, vec![gate, up], Vec::new(), &shape);
        check(&format!("gated {activation:?}"), &case, &expected, 1e-6);

        let x = random.tensor(&[3, 41, 2 * 87]);
        let expected: Vec<f64> = wide(x.as_f32())
            .chunks(174)
            .flat_map(|row| {
                (0..87)
                    .map(|i| row[i] * activate(activation, row[87 + i]))
                    .collect::<Vec<_>>()
            })
            .collect();
        let case = Case::new(
            Op::SplitGated { activation },
            vec![x],
            Vec::new(),
            &[3, 41, 87],
        );
        check(
            &format!("split_gated {activation:?}"),
            &case,
            &expected,
            1e-6,
        );
    }
}

#[test]
fn sums_and_products_broadcast() {
    let mut random = Random::new("sums_and_products_broadcast");
    for (a, b) in [
        (vec![5], vec![5]),
        (vec![2, 3, 4, 5], vec![2, 3, 4, 5]),
        (vec![2, 3, 4, 5], vec![1, 3, 1, 1]),
        (vec![2, 3, 4, 5], vec![4, 5]),
        (vec![2, 3, 4, 5], vec![2, 1, 4, 1]),
        (vec![7, 9], vec![1]),
        (vec![2, 20, 31, 33], vec![2, 20, 1, 1]),
        (vec![3, 100, 91], vec![3, 1, 91]),
        (vec![3, 100, 91], vec![3, 100, 91]),
        (vec![40, 2, 301], vec![40, 1, 301]),
    ] {
        for kind in [BinaryKind::Add, BinaryKind::Mul] {
            let (x, y) = (random.tensor(&a), random.tensor(&b));
            let padded: Vec<usize> = std::iter::repeat_n(1, a.len() - b.len())
                .chain(b.iter().copied())
                .collect();
            let (xs, ys) = (wide(x.as_f32()), wide(y.as_f32()));
            let expected: Vec<f64> = (0..xs.len())
                .map(|at| {
                    let (mut rest, mut place, mut stride) = (at, 0, 1);
                    for (&len, &own) in a.iter().zip(&padded).rev() {
                        place += rest % len % own * stride;
                        rest /= len;
                        stride *= own;
                    }
                    if kind == BinaryKind::Add {
                        xs[at] + ys[place]
                    } else {
                        xs[at] * ys[place]
                    }
                })
                .collect();
            let case = Case::new(Op::Binary(kind), vec![x, y], Vec::new(), &a);
            check(&format!("{kind:?} {a:?} {b:?}"), &case, &expected, 1e-6);
        }
    }
}

#[test]
fn copies() {
    let mut random = Random::new("copies");
    for (shape, axes) in [
        (vec![6], vec![0]),
        (vec![3, 5], vec![1, 0]),
        (vec![2, 3, 5], vec![0, 2, 1]),
        (vec![2, 3, 4, 5], vec![3, 1, 0, 2]),
        (vec![2, 3, 4, 5], vec![0, 1, 2, 3]),
        (vec![1, 130, 171], vec![0, 2, 1]),
        (vec![2, 40, 9, 31], vec![0, 2, 1, 3]),
        (vec![2, 11, 37, 53], vec![3, 2, 1, 0]),
    ] {
        let x = random.tensor(&shape);
        let out: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
        let xs = wide(x.as_f32());
        let expected: Vec<f64> = (0..xs.len())
            .map(|at| {
                let mut rest = at;
                let mut place = vec![0; shape.len()];
                for i in (0..out.len()).rev() {
                    place[axes[i]] = rest % out[i];
                    rest /= out[i];
                }
                xs[place
                    .iter()
                    .zip(&shape)
                    .fold(0, |index, (&i, &len)| index * len + i)]
            })
            .collect();
        let case = Case::new(
            Op::Permute { axes: axes.clone() },
            vec![x],
            Vec::new(),
            &out,
        );
        check(
            &format!("permute {shape:?} {axes:?}"),
            &case,
            &expected,
            0.0,
        );
    }
    for (shape, axis, parts) in [
        (vec![2, 0, 3], 1, vec![1, 4, 2]),
        (vec![0], 0, vec![3, 5]),
        (vec![3, 2, 2, 2, 0], 4, vec![1, 2]),
        (vec![2, 0, 30, 31], 1, vec![9, 14]),
        (vec![1, 170, 0], 2, vec![101, 37]),
    ] {
        let outer: usize = shape[..axis].iter().product();
        let inner: usize = shape[axis + 1..].iter().product();
        let operands: Vec<HostTensor> = parts
            .iter()
            .map(|&len| {
                let mut shape = shape.clone();
                shape[axis] = len;
                random.tensor(&shape)
            })
            .collect();
        let mut expected = Vec::new();
        for o in 0..outer {
            for (operand, &len) in operands.iter().zip(&parts) {
                expected.extend(wide(&operand.as_f32()[o * len * inner..][..len * inner]));
            }
        }
        let mut out = shape.clone();
        out[axis] = parts.iter().sum();
        let whole = HostTensor::f32(out.clone(), expected.iter().map(|&v| v as f32).collect());
        check(
            &format!("concat {out:?}"),
            &Case::new(Op::Concat { axis }, operands, Vec::new(), &out),
            &expected,
            0.0,
        );

        // And one of the parts out again.
        let (start, len) = (parts[0], parts[1]);
        let mut part = out.clone();
        part[axis] = len;
        let expected: Vec<f64> = (0..outer)
            .flat_map(|o| wide(&whole.as_f32()[(o * out[axis] + start) * inner..][..len * inner]))
            .collect();
        let op = Op::Slice { axis, start, len };
        check(
            &format!("slice {out:?}"),
            &Case::new(op, vec![whole], Vec::new(), &part),
            &expected,
            0.0,
        );
    }
}

#[test]
fn rows_are_gathered() {
    let mut random = Random::new("rows_are_gathered");
    for (rows, width, count) in [(1, 3, 2), (50, 7, 9), (300, 97, 400)] {
        let x = random.tensor(&[rows, width]);
        let indices: Vec<u32> = (0..count).map(|_| random.below(rows) as u32).collect();
        let expected: Vec<f64> = indices
            .iter()
            .flat_map(|&i| wide(&x.as_f32()[i as usize * width..][..width]))
            .collect();
        let case = Case::new(
            Op::GatherRows,
            vec![x, HostTensor::u32([count], indices)],
            Vec::new(),
            &[count, width],
        );
        check(
            &format!("gather_rows {rows}x{width}"),
            &case,
            &expected,
            0.0,
        );
    }
}

#[test]
fn nearest_neighbours() {
    let mut random = Random::new("nearest_neighbours");
    for (shape, [oh, ow]) in [
        ([1, 1, 2, 3], [4, 6]),
        ([2, 3, 5, 7], [10, 14]),
        ([1, 2, 7, 5], [11, 3]),
        ([2, 5, 33, 35], [66, 70]),
        ([1, 1, 20, 300], [40, 600]),
    ] {
        let [b, c, h, w] = shape;
        let x = random.tensor(&shape);
        let xs = wide(x.as_f32());
        let expected: Vec<f64> = (0..b * c * oh * ow)
            .map(|at| {
                let (ox, oy, plane) = (at % ow, at / ow % oh, at / ow / oh);
                xs[(plane * h + oy * h / oh) * w + ox * w / ow]
            })
            .collect();
        let case = Case::new(Op::UpsampleNearest, vec![x], Vec::new(), &[b, c, oh, ow]);
        check(&format!("upsample {shape:?}"), &case, &expected, 0.0);
    }
}

#[test]
fn rotary_embeddings() {
    let mut random = Random::new("rotary_embeddings");
    for (rows, heads, head_dim, n) in [
        (1, 1, 2, 1),
        (9, 3, 10, 5),
        (70, 4, 96, 32),
        (200, 2, 129, 64),
    ] {
        for style in [RopeStyle::Half, RopeStyle::Interleaved] {
            // No model turns backwards, but the kernel can.
            let mut inv_freq: Vec<f32> = (0..n)
                .map(|i| 10000f32.powf(-(i as f32) / n as f32))
                .collect();
            inv_freq[n - 1] *= -1.0;
            let mut positions: Vec<u32> = (0..rows)
                .map(|_| {
                    let bits = 1 + random.below(20);
                    random.below(1 << bits) as u32
                })
                .collect();
            positions[rows / 2] = NO_SLOT;
            let x = random.tensor(&[rows, heads * head_dim]);
            let xs = wide(x.as_f32());
            let magnitude = 1.25f32;
            let mut expected = xs.clone();
            for (row, &position) in positions.iter().enumerate() {
                for head in 0..heads {
                    for (i, frequency) in inv_freq.iter().enumerate() {
                        if position == NO_SLOT {
                            continue;
                        }
                        // The product in f32, as the reference programs have it.
                        let angle = f64::from(position as f32 * frequency);
                        let (sine, cosine) = (
                            angle.sin() * f64::from(magnitude),
                            angle.cos() * f64::from(magnitude),
                        );
                        let base = (row * heads + head) * head_dim;
                        let (a, b) = match style {
                            RopeStyle::Half => (base + i, base + i + n),
                            RopeStyle::Interleaved => (base + 2 * i, base + 2 * i + 1),
                        };
                        expected[a] = xs[a] * cosine - xs[b] * sine;
                        expected[b] = xs[b] * cosine + xs[a] * sine;
                    }
                }
            }
            let weight = TensorData::from_f32("inv_freq", &[n], &inv_freq).unwrap();
            let op = Op::Rope {
                heads,
                inv_freq: WeightId(0),
                style,
                magnitude,
            };
            let operands = vec![x, HostTensor::u32([rows], positions)];
            let case = Case::new(op, operands, vec![weight], &[rows, heads * head_dim]);
            check(
                &format!("rope {style:?} {rows}x{heads}x{head_dim}"),
                &case,
                &expected,
                1e-6,
            );
        }
    }
}
