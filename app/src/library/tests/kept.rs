//! What is put in comes out.

use super::*;

#[test]
fn pictures_are_files_first_and_rows_then() {
    let folder = tempfile::tempdir().unwrap();
    let mut library = window(folder.path());
    let job = task(library.session(), 1);
    library.put_task(&job).unwrap();
    let mut new = new_picture("A red Fox, ЛИСА", u64::MAX);
    (new.done, new.steps_done, new.grid) = (Some(job.id), Some(3), Some(GridId(5)));
    let saved = library.save_picture(new.clone()).unwrap();
    assert!(saved.path.starts_with(library.folder().join(PICTURES)));
    assert_eq!(saved.request, new.request);
    let told = files::told(&saved.path).unwrap();
    assert_eq!(
        (told.request, told.steps_done),
        (new.request.clone(), Some(3))
    );
    let pixels = image::open(&saved.path).unwrap().into_rgb8().into_raw();
    assert_eq!(pixels, new.picture.rgb);
    assert_eq!(library.tasks().unwrap(), []);
    assert_eq!(library.picture(saved.id).unwrap(), Some(saved.clone()));
    // Once more is no second picture and no second file.
    library.save_picture(new).unwrap();
    let second = library.save_picture(new_picture("a blue fox", 2)).unwrap();
    let same_name = library.save_picture(new_picture("a blue fox", 2)).unwrap();
    assert_ne!(second.path, same_name.path);
    let ids = |query: PictureQuery| -> Vec<PictureId> {
        let found = library.pictures(&query).unwrap();
        found.iter().map(|picture| picture.id).collect()
    };
    assert_eq!(ids(all()), [same_name.id, second.id, saved.id]);
    let text = |text: &str| PictureQuery {
        text: text.into(),
        ..all()
    };
    assert_eq!(ids(text("лиса red")), [saved.id]);
    assert_eq!(ids(text("FOX sketch blurry")).len(), 3);
    assert_eq!(ids(text("100%")), []);
    let before = PictureQuery {
        before: Some(same_name.id),
        limit: 1,
        ..all()
    };
    assert_eq!(ids(before), [second.id]);
    let of_grid = PictureQuery {
        grid: Some(GridId(5)),
        ..all()
    };
    assert_eq!(ids(of_grid), [saved.id]);
}

#[test]
fn marks_and_the_trash() {
    let folder = tempfile::tempdir().unwrap();
    let mut library = window(folder.path());
    let kept = library.save_picture(new_picture("kept", 1)).unwrap();
    let thrown = library.save_picture(new_picture("thrown", 2)).unwrap();
    let outside = folder.path().join("mine.png");
    std::fs::copy(&kept.path, &outside).unwrap();
    let mine = library
        .save_picture(NewPicture {
            file: Some(outside.clone()),
            ..new_picture("mine", 3)
        })
        .unwrap();
    library.set_favourite(kept.id, true).unwrap();
    library.set_trashed(thrown.id, true).unwrap();
    library.set_trashed(mine.id, true).unwrap();
    let marked = library
        .pictures(&PictureQuery {
            favourites: true,
            ..all()
        })
        .unwrap();
    assert_eq!(marked.len(), 1);
    assert!(marked[0].favourite && marked[0].id == kept.id);
    assert_eq!(library.pictures(&all()).unwrap().len(), 1);
    // A file that is gone already is no hindrance.
    assert_eq!(library.empty_trash().unwrap(), [mine.id, thrown.id]);
    assert!(!thrown.path.exists());
    assert!(outside.exists(), "a person's own file was deleted");
    assert!(kept.path.exists());
    assert_eq!(library.picture(thrown.id).unwrap(), None);
    assert_eq!(library.empty_trash().unwrap(), []);
}

#[test]
fn a_file_that_is_written_over_is_one_picture() {
    let folder = tempfile::tempdir().unwrap();
    let mut library = window(folder.path());
    let file = folder.path().join("fox.png");
    let mut last = None;
    for seed in [1, 2] {
        let new = new_picture("fox", seed);
        let bytes = files::encode(&new.picture, &new.request, None).unwrap();
        let written = files::write(&file, &bytes, files::Existing::Replace).unwrap();
        let record = library.save_picture(NewPicture {
            file: Some(written),
            ..new
        });
        last = Some(record.unwrap());
    }
    assert_eq!(library.pictures(&all()).unwrap(), [last.unwrap()]);
}

