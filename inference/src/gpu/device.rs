//! Adapters, and the device that the engine owns.
//!
//! The engine opens an instance and a device of its own: sharing the window's device would make the two wait for each
//! other's submits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::graph::ExecError;

/// How long the news that a buffer is mapped may take after the device is done: another thread that waits for the same device may be the one that is told.
pub(super) const MAPPED: std::time::Duration = std::time::Duration::from_secs(10);

/// Which adapters may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdapterChoice {
    /// A discrete, else an integrated, else a virtual GPU; never a software one.
    Hardware,
    /// Any adapter, hardware first.
    Any,
}

/// Which limits the device is opened with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitPolicy {
    /// All that the adapter offers.
    #[default]
    Adapter,
    /// WebGPU's defaults (128 MiB bindings, 256 MiB buffers) and no optional feature: what any conforming device has. For tests.
    Defaults,
}

/// What is known about an adapter.
#[derive(Clone, Debug, Serialize)]
pub struct AdapterReport {
    /// The driver's name for it.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// `discrete GPU`, `integrated GPU`, `virtual GPU`, `CPU` or `other`.
    pub kind: String,
    /// Driver and its version.
    pub driver: String,
    /// Whether `auto` would consider it.
    pub hardware: bool,
    /// Bytes of its largest device-local memory heap, where the backend tells.
    pub memory_bytes: Option<u64>,
    /// Largest storage buffer binding in bytes.
    pub max_storage_binding: u64,
    /// Largest buffer in bytes.
    pub max_buffer: u64,
    /// Workgroup memory in bytes.
    pub workgroup_memory: u32,
    /// Most invocations in a workgroup.
    pub workgroup_invocations: u32,
    /// Subgroup sizes, smallest and largest; 0 where there are none.
    pub subgroup_sizes: [u32; 2],
    /// Optional features of use to inference that it offers.
    pub features: Vec<&'static str>,
}

fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    wgpu::Instance::new(descriptor)
}

fn rank(kind: wgpu::DeviceType) -> u8 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

fn is_hardware(kind: wgpu::DeviceType) -> bool {
    rank(kind) <= 2
}

/// Adapters in the order in which they would be taken.
fn sorted_adapters(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    let mut adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    // Vulkan before DirectX 12 for the same card: DirectX lacks cooperative matrices in naga's output.
    let backend =
        |adapter: &wgpu::Adapter| u8::from(adapter.get_info().backend == wgpu::Backend::Dx12);
    adapters.sort_by_key(|adapter| (rank(adapter.get_info().device_type), backend(adapter)));
    adapters
}

/// All adapters of this machine, best first.
#[must_use]
pub fn adapters() -> Vec<AdapterReport> {
    sorted_adapters(&instance()).iter().map(report).collect()
}

fn report(adapter: &wgpu::Adapter) -> AdapterReport {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let offered = adapter.features();
    let features = [
        (wgpu::Features::SHADER_F16, "f16"),
        (wgpu::Features::SUBGROUP, "subgroups"),
        (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
        (wgpu::Features::PIPELINE_CACHE, "pipeline cache"),
        (
            wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
            "cooperative matrix",
        ),
    ];
    AdapterReport {
        name: info.name.clone(),
        backend: info.backend.to_string(),
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete GPU",
            wgpu::DeviceType::IntegratedGpu => "integrated GPU",
            wgpu::DeviceType::VirtualGpu => "virtual GPU",
            wgpu::DeviceType::Cpu => "CPU",
            wgpu::DeviceType::Other => "other",
        }
        .to_owned(),
        driver: format!("{} {}", info.driver, info.driver_info)
            .trim()
            .to_owned(),
        hardware: is_hardware(info.device_type),
        memory_bytes: device_memory(adapter),
        max_storage_binding: limits.max_storage_buffer_binding_size,
        max_buffer: limits.max_buffer_size,
        workgroup_memory: limits.max_compute_workgroup_storage_size,
        workgroup_invocations: limits.max_compute_invocations_per_workgroup,
        subgroup_sizes: [info.subgroup_min_size, info.subgroup_max_size],
        features: features
            .iter()
            .filter(|(feature, _)| offered.contains(*feature))
            .map(|(_, name)| *name)
            .collect(),
    }
}

/// Bytes of the largest device-local heap. wgpu itself does not tell; Vulkan does.
#[cfg(not(target_vendor = "apple"))]
fn device_memory(adapter: &wgpu::Adapter) -> Option<u64> {
    const DEVICE_LOCAL: u32 = 1;
    // SAFETY: the handles are only used to read properties, and live as long as the guard.
    unsafe {
        let adapter = adapter.as_hal::<wgpu::hal::api::Vulkan>()?;
        let instance = adapter.shared_instance().raw_instance();
        let properties =
            instance.get_physical_device_memory_properties(adapter.raw_physical_device());
        let heaps = properties
            .memory_heaps
            .get(..properties.memory_heap_count as usize)?;
        heaps
            .iter()
            .filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0)
            .map(|heap| heap.size)
            .max()
    }
}

#[cfg(target_vendor = "apple")]
fn device_memory(_adapter: &wgpu::Adapter) -> Option<u64> {
    None
}

/// What the driver reported apart from the calls' results.
#[derive(Debug, Default)]
struct Trouble {
    lost: Option<String>,
    errors: Vec<wgpu::Error>,
}

/// The engine's device, with its queue and limits.
pub struct GpuDevice {
    /// The device.
    pub device: wgpu::Device,
    /// Its queue; one thread submits.
    pub queue: wgpu::Queue,
    /// Limits it was opened with.
    pub limits: wgpu::Limits,
    /// Optional features that it was opened with.
    pub features: wgpu::Features,
    /// What is known about the adapter.
    pub report: AdapterReport,
    trouble: Arc<Mutex<Trouble>>,
    made: AtomicU64,
}

