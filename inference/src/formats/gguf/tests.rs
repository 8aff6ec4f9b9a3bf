use std::path::Path;

use proptest::prelude::*;

use super::write::GgufWriter;
use super::*;
use crate::formats::weights::StorageDtype;

/// Made by `testdata/make_quants.py` with the Python package `gguf`.
const QUANTS: &[u8] = include_bytes!("../testdata/quants.gguf");
const MORE_QUANTS: &[u8] = include_bytes!("../testdata/more_quants.gguf");

/// Compares all tensors of a file with name, FNV-1a of all values' bytes, and values 0, 1, 700 and 1535, as the script prints them.
fn assert_values(file: &Gguf, expected: &[(&str, u64, [u32; 4])]) {
    assert_eq!(file.tensors.len(), expected.len());
    for (name, hash, samples) in expected {
        let tensor = file.tensors.require(name, &[3, 512]).unwrap();
        assert_eq!(tensor.dtype().name().to_lowercase(), *name);
        let values = tensor.to_f32().unwrap();
        for (at, bits) in [0, 1, 700, 1535].into_iter().zip(samples) {
            assert_eq!(values[at].to_bits(), *bits, "{name}[{at}] = {}", values[at]);
        }
        assert_eq!(fnv(&values), *hash, "{name}");
        assert_eq!(
            tensor.rows_to_f32(1, 1).unwrap(),
            values[512..1024],
            "{name}"
        );
    }
}

#[test]
fn rarer_types_are_dequantised_as_by_gguf_py_to_the_bit() {
    let file = read(MORE_QUANTS.to_vec()).unwrap();
    assert_values(
        &file,
        &[
            (
                "q4_1",
                0x6e2013d99209c07b,
                [0xbc8e0000, 0xbed9c000, 0xbf33a000, 0x3fbd3c00],
            ),
            (
                "q5_0",
                0x91dc60be847850cd,
                [0x3fce4000, 0x3f70a000, 0xbff73000, 0x3f520000],
            ),
            (
                "q5_1",
                0x5561680475848fa8,
                [0xbf050000, 0x3f0c2000, 0x3f48b800, 0xbfe04000],
            ),
            (
                "q2_k",
                0x5cc956876d1abbe9,
                [0x3e978040, 0x3ede1640, 0x3e0ea800, 0xbe693000],
            ),
            (
                "q3_k",
                0xc92e3db6cdce743f,
                [0xbe66df00, 0xbe19ea00, 0x00000000, 0xbe5a3400],
            ),
            (
                "q5_k",
                0x0e01b00e2b2a6c6d,
                [0x3eeaaf80, 0x408aed30, 0xc0fc4bc0, 0xc0a8b598],
            ),
            (
                "iq4_nl",
                0x0125cac421e6fc8f,
                [0x3ecd6000, 0xbf498000, 0x3ec2e600, 0xbf381100],
            ),
            (
                "iq4_xs",
                0x06bf7474abc0db33,
                [0xbece4634, 0xbea8eae0, 0xbe676a00, 0x40d62060],
            ),
        ],
    );
}

fn read(bytes: Vec<u8>) -> Result<Gguf, FormatError> {
    read_gguf_bytes(Path::new("attack.gguf"), bytes)
}

fn fnv(values: &[f32]) -> u64 {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
    })
}

