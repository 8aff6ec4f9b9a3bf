//! Encodes and submits the dispatches of a run, in pieces of about ten milliseconds; see [`super::pace`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::device::GpuDevice;
use super::pace::Pace;
use super::plan::{Command, Group};
use super::profile::has_timestamps;
use crate::graph::{ExecError, HostTime, Interrupt};

/// Submits that may be under way: one runs while the next is encoded.
const IN_FLIGHT: usize = 2;
/// Cost per millisecond that is assumed before anything was measured: a slow integrated GPU.
const FIRST_RATE: f64 = 5e7;
/// Bytes of the two timestamps of a submit.
const PAIR: u64 = 16;
/// Alignment of where timestamps are resolved to.
const RESOLVE: u64 = 256;

/// What submits dispatches, and what it has found out about the device.
pub struct Submitter {
    /// Cost (see [`Command::cost`]) that the device does in a millisecond, as last measured.
    rate: f64,
    /// What it has cost the host.
    pub host_time: HostTime,
    stamps: Option<Stamps>,
}

impl Default for Submitter {
    fn default() -> Self {
        Self {
            rate: FIRST_RATE,
            host_time: HostTime::default(),
            stamps: None,
        }
    }
}

/// A submit that is under way.
struct Under {
    index: wgpu::SubmissionIndex,
    first: usize,
    end: usize,
    cost: u64,
    /// The slot of its timestamps, if it is measured.
    slot: Option<usize>,
}

/// Submits that are under way, oldest first. A step makes no list of its own for them.
#[derive(Default)]
struct UnderWay {
    slots: [Option<Under>; IN_FLIGHT],
    oldest: usize,
    count: usize,
}

impl UnderWay {
    /// One more. There is room, since the oldest is waited for as soon as there are [`IN_FLIGHT`].
    fn push(&mut self, under: Under) {
        let free = (self.oldest + self.count) % IN_FLIGHT;
        if let Some(slot) = self.slots.get_mut(free) {
            *slot = Some(under);
            self.count = (self.count + 1).min(IN_FLIGHT);
        }
    }

    fn pop(&mut self) -> Option<Under> {
        let oldest = self.slots.get_mut(self.oldest)?.take()?;
        self.oldest = (self.oldest + 1) % IN_FLIGHT;
        self.count -= 1;
        Some(oldest)
    }

    /// The newest, which may be the last to be waited for.
    fn newest(mut self) -> Option<Under> {
        let mut newest = None;
        while let Some(next) = self.pop() {
            newest = Some(next);
        }
        newest
    }
}

impl Submitter {
    /// How many of a plan's dispatches the first submit of a run takes.
    pub fn first_submit(&self, pace: &Pace, commands: &[Command]) -> usize {
        let costs = commands.iter().map(|command| command.cost);
        pace.take(0, costs, self.rate).min(commands.len())
    }

    /// Runs the dispatches `commands`, the first of which has the number `first` in its plan, asking between submits whether to stop. Gives the last
    /// submit, which may still be under way. Where `measured`, `pace` learns what they take, if the device can tell.
    ///
    /// # Errors
    /// [`ExecError::Interrupted`], or if the device is lost.
    pub fn execute(
        &mut self,
        device: &GpuDevice,
        (commands, first): (&[Command], usize),
        state_groups: &[wgpu::BindGroup],
        interrupt: &mut dyn Interrupt,
        (pace, measured): (&mut Pace, bool),
    ) -> Result<Option<wgpu::SubmissionIndex>, ExecError> {
        let measured = measured && has_timestamps(device);
        if measured && self.stamps.is_none() {
            self.stamps = Some(Stamps::new(device));
        }
        let done = self.submit_all(
            device,
            (commands, first),
            state_groups,
            interrupt,
            (pace, measured),
        );
        if done.is_err() {
            // Some of them may still be waited for.
            self.stamps = None;
        }
        done
    }

