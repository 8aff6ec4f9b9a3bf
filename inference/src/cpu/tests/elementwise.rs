use super::*;
use crate::graph::{Activation, NO_SLOT, RopeStyle, UnaryKind};

const ACTIVATIONS: [Activation; 5] = [
    Activation::Silu,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::QuickGelu,
    Activation::Relu,
];

/// By definition, with erf as an integral (Simpson).
fn reference(activation: Activation, x: f64) -> f64 {
    let erf = |z: f64| {
        let (n, h) = (2000, z / 2000.0);
        let f = |t: f64| (-t * t).exp();
        let inner: f64 = (1..n)
            .map(|i| f(f64::from(i) * h) * if i % 2 == 1 { 4.0 } else { 2.0 })
            .sum();
        (f(0.0) + inner + f(z)) * h / 3.0 * 2.0 / std::f64::consts::PI.sqrt()
    };
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        Activation::GeluTanh => {
            0.5 * x
                * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
        Activation::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
        Activation::Relu => x.max(0.0),
    }
}

#[test]
fn unary_functions() {
    let mut random = Random::fresh("unary_functions");
    let shape = [
        random.within(1, 3),
        random.within(1, 70),
        random.within(1, 300),
    ];
    let x: Vec<f32> = random
        .floats(shape.iter().product())
        .iter()
        .map(|v| v * 6.0)
        .collect();
    type Function = Box<dyn Fn(f64) -> f64>;
    let mut kinds: Vec<(UnaryKind, Function)> = vec![
        (UnaryKind::Tanh, Box::new(f64::tanh)),
        (
            UnaryKind::Affine {
                factor: -0.7,
                offset: 3.0,
            },
            Box::new(|x| x * f64::from(-0.7f32) + 3.0),
        ),
        (
            UnaryKind::Clamp {
                low: -1.5,
                high: 2.0,
            },
            Box::new(|x| x.clamp(-1.5, 2.0)),
        ),
        (
            UnaryKind::LeakyRelu { slope: 0.2 },
            Box::new(|x| if x > 0.0 { x } else { x * f64::from(0.2f32) }),
        ),
    ];
    for activation in ACTIVATIONS {
        kinds.push((
            UnaryKind::Activation(activation),
            Box::new(move |x| reference(activation, x)),
        ));
    }
    for (kind, wanted) in kinds {
        let graph = graph(|g| g.unary(&g.input("x", &shape).unwrap(), kind).unwrap());
        let wanted: Vec<f64> = x.iter().map(|&v| wanted(f64::from(v))).collect();
        check(
            &format!("{kind:?}"),
            &graph,
            &[("x", HostTensor::f32(shape, x.clone()))],
            &wanted,
            3e-7,
        );
    }
}

#[test]
fn binary_functions_broadcast_the_second_operand() {
    let mut random = Random::fresh("binary_functions_broadcast_the_second_operand");
    for round in 0..200 {
        let rank = random.within(1, 4);
        let a: Vec<usize> = (0..rank).map(|_| random.within(1, 9)).collect();
        let cut = random.within(0, rank - 1);
        let b: Vec<usize> = a[cut..]
            .iter()
            .map(|&len| if random.within(0, 2) == 0 { 1 } else { len })
            .collect();
        let (x, y) = (
            random.floats(a.iter().product()),
            random.floats(b.iter().product()),
        );
        let mut sums = Vec::new();
        let mut products = Vec::new();
        for (i, &value) in x.iter().enumerate() {
            let (mut rest, mut at, mut stride) = (i, 0, 1);
            for (axis, &len) in a.iter().enumerate().rev() {
                let index = rest % len;
                rest /= len;
                if axis >= cut {
                    let b_len = b[axis - cut];
                    at += if b_len == 1 { 0 } else { index } * stride;
                    stride *= b_len;
                }
            }
            sums.push(f64::from(value) + f64::from(y[at]));
            products.push(f64::from(value) * f64::from(y[at]));
        }
        // Operands that are the run's own are worked on in place, the first, the second or neither.
        for own in 0..3 {
            let inputs = [
                ("a", HostTensor::f32(a.clone(), x.clone())),
                ("b", HostTensor::f32(b.clone(), y.clone())),
            ];
            for (multiply, wanted) in [(false, &sums), (true, &products)] {
                let graph = graph(|g| {
                    let mut left = g.input("a", &a).unwrap();
                    let mut right = g.input("b", &b).unwrap();
                    match own {
                        1 => left = g.affine(&left, 1.0, 0.0).unwrap(),
                        2 => right = g.affine(&right, 1.0, 0.0).unwrap(),
                        _ => {}
                    }
                    if multiply {
                        g.mul(&left, &right).unwrap()
                    } else {
                        g.add(&left, &right).unwrap()
                    }
                });
                check(
                    &format!("round {round}: {a:?} and {b:?}"),
                    &graph,
                    &inputs,
                    wanted,
                    2e-7,
                );
            }
        }
    }
}

