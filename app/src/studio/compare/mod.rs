//! Prompt variants side by side: grids of pictures, and one message in several lanes.

mod deeds;
pub mod grid;
pub mod lanes;
pub mod variants;
pub mod words;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use diptych_inference::engine::{Event, ModelRef};
use egui::util::undoer::Undoer;
use serde::{Deserialize, Serialize};

use super::command::Entry;
use super::drafts::draft;
use super::house::House;
use super::keys::{Chord, Place};
use super::queue::{Task, TaskHead};
use super::route::NewPicture;
use crate::library::Restored;
use crate::library::keeper::LibraryEvent;
use crate::library::records::{GridId, GridRecord, Target};
use crate::theme::Icon;
use crate::widgets::compare_view::CompareState;
pub use grid::{CellAt, CellPicture, Grid, MOST, SeedColumn, Setup, Variant};
pub use lanes::{Lane, LaneInfo, LaneState, Lanes, Leaves, MOST_LANES};
use variants::Proposing;

/// What is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Pictures.
    #[default]
    Pictures,
    /// Answers.
    Answers,
}

/// What a person sees; kept as text is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Look {
    /// What is compared.
    pub kind: Kind,
    /// The grid that is open.
    grid: Option<i64>,
    /// The chat comparison that is open.
    lanes: Option<i64>,
    /// The chosen cell.
    pub first: Option<CellAt>,
    /// The one that it is compared with.
    pub second: Option<CellAt>,
    /// Whether the two are shown large.
    pub viewing: bool,
    /// How they are compared.
    pub state: CompareState,
    /// Whether the settings of all prompts are unfolded.
    pub settings: bool,
    /// Whether small pictures are shown in crisp pixels.
    pub crisp: bool,
    /// Whether exported pictures lie on white.
    pub export_light: bool,
}

/// Side by side.
#[derive(Default)]
pub struct Compare {
    /// The grid that is open; its texts are edited in place.
    pub grid: Grid,
    /// The other grids, newest first.
    pub earlier: Vec<Grid>,
    /// The chat comparison that is open; its texts are edited in place.
    pub lanes: Lanes,
    /// Other chat comparisons, newest first.
    pub earlier_lanes: Vec<Lanes>,
    /// What a person sees.
    pub look: Look,
    undoer: Undoer<Setup>,
    /// The question for variants that is under way.
    proposing: Option<Proposing>,
    began: Option<Instant>,
    /// Comparisons that were thrown away, the last one last.
    deleted: Vec<Deleted>,
    /// What the library has of each grid.
    saved: HashMap<GridId, String>,
    checked: Option<Instant>,
}

/// What a person wants in Compare.
#[derive(Clone, Debug, PartialEq)]
pub enum CompareCommand {
    /// Compare pictures or answers.
    Show(Kind),
    /// Begin a grid, or a chat comparison.
    New,
    /// Open an earlier grid.
    Open(GridId),
    /// Throw a grid away; its pictures stay in the library.
    Delete(GridId),
    /// Take that back.
    Undelete(GridId),
    /// Begin a grid with two prompts of ours.
    Example,
    /// Add a prompt.
    AddVariant,
    /// Ask a chat model for variants of a prompt; `None` is the studio's own choice of the model.
    AskVariants(String, Option<ModelRef>),
    /// The same for the prompt in Create.
    VariantsOfCreate,
    /// Add a prompt with this text.
    AddPrompt(String),
    /// Put a copy of a prompt below it.
    DuplicateVariant(u32),
    /// Take a prompt away.
    RemoveVariant(u32),
    /// Move a prompt to a place.
    MoveVariant(u32, usize),
    /// Let a prompt want nothing otherwise than the others.
    ClearOwn(u32),
    /// Add a seed.
    AddSeed,
    /// Take a seed away.
    RemoveSeed(u32),
    /// Move a seed to a place.
    MoveSeed(u32, usize),
    /// Change a seed.
    SetSeed(u32, u64),
    /// New seeds in all columns.
    NewSeeds,
    /// Draw what is not drawn yet, or was drawn with other settings; or ask all lanes.
    Run,
    /// Draw one cell, even if it is drawn.
    RunCell(CellAt),
    /// Draw the chosen cell, even if it is drawn.
    RunChosen,
    /// Mark the chosen cell as the best, or take the mark away.
    WinnerChosen,
    /// Use all settings of the chosen cell in Create.
    UseChosen,
    /// Throw the comparison that is shown away.
    DeleteShown,
    /// End all jobs of this comparison; what is drawn or written stays.
    Stop,
    /// Choose a cell; the second is compared with the first.
    Select(CellAt),
    /// Choose nothing.
    Unselect,
    /// Show the two chosen cells large, or the grid again.
    ToggleView,
    /// Compare them in the next way.
    NextMode,
    /// Let the two change places.
    Swap,
    /// Mark the cell that is best, or take the mark away.
    Winner(CellAt),
    /// Use all settings of a cell in Create.
    UseInCreate(CellAt),
    /// Ask for a file for the grid as one labelled picture.
    Export,
    /// Write it.
    ExportTo(PathBuf),
    /// Add a lane.
    AddLane,
    /// Put a copy of a lane behind the last.
    DuplicateLane(u32),
    /// Take a lane away.
    RemoveLane(u32),
    /// Ask one lane again.
    AskLane(u32),
    /// Copy a lane's answer.
    CopyLane(u32),
    /// Use a lane's answer as the prompt in Create.
    LaneToCreate(u32),
}

