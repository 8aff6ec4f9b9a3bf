//! The noise of stochastic samplers: a Brownian path over noise levels, so that the noise between two levels does not depend on
//! the steps taken between them.
//!
//! Equal to `torchsde.BrownianTree` (Kidger et al. 2021, "Efficient and accurate gradients for neural SDEs", section 4) as k-diffusion
//! uses it: the interval is halved again and again, each half gets a seed of its own from numpy's `SeedSequence`, and the
//! increments of the halves are a Brownian bridge over that of the whole.

use serde::{Deserialize, Serialize};

use super::source::NoiseSource;

/// Words of the pool in which torchsde mixes a node's seed.
const POOL: usize = 24;
/// Halvings after which times of six decimals are told apart whatever the interval: 2^53 beyond 10^6.
const DEEPEST: u32 = 80;

/// A Brownian path between two noise levels. Nothing but its description is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrownianPath {
    seed: u64,
    source: NoiseSource,
    start: f64,
    end: f64,
}

/// One node of the tree.
#[derive(Clone)]
struct Node {
    start: f64,
    end: f64,
    /// The path of turns that leads here, as torchsde numbers it.
    key: u64,
    depth: u32,
    increment: Vec<f32>,
}

impl BrownianPath {
    /// The path of a seed between the least and the greatest noise level of a schedule.
    pub fn new(seed: u64, source: NoiseSource, least: f32, greatest: f32) -> Self {
        Self {
            seed,
            source,
            start: rounded(f64::from(least)),
            end: rounded(f64::from(greatest)),
        }
    }

    /// `count` values of unit variance for the step between two noise levels, in either direction; zeros where they are equal.
    pub fn noise(&self, from: f32, to: f32, count: usize) -> Vec<f32> {
        let (low, high) = if from < to { (from, to) } else { (to, from) };
        let clamp = |level: f32| rounded(f64::from(level).clamp(self.start, self.end));
        let (start, end) = (clamp(low), clamp(high));
        let mut sum = vec![0.0f32; count];
        if end <= start {
            return sum;
        }
        let span = self.end - self.start;
        let mut increment = self.source.draw(u64::from(seed_of(self.seed, None)), count);
        let scale = span.sqrt() as f32;
        increment.iter_mut().for_each(|value| *value *= scale);
        let root = Node {
            start: self.start,
            end: self.end,
            key: 0,
            depth: 0,
            increment,
        };
        self.collect(root, start, end, &mut sum);
        // torchsde's sign for the direction of time, and k-diffusion's scaling to unit variance.
        let sign = if from < to { 1.0 } else { -1.0 };
        let width = (high - low).abs().sqrt();
        sum.iter_mut()
            .for_each(|value| *value = *value * sign / width);
        sum
    }

    /// Adds the increments of the fewest nodes that make up the interval.
    fn collect(&self, node: Node, start: f64, end: f64, sum: &mut [f32]) {
        if (start <= node.start && end >= node.end) || node.depth > DEEPEST {
            for (sum, value) in sum.iter_mut().zip(&node.increment) {
                *sum += value;
            }
            return;
        }
        let middle = rounded(0.5 * (node.end + node.start));
        let (left, right) = self.split(node, middle);
        if start < middle {
            self.collect(left, start, end.min(middle), sum);
        }
        if end > middle {
            self.collect(right, start.max(middle), end, sum);
        }
    }

    /// A node's halves.
    fn split(&self, node: Node, middle: f64) -> (Node, Node) {
        let seed = seed_of(self.seed, Some((node.key, node.depth)));
        let noise = self.source.draw(u64::from(seed), node.increment.len());
        let inverse = 1.0 / (node.end - node.start);
        let (before, after) = (middle - node.start, node.end - middle);
        let (share, inverse32) = (before as f32, inverse as f32);
        let deviation = (before * after * inverse).max(0.0).sqrt() as f32;
        let left: Vec<f32> = node
            .increment
            .iter()
            .zip(noise)
            .map(|(whole, noise)| share * whole * inverse32 + deviation * noise)
            .collect();
        let right = node
            .increment
            .iter()
            .zip(&left)
            .map(|(whole, left)| whole - left)
            .collect();
        let child = |start, end, turn, increment| Node {
            start,
            end,
            key: node.key.wrapping_mul(2).wrapping_add(turn),
            depth: node.depth + 1,
            increment,
        };
        (
            child(node.start, middle, 0, left),
            child(middle, node.end, 1, right),
        )
    }
}

/// Python's `round(value, 6)`: torchsde's tolerance of 1e-6.
fn rounded(value: f64) -> f64 {
    // Both ways between text and number are exact, which a multiplication would not be.
    format!("{value:.6}").parse().unwrap_or(value)
}

