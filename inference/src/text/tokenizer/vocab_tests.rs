//! Real vocabularies against llama.cpp's own expectations. They are not part of this repository: name the folder that has `NAME.gguf`, `NAME.gguf.inp` and
//! `NAME.gguf.out` (llama.cpp's `models/`) by the variable `DIPTYCH_VOCABULARIES` and run
//! `cargo test --release -p diptych-inference vocabularies -- --ignored --nocapture`.

use std::path::PathBuf;

use super::*;
use crate::formats::gguf::read_gguf;

#[test]
#[ignore = "needs llama.cpp's vocabularies, which are not part of this repository"]
fn llama_cpps_vocabularies_pass_line_by_line() {
    let folder = std::env::var("DIPTYCH_VOCABULARIES").expect("DIPTYCH_VOCABULARIES is not set");
    let mut wrong = Vec::new();
    for name in ["gpt-2", "llama-spm", "phi-3", "bert-bge"] {
        let path = PathBuf::from(&folder).join(format!("ggml-vocab-{name}.gguf"));
        let file = read_gguf(&path).unwrap();
        let vocabulary = GgufVocab::from_gguf(&file.metadata).unwrap();
        let tokenizer = Tokenizer::new(vocabulary).unwrap();
        let beside = |end: &str| std::fs::read_to_string(format!("{}.{end}", path.display()));
        let (inputs, outputs) = (beside("inp").unwrap(), beside("out").unwrap());
        let texts: Vec<&str> = inputs.split("\n__ggml_vocab_test__\n").collect();
        let lines: Vec<&str> = outputs.lines().collect();
        assert!(texts.len() >= lines.len() && lines.len() > 40, "{name}");
        let mut passed = 0;
        for (number, (text, line)) in texts.iter().zip(&lines).enumerate() {
            let wanted: Vec<u32> = line
                .split_whitespace()
                .map(|id| id.parse().unwrap())
                .collect();
            let got = tokenizer.encode(text, EncodeOptions::default()).unwrap();
            if got == wanted {
                passed += 1;
            } else {
                wrong.push(format!(
                    "{name}, line {}: {text:?} gave {got:?}",
                    number + 1
                ));
            }
        }
        println!("{name}: {passed} of {} lines", lines.len());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
