//! Every WGSL kernel of Diptych, and a typed registry of them.
//!
//! A [`Kernel`] names one pipeline: [`Kernel::source`] gives its WGSL text, workgroup size and bindings. Shapes are never part
//! of it; they reach kernels in a uniform block at binding 0, whose first two words are always the width and height of
//! the grid (grids are folded where one dimension would have too many workgroups). Storage buffers follow from
//! binding 1 on, all in group 0.
//!
//! Kernels belong to the portable tier, apart from those that [`Kernel::needs_subgroups`] and [`Kernel::needs_halves`] tell of: no optional feature,
//! at most 256 invocations and 16 KiB of workgroup memory, at most eight storage buffers, activations in f32.

mod chain;
mod parameters;
mod registry;
mod table;
mod template;

pub use chain::{Chain, ChainStep};
pub use parameters::{
    AcrossEnd, AcrossHead, AcrossRows, ConvTaps, Function, GemmForm, HeadWidth, KvFormat,
    MatVecRows, Tile, WeightFormat,
};
pub use registry::{Binding, Kernel, KernelSource};
