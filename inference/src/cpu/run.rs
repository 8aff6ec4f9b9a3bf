//! One run of a plan: node after node, values given back at their last use.

use super::candidates;
use super::draw;
use super::executor::Plan;
use super::kv::{KvState, Tables};
use super::parallel::Poll;
use super::plan::{attention_sizes, conv_sizes, dim, last_dim, linear_sizes, value_bytes};
use super::pool::{Out, Pool};
use super::weights::{Kept, Loaded, NodeWeights, kept};
use super::{attention, conv, elementwise, experts, kv, linear, norm, shape};
use crate::graph::{Dtype, ExecError, HostData, HostTensor, Node, Op, OpTime, ValueId, WeightId};

/// A value: of the run's own, or lent by the caller or by a weight.
enum Value<'a> {
    Own(Vec<f32>),
    Lent(&'a [f32]),
    Integers(&'a [u32]),
}

impl Value<'_> {
    fn floats(&self) -> Option<&[f32]> {
        match self {
            Self::Own(values) => Some(values),
            Self::Lent(values) => Some(values),
            Self::Integers(_) => None,
        }
    }
}

/// Values of a run, by the root of their views.
struct Values<'a> {
    plan: &'a Plan,
    slots: Vec<Option<Value<'a>>>,
    pool: Pool,
}

/// The memory that a node's result goes to.
struct Target {
    /// Of the result's length; for ops that copy their first operand it may be room only.
    out: Vec<f32>,
    /// Place of the operand that `out` already holds.
    holds: Option<usize>,
}

impl<'a> Values<'a> {
    fn missing(&self, id: ValueId) -> ExecError {
        ExecError::Backend {
            context: format!("value {} of {}", id.0, self.plan.graph.name),
            message: "was given back before its last use, or has another type".into(),
        }
    }

    fn value(&self, id: ValueId) -> Result<&Value<'a>, ExecError> {
        let root = self.plan.graph.storage_of(id);
        self.slots
            .get(root.0)
            .and_then(Option::as_ref)
            .ok_or_else(|| self.missing(id))
    }

    fn floats(&self, id: ValueId) -> Result<&[f32], ExecError> {
        self.value(id)?.floats().ok_or_else(|| self.missing(id))
    }

    fn integers(&self, id: ValueId) -> Result<&'a [u32], ExecError> {
        match self.value(id)? {
            Value::Integers(values) => Ok(values),
            _ => Err(self.missing(id)),
        }
    }

    fn operand(&self, node: &Node, place: usize) -> Result<ValueId, ExecError> {
        node.inputs
            .get(place)
            .copied()
            .ok_or_else(|| self.missing(ValueId(place)))
    }

    fn float_operand(&self, node: &Node, place: usize) -> Result<&[f32], ExecError> {
        self.floats(self.operand(node, place)?)
    }

    fn integer_operand(&self, node: &Node, place: usize) -> Result<&'a [u32], ExecError> {
        self.integers(self.operand(node, place)?)
    }

    /// Memory for the result of a node: that of an operand which is read for the last time, or new.
    fn target(&mut self, index: usize, node: &Node) -> Result<Target, ExecError> {
        let lifetimes = &self.plan.lifetimes;
        let scratch = lifetimes.scratch.get(index).copied().unwrap_or(0);
        let holds = lifetimes.reuse.get(index).copied().flatten();
        if let Some(place) = holds {
            self.pool.make_room(scratch);
            let id = self.operand(node, place)?;
            let root = self.plan.graph.storage_of(id);
            return match self.slots.get_mut(root.0).and_then(Option::take) {
                Some(Value::Own(out)) => Ok(Target { out, holds }),
                _ => Err(self.missing(id)),
            };
        }
        let len = node.elements();
        let writes = writes(&node.op);
        let mut out = match writes {
            Writes::Copy => self.pool.take_room(&node.label, len, scratch)?,
            Writes::All | Writes::Some => self.pool.take(&node.label, len, scratch)?,
        };
        if writes == Writes::Some {
            out.fill(0.0);
        }
        Ok(Target { out, holds })
    }
}

