//! The start picture's way: taken from anywhere, kept in the library, read again after a restart, made ready for the engine.
//! Files, hashes and PNGs are other threads' work.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diptych_inference::engine::{HostTensor, Picture};

use super::guest::{self, GuestSource};
use super::reading::{Loaded, MaskDraft, Pixel, Taken, draft_of, load, pixels_of, short, take};
use super::start::{self, Plan, Quiet, Ready, Start};
use super::{AgainCommand, Create, CreateCommand, Current};
use crate::library::Restored;
use crate::library::records::PictureId;
use crate::paint::Mask;
use crate::studio::command::{AppCommand, UiCommand};
use crate::studio::effects::AskKind;
use crate::studio::gallery::Gallery;
use crate::studio::house::House;
use crate::studio::log::Level;
use crate::studio::view::Workspace;

/// What a person wants of the start picture, and what threads answer.
#[derive(Clone, Debug, PartialEq)]
pub enum StartCommand {
    /// Begin from what is shown.
    FromShown,
    /// Begin from a picture of the library.
    FromPicture(PictureId),
    /// Ask for a file to begin from.
    Ask,
    /// Begin from a file.
    FromFile(PathBuf),
    /// Take it away.
    Remove,
    /// Give the new picture the start picture's shape.
    Match,
    /// A picture has been read and can be begun from.
    Took(Box<Taken>),
    /// The start picture of an earlier run, or of another picture's settings, has been read.
    Loaded(Box<Loaded>),
    /// It is larger now, for looking at.
    Widened([u32; 4], Result<Quiet<Picture>, String>),
    /// It is ready to be drawn over.
    Prepared(Box<Plan>, Result<Box<Ready>, String>),
    /// The mask as the draft keeps it.
    MaskWritten(Mask, String),
}

/// The key of the mask's draft.
const MASK: &str = "create.mask";
/// So long after the last stroke the mask is kept.
const REST: Duration = Duration::from_millis(250);

/// What is known of the start picture beside the form.
#[derive(Debug, Default)]
pub struct Desk {
    /// Its pixels, by hash.
    picture: Option<(String, Arc<Picture>)>,
    /// Why it cannot be read.
    trouble: Option<(String, String)>,
    /// The hash that a thread reads.
    reading: Option<String>,
    /// Pictures that threads read to begin from.
    taking: usize,
    /// It with its extension, for looking at.
    wide: Option<(String, [u32; 4], Arc<Picture>)>,
    widening: bool,
    /// It as the engine takes it.
    prepared: Option<(Plan, Ready)>,
    preparing: bool,
    /// Orders that wait for it; whether they go before all others.
    orders: Vec<bool>,
    /// The mask as the draft has it, and since when the form's is another.
    written: Option<Mask>,
    writing: bool,
    changed: Option<(Option<Mask>, Instant)>,
    /// The draft of an earlier run, until it is read.
    draft: Option<MaskDraft>,
}

impl Desk {
    /// The start picture's pixels, once they are there.
    pub fn picture(&self, start: &Start) -> Option<&Arc<Picture>> {
        let (hash, picture) = self.picture.as_ref()?;
        (*hash == start.picture).then_some(picture)
    }

    /// It with what it is extended by; the last one while another is made.
    pub fn wide(&self, start: &Start) -> Option<&Arc<Picture>> {
        if !start.is_extended() {
            return self.picture(start);
        }
        let wide = self.wide.as_ref();
        let fits =
            wide.filter(|(hash, extend, _)| *hash == start.picture && *extend == start.extend);
        fits.map(|(_, _, picture)| picture)
    }

    /// Why the start picture cannot be used.
    pub fn trouble(&self, start: &Start) -> Option<&str> {
        let (hash, reason) = self.trouble.as_ref()?;
        (*hash == start.picture).then_some(reason.as_str())
    }

    /// Whether an order waits for the start picture.
    pub fn holds_order(&self) -> bool {
        !self.orders.is_empty()
    }

    /// Whether a picture is being read to begin from.
    pub fn takes(&self) -> bool {
        self.taking > 0 || self.reading.is_some()
    }

    pub(super) fn drop_orders(&mut self) -> bool {
        let any = self.holds_order();
        self.orders.clear();
        any
    }

    /// Whether anything is under way or not yet kept.
    pub(super) fn is_busy(&self, mask: Option<&Mask>) -> bool {
        self.takes()
            || self.widening
            || self.preparing
            || self.holds_order()
            || self.writing
            || self.changed.is_some()
            || self.written.as_ref() != mask
    }

    pub(super) fn restore(&mut self, restored: &Restored) {
        let draft = restored.drafts.get(MASK);
        self.draft = draft.and_then(|text| serde_json::from_str(text).ok());
    }
}

