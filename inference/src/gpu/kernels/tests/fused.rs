//! Ops with what they take over from their neighbours.

use super::super::{Combine, Epilogue, Fusion, Rotation};
use super::bench::Case;
use super::elementwise::{activate, unary};
use super::products::convolve;
use super::{Random, check, wide};
use crate::formats::StorageDtype;
use crate::graph::{
    Activation, Conv2dSpec, HostTensor, NO_SLOT, Op, RopeStyle, UnaryKind, WeightId,
};

/// One of each kind of epilogue; `operand` is the number of what is met.
fn epilogues(operand: usize) -> Vec<Epilogue> {
    let silu = Some(UnaryKind::Activation(Activation::Silu));
    let affine = Some(UnaryKind::Affine {
        factor: 0.2,
        offset: 0.1,
    });
    vec![
        Epilogue {
            combine: Some((Combine::Add, operand)),
            ..Epilogue::default()
        },
        Epilogue {
            before: silu,
            combine: Some((Combine::Multiply, operand)),
            ..Epilogue::default()
        },
        Epilogue {
            before: affine,
            combine: Some((Combine::Add, operand)),
            after: Some(UnaryKind::LeakyRelu { slope: 0.2 }),
        },
        Epilogue {
            // Not one that is bounded: the rounding of large sums would be measured against 1.
            before: Some(UnaryKind::Activation(Activation::Gelu)),
            after: affine,
            ..Epilogue::default()
        },
    ]
}

fn finished(epilogue: &Epilogue, value: f64, other: f64) -> f64 {
    let apply = |kind: Option<UnaryKind>, x: f64| kind.map_or(x, |kind| unary(kind, x));
    let value = apply(epilogue.before, value);
    let met = match epilogue.combine {
        None => value,
        Some((Combine::Multiply, _)) => value * other,
        Some(_) => value + other,
    };
    apply(epilogue.after, met)
}

/// `x [rows, k] * w [n, k] + b`.
fn product(xs: &[f64], ws: &[f64], bs: &[f64], k: usize) -> Vec<f64> {
    xs.chunks(k)
        .flat_map(|row| {
            ws.chunks(k).zip(bs).map(|(weights, bias)| {
                row.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>() + bias
            })
        })
        .collect()
}

#[test]
fn products_with_epilogues() {
    let mut random = Random::new("products_with_epilogues");
    let types = [
        (StorageDtype::F32, 1),
        (StorageDtype::F16, 1),
        (StorageDtype::Q8_0, 32),
        (StorageDtype::Q4_1, 32),
        (StorageDtype::Q4K, 256),
    ];
    for (dtype, block) in types {
        for rows in [1, 3, 8, 13, 70, 150] {
            let k = if block == 1 {
                1 + random.below(300)
            } else {
                block * 2
            };
            let n = 1 + random.below(200);
            let choices = epilogues(1);
            let epilogue = choices[random.below(choices.len())];
            let (x, other) = (random.tensor(&[rows, k]), random.tensor(&[rows, n]));
            let weight = random.weight("w", &[n, k], dtype);
            let bias = random.weight("b", &[n], StorageDtype::F32);
            let sums = product(
                &wide(x.as_f32()),
                &wide(&weight.to_f32().unwrap()),
                &wide(&bias.to_f32().unwrap()),
                k,
            );
            let expected: Vec<f64> = sums
                .iter()
                .zip(wide(other.as_f32()))
                .map(|(&sum, other)| finished(&epilogue, sum, other))
                .collect();
            let op = Op::Linear {
                weight: WeightId(0),
                bias: Some(WeightId(1)),
            };
            let mut case = Case::new(op, vec![x, other], vec![weight, bias], &[rows, n]);
            case.fusion.epilogue = epilogue;
            let name = format!("linear {rows}x{k}x{n} {dtype} with {epilogue:?}");
            check(&name, &case, &expected, 1e-5);
        }
    }
}