/// The first word of `numpy.random.SeedSequence(entropy, spawn_key=spawn, pool_size=24).generate_state(...)`.
fn seed_of(entropy: u64, spawn: Option<(u64, u32)>) -> u32 {
    let mut words = words_of(entropy);
    if let Some((key, depth)) = spawn {
        words.resize(POOL.max(words.len()), 0);
        words.extend(words_of(key));
        words.extend(words_of(u64::from(depth)));
    }
    let mut constant = 0x43b0_d7e5u32;
    let mut hash = |value: u32| {
        let value = value ^ constant;
        constant = constant.wrapping_mul(0x931e_8875);
        let value = value.wrapping_mul(constant);
        value ^ (value >> 16)
    };
    let mix = |x: u32, y: u32| {
        let mixed = 0xca01_f9ddu32
            .wrapping_mul(x)
            .wrapping_sub(0x4973_f715u32.wrapping_mul(y));
        mixed ^ (mixed >> 16)
    };
    let mut pool = [0u32; POOL];
    for (place, slot) in pool.iter_mut().enumerate() {
        *slot = hash(words.get(place).copied().unwrap_or(0));
    }
    for from in 0..POOL {
        for to in 0..POOL {
            if from != to {
                pool[to] = mix(pool[to], hash(pool[from]));
            }
        }
    }
    for word in words.iter().skip(POOL) {
        for slot in &mut pool {
            *slot = mix(*slot, hash(*word));
        }
    }
    // The state's first word alone is wanted.
    let start = 0x8b51_f9ddu32;
    let value = (pool[0] ^ start).wrapping_mul(start.wrapping_mul(0x58f3_8ded));
    value ^ (value >> 16)
}

/// A number's 32-bit words, the lowest first, at least one.
fn words_of(number: u64) -> Vec<u32> {
    let high = (number >> 32) as u32;
    let mut words = vec![number as u32];
    if high != 0 {
        words.push(high);
    }
    words
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    /// `numpy.random.SeedSequence` of numpy 2.4.
    #[test]
    fn seeds_equal_numpys() {
        assert_eq!(seed_of(0, None), SEEDS[0]);
        assert_eq!(seed_of(1234, None), SEEDS[1]);
        assert_eq!(seed_of(1234, Some((0, 0))), SEEDS[2]);
        assert_eq!(seed_of((1 << 40) + 5, Some((77, 8))), SEEDS[3]);
    }

    const SEEDS: [u32; 4] = [0xeff41bd6, 0xff1fb63d, 0x3212e8aa, 0x5924a90d];

    #[test]
    fn paths_equal_torchsdes() {
        let bytes = std::fs::read(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/reference/samplers/noise.safetensors"
        ))
        .unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut count = 0;
        for (name, view) in file.tensors() {
            let Some(rest) = name.strip_prefix("brownian:") else {
                continue;
            };
            let numbers: Vec<&str> = rest.split(',').collect();
            let [seed, least, greatest, from, to] = numbers[..] else {
                panic!("{name}");
            };
            let level = |text: &str| text.parse::<f32>().unwrap();
            let path = BrownianPath::new(
                seed.parse().unwrap(),
                NoiseSource::Cpu,
                level(least),
                level(greatest),
            );
            let want: Vec<f32> = view
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect();
            let got = path.noise(level(from), level(to), want.len());
            for (got, want) in got.iter().zip(&want) {
                assert!((got - want).abs() < 2e-5, "{name}: {got} instead of {want}");
            }
            count += 1;
        }
        assert!(count >= 10, "the fixture is too small: {count} paths");
    }

    #[test]
    fn the_whole_is_the_sum_of_its_parts_and_backwards_is_the_opposite() {
        let path = BrownianPath::new(5, NoiseSource::Philox, 0.03, 14.6);
        let part = |from: f32, to: f32| -> Vec<f32> {
            let width = (from - to).abs().sqrt();
            path.noise(from, to, 40).iter().map(|v| v * width).collect()
        };
        let (whole, first, second) = (part(0.5, 9.0), part(0.5, 3.3), part(3.3, 9.0));
        for ((whole, first), second) in whole.iter().zip(first).zip(second) {
            assert!((whole - first - second).abs() < 1e-5);
        }
        let back = path.noise(9.0, 0.5, 40);
        for (back, forth) in back.iter().zip(path.noise(0.5, 9.0, 40)) {
            assert!((back + forth).abs() < 1e-6);
        }
        assert!(path.noise(2.0, 2.0, 3).iter().all(|value| *value == 0.0));
        assert!(path.noise(99.0, 98.0, 3).iter().all(|value| *value == 0.0));
    }
}
