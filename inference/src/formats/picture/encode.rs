//! Writing PNG files with texts.

use crate::formats::error::FormatError;

/// The IPTC's term for pictures made by a trained model, as an XMP packet: key and text for [`encode_png`].
///
/// <https://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia>
#[must_use]
pub fn ai_disclosure() -> (String, String) {
    let packet = concat!(
        "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>",
        "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\">",
        "<rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">",
        "<rdf:Description rdf:about=\"\" xmlns:Iptc4xmpExt=\"http://iptc.org/std/Iptc4xmpExt/2008-02-29/\" ",
        "Iptc4xmpExt:DigitalSourceType=\"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia\"/>",
        "</rdf:RDF></x:xmpmeta><?xpacket end=\"w\"?>",
    );
    ("XML:com.adobe.xmp".into(), packet.into())
}

/// A PNG file of 8-bit RGB pixels, row by row, with texts `(keyword, text)`.
///
/// Texts are written as `tEXt` where Latin-1 can hold them and no reader takes them for UTF-8, else as uncompressed `iTXt`.
///
/// # Errors
/// If `rgb` is not `width * height * 3` bytes, a side is 0, or a keyword is not 1 to 79 printable Latin-1 characters.
pub fn encode_png<K: AsRef<str>, V: AsRef<str>>(
    rgb: &[u8],
    width: u32,
    height: u32,
    text: &[(K, V)],
) -> Result<Vec<u8>, FormatError> {
    let fault = |what: &str, reason: String| FormatError::CannotEncode {
        what: what.into(),
        reason,
    };
    let needed = u64::from(width) * u64::from(height) * 3;
    if needed == 0 || needed != rgb.len() as u64 {
        let reason = format!("{width}x{height} needs {needed} bytes, not {}", rgb.len());
        return Err(fault("the picture", reason));
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    for (keyword, text) in text {
        let (keyword, text) = (keyword.as_ref(), text.as_ref());
        let printable = |c: char| matches!(c, ' '..='~' | '\u{a1}'..='\u{ff}');
        let length = keyword.chars().count();
        if !(1..=79).contains(&length) || !keyword.chars().all(printable) {
            let what = format!("the text `{}`", crate::formats::error::brief(keyword));
            return Err(fault(
                &what,
                "keywords are 1 to 79 Latin-1 characters".into(),
            ));
        }
        // The control characters from 0x80 on are left to UTF-8, and a zero would end the text.
        let latin1 = |c: char| c == '\n' || printable(c);
        // Some programs write UTF-8 there against the rules, so readers (ours, too) take for it whatever looks like it.
        let mistaken = !text.is_ascii() && {
            let bytes: Vec<u8> = text.chars().filter_map(|c| u8::try_from(c).ok()).collect();
            std::str::from_utf8(&bytes).is_ok()
        };
        let added = if text.chars().all(latin1) && !mistaken {
            encoder.add_text_chunk(keyword.into(), text.into())
        } else {
            encoder.add_itxt_chunk(keyword.into(), text.into())
        };
        added.map_err(|e| fault("a text", e.to_string()))?;
    }
    let written = encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(rgb).and_then(|()| writer.finish()));
    written.map_err(|e| fault("the picture", e.to_string()))?;
    Ok(bytes)
}
