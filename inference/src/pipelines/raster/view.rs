//! Pictures looked at where they lie: of one that takes hundreds of megabytes only what is worked on is copied.

use std::sync::Arc;

use super::{Area, Raster, blur, bounds, byte, cut};
use crate::engine::Picture;
use crate::graph::{HostData, HostTensor};

/// A tensor as a picture of values in 0 to 1; those beyond are taken for the nearer of the two. Nothing of it is copied.
#[derive(Clone)]
pub struct View {
    width: usize,
    height: usize,
    values: Arc<Vec<f32>>,
}

impl View {
    /// Of a tensor `[channels, height, width]` or `[1, channels, height, width]`; `None` for other shapes, sizes and values that are not finite.
    pub fn of_tensor(tensor: &HostTensor, channels: usize) -> Option<Self> {
        let (&[c, height, width] | &[1, c, height, width]) = tensor.shape.as_slice() else {
            return None;
        };
        let HostData::F32(values) = &tensor.data else {
            return None;
        };
        let fits = c == channels
            && width > 0
            && height > 0
            && c.checked_mul(height)?.checked_mul(width)? == values.len()
            && values.iter().all(|value| value.is_finite());
        fits.then(|| Self {
            width,
            height,
            values: Arc::clone(values),
        })
    }

    /// Of a picture, whose values may be any that are finite.
    pub fn of_raster(raster: Raster) -> Self {
        Self {
            width: raster.width,
            height: raster.height,
            values: Arc::new(raster.values),
        }
    }

    fn planes(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact((self.width * self.height).max(1))
    }

    /// All of it.
    pub fn all(&self) -> Area {
        Area {
            x: 0,
            y: 0,
            width: self.width,
            height: self.height,
        }
    }

    /// A copy of a part of it, which must lie within.
    pub fn crop(&self, area: Area) -> Raster {
        let mut values = Vec::with_capacity(self.planes().len() * area.width * area.height);
        values.extend(cut(self.planes(), self.width, area).map(|value| value.clamp(0.0, 1.0)));
        Raster {
            width: area.width,
            height: area.height,
            values,
        }
    }

    /// What [`Raster::blurred`] makes of it, and where: outside of that area it makes nothing but 0. `None` if it is 0 all over.
    pub fn softened(&self, sigma: f32) -> Option<(Raster, Area)> {
        let size = (self.width, self.height);
        let around = bounds(self.planes(), size)?.grown(blur::support(sigma), size);
        Some((self.crop(around).blurred(sigma), around))
    }

