//! How many dispatches a submit takes: about ten milliseconds of work, so that windows stay smooth and no watchdog fires.
//!
//! A plan repeats the same dispatches, so what they take can be learnt: the device stamps the beginning and the end of a submit where it can, and the
//! time in between is shared out among its dispatches by what was believed of them before. Submits are cut elsewhere as the beliefs change, and so
//! each dispatch is soon known by itself. Where there are no stamps, and before the first run, a dispatch's estimated cost and the rate at which
//! submits come back on the host's clock have to do.

use std::ops::Range;

/// Milliseconds of work that a submit should take: short enough for a smooth window, far below any watchdog.
pub const SUBMIT_MS: f64 = 10.0;
/// Dispatches in a submit at most.
pub const SUBMIT_DISPATCHES: usize = 128;
/// Runs of a plan that are measured before it is taken to be known; then only one of so many is.
const LEARNING: u32 = 4;
const CHECK_EVERY: u32 = 32;
/// Share of a new measurement in what is believed.
const NEW: f64 = 0.6;

/// What is known of how long the dispatches of a plan take.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pace {
    /// Milliseconds of each dispatch; 0 where nothing was measured.
    learnt: Vec<f32>,
    runs: u32,
}

impl Pace {
    /// Whether the coming run should be measured; to be asked once for each run.
    pub fn begin(&mut self) -> bool {
        let measured = self.next_is_measured();
        self.runs = self.runs.saturating_add(1);
        measured
    }

    /// Whether [`Pace::begin`] would say that the coming run should be measured.
    pub fn next_is_measured(&self) -> bool {
        let next = self.runs.saturating_add(1);
        next <= LEARNING || next.is_multiple_of(CHECK_EVERY)
    }

    /// Whether the plan was run more than once, and so is likely to be run again.
    pub fn is_repeated(&self) -> bool {
        self.runs > 1
    }

    fn expected(&self, index: usize, cost: u64, rate: f64) -> f64 {
        match self.learnt.get(index) {
            Some(&millis) if millis > 0.0 => f64::from(millis),
            _ => cost as f64 / rate.max(1.0),
        }
    }

    /// How many of the dispatches from `first` on the next submit takes; `costs` are theirs, and `rate` is cost in a millisecond. At least one.
    pub fn take(&self, first: usize, costs: impl Iterator<Item = u64>, rate: f64) -> usize {
        let (mut count, mut millis) = (0, 0.0);
        for (place, cost) in costs.take(SUBMIT_DISPATCHES).enumerate() {
            millis += self.expected(first + place, cost, rate);
            if count > 0 && millis > SUBMIT_MS {
                break;
            }
            count += 1;
        }
        count.max(1)
    }

    /// Takes in that the dispatches of `range` took so many milliseconds together, by the device's own clock.
    pub fn learn(
        &mut self,
        range: Range<usize>,
        costs: impl Iterator<Item = u64> + Clone,
        rate: f64,
        millis: f64,
    ) {
        if !millis.is_finite() || millis <= 0.0 {
            return;
        }
        let dispatches = range.clone().zip(costs);
        let sum: f64 = dispatches
            .clone()
            .map(|(index, cost)| self.expected(index, cost, rate))
            .sum();
        if self.learnt.len() < range.end {
            self.learnt.resize(range.end, 0.0);
        }
        for (index, cost) in dispatches {
            let was = self.expected(index, cost, rate);
            let share = was * millis / sum.max(f64::MIN_POSITIVE);
            if let Some(known) = self.learnt.get_mut(index) {
                let first = *known <= 0.0;
                let believed = if first {
                    share
                } else {
                    was + (share - was) * NEW
                };
                *known = (believed as f32).max(1e-6);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device with a clock of its own: what each dispatch costs by estimate, and what it takes.
    struct Device {
        costs: Vec<u64>,
        millis: Vec<f64>,
    }

    impl Device {
        /// Runs all dispatches once; gives the time and the dispatches of each submit.
        fn run(&self, pace: &mut Pace, rate: f64) -> Vec<(f64, usize)> {
            let measured = pace.begin();
            let mut submits = Vec::new();
            let mut first = 0;
            while first < self.costs.len() {
                let costs = || self.costs[first..].iter().copied();
                let end = first + pace.take(first, costs(), rate);
                let millis: f64 = self.millis[first..end].iter().sum();
                if measured {
                    pace.learn(first..end, costs(), rate, millis);
                }
                submits.push((millis, end - first));
                first = end;
            }
            submits
        }
    }

    /// Six hundred dispatches in layers: estimates are wrong by up to thirty times, each kind in its own way.
    fn uneven() -> Device {
        let kinds = [
            (1_000_000u64, 0.02),
            (40_000_000, 2.0),
            (9_000_000, 0.01),
            (3_000_000, 0.9),
        ];
        let all = (0..600).map(|index| kinds[index * 7 % 4]);
        let (costs, millis) = all.unzip();
        Device { costs, millis }
    }

    #[test]
    fn submits_come_to_take_what_they_should() {
        let device = uneven();
        // From a rate that is far too high to one that is far too low.
        for rate in [1e5, 5e7, 1e10] {
            let mut pace = Pace::default();
            for _ in 0..LEARNING {
                device.run(&mut pace, rate);
            }
            let submits = device.run(&mut pace, rate);
            let longest = submits
                .iter()
                .map(|(millis, _)| *millis)
                .fold(0.0, f64::max);
            assert!(longest <= 1.3 * SUBMIT_MS, "{rate:e}: {longest} ms");
            let total: f64 = device.millis.iter().sum();
            let fewest = (total / SUBMIT_MS).ceil() as usize;
            assert!(
                submits.len() <= 2 * fewest,
                "{rate:e}: {} submits",
                submits.len()
            );
        }
    }

    #[test]
    fn a_long_dispatch_stands_alone_and_many_short_ones_are_bounded() {
        let device = Device {
            costs: vec![1_000_000; 300],
            millis: (0..300)
                .map(|i| if i == 150 { 80.0 } else { 0.001 })
                .collect(),
        };
        let mut pace = Pace::default();
        for _ in 0..12 {
            pace.runs = 0; // as long as it learns
            device.run(&mut pace, 5e7);
        }
        pace.runs = 0;
        let submits = device.run(&mut pace, 5e7);
        assert!(submits.iter().all(|(_, count)| *count <= SUBMIT_DISPATCHES));
        let long = submits.iter().find(|(millis, _)| *millis >= 80.0).unwrap();
        assert!(long.1 <= 30, "{submits:?}");
    }

    #[test]
    fn what_is_known_is_measured_rarely() {
        let mut pace = Pace::default();
        let measured = (0..320).filter(|_| pace.begin()).count();
        assert_eq!(measured, LEARNING as usize + 10);
        // A clock that stands still or runs backwards says nothing.
        let mut other = pace.clone();
        other.learn(0..3, [1, 2, 3].into_iter(), 1e6, 0.0);
        other.learn(0..3, [1, 2, 3].into_iter(), 1e6, f64::NAN);
        assert_eq!(pace, other);
    }
}
