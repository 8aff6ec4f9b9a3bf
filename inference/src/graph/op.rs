//! The ops. They are semantic (attention, not matmul + softmax + matmul), so that each executor can choose how.

use super::WeightId;

/// Functions applied element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * Phi(x)` by the error function, as `torch.nn.functional.gelu`.
    Gelu,
    /// The tanh approximation of GELU (`gelu_pytorch_tanh`, `gelu_new`).
    GeluTanh,
    /// `x * sigmoid(1.702 x)`, OpenAI CLIP's GELU.
    QuickGelu,
    /// `max(x, 0)`.
    Relu,
}

/// One-operand element-wise ops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UnaryKind {
    /// An activation function.
    Activation(Activation),
    /// `tanh(x)`.
    Tanh,
    /// `x * factor + offset`.
    Affine {
        /// Multiplier.
        factor: f32,
        /// Added after multiplication.
        offset: f32,
    },
    /// `min(max(x, low), high)`.
    Clamp {
        /// Lower bound.
        low: f32,
        /// Upper bound.
        high: f32,
    },
    /// `x` where that is positive, else `x * slope`.
    LeakyRelu {
        /// Factor on what is negative.
        slope: f32,
    },
}

impl From<Activation> for UnaryKind {
    fn from(activation: Activation) -> Self {
        Self::Activation(activation)
    }
}

/// Two-operand element-wise ops with broadcasting of the second operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryKind {
    /// `a + b`.
    Add,
    /// `a * b`.
    Mul,
}

/// Strides and paddings of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dSpec {
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Zero padding: top, bottom, left, right.
    pub padding: [usize; 4],
}

impl Conv2dSpec {
    /// Stride 1 and padding that keeps the size for an odd kernel `k` x `k`.
    pub fn same(k: usize) -> Self {
        Self {
            stride: [1, 1],
            padding: [k / 2; 4],
        }
    }

    /// Equal stride and equal padding in both directions.
    pub fn new(stride: usize, padding: usize) -> Self {
        Self {
            stride: [stride; 2],
            padding: [padding; 4],
        }
    }
}

/// Which elements of a head are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RopeStyle {
    /// Element `i` with element `i + n/2` (GPT-NeoX, Hugging Face Llama).
    Half,
    /// Element `2i` with element `2i + 1` (GPT-J, GGUF's `llama` architecture).
    Interleaved,
}

/// Attention over a paged KV cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PagedAttentionSpec {
    /// Index into [`super::Graph::states`] (and into the states bound to a run).
    pub state: usize,
    /// Decoder layer within the cache.
    pub layer: usize,
    /// Query heads; a multiple of the cache's key/value heads.
    pub heads: usize,
    /// Factor on the scores, usually `1/sqrt(head_dim)`.
    pub scale: f32,
    /// Soft cap `c` on the scaled scores, which become `c * tanh(score / c)` (Gemma 2); above 0.
    pub softcap: Option<f32>,
    /// Sliding window: a row sees this many positions, its own the last of them; above 0.
    pub window: Option<usize>,
}

/// At or below this a mask of [`Op::Attention`] hides a key; torch's `finfo.min`, which models write for that, is far below.
pub const HIDDEN: f32 = -1e30;

