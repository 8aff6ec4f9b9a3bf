//! What an executor of graphs offers.

use std::sync::Arc;

use serde::Serialize;

use super::{DeviceVectors, Dtype, ExecError, Graph, HostTime, KvShape, Profile};

/// Data of a tensor in host memory. Copies share it until one of them is changed.
#[derive(Clone, Debug, PartialEq)]
pub enum HostData {
    /// 32-bit floats.
    F32(Arc<Vec<f32>>),
    /// 32-bit unsigned integers.
    U32(Arc<Vec<u32>>),
}

/// A tensor in host memory, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Lengths of the axes, outermost first.
    pub shape: Vec<usize>,
    /// Elements.
    pub data: HostData,
}

impl HostTensor {
    /// A float tensor. Whether `data` has as many elements as `shape` says is checked when it is used.
    pub fn f32(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Self {
        Self {
            shape: shape.into(),
            data: HostData::F32(Arc::new(data)),
        }
    }

    /// An integer tensor. Whether `data` has as many elements as `shape` says is checked when it is used.
    pub fn u32(shape: impl Into<Vec<usize>>, data: Vec<u32>) -> Self {
        Self {
            shape: shape.into(),
            data: HostData::U32(Arc::new(data)),
        }
    }

    /// Element type.
    pub fn dtype(&self) -> Dtype {
        match self.data {
            HostData::F32(_) => Dtype::F32,
            HostData::U32(_) => Dtype::U32,
        }
    }

    /// Number of elements held.
    pub fn len(&self) -> usize {
        match &self.data {
            HostData::F32(data) => data.len(),
            HostData::U32(data) => data.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The floats; empty for an integer tensor.
    pub fn as_f32(&self) -> &[f32] {
        match &self.data {
            HostData::F32(data) => data,
            HostData::U32(_) => &[],
        }
    }

    /// The floats by value; empty for an integer tensor.
    pub fn into_f32(self) -> Vec<f32> {
        match self.data {
            HostData::F32(data) => Arc::unwrap_or_clone(data),
            HostData::U32(_) => Vec::new(),
        }
    }
}

/// A graph made ready on an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlanId(pub u64);

/// A KV cache on an executor; it outlives plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateId(pub u64);

/// Asked between ops (CPU) or submits (GPU) whether to stop. The engine reads its commands in here, so that a
/// running job can be cancelled.
pub trait Interrupt {
    /// `true` stops the run with [`ExecError::Interrupted`].
    fn poll(&mut self) -> bool;
}

/// Never stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct NeverInterrupt;

impl Interrupt for NeverInterrupt {
    fn poll(&mut self) -> bool {
        false
    }
}

/// What one run of a plan is given.
pub struct Run<'a> {
    /// Every input of the graph, by name, in any order.
    pub inputs: &'a [(&'a str, HostTensor)],
    /// One state for each of [`Graph::states`].
    pub states: &'a [StateId],
    /// Asked now and then whether to stop.
    pub interrupt: &'a mut dyn Interrupt,
}

/// What a plan's next run will be given, if all goes as it usually does.
#[derive(Clone, Copy)]
pub struct Next<'a> {
    /// Every input but one, as [`Run::inputs`].
    pub inputs: &'a [(&'a str, HostTensor)],
    /// The name of that one: it is what the run before leaves in an output.
    pub input: &'a str,
    /// The name of that output, of the input's type and as many elements.
    pub output: &'a str,
}

/// Bytes that a plan would need, told before anything is allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryForecast {
    /// Weights not yet on the device.
    pub new_weights: u64,
    /// Weights of the plan that are there already, shared with other plans.
    pub shared_weights: u64,
    /// Activations, inputs and results.
    pub activations: u64,
    /// Bytes of the activations that stay taken between runs, as long as there is the plan.
    pub held: u64,
    /// KV caches which the graph refers to, if they were created anew.
    pub states: u64,
}

