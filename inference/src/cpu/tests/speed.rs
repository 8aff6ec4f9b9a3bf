//! Times beside candle's own ops, on shapes of Stable Diffusion 1.5 and of small language models:
//! `cargo test --release -p diptych-inference cpu::tests::speed -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::Instant;

use candle_core::quantized::QMatMul;
use candle_core::{D, Device, Module, Tensor as CandleTensor};

use super::linear::{QUANTISED, quantised};
use super::*;
use crate::graph::{Activation, Conv2dSpec, NeverInterrupt, Run};

/// Processor time of all threads so far, in milliseconds; the clock on the wall where the system does not tell.
fn spent() -> f64 {
    let of_task = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    let tasks = std::fs::read_dir("/proc/self/task")
        .map(|tasks| tasks.flatten().filter_map(of_task).sum::<f64>());
    tasks.map_or_else(
        |_| START.elapsed().as_secs_f64() * 1e3,
        |nanoseconds| nanoseconds * 1e-6,
    )
}

static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

/// Best of several times in milliseconds, divided by the threads: processor time, which other programs disturb least.
fn best(mut work: impl FnMut()) -> f64 {
    // The system counts in ticks of some milliseconds, so short work is repeated.
    let start = Instant::now();
    work();
    let repeats = (60e-3 / start.elapsed().as_secs_f64()).clamp(1.0, 2000.0) as usize;
    let mut best = f64::INFINITY;
    for _ in 0..4 {
        let start = spent();
        for _ in 0..repeats {
            work();
        }
        best = best.min((spent() - start) / repeats as f64 / rayon::current_num_threads() as f64);
    }
    best
}

/// Time of a graph in fast mode, weights loaded.
fn ours(graph: Graph, inputs: &[(&str, HostTensor)]) -> f64 {
    let mut executor = CpuExecutor::new(CpuMode::Fast);
    let plan = executor.prepare(Arc::new(graph)).unwrap();
    best(|| {
        let run = Run {
            inputs,
            states: &[],
            interrupt: &mut NeverInterrupt,
        };
        executor.run(plan, run).unwrap();
    })
}

/// Prints a line, and gives the ratio.
fn line(what: &str, flops: f64, ours: f64, candle: f64) -> f64 {
    let rate = flops / ours * 1e-6;
    println!(
        "{what:44} {ours:9.3} ms  candle {candle:9.3} ms  x{:5.2}  {rate:7.1} GFLOP/s",
        candle / ours
    );
    candle / ours
}

fn tensor(random: &mut Random, shape: &[usize]) -> (Vec<f32>, CandleTensor) {
    let values = random.floats(shape.iter().product());
    let tensor = CandleTensor::from_slice(&values, shape, &Device::Cpu).unwrap();
    (values, tensor)
}

#[test]
#[ignore = "measures; meaningful only with nothing else running"]
fn convolutions() {
    let mut random = Random::new(1);
    for (b, c, o, h, k, stride) in [
        (2, 320, 320, 64, 3, 1),
        (2, 640, 640, 32, 3, 1),
        (2, 1280, 1280, 8, 3, 1),
        (1, 128, 128, 256, 3, 1),
        (2, 320, 320, 64, 1, 1),
        (2, 320, 320, 64, 3, 2),
    ] {
        let (x, cx) = tensor(&mut random, &[b, c, h, h]);
        let (w, cw) = tensor(&mut random, &[o, c, k, k]);
        let pad = k / 2;
        let flops = 2.0 * (b * o * c * k * k * (h / stride) * (h / stride)) as f64;
        let candle = best(|| drop(cx.conv2d(&cw, pad, stride, 1, 1).unwrap()));
        let inputs = [("x", HostTensor::f32([b, c, h, h], x))];
        let plain = weight("w", &[o, c, k, k], &w);
        for w in [plain.clone(), half_weight(&plain, StorageDtype::F16)] {
            let built = graph(|g| {
                g.conv2d(
                    &g.input("x", &[b, c, h, h]).unwrap(),
                    &w,
                    None,
                    Conv2dSpec::new(stride, pad),
                )
                .unwrap()
            });
            line(
                &format!(
                    "conv {b}x{c}x{h}x{h} to {o}, {k}x{k}/{stride} {}",
                    w.dtype()
                ),
                flops,
                ours(built, &inputs),
                candle,
            );
        }
    }
}

