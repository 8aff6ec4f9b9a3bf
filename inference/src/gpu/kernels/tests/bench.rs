//! Runs one lowered op on a device and guards what lies around its bindings.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use diptych_shaders::{Binding, Kernel};

use super::super::{Arg, Fusion, KernelLimits, LowerContext, PackedLayout, lower};
use crate::formats::TensorData;
use crate::graph::{HostData, HostTensor, KvShape, Op, WeightId};

/// Bytes of the zones around each value.
const GUARD: u64 = 4096;
/// A quiet NaN that no kernel makes.
const POISON: u32 = 0x7fc0_d1e5;

/// One op and all that it works on.
pub(super) struct Case {
    pub op: Op,
    pub operands: Vec<HostTensor>,
    pub weights: Vec<TensorData>,
    /// Shape of the op's own result.
    pub output: Vec<usize>,
    pub fusion: Fusion,
    pub states: Vec<KvShape>,
    /// Keys and values of the layers of the one state, if there is one.
    pub caches: Vec<[Vec<f32>; 2]>,
}

impl Case {
    pub fn new(
        op: Op,
        operands: Vec<HostTensor>,
        weights: Vec<TensorData>,
        output: &[usize],
    ) -> Self {
        Self {
            op,
            operands,
            weights,
            output: output.to_vec(),
            fusion: Fusion::default(),
            states: Vec::new(),
            caches: Vec::new(),
        }
    }
}

/// What a run left.
pub(super) struct Outcome {
    pub output: Vec<f32>,
    pub caches: Vec<[Vec<f32>; 2]>,
    pub kernels: Vec<Kernel>,
}

type Pipeline = (wgpu::ComputePipeline, wgpu::BindGroupLayout);

/// One device for all tests, opened with WebGPU's default limits and no optional feature.
pub(super) struct Bench {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipelines: Mutex<HashMap<(Kernel, bool), Pipeline>>,
}

