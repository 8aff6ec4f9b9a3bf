//! Hostile and odd pictures to begin from, as masks, to guide by and to be made larger: one clear line in little memory, or the right picture.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageFormat};

use crate::support::{Run, Studio, repository, text, tiny};

fn fixture(name: &str) -> String {
    text(&repository("tests/reference").join(name))
}

/// PNG's checksum (ISO 3309).
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |mut sum, byte| {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
        }
        sum
    })
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut tail = kind.to_vec();
    tail.extend_from_slice(data);
    let sum = crc(&tail).to_be_bytes();
    [&(data.len() as u32).to_be_bytes()[..], &tail, &sum].concat()
}

/// Bytes as zlib keeps them when it does not pack.
fn stored(raw: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 1, 1];
    let length = raw.len() as u16;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
    out.extend_from_slice(raw);
    let (a, b) = raw.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (a + b) % 65_521)
    });
    out.extend_from_slice(&(b << 16 | a).to_be_bytes());
    out
}

/// A PNG of a size, bits, kind of colours, interlacing and packed pixels, with chunks before them.
fn png(
    size: [u32; 2],
    [depth, colour, interlace]: [u8; 3],
    between: &[u8],
    pixels: &[u8],
) -> Vec<u8> {
    let [width, height] = size.map(u32::to_be_bytes);
    let head = [&width[..], &height, &[depth, colour, 0, 0, interlace]].concat();
    [
        &b"\x89PNG\r\n\x1a\n"[..],
        &chunk(b"IHDR", &head),
        between,
        &chunk(b"IDAT", pixels),
        &chunk(b"IEND", b""),
    ]
    .concat()
}

/// A good one of 8x8 in grey.
fn good_png() -> Vec<u8> {
    png([8, 8], [8, 0, 0], &[], &stored(&[0; 8 * 9]))
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn photo() -> DynamicImage {
    let dot = |x: u32, y: u32| image::Rgb([(x * 6) as u8, (y * 7) as u8, ((x ^ y) * 5) as u8]);
    image::RgbImage::from_fn(40, 32, dot).into()
}

/// Names, bytes, and a word of the reason.
fn bad() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = good_png();
    let jpeg = encoded(&photo(), ImageFormat::Jpeg);
    let webp = encoded(&photo(), ImageFormat::WebP);
    let with = |bytes: &[u8], at: usize, new: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[at..at + new.len()].copy_from_slice(new);
        bytes
    };
    let frame = jpeg
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .unwrap();
    let huge = u32::MAX >> 1;
    let full = stored(&[0; 8 * 9]);
    let mut canvas = webp.clone();
    // A canvas of 16,777,216 pixels a side around the picture.
    let extended = [&b"VP8X"[..], &10u32.to_le_bytes(), &[0; 4], &[0xff; 6]].concat();
    canvas.splice(12..12, extended);
    let length = (canvas.len() as u32 - 8).to_le_bytes();
    let canvas = with(&canvas, 4, &length);
    vec![
        ("empty.png", Vec::new(), "the file is empty"),
        (
            "words.png",
            b"not a picture at all".to_vec(),
            "cannot be read as a picture",
        ),
        (
            "gif.png",
            b"GIF89a\x08\0\x08\0\0\0\0;".to_vec(),
            "cannot be read as a picture",
        ),
        (
            "magic.png",
            good[..8].to_vec(),
            "cannot be read as a picture",
        ),
        (
            "head.png",
            good[..20].to_vec(),
            "cannot be read as a picture",
        ),
        (
            "half.png",
            good[..good.len() / 2].to_vec(),
            "cannot be read as a picture",
        ),
        (
            "no-pixels.png",
            png([8, 8], [8, 0, 0], &[], &[]),
            "cannot be read as a picture",
        ),
        (
            "too-few.png",
            png([8, 8], [8, 0, 0], &[], &stored(&[0; 20])),
            "cannot be read as a picture",
        ),
        (
            "sum.png",
            with(&good, good.len() - 20, &[9]),
            "cannot be read as a picture",
        ),
        (
            "not-packed.png",
            png([8, 8], [8, 0, 0], &[], &[7; 60]),
            "cannot be read as a picture",
        ),
        (
            "filter.png",
            png([8, 8], [8, 0, 0], &[], &stored(&[77; 72])),
            "cannot be read as a picture",
        ),
        (
            "no-width.png",
            png([0, 8], [8, 0, 0], &[], &full),
            "cannot be read as a picture",
        ),
        (
            "no-height.png",
            png([8, 0], [8, 0, 0], &[], &full),
            "cannot be read as a picture",
        ),
        (
            "bits.png",
            png([8, 8], [3, 0, 0], &[], &full),
            "cannot be read as a picture",
        ),
        (
            "colours.png",
            png([8, 8], [8, 5, 0], &[], &full),
            "cannot be read as a picture",
        ),
        (
            "weave.png",
            png([8, 8], [8, 0, 9], &[], &full),
            "cannot be read as a picture",
        ),
        (
            "no-palette.png",
            png([8, 8], [8, 3, 0], &[], &full),
            "cannot be read as a picture",
        ),
        (
            "huge.png",
            png([huge, huge], [16, 6, 0], &[], &full),
            "cannot be read as a picture",
        ),
        (
            "long.png",
            png([1 << 30, 1], [8, 0, 0], &[], &full),
            "cannot be read as a picture",
        ),
        (
            "large.png",
            png([16_000, 16_000], [16, 6, 0], &[], &full),
            "16000x16000 pixels, more than 67 million",
        ),
        (
            "half.jpg",
            jpeg[..jpeg.len() * 2 / 3].to_vec(),
            "cannot be read as a picture",
        ),
        (
            "begin.jpg",
            jpeg[..2].to_vec(),
            "cannot be read as a picture",
        ),
        (
            "head.jpg",
            jpeg[..frame + 6].to_vec(),
            "cannot be read as a picture",
        ),
        (
            "huge.jpg",
            with(&jpeg, frame + 5, &[0xff, 0xff, 0xff, 0xff]),
            "cannot be read as a picture",
        ),
        (
            "large.jpg",
            with(&jpeg, frame + 5, &[0x3e, 0x80, 0x3e, 0x80]),
            "more than 67 million",
        ),
        (
            "no-height.jpg",
            with(&jpeg, frame + 5, &[0, 0]),
            "cannot be read as a picture",
        ),
        (
            "half.webp",
            webp[..webp.len() / 2].to_vec(),
            "cannot be read as a picture",
        ),
        (
            "head.webp",
            webp[..14].to_vec(),
            "cannot be read as a picture",
        ),
        (
            "noise.webp",
            with(&webp, 25, &[0xa5; 40]),
            "cannot be read as a picture",
        ),
        ("canvas.webp", canvas, "cannot be read as a picture"),
    ]
}

