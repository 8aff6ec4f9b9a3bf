//! Quantiles of the beta distribution, for the beta schedule (Lee et al. 2024, "Beta sampling is all you need").

/// The place below which a share `p` of the symmetric beta distribution with both parameters `shape` lies; `scipy.stats.beta.ppf`.
///
/// Bisection of the regularised incomplete beta function to the last bit: a schedule has few steps, and nothing converges more surely.
pub(super) fn quantile(p: f64, shape: f64) -> f64 {
    if p <= 0.0 {
        return 0.0;
    }
    if p >= 1.0 {
        return 1.0;
    }
    // The distribution is symmetric; near 1 the complement keeps its digits.
    if p > 0.5 {
        return 1.0 - quantile(1.0 - p, shape);
    }
    let norm = (2.0 * ln_gamma(shape) - ln_gamma(2.0 * shape)).exp();
    let (mut low, mut high) = (0.0f64, 0.5f64);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if share_below(middle, shape, norm) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// The regularised incomplete beta function for `x` up to a half, by the power series of Abramowitz and Stegun 26.5.4, whose
/// terms fall at least by half each.
fn share_below(x: f64, shape: f64, norm: f64) -> f64 {
    // x^a / a * sum of (1 - b)_n x^n a / (n! (a + n)).
    let (mut term, mut sum) = (1.0, 1.0 / shape);
    for n in 1..2000 {
        let n = f64::from(n);
        term *= (n - shape) / n * x;
        let add = term / (shape + n);
        sum += add;
        if add.abs() < sum.abs() * 1e-17 {
            break;
        }
    }
    x.powf(shape) * sum / norm
}

/// Lanczos' approximation of the logarithm of the gamma function (g 7, 9 terms), for positive numbers.
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let base = x + 7.5;
    let series = TERMS
        .iter()
        .enumerate()
        .fold(0.999_999_999_999_809_9, |sum, (n, term)| {
            sum + term / (x + n as f64 + 1.0)
        });
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * base.ln() - base + series.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy 1.17.1: `scipy.stats.beta.ppf(p, 0.6, 0.6)`.
    #[test]
    fn equals_scipy() {
        let cases = [
            (1e-06, 1.8558824624053043e-10),
            (0.01, 0.0008612388215429059),
            (0.05, 0.012554456873611399),
            (0.2, 0.12292175045833292),
            (0.3333333333333333, 0.2754132907776234),
            (0.5, 0.5000000000000001),
            (0.7, 0.7659829961247643),
            (0.95, 0.9874455431263885),
            (0.999, 0.9999814412614826),
        ];
        for (p, want) in cases {
            let got = quantile(p, 0.6);
            assert!((got - want).abs() < 1e-12, "{p}: {got} instead of {want}");
        }
        assert_eq!((quantile(0.0, 0.6), quantile(1.0, 0.6)), (0.0, 1.0));
    }
}
