//! Windows that write everything at once, killed at any moment.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use diptych::library::records::*;
use diptych::library::{Keeper, LibraryEvent, NewPicture};
use diptych_inference::engine::{ImageRequest, ModelRef, Picture, Request};
use diptych_inference::text::sampling::SamplingParams;
use rand::Rng as _;
use rand::rngs::StdRng;

use crate::child::{self, say};
use crate::ledger::{Ledger, pixels, words};
use crate::{generator, kills};

/// Changes that wait at most; a person makes fewer.
const WAITING: usize = 40;
const SIDE: u32 = 48;

/// A child that writes until it is killed, and says what is kept: its name, the library's folder.
pub fn write(arguments: &[String]) {
    let (name, folder) = (arguments[0].clone(), PathBuf::from(&arguments[1]));
    let keeper = Keeper::start(folder, "window", Arc::new(|| ()));
    let mut writer = Writer {
        random: rand::SeedableRng::from_os_rng(),
        session: keeper.session().unwrap(),
        keeper,
        name,
        typed: 0,
        tasks: Vec::new(),
        chat: None,
        answer: None,
    };
    loop {
        while let Ok(event) = writer.keeper.events().try_recv() {
            match event {
                LibraryEvent::Opened(_) => say("open"),
                LibraryEvent::Done { what } => say(&what),
                LibraryEvent::Trouble { what, message }
                | LibraryEvent::Failed { what, message } => {
                    panic!("{what}: {message}")
                }
                _ => {}
            }
        }
        if writer.keeper.waiting() < WAITING {
            writer.do_something();
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

struct Writer {
    keeper: Keeper,
    session: SessionId,
    random: StdRng,
    name: String,
    typed: u64,
    tasks: Vec<TaskRecord>,
    chat: Option<ConversationId>,
    /// The answer that is being written.
    answer: Option<(MessageId, usize)>,
}

/// Told once it is kept.
fn kept(what: String) -> Option<LibraryEvent> {
    Some(LibraryEvent::Done { what })
}

impl Writer {
    fn do_something(&mut self) {
        match self.random.random_range(0..9) {
            0 | 1 => self.type_text(),
            2 => self.picture(None),
            3 => self.task(),
            4 => self.checkpoint(),
            5 => self.finish_task(),
            6 | 7 => self.answer(),
            _ => self.small_things(),
        }
    }

    fn type_text(&mut self) {
        self.typed += 1;
        let (text, typed) = (format!("{} {}", self.name, self.typed), self.typed);
        self.keeper.save("text", move |library| {
            library.put_draft("create", &text)?;
            Ok(kept(format!("draft {typed}")))
        });
    }

    fn request(&mut self) -> ImageRequest {
        let seed = self.random.random();
        ImageRequest {
            seed,
            ..ImageRequest::new(ModelRef::named("none"), "a \"red\" fox", SIDE, SIDE)
        }
    }

    fn picture(&mut self, task: Option<TaskRecord>) {
        let request = match task.as_ref().map(|task| task.request.clone()) {
            Some(Request::Image(request)) => request,
            _ => self.request(),
        };
        let new = NewPicture {
            id: PictureId::new(),
            picture: Arc::new(Picture {
                width: SIDE,
                height: SIDE,
                rgb: pixels(request.seed, SIDE),
            }),
            request,
            steps_done: None,
            seconds: 1.0,
            grid: None,
            origin: None,
            done: task.as_ref().map(|task| task.id),
            file: None,
        };
        self.keeper.save("a picture", move |library| {
            let record = library.save_picture(new.clone())?;
            Ok(kept(format!(
                "picture {} {}",
                record.id, record.request.seed as i64
            )))
        });
    }

    fn task(&mut self) {
        let task = TaskRecord {
            id: TaskId::new(),
            session: self.session,
            request: Request::Image(self.request()),
            target: Target::Gallery,
            state: TaskState::Running,
            position: self.random.random(),
            progress: None,
            checkpoint: None,
            created: now(),
        };
        self.tasks.push(task.clone());
        self.keeper.save("a job", move |library| {
            library.put_task(&task)?;
            Ok(kept(format!("task {}", task.id)))
        });
    }

    fn checkpoint(&mut self) {
        let Some(task) = self.tasks.last_mut() else {
            return;
        };
        let step = task.progress.map_or(1, |(done, _)| done + 1);
        task.progress = Some((step, 1000));
        let id = task.id;
        self.keeper.save("a checkpoint", move |library| {
            library.put_checkpoint(id, &vec![7; step as usize], Some((step, 1000)))?;
            Ok(kept(format!("checkpoint {id} {step}")))
        });
    }

    fn finish_task(&mut self) {
        if self.tasks.len() < 3 {
            return;
        }
        let task = self.tasks.remove(0);
        let id = task.id;
        say(&format!("removing {id}"));
        if self.random.random() {
            self.picture(Some(task));
        } else {
            self.keeper.save("a job", move |library| {
                library.remove_task(id)?;
                Ok(kept(format!("removed {id}")))
            });
        }
    }

    fn answer(&mut self) {
        let conversation = match self.chat {
            Some(chat) => chat,
            None => self.begin_chat(),
        };
        let (id, length) = self.answer.get_or_insert_with(|| (MessageId::new(), 0));
        *length += 17;
        let (id, length) = (*id, *length);
        let done = length > 600;
        if done {
            self.answer = None;
        }
        let message = Message {
            id,
            conversation,
            parent: None,
            role: Role::Assistant,
            text: words(id.0, length),
            attachments: Vec::new(),
            state: if done {
                MessageState::Done
            } else {
                MessageState::Writing
            },
            info: None,
            created: now(),
        };
        self.keeper.save("an answer", move |library| {
            library.put_message(&message)?;
            Ok(kept(format!("message {id} {conversation} {length}")))
        });
    }

    fn begin_chat(&mut self) -> ConversationId {
        let record = Conversation {
            id: ConversationId::new(),
            title: self.name.clone(),
            model: None,
            system: String::new(),
            sampling: SamplingParams::default(),
            max_tokens: 100,
            seed: None,
            drop_old: false,
            pinned: false,
            created: now(),
            changed: now(),
            leaf: None,
        };
        self.chat = Some(record.id);
        let id = record.id;
        self.keeper.save("a conversation", move |library| {
            library.put_conversation(&record)?;
            Ok(None)
        });
        id
    }

    fn small_things(&mut self) {
        let (key, number) = (format!("of-{}", self.name), self.typed);
        self.keeper.save("a setting", move |library| {
            library.put_setting(&key, &number.into())?;
            Ok(kept(format!("setting {key} {number}")))
        });
        let grid = GridRecord {
            id: GridId::new(),
            title: String::new(),
            spec: serde_json::json!([1, 2, 3]),
            created: now(),
            changed: now(),
        };
        self.keeper.save("a grid", move |library| {
            library.put_grid(&grid)?;
            Ok(kept(format!("grid {}", grid.id)))
        });
    }
}

fn start(folder: &Path, name: &str, library: &Path) -> child::Running {
    child::start("write", &[name, library.to_str().unwrap()], folder)
}

#[test]
fn a_window_that_is_killed_loses_nothing_that_it_told_as_kept() {
    let mut random = generator("one window");
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("библиотека ü");
    let mut ledger = Ledger::default();
    let begun = Instant::now();
    for round in 0..kills() {
        let name = format!("window{round}");
        let mut window = start(folder.path(), &name, &library);
        // Also while it opens.
        if random.random_range(0..5) > 0 {
            window.wait_for("open");
        }
        window.run_for(Duration::from_micros(random.random_range(0..400_000)));
        let (said, ended) = window.kill();
        assert!(!ended, "round {round}: it ended by itself: {said:?}");
        ledger.note(&name, &said);
        if library.exists() {
            ledger.check(&library);
        }
    }
    assert!(
        ledger.count() > 100,
        "hardly anything was written: {ledger:?}"
    );
    println!(
        "{} kept things over {} kills, {:.1?}",
        ledger.count(),
        kills(),
        begun.elapsed()
    );
}

#[test]
fn two_windows_write_at_once_and_are_killed_together() {
    let mut random = generator("two windows");
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("library");
    let mut ledger = Ledger::default();
    for round in 0..kills().div_ceil(4) {
        let names = [format!("left{round}"), format!("right{round}")];
        let mut windows: Vec<_> = names
            .iter()
            .map(|name| start(folder.path(), name, &library))
            .collect();
        for window in &mut windows {
            window.wait_for("draft");
        }
        // One of them a little earlier: what it left stays until there is another window.
        for (window, name) in windows.into_iter().zip(&names) {
            let mut window = window;
            window.run_for(Duration::from_micros(random.random_range(0..300_000)));
            let (said, ended) = window.kill();
            assert!(!ended, "round {round}: it ended by itself: {said:?}");
            ledger.note(name, &said);
        }
        ledger.check(&library);
    }
    assert!(
        ledger.count() > 100,
        "hardly anything was written: {ledger:?}"
    );
}
