//! Strided views for `gemm`, the library beneath candle's own matrix products, called directly where a copy into a
//! tensor would cost more than it brings: tiles of attention and of convolution, and weights decoded panel by panel.

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
#[derive(Clone, Copy, PartialEq, Eq)]
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
