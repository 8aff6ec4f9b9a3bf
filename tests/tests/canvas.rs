//! The canvas and the comparison of two pictures, drawn on a software device and looked at pixel by pixel.

// A failing test says why by its panic.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used)]

#[path = "canvas/comparison.rs"]
mod comparison;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diptych::widgets::canvas::{Canvas, CanvasFrame, CanvasView, Magnify};
use diptych::widgets::pictures::{Loaded, PictureError, PictureSource, PictureStore};
use diptych::widgets::thumbnails::Thumbnail;
use diptych_inference::engine::Picture;
use egui::{Event, Key, Modifiers, MouseWheelUnit, Pos2, Rect, Vec2, ViewportId, pos2, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use image::RgbaImage;
use rand::{Rng as _, SeedableRng as _};

struct State {
    store: PictureStore,
    source: Option<PictureSource>,
    view: CanvasView,
    magnify: Magnify,
    frame: Option<CanvasFrame>,
    error: Option<Arc<PictureError>>,
}

impl State {
    fn new(source: Option<PictureSource>) -> Self {
        Self {
            store: PictureStore::new(|| {}),
            source,
            view: CanvasView::fitted(),
            magnify: Magnify::Auto,
            frame: None,
            error: None,
        }
    }

    fn frame(&self) -> &CanvasFrame {
        self.frame.as_ref().unwrap()
    }
}

fn show(ui: &mut egui::Ui, state: &mut State) {
    let canvas = Canvas::new("main", "red fox")
        .picture(state.source.as_ref())
        .magnify(state.magnify);
    let output = canvas.show(ui, &state.store, &mut state.view);
    state.frame = Some(output.frame);
    state.error = output.error;
}

fn canvas(state: State, size: Vec2, pixels_per_point: f32) -> Harness<'static, State> {
    Harness::builder()
        .with_size(size)
        .with_pixels_per_point(pixels_per_point)
        .with_render_cursor(false)
        .wgpu()
        .build_ui_state(show, state)
}

/// Steps until nothing is decoded any more and the view has come to rest.
fn settle<S>(harness: &mut Harness<'_, S>, store: &PictureStore) {
    let start = Instant::now();
    harness.run_steps(3);
    while store.busy() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "decoding never ends"
        );
        std::thread::sleep(Duration::from_millis(2));
        harness.step();
    }
    harness.run_steps(3);
}

fn settled(state: State, size: Vec2, pixels_per_point: f32) -> Harness<'static, State> {
    let store = state.store.clone();
    let mut harness = canvas(state, size, pixels_per_point);
    settle(&mut harness, &store);
    harness
}

fn picture(width: u32, height: u32, colour: impl Fn(u32, u32) -> [u8; 3]) -> Arc<Picture> {
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let rgb = pixels.flat_map(|(x, y)| colour(x, y)).collect();
    Arc::new(Picture { width, height, rgb })
}

fn noise(width: u32, height: u32) -> Arc<Picture> {
    let seed = rand::rng().random();
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let mut rgb = vec![0; (width * height * 3) as usize];
    random.fill(rgb.as_mut_slice());
    Arc::new(Picture { width, height, rgb })
}

fn checkerboard(side: u32) -> Arc<Picture> {
    picture(
        side,
        side,
        |x, y| if (x + y) % 2 == 0 { [255; 3] } else { [0; 3] },
    )
}

/// What was drawn in a rectangle given in points.
fn crop(image: &RgbaImage, rect: Rect, pixels_per_point: f32) -> RgbaImage {
    let at = |value: f32| (value * pixels_per_point).round() as u32;
    let (x, y) = (at(rect.min.x), at(rect.min.y));
    image::imageops::crop_imm(image, x, y, at(rect.max.x) - x, at(rect.max.y) - y).to_image()
}

fn save(name: &str, image: &RgbaImage) {
    if let Some(folder) = std::env::var_os("DIPTYCH_SHOTS") {
        image.save(Path::new(&folder).join(name)).unwrap();
    }
}

#[test]
fn a_fine_checkerboard_is_even_grey_when_small() {
    for zoom in [0.5, 0.45, 0.33, 0.25, 0.15] {
        let source = PictureSource::memory(&checkerboard(512));
        let mut state = State::new(Some(source));
        state.view = CanvasView {
            zoom,
            ..CanvasView::actual_size()
        };
        let mut harness = settled(state, vec2(700.0, 700.0), 1.0);
        let rect = harness.state().frame().picture;
        assert!((rect.width() - 512.0 * zoom).abs() < 1.0);
        let shot = harness.render().unwrap();
        // Without the corner where the zoom is shown.
        let inner = crop(&shot, rect.shrink(4.0).with_max_y(rect.center().y), 1.0);
        for pixel in inner.pixels() {
            // Half the light of white.
            assert!((178..=198).contains(&pixel.0[0]), "at {zoom}: {pixel:?}");
        }
    }
}

