//! Small windows with a drawer open: everything that can be done with a picture is still reached by the mouse.

use diptych::studio::command::AppCommand;
use diptych::studio::view::{Drawer, Workspace};
use diptych_tests::window::{Bench, Setup};
use egui::{Key, Modifiers};

fn favourite(bench: &Bench) -> bool {
    let studio = bench.harness.state().studio();
    studio.gallery.items()[0].record.favourite
}

/// Whether a control with exactly this name is shown.
fn shown(bench: &Bench, name: &str) -> bool {
    bench.labels().iter().any(|label| label == name)
}

#[test]
fn a_picture_is_marked_and_taken_on_in_the_narrowest_bar() {
    for size in [[1024.0, 640.0], [1280.0, 800.0]] {
        let mut bench = Bench::with(Setup {
            size,
            ..Setup::default()
        })
        .unwrap();
        bench.draw("a red fox").unwrap();
        for drawer in [None, Some(Drawer::Models), Some(Drawer::Settings)] {
            bench.harness.state_mut().studio_mut().set_drawer(drawer);
            bench.harness.run_steps(12);
            let star = bench.get("Mark as a favourite").rect();
            let trash = bench.get("Move the picture to the trash").rect();
            let column = bench.get("Generate").rect();
            assert!(star.left() >= column.right(), "{size:?} {drawer:?}: {star}");
            assert!(
                star.right() <= trash.left(),
                "{size:?} {drawer:?}: {star} {trash}"
            );
            bench.click("Mark as a favourite");
            bench.wait_idle().unwrap();
            assert!(favourite(&bench), "{size:?} {drawer:?}");
            bench.click("Take the favourite's mark away");
            bench.wait_idle().unwrap();
            // What has no room in the bar is in its menu.
            let ways = ["Save the picture as…", "Compare with other words"];
            if shown(&bench, "More") {
                bench.click("More");
            }
            for way in ways {
                assert!(
                    shown(&bench, way),
                    "{size:?} {drawer:?}: {:?}",
                    bench.labels()
                );
            }
            bench.press(Modifiers::NONE, Key::Escape);
            bench.harness.run_steps(4);
        }
        bench
            .harness
            .state_mut()
            .studio_mut()
            .set_drawer(Some(Drawer::Models));
        bench.harness.run_steps(12);
        if shown(&bench, "More") {
            bench.click("More");
        }
        bench.click("Compare with other words");
        let studio = bench.harness.state().studio();
        assert_eq!(studio.view.workspace, Workspace::Compare);
        bench.apply(AppCommand::CloseDrawer);
    }
}