/// What a node computes. Shapes in the comments are those of the operands in the node's `inputs`.
#[derive(Clone, Debug)]
pub enum Op {
    /// A value given at each run, by name.
    Input {
        /// Unique name within the graph.
        name: String,
    },
    /// A weight as a value (dequantised to f32), such as position embeddings.
    Constant {
        /// The weight.
        weight: WeightId,
    },
    /// The same elements in another shape; a view, never a copy.
    Reshape,
    /// Axes reordered: output axis `i` is input axis `axes[i]`.
    Permute {
        /// A permutation.
        axes: Vec<usize>,
    },
    /// Operands joined along one axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// `len` positions from `start` along one axis.
    Slice {
        /// The axis.
        axis: usize,
        /// First position.
        start: usize,
        /// Number of positions.
        len: usize,
    },
    /// `x [.., K] -> [.., N]`: `x * weight^T + bias`, weight `[N, K]`, bias `[N]`.
    Linear {
        /// `[N, K]`, any storage type.
        weight: WeightId,
        /// `[N]`.
        bias: Option<WeightId>,
    },
    /// `ids u32 [..] -> [.., D]`: rows of a table `[V, D]`. Ids are below `V`, which the caller checks.
    Embedding {
        /// `[V, D]`, any storage type.
        table: WeightId,
    },
    /// `x [rows, D], indices u32 [m] -> [m, D]`. Indices are below `rows`, which the caller checks.
    GatherRows,
    /// `a op b`; `b`'s shape is `a`'s, or has ones (or missing leading axes) that are broadcast. The output has `a`'s shape.
    Binary(BinaryKind),
    /// Element-wise function.
    Unary(UnaryKind),
    /// `gate, up` of one shape: `act(gate) * up` (SwiGLU and kin).
    Gated {
        /// Activation of the gate.
        activation: Activation,
    },
    /// `x [.., 2D] -> [.., D]`: `x[.., ..D] * act(x[.., D..])` (GEGLU as diffusers has it).
    SplitGated {
        /// Activation of the second half.
        activation: Activation,
    },
    /// Over the last axis; weight and bias `[D]`.
    LayerNorm {
        /// Gain `[D]`.
        weight: WeightId,
        /// Offset `[D]`.
        bias: Option<WeightId>,
        /// Added to the variance.
        eps: f32,
    },
    /// Over the last axis; weight `[D]`.
    RmsNorm {
        /// Gain `[D]`.
        weight: WeightId,
        /// Added to the mean square.
        eps: f32,
    },
    /// `x [B, C, H, W]` (or `[B, C, L]`); weight and bias `[C]`; optionally followed by SiLU.
    GroupNorm {
        /// Gain `[C]`.
        weight: WeightId,
        /// Offset `[C]`.
        bias: WeightId,
        /// Number of groups, divides `C`.
        groups: usize,
        /// Added to the variance.
        eps: f32,
        /// Whether SiLU follows.
        silu: bool,
    },
    /// `x [B, C, H, W] -> [B, O, H', W']`; weight `[O, C, kh, kw]`, bias `[O]`.
    Conv2d {
        /// `[O, C, kh, kw]`, f32, f16 or bf16.
        weight: WeightId,
        /// `[O]`.
        bias: Option<WeightId>,
        /// Strides and paddings.
        spec: Conv2dSpec,
    },
    /// `x [B, C, H, W] -> [B, C, H', W']`, nearest neighbour, source index `floor(i * H / H')` as torch's `nearest`.
    UpsampleNearest,
    /// `q [B, Lq, heads*d], k, v [B, Lk, kv_heads*d] -> [B, Lq, heads*d]`: softmax(q k^T * scale) v per head.
    ///
    /// A fourth operand, if there is one, is a mask `[B or 1, heads or 1, Lq, Lk]`: softmax(q k^T * scale + mask) v, as torch's
    /// `scaled_dot_product_attention` takes a float `attn_mask`. It hides padding, or words from the regions of a picture that they are not for, and
    /// carries relative positions (T5). Where it is [`HIDDEN`] or less (negative infinity, say) or NaN, the query does not see the key; with `causal`
    /// it sees what both let it see. A query that sees no key gives zeros, never NaN.
    Attention {
        /// Query heads.
        heads: usize,
        /// Key/value heads; divides `heads`.
        kv_heads: usize,
        /// Factor on the scores.
        scale: f32,
        /// Whether a query sees only keys at or before its own place (`Lq == Lk`).
        causal: bool,
    },
    /// `x [rows, heads*d], positions u32 [rows] -> [rows, heads*d]`: rotary position embedding of the first
    /// `2 * n` elements of every head, where `n` is the length of the inverse frequencies. Rows whose position is
    /// [`super::NO_SLOT`] are padding; what is computed for them is not used.
    Rope {
        /// Number of heads.
        heads: usize,
        /// Inverse frequencies `[n]`, f32, scaling already applied.
        inv_freq: WeightId,
        /// Pairing.
        style: RopeStyle,
        /// Factor on sine and cosine (YaRN's attention factor; otherwise 1).
        magnitude: f32,
    },
    /// `q [rows, heads*d], k, v [rows, kv_heads*d], positions u32 [rows], write_slots u32 [rows], sequences u32 [rows],
    /// block_tables u32 [sequences, max_pages] -> [rows, heads*d]`.
    ///
    /// First `k` and `v` of every row are written to slot `write_slots[row]` of the layer's cache ([`super::NO_SLOT`]: not
    /// written). Then row `r` attends to positions `0..=positions[r]` of sequence `sequences[r]`, where position `p` lies in
    /// slot `block_tables[sequence][p / 64] * 64 + p % 64`; with a window of `w` only to the last `w` of these positions. A row whose position is [`super::NO_SLOT`] gives zeros.
    PagedAttention(PagedAttentionSpec),
    /// `logits [rows, experts] -> [rows, 2 * used]`: the routes of a mixture of experts (Shazeer et al. 2017). The first half of a row holds the numbers of the
    /// experts with the largest logits, largest first and the lower number first of equals (whole numbers as floats, always below `experts`); the second half
    /// their weights: the softmax over all experts, or, `normalised`, over those chosen.
    RouteExperts {
        /// Experts that a row uses.
        used: usize,
        /// Whether the weights of a row add up to 1.
        normalised: bool,
    },
    /// `x [rows, K] or [rows * used, K], routes [rows, 2 * used] -> [rows * used, N]`: each row through the matrices of its experts. Row `r * used + j` is
    /// that of the `j`-th expert of row `r`.
    ExpertLinear {
        /// `[experts * N, K]`, one expert after the other, any storage type; or as many `[N, K]` as there are experts.
        weights: Vec<WeightId>,
        /// Number of experts.
        experts: usize,
    },
    /// `y [rows * used, N], routes [rows, 2 * used] -> [rows, N]`: what the experts of a row made, added up by their weights.
    CombineExperts,
    /// `logits [rows, width], extras u32 [rows, EXTRAS], inverse_temperatures [rows] -> [rows, ROW_WORDS]`: the best of the first `tokens` logits of each
    /// row, sums over all of them, and those of `extras` (0 for [`super::NO_SLOT`] and others that are no token), as [`super::candidates`] describes it.
    Candidates {
        /// Logits of a row that belong to tokens; those behind are padding.
        tokens: usize,
    },
    /// `told [rows, ROW_WORDS], settings [rows, DRAW_WORDS] -> u32 [rows]`: a token drawn from what [`Op::Candidates`] tells of each row, as
    /// [`super::draw`] describes it. Always below the number of tokens; 0 for a row of which no token is told.
    Draw,
}

