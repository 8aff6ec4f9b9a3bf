//! `diptych models synthesize`: models with random weights, for measuring.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use diptych_inference::tools::{
    Kind, Made, MakeOptions, QUANTS, StorageDtype, SynthesizeError, parse_quant, synthesize,
};
use serde::Serialize;

use super::error::{CliError, Result};
use super::interrupt::Interrupts;
use super::out;

/// Time between two remarks on the progress.
const REMARK: Duration = Duration::from_secs(2);

/// `diptych models synthesize`.
#[derive(Clone, Debug, Args)]
pub struct SynthesizeArgs {
    /// qwen3-0.6b, llama-3.2-1b, qwen3-4b, llama-3.1-8b (GGUF); sd15, sdxl (single safetensors files); llama-tiny, qwen3-tiny,
    /// sd-tiny, sdxl-tiny
    #[arg(value_parser = kind)]
    pub kind: Kind,
    /// The file to write; one that is there is replaced
    pub out: PathBuf,
    /// Type of the matrices, such as F16, Q8_0 or Q4_K (default: Q8_0, of picture models F16)
    #[arg(long, value_name = "TYPE", value_parser = quant)]
    pub quant: Option<StorageDtype>,
    /// Equal seeds give equal files
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The kind of a name, for clap.
pub fn kind(name: &str) -> std::result::Result<Kind, String> {
    Kind::parse(name).ok_or_else(|| {
        let names = Kind::ALL.map(Kind::name);
        format!("the kinds are {}", names.join(", "))
    })
}

/// The type of a name, for clap.
pub fn quant(name: &str) -> std::result::Result<StorageDtype, String> {
    parse_quant(name).ok_or_else(|| {
        let names = QUANTS.map(StorageDtype::name);
        format!("the types are {}", names.join(", "))
    })
}

/// What `--json` gives.
#[derive(Serialize)]
struct Report<'a> {
    path: &'a Path,
    kind: &'static str,
    quant: &'static str,
    seed: u64,
    tensors: usize,
    parameters: u64,
    bytes: u64,
    seconds: f64,
}

/// Writes the file.
///
/// # Errors
/// Types that the kind cannot be made of; faults of the disk; Ctrl+C, which leaves nothing behind.
pub fn run(args: &SynthesizeArgs) -> Result<()> {
    let interrupts = Interrupts::install()?;
    let quant = args.quant.unwrap_or(args.kind.default_quant());
    let started = Instant::now();
    let made = write(&args.out, args.kind, quant, args.seed, &interrupts)?;
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        return out::json(&Report {
            path: &args.out,
            kind: args.kind.name(),
            quant: quant.name(),
            seed: args.seed,
            tensors: made.tensors,
            parameters: made.parameters,
            bytes: made.bytes,
            seconds,
        });
    }
    out::line(&format!(
        "{}: {} in {quant}, {} tensors, {:.2} billion weights, {}",
        args.out.display(),
        args.kind.name(),
        made.tensors,
        made.parameters as f64 / 1e9,
        out::bytes(made.bytes),
    ))
}

/// Writes a model and tells now and then how far it is.
///
/// # Errors
/// As [`run`].
pub fn write(
    path: &Path,
    kind: Kind,
    quant: StorageDtype,
    seed: u64,
    interrupts: &Interrupts,
) -> Result<Made> {
    interrupts.listen();
    let mut told = Instant::now();
    let made = synthesize(path, MakeOptions { kind, quant, seed }, &mut |done, all| {
        if told.elapsed() > REMARK {
            told = Instant::now();
            let percent = 100 * done / all.max(1);
            out::remark(&format!("writing {} ({percent} %)", kind.name()));
        }
        interrupts.pressed().try_recv().is_err()
    });
    interrupts.ignore();
    made.map_err(|error| match error {
        SynthesizeError::Stopped => CliError::Interrupted,
        SynthesizeError::Quant { .. } => CliError::Usage(error.to_string()),
        SynthesizeError::Format(error) => CliError::failed(error),
    })
}