#[test]
fn a_value_can_be_both_operands() {
    let x: Vec<f32> = (0..10).map(|i| i as f32).collect();
    let graph = graph(|g| {
        let x = g.input("x", &[10]).unwrap();
        let own = g.affine(&x, 1.0, 1.0).unwrap();
        g.mul(&own, &own).unwrap()
    });
    let wanted: Vec<f64> = (1..=10).map(|i| f64::from(i * i)).collect();
    check(
        "square",
        &graph,
        &[("x", HostTensor::f32([10], x))],
        &wanted,
        1e-7,
    );
}

#[test]
fn gates() {
    let mut random = Random::fresh("gates");
    let (rows, d) = (random.within(1, 300), random.within(1, 150));
    let (gate, up) = (random.floats(rows * d), random.floats(rows * d));
    for activation in ACTIVATIONS {
        let built = graph(|g| {
            let (gate, up) = (
                g.input("gate", &[rows, d]).unwrap(),
                g.input("up", &[rows, d]).unwrap(),
            );
            g.gated(&gate, &up, activation).unwrap()
        });
        let wanted: Vec<f64> = gate
            .iter()
            .zip(&up)
            .map(|(&g, &u)| reference(activation, f64::from(g)) * f64::from(u))
            .collect();
        let inputs = [
            ("gate", HostTensor::f32([rows, d], gate.clone())),
            ("up", HostTensor::f32([rows, d], up.clone())),
        ];
        check("gated", &built, &inputs, &wanted, 1e-6);

        let both: Vec<f32> = up
            .chunks(d)
            .zip(gate.chunks(d))
            .flat_map(|(up, gate)| up.iter().chain(gate).copied())
            .collect();
        let built = graph(|g| {
            g.split_gated(&g.input("x", &[1, rows, 2 * d]).unwrap(), activation)
                .unwrap()
        });
        check(
            "split_gated",
            &built,
            &[("x", HostTensor::f32([1, rows, 2 * d], both))],
            &wanted,
            1e-6,
        );
    }
}

