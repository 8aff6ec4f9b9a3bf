//! Whether this device computes what it should: every family of kernels on small inputs against the CPU oracle.

use std::sync::Arc;

use serde::Serialize;

use super::kernels::FEW_ROWS;
use crate::cpu::testing::{Random, worst_error};
use crate::cpu::{CpuExecutor, CpuMode};
use crate::formats::{FormatError, StorageDtype, TensorData};
use crate::graph::{
    Activation, Conv2dSpec, ExecError, Executor, Graph, GraphBuilder, GraphError, HostTensor,
    KvShape, KvType, NeverInterrupt, PagedAttentionSpec, RopeStyle, Run,
};

/// Largest difference, relative to the largest magnitude, that is put down to rounding.
pub(super) const TOLERANCE: f32 = 1e-4;
/// The same where weights lose all but eleven of their bits: each may be off by one part in four thousand.
pub(super) const HALF_TOLERANCE: f32 = 1e-3;
/// The same numbers at every start, so that a faulty driver shows the same fault.
const SEED: u64 = 20_261_122;

/// What became of one check.
#[derive(Clone, Debug, Serialize)]
pub struct KernelCheck {
    /// What was computed.
    pub name: String,
    /// Largest difference from the oracle, relative to the largest magnitude; nothing if it could not be run.
    pub error: Option<f32>,
    /// Whether the device is right.
    pub passed: bool,
    /// Why it could not be run.
    pub failure: Option<String>,
}