#[test]
#[ignore = "measures; meaningful only with nothing else running"]
fn linears() {
    let mut random = Random::new(1);
    for (m, k, n) in [
        (8192, 320, 320),
        (8192, 320, 2560),
        (2048, 2560, 640),
        (154, 768, 768),
        (1, 2048, 2048),
        (1, 2048, 8192),
        (8, 2048, 2048),
    ] {
        let (x, cx) = tensor(&mut random, &[m, k]);
        let (w, cw) = tensor(&mut random, &[n, k]);
        let flops = 2.0 * (m * k * n) as f64;
        let candle = best(|| drop(cx.matmul(&cw.t().unwrap()).unwrap()));
        let inputs = [("x", HostTensor::f32([m, k], x.clone()))];
        let plain = weight("w", &[n, k], &w);
        for w in [
            plain.clone(),
            half_weight(&plain, StorageDtype::F16),
            half_weight(&plain, StorageDtype::Bf16),
        ] {
            let built = graph(|g| g.linear(&g.input("x", &[m, k]).unwrap(), &w, None).unwrap());
            line(
                &format!("linear {m}x{k} to {n} {}", w.dtype()),
                flops,
                ours(built, &inputs),
                candle,
            );
        }
        if k % 256 == 0 {
            for dtype in QUANTISED {
                let w = quantised(&w, n, k, dtype);
                let ggml = super::super::weights::ggml_dtype(dtype).unwrap();
                let matrix = QMatMul::from_qtensor(
                    candle_core::quantized::QTensor::quantize(&cw, ggml).unwrap(),
                )
                .unwrap();
                let candle = best(|| drop(matrix.forward(&cx).unwrap()));
                let built = graph(|g| g.linear(&g.input("x", &[m, k]).unwrap(), &w, None).unwrap());
                line(
                    &format!("linear {m}x{k} to {n} {dtype}"),
                    flops,
                    ours(built, &inputs),
                    candle,
                );
            }
        }
    }
}

#[test]
#[ignore = "measures; meaningful only with nothing else running"]
fn attentions() {
    let mut random = Random::new(1);
    for (b, heads, lq, lk, d) in [
        (2, 8, 4096, 4096, 40),
        (2, 8, 4096, 77, 40),
        (2, 8, 1024, 1024, 80),
        (2, 8, 64, 64, 160),
        (1, 1, 4096, 4096, 512),
    ] {
        let width = heads * d;
        let (q, cq) = tensor(&mut random, &[b, lq, width]);
        let (k, ck) = tensor(&mut random, &[b, lk, width]);
        let scale = 1.0 / (d as f32).sqrt();
        let split = |x: &CandleTensor, l: usize| {
            x.reshape((b, l, heads, d))
                .unwrap()
                .transpose(1, 2)
                .unwrap()
                .contiguous()
                .unwrap()
        };
        let candle = best(|| {
            let (q, k) = (split(&cq, lq), split(&ck, lk));
            let scores = (q.matmul(&k.t().unwrap()).unwrap() * f64::from(scale)).unwrap();
            let scores = scores
                .broadcast_sub(&scores.max_keepdim(D::Minus1).unwrap())
                .unwrap()
                .exp()
                .unwrap();
            let weights = scores
                .broadcast_div(&scores.sum_keepdim(D::Minus1).unwrap())
                .unwrap();
            drop(
                weights
                    .matmul(&k)
                    .unwrap()
                    .transpose(1, 2)
                    .unwrap()
                    .contiguous()
                    .unwrap(),
            );
        });
        let built = graph(|g| {
            let (q, k) = (
                g.input("q", &[b, lq, width]).unwrap(),
                g.input("k", &[b, lk, width]).unwrap(),
            );
            g.attention([&q, &k, &k], heads, heads, scale, false)
                .unwrap()
        });
        let inputs = [
            ("q", HostTensor::f32([b, lq, width], q)),
            ("k", HostTensor::f32([b, lk, width], k)),
        ];
        let flops = 4.0 * (b * heads * lq * lk * d) as f64;
        line(
            &format!("attention {b}x{heads} heads {lq}x{lk} of {d}"),
            flops,
            ours(built, &inputs),
            candle,
        );
    }
}

