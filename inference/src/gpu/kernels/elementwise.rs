//! Copies and element-wise ops: each element of the result depends on few of the operands'.

use diptych_shaders::{Function, Kernel, KvFormat};

use super::window::{Box4, broadcast_strides, strides_of};
use super::{Arg, ExecError, Lowering, Work, word, words};
use crate::graph::{Activation, BinaryKind, KvShape, RopeStyle, UnaryKind, WeightId};

/// Invocations of a workgroup of these kernels.
const LANES: usize = 256;

/// Workgroups for a number of elements.
pub(super) fn groups(elements: usize) -> u64 {
    elements.div_ceil(LANES) as u64
}

pub(super) fn activation_function(activation: Activation) -> Function {
    match activation {
        Activation::Silu => Function::Silu,
        Activation::Gelu => Function::Gelu,
        Activation::GeluTanh => Function::GeluTanh,
        Activation::QuickGelu => Function::QuickGelu,
        Activation::Relu => Function::Relu,
    }
}

/// Its code.
pub(super) fn function(activation: Activation) -> u32 {
    activation_function(activation) as u32
}

impl Lowering<'_, '_> {
    fn copy(&mut self, operand: usize, whole: Box4<2>) -> Result<(), ExecError> {
        for part in whole.split(self.limits()) {
            let [x_layout, y_layout] = part.layouts;
            let elements: usize = part.dims.iter().product();
            let x = self.limits().window(
                Arg::Operand(operand),
                x_layout.first,
                x_layout.span(part.dims),
            );
            let y = self
                .limits()
                .window(Arg::Output, y_layout.first, y_layout.span(part.dims));
            let mut list = words([
                elements,
                x.base,
                y.base,
                part.dims[1],
                part.dims[2],
                part.dims[3],
            ])?
            .to_vec();
            list.extend(words(x_layout.strides)?);
            list.extend(words(y_layout.strides)?);
            let work = Work {
                groups: groups(elements),
                flops: 0,
            };
            self.push(Kernel::Copy, &list, vec![x.bound, y.bound], work)?;
        }
        Ok(())
    }

    pub(super) fn permute(&mut self, axes: &[usize]) -> Result<(), ExecError> {
        let shape = self.operand(0)?;
        let all = strides_of(shape);
        let strides: Option<Vec<usize>> = axes.iter().map(|&axis| all.get(axis).copied()).collect();
        let output = self.context.output;
        let whole = strides
            .filter(|strides| strides.len() == output.len())
            .and_then(|strides| Box4::new(output, [0, 0], [&strides, &strides_of(output)]));
        let whole = whole.ok_or_else(|| self.unsupported(format!("{shape:?} by {axes:?}")))?;
        self.copy(0, whole)
    }

    pub(super) fn concat(&mut self, axis: usize) -> Result<(), ExecError> {
        let out_axis = *self
            .context
            .output
            .get(axis)
            .ok_or_else(|| self.unsupported("axis"))?;
        let outer: usize = self.context.output[..axis].iter().product();
        let inner: usize = self.context.output[axis + 1..].iter().product();
        let mut at = 0;
        for index in 0..self.context.operands.len() {
            let len = *self
                .operand(index)?
                .get(axis)
                .ok_or_else(|| self.unsupported("axis"))?
                * inner;
            let whole = Box4::new(&[outer, len], [0, at], [&[len, 1], &[out_axis * inner, 1]]);
            self.copy(index, whole.ok_or_else(|| self.unsupported("shape"))?)?;
            at += len;
        }
        Ok(())
    }

    pub(super) fn slice(&mut self, axis: usize, start: usize, len: usize) -> Result<(), ExecError> {
        let shape = self.operand(0)?;
        let x_axis = *shape.get(axis).ok_or_else(|| self.unsupported("axis"))?;
        let outer: usize = shape[..axis].iter().product();
        let inner: usize = shape[axis + 1..].iter().product();
        let whole = Box4::new(
            &[outer, len * inner],
            [start * inner, 0],
            [&[x_axis * inner, 1], &[len * inner, 1]],
        );
        self.copy(0, whole.ok_or_else(|| self.unsupported("shape"))?)
    }

