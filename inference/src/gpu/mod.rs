//! The executor on wgpu: adapter, memory, plan, kernels, runtime.
//!
//! A graph is compiled once into a plan: values packed by their lifetimes into a few arenas, weights uploaded once and
//! bound read-only, and a frozen list of dispatches with their bind groups. A run only encodes that list again.
//!
//! | file | what it does |
//! |---|---|
//! | `device` | adapters and the engine's own device |
//! | `memory` | makes and counts every buffer, within a budget |
//! | `kernels` | from ops to dispatches |
//! | `merge` | products of one input as one product |
//! | `fuse` | which ops run as one |
//! | `heads` | what comes before attention over a paged cache, as one |
//! | `layout` | all dispatches of a graph, and where its values lie, before anything is allocated |
//! | `arena` | packs values by their lifetimes |
//! | `upload` | weights, packed and shared between plans |
//! | `prepare` | from a graph to a plan, all of it or streamed |
//! | `stream` | models larger than the budget: their weights pass through a ring of buffers |
//! | `kv` | KV caches |
//! | `vectors`, `fed` | latents between the steps of a picture, and runs that take them from there |
//! | `pipelines`, `plan` | pipelines and bind groups |
//! | `outline` | what a plan would do, told without making it |
//! | `profile` | a run that asks the device for the time |
//! | `disk` | what is kept between runs of the program |
//! | `tiers` | kernels that use more than every device offers, and their proof |
//! | `self_test` | whether this device computes what it should |
//! | `submit`, `pace` | dispatches on their way to the device, in pieces of about ten milliseconds |
//! | `inputs`, `readback` | what a run is given, sent where it is not there yet, and what it gives |
//! | `run` | the run of a plan, and of the next before it is asked for |
//! | `executor` | the [`Executor`](crate::graph::Executor) |

mod arena;
mod device;
mod disk;
mod executor;
mod fed;
mod fold;
mod fuse;
mod heads;
mod inputs;
mod kept;
pub mod kernels;
mod kv;
mod layout;
mod memory;
mod merge;
mod outline;
mod pace;
mod pipelines;
mod plan;
mod prepare;
mod profile;
mod readback;
mod run;
mod self_test;
mod stream;
mod submit;
mod tiers;
mod upload;
mod vectors;

pub use device::{AdapterChoice, AdapterReport, GpuDevice, LimitPolicy, adapters};
pub use executor::GpuExecutor;
pub use outline::Outline;
pub use self_test::{KernelCheck, self_test};

#[cfg(test)]
mod cache_tests;
#[cfg(test)]
mod fuse_tests;
#[cfg(test)]
mod merge_tests;
#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors_tests;
