//! What nobody refers to any more: start pictures, masks and traces of pictures that are gone.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Library;
use super::error::Result;
use super::inputs::{DIGITS, INPUTS};
use super::traces::{Owner, TRACES, owner};

/// Files that were written or used since stay: another window may be about to name them.
const SETTLED: Duration = Duration::from_secs(24 * 60 * 60);
/// Where files can be named: whatever a person or a job can come back to.
const NAMING: [&str; 5] = [
    "SELECT request FROM pictures",
    "SELECT record FROM tasks",
    "SELECT value FROM drafts",
    "SELECT record FROM grids",
    "SELECT value FROM settings",
];

impl Library {
    /// Removes the inputs and traces that no record names, but for those of the last day. Gives the number of files and bytes.
    ///
    /// # Errors
    /// Whatever the index says; then nothing is removed. A file that cannot be removed stays.
    pub fn clean(&mut self) -> Result<(usize, u64)> {
        self.clean_older_than(SETTLED)
    }

    pub(super) fn clean_older_than(&mut self, settled: Duration) -> Result<(usize, u64)> {
        let mut named = HashSet::new();
        for sql in NAMING {
            let texts: Vec<String> = self.rows(sql, [], |row| row.get(0))?;
            for text in &texts {
                gather(text, &mut named);
            }
        }
        let ids = |sql: &str| -> Result<HashSet<i64>> {
            Ok(self.rows(sql, [], |row| row.get(0))?.into_iter().collect())
        };
        let pictures = ids("SELECT id FROM pictures")?;
        let tasks = ids("SELECT id FROM tasks")?;
        let before = SystemTime::now().checked_sub(settled);
        let (mut count, mut bytes) = (0, 0);
        let mut sweep = |folder: &str, unused: &dyn Fn(&Path) -> bool| {
            let Ok(entries) = std::fs::read_dir(self.folder().join(folder)) else {
                return;
            };
            for entry in entries.flatten() {
                let path = entry.path();
                let Ok(meta) = entry.metadata() else {
                    continue;
                };
                let old = meta
                    .modified()
                    .ok()
                    .zip(before)
                    .is_some_and(|(modified, before)| modified <= before);
                if !meta.is_file() || !old || !unused(&path) {
                    continue;
                }
                match std::fs::remove_file(&path) {
                    Ok(()) => {
                        count += 1;
                        bytes += meta.len();
                    }
                    Err(error) => tracing::warn!("{}: {error}", path.display()),
                }
            }
        };
        sweep(INPUTS, &|path| {
            let hash = path.file_stem().and_then(|stem| stem.to_str());
            let ours = path.extension().is_some_and(|ending| ending == "png");
            ours && hash.is_some_and(|hash| is_hash(hash) && !named.contains(hash))
        });
        sweep(TRACES, &|path| match owner(path) {
            Some(Owner::Picture(id)) => !pictures.contains(&id.0),
            Some(Owner::Task(id)) => !tasks.contains(&id.0),
            None => false,
        });
        Ok((count, bytes))
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(is_digit)
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// All hashes that stand in a text, whatever it is.
fn gather(text: &str, named: &mut HashSet<String>) {
    let words = text.split(|sign: char| !u8::try_from(sign).is_ok_and(is_digit));
    named.extend(words.filter(|word| is_hash(word)).map(str::to_owned));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::library::inputs::input_path;
    use crate::library::records::{PictureId, TaskId};
    use crate::library::traces::{growing_path, trace_path};

    #[test]
    fn only_what_nobody_names_goes_and_only_when_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let mut library = Library::open(folder.path(), "test").unwrap();
        let name = |letter: &str| letter.repeat(64);
        for letter in ["a", "b", "c"] {
            library.put_input(&name(letter), b"a picture").unwrap();
        }
        let draft = format!("{{\"start\":{{\"picture\":\"{}\"}}}}", name("a"));
        library.put_draft("create", &draft).unwrap();
        let exists = |letter: &str| input_path(folder.path(), &name(letter)).unwrap().is_file();
        let traces = folder.path().join(TRACES);
        std::fs::create_dir(&traces).unwrap();
        let lost = trace_path(folder.path(), PictureId(7));
        let growing = growing_path(folder.path(), TaskId(8));
        let other = traces.join("mine.dtrace");
        let foreign = folder.path().join(INPUTS).join("holiday.png");
        for path in [&lost, &growing, &other, &foreign] {
            std::fs::write(path, b"x").unwrap();
        }
        assert_eq!(library.traces(), [PictureId(7)]);
        assert_eq!(library.clean().unwrap(), (0, 0), "all are new");
        assert!(exists("b") && lost.is_file());
        let (count, bytes) = library.clean_older_than(Duration::ZERO).unwrap();
        assert_eq!((count, bytes), (4, 9 + 9 + 1 + 1));
        assert!(exists("a") && !exists("b") && !exists("c"));
        assert!(!lost.exists() && !growing.exists());
        assert!(other.is_file() && foreign.is_file(), "none of ours");
    }
}
