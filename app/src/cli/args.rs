//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use diptych_inference::diffusion::{Convention, NoiseSource, SamplerKind, ScheduleKind, Spacing};
use diptych_inference::engine::DeviceChoice;
use diptych_inference::text::prompt::PromptSyntax;
use diptych_inference::text::sampling::SamplingStage;

use super::ablate::AblateArgs;
use super::basics::BasicArgs;
use super::morph::MorphArgs;
use super::perplexity::PerplexityArgs;
use super::proof::ProofArgs;
use super::resume::ResumeArgs;
use super::trace::WayArgs;
use super::words::WordArgs;

/// Where help tells the options of all commands.
const EVERYWHERE: &str = "Everywhere";

/// Draws pictures and writes text with models on your own machine.
#[derive(Debug, Parser)]
#[command(
    name = "diptych",
    version,
    max_term_width = 100,
    arg_required_else_help = false
)]
pub struct Cli {
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Verb>,
}

/// Options of all commands.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// What computes: the best GPU or else the CPU, any GPU and no other, or the CPU
    #[arg(long, global = true, help_heading = EVERYWHERE, value_enum, default_value_t = Device::Auto, value_name = "DEVICE")]
    pub device: Device,
    /// Folder of your data (default: DIPTYCH_DATA_DIR, else the system's place for them)
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Folder of the program's own models and data (default: beside the program)
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FOLDER")]
    pub assets: Option<PathBuf>,
    /// Most memory of the device to use, such as 6G or 800M (default: as settled in the window, else as much as there is)
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "SIZE", value_parser = bytes)]
    pub memory: Option<u64>,
    /// Tell on standard error what happens; twice for more
    #[arg(short, long, global = true, help_heading = EVERYWHERE, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// `--device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// A discrete GPU, else an integrated one, else the CPU
    Auto,
    /// Any GPU, even a software one; fails if there is none
    Gpu,
    /// The CPU
    Cpu,
}

