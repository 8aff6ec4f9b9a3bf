//! Products of one input as one product: what makes queries, keys and values, gates and what they gate, or what a time embedding adds to the blocks of a
//! U-Net, is computed in one dispatch from weights that lie one behind the other.
//!
//! This is a graph made from a graph, before anything is planned: a gate and what it gates become one product whose halves are multiplied
//! ([`Op::SplitGated`]), and others one product of which each reader takes its columns ([`Op::Slice`]); [`super::fuse`] then sees to it that
//! neither halves nor columns are copied. The results are those of the graph that was given, to the bit where kernels add in the same order.

use std::collections::{BTreeMap, HashMap};

use super::heads;
use super::kernels::{Deal, KernelLimits, PackedLayout};
use crate::formats::TensorData;
use crate::graph::{BinaryKind, Dtype, Graph, Node, Op, ValueId, WeightId};

/// Bytes of the joined weight beyond which products are long enough by themselves; and what passes through the ring of a model that does not fit must not
/// become larger.
const MOST_BYTES: u64 = 32 << 20;

/// What becomes of products of one input.
enum Join {
    /// Columns of one product.
    Deal(Vec<usize>),
    /// The value, its gate, and the node that multiplies them.
    Gate([usize; 3]),
}

/// The graph with its products joined; nothing if there are none to be joined.
pub fn merged(graph: &Graph, limits: &KernelLimits) -> Option<Graph> {
    let finder = Finder::new(graph, limits);
    let mut joins = finder.gates();
    joins.extend(finder.deals(&joins));
    if joins.is_empty() {
        return None;
    }
    let graph = Rewriter::new(graph).rewrite(&joins)?;
    Some(heads::with_constants(graph))
}

struct Finder<'a> {
    graph: &'a Graph,
    limits: &'a KernelLimits,
    /// Nodes that read a value, through views.
    readers: Vec<Vec<usize>>,
    exported: Vec<bool>,
    /// How often each weight is used.
    uses: Vec<usize>,
    /// For each node the first one that is the same function of the same value: what a time embedding goes through is written down for every block.
    same: Vec<usize>,
}