/// Does something that takes its time on a thread of its own, and has what comes of it done.
fn work(
    house: &mut House,
    failure: &str,
    work: impl FnOnce() -> StartCommand + Send + 'static,
) -> bool {
    let reply = house.reply();
    let spawned = std::thread::Builder::new()
        .name("diptych-start".into())
        .spawn(move || reply.command(UiCommand::Create(CreateCommand::Start(work()))));
    if let Err(error) = &spawned {
        let text = format!("the system gives no thread: {error}");
        house.log.notify(Level::Error, failure, text);
    }
    spawned.is_ok()
}

impl Create {
    /// The mask of the form.
    pub fn mask(&self) -> Option<&Mask> {
        self.form.start.as_ref()?.mask.as_ref()
    }

    pub(super) fn start(&mut self, command: StartCommand, gallery: &Gallery, house: &mut House) {
        match command {
            StartCommand::FromShown => self.start_from_shown(gallery, house),
            StartCommand::FromPicture(id) => {
                if let Some(item) = gallery.get(id) {
                    let name = short(&item.record.request.prompt);
                    self.begin_from(name, pixels_of(item), house);
                }
            }
            StartCommand::Ask => {
                let kind = AskKind::OpenFile {
                    what: "Pictures",
                    endings: guest::PICTURE_ENDINGS,
                };
                house.ask("A picture to begin from", kind, |path| {
                    UiCommand::Create(CreateCommand::Start(StartCommand::FromFile(path)))
                });
            }
            StartCommand::FromFile(path) => {
                let name = path.file_name().unwrap_or(path.as_os_str());
                let name = name.to_string_lossy().into_owned();
                self.begin_from(name, Pixel::File(path), house);
            }
            StartCommand::Remove => {
                self.paint.close();
                self.change(house, |form| form.start = None);
            }
            StartCommand::Match => {
                let size = self.form.model(house).and_then(|model| {
                    let start = self.form.start.as_ref()?;
                    Some(start.drawn_size(model))
                });
                if size.is_some() {
                    self.change(house, |form| form.size = size);
                }
            }
            StartCommand::Took(taken) => self.took(*taken, house),
            StartCommand::Loaded(loaded) => self.loaded(*loaded, house),
            StartCommand::Widened(extend, picture) => {
                self.desk.widening = false;
                match picture {
                    Ok(picture) => {
                        if let Some((hash, _)) = &self.desk.picture {
                            self.desk.wide = Some((hash.clone(), extend, picture.0));
                        }
                    }
                    Err(reason) => {
                        // What cannot be made is not tried again and again.
                        self.change(house, |form| {
                            if let Some(start) = &mut form.start {
                                start.extend = [0; 4];
                            }
                        });
                        let title = "The picture cannot be extended so far";
                        house.log.notify(Level::Warning, title, reason);
                    }
                }
            }
            StartCommand::Prepared(plan, ready) => {
                self.desk.preparing = false;
                match ready {
                    Ok(ready) => self.desk.prepared = Some((*plan, *ready)),
                    Err(reason) => {
                        self.desk.orders.clear();
                        let title = "The start picture cannot be made ready";
                        house.log.notify(Level::Error, title, reason);
                    }
                }
                for front in std::mem::take(&mut self.desk.orders) {
                    self.generate(front, house);
                }
            }
            StartCommand::MaskWritten(mask, draft) => {
                self.desk.writing = false;
                self.desk.written = Some(mask);
                house.save_draft(MASK.to_owned(), draft);
            }
        }
    }

    fn start_from_shown(&mut self, gallery: &Gallery, house: &mut House) {
        let (name, from) = match self.current(gallery, house) {
            Current::Picture(item) => {
                let name = short(&item.record.request.prompt);
                (name, pixels_of(item))
            }
            Current::Guest(guest) => match &guest.source {
                GuestSource::File(path) => (guest.name.clone(), Pixel::File(path.clone())),
                GuestSource::Memory(picture) => {
                    (guest.name.clone(), Pixel::Memory(picture.clone()))
                }
                GuestSource::Nowhere => return,
            },
            Current::Job(_) | Current::Nothing => return,
        };
        self.begin_from(name, from, house);
    }

    fn begin_from(&mut self, name: String, from: Pixel, house: &mut House) {
        house.command(AppCommand::Show(Workspace::Create));
        let reply = house.reply();
        let failure = "The picture cannot be begun from";
        self.desk.taking += 1;
        let spawned = std::thread::Builder::new()
            .name("diptych-start".into())
            .spawn(move || match take(name, from) {
                Ok(taken) => {
                    let command = StartCommand::Took(Box::new(taken));
                    reply.command(UiCommand::Create(CreateCommand::Start(command)));
                }
                Err(reason) => {
                    reply.notice(Level::Error, failure, reason);
                    reply.command(UiCommand::Create(CreateCommand::StartRefused));
                }
            });
        if let Err(error) = spawned {
            self.desk.taking -= 1;
            let text = format!("the system gives no thread: {error}");
            house.log.notify(Level::Error, failure, text);
        }
    }

