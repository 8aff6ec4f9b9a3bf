use super::*;
use crate::cpu::testing::{Random, worst_error};
use crate::cpu::tests::linear::{QUANTISED, quantised};
use crate::graph::NeverInterrupt;

/// Activations as the kernels see them.
fn rounded(x: &[f32], k: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks(k) {
        for block in row.chunks(32) {
            let top = block.iter().fold(0f32, |top, x| top.max(x.abs()));
            let codes = block.iter().map(|x| (x * (127.0 / top)).round_ties_even());
            out.extend(codes.map(|code| if top > 0.0 { code * (top / 127.0) } else { 0.0 }));
        }
    }
    out
}

/// `x [m, k] * w [n, k]^T + b` in f64.
fn reference(x: &[f32], w: &[f32], b: Option<&[f32]>, k: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for x in x.chunks(k) {
        for (i, w) in w.chunks(k).enumerate() {
            let product: f64 = x
                .iter()
                .zip(w)
                .map(|(&x, &w)| f64::from(x) * f64::from(w))
                .sum();
            out.push((product + b.map_or(0.0, |b| f64::from(b[i]))) as f32);
        }
    }
    out
}

fn product(tier: Tier, w: &TensorData, x: &[f32], bias: Option<&[f32]>, sizes: Sizes) -> Vec<f32> {
    let packed = Packed::for_tier(w, tier).unwrap();
    let mut out = vec![f32::NAN; sizes.m * sizes.n];
    let mut never = NeverInterrupt;
    packed
        .multiply("test", &mut out, x, bias, sizes, &mut Poll(&mut never))
        .unwrap();
    out
}

/// The worst error against the largest sum, or against what sums of `k` products of random numbers are like: of a few of them all
/// may happen to cancel, and what remains is no measure of their rounding.
fn error_of_sums(got: &[f32], wanted: &[f32], k: usize) -> f32 {
    let usual = (k as f32).sqrt() / 3.0;
    let scale = wanted.iter().fold(usual, |scale, sum| scale.max(sum.abs()));
    let errors = got.iter().zip(wanted).map(|(got, sum)| (got - sum).abs());
    match got.len() == wanted.len() && got.iter().all(|sum| sum.is_finite()) {
        true => errors.fold(0.0, f32::max) / scale,
        false => f32::INFINITY,
    }
}

/// Every tier that this processor has, against the oracle's own decoder: with activations rounded in the same way only the order
/// of sums in f32 differs.
#[test]
fn kernels_of_every_type_and_tier_agree_with_decoded_weights() {
    let mut random = Random::fresh("kernels_of_every_type_and_tier_agree_with_decoded_weights");
    let tiers: Vec<Tier> = Tier::ALL
        .into_iter()
        .filter(|tier| tier.is_there())
        .collect();
    for dtype in QUANTISED {
        let block = dtype.block_len();
        for (m, n) in [
            (1, 1),
            (1, 16),
            (2, 17),
            (3, 33),
            (4, 5),
            (7, 50),
            (8, 16),
            (21, 40),
        ] {
            let k = block * random.within(1, 5);
            let x = random.floats(m * k);
            let w = quantised(&random.floats(n * k), n, k, dtype);
            let values = w.to_f32().unwrap();
            let bias = random.floats(n);
            for bias in [None, Some(bias.as_slice())] {
                let wanted = reference(&rounded(&x, k), &values, bias, k);
                for &tier in &tiers {
                    let got = product(tier, &w, &x, bias, Sizes { m, k, n });
                    let error = error_of_sums(&got, &wanted, k);
                    assert!(error < 5e-6, "{tier:?} {dtype:?} {m}x{k}x{n}: {error}");
                }
            }
        }
    }
}

/// Random bits as blocks: every code, factor and minimum, those of no quantiser as well.
#[test]
fn random_blocks_of_every_type() {
    let mut random = Random::fresh("random_blocks_of_every_type");
    for dtype in QUANTISED {
        let (m, k, n) = (3, 512, 37);
        let x = random.floats(m * k);
        let length = dtype.bytes_for(n * k).unwrap();
        let mut bytes: Vec<u8> = (0..length).map(|_| random.bits() as u8).collect();
        // The floats among them: such that they are finite and of one size.
        let places: &[usize] = match dtype {
            StorageDtype::Q4_1 | StorageDtype::Q5_1 | StorageDtype::Q4K | StorageDtype::Q5K => {
                &[0, 2]
            }
            StorageDtype::Q2K => &[80, 82],
            StorageDtype::Q3K => &[108],
            StorageDtype::Q6K => &[208],
            _ => &[0],
        };
        for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
            for &at in places {
                let value = half::f16::from_f32(0.01 * random.float());
                block[at..at + 2].copy_from_slice(&value.to_le_bytes());
            }
        }
        let w = TensorData::new_owned("w", &[n, k], dtype, bytes).unwrap();
        let wanted = reference(&rounded(&x, k), &w.to_f32().unwrap(), None, k);
        for tier in Tier::ALL.into_iter().filter(|tier| tier.is_there()) {
            let error = worst_error(&product(tier, &w, &x, None, Sizes { m, k, n }), &wanted);
            assert!(error < 1e-5, "{tier:?} {dtype:?}: {error}");
        }
    }
}

#[test]
fn zeros_stay_zero_and_what_is_not_finite_shows() {
    let (k, n) = (64, 3);
    let mut random = Random::fresh("zeros_stay_zero_and_what_is_not_finite_shows");
    let w = quantised(&random.floats(n * k), n, k, StorageDtype::Q8_0);
    for tier in Tier::ALL.into_iter().filter(|tier| tier.is_there()) {
        let of = |x: &[f32]| product(tier, &w, x, None, Sizes { m: 1, k, n });
        assert_eq!(of(&[0.0; 64]), [0.0; 3]);
        assert!(of(&[1e-42; 64]).iter().all(|value| value.abs() < 1e-30));
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = [1.0; 64];
            x[40] = bad;
            assert!(of(&x).iter().all(|value| !value.is_finite()), "{bad}");
        }
    }
}

/// So many activations that threads share them out, against each row alone.
#[test]
fn many_rows_at_once_are_as_each_alone() {
    let mut random = Random::fresh("many_rows_at_once_are_as_each_alone");
    let (m, k, n) = (67, 1024, 19);
    let x = random.floats(m * k);
    for dtype in [StorageDtype::Q8_0, StorageDtype::Q4K, StorageDtype::Q6K] {
        let w = quantised(&random.floats(n * k), n, k, dtype);
        for tier in Tier::ALL.into_iter().filter(|tier| tier.is_there()) {
            let all = product(tier, &w, &x, None, Sizes { m, k, n });
            for (x, all) in x.chunks(k).zip(all.chunks(n)) {
                let one = product(tier, &w, x, None, Sizes { m: 1, k, n });
                let error = error_of_sums(all, &one, k);
                assert!(error < 1e-6, "{tier:?} {dtype:?}: {error}");
            }
        }
    }
}
