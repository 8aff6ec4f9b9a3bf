use std::io::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::*;

const PARAMETERS: &str =
    "a fox\nNegative prompt: bad\nSteps: 3, Sampler: Euler, Seed: 7, Size: 8x4";

fn inspect(bytes: &[u8]) -> Result<PictureInfo, FormatError> {
    inspect_picture_bytes(Path::new("p.png"), bytes)
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut out = (data.len() as u32).to_be_bytes().to_vec();
    out.extend(kind);
    out.extend(data);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(kind);
    hasher.update(data);
    out.extend(hasher.finalize().to_be_bytes());
    out
}

/// A PNG without pixels.
fn png(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    out.extend(chunk(b"IHDR", &[0, 0, 0, 2, 0, 0, 0, 3, 8, 2, 0, 0, 0]));
    out.extend(chunks.concat());
    out.extend(chunk(b"IEND", b""));
    out
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn what_was_encoded_is_read() {
    let pixels: Vec<u8> = (0..2 * 3 * 3).collect();
    let unicode = "ein Fuchs — 狐\nSteps: 1, Sampler: Euler, Seed: 2";
    let texts = [
        ("Software".to_owned(), "Diptych é".to_owned()),
        ("parameters".to_owned(), unicode.to_owned()),
        ai_disclosure(),
    ];
    let bytes = encode_png(&pixels, 2, 3, &texts).unwrap();
    assert_eq!(png_texts(Path::new("p.png"), &bytes).unwrap(), texts);
    let info = inspect(&bytes).unwrap();
    assert_eq!(info.prompt.as_deref(), Some("ein Fuchs — 狐"));
    assert_eq!((info.width, info.height), (Some(2), Some(3)));
    // Other readers see the same pixels; Latin-1 goes to `tEXt`, all else to `iTXt`.
    let decoded = image::load_from_memory(&bytes).unwrap().into_rgb8();
    assert_eq!(decoded.as_raw(), &pixels);
    let decoder = png::Decoder::new(std::io::Cursor::new(&bytes));
    let reader = decoder.read_info().unwrap();
    let plain = &reader.info().uncompressed_latin1_text;
    assert_eq!(plain.len(), 1);
    assert_eq!(plain[0].text, "Diptych é");
    assert_eq!(reader.info().utf8_text.len(), 2);
}

#[test]
fn latin_1_that_looks_like_utf_8_is_not_mistaken_for_it() {
    for text in ["Â¡", "Ã©tude", "é", "¡Hola!"] {
        let bytes = encode_png(&[1, 2, 3], 1, 1, &[("k", text)]).unwrap();
        assert_eq!(png_texts(Path::new("p.png"), &bytes).unwrap()[0].1, text);
    }
}

#[test]
fn what_cannot_be_encoded_is_refused() {
    let none: [(&str, &str); 0] = [];
    assert!(encode_png(&[0; 5], 2, 1, &none).is_err());
    assert!(encode_png(&[], 0, 1, &none).is_err());
    assert!(encode_png(&[0; 3], 1, 1, &[("", "x")]).is_err());
    assert!(encode_png(&[0; 3], 1, 1, &[("k".repeat(80), "x")]).is_err());
    assert!(encode_png(&[0; 3], 1, 1, &[("語", "x")]).is_err());
}

#[test]
fn all_text_chunks_are_read_wherever_they_stand() {
    let packed = [
        b"parameters\0\0".as_slice(),
        &deflate(PARAMETERS.as_bytes()),
    ]
    .concat();
    let plain = [b"parameters\0".as_slice(), PARAMETERS.as_bytes()].concat();
    let itxt = [b"parameters\0\0\0de\0x\0".as_slice(), PARAMETERS.as_bytes()].concat();
    let itxt_packed = [
        b"parameters\0\x01\0\0\0".as_slice(),
        &deflate(PARAMETERS.as_bytes()),
    ]
    .concat();
    for text in [
        chunk(b"zTXt", &packed),
        chunk(b"tEXt", &plain),
        chunk(b"iTXt", &itxt),
        chunk(b"iTXt", &itxt_packed),
    ] {
        let after = png(&[chunk(b"IDAT", b"not pixels"), text]);
        let info = inspect(&after).unwrap();
        assert_eq!(info.negative_prompt.as_deref(), Some("bad"));
        assert_eq!((info.width, info.height), (Some(8), Some(4)));
    }
    let latin1 = png(&[chunk(b"tEXt", b"parameters\0caf\xe9")]);
    assert_eq!(inspect(&latin1).unwrap().prompt.as_deref(), Some("café"));
    let utf8 = png(&[chunk(b"tEXt", "parameters\0café".as_bytes())]);
    assert_eq!(inspect(&utf8).unwrap().prompt.as_deref(), Some("café"));
}

#[test]
fn bombs_are_refused() {
    let bomb = [
        b"parameters\0\0".as_slice(),
        &deflate(&vec![b'a'; 20 << 20]),
    ]
    .concat();
    assert!(bomb.len() < 100_000);
    assert!(matches!(
        inspect(&png(&[chunk(b"zTXt", &bomb)])),
        Err(FormatError::DecompressionBomb { .. })
    ));
    let large = [b"k\0\0".as_slice(), &deflate(&vec![b'a'; 15 << 20])].concat();
    let many = vec![chunk(b"zTXt", &large); 20];
    assert!(matches!(
        inspect(&png(&many)),
        Err(FormatError::DecompressionBomb { .. })
    ));
}

#[test]
fn faults_are_named_but_do_not_hide_what_came_before() {
    let text = chunk(
        b"tEXt",
        &[b"parameters\0".as_slice(), PARAMETERS.as_bytes()].concat(),
    );
    let whole = png(&[text]);
    // Cut after the text: what is needed is there.
    assert!(inspect(&whole[..whole.len() - 5]).is_ok());
    // Cut within the text.
    assert!(matches!(
        inspect(&whole[..80]),
        Err(FormatError::Truncated { .. })
    ));
    let mut flipped = whole.clone();
    flipped[60] ^= 1;
    let fault = inspect(&flipped).unwrap_err();
    assert!(fault.to_string().contains("checksum"), "{fault}");
    assert!(matches!(
        inspect(&png(&[])),
        Err(FormatError::NoGenerationData { .. })
    ));
    for broken in [
        &b""[..],
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n\0\0\0\0IDAT\0\0\0\0",
    ] {
        assert!(inspect(broken).is_err());
    }
    let lying = [b"\x89PNG\r\n\x1a\n".as_slice(), &[0xff; 4], b"IHDR"].concat();
    assert!(matches!(
        inspect(&lying),
        Err(FormatError::InvalidPicture { .. })
    ));
    for bad in [
        chunk(b"tEXt", b"no end of the key"),
        chunk(b"tEXt", b"\0empty key"),
        chunk(b"zTXt", b"k\0\x01unknown method"),
        chunk(b"zTXt", b"k\0\0not packed"),
        chunk(b"zTXt", b"k\0"),
        chunk(b"iTXt", b"k\0\0"),
        chunk(b"iTXt", b"k\0\0\0\0\0\xff\xfe"),
        chunk(b"eXIf", b"nonsense"),
    ] {
        let fault = inspect(&png(&[bad])).unwrap_err();
        assert!(
            !matches!(fault, FormatError::NoGenerationData { .. }),
            "{fault}"
        );
    }
}

/// EXIF with a user comment in the directory of its own, and ComfyUI's two texts.
fn tiff(big: bool, comment: &[u8], model: &[u8]) -> Vec<u8> {
    let u16 = |v: u16| {
        if big {
            v.to_be_bytes()
        } else {
            v.to_le_bytes()
        }
    };
    let u32 = |v: u32| {
        if big {
            v.to_be_bytes()
        } else {
            v.to_le_bytes()
        }
    };
    let mut out = if big {
        b"MM\0*".to_vec()
    } else {
        b"II*\0".to_vec()
    };
    out.extend(u32(8));
    out.extend(u16(2));
    let entry = |tag: u16, kind: u16, count: u32, value: u32| {
        [&u16(tag)[..], &u16(kind), &u32(count), &u32(value)].concat()
    };
    let inner_at = 8 + 2 + 24 + 4;
    let comment_at = inner_at + 2 + 12 + 4;
    let model_at = comment_at + comment.len() as u32;
    out.extend(entry(0x0110, 2, model.len() as u32, model_at));
    out.extend(entry(0x8769, 4, 1, inner_at));
    out.extend(u32(0));
    out.extend(u16(1));
    out.extend(entry(0x9286, 7, comment.len() as u32, comment_at));
    out.extend(u32(0));
    out.extend(comment);
    out.extend(model);
    out
}

fn jpeg(exif: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff, 0xd8];
    let mut segment = |marker: u8, data: &[u8]| {
        out.extend([0xff, 0xff, marker]);
        out.extend((data.len() as u16 + 2).to_be_bytes());
        out.extend(data);
    };
    segment(0xe1, &[b"Exif\0\0".as_slice(), exif].concat());
    segment(0xc0, &[8, 0, 30, 0, 40, 1, 1, 0x11, 0]);
    segment(0xda, &[1, 1, 0, 0, 63, 0]);
    out.extend([1, 2, 3, 0xff, 0xd9]);
    out
}

