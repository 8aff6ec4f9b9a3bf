//! `diptych compare`: prompts by seeds, as one labelled picture.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diptych_inference::engine::{ImageRequest, Outcome, Picture, Request};
use serde::Serialize;

use super::args::{CompareArgs, Global};
use super::client::{Client, Ending};
use super::error::{CliError, Result};
use super::interrupt::Interrupts;
use super::out;
use super::progress::Progress;
use super::save::{self, Existing};
use crate::defaults;
use crate::export::{self, Sheet, SheetCell, SheetRow, SheetStyle};
use crate::folders;
use crate::studio::compare::{MOST, words};

/// New seeds where none are given.
const SEEDS: usize = 3;

/// A cell of `--json`.
#[derive(Serialize)]
struct CellReport {
    prompt: String,
    seed: u64,
    /// With `--cells`.
    path: Option<PathBuf>,
    /// Fewer than asked for if it was cancelled.
    steps_done: u32,
    seconds: f32,
    request: ImageRequest,
}

/// `--json`.
#[derive(Serialize)]
struct Report<'a> {
    path: &'a Path,
    prompts: &'a [String],
    seeds: &'a [u64],
    cancelled: bool,
    executor: &'a str,
    device: &'a str,
    cells: Vec<CellReport>,
}

/// Draws all cells, column by column, and saves the grid.
///
/// # Errors
/// Wrong usage, faulty files, failed jobs; Ctrl+C, after what there is was saved.
pub fn run(global: &Global, args: &CompareArgs) -> Result<()> {
    let seeds = seeds(args)?;
    if args.prompt.len() > MOST {
        return Err(CliError::Usage(format!(
            "{} prompts: a grid has at most {MOST}",
            args.prompt.len()
        )));
    }
    save::check_target(&args.out)?;
    let assets = folders::assets(global.assets.as_deref()).map_err(CliError::failed)?;
    if let Some(folder) = &args.cells {
        std::fs::create_dir_all(folder)
            .map_err(|error| CliError::at(folder, "make the folder", error))?;
    }
    let path = global.model_path(args.basic.model.as_ref(), "sketch")?;
    let defaults = defaults::of_model(&path).map_err(CliError::failed)?;
    let interrupts = Interrupts::install()?;
    let mut progress = Progress::new(args.quiet);
    progress.passing("starting");
    let client = Client::start(global.engine_options()?, interrupts)?;
    let (model, info) = args.basic.open(&client, &path, None)?.0;
    let basic = &args.basic;
    let first = basic.request(&defaults, model, &info, None, String::new())?;
    let lists = super::words::lists(global);
    let mut grid = Grid::new(args, &seeds);
    let total = (args.prompt.len() * seeds.len()) as u32;
    let mut number = 0;
    let mut cancelled = false;
    'columns: for (column, seed) in seeds.iter().enumerate() {
        for (row, prompt) in args.prompt.iter().enumerate() {
            number += 1;
            progress.begin(number, total);
            let mut request = first.clone();
            request.prompt.clone_from(prompt);
            request.seed = *seed;
            for warning in lists.apply(&mut request) {
                progress.say(&format!("note: {warning}"));
            }
            let mut done = 0;
            let ending = client.run(Request::Image(request), |event| {
                if let diptych_inference::engine::Event::Step { index, .. } = event {
                    done = *index;
                }
                progress.watch(event);
                Ok(())
            });
            progress.clear();
            match ending {
                Ok(Ending::Finished(outcome)) => grid.put(args, row, column, outcome, None)?,
                Ok(Ending::Cancelled(partial)) => {
                    if let Some(outcome) = partial {
                        grid.put(args, row, column, outcome, Some(done))?;
                    }
                    cancelled = true;
                    break 'columns;
                }
                Err(error) => {
                    // What was drawn before is not lost by it.
                    if grid.drawn > 0 {
                        let path = export::write(&grid.sheet, &assets, &args.out);
                        let path = path.map_err(CliError::failed)?;
                        out::remark(&format!(
                            "{} of {total} cells are in {}",
                            grid.drawn,
                            path.display()
                        ));
                    }
                    return Err(error);
                }
            }
        }
    }
    client.idle();
    if grid.drawn == 0 {
        out::remark("cancelled before the first step; nothing was drawn");
        return Err(CliError::Interrupted);
    }
    let path = export::write(&grid.sheet, &assets, &args.out).map_err(CliError::failed)?;
    if cancelled {
        out::remark(&format!(
            "cancelled; {} of {total} cells are in {}",
            grid.drawn,
            path.display()
        ));
    } else {
        progress.say(&format!("{total} cells on {}", client.device()));
    }
    if args.json {
        out::json(&Report {
            path: &path,
            prompts: &args.prompt,
            seeds: &seeds,
            cancelled,
            executor: client.executor(),
            device: client.device(),
            cells: grid.reports,
        })?;
    } else {
        out::line(&path.display().to_string())?;
    }
    if cancelled {
        return Err(CliError::Interrupted);
    }
    Ok(())
}