impl GpuDevice {
    /// Opens the best adapter.
    ///
    /// # Errors
    /// If there is no such adapter or the driver refuses.
    pub fn open(choice: AdapterChoice, policy: LimitPolicy) -> Result<Self, ExecError> {
        let backend = |message: String| ExecError::Backend {
            context: "opening a graphics device".into(),
            message,
        };
        let candidates = sorted_adapters(&instance());
        let mut refusals = Vec::new();
        for adapter in candidates {
            if choice == AdapterChoice::Hardware && !is_hardware(adapter.get_info().device_type) {
                continue;
            }
            match Self::open_adapter(&adapter, policy) {
                Ok(device) => return Ok(device),
                Err(error) => refusals.push(format!("{}: {error}", adapter.get_info().name)),
            }
        }
        Err(backend(if refusals.is_empty() {
            "no adapter was found; install a Vulkan driver (Linux, Windows), or use '--device cpu'"
                .into()
        } else {
            refusals.join("; ")
        }))
    }

    fn open_adapter(
        adapter: &wgpu::Adapter,
        policy: LimitPolicy,
    ) -> Result<Self, wgpu::RequestDeviceError> {
        let limits = match policy {
            LimitPolicy::Adapter => adapter.limits(),
            LimitPolicy::Defaults => wgpu::Limits::default(),
        };
        // Kernels that use subgroups or 16-bit floats have portable counterparts; timestamps are for profiles.
        let useful = wgpu::Features::PIPELINE_CACHE
            | wgpu::Features::SHADER_F16
            | wgpu::Features::SUBGROUP
            | wgpu::Features::TIMESTAMP_QUERY;
        let features = match policy {
            LimitPolicy::Adapter => adapter.features() & useful,
            LimitPolicy::Defaults => wgpu::Features::empty(),
        };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
                label: Some("diptych engine"),
                required_features: features,
                required_limits: limits.clone(),
                experimental_features: wgpu::ExperimentalFeatures::disabled(),
                memory_hints: wgpu::MemoryHints::MemoryUsage,
                trace: wgpu::Trace::Off,
            }))?;
        let trouble = Arc::new(Mutex::new(Trouble::default()));
        let keep = Arc::clone(&trouble);
        // By default such errors panic; here they are kept and become the result of the run that they spoil.
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            tracing::error!("graphics error: {error}");
            keep.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .errors
                .push(error);
        }));
        let keep = Arc::clone(&trouble);
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                tracing::error!("graphics device lost: {message}");
            }
            keep.lock().unwrap_or_else(PoisonError::into_inner).lost =
                Some(format!("{reason:?}: {message}"));
        });
        Ok(Self {
            device,
            queue,
            limits,
            features,
            report: report(adapter),
            trouble,
            made: AtomicU64::new(0),
        })
    }

    /// Counts one more thing that was made on the device: a buffer, a bind group or a pipeline.
    pub(super) fn note_made(&self) {
        self.made.fetch_add(1, Ordering::Relaxed);
    }

    /// How many buffers, bind groups and pipelines of ours were made on it so far; what the driver and wgpu make for themselves is not among them.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Reports what the driver complained about since the last call.
    ///
    /// # Errors
    /// The device loss, or the first uncaptured error.
    pub fn check(&self, context: &str) -> Result<(), ExecError> {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = &trouble.lost {
            return Err(ExecError::DeviceLost {
                reason: reason.clone(),
            });
        }
        let errors = std::mem::take(&mut trouble.errors);
        match errors.into_iter().next() {
            None => Ok(()),
            // The driver knows of other programs' memory, too; what it cannot give may be there once ours is given back.
            Some(wgpu::Error::OutOfMemory { .. }) => Err(ExecError::OutOfMemory {
                what: format!("the graphics driver, while {context},"),
                needed: 1,
                available: 0,
                budget: self.report.memory_bytes.unwrap_or(0) >> 20,
            }),
            Some(error) => Err(ExecError::Backend {
                context: context.to_owned(),
                message: error.to_string(),
            }),
        }
    }

    /// Waits until all submitted work is done.
    ///
    /// # Errors
    /// If the device was lost or the driver complained.
    pub fn wait(&self, context: &str) -> Result<(), ExecError> {
        let polled = self.device.poll(wgpu::PollType::wait_indefinitely());
        self.check(context)?;
        polled.map(|_| ()).map_err(|error| ExecError::DeviceLost {
            reason: error.to_string(),
        })
    }

    /// Waits until a submit is done.
    ///
    /// # Errors
    /// As [`GpuDevice::wait`].
    pub fn wait_for(
        &self,
        submission: wgpu::SubmissionIndex,
        context: &str,
    ) -> Result<(), ExecError> {
        let polled = self.device.poll(wgpu::PollType::Wait {
            submission_index: Some(submission),
            timeout: None,
        });
        match (polled, self.check(context)) {
            (Ok(_), checked) => checked,
            (Err(_), Err(lost @ ExecError::DeviceLost { .. })) => Err(lost),
            // Whatever else a lost device complains of is no cause.
            (Err(error), _) => Err(ExecError::DeviceLost {
                reason: error.to_string(),
            }),
        }
    }

    /// Tells whoever asks next that the driver has run out of memory. For tests of recovery.
    pub fn starve(&self) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.errors.push(wgpu::Error::OutOfMemory {
            source: "no memory is left".into(),
        });
    }

    /// Destroys the device, as if the driver had lost it. For tests of recovery.
    pub fn lose(&self) {
        self.device.destroy();
    }
}
