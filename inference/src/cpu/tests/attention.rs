use super::*;

/// `q [b, lq, heads*d], k, v [b, lk, kv_heads*d]`, with the whole matrix of scores.
pub(super) fn reference(
    [q, k, v]: [&[f32]; 3],
    [b, lq, lk]: [usize; 3],
    [heads, kv_heads, d]: [usize; 3],
    scale: f32,
    causal: bool,
) -> Vec<f64> {
    let mut out = vec![0.0; b * lq * heads * d];
    for item in 0..b {
        for head in 0..heads {
            let kv_head = head / (heads / kv_heads);
            for i in 0..lq {
                let at = (item * lq + i) * heads * d + head * d;
                let key = |j: usize| (item * lk + j) * kv_heads * d + kv_head * d;
                let seen = if causal { i + 1 } else { lk };
                let scores: Vec<f64> = (0..seen)
                    .map(|j| {
                        (0..d)
                            .map(|e| f64::from(q[at + e]) * f64::from(k[key(j) + e]))
                            .sum::<f64>()
                            * f64::from(scale)
                    })
                    .collect();
                let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> =
                    scores.iter().map(|score| (score - highest).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for e in 0..d {
                    out[at + e] = weights
                        .iter()
                        .enumerate()
                        .map(|(j, w)| w * f64::from(v[key(j) + e]))
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
