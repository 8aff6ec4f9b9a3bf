use super::*;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor as CandleTensor};

/// `x [m, k] * w [n, k]^T + b`.
fn reference(x: &[f32], w: &[f32], b: Option<&[f32]>, [m, k, n]: [usize; 3]) -> Vec<f64> {
    let mut out = Vec::with_capacity(m * n);
    for row in x.chunks(k) {
        for (i, w) in w.chunks(k).enumerate() {
            let product: f64 = row
                .iter()
                .zip(w)
                .map(|(&x, &w)| f64::from(x) * f64::from(w))
                .sum();
            out.push(product + b.map_or(0.0, |b| f64::from(b[i])));
        }
    }
    out
}

/// A matrix quantised by candle, as the bytes of a GGUF file.
pub(in crate::cpu) fn quantised(
    values: &[f32],
    n: usize,
    k: usize,
    dtype: StorageDtype,
) -> TensorData {
    let ggml = match dtype {
        StorageDtype::Q8_0 => GgmlDType::Q8_0,
        StorageDtype::Q4_0 => GgmlDType::Q4_0,
        StorageDtype::Q4K => GgmlDType::Q4K,
        StorageDtype::Q6K => GgmlDType::Q6K,
        StorageDtype::Q4_1 => GgmlDType::Q4_1,
        StorageDtype::Q5_0 => GgmlDType::Q5_0,
        StorageDtype::Q5_1 => GgmlDType::Q5_1,
        StorageDtype::Q2K => GgmlDType::Q2K,
        StorageDtype::Q3K => GgmlDType::Q3K,
        StorageDtype::Q5K => GgmlDType::Q5K,
        // candle cannot make these: the bits of the values are blocks as good as any.
        StorageDtype::Iq4Nl | StorageDtype::Iq4Xs => {
            let length = dtype.bytes_for(n * k).unwrap();
            let bits = values.iter().flat_map(|v| v.to_bits().to_be_bytes());
            let mut bytes: Vec<u8> = bits.skip(1).step_by(2).take(length).collect();
            for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
                block[..2].copy_from_slice(&half::f16::from_f32(0.004).to_le_bytes());
            }
            return TensorData::new_owned("w", &[n, k], dtype, bytes).unwrap();
        }
        other => panic!("{other:?} is not quantised"),
    };
    let tensor = CandleTensor::from_slice(values, (n, k), &Device::Cpu).unwrap();
    let bytes = QTensor::quantize(&tensor, ggml)
        .unwrap()
        .data()
        .unwrap()
        .to_vec();
    TensorData::new_owned("w", &[n, k], dtype, bytes).unwrap()
}

pub(in crate::cpu) const QUANTISED: [StorageDtype; 12] = [
    StorageDtype::Q4_1,
    StorageDtype::Q5_0,
    StorageDtype::Q5_1,
    StorageDtype::Q2K,
    StorageDtype::Q3K,
    StorageDtype::Q5K,
    StorageDtype::Iq4Nl,
    StorageDtype::Iq4Xs,
    StorageDtype::Q8_0,
    StorageDtype::Q4_0,
    StorageDtype::Q4K,
    StorageDtype::Q6K,
];

#[test]
fn dense_weights_of_every_type_and_odd_shapes() {
    let mut random = Random::fresh("dense_weights_of_every_type_and_odd_shapes");
    let mut sizes = vec![
        [1, 1, 1],
        [1, 64, 1000],
        [257, 3, 17],
        [300, 129, 65],
        [2, 5000, 3],
    ];
    sizes.extend((0..6).map(|_| {
        [
            random.within(1, 700),
            random.within(1, 200),
            random.within(1, 300),
        ]
    }));
    for [m, k, n] in sizes {
        let x = random.floats(m * k);
        let plain = random_weight(&mut random, "w", &[n, k]);
        let bias = random_weight(&mut random, "b", &[n]);
        for w in [
            plain.clone(),
            half_weight(&plain, StorageDtype::F16),
            half_weight(&plain, StorageDtype::Bf16),
        ] {
            for bias in [None, Some(&bias)] {
                let values = bias.map(|bias| bias.to_f32().unwrap());
                let wanted = reference(&x, &w.to_f32().unwrap(), values.as_deref(), [m, k, n]);
                let built = graph(|g| g.linear(&g.input("x", &[m, k]).unwrap(), &w, bias).unwrap());
                let what = format!("{m}x{k} times {n} {}", w.dtype().name());
                check(
                    &what,
                    &built,
                    &[("x", HostTensor::f32([m, k], x.clone()))],
                    &wanted,
                    CLOSE,
                );
            }
        }
    }
}