/// A comparison that was thrown away.
enum Deleted {
    Grid(Box<Grid>),
    Lanes(Box<Lanes>),
}

const DRAFT: &str = "compare";
/// How often the library is given what changed.
const INTERVAL: Duration = Duration::from_millis(350);

impl Compare {
    pub(super) fn restore(&mut self, restored: &Restored, _house: &mut House) {
        if let Some(text) = restored.drafts.get(DRAFT) {
            match serde_json::from_str(text) {
                Ok(look) => self.look = look,
                Err(error) => tracing::warn!("what was compared last cannot be read: {error}"),
            }
        }
        self.look.state.settle();
        let mut grids: Vec<Grid> = restored.grids.iter().filter_map(Grid::read).collect();
        for grid in &mut grids {
            grid.find_lost(&restored.pictures);
        }
        let open = |grid: &Grid| Some(grid.id.0) == self.look.grid;
        // What was typed before the library was open stays.
        if self.grid.is_blank() {
            let index = grids.iter().position(open);
            if let Some(index) = index.or(if grids.is_empty() { None } else { Some(0) }) {
                self.grid = grids.remove(index);
            }
        }
        self.earlier = grids;
        let mut lanes: Vec<Lanes> = restored.grids.iter().filter_map(Lanes::read).collect();
        if self.lanes.is_blank() {
            let open = |lanes: &Lanes| Some(lanes.id.0) == self.look.lanes;
            let index = lanes.iter().position(open);
            if let Some(index) = index.or(if lanes.is_empty() { None } else { Some(0) }) {
                self.lanes = lanes.remove(index);
            }
        }
        self.earlier_lanes = lanes;
        self.check_selection();
        self.undoer = Undoer::default();
    }

    pub(super) fn drafts(&self) -> Vec<(String, String)> {
        let look = Look {
            grid: Some(self.grid.id.0),
            lanes: Some(self.lanes.id.0),
            ..self.look.clone()
        };
        draft(DRAFT, &look).into_iter().collect()
    }

    pub(super) fn undo(&mut self, back: bool, _house: &mut House) {
        if self.look.kind != Kind::Pictures {
            return;
        }
        let setup = &self.grid.setup;
        let other = if back {
            self.undoer.undo(setup)
        } else {
            self.undoer.redo(setup)
        };
        if let Some(setup) = other {
            self.grid.setup = setup.clone();
            self.check_selection();
        }
    }

    /// Called before each frame.
    pub(super) fn tick(&mut self, house: &mut House) {
        let began = *self.began.get_or_insert_with(Instant::now);
        self.undoer
            .feed_state(began.elapsed().as_secs_f64(), &self.grid.setup);
        if house.is_open() && self.checked.is_none_or(|last| last.elapsed() >= INTERVAL) {
            self.checked = Some(Instant::now());
            self.save(house);
        }
    }

    /// The window closes: hand over what changed last.
    pub(super) fn close(&mut self, house: &House) {
        if house.is_open() {
            self.save(house);
        }
    }

    /// Gives the library the open grid and the open chat comparison, if they changed.
    fn save(&mut self, house: &House) {
        if !self.grid.is_blank() {
            keep(&mut self.saved, self.grid.record(), house);
        }
        if !self.lanes.is_blank() {
            keep(&mut self.saved, self.lanes.record(), house);
        }
    }

