//! Results as plain data. Fields are only ever added; a change of meaning raises [`FORMAT`].

use serde::{Deserialize, Serialize};

/// Version of the format.
pub const FORMAT: u32 = 1;

/// Everything that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this format.
    pub format: u32,
    /// Version of the program.
    pub version: String,
    /// Operating system and processor architecture.
    pub system: String,
    /// Whether only a little was measured.
    pub quick: bool,
    /// Processes that wanted to run in the last minute, where the system tells: 0 on a quiet machine, before this program.
    pub load_average: Option<f64>,
    /// What computed.
    pub device: DeviceReport,
    /// What it can do at best.
    pub limits: LimitReport,
    /// The models.
    pub models: Vec<ModelReport>,
    /// Single ops, if they were asked for.
    pub ops: Vec<OpReport>,
    /// How long all of it took.
    pub seconds: f64,
}

/// What computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// `cpu` or `gpu`.
    pub executor: String,
    /// Name of the device.
    pub name: String,
    /// Driver and its version, of a GPU.
    pub driver: Option<String>,
    /// Which kernels are in use.
    pub tier: String,
    /// Optional features that the device was opened with, or the processor has.
    pub features: Vec<String>,
    /// Threads that compute, of a processor.
    pub threads: Option<usize>,
}

/// What a device can do at best, measured by loops that do nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitReport {
    /// Bytes a second that can be read from memory.
    pub bandwidth: f64,
    /// Floating-point operations a second, in f32.
    pub flops: f64,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelReport {
    /// Name of its file or folder.
    pub name: String,
    /// In a few words.
    pub description: String,
    /// Bytes of its files.
    pub file_bytes: u64,
    /// Seconds for reading its headers, tokenizer and configuration.
    pub open_seconds: f64,
    /// Seconds until its first plan was ready: weights on the device, pipelines compiled.
    pub prepare_seconds: f64,
    /// Bytes a second at which weights came to the device, read, packed and sent; of a GPU.
    #[serde(default)]
    pub upload: Option<f64>,
    /// Bytes a second at which the same file is read by doing nothing else, afterwards: from memory, where the system keeps it there.
    #[serde(default)]
    pub plain_read: Option<f64>,
    /// Memory.
    pub memory: MemoryReport,
    /// What it was made to do.
    pub workloads: Vec<Workload>,
}

impl ModelReport {
    /// Seconds from nothing to ready.
    #[must_use]
    pub fn load_seconds(&self) -> f64 {
        self.open_seconds + self.prepare_seconds
    }
}

/// Memory that a model took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryReport {
    /// Bytes of weights, activations and caches foreseen before anything was allocated.
    pub forecast: u64,
    /// Most bytes that the executor counted.
    pub peak: u64,
    /// By how many bytes the process's resident memory grew at most, where the system tells. For a GPU it says little.
    pub resident: Option<u64>,
}

/// One thing that a model was made to do, again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// `decode`, `prefill 512`, `step 512x512`, `vae decode 512x512`.
    pub name: String,
    /// What is counted: `tokens`, `steps`, `pictures`.
    pub unit: String,
    /// Units in one run.
    pub units: usize,
    /// Runs measured.
    pub runs: usize,
    /// Median seconds of a run.
    pub seconds: f64,
    /// Seconds of the fastest run.
    pub best_seconds: f64,
    /// Units a second, by the median.
    pub per_second: f64,
    /// Floating-point operations of a run, by the shapes of its ops.
    pub flops: f64,
    /// Bytes that a run must read and write at the least: weights and caches once, and each op's operands and result.
    pub bytes: f64,
    /// Bytes of weights and caches alone, which decoding is limited by.
    pub weight_bytes: f64,
    /// Share of the peak arithmetic measured: 0 to 1.
    pub flops_share: f64,
    /// Share of the bandwidth measured that reading weights and caches takes: 0 to 1.
    pub bandwidth_share: f64,
    /// Seconds for building the graph.
    pub graph_seconds: f64,
    /// Seconds for making a plan where weights and pipelines are there; nothing if there was no room for a second one.
    pub plan_seconds: Option<f64>,
    /// Ops of the graph.
    pub ops: usize,
    /// Dispatches of a run, on a GPU.
    pub dispatches: Option<u64>,
    /// Bytes of results that a run reads back from a GPU.
    pub bytes_read: Option<u64>,
    /// Submits that these are cut into.
    pub submits: Option<u64>,
    /// Microseconds of the host's time for encoding and submitting each dispatch while the device is at work, on a GPU.
    pub host_us_per_dispatch: Option<f64>,
    /// Microseconds of the host's time for encoding each dispatch, and clearing it away, while the device has nothing to do and the host's caches hold what is
    /// encoded, in submits as long as a fast device is given.
    pub host_idle_us_per_dispatch: Option<f64>,
    /// Where the time goes.
    pub profile: Option<ProfileReport>,
}

/// Where the time of one run went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfileReport {
    /// `timestamps` or `host clock`.
    pub clock: String,
    /// Seconds of all ops.
    pub seconds: f64,
    /// Kinds of ops, the slowest first.
    pub rows: Vec<ProfileRow>,
}

/// All ops of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfileRow {
    /// The op's name.
    pub op: String,
    /// What computed it.
    pub kernel: String,
    /// How many there are.
    pub count: usize,
    /// Seconds of all.
    pub seconds: f64,
    /// Share of the run: 0 to 1.
    pub share: f64,
    /// Floating-point operations a second.
    pub flops_per_second: f64,
    /// Bytes a second.
    pub bytes_per_second: f64,
}

/// A single op.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpReport {
    /// Op, shape and type.
    pub name: String,
    /// Median seconds.
    pub seconds: f64,
    /// Floating-point operations a second; of ops that do little arithmetic, elements a second.
    pub flops_per_second: f64,
    /// Median seconds of candle's own op on the same data, on the CPU.
    pub candle_seconds: Option<f64>,
}
