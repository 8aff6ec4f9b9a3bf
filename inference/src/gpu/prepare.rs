//! From a graph to a plan on the device, with all of its weights there or some of them streamed.

use std::borrow::Cow;
use std::sync::Arc;

use super::executor::GpuExecutor;
use super::fold::folded;
use super::layout::Compiled;
use super::merge::merged;
use super::plan::Plan;
use super::stream::{Ring, Room, Schedule, Stream, schedule};
use crate::formats::TensorData;
use crate::graph::{ExecError, Graph, Interrupt, PlanId};

impl GpuExecutor {
    /// Makes a plan; where not all weights fit, some are streamed if that is allowed.
    ///
    /// # Errors
    /// If memory does not suffice, or the graph cannot be run on this device.
    pub(super) fn make_plan(
        &mut self,
        graph: Arc<Graph>,
        may_stream: bool,
        interrupt: &mut dyn Interrupt,
    ) -> Result<PlanId, ExecError> {
        self.device.check("before planning")?;
        self.weights.tidy();
        let given = Arc::clone(&graph);
        let mut graph = match self.merged(&given) {
            Cow::Borrowed(_) => graph,
            Cow::Owned(merged) => Arc::new(merged),
        };
        let mut compiled = self.compile_proven(&graph)?;
        let needed = self.weight_forecast(&graph, &compiled).0 + compiled.activation_bytes();
        let stream = if needed <= self.memory.available() {
            None
        } else if !may_stream {
            return Err(self.memory.out_of_memory(&graph.name, needed));
        } else {
            let scheduled = match self.schedule(&graph, &compiled) {
                // What is joined may add in another order than what is apart: a plan that is streamed is that of one which is not, and gives the
                // same bytes, wherever it can be. Only where not even one of the joined weights can pass through the ring they do so apart.
                Err(_) if !Arc::ptr_eq(&graph, &given) => {
                    compiled = self.compile_proven(&given)?;
                    graph = given;
                    self.schedule(&graph, &compiled)
                }
                scheduled => scheduled,
            };
            Some(scheduled?)
        };
        let (new_weights, _) = self.weight_forecast(&graph, &compiled);
        let is_resident = |index: usize| match &stream {
            None => true,
            Some(schedule) => schedule.resident.get(index).copied().unwrap_or(false),
        };
        let resident: Vec<bool> = (0..graph.weights.len()).map(is_resident).collect();
        let weights: Vec<_> = graph
            .weights
            .iter()
            .zip(&compiled.weights)
            .zip(&resident)
            .filter(|(_, resident)| **resident)
            .map(|((weight, layout), _)| (TensorData::clone(weight), layout.clone()))
            .collect();
        let stream = match stream {
            None => None,
            Some(schedule) => {
                tracing::info!(
                    "{}: {} MiB of its weights do not fit and are sent in every run",
                    graph.name,
                    schedule.streamed >> 20
                );
                let ring = self.ring((schedule.slots, schedule.slot_bytes))?;
                Some(Stream::new(&graph, &compiled, schedule, ring))
            }
        };
        let uploading = std::time::Instant::now();
        let mut uploaded = self
            .weights
            .upload(&self.device, &self.memory, &weights, interrupt)?
            .into_iter();
        self.submitter.host_time.uploaded += new_weights;
        self.submitter.host_time.upload_seconds += uploading.elapsed().as_secs_f64();
        let placed = resident
            .iter()
            .map(|&resident| if resident { uploaded.next() } else { None })
            .collect();
        let plan = Plan::new(
            &self.device,
            &self.memory,
            &mut self.pipelines,
            graph,
            compiled,
            placed,
            stream,
        )?;
        let id = PlanId(self.next_id());
        self.plans.insert(id, plan);
        Ok(id)
    }

    /// A graph compiled with kernels that have proved themselves on this device.
    fn compile_proven(&mut self, graph: &Graph) -> Result<Compiled, ExecError> {
        let compiled = self.compile(graph)?;
        match self.prove(&compiled)? {
            true => Ok(compiled),
            false => self.compile(graph),
        }
    }

    /// The graph that is planned for a graph: with constants computed and products joined, if ops run as one at all.
    pub(super) fn merged<'g>(&self, graph: &'g Graph) -> Cow<'g, Graph> {
        if !self.fuse {
            return Cow::Borrowed(graph);
        }
        let known = folded(graph);
        let joined = merged(known.as_ref().unwrap_or(graph), &self.kernel_limits);
        joined.or(known).map_or(Cow::Borrowed(graph), Cow::Owned)
    }

    fn schedule(&self, graph: &Graph, compiled: &Compiled) -> Result<Schedule, ExecError> {
        let activations = compiled.activation_bytes();
        let available = self.memory.available();
        let room = Room {
            bytes: available.saturating_sub(activations),
            headroom: self.memory.headroom(),
            ring: self.ring.upgrade().map(|ring| ring.size()),
            on_device: &|key| self.weights.contains(key),
            alignment: self.kernel_limits.storage_alignment,
        };
        if activations > available {
            return Err(self.memory.out_of_memory(&graph.name, activations));
        }
        schedule(graph, compiled, &room).map_err(|weights| {
            self.memory
                .out_of_memory(&graph.name, activations + weights)
        })
    }

    /// The ring that is there if it is the one that was planned with, else a new one.
    fn ring(&mut self, (slots, slot_bytes): (usize, u64)) -> Result<Arc<Ring>, ExecError> {
        let there = self.ring.upgrade();
        if let Some(ring) = there.filter(|ring| ring.size() == (slots, slot_bytes)) {
            return Ok(ring);
        }
        let limit = self.device.limits.max_buffer_size;
        if slot_bytes > limit {
            return Err(ExecError::Unsupported {
                executor: "gpu",
                label: "streamed weights".into(),
                detail: format!(
                    "slots of {} MiB where a buffer holds {} MiB",
                    slot_bytes >> 20,
                    limit >> 20
                ),
            });
        }
        let ring = Arc::new(Ring::new(&self.memory, slots, slot_bytes)?);
        self.ring = Arc::downgrade(&ring);
        Ok(ring)
    }

    /// Bytes of weights that plans send anew in every run.
    pub(super) fn streamed(&self) -> u64 {
        self.plans
            .values()
            .filter_map(Plan::stream)
            .map(Stream::bytes)
            .sum()
    }
}
