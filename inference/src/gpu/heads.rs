//! What comes before attention over a paged cache, as one: the norms of the heads of queries and keys, their rotary embeddings, and the writing of keys and
//! values into the cache.

use std::collections::HashMap;

use super::kernels::{Heads, KernelLimits};
use crate::formats::{TensorData, TensorKey};
use crate::graph::{Graph, KvType, Op, RopeStyle, ValueId, WeightId};

/// Widest head that the kernel takes.
const WIDEST: usize = 512;

/// Nodes before an attention over a paged cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Prelude {
    /// Where queries and keys come from, before their norms.
    pub raw: [ValueId; 2],
    /// The nodes that are taken over: norms and embeddings.
    pub nodes: Vec<usize>,
    /// Gains of queries and keys, if they are normalised, and what is added to the mean squares.
    norms: Option<[(WeightId, f32); 2]>,
    inv_freq: WeightId,
    style: RopeStyle,
    magnitude: f32,
}

impl Prelude {
    /// The weights that the kernel reads as one.
    fn constants(&self, graph: &Graph) -> Vec<TensorData> {
        let gains = self.norms.iter().flatten().map(|(gain, _)| *gain);
        gains
            .chain([self.inv_freq])
            .map(|id| graph.weight(id).clone())
            .collect()
    }

    /// What the kernel is told, if the constants lie in the graph; `places` are those of queries and keys.
    pub fn heads(&self, graph: &Graph, known: &Constants, places: [usize; 2]) -> Option<Heads> {
        let parts = self.constants(graph);
        let constants = *known.0.get(&keys(&parts))?;
        let frequencies = parts.last()?.elements();
        Some(Heads {
            constants,
            frequencies,
            norms: self
                .norms
                .map(|norms| norms.map(|(gain, eps)| (graph.weight(gain).elements(), eps))),
            style: self.style,
            magnitude: self.magnitude,
            places,
        })
    }
}

fn keys(parts: &[TensorData]) -> Vec<TensorKey> {
    parts.iter().map(TensorData::key).collect()
}

/// Joined vectors of a graph, by their parts.
pub struct Constants(HashMap<Vec<TensorKey>, WeightId>);

impl Constants {
    /// Those of a graph.
    pub fn of(graph: &Graph) -> Self {
        let joined = graph
            .weights
            .iter()
            .enumerate()
            .filter_map(|(index, weight)| {
                let parts = weight.joined_parts()?;
                (weight.shape().len() == 1).then(|| (keys(parts), WeightId(index)))
            });
        let alone = graph
            .weights
            .iter()
            .enumerate()
            .filter(|(_, weight)| weight.shape().len() == 1)
            .map(|(index, weight)| (vec![weight.key()], WeightId(index)));
        Self(alone.chain(joined).collect())
    }
}

/// The graph with the constants of all of its preludes among its weights. They are a few hundred numbers each.
pub fn with_constants(mut graph: Graph) -> Graph {
    let mut known = Constants::of(&graph);
    for node in 0..graph.nodes.len() {
        let Some(prelude) = prelude(&graph, node, &|_| 1) else {
            continue;
        };
        let parts = prelude.constants(&graph);
        if let (false, Ok(joined)) = (
            known.0.contains_key(&keys(&parts)),
            TensorData::joined(&parts),
        ) {
            known.0.insert(keys(&parts), WeightId(graph.weights.len()));
            graph.weights.push(joined);
        }
    }
    graph
}

/// Whether the cache of an attention lies in one binding, and is kept in a way that the kernel knows.
pub fn takes_cache(graph: &Graph, node: usize, limits: &KernelLimits) -> bool {
    let Op::PagedAttention(spec) = graph.nodes[node].op else {
        return false;
    };
    graph.states.get(spec.state).is_some_and(|cache| {
        matches!(cache.kv_type, KvType::F32 | KvType::F16)
            && cache.head_dim <= WIDEST
            && limits.fits(0, cache.layer_words())
    })
}

/// What comes before an attention, if the kernel knows it. `readers` tells how often a value is read, results of the graph once more.
pub fn prelude(graph: &Graph, node: usize, readers: &dyn Fn(usize) -> usize) -> Option<Prelude> {
    let Op::PagedAttention(spec) = graph.nodes[node].op else {
        return None;
    };
    let cache = graph.states.get(spec.state)?;
    let &[q, k, _, positions, ..] = graph.nodes[node].inputs.as_slice() else {
        return None;
    };
    let side = |value: ValueId, heads: usize| {
        let rope = graph.storage_of(value);
        let Op::Rope {
            heads: own,
            inv_freq,
            style,
            magnitude,
        } = graph.node(rope).op
        else {
            return None;
        };
        let &[x, places] = graph.node(rope).inputs.as_slice() else {
            return None;
        };
        let &[rows, width] = graph.node(rope).shape.as_slice() else {
            return None;
        };
        let fits = own == heads
            && readers(rope.0) == 1
            && graph.storage_of(places) == graph.storage_of(positions)
            && width == heads * cache.head_dim;
        let before = graph.storage_of(x);
        let mut nodes = vec![rope.0];
        let (raw, norm) = match graph.node(before).op {
            Op::RmsNorm { weight, eps }
                if readers(before.0) == 1
                    && graph.node(before).shape == [rows * heads, cache.head_dim] =>
            {
                nodes.push(before.0);
                (*graph.node(before).inputs.first()?, Some((weight, eps)))
            }
            _ => (x, None),
        };
        let rotation = (inv_freq, style, magnitude);
        fits.then(|| (graph.storage_of(raw), norm, rotation, nodes))
    };
    let (q_raw, q_norm, rotation, mut nodes) = side(q, spec.heads)?;
    let (k_raw, k_norm, k_rotation, k_nodes) = side(k, cache.kv_heads)?;
    if rotation != k_rotation || q_raw == k_raw {
        return None;
    }
    let norms = match (q_norm, k_norm) {
        (Some(q), Some(k)) => Some([q, k]),
        (None, None) => None,
        _ => return None,
    };
    nodes.extend(k_nodes);
    let (inv_freq, style, magnitude) = rotation;
    Some(Prelude {
        raw: [q_raw, k_raw],
        nodes,
        norms,
        inv_freq,
        style,
        magnitude,
    })
}
