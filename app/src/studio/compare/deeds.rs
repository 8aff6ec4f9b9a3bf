//! What is done in Compare.

use std::path::PathBuf;
use std::sync::Arc;

use diptych_inference::engine::Request;

use super::grid::{CellAt, Grid};
use super::lanes::{Lane, LaneState, Lanes, MOST_LANES};
use super::{Compare, CompareCommand, Deleted, Kind, MOST, words};
use crate::export::{Sheet, SheetCell, SheetRow, SheetStyle};
use crate::library::records::{GridId, Target, TaskId};
use crate::recall::Part;
use crate::studio::command::{AppCommand, QueueCommand};
use crate::studio::create::CreateCommand;
use crate::studio::effects::{AskKind, Effect};
use crate::studio::house::House;
use crate::studio::log::Level;
use crate::studio::queue::Stage;
use crate::studio::view::Workspace;

/// Comparisons that were thrown away and can be brought back.
const MOST_DELETED: usize = 20;
/// Two prompts that the built-in model draws well.
const EXAMPLE: [&str; 2] = ["a red fox, flat style", "a blue fox, flat style"];

impl Compare {
    pub(in crate::studio) fn apply(&mut self, command: CompareCommand, house: &mut House) {
        if let Err(reason) = self.available(&command, house) {
            tracing::debug!("not now: {reason}");
            return;
        }
        match command {
            CompareCommand::Show(kind) => self.look.kind = kind,
            CompareCommand::New => self.begin_new(house),
            CompareCommand::Open(id) => self.open(id, house),
            CompareCommand::Delete(id) => self.delete(id, house),
            CompareCommand::Undelete(id) => self.undelete(id, house),
            CompareCommand::Example => self.example(),
            CompareCommand::AddVariant => {
                // What is added is mostly a variation of what is there.
                let last = self.grid.setup.variants.last().map(|last| last.id);
                match last {
                    Some(last) => self.grid.setup.duplicate_variant(last),
                    None => self.grid.setup.add_variant(String::new()),
                };
            }
            CompareCommand::AskVariants(prompt, model) => {
                self.propose(&prompt, model.as_ref(), house);
            }
            // The studio puts the prompt in.
            CompareCommand::VariantsOfCreate => {}
            CompareCommand::AddPrompt(prompt) => {
                let setup = &mut self.grid.setup;
                let blank = setup
                    .variants
                    .iter_mut()
                    .find(|variant| variant.prompt.trim().is_empty());
                match blank {
                    Some(variant) => variant.prompt = prompt,
                    None => drop(setup.add_variant(prompt)),
                }
                self.look.kind = Kind::Pictures;
                house.command(AppCommand::Show(Workspace::Compare));
            }
            CompareCommand::DuplicateVariant(id) => {
                self.grid.setup.duplicate_variant(id);
            }
            CompareCommand::RemoveVariant(id) => {
                self.drop_jobs(house, |at| at.row == id);
                self.grid.setup.variants.retain(|variant| variant.id != id);
                self.check_selection();
            }
            CompareCommand::MoveVariant(id, to) => {
                let variants = &mut self.grid.setup.variants;
                move_to(variants, |variant| variant.id == id, to);
            }
            CompareCommand::ClearOwn(id) => {
                let mut variants = self.grid.setup.variants.iter_mut();
                if let Some(variant) = variants.find(|variant| variant.id == id) {
                    *variant = super::Variant {
                        id,
                        prompt: std::mem::take(&mut variant.prompt),
                        ..super::Variant::default()
                    };
                }
            }
            CompareCommand::AddSeed => {
                self.grid.setup.add_seed(crate::origin::new_seed());
            }
            CompareCommand::RemoveSeed(id) => {
                self.drop_jobs(house, |at| at.column == id);
                self.grid.setup.seeds.retain(|seed| seed.id != id);
                self.check_selection();
            }
            CompareCommand::MoveSeed(id, to) => {
                move_to(&mut self.grid.setup.seeds, |seed| seed.id == id, to);
            }
            CompareCommand::SetSeed(id, value) => {
                let seeds = &mut self.grid.setup.seeds;
                if !seeds.iter().any(|seed| seed.seed == value)
                    && let Some(seed) = seeds.iter_mut().find(|seed| seed.id == id)
                {
                    seed.seed = value;
                }
            }
            CompareCommand::NewSeeds => {
                for seed in &mut self.grid.setup.seeds {
                    seed.seed = crate::origin::new_seed();
                }
            }
            CompareCommand::Run => match self.look.kind {
                Kind::Pictures => self.run(house),
                Kind::Answers => self.ask_all(house),
            },
            CompareCommand::RunChosen
            | CompareCommand::WinnerChosen
            | CompareCommand::UseChosen => {
                if let Some(at) = self.look.first {
                    house.command(match command {
                        CompareCommand::RunChosen => CompareCommand::RunCell(at),
                        CompareCommand::WinnerChosen => CompareCommand::Winner(at),
                        _ => CompareCommand::UseInCreate(at),
                    });
                }
            }
            CompareCommand::DeleteShown => {
                let shown = match self.look.kind {
                    Kind::Pictures => self.grid.id,
                    Kind::Answers => self.lanes.id,
                };
                self.delete(shown, house);
            }
            CompareCommand::RunCell(at) => self.run_cell(at, house, true),
            CompareCommand::Stop => {
                if self.look.viewing && self.look.kind == Kind::Pictures {
                    self.look.viewing = false;
                } else {
                    self.stop(house);
                }
            }
            CompareCommand::Select(at) => self.select(at),
            CompareCommand::Unselect => {
                (self.look.first, self.look.second) = (None, None);
            }
            CompareCommand::ToggleView => {
                if self.look.viewing {
                    self.look.viewing = false;
                } else {
                    self.view_pair();
                }
            }
            CompareCommand::NextMode => {
                if self.look.viewing {
                    self.look.state.mode = self.look.state.mode.next();
                } else {
                    self.view_pair();
                }
            }
            CompareCommand::Swap => self.look.state.swapped = !self.look.state.swapped,
            CompareCommand::Winner(at) => {
                self.grid.winner = (self.grid.winner != Some(at)).then_some(at);
            }
            CompareCommand::UseInCreate(at) => {
                if let Some(cell) = self.grid.cell(at) {
                    house.command(CreateCommand::RecallOf(cell.id, Part::All));
                    house.command(AppCommand::Show(Workspace::Create));
                }
            }
            CompareCommand::Export => {
                let kind = AskKind::SaveFile {
                    name: "grid.png".into(),
                    what: "PNG picture",
                    endings: &["png"],
                };
                house.ask("Save the grid as a picture", kind, |path| {
                    CompareCommand::ExportTo(path).into()
                });
            }
            CompareCommand::ExportTo(path) => self.export(path, house),
            CompareCommand::AddLane => {
                let mut lane = self.lanes.lanes.last().cloned().unwrap_or_default();
                clear_answer(&mut lane);
                self.lanes.add(lane);
            }
            CompareCommand::DuplicateLane(id) => {
                if let Some(mut lane) = self.lanes.lane(id).cloned() {
                    clear_answer(&mut lane);
                    self.lanes.add(lane);
                }
            }
            CompareCommand::RemoveLane(id) => {
                self.end_lane(id, house);
                self.lanes.lanes.retain(|lane| lane.id != id);
            }
            CompareCommand::AskLane(id) => self.ask(id, house),
            CompareCommand::CopyLane(id) => {
                if let Some(lane) = self.lanes.lane(id) {
                    house.effect(Effect::CopyText(lane.answer.clone()));
                }
            }
            CompareCommand::LaneToCreate(id) => {
                if let Some(lane) = self.lanes.lane(id) {
                    house.command(CreateCommand::TakePrompt(lane.answer.trim().to_owned()));
                    house.command(AppCommand::Show(Workspace::Create));
                }
            }
        }
    }

