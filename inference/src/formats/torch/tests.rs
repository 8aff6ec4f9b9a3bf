//! Files that torch wrote (tests/reference/make_torch.py), and files that mean harm.

use super::*;

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/reference/torch")
        .join(name)
}

/// Both formats hold the same state, nested as training programs nest it, with views, turned matrices and all types.
#[test]
fn files_of_all_versions_are_read() {
    for name in ["new.ckpt", "old.ckpt"] {
        let file = read_torch(&fixture(name)).unwrap();
        let get = |name: &str| file.tensors.get(name).unwrap();
        let ramp: Vec<f32> = (0..6u8).map(f32::from).collect();
        assert_eq!(get("plain").shape(), [2, 3]);
        assert_eq!(get("plain").to_f32().unwrap(), ramp);
        assert_eq!(get("turned").shape(), [3, 2]);
        assert_eq!(
            get("turned").to_f32().unwrap(),
            [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
        );
        assert_eq!(get("cut").to_f32().unwrap(), [3.0, 4.0, 5.0]);
        assert_eq!(get("half").dtype(), StorageDtype::F16);
        assert_eq!(get("half").to_f32().unwrap(), [1.5, -2.0]);
        assert_eq!(get("bfloat").dtype(), StorageDtype::Bf16);
        assert_eq!(get("parameter").to_f32().unwrap(), [7.0]);
        assert_eq!(get("ids").dtype(), StorageDtype::I64);
        assert_eq!(get("inner.deep").to_f32().unwrap(), [9.0]);
        assert_eq!(file.tensors.len(), 8, "{name}");
    }
    let flat = read_torch(&fixture("flat.pth")).unwrap();
    assert_eq!(
        flat.tensors.names().collect::<Vec<_>>(),
        ["a.weight", "b.bias"]
    );
}

fn refused(name: &str, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let error = read_torch(&path).unwrap_err().to_string();
    assert!(error.contains(name), "{error}");
    error
}

/// A pickle behind the old format's magic number, twice something before it.
fn old_with(pickle: &[u8]) -> Vec<u8> {
    [OLD_MAGIC, b"\x80\x02M\xe9\x03.", b"\x80\x02}.", pickle].concat()
}

#[test]
fn pickles_that_would_run_something_are_refused_by_name() {
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("__builtin__", "exec"),
        ("subprocess", "Popen"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("torch.utils.data", "os.system"),
        ("numpy.testing._private.utils", "runstring"),
        ("runpy", "run_path"),
        ("webbrowser", "open"),
    ] {
        let pickle = format!("\u{0}c{module}\n{name}\n(S'echo'\ntR.");
        let mut bytes = b"\x80\x02".to_vec();
        bytes.extend_from_slice(&pickle.as_bytes()[1..]);
        let error = refused("evil.ckpt", &old_with(&bytes));
        assert!(
            error.contains(&format!("{module}.{name}")) && error.contains("run"),
            "{error}"
        );
    }
    // The same by protocol 4's way to name things.
    let bytes = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04echo\x85R.";
    assert!(refused("evil.pt", &old_with(bytes)).contains("os.system"));
}

#[test]
fn damage_is_told_and_costs_nothing() {
    let good = std::fs::read(fixture("new.ckpt")).unwrap();
    let old = std::fs::read(fixture("old.ckpt")).unwrap();
    for bytes in [&good, &old] {
        for step in 0..60 {
            let length = bytes.len() * step / 60;
            if length > 40 {
                refused("cut.ckpt", &bytes[..length]);
            }
        }
        // Whatever single byte is changed, there is an answer.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("changed.ckpt");
        for place in (0..bytes.len()).step_by(7) {
            let mut bytes = bytes.to_vec();
            bytes[place] ^= 0x5a;
            std::fs::write(&path, bytes).unwrap();
            let _ = read_torch(&path).map(|file| {
                file.tensors.iter().for_each(|(_, tensor)| {
                    let _ = tensor.to_f32();
                });
            });
        }
    }
    let nested: Vec<u8> = [
        b"\x80\x02".to_vec(),
        vec![b']'; 1 << 20],
        vec![b'a'; (1 << 20) - 1],
        b".".to_vec(),
    ]
    .concat();
    refused("deep.ckpt", &old_with(&nested));
    refused("endless.ckpt", &old_with(b"\x80\x02X\xff\xff\xff\x7f."));
    refused("marks.ckpt", &old_with(&[b'('; 4096]));
    refused("popped.ckpt", &old_with(b"\x80\x020000."));
}

/// Little-endian text of pickle protocol 2.
fn text(text: &str) -> Vec<u8> {
    [
        b"X".as_slice(),
        &(text.len() as u32).to_le_bytes(),
        text.as_bytes(),
    ]
    .concat()
}

/// Puts a storage of `elements` floats under memo 0, and the function that makes tensors under memo 1; leaves neither on the stack.
fn makings(elements: u32) -> Vec<u8> {
    [
        b"(".as_slice(),
        &text("storage"),
        b"ctorch\nFloatStorage\n",
        &text("0"),
        &text("cpu"),
        b"J",
        &elements.to_le_bytes(),
        b"tQq\x000ctorch._utils\n_rebuild_tensor_v2\nq\x010",
    ]
    .concat()
}

/// An old file with one pickle and one storage of `elements` floats.
fn old_file(pickle: &[u8], elements: u32) -> Vec<u8> {
    [
        old_with(pickle),
        [b"\x80\x02]".as_slice(), &text("0"), b"a."].concat(),
        u64::from(elements).to_le_bytes().to_vec(),
        vec![0; 4 * elements as usize],
    ]
    .concat()
}

fn numbers(values: &[u64]) -> Vec<u8> {
    let mut pickle = b"(".to_vec();
    for value in values {
        pickle.extend_from_slice(b"\x8a\x08");
        pickle.extend_from_slice(&value.to_le_bytes());
    }
    pickle.push(b't');
    pickle
}

/// A description of a tensor of memo 0.
fn tensor(shape: &[u64], strides: &[u64]) -> Vec<u8> {
    [
        b"h\x01(h\x00K\x00".as_slice(),
        &numbers(shape),
        &numbers(strides),
        b"tR",
    ]
    .concat()
}

#[test]
fn lengths_whose_product_overflows_are_no_panic() {
    let of = |shape: &[u64], strides: &[u64]| {
        let pickle = [
            b"\x80\x02}".as_slice(),
            &makings(4),
            &text("w"),
            &tensor(shape, strides),
            b"s.",
        ]
        .concat();
        read_torch_bytes(Path::new("x.ckpt"), old_file(&pickle, 4))
    };
    assert_eq!(
        of(&[2, 2], &[2, 1])
            .unwrap()
            .tensors
            .get("w")
            .unwrap()
            .shape(),
        [2, 2]
    );
    let big = 1 << 40;
    for shape in [[0, big, big], [big, big, 0], [big, 0, big], [big, big, big]] {
        for strides in [[1, 1, 1], [big, big, 1], [u64::MAX >> 1, 1, 0]] {
            // Read or refused, but answered.
            if let Ok(file) = of(&shape, &strides) {
                assert_eq!(file.tensors.get("w").unwrap().elements(), 0);
            }
        }
    }
}

/// A storage of 64 KiB, turned under twenty thousand names, would take 1.3 GB: more than twice the file is refused.
#[test]
fn turned_tensors_take_no_more_than_twice_the_file() {
    const SIDE: u64 = 128;
    let elements = (SIDE * SIDE) as u32;
    let file = |count: usize| {
        let mut pickle = [b"\x80\x02}".as_slice(), &makings(elements)].concat();
        pickle.extend_from_slice(&tensor(&[SIDE, SIDE], &[1, SIDE]));
        pickle.extend_from_slice(b"q\x020(");
        for name in 0..count {
            pickle.extend_from_slice(&text(&name.to_string()));
            pickle.extend_from_slice(b"h\x02");
        }
        pickle.extend_from_slice(b"u.");
        read_torch_bytes(Path::new("x.ckpt"), old_file(&pickle, elements))
    };
    // Two that share a matrix, as tied layers do.
    assert_eq!(file(2).unwrap().tensors.len(), 2);
    let error = file(20_000).unwrap_err().to_string();
    assert!(error.contains("times the file"), "{error}");
}

/// What few bytes name again and again is shared, and what it takes nevertheless is counted.
#[test]
fn few_bytes_of_a_pickle_take_little_memory() {
    // A storage of a long key, persisted a hundred thousand times: the key is one.
    let key = "k".repeat(1024);
    let pickle = [
        b"\x80\x02(".as_slice(),
        &text("storage"),
        b"ctorch\nFloatStorage\n",
        &text(&key),
        b"NK\x01tq\x00",
        &b"h\x00Q".repeat(100_000),
        b".",
    ]
    .concat();
    let (values, _, _) = machine::read(&pickle).unwrap();
    let keys: std::collections::HashSet<*const u8> = values
        .iter()
        .filter_map(|value| match value {
            Value::Storage(storage) => Some(storage.key.as_ptr()),
            _ => None,
        })
        .collect();
    assert_eq!(keys.len(), 1);
    // A class of a long name, named as often: two texts.
    let pickle = [
        b"\x80\x04".as_slice(),
        &text("torch"),
        b"q\x000",
        &text(&key),
        b"q\x010",
        &b"h\x00h\x01\x93".repeat(100_000),
        b".",
    ]
    .concat();
    let (values, _, _) = machine::read(&pickle).unwrap();
    let names: std::collections::HashSet<*const u8> = values
        .iter()
        .filter_map(|value| match value {
            Value::Global(_, name) => Some(name.as_ptr()),
            _ => None,
        })
        .collect();
    assert_eq!(names.len(), 1);
    // A list of 1000 entries given out as a parameter a hundred thousand times: no list is copied.
    let pickle = [
        b"\x80\x02ctorch._utils\n_rebuild_parameter\nq\x000](".as_slice(),
        &b"N".repeat(1000),
        b"e\x85q\x010",
        &b"h\x00h\x01R".repeat(100_000),
        b".",
    ]
    .concat();
    let (values, _, _) = machine::read(&pickle).unwrap();
    let lists = values
        .iter()
        .filter(|value| matches!(value, Value::List(_)))
        .count();
    assert_eq!(lists, 1);
    // Ten million times nothing: more than the budget.
    let pickle = [b"\x80\x02".as_slice(), &b"N".repeat(10_000_000), b"."].concat();
    let Err(Fault::Damaged(reason)) = machine::read(&pickle) else {
        panic!("it was read");
    };
    assert!(
        reason.contains(&machine::MEMORY_BUDGET.to_string()),
        "{reason}"
    );
}

/// Names of nested dictionaries are joined: a long one above many short ones is counted as often as it is said.
#[test]
fn joined_names_take_no_more_than_their_share() {
    let mut pickle = [
        b"\x80\x02}".as_slice(),
        &makings(1),
        &text(&"n".repeat(4000)),
    ]
    .concat();
    pickle.extend_from_slice(b"}");
    pickle.extend_from_slice(&tensor(&[1], &[1]));
    pickle.extend_from_slice(b"q\x020(");
    for name in 0..40_000 {
        pickle.extend_from_slice(&text(&name.to_string()));
        pickle.extend_from_slice(b"h\x02");
    }
    pickle.extend_from_slice(b"us.");
    let error = read_torch_bytes(Path::new("x.ckpt"), old_file(&pickle, 1))
        .unwrap_err()
        .to_string();
    assert!(error.contains("absurdly large"), "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(1500))]

    #[test]
    fn mutations_never_panic(
        which in 0usize..3,
        changes in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<u8>()), 1..8),
        cut in proptest::option::weighted(0.2, proptest::prelude::any::<proptest::sample::Index>()),
    ) {
        let name = ["new.ckpt", "old.ckpt", "flat.pth"][which];
        let mut bytes = std::fs::read(fixture(name)).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(file) = super::read_torch_bytes(std::path::Path::new("x.ckpt"), bytes) {
            for (_, tensor) in file.tensors.iter() {
                let _ = tensor.to_f32();
            }
        }
    }
}