#[test]
#[ignore = "measures; meaningful only with nothing else running"]
fn the_rest() {
    let mut random = Random::new(1);
    let shape = [2, 320, 64, 64];
    let (x, cx) = tensor(&mut random, &shape);
    let count = x.len() as f64;
    let inputs = [("x", HostTensor::f32(shape, x))];
    let candle = best(|| drop(cx.silu().unwrap()));
    line(
        "silu",
        count,
        ours(
            graph(|g| {
                g.activation(&g.input("x", &shape).unwrap(), Activation::Silu)
                    .unwrap()
            }),
            &inputs,
        ),
        candle,
    );
    let candle = best(|| drop(cx.gelu_erf().unwrap()));
    line(
        "gelu",
        count,
        ours(
            graph(|g| {
                g.activation(&g.input("x", &shape).unwrap(), Activation::Gelu)
                    .unwrap()
            }),
            &inputs,
        ),
        candle,
    );
    let candle = best(|| drop((&cx + &cx).unwrap()));
    line(
        "add",
        count,
        ours(
            graph(|g| {
                let x = g.input("x", &shape).unwrap();
                g.add(&x, &x).unwrap()
            }),
            &inputs,
        ),
        candle,
    );
    let candle = best(|| {
        drop(
            cx.reshape((2, 320, 4096))
                .unwrap()
                .transpose(1, 2)
                .unwrap()
                .contiguous()
                .unwrap(),
        );
    });
    line(
        "transpose",
        count,
        ours(
            graph(|g| {
                let x = g.input("x", &shape).unwrap();
                let x = g.reshape(&x, &[2, 320, 4096]).unwrap();
                g.permute(&x, &[0, 2, 1]).unwrap()
            }),
            &inputs,
        ),
        candle,
    );
    let ones = weight("w", &[320], &[1.0; 320]);
    let candle = best(|| {
        let x = cx.reshape((2, 32, 10 * 4096)).unwrap();
        let x = x.broadcast_sub(&x.mean_keepdim(2).unwrap()).unwrap();
        let x = x
            .broadcast_div(
                &(x.sqr().unwrap().mean_keepdim(2).unwrap() + 1e-5)
                    .unwrap()
                    .sqrt()
                    .unwrap(),
            )
            .unwrap();
        drop(x.reshape(&shape).unwrap().silu().unwrap());
    });
    line(
        "group norm and silu",
        count,
        ours(
            graph(|g| {
                g.group_norm(&g.input("x", &shape).unwrap(), &ones, &ones, 32, 1e-5, true)
                    .unwrap()
            }),
            &inputs,
        ),
        candle,
    );
    let rows = [8192, 320];
    let candle = best(|| {
        let x = cx.reshape(&rows).unwrap();
        let x = x.broadcast_sub(&x.mean_keepdim(1).unwrap()).unwrap();
        drop(
            x.broadcast_div(
                &(x.sqr().unwrap().mean_keepdim(1).unwrap() + 1e-5)
                    .unwrap()
                    .sqrt()
                    .unwrap(),
            )
            .unwrap(),
        );
    });
    line(
        "layer norm",
        count,
        ours(
            graph(|g| {
                let x = g.input("x", &shape).unwrap();
                let x = g.reshape(&x, &rows).unwrap();
                g.layer_norm(&x, &ones, Some(&ones), 1e-5).unwrap()
            }),
            &inputs,
        ),
        candle,
    );
}

/// A line of `/proc/self/status` in bytes.
fn status(field: &str) -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    Some(
        line.trim_start_matches(':')
            .trim()
            .split(' ')
            .next()?
            .parse::<f64>()
            .ok()?
            * 1024.0,
    )
}

#[test]
#[ignore = "reads the memory of the whole process: run it alone"]
fn resident_memory_is_what_was_forecast() {
    let mut random = Random::new(1);
    let g = GraphBuilder::new("residual blocks");
    let (c, side) = (320, 96);
    let mut x = g.input("x", &[2, c, side, side]).unwrap();
    let norm = [
        random_weight(&mut random, "gain", &[c]),
        random_weight(&mut random, "offset", &[c]),
    ];
    for i in 0..3 {
        let kernel = random_weight(&mut random, &format!("conv {i}"), &[c, c, 3, 3]);
        let kernel = if i == 0 {
            half_weight(&kernel, StorageDtype::F16)
        } else {
            kernel
        };
        let h = g
            .group_norm(&x, &norm[0], &norm[1], 32, 1e-5, true)
            .unwrap();
        let h = g.conv2d(&h, &kernel, None, Conv2dSpec::same(3)).unwrap();
        let s = g
            .permute(&g.reshape(&h, &[2, c, side * side]).unwrap(), &[0, 2, 1])
            .unwrap();
        let up = quantised(&random.floats(4 * c * 256), 4 * c, 256, StorageDtype::Q8_0);
        let wide = g
            .linear(&g.slice(&s, 2, 0, 256).unwrap(), &up, None)
            .unwrap();
        let short = g
            .slice(&g.split_gated(&wide, Activation::Gelu).unwrap(), 2, 0, c)
            .unwrap();
        let h = g
            .reshape(&g.permute(&short, &[0, 2, 1]).unwrap(), &[2, c, side, side])
            .unwrap();
        x = g.add(&x, &h).unwrap();
    }
    g.output("y", &x);
    let inputs = [(
        "x",
        HostTensor::f32([2, c, side, side], random.floats(2 * c * side * side)),
    )];
    let mut executor = CpuExecutor::new(CpuMode::Fast);
    let graph = Arc::new(g.finish());
    let forecast = executor.forecast(&graph);
    let plan = executor.prepare(graph).unwrap();
    let Some(before) = status("VmRSS") else {
        return;
    };
    let run = Run {
        inputs: &inputs,
        states: &[],
        interrupt: &mut NeverInterrupt,
    };
    let results = executor.run(plan, run).unwrap();
    let input = (inputs[0].1.len() * 4) as f64;
    let used = status("VmHWM").unwrap() - before + input;
    println!(
        "forecast {forecast:?}; resident memory grew by {:.1} MB",
        used / 1e6
    );
    assert!(!results.is_empty());
    let ratio = used / forecast.activations as f64;
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
}
