//! Attention, over values and over a paged cache.

use diptych_shaders::Kernel;

use super::super::FEW_ROWS;
use super::bench::{Bench, Case};
use super::{KernelLimits, Random, check, wide};
use crate::graph::{HostTensor, KV_PAGE, KvShape, KvType, NO_SLOT, Op, PagedAttentionSpec};

/// Softmax of the scores of one query over some keys, times their values.
fn attend(
    q: &[f64],
    keys: &[&[f64]],
    values: &[&[f64]],
    scale: f64,
    softcap: Option<f32>,
) -> Vec<f64> {
    let scores: Vec<f64> = keys
        .iter()
        .map(|key| q.iter().zip(*key).map(|(a, b)| a * b).sum::<f64>() * scale)
        .map(|score| {
            softcap.map_or(score, |cap| {
                f64::from(cap) * (score / f64::from(cap)).tanh()
            })
        })
        .collect();
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let parts: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
    let total: f64 = parts.iter().sum();
    (0..q.len())
        .map(|i| {
            parts
                .iter()
                .zip(values)
                .map(|(part, v)| part * v[i])
                .sum::<f64>()
                / total
        })
        .collect()
}

struct Dense {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    causal: bool,
    /// Factor on the queries: large ones make the softmax pick single keys, and scores that exp cannot take.
    spread: f32,
}

fn dense_case(random: &mut Random, d: &Dense) {
    let (width, kv_width) = (d.heads * d.head_dim, d.kv_heads * d.head_dim);
    let q = HostTensor::f32(
        [d.batch, d.queries, width],
        random
            .values(&[d.batch, d.queries, width])
            .iter()
            .map(|v| v * d.spread)
            .collect(),
    );
    let k = random.tensor(&[d.batch, d.keys, kv_width]);
    let v = random.tensor(&[d.batch, d.keys, kv_width]);
    let scale = 1.0 / (d.head_dim as f32).sqrt();
    let (qs, ks, vs) = (wide(q.as_f32()), wide(k.as_f32()), wide(v.as_f32()));
    let mut expected = Vec::new();
    for b in 0..d.batch {
        for row in 0..d.queries {
            for head in 0..d.heads {
                let kv_head = head / (d.heads / d.kv_heads);
                let seen = if d.causal { row + 1 } else { d.keys };
                let part = |all: &'_ [f64], i: usize| {
                    all[(b * d.keys + i) * kv_width + kv_head * d.head_dim..][..d.head_dim].to_vec()
                };
                let keys: Vec<Vec<f64>> = (0..seen).map(|i| part(&ks, i)).collect();
                let values: Vec<Vec<f64>> = (0..seen).map(|i| part(&vs, i)).collect();
                let query = &qs[(b * d.queries + row) * width + head * d.head_dim..][..d.head_dim];
                let keys: Vec<&[f64]> = keys.iter().map(Vec::as_slice).collect();
                let values: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
                expected.extend(attend(query, &keys, &values, f64::from(scale), None));
            }
        }
    }
    let op = Op::Attention {
        heads: d.heads,
        kv_heads: d.kv_heads,
        scale,
        causal: d.causal,
    };
    let case = Case::new(op, vec![q, k, v], Vec::new(), &[d.batch, d.queries, width]);
    let name = format!(
        "attention {}x{} over {} heads {}/{} of {} causal {} spread {}",
        d.batch, d.queries, d.keys, d.heads, d.kv_heads, d.head_dim, d.causal, d.spread
    );
    // Scores of size s are known to about s * 2^-24, and the softmax is as exact as they are.
    check(&name, &case, &expected, 5e-6 + 2e-6 * f64::from(d.spread));
}

#[test]
fn attention_over_values() {
    let mut random = Random::new("attention_over_values");
    let base = Dense {
        batch: 1,
        queries: 1,
        keys: 1,
        heads: 1,
        kv_heads: 1,
        head_dim: 8,
        causal: false,
        spread: 1.0,
    };
    for d in [
        Dense { ..base },
        Dense {
            batch: 2,
            queries: 65,
            keys: 77,
            heads: 5,
            kv_heads: 5,
            head_dim: 40,
            ..base
        },
        Dense {
            batch: 2,
            queries: 77,
            keys: 77,
            heads: 3,
            kv_heads: 3,
            head_dim: 64,
            causal: true,
            ..base
        },
        Dense {
            queries: 33,
            keys: 130,
            heads: 6,
            kv_heads: 2,
            head_dim: 13,
            ..base
        },
        Dense {
            queries: 70,
            keys: 70,
            heads: 4,
            kv_heads: 1,
            head_dim: 80,
            causal: true,
            ..base
        },
        Dense {
            batch: 3,
            queries: 5,
            keys: 31,
            heads: 2,
            kv_heads: 2,
            head_dim: 160,
            ..base
        },
        Dense {
            queries: 70,
            keys: 40,
            heads: 1,
            kv_heads: 1,
            head_dim: 512,
            ..base
        },
        Dense {
            queries: 9,
            keys: 50,
            heads: 1,
            kv_heads: 1,
            head_dim: 258,
            ..base
        },
        Dense {
            queries: 20,
            keys: 60,
            heads: 2,
            kv_heads: 1,
            head_dim: 64,
            spread: 300.0,
            ..base
        },
        Dense {
            queries: 300,
            keys: 300,
            heads: 2,
            kv_heads: 2,
            head_dim: 64,
            causal: true,
            spread: 20.0,
            ..base
        },
        Dense {
            batch: 2,
            queries: 150,
            keys: 700,
            heads: 4,
            kv_heads: 2,
            head_dim: 24,
            ..base
        },
    ] {
        dense_case(&mut random, &d);
    }
}

