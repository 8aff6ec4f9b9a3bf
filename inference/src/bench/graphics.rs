//! What a GPU can do at best: reading memory, and multiplying and adding in f32.

use std::time::Instant;

use super::report::{DeviceReport, LimitReport};
use crate::gpu::{GpuDevice, GpuExecutor};
use crate::graph::{ExecError, Executor as _};

/// Invocations in a workgroup.
const GROUP: u64 = 256;
/// Bytes of four floats.
const FOUR: u64 = 16;
/// Fours that each invocation reads.
const READS: u64 = 16;
/// Multiplications and additions of each of the eight vectors of four in an invocation, for every round.
const ROUNDS: u32 = 64;

/// Reads: neighbours read neighbours, and each invocation so many fours. Nothing is written but what never happens.
const READ: &str = "
struct Sizes { stride: u32, rounds: u32 }
@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> given: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> to: array<vec4<f32>>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var sum = vec4<f32>(0.0);
    var at = id.x;
    for (var i = 0u; i < sizes.rounds; i += 1u) {
        sum += given[at];
        at += sizes.stride;
    }
    if (sum.x == 0.123456789) { to[0] = sum; }
}
";

/// Multiplies and adds: eight chains that do not wait for each other.
const MULTIPLY: &str = "
struct Sizes { stride: u32, rounds: u32 }
@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> given: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> to: array<vec4<f32>>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let m = vec4<f32>(0.999) + given[0];
    let b = vec4<f32>(f32(id.x) * 1e-9);
    var a0 = b; var a1 = b + 1.0; var a2 = b + 2.0; var a3 = b + 3.0;
    var a4 = b + 4.0; var a5 = b + 5.0; var a6 = b + 6.0; var a7 = b + 7.0;
    for (var i = 0u; i < sizes.rounds; i += 1u) {
        a0 = fma(a0, m, b); a1 = fma(a1, m, b); a2 = fma(a2, m, b); a3 = fma(a3, m, b);
        a4 = fma(a4, m, b); a5 = fma(a5, m, b); a6 = fma(a6, m, b); a7 = fma(a7, m, b);
    }
    let sum = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7;
    if (sum.x == 0.123456789) { to[0] = sum; }
}
";

pub(super) fn describe(executor: &GpuExecutor) -> DeviceReport {
    let device = executor.device();
    let enabled = device.device.features();
    let known = [
        (wgpu::Features::SHADER_F16, "f16"),
        (wgpu::Features::SUBGROUP, "subgroups"),
        (
            wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
            "cooperative matrix",
        ),
        (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
        (wgpu::Features::PIPELINE_CACHE, "pipeline cache"),
    ];
    let features: Vec<&str> = known
        .iter()
        .filter(|(feature, _)| enabled.contains(*feature))
        .map(|(_, name)| *name)
        .collect();
    // Kernels can use no more than the device was opened with.
    let tier: Vec<&str> = features
        .iter()
        .copied()
        .filter(|name| !["timestamps", "pipeline cache"].contains(name))
        .collect();
    DeviceReport {
        executor: "gpu".into(),
        name: executor.device_name(),
        driver: Some(device.report.driver.clone()),
        tier: match tier.as_slice() {
            [] => "portable f32 kernels".into(),
            tier => format!("kernels may use {}", tier.join(", ")),
        },
        features: features.iter().map(|&name| name.to_owned()).collect(),
        threads: None,
    }
}

/// Measures both.
///
/// # Errors
/// If the device fails.
pub(super) fn limits(executor: &GpuExecutor, quick: bool) -> Result<LimitReport, ExecError> {
    let device = executor.device();
    // Software computes in the host's caches and is slow: less will do.
    let most = match (device.report.hardware, quick) {
        (true, false) => 1 << 30,
        (true, true) => 512 << 20,
        (false, _) => 128 << 20,
    };
    let allowed = device
        .limits
        .max_storage_buffer_binding_size
        .min(device.limits.max_buffer_size);
    let groups_allowed = u64::from(device.limits.max_compute_workgroups_per_dimension);
    let per_group = GROUP * FOUR * READS;
    let groups =
        (allowed.min(most).min(executor.memory().budget / 4) / per_group).clamp(1, groups_allowed);
    let bytes = groups * per_group;
    let probe = Probe::new(device, bytes)?;
    let reading = probe.fastest(READ, groups, [(groups * GROUP) as u32, READS as u32])?;
    let groups = if device.report.hardware { 16_384 } else { 64 };
    let multiplying = probe.fastest(MULTIPLY, groups, [0, ROUNDS])?;
    let operations = groups * GROUP * u64::from(ROUNDS) * 8 * 4 * 2;
    Ok(LimitReport {
        bandwidth: bytes as f64 / reading,
        flops: operations as f64 / multiplying,
    })
}

/// Buffers for both kernels.
struct Probe<'a> {
    device: &'a GpuDevice,
    from: wgpu::Buffer,
    to: wgpu::Buffer,
    sizes: wgpu::Buffer,
}

impl<'a> Probe<'a> {
    fn new(device: &'a GpuDevice, bytes: u64) -> Result<Self, ExecError> {
        let buffer = |size, usage| {
            device.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("bench"),
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        let storage = wgpu::BufferUsages::STORAGE;
        let probe = Self {
            device,
            // wgpu fills it with zeros at first use, so that memory is really there.
            from: buffer(bytes, storage),
            to: buffer(256, storage),
            sizes: buffer(
                16,
                wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            ),
        };
        device.check("making buffers to measure with")?;
        Ok(probe)
    }

    /// Seconds of one dispatch of so many workgroups, by the fastest of several submits that each take long enough for the time of a
    /// submit itself not to matter.
    fn fastest(&self, source: &str, groups: u64, sizes: [u32; 2]) -> Result<f64, ExecError> {
        let device = self.device;
        let module = device
            .device
            .create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some("bench"),
                source: wgpu::ShaderSource::Wgsl(source.into()),
            });
        let pipeline = device
            .device
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some("bench"),
                layout: None,
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: None,
            });
        let group = {
            let entries = [
                wgpu::BindGroupEntry {
                    binding: 0,
                    resource: self.sizes.as_entire_binding(),
                },
                wgpu::BindGroupEntry {
                    binding: 1,
                    resource: self.from.as_entire_binding(),
                },
                wgpu::BindGroupEntry {
                    binding: 2,
                    resource: self.to.as_entire_binding(),
                },
            ];
            device.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("bench"),
                layout: &pipeline.get_bind_group_layout(0),
                entries: &entries,
            })
        };
        device
            .queue
            .write_buffer(&self.sizes, 0, bytemuck::cast_slice(&sizes));
        device.wait("measuring the device")?;
        let submit = |count: u32| -> Result<f64, ExecError> {
            let started = Instant::now();
            let mut encoder = device
                .device
                .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                pass.set_pipeline(&pipeline);
                pass.set_bind_group(0, &group, &[]);
                for _ in 0..count {
                    pass.dispatch_workgroups(u32::try_from(groups).unwrap_or(u32::MAX), 1, 1);
                }
            }
            device.queue.submit([encoder.finish()]);
            device.wait("measuring the device")?;
            Ok(started.elapsed().as_secs_f64())
        };
        // The first one compiles and fills.
        submit(1)?;
        let once = submit(1)?;
        let count = (20e-3 / once).clamp(1.0, 64.0) as u32;
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            best = best.min(submit(count)? / f64::from(count));
        }
        Ok(best)
    }
}
