//! Random chains of element-wise ops.

use diptych_shaders::{Chain, Kernel};

use super::super::ChainLink;
use super::bench::Case;
use super::elementwise::{ACTIVATIONS, activate, unary};
use super::{Random, check, wide};
use crate::graph::{BinaryKind, HostTensor, Op, UnaryKind};

fn some_function(random: &mut Random) -> UnaryKind {
    let number = |random: &mut Random| random.value();
    match random.below(9) {
        5 => UnaryKind::Tanh,
        6 => UnaryKind::Affine {
            factor: number(random),
            offset: number(random),
        },
        7 => {
            let low = number(random);
            let high = low + number(random).abs();
            UnaryKind::Clamp { low, high }
        }
        8 => UnaryKind::LeakyRelu {
            slope: number(random),
        },
        which => ACTIVATIONS[which].into(),
    }
}

fn some_kind(random: &mut Random) -> BinaryKind {
    match random.below(2) {
        0 => BinaryKind::Add,
        _ => BinaryKind::Mul,
    }
}

/// A shape that is broadcast over another: some lengths are one, and some of the first are missing.
fn some_broadcast(random: &mut Random, over: &[usize]) -> Vec<usize> {
    let shape = over.iter().skip(random.below(over.len()));
    shape
        .map(|&len| if random.below(2) == 0 { 1 } else { len })
        .collect()
}

/// Each element of a value, seen over a shape that it is broadcast over.
fn seen(value: &HostTensor, over: &[usize]) -> Vec<f64> {
    let values = wide(value.as_f32());
    if values.len() == over.iter().product::<usize>() {
        return values;
    }
    let missing = over.len() - value.shape.len();
    (0..over.iter().product())
        .map(|mut at: usize| {
            let (mut place, mut stride) = (0, 1);
            for axis in (0..over.len()).rev() {
                let index = at % over[axis];
                at /= over[axis];
                let len = axis.checked_sub(missing).map_or(1, |own| value.shape[own]);
                if len > 1 {
                    place += index * stride;
                }
                stride *= len;
            }
            values[place]
        })
        .collect()
}

#[test]
fn random_chains() {
    let mut random = Random::new("random_chains");
    for round in 0..60 {
        let rank = 1 + random.below(4);
        let shape: Vec<usize> = (0..rank).map(|_| 1 + random.below(14)).collect();
        // Some beyond one band of the tiny limits.
        let shape = if round % 10 == 9 {
            vec![3, 71, 101]
        } else {
            shape
        };
        let x = random.tensor(&shape);
        let mut values = wide(x.as_f32());
        let mut operands = vec![x];
        let meet = |random: &mut Random, operands: &mut Vec<HostTensor>, alike: bool| {
            let own = match alike || random.below(2) == 0 {
                true => shape.clone(),
                false => some_broadcast(random, &shape),
            };
            operands.push(random.tensor(&own));
            seen(&operands[operands.len() - 1], &shape)
        };
        let met = |kind: BinaryKind, values: &mut Vec<f64>, others: &[f64]| {
            for (value, other) in values.iter_mut().zip(others) {
                *value = match kind {
                    BinaryKind::Add => *value + other,
                    BinaryKind::Mul => *value * other,
                };
            }
        };
        let (op, first) = match random.below(3) {
            0 => {
                let kind = some_function(&mut random);
                values
                    .iter_mut()
                    .for_each(|value| *value = unary(kind, *value));
                (Op::Unary(kind), 1)
            }
            1 => {
                let kind = some_kind(&mut random);
                let others = meet(&mut random, &mut operands, false);
                met(kind, &mut values, &others);
                (Op::Binary(kind), 1)
            }
            _ => {
                let activation = ACTIVATIONS[random.below(ACTIVATIONS.len())];
                values
                    .iter_mut()
                    .for_each(|value| *value = activate(activation, *value));
                let others = meet(&mut random, &mut operands, true);
                met(BinaryKind::Mul, &mut values, &others);
                (Op::Gated { activation }, 2)
            }
        };
        let mut links = super::super::Links::default();
        let count = 1 + random.below(Chain::STEPS - first);
        for _ in 0..count {
            let room = operands.len() <= Chain::VALUES;
            let operand = operands.len();
            let link = match random.below(4) {
                0 | 1 if room => {
                    let kind = some_kind(&mut random);
                    let others = meet(&mut random, &mut operands, false);
                    met(kind, &mut values, &others);
                    ChainLink::Meet { kind, operand }
                }
                2 if room => {
                    let activation = ACTIVATIONS[random.below(ACTIVATIONS.len())];
                    let others = meet(&mut random, &mut operands, true);
                    let gates: Vec<f64> = others
                        .iter()
                        .map(|&other| activate(activation, other))
                        .collect();
                    met(BinaryKind::Mul, &mut values, &gates);
                    ChainLink::Gate {
                        activation,
                        operand,
                    }
                }
                _ => {
                    let kind = some_function(&mut random);
                    values
                        .iter_mut()
                        .for_each(|value| *value = unary(kind, *value));
                    ChainLink::Apply(kind)
                }
            };
            assert!(links.push(link));
        }
        let mut case = Case::new(op, operands, Vec::new(), &shape);
        case.fusion.links = links;
        let name = format!("{:?} over {shape:?} with {links:?}", case.op);
        // Small results of larger numbers are measured against one.
        let largest = values
            .iter()
            .fold(0.0f64, |most, value| most.max(value.abs()));
        let tolerance = 4e-6 * (1.0 / largest.max(1e-30)).max(1.0);
        for outcome in check(&name, &case, &values, tolerance) {
            let chained = |kernel: &Kernel| matches!(kernel, Kernel::Chain { .. });
            assert!(outcome.kernels.iter().all(chained), "{name}");
        }
    }
}