    pub(in crate::studio) fn available(
        &self,
        command: &CompareCommand,
        house: &House,
    ) -> Result<(), String> {
        let no = |reason: &str| Err(reason.to_owned());
        let setup = &self.grid.setup;
        match command {
            CompareCommand::AskVariants(prompt, _) => self.can_propose(prompt, house),
            CompareCommand::AddVariant | CompareCommand::DuplicateVariant(_)
                if setup.variants.len() >= MOST =>
            {
                no("A grid has at most 8 prompts")
            }
            CompareCommand::RemoveVariant(_) if setup.variants.len() <= 1 => {
                no("A grid has at least one prompt")
            }
            CompareCommand::AddSeed if setup.seeds.len() >= MOST => {
                no("A grid has at most 8 seeds")
            }
            CompareCommand::RemoveSeed(_) if setup.seeds.len() <= 1 => {
                no("A grid has at least one seed")
            }
            CompareCommand::Run if self.look.kind == Kind::Answers => {
                if self.lanes.message.trim().is_empty() && self.lanes.asked.is_empty() {
                    return no("Write a message first");
                }
                let mut lanes = self.lanes.lanes.iter();
                let ready = lanes.any(|lane| lane.model(house).is_some());
                if ready {
                    Ok(())
                } else {
                    no("There is no model to talk with yet")
                }
            }
            CompareCommand::Run if self.open_cells(house) == 0 => {
                let places = self.grid.places();
                let mut reasons = places
                    .iter()
                    .filter_map(|at| self.grid.wanted(*at, house).err());
                match reasons.next() {
                    Some(reason) => Err(reason),
                    None if self.is_busy(house) => no("All cells are being drawn already"),
                    None => no("All cells are drawn"),
                }
            }
            CompareCommand::Stop if !self.look.viewing && !self.is_busy(house) => {
                no("Nothing is being drawn or written here")
            }
            CompareCommand::ToggleView | CompareCommand::NextMode
                if self.look.kind != Kind::Pictures || self.pair().is_none() =>
            {
                no("Draw at least two pictures first")
            }
            CompareCommand::RunChosen if self.chosen_cell().is_none() => no("Choose a cell first"),
            CompareCommand::WinnerChosen | CompareCommand::UseChosen
                if self
                    .chosen_cell()
                    .is_none_or(|at| self.grid.cell(at).is_none()) =>
            {
                no("Choose a drawn cell first")
            }
            CompareCommand::Unselect if self.look.first.is_none() => no("No cell is chosen"),
            CompareCommand::Swap if !self.look.viewing => no("Compare two cells first"),
            CompareCommand::Export if self.grid.cells.is_empty() => {
                no("There is nothing to export yet")
            }
            CompareCommand::AddLane | CompareCommand::DuplicateLane(_)
                if self.lanes.lanes.len() >= MOST_LANES =>
            {
                no("There are at most 4 lanes")
            }
            CompareCommand::RemoveLane(_) if self.lanes.lanes.len() <= 1 => {
                no("There is at least one lane")
            }
            _ => Ok(()),
        }
    }

