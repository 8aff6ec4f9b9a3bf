//! The run of a plan whose results the host reads, and the beginning of the next run before it is asked for.
//!
//! Between two tokens of an answer the host has little to do, but the device would wait for it: the result is copied, read and judged, the next inputs are
//! sent, and the first dispatches submitted. Where the host has said what comes next ([`Next`]), the device is given that before the results are waited for,
//! with the token that it has itself drawn. What is begun is the first submit, about ten milliseconds at most, so that little is lost where it comes otherwise.

use std::ops::Range;
use std::sync::Arc;

use super::device::GpuDevice;
use super::executor::{GpuExecutor, begin, check_inputs, whole_list};
use super::fed::execute;
use super::inputs::send;
use super::plan::Plan;
use super::readback::{ask_for_results, copy_results, read_results, submit_copies};
use super::submit::{List, Submitter};
use crate::graph::{
    ExecError, Graph, HostData, HostTensor, NeverInterrupt, Next, PlanId, Run, StateId, ValueId,
};

/// Runs for which nothing is begun after it was in vain twice: whatever takes turns on a plan may go on doing so.
const WARY: u8 = 8;

/// What a run is given, kept. Lists that are kept, so that a run makes none.
#[derive(Default)]
struct Given {
    /// By node.
    inputs: Vec<(usize, HostData)>,
    states: Vec<StateId>,
}

impl Given {
    fn keep(&mut self, graph: &Graph, run: &Run<'_>) {
        self.inputs.clear();
        for (name, id, _) in graph.inputs() {
            if let Some((_, tensor)) = run.inputs.iter().find(|(given, _)| *given == name) {
                self.inputs.push((id.0, tensor.data.clone()));
            }
        }
        self.states.clear();
        self.states.extend_from_slice(run.states);
    }
}

/// What is known of a plan's next run.
#[derive(Default)]
pub struct Foresight {
    /// How many of its dispatches are submitted, if it was begun.
    submitted: Option<usize>,
    /// What it was given, but for one input.
    given: Given,
    /// That input's node, and which output of the run before it is.
    fed: (usize, usize),
    /// What that output was, once it is known.
    value: Option<HostData>,
    /// What the run before was given: what that has kept is being overwritten.
    before: Given,
    /// Whether the latest that was begun was in vain, as it is at the end of each answer.
    missed: bool,
    /// Runs before another is begun, since it was so twice.
    wary: u8,
}

impl Foresight {
    /// The next run is as if nothing had been begun.
    pub fn forget(&mut self) {
        self.submitted = None;
        self.value = None;
    }

    /// Whether a run is the one that was begun.
    fn is(&self, graph: &Graph, run: &Run<'_>) -> bool {
        let is_given = |node: usize, tensor: &HostTensor| match node == self.fed.0 {
            true => self.value.as_ref() == Some(&tensor.data),
            false => {
                let mut given = self.given.inputs.iter();
                given.any(|(other, begun)| *other == node && *begun == tensor.data)
            }
        };
        let given = |name: &str| run.inputs.iter().find(|(given, _)| *given == name);
        let mut inputs = graph.inputs();
        self.given.states == run.states
            && inputs.all(|(name, id, _)| given(name).is_some_and(|(_, data)| is_given(id.0, data)))
    }
}

impl GpuExecutor {
    /// Runs a plan, or goes on with its run if that was begun, and begins the next if it is known.
    pub(super) fn run_plan(
        &mut self,
        id: PlanId,
        run: Run<'_>,
        next: Option<&Next<'_>>,
    ) -> Result<Vec<HostTensor>, ExecError> {
        let device = &self.device;
        let submitter = &mut self.submitter;
        let (plan, from) = match take_up(device, self.plans.get_mut(&id), &run)? {
            Some((plan, submitted)) => {
                submitter.host_time.taken_up += 1;
                (plan, (submitted, false))
            }
            None => {
                let (plan, sent) = begin(device, &mut self.plans, &self.states, id, &run)?;
                submitter.host_time.bytes_sent += sent;
                let measured = plan.pace.begin();
                (plan, (0, measured))
            }
        };
        let (inputs, states) = (run.inputs, run.states);
        let next = match next.filter(|_| is_foreseeable(plan)) {
            Some(next) => Some((next, resolve(plan, next, states)?)),
            None => None,
        };
        let results = submit_rest(device, submitter, plan, run, from).and_then(|copied| {
            ask_for_results(plan);
            match next {
                Some(next) => begin_next(device, submitter, plan, next, (inputs, states))?,
                None => encode_ahead(device, submitter, plan, states, true),
            }
            read_results(device, plan, copied)
        });
        if results.is_err() {
            plan.ahead.forget();
            plan.foresight.forget();
        }
        plan.done.set(results.is_ok());
        let results = results?;
        let foresight = &mut plan.foresight;
        if foresight.submitted.is_some() {
            let fed = results.get(foresight.fed.1);
            foresight.value = fed.map(|result| result.data.clone());
        }
        submitter.host_time.bytes_read += results
            .iter()
            .map(|result| 4 * result.len() as u64)
            .sum::<u64>();
        Ok(results)
    }