/// Runs all nodes; the results are in the order of the graph's outputs, and behind them are those that it keeps. What is given was checked. `times` is told how long
/// each op took.
pub(super) fn run(
    plan: &Plan,
    inputs: &[(&str, HostTensor)],
    states: &mut [&mut KvState],
    poll: &mut Poll<'_>,
    mut times: Option<&mut Vec<OpTime>>,
) -> Result<(Vec<HostTensor>, Vec<HostTensor>), ExecError> {
    let graph = &*plan.graph;
    let mut values = Values {
        plan,
        slots: (0..graph.nodes.len()).map(|_| None).collect(),
        pool: Pool::new(
            plan.lifetimes.peak,
            graph.inputs().map(|(_, _, node)| value_bytes(node)).sum(),
        ),
    };
    for (index, node) in graph.nodes.iter().enumerate() {
        poll.check()?;
        let value = match &node.op {
            Op::Input { name } => {
                let given = inputs
                    .iter()
                    .find(|(given, _)| given == name)
                    .ok_or_else(|| values.missing(ValueId(index)))?;
                match &given.1.data {
                    HostData::F32(data) => Some(Value::Lent(data)),
                    HostData::U32(data) => Some(Value::Integers(data)),
                }
            }
            Op::Constant { weight } => Some(Value::Lent(plan.weights.floats(*weight)?)),
            Op::Reshape => None,
            _ => {
                let started = times.is_some().then(std::time::Instant::now);
                let mut target = values.target(index, node)?;
                compute(&values, node, &mut target, states, poll)?;
                if let (Some(times), Some(started)) = (times.as_deref_mut(), started) {
                    times.push(OpTime {
                        node: index,
                        kernel: form(plan, node),
                        seconds: started.elapsed().as_secs_f64(),
                    });
                }
                Some(Value::Own(target.out))
            }
        };
        if let (Some(slot), Some(value)) = (values.slots.get_mut(index), value) {
            *slot = Some(value);
        }
        for &root in plan
            .lifetimes
            .free
            .get(index)
            .map_or(&[][..], Vec::as_slice)
        {
            if let Some(Value::Own(memory)) = values.slots.get_mut(root).and_then(Option::take) {
                values.pool.give(memory);
            }
        }
    }
    values.pool = Pool::new(0, 0);
    let mut all = results(values)?;
    let kept = all.split_off(graph.outputs.len());
    Ok((all, kept))
}

/// In which form the CPU has the weight that an op multiplies by; the op's name where there is none.
fn form(plan: &Plan, node: &Node) -> String {
    let graph = &*plan.graph;
    match node.op {
        Op::Linear { weight, .. } | Op::Conv2d { weight, .. } | Op::Embedding { table: weight } => {
            let stored = graph.weight(weight).dtype();
            match kept(graph, &node.op, weight, plan.mode) {
                Kept::Floats | Kept::Matrix => format!("{stored} as f32"),
                Kept::File => format!("{stored} decoded in use"),
                Kept::Quantised | Kept::Packed => format!("{stored} packed"),
            }
        }
        _ => node.op.name().to_owned(),
    }
}

fn results(mut values: Values<'_>) -> Result<Vec<HostTensor>, ExecError> {
    let graph = &*values.plan.graph;
    let mut results = Vec::with_capacity(graph.outputs.len() + graph.kept.len());
    let all = || graph.outputs.iter().chain(&graph.kept);
    for (place, &(_, id)) in all().enumerate() {
        let root = graph.storage_of(id);
        let again = all()
            .skip(place + 1)
            .any(|&(_, other)| graph.storage_of(other) == root);
        let shape = graph.node(id).shape.clone();
        let data = match values.value(id)? {
            // Integers that were computed lie as their bits.
            Value::Own(data) if graph.node(id).dtype == Dtype::U32 => {
                let numbers: Vec<u32> = data.iter().map(|value| value.to_bits()).collect();
                HostData::U32(numbers.into())
            }
            Value::Own(_) if !again => match values.slots.get_mut(root.0).and_then(Option::take) {
                Some(Value::Own(data)) => HostData::F32(data.into()),
                _ => return Err(values.missing(id)),
            },
            Value::Own(data) => HostData::F32(data.clone().into()),
            Value::Lent(data) => HostData::F32(data.to_vec().into()),
            Value::Integers(data) => HostData::U32(data.to_vec().into()),
        };
        results.push(HostTensor { shape, data });
    }
    Ok(results)
}

