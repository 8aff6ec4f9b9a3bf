//! Models larger than the budget: which of their weights lie on the device, and how the others pass through it.
//!
//! The dispatches of a plan are cut into segments, each of which uses no more streamed weights than one slot of a ring of two
//! holds. While the device computes one segment, a thread reads and packs the weights of the next ones from their
//! (memory-mapped) files, and the queue copies them into the other slot. Bind groups are made for places in the slots once, with
//! the plan; the kernels and the bytes they read are those of a plan without streaming, and so are the results.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::device::GpuDevice;
use super::kernels::{Arg, PackedLayout};
use super::layout::Compiled;
use super::memory::{Memory, Purpose, Reservation, Tracked};
use super::upload::{Shard, pack};
use crate::formats::TensorKey;
use crate::graph::{ExecError, Graph};

/// Slots of a ring: one is computed with while the other is filled. Where there is hardly any room, one has to do.
const SLOTS: [usize; 2] = [2, 1];

/// Bytes of a ring: the slots, and the driver's copies of what is sent to them.
const fn ring_bytes(slots: usize, slot_bytes: u64) -> u64 {
    2 * slots as u64 * slot_bytes
}

/// Slots are not made larger than this, unless one dispatch needs more: enough to be sent at full speed.
const LARGEST_SLOT: u64 = 64 << 20;
/// Weights up to this size are kept on the device before all others: norms and biases are many, and hardly a byte.
const SMALL: u64 = 64 << 10;
/// Segments that are packed ahead of the device.
const AHEAD: usize = 1;

/// Buffers through which weights pass; plans share them.
pub struct Ring {
    slots: Vec<Tracked>,
    slot_bytes: u64,
    _copies: Reservation,
}

impl Ring {
    /// A ring of some slots of `slot_bytes`.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn new(memory: &Memory, slots: usize, slot_bytes: u64) -> Result<Self, ExecError> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let slots = (0..slots)
            .map(|_| memory.allocate("streamed weights", slot_bytes, usage, Purpose::Weights))
            .collect::<Result<Vec<_>, _>>()?;
        let bytes = slots.iter().map(|slot| slot.buffer().size()).sum();
        Ok(Self {
            slots,
            slot_bytes,
            _copies: memory.reserve("streamed weights", bytes, Purpose::Weights)?,
        })
    }

    /// Number of slots, and bytes of each.
    pub fn size(&self) -> (usize, u64) {
        (self.slots.len(), self.slot_bytes)
    }
}

/// A shard of a weight at its place in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Index of the weight in the graph.
    pub weight: usize,
    /// Index of the shard.
    pub shard: usize,
    /// First byte in the slot.
    pub offset: u64,
}

/// Dispatches in a row, and the streamed weights that they use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Indices of the dispatches.
    pub steps: Range<usize>,
    /// What has to be in the slot.
    pub pieces: Vec<Piece>,
    /// Index of the slot; segments without pieces have none.
    pub slot: Option<usize>,
}

/// What lies on the device and what passes through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// For each weight of the graph whether it lies on the device.
    pub resident: Vec<bool>,
    /// Number of slots.
    pub slots: usize,
    /// Bytes of a slot.
    pub slot_bytes: u64,
    /// All dispatches, in order.
    pub segments: Vec<Segment>,
    /// Bytes of the weights that are sent anew in every run.
    pub streamed: u64,
}

/// What there is to decide with.
pub struct Room<'a> {
    /// Bytes for new weights and a ring.
    pub bytes: u64,
    /// Of them, those that had better stay free.
    pub headroom: u64,
    /// Slots of the ring that is there already, and bytes of each.
    pub ring: Option<(usize, u64)>,
    /// Whether a weight lies on the device already.
    pub on_device: &'a dyn Fn(&TensorKey) -> bool,
    /// Alignment of bindings.
    pub alignment: u64,
}

/// One tensor of a graph, however many of its weights refer to it.
struct Tensor {
    /// Bytes that it would newly take on the device.
    bytes: u64,
    largest_shard: u64,
    uses: usize,
}

