//! Vectors that stay on the device between runs of plans, and sums of them; see [`crate::graph::DeviceVectors`].
//!
//! A set is one buffer. What is made of its vectors changes from step to step, so it is told by words in a buffer that a kernel goes through, and nothing is
//! compiled or bound for a step. Copies between a set and the values of plans and the sums stand in one encoder until something has to be submitted.

use std::collections::VecDeque;
use std::sync::Arc;

use diptych_shaders::Kernel;

use super::device::GpuDevice;
use super::executor::GpuExecutor;
use super::memory::{Memory, Purpose, Tracked};
use super::pipelines::Pipelines;
use super::readback::News;
use crate::graph::{DeviceVectors, ExecError, Fed, Looked, Piece, PlanId, Run, Sums, VectorsId};

/// Sums that may stand in one encoder: each has words of its own.
const PLACES: usize = 4;
/// Words of one.
const PROGRAM_WORDS: usize = 1024;
/// Words before the lists of one.
const HEAD: usize = 8;
/// Vectors that are read at most, with what is made of an answer.
const MOST_READ: usize = 12;
/// For no mask.
const NONE: u32 = u32::MAX;
/// Words of the marks: the first answer that was no number, where, what; the correction of guidance.
const MARKS: [u32; 4] = [u32::MAX, u32::MAX, 0, 0x3f80_0000];
const MARK_BYTES: u64 = 16;
/// Looks that are under way as a rule: one is taken while the next is asked for.
const LOOKS: usize = 2;
/// Invocations of a workgroup of the kernel.
const LANES: usize = 256;

/// A set of vectors.
pub struct VectorSet {
    vectors: usize,
    elements: usize,
    buffer: Tracked,
    programs: Tracked,
    marks: Tracked,
    /// Only held; the bind groups refer to it.
    _uniforms: Tracked,
    mixture: Bound,
    spread: Bound,
    grid: [u32; 3],
    encoder: Option<wgpu::CommandEncoder>,
    /// Places that the encoder uses, and the next one.
    used: usize,
    next: usize,
    /// The latest submit.
    last: Option<wgpu::SubmissionIndex>,
    looks: VecDeque<Look>,
    spare: Vec<Through>,
    /// The words of a sum on their way, kept so that a step need not make them anew.
    words: Vec<u32>,
}

/// A pipeline with a bind group for each place.
struct Bound {
    pipeline: wgpu::ComputePipeline,
    groups: Vec<wgpu::BindGroup>,
}

/// Values on their way to the host.
struct Look {
    submission: Option<wgpu::SubmissionIndex>,
    vectors: usize,
    through: Option<Through>,
}

/// Through what values come to the host, and where the news arrives that they are there.
struct Through {
    buffer: Tracked,
    news: Arc<News>,
}

impl Through {
    fn new(buffer: Tracked) -> Self {
        Self {
            buffer,
            news: Arc::default(),
        }
    }
}

/// All of a buffer.
fn whole(binding: u32, buffer: &Tracked) -> wgpu::BindGroupEntry<'_> {
    wgpu::BindGroupEntry {
        binding,
        resource: buffer.buffer().as_entire_binding(),
    }
}

/// Whether all is well. Of a lost device it may be heard only when it is asked, after other complaints.
pub(super) fn check(device: &GpuDevice, context: &str) -> Result<(), ExecError> {
    device.check(context).map_err(|error| {
        // Whether anything is still to be done does not matter here.
        let _ = device.device.poll(wgpu::PollType::Poll);
        match device.check(context) {
            Err(lost @ ExecError::DeviceLost { .. }) => lost,
            _ => error,
        }
    })
}

fn unknown(what: &'static str, id: usize) -> ExecError {
    ExecError::Unknown {
        what,
        id: id as u64,
    }
}

fn failed(message: String) -> ExecError {
    ExecError::Backend {
        context: "reading vectors".into(),
        message,
    }
}