    /// The cell that was chosen first.
    fn chosen_cell(&self) -> Option<CellAt> {
        self.look.first.filter(|_| self.look.kind == Kind::Pictures)
    }

    fn begin_new(&mut self, house: &House) {
        self.save(house);
        match self.look.kind {
            Kind::Pictures => {
                let mut new = Grid::new();
                new.setup.common = self.grid.setup.common.clone();
                let old = std::mem::replace(&mut self.grid, new);
                if !old.is_blank() {
                    self.earlier.insert(0, old);
                }
                self.shown_another();
            }
            Kind::Answers => {
                let mut new = Lanes::default();
                new.lanes.clone_from(&self.lanes.lanes);
                new.lanes.iter_mut().for_each(clear_answer);
                let old = std::mem::replace(&mut self.lanes, new);
                if !old.is_blank() {
                    self.earlier_lanes.insert(0, old);
                }
            }
        }
    }

    fn shown_another(&mut self) {
        (self.look.first, self.look.second) = (None, None);
        self.look.viewing = false;
        self.undoer = egui::util::undoer::Undoer::default();
    }

    fn open(&mut self, id: GridId, house: &House) {
        self.save(house);
        if let Some(index) = self.earlier.iter().position(|grid| grid.id == id) {
            let old = std::mem::replace(&mut self.grid, self.earlier.remove(index));
            if !old.is_blank() {
                self.earlier.insert(0, old);
            }
            self.look.kind = Kind::Pictures;
            self.shown_another();
        } else if let Some(index) = self.earlier_lanes.iter().position(|lanes| lanes.id == id) {
            let old = std::mem::replace(&mut self.lanes, self.earlier_lanes.remove(index));
            if !old.is_blank() {
                self.earlier_lanes.insert(0, old);
            }
            self.look.kind = Kind::Answers;
        }
    }