#[test]
fn dequantised_values_are_those_of_gguf_py_to_the_bit() {
    let expected: [(&str, u64, [u32; 4]); 7] = [
        (
            "f32",
            0x648bbff168400d50,
            [0xbdaf251f, 0xbedb89ce, 0xbf302d61, 0x3fbd3fec],
        ),
        (
            "f16",
            0x629505df48598f62,
            [0x3fd28000, 0x3f6ca000, 0xbff14000, 0x3f500000],
        ),
        (
            "bf16",
            0xa3e5e272e8a6e52b,
            [0xbefe0000, 0x3f020000, 0x3f530000, 0xbfe00000],
        ),
        (
            "q8_0",
            0x1d69ba89d4a11c92,
            [0xbe610000, 0xbfa5f000, 0xbfaebd00, 0xbf8eea00],
        ),
        (
            "q4_0",
            0x343ce9e1f90e44e3,
            [0xc02da000, 0x00000000, 0xbf82f800, 0x3ffbe000],
        ),
        (
            "q4_k",
            0x5f6eacca8ac6e4c1,
            [0xc05443a0, 0xc011d2e0, 0xbf38e680, 0xbdce2c00],
        ),
        (
            "q6_k",
            0xb4b4cccda2d47cc0,
            [0xc2014a70, 0x41c1efa8, 0x4186d394, 0x4099a340],
        ),
    ];
    let file = read(QUANTS.to_vec()).unwrap();
    assert_values(&file, &expected);
    assert_eq!(file.metadata.architecture().unwrap(), "quants");
    assert_eq!(
        file.metadata.strings("test.strings").unwrap(),
        ["a", "β", ""]
    );
    assert_eq!(
        file.metadata.opt_floats("test.floats").unwrap().unwrap(),
        [0.5, -1.25]
    );
    assert_eq!(file.metadata.opt_bool("test.flag").unwrap(), Some(true));
}

#[test]
fn large_tensors_are_dequantised_in_parallel_alike() {
    let file = read(QUANTS.to_vec()).unwrap();
    for name in ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_k", "q6_k"] {
        let small = file.tensors.get(name).unwrap();
        let one = small.to_f32().unwrap();
        let copies = 300;
        let bytes = small.bytes().repeat(copies);
        let large = TensorData::new_owned(name, &[3 * copies, 512], small.dtype(), bytes).unwrap();
        let values = large.to_f32().unwrap();
        assert!(values.chunks(one.len()).all(|part| part == one), "{name}");
    }
}

fn small() -> GgufWriter {
    let mut writer = GgufWriter::new("llama");
    writer
        .set("llama.block_count", 2u32)
        .set("llama.rope.freq_base", 10000.0f32)
        .set(
            "tokenizer.ggml.tokens",
            vec!["<s>".to_owned(), "a".to_owned()],
        )
        .set("tokenizer.ggml.scores", vec![0.0f32, -1.0])
        .set("tokenizer.ggml.token_type", vec![3i32, 1])
        .set(
            "nested",
            GgufValue::Array(GgufArray::Array(vec![
                GgufArray::Bool(vec![true, false]),
                GgufArray::U64(vec![7]),
            ])),
        )
        .tensor(TensorData::from_f32("a", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap())
        .tensor(TensorData::new_owned("b", &[2, 32], StorageDtype::Q8_0, vec![1; 68]).unwrap());
    writer
}

#[test]
fn what_was_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    small().write(&path).unwrap();
    let file = read_gguf(&path).unwrap();
    assert_eq!(file.version, 3);
    assert_eq!(
        file.tensors
            .require("a", &[2, 3])
            .unwrap()
            .to_f32()
            .unwrap()[5],
        6.0
    );
    assert_eq!(
        file.tensors.require("b", &[2, 32]).unwrap().bytes(),
        [1; 68]
    );
    let meta = &file.metadata;
    assert_eq!(meta.u32("llama.block_count").unwrap(), 2);
    assert_eq!(meta.f32("llama.rope.freq_base").unwrap(), 10000.0);
    assert_eq!(
        meta.opt_ints("tokenizer.ggml.token_type").unwrap().unwrap(),
        [3, 1]
    );
    let Some(GgufValue::Array(GgufArray::Array(nested))) = meta.get("nested") else {
        panic!("nested array lost");
    };
    assert_eq!(nested[1], GgufArray::U64(vec![7]));
    let missing = meta.u32("llama.context_length").unwrap_err();
    assert!(matches!(missing, FormatError::MissingKey { .. }));
    let wrong = meta.u32("tokenizer.ggml.tokens").unwrap_err().to_string();
    assert!(
        wrong.contains("array of strings") && wrong.contains("whole number"),
        "{wrong}"
    );
    assert!(matches!(
        meta.strings("llama.block_count"),
        Err(FormatError::WrongMetadata { .. })
    ));
}

/// Little-endian pieces of a file, put together by hand.
#[derive(Default, Clone)]
struct Raw(Vec<u8>);