    pub(super) fn start_refused(&mut self) {
        self.desk.taking = self.desk.taking.saturating_sub(1);
    }

    fn took(&mut self, taken: Taken, house: &mut House) {
        self.start_refused();
        let (hash, png) = (taken.hash.clone(), taken.png.0);
        house.save("the start picture", move |library| {
            library.put_input(&hash, &png)?;
            Ok(None)
        });
        let picture = taken.picture.0;
        let size = (picture.width, picture.height);
        self.desk.picture = Some((taken.hash.clone(), picture));
        self.desk.trouble = None;
        self.paint.drop_stroke();
        let before = self.form.start.clone().unwrap_or_default();
        let start = Start {
            picture: taken.hash,
            name: taken.name,
            size,
            strength: before.strength,
            fit: before.fit,
            blur: before.blur,
            padding: before.padding,
            ..Start::default()
        };
        let drawn = self.form.model(house).map(|model| start.drawn_size(model));
        self.change(house, |form| {
            form.start = Some(start);
            if drawn.is_some() {
                form.size = drawn;
            }
        });
    }

    fn loaded(&mut self, loaded: Loaded, house: &mut House) {
        if self.desk.reading.as_deref() == Some(loaded.hash.as_str()) {
            self.desk.reading = None;
        }
        let Some(start) = &mut self.form.start else {
            return;
        };
        if start.picture != loaded.hash {
            return;
        }
        let picture = match loaded.picture {
            Ok(picture) => picture.0,
            Err(reason) => {
                self.desk.trouble = Some((loaded.hash, reason));
                self.desk.orders.clear();
                return;
            }
        };
        start.size = (picture.width, picture.height);
        start.mask_file = None;
        let fitting = |mask: &Mask| mask.size() == start.size;
        match loaded.mask {
            Ok(mask) if start.mask.is_none() => start.mask = mask.filter(fitting),
            Ok(_) => {}
            Err(reason) => {
                let title = "The mask is lost";
                house.log.notify(Level::Warning, title, reason);
            }
        }
        self.desk.trouble = None;
        self.desk.picture = Some((loaded.hash, picture));
        // It is the same form, more fully known.
        self.undo.amend(&self.form);
        for front in std::mem::take(&mut self.desk.orders) {
            self.generate(front, house);
        }
    }

    /// Called before each frame.
    pub(super) fn tick_start(&mut self, house: &mut House) {
        if !house.is_open() {
            return;
        }
        self.read_start(house);
        self.widen(house);
        self.write_mask(house);
    }

    fn read_start(&mut self, house: &mut House) {
        let desk = &mut self.desk;
        let Some(start) = &mut self.form.start else {
            return;
        };
        let picture = desk.picture(start).filter(|_| start.mask_file.is_none());
        let size = picture.map(|picture| (picture.width, picture.height));
        if let Some(size) = size.filter(|size| *size != start.size) {
            // Taken over from a picture that was drawn over the same.
            start.size = size;
            self.undo.amend(&self.form);
            return;
        }
        let known = size.is_some();
        if known || desk.trouble(start).is_some() || desk.reading.is_some() {
            return;
        }
        let (folder, hash) = (house.data.clone(), start.picture.clone());
        let (mask_file, draft) = (start.mask_file.clone(), desk.draft.take());
        desk.reading = Some(hash.clone());
        let failure = "The start picture cannot be read";
        let name = hash.clone();
        let spawned = work(house, failure, move || {
            StartCommand::Loaded(Box::new(load(&folder, hash, mask_file, draft)))
        });
        if !spawned {
            self.desk.reading = None;
            self.desk.trouble = Some((name, "the system gives no thread".to_owned()));
        }
    }

    fn widen(&mut self, house: &mut House) {
        let Some(start) = &self.form.start else {
            return;
        };
        let wanted = self.paint.open && start.is_extended();
        if !wanted || self.desk.widening || self.desk.wide(start).is_some() {
            return;
        }
        let Some(picture) = self.desk.picture(start).cloned() else {
            return;
        };
        let extend = start.extend;
        self.desk.widening = work(house, "The picture cannot be extended", move || {
            let wide = start::extended(&picture, extend);
            StartCommand::Widened(extend, wide.map(|(wide, _)| Quiet(Arc::new(wide))))
        });
    }

