//! The picture to begin from: which one, how much of it stays, how it is fitted, and what of it is drawn anew.

use std::fmt;
use std::sync::Arc;

use diptych_inference::engine::{BlobRef, HostTensor, InitPicture, Mask as MaskSpec, Picture};
use serde::{Deserialize, Serialize};

use super::form::{self, Form};
use crate::paint::{self, Mask};
use crate::pictures::{Blob, MOST_WHOLE, Pixels};
use crate::studio::models::Model;

/// What most people begin with.
pub const USUAL_STRENGTH: f32 = 0.75;
/// How far a mask's edges are softened where nobody says anything, in pixels.
pub const USUAL_BLUR: f32 = 4.0;
/// Pixels around the masked part, where only that is drawn.
pub const USUAL_PADDING: u32 = 32;
/// How far a mask can be softened and how much can be taken around it.
pub const MOST_BLUR: f32 = 64.0;
/// See [`MOST_BLUR`].
pub const MOST_PADDING: u32 = 512;
/// Most pixels that a picture is extended by on a side.
pub const MOST_EXTENSION: u32 = 2048;

/// Something large that commands carry: told in a word, equal where it is the same.
pub struct Quiet<T: ?Sized>(pub Arc<T>);

impl<T: ?Sized> Clone for Quiet<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: ?Sized> PartialEq for Quiet<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T: ?Sized> fmt::Debug for Quiet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// How a picture comes to the shape that is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// What is too much is cut off, the same at both ends.
    #[default]
    Crop,
    /// It is stretched.
    Stretch,
}

/// A picture to begin from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Start {
    /// SHA-256 of its pixels as the engine takes them: the name of its file in the library.
    pub picture: String,
    /// What to call it.
    pub name: String,
    /// Width and height in pixels; 0 while nobody knows.
    pub size: (u32, u32),
    /// How much of it is given up for what the words say.
    pub strength: f32,
    /// How it comes to the shape that is drawn.
    pub fit: Fit,
    /// Pixels that it is extended by on the left, above, on the right and below.
    pub extend: [u32; 4],
    /// How far the mask's edges are softened, in pixels of the picture.
    pub blur: f32,
    /// Draws only the masked part, and lays it back.
    pub only_masked: bool,
    /// Pixels around the masked part that are drawn with it.
    pub padding: u32,
    /// A mask in the library that is to be read.
    pub mask_file: Option<String>,
    /// What is drawn anew, as it was painted: in pixels of the picture without its extension. Kept apart.
    #[serde(skip)]
    pub mask: Option<Mask>,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            picture: String::new(),
            name: String::new(),
            size: (0, 0),
            strength: USUAL_STRENGTH,
            fit: Fit::Crop,
            extend: [0; 4],
            blur: USUAL_BLUR,
            only_masked: false,
            padding: USUAL_PADDING,
            mask_file: None,
            mask: None,
        }
    }
}

impl Start {
    /// What a request began from.
    pub fn of(init: &InitPicture) -> Self {
        let mask = init.mask.as_ref();
        Self {
            picture: init.picture.0.clone(),
            name: "From a picture's settings".to_owned(),
            strength: init.strength,
            blur: mask.map_or(USUAL_BLUR, |mask| mask.blur),
            only_masked: mask.is_some_and(|mask| mask.only_masked.is_some()),
            padding: mask
                .and_then(|mask| mask.only_masked)
                .unwrap_or(USUAL_PADDING),
            mask_file: mask.map(|mask| mask.mask.0.clone()),
            ..Self::default()
        }
    }

    /// Whether it is larger than its picture.
    pub fn is_extended(&self) -> bool {
        self.extend.iter().any(|pixels| *pixels > 0)
    }

    /// Width and height with what it is extended by.
    pub fn extended(&self) -> (u32, u32) {
        let [left, top, right, bottom] = self.extend;
        let add = |side: u32, a: u32, b: u32| side.saturating_add(a).saturating_add(b);
        (add(self.size.0, left, right), add(self.size.1, top, bottom))
    }

