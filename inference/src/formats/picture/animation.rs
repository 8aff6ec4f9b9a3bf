//! Moving pictures: animated PNG, and GIF (CompuServe 1990, "Graphics Interchange Format", version 89a) with a palette of its own.

use std::collections::HashMap;

use crate::formats::error::FormatError;

/// Pixels that a palette is made of, at most.
const SAMPLES: usize = 1 << 18;
const MOST_CODES: u16 = 4096;

fn fault(reason: impl Into<String>) -> FormatError {
    FormatError::CannotEncode {
        what: "the animation".into(),
        reason: reason.into(),
    }
}

/// Checks that there are frames, and that all are of one size.
fn check(frames: &[&[u8]], width: u32, height: u32) -> Result<(), FormatError> {
    let needed = u64::from(width) * u64::from(height) * 3;
    if frames.is_empty() || needed == 0 {
        return Err(fault("it has no frames"));
    }
    match frames.iter().find(|frame| frame.len() as u64 != needed) {
        Some(frame) => Err(fault(format!(
            "a frame of {width}x{height} needs {needed} bytes, not {}",
            frame.len()
        ))),
        None => Ok(()),
    }
}

/// An animated PNG of 8-bit RGB frames that runs for ever, each frame shown for so many milliseconds. Programs that know no animation
/// show the first.
///
/// # Errors
/// If there are no frames, or frames of other sizes.
pub fn encode_apng(
    frames: &[&[u8]],
    width: u32,
    height: u32,
    milliseconds: u16,
    text: &[(String, String)],
) -> Result<Vec<u8>, FormatError> {
    check(frames, width, height)?;
    let told = |error: png::EncodingError| fault(error.to_string());
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let count = u32::try_from(frames.len()).map_err(|_| fault("it has too many frames"))?;
    encoder.set_animated(count, 0).map_err(told)?;
    encoder.set_frame_delay(milliseconds, 1000).map_err(told)?;
    for (key, text) in text {
        encoder
            .add_itxt_chunk(key.clone(), text.clone())
            .map_err(told)?;
    }
    let mut writer = encoder.write_header().map_err(told)?;
    for frame in frames {
        writer.write_image_data(frame).map_err(told)?;
    }
    writer.finish().map_err(told)?;
    Ok(bytes)
}

