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

    /// Rows and columns (kernels included), of shapes alone; nothing if they do not belong together.
    fn size(&self) -> Option<(usize, usize)> {
        let split = |tensor: &TensorData| {
            let (rows, rest) = tensor.shape().split_first()?;
            let columns = rest.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
            Some((*rows, columns))
        };
        match self {
            Self::Whole(whole) => split(whole),
            Self::Product(a, b) => {
                let ((rows, rank), (other, columns)) = (split(a)?, split(b)?);
                (rank == other).then_some((rows, columns))
            }
            Self::Core(core, a, b) => match (core.shape(), a.shape(), b.shape()) {
                (&[p, q, tall, wide], &[rank, rows], &[other, channels])
                    if p == rank && q == other && p == q =>
                {
                    let columns = channels.checked_mul(tall)?.checked_mul(wide)?;
                    Some((rows, columns))
                }
                _ => None,
            },
        }
    }

    /// The values, row by row; of shapes that [`Self::size`] found right.
    fn values(&self, (rows, columns): (usize, usize)) -> Result<Vec<f32>, FormatError> {
        Ok(match self {
            Self::Whole(whole) => whole.to_f32()?,
            Self::Product(a, b) => {
                let rank = b.shape().first().copied().unwrap_or(0);
                super::lora::product(&a.to_f32()?, &b.to_f32()?, [rows, rank, columns])
            }
            Self::Core(core, a, b) => {
                let rank = a.shape().first().copied().unwrap_or(0);
                let channels = b.shape().get(1).copied().unwrap_or(0);
                let up = super::lora::transposed(&a.to_f32()?, rank, rows);
                let sizes = [rows, rank, channels, columns / channels.max(1)];
                super::lora::tucker(&up, &b.to_f32()?, &core.to_f32()?, sizes)
            }
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
    // Before anything is computed: two factors of few numbers can make a matrix of very many.
    let (Some((rows, columns)), Some((tall, wide))) = (one.size(), two.size()) else {
        return Ok(None);
    };
    if rows.checked_mul(tall) != Some(out) || columns.checked_mul(wide) != Some(inner) {
        return Ok(None);
    }
    let first = one.values((rows, columns))?;
    let second = two.values((tall, wide))?;
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Two factors of 100,000 numbers would make a matrix of 40,000,000,000 bytes; that it fits no weight is told before.
    #[test]
    fn shapes_are_compared_before_anything_is_computed() {
        let long = vec![1.0f32; 1 << 20];
        let tensor = |shape: &[usize]| TensorData::from_f32("k", shape, &long).unwrap();
        let huge = Half::Product(tensor(&[1 << 20, 1]), tensor(&[1, 1 << 20]));
        let small = Half::Whole(TensorData::from_f32("k", &[1, 1], &[1.0]).unwrap());
        let begun = std::time::Instant::now();
        for halves in [[&huge, &small], [&small, &huge], [&huge, &huge]] {
            assert!(kronecker(halves, 4, 4).unwrap().is_none());
        }
        // 2^40 products take minutes, and 4 TiB.
        assert!(begun.elapsed().as_secs() < 10);
        let core = |shape: &[usize]| TensorData::from_f32("k", shape, &[2.0]).unwrap();
        let half = Half::Core(core(&[1, 1, 1, 1]), core(&[1, 1]), core(&[1, 1]));
        assert_eq!(
            kronecker([&small, &half], 1, 1).unwrap(),
            Some((vec![8.0], Some(1)))
        );
    }
}
