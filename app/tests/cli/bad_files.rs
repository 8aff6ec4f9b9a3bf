//! Bad files of every kind: one clear line, exit code 1, soon, in little memory.

use std::io::Write as _;
use std::process::Stdio;

use crate::support::{Studio, repository, text, tiny};

/// A safetensors file whose header is `header`.
fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn hostile(studio: &Studio) -> Vec<String> {
    let gguf = std::fs::read(repository(
        "tests/reference/models/llama-gqa/model-F16.gguf",
    ))
    .unwrap();
    let mut lying = gguf.clone();
    // The number of metadata pairs.
    lying[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    let noise: Vec<u8> = (0..100_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let mut huge = 1_000_000_000_000u64.to_le_bytes().to_vec();
    huge.extend_from_slice(b"{}");
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("empty.gguf", Vec::new()),
        ("empty.safetensors", Vec::new()),
        ("short.gguf", gguf[..40].to_vec()),
        ("half.gguf", gguf[..gguf.len() / 2].to_vec()),
        ("lying.gguf", lying),
        ("noise.gguf", noise.clone()),
        ("noise.safetensors", noise),
        ("huge.safetensors", huge),
        ("nested.safetensors", safetensors(&"[".repeat(200_000), &[])),
        (
            "foreign.safetensors",
            safetensors(
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
                &[0; 4],
            ),
        ),
        (
            "beyond.safetensors",
            safetensors(
                r#"{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}"#,
                &[0; 4],
            ),
        ),
        ("pickle.ckpt", b"\x80\x02}q\x00.".to_vec()),
        ("text.txt", b"hello".to_vec()),
    ];
    let mut paths: Vec<String> = files
        .into_iter()
        .map(|(name, bytes)| text(&studio.file(name, bytes)))
        .collect();
    studio.file("broken/model_index.json", "{");
    studio.file(
        "partial/model_index.json",
        r#"{"_class_name": "StableDiffusionPipeline"}"#,
    );
    std::fs::create_dir(studio.path("hollow")).unwrap();
    paths.extend(["broken", "partial", "hollow"].map(|name| text(&studio.path(name))));
    paths.push(text(&studio.path("missing.gguf")));
    paths
}

#[test]
fn models_that_are_none() {
    let studio = Studio::new();
    let out = text(&studio.path("out.png"));
    for path in hostile(&studio) {
        for command in [
            &["models", "show", &path][..],
            &["draw", "a fox", "--out", &out, "--model", &path],
            &["complete", "a", "--model", &path],
            &["tokenize", &path, "a"],
        ] {
            // What is known of a model that cannot be used is shown all the same.
            let run = studio.run(command);
            let line = if command[0] == "models" {
                run.failed()
            } else {
                run.refused()
            };
            let name = path.rsplit('/').next().unwrap();
            assert!(line.contains(name), "{command:?}: {line}");
        }
    }
    assert!(!studio.path("out.png").exists());
}

#[test]
fn pictures_that_are_none() {
    let studio = Studio::new();
    let png = studio.file("plain.png", plain_png());
    assert!(
        studio
            .run(&["inspect", &text(&png)])
            .refused()
            .contains("plain.png")
    );
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty.png", Vec::new()),
        ("cut.png", plain_png()[..30].to_vec()),
        ("text.png", b"not a picture".to_vec()),
        ("cut.jpg", vec![0xff, 0xd8, 0xff, 0xe1, 0xff, 0xff]),
        ("cut.webp", b"RIFF\xff\xff\xff\xffWEBPVP8 ".to_vec()),
    ];
    for (name, bytes) in cases {
        let path = text(&studio.file(name, bytes));
        assert!(
            studio
                .run(&["inspect", &path, "--json"])
                .refused()
                .contains(name)
        );
    }
    assert!(
        studio
            .run(&["inspect", &text(studio.folder.path())])
            .refused()
            .contains("folder")
    );
}

fn plain_png() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(8, 8)
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

