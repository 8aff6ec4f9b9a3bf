use super::*;
use crate::graph::HIDDEN;

/// `q [b, lq, heads*d], k, v [b, lk, kv_heads*d]`, with the whole matrix of scores.
pub(super) fn reference(
    [q, k, v]: [&[f32]; 3],
    [b, lq, lk]: [usize; 3],
    [heads, kv_heads, d]: [usize; 3],
    scale: f32,
    causal: bool,
) -> Vec<f64> {
    masked_reference(
        [q, k, v],
        [b, lq, lk],
        [heads, kv_heads, d],
        scale,
        causal,
        |_| Some(0.0),
    )
}

/// As [`reference`]; `mask` gives what is added to the score of `[batch, head, query, key]`, or nothing where the key is hidden.
fn masked_reference(
    [q, k, v]: [&[f32]; 3],
    [b, lq, lk]: [usize; 3],
    [heads, kv_heads, d]: [usize; 3],
    scale: f32,
    causal: bool,
    mask: impl Fn([usize; 4]) -> Option<f32>,
) -> Vec<f64> {
    let mut out = vec![0.0; b * lq * heads * d];
    for item in 0..b {
        for head in 0..heads {
            let kv_head = head / (heads / kv_heads);
            for i in 0..lq {
                let at = (item * lq + i) * heads * d + head * d;
                let key = |j: usize| (item * lk + j) * kv_heads * d + kv_head * d;
                let end = if causal { i + 1 } else { lk };
                // Keys that are seen, and their scores.
                let scores: Vec<(usize, f64)> = (0..end)
                    .filter_map(|j| Some((j, f64::from(mask([item, head, i, j])?))))
                    .map(|(j, added)| {
                        let product: f64 = (0..d)
                            .map(|e| f64::from(q[at + e]) * f64::from(k[key(j) + e]))
                            .sum();
                        (j, product * f64::from(scale) + added)
                    })
                    .collect();
                let highest = scores
                    .iter()
                    .map(|(_, score)| *score)
                    .fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<(usize, f64)> = scores
                    .iter()
                    .map(|(j, score)| (*j, (score - highest).exp()))
                    .collect();
                let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
                if weights.is_empty() {
                    continue;
                }
                for e in 0..d {
                    out[at + e] = weights
                        .iter()
                        .map(|(j, w)| w * f64::from(v[key(*j) + e]))
                        .sum::<f64>()
                        / sum;
                }
            }
        }
    }
    out
}

#[test]
fn attention_over_tile_and_block_borders() {
    let mut random = Random::fresh("attention_over_tile_and_block_borders");
    let mut cases = vec![
        (1, 1, 1, 1, 1, 1, true),
        (2, 70, 77, 3, 3, 40, false),
        (1, 65, 1030, 2, 1, 8, false),
        (1, 600, 600, 2, 2, 5, true),
        (2, 129, 129, 4, 2, 16, true),
    ];
    for _ in 0..10 {
        let (kv_heads, causal) = (random.within(1, 3), random.within(0, 1) == 1);
        let lq = random.within(1, 200);
        let lk = if causal { lq } else { random.within(1, 700) };
        cases.push((
            random.within(1, 2),
            lq,
            lk,
            kv_heads * random.within(1, 3),
            kv_heads,
            random.within(1, 50),
            causal,
        ));
    }
    for (b, lq, lk, heads, kv_heads, d, causal) in cases {
        // Scores far apart, so that the running maximum moves.
        let q: Vec<f32> = random
            .floats(b * lq * heads * d)
            .iter()
            .map(|v| v * 4.0)
            .collect();
        let (k, v) = (
            random.floats(b * lk * kv_heads * d),
            random.floats(b * lk * kv_heads * d),
        );
        let scale = 1.0 / (d as f32).sqrt();
        let wanted = reference(
            [&q, &k, &v],
            [b, lq, lk],
            [heads, kv_heads, d],
            scale,
            causal,
        );
        let built = graph(|g| {
            let q = g.input("q", &[b, lq, heads * d]).unwrap();
            let k = g.input("k", &[b, lk, kv_heads * d]).unwrap();
            let v = g.input("v", &[b, lk, kv_heads * d]).unwrap();
            g.attention([&q, &k, &v], heads, kv_heads, scale, causal)
                .unwrap()
        });
        let inputs = [
            ("q", HostTensor::f32([b, lq, heads * d], q)),
            ("k", HostTensor::f32([b, lk, kv_heads * d], k)),
            ("v", HostTensor::f32([b, lk, kv_heads * d], v)),
        ];
        check(
            &format!("{:?}", (b, lq, lk, heads, kv_heads, d, causal)),
            &built,
            &inputs,
            &wanted,
            CLOSE,
        );
    }
}

#[test]
fn scores_that_overflow_do_not_make_nan() {
    let (l, d) = (600, 4);
    // Later keys are so much larger that every earlier weight vanishes, and scores reach 10^20.
    let q = vec![1e10f32; l * d];
    let k: Vec<f32> = (0..l * d).map(|i| (i / d) as f32 * 1e7).collect();
    let v: Vec<f32> = (0..l * d).map(|i| (i / d) as f32).collect();
    let built = graph(|g| {
        let [q, k, v] = ["q", "k", "v"].map(|name| g.input(name, &[1, l, d]).unwrap());
        g.attention([&q, &k, &v], 1, 1, 1.0, true).unwrap()
    });
    let inputs =
        [("q", q), ("k", k), ("v", v)].map(|(name, data)| (name, HostTensor::f32([1, l, d], data)));
    let wanted: Vec<f64> = (0..l * d).map(|i| (i / d) as f64).collect();
    check("large scores", &built, &inputs, &wanted, 1e-6);
}