    /// Whether some parts are kept: it was painted on, or extended.
    pub fn is_masked(&self) -> bool {
        self.is_extended() || self.mask.as_ref().is_some_and(|mask| !mask.is_empty())
    }

    /// Whether only the masked part is drawn.
    pub fn draws_part(&self) -> bool {
        self.only_masked && self.is_masked()
    }

    /// The size in which a model draws a picture of this shape: its own, where the model can, else one of about as many
    /// pixels as the model is used to.
    pub fn drawn_size(&self, model: &Model) -> (u32, u32) {
        let (width, height) = self.extended();
        let factor = model.size_factor();
        let plain = Form::default().size(model);
        if width == 0 || height == 0 {
            return plain;
        }
        let area = |(w, h): (u32, u32)| f64::from(w) * f64::from(h);
        let ratio = area((width, height)) / area(plain).max(1.0);
        let scale = if (0.5..=1.6).contains(&ratio) {
            1.0
        } else {
            ratio.sqrt().recip()
        };
        let side = |side: u32| form::fit((f64::from(side) * scale).round() as u32, factor);
        (side(width), side(height))
    }

    /// The part of the extended picture that has the shape of what is drawn; `None` is all of it.
    pub fn crop(&self, (width, height): (u32, u32)) -> Option<(u32, u32)> {
        let (w, h) = self.extended();
        if self.fit != Fit::Crop || self.draws_part() || w == 0 || h == 0 || width == 0 {
            return None;
        }
        let ratio = f64::from(width) / f64::from(height.max(1));
        let across = (f64::from(h) * ratio).round() as u32;
        let down = (f64::from(w) / ratio).round() as u32;
        let cropped = (across.clamp(1, w), down.clamp(1, h));
        (cropped != (w, h)).then_some(cropped)
    }

    /// How the picture comes to the size that is drawn, in words.
    pub fn fitting(&self, size: (u32, u32)) -> String {
        let say = |(width, height): (u32, u32)| format!("{width} × {height}");
        let (from, to) = (self.extended(), size);
        if from.0 == 0 {
            return String::new();
        }
        if self.draws_part() {
            let (drawn, whole) = (say(to), say(from));
            return format!("The masked part is drawn at {drawn} and laid back into {whole}");
        }
        if let Some(part) = self.crop(size) {
            let scaled = if part == to {
                String::new()
            } else {
                format!(", scaled to {}", say(to))
            };
            return format!("{} of {} is used{scaled}", say(part), say(from));
        }
        if from == to {
            return format!("Drawn in its own size, {}", say(to));
        }
        let same = f64::from(from.0) * f64::from(to.1) - f64::from(from.1) * f64::from(to.0);
        let word = if same.abs() <= f64::from(from.0.max(to.0)) {
            "Scaled"
        } else {
            "Stretched"
        };
        format!("{word} from {} to {}", say(from), say(to))
    }

    /// What is to be made of the picture before it can be drawn over.
    pub fn plan(&self, size: (u32, u32)) -> Plan {
        Plan {
            picture: self.picture.clone(),
            mask: self.mask.clone().filter(|mask| !mask.is_empty()),
            extend: self.extend,
            crop: self.crop(size),
            size,
        }
    }

    /// The request's part.
    pub fn init(&self, ready: &Ready) -> InitPicture {
        InitPicture {
            picture: BlobRef(ready.picture.clone()),
            strength: self.strength,
            mask: ready.mask.as_ref().map(|mask| MaskSpec {
                mask: BlobRef(mask.clone()),
                blur: self.blur,
                only_masked: self.only_masked.then_some(self.padding),
            }),
        }
    }

    /// Mends what an older version or another hand may have written.
    pub fn heal(&mut self) {
        if !self.strength.is_finite() {
            self.strength = USUAL_STRENGTH;
        }
        self.strength = self.strength.clamp(0.01, 1.0);
        self.blur = if self.blur.is_finite() {
            self.blur.clamp(0.0, MOST_BLUR)
        } else {
            USUAL_BLUR
        };
        self.padding = self.padding.min(MOST_PADDING);
        self.extend = self.extend.map(|pixels| pixels.min(MOST_EXTENSION));
    }
}

