use proptest::prelude::*;

use super::*;
use crate::text::tokenizer::GgufVocab;

/// Bytes as tokens 3 to 258 behind SentencePiece's own three, and some words.
fn tokenizer() -> Tokenizer {
    let mut tokens = vec!["<unk>".to_owned(), "<s>".into(), "</s>".into()];
    let mut types = vec![2, 3, 3];
    for byte in 0..=255u8 {
        tokens.push(format!("<0x{byte:02X}>"));
        types.push(6);
    }
    for word in [
        "{\"", "\":", "name", "\"fox\"", "▁fox", "12", "3}", "true", "fox",
    ] {
        tokens.push(word.to_owned());
        types.push(1);
    }
    let scores = vec![0.0; tokens.len()];
    Tokenizer::new(GgufVocab {
        model: "llama".into(),
        tokens,
        scores: Some(scores),
        types: Some(types),
        ..GgufVocab::default()
    })
    .unwrap()
}

/// Takes the text's tokens one by one, each of which the mask must allow; then whether the end is allowed.
fn accepts(grammar: &Grammar, text: &str) -> Result<bool, String> {
    let tokenizer = tokenizer();
    let mut state = Guide::new(&tokenizer)
        .unwrap()
        .follow(grammar)
        .map_err(|error| error.to_string())?;
    // A letter a token, spelled in bytes.
    for (at, byte) in text.bytes().enumerate() {
        let id = u32::from(byte) + 3;
        if !state.mask().map_err(|error| error.to_string())?.allows(id) {
            return Err(format!("byte {at} of {text:?} is not allowed"));
        }
        state.take(id).map_err(|error| error.to_string())?;
    }
    Ok(state.mask().map_err(|error| error.to_string())?.allows(2))
}

const SCHEMA: &str = r#"{"type":"object","properties":{"name":{"type":"string"},"count":{"type":"integer"}},
    "required":["name","count"],"additionalProperties":false}"#;

