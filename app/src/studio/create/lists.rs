//! Lists of words that prompts take lines from: looked at, written, and what a prompt comes to with them. Files are other threads' work.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use diptych_inference::engine::{ImageRequest, ModelRef};
use diptych_inference::text::prompt::variants::is_template;

use super::{Create, CreateCommand};
use crate::library::files::{self, Existing};
use crate::studio::command::UiCommand;
use crate::studio::effects::{AskKind, Effect};
use crate::studio::house::House;
use crate::studio::log::Level;
use crate::studio::settings::SettingsCommand;
use crate::wildcards::{KnownList, Wildcards};

/// So long after the last key what was typed is kept, and a prompt is tried.
const REST: Duration = Duration::from_millis(300);
/// Longest name of a list.
const LONGEST: usize = 60;

/// What a person wants of lists, and what threads answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ListsCommand {
    /// Look into the folder.
    Look,
    /// What is there.
    Found(PathBuf, Vec<KnownList>),
    /// Open a list.
    Open(KnownList),
    /// It has been read.
    Opened(Box<KnownList>, Result<String, String>),
    /// Put it away.
    Close,
    /// It was written.
    Kept(PathBuf, String),
    /// Begin a new one of the name in the field.
    New,
    /// Ask for another folder.
    AskFolder,
    /// Use it; `None` is the one among the person's data.
    UseFolder(Option<PathBuf>),
    /// Show the folder in the system's file manager.
    Reveal,
    /// What the prompts come to.
    Tried(Box<Trial>),
}

/// A list that is being written.
#[derive(Clone, Debug)]
pub struct OpenList {
    /// Which.
    pub list: KnownList,
    /// Its text.
    pub text: String,
    kept: String,
    changed: Option<(String, Instant)>,
    writing: bool,
}

impl OpenList {
    /// Whether its file has this text.
    pub fn is_kept(&self) -> bool {
        self.kept == self.text
    }
}

/// What prompts come to for one seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// What was tried.
    question: Question,
    /// The prompt.
    pub prompt: String,
    /// The negative prompt.
    pub negative: String,
    /// What could not be taken as meant.
    pub remarks: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
struct Question {
    prompt: String,
    negative: String,
    seed: u64,
    folder: PathBuf,
    /// Grows as lists change.
    edition: u64,
}

/// Lists of words.
#[derive(Debug, Default)]
pub struct Lists {
    /// Those that were found.
    pub found: Vec<KnownList>,
    /// The one that is being written.
    pub open: Option<OpenList>,
    /// Name of the next new one.
    pub name: String,
    /// The folder that was looked into.
    folder: Option<PathBuf>,
    looking: usize,
    trial: Option<Trial>,
    asked: Option<(Question, Instant, bool)>,
    edition: u64,
}

impl Lists {
    /// Whether the folder is being looked into.
    pub fn is_looking(&self) -> bool {
        self.looking > 0
    }

    pub(super) fn is_busy(&self) -> bool {
        self.looking > 0
            || self
                .open
                .as_ref()
                .is_some_and(|open| open.writing || !open.is_kept())
            || self.asked.is_some()
    }

    /// Why a list cannot have a name.
    ///
    /// # Errors
    /// In a person's words.
    pub fn check_name(&self) -> Result<String, &'static str> {
        let name = self.name.trim();
        let plain = |sign: char| sign.is_alphanumeric() || matches!(sign, '-' | ' ');
        let fits = |name: &str| {
            name.chars().all(|sign| plain(sign) || sign == '_')
                && !name.contains("__")
                && !name.starts_with('_')
                && !name.ends_with('_')
        };
        if name.is_empty() {
            return Err("Give it a name first");
        }
        if name.chars().count() > LONGEST || !fits(name) {
            return Err("Names have letters, digits, spaces, - and single _");
        }
        let lower = name.to_lowercase();
        if self.found.iter().any(|list| list.name == lower) {
            return Err("There is a list of this name");
        }
        Ok(lower)
    }
}

