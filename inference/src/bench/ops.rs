//! Single ops on shapes of Stable Diffusion 1.5 and of language models; on the CPU beside candle's own ops on the same data.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{D, Device, Module as _, Tensor as CandleTensor};

use super::report::OpReport;
use super::session::median;
use super::{BenchError, Opened, Options, Stop, Watcher};
use crate::diffusion::NoiseSource;
use crate::formats::{StorageDtype, TensorData};
use crate::graph::{
    Activation, Conv2dSpec, Graph, GraphBuilder, GraphError, HostTensor, Run, Tensor,
};
use crate::synthesize::{QUANTS, random_tensor};

/// Seconds that one op is repeated for, and the least number of times.
const SECONDS: f64 = 0.4;
const LEAST: usize = 3;

/// Measures all of them.
pub(super) fn measure(
    options: &Options,
    watcher: &mut dyn Watcher,
) -> Result<Vec<OpReport>, BenchError> {
    let executor = Opened::new(options.device, options.memory)?;
    let beside_candle = matches!(executor, Opened::Cpu(_));
    let mut table = Table {
        executor,
        beside_candle,
        quick: options.quick,
        wanted: options.ops.as_deref().unwrap_or_default(),
        watcher,
        lines: Vec::new(),
    };
    table.linears()?;
    table.convolutions()?;
    table.attentions()?;
    table.the_rest()?;
    Ok(table.lines)
}

struct Table<'a> {
    executor: Opened,
    beside_candle: bool,
    quick: bool,
    /// Measured is what has this in its name.
    wanted: &'a str,
    watcher: &'a mut dyn Watcher,
    lines: Vec<OpReport>,
}

/// What candle does on the same data.
type Candle<'a> = &'a dyn Fn() -> candle_core::Result<CandleTensor>;

