//! A grid: prompts down, seeds across, and what was drawn for each pair.

use std::path::PathBuf;

use diptych_inference::diffusion::{SamplerKind, ScheduleKind};
use diptych_inference::engine::{ImageRequest, ModelRef};
use serde::{Deserialize, Serialize};

use crate::library::records::{GridId, GridRecord, Millis, PictureId, PictureRecord, now};
use crate::studio::create::Form;
use crate::studio::house::House;

/// Most prompts and most seeds.
pub const MOST: usize = 8;
/// Marks the grids of pictures among the records.
const KIND: &str = "pictures";

/// A prompt, and what it wants otherwise than the others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Variant {
    /// Its number within the grid; rows of jobs mean this.
    pub id: u32,
    /// What to draw.
    pub prompt: String,
    /// Another model.
    pub model: Option<ModelRef>,
    /// Other steps.
    pub steps: Option<u32>,
    /// Another guidance scale.
    pub guidance: Option<f32>,
    /// Another sampler.
    pub sampler: Option<SamplerKind>,
    /// Another schedule.
    pub schedule: Option<ScheduleKind>,
}

impl Variant {
    /// Whether it wants anything otherwise than the others.
    pub fn has_own(&self) -> bool {
        self.model.is_some()
            || self.steps.is_some()
            || self.guidance.is_some()
            || self.sampler.is_some()
            || self.schedule.is_some()
    }

    /// What it wants otherwise, in a few words: `steps 12, Euler a`.
    pub fn own_text(&self) -> String {
        let parts = [
            self.model.as_ref().map(|model| model.name.clone()),
            self.steps.map(|steps| format!("{steps} steps")),
            self.guidance.map(|guidance| format!("guidance {guidance}")),
            self.sampler.map(|sampler| sampler.label().to_owned()),
            self.schedule.map(|schedule| schedule.label().to_owned()),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// A seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedColumn {
    /// Its number within the grid; columns of jobs mean this.
    pub id: u32,
    /// The seed.
    pub seed: u64,
}

/// What a person lays out; undone and redone as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Setup {
    /// What all prompts share; prompt and seed of it are not used.
    pub common: Form,
    /// The rows.
    pub variants: Vec<Variant>,
    /// The columns.
    pub seeds: Vec<SeedColumn>,
    /// The next number of a row or column.
    pub next: u32,
}

impl Default for Setup {
    fn default() -> Self {
        let mut setup = Self {
            common: Form::default(),
            variants: Vec::new(),
            seeds: Vec::new(),
            next: 1,
        };
        for _ in 0..2 {
            setup.add_variant(String::new());
        }
        for _ in 0..3 {
            setup.add_seed(crate::origin::new_seed());
        }
        setup
    }
}

impl Setup {
    fn number(&mut self) -> u32 {
        // Numbers of a file from elsewhere may be anything.
        let used = self.variants.iter().map(|variant| variant.id);
        let used = used.chain(self.seeds.iter().map(|seed| seed.id)).max();
        let number = self.next.max(used.unwrap_or(0).saturating_add(1));
        self.next = number.saturating_add(1);
        number
    }

    /// Adds a row, if there is room.
    pub fn add_variant(&mut self, prompt: String) -> Option<u32> {
        if self.variants.len() >= MOST {
            return None;
        }
        let id = self.number();
        self.variants.push(Variant {
            id,
            prompt,
            ..Variant::default()
        });
        Some(id)
    }

    /// Puts a copy of a row below it, if there is room.
    pub fn duplicate_variant(&mut self, id: u32) -> Option<u32> {
        if self.variants.len() >= MOST {
            return None;
        }
        let index = self.variants.iter().position(|variant| variant.id == id)?;
        let mut copy = self.variants.get(index)?.clone();
        copy.id = self.number();
        let id = copy.id;
        self.variants.insert(index + 1, copy);
        Some(id)
    }

    /// Adds a column, if there is room and no other has the seed.
    pub fn add_seed(&mut self, seed: u64) -> Option<u32> {
        if self.seeds.len() >= MOST || self.seeds.iter().any(|column| column.seed == seed) {
            return None;
        }
        let id = self.number();
        self.seeds.push(SeedColumn { id, seed });
        Some(id)
    }