struct Case {
    name: String,
    graph: Graph,
    inputs: Vec<(&'static str, HostTensor)>,
    /// Largest difference that is put down to rounding.
    tolerance: f32,
}

/// Runs all checks on an executor.
///
/// # Errors
/// Only if the checks themselves cannot be made; what a device fails at is in the result.
pub fn self_test(executor: &mut dyn Executor) -> Result<Vec<KernelCheck>, ExecError> {
    let made = |error: GraphError| ExecError::Backend {
        context: "making the self-test".into(),
        message: error.to_string(),
    };
    let cases = cases().map_err(made)?;
    let mut oracle = CpuExecutor::new(CpuMode::Oracle);
    let mut checks = Vec::with_capacity(cases.len());
    for case in cases {
        let wanted = run(&mut oracle, &case)?;
        checks.push(match run(executor, &case) {
            Err(error) => KernelCheck {
                name: case.name,
                error: None,
                passed: false,
                failure: Some(error.to_string()),
            },
            Ok(got) => {
                let error = worst_error(&got, &wanted);
                KernelCheck {
                    name: case.name,
                    error: Some(error),
                    passed: error <= case.tolerance,
                    failure: None,
                }
            }
        });
    }
    Ok(checks)
}

/// The largest difference from the oracle of products with a weight of a type, relative to the largest magnitude; for columns
/// that make whole blocks and, where the type has none, for an odd number of them.
///
/// # Errors
/// If a product cannot be computed.
pub(super) fn product_error(
    executor: &mut dyn Executor,
    dtype: StorageDtype,
    rows: usize,
) -> Result<f32, ExecError> {
    let mut random = Random::new(SEED);
    let made = |error: GraphError| ExecError::Backend {
        context: "making a trial".into(),
        message: error.to_string(),
    };
    let mut oracle = CpuExecutor::new(CpuMode::Oracle);
    let mut worst: f32 = 0.0;
    let odd = (dtype.block_len() == 1).then_some(331);
    for columns in std::iter::once(512).chain(odd) {
        let case = product(&mut random, dtype, rows, columns).map_err(made)?;
        let wanted = run(&mut oracle, &case)?;
        worst = worst.max(worst_error(&run(executor, &case)?, &wanted));
    }
    Ok(worst)
}

/// As [`product_error`], of attention of few rows that see two pages of a cache.
///
/// # Errors
/// If it cannot be computed.
pub(super) fn attention_error(executor: &mut dyn Executor) -> Result<f32, ExecError> {
    let wanted = few_attend(&mut CpuExecutor::new(CpuMode::Oracle), KvType::F32)?;
    Ok(worst_error(&few_attend(executor, KvType::F32)?, &wanted))
}

/// What attention of few rows over a cache of this type gives.
///
/// # Errors
/// If it cannot be computed.
pub(super) fn few_attend(
    executor: &mut dyn Executor,
    kv_type: KvType,
) -> Result<Vec<f32>, ExecError> {
    let case = paged(&mut Random::new(SEED), "trial", kv_type, (60, 8));
    let case = case.map_err(|error: GraphError| ExecError::Backend {
        context: "making a trial".into(),
        message: error.to_string(),
    })?;
    run(executor, &case)
}

/// As [`product_error`], of attention of images by narrow and by wide heads, without a mask and with one.
///
/// # Errors
/// If it cannot be computed.
pub(super) fn image_attention_error(executor: &mut dyn Executor) -> Result<f32, ExecError> {
    const HEADS: usize = 2;
    let mut random = Random::new(SEED);
    let mut oracle = CpuExecutor::new(CpuMode::Oracle);
    let mut worst: f32 = 0.0;
    for (head_dim, rows, causal, masked) in [
        (40, 33, false, false),
        (160, 21, true, false),
        (40, 43, true, true),
        (160, 37, false, true),
    ] {
        let shape = [2, rows, HEADS * head_dim];
        let mut make = || {
            let g = GraphBuilder::new("trial");
            let mut inputs = Vec::new();
            let mut input = |name: &'static str| {
                let value = HostTensor::f32(shape, random.floats(shape.iter().product()));
                inputs.push((name, value));
                g.input(name, &shape)
            };
            let [q, k, v] = [input("q")?, input("k")?, input("v")?];
            let y = if masked {
                let values = mask(&mut random, [1, HEADS, rows, rows]);
                let mask = g.input("mask", &values.shape)?;
                inputs.push(("mask", values));
                g.attention_with_mask([&q, &k, &v], &mask, HEADS, HEADS, 0.22, causal)?
            } else {
                g.attention([&q, &k, &v], HEADS, HEADS, 0.22, causal)?
            };
            Ok(case("trial", g, &y, inputs))
        };
        let case = make().map_err(|error: GraphError| ExecError::Backend {
            context: "making a trial".into(),
            message: error.to_string(),
        })?;
        let wanted = run(&mut oracle, &case)?;
        worst = worst.max(worst_error(&run(executor, &case)?, &wanted));
    }
    Ok(worst)
}

/// A mask that hides half of the keys here and there, all of them from the third query, and from the second all but the last five.
fn mask(random: &mut Random, shape: [usize; 4]) -> HostTensor {
    let [_, _, queries, keys] = shape;
    let elements: usize = shape.iter().product();
    let values = (0..elements)
        .map(|at| {
            let (query, key) = (at / keys % queries, at % keys);
            let hidden = random.float() > 0.0;
            match query {
                1 if key + 5 >= keys => 2.0 * random.float(),
                1 | 2 => f32::NEG_INFINITY,
                _ if hidden => -1e30,
                _ => 2.0 * random.float(),
            }
        })
        .collect();
    HostTensor::f32(shape, values)
}

/// As [`product_error`], of a product of which one half makes the gates of the other.
///
/// # Errors
/// If it cannot be computed.
pub(super) fn gated_error(
    executor: &mut dyn Executor,
    dtype: StorageDtype,
    rows: usize,
) -> Result<f32, ExecError> {
    const COLUMNS: usize = 256;
    let mut random = Random::new(SEED);
    let mut make = || {
        let weight = stored(&mut random, &[74, COLUMNS], dtype)?;
        let g = GraphBuilder::new("trial");
        let x = g.input("x", &[rows, COLUMNS])?;
        let y = g.linear(&x, &weight, None)?;
        let y = g.split_gated(&y, Activation::Silu)?;
        let x = HostTensor::f32([rows, COLUMNS], random.floats(rows * COLUMNS));
        Ok(case("trial", g, &y, vec![("x", x)]))
    };
    let case = make().map_err(|error: GraphError| ExecError::Backend {
        context: "making a trial".into(),
        message: error.to_string(),
    })?;
    let wanted = run(&mut CpuExecutor::new(CpuMode::Oracle), &case)?;
    Ok(worst_error(&run(executor, &case)?, &wanted))
}

