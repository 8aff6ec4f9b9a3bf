//! Builds graphs with shape inference; its methods read like eager tensor code.

use std::cell::RefCell;
use std::collections::HashMap;

use super::{
    Activation, BinaryKind, Conv2dSpec, Dtype, Graph, GraphError, KvShape, Node, Op, UnaryKind,
    ValueId, WeightId,
};
use crate::formats::weights::{TensorData, TensorKey};

/// A value of a graph under construction: its id, shape and type.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub(super) id: ValueId,
    pub(super) shape: Vec<usize>,
    pub(super) dtype: Dtype,
}

impl Tensor {
    /// Lengths of the axes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Length of one axis; 1 for axes that are not there.
    pub fn dim(&self, axis: usize) -> usize {
        self.shape.get(axis).copied().unwrap_or(1)
    }

    /// Length of the last axis.
    pub fn last_dim(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The value's id in the finished graph.
    pub fn id(&self) -> ValueId {
        self.id
    }
}

#[derive(Default)]
struct Inner {
    nodes: Vec<Node>,
    weights: Vec<TensorData>,
    weight_ids: HashMap<TensorKey, WeightId>,
    outputs: Vec<(String, ValueId)>,
    kept: Vec<(String, ValueId)>,
    states: Vec<KvShape>,
    path: Vec<String>,
}

/// Collects the nodes of a graph. Methods take `&self`, so that calls can be nested.
pub struct GraphBuilder {
    name: String,
    inner: RefCell<Inner>,
}

/// Leaves a scope of labels when dropped; see [`GraphBuilder::scope`].
pub struct ScopeGuard<'a>(&'a GraphBuilder);

impl Drop for ScopeGuard<'_> {
    fn drop(&mut self) {
        self.0.inner.borrow_mut().path.pop();
    }
}

pub(super) type Result<T> = std::result::Result<T, GraphError>;

