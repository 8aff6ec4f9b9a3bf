//! A ControlNet for several kinds of pictures (ControlNet Union): it is recognised by what it is, and told which kind it sees.

use diptych::recall::Part;
use diptych::studio::create::{ControlCommand, CreateCommand};
use diptych_inference::engine::{ControlKind, ModelRef, Preprocessor, Request};
use diptych_inference::formats::picture::inspect_picture;
use diptych_tests::fixture;
use egui::{Key, Modifiers};

use super::{AppCommand, ModelsCommand};
use super::{Bench, draw, form, form_mut, newest, quick, reach, reopened, request};

const NET: &str = "control-union-file";

fn kind_label() -> String {
    format!("Kind of picture for {NET}")
}

/// Chooses a kind from the list.
fn choose(bench: &mut Bench, kind: &str) {
    reach(bench, &kind_label());
    bench.click(kind);
}

/// With the tiny SDXL, and a picture to guide by.
fn prepared() -> Bench {
    let mut bench = quick();
    draw(&mut bench, "a rocket");
    bench.apply(ModelsCommand::Add(fixture("jobs/tiny-sdxl")));
    bench.wait_idle().unwrap();
    bench.apply(CreateCommand::UseModel(Some(ModelRef::named("tiny-sdxl"))));
    form_mut(&mut bench).size = Some((64, 64));
    reach(&mut bench, "More settings");
    bench
        .dialogs
        .answer(fixture(&format!("jobs/{NET}.safetensors")));
    reach(&mut bench, "Add a ControlNet");
    bench.click("Open a file…");
    bench
        .wait_label(&format!("No picture for {NET} yet"))
        .unwrap();
    bench.wait_idle().unwrap();
    reach(&mut bench, &format!("Choose a picture for {NET}"));
    bench.click("The picture that is shown");
    bench
        .wait_label(&format!("Picture for {NET}: a rocket"))
        .unwrap();
    bench.wait_idle().unwrap();
    bench
}

#[test]
fn a_union_is_told_the_kind_of_its_picture() {
    let mut bench = prepared();
    form_mut(&mut bench).prompt = "a rocket".into();
    bench.harness.run_steps(3);
    // Nothing is guessed.
    let asked = format!("'{NET}': say what kind of picture it sees");
    assert!(bench.has(&asked), "{:?}", bench.labels());
    bench.press(Modifiers::COMMAND, Key::Enter);
    let studio = bench.harness.state().studio();
    assert!(studio.house.queue.tasks().is_empty());
    // The kinds that this net knows, which are six of eight.
    reach(&mut bench, &kind_label());
    for known in [
        "Pose",
        "Depth",
        "Soft edges",
        "Lines",
        "Surface directions",
        "Segments",
    ] {
        assert!(bench.has(known), "{known}");
    }
    assert!(!bench.has("Repaint"));
    bench.click("Depth");
    assert_eq!(form(&bench).controls[0].kind, Some(ControlKind::Depth));
    assert!(!bench.has(&asked));
    draw(&mut bench, "a rocket");
    let used = request(&bench).controls;
    assert_eq!(used[0].kind, Some(ControlKind::Depth));
    assert_eq!(used[0].preprocessor, Preprocessor::None);
    // It is told in the picture, and beside it.
    let told = inspect_picture(&newest(&bench).record.path).unwrap();
    let Ok(Request::Image(kept)) = serde_json::from_value(told.request.unwrap()) else {
        panic!("no picture's request")
    };
    assert_eq!(kept.controls[0].kind, Some(ControlKind::Depth));
    assert!(
        told.extra["ControlNet 0"].contains("Kind: depth"),
        "{:?}",
        told.extra
    );
    bench.apply(CreateCommand::Details);
    assert!(bench.has("seen as depth"), "{:?}", bench.labels());
    bench.apply(CreateCommand::Details);
    // Another kind is another picture; it can be taken back.
    let before = newest(&bench);
    choose(&mut bench, "Segments");
    draw(&mut bench, "a rocket");
    assert_eq!(
        request(&bench).controls[0].kind,
        Some(ControlKind::Segments)
    );
    assert_ne!(
        image::open(&newest(&bench).record.path).unwrap(),
        image::open(&before.record.path).unwrap()
    );
    // It comes back with the window, and with a picture's settings.
    let (mut bench, folder) = reopened(bench);
    assert_eq!(form(&bench).controls[0].kind, Some(ControlKind::Segments));
    form_mut(&mut bench).controls.clear();
    bench.apply(CreateCommand::Step(1));
    bench.apply(CreateCommand::Recall(Part::All));
    assert_eq!(form(&bench).controls[0].kind, Some(ControlKind::Depth));
    drop(folder);
}

#[test]
fn edges_for_a_union_are_lines_and_other_nets_are_asked_nothing() {
    let mut bench = prepared();
    reach(&mut bench, "Its edges");
    draw(&mut bench, "a rocket");
    let used = request(&bench).controls;
    assert!(matches!(used[0].preprocessor, Preprocessor::Canny { .. }));
    assert_eq!(
        used[0].kind, None,
        "edges that are found here need not be named"
    );
    // A net of one kind has no such choice, and what a request of another file said is forgotten.
    bench.apply(ModelsCommand::Add(fixture("jobs/control-xl")));
    bench.wait_idle().unwrap();
    let one = ModelRef::named("control-xl");
    bench.apply(CreateCommand::Control(ControlCommand::Add(one)));
    form_mut(&mut bench).controls[1].kind = Some(ControlKind::Pose);
    bench.harness.run_steps(3);
    assert_eq!(form(&bench).controls[1].kind, None);
    assert!(!bench.has("Kind of picture for control-xl"));
    assert!(bench.has(&kind_label()));
    // A kind that the net does not know is told.
    form_mut(&mut bench).controls.truncate(1);
    form_mut(&mut bench).controls[0].kind = Some(ControlKind::Tile);
    form_mut(&mut bench).prompt = "a rocket".into();
    bench.harness.run_steps(3);
    assert!(
        bench.has("it does not know pictures of the kind"),
        "{:?}",
        bench.labels()
    );
    bench.apply(AppCommand::CloseDrawer);
}

/// Pictures of its card, to be looked at.
pub(super) fn shots(bench: &mut Bench, shot: &dyn Fn(&mut Bench, &str)) {
    bench.apply(ModelsCommand::Add(fixture("jobs/tiny-sdxl")));
    bench.apply(ModelsCommand::Add(fixture(&format!(
        "jobs/{NET}.safetensors"
    ))));
    bench.wait_idle().unwrap();
    bench.apply(CreateCommand::UseModel(Some(ModelRef::named("tiny-sdxl"))));
    let net = ModelRef::named(NET);
    bench.apply(CreateCommand::Control(ControlCommand::Add(net)));
    reach(bench, &kind_label());
    shot(bench, "4-kinds");
    bench.click("Depth");
    shot(bench, "5-kind");
}