impl From<Device> for DeviceChoice {
    fn from(device: Device) -> Self {
        match device {
            Device::Auto => Self::Auto,
            Device::Gpu => Self::Gpu,
            Device::Cpu => Self::Cpu,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Draw a picture from words
    Draw(Box<DrawArgs>),
    /// Draw prompts by seeds, as one labelled picture
    Compare(Box<CompareArgs>),
    /// Talk with a model
    Chat(ChatArgs),
    /// Continue a text as it stands
    Complete(CompleteArgs),
    /// Measure how well a model foretells a text
    Perplexity(PerplexityArgs),
    /// Show the tokens of a text
    Tokenize(TokenizeArgs),
    /// List models, or tell what one is
    Models(ModelsArgs),
    /// Check this machine and this installation
    Doctor(DoctorArgs),
    /// Tell how a picture was made
    Inspect(InspectArgs),
    /// List the pictures and conversations of your library
    History(HistoryArgs),
    /// List the jobs that are not done, of all windows and commands
    Queue(QueueArgs),
    /// Finish a picture that was stopped, from its trace or checkpoint
    Resume(ResumeArgs),
    /// Make a picture larger
    Upscale(super::upscale::UpscaleArgs),
    /// Measure how fast models run here
    Bench(super::bench::BenchArgs),
    /// Compare two pictures step by step, or one with itself drawn again
    Proof(ProofArgs),
    /// Tell which phrases of a prompt do something, and which nothing
    Ablate(AblateArgs),
    /// Draw the way from one prompt and seed to another, as an animation or a strip
    Morph(MorphArgs),
}

/// `diptych draw`.
#[derive(Clone, Debug, Args)]
pub struct DrawArgs {
    /// What to draw
    #[arg(required_unless_present = "from")]
    pub prompt: Option<String>,
    /// The PNG file to write; without it a name is made of prompt and seed, and no file is overwritten
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Model and settings.
    #[command(flatten)]
    pub basic: BasicArgs,
    /// Seed of the noise (default: a new one, told afterwards)
    #[arg(long)]
    pub seed: Option<u64>,
    /// Whose conventions the sampler follows: kdiffusion (AUTOMATIC1111, ComfyUI) or diffusers
    #[arg(long, value_parser = |name: &str| Convention::parse(name).map_err(|error| error.to_string()))]
    pub convention: Option<Convention>,
    /// Which timesteps are taken: leading, linspace or trailing (default: as the convention does)
    #[arg(long, value_parser = |name: &str| Spacing::parse(name).map_err(|error| error.to_string()))]
    pub spacing: Option<Spacing>,
    /// How much of the spread that guidance adds is taken back, 0 to 1 (Lin et al. 2023)
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = |text: &str| number(text, 0.0, 1.0))]
    pub guidance_rescale: Option<f32>,
    /// Which of the text encoder's layers is the last: 1 is its own last, 2 the one before
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub clip_skip: Option<u32>,
    /// Whose random numbers: cpu (torch's on the CPU; ComfyUI, diffusers) or philox (torch's on CUDA; AUTOMATIC1111)
    #[arg(long, value_parser = |name: &str| NoiseSource::parse(name).map_err(|error| error.to_string()))]
    pub noise_source: Option<NoiseSource>,
    /// Another seed whose noise is mixed in; with --count each picture has the next one, and the first seed stays
    #[arg(long, value_name = "SEED")]
    pub variation_seed: Option<u64>,
    /// How much of the other seed's noise is mixed in, 0 to 1
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = |text: &str| number(text, 0.0, 1.0))]
    pub variation_strength: Option<f32>,
    /// Draw several, each with the next seed
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub count: u32,
    /// How the prompts are read: as plain text, as AUTOMATIC1111 does, with (word:1.2), [from:to:when], [a|b] and BREAK (default), or
    /// as ComfyUI does
    #[arg(long, value_enum)]
    pub prompt_syntax: Option<Syntax>,
    /// Add a LoRA, LoCon or LoHa, so much of it (1 if nothing is said); several are added one after the other. In the prompt,
    /// <lora:name:0.8> adds so much more of those named here; FILE:0 leaves it all to the prompt
    #[arg(long, value_name = "FILE[:WEIGHT]", value_parser = weighted)]
    pub lora: Vec<(PathBuf, f32)>,
    /// An autoencoder in place of the model's own: a single file or a diffusers folder with config.json
    #[arg(long, value_name = "PATH")]
    pub vae: Option<PathBuf>,
    /// A picture to begin from (PNG, JPEG or WebP); its size is the default, or its shape where it is much larger than the model is used to
    #[arg(long, value_name = "FILE")]
    pub init: Option<PathBuf>,
    /// How much of the picture to begin from is given up: above 0 up to 1 (default: 0.75)
    #[arg(long, value_name = "F", requires = "init", allow_negative_numbers = true, value_parser = |text: &str| number(text, 0.0, 1.0))]
    pub strength: Option<f32>,
    /// What is drawn anew in the picture to begin from: white, of the same size; grey is mixed
    #[arg(long, value_name = "FILE", requires = "init")]
    pub mask: Option<PathBuf>,
    /// How far the mask's edges are softened, in pixels (default: 4)
    #[arg(long, value_name = "PIXELS", requires = "init", allow_negative_numbers = true, value_parser = |text: &str| number(text, 0.0, 1000.0))]
    pub mask_blur: Option<f32>,
    /// Draw only what is masked, at full size, with so many pixels around it, and lay it back
    #[arg(long, value_name = "PIXELS", requires = "mask", num_args = 0..=1, default_missing_value = "32")]
    pub only_masked: Option<u32>,
    /// Widen the picture to begin from by so many pixels on each side, and draw there
    #[arg(long, value_name = "LEFT,TOP,RIGHT,BOTTOM", requires = "init", conflicts_with = "mask", value_parser = sides)]
    pub outpaint: Option<[u32; 4]>,
    /// What is added to the model and done with its pictures.
    #[command(flatten)]
    pub additions: super::additions::AdditionArgs,
    /// Noise to start from: safetensors with the key 'noise', f32, [count or 1, channels, height, width]
    #[arg(long, value_name = "FILE")]
    pub latents: Option<PathBuf>,
    /// Write the latents after every step to this safetensors file (keys 'step_00', 'step_01', ...)
    #[arg(long, value_name = "FILE")]
    pub dump_latents: Option<PathBuf>,
    /// What the prompts are made of.
    #[command(flatten)]
    pub words: WordArgs,
    /// Where the settings come from, and what is kept of the way.
    #[command(flatten)]
    pub way: WayArgs,
    /// Leave these pictures out of the history
    #[arg(long)]
    pub no_history: bool,
    /// Print a line of JSON for each picture, rather than its path
    #[arg(long)]
    pub json: bool,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// A file and how much of it.
fn weighted(text: &str) -> Result<(PathBuf, f32), String> {
    // A colon may also be part of a name, as after a drive's letter.
    if let Some((file, weight)) = text.rsplit_once(':')
        && let Ok(weight) = weight.trim().parse::<f32>()
    {
        if !weight.is_finite() || weight.abs() > 100.0 {
            return Err(format!(
                "{weight} is no sensible weight; 1 is as it was trained"
            ));
        }
        return Ok((file.into(), weight));
    }
    Ok((text.into(), 1.0))
}