    pub(super) fn binary(&mut self, kind: BinaryKind) -> Result<(), ExecError> {
        let a_shape = self.operand(0)?;
        let b_shape = self.operand(1)?;
        let misfit = || self.unsupported(format!("{a_shape:?} and {b_shape:?}"));
        let b_strides = broadcast_strides(b_shape, a_shape).ok_or_else(misfit)?;
        let a_strides = strides_of(a_shape);
        let whole = Box4::new(a_shape, [0, 0], [&a_strides, &b_strides]).ok_or_else(misfit)?;
        for part in whole.split(self.limits()) {
            let [a_layout, b_layout] = part.layouts;
            let elements: usize = part.dims.iter().product();
            let a = self
                .limits()
                .window(Arg::Operand(0), a_layout.first, a_layout.span(part.dims));
            let b = self
                .limits()
                .window(Arg::Operand(1), b_layout.first, b_layout.span(part.dims));
            let y = self
                .limits()
                .window(Arg::Output, a_layout.first, a_layout.span(part.dims));
            let multiply = usize::from(kind == BinaryKind::Mul);
            let [_, d1, d2, d3] = part.dims;
            let mut list =
                words([elements, a.base, b.base, y.base, multiply, d1, d2, d3])?.to_vec();
            list.extend(words(b_layout.strides)?);
            list.extend(words(a_layout.strides)?);
            let work = Work {
                groups: groups(elements),
                flops: elements as u64,
            };
            let bindings = vec![a.bound, b.bound, y.bound];
            self.push(Kernel::Binary, &list, bindings, work)?;
        }
        Ok(())
    }

    /// Bands of a result whose elements each depend on the operands' at the same place.
    fn same_places(&self) -> Vec<(usize, usize)> {
        let elements: usize = self.context.output.iter().product();
        let most = self.limits().band_elements();
        (0..elements)
            .step_by(most)
            .map(|first| (first, most.min(elements - first)))
            .collect()
    }

    pub(super) fn unary(&mut self, kind: UnaryKind) -> Result<(), ExecError> {
        let (code, a, b) = super::fusion::coded(kind);
        for (first, len) in self.same_places() {
            let x = self.limits().window(Arg::Operand(0), first, len);
            let y = self.limits().window(Arg::Output, first, len);
            let [len_word, x_base, y_base] = words([len, x.base, y.base])?;
            let list = [len_word, x_base, y_base, code, a.to_bits(), b.to_bits()];
            let work = Work {
                groups: groups(len),
                flops: 8 * len as u64,
            };
            self.push(Kernel::Unary, &list, vec![x.bound, y.bound], work)?;
        }
        Ok(())
    }

    pub(super) fn gated(&mut self, activation: Activation) -> Result<(), ExecError> {
        for (first, len) in self.same_places() {
            let gate = self.limits().window(Arg::Operand(0), first, len);
            let up = self.limits().window(Arg::Operand(1), first, len);
            let y = self.limits().window(Arg::Output, first, len);
            let [len_word, gate_base, up_base, y_base] = words([len, gate.base, up.base, y.base])?;
            let list = [len_word, gate_base, up_base, y_base, function(activation)];
            let work = Work {
                groups: groups(len),
                flops: 8 * len as u64,
            };
            self.push(
                Kernel::Gated,
                &list,
                vec![gate.bound, up.bound, y.bound],
                work,
            )?;
        }
        Ok(())
    }

    pub(super) fn split_gated(&mut self, activation: Activation) -> Result<(), ExecError> {
        let width = self.context.output.last().copied().unwrap_or(1);
        let rows = self.context.output.iter().product::<usize>() / width.max(1);
        let limits = *self.limits();
        let bands = self.bands(rows, 1, |begin, end| {
            limits.fits(begin * 2 * width, (end - begin) * 2 * width)
        })?;
        for (begin, end) in bands {
            let len = (end - begin) * width;
            let x = limits.window(Arg::Operand(0), begin * 2 * width, 2 * len);
            let y = limits.window(Arg::Output, begin * width, len);
            let [len_word, width_word, x_base, y_base] = words([len, width, x.base, y.base])?;
            let list = [len_word, width_word, x_base, y_base, function(activation)];
            let work = Work {
                groups: groups(len),
                flops: 8 * len as u64,
            };
            self.push(Kernel::SplitGated, &list, vec![x.bound, y.bound], work)?;
        }
        Ok(())
    }