/// Everything that takes a picture; `PICTURE` stands for it, and what is not named beside is good.
const TAKERS: [&[&str]; 4] = [
    &[
        "draw", "a fox", "--model", "SD", "--steps", "2", "--size", "40x32", "--out", "out.png",
        "--init", "PICTURE",
    ],
    &[
        "draw",
        "a fox",
        "--model",
        "SD",
        "--steps",
        "2",
        "--size",
        "40x32",
        "--out",
        "out.png",
        "--init",
        "photo.png",
        "--mask",
        "PICTURE",
    ],
    &[
        "draw",
        "a fox",
        "--model",
        "SD",
        "--steps",
        "2",
        "--size",
        "40x32",
        "--out",
        "out.png",
        "--control",
        "NET:canny(PICTURE)",
    ],
    &["upscale", "PICTURE", "out.png", "--model", "LARGER"],
];

fn run(studio: &Studio, taker: &[&str], picture: &str, more: &[&str]) -> Run {
    let (sd, net) = (tiny(), fixture("jobs/control-one"));
    let larger = fixture("upscalers/srvgg-x2.safetensors");
    let words: Vec<String> = taker
        .iter()
        .chain(more)
        .map(|word| match *word {
            "SD" => sd.clone(),
            "LARGER" => larger.clone(),
            word => word.replace("NET", &net).replace("PICTURE", picture),
        })
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    studio.run(&words)
}

fn studio() -> Studio {
    let studio = Studio::new();
    photo().save(studio.path("photo.png")).unwrap();
    studio
}

#[test]
fn bad_pictures_are_refused_by_name_wherever_one_is_taken() {
    let studio = studio();
    for (number, (name, bytes, reason)) in bad().into_iter().enumerate() {
        studio.file(name, bytes);
        // All of them to begin from; to the others, which read them the same way, each in turn.
        for taker in [TAKERS[0], TAKERS[1 + number % 3]] {
            let line = run(&studio, taker, name, &[]).refused();
            assert!(
                line.contains(name) && line.contains(reason),
                "{name}: {line}"
            );
        }
    }
    let folder = text(studio.folder.path());
    for (path, reason) in [
        (folder.as_str(), "this is no file"),
        ("gone.png", "gone.png"),
    ] {
        for taker in TAKERS {
            let line = run(&studio, taker, path, &[]).refused();
            assert!(line.contains(reason), "{line}");
        }
    }
    assert!(!studio.path("out.png").exists());
}

