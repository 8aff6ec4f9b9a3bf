//! Compute pipelines, made once for each kernel; several at a time, and kept on disk where the backend can.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Instant;

use diptych_shaders::{Binding, Kernel};
use rayon::prelude::*;

use super::device::GpuDevice;
use super::disk;
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
    /// What the driver made of earlier ones, and where it is kept.
    stored: Option<(wgpu::PipelineCache, PathBuf)>,
    /// Bytes that were read from there.
    loaded: usize,
}

impl Pipelines {
    /// Pipelines that are kept in a file of this folder, if the backend can. A file that is missing, damaged, or of another driver is
    /// the same as none.
    pub fn in_folder(device: &GpuDevice, folder: &std::path::Path) -> Self {
        let mut pipelines = Self::default();
        if !device.features.contains(wgpu::Features::PIPELINE_CACHE) {
            return pipelines;
        }
        let path = folder.join(format!(
            "pipelines-{}.bin",
            disk::device_key(&device.report)
        ));
        let data = disk::read_checked(&path);
        pipelines.loaded = data.as_ref().map_or(0, Vec::len);
        let scope = device
            .device
            .push_error_scope(wgpu::ErrorFilter::Validation);
        // SAFETY: the bytes were given by `get_data` of a cache of this adapter and driver: the file is named by both, and carries a
        // checksum of its content. The driver checks its own header besides.
        let cache = unsafe {
            device
                .device
                .create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                    label: Some("diptych"),
                    data: data.as_deref(),
                    fallback: true,
                })
        };
        match pollster::block_on(scope.pop()) {
            None => pipelines.stored = Some((cache, path)),
            Some(error) => tracing::warn!("compiled kernels cannot be kept: {error}"),
        }
        pipelines
    }

    /// Bytes of compiled kernels that an earlier run had left.
    pub fn loaded_bytes(&self) -> usize {
        self.loaded
    }

    /// Makes those pipelines that are not there yet, several at a time, and keeps them on disk.
    ///
    /// # Errors
    /// If the driver cannot compile one.
    pub fn make(
        &mut self,
        device: &GpuDevice,
        kernels: impl Iterator<Item = Kernel>,
    ) -> Result<(), ExecError> {
        let missing: HashSet<Kernel> = kernels
            .filter(|kernel| !self.known.contains_key(kernel))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let cache = self.stored.as_ref().map(|(cache, _)| cache);
        let made: Vec<(Kernel, Pipeline)> = missing
            .into_par_iter()
            .map(|kernel| compile(device, kernel, cache).map(|pipeline| (kernel, pipeline)))
            .collect::<Result<_, _>>()?;
        self.known.extend(made);
        if let Some((cache, path)) = &self.stored
            && let Some(data) = cache.get_data()
            && let Err(error) = disk::write_checked(path, &data)
        {
            // Without it the next start takes longer; nothing else is lost.
            tracing::warn!("compiled kernels were not kept: {error}");
        }
        Ok(())
    }

    /// The pipeline of a kernel.
    ///
    /// # Errors
    /// If the driver cannot compile it.
    pub fn get(&mut self, device: &GpuDevice, kernel: Kernel) -> Result<Pipeline, ExecError> {
        if let Some(pipeline) = self.known.get(&kernel) {
            return Ok(pipeline.clone());
        }
        let cache = self.stored.as_ref().map(|(cache, _)| cache);
        let made = compile(device, kernel, cache)?;
        self.known.insert(kernel, made.clone());
        Ok(made)
    }
}

/// Compiles a kernel. Error scopes belong to a thread, so several threads may do this at once.
fn compile(
    device: &GpuDevice,
    kernel: Kernel,
    cache: Option<&wgpu::PipelineCache>,
) -> Result<Pipeline, ExecError> {
    let (name, begun) = (kernel.name(), Instant::now());
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
    let pipeline_layout = device
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
            cache,
        });
    let errors = [
        pollster::block_on(internal.pop()),
        pollster::block_on(scope.pop()),
    ];
    device.note_made();
    match errors.into_iter().flatten().next() {
        None => {
            // A kernel that a driver finds hard shows here.
            let took = begun.elapsed().as_millis();
            tracing::debug!("{name} compiled in {took} ms");
            Ok(Pipeline { pipeline, layout })
        }
        Some(error) => Err(ExecError::Backend {
            context: format!("compiling kernel {name}"),
            message: error.to_string(),
        }),
    }
}
