//! Linear layers, embeddings, constants, convolutions and normalisations.

use diptych_shaders::Kernel;

use super::bench::{Bench, Case, Outcome};
use super::{KernelLimits, Random, TINY, check, wide};
use crate::formats::{StorageDtype, TensorData};
use crate::graph::{Conv2dSpec, HostTensor, Op, WeightId};

const PLAIN: [StorageDtype; 3] = [StorageDtype::F32, StorageDtype::F16, StorageDtype::Bf16];
/// Types with the length of their blocks.
pub(super) const PACKED: [(StorageDtype, usize); 12] = [
    (StorageDtype::Q4_1, 32),
    (StorageDtype::Q5_0, 32),
    (StorageDtype::Q5_1, 32),
    (StorageDtype::Q2K, 256),
    (StorageDtype::Q3K, 256),
    (StorageDtype::Q5K, 256),
    (StorageDtype::Iq4Nl, 32),
    (StorageDtype::Iq4Xs, 256),
    (StorageDtype::Q8_0, 32),
    (StorageDtype::Q4_0, 32),
    (StorageDtype::Q4K, 256),
    (StorageDtype::Q6K, 256),
];

fn linear_case(
    random: &mut Random,
    rows: usize,
    k: usize,
    n: usize,
    dtype: StorageDtype,
    bias: Option<StorageDtype>,
) -> [Outcome; 2] {
    let x = random.tensor(&[rows, k]);
    let weight = random.weight("w", &[n, k], dtype);
    let bias = bias.map(|dtype| random.weight("b", &[n], dtype));
    let (xs, ws) = (wide(x.as_f32()), wide(&weight.to_f32().unwrap()));
    let bs = bias
        .as_ref()
        .map_or(vec![0.0; n], |bias| wide(&bias.to_f32().unwrap()));
    let mut expected = vec![0.0; rows * n];
    for r in 0..rows {
        for o in 0..n {
            let dot: f64 = (0..k).map(|i| xs[r * k + i] * ws[o * k + i]).sum();
            expected[r * n + o] = dot + bs[o];
        }
    }
    let op = Op::Linear {
        weight: WeightId(0),
        bias: bias.as_ref().map(|_| WeightId(1)),
    };
    let weights = std::iter::once(weight).chain(bias).collect();
    let case = Case::new(op, vec![x], weights, &[rows, n]);
    check(
        &format!("linear {rows}x{k}x{n} {dtype}"),
        &case,
        &expected,
        4e-6,
    )
}

#[test]
fn linear_of_plain_weights() {
    let mut random = Random::new("linear_of_plain_weights");
    for dtype in PLAIN {
        for rows in [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 64, 77] {
            let (k, n) = (1 + random.below(70), 1 + random.below(150));
            linear_case(&mut random, rows, k, n, dtype, Some(StorageDtype::F32));
        }
        // More than one workgroup in every direction, and weights and activations that do not fit the tiny limits.
        linear_case(&mut random, 1, 515, 307, dtype, Some(StorageDtype::F16));
        linear_case(&mut random, 150, 259, 333, dtype, None);
    }
}

#[test]
fn linear_of_quantised_weights() {
    let mut random = Random::new("linear_of_quantised_weights");
    for (dtype, block) in PACKED {
        for rows in [1, 2, 3, 4, 5, 6, 7, 8, 11, 65] {
            let (k, n) = (block * (1 + random.below(3)), 1 + random.below(90));
            linear_case(&mut random, rows, k, n, dtype, Some(StorageDtype::Bf16));
        }
        // So many weight rows that workgroups take eight of them.
        for rows in 1..=4 {
            let [roomy, tiny] =
                linear_case(&mut random, rows, 2 * block.max(128), 901, dtype, None);
            let eight = |kernel: &Kernel| matches!(kernel, Kernel::MatVec { rows, .. } if rows.weight_rows() == 8);
            assert!(roomy.kernels.iter().all(eight) && !tiny.kernels.is_empty());
        }
        linear_case(&mut random, 70, 2 * block.max(128), 203, dtype, None);
    }
}

