//! What is settled about a graph before it is run: which values share memory, when it is given back, and so how much is
//! needed at most.

use super::attention::Sizes as AttentionSizes;
use super::conv::Sizes as ConvSizes;
use super::executor::CpuMode;
use super::linear::Sizes as LinearSizes;
use super::weights::kept;
use super::{attention, conv, elementwise, experts, kv, linear};
use crate::graph::{BinaryKind, Dtype, Graph, Node, Op};

/// Memory of a graph's values.
#[derive(Clone, Debug)]
pub(super) struct Lifetimes {
    /// For each node the operand (by place) whose memory its result takes over.
    pub(super) reuse: Vec<Option<usize>>,
    /// For each node the values (roots of views) whose memory is given back after it.
    pub(super) free: Vec<Vec<usize>>,
    /// Bytes that each node takes beyond its result while it runs.
    pub(super) scratch: Vec<u64>,
    /// Most bytes of values, inputs, results and scratch at once.
    pub(super) peak: u64,
}

/// Bytes of a value.
pub(super) fn value_bytes(node: &Node) -> u64 {
    let each = match node.dtype {
        Dtype::F32 | Dtype::U32 => 4,
    };
    each * node.elements() as u64
}

/// Whether a node's value lies in memory of the run's own; inputs and constants are only looked at.
fn is_own(node: &Node) -> bool {
    !matches!(
        node.op,
        Op::Input { .. } | Op::Constant { .. } | Op::Reshape
    )
}

impl Lifetimes {
    pub(super) fn new(graph: &Graph, mode: CpuMode) -> Self {
        let last = graph.last_uses();
        let count = graph.nodes.len();
        let (mut reuse, mut free) = (vec![None; count], vec![Vec::new(); count]);
        let mut scratch = vec![0; count];
        let mut live: u64 = graph.inputs().map(|(_, _, node)| value_bytes(node)).sum();
        let mut peak = live;
        for (index, node) in graph.nodes.iter().enumerate() {
            let taken = operand_to_reuse(graph, node, index, &last);
            reuse[index] = taken;
            let taken = taken
                .and_then(|place| node.inputs.get(place))
                .map(|&id| graph.storage_of(id).0);
            if is_own(node) && taken.is_none() {
                live += value_bytes(node);
            }
            scratch[index] = scratch_bytes(graph, node, mode);
            peak = peak.max(live + scratch[index]);
            // Operands that are read here for the last time, and a result that nobody reads.
            let mut roots: Vec<usize> = node
                .inputs
                .iter()
                .map(|&id| graph.storage_of(id).0)
                .collect();
            roots.push(graph.storage_of(crate::graph::ValueId(index)).0);
            roots.sort_unstable();
            roots.dedup();
            for root in roots {
                let ends = last.get(root) == Some(&index) && is_own(&graph.nodes[root]);
                if ends && Some(root) != taken {
                    live -= value_bytes(&graph.nodes[root]);
                    free[index].push(root);
                }
            }
        }
        // Results leave by value; what is not the run's own, or leaves twice, is copied.
        let mut given = std::collections::HashSet::new();
        for &(_, id) in graph.outputs.iter().chain(&graph.kept) {
            let root = graph.storage_of(id);
            if !is_own(graph.node(root)) || !given.insert(root) {
                live += value_bytes(graph.node(id));
            }
        }
        Self {
            reuse,
            free,
            scratch,
            peak: peak.max(live),
        }
    }
}

/// The operand whose memory the result can take over: of the result's size, an own value, and read here for the last time.
fn operand_to_reuse(graph: &Graph, node: &Node, index: usize, last: &[usize]) -> Option<usize> {
    let places: &[usize] = match node.op {
        // Sums and products do not mind the order, so the second operand serves too, unless it is broadcast.
        Op::Binary(BinaryKind::Add | BinaryKind::Mul) => &[0, 1],
        Op::Unary(_)
        | Op::Gated { .. }
        | Op::LayerNorm { .. }
        | Op::RmsNorm { .. }
        | Op::GroupNorm { .. }
        | Op::Rope { .. } => &[0],
        _ => &[],
    };
    let root = |place: usize| node.inputs.get(place).map(|&id| graph.storage_of(id));
    places.iter().copied().find(|&place| {
        let Some(storage) = root(place) else {
            return false;
        };
        let alone = (0..node.inputs.len())
            .filter(|&other| root(other) == Some(storage))
            .count()
            == 1;
        let holder = graph.node(storage);
        alone
            && is_own(holder)
            && holder.elements() == node.elements()
            && last.get(storage.0) == Some(&index)
    })
}

/// Bytes that an op takes beyond its result while it runs.
fn scratch_bytes(graph: &Graph, node: &Node, mode: CpuMode) -> u64 {
    let shape = |place: usize| {
        node.inputs
            .get(place)
            .map_or(&[][..], |&id| graph.node(id).shape.as_slice())
    };
    match node.op {
        Op::Linear { weight, .. } => {
            let kept = kept(graph, &node.op, weight, mode);
            linear::scratch(
                kept,
                graph.weight(weight).dtype(),
                linear_sizes(node, shape(0)),
            )
        }
        Op::Conv2d { weight, spec, .. } => {
            let sizes = conv_sizes(node, shape(0), graph.weight(weight).shape());
            conv::scratch(kept(graph, &node.op, weight, mode), sizes, spec)
        }
        Op::Attention {
            heads, kv_heads, ..
        } => attention::scratch(attention_sizes(shape(0), shape(1), heads, kv_heads)),
        Op::Rope { inv_freq, .. } => {
            elementwise::rope_scratch(dim(shape(0), 0), graph.weight(inv_freq).elements())
        }
        Op::ExpertLinear { .. } => experts::scratch(
            dim(&node.shape, 0),
            last_dim(shape(0)),
            last_dim(&node.shape),
        ),
        Op::PagedAttention(spec) => match graph.states.get(spec.state) {
            Some(&cache) => kv::scratch(cache, dim(shape(0), 0), spec.heads),
            None => 0,
        },
        _ => 0,
    }
}

/// Length of an axis; 1 for one that is not there.
pub(super) fn dim(shape: &[usize], axis: usize) -> usize {
    shape.get(axis).copied().unwrap_or(1)
}

/// Length of the last axis.
pub(super) fn last_dim(shape: &[usize]) -> usize {
    shape.last().copied().unwrap_or(1)
}

/// Sizes of a linear op with operand `x`.
pub(super) fn linear_sizes(node: &Node, x: &[usize]) -> LinearSizes {
    let n = last_dim(&node.shape);
    LinearSizes {
        m: node.elements() / n.max(1),
        k: last_dim(x),
        n,
    }
}

/// Sizes of a convolution with operand `x` and a weight of shape `weight`.
pub(super) fn conv_sizes(node: &Node, x: &[usize], weight: &[usize]) -> ConvSizes {
    ConvSizes {
        batch: dim(x, 0),
        channels: dim(x, 1),
        input: [dim(x, 2), dim(x, 3)],
        out_channels: dim(&node.shape, 1),
        output: [dim(&node.shape, 2), dim(&node.shape, 3)],
        kernel: [dim(weight, 2), dim(weight, 3)],
    }
}

/// Sizes of an attention with queries `q` and keys `k`.
pub(super) fn attention_sizes(
    q: &[usize],
    k: &[usize],
    heads: usize,
    kv_heads: usize,
) -> AttentionSizes {
    AttentionSizes {
        batch: dim(q, 0),
        queries: dim(q, 1),
        keys: dim(k, 1),
        heads,
        kv_heads,
        head_dim: last_dim(q) / heads.max(1),
    }
}
