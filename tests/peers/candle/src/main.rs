//! Times candle-transformers' own models on the processor, as `diptych bench` times ours.
//!
//! ```sh
//! candle-peer text qwen3.gguf 128,512 32     # tokens a second of prompts, and of 32 tokens written after 128
//! candle-peer picture 512x512 f16            # seconds of a U-Net step for two pictures and of a VAE decode, Stable Diffusion 1.5
//! ```
//!
//! Prints one JSON object. Pictures take random weights of the published shape instead of a file's: candle reads diffusers folders only, and the time
//! does not depend on the values.

mod picture;
mod text;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let figures = match args.as_slice() {
        ["text", file, prompts, written] => {
            let prompts = prompts
                .split(',')
                .map(str::parse)
                .collect::<Result<Vec<usize>, _>>()
                .context("prompts are lengths parted by commas")?;
            text::measure(file, &prompts, written.parse()?)?
        }
        ["picture", size, dtype] => {
            let (width, height) = size.split_once('x').context("sizes are WIDTHxHEIGHT")?;
            picture::measure(width.parse()?, height.parse()?, dtype)?
        }
        _ => bail!(
            "usage: candle-peer text FILE 128,512 WRITTEN | candle-peer picture 512x512 f32|f16"
        ),
    };
    let fields: Vec<String> = figures
        .iter()
        .map(|(name, value)| format!("\"{name}\": {value:.4}"))
        .collect();
    println!("{{{}}}", fields.join(", "));
    Ok(())
}
