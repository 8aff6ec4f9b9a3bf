//! Whether a picture can be made again, found out in the window.

use diptych::library::traces::TRACES;
use diptych::studio::create::AgainCommand;
use diptych_inference::formats::trace::{StepFacts, TraceHead, TraceWriter};

use super::*;

const CHECK: &str = "Check that it can be made again";

fn check(bench: &mut Bench, button: &str, said: &str) {
    reach(bench, button);
    bench.wait_label(said).unwrap();
    bench.wait_idle().unwrap();
}

fn nothing_is_left(bench: &Bench, pictures_before: usize) {
    assert_eq!(pictures(bench), pictures_before);
    let studio = bench.harness.state().studio();
    assert!(studio.house.queue.tasks().is_empty());
    assert!(studio.create.again.running().is_none());
}

#[test]
fn a_picture_is_made_again_step_by_step() {
    let mut bench = quick();
    form_mut(&mut bench).keep_steps = true;
    draw(&mut bench, "a red fox");
    bench.apply(CreateCommand::Details);
    check(&mut bench, CHECK, "Identical");
    assert!(
        bench.has("Every step is the same, and so is the picture"),
        "{:?}",
        bench.labels()
    );
    nothing_is_left(&bench, 1);
    let kept = std::fs::read_dir(bench.data().join(TRACES))
        .unwrap()
        .count();
    assert_eq!(kept, 1, "the steps that were drawn anew are not kept");
    // Somebody painted over the file.
    let item = newest(&bench);
    let mut changed = pixels(&item);
    let pixel = changed.get_pixel_mut(3, 3);
    pixel.0[0] ^= 0x40;
    changed.save(&item.record.path).unwrap();
    check(
        &mut bench,
        "Check once more",
        "The steps are the same, the picture is not",
    );
    // The steps were of another device, and another way from the third on.
    let trace = Trace::open(&trace_path(bench.data(), item.record.id)).unwrap();
    let head = TraceHead {
        device: "Another machine".to_owned(),
        ..trace.head().clone()
    };
    let steps: Vec<StepFacts> = trace.steps().cloned().collect();
    let states: Vec<Vec<u8>> = steps
        .iter()
        .map(|step| trace.state(step.index).unwrap())
        .collect();
    drop(trace);
    let path = trace_path(bench.data(), item.record.id);
    let mut writer = TraceWriter::create(&path, &head).unwrap();
    for (step, state) in steps.into_iter().zip(states) {
        let sha256 = match step.index {
            0..3 => step.sha256.clone(),
            _ => "0".repeat(64),
        };
        let facts = StepFacts { sha256, ..step };
        writer.step(&facts, &state, &[]).unwrap();
    }
    drop(writer);
    check(&mut bench, "Check once more", "Differs from step 3");
    assert!(
        bench.has("Other device (Another machine; "),
        "{:?}",
        bench.labels()
    );
}

#[test]
fn without_steps_the_picture_alone_is_compared_also_from_the_library() {
    let mut bench = quick();
    draw(&mut bench, "a red fox");
    let id = newest(&bench).record.id;
    bench.apply(AppCommand::Show(diptych::studio::view::Workspace::Gallery));
    bench.apply(GalleryCommand::Pick(
        id,
        diptych::studio::gallery::Pick::Only,
    ));
    if !bench.has(CHECK) {
        bench.apply(GalleryCommand::Details);
    }
    check(&mut bench, CHECK, "Identical");
    assert!(bench.has("Its steps were not kept"), "{:?}", bench.labels());
    nothing_is_left(&bench, 1);
}

#[test]
fn a_check_can_be_stopped_and_is_refused_where_it_cannot_be_done() {
    let mut bench = quick();
    form_mut(&mut bench).steps = Some(60);
    draw(&mut bench, "a red fox");
    bench.apply(CreateCommand::Again(AgainCommand::Check));
    bench.wait_label("Drawing it again").unwrap();
    let studio = bench.harness.state().studio();
    let again = CreateCommand::Again(AgainCommand::Check).into();
    let reason = studio.available(&again).unwrap_err();
    assert!(reason.contains("being checked"), "{reason}");
    reach(&mut bench, "Stop the check");
    bench.wait_label("The check was stopped").unwrap();
    bench.wait_idle().unwrap();
    nothing_is_left(&bench, 1);
    // One that was stopped itself is no picture to be made again.
    form_mut(&mut bench).prompt = "a blue fox".to_owned();
    bench.harness.run_steps(2);
    bench.click("Generate");
    bench
        .wait("some steps", |bench| {
            let queue = &bench.harness.state().studio().house.queue;
            queue.tasks().iter().any(|task| task.progress.done > 2)
        })
        .unwrap();
    bench.apply(CreateCommand::Stop);
    bench.wait_idle().unwrap();
    let studio = bench.harness.state().studio();
    let reason = studio.available(&again).unwrap_err();
    assert!(reason.contains("stopped before its end"), "{reason}");
}