#[test]
fn drafts_settings_grids_and_tasks_are_whole_records() {
    let folder = tempfile::tempdir().unwrap();
    let mut library = window(folder.path());
    library.put_draft("create", "\"a\"").unwrap();
    library.put_draft("create", "\"a fox\"").unwrap();
    library.put_draft("чат:1", "{}").unwrap();
    assert_eq!(library.drafts().unwrap()["create"], "\"a fox\"");
    assert_eq!(library.drafts().unwrap().len(), 2);
    let value = serde_json::json!({"theme": "dark", "scale": 1.25});
    library.put_setting("view", &serde_json::json!(1)).unwrap();
    library.put_setting("view", &value).unwrap();
    assert_eq!(library.settings().unwrap()["view"], value);
    let mut grid = GridRecord {
        id: GridId::new(),
        title: "foxes".into(),
        spec: value,
        created: 1,
        changed: 1,
    };
    library.put_grid(&grid).unwrap();
    let older = GridRecord {
        id: GridId::new(),
        changed: 0,
        ..grid.clone()
    };
    library.put_grid(&older).unwrap();
    grid.title = "more foxes".into();
    library.put_grid(&grid).unwrap();
    assert_eq!(library.grids().unwrap(), [grid.clone(), older.clone()]);
    library.delete_grid(older.id).unwrap();
    assert_eq!(library.grids().unwrap(), [grid]);

    let mut job = task(library.session(), 2);
    job.target = Target::File {
        path: "fox.png".into(),
    };
    let first = task(library.session(), 1);
    library.put_task(&job).unwrap();
    library.put_task(&first).unwrap();
    library
        .put_checkpoint(job.id, b"state", Some((3, 12)))
        .unwrap();
    job.state = TaskState::Running;
    job.progress = Some((4, 12));
    library.put_task(&job).unwrap();
    job.checkpoint = Some(b"state".to_vec());
    assert_eq!(
        library.tasks().unwrap(),
        [(first.clone(), true), (job.clone(), true)]
    );
    library.put_checkpoint(job.id, b"", None).unwrap();
    assert_eq!(library.tasks().unwrap()[1].0.checkpoint, None);
    library.remove_task(first.id).unwrap();
    // Late news of a job that is done.
    library.put_checkpoint(first.id, b"late", None).unwrap();
    assert_eq!(library.tasks().unwrap().len(), 1);
}

#[test]
fn conversations_and_what_is_found_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut library = window(folder.path());
    let mut old = conversation("Storms at sea", 1);
    let new = conversation("Лисы", 2);
    let pinned = Conversation {
        pinned: true,
        ..conversation("Notes", 0)
    };
    for one in [&old, &new, &pinned] {
        library.put_conversation(one).unwrap();
    }
    assert_eq!(
        library.conversations().unwrap(),
        [pinned.clone(), new.clone(), old.clone()]
    );
    old.changed = 3;
    old.title = "Storms".into();
    library.put_conversation(&old).unwrap();
    assert_eq!(
        library.conversations().unwrap(),
        [pinned, old.clone(), new.clone()]
    );
    let mut answer = message(old.id, "A storm is 50% wind: \"huí\"", MessageState::Done);
    answer.parent = Some(MessageId(1));
    let other = message(new.id, "Рыжая лиса в шторм, 狐の絵", MessageState::Done);
    let writing = message(new.id, "storm, half an", MessageState::Writing);
    for one in [&answer, &other, &writing] {
        library.put_message(one).unwrap();
    }
    assert_eq!(library.messages(old.id).unwrap(), [answer.clone()]);
    assert_eq!(
        library.messages(new.id).unwrap(),
        [other.clone(), writing.clone()]
    );
    let found = |text: &str| -> Vec<Option<MessageId>> {
        let found = library.search_conversations(text, 10).unwrap();
        found.into_iter().map(|found| found.message).collect()
    };
    assert_eq!(found("STORM"), [None, Some(answer.id)]);
    assert_eq!(found("шторм"), [Some(other.id)]);
    assert_eq!(found("ЛИС"), [None, Some(other.id)]);
    assert_eq!(found("狐"), [Some(other.id)]);
    // Words too short for the index, in other letters and cases.
    assert_eq!(found("РЫ"), [Some(other.id)]);
    assert_eq!(found("狐の"), [Some(other.id)]);
    assert_eq!(found("50%"), [Some(answer.id)]);
    assert_eq!(found("0%"), [Some(answer.id)]);
    assert_eq!(found("%%"), []);
    assert_eq!(found("\"huí\""), [Some(answer.id)]);
    assert_eq!(found("wind storm"), [Some(answer.id)]);
    for nothing in [
        "",
        "  ",
        "AND",
        "wind OR шторм",
        "NEAR(",
        "text:storm",
        "\0",
        "sto\0rm x",
        "*",
    ] {
        assert_eq!(found(nothing), [], "{nothing}");
    }
    let excerpt = &library.search_conversations("wind", 10).unwrap()[0].excerpt;
    assert_eq!(excerpt, "A storm is 50% wind: \"huí\"");
    // One that says it again and again does not hide the others.
    let talkative = conversation("Echo", 9);
    library.put_conversation(&talkative).unwrap();
    for _ in 0..20 {
        let again = message(talkative.id, "the wind, the wind", MessageState::Done);
        library.put_message(&again).unwrap();
    }
    let hits = library.search_conversations("wind", 10).unwrap();
    let of = |id| hits.iter().filter(|hit| hit.conversation == id).count();
    assert_eq!((of(talkative.id), of(old.id)), (3, 1));
    library.delete_conversation(talkative.id).unwrap();
    // Edited text is found by its new words only.
    answer.text = "calm".into();
    library.put_message(&answer).unwrap();
    let ids = |library: &Library, text: &str| {
        let found = library.search_conversations(text, 10).unwrap();
        found
            .iter()
            .filter_map(|found| found.message)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&library, "wind"), []);
    assert_eq!(ids(&library, "calm"), [answer.id]);
    library.delete_conversation(old.id).unwrap();
    assert_eq!(ids(&library, "calm"), []);
    assert_eq!(library.messages(old.id).unwrap(), []);
    assert_eq!(library.conversations().unwrap().len(), 2);
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_unicode_come_back_as_they_were() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().unwrap();
    let strange = folder
        .path()
        .join(std::ffi::OsStr::from_bytes(b"fox-\xff\xfe.png"));
    let mut library = window(folder.path());
    let new = new_picture("a fox", 1);
    let bytes = files::encode(&new.picture, &new.request, None).unwrap();
    let written = files::write(&strange, &bytes, files::Existing::Keep).unwrap();
    let saved = library
        .save_picture(NewPicture {
            file: Some(written),
            ..new
        })
        .unwrap();
    let read = library.picture(saved.id).unwrap().unwrap();
    assert_eq!(read.path, strange.canonicalize().unwrap());
    assert!(read.path.is_file());
}

