//! The keeper: trouble is said once and nothing is lost; what can be mended is mended.

use std::time::{Duration, Instant};

use super::troubles::{filled, sound, tear};
use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

fn keeper(folder: &Path) -> Keeper {
    Keeper::start(folder.to_owned(), adopt::WINDOW, Arc::new(|| ()))
}

/// Events until one is what is waited for, that one included.
fn until(keeper: &Keeper, wanted: impl Fn(&LibraryEvent) -> bool) -> Vec<LibraryEvent> {
    let deadline = Instant::now() + PATIENCE;
    let mut events = Vec::new();
    loop {
        let event = keeper
            .events()
            .recv_deadline(deadline)
            .unwrap_or_else(|_| panic!("only {events:?}"));
        let found = wanted(&event);
        events.push(event);
        if found {
            return events;
        }
    }
}

fn draft(keeper: &Keeper, number: usize) {
    let value = format!("{number}{}", "x".repeat(5000));
    keeper.save("what you typed", move |library| {
        library.put_draft(&number.to_string(), &value)?;
        Ok(Some(LibraryEvent::DraftSaved {
            key: number.to_string(),
            at: now(),
        }))
    });
}

fn saved(events: &[LibraryEvent]) -> Vec<usize> {
    let number = |event: &LibraryEvent| match event {
        LibraryEvent::DraftSaved { key, .. } => key.parse().ok(),
        _ => None,
    };
    events.iter().filter_map(number).collect()
}

#[test]
fn a_full_disk_is_said_once_and_survived() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = keeper(folder.path());
    until(&keeper, |event| matches!(event, LibraryEvent::Opened(_)));
    keeper.save("a limit", |library| {
        let pages: i64 = library
            .database()
            .query_row("PRAGMA page_count", [], |row| row.get(0))
            .unwrap();
        library
            .database()
            .pragma_update(None, "max_page_count", pages + 4)
            .unwrap();
        Ok(Some(LibraryEvent::Done {
            what: "limit".into(),
        }))
    });
    until(&keeper, |event| matches!(event, LibraryEvent::Done { .. }));
    for number in 0..20 {
        draft(&keeper, number);
    }
    let events = until(&keeper, |event| {
        matches!(event, LibraryEvent::Trouble { .. })
    });
    let Some(LibraryEvent::Trouble { what, message }) = events.last() else {
        unreachable!()
    };
    assert_eq!(what, "what you typed");
    assert!(
        message.contains("disk is full") && message.contains("nothing is lost"),
        "{message}"
    );
    let before = saved(&events);
    assert!(!keeper.flush(Duration::from_millis(1500)));
    assert!(keeper.waiting() > 0);
    // Questions are answered meanwhile, and changes that are asked for fail at once.
    keeper.ask("the pictures", |library| {
        let count = library.pictures(&all())?.len();
        Ok(Some(LibraryEvent::Done {
            what: format!("{count} pictures"),
        }))
    });
    let asked = until(&keeper, |event| matches!(event, LibraryEvent::Done { .. }));
    assert_eq!(asked.len(), 1, "trouble was said again: {asked:?}");
    keeper.ask("space", |library| {
        library
            .database()
            .pragma_update(None, "max_page_count", 1 << 20)
            .unwrap();
        Ok(None)
    });
    let after = until(&keeper, |event| matches!(event, LibraryEvent::Recovered));
    let numbers: Vec<usize> = before.into_iter().chain(saved(&after)).collect();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>(), "each once, in order");
    assert!(keeper.flush(PATIENCE));
    drop(keeper);
    let mut again = window(folder.path());
    assert_eq!(again.adopt().unwrap().drafts.len(), 20);
    sound(&again);
}

#[test]
fn a_folder_that_cannot_be_written_is_said_and_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("mine");
    std::fs::write(&place, "a file in the way").unwrap();
    let keeper = keeper(&place);
    draft(&keeper, 1);
    let events = until(&keeper, |event| {
        matches!(event, LibraryEvent::Trouble { .. })
    });
    assert_eq!(events.len(), 1);
    keeper.ask("the pictures", |library| {
        let count = library.pictures(&all())?.len();
        Ok(Some(LibraryEvent::Done {
            what: format!("{count} pictures"),
        }))
    });
    until(&keeper, |event| {
        matches!(event, LibraryEvent::Failed { .. })
    });
    std::fs::remove_file(&place).unwrap();
    let events = until(&keeper, |event| matches!(event, LibraryEvent::Recovered));
    assert!(matches!(events[0], LibraryEvent::Opened(_)), "{events:?}");
    assert_eq!(saved(&events), [1]);
}

