//! Pictures as floats: what is done to a picture and its mask before and after drawing.

mod blur;
mod view;

use crate::engine::Picture;
use crate::graph::HostTensor;

pub use view::View;

/// A picture of any number of channels, each a plane of rows, in 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Raster {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `channels * height * width` values.
    pub values: Vec<f32>,
}

/// A part of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Left edge.
    pub x: usize,
    /// Upper edge.
    pub y: usize,
    /// Width.
    pub width: usize,
    /// Height.
    pub height: usize,
}

impl Raster {
    /// From a tensor `[channels, height, width]` or `[1, channels, height, width]`; `None` for other shapes, sizes and values
    /// that are not finite.
    pub fn of_tensor(tensor: &HostTensor, channels: usize) -> Option<Self> {
        let view = View::of_tensor(tensor, channels)?;
        Some(view.crop(view.all()))
    }

    /// One colour of a picture of bytes: 0 for red, 1 for green, 2 for blue.
    pub fn of_colour(picture: &Picture, colour: usize) -> Self {
        let bytes = picture.rgb.iter().skip(colour).step_by(3);
        Self {
            width: picture.width as usize,
            height: picture.height as usize,
            values: bytes.map(|byte| f32::from(*byte) / 255.0).collect(),
        }
    }

    fn planes(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact((self.width * self.height).max(1))
    }

    /// A part of it, which must lie within.
    pub fn crop(&self, area: Area) -> Self {
        let mut values = Vec::with_capacity(self.planes().len() * area.width * area.height);
        values.extend(cut(self.planes(), self.width, area));
        Self {
            width: area.width,
            height: area.height,
            values,
        }
    }

    /// Of a plane of which only this is known, lying at `place`, and which is 0 elsewhere: what of it is in `area`.
    pub fn framed(&self, place: Area, area: Area) -> Self {
        let mut values = vec![0.0; area.width * area.height];
        let (left, right) = (
            place.x.max(area.x),
            (place.x + self.width).min(area.x + area.width),
        );
        let rows = self.values.chunks_exact(self.width.max(1)).zip(place.y..);
        for (row, y) in rows {
            let to = (y.checked_sub(area.y))
                .and_then(|y| values.chunks_exact_mut(area.width.max(1)).nth(y));
            let (Some(to), true) = (to, left < right) else {
                continue;
            };
            to[left - area.x..right - area.x]
                .copy_from_slice(&row[left - place.x..right - place.x]);
        }
        Self {
            width: area.width,
            height: area.height,
            values,
        }
    }

    /// In another size, by Lanczos' kernel of three lobes, widened where the size shrinks, as Pillow does it.
    pub fn resized(&self, width: usize, height: usize) -> Self {
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let (across, down) = (taps(self.width, width), taps(self.height, height));
        let mut values = Vec::with_capacity(self.planes().len() * width * height);
        for plane in self.planes() {
            let rows: Vec<Vec<f32>> = plane
                .chunks_exact(self.width)
                .map(|row| across.iter().map(|tap| tap.gather(|x| row[x])).collect())
                .collect();
            for tap in &down {
                values.extend((0..width).map(|x| tap.gather(|y| rows[y][x]).clamp(0.0, 1.0)));
            }
        }
        Self {
            width,
            height,
            values,
        }
    }

    /// As [`Self::resized`]; nothing is copied where the size is that already.
    #[must_use]
    pub fn into_resized(self, width: usize, height: usize) -> Self {
        match (width, height) == (self.width, self.height) {
            true => self,
            false => self.resized(width, height),
        }
    }

    /// In another size, each value between the four nearest (torch's `bilinear` without aligned corners); of any values.
    pub fn interpolated(&self, width: usize, height: usize) -> Self {
        let (across, down) = (between(self.width, width), between(self.height, height));
        let mut values = Vec::new();
        for plane in self.planes() {
            let at = |x: usize, y: usize| plane.get(y * self.width + x).copied().unwrap_or(0.0);
            for &(top, bottom, low) in &down {
                values.extend(across.iter().map(|&(left, right, far)| {
                    let line = |y| at(left, y) * (1.0 - far) + at(right, y) * far;
                    line(top) * (1.0 - low) + line(bottom) * low
                }));
            }
        }
        Self {
            width,
            height,
            values,
        }
    }

    /// The means of squares of `factor` pixels.
    pub fn averaged(&self, factor: usize) -> Self {
        let (width, height) = (self.width / factor, self.height / factor);
        let mut values = Vec::new();
        for plane in self.planes() {
            for y in 0..height {
                for x in 0..width {
                    let square = (0..factor).flat_map(|dy| {
                        let start = (y * factor + dy) * self.width + x * factor;
                        plane.iter().skip(start).take(factor)
                    });
                    values.push(square.sum::<f32>() / (factor * factor) as f32);
                }
            }
        }
        Self {
            width,
            height,
            values,
        }
    }

