//! Shape of a paged KV cache.
//!
//! A cache is a pool of pages of [`KV_PAGE`] positions each, for every layer. Which page holds which positions of
//! which sequence is told by block tables, which are plain inputs of a run; so a prefix shared between turns,
//! branches or side-by-side streams is only a table that names the same pages
//! (after Kwon et al. 2023, "Efficient Memory Management for Large Language Model Serving with PagedAttention").

use serde::{Deserialize, Serialize};

/// Positions in one page.
pub const KV_PAGE: usize = 64;

/// Marks "no slot" in `write_slots` and "no position" in `positions`: padding rows of a bucketed plan.
pub const NO_SLOT: u32 = u32::MAX;

/// Elements that share a scale in [`KvType::Q8`].
pub const KV_BLOCK: usize = 32;

/// How keys and values are kept in a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvType {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats: half the memory.
    F16,
    /// 8-bit integers with a 16-bit scale for each [`KV_BLOCK`] of a head's elements, as in ggml's q8_0: about a quarter of the memory. The scale is kept as
    /// the largest magnitude of the block, which 127 stands for.
    #[serde(rename = "q8_0")]
    Q8,
}

impl KvType {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Q8];

    /// Its name in requests and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8_0",
        }
    }
}

/// Size of a paged KV cache.
///
/// The numbers come from files, so sizes saturate: an absurd one is then refused for want of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KvShape {
    /// Decoder layers.
    pub layers: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Elements a head.
    pub head_dim: usize,
    /// Pages in the pool, each [`KV_PAGE`] positions.
    pub pages: usize,
    /// How keys and values are kept.
    pub kv_type: KvType,
}

impl KvShape {
    /// Positions that the pool can hold.
    pub fn slots(&self) -> usize {
        self.pages.saturating_mul(KV_PAGE)
    }

    /// Elements of the keys (or the values) of one layer.
    pub fn layer_elements(&self) -> usize {
        self.slots()
            .saturating_mul(self.kv_heads)
            .saturating_mul(self.head_dim)
    }

    /// 32-bit words of the keys (or the values) of one head at one position. What is narrower is packed, the first in the lowest bits; of
    /// [`KvType::Q8`] first all integers, then all scales.
    pub fn head_words(&self) -> usize {
        match self.kv_type {
            KvType::F32 => self.head_dim,
            KvType::F16 => self.head_dim.div_ceil(2),
            KvType::Q8 => self.head_dim.div_ceil(4) + self.head_dim.div_ceil(KV_BLOCK).div_ceil(2),
        }
    }

    /// Words of the keys (or the values) of one position.
    pub fn slot_words(&self) -> usize {
        self.kv_heads.saturating_mul(self.head_words())
    }

    /// Words of the keys (or the values) of one layer.
    pub fn layer_words(&self) -> usize {
        self.slots().saturating_mul(self.slot_words())
    }

    /// Bytes of the whole cache.
    pub fn bytes(&self) -> u64 {
        [2, self.layers as u64, self.layer_words() as u64, 4]
            .into_iter()
            .fold(1, u64::saturating_mul)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halved_and_about_quartered() {
        let shape = |kv_type, head_dim| KvShape {
            layers: 3,
            kv_heads: 2,
            head_dim,
            pages: 5,
            kv_type,
        };
        let bytes = |kv_type, head_dim| shape(kv_type, head_dim).bytes();
        assert_eq!(bytes(KvType::F32, 64), 2 * 3 * 5 * 64 * 2 * 64 * 4);
        assert_eq!(bytes(KvType::F16, 64) * 2, bytes(KvType::F32, 64));
        // 34 bytes for 32 elements.
        assert_eq!(bytes(KvType::Q8, 64) * 128, bytes(KvType::F32, 64) * 34);
        // Odd sizes are filled up to words.
        assert_eq!(shape(KvType::F16, 33).head_words(), 17);
        assert_eq!(shape(KvType::Q8, 33).head_words(), 9 + 1);
        assert_eq!(shape(KvType::Q8, 80).head_words(), 20 + 2);
    }
}
