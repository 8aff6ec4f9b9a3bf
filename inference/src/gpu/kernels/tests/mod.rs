//! Every lowered op on a device of its own against plain f64 references.
//!
//! Each value lies between guard zones of NaN, and bindings reach over into the zone behind: what a kernel reads there
//! spoils its result, and what it writes there is found afterwards. Outputs, scratch memory and what surrounds them begin as
//! NaN. Everything runs twice: with WebGPU's default limits, and, with naga's bounds checks turned off, with tiny ones, which
//! cut values into bands and weights into shards.

mod across;
mod attention;
mod bench;
mod candidates;
mod chains;
mod draw;
mod elementwise;
mod experts;
mod fused;
mod masks;
mod products;
mod random;

use super::KernelLimits;
use bench::{Bench, Case, Outcome};
use random::Random;

/// Limits so small that test-sized tensors do not fit them, of a device that wants more workgroups than most of them give.
const TINY: KernelLimits = KernelLimits {
    max_storage_binding: 64 << 10,
    max_workgroups: 64,
    storage_alignment: 256,
    max_dispatch_flops: 1 << 22,
    subgroups: false,
    halves: false,
    serial_lanes: false,
    busy_groups: 64,
};

/// Runs a case within both sets of limits and compares with the reference: the largest difference, relative to the largest
/// magnitude of the reference, must be at most `tolerance`.
fn check(name: &str, case: &Case, expected: &[f64], tolerance: f64) -> [Outcome; 2] {
    [KernelLimits::default(), TINY].map(|limits| {
        let outcome = Bench::get().run(case, &limits);
        let which = if limits == TINY {
            "tiny limits"
        } else {
            "default limits"
        };
        compare(
            &format!("{name} ({which})"),
            &outcome.output,
            expected,
            tolerance,
        );
        outcome
    })
}

/// As [`check`], of an op that takes over what it can only where its values are not cut: within tiny limits only if they fit.
fn check_fitting(name: &str, case: &Case, expected: &[f64], tolerance: f64) {
    let most = TINY.max_storage_binding as usize;
    let operands = case.operands.iter().map(|operand| 4 * operand.len());
    let weights = case
        .weights
        .iter()
        .map(crate::formats::TensorData::byte_count);
    let all_fit = operands
        .chain(weights)
        .chain([4 * expected.len()])
        .all(|bytes| bytes <= most);
    if all_fit {
        check(name, case, expected, tolerance);
    } else {
        let outcome = Bench::get().run(case, &KernelLimits::default());
        compare(name, &outcome.output, expected, tolerance);
    }
}

fn compare(name: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let scale = expected
        .iter()
        .fold(1e-30f64, |scale, value| scale.max(value.abs()));
    // All of a few sums may happen to cancel; what remains is no measure of their rounding.
    let scale = if expected.len() < 64 {
        scale.max(0.1)
    } else {
        scale
    };
    let mut worst = (0.0, 0);
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            found.is_finite(),
            "{name}: element {index} is {found}, wanted {expected}"
        );
        let error = (f64::from(found) - expected).abs() / scale;
        if error > worst.0 {
            worst = (error, index);
        }
    }
    println!("{name}: relative error {:.1e}", worst.0);
    let (error, index) = worst;
    assert!(
        error <= tolerance,
        "{name}: relative error {error:e} at element {index} of {}: {} instead of {}",
        found.len(),
        found[index],
        expected[index]
    );
}

/// The same numbers in f64.
fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}
