//! What a graph needs on a device, worked out before anything is allocated: dispatches, places of values, bytes.

use std::collections::HashMap;

use super::arena::{self, Layout, Spot};
use super::fuse::{Unit, units};
use super::kernels::{Dispatch, KernelLimits, LowerContext, PackedLayout, lower};
use crate::formats::TensorKey;
use crate::graph::{Dtype, ExecError, Graph, NO_SLOT, Op, ValueId};

/// Largest arena that is made, if no single value is larger: small enough to find room, large enough to be few.
const LARGEST_ARENA: u64 = 1 << 30;
/// Uniform blocks are padded to this, so that an empty or odd block is a legal binding.
const UNIFORM_PADDING: u64 = 16;

/// A dispatch with the node that it belongs to.
pub struct Step {
    /// Index of the node whose kernel it is.
    pub node: usize,
    /// Index of its unit, see [`Compiled::units`].
    pub unit: usize,
    /// First of the node's scratch spots.
    pub scratch: usize,
    /// Byte offset of its uniform block.
    pub uniform_offset: u64,
    /// Bytes of its uniform block.
    pub uniform_size: u64,
    /// The dispatch.
    pub dispatch: Dispatch,
}

/// A bound on the numbers in an input, which come from outside and address memory.
pub struct Bound {
    /// The input's name.
    pub input: String,
    /// Numbers must be below this.
    pub limit: u64,
    /// Whether [`NO_SLOT`] is allowed, too.
    pub or_none: bool,
}

impl Bound {
    /// Checks the input's numbers.
    ///
    /// # Errors
    /// The first number out of bounds, in words.
    pub fn check(&self, numbers: &[u32]) -> Result<(), String> {
        let bad = |&&number: &&u32| {
            u64::from(number) >= self.limit && !(self.or_none && number == NO_SLOT)
        };
        match numbers.iter().find(bad) {
            None => Ok(()),
            Some(number) => Err(format!("holds {number}, which is not below {}", self.limit)),
        }
    }
}

/// A graph ready to be put on a device.
pub struct Compiled {
    /// Ops that run as one, in order.
    pub units: Vec<Unit>,
    /// Dispatches in order.
    pub steps: Vec<Step>,
    /// Place of every value's storage, by node.
    pub spots: HashMap<usize, Spot>,
    /// Places of scratch memory, see [`Step::scratch`].
    pub scratch: Vec<Spot>,
    /// Bytes of the arenas.
    pub arenas: Vec<u64>,
    /// The arena in which nothing lies but inputs, the smallest first.
    pub input_arena: Option<usize>,
    /// Bytes of the uniform buffer.
    pub uniform_bytes: u64,
    /// Offsets of the outputs in the buffer that is read back.
    pub readback: Vec<u64>,
    /// Bytes of that buffer.
    pub readback_bytes: u64,
    /// Layout of every weight.
    pub weights: Vec<PackedLayout>,
    /// Bounds on inputs.
    pub bounds: Vec<Bound>,
}

impl Compiled {
    /// Bytes apart from weights and states.
    pub fn activation_bytes(&self) -> u64 {
        let rounded = |bytes: u64| bytes.max(16).next_multiple_of(16);
        self.arenas.iter().map(|&bytes| rounded(bytes)).sum::<u64>()
            + rounded(self.uniform_bytes)
            + rounded(self.readback_bytes)
    }
}

