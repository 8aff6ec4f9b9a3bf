//! Noise identical to torch's CPU generator: `torch.Generator().manual_seed(seed)` and `torch.randn`.
//!
//! The generator is the 32-bit Mersenne Twister of Matsumoto and Nishimura (1998). Normal numbers are made in two
//! ways, by size, and both must be followed for seeds to give the same picture as in other programs:
//!
//! * **16 values and more**: the buffer is filled with 24-bit uniforms, then turned in place in blocks of 16 by the
//!   Box-Muller transform, value `j` of a block paired with value `j + 8`. If the size is no multiple of 16, the last 16
//!   values are drawn afresh, overlapping the block before.
//! * **fewer than 16 values**: one at a time in f64 from 53-bit uniforms; each transform gives two numbers and the second
//!   is kept for the next call, across calls and also across large draws in between.
//!
//! torch's builds for different processors differ in the last places of the large draws, since each has its own logarithm,
//! sine and cosine. Followed here, to the bit, is the one for processors with AVX2, which is nearly every PC.

use serde::{Deserialize, Serialize};

use super::error::DiffusionError;
use super::single;

const STATE: usize = 624;
const SHIFT: usize = 397;

/// torch's CPU random number generator. Its state is plain data: stored and restored, it goes on with the same numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredRng", into = "StoredRng")]
pub struct TorchCpuRng {
    state: Vec<u32>,
    /// Words of `state` already given out; `STATE` means that it must be turned over first.
    used: usize,
    /// Second number of the last scalar Box-Muller transform, as f64 bits.
    spare: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct StoredRng {
    state: Vec<u32>,
    used: usize,
    spare: Option<u64>,
}

impl From<TorchCpuRng> for StoredRng {
    fn from(rng: TorchCpuRng) -> Self {
        Self {
            state: rng.state,
            used: rng.used,
            spare: rng.spare,
        }
    }
}

impl TryFrom<StoredRng> for TorchCpuRng {
    type Error = DiffusionError;