/// Sums over subgroups, and weight rows of which each lane has its own, give what the portable kernels give, and touch nothing else.
#[test]
fn products_with_subgroups() {
    let mut random = Random::new("products_with_subgroups");
    let Some((bench, lanes)) = Bench::with_subgroups() else {
        println!("this device has no subgroups");
        return;
    };
    let mut across = 0;
    for (dtype, block) in PACKED.into_iter().chain([(StorageDtype::F32, 1)]) {
        for (rows, limits) in [1, 4, 7, 21]
            .into_iter()
            .flat_map(|rows| [(rows, KernelLimits::default()), (rows, TINY)])
        {
            let n = 1 + random.below(200);
            let k = block
                * if block == 1 {
                    1 + random.below(600)
                } else {
                    1 + random.below(3)
                };
            let weights = vec![
                random.weight("w", &[n, k], dtype),
                random.weight("b", &[n], StorageDtype::F32),
            ];
            let op = Op::Linear {
                weight: WeightId(0),
                bias: Some(WeightId(1)),
            };
            let case = Case::new(op, vec![random.tensor(&[rows, k])], weights, &[rows, n]);
            let plain = bench.run(&case, &limits);
            for serial_lanes in [false, true] {
                let possible = match serial_lanes {
                    true => lanes >= 8 && (rows <= 8 || block > 1),
                    // Of more rows by tiles.
                    false => rows <= 8,
                };
                if !possible {
                    continue;
                }
                let limits = KernelLimits {
                    subgroups: true,
                    serial_lanes,
                    ..limits
                };
                let found = bench.run(&case, &limits);
                let name = format!("linear {rows}x{k}x{n} {dtype}, own rows: {serial_lanes}");
                assert!(
                    found.kernels.iter().all(|kernel| kernel.needs_subgroups()),
                    "{name}"
                );
                let own = |kernel: &Kernel| match kernel {
                    Kernel::MatVecSubgroups { rows, .. } => rows.is_across(),
                    Kernel::GemmAcross { .. } => true,
                    _ => false,
                };
                assert_eq!(
                    found.kernels.iter().any(own),
                    serial_lanes && block > 1,
                    "{name}"
                );
                across += usize::from(found.kernels.iter().any(own));
                super::compare(&name, &found.output, &wide(&plain.output), 4e-6);
            }
        }
    }
    assert!(across > 0 || lanes < 8);
}

/// Tiles of weights in 16 bits: of f16 the same as in 32, of blocks within what eleven bits can tell.
#[test]
fn products_with_tiles_of_halves() {
    let mut random = Random::new("products_with_tiles_of_halves");
    let Some(bench) = Bench::with_halves() else {
        println!("this device has no 16-bit floats in shaders");
        return;
    };
    let with = |limits: KernelLimits| {
        let plain = limits;
        [
            plain,
            KernelLimits {
                halves: true,
                ..plain
            },
        ]
    };
    let types = PACKED.into_iter().chain([(StorageDtype::F16, 1)]);
    for (dtype, block) in types {
        for limits in [KernelLimits::default(), TINY] {
            let (rows, n) = (17 + random.below(120), 1 + random.below(150));
            let k = block * if block == 1 { 1 + random.below(600) } else { 2 };
            let weights = vec![random.weight("w", &[n, k], dtype)];
            let op = Op::Linear {
                weight: WeightId(0),
                bias: None,
            };
            let case = Case::new(op, vec![random.tensor(&[rows, k])], weights, &[rows, n]);
            let [floats, halves] = with(limits).map(|limits| bench.run(&case, &limits));
            same_within(
                &format!("linear {rows}x{k}x{n} {dtype}"),
                dtype,
                &floats,
                &halves,
            );
        }
    }
    for (kernel, channels) in [(1, 300), (3, 70), (3, 5)] {
        for limits in [KernelLimits::default(), TINY] {
            let weights =
                vec![random.weight("w", &[67, channels, kernel, kernel], StorageDtype::F16)];
            let op = Op::Conv2d {
                weight: WeightId(0),
                bias: None,
                spec: Conv2dSpec::same(kernel),
            };
            let x = random.tensor(&[2, channels, 9, 7]);
            let case = Case::new(op, vec![x], weights, &[2, 67, 9, 7]);
            let [floats, halves] = with(limits).map(|limits| bench.run(&case, &limits));
            let name = format!("convolution {kernel} {channels}");
            same_within(&name, StorageDtype::F16, &floats, &halves);
        }
    }
}

