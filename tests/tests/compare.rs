//! The workspace "Compare" in the real window with the built-in models, driven by label.

// A failing test says why by its panic.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use diptych::library::Library;
use diptych::studio::command::AppCommand;
use diptych::studio::compare::{CellAt, CompareCommand, Kind, LaneState};
use diptych::studio::view::Workspace;
use diptych_tests::window::{Bench, Setup};
use egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable as _;

fn bench(setup: Setup) -> Bench {
    let mut bench = Bench::with(setup).unwrap();
    let show = AppCommand::Show(Workspace::Compare);
    bench.harness.state_mut().studio_mut().apply(show.into());
    bench.step();
    bench
}

/// Few steps, one pass each: the cells need not be beautiful.
fn quick(bench: &mut Bench, prompts: &[&str], seeds: &[u64]) {
    let grid = &mut bench.harness.state_mut().studio_mut().compare.grid;
    let setup = &mut grid.setup;
    setup.common.steps = Some(2);
    setup.common.guidance = Some(1.0);
    setup.variants.clear();
    setup.seeds.clear();
    for prompt in prompts {
        setup.add_variant((*prompt).to_owned());
    }
    for seed in seeds {
        setup.add_seed(*seed);
    }
    bench.step();
}

fn drawn(bench: &Bench) -> usize {
    let compare = &bench.harness.state().studio().compare;
    compare
        .grid
        .cells
        .iter()
        .filter(|cell| cell.path.is_some())
        .count()
}

fn wait_drawn(bench: &mut Bench, count: usize) {
    bench
        .wait("the cells are drawn and saved", |bench| {
            let window = bench.harness.state();
            let compare = &window.studio().compare;
            let saved = compare.grid.cells.iter().filter(|cell| cell.path.is_some());
            saved.count() >= count && !compare.is_busy(&window.studio().house)
        })
        .unwrap();
    settle(bench);
}

/// A few frames for thumbnails to arrive.
fn settle(bench: &mut Bench) {
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(15));
        bench.step();
    }
}

fn shot(bench: &mut Bench, name: &str) {
    if let Some(folder) = std::env::var_os("DIPTYCH_SHOTS") {
        bench.screenshot(&Path::new(&folder).join(name)).unwrap();
    }
}

fn at(bench: &Bench, row: usize, column: usize) -> CellAt {
    let setup = &bench.harness.state().studio().compare.grid.setup;
    CellAt {
        row: setup.variants[row].id,
        column: setup.seeds[column].id,
    }
}

#[test]
fn from_nothing_to_a_comparison() {
    let mut bench = bench(Setup::default());
    shot(&mut bench, "compare-empty.png");
    assert!(bench.has("Try an example"));
    quick(&mut bench, &["", ""], &[1, 2]);
    bench.click("Try an example");
    // Early cells are there while later ones run.
    bench.wait_label("Prompt 1, seed 1: drawn").unwrap();
    wait_drawn(&mut bench, 4);
    shot(&mut bench, "compare-grid.png");

    bench.click("Prompt 1, seed 1: drawn");
    bench.step();
    assert!(!bench.harness.state().studio().compare.look.viewing);
    bench.click("Prompt 2, seed 1: drawn");
    settle(&mut bench);
    assert!(bench.harness.state().studio().compare.look.viewing);
    shot(&mut bench, "compare-viewer.png");
    bench
        .harness
        .get_by_label_contains("Comparison with a divider: a red fox, flat style");

    bench.press(Modifiers::NONE, Key::C);
    settle(&mut bench);
    bench
        .harness
        .get_by_label_contains("Side by side: a blue fox, flat style");
    shot(&mut bench, "compare-side.png");
    bench.press(Modifiers::NONE, Key::Z);
    bench.step();
    assert!(bench.harness.state().studio().compare.look.state.swapped);
    bench.press(Modifiers::NONE, Key::C);
    bench.press(Modifiers::NONE, Key::C);
    settle(&mut bench);
    bench.harness.get_by_label_contains("Difference of");
    shot(&mut bench, "compare-difference.png");
    bench.click("Mark A as the best");
    bench.press(Modifiers::NONE, Key::M);
    settle(&mut bench);
    let compare = &bench.harness.state().studio().compare;
    assert!(!compare.look.viewing);
    assert_eq!(compare.grid.winner, Some(at(&bench, 0, 0)));
    assert!(bench.has("The best: prompt 1, seed 1"));
}