/// Decides which weights lie on the device.
///
/// # Errors
/// With the bytes that would be needed at the least.
pub fn schedule(graph: &Graph, compiled: &Compiled, room: &Room<'_>) -> Result<Schedule, u64> {
    let first = first_of_key(graph);
    let aligned = |bytes: u64| bytes.next_multiple_of(room.alignment);
    let shard_bytes = |weight: usize, shard: usize| {
        compiled
            .weights
            .get(weight)
            .map_or(0, |layout: &PackedLayout| {
                aligned(layout.shard_bytes(shard))
            })
    };
    // For each dispatch the shards that it reads.
    let needs: Vec<Vec<(usize, usize)>> = compiled
        .steps
        .iter()
        .map(|step| {
            let mut needs: Vec<(usize, usize)> = step
                .dispatch
                .bindings
                .iter()
                .filter_map(|bound| match bound.arg {
                    Arg::Weight { weight, shard } => {
                        first.get(weight.0).map(|&weight| (weight, shard))
                    }
                    _ => None,
                })
                .collect();
            needs.sort_unstable();
            needs.dedup();
            needs
        })
        .collect();
    let mut tensors: BTreeMap<usize, Tensor> = BTreeMap::new();
    for &(weight, shard) in needs.iter().flatten() {
        let Some(layout) = compiled.weights.get(weight) else {
            continue;
        };
        let entry = tensors.entry(weight).or_insert_with(|| Tensor {
            bytes: layout.total_bytes(),
            largest_shard: 0,
            uses: 0,
        });
        entry.uses += 1;
        entry.largest_shard = entry.largest_shard.max(shard_bytes(weight, shard));
    }
    let mut resident: Vec<bool> = graph
        .weights
        .iter()
        .map(|weight| (room.on_device)(&weight.key()))
        .collect();
    let wanted_slot = (room.bytes / 16).min(LARGEST_SLOT);
    // Small ones first, then those that would need large slots, then those that are used often.
    let mut order: Vec<usize> = tensors
        .keys()
        .copied()
        .filter(|&weight| !resident[weight])
        .collect();
    order.sort_by_key(|weight| {
        let tensor = &tensors[weight];
        let class = match tensor {
            Tensor { bytes, .. } if *bytes <= SMALL => (0, 0),
            Tensor { largest_shard, .. } if *largest_shard > wanted_slot => {
                (1, u64::MAX - largest_shard)
            }
            Tensor { uses, .. } => (2, u64::MAX - *uses as u64),
        };
        (class, *weight)
    });
    let mut taken: u64 = 0;
    let reserved = match room.ring {
        Some(_) => 0,
        None => ring_bytes(SLOTS[0], wanted_slot),
    };
    let mut chosen = Vec::new();
    for weight in order {
        let bytes = tensors[&weight].bytes;
        if taken + bytes + reserved + room.headroom <= room.bytes {
            taken += bytes;
            resident[weight] = true;
            chosen.push(weight);
        }
    }
    // What is left may need larger slots than were thought of; then something has to make way for them, and at last a slot.
    loop {
        let least = needs
            .iter()
            .map(|needs| {
                let streamed = needs.iter().filter(|(weight, _)| !resident[*weight]);
                streamed
                    .map(|&(weight, shard)| shard_bytes(weight, shard))
                    .sum::<u64>()
            })
            .max()
            .unwrap_or(0)
            .max(16);
        let all = streamed_bytes(&tensors, &resident).next_multiple_of(room.alignment);
        let new_slot = least.max(wanted_slot.min(all)).next_multiple_of(16);
        let there = room.ring.filter(|(_, bytes)| *bytes >= least);
        let fitting = match there {
            Some((slots, bytes)) => (taken <= room.bytes).then_some((slots, bytes)),
            None => SLOTS
                .into_iter()
                // A single slot only once nothing else can make way.
                .filter(|slots| *slots == SLOTS[0] || chosen.is_empty())
                .map(|slots| (slots, if slots == SLOTS[0] { new_slot } else { least }))
                .find(|(slots, bytes)| taken + ring_bytes(*slots, *bytes) <= room.bytes),
        };
        if let Some((slots, slot_bytes)) = fitting {
            let slot_bytes = slot_bytes.next_multiple_of(16);
            let streamed = streamed_bytes(&tensors, &resident);
            // Weights of equal content share what was decided for the first of them.
            for (weight, &first) in first.iter().enumerate() {
                resident[weight] = resident[first];
            }
            let segments = segments(&needs, &resident, (slots, slot_bytes), &shard_bytes);
            return Ok(Schedule {
                resident,
                slots,
                slot_bytes,
                segments,
                streamed,
            });
        }
        let Some(weight) = chosen.pop() else {
            return Err(taken + ring_bytes(1, least));
        };
        resident[weight] = false;
        taken -= tensors[&weight].bytes;
    }
}

fn streamed_bytes(tensors: &BTreeMap<usize, Tensor>, resident: &[bool]) -> u64 {
    tensors
        .iter()
        .filter(|(weight, _)| !resident[**weight])
        .map(|(_, tensor)| tensor.bytes)
        .sum()
}

/// For each weight the first one of the same content.
fn first_of_key(graph: &Graph) -> Vec<usize> {
    let mut known: HashMap<TensorKey, usize> = HashMap::new();
    graph
        .weights
        .iter()
        .enumerate()
        .map(|(index, weight)| *known.entry(weight.key()).or_insert(index))
        .collect()
}