impl Raw {
    fn start(version: u32, tensors: u64, keys: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(version).u64(tensors).u64(keys)
    }
    fn u32(mut self, v: u32) -> Self {
        self.0.extend(v.to_le_bytes());
        self
    }
    fn u64(mut self, v: u64) -> Self {
        self.0.extend(v.to_le_bytes());
        self
    }
    fn text(self, t: &str) -> Self {
        let mut raw = self.u64(t.len() as u64);
        raw.0.extend(t.as_bytes());
        raw
    }
    fn tensor(self, name: &str, dims: &[u64], kind: u32, offset: u64) -> Self {
        let raw = self.text(name).u32(dims.len() as u32);
        dims.iter()
            .fold(raw, |raw, d| raw.u64(*d))
            .u32(kind)
            .u64(offset)
    }
    fn data(mut self, length: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(32) + length, 0);
        self
    }
    fn fault(self, name: &str) {
        let found = read(self.0).unwrap_err();
        assert!(
            format!("{found:?}").starts_with(name),
            "wanted {name}, got {found:?}"
        );
        let message = found.to_string();
        assert!(
            message.starts_with("attack.gguf: ") && message.len() < 1000,
            "{message}"
        );
    }
}

#[test]
fn each_fault_of_the_start_has_its_name() {
    Raw::default().fault("Truncated");
    Raw(b"GGUX".to_vec())
        .u32(3)
        .u64(0)
        .u64(0)
        .fault("UnknownFormat");
    Raw::start(1, 0, 0).fault("UnsupportedVersion");
    Raw::start(0, 0, 0).fault("UnsupportedVersion");
    Raw::start(4, 0, 0).fault("UnsupportedVersion");
    Raw::start(3u32.swap_bytes(), 0, 0).fault("BigEndian");
    Raw::start(3, u64::MAX, 0).fault("Implausible");
    Raw::start(3, 100_000, 0).fault("Implausible");
    Raw::start(3, 0, u64::MAX).fault("Implausible");
    assert!(read(Raw::start(2, 0, 0).0).is_ok());
}

#[test]
fn each_fault_of_the_metadata_has_its_name() {
    let one = || Raw::start(3, 0, 1);
    one().text("").u32(4).u64(9).fault("Implausible");
    one().text("k").u32(13).u64(9).fault("WrongMetadata");
    one().text("k").u32(8).u64(1 << 60).fault("Implausible");
    one().u64(u64::MAX).u64(0).fault("Implausible");
    one().text("k").u32(7).u32(2).fault("Implausible");
    one().text("k").u32(10).u32(2).fault("Truncated");
    one()
        .text("k")
        .u32(9)
        .u32(8)
        .u64(1 << 61)
        .fault("Implausible");
    one()
        .text("k")
        .u32(9)
        .u32(10)
        .u64(1 << 61)
        .fault("Implausible");
    one()
        .text("k")
        .u32(9)
        .u32(4)
        .u64(3)
        .u32(1)
        .fault("Implausible");
    one().text("k").u32(9).u32(99).u64(0).fault("WrongMetadata");
    let nested = (0..100).fold(one().text("k").u32(9), |raw, _| raw.u32(9).u64(1));
    nested.u32(4).u64(0).fault("Implausible");
    let mut invalid = one().text("k").u32(8).u64(2);
    invalid.0.extend([0xff, 0xfe]);
    invalid.fault("NotUtf8");
    Raw::start(3, 0, 2)
        .text("k")
        .u32(4)
        .u32(1)
        .text("k")
        .u32(4)
        .u32(1)
        .fault("DuplicateKey");
    one()
        .text("general.alignment")
        .u32(4)
        .u32(0)
        .fault("WrongMetadata");
    one()
        .text("general.alignment")
        .u32(4)
        .u32(33)
        .fault("WrongMetadata");
    one()
        .text("general.alignment")
        .u32(8)
        .text("32")
        .fault("WrongMetadata");
}

