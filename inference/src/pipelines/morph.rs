//! Ways between two pictures: their first noise mixed along the arc between them (Shoemake 1985, "Animating rotation with quaternion
//! curves"), which keeps its spread, unlike a straight mixture.

/// What lies between two noises, `amount` 0 being the first and 1 the second; exactly these at the ends.
pub(crate) fn arc(first: &[f32], second: &[f32], amount: f32) -> Vec<f32> {
    if amount <= 0.0 || first.len() != second.len() {
        return first.to_vec();
    }
    if amount >= 1.0 {
        return second.to_vec();
    }
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    let lengths = (dot(first, first) * dot(second, second)).sqrt();
    let cosine = if lengths > 0.0 {
        (dot(first, second) / lengths).clamp(-1.0, 1.0)
    } else {
        1.0
    };
    let (angle, amount) = (cosine.acos(), f64::from(amount));
    let (of_first, of_second) = if angle.sin() < 1e-6 {
        (1.0 - amount, amount)
    } else {
        (
            ((1.0 - amount) * angle).sin() / angle.sin(),
            (amount * angle).sin() / angle.sin(),
        )
    };
    let mix = |(a, b): (&f32, &f32)| (of_first * f64::from(*a) + of_second * f64::from(*b)) as f32;
    first.iter().zip(second).map(mix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::NoiseSource;

    #[test]
    fn the_way_keeps_the_spread_and_ends_where_it_should() {
        let (a, b) = (
            NoiseSource::Cpu.draw(1, 4096),
            NoiseSource::Cpu.draw(2, 4096),
        );
        assert_eq!(arc(&a, &b, 0.0), a);
        assert_eq!(arc(&a, &b, 1.0), b);
        let spread = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>() / v.len() as f32;
        for step in 1..10 {
            let amount = step as f32 / 10.0;
            let between = arc(&a, &b, amount);
            assert!((spread(&between) - 1.0).abs() < 0.06, "{amount}");
            let back = arc(&b, &a, 1.0 - amount);
            for (x, y) in between.iter().zip(back) {
                assert!((x - y).abs() < 1e-5);
            }
        }
        // A straight mixture would have half of it in the middle.
        assert_eq!(arc(&a, &a, 0.5).len(), a.len());
        assert!((spread(&arc(&a, &a, 0.5)) - spread(&a)).abs() < 1e-4);
        assert_eq!(arc(&[0.0], &[1.0], 0.5), [0.5]);
    }
}
