//! From ops to dispatches: which kernel runs on which bytes with which numbers.
//!
//! [`lower`] turns one node of a graph into a list of [`Dispatch`]es, which are run in order. It knows nothing of buffers:
//! operands, results, weights, caches and scratch memory are named by [`Arg`], and the runtime puts them where it likes,
//! subject to these rules:
//!
//! * the base of everything an [`Arg`] can name is aligned to [`KernelLimits::storage_alignment`] within its buffer (the byte
//!   ranges here then are, too);
//! * within one dispatch no buffer is bound both read-only and read-write: the output and scratch must lie in other
//!   buffers than the operands;
//! * uniforms ([`Dispatch::uniforms`]) are bound at binding 0 and `bindings` from binding 1 on, all in group 0, in the order and
//!   with the access of [`diptych_shaders::Kernel::bindings`];
//! * the dispatches of one op may depend on each other; scratch memory need not outlive the op.
//!
//! No binding exceeds [`KernelLimits::max_storage_binding`]: weights are sharded by rows ([`PackedLayout`]) and activations are
//! banded, that is, computed by several dispatches that each see a window of the value.

mod across;
mod attention;
mod candidates;
mod chain;
mod conv;
mod draw;
mod elementwise;
mod experts;
mod fusion;
mod linear;
mod mask;
mod norm;
mod pack;
mod window;

#[cfg(test)]
mod tests;

use std::ops::Range;

use diptych_shaders::{Kernel, Tile, WeightFormat};

pub use fusion::{ChainLink, Combine, Deal, Epilogue, Fusion, Heads, Links, Rotation};
pub use linear::FEW_ROWS;
pub use pack::PackedLayout;

use crate::graph::{ExecError, KvShape, Op, WeightId};

/// What the device allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelLimits {
    /// Most bytes of one storage binding.
    pub max_storage_binding: u64,
    /// Most workgroups in one dimension of a grid.
    pub max_workgroups: u32,
    /// Offsets of storage bindings are multiples of this many bytes (a power of two, at least 16).
    pub storage_alignment: u64,
    /// Floating-point operations from which on a dispatch is split where it can be, so that none runs for long.
    pub max_dispatch_flops: u64,
    /// Whether kernels that sum over subgroups are used.
    pub subgroups: bool,
    /// Whether kernels that keep weights as 16-bit floats where they are multiplied are used.
    pub halves: bool,
    /// Whether lanes read memory one after the other, in whatever order, as those of a processor do.
    pub serial_lanes: bool,
    /// Workgroups from which on the device is busy: what gives fewer is split further where it can be, at the cost of joining it.
    pub busy_groups: u32,
}

impl Default for KernelLimits {
    /// What WebGPU grants everywhere.
    fn default() -> Self {
        Self {
            max_storage_binding: 128 << 20,
            max_workgroups: 65535,
            storage_alignment: 256,
            max_dispatch_flops: 1 << 35,
            subgroups: false,
            halves: false,
            serial_lanes: false,
            busy_groups: 1,
        }
    }
}

impl KernelLimits {
    /// From the limits of a wgpu device.
    pub fn of(limits: &wgpu::Limits) -> Self {
        Self {
            max_storage_binding: limits.max_storage_buffer_binding_size & !3,
            max_workgroups: limits.max_compute_workgroups_per_dimension,
            storage_alignment: u64::from(limits.min_storage_buffer_offset_alignment).max(16),
            ..Self::default()
        }
    }

    /// Whether each lane has weight rows of its own in products with weights of a format.
    fn is_across(&self, weight: WeightFormat) -> bool {
        weight.is_wide() && self.subgroups && self.serial_lanes
    }

    /// How the weights of a tiled product are kept where they are multiplied.
    fn tile(&self, weight: WeightFormat) -> Tile {
        match self.halves && weight.fits_halves() {
            true => Tile::Halves,
            false => Tile::Floats,
        }
    }

    /// Into how many parts a sum should be cut whose work makes so many workgroups, if it can be cut into `most`; 1 for not at all.
    fn splits(&self, groups: usize, most: usize) -> usize {
        /// Joining more costs more than it gains.
        const MOST: usize = 16;
        (self.busy_groups as usize / groups.max(1)).clamp(1, most.clamp(1, MOST))
    }
}

/// What a binding of a dispatch refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arg {
    /// An operand of the op, by its place in the node's inputs.
    Operand(usize),
    /// The op's result.
    Output,
    /// One shard of a weight.
    Weight {
        /// The weight.
        weight: WeightId,
        /// Index into [`PackedLayout::shards`].
        shard: usize,
    },
    /// The keys of one layer of a cache: `[slots, slot_words]`; see [`crate::graph::KvShape::head_words`].
    KvKeys {
        /// Index into the graph's states.
        state: usize,
        /// Decoder layer.
        layer: usize,
    },
    /// The values of one layer of a cache, laid out as the keys.
    KvValues {
        /// Index into the graph's states.
        state: usize,
        /// Decoder layer.
        layer: usize,
    },
    /// Scratch memory, by its place in [`Lowered::scratch`].
    Scratch(usize),
}