/// As [`product_error`], of convolutions by windows of these widths, with so many channels of a picture of such a width.
///
/// # Errors
/// If it cannot be computed.
pub(super) fn convolution_error(
    executor: &mut dyn Executor,
    dtype: StorageDtype,
    sizes: &[(usize, usize, usize)],
) -> Result<f32, ExecError> {
    let mut random = Random::new(SEED);
    let made = |error: GraphError| ExecError::Backend {
        context: "making a trial".into(),
        message: error.to_string(),
    };
    let mut oracle = CpuExecutor::new(CpuMode::Oracle);
    let mut worst: f32 = 0.0;
    for &(kernel, channels, width) in sizes {
        let shape = [1, channels, 11, width];
        let case = convolution(&mut random, dtype, kernel, shape).map_err(made)?;
        let wanted = run(&mut oracle, &case)?;
        worst = worst.max(worst_error(&run(executor, &case)?, &wanted));
    }
    Ok(worst)
}

fn convolution(
    random: &mut Random,
    dtype: StorageDtype,
    kernel: usize,
    shape: [usize; 4],
) -> Result<Case, GraphError> {
    let weight = stored(random, &[67, shape[1], kernel, kernel], dtype)?;
    let g = GraphBuilder::new("trial");
    let x = g.input("x", &shape)?;
    let y = g.conv2d(&x, &weight, None, Conv2dSpec::same(kernel))?;
    let x = HostTensor::f32(shape, random.floats(shape.iter().product()));
    Ok(case("trial", g, &y, vec![("x", x)]))
}

fn product(
    random: &mut Random,
    dtype: StorageDtype,
    rows: usize,
    columns: usize,
) -> Result<Case, GraphError> {
    let weight = stored(random, &[37, columns], dtype)?;
    let g = GraphBuilder::new("trial");
    let x = g.input("x", &[rows, columns])?;
    let y = g.linear(&x, &weight, Some(&dense(random, "bias", &[37])?))?;
    let x = HostTensor::f32([rows, columns], random.floats(rows * columns));
    Ok(case("trial", g, &y, vec![("x", x)]))
}

fn run(executor: &mut dyn Executor, case: &Case) -> Result<Vec<f32>, ExecError> {
    let states: Vec<_> = case
        .graph
        .states
        .iter()
        .map(|shape| executor.create_kv(*shape))
        .collect::<Result<_, _>>()?;
    let result = executor
        .prepare(Arc::new(case.graph.clone()))
        .and_then(|plan| {
            let run = Run {
                inputs: &case.inputs,
                states: &states,
                interrupt: &mut NeverInterrupt,
            };
            let result = executor.run(plan, run);
            executor.drop_plan(plan);
            result
        });
    for state in states {
        executor.drop_state(state);
    }
    Ok(result?.into_iter().flat_map(HostTensor::into_f32).collect())
}

fn dense(random: &mut Random, name: &str, shape: &[usize]) -> Result<TensorData, FormatError> {
    TensorData::from_f32(name, shape, &random.floats(shape.iter().product()))
}

