//! Small helps for tests of graphs and of executors.

use std::sync::Arc;

use crate::graph::{ExecError, Executor, Graph, HostTensor, Interrupt, NeverInterrupt, Run};

/// Prepares a graph without KV caches, runs it once and drops the plan; the results are in the order of its outputs.
///
/// # Errors
/// Those of [`Executor::prepare`] and [`Executor::run`].
pub fn run_once(
    executor: &mut dyn Executor,
    graph: Graph,
    inputs: &[(&str, HostTensor)],
) -> Result<Vec<HostTensor>, ExecError> {
    let plan = executor.prepare(Arc::new(graph))?;
    let result = executor.run(
        plan,
        Run {
            inputs,
            states: &[],
            interrupt: &mut NeverInterrupt,
        },
    );
    executor.drop_plan(plan);
    result
}

/// Interrupts when it is asked for so many-th time, and never again.
#[derive(Clone, Copy, Debug)]
pub struct After(pub usize);

impl Interrupt for After {
    fn poll(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 == 0
    }
}

/// Reproducible random numbers (SplitMix64, Steele et al. 2014) for tests that print their seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From a seed that differs from run to run; it is printed, so that a failure can be repeated, and can be given
    /// as `DIPTYCH_TEST_SEED`.
    #[allow(clippy::print_stderr)] // shown by the test harness when the test fails
    pub fn fresh(test: &str) -> Self {
        let given = std::env::var("DIPTYCH_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = given.unwrap_or_else(|| now.map_or(0, |now| now.as_nanos() as u64));
        eprintln!("{test}: DIPTYCH_TEST_SEED={seed}");
        Self(seed)
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// An integer in `low..=high`.
    pub fn within(&mut self, low: usize, high: usize) -> usize {
        low + (self.bits() % (high - low + 1) as u64) as usize
    }

    /// A float in `-1..1`.
    pub fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Floats in `-1..1`.
    pub fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float()).collect()
    }

    /// Puts elements into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.within(0, i));
        }
    }
}

/// Largest difference, relative to the largest magnitude that was wanted; infinite for other lengths or NaN.
pub fn worst_error(got: &[f32], wanted: &[f32]) -> f32 {
    if got.len() != wanted.len() {
        return f32::INFINITY;
    }
    let scale = wanted
        .iter()
        .fold(f32::MIN_POSITIVE, |scale, value| scale.max(value.abs()));
    // All of a few sums may happen to cancel; what remains is no measure of their rounding.
    let scale = if wanted.len() < 16 {
        scale.max(0.1)
    } else {
        scale
    };
    got.iter()
        .zip(wanted)
        .map(|(got, wanted)| (got - wanted).abs() / scale)
        .fold(0.0, |worst, error| {
            if error > worst || error.is_nan() {
                if error.is_nan() { f32::INFINITY } else { error }
            } else {
                worst
            }
        })
}