    fn try_from(stored: StoredRng) -> Result<Self, DiffusionError> {
        if stored.state.len() != STATE || stored.used > STATE {
            return Err(DiffusionError::DamagedState(
                "the random generator's state has the wrong size",
            ));
        }
        Ok(Self {
            state: stored.state,
            used: stored.used,
            spare: stored.spare,
        })
    }
}

impl TorchCpuRng {
    /// The generator after `manual_seed(seed)`. torch seeds the twister with the low 32 bits only, so seeds that
    /// differ by a multiple of 2^32 give the same noise.
    pub fn new(seed: u64) -> Self {
        let mut word = (seed & 0xffff_ffff) as u32;
        let mut state = Vec::with_capacity(STATE);
        state.push(word);
        for index in 1..STATE as u32 {
            word = 1_812_433_253u32
                .wrapping_mul(word ^ (word >> 30))
                .wrapping_add(index);
            state.push(word);
        }
        Self {
            state,
            used: STATE,
            spare: None,
        }
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used >= STATE {
            self.turn_over();
        }
        let mut word = self.state[self.used];
        self.used += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn turn_over(&mut self) {
        for index in 0..STATE {
            let next = self.state[(index + 1) % STATE];
            let mixed = (self.state[index] & 0x8000_0000) | (next & 0x7fff_ffff);
            let twist = if next & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[index] = self.state[(index + SHIFT) % STATE] ^ (mixed >> 1) ^ twist;
        }
        self.used = 0;
    }

    /// Uniform in [0, 1) from the low 24 bits, as `torch.rand` in f32.
    fn uniform_f32(&mut self) -> f32 {
        (self.next_u32() & 0x00ff_ffff) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform in [0, 1) from the low 53 of 64 bits, the high word drawn first.
    fn uniform_f64(&mut self) -> f64 {
        let high = u64::from(self.next_u32());
        let low = u64::from(self.next_u32());
        (((high << 32) | low) & ((1 << 53) - 1)) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// `torch.randn(count, generator=self)` in f32: unit variance, in memory order of whatever shape is meant.
    pub fn randn(&mut self, count: usize) -> Vec<f32> {
        let mut values = vec![0.0; count];
        self.fill_randn(&mut values);
        values
    }

    /// Fills `values` as [`Self::randn`] would.
    pub fn fill_randn(&mut self, values: &mut [f32]) {
        if values.len() < 16 {
            for value in values {
                *value = self.scalar_normal() as f32;
            }
            return;
        }
        for value in values.iter_mut() {
            *value = self.uniform_f32();
        }
        let mut blocks = values.chunks_exact_mut(16);
        for block in &mut blocks {
            box_muller_16(block);
        }
        if !blocks.into_remainder().is_empty() {
            let start = values.len() - 16;
            let tail = &mut values[start..];
            for value in tail.iter_mut() {
                *value = self.uniform_f32();
            }
            box_muller_16(tail);
        }
    }

    fn scalar_normal(&mut self) -> f64 {
        if let Some(bits) = self.spare.take() {
            return f64::from_bits(bits);
        }
        let turn = self.uniform_f64();
        let length = self.uniform_f64();
        let radius = (-2.0 * (-length).ln_1p()).sqrt();
        let angle = std::f64::consts::TAU * turn;
        self.spare = Some((radius * angle.sin()).to_bits());
        radius * angle.cos()
    }
}

/// Turns 16 uniforms into 16 normals in place.
fn box_muller_16(block: &mut [f32]) {
    let (first, second) = block.split_at_mut(8);
    for (first, second) in first.iter_mut().zip(second) {
        let radius = (-2.0 * single::ln(1.0 - *first)).sqrt();
        let (sine, cosine) = single::sin_cos(std::f32::consts::TAU * *second);
        *first = radius * cosine;
        *second = radius * sine;
    }
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    fn fixture() -> Vec<u8> {
        std::fs::read(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/reference/samplers/noise.safetensors"
        ))
        .unwrap()
    }

    #[test]
    fn equals_torch_to_the_bit_for_seeds_sizes_and_consecutive_draws() {
        let bytes = fixture();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut count = 0;
        for (name, view) in file.tensors() {
            let (seed, sizes) = name.split_once(':').unwrap();
            if seed == "brownian" {
                continue; // paths have a test of their own
            }
            let mut rng = TorchCpuRng::new(seed.parse().unwrap());
            let got: Vec<f32> = sizes
                .split(',')
                .flat_map(|size| rng.randn(size.parse().unwrap()))
                .collect();
            let want: Vec<f32> = view
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect();
            assert_eq!(got.len(), want.len(), "{name}");
            for (index, (got, want)) in got.iter().zip(&want).enumerate() {
                assert_eq!(
                    got.to_bits(),
                    want.to_bits(),
                    "{name} at {index}: {got} instead of {want}"
                );
            }
            count += got.len();
        }
        assert!(count > 5000, "the fixture is too small: {count} values");
    }

    #[test]
    fn only_the_low_half_of_the_seed_counts() {
        assert_eq!(TorchCpuRng::new(42), TorchCpuRng::new(42 + (7 << 32)));
        assert_ne!(TorchCpuRng::new(42), TorchCpuRng::new(43));
    }

    #[test]
    fn a_stored_generator_goes_on_with_the_same_numbers() {
        let mut rng = TorchCpuRng::new(5);
        rng.randn(3); // leaves a spare number behind
        rng.randn(37);
        let text = serde_json::to_string(&rng).unwrap();
        let mut restored: TorchCpuRng = serde_json::from_str(&text).unwrap();
        assert_eq!(restored.randn(1), rng.randn(1));
        assert_eq!(restored.randn(700), rng.randn(700));
    }

    #[test]
    fn a_damaged_state_is_refused() {
        let text = serde_json::to_string(&TorchCpuRng::new(5)).unwrap();
        assert!(
            serde_json::from_str::<TorchCpuRng>(&text.replace("\"used\":624", "\"used\":625"))
                .is_err()
        );
        assert!(
            serde_json::from_str::<TorchCpuRng>("{\"state\":[1,2],\"used\":0,\"spare\":null}")
                .is_err()
        );
    }
}
