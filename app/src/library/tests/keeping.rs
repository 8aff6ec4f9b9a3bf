//! Sessions: what the dead leave, and who takes it.

use super::*;

#[test]
fn what_a_killed_window_leaves_is_taken_over_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = window(folder.path());
    first.adopt().unwrap();
    first.put_draft("create", "\"a fox\"").unwrap();
    let chat = conversation("Foxes", 1);
    first.put_conversation(&chat).unwrap();
    let half = message(chat.id, "half an ans", MessageState::Writing);
    first.put_message(&half).unwrap();
    let mut running = task(first.session(), 1);
    running.state = TaskState::Running;
    let mut failed = task(first.session(), 2);
    failed.state = TaskState::Failed;
    for one in [&failed, &running] {
        first.put_task(one).unwrap();
    }
    first
        .put_checkpoint(running.id, b"state", Some((1, 9)))
        .unwrap();

    // Nothing is taken from the living.
    let mut beside = window(folder.path());
    let restored = beside.adopt().unwrap();
    assert!(
        restored.drafts.is_empty() && restored.tasks.is_empty() && restored.interrupted.is_empty()
    );
    assert_eq!(restored.conversations.len(), 1);
    let seen: Vec<bool> = beside
        .tasks()
        .unwrap()
        .iter()
        .map(|(_, alive)| *alive)
        .collect();
    assert_eq!(seen, [true, true]);
    drop(beside);

    kill(first);
    let looking = Library::open_read_only(folder.path()).unwrap();
    assert!(looking.tasks().unwrap().iter().all(|(_, alive)| !alive));
    let mut second = window(folder.path());
    let mut third = window(folder.path());
    let restored = second.adopt().unwrap();
    assert_eq!(restored.drafts["create"], "\"a fox\"");
    assert_eq!(restored.interrupted, [(chat.id, half.id)]);
    assert_eq!(
        second.messages(chat.id).unwrap()[0].state,
        MessageState::Stopped
    );
    assert_eq!(second.messages(chat.id).unwrap()[0].text, half.text);
    assert_eq!(second.search_conversations("half", 1).unwrap().len(), 1);
    let ids: Vec<_> = restored
        .tasks
        .iter()
        .map(|task| (task.id, task.state))
        .collect();
    assert_eq!(
        ids,
        [
            (running.id, TaskState::Paused),
            (failed.id, TaskState::Failed)
        ]
    );
    assert_eq!(restored.tasks[0].checkpoint.as_deref(), Some(&b"state"[..]));
    assert_eq!(restored.tasks[0].progress, Some((1, 9)));
    assert_eq!(restored.tasks[0].session, second.session());
    let restored = third.adopt().unwrap();
    assert!(restored.drafts.is_empty() && restored.tasks.is_empty());
    // And it is the second's for good.
    kill(second);
    kill(third);
    let mut fourth = window(folder.path());
    let restored = fourth.adopt().unwrap();
    assert_eq!(restored.drafts["create"], "\"a fox\"");
    assert_eq!(restored.tasks.len(), 2);
}

#[test]
fn text_of_windows_that_were_closed_and_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut a, mut b) = (window(folder.path()), window(folder.path()));
    a.adopt().unwrap();
    b.adopt().unwrap();
    b.put_draft("create", "\"b\"").unwrap();
    a.put_draft("create", "\"a\"").unwrap();
    // A window that is killed beside another one gets its text back ...
    kill(b);
    let mut again = window(folder.path());
    assert_eq!(again.adopt().unwrap().drafts["create"], "\"b\"");
    // ... one that was closed does not, as long as there is another.
    drop(again);
    let mut beside = window(folder.path());
    assert!(beside.adopt().unwrap().drafts.is_empty());
    drop(beside);
    // Both are killed, as when the machine goes down: both come back, the one typed into last first.
    let mut again = window(folder.path());
    again.adopt().unwrap();
    again.put_draft("create", "\"c\"").unwrap();
    kill(a);
    kill(again);
    let (mut one, mut two) = (window(folder.path()), window(folder.path()));
    assert_eq!(one.adopt().unwrap().drafts["create"], "\"c\"");
    assert_eq!(two.adopt().unwrap().drafts["create"], "\"a\"");
    // Other kinds of runs take and give no text.
    drop(one);
    drop(two);
    let mut draw = Library::open(folder.path(), "draw").unwrap();
    draw.put_draft("create", "\"never\"").unwrap();
    kill(draw);
    let mut last = window(folder.path());
    let text = &last.adopt().unwrap().drafts["create"];
    assert!(text == "\"c\"" || text == "\"a\"", "{text}");
}

