//! The filmstrip: jobs and pictures in the order in which they are shown, and what lies on the canvas.

use crate::library::records::{PictureId, TaskId};
use crate::studio::gallery::{Gallery, Item};
use crate::studio::house::House;
use crate::studio::queue::{Stage, Task};

use super::Guest;

/// Pictures in the filmstrip; the library has them all.
const MOST: usize = 200;

/// What the person wants to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// What is being drawn, else the newest picture.
    #[default]
    Newest,
    /// A job.
    Job(TaskId),
    /// A picture.
    Picture(PictureId),
    /// The picture from elsewhere.
    Guest,
}

/// What lies on the canvas.
#[derive(Clone, Copy, Debug)]
pub enum Current<'a> {
    /// Nothing was ever drawn.
    Nothing,
    /// A job that runs, waits or failed.
    Job(&'a Task),
    /// A picture.
    Picture(&'a Item),
    /// The picture from elsewhere.
    Guest(&'a Guest),
}

/// A place in the filmstrip.
#[derive(Clone, Copy, Debug)]
pub enum Tile<'a> {
    /// A job.
    Job(&'a Task),
    /// A picture.
    Picture(&'a Item),
}

impl Tile<'_> {
    /// What shows it.
    pub fn shown(&self) -> Shown {
        match self {
            Self::Job(task) => Shown::Job(task.head.id),
            Self::Picture(item) => Shown::Picture(item.record.id),
        }
    }
}

/// Jobs that draw for the gallery, last in the queue first.
pub fn jobs(house: &House) -> impl Iterator<Item = &Task> {
    let tasks = house.queue.tasks().iter().rev();
    tasks.filter(|task| task.makes_picture() && task.head.target.is_gallery())
}

/// Pictures that are shown here, newest first.
pub fn pictures(gallery: &Gallery) -> impl Iterator<Item = &Item> {
    let items = gallery.items().iter();
    items.filter(|item| !item.record.trashed && item.record.grid.is_none())
}

/// The filmstrip, newest first.
pub fn tiles<'a>(gallery: &'a Gallery, house: &'a House) -> Vec<Tile<'a>> {
    let jobs = jobs(house).map(Tile::Job);
    jobs.chain(pictures(gallery).map(Tile::Picture))
        .take(MOST)
        .collect()
}

/// Whether two pictures belong to one order: they differ by the next seed alone.
pub fn same_order(a: &Item, b: &Item) -> bool {
    let (a, b) = (&a.record.request, &b.record.request);
    if a.seed.abs_diff(b.seed) != 1 {
        return false;
    }
    let mut a = a.clone();
    a.seed = b.seed;
    a == *b
}

/// What lies on the canvas.
pub fn current<'a>(
    shown: Shown,
    guest: Option<&'a Guest>,
    gallery: &'a Gallery,
    house: &'a House,
) -> Current<'a> {
    let found = match shown {
        Shown::Newest => None,
        Shown::Job(id) => house.queue.get(id).map(Current::Job),
        Shown::Picture(id) => gallery.get(id).map(Current::Picture),
        Shown::Guest => guest.map(Current::Guest),
    };
    found.unwrap_or_else(|| newest(gallery, house))
}

fn newest<'a>(gallery: &'a Gallery, house: &'a House) -> Current<'a> {
    let at_work = |task: &&Task| matches!(task.stage, Stage::Running | Stage::Loading { .. });
    if let Some(task) = jobs(house).find(at_work) {
        return Current::Job(task);
    }
    let picture = pictures(gallery).next();
    // The next in turn; else a failure that nobody has seen to since.
    let waiting = jobs(house).filter(|task| task.stage.is_live()).last();
    let failed = jobs(house).find(|task| matches!(task.stage, Stage::Failed(_)));
    let is_newer = |task: &&Task| picture.is_none_or(|item| task.created >= item.record.created);
    match waiting.or(failed.filter(is_newer)) {
        Some(task) => Current::Job(task),
        None => picture.map_or(Current::Nothing, Current::Picture),
    }
}

/// What lies `by` places to the right of what is shown.
pub fn neighbour(shown: Shown, by: i32, gallery: &Gallery, house: &House) -> Option<Shown> {
    let tiles = tiles(gallery, house);
    let here = match current(shown, None, gallery, house) {
        Current::Job(task) => Shown::Job(task.head.id),
        Current::Picture(item) => Shown::Picture(item.record.id),
        Current::Nothing | Current::Guest(_) => return tiles.first().map(Tile::shown),
    };
    let index = tiles.iter().position(|tile| tile.shown() == here)?;
    let to = index.checked_add_signed(by as isize)?;
    tiles.get(to).map(Tile::shown)
}
