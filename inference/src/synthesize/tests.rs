#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::formats::gguf::read_gguf;
use crate::formats::ldm::open_checkpoint;
use crate::formats::safetensors::read_any;
use crate::models::Llama;
use crate::text::tokenizer::{EncodeOptions, GgufVocab, Tokenizer};

fn make(kind: Kind, quant: StorageDtype, seed: u64) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("model.{}", kind.extension()));
    let mut told = Vec::new();
    let made = synthesize(&path, Options { kind, quant, seed }, &mut |done, all| {
        told.push((done, all));
        true
    })
    .unwrap();
    assert_eq!(told.last(), Some(&(made.bytes, made.bytes)));
    (folder, path)
}

#[test]
fn every_type_has_the_deviation_wanted_and_no_bias() {
    for dtype in QUANTS {
        let (rows, columns) = (64, 1024);
        let tensor = random_tensor("w", &[rows, columns], dtype, 7).unwrap();
        let values = tensor.to_f32().unwrap();
        assert!(values.iter().all(|value| value.is_finite()), "{dtype}");
        let count = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let square = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / count;
        let wanted = 1.0 / (columns as f64).sqrt();
        let deviation = square.sqrt();
        assert!(
            (deviation / wanted - 1.0).abs() < 0.1,
            "{dtype}: {deviation} for {wanted}"
        );
        // A block's mean has a random sign for some types, so that the mean of all is not quite zero.
        assert!(mean.abs() < 0.1 * wanted, "{dtype}: mean {mean}");
        let distinct: std::collections::HashSet<u32> = values.iter().map(|v| v.to_bits()).collect();
        assert!(
            distinct.len() > 1000,
            "{dtype}: only {} values",
            distinct.len()
        );
    }
}

#[test]
fn equal_seeds_give_equal_bytes_and_others_do_not() {
    let bytes = |seed| {
        let (_folder, path) = make(Kind::LlamaTiny, StorageDtype::Q4K, seed);
        std::fs::read(path).unwrap()
    };
    let first = bytes(1);
    assert_eq!(first, bytes(1));
    let second = bytes(2);
    assert_eq!(first.len(), second.len());
    assert_ne!(first, second);
}

#[test]
fn tiny_decoders_of_every_type_load() {
    for kind in [Kind::LlamaTiny, Kind::QwenTiny] {
        for quant in QUANTS {
            let (_folder, path) = make(kind, quant, 3);
            let file = read_gguf(&path).unwrap();
            let model = Llama::from_gguf(&file).unwrap_or_else(|e| panic!("{quant}: {e}"));
            assert_eq!(model.vocab_size(), 768);
            let matrix = file.tensors.get("blk.1.ffn_down.weight").unwrap();
            assert_eq!((matrix.dtype(), matrix.shape()), (quant, &[256, 512][..]));
        }
    }
}

#[test]
fn the_tokenizer_gives_any_text_back() {
    for (kind, fewest) in [(Kind::LlamaTiny, 1.3), (Kind::Qwen3Small, 2.5)] {
        let mut header = GgufWriter::default();
        let tensors = language::describe(kind, StorageDtype::F16, &mut header);
        let bytes = header.to_bytes().unwrap();
        let file = crate::formats::gguf::read_gguf_bytes(Path::new("made"), bytes).unwrap();
        let vocabulary = GgufVocab::from_gguf(&file.metadata).unwrap();
        assert_eq!(vocabulary.tokens.len(), tensors[0].spec.shape[0]);
        // Every merge is of two tokens and makes one.
        let known: std::collections::HashSet<&str> =
            vocabulary.tokens.iter().map(String::as_str).collect();
        assert_eq!(known.len(), vocabulary.tokens.len());
        for merge in vocabulary.merges.as_ref().unwrap() {
            let (left, right) = merge.split_once(' ').unwrap();
            let whole = format!("{left}{right}");
            assert!(
                [left, right, &whole]
                    .iter()
                    .all(|text| known.contains(text)),
                "{merge}"
            );
        }
        let tokenizer = Tokenizer::new(vocabulary).unwrap();
        assert!(
            tokenizer.warnings().is_empty(),
            "{:?}",
            tokenizer.warnings()
        );
        let english = "The painter mixed a little more blue into the evening sky, and waited for the rain to stop.";
        for text in [
            english,
            "Grüße, мир! 你好 こんにちは 🎨\t\r\n  \u{0}é 3.14159 <|not special",
            "fn main() {\n    println!(\"{}\", 1_000);\n}\n\n\n",
        ] {
            let ids = tokenizer
                .encode(
                    text,
                    EncodeOptions {
                        add_special: false,
                        parse_special: false,
                    },
                )
                .unwrap();
            let back: Vec<u8> = ids
                .iter()
                .flat_map(|&id| tokenizer.piece(id).to_vec())
                .collect();
            assert_eq!(String::from_utf8(back).unwrap(), text);
            if text == english {
                let per_token = text.len() as f64 / ids.len() as f64;
                assert!(
                    per_token > fewest,
                    "{}: {per_token} characters a token",
                    kind.name()
                );
            }
        }
    }
}

