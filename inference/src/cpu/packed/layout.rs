//! How packed weights lie in memory for the vector kernels.
//!
//! Sixteen rows of the weight are one tile, one row a lane of 32 bits: four neighbouring codes of sixteen rows fill a register of 512 bits, and
//! the processor's dot product of four bytes adds them to sixteen sums at once, without a sum across lanes. A tile has first its
//! factors ("head", one entry for each superblock), then its codes; both start at multiples of 64 bytes.
//!
//! Codes of 32 columns are eight such registers, kept in planes: bytes; nibbles (register `i` low, `i + 4` high); pairs of bits (registers
//! `4 i` to `4 i + 3`); single bits (64 for each register). Codes of five bits are a nibble and a bit, of six bits a nibble and a pair, of three
//! bits a pair and a bit.

use crate::formats::weights::StorageDtype;

/// Rows of a tile.
pub(super) const LANES: usize = 16;
/// Columns whose codes are kept together, and whose activations share a factor.
pub(super) const BLOCK: usize = 32;

/// Bytes between the codes in use and those that are asked for ahead. Each tile starts two streams anew, factors and codes, and the processor's
/// own foresight needs a while to find them: asking ahead makes products with one row up to 1.7 times as fast.
pub(super) const AHEAD: usize = 6144;

/// Planes of which a code is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codes {
    Byte,
    Nibble,
    /// A nibble that stands for one of sixteen values ([`IQ4`]).
    Table,
    /// A nibble and a fifth bit.
    Five,
    /// A nibble and two more bits.
    Six,
    Pair,
    /// A pair and a third bit.
    Three,
}

/// Bytes of the planes of 32 columns of a tile.
pub(super) const BYTES: usize = 512;
pub(super) const NIBBLES: usize = 256;
pub(super) const PAIRS: usize = 128;
pub(super) const BITS: usize = 64;

/// Values of the codes of IQ4_NL and IQ4_XS, plus 128.
pub(super) const IQ4: [u8; 16] = [
    1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241,
];

impl Codes {
    /// Bytes of 32 columns of a tile.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Byte => BYTES,
            Self::Nibble | Self::Table => NIBBLES,
            Self::Five => NIBBLES + BITS,
            Self::Six => NIBBLES + PAIRS,
            Self::Pair => PAIRS,
            Self::Three => PAIRS + BITS,
        }
    }
}

/// A type of GGUF as the kernels see it: `weight = factor * (code - OFFSET) - minimum`.
pub(super) trait Format {
    const CODES: Codes;
    /// Blocks that share a factor in f16; more than one have factors of 8 bits of their own besides.
    const SUPER: usize;
    /// Columns that share a factor of 8 bits.
    const SUB: usize;
    /// Whether there are minima; then [`Self::OFFSET`] is 0.
    const MINIMA: bool;
    const OFFSET: i32;

    /// Parts of a block with factors of their own.
    const SUBS: usize = BLOCK / Self::SUB;
    /// Bytes of factors in f16 (and minima) of a superblock.
    const WIDE: usize = 2 * LANES * (1 + Self::MINIMA as usize);
    /// Bytes of factors of 8 bits (and minima) of a block.
    const NARROW: usize = if Self::SUPER == 1 {
        0
    } else {
        LANES * Self::SUBS * (1 + Self::MINIMA as usize)
    };
    /// Bytes of all factors of a superblock.
    const HEAD: usize = Self::WIDE + Self::SUPER * Self::NARROW;
    /// Bytes of the codes of a superblock.
    const BODY: usize = Self::SUPER * Self::CODES.bytes();
}

macro_rules! formats {
    ($($name:ident: $codes:ident, $super:literal, $sub:literal, $minima:literal, $offset:literal;)*) => {
        $(
            pub(super) struct $name;
            impl Format for $name {
                const CODES: Codes = Codes::$codes;
                const SUPER: usize = $super;
                const SUB: usize = $sub;
                const MINIMA: bool = $minima;
                const OFFSET: i32 = $offset;
            }
        )*
    };
}

formats! {
    Q4_0: Nibble, 1, 32, false, 8;
    Q4_1: Nibble, 1, 32, true, 0;
    Q5_0: Five, 1, 32, false, 16;
    Q5_1: Five, 1, 32, true, 0;
    Q8_0: Byte, 1, 32, false, 128;
    Iq4Nl: Table, 1, 32, false, 128;
    Q2K: Pair, 8, 16, true, 0;
    Q3K: Three, 8, 16, false, 4;
    Q4K: Nibble, 8, 32, true, 0;
    Q5K: Five, 8, 32, true, 0;
    Q6K: Six, 8, 16, false, 32;
    Iq4Xs: Table, 8, 32, false, 128;
}

/// Calls a function that is generic in a [`Format`] for a type of weight; the last expression is for types that are not packed.
macro_rules! with_format {
    ($dtype:expr, $format:ident => $call:expr, $other:expr) => {{
        use $crate::cpu::packed::layout as types;
        use $crate::formats::weights::StorageDtype as Dtype;
        macro_rules! with {
            ($one:ty) => {{
                type $format = $one;
                $call
            }};
        }
        match $dtype {
            Dtype::Q4_0 => with!(types::Q4_0),
            Dtype::Q4_1 => with!(types::Q4_1),
            Dtype::Q5_0 => with!(types::Q5_0),
            Dtype::Q5_1 => with!(types::Q5_1),
            Dtype::Q8_0 => with!(types::Q8_0),
            Dtype::Iq4Nl => with!(types::Iq4Nl),
            Dtype::Q2K => with!(types::Q2K),
            Dtype::Q3K => with!(types::Q3K),
            Dtype::Q4K => with!(types::Q4K),
            Dtype::Q5K => with!(types::Q5K),
            Dtype::Q6K => with!(types::Q6K),
            Dtype::Iq4Xs => with!(types::Iq4Xs),
            _ => $other,
        }
    }};
}
pub(super) use with_format;

/// Sizes of a weight `[n, k]` in tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiles {
    pub(super) count: usize,
    /// Bytes of the factors of a tile, before its codes.
    pub(super) head: usize,
    /// Bytes of a tile.
    pub(super) bytes: usize,
}

impl Tiles {
    /// `None` for types that are not packed, and where rows are not whole superblocks.
    pub(super) fn new(dtype: StorageDtype, n: usize, k: usize) -> Option<Self> {
        if k == 0 || !k.is_multiple_of(dtype.block_len()) {
            return None;
        }
        let (supers, head, body) = with_format!(
            dtype,
            F => (k / (BLOCK * F::SUPER), F::HEAD, F::BODY),
            return None
        );
        let head = supers.checked_mul(head)?.checked_next_multiple_of(64)?;
        let bytes = head.checked_add(supers.checked_mul(body)?)?;
        let count = n.div_ceil(LANES);
        count.checked_mul(bytes)?;
        Some(Self { count, head, bytes })
    }
}