impl GraphBuilder {
    /// An empty graph with a short name for logs and profiles.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            inner: RefCell::default(),
        }
    }

    /// Nodes made until the guard is dropped carry `name` in their labels (`down_blocks.0.resnets.1`).
    pub fn scope(&self, name: impl Into<String>) -> ScopeGuard<'_> {
        self.inner.borrow_mut().path.push(name.into());
        ScopeGuard(self)
    }

    fn label(&self) -> String {
        let inner = self.inner.borrow();
        if inner.path.is_empty() {
            self.name.clone()
        } else {
            inner.path.join(".")
        }
    }

    pub(super) fn error(&self, op: &'static str, detail: String) -> GraphError {
        GraphError::Shape {
            label: self.label(),
            op,
            detail,
        }
    }

    pub(super) fn push(
        &self,
        op: Op,
        inputs: &[&Tensor],
        shape: Vec<usize>,
        dtype: Dtype,
    ) -> Result<Tensor> {
        let label = self.label();
        // Sizes come from files: a product that overflows must not get into an allocation.
        let elements = shape
            .iter()
            .try_fold(1usize, |product, &len| product.checked_mul(len));
        if elements
            .and_then(|n| n.checked_mul(4))
            .is_none_or(|bytes| bytes > isize::MAX as usize)
        {
            return Err(GraphError::TooLarge { label, shape });
        }
        if shape.contains(&0) {
            return Err(GraphError::Shape {
                label,
                op: op.name(),
                detail: format!("an empty tensor {shape:?}"),
            });
        }
        let mut inner = self.inner.borrow_mut();
        let id = ValueId(inner.nodes.len());
        let inputs = inputs.iter().map(|tensor| tensor.id).collect();
        inner.nodes.push(Node {
            op,
            inputs,
            shape: shape.clone(),
            dtype,
            label,
        });
        Ok(Tensor { id, shape, dtype })
    }

    pub(super) fn weight(&self, data: &TensorData) -> WeightId {
        let mut inner = self.inner.borrow_mut();
        let next = WeightId(inner.weights.len());
        let id = *inner.weight_ids.entry(data.key()).or_insert(next);
        if id == next {
            inner.weights.push(data.clone());
        }
        id
    }

    pub(super) fn want_float(&self, op: &'static str, tensors: &[&Tensor]) -> Result<()> {
        match tensors.iter().find(|tensor| tensor.dtype != Dtype::F32) {
            Some(tensor) => Err(self.error(op, format!("integer operands {:?}", tensor.shape))),
            None => Ok(()),
        }
    }

    fn want_vector(&self, op: &'static str, weight: &TensorData, len: usize) -> Result<()> {
        if weight.shape() == [len] {
            return Ok(());
        }
        Err(self.error(
            op,
            format!(
                "'{}' of shape {:?} where [{len}] is wanted",
                weight.name(),
                weight.shape()
            ),
        ))
    }

    /// A float value given at each run.
    pub fn input(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.push(
            Op::Input {
                name: name.to_owned(),
            },
            &[],
            shape.to_vec(),
            Dtype::F32,
        )
    }

    /// An integer value given at each run.
    pub fn input_u32(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.push(
            Op::Input {
                name: name.to_owned(),
            },
            &[],
            shape.to_vec(),
            Dtype::U32,
        )
    }

    /// Declares a KV cache and gives the index to use in [`PagedAttentionSpec::state`].
    pub fn kv_state(&self, shape: KvShape) -> usize {
        let mut inner = self.inner.borrow_mut();
        inner.states.push(shape);
        inner.states.len() - 1
    }

    /// A weight as a float value.
    pub fn constant(&self, weight: &TensorData) -> Result<Tensor> {
        let id = self.weight(weight);
        self.push(
            Op::Constant { weight: id },
            &[],
            weight.shape().to_vec(),
            Dtype::F32,
        )
    }

    /// Another shape for the same elements.
    pub fn reshape(&self, x: &Tensor, shape: &[usize]) -> Result<Tensor> {
        let wanted = shape
            .iter()
            .try_fold(1usize, |product, &len| product.checked_mul(len));
        if wanted != Some(x.shape.iter().product()) {
            return Err(self.error("reshape", format!("{:?} as {shape:?}", x.shape)));
        }
        if x.shape == shape {
            return Ok(x.clone());
        }
        self.push(Op::Reshape, &[x], shape.to_vec(), x.dtype)
    }

    /// Reorders axes: output axis `i` is input axis `axes[i]`.
    pub fn permute(&self, x: &Tensor, axes: &[usize]) -> Result<Tensor> {
        let mut seen = vec![false; x.shape.len()];
        for &axis in axes {
            match seen.get_mut(axis) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(self.error("permute", format!("{:?} by axes {axes:?}", x.shape))),
            }
        }
        if axes.len() != x.shape.len() || axes.len() > 4 {
            return Err(self.error("permute", format!("{:?} by axes {axes:?}", x.shape)));
        }
        self.want_float("permute", &[x])?;
        let shape = axes.iter().map(|&axis| x.shape[axis]).collect();
        self.push(
            Op::Permute {
                axes: axes.to_vec(),
            },
            &[x],
            shape,
            x.dtype,
        )
    }

    /// Joins tensors along one axis.
    pub fn concat(&self, parts: &[&Tensor], axis: usize) -> Result<Tensor> {
        self.want_float("concat", parts)?;
        let Some((first, rest)) = parts.split_first() else {
            return Err(self.error("concat", "nothing".into()));
        };
        let mut shape = first.shape.clone();
        for part in rest {
            let fits = part.shape.len() == shape.len()
                && axis < shape.len()
                && (0..shape.len()).all(|i| i == axis || shape[i] == part.shape[i]);
            if !fits {
                return Err(self.error(
                    "concat",
                    format!("{shape:?} and {:?} along axis {axis}", part.shape),
                ));
            }
            shape[axis] += part.shape[axis];
        }
        if rest.is_empty() {
            return Ok((*first).clone());
        }
        self.push(Op::Concat { axis }, parts, shape, Dtype::F32)
    }

    /// `len` positions from `start` along one axis.
    pub fn slice(&self, x: &Tensor, axis: usize, start: usize, len: usize) -> Result<Tensor> {
        self.want_float("slice", &[x])?;
        if start.checked_add(len).is_none_or(|end| end > x.dim(axis)) || axis >= x.shape.len() {
            return Err(self.error(
                "slice",
                format!("{start}..{start}+{len} of axis {axis} of {:?}", x.shape),
            ));
        }
        let mut shape = x.shape.clone();
        shape[axis] = len;
        self.push(Op::Slice { axis, start, len }, &[x], shape, x.dtype)
    }

    /// `x * weight^T + bias` over the last axis.
    pub fn linear(
        &self,
        x: &Tensor,
        weight: &TensorData,
        bias: Option<&TensorData>,
    ) -> Result<Tensor> {
        self.want_float("linear", &[x])?;
        let &[n, k] = weight.shape() else {
            return Err(self.error(
                "linear",
                format!("'{}' of shape {:?}", weight.name(), weight.shape()),
            ));
        };
        if x.last_dim() != k {
            return Err(self.error(
                "linear",
                format!(
                    "{:?} times '{}' {:?}",
                    x.shape,
                    weight.name(),
                    weight.shape()
                ),
            ));
        }
        if let Some(bias) = bias {
            self.want_vector("linear", bias, n)?;
        }
        let mut shape = x.shape.clone();
        if let Some(last) = shape.last_mut() {
            *last = n;
        }
        let op = Op::Linear {
            weight: self.weight(weight),
            bias: bias.map(|bias| self.weight(bias)),
        };
        self.push(op, &[x], shape, Dtype::F32)
    }

    /// Rows of a table, by ids. The caller makes sure that the ids it gives at a run are below the table's length.
    pub fn embedding(&self, ids: &Tensor, table: &TensorData) -> Result<Tensor> {
        let &[_, d] = table.shape() else {
            return Err(self.error(
                "embedding",
                format!("'{}' of shape {:?}", table.name(), table.shape()),
            ));
        };
        if ids.dtype != Dtype::U32 {
            return Err(self.error("embedding", "ids that are not integers".into()));
        }
        let mut shape = ids.shape.clone();
        shape.push(d);
        self.push(
            Op::Embedding {
                table: self.weight(table),
            },
            &[ids],
            shape,
            Dtype::F32,
        )
    }

    /// Chosen rows of `x [rows, D]`.
    pub fn gather_rows(&self, x: &Tensor, indices: &Tensor) -> Result<Tensor> {
        self.want_float("gather_rows", &[x])?;
        if x.shape.len() != 2 || indices.shape.len() != 1 || indices.dtype != Dtype::U32 {
            return Err(self.error(
                "gather_rows",
                format!("{:?} by {:?}", x.shape, indices.shape),
            ));
        }
        let shape = vec![indices.dim(0), x.dim(1)];
        self.push(Op::GatherRows, &[x, indices], shape, Dtype::F32)
    }

    fn binary(&self, kind: BinaryKind, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let op = Op::Binary(kind);
        self.want_float(op.name(), &[a, b])?;
        let fits = b.shape.len() <= a.shape.len()
            && a.shape.len() <= 4
            && a.shape
                .iter()
                .rev()
                .zip(b.shape.iter().rev())
                .all(|(&a, &b)| a == b || b == 1);
        if !fits {
            return Err(self.error(op.name(), format!("{:?} and {:?}", a.shape, b.shape)));
        }
        self.push(op, &[a, b], a.shape.clone(), Dtype::F32)
    }

    /// `a + b`, with `b` broadcast to `a`.
    pub fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.binary(BinaryKind::Add, a, b)
    }

    /// `a * b`, with `b` broadcast to `a`.
    pub fn mul(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.binary(BinaryKind::Mul, a, b)
    }

    /// An element-wise function.
    pub fn unary(&self, x: &Tensor, kind: UnaryKind) -> Result<Tensor> {
        self.want_float("unary", &[x])?;
        self.push(Op::Unary(kind), &[x], x.shape.clone(), Dtype::F32)
    }

    /// An activation function.
    pub fn activation(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.unary(x, UnaryKind::Activation(activation))
    }

    /// `x * factor + offset`.
    pub fn affine(&self, x: &Tensor, factor: f32, offset: f32) -> Result<Tensor> {
        self.unary(x, UnaryKind::Affine { factor, offset })
    }

    /// `act(gate) * up`.
    pub fn gated(&self, gate: &Tensor, up: &Tensor, activation: Activation) -> Result<Tensor> {
        self.want_float("gated", &[gate, up])?;
        if gate.shape != up.shape {
            return Err(self.error("gated", format!("{:?} and {:?}", gate.shape, up.shape)));
        }
        self.push(
            Op::Gated { activation },
            &[gate, up],
            up.shape.clone(),
            Dtype::F32,
        )
    }

    /// First half of the last axis times the activated second half.
    pub fn split_gated(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.want_float("split_gated", &[x])?;
        if !x.last_dim().is_multiple_of(2) {
            return Err(self.error("split_gated", format!("{:?}", x.shape)));
        }
        let mut shape = x.shape.clone();
        if let Some(last) = shape.last_mut() {
            *last /= 2;
        }
        self.push(Op::SplitGated { activation }, &[x], shape, Dtype::F32)
    }

    /// Layer norm over the last axis.
    pub fn layer_norm(
        &self,
        x: &Tensor,
        weight: &TensorData,
        bias: Option<&TensorData>,
        eps: f32,
    ) -> Result<Tensor> {
        self.want_float("layer_norm", &[x])?;
        self.want_vector("layer_norm", weight, x.last_dim())?;
        if let Some(bias) = bias {
            self.want_vector("layer_norm", bias, x.last_dim())?;
        }
        let op = Op::LayerNorm {
            weight: self.weight(weight),
            bias: bias.map(|bias| self.weight(bias)),
            eps,
        };
        self.push(op, &[x], x.shape.clone(), Dtype::F32)
    }

    /// RMS norm over the last axis (Zhang and Sennrich 2019).
    pub fn rms_norm(&self, x: &Tensor, weight: &TensorData, eps: f32) -> Result<Tensor> {
        self.want_float("rms_norm", &[x])?;
        self.want_vector("rms_norm", weight, x.last_dim())?;
        self.push(
            Op::RmsNorm {
                weight: self.weight(weight),
                eps,
            },
            &[x],
            x.shape.clone(),
            Dtype::F32,
        )
    }

    /// Group norm of `[B, C, ...]` (Wu and He 2018), optionally followed by SiLU.
    pub fn group_norm(
        &self,
        x: &Tensor,
        weight: &TensorData,
        bias: &TensorData,
        groups: usize,
        eps: f32,
        silu: bool,
    ) -> Result<Tensor> {
        self.want_float("group_norm", &[x])?;
        if x.shape.len() < 3 || groups == 0 || !x.dim(1).is_multiple_of(groups) {
            return Err(self.error("group_norm", format!("{:?} in {groups} groups", x.shape)));
        }
        self.want_vector("group_norm", weight, x.dim(1))?;
        self.want_vector("group_norm", bias, x.dim(1))?;
        let op = Op::GroupNorm {
            weight: self.weight(weight),
            bias: self.weight(bias),
            groups,
            eps,
            silu,
        };
        self.push(op, &[x], x.shape.clone(), Dtype::F32)
    }

    /// Two-dimensional convolution of `[B, C, H, W]`.
    pub fn conv2d(
        &self,
        x: &Tensor,
        weight: &TensorData,
        bias: Option<&TensorData>,
        spec: Conv2dSpec,
    ) -> Result<Tensor> {
        self.want_float("conv2d", &[x])?;
        let (&[b, c, h, w], &[o, wc, kh, kw]) = (x.shape(), weight.shape()) else {
            return Err(self.error(
                "conv2d",
                format!(
                    "{:?} with '{}' {:?}",
                    x.shape,
                    weight.name(),
                    weight.shape()
                ),
            ));
        };
        let [top, bottom, left, right] = spec.padding;
        let (ph, pw) = (h + top + bottom, w + left + right);
        if c != wc || ph < kh || pw < kw || spec.stride.contains(&0) {
            return Err(self.error(
                "conv2d",
                format!(
                    "{:?} with '{}' {:?}",
                    x.shape,
                    weight.name(),
                    weight.shape()
                ),
            ));
        }
        if let Some(bias) = bias {
            self.want_vector("conv2d", bias, o)?;
        }
        let shape = vec![
            b,
            o,
            (ph - kh) / spec.stride[0] + 1,
            (pw - kw) / spec.stride[1] + 1,
        ];
        let op = Op::Conv2d {
            weight: self.weight(weight),
            bias: bias.map(|bias| self.weight(bias)),
            spec,
        };
        self.push(op, &[x], shape, Dtype::F32)
    }

    /// Nearest-neighbour scaling of `[B, C, H, W]` to a given height and width.
    pub fn upsample_nearest(&self, x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
        self.want_float("upsample_nearest", &[x])?;
        let &[b, c, _, _] = x.shape() else {
            return Err(self.error("upsample_nearest", format!("{:?}", x.shape)));
        };
        self.push(
            Op::UpsampleNearest,
            &[x],
            vec![b, c, height, width],
            Dtype::F32,
        )
    }

    /// Shape of a declared KV cache.
    pub(super) fn state_shape(&self, state: usize) -> Option<KvShape> {
        self.inner.borrow().states.get(state).copied()
    }

    /// Names a result of the graph.
    pub fn output(&self, name: &str, x: &Tensor) {
        self.inner
            .borrow_mut()
            .outputs
            .push((name.to_owned(), x.id));
    }

    pub(super) fn push_kept(&self, name: &str, x: &Tensor) {
        let kept = (name.to_owned(), x.id);
        self.inner.borrow_mut().kept.push(kept);
    }

    /// The finished graph, without nodes that no output needs. Inputs always stay, so that what a run must be given
    /// does not depend on which outputs were asked for.
    pub fn finish(self) -> Graph {
        let inner = self.inner.into_inner();
        let mut needed = vec![false; inner.nodes.len()];
        for (_, output) in inner.outputs.iter().chain(&inner.kept) {
            needed[output.0] = true;
        }
        for index in (0..inner.nodes.len()).rev() {
            let node = &inner.nodes[index];
            needed[index] |= matches!(node.op, Op::Input { .. } | Op::PagedAttention(_));
            if needed[index] {
                for input in &node.inputs {
                    needed[input.0] = true;
                }
            }
        }
        let mut moved = vec![ValueId(0); inner.nodes.len()];
        let mut nodes = Vec::with_capacity(inner.nodes.len());
        for (index, mut node) in inner.nodes.into_iter().enumerate() {
            if needed[index] {
                for input in &mut node.inputs {
                    *input = moved[input.0];
                }
                moved[index] = ValueId(nodes.len());
                nodes.push(node);
            }
        }
        let renamed = |results: Vec<(String, ValueId)>| {
            let results = results.into_iter();
            results.map(|(name, id)| (name, moved[id.0])).collect()
        };
        let (outputs, kept) = (renamed(inner.outputs), renamed(inner.kept));
        // Weights of nodes that fell away must not be uploaded.
        let mut weights = Vec::new();
        let mut renumbered: HashMap<WeightId, WeightId> = HashMap::new();
        for node in &mut nodes {
            for id in node.op.weights_mut() {
                *id = *renumbered.entry(*id).or_insert_with(|| {
                    weights.push(inner.weights[id.0].clone());
                    WeightId(weights.len() - 1)
                });
            }
        }
        Graph {
            name: self.name,
            nodes,
            weights,
            outputs,
            kept,
            states: inner.states,
        }
    }
}

#[cfg(test)]
#[path = "builder_tests.rs"]
mod tests;
