//! Which ops of a graph run as one, so that what lies between them is neither written nor read.
//!
//! A [`Unit`] is an op (its root) with what it takes over: ops before it that only bring its operand into order, and a chain of ops behind it of which
//! each is the only one that reads the one before. It runs where the last of them stood, since what the chain meets on its way is there only then.
//! Equal ops of equal operands are computed once.

use std::collections::HashMap;

use diptych_shaders::Chain;

use super::heads::{Constants, prelude, takes_cache};
use super::kernels::{
    ChainLink, Combine, Deal, FEW_ROWS, Fusion, Heads, KernelLimits, PackedLayout, Rotation,
};
use crate::graph::{BinaryKind, Dtype, Graph, Op, ValueId};

/// Ops that run as one.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// The node whose kernel runs.
    pub root: usize,
    /// The last node, whose value is the result.
    pub last: usize,
    /// Where the operands lie, and the shapes that the root sees.
    pub operands: Vec<(ValueId, Vec<usize>)>,
    /// What the root takes over.
    pub fusion: Fusion,
    /// Nodes that are the columns of a product, see [`Fusion::deal`].
    pub parts: Vec<usize>,
}

impl Unit {
    /// Where the columns of a product lie in its result: the nodes, first bytes and bytes of each.
    pub fn dealt(&self, graph: &Graph, alignment: u64) -> Vec<(usize, u64, u64)> {
        let Some(deal) = self.fusion.deal else {
            return Vec::new();
        };
        let root = &graph.nodes[self.root];
        let width = root.shape.last().copied().unwrap_or(1).max(1);
        let (places, _) = deal.places(root.elements() / width, alignment);
        self.parts
            .iter()
            .zip(places)
            .map(|(&node, place)| {
                (
                    node,
                    place as u64 * 4,
                    graph.nodes[node].elements() as u64 * 4,
                )
            })
            .collect()
    }
}

/// The units of a graph in the order in which they run; without `fuse`, each op by itself. Views are no units.
pub fn units(
    graph: &Graph,
    layouts: &[PackedLayout],
    limits: &KernelLimits,
    fuse: bool,
) -> Vec<Unit> {
    let uses = Uses::of(graph, fuse);
    let mut taken = vec![false; graph.nodes.len()];
    let mut units = Vec::with_capacity(graph.nodes.len());
    let fuser = Fuser {
        graph,
        layouts,
        limits,
        uses: &uses,
    };
    let (deals, preludes) = match fuse {
        true => fuser.ahead(&mut taken),
        false => Default::default(),
    };
    for (index, node) in graph.nodes.iter().enumerate() {
        if matches!(node.op, Op::Reshape) || taken[index] || uses.same[index] != index {
            continue;
        }
        let shape_of = |id: &ValueId| graph.node(*id).shape.clone();
        let operands = node.inputs.iter();
        let mut unit = Unit {
            root: index,
            last: index,
            operands: operands
                .map(|id| (uses.storage(graph, *id), shape_of(id)))
                .collect(),
            fusion: Fusion::default(),
            parts: Vec::new(),
        };
        if let Some((deal, parts)) = deals.get(&index) {
            unit.fusion.deal = Some(*deal);
            unit.parts.clone_from(parts);
        }
        if let Some((heads, product)) = preludes.get(&index) {
            unit.fusion.heads = Some(*heads);
            let whole = (ValueId(*product), graph.nodes[*product].shape.clone());
            unit.operands[0] = whole.clone();
            unit.operands[1] = whole;
        }
        if fuse {
            fuser.before(&mut unit, &taken);
            fuser.behind(&mut unit, &mut taken);
        }
        units.push(unit);
    }
    if fuse {
        // What is read by none any more: ops that all of their readers do for themselves.
        let read: std::collections::HashSet<usize> = units
            .iter()
            .flat_map(|unit| unit.operands.iter().map(|(id, _)| id.0))
            .collect();
        units.retain(|unit| {
            let swallowed = matches!(
                graph.nodes[unit.last].op,
                Op::Permute { .. } | Op::UpsampleNearest
            ) && unit.root == unit.last;
            !swallowed || uses.exported[unit.last] || read.contains(&unit.last)
        });
    }
    units.sort_by_key(|unit| unit.last);
    units
}

/// Who reads what.
struct Uses {
    /// For each node the first one that computes the same.
    same: Vec<usize>,
    /// For each storage the nodes that read it, one entry for each operand.
    readers: Vec<Vec<usize>>,
    /// Whether a storage is a result of the graph.
    exported: Vec<bool>,
}

