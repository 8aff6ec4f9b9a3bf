//! Damage, other versions, full disks, and what the keeper makes of them.

use std::time::{Duration, Instant};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

fn sound(library: &Library) {
    let said: String = library
        .database()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(said, "ok");
}

/// A library with one of everything; gives the files of its pictures.
fn filled(folder: &Path) -> Vec<PathBuf> {
    let mut library = window(folder);
    library.adopt().unwrap();
    let paths = (1..=3).map(|seed| {
        library
            .save_picture(new_picture("a fox", seed))
            .unwrap()
            .path
    });
    let paths = paths.collect();
    let chat = conversation("Foxes", 1);
    library.put_conversation(&chat).unwrap();
    library
        .put_message(&message(chat.id, "a red storm", MessageState::Done))
        .unwrap();
    library.put_draft("create", "1").unwrap();
    paths
}

#[test]
fn a_damaged_index_is_set_aside_and_begun_anew() {
    let sound_one = tempfile::tempdir().unwrap();
    filled(sound_one.path());
    let whole = std::fs::read(sound_one.path().join(INDEX)).unwrap();
    let mut torn = whole.clone();
    torn[4096..8192].fill(0x5a);
    let mut deep = whole.clone();
    let half = deep.len() / 2;
    deep[half..].fill(0);
    let cases: [&[u8]; 5] = [
        b"this was a database once",
        &whole[..whole.len() / 2],
        &torn,
        &deep,
        &whole[..100],
    ];
    for (number, bytes) in cases.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let mut paths = filled(folder.path());
        let index = folder.path().join(INDEX);
        std::fs::write(&index, bytes).unwrap();
        assert!(
            matches!(
                Library::open_read_only(folder.path()).and_then(|library| library.pictures(&all())),
                Err(LibraryError::Damaged { .. })
            ) || number > 0,
            "case {number}"
        );
        let mut library = window(folder.path());
        let restored = library.adopt().unwrap();
        let told = restored.notices.join(" ");
        assert!(
            told.contains("damaged") && told.contains("3 pictures"),
            "case {number}: {told}"
        );
        let mut found: Vec<_> = restored
            .pictures
            .into_iter()
            .map(|picture| picture.path)
            .collect();
        found.sort();
        paths = paths
            .iter()
            .map(|path| path.canonicalize().unwrap())
            .collect();
        paths.sort();
        assert_eq!(found, paths, "case {number}");
        let aside: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().contains("library-damaged-"))
            .collect();
        assert!(
            aside
                .iter()
                .any(|path| std::fs::read(path).unwrap() == bytes),
            "case {number}: {aside:?}"
        );
        sound(&library);
        drop(library);
        assert!(window(folder.path()).take_notices().is_empty());
    }
}

#[test]
fn an_index_that_was_emptied_is_filled_from_the_pictures() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    std::fs::write(folder.path().join(INDEX), "").unwrap();
    let restored = window(folder.path()).adopt().unwrap();
    assert_eq!(restored.pictures.len(), 3);
    assert_eq!(restored.notices.len(), 1);
    assert!(Library::open_read_only(folder.path()).is_ok());
}

#[test]
fn damage_in_use_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    let session = SessionId::new();
    let _alive = sessions::Lock::of_session(folder.path(), session).unwrap();
    let index = folder.path().join(INDEX);
    std::fs::write(&index, "rubbish, much of it").unwrap();
    let error = Library::open(folder.path(), "window").unwrap_err();
    assert!(
        matches!(error, LibraryError::DamagedInUse { .. }),
        "{error}"
    );
    assert_eq!(std::fs::read(&index).unwrap(), b"rubbish, much of it");
}

#[test]
fn older_formats_are_brought_up_to_date_and_newer_ones_refused() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join(INDEX);
    let chat = conversation("Foxes", 1);
    let said = message(chat.id, "a red storm", MessageState::Done);
    {
        let db = Connection::open(&index).unwrap();
        schema::migrate_to(&db, &index, 1).unwrap();
        let bare = serde_json::to_string(&Message {
            text: String::new(),
            ..said.clone()
        })
        .unwrap();
        db.execute(
            "INSERT INTO conversations VALUES (?1, 0, 1, 'foxes', ?2)",
            (chat.id.0, serde_json::to_string(&chat).unwrap()),
        )
        .unwrap();
        db.execute(
            "INSERT INTO messages VALUES (?1, ?2, 1, 0, 'a red storm', ?3)",
            (said.id.0, chat.id.0, bare),
        )
        .unwrap();
    }
    let before = std::fs::read(&index).unwrap();
    let looking = Library::open_read_only(folder.path()).unwrap();
    let kept = looking.messages(chat.id).unwrap();
    assert_eq!(kept, std::slice::from_ref(&said));
    assert_eq!(looking.search_conversations("storm", 9).unwrap().len(), 1);
    drop(looking);
    assert_eq!(std::fs::read(&index).unwrap(), before, "looking changed it");
    let library = window(folder.path());
    assert_eq!(library.search_conversations("storm", 9).unwrap().len(), 1);
    assert_eq!(
        schema::version(library.database(), &index).unwrap(),
        schema::LATEST
    );
    drop(library);
    let db = Connection::open(&index).unwrap();
    db.pragma_update(None, "user_version", schema::LATEST + 1)
        .unwrap();
    drop(db);
    let errors = [
        Library::open(folder.path(), "window").unwrap_err(),
        Library::open_read_only(folder.path()).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, LibraryError::Newer { .. }), "{error}");
        assert!(error.to_string().contains("library.db"));
    }
}

#[test]
fn looking_changes_nothing_and_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let mut looking = Library::open_read_only(&nowhere).unwrap();
    assert_eq!(looking.pictures(&all()).unwrap(), []);
    assert!(matches!(
        looking.put_draft("a", "b"),
        Err(LibraryError::OnlyReading(_))
    ));
    assert!(!nowhere.exists());
    let mut library = window(folder.path());
    library.save_picture(new_picture("one", 1)).unwrap();
    let looking = Library::open_read_only(folder.path()).unwrap();
    assert_eq!(looking.pictures(&all()).unwrap().len(), 1);
    // It sees what is written meanwhile, and hinders nobody.
    library.save_picture(new_picture("two", 2)).unwrap();
    assert_eq!(looking.pictures(&all()).unwrap().len(), 2);
}

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
        Ok(Some(LibraryEvent::Pictures(library.pictures(&all())?)))
    });
    let asked = until(&keeper, |event| matches!(event, LibraryEvent::Pictures(_)));
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
        Ok(Some(LibraryEvent::Pictures(library.pictures(&all())?)))
    });
    until(&keeper, |event| {
        matches!(event, LibraryEvent::Failed { .. })
    });
    std::fs::remove_file(&place).unwrap();
    let events = until(&keeper, |event| matches!(event, LibraryEvent::Recovered));
    assert!(matches!(events[0], LibraryEvent::Opened(_)), "{events:?}");
    assert_eq!(saved(&events), [1]);
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

/// `cargo test --release -p diptych --lib library::tests::troubles::speed -- --ignored --nocapture`
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