impl VectorSet {
    fn new(
        device: &GpuDevice,
        memory: &Memory,
        pipelines: &mut Pipelines,
        [vectors, elements, seen]: [usize; 3],
    ) -> Result<Self, ExecError> {
        use wgpu::BufferUsages as Usage;
        let make = |label: &str, bytes: u64, usage| {
            memory.allocate(label, bytes, usage, Purpose::Activations)
        };
        let bytes = 4 * vectors as u64 * elements as u64;
        let usage = Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST;
        let buffer = make("vectors", bytes, usage)?;
        let mut spare = Vec::new();
        for _ in 0..LOOKS {
            let bytes = MARK_BYTES + 4 * seen as u64 * elements as u64;
            let buffer = make("readback", bytes, Usage::MAP_READ | Usage::COPY_DST)?;
            spare.push(Through::new(buffer));
        }
        let marks = make("marks", MARK_BYTES, usage)?;
        device
            .queue
            .write_buffer(marks.buffer(), 0, bytemuck::cast_slice(&MARKS));
        let programs = make(
            "programs of vectors",
            4 * (PLACES * PROGRAM_WORDS) as u64,
            Usage::STORAGE | Usage::COPY_DST,
        )?;
        let groups = elements.div_ceil(LANES).max(1) as u32;
        let across = groups.min(device.limits.max_compute_workgroups_per_dimension);
        let grid = [across, groups.div_ceil(across), 1];
        let stride = u64::from(device.limits.min_uniform_buffer_offset_alignment).max(16);
        let uniforms = make(
            "uniforms of vectors",
            stride * PLACES as u64,
            Usage::UNIFORM | Usage::COPY_DST,
        )?;
        for place in 0..PLACES {
            let words = [
                grid[0],
                grid[1],
                elements as u32,
                (place * PROGRAM_WORDS) as u32,
            ];
            device.queue.write_buffer(
                uniforms.buffer(),
                stride * place as u64,
                bytemuck::cast_slice(&words),
            );
        }
        let scope = device
            .device
            .push_error_scope(wgpu::ErrorFilter::Validation);
        let mut bind = |kernel| -> Result<Bound, ExecError> {
            let made = pipelines.get(device, kernel)?;
            let groups = (0..PLACES).map(|place| {
                let uniform = wgpu::BindGroupEntry {
                    binding: 0,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer: uniforms.buffer(),
                        offset: stride * place as u64,
                        size: std::num::NonZeroU64::new(16),
                    }),
                };
                device.note_made();
                device.device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: None,
                    layout: &made.layout,
                    entries: &[
                        uniform,
                        whole(1, &programs),
                        whole(2, &buffer),
                        whole(3, &marks),
                    ],
                })
            });
            Ok(Bound {
                groups: groups.collect(),
                pipeline: made.pipeline,
            })
        };
        let bound = bind(Kernel::Mixture).and_then(|m| Ok((m, bind(Kernel::GuidanceSpread)?)));
        let fault = pollster::block_on(scope.pop());
        let (mixture, spread) = bound?;
        if let Some(error) = fault {
            return Err(ExecError::Backend {
                context: "making vectors".into(),
                message: error.to_string(),
            });
        }
        device.check("making vectors")?;
        Ok(Self {
            vectors,
            elements,
            buffer,
            programs,
            marks,
            _uniforms: uniforms,
            mixture,
            spread,
            grid,
            encoder: None,
            used: 0,
            next: 0,
            last: None,
            looks: VecDeque::with_capacity(LOOKS),
            spare,
            words: Vec::with_capacity(PROGRAM_WORDS),
        })
    }

    fn encoder(&mut self, device: &GpuDevice) -> &mut wgpu::CommandEncoder {
        self.encoder.get_or_insert_with(|| {
            device
                .device
                .create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
        })
    }

    /// Submits what was told.
    fn flush(&mut self, device: &GpuDevice) -> Result<(), ExecError> {
        self.used = 0;
        if let Some(encoder) = self.encoder.take() {
            self.last = Some(device.queue.submit([encoder.finish()]));
        }
        check(device, "working on vectors")
    }

    /// Whether there are so many elements from one on.
    fn check(&self, first: usize, len: usize) -> Result<(), ExecError> {
        let all = self.vectors * self.elements;
        match first.checked_add(len).is_some_and(|end| end <= all) {
            true => Ok(()),
            false => Err(unknown("element of vectors", first)),
        }
    }

    /// Writes the words of sums to `words`.
    fn program(&self, sums: &Sums<'_>, words: &mut Vec<u32>) -> Result<(), ExecError> {
        let slots = sums.reads.iter().chain(sums.writes).chain(&sums.mask);
        if let Some(slot) = slots.clone().find(|slot| **slot >= self.vectors) {
            return Err(unknown("vector", *slot));
        }
        let rows = sums.answer.map_or(0, |answer| answer.weights.len());
        let width = sums.reads.len() + usize::from(rows > 0);
        let fits = width <= MOST_READ && sums.factors.len() == width * sums.writes.len();
        let mut head = [0u32; HEAD];
        head[0] = sums.reads.len() as u32;
        head[1] = sums.writes.len() as u32;
        head[2] = rows as u32;
        head[4] = sums.mask.map_or(NONE, |slot| slot as u32);
        words.clear();
        words.extend(head);
        words.extend(sums.reads.iter().chain(sums.writes).map(|s| *s as u32));
        if let Some(answer) = sums.answer {
            let end = answer.first.saturating_add(rows);
            if end > self.vectors || rows == 0 {
                return Err(unknown("row of an answer", end));
            }
            let means = answer.rescale.map_or(answer.weights, |r| r.means);
            if means.len() != rows {
                return Err(unknown("row of an answer", means.len()));
            }
            words[3] = answer.first as u32;
            words[5] = answer.number;
            words[6] = answer.rescale.map_or(0.0, |r| r.share).to_bits();
            words[7] = u32::from(answer.rescale.is_some());
            words.extend(answer.weights.iter().chain(means).map(|w| w.to_bits()));
        }
        words.extend(sums.factors.iter().flatten().map(|factor| factor.to_bits()));
        if !fits || words.len() > PROGRAM_WORDS {
            return Err(unknown("place for sums of vectors", words.len()));
        }
        Ok(())
    }

    fn sum(&mut self, device: &GpuDevice, sums: &Sums<'_>) -> Result<(), ExecError> {
        let mut words = std::mem::take(&mut self.words);
        let done = self
            .program(sums, &mut words)
            .and_then(|()| self.add(device, sums, &words));
        self.words = words;
        done
    }

    /// Adds a sum, of which these are the words, to what is told.
    fn add(&mut self, device: &GpuDevice, sums: &Sums<'_>, words: &[u32]) -> Result<(), ExecError> {
        if self.used == PLACES {
            self.flush(device)?;
        }
        let place = self.next;
        self.next = (self.next + 1) % PLACES;
        self.used += 1;
        device.queue.write_buffer(
            self.programs.buffer(),
            4 * (place * PROGRAM_WORDS) as u64,
            bytemuck::cast_slice(words),
        );
        let rescales = sums.answer.is_some_and(|answer| answer.rescale.is_some());
        let [x, y, z] = self.grid;
        self.encoder(device);
        let Some(encoder) = &mut self.encoder else {
            return Ok(());
        };
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        if rescales {
            pass.set_pipeline(&self.spread.pipeline);
            pass.set_bind_group(0, self.spread.groups.get(place), &[]);
            pass.dispatch_workgroups(1, 1, 1);
        }
        pass.set_pipeline(&self.mixture.pipeline);
        pass.set_bind_group(0, self.mixture.groups.get(place), &[]);
        pass.dispatch_workgroups(x, y, z);
        Ok(())
    }

    /// Copies pieces to a plan's value.
    pub(super) fn feed(
        &mut self,
        device: &GpuDevice,
        pieces: &[Piece],
        (to, base, elements): (&wgpu::Buffer, u64, usize),
    ) -> Result<(), ExecError> {
        let all: usize = pieces.iter().map(|piece| piece.len).sum();
        if all != elements {
            return Err(unknown("element of an input", all));
        }
        for piece in pieces {
            self.check(piece.from, piece.len)?;
            let end = piece.to.checked_add(piece.len);
            if end.is_none_or(|end| end > elements) {
                return Err(unknown("element of an input", piece.to));
            }
        }
        self.encoder(device);
        let (Some(encoder), from) = (&mut self.encoder, self.buffer.buffer()) else {
            return Ok(());
        };
        for piece in pieces {
            let (at, bytes) = (base + 4 * piece.to as u64, 4 * piece.len as u64);
            encoder.copy_buffer_to_buffer(from, 4 * piece.from as u64, to, at, bytes);
        }
        self.flush(device)
    }

    /// Copies a plan's value to a place.
    pub(super) fn take(
        &mut self,
        device: &GpuDevice,
        (from, base, elements): (&wgpu::Buffer, u64, usize),
        into: usize,
    ) -> Result<(), ExecError> {
        self.check(into, elements)?;
        self.encoder(device);
        let (Some(encoder), to) = (&mut self.encoder, self.buffer.buffer()) else {
            return Ok(());
        };
        encoder.copy_buffer_to_buffer(from, base, to, 4 * into as u64, 4 * elements as u64);
        Ok(())
    }

    fn look(
        &mut self,
        device: &GpuDevice,
        memory: &Memory,
        vectors: &[usize],
    ) -> Result<(), ExecError> {
        if let Some(slot) = vectors.iter().find(|slot| **slot >= self.vectors) {
            return Err(unknown("vector", *slot));
        }
        if vectors.is_empty() {
            self.flush(device)?;
            self.looks.push_back(Look {
                submission: self.last.clone(),
                vectors: 0,
                through: None,
            });
            return Ok(());
        }
        let each = 4 * self.elements as u64;
        let bytes = MARK_BYTES + each * vectors.len() as u64;
        let known = (self.spare.iter()).position(|s| s.buffer.buffer().size() >= bytes);
        let through = match known {
            Some(place) => self.spare.swap_remove(place),
            None => {
                let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
                let made = memory.allocate("readback", bytes, usage, Purpose::Activations)?;
                Through::new(made)
            }
        };
        self.encoder(device);
        if let Some(encoder) = &mut self.encoder {
            let to = through.buffer.buffer();
            encoder.copy_buffer_to_buffer(self.marks.buffer(), 0, to, 0, MARK_BYTES);
            for (place, slot) in vectors.iter().enumerate() {
                let (from, at) = (each * *slot as u64, MARK_BYTES + each * place as u64);
                encoder.copy_buffer_to_buffer(self.buffer.buffer(), from, to, at, each);
            }
        }
        self.flush(device)?;
        through.news.ask(through.buffer.buffer(), ..bytes);
        self.looks.push_back(Look {
            submission: self.last.clone(),
            vectors: vectors.len(),
            through: Some(through),
        });
        Ok(())
    }

    fn looked(&mut self, device: &GpuDevice) -> Result<Looked, ExecError> {
        let look = self
            .looks
            .pop_front()
            .ok_or(unknown("look at vectors", 0))?;
        if let Some(submission) = look.submission {
            device.wait_for(submission, "working on vectors")?;
        }
        let mut looked = Looked {
            vectors: Vec::new(),
            fault: None,
        };
        let Some(through) = look.through else {
            return Ok(looked);
        };
        through.news.wait_polling(device, "reading vectors")?;
        let each = 4 * self.elements;
        let bytes = MARK_BYTES as usize + each * look.vectors;
        {
            let view = (through.buffer.buffer().get_mapped_range(..bytes as u64))
                .map_err(|error| failed(error.to_string()))?;
            let (marks, values) = view.split_at(MARK_BYTES as usize);
            let mut told = MARKS;
            bytemuck::bytes_of_mut(&mut told).copy_from_slice(marks);
            let [number, place, value, _] = told;
            if number != MARKS[0] {
                looked.fault = Some((number, place as usize, f32::from_bits(value)));
            }
            let vectors = values.chunks_exact(each);
            looked.vectors = vectors.map(bytemuck::pod_collect_to_vec).collect();
        }
        through.buffer.buffer().unmap();
        if self.spare.len() < LOOKS {
            self.spare.push(through);
        }
        Ok(looked)
    }
}