/// Bytes in use on an executor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Weights.
    pub weights: u64,
    /// Activations of all plans.
    pub activations: u64,
    /// KV caches.
    pub states: u64,
    /// Highest sum so far.
    pub peak: u64,
    /// Most that may be used.
    pub budget: u64,
    /// Bytes of weights that did not fit: they stay on the host and are sent, or decoded, anew in every run.
    pub streamed: u64,
    /// What `peak` was forecast to be before the latest job ran; 0 if none has.
    pub forecast: u64,
    /// Bytes of weights that were converted or merged while they were loaded, and stay in the host's memory beside what a device holds; not part of the
    /// budget. 0 where the host is the device: there they are among `weights`.
    pub beside: u64,
    /// What `beside` was forecast to be before the latest job ran.
    pub beside_forecast: u64,
}

/// What is known about a tier of kernels that use more than every device offers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TierReport {
    /// What it computes.
    pub name: String,
    /// Whether it is used.
    pub state: TierState,
}

/// Whether a tier of kernels is used.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TierState {
    /// The device does not offer what it needs.
    NotOffered,
    /// It was not needed yet.
    Untried,
    /// It computes what the oracle computes, and is used.
    Proven {
        /// Storage types of weights that were tried, and what else was, such as `attention`.
        formats: Vec<String>,
        /// Largest difference from the oracle, relative to the largest magnitude.
        worst_error: f32,
    },
    /// It computed something else on this device, and is not used.
    Demoted {
        /// What was wrong.
        reason: String,
    },
}

/// Runs graphs. Both executors give the same numbers within the tolerance of f32 arithmetic.
pub trait Executor: Send {
    /// `cpu` or `gpu`.
    fn kind(&self) -> &'static str;

    /// The device in a person's words, such as `NVIDIA GeForce RTX 3060 (Vulkan)`.
    fn device_name(&self) -> String;

    /// Bytes that [`Executor::prepare`] would take for a graph.
    fn forecast(&self, graph: &Graph) -> MemoryForecast;

    /// Makes a graph ready: uploads those of its weights that are not there yet and plans its memory. `interrupt` is asked between weights; after
    /// [`ExecError::Interrupted`] nothing has changed.
    ///
    /// With `may_stream` also a graph is made ready whose weights do not all fit: as many as fit lie on the device, the others stay on the host and
    /// are sent piece by piece in every run. The results are the same, bit for bit.
    fn make_ready(
        &mut self,
        graph: Arc<Graph>,
        may_stream: bool,
        interrupt: &mut dyn Interrupt,
    ) -> Result<PlanId, ExecError>;

    /// Makes a graph ready whose weights all fit; nothing stops it.
    fn prepare(&mut self, graph: Arc<Graph>) -> Result<PlanId, ExecError> {
        self.make_ready(graph, false, &mut NeverInterrupt)
    }

    /// Makes a graph ready whether its weights fit or not; nothing stops it.
    fn prepare_streaming(&mut self, graph: Arc<Graph>) -> Result<PlanId, ExecError> {
        self.make_ready(graph, true, &mut NeverInterrupt)
    }