    /// Gives the library what was painted, once the hand rests.
    fn write_mask(&mut self, house: &mut House) {
        let mask = self.mask().cloned();
        if self.desk.written == mask {
            self.desk.changed = None;
            return;
        }
        let now = Instant::now();
        let since = match &self.desk.changed {
            Some((seen, since)) if *seen == mask => *since,
            _ => {
                self.desk.changed = Some((mask, now));
                return;
            }
        };
        if self.desk.writing || now < since + REST {
            return;
        }
        self.desk.changed = None;
        let picture = self.form.start.as_ref().map(|start| start.picture.clone());
        match (mask, picture) {
            (Some(mask), Some(picture)) => {
                self.desk.writing = work(house, "The mask is not kept", move || {
                    let draft = draft_of(&picture, Some(&mask));
                    StartCommand::MaskWritten(mask, draft)
                });
            }
            (_, picture) => {
                self.desk.written = None;
                let draft = draft_of(&picture.unwrap_or_default(), None);
                house.save_draft(MASK.to_owned(), draft);
            }
        }
    }

    /// The last word before the window closes.
    pub(in crate::studio) fn close(&mut self, house: &mut House) {
        self.close_lists();
        let mask = self.mask();
        if self.desk.written.as_ref() != mask
            && let Some(start) = &self.form.start
        {
            house.save_draft(MASK.to_owned(), draft_of(&start.picture, mask));
        }
    }

    /// The start picture as the engine takes it: at once, or, while a thread makes it ready, not yet; then the order waits.
    pub(super) fn ready(&mut self, plan: &Plan, front: bool, house: &mut House) -> Option<Ready> {
        let start = self.form.start.as_ref()?;
        let read = start.size.0 > 0 && start.mask_file.is_none();
        let picture = self.desk.picture(start).filter(|_| read).cloned();
        if let Some((made, ready)) = &self.desk.prepared
            && made == plan
            && picture.is_some()
        {
            return Some(ready.clone());
        }
        self.desk.orders.push(front);
        if self.desk.preparing {
            return None;
        }
        // Without its pixels: it is being read, and they come.
        let picture = picture?;
        let plan = plan.clone();
        self.desk.preparing = work(house, "The start picture cannot be made ready", move || {
            let ready = start::prepare(&picture, &plan).map(Box::new);
            StartCommand::Prepared(Box::new(plan), ready)
        });
        None
    }

    /// Gives the library and the engine what a request needs.
    pub(super) fn hand_over(&self, ready: &Ready, house: &mut House) {
        for (hash, png) in &ready.files {
            let (hash, png) = (hash.clone(), png.clone());
            house.save("the start picture", move |library| {
                library.put_input(&hash, &png.0)?;
                Ok(None)
            });
        }
        for (hash, data) in &ready.data {
            let data: &Quiet<HostTensor> = data;
            house.hold_input(hash.clone(), data.0.clone());
        }
    }
}

impl Create {
    /// Whether the form's start picture can be begun from.
    pub(super) fn can_begin(&self) -> Result<(), String> {
        let Some(start) = &self.form.start else {
            return Ok(());
        };
        if let Some(reason) = self.desk.trouble(start) {
            return Err(format!("The start picture cannot be used: {reason}"));
        }
        if start.only_masked && start.size.0 > 0 && start.mask_file.is_none() && !start.is_masked()
        {
            return Err(
                "Paint what is to be drawn anew first, or draw all of the picture".to_owned(),
            );
        }
        Ok(())
    }

    /// Whether a command acts on the picture behind the one that is painted on.
    pub(super) fn is_about_the_picture(&self, command: &CreateCommand) -> bool {
        matches!(
            command,
            CreateCommand::Step(_)
                | CreateCommand::Recall(_)
                | CreateCommand::SaveAs
                | CreateCommand::Copy
                | CreateCommand::CopyPrompt
                | CreateCommand::Reveal
                | CreateCommand::Favourite
                | CreateCommand::Trash
                | CreateCommand::Details
                | CreateCommand::Again(AgainCommand::Check)
                | CreateCommand::Start(StartCommand::FromShown)
        )
    }

    pub(super) fn start_available(
        &self,
        command: &StartCommand,
        gallery: &Gallery,
        house: &House,
    ) -> Result<(), String> {
        let say = |possible: bool, reason: &str| match possible {
            true => Ok(()),
            false => Err(reason.to_owned()),
        };
        match command {
            StartCommand::FromShown => match self.current(gallery, house) {
                Current::Picture(_) => Ok(()),
                Current::Guest(guest) => say(
                    guest.source != GuestSource::Nowhere,
                    "These are settings without a picture",
                ),
                Current::Job(_) => say(false, "The picture is not finished"),
                Current::Nothing => say(false, "There is no picture yet"),
            },
            StartCommand::Remove | StartCommand::Match => say(
                self.form.start.is_some(),
                "No picture to begin from is chosen",
            ),
            _ => Ok(()),
        }
    }
}