/// Computes one node into its target.
fn compute(
    values: &Values<'_>,
    node: &Node,
    target: &mut Target,
    states: &mut [&mut KvState],
    poll: &mut Poll<'_>,
) -> Result<(), ExecError> {
    let graph = &*values.plan.graph;
    let weights = values
        .plan
        .weights
        .of_node(graph, &node.op, values.plan.mode)?;
    let shape_of = |place: usize| {
        node.inputs
            .get(place)
            .map_or(&[][..], |&id| graph.node(id).shape.as_slice())
    };
    let floats = |place: usize| values.float_operand(node, place);
    let integers = |place: usize| values.integer_operand(node, place);
    let optional = |id: Option<WeightId>| id.map(|id| weights.floats(id)).transpose();
    let heavy = |id: WeightId| weights.get(id, kept(graph, &node.op, id, values.plan.mode));
    let holds = target.holds;
    if matches!(writes(&node.op), Writes::Copy) {
        let other = usize::from(holds != Some(1));
        let out = match holds {
            Some(_) => Out::Held(&mut target.out),
            None => Out::Copy(&mut target.out, floats(0)?),
        };
        return change(values, node, out, other, &weights);
    }
    let out = target.out.as_mut_slice();
    match &node.op {
        Op::Permute { axes } => shape::permute(out, floats(0)?, shape_of(0), axes),
        Op::Concat { axis } => {
            let width = node.shape.iter().skip(*axis).product();
            let mut offset = 0;
            for place in 0..node.inputs.len() {
                let len = shape_of(place).iter().skip(*axis).product();
                shape::concat_part(out, floats(place)?, width, offset, len);
                offset += len;
            }
        }
        Op::Slice { axis, start, len } => {
            let inner: usize = node.shape.iter().skip(axis + 1).product();
            shape::slice(
                out,
                floats(0)?,
                dim(shape_of(0), *axis) * inner,
                start * inner,
                len * inner,
            );
        }
        Op::Linear { weight, bias } => {
            let sizes = linear_sizes(node, shape_of(0));
            linear::linear(
                &node.label,
                out,
                floats(0)?,
                heavy(*weight)?,
                optional(*bias)?,
                sizes,
                poll,
            )?;
        }
        Op::Embedding { table } => {
            let Loaded::File(table) = &heavy(*table)?.loaded else {
                return Err(values.missing(ValueId(0)));
            };
            shape::embedding(&graph.name, out, integers(0)?, table, last_dim(&node.shape))?;
        }
        Op::GatherRows => shape::gather_rows(
            &graph.name,
            out,
            floats(0)?,
            integers(1)?,
            dim(&node.shape, 1),
        )?,
        Op::SplitGated { activation } => {
            elementwise::split_gated(*activation, out, floats(0)?, last_dim(&node.shape));
        }
        Op::Conv2d { weight, bias, spec } => {
            let sizes = conv_sizes(node, shape_of(0), graph.weight(*weight).shape());
            conv::conv2d(
                out,
                floats(0)?,
                heavy(*weight)?,
                optional(*bias)?,
                sizes,
                *spec,
                poll,
            )?;
        }
        Op::UpsampleNearest => {
            let (from, to) = (shape_of(0), &node.shape);
            shape::upsample_nearest(
                out,
                floats(0)?,
                [dim(from, 2), dim(from, 3)],
                [dim(to, 2), dim(to, 3)],
            );
        }
        Op::Attention {
            heads,
            kv_heads,
            scale,
            causal,
        } => {
            let sizes = attention_sizes(shape_of(0), shape_of(1), *heads, *kv_heads);
            let mask = match node.inputs.len() {
                3 => None,
                _ => Some(attention::Mask::new(floats(3)?, shape_of(3))),
            };
            attention::attention(
                out,
                [floats(0)?, floats(1)?, floats(2)?],
                mask,
                sizes,
                *scale,
                *causal,
                poll,
            )?;
        }
        Op::PagedAttention(spec) => {
            let tables = Tables {
                positions: integers(3)?,
                write_slots: integers(4)?,
                sequences: integers(5)?,
                block_tables: integers(6)?,
                max_pages: dim(shape_of(6), 1),
            };
            let state = states.get_mut(spec.state).ok_or(ExecError::Unknown {
                what: "state",
                id: spec.state as u64,
            })?;
            let operands = [floats(0)?, floats(1)?, floats(2)?];
            kv::paged_attention(&graph.name, out, operands, &tables, state, *spec, poll)?;
        }
        Op::RouteExperts { normalised, .. } => {
            experts::route(out, floats(0)?, dim(shape_of(0), 1), *normalised);
        }
        Op::ExpertLinear {
            weights: list,
            experts: count,
        } => {
            let mut files = Vec::with_capacity(list.len());
            for &id in list {
                let Loaded::File(tensor) = &heavy(id)?.loaded else {
                    return Err(values.missing(ValueId(0)));
                };
                files.push(tensor);
            }
            let operands = experts::Operands {
                x: floats(0)?,
                routes: floats(1)?,
                used: dim(shape_of(1), 1) / 2,
                weights: &files,
                experts: *count,
                k: last_dim(shape_of(0)),
                n: last_dim(&node.shape),
            };
            experts::linear(&node.label, out, &operands, poll)?;
        }
        Op::CombineExperts => {
            let used = dim(shape_of(1), 1) / 2;
            experts::combine(out, floats(0)?, floats(1)?, used, last_dim(&node.shape));
        }
        Op::Candidates { tokens } => {
            let width = dim(shape_of(0), 1);
            let (extras, temperatures) = (integers(1)?, floats(2)?);
            candidates::candidates(out, floats(0)?, width, *tokens, extras, temperatures);
        }
        Op::Draw => draw::draw(out, floats(0)?, floats(1)?),
        // Nothing to compute, or computed in place.
        Op::Input { .. }
        | Op::Constant { .. }
        | Op::Reshape
        | Op::Binary(_)
        | Op::Unary(_)
        | Op::Gated { .. }
        | Op::LayerNorm { .. }
        | Op::RmsNorm { .. }
        | Op::GroupNorm { .. }
        | Op::Rope { .. } => {}
    }
    Ok(())
}

