//! In what kernels of one kind differ.

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

    /// Whether few rows are multiplied by a kernel that reads sixteen neighbours at once: all formats with blocks.
    pub fn is_wide(self) -> bool {
        self.wide_text().is_some()
    }

    /// The reader of sixteen neighbours.
    pub(crate) fn wide_text(self) -> Option<&'static str> {
        match self {
            Self::Q8_0 => Some(include_str!("../wgsl/weight16/q8_0.wgsl")),
            Self::Q4_0 => Some(include_str!("../wgsl/weight16/q4_0.wgsl")),
            Self::Q4K => Some(include_str!("../wgsl/weight16/q4_k.wgsl")),
            Self::Q5K => Some(include_str!("../wgsl/weight16/q5_k.wgsl")),
            Self::Q6K => Some(include_str!("../wgsl/weight16/q6_k.wgsl")),
            Self::Q4_1 => Some(include_str!("../wgsl/weight16/q4_1.wgsl")),
            Self::Q5_0 => Some(include_str!("../wgsl/weight16/q5_0.wgsl")),
            Self::Q5_1 => Some(include_str!("../wgsl/weight16/q5_1.wgsl")),
            Self::Q2K => Some(include_str!("../wgsl/weight16/q2_k.wgsl")),
            Self::Q3K => Some(include_str!("../wgsl/weight16/q3_k.wgsl")),
            Self::Iq4Nl => Some(include_str!("../wgsl/weight16/iq4_nl.wgsl")),
            Self::Iq4Xs => Some(include_str!("../wgsl/weight16/iq4_xs.wgsl")),
            Self::F32 | Self::F16 | Self::Bf16 => None,
        }
    }

    /// The reader of sixteen neighbours for [`crate::Kernel::GemmAcross`], which every format has.
    pub(crate) fn across_text(self) -> &'static str {
        match self {
            Self::F32 => include_str!("../wgsl/weight16/f32.wgsl"),
            Self::F16 => include_str!("../wgsl/weight16/f16.wgsl"),
            Self::Bf16 => include_str!("../wgsl/weight16/bf16.wgsl"),
            _ => self.wide_text().unwrap_or_default(),
        }
    }

    /// Whether values may be kept as 16-bit floats where they are multiplied: those of blocks are a few bits times a scale, and lose a last
    /// bit at most. Others may need their range or their precision.
    pub fn fits_halves(self) -> bool {
        !matches!(self, Self::F32 | Self::Bf16)
    }

    /// Whether values have a minimum, or an offset that comes to the same, besides their scale.
    pub(crate) fn has_minima(self) -> bool {
        !matches!(self, Self::Q8_0 | Self::Iq4Nl | Self::Iq4Xs)
    }

    pub(crate) fn text(self) -> &'static str {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// `x`: no function where one could follow.
    Same = 9,
}

/// What a tiled product is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GemmForm {
    /// Rows of `x` and rows of the result.
    Rows,
    /// `x` lies in columns, `[B, K, plane]`.
    Columns,
    /// The weight has two halves, of which one makes the gates of the other.
    Pairs,
}

impl GemmForm {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Rows, Self::Columns, Self::Pairs];

    pub(crate) fn parameters(self) -> Vec<(&'static str, u32)> {
        match self {
            Self::Rows => Vec::new(),
            Self::Columns => vec![("COLUMNS", 1)],
            Self::Pairs => vec![("PAIRS", 1)],
        }
    }
}

/// How weights lie where a tiled product takes them from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tile {
    /// As 32-bit floats.
    Floats,
    /// As 16-bit floats; not portable, and only for formats that [fit](WeightFormat::fits_halves).
    Halves,
}

impl Tile {
    /// Those that a format has.
    pub fn all(weight: WeightFormat) -> impl Iterator<Item = Self> {
        std::iter::once(Self::Floats).chain(weight.fits_halves().then_some(Self::Halves))
    }

    pub(crate) fn parameters(self, name: &'static str) -> Vec<(&'static str, u32)> {
        match self {
            Self::Floats => Vec::new(),
            Self::Halves => vec![(name, 1)],
        }
    }
}

/// How many rows a matrix-vector kernel computes at once, and how many weight rows a workgroup takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MatVecRows {
    count: u8,
    sharing: Sharing,
}

/// How the lanes of a matrix-vector kernel share its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Sharing {
    /// The lanes of a workgroup share the sums over four weight rows.
    Four,
    /// The same over eight.
    Eight,
    /// Each lane has weight rows to itself.
    Across,
}

