//! Vectors on the device against the same arithmetic on the host.

use std::sync::Arc;

use super::tests::gpu;
use crate::cpu::testing::Random;
use crate::diffusion::{compose, rescale};
use crate::graph::{
    Answer, DeviceVectors, ExecError, Executor, Fed, GraphBuilder, HostTensor, NeverInterrupt,
    Piece, PlanId, Rescale, Run, Sums,
};

const ELEMENTS: usize = 1000;

/// Sums without an answer.
fn plain<'a>(reads: &'a [usize], writes: &'a [usize], factors: &'a [[f32; 3]]) -> Sums<'a> {
    Sums {
        reads,
        writes,
        factors,
        mask: None,
        answer: None,
    }
}

fn assert_close(what: &str, got: &[f32], wanted: &[f32]) {
    assert_eq!(got.len(), wanted.len());
    let scale = wanted.iter().fold(1e-3f32, |a, b| a.max(b.abs()));
    for (place, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let off = (got - wanted).abs() / scale;
        assert!(off < 1e-5, "{what} at {place}: {got} {wanted}");
    }
}

fn feed(
    device: &mut dyn DeviceVectors,
    plan: PlanId,
    inputs: &[(&str, HostTensor)],
    fed: &Fed<'_>,
) -> Result<(), ExecError> {
    let run = Run {
        inputs,
        states: &[],
        interrupt: &mut NeverInterrupt,
    };
    device.run_fed(plan, run, fed)
}

#[test]
fn sums_under_a_mask_are_those_of_the_host() {
    let mut random = Random::fresh("sums_under_a_mask_are_those_of_the_host");
    let mut gpu = gpu();
    let device: &mut dyn DeviceVectors = &mut *gpu;
    let set = device.create_vectors(8, ELEMENTS, 1).unwrap();
    let vectors: Vec<Vec<f32>> = (0..6).map(|_| random.floats(ELEMENTS)).collect();
    for (slot, values) in vectors.iter().enumerate() {
        device.write_vectors(set, slot * ELEMENTS, values).unwrap();
    }
    let factors: Vec<[f32; 3]> = (0..12)
        .map(|_| [0, 1, 2].map(|_| random.floats(1)[0]))
        .collect();
    // What is written is among what is read.
    let (reads, writes) = ([0, 1, 2, 3], [1, 6, 0]);
    let sums = Sums {
        mask: Some(5),
        ..plain(&reads, &writes, &factors)
    };
    device.sum(set, &sums).unwrap();
    // And once more from what came of it, in the same submit.
    device
        .sum(
            set,
            &plain(&[6, 0], &[7], &[[2.0, 9.0, 9.0], [-1.0, 0.0, 0.0]]),
        )
        .unwrap();
    device.look(set, &[1, 6, 0, 7, 4]).unwrap();
    let looked = device.looked(set).unwrap();
    assert_eq!(looked.fault, None);
    let mut wanted: Vec<Vec<f32>> = factors
        .chunks(4)
        .map(|row| {
            let at = |place: usize| {
                let mask = vectors[5][place];
                let parts = reads.iter().zip(row);
                let part = |(slot, [a, b, c]): (&usize, &[f32; 3])| {
                    (a + mask * (b + mask * c)) * vectors[*slot][place]
                };
                parts.map(part).sum::<f32>()
            };
            (0..ELEMENTS).map(at).collect()
        })
        .collect();
    let last = wanted[1].iter().zip(&wanted[2]).map(|(a, b)| 2.0 * a - b);
    wanted.push(last.collect());
    wanted.push(vectors[4].clone());
    for (place, (got, wanted)) in looked.vectors.iter().zip(&wanted).enumerate() {
        assert_close(&format!("vector {place}"), got, wanted);
    }
    assert_eq!(looked.vectors[4], vectors[4]);
    device.drop_vectors(set);
    assert!(device.look(set, &[0]).is_err());
}

