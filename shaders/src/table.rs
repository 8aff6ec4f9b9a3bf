//! What is fixed about each kernel: its text, its lanes, its bindings.

use crate::chain::Chain;
use crate::parameters::{ConvTaps, GemmForm};
use crate::registry::{Binding, Kernel};

use Binding::{Read, ReadWrite};

impl Kernel {
    pub(crate) fn row(self) -> Row {
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
            33,
            [Read, Read, Read, ReadWrite, Read, Read]
        );
        match self {
            Self::MatVec { weight, rows } if weight.is_wide() => Row {
                name: if rows.weight_rows() == 8 {
                    "matvec_by_8"
                } else {
                    "matvec"
                },
                ..wide
            },
            Self::MatVecSubgroups { rows, .. } if rows.is_across() => row!(
                "matvec_across",
                "matvec_across",
                16,
                33,
                [Read, Read, Read, ReadWrite, Read, Read]
            ),
            Self::MatVecSubgroups { weight, rows } if weight.is_wide() => Row {
                name: if rows.weight_rows() == 8 {
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
                33,
                [Read, Read, Read, ReadWrite, Read]
            ),
            Self::MatVecSubgroups { .. } => row!(
                "matvec_subgroups",
                "matvec",
                64,
                33,
                [Read, Read, Read, ReadWrite, Read]
            ),
            Self::Gemm { form, .. } => Row {
                name: match form {
                    GemmForm::Rows => "gemm",
                    GemmForm::Columns => "gemm_columns",
                    GemmForm::Pairs => "gemm_pairs",
                },
                ..row!("gemm", "gemm", 64, 41, [Read, Read, Read, ReadWrite, Read])
            },
            Self::GemmSplit { form, .. } => Row {
                name: match form {
                    GemmForm::Columns => "gemm_columns_split",
                    _ => "gemm_split",
                },
                ..row!("gemm_split", "gemm", 64, 17, [Read, Read, Read, ReadWrite])
            },
            Self::GemmAcross { columns, .. } => Row {
                name: if columns {
                    "gemm_across_columns"
                } else {
                    "gemm_across"
                },
                ..row!(
                    "gemm_across",
                    "gemm_across",
                    8,
                    40,
                    [Read, Read, Read, ReadWrite, Read, Read]
                )
            },
            Self::AttentionAcross { mask: true, .. } => row!(
                "attention_across",
                "attention_across",
                8,
                23,
                [Read, Read, Read, ReadWrite, Read]
            ),
            Self::AttentionAcross { .. } => row!(
                "attention_across",
                "attention_across",
                8,
                19,
                [Read, Read, Read, ReadWrite]
            ),
            Self::ConvUnfoldRows => row!(
                "conv_unfold_rows",
                "conv_unfold_rows",
                64,
                10,
                [Read, ReadWrite, Read]
            ),
            Self::ConvUnfold { taps, doubled } => Row {
                name: match (taps, doubled) {
                    (ConvTaps::Any, false) => "conv_unfold",
                    (ConvTaps::One, false) => "conv_unfold_1x1",
                    (ConvTaps::Nine, false) => "conv_unfold_3x3",
                    (ConvTaps::Any, true) => "conv_unfold_doubled",
                    (ConvTaps::One, true) => "conv_unfold_1x1_doubled",
                    (ConvTaps::Nine, true) => "conv_unfold_3x3_doubled",
                },
                ..row!("conv_unfold", "conv_unfold", 64, 18, [Read, ReadWrite])
            },
            Self::GemmJoin => row!(
                "gemm_join",
                "gemm_join",
                256,
                34,
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
            Self::Attention { width, mask: true } if width.is_narrow() => row!(
                "attention_narrow",
                "attention_narrow",
                64,
                28,
                [Read, Read, Read, ReadWrite, ReadWrite, Read]
            ),
            Self::Attention { mask: true, .. } => row!(
                "attention",
                "attention",
                256,
                28,
                [Read, Read, Read, ReadWrite, ReadWrite, Read]
            ),
            Self::Attention { width, .. } if width.is_narrow() => row!(
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
            Self::PagedAttentionAcross { .. } => row!(
                "paged_attention_across",
                "paged_attention_across",
                8,
                21,
                [Read, Read, Read, Read, Read, Read, ReadWrite]
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
            Self::Draw => row!("draw", "draw", 64, 6, [Read, Read, ReadWrite]),
            Self::PagedHeads { .. } => row!(
                "paged_heads",
                "paged_heads",
                64,
                25,
                [
                    Read, Read, Read, Read, Read, ReadWrite, ReadWrite, ReadWrite
                ]
            ),
            Self::Chain { chain } => Row {
                uniform_words: u32::try_from(chain.uniform_words()).unwrap_or(u32::MAX),
                bindings: CHAINED.get(..2 + chain.values()).unwrap_or(&CHAINED),
                ..row!("chain", "chain", 256, 0, [])
            },
            Self::Mixture => row!("mixture", "mixture", 256, 4, [Read, ReadWrite, ReadWrite]),
            Self::GuidanceSpread => row!(
                "guidance_spread",
                "guidance_spread",
                256,
                4,
                [Read, ReadWrite, ReadWrite]
            ),
        }
    }
}

/// Bindings of a chain: the result, the operand, and the values that are met.
static CHAINED: [Binding; 2 + Chain::VALUES] = [ReadWrite, Read, Read, Read, Read, Read, Read];

/// What is fixed about a kernel.
pub(crate) struct Row {
    pub name: &'static str,
    pub text: &'static str,
    pub lanes: u32,
    pub uniform_words: u32,
    pub bindings: &'static [Binding],
}