impl GpuExecutor {
    fn set(&mut self, set: VectorsId) -> Result<&mut VectorSet, ExecError> {
        let found = self.vectors.get_mut(&set);
        found.ok_or(unknown("set of vectors", set.0 as usize))
    }
}

impl DeviceVectors for GpuExecutor {
    fn can_hold(&self, vectors: usize, elements: usize) -> bool {
        let limits = &self.device.limits;
        let largest = limits
            .max_storage_buffer_binding_size
            .min(limits.max_buffer_size);
        let bytes = (vectors as u64)
            .checked_mul(elements as u64)
            .and_then(|elements| elements.checked_mul(4));
        let across = u64::from(limits.max_compute_workgroups_per_dimension);
        bytes.is_some_and(|bytes| bytes > 0 && bytes <= largest)
            && elements.div_ceil(LANES) as u64 <= across * across
    }

    fn bytes_of_vectors(&self, vectors: usize, elements: usize, seen: usize) -> u64 {
        let each = 4 * elements as u64;
        let stride = u64::from(self.device.limits.min_uniform_buffer_offset_alignment).max(16);
        let words = PLACES as u64 * (4 * PROGRAM_WORDS as u64 + stride);
        let looks = LOOKS as u64 * (MARK_BYTES + each.saturating_mul(seen as u64));
        each.saturating_mul(vectors as u64)
            .saturating_add(looks)
            .saturating_add(words + MARK_BYTES)
    }

