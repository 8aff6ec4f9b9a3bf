//! What an op takes over from its neighbours, so that values between them need not exist.

use diptych_shaders::{Chain, Function};

use super::elementwise::activation_function;
use super::{Arg, BoundArg, ExecError, Lowering, words};
use crate::graph::{Activation, BinaryKind, RopeStyle, UnaryKind, WeightId};

/// How a result meets another value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// Added, element by element.
    Add,
    /// Multiplied, element by element.
    Multiply,
    /// Added by channel: the other value is `[B, C, 1, 1]`, or `[1, C, 1, 1]`.
    AddByChannel,
}

/// What happens to each element before it is written: a function, another value, a function.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Epilogue {
    /// Applied first.
    pub before: Option<UnaryKind>,
    /// What comes next, and the operand that it is done with.
    pub combine: Option<(Combine, usize)>,
    /// Applied last.
    pub after: Option<UnaryKind>,
}

/// One step of a chain of element-wise ops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ChainLink {
    /// A function.
    Apply(UnaryKind),
    /// Another value is met; it may be broadcast over the root's shape.
    Meet {
        /// How.
        kind: BinaryKind,
        /// The operand that is met.
        operand: usize,
    },
    /// A function of another value is multiplied with.
    Gate {
        /// The function.
        activation: Activation,
        /// The operand that it is of.
        operand: usize,
    },
}

/// What follows an element-wise op, one step after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Links {
    links: [Option<ChainLink>; Chain::STEPS],
}

impl Links {
    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = ChainLink> + '_ {
        self.links.iter().flatten().copied()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.links.iter().all(Option::is_none)
    }

    /// One more; false if there is no room.
    pub fn push(&mut self, link: ChainLink) -> bool {
        match self.links.iter_mut().find(|place| place.is_none()) {
            Some(place) => {
                *place = Some(link);
                true
            }
            None => false,
        }
    }
}

/// A rotary embedding behind an RMS norm of heads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotation {
    /// Heads of a row.
    pub heads: usize,
    /// Inverse frequencies.
    pub inv_freq: WeightId,
    /// Pairing.
    pub style: RopeStyle,
    /// Factor on sine and cosine.
    pub magnitude: f32,
    /// The operand that holds the positions.
    pub positions: usize,
}

/// The values that the columns of a product are dealt out to: each has its rows to itself, and all lie in one piece of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deal {
    /// Columns of each; 0 where there are fewer.
    widths: [usize; Deal::MOST],
}

impl Deal {
    /// Most values.
    pub const MOST: usize = 4;

    /// To values of these columns; `None` if there are fewer than two or too many, or any has none.
    pub fn new(widths: &[usize]) -> Option<Self> {
        let mut all = [0; Self::MOST];
        all.get_mut(..widths.len())?.copy_from_slice(widths);
        (widths.len() > 1 && !widths.contains(&0)).then_some(Self { widths: all })
    }

    /// First element of each value of so many rows, aligned to so many bytes, and the elements of all.
    pub fn places(&self, rows: usize, alignment: u64) -> ([usize; Self::MOST], usize) {
        let aligned = usize::try_from(alignment / 4).unwrap_or(1).max(1);
        let mut places = [0; Self::MOST];
        let mut end: usize = 0;
        for (place, width) in places.iter_mut().zip(self.widths) {
            *place = end.next_multiple_of(aligned);
            if width > 0 {
                end = *place + rows * width;
            }
        }
        (places, end)
    }

    /// Columns of all values up to each, itself included.
    fn ends(&self) -> [usize; Self::MOST] {
        let mut sum = 0;
        self.widths.map(|width| {
            sum += width;
            sum
        })
    }
}

/// What attention over a paged cache does for its operands, which are then given as products left them: the first two operands are the value that queries
/// and keys were dealt out from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heads {
    /// A vector of the gains, if there are any, of queries and of keys, and then the inverse frequencies.
    pub constants: WeightId,
    /// Inverse frequencies.
    pub frequencies: usize,
    /// Gains, and what is added to the mean square, of queries and of keys.
    pub norms: Option<[(usize, f32); 2]>,
    /// Pairing.
    pub style: RopeStyle,
    /// Factor on sine and cosine.
    pub magnitude: f32,
    /// Where queries and keys begin, in elements.
    pub places: [usize; 2],
}