/// A storage binding: a range of bytes of what `arg` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundArg {
    /// What is bound.
    pub arg: Arg,
    /// Bytes from its beginning on; the start is aligned.
    pub range: Range<u64>,
}

/// One dispatch of a compute kernel.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The pipeline.
    pub kernel: Kernel,
    /// The uniform block, at most 64 words; floats by their bits. Never changes between runs.
    pub uniforms: Vec<u32>,
    /// Storage buffers from binding 1 on.
    pub bindings: Vec<BoundArg>,
    /// Workgroups.
    pub grid: [u32; 3],
    /// Floating-point operations, roughly; for cutting submits and for profiles.
    pub flops: u64,
    /// Bytes read and written at the least, roughly.
    pub bytes: u64,
}

/// What an op becomes.
#[derive(Clone, Debug, Default)]
pub struct Lowered {
    /// To be run in this order. Empty for inputs and views.
    pub dispatches: Vec<Dispatch>,
    /// Bytes of the scratch buffers wanted.
    pub scratch: Vec<u64>,
}

/// What [`lower`] has to know about the node's surroundings.
pub struct LowerContext<'a> {
    /// Where in the model, for errors.
    pub label: &'a str,
    /// Shapes of the operands.
    pub operands: &'a [&'a [usize]],
    /// Shape of the result.
    pub output: &'a [usize],
    /// What the op takes over from others.
    pub fusion: &'a Fusion,
    /// Layouts of the weights.
    pub weights: &'a dyn Fn(WeightId) -> &'a PackedLayout,
    /// The graph's states.
    pub states: &'a [KvShape],
    /// What the device allows.
    pub limits: &'a KernelLimits,
}

/// The dispatches that compute one op.
///
/// # Errors
/// [`ExecError::Unsupported`] if operands are so large that not even one row of them fits a binding, a head is wider than 512, or
/// a shape is none that the graph's builder lets through.
pub fn lower(op: &Op, context: &LowerContext<'_>) -> Result<Lowered, ExecError> {
    let mut lowering = Lowering {
        context,
        op,
        lowered: Lowered::default(),
    };
    lowering.check_fusion()?;
    match op {
        _ if !context.fusion.links.is_empty() => lowering.chain(),
        Op::Input { .. } | Op::Reshape => Ok(()),
        Op::Constant { weight } => lowering.constant(*weight),
        Op::Permute { axes } => lowering.permute(axes),
        Op::Concat { axis } => lowering.concat(*axis),
        Op::Slice { axis, start, len } => lowering.slice(*axis, *start, *len),
        Op::Linear { weight, bias } => lowering.linear(*weight, *bias),
        Op::Embedding { table } => lowering.embedding(*table),
        Op::GatherRows => lowering.gather_rows(),
        Op::Binary(kind) => lowering.binary(*kind),
        Op::Unary(kind) => lowering.unary(*kind),
        Op::Gated { activation } => lowering.gated(*activation),
        Op::SplitGated { activation } => lowering.split_gated(*activation),
        Op::LayerNorm { weight, bias, eps } => lowering.layer_norm(*weight, *bias, *eps),
        Op::RmsNorm { weight, eps } => match context.fusion.rotation {
            None => lowering.rms_norm(*weight, *eps),
            Some(rotation) => lowering.rms_rope(*weight, *eps, rotation),
        },
        Op::GroupNorm {
            weight,
            bias,
            groups,
            eps,
            silu,
        } => lowering.group_norm([*weight, *bias], *groups, *eps, *silu),
        Op::Conv2d { weight, bias, spec } => lowering.conv2d(*weight, *bias, *spec),
        Op::UpsampleNearest => lowering.upsample_nearest(),
        Op::Attention {
            heads,
            kv_heads,
            scale,
            causal,
        } => lowering.attention(*heads, *kv_heads, *scale, *causal),
        Op::Rope {
            heads,
            inv_freq,
            style,
            magnitude,
        } => lowering.rope(*heads, *inv_freq, *style, *magnitude),
        Op::PagedAttention(spec) => lowering.paged_attention(*spec),
        Op::RouteExperts { used, normalised } => lowering.route_experts(*used, *normalised),
        Op::ExpertLinear { weights, experts } => lowering.expert_linear(weights, *experts),
        Op::CombineExperts => lowering.combine_experts(),
        Op::Candidates { tokens } => lowering.candidates(*tokens),
        Op::Draw => lowering.draw(),
    }?;
    Ok(lowering.lowered)
}

