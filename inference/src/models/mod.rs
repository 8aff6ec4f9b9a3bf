//! Network architectures, each written once as a builder over the tensor graph.
//!
//! A model is made from a configuration ([`serde_json::Value`] of a `config.json`, or GGUF metadata) and a
//! [`WeightMap`](crate::formats::WeightMap). Making it checks every weight that it will ever read: whatever is
//! missing, misshapen or of an unusable type is named before anything is allocated or run. A model then builds
//! [`Graph`](crate::graph::Graph)s for concrete shapes; what a graph needs in memory is told by the graph.
//!
//! | file | architecture | reference program |
//! |---|---|---|
//! | [`clip_text`] | CLIP text encoder | transformers `CLIPTextModel` |
//! | [`unet`] | conditional U-Net of Stable Diffusion 1.x and 2.x | diffusers `UNet2DConditionModel` |
//! | [`autoencoder_kl`] | variational autoencoder | diffusers `AutoencoderKL` |
//! | [`autoencoder_tiny`] | distilled autoencoder | diffusers `AutoencoderTiny` |
//! | [`controlnet`] | ControlNet | diffusers `ControlNetModel` |
//! | [`rrdbnet`], [`srvgg`] | upscalers of the ESRGAN family | BasicSR `RRDBNet`, `SRVGGNetCompact` |
//! | [`llama`] | Llama-family decoder | transformers `LlamaForCausalLM`, llama.cpp |
//!
//! [`check`] tells of the models in files and folders which can be built. [`loader`] is the scoped view of weights that they read through, [`layers`] what several of them are made of, and
//! [`config`] reads configurations so that hostile or unknown ones are refused by name.

pub mod autoencoder_kl;
pub mod autoencoder_tiny;
pub mod check;
pub mod clip_text;
pub mod config;
pub mod controlnet;
pub mod controlnet_union;
mod error;
mod layers;
pub mod llama;
pub mod loader;
pub mod rrdbnet;
pub mod srvgg;
pub mod unet;

pub use autoencoder_kl::AutoencoderKl;
pub use autoencoder_tiny::AutoencoderTiny;
pub use clip_text::ClipText;
pub use controlnet::ControlNet;
pub use error::ModelError;
pub use llama::Llama;
pub use rrdbnet::RrdbNet;
pub use srvgg::SrVgg;
pub use unet::UNet;
