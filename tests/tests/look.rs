//! The look, drawn for real: every widget in both themes at two sizes, and what keys, pointer and screen readers make of
//! them. `UPDATE_SNAPSHOTS=1` renews the pictures in `tests/snapshots/look`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use diptych::theme::{self, ThemeChoice};
use diptych::widgets::button::Button;
use diptych::widgets::combo::{Combo, ComboItem};
use diptych::widgets::drawer::Drawer;
use diptych::widgets::gallery::Gallery;
use diptych::widgets::input::TextField;
use diptych::widgets::modal::Confirm;
use diptych::widgets::number::NumberField;
use diptych::widgets::slider::Slider;
use diptych::widgets::toast::{Toast, ToastKind, Toasts};
use egui::accesskit::Role;
use egui::{CentralPanel, Frame, Key, Vec2};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use egui_kittest::{Harness, SnapshotOptions, SnapshotResults};

/// Another release of the software rasteriser may round differently; a changed widget changes far more pixels than this.
fn tolerance(size: Vec2, scale: f32) -> SnapshotOptions {
    let pixels = size.x * size.y * scale * scale;
    SnapshotOptions::new()
        .threshold(2.0)
        .max_failed_pixels((pixels * 0.002) as usize)
        .output_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots/look"))
}

fn harness<'a, S: 'a>(
    size: Vec2,
    scale: f32,
    dark: bool,
    state: S,
    mut show: impl FnMut(&mut egui::Ui, &mut S) + 'a,
) -> Harness<'a, S> {
    let assets = diptych::folders::assets(None).unwrap();
    let look = theme::load(&assets).unwrap();
    let choice = if dark {
        ThemeChoice::Dark
    } else {
        ThemeChoice::Light
    };
    Harness::builder()
        .with_size(size)
        .with_pixels_per_point(scale)
        .with_os(egui::os::OperatingSystem::Nix)
        .with_theme(if dark {
            egui::Theme::Dark
        } else {
            egui::Theme::Light
        })
        .with_options(tolerance(size, scale))
        .with_max_steps(30)
        .wgpu()
        .with_context_setup(move |ctx| look.install(ctx, choice, 1.0))
        .build_ui_state(
            move |ui, state| {
                let t = theme::tokens(ui.ctx());
                let whole = ui.ctx().content_rect();
                let ground = ui.ctx().layer_painter(egui::LayerId::background());
                ground.rect_filled(whole, 0.0, t.bg_panel);
                let frame = Frame::new().fill(t.bg_panel).inner_margin(t.size.gap_l);
                CentralPanel::default()
                    .frame(frame)
                    .show(ui, |ui| show(ui, state));
            },
            state,
        )
}

#[test]
fn gallery_looks_as_it_did() {
    let mut results = SnapshotResults::new();
    for (dark, theme) in [(true, "dark"), (false, "light")] {
        for (size, scale, name) in [
            (Vec2::new(1440.0, 1080.0), 1.0, "wide"),
            (Vec2::new(1024.0, 1500.0), 1.5, "narrow"),
        ] {
            let mut harness = harness(size, scale, dark, Gallery::default(), |ui, gallery| {
                gallery.show(ui);
            });
            harness.run();
            harness.snapshot(format!("gallery_{theme}_{name}"));
            results.extend_harness(&mut harness);
        }
    }
}

