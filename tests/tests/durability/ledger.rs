//! What children say they keep, and whether it is there afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use diptych::library::records::*;
use diptych::library::{INDEX, Library, PICTURES, PictureQuery, Restored, files};

/// What was said, over all rounds.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Pictures and their seeds.
    pictures: BTreeMap<i64, u64>,
    /// Messages, and how many characters of each.
    messages: BTreeMap<i64, (i64, usize)>,
    /// Jobs that were kept, and the last checkpoint of each.
    tasks: BTreeMap<i64, u32>,
    /// Jobs that were to be removed.
    removing: BTreeSet<i64>,
    /// Jobs that were removed.
    removed: BTreeSet<i64>,
    /// Of this round's children: the number last typed.
    drafts: BTreeMap<String, u64>,
    settings: BTreeMap<String, u64>,
    grids: BTreeSet<i64>,
}

/// The seed's picture: any picture, but the same each time.
pub fn pixels(seed: u64, side: u32) -> Vec<u8> {
    let byte = |i: u32| (u64::from(i).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as u8;
    (0..side * side * 3).map(byte).collect()
}

/// The message's text up to a length.
pub fn words(id: i64, length: usize) -> String {
    let letter =
        |i: usize| char::from(b'a' + ((id as u64 >> (i % 7)) as u8).wrapping_add(i as u8) % 26);
    (0..length).map(letter).collect()
}

impl Ledger {
    /// Notes what a child said.
    pub fn note(&mut self, child: &str, said: &[String]) {
        for line in said {
            let parts: Vec<&str> = line.split_whitespace().collect();
            let number = |place: usize| -> i64 { parts[place].parse().unwrap() };
            match parts.first().copied() {
                Some("picture") => {
                    self.pictures.insert(number(1), number(2) as u64);
                }
                Some("message") => {
                    self.messages
                        .insert(number(1), (number(2), number(3) as usize));
                }
                Some("task") => {
                    self.tasks.entry(number(1)).or_insert(0);
                }
                Some("checkpoint") => {
                    self.tasks.insert(number(1), number(2) as u32);
                }
                Some("removing") => {
                    self.removing.insert(number(1));
                }
                Some("removed") => {
                    self.removed.insert(number(1));
                }
                Some("draft") => {
                    self.drafts.insert(child.to_owned(), number(1) as u64);
                }
                Some("setting") => {
                    self.settings.insert(parts[1].to_owned(), number(2) as u64);
                }
                Some("grid") => {
                    self.grids.insert(number(1));
                }
                _ => {}
            }
        }
    }

    /// Things that were said to be kept.
    pub fn count(&self) -> usize {
        self.pictures.len() + self.messages.len() + self.tasks.len() + self.grids.len()
    }

    /// Looks whether all of it is there, after every process is dead.
    pub fn check(&mut self, folder: &Path) {
        if self.count() > 0 || is_made(folder) {
            check_index(folder);
        }
        // As many windows as there were find the text of as many.
        let mut windows: Vec<(Library, Restored)> = Vec::new();
        for _ in 0..self.drafts.len().max(1) {
            let mut window = Library::open(folder, "window").unwrap();
            let restored = window.adopt().unwrap();
            assert_eq!(restored.notices, Vec::<String>::new());
            windows.push((window, restored));
        }
        for (child, number) in std::mem::take(&mut self.drafts) {
            let found = windows.iter().find_map(|(_, restored)| {
                let text = restored.drafts.get("create")?;
                let (who, number) = text.split_once(' ')?;
                (who == child).then(|| number.parse::<u64>().unwrap())
            });
            assert!(
                found >= Some(number),
                "{child} typed {number}, there is {found:?}"
            );
        }
        let (library, restored) = &windows[0];
        for (key, number) in &self.settings {
            let there = restored
                .settings
                .get(key)
                .and_then(serde_json::Value::as_u64);
            assert!(
                there >= Some(*number),
                "setting {key}: {number}, there is {there:?}"
            );
        }
        for id in &self.grids {
            assert!(
                restored.grids.iter().any(|grid| grid.id.0 == *id),
                "grid {id}"
            );
        }
        self.check_pictures(library);
        self.check_messages(library);
        let tasks: BTreeMap<i64, &TaskRecord> = windows
            .iter()
            .flat_map(|(_, restored)| &restored.tasks)
            .map(|task| (task.id.0, task))
            .collect();
        for (id, step) in &self.tasks {
            let there = tasks.get(id);
            if self.removed.contains(id) {
                assert!(there.is_none(), "job {id} is back");
            } else if let Some(task) = there {
                assert_eq!(task.state, TaskState::Paused);
                let kept = task
                    .checkpoint
                    .as_ref()
                    .map_or(0, |bytes| bytes.len() as u32);
                assert!(
                    kept >= *step,
                    "job {id}: checkpoint {step}, there is {kept}"
                );
            } else {
                assert!(self.removing.contains(id), "job {id} is lost");
            }
        }
        // What is done is no more looked for.
        self.tasks.retain(|id, _| tasks.contains_key(id));
    }

    fn check_pictures(&self, library: &Library) {
        for (id, seed) in &self.pictures {
            let record = library.picture(PictureId(*id)).unwrap();
            let record = record.unwrap_or_else(|| panic!("picture {id} is lost"));
            assert_eq!(record.request.seed, *seed);
            let picture = image::open(&record.path).unwrap().into_rgb8();
            let side = picture.width();
            assert_eq!(picture.into_raw(), pixels(*seed, side), "picture {id}");
            assert_eq!(files::told(&record.path).unwrap().request, record.request);
        }
        let rows = library.pictures(&PictureQuery::default()).unwrap();
        let known: BTreeSet<PathBuf> = rows.into_iter().map(|row| row.path).collect();
        for path in pngs(&library.folder().join(PICTURES)) {
            image::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(known.contains(&path), "{} is not known", path.display());
        }
    }

    fn check_messages(&self, library: &Library) {
        for (id, (conversation, length)) in &self.messages {
            let messages = library.messages(ConversationId(*conversation)).unwrap();
            let message = messages.iter().find(|message| message.id.0 == *id);
            let message = message.unwrap_or_else(|| panic!("message {id} is lost"));
            assert!(
                message.text.len() >= *length,
                "message {id} is shorter than {length}"
            );
            assert_eq!(message.text, words(*id, message.text.len()));
            assert_ne!(message.state, MessageState::Writing);
        }
    }
}

fn pngs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                pngs(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|ending| ending == "png"))
        .collect()
}

/// Whether the index has all of its tables: a window that was killed while it made them has left the rest to the next one.
fn is_made(folder: &Path) -> bool {
    let db = rusqlite::Connection::open(folder.join(INDEX)).unwrap();
    let sql = "SELECT count(*) FROM sqlite_master WHERE name = 'message_words'";
    let tables: i64 = db.query_row(sql, [], |row| row.get(0)).unwrap();
    tables > 0
}

/// Asks SQLite itself.
pub fn check_index(folder: &Path) {
    let db = rusqlite::Connection::open(folder.join(INDEX)).unwrap();
    let said: String = db
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(said, "ok");
    let mut foreign = db.prepare("PRAGMA foreign_key_check").unwrap();
    assert!(foreign.query([]).unwrap().next().unwrap().is_none());
    let mut words = db
        .prepare("INSERT INTO message_words (message_words) VALUES ('integrity-check')")
        .unwrap();
    words.execute([]).unwrap();
}
