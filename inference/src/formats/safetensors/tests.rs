use std::path::Path;

use proptest::prelude::*;

use super::*;

fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn read(bytes: Vec<u8>) -> Result<Safetensors, FormatError> {
    read_safetensors_bytes(Path::new("attack.safetensors"), bytes)
}

fn fault(header: &str, data: usize) -> FormatError {
    read(file(header, data)).unwrap_err()
}

#[test]
fn what_was_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let tensors = [
        ("b", vec![2, 3], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, -6.5]),
        ("a", vec![], vec![7.0]),
        ("empty", vec![0, 4], vec![]),
    ];
    write_safetensors(&path, &tensors).unwrap();
    let read = read_any(&path).unwrap();
    assert_eq!(
        read.tensors.names().collect::<Vec<_>>(),
        ["a", "b", "empty"]
    );
    for (name, shape, values) in &tensors {
        let tensor = read.tensors.require(name, shape).unwrap();
        assert_eq!(&tensor.to_f32().unwrap(), values);
    }
    // The reference implementation reads it too.
    let bytes = std::fs::read(&path).unwrap();
    let theirs = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(theirs.tensor("b").unwrap().shape(), [2, 3]);
    assert_eq!(
        theirs.tensor("b").unwrap().data(),
        read.tensors.get("b").unwrap().bytes()
    );
}

#[test]
fn what_the_reference_writes_is_read() {
    let data: Vec<u8> = (0..24).collect();
    let view =
        ::safetensors::tensor::TensorView::new(::safetensors::Dtype::BF16, vec![3, 4], &data)
            .unwrap();
    let meta = std::collections::HashMap::from([("k".to_owned(), "v".to_owned())]);
    let bytes = ::safetensors::serialize([("x.weight", view)], Some(meta)).unwrap();
    let read = read(bytes).unwrap();
    let x = read.tensors.require("x.weight", &[3, 4]).unwrap();
    assert_eq!((x.dtype(), x.bytes()), (StorageDtype::Bf16, &data[..]));
    assert_eq!(read.metadata["k"], "v");
}