    /// If a plan's next run was begun, the latest is run once more, so that what it keeps can be read.
    pub(super) fn run_again(&mut self, id: PlanId) -> Result<(), ExecError> {
        let Some(plan) = self.plans.get_mut(&id) else {
            return Ok(());
        };
        if plan.foresight.submitted.is_none() {
            return Ok(());
        }
        plan.foresight.forget();
        let graph = Arc::clone(&plan.graph);
        let Given { inputs, states } = &mut plan.foresight.before;
        let (given, states) = (std::mem::take(inputs), std::mem::take(states));
        let mut inputs = Vec::with_capacity(given.len());
        for (name, id, node) in graph.inputs() {
            let data = given.iter().find(|(input, _)| *input == id.0);
            inputs.extend(data.map(|(_, data)| {
                let (shape, data) = (node.shape.clone(), data.clone());
                (name, HostTensor { shape, data })
            }));
        }
        let run = Run {
            inputs: &inputs,
            states: &states,
            interrupt: &mut NeverInterrupt,
        };
        self.run_plan(id, run, None).map(|_| ())
    }
}

/// The plan and how many of its dispatches are submitted, if this run of it was begun.
fn take_up<'a>(
    device: &GpuDevice,
    plan: Option<&'a mut Plan>,
    run: &Run<'_>,
) -> Result<Option<(&'a mut Plan, usize)>, ExecError> {
    let Some(plan) = plan else {
        return Ok(None);
    };
    let Some(submitted) = plan.foresight.submitted.take() else {
        plan.foresight.wary = plan.foresight.wary.saturating_sub(1);
        return Ok(None);
    };
    check_inputs(plan, run, None)?;
    if !plan.foresight.is(&plan.graph, run) {
        if std::mem::replace(&mut plan.foresight.missed, true) {
            plan.foresight.wary = WARY;
        }
        return Ok(None);
    }
    plan.foresight.missed = false;
    device.check("going on with a run")?;
    plan.done.set(false);
    Ok(Some((plan, submitted)))
}

/// Submits what is left of a run, and the copies of its results; gives the submit that holds these, if it is known.
fn submit_rest(
    device: &GpuDevice,
    submitter: &mut Submitter,
    plan: &mut Plan,
    run: Run<'_>,
    (first, measured): (usize, bool),
) -> Result<Option<wgpu::SubmissionIndex>, ExecError> {
    let mut pace = std::mem::take(&mut plan.pace);
    let mut ahead = std::mem::take(&mut plan.ahead);
    let kept = &*plan;
    let after = |encoder: &mut wgpu::CommandEncoder| copy_results(kept, encoder);
    let whole = whole_list(kept, run.states, Some(&after));
    let total = whole.commands.len();
    let mut go = |steps: Range<usize>| {
        let last = steps.end >= total;
        let list = List {
            commands: whole.commands.get(steps.clone()).unwrap_or_default(),
            first: steps.start,
            after: whole.after.filter(|_| last),
            ..whole
        };
        let (meters, ready) = ((&mut pace, measured), (&mut ahead, run.states));
        submitter.execute(device, list, run.interrupt, meters, ready)
    };
    let copied = match kept.stream() {
        None if first >= total => Ok(Some(submit_copies(device, kept))),
        None => go(first..total),
        Some(stream) => stream.run(device, &kept.graph, go).map(|()| None),
    };
    (plan.pace, plan.ahead) = (pace, ahead);
    copied
}