#[test]
fn products_with_gates() {
    let mut random = Random::new("products_with_gates");
    for (rows, k, n) in [
        (1, 48, 33),
        (5, 64, 1),
        (16, 37, 100),
        (17, 40, 33),
        (70, 64, 64),
        (65, 515, 100),
        (150, 300, 161),
        (220, 70, 70),
        (40, 512, 24),
    ] {
        for dtype in [StorageDtype::F32, StorageDtype::F16] {
            let x = random.tensor(&[rows, k]);
            let weight = random.weight("w", &[2 * n, k], dtype);
            let bias = random.weight("b", &[2 * n], StorageDtype::F32);
            let both = product(
                &wide(x.as_f32()),
                &wide(&weight.to_f32().unwrap()),
                &wide(&bias.to_f32().unwrap()),
                k,
            );
            let other = random.tensor(&[rows, n]);
            let others = wide(other.as_f32());
            let expected: Vec<f64> = (0..rows * n)
                .map(|at| {
                    let (row, column) = (at / n, at % n);
                    let [value, gate] = [column, n + column].map(|c| both[row * 2 * n + c]);
                    value * activate(Activation::Gelu, gate) + others[at]
                })
                .collect();
            let op = Op::Linear {
                weight: WeightId(0),
                bias: Some(WeightId(1)),
            };
            let mut case = Case::new(op, vec![x, other], vec![weight, bias], &[rows, 2 * n]);
            case.fusion = Fusion {
                gate: Some(Activation::Gelu),
                epilogue: epilogues(1)[0],
                ..Fusion::default()
            };
            super::check_fitting(
                &format!("gated {rows}x{k}x{n} {dtype}"),
                &case,
                &expected,
                1e-5,
            );
        }
    }
}

#[test]
fn products_in_columns() {
    let mut random = Random::new("products_in_columns");
    for (batch, plane, k, n) in [
        (1, 20, 7, 5),
        (2, 35, 40, 70),
        (3, 64, 33, 64),
        (2, 99, 515, 30),
        // Within tiny limits cut into bands of rows.
        (2, 50, 163, 163),
    ] {
        for (columns_in, columns_out) in [(true, false), (false, true), (true, true)] {
            let rows = batch * plane;
            let x = random.tensor(&[rows, k]);
            let other = random.tensor(&[rows, n]);
            let weight = random.weight("w", &[n, k], StorageDtype::F16);
            let bias = random.weight("b", &[n], StorageDtype::F32);
            let sums = product(
                &wide(x.as_f32()),
                &wide(&weight.to_f32().unwrap()),
                &wide(&bias.to_f32().unwrap()),
                k,
            );
            // `[batch, plane, width]` as `[batch, width, plane]`.
            let turned = |values: &[f32], width: usize| -> Vec<f32> {
                (0..values.len())
                    .map(|at| {
                        let (outer, column) = (at / (width * plane), at / plane % width);
                        values[(outer * plane + at % plane) * width + column]
                    })
                    .collect()
            };
            let plain: Vec<f64> = sums
                .iter()
                .zip(wide(other.as_f32()))
                .map(|(sum, other)| sum + other)
                .collect();
            let expected = match columns_out {
                false => plain,
                true => (0..rows * n)
                    .map(|at| {
                        let (outer, column) = (at / (n * plane), at / plane % n);
                        plain[(outer * plane + at % plane) * n + column]
                    })
                    .collect(),
            };
            let given = match columns_in {
                true => HostTensor::f32([rows, k], turned(x.as_f32(), k)),
                false => x,
            };
            let met = match columns_out {
                true => HostTensor::f32([rows, n], turned(other.as_f32(), n)),
                false => other,
            };
            let op = Op::Linear {
                weight: WeightId(0),
                bias: Some(WeightId(1)),
            };
            let mut case = Case::new(op, vec![given, met], vec![weight, bias], &[rows, n]);
            case.fusion = Fusion {
                columns_in: columns_in.then_some(plane),
                columns_out: columns_out.then_some(plane),
                epilogue: epilogues(1)[0],
                ..Fusion::default()
            };
            let name = format!("columns {columns_in} {columns_out} {batch}x{plane}x{k}x{n}");
            super::check_fitting(&name, &case, &expected, 1e-5);
        }
    }
}

