//! The kernels by name.

use crate::chain::Chain;
use crate::parameters::{
    AcrossEnd, AcrossHead, AcrossRows, ConvTaps, GemmForm, HeadWidth, KvFormat, MatVecRows, Tile,
    WeightFormat,
};
use crate::template::{Scope, expand};

/// One pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kernel {
    /// `x * weight^T + bias` for few rows.
    MatVec {
        /// Storage of the weight.
        weight: WeightFormat,
        /// Rows.
        rows: MatVecRows,
    },
    /// `x * weight^T + bias` by tiles.
    Gemm {
        /// Storage of the weight.
        weight: WeightFormat,
        /// What it is made for.
        form: GemmForm,
        /// How the weight lies where it is multiplied.
        tile: Tile,
    },
    /// Convolution; the weight is one of [`WeightFormat::PLAIN`].
    Conv2d {
        /// Storage of the weight.
        weight: WeightFormat,
        /// Sizes of windows that it is made for.
        taps: ConvTaps,
        /// Whether the input is seen twice as large in both directions.
        doubled: bool,
        /// How the weight lies where it is multiplied.
        tile: Tile,
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
        /// Whether a mask is added to the scores.
        mask: bool,
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
    /// A token drawn from the likeliest.
    Draw,
    /// As [`Kernel::Gemm`], with K in several parts, each of which leaves sums of its own.
    GemmSplit {
        /// Storage of the weight.
        weight: WeightFormat,
        /// What it is made for; not [`GemmForm::Pairs`].
        form: GemmForm,
        /// How the weight lies where it is multiplied.
        tile: Tile,
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
        /// How the weight lies where it is multiplied.
        tile: Tile,
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
        /// Rows.
        rows: MatVecRows,
    },
    /// `x * weight^T + bias` by tiles whose lanes each have weight rows to themselves, where memory is read lane by lane whatever its order; for subgroups
    /// of eight lanes at least.
    GemmAcross {
        /// Storage of the weight.
        weight: WeightFormat,
        /// Rows of a tile.
        rows: AcrossRows,
        /// Whether `x` lies in columns, `[B, K, plane]`.
        columns: bool,
        /// What follows.
        end: AcrossEnd,
    },
    /// What the windows of a convolution see, as a matrix in columns: what [`Kernel::GemmAcross`] multiplies with the weights.
    ConvUnfold {
        /// Sizes of windows that it is made for.
        taps: ConvTaps,
        /// Whether the input is seen twice as large in both directions.
        doubled: bool,
    },
    /// As [`Kernel::ConvUnfold`], for windows of 3 x 3 that move by one pixel over a picture with an edge of one, and widths of whole multiples of four.
    ConvUnfoldRows,
    /// As [`Kernel::Attention`], by lanes that each have queries to themselves, where memory is read lane by lane whatever its order; for subgroups of eight
    /// lanes at least.
    AttentionAcross {
        /// Head size.
        head: AcrossHead,
        /// Whether a mask is added to the scores.
        mask: bool,
    },
    /// As [`Kernel::PagedAttention`], where memory is read lane by lane whatever its order; for subgroups of eight lanes at least. Two heads a workgroup.
    PagedAttentionAcross {
        /// How the cache is kept.
        kv: KvFormat,
    },
    /// Element-wise steps one after the other.
    Chain {
        /// Which.
        chain: Chain,
    },
    /// Vectors from vectors by factors that change from run to run.
    Mixture,
    /// The correction of guidance by the spread of what is mixed.
    GuidanceSpread,
    /// Heads made ready for attention over a paged cache: queries and keys normalised and rotated, keys and values written into the cache.
    PagedHeads {
        /// How the cache is kept; not [`KvFormat::Q8`].
        kv: KvFormat,
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
    (
        "mixture_program",
        include_str!("../wgsl/shared/mixture_program.wgsl"),
    ),
    ("reduce", include_str!("../wgsl/shared/reduce.wgsl")),
    ("activation", include_str!("../wgsl/shared/activation.wgsl")),
    ("functions", include_str!("../wgsl/shared/functions.wgsl")),
    ("rms_scale", include_str!("../wgsl/shared/rms_scale.wgsl")),
    ("rope_pair", include_str!("../wgsl/shared/rope_pair.wgsl")),
    (
        "product_params",
        include_str!("../wgsl/shared/product_params.wgsl"),
    ),
    (
        "attention_begin",
        include_str!("../wgsl/shared/attention_begin.wgsl"),
    ),
    (
        "attention_sweep",
        include_str!("../wgsl/shared/attention_sweep.wgsl"),
    ),
    (
        "attention_step",
        include_str!("../wgsl/shared/attention_step.wgsl"),
    ),
    (
        "paged_params",
        include_str!("../wgsl/shared/paged_params.wgsl"),
    ),
    (
        "paged_values",
        include_str!("../wgsl/shared/paged_values.wgsl"),
    ),
    ("box_index", include_str!("../wgsl/shared/box_index.wgsl")),
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
    ("deal", include_str!("../wgsl/shared/deal.wgsl")),
    (
        "deal_params",
        include_str!("../wgsl/shared/deal_params.wgsl"),
    ),
    (
        "matvec_pairs",
        include_str!("../wgsl/shared/matvec_pairs.wgsl"),
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

impl Kernel {
    /// Every kernel that there is.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for weight in WeightFormat::ALL {
            for rows in MatVecRows::all(weight) {
                all.push(Self::MatVec { weight, rows });
                all.push(Self::MatVecSubgroups { weight, rows });
            }
            all.extend(
                MatVecRows::all_across(weight).map(|rows| Self::MatVecSubgroups { weight, rows }),
            );
            for rows in AcrossRows::all(weight) {
                all.extend([false, true].map(|columns| Self::GemmAcross {
                    weight,
                    rows,
                    columns,
                    end: AcrossEnd::NONE,
                }));
            }
            all.extend(AcrossEnd::samples().map(|end| Self::GemmAcross {
                weight,
                rows: AcrossRows::Sixteen,
                columns: false,
                end,
            }));
            for form in GemmForm::ALL {
                let splits = form != GemmForm::Pairs;
                for tile in Tile::all(weight) {
                    all.push(Self::Gemm { weight, form, tile });
                    all.extend(splits.then_some(Self::GemmSplit { weight, form, tile }));
                }
            }
            all.extend([
                Self::Embedding { weight },
                Self::Dequantize { weight },
                Self::ExpertMatVec { weight },
            ]);
        }
        for taps in ConvTaps::ALL {
            all.extend([false, true].map(|doubled| Self::ConvUnfold { taps, doubled }));
            for weight in WeightFormat::PLAIN {
                for (doubled, tile) in [false, true]
                    .into_iter()
                    .flat_map(|doubled| Tile::all(weight).map(move |tile| (doubled, tile)))
                {
                    all.push(Self::Conv2d {
                        weight,
                        taps,
                        doubled,
                        tile,
                    });
                    all.push(Self::Conv2dSplit {
                        weight,
                        taps,
                        doubled,
                        tile,
                    });
                }
            }
        }
        for mask in [false, true] {
            all.extend(HeadWidth::ALL.map(|width| Self::Attention { width, mask }));
            all.extend(AcrossHead::ALL.map(|head| Self::AttentionAcross { head, mask }));
        }
        for kv in KvFormat::ALL {
            all.extend(HeadWidth::ALL.map(|width| Self::PagedAttentionTiles { width, kv }));
            all.push(Self::PagedAttention { kv });
            all.push(Self::PagedAttentionSplit { kv });
            all.push(Self::PagedAttentionAcross { kv });
        }
        all.extend([KvFormat::F16, KvFormat::Q8].map(|kv| Self::KvPack { kv }));
        all.extend([KvFormat::F32, KvFormat::F16].map(|kv| Self::PagedHeads { kv }));
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
            Self::Draw,
            Self::GemmJoin,
            Self::ConvJoin,
            Self::ConvUnfoldRows,
            Self::PagedAttentionJoin,
            Self::Mixture,
            Self::GuidanceSpread,
        ]);
        all.extend(
            Chain::samples()
                .into_iter()
                .map(|chain| Self::Chain { chain }),
        );
        all
    }

    /// Text, workgroup size and bindings.
    pub fn source(self) -> KernelSource {
        let row = self.row();
        let made = match self {
            Self::Chain { chain } => chain.parts().to_vec(),
            _ => Vec::new(),
        };
        let scope = Scope {
            parameters: &self.parameters(),
            weight: self.reader(),
            includes: INCLUDES,
            made: &made,
        };
        let source = expand(row.text, &scope);
        KernelSource {
            name: self.name(),
            source: match self.needs_halves() {
                true => format!("enable f16;\n{source}"),
                false => source,
            },
            entry: "main",
            workgroup: [row.lanes, 1, 1],
            bindings: row.bindings,
            uniform_words: row.uniform_words,
        }
    }

    /// Short name for labels and profiles.
    pub fn name(self) -> String {
        let mut name = match self {
            Self::Chain { chain } => chain.name(),
            _ => self.row().name.to_owned(),
        };
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
        if let Self::GemmAcross { end, .. } = self {
            name.push_str(&end.name());
        }
        if let Some(kv) = self.kv().filter(|kv| *kv != KvFormat::F32) {
            name.push_str(&format!(" {kv:?}").to_lowercase());
        }
        if self.has_mask() {
            name.push_str(" masked");
        }
        if self.needs_halves() {
            name.push_str(" halves");
        }
        name
    }

    /// Whether the device must offer subgroups.
    pub fn needs_subgroups(self) -> bool {
        matches!(
            self,
            Self::MatVecSubgroups { .. }
                | Self::PagedAttentionAcross { .. }
                | Self::GemmAcross { .. }
                | Self::AttentionAcross { .. }
        )
    }

    /// Whether the device must offer 16-bit floats.
    pub fn needs_halves(self) -> bool {
        matches!(
            self,
            Self::Gemm {
                tile: Tile::Halves,
                ..
            } | Self::GemmSplit {
                tile: Tile::Halves,
                ..
            } | Self::Conv2d {
                tile: Tile::Halves,
                ..
            } | Self::Conv2dSplit {
                tile: Tile::Halves,
                ..
            }
        )
    }

    /// Whether a mask is added to the scores of an attention.
    pub fn has_mask(self) -> bool {
        matches!(
            self,
            Self::Attention { mask: true, .. } | Self::AttentionAcross { mask: true, .. }
        )
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
            | Self::GemmAcross { weight, .. }
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
            | Self::PagedAttentionAcross { kv }
            | Self::PagedAttentionTiles { kv, .. }
            | Self::PagedHeads { kv }
            | Self::KvPack { kv } => Some(kv),
            _ => None,
        }
    }

    /// Text of the reader of the weight.
    fn reader(self) -> Option<&'static str> {
        let weight = self.weight()?;
        match self {
            Self::GemmAcross { .. } => Some(weight.across_text()),
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
                (
                    "HELD",
                    u32::from(rows.count() <= u32::from(MatVecRows::HELD)),
                ),
                ("QUADS", rows.weight_rows() / 4),
                ("MINIMA", u32::from(weight.has_minima())),
                ("SUBGROUPS", u32::from(self.needs_subgroups())),
            ],
            Self::GemmAcross {
                weight,
                rows,
                columns,
                end,
            } => {
                let minima = weight.is_wide() && weight.has_minima();
                [
                    rows.parameters(columns),
                    end.parameters(),
                    vec![("MINIMA", u32::from(minima))],
                ]
                .concat()
            }
            Self::ConvUnfold { taps, doubled } => {
                [vec![("DOUBLED", u32::from(doubled))], taps.parameters()].concat()
            }
            // Weights are the columns of a product's tile, and the rows of a convolution's.
            Self::Gemm { form, tile, .. } => {
                [form.parameters(), tile.parameters("B_HALVES")].concat()
            }
            Self::GemmSplit { form, tile, .. } => [
                vec![("SPLIT", 1)],
                form.parameters(),
                tile.parameters("B_HALVES"),
            ]
            .concat(),
            Self::Conv2d {
                taps,
                doubled,
                tile,
                ..
            }
            | Self::Conv2dSplit {
                taps,
                doubled,
                tile,
                ..
            } => [
                vec![
                    ("DOUBLED", u32::from(doubled)),
                    ("SPLIT", u32::from(matches!(self, Self::Conv2dSplit { .. }))),
                ],
                taps.parameters(),
                tile.parameters("A_HALVES"),
            ]
            .concat(),
            Self::Chain { chain } => vec![("SPREAD", u32::from(chain.spreads()))],
            Self::PagedAttentionSplit { kv } => [vec![("SPLIT", 1)], kv.parameters()].concat(),
            // Nothing about masks in the text of kernels without one.
            Self::AttentionAcross { head, mask } => {
                let mask = mask.then_some(("MASK", 1));
                head.parameters().into_iter().chain(mask).collect()
            }
            Self::Attention { width, mask } => {
                let mask = mask.then_some(("MASK", 1));
                [width.parameter(), ("KV_F32", 1)]
                    .into_iter()
                    .chain(mask)
                    .collect()
            }
            Self::PagedAttentionTiles { width, kv } => {
                [vec![width.parameter(), ("PAGED", 1)], kv.parameters()].concat()
            }
            Self::PagedAttention { kv }
            | Self::PagedAttentionAcross { kv }
            | Self::PagedHeads { kv }
            | Self::KvPack { kv } => kv.parameters(),
            Self::Embedding { .. } => vec![("IDS", 1)],
            _ => Vec::new(),
        }
    }
}
