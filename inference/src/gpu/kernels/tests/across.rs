//! Products and convolutions by lanes that keep everything to themselves, beside those that every device has.

use diptych_shaders::{AcrossHead, AcrossRows, Kernel};

use super::super::{Combine, Deal, Epilogue, Fusion};
use super::bench::{Bench, Case};
use super::products::PACKED;
use super::{KernelLimits, Random, TINY, compare, wide};
use crate::formats::StorageDtype;
use crate::graph::{Activation, Conv2dSpec, Op, UnaryKind, WeightId};

const PLAIN: [StorageDtype; 3] = [StorageDtype::F32, StorageDtype::F16, StorageDtype::Bf16];

/// Runs a case within both sets of limits with these kernels and with others, if there is a device for them, and gives which ones ran.
fn check(name: &str, case: &Case, tolerance: f64) -> Option<Vec<Kernel>> {
    let (bench, lanes) = Bench::with_subgroups()?;
    if lanes < 8 {
        return None;
    }
    let mut all = Vec::new();
    for limits in [KernelLimits::default(), TINY] {
        let plain = bench.run(case, &limits);
        let serial = KernelLimits {
            subgroups: true,
            serial_lanes: true,
            ..limits
        };
        let found = bench.run(case, &serial);
        let which = if limits == TINY { "tiny" } else { "default" };
        let name = format!("{name}, {which} limits");
        compare(&name, &found.output, &wide(&plain.output), tolerance);
        all.extend(found.kernels);
    }
    Some(all)
}

fn is_across(kernel: &Kernel) -> bool {
    matches!(kernel, Kernel::GemmAcross { .. })
}

fn linear() -> Op {
    Op::Linear {
        weight: WeightId(0),
        bias: Some(WeightId(1)),
    }
}

#[test]
fn products_of_many_rows_equal_the_portable_ones() {
    let mut random = Random::new("products_of_many_rows_equal_the_portable_ones");
    let plain = PLAIN.map(|dtype| (dtype, 16));
    for (dtype, block) in PACKED.into_iter().chain(plain) {
        // The others decode weights by the same texts.
        let both = [StorageDtype::Q8_0, StorageDtype::Q4K, StorageDtype::F32].contains(&dtype);
        let all = [9, 16, 17 + random.below(14), 40, 65 + random.below(30)];
        let mut seen = Vec::new();
        for rows in all.into_iter().take(if both { 5 } else { 2 }) {
            let (k, n) = (block * (1 + random.below(3)), 1 + random.below(150));
            let weights = vec![
                random.weight("w", &[n, k], dtype),
                random.weight("b", &[n], StorageDtype::F32),
            ];
            let case = Case::new(
                linear(),
                vec![random.tensor(&[rows, k])],
                weights,
                &[rows, n],
            );
            let name = format!("linear {rows}x{k}x{n} {dtype}");
            let Some(kernels) = check(&name, &case, 4e-6) else {
                println!("this device has no such subgroups");
                return;
            };
            assert!(kernels.iter().any(is_across), "{name}");
            seen.extend(kernels);
        }
        for wanted in [AcrossRows::Sixteen, AcrossRows::ThirtyTwo] {
            let is = |kernel: &Kernel| matches!(kernel, Kernel::GemmAcross { rows, .. } if *rows == wanted);
            let expected = dtype == StorageDtype::F32 || wanted == AcrossRows::Sixteen;
            assert_eq!(seen.iter().any(is), expected, "{dtype} {wanted:?}");
        }
        // An odd sum is for tiles.
        if block == 16 {
            let weights = vec![
                random.weight("w", &[33, 35], dtype),
                random.weight("b", &[33], StorageDtype::F32),
            ];
            let case = Case::new(linear(), vec![random.tensor(&[40, 35])], weights, &[40, 33]);
            let kernels = check(&format!("linear 40x35x33 {dtype}"), &case, 4e-6);
            assert!(!kernels.is_some_and(|kernels| kernels.iter().any(is_across)));
        }
    }
}

fn epilogue(operand: usize) -> Epilogue {
    Epilogue {
        before: Some(UnaryKind::Activation(Activation::Silu)),
        combine: Some((Combine::Add, operand)),
        after: Some(UnaryKind::LeakyRelu { slope: 0.2 }),
    }
}

