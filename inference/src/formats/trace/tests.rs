use std::path::{Path, PathBuf};

use serde_json::json;

use super::*;

fn head() -> TraceHead {
    TraceHead {
        program: "Diptych 0".into(),
        build: "x".into(),
        executor: "cpu".into(),
        device: "a device".into(),
        request: json!({ "prompt": "a fox" }),
    }
}

fn facts(index: u32, state: &[u8]) -> StepFacts {
    StepFacts {
        index,
        total: 3,
        sigma: 1.0,
        sha256: "0".repeat(64),
        device: None,
        state_bytes: state.len() as u64,
    }
}

fn write(folder: &Path) -> PathBuf {
    let path = folder.join("a.dtrace");
    let mut writer = TraceWriter::create(&path, &head()).unwrap();
    writer.blob("data", &[1, 2], &[0.5, -1.0]).unwrap();
    for index in 0..3 {
        let state = vec![index as u8; 100];
        writer.step(&facts(index, &state), &state, b"png").unwrap();
    }
    path
}

fn end() -> TraceEnd {
    TraceEnd {
        picture_sha256: "f".repeat(64),
        seconds: 1.0,
        request: json!(1),
    }
}

#[test]
fn what_is_written_is_read_and_can_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path());
    assert!(is_trace(&path));
    let trace = Trace::open(&path).unwrap();
    assert_eq!(trace.head(), &head());
    assert_eq!(
        trace.steps().map(|s| s.index).collect::<Vec<_>>(),
        [0, 1, 2]
    );
    assert_eq!(trace.state(2).unwrap(), [2; 100]);
    assert_eq!(trace.preview(1).unwrap(), b"png");
    assert!(trace.state(3).unwrap_err().to_string().contains("step 3"));
    assert_eq!(trace.blobs().unwrap()[0].values, [0.5, -1.0]);
    assert!(trace.end().is_none() && !trace.is_torn());
    let mut writer = TraceWriter::append(&trace).unwrap();
    writer.step(&facts(3, b"last"), b"last", b"").unwrap();
    writer.done(&end()).unwrap();
    let trace = Trace::open(&path).unwrap();
    assert_eq!(trace.state(3).unwrap(), b"last");
    assert_eq!(trace.preview(3).unwrap(), b"");
    assert_eq!(trace.end(), Some(&end()));
}

#[test]
fn cut_anywhere_the_whole_steps_are_there_and_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path());
    let whole = std::fs::read(&path).unwrap();
    let mut seen = [0; 4];
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let Ok(trace) = Trace::open(&path) else {
            continue;
        };
        let steps = trace.steps().len();
        seen[steps] += 1;
        for index in 0..steps as u32 {
            assert_eq!(trace.state(index).unwrap(), vec![index as u8; 100]);
        }
        let mut writer = TraceWriter::append(&trace).unwrap();
        writer.step(&facts(3, b"last"), b"last", b"").unwrap();
        let trace = Trace::open(&path).unwrap();
        assert!(!trace.is_torn());
        assert_eq!(trace.steps().len(), steps + 1);
    }
    assert!(seen.iter().take(3).all(|count| *count > 50), "{seen:?}");
    std::fs::write(&path, &whole[..20]).unwrap();
    let error = Trace::open(&path).unwrap_err().to_string();
    assert!(
        error.contains("no head") && error.contains("a.dtrace"),
        "{error}"
    );
}

#[test]
fn every_flipped_bit_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path());
    let whole = std::fs::read(&path).unwrap();
    for place in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        // Either refused, or a shorter trace whose end was cut off; never another trace.
        if let Ok(trace) = Trace::open(&path) {
            assert!(trace.is_torn() && trace.steps().len() < 3, "{place}");
        }
    }
}

#[test]
fn hostile_files_are_refused_by_name_and_cheaply() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.dtrace");
    let start = |version: u32| {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes
    };
    let raw = |kind: [u8; 4], facts: &[u8], data: &[u8], length: u64| {
        let mut hasher = checksum(kind, facts, length);
        hasher.update(data);
        let mut bytes = kind.to_vec();
        bytes.extend_from_slice(&(facts.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&hasher.finalize().to_le_bytes());
        bytes.extend_from_slice(facts);
        bytes.extend_from_slice(data);
        bytes
    };
    let good = serde_json::to_vec(&head()).unwrap();
    let head = [start(1), raw(*HEAD, &good, b"", 0)].concat();
    let deep = "[".repeat(100_000).into_bytes();
    let lying = br#"{"index":9,"total":3,"sigma":1,"sha256":"","state_bytes":0}"#;
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "no trace"),
        ("other", b"\x89PNG\r\n\x1a\n 1234567".to_vec(), "no trace"),
        ("newer", start(7), "version 7"),
        ("headless", start(1), "no head"),
        (
            "no head first",
            [start(1), raw(*STEP, b"{}", b"", 0)].concat(),
            "head",
        ),
        (
            "two heads",
            [head.clone(), raw(*HEAD, &good, b"", 0)].concat(),
            "head",
        ),
        (
            "huge",
            [head.clone(), raw(*STEP, b"{}", b"", 1 << 60)].concat(),
            "longer",
        ),
        (
            "deep",
            [head.clone(), raw(*STEP, &deep, b"", 0)].concat(),
            "trace",
        ),
        (
            "lying",
            [head.clone(), raw(*STEP, lying, b"", 0)].concat(),
            "contradict",
        ),
        (
            "many",
            [head.clone(), raw(*b"NONE", b"", b"", 0).repeat(70_000)].concat(),
            "more records",
        ),
    ];
    for (name, bytes, word) in cases {
        std::fs::write(&path, bytes).unwrap();
        let error = Trace::open(&path).unwrap_err().to_string();
        assert!(
            error.contains(word) && error.contains("bad.dtrace"),
            "{name}: {error}"
        );
    }
    // A blob that unpacks to more than it says.
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, &vec![0; 1 << 22]).unwrap();
    let bomb = encoder.finish().unwrap();
    for shape in ["[1]", "[18446744073709551615,2]", "[]"] {
        let facts = format!(r#"{{"name":"x","shape":{shape}}}"#);
        let record = raw(*BLOB, facts.as_bytes(), &bomb, bomb.len() as u64);
        std::fs::write(&path, [head.clone(), record].concat()).unwrap();
        let trace = Trace::open(&path).unwrap();
        assert!(trace.blobs().is_err(), "{shape}");
    }
    assert!(Trace::open(folder.path()).is_err());
    assert!(Trace::open(&folder.path().join("none")).is_err());
}

#[test]
fn other_files_are_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thesis.txt");
    std::fs::write(&path, "years of work").unwrap();
    assert!(TraceWriter::create(&path, &head()).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"years of work");
    let trace = write(folder.path());
    assert!(TraceWriter::create(&trace, &head()).is_ok());
    assert_eq!(Trace::open(&trace).unwrap().steps().len(), 0);
}