impl Uses {
    fn of(graph: &Graph, merge: bool) -> Self {
        let count = graph.nodes.len();
        let mut exported = vec![false; count];
        for (_, id) in graph.outputs.iter().chain(&graph.kept) {
            exported[graph.storage_of(*id).0] = true;
        }
        let mut uses = Self {
            same: (0..count).collect(),
            readers: vec![Vec::new(); count],
            exported,
        };
        let mut known: HashMap<String, usize> = HashMap::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            if matches!(node.op, Op::Reshape) {
                continue;
            }
            let operands: Vec<usize> = node
                .inputs
                .iter()
                .map(|id| uses.storage(graph, *id).0)
                .collect();
            // Only of ops that are cheap to tell apart; weights are given by number.
            let may_merge = matches!(
                node.op,
                Op::Unary(_) | Op::Binary(_) | Op::Permute { .. } | Op::Linear { .. }
            );
            if merge && may_merge && !uses.exported[index] {
                let seen: Vec<&[usize]> = node
                    .inputs
                    .iter()
                    .map(|id| graph.node(*id).shape.as_slice())
                    .collect();
                let key = format!("{:?} {operands:?} {seen:?} {:?}", node.op, node.shape);
                let first = *known.entry(key).or_insert(index);
                if first != index {
                    uses.same[index] = first;
                    continue;
                }
            }
            for operand in operands {
                uses.readers[operand].push(index);
            }
        }
        uses
    }

    /// Where a value lies.
    fn storage(&self, graph: &Graph, id: ValueId) -> ValueId {
        ValueId(self.same[graph.storage_of(id).0])
    }

    /// The one op that reads a value, if there is just one.
    fn only_reader(&self, node: usize) -> Option<usize> {
        match self.readers.get(node).map(Vec::as_slice) {
            Some(&[reader]) if !self.exported[node] => Some(reader),
            _ => None,
        }
    }
}

struct Fuser<'a> {
    graph: &'a Graph,
    layouts: &'a [PackedLayout],
    limits: &'a KernelLimits,
    uses: &'a Uses,
}

/// Products whose columns are dealt out, and the nodes of their columns, by their own.
type Deals = HashMap<usize, (Deal, Vec<usize>)>;
/// What attention over paged caches takes over, and the product of its queries and keys, by its node.
type Preludes = HashMap<usize, (Heads, usize)>;

/// Elements of a plane, if axes of that shape bring the second axis to the end: `[B, C, ..] -> [B, .., C]`.
fn to_rows(axes: &[usize], shape: &[usize]) -> Option<usize> {
    let len = axes.len();
    let wanted = std::iter::once(0).chain(2..len).chain(std::iter::once(1));
    let fits = len >= 3 && shape.len() == len && wanted.eq(axes.iter().copied());
    fits.then(|| shape[2..].iter().product())
}

/// Elements of a plane, if axes of that shape bring the last axis to the second place: `[B, .., C] -> [B, C, ..]`.
fn to_columns(axes: &[usize], shape: &[usize]) -> Option<usize> {
    let len = axes.len();
    let wanted = [0, len.wrapping_sub(1)]
        .into_iter()
        .chain(1..len.max(1) - 1);
    let fits = len >= 3 && shape.len() == len && wanted.eq(axes.iter().copied());
    fits.then(|| shape[1..len - 1].iter().product())
}