#[test]
fn two_that_start_together_find_the_text_of_the_one_that_was_closed() {
    let folder = tempfile::tempdir().unwrap();
    let mut closed = window(folder.path());
    closed.adopt().unwrap();
    closed.put_draft("create", "1").unwrap();
    drop(closed);
    let (mut one, mut two) = (window(folder.path()), window(folder.path()));
    let got = [one.adopt().unwrap(), two.adopt().unwrap()].map(|restored| restored.drafts.len());
    assert_eq!(got, [1, 0]);
}

#[test]
fn sessions_leave_no_rubbish() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        drop(window(folder.path()));
        kill(window(folder.path()));
    }
    let mut last = window(folder.path());
    last.adopt().unwrap();
    let rows: i64 = last
        .database()
        .query_row("SELECT count(*) FROM sessions", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 1);
    assert_eq!(sessions::all(last.folder()), [last.session()]);
}

#[test]
fn a_picture_whose_row_was_lost_is_found_and_its_job_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = window(folder.path());
    first.adopt().unwrap();
    let mut job = task(first.session(), 7);
    job.state = TaskState::Running;
    let wanted = request("a queued fox", 7);
    first.put_task(&job).unwrap();
    first.put_task(&task(first.session(), 8)).unwrap();
    let kept = first.save_picture(new_picture("kept", 1)).unwrap();
    let new = NewPicture {
        request: wanted.clone(),
        ..new_picture("", 7)
    };
    let path = first.write_for_test(&new);
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    let rubbish = path.with_file_name(".diptych-abc.tmp");
    std::fs::write(&rubbish, "half").unwrap();
    for file in [&path, &rubbish] {
        let file = std::fs::File::options().append(true).open(file).unwrap();
        file.set_modified(old).unwrap();
    }
    std::fs::write(path.with_file_name("other.png"), "no picture").unwrap();
    kill(first);
    let mut second = window(folder.path());
    let restored = second.adopt().unwrap();
    let paths: Vec<_> = restored
        .pictures
        .iter()
        .map(|picture| &picture.path)
        .collect();
    assert_eq!(paths, [&path, &kept.path]);
    assert_eq!(restored.pictures[0].request, wanted);
    assert_eq!(restored.tasks.len(), 1);
    assert_ne!(restored.tasks[0].id, job.id);
    assert!(!rubbish.exists());
}

#[test]
fn a_clock_that_goes_back_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut early = window(folder.path());
    early.adopt().unwrap();
    early.put_draft("create", "1").unwrap();
    early
        .database()
        .execute_batch("UPDATE drafts SET changed = 99999999999999; UPDATE pictures SET created = 99999999999999")
        .unwrap();
    let first = early.save_picture(new_picture("first", 1)).unwrap();
    early
        .database()
        .execute(
            "UPDATE pictures SET created = 99999999999999, id = id + (1 << 60)",
            [],
        )
        .unwrap();
    kill(early);
    let mut late = window(folder.path());
    late.put_draft("create", "2").unwrap();
    late.save_picture(new_picture("second", 2)).unwrap();
    kill(late);
    let restored = window(folder.path()).adopt().unwrap();
    assert_eq!(restored.drafts["create"], "2");
    let seeds: Vec<u64> = restored
        .pictures
        .iter()
        .map(|picture| picture.request.seed)
        .collect();
    assert_eq!(seeds, [2, first.request.seed]);
    let numbers: Vec<PictureId> = (0..1000).map(|_| PictureId::new()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
}