    pub(super) fn gather_rows(&mut self) -> Result<(), ExecError> {
        let [x_rows, width] = self.axes(0)?;
        let [out_rows] = self.axes(1)?;
        let limits = *self.limits();
        let fits = |begin: usize, end: usize| limits.fits(begin * width, (end - begin) * width);
        let x_bands = self.bands(x_rows, 1, fits)?;
        let out_bands = self.bands(out_rows, 1, fits)?;
        for &(begin, end) in &out_bands {
            let elements = (end - begin) * width;
            let indices = limits.window(Arg::Operand(1), begin, end - begin);
            let y = limits.window(Arg::Output, begin * width, elements);
            for &(x_begin, x_end) in &x_bands {
                let x = limits.window(Arg::Operand(0), x_begin * width, (x_end - x_begin) * width);
                let list = words([
                    width,
                    x_begin,
                    x_end - x_begin,
                    end - begin,
                    x.base,
                    indices.base,
                    y.base,
                ])?;
                let work = Work {
                    groups: groups(elements),
                    flops: 0,
                };
                let bindings = vec![x.bound, indices.bound.clone(), y.bound.clone()];
                self.push(Kernel::GatherRows, &list, bindings, work)?;
            }
        }
        Ok(())
    }

    pub(super) fn upsample_nearest(&mut self) -> Result<(), ExecError> {
        let [batch, channels, height, width] = self.axes(0)?;
        let &[_, _, out_height, out_width] = self.context.output else {
            return Err(self.unsupported(format!("{:?}", self.context.output)));
        };
        let limits = *self.limits();
        // Rows are counted over all planes; the input rows under a run of output rows are a run, too.
        let source =
            |row: usize| row / out_height * height + row % out_height * height / out_height;
        let input = |begin: usize, end: usize| (source(begin), source(end - 1) + 1 - source(begin));
        let bands = self.bands(batch * channels * out_height, 1, |begin, end| {
            let (first, rows) = input(begin, end);
            limits.fits(begin * out_width, (end - begin) * out_width)
                && limits.fits(first * width, rows * width)
        })?;
        for (begin, end) in bands {
            let (first, rows) = input(begin, end);
            let elements = (end - begin) * out_width;
            let x = limits.window(Arg::Operand(0), first * width, rows * width);
            let y = limits.window(Arg::Output, begin * out_width, elements);
            let list = words([
                elements, x.base, y.base, begin, first, height, width, out_height, out_width,
            ])?;
            let work = Work {
                groups: groups(elements),
                flops: 0,
            };
            self.push(Kernel::UpsampleNearest, &list, vec![x.bound, y.bound], work)?;
        }
        Ok(())
    }

    pub(super) fn rope(
        &mut self,
        heads: usize,
        inv_freq: WeightId,
        style: RopeStyle,
        magnitude: f32,
    ) -> Result<(), ExecError> {
        let [rows, width] = self.axes(0)?;
        if heads == 0 || !width.is_multiple_of(heads) {
            return Err(self.unsupported(format!("{width} elements in {heads} heads")));
        }
        let limits = *self.limits();
        let frequencies = self.weight(inv_freq).cols;
        let bands = self.bands(rows, 1, |begin, end| {
            limits.fits(begin * width, (end - begin) * width)
        })?;
        for (begin, end) in bands {
            let elements = (end - begin) * width;
            let x = limits.window(Arg::Operand(0), begin * width, elements);
            let positions = limits.window(Arg::Operand(1), begin, end - begin);
            let freq = limits.window(
                Arg::Weight {
                    weight: inv_freq,
                    shard: 0,
                },
                0,
                frequencies,
            );
            let y = limits.window(Arg::Output, begin * width, elements);
            let interleaved = usize::from(style == RopeStyle::Interleaved);
            let numbers = [
                elements,
                x.base,
                y.base,
                positions.base,
                freq.base,
                width,
                width / heads,
                frequencies,
                interleaved,
            ];
            let mut list = words(numbers)?.to_vec();
            list.push(magnitude.to_bits());
            let work = Work {
                groups: groups(elements),
                flops: 20 * elements as u64,
            };
            self.push(
                Kernel::Rope,
                &list,
                vec![x.bound, positions.bound, freq.bound, y.bound],
                work,
            )?;
        }
        Ok(())
    }

