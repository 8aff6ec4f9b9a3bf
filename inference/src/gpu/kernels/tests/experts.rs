//! Mixtures of experts: routes, products by expert, sums by weight.

use diptych_shaders::WeightFormat;

use super::bench::Case;
use super::{Random, check, wide};
use crate::formats::StorageDtype;
use crate::graph::{HostTensor, Op, WeightId};

/// Routes to different experts in every row, with weights.
fn routes(random: &mut Random, rows: usize, used: usize, experts: usize) -> HostTensor {
    let mut values = Vec::new();
    for _ in 0..rows {
        let first = random.below(experts);
        values.extend((0..used).map(|place| ((first + place) % experts) as f32));
        values.extend((0..used).map(|_| random.value()));
    }
    HostTensor::f32([rows, 2 * used], values)
}

#[test]
fn rows_are_routed_to_their_largest_logits() {
    let mut random = Random::new("rows_are_routed_to_their_largest_logits");
    for (rows, experts, used) in [(1, 1, 1), (3, 8, 2), (70, 128, 8), (400, 60, 4), (5, 7, 7)] {
        for normalised in [false, true] {
            let logits = random.tensor(&[rows, experts]);
            let mut expected = Vec::new();
            for row in wide(logits.as_f32()).chunks(experts) {
                let mut order: Vec<usize> = (0..experts).collect();
                order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
                order.truncate(used);
                expected.extend(order.iter().map(|&index| index as f64));
                let chosen: f64 = order.iter().map(|&index| row[index].exp()).sum();
                let all: f64 = row.iter().map(|logit| logit.exp()).sum();
                let sum = if normalised { chosen } else { all };
                expected.extend(order.iter().map(|&index| row[index].exp() / sum));
            }
            let op = Op::RouteExperts { used, normalised };
            let case = Case::new(op, vec![logits], Vec::new(), &[rows, 2 * used]);
            check(
                &format!("route {rows}x{experts} to {used}"),
                &case,
                &expected,
                1e-6,
            );
        }
    }
}

/// `apart`: as many weights as experts; `spread`: each row of x is for one expert.
fn linear(
    random: &mut Random,
    [rows, used, experts, k, n]: [usize; 5],
    dtype: StorageDtype,
    apart: bool,
    spread: bool,
) {
    let x_rows = if spread { rows * used } else { rows };
    let x = random.tensor(&[x_rows, k]);
    let routes = routes(random, rows, used, experts);
    let weights: Vec<_> = match apart {
        true => (0..experts)
            .map(|index| random.weight(&format!("w{index}"), &[n, k], dtype))
            .collect(),
        false => vec![random.weight("w", &[experts * n, k], dtype)],
    };
    let all: Vec<f64> = weights
        .iter()
        .flat_map(|weight| wide(&weight.to_f32().unwrap()))
        .collect();
    let xs = wide(x.as_f32());
    let mut expected = Vec::new();
    for (row, route) in routes.as_f32().chunks(2 * used).enumerate() {
        for (place, expert) in route.iter().take(used).enumerate() {
            let from = if spread { row * used + place } else { row };
            for column in 0..n {
                let weight = &all[(*expert as usize * n + column) * k..][..k];
                let x = &xs[from * k..][..k];
                expected.push(weight.iter().zip(x).map(|(w, x)| w * x).sum::<f64>());
            }
        }
    }
    let op = Op::ExpertLinear {
        weights: (0..weights.len()).map(WeightId).collect(),
        experts,
    };
    let case = Case::new(op, vec![x, routes], weights, &[rows * used, n]);
    let name = format!("experts {rows}x{used} of {experts}, {k} to {n}, {dtype}");
    check(&name, &case, &expected, 4e-6);
}

#[test]
fn products_by_expert() {
    let mut random = Random::new("products_by_expert");
    for dtype in [StorageDtype::F32, StorageDtype::F16, StorageDtype::Bf16] {
        for (apart, spread) in [(false, false), (true, false), (false, true), (true, true)] {
            let (k, n) = (1 + random.below(70), 1 + random.below(30));
            linear(&mut random, [1, 2, 4, k, n], dtype, apart, spread);
            linear(&mut random, [9, 3, 5, k, n], dtype, apart, spread);
        }
        // Weights and activations that do not fit the tiny limits.
        linear(&mut random, [60, 2, 6, 203, 101], dtype, false, false);
        linear(&mut random, [60, 2, 6, 203, 101], dtype, false, true);
    }
}

#[test]
fn products_by_expert_of_every_packed_type() {
    let mut random = Random::new("products_by_expert_of_every_packed_type");
    for (dtype, block) in super::products::PACKED {
        for spread in [false, true] {
            linear(&mut random, [4, 2, 4, 2 * block, 13], dtype, false, spread);
        }
    }
    assert_eq!(super::products::PACKED.len() + 3, WeightFormat::ALL.len());
}

#[test]
fn what_experts_made_is_added_up() {
    let mut random = Random::new("what_experts_made_is_added_up");
    for (rows, used, width) in [(1, 1, 1), (7, 3, 65), (100, 8, 257)] {
        let y = random.tensor(&[rows * used, width]);
        let routes = routes(&mut random, rows, used, used + 1);
        let (ys, rs) = (wide(y.as_f32()), wide(routes.as_f32()));
        let mut expected = Vec::new();
        for row in 0..rows {
            for column in 0..width {
                let part = |place: usize| {
                    rs[row * 2 * used + used + place] * ys[(row * used + place) * width + column]
                };
                expected.push((0..used).map(part).sum::<f64>());
            }
        }
        let case = Case::new(
            Op::CombineExperts,
            vec![y, routes],
            Vec::new(),
            &[rows, width],
        );
        check(
            &format!("combine {rows}x{used}x{width}"),
            &case,
            &expected,
            1e-6,
        );
    }
}