fn answer(command: ListsCommand) -> UiCommand {
    UiCommand::Create(CreateCommand::Lists(command))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let folder = files::folder_of(path);
    std::fs::create_dir_all(folder)
        .map_err(|error| format!("{}: cannot be made: {error}", folder.display()))?;
    files::write(path, text.as_bytes(), Existing::Replace)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

impl Create {
    /// What the prompts of the form come to, where they leave something open.
    pub fn trial(&self, house: &House) -> Option<&Trial> {
        let trial = self.lists.trial.as_ref()?;
        (trial.question == self.question(house)?).then_some(trial)
    }

    fn question(&self, house: &House) -> Option<Question> {
        let form = &self.form;
        (is_template(&form.prompt) || is_template(&form.negative)).then(|| Question {
            prompt: form.prompt.clone(),
            negative: form.negative.clone(),
            seed: form.seed,
            folder: house.wildcards(),
            edition: self.lists.edition,
        })
    }

    /// Called before each frame.
    pub(super) fn tick_lists(&mut self, house: &mut House) {
        if !house.is_open() {
            return;
        }
        self.try_prompts(house);
        let now = Instant::now();
        let Some(open) = &mut self.lists.open else {
            return;
        };
        if open.writing || open.is_kept() {
            open.changed = None;
            return;
        }
        match &open.changed {
            Some((text, since)) if *text == open.text => {
                if now < *since + REST {
                    return;
                }
            }
            _ => {
                open.changed = Some((open.text.clone(), now));
                return;
            }
        }
        let (path, text, reply) = (open.list.path.clone(), open.text.clone(), house.reply());
        let spawned = std::thread::Builder::new()
            .name("diptych-list".into())
            .spawn(move || {
                if let Err(reason) = write(&path, &text) {
                    reply.notice(Level::Error, "The list is not kept", reason);
                }
                // Told either way: a disk that refuses is not asked again until something is typed.
                reply.command(answer(ListsCommand::Kept(path, text)));
            });
        match spawned {
            Ok(_) => open.writing = true,
            Err(error) => tracing::error!("no thread to write a list: {error}"),
        }
    }

    fn try_prompts(&mut self, house: &mut House) {
        let Some(question) = self.question(house) else {
            self.lists.asked = None;
            return;
        };
        let known = self.lists.trial.as_ref();
        if known.is_some_and(|trial| trial.question == question) {
            self.lists.asked = None;
            return;
        }
        let now = Instant::now();
        match &self.lists.asked {
            Some((asked, _, true)) if *asked == question => return,
            Some((asked, since, false)) if *asked == question => {
                if now < *since + REST {
                    return;
                }
            }
            _ => {
                self.lists.asked = Some((question, now, false));
                return;
            }
        }
        let (reply, asked) = (house.reply(), question.clone());
        let spawned = std::thread::Builder::new()
            .name("diptych-words".into())
            .spawn(move || {
                let lists = Wildcards::new(&asked.folder);
                let mut request = ImageRequest {
                    negative_prompt: asked.negative.clone(),
                    seed: asked.seed,
                    ..ImageRequest::new(ModelRef::named(""), asked.prompt.clone(), 8, 8)
                };
                let remarks = lists.apply(&mut request);
                let trial = Trial {
                    question: asked,
                    prompt: request.prompt,
                    negative: request.negative_prompt,
                    remarks,
                };
                reply.command(answer(ListsCommand::Tried(Box::new(trial))));
            });
        match spawned {
            Ok(_) => self.lists.asked = Some((question, now, true)),
            Err(error) => tracing::error!("no thread to try a prompt: {error}"),
        }
    }

    /// What was typed and not written yet; when the window closes.
    pub(super) fn close_lists(&mut self) {
        if let Some(open) = self.lists.open.as_ref().filter(|open| !open.is_kept())
            && let Err(reason) = write(&open.list.path, &open.text)
        {
            tracing::error!("a list was not kept: {reason}");
        }
    }

    pub(super) fn run_lists(&mut self, command: ListsCommand, house: &mut House) {
        match command {
            ListsCommand::Look => self.look_for_lists(house),
            ListsCommand::Found(folder, found) => {
                self.lists.looking = self.lists.looking.saturating_sub(1);
                if folder == house.wildcards() {
                    (self.lists.found, self.lists.folder) = (found, Some(folder));
                }
            }
            ListsCommand::Open(list) => {
                self.put_list_away(house);
                let reply = house.reply();
                let spawned = std::thread::Builder::new()
                    .name("diptych-list".into())
                    .spawn(move || {
                        let text = Wildcards::text(&list.path);
                        reply.command(answer(ListsCommand::Opened(Box::new(list), text)));
                    });
                match spawned {
                    Ok(_) => self.lists.looking += 1,
                    Err(error) => tracing::error!("no thread to read a list: {error}"),
                }
            }
            ListsCommand::Opened(list, text) => {
                self.lists.looking = self.lists.looking.saturating_sub(1);
                match text {
                    Ok(text) => {
                        self.lists.open = Some(OpenList {
                            list: *list,
                            kept: text.clone(),
                            text,
                            changed: None,
                            writing: false,
                        });
                    }
                    Err(reason) => {
                        let title = "The list cannot be opened";
                        house.log.notify(Level::Error, title, reason);
                    }
                }
            }
            ListsCommand::Close => self.put_list_away(house),
            ListsCommand::Kept(path, text) => {
                self.lists.edition += 1;
                if let Some(open) = &mut self.lists.open
                    && open.list.path == path
                {
                    open.writing = false;
                    open.kept = text;
                }
                self.look_for_lists(house);
            }
            ListsCommand::New => {
                let Ok(name) = self.lists.check_name() else {
                    return;
                };
                self.put_list_away(house);
                let path = house.wildcards().join(format!("{name}.txt"));
                self.lists.name.clear();
                self.lists.open = Some(OpenList {
                    list: KnownList {
                        name,
                        path,
                        lines: 0,
                    },
                    text: String::new(),
                    kept: String::new(),
                    changed: None,
                    writing: false,
                });
            }
            ListsCommand::AskFolder => {
                house.ask("A folder of word lists", AskKind::OpenFolder, |path| {
                    answer(ListsCommand::UseFolder(Some(path)))
                });
            }
            ListsCommand::UseFolder(folder) => {
                self.put_list_away(house);
                house.command(SettingsCommand::Wildcards(folder));
                house.command(answer(ListsCommand::Look));
            }
            ListsCommand::Reveal => {
                // The file manager is shown the folder that a file lies in.
                let path = house.wildcards().join("lists");
                house.effect(Effect::Reveal(path));
            }
            ListsCommand::Tried(trial) => {
                self.lists.asked = None;
                self.lists.trial = Some(*trial);
            }
        }
    }

    /// Writes what is open, if it has to be, and puts it away.
    fn put_list_away(&mut self, house: &House) {
        let Some(open) = self.lists.open.take().filter(|open| !open.is_kept()) else {
            return;
        };
        let reply = house.reply();
        let spawned = std::thread::Builder::new()
            .name("diptych-list".into())
            .spawn(move || {
                if let Err(reason) = write(&open.list.path, &open.text) {
                    reply.notice(Level::Error, "The list is not kept", reason);
                }
                reply.command(answer(ListsCommand::Kept(open.list.path, open.text)));
            });
        if let Err(error) = spawned {
            tracing::error!("no thread to write a list: {error}");
        }
    }

    fn look_for_lists(&mut self, house: &House) {
        let (folder, reply) = (house.wildcards(), house.reply());
        let spawned = std::thread::Builder::new()
            .name("diptych-lists".into())
            .spawn(move || {
                let found = Wildcards::new(&folder).all();
                reply.command(answer(ListsCommand::Found(folder, found)));
            });
        match spawned {
            Ok(_) => self.lists.looking += 1,
            Err(error) => tracing::error!("no thread to look for lists: {error}"),
        }
    }

    /// Whether the folder is to be looked into, as the lists are about to be shown.
    pub fn wants_lists(&self, house: &House) -> bool {
        self.lists.looking == 0 && self.lists.folder.as_ref() != Some(&house.wildcards())
    }
}
