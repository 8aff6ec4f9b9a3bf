//! Models, tensor graph, executors and the engine thread of Diptych.
//!
//! The layers, from the outside in:
//!
//! * [`engine`]: the protocol (commands, events, requests) and the background thread that owns every model.
//! * [`pipelines`]: jobs as state machines (text to image, chat).
//! * [`models`]: one file per architecture, built over the tensor graph.
//! * [`diffusion`], [`text`]: what surrounds the networks: samplers, noise, tokenizers, templates.
//! * [`formats`]: files people have: safetensors, diffusers folders, LDM checkpoints, GGUF, picture metadata.
//! * [`synthesize`], [`bench`]: models of random weights, and how fast they run.
//! * [`tools`]: what programs do with models, files and devices without the engine's thread.
//! * [`graph`]: the tensor graph; [`cpu`] and [`gpu`]: its two executors.

pub mod bench;
pub mod cpu;
pub mod diffusion;
pub mod engine;
pub mod formats;
pub mod gpu;
pub mod graph;
pub mod models;
pub mod pipelines;
pub mod synthesize;
pub mod text;
pub mod tools;