#[test]
fn norms_over_the_last_axis() {
    let mut random = Random::fresh("norms_over_the_last_axis");
    for (rows, d) in [
        (1, 1),
        (3, 7),
        (5, 2048),
        (random.within(1, 90), random.within(2, 700)),
    ] {
        for offset in [0.0f32, 1e4] {
            let x: Vec<f32> = random
                .floats(rows * d)
                .iter()
                .map(|v| v * 3.0 + offset)
                .collect();
            let (w, b) = (
                random_weight(&mut random, "w", &[d]),
                random_weight(&mut random, "b", &[d]),
            );
            let (gain, shift) = (wide(&w.to_f32().unwrap()), wide(&b.to_f32().unwrap()));
            let eps = 1e-5f32;
            let (mut layer, mut plain, mut rms) = (Vec::new(), Vec::new(), Vec::new());
            let mut narrowest = 1f64;
            for row in x.chunks(d) {
                let row = wide(row);
                let mean = row.iter().sum::<f64>() / d as f64;
                let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / d as f64;
                let square = row.iter().map(|v| v * v).sum::<f64>() / d as f64;
                if d > 1 {
                    narrowest = narrowest.min(variance.sqrt().max(1e-3));
                }
                for (i, value) in row.iter().enumerate() {
                    let normal = (value - mean) / (variance + f64::from(eps)).sqrt() * gain[i];
                    layer.push(normal + shift[i]);
                    plain.push(normal);
                    rms.push(value / (square + f64::from(eps)).sqrt() * gain[i]);
                }
            }
            // With an offset of 10^4 the mean itself is rounded to a thousandth, which a row of close values feels most.
            let tolerance = if offset == 0.0 {
                3e-6
            } else {
                4e-3 / narrowest as f32
            };
            let inputs = [("x", HostTensor::f32([rows, d], x))];
            let built = graph(|g| {
                g.layer_norm(&g.input("x", &[rows, d]).unwrap(), &w, Some(&b), eps)
                    .unwrap()
            });
            check("layer_norm", &built, &inputs, &layer, tolerance);
            let built = graph(|g| {
                g.layer_norm(&g.input("x", &[rows, d]).unwrap(), &w, None, eps)
                    .unwrap()
            });
            check(
                "layer_norm without offset",
                &built,
                &inputs,
                &plain,
                tolerance,
            );
            let built = graph(|g| {
                g.rms_norm(&g.input("x", &[rows, d]).unwrap(), &w, eps)
                    .unwrap()
            });
            check("rms_norm", &built, &inputs, &rms, 3e-6);
        }
    }
}

#[test]
fn rotary_embedding() {
    let mut random = Random::fresh("rotary_embedding");
    let (rows, heads, d) = (
        random.within(1, 40),
        random.within(1, 5),
        2 * random.within(2, 20),
    );
    let n = random.within(1, d / 2);
    let frequencies: Vec<f32> = (0..n)
        .map(|i| 10000f32.powf(-(i as f32) / n as f32))
        .collect();
    let x = random.floats(rows * heads * d);
    let mut positions: Vec<u32> = (0..rows).map(|_| random.within(0, 3000) as u32).collect();
    positions[rows / 2] = NO_SLOT;
    for style in [RopeStyle::Half, RopeStyle::Interleaved] {
        let built = graph(|g| {
            let (x, p) = (
                g.input("x", &[rows, heads * d]).unwrap(),
                g.input_u32("p", &[rows]).unwrap(),
            );
            g.rope(
                &x,
                &p,
                heads,
                &weight("inv_freq", &[n], &frequencies),
                style,
                1.25,
            )
            .unwrap()
        });
        let mut wanted = wide(&x);
        for (row, &position) in positions.iter().enumerate().filter(|(_, p)| **p != NO_SLOT) {
            for head in 0..heads {
                for (i, &frequency) in frequencies.iter().enumerate() {
                    let at = row * heads * d + head * d;
                    let (a, b) = match style {
                        RopeStyle::Half => (at + i, at + i + n),
                        RopeStyle::Interleaved => (at + 2 * i, at + 2 * i + 1),
                    };
                    // The angle is rounded to f32, as in torch.
                    let angle = f64::from(position as f32 * frequency);
                    let (s, c) = (angle.sin() * 1.25, angle.cos() * 1.25);
                    (wanted[a], wanted[b]) =
                        (wanted[a] * c - wanted[b] * s, wanted[b] * c + wanted[a] * s);
                }
            }
        }
        let inputs = [
            ("x", HostTensor::f32([rows, heads * d], x.clone())),
            ("p", HostTensor::u32([rows], positions.clone())),
        ];
        check(&format!("{style:?}"), &built, &inputs, &wanted, 1e-6);
    }
}
