//! Softening by a Gaussian bell: weight by weight where it is narrow, as other programs do it, and by three boxes where it is wide.

use rayon::prelude::*;

use super::Raster;

/// Pixels to either side up to which every weight is counted: a bell of 25 pixels. Beyond it the time would grow with the width: minutes for a large mask.
const EXACT_REACH: usize = 64;

/// How far from a value that is not 0 its blur is not 0.
pub(super) fn support(sigma: f32) -> usize {
    match (bell(sigma), reach(sigma)) {
        (Some(bell), reach) if reach > EXACT_REACH => {
            3 * (Extended::with_spread_of(&bell).half + 1)
        }
        (Some(_), reach) => reach,
        (None, _) => 0,
    }
}

/// How many pixels to either side a bell goes.
fn reach(sigma: f32) -> usize {
    (2.5 * sigma + 0.5) as usize
}

/// The weights of a bell, which do not add up to 1; none where it is a single one.
fn bell(sigma: f32) -> Option<Vec<f32>> {
    let side = reach(sigma) as isize;
    (sigma > 0.0 && side > 0).then(|| {
        let places = -side..=side;
        places
            .map(|place| (-0.5 * (place as f32 / sigma).powi(2)).exp())
            .collect()
    })
}

impl Raster {
    /// Blurred by a Gaussian bell of `sigma` pixels, cut off at 2.5 of them as AUTOMATIC1111 cuts it; edges are repeated. A wide bell is
    /// made of three boxes with the same spread (Gwosdek et al. 2011, "Theoretical foundations of Gaussian convolution by extended box filtering"), which differ
    /// from it by less than a hundredth.
    pub fn blurred(&self, sigma: f32) -> Self {
        let Some(bell) = bell(sigma) else {
            return self.clone();
        };
        let along = |row: &[f32]| match bell.len() / 2 <= EXACT_REACH {
            true => weighted(row, &bell),
            false => boxed(row, &Extended::with_spread_of(&bell)),
        };
        let mut values = Vec::with_capacity(self.values.len());
        for plane in self.planes() {
            // One after the other, so that no more than two of them are there at once.
            let mut done = lines(plane, self.width, &along);
            done = turned(&done, self.width);
            done = lines(&done, self.height, &along);
            turn(&done, self.height, &mut values);
        }
        Self {
            width: self.width,
            height: self.height,
            values,
        }
    }
}

/// Each line of `length` values by itself, all cores at once.
fn lines(values: &[f32], length: usize, along: &(dyn Fn(&[f32]) -> Vec<f32> + Sync)) -> Vec<f32> {
    let mut done = vec![0.0; values.len()];
    let pairs = (done.par_chunks_mut(length.max(1))).zip(values.par_chunks(length.max(1)));
    pairs.for_each(|(to, from)| to.copy_from_slice(&along(from)));
    done
}

/// Rows of `width` values as columns.
fn turned(values: &[f32], width: usize) -> Vec<f32> {
    let mut result = Vec::with_capacity(values.len());
    turn(values, width, &mut result);
    result
}

/// Adds rows of `width` values to `to` as columns.
fn turn(values: &[f32], width: usize, to: &mut Vec<f32>) {
    for x in 0..width {
        to.extend(values.iter().skip(x).step_by(width.max(1)));
    }
}

/// With `reach` values more at either end, those at the ends.
fn padded(row: &[f32], reach: usize) -> Vec<f32> {
    let end = |value: Option<&f32>| vec![value.copied().unwrap_or(0.0); reach];
    [end(row.first()), row.to_vec(), end(row.last())].concat()
}

fn weighted(row: &[f32], bell: &[f32]) -> Vec<f32> {
    let sum: f32 = bell.iter().sum();
    padded(row, bell.len() / 2)
        .windows(bell.len())
        .map(|window| bell.iter().zip(window).map(|(w, v)| w * v).sum::<f32>() / sum)
        .collect()
}

/// A box of `2 * half + 1` whole values and a part of one more at either end.
struct Extended {
    half: usize,
    part: f64,
}

impl Extended {
    /// The box that three times in a row spreads as weights do.
    fn with_spread_of(bell: &[f32]) -> Self {
        let middle = (bell.len() / 2) as f64;
        let weights = bell.iter().map(|weight| f64::from(*weight));
        let sum: f64 = weights.clone().sum();
        let squares = weights.enumerate();
        let spread = squares.map(|(place, w)| w * (place as f64 - middle).powi(2));
        let spread = spread.sum::<f64>() / sum / 3.0;
        // A box of whole values spreads by half * (half + 1) / 3.
        let half = (((1.0 + 12.0 * spread).sqrt() - 1.0) / 2.0).floor();
        let whole = half * (half + 1.0) * (2.0 * half + 1.0) / 3.0;
        let part = (spread * (2.0 * half + 1.0) - whole) / (2.0 * ((half + 1.0).powi(2) - spread));
        Self {
            half: half as usize,
            part: part.clamp(0.0, 1.0),
        }
    }
}