/// Four lengths.
fn sides(text: &str) -> Result<[u32; 4], String> {
    let numbers: Result<Vec<u32>, _> = text.split(',').map(|n| n.trim().parse()).collect();
    numbers
        .ok()
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| "four whole numbers with commas between them, such as 0,0,128,0".into())
}

/// `diptych compare`.
#[derive(Clone, Debug, Args)]
pub struct CompareArgs {
    /// What to draw; a row for each, up to 8
    #[arg(
        short,
        long,
        value_name = "TEXT",
        required = true,
        allow_hyphen_values = true
    )]
    pub prompt: Vec<String>,
    /// Seeds of the noise, a column for each, up to 8 (default: three new ones)
    #[arg(long, value_name = "N,N,...", value_delimiter = ',')]
    pub seeds: Vec<u64>,
    /// The PNG file to write; one of the same name is replaced
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
    /// Write every cell to a file in this folder too
    #[arg(long, value_name = "FOLDER")]
    pub cells: Option<PathBuf>,
    /// A title above the grid
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub title: Option<String>,
    /// On white rather than on dark grey
    #[arg(long)]
    pub light: bool,
    /// Model and settings of all pictures.
    #[command(flatten)]
    pub basic: BasicArgs,
    /// Print a line of JSON, rather than the path of the grid
    #[arg(long)]
    pub json: bool,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// `--prompt-syntax`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Syntax {
    /// Plain text
    None,
    /// AUTOMATIC1111's weights and changes over the steps
    A1111,
    /// ComfyUI's weights
    Comfyui,
}

impl From<Syntax> for PromptSyntax {
    fn from(syntax: Syntax) -> Self {
        match syntax {
            Syntax::None => Self::None,
            Syntax::A1111 => Self::A1111,
            Syntax::Comfyui => Self::ComfyUi,
        }
    }
}

/// How tokens are chosen.
#[derive(Clone, Debug, Default, Args)]
pub struct SamplingArgs {
    /// Above 1 bolder, below 1 more careful; 0 takes the likeliest
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = |text: &str| number(text, 0.0, 100.0))]
    pub temperature: Option<f32>,
    /// Only the N likeliest tokens; 0 is off
    #[arg(long, value_name = "N")]
    pub top_k: Option<usize>,
    /// Only the likeliest tokens that together are this probable; 1 is off
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = |text: &str| number(text, 0.0, 1.0))]
    pub top_p: Option<f32>,
    /// Only tokens at least this times as probable as the likeliest; 0 is off
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = |text: &str| number(text, 0.0, 1.0))]
    pub min_p: Option<f32>,
    /// Only tokens about as informative as expected, until they are together this probable; 1 is off
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = |text: &str| number(text, 0.0, 1.0))]
    pub typical_p: Option<f32>,
    /// Only tokens at most this many standard deviations below the likeliest; 0 is off
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = |text: &str| number(text, 0.0, 100.0))]
    pub top_n_sigma: Option<f32>,
    /// How often the top choices but the last are excluded (XTC); 0 is off
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = |text: &str| number(text, 0.0, 1.0))]
    pub xtc_probability: Option<f32>,
    /// From which probability on a token is a top choice
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = |text: &str| number(text, 0.0, 1.0))]
    pub xtc_threshold: Option<f32>,
    /// How much less likely going on with a repeated sequence becomes (DRY); 0 is off
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = |text: &str| number(text, 0.0, 100.0))]
    pub dry_multiplier: Option<f32>,
    /// How fast that grows with each token of the sequence
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = |text: &str| number(text, 1.0, 100.0))]
    pub dry_base: Option<f32>,
    /// Length of a repeated sequence that does no harm
    #[arg(long, value_name = "N")]
    pub dry_allowed_length: Option<usize>,
    /// How many recent tokens are searched for sequences; 0 is all
    #[arg(long, value_name = "N")]
    pub dry_window: Option<usize>,
    /// Tokens with this text in them end sequences; may be repeated, and replaces the usual line break, ':', '"' and '*'
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub dry_breaker: Vec<String>,
    /// Makes recent tokens less likely, for each time that they were written
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = |text: &str| number(text, -100.0, 100.0))]
    pub frequency_penalty: Option<f32>,
    /// Makes recent tokens less likely
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = |text: &str| number(text, -100.0, 100.0))]
    pub presence_penalty: Option<f32>,
    /// How many recent tokens the penalties look at
    #[arg(long, value_name = "N")]
    pub repetition_window: Option<usize>,
    /// Added to a token's logit, as ID=F; -100 bans the token; may be repeated
    #[arg(long, value_name = "ID=F", allow_hyphen_values = true, value_parser = bias)]
    pub logit_bias: Vec<(u32, f32)>,
    /// The steps in another order, those not named left out: penalties, dry, top_n_sigma, top_k, typical, top_p, min_p, xtc, temperature
    #[arg(long, value_name = "STEPS", value_delimiter = ',', value_parser = stage)]
    pub samplers: Option<Vec<SamplingStage>>,
    /// How much less likely recent tokens become; 1 is off
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = |text: &str| number(text, 0.01, 100.0))]
    pub repetition_penalty: Option<f32>,
    /// Seed of the choice (default: a new one)
    #[arg(long)]
    pub seed: Option<u64>,
    /// Most tokens to write
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u32>,
    /// Always the likeliest token: no chance, no penalty, the lowest id of equals
    #[arg(long)]
    pub greedy: bool,
}