fn small<'a, S: 'a>(state: S, show: impl FnMut(&mut egui::Ui, &mut S) + 'a) -> Harness<'a, S> {
    harness(Vec2::new(640.0, 480.0), 1.0, true, state, show)
}

#[test]
fn every_control_of_the_gallery_is_named_and_reached_by_tab() {
    let mut harness = harness(
        Vec2::new(1440.0, 1400.0),
        1.0,
        true,
        Gallery::default(),
        |ui, gallery| gallery.show(ui),
    );
    harness.run();
    harness.check_accessibility();
    for (role, label) in [
        (Role::Button, "Create"),
        (Role::Button, "Zoom in"),
        (Role::TextInput, "Name"),
        (Role::MultilineTextInput, "Prompt"),
        (Role::SpinButton, "Steps"),
        (Role::RadioButton, "Dark"),
        (Role::ComboBox, "Sampler"),
        (Role::CheckBox, "Checked"),
        (Role::Switch, "Show previews"),
        (Role::Tab, "Pictures"),
        (Role::ListItem, "sketch"),
        (Role::DisclosureTriangle, "Advanced"),
        (Role::Splitter, "Divider"),
        (Role::ProgressIndicator, "Drawing"),
    ] {
        harness.get_by_role_and_label(role, label);
    }
    let wanted = [
        "Create", "Name", "Steps", "Sampler", "Checked", "Pictures", "sketch",
    ];
    let mut seen = Vec::new();
    for _ in 0..120 {
        harness.key_press(Key::Tab);
        harness.run();
        let focused = harness
            .root()
            .children_recursive()
            .find(|node| node.is_focused())
            .and_then(|node| node.accesskit_node().label());
        seen.extend(focused);
    }
    let places: Vec<_> = wanted
        .iter()
        .map(|wanted| seen.iter().position(|seen| seen == wanted))
        .collect();
    assert!(places.iter().all(Option::is_some), "{places:?} of {seen:?}");
    assert!(places.is_sorted(), "{places:?} of {seen:?}");
    assert!(!seen.iter().any(|name| name == "Disabled"), "{seen:?}");
}

#[test]
fn a_number_is_typed_stepped_dragged_and_reset() {
    let mut harness = small(20_u32, |ui, value| {
        ui.add(
            NumberField::new("Steps", value, 1..=60)
                .default_value(20)
                .width(240.0),
        );
    });
    harness.get_by_label("Steps").focus();
    harness.run();
    harness.key_press(Key::ArrowRight);
    harness.run();
    harness.key_press(Key::ArrowUp);
    harness.run();
    assert_eq!(*harness.state(), 22);
    harness.get_by_label("Steps").increment_accesskit();
    harness.run();
    assert_eq!(*harness.state(), 23);

    harness.key_press(Key::Enter);
    harness.run();
    harness.get_by_label("Steps").type_text("7");
    harness.run();
    harness.key_press(Key::Enter);
    harness.run();
    assert_eq!(*harness.state(), 7);

    // Out of bounds: the old value stays, and the bounds are told.
    harness.key_press(Key::Enter);
    harness.run();
    harness.get_by_label("Steps").type_text("700");
    harness.run();
    harness.get_by_label_contains("from 1 to 60");
    harness.key_press(Key::Enter);
    harness.run();
    assert_eq!(*harness.state(), 7);

    let rect = harness.get_by_label("Steps").rect();
    harness.drag_at(rect.center());
    harness.run();
    harness.hover_at(rect.center() + Vec2::new(rect.width() / 2.0, 0.0));
    harness.run();
    harness.drop_at(rect.center() + Vec2::new(rect.width() / 2.0, 0.0));
    harness.run();
    assert!((30..=45).contains(harness.state()), "{}", harness.state());
}

#[test]
fn a_slider_is_moved_by_pointer_and_keys() {
    let mut harness = small(100.0_f32, |ui, value| {
        let slider = Slider::new("Size of tiles", value, 60.0..=260.0).step(4.0);
        ui.add(slider.width(212.0).default_value(100.0_f32));
    });
    harness
        .get_by_role_and_label(Role::Slider, "Size of tiles")
        .focus();
    harness.run();
    harness.key_press(Key::ArrowRight);
    harness.run();
    assert_eq!(*harness.state(), 104.0);
    let rect = harness
        .get_by_role_and_label(Role::Slider, "Size of tiles")
        .rect();
    harness.drag_at(rect.left_center() + Vec2::new(6.0, 0.0));
    harness.run();
    harness.hover_at(rect.left_center() + Vec2::new(106.0, 0.0));
    harness.run();
    harness.drop_at(rect.left_center() + Vec2::new(106.0, 0.0));
    harness.run();
    assert_eq!(*harness.state(), 160.0);
    harness
        .get_by_role_and_label(Role::Slider, "Size of tiles")
        .decrement_accesskit();
    harness.run();
    assert_eq!(*harness.state(), 156.0);
}

#[test]
fn a_choice_is_searched_and_made_with_keys_alone() {
    const NAMES: [&str; 10] = [
        "Euler",
        "Heun",
        "DDIM",
        "LMS",
        "LCM",
        "UniPC",
        "DPM++ 2M",
        "DPM++ SDE",
        "PNDM",
        "Ancestral",
    ];
    let mut harness = small(Some(0_usize), |ui, chosen| {
        let mut items: Vec<_> = NAMES.map(ComboItem::new).into();
        items[4].reason = Some("Only for distilled models");
        let picked = Combo::new("Sampler", &items, *chosen).show(ui);
        *chosen = picked.or(*chosen);
    });
    harness
        .get_by_role_and_label(Role::ComboBox, "Sampler")
        .focus();
    harness.run();
    harness.key_press(Key::ArrowDown);
    harness.run();
    harness.get_by_label("Search").type_text("dpm");
    harness.run();
    assert!(harness.query_by_label("Heun").is_none());
    harness.key_press(Key::ArrowDown);
    harness.run();
    harness.key_press(Key::Enter);
    harness.run();
    assert_eq!(*harness.state(), Some(7));
    assert!(
        harness.query_by_label("DPM++ 2M").is_none(),
        "the list is closed"
    );
    assert!(
        harness
            .get_by_role_and_label(Role::ComboBox, "Sampler")
            .is_focused()
    );

    // What cannot be chosen says why, and is not chosen.
    harness
        .get_by_role_and_label(Role::ComboBox, "Sampler")
        .click();
    harness.run();
    harness.get_by_label("LCM").click();
    harness.run();
    assert_eq!(*harness.state(), Some(7));
    harness.key_press(Key::Escape);
    harness.run();
    assert!(harness.query_by_label("LCM").is_none());
}

#[test]
fn a_question_takes_enter_and_esc_and_keeps_the_keyboard() {
    #[derive(Default)]
    struct Asked {
        open: bool,
        answer: Option<bool>,
        behind: String,
    }
    let mut harness = small(Asked::default(), |ui, asked| {
        ui.add(TextField::new("Behind", &mut asked.behind));
        if ui.add(Button::secondary("Delete picture")).clicked() {
            asked.open = true;
        }
        if asked.open {
            let question = Confirm {
                id: "delete",
                title: "Delete this picture?",
                text: "It goes to the trash, from where it can be restored.",
                yes: "Delete",
                danger: true,
            };
            if let Some(answer) = question.show(ui.ctx()) {
                asked.open = false;
                asked.answer = Some(answer);
            }
        }
    });
    for (key, answer) in [(Key::Enter, true), (Key::Escape, false)] {
        harness.get_by_label("Delete picture").click();
        harness.run();
        assert!(harness.get_by_label("Delete").is_focused());
        for _ in 0..6 {
            harness.key_press(Key::Tab);
            harness.run();
            assert!(!harness.get_by_label("Behind").is_focused());
        }
        harness.get_by_label("Delete").focus();
        harness.run();
        harness.key_press(key);
        harness.run();
        assert_eq!(harness.state().answer, Some(answer));
        assert!(!harness.state().open);
    }
}

#[test]
fn toasts_tell_cause_and_remedy_and_errors_stay() {
    let mut toasts: Toasts<&str> = Toasts::default();
    toasts.push(Toast::new(ToastKind::Success, "Picture saved"));
    for _ in 0..2 {
        toasts.push(
            Toast::new(ToastKind::Error, "The model cannot be loaded")
                .cause("sketch.safetensors ends in the middle of a tensor.")
                .remedy("Download it again.")
                .action("Show folder", "folder"),
        );
    }
    let state = (toasts, None);
    let mut harness = small(state, |ui, (toasts, asked)| {
        let room = ui.ctx().content_rect();
        *asked = toasts.show(ui.ctx(), room).or(*asked);
    });
    harness.run_steps(6);
    harness.get_by_label("Picture saved");
    harness.get_by_label("The model cannot be loaded (2)");
    harness.get_by_label("Download it again.");
    harness.snapshot("toasts");
    // Five seconds later the good news is gone and the bad news is not.
    harness.run_steps(25);
    assert!(harness.query_by_label("Picture saved").is_none());
    harness.get_by_label("Show folder").click();
    harness.run_steps(3);
    assert_eq!(harness.state().1, Some("folder"));
    assert!(harness.state().0.is_empty());
}

#[test]
fn a_drawer_opens_and_closes_and_then_rests() {
    let mut harness = small(true, |ui, open| {
        Drawer::new("settings", "Settings").show(ui.ctx(), open, |ui| {
            ui.add(Button::primary("Rescan"));
        });
    });
    // `run` fails where something never comes to rest.
    harness.run();
    harness.get_by_label("Rescan");
    harness.key_press(Key::Escape);
    harness.run();
    assert!(!*harness.state());
    assert!(harness.query_by_label("Rescan").is_none());
}
