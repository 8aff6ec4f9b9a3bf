//! Notices lie where nothing is pressed next, at any size of the window.

use diptych::studio::chat::ChatCommand;
use diptych::studio::command::{AppCommand, UiCommand};
use diptych::studio::compare::{CompareCommand, Kind};
use diptych::studio::log::Level;
use diptych::studio::view::Workspace;
use diptych_tests::window::{Bench, Setup};
use egui::Rect;
use egui::accesskit::Role;
use egui_kittest::kittest::Queryable as _;

fn alerts(bench: &Bench) -> Vec<Rect> {
    let alerts = bench.harness.query_all_by_role(Role::Alert);
    alerts.map(|alert| alert.rect()).collect()
}

/// That each control is there, and no notice lies on it.
fn clear(bench: &Bench, alerts: &[Rect], controls: &[&str], place: &str) {
    for control in controls {
        let places: Vec<Rect> = bench
            .harness
            .query_all_by_label_contains(control)
            .map(|node| node.rect())
            .collect();
        assert!(!places.is_empty(), "{place}: {control} is not there");
        for rect in places {
            let over = alerts.iter().find(|alert| alert.intersects(rect));
            assert!(
                over.is_none(),
                "{place}: {over:?} lies on {control}, {rect:?}"
            );
        }
    }
}

#[test]
fn notices_never_cover_what_is_pressed_next() {
    let show = |workspace| vec![UiCommand::from(AppCommand::Show(workspace))];
    let also = |workspace, command: UiCommand| vec![AppCommand::Show(workspace).into(), command];
    let places: [(&str, Vec<UiCommand>, &[&str]); 6] = [
        (
            "Chat",
            show(Workspace::Chat),
            &[
                "Message",
                "Chat model",
                "Attach a text file",
                "Send",
                "Conversation settings",
            ],
        ),
        (
            "settings of Chat",
            also(Workspace::Chat, ChatCommand::ToggleSettings.into()),
            &["Message", "Send", "Temperature", "Top-p"],
        ),
        ("Create", show(Workspace::Create), &["Prompt", "Generate"]),
        (
            "pictures of Compare",
            show(Workspace::Compare),
            &[
                "Grids",
                "Export the grid",
                "New seeds",
                "Add a seed",
                "Add a prompt",
            ],
        ),
        (
            "answers of Compare",
            also(
                Workspace::Compare,
                CompareCommand::Show(Kind::Answers).into(),
            ),
            &[
                "Message to all lanes",
                "Ask all",
                "Settings of lane",
                "Model of lane",
                "Add a lane",
            ],
        ),
        ("Library", show(Workspace::Gallery), &["Search"]),
    ];
    for size in [
        [800.0, 520.0],
        [1024.0, 640.0],
        [1280.0, 800.0],
        [2560.0, 1440.0],
    ] {
        let mut bench = Bench::with(Setup {
            size,
            ..Setup::default()
        })
        .unwrap();
        let log = &mut bench.harness.state_mut().studio_mut().house.log;
        for number in 0..5 {
            log.notify(
                Level::Error,
                format!("The model fox-{number} cannot be loaded"),
                "The file ends in the middle of a tensor. Download it again, or choose another one.",
            );
        }
        for (place, commands, controls) in &places {
            for command in commands {
                bench.apply(command.clone());
            }
            bench.harness.run_steps(12);
            let place = format!("{place} at {size:?}");
            let alerts = alerts(&bench);
            assert!(!alerts.is_empty(), "{place}: nothing is told");
            let window = bench.harness.ctx.content_rect();
            for (index, alert) in alerts.iter().enumerate() {
                assert!(
                    window.contains_rect(*alert),
                    "{place}: {alert:?} leaves the window"
                );
                let others = alerts.iter().skip(index + 1);
                assert!(
                    others.clone().all(|other| !other.intersects(*alert)),
                    "{place}"
                );
            }
            clear(&bench, &alerts, controls, &place);
        }
        // One after the other can be read and taken away.
        while let Some(cross) = bench
            .labels()
            .into_iter()
            .find(|label| label.starts_with("Dismiss: "))
        {
            bench.click(&cross);
        }
        assert!(alerts(&bench).is_empty());
    }
}