impl Bench {
    pub fn get() -> &'static Self {
        static BENCH: OnceLock<Bench> = OnceLock::new();
        BENCH.get_or_init(|| {
            Self::open(wgpu::Features::empty()).expect("a device with default limits")
        })
    }

    /// A device with 16-bit floats in shaders, if the adapter offers them.
    pub fn with_halves() -> Option<&'static Self> {
        static BENCH: OnceLock<Option<Bench>> = OnceLock::new();
        BENCH
            .get_or_init(|| Self::open(wgpu::Features::SHADER_F16))
            .as_ref()
    }

    /// A device with subgroups, if the adapter offers them, and how many lanes the smallest have.
    pub fn with_subgroups() -> Option<(&'static Self, u32)> {
        static BENCH: OnceLock<Option<Bench>> = OnceLock::new();
        let bench = BENCH
            .get_or_init(|| Self::open(wgpu::Features::SUBGROUP))
            .as_ref()?;
        Some((bench, bench.device.adapter_info().subgroup_min_size))
    }

    /// Nothing if the adapter does not offer that.
    fn open(features: wgpu::Features) -> Option<Self> {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = wgpu::Backends::PRIMARY;
        let instance = wgpu::Instance::new(descriptor);
        let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
        let adapter = adapters.into_iter().next().expect(
            "a graphics adapter; where there is no GPU, install Mesa's software Vulkan (lavapipe)",
        );
        println!("kernels run on {}", adapter.get_info().name);
        if !adapter.features().contains(features) {
            return None;
        }
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            required_limits: wgpu::Limits::default(),
            required_features: features,
            ..Default::default()
        }))
        .expect("a device with what the adapter offers");
        Some(Self {
            device,
            queue,
            pipelines: Mutex::default(),
        })
    }

    fn pipeline(&self, kernel: Kernel, checked: bool) -> Pipeline {
        let mut pipelines = self.pipelines.lock().unwrap();
        let made = pipelines.entry((kernel, checked)).or_insert_with(|| {
            let source = kernel.source();
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(&source.name),
                source: wgpu::ShaderSource::Wgsl(source.source.into()),
            };
            let checks = if checked {
                wgpu::ShaderRuntimeChecks::checked()
            } else {
                wgpu::ShaderRuntimeChecks::unchecked()
            };
            // SAFETY: that the kernels stay within their bindings, end their loops and divide by no zero is what is tested here.
            let module = unsafe { self.device.create_shader_module_trusted(descriptor, checks) };
            let kinds = std::iter::once(wgpu::BufferBindingType::Uniform).chain(
                source
                    .bindings
                    .iter()
                    .map(|binding| wgpu::BufferBindingType::Storage {
                        read_only: *binding == Binding::Read,
                    }),
            );
            let entries: Vec<_> = kinds
                .enumerate()
                .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
                    binding: binding as u32,
                    visibility: wgpu::ShaderStages::COMPUTE,
                    ty: wgpu::BindingType::Buffer {
                        ty,
                        has_dynamic_offset: false,
                        min_binding_size: None,
                    },
                    count: None,
                })
                .collect();
            let layout = self
                .device
                .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                    label: Some(&source.name),
                    entries: &entries,
                });
            let pipeline_layout =
                self.device
                    .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                        label: Some(&source.name),
                        bind_group_layouts: &[Some(&layout)],
                        immediate_size: 0,
                    });
            let pipeline = self
                .device
                .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: Some(&source.name),
                    layout: Some(&pipeline_layout),
                    module: &module,
                    entry_point: Some(source.entry),
                    compilation_options: wgpu::PipelineCompilationOptions {
                        zero_initialize_workgroup_memory: false,
                        ..Default::default()
                    },
                    cache: None,
                });
            (pipeline, layout)
        });
        made.clone()
    }

    /// A buffer with `words` (or poison, if there are none) between guards.
    fn guarded(&self, words: &[u32], bytes: u64) -> wgpu::Buffer {
        let mut all = vec![POISON; ((bytes + 2 * GUARD) / 4) as usize];
        let start = (GUARD / 4) as usize;
        all[start..start + words.len()].copy_from_slice(words);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes + 2 * GUARD,
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_DST
                | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        self.queue
            .write_buffer(&buffer, 0, bytemuck::cast_slice(&all));
        buffer
    }

    fn read(&self, buffer: &wgpu::Buffer) -> Vec<u32> {
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: buffer.size(),
            usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
        self.queue.submit([encoder.finish()]);
        staging
            .slice(..)
            .map_async(wgpu::MapMode::Read, |result| result.unwrap());
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .unwrap();
        let view = staging.slice(..).get_mapped_range().unwrap();
        bytemuck::cast_slice::<u8, u32>(&view).to_vec()
    }

    /// The words between the guards, which must be as they were.
    fn read_guarded(&self, what: &str, buffer: &wgpu::Buffer) -> Vec<u32> {
        let mut words = self.read(buffer);
        let guard = (GUARD / 4) as usize;
        let behind = words.split_off(words.len() - guard);
        let inside = words.split_off(guard);
        assert!(
            words.iter().all(|&word| word == POISON),
            "{what}: written before its beginning"
        );
        assert!(
            behind.iter().all(|&word| word == POISON),
            "{what}: written behind its end"
        );
        inside
    }

    pub fn run(&self, case: &Case, limits: &KernelLimits) -> Outcome {
        let layouts: Vec<PackedLayout> = case
            .weights
            .iter()
            .map(|weight| PackedLayout::of(weight, limits).unwrap())
            .collect();
        let shapes: Vec<&[usize]> = case
            .operands
            .iter()
            .map(|operand| operand.shape.as_slice())
            .collect();
        let context = LowerContext {
            label: "test",
            operands: &shapes,
            output: &case.output,
            fusion: &case.fusion,
            weights: &|id: WeightId| &layouts[id.0],
            states: &case.states,
            limits,
        };
        let lowered = lower(&case.op, &context).unwrap();

        let mut buffers: HashMap<Arg, (wgpu::Buffer, u64)> = HashMap::new();
        for (index, operand) in case.operands.iter().enumerate() {
            let words: &[u32] = match &operand.data {
                HostData::F32(values) => bytemuck::cast_slice(values),
                HostData::U32(values) => values,
            };
            let bytes = words.len() as u64 * 4;
            buffers.insert(Arg::Operand(index), (self.guarded(words, bytes), bytes));
        }
        for (index, (weight, layout)) in case.weights.iter().zip(&layouts).enumerate() {
            for shard in 0..layout.shards.len() {
                let mut packed = Vec::new();
                layout.pack_shard(weight, shard, &mut packed).unwrap();
                let bytes = packed.len() as u64;
                assert_eq!(bytes, layout.shard_bytes(shard));
                let buffer = self.guarded(&bytemuck::pod_collect_to_vec::<u8, u32>(&packed), bytes);
                buffers.insert(
                    Arg::Weight {
                        weight: WeightId(index),
                        shard,
                    },
                    (buffer, bytes),
                );
            }
        }
        for (layer, [keys, values]) in case.caches.iter().enumerate() {
            for (arg, data) in [
                (Arg::KvKeys { state: 0, layer }, keys),
                (Arg::KvValues { state: 0, layer }, values),
            ] {
                let bytes = data.len() as u64 * 4;
                buffers.insert(
                    arg,
                    (self.guarded(bytemuck::cast_slice(data), bytes), bytes),
                );
            }
        }
        for (index, &bytes) in lowered.scratch.iter().enumerate() {
            buffers.insert(Arg::Scratch(index), (self.guarded(&[], bytes), bytes));
        }
        let halves = if case.fusion.gate.is_some() { 2 } else { 1 };
        let output_bytes = (case.output.iter().product::<usize>() / halves) as u64 * 4;
        buffers.insert(Arg::Output, (self.guarded(&[], output_bytes), output_bytes));

        // With and without the checks that naga adds: results must not need them.
        let checked = *limits == KernelLimits::default();
        let mut encoder = self.device.create_command_encoder(&Default::default());
        for dispatch in &lowered.dispatches {
            let name = dispatch.kernel.name();
            assert!(
                dispatch
                    .grid
                    .iter()
                    .all(|&groups| (1..=limits.max_workgroups).contains(&groups)),
                "{name}"
            );
            let uniforms = self.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 256,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            self.queue
                .write_buffer(&uniforms, 0, bytemuck::cast_slice(&dispatch.uniforms));
            let (pipeline, layout) = self.pipeline(dispatch.kernel, checked);
            let mut entries = vec![wgpu::BindGroupEntry {
                binding: 0,
                resource: uniforms.as_entire_binding(),
            }];
            for (index, bound) in dispatch.bindings.iter().enumerate() {
                let (buffer, bytes) = &buffers[&bound.arg];
                let (start, len) = (bound.range.start, bound.range.end - bound.range.start);
                assert!(
                    start.is_multiple_of(limits.storage_alignment) && bound.range.end <= *bytes,
                    "{name}: {bound:?}"
                );
                assert!(
                    len > 0 && len <= limits.max_storage_binding,
                    "{name}: {bound:?}"
                );
                // To the end of the buffer rather than of the range: accesses behind the range are to be seen, not to be caught.
                let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset: GUARD + start,
                    size: std::num::NonZero::new(buffer.size() - GUARD - start),
                });
                entries.push(wgpu::BindGroupEntry {
                    binding: index as u32 + 1,
                    resource,
                });
            }
            let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &layout,
                entries: &entries,
            });
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            let [x, y, z] = dispatch.grid;
            pass.dispatch_workgroups(x, y, z);
        }
        self.queue.submit([encoder.finish()]);

        let as_floats =
            |words: Vec<u32>| words.into_iter().map(f32::from_bits).collect::<Vec<f32>>();
        for (arg, (buffer, _)) in &buffers {
            self.read_guarded(&format!("{arg:?} of {}", case.op.name()), buffer);
        }
        let output = as_floats(self.read_guarded("output", &buffers[&Arg::Output].0));
        let caches = (0..case.caches.len())
            .map(|layer| {
                [
                    Arg::KvKeys { state: 0, layer },
                    Arg::KvValues { state: 0, layer },
                ]
                .map(|arg| as_floats(self.read_guarded("cache", &buffers[&arg].0)))
            })
            .collect();
        let kernels = lowered
            .dispatches
            .iter()
            .map(|dispatch| dispatch.kernel)
            .collect();
        Outcome {
            output,
            caches,
            kernels,
        }
    }
}
