//! Attention with masks, by every kernel that takes one.

use diptych_shaders::{AcrossHead, HeadWidth, Kernel};

use super::bench::{Bench, Case};
use super::{KernelLimits, Random, TINY, check, compare, wide};
use crate::graph::{HIDDEN, HostTensor, Op};

/// An attention with a mask.
#[derive(Clone, Copy, Debug)]
struct Masked {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    causal: bool,
    /// Whether batches have masks of their own, and heads.
    own: [bool; 2],
}

/// Keys hidden here and there and numbers for the others; from some queries the first keys are hidden, whole tiles of them, from others the last, and
/// from others all.
fn some_mask(random: &mut Random, shape: [usize; 4]) -> HostTensor {
    let [_, _, queries, keys] = shape;
    let hiding = [f32::NEG_INFINITY, f32::MIN, HIDDEN];
    let elements: usize = shape.iter().product();
    let mut mask = Vec::with_capacity(elements);
    while mask.len() < elements {
        let row = mask.len() / keys % queries;
        // A whole tile of queries, now and then.
        let kind = if row / 64 == 1 { 0 } else { random.below(6) };
        let (begin, end) = match kind {
            0 if row > 0 => (keys, keys),
            1 => (random.below(keys), keys),
            2 => (0, 1 + random.below(keys)),
            _ => (0, keys),
        };
        for key in 0..keys {
            let seen = (begin..end).contains(&key) && random.below(4) > 0;
            mask.push(match seen {
                true => 5.0 * random.value(),
                false => hiding[random.below(3)],
            });
        }
    }
    HostTensor::f32(shape, mask)
}

/// The op, and what it must give.
fn case(random: &mut Random, m: Masked) -> (Case, Vec<f64>) {
    let (width, kv_width) = (m.heads * m.head_dim, m.kv_heads * m.head_dim);
    let shape = [
        if m.own[0] { m.batch } else { 1 },
        if m.own[1] { m.heads } else { 1 },
        m.queries,
        m.keys,
    ];
    let scale = 2.0 / (m.head_dim as f32).sqrt();
    let operands = vec![
        random.tensor(&[m.batch, m.queries, width]),
        random.tensor(&[m.batch, m.keys, kv_width]),
        random.tensor(&[m.batch, m.keys, kv_width]),
        some_mask(random, shape),
    ];
    let [qs, ks, vs] = [0, 1, 2].map(|i: usize| wide(operands[i].as_f32()));
    let mask = operands[3].as_f32();
    let mut expected = Vec::new();
    for item in 0..m.batch {
        for row in 0..m.queries {
            for head in 0..m.heads {
                let q = &qs[(item * m.queries + row) * width + head * m.head_dim..][..m.head_dim];
                let kv_head = head / (m.heads / m.kv_heads) * m.head_dim;
                let of = |key: usize| (item * m.keys + key) * kv_width + kv_head;
                let masked_item = if m.own[0] { item } else { 0 };
                let masked_head = if m.own[1] { head } else { 0 };
                let at = ((masked_item * shape[1] + masked_head) * m.queries + row) * m.keys;
                let end = if m.causal { row + 1 } else { m.keys };
                let scores: Vec<(usize, f64)> = (0..end)
                    .filter(|key| mask[at + key] > HIDDEN)
                    .map(|key| {
                        let k = &ks[of(key)..];
                        let product: f64 = q.iter().zip(k).map(|(a, b)| a * b).sum();
                        (key, product * f64::from(scale) + f64::from(mask[at + key]))
                    })
                    .collect();
                let highest = scores
                    .iter()
                    .fold(f64::NEG_INFINITY, |highest, (_, score)| highest.max(*score));
                let mut sums = vec![0.0; m.head_dim];
                let mut total = 0.0;
                for (key, score) in scores {
                    let part = (score - highest).exp();
                    total += part;
                    for (sum, value) in sums.iter_mut().zip(&vs[of(key)..]) {
                        *sum += part * value;
                    }
                }
                // Zeros where nothing is seen.
                let total = if total == 0.0 { 1.0 } else { total };
                expected.extend(sums.iter().map(|sum| sum / total));
            }
        }
    }
    let op = Op::Attention {
        heads: m.heads,
        kv_heads: m.kv_heads,
        scale,
        causal: m.causal,
    };
    let case = Case::new(op, operands, Vec::new(), &[m.batch, m.queries, width]);
    (case, expected)
}

