//! Noise identical to torch's CUDA generator, computed anywhere.
//!
//! Philox4x32-10 of Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3": the counter holds the number of the draw
//! and the place within it, the key is the seed; of the four words the first two make one normal number by Box and
//! Muller's transform, as curand does. This is the form that AUTOMATIC1111 calls `NV`; it holds for pictures of usual sizes,
//! where CUDA gives each value a thread of its own.

use serde::{Deserialize, Serialize};

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// torch's CUDA random number generator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhiloxRng {
    seed: u64,
    /// Draws so far.
    drawn: u32,
}

impl PhiloxRng {
    /// The generator after `manual_seed(seed)`; all 64 bits count.
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// `torch.randn(count, device="cuda")` in f32: unit variance, in memory order of whatever shape is meant.
    pub fn randn(&mut self, count: usize) -> Vec<f32> {
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        let drawn = self.drawn;
        self.drawn = self.drawn.wrapping_add(1);
        (0..count)
            .map(|place| {
                let [first, second, ..] = philox([drawn, 0, place as u32, 0], key);
                normal(first, second)
            })
            .collect()
    }
}

/// Ten rounds; the key is raised between them.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let left = u64::from(counter[0]) * u64::from(MULTIPLIERS[0]);
        let right = u64::from(counter[2]) * u64::from(MULTIPLIERS[1]);
        counter = [
            (right >> 32) as u32 ^ counter[1] ^ key[0],
            right as u32,
            (left >> 32) as u32 ^ counter[3] ^ key[1],
            left as u32,
        ];
    }
    counter
}

/// Box and Muller's transform with curand's constants; of the pair the sine is taken.
fn normal(first: u32, second: u32) -> f32 {
    const TO_UNIT: f32 = 2.328_306_4e-10;
    const TO_TURN: f32 = TO_UNIT * std::f32::consts::TAU;
    let unit = first as f32 * TO_UNIT + TO_UNIT / 2.0;
    let angle = second as f32 * TO_TURN + TO_TURN / 2.0;
    // In double precision and rounded once, so that every platform's library gives the same bits.
    let radius = (-2.0 * f64::from(unit).ln()).sqrt();
    (radius * f64::from(angle).sin()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of the Random123 library (kat_vectors, philox4x32 10).
    #[test]
    fn the_function_equals_its_authors_test_vectors() {
        assert_eq!(
            philox([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    /// What `torch.manual_seed(0); torch.randn(12, device="cuda")` prints.
    #[test]
    fn equals_torch_on_a_gpu() {
        let want = [
            -0.924_662_6,
            -0.425_344_15,
            -2.643_845_7,
            0.145_183_88,
            -0.120_866_47,
            -0.579_725_6,
            -0.622_851_2,
            -0.328_387_1,
            -1.074_542_3,
            -0.363_144_07,
            -1.671_050_7,
            2.265_505,
        ];
        for (got, want) in PhiloxRng::new(0).randn(12).iter().zip(want) {
            assert!((got - want).abs() < 2e-6, "{got} instead of {want}");
        }
    }

    #[test]
    fn draws_differ_and_a_stored_generator_goes_on() {
        let mut rng = PhiloxRng::new(7 << 40);
        let first = rng.randn(64);
        let mut stored: PhiloxRng =
            serde_json::from_str(&serde_json::to_string(&rng).unwrap()).unwrap();
        let second = rng.randn(64);
        assert_eq!(second, stored.randn(64));
        assert_ne!(first, second);
        assert_ne!(first, PhiloxRng::new(7 << 41).randn(64));
        assert_eq!(first[..9], PhiloxRng::new(7 << 40).randn(9));
    }
}
