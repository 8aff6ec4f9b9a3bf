use egui::{Event, Modifiers, MouseWheelSource, MouseWheelUnit, RawInput, TouchPhase, vec2};

use super::*;
use crate::widgets::markdown::{Look, Markdown};

/// Rows of plain blocks with known heights.
struct Page {
    ctx: egui::Context,
    list: MessageList,
    heights: Vec<f32>,
    version: u64,
    time: f64,
    size: Vec2,
    /// Rows drawn in the last pass: index, top, bottom.
    seen: Vec<(usize, f32, f32)>,
}

use egui::Vec2;

impl Page {
    fn new(heights: Vec<f32>) -> Self {
        Self {
            ctx: egui::Context::default(),
            list: MessageList::default(),
            heights,
            version: 0,
            time: 0.0,
            size: vec2(600.0, 400.0),
            seen: Vec::new(),
        }
    }

    fn frame(&mut self, events: Vec<Event>) {
        self.time += 0.1;
        let input = RawInput {
            screen_rect: Some(Rect::from_min_size(egui::Pos2::ZERO, self.size)),
            time: Some(self.time),
            events,
            ..RawInput::default()
        };
        let Self {
            ctx,
            list,
            heights,
            version,
            seen,
            ..
        } = self;
        let output = ctx.run_ui(input, |ui| {
            seen.clear();
            let rows = Rows {
                count: heights.len(),
                version: *version,
                key: &|index| index as u64,
                estimate: &|_, _| 50.0,
                widest: 500.0,
                margin: 10.0,
                padding: 20.0,
                selecting: false,
            };
            list.show(ui, Id::unique("list"), &rows, |ui, index| {
                let top = ui.max_rect().top();
                ui.allocate_space(vec2(ui.available_width(), heights[index]));
                seen.push((index, top, top + heights[index]));
            });
        });
        output.drop_without_applying_deltas();
    }

    fn settle(&mut self) {
        for _ in 0..6 {
            self.frame(Vec::new());
        }
    }

    fn wheel(&mut self, points: f32) {
        let events = vec![
            Event::PointerMoved(pos2(300.0, 200.0)),
            Event::MouseWheel {
                unit: MouseWheelUnit::Point,
                delta: vec2(0.0, points),
                phase: TouchPhase::Move,
                source: MouseWheelSource::Wheel,
                modifiers: Modifiers::NONE,
            },
        ];
        self.frame(events);
        self.settle();
    }

    fn top_of(&self, index: usize) -> Option<f32> {
        self.seen.iter().find(|row| row.0 == index).map(|row| row.1)
    }
}

#[test]
fn a_list_opens_at_its_end_and_draws_only_the_page() {
    let mut page = Page::new((0..10_000).map(|n| 40.0 + (n % 7) as f32 * 30.0).collect());
    page.settle();
    let last = page.seen.last().copied().unwrap();
    assert_eq!(last.0, 9999);
    assert!((last.2 - 380.0).abs() < 1.5, "{last:?}");
    assert!(page.seen.len() < 16, "{}", page.seen.len());
    assert!(page.list.is_following());
}

#[test]
fn the_end_is_followed_until_the_person_scrolls_away() {
    let mut page = Page::new(vec![100.0; 30]);
    page.settle();
    page.heights[29] = 260.0;
    page.settle();
    assert!((page.seen.last().unwrap().2 - 380.0).abs() < 1.5);
    page.wheel(120.0);
    assert!(!page.list.is_following());
    let first = page.seen[1];
    page.heights[29] = 500.0;
    page.heights.push(90.0);
    page.version += 1;
    page.settle();
    let top = page.top_of(first.0).unwrap();
    assert!((top - first.1).abs() < 1.0, "{first:?} {top}");
    // Back at the end it follows again.
    page.wheel(-5000.0);
    assert!(page.list.is_following());
    page.heights[30] = 200.0;
    page.settle();
    assert!((page.seen.last().unwrap().2 - 380.0).abs() < 1.5);
}

#[test]
fn rows_seen_for_the_first_time_do_not_make_the_page_jump() {
    let mut page = Page::new(
        (0..200)
            .map(|n| 30.0 + (n * 37 % 11) as f32 * 40.0)
            .collect(),
    );
    page.settle();
    for _ in 0..60 {
        let before = page.seen.clone();
        let by = 35.0;
        page.wheel(by);
        let moved: Vec<f32> = page
            .seen
            .iter()
            .filter_map(|row| {
                let old = before.iter().find(|old| old.0 == row.0)?;
                Some(row.1 - old.1)
            })
            .collect();
        assert!(!moved.is_empty());
        assert!(
            moved.iter().all(|moved| (moved - by).abs() < 1.6),
            "{moved:?}"
        );
    }
}

