//! Every op against plain loops in f64, on odd shapes with fresh seeds; memory, interrupts and misuse.

mod attention;
mod candidates;
mod elementwise;
pub(super) mod linear;
mod memory;
mod misuse;
mod paged;
mod pictures;

use super::testing::{Random, run_once, worst_error};
use super::{CpuExecutor, CpuMode};
use crate::formats::weights::{StorageDtype, TensorData};
use crate::graph::{Executor, Graph, GraphBuilder, HostTensor, Tensor};

/// Error allowed to f32 arithmetic, relative to the largest value.
const CLOSE: f32 = 2e-5;

const MODES: [CpuMode; 2] = [CpuMode::Oracle, CpuMode::Fast];

fn weight(name: &str, shape: &[usize], values: &[f32]) -> TensorData {
    TensorData::from_f32(name, shape, values).unwrap()
}

fn random_weight(random: &mut Random, name: &str, shape: &[usize]) -> TensorData {
    let values = random.floats(shape.iter().product());
    weight(name, shape, &values)
}

/// The same weight in f16 or bf16.
fn half_weight(tensor: &TensorData, dtype: StorageDtype) -> TensorData {
    let bytes = tensor.to_f32().unwrap().into_iter();
    let bytes = match dtype {
        StorageDtype::F16 => bytes
            .flat_map(|v| half::f16::from_f32(v).to_le_bytes())
            .collect(),
        StorageDtype::Bf16 => bytes
            .flat_map(|v| half::bf16::from_f32(v).to_le_bytes())
            .collect(),
        other => panic!("{other:?} is no half type"),
    };
    TensorData::new_owned(tensor.name(), tensor.shape(), dtype, bytes).unwrap()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

/// A graph of one result.
fn graph(build: impl FnOnce(&GraphBuilder) -> Tensor) -> Graph {
    let builder = GraphBuilder::new("test");
    let result = build(&builder);
    builder.output("result", &result);
    builder.finish()
}

fn run_in(mode: CpuMode, graph: &Graph, inputs: &[(&str, HostTensor)]) -> Vec<f32> {
    let mut executor = CpuExecutor::new(mode);
    let results = run_once(&mut executor, graph.clone(), inputs).unwrap();
    assert_eq!(
        executor.memory().weights,
        0,
        "a dropped plan gives its weights back"
    );
    results.into_iter().next().unwrap().into_f32()
}

/// Runs a graph in both modes and compares with what is wanted.
fn check(what: &str, graph: &Graph, inputs: &[(&str, HostTensor)], wanted: &[f64], tolerance: f32) {
    let wanted = narrow(wanted);
    for mode in MODES {
        let error = worst_error(&run_in(mode, graph, inputs), &wanted);
        assert!(error <= tolerance, "{what} in {mode:?}: error {error}");
    }
}
