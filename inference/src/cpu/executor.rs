//! [`CpuExecutor`]: plans, weights, KV caches and the memory that they take.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::budget;
use super::kv::KvState;
use super::parallel::Poll;
use super::plan::Lifetimes;
use super::run::run;
use super::weights::{PlanWeights, WeightCache};
use crate::graph::{
    ExecError, Executor, Graph, HostTensor, Interrupt, KvShape, MemoryForecast, MemoryUse, OpTime,
    PlanId, Profile, ProfileClock, Run, StateId, check_run, kept_row,
};

/// How weights are multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CpuMode {
    /// Plain f32: weights are dequantised by our own code when they are loaded, then multiplied in f32. What GPU kernels are
    /// tested against.
    Oracle,
    /// For use: quantised weights stay packed and are multiplied by kernels that round activations to 8 bits a block;
    /// f16 and bf16 weights stay as they are in their file. Activations are f32.
    #[default]
    Fast,
    /// As [`CpuMode::Fast`], but the smallest quantised weights are packed, too, so that models of a few thousand weights take that path: for tests.
    Packed,
}

/// A graph made ready.
pub(super) struct Plan {
    pub(super) graph: Arc<Graph>,
    pub(super) mode: CpuMode,
    pub(super) lifetimes: Lifetimes,
    pub(super) weights: PlanWeights,
    /// Most bytes of streamed weights at once.
    pub(super) at_once: u64,
    /// What the latest run left to be read; empty before the first.
    pub(super) kept: Vec<HostTensor>,
}

/// Runs graphs on the processor; see [`crate::cpu`].
pub struct CpuExecutor {
    mode: CpuMode,
    device_name: String,
    budget: u64,
    plans: BTreeMap<PlanId, Plan>,
    states: BTreeMap<StateId, KvState>,
    weights: WeightCache,
    next_id: u64,
    /// Values of the latest run at their highest.
    activations: u64,
    peak: u64,
}

impl std::fmt::Debug for CpuExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CpuExecutor")
            .field("mode", &self.mode)
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}

const MIB: u64 = 1 << 20;

impl CpuExecutor {
    /// An executor whose budget is four fifths of the memory that the system says is available now.
    pub fn new(mode: CpuMode) -> Self {
        Self::with_budget(mode, None)
    }

    /// An executor that takes at most `budget` bytes; `None` as in [`CpuExecutor::new`].
    pub fn with_budget(mode: CpuMode, budget: Option<u64>) -> Self {
        Self {
            mode,
            device_name: budget::processor(),
            budget: budget.unwrap_or_else(budget::default_budget),
            plans: BTreeMap::new(),
            states: BTreeMap::new(),
            weights: WeightCache::default(),
            next_id: 0,
            activations: 0,
            peak: 0,
        }
    }

    /// How weights are multiplied.
    pub fn mode(&self) -> CpuMode {
        self.mode
    }

    fn state_bytes(&self) -> u64 {
        self.states.values().map(|state| state.shape.bytes()).sum()
    }

    /// Whether `needed` bytes go on top of `held` ones.
    fn check_budget(&self, what: &str, held: u64, needed: u64) -> Result<(), ExecError> {
        let available = self.budget.saturating_sub(held);
        if needed <= available {
            return Ok(());
        }
        Err(ExecError::OutOfMemory {
            what: what.to_owned(),
            needed: needed.div_ceil(MIB),
            available: available / MIB,
            budget: self.budget / MIB,
        })
    }