    /// As bytes; of three channels. What was drawn of an area is scaled to its size and laid upon it, as much as `mask`, which is of the area's size, says
    /// for each pixel.
    pub fn overlaid(&self, drawn: &Picture, mask: &Raster, area: Area) -> Picture {
        let mut rgb = vec![0; 3 * self.width * self.height];
        for (colour, plane) in self.planes().enumerate().take(3) {
            let bytes = rgb.iter_mut().skip(colour).step_by(3);
            for (to, value) in bytes.zip(plane) {
                *to = byte(*value);
            }
            let new = Raster::of_colour(drawn, colour).into_resized(area.width, area.height);
            let parts = new.values.iter().zip(&mask.values);
            for (place, (new, share)) in parts.enumerate() {
                let (x, y) = (area.x + place % area.width, area.y + place / area.width);
                let pixel = y * self.width + x;
                let (Some(old), Some(to)) = (plane.get(pixel), rgb.get_mut(3 * pixel + colour))
                else {
                    continue;
                };
                *to = byte(new * share + old.clamp(0.0, 1.0) * (1.0 - share));
            }
        }
        Picture {
            width: self.width as u32,
            height: self.height as u32,
            rgb,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::Random;

    /// The same, done plainly: all of the picture as floats, and a mask of its size.
    fn plainly(whole: &Raster, drawn: &Picture, mask: &Raster, area: Area) -> Picture {
        let colours = (0..3).flat_map(|colour| Raster::of_colour(drawn, colour).values);
        let new = Raster {
            width: drawn.width as usize,
            height: drawn.height as usize,
            values: colours.collect(),
        };
        let over = new.resized(area.width, area.height);
        let (plane, mut result) = (whole.width * whole.height, whole.clone());
        for channel in 0..3 {
            for y in 0..area.height {
                for x in 0..area.width {
                    let from = y * area.width + x;
                    let to = (area.y + y) * whole.width + area.x + x;
                    let new = over.values[channel * area.width * area.height + from];
                    let old = &mut result.values[channel * plane + to];
                    *old = new * mask.values[to] + *old * (1.0 - mask.values[to]);
                }
            }
        }
        result.to_picture()
    }

    /// A mask of two spots, the second at an edge or not.
    fn mask(random: &mut Random, (width, height): (usize, usize), at_edge: bool) -> HostTensor {
        let mut values = vec![0.0; width * height];
        let (far, low) = match at_edge {
            true => (width - 6, height - 7),
            false => (width - 40, height - 50),
        };
        for (left, top) in [(30, 20), (far, low)] {
            for y in top..top + 7 {
                for x in left..left + 6 {
                    values[y * width + x] = random.float().abs().clamp(0.05, 1.0);
                }
            }
        }
        // Nobody paints less than nothing; it counts for nothing.
        values[0] = -1.0;
        HostTensor::f32([1, height, width], values)
    }

    #[test]
    fn only_where_it_is_not_0_a_mask_is_softened_and_that_to_the_bit() {
        let mut random =
            Random::fresh("only_where_it_is_not_0_a_mask_is_softened_and_that_to_the_bit");
        let size = (150, 180);
        // None, narrow, as wide as every weight is counted, by boxes, and wider than the picture.
        for sigma in [0.0, 0.1, 4.0, 25.0, 30.0, 200.0] {
            for at_edge in [false, true] {
                let tensor = mask(&mut random, size, at_edge);
                let view = View::of_tensor(&tensor, 1).unwrap();
                let wanted = view.crop(view.all()).blurred(sigma);
                let (soft, around) = view.softened(sigma).unwrap();
                assert_eq!(soft.framed(around, view.all()), wanted, "{sigma} {at_edge}");
                let bounds = soft.bounds().unwrap().within(around);
                assert_eq!(Some(bounds), wanted.bounds(), "{sigma} {at_edge}");
                let area = bounds.widened(9, (3, 2), size);
                assert_eq!(
                    soft.framed(around, area),
                    wanted.crop(area),
                    "{sigma} {at_edge}"
                );
            }
        }
        let nothing = HostTensor::f32([1, 2, 2], vec![0.0; 4]);
        let nothing = View::of_tensor(&nothing, 1).unwrap();
        assert!(nothing.softened(3.0).is_none());
    }

    /// Photographs take hundreds of megabytes as floats.
    #[test]
    fn of_a_large_picture_only_what_is_worked_on_is_copied() {
        let (width, height) = (1000, 800);
        let mut values = vec![0.0; width * height];
        values[300 * width + 400] = 1.0;
        let tensor = HostTensor::f32([1, height, width], values);
        let view = View::of_tensor(&tensor, 1).unwrap();
        let HostData::F32(given) = &tensor.data else {
            panic!("{:?}", tensor.dtype());
        };
        assert!(Arc::ptr_eq(given, &view.values));
        let (soft, around) = view.softened(4.0).unwrap();
        assert_eq!((around.width, around.height), (21, 21));
        assert_eq!(soft.values.len(), 21 * 21);
        assert_eq!(view.crop(around).values.len(), 21 * 21);
    }

    #[test]
    fn what_is_laid_back_is_the_same_to_the_bit() {
        let mut random = Random::fresh("what_is_laid_back_is_the_same_to_the_bit");
        let size = (150, 180);
        // No bytes, and some beyond what can be shown.
        let values = (0..3 * size.0 * size.1).map(|_| random.float());
        let tensor = HostTensor::f32([3, size.1, size.0], values.collect::<Vec<f32>>());
        let view = View::of_tensor(&tensor, 3).unwrap();
        let whole = Raster::of_tensor(&tensor, 3).unwrap();
        for (sigma, drawn_size) in [(2.0, (64, 64)), (0.0, (40, 72)), (30.0, (64, 48))] {
            let painted = mask(&mut random, size, sigma > 1.0);
            let painted = View::of_tensor(&painted, 1).unwrap();
            let wide = painted.crop(painted.all()).blurred(sigma);
            let (soft, around) = painted.softened(sigma).unwrap();
            let bounds = soft.bounds().unwrap().within(around);
            let rgb = (0..3 * drawn_size.0 * drawn_size.1).map(|_| random.bits() as u8);
            let drawn = Picture {
                width: drawn_size.0 as u32,
                height: drawn_size.1 as u32,
                rgb: rgb.collect(),
            };
            // A part of the picture, and all of it.
            for area in [bounds.widened(5, drawn_size, size), view.all()] {
                let wanted = plainly(&whole, &drawn, &wide, area);
                let got = view.overlaid(&drawn, &soft.framed(around, area), area);
                assert!(got == wanted, "{sigma} {area:?}");
                let before = whole.to_picture();
                let pixels = got
                    .rgb
                    .chunks(3)
                    .zip(before.rgb.chunks(3))
                    .zip(&wide.values);
                let (mut kept, mut changed) = (0, 0);
                for ((new, old), share) in pixels {
                    assert!(*share > 0.0 || new == old, "what is not masked stays");
                    kept += usize::from(*share == 0.0);
                    changed += usize::from(new != old);
                }
                assert!(changed > 50, "{sigma}: {changed} changed");
                assert!(kept > 1000 || sigma > 20.0, "{sigma}: {kept} kept");
            }
        }
    }
}
