//! Weights and chunks.

use proptest::prelude::*;

use super::*;

/// Parts as pairs; a break is ("BREAK", -1).
fn parts(prompt: &str) -> Vec<(String, f32)> {
    parse_attention(prompt)
        .parts
        .into_iter()
        .map(|part| match part {
            PromptPart::Text { text, weight } => (text, weight),
            PromptPart::Break => ("BREAK".to_owned(), -1.0),
        })
        .collect()
}

fn assert_parts(prompt: &str, want: &[(&str, f64)]) {
    let got = parts(prompt);
    assert_eq!(got.len(), want.len(), "{prompt:?}: {got:?}");
    for ((text, weight), (want_text, want_weight)) in got.iter().zip(want) {
        assert_eq!(text, want_text, "{prompt:?}");
        assert!(
            (f64::from(*weight) - want_weight).abs() < 1e-6,
            "{prompt:?}: {got:?}"
        );
    }
}

#[test]
fn the_original_programs_own_examples() {
    assert_parts("normal text", &[("normal text", 1.0)]);
    assert_parts(
        "an (important) word",
        &[("an ", 1.0), ("important", 1.1), (" word", 1.0)],
    );
    assert_parts("(unbalanced", &[("unbalanced", 1.1)]);
    assert_parts("\\(literal\\]", &[("(literal]", 1.0)]);
    assert_parts("(unnecessary)(parens)", &[("unnecessaryparens", 1.1)]);
    assert_parts(
        "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
        &[
            ("a ", 1.0),
            ("house", 1.5730000000000004),
            (" ", 1.1),
            ("on", 1.0),
            (" a ", 1.1),
            ("hill", 0.55),
            (", sun, ", 1.1),
            ("sky", 1.4641000000000006),
            (".", 1.1),
        ],
    );
}

#[test]
fn weights_escapes_and_oddities() {
    assert_parts("", &[("", 1.0)]);
    assert_parts("(a : 1.5 ) b", &[("a ", 1.5), (" b", 1.0)]);
    assert_parts(
        "(a:-0.5)(b:+2)(c:.5)",
        &[("a", -0.5), ("b", 2.0), ("c", 0.5)],
    );
    assert_parts("[a]", &[("a", 1.0 / 1.1)]);
    assert_parts("[[a]b", &[("a", 1.0 / 1.21), ("b", 1.0 / 1.1)]);
    assert_parts("a) b] c:1.2) d: e", &[("a) b] c:1.2) d: e", 1.0)]);
    assert_parts("time 12:30 (x)", &[("time 12:30 ", 1.0), ("x", 1.1)]);
    assert_parts("(a:b:1.2)", &[("a:b", 1.2)]);
    assert_parts(r"a\b \\ \( \:", &[(r"ab \ ( :", 1.0)]);
    assert_parts("a\\", &[("a", 1.0)]);
    assert_parts("(é:1.2)🦊", &[("é", 1.2), ("🦊", 1.0)]);
    let odd = parse_attention("(a:1.2.3)");
    assert!(odd.warnings[0].contains("1.2.3"));
    assert_parts("(a:1.2.3)", &[("a:1.2.3", 1.1)]);
    assert_parts(
        &format!("(a:{})", "9".repeat(400)),
        &[(&format!("a:{}", "9".repeat(400)), 1.1)],
    );
}

#[test]
fn breaks() {
    assert_parts("a BREAK b", &[("a", 1.0), ("BREAK", -1.0), ("b", 1.0)]);
    assert_parts(
        "a\n BREAK BREAK\tb",
        &[
            ("a", 1.0),
            ("BREAK", -1.0),
            ("", 1.0),
            ("BREAK", -1.0),
            ("b", 1.0),
        ],
    );
    assert_parts("BREAK", &[("", 1.0), ("BREAK", -1.0), ("", 1.0)]);
    assert_parts(
        "BREAKFAST _BREAK aBREAK break",
        &[("BREAKFAST _BREAK aBREAK break", 1.0)],
    );
    assert_parts(
        "(a BREAK b:1.5)",
        &[("a", 1.5), ("BREAK", -1.0), ("b", 1.5)],
    );
    assert_parts("a,BREAK,b", &[("a,", 1.0), ("BREAK", -1.0), (",b", 1.0)]);
}

#[test]
fn deep_nesting_is_bounded_and_said() {
    let start = std::time::Instant::now();
    let deep = parse_attention(&"(a".repeat(100_000));
    assert!(deep.warnings[0].contains("deeper"));
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

fn clip() -> ClipTokenizer {
    ClipTokenizer::from_merges(
        std::path::Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../assets/tokenizers/clip/merges.txt"
        )),
        "<|endoftext|>",
    )
    .unwrap()
}

const BOS: u32 = 49_406;
const EOS: u32 = 49_407;

#[test]
fn plain_prompts_are_one_sequence_and_say_what_was_cut() {
    let clip = clip();
    let out = chunk_prompt("(a red fox:1.2)", PromptSyntax::None, &clip).unwrap();
    assert_eq!(out.chunks.len(), 1);
    assert!(out.unweighted() && out.warnings.is_empty());
    assert_eq!(out.chunks[0].ids.len(), 77);
    let long = chunk_prompt(&"cat ".repeat(80), PromptSyntax::None, &clip).unwrap();
    assert_eq!((long.chunks.len(), long.token_count), (1, 75));
    assert_eq!((long.chunks[0].ids[0], long.chunks[0].ids[76]), (BOS, EOS));
    assert!(
        long.warnings[0].contains("80 tokens")
            && long.warnings[0].contains("\"cat cat cat cat cat\""),
        "{:?}",
        long.warnings
    );
}