/// What was told to the person beside trouble.
fn mended(events: &[LibraryEvent]) -> Vec<&String> {
    events
        .iter()
        .filter_map(|event| match event {
            LibraryEvent::Failed { what, message } if what.contains("mended") => Some(message),
            _ => None,
        })
        .collect()
}

#[test]
fn damage_that_shows_while_it_runs_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = keeper(folder.path());
    for number in 0..50 {
        draft(&keeper, number);
    }
    until(
        &keeper,
        |event| matches!(event, LibraryEvent::DraftSaved { key, .. } if key == "49"),
    );
    let index = folder.path().join(INDEX);
    keeper.ask("damage", move |library| {
        library
            .database()
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
        let root: i64 = library
            .database()
            .query_row(
                "SELECT rootpage FROM sqlite_schema WHERE name = 'drafts'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        tear(&index, root as u64 - 1);
        library
            .database()
            .execute_batch("PRAGMA shrink_memory")
            .unwrap();
        Ok(None)
    });
    draft(&keeper, 50);
    let events = until(
        &keeper,
        |event| matches!(event, LibraryEvent::DraftSaved { key, .. } if key == "50"),
    );
    assert!(!mended(&events).is_empty(), "{events:?}");
    assert!(keeper.flush(PATIENCE));
    drop(keeper);
    let mut again = window(folder.path());
    assert!(again.adopt().unwrap().drafts.contains_key("50"));
    sound(&again);
}

#[cfg(unix)]
#[test]
fn a_folder_that_is_removed_while_it_runs_is_made_again() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("mine");
    let keeper = keeper(&folder);
    for number in 0..5 {
        draft(&keeper, number);
    }
    keeper.save("a picture", |library| {
        library.save_picture(new_picture("gone", 1)).map(|_| None)
    });
    assert!(keeper.flush(PATIENCE));
    std::fs::remove_dir_all(&folder).unwrap();
    draft(&keeper, 5);
    let new = new_picture("a fox", 2);
    keeper.save("a picture", move |library| {
        Ok(Some(LibraryEvent::PictureSaved(
            library.save_picture(new.clone())?.into(),
        )))
    });
    let events = until(&keeper, |event| {
        matches!(event, LibraryEvent::PictureSaved(_))
    });
    assert_eq!(mended(&events).len(), 1, "{events:?}");
    // Only the index, by hand.
    std::fs::remove_file(folder.join(INDEX)).unwrap();
    draft(&keeper, 6);
    until(
        &keeper,
        |event| matches!(event, LibraryEvent::DraftSaved { key, .. } if key == "6"),
    );
    assert!(keeper.flush(PATIENCE));
    drop(keeper);
    let mut again = window(&folder);
    let restored = again.adopt().unwrap();
    assert_eq!(restored.drafts.len(), 7);
    let there: Vec<bool> = restored
        .pictures
        .iter()
        .map(|picture| picture.path.is_file())
        .collect();
    assert_eq!(there, [true, false], "what is gone is listed");
    sound(&again);
}

#[cfg(unix)]
#[test]
fn an_index_that_was_replaced_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = keeper(folder.path());
    draft(&keeper, 1);
    assert!(keeper.flush(PATIENCE));
    let other = tempfile::tempdir().unwrap();
    filled(other.path());
    std::fs::rename(other.path().join(INDEX), folder.path().join(INDEX)).unwrap();
    let _ = std::fs::remove_file(folder.path().join("library.db-wal"));
    draft(&keeper, 2);
    let events = until(
        &keeper,
        |event| matches!(event, LibraryEvent::DraftSaved { key, .. } if key == "2"),
    );
    assert!(
        mended(&events)[0].contains("library-removed-"),
        "{events:?}"
    );
    drop(keeper);
    let aside = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let aside = aside
        .into_iter()
        .find(|path| path.to_string_lossy().contains("library-removed-"))
        .unwrap();
    let db = Connection::open(aside).unwrap();
    let drafts: i64 = db
        .query_row("SELECT count(*) FROM drafts WHERE key = '1'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(drafts, 1);
}