/// `diptych chat`.
#[derive(Clone, Debug, Args)]
pub struct ChatArgs {
    /// What to say; may be left out with -i
    #[arg(required_unless_present = "interactive")]
    pub text: Option<String>,
    /// GGUF file or Hugging Face folder (default: the built-in 'muse')
    #[arg(short, long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// Read more turns from standard input, a line each
    #[arg(short, long)]
    pub interactive: bool,
    /// What the model is told about its part
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub system: Option<String>,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// What the answer looks like.
    #[command(flatten)]
    pub shape: super::shape::ShapeArgs,
    /// Print a line of JSON for each answer, rather than its text
    #[arg(long)]
    pub json: bool,
    /// What the model may call: a JSON list of functions in this file, as OpenAI's API has it; a call is a part of the answer's text
    #[arg(long, value_name = "FILE", conflicts_with = "logits")]
    pub tools: Option<PathBuf>,
    /// Answer nothing, but write the logits of the conversation to a safetensors file
    #[arg(long, value_name = "FILE", conflicts_with = "interactive")]
    pub logits: Option<PathBuf>,
}

/// `diptych complete`.
#[derive(Clone, Debug, Args)]
pub struct CompleteArgs {
    /// The text to continue
    pub text: String,
    /// GGUF file or Hugging Face folder (default: the built-in 'muse')
    #[arg(short, long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// What the answer looks like.
    #[command(flatten)]
    pub shape: super::shape::ShapeArgs,
    /// Print a line of JSON with ids, pieces and probabilities, rather than the text
    #[arg(long)]
    pub json: bool,
    /// Write nothing more, but the logits of the text to a safetensors file
    #[arg(long, value_name = "FILE")]
    pub logits: Option<PathBuf>,
}