    fn delete(&mut self, id: GridId, house: &mut House) {
        let jobs = jobs_of(house, |target| match target {
            Target::Cell { grid, .. } | Target::Lane { grid, .. } | Target::Variants { grid } => {
                *grid == id
            }
            _ => false,
        });
        for job in jobs {
            house.command(QueueCommand::Cancel(job));
        }
        let mut deleted = None;
        if let Some(index) = self.earlier.iter().position(|grid| grid.id == id) {
            deleted = Some(Deleted::Grid(Box::new(self.earlier.remove(index))));
        }
        if let Some(index) = self.earlier_lanes.iter().position(|lanes| lanes.id == id) {
            deleted = Some(Deleted::Lanes(Box::new(self.earlier_lanes.remove(index))));
        }
        if self.grid.id == id {
            let next = if self.earlier.is_empty() {
                Grid::new()
            } else {
                self.earlier.remove(0)
            };
            let old = std::mem::replace(&mut self.grid, next);
            deleted = (!old.is_blank()).then(|| Deleted::Grid(Box::new(old)));
            self.shown_another();
        }
        if self.lanes.id == id {
            let next = if self.earlier_lanes.is_empty() {
                Lanes::default()
            } else {
                self.earlier_lanes.remove(0)
            };
            let old = std::mem::replace(&mut self.lanes, next);
            deleted = (!old.is_blank()).then(|| Deleted::Lanes(Box::new(old)));
        }
        if let Some(deleted) = deleted {
            self.deleted.push(deleted);
            if self.deleted.len() > MOST_DELETED {
                self.deleted.remove(0);
            }
            let undo = ("Undo".to_owned(), CompareCommand::Undelete(id).into());
            house
                .log
                .notify_with(Level::Info, "Comparison deleted", "", Some(undo));
        }
        self.saved.remove(&id);
        house.save("the comparison", move |library| {
            library.delete_grid(id)?;
            Ok(None)
        });
    }

    /// Brings a comparison back that was thrown away, and shows it.
    fn undelete(&mut self, id: GridId, house: &House) {
        let is_it = |deleted: &Deleted| match deleted {
            Deleted::Grid(grid) => grid.id == id,
            Deleted::Lanes(lanes) => lanes.id == id,
        };
        let Some(index) = self.deleted.iter().rposition(is_it) else {
            return;
        };
        match self.deleted.remove(index) {
            Deleted::Grid(grid) => {
                let pictures: Vec<_> = grid.cells.iter().map(|cell| cell.id).collect();
                self.earlier.insert(0, *grid);
                self.keep_earlier(id, house);
                house.save("the comparison", move |library| {
                    library.put_pictures_into_grid(id, &pictures)?;
                    Ok(None)
                });
            }
            Deleted::Lanes(mut lanes) => {
                for lane in &mut lanes.lanes {
                    if lane.state == LaneState::Writing {
                        lane.state = LaneState::Stopped;
                    }
                }
                self.earlier_lanes.insert(0, *lanes);
            }
        }
        self.open(id, house);
        // What was brought back is kept at once.
        self.save(house);
    }

