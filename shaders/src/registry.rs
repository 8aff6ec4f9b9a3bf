//! The kernels by name.

use crate::parameters::{ConvTaps, GemmForm, HeadWidth, KvFormat, MatVecRows, WeightFormat};
use crate::template::{Scope, expand};

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
        /// What it is made for.
        form: GemmForm,
    },
    /// Convolution; the weight is one of [`WeightFormat::PLAIN`].
    Conv2d {
        /// Storage of the weight.
        weight: WeightFormat,
        /// Sizes of windows that it is made for.
        taps: ConvTaps,
        /// Whether the input is seen twice as large in both directions.
        doubled: bool,
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
    /// RMS norm of heads, and their rotary embedding.
    RmsRope,
    /// Group norm of small groups, all at once.
    GroupNorm,
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
    /// The likeliest tokens of rows of logits, and sums over all.
    Candidates,
    /// As [`Kernel::Gemm`], with K in several parts, each of which leaves sums of its own.
    GemmSplit {
        /// Storage of the weight.
        weight: WeightFormat,
        /// What it is made for; not [`GemmForm::Pairs`].
        form: GemmForm,
    },
    /// Adds up what [`Kernel::GemmSplit`] left.
    GemmJoin,
    /// As [`Kernel::Conv2d`], with the sum in several parts, each of which leaves sums of its own.
    Conv2dSplit {
        /// Storage of the weight.
        weight: WeightFormat,
        /// Sizes of windows that it is made for.
        taps: ConvTaps,
        /// Whether the input is seen twice as large in both directions.
        doubled: bool,
    },
    /// Adds up what [`Kernel::Conv2dSplit`] left.
    ConvJoin,
    /// As [`Kernel::PagedAttention`], with the pages dealt out to several workgroups, each of which leaves sums of its own.
    PagedAttentionSplit {
        /// How the cache is kept.
        kv: KvFormat,
    },
    /// Joins what [`Kernel::PagedAttentionSplit`] left.
    PagedAttentionJoin,
    /// As [`Kernel::MatVec`], with sums over subgroups; not portable.
    MatVecSubgroups {
        /// Storage of the weight.
        weight: WeightFormat,
        /// Most rows.
        rows: MatVecRows,
    },
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
    ("cos_sin", include_str!("../wgsl/shared/cos_sin.wgsl")),
    ("epilogue", include_str!("../wgsl/shared/epilogue.wgsl")),
    (
        "epilogue_params",
        include_str!("../wgsl/shared/epilogue_params.wgsl"),
    ),
    (
        "product_place",
        include_str!("../wgsl/shared/product_place.wgsl"),
    ),
    ("sixteen", include_str!("../wgsl/shared/sixteen.wgsl")),
    ("nonlinear4", include_str!("../wgsl/shared/nonlinear4.wgsl")),
    (
        "matvec_params",
        include_str!("../wgsl/shared/matvec_params.wgsl"),
    ),
    (
        "expert_params",
        include_str!("../wgsl/shared/expert_params.wgsl"),
    ),
    (
        "expert_rows",
        include_str!("../wgsl/shared/expert_rows.wgsl"),
    ),
    (
        "expert_sums",
        include_str!("../wgsl/shared/expert_sums.wgsl"),
    ),
    ("load4", include_str!("../wgsl/shared/load4.wgsl")),
    ("tile", include_str!("../wgsl/shared/tile.wgsl")),
    (
        "tile_product",
        include_str!("../wgsl/shared/tile_product.wgsl"),
    ),
    (
        "attention_params",
        include_str!("../wgsl/shared/attention_params.wgsl"),
    ),
    (
        "attention_io",
        include_str!("../wgsl/shared/attention_io.wgsl"),
    ),
    (
        "attention_tile_narrow",
        include_str!("../wgsl/shared/attention_tile_narrow.wgsl"),
    ),
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
            if weight.is_wide() {
                let rows = MatVecRows::OneByEight;
                all.push(Self::MatVec { weight, rows });
                all.push(Self::MatVecSubgroups { weight, rows });
            }
            all.extend(GemmForm::ALL.map(|form| Self::Gemm { weight, form }));
            all.extend(
                [GemmForm::Rows, GemmForm::Columns].map(|form| Self::GemmSplit { weight, form }),
            );
            all.extend([
                Self::Embedding { weight },
                Self::Dequantize { weight },
                Self::ExpertMatVec { weight },
            ]);
        }
        for taps in ConvTaps::ALL {
            for weight in WeightFormat::PLAIN {
                for doubled in [false, true] {
                    all.push(Self::Conv2d {
                        weight,
                        taps,
                        doubled,
                    });
                    all.push(Self::Conv2dSplit {
                        weight,
                        taps,
                        doubled,
                    });
                }
            }
        }
        all.extend(HeadWidth::ALL.map(|width| Self::Attention { width }));
        for kv in KvFormat::ALL {
            all.extend(HeadWidth::ALL.map(|width| Self::PagedAttentionTiles { width, kv }));
            all.push(Self::PagedAttention { kv });
            all.push(Self::PagedAttentionSplit { kv });
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
            Self::RmsRope,
            Self::GroupNorm,
            Self::GroupStats,
            Self::GroupFinish,
            Self::GroupApply,
            Self::UpsampleNearest,
            Self::KvWrite,
            Self::Rope,
            Self::RouteExperts,
            Self::CombineExperts,
            Self::Candidates,
            Self::GemmJoin,
            Self::ConvJoin,
            Self::PagedAttentionJoin,
        ]);
        all
    }

    /// Text, workgroup size and bindings.
    pub fn source(self) -> KernelSource {
        let row = self.row();
        let scope = Scope {
            parameters: &self.parameters(),
            weight: self.reader(),
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
        for (_, value) in self
            .parameters()
            .iter()
            .filter(|(parameter, _)| ["ROWS", "WIDTH", "COLUMNS"].contains(parameter))
        {
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
            | Self::Gemm { weight, .. }
            | Self::GemmSplit { weight, .. }
            | Self::Conv2d { weight, .. }
            | Self::Conv2dSplit { weight, .. }
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
            | Self::PagedAttentionSplit { kv }
            | Self::PagedAttentionTiles { kv, .. }
            | Self::KvPack { kv } => Some(kv),
            _ => None,
        }
    }

    /// Text of the reader of the weight.
    fn reader(self) -> Option<&'static str> {
        let weight = self.weight()?;
        match self {
            Self::MatVec { .. } | Self::MatVecSubgroups { .. } | Self::ExpertMatVec { .. }
                if weight.is_wide() =>
            {
                weight.wide_text()
            }
            _ => Some(weight.text()),
        }
    }

    fn parameters(self) -> Vec<(&'static str, u32)> {
        match self {
            Self::MatVec { weight, rows } | Self::MatVecSubgroups { weight, rows } => vec![
                ("ROWS", rows.count()),
                ("MANY", u32::from(rows.count() > 1)),
                ("QUADS", rows.weight_rows() / 4),
                ("MINIMA", u32::from(weight.has_minima())),
                ("SUBGROUPS", u32::from(self.needs_subgroups())),
            ],
            Self::Gemm { form, .. } => form.parameters(),
            Self::GemmSplit { form, .. } => [vec![("SPLIT", 1)], form.parameters()].concat(),
            Self::Conv2d { taps, doubled, .. } | Self::Conv2dSplit { taps, doubled, .. } => vec![
                ("DOUBLED", u32::from(doubled)),
                ("SPLIT", u32::from(matches!(self, Self::Conv2dSplit { .. }))),
                ("TAPS_1", u32::from(taps == ConvTaps::One)),
                ("TAPS_9", u32::from(taps == ConvTaps::Nine)),
            ],
            Self::PagedAttentionSplit { kv } => [vec![("SPLIT", 1)], kv.parameters()].concat(),
            Self::Attention { width } => vec![width.parameter(), ("KV_F32", 1)],
            Self::PagedAttentionTiles { width, kv } => {
                [vec![width.parameter(), ("PAGED", 1)], kv.parameters()].concat()
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
        let wide = row!(
            "matvec",
            "matvec_wide",
            64,
            21,
            [Read, Read, Read, ReadWrite, Read, Read]
        );
        match self {
            Self::MatVec { weight, rows } if weight.is_wide() => Row {
                name: if rows == MatVecRows::OneByEight {
                    "matvec_by_8"
                } else {
                    "matvec"
                },
                ..wide
            },
            Self::MatVecSubgroups { weight, rows } if weight.is_wide() => Row {
                name: if rows == MatVecRows::OneByEight {
                    "matvec_subgroups_by_8"
                } else {
                    "matvec_subgroups"
                },
                ..wide
            },
            Self::MatVec { .. } => row!(
                "matvec",
                "matvec",
                64,
                21,
                [Read, Read, Read, ReadWrite, Read]
            ),
            Self::MatVecSubgroups { .. } => row!(
                "matvec_subgroups",
                "matvec",
                64,
                21,
                [Read, Read, Read, ReadWrite, Read]
            ),
            Self::Gemm { form, .. } => Row {
                name: match form {
                    GemmForm::Rows => "gemm",
                    GemmForm::Columns => "gemm_columns",
                    GemmForm::Pairs => "gemm_pairs",
                },
                ..row!("gemm", "gemm", 64, 31, [Read, Read, Read, ReadWrite, Read])
            },
            Self::GemmSplit { form, .. } => Row {
                name: match form {
                    GemmForm::Columns => "gemm_columns_split",
                    _ => "gemm_split",
                },
                ..row!("gemm_split", "gemm", 64, 17, [Read, Read, Read, ReadWrite])
            },
            Self::GemmJoin => row!(
                "gemm_join",
                "gemm_join",
                256,
                24,
                [Read, Read, ReadWrite, Read]
            ),
            Self::Conv2d { taps, doubled, .. } => Row {
                name: match (taps, doubled) {
                    (ConvTaps::Any, false) => "conv2d",
                    (ConvTaps::One, false) => "conv2d_1x1",
                    (ConvTaps::Nine, false) => "conv2d_3x3",
                    (ConvTaps::Any, true) => "conv2d_doubled",
                    (ConvTaps::One, true) => "conv2d_1x1_doubled",
                    (ConvTaps::Nine, true) => "conv2d_3x3_doubled",
                },
                ..row!(
                    "conv2d",
                    "conv2d",
                    64,
                    39,
                    [Read, Read, Read, ReadWrite, Read]
                )
            },
            Self::Conv2dSplit { taps, doubled, .. } => Row {
                name: match (taps, doubled) {
                    (ConvTaps::Any, false) => "conv2d_split",
                    (ConvTaps::One, false) => "conv2d_1x1_split",
                    (ConvTaps::Nine, false) => "conv2d_3x3_split",
                    (ConvTaps::Any, true) => "conv2d_doubled_split",
                    (ConvTaps::One, true) => "conv2d_1x1_doubled_split",
                    (ConvTaps::Nine, true) => "conv2d_3x3_doubled_split",
                },
                ..row!("conv2d", "conv2d", 64, 32, [Read, Read, Read, ReadWrite])
            },
            Self::ConvJoin => row!(
                "conv_join",
                "conv_join",
                256,
                18,
                [Read, Read, ReadWrite, Read]
            ),
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
            Self::Binary => row!("binary", "binary", 256, 27, [Read, Read, ReadWrite, Read]),
            Self::Unary => row!("unary", "unary", 256, 17, [Read, ReadWrite, Read]),
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
            Self::RmsRope => row!(
                "rms_rope",
                "rms_rope",
                64,
                14,
                [Read, Read, Read, Read, ReadWrite]
            ),
            Self::GroupNorm => row!(
                "group_norm",
                "group_norm",
                256,
                12,
                [Read, Read, Read, ReadWrite]
            ),
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
            Self::Attention { width } if width.is_narrow() => row!(
                "attention_narrow",
                "attention_narrow",
                64,
                24,
                [Read, Read, Read, ReadWrite, ReadWrite]
            ),
            Self::PagedAttentionTiles { width, .. } if width.is_narrow() => row!(
                "paged_attention_narrow",
                "attention_narrow",
                64,
                26,
                [Read, Read, Read, Read, Read, Read, ReadWrite, ReadWrite]
            ),
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
            Self::PagedAttentionSplit { .. } => row!(
                "paged_attention_split",
                "paged_attention",
                64,
                25,
                [Read, Read, Read, Read, Read, Read, ReadWrite, ReadWrite]
            ),
            Self::PagedAttentionJoin => row!(
                "paged_attention_join",
                "paged_attention_join",
                64,
                6,
                [Read, Read, ReadWrite]
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
            Self::ExpertMatVec { weight } if weight.is_wide() => row!(
                "expert_matvec_wide",
                "expert_matvec_wide",
                64,
                16,
                [Read, Read, Read, ReadWrite, Read]
            ),
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
            Self::Candidates => row!(
                "candidates",
                "candidates",
                64,
                9,
                [Read, Read, Read, ReadWrite]
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
