//! Rail, drawers, queue, notices, keys; and that what was done is there again after a restart.

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
