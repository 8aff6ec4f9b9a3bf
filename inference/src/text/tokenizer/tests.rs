//! Hard text against reference tokenizers (`tests/reference/make_text.py`), and hostile vocabularies.

use std::collections::HashMap;
use std::path::PathBuf;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/reference/text"
    ))
    .join(name)
}

fn load<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_str(&std::fs::read_to_string(fixture(name)).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct ByteLevel {
    texts: Vec<String>,
    families: HashMap<String, Family>,
}

#[derive(Deserialize)]
struct Family {
    tokens: Vec<String>,
    merges: Vec<String>,
    ids: Vec<Vec<u32>>,
    texts: Vec<String>,
}

impl Family {
    fn vocab(&self, pre: &str) -> GgufVocab {
        GgufVocab {
            model: "gpt2".to_owned(),
            pre: Some(pre.to_owned()),
            tokens: self.tokens.clone(),
            merges: Some(self.merges.clone()),
            ..GgufVocab::default()
        }
    }
}

/// Compares all texts and shows every difference at once.
fn assert_ids<'a>(
    what: &str,
    cases: impl Iterator<Item = (&'a String, &'a Vec<u32>)>,
    encode: impl Fn(&str) -> Vec<u32>,
) {
    let mut count = 0;
    let wrong: Vec<String> = cases
        .inspect(|_| count += 1)
        .filter_map(|(text, want)| {
            let got = encode(text);
            (got != *want).then(|| format!("{text:?}\n  want {want:?}\n  got  {got:?}"))
        })
        .collect();
    assert!(count > 5, "{what}: the fixture is empty");
    assert!(
        wrong.is_empty(),
        "{what}: {} of {count} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn byte_level_families_equal_the_reference() {
    let fixture: ByteLevel = load("bytelevel.json");
    assert_eq!(fixture.families.len(), 6);
    for (name, family) in &fixture.families {
        let tokenizer = Tokenizer::new(family.vocab(name)).unwrap();
        assert!(
            tokenizer.warnings().is_empty(),
            "{:?}",
            tokenizer.warnings()
        );
        assert_ids(
            name,
            fixture.texts.iter().chain(&family.texts).zip(&family.ids),
            |text| {
                let ids = tokenizer.encode(text, EncodeOptions::default()).unwrap();
                assert_eq!(tokenizer.decode(&ids), *text, "{name}: decoding");
                ids
            },
        );
    }
}

#[derive(Deserialize)]
struct SentencePiece {
    texts: Vec<String>,
    models: HashMap<String, SpmModel>,
}

#[derive(Deserialize)]
struct SpmModel {
    tokens: Vec<String>,
    scores: Vec<f32>,
    types: Vec<i32>,
    ids: Vec<Vec<u32>>,
}

impl SpmModel {
    fn vocab(&self) -> GgufVocab {
        GgufVocab {
            model: "llama".to_owned(),
            tokens: self.tokens.clone(),
            scores: Some(self.scores.clone()),
            types: Some(self.types.clone()),
            ..GgufVocab::default()
        }
    }
}

#[test]
fn sentencepiece_equals_the_reference() {
    let fixture: SentencePiece = load("sentencepiece.json");
    for (name, model) in &fixture.models {
        let tokenizer = Tokenizer::new(model.vocab()).unwrap();
        assert_eq!(
            (tokenizer.unk(), tokenizer.bos(), tokenizer.eos()),
            (Some(0), Some(1), Some(2))
        );
        assert!(tokenizer.add_bos_default());
        assert_ids(name, fixture.texts.iter().zip(&model.ids), |text| {
            let ids = tokenizer.encode(text, EncodeOptions::default()).unwrap();
            if name == "bytes" && !text.is_empty() {
                // The mark of a space, spelled out, is a space afterwards: that is SentencePiece's own loss.
                assert_eq!(
                    tokenizer.decode(&ids),
                    format!(" {}", text.replace('\u{2581}', " "))
                );
            }
            ids
        });
    }
}

#[derive(Deserialize)]
struct Clip {
    texts: Vec<String>,
    openai: Vec<Vec<u32>>,
    sd1: Vec<Vec<u32>>,
    sd2: Vec<Vec<u32>>,
    padded: Padded,
}

#[derive(Deserialize)]
struct Padded {
    texts: Vec<String>,
    sd1: Vec<Vec<u32>>,
    sd2: Vec<Vec<u32>>,
}

fn openai_merges() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../assets/tokenizers/clip/merges.txt"
    ))
}

