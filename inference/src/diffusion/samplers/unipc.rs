//! UniPC (Zhao et al. 2023, "UniPC: a unified predictor-corrector framework for fast sampling of diffusion models"), predicting
//! pictures, in the form of both programs that have it: `B(h) = h` of order 3 (ComfyUI) and `B(h) = exp(h) - 1` of order 2
//! (diffusers). Latents are `x0 + sigma * noise` in here.

/// Which of the two.
#[derive(Clone, Copy)]
pub(super) struct Variant {
    /// Highest order.
    pub order: usize,
    /// `B(h) = exp(h) - 1` rather than `h`.
    pub exponential: bool,
}

/// Noise levels and predictions that a step knows, the latest first.
pub(super) struct Known<'a> {
    /// Noise levels at which the predictions were made.
    pub levels: &'a [f32],
    /// Predicted pictures there.
    pub pictures: Vec<&'a [f32]>,
}

fn lambda(level: f32) -> f64 {
    -f64::from(level).ln()
}

/// `h phi`, the right-hand sides and the factor B of a step of `h` for orders 1 to `order`.
fn coefficients(h: f64, order: usize, variant: Variant) -> (f64, Vec<f64>, f64) {
    let hh = -h;
    let phi1 = hh.exp_m1();
    let b = if variant.exponential { phi1 } else { hh };
    let (mut phi, mut factorial) = (phi1 / hh - 1.0, 1.0);
    let mut sides = Vec::with_capacity(order);
    for i in 1..=order {
        sides.push(phi * factorial / b);
        factorial *= (i + 1) as f64;
        phi = phi / hh - 1.0 / factorial;
    }
    (phi1, sides, b)
}

/// Solves `sum_j ratios[j]^i x_j = sides[i]` by elimination with pivoting; the systems are of one to three unknowns.
fn solve(ratios: &[f64], sides: &[f64]) -> Vec<f64> {
    let n = ratios.len();
    let mut rows: Vec<Vec<f64>> = (0..n)
        .map(|i| {
            let powers = ratios.iter().map(|ratio| ratio.powi(i as i32));
            powers.chain(sides.get(i).copied()).collect()
        })
        .collect();
    for column in 0..n {
        // Rows and columns are of one small matrix that is made above.
        let pivot = (column..n)
            .max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()))
            .unwrap_or(column);
        rows.swap(column, pivot);
        let leading = rows[column].clone();
        for (place, row) in rows.iter_mut().enumerate() {
            let factor = row[column] / leading[column];
            if place != column {
                for (value, leading) in row.iter_mut().zip(&leading) {
                    *value -= leading * factor;
                }
            }
        }
    }
    (0..n).map(|i| rows[i][n] / rows[i][i]).collect()
}

/// The step from `known.levels[0]` to `to`, of an order that the history allows. `corrected` is the prediction at `to`, where
/// there is one: then this is the corrector, else the predictor.
pub(super) fn step(
    latents: &[f32],
    known: &Known<'_>,
    to: f32,
    corrected: Option<&[f32]>,
    order: usize,
    variant: Variant,
) -> Vec<f32> {
    let (Some(&from), Some(&latest)) = (known.levels.first(), known.pictures.first()) else {
        return latents.to_vec();
    };
    if to <= 0.0 {
        // The limit of order 1 in an infinite step: the predicted picture.
        return latest.to_vec();
    }
    let order = order.min(known.pictures.len()).max(1);
    let h = lambda(to) - lambda(from);
    let (phi1, sides, b) = coefficients(h, order, variant);
    let mut ratios: Vec<f64> = known
        .levels
        .iter()
        .take(order)
        .skip(1)
        .map(|level| (lambda(*level) - lambda(from)) / h)
        .collect();
    let ratio = (f64::from(to) / f64::from(from)) as f32;
    let base = |x: f32, picture: f32| ratio * x - phi1 as f32 * picture;
    let weights = if corrected.is_some() {
        ratios.push(1.0);
        if order == 1 {
            vec![0.5]
        } else {
            solve(&ratios, &sides)
        }
    } else {
        match order {
            1 => Vec::new(),
            2 => vec![0.5],
            _ => solve(&ratios, &sides),
        }
    };
    let mut next: Vec<f32> = latents
        .iter()
        .zip(latest)
        .map(|(x, picture)| base(*x, *picture))
        .collect();
    let others: Vec<&[f32]> = known
        .pictures
        .iter()
        .take(order)
        .skip(1)
        .copied()
        .chain(corrected)
        .collect();
    for ((weight, other), ratio) in weights.iter().zip(others).zip(&ratios) {
        let factor = (b * weight / ratio) as f32;
        for ((x, other), latest) in next.iter_mut().zip(other).zip(latest) {
            *x -= factor * (other - latest);
        }
    }
    next
}