fn same_within(name: &str, dtype: StorageDtype, floats: &Outcome, halves: &Outcome) {
    assert!(
        halves.kernels.iter().any(|kernel| kernel.needs_halves()),
        "{name}"
    );
    assert!(!floats.kernels.iter().any(|kernel| kernel.needs_halves()));
    // A device may take the least of 16-bit floats, below 2^-14, for zero.
    let tolerance = match dtype {
        StorageDtype::F16 => 2e-5,
        _ => 6e-4,
    };
    super::compare(name, &halves.output, &wide(&floats.output), tolerance);
}

#[test]
fn linear_of_large_values() {
    let mut random = Random::new("linear_of_large_values");
    let x = HostTensor::f32(
        [9, 64],
        random.values(&[9, 64]).iter().map(|v| v * 1e15).collect(),
    );
    let weight = TensorData::from_f32(
        "w",
        &[5, 64],
        &random
            .values(&[5, 64])
            .iter()
            .map(|v| v * 1e15)
            .collect::<Vec<_>>(),
    );
    let weight = weight.unwrap();
    let (xs, ws) = (wide(x.as_f32()), wide(&weight.to_f32().unwrap()));
    let expected: Vec<f64> = (0..45)
        .map(|at| {
            (0..64)
                .map(|i| xs[at / 5 * 64 + i] * ws[at % 5 * 64 + i])
                .sum()
        })
        .collect();
    let op = Op::Linear {
        weight: WeightId(0),
        bias: None,
    };
    check(
        "linear of large values",
        &Case::new(op, vec![x], vec![weight], &[9, 5]),
        &expected,
        4e-6,
    );
}

#[test]
fn embeddings_and_constants() {
    let mut random = Random::new("embeddings_and_constants");
    let plain = PLAIN.map(|dtype| (dtype, 1));
    for (dtype, block) in plain.into_iter().chain(PACKED) {
        let width = if block == 1 {
            37 + random.below(9)
        } else {
            block * 2
        };
        let rows = 2100 + random.below(50);
        let table = random.weight("table", &[rows, width], dtype);
        let values = wide(&table.to_f32().unwrap());
        let ids: Vec<u32> = (0..131)
            .map(|_| random.below(rows) as u32)
            .chain([0, rows as u32 - 1])
            .collect();
        let expected: Vec<f64> = ids
            .iter()
            .flat_map(|&id| values[id as usize * width..][..width].to_vec())
            .collect();
        let count = ids.len();
        let case = Case::new(
            Op::Embedding { table: WeightId(0) },
            vec![HostTensor::u32([count], ids)],
            vec![table.clone()],
            &[count, width],
        );
        let [_, tiny] = check(&format!("embedding {dtype}"), &case, &expected, 1e-7);
        assert!(tiny.kernels.len() > 1, "the tiny limits cut nothing");
        let case = Case::new(
            Op::Constant {
                weight: WeightId(0),
            },
            Vec::new(),
            vec![table],
            &[rows, width],
        );
        check(&format!("constant {dtype}"), &case, &values, 1e-7);
    }
    for shape in [vec![33], vec![1, 7, 5], vec![3, 2, 32, 2]] {
        let weight = random.weight("c", &shape, StorageDtype::F16);
        let values = wide(&weight.to_f32().unwrap());
        let case = Case::new(
            Op::Constant {
                weight: WeightId(0),
            },
            Vec::new(),
            vec![weight],
            &shape,
        );
        check(&format!("constant {shape:?}"), &case, &values, 1e-7);
    }
}

