//! Scaling of pictures on worker threads: area averages for mip levels, a stretched cubic for the size that is shown.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};

use egui::{Color32, ColorImage};

/// How texels are weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Every output pixel is the mean of the area that it covers.
    Area,
    /// Catmull and Rom's cubic, stretched when shrinking (A class of local interpolating splines, 1974).
    Cubic,
}

/// Linear light of an sRGB byte (IEC 61966-2-1), 0 to 1.
static LINEAR: LazyLock<[f32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|byte| {
        let value = byte as f32 / 255.0;
        if value <= 0.040_45 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    })
});

/// The sRGB byte of linear light in 65,535ths.
static BYTE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..=u16::MAX)
        .map(|step| {
            let light = f32::from(step) / 65_535.0;
            let value = if light <= 0.003_130_8 {
                light * 12.92
            } else {
                1.055 * light.powf(1.0 / 2.4) - 0.055
            };
            (value * 255.0).round() as u8
        })
        .collect()
});

fn byte_of_light(light: f32) -> u8 {
    let step = (light.clamp(0.0, 1.0) * 65_535.0).round() as usize;
    BYTE.get(step).copied().unwrap_or(255)
}

/// The source texels of one output texel and their weights.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

fn cubic(x: f32) -> f32 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

fn taps(from: usize, to: usize, filter: Filter) -> Vec<Taps> {
    let ratio = from as f32 / to as f32;
    (0..to)
        .map(|index| {
            let (first, mut weights): (usize, Vec<f32>) = match filter {
                Filter::Area => {
                    let (low, high) = (
                        index as f64 * from as f64 / to as f64,
                        (index + 1) as f64 * from as f64 / to as f64,
                    );
                    let first = (low.floor() as usize).min(from - 1);
                    let end = (high.ceil() as usize).clamp(first + 1, from);
                    let weight = |texel: usize| {
                        ((high.min((texel + 1) as f64) - low.max(texel as f64)).max(0.0)) as f32
                    };
                    (first, (first..end).map(weight).collect())
                }
                Filter::Cubic => {
                    let stretch = ratio.max(1.0);
                    let centre = (index as f32 + 0.5) * ratio - 0.5;
                    let low = (centre - 2.0 * stretch).floor().max(0.0) as usize;
                    let high = ((centre + 2.0 * stretch).ceil().max(0.0) as usize).min(from - 1);
                    let low = low.min(high);
                    let weight = |texel: usize| cubic((texel as f32 - centre) / stretch);
                    (low, (low..=high).map(weight).collect())
                }
            };
            let sum: f32 = weights.iter().sum();
            if sum.abs() > f32::EPSILON {
                weights.iter_mut().for_each(|weight| *weight /= sum);
            }
            Taps { first, weights }
        })
        .collect()
}

/// Whether no pixel lets anything through.
pub fn is_opaque(image: &ColorImage) -> bool {
    image.pixels.iter().all(|pixel| pixel.a() == 255)
}

/// Scales a picture to `width` by `height` pixels (at least 1 each).
///
/// Opaque pictures are shrunk in linear light, so that fine texture keeps its brightness. Enlarging is done on the gamma
/// values, where overshoot at edges is seen least, and so are pictures with transparency, whose pixels egui keeps
/// multiplied by alpha in gamma values.
pub fn resample(source: &ColorImage, width: usize, height: usize, filter: Filter) -> ColorImage {
    let [from_width, from_height] = source.size;
    let (width, height) = (width.max(1), height.max(1));
    if from_width == 0 || from_height == 0 {
        return ColorImage::filled([width, height], Color32::TRANSPARENT);
    }
    let shrinks = width < from_width || height < from_height;
    let light = shrinks && is_opaque(source);
    let read = |byte: u8| {
        if light {
            LINEAR[usize::from(byte)]
        } else {
            f32::from(byte) / 255.0
        }
    };
    let write = |value: f32| {
        if light {
            byte_of_light(value)
        } else {
            (value.clamp(0.0, 1.0) * 255.0).round() as u8
        }
    };
    let columns = taps(from_width, width, filter);
    let rows = taps(from_height, height, filter);
    let mut pixels = Vec::with_capacity(width * height);
    // Rows of the source, already scaled across; only those that the present output row needs are kept.
    let mut scaled: VecDeque<Vec<[f32; 4]>> = VecDeque::new();
    let mut first_scaled = 0;
    let mut values: Vec<[f32; 4]> = Vec::with_capacity(from_width);
    for row in &rows {
        while first_scaled < row.first && !scaled.is_empty() {
            scaled.pop_front();
            first_scaled += 1;
        }
        if scaled.is_empty() {
            first_scaled = row.first;
        }
        while first_scaled + scaled.len() < row.first + row.weights.len() {
            let y = first_scaled + scaled.len();
            values.clear();
            let line = source.pixels.chunks_exact(from_width).nth(y);
            values.extend(line.unwrap_or_default().iter().map(|pixel| {
                [
                    read(pixel.r()),
                    read(pixel.g()),
                    read(pixel.b()),
                    f32::from(pixel.a()) / 255.0,
                ]
            }));
            let across = columns.iter().map(|column| {
                let texels = values.get(column.first..).unwrap_or_default();
                weighed(texels.iter().zip(&column.weights))
            });
            scaled.push_back(across.collect());
        }
        for x in 0..width {
            let lines = scaled.iter().filter_map(|line| line.get(x));
            let [r, g, b, a] = weighed(lines.zip(&row.weights));
            let alpha = (a.clamp(0.0, 1.0) * 255.0).round() as u8;
            let limit = |byte: u8| byte.min(alpha);
            pixels.push(Color32::from_rgba_premultiplied(
                limit(write(r)),
                limit(write(g)),
                limit(write(b)),
                alpha,
            ));
        }
    }
    ColorImage::new([width, height], pixels)
}

