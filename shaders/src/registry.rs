//! The kernels by name.

use crate::template::{Scope, expand};

/// How a weight lies on the device. The layouts are described in the files of `wgsl/weight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WeightFormat {
    /// 32-bit floats.
    F32,
    /// 16-bit floats, two to a word.
    F16,
    /// Brain floats, two to a word.
    Bf16,
    /// ggml's blocks of 32 bytes with one scale.
    Q8_0,
    /// ggml's blocks of 32 nibbles with one scale.
    Q4_0,
    /// ggml's blocks of 256 nibbles with 6-bit scales and minima.
    Q4K,
    /// ggml's blocks of 256 six-bit values with 8-bit scales.
    Q6K,
    /// ggml's blocks of 32 nibbles with scale and minimum.
    Q4_1,
    /// ggml's blocks of 32 five-bit values with one scale.
    Q5_0,
    /// ggml's blocks of 32 five-bit values with scale and minimum.
    Q5_1,
    /// ggml's blocks of 256 two-bit values with 4-bit scales and minima.
    Q2K,
    /// ggml's blocks of 256 three-bit values with 6-bit scales.
    Q3K,
    /// ggml's blocks of 256 five-bit values with 6-bit scales and minima.
    Q5K,
    /// ggml's blocks of 32 nibbles into a table, with one scale.
    Iq4Nl,
    /// ggml's blocks of 256 nibbles into a table, with 6-bit scales.
    Iq4Xs,
}

impl WeightFormat {
    /// Every format.
    pub const ALL: [Self; 15] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4K,
        Self::Q6K,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q2K,
        Self::Q3K,
        Self::Q5K,
        Self::Iq4Nl,
        Self::Iq4Xs,
    ];
    /// The formats without blocks, which convolutions take.
    pub const PLAIN: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    fn text(self) -> &'static str {
        match self {
            Self::F32 => include_str!("../wgsl/weight/f32.wgsl"),
            Self::F16 => include_str!("../wgsl/weight/f16.wgsl"),
            Self::Bf16 => include_str!("../wgsl/weight/bf16.wgsl"),
            Self::Q8_0 => include_str!("../wgsl/weight/q8_0.wgsl"),
            Self::Q4_0 => include_str!("../wgsl/weight/q4_0.wgsl"),
            Self::Q4K => include_str!("../wgsl/weight/q4_k.wgsl"),
            Self::Q6K => include_str!("../wgsl/weight/q6_k.wgsl"),
            Self::Q4_1 => include_str!("../wgsl/weight/q4_1.wgsl"),
            Self::Q5_0 => include_str!("../wgsl/weight/q5_0.wgsl"),
            Self::Q5_1 => include_str!("../wgsl/weight/q5_1.wgsl"),
            Self::Q2K => include_str!("../wgsl/weight/q2_k.wgsl"),
            Self::Q3K => include_str!("../wgsl/weight/q3_k.wgsl"),
            Self::Q5K => include_str!("../wgsl/weight/q5_k.wgsl"),
            Self::Iq4Nl => include_str!("../wgsl/weight/iq4_nl.wgsl"),
            Self::Iq4Xs => include_str!("../wgsl/weight/iq4_xs.wgsl"),
        }
    }
}

/// Codes of element-wise functions, as `apply_function` of `wgsl/shared/activation.wgsl` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Function {
    /// `x * sigmoid(x)`.
    Silu = 0,
    /// GELU by the error function.
    Gelu = 1,
    /// GELU by tanh.
    GeluTanh = 2,
    /// `x * sigmoid(1.702 x)`.
    QuickGelu = 3,
    /// `max(x, 0)`.
    Relu = 4,
    /// `tanh(x)`.
    Tanh = 5,
    /// `x * a + b`.
    Affine = 6,
    /// `min(max(x, a), b)`.
    Clamp = 7,
    /// `x` where that is positive, else `x * a`.
    LeakyRelu = 8,
}

/// Most rows that a matrix-vector kernel computes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MatVecRows {
    /// One.
    One,
    /// Four.
    Four,
    /// Eight.
    Eight,
}

impl MatVecRows {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::One, Self::Four, Self::Eight];

    /// As a number.
    pub fn count(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }
}

/// Largest head size that an attention kernel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HeadWidth {
    /// 64 elements.
    UpTo64,
    /// 128 elements.
    UpTo128,
    /// 256 elements.
    UpTo256,
    /// 512 elements.
    UpTo512,
}

