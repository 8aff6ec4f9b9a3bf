//! Two pictures: slider, side by side, difference, blinking.

use diptych::widgets::compare_view::{
    CompareMode, CompareOutput, CompareState, CompareView, Side, compare_controls,
};

use super::*;

struct Comparison {
    store: PictureStore,
    sources: [PictureSource; 2],
    state: CompareState,
    output: Option<CompareOutput>,
}

fn compare(
    pictures: [&Arc<Picture>; 2],
    mode: CompareMode,
    size: Vec2,
) -> Harness<'static, Comparison> {
    let store = PictureStore::new(|| {});
    let state = CompareState {
        mode,
        blinking: false,
        ..CompareState::default()
    };
    let sources = pictures.map(PictureSource::memory);
    let comparison = Comparison {
        store: store.clone(),
        sources,
        state,
        output: None,
    };
    let show = |ui: &mut egui::Ui, comparison: &mut Comparison| {
        ui.horizontal(|ui| compare_controls(ui, &mut comparison.state));
        let [a, b] = &comparison.sources;
        let a = Side {
            source: a,
            name: "a red fox, flat style",
        };
        let b = Side {
            source: b,
            name: "a blue fox, flat style",
        };
        let view = CompareView::new("test", a, b);
        comparison.output = Some(view.show(ui, &comparison.store, &mut comparison.state));
    };
    let mut harness = Harness::builder()
        .with_size(size)
        .with_render_cursor(false)
        .wgpu()
        .build_ui_state(show, comparison);
    settle(&mut harness, &store);
    harness
}

fn flat(colour: [u8; 3]) -> Arc<Picture> {
    picture(64, 64, |_, _| colour)
}

const RED: [u8; 3] = [200, 10, 10];
const BLUE: [u8; 3] = [10, 10, 200];

/// The column in which the first colour ends, in points, looked for a quarter from the top.
fn border(harness: &mut Harness<'_, Comparison>) -> f32 {
    let rect = harness.state().output.as_ref().unwrap().frame.picture;
    let shot = harness.render().unwrap();
    let y = (rect.min.y + rect.height() * 0.25) as u32;
    let red = |x: &u32| shot.get_pixel(*x, y).0[..3] == RED;
    let end = (rect.min.x as u32..rect.max.x as u32)
        .filter(red)
        .max()
        .unwrap_or(rect.min.x as u32);
    end as f32
}

#[test]
fn the_divider_is_where_it_is_dragged() {
    let mut harness = compare(
        [&flat(RED), &flat(BLUE)],
        CompareMode::Slider,
        vec2(700.0, 560.0),
    );
    let rect = harness.state().output.as_ref().unwrap().frame.picture;
    save("compare-slider.png", &harness.render().unwrap());
    assert!((border(&mut harness) - rect.center().x).abs() < 5.0);

    let to = pos2(rect.min.x + rect.width() * 0.8, rect.center().y + 40.0);
    let from = pos2(rect.center().x, rect.center().y);
    harness.hover_at(from);
    harness.drag_at(from);
    harness.hover_at(from + vec2(20.0, 0.0));
    harness.hover_at(to);
    harness.drop_at(to);
    harness.run_steps(3);
    assert!(
        (harness.state().state.split - 0.8).abs() < 0.01,
        "{}",
        harness.state().state.split
    );
    assert!((border(&mut harness) - to.x).abs() < 5.0);

    harness.get_by_label("Divider").focus();
    harness.run_steps(2);
    harness.key_press(Key::ArrowLeft);
    harness.run_steps(2);
    assert!((harness.state().state.split - 0.79).abs() < 0.011);
    harness.key_press_modifiers(Modifiers::SHIFT, Key::ArrowLeft);
    harness.run_steps(2);
    assert!((harness.state().state.split - 0.69).abs() < 0.011);
    harness.key_press(Key::Home);
    harness.run_steps(3);
    assert_eq!(harness.state().state.split, 0.0);
    assert!(border(&mut harness) <= rect.min.x + 2.0);
    assert_idle(&mut harness);
}