    fn note_peak(&mut self, activations: u64) {
        self.peak = self
            .peak
            .max(self.weights.bytes() + self.state_bytes() + activations);
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn run_timed(
        &mut self,
        plan: PlanId,
        given: Run<'_>,
        times: Option<&mut Vec<OpTime>>,
    ) -> Result<Vec<HostTensor>, ExecError> {
        let id = plan;
        if let Some(plan) = self.plans.get_mut(&id) {
            plan.kept.clear();
        }
        let plan = self.plans.get(&id).ok_or(ExecError::Unknown {
            what: "plan",
            id: id.0,
        })?;
        check_run(&plan.graph, &given)?;
        let held = self.weights.bytes() + self.state_bytes();
        let activations = plan.lifetimes.peak + plan.at_once;
        // States may have been made since the plan was.
        self.check_budget(&plan.graph.name, held, activations)?;
        self.activations = activations;
        self.peak = self.peak.max(held + activations);
        let mut states = bind(&mut self.states, &plan.graph, given.states)?;
        let (results, kept) = run(
            plan,
            given.inputs,
            &mut states,
            &mut Poll(given.interrupt),
            times,
        )?;
        if let Some(plan) = self.plans.get_mut(&id) {
            plan.kept = kept;
        }
        Ok(results)
    }

    /// Makes a plan. Where not all weights fit and that is allowed, some are loaded for each op that uses them: read where they
    /// lie in their mapped file, and decoded if that is their form.
    fn make_plan(
        &mut self,
        graph: Arc<Graph>,
        may_stream: bool,
        interrupt: &mut dyn Interrupt,
    ) -> Result<PlanId, ExecError> {
        let lifetimes = Lifetimes::new(&graph, self.mode);
        let (new, _) = self.weights.forecast(&graph, self.mode);
        let held = self.weights.bytes() + self.state_bytes();
        let fits = self.check_budget(&graph.name, held, new.saturating_add(lifetimes.peak));
        let mut split = None;
        if let Err(error) = fits {
            if !may_stream {
                return Err(error);
            }
            let available = self.budget.saturating_sub(held);
            // A little is left free for later plans and caches.
            let roomy = available.saturating_sub(lifetimes.peak + self.budget / 16);
            let tight = available.saturating_sub(lifetimes.peak);
            let found = self
                .weights
                .split(&graph, self.mode, roomy)
                .or_else(|_| self.weights.split(&graph, self.mode, tight));
            match found {
                Ok(found) => split = Some(found),
                Err(least) => {
                    let needed = lifetimes.peak.saturating_add(least);
                    self.check_budget(&graph.name, held, needed)?;
                    return Err(error);
                }
            }
        }
        let at_once = split.as_ref().map_or(0, |split| split.at_once);
        let weights = self.weights.acquire(&graph, self.mode, split, interrupt)?;
        self.note_peak(0);
        let id = PlanId(self.new_id());
        tracing::debug!(
            graph = graph.name,
            new_weights_mib = new / MIB,
            streamed_mib = weights.streamed_bytes() / MIB,
            activations_mib = lifetimes.peak / MIB,
            "prepared on the CPU"
        );
        self.plans.insert(
            id,
            Plan {
                graph,
                mode: self.mode,
                lifetimes,
                weights,
                at_once,
                kept: Vec::new(),
            },
        );
        Ok(id)
    }
}

impl Executor for CpuExecutor {
    fn kind(&self) -> &'static str {
        "cpu"
    }

    fn device_name(&self) -> String {
        self.device_name.clone()
    }