    /// A row.
    pub fn variant(&self, id: u32) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.id == id)
    }

    /// A column.
    pub fn seed(&self, id: u32) -> Option<&SeedColumn> {
        self.seeds.iter().find(|seed| seed.id == id)
    }

    /// All settings of a row.
    pub fn form(&self, variant: &Variant) -> Form {
        let mut form = self.common.clone();
        form.prompt.clone_from(&variant.prompt);
        if variant.model.is_some() {
            form.model.clone_from(&variant.model);
        }
        form.steps = variant.steps.or(form.steps);
        form.guidance = variant.guidance.or(form.guidance);
        form.sampler = variant.sampler.or(form.sampler);
        form.schedule = variant.schedule.or(form.schedule);
        form
    }

    /// Brings what a file said within bounds.
    fn settle(&mut self) {
        self.variants.truncate(MOST);
        self.seeds.truncate(MOST);
        let mut seen = Vec::new();
        for index in 0..self.variants.len() {
            let id = self.variants.get(index).map_or(0, |variant| variant.id);
            let id = if seen.contains(&id) {
                self.number()
            } else {
                id
            };
            seen.push(id);
            if let Some(variant) = self.variants.get_mut(index) {
                variant.id = id;
            }
        }
        let mut seen = Vec::new();
        self.seeds.retain(|seed| {
            let new = !seen.contains(&seed.id);
            seen.push(seed.id);
            new
        });
    }
}

/// A place in a grid, by the numbers of row and column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CellAt {
    /// The variant's number.
    pub row: u32,
    /// The seed's number.
    pub column: u32,
}

/// What was drawn for a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellPicture {
    /// The cell.
    pub at: CellAt,
    /// The picture's number in the library.
    pub id: PictureId,
    /// Its file, once it is there.
    pub path: Option<PathBuf>,
    /// What reproduces it.
    pub request: ImageRequest,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// For a picture that was stopped: the steps that were done.
    pub steps_done: Option<u32>,
    /// Seconds that it took.
    pub seconds: f32,
}

/// A grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// Its number in the library.
    #[serde(skip, default = "GridId::new")]
    pub id: GridId,
    /// Its name; empty is one made of the prompts.
    #[serde(default)]
    pub title: String,
    /// What is laid out.
    #[serde(default)]
    pub setup: Setup,
    /// What was drawn.
    #[serde(default)]
    pub cells: Vec<CellPicture>,
    /// The cell that the person likes best.
    #[serde(default)]
    pub winner: Option<CellAt>,
    /// When it was made.
    #[serde(skip)]
    pub created: Millis,
}