    /// Writes of keys and values into a window of a cache; see [`Lowering::paged_attention`].
    pub(super) fn kv_write(
        &mut self,
        caches: [Arg; 2],
        rows: usize,
        cache: KvShape,
        slots: (usize, usize),
    ) -> Result<(), ExecError> {
        let limits = *self.limits();
        let (first_slot, count) = (slots.0, slots.1 - slots.0);
        let (width, words_each) = (cache.kv_heads * cache.head_dim, cache.slot_words());
        let [keys, values] =
            caches.map(|arg| limits.window(arg, first_slot * words_each, count * words_each));
        let bands = self.bands(rows, 1, |begin, end| {
            limits.fits(begin * width, (end - begin) * width)
        })?;
        for (begin, end) in bands {
            let elements = (end - begin) * width;
            let [k, v] =
                [1, 2].map(|index| limits.window(Arg::Operand(index), begin * width, elements));
            let write_slots = limits.window(Arg::Operand(4), begin, end - begin);
            let places = [
                k.base,
                v.base,
                write_slots.base,
                first_slot,
                count,
                keys.base,
                values.base,
            ];
            let bindings = vec![
                k.bound,
                v.bound,
                write_slots.bound,
                keys.bound.clone(),
                values.bound.clone(),
            ];
            let kv = super::attention::kv_format(cache.kv_type);
            let (kernel, sizes, invocations) = match kv {
                KvFormat::F32 => (Kernel::KvWrite, vec![end - begin, width], elements),
                kv => {
                    let units = 2 * (end - begin) * cache.kv_heads * cache.head_dim.div_ceil(64);
                    let sizes = vec![end - begin, cache.kv_heads, cache.head_dim];
                    (Kernel::KvPack { kv }, sizes, units)
                }
            };
            let mut list = Vec::with_capacity(12);
            for size in sizes {
                list.push(word(size)?);
            }
            list.extend(words(places)?);
            let work = Work {
                groups: groups(invocations),
                flops: 0,
            };
            self.push(kernel, &list, bindings, work)?;
        }
        Ok(())
    }

    /// Dequantised rows: all of a weight.
    pub(super) fn constant(&mut self, id: WeightId) -> Result<(), ExecError> {
        let layout = self.weight(id).clone();
        let limits = *self.limits();
        for (shard, rows) in layout.shards.iter().enumerate() {
            let bands = self.bands(rows.len(), 1, |begin, end| {
                limits.fits(
                    (rows.start + begin) * layout.cols,
                    (end - begin) * layout.cols,
                )
            })?;
            for (begin, end) in bands {
                let y = limits.window(
                    Arg::Output,
                    (rows.start + begin) * layout.cols,
                    (end - begin) * layout.cols,
                );
                let stride = layout.chunks();
                let scales = layout.main_words(rows.len());
                let numbers = [
                    stride,
                    scales,
                    layout.cols,
                    begin,
                    rows.len(),
                    end - begin,
                    0,
                    y.base,
                ];
                let work = Work {
                    groups: groups((end - begin) * stride),
                    flops: 0,
                };
                let bindings = vec![self.shard(id, shard)?, y.bound];
                self.push(
                    Kernel::Dequantize {
                        weight: layout.format,
                    },
                    &words(numbers)?,
                    bindings,
                    work,
                )?;
            }
        }
        Ok(())
    }

    pub(super) fn embedding(&mut self, id: WeightId) -> Result<(), ExecError> {
        let layout = self.weight(id).clone();
        let out_rows: usize = self.operand(0)?.iter().product();
        let limits = *self.limits();
        let bands = self.bands(out_rows, 1, |begin, end| {
            limits.fits(begin * layout.cols, (end - begin) * layout.cols)
        })?;
        for (begin, end) in bands {
            let ids = limits.window(Arg::Operand(0), begin, end - begin);
            let y = limits.window(
                Arg::Output,
                begin * layout.cols,
                (end - begin) * layout.cols,
            );
            for (shard, rows) in layout.shards.iter().enumerate() {
                let stride = layout.chunks();
                let scales = layout.main_words(rows.len());
                let numbers = [
                    stride,
                    scales,
                    layout.cols,
                    rows.start,
                    rows.len(),
                    end - begin,
                    ids.base,
                    y.base,
                ];
                let work = Work {
                    groups: groups((end - begin) * stride),
                    flops: 0,
                };
                let bindings = vec![self.shard(id, shard)?, ids.bound.clone(), y.bound.clone()];
                self.push(
                    Kernel::Embedding {
                        weight: layout.format,
                    },
                    &words(numbers)?,
                    bindings,
                    work,
                )?;
            }
        }
        Ok(())
    }
}
