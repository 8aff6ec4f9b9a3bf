//! Which words of a picture matter, found out in the window.

use diptych::studio::create::{CreateCommand, MatterCommand};
use diptych::studio::queue::Stage;
use diptych_inference::engine::ModelRef;

use super::{Bench, Setup, draw, form, form_mut, pictures, quick};

fn inquiry(bench: &Bench) -> diptych::studio::create::matter::Inquiry {
    let matter = &bench.harness.state().studio().create.matter;
    matter.inquiry.clone().unwrap()
}

fn ask(bench: &mut Bench) {
    bench.click("Use settings");
    bench.click("Which words matter…");
}

#[test]
fn words_that_do_nothing_are_told_apart_and_left_out() {
    let mut bench = quick();
    // A tag of no weight does nothing.
    draw(&mut bench, "a red fox <lora:none:0>");
    let before = pictures(&bench);
    ask(&mut bench);
    assert!(bench.has("6 pictures, about "), "{:?}", bench.labels());
    assert!(bench.has("fox: Not known yet"));
    bench.click("Find out");
    assert!(bench.harness.state().studio().create.matter.is_busy());
    bench.wait_label("next to nothing.").unwrap();
    bench.wait_idle().unwrap();
    let asked = inquiry(&bench);
    assert!(asked.is_done() && asked.trouble.is_none());
    let told = "<lora:none:0>: next to nothing";
    assert!(bench.has(told), "{:?}", bench.labels());
    assert_eq!(asked.parts[3].share, Some(0.0));
    let fox = asked.parts[2].share.unwrap();
    assert!(fox > 0.02, "{fox}");
    assert!(bench.has(&format!("fox: {:.0} %", fox * 100.0)));
    // Nothing of it is among the pictures, nor left in the queue.
    assert_eq!(pictures(&bench), before);
    assert!(
        bench
            .harness
            .state()
            .studio()
            .house
            .queue
            .tasks()
            .is_empty()
    );
    // It is one.
    assert!(!bench.has("Leave them out"));
    bench.click("Leave it out");
    let left = form(&bench).prompt;
    assert_eq!(Some(left.clone()), asked.shortened());
    assert!(left.contains("fox") && !left.contains("lora"), "{left}");
    assert!(!bench.has("Which words matter"));
    // Asked again, it is known.
    ask(&mut bench);
    assert!(bench.has(told));
}

#[test]
fn it_can_be_stopped_gone_on_with_and_closed_meanwhile() {
    let mut bench = quick();
    form_mut(&mut bench).steps = Some(40);
    draw(&mut bench, "a red fox, flat style, blue background");
    ask(&mut bench);
    bench.click("Find out");
    bench
        .wait("two pictures", |bench| inquiry(bench).drawn >= 2)
        .unwrap();
    bench.click("Stop finding out");
    bench.wait_label("Stopped.").unwrap();
    bench.wait_idle().unwrap();
    let drawn = inquiry(&bench).drawn;
    assert!((2..5).contains(&drawn), "{drawn}");
    assert!(
        bench
            .harness
            .state()
            .studio()
            .house
            .queue
            .tasks()
            .is_empty()
    );
    bench.click("Go on");
    bench.apply(CreateCommand::Matter(MatterCommand::Close));
    bench.wait_label("It is known which words matter").unwrap();
    bench.wait_idle().unwrap();
    assert!(inquiry(&bench).is_done());
    // The picture of one word has no parts, and that of a model that is gone cannot be drawn.
    draw(&mut bench, "fox");
    let studio = bench.harness.state().studio();
    let command = CreateCommand::Matter(MatterCommand::Ask).into();
    let reason = studio.available(&command).unwrap_err();
    assert!(reason.contains("single word"), "{reason}");
    form_mut(&mut bench).model = Some(ModelRef::named("gone"));
    bench.harness.run_steps(2);
    let tasks = bench.harness.state().studio().house.queue.tasks();
    assert!(
        tasks
            .iter()
            .all(|task| !matches!(task.stage, Stage::Failed(_)))
    );
}

/// Pictures of the dialog and of a ControlNet for several kinds, to be looked at: `DIPTYCH_SHOTS=folder cargo test --release --workspace --test craft
/// matter_shots -- --ignored`.
#[test]
#[ignore = "draws pictures of the window into the folder named by DIPTYCH_SHOTS"]
fn matter_shots() {
    let folder = std::env::var_os("DIPTYCH_SHOTS").expect("DIPTYCH_SHOTS names a folder");
    let folder = std::path::PathBuf::from(folder);
    for (name, theme, size) in [
        ("dark", egui::Theme::Dark, [1024.0, 640.0]),
        ("light", egui::Theme::Light, [1280.0, 800.0]),
    ] {
        let setup = Setup {
            theme,
            size,
            ..Setup::default()
        };
        let mut bench = super::prepare(Bench::with(setup).unwrap());
        let shot = |bench: &mut Bench, what: &str| {
            bench.harness.run_steps(8);
            let file = folder.join(format!("matter-{name}-{what}.png"));
            bench.screenshot(&file).unwrap();
        };
        form_mut(&mut bench).steps = Some(12);
        draw(
            &mut bench,
            "a red fox, 3d style, blue background, a phrase that is far too long for any row of any dialog, best quality",
        );
        ask(&mut bench);
        shot(&mut bench, "1-asked");
        bench.click("Find out");
        bench
            .wait("some", |bench| inquiry(bench).drawn >= 4)
            .unwrap();
        shot(&mut bench, "2-running");
        bench.wait_idle().unwrap();
        shot(&mut bench, "3-known");
        bench.apply(CreateCommand::Matter(MatterCommand::Close));
        super::union::shots(&mut bench, &|bench, what| shot(bench, what));
    }
}