impl Fuser<'_> {
    fn shape(&self, node: usize) -> &[usize] {
        &self.graph.nodes[node].shape
    }

    fn elements(&self, node: usize) -> usize {
        self.graph.nodes[node].elements()
    }

    /// What is known before any unit is made: products whose columns are dealt out, and what attention over paged caches takes over. The nodes of
    /// the columns, and those taken over, are marked.
    fn ahead(&self, taken: &mut [bool]) -> (Deals, Preludes) {
        let mut deals = Deals::new();
        // For each node of columns its product, and its number there.
        let mut homes: HashMap<usize, (usize, usize)> = HashMap::new();
        for index in 0..self.graph.nodes.len() {
            if self.uses.same[index] != index {
                continue;
            }
            let Some((deal, parts)) = self.deal(index) else {
                continue;
            };
            for (number, &part) in parts.iter().enumerate() {
                taken[part] = true;
                homes.insert(part, (index, number));
            }
            deals.insert(index, (deal, parts));
        }
        let mut preludes = Preludes::new();
        if deals.is_empty() {
            return (deals, preludes);
        }
        let constants = Constants::of(self.graph);
        let readers =
            |node: usize| self.uses.readers[node].len() + usize::from(self.uses.exported[node]);
        for index in 0..self.graph.nodes.len() {
            let Some(prelude) = prelude(self.graph, index, &readers) else {
                continue;
            };
            let [q, k] = prelude.raw.map(|id| homes.get(&id.0).copied());
            let (Some((product, q)), Some((other, k))) = (q, k) else {
                continue;
            };
            let (root, alignment) = (&self.graph.nodes[product], self.limits.storage_alignment);
            let &[rows, _] = root.shape.as_slice() else {
                continue;
            };
            let places = deals
                .get(&product)
                .map(|(deal, _)| deal.places(rows, alignment).0);
            let fits = product == other && takes_cache(self.graph, index, self.limits);
            let heads = places
                .filter(|_| fits)
                .and_then(|places| prelude.heads(self.graph, &constants, [places[q], places[k]]));
            let Some(heads) = heads else {
                continue;
            };
            for &node in &prelude.nodes {
                taken[node] = true;
            }
            preludes.insert(index, (heads, product));
        }
        (deals, preludes)
    }

    /// The values that a product's columns are dealt out to, if all that read it take columns, and each is taken once.
    fn deal(&self, node: usize) -> Option<(Deal, Vec<usize>)> {
        let (layout, rows) = self.weight_and_rows(node)?;
        let own = &self.graph.nodes[node].shape;
        let axis = own.len().checked_sub(1)?;
        let mut parts: Vec<(usize, usize, usize)> = Vec::new();
        for &reader in &self.uses.readers[node] {
            let Op::Slice {
                axis: along,
                start,
                len,
            } = self.graph.nodes[reader].op
            else {
                return None;
            };
            let seen = self.graph.nodes[reader].inputs.first()?;
            if along != axis || self.graph.node(*seen).shape != *own {
                return None;
            }
            parts.push((start, len, reader));
        }
        parts.sort_unstable();
        let mut end = 0;
        for (start, len, _) in &parts {
            if *start != end {
                return None;
            }
            end += len;
        }
        let widths: Vec<usize> = parts.iter().map(|(_, len, _)| *len).collect();
        let deal = Deal::new(&widths)?;
        let (_, len) = deal.places(rows, self.limits.storage_alignment);
        let whole = layout.shards.len() == 1
            && end == layout.rows
            && self.limits.fits(0, len)
            && !self.uses.exported[node];
        whole.then(|| (deal, parts.into_iter().map(|(_, _, node)| node).collect()))
    }

    /// Layout of a product's weight, and its rows of `x`; nothing if it is no product.
    fn weight_and_rows(&self, node: usize) -> Option<(&PackedLayout, usize)> {
        let Op::Linear { weight, .. } = self.graph.nodes[node].op else {
            return None;
        };
        let layout = self.layouts.get(weight.0)?;
        let x = self.graph.nodes[node].inputs.first()?;
        Some((layout, self.graph.node(*x).elements() / layout.cols.max(1)))
    }

    /// The same; nothing if it is no product of many rows.
    fn product(&self, node: usize) -> Option<(&PackedLayout, usize)> {
        self.weight_and_rows(node)
            .filter(|(_, rows)| *rows > FEW_ROWS)
    }

    /// Whether a product can read its operand in columns.
    fn reads_columns(&self, node: usize) -> bool {
        self.product(node)
            .is_some_and(|(layout, rows)| self.limits.fits(0, rows * layout.cols))
            // A gate would need one more kernel.
            && !self.gates(node)
    }

    /// Whether the halves of a product are multiplied by it.
    fn gates(&self, node: usize) -> bool {
        let Some((layout, rows)) = self.weight_and_rows(node) else {
            return false;
        };
        // Of few rows it is one dispatch, which cannot be cut.
        let flops = 2 * (rows * layout.cols) as u64 * layout.rows as u64;
        if rows <= FEW_ROWS && flops > self.limits.max_dispatch_flops {
            return false;
        }
        let next = self.uses.only_reader(node);
        next.is_some_and(|next| {
            let graph_node = &self.graph.nodes[next];
            matches!(graph_node.op, Op::SplitGated { .. })
                && layout.shards.len() == 1
                && graph_node.shape.last().map(|n| 2 * n) == Some(layout.rows)
        })
    }

    /// Takes over what only brings the operand into order.
    fn before(&self, unit: &mut Unit, taken: &[bool]) {
        let root = unit.root;
        let Some((operand, seen)) = unit.operands.first().cloned() else {
            return;
        };
        let source = &self.graph.nodes[operand.0];
        let Some(below) = source.inputs.first() else {
            return;
        };
        if self.uses.exported[operand.0] || taken[operand.0] {
            return;
        }
        let readers = &self.uses.readers[operand.0];
        match (&source.op, &self.graph.nodes[root].op) {
            (Op::Permute { axes }, Op::Linear { .. }) => {
                let shape = &self.graph.node(*below).shape;
                let plane = to_rows(axes, shape).filter(|_| seen.last() == shape.get(1));
                let all_can = |&reader: &usize| {
                    self.reads_columns(reader)
                        && self.graph.nodes[reader]
                            .inputs
                            .first()
                            .is_some_and(|id| self.graph.node(*id).shape.last() == shape.get(1))
                };
                if let Some(plane) = plane.filter(|_| readers.iter().all(all_can)) {
                    unit.fusion.columns_in = Some(plane);
                    unit.operands[0] = (self.uses.storage(self.graph, *below), seen);
                }
            }
            (Op::UpsampleNearest, Op::Conv2d { .. }) => {
                let from = &self.graph.node(*below).shape;
                let (&[_, _, h, w], &[_, _, tall, wide]) = (from.as_slice(), seen.as_slice())
                else {
                    return;
                };
                let all_convolve = readers
                    .iter()
                    .all(|&reader| matches!(self.graph.nodes[reader].op, Op::Conv2d { .. }));
                if (tall, wide) == (2 * h, 2 * w) && all_convolve {
                    unit.fusion.doubled = true;
                    unit.operands[0] = (self.uses.storage(self.graph, *below), from.clone());
                }
            }
            _ => {}
        }
    }

    /// Takes over a chain of ops behind.
    fn behind(&self, unit: &mut Unit, taken: &mut [bool]) {
        let root = &self.graph.nodes[unit.root].op;
        while let Some(next) = self.uses.only_reader(unit.last) {
            if taken[next] {
                break;
            }
            let fits = match root {
                Op::Linear { .. } | Op::Conv2d { .. } => self.takes(unit, next),
                Op::Unary(_) | Op::Binary(_) | Op::Gated { .. } => self.chains(unit, next),
                Op::RmsNorm { .. } => self.rotates(unit, next),
                _ => false,
            };
            if !fits {
                break;
            }
            taken[next] = true;
            unit.last = next;
        }
    }

    /// Takes over one more op, if that is possible.
    fn takes(&self, unit: &mut Unit, next: usize) -> bool {
        let node = &self.graph.nodes[next];
        if node.dtype != Dtype::F32 {
            return false;
        }
        let fusion = &mut unit.fusion;
        let bare = fusion.epilogue == Default::default();
        let open = fusion.epilogue.combine.is_none() && fusion.epilogue.after.is_none();
        let operand = |index: usize| {
            let id = node.inputs.get(index)?;
            Some((self.uses.storage(self.graph, *id), self.graph.node(*id)))
        };
        let (Some((first, first_node)), second) = (operand(0), operand(1)) else {
            return false;
        };
        match &node.op {
            Op::Unary(kind) if open && fusion.epilogue.before.is_none() => {
                fusion.epilogue.before = Some(*kind);
                true
            }
            Op::Unary(kind) if fusion.epilogue.after.is_none() => {
                fusion.epilogue.after = Some(*kind);
                true
            }
            Op::Binary(kind) if open => {
                let Some((second, second_node)) = second else {
                    return false;
                };
                let own = unit.last;
                let (other, other_node) = match first.0 == own {
                    true => (second, second_node),
                    false => (first, first_node),
                };
                let combine = match kind {
                    BinaryKind::Add => Combine::Add,
                    BinaryKind::Mul => Combine::Multiply,
                };
                let combine = if first_node.shape == second_node.shape {
                    combine
                } else if first.0 == own && self.by_channel(unit.root, other_node, *kind) {
                    Combine::AddByChannel
                } else {
                    return false;
                };
                fusion.epilogue.combine = Some((combine, unit.operands.len()));
                unit.operands.push((other, other_node.shape.clone()));
                true
            }
            Op::Gated { activation } if bare && first.0 == unit.last => {
                let Some((up, up_node)) = second else {
                    return false;
                };
                fusion.epilogue.before = Some(crate::graph::UnaryKind::Activation(*activation));
                fusion.epilogue.combine = Some((Combine::Multiply, unit.operands.len()));
                unit.operands.push((up, up_node.shape.clone()));
                true
            }
            Op::SplitGated { activation }
                if bare
                    && unit.last == unit.root
                    && fusion.columns_in.is_none()
                    && self.gates(unit.root) =>
            {
                fusion.gate = Some(*activation);
                true
            }
            Op::Permute { axes } if bare && fusion.gate.is_none() && unit.last == unit.root => {
                let Some((layout, rows)) = self.product(unit.root) else {
                    return false;
                };
                let shape = &first_node.shape;
                let plane = to_columns(axes, shape).filter(|_| {
                    shape.last() == Some(&layout.rows)
                        && layout.shards.len() == 1
                        && self.limits.fits(0, rows * layout.rows)
                });
                fusion.columns_out = plane;
                plane.is_some()
            }
            _ => false,
        }
    }

    /// Takes over one more op of a chain of element-wise ones, if that is possible.
    fn chains(&self, unit: &mut Unit, next: usize) -> bool {
        let node = &self.graph.nodes[next];
        let shape = self.shape(unit.root);
        let root = &self.graph.nodes[unit.root].op;
        // A gate is two steps.
        let steps = unit.fusion.links.iter().count()
            + if matches!(root, Op::Gated { .. }) {
                2
            } else {
                1
            };
        let values = unit.operands.len() - 1;
        if node.dtype != Dtype::F32 || steps >= Chain::STEPS {
            return false;
        }
        let room = values < Chain::VALUES;
        let operand = |index: usize| {
            let id = *node.inputs.get(index)?;
            Some((self.uses.storage(self.graph, id), self.graph.node(id)))
        };
        let own = unit.last;
        let number = unit.operands.len();
        match (&node.op, operand(0), operand(1)) {
            (Op::Unary(kind), ..) => unit.fusion.links.push(ChainLink::Apply(*kind)),
            (&Op::Binary(kind), Some(first), Some(second)) if room => {
                let (mine, other) = match first.0.0 == own {
                    true => (first, second),
                    false => (second, first),
                };
                let alike = mine.1.elements() == other.1.elements();
                // What is broadcast is so over the shape that the whole chain has, in as many dimensions as a box has.
                let broadcast = mine.0 == first.0 && mine.1.shape == shape && shape.len() <= 4;
                let fits = alike || broadcast;
                fits && {
                    unit.operands.push((other.0, other.1.shape.clone()));
                    let operand = number;
                    unit.fusion.links.push(ChainLink::Meet { kind, operand })
                }
            }
            (&Op::Gated { activation }, Some(first), Some(second)) if room => {
                if first.0.0 != own {
                    unit.operands.push((first.0, first.1.shape.clone()));
                    let operand = number;
                    return unit.fusion.links.push(ChainLink::Gate {
                        activation,
                        operand,
                    });
                }
                if steps + 2 > Chain::STEPS {
                    return false;
                }
                unit.operands.push((second.0, second.1.shape.clone()));
                let kind = BinaryKind::Mul;
                let operand = number;
                unit.fusion.links.push(ChainLink::Apply(activation.into()))
                    && unit.fusion.links.push(ChainLink::Meet { kind, operand })
            }
            _ => false,
        }
    }

    /// Whether a value is one number for each channel of a convolution's result.
    fn by_channel(&self, root: usize, other: &crate::graph::Node, kind: BinaryKind) -> bool {
        let result = self.shape(root);
        matches!(self.graph.nodes[root].op, Op::Conv2d { .. })
            && kind == BinaryKind::Add
            && match (other.shape.as_slice(), result) {
                (&[batch, channels, 1, 1], &[all, out, ..]) => {
                    channels == out
                        && (batch == all || batch == 1)
                        && self.limits.fits(0, other.elements())
                }
                _ => false,
            }
            && result.iter().product::<usize>() == self.elements(root)
    }

    /// Takes over the rotation behind a norm of heads.
    fn rotates(&self, unit: &mut Unit, next: usize) -> bool {
        let node = &self.graph.nodes[next];
        let (
            Op::Rope {
                heads,
                inv_freq,
                style,
                magnitude,
            },
            &[x, positions],
        ) = (&node.op, node.inputs.as_slice())
        else {
            return false;
        };
        let (&[rows, width], seen) = (node.shape.as_slice(), self.shape(unit.root)) else {
            return false;
        };
        // Each row of the norm is one head.
        let is_operand = self.uses.storage(self.graph, x).0 == unit.last;
        let single = self
            .layouts
            .get(inv_freq.0)
            .is_some_and(|layout| layout.rows == 1 && layout.shards.len() == 1 && layout.cols > 0);
        if !is_operand
            || !single
            || unit.fusion.rotation.is_some()
            || *heads == 0
            || *seen != [rows * heads, width / heads]
        {
            return false;
        }
        unit.fusion.rotation = Some(Rotation {
            heads: *heads,
            inv_freq: *inv_freq,
            style: *style,
            magnitude: *magnitude,
            positions: unit.operands.len(),
        });
        let positions_node = self.graph.node(positions);
        unit.operands.push((
            self.uses.storage(self.graph, positions),
            positions_node.shape.clone(),
        ));
        true
    }
}
