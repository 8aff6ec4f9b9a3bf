//! The executor on wgpu: adapter, memory, plan, kernels, runtime.

pub mod kernels;