/// Three boxes in a row; the time does not depend on their width.
fn boxed(row: &[f32], shape: &Extended) -> Vec<f32> {
    let reach = shape.half + 1;
    let mut values: Vec<f64> = padded(row, 3 * reach).into_iter().map(f64::from).collect();
    let count = (2 * shape.half + 1) as f64 + 2.0 * shape.part;
    for _ in 0..3 {
        let mut sums = Vec::with_capacity(values.len() + 1);
        let mut sum = 0.0;
        sums.push(sum);
        for value in &values {
            sum += value;
            sums.push(sum);
        }
        // From the first of a window's 2 * reach + 1 values on.
        let windows = values
            .windows(2 * reach + 1)
            .zip(sums.windows(2 * reach + 1));
        values = windows
            .map(|(values, sums)| {
                // Without the first and the last, which count in part.
                let ends = values
                    .first()
                    .zip(values.last())
                    .map_or(0.0, |(a, b)| a + b);
                let whole = sums
                    .last()
                    .zip(sums.get(1))
                    .map_or(0.0, |(to, from)| to - from);
                (whole + shape.part * ends) / count
            })
            .collect();
    }
    values.into_iter().map(|value| value as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A square with a hole, on a ground that is not black.
    fn mask(side: usize) -> Raster {
        let inside = |x: usize, y: usize| {
            let within = |place: usize| (side / 4..side / 2).contains(&place);
            let hole = (x / 7 + y / 5).is_multiple_of(3);
            if within(x) && within(y) && !hole {
                1.0
            } else {
                0.1
            }
        };
        Raster {
            width: side,
            height: side,
            values: (0..side * side)
                .map(|i| inside(i % side, i / side))
                .collect(),
        }
    }

    #[test]
    fn a_narrow_bell_counts_every_weight() {
        let mask = mask(40);
        let sigma = 3.0f32;
        let reach = 8isize;
        let soft = mask.blurred(sigma);
        let weight = |d: isize| f64::from((-0.5 * (d as f32 / sigma).powi(2)).exp());
        let sum: f64 = (-reach..=reach).map(weight).sum();
        let at = |x: isize, y: isize| {
            let (x, y) = (x.clamp(0, 39) as usize, y.clamp(0, 39) as usize);
            f64::from(mask.values[y * 40 + x])
        };
        for (x, y) in [(0, 0), (39, 3), (10, 10), (17, 12), (20, 39)] {
            let around = |dy: isize| -> f64 {
                let row = (-reach..=reach).map(|dx| weight(dx) * at(x + dx, y + dy));
                row.sum::<f64>() * weight(dy)
            };
            let wanted = (-reach..=reach).map(around).sum::<f64>() / sum / sum;
            let got = f64::from(soft.values[(y * 40 + x) as usize]);
            assert!((got - wanted).abs() < 1e-5, "{x} {y}: {got}, {wanted}");
        }
    }

    #[test]
    fn a_wide_bell_is_nearly_the_same_and_takes_no_longer() {
        let soft = mask(400);
        let sigma = 40.0f32;
        let side = 100isize;
        let bell: Vec<f32> = (-side..=side)
            .map(|place| (-0.5 * (place as f32 / sigma).powi(2)).exp())
            .collect();
        let rows = lines(&soft.values, 400, &|row| weighted(row, &bell));
        let columns = lines(&turned(&rows, 400), 400, &|row| weighted(row, &bell));
        let exact = turned(&columns, 400);
        let worst = (soft.blurred(sigma).values.iter().zip(&exact))
            .fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
        assert!(worst < 0.01, "{worst}");
        // Weight by weight that would be 5001 for each of four million pixels, twice: a minute and more.
        let begun = std::time::Instant::now();
        let large = mask(2048).blurred(1000.0);
        assert!(begun.elapsed().as_secs() < 15, "{:?}", begun.elapsed());
        assert_eq!(large.values.len(), 2048 * 2048);
        assert!(large.values.iter().all(|v| (0.0999..=0.5).contains(v)));
        // As wide as can be on as little as can be.
        let dot = Raster {
            width: 1,
            height: 1,
            values: vec![0.5],
        };
        assert!((dot.blurred(1000.0).values[0] - 0.5).abs() < 1e-6);
    }
}
