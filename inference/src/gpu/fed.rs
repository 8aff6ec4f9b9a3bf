//! Runs of plans between vectors that stay on the device; see [`crate::graph::DeviceVectors`].

use std::ops::Range;
use std::sync::Arc;

use super::device::GpuDevice;
use super::executor::{GpuExecutor, begin_but, whole_list};
use super::plan::Plan;
use super::submit::{List, Submitter};
use super::vectors::check;
use crate::graph::{ExecError, Fed, PlanId, Run};

impl GpuExecutor {
    /// See [`begin_fed`](crate::graph::DeviceVectors::begin_fed).
    pub(super) fn begin_plan_fed(
        &mut self,
        plan: PlanId,
        run: Run<'_>,
        fed: &Fed<'_>,
    ) -> Result<(), ExecError> {
        let device = &self.device;
        let states = &self.states;
        let given = (plan, Some(fed.input));
        let (plan, sent) = begin_but(device, &mut self.plans, states, given, &run)?;
        self.submitter.host_time.bytes_sent += sent;
        let graph = Arc::clone(&plan.graph);
        let input = graph.inputs().find(|(name, ..)| *name == fed.input);
        let Some((id, (to, base))) =
            input.and_then(|(_, id, _)| Some((id, plan.place(graph.storage_of(id).0)?)))
        else {
            return Err(ExecError::Input {
                graph: graph.name.clone(),
                name: fed.input.to_owned(),
                detail: "is none of its inputs".into(),
            });
        };
        let set = self.vectors.get_mut(&fed.set).ok_or(ExecError::Unknown {
            what: "set of vectors",
            id: fed.set.0,
        })?;
        set.feed(device, fed.pieces, (to, base, graph.node(id).elements()))?;
        plan.sent.forget(id.0);
        let measured = plan.pace.begin();
        // What is streamed has an order of its own.
        let first = match plan.stream() {
            Some(_) => 0,
            None if measured => self.submitter.first_submit(&plan.pace, &plan.commands),
            None => {
                let made = plan.ahead.without_copies(run.states);
                made.unwrap_or_else(|| self.submitter.first_submit(&plan.pace, &plan.commands))
            }
        };
        if first > 0 {
            execute(device, &mut self.submitter, plan, run, (0..first, measured))?;
        }
        plan.partway = Some((first, measured));
        Ok(())
    }

    /// See [`run_fed`](crate::graph::DeviceVectors::run_fed).
    pub(super) fn run_plan_fed(
        &mut self,
        id: PlanId,
        run: Run<'_>,
        fed: &Fed<'_>,
    ) -> Result<(), ExecError> {
        let found = self.plans.get_mut(&id);
        let partway = found.and_then(|plan| plan.partway.take());
        if partway.is_none() {
            let begun = Run {
                inputs: run.inputs,
                states: run.states,
                interrupt: &mut *run.interrupt,
            };
            self.begin_plan_fed(id, begun, fed)?;
        }
        let device = &self.device;
        let unknown = |what: &'static str, id: u64| ExecError::Unknown { what, id };
        let plan = self.plans.get_mut(&id).ok_or(unknown("plan", id.0))?;
        let set = self.vectors.get_mut(&fed.set);
        let set = set.ok_or(unknown("set of vectors", fed.set.0))?;
        let partway = partway.or_else(|| plan.partway.take());
        let (done, measured) = partway.unwrap_or((0, false));
        let rest = done..plan.commands.len();
        execute(device, &mut self.submitter, plan, run, (rest, measured))?;
        let graph = &plan.graph;
        let output = graph.outputs.first().and_then(|(_, id)| {
            let (from, base) = plan.place(graph.storage_of(*id).0)?;
            Some((from, base, graph.node(*id).elements()))
        });
        let output = output.ok_or(unknown("output", 0))?;
        set.take(device, output, fed.into)?;
        plan.done.set(true);
        self.submitter.host_time.fed_runs += 1;
        check(device, "running")
    }
}

/// Runs dispatches of a plan that is ready, whose results stay on the device: those of a range, unless the plan is streamed. The last of them may still be under way.
pub(super) fn execute(
    device: &GpuDevice,
    submitter: &mut Submitter,
    plan: &mut Plan,
    run: Run<'_>,
    (steps, measured): (Range<usize>, bool),
) -> Result<(), ExecError> {
    let mut pace = std::mem::take(&mut plan.pace);
    let mut ahead = std::mem::take(&mut plan.ahead);
    let whole = whole_list(plan, run.states, None);
    let total = whole.commands.len();
    let ends = !steps.is_empty() && steps.end >= total;
    let mut go = |steps: Range<usize>| {
        let list = List {
            commands: whole.commands.get(steps.clone()).unwrap_or_default(),
            first: steps.start,
            ..whole
        };
        let (meters, ready) = ((&mut pace, measured), (&mut ahead, run.states));
        submitter.execute(device, list, run.interrupt, meters, ready)
    };
    let done = match plan.stream() {
        None => go(steps).map(|_| ()),
        Some(stream) => stream.run(device, &plan.graph, go),
    };
    if done.is_ok() && ends && plan.stream().is_none() {
        submitter.encode_ahead(device, whole, &pace, (&mut ahead, run.states));
    }
    (plan.pace, plan.ahead) = (pace, ahead);
    done
}
