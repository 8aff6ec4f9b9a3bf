//! A plan: a graph on a device, with every buffer, bind group and dispatch made beforehand.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use diptych_shaders::Kernel;

use super::device::GpuDevice;
use super::fuse::Unit;
use super::inputs::Sent;
use super::kernels::{Arg, BoundArg};
use super::kv::KvBuffers;
use super::layout::{Bound, Compiled, Step};
use super::memory::{Memory, Purpose, Tracked};
use super::pace::Pace;
use super::pipelines::{Pipeline, Pipelines};
use super::readback::News;
use super::run::Foresight;
use super::stream::Stream;
use super::submit::Ahead;
use super::upload::WeightBuffers;
use crate::graph::{ExecError, Graph, StateId};

/// One dispatch, ready to be encoded.
pub struct Command {
    /// The pipeline.
    pub pipeline: wgpu::ComputePipeline,
    /// Bind group, or for dispatches on KV caches the index into [`Plan::kv_groups`].
    pub group: Group,
    /// Workgroups.
    pub grid: [u32; 3],
    /// Estimated cost, in floating-point operations and their equivalent in bytes.
    pub cost: u64,
    /// Index of the node that it belongs to.
    pub node: usize,
    /// The pipeline's kernel.
    pub kernel: Kernel,
}

/// Where a command's bind group is.
pub enum Group {
    /// Made with the plan.
    Fixed(wgpu::BindGroup),
    /// Made for the states of a run, by number.
    States(usize),
}

/// A dispatch on KV caches: its bind group is made when the caches are known.
struct StateStep {
    pipeline: Pipeline,
    place: Origin,
    bindings: Vec<BoundArg>,
}

/// Where in a plan a dispatch belongs.
#[derive(Clone, Copy)]
struct Origin {
    /// Its own index.
    step: usize,
    /// Index of the unit.
    unit: usize,
    /// First of the node's scratch spots.
    scratch: usize,
    /// Byte offset and bytes of its uniform block.
    uniform: (u64, u64),
}

/// A graph on a device.
pub struct Plan {
    /// The graph.
    pub graph: Arc<Graph>,
    /// Dispatches in order.
    pub commands: Vec<Command>,
    /// Whether the latest run came to its end, so that what the graph keeps can be read.
    pub done: Cell<bool>,
    /// How many dispatches of a run that was begun and is still to be gone on with are submitted, and whether it is measured.
    pub partway: Option<(usize, bool)>,
    /// What is known of its next run, and whether that was begun.
    pub foresight: Foresight,
    /// Bounds on inputs that address memory.
    pub bounds: Vec<Bound>,
    /// How long its dispatches take.
    pub pace: Pace,
    /// What its inputs were sent.
    pub sent: Sent,
    /// The beginning of its next run.
    pub ahead: Ahead,
    /// Where it is told that its results can be read.
    pub news: Arc<News>,
    compiled: Places,
    arenas: Vec<Tracked>,
    input_arena: Option<usize>,
    uniforms: Tracked,
    readback: Tracked,
    /// Those that lie on the device; the others are streamed.
    weights: Vec<Option<Arc<WeightBuffers>>>,
    stream: Option<Stream>,
    state_steps: Vec<StateStep>,
    kv_groups: HashMap<Vec<StateId>, Vec<wgpu::BindGroup>>,
}

/// Where values lie.
struct Places {
    units: Vec<Unit>,
    spots: HashMap<usize, super::arena::Spot>,
    scratch: Vec<super::arena::Spot>,
    readback: Vec<u64>,
}

/// Sets of caches for which a plan keeps bind groups; a chat uses one.
const KV_GROUPS: usize = 8;