#[test]
fn each_fault_has_its_name() {
    use FormatError as E;
    let short = |n: usize| read(vec![0; n]).unwrap_err();
    assert!(matches!(short(0), E::Truncated { .. }));
    assert!(matches!(short(7), E::Truncated { .. }));
    assert!(matches!(short(8), E::InvalidJson { .. }));
    let huge = read(u64::MAX.to_le_bytes().to_vec()).unwrap_err();
    assert!(matches!(huge, E::HeaderTooLarge { .. }));
    let lying = read([50_000_000u64.to_le_bytes().as_slice(), b"{}"].concat()).unwrap_err();
    assert!(matches!(lying, E::Truncated { .. }));
    assert!(matches!(fault("[1]", 0), E::InvalidJson { .. }));
    assert!(matches!(fault(" {}", 0), E::InvalidJson { .. }));
    assert!(matches!(fault("{}x", 0), E::InvalidJson { .. }));
    assert!(matches!(
        fault(&"{\"a\":".repeat(100_000), 0),
        E::InvalidJson { .. }
    ));

    let one = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    assert!(read(file(&one("F32", "[2]", "[0,8]"), 8)).is_ok());
    let cases = [
        (one("F32", "[2]", "[0,8]"), 4, "OutOfBounds"),
        (one("F32", "[2]", "[8,0]"), 8, "OutOfBounds"),
        (one("F32", "[2]", "[0,18446744073709551615]"), 8, "OutOfBounds"),
        (one("F32", "[3]", "[0,8]"), 8, "SizeMismatch"),
        (one("F32", "[2]", "[0,8]"), 9, "Hole"),
        (one("F32", "[2]", "[4,12]"), 12, "Hole"),
        (one("Q9", "[2]", "[0,8]"), 8, "UnknownDtype"),
        (one("Q8_0", "[32]", "[0,34]"), 34, "UnknownDtype"),
        (one("F4", "[3]", "[0,2]"), 2, "ShapeOverflow"),
        (one("F32", "[4294967296,4294967296]", "[0,8]"), 8, "ShapeOverflow"),
        (one("F32", "[9223372036854775807]", "[0,8]"), 8, "ShapeOverflow"),
        (one("F32", "[-1]", "[0,8]"), 8, "InvalidJson"),
        (one("F32", "[1.5]", "[0,8]"), 8, "InvalidJson"),
        (one("F32", "[1e400]", "[0,8]"), 8, "InvalidJson"),
        (one("F32", "{}", "[0,8]"), 8, "InvalidJson"),
        (one("F32", "[2]", "[0]"), 8, "InvalidJson"),
        (one("F32", &format!("[{}1]", "1,".repeat(40)), "[0,4]"), 4, "InvalidJson"),
        (r#"{"t":{"dtype":"F32","shape":[2]}}"#.into(), 8, "InvalidJson"),
        (r#"{"t":null}"#.into(), 0, "InvalidJson"),
        (r#"{"__metadata__":{"a":1}}"#.into(), 0, "InvalidJson"),
        (
            r#"{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"t":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#
                .into(),
            2,
            "DuplicateTensor",
        ),
        (
            r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#
                .into(),
            3,
            "Overlap",
        ),
    ];
    for (header, data, name) in cases {
        let found = fault(&header, data);
        assert!(
            format!("{found:?}").starts_with(name),
            "{header}: wanted {name}, got {found:?}"
        );
        let message = found.to_string();
        assert!(message.starts_with("attack.safetensors: "), "{message}");
        assert!(message.len() < 1000, "{message}");
    }
    let invalid_utf8 = read([2u64.to_le_bytes().as_slice(), b"{\xff"].concat()).unwrap_err();
    assert!(matches!(invalid_utf8, E::InvalidJson { .. }));
}

#[test]
fn a_header_of_a_million_names_is_bounded() {
    let mut header = String::from("{");
    for i in 0..300_000 {
        header.push_str(&format!(
            r#""{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}},"#
        ));
    }
    header.pop();
    header.push('}');
    let message = fault(&header, 0).to_string();
    assert!(message.contains("more than 262144 tensors"), "{message}");
}

#[test]
fn messages_do_not_carry_control_characters() {
    let header = r#"{"\u001b[2Jx\n":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#;
    let message = fault(header, 8).to_string();
    assert!(!message.chars().any(char::is_control), "{message}");
}

#[test]
fn shards_are_found_beside_their_index() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write_safetensors(&at("m-1.safetensors"), &[("a", [2], [1.0, 2.0])]).unwrap();
    write_safetensors(&at("m-2.safetensors"), &[("b", [2], [3.0, 4.0])]).unwrap();
    let index = at("m.safetensors.index.json");
    let write = |map: &str| {
        std::fs::write(&index, format!(r#"{{"metadata":{{}},"weight_map":{map}}}"#)).unwrap();
    };
    write(r#"{"a":"m-1.safetensors","b":"m-2.safetensors"}"#);
    assert_eq!(find_in_folder(folder.path(), "m"), Some(index.clone()));
    let model = read_any(&index).unwrap();
    assert_eq!(
        model.tensors.require("b", &[2]).unwrap().to_f32().unwrap(),
        [3.0, 4.0]
    );

    for (map, reason) in [
        (r#"{"a":"m-3.safetensors"}"#, "is missing"),
        (r#"{"a":"m-2.safetensors"}"#, "does not hold"),
        (r#"{"a":"../m-1.safetensors"}"#, "plain file name"),
        (r#"{"a":"/etc/passwd"}"#, "plain file name"),
        (r#"{"a":""}"#, "plain file name"),
        (r#"{"a":".."}"#, "plain file name"),
    ] {
        write(map);
        let fault = read_any(&index).unwrap_err();
        assert!(matches!(fault, FormatError::Shard { .. }), "{fault:?}");
        assert!(fault.to_string().contains(reason), "{fault}");
    }
    std::fs::write(&index, "{}").unwrap();
    assert!(matches!(
        read_any(&index),
        Err(FormatError::InvalidJson { .. })
    ));
}

#[test]
fn folders_and_missing_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        read_any(folder.path()),
        Err(FormatError::WrongFileKind { .. })
    ));
    assert!(matches!(
        read_any(&folder.path().join("x")),
        Err(FormatError::Io { action: "open", .. })
    ));
}

fn sample() -> Vec<u8> {
    let header = r#"{"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b.c":{"dtype":"F16","shape":[3],"data_offsets":[16,22]}}"#;
    file(header, 22)
}

#[test]
fn every_truncation_is_refused() {
    let whole = sample();
    for cut in 0..whole.len() {
        read(whole[..cut].to_vec()).unwrap_err();
    }
    read(whole).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn mutations_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = sample();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(model) = read(bytes) {
            for (_, tensor) in model.tensors.iter() {
                let _ = tensor.to_f32();
            }
        }
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(bytes);
    }
}
