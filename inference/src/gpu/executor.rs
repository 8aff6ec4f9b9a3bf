//! The executor: plans, weights and caches of one device, and the run of a plan.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Weak};

use super::device::{AdapterChoice, GpuDevice, LimitPolicy};
use super::inputs::send;
use super::kept::read_kept;
use super::kernels::KernelLimits;
use super::kv::KvBuffers;
use super::layout::{Compiled, compile};
use super::memory::Memory;
use super::pipelines::Pipelines;
use super::plan::Plan;
use super::profile;
use super::readback::{ask_for_results, copy_results, read_results, submit_copies};
use super::stream::Ring;
use super::submit::{List, Submitter, encode_idle};
use super::tiers::Tiers;
use super::upload::WeightStore;
use super::vectors::VectorSet;
use crate::graph::{
    DeviceVectors, ExecError, Executor, Graph, HostData, HostTensor, HostTime, Interrupt, KvShape,
    MemoryForecast, MemoryUse, Next, PlanId, Profile, ProfileClock, Run, StateId, TierReport,
    VectorsId, check_run_but,
};

/// The executor on wgpu.
pub struct GpuExecutor {
    pub(super) device: Arc<GpuDevice>,
    pub(super) memory: Memory,
    pub(super) kernel_limits: KernelLimits,
    pub(super) pipelines: Pipelines,
    pub(super) tiers: Tiers,
    /// Whether ops run as one where they can.
    pub(super) fuse: bool,
    /// Whether latents stay on the device between steps.
    keeps_vectors: bool,
    /// Whether a plan's next run is begun while the results of the run before are on their way.
    begins_next: bool,
    pub(super) weights: WeightStore,
    pub(super) plans: BTreeMap<PlanId, Plan>,
    pub(super) states: BTreeMap<StateId, KvBuffers>,
    pub(super) vectors: BTreeMap<VectorsId, VectorSet>,
    /// Through which weights of models that do not fit pass.
    pub(super) ring: Weak<Ring>,
    next_id: u64,
    pub(super) submitter: Submitter,
}

impl GpuExecutor {
    /// Opens a device.
    ///
    /// # Errors
    /// If there is no such adapter or the driver refuses.
    pub fn open(
        choice: AdapterChoice,
        limits: LimitPolicy,
        budget: Option<u64>,
    ) -> Result<Self, ExecError> {
        Ok(Self::on(Arc::new(GpuDevice::open(choice, limits)?), budget))
    }

    /// An executor on a device that is open already.
    pub fn on(device: Arc<GpuDevice>, budget: Option<u64>) -> Self {
        let mut kernel_limits = KernelLimits::of(&device.limits);
        // About ten milliseconds of a modest device of each kind: no dispatch must be long, for none can be stopped.
        kernel_limits.max_dispatch_flops = match device.report.kind.as_str() {
            "discrete GPU" => 1 << 34,
            _ if device.report.hardware => 1 << 31,
            _ => 1 << 28,
        };
        kernel_limits.busy_groups = match device.report.kind.as_str() {
            "discrete GPU" => 256,
            _ if device.report.hardware => 64,
            // A software device has a few threads.
            _ => 4,
        };
        kernel_limits.serial_lanes =
            device.report.kind == "CPU" && device.report.subgroup_sizes[0] >= 8;
        let tiers = Tiers::new(&device, None);
        tiers.set(&mut kernel_limits);
        Self {
            memory: Memory::new(Arc::clone(&device), budget),
            tiers,
            fuse: true,
            keeps_vectors: true,
            begins_next: true,
            device,
            kernel_limits,
            pipelines: Pipelines::default(),
            weights: WeightStore::default(),
            plans: BTreeMap::new(),
            states: BTreeMap::new(),
            vectors: BTreeMap::new(),
            ring: Weak::new(),
            next_id: 1,
            submitter: Submitter::default(),
        }
    }

    /// Keeps on disk what can be made or found out again: compiled kernels, and how tiers proved themselves. Both are known by
    /// adapter, driver and build.
    pub fn with_cache(mut self, folder: &Path) -> Self {
        self.pipelines = Pipelines::in_folder(&self.device, folder);
        self.tiers = Tiers::new(&self.device, Some(folder));
        self.tiers.set(&mut self.kernel_limits);
        self
    }

    /// Bytes of compiled kernels that were found on disk.
    pub fn loaded_pipelines(&self) -> usize {
        self.pipelines.loaded_bytes()
    }

    /// Tighter kernel limits than the device's, to make small values take the paths of large ones. For tests.
    pub fn with_kernel_limits(mut self, limits: KernelLimits) -> Self {
        self.kernel_limits = limits;
        self
    }

    /// Whether ops run as one where they can; so it is if nothing else is said. To compare with.
    pub fn with_fusion(mut self, fuse: bool) -> Self {
        self.fuse = fuse;
        self
    }

    /// Whether what a job keeps stays on the device between its runs; so it is if nothing else is said. To compare with.
    pub fn with_vectors(mut self, keep: bool) -> Self {
        self.keeps_vectors = keep;
        self
    }