fn weighed<'a>(texels: impl Iterator<Item = (&'a [f32; 4], &'a f32)>) -> [f32; 4] {
    texels.fold([0.0; 4], |mut sum, (texel, weight)| {
        for (sum, value) in sum.iter_mut().zip(texel) {
            *sum += value * weight;
        }
        sum
    })
}

/// A picture and its halves, each half the area average of the one before, down to a few pixels.
pub fn levels(base: ColorImage) -> Vec<Arc<ColorImage>> {
    let mut levels = vec![Arc::new(base)];
    while let Some(last) = levels.last() {
        let [width, height] = last.size;
        if width.max(height) <= 4 {
            break;
        }
        let half = resample(last, width.div_ceil(2), height.div_ceil(2), Filter::Area);
        levels.push(Arc::new(half));
    }
    levels
}

/// The size of a picture that fits a square of `side` pixels; pictures are not enlarged.
pub fn size_within(size: [usize; 2], side: usize) -> [usize; 2] {
    let longest = size[0].max(size[1]).max(1);
    if longest <= side {
        return size;
    }
    size.map(|length| {
        (length as f64 * side as f64 / longest as f64)
            .round()
            .max(1.0) as usize
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(level: u8) -> Color32 {
        Color32::from_gray(level)
    }

    #[test]
    fn a_fine_checkerboard_becomes_the_grey_of_its_light() {
        let size = [37usize, 26];
        let pixels = (0..size[0] * size[1])
            .map(|i| {
                grey(if (i % size[0] + i / size[0]).is_multiple_of(2) {
                    255
                } else {
                    0
                })
            })
            .collect();
        let levels = levels(ColorImage::new(size, pixels));
        assert_eq!(levels[1].size, [19, 13]);
        // Half the light of white is byte 188. An odd width leaves an inexact half, but only a slight one.
        for pixel in &levels[1].pixels {
            assert!((170..=205).contains(&pixel.r()), "{pixel:?}");
        }
        let even = super::levels(ColorImage::new(
            [32, 32],
            (0..1024)
                .map(|i| grey(if (i % 32 + i / 32) % 2 == 0 { 255 } else { 0 }))
                .collect(),
        ));
        for level in &even[1..] {
            assert!(
                level.pixels.iter().all(|pixel| *pixel == grey(188)),
                "{:?}",
                level.size
            );
        }
    }

    #[test]
    fn flat_colours_stay_as_they_are() {
        let colour = Color32::from_rgb(13, 101, 250);
        let image = ColorImage::filled([31, 17], colour);
        for (size, filter) in [
            ([7, 9], Filter::Area),
            ([60, 40], Filter::Cubic),
            ([11, 5], Filter::Cubic),
        ] {
            let scaled = resample(&image, size[0], size[1], filter);
            assert!(
                scaled.pixels.iter().all(|pixel| *pixel == colour),
                "{filter:?}"
            );
        }
    }

    #[test]
    fn transparency_is_averaged_too() {
        let image = ColorImage::new([2, 1], vec![Color32::TRANSPARENT, Color32::WHITE]);
        let one = resample(&image, 1, 1, Filter::Area);
        assert_eq!(
            one.pixels,
            [Color32::from_rgba_premultiplied(128, 128, 128, 128)]
        );
    }

    #[test]
    fn sizes_keep_their_shape() {
        assert_eq!(size_within([64, 64], 200), [64, 64]);
        assert_eq!(size_within([1024, 512], 200), [200, 100]);
        assert_eq!(size_within([10_000, 1], 100), [100, 1]);
    }
}