struct Paged {
    shape: KvShape,
    heads: usize,
    /// Of each sequence: positions already in the cache, rows of this run.
    sequences: Vec<(usize, usize)>,
    padding: usize,
    softcap: Option<f32>,
    window: Option<usize>,
}

/// Gives the kernels that were used where work is scarce.
fn paged_case(random: &mut Random, p: &Paged) -> Vec<Kernel> {
    let KvShape {
        layers,
        kv_heads,
        head_dim,
        pages,
        ..
    } = p.shape;
    let (width, kv_width) = (p.heads * head_dim, kv_heads * head_dim);
    let layer = layers - 1;
    let max_pages = p
        .sequences
        .iter()
        .map(|(old, new)| (old + new).div_ceil(KV_PAGE))
        .max()
        .unwrap();
    // Pages are dealt out in a random order; table entries of no use name a page far out of the cache.
    let mut free: Vec<u32> = (0..pages as u32).collect();
    for i in (1..free.len()).rev() {
        free.swap(i, random.below(i + 1));
    }
    let mut tables = Vec::new();
    for (old, new) in &p.sequences {
        for page in 0..max_pages {
            let used = page * KV_PAGE < old + new;
            tables.push(if used { free.pop().unwrap() } else { 1_000_000 });
        }
    }
    let slot = |sequence: usize, position: usize| {
        tables[sequence * max_pages + position / KV_PAGE] as usize * KV_PAGE + position % KV_PAGE
    };
    // What no sequence has written is poison.
    let caches: Vec<[Vec<f32>; 2]> = (0..layers)
        .map(|_| {
            std::array::from_fn(|_| {
                let mut cache = vec![f32::NAN; p.shape.layer_elements()];
                for (sequence, (old, _)) in p.sequences.iter().enumerate() {
                    for position in 0..*old {
                        let values = random.values(&[kv_width]);
                        cache[slot(sequence, position) * kv_width..][..kv_width]
                            .copy_from_slice(&values);
                    }
                }
                cache
            })
        })
        .collect();
    let (mut positions, mut slots, mut row_sequences) = (Vec::new(), Vec::new(), Vec::new());
    for (sequence, (old, new)) in p.sequences.iter().enumerate() {
        for position in *old..old + new {
            positions.push(position as u32);
            slots.push(slot(sequence, position) as u32);
            row_sequences.push(sequence as u32);
        }
    }
    positions.extend(vec![NO_SLOT; p.padding]);
    slots.extend(vec![NO_SLOT; p.padding]);
    row_sequences.extend(vec![0; p.padding]);
    let rows = positions.len();
    let q = random.tensor(&[rows, width]);
    let k = random.tensor(&[rows, kv_width]);
    let v = random.tensor(&[rows, kv_width]);
    let scale = 1.0 / (head_dim as f32).sqrt();

    let mut after = caches.clone();
    for (row, &slot) in slots
        .iter()
        .enumerate()
        .filter(|(_, slot)| **slot != NO_SLOT)
    {
        let at = slot as usize * kv_width;
        after[layer][0][at..at + kv_width]
            .copy_from_slice(&k.as_f32()[row * kv_width..][..kv_width]);
        after[layer][1][at..at + kv_width]
            .copy_from_slice(&v.as_f32()[row * kv_width..][..kv_width]);
    }
    let [all_keys, all_values] = [0, 1].map(|i| wide(&after[layer][i]));
    let qs = wide(q.as_f32());
    let mut expected = Vec::new();
    for row in 0..rows {
        for head in 0..p.heads {
            if positions[row] == NO_SLOT {
                expected.extend(vec![0.0; head_dim]);
                continue;
            }
            let offset = head / (p.heads / kv_heads) * head_dim;
            let sequence = row_sequences[row] as usize;
            let end = positions[row] as usize + 1;
            let hidden = p.window.map_or(0, |window| end.saturating_sub(window));
            let places: Vec<usize> = (hidden..end)
                .map(|i| slot(sequence, i) * kv_width + offset)
                .collect();
            let keys: Vec<&[f64]> = places
                .iter()
                .map(|&at| &all_keys[at..at + head_dim])
                .collect();
            let values: Vec<&[f64]> = places
                .iter()
                .map(|&at| &all_values[at..at + head_dim])
                .collect();
            let query = &qs[row * width + head * head_dim..][..head_dim];
            expected.extend(attend(query, &keys, &values, f64::from(scale), p.softcap));
        }
    }
    let op = Op::PagedAttention(PagedAttentionSpec {
        state: 0,
        layer,
        heads: p.heads,
        scale,
        softcap: p.softcap,
        window: p.window,
    });
    let operands = vec![
        q,
        k,
        v,
        HostTensor::u32([rows], positions),
        HostTensor::u32([rows], slots),
        HostTensor::u32([rows], row_sequences),
        HostTensor::u32([p.sequences.len(), max_pages], tables.clone()),
    ];
    let mut case = Case::new(op, operands, Vec::new(), &[rows, width]);
    case.states = vec![p.shape];
    case.caches = caches;
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let outcomes = check(
        &format!("paged attention {:?} {:?}", p.shape, p.sequences),
        &case,
        &expected,
        5e-6,
    );
    for outcome in &outcomes {
        for (found, wanted) in outcome.caches.iter().zip(&after) {
            assert!(
                bits(&found[0]) == bits(&wanted[0]) && bits(&found[1]) == bits(&wanted[1]),
                "the cache's contents"
            );
        }
    }
    // The same where lanes read one after the other, among poison, too.
    if let Some((bench, lanes)) = Bench::with_subgroups()
        && lanes >= 8
    {
        let limits = KernelLimits {
            subgroups: true,
            serial_lanes: true,
            ..KernelLimits::default()
        };
        let outcome = bench.run(&case, &limits);
        let name = format!("paged attention across {:?} {:?}", p.shape, p.sequences);
        super::compare(&name, &outcome.output, &expected, 5e-6);
        let across = |kernel: &Kernel| matches!(kernel, Kernel::PagedAttentionAcross { .. });
        assert_eq!(
            outcome.kernels.iter().any(across),
            rows <= FEW_ROWS,
            "{name}"
        );
        for (found, wanted) in outcome.caches.iter().zip(&after) {
            assert!(bits(&found[0]) == bits(&wanted[0]) && bits(&found[1]) == bits(&wanted[1]));
        }
    }
    let [_, tiny] = outcomes;
    tiny.kernels
}