fn webp(exif: &[u8]) -> Vec<u8> {
    let mut body = b"WEBPVP8X\x0a\0\0\0\x08\0\0\0\x27\0\0\x1d\0\0".to_vec();
    body.extend(b"EXIF");
    body.extend((exif.len() as u32).to_le_bytes());
    body.extend(exif);
    body.extend(vec![0; exif.len() % 2]);
    [
        b"RIFF".as_slice(),
        &(body.len() as u32).to_le_bytes(),
        &body,
    ]
    .concat()
}

fn utf16(text: &str, big: bool) -> Vec<u8> {
    let units = text.encode_utf16();
    let bytes = units.flat_map(|u| {
        if big {
            u.to_be_bytes()
        } else {
            u.to_le_bytes()
        }
    });
    b"UNICODE\0".iter().copied().chain(bytes).collect()
}

#[test]
fn exif_of_jpeg_and_webp_is_read() {
    let text = "Füchse 狐\nSteps: 3, Sampler: Euler, Seed: 7";
    for big in [true, false] {
        for comment in [
            utf16(text, true),
            utf16(text, false),
            [b"ASCII\0\0\0", text.as_bytes()].concat(),
        ] {
            let exif = tiff(big, &comment, b"");
            for file in [jpeg(&exif), webp(&exif)] {
                let info = inspect(&file).unwrap();
                assert_eq!(info.prompt.as_deref(), Some("Füchse 狐"));
                assert_eq!((info.width, info.height), (Some(40), Some(30)));
            }
        }
    }
    let graph = r#"prompt:{"1":{"class_type":"KSampler","inputs":{"seed":3,"steps":4,"positive":["2",0],"latent_image":["5",0]}},"2":{"class_type":"CLIPTextEncode","inputs":{"text":"a fox"}}}"#;
    let info = inspect(&webp(&tiff(false, b"", graph.as_bytes()))).unwrap();
    assert_eq!(
        (info.prompt.as_deref(), info.seed),
        (Some("a fox"), Some(3))
    );
}

#[test]
fn truncated_and_mangled_pictures_never_panic() {
    use rand::{Rng as _, SeedableRng as _};
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    let packed = [
        b"parameters\0\0".as_slice(),
        &deflate(PARAMETERS.as_bytes()),
    ]
    .concat();
    let exif = tiff(true, &utf16(PARAMETERS, true), b"prompt:{}");
    let files = [
        png(&[chunk(b"zTXt", &packed), chunk(b"eXIf", &exif)]),
        jpeg(&exif),
        webp(&exif),
    ];
    for file in &files {
        for cut in 0..file.len() {
            let _ = inspect(&file[..cut]);
        }
        for _ in 0..3000 {
            let mut bytes = file.clone();
            for _ in 0..rng.random_range(1..6) {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = rng.random();
            }
            let _ = inspect(&bytes);
        }
    }
}

proptest! {
    #[test]
    fn any_text_survives(text in "\\PC{0,60}", width in 1u32..5, height in 1u32..5) {
        let pixels = vec![9; (width * height * 3) as usize];
        let bytes = encode_png(&pixels, width, height, &[("k", &text)]).unwrap();
        let read = png_texts(Path::new("p.png"), &bytes).unwrap();
        prop_assert_eq!(&read[0].1, &text);
    }
}