impl Plan {
    /// Allocates buffers and makes pipelines and bind groups.
    ///
    /// # Errors
    /// If memory runs out or the driver complains.
    pub fn new(
        device: &GpuDevice,
        memory: &Memory,
        pipelines: &mut Pipelines,
        graph: Arc<Graph>,
        compiled: Compiled,
        weights: Vec<Option<Arc<WeightBuffers>>>,
        stream: Option<Stream>,
    ) -> Result<Self, ExecError> {
        use wgpu::BufferUsages as Usage;
        pipelines.make(
            device,
            compiled.steps.iter().map(|step| step.dispatch.kernel),
        )?;
        let arena_usage = Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC;
        let arenas = compiled
            .arenas
            .iter()
            .map(|&bytes| memory.allocate(&graph.name, bytes, arena_usage, Purpose::Activations))
            .collect::<Result<_, _>>()?;
        let usage = Usage::UNIFORM | Usage::COPY_DST;
        let uniforms = memory.allocate(
            "uniforms",
            compiled.uniform_bytes,
            usage,
            Purpose::Activations,
        )?;
        let usage = Usage::MAP_READ | Usage::COPY_DST;
        let readback = memory.allocate(
            "readback",
            compiled.readback_bytes,
            usage,
            Purpose::Activations,
        )?;

        let mut words = vec![0u8; usize::try_from(compiled.uniform_bytes).unwrap_or(0)];
        for step in &compiled.steps {
            let start = step.uniform_offset as usize;
            let bytes: &[u8] = bytemuck::cast_slice(&step.dispatch.uniforms);
            words[start..start + bytes.len()].copy_from_slice(bytes);
        }
        if !words.is_empty() {
            device.queue.write_buffer(uniforms.buffer(), 0, &words);
        }
        let sent = Sent::nothing(&graph, &compiled);
        let Compiled {
            units,
            steps,
            spots,
            scratch,
            readback: offsets,
            bounds,
            input_arena,
            ..
        } = compiled;
        let mut plan = Self {
            graph,
            commands: Vec::with_capacity(steps.len()),
            done: Cell::new(false),
            partway: None,
            foresight: Foresight::default(),
            bounds,
            pace: Pace::default(),
            sent,
            ahead: Ahead::default(),
            news: Arc::default(),
            compiled: Places {
                units,
                spots,
                scratch,
                readback: offsets,
            },
            arenas,
            input_arena,
            uniforms,
            readback,
            weights,
            stream,
            state_steps: Vec::new(),
            kv_groups: HashMap::new(),
        };
        let scope = device
            .device
            .push_error_scope(wgpu::ErrorFilter::Validation);
        for step in steps {
            plan.add(device, pipelines, step)?;
        }
        match pollster::block_on(scope.pop()) {
            None => Ok(plan),
            Some(error) => Err(ExecError::Backend {
                context: format!("planning {}", plan.graph.name),
                message: error.to_string(),
            }),
        }
    }

    fn add(
        &mut self,
        device: &GpuDevice,
        pipelines: &mut Pipelines,
        step: Step,
    ) -> Result<(), ExecError> {
        let pipeline = pipelines.get(device, step.dispatch.kernel)?;
        let place = Origin {
            step: self.commands.len(),
            unit: step.unit,
            scratch: step.scratch,
            uniform: (step.uniform_offset, step.uniform_size),
        };
        let dispatch = step.dispatch;
        let on_state =
            |bound: &BoundArg| matches!(bound.arg, Arg::KvKeys { .. } | Arg::KvValues { .. });
        let group = if dispatch.bindings.iter().any(on_state) {
            self.state_steps.push(StateStep {
                pipeline: pipeline.clone(),
                place,
                bindings: dispatch.bindings,
            });
            Group::States(self.state_steps.len() - 1)
        } else {
            Group::Fixed(self.bind(device, &pipeline, place, &dispatch.bindings, &[])?)
        };
        // Moving a byte costs a GPU about as much as ten operations; a dispatch by itself about as much as 100 KiB.
        let cost = dispatch.flops + 10 * dispatch.bytes + 1_000_000;
        self.commands.push(Command {
            pipeline: pipeline.pipeline,
            group,
            grid: dispatch.grid,
            cost,
            node: step.node,
            kernel: dispatch.kernel,
        });
        Ok(())
    }

