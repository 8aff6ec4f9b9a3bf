//! Encodes and submits the dispatches of a run, in pieces of about ten milliseconds; see [`super::pace`]. The first piece of a run that is repeated was
//! encoded while the device was at work on the run before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::device::GpuDevice;
use super::pace::{Pace, SUBMIT_DISPATCHES};
use super::plan::{Command, Group};
use super::profile::has_timestamps;
use crate::graph::{ExecError, HostTime, Interrupt, StateId};

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

/// Dispatches that are to be run.
#[derive(Clone, Copy)]
pub struct List<'a> {
    /// The dispatches.
    pub commands: &'a [Command],
    /// The number of the first of them in its plan.
    pub first: usize,
    /// The bind groups of the run's states.
    pub groups: &'a [wgpu::BindGroup],
    /// What follows the last of them in the same submit.
    pub after: Option<&'a dyn Fn(&mut wgpu::CommandEncoder)>,
}

impl<'a> List<'a> {
    /// The dispatches `begin..end`, and what follows if they are the last.
    fn part(&self, begin: usize, end: usize) -> Self {
        Self {
            commands: self.commands.get(begin..end).unwrap_or_default(),
            first: self.first + begin,
            after: self.after.filter(|_| end >= self.commands.len()),
            ..*self
        }
    }

    fn costs(&self) -> impl Iterator<Item = u64> + Clone + use<'a> {
        self.commands.iter().map(|command| command.cost)
    }
}

/// The first submit of a plan's next run, encoded while the device was at work on the latest one: what a run does to the device is the same each time, so
/// that the next can begin without the host.
#[derive(Default)]
pub struct Ahead {
    made: Option<(wgpu::CommandBuffer, usize)>,
    /// Whether results are copied after the last dispatch.
    copies: bool,
    /// The states that it is for; a list that is kept, so that none is made for each run.
    states: Vec<StateId>,
}

impl Ahead {
    /// Makes nothing of it: a state is gone, or the run did not come to its end.
    pub fn forget(&mut self) {
        self.made = None;
    }

    /// Whether there is something that the next run may begin with.
    #[cfg(test)]
    pub fn is_made(&self) -> bool {
        self.made.is_some()
    }

    /// How many dispatches were encoded, if it was for a run with these states whose results stay on the device.
    pub fn without_copies(&self, states: &[StateId]) -> Option<usize> {
        let made = self.made.as_ref();
        made.filter(|_| !self.copies && self.states == states)
            .map(|(_, count)| *count)
    }

    /// What was encoded, if it is how this list begins with these states, and how many dispatches it is.
    fn take(
        &mut self,
        list: &List<'_>,
        states: &[StateId],
    ) -> Option<(wgpu::CommandBuffer, usize)> {
        // What goes on with a run leaves the beginning of the next alone.
        if list.first > 0 {
            return None;
        }
        let (copies, total) = (list.after.is_some(), list.commands.len());
        let made = self.made.take();
        made.filter(|(_, count)| *count <= total && self.copies == copies && self.states == states)
    }
}

impl Submitter {
    /// How many of a plan's dispatches the first submit of a run takes.
    pub fn first_submit(&self, pace: &Pace, commands: &[Command]) -> usize {
        let costs = commands.iter().map(|command| command.cost);
        pace.take(0, costs, self.rate).min(commands.len())
    }

    /// Runs a list, asking between submits whether to stop. Gives the last submit, which may still be under way. Where `measured`, `pace` learns what the
    /// dispatches take, if the device can tell.
    ///
    /// # Errors
    /// [`ExecError::Interrupted`], or if the device is lost.
    pub fn execute(
        &mut self,
        device: &GpuDevice,
        list: List<'_>,
        interrupt: &mut dyn Interrupt,
        (pace, measured): (&mut Pace, bool),
        (ahead, states): (&mut Ahead, &[StateId]),
    ) -> Result<Option<wgpu::SubmissionIndex>, ExecError> {
        let measured = measured && has_timestamps(device);
        if measured && self.stamps.is_none() {
            self.stamps = Some(Stamps::new(device));
        }
        if list.first == 0 && measured {
            ahead.forget();
        }
        let done = self.submit_all(device, list, interrupt, (pace, measured), (ahead, states));
        if done.is_err() {
            // Some of them may still be waited for.
            self.stamps = None;
            ahead.forget();
        }
        done
    }