#[test]
fn what_cannot_be_written_can_still_be_seen() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    // Nothing can be made where a file is in the way, and the superuser cannot either.
    std::fs::remove_dir_all(folder.path().join(sessions::FOLDER)).unwrap();
    let in_the_way = folder.path().join(sessions::FOLDER);
    std::fs::write(&in_the_way, "").unwrap();
    let keeper = keeper(folder.path());
    let events = until(&keeper, |event| {
        matches!(event, LibraryEvent::Trouble { .. })
    });
    let LibraryEvent::Opened(seen) = &events[0] else {
        panic!("{events:?}")
    };
    assert_eq!((seen.pictures.len(), seen.conversations.len()), (3, 1));
    assert_eq!(seen.drafts["create"], "1");
    draft(&keeper, 7);
    std::fs::remove_file(&in_the_way).unwrap();
    let events = until(&keeper, |event| matches!(event, LibraryEvent::Recovered));
    assert!(matches!(&events[0], LibraryEvent::Opened(_)), "{events:?}");
    drop(keeper);
    let drafts = window(folder.path()).adopt().unwrap().drafts;
    assert_eq!(drafts.keys().collect::<Vec<_>>(), ["7", "create"]);
}

#[test]
fn one_failure_is_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = keeper(folder.path());
    draft(&keeper, 1);
    keeper.save("nonsense", |library| {
        library.put_draft("2", "never")?;
        Err(LibraryError::Encode("no picture".into()))
    });
    keeper.save("a fault", |_| panic!("on purpose"));
    draft(&keeper, 3);
    let events = until(
        &keeper,
        |event| matches!(event, LibraryEvent::DraftSaved { key, .. } if key == "3"),
    );
    assert_eq!(saved(&events), [1, 3]);
    assert!(keeper.flush(PATIENCE));
    drop(keeper);
    let drafts = window(folder.path()).adopt().unwrap().drafts;
    assert_eq!(drafts.keys().collect::<Vec<_>>(), ["1", "3"]);
}

#[test]
fn a_client_that_takes_no_events_hinders_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = keeper(folder.path());
    for number in 0..2000 {
        draft(&keeper, number);
    }
    assert!(keeper.flush(PATIENCE));
    let events = until(
        &keeper,
        |event| matches!(event, LibraryEvent::DraftSaved { key, .. } if key == "1999"),
    );
    assert_eq!(saved(&events).len(), 2000);
}

#[test]
fn windows_that_close_at_once_hinder_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let keepers: Vec<Keeper> = (0..4).map(|_| keeper(folder.path())).collect();
    for (number, keeper) in keepers.iter().enumerate() {
        draft(keeper, number);
    }
    let closing = keepers.into_iter().map(|keeper| {
        let close = move || {
            assert!(keeper.flush(PATIENCE));
            drop(keeper);
        };
        std::thread::Builder::new().spawn(close).unwrap()
    });
    let closing: Vec<_> = closing.collect();
    closing
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let library = window(folder.path());
    let (drafts, open): (i64, i64) = library
        .database()
        .query_row(
            "SELECT (SELECT count(*) FROM drafts), (SELECT count(*) FROM sessions WHERE ended IS NULL)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!((drafts, open), (4, 1));
    sound(&library);
}

/// `cargo test --release -p diptych --lib library::tests::keeper::speed -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn speed() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let begun = Instant::now();
    let mut library = window(folder.path());
    println!("new library: {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    let rate = |count: usize, begun: Instant| count as f64 / begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    for number in 0..500 {
        library
            .put_draft("create", &format!("{number} {}", "x".repeat(200)))
            .unwrap();
    }
    println!("drafts, each waited for: {:.0}/s", rate(500, begun));
    let begun = Instant::now();
    let (mut new, side) = (new_picture("a fox", 1), 512);
    let rgb = (0..side * side * 3)
        .map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    new.picture = Arc::new(Picture {
        width: side,
        height: side,
        rgb,
    });
    for seed in 0..50 {
        new.id = PictureId::new();
        new.request.seed = seed;
        library.save_picture(new.clone()).unwrap();
    }
    println!("pictures of 512x512 (noise): {:.0}/s", rate(50, begun));
    drop(library);
    let keeper = keeper(folder.path());
    until(&keeper, |event| matches!(event, LibraryEvent::Opened(_)));
    let begun = Instant::now();
    for number in 0..20_000usize {
        keeper.save("text", move |library| {
            library.put_draft("create", &format!("{number} {}", "x".repeat(200)))?;
            Ok(None)
        });
    }
    assert!(keeper.flush(PATIENCE));
    println!("drafts through the keeper: {:.0}/s", rate(20_000, begun));
    drop(keeper);
    let begun = Instant::now();
    let restored = window(folder.path()).adopt().unwrap();
    println!(
        "opened with {} pictures: {:.1} ms",
        restored.pictures.len(),
        begun.elapsed().as_secs_f64() * 1e3
    );
}
