//! What the self-test computes.

use super::{Case, HALF_TOLERANCE, SEED, TOLERANCE, case, convolution, dense, mask, paged, stored};
use crate::cpu::testing::Random;
use crate::formats::StorageDtype;
use crate::gpu::kernels::FEW_ROWS;
use crate::graph::candidates::{EXTRAS, KEPT, PART_WORDS, PARTS, SUMS};
use crate::graph::draw::{DRAW_WORDS, DrawSettings};
use crate::graph::{Activation, Conv2dSpec, GraphBuilder, GraphError, HostTensor, KvType};

/// All of them.
///
/// # Errors
/// If one cannot be made.
pub(super) fn all() -> Result<Vec<Case>, GraphError> {
    let mut random = Random::new(SEED);
    let mut cases = linear_cases(&mut random)?;
    cases.append(&mut picture_cases(&mut random)?);
    cases.append(&mut attention_cases(&mut random)?);
    cases.append(&mut choice_cases(&mut random)?);
    Ok(cases)
}

fn linear_cases(random: &mut Random) -> Result<Vec<Case>, GraphError> {
    use StorageDtype::{
        Bf16, F16, F32, Iq4Nl, Iq4Xs, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0,
    };
    let mut cases = Vec::new();
    for dtype in [
        F32, F16, Bf16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2K, Q3K, Q4K, Q5K, Q6K, Iq4Nl, Iq4Xs,
    ] {
        let weight = stored(random, &[37, 512], dtype)?;
        for rows in [1, 5, 40] {
            let g = GraphBuilder::new("self-test");
            let x = g.input("x", &[rows, 512])?;
            let y = g.linear(&x, &weight, Some(&dense(random, "bias", &[37])?))?;
            let x = HostTensor::f32([rows, 512], random.floats(rows * 512));
            let name = format!("linear {} x{rows}", dtype.name());
            let by_halves = rows > FEW_ROWS && dtype.block_len() > 1;
            cases.push(Case {
                tolerance: if by_halves { HALF_TOLERANCE } else { TOLERANCE },
                ..case(name, g, &y, vec![("x", x)])
            });
        }
        let g = GraphBuilder::new("self-test");
        let ids = g.input_u32("ids", &[4])?;
        let y = g.embedding(&ids, &weight)?;
        let ids = HostTensor::u32([4], vec![36, 0, 7, 7]);
        cases.push(case(
            format!("embedding {}", dtype.name()),
            g,
            &y,
            vec![("ids", ids)],
        ));
    }
    Ok(cases)
}