#[test]
fn each_fault_of_the_tensors_has_its_name() {
    let one = || Raw::start(3, 1, 0);
    assert!(read(one().tensor("t", &[8], 0, 0).data(32).0).is_ok());
    one().tensor("", &[8], 0, 0).data(32).fault("Implausible");
    one()
        .tensor(&"n".repeat(2000), &[8], 0, 0)
        .data(32)
        .fault("Implausible");
    one()
        .tensor("t", &[1; 5], 0, 0)
        .data(32)
        .fault("Implausible");
    one()
        .tensor("t", &[u64::MAX], 0, 0)
        .data(32)
        .fault("ShapeOverflow");
    one()
        .tensor("t", &[1 << 40, 1 << 40], 0, 0)
        .data(32)
        .fault("ShapeOverflow");
    one()
        .tensor("t", &[8], 77, 0)
        .data(32)
        .fault("UnknownDtype");
    one().tensor("t", &[8], 4, 0).data(32).fault("UnknownDtype");
    one()
        .tensor("t", &[8, 4], 8, 0)
        .data(34)
        .fault("PartialBlock");
    one().tensor("t", &[8], 0, 4).data(64).fault("Implausible");
    one().tensor("t", &[8], 0, 32).data(32).fault("OutOfBounds");
    one()
        .tensor("t", &[8], 0, u64::MAX - 31)
        .data(32)
        .fault("OutOfBounds");
    one().tensor("t", &[9], 0, 0).data(32).fault("OutOfBounds");
    let two = |second: &str, offset| {
        Raw::start(3, 2, 0)
            .tensor("t", &[16], 0, 0)
            .tensor(second, &[8], 0, offset)
            .data(96)
    };
    two("u", 32).fault("Overlap");
    two("t", 64).fault("DuplicateTensor");
    // Types that cannot be computed with are listed and refused by name.
    let listed = read(one().tensor("t", &[256], 16, 0).data(66).0).unwrap();
    let tensor = listed.tensors.get("t").unwrap();
    assert_eq!(tensor.dtype(), StorageDtype::Iq2Xxs);
    assert!(tensor.to_f32().unwrap_err().to_string().contains("IQ2_XXS"));
    assert!(listed.tensors.require("t", &[256]).is_err());
}

#[test]
fn metadata_cannot_take_more_memory_than_its_budget() {
    // Twelve million empty strings are 96 MB in the file and would be several times that in memory.
    let raw = Raw::start(3, 0, 1).text("k").u32(9).u32(8).u64(12_000_000);
    let mut bytes = raw.0;
    bytes.resize(bytes.len() + 96_000_000, 0);
    let message = read(bytes).unwrap_err().to_string();
    assert!(message.contains("268435456"), "{message}");
}

#[test]
fn split_models_are_put_together() {
    let folder = tempfile::tempdir().unwrap();
    let at = |n: u32| folder.path().join(format!("m-{n:05}-of-00002.gguf"));
    for n in 1..=2u32 {
        let mut writer = GgufWriter::new("llama");
        let name = format!("t{n}");
        writer
            .set("split.no", (n - 1) as u16)
            .set("split.count", 2u16)
            .set("split.tensors.count", 2i32)
            .tensor(TensorData::from_f32(&name, &[1], &[n as f32]).unwrap());
        if n == 1 {
            writer.set("general.name", "first");
        }
        writer.write(&at(n)).unwrap();
    }
    for n in 1..=2 {
        let model = read_gguf(&at(n)).unwrap();
        assert_eq!(model.tensors.names().collect::<Vec<_>>(), ["t1", "t2"]);
        assert_eq!(model.metadata.str("general.name").unwrap(), "first");
    }
    let lone = folder.path().join("lone.gguf");
    std::fs::copy(at(1), &lone).unwrap();
    assert!(matches!(read_gguf(&lone), Err(FormatError::Shard { .. })));
    std::fs::copy(at(1), at(2)).unwrap();
    assert!(matches!(read_gguf(&at(1)), Err(FormatError::Shard { .. })));
    std::fs::remove_file(at(2)).unwrap();
    let fault = read_gguf(&at(1)).unwrap_err();
    assert!(fault.to_string().contains("is missing"), "{fault}");
}

#[test]
fn every_truncation_is_refused() {
    let whole = small().to_bytes().unwrap();
    let last = whole.len() - 28; // the padding after the last tensor is not needed
    for cut in 0..last {
        assert!(read(whole[..cut].to_vec()).is_err(), "cut at {cut}");
    }
    read(whole[..last].to_vec()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn mutations_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = small().to_bytes().unwrap();
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
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read([b"GGUF\x03\0\0\0".as_slice(), &noise].concat());
    }
}