impl<'a> Finder<'a> {
    fn new(graph: &'a Graph, limits: &'a KernelLimits) -> Self {
        let mut readers = vec![Vec::new(); graph.nodes.len()];
        let mut uses = vec![0; graph.weights.len()];
        let mut same: Vec<usize> = (0..graph.nodes.len()).collect();
        let mut functions: HashMap<String, usize> = HashMap::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            if matches!(node.op, Op::Reshape) {
                continue;
            }
            for id in &node.inputs {
                readers[graph.storage_of(*id).0].push(index);
            }
            for weight in node.op.weights() {
                uses[weight.0] += 1;
            }
            if let (Op::Unary(kind), Some(x)) = (&node.op, node.inputs.first()) {
                let key = format!("{kind:?} {} {:?}", same[graph.storage_of(*x).0], node.shape);
                same[index] = *functions.entry(key).or_insert(index);
            }
        }
        let mut exported = vec![false; graph.nodes.len()];
        for (_, id) in graph.outputs.iter().chain(&graph.kept) {
            exported[graph.storage_of(*id).0] = true;
        }
        Self {
            graph,
            limits,
            readers,
            exported,
            uses,
            same,
        }
    }

    /// Where a value comes from.
    fn source(&self, id: ValueId) -> usize {
        self.same[self.graph.storage_of(id).0]
    }

    /// Weight and bias of a product that may be joined.
    fn product(&self, node: usize) -> Option<(WeightId, Option<WeightId>)> {
        let Op::Linear { weight, bias } = self.graph.nodes[node].op else {
            return None;
        };
        let alone = self.uses.get(weight.0) == Some(&1) && !self.exported[node];
        (alone && !self.readers[node].is_empty()).then_some((weight, bias))
    }

    /// Whether products can be one.
    fn fit(&self, products: &[usize]) -> bool {
        let mut weights = Vec::with_capacity(products.len());
        let mut biases = Vec::with_capacity(products.len());
        for &node in products {
            let Some((weight, bias)) = self.product(node) else {
                return false;
            };
            weights.push(self.graph.weight(weight).clone());
            biases.extend(bias.map(|bias| self.graph.weight(bias).clone()));
        }
        let bytes: u64 = weights
            .iter()
            .map(|weight| weight.byte_count() as u64)
            .sum();
        if bytes > MOST_BYTES || !(biases.is_empty() || biases.len() == products.len()) {
            return false;
        }
        let in_one = |parts: &[TensorData]| {
            TensorData::joined(parts)
                .ok()
                .and_then(|joined| PackedLayout::of(&joined, self.limits).ok())
                .is_some_and(|layout| layout.shards.len() == 1)
        };
        in_one(&weights) && (biases.is_empty() || in_one(&biases))
    }

    /// What is multiplied with a function of a product of the same input.
    fn gates(&self) -> Vec<Join> {
        let nodes = &self.graph.nodes;
        let mut joins = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let (Op::Gated { .. }, &[gate, up]) = (&node.op, node.inputs.as_slice()) else {
                continue;
            };
            // Seen as they were made, since halves are those of the last axis.
            let [gate, up] = [gate.0, up.0];
            let only_here = |product: usize| self.readers[product] == [index];
            if gate != up
                && self.same_input(gate, up)
                && nodes[gate].shape == nodes[up].shape
                && only_here(gate)
                && only_here(up)
                && self.fit(&[up, gate])
            {
                joins.push(Join::Gate([up, gate, index]));
            }
        }
        joins
    }

    fn same_input(&self, a: usize, b: usize) -> bool {
        let [a, b] = [a, b].map(|node| self.graph.nodes[node].inputs.first().copied());
        let (Some(a), Some(b)) = (a, b) else {
            return false;
        };
        self.source(a) == self.source(b) && self.graph.node(a).shape == self.graph.node(b).shape
    }

    /// Other products of one input, in groups.
    fn deals(&self, taken: &[Join]) -> Vec<Join> {
        let taken: Vec<usize> = taken
            .iter()
            .filter_map(|join| match join {
                Join::Gate([up, gate, _]) => Some([*up, *gate]),
                Join::Deal(_) => None,
            })
            .flatten()
            .collect();
        // By what they read; within that by what can lie in one weight.
        let mut groups: BTreeMap<(usize, String), Vec<usize>> = BTreeMap::new();
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let (Some((weight, bias)), Some(input)) = (self.product(index), node.inputs.first())
            else {
                continue;
            };
            if taken.contains(&index) || self.has_better(index) {
                continue;
            }
            let tensor = self.graph.weight(weight);
            let kind = format!(
                "{:?} {:?} {:?}",
                self.graph.node(*input).shape,
                tensor.dtype(),
                bias.map(|bias| self.graph.weight(bias).dtype())
            );
            let source = self.source(*input);
            groups.entry((source, kind)).or_default().push(index);
        }
        let mut joins = Vec::new();
        for products in groups.into_values() {
            let mut rest = products.as_slice();
            while rest.len() > 1 {
                let most = rest.len().min(Deal::MOST);
                let count = (2..=most).rev().find(|&count| self.fit(&rest[..count]));
                let (group, behind) = rest.split_at(count.unwrap_or(1));
                if group.len() > 1 {
                    joins.push(Join::Deal(group.to_vec()));
                }
                rest = behind;
            }
        }
        joins
    }

    /// Whether a product takes over what comes behind it, which it could not do as a part of another.
    fn has_better(&self, product: usize) -> bool {
        let nodes = &self.graph.nodes;
        let &[reader] = self.readers[product].as_slice() else {
            return false;
        };
        let node = &nodes[reader];
        match node.op {
            Op::Unary(_) | Op::Gated { .. } | Op::SplitGated { .. } | Op::Permute { .. } => true,
            Op::Binary(BinaryKind::Add | BinaryKind::Mul) => {
                let shape = |id: &ValueId| &self.graph.node(*id).shape;
                let alike = matches!(node.inputs.as_slice(), [a, b] if shape(a) == shape(b));
                // A product behind it takes the sum over just as well.
                let other = node.inputs.iter().map(|id| self.graph.storage_of(*id).0);
                let late = other
                    .filter(|&other| other != product)
                    .any(|other| other > product && matches!(nodes[other].op, Op::Linear { .. }));
                alike && !late
            }
            _ => false,
        }
    }
}

/// Makes the new graph node by node.
struct Rewriter<'a> {
    old: &'a Graph,
    new: Graph,
    /// Where values went.
    place: Vec<Option<ValueId>>,
}

impl<'a> Rewriter<'a> {
    fn new(old: &'a Graph) -> Self {
        Self {
            old,
            new: Graph {
                nodes: Vec::with_capacity(old.nodes.len() + 16),
                ..old.clone()
            },
            place: vec![None; old.nodes.len()],
        }
    }

    fn push(&mut self, node: Node) -> ValueId {
        self.new.nodes.push(node);
        ValueId(self.new.nodes.len() - 1)
    }