/// What is to be made of a start picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The picture.
    pub picture: String,
    /// What was painted.
    pub mask: Option<Mask>,
    /// What it is extended by.
    pub extend: [u32; 4],
    /// The part in the middle that is used.
    pub crop: Option<(u32, u32)>,
    /// Width and height that are drawn.
    pub size: (u32, u32),
}

/// A start picture as the engine takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ready {
    /// Name of the picture.
    pub picture: String,
    /// Name of the mask.
    pub mask: Option<String>,
    /// Both for the engine.
    pub data: Vec<(String, Quiet<HostTensor>)>,
    /// Files for the library.
    pub files: Vec<(String, Quiet<Vec<u8>>)>,
}

/// Makes a start picture ready. Takes its time: for a thread of its own.
///
/// # Errors
/// Pictures that would become too large; the encoder's.
pub fn prepare(picture: &Picture, plan: &Plan) -> Result<Ready, String> {
    let (wide, border) = extended(picture, plan.extend)?;
    let mut rows = None;
    if plan.mask.is_some() || border.is_some() {
        let mut all = border.unwrap_or_else(|| vec![0; pixels_of(&wide)]);
        if let Some(mask) = &plan.mask {
            lay(&mut all, wide.width, mask, plan.extend);
        }
        rows = Some(all);
    }
    let (mut rgb, mut size) = (wide.rgb, (wide.width, wide.height));
    if let Some(part) = plan.crop {
        rgb = cut(&rgb, 3, size, part);
        rows = rows.map(|rows| cut(&rows, 1, size, part));
        size = part;
    }
    let pixels = Pixels {
        width: size.0,
        height: size.1,
        rgb,
        alpha: None,
    };
    let pixels = match rows {
        Some(_) => pixels,
        None => pixels.drawn_over(plan.size),
    };
    let blob = pixels.blob();
    let mut ready = Ready {
        picture: blob.name.0.clone(),
        mask: None,
        data: vec![(blob.name.0.clone(), Quiet(blob.data))],
        files: Vec::new(),
    };
    if ready.picture != plan.picture {
        let png = png_of(&pixels)?;
        ready.files.push((blob.name.0, Quiet(Arc::new(png))));
    }
    if let Some(rows) = rows {
        let values = rows.iter().map(|value| f32::from(*value) / 255.0).collect();
        let blob = Blob::new([1, size.1 as usize, size.0 as usize], values);
        let mask = Mask::from_rows(size.0, size.1, &rows)
            .ok_or_else(|| "the mask is too large".to_owned())?;
        let png = paint::to_png(&mask).map_err(|error| error.to_string())?;
        ready.mask = Some(blob.name.0.clone());
        ready.data.push((blob.name.0.clone(), Quiet(blob.data)));
        ready.files.push((blob.name.0, Quiet(Arc::new(png))));
    }
    Ok(ready)
}

fn pixels_of(picture: &Picture) -> usize {
    picture.width as usize * picture.height as usize
}

/// A picture with its edges repeated outwards, and, if it became larger, which pixels are new: 255.
///
/// # Errors
/// If it would become too large.
pub fn extended(picture: &Picture, extend: [u32; 4]) -> Result<(Picture, Option<Vec<u8>>), String> {
    if extend == [0; 4] {
        return Ok((picture.clone(), None));
    }
    let [left, top, right, bottom] = extend;
    let sum = |side: u32, a: u32, b: u32| {
        let sum = side.checked_add(a)?.checked_add(b)?;
        (sum <= paint::MOST_SIDE).then_some(sum)
    };
    let sides = sum(picture.width, left, right).zip(sum(picture.height, top, bottom));
    let few = |(width, height): &(u32, u32)| u64::from(*width) * u64::from(*height) <= MOST_WHOLE;
    let Some((width, height)) = sides.filter(few).filter(|_| pixels_of(picture) > 0) else {
        return Err(format!(
            "Extended so far, the picture would be larger than {} pixels a side or {} million in all",
            paint::MOST_SIDE,
            MOST_WHOLE / 1_000_000
        ));
    };
    let row_bytes = picture.width as usize * 3;
    let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
    let mut new = Vec::with_capacity(width as usize * height as usize);
    for y in 0..height {
        let old = y.saturating_sub(top).min(picture.height - 1) as usize;
        let start = old * row_bytes;
        let row = picture.rgb.get(start..start + row_bytes);
        let row = row.ok_or_else(|| "the picture has too few pixels".to_owned())?;
        let (first, last) = (row.first_chunk::<3>(), row.last_chunk::<3>());
        for _ in 0..left {
            rgb.extend(first.into_iter().flatten());
        }
        rgb.extend_from_slice(row);
        for _ in 0..right {
            rgb.extend(last.into_iter().flatten());
        }
        let inside = (top..top + picture.height).contains(&y);
        new.resize(new.len() + left as usize, 255);
        new.resize(
            new.len() + picture.width as usize,
            if inside { 0 } else { 255 },
        );
        new.resize(new.len() + right as usize, 255);
    }
    let picture = Picture { width, height, rgb };
    Ok((picture, Some(new)))
}