struct Convolution {
    input: [usize; 4],
    out: usize,
    kernel: [usize; 2],
    spec: Conv2dSpec,
    dtype: StorageDtype,
    bias: bool,
}

fn conv_case(random: &mut Random, c: &Convolution) -> [Outcome; 2] {
    let ([b, ch, _, _], [kh, kw]) = (c.input, c.kernel);
    let x = random.tensor(&c.input);
    let weight = random.weight("w", &[c.out, ch, kh, kw], c.dtype);
    let bias = c
        .bias
        .then(|| random.weight("b", &[c.out], StorageDtype::F16));
    let (xs, ws) = (wide(x.as_f32()), wide(&weight.to_f32().unwrap()));
    let bs = bias
        .as_ref()
        .map_or(vec![0.0; c.out], |bias| wide(&bias.to_f32().unwrap()));
    let (expected, [oh, ow]) = convolve(&xs, c.input, &ws, &bs, c.kernel, c.spec);
    let op = Op::Conv2d {
        weight: WeightId(0),
        bias: bias.as_ref().map(|_| WeightId(1)),
        spec: c.spec,
    };
    let weights = std::iter::once(weight).chain(bias).collect();
    let case = Case::new(op, vec![x], weights, &[b, c.out, oh, ow]);
    check(
        &format!(
            "conv2d {:?} to {} by {:?} {}",
            c.input, c.out, c.kernel, c.dtype
        ),
        &case,
        &expected,
        4e-6,
    )
}

/// A convolution of `[B, C, H, W]`, and the height and width of its result.
pub(super) fn convolve(
    xs: &[f64],
    [b, ch, h, w]: [usize; 4],
    ws: &[f64],
    bs: &[f64],
    [kh, kw]: [usize; 2],
    spec: Conv2dSpec,
) -> (Vec<f64>, [usize; 2]) {
    let out = bs.len();
    let [top, bottom, left, right] = spec.padding;
    let [sy, sx] = spec.stride;
    let (oh, ow) = (
        (h + top + bottom - kh) / sy + 1,
        (w + left + right - kw) / sx + 1,
    );
    let mut expected = vec![0.0; b * out * oh * ow];
    for (at, value) in expected.iter_mut().enumerate() {
        let (ox, oy, o, n) = (
            at % ow,
            at / ow % oh,
            at / ow / oh % out,
            at / ow / oh / out,
        );
        let mut sum = bs[o];
        for i in 0..ch {
            for ky in 0..kh {
                for kx in 0..kw {
                    let (y, x) = (
                        (oy * sy + ky).wrapping_sub(top),
                        (ox * sx + kx).wrapping_sub(left),
                    );
                    if y < h && x < w {
                        sum += xs[((n * ch + i) * h + y) * w + x]
                            * ws[((o * ch + i) * kh + ky) * kw + kx];
                    }
                }
            }
        }
        *value = sum;
    }
    (expected, [oh, ow])
}

