//! Rail, drawers, queue, notices, keys; and that what was done is there again after a restart.

use diptych::studio::create::{CreateCommand, SeedMode};
use diptych::studio::queue::Stage;
use diptych::studio::settings::SettingsCommand;
use diptych::studio::view::{Drawer, Overlay, Workspace};
use diptych_tests::window::{Bench, Setup};
use egui::{Key, Modifiers};

#[test]
fn a_picture_is_drawn_kept_and_there_again() {
    let mut bench = Bench::open().unwrap();
    bench.type_into("Prompt", "a red fox, flat style");
    bench.press(Modifiers::COMMAND, Key::Enter);
    bench.wait_idle().unwrap();
    let gallery = &bench.harness.state().studio().gallery;
    assert_eq!(gallery.items().len(), 1);
    let record = gallery.items()[0].record.clone();
    assert!(record.path.is_file(), "{record:?}");
    let data = bench.data().to_owned();
    let folder = bench.close();
    let bench = Bench::with(Setup {
        data: Some(data),
        ..Setup::default()
    })
    .unwrap();
    let studio = bench.harness.state().studio();
    assert_eq!(studio.gallery.items()[0].record.request, record.request);
    assert_eq!(studio.create.form.prompt, "a red fox, flat style");
    drop(bench);
    drop(folder);
}

/// Orders a picture that takes a while.
fn order(bench: &mut Bench, prompt: &str, steps: u32, seed: u64) {
    let studio = bench.harness.state_mut().studio_mut();
    studio.create.form.prompt = prompt.to_owned();
    studio.create.form.steps = Some(steps);
    studio.create.form.seed = seed;
    studio.create.form.seed_mode = SeedMode::Locked;
    studio.apply(CreateCommand::Generate { front: false }.into());
    bench.harness.run_steps(2);
}

fn titles(bench: &Bench) -> Vec<String> {
    let queue = &bench.harness.state().studio().house.queue;
    queue
        .tasks()
        .iter()
        .map(|task| task.title().to_owned())
        .collect()
}

#[test]
fn the_queue_is_paused_moved_and_cancelled_in_its_strip() {
    let mut bench = Bench::open().unwrap();
    bench.press(Modifiers::COMMAND, Key::J);
    assert!(bench.has("Nothing runs and nothing waits"));
    for (number, prompt) in ["a cat", "a dog", "a house"].iter().enumerate() {
        order(&mut bench, prompt, 400, number as u64);
    }
    bench.wait_label("Step ").unwrap();
    assert_eq!(titles(&bench), ["a cat", "a dog", "a house"]);
    bench.click("Move up: a house");
    assert_eq!(titles(&bench), ["a cat", "a house", "a dog"]);
    bench.click("Pause: a cat");
    bench.wait_label("Resume: a cat").unwrap();
    // The next one runs meanwhile.
    bench
        .wait("the house to be drawn", |bench| {
            let queue = &bench.harness.state().studio().house.queue;
            queue.tasks()[1].progress.done > 0
        })
        .unwrap();
    bench.click("Remove: a dog");
    bench
        .wait("the dog to go", |bench| titles(bench).len() == 2)
        .unwrap();
    bench.click("Stop: a house");
    bench
        .wait("the house to go", |bench| titles(bench) == ["a cat"])
        .unwrap();
    // A picture that was stopped half way is kept.
    bench
        .wait("the half picture", |bench| {
            let gallery = &bench.harness.state().studio().gallery;
            gallery.items().first().is_some_and(|item| item.is_saved())
        })
        .unwrap();
    let item = bench.harness.state().studio().gallery.items()[0].clone();
    assert_eq!(item.record.request.prompt, "a house");
    assert!(
        item.record
            .steps_done
            .is_some_and(|done| done > 0 && done < 400)
    );
    bench.click("Stop all");
    bench.wait_label("Nothing runs and nothing waits").unwrap();
}