/// Lowers all ops and places all values.
///
/// # Errors
/// If an op cannot be run on this device.
pub fn compile(
    graph: &Graph,
    limits: &wgpu::Limits,
    kernel_limits: &KernelLimits,
    fuse: bool,
) -> Result<Compiled, ExecError> {
    let mut known: HashMap<TensorKey, PackedLayout> = HashMap::new();
    let mut weights = Vec::with_capacity(graph.weights.len());
    for weight in &graph.weights {
        let layout = match known.get(&weight.key()) {
            Some(layout) => layout.clone(),
            None => PackedLayout::of(weight, kernel_limits)?,
        };
        known.insert(weight.key(), layout.clone());
        weights.push(layout);
    }
    let units = units(graph, &weights, kernel_limits, fuse);
    let last_uses = last_uses(graph, &units);
    let uniform_alignment =
        u64::from(limits.min_uniform_buffer_offset_alignment).max(UNIFORM_PADDING);

    let largest = LARGEST_ARENA.min(limits.max_buffer_size);
    let fed = place_inputs(graph, kernel_limits.storage_alignment, largest);
    let mut requests: Vec<arena::Request> = Vec::new();
    let mut request_of: HashMap<usize, usize> = HashMap::new();
    // Where columns of products lie within what was asked for all of them.
    let mut within: HashMap<usize, (u64, u64)> = HashMap::new();
    let mut scratch_requests: Vec<usize> = Vec::new();
    let mut steps = Vec::new();
    let mut uniform_bytes = 0;
    for (unit_index, unit) in units.iter().enumerate() {
        // It is run, and its value made, where the last of its ops stood.
        let (node, index) = (&graph.nodes[unit.root], unit.last);
        let shapes: Vec<&[usize]> = unit
            .operands
            .iter()
            .map(|(_, shape)| shape.as_slice())
            .collect();
        let context = LowerContext {
            label: &node.label,
            operands: &shapes,
            output: &node.shape,
            fusion: &unit.fusion,
            weights: &|id| &weights[id.0],
            states: &graph.states,
            limits: kernel_limits,
        };
        let lowered = lower(&node.op, &context)?;

        let mut apart_from: Vec<usize> = unit
            .operands
            .iter()
            .filter_map(|(id, _)| request_of.get(&id.0).copied())
            .collect();
        let first_scratch = scratch_requests.len();
        for &bytes in &lowered.scratch {
            let request = arena::Request {
                size: bytes,
                from: index,
                to: index,
                apart_from: apart_from.clone(),
            };
            apart_from.push(requests.len());
            scratch_requests.push(requests.len());
            requests.push(request);
        }
        if fed.spots.contains_key(&index) {
            continue;
        }
        // Inputs are written before the first step.
        let from = if matches!(node.op, Op::Input { .. }) {
            0
        } else {
            index
        };
        request_of.insert(index, requests.len());
        let mut size = graph.nodes[index].elements() as u64 * 4;
        let mut to = last_uses[index];
        for (part, offset, bytes) in unit.dealt(graph, kernel_limits.storage_alignment) {
            request_of.insert(part, requests.len());
            within.insert(part, (offset, bytes));
            size = size.max(offset + bytes);
            to = to.max(last_uses[part]);
        }
        requests.push(arena::Request {
            size,
            from,
            to,
            apart_from,
        });
        for dispatch in lowered.dispatches {
            let uniform_size = (dispatch.uniforms.len() as u64 * 4)
                .max(4)
                .next_multiple_of(UNIFORM_PADDING);
            steps.push(Step {
                node: unit.root,
                unit: unit_index,
                scratch: first_scratch,
                uniform_offset: uniform_bytes,
                uniform_size,
                dispatch,
            });
            uniform_bytes = (uniform_bytes + uniform_size).next_multiple_of(uniform_alignment);
        }
    }
    // Inputs that come later in the list live from the start, too, so they must be placed first.
    let (order, mut placed) = place_inputs_first(&requests, kernel_limits, largest);
    let spot = |request: usize| placed.spots[order[request]];
    let mut spots: HashMap<usize, Spot> = request_of
        .iter()
        .map(|(&node, &request)| {
            let whole = spot(request);
            let part = within.get(&node).map(|&(offset, size)| Spot {
                arena: whole.arena,
                offset: whole.offset + offset,
                size,
            });
            (node, part.unwrap_or(whole))
        })
        .collect();
    let scratch = scratch_requests
        .iter()
        .map(|&request| spot(request))
        .collect();
    let input_arena = (fed.bytes > 0).then_some(placed.arenas.len());
    placed.arenas.extend(input_arena.map(|_| fed.bytes));
    for (node, (offset, size)) in fed.spots {
        let arena = input_arena.unwrap_or_default();
        spots.insert(
            node,
            Spot {
                arena,
                offset,
                size,
            },
        );
    }

    let mut readback = Vec::new();
    let mut readback_bytes = 0;
    for (_, output) in &graph.outputs {
        readback.push(readback_bytes);
        readback_bytes += (graph.node(*output).elements() as u64 * 4).next_multiple_of(16);
    }
    // What stays on the device is read by rows, when at all.
    for (_, kept) in &graph.kept {
        let row = graph.node(*kept).shape.last().copied().unwrap_or(1);
        readback_bytes = readback_bytes.max((row as u64 * 4).next_multiple_of(16));
    }
    Ok(Compiled {
        units,
        steps,
        spots,
        scratch,
        arenas: placed.arenas,
        input_arena,
        uniform_bytes,
        readback,
        readback_bytes,
        weights,
        bounds: bounds(graph),
    })
}

