//! The pictures of the README, drawn anew: `DIPTYCH_SHOTS=folder cargo test --release --workspace --test window readme_pictures -- --ignored`.

use std::path::PathBuf;

use diptych::studio::command::AppCommand;
use diptych::studio::compare::{CellAt, CompareCommand};
use diptych::studio::create::{CreateCommand, MaskCommand, SeedMode, StartCommand};
use diptych::studio::view::Workspace;
use diptych_tests::window::Bench;

/// A few frames, until pictures are read and nothing moves any more.
fn settle(bench: &mut Bench) {
    for _ in 0..30 {
        std::thread::sleep(std::time::Duration::from_millis(15));
        bench.step();
    }
}

fn draw(bench: &mut Bench, prompt: &str, seed: u64) {
    let form = &mut bench.harness.state_mut().studio_mut().create.form;
    form.seed_mode = SeedMode::Locked;
    form.seed = seed;
    bench.draw(prompt).unwrap();
}

#[test]
#[ignore = "draws the pictures of the README into the folder named by DIPTYCH_SHOTS"]
fn readme_pictures() {
    let folder = std::env::var_os("DIPTYCH_SHOTS").expect("DIPTYCH_SHOTS names a folder");
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder).unwrap();
    let shot = |bench: &mut Bench, name: &str| {
        settle(bench);
        bench.screenshot(&folder.join(name)).unwrap();
    };
    let mut bench = Bench::open().unwrap();
    for (prompt, seed) in [
        ("a red fox, flat style", 7),
        ("three apples, noto style", 3),
        ("four stars, flat style, night sky", 11),
        ("a penguin in the snow", 5),
        ("a panda, 3d style, green background", 2),
        ("a purple cat, noto style", 4),
        ("a sun above a house, noto style, blue sky", 9),
    ] {
        draw(&mut bench, prompt, seed);
    }
    bench
        .harness
        .state_mut()
        .studio_mut()
        .create
        .form
        .keep_steps = true;
    draw(&mut bench, "a blue house, 3d style, meadow", 12);
    shot(&mut bench, "create.png");

    // A mask over the sky, so that something else comes there.
    draw(&mut bench, "a castle, 3d style, blue sky", 8);
    let newest = bench.harness.state().studio().gallery.items()[0].record.id;
    bench.apply(CreateCommand::Start(StartCommand::FromPicture(newest)));
    bench.wait_idle().unwrap();
    bench.apply(CreateCommand::Mask(MaskCommand::Open));
    settle(&mut bench);
    {
        let create = &mut bench.harness.state_mut().studio_mut().create;
        create.paint.size = 12.0;
        create.form.prompt = "a castle, 3d style, night sky".to_owned();
        for place in [
            [4.0, 8.0],
            [14.0, 6.0],
            [24.0, 5.0],
            [40.0, 5.0],
            [52.0, 6.0],
            [60.0, 9.0],
            [60.0, 20.0],
        ] {
            create.paint_to(place, false);
        }
    }
    let studio = bench.harness.state_mut().studio_mut();
    studio.create.end_stroke(&studio.house);
    shot(&mut bench, "paint.png");
    bench.apply(CreateCommand::Mask(MaskCommand::Close));

    bench.apply(AppCommand::Show(Workspace::Compare));
    {
        let setup = &mut bench.harness.state_mut().studio_mut().compare.grid.setup;
        setup.variants.clear();
        setup.seeds.clear();
        for prompt in [
            "a red fox, flat style, white background",
            "a purple fox, 3d style, white background",
            "a purple fox, 3d style, snow",
        ] {
            setup.add_variant(prompt.to_owned());
        }
        for seed in [7, 11, 23, 42] {
            setup.add_seed(seed);
        }
    }
    bench.apply(CompareCommand::Run);
    bench.wait_idle().unwrap();
    shot(&mut bench, "compare.png");
    let cells = {
        let setup = &bench.harness.state().studio().compare.grid.setup;
        [0, 2].map(|row| CellAt {
            row: setup.variants[row].id,
            column: setup.seeds[1].id,
        })
    };
    for cell in cells {
        bench.apply(CompareCommand::Select(cell));
    }
    shot(&mut bench, "slider.png");
}