#[test]
fn the_oracle_multiplies_dequantised_weights_and_fast_stays_close() {
    let mut random =
        Random::fresh("the_oracle_multiplies_dequantised_weights_and_fast_stays_close");
    for dtype in QUANTISED {
        for [m, k, n] in [
            [1, 256, 48],
            [1, 512, 33],
            [5, 256, 64],
            [70, 768, 130],
            [33, 256, 16],
            // Large enough to stay packed in fast mode.
            [1, 1024, 1040],
            [5, 1024, 1040],
            [20, 1024, 1040],
        ] {
            let x = random.floats(m * k);
            let w = quantised(&random.floats(n * k), n, k, dtype);
            let bias = random_weight(&mut random, "b", &[n]);
            let values = w.to_f32().unwrap();
            let wanted = narrow(&reference(
                &x,
                &values,
                Some(&bias.to_f32().unwrap()),
                [m, k, n],
            ));
            let built = graph(|g| {
                g.linear(&g.input("x", &[m, k]).unwrap(), &w, Some(&bias))
                    .unwrap()
            });
            let inputs = [("x", HostTensor::f32([m, k], x))];
            let oracle = worst_error(&run_in(CpuMode::Oracle, &built, &inputs), &wanted);
            assert!(oracle <= CLOSE, "{dtype:?} {m}x{k}x{n}: {oracle}");
            // Activations of 8 bits: half a 127th of a block's largest a product, averaged over k of random sign.
            let fast = worst_error(&run_in(CpuMode::Fast, &built, &inputs), &wanted);
            assert!(fast <= 1e-2, "{dtype:?} {m}x{k}x{n}: {fast}");
        }
    }
}

#[test]
fn rows_are_looked_up_in_tables_of_every_type() {
    let mut random = Random::fresh("rows_are_looked_up_in_tables_of_every_type");
    let (v, d) = (random.within(2, 60), 256);
    let values = random.floats(v * d);
    let plain = weight("table", &[v, d], &values);
    let mut tables = vec![
        half_weight(&plain, StorageDtype::F16),
        half_weight(&plain, StorageDtype::Bf16),
        plain,
    ];
    tables.extend(QUANTISED.map(|dtype| quantised(&values, v, d, dtype)));
    let ids: Vec<u32> = (0..77).map(|_| random.within(0, v - 1) as u32).collect();
    for table in tables {
        let all = table.to_f32().unwrap();
        let wanted: Vec<f64> = ids
            .iter()
            .flat_map(|&id| wide(&all[id as usize * d..][..d]))
            .collect();
        let built = graph(|g| {
            g.embedding(&g.input_u32("ids", &[7, 11]).unwrap(), &table)
                .unwrap()
        });
        check(
            table.dtype().name(),
            &built,
            &[("ids", HostTensor::u32([7, 11], ids.clone()))],
            &wanted,
            0.0,
        );
    }
}

#[test]
fn a_constant_is_a_value_and_can_be_a_result() {
    let mut random = Random::fresh("a_constant_is_a_value_and_can_be_a_result");
    let w = half_weight(&random_weight(&mut random, "w", &[3, 5]), StorageDtype::F16);
    let wanted = w.to_f32().unwrap();
    let builder = GraphBuilder::new("test");
    let x = builder.input("x", &[3, 5]).unwrap();
    let constant = builder.constant(&w).unwrap();
    let sum = builder.add(&x, &constant).unwrap();
    for (name, value) in [
        ("constant", &constant),
        ("x", &x),
        ("sum", &sum),
        ("again", &sum),
    ] {
        builder.output(name, value);
    }
    let given = random.floats(15);
    let inputs = [("x", HostTensor::f32([3, 5], given.clone()))];
    let results = run_once(
        &mut CpuExecutor::new(CpuMode::Fast),
        builder.finish(),
        &inputs,
    )
    .unwrap();
    assert_eq!(results[0].as_f32(), wanted);
    assert_eq!(results[1].as_f32(), given);
    let sums: Vec<f32> = given.iter().zip(&wanted).map(|(a, b)| a + b).collect();
    assert_eq!(results[2].as_f32(), sums);
    assert_eq!(results[3].as_f32(), sums);
}