/// Random weights of a storage type; quantised ones are random blocks with sane scales.
fn stored(
    random: &mut Random,
    shape: &[usize],
    dtype: StorageDtype,
) -> Result<TensorData, FormatError> {
    let elements: usize = shape.iter().product();
    let half = |value: f32| half::f16::from_f32(value).to_le_bytes();
    let bytes: Vec<u8> = match dtype {
        StorageDtype::F16 => random
            .floats(elements)
            .iter()
            .flat_map(|&value| half(value))
            .collect(),
        StorageDtype::Bf16 => random
            .floats(elements)
            .iter()
            .flat_map(|&value| half::bf16::from_f32(value).to_le_bytes())
            .collect(),
        StorageDtype::F32 => random
            .floats(elements)
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        _ => {
            // Where the f16 scales lie within a block.
            let scales = dtype.half_factors();
            let mut bytes = Vec::new();
            for _ in 0..elements / dtype.block_len() {
                let start = bytes.len();
                bytes.extend((0..dtype.block_bytes()).map(|_| random.bits() as u8));
                for scale in scales {
                    let value = half(0.01 + 0.01 * random.float().abs());
                    bytes[start + scale..start + scale + 2].copy_from_slice(&value);
                }
            }
            bytes
        }
    };
    TensorData::new_owned("self-test", shape, dtype, bytes)
}

fn cases() -> Result<Vec<Case>, GraphError> {
    let mut random = Random::new(SEED);
    let mut cases = linear_cases(&mut random)?;
    cases.append(&mut picture_cases(&mut random)?);
    cases.append(&mut attention_cases(&mut random)?);
    Ok(cases)
}