#[test]
fn pages_are_dealt_out_where_work_is_scarce() {
    let mut random = Random::new("pages_are_dealt_out_where_work_is_scarce");
    for (head_dim, heads, sequences, padding) in [
        (8, 2, vec![(500, 1), (20, 2)], 1),
        (21, 4, vec![(320, 2)], 0),
    ] {
        for (window, softcap) in [(None, None), (Some(70), Some(0.5)), (Some(200), None)] {
            let p = Paged {
                shape: KvShape {
                    layers: 1,
                    kv_heads: 1,
                    head_dim,
                    pages: 10,
                    kv_type: KvType::F32,
                },
                heads,
                sequences: sequences.clone(),
                padding,
                softcap,
                window,
            };
            let kernels = paged_case(&mut random, &p);
            assert!(kernels.contains(&Kernel::PagedAttentionJoin));
        }
    }
}

#[test]
fn attention_over_a_paged_cache() {
    let mut random = Random::new("attention_over_a_paged_cache");
    let shape = |layers, kv_heads, head_dim, pages| KvShape {
        layers,
        kv_heads,
        head_dim,
        pages,
        kv_type: KvType::F32,
    };
    let case = |shape, heads, sequences: &[(usize, usize)], padding| Paged {
        shape,
        heads,
        sequences: sequences.to_vec(),
        padding,
        softcap: None,
        window: None,
    };
    for p in [
        case(shape(1, 1, 8, 1), 1, &[(0, 1)], 0),
        // Few rows, of several sequences, and padding.
        case(shape(2, 2, 16, 6), 4, &[(63, 2), (0, 3), (128, 1)], 2),
        case(shape(1, 1, 251, 3), 2, &[(70, 2)], 1),
        case(shape(1, 2, 64, 9), 2, &[(300, 1), (65, 3)], 0),
        // Many rows: within a sequence, and several sequences in one tile.
        case(shape(1, 3, 13, 9), 6, &[(200, 1), (10, 70)], 0),
        case(shape(1, 1, 128, 5), 8, &[(150, 20)], 12),
        case(
            shape(2, 2, 16, 12),
            4,
            &[(63, 2), (0, 3), (128, 1), (5, 70), (0, 1), (64, 64)],
            3,
        ),
        case(shape(1, 1, 251, 3), 2, &[(70, 20)], 1),
        // The largest heads that are known of decoders, a single row and a tile of them.
        case(shape(1, 1, 256, 4), 4, &[(70, 1), (0, 20)], 0),
        case(shape(1, 2, 64, 9), 6, &[(0, 130), (65, 3), (1, 62)], 60),
    ] {
        paged_case(&mut random, &p);
        // Windows that begin within a page, at its beginning, and before the first position; caps that bend the scores.
        for (window, softcap) in [
            (Some(1), None),
            (Some(40), Some(0.5)),
            (Some(64), None),
            (Some(1 << 20), Some(2.0)),
            (None, Some(0.3)),
        ] {
            let p = Paged {
                window,
                softcap,
                sequences: p.sequences.clone(),
                ..p
            };
            paged_case(&mut random, &p);
        }
    }
}