#[test]
fn on_the_way_there_the_checkerboard_does_not_shimmer_either() {
    // The pass right after a change of zoom has only the halves to draw from.
    let source = PictureSource::memory(&checkerboard(256));
    let mut harness = settled(State::new(Some(source)), vec2(500.0, 500.0), 1.0);
    for zoom in [0.5, 0.4, 0.3, 0.2] {
        harness.state_mut().view = CanvasView {
            zoom,
            ..CanvasView::actual_size()
        };
        harness.step();
        let rect = harness.state().frame().picture;
        let shot = harness.render().unwrap();
        let inner = crop(&shot, rect.shrink(3.0), 1.0);
        let values = inner.pixels().map(|pixel| i32::from(pixel.0[0]));
        let (least, most) = (values.clone().min().unwrap(), values.max().unwrap());
        assert!(most - least <= 8, "at {zoom}: {least} to {most}");
    }
}

#[test]
fn at_100_percent_every_pixel_is_itself() {
    for scale in [1.0, 1.5, 2.0] {
        let picture = noise(97, 61);
        let mut state = State::new(Some(PictureSource::memory(&picture)));
        state.view = CanvasView {
            centre: [0.37, 0.61],
            ..CanvasView::actual_size()
        };
        let mut harness = settled(state, vec2(400.0, 300.0), scale);
        let rect = harness.state().frame().picture;
        let shot = crop(&harness.render().unwrap(), rect, scale);
        assert_eq!(shot.dimensions(), (97, 61));
        for (pixel, expected) in shot.pixels().zip(picture.rgb.chunks(3)) {
            assert_eq!(&pixel.0[..3], expected, "at a scale of {scale}");
        }
    }
}

#[test]
fn from_400_percent_on_pixels_are_crisp_squares() {
    let picture = noise(31, 20);
    let mut state = State::new(Some(PictureSource::memory(&picture)));
    state.view = CanvasView {
        zoom: 5.0,
        ..CanvasView::actual_size()
    };
    let mut harness = settled(state, vec2(500.0, 300.0), 1.0);
    let rect = harness.state().frame().picture;
    let shot = crop(&harness.render().unwrap(), rect, 1.0);
    assert_eq!(shot.dimensions(), (155, 100));
    for (x, y, pixel) in shot.enumerate_pixels() {
        let at = ((y / 5 * 31 + x / 5) * 3) as usize;
        assert_eq!(&pixel.0[..3], &picture.rgb[at..at + 3], "{x} {y}");
    }
}

#[test]
fn small_pictures_are_fitted_by_whole_factors() {
    let state = State::new(Some(PictureSource::memory(&noise(64, 64))));
    let mut harness = settled(state, vec2(700.0, 520.0), 1.0);
    let frame = harness.state().frame();
    assert!(
        frame.zoom >= 6.0 && frame.zoom.fract() == 0.0,
        "{}",
        frame.zoom
    );
    let text = format!("Picture: red fox, 64 by 64, {}00 %", frame.zoom);
    harness.get_by_label(&text);
    save("canvas-small.png", &harness.render().unwrap());
}

fn wheel(at: Pos2, notches: f32) -> [Event; 2] {
    let wheel = Event::MouseWheel {
        unit: MouseWheelUnit::Line,
        delta: vec2(0.0, notches),
        phase: egui::TouchPhase::Move,
        source: egui::MouseWheelSource::Unknown,
        modifiers: Modifiers::NONE,
    };
    [Event::PointerMoved(at), wheel]
}