/// Whether a next run may be begun: not where it is to be measured, has an order of its own, or was not what came last time.
fn is_foreseeable(plan: &Plan) -> bool {
    plan.foresight.wary == 0
        && plan.stream().is_none()
        && !plan.commands.is_empty()
        && plan.pace.is_repeated()
        && !plan.pace.next_is_measured()
}

/// Encodes the first submit of the run after all that are submitted.
fn encode_ahead(
    device: &GpuDevice,
    submitter: &mut Submitter,
    plan: &mut Plan,
    states: &[StateId],
    copies: bool,
) {
    if plan.stream().is_some() {
        return;
    }
    let mut ahead = std::mem::take(&mut plan.ahead);
    let kept = &*plan;
    let after = |encoder: &mut wgpu::CommandEncoder| copy_results(kept, encoder);
    let whole = match copies {
        true => whole_list(kept, states, Some(&after)),
        false => whole_list(kept, states, None),
    };
    submitter.encode_ahead(device, whole, &plan.pace, (&mut ahead, states));
    plan.ahead = ahead;
}

/// The input that is fed, and the number of the output that it is.
///
/// # Errors
/// If what is said to come next is not of the plan.
fn resolve(
    plan: &Plan,
    next: &Next<'_>,
    states: &[StateId],
) -> Result<(ValueId, usize), ExecError> {
    let graph = &plan.graph;
    let not_there = |name: &str, detail: &str| ExecError::Input {
        graph: graph.name.clone(),
        name: name.to_owned(),
        detail: detail.to_owned(),
    };
    let input = graph.inputs().find(|(name, ..)| *name == next.input);
    let (_, input, node) = input.ok_or_else(|| not_there(next.input, "is none of its inputs"))?;
    let mut outputs = graph.outputs.iter().enumerate();
    let output = outputs.find(|(_, (name, _))| name == next.output);
    let (place, (_, output)) =
        output.ok_or_else(|| not_there(next.output, "is none of its outputs"))?;
    let made = graph.node(*output);
    if (made.dtype, made.elements()) != (node.dtype, node.elements()) {
        return Err(not_there(
            next.input,
            "is not like the output that it is to be",
        ));
    }
    let run = Run {
        inputs: next.inputs,
        states,
        interrupt: &mut NeverInterrupt,
    };
    check_inputs(plan, &run, Some(next.input))?;
    Ok((input, place))
}

/// Begins the next run of a plan whose latest is submitted.
fn begin_next(
    device: &GpuDevice,
    submitter: &mut Submitter,
    plan: &mut Plan,
    (next, fed): (&Next<'_>, (ValueId, usize)),
    (inputs, states): (&[(&str, HostTensor)], &[StateId]),
) -> Result<(), ExecError> {
    let graph = Arc::clone(&plan.graph);
    let (input, place) = fed;
    let output = graph.outputs[place].1;
    let run = Run {
        inputs: next.inputs,
        states,
        interrupt: &mut NeverInterrupt,
    };
    {
        // Copies within a buffer are none.
        let places = plan
            .place(graph.storage_of(output).0)
            .zip(plan.place(input.0));
        let Some(((from, from_base), (to, to_base))) = places.filter(|(from, to)| from.0 != to.0)
        else {
            return Ok(());
        };
        let mut encoder = device
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let bytes = graph.node(output).elements() as u64 * 4;
        encoder.copy_buffer_to_buffer(from, from_base, to, to_base, bytes);
        device.queue.submit([encoder.finish()]);
    }
    submitter.host_time.bytes_sent += send(device, plan, &run)?;
    plan.sent.forget(input.0);
    plan.pace.begin();
    let made = plan.ahead.without_copies(states);
    let first = made.unwrap_or_else(|| submitter.first_submit(&plan.pace, &plan.commands));
    let part = Run {
        inputs: run.inputs,
        states: run.states,
        interrupt: &mut *run.interrupt,
    };
    execute(device, submitter, plan, part, (0..first, false))?;
    if first < plan.commands.len() {
        encode_ahead(device, submitter, plan, states, false);
    }
    submitter.host_time.begun_runs += 1;
    let foresight = &mut plan.foresight;
    foresight.submitted = Some(first);
    foresight.fed = (input.0, place);
    let coming = Run {
        inputs: next.inputs,
        states,
        interrupt: &mut NeverInterrupt,
    };
    foresight.given.keep(&graph, &coming);
    let latest = Run { inputs, ..coming };
    foresight.before.keep(&graph, &latest);
    Ok(())
}