/// An op on its way to dispatches.
struct Lowering<'a, 'c> {
    context: &'a LowerContext<'c>,
    op: &'a Op,
    lowered: Lowered,
}

/// Work of a dispatch, for its estimates and its grid.
#[derive(Clone, Copy)]
struct Work {
    groups: u64,
    flops: u64,
}

impl Lowering<'_, '_> {
    fn limits(&self) -> &KernelLimits {
        self.context.limits
    }

    fn unsupported(&self, detail: impl Into<String>) -> ExecError {
        ExecError::Unsupported {
            executor: "gpu",
            label: self.context.label.to_owned(),
            detail: format!("{}: {}", self.op.name(), detail.into()),
        }
    }

    /// Whether the op takes over only what it can.
    fn check_fusion(&self) -> Result<(), ExecError> {
        let given = *self.context.fusion;
        let mut taken = Fusion::default();
        match self.op {
            Op::Linear { .. } => {
                taken = Fusion {
                    doubled: false,
                    rotation: None,
                    links: Links::default(),
                    heads: None,
                    ..given
                };
            }
            Op::Conv2d { .. } => {
                taken.epilogue = given.epilogue;
                taken.doubled = given.doubled;
            }
            Op::Unary(_) | Op::Binary(_) | Op::Gated { .. } => taken.links = given.links,
            Op::RmsNorm { .. } => taken.rotation = given.rotation,
            Op::PagedAttention(_) => taken.heads = given.heads,
            _ => {}
        }
        let by_channel = matches!(
            given.epilogue.combine,
            Some((Combine::AddByChannel, _)) if !matches!(self.op, Op::Conv2d { .. })
        );
        // What is dealt out has nothing behind it.
        let dealt = given.deal.is_some()
            && (given.gate.is_some()
                || given.columns_out.is_some()
                || given.epilogue != Epilogue::default());
        if taken != given || by_channel || dealt {
            return Err(self.unsupported(format!("taking over {given:?}")));
        }
        Ok(())
    }

    /// Shape of an operand.
    fn operand(&self, index: usize) -> Result<&[usize], ExecError> {
        self.context
            .operands
            .get(index)
            .copied()
            .ok_or_else(|| self.unsupported(format!("operand {index} is missing")))
    }

    /// Lengths of an operand's axes, which must be as many as wanted.
    fn axes<const N: usize>(&self, index: usize) -> Result<[usize; N], ExecError> {
        let shape = self.operand(index)?;
        shape
            .try_into()
            .map_err(|_| self.unsupported(format!("operand {index} of shape {shape:?}")))
    }

    fn weight(&self, id: WeightId) -> &PackedLayout {
        (self.context.weights)(id)
    }

    /// Adds a dispatch: `words` follow the grid's width and height in the uniform block.
    fn push(
        &mut self,
        kernel: Kernel,
        words: &[u32],
        bindings: Vec<BoundArg>,
        work: Work,
    ) -> Result<(), ExecError> {
        let grid = window::fold(work.groups, self.limits().max_workgroups)
            .ok_or_else(|| self.unsupported(format!("{} workgroups", work.groups)))?;
        let uniforms: Vec<u32> = [grid[0], grid[1]]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        if uniforms.len() != kernel.uniform_words() as usize
            || bindings.len() != kernel.bindings().len()
        {
            return Err(self.unsupported(format!(
                "kernel {} with other arguments than it takes",
                kernel.name()
            )));
        }
        let limit = self.limits().max_storage_binding;
        if let Some(bound) = bindings
            .iter()
            .find(|bound| bound.range.end - bound.range.start > limit)
        {
            let bytes = bound.range.end - bound.range.start;
            return Err(self.unsupported(format!(
                "{:?} of {bytes} bytes; one binding holds {limit}",
                bound.arg
            )));
        }
        let bytes = bindings
            .iter()
            .map(|bound| bound.range.end - bound.range.start)
            .sum();
        self.lowered.dispatches.push(Dispatch {
            kernel,
            uniforms,
            bindings,
            grid,
            flops: work.flops,
            bytes,
        });
        Ok(())
    }

    /// Wants a scratch buffer.
    fn scratch(&mut self, bytes: u64) -> Arg {
        self.lowered.scratch.push(bytes.max(16));
        Arg::Scratch(self.lowered.scratch.len() - 1)
    }
}

/// A number for a uniform block.
fn word(value: usize) -> Result<u32, ExecError> {
    u32::try_from(value).map_err(|_| ExecError::Unsupported {
        executor: "gpu",
        label: "the size is too large".into(),
        detail: format!("over {value} values, which is beyond 32 bits; choose a smaller size"),
    })
}

fn words<const N: usize>(values: [usize; N]) -> Result<[u32; N], ExecError> {
    let mut out = [0; N];
    for (out, value) in out.iter_mut().zip(values) {
        *out = word(value)?;
    }
    Ok(out)
}