    fn forecast(&self, graph: &Graph) -> MemoryForecast {
        let (new_weights, shared_weights) = self.weights.forecast(graph, self.mode);
        MemoryForecast {
            new_weights,
            shared_weights,
            activations: Lifetimes::new(graph, self.mode).peak,
            held: 0,
            states: graph.states.iter().map(|state| state.bytes()).sum(),
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

    fn run(&mut self, plan: PlanId, given: Run<'_>) -> Result<Vec<HostTensor>, ExecError> {
        self.run_timed(plan, given, None)
    }

    fn run_profiled(
        &mut self,
        plan: PlanId,
        given: Run<'_>,
    ) -> Result<(Vec<HostTensor>, Option<Profile>), ExecError> {
        let mut ops = Vec::new();
        let results = self.run_timed(plan, given, Some(&mut ops))?;
        let graph = self.plans.get(&plan).map(|plan| Arc::clone(&plan.graph));
        let profile = graph.map(|graph| Profile {
            graph,
            clock: ProfileClock::Host,
            ops,
        });
        Ok((results, profile))
    }

    fn read_kept(&mut self, plan: PlanId, index: usize, row: usize) -> Result<Vec<f32>, ExecError> {
        let plan = self.plans.get(&plan).ok_or(ExecError::Unknown {
            what: "plan",
            id: plan.0,
        })?;
        let (_, width) = kept_row(&plan.graph, index, row)?;
        let value = plan.kept.get(index).map_or(&[][..], HostTensor::as_f32);
        match value.get(row * width..(row + 1) * width) {
            Some(row) => Ok(row.to_vec()),
            None => Err(ExecError::Unknown {
                what: "result of a run",
                id: index as u64,
            }),
        }
    }

    fn drop_plan(&mut self, plan: PlanId) {
        if let Some(plan) = self.plans.remove(&plan) {
            self.weights.release(&plan.weights);
        }
    }

    fn create_kv(&mut self, shape: KvShape) -> Result<StateId, ExecError> {
        let bytes = shape.bytes();
        self.check_budget(
            "a KV cache",
            self.weights.bytes() + self.state_bytes(),
            bytes,
        )?;
        let state = KvState::new(shape)?;
        let id = StateId(self.new_id());
        self.states.insert(id, state);
        self.note_peak(0);
        Ok(id)
    }

    fn copy_kv_page(&mut self, state: StateId, from: u32, to: u32) -> Result<(), ExecError> {
        let id = state;
        let state = self.states.get_mut(&id).ok_or(ExecError::Unknown {
            what: "state",
            id: id.0,
        })?;
        for page in [from, to] {
            if page as usize >= state.shape.pages {
                return Err(ExecError::Unknown {
                    what: "page",
                    id: page.into(),
                });
            }
        }
        state.copy_page(from as usize, to as usize);
        Ok(())
    }

    fn drop_state(&mut self, state: StateId) {
        self.states.remove(&state);
    }

    fn memory(&self) -> MemoryUse {
        MemoryUse {
            weights: self.weights.bytes(),
            activations: self.activations,
            states: self.state_bytes(),
            peak: self.peak,
            budget: self.budget,
            streamed: self
                .plans
                .values()
                .map(|plan| plan.weights.streamed_bytes())
                .sum(),
            forecast: 0,
            beside: 0,
            beside_forecast: 0,
        }
    }
}

/// The caches that a run names, in the order of the graph's own list, each of the shape that the graph was built for.
fn bind<'a>(
    states: &'a mut BTreeMap<StateId, KvState>,
    graph: &Graph,
    wanted: &[StateId],
) -> Result<Vec<&'a mut KvState>, ExecError> {
    let fail = |detail: String| ExecError::Input {
        graph: graph.name.clone(),
        name: "states".into(),
        detail,
    };
    if let Some(twice) = wanted
        .iter()
        .enumerate()
        .find_map(|(i, id)| wanted[..i].contains(id).then_some(id))
    {
        return Err(fail(format!("cache {} is given twice", twice.0)));
    }
    let mut found: BTreeMap<StateId, &mut KvState> = states
        .iter_mut()
        .filter(|(id, _)| wanted.contains(id))
        .map(|(id, state)| (*id, state))
        .collect();
    let mut bound = Vec::with_capacity(wanted.len());
    for (id, &shape) in wanted.iter().zip(&graph.states) {
        let state = found.remove(id).ok_or(ExecError::Unknown {
            what: "state",
            id: id.0,
        })?;
        if state.shape != shape {
            return Err(fail(format!(
                "cache {} has shape {:?}, wanted {shape:?}",
                id.0, state.shape
            )));
        }
        bound.push(state);
    }
    Ok(bound)
}