#[test]
fn a_changed_prompt_draws_its_row_alone() {
    let mut bench = bench(Setup::default());
    quick(&mut bench, &["a red fox", "a cat"], &[7, 8]);
    bench.click("Draw 4 cells");
    wait_drawn(&mut bench, 4);
    let first: Vec<_> = {
        let grid = &bench.harness.state().studio().compare.grid;
        grid.cells.iter().map(|cell| (cell.at, cell.id)).collect()
    };
    bench.type_into("Prompt 2", " in snow");
    bench.step();
    bench.click("Draw 2 cells");
    bench
        .wait("the row is drawn", |bench| {
            let window = bench.harness.state();
            let compare = &window.studio().compare;
            compare.open_cells(&window.studio().house) == 0
                && !compare.is_busy(&window.studio().house)
        })
        .unwrap();
    let grid = &bench.harness.state().studio().compare.grid;
    for (at, id) in first {
        let same = grid.cell(at).unwrap().id == id;
        let row = grid
            .setup
            .variants
            .iter()
            .position(|variant| variant.id == at.row);
        assert_eq!(same, row == Some(0), "{at:?}");
    }
}

#[test]
fn a_grid_survives_and_is_listed() {
    let mut bench = bench(Setup::default());
    quick(&mut bench, &["a red fox", "a blue fox"], &[3]);
    bench.click("Draw 2 cells");
    wait_drawn(&mut bench, 2);
    bench
        .harness
        .state_mut()
        .studio_mut()
        .apply(CompareCommand::New.into());
    bench.step();
    bench.type_into("Prompt 1", "a snail");
    settle(&mut bench);
    bench.wait_idle().unwrap();
    let data = bench.data().to_owned();
    let folder = bench.close();
    let mut bench = self::bench(Setup {
        data: Some(data),
        ..Setup::default()
    });
    let compare = &bench.harness.state().studio().compare;
    assert_eq!(compare.grid.setup.variants[0].prompt, "a snail");
    let earlier = &compare.earlier[0];
    assert_eq!(earlier.shown_title(), "a red fox");
    assert_eq!(earlier.cells.len(), 2);
    let id = earlier.id;
    bench.click("Grids");
    bench.step();
    bench.click("a red fox");
    settle(&mut bench);
    assert_eq!(bench.harness.state().studio().compare.grid.id, id);
    assert!(bench.has("Prompt 2, seed 3: drawn"));
    assert_eq!(drawn(&bench), 2);
    drop(bench);
    drop(folder);
}

#[test]
fn the_grid_is_exported() {
    let mut bench = bench(Setup::default());
    quick(&mut bench, &["a red fox", "a blue fox"], &[3]);
    bench.click("Draw 2 cells");
    wait_drawn(&mut bench, 2);
    let path: PathBuf = bench.data().join("export.png");
    bench.dialogs.answer(&path);
    bench.click("Export the grid as a picture");
    bench.step();
    bench.click("Light picture…");
    bench
        .wait("the file is written", |_| path.is_file())
        .unwrap();
    bench.wait_label("The grid is saved as a picture").unwrap();
    let sheet = image::open(&path).unwrap().into_rgb8();
    assert_eq!(sheet.get_pixel(1, 1).0, [255; 3]);
}

#[test]
fn rows_and_seeds_are_added_undone_and_removed() {
    let mut bench = bench(Setup::default());
    quick(&mut bench, &["a red fox", "a cat"], &[7, 8]);
    // Changes are told apart by the time between them.
    let pause = |bench: &mut Bench| {
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(400));
            bench.step();
        }
    };
    pause(&mut bench);
    bench.click("Add a prompt");
    pause(&mut bench);
    let rows = |bench: &Bench| {
        bench
            .harness
            .state()
            .studio()
            .compare
            .grid
            .setup
            .variants
            .len()
    };
    assert_eq!(rows(&bench), 3);
    bench.press(Modifiers::COMMAND, Key::Z);
    bench.step();
    assert_eq!(rows(&bench), 2);
    bench.press(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    bench.step();
    assert_eq!(rows(&bench), 3);
    bench.click("Add a seed");
    bench.step();
    assert_eq!(
        bench
            .harness
            .state()
            .studio()
            .compare
            .grid
            .setup
            .seeds
            .len(),
        3
    );
    bench.click("More about prompt 3");
    bench.step();
    bench.click("Remove");
    bench.step();
    assert_eq!(rows(&bench), 2);
}