#[test]
fn clip_equals_the_reference() {
    let fixture: Clip = load("clip.json");
    let openai = ClipTokenizer::from_merges(&openai_merges(), "<|endoftext|>").unwrap();
    assert_eq!(openai.tokenizer().vocab_len(), 49_408);
    assert_eq!(
        (openai.bos(), openai.eos(), openai.pad()),
        (49_406, 49_407, 49_407)
    );
    assert_eq!(openai.comma(), Some(267));
    let sd1 = ClipTokenizer::from_folder(&super::tests::fixture("clip_sd1")).unwrap();
    let sd2 = ClipTokenizer::from_folder(&super::tests::fixture("clip_sd2")).unwrap();
    for (name, tokenizer, ids) in [
        ("openai", &openai, &fixture.openai),
        ("sd1", &sd1, &fixture.sd1),
        ("sd2", &sd2, &fixture.sd2),
    ] {
        assert_ids(name, fixture.texts.iter().zip(ids), |text| {
            tokenizer.encode_words_padded(text).unwrap()
        });
    }
    for (name, tokenizer, ids) in [
        ("sd1", &sd1, &fixture.padded.sd1),
        ("sd2", &sd2, &fixture.padded.sd2),
    ] {
        assert_ids(name, fixture.padded.texts.iter().zip(ids), |text| {
            tokenizer
                .sequence(&tokenizer.encode_words_padded(text).unwrap())
                .0
        });
    }
}

