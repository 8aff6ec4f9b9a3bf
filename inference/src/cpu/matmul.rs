//! Strided views for products of our own (`product.rs`), or where the processor has no AVX-512 for `gemm`, the library beneath candle's
//! own matrix products: tiles of attention and of convolution, and weights decoded panel by panel.

use gemm::Parallelism;

use super::parallel::Shared;

/// A strided matrix.
#[derive(Clone, Copy)]
pub(super) struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

fn span(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> usize {
    if rows == 0 || columns == 0 {
        0
    } else {
        (rows - 1) * row_stride + (columns - 1) * column_stride + 1
    }
}

impl<'a> Mat<'a> {
    /// Rows that lie `stride` elements apart. Panics if `data` is too short.
    pub(super) fn rows(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(
            span(rows, columns, stride, 1) <= data.len(),
            "a matrix lies within its slice"
        );
        Self {
            data,
            rows,
            columns,
            row_stride: stride,
            column_stride: 1,
        }
    }

    /// Rows and columns exchanged.
    pub(super) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// A matrix that is written; rows lie `stride` elements apart.
pub(super) struct MatMut<'a> {
    pointer: *mut f32,
    rows: usize,
    columns: usize,
    stride: usize,
    slice: std::marker::PhantomData<&'a mut [f32]>,
}

impl<'a> MatMut<'a> {
    /// Over a slice of one's own. Panics if it is too short.
    pub(super) fn rows(data: &'a mut [f32], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(columns <= stride || rows <= 1, "rows do not overlap");
        assert!(
            span(rows, columns, stride, 1) <= data.len(),
            "a matrix lies within its slice"
        );
        Self {
            pointer: data.as_mut_ptr(),
            rows,
            columns,
            stride,
            slice: std::marker::PhantomData,
        }
    }

    /// A tile of a shared slice.
    ///
    /// # Safety
    /// No other task uses the tile's elements (the gaps between its rows do not count) while it lives.
    pub(super) unsafe fn tile(
        shared: &'a Shared<'_>,
        start: usize,
        rows: usize,
        columns: usize,
        stride: usize,
    ) -> Self {
        assert!(columns <= stride || rows <= 1, "rows do not overlap");
        let pointer = shared.at(start, span(rows, columns, stride, 1));
        Self {
            pointer,
            rows,
            columns,
            stride,
            slice: std::marker::PhantomData,
        }
    }

    /// One row.
    pub(super) fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "a row of the matrix");
        // SAFETY: rows lie within the memory checked when the matrix was made, which is lent to it alone.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(row * self.stride), self.columns) }
    }
}

/// What a product does with what is in its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Into {
    /// Overwrites it.
    Replace,
    /// Is added to it.
    Add,
}

/// `out (+)= factor * a * b`, on this thread.
pub(super) fn multiply(out: &mut MatMut<'_>, into: Into, a: Mat<'_>, b: Mat<'_>, factor: f32) {
    assert!(
        a.columns == b.rows && a.rows == out.rows && b.columns == out.columns,
        "matrices fit each other"
    );
    if out.rows == 0 || out.columns == 0 {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if super::product::is_there()
        && (a.column_stride == 1 || a.columns <= 1)
        && (b.row_stride == 1 || b.column_stride == 1)
    {
        let product = super::product::Product {
            m: out.rows,
            n: out.columns,
            k: a.columns,
            out: out.pointer,
            out_stride: out.stride,
            add: into == Into::Add,
            a: a.data.as_ptr(),
            a_stride: a.row_stride,
            b: b.data.as_ptr(),
            b_strides: (b.row_stride, b.column_stride),
            factor,
        };
        // SAFETY: the processor can; every view was checked against the slice that it was made from; `out` is lent to it alone.
        unsafe { product.run() };
        return;
    }
    // SAFETY: every view was checked against the slice that it was made from; `out` is lent to it alone.
    unsafe {
        gemm::gemm(
            out.rows,
            out.columns,
            a.columns,
            out.pointer,
            1,
            out.stride as isize,
            into == Into::Add,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            factor,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{Random, worst_error};

    /// Odd sizes, strides, both orders of the right operand, with and without what is there already.
    #[test]
    fn products_of_odd_sizes_and_strides() {
        let mut random = Random::fresh("products_of_odd_sizes_and_strides");
        let mut sizes = vec![
            [1, 1, 1],
            [13, 300, 33],
            [12, 256, 32],
            [25, 17, 1100],
            [7, 513, 49],
        ];
        sizes.extend((0..12).map(|_| [40, 600, 600].map(|most| random.within(1, most))));
        for [m, k, n] in sizes {
            let gap = random.within(0, 3);
            let (a, there) = (random.floats(m * (k + gap)), random.floats(m * (n + gap)));
            for transposed in [false, true] {
                let (rows, columns) = if transposed { (n, k) } else { (k, n) };
                let values = random.floats(rows * (columns + gap));
                let view = Mat::rows(&values, rows, columns, columns + gap);
                let b = if transposed { view.transposed() } else { view };
                for into in [Into::Replace, Into::Add] {
                    // What is replaced is not looked at.
                    let mut out = if into == Into::Add {
                        there.clone()
                    } else {
                        vec![f32::NAN; there.len()]
                    };
                    let mut target = MatMut::rows(&mut out, m, n, n + gap);
                    multiply(&mut target, into, Mat::rows(&a, m, k, k + gap), b, 0.5);
                    let (mut got, mut wanted) = (Vec::new(), Vec::new());
                    for i in 0..m {
                        for j in 0..n {
                            let at = |p: usize| {
                                if transposed {
                                    j * (k + gap) + p
                                } else {
                                    p * (n + gap) + j
                                }
                            };
                            let product = |p: usize| {
                                f64::from(a[i * (k + gap) + p]) * f64::from(values[at(p)])
                            };
                            let sum = 0.5 * (0..k).map(product).sum::<f64>();
                            let before = if into == Into::Add {
                                f64::from(there[i * (n + gap) + j])
                            } else {
                                0.0
                            };
                            wanted.push((sum + before) as f32);
                            got.push(out[i * (n + gap) + j]);
                        }
                        // The gaps between rows are not touched.
                        for j in n..n + gap {
                            let kept = out[i * (n + gap) + j];
                            assert!(
                                into == Into::Replace && kept.is_nan()
                                    || kept == there[i * (n + gap) + j]
                            );
                        }
                    }
                    let error = worst_error(&got, &wanted);
                    assert!(
                        error < 5e-6,
                        "{m}x{k}x{n}, transposed {transposed}, {into:?}: {error}"
                    );
                }
            }
        }
    }
}