    /// The first pixel of each square of `factor` pixels, as torch's nearest neighbour takes it.
    pub fn decimated(&self, factor: usize) -> Self {
        let rows = |plane: &[f32]| -> Vec<f32> {
            plane
                .chunks_exact(self.width)
                .step_by(factor)
                .take(self.height / factor)
                .flat_map(|row| row.iter().step_by(factor).take(self.width / factor))
                .copied()
                .collect()
        };
        Self {
            width: self.width / factor,
            height: self.height / factor,
            values: self.planes().flat_map(rows).collect(),
        }
    }

    /// 1 from a half on, else 0.
    pub fn binary(&self) -> Self {
        let values = self.values.iter();
        Self {
            values: values.map(|v| f32::from(u8::from(*v >= 0.5))).collect(),
            ..*self
        }
    }

    /// The smallest area that holds all that is not 0; `None` if there is nothing.
    pub fn bounds(&self) -> Option<Area> {
        bounds(self.planes(), (self.width, self.height))
    }

    /// As bytes; of three channels.
    pub fn to_picture(&self) -> Picture {
        let plane = self.width * self.height;
        let byte = |place: usize| byte(self.values.get(place).copied().unwrap_or(0.0));
        Picture {
            width: self.width as u32,
            height: self.height as u32,
            rgb: (0..plane)
                .flat_map(|pixel| [pixel, plane + pixel, 2 * plane + pixel].map(byte))
                .collect(),
        }
    }
}

/// 0..1 to 0..255.
fn byte(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}

/// The values of a part of planes whose rows are of a width.
fn cut<'a>(
    planes: impl Iterator<Item = &'a [f32]>,
    width: usize,
    area: Area,
) -> impl Iterator<Item = f32> {
    let rows = planes.flat_map(move |plane| {
        let rows = plane.chunks_exact(width.max(1));
        rows.skip(area.y).take(area.height)
    });
    rows.flat_map(move |row| row.iter().skip(area.x).take(area.width))
        .copied()
}

/// The smallest area of planes of a width and height that holds all that is above 0.
fn bounds<'a>(
    planes: impl Iterator<Item = &'a [f32]>,
    (width, height): (usize, usize),
) -> Option<Area> {
    let (mut left, mut top, mut right, mut bottom) = (width, height, 0, 0);
    for plane in planes {
        for (y, row) in plane.chunks_exact(width.max(1)).enumerate() {
            for (x, value) in row.iter().enumerate() {
                if *value > 0.0 {
                    (left, right) = (left.min(x), right.max(x + 1));
                    (top, bottom) = (top.min(y), bottom.max(y + 1));
                }
            }
        }
    }
    (right > left).then(|| Area {
        x: left,
        y: top,
        width: right - left,
        height: bottom - top,
    })
}

impl Area {
    /// This area of what lies at `place`, as an area of the whole.
    #[must_use]
    pub fn within(self, place: Self) -> Self {
        Self {
            x: place.x + self.x,
            y: place.y + self.y,
            ..self
        }
    }

    /// Wider by `reach` on all sides, as far as a picture of a width and height goes.
    fn grown(self, reach: usize, (width, height): (usize, usize)) -> Self {
        let (x, y) = (self.x.saturating_sub(reach), self.y.saturating_sub(reach));
        Self {
            x,
            y,
            width: (self.x + self.width + reach).min(width) - x,
            height: (self.y + self.height + reach).min(height) - y,
        }
    }

    /// Widened by `padding` on all sides, then to the proportions of `width` to `height` as far as a picture of `within`
    /// has room, as AUTOMATIC1111's `expand_crop_region`.
    pub fn widened(
        self,
        padding: usize,
        (width, height): (usize, usize),
        within: (usize, usize),
    ) -> Self {
        let (left, top) = (
            self.x.saturating_sub(padding),
            self.y.saturating_sub(padding),
        );
        let right = (self.x + self.width + padding).min(within.0);
        let bottom = (self.y + self.height + padding).min(within.1);
        let (mut w, mut h) = (right - left, bottom - top);
        if w * height > h * width {
            h = (w * height).div_ceil(width.max(1)).min(within.1);
        } else {
            w = (h * width).div_ceil(height.max(1)).min(within.0);
        }
        let place = |start: usize, old: usize, new: usize, all: usize| {
            start.saturating_sub((new - old) / 2).min(all - new)
        };
        Self {
            x: place(left, right - left, w, within.0),
            y: place(top, bottom - top, h, within.1),
            width: w,
            height: h,
        }
    }
}

/// For each place of an interpolated line the two that it lies between, and how far it is from the first.
fn between(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    let ratio = from as f32 / to.max(1) as f32;
    let last = from.saturating_sub(1);
    (0..to)
        .map(|place| {
            let centre = ((place as f32 + 0.5) * ratio - 0.5).max(0.0);
            let first = (centre as usize).min(last);
            (first, (first + 1).min(last), centre - first as f32)
        })
        .collect()
}

