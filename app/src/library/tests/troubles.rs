//! Damage, other versions, and looking without touching.

use super::*;

pub(super) fn sound(library: &Library) {
    let said: String = library
        .database()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(said, "ok");
}

/// A library with one of everything; gives the files of its pictures.
pub(super) fn filled(folder: &Path) -> Vec<PathBuf> {
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
        assert!(!rescue::is_unfinished(folder.path()));
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

/// Overwrites one page of the file.
pub(super) fn tear(index: &Path, page: u64) {
    use std::io::{Seek as _, SeekFrom, Write as _};
    let mut file = std::fs::File::options().write(true).open(index).unwrap();
    file.seek(SeekFrom::Start(page * 4096)).unwrap();
    file.write_all(&[0x5a; 4096]).unwrap();
}

#[test]
fn what_can_be_read_of_a_damaged_index_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let paths = filled(folder.path());
    let mut library = window(folder.path());
    library.adopt().unwrap();
    let chat = library.conversations().unwrap().remove(0);
    library
        .together(|library| {
            (0..400).try_for_each(|number| {
                let text = format!("{number} {}", "words ".repeat(100));
                library.put_message(&message(chat.id, &text, MessageState::Done))
            })
        })
        .unwrap();
    let favourite = library.pictures(&all()).unwrap().remove(0);
    library.set_favourite(favourite.id, true).unwrap();
    let leaf: u64 = library
        .database()
        .query_row(
            "SELECT pageno FROM dbstat WHERE name = 'messages' AND pagetype = 'leaf' ORDER BY pageno LIMIT 1 OFFSET 20",
            [],
            |row| row.get::<_, i64>(0),
        )
        .unwrap() as u64;
    kill(library);
    tear(&folder.path().join(INDEX), leaf - 1);
    let mut library = window(folder.path());
    let restored = library.adopt().unwrap();
    assert_eq!(restored.drafts["create"], "1");
    assert_eq!(restored.conversations, std::slice::from_ref(&chat));
    let messages = library.messages(chat.id).unwrap();
    // A page holds a few of them.
    assert!((380..401).contains(&messages.len()), "{}", messages.len());
    let indexed = "SELECT count(*) FROM message_words WHERE message_words MATCH 'words'";
    let indexed = library
        .database()
        .query_row(indexed, [], |row| row.get::<_, i64>(0));
    assert_eq!(indexed.unwrap(), messages.len() as i64 - 1);
    assert!(library.picture(favourite.id).unwrap().unwrap().favourite);
    assert_eq!(restored.pictures.len(), paths.len());
    sound(&library);
}

#[test]
fn a_rescue_that_was_killed_is_finished_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    let index = folder.path().join(INDEX);
    let aside = folder.path().join("library-damaged-x.db");
    std::fs::rename(&index, &aside).unwrap();
    std::fs::write(
        folder.path().join("library-salvage.txt"),
        "library-damaged-x.db",
    )
    .unwrap();
    let mut library = window(folder.path());
    let restored = library.adopt().unwrap();
    assert_eq!(
        (restored.conversations.len(), restored.pictures.len()),
        (1, 3)
    );
    assert!(aside.exists() && !rescue::is_unfinished(folder.path()));
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