    fn submit_all(
        &mut self,
        device: &GpuDevice,
        (commands, offset): (&[Command], usize),
        state_groups: &[wgpu::BindGroup],
        interrupt: &mut dyn Interrupt,
        (pace, measured): (&mut Pace, bool),
    ) -> Result<Option<wgpu::SubmissionIndex>, ExecError> {
        let mut under_way = UnderWay::default();
        let mut last_done = Instant::now();
        let (mut first, mut submits) = (0, 0);
        while first < commands.len() {
            if interrupt.poll() {
                device.wait("stopping")?;
                return Err(ExecError::Interrupted);
            }
            let later = commands.get(first..).unwrap_or_default();
            let costs = later.iter().map(|command| command.cost);
            let count = pace.take(offset + first, costs, self.rate).min(later.len());
            let now = later.get(..count).unwrap_or_default();
            let stamps = self.stamps.as_ref().filter(|_| measured);
            let slot = stamps.map(|_| submits % IN_FLIGHT);
            let stamps = stamps.zip(slot);
            let encoding = Instant::now();
            let encoded = encode(device, now, state_groups, stamps);
            let mut spent = encoding.elapsed();
            let index = device.queue.submit([encoded]);
            if device.report.hardware {
                // A software device computes before it returns, which is not the host's time.
                spent = encoding.elapsed();
            }
            self.host_time.dispatches += now.len() as u64;
            self.host_time.seconds += spent.as_secs_f64();
            if let Some((stamps, slot)) = stamps {
                stamps.ask(slot);
            }
            under_way.push(Under {
                index,
                first,
                end: first + now.len(),
                cost: now.iter().map(|command| command.cost).sum(),
                slot,
            });
            first += now.len();
            submits += 1;
            // Of a measured run all are waited for: its last submit is often its only one.
            while under_way.count >= IN_FLIGHT || measured && first >= commands.len() {
                let Some(oldest) = under_way.pop() else {
                    break;
                };
                device.wait_for(oldest.index, "running")?;
                let by_clock = last_done.elapsed().as_secs_f64() * 1e3;
                last_done = Instant::now();
                let stamped = oldest
                    .slot
                    .zip(self.stamps.as_ref())
                    .and_then(|(slot, stamps)| stamps.millis(slot));
                if let Some(millis) = stamped {
                    let range = offset + oldest.first..offset + oldest.end;
                    let these = commands.get(oldest.first..oldest.end).unwrap_or_default();
                    let costs = these.iter().map(|command| command.cost);
                    pace.learn(range, costs, self.rate, millis);
                }
                let millis = stamped.unwrap_or(by_clock);
                if millis > 0.01 {
                    let rate = oldest.cost as f64 / millis;
                    self.rate = (self.rate * 0.7 + rate * 0.3).clamp(1e6, 1e12);
                }
            }
        }
        Ok(under_way.newest().map(|last| last.index))
    }
}

/// Dispatches in one pass, between two timestamps if they are measured.
fn encode(
    device: &GpuDevice,
    commands: &[Command],
    state_groups: &[wgpu::BindGroup],
    stamps: Option<(&Stamps, usize)>,
) -> wgpu::CommandBuffer {
    let mut encoder = device
        .device
        .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: None,
            timestamp_writes: stamps.map(|(stamps, slot)| stamps.writes(slot)),
        });
        let mut set = None;
        for command in commands {
            let group = match &command.group {
                Group::Fixed(group) => Some(group),
                Group::States(index) => state_groups.get(*index),
            };
            if set != Some(command.kernel) {
                pass.set_pipeline(&command.pipeline);
                set = Some(command.kernel);
            }
            pass.set_bind_group(0, group, &[]);
            let [x, y, z] = command.grid;
            pass.dispatch_workgroups(x, y, z);
        }
    }
    if let Some((stamps, slot)) = stamps {
        stamps.resolve(&mut encoder, slot);
    }
    encoder.finish()
}

/// Timestamps of submits: a pair for each that may be under way.
struct Stamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    slots: Vec<(wgpu::Buffer, Arc<AtomicBool>)>,
    /// Milliseconds of a tick.
    period: f64,
}

impl Stamps {
    fn new(device: &GpuDevice) -> Self {
        let buffer = |size, usage| {
            device.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("submit times"),
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        let readback = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        Self {
            queries: device.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("submit times"),
                ty: wgpu::QueryType::Timestamp,
                count: 2 * IN_FLIGHT as u32,
            }),
            resolved: buffer(
                RESOLVE * IN_FLIGHT as u64,
                wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            ),
            slots: (0..IN_FLIGHT)
                .map(|_| (buffer(PAIR, readback), Arc::default()))
                .collect(),
            period: f64::from(device.queue.get_timestamp_period()) * 1e-6,
        }
    }

    fn writes(&self, slot: usize) -> wgpu::ComputePassTimestampWrites<'_> {
        let first = 2 * slot as u32;
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        }
    }

    fn resolve(&self, encoder: &mut wgpu::CommandEncoder, slot: usize) {
        let Some((readback, _)) = self.slots.get(slot) else {
            return;
        };
        let (first, at) = (2 * slot as u32, RESOLVE * slot as u64);
        encoder.resolve_query_set(&self.queries, first..first + 2, &self.resolved, at);
        encoder.copy_buffer_to_buffer(&self.resolved, at, readback, 0, PAIR);
    }

    /// Asks for the timestamps of a submit that is on its way.
    fn ask(&self, slot: usize) {
        let Some((readback, there)) = self.slots.get(slot) else {
            return;
        };
        there.store(false, Ordering::Relaxed);
        let there = Arc::clone(there);
        readback.map_async(wgpu::MapMode::Read, ..PAIR, move |result| {
            there.store(result.is_ok(), Ordering::Release);
        });
    }

    /// The time of a submit that is done; nothing if the driver did not tell.
    fn millis(&self, slot: usize) -> Option<f64> {
        let (readback, there) = self.slots.get(slot)?;
        let stamps = there
            .load(Ordering::Acquire)
            .then(|| readback.get_mapped_range(..PAIR).ok())
            .flatten()
            .map(|view| bytemuck::pod_collect_to_vec::<u8, u64>(&view));
        readback.unmap();
        let &[begin, end] = stamps?.as_slice() else {
            return None;
        };
        Some(end.saturating_sub(begin) as f64 * self.period).filter(|millis| *millis > 0.0)
    }
}
