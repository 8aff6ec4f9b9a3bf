//! Edges of a picture: Canny 1986, "A Computational Approach to Edge Detection", in the very whole numbers of OpenCV's `Canny` (Sobel's gradients over three
//! pixels, of the colour that changes most; their sizes as the sum of both directions), so that ControlNets see what they were trained with.

use super::raster::Raster;

/// tan(22.5 degrees) in units of 2^-15.
const TANGENT: i64 = 13573;
const SHIFT: u32 = 15;

/// What is known of a pixel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// No edge.
    None,
    /// An edge where one leads to it.
    Weak,
    /// An edge.
    Edge,
}

/// White edges on black, in three equal channels. Thresholds are in 255ths of a colour.
pub fn canny(picture: &Raster, low: f32, high: f32) -> Raster {
    let (width, height) = (picture.width, picture.height);
    let (low, high) = (low.min(high).floor() as i64, low.max(high).floor() as i64);
    let gradients = gradients(picture);
    let size = |x: isize, y: isize| -> i64 {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else {
            return 0;
        };
        if x >= width || y >= height {
            return 0;
        }
        let (dx, dy) = gradients.get(y * width + x).copied().unwrap_or((0, 0));
        dx.abs() + dy.abs()
    };
    let mut marks = vec![Mark::None; width * height];
    let mut leads = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let place = y * width + x;
            let (dx, dy) = gradients[place];
            let here = dx.abs() + dy.abs();
            if here <= low || !is_ridge(&size, (x as isize, y as isize), (dx, dy)) {
                continue;
            }
            if here > high {
                marks[place] = Mark::Edge;
                leads.push((x, y));
            } else {
                marks[place] = Mark::Weak;
            }
        }
    }
    while let Some((x, y)) = leads.pop() {
        for near_y in y.saturating_sub(1)..(y + 2).min(height) {
            for near_x in x.saturating_sub(1)..(x + 2).min(width) {
                let place = near_y * width + near_x;
                if marks[place] == Mark::Weak {
                    marks[place] = Mark::Edge;
                    leads.push((near_x, near_y));
                }
            }
        }
    }
    let plane: Vec<f32> = marks
        .iter()
        .map(|mark| f32::from(u8::from(*mark == Mark::Edge)))
        .collect();
    Raster {
        width,
        height,
        values: plane.repeat(3),
    }
}

/// Whether a pixel's gradient is the largest across the edge.
fn is_ridge(
    size: &dyn Fn(isize, isize) -> i64,
    (x, y): (isize, isize),
    (dx, dy): (i64, i64),
) -> bool {
    let here = dx.abs() + dy.abs();
    let steep = dy.abs() << SHIFT;
    let flat = dx.abs() * TANGENT;
    if steep < flat {
        return here > size(x - 1, y) && here >= size(x + 1, y);
    }
    if steep > flat + (dx.abs() << (SHIFT + 1)) {
        return here > size(x, y - 1) && here >= size(x, y + 1);
    }
    let side = if (dx < 0) != (dy < 0) { -1 } else { 1 };
    here > size(x - side, y - 1) && here > size(x + side, y + 1)
}

/// Sobel's gradients in 255ths, of the channel where they are largest; edges are repeated.
fn gradients(picture: &Raster) -> Vec<(i64, i64)> {
    let (width, height) = (picture.width, picture.height);
    let plane = width * height;
    let mut result = vec![(0, 0); plane];
    for values in picture.values.chunks_exact(plane.max(1)) {
        let bytes: Vec<i64> = values
            .iter()
            .map(|value| (value.clamp(0.0, 1.0) * 255.0).round() as i64)
            .collect();
        for y in 0..height {
            let rows = [y.saturating_sub(1), y, (y + 1).min(height - 1)].map(|row| row * width);
            for x in 0..width {
                let columns = [x.saturating_sub(1), x, (x + 1).min(width - 1)];
                let at = |row: usize, column: usize| bytes[rows[row] + columns[column]];
                let dx = at(0, 2) + 2 * at(1, 2) + at(2, 2) - at(0, 0) - 2 * at(1, 0) - at(2, 0);
                let dy = at(2, 0) + 2 * at(2, 1) + at(2, 2) - at(0, 0) - 2 * at(0, 1) - at(0, 2);
                let most: &mut (i64, i64) = &mut result[y * width + x];
                if dx.abs() + dy.abs() > most.0.abs() + most.1.abs() {
                    *most = (dx, dy);
                }
            }
        }
    }
    result
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::formats::safetensors::read_safetensors;
    use std::path::Path;

    /// Pixel by pixel what OpenCV finds (`tests/reference/make_controls.py`).
    #[test]
    fn edges_equal_those_of_opencv() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference/jobs/canny.safetensors");
        let file = read_safetensors(&path).unwrap().tensors;
        let picture = file.get("picture").unwrap();
        let &[height, width, 3] = picture.shape() else {
            panic!("{picture:?}")
        };
        let channel = |c: usize| {
            let bytes = picture.bytes().iter().skip(c).step_by(3);
            bytes.map(|byte| f32::from(*byte) / 255.0)
        };
        let raster = Raster {
            width,
            height,
            values: (0..3).flat_map(channel).collect(),
        };
        for (low, high) in [(100, 200), (30, 60), (250, 400)] {
            let wanted = file.get(&format!("edges_{low}_{high}")).unwrap();
            let edges = canny(&raster, low as f32, high as f32);
            assert_eq!(edges.values.len(), 3 * width * height);
            let pairs = edges.values.iter().zip(wanted.bytes());
            let wrong = pairs
                .filter(|(got, want)| (**got > 0.5) != (**want > 0))
                .count();
            assert_eq!(wrong, 0, "{low} to {high}");
        }
    }

    #[test]
    fn the_smallest_pictures_have_no_edges() {
        for (width, height) in [(1, 1), (1, 5), (3, 1)] {
            let picture = Raster {
                width,
                height,
                values: vec![0.5; 3 * width * height],
            };
            assert!(canny(&picture, 1.0, 2.0).values.iter().all(|v| *v == 0.0));
        }
    }
}
