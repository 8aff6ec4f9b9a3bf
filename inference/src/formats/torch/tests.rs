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
