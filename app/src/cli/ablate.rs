//! `diptych ablate`: which phrases of a prompt do something, by how far the latents move without them at one seed.

use std::sync::Arc;

use clap::Args;
use diptych_inference::engine::{Event, HostTensor, ImageRequest, Request};
use diptych_inference::text::prompt::phrases::{phrases, without};
use serde::Serialize;

use super::args::Global;
use super::client::{Client, Ending};
use super::error::{CliError, Result};
use super::out;
use super::progress::Progress;
use super::short::{self, ShortArgs};
use super::words;
use crate::ablation::{NOTHING, moved};

/// `diptych ablate`.
#[derive(Clone, Debug, Args)]
pub struct AblateArgs {
    /// The prompt; its phrases stand between commas
    pub prompt: String,
    /// Tell the words apart, not the phrases
    #[arg(long)]
    pub words: bool,
    /// Compare after so many steps rather than at the end: quicker, and tells what decides the composition
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u32).range(1..))]
    pub at: Option<u32>,
    /// The settings of all pictures.
    #[command(flatten)]
    pub short: ShortArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What one phrase does.
#[derive(Clone, Debug, Serialize)]
struct Effect {
    phrase: String,
    /// How far the latents move without it: root mean square of the difference over that of the latents.
    moved: f64,
    /// The same, with another seed's move as 1.
    share: f64,
    /// Whether it does next to nothing.
    nothing: bool,
}

/// What `--json` gives.
#[derive(Serialize)]
struct Report<'a> {
    prompt: &'a str,
    seed: u64,
    steps: u32,
    compared_after: u32,
    /// How far another seed moves the latents.
    other_seed: f64,
    phrases: Vec<Effect>,
    device: &'a str,
}

/// Tells the phrases apart.
///
/// # Errors
/// Prompts without phrases, failed jobs, Ctrl+C.
pub fn run(global: &Global, args: &AblateArgs) -> Result<()> {
    if phrases(&args.prompt, args.words).is_empty() {
        return Err(CliError::Usage("the prompt has no words".into()));
    }
    let mut progress = Progress::new(args.short.quiet);
    progress.passing("starting");
    let (client, mut request) = short::start(global, &args.short, &args.prompt)?;
    // Of variants and lists, what is drawn is told apart.
    let prompt = words::resolved(&words::lists(global), &args.prompt, request.seed);
    request.prompt.clone_from(&prompt);
    let parts = phrases(&prompt, args.words);
    request.keep_latents = true;
    request.stop_after = args.at.filter(|at| *at < request.steps);
    let compared_after = request.stop_after.unwrap_or(request.steps);
    let total = parts.len() as u32 + 2;
    progress.begin(1, total);
    let whole = latents(&client, &request, &mut progress)?;
    progress.begin(2, total);
    let other = ImageRequest {
        seed: request.seed.wrapping_add(1),
        ..request.clone()
    };
    let elsewhere = latents(&client, &other, &mut progress)?;
    let other_seed = moved(&whole, &elsewhere);
    let mut effects = Vec::new();
    for (number, part) in (3..).zip(&parts) {
        progress.begin(number, total);
        let less = ImageRequest {
            prompt: without(&prompt, part),
            ..request.clone()
        };
        let left = latents(&client, &less, &mut progress)?;
        let moved = moved(&whole, &left);
        let share = if other_seed > 0.0 {
            moved / other_seed
        } else {
            0.0
        };
        effects.push(Effect {
            phrase: prompt.get(part.clone()).unwrap_or("").to_owned(),
            moved,
            share,
            nothing: share < NOTHING,
        });
    }
    effects.sort_by(|a, b| b.moved.total_cmp(&a.moved));
    if args.json {
        return out::json_pretty(&Report {
            prompt: &prompt,
            seed: request.seed,
            steps: request.steps,
            compared_after,
            other_seed,
            phrases: effects,
            device: client.device(),
        });
    }
    progress.say(&format!(
        "seed {}, compared after step {compared_after} of {} on {}; another seed moves the latents by {other_seed:.3}",
        request.seed,
        request.steps,
        client.device()
    ));
    let wide = effects
        .iter()
        .map(|effect| effect.phrase.chars().count())
        .max()
        .unwrap_or(0)
        .min(60);
    for effect in effects {
        let bar = "#".repeat((effect.share.min(1.0) * 20.0).round() as usize);
        let note = if effect.nothing {
            "  does next to nothing"
        } else {
            ""
        };
        out::line(&format!(
            "{:<wide$}  {:.4}  {:>4.0} %  {bar}{note}",
            out::one_line(&effect.phrase),
            effect.moved,
            effect.share * 100.0
        ))?;
    }
    Ok(())
}

/// The latents that a request leads to.
fn latents(
    client: &Client,
    request: &ImageRequest,
    progress: &mut Progress,
) -> Result<Arc<HostTensor>> {
    let mut last = None;
    let ending = client.run(Request::Image(request.clone()), |event| {
        if let Event::Latents { latents, .. } = event {
            last = Some(latents.clone());
        }
        progress.watch(event);
        Ok(())
    });
    progress.clear();
    match ending? {
        Ending::Finished(_) => {}
        Ending::Cancelled(_) => return Err(CliError::Interrupted),
    }
    last.ok_or_else(|| {
        CliError::Failed("the engine sent no latents; please report it (more with -v)".into())
    })
}