impl Op {
    /// Short name for errors and profiles.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input { .. } => "input",
            Self::Constant { .. } => "constant",
            Self::Reshape => "reshape",
            Self::Permute { .. } => "permute",
            Self::Concat { .. } => "concat",
            Self::Slice { .. } => "slice",
            Self::Linear { .. } => "linear",
            Self::Embedding { .. } => "embedding",
            Self::GatherRows => "gather_rows",
            Self::Binary(BinaryKind::Add) => "add",
            Self::Binary(BinaryKind::Mul) => "mul",
            Self::Unary(_) => "unary",
            Self::Gated { .. } => "gated",
            Self::SplitGated { .. } => "split_gated",
            Self::LayerNorm { .. } => "layer_norm",
            Self::RmsNorm { .. } => "rms_norm",
            Self::GroupNorm { .. } => "group_norm",
            Self::Conv2d { .. } => "conv2d",
            Self::UpsampleNearest => "upsample_nearest",
            Self::Attention { .. } => "attention",
            Self::Rope { .. } => "rope",
            Self::PagedAttention(_) => "paged_attention",
            Self::RouteExperts { .. } => "route_experts",
            Self::ExpertLinear { .. } => "expert_linear",
            Self::CombineExperts => "combine_experts",
            Self::Candidates { .. } => "candidates",
            Self::Draw => "draw",
        }
    }

    /// The weights that the op reads.
    pub fn weights(&self) -> Vec<WeightId> {
        // One list serves reading and renumbering, so that an op with a new weight cannot be in one and not the other.
        self.clone()
            .weights_mut()
            .into_iter()
            .map(|id| *id)
            .collect()
    }

    pub(crate) fn weights_mut(&mut self) -> Vec<&mut WeightId> {
        match self {
            Self::Constant { weight }
            | Self::Embedding { table: weight }
            | Self::RmsNorm { weight, .. } => vec![weight],
            Self::Rope { inv_freq, .. } => vec![inv_freq],
            Self::GroupNorm { weight, bias, .. } => vec![weight, bias],
            Self::Linear { weight, bias }
            | Self::LayerNorm { weight, bias, .. }
            | Self::Conv2d { weight, bias, .. } => {
                std::iter::once(weight).chain(bias.as_mut()).collect()
            }
            Self::Input { .. }
            | Self::Reshape
            | Self::Permute { .. }
            | Self::Concat { .. }
            | Self::Slice { .. }
            | Self::GatherRows
            | Self::Binary(_)
            | Self::Unary(_)
            | Self::Gated { .. }
            | Self::SplitGated { .. }
            | Self::UpsampleNearest
            | Self::Attention { .. }
            | Self::PagedAttention(_)
            | Self::RouteExperts { .. }
            | Self::CombineExperts
            | Self::Candidates { .. }
            | Self::Draw => Vec::new(),
            Self::ExpertLinear { weights, .. } => weights.iter_mut().collect(),
        }
    }
}