/// A GIF that runs for ever, each frame shown for so many milliseconds (rounded to hundredths of a second). Colours are brought to 256
/// for all frames by median cut (Heckbert 1982), and what is lost is spread over the neighbours (Floyd and Steinberg 1976).
///
/// # Errors
/// As [`encode_apng`]; sides above 65,535.
pub fn encode_gif(
    frames: &[&[u8]],
    width: u32,
    height: u32,
    milliseconds: u16,
    comment: &str,
) -> Result<Vec<u8>, FormatError> {
    check(frames, width, height)?;
    let side =
        |side: u32| u16::try_from(side).map_err(|_| fault("a GIF has at most 65535 pixels a side"));
    let (wide, high) = (side(width)?, side(height)?);
    let palette = palette(frames);
    let mut bytes = b"GIF89a".to_vec();
    let size = |bytes: &mut Vec<u8>| {
        bytes.extend_from_slice(&wide.to_le_bytes());
        bytes.extend_from_slice(&high.to_le_bytes());
    };
    size(&mut bytes);
    // A global palette of 256 colours.
    bytes.extend_from_slice(&[0xf7, 0, 0]);
    bytes.extend(palette.iter().flatten());
    bytes.extend_from_slice(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0");
    bytes.extend_from_slice(&[0x21, 0xfe]);
    blocks(&mut bytes, comment.as_bytes());
    let hundredths = (milliseconds.saturating_add(5) / 10).max(2);
    let mut nearest = HashMap::new();
    for frame in frames {
        bytes.extend_from_slice(&[0x21, 0xf9, 4, 0]);
        bytes.extend_from_slice(&hundredths.to_le_bytes());
        bytes.extend_from_slice(&[0, 0, 0x2c, 0, 0, 0, 0]);
        size(&mut bytes);
        bytes.push(0);
        let indices = dithered(frame, width as usize, &palette, &mut nearest);
        bytes.push(8);
        blocks(&mut bytes, &compressed(&indices));
    }
    bytes.push(0x3b);
    Ok(bytes)
}

/// Data in blocks of at most 255 bytes, and the empty one that ends them.
fn blocks(bytes: &mut Vec<u8>, data: &[u8]) {
    for block in data.chunks(255) {
        bytes.push(block.len() as u8);
        bytes.extend_from_slice(block);
    }
    bytes.push(0);
}

type Colour = [u8; 3];

/// 256 colours for all frames.
fn palette(frames: &[&[u8]]) -> Vec<Colour> {
    let pixels: usize = frames.iter().map(|frame| frame.len() / 3).sum();
    let stride = (pixels / SAMPLES).max(1);
    let all = frames.iter().flat_map(|frame| frame.as_chunks::<3>().0);
    let mut boxes: Vec<Vec<Colour>> = vec![all.step_by(stride).copied().collect()];
    let spread = |colours: &[Colour]| -> (usize, u8) {
        (0..3)
            .map(|channel| {
                let values = || colours.iter().filter_map(|c| c.get(channel).copied());
                let range = values().max().unwrap_or(0) - values().min().unwrap_or(0);
                (channel, range)
            })
            .max_by_key(|(_, range)| *range)
            .unwrap_or((0, 0))
    };
    let mut spreads = vec![spread(boxes.first().map_or(&[][..], Vec::as_slice))];
    while boxes.len() < 256 {
        let weight = |place: usize| {
            let range = spreads.get(place).map_or(0, |(_, range)| u64::from(*range));
            range * (boxes.get(place).map_or(0, Vec::len) as f64).sqrt() as u64
        };
        let Some(place) = (0..boxes.len()).max_by_key(|place| weight(*place)) else {
            break;
        };
        let (channel, range) = spreads.get(place).copied().unwrap_or((0, 0));
        let Some(colours) = boxes.get_mut(place).filter(|_| range > 0) else {
            break;
        };
        colours.sort_unstable_by_key(|colour| colour.get(channel).copied());
        let half = colours.split_off(colours.len() / 2);
        let of_first = spread(colours);
        spreads.push(spread(&half));
        boxes.push(half);
        if let Some(known) = spreads.get_mut(place) {
            *known = of_first;
        }
    }
    let mut palette: Vec<Colour> = boxes
        .iter()
        .map(|colours| {
            let count = colours.len().max(1) as u64;
            [0, 1, 2].map(|channel| {
                let sum: u64 = colours
                    .iter()
                    .filter_map(|c| c.get(channel))
                    .map(|v| u64::from(*v))
                    .sum();
                ((sum + count / 2) / count) as u8
            })
        })
        .collect();
    palette.resize(256, [0; 3]);
    palette
}

/// The nearest colour of the palette, for colours told apart by five bits a channel.
fn nearest(palette: &[Colour], colour: Colour, known: &mut HashMap<Colour, u8>) -> u8 {
    let key = colour.map(|value| value & 0xf8 | 4);
    *known.entry(key).or_insert_with(|| {
        let distance = |other: &Colour| -> i32 {
            other
                .iter()
                .zip(key)
                .map(|(a, b)| (i32::from(*a) - i32::from(b)).pow(2))
                .sum()
        };
        let best = palette
            .iter()
            .enumerate()
            .min_by_key(|(_, other)| distance(other));
        best.map_or(0, |(place, _)| place as u8)
    })
}

/// A frame in the palette's colours.
fn dithered(
    frame: &[u8],
    width: usize,
    palette: &[Colour],
    known: &mut HashMap<Colour, u8>,
) -> Vec<u8> {
    let mut indices = Vec::with_capacity(frame.len() / 3);
    let (mut here, mut below) = (vec![[0i32; 3]; width + 2], vec![[0i32; 3]; width + 2]);
    for row in frame.chunks_exact(3 * width.max(1)) {
        for (x, pixel) in row.as_chunks::<3>().0.iter().enumerate() {
            let carried = here.get(x + 1).copied().unwrap_or_default();
            let mut wanted = [0i32; 3];
            for (channel, value) in wanted.iter_mut().enumerate() {
                *value = (i32::from(pixel[channel]) + carried[channel] / 16).clamp(0, 255);
            }
            let index = nearest(palette, wanted.map(|value| value as u8), known);
            indices.push(index);
            let got = palette.get(usize::from(index)).copied().unwrap_or_default();
            for channel in 0..3 {
                let error = wanted[channel] - i32::from(got[channel]);
                let spread = |line: &mut [[i32; 3]], place: usize, share: i32| {
                    if let Some(carried) = line.get_mut(place) {
                        carried[channel] += error * share;
                    }
                };
                spread(&mut here, x + 2, 7);
                spread(&mut below, x, 3);
                spread(&mut below, x + 1, 5);
                spread(&mut below, x + 2, 1);
            }
        }
        std::mem::swap(&mut here, &mut below);
        below.fill([0; 3]);
    }
    indices
}

/// GIF's LZW (Welch 1984) of bytes: codes of 9 to 12 bits, the lowest bits first.
fn compressed(indices: &[u8]) -> Vec<u8> {
    const CLEAR: u16 = 256;
    const END: u16 = 257;
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0u32, 0u32);
    let mut width = 9;
    let mut put = |code: u16, width: u32| {
        bits |= u32::from(code) << held;
        held += width;
        while held >= 8 {
            bytes.push(bits as u8);
            bits >>= 8;
            held -= 8;
        }
    };
    let mut known: HashMap<(u16, u8), u16> = HashMap::new();
    let mut next = END + 1;
    put(CLEAR, width);
    let mut current: Option<u16> = None;
    for &index in indices {
        let Some(code) = current else {
            current = Some(u16::from(index));
            continue;
        };
        if let Some(longer) = known.get(&(code, index)) {
            current = Some(*longer);
            continue;
        }
        put(code, width);
        if next < MOST_CODES {
            known.insert((code, index), next);
            // The reader is one code behind.
            if next == 1 << width && width < 12 {
                width += 1;
            }
            next += 1;
        } else {
            put(CLEAR, width);
            known.clear();
            (next, width) = (END + 1, 9);
        }
        current = Some(u16::from(index));
    }
    if let Some(code) = current {
        put(code, width);
        // The reader adds a code for it and may widen.
        if next == 1 << width && width < 12 {
            width += 1;
        }
    }
    put(END, width);
    put(0, 7);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader as the standard describes it.
    fn decompressed(data: &[u8]) -> Vec<u8> {
        let bit = |at: usize| u16::from(data[at / 8] >> (at % 8) & 1);
        let (mut at, mut width, mut out) = (0, 9usize, Vec::new());
        let mut table: Vec<Vec<u8>> = Vec::new();
        let mut before: Option<Vec<u8>> = None;
        loop {
            let code = (0..width).map(|i| bit(at + i) << i).sum::<u16>();
            at += width;
            match code {
                256 => {
                    table = (0..258u16).map(|i| vec![i as u8]).collect();
                    (width, before) = (9, None);
                }
                257 => return out,
                code => {
                    let entry = match (table.get(usize::from(code)), &before) {
                        (Some(entry), _) => entry.clone(),
                        (None, Some(before)) => [before.as_slice(), &before[..1]].concat(),
                        (None, None) => panic!("a code of nothing"),
                    };
                    if let Some(before) = before
                        && table.len() < 4096
                    {
                        table.push([before.as_slice(), &entry[..1]].concat());
                    }
                    if table.len() == 1 << width && width < 12 {
                        width += 1;
                    }
                    out.extend(&entry);
                    before = Some(entry);
                }
            }
        }
    }

    #[test]
    fn compression_is_undone_by_a_reader() {
        let mut state = 1u32;
        let mut random = |most: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 16) % most) as u8
        };
        for (length, most) in [
            (0, 1),
            (1, 1),
            (2, 2),
            (255, 2),
            (300, 256),
            (5000, 3),
            (60_000, 256),
            (60_000, 2),
        ] {
            let data: Vec<u8> = (0..length).map(|_| random(most)).collect();
            assert_eq!(decompressed(&compressed(&data)), data, "{length} of {most}");
        }
    }

    #[test]
    fn few_colours_stay_as_they_are() {
        let colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]];
        let frame: Vec<u8> = (0..64).flat_map(|i| colours[i % 4]).collect();
        let palette = palette(&[&frame]);
        for colour in colours {
            assert!(palette.contains(&colour), "{colour:?}");
        }
        let gif = encode_gif(&[&frame, &frame], 8, 8, 100, "words").unwrap();
        assert!(gif.starts_with(b"GIF89a") && gif.ends_with(&[0x3b]));
    }

    #[test]
    fn animated_pngs_hold_all_frames() {
        let frames: Vec<Vec<u8>> = (0..3).map(|i| vec![i * 100; 4 * 2 * 3]).collect();
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let text = [("Title".to_owned(), "ü".to_owned())];
        let bytes = encode_apng(&frames, 4, 2, 250, &text).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes))
            .read_info()
            .unwrap();
        assert_eq!(reader.info().animation_control().unwrap().num_frames, 3);
        for frame in &frames {
            let mut buffer = vec![0; 24];
            reader.next_frame(&mut buffer).unwrap();
            assert_eq!(buffer, *frame);
        }
        assert!(encode_apng(&[], 4, 2, 1, &[]).is_err());
        assert!(encode_gif(&[&[0; 3]], 4, 2, 1, "").is_err());
    }
}