impl Grid {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            id: GridId::new(),
            title: String::new(),
            setup: Setup::default(),
            cells: Vec::new(),
            winner: None,
            created: now(),
        }
    }

    /// A grid as the library kept it; `None` if it is something else.
    pub fn read(record: &GridRecord) -> Option<Self> {
        if record.spec.get("kind").and_then(|kind| kind.as_str()) != Some(KIND) {
            return None;
        }
        match serde_json::from_value::<Self>(record.spec.clone()) {
            Ok(mut grid) => {
                grid.id = record.id;
                grid.created = record.created;
                grid.setup.settle();
                Some(grid)
            }
            Err(error) => {
                tracing::error!("grid {} cannot be read: {error}", record.id);
                None
            }
        }
    }

    /// The grid as the library keeps it.
    pub fn record(&self) -> serde_json::Result<GridRecord> {
        let mut spec = serde_json::to_value(self)?;
        if let Some(spec) = spec.as_object_mut() {
            spec.insert("kind".into(), KIND.into());
        }
        Ok(GridRecord {
            id: self.id,
            title: self.shown_title(),
            spec,
            created: self.created,
            changed: now(),
        })
    }

    /// Its name, or one made of the prompts.
    pub fn shown_title(&self) -> String {
        const LONGEST: usize = 48;
        if !self.title.trim().is_empty() {
            return self.title.trim().to_owned();
        }
        let prompts = self
            .setup
            .variants
            .iter()
            .map(|variant| variant.prompt.trim());
        match prompts.clone().find(|prompt| !prompt.is_empty()) {
            Some(prompt) if prompt.chars().count() > LONGEST => {
                let cut: String = prompt.chars().take(LONGEST).collect();
                format!("{}…", cut.trim_end())
            }
            Some(prompt) => prompt.to_owned(),
            None => "New grid".to_owned(),
        }
    }

    /// Whether nothing was written or drawn.
    pub fn is_blank(&self) -> bool {
        let written = |text: &str| !text.trim().is_empty();
        self.cells.is_empty()
            && !written(&self.title)
            && !self
                .setup
                .variants
                .iter()
                .any(|variant| written(&variant.prompt))
    }

    /// What was drawn for a cell.
    pub fn cell(&self, at: CellAt) -> Option<&CellPicture> {
        self.cells.iter().find(|cell| cell.at == at)
    }

    /// Whether a cell belongs to a row and a column that are there.
    pub fn holds(&self, at: CellAt) -> bool {
        self.setup.variant(at.row).is_some() && self.setup.seed(at.column).is_some()
    }

    /// All places in the order in which they are drawn: column by column, so that prompts can be compared early.
    pub fn places(&self) -> Vec<CellAt> {
        let rows = &self.setup.variants;
        let columns = self.setup.seeds.iter();
        let place = |column: &SeedColumn| {
            let column = column.id;
            rows.iter().map(move |row| CellAt {
                row: row.id,
                column,
            })
        };
        columns.flat_map(place).collect()
    }

    /// What a cell is to be drawn with.
    ///
    /// # Errors
    /// Why it cannot be drawn, in a person's words.
    pub fn wanted(&self, at: CellAt, house: &House) -> Result<ImageRequest, String> {
        let (variant, seed) = self
            .setup
            .variant(at.row)
            .zip(self.setup.seed(at.column))
            .ok_or("This cell is no longer there")?;
        if variant.prompt.trim().is_empty() {
            return Err("Say what to draw in this row first".to_owned());
        }
        let form = self.setup.form(variant);
        let model = form.model(house).ok_or_else(|| match &form.model {
            Some(model) => format!("The model '{}' is not there", model.name),
            None => "There is no model to draw with yet".to_owned(),
        })?;
        form.request(model, seed.seed)
            .ok_or_else(|| "The model is still being looked at".to_owned())
    }

    /// Whether a cell's picture is what the cell wants now, and whole.
    pub fn is_current(&self, at: CellAt, house: &House) -> bool {
        let Some(cell) = self.cell(at) else {
            return false;
        };
        let wanted = self.wanted(at, house);
        cell.steps_done.is_none() && wanted.is_ok_and(|wanted| alike(&wanted, &cell.request))
    }

    /// Takes a picture into its cell, in place of an earlier one.
    pub fn put(&mut self, picture: CellPicture) {
        self.cells.retain(|cell| cell.at != picture.at);
        self.cells.push(picture);
    }

    /// Tells where a picture lies. Says whether it is one of this grid's.
    pub fn saved(&mut self, record: &PictureRecord) -> bool {
        let cell = self.cells.iter_mut().find(|cell| cell.id == record.id);
        let Some(cell) = cell else { return false };
        cell.path = Some(record.path.clone());
        true
    }

    /// After a kill: pictures that reached the library after the grid was kept last are put into their cells.
    pub fn find_lost(&mut self, pictures: &[PictureRecord]) {
        for record in pictures {
            if record.grid != Some(self.id) || self.saved(record) {
                continue;
            }
            let row = self.setup.variants.iter().find(|variant| {
                variant.prompt == record.request.prompt
                    && variant
                        .steps
                        .is_none_or(|steps| steps == record.request.steps)
            });
            let column = self
                .setup
                .seeds
                .iter()
                .find(|seed| seed.seed == record.request.seed);
            let Some((row, column)) = row.zip(column) else {
                continue;
            };
            let at = CellAt {
                row: row.id,
                column: column.id,
            };
            if self.cell(at).is_none_or(|cell| cell.id < record.id) {
                self.put(CellPicture {
                    at,
                    id: record.id,
                    path: Some(record.path.clone()),
                    request: record.request.clone(),
                    size: (record.width, record.height),
                    steps_done: record.steps_done,
                    seconds: record.seconds,
                });
            }
        }
        // What has no file never reached the disk.
        self.cells.retain(|cell| cell.path.is_some());
    }
}

impl Default for Grid {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether two requests draw the same; the hash of the model and previews are no part of that.
pub fn alike(a: &ImageRequest, b: &ImageRequest) -> bool {
    let plain = |request: &ImageRequest| {
        let mut request = request.clone();
        request.model.hash = None;
        request.preview = false;
        request.keep_latents = false;
        request
    };
    plain(a) == plain(b)
}
