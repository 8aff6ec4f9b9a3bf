//! Parity of every architecture with `transformers` and `diffusers`, on all executors.
//!
//! The fixtures are tiny random-weight models with the outputs of the reference programs (`tests/reference`). The bound is the largest
//! difference over the largest value of the reference: 1e-3 in f32. Every test prints its worst error for each executor
//! (`cargo test --release -p diptych-tests --test parity -- --nocapture`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod autoencoders;
mod clip;
mod common;
mod folders;
mod full_size;
mod fused;
mod kv_types;
mod language;
mod llama;
mod moe;
mod packed;
mod refusals;
mod scores;
mod single_files;
mod split;
mod unet;
mod upscalers;