/// For each node the last one at whose place its value is read; results of the graph live to the end, and so do inputs: what a run does not
/// change is not sent again for the next.
fn last_uses(graph: &Graph, units: &[Unit]) -> Vec<usize> {
    let mut last: Vec<usize> = (0..graph.nodes.len()).collect();
    for unit in units {
        for (id, _) in &unit.operands {
            last[id.0] = last[id.0].max(unit.last);
        }
    }
    // What stays on the device is read after the run, as outputs are.
    for (_, output) in graph.outputs.iter().chain(&graph.kept) {
        last[graph.storage_of(*output).0] = graph.nodes.len();
    }
    for (_, input, _) in graph.inputs() {
        last[input.0] = graph.nodes.len();
    }
    last
}

/// Inputs in an arena of their own.
#[derive(Default)]
struct Fed {
    /// First byte and bytes, by node.
    spots: HashMap<usize, (u64, u64)>,
    bytes: u64,
}

/// Places inputs side by side, the smallest first, so that many small ones are sent as one; and since no dispatch writes where they lie, none has to
/// wait for another that has written beside them. Those for which the arena has no room are left out.
fn place_inputs(graph: &Graph, alignment: u64, largest: u64) -> Fed {
    let mut inputs: Vec<(u64, usize)> = graph
        .inputs()
        .map(|(_, id, node)| (node.elements() as u64 * 4, id.0))
        .collect();
    inputs.sort_unstable();
    let mut fed = Fed::default();
    for (size, node) in inputs {
        let end = fed.bytes + size.next_multiple_of(alignment);
        if size > 0 && end <= largest {
            fed.spots.insert(node, (fed.bytes, size));
            fed.bytes = end;
        }
    }
    fed
}

/// Places requests in the order of their beginnings; gives for each request its place in that order.
fn place_inputs_first(
    requests: &[arena::Request],
    kernel_limits: &KernelLimits,
    largest: u64,
) -> (Vec<usize>, Layout) {
    let mut sorted: Vec<usize> = (0..requests.len()).collect();
    sorted.sort_by_key(|&request| requests[request].from);
    let mut order = vec![0; requests.len()];
    for (place, &request) in sorted.iter().enumerate() {
        order[request] = place;
    }
    // "Apart from" holds both ways; a request that is placed later has to know it.
    let mut ordered: Vec<arena::Request> = sorted
        .iter()
        .map(|&request| arena::Request {
            apart_from: Vec::new(),
            ..requests[request].clone()
        })
        .collect();
    for (request, wanted) in requests.iter().enumerate() {
        for &other in &wanted.apart_from {
            let (a, b) = (order[request], order[other]);
            ordered[a.max(b)].apart_from.push(a.min(b));
        }
    }
    (
        order,
        arena::place(&ordered, kernel_limits.storage_alignment, largest),
    )
}

/// Bounds on all inputs that are used as indices.
fn bounds(graph: &Graph) -> Vec<Bound> {
    let mut bounds = Vec::new();
    let mut add = |id: ValueId, limit: u64, or_none: bool| {
        let node = graph.node(graph.storage_of(id));
        if let (Op::Input { name }, Dtype::U32) = (&node.op, node.dtype) {
            bounds.push(Bound {
                input: name.clone(),
                limit,
                or_none,
            });
        }
    };
    for node in &graph.nodes {
        match (&node.op, node.inputs.as_slice()) {
            (Op::Embedding { table }, [ids]) => {
                let rows = graph.weight(*table).shape().first().copied().unwrap_or(0);
                add(*ids, rows as u64, false);
            }
            (Op::GatherRows, [x, indices]) => {
                let rows = graph.node(*x).shape.first().copied().unwrap_or(0);
                add(*indices, rows as u64, false);
            }
            (Op::PagedAttention(spec), [_, _, _, positions, slots, sequences, tables]) => {
                let cache = graph.states[spec.state];
                let &[rows, pages] = graph.node(*tables).shape.as_slice() else {
                    continue;
                };
                add(*positions, (pages * crate::graph::KV_PAGE) as u64, true);
                add(*slots, cache.slots() as u64, true);
                add(*sequences, rows as u64, false);
                add(*tables, cache.pages as u64, false);
            }
            _ => {}
        }
    }
    bounds.sort_by(|a, b| (&a.input, a.limit).cmp(&(&b.input, b.limit)));
    bounds.dedup_by(|a, b| a.input == b.input && a.limit >= b.limit);
    bounds
}
