//! The tensor graph: semantic ops, shape inference and the interface of its executors.
//!
//! A model is written once, as a function that builds a [`Graph`] through a [`GraphBuilder`]; the code reads
//! like ordinary eager code. A graph is made for concrete shapes. It is run by an [`Executor`]: [`crate::cpu`]
//! (candle-core, the oracle) or [`crate::gpu`] (wgpu). Numbers that change from run to run (token ids, positions,
//! cache slots, timestep embeddings) are inputs of the graph, never part of it.
//!
//! Layouts are those of PyTorch: row-major, pictures `[batch, channels, height, width]`, sequences
//! `[batch, length, features]`, linear weights `[out, in]`, convolution weights `[out, in, kh, kw]`.

mod builder;
mod builder_attention;
mod builder_candidates;
mod builder_experts;
pub mod candidates;
pub mod draw;
mod error;
mod exec;
mod kv;
mod op;
mod profile;
mod vectors;

pub use builder::{GraphBuilder, ScopeGuard, Tensor};
pub use error::{ExecError, GraphError};
pub use exec::{
    Executor, HostData, HostTensor, Interrupt, MemoryForecast, MemoryUse, NeverInterrupt, Next,
    PlanId, Run, StateId, TierReport, TierState, check_run, check_run_but, kept_row,
};
pub use kv::{KV_BLOCK, KV_PAGE, KvShape, KvType, NO_SLOT};
pub use op::{
    Activation, BinaryKind, Conv2dSpec, HIDDEN, Op, PagedAttentionSpec, RopeStyle, UnaryKind,
};

pub use profile::{HostTime, OpTime, Profile, ProfileClock};
pub use vectors::{Answer, DeviceVectors, Fed, Looked, Piece, Rescale, Sums, VectorsId};

use crate::formats::weights::TensorData;

/// Element type of a value that flows through a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32-bit float, the only activation type of the portable tier.
    F32,
    /// 32-bit unsigned integer: token ids, positions, cache slots.
    U32,
}

/// Index of a node, and of the one value which that node makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// Index of a weight within [`Graph::weights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightId(pub usize);

/// One op with its operands; it makes exactly one value, whose id is the node's index.
#[derive(Clone, Debug)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// Operands, all of them earlier nodes.
    pub inputs: Vec<ValueId>,
    /// Shape of the value made. Reshaped views have their own node ([`Op::Reshape`]).
    pub shape: Vec<usize>,
    /// Element type of the value made.
    pub dtype: Dtype,
    /// Where in the model this node comes from (`down_blocks.0.resnets.1.conv1`), for errors and profiles.
    pub label: String,
}

impl Node {
    /// Number of elements of the value made.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A computation for concrete shapes: nodes in an order in which they can be run.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Short name for logs and profiles, such as `unet 2x4x64x64`.
    pub name: String,
    /// Nodes in topological order.
    pub nodes: Vec<Node>,
    /// Weights, each tensor once.
    pub weights: Vec<TensorData>,
    /// Named results, in the order in which [`Executor::run`] returns them.
    pub outputs: Vec<(String, ValueId)>,
    /// Named results that stay on the device, to be read by [`Executor::read_kept`] until the plan's next run.
    pub kept: Vec<(String, ValueId)>,
    /// Shapes of the KV caches that the graph refers to by index; a run binds one state to each.
    pub states: Vec<KvShape>,
}

impl Graph {
    /// The node that makes a value.
    ///
    /// Ids come from the graph itself, so an unknown id cannot occur; the first node answers for it all the same
    /// rather than a panic.
    pub fn node(&self, id: ValueId) -> &Node {
        self.nodes.get(id.0).unwrap_or(&self.nodes[0])
    }

    /// The weight behind an id of this graph.
    pub fn weight(&self, id: WeightId) -> &TensorData {
        &self.weights[id.0]
    }

    /// Named inputs with their nodes, in the order of their creation.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, ValueId, &Node)> {
        self.nodes
            .iter()
            .enumerate()
            .filter_map(|(index, node)| match &node.op {
                Op::Input { name } => Some((name.as_str(), ValueId(index), node)),
                _ => None,
            })
    }

    /// For each value the index of the last node that reads it; outputs, and what is kept, live to the end (`nodes.len()`).
    ///
    /// Views ([`Op::Reshape`]) extend the life of what they look at only through the caller: executors that alias
    /// views resolve them first, see [`Graph::storage_of`].
    pub fn last_uses(&self) -> Vec<usize> {
        let mut last = vec![0; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            last[index] = index;
            for input in &node.inputs {
                last[input.0] = index;
                // A view reads its base too, so the base must live as long as the view is read.
                let mut base = *input;
                while let (Op::Reshape, Some(&next)) =
                    (&self.nodes[base.0].op, self.nodes[base.0].inputs.first())
                {
                    base = next;
                    last[base.0] = index;
                }
            }
        }
        for (_, output) in self.outputs.iter().chain(&self.kept) {
            let mut base = *output;
            last[base.0] = self.nodes.len();
            while let (Op::Reshape, Some(&next)) =
                (&self.nodes[base.0].op, self.nodes[base.0].inputs.first())
            {
                base = next;
                last[base.0] = self.nodes.len();
            }
        }
        last
    }

    /// The value whose memory a value shares: itself, or through views the value that is looked at.
    pub fn storage_of(&self, id: ValueId) -> ValueId {
        let mut base = id;
        while let (Op::Reshape, Some(&next)) =
            (&self.nodes[base.0].op, self.nodes[base.0].inputs.first())
        {
            base = next;
        }
        base
    }

    /// Bytes of all weights as they lie in their files.
    pub fn weight_bytes(&self) -> u64 {
        self.weights
            .iter()
            .map(|weight| weight.byte_count() as u64)
            .sum()
    }
}
