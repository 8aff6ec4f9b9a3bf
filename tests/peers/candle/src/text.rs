//! Qwen 3 from a GGUF file, kept in its blocks.

use std::fs::File;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_qwen3::ModelWeights;

/// Tokens in the cache before any is written, as in `diptych bench`.
const BEFORE: usize = 128;
/// Tokens that stand for any; no kernel looks at them.
const STRIDE: usize = 7919;

/// Tokens a second: `prefill N` for each of `prompts` and `decode`, the median of `written` tokens.
pub fn measure(path: &str, prompts: &[usize], written: usize) -> Result<Vec<(String, f64)>> {
    let device = Device::Cpu;
    let mut file = File::open(path).with_context(|| format!("{path} cannot be opened"))?;
    let content = Content::read(&mut file)?;
    let vocabulary = content
        .metadata
        .get("tokenizer.ggml.tokens")
        .context("the file has no tokenizer")?
        .to_vec()?
        .len();
    let mut model = ModelWeights::from_gguf(content, &mut file, &device)?;
    let ids = |rows: usize| -> Result<Tensor> {
        let ids: Vec<u32> = (0..rows)
            .map(|at| (at * STRIDE % vocabulary) as u32)
            .collect();
        Ok(Tensor::new(ids, &device)?.unsqueeze(0)?)
    };
    let mut figures = Vec::new();
    for &rows in prompts {
        let input = ids(rows)?;
        let mut seconds = 0.0;
        // The first run warms up.
        for _ in 0..2 {
            model.clear_kv_cache();
            let began = Instant::now();
            black_box(model.forward(&input, 0)?.flatten_all()?.to_vec1::<f32>()?);
            seconds = began.elapsed().as_secs_f64();
        }
        figures.push((format!("prefill {rows}"), rows as f64 / seconds));
    }
    model.clear_kv_cache();
    let mut logits = model.forward(&ids(BEFORE)?, 0)?;
    let mut times = Vec::new();
    for place in BEFORE..=BEFORE + written {
        let began = Instant::now();
        let next = logits.flatten_all()?.argmax(0)?.to_scalar::<u32>()?;
        logits = model.forward(&Tensor::new(&[next], &device)?.unsqueeze(0)?, place)?;
        times.push(began.elapsed().as_secs_f64());
    }
    times.remove(0);
    times.sort_by(f64::total_cmp);
    let median = times
        .get(times.len() / 2)
        .context("no token was to be written")?;
    figures.push(("decode".into(), 1.0 / median));
    Ok(figures)
}
