//! Compares tokenizers with llama.cpp's own vocabulary tests.
//!
//! `vocab_check FILE.gguf...`: beside each file lie `FILE.gguf.inp` (texts parted by `__ggml_vocab_test__` lines) and `FILE.gguf.out` (the expected ids,
//! a line each). Also encodes a long text, to see that the time stays linear. Ends with status 1 if anything differs.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use diptych_inference::formats::gguf::read_gguf;
use diptych_inference::text::tokenizer::{EncodeOptions, GgufVocab, Tokenizer};

type Failure = Box<dyn std::error::Error>;

fn check(path: &Path) -> Result<usize, Failure> {
    let start = Instant::now();
    let file = read_gguf(path)?;
    let tokenizer = Tokenizer::new(GgufVocab::from_gguf(&file.metadata)?)?;
    let loaded = start.elapsed();
    for warning in tokenizer.warnings() {
        println!("{}: warning: {warning}", path.display());
    }
    let texts = std::fs::read_to_string(format!("{}.inp", path.display()))?;
    let wanted = std::fs::read_to_string(format!("{}.out", path.display()))?;
    // The mark also stands after the last text.
    let texts: Vec<&str> = texts
        .strip_suffix("\n__ggml_vocab_test__\n")
        .unwrap_or(&texts)
        .split("\n__ggml_vocab_test__\n")
        .collect();
    let wanted: Vec<&str> = wanted.lines().collect();
    let mut wrong = texts.len().abs_diff(wanted.len());
    for (text, line) in texts.iter().zip(&wanted) {
        let want = line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<Vec<u32>, _>>()?;
        let got = tokenizer.encode(text, EncodeOptions::default())?;
        if got != want {
            wrong += 1;
            println!(
                "{}: {text:?}\n  want {want:?}\n  got  {got:?}",
                path.display()
            );
        }
        if tokenizer.decode(&got).trim_start() != text.trim_start() {
            wrong += 1;
            println!(
                "{}: {text:?} decodes to {:?}",
                path.display(),
                tokenizer.decode(&got)
            );
        }
    }
    let long: String = texts.join(" ").chars().cycle().take(1 << 20).collect();
    let start = Instant::now();
    let ids = tokenizer.encode(&long, EncodeOptions::default())?;
    println!(
        "{}: {} of {} texts agree; loaded in {loaded:.0?}; {} bytes to {} tokens in {:.0?}",
        path.display(),
        texts.len() - wrong.min(texts.len()),
        texts.len(),
        long.len(),
        ids.len(),
        start.elapsed()
    );
    Ok(wrong)
}

fn main() -> ExitCode {
    let mut wrong = 0;
    for path in std::env::args_os().skip(1) {
        wrong += check(Path::new(&path)).unwrap_or_else(|error| {
            println!("{}: {error}", Path::new(&path).display());
            1
        });
    }
    ExitCode::from(u8::from(wrong > 0))
}