#[test]
fn clip_pads_by_the_models_own_token_and_length() {
    let sd2 = ClipTokenizer::from_merges(&openai_merges(), "!")
        .unwrap()
        .with_max_length(8)
        .unwrap();
    assert_eq!(
        sd2.sequence(&[320, 1929]),
        (vec![49_406, 320, 1929, 49_407, 0, 0, 0, 0], &[][..])
    );
    let (ids, cut) = sd2.sequence(&[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(ids, [49_406, 1, 2, 3, 4, 5, 6, 49_407]);
    assert_eq!(cut, [7, 8]);
    // As an ordinary word "!" is another token than as padding.
    assert_eq!(sd2.encode_words("!").unwrap(), [256]);
    assert_eq!(sd2.encode_words_padded("!").unwrap(), [0]);
    assert_eq!(
        sd2.tokenizer()
            .decode(&sd2.encode_words("A  Red fox!").unwrap()),
        "a red fox ! "
    );
    assert!(matches!(
        sd2.with_max_length(2),
        Err(TextError::TooLarge { .. })
    ));
}

#[test]
fn one_file_tokenizers_are_read_like_two() {
    let two = fixture("clip_sd1");
    let vocab: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(two.join("vocab.json")).unwrap()).unwrap();
    let text = std::fs::read_to_string(two.join("merges.txt")).unwrap();
    let merges: Vec<Vec<&str>> = text
        .lines()
        .skip(1)
        .map(|line| line.split(' ').collect())
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let json = serde_json::json!({ "model": { "vocab": vocab, "merges": merges }, "added_tokens": [{ "id": 999, "content": "<new>" }] });
    std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    let one = ClipTokenizer::from_folder(folder.path()).unwrap();
    let two = ClipTokenizer::from_folder(&two).unwrap();
    assert_eq!(one.max_length(), 77);
    assert_eq!(one.tokenizer().id_of("<new>"), Some(999));
    let words = "The quick brown fox, it's what they've said!";
    assert_eq!(
        one.encode_words(words).unwrap(),
        two.encode_words(words).unwrap()
    );
}

#[test]
fn faulty_clip_folders_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let write = |name: &str, text: &str| std::fs::write(path.join(name), text).unwrap();
    let cause = |what: &str| match ClipTokenizer::from_folder(path) {
        Err(TextError::ClipFile { path, cause }) => {
            format!("{}: {cause}", path.file_name().unwrap().display())
        }
        other => panic!("{what}: {other:?}"),
    };
    assert!(cause("nothing").starts_with("vocab.json: "));
    write("vocab.json", "{");
    write("merges.txt", "#version: 0.2\n");
    assert!(cause("broken").contains("EOF"));
    write("vocab.json", "[]");
    assert!(cause("list").contains("no table"));
    write("vocab.json", r#"{"a": -1}"#);
    assert!(cause("negative").contains("not a number"));
    write("vocab.json", r#"{"a": 0, "b": 0}"#);
    assert!(cause("twice").contains("two tokens have id 0"));
    write("vocab.json", r#"{"a": 4000000000}"#);
    assert!(cause("huge").contains("at most"));
    write("vocab.json", r#"{"a": 0}"#);
    assert!(
        matches!(ClipTokenizer::from_folder(path), Err(TextError::ClipToken { token }) if token == "<|startoftext|>")
    );
    write(
        "vocab.json",
        r#"{"<|startoftext|>": 0, "<|endoftext|>": 1}"#,
    );
    write("merges.txt", "#version: 0.2\na b\nab\n");
    assert!(matches!(
        ClipTokenizer::from_folder(path),
        Err(TextError::BadMerge { index: 1, .. })
    ));
    write("merges.txt", "#version: 0.2\na b\n");
    assert_eq!(
        ClipTokenizer::from_folder(path)
            .unwrap()
            .encode_words("ab c")
            .unwrap(),
        [1, 1, 1]
    );
    assert!(
        matches!(ClipTokenizer::from_merges(&path.join("merges.txt"), "!"), Err(TextError::ClipFile { cause, .. }) if cause.contains("cut short"))
    );
}

/// A vocabulary of all bytes, a few merges and chat tokens.
fn chat_vocab() -> GgufVocab {
    let mut tokens: Vec<String> = (0..=255u8)
        .map(|b| bytes::byte_to_char(b).to_string())
        .collect();
    let merges = ["h e", "l l", "he ll", "hell o", "Ġ w"];
    tokens.extend(merges.iter().map(|m| m.replace(' ', "")));
    let mut types = vec![1; tokens.len()];
    for (text, kind) in [
        ("<|bos|>", 3),
        ("<|im_start|>", 3),
        ("<|im_end|>", 3),
        ("<tool>", 4),
        ("<hole>", 5),
    ] {
        tokens.push(text.to_owned());
        types.push(kind);
    }
    GgufVocab {
        model: "gpt2".to_owned(),
        pre: Some("qwen2".to_owned()),
        tokens,
        types: Some(types),
        merges: Some(merges.map(str::to_owned).to_vec()),
        bos: Some(261),
        eos: Some(263),
        ..GgufVocab::default()
    }
}

#[test]
fn special_tokens_are_read_only_where_asked() {
    let tokenizer = Tokenizer::new(chat_vocab()).unwrap();
    let typed = tokenizer
        .encode("<|im_start|>hello<tool>", EncodeOptions::default())
        .unwrap();
    assert!(!typed.contains(&262), "a person cannot type control tokens");
    assert_eq!(
        typed[typed.len() - 2..],
        [259, 264],
        "user-defined tokens are text"
    );
    let parsed = tokenizer
        .encode(
            "<|im_start|>hello<|im_end|>",
            EncodeOptions {
                add_special: true,
                parse_special: true,
            },
        )
        .unwrap();
    assert_eq!(parsed, [262, 259, 263], "qwen2 adds no beginning by itself");
    assert_eq!(tokenizer.decode(&parsed), "<|im_start|>hello<|im_end|>");
    let mut vocab = chat_vocab();
    (vocab.add_bos, vocab.add_eos) = (Some(true), Some(true));
    let tokenizer = Tokenizer::new(vocab).unwrap();
    let both = EncodeOptions {
        add_special: true,
        parse_special: false,
    };
    assert_eq!(tokenizer.encode("", both).unwrap(), [261, 263]);
    assert!(tokenizer.add_bos_default() && tokenizer.add_eos_default());
}

#[test]
fn ends_and_kinds_are_known() {
    let tokenizer = Tokenizer::new(chat_vocab()).unwrap();
    assert!(tokenizer.is_end(263) && !tokenizer.is_end(261) && !tokenizer.is_end(u32::MAX));
    assert_eq!(tokenizer.eot(), Some(263));
    assert!(tokenizer.is_special(261) && !tokenizer.is_special(264) && !tokenizer.is_special(0));
    assert_eq!(tokenizer.piece(264), b"<tool>");
    assert_eq!(tokenizer.piece(265), b"", "a hole stands for nothing");
    assert_eq!(tokenizer.piece(260), b" w");
    assert_eq!(tokenizer.piece_text(260), Some("Ġw"));
    assert_eq!(tokenizer.piece(9999), b"");
    assert_eq!(tokenizer.piece_text(9999), None);
    // A mislabelled end of turn is control all the same.
    let mut vocab = chat_vocab();
    vocab.types.as_mut().unwrap()[263] = 1;
    vocab.eos = None;
    let tokenizer = Tokenizer::new(vocab).unwrap();
    assert!(tokenizer.is_end(263) && tokenizer.is_special(263));
}

#[test]
fn phi_3_swallows_space_after_special_tokens() {
    let mut vocab = chat_vocab();
    vocab.name = Some("Phi-3 mini".to_owned());
    let parse = EncodeOptions {
        add_special: false,
        parse_special: true,
    };
    let tokenizer = Tokenizer::new(vocab).unwrap();
    assert_eq!(
        tokenizer.encode("<|im_end|> \n hello", parse).unwrap(),
        [263, 259]
    );
}

#[test]
fn faulty_vocabularies_are_named() {
    let fail = |change: &dyn Fn(&mut GgufVocab)| {
        let mut vocab = chat_vocab();
        change(&mut vocab);
        Tokenizer::new(vocab).unwrap_err()
    };
    assert_eq!(fail(&|v| v.tokens.clear()), TextError::EmptyVocabulary);
    assert!(matches!(
        fail(&|v| v.merges = None),
        TextError::MissingList {
            key: "tokenizer.ggml.merges",
            ..
        }
    ));
    assert!(matches!(
        fail(&|v| v.model = "llama".into()),
        TextError::MissingList {
            key: "tokenizer.ggml.scores",
            ..
        }
    ));
    assert!(matches!(
        fail(&|v| (v.model, v.scores) = ("llama".into(), Some(vec![0.0]))),
        TextError::LengthMismatch {
            key: "tokenizer.ggml.scores",
            got: 1,
            ..
        }
    ));
    assert_eq!(
        fail(&|v| {
            let mut scores = vec![0.0; v.tokens.len()];
            scores[7] = f32::NAN;
            (v.model, v.scores) = ("llama".into(), Some(scores));
        }),
        TextError::BadScore { id: 7 }
    );
    assert!(matches!(
        fail(&|v| v.model = "rwkv".into()),
        TextError::UnknownModel { .. }
    ));
    assert!(matches!(
        fail(&|v| v.types = Some(vec![1])),
        TextError::LengthMismatch { .. }
    ));
    assert!(matches!(
        fail(&|v| v.bos = Some(266)),
        TextError::IdOutOfRange {
            key: "tokenizer.ggml.bos_token_id",
            id: 266,
            len: 266
        }
    ));
    assert!(matches!(
        fail(&|v| v.eog = vec![5000]),
        TextError::IdOutOfRange { .. }
    ));
    assert!(matches!(
        fail(&|v| v.tokens[3] = v.tokens[2].clone()),
        TextError::DuplicateToken {
            first: 2,
            second: 3,
            ..
        }
    ));
    for bad in ["ab", "", " ", "a ", " b", "a b c"] {
        assert!(
            matches!(
                fail(&|v| v.merges = Some(vec!["h e".into(), bad.into()])),
                TextError::BadMerge { index: 1, .. }
            ),
            "{bad:?}"
        );
    }
    let junk: Vec<String> = (0..300_000).map(|n| format!("x{n} y")).collect();
    assert!(matches!(
        fail(&|v| v.merges = Some(junk.clone())),
        TextError::TooLarge { .. }
    ));
    assert!(matches!(
        fail(&|v| v.tokens = (0..1_100_000).map(|n| n.to_string()).collect()),
        TextError::TooLarge { .. }
    ));
    // Written as "none" by converters.
    let mut vocab = chat_vocab();
    vocab.pad = Some(u32::MAX);
    assert_eq!(Tokenizer::new(vocab).unwrap().pad(), None);
}

#[test]
fn odd_vocabularies_warn() {
    let mut vocab = chat_vocab();
    vocab.pre = Some("from-the-future".into());
    assert!(Tokenizer::new(vocab).unwrap().warnings()[0].contains("from-the-future"));
    let mut vocab = chat_vocab();
    vocab.pre = None;
    assert!(Tokenizer::new(vocab).unwrap().warnings()[0].contains("does not name"));
    let mut vocab = chat_vocab();
    vocab.tokens[usize::from(b'x')] = String::new();
    let tokenizer = Tokenizer::new(vocab).unwrap();
    assert!(tokenizer.warnings()[0].contains("lacks 1 of the 256 bytes"));
    assert_eq!(
        tokenizer
            .encode("hellox", EncodeOptions::default())
            .unwrap(),
        [259]
    );
}

#[test]
fn merges_that_make_no_token_fall_back_on_characters() {
    let mut vocab = chat_vocab();
    vocab.merges = Some(vec!["a b".into(), "ab c".into()]);
    let tokenizer = Tokenizer::new(vocab).unwrap();
    let letters = |text: &str| text.bytes().map(u32::from).collect::<Vec<_>>();
    assert_eq!(
        tokenizer.encode("abcab", EncodeOptions::default()).unwrap(),
        letters("abcab")
    );
}

#[test]
fn long_words_take_linear_time() {
    let fixture: SentencePiece = load("sentencepiece.json");
    let spm = Tokenizer::new(fixture.models["bytes"].vocab()).unwrap();
    let bpe = Tokenizer::new(chat_vocab()).unwrap();
    for tokenizer in [&spm, &bpe] {
        for text in [
            "hello".repeat(60_000),
            " the".repeat(60_000),
            "🦊".repeat(60_000),
        ] {
            let start = std::time::Instant::now();
            let ids = tokenizer.encode(&text, EncodeOptions::default()).unwrap();
            assert!(!ids.is_empty());
            // About 0.2 s; quadratic would be minutes.
            assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
        }
    }
}

#[test]
fn vocabularies_come_out_of_gguf_metadata() {
    use crate::formats::gguf::{GgufArray, GgufMetadata, GgufValue};
    let mut metadata = GgufMetadata::new("x.gguf");
    assert!(GgufVocab::from_gguf(&metadata).is_err(), "no tokenizer");
    let want = chat_vocab();
    let strings = |list: &[String]| GgufValue::Array(GgufArray::String(list.to_vec()));
    metadata.insert(
        "tokenizer.ggml.model",
        GgufValue::String(want.model.clone()),
    );
    metadata.insert("tokenizer.ggml.pre", GgufValue::String("qwen2".to_owned()));
    metadata.insert("tokenizer.ggml.tokens", strings(&want.tokens));
    metadata.insert(
        "tokenizer.ggml.merges",
        strings(want.merges.as_ref().unwrap()),
    );
    metadata.insert(
        "tokenizer.ggml.token_type",
        GgufValue::Array(GgufArray::I32(want.types.clone().unwrap())),
    );
    metadata.insert("tokenizer.ggml.bos_token_id", GgufValue::U32(261));
    metadata.insert("tokenizer.ggml.eos_token_id", GgufValue::U32(263));
    metadata.insert("tokenizer.ggml.eom_token_id", GgufValue::U32(261));
    metadata.insert("tokenizer.ggml.add_bos_token", GgufValue::Bool(true));
    let tokenizer = Tokenizer::new(GgufVocab::from_gguf(&metadata).unwrap()).unwrap();
    assert_eq!(
        tokenizer
            .encode(
                "hello",
                EncodeOptions {
                    add_special: true,
                    parse_special: false
                }
            )
            .unwrap(),
        [261, 259]
    );
    assert!(tokenizer.is_end(261) && tokenizer.is_end(263));
    metadata.insert(
        "tokenizer.ggml.bos_token_id",
        GgufValue::String("x".to_owned()),
    );
    assert!(GgufVocab::from_gguf(&metadata).is_err(), "wrong type");
}

/// Vocabularies that no trainer made.
fn any_vocab() -> impl Strategy<Value = GgufVocab> {
    let token = prop_oneof![
        "[ab▁Ġ<>x0-9]{0,4}",
        Just("<0x41>".to_owned()),
        Just("<s>".to_owned()),
        any::<String>()
    ];
    let merge = prop_oneof!["[abĠ]{1,2} [abĠ]{1,2}", "[ab ]{0,4}"];
    (
        prop_oneof![Just("llama"), Just("gpt2"), Just("")],
        prop_oneof![
            Just(None),
            Just(Some("llama-bpe")),
            Just(Some("smollm")),
            Just(Some("deepseek-v3")),
            Just(Some("?"))
        ],
        prop::collection::btree_set(token, 0..24),
        prop::option::of(prop::collection::vec(merge, 0..12)),
        prop::collection::vec(prop::option::of(0u32..30), 5),
        prop::option::of(prop::collection::vec(
            prop_oneof![-2.0f32..2.0, Just(f32::NAN), Just(f32::INFINITY)],
            24,
        )),
        prop::option::of(prop::collection::vec(-1i32..8, 24)),
    )
        .prop_map(|(model, pre, tokens, merges, ids, scores, types)| {
            let tokens: Vec<String> = tokens.into_iter().collect();
            let len = tokens.len();
            GgufVocab {
                model: model.to_owned(),
                pre: pre.map(str::to_owned),
                name: None,
                scores: scores.map(|s| s[..len].to_vec()),
                types: types.map(|t| t[..len].to_vec()),
                tokens,
                merges,
                bos: ids[0],
                eos: ids[1],
                eot: ids[2],
                unk: ids[3],
                pad: ids[4],
                ..GgufVocab::default()
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn any_vocabulary_is_refused_or_works(vocab in any_vocab(), text in prop_oneof!["[ab <>x0-9▁🦊\n]{0,40}", any::<String>()], special: bool) {
        if let Ok(tokenizer) = Tokenizer::new(vocab) {
            let ids = tokenizer.encode(&text, EncodeOptions { add_special: special, parse_special: special }).unwrap();
            for &id in &ids {
                prop_assert!((id as usize) < tokenizer.vocab_len());
            }
            tokenizer.decode(&ids);
        }
    }

    #[test]
    fn byte_level_text_comes_back(text in any::<String>(), special: bool) {
        thread_local!(static TOKENIZER: Tokenizer = Tokenizer::new(chat_vocab()).unwrap());
        TOKENIZER.with(|tokenizer| {
            let ids = tokenizer.encode(&text, EncodeOptions { add_special: false, parse_special: special }).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids), text);
            Ok(())
        })?;
    }

    #[test]
    fn clip_takes_any_text(text in any::<String>()) {
        thread_local!(static TOKENIZER: ClipTokenizer = ClipTokenizer::from_folder(&fixture("clip_sd2")).unwrap());
        TOKENIZER.with(|tokenizer| {
            let words = tokenizer.encode_words_padded(&text).unwrap();
            prop_assert_eq!(tokenizer.sequence(&words).0.len(), 77);
            Ok(())
        })?;
    }

    #[test]
    fn short_and_long_merging_agree(letters in prop::collection::vec(0u32..4, 2..16), merges in prop::collection::vec("[abcd]{1,3} [abcd]{1,3}", 0..20)) {
        let mut raw = GgufVocab { tokens: ["a", "b", "c", "d"].map(str::to_owned).to_vec(), ..GgufVocab::default() };
        let vocab = vocab::Vocab::new(&mut raw, (None, None, None)).unwrap();
        let merges = merge::Merges::new(&vocab, merges.iter().map(String::as_str)).unwrap();
        // More than 16 symbols go through the heap; symbols that merge with nothing make no difference to the rest.
        let mut short = letters.clone();
        merges.run(&mut short);
        let mut long = letters;
        long.extend([u32::MAX; 16]);
        merges.run(&mut long);
        long.truncate(long.len() - 16);
        prop_assert_eq!(short, long);
    }
}
