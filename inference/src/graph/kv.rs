//! Shape of a paged KV cache.
//!
//! A cache is a pool of pages of [`KV_PAGE`] positions each, for every layer. Which page holds which positions of
//! which sequence is told by block tables, which are plain inputs of a run; so a prefix shared between turns,
//! branches or side-by-side streams is only a table that names the same pages
//! (after Kwon et al. 2023, "Efficient Memory Management for Large Language Model Serving with PagedAttention").

/// Positions in one page.
pub const KV_PAGE: usize = 64;

/// Marks "no slot" in `write_slots` and "no position" in `positions`: padding rows of a bucketed plan.
pub const NO_SLOT: u32 = u32::MAX;

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

    /// Bytes of the whole cache with `bytes_per_element` (4 for f32).
    pub fn bytes(&self, bytes_per_element: usize) -> u64 {
        [
            2,
            self.layers as u64,
            self.layer_elements() as u64,
            bytes_per_element as u64,
        ]
        .into_iter()
        .fold(1, u64::saturating_mul)
    }
}