fn case(
    name: impl Into<String>,
    g: GraphBuilder,
    output: &crate::graph::Tensor,
    inputs: Vec<(&'static str, HostTensor)>,
) -> Case {
    g.output("y", output);
    Case {
        name: name.into(),
        graph: g.finish(),
        inputs,
        tolerance: TOLERANCE,
    }
}

fn linear_cases(random: &mut Random) -> Result<Vec<Case>, GraphError> {
    use StorageDtype::{
        Bf16, F16, F32, Iq4Nl, Iq4Xs, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0,
    };
    let mut cases = Vec::new();
    for dtype in [
        F32, F16, Bf16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2K, Q3K, Q4K, Q5K, Q6K, Iq4Nl, Iq4Xs,
    ] {
        let weight = stored(random, &[37, 512], dtype)?;
        for rows in [1, 5, 40] {
            let g = GraphBuilder::new("self-test");
            let x = g.input("x", &[rows, 512])?;
            let y = g.linear(&x, &weight, Some(&dense(random, "bias", &[37])?))?;
            let x = HostTensor::f32([rows, 512], random.floats(rows * 512));
            let name = format!("linear {} x{rows}", dtype.name());
            let by_halves = rows > FEW_ROWS && dtype.block_len() > 1;
            cases.push(Case {
                tolerance: if by_halves { HALF_TOLERANCE } else { TOLERANCE },
                ..case(name, g, &y, vec![("x", x)])
            });
        }
        let g = GraphBuilder::new("self-test");
        let ids = g.input_u32("ids", &[4])?;
        let y = g.embedding(&ids, &weight)?;
        let ids = HostTensor::u32([4], vec![36, 0, 7, 7]);
        cases.push(case(
            format!("embedding {}", dtype.name()),
            g,
            &y,
            vec![("ids", ids)],
        ));
    }
    Ok(cases)
}

fn picture_cases(random: &mut Random) -> Result<Vec<Case>, GraphError> {
    let mut cases = Vec::new();
    let shape = [2usize, 12, 9, 7];
    let elements = shape.iter().product();
    let [gain, offset] = [
        dense(random, "gain", &[12])?,
        dense(random, "offset", &[12])?,
    ];
    type Build<'a> = Box<
        dyn Fn(&GraphBuilder, &crate::graph::Tensor) -> Result<crate::graph::Tensor, GraphError>
            + 'a,
    >;
    let [w3, w1] = [
        dense(random, "w3", &[10, 12, 3, 3])?,
        dense(random, "w1", &[5, 12, 1, 1])?,
    ];
    let half_weight = stored(random, &[10, 12, 3, 3], StorageDtype::F16)?;
    let row_gain = dense(random, "row gain", &[7])?;
    let builds: Vec<(&str, Build<'_>)> = vec![
        (
            "convolution 3x3",
            Box::new(|g, x| g.conv2d(x, &w3, None, Conv2dSpec::same(3))),
        ),
        (
            "convolution 3x3 f16",
            Box::new(|g, x| g.conv2d(x, &half_weight, None, Conv2dSpec::same(3))),
        ),
        (
            "convolution 3x3, stride 2",
            Box::new(|g, x| g.conv2d(x, &w3, None, Conv2dSpec::new(2, 1))),
        ),
        (
            "convolution 1x1",
            Box::new(|g, x| g.conv2d(x, &w1, None, Conv2dSpec::same(1))),
        ),
        (
            "group norm and SiLU",
            Box::new(|g, x| g.group_norm(x, &gain, &offset, 4, 1e-5, true)),
        ),
        (
            "layer norm",
            Box::new(|g, x| g.layer_norm(x, &row_gain, None, 1e-5)),
        ),
        ("RMS norm", Box::new(|g, x| g.rms_norm(x, &row_gain, 1e-5))),
        ("upsampling", Box::new(|g, x| g.upsample_nearest(x, 18, 14))),
        ("permutation", Box::new(|g, x| g.permute(x, &[0, 2, 3, 1]))),
        ("concatenation", Box::new(|g, x| g.concat(&[x, x], 1))),
        ("slice", Box::new(|g, x| g.slice(x, 2, 3, 4))),
        ("GELU", Box::new(|g, x| g.activation(x, Activation::Gelu))),
        (
            "addition",
            Box::new(|g, x| g.add(x, &g.affine(x, 2.0, 0.5)?)),
        ),
        (
            "gated GELU",
            Box::new(|g, x| g.split_gated(&g.reshape(x, &[18, 84])?, Activation::Gelu)),
        ),
    ];
    for (name, kernel, dtype, width) in [
        ("convolution 3x3 of 16 channels", 3, StorageDtype::F32, 8),
        (
            "convolution 3x3 of 16 channels f16",
            3,
            StorageDtype::F16,
            9,
        ),
        (
            "convolution 1x1 of 16 channels bf16",
            1,
            StorageDtype::Bf16,
            8,
        ),
    ] {
        let case = convolution(random, dtype, kernel, [1, 16, 11, width])?;
        let name = name.to_owned();
        cases.push(Case { name, ..case });
    }
    for (name, build) in builds {
        let g = GraphBuilder::new("self-test");
        let x = g.input("x", &shape)?;
        let y = build(&g, &x)?;
        let x = HostTensor::f32(shape, random.floats(elements));
        cases.push(case(name, g, &y, vec![("x", x)]));
    }
    Ok(cases)
}

fn attention_cases(random: &mut Random) -> Result<Vec<Case>, GraphError> {
    let mut cases = Vec::new();
    for (name, causal, kv_heads, head_dim) in [
        ("attention", false, 4, 20),
        ("attention by heads of 40", false, 4, 40),
        ("causal attention, grouped", true, 2, 20),
        ("causal attention by heads of 64, grouped", true, 2, 64),
    ] {
        let g = GraphBuilder::new("self-test");
        let [q, k, v] = [("q", 4), ("k", kv_heads), ("v", kv_heads)];
        let mut input = |(name, heads): (&'static str, usize)| {
            let shape = [2, 33, heads * head_dim];
            let value = HostTensor::f32(shape, random.floats(shape.iter().product()));
            g.input(name, &shape).map(|tensor| (tensor, (name, value)))
        };
        let [(q, qv), (k, kv), (v, vv)] = [input(q)?, input(k)?, input(v)?];
        let y = g.attention([&q, &k, &v], 4, kv_heads, 0.22, causal)?;
        cases.push(case(name, g, &y, vec![qv, kv, vv]));
    }
    for (name, causal, shape, head_dim) in [
        ("masked attention", false, [2, 4, 33, 37], 40),
        ("masked causal attention", true, [1, 1, 40, 40], 20),
        (
            "masked attention by heads of 160",
            false,
            [1, 4, 33, 37],
            160,
        ),
        (
            "masked attention by heads of 200",
            false,
            [2, 1, 33, 37],
            200,
        ),
    ] {
        let g = GraphBuilder::new("self-test");
        let [_, _, queries, keys] = shape;
        let mut input = |name: &'static str, length: usize, heads: usize| {
            let shape = [2, length, heads * head_dim];
            let value = HostTensor::f32(shape, random.floats(shape.iter().product()));
            g.input(name, &shape).map(|tensor| (tensor, (name, value)))
        };
        let (q, qv) = input("q", queries, 4)?;
        let [(k, kv), (v, vv)] = [input("k", keys, 2)?, input("v", keys, 2)?];
        let values = mask(random, shape);
        let mask = g.input("mask", &shape)?;
        let y = g.attention_with_mask([&q, &k, &v], &mask, 4, 2, 0.22, causal)?;
        let inputs = vec![qv, kv, vv, ("mask", values)];
        cases.push(case(name, g, &y, inputs));
    }
    let name = "rotary positions and paged attention";
    cases.push(paged(random, name, KvType::F32, (0, 70))?);
    Ok(cases)
}

