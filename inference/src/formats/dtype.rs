//! The element types that files name.

use serde::{Deserialize, Serialize};

/// How a tensor's elements are stored in a file.
///
/// Those of [`StorageDtype::is_float_weight`] can be computed with; the others are known so that a file which holds
/// them can be listed, and refused by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // each name is the documentation: ggml's and safetensors' own
pub enum StorageDtype {
    F32,
    F16,
    #[serde(rename = "BF16")]
    Bf16,
    Q8_0,
    Q4_0,
    #[serde(rename = "Q4_K")]
    Q4K,
    #[serde(rename = "Q6_K")]
    Q6K,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    #[serde(rename = "BOOL")]
    Bool,
    C64,
    #[serde(rename = "F8_E4M3")]
    F8E4m3,
    #[serde(rename = "F8_E5M2")]
    F8E5m2,
    #[serde(rename = "F8_E8M0")]
    F8E8m0,
    #[serde(rename = "F8_E4M3FNUZ")]
    F8E4m3Fnuz,
    #[serde(rename = "F8_E5M2FNUZ")]
    F8E5m2Fnuz,
    #[serde(rename = "F6_E2M3")]
    F6E2m3,
    #[serde(rename = "F6_E3M2")]
    F6E3m2,
    F4,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_1,
    #[serde(rename = "Q2_K")]
    Q2K,
    #[serde(rename = "Q3_K")]
    Q3K,
    #[serde(rename = "Q5_K")]
    Q5K,
    #[serde(rename = "Q8_K")]
    Q8K,
    #[serde(rename = "IQ2_XXS")]
    Iq2Xxs,
    #[serde(rename = "IQ2_XS")]
    Iq2Xs,
    #[serde(rename = "IQ3_XXS")]
    Iq3Xxs,
    #[serde(rename = "IQ1_S")]
    Iq1S,
    #[serde(rename = "IQ4_NL")]
    Iq4Nl,
    #[serde(rename = "IQ3_S")]
    Iq3S,
    #[serde(rename = "IQ2_S")]
    Iq2S,
    #[serde(rename = "IQ4_XS")]
    Iq4Xs,
    #[serde(rename = "IQ1_M")]
    Iq1M,
    #[serde(rename = "TQ1_0")]
    Tq1_0,
    #[serde(rename = "TQ2_0")]
    Tq2_0,
    #[serde(rename = "MXFP4")]
    Mxfp4,
    #[serde(rename = "NVFP4")]
    Nvfp4,
    Q1_0,
}

/// One line of the table of types.
struct Row {
    dtype: StorageDtype,
    name: &'static str,
    /// Elements a block.
    len: usize,
    /// Bytes a block.
    bytes: usize,
    /// The type's number in GGUF.
    ggml: Option<u32>,
    /// Whether safetensors has it, under `name`.
    safetensors: bool,
}

const fn row(
    dtype: StorageDtype,
    name: &'static str,
    len: usize,
    bytes: usize,
    ggml: Option<u32>,
    safetensors: bool,
) -> Row {
    Row {
        dtype,
        name,
        len,
        bytes,
        ggml,
        safetensors,
    }
}

use StorageDtype as D;

/// In the order of the enum. Sources: `ggml.h`, `ggml-common.h`, `gguf/constants.py`; the safetensors format page.
const TABLE: [Row; 48] = [
    row(D::F32, "F32", 1, 4, Some(0), true),
    row(D::F16, "F16", 1, 2, Some(1), true),
    row(D::Bf16, "BF16", 1, 2, Some(30), true),
    row(D::Q8_0, "Q8_0", 32, 34, Some(8), false),
    row(D::Q4_0, "Q4_0", 32, 18, Some(2), false),
    row(D::Q4K, "Q4_K", 256, 144, Some(12), false),
    row(D::Q6K, "Q6_K", 256, 210, Some(14), false),
    row(D::F64, "F64", 1, 8, Some(28), true),
    row(D::I8, "I8", 1, 1, Some(24), true),
    row(D::I16, "I16", 1, 2, Some(25), true),
    row(D::I32, "I32", 1, 4, Some(26), true),
    row(D::I64, "I64", 1, 8, Some(27), true),
    row(D::U8, "U8", 1, 1, None, true),
    row(D::U16, "U16", 1, 2, None, true),
    row(D::U32, "U32", 1, 4, None, true),
    row(D::U64, "U64", 1, 8, None, true),
    row(D::Bool, "BOOL", 1, 1, None, true),
    row(D::C64, "C64", 1, 8, None, true),
    row(D::F8E4m3, "F8_E4M3", 1, 1, None, true),
    row(D::F8E5m2, "F8_E5M2", 1, 1, None, true),
    row(D::F8E8m0, "F8_E8M0", 1, 1, None, true),
    row(D::F8E4m3Fnuz, "F8_E4M3FNUZ", 1, 1, None, true),
    row(D::F8E5m2Fnuz, "F8_E5M2FNUZ", 1, 1, None, true),
    row(D::F6E2m3, "F6_E2M3", 4, 3, None, true),
    row(D::F6E3m2, "F6_E3M2", 4, 3, None, true),
    row(D::F4, "F4", 2, 1, None, true),
    row(D::Q4_1, "Q4_1", 32, 20, Some(3), false),
    row(D::Q5_0, "Q5_0", 32, 22, Some(6), false),
    row(D::Q5_1, "Q5_1", 32, 24, Some(7), false),
    row(D::Q8_1, "Q8_1", 32, 36, Some(9), false),
    row(D::Q2K, "Q2_K", 256, 84, Some(10), false),
    row(D::Q3K, "Q3_K", 256, 110, Some(11), false),
    row(D::Q5K, "Q5_K", 256, 176, Some(13), false),
    row(D::Q8K, "Q8_K", 256, 292, Some(15), false),
    row(D::Iq2Xxs, "IQ2_XXS", 256, 66, Some(16), false),
    row(D::Iq2Xs, "IQ2_XS", 256, 74, Some(17), false),
    row(D::Iq3Xxs, "IQ3_XXS", 256, 98, Some(18), false),
    row(D::Iq1S, "IQ1_S", 256, 50, Some(19), false),
    row(D::Iq4Nl, "IQ4_NL", 32, 18, Some(20), false),
    row(D::Iq3S, "IQ3_S", 256, 110, Some(21), false),
    row(D::Iq2S, "IQ2_S", 256, 82, Some(22), false),
    row(D::Iq4Xs, "IQ4_XS", 256, 136, Some(23), false),
    row(D::Iq1M, "IQ1_M", 256, 56, Some(29), false),
    row(D::Tq1_0, "TQ1_0", 256, 54, Some(34), false),
    row(D::Tq2_0, "TQ2_0", 256, 66, Some(35), false),
    row(D::Mxfp4, "MXFP4", 32, 17, Some(39), false),
    row(D::Nvfp4, "NVFP4", 64, 36, Some(40), false),
    row(D::Q1_0, "Q1_0", 128, 18, Some(41), false),
];