/// The library's folder may be moved as a whole.
#[test]
fn pictures_are_found_where_the_folder_is() {
    let outer = tempfile::tempdir().unwrap();
    let (from, to) = (outer.path().join("a"), outer.path().join("b"));
    let mut library = window(&from);
    library.save_picture(new_picture("a fox", 1)).unwrap();
    drop(library);
    std::fs::rename(&from, &to).unwrap();
    let found = Library::open_read_only(&to)
        .unwrap()
        .pictures(&all())
        .unwrap();
    assert!(found[0].path.starts_with(to.canonicalize().unwrap()) && found[0].path.is_file());
}

#[test]
fn tokens_of_answers_stay_until_nobody_can_want_them_back() {
    use crate::library::trace::Trace;
    use diptych_inference::engine::TokenEvent;
    let folder = tempfile::tempdir().unwrap();
    let mut library = window(folder.path());
    let chat = conversation("Foxes", 1);
    library.put_conversation(&chat).unwrap();
    let said = message(chat.id, "a fox", MessageState::Done);
    library.put_message(&said).unwrap();
    assert_eq!(library.tokens(said.id).unwrap(), None);
    let mut trace = Trace::default();
    for text in ["a ", "fox"] {
        trace.push(&TokenEvent {
            id: 1,
            piece: text.into(),
            text: text.into(),
            probability: 0.5,
            alternatives: Vec::new(),
        });
        library.put_tokens(said.id, &trace).unwrap();
    }
    assert_eq!(library.tokens(said.id).unwrap(), Some(trace.clone()));
    // The deletion may be taken back.
    library.delete_messages(&[said.id]).unwrap();
    assert_eq!(library.tokens(said.id).unwrap(), Some(trace.clone()));
    let second = window(folder.path());
    let mut third = window(folder.path());
    third.adopt().unwrap();
    assert_eq!(third.tokens(said.id).unwrap(), Some(trace));
    drop((library, second));
    third.adopt().unwrap();
    assert_eq!(third.tokens(said.id).unwrap(), None);
    // What is damaged is no error.
    third.put_message(&said).unwrap();
    third
        .database()
        .execute(
            "INSERT INTO message_tokens VALUES (?1, x'0109')",
            [said.id.0],
        )
        .unwrap();
    assert_eq!(third.tokens(said.id).unwrap(), None);
}

#[test]
fn presets_are_kept_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut library = window(folder.path());
    let settings = conversation("", 1);
    let mut preset = ChatPreset {
        id: PresetId::new(),
        name: "wild".into(),
        model: None,
        system: "be wild".into(),
        sampling: settings.sampling,
        max_tokens: 7,
    };
    library.put_preset(&preset).unwrap();
    preset.name = "Wilder".into();
    library.put_preset(&preset).unwrap();
    let calm = ChatPreset {
        id: PresetId::new(),
        name: "calm".into(),
        ..preset.clone()
    };
    library.put_preset(&calm).unwrap();
    assert_eq!(library.presets().unwrap(), [calm.clone(), preset.clone()]);
    library.delete_preset(calm.id).unwrap();
    let restored = library.adopt().unwrap();
    assert_eq!(restored.presets, [preset]);
}