    /// Whether a run that is foreseen is begun before the host asks for it; so it is if nothing else is said. To compare with.
    pub fn with_foresight(mut self, begin: bool) -> Self {
        self.begins_next = begin;
        self
    }

    /// The device.
    pub fn device(&self) -> &Arc<GpuDevice> {
        &self.device
    }

    pub(super) fn compile(&self, graph: &Graph) -> Result<Compiled, ExecError> {
        compile(graph, &self.device.limits, &self.kernel_limits, self.fuse)
    }

    pub(super) fn weight_forecast(&self, graph: &Graph, compiled: &Compiled) -> (u64, u64) {
        let (mut new, mut shared) = (0, 0);
        for (weight, layout) in graph.weights.iter().zip(&compiled.weights) {
            let bytes = layout.total_bytes();
            if self.weights.contains(&weight.key()) {
                shared += bytes;
            } else {
                new += bytes;
            }
        }
        (new, shared)
    }

    pub(super) fn next_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }
}

impl Executor for GpuExecutor {
    fn kind(&self) -> &'static str {
        "gpu"
    }

    fn device_name(&self) -> String {
        let report = &self.device.report;
        format!("{} ({}, {})", report.name, report.backend, report.kind)
    }

    fn forecast(&self, graph: &Graph) -> MemoryForecast {
        let states = graph.states.iter().map(|state| state.bytes()).sum();
        let graph = &*self.merged(graph);
        match self.compile(graph) {
            Ok(compiled) => {
                let (new_weights, shared_weights) = self.weight_forecast(graph, &compiled);
                MemoryForecast {
                    new_weights,
                    shared_weights,
                    activations: compiled.activation_bytes(),
                    held: compiled.activation_bytes(),
                    states,
                }
            }
            // It cannot be run at all, which preparing it will say; its weights are what can be told.
            Err(_) => MemoryForecast {
                new_weights: graph.weight_bytes(),
                states,
                ..MemoryForecast::default()
            },
        }
    }

    fn make_ready(
        &mut self,
        graph: Arc<Graph>,
        may_stream: bool,
        interrupt: &mut dyn Interrupt,
    ) -> Result<PlanId, ExecError> {
        self.make_plan(graph, may_stream, interrupt)
    }

    fn run(&mut self, plan: PlanId, run: Run<'_>) -> Result<Vec<HostTensor>, ExecError> {
        self.run_plan(plan, run, None)
    }

    fn run_then(
        &mut self,
        plan: PlanId,
        run: Run<'_>,
        next: &Next<'_>,
    ) -> Result<Vec<HostTensor>, ExecError> {
        let next = self.begins_next.then_some(next);
        self.run_plan(plan, run, next)
    }

    fn runs_ahead(&self) -> bool {
        self.begins_next
    }

    fn encode_idle(
        &mut self,
        plan: PlanId,
        states: &[StateId],
    ) -> Result<Option<HostTime>, ExecError> {
        self.device.wait("before encoding")?;
        let plan = self.plans.get_mut(&plan).ok_or(ExecError::Unknown {
            what: "plan",
            id: plan.0,
        })?;
        check_states(plan, states, &self.states)?;
        plan.bind_states(&self.device, states, &self.states)?;
        let plan = &*plan;
        let after = |encoder: &mut wgpu::CommandEncoder| copy_results(plan, encoder);
        let list = whole_list(plan, states, Some(&after));
        let told = encode_idle(&self.device, list);
        self.device.check("encoding")?;
        Ok(Some(told))
    }

    fn read_kept(&mut self, plan: PlanId, index: usize, row: usize) -> Result<Vec<f32>, ExecError> {
        self.run_again(plan)?;
        let plan = self.plans.get(&plan).ok_or(ExecError::Unknown {
            what: "plan",
            id: plan.0,
        })?;
        let values = read_kept(&self.device, plan, index, row)?;
        self.submitter.host_time.bytes_read += 4 * values.len() as u64;
        Ok(values)
    }

    fn run_profiled(
        &mut self,
        plan: PlanId,
        run: Run<'_>,
    ) -> Result<(Vec<HostTensor>, Option<Profile>), ExecError> {
        if !profile::has_timestamps(&self.device) {
            return Ok((self.run(plan, run)?, None));
        }
        let (plan, _) = begin(&self.device, &mut self.plans, &self.states, plan, &run)?;
        let plan = &*plan;
        let groups = plan.state_groups(run.states);
        let device = &self.device;
        let mut ops = Vec::new();
        let mut go = |commands| profile::execute(device, commands, groups, run.interrupt, &mut ops);
        match plan.stream() {
            None => go(&plan.commands)?,
            // The times are those of the dispatches; that weights come in between is not among them.
            Some(stream) => stream.run(device, &plan.graph, |steps| {
                go(plan.commands.get(steps).unwrap_or_default())?;
                Ok(None)
            })?,
        }
        let copied = submit_copies(device, plan);
        ask_for_results(plan);
        let clock = ProfileClock::Timestamps;
        let profile = Profile {
            graph: Arc::clone(&plan.graph),
            clock,
            ops,
        };
        Ok((read_results(device, plan, Some(copied))?, Some(profile)))
    }

    fn host_time(&self) -> Option<HostTime> {
        Some(HostTime {
            made: self.device.made(),
            ..self.submitter.host_time
        })
    }

    fn drop_plan(&mut self, plan: PlanId) {
        self.plans.remove(&plan);
        self.weights.tidy();
    }

    fn create_kv(&mut self, shape: KvShape) -> Result<StateId, ExecError> {
        self.device.check("before making a KV cache")?;
        let buffers = KvBuffers::new(&self.device, &self.memory, shape)?;
        let id = StateId(self.next_id());
        self.states.insert(id, buffers);
        Ok(id)
    }

    fn copy_kv_page(&mut self, state: StateId, from: u32, to: u32) -> Result<(), ExecError> {
        let buffers = self.states.get(&state).ok_or(ExecError::Unknown {
            what: "state",
            id: state.0,
        })?;
        buffers.copy_page(&self.device, from, to)
    }

    fn drop_state(&mut self, state: StateId) {
        for plan in self.plans.values_mut() {
            plan.forget_state(state);
        }
        self.states.remove(&state);
    }

    fn memory(&self) -> MemoryUse {
        MemoryUse {
            streamed: self.streamed(),
            ..self.memory.usage()
        }
    }

    fn tiers(&self) -> Vec<TierReport> {
        self.tiers.report()
    }

    fn vectors(&mut self) -> Option<&mut dyn DeviceVectors> {
        match self.keeps_vectors {
            true => Some(self),
            false => None,
        }
    }
}