impl MatVecRows {
    /// Most rows.
    pub const MOST: u8 = 8;
    /// Rows of `x` up to which a lane holds its part of all of them, and decodes one weight row after the other; of more rows it holds four weight rows.
    pub const HELD: u8 = 4;

    /// Of so many rows, from one to [`MatVecRows::MOST`], with four weight rows a workgroup.
    pub fn new(rows: usize) -> Self {
        let most = usize::from(Self::MOST);
        Self {
            count: u8::try_from(rows.clamp(1, most)).unwrap_or(Self::MOST),
            sharing: Sharing::Four,
        }
    }

    /// With weight rows of its own for each lane, where memory is read lane by lane whatever its order; only for subgroups of eight lanes at least, and formats
    /// that are [wide](WeightFormat::is_wide).
    pub fn across(self) -> Self {
        Self {
            sharing: Sharing::Across,
            ..self
        }
    }

    /// Whether each lane has weight rows to itself.
    pub fn is_across(self) -> bool {
        self.sharing == Sharing::Across
    }

    /// With eight weight rows a workgroup, so that what is loaded of `x` serves more of them; the same where there is no such kernel: for more
    /// than [`MatVecRows::HELD`] rows.
    pub fn by_eight(self) -> Self {
        match self.count <= Self::HELD {
            true => Self {
                sharing: Sharing::Eight,
                ..self
            },
            false => self,
        }
    }

    /// Every one that a format has: those by eight only if it is [wide](WeightFormat::is_wide).
    pub fn all(weight: WeightFormat) -> Vec<Self> {
        let four = (1..=usize::from(Self::MOST)).map(Self::new);
        let eight = (1..=usize::from(Self::HELD)).map(|rows| Self::new(rows).by_eight());
        match weight.is_wide() {
            true => four.chain(eight).collect(),
            false => four.collect(),
        }
    }

    /// Those that a format has [across](Self::across) lanes.
    pub fn all_across(weight: WeightFormat) -> impl Iterator<Item = Self> {
        let counts = 1..=usize::from(Self::MOST);
        counts
            .filter(move |_| weight.is_wide())
            .map(|rows| Self::new(rows).across())
    }

    /// Weight rows of a workgroup.
    pub fn weight_rows(self) -> u32 {
        match self.sharing {
            Sharing::Four => 4,
            Sharing::Eight => 8,
            Sharing::Across => 64,
        }
    }

    /// Rows.
    pub fn count(self) -> u32 {
        u32::from(self.count)
    }
}

/// How many rows a tile has of a product whose lanes have weight rows of their own, and keep the sums of all of the tile's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AcrossRows {
    /// 16.
    Sixteen,
    /// 32.
    ThirtyTwo,
}

impl AcrossRows {
    /// Lanes of a workgroup.
    const LANES: u32 = 8;

    /// Those of a format: the smaller ones are as fast and a sixth of the text, except where weights take as long to read as the rows do.
    pub fn all(weight: WeightFormat) -> impl Iterator<Item = Self> {
        let large = weight == WeightFormat::F32;
        std::iter::once(Self::Sixteen).chain(large.then_some(Self::ThirtyTwo))
    }

    /// Fours of weight rows of each lane.
    fn quads(self) -> u32 {
        match self {
            Self::Sixteen => 1,
            Self::ThirtyTwo => 2,
        }
    }

    /// Weight rows of a tile.
    pub fn weight_rows(self) -> u32 {
        Self::LANES * 4 * self.quads()
    }

    /// As a number.
    pub fn count(self) -> u32 {
        match self {
            Self::Sixteen => 16,
            Self::ThirtyTwo => 32,
        }
    }

    pub(crate) fn parameters(self, columns: bool) -> Vec<(&'static str, u32)> {
        let large = self == Self::ThirtyTwo;
        vec![
            ("ROWS", self.count()),
            ("GROUPS", self.count() / 4),
            // Reads of four elements by each of eight lanes that bring sixteen of every row.
            ("PARTS", self.count() / 2),
            ("QUADS", self.quads()),
            ("IN_ROWS", u32::from(!columns)),
            ("IN_COLUMNS", u32::from(columns)),
            ("LARGE_COLUMNS", u32::from(columns && large)),
            ("SMALL_COLUMNS", u32::from(columns && !large)),
        ]
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

    /// Whether a lane has room for the sums of eight queries instead of four.
    pub(crate) fn is_narrow(self) -> bool {
        self.elements() <= 128
    }

    /// Each lane holds four elements of every 32, or, of wider heads, of every 64.
    pub(crate) fn parameter(self) -> (&'static str, u32) {
        match self.is_narrow() {
            true => ("COLUMNS", self.elements() / 32),
            false => ("WIDTH", self.elements() / 64),
        }
    }
}

/// What follows a product whose lanes have weight rows of their own. Devices of that kind compute both sides of every branch, so each has a kernel of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AcrossEnd {
    /// Of the second half of the weight rows, which makes gates of the first.
    pub gate: Option<Function>,
    /// Applied first.
    pub before: Function,
    /// Whether another value is met.
    pub meets: bool,
    /// Applied last.
    pub after: Function,
    /// Whether columns are dealt out to several values.
    pub dealt: bool,
}