    fn rewrite(mut self, joins: &[Join]) -> Option<Graph> {
        // The first product of a join makes all of them.
        let mut begins: HashMap<usize, &Join> = HashMap::new();
        let mut inside: HashMap<usize, &Join> = HashMap::new();
        for join in joins {
            let all = match join {
                Join::Deal(products) => products.as_slice(),
                Join::Gate(nodes) => nodes.get(..2)?,
            };
            begins.insert(*all.iter().min()?, join);
            inside.extend(all.iter().map(|&node| (node, join)));
        }
        let mut gated: HashMap<usize, ValueId> = HashMap::new();
        for (index, node) in self.old.nodes.iter().enumerate() {
            match (begins.get(&index), inside.contains_key(&index)) {
                (Some(Join::Deal(products)), _) => self.deal(products)?,
                (Some(Join::Gate([up, gate, last])), _) => {
                    let both = self.product(&[*up, *gate])?;
                    gated.insert(*last, both);
                }
                (None, true) => {}
                (None, false) => {
                    let mut node = node.clone();
                    if let (Some(both), Op::Gated { activation }) = (gated.get(&index), &node.op) {
                        node.op = Op::SplitGated {
                            activation: *activation,
                        };
                        node.inputs = vec![*both];
                    } else {
                        node.inputs = self.placed(&node.inputs)?;
                    }
                    let id = self.push(node);
                    self.place[index] = Some(id);
                }
            }
        }
        let named = |list: &[(String, ValueId)]| -> Option<Vec<(String, ValueId)>> {
            list.iter()
                .map(|(name, id)| Some((name.clone(), self.place[id.0]?)))
                .collect()
        };
        let (outputs, kept) = (named(&self.old.outputs)?, named(&self.old.kept)?);
        (self.new.outputs, self.new.kept) = (outputs, kept);
        Some(without_unused(self.new))
    }

    fn placed(&self, ids: &[ValueId]) -> Option<Vec<ValueId>> {
        ids.iter().map(|id| self.place[id.0]).collect()
    }

    /// One product of several.
    fn product(&mut self, products: &[usize]) -> Option<ValueId> {
        let old = self.old;
        let mut weights = Vec::with_capacity(products.len());
        let mut biases = Vec::new();
        let mut width = 0;
        for &product in products {
            let node = &old.nodes[product];
            let Op::Linear { weight, bias } = node.op else {
                return None;
            };
            weights.push(old.weight(weight).clone());
            biases.extend(bias.map(|bias| old.weight(bias).clone()));
            width += node.shape.last()?;
        }
        let mut add = |parts: &[TensorData]| -> Option<WeightId> {
            let joined = TensorData::joined(parts).ok()?;
            self.new.weights.push(joined);
            Some(WeightId(self.new.weights.len() - 1))
        };
        let weight = add(&weights)?;
        let bias = match biases.is_empty() {
            true => None,
            false => Some(add(&biases)?),
        };
        // The one that was first: what it reads is there.
        let first = &old.nodes[*products.iter().min()?];
        let mut shape = first.shape.clone();
        *shape.last_mut()? = width;
        let labels: Vec<&str> = products
            .iter()
            .map(|&product| old.nodes[product].label.as_str())
            .collect();
        let inputs = self.placed(&first.inputs)?;
        Some(self.push(Node {
            op: Op::Linear { weight, bias },
            inputs,
            shape,
            dtype: Dtype::F32,
            label: labels.join(" + "),
        }))
    }

    /// One product, and the columns of each.
    fn deal(&mut self, products: &[usize]) -> Option<()> {
        let whole = self.product(products)?;
        let mut start = 0;
        for &product in products {
            let old = &self.old.nodes[product];
            let len = *old.shape.last()?;
            let node = Node {
                op: Op::Slice {
                    axis: old.shape.len() - 1,
                    start,
                    len,
                },
                inputs: vec![whole],
                shape: old.shape.clone(),
                dtype: Dtype::F32,
                label: old.label.clone(),
            };
            self.place[product] = Some(self.push(node));
            start += len;
        }
        Some(())
    }
}

/// The graph without the weights that no op reads any longer.
pub(super) fn without_unused(mut graph: Graph) -> Graph {
    let mut used = vec![false; graph.weights.len()];
    for weight in graph.nodes.iter().flat_map(|node| node.op.weights()) {
        used[weight.0] = true;
    }
    let mut numbers = Vec::with_capacity(used.len());
    let mut next = 0;
    for &used in &used {
        numbers.push(WeightId(next));
        next += usize::from(used);
    }
    for node in &mut graph.nodes {
        for weight in node.op.weights_mut() {
            *weight = numbers[weight.0];
        }
    }
    let mut used = used.into_iter();
    graph.weights.retain(|_| used.next().unwrap_or(true));
    graph
}