/// Files of a few bytes that claim to be large, and one of 80 megabytes in a hundredth of that.
#[cfg(target_os = "linux")]
#[test]
fn pictures_that_swell_take_little_memory() {
    let studio = studio();
    let names = [
        "huge.png",
        "long.png",
        "large.png",
        "huge.jpg",
        "large.jpg",
        "canvas.webp",
    ];
    for (name, bytes, _) in bad() {
        studio.file(name, bytes);
    }
    let flat = image::GrayImage::new(9000, 9000);
    studio.file("bomb.png", encoded(&flat.into(), ImageFormat::Png));
    let model = fixture("upscalers/srvgg-x2.safetensors");
    for name in names.iter().chain(&["bomb.png"]) {
        let words = [
            "upscale", name, "out.png", "--model", &model, "--device", "cpu",
        ];
        // A run may be over before it was looked at even once.
        let peak = (0..50).find_map(|_| crate::bad_files::peak_of(&studio, &words));
        let peak = peak.unwrap();
        assert!(peak < 256 << 10, "{name}: {peak} KiB");
    }
}

/// The largest picture that is read: drawn over as a whole it is scaled down before it becomes numbers, which would take ten times as much; with what needs its
/// own size it is refused.
#[cfg(target_os = "linux")]
#[test]
fn the_largest_pictures_take_bounded_memory() {
    const SIDE: u32 = 8192;
    let studio = studio();
    let flat = image::RgbImage::from_pixel(SIDE, SIDE, image::Rgb([30, 90, 200]));
    studio.file("large.png", encoded(&flat.into(), ImageFormat::Png));
    let white = image::GrayImage::from_pixel(40, 32, image::Luma([255]));
    white.save(studio.path("mask.png")).unwrap();
    let (sd, larger) = (tiny(), fixture("upscalers/srvgg-x2.safetensors"));
    let draw = [
        "draw",
        "a fox",
        "--model",
        &sd,
        "--steps",
        "2",
        "--size",
        "40x32",
        "--out",
        "out.png",
        "--init",
        "large.png",
    ];
    let peak = crate::bad_files::peak_of_ending(
        &studio,
        &[&draw[..], &["--device", "cpu"]].concat(),
        0,
        60,
    )
    .unwrap();
    println!("drawn over: {peak} KiB");
    assert!(peak < 300 << 10, "{peak} KiB");
    let drawn = image::open(studio.path("out.png")).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (40, 32));
    let masked = [&draw[..], &["--mask", "mask.png"]].concat();
    let upscale = ["upscale", "large.png", "out.png", "--model", &larger];
    for words in [&masked[..], &upscale] {
        let line = studio.run(words).refused();
        assert!(
            line.contains("large.png") && line.contains("8192x8192") && line.contains("33 million"),
            "{line}"
        );
    }
}

/// Red, green, blue and white, each in a corner.
#[track_caller]
fn has_four_fields(path: &Path) {
    let pixels = diptych::pictures::read(path).unwrap().on_white();
    assert_eq!(
        (pixels.width, pixels.height),
        (16, 16),
        "{}",
        path.display()
    );
    let fields = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255; 3]];
    for (place, wanted) in fields.iter().enumerate() {
        let (x, y) = (4 + 8 * (place % 2), 4 + 8 * (place / 2));
        let start = 3 * (16 * y + x);
        let got = &pixels.rgb[start..start + 3];
        let far = got
            .iter()
            .zip(wanted)
            .map(|(a, b): (&u8, &u8)| a.abs_diff(*b));
        assert!(
            far.max().unwrap() < 24,
            "{}: {got:?}, not {wanted:?}",
            path.display()
        );
    }
}

#[test]
fn odd_pictures_are_what_they_show() {
    let folder = repository("tests/reference/pictures");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        has_four_fields(&entry.unwrap().path());
        seen += 1;
    }
    assert_eq!(seen, 13);
    // Under each other's names.
    let studio = studio();
    for (file, name) in [
        ("plain.jpg", "a.png"),
        ("sixteen.png", "b.jpg"),
        ("plain.webp", "c.jpeg"),
        ("palette-2.png", "d"),
    ] {
        let bytes = std::fs::read(fixture(&format!("pictures/{file}"))).unwrap();
        has_four_fields(&studio.file(name, bytes));
    }
    // With rubbish behind their ends, as programs append to pictures.
    for file in ["plain.jpg", "palette-8.png", "lossless.webp"] {
        let mut bytes = std::fs::read(fixture(&format!("pictures/{file}"))).unwrap();
        bytes.extend_from_slice(&[0x5a; 999]);
        has_four_fields(&studio.file(&format!("behind-{file}"), bytes));
    }
}