/// Lays a painted mask into the rows of a larger one; the greater value stays.
fn lay(rows: &mut [u8], across: u32, mask: &Mask, [left, top, ..]: [u32; 4]) {
    let (width, _) = mask.size();
    for (y, line) in mask.to_rows().chunks_exact(width as usize).enumerate() {
        let start = (y + top as usize) * across as usize + left as usize;
        let Some(to) = rows.get_mut(start..start + line.len()) else {
            return;
        };
        for (to, from) in to.iter_mut().zip(line) {
            *to = (*to).max(*from);
        }
    }
}

/// The part of that size in the middle.
fn cut(rows: &[u8], channels: usize, size: (u32, u32), part: (u32, u32)) -> Vec<u8> {
    let (width, height) = (size.0 as usize, size.1 as usize);
    let (w, h) = ((part.0 as usize).min(width), (part.1 as usize).min(height));
    let (x, y) = ((width - w) / 2, (height - h) / 2);
    rows.chunks_exact((width * channels).max(1))
        .skip(y)
        .take(h)
        .flat_map(|row| row.iter().skip(x * channels).take(w * channels))
        .copied()
        .collect()
}

/// A picture as a PNG file without any words in it.
///
/// # Errors
/// The encoder's.
pub fn png_of(pixels: &Pixels) -> Result<Vec<u8>, String> {
    use image::ImageEncoder as _;
    use image::codecs::png::{CompressionType, FilterType, PngEncoder};
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Sub)
        .write_image(
            &pixels.rgb,
            pixels.width,
            pixels.height,
            image::ExtendedColorType::Rgb8,
        )
        .map_err(|error| format!("the picture cannot be put into a file: {error}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::Brush;
    use crate::studio::create::form::tests::model;

    fn start(size: (u32, u32)) -> Start {
        Start {
            picture: "p".into(),
            size,
            ..Start::default()
        }
    }

    fn gradient(width: u32, height: u32) -> Picture {
        let rgb = (0..width * height * 3).map(|at| (at % 251) as u8).collect();
        Picture { width, height, rgb }
    }

    fn hash(picture: &Picture) -> String {
        let pixels = Pixels {
            width: picture.width,
            height: picture.height,
            rgb: picture.rgb.clone(),
            alpha: None,
        };
        pixels.blob().name.0
    }

    #[test]
    fn the_fitting_is_told_as_it_is() {
        let model = model();
        let wide = start((1536, 1024));
        assert_eq!(wide.drawn_size(&model), (80, 56));
        assert_eq!(start((72, 64)).drawn_size(&model), (72, 64));
        assert_eq!(wide.crop((64, 64)), Some((1024, 1024)));
        assert_eq!(
            wide.fitting((64, 64)),
            "1024 × 1024 of 1536 × 1024 is used, scaled to 64 × 64"
        );
        assert_eq!(wide.fitting((96, 64)), "Scaled from 1536 × 1024 to 96 × 64");
        assert_eq!(
            start((64, 64)).fitting((64, 64)),
            "Drawn in its own size, 64 × 64"
        );
        let stretched = Start {
            fit: Fit::Stretch,
            ..wide.clone()
        };
        assert_eq!(
            stretched.fitting((64, 64)),
            "Stretched from 1536 × 1024 to 64 × 64"
        );
        let part = Start {
            only_masked: true,
            extend: [64, 0, 0, 0],
            ..wide
        };
        assert_eq!(
            part.fitting((64, 64)),
            "The masked part is drawn at 64 × 64 and laid back into 1600 × 1024"
        );
    }

    #[test]
    fn a_picture_alone_is_sent_as_it_is() {
        let picture = gradient(40, 30);
        let own = Start {
            picture: hash(&picture),
            ..start((40, 30))
        };
        let ready = prepare(&picture, &own.plan((40, 30))).unwrap();
        assert_eq!(ready.picture, own.picture);
        assert!(ready.files.is_empty() && ready.mask.is_none());
        let init = own.init(&ready);
        assert_eq!(
            (init.picture.0.as_str(), init.strength),
            (own.picture.as_str(), 0.75)
        );
    }

    #[test]
    fn a_large_picture_is_sent_in_the_size_that_is_drawn() {
        let picture = gradient(2600, 1800);
        let own = Start {
            picture: hash(&picture),
            fit: Fit::Stretch,
            ..start((2600, 1800))
        };
        let ready = prepare(&picture, &own.plan((64, 48))).unwrap();
        let (name, data) = &ready.data[0];
        assert_eq!(data.0.shape, [3, 48, 64]);
        assert_eq!(name, &ready.picture);
        // It is another picture, with a file of its own.
        assert_ne!(ready.picture, own.picture);
        assert_eq!(ready.files.len(), 1);
    }

    #[test]
    fn what_is_cut_extended_and_masked_is_kept_as_files() {
        let picture = gradient(40, 30);
        let mut mask = Mask::new(40, 30);
        let brush = Brush {
            radius: 4.0,
            hardness: 1.0,
            erase: false,
        };
        mask.paint(&brush, [20.0, 15.0], [20.0, 15.0]);
        let own = Start {
            picture: hash(&picture),
            mask: Some(mask),
            extend: [10, 0, 0, 6],
            ..start((40, 30))
        };
        assert_eq!(own.extended(), (50, 36));
        let ready = prepare(&picture, &own.plan((50, 50))).unwrap();
        assert_ne!(ready.picture, own.picture);
        assert_eq!(ready.files.len(), 2);
        // 50 x 36, of which a square in the middle is used.
        let (_, data) = &ready.data[1];
        assert_eq!(data.0.shape, [1, 36, 36]);
        let values = data.0.as_f32();
        let at = |x: usize, y: usize| values[y * 36 + x];
        assert_eq!((at(0, 0), at(35, 35)), (1.0, 1.0), "what is new");
        assert_eq!((at(10, 3), at(10 + 20 - 7, 15)), (0.0, 1.0));
        let (_, file) = &ready.files[1];
        let back = paint::from_png(&file.0).unwrap();
        assert_eq!(back.size(), (36, 36));
        // Its name is that of its contents.
        let values = back
            .to_rows()
            .iter()
            .map(|v| f32::from(*v) / 255.0)
            .collect();
        assert_eq!(Some(Blob::new([1, 36, 36], values).name.0), ready.mask);
    }

    #[test]
    fn edges_are_repeated_outwards() {
        let picture = Picture {
            width: 2,
            height: 1,
            rgb: vec![1, 2, 3, 4, 5, 6],
        };
        let (wide, new) = extended(&picture, [1, 1, 2, 0]).unwrap();
        assert_eq!((wide.width, wide.height), (5, 2));
        assert_eq!(wide.rgb[..6], [1, 2, 3, 1, 2, 3]);
        assert_eq!(wide.rgb[24..], [4, 5, 6, 4, 5, 6]);
        assert_eq!(new.unwrap(), [255, 255, 255, 255, 255, 255, 0, 0, 255, 255]);
        assert!(extended(&picture, [u32::MAX, 0, 0, 0]).is_err());
        assert_eq!(extended(&picture, [0; 4]).unwrap(), (picture, None));
    }
}
