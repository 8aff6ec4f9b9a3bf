//! The whole studio, killed while a person types, draws and chats in it: what was typed a second ago, what is shown as
//! saved, and the queue are there again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diptych::library::Library;
use diptych::library::records::{MessageState, PictureId};
use diptych::studio::chat::ChatCommand;
use diptych::studio::create::{CreateCommand, SeedMode};
use diptych::studio::{Studio, StudioOptions};
use diptych_inference::engine::{DeviceChoice, Request};
use diptych_tests::repository;
use rand::Rng as _;

use crate::child::{self, say};
use crate::ledger::check_index;
use crate::{generator, kills};

/// Text as old as this must be there again.
const OLD: Duration = Duration::from_secs(1);
/// How often a letter is typed.
const LETTER: Duration = Duration::from_millis(40);

/// The child: types, draws and chats until it is killed. Says `typed N`, `saved ID`, `queued PROMPT`.
pub fn work(words: &[String]) {
    let mut studio = Studio::open(StudioOptions {
        data: words[0].clone().into(),
        assets: repository("assets"),
        device: Some(DeviceChoice::Cpu),
        look_elsewhere: false,
        go_on: true,
        wake: Arc::new(|| {}),
    });
    let deadline = Instant::now() + Duration::from_secs(60);
    while !(studio.house.shelf.ready && studio.house.is_open()) {
        studio.tick();
        assert!(Instant::now() < deadline, "the studio does not open");
        std::thread::sleep(Duration::from_millis(2));
    }
    say("open");
    let mut letters: u64 = words[1].parse().unwrap();
    let mut last = Instant::now();
    let mut said: BTreeMap<PictureId, ()> = BTreeMap::new();
    loop {
        studio.tick();
        if last.elapsed() >= LETTER {
            last = Instant::now();
            letters += 1;
            studio.create.form.prompt = format!("picture {letters}");
            studio.chat.composer().clear();
            studio
                .chat
                .composer()
                .push_str(&format!("message {letters}"));
            say(&format!("typed {letters}"));
            if letters.is_multiple_of(15) && studio.house.queue.live().count() < 6 {
                studio.create.form.steps = Some(3);
                studio.create.form.seed_mode = SeedMode::Locked;
                studio.create.form.seed = letters;
                studio.apply(CreateCommand::Generate { front: false }.into());
                studio.apply(ChatCommand::Ask(format!("question {letters}")).into());
                // They are kept once all that was handed over before is.
                let flushed = studio.house.flush(Duration::from_secs(20));
                assert!(flushed, "the library takes nothing");
                say(&format!("queued {letters}"));
            }
        }
        for item in studio.gallery.items().iter().filter(|item| item.is_saved()) {
            if said.insert(item.record.id, ()).is_none() {
                say(&format!(
                    "saved {} {}",
                    item.record.id, item.record.request.seed
                ));
            }
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Looks at what a killed studio left, as the next one would.
fn check(library: &Path, typed: u64, saved: &[(i64, u64)], queued: &[u64]) {
    check_index(library);
    let mut window = Library::open(library, "window").unwrap();
    let restored = window.adopt().unwrap();
    let draft = restored.drafts.get("create").map_or("", String::as_str);
    let form: serde_json::Value = serde_json::from_str(draft).unwrap_or_default();
    let prompt = form["prompt"].as_str().unwrap_or_default();
    let there: u64 = prompt
        .strip_prefix("picture ")
        .map_or(0, |number| number.parse().unwrap());
    assert!(
        there >= typed,
        "typed {typed} a second before, there is '{prompt}'"
    );
    for (id, seed) in saved {
        let record = window.picture(PictureId(*id)).unwrap();
        let record = record.unwrap_or_else(|| panic!("picture {id} is lost"));
        assert_eq!(record.request.seed, *seed);
        image::open(&record.path).unwrap();
    }
    let drawn = window
        .pictures(&diptych::library::PictureQuery::default())
        .unwrap();
    for number in queued {
        let waits = restored.tasks.iter().any(
            |task| matches!(&task.request, Request::Image(request) if request.seed == *number),
        );
        let done = drawn.iter().any(|record| record.request.seed == *number);
        assert!(waits || done, "the order {number} is lost");
        assert!(!(waits && done), "the order {number} would be drawn twice");
    }
    for conversation in &restored.conversations {
        for message in window.messages(conversation.id).unwrap() {
            assert_ne!(message.state, MessageState::Writing);
        }
    }
}

#[test]
fn a_studio_that_is_killed_has_what_was_typed_and_drawn_and_ordered() {
    let mut random = generator("studio");
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("library");
    let (mut saved, mut queued) = (Vec::new(), Vec::new());
    // Each takes a second or two: fewer than of the others.
    for round in 0..kills().div_ceil(4) {
        let first = (round * 1_000_000).to_string();
        let words = [library.to_str().unwrap(), &first];
        let mut studio = child::start("studio", &words, folder.path());
        studio.wait_for("open");
        let begun = Instant::now();
        let time = Duration::from_millis(random.random_range(200..2500));
        let mut typed = Vec::new();
        while begun.elapsed() < time {
            let before = studio.said.len();
            studio.run_for(Duration::from_millis(20));
            for line in &studio.said[before..] {
                if let Some(number) = line.strip_prefix("typed ") {
                    typed.push((Instant::now(), number.parse::<u64>().unwrap()));
                }
            }
        }
        let killed = Instant::now();
        let (said, ended) = studio.kill();
        assert!(!ended, "round {round}: it ended by itself: {said:?}");
        let number = |line: &str, place: usize| -> i64 {
            line.split(' ').nth(place).unwrap().parse().unwrap()
        };
        for line in &said {
            if line.starts_with("saved ") {
                saved.push((number(line, 1), number(line, 2) as u64));
            } else if line.starts_with("queued ") {
                queued.push(number(line, 1) as u64);
            }
        }
        let old = typed
            .iter()
            .rfind(|(at, _)| killed.duration_since(*at) >= OLD)
            .map_or(0, |(_, number)| *number);
        check(&library, old, &saved, &queued);
    }
}