/// Sizes around tiles of queries and of keys, and forms of masks; large ones do not fit the bindings of the tiny limits, the last not even with the mask
/// of one batch.
fn forms(head_dim: usize) -> [Masked; 4] {
    let base = Masked {
        batch: 2,
        queries: 9,
        keys: 31,
        heads: 2,
        kv_heads: 2,
        head_dim,
        causal: false,
        own: [true, true],
    };
    [
        base,
        Masked {
            queries: 70,
            keys: 70,
            kv_heads: 1,
            causal: true,
            own: [true, false],
            ..base
        },
        Masked {
            batch: 3,
            queries: 65,
            keys: 33,
            own: [false, false],
            ..base
        },
        Masked {
            queries: 130,
            keys: 190,
            own: [false, true],
            ..base
        },
    ]
}

#[test]
fn masks_of_attention_by_tiles() {
    let mut random = Random::new("masks_of_attention_by_tiles");
    let mut seen = Vec::new();
    for head_dim in [13, 40, 64, 80, 128, 160, 258, 512] {
        for m in forms(head_dim) {
            let (case, expected) = case(&mut random, m);
            let outcomes = check(&format!("{m:?}"), &case, &expected, 2e-5);
            seen.extend(outcomes.into_iter().flat_map(|outcome| outcome.kernels));
        }
    }
    for width in HeadWidth::ALL {
        let wanted = Kernel::Attention { width, mask: true };
        assert!(seen.contains(&wanted), "{width:?}");
    }
    assert!(seen.iter().all(|kernel| kernel.has_mask()));
}

#[test]
fn masks_of_attention_by_queries_of_ones_own() {
    let mut random = Random::new("masks_of_attention_by_queries_of_ones_own");
    let Some((bench, 8..)) = Bench::with_subgroups() else {
        println!("this device has no such subgroups");
        return;
    };
    for head in AcrossHead::ALL {
        for m in forms(head.elements() as usize) {
            let (case, expected) = case(&mut random, m);
            for limits in [KernelLimits::default(), TINY] {
                let serial = KernelLimits {
                    subgroups: true,
                    serial_lanes: true,
                    ..limits
                };
                let found = bench.run(&case, &serial);
                let which = if limits == TINY { "tiny" } else { "default" };
                let name = format!("{m:?}, {which} limits");
                compare(&name, &found.output, &expected, 2e-5);
                // Keys of wide heads do not fit the bindings of the tiny limits, and are for tiles.
                let wanted = Kernel::AttentionAcross { head, mask: true };
                assert!(
                    limits == TINY || found.kernels.iter().all(|kernel| *kernel == wanted),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn heads_whose_masks_do_not_fit_together_come_one_after_the_other() {
    let mut random = Random::new("heads_whose_masks_do_not_fit_together_come_one_after_the_other");
    let m = Masked {
        batch: 2,
        queries: 200,
        keys: 120,
        heads: 4,
        kv_heads: 2,
        head_dim: 32,
        causal: false,
        own: [true, true],
    };
    let (case, expected) = case(&mut random, m);
    let [whole, cut] = check(&format!("{m:?}"), &case, &expected, 2e-5);
    assert_eq!(whole.kernels.len(), 1);
    // A binding holds 16384 elements, the mask of a head 24000.
    assert!(cut.kernels.len() >= m.batch * m.heads * 2);
    if let Some((bench, 8..)) = Bench::with_subgroups() {
        let serial = KernelLimits {
            subgroups: true,
            serial_lanes: true,
            ..TINY
        };
        let found = bench.run(&case, &serial);
        compare("across lanes, tiny limits", &found.output, &expected, 2e-5);
        assert!(found.kernels.len() >= m.batch * m.heads * 2);
        let across = |kernel: &Kernel| matches!(kernel, Kernel::AttentionAcross { .. });
        assert!(found.kernels.iter().all(across), "{:?}", found.kernels);
    }
}