impl Table<'_> {
    /// Of a list of shapes, those that are measured.
    fn chosen<'s, T>(&self, shapes: &'s [T]) -> &'s [T] {
        match self.quick {
            true => shapes.get(..1).unwrap_or(shapes),
            false => shapes,
        }
    }

    /// Measures a graph of one op, and candle's own.
    fn line(
        &mut self,
        name: String,
        operations: f64,
        graph: Graph,
        inputs: &[(&str, HostTensor)],
        candle: Option<Candle<'_>>,
    ) -> Result<(), BenchError> {
        self.watcher.next(&name);
        let executor = self.executor.as_mut();
        let plan = executor.prepare(Arc::new(graph))?;
        let ours = repeated(|| -> Result<(), BenchError> {
            let run = Run {
                inputs,
                states: &[],
                interrupt: &mut Stop(&mut *self.watcher),
            };
            black_box(executor.run(plan, run)?);
            Ok(())
        });
        executor.drop_plan(plan);
        let seconds = ours?;
        let candle_seconds = match candle.filter(|_| self.beside_candle) {
            Some(candle) => Some(repeated(|| -> Result<(), BenchError> {
                black_box(candle()?);
                Ok(())
            })?),
            None => None,
        };
        self.lines.push(OpReport {
            name,
            seconds,
            flops_per_second: operations / seconds,
            candle_seconds,
        });
        Ok(())
    }

    fn linears(&mut self) -> Result<(), BenchError> {
        for &(m, k, n) in self.chosen(&[
            (1, 2048, 8192),
            (1, 2048, 2048),
            (2, 2048, 2048),
            (4, 2048, 2048),
            (8, 2048, 2048),
            (128, 2048, 2048),
            (8192, 320, 320),
            (8192, 320, 2560),
            (154, 768, 768),
        ]) {
            let (x, candle_x) = values(&[m, k])?;
            let plain = random_tensor("w", &[n, k], StorageDtype::F32, 1)?;
            let candle_w = CandleTensor::from_vec(plain.to_f32()?, (n, k), &Device::Cpu)?.t()?;
            for dtype in QUANTS {
                if !k.is_multiple_of(dtype.block_len()) {
                    continue;
                }
                let name = format!("linear {m}x{k} to {n} {dtype}");
                if !name.contains(self.wanted) {
                    continue;
                }
                let w = random_tensor("w", &[n, k], dtype, 1)?;
                let graph = one(|g| g.linear(&g.input("x", &[m, k])?, &w, None))?;
                let packed = candle_matrix(&w)?;
                let candle = || match &packed {
                    Some(matrix) => matrix.forward(&candle_x),
                    None => candle_x.matmul(&candle_w),
                };
                // Types that candle does not have it cannot be measured in.
                let has = packed.is_some() || dtype.block_len() == 1;
                let operations = 2.0 * (m * k * n) as f64;
                let inputs = [("x", x.clone())];
                self.line(name, operations, graph, &inputs, has.then_some(&candle))?;
            }
        }
        Ok(())
    }

    fn convolutions(&mut self) -> Result<(), BenchError> {
        for &(b, c, o, side, kernel, stride) in self.chosen(&[
            (2, 640, 640, 32, 3, 1),
            (2, 320, 320, 64, 3, 1),
            (2, 1280, 1280, 8, 3, 1),
            (1, 128, 128, 256, 3, 1),
            (2, 320, 320, 64, 1, 1),
            (2, 320, 320, 64, 3, 2),
        ]) {
            let (x, candle_x) = values(&[b, c, side, side])?;
            let shape = [o, c, kernel, kernel];
            let padding = kernel / 2;
            let out = side / stride;
            let operations = 2.0 * (b * o * c * kernel * kernel * out * out) as f64;
            for dtype in [StorageDtype::F32, StorageDtype::F16] {
                let name = format!(
                    "conv {b}x{c}x{side}x{side} to {o}, {kernel}x{kernel}/{stride} {dtype}"
                );
                if !name.contains(self.wanted) {
                    continue;
                }
                let w = random_tensor("w", &shape, dtype, 1)?;
                let candle_w = CandleTensor::from_vec(w.to_f32()?, &shape, &Device::Cpu)?;
                let spec = Conv2dSpec::new(stride, padding);
                let graph = one(|g| g.conv2d(&g.input("x", &[b, c, side, side])?, &w, None, spec))?;
                let candle = || candle_x.conv2d(&candle_w, padding, stride, 1, 1);
                let inputs = [("x", x.clone())];
                self.line(name, operations, graph, &inputs, Some(&candle))?;
            }
        }
        Ok(())
    }

    fn attentions(&mut self) -> Result<(), BenchError> {
        for &(b, heads, queries, keys, width) in self.chosen(&[
            (2, 8, 1024, 1024, 80),
            (2, 8, 4096, 4096, 40),
            (2, 8, 4096, 77, 40),
            (2, 8, 64, 64, 160),
            (1, 1, 4096, 4096, 512),
        ]) {
            let name = format!("attention {b}x{heads} heads, {queries}x{keys} of {width}");
            if !name.contains(self.wanted) {
                continue;
            }
            let all = heads * width;
            let (q, candle_q) = values(&[b, queries, all])?;
            let (k, candle_k) = values(&[b, keys, all])?;
            let scale = 1.0 / (width as f32).sqrt();
            let split = |x: &CandleTensor, length: usize| {
                x.reshape((b, length, heads, width))?
                    .transpose(1, 2)?
                    .contiguous()
            };
            let candle = || {
                let (q, k) = (split(&candle_q, queries)?, split(&candle_k, keys)?);
                let scores = (q.matmul(&k.t()?)? * f64::from(scale))?;
                let scores = scores
                    .broadcast_sub(&scores.max_keepdim(D::Minus1)?)?
                    .exp()?;
                let shares = scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)?;
                shares.matmul(&k)?.transpose(1, 2)?.contiguous()
            };
            let graph = one(|g| {
                let (q, k) = (
                    g.input("q", &[b, queries, all])?,
                    g.input("k", &[b, keys, all])?,
                );
                g.attention([&q, &k, &k], heads, heads, scale, false)
            })?;
            let operations = 4.0 * (b * heads * queries * keys * width) as f64;
            self.line(
                name,
                operations,
                graph,
                &[("q", q), ("k", k)],
                Some(&candle),
            )?;
        }
        Ok(())
    }

    fn the_rest(&mut self) -> Result<(), BenchError> {
        let shape = [2, 320, 64, 64];
        let rows = [8192, 320];
        let (x, candle_x) = values(&shape)?;
        let count = x.len() as f64;
        let inputs = [("x", x)];
        let ones = TensorData::from_f32("gain", &[320], &[1.0; 320])?;
        let normalised = |x: CandleTensor, axis: usize| -> candle_core::Result<CandleTensor> {
            let x = x.broadcast_sub(&x.mean_keepdim(axis)?)?;
            x.broadcast_div(&(x.sqr()?.mean_keepdim(axis)? + 1e-5)?.sqrt()?)
        };
        let silu = || candle_x.silu();
        let gelu = || candle_x.gelu_erf();
        let add = || &candle_x + &candle_x;
        let transpose = || {
            candle_x
                .reshape((2, 320, 4096))?
                .transpose(1, 2)?
                .contiguous()
        };
        let group_norm = || {
            normalised(candle_x.reshape((2, 32, 10 * 4096))?, 2)?
                .reshape(&shape)?
                .silu()
        };
        let layer_norm = || normalised(candle_x.reshape(&rows)?, 1);
        let input = |g: &GraphBuilder| g.input("x", &shape);
        let lines: [(&str, Graph, Candle<'_>); 6] = [
            (
                "silu",
                one(|g| g.activation(&input(g)?, Activation::Silu))?,
                &silu,
            ),
            (
                "gelu",
                one(|g| g.activation(&input(g)?, Activation::Gelu))?,
                &gelu,
            ),
            (
                "add",
                one(|g| {
                    let x = input(g)?;
                    g.add(&x, &x)
                })?,
                &add,
            ),
            (
                "transpose",
                one(|g| g.permute(&g.reshape(&input(g)?, &[2, 320, 4096])?, &[0, 2, 1]))?,
                &transpose,
            ),
            (
                "group norm and silu",
                one(|g| g.group_norm(&input(g)?, &ones, &ones, 32, 1e-5, true))?,
                &group_norm,
            ),
            (
                "layer norm",
                one(|g| g.layer_norm(&g.reshape(&input(g)?, &rows)?, &ones, Some(&ones), 1e-5))?,
                &layer_norm,
            ),
        ];
        for (name, graph, candle) in lines {
            let name = format!("{name} 2x320x64x64");
            if !name.contains(self.wanted) {
                continue;
            }
            self.line(name, count, graph, &inputs, Some(candle))?;
        }
        Ok(())
    }
}