impl AcrossEnd {
    /// Nothing.
    pub const NONE: Self = Self {
        gate: None,
        before: Function::Same,
        meets: false,
        after: Function::Same,
        dealt: false,
    };

    /// Some of every kind.
    pub(crate) fn samples() -> [Self; 4] {
        [
            Self {
                gate: Some(Function::Silu),
                ..Self::NONE
            },
            Self {
                before: Function::Gelu,
                meets: true,
                ..Self::NONE
            },
            Self {
                after: Function::LeakyRelu,
                ..Self::NONE
            },
            Self {
                dealt: true,
                ..Self::NONE
            },
        ]
    }

    /// What a name tells of it.
    pub(crate) fn name(self) -> String {
        let mut name = String::new();
        let mut tell = |what: &str, function: Option<Function>| {
            if let Some(function) = function.filter(|function| *function != Function::Same) {
                name.push_str(&format!(" {what} {function:?}").to_lowercase());
            }
        };
        tell("gate", self.gate);
        tell("then", Some(self.before));
        tell("last", Some(self.after));
        if self.meets {
            name.push_str(" met");
        }
        if self.dealt {
            name.push_str(" dealt");
        }
        name
    }

    pub(crate) fn parameters(self) -> Vec<(&'static str, u32)> {
        vec![
            ("GATED", u32::from(self.gate.is_some())),
            ("GATE", self.gate.unwrap_or(Function::Same) as u32),
            ("BEFORE_ANY", u32::from(self.before != Function::Same)),
            ("BEFORE", self.before as u32),
            ("MEETS", u32::from(self.meets)),
            ("AFTER_ANY", u32::from(self.after != Function::Same)),
            ("AFTER", self.after as u32),
            ("DEALT", u32::from(self.dealt)),
        ]
    }
}

/// Head sizes that there are kernels for whose lanes have queries of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AcrossHead {
    fours: u8,
}

impl AcrossHead {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self { fours: 8 },
        Self { fours: 10 },
        Self { fours: 16 },
        Self { fours: 20 },
        Self { fours: 32 },
        Self { fours: 40 },
    ];

    /// The one for heads of so many elements, if there is one.
    pub fn of(elements: usize) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|head| head.elements() as usize == elements)
    }

    /// Elements of a head.
    pub fn elements(self) -> u32 {
        4 * u32::from(self.fours)
    }

    /// Queries of a workgroup.
    pub fn queries(self) -> u32 {
        8 * self.queries_of_lane()
    }

    fn queries_of_lane(self) -> u32 {
        if self.fours <= 20 { 4 } else { 2 }
    }

    pub(crate) fn parameters(self) -> Vec<(&'static str, u32)> {
        vec![
            ("FOURS", u32::from(self.fours)),
            ("QUERIES", self.queries_of_lane()),
            ("WIDTH", self.elements()),
        ]
    }
}

/// Sizes of windows that a convolution is made for: divisions by constants are cheap, and a window of one pixel needs none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConvTaps {
    /// Any.
    Any,
    /// 1 x 1.
    One,
    /// 3 x 3.
    Nine,
}

impl ConvTaps {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Any, Self::One, Self::Nine];

    /// The one for a size.
    pub fn of(height: usize, width: usize) -> Self {
        match (height, width) {
            (1, 1) => Self::One,
            (3, 3) => Self::Nine,
            _ => Self::Any,
        }
    }
}

impl ConvTaps {
    pub(crate) fn parameters(self) -> Vec<(&'static str, u32)> {
        vec![
            ("TAPS_1", u32::from(self == Self::One)),
            ("TAPS_9", u32::from(self == Self::Nine)),
        ]
    }
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

    pub(crate) fn parameters(self) -> Vec<(&'static str, u32)> {
        match self {
            Self::F32 => vec![("KV_F32", 1)],
            Self::F16 => vec![("KV_F16", 1), ("KV_PACKED", 1)],
            Self::Q8 => vec![("KV_Q8", 1), ("KV_PACKED", 1)],
        }
    }
}