/// Checks what a run is given, binds its caches and sends its inputs; gives the plan, ready to be executed, and how many bytes were sent.
pub(super) fn begin<'a>(
    device: &GpuDevice,
    plans: &'a mut BTreeMap<PlanId, Plan>,
    states: &BTreeMap<StateId, KvBuffers>,
    plan: PlanId,
    run: &Run<'_>,
) -> Result<(&'a mut Plan, u64), ExecError> {
    begin_but(device, plans, states, (plan, None), run)
}

/// As [`begin`], of a run whose input `fed` comes from elsewhere.
pub(super) fn begin_but<'a>(
    device: &GpuDevice,
    plans: &'a mut BTreeMap<PlanId, Plan>,
    states: &BTreeMap<StateId, KvBuffers>,
    (plan, fed): (PlanId, Option<&str>),
    run: &Run<'_>,
) -> Result<(&'a mut Plan, u64), ExecError> {
    device.check("before a run")?;
    let plan = plans.get_mut(&plan).ok_or(ExecError::Unknown {
        what: "plan",
        id: plan.0,
    })?;
    check_inputs(plan, run, fed)?;
    check_states(plan, run.states, states)?;
    plan.done.set(false);
    plan.partway = None;
    plan.foresight.forget();
    plan.bind_states(device, run.states, states)?;
    let sent = send(device, plan, run)?;
    Ok((plan, sent))
}

/// All dispatches of a plan, whose states are bound.
pub(super) fn whole_list<'a>(
    plan: &'a Plan,
    states: &[StateId],
    after: Option<&'a dyn Fn(&mut wgpu::CommandEncoder)>,
) -> List<'a> {
    List {
        commands: &plan.commands,
        first: 0,
        groups: plan.state_groups(states),
        after,
    }
}

/// Whether the states are there and are what the plan was made for.
fn check_states(
    plan: &Plan,
    given: &[StateId],
    states: &BTreeMap<StateId, KvBuffers>,
) -> Result<(), ExecError> {
    let fail = |detail: String| ExecError::Input {
        graph: plan.graph.name.clone(),
        name: "states".to_owned(),
        detail,
    };
    let wanted = &plan.graph.states;
    if given.len() != wanted.len() {
        let (given, wanted) = (given.len(), wanted.len());
        return Err(fail(format!("{given} given, {wanted} wanted")));
    }
    for (id, wanted) in given.iter().zip(wanted) {
        let state = states.get(id).ok_or(ExecError::Unknown {
            what: "state",
            id: id.0,
        })?;
        if *wanted != state.shape {
            return Err(fail(format!("{:?} given, {wanted:?} wanted", state.shape)));
        }
    }
    Ok(())
}

/// Whether a run is given what its plan takes, and nothing that would address memory that is not there.
pub(super) fn check_inputs(plan: &Plan, run: &Run<'_>, fed: Option<&str>) -> Result<(), ExecError> {
    check_run_but(&plan.graph, run, fed)?;
    let fail = |name: &str, detail: String| ExecError::Input {
        graph: plan.graph.name.clone(),
        name: name.to_owned(),
        detail,
    };
    for bound in &plan.bounds {
        if let Some((name, tensor)) = run.inputs.iter().find(|(name, _)| *name == bound.input)
            && let HostData::U32(numbers) = &tensor.data
        {
            bound.check(numbers).map_err(|detail| fail(name, detail))?;
        }
    }
    Ok(())
}