impl HeadWidth {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::UpTo64, Self::UpTo128, Self::UpTo256, Self::UpTo512];

    /// As a number.
    pub fn elements(self) -> u32 {
        match self {
            Self::UpTo64 => 64,
            Self::UpTo128 => 128,
            Self::UpTo256 => 256,
            Self::UpTo512 => 512,
        }
    }
}

/// One pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kernel {
    /// `x * weight^T + bias` for few rows.
    MatVec {
        /// Storage of the weight.
        weight: WeightFormat,
        /// Most rows.
        rows: MatVecRows,
    },
    /// `x * weight^T + bias` by tiles.
    Gemm {
        /// Storage of the weight.
        weight: WeightFormat,
    },
    /// Convolution; the weight is one of [`WeightFormat::PLAIN`].
    Conv2d {
        /// Storage of the weight.
        weight: WeightFormat,
    },
    /// Rows of a table by ids.
    Embedding {
        /// Storage of the table.
        weight: WeightFormat,
    },
    /// A whole weight in f32.
    Dequantize {
        /// Storage of the weight.
        weight: WeightFormat,
    },
    /// Rows of a value by indices.
    GatherRows,
    /// Strided copy of a box.
    Copy,
    /// Sum or product with broadcast.
    Binary,
    /// Element-wise function.
    Unary,
    /// `f(gate) * up`.
    Gated,
    /// `x[..half] * f(x[half..])`.
    SplitGated,
    /// Layer norm.
    LayerNorm,
    /// RMS norm.
    RmsNorm,
    /// Group norm: statistics of parts.
    GroupStats,
    /// Group norm: parts joined.
    GroupFinish,
    /// Group norm: applied.
    GroupApply,
    /// Nearest-neighbour scaling.
    UpsampleNearest,
    /// Attention by tiles.
    Attention {
        /// Largest head size.
        width: HeadWidth,
    },
    /// Attention of few rows over a paged cache.
    PagedAttention {
        /// How the cache is kept.
        kv: KvFormat,
    },
    /// Attention of many rows over a paged cache, by tiles.
    PagedAttentionTiles {
        /// Largest head size.
        width: HeadWidth,
        /// How the cache is kept.
        kv: KvFormat,
    },
    /// Rows into the slots of a paged cache, as they are.
    KvWrite,
    /// Rows into the slots of a paged cache, packed.
    KvPack {
        /// How the cache is kept; not [`KvFormat::F32`].
        kv: KvFormat,
    },
    /// Rotary position embedding.
    Rope,
    /// The experts of each row, and their weights.
    RouteExperts,
    /// Rows through the matrices of their experts.
    ExpertMatVec {
        /// Storage of the weights.
        weight: WeightFormat,
    },
    /// What the experts of a row made, added up.
    CombineExperts,
    /// As [`Kernel::MatVec`], with sums over subgroups; not portable.
    MatVecSubgroups {
        /// Storage of the weight.
        weight: WeightFormat,
        /// Most rows.
        rows: MatVecRows,
    },
}

/// How keys and values are kept in a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KvFormat {
    /// 32-bit floats.
    F32,
    /// Pairs of 16-bit floats.
    F16,
    /// Four 8-bit integers a word, and behind those of a head a 16-bit scale for each 32.
    Q8,
}

impl KvFormat {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Q8];

    fn parameters(self) -> Vec<(&'static str, u32)> {
        match self {
            Self::F32 => vec![("KV_F32", 1)],
            Self::F16 => vec![("KV_F16", 1), ("KV_PACKED", 1)],
            Self::Q8 => vec![("KV_Q8", 1), ("KV_PACKED", 1)],
        }
    }
}

/// How a kernel uses a storage buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binding {
    /// Read only.
    Read,
    /// Written, or read and written.
    ReadWrite,
}

/// What a pipeline is made from.
#[derive(Clone, Debug)]
pub struct KernelSource {
    /// Name for labels and profiles, such as `gemm q8_0`.
    pub name: String,
    /// WGSL.
    pub source: String,
    /// Entry point.
    pub entry: &'static str,
    /// Invocations of a workgroup.
    pub workgroup: [u32; 3],
    /// Storage buffers from binding 1 on; binding 0 is the uniform block.
    pub bindings: &'static [Binding],
    /// Words of the uniform block.
    pub uniform_words: u32,
}

const INCLUDES: &[(&str, &str)] = &[
    ("grid", include_str!("../wgsl/shared/grid.wgsl")),
    ("reduce", include_str!("../wgsl/shared/reduce.wgsl")),
    ("activation", include_str!("../wgsl/shared/activation.wgsl")),
    ("load4", include_str!("../wgsl/shared/load4.wgsl")),
    ("tile", include_str!("../wgsl/shared/tile.wgsl")),
    (
        "attention_tile",
        include_str!("../wgsl/shared/attention_tile.wgsl"),
    ),
];

