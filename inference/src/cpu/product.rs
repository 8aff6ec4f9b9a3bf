//! Matrix products in f32 for processors with AVX-512, where the library beneath [`super::matmul`] uses half of their registers.
//!
//! Goto's scheme (Goto and van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication"): a block of the right operand is brought
//! into panels of 32 columns that stay in the first cache, and twelve rows of the left one at a time are multiplied with a panel in
//! registers. The left operand is read where it lies.

use std::arch::x86_64::*;
use std::cell::Cell;

/// Rows of the left operand in registers.
const ROWS: usize = 12;
/// Columns of a panel: two registers.
const COLUMNS: usize = 32;
/// Rows of a panel: 32 KiB.
const DEPTH: usize = 256;
/// Columns that are brought into panels at once.
const WIDTH: usize = 512;

thread_local! {
    static PANELS: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// Sixteen floats where a cache line starts.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Whether the processor can.
pub(super) fn is_there() -> bool {
    is_x86_feature_detected!("avx512f")
}

/// `out [m, n] (+)= factor * a [m, k] * b [k, n]`: the destination and its row stride, whether it is added to, the operands and their strides.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) out: *mut f32,
    pub(super) out_stride: usize,
    pub(super) add: bool,
    pub(super) a: *const f32,
    /// Between rows; elements of a row lie side by side.
    pub(super) a_stride: usize,
    pub(super) b: *const f32,
    /// Between rows and between columns; one of them is 1.
    pub(super) b_strides: (usize, usize),
    pub(super) factor: f32,
}

impl Product {
    /// Computes it on this thread.
    ///
    /// # Safety
    /// [`is_there`]; all elements of the operands can be read; those of the destination can be read and written and belong to nobody else;
    /// one of the right operand's strides is 1.
    pub(super) unsafe fn run(self) {
        if self.k == 0 {
            for row in 0..self.m {
                // SAFETY: a row of the destination, which is the caller's.
                let row = unsafe {
                    std::slice::from_raw_parts_mut(self.out.add(row * self.out_stride), self.n)
                };
                if !self.add {
                    row.fill(0.0);
                }
            }
            return;
        }
        // Taken, not borrowed, and all of it written before it is read.
        let mut panels = PANELS.take();
        let lines = WIDTH.min(self.n).next_multiple_of(COLUMNS) / 16 * DEPTH.min(self.k);
        if panels.len() < lines {
            panels.resize(lines, Line([0.0; 16]));
        }
        for row in (0..self.k).step_by(DEPTH) {
            let depth = DEPTH.min(self.k - row);
            for column in (0..self.n).step_by(WIDTH) {
                let width = WIDTH.min(self.n - column);
                // SAFETY: as the caller says; the panels have room for `depth` rows of the columns, rounded up.
                unsafe {
                    let b = self
                        .b
                        .add(row * self.b_strides.0 + column * self.b_strides.1);
                    let panels = panels.as_mut_ptr().cast::<f32>();
                    pack(b, self.b_strides, depth, width, panels);
                    self.block((row, depth), (column, width), panels);
                }
            }
        }
        PANELS.set(panels);
    }

    /// Rows of the panels times all rows of the left operand.
    ///
    /// # Safety
    /// As [`Self::run`], and the panels are filled.
    #[target_feature(enable = "avx512f")]
    unsafe fn block(
        self,
        (row, depth): (usize, usize),
        (column, width): (usize, usize),
        panels: *const f32,
    ) {
        for (index, first) in (0..width).step_by(COLUMNS).enumerate() {
            let columns = COLUMNS.min(width - first);
            let mask = u32::MAX >> (COLUMNS - columns);
            for top in (0..self.m).step_by(ROWS) {
                let rows = ROWS.min(self.m - top);
                // SAFETY: rows and columns within the matrices.
                let tile = unsafe {
                    Tile {
                        depth,
                        a: self.a.add(top * self.a_stride + row),
                        a_stride: self.a_stride,
                        panel: panels.add(index * depth * COLUMNS),
                        out: self.out.add(top * self.out_stride + column + first),
                        out_stride: self.out_stride,
                        masks: [mask as u16, (mask >> 16) as u16],
                        factor: self.factor,
                        add: self.add || row > 0,
                    }
                };
                macro_rules! by_rows {
                    ($($rows:literal)*) => {
                        match (rows, columns > 16) {
                            // SAFETY: as above.
                            $(($rows, true) => unsafe { tile.multiply::<$rows, 2>() },
                            ($rows, false) => unsafe { tile.multiply::<$rows, 1>() },)*
                            (_, true) => unsafe { tile.multiply::<ROWS, 2>() },
                            (_, false) => unsafe { tile.multiply::<ROWS, 1>() },
                        }
                    };
                }
                by_rows!(1 2 3 4 5 6 7 8 9 10 11);
            }
        }
    }
}

/// A few rows times one panel.
#[derive(Clone, Copy)]
struct Tile {
    depth: usize,
    a: *const f32,
    a_stride: usize,
    panel: *const f32,
    out: *mut f32,
    out_stride: usize,
    /// The columns that exist.
    masks: [u16; 2],
    factor: f32,
    add: bool,
}