fn picture_cases(random: &mut Random) -> Result<Vec<Case>, GraphError> {
    let mut cases = Vec::new();
    let shape = [2usize, 12, 9, 7];
    let elements = shape.iter().product();
    let [gain, offset] = [
        dense(random, "gain", &[12])?,
        dense(random, "offset", &[12])?,
    ];
    type Build<'a> = Box<
        dyn Fn(&GraphBuilder, &crate::graph::Tensor) -> Result<crate::graph::Tensor, GraphError>
            + 'a,
    >;
    let [w3, w1] = [
        dense(random, "w3", &[10, 12, 3, 3])?,
        dense(random, "w1", &[5, 12, 1, 1])?,
    ];
    let half_weight = stored(random, &[10, 12, 3, 3], StorageDtype::F16)?;
    let row_gain = dense(random, "row gain", &[7])?;
    let builds: Vec<(&str, Build<'_>)> = vec![
        (
            "convolution 3x3",
            Box::new(|g, x| g.conv2d(x, &w3, None, Conv2dSpec::same(3))),
        ),
        (
            "convolution 3x3 f16",
            Box::new(|g, x| g.conv2d(x, &half_weight, None, Conv2dSpec::same(3))),
        ),
        (
            "convolution 3x3, stride 2",
            Box::new(|g, x| g.conv2d(x, &w3, None, Conv2dSpec::new(2, 1))),
        ),
        (
            "convolution 1x1",
            Box::new(|g, x| g.conv2d(x, &w1, None, Conv2dSpec::same(1))),
        ),
        (
            "group norm and SiLU",
            Box::new(|g, x| g.group_norm(x, &gain, &offset, 4, 1e-5, true)),
        ),
        (
            "layer norm",
            Box::new(|g, x| g.layer_norm(x, &row_gain, None, 1e-5)),
        ),
        ("RMS norm", Box::new(|g, x| g.rms_norm(x, &row_gain, 1e-5))),
        ("upsampling", Box::new(|g, x| g.upsample_nearest(x, 18, 14))),
        ("permutation", Box::new(|g, x| g.permute(x, &[0, 2, 3, 1]))),
        ("concatenation", Box::new(|g, x| g.concat(&[x, x], 1))),
        ("slice", Box::new(|g, x| g.slice(x, 2, 3, 4))),
        ("GELU", Box::new(|g, x| g.activation(x, Activation::Gelu))),
        (
            "addition",
            Box::new(|g, x| g.add(x, &g.affine(x, 2.0, 0.5)?)),
        ),
        (
            "gated GELU",
            Box::new(|g, x| g.split_gated(&g.reshape(x, &[18, 84])?, Activation::Gelu)),
        ),
    ];
    for (name, kernel, dtype, width) in [
        ("convolution 3x3 of 16 channels", 3, StorageDtype::F32, 8),
        (
            "convolution 3x3 of 16 channels f16",
            3,
            StorageDtype::F16,
            9,
        ),
        (
            "convolution 1x1 of 16 channels bf16",
            1,
            StorageDtype::Bf16,
            8,
        ),
    ] {
        let case = convolution(random, dtype, kernel, [1, 16, 11, width])?;
        let name = name.to_owned();
        cases.push(Case { name, ..case });
    }
    for (name, build) in builds {
        let g = GraphBuilder::new("self-test");
        let x = g.input("x", &shape)?;
        let y = build(&g, &x)?;
        let x = HostTensor::f32(shape, random.floats(elements));
        cases.push(case(name, g, &y, vec![("x", x)]));
    }
    Ok(cases)
}

fn attention_cases(random: &mut Random) -> Result<Vec<Case>, GraphError> {
    let mut cases = Vec::new();
    for (name, causal, kv_heads, head_dim) in [
        ("attention", false, 4, 20),
        ("attention by heads of 40", false, 4, 40),
        ("causal attention, grouped", true, 2, 20),
        ("causal attention by heads of 64, grouped", true, 2, 64),
    ] {
        let g = GraphBuilder::new("self-test");
        let [q, k, v] = [("q", 4), ("k", kv_heads), ("v", kv_heads)];
        let mut input = |(name, heads): (&'static str, usize)| {
            let shape = [2, 33, heads * head_dim];
            let value = HostTensor::f32(shape, random.floats(shape.iter().product()));
            g.input(name, &shape).map(|tensor| (tensor, (name, value)))
        };
        let [(q, qv), (k, kv), (v, vv)] = [input(q)?, input(k)?, input(v)?];
        let y = g.attention([&q, &k, &v], 4, kv_heads, 0.22, causal)?;
        cases.push(case(name, g, &y, vec![qv, kv, vv]));
    }
    for (name, causal, shape, head_dim) in [
        ("masked attention", false, [2, 4, 33, 37], 40),
        ("masked causal attention", true, [1, 1, 40, 40], 20),
        (
            "masked attention by heads of 160",
            false,
            [1, 4, 33, 37],
            160,
        ),
        (
            "masked attention by heads of 200",
            false,
            [2, 1, 33, 37],
            200,
        ),
    ] {
        let g = GraphBuilder::new("self-test");
        let [_, _, queries, keys] = shape;
        let mut input = |name: &'static str, length: usize, heads: usize| {
            let shape = [2, length, heads * head_dim];
            let value = HostTensor::f32(shape, random.floats(shape.iter().product()));
            g.input(name, &shape).map(|tensor| (tensor, (name, value)))
        };
        let (q, qv) = input("q", queries, 4)?;
        let [(k, kv), (v, vv)] = [input("k", keys, 2)?, input("v", keys, 2)?];
        let values = mask(random, shape);
        let mask = g.input("mask", &shape)?;
        let y = g.attention_with_mask([&q, &k, &v], &mask, 4, 2, 0.22, causal)?;
        let inputs = vec![qv, kv, vv, ("mask", values)];
        cases.push(case(name, g, &y, inputs));
    }
    let name = "rotary positions and paged attention";
    cases.push(paged(random, name, KvType::F32, (0, 70))?);
    Ok(cases)
}