#[test]
fn pictures_models_have_all_that_the_loader_wants() {
    for (kind, quant) in [
        (Kind::SdTiny, StorageDtype::F16),
        (Kind::SdxlTiny, StorageDtype::F16),
        (Kind::SdTiny, StorageDtype::Bf16),
    ] {
        let (_folder, path) = make(kind, quant, 5);
        let model = open_checkpoint(&path).unwrap();
        assert_eq!(model.text_encoder_2.is_some(), kind == Kind::SdxlTiny);
        for (_, tensor) in read_any(&path).unwrap().tensors.iter() {
            if tensor.dtype().is_float_weight() {
                assert!(
                    tensor
                        .to_f32()
                        .unwrap()
                        .iter()
                        .all(|value| value.is_finite())
                );
            }
        }
    }
}

/// Of the real files: Stable Diffusion 1.5 has 859,520,964 weights in its U-Net, 83,653,863 in its autoencoder and 123,060,480 in its text
/// encoder; XL has 2,567,463,684, the same autoencoder, and 694,659,841 in its second text encoder, with the scale of the logits.
#[test]
fn real_kinds_have_as_many_weights_as_the_real_models() {
    let count = |kind: Kind, prefix: &str| -> usize {
        let tensors = picture::tensors(kind, StorageDtype::F16);
        let of_part = tensors
            .iter()
            .filter(|planned| planned.spec.name.starts_with(prefix));
        let weights = of_part.filter(|planned| planned.fill != Fill::Count);
        weights
            .map(|planned| planned.spec.elements().unwrap())
            .sum()
    };
    assert_eq!(count(Kind::Sd15, "model.diffusion_model."), 859_520_964);
    assert_eq!(count(Kind::Sd15, "first_stage_model."), 83_653_863);
    assert_eq!(count(Kind::Sd15, "cond_stage_model."), 123_060_480);
    assert_eq!(count(Kind::Sdxl, "model.diffusion_model."), 2_567_463_684);
    assert_eq!(count(Kind::Sdxl, "first_stage_model."), 83_653_863);
    assert_eq!(count(Kind::Sdxl, "conditioner.embedders.0."), 123_060_480);
    assert_eq!(count(Kind::Sdxl, "conditioner.embedders.1."), 694_659_841);
    let count = |kind: Kind| -> usize {
        let tensors = language::describe(kind, StorageDtype::F16, &mut GgufWriter::default());
        let matrices = tensors
            .iter()
            .filter(|planned| !planned.spec.name.starts_with("rope_freqs"));
        matrices
            .map(|planned| planned.spec.elements().unwrap())
            .sum()
    };
    assert_eq!(count(Kind::Qwen3Small), 596_049_920);
    assert_eq!(count(Kind::Llama32Small), 1_235_814_400);
    assert_eq!(count(Kind::Qwen3Medium), 4_022_468_096);
    assert_eq!(count(Kind::Llama31Medium), 8_030_261_248);
}

#[test]
fn what_cannot_be_made_is_refused_and_a_stop_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let options = |kind, quant| Options {
        kind,
        quant,
        seed: 0,
    };
    let error = synthesize(
        &path,
        options(Kind::Sd15, StorageDtype::Q4_0),
        &mut |_, _| true,
    );
    assert!(error.unwrap_err().to_string().contains("F32, F16, BF16"));
    let stopped = synthesize(
        &path,
        options(Kind::LlamaTiny, StorageDtype::F32),
        &mut |_, _| false,
    );
    assert!(matches!(stopped, Err(SynthesizeError::Stopped)));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    for kind in Kind::ALL {
        assert_eq!(Kind::parse(kind.name()), Some(kind));
        assert!(kind.quants().contains(&kind.default_quant()));
    }
    for quant in QUANTS {
        assert_eq!(parse_quant(&quant.name().to_lowercase()), Some(quant));
    }
}