#[test]
fn guidance_is_that_of_the_host_and_what_is_no_number_is_told() {
    let mut random = Random::fresh("guidance_is_that_of_the_host");
    let mut gpu = gpu();
    let device: &mut dyn DeviceVectors = &mut *gpu;
    let set = device.create_vectors(6, ELEMENTS, 2).unwrap();
    let mut rows: Vec<Vec<f32>> = (0..3).map(|_| random.floats(ELEMENTS)).collect();
    let before = random.floats(ELEMENTS);
    device.write_vectors(set, 0, &before).unwrap();
    for (row, values) in rows.iter().enumerate() {
        device
            .write_vectors(set, (2 + row) * ELEMENTS, values)
            .unwrap();
    }
    let (scale, own) = (5.5f32, [0.75f32, 1.5]);
    let parts: Vec<(&[f32], f32)> = vec![(&rows[1], own[0]), (&rows[2], own[1])];
    let (guided, mean) = compose(&rows[0], &parts, scale);
    let weights = [0.0, own[0] * scale, own[1] * scale];
    let means = [0.0, own[0] / 2.25, own[1] / 2.25];
    let factors = [[1.0, 0.0, 0.0], [-0.5, 0.0, 0.0]];
    for share in [0.0, 0.7] {
        let mut wanted = guided.clone();
        if share > 0.0 {
            rescale(&mut wanted, &mean, share);
        }
        for (wanted, before) in wanted.iter_mut().zip(&before) {
            *wanted = before - 0.5 * *wanted;
        }
        let rescale = (share > 0.0).then_some(Rescale {
            means: &means,
            share,
        });
        let sums = |number: u32| Sums {
            answer: Some(Answer {
                first: 2,
                weights: &weights,
                rescale,
                number,
            }),
            ..plain(&[0], &[1], &factors)
        };
        device.sum(set, &sums(3)).unwrap();
        device.look(set, &[1]).unwrap();
        let looked = device.looked(set).unwrap();
        assert_eq!(looked.fault, None);
        assert_close(&format!("share {share}"), &looked.vectors[0], &wanted);
    }
    // The first that was no number is told, not those that follow from it.
    let sums = |number: u32| Sums {
        answer: Some(Answer {
            first: 2,
            weights: &weights,
            rescale: None,
            number,
        }),
        ..plain(&[0], &[1], &factors)
    };
    rows[1][77] = f32::NAN;
    rows[1][78] = f32::INFINITY;
    device.write_vectors(set, 3 * ELEMENTS, &rows[1]).unwrap();
    device.sum(set, &sums(4)).unwrap();
    rows[1][5] = f32::NAN;
    device.write_vectors(set, 3 * ELEMENTS, &rows[1]).unwrap();
    device.sum(set, &sums(5)).unwrap();
    // Where nobody looks nothing is read.
    let read = Executor::host_time(&*gpu).unwrap().bytes_read;
    let device: &mut dyn DeviceVectors = &mut *gpu;
    device.look(set, &[]).unwrap();
    device.look(set, &[1]).unwrap();
    assert!(device.looked(set).unwrap().vectors.is_empty());
    let fault = device.looked(set).unwrap().fault;
    let (number, place, value) = fault.unwrap();
    assert_eq!((number, place), (4, 77));
    assert!(!value.is_finite());
    assert!(device.looked(set).is_err());
    device.drop_vectors(set);
    let after = Executor::host_time(&*gpu).unwrap().bytes_read;
    assert_eq!(after - read, 4 * ELEMENTS as u64);
}

#[test]
fn a_plan_is_fed_from_vectors_and_leaves_its_result_there() {
    let mut random = Random::fresh("a_plan_is_fed_from_vectors");
    let mut gpu = gpu();
    let g = GraphBuilder::new("fed");
    let (x, y) = (
        g.input("x", &[2, 30]).unwrap(),
        g.input("y", &[2, 30]).unwrap(),
    );
    let sum = g.add(&g.affine(&x, 2.0, 0.0).unwrap(), &y).unwrap();
    g.output("sum", &sum);
    let plan = gpu.prepare(Arc::new(g.finish())).unwrap();
    let y = HostTensor::f32([2, 30], random.floats(60));
    let inputs = [("y", y.clone())];
    let whole = [random.floats(20), random.floats(10)];
    let device: &mut dyn DeviceVectors = &mut *gpu;
    let set = device.create_vectors(5, 20, 3).unwrap();
    device.write_vectors(set, 0, &whole[0]).unwrap();
    device.write_vectors(set, 20, &whole[1]).unwrap();
    // Both rows are the first vector and half of the second.
    let piece = |from, to, len| Piece { from, to, len };
    let pieces = [
        piece(0, 0, 20),
        piece(20, 20, 10),
        piece(0, 30, 20),
        piece(20, 50, 10),
    ];
    let fed = Fed {
        set,
        input: "x",
        pieces: &pieces,
        into: 40,
    };
    feed(device, plan, &inputs, &fed).unwrap();
    device.look(set, &[2, 3, 4]).unwrap();
    let got = device.looked(set).unwrap().vectors.concat();
    let row = whole.concat();
    let wanted: Vec<f32> = (0..60)
        .map(|place| 2.0 * row[place % 30] + y.as_f32()[place])
        .collect();
    assert_close("fed", &got, &wanted);
    // A run from the host does not take for granted what it sent before the device changed it.
    let x = HostTensor::f32([2, 30], random.floats(60));
    let both = [("x", x.clone()), ("y", y.clone())];
    let plain: Vec<f32> = x
        .as_f32()
        .iter()
        .zip(y.as_f32())
        .map(|(x, y)| 2.0 * x + y)
        .collect();
    for fed_between in [false, true, false] {
        if fed_between {
            feed(&mut *gpu, plan, &inputs, &fed).unwrap();
        }
        let from_host = Run {
            inputs: &both,
            states: &[],
            interrupt: &mut NeverInterrupt,
        };
        let got = gpu.run(plan, from_host).unwrap();
        assert_close("from the host", got[0].as_f32(), &plain);
    }
    // Pieces that leave a part of the input out, and places that are not there.
    for (pieces, into) in [(&pieces[..3], 40), (&pieces[..], 60)] {
        let wrong = Fed {
            set,
            input: "x",
            pieces,
            into,
        };
        let refused = feed(&mut *gpu, plan, &inputs, &wrong);
        assert!(matches!(refused, Err(ExecError::Unknown { .. })));
    }
    gpu.drop_plan(plan);
    gpu.drop_vectors(set);
}