#[test]
fn long_sums_are_split_where_work_is_scarce() {
    let mut random = Random::new("long_sums_are_split_where_work_is_scarce");
    for (rows, k, n, dtype) in [
        (17, 515, 40, StorageDtype::F16),
        (65, 1027, 30, StorageDtype::F32),
        (33, 768, 70, StorageDtype::Q4K),
        (20, 544, 9, StorageDtype::Q8_0),
    ] {
        let [roomy, tiny] = linear_case(&mut random, rows, k, n, dtype, Some(StorageDtype::F32));
        assert!(!roomy.kernels.contains(&Kernel::GemmJoin));
        assert!(tiny.kernels.contains(&Kernel::GemmJoin));
    }
    for (input, out, kernel, spec) in [
        ([2, 60, 5, 5], 20, [3, 3], Conv2dSpec::same(3)),
        ([1, 600, 7, 3], 9, [1, 1], Conv2dSpec::same(1)),
        ([3, 31, 8, 6], 5, [5, 4], Conv2dSpec::new(2, 1)),
    ] {
        for (dtype, bias) in [(StorageDtype::F16, true), (StorageDtype::F32, false)] {
            let case = Convolution {
                input,
                out,
                kernel,
                spec,
                dtype,
                bias,
            };
            let [roomy, tiny] = conv_case(&mut random, &case);
            assert!(!roomy.kernels.contains(&Kernel::ConvJoin));
            assert!(tiny.kernels.contains(&Kernel::ConvJoin));
        }
    }
}

#[test]
fn convolutions() {
    let mut random = Random::new("convolutions");
    let asymmetric = Conv2dSpec {
        stride: [2, 2],
        padding: [0, 1, 0, 1],
    };
    let odd = Conv2dSpec {
        stride: [1, 3],
        padding: [2, 0, 1, 3],
    };
    let same = Conv2dSpec::same(3);
    let (f32, f16, bf16) = (StorageDtype::F32, StorageDtype::F16, StorageDtype::Bf16);
    for c in [
        Convolution {
            input: [2, 5, 9, 11],
            out: 7,
            kernel: [3, 3],
            spec: same,
            dtype: f32,
            bias: true,
        },
        Convolution {
            input: [1, 4, 8, 8],
            out: 70,
            kernel: [1, 1],
            spec: Conv2dSpec::same(1),
            dtype: f16,
            bias: true,
        },
        Convolution {
            input: [3, 3, 10, 7],
            out: 9,
            kernel: [3, 3],
            spec: asymmetric,
            dtype: bf16,
            bias: true,
        },
        Convolution {
            input: [1, 2, 6, 14],
            out: 3,
            kernel: [4, 5],
            spec: odd,
            dtype: f32,
            bias: false,
        },
        Convolution {
            input: [1, 1, 5, 5],
            out: 1,
            kernel: [5, 5],
            spec: Conv2dSpec::new(1, 0),
            dtype: f16,
            bias: false,
        },
        // Beyond the tiny limits: input channels in ranges, output channels in bands, weights in shards, batches one by one.
        Convolution {
            input: [2, 21, 40, 41],
            out: 13,
            kernel: [3, 3],
            spec: same,
            dtype: f32,
            bias: true,
        },
        Convolution {
            input: [1, 70, 6, 5],
            out: 130,
            kernel: [3, 3],
            spec: same,
            dtype: f32,
            bias: true,
        },
        Convolution {
            input: [1, 37, 24, 24],
            out: 66,
            kernel: [3, 3],
            spec: asymmetric,
            dtype: f16,
            bias: true,
        },
    ] {
        conv_case(&mut random, &c);
    }
}