#[test]
fn what_follows_and_how_values_lie() {
    let mut random = Random::new("what_follows_and_how_values_lie");
    let dtypes = [(StorageDtype::F16, 16), (StorageDtype::Q8_0, 32)];
    for (dtype, block) in dtypes {
        for (batch, plane) in [(1, 20), (2, 36), (3, 16), (1, 96)] {
            let rows = batch * plane;
            let (k, n) = (block * (1 + random.below(4)), 4 * (1 + random.below(40)));
            let weights = vec![
                random.weight("w", &[n, k], dtype),
                random.weight("b", &[n], StorageDtype::F32),
            ];
            let gated = Fusion {
                gate: Some(Activation::Gelu),
                epilogue: epilogue(1),
                ..Fusion::default()
            };
            let dealt = Fusion {
                deal: Deal::new(&[n / 2, n - n / 2]),
                ..Fusion::default()
            };
            let lying = [(false, false), (true, false), (false, true), (true, true)];
            let lying = lying.map(|(columns_in, columns_out)| Fusion {
                columns_in: columns_in.then_some(plane),
                columns_out: columns_out.then_some(plane),
                epilogue: epilogue(1),
                ..Fusion::default()
            });
            let fusions = match dtype {
                StorageDtype::F16 => lying.to_vec(),
                _ => vec![gated, dealt],
            };
            for fusion in fusions {
                let width = if fusion.gate.is_some() { n / 2 } else { n };
                let operands = vec![random.tensor(&[rows, k]), random.tensor(&[rows, width])];
                let mut shape = [rows, n];
                if let Some(deal) = fusion.deal {
                    // Both values in one piece of memory, the second at an aligned place.
                    let len = deal.places(rows, TINY.storage_alignment).1;
                    if len != rows * n {
                        continue;
                    }
                    shape = [rows, n];
                }
                let mut case = Case::new(linear(), operands, weights.clone(), &shape);
                case.fusion = fusion;
                let name = format!("linear {rows}x{k}x{n} {dtype}, {fusion:?}");
                let kernels = check(&name, &case, 1e-5);
                assert!(
                    kernels.is_none_or(|kernels| kernels.iter().any(is_across)),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn attention_by_queries_of_ones_own() {
    let mut random = Random::new("attention_by_queries_of_ones_own");
    for head in AcrossHead::ALL {
        let head_dim = head.elements() as usize;
        for (batch, queries, keys, heads, kv_heads, causal) in [
            (2, 33, 19, 2, 2, false),
            (1, 70, 70, 4, 2, true),
            (3, 5, 77, 1, 1, false),
        ] {
            let width = heads * head_dim;
            let kv_width = kv_heads * head_dim;
            let op = Op::Attention {
                heads,
                kv_heads,
                scale: 0.3,
                causal,
            };
            let operands = vec![
                random.tensor(&[batch, queries, width]),
                random.tensor(&[batch, keys, kv_width]),
                random.tensor(&[batch, keys, kv_width]),
            ];
            let case = Case::new(op, operands, Vec::new(), &[batch, queries, width]);
            let name = format!("attention of {queries} to {keys} by {heads} heads of {head_dim}");
            let kernels = check(&name, &case, 1e-5);
            let own = |kernel: &Kernel| matches!(kernel, Kernel::AttentionAcross { .. });
            assert!(
                kernels.is_none_or(|kernels| kernels.iter().any(own)),
                "{name}"
            );
        }
    }
}

#[test]
fn convolutions_as_products() {
    let mut random = Random::new("convolutions_as_products");
    let same = Conv2dSpec::same;
    let asymmetric = Conv2dSpec {
        stride: [2, 2],
        padding: [0, 1, 0, 1],
    };
    let cases = [
        ([2, 16, 9, 7], 10, [3, 3], same(3), false),
        ([1, 32, 12, 8], 70, [1, 1], same(1), false),
        ([2, 32, 5, 7], 33, [1, 1], same(1), false),
        ([3, 16, 10, 12], 20, [3, 3], asymmetric, false),
        ([1, 8, 11, 6], 5, [4, 2], Conv2dSpec::new(1, 1), false),
        ([2, 16, 6, 10], 64, [3, 3], same(3), true),
        ([1, 16, 5, 9], 130, [1, 1], same(1), true),
        ([1, 48, 20, 21], 66, [3, 3], same(3), false),
        ([2, 16, 7, 12], 20, [3, 3], same(3), false),
    ];
    for (at, (input, out, kernel, spec, doubled)) in cases.into_iter().enumerate() {
        let [batch, channels, height, width] = input;
        let times = if doubled { 2 } else { 1 };
        let [sy, sx] = spec.stride;
        let [top, bottom, left, right] = spec.padding;
        let tall = (times * height + top + bottom - kernel[0]) / sy + 1;
        let broad = (times * width + left + right - kernel[1]) / sx + 1;
        let op = Op::Conv2d {
            weight: WeightId(0),
            bias: Some(WeightId(1)),
            spec,
        };
        let by_channel = Epilogue {
            combine: Some((Combine::AddByChannel, 1)),
            after: Some(UnaryKind::Activation(Activation::Silu)),
            ..Epilogue::default()
        };
        let shape = [batch, out, tall, broad];
        for (dtype, epilogue, met) in [
            (PLAIN[at % 3], Epilogue::default(), shape),
            (StorageDtype::F16, epilogue(1), shape),
            (StorageDtype::F16, by_channel, [batch, out, 1, 1]),
            (StorageDtype::F16, by_channel, [1, out, 1, 1]),
        ] {
            let weights = vec![
                random.weight("w", &[out, channels, kernel[0], kernel[1]], dtype),
                random.weight("b", &[out], StorageDtype::F32),
            ];
            let operands = vec![random.tensor(&input), random.tensor(&met)];
            let mut case = Case::new(op.clone(), operands, weights, &shape);
            case.fusion = Fusion {
                epilogue,
                doubled,
                ..Fusion::default()
            };
            let name = format!("conv2d {input:?} to {out} by {kernel:?} {dtype}, {epilogue:?}");
            let kernels = check(&name, &case, 1e-5);
            assert!(
                kernels.is_none_or(|kernels| kernels.iter().any(is_across)),
                "{name}"
            );
        }
    }
}