#[test]
fn a_job_that_was_cut_off_goes_on_from_its_last_step_to_the_same_picture() {
    let mut whole = Bench::open().unwrap();
    order(&mut whole, "a red fox", 120, 7);
    whole.wait_idle().unwrap();
    let expected = whole.harness.state().studio().gallery.items()[0]
        .record
        .clone();
    let expected = image::open(expected.path).unwrap().to_rgb8();

    let mut bench = Bench::open().unwrap();
    order(&mut bench, "a red fox", 120, 7);
    bench
        .wait("the middle of the picture", |bench| {
            let queue = &bench.harness.state().studio().house.queue;
            queue
                .tasks()
                .first()
                .is_some_and(|task| task.progress.done > 60)
        })
        .unwrap();
    let data = bench.data().to_owned();
    let folder = bench.close();
    let mut bench = Bench::with(Setup {
        data: Some(data),
        ..Setup::default()
    })
    .unwrap();
    bench.wait_label("A job is left from last time").unwrap();
    {
        let queue = &bench.harness.state().studio().house.queue;
        assert_eq!(queue.tasks()[0].stage, Stage::Interrupted);
        assert!(queue.tasks()[0].progress.done > 0, "it begins anew");
    }
    bench.click("Resume");
    bench
        .wait("the picture", |bench| {
            let gallery = &bench.harness.state().studio().gallery;
            gallery.items().first().is_some_and(|item| item.is_saved())
        })
        .unwrap();
    let drawn = bench.harness.state().studio().gallery.items()[0]
        .record
        .clone();
    assert_eq!(drawn.steps_done, None);
    assert_eq!(image::open(drawn.path).unwrap().to_rgb8(), expected);
    assert!(titles(&bench).is_empty());
    drop(bench);
    drop(folder);
}

#[test]
fn drawers_and_overlays_open_and_close_with_keys() {
    let mut bench = Bench::open().unwrap();
    let view = |bench: &Bench| bench.harness.state().studio().view.clone();
    bench.press(Modifiers::COMMAND, Key::Comma);
    assert_eq!(view(&bench).drawer, Some(Drawer::Settings));
    bench.press(Modifiers::COMMAND, Key::Comma);
    assert_eq!(view(&bench).drawer, None);
    bench.press(Modifiers::COMMAND, Key::K);
    assert_eq!(view(&bench).overlay, Some(Overlay::Palette));
    bench.press(Modifiers::NONE, Key::Escape);
    assert_eq!(view(&bench).overlay, None);
    for workspace in Workspace::ALL {
        bench.click(workspace.label());
        assert_eq!(view(&bench).workspace, workspace);
    }
    bench.press(Modifiers::COMMAND | Modifiers::ALT, Key::Num1);
    assert_eq!(view(&bench).workspace, Workspace::Create);
}

#[test]
fn settings_are_kept_and_a_new_device_takes_the_jobs_over() {
    let mut bench = Bench::open().unwrap();
    order(&mut bench, "a cat", 300, 3);
    bench
        .wait("some steps", |bench| {
            let queue = &bench.harness.state().studio().house.queue;
            queue
                .tasks()
                .first()
                .is_some_and(|task| task.progress.done > 5)
        })
        .unwrap();
    let studio = bench.harness.state_mut().studio_mut();
    studio.apply(SettingsCommand::Scale(1.25).into());
    studio.apply(SettingsCommand::MemoryBudget(Some(1 << 30)).into());
    bench
        .wait("the picture from the new engine", |bench| {
            let studio = bench.harness.state().studio();
            studio
                .gallery
                .items()
                .first()
                .is_some_and(|item| item.is_saved())
        })
        .unwrap();
    let item = bench.harness.state().studio().gallery.items()[0].clone();
    assert_eq!(item.record.steps_done, None, "it was drawn to its end");
    let data = bench.data().to_owned();
    let folder = bench.close();
    let bench = Bench::with(Setup {
        data: Some(data),
        ..Setup::default()
    })
    .unwrap();
    let settings = &bench.harness.state().studio().house.settings;
    assert_eq!(settings.scale, 1.25);
    assert_eq!(settings.memory_budget, Some(1 << 30));
    drop(bench);
    drop(folder);
}