/// A graph of one op.
fn one(
    build: impl FnOnce(&GraphBuilder) -> Result<Tensor, GraphError>,
) -> Result<Graph, BenchError> {
    let g = GraphBuilder::new("one op");
    let y = build(&g)?;
    g.output("y", &y);
    Ok(g.finish())
}

/// The same random values for us and for candle.
fn values(shape: &[usize]) -> Result<(HostTensor, CandleTensor), BenchError> {
    let values = NoiseSource::Philox.draw(1, shape.iter().product());
    let candle = CandleTensor::from_slice(&values, shape, &Device::Cpu)?;
    Ok((HostTensor::f32(shape, values), candle))
}

/// A packed matrix as candle has it, where candle has its type.
fn candle_matrix(w: &TensorData) -> Result<Option<QMatMul>, BenchError> {
    let dtype = match w.dtype() {
        StorageDtype::Q4_0 => GgmlDType::Q4_0,
        StorageDtype::Q4_1 => GgmlDType::Q4_1,
        StorageDtype::Q5_0 => GgmlDType::Q5_0,
        StorageDtype::Q5_1 => GgmlDType::Q5_1,
        StorageDtype::Q8_0 => GgmlDType::Q8_0,
        StorageDtype::Q2K => GgmlDType::Q2K,
        StorageDtype::Q3K => GgmlDType::Q3K,
        StorageDtype::Q4K => GgmlDType::Q4K,
        StorageDtype::Q5K => GgmlDType::Q5K,
        StorageDtype::Q6K => GgmlDType::Q6K,
        _ => return Ok(None),
    };
    let storage = QStorage::from_data(w.bytes().into(), &Device::Cpu, dtype)?;
    Ok(Some(QMatMul::from_qtensor(QTensor::new(
        storage,
        w.shape(),
    )?)?))
}

/// The median time of work that is repeated for a while, after once to warm up.
fn repeated(mut work: impl FnMut() -> Result<(), BenchError>) -> Result<f64, BenchError> {
    work()?;
    let started = Instant::now();
    let mut times = Vec::new();
    while times.len() < LEAST || started.elapsed().as_secs_f64() < SECONDS {
        let one = Instant::now();
        work()?;
        times.push(one.elapsed().as_secs_f64());
    }
    Ok(median(&mut times))
}