#[test]
fn convolutions_with_epilogues() {
    let mut random = Random::new("convolutions_with_epilogues");
    for (batch, c, o, h, w, kernel) in [
        (1, 3, 5, 9, 7, 3),
        (2, 20, 33, 12, 11, 3),
        (2, 70, 24, 6, 9, 1),
        (1, 9, 70, 40, 37, 3),
        (3, 40, 64, 5, 5, 3),
    ] {
        for doubled in [false, true] {
            let x = random.tensor(&[batch, c, h, w]);
            let weight = random.weight("w", &[o, c, kernel, kernel], StorageDtype::F16);
            let bias = random.weight("b", &[o], StorageDtype::F32);
            let (tall, broad) = if doubled { (2 * h, 2 * w) } else { (h, w) };
            let seen: Vec<f64> = (0..batch * c * tall * broad)
                .map(|at| {
                    let (plane, y, z) = (at / (tall * broad), at / broad % tall, at % broad);
                    let (y, z) = if doubled { (y / 2, z / 2) } else { (y, z) };
                    f64::from(x.as_f32()[(plane * h + y) * w + z])
                })
                .collect();
            let spec = Conv2dSpec::same(kernel);
            let (sums, _) = convolve(
                &seen,
                [batch, c, tall, broad],
                &wide(&weight.to_f32().unwrap()),
                &wide(&bias.to_f32().unwrap()),
                [kernel; 2],
                spec,
            );
            let by_channel = random.below(2) == 1;
            let per_picture = random.below(2) == 1;
            let (epilogue, other) = match by_channel {
                true => {
                    let pictures = if per_picture { batch } else { 1 };
                    let combine = Some((Combine::AddByChannel, 1));
                    let after = Some(UnaryKind::Activation(Activation::Silu));
                    (
                        Epilogue {
                            combine,
                            after,
                            ..Epilogue::default()
                        },
                        random.tensor(&[pictures, o, 1, 1]),
                    )
                }
                false => {
                    let choices = epilogues(1);
                    (
                        choices[random.below(choices.len())],
                        random.tensor(&[batch, o, tall, broad]),
                    )
                }
            };
            let others = wide(other.as_f32());
            let pixels = tall * broad;
            let expected: Vec<f64> = sums
                .iter()
                .enumerate()
                .map(|(at, &sum)| {
                    let met = match by_channel {
                        true => others[at / pixels % others.len()],
                        false => others[at],
                    };
                    finished(&epilogue, sum, met)
                })
                .collect();
            let op = Op::Conv2d {
                weight: WeightId(0),
                bias: Some(WeightId(1)),
                spec,
            };
            let shape = [batch, o, tall, broad];
            let mut case = Case::new(op, vec![x, other], vec![weight, bias], &shape);
            case.fusion = Fusion {
                epilogue,
                doubled,
                ..Fusion::default()
            };
            let name = format!(
                "convolution {batch}x{c}x{h}x{w} to {o} by {kernel}, {:?}",
                case.fusion
            );
            check(&name, &case, &expected, 1e-5);
        }
    }
}

#[test]
fn norms_of_heads_with_rotation() {
    let mut random = Random::new("norms_of_heads_with_rotation");
    for style in [RopeStyle::Half, RopeStyle::Interleaved] {
        for (rows, heads, width, pairs) in [
            (1, 1, 2, 1),
            (3, 5, 128, 64),
            (40, 9, 66, 20),
            (7, 2, 257, 128),
        ] {
            let x = random.tensor(&[rows * heads, width]);
            let gain = random.weight("gain", &[width], StorageDtype::F32);
            let freq = random.weight("freq", &[pairs], StorageDtype::F32);
            let positions: Vec<u32> = (0..rows)
                .map(|_| match random.below(5) {
                    0 => NO_SLOT,
                    _ => random.below(3000) as u32,
                })
                .collect();
            let (gains, freqs) = (wide(&gain.to_f32().unwrap()), freq.to_f32().unwrap());
            let magnitude = 1.25f32;
            let mut expected = Vec::new();
            for (row, head) in wide(x.as_f32()).chunks(width).enumerate() {
                let squares: f64 = head.iter().map(|v| v * v).sum();
                let scale = 1.0 / (squares / width as f64 + 1e-5).sqrt();
                let normed: Vec<f64> = head
                    .iter()
                    .zip(&gains)
                    .map(|(v, g)| v * scale * g)
                    .collect();
                let mut out = normed.clone();
                let position = positions[row / heads];
                for pair in (0..pairs).filter(|_| position != NO_SLOT) {
                    let (i, j) = match style {
                        RopeStyle::Half => (pair, pair + pairs),
                        RopeStyle::Interleaved => (2 * pair, 2 * pair + 1),
                    };
                    // The angle is a product in f32, as the reference programs have it.
                    let (sin, cos) = f64::from(position as f32 * freqs[pair]).sin_cos();
                    let m = f64::from(magnitude);
                    out[i] = (normed[i] * cos - normed[j] * sin) * m;
                    out[j] = (normed[j] * cos + normed[i] * sin) * m;
                }
                expected.extend(out);
            }
            let op = Op::RmsNorm {
                weight: WeightId(0),
                eps: 1e-5,
            };
            let places = HostTensor::u32([rows], positions);
            let shape = [rows * heads, width];
            let mut case = Case::new(op, vec![x, places], vec![gain, freq], &shape);
            case.fusion.rotation = Some(Rotation {
                heads,
                inv_freq: WeightId(1),
                style,
                magnitude,
                positions: 1,
            });
            let name = format!("norm and rotation {rows}x{heads}x{width} {style:?}");
            check(&name, &case, &expected, 2e-6);
        }
    }
}