/// What one pixel of a resized line is made of.
struct Tap {
    first: usize,
    weights: Vec<f32>,
}

impl Tap {
    fn gather(&self, value: impl Fn(usize) -> f32) -> f32 {
        let weights = self.weights.iter().enumerate();
        weights
            .map(|(place, weight)| weight * value(self.first + place))
            .sum()
    }
}

fn taps(from: usize, to: usize) -> Vec<Tap> {
    const LOBES: f64 = 3.0;
    let sinc = |x: f64| {
        let x = x * std::f64::consts::PI;
        if x == 0.0 { 1.0 } else { x.sin() / x }
    };
    let kernel = |x: f64| {
        if x.abs() < LOBES {
            sinc(x) * sinc(x / LOBES)
        } else {
            0.0
        }
    };
    let ratio = from as f64 / to.max(1) as f64;
    let scale = ratio.max(1.0);
    let reach = LOBES * scale;
    (0..to)
        .map(|place| {
            let centre = (place as f64 + 0.5) * ratio;
            let first = (centre - reach + 0.5).max(0.0) as usize;
            let end = ((centre + reach + 0.5) as usize).min(from).max(first + 1);
            let weights: Vec<f64> = (first..end)
                .map(|x| kernel((x as f64 - centre + 0.5) / scale))
                .collect();
            let sum: f64 = weights.iter().sum();
            Tap {
                first: first.min(from.saturating_sub(1)),
                weights: weights.iter().map(|weight| (weight / sum) as f32).collect(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize) -> Raster {
        Raster {
            width,
            height,
            values: (0..width * height)
                .map(|i| (i % 17) as f32 / 17.0)
                .collect(),
        }
    }

    #[test]
    fn sizes_change_and_flat_pictures_stay_flat() {
        let flat = Raster {
            width: 7,
            height: 5,
            values: vec![0.25; 105],
        };
        for (width, height) in [(14, 10), (3, 2), (1, 1), (8, 3)] {
            let other = flat.resized(width, height);
            assert_eq!(other.values.len(), 3 * width * height);
            assert!(other.values.iter().all(|v| (v - 0.25).abs() < 1e-5));
        }
        assert!(
            flat.blurred(1.5)
                .values
                .iter()
                .all(|v| (v - 0.25).abs() < 1e-5)
        );
    }

    /// Pillow 13.0.0: `Image.fromarray(ramp, "F").resize((4, 3), Image.LANCZOS)` of the ramp of 9 x 6.
    #[test]
    fn resizing_equals_pillow() {
        for (got, want) in ramp(9, 6).resized(4, 3).values.iter().zip(PILLOW) {
            assert!((got - want).abs() < 1e-5, "{got} instead of {want}");
        }
    }

    const PILLOW: [f32; 12] = [
        0.260663, 0.383634, 0.552969, 0.506880, 0.361021, 0.485107, 0.653125, 0.400882, 0.452908,
        0.623408, 0.562232, 0.239640,
    ];

    #[test]
    fn areas_are_found_widened_and_laid_back() {
        let mut mask = Raster {
            width: 20,
            height: 10,
            values: vec![0.0; 200],
        };
        mask.values[4 * 20 + 15] = 1.0;
        mask.values[6 * 20 + 17] = 0.5;
        let area = mask.bounds().unwrap();
        assert_eq!((area.x, area.y, area.width, area.height), (15, 4, 3, 3));
        let wide = area.widened(1, (2, 1), (20, 10));
        assert_eq!((wide.width, wide.height), (10, 5));
        assert!(wide.x <= 14 && wide.x + wide.width <= 20 && wide.y <= 3);
        assert_eq!(mask.crop(area).values.len(), 9);
        // What is known of a plane, seen from an area that it lies in, partly lies in and does not touch.
        let known = mask.crop(area);
        assert_eq!(known.framed(area, wide), mask.crop(wide));
        for (x, y) in [(16, 0), (0, 5), (17, 6)] {
            let seen = Area {
                x,
                y,
                width: 3,
                height: 4,
            };
            assert_eq!(known.framed(area, seen), mask.crop(seen), "{seen:?}");
        }
        assert!(
            Raster {
                values: vec![0.0; 200],
                ..mask
            }
            .bounds()
            .is_none()
        );
    }

    #[test]
    fn faulty_tensors_are_refused() {
        for tensor in [
            HostTensor::f32([3, 2, 2], vec![0.0; 11]),
            HostTensor::f32([1, 2, 2], vec![0.0; 4]),
            HostTensor::f32([3, 0, 2], vec![]),
            HostTensor::f32([3, 1, 1], vec![0.0, f32::NAN, 0.0]),
            HostTensor::u32([3, 1, 1], vec![0, 0, 0]),
        ] {
            assert!(Raster::of_tensor(&tensor, 3).is_none());
        }
    }
}
