//! The executor on candle-core: the fallback where there is no GPU, and the oracle for every GPU kernel.
//!
//! Two modes ([`CpuMode`]) share one plan and one set of ops. Values are plain `f32` or `u32` vectors; candle multiplies
//! the oracle's matrices (and quantised weights on processors for which we have no kernels), and loops over slices on a team of threads do the rest,
//! tiled so that no op takes memory that grows with the product of two sequence lengths.
//!
//! * [`executor`](self): [`CpuExecutor`], its plans (`plan.rs`), weights (`weights.rs`) and memory budget (`budget.rs`).
//! * `run.rs`: walks a plan's nodes and hands them to the ops.
//! * One file per family of ops: `linear.rs`, `conv.rs`, `norm.rs`, `attention.rs`, `kv.rs`, `elementwise.rs`, `shape.rs`.
//! * `packed/`: quantised weights of GGUF files, multiplied as they are by kernels of our own.
//! * Beneath them: `matmul.rs` (checked views over gemm), `math.rs` (vectorisable functions), `decode.rs` (weights to
//!   `f32`), `parallel.rs` (tasks in bands, with a look at the interrupt between them),
//!   `team.rs` (the threads that share them), `pool.rs` (memory of values).

mod attention;
mod budget;
pub(crate) mod candidates;
mod conv;
mod decode;
pub(crate) mod draw;
mod elementwise;
mod executor;
mod experts;
mod few;
mod kv;
mod linear;
mod math;
mod matmul;
mod norm;
#[cfg(target_arch = "x86_64")]
mod packed;
#[cfg(not(target_arch = "x86_64"))]
#[path = "packed/elsewhere.rs"]
mod packed;
mod parallel;
mod plan;
mod pool;
#[cfg(target_arch = "x86_64")]
mod product;
mod run;
mod shape;
mod team;
pub mod testing;
#[cfg(test)]
mod tests;
mod weights;

pub use executor::{CpuExecutor, CpuMode};