/// Cuts dispatches where the weights of one more would not fit a slot.
fn segments(
    needs: &[Vec<(usize, usize)>],
    resident: &[bool],
    (slots, slot_bytes): (usize, u64),
    shard_bytes: &dyn Fn(usize, usize) -> u64,
) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut there: HashSet<(usize, usize)> = HashSet::new();
    let (mut start, mut filled, mut slot) = (0, 0, 0);
    let mut finish = |steps: Range<usize>, pieces: &mut Vec<Piece>| {
        let pieces = std::mem::take(pieces);
        let used = (!pieces.is_empty()).then_some(slot % slots.max(1));
        slot += usize::from(used.is_some());
        segments.push(Segment {
            steps,
            pieces,
            slot: used,
        });
    };
    for (step, needs) in needs.iter().enumerate() {
        let new: Vec<(usize, usize)> = needs
            .iter()
            .copied()
            .filter(|need| !resident[need.0] && !there.contains(need))
            .collect();
        let bytes: u64 = new.iter().map(|need| shard_bytes(need.0, need.1)).sum();
        let all = if bytes > 0 && filled + bytes > slot_bytes {
            finish(start..step, &mut pieces);
            there.clear();
            (start, filled) = (step, 0);
            // Of what this dispatch reads, some may have been in the segment before.
            needs
                .iter()
                .copied()
                .filter(|need| !resident[need.0])
                .collect()
        } else {
            new
        };
        for (weight, shard) in all {
            pieces.push(Piece {
                weight,
                shard,
                offset: filled,
            });
            there.insert((weight, shard));
            filled += shard_bytes(weight, shard);
        }
    }
    finish(start..needs.len(), &mut pieces);
    segments
}

/// The streamed part of a plan.
pub struct Stream {
    /// Where weights pass through.
    pub ring: Arc<Ring>,
    schedule: Schedule,
    layouts: Vec<PackedLayout>,
    /// For each weight the first one of the same content, which pieces are known by.
    first: Vec<usize>,
}

impl Stream {
    /// What was decided, and the ring.
    pub fn new(graph: &Graph, compiled: &Compiled, schedule: Schedule, ring: Arc<Ring>) -> Self {
        Self {
            ring,
            schedule,
            layouts: compiled.weights.clone(),
            first: first_of_key(graph),
        }
    }

    /// Bytes that are sent in every run.
    pub fn bytes(&self) -> u64 {
        self.schedule.streamed
    }

    /// Where a dispatch finds a shard of a streamed weight: buffer and first byte.
    pub fn place(&self, step: usize, weight: usize, shard: usize) -> Option<(&wgpu::Buffer, u64)> {
        let weight = *self.first.get(weight)?;
        let segments = &self.schedule.segments;
        let after = segments.partition_point(|segment| segment.steps.end <= step);
        let segment = segments.get(after)?;
        let piece = segment
            .pieces
            .iter()
            .find(|piece| piece.weight == weight && piece.shard == shard)?;
        let slot = self.ring.slots.get(segment.slot?)?;
        Some((slot.buffer(), piece.offset))
    }

    /// Runs `execute` on the dispatches of every segment, with its weights in their slot.
    ///
    /// # Errors
    /// From `execute`, a file, or the device.
    pub fn run(
        &self,
        device: &GpuDevice,
        graph: &Graph,
        mut execute: impl FnMut(Range<usize>) -> Result<Option<wgpu::SubmissionIndex>, ExecError>,
    ) -> Result<(), ExecError> {
        let segments = &self.schedule.segments;
        std::thread::scope(|scope| {
            let (sender, receiver) = crossbeam_channel::bounded(AHEAD);
            std::thread::Builder::new()
                .name("diptych-stream".into())
                .spawn_scoped(scope, move || {
                    for segment in segments.iter().filter(|segment| segment.slot.is_some()) {
                        let packed = self.pack(graph, segment);
                        let failed = packed.is_err();
                        // The receiver is gone once the run was stopped.
                        if sender.send(packed).is_err() || failed {
                            return;
                        }
                    }
                })
                .map_err(|error| ExecError::Backend {
                    context: "streaming weights".into(),
                    message: format!("the system gives no thread: {error}"),
                })?;
            let mut under_way: VecDeque<wgpu::SubmissionIndex> = VecDeque::new();
            for segment in segments {
                if let Some(slot) = segment.slot.and_then(|slot| self.ring.slots.get(slot)) {
                    // The driver holds copies of no more segments than there are slots.
                    while under_way.len() >= self.ring.slots.len()
                        && let Some(oldest) = under_way.pop_front()
                    {
                        device.wait_for(oldest, "streaming weights")?;
                    }
                    let packed = receiver.recv().map_err(|_| ExecError::Backend {
                        context: "streaming weights".into(),
                        message: "the thread that reads them has ended".into(),
                    })??;
                    for (piece, packed) in segment.pieces.iter().zip(&packed) {
                        device
                            .queue
                            .write_buffer(slot.buffer(), piece.offset, packed);
                    }
                    device.check("streaming weights")?;
                }
                let last = execute(segment.steps.clone())?;
                under_way.extend(last.filter(|_| segment.slot.is_some()));
            }
            Ok(())
        })
    }

    fn pack(&self, graph: &Graph, segment: &Segment) -> Result<Vec<Vec<u8>>, ExecError> {
        let shards: Vec<Shard<'_>> = segment
            .pieces
            .iter()
            .filter_map(|piece| {
                let weight = graph.weights.get(piece.weight)?;
                Some((weight, self.layouts.get(piece.weight)?, piece.shard))
            })
            .collect();
        pack(&shards)
    }
}
