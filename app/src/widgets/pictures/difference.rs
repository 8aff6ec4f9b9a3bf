//! What differs between two pictures: numbers, and a map in heat colours.

use egui::{Color32, ColorImage};

use super::resample::{Filter, resample};

/// How far two pictures are apart. Channels are red, green and blue, 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DifferenceNumbers {
    /// The greatest difference of a channel.
    pub max: u8,
    /// The mean difference of all channels.
    pub mean: f32,
    /// Peak signal-to-noise ratio in decibels, of a peak of 255; infinite for equal pictures.
    pub psnr: f32,
    /// Share of the pixels with any difference, 0 to 1.
    pub changed: f32,
    /// The size that the second picture had, if it was scaled to the first.
    pub scaled_from: Option<[usize; 2]>,
}

/// Black over violet, red and orange to a pale yellow: brighter all the way, so that it reads without colour too.
const HEAT: [[f32; 3]; 6] = [
    [0.0, 0.0, 0.0],
    [56.0, 14.0, 98.0],
    [140.0, 30.0, 108.0],
    [218.0, 68.0, 60.0],
    [250.0, 158.0, 32.0],
    [252.0, 250.0, 190.0],
];

/// The heat colour of a value from 0 to 1.
pub fn heat(value: f32) -> Color32 {
    let place = value.clamp(0.0, 1.0) * (HEAT.len() - 1) as f32;
    let index = (place.floor() as usize).min(HEAT.len() - 2);
    let part = place - index as f32;
    let channel = |channel: usize| {
        (HEAT[index][channel] * (1.0 - part) + HEAT[index + 1][channel] * part).round() as u8
    };
    Color32::from_rgb(channel(0), channel(1), channel(2))
}

/// The difference of `b` from `a`, `gain` times as strong, of the greatest channel of each pixel; and the numbers, which
/// know no gain. If the sizes differ, `b` is scaled to `a`.
pub fn picture(a: &ColorImage, b: &ColorImage, gain: f32) -> (ColorImage, DifferenceNumbers) {
    let scaled_from = (a.size != b.size).then_some(b.size);
    let scaled;
    let b = match scaled_from {
        None => b,
        Some(_) => {
            scaled = resample(b, a.size[0], a.size[1], Filter::Cubic);
            &scaled
        }
    };
    let colours: Vec<Color32> = (0..=255u8)
        .map(|difference| heat(f32::from(difference) / 255.0 * gain))
        .collect();
    let (mut max, mut sum, mut squares, mut changed) = (0u8, 0u64, 0u64, 0u64);
    let pixels: Vec<Color32> = a
        .pixels
        .iter()
        .zip(&b.pixels)
        .map(|(a, b)| {
            let differences = [
                a.r().abs_diff(b.r()),
                a.g().abs_diff(b.g()),
                a.b().abs_diff(b.b()),
            ];
            for difference in differences.map(u64::from) {
                sum += difference;
                squares += difference * difference;
            }
            let greatest = differences.into_iter().max().unwrap_or(0);
            max = max.max(greatest);
            changed += u64::from(greatest > 0);
            colours
                .get(usize::from(greatest))
                .copied()
                .unwrap_or(Color32::BLACK)
        })
        .collect();
    let count = pixels.len().max(1) as f64;
    let mean_square = squares as f64 / (3.0 * count);
    let numbers = DifferenceNumbers {
        max,
        mean: (sum as f64 / (3.0 * count)) as f32,
        psnr: if squares == 0 {
            f32::INFINITY
        } else {
            (10.0 * (255.0f64.powi(2) / mean_square).log10()) as f32
        },
        changed: (changed as f64 / count) as f32,
        scaled_from,
    };
    (ColorImage::new(a.size, pixels), numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_pictures_made_by_hand() {
        let a = ColorImage::filled([4, 2], Color32::from_rgb(100, 100, 100));
        let (map, same) = picture(&a, &a, 16.0);
        assert_eq!((same.max, same.mean, same.changed), (0, 0.0, 0.0));
        assert!(same.psnr.is_infinite());
        assert!(map.pixels.iter().all(|pixel| *pixel == Color32::BLACK));

        let mut b = a.clone();
        b[(1, 1)] = Color32::from_rgb(100, 130, 95);
        let (map, numbers) = picture(&a, &b, 1.0);
        assert_eq!(numbers.max, 30);
        assert!((numbers.mean - 35.0 / 24.0).abs() < 1e-5);
        assert!((numbers.changed - 1.0 / 8.0).abs() < 1e-6);
        let expected = 10.0 * (255.0f32.powi(2) / ((900.0 + 25.0) / 24.0)).log10();
        assert!((numbers.psnr - expected).abs() < 1e-3, "{numbers:?}");
        assert_eq!(map[(1, 1)], heat(30.0 / 255.0));
        assert_eq!(map[(0, 0)], Color32::BLACK);
        assert_eq!(picture(&a, &b, 8.5).0[(1, 1)], heat(1.0));
    }

    #[test]
    fn unequal_sizes_are_scaled_and_said() {
        let a = ColorImage::filled([8, 8], Color32::GRAY);
        let b = ColorImage::filled([3, 5], Color32::GRAY);
        let (map, numbers) = picture(&a, &b, 1.0);
        assert_eq!(map.size, [8, 8]);
        assert_eq!(numbers.scaled_from, Some([3, 5]));
        assert_eq!(numbers.max, 0);
    }

    #[test]
    fn heat_only_ever_grows_brighter() {
        let brightness = |colour: Color32| {
            0.299 * f32::from(colour.r())
                + 0.587 * f32::from(colour.g())
                + 0.114 * f32::from(colour.b())
        };
        let values: Vec<f32> = (0..=50)
            .map(|i| brightness(heat(i as f32 / 50.0)))
            .collect();
        assert!(values.is_sorted(), "{values:?}");
    }
}