/// What is told of logits, and the tokens that are drawn from it.
fn choice_cases(random: &mut Random) -> Result<Vec<Case>, GraphError> {
    const WIDTH: usize = 5003;
    let settings = [
        DrawSettings::BEST,
        DrawSettings {
            top_k: 40,
            top_p: 0.95,
            min_p: 0.01,
            temperature: 0.8,
            unit: 0.7,
        },
        DrawSettings {
            top_k: 0,
            top_p: 0.9,
            min_p: 0.0,
            temperature: 1.5,
            unit: 0.3,
        },
        DrawSettings::PADDING,
    ];
    let rows = settings.len();
    let mut logits = random.floats(rows * WIDTH);
    for (row, logits) in logits.chunks_mut(WIDTH).enumerate() {
        // Some that matter, far apart, the best of them twice: the lower number comes first.
        for place in 1..60 {
            logits[(place * 977 + 31 * row) % WIDTH] = 3.0 + 0.1 * place as f32;
        }
        logits[WIDTH - 1 - row] = 9.0;
        logits[2000 + row] = 9.0;
    }
    let inverse = |settings: &DrawSettings| match settings.temperature {
        heat if heat > 0.0 => 1.0 / heat,
        _ => 1.0,
    };
    let inverses: Vec<f32> = settings.iter().map(inverse).collect();
    let words: Vec<f32> = settings.iter().flat_map(DrawSettings::words).collect();
    let told = |g: &GraphBuilder| {
        let logits = g.input("logits", &[rows, WIDTH])?;
        let extras = g.input_u32("extras", &[rows, EXTRAS])?;
        let inverses = g.input("inverses", &[rows])?;
        g.candidates(&logits, &extras, &inverses, WIDTH)
    };
    let inputs = || {
        let asked = (0..rows * EXTRAS).map(|at| (at * 7 % WIDTH) as u32);
        vec![
            ("logits", HostTensor::f32([rows, WIDTH], logits.clone())),
            ("extras", HostTensor::u32([rows, EXTRAS], asked.collect())),
            ("inverses", HostTensor::f32([rows], inverses.clone())),
        ]
    };
    let mut cases = Vec::new();
    // Logits, numbers and sums have different magnitudes: each is compared by itself.
    let last = (PARTS - 1) * PART_WORDS;
    for (name, from, length) in [
        ("likeliest tokens", last, KEPT),
        ("numbers of the likeliest tokens", last + KEPT, KEPT),
        ("sums over all tokens", last + 2 * KEPT, SUMS),
        ("tokens asked for", PARTS * PART_WORDS, EXTRAS),
    ] {
        let g = GraphBuilder::new("self-test");
        let y = g.slice(&told(&g)?, 1, from, length)?;
        cases.push(case(name, g, &y, inputs()));
    }
    let g = GraphBuilder::new("self-test");
    let given = g.input("settings", &[rows, DRAW_WORDS])?;
    let y = g.draw(&told(&g)?, &given)?;
    let mut inputs = inputs();
    inputs.push(("settings", HostTensor::f32([rows, DRAW_WORDS], words)));
    // A token is the one or another: half a number apart from the greatest there can be.
    cases.push(Case {
        tolerance: 0.5 / WIDTH as f32,
        ..case("draw of a token", g, &y, inputs)
    });
    Ok(cases)
}