    pub(super) fn on_event(&mut self, head: &TaskHead, event: &Event, house: &mut House) {
        self.hear_variants(head, event, house);
        if let Target::Lane { grid, lane } = head.target {
            let lanes = std::iter::once(&mut self.lanes).chain(&mut self.earlier_lanes);
            for lanes in lanes.filter(|lanes| lanes.id == grid) {
                if let Some(lane) = lanes.lane_mut(lane) {
                    lane.hear(head.id, event);
                }
            }
        }
    }

    pub(super) fn on_discarded(&mut self, head: &TaskHead, _house: &mut House) {
        self.forget_variants(head);
        if let Target::Lane { grid, lane } = head.target
            && self.lanes.id == grid
            && let Some(lane) = self.lanes.lane_mut(lane)
        {
            lane.state = LaneState::Stopped;
        }
    }

    pub(super) fn on_picture(&mut self, new: &NewPicture, house: &mut House) {
        let Target::Cell { grid, row, column } = new.head.target else {
            return;
        };
        let picture = CellPicture {
            at: CellAt { row, column },
            id: new.id,
            path: None,
            request: new.request.clone(),
            size: (new.picture.width, new.picture.height),
            steps_done: new.steps_done,
            seconds: new.seconds,
        };
        if let Some(grid) = self.grid_mut(grid) {
            let whole = grid.cell(picture.at).is_some_and(|cell| {
                cell.steps_done.is_none() && grid::alike(&cell.request, &picture.request)
            });
            // Half a picture does not take the place of the whole one.
            if picture.steps_done.is_none() || !whole {
                grid.put(picture);
            }
        }
        self.keep_earlier(grid, house);
    }

    pub(super) fn on_library(&mut self, event: &LibraryEvent, house: &mut House) {
        if let LibraryEvent::PictureSaved(record) = event
            && let Some(id) = record.grid
            && let Some(grid) = self.grid_mut(id)
            && grid.saved(record)
        {
            self.keep_earlier(id, house);
        }
    }

    /// Earlier comparisons of the kind that is shown, with what they are called.
    pub fn earlier_titles(&self) -> Vec<(GridId, String)> {
        match self.look.kind {
            Kind::Pictures => {
                let grids = self.earlier.iter();
                grids.map(|grid| (grid.id, grid.shown_title())).collect()
            }
            Kind::Answers => {
                let lanes = self.earlier_lanes.iter();
                lanes
                    .map(|lanes| (lanes.id, lanes.asked.chars().take(48).collect()))
                    .collect()
            }
        }
    }

    fn grid_mut(&mut self, id: GridId) -> Option<&mut Grid> {
        std::iter::once(&mut self.grid)
            .chain(&mut self.earlier)
            .find(|grid| grid.id == id)
    }

    /// The open grid is kept by the clock; others when they change.
    fn keep_earlier(&mut self, id: GridId, house: &House) {
        if let Some(grid) = self.earlier.iter().find(|grid| grid.id == id) {
            keep(&mut self.saved, grid.record(), house);
        }
    }

    /// The job of a cell, if it has one.
    pub fn job<'a>(&self, at: CellAt, house: &'a House) -> Option<&'a Task> {
        let target = self.target(at);
        house.queue.of_target(move |other| *other == target).last()
    }

    pub(in crate::studio) fn target(&self, at: CellAt) -> Target {
        Target::Cell {
            grid: self.grid.id,
            row: at.row,
            column: at.column,
        }
    }

    /// How many cells [`CompareCommand::Run`] would draw.
    pub fn open_cells(&self, house: &House) -> usize {
        let open = |at: &CellAt| {
            let busy = self
                .job(*at, house)
                .is_some_and(|task| task.stage.is_live());
            !busy && self.grid.wanted(*at, house).is_ok() && !self.grid.is_current(*at, house)
        };
        self.grid.places().into_iter().filter(open).count()
    }

    /// Whether anything of what is shown runs or waits.
    pub fn is_busy(&self, house: &House) -> bool {
        let (kind, grid, lanes) = (self.look.kind, self.grid.id, self.lanes.id);
        house.queue.live().any(|task| match task.head.target {
            Target::Cell { grid: id, .. } => kind == Kind::Pictures && id == grid,
            Target::Lane { grid: id, .. } => kind == Kind::Answers && id == lanes,
            Target::Variants { grid: id } => kind == Kind::Pictures && id == grid,
            _ => false,
        })
    }

    /// Whether a chat model thinks of variants.
    pub fn is_proposing(&self) -> bool {
        self.proposing.is_some()
    }

    /// The two cells to compare: those chosen, else those that lie nearest.
    pub fn pair(&self) -> Option<(CellAt, CellAt)> {
        let drawn: Vec<CellAt> = self
            .grid
            .places()
            .into_iter()
            .filter(|at| self.grid.cell(*at).is_some())
            .collect();
        let there = |at: &CellAt| drawn.contains(at);
        let first = self
            .look
            .first
            .filter(there)
            .or_else(|| drawn.first().copied())?;
        let other = |at: &&CellAt| **at != first;
        let second = self.look.second.filter(there).or_else(|| {
            // Another prompt with the same seed tells most.
            let mut others = drawn.iter().filter(other);
            let same_seed = others.clone().find(|at| at.column == first.column);
            same_seed.or_else(|| others.next()).copied()
        })?;
        Some((first, second))
    }

    /// Forgets chosen cells that are gone.
    fn check_selection(&mut self) {
        let grid = &self.grid;
        self.look.first = self.look.first.filter(|at| grid.holds(*at));
        self.look.second = self.look.second.filter(|at| grid.holds(*at));
        self.grid.winner = grid.winner.filter(|at| grid.holds(*at));
        if self.pair().is_none() {
            self.look.viewing = false;
        }
    }
}