#[test]
fn the_wheel_zooms_about_the_cursor_and_keys_go_back() {
    let state = State::new(Some(PictureSource::memory(&noise(300, 200))));
    let mut harness = settled(state, vec2(800.0, 600.0), 1.0);
    let place = |harness: &Harness<'_, State>, point: Pos2| {
        let state = harness.state();
        state.frame().geometry.place_at(&state.view, point)
    };
    let cursor = harness.state().frame().picture.min + vec2(90.0, 140.0);
    let (before, zoom) = (place(&harness, cursor), harness.state().view.zoom);
    for notches in [2.0, 1.0, -1.5] {
        wheel(cursor, notches)
            .into_iter()
            .for_each(|event| harness.event(event));
        harness.run_steps(2);
        let after = place(&harness, cursor);
        assert!((after[0] - before[0]).abs() < 2e-3, "{before:?} {after:?}");
        assert!((after[1] - before[1]).abs() < 2e-3, "{before:?} {after:?}");
    }
    let view = harness.state().view;
    assert!(
        !view.fit && (view.zoom / zoom - 1.25f32.powf(1.5)).abs() < 1e-3,
        "{view:?}"
    );

    harness.key_press_modifiers(Modifiers::COMMAND, Key::Num0);
    harness.run_steps(2);
    assert!(harness.state().view.fit);
    assert!((harness.state().view.zoom - zoom).abs() < 1e-6);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Num1);
    harness.run_steps(2);
    assert_eq!(
        (harness.state().view.zoom, harness.state().view.fit),
        (1.0, false)
    );
    harness
        .get_by_label("Fit the picture to the canvas")
        .click();
    harness.run_steps(2);
    assert!(harness.state().view.fit);
    harness.get_by_label("Actual size").click();
    harness.run_steps(2);
    assert_eq!(harness.state().view.zoom, 1.0);
}

#[test]
fn a_smooth_zoom_comes_to_rest() {
    let state = State::new(Some(PictureSource::memory(&noise(300, 200))));
    let mut harness = settled(state, vec2(800.0, 600.0), 1.0);
    harness
        .ctx
        .all_styles_mut(|style| style.animation_time = 0.1);
    let cursor = harness.state().frame().picture.center();
    let zoom = harness.state().view.zoom;
    wheel(cursor, 3.0)
        .into_iter()
        .for_each(|event| harness.event(event));
    let mut zooms = vec![zoom];
    for _ in 0..40 {
        harness.step();
        zooms.push(harness.state().view.zoom);
    }
    assert!(zooms.is_sorted(), "{zooms:?}");
    let target = zoom * 1.25f32.powi(3);
    assert!(
        zooms.iter().any(|z| *z > zoom * 1.05 && *z < target * 0.95),
        "{zooms:?}"
    );
    assert_eq!(zooms.last(), Some(&harness.state().view.zoom));
    assert!((harness.state().view.zoom - target).abs() < 1e-4);
    assert_idle(&mut harness);
}

/// No pass is wanted in the next seconds.
fn assert_idle<S>(harness: &mut Harness<'_, S>) {
    harness.run_steps(4);
    let delay = harness.output().viewport_output[&ViewportId::ROOT].repaint_delay;
    assert!(
        delay > Duration::from_secs(60),
        "{delay:?}: {:?}",
        harness.ctx.repaint_causes()
    );
}

#[test]
fn nothing_is_repainted_when_idle() {
    let state = State::new(Some(PictureSource::memory(&noise(640, 480))));
    let mut harness = settled(state, vec2(500.0, 400.0), 1.0);
    assert_idle(&mut harness);
}

#[test]
fn dragging_and_arrows_pan() {
    let mut state = State::new(Some(PictureSource::memory(&noise(400, 400))));
    state.view = CanvasView {
        zoom: 6.0,
        ..CanvasView::actual_size()
    };
    let mut harness = settled(state, vec2(500.0, 400.0), 1.0);
    let from = pos2(250.0, 200.0);
    let corner = harness.state().frame().picture.min;
    harness.hover_at(from);
    harness.drag_at(from);
    harness.hover_at(from + vec2(20.0, 10.0));
    harness.hover_at(from + vec2(60.0, 30.0));
    harness.drop_at(from + vec2(60.0, 30.0));
    harness.run_steps(2);
    let moved = harness.state().frame().picture.min - corner;
    assert!((moved - vec2(60.0, 30.0)).length() < 1.5, "{moved:?}");
    let name = harness.get_by_label_contains("Picture: red fox");
    name.focus();
    harness.run_steps(2);
    let corner = harness.state().frame().picture.min;
    harness.key_press(Key::ArrowRight);
    harness.run_steps(2);
    assert!(harness.state().frame().picture.min.x < corner.x - 20.0);
}

#[test]
fn a_resized_window_is_fitted_anew() {
    let state = State::new(Some(PictureSource::memory(&noise(400, 300))));
    let mut harness = settled(state, vec2(500.0, 400.0), 1.0);
    let before = harness.state().view.zoom;
    harness.set_size(vec2(900.0, 800.0));
    harness.run_steps(3);
    assert!(harness.state().view.fit && harness.state().view.zoom > before * 1.5);
}