use Binding::{Read, ReadWrite};

impl Kernel {
    /// Every kernel that there is.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for weight in WeightFormat::ALL {
            all.extend(MatVecRows::ALL.map(|rows| Self::MatVec { weight, rows }));
            all.extend(MatVecRows::ALL.map(|rows| Self::MatVecSubgroups { weight, rows }));
            all.extend([
                Self::Gemm { weight },
                Self::Embedding { weight },
                Self::Dequantize { weight },
                Self::ExpertMatVec { weight },
            ]);
        }
        all.extend(WeightFormat::PLAIN.map(|weight| Self::Conv2d { weight }));
        all.extend(HeadWidth::ALL.map(|width| Self::Attention { width }));
        for kv in KvFormat::ALL {
            all.extend(HeadWidth::ALL.map(|width| Self::PagedAttentionTiles { width, kv }));
            all.push(Self::PagedAttention { kv });
        }
        all.extend([KvFormat::F16, KvFormat::Q8].map(|kv| Self::KvPack { kv }));
        all.extend([
            Self::GatherRows,
            Self::Copy,
            Self::Binary,
            Self::Unary,
            Self::Gated,
            Self::SplitGated,
            Self::LayerNorm,
            Self::RmsNorm,
            Self::GroupStats,
            Self::GroupFinish,
            Self::GroupApply,
            Self::UpsampleNearest,
            Self::KvWrite,
            Self::Rope,
            Self::RouteExperts,
            Self::CombineExperts,
        ]);
        all
    }

    /// Text, workgroup size and bindings.
    pub fn source(self) -> KernelSource {
        let row = self.row();
        let scope = Scope {
            parameters: &self.parameters(),
            weight: self.weight().map(WeightFormat::text),
            includes: INCLUDES,
        };
        KernelSource {
            name: self.name(),
            source: expand(row.text, &scope),
            entry: "main",
            workgroup: [row.lanes, 1, 1],
            bindings: row.bindings,
            uniform_words: row.uniform_words,
        }
    }

    /// Short name for labels and profiles.
    pub fn name(self) -> String {
        let mut name = self.row().name.to_owned();
        if let Some(weight) = self.weight() {
            name.push_str(&format!(" {weight:?}").to_lowercase());
        }
        for (_, value) in self.parameters().iter().filter(|(parameter, _)| {
            !["IDS", "PAGED", "SUBGROUPS"].contains(parameter) && !parameter.starts_with("KV_")
        }) {
            name.push_str(&format!(" x{value}"));
        }
        if let Some(kv) = self.kv().filter(|kv| *kv != KvFormat::F32) {
            name.push_str(&format!(" {kv:?}").to_lowercase());
        }
        name
    }

    /// Whether the device must offer subgroups.
    pub fn needs_subgroups(self) -> bool {
        matches!(self, Self::MatVecSubgroups { .. })
    }

    /// Storage buffers from binding 1 on.
    pub fn bindings(self) -> &'static [Binding] {
        self.row().bindings
    }

    /// Words of the uniform block.
    pub fn uniform_words(self) -> u32 {
        self.row().uniform_words
    }

    /// The weight format, for kernels that come in several.
    pub fn weight(self) -> Option<WeightFormat> {
        match self {
            Self::MatVec { weight, .. }
            | Self::MatVecSubgroups { weight, .. }
            | Self::Gemm { weight }
            | Self::Conv2d { weight }
            | Self::Embedding { weight }
            | Self::Dequantize { weight }
            | Self::ExpertMatVec { weight } => Some(weight),
            _ => None,
        }
    }

    /// How the cache is kept, for kernels that read or write one.
    fn kv(self) -> Option<KvFormat> {
        match self {
            Self::PagedAttention { kv }
            | Self::PagedAttentionTiles { kv, .. }
            | Self::KvPack { kv } => Some(kv),
            _ => None,
        }
    }

    fn parameters(self) -> Vec<(&'static str, u32)> {
        match self {
            Self::MatVec { rows, .. } => vec![("ROWS", rows.count())],
            Self::MatVecSubgroups { rows, .. } => vec![("ROWS", rows.count()), ("SUBGROUPS", 1)],
            // Each lane holds four elements of every 64.
            Self::Attention { width } => vec![("WIDTH", width.elements() / 64), ("KV_F32", 1)],
            Self::PagedAttentionTiles { width, kv } => {
                let tiles = vec![("WIDTH", width.elements() / 64), ("PAGED", 1)];
                [tiles, kv.parameters()].concat()
            }
            Self::PagedAttention { kv } | Self::KvPack { kv } => kv.parameters(),
            Self::Embedding { .. } => vec![("IDS", 1)],
            _ => Vec::new(),
        }
    }

    fn row(self) -> Row {
        macro_rules! row {
            ($name:literal, $file:literal, $lanes:literal, $words:literal, [$($binding:ident),*]) => {
                Row {
                    name: $name,
                    text: include_str!(concat!("../wgsl/", $file, ".wgsl")),
                    lanes: $lanes,
                    uniform_words: $words,
                    bindings: &[$($binding),*],
                }
            };
        }
        match self {
            Self::MatVec { .. } => row!("matvec", "matvec", 64, 12, [Read, Read, Read, ReadWrite]),
            Self::MatVecSubgroups { .. } => row!(
                "matvec_subgroups",
                "matvec",
                64,
                12,
                [Read, Read, Read, ReadWrite]
            ),
            Self::Gemm { .. } => row!("gemm", "gemm", 256, 13, [Read, Read, Read, ReadWrite]),
            Self::Conv2d { .. } => row!("conv2d", "conv2d", 256, 30, [Read, Read, Read, ReadWrite]),
            Self::Embedding { .. } => row!("embedding", "rows", 256, 10, [Read, Read, ReadWrite]),
            Self::Dequantize { .. } => row!("dequantize", "rows", 256, 10, [Read, ReadWrite]),
            Self::GatherRows => row!(
                "gather_rows",
                "gather_rows",
                256,
                9,
                [Read, Read, ReadWrite]
            ),
            Self::Copy => row!("copy", "copy", 256, 16, [Read, ReadWrite]),
            Self::Binary => row!("binary", "binary", 256, 18, [Read, Read, ReadWrite]),
            Self::Unary => row!("unary", "unary", 256, 8, [Read, ReadWrite]),
            Self::Gated => row!("gated", "gated", 256, 7, [Read, Read, ReadWrite]),
            Self::SplitGated => row!("split_gated", "split_gated", 256, 7, [Read, ReadWrite]),
            Self::LayerNorm => row!(
                "layer_norm",
                "layer_norm",
                64,
                10,
                [Read, Read, Read, ReadWrite]
            ),
            Self::RmsNorm => row!("rms_norm", "rms_norm", 64, 8, [Read, Read, ReadWrite]),
            Self::GroupStats => row!("group_stats", "group_stats", 64, 9, [Read, ReadWrite]),
            Self::GroupFinish => row!("group_finish", "group_finish", 64, 7, [Read, ReadWrite]),
            Self::GroupApply => row!(
                "group_apply",
                "group_apply",
                256,
                12,
                [Read, Read, Read, Read, ReadWrite]
            ),
            Self::UpsampleNearest => row!("upsample", "upsample", 256, 11, [Read, ReadWrite]),
            Self::Attention { .. } => {
                row!(
                    "attention",
                    "attention",
                    256,
                    24,
                    [Read, Read, Read, ReadWrite, ReadWrite]
                )
            }
            Self::PagedAttention { .. } => row!(
                "paged_attention",
                "paged_attention",
                64,
                24,
                [Read, Read, Read, Read, Read, Read, ReadWrite, ReadWrite]
            ),
            Self::PagedAttentionTiles { .. } => row!(
                "paged_attention_tiles",
                "attention",
                256,
                26,
                [Read, Read, Read, Read, Read, Read, ReadWrite, ReadWrite]
            ),
            Self::KvWrite => row!(
                "kv_write",
                "kv_write",
                256,
                11,
                [Read, Read, Read, ReadWrite, ReadWrite]
            ),
            Self::KvPack { .. } => row!(
                "kv_pack",
                "kv_pack",
                256,
                12,
                [Read, Read, Read, ReadWrite, ReadWrite]
            ),
            Self::Rope => row!("rope", "rope", 256, 12, [Read, Read, Read, ReadWrite]),
            Self::RouteExperts => row!("route_experts", "route_experts", 64, 8, [Read, ReadWrite]),
            Self::ExpertMatVec { .. } => row!(
                "expert_matvec",
                "expert_matvec",
                64,
                16,
                [Read, Read, Read, ReadWrite]
            ),
            Self::CombineExperts => row!(
                "combine_experts",
                "combine_experts",
                256,
                8,
                [Read, Read, ReadWrite]
            ),
        }
    }
}

/// What is fixed about a kernel.
struct Row {
    name: &'static str,
    text: &'static str,
    lanes: u32,
    uniform_words: u32,
    bindings: &'static [Binding],
}
