//! Arithmetic and bytes of each op, by its shapes.

use crate::graph::{Graph, Node, Op};

/// What an op must do at the least.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cost {
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes of weights and caches read.
    pub weights: f64,
    /// Bytes of operands and result.
    pub values: f64,
}

impl Cost {
    /// All bytes.
    pub fn bytes(self) -> f64 {
        self.weights + self.values
    }
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.flops += other.flops;
        self.weights += other.weights;
        self.values += other.values;
    }
}

/// The cost of a node; rows of paged attention see `context` positions on average.
pub(super) fn of_node(graph: &Graph, node: &Node, context: f64) -> Cost {
    let operand = |place: usize| node.inputs.get(place).map(|&id| graph.node(id));
    let dim = |node: Option<&Node>, axis: usize| {
        node.and_then(|node| node.shape.get(axis))
            .map_or(1.0, |&dim| dim as f64)
    };
    let last = |node: &Node| node.shape.last().map_or(1.0, |&dim| dim as f64);
    let out = node.elements() as f64;
    if matches!(
        node.op,
        Op::Input { .. } | Op::Constant { .. } | Op::Reshape
    ) {
        return Cost::default();
    }
    let read: usize = node
        .inputs
        .iter()
        .map(|&id| graph.node(id).elements())
        .sum();
    let mut cost = Cost {
        flops: out,
        weights: node
            .op
            .weights()
            .iter()
            .map(|&id| graph.weight(id).byte_count() as f64)
            .sum(),
        values: 4.0 * (read as f64 + out),
    };
    match &node.op {
        Op::Linear { .. } => {
            cost.flops = 2.0 * out * operand(0).map_or(1.0, last);
        }
        Op::Conv2d { weight, .. } => {
            let kernel: usize = graph.weight(*weight).shape().iter().skip(1).product();
            cost.flops = 2.0 * out * kernel as f64;
        }
        Op::Embedding { table } => {
            // Rows of the table that are looked up.
            let table = graph.weight(*table);
            let each = table.byte_count() as f64 / table.elements().max(1) as f64;
            cost.weights = out * each;
            cost.values = 4.0 * out;
        }
        Op::Attention { .. } => {
            cost.flops = 4.0 * out * dim(operand(1), 1);
        }
        Op::PagedAttention(spec) => {
            cost.flops = 4.0 * out * context;
            let width = graph
                .states
                .get(spec.state)
                .map_or(0, |cache| cache.kv_heads * cache.head_dim);
            cost.weights = 2.0 * 4.0 * context * width as f64;
            // The block table is not all read.
            cost.values = 8.0 * out;
        }
        Op::LayerNorm { .. } | Op::RmsNorm { .. } | Op::GroupNorm { .. } => {
            cost.flops = 6.0 * out;
        }
        Op::Rope { .. } => cost.flops = 3.0 * out,
        _ => {}
    }
    cost
}

/// The cost of a whole graph.
pub(super) fn of_graph(graph: &Graph, context: f64) -> Cost {
    let mut all = Cost::default();
    for node in &graph.nodes {
        all += of_node(graph, node, context);
    }
    all
}
