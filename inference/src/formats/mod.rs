//! File formats that models and pictures come in. Every parser treats its input as hostile.

pub mod atomic;
pub mod dequant;
pub mod detect;
pub mod diffusers;
pub mod diffusion_model;
pub mod dtype;
pub mod embedding;
pub mod error;
pub mod gguf;
pub mod json;
pub mod ldm;
mod lokr;
pub mod lora;
pub mod metadata;
pub mod picture;
pub mod safetensors;
mod scaled;
pub mod spec;
pub mod split;
pub mod torch;
pub mod trace;
pub mod upscaler;
pub mod weights;

pub use error::FormatError;
pub use spec::TensorSpec;
pub use weights::{StorageDtype, TensorData, TensorKey, WeightMap};