#[test]
fn places_where_nothing_can_be_written() {
    let studio = Studio::new();
    let model = tiny();
    let nowhere = text(&studio.path("no/fox.png"));
    let folder = text(studio.folder.path());
    for out in [nowhere.as_str(), folder.as_str()] {
        let line = studio
            .run(&["draw", "a", "--model", &model, "--out", out])
            .refused();
        assert!(line.contains(out), "{line}");
    }
    let latents = text(&studio.path("no/l.safetensors"));
    studio
        .run(&["draw", "a", "--model", &model, "--dump-latents", &latents])
        .refused();
    studio
        .run(&["draw", "a", "--model", &model, "--latents", &latents])
        .refused();
}

#[test]
fn noise_of_another_shape() {
    let studio = Studio::new();
    let header = r#"{"noise":{"dtype":"F32","shape":[1,1,2,2],"data_offsets":[0,16]}}"#;
    let noise = text(&studio.file("noise.safetensors", safetensors(header, &[0; 16])));
    let out = text(&studio.path("fox.png"));
    let args = [
        "draw",
        "a",
        "--model",
        &tiny(),
        "--size",
        "32x32",
        "--latents",
        &noise,
        "--out",
        &out,
    ];
    let line = studio.run(&args).refused();
    assert!(
        line.contains("[1, 1, 2, 2]") && line.contains("[1, 4, 8, 8]"),
        "{line}"
    );
    assert!(!studio.path("fox.png").exists());
}

#[test]
fn assets_that_are_not_there() {
    let studio = Studio::new();
    let line = studio.run(&["draw", "a", "--assets", "nowhere"]).refused();
    assert!(
        line.contains("nowhere") && line.contains("--assets"),
        "{line}"
    );
    let empty = text(studio.folder.path());
    let line = studio.run(&["chat", "a", "--assets", &empty]).refused();
    assert!(line.contains("muse"), "{line}");
}

#[test]
fn text_that_is_none() {
    let studio = Studio::new();
    let model = text(&repository("tests/reference/models/tiny-sd"));
    let mut command = studio.command(&["tokenize", &model, "--stdin"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"\xff\xfe\x00")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("UTF-8"));
}

/// A sparse file of 4 GiB that claims to be full of tensors: looking at it must not read it into memory.
#[cfg(target_os = "linux")]
#[test]
fn a_large_bad_file_takes_little_memory() {
    let studio = Studio::new();
    let path = studio.file("large.safetensors", safetensors("{\"a\":", &[]));
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(4 << 30)
        .unwrap();
    let mut lying = b"GGUF\x03\0\0\0".to_vec();
    lying.extend_from_slice(&(1u64 << 40).to_le_bytes());
    lying.extend_from_slice(&(1u64 << 40).to_le_bytes());
    let gguf = studio.file("large.gguf", lying);
    std::fs::OpenOptions::new()
        .write(true)
        .open(&gguf)
        .unwrap()
        .set_len(4 << 30)
        .unwrap();
    for (path, verb) in [(&path, "draw"), (&gguf, "complete")] {
        let path = text(path);
        // A run may be over before it was looked at even once.
        let peak = (0..50)
            .find_map(|_| peak_of(&studio, &[verb, "a", "--model", &path, "--device", "cpu"]))
            .unwrap();
        assert!(peak < 512 << 10, "{verb}: {peak} KiB");
    }
}

/// The most memory that a run, which must fail, was seen to take, in KiB.
#[cfg(target_os = "linux")]
pub fn peak_of(studio: &Studio, args: &[&str]) -> Option<u64> {
    peak_of_ending(studio, args, 1, 10)
}

/// As [`peak_of`], of a run that ends with `code` within so many seconds.
#[cfg(target_os = "linux")]
#[track_caller]
pub fn peak_of_ending(studio: &Studio, args: &[&str], code: i32, seconds: u64) -> Option<u64> {
    let mut child = studio.command(args).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let start = std::time::Instant::now();
    let mut peak = None;
    loop {
        let table = std::fs::read_to_string(&status).unwrap_or_default();
        let line = table.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let seen = line.map(|line| line.trim().trim_end_matches(" kB").parse::<u64>().unwrap());
        peak = peak.max(seen);
        if let Some(status) = child.try_wait().unwrap() {
            assert_eq!(status.code(), Some(code), "{args:?}");
            assert!(start.elapsed().as_secs() < seconds, "{args:?}");
            return peak;
        }
    }
}
