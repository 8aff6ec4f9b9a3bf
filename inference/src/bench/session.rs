//! One model on one executor: plans, repeated runs, memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cost;
use super::processor::{forget_peak, resident};
use super::report::{LimitReport, MemoryReport, ModelReport, ProfileReport, ProfileRow, Workload};
use super::{BenchError, Opened, Options, Stop, Watcher};
use crate::formats::detect::ModelInfo;
use crate::graph::{
    ExecError, Graph, HostTensor, MemoryForecast, Next, PlanId, Profile, Run, StateId,
};

/// A graph that is ready, with what making it took.
pub(super) struct Planned {
    pub graph: Arc<Graph>,
    pub plan: PlanId,
    graph_seconds: f64,
}

/// What a workload is called and counted in.
pub(super) struct Naming<'a> {
    pub name: String,
    pub unit: &'a str,
    /// Units in one run.
    pub units: usize,
    /// Positions that a row of paged attention sees on average.
    pub context: f64,
}

/// Times that a plan is encoded with an idle device.
const IDLE_TIMES: usize = 15;

/// What a run costs the host.
struct Host {
    dispatches: u64,
    submits: u64,
    us_each: f64,
    bytes_read: u64,
}

/// Gives the inputs of a run by its number, the first being 0, and the results of the run before.
pub(super) type Inputs<'a> = dyn FnMut(usize, &[HostTensor]) -> Named + 'a;

/// What is known of the inputs of a run by its number before the results of the run before are: all but `ids`, which are its `drawn`.
pub(super) type Foreseen<'a> = dyn Fn(usize) -> Named + 'a;

/// Inputs by their names.
type Named = Vec<(&'static str, HostTensor)>;

/// One model on one executor.
pub(super) struct Session<'a> {
    pub executor: Opened,
    pub options: &'a Options,
    limits: &'a LimitReport,
    watcher: &'a mut dyn Watcher,
    report: ModelReport,
    /// The graph of each workload whose weights are still there.
    graphs: Vec<Arc<Graph>>,
    resident_before: Option<u64>,
}

impl<'a> Session<'a> {
    pub fn new(
        executor: Opened,
        name: String,
        info: &ModelInfo,
        options: &'a Options,
        limits: &'a LimitReport,
        watcher: &'a mut dyn Watcher,
    ) -> Self {
        forget_peak();
        Self {
            executor,
            options,
            limits,
            watcher,
            report: ModelReport {
                name,
                description: info.describe(),
                file_bytes: info.file_bytes(),
                open_seconds: 0.0,
                prepare_seconds: 0.0,
                upload: None,
                plain_read: None,
                memory: MemoryReport::default(),
                workloads: Vec::new(),
            },
            graphs: Vec::new(),
            resident_before: resident("VmRSS"),
        }
    }

    /// Tells what comes next.
    pub fn tell(&mut self, what: &str) {
        self.watcher.next(&format!("{}: {what}", self.report.name));
    }

    /// Notes how long it took to open the files.
    pub fn opened(&mut self, since: Instant) {
        self.report.open_seconds = since.elapsed().as_secs_f64();
    }

    /// Foresees the memory of graphs that share their weights and are there at the same time, before any is prepared.
    pub fn forecast(&mut self, graphs: &[&Graph]) {
        let executor = self.executor.as_mut();
        let on_gpu = executor.kind() == "gpu";
        let all: Vec<MemoryForecast> = graphs
            .iter()
            .map(|graph| executor.forecast(graph))
            .collect();
        let most = |of: &dyn Fn(&MemoryForecast) -> u64| all.iter().map(of).max().unwrap_or(0);
        let activations = match on_gpu {
            // Plans keep their arenas.
            true => all.iter().map(|forecast| forecast.activations).sum(),
            false => most(&|forecast| forecast.activations),
        };
        let weights = most(&|forecast| forecast.new_weights);
        let states = most(&|forecast| forecast.states);
        self.report.memory.forecast += weights + activations + states;
    }

    /// As [`Self::forecast`], of graphs that have nothing in common. Returns whether the budget holds all of them at once; where it does not, they are
    /// to be planned one after the other, each when the one before was dropped, and the largest is what is foreseen.
    pub fn forecast_apart(&mut self, graphs: &[&Graph]) -> bool {
        let executor = self.executor.as_mut();
        let on_gpu = executor.kind() == "gpu";
        let all: Vec<MemoryForecast> = graphs
            .iter()
            .map(|graph| executor.forecast(graph))
            .collect();
        let weights: u64 = all.iter().map(|forecast| forecast.new_weights).sum();
        let activations = all.iter().map(|forecast| forecast.activations);
        let activations = match on_gpu {
            true => activations.sum(),
            false => activations.max().unwrap_or(0),
        };
        let together = weights + activations;
        let used = executor.memory();
        let free = used
            .budget
            .saturating_sub(used.weights + used.activations + used.states);
        if together <= free {
            self.report.memory.forecast += together;
            return true;
        }
        let each = all.iter().map(|one| one.new_weights + one.activations);
        // What does not fit by itself is streamed within what there is.
        self.report.memory.forecast += each.max().unwrap_or(0).min(free);
        false
    }