/// What an op does with the memory of its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    /// It works in place on its first operand, or on a copy that it makes.
    Copy,
    /// It writes every element.
    All,
    /// Elements that it does not write are zeros.
    Some,
}

fn writes(op: &Op) -> Writes {
    match op {
        Op::Binary(_)
        | Op::Unary(_)
        | Op::Gated { .. }
        | Op::LayerNorm { .. }
        | Op::RmsNorm { .. }
        | Op::GroupNorm { .. }
        | Op::Rope { .. } => Writes::Copy,
        Op::Permute { .. }
        | Op::Concat { .. }
        | Op::Slice { .. }
        | Op::Linear { .. }
        | Op::SplitGated { .. }
        | Op::Conv2d { .. }
        | Op::UpsampleNearest
        | Op::Attention { .. } => Writes::All,
        // Rows that are there only to fill a plan are left out.
        _ => Writes::Some,
    }
}

/// Computes a node that changes its first operand, or a copy of it, in place. `other` is the place of a binary op's second operand: sums and
/// products may as well be taken in place of that one.
fn change(
    values: &Values<'_>,
    node: &Node,
    out: Out<'_>,
    other: usize,
    weights: &NodeWeights<'_>,
) -> Result<(), ExecError> {
    let graph = &*values.plan.graph;
    let floats = |place: usize| values.float_operand(node, place);
    let optional = |id: Option<WeightId>| id.map(|id| weights.floats(id)).transpose();
    match &node.op {
        Op::Binary(kind) => {
            let other_shape = &graph.node(values.operand(node, other)?).shape;
            elementwise::binary(*kind, out, &node.shape, floats(other)?, other_shape);
        }
        Op::Unary(kind) => elementwise::unary(*kind, out),
        Op::Gated { activation } => elementwise::gated(*activation, out, floats(1)?),
        Op::LayerNorm { weight, bias, eps } => {
            norm::layer_norm(out, weights.floats(*weight)?, optional(*bias)?, *eps);
        }
        Op::RmsNorm { weight, eps } => norm::rms_norm(out, weights.floats(*weight)?, *eps),
        Op::GroupNorm {
            weight,
            bias,
            groups,
            eps,
            silu,
        } => {
            let inner = node.shape.iter().skip(2).product();
            let (weight, bias) = (weights.floats(*weight)?, weights.floats(*bias)?);
            norm::group_norm(out, weight, bias, inner, *groups, *eps, *silu);
        }
        Op::Rope {
            heads,
            inv_freq,
            style,
            magnitude,
        } => {
            let frequencies = weights.floats(*inv_freq)?;
            let positions = values.integer_operand(node, 1)?;
            elementwise::rope(out, positions, *heads, frequencies, *style, *magnitude)?;
        }
        _ => {}
    }
    Ok(())
}
