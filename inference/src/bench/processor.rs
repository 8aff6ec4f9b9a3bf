//! What a processor can do at best: reading memory, and multiplying and adding.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

use super::report::{DeviceReport, LimitReport};

/// Processes that wanted to run in the last minute.
pub(super) fn load_average() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// A line of `/proc/self/status` in bytes.
pub(super) fn resident(field: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let number = line.trim_start_matches(':').trim().split(' ').next()?;
    number.parse::<u64>().ok()?.checked_mul(1024)
}

/// Asks the system to forget the highest resident memory so far, so that the next reading is of what comes. Where it does not, the
/// reading is of the process as a whole.
pub(super) fn forget_peak() {
    // Without it the number is too high, never too low.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

pub(super) fn describe(name: String) -> DeviceReport {
    let features = features();
    let widest = features.last().map_or("portable", |feature| *feature);
    DeviceReport {
        executor: "cpu".into(),
        name,
        driver: None,
        tier: format!("fast CPU path: weights as in their file, activations in f32 ({widest})"),
        features: features.iter().map(|&feature| feature.to_owned()).collect(),
        threads: Some(rayon::current_num_threads()),
    }
}

/// Vector extensions in use, widest last.
fn features() -> Vec<&'static str> {
    let mut features = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            features.push("AVX2");
        }
        if is_x86_feature_detected!("avx512f") {
            features.push("AVX-512");
        }
        if is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni") {
            features.push("VNNI");
        }
    }
    #[cfg(target_arch = "aarch64")]
    features.push("NEON");
    features
}

/// Measures both.
pub(super) fn limits(quick: bool) -> LimitReport {
    let (bytes, tries) = if quick {
        (128 << 20, 4)
    } else {
        (512 << 20, 8)
    };
    LimitReport {
        bandwidth: bandwidth(bytes, tries),
        flops: peak(tries),
    }
}

/// The fastest of several readings of more bytes than any cache holds, in bytes a second.
fn bandwidth(bytes: usize, tries: usize) -> f64 {
    let words: Vec<u64> = (0..bytes as u64 / 8).collect();
    let piece = words
        .len()
        .div_ceil(4 * rayon::current_num_threads())
        .max(1);
    let mut best = 0f64;
    for _ in 0..tries {
        let started = Instant::now();
        let sum = words.par_chunks(piece).map(fold).reduce(|| 0, |a, b| a ^ b);
        black_box(sum);
        best = best.max(bytes as f64 / started.elapsed().as_secs_f64());
    }
    best
}

/// All words combined, with the widest loads that there are.
fn fold(words: &[u64]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { fold_avx512(words) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { fold_avx2(words) };
        }
    }
    fold_plain(words)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn fold_avx512(words: &[u64]) -> u64 {
    fold_plain(words)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn fold_avx2(words: &[u64]) -> u64 {
    fold_plain(words)
}

#[inline(always)]
fn fold_plain(words: &[u64]) -> u64 {
    let mut lanes = [0u64; 32];
    let (chunks, rest) = words.as_chunks::<32>();
    for chunk in chunks {
        for (lane, word) in lanes.iter_mut().zip(chunk) {
            *lane ^= word;
        }
    }
    lanes.iter().chain(rest).fold(0, |all, lane| all ^ lane)
}

/// Accumulators that do not wait for each other: as many as hide the latency of a multiplication on any processor.
const CHAINS: usize = 12;
/// Rounds between two readings of the clock.
const ROUNDS: usize = 1 << 19;

/// The fastest of several runs of nothing but fused multiplications and additions on all threads, in operations a second.
fn peak(tries: usize) -> f64 {
    let threads = rayon::current_num_threads() as f64;
    let mut best = 0f64;
    for _ in 0..tries {
        let started = Instant::now();
        let lanes = rayon::broadcast(|_| multiply_add(ROUNDS));
        let seconds = started.elapsed().as_secs_f64();
        let lanes = lanes.into_iter().min().unwrap_or(0);
        let operations = 2.0 * (ROUNDS * CHAINS * lanes) as f64 * threads;
        best = best.max(operations / seconds);
    }
    best
}

/// Runs the chains; gives the lanes of each.
fn multiply_add(rounds: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has what the function is compiled for.
            black_box(unsafe { chains_avx512(rounds, black_box(0.999)) });
            return 16;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            black_box(unsafe { chains_avx2(rounds, black_box(0.999)) });
            return 8;
        }
        black_box(chains::<4, false>(rounds, black_box(0.999)));
        4
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        const FUSED: bool = cfg!(target_arch = "aarch64");
        black_box(chains::<4, FUSED>(rounds, black_box(0.999)));
        4
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn chains_avx512(rounds: usize, factor: f32) -> f32 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    let (factor, addend) = (_mm512_set1_ps(factor), _mm512_set1_ps(0.001));
    let mut sums = [_mm512_set1_ps(0.5); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, factor, addend);
        }
    }
    sums.iter().map(|sum| _mm512_reduce_add_ps(*sum)).sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn chains_avx2(rounds: usize, factor: f32) -> f32 {
    use std::arch::x86_64::{_mm256_add_ps, _mm256_cvtss_f32, _mm256_fmadd_ps, _mm256_set1_ps};
    let (factor, addend) = (_mm256_set1_ps(factor), _mm256_set1_ps(0.001));
    let mut sums = [_mm256_set1_ps(0.5); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, factor, addend);
        }
    }
    let all = sums
        .iter()
        .fold(_mm256_set1_ps(0.0), |all, sum| _mm256_add_ps(all, *sum));
    _mm256_cvtss_f32(all)
}

/// The same in plain code, for processors without wider vectors.
fn chains<const LANES: usize, const FUSED: bool>(rounds: usize, factor: f32) -> f32 {
    let mut sums = [[0.5f32; LANES]; CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            for lane in sum {
                *lane = match FUSED {
                    true => lane.mul_add(factor, 0.001),
                    false => *lane * factor + 0.001,
                };
            }
        }
    }
    sums.iter().flatten().sum()
}

/// Bytes a second at which a file is read in large pieces, up to a gigabyte of it; nothing if it cannot be read.
pub(super) fn reading(path: &std::path::Path) -> Option<f64> {
    use std::io::Read as _;
    const PIECE: usize = 4 << 20;
    const MOST: u64 = 1 << 30;
    let mut file = std::fs::File::open(path).ok()?;
    let mut piece = vec![0; PIECE];
    let started = std::time::Instant::now();
    let mut bytes = 0;
    while bytes < MOST {
        match file.read(&mut piece).ok()? {
            0 => break,
            read => bytes += read as u64,
        }
    }
    Some(bytes as f64 / started.elapsed().as_secs_f64().max(1e-9)).filter(|_| bytes > 0)
}