fn keep(
    saved: &mut HashMap<GridId, String>,
    record: serde_json::Result<GridRecord>,
    house: &House,
) {
    let record = match record {
        Ok(record) => record,
        Err(error) => return tracing::error!("a grid cannot be written: {error}"),
    };
    let text = format!("{}\n{}", record.title, record.spec);
    if saved.get(&record.id) == Some(&text) {
        return;
    }
    saved.insert(record.id, text);
    house.save("the comparison", move |library| {
        library.put_grid(&record)?;
        Ok(None)
    });
}

/// Commands of Compare in the palette.
pub fn entries() -> Vec<Entry> {
    use egui::Key;
    let at = Place::Compare;
    vec![
        Entry::new(
            CompareCommand::Run,
            "Draw the grid, or ask all lanes",
            Icon::Play,
        )
        .key(at, Chord::ctrl(Key::Enter)),
        Entry::new(CompareCommand::Stop, "Stop this comparison", Icon::Stop)
            .key(at, Chord::plain(Key::Escape)),
        Entry::new(
            CompareCommand::ToggleView,
            "Compare two cells",
            Icon::SliderCompare,
        )
        .key(at, Chord::plain(Key::M)),
        Entry::new(
            CompareCommand::NextMode,
            "Compare them in the next way",
            Icon::Columns,
        )
        .key(at, Chord::plain(Key::C)),
        Entry::new(CompareCommand::Swap, "Swap the two", Icon::Swap).key(at, Chord::plain(Key::Z)),
        Entry::new(CompareCommand::New, "New comparison", Icon::Plus),
        Entry::new(
            CompareCommand::VariantsOfCreate,
            "Ask for variants of the prompt in Create",
            Icon::Sparkle,
        ),
        Entry::new(
            CompareCommand::AddVariant,
            "Add a prompt to the grid",
            Icon::Plus,
        ),
        Entry::new(
            CompareCommand::AddSeed,
            "Add a seed to the grid",
            Icon::Seed,
        ),
        Entry::new(
            CompareCommand::NewSeeds,
            "New seeds for the grid",
            Icon::Dice,
        ),
        Entry::new(
            CompareCommand::Export,
            "Export the grid as a picture…",
            Icon::Export,
        ),
        Entry::new(
            CompareCommand::Example,
            "Compare two example prompts",
            Icon::Sparkle,
        ),
        Entry::new(
            CompareCommand::RunChosen,
            "Draw the chosen cell again",
            Icon::Refresh,
        ),
        Entry::new(
            CompareCommand::WinnerChosen,
            "Mark the chosen cell as the best",
            Icon::Star,
        ),
        Entry::new(
            CompareCommand::UseChosen,
            "Use the chosen cell's settings in Create",
            Icon::Import,
        ),
        Entry::new(CompareCommand::Unselect, "Choose no cell", Icon::Close),
        Entry::new(
            CompareCommand::AddLane,
            "Add chat settings to compare",
            Icon::Plus,
        ),
        Entry::new(
            CompareCommand::DeleteShown,
            "Delete this comparison",
            Icon::Trash,
        ),
        Entry::new(
            CompareCommand::Show(Kind::Pictures),
            "Compare pictures",
            Icon::Grid,
        ),
        Entry::new(
            CompareCommand::Show(Kind::Answers),
            "Compare answers",
            Icon::Chat,
        ),
    ]
}