/// A mask `[B or 1, heads or 1, Lq, Lk]`: keys hidden here and there, by what hides them in models, and some numbers; all keys hidden from some
/// queries, and all that come first from others.
fn some_mask(random: &mut Random, shape: [usize; 4]) -> Vec<f32> {
    let [_, _, queries, keys] = shape;
    let hiding = [f32::NEG_INFINITY, f32::MIN, HIDDEN, f32::NAN];
    let elements: usize = shape.iter().product();
    let mut mask = Vec::with_capacity(elements);
    while mask.len() < elements {
        let first = mask.len() / keys % queries;
        // From here on the query sees keys: from none on, from all on, from any.
        let begin = match random.within(0, 3) {
            0 if first > 0 => keys,
            1 => random.within(0, keys - 1),
            _ => 0,
        };
        for key in 0..keys {
            let hidden = key < begin || random.within(0, 3) == 0;
            mask.push(match hidden {
                true => hiding[random.within(0, 3)],
                false => 5.0 * random.float(),
            });
        }
    }
    mask
}

#[test]
fn masks_hide_keys_and_are_added_to_scores() {
    let mut random = Random::fresh("masks_hide_keys_and_are_added_to_scores");
    let mut cases = vec![
        ([1, 1, 1], [1, 1], 1, false, [false, false]),
        ([2, 70, 77], [3, 3], 40, false, [true, true]),
        ([2, 65, 1030], [2, 1], 8, false, [false, true]),
        ([2, 600, 600], [2, 1], 5, true, [true, false]),
        ([3, 129, 129], [4, 2], 16, true, [false, false]),
    ];
    for _ in 0..12 {
        let (kv_heads, causal) = (random.within(1, 3), random.within(0, 1) == 1);
        let lq = random.within(1, 150);
        let lk = if causal { lq } else { random.within(1, 700) };
        let own = [0, 1].map(|_| random.within(0, 1) == 1);
        cases.push((
            [random.within(1, 3), lq, lk],
            [kv_heads * random.within(1, 3), kv_heads],
            random.within(1, 50),
            causal,
            own,
        ));
    }
    for ([b, lq, lk], [heads, kv_heads], d, causal, [own_batch, own_head]) in cases {
        let q: Vec<f32> = random
            .floats(b * lq * heads * d)
            .iter()
            .map(|v| v * 4.0)
            .collect();
        let [k, v] = [0, 1].map(|_| random.floats(b * lk * kv_heads * d));
        let shape = [
            if own_batch { b } else { 1 },
            if own_head { heads } else { 1 },
            lq,
            lk,
        ];
        let mask = some_mask(&mut random, shape);
        let scale = 1.0 / (d as f32).sqrt();
        let wanted = masked_reference(
            [&q, &k, &v],
            [b, lq, lk],
            [heads, kv_heads, d],
            scale,
            causal,
            |[item, head, row, key]| {
                let head = if own_head { head } else { 0 };
                let item = if own_batch { item } else { 0 };
                let added = mask[((item * shape[1] + head) * lq + row) * lk + key];
                (added > HIDDEN).then_some(added)
            },
        );
        let built = graph(|g| {
            let q = g.input("q", &[b, lq, heads * d]).unwrap();
            let k = g.input("k", &[b, lk, kv_heads * d]).unwrap();
            let v = g.input("v", &[b, lk, kv_heads * d]).unwrap();
            let mask = g.input("mask", &shape).unwrap();
            g.attention_with_mask([&q, &k, &v], &mask, heads, kv_heads, scale, causal)
                .unwrap()
        });
        let inputs = [
            ("q", HostTensor::f32([b, lq, heads * d], q)),
            ("k", HostTensor::f32([b, lk, kv_heads * d], k)),
            ("v", HostTensor::f32([b, lk, kv_heads * d], v)),
            ("mask", HostTensor::f32(shape, mask)),
        ];
        check(
            &format!("{:?}", (b, lq, lk, heads, kv_heads, d, causal, shape)),
            &built,
            &inputs,
            &wanted,
            CLOSE,
        );
    }
}

#[test]
fn queries_that_see_nothing_give_zeros() {
    let (queries, keys, d) = (70, 1100, 4);
    let mut random = Random::new(5);
    for hiding in [f32::NEG_INFINITY, f32::MIN, HIDDEN] {
        let built = graph(|g| {
            let q = g.input("q", &[1, queries, d]).unwrap();
            let k = g.input("k", &[1, keys, d]).unwrap();
            let mask = g.input("mask", &[1, 1, queries, keys]).unwrap();
            g.attention_with_mask([&q, &k, &k], &mask, 1, 1, 1.0, false)
                .unwrap()
        });
        let inputs = [
            (
                "q",
                HostTensor::f32([1, queries, d], random.floats(queries * d)),
            ),
            ("k", HostTensor::f32([1, keys, d], random.floats(keys * d))),
            (
                "mask",
                HostTensor::f32([1, 1, queries, keys], vec![hiding; queries * keys]),
            ),
        ];
        for mode in MODES {
            let found = run_in(mode, &built, &inputs);
            assert!(found.iter().all(|value| *value == 0.0), "{hiding} {mode:?}");
        }
    }
}
