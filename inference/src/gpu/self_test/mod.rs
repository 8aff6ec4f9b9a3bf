//! Whether this device computes what it should: every family of kernels on small inputs against the CPU oracle.

mod cases;

use std::sync::Arc;

use serde::Serialize;

use crate::cpu::testing::{Random, worst_error};
use crate::cpu::{CpuExecutor, CpuMode};
use crate::formats::{FormatError, StorageDtype, TensorData};
use crate::graph::{
    Activation, Conv2dSpec, ExecError, Executor, Graph, GraphBuilder, GraphError, HostData,
    HostTensor, KvShape, KvType, NeverInterrupt, PagedAttentionSpec, RopeStyle, Run,
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
    let cases = cases::all().map_err(made)?;
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
    Ok(result?.into_iter().flat_map(numbers).collect())
}

/// The numbers of a result, those that count things too.
fn numbers(result: HostTensor) -> Vec<f32> {
    match &result.data {
        HostData::U32(whole) => whole.iter().map(|&number| number as f32).collect(),
        HostData::F32(_) => result.into_f32(),
    }
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