#[test]
fn another_width_keeps_the_place() {
    let mut page = Page::new(vec![90.0; 300]);
    page.settle();
    page.wheel(4000.0);
    let first = page.seen[1];
    page.size.x = 480.0;
    page.settle();
    let top = page.top_of(first.0).unwrap();
    assert!((top - first.1).abs() < 2.0, "{first:?} {top}");
}

#[test]
fn keys_move_the_list() {
    let mut page = Page::new(vec![90.0; 300]);
    page.settle();
    let key = |key| {
        vec![Event::Key {
            key,
            physical_key: None,
            pressed: true,
            repeat: false,
            modifiers: Modifiers::NONE,
        }]
    };
    page.frame(key(Key::Home));
    page.settle();
    assert_eq!(page.seen[0].0, 0);
    page.frame(key(Key::PageDown));
    page.settle();
    assert!(page.seen[0].0 > 0 && !page.list.is_following());
    page.frame(key(Key::End));
    page.settle();
    assert!(page.list.is_following());
}

/// Milliseconds per frame while the last of `count` messages grows, and while the list is scrolled.
fn frame_times(count: usize) -> (f64, f64) {
    let paragraph = "Some **words** about *pictures*, `code` and [links](https://example.org), long enough to be wrapped.\n\n";
    let text = format!(
        "# Heading\n\n{}- one\n- two\n\n```rust\nlet a = 1; // x\n```\n",
        paragraph.repeat(4)
    );
    let mut messages: Vec<Markdown> = vec![Markdown::default(); count];
    for message in &mut messages {
        message.set(&text, false);
    }
    let ctx = egui::Context::default();
    let mut list = MessageList::default();
    let mut growing = String::new();
    let mut run = |messages: &mut Vec<Markdown>, events: Vec<Event>, time: f64| {
        let input = RawInput {
            screen_rect: Some(Rect::from_min_size(egui::Pos2::ZERO, vec2(1000.0, 900.0))),
            time: Some(time),
            events,
            ..RawInput::default()
        };
        let start = std::time::Instant::now();
        let output = ctx.run_ui(input, |ui| {
            let look = Look::of(ui);
            let rows = Rows {
                count: messages.len(),
                version: 0,
                key: &|index| index as u64,
                estimate: &|_, _| 300.0,
                widest: 760.0,
                margin: 16.0,
                padding: 16.0,
                selecting: false,
            };
            list.show(ui, Id::unique("list"), &rows, |ui, index| {
                messages[index].show(ui, Id::unique("row").with(index), &look, None);
            });
        });
        let shapes = ctx.tessellate(output.shapes.clone(), 1.0);
        std::hint::black_box(shapes);
        let spent = start.elapsed();
        output.drop_without_applying_deltas();
        spent.as_secs_f64() * 1e3
    };
    let mut time = 0.0;
    for _ in 0..20 {
        time += 0.016;
        run(&mut messages, Vec::new(), time);
    }
    let mut streaming = 0.0;
    for word in 0..300 {
        growing.push_str(if word % 12 == 11 { "end.\n\n" } else { "word " });
        messages[count - 1].set(&growing, true);
        time += 0.016;
        streaming += run(&mut messages, Vec::new(), time);
    }
    let mut scrolling = 0.0;
    for _ in 0..300 {
        let events = vec![
            Event::PointerMoved(pos2(300.0, 200.0)),
            Event::MouseWheel {
                unit: MouseWheelUnit::Point,
                delta: vec2(0.0, 90.0),
                phase: TouchPhase::Move,
                source: MouseWheelSource::Wheel,
                modifiers: Modifiers::NONE,
            },
        ];
        time += 0.016;
        scrolling += run(&mut messages, events, time);
    }
    (streaming / 300.0, scrolling / 300.0)
}

#[test]
#[ignore = "prints frame times: cargo test --release -p diptych --lib frame_times -- --ignored --nocapture"]
#[allow(clippy::print_stdout)]
fn frame_times_of_long_lists() {
    for count in [10, 100, 1000, 10_000] {
        let (streaming, scrolling) = frame_times(count);
        println!(
            "{count:>6} messages: {streaming:.2} ms a frame while streaming, {scrolling:.2} ms while scrolling"
        );
    }
}