    fn create_vectors(
        &mut self,
        vectors: usize,
        elements: usize,
        seen: usize,
    ) -> Result<VectorsId, ExecError> {
        self.device.check("before making vectors")?;
        if !self.can_hold(vectors, elements) {
            return Err(ExecError::Unsupported {
                executor: "gpu",
                label: "vectors".into(),
                detail: format!("{vectors} vectors of {elements} elements in one binding"),
            });
        }
        let sizes = [vectors, elements, seen.min(vectors)];
        let set = VectorSet::new(&self.device, &self.memory, &mut self.pipelines, sizes)?;
        let id = VectorsId(self.next_id());
        self.vectors.insert(id, set);
        Ok(id)
    }

    fn write_vectors(
        &mut self,
        set: VectorsId,
        first: usize,
        values: &[f32],
    ) -> Result<(), ExecError> {
        let device = std::sync::Arc::clone(&self.device);
        let found = self.set(set)?;
        found.check(first, values.len())?;
        // What was told before must not see it.
        found.flush(&device)?;
        let bytes = bytemuck::cast_slice(values);
        device
            .queue
            .write_buffer(found.buffer.buffer(), 4 * first as u64, bytes);
        self.submitter.host_time.bytes_sent += bytes.len() as u64;
        check(&device, "writing vectors")
    }