/// `diptych tokenize`.
#[derive(Clone, Debug, Args)]
pub struct TokenizeArgs {
    /// GGUF file, Hugging Face folder or tokenizer.json, or a folder with CLIP's vocab.json and merges.txt
    pub path: PathBuf,
    /// The text
    #[arg(required_unless_present = "stdin", allow_hyphen_values = true)]
    pub text: Option<String>,
    /// Add the tokens that the model expects around a text, as its file says
    #[arg(long)]
    pub bos: bool,
    /// Read special tokens that are spelled out in the text as such
    #[arg(long)]
    pub special: bool,
    /// Read the text from standard input
    #[arg(long, conflicts_with = "text")]
    pub stdin: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `diptych models`.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ModelsArgs {
    /// Look at one model.
    #[command(subcommand)]
    pub verb: Option<ModelsVerb>,
    /// Look into this folder too; may be repeated
    #[arg(long, value_name = "FOLDER")]
    pub folder: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `diptych models ...`.
#[derive(Clone, Debug, Subcommand)]
pub enum ModelsVerb {
    /// Tell what a model is and can do, or exactly why it cannot be used
    Show {
        /// The file or folder
        path: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a model of a real shape with random weights, for measuring here and in other programs
    Synthesize(super::synthesize::SynthesizeArgs),
}

/// `diptych doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `diptych inspect`.
#[derive(Clone, Debug, Args)]
pub struct InspectArgs {
    /// PNG, JPEG or WebP file
    pub picture: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `diptych history`.
#[derive(Clone, Debug, Args)]
pub struct HistoryArgs {
    /// Conversations rather than pictures
    #[arg(long, conflicts_with = "favourites")]
    pub chats: bool,
    /// Only so many, the latest first (default: 30, with --json all)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Only those with all these words
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub search: Option<String>,
    /// Only marked pictures
    #[arg(long, alias = "favorites")]
    pub favourites: bool,
    /// Print JSON: everything that is known
    #[arg(long)]
    pub json: bool,
}

/// `diptych queue`.
#[derive(Clone, Debug, Args)]
pub struct QueueArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) fn sampler(name: &str) -> Result<(SamplerKind, Option<ScheduleKind>), String> {
    SamplerKind::parse(name).map_err(|error| error.to_string())
}

pub(super) fn number(text: &str, least: f32, most: f32) -> Result<f32, String> {
    let value: f32 = text
        .trim()
        .parse()
        .map_err(|_| "this is no number".to_owned())?;
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(format!("it must be between {least} and {most}"))
    }
}

/// So many bytes: `6G`, `1.5 GB`, `800M`, or a plain number.
fn bytes(text: &str) -> Result<u64, String> {
    let wanted = || "a size is written as 6G or 800M".to_owned();
    let small = text.trim().to_ascii_lowercase();
    let plain = small.trim_end_matches('b').trim_end_matches('i');
    let (number, unit) = match plain.char_indices().last() {
        Some((at, 'k')) => (&plain[..at], 1 << 10),
        Some((at, 'm')) => (&plain[..at], 1 << 20),
        Some((at, 'g')) => (&plain[..at], 1 << 30),
        Some((at, 't')) => (&plain[..at], 1_u64 << 40),
        _ => (plain, 1),
    };
    let number: f64 = number.trim().parse().map_err(|_| wanted())?;
    let bytes = number * unit as f64;
    if (1.0..1e18).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err(wanted())
    }
}

fn bias(text: &str) -> Result<(u32, f32), String> {
    let (id, value) = text
        .split_once('=')
        .ok_or("a bias is written as ID=F, such as 42=-1.5")?;
    let id = id.trim().parse().map_err(|_| "the id is no whole number")?;
    Ok((id, number(value, -100.0, 100.0)?))
}

fn stage(name: &str) -> Result<SamplingStage, String> {
    let known = || SamplingStage::ALL.map(SamplingStage::name).join(", ");
    SamplingStage::parse(name).ok_or_else(|| format!("the steps are {}", known()))
}

pub(super) fn guidance(text: &str) -> Result<f32, String> {
    number(text, -10_000.0, 10_000.0)
}

/// Width and height, for clap.
pub(super) fn size(text: &str) -> Result<(u32, u32), String> {
    let wanted = || "a size is written as 512x512".to_owned();
    let (width, height) = text.split_once(['x', 'X', '×']).ok_or_else(wanted)?;
    let side = |text: &str| {
        text.trim()
            .parse::<u32>()
            .ok()
            .filter(|&side| side > 0)
            .ok_or_else(wanted)
    };
    Ok((side(width)?, side(height)?))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_and_numbers() {
        assert_eq!(size("64x96"), Ok((64, 96)));
        for bad in ["64", "x", "0x64", "64x", "-1x5", "1e3x5", "99999999999x1"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!(number("0.5", 0.0, 1.0), Ok(0.5));
        for bad in ["nan", "inf", "2", "-1", "x"] {
            assert!(number(bad, 0.0, 1.0).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_of_memory() {
        for (text, wanted) in [
            ("6G", 6 << 30),
            ("1.5 GiB", 3 << 29),
            ("800m", 800 << 20),
            ("12kb", 12 << 10),
            ("99", 99),
        ] {
            assert_eq!(bytes(text), Ok(wanted), "{text}");
        }
        for bad in ["", "G", "-1G", "nan", "0", "1e30", "six", "6X", "б"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn samplers_are_known_by_all_their_names() {
        let parse = |name: &str| {
            let cli = Cli::try_parse_from(["diptych", "draw", "a fox", "--sampler", name]).unwrap();
            let Some(Verb::Draw(args)) = cli.command else {
                panic!("not draw")
            };
            args.basic.sampler.unwrap()
        };
        assert_eq!(
            parse("DPM++ 2M Karras"),
            (SamplerKind::DpmPp2M, Some(ScheduleKind::Karras))
        );
        assert_eq!(
            parse("euler_ancestral"),
            (SamplerKind::EulerAncestral, None)
        );
        let error =
            Cli::try_parse_from(["diptych", "draw", "a fox", "--sampler", "magic"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("DPM++ 2M (dpmpp_2m)"), "{error}");
    }
}