impl Tile {
    /// `N` rows times the first `HALVES` halves of the panel.
    ///
    /// # Safety
    /// As [`Product::run`].
    #[target_feature(enable = "avx512f")]
    unsafe fn multiply<const N: usize, const HALVES: usize>(self) {
        let mut sums = [[_mm512_setzero_ps(); HALVES]; N];
        let mut a = self.a;
        let mut panel = self.panel;
        for _ in 0..self.depth {
            // SAFETY: a row of the panel, and an element of each of the rows.
            unsafe {
                let mut columns = [_mm512_setzero_ps(); HALVES];
                for (half, columns) in columns.iter_mut().enumerate() {
                    *columns = _mm512_load_ps(panel.add(16 * half));
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = _mm512_set1_ps(*a.add(row.wrapping_mul(self.a_stride)));
                    for (sum, columns) in sums.iter_mut().zip(columns) {
                        *sum = _mm512_fmadd_ps(value, columns, *sum);
                    }
                }
                a = a.wrapping_add(1);
                panel = panel.wrapping_add(COLUMNS);
            }
        }
        let factor = _mm512_set1_ps(self.factor);
        for (row, sums) in sums.iter().enumerate() {
            for (part, sum) in sums.iter().enumerate() {
                let mask = self.masks[part];
                // SAFETY: elements of the destination where the mask is set; others are not touched.
                unsafe {
                    let out = self.out.add(row * self.out_stride + 16 * part);
                    let value = if self.add {
                        _mm512_fmadd_ps(*sum, factor, _mm512_maskz_loadu_ps(mask, out))
                    } else {
                        _mm512_mul_ps(*sum, factor)
                    };
                    _mm512_mask_storeu_ps(out, mask, value);
                }
            }
        }
    }
}

/// Brings `depth` rows and `width` columns into panels; columns that are not there are zeros, apart from a half of a panel without any.
///
/// # Safety
/// They can be read, the panels have room for them, and one of the strides is 1.
#[target_feature(enable = "avx512f")]
unsafe fn pack(
    b: *const f32,
    (row_stride, column_stride): (usize, usize),
    depth: usize,
    width: usize,
    panels: *mut f32,
) {
    // Half a panel, and of its sixteen columns those that exist.
    let half = |first: usize| {
        let mask = u16::MAX >> 16usize.saturating_sub(width - first);
        (first / COLUMNS * depth * COLUMNS + first % COLUMNS, mask)
    };
    if column_stride == 1 {
        // Rows as they lie: going down columns would touch a page for every line.
        for row in 0..depth {
            for first in (0..width).step_by(16) {
                let (at, mask) = half(first);
                // SAFETY: sixteen columns of a row where the mask is set, and half of a panel's row.
                unsafe {
                    let line = _mm512_maskz_loadu_ps(mask, b.add(row * row_stride + first));
                    _mm512_store_ps(panels.add(at + row * COLUMNS), line);
                }
            }
        }
    } else {
        for first in (0..width).step_by(16) {
            let (at, _) = half(first);
            for row in (0..depth).step_by(16) {
                let rows = 16.min(depth - row);
                let there = u16::MAX >> (16 - rows);
                let mut lines = [_mm512_setzero_ps(); 16];
                for (column, line) in lines.iter_mut().enumerate().take(width - first) {
                    // SAFETY: sixteen rows of a column where the mask is set.
                    *line = unsafe {
                        _mm512_maskz_loadu_ps(there, b.add((first + column) * column_stride + row))
                    };
                }
                transpose(&mut lines);
                for (i, line) in lines.iter().enumerate().take(rows) {
                    // SAFETY: half of a panel's row.
                    unsafe { _mm512_store_ps(panels.add(at + (row + i) * COLUMNS), *line) };
                }
            }
        }
    }
}

/// Sixteen rows of sixteen: columns become rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: &mut [__m512; 16]) {
    let mut half = [_mm512_setzero_ps(); 16];
    for i in 0..8 {
        half[2 * i] = _mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
        half[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
    }
    let low = |a, b| _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
    let high =
        |a, b| _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
    // Then lane `l` of `rows[4 i + c]` has column `4 l + c` of rows `4 i` to `4 i + 3`.
    for i in (0..16).step_by(4) {
        rows[i] = low(half[i], half[i + 2]);
        rows[i + 1] = high(half[i], half[i + 2]);
        rows[i + 2] = low(half[i + 1], half[i + 3]);
        rows[i + 3] = high(half[i + 1], half[i + 3]);
    }
    for c in 0..4 {
        half[c] = _mm512_shuffle_f32x4::<0x88>(rows[c], rows[4 + c]);
        half[4 + c] = _mm512_shuffle_f32x4::<0x88>(rows[8 + c], rows[12 + c]);
        half[8 + c] = _mm512_shuffle_f32x4::<0xdd>(rows[c], rows[4 + c]);
        half[12 + c] = _mm512_shuffle_f32x4::<0xdd>(rows[8 + c], rows[12 + c]);
    }
    for c in 0..4 {
        rows[c] = _mm512_shuffle_f32x4::<0x88>(half[c], half[4 + c]);
        rows[8 + c] = _mm512_shuffle_f32x4::<0xdd>(half[c], half[4 + c]);
        rows[4 + c] = _mm512_shuffle_f32x4::<0x88>(half[8 + c], half[12 + c]);
        rows[12 + c] = _mm512_shuffle_f32x4::<0xdd>(half[8 + c], half[12 + c]);
    }
}