#[test]
fn lanes_answer_side_by_side() {
    let mut bench = bench(Setup::default());
    bench.click("Answers");
    bench.step();
    assert_eq!(
        bench.harness.state().studio().compare.look.kind,
        Kind::Answers
    );
    for lane in &mut bench.harness.state_mut().studio_mut().compare.lanes.lanes {
        lane.max_tokens = Some(24);
    }
    bench.type_into("Message to all lanes", "how would you draw a storm?");
    bench.step();
    bench.click("Ask all");
    bench
        .wait("both have answered", |bench| {
            let window = bench.harness.state();
            let lanes = &window.studio().compare.lanes.lanes;
            lanes.iter().all(|lane| lane.state == LaneState::Done)
        })
        .unwrap();
    settle(&mut bench);
    shot(&mut bench, "compare-lanes.png");
    let lanes = &bench.harness.state().studio().compare.lanes;
    assert_eq!(lanes.asked, "how would you draw a storm?");
    for lane in &lanes.lanes {
        assert!(
            !lane.answer.trim().is_empty() && lane.info.tokens > 0,
            "{lane:?}"
        );
    }
    // Where the second leaves the first is marked and said.
    let differ = lanes.lanes[0].answer != lanes.lanes[1].answer;
    assert_eq!(lanes.differences()[1].is_some(), differ);
    assert_eq!(
        bench.has("lane 1 from token") || bench.has("lane 1 continues"),
        differ
    );
    bench.click("Use as prompt in Create: lane 1");
    bench.step();
    let studio = bench.harness.state().studio();
    assert_eq!(studio.view.workspace, Workspace::Create);
    assert_eq!(
        studio.create.form.prompt,
        studio.compare.lanes.lanes[0].answer.trim()
    );
}

#[test]
fn a_chat_model_proposes_variants_as_rows() {
    let mut bench = bench(Setup::default());
    quick(&mut bench, &["a red fox, flat style"], &[1]);
    bench.click("More about prompt 1");
    bench.click("Ask for variants");
    bench
        .wait("variants", |bench| {
            let studio = bench.harness.state().studio();
            !studio.compare.is_proposing() && studio.is_idle()
        })
        .unwrap();
    settle(&mut bench);
    let prompts = |bench: &Bench| -> Vec<String> {
        let setup = &bench.harness.state().studio().compare.grid.setup;
        setup
            .variants
            .iter()
            .map(|variant| variant.prompt.clone())
            .collect()
    };
    let found = prompts(&bench);
    assert!(found.len() >= 3, "{found:?}, {:?}", bench.labels());
    assert_eq!(found[0], "a red fox, flat style");
    let mut different = found.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), found.len());
    assert!(
        found[1..].iter().all(|prompt| prompt.contains("fox")),
        "{found:?}"
    );

    // From Create, by the palette; the prompt itself becomes a row too.
    let studio = bench.harness.state_mut().studio_mut();
    studio.apply(CompareCommand::New.into());
    studio.create.form.prompt = "a blue boat".into();
    studio.apply(AppCommand::Show(Workspace::Create).into());
    bench.step();
    bench.press(Modifiers::COMMAND, Key::K);
    bench.wait_label("Find a command").unwrap();
    bench
        .harness
        .event(egui::Event::Text("Ask for variants".into()));
    bench.harness.run_steps(3);
    bench.press(Modifiers::NONE, Key::Enter);
    bench
        .wait("variants", |bench| {
            let studio = bench.harness.state().studio();
            studio.view.workspace == Workspace::Compare
                && !studio.compare.is_proposing()
                && studio.is_idle()
        })
        .unwrap();
    let found = prompts(&bench);
    assert!(found[0] == "a blue boat" && found.len() >= 2, "{found:?}");
}

#[test]
fn cells_take_the_room_of_a_large_window() {
    let mut bench = bench(Setup {
        size: [1920.0, 1080.0],
        ..Setup::default()
    });
    quick(&mut bench, &["a red fox", "a blue fox"], &[1, 2, 3]);
    bench.harness.run_steps(4);
    // Three columns and two rows of squares, as large as both fit.
    let first = bench.get("Seed 1").rect().left();
    let second = bench.get("Seed 2").rect().left();
    let side = second - first;
    assert!((400.0..=520.0).contains(&side), "a column is {side} wide");
    let below = bench.get("Add a prompt").rect().max.y;
    let strip = bench.get("Queue").rect().min.y;
    assert!(below < strip, "{below} of {strip}: the rows are in sight");
}

#[test]
fn a_deleted_grid_comes_back() {
    let mut bench = bench(Setup::default());
    quick(&mut bench, &["a red fox", "a blue fox"], &[1]);
    bench.click("Draw 2 cells");
    wait_drawn(&mut bench, 2);
    let id = bench.harness.state().studio().compare.grid.id;
    let studio = bench.harness.state_mut().studio_mut();
    studio.apply(CompareCommand::Delete(id).into());
    bench.wait_label("Comparison deleted").unwrap();
    assert_ne!(bench.harness.state().studio().compare.grid.id, id);
    bench.harness.run_steps(12);
    bench.click("Undo");
    bench.wait_idle().unwrap();
    let compare = &bench.harness.state().studio().compare;
    assert_eq!((compare.grid.id, drawn(&bench)), (id, 2));
    let library = Library::open_read_only(bench.data()).unwrap();
    assert!(library.grids().unwrap().iter().any(|grid| grid.id == id));
}