/// Attention over a paged cache: so many rows from a position on, below which all is zero.
fn paged(
    random: &mut Random,
    name: &'static str,
    kv_type: KvType,
    (first, rows): (usize, usize),
) -> Result<Case, GraphError> {
    let g = GraphBuilder::new("self-test");
    let shape = KvShape {
        layers: 1,
        kv_heads: 2,
        head_dim: 16,
        pages: 3,
        kv_type,
    };
    let state = g.kv_state(shape);
    let tables = [
        g.input_u32("positions", &[rows])?,
        g.input_u32("slots", &[rows])?,
        g.input_u32("sequences", &[rows])?,
        g.input_u32("tables", &[1, 2])?,
    ];
    let [q, k, v] = [
        g.input("q", &[rows, 64])?,
        g.input("k", &[rows, 32])?,
        g.input("v", &[rows, 32])?,
    ];
    let freq: Vec<f32> = random.floats(8).iter().map(|value| value.abs()).collect();
    let freq = TensorData::from_f32("freq", &[8], &freq)?;
    let q = g.rope(&q, &tables[0], 4, &freq, RopeStyle::Interleaved, 1.0)?;
    let k = g.rope(&k, &tables[0], 2, &freq, RopeStyle::Half, 1.0)?;
    let spec = PagedAttentionSpec {
        state,
        layer: 0,
        heads: 4,
        scale: 0.25,
        softcap: Some(3.0),
        window: Some(70),
    };
    let y = g.paged_attention(
        [&q, &k, &v],
        [&tables[0], &tables[1], &tables[2], &tables[3]],
        spec,
    )?;
    let positions: Vec<u32> = (first..first + rows).map(|p| p as u32).collect();
    let slots = positions
        .iter()
        .map(|p| if *p < 64 { 128 + p } else { p - 64 })
        .collect();
    let inputs = vec![
        ("positions", HostTensor::u32([rows], positions)),
        ("slots", HostTensor::u32([rows], slots)),
        ("sequences", HostTensor::u32([rows], vec![0; rows])),
        ("tables", HostTensor::u32([1, 2], vec![2, 0])),
        ("q", HostTensor::f32([rows, 64], random.floats(rows * 64))),
        ("k", HostTensor::f32([rows, 32], random.floats(rows * 32))),
        ("v", HostTensor::f32([rows, 32], random.floats(rows * 32))),
    ];
    Ok(case(name, g, &y, inputs))
}