/// What an op takes over. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fusion {
    /// Of products and convolutions.
    pub epilogue: Epilogue,
    /// Of element-wise ops.
    pub links: Links,
    /// Of a product `[.., 2D]`: the first half times this function of the second one.
    pub gate: Option<Activation>,
    /// Of a product: its operand lies as `[B, K, plane]` rather than `[B, plane, K]`, with so many elements in a plane.
    pub columns_in: Option<usize>,
    /// Of a product: its result, and what it meets in the epilogue, lie as `[B, N, plane]`.
    pub columns_out: Option<usize>,
    /// Of a convolution: its operand is first made twice as large in both directions.
    pub doubled: bool,
    /// Of an RMS norm.
    pub rotation: Option<Rotation>,
    /// Of a product.
    pub deal: Option<Deal>,
    /// Of attention over a paged cache.
    pub heads: Option<Heads>,
}

/// Words that [`Lowering::deal`] gives.
pub(super) const DEAL_WORDS: usize = 10;

/// Words that [`Lowering::epilogue`] gives.
pub(super) const EPILOGUE_WORDS: usize = 9;

/// An element-wise function, with its parameters.
pub(super) fn parametric(kind: UnaryKind) -> (Function, f32, f32) {
    match kind {
        UnaryKind::Activation(activation) => (activation_function(activation), 0.0, 0.0),
        UnaryKind::Tanh => (Function::Tanh, 0.0, 0.0),
        UnaryKind::Affine { factor, offset } => (Function::Affine, factor, offset),
        UnaryKind::Clamp { low, high } => (Function::Clamp, low, high),
        UnaryKind::LeakyRelu { slope } => (Function::LeakyRelu, slope, 0.0),
    }
}

/// As [`parametric`], by its code.
pub(super) fn coded(kind: UnaryKind) -> (u32, f32, f32) {
    let (function, a, b) = parametric(kind);
    (function as u32, a, b)
}

impl Lowering<'_, '_> {
    /// The words of `wgsl/shared/epilogue_params.wgsl`; of no epilogue, if this is not the dispatch that ends the op. The last two are for values that
    /// are met by channel: the place of the first channel, and the distance from one picture of the batch to the next.
    pub(super) fn epilogue(&self, ends: bool, channel: (u32, u32)) -> [u32; EPILOGUE_WORDS] {
        let given = self.context.fusion.epilogue;
        let Epilogue {
            before,
            combine,
            after,
        } = if ends { given } else { Epilogue::default() };
        let words = |kind: Option<UnaryKind>| {
            let (code, a, b) = kind.map_or((Function::Same as u32, 0.0, 0.0), coded);
            [code, a.to_bits(), b.to_bits()]
        };
        let [before, after] = [before, after].map(words);
        let combine = match combine {
            None => 0,
            Some((Combine::Add, _)) => 1,
            Some((Combine::Multiply, _)) => 2,
            Some((Combine::AddByChannel, _)) => 3,
        };
        [
            before[0], before[1], before[2], combine, after[0], after[1], after[2], channel.0,
            channel.1,
        ]
    }

    /// The words of `wgsl/shared/deal_params.wgsl`, for a dispatch that begins at a row and a column of a product of so many rows.
    pub(super) fn deal(
        &self,
        rows: usize,
        (row, column): (usize, usize),
    ) -> Result<[u32; DEAL_WORDS], ExecError> {
        let Some(deal) = self.context.fusion.deal else {
            return Ok([0; DEAL_WORDS]);
        };
        let ([a, b, c, d], [e, f, g, h]) = (
            deal.places(rows, self.limits().storage_alignment).0,
            deal.ends(),
        );
        words([column, row, e, f, g, h, a, b, c, d])
    }

    /// What the result meets, which lies as the result does: bound like the result's window. Where there is nothing, `stand_in`, which is bound anyway,
    /// takes the binding's place.
    pub(super) fn other(&self, result: &BoundArg, stand_in: &BoundArg) -> BoundArg {
        match self.context.fusion.epilogue.combine {
            Some((Combine::Add | Combine::Multiply, operand)) => BoundArg {
                arg: Arg::Operand(operand),
                range: result.range.clone(),
            },
            _ => stand_in.clone(),
        }
    }
}