    fn sum(&mut self, set: VectorsId, sums: &Sums<'_>) -> Result<(), ExecError> {
        let device = std::sync::Arc::clone(&self.device);
        self.set(set)?.sum(&device, sums)
    }

    fn begin_fed(&mut self, plan: PlanId, run: Run<'_>, fed: &Fed<'_>) -> Result<(), ExecError> {
        self.begin_plan_fed(plan, run, fed)
    }

    fn run_fed(&mut self, plan: PlanId, run: Run<'_>, fed: &Fed<'_>) -> Result<(), ExecError> {
        self.run_plan_fed(plan, run, fed)
    }

    fn look(&mut self, set: VectorsId, vectors: &[usize]) -> Result<(), ExecError> {
        let (device, memory) = (std::sync::Arc::clone(&self.device), self.memory.clone());
        self.set(set)?.look(&device, &memory, vectors)
    }

    fn looked(&mut self, set: VectorsId) -> Result<Looked, ExecError> {
        let device = std::sync::Arc::clone(&self.device);
        let looked = self.set(set)?.looked(&device)?;
        let read = |vector: &Vec<f32>| 4 * vector.len() as u64;
        self.submitter.host_time.bytes_read += looked.vectors.iter().map(read).sum::<u64>();
        Ok(looked)
    }

    fn drop_vectors(&mut self, set: VectorsId) {
        self.vectors.remove(&set);
    }
}
