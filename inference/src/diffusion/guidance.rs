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

#[cfg(test)]
mod tests {
    use super::guide;

    #[test]
    fn follows_the_formula() {
        assert_eq!(guide(&[1.0, -2.0], &[3.0, -2.5], 7.5), vec![16.0, -5.75]);
        assert_eq!(guide(&[1.0, -2.0], &[3.0, -2.5], 0.0), vec![1.0, -2.0]);
        assert_eq!(guide(&[1.0, -2.0], &[3.0, -2.5], 1.0), vec![3.0, -2.5]);
    }
}