    fn example(&mut self) {
        let mut prompts = EXAMPLE.iter();
        for variant in &mut self.grid.setup.variants {
            if variant.prompt.trim().is_empty()
                && let Some(prompt) = prompts.next()
            {
                variant.prompt = (*prompt).to_owned();
            }
        }
    }

    /// Draws what is not drawn yet, column by column.
    fn run(&mut self, house: &mut House) {
        for at in self.grid.places() {
            self.run_cell(at, house, false);
        }
        self.look.viewing = false;
        self.save(house);
    }

    fn run_cell(&mut self, at: CellAt, house: &mut House, again: bool) {
        let Ok(wanted) = self.grid.wanted(at, house) else {
            return;
        };
        let target = self.target(at);
        let mut same = false;
        for id in jobs_of(house, |other| *other == target) {
            let Some(task) = house.queue.get(id) else {
                continue;
            };
            let alike = match &*task.head.request {
                Request::Image(request) => super::grid::alike(request, &wanted),
                Request::Chat(_) | Request::Upscale(_) | Request::Score(_) => false,
            };
            match &task.stage {
                stage if stage.is_live() && alike => same = true,
                Stage::Paused | Stage::Interrupted | Stage::Failed(_) if alike && !same => {
                    house.command(QueueCommand::Resume(id));
                    same = true;
                }
                _ => house.command(QueueCommand::Cancel(id)),
            }
        }
        if !same && (again || !self.grid.is_current(at, house)) {
            house.submit(Request::Image(wanted), target, false);
        }
    }

    fn stop(&self, house: &mut House) {
        let (kind, grid, lanes) = (self.look.kind, self.grid.id, self.lanes.id);
        let jobs = jobs_of(house, |target| match target {
            Target::Cell { grid: id, .. } => kind == Kind::Pictures && *id == grid,
            Target::Lane { grid: id, .. } => kind == Kind::Answers && *id == lanes,
            Target::Variants { grid: id } => kind == Kind::Pictures && *id == grid,
            _ => false,
        });
        // From the last, so that none is begun meanwhile.
        for job in jobs.into_iter().rev() {
            house.command(QueueCommand::Cancel(job));
        }
    }

    fn drop_jobs(&self, house: &mut House, of: impl Fn(CellAt) -> bool) {
        let open = self.grid.id;
        let jobs = jobs_of(house, |target| match *target {
            Target::Cell { grid, row, column } => grid == open && of(CellAt { row, column }),
            _ => false,
        });
        for job in jobs.into_iter().rev() {
            house.command(QueueCommand::Cancel(job));
        }
    }

    fn select(&mut self, at: CellAt) {
        let look = &mut self.look;
        match (look.first, look.second) {
            (None, _) => look.first = Some(at),
            (Some(first), None) if first == at => look.first = None,
            (Some(_), None) => {
                look.second = Some(at);
                self.view_pair();
            }
            (Some(first), Some(second)) => {
                // One more click keeps the first and changes what it is compared with.
                if at == first {
                    (look.first, look.second) = (Some(second), None);
                } else if at == second {
                    look.second = None;
                } else {
                    look.second = Some(at);
                    self.view_pair();
                }
            }
        }
    }

    fn view_pair(&mut self) {
        let drawn = |at: Option<CellAt>| at.is_none_or(|at| self.grid.cell(at).is_some());
        if !drawn(self.look.first) || !drawn(self.look.second) {
            return;
        }
        if let Some((first, second)) = self.pair() {
            (self.look.first, self.look.second) = (Some(first), Some(second));
            self.look.viewing = true;
        }
    }

