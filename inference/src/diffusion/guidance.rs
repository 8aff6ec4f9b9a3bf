//! Classifier-free guidance (Ho and Salimans 2022).

/// `uncond + scale * (cond - uncond)`, value by value, on the model's raw predictions; the result has the length of the
/// shorter input. At `scale` 1 this is `cond`: callers then run the network once and do not call this.
///
/// A1111 and ComfyUI combine the denoised pictures instead. At one noise level the picture is a linear function of the
/// prediction (epsilon or v) and of the latents, whose weights sum to one in this formula, so both give the same up to
/// rounding.
pub fn guide(uncond: &[f32], cond: &[f32], scale: f32) -> Vec<f32> {
    uncond
        .iter()
        .zip(cond)
        .map(|(uncond, cond)| uncond + scale * (cond - uncond))
        .collect()
}

/// `uncond + scale * sum(weight * (cond - uncond))`: several prompts at once, each counting by its weight (Liu et al. 2022, "Compositional
/// visual generation with composable diffusion models", equation 11; AUTOMATIC1111's `AND`). Beside it the mean of the prompts'
/// predictions by weight, for [`rescale`].
pub fn compose(uncond: &[f32], conds: &[(&[f32], f32)], scale: f32) -> (Vec<f32>, Vec<f32>) {
    let mut guided = uncond.to_vec();
    let mut mean = vec![0.0; uncond.len()];
    let all: f32 = conds.iter().map(|(_, weight)| weight).sum();
    for (cond, weight) in conds {
        for (place, (cond, uncond)) in cond.iter().zip(uncond).enumerate() {
            if let (Some(guided), Some(mean)) = (guided.get_mut(place), mean.get_mut(place)) {
                *guided += (cond - uncond) * (weight * scale);
                *mean += cond * weight / all;
            }
        }
    }
    (guided, mean)
}

/// Brings a guided prediction back to the spread of the one for the prompt alone, and mixes it with the unchanged one by `share`
/// (0 changes nothing, 1 is the whole correction).
///
/// Lin et al. (2023), "Common diffusion noise schedules and sample steps are flawed", section 3.4; diffusers'
/// `rescale_noise_cfg`. One picture at a time.
pub fn rescale(guided: &mut [f32], cond: &[f32], share: f32) {
    let deviation = |values: &[f32]| {
        let count = values.len().max(1) as f64;
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
        let squares = values
            .iter()
            .map(|value| (f64::from(*value) - mean).powi(2));
        (squares.sum::<f64>() / count).sqrt()
    };
    let ratio = deviation(cond) / deviation(guided);
    if !ratio.is_finite() {
        return;
    }
    let share = f64::from(share);
    let factor = (share * ratio + (1.0 - share)) as f32;
    guided.iter_mut().for_each(|value| *value *= factor);
}

#[cfg(test)]
mod tests {
    use super::{compose, guide, rescale};

    #[test]
    fn several_prompts_add_up() {
        let (uncond, one, two) = ([1.0f32, -2.0], [3.0f32, -2.5], [0.0f32, 0.0]);
        let (alone, mean) = compose(&uncond, &[(&one, 1.0)], 7.5);
        assert_eq!(alone, guide(&uncond, &one, 7.5));
        assert_eq!(mean, one);
        let (both, mean) = compose(&uncond, &[(&one, 0.5), (&two, 1.5)], 2.0);
        assert_eq!(both, vec![1.0 + 2.0 - 3.0, -2.0 - 0.5 + 6.0]);
        assert_eq!(mean, vec![0.75, -0.625]);
    }

    #[test]
    fn rescaling_restores_the_spread() {
        let cond = [1.0f32, -1.0, 2.0, -2.0];
        let mut guided = [5.0f32, -5.0, 10.0, -10.0];
        rescale(&mut guided, &cond, 1.0);
        for (got, want) in guided.iter().zip(cond) {
            assert!((got - want).abs() < 1e-6);
        }
        let mut half = [5.0f32, -5.0, 10.0, -10.0];
        rescale(&mut half, &cond, 0.5);
        assert!((half[0] - 3.0).abs() < 1e-6);
        let mut flat = [0.0f32; 4];
        rescale(&mut flat, &cond, 1.0);
        assert_eq!(flat, [0.0; 4]);
    }

    #[test]
    fn follows_the_formula() {
        assert_eq!(guide(&[1.0, -2.0], &[3.0, -2.5], 7.5), vec![16.0, -5.75]);
        assert_eq!(guide(&[1.0, -2.0], &[3.0, -2.5], 0.0), vec![1.0, -2.0]);
        assert_eq!(guide(&[1.0, -2.0], &[3.0, -2.5], 1.0), vec![3.0, -2.5]);
    }
}