    fn submit_all(
        &mut self,
        device: &GpuDevice,
        list: List<'_>,
        interrupt: &mut dyn Interrupt,
        (pace, measured): (&mut Pace, bool),
        (ahead, states): (&mut Ahead, &[StateId]),
    ) -> Result<Option<wgpu::SubmissionIndex>, ExecError> {
        let total = list.commands.len();
        let mut under_way = UnderWay::default();
        let mut last_done = Instant::now();
        let (mut first, mut submits) = (0, 0);
        while first < total {
            if interrupt.poll() {
                device.wait("stopping")?;
                return Err(ExecError::Interrupted);
            }
            let encoding = Instant::now();
            let ready = match first {
                0 => ahead.take(&list, states),
                _ => None,
            };
            let slot = self
                .stamps
                .as_ref()
                .filter(|_| measured)
                .map(|_| submits % IN_FLIGHT);
            let (encoded, now) = match ready {
                Some((encoded, count)) => (encoded, list.part(0, count)),
                None => {
                    let rest = list.part(first, total);
                    let count = pace.take(rest.first, rest.costs(), self.rate);
                    let now = list.part(first, (first + count).min(total));
                    let stamps = self.stamps.as_ref().zip(slot);
                    (encode(device, now, stamps), now)
                }
            };
            let mut spent = encoding.elapsed();
            let index = device.queue.submit([encoded]);
            if device.report.hardware {
                // A software device computes before it returns, which is not the host's time.
                spent = encoding.elapsed();
            }
            let count = now.commands.len();
            self.host_time.dispatches += count as u64;
            self.host_time.submits += 1;
            self.host_time.seconds += spent.as_secs_f64();
            if let Some((stamps, slot)) = self.stamps.as_ref().zip(slot) {
                stamps.ask_for_times(slot);
            }
            under_way.push(Under {
                index,
                first,
                end: first + count,
                cost: now.costs().sum(),
                slot,
            });
            first += count;
            submits += 1;
            // Of a measured run all are waited for: its last submit is often its only one.
            while under_way.count >= IN_FLIGHT || measured && first >= total {
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
                    let these = list.part(oldest.first, oldest.end);
                    let range = these.first..these.first + these.commands.len();
                    pace.learn(range, these.costs(), self.rate, millis);
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

    /// Encodes the first submit of the next run of a list, which is a whole plan, while the device is at work. To be called once a run is submitted; does
    /// nothing for plans that are not run again and again, and where the next run is to be measured.
    pub fn encode_ahead(
        &mut self,
        device: &GpuDevice,
        list: List<'_>,
        pace: &Pace,
        (ahead, states): (&mut Ahead, &[StateId]),
    ) {
        if list.commands.is_empty()
            || !pace.is_repeated()
            || pace.next_is_measured() && has_timestamps(device)
        {
            return;
        }
        let encoding = Instant::now();
        let count = pace.take(list.first, list.costs(), self.rate);
        let now = list.part(0, count.min(list.commands.len()));
        let encoded = encode(device, now, None);
        ahead.made = Some((encoded, now.commands.len()));
        ahead.copies = list.after.is_some();
        ahead.states.clear();
        ahead.states.extend_from_slice(states);
        self.host_time.seconds += encoding.elapsed().as_secs_f64();
    }
}

/// Encodes a list as for a device that is fast enough for the longest submits, and throws it away; tells what that took.
pub fn encode_idle(device: &GpuDevice, list: List<'_>) -> HostTime {
    let total = list.commands.len();
    let mut told = HostTime {
        dispatches: total as u64,
        ..HostTime::default()
    };
    let encoding = Instant::now();
    for first in (0..total).step_by(SUBMIT_DISPATCHES) {
        let now = list.part(first, (first + SUBMIT_DISPATCHES).min(total));
        drop(encode(device, now, None));
        told.submits += 1;
    }
    told.seconds = encoding.elapsed().as_secs_f64();
    told
}

/// Dispatches in one pass, between two timestamps if they are measured, and what follows.
fn encode(
    device: &GpuDevice,
    list: List<'_>,
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
        for command in list.commands {
            let group = match &command.group {
                Group::Fixed(group) => Some(group),
                Group::States(index) => list.groups.get(*index),
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
    if let Some(after) = list.after {
        after(&mut encoder);
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
            device.note_made();
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

    /// Asks for the timestamps of a submit that is on its way. Not inlined, so that what wgpu allocates for it is known as that.
    #[inline(never)]
    fn ask_for_times(&self, slot: usize) {
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
            .and_then(|view| bytemuck::try_pod_read_unaligned::<[u64; 2]>(&view).ok());
        readback.unmap();
        let [begin, end] = stamps?;
        Some(end.saturating_sub(begin) as f64 * self.period).filter(|millis| *millis > 0.0)
    }
}
