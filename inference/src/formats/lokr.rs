//! LoKr (Yeh et al. 2023, "Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model Evaluation"): a change as the Kronecker product of two small matrices, of
//! which each may be a product of smaller ones; by the names of LyCORIS.

use super::error::FormatError;
use super::weights::TensorData;

/// One of the two factors.
#[derive(Clone, Debug)]
pub(super) enum Half {
    /// As it is.
    Whole(TensorData),
    /// `a * b`.
    Product(TensorData, TensorData),
    /// For convolutions `a^T * core * b`, with the rank first in both.
    Core(TensorData, TensorData, TensorData),
}

impl Half {
    /// Of what a file holds; nothing if something is missing.
    pub(super) fn new(
        whole: Option<TensorData>,
        a: Option<TensorData>,
        b: Option<TensorData>,
        core: Option<TensorData>,
    ) -> Option<Self> {
        if let Some(whole) = whole {
            return Some(Self::Whole(whole));
        }
        let (a, b) = a.zip(b)?;
        Some(match core {
            Some(core) => Self::Core(core, a, b),
            None => Self::Product(a, b),
        })
    }

    pub(super) fn first(&self) -> &TensorData {
        match self {
            Self::Whole(first) | Self::Product(first, _) | Self::Core(_, first, _) => first,
        }
    }

    /// The rank, where there is one.
    fn rank(&self) -> Option<usize> {
        match self {
            Self::Whole(_) => None,
            Self::Product(_, b) | Self::Core(_, _, b) => b.shape().first().copied(),
        }
    }

    /// Rows, columns (kernels included) and values; nothing if shapes do not belong together.
    fn matrix(&self) -> Result<Option<(usize, usize, Vec<f32>)>, FormatError> {
        let split = |tensor: &TensorData| {
            let (rows, rest) = tensor.shape().split_first()?;
            Some((*rows, rest.iter().product::<usize>()))
        };
        Ok(match self {
            Self::Whole(whole) => match split(whole) {
                Some((rows, columns)) => Some((rows, columns, whole.to_f32()?)),
                None => None,
            },
            Self::Product(a, b) => match (split(a), split(b)) {
                (Some((rows, rank)), Some((other, columns))) if rank == other => {
                    let sizes = [rows, rank, columns];
                    Some((
                        rows,
                        columns,
                        super::lora::product(&a.to_f32()?, &b.to_f32()?, sizes),
                    ))
                }
                _ => None,
            },
            Self::Core(core, a, b) => match (core.shape(), a.shape(), b.shape()) {
                (&[p, q, tall, wide], &[rank, rows], &[other, channels])
                    if p == rank && q == other && p == q =>
                {
                    let kernel = tall * wide;
                    let up = super::lora::transposed(&a.to_f32()?, rank, rows);
                    let sizes = [rows, rank, channels, kernel];
                    let values = super::lora::tucker(&up, &b.to_f32()?, &core.to_f32()?, sizes);
                    Some((rows, channels * kernel, values))
                }
                _ => None,
            },
        })
    }
}

/// A change's values, and the rank by which its `alpha` is divided, if there is one.
pub(super) type Scaled = (Vec<f32>, Option<usize>);

/// The Kronecker product of both as a matrix of `out` rows of `inner`, and the rank by which `alpha` is divided, if there is one; nothing if it
/// has another shape.
pub(super) fn kronecker(
    [one, two]: [&Half; 2],
    out: usize,
    inner: usize,
) -> Result<Option<Scaled>, FormatError> {
    let (Some((rows, columns, first)), Some((tall, wide, second))) = (one.matrix()?, two.matrix()?)
    else {
        return Ok(None);
    };
    if rows.checked_mul(tall) != Some(out) || columns.checked_mul(wide) != Some(inner) {
        return Ok(None);
    }
    let mut values = Vec::with_capacity(out * inner);
    for row in first.chunks_exact(columns.max(1)) {
        for line in second.chunks_exact(wide.max(1)) {
            for factor in row {
                values.extend(line.iter().map(|value| factor * value));
            }
        }
    }
    Ok(Some((values, two.rank().or(one.rank()))))
}
