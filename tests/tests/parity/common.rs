//! Fixtures, executors and the comparison that all parity tests share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diptych_inference::cpu::{CpuExecutor, CpuMode};
use diptych_inference::formats::safetensors::read_safetensors;
use diptych_inference::formats::{TensorData, WeightMap};
use diptych_inference::gpu::kernels::KernelLimits;
use diptych_inference::gpu::{AdapterChoice, GpuExecutor, LimitPolicy};
use diptych_inference::graph::{Executor, Graph, HostTensor, NeverInterrupt, Run, StateId};
use serde_json::Value;

/// Largest error that is parity, relative to the largest value of the reference.
pub const TOLERANCE: f32 = 1e-3;

/// A folder of `tests/reference/models`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("reference/models")
        .join(name)
}

/// `config.json` of a fixture, with its path.
pub fn config(name: &str) -> (PathBuf, Value) {
    let path = fixture(name).join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let value = serde_json::from_str(&text).unwrap();
    (path, value)
}

/// All tensors of one file of a fixture.
pub fn tensors(name: &str, file: &str) -> WeightMap {
    read_safetensors(&fixture(name).join(file)).unwrap().tensors
}

/// Weights of a diffusers component.
pub fn diffusers_weights(name: &str) -> WeightMap {
    tensors(name, "diffusion_pytorch_model.safetensors")
}

/// Inputs and outputs of the reference program.
pub struct Reference(pub WeightMap);

impl Reference {
    /// `reference.safetensors` of a fixture.
    pub fn of(name: &str) -> Self {
        Self::file(name, "reference.safetensors")
    }

    pub fn file(name: &str, file: &str) -> Self {
        Self(tensors(name, file))
    }

    fn get(&self, key: &str) -> &TensorData {
        self.0
            .get(key)
            .unwrap_or_else(|| panic!("no {key} in the reference"))
    }

    pub fn has(&self, key: &str) -> bool {
        self.0.contains(key)
    }

    pub fn f32(&self, key: &str) -> HostTensor {
        let tensor = self.get(key);
        HostTensor::f32(tensor.shape().to_vec(), tensor.to_f32().unwrap())
    }

    /// An i32 tensor of ids or indices.
    pub fn u32(&self, key: &str) -> HostTensor {
        HostTensor::u32(self.get(key).shape().to_vec(), self.ids(key))
    }

    pub fn ids(&self, key: &str) -> Vec<u32> {
        self.get(key)
            .bytes()
            .chunks_exact(4)
            .map(|b| u32::try_from(i32::from_le_bytes(b.try_into().unwrap())).unwrap())
            .collect()
    }
}

/// An executor under test, and the worst error that it has made in each comparison.
pub struct Subject {
    pub name: &'static str,
    pub executor: Box<dyn Executor>,
    worst: Vec<(String, f32)>,
}

impl Subject {
    /// An executor that nothing was compared on yet.
    pub fn new(name: &'static str, executor: Box<dyn Executor>) -> Self {
        Self {
            name,
            executor,
            worst: Vec::new(),
        }
    }

    /// Runs a graph once and forgets it.
    pub fn run(
        &mut self,
        graph: Graph,
        inputs: &[(&str, HostTensor)],
        states: &[StateId],
    ) -> Vec<HostTensor> {
        let plan = self.executor.prepare(Arc::new(graph)).unwrap();
        let run = Run {
            inputs,
            states,
            interrupt: &mut NeverInterrupt,
        };
        let outputs = self.executor.run(plan, run).unwrap();
        self.executor.drop_plan(plan);
        outputs
    }

    /// Fails where `got` is further from `wanted` than `tolerance`.
    pub fn compare(&mut self, what: &str, got: &HostTensor, wanted: &HostTensor, tolerance: f32) {
        assert_eq!(got.shape, wanted.shape, "{} {what}", self.name);
        let error = relative_error(got.as_f32(), wanted.as_f32());
        assert!(
            error <= tolerance,
            "{} {what}: relative error {error:.2e}, at most {tolerance:.0e} is parity",
            self.name
        );
        match self.worst.iter_mut().find(|(known, _)| known == what) {
            Some((_, worst)) => *worst = worst.max(error),
            None => self.worst.push((what.to_owned(), error)),
        }
    }
}

/// Largest difference over the largest value wanted.
pub fn relative_error(got: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(got.len(), wanted.len());
    assert!(got.iter().all(|v| v.is_finite()), "a value is not finite");
    let scale = wanted.iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(scale > 0.01, "a degenerate reference proves nothing");
    let worst = got
        .iter()
        .zip(wanted)
        .fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    worst / scale
}

/// The first adapter that there is.
pub fn gpu(limits: LimitPolicy) -> GpuExecutor {
    GpuExecutor::open(AdapterChoice::Any, limits, None).unwrap()
}

/// Runs a test on every executor, and says what the worst error was.
pub fn on_every_executor(model: &str, mut test: impl FnMut(&mut Subject)) {
    let cpu = |mode| Box::new(CpuExecutor::new(mode));
    // Any device's limits, and kernels that see so little at once that even these models are banded and sharded.
    let banded = Box::new(gpu(LimitPolicy::Defaults).with_kernel_limits(KernelLimits {
        max_storage_binding: 16 << 10,
        max_workgroups: 64,
        max_dispatch_flops: 1 << 16,
        ..KernelLimits::default()
    }));
    let subjects = [
        Subject::new("cpu-oracle", cpu(CpuMode::Oracle)),
        Subject::new("cpu-fast", cpu(CpuMode::Fast)),
        // Where there is no adapter these tests fail rather than say nothing.
        Subject::new("gpu", Box::new(gpu(LimitPolicy::Adapter))),
        Subject::new("gpu-banded", banded),
    ];
    for mut subject in subjects {
        test(&mut subject);
        assert!(!subject.worst.is_empty(), "nothing was compared");
        let worst = subject.worst.iter().fold(0f32, |m, (_, e)| m.max(*e));
        let all: Vec<String> = subject
            .worst
            .iter()
            .map(|(what, error)| format!("{what} {error:.1e}"))
            .collect();
        println!(
            "parity {model:<26} {:<10} worst {worst:.2e} ({})",
            subject.name,
            all.join(", ")
        );
    }
}