    fn bind(
        &self,
        device: &GpuDevice,
        pipeline: &Pipeline,
        origin: Origin,
        bindings: &[BoundArg],
        states: &[&KvBuffers],
    ) -> Result<wgpu::BindGroup, ExecError> {
        let Origin {
            step,
            unit,
            scratch,
            uniform,
        } = origin;
        let unit = self.compiled.units.get(unit);
        let lost = |what: &str| ExecError::Backend {
            context: format!("planning {}", self.graph.name),
            message: format!(
                "a dispatch of '{}' refers to {what} that is not there",
                unit.map_or("nothing", |unit| &self.graph.nodes[unit.root].label)
            ),
        };
        let size = |size: u64| std::num::NonZeroU64::new(size);
        let mut entries = vec![wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: self.uniforms.buffer(),
                offset: uniform.0,
                size: size(uniform.1),
            }),
        }];
        for (index, bound) in bindings.iter().enumerate() {
            let spot = |spot: &super::arena::Spot| (self.arenas[spot.arena].buffer(), spot.offset);
            let of_node = |node: usize| self.compiled.spots.get(&node).map(spot);
            let (buffer, base) = match bound.arg {
                Arg::Operand(operand) => {
                    let (id, _) = unit
                        .and_then(|unit| unit.operands.get(operand))
                        .ok_or_else(|| lost("an operand"))?;
                    of_node(id.0).ok_or_else(|| lost("an operand"))?
                }
                Arg::Output => unit
                    .and_then(|unit| of_node(unit.last))
                    .ok_or_else(|| lost("a result"))?,
                Arg::Scratch(place) => self
                    .compiled
                    .scratch
                    .get(scratch + place)
                    .map(spot)
                    .ok_or_else(|| lost("scratch memory"))?,
                Arg::Weight { weight, shard } => {
                    let resident = self.weights.get(weight.0).and_then(Option::as_ref);
                    let place = match resident {
                        Some(weight) => weight.shards.get(shard).map(|shard| (shard.buffer(), 0)),
                        None => self
                            .stream
                            .as_ref()
                            .and_then(|stream| stream.place(step, weight.0, shard)),
                    };
                    place.ok_or_else(|| lost("a weight"))?
                }
                Arg::KvKeys { state, layer } => {
                    let keys = states.get(state).and_then(|state| state.keys.get(layer));
                    (keys.ok_or_else(|| lost("a KV cache"))?.buffer(), 0)
                }
                Arg::KvValues { state, layer } => {
                    let values = states.get(state).and_then(|state| state.values.get(layer));
                    (values.ok_or_else(|| lost("a KV cache"))?.buffer(), 0)
                }
            };
            entries.push(wgpu::BindGroupEntry {
                binding: index as u32 + 1,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset: base + bound.range.start,
                    size: size(bound.range.end - bound.range.start),
                }),
            });
        }
        device.note_made();
        Ok(device.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.layout,
            entries: &entries,
        }))
    }

    /// Makes the bind groups for the caches of a run, unless they are there from an earlier one.
    ///
    /// # Errors
    /// If the driver complains.
    pub fn bind_states(
        &mut self,
        device: &GpuDevice,
        ids: &[StateId],
        states: &BTreeMap<StateId, KvBuffers>,
    ) -> Result<(), ExecError> {
        if self.state_steps.is_empty() || self.kv_groups.contains_key(ids) {
            return Ok(());
        }
        let states: Vec<&KvBuffers> = ids.iter().filter_map(|id| states.get(id)).collect();
        if self.kv_groups.len() >= KV_GROUPS {
            self.kv_groups.clear();
        }
        let groups = self
            .state_steps
            .iter()
            .map(|step| self.bind(device, &step.pipeline, step.place, &step.bindings, &states))
            .collect::<Result<_, _>>()?;
        self.kv_groups.insert(ids.to_vec(), groups);
        Ok(())
    }

    /// Forgets bind groups of a cache that is given back.
    pub fn forget_state(&mut self, state: StateId) {
        self.kv_groups.retain(|states, _| !states.contains(&state));
        self.ahead.forget();
        self.foresight.forget();
    }

    /// The bind groups of the caches of a run; see [`Plan::bind_states`].
    pub fn state_groups(&self, ids: &[StateId]) -> &[wgpu::BindGroup] {
        self.kv_groups.get(ids).map_or(&[], Vec::as_slice)
    }

    /// Its streamed part, if not all of its weights lie on the device.
    pub fn stream(&self) -> Option<&Stream> {
        self.stream.as_ref()
    }

    /// Buffer and offset of an input or output.
    pub fn place(&self, node: usize) -> Option<(&wgpu::Buffer, u64)> {
        let spot = self.compiled.spots.get(&node)?;
        Some((self.arenas[spot.arena].buffer(), spot.offset))
    }

    /// The arena of inputs.
    pub fn input_arena(&self) -> Option<&wgpu::Buffer> {
        let arena = self.arenas.get(self.input_arena?)?;
        Some(arena.buffer())
    }

    /// The buffer that outputs are read back through, and their offsets in it.
    pub fn readback(&self) -> (&wgpu::Buffer, &[u64]) {
        (self.readback.buffer(), &self.compiled.readback)
    }
}