#[test]
fn odd_pictures_are_drawn_from() {
    let studio = studio();
    for file in [
        "cmyk.jpg",
        "sixteen.png",
        "palette-2.png",
        "animated.webp",
        "turned.jpg",
    ] {
        let picture = fixture(&format!("pictures/{file}"));
        // A mask is of the picture's size.
        for (place, taker) in TAKERS.into_iter().enumerate() {
            let more: &[&str] = if place == 1 {
                &["--init", &picture]
            } else {
                &[]
            };
            let taker: Vec<&str> = match place {
                1 => taker
                    .iter()
                    .copied()
                    .filter(|word| !["--init", "photo.png"].contains(word))
                    .collect(),
                _ => taker.to_vec(),
            };
            run(&studio, &taker, &picture, more).ok();
            let drawn = image::open(studio.path("out.png")).unwrap();
            let size = if place == 3 { (32, 32) } else { (40, 32) };
            assert_eq!((drawn.width(), drawn.height()), size, "{file} {place}");
            std::fs::remove_file(studio.path("out.png")).unwrap();
        }
    }
    // One pixel, and one row.
    for (name, size) in [("dot.png", [1, 1]), ("row.png", [60, 1])] {
        let row = vec![0; 1 + size[0] as usize];
        studio.file(name, png(size, [8, 0, 0], &[], &stored(&row)));
        for taker in [TAKERS[0], TAKERS[2], TAKERS[3]] {
            run(&studio, taker, name, &[]).ok();
        }
    }
}

#[test]
fn masks_of_other_sizes_and_empty_ones_are_told() {
    let studio = studio();
    for (name, width, height) in [
        ("small.png", 20, 16),
        ("turned.png", 32, 40),
        ("off.png", 41, 32),
    ] {
        let white = image::GrayImage::from_pixel(width, height, image::Luma([255]));
        white.save(studio.path(name)).unwrap();
        let line = run(&studio, TAKERS[1], name, &[]).refused();
        let (given, picture) = (format!("{width}x{height}"), "40x32");
        assert!(
            line.contains(&given) && line.contains(picture) && line.contains("one size"),
            "{line}"
        );
    }
    image::GrayImage::new(40, 32)
        .save(studio.path("black.png"))
        .unwrap();
    let line = run(&studio, TAKERS[1], "black.png", &["--only-masked"]).refused();
    assert!(line.contains("the mask is empty"), "{line}");
    assert!(!studio.path("out.png").exists());
}

/// What lies under transparent places was seen by nobody, and is not drawn from.
#[test]
fn what_is_transparent_counts_as_white() {
    let studio = studio();
    let over = |hidden: u8| {
        image::RgbaImage::from_fn(40, 32, |x, _| match x < 20 {
            true => image::Rgba([hidden, 0, hidden, 0]),
            false => image::Rgba([10, 200, 30, 255]),
        })
    };
    let mut drawn = Vec::new();
    for hidden in [0, 255] {
        over(hidden).save(studio.path("cut.png")).unwrap();
        for taker in [TAKERS[0], TAKERS[2], TAKERS[3]] {
            let more: &[&str] = if taker[0] == "draw" {
                &["--seed", "3"]
            } else {
                &[]
            };
            run(&studio, taker, "cut.png", more).ok();
            drawn.push(image::open(studio.path("out.png")).unwrap().into_rgb8());
        }
    }
    let (first, second) = drawn.split_at(3);
    assert!(first == second);
}

/// All files of a folder: none makes the program panic, hang or take much memory. `DIPTYCH_PICTURES=folder`.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "takes a folder of hostile pictures"]
fn a_folder_of_hostile_pictures() {
    let folder = std::env::var_os("DIPTYCH_PICTURES").expect("DIPTYCH_PICTURES names a folder");
    let (mut folders, mut files) = (vec![std::path::PathBuf::from(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    let studio = studio();
    let (mut drawn, mut refused, mut faults) = (0, 0, Vec::new());
    for file in &files {
        let run = run(&studio, TAKERS[0], &text(file), &["--strength", "0.5"]);
        let lines: Vec<&str> = run
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        match (run.code, lines.as_slice()) {
            (Some(0), _) => drawn += 1,
            (Some(1), [line]) if line.contains(&text(file)) => refused += 1,
            _ => faults.push(format!("{}: {run:?}", file.display())),
        }
    }
    println!(
        "{} files: {drawn} drawn from, {refused} refused",
        files.len()
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
