//! The command line: a client of the engine's protocol. Results go to stdout, progress and failures to stderr.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl+C.

mod ablate;
mod additions;
pub mod args;
mod basics;
mod bench;
mod chat;
pub mod client;
mod compare;
mod doctor;
mod draw;
pub mod error;
mod from;
mod history;
mod inspect;
pub mod interrupt;
mod models;
mod morph;
mod noise;
mod out;
mod parts;
mod perplexity;
mod progress;
mod proof;
mod queue;
mod record;
mod refiner;
mod resume;
mod save;
mod shape;
mod short;
mod studio;
mod synthesize;
mod table;
mod talk;
mod tokenize;
pub(crate) mod trace;
mod upscale;
mod window;
mod words;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use diptych_inference::engine::EngineOptions;

use crate::folders;
use args::{Cli, Global, Verb};
use error::{CliError, Result};

/// What `diptych` alone says where there is no display for its window.
const ABOUT: &str = "\
  diptych draw \"a red fox, flat style\" --out fox.png    draw a picture
  diptych compare --prompt \"a fox\" --prompt \"a cat\" --out grid.png
                                                        prompts by seeds
  diptych upscale fox.png large.png --model esrgan.pth  make a picture larger
  diptych chat \"how would you draw a storm?\"            talk with a model
  diptych complete \"Once upon a time\"                   continue a text
  diptych inspect fox.png                               how a picture was made
  diptych history                                       what you made
  diptych models                                        the models on this machine
  diptych doctor                                        check this machine
  diptych bench --quick                                 how fast it is

'diptych --help' tells all commands, 'diptych draw --help' all that one can do.
";

/// The whole program: reads the command line, does it, says what failed.
pub fn main() -> ExitCode {
    quiet_drivers();
    let parsed = Cli::command().try_get_matches().and_then(|matches| {
        let verb = matches.subcommand_name().map(str::to_owned);
        Cli::from_arg_matches(&matches).map(|cli| (cli, verb))
    });
    let (cli, verb) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version go to stdout, complaints to stderr; nobody can be told if neither is open.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    start_log(cli.global.verbose);
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let (code, message) = error.exit(verb.as_deref());
            if let Some(message) = message {
                out::remark(&format!("error: {message}"));
            }
            code
        }
    }
}

/// Mesa's layer that puts GPUs in order looks for a desktop and complains on stderr where there is none. The engine puts
/// them in order itself.
fn quiet_drivers() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: this is the first thing that the program does, and there is no other thread yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

/// Does what the command line says.
///
/// # Errors
/// Why it could not be done.
pub fn run(cli: Cli) -> Result<()> {
    let global = cli.global;
    match cli.command {
        None => studio::run(&global),
        Some(Verb::Draw(args)) => draw::run(&global, &args),
        Some(Verb::Compare(args)) => compare::run(&global, &args),
        Some(Verb::Chat(args)) => chat::run(&global, &args),
        Some(Verb::Complete(args)) => chat::complete(&global, &args),
        Some(Verb::Perplexity(args)) => perplexity::run(&global, &args),
        Some(Verb::Tokenize(args)) => tokenize::run(&args),
        Some(Verb::Models(args)) => models::run(&global, &args),
        Some(Verb::Doctor(args)) => doctor::run(&global, &args),
        Some(Verb::Inspect(args)) => inspect::run(&args),
        Some(Verb::History(args)) => history::run(&global, &args),
        Some(Verb::Queue(args)) => queue::run(&global, &args),
        Some(Verb::Resume(args)) => resume::run(&global, &args),
        Some(Verb::Upscale(args)) => upscale::run(&global, &args),
        Some(Verb::Bench(args)) => bench::run(&global, &args),
        Some(Verb::Proof(args)) => proof::run(&global, &args),
        Some(Verb::Ablate(args)) => ablate::run(&global, &args),
        Some(Verb::Morph(args)) => morph::run(&global, &args),
    }
}

/// Without `-v` failures are said in one line by [`main`], and nothing else. A panic is caught by the engine and told as
/// the failure of its job; its place in the code goes to the log.
fn start_log(verbose: u8) {
    let filter = match verbose {
        0 => None,
        1 => Some("warn,diptych=info,diptych_inference=info"),
        2 => Some("warn,diptych=debug,diptych_inference=debug"),
        _ => Some("debug"),
    };
    if let Some(filter) = filter {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .without_time()
            .init();
    }
    std::panic::set_hook(Box::new(move |info| {
        tracing::error!("panic: {info}");
        crate::report::write(info);
        // A panic of the main thread ends the program, so that it must be said here.
        if std::thread::current().name() == Some("main") {
            out::remark(&format!(
                "error: a fault of the program; please report it: {info}"
            ));
        }
    }));
}

impl Global {
    /// How the engine is set up.
    ///
    /// # Errors
    /// If `--assets` names no folder.
    fn engine_options(&self) -> Result<EngineOptions> {
        // A model of one's own may need nothing of the assets; what it needs and does not find is told by name.
        let assets = match (&self.assets, folders::assets(self.assets.as_deref())) {
            (_, Ok(assets)) => assets,
            (Some(_), Err(error)) => return Err(CliError::failed(error)),
            (None, Err(_)) => folders::asset_candidates()
                .into_iter()
                .next()
                .unwrap_or_default(),
        };
        Ok(EngineOptions {
            device: self.device.into(),
            memory_budget: self.memory.or_else(|| window::settings(self).memory_budget),
            assets,
            cache: folders::data(self.data_dir.as_deref())
                .ok()
                .map(|data| folders::cache_of(&data)),
            ..EngineOptions::default()
        })
    }

    /// The path of a model: the one given, else the built-in one of a name.
    ///
    /// # Errors
    /// If it is not there.
    fn model_path(&self, given: Option<&PathBuf>, built_in: &str) -> Result<PathBuf> {
        if let Some(given) = given {
            client::check_readable(given)?;
            return Ok(given.clone());
        }
        let assets = folders::assets(self.assets.as_deref()).map_err(CliError::failed)?;
        let path = assets.join("models").join(built_in);
        if !path.is_dir() {
            return Err(CliError::Failed(format!(
                "{}: the built-in model '{built_in}' is not there; name a model with --model",
                path.display()
            )));
        }
        Ok(path)
    }
}
