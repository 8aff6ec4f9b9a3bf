//! Which ops of a graph run as one, so that what lies between them is neither written nor read.
//!
//! A [`Unit`] is an op (its root) with what it takes over: ops before it that only bring its operand into order, and a chain of ops behind it of which
//! each is the only one that reads the one before. It runs where the last of them stood, since what the chain meets on its way is there only then.
//! Equal ops of equal operands are computed once.

use std::collections::HashMap;

use diptych_shaders::Chain;

use super::kernels::{ChainLink, Combine, FEW_ROWS, Fusion, KernelLimits, PackedLayout, Rotation};
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
        };
        if fuse {
            let fuser = Fuser {
                graph,
                layouts,
                limits,
                uses: &uses,
            };
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

    /// Layout of a product's weight, and its rows of `x`; nothing if it is no product of many rows.
    fn product(&self, node: usize) -> Option<(&PackedLayout, usize)> {
        let Op::Linear { weight, .. } = self.graph.nodes[node].op else {
            return None;
        };
        let layout = self.layouts.get(weight.0)?;
        let x = self.graph.nodes[node].inputs.first()?;
        let rows = self.graph.node(*x).elements() / layout.cols.max(1);
        (rows > FEW_ROWS).then_some((layout, rows))
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
        let Some((layout, _)) = self.product(node) else {
            return false;
        };
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
