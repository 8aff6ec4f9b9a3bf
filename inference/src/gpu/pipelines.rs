//! Compute pipelines, made once for each kernel.

use std::collections::HashMap;

use diptych_shaders::{Binding, Kernel};

use super::device::GpuDevice;
use crate::graph::ExecError;

/// A pipeline with the layout of its one bind group.
#[derive(Clone)]
pub struct Pipeline {
    /// The pipeline.
    pub pipeline: wgpu::ComputePipeline,
    /// Uniforms at binding 0, storage buffers from binding 1 on.
    pub layout: wgpu::BindGroupLayout,
}

/// All pipelines made so far.
#[derive(Default)]
pub struct Pipelines {
    known: HashMap<Kernel, Pipeline>,
}

impl Pipelines {
    /// The pipeline of a kernel.
    ///
    /// # Errors
    /// If the driver cannot compile it.
    pub fn get(&mut self, device: &GpuDevice, kernel: Kernel) -> Result<Pipeline, ExecError> {
        if let Some(pipeline) = self.known.get(&kernel) {
            return Ok(pipeline.clone());
        }
        let name = kernel.name();
        let label = Some(name.as_str());
        let source = kernel.source();
        let scope = device
            .device
            .push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = device.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let module = device
            .device
            .create_shader_module(wgpu::ShaderModuleDescriptor {
                label,
                source: wgpu::ShaderSource::Wgsl(source.source.into()),
            });
        let entry = |binding: u32, ty: wgpu::BufferBindingType| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty,
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let storage = kernel
            .bindings()
            .iter()
            .enumerate()
            .map(|(index, binding)| {
                let read_only = matches!(binding, Binding::Read);
                entry(
                    index as u32 + 1,
                    wgpu::BufferBindingType::Storage { read_only },
                )
            });
        let entries: Vec<_> = std::iter::once(entry(0, wgpu::BufferBindingType::Uniform))
            .chain(storage)
            .collect();
        let layout = device
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label,
                entries: &entries,
            });
        let pipeline_layout =
            device
                .device
                .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                    label,
                    bind_group_layouts: &[Some(&layout)],
                    immediate_size: 0,
                });
        let pipeline = device
            .device
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label,
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some(source.entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    // Kernels write workgroup memory before they read it, which their tests with poisoned buffers prove.
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: None,
            });
        let errors = [
            pollster::block_on(internal.pop()),
            pollster::block_on(scope.pop()),
        ];
        if let Some(error) = errors.into_iter().flatten().next() {
            return Err(ExecError::Backend {
                context: format!("compiling kernel {name}"),
                message: error.to_string(),
            });
        }
        let made = Pipeline { pipeline, layout };
        self.known.insert(kernel, made.clone());
        Ok(made)
    }
}