/// The seeds of the columns.
fn seeds(args: &CompareArgs) -> Result<Vec<u64>> {
    let mut seeds: Vec<u64> = Vec::new();
    for seed in &args.seeds {
        if seeds.contains(seed) {
            return Err(CliError::Usage(format!("the seed {seed} is there twice")));
        }
        seeds.push(*seed);
    }
    while args.seeds.is_empty() && seeds.len() < SEEDS {
        let seed = crate::origin::new_seed();
        if !seeds.contains(&seed) {
            seeds.push(seed);
        }
    }
    if seeds.len() > MOST {
        return Err(CliError::Usage(format!(
            "{} seeds: a grid has at most {MOST}",
            seeds.len()
        )));
    }
    Ok(seeds)
}

/// The grid as it grows.
struct Grid {
    sheet: Sheet,
    reports: Vec<CellReport>,
    drawn: usize,
}

impl Grid {
    fn new(args: &CompareArgs, seeds: &[u64]) -> Self {
        let prompts: Vec<&str> = args.prompt.iter().map(String::as_str).collect();
        let rows = args.prompt.iter().zip(words::differing(&prompts));
        let rows = rows.map(|(prompt, differing)| SheetRow {
            prompt: prompt.clone(),
            differing,
            note: String::new(),
            cells: vec![None; seeds.len()],
        });
        Self {
            sheet: Sheet {
                title: args.title.clone().unwrap_or_default(),
                rows: rows.collect(),
                seeds: seeds.to_vec(),
                style: if args.light {
                    SheetStyle::Light
                } else {
                    SheetStyle::Dark
                },
            },
            reports: Vec::new(),
            drawn: 0,
        }
    }

    /// Takes what was drawn for a cell, and saves it if that is wanted.
    fn put(
        &mut self,
        args: &CompareArgs,
        row: usize,
        column: usize,
        outcome: Outcome,
        cancelled_at: Option<u32>,
    ) -> Result<()> {
        let (picture, request, seconds) = of_image(outcome)?;
        let mut path = None;
        if let Some(folder) = &args.cells {
            let name = format!(
                "{}-{}",
                row + 1,
                save::name_of(&request.prompt, request.seed).display()
            );
            let bytes = save::encode(&picture, &request, cancelled_at)?;
            path = Some(save::write(&folder.join(name), &bytes, Existing::Replace)?);
        }
        let cell = self
            .sheet
            .rows
            .get_mut(row)
            .and_then(|row| row.cells.get_mut(column));
        if let Some(cell) = cell {
            *cell = Some(SheetCell {
                picture: Some(picture),
                path: None,
                request: request.clone(),
                best: false,
            });
            self.drawn += 1;
        }
        self.reports.push(CellReport {
            prompt: request.prompt.clone(),
            seed: request.seed,
            path,
            steps_done: cancelled_at.unwrap_or(request.steps),
            seconds,
            request,
        });
        Ok(())
    }
}

fn of_image(outcome: Outcome) -> Result<(Arc<Picture>, ImageRequest, f32)> {
    let wrong =
        || CliError::Failed("the engine answered with something else; please report it".into());
    let Outcome::Image {
        picture,
        request,
        seconds,
    } = outcome
    else {
        return Err(wrong());
    };
    match *request {
        Request::Image(request) => Ok((picture, request, seconds)),
        Request::Chat(_) | Request::Upscale(_) | Request::Score(_) => Err(wrong()),
    }
}