    /// Frees a plan and the weights that no other holds; how long planning it anew takes is not told.
    pub fn drop_plan(&mut self, planned: &Planned) {
        self.executor.as_mut().drop_plan(planned.plan);
        self.graphs
            .retain(|graph| !Arc::ptr_eq(graph, &planned.graph));
    }

    /// Makes a graph ready.
    ///
    /// # Errors
    /// From building or preparing it.
    pub fn plan(
        &mut self,
        build: &dyn Fn() -> Result<Graph, BenchError>,
    ) -> Result<Planned, BenchError> {
        let started = Instant::now();
        let graph = Arc::new(build()?);
        let graph_seconds = started.elapsed().as_secs_f64();
        let executor = self.executor.as_mut();
        let started = Instant::now();
        let first = executor.prepare(Arc::clone(&graph))?;
        self.report.prepare_seconds += started.elapsed().as_secs_f64();
        Ok(Planned {
            graph,
            plan: first,
            graph_seconds,
        })
    }

    /// Runs a plan once.
    ///
    /// # Errors
    /// From the executor, and if the watcher stops it.
    pub fn run(
        &mut self,
        plan: PlanId,
        inputs: &[(&str, HostTensor)],
        states: &[StateId],
    ) -> Result<Vec<HostTensor>, BenchError> {
        let run = Run {
            inputs,
            states,
            interrupt: &mut Stop(&mut *self.watcher),
        };
        Ok(self.executor.as_mut().run(plan, run)?)
    }

    fn run_then(
        &mut self,
        plan: PlanId,
        (inputs, next): (&Named, Option<Named>),
        states: &[StateId],
    ) -> Result<Vec<HostTensor>, BenchError> {
        let Some(next) = next else {
            return self.run(plan, inputs, states);
        };
        let next = Next {
            inputs: &next,
            input: "ids",
            output: "drawn",
        };
        let run = Run {
            inputs,
            states,
            interrupt: &mut Stop(&mut *self.watcher),
        };
        Ok(self.executor.as_mut().run_then(plan, run, &next)?)
    }