    fn ask_all(&mut self, house: &mut House) {
        if !self.lanes.message.trim().is_empty() {
            self.lanes.asked = self.lanes.message.trim().to_owned();
            self.lanes.message.clear();
        }
        let ids: Vec<u32> = self.lanes.lanes.iter().map(|lane| lane.id).collect();
        for id in ids {
            self.ask(id, house);
        }
    }

    fn ask(&mut self, id: u32, house: &mut House) {
        self.end_lane(id, house);
        let (grid, asked) = (self.lanes.id, self.lanes.asked.clone());
        let Some(lane) = self.lanes.lane_mut(id) else {
            return;
        };
        match lane.request(&asked, house) {
            Ok(request) => {
                lane.begin(&request);
                let target = Target::Lane { grid, lane: id };
                lane.task = Some(house.submit(Request::Chat(request), target, false));
            }
            Err(reason) => lane.state = LaneState::Failed(reason),
        }
        self.save(house);
    }

    fn end_lane(&self, id: u32, house: &mut House) {
        let open = self.lanes.id;
        let jobs = jobs_of(
            house,
            |target| matches!(target, Target::Lane { grid, lane } if *grid == open && *lane == id),
        );
        for job in jobs {
            house.command(QueueCommand::Cancel(job));
        }
    }

    fn export(&self, path: PathBuf, house: &House) {
        let sheet = self.sheet(house);
        let (assets, reply) = (house.assets.clone(), house.reply());
        let spawned = std::thread::Builder::new()
            .name("diptych-export".into())
            .spawn(move || match crate::export::write(&sheet, &assets, &path) {
                Ok(path) => {
                    let text = path.display().to_string();
                    reply.notice(Level::Success, "The grid is saved as a picture", text);
                }
                Err(error) => {
                    let title = "The grid could not be saved";
                    reply.notice(Level::Error, title, error.to_string());
                }
            });
        if let Err(error) = spawned {
            let text = format!("the system gives no thread: {error}");
            house
                .reply()
                .notice(Level::Error, "The grid could not be saved", text);
        }
    }

    /// The open grid as it is exported.
    pub fn sheet(&self, house: &House) -> Sheet {
        let setup = &self.grid.setup;
        let prompts: Vec<&str> = setup.variants.iter().map(|v| v.prompt.as_str()).collect();
        let differing = words::differing(&prompts);
        let rows = setup
            .variants
            .iter()
            .zip(differing)
            .map(|(variant, differing)| SheetRow {
                prompt: variant.prompt.clone(),
                differing,
                note: variant.own_text(),
                cells: setup
                    .seeds
                    .iter()
                    .map(|seed| {
                        let at = CellAt {
                            row: variant.id,
                            column: seed.id,
                        };
                        let cell = self.grid.cell(at)?;
                        Some(SheetCell {
                            picture: house.fresh_picture(cell.id).map(Arc::clone),
                            path: cell.path.clone(),
                            request: cell.request.clone(),
                            best: self.grid.winner == Some(at),
                        })
                    })
                    .collect(),
            })
            .collect();
        Sheet {
            title: self.grid.title.trim().to_owned(),
            rows,
            seeds: setup.seeds.iter().map(|seed| seed.seed).collect(),
            style: if self.look.export_light {
                SheetStyle::Light
            } else {
                SheetStyle::Dark
            },
        }
    }
}

fn clear_answer(lane: &mut Lane) {
    lane.answer.clear();
    lane.ends.clear();
    lane.state = LaneState::Empty;
    lane.info = super::LaneInfo::default();
    lane.task = None;
}

fn jobs_of(house: &House, wanted: impl Fn(&Target) -> bool) -> Vec<TaskId> {
    let jobs = house.queue.of_target(wanted);
    jobs.map(|task| task.head.id).collect()
}

fn move_to<T>(items: &mut Vec<T>, is: impl Fn(&T) -> bool, to: usize) {
    if let Some(from) = items.iter().position(is) {
        let item = items.remove(from);
        items.insert(to.min(items.len()), item);
    }
}