    /// Runs a plan; the results are in the order of [`Graph::outputs`].
    fn run(&mut self, plan: PlanId, run: Run<'_>) -> Result<Vec<HostTensor>, ExecError>;

    /// Runs a plan as [`Executor::run`] does. If the plan is run next with what `next` says, and the same states, that run may have been begun on the device
    /// before these results came to the host: it then takes up what was begun. Otherwise what was begun is of no consequence, but for what it has written into
    /// the states: slots of caches that it was told to write to hold anything.
    ///
    /// # Errors
    /// As [`Executor::run`]; if `next` is not of the plan.
    fn run_then(
        &mut self,
        plan: PlanId,
        run: Run<'_>,
        next: &Next<'_>,
    ) -> Result<Vec<HostTensor>, ExecError> {
        let _ = next;
        self.run(plan, run)
    }

    /// Whether [`Executor::run_then`] does more than [`Executor::run`], so that it is worth saying what comes next.
    fn runs_ahead(&self) -> bool {
        false
    }

    /// One row of a result that the plan's latest run left on the device; `index` into [`Graph::kept`]. A row is what lies along the last axis.
    ///
    /// # Errors
    /// If there is no such result or row, or the plan has not been run to its end.
    fn read_kept(&mut self, plan: PlanId, index: usize, row: usize) -> Result<Vec<f32>, ExecError>;

    /// Forgets a plan; weights which no other plan uses are given back.
    fn drop_plan(&mut self, plan: PlanId);

    /// Makes a KV cache, zeroed.
    fn create_kv(&mut self, shape: KvShape) -> Result<StateId, ExecError>;

    /// Copies one page of all layers within a cache (copy on write for branches).
    fn copy_kv_page(&mut self, state: StateId, from: u32, to: u32) -> Result<(), ExecError>;

    /// Gives a KV cache back.
    fn drop_state(&mut self, state: StateId);

    /// Bytes in use.
    fn memory(&self) -> MemoryUse;

    /// Runs a plan as [`Executor::run`] does and tells where the time went, if this executor can tell. Such a run as a whole is
    /// slower than a plain one.
    ///
    /// # Errors
    /// As [`Executor::run`].
    fn run_profiled(
        &mut self,
        plan: PlanId,
        run: Run<'_>,
    ) -> Result<(Vec<HostTensor>, Option<Profile>), ExecError> {
        Ok((self.run(plan, run)?, None))
    }

    /// What all plain runs so far have cost the host, where the work itself is done elsewhere.
    fn host_time(&self) -> Option<HostTime> {
        None
    }

    /// What encoding all dispatches of a plan once more takes the host while the device has nothing to do, if the work is done elsewhere: nothing is
    /// submitted, and what was encoded is thrown away within that time.
    ///
    /// # Errors
    /// If there is no such plan or state, or the device is lost.
    fn encode_idle(
        &mut self,
        plan: PlanId,
        states: &[StateId],
    ) -> Result<Option<HostTime>, ExecError> {
        let _ = (plan, states);
        Ok(None)
    }

    /// What is known about optional tiers of kernels.
    fn tiers(&self) -> Vec<TierReport> {
        Vec::new()
    }

    /// Vectors that stay on the device, where this executor has any use for them.
    fn vectors(&mut self) -> Option<&mut dyn DeviceVectors> {
        None
    }
}

/// The value that stays, and the length of its rows.
///
/// # Errors
/// If the graph keeps no such result, or it has no such row.
pub fn kept_row(
    graph: &Graph,
    index: usize,
    row: usize,
) -> Result<(super::ValueId, usize), ExecError> {
    let unknown = |what: &'static str, id: usize| ExecError::Unknown {
        what,
        id: id as u64,
    };
    let &(_, id) = graph.kept.get(index).ok_or(unknown("result", index))?;
    let node = graph.node(id);
    let width = node.shape.last().copied().unwrap_or(1);
    if width == 0 || row >= node.elements() / width {
        return Err(unknown("row", row));
    }
    Ok((id, width))
}

/// Checks the inputs and states of a run against a graph: present, shape, type and number of elements.
pub fn check_run(graph: &Graph, run: &Run<'_>) -> Result<(), ExecError> {
    check_run_but(graph, run, None)
}

/// As [`check_run`], but for one input, which comes from elsewhere.
///
/// # Errors
/// As [`check_run`].
pub fn check_run_but(graph: &Graph, run: &Run<'_>, but: Option<&str>) -> Result<(), ExecError> {
    let fail = |name: &str, detail: String| ExecError::Input {
        graph: graph.name.clone(),
        name: name.to_owned(),
        detail,
    };
    let wanted = graph.inputs().filter(|(name, ..)| Some(*name) != but);
    for (name, _, node) in wanted {
        let Some((_, given)) = run.inputs.iter().find(|(given, _)| *given == name) else {
            return Err(fail(name, "is missing".into()));
        };
        if given.shape != node.shape || given.dtype() != node.dtype {
            return Err(fail(
                name,
                format!(
                    "has shape {:?} {:?}, wanted {:?} {:?}",
                    given.shape,
                    given.dtype(),
                    node.shape,
                    node.dtype
                ),
            ));
        }
        if given.len() != node.elements() {
            return Err(fail(
                name,
                format!("holds {} elements for shape {:?}", given.len(), given.shape),
            ));
        }
    }
    if run.states.len() != graph.states.len() {
        return Err(fail(
            "states",
            format!("{} given, {} wanted", run.states.len(), graph.states.len()),
        ));
    }
    Ok(())
}