#[test]
fn a_schema_takes_what_it_describes_and_ends_only_where_it_is_whole() {
    let schema = Grammar::JsonSchema(SCHEMA.into());
    assert_eq!(accepts(&schema, r#"{"name": "fox", "count": 3}"#), Ok(true));
    assert_eq!(accepts(&schema, r#"{"name": "fox", "count": 3"#), Ok(false));
    assert_eq!(accepts(&schema, ""), Ok(false));
    assert!(accepts(&schema, r#"{"title"#).is_err());
    assert!(accepts(&schema, r#"{"name": 3"#).is_err());
    // Blanks without end are not allowed, one is.
    assert!(accepts(&schema, "{    ").is_err());
}

#[test]
fn regular_expressions_and_grammars_match_whole_answers() {
    let regex = Grammar::Regex("(fox|owl)[0-9]{2,3}".into());
    assert_eq!(accepts(&regex, "fox12"), Ok(true));
    assert_eq!(accepts(&regex, "owl123"), Ok(true));
    assert_eq!(accepts(&regex, "fox1"), Ok(false));
    assert!(accepts(&regex, "foxes").is_err());
    let lark = Grammar::Lark("start: \"a\" (\",\" \"a\")* \";\"\n".into());
    assert_eq!(accepts(&lark, "a,a,a;"), Ok(true));
    assert_eq!(accepts(&lark, "a,a"), Ok(false));
    assert!(accepts(&lark, "aa").is_err());
}

#[test]
fn tokens_of_several_letters_and_special_tokens_are_told_apart() {
    let tokenizer = tokenizer();
    let id = |text: &str| tokenizer.id_of(text).unwrap();
    let guide = Guide::new(&tokenizer).unwrap();
    let mut state = guide.follow(&Grammar::Regex("fox|<s>".into())).unwrap();
    let mask = state.mask().unwrap();
    assert!(mask.allows(id("fox")));
    assert!(!mask.allows(id("▁fox")), "the space is no part of it");
    assert!(
        !mask.allows(1),
        "a control token is no text, however it is spelled"
    );
    assert!(!mask.allows(2));
    assert!(mask.allows(u32::from(b'<') + 3));
    state.take(id("fox")).unwrap();
    assert!(state.is_complete());
    let end = state.mask().unwrap();
    assert!(end.allows(2) && end.count() == 1);
    assert!(state.take(id("fox")).is_err());
}

#[test]
fn faults_name_the_place() {
    let fault = |grammar: Grammar| grammar.check().unwrap_err().to_string();
    let json = fault(Grammar::JsonSchema("{\n  \"type\": object\n}".into()));
    assert!(
        json.contains("JSON schema") && json.contains("line 2"),
        "{json}"
    );
    let keyword = fault(Grammar::JsonSchema(r#"{"type":"objekt"}"#.into()));
    assert!(keyword.contains("objekt"), "{keyword}");
    let no_schema = fault(Grammar::JsonSchema("[]".into()));
    assert!(no_schema.contains("object"), "{no_schema}");
    let regex = fault(Grammar::Regex("fox(es".into()));
    assert!(regex.contains("regular expression"), "{regex}");
    let lark = fault(Grammar::Lark("start: thing\n".into()));
    assert!(lark.contains("thing"), "{lark}");
    let syntax = fault(Grammar::Lark("start: \"a\"\nfoo bar".into()));
    assert!(syntax.contains('2'), "{syntax}");
    println!("{json}\n{keyword}\n{regex}\n{lark}\n{syntax}");
    Grammar::JsonSchema(SCHEMA.into()).check().unwrap();
}

#[test]
fn bombs_are_refused() {
    // Within the small stack of an engine's thread.
    let refused = std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(|| {
            let deep =
                |open: &str, close: &str, n| format!("{}a{}", open.repeat(n), close.repeat(n));
            let nested = |n| {
                Grammar::JsonSchema(format!(
                    "{}true{}",
                    r#"{"type":"array","items":"#.repeat(n),
                    "}".repeat(n)
                ))
            };
            nested(60).check().unwrap();
            [
                Grammar::Regex(deep("(", ")", 100_000)),
                Grammar::Lark(format!("start: {}", deep("(", ")", 100_000))),
                nested(100_000),
                Grammar::Regex("((a{1,1000}){1,1000}){1,1000}".into()),
                Grammar::Regex("x".repeat(2 << 20)),
            ]
            .map(|grammar| grammar.check().is_err())
        })
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(refused, [true; 5]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever a person writes: it is refused or followed, soon, and what is followed allows something or ends.
    #[test]
    fn whatever_is_written_ends_soon(
        kind in 0..3,
        parts in prop::collection::vec(prop::sample::select(vec![
            "a", "b*", "(", ")", "[a-z]", "[^", "]", "{2,5}", "{0,9999}", "|", "\\d", "\\p{L}", "^", "$", ".", "(?i:", "\\", "+", "start:", "x:", " ", "\n",
            "\"y\"", "/z+/", "start", "x", "%ignore /\\s/", "%json {}", "?", "~ 3", "\u{1f98a}",
            "{\"type\":\"object\"}", "{", "}", "\"type\":\"string\"", "\"enum\":[1,\"a\"]", "\"items\":{}", "\"minItems\":3", "\"maxLength\":99999", ",", ":",
            "\"$ref\":\"#\"", "\"pattern\":\"a+\"", "\"anyOf\":[{},{}]", "\"properties\":{\"a\":{}}", "true", "null",
        ]), 0..12),
    ) {
        let text = parts.concat();
        let grammar = match kind {
            0 => Grammar::Regex(text),
            1 => Grammar::Lark(text),
            _ => Grammar::JsonSchema(text),
        };
        let begun = std::time::Instant::now();
        if let Ok(mut state) = Guide::new(&tokenizer()).unwrap().follow(&grammar) {
            for turn in 0..12 {
                let Ok(mask) = state.mask() else { break };
                let allowed: Vec<u32> = mask.ids().collect();
                prop_assert!(!allowed.is_empty(), "{grammar:?}");
                if state.take(allowed[turn * 5 % allowed.len()]).is_err() || state.is_complete() {
                    break;
                }
            }
        }
        prop_assert!(begun.elapsed().as_secs() < 10, "{:?} {grammar:?}", begun.elapsed());
    }
}
