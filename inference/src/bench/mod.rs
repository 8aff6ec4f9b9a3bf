//! Measuring: how fast this machine runs a model, beside what the machine could do at best.
//!
//! Memory bandwidth and peak arithmetic are measured in the same run by small loops of our own, so that shares mean something on a busy
//! or a throttled machine too. Everything goes through the executors that the engine uses; a run's per-op times come from
//! [`Executor::run_profiled`], which asks the device for timestamps where it has them.
//!
//! | file | what |
//! |---|---|
//! | `report` | the results as plain data |
//! | `processor`, `graphics` | what the CPU or a GPU can do at best |
//! | `cost` | arithmetic and bytes of each op of a graph |
//! | `session` | one executor: plans, repeated runs, memory |
//! | `text`, `picture` | the workloads of the two kinds of models |
//! | `ops` | single ops, on the CPU beside candle's own |

mod cost;
mod graphics;
mod ops;
mod picture;
mod processor;
mod report;
mod session;
mod text;

use std::path::{Path, PathBuf};
use std::time::Instant;

pub use report::{
    DeviceReport, LimitReport, MemoryReport, ModelReport, OpReport, ProfileReport, ProfileRow,
    Report, Workload,
};

use crate::cpu::{CpuExecutor, CpuMode};
use crate::engine::DeviceChoice;
use crate::formats::FormatError;
use crate::formats::detect::probe;
use crate::gpu::{AdapterChoice, GpuExecutor, LimitPolicy};
use crate::graph::{ExecError, Executor, GraphError, Interrupt};
use crate::models::ModelError;
use crate::pipelines::JobError;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A model's files.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Loading a model.
    #[error(transparent)]
    Job(#[from] JobError),
    /// Building a graph.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Building a graph of one op.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The device.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The model is of a kind that is not measured.
    #[error("{path}: {what} cannot be measured; name a chat or a text-to-image model")]
    Kind {
        /// Its file.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// Candle, which single ops are compared with.
    #[error("candle: {0}")]
    Candle(#[from] candle_core::Error),
}

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// What computes.
    pub device: DeviceChoice,
    /// Most memory of the device to use, in bytes; otherwise what the device allows.
    pub memory: Option<u64>,
    /// Models, each measured by itself.
    pub models: Vec<PathBuf>,
    /// The program's own data, for CLIP's tokenizer.
    pub assets: PathBuf,
    /// Fewer repetitions and shorter answers.
    pub quick: bool,
    /// Single ops too: those whose name has this in it.
    pub ops: Option<String>,
    /// Width and height of pictures in pixels; otherwise what the model was trained at.
    pub size: Option<(u32, u32)>,
    /// Tokens in the prompts; none for 128 and 512.
    pub prompts: Vec<usize>,
}

/// Who hears what is being measured, and may stop it.
pub trait Watcher {
    /// What comes next.
    fn next(&mut self, what: &str);

    /// Whether to stop.
    fn stop(&mut self) -> bool;
}

/// A watcher as the executors ask it.
struct Stop<'a>(&'a mut dyn Watcher);

impl Interrupt for Stop<'_> {
    fn poll(&mut self) -> bool {
        self.0.stop()
    }
}

/// An executor whose kind is known.
enum Opened {
    Cpu(Box<CpuExecutor>),
    Gpu(Box<GpuExecutor>),
}

impl Opened {
    /// As [`crate::pipelines::open_executor`], with what only the executor itself tells.
    fn new(device: DeviceChoice, budget: Option<u64>) -> Result<Self, ExecError> {
        let gpu = |choice| {
            let executor = GpuExecutor::open(choice, LimitPolicy::Adapter, budget)?;
            Ok(Self::Gpu(Box::new(executor)))
        };
        let cpu = || Self::Cpu(Box::new(CpuExecutor::with_budget(CpuMode::Fast, budget)));
        match device {
            DeviceChoice::Cpu => Ok(cpu()),
            DeviceChoice::Gpu => gpu(AdapterChoice::Any),
            DeviceChoice::Auto => Ok(gpu(AdapterChoice::Hardware).unwrap_or_else(
                |error: ExecError| {
                    tracing::info!("no GPU: {error}");
                    cpu()
                },
            )),
        }
    }

    fn as_mut(&mut self) -> &mut dyn Executor {
        match self {
            Self::Cpu(executor) => executor.as_mut(),
            Self::Gpu(executor) => executor.as_mut(),
        }
    }
}

/// Measures everything asked for.
///
/// # Errors
/// Faulty models, a device that is not there or fails, [`ExecError::Interrupted`] when the watcher stops it.
pub fn run(options: &Options, watcher: &mut dyn Watcher) -> Result<Report, BenchError> {
    let started = Instant::now();
    watcher.next("what the machine can do");
    let (device, limits) = match &Opened::new(options.device, options.memory)? {
        Opened::Cpu(executor) => (
            processor::describe(executor.device_name()),
            processor::limits(options.quick),
        ),
        Opened::Gpu(executor) => (
            graphics::describe(executor),
            graphics::limits(executor, options.quick)?,
        ),
    };
    let mut models = Vec::with_capacity(options.models.len());
    for path in &options.models {
        models.push(measure_model(path, options, &limits, watcher)?);
    }
    let ops = match options.ops {
        Some(_) => ops::measure(options, watcher)?,
        None => Vec::new(),
    };
    Ok(Report {
        format: report::FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        quick: options.quick,
        load_average: processor::load_average(),
        device,
        limits,
        models,
        ops,
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn measure_model(
    path: &Path,
    options: &Options,
    limits: &LimitReport,
    watcher: &mut dyn Watcher,
) -> Result<ModelReport, BenchError> {
    let stem = path.file_stem().unwrap_or(path.as_os_str());
    let name = stem.to_string_lossy().into_owned();
    watcher.next(&format!("{name}: loading"));
    let info = probe(path)?;
    // A device of its own, so that what it holds at most is this model's.
    let executor = Opened::new(options.device, options.memory)?;
    let mut session = session::Session::new(executor, name, &info, options, limits, watcher);
    if info.is_chat() {
        text::measure(&mut session, path, &info)?;
    } else if info.is_text_to_image() {
        picture::measure(&mut session, path, &info)?;
    } else {
        return Err(BenchError::Kind {
            path: path.to_owned(),
            what: info.describe(),
        });
    }
    let mut report = session.finish()?;
    if report.upload.is_some() && path.is_file() {
        report.plain_read = processor::reading(path);
    }
    Ok(report)
}

#[cfg(test)]
mod tests;
