//! Random operands; seeds are fresh for each run and printed.

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use crate::formats::{StorageDtype, TensorData};
use crate::graph::HostTensor;

pub(super) struct Random(StdRng);

impl Random {
    /// A new seed, or the one of the environment's `DIPTYCH_TEST_SEED`.
    pub fn new(test: &str) -> Self {
        let given = std::env::var("DIPTYCH_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed: u64 = given.unwrap_or_else(|| rand::rng().random());
        println!("{test}: DIPTYCH_TEST_SEED={seed}");
        Self(StdRng::seed_from_u64(seed))
    }

    /// Between -1 and 1.
    pub fn value(&mut self) -> f32 {
        self.0.random_range(-1.0f32..1.0)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    pub fn values(&mut self, shape: &[usize]) -> Vec<f32> {
        (0..shape.iter().product()).map(|_| self.value()).collect()
    }

    pub fn tensor(&mut self, shape: &[usize]) -> HostTensor {
        let values = self.values(shape);
        HostTensor::f32(shape, values)
    }

    /// A weight of any storage type.
    pub fn weight(&mut self, name: &str, shape: &[usize], dtype: StorageDtype) -> TensorData {
        let elements: usize = shape.iter().product();
        let mut bytes = Vec::new();
        match dtype {
            StorageDtype::F32 => {
                bytes.extend(self.values(shape).iter().flat_map(|v| v.to_le_bytes()));
            }
            StorageDtype::F16 => {
                bytes.extend(
                    self.values(shape)
                        .iter()
                        .flat_map(|&v| half::f16::from_f32(v).to_le_bytes()),
                );
            }
            StorageDtype::Bf16 => {
                bytes.extend(
                    self.values(shape)
                        .iter()
                        .flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()),
                );
            }
            _ => {
                bytes.resize(dtype.bytes_for(elements).unwrap(), 0);
                self.0.fill_bytes(&mut bytes);
                // Any bits are a block, except for those of the scales, which must be finite.
                let scales = dtype.half_factors();
                assert!(!scales.is_empty(), "no weight type: {dtype}");
                for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
                    for &at in scales {
                        let scale = half::f16::from_f32(self.value() * 0.01);
                        block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
                    }
                }
            }
        }
        TensorData::new_owned(name, shape, dtype, bytes).unwrap()
    }
}