#[test]
fn row_norms() {
    let mut random = Random::new("row_norms");
    for (rows, width) in [(1, 1), (3, 5), (130, 77), (7, 320), (1, 4099), (40, 513)] {
        for (spread, offset) in [(1.0, 0.0), (1.0, 1e4), (1e6, 3.0)] {
            let values: Vec<f32> = random
                .values(&[rows, width])
                .iter()
                .map(|v| v * spread + offset)
                .collect();
            let x = HostTensor::f32([rows, width], values);
            let gain = random.weight("gain", &[width], StorageDtype::F16);
            let bias = random.weight("bias", &[width], StorageDtype::F32);
            let (xs, gs, bs) = (
                wide(x.as_f32()),
                wide(&gain.to_f32().unwrap()),
                wide(&bias.to_f32().unwrap()),
            );
            let eps = 1e-5f32;
            let (mut layer, mut rms) = (Vec::new(), Vec::new());
            for row in xs.chunks(width) {
                let mean = row.iter().sum::<f64>() / width as f64;
                let variance =
                    row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / width as f64;
                let square = row.iter().map(|v| v * v).sum::<f64>() / width as f64;
                for i in 0..width {
                    layer
                        .push((row[i] - mean) / (variance + f64::from(eps)).sqrt() * gs[i] + bs[i]);
                    rms.push(row[i] / (square + f64::from(eps)).sqrt() * gs[i]);
                }
            }
            let precision = 3e-6;
            let name = format!("{rows}x{width} * {spread} + {offset}");
            let op = Op::LayerNorm {
                weight: WeightId(0),
                bias: Some(WeightId(1)),
                eps,
            };
            let case = Case::new(
                op,
                vec![x.clone()],
                vec![gain.clone(), bias],
                &[rows, width],
            );
            check(&format!("layer_norm {name}"), &case, &layer, precision);
            let plain: Vec<f64> = layer
                .iter()
                .enumerate()
                .map(|(i, v)| v - bs[i % width])
                .collect();
            let op = Op::LayerNorm {
                weight: WeightId(0),
                bias: None,
                eps,
            };
            check(
                &format!("layer_norm without bias {name}"),
                &Case::new(op, vec![x.clone()], vec![gain.clone()], &[rows, width]),
                &plain,
                precision,
            );
            let op = Op::RmsNorm {
                weight: WeightId(0),
                eps,
            };
            check(
                &format!("rms_norm {name}"),
                &Case::new(op, vec![x], vec![gain], &[rows, width]),
                &rms,
                3e-6,
            );
        }
    }
}

#[test]
fn group_norms() {
    let mut random = Random::new("group_norms");
    for (shape, groups) in [
        (vec![1, 4, 3, 5], 2),
        (vec![2, 6, 7, 9], 3),
        (vec![1, 3, 11], 1),
        (vec![1, 8, 50, 51], 2),
        (vec![2, 32, 20, 21], 32),
    ] {
        for (silu, offset) in [(false, 0.0f32), (true, 0.0), (false, 1e4)] {
            let values: Vec<f32> = random.values(&shape).iter().map(|v| v + offset).collect();
            let x = HostTensor::f32(shape.clone(), values);
            let (batch, channels) = (shape[0], shape[1]);
            let inner: usize = shape[2..].iter().product();
            let gain = random.weight("gain", &[channels], StorageDtype::F32);
            let bias = random.weight("bias", &[channels], StorageDtype::Bf16);
            let (xs, gs, bs) = (
                wide(x.as_f32()),
                wide(&gain.to_f32().unwrap()),
                wide(&bias.to_f32().unwrap()),
            );
            let eps = 1e-6f32;
            let len = channels / groups * inner;
            let mut expected = vec![0.0; xs.len()];
            for group in 0..batch * groups {
                let part = &xs[group * len..][..len];
                let mean = part.iter().sum::<f64>() / len as f64;
                let variance =
                    part.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / len as f64;
                for (i, v) in part.iter().enumerate() {
                    let channel = (group * len + i) / inner % channels;
                    let y =
                        (v - mean) / (variance + f64::from(eps)).sqrt() * gs[channel] + bs[channel];
                    expected[group * len + i] = if silu { y / (1.0 + (-y).exp()) } else { y };
                }
            }
            let op = Op::GroupNorm {
                weight: WeightId(0),
                bias: WeightId(1),
                groups,
                eps,
                silu,
            };
            let case = Case::new(op, vec![x], vec![gain, bias], &shape);
            check(
                &format!("group_norm {shape:?} in {groups} + {offset}"),
                &case,
                &expected,
                3e-6,
            );
        }
    }
}
