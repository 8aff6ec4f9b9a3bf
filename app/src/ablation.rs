//! Which phrases of a prompt do something: by how far the latents move without them, at one seed.

use diptych_inference::engine::HostTensor;

/// Phrases that move less than this share of what another seed moves do next to nothing.
pub const NOTHING: f64 = 0.02;

/// Root mean square of the difference, over that of the first.
#[must_use]
pub fn moved(whole: &HostTensor, less: &HostTensor) -> f64 {
    let pairs = whole.as_f32().iter().zip(less.as_f32());
    let (mut difference, mut size) = (0.0, 0.0);
    for (a, b) in pairs {
        difference += (f64::from(*a) - f64::from(*b)).powi(2);
        size += f64::from(*a).powi(2);
    }
    if size > 0.0 {
        (difference / size).sqrt()
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_relative() {
        let tensor = |values: [f32; 2]| HostTensor::f32([2], values.to_vec());
        assert_eq!(moved(&tensor([3.0, 4.0]), &tensor([3.0, 4.0])), 0.0);
        assert_eq!(moved(&tensor([3.0, 4.0]), &tensor([0.0, 0.0])), 1.0);
        assert_eq!(moved(&tensor([0.0, 0.0]), &tensor([1.0, 0.0])), 0.0);
    }
}