#[test]
fn side_by_side_moves_together() {
    let (a, b) = (noise(256, 256), noise(256, 256));
    let mut harness = compare([&a, &b], CompareMode::SideBySide, vec2(900.0, 500.0));
    save("compare-side.png", &harness.render().unwrap());
    let left = harness.get_by_label_contains("Side by side: a red").rect();
    let right = harness.get_by_label_contains("Side by side: a blue").rect();
    assert!(left.max.x < right.min.x && (left.size() - right.size()).length() < 2.0);
    let point = right.center() + vec2(50.0, -20.0);
    wheel(point, 6.0)
        .into_iter()
        .for_each(|event| harness.event(event));
    harness.run_steps(3);
    let view = harness.state().state.view;
    assert!(view.zoom > 2.0 && !view.fit, "{view:?}");
    // The same pixels of both lie at the same place.
    let shot = harness.render().unwrap();
    let at = |rect: Rect| pos2(rect.min.x + 150.0, rect.min.y + 150.0);
    let frame = &harness.state().output.as_ref().unwrap().frame;
    let pixel = frame.geometry.pixel_at(&view, at(left)).unwrap();
    let index = (pixel[1] * 256 + pixel[0]) * 3;
    for (picture, rect) in [(&a, left), (&b, right)] {
        let point = at(rect);
        let seen = shot.get_pixel(point.x as u32, point.y as u32).0;
        if view.zoom >= 4.0 {
            assert_eq!(&seen[..3], &picture.rgb[index..index + 3]);
        }
    }
    assert!(view.zoom >= 4.0, "{}", view.zoom);
}

#[test]
fn the_difference_tells_numbers_made_by_hand() {
    let a = flat([100; 3]);
    let b = picture(64, 64, |x, y| {
        if x < 16 && y < 32 {
            [130, 100, 95]
        } else {
            [100; 3]
        }
    });
    let mut harness = compare([&a, &b], CompareMode::Difference, vec2(700.0, 560.0));
    let numbers = harness.state().output.as_ref().unwrap().numbers.unwrap();
    assert_eq!(numbers.max, 30);
    assert!((numbers.changed - 0.125).abs() < 1e-6);
    assert!((numbers.mean - 35.0 / 3.0 / 8.0).abs() < 1e-4);
    let expected = 10.0 * (255.0f32.powi(2) / (925.0 / 3.0 / 8.0)).log10();
    assert!((numbers.psnr - expected).abs() < 1e-2, "{numbers:?}");
    harness.get_by_label_contains("Max 30");
    let rect = harness.state().output.as_ref().unwrap().frame.picture;
    let shot = harness.render().unwrap();
    save("compare-difference.png", &shot);
    let at = |x: f32, y: f32| {
        let point = rect.min + rect.size() * vec2(x, y);
        shot.get_pixel(point.x as u32, point.y as u32).0
    };
    assert_eq!(at(0.6, 0.3)[..3], [0, 0, 0]);
    let heat = diptych::widgets::pictures::difference::heat(30.0 * 4.0 / 255.0);
    assert_eq!(at(0.12, 0.3)[..3], [heat.r(), heat.g(), heat.b()]);
    assert_idle(&mut harness);
}

#[test]
fn blinking_repaints_only_when_it_changes() {
    let mut harness = compare(
        [&flat(RED), &flat(BLUE)],
        CompareMode::Blink,
        vec2(700.0, 560.0),
    );
    assert_idle(&mut harness);
    harness.state_mut().state.blinking = true;
    harness.state_mut().state.blink_rate = 2.0;
    let mut seen = std::collections::BTreeSet::new();
    let rect = harness.state().output.as_ref().unwrap().frame.picture;
    for _ in 0..12 {
        harness.step();
        let delay = harness.output().viewport_output[&ViewportId::ROOT].repaint_delay;
        assert!(delay <= Duration::from_millis(510), "{delay:?}");
        let shot = harness.render().unwrap();
        seen.insert(
            shot.get_pixel(rect.center().x as u32, rect.center().y as u32)
                .0[0],
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    let delay = harness.output().viewport_output[&ViewportId::ROOT].repaint_delay;
    assert!(delay > Duration::ZERO, "{:?}", harness.ctx.repaint_causes());
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [10, 200]);
}

#[test]
fn swapping_and_unequal_sizes() {
    let mut harness = compare(
        [&flat(RED), &picture(32, 48, |_, _| BLUE)],
        CompareMode::Slider,
        vec2(900.0, 560.0),
    );
    let unequal = harness.state().output.as_ref().unwrap().unequal;
    assert_eq!(unequal, Some([[64, 64], [32, 48]]));
    harness.get_by_label("Swap").click();
    harness.run_steps(3);
    assert!(harness.state().state.swapped);
    let unequal = harness.state().output.as_ref().unwrap().unequal;
    assert_eq!(unequal, Some([[32, 48], [64, 64]]));
}
