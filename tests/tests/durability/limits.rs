//! A disk that takes no more.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use diptych::library::records::now;
use diptych::library::{Keeper, Library, LibraryEvent};

use crate::child::{self, say};
use crate::ledger::check_index;

/// A child that types until the disk is full, says so, and looks whether it still answers.
pub fn fill(words: &[String]) {
    let keeper = Keeper::start(PathBuf::from(&words[0]), "window", Arc::new(|| ()));
    let mut number = 0;
    let mut asked = false;
    loop {
        if keeper.waiting() < 5 && number < 100_000 {
            let (key, text) = (number.to_string(), "x".repeat(10_000));
            keeper.save("what you typed", move |library| {
                library.put_draft(&key, &text)?;
                Ok(Some(LibraryEvent::DraftSaved {
                    key: key.clone(),
                    at: now(),
                }))
            });
            number += 1;
        }
        let Ok(event) = keeper.events().recv_timeout(Duration::from_millis(10)) else {
            continue;
        };
        match event {
            LibraryEvent::DraftSaved { key, .. } => say(&format!("draft {key}")),
            LibraryEvent::Trouble { what, message } => {
                assert!(!asked, "trouble was said twice");
                asked = true;
                say(&format!("trouble {what}: {message}"));
                keeper.ask("what there is", |library| {
                    Ok(Some(LibraryEvent::Done {
                        what: library.drafts()?.len().to_string(),
                    }))
                });
            }
            LibraryEvent::Done { what } => say(&format!("answer {what}")),
            LibraryEvent::Failed { what, message } => say(&format!("failed {what}: {message}")),
            _ => {}
        }
    }
}

/// The system itself refuses to let files grow: as a full disk does, and for the superuser too.
#[cfg(unix)]
#[test]
fn a_disk_that_is_full_is_said_and_nothing_kept_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("library");
    let mut shell = Command::new("sh");
    // 600 blocks of 512 bytes, or of 1024 where the shell counts so; without the signal writing fails.
    let limited = "trap '' XFSZ; ulimit -f 600; exec \"$0\" \"$@\"";
    shell
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap());
    let mut window = child::start_in(shell, "fill", &[library.to_str().unwrap()], folder.path());
    let trouble = window.wait_for("trouble");
    assert!(
        trouble.starts_with("trouble what you typed: ")
            && trouble.contains("library.db")
            && trouble.contains("space"),
        "{trouble}"
    );
    window.wait_for("answer");
    window.run_for(Duration::from_millis(500));
    let (said, ended) = window.kill();
    assert!(!ended, "it did not survive: {said:?}");
    check_index(&library);
    let restored = Library::open(&library, "window").unwrap().adopt().unwrap();
    let told: Vec<&str> = said
        .iter()
        .filter_map(|line| line.strip_prefix("draft "))
        .collect();
    assert!(told.len() > 5, "{said:?}");
    for key in told {
        assert_eq!(restored.drafts[key].len(), 10_000, "{key}");
    }
}