    /// Runs a plan again and again, with the inputs that `inputs` gives for each run, and adds the workload to the report. Runs go on
    /// for the time given, but there are at least `least` and at most `most`. What is `foreseen` of the next run is told with each.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn measure(
        &mut self,
        planned: &Planned,
        states: &[StateId],
        naming: Naming<'_>,
        (least, most, time): (usize, usize, Duration),
        (inputs, foreseen): (&mut Inputs<'_>, Option<&Foreseen<'_>>),
    ) -> Result<(), BenchError> {
        self.tell(&naming.name);
        // The first run finds caches cold.
        let mut given = inputs(0, &[]);
        let next = |number: usize| foreseen.map(|foreseen| foreseen(number));
        let mut results = self.run_then(planned.plan, (&given, next(1)), states)?;
        let host_before = self.executor.as_mut().host_time();
        let started = Instant::now();
        let mut times = Vec::new();
        while times.len() < least || times.len() < most && started.elapsed() < time {
            let number = times.len() + 1;
            given = inputs(number, &results);
            let next = next(number + 1);
            let one = Instant::now();
            results = self.run_then(planned.plan, (&given, next), states)?;
            times.push(one.elapsed().as_secs_f64());
        }
        let host = self.executor.as_mut().host_time().zip(host_before);
        let host = host.map(|(after, before)| {
            let dispatches = after.dispatches - before.dispatches;
            let runs = times.len().max(1) as u64;
            Host {
                dispatches: dispatches / runs,
                submits: (after.submits - before.submits).div_ceil(runs),
                us_each: 1e6 * (after.seconds - before.seconds) / dispatches.max(1) as f64,
                bytes_read: (after.bytes_read - before.bytes_read) / runs,
            }
        });
        let idle_us_each = self.encode_idle(planned.plan, states)?;
        let run = Run {
            inputs: &given,
            states,
            interrupt: &mut Stop(&mut *self.watcher),
        };
        let (_, profile) = self.executor.as_mut().run_profiled(planned.plan, run)?;
        let all = cost::of_graph(&planned.graph, naming.context);
        let seconds = median(&mut times);
        self.graphs.push(Arc::clone(&planned.graph));
        self.report.workloads.push(Workload {
            unit: naming.unit.to_owned(),
            units: naming.units,
            runs: times.len(),
            seconds,
            best_seconds: times.first().copied().unwrap_or(seconds),
            per_second: naming.units as f64 / seconds,
            flops: all.flops,
            bytes: all.bytes(),
            weight_bytes: all.weights,
            flops_share: all.flops / seconds / self.limits.flops,
            bandwidth_share: all.weights / seconds / self.limits.bandwidth,
            graph_seconds: planned.graph_seconds,
            // Told at the end: a second plan takes memory of its own.
            plan_seconds: None,
            ops: planned.graph.nodes.len(),
            dispatches: host.as_ref().map(|host| host.dispatches),
            submits: host.as_ref().map(|host| host.submits),
            host_us_per_dispatch: host.as_ref().map(|host| host.us_each),
            host_idle_us_per_dispatch: idle_us_each,
            bytes_read: host.map(|host| host.bytes_read),
            profile: profile.map(|profile| summarise(&profile, naming.context)),
            name: naming.name,
        });
        Ok(())
    }

    /// Microseconds for each dispatch that encoding takes while the device has nothing to do: the median of several times, after one that fills the caches.
    fn encode_idle(&mut self, plan: PlanId, states: &[StateId]) -> Result<Option<f64>, BenchError> {
        let mut times = Vec::new();
        for _ in 0..=IDLE_TIMES {
            let told = self.executor.as_mut().encode_idle(plan, states)?;
            times.extend(told.map(|told| 1e6 * told.seconds / told.dispatches.max(1) as f64));
        }
        times.drain(..times.len().min(1));
        Ok((!times.is_empty()).then(|| median(&mut times)))
    }

    /// The report, with what memory it took and how long plans take when weights and pipelines are there.
    ///
    /// # Errors
    /// From making the plans once more.
    pub fn finish(mut self) -> Result<ModelReport, BenchError> {
        let executor = self.executor.as_mut();
        self.report.memory.peak = executor.memory().peak;
        self.report.upload = executor
            .host_time()
            .filter(|host| host.uploaded > 0)
            .map(|host| host.uploaded as f64 / host.upload_seconds.max(1e-9));
        self.report.memory.resident = resident("VmHWM")
            .zip(self.resident_before)
            .map(|(peak, before)| peak.saturating_sub(before));
        for (work, graph) in self.report.workloads.iter_mut().zip(self.graphs) {
            let started = Instant::now();
            match executor.prepare(graph) {
                Ok(plan) => {
                    work.plan_seconds = Some(started.elapsed().as_secs_f64());
                    executor.drop_plan(plan);
                }
                // There is no room for it beside the first one.
                Err(ExecError::OutOfMemory { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.report)
    }
}

/// The median; sorts the times.
pub(super) fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    match (times.get(middle), times.len() % 2) {
        (Some(&time), 1) => time,
        (Some(&time), _) => {
            let below = times.get(middle.wrapping_sub(1)).copied();
            (time + below.unwrap_or(time)) / 2.0
        }
        (None, _) => 0.0,
    }
}

/// Ops of one kind by one kernel together, the slowest first.
fn summarise(profile: &Profile, context: f64) -> ProfileReport {
    let graph = &*profile.graph;
    let mut rows: BTreeMap<(&str, &str), (usize, f64, cost::Cost)> = BTreeMap::new();
    let total: f64 = profile.ops.iter().map(|op| op.seconds).sum();
    // The work of an op of several kernels counts for the one of them that takes longest.
    let mut spent: BTreeMap<(usize, &str), f64> = BTreeMap::new();
    for op in &profile.ops {
        *spent.entry((op.node, &op.kernel)).or_default() += op.seconds;
    }
    let mut longest: BTreeMap<usize, (&str, f64)> = BTreeMap::new();
    for ((node, kernel), seconds) in spent {
        let known = longest.entry(node).or_insert((kernel, seconds));
        if seconds > known.1 {
            *known = (kernel, seconds);
        }
    }
    for op in &profile.ops {
        let Some(node) = graph.nodes.get(op.node) else {
            continue;
        };
        let row = rows.entry((node.op.name(), &op.kernel)).or_default();
        row.0 += 1;
        row.1 += op.seconds;
        if longest
            .get(&op.node)
            .is_some_and(|(kernel, _)| *kernel == op.kernel)
        {
            longest.remove(&op.node);
            row.2 += cost::of_node(graph, node, context);
        }
    }
    let mut rows: Vec<ProfileRow> = rows
        .into_iter()
        .map(|((op, kernel), (count, seconds, cost))| ProfileRow {
            op: op.to_owned(),
            kernel: kernel.to_owned(),
            count,
            seconds,
            share: if total > 0.0 { seconds / total } else { 0.0 },
            flops_per_second: cost.flops / seconds.max(1e-12),
            bytes_per_second: cost.bytes() / seconds.max(1e-12),
        })
        .collect();
    rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    ProfileReport {
        clock: profile.clock.name().to_owned(),
        seconds: total,
        rows,
    }
}
