//! Reports of faults of the program itself: written beside the library when it happens, offered at the next start. They stay
//! on this machine.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::library::records::now;

/// Where reports go, once the data folder is known.
static FOLDER: OnceLock<PathBuf> = OnceLock::new();
/// Name of the folder within the data.
const REPORTS: &str = "reports";
/// Ending of a report that was not offered yet.
const NEW: &str = "txt";
/// Ending of one that was.
const OFFERED: &str = "old.txt";
/// Reports that are kept.
const MOST: usize = 20;

/// From now on reports go below this data folder.
pub fn set_folder(data: &Path) {
    // A second window of the same process has the same folder.
    let _ = FOLDER.set(data.join(REPORTS));
}

/// Writes a report of a panic. What cannot be written is lost: there is nobody left to tell.
pub fn write(info: &std::panic::PanicHookInfo<'_>) {
    let Some(folder) = FOLDER.get() else {
        return;
    };
    let thread = std::thread::current();
    let text = format!(
        "Diptych {} on {} {}\nthread: {}\n{info}\n\n{}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        thread.name().unwrap_or("unnamed"),
        std::backtrace::Backtrace::force_capture(),
    );
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(folder.join(format!("{}.{NEW}", now())), text));
    if let Err(error) = written {
        tracing::error!("{}: no report could be written: {error}", folder.display());
    }
}

/// Reports that were not offered before, newest last; they now count as offered. Old ones are removed.
///
/// # Errors
/// Whatever the disk says.
pub fn take_new(data: &Path) -> std::io::Result<Vec<PathBuf>> {
    let folder = data.join(REPORTS);
    let mut all: Vec<PathBuf> = match std::fs::read_dir(&folder) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    all.sort();
    let surplus = all.len().saturating_sub(MOST);
    for old in all.drain(..surplus) {
        std::fs::remove_file(old)?;
    }
    let is_new = |path: &PathBuf| {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| name.ends_with(".txt") && !name.ends_with(OFFERED))
    };
    all.retain(is_new);
    let mut offered = Vec::new();
    for path in all {
        let to = path.with_extension(OFFERED);
        std::fs::rename(&path, &to)?;
        offered.push(to);
    }
    Ok(offered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_offered_once() {
        let data = tempfile::tempdir().unwrap();
        assert!(take_new(data.path()).unwrap().is_empty());
        let folder = data.path().join(REPORTS);
        std::fs::create_dir(&folder).unwrap();
        for number in 0..25 {
            std::fs::write(folder.join(format!("{number:03}.txt")), "a fault").unwrap();
        }
        let offered = take_new(data.path()).unwrap();
        assert_eq!(offered.len(), MOST);
        assert!(offered.iter().all(|path| path.is_file()));
        assert!(take_new(data.path()).unwrap().is_empty());
    }
}