#[test]
fn weighted_prompts_fill_as_many_chunks_as_they_need() {
    let clip = clip();
    let cat = clip.encode_words("cat").unwrap()[0];
    let out = chunk_prompt("a (red fox:1.5), [cat]", PromptSyntax::A1111, &clip).unwrap();
    assert_eq!((out.chunks.len(), out.token_count), (1, 5));
    let chunk = &out.chunks[0];
    assert_eq!(chunk.ids[..7], [BOS, 320, 736, 3240, 267, cat, EOS]);
    assert_eq!(
        chunk.weights[..7],
        [1.0, 1.0, 1.5, 1.5, 1.0, (1.0 / 1.1) as f32, 1.0]
    );
    assert_eq!((chunk.ids.len(), chunk.weights.len()), (77, 77));
    assert!(!out.unweighted());

    let long = chunk_prompt(&"cat ".repeat(76), PromptSyntax::A1111, &clip).unwrap();
    assert_eq!((long.chunks.len(), long.token_count), (2, 76));
    assert_eq!(long.chunks[0].ids[1..76], [cat; 75]);
    assert_eq!(long.chunks[1].ids[..3], [BOS, cat, EOS]);
    let exact = chunk_prompt(&"cat ".repeat(75), PromptSyntax::A1111, &clip).unwrap();
    assert_eq!(exact.chunks.len(), 1);

    let mut empty = chunk_prompt("", PromptSyntax::A1111, &clip).unwrap();
    assert_eq!((empty.chunks.len(), empty.token_count), (1, 0));
    assert_eq!(empty.chunks[0].ids[..3], [BOS, EOS, EOS]);
    empty.pad_to(3, &clip);
    assert_eq!(empty.chunks.len(), 3);
    assert_eq!(empty.chunks[2], empty.chunks[0]);
}

#[test]
fn breaks_and_commas_end_chunks() {
    let clip = clip();
    let cat = clip.encode_words("cat").unwrap()[0];
    let broken = chunk_prompt("cat BREAK cat cat", PromptSyntax::A1111, &clip).unwrap();
    assert_eq!(broken.chunks.len(), 2);
    assert_eq!(broken.chunks[0].ids[..3], [BOS, cat, EOS]);
    assert_eq!(broken.chunks[1].ids[..4], [BOS, cat, cat, EOS]);

    // 60 words, a comma, 20 words: the words after the comma move into the next chunk together.
    let text = format!("{}, {}", "cat ".repeat(60), "cat ".repeat(20));
    let moved = chunk_prompt(&text, PromptSyntax::A1111, &clip).unwrap();
    assert_eq!(moved.chunks[0].ids[60..63], [cat, 267, EOS]);
    assert_eq!(moved.chunks[1].ids[20..22], [cat, EOS]);
    // 75 - 54 = 21 tokens back is too far.
    let text = format!("{}, {}", "cat ".repeat(54), "cat ".repeat(30));
    let stayed = chunk_prompt(&text, PromptSyntax::A1111, &clip).unwrap();
    assert_eq!(stayed.chunks[0].ids[74..], [cat, cat, EOS]);
    // A comma that itself does not fit begins the next chunk.
    let text = format!("{}, cat", "cat ".repeat(75));
    let comma = chunk_prompt(&text, PromptSyntax::A1111, &clip).unwrap();
    assert_eq!(comma.chunks[1].ids[..3], [BOS, 267, cat]);
}

proptest! {
    #[test]
    fn any_prompt_parses_and_loses_nothing(prompt in "[a-c()\\[\\]:\\\\.0-9 é🦊+-]{0,60}") {
        let parsed = parse_attention(&prompt);
        prop_assert!(!parsed.parts.is_empty());
        for part in &parsed.parts {
            if let PromptPart::Text { weight, .. } = part {
                prop_assert!(weight.is_finite());
            }
        }
        // Letters are never swallowed.
        let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).collect::<String>();
        let text: String = parsed.parts.iter().map(|part| match part {
            PromptPart::Text { text, .. } => text.as_str(),
            PromptPart::Break => "",
        }).collect();
        prop_assert_eq!(letters(&text), letters(&prompt));
    }

    #[test]
    fn any_text_makes_whole_chunks(prompt in prop_oneof![any::<String>(), "([a-z]{1,6}|[,():0-9]| BREAK ){0,300}"]) {
        thread_local!(static CLIP: ClipTokenizer = clip());
        CLIP.with(|clip| {
            for syntax in [PromptSyntax::None, PromptSyntax::A1111] {
                let out = chunk_prompt(&prompt, syntax, clip).unwrap();
                for chunk in &out.chunks {
                    prop_assert_eq!((chunk.ids.len(), chunk.weights.len()), (77, 77));
                    prop_assert_eq!(chunk.ids[0], BOS);
                }
            }
            Ok(())
        })?;
    }
}