impl StorageDtype {
    const fn table(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Elements in a block; 1 for plain types.
    #[must_use]
    pub const fn block_len(self) -> usize {
        self.table().len
    }

    /// Bytes of a block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        self.table().bytes
    }

    /// ggml's or safetensors' own name, such as `Q4_K` or `BF16`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.table().name
    }

    /// Bytes that `elements` elements need; `None` if they are no whole number of blocks or the product overflows.
    #[must_use]
    pub const fn bytes_for(self, elements: usize) -> Option<usize> {
        let row = self.table();
        if !elements.is_multiple_of(row.len) {
            return None;
        }
        (elements / row.len).checked_mul(row.bytes)
    }

    /// Whether tensors of this type can be dequantised and so used as weights.
    #[must_use]
    pub const fn is_float_weight(self) -> bool {
        matches!(
            self,
            D::F32
                | D::F16
                | D::Bf16
                | D::Q8_0
                | D::Q4_0
                | D::Q4_1
                | D::Q5_0
                | D::Q5_1
                | D::Q2K
                | D::Q3K
                | D::Q4K
                | D::Q5K
                | D::Q6K
                | D::Iq4Nl
                | D::Iq4Xs
                | D::F8E4m3
                | D::F8E5m2
        )
    }

    /// Where in a block its f16 factors lie, for quantised weight types. Any other bits of a block are valid.
    #[must_use]
    pub const fn half_factors(self) -> &'static [usize] {
        match self {
            D::Q8_0 | D::Q4_0 | D::Q5_0 | D::Iq4Nl | D::Iq4Xs => &[0],
            D::Q4_1 | D::Q5_1 | D::Q4K | D::Q5K => &[0, 2],
            D::Q2K => &[80, 82],
            D::Q3K => &[108],
            D::Q6K => &[208],
            _ => &[],
        }
    }

    /// Sub-byte safetensors types are packed over the whole tensor, not row by row as ggml's blocks.
    pub(crate) const fn packs_across_rows(self) -> bool {
        self.table().safetensors
    }

    /// By ggml's type number.
    #[must_use]
    pub fn from_ggml(id: u32) -> Option<Self> {
        TABLE
            .iter()
            .find(|row| row.ggml == Some(id))
            .map(|row| row.dtype)
    }

    /// ggml's type number, if ggml has the type.
    #[must_use]
    pub const fn ggml_id(self) -> Option<u32> {
        self.table().ggml
    }

    /// By the name in a safetensors header.
    #[must_use]
    pub fn from_safetensors(name: &str) -> Option<Self> {
        TABLE
            .iter()
            .find(|row| row.safetensors && row.name == name)
            .map(|row| row.dtype)
    }
}

impl std::fmt::Display for StorageDtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (i, row) in TABLE.iter().enumerate() {
            assert_eq!(row.dtype as usize, i, "{}", row.name);
            assert_eq!(
                serde_json::to_value(row.dtype).unwrap(),
                serde_json::Value::from(row.name)
            );
            if let Some(id) = row.ggml {
                assert_eq!(StorageDtype::from_ggml(id), Some(row.dtype));
            }
            if row.safetensors {
                assert_eq!(StorageDtype::from_safetensors(row.name), Some(row.dtype));
            }
        }
    }

    #[test]
    fn bytes_are_counted_in_whole_blocks() {
        assert_eq!(D::Q4K.bytes_for(512), Some(288));
        assert_eq!(D::Q4K.bytes_for(500), None);
        assert_eq!(D::F32.bytes_for(usize::MAX / 2), None);
        assert_eq!(D::F16.bytes_for(0), Some(0));
    }
}