#[test]
fn faults_are_told_and_mended_files_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.png");
    let state = State::new(Some(PictureSource::file(&path)));
    let mut harness = settled(state, vec2(400.0, 300.0), 1.0);
    assert_eq!(
        harness.state().error.as_deref(),
        Some(&PictureError::Gone(path.clone()))
    );
    harness.get_by_label_contains("the file is gone");

    std::fs::write(&path, b"\x89PNG\r\n\x1a\nand then rubbish").unwrap();
    let store = harness.state().store.clone();
    store.forget(&PictureSource::file(&path));
    settle(&mut harness, &store);
    let error = harness.state().error.clone().unwrap();
    assert!(matches!(&*error, PictureError::Damaged { .. }), "{error}");

    RgbaImage::from_pixel(8, 8, image::Rgba([10, 20, 30, 255]))
        .save(&path)
        .unwrap();
    // The store finds out by itself, once it looks again.
    std::thread::sleep(Duration::from_millis(2100));
    harness.run_steps(2);
    let start = Instant::now();
    while harness.state().error.is_some() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "the mended file is never seen"
        );
        std::thread::sleep(Duration::from_millis(20));
        harness.step();
    }
    harness.get_by_label_contains("8 by 8");
}

#[test]
fn pictures_beyond_the_texture_limit_are_tiled_without_seams() {
    // The harness allows textures of 2048 pixels.
    let picture = picture(4500, 30, |x, y| {
        [(x % 251) as u8, (x / 251 * 9) as u8, (y * 8) as u8]
    });
    for centre in [0.1, 0.23, 0.5, 0.9] {
        let mut state = State::new(Some(PictureSource::memory(&picture)));
        state.view = CanvasView {
            centre: [centre, 0.5],
            ..CanvasView::actual_size()
        };
        let mut harness = settled(state, vec2(1200.0, 200.0), 1.0);
        let frame = harness.state().frame().clone();
        let seen = frame.picture.intersect(frame.geometry.viewport);
        let first = (seen.min.x - frame.picture.min.x).round() as u32;
        let shot = crop(&harness.render().unwrap(), seen, 1.0);
        for (x, y, pixel) in shot.enumerate_pixels() {
            let at = ((y * 4500 + first + x) * 3) as usize;
            assert_eq!(
                &pixel.0[..3],
                &picture.rgb[at..at + 3],
                "{x} {y} from {first}"
            );
        }
    }
}

#[test]
fn the_store_keeps_within_its_bound() {
    let store = PictureStore::with_limits(2, 3 << 20, || {});
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..12u8)
        .map(|index| {
            let path = folder.path().join(format!("{index}.png"));
            RgbaImage::from_pixel(400, 300, image::Rgba([index, 0, 0, 255]))
                .save(&path)
                .unwrap();
            PictureSource::file(path)
        })
        .collect();
    let ctx = egui::Context::default();
    let pass = |source: &PictureSource| {
        let mut ready = false;
        let output = ctx.run_ui(egui::RawInput::default(), |ui| {
            ready = store.picture(ui.ctx(), source).ready().is_some();
        });
        output.drop_without_applying_deltas();
        ready
    };
    for source in &paths {
        while !pass(source) {
            std::thread::sleep(Duration::from_millis(1));
        }
        pass(source);
    }
    for _ in 0..4 {
        pass(&paths[11]);
    }
    // One picture of 400 x 300 with its halves is 640 KiB; twelve would be 7.5 MiB.
    assert!(store.bytes() <= 3 << 20, "{}", store.bytes());
    assert!(store.bytes() >= 600 << 10, "{}", store.bytes());
}

#[test]
fn thumbnails_are_named_and_clicked() {
    let store = PictureStore::new(|| {});
    let source = PictureSource::memory(&noise(1024, 512));
    let broken = PictureSource::file("/nowhere/at/all.png");
    let mut harness = Harness::builder()
        .with_size(vec2(300.0, 150.0))
        .wgpu()
        .build_ui_state(
            |ui, (store, clicks): &mut (PictureStore, u32)| {
                ui.horizontal(|ui| {
                    let thumbnail = Thumbnail::new(&source, "a storm", Vec2::splat(96.0));
                    if thumbnail.selected(true).show(ui, store).clicked() {
                        *clicks += 1;
                    }
                    Thumbnail::new(&broken, "gone", Vec2::splat(96.0)).show(ui, store);
                });
            },
            (store.clone(), 0),
        );
    settle(&mut harness, &store);
    harness.get_by_label("a storm").click();
    harness.run_steps(2);
    assert_eq!(harness.state().1, 1);
    save("thumbnails.png", &harness.render().unwrap());
    match store.thumbnail(
        &harness.ctx,
        &PictureSource::file("/nowhere/at/all.png"),
        128,
    ) {
        Loaded::Failed(error) => assert!(matches!(&*error, PictureError::Gone(_))),
        other => panic!("{other:?}"),
    }
}
