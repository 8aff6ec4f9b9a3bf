use egui::RawInput;

use super::*;
use crate::theme::contrast;

/// Draws a text of words, each a token; gives the view's figures.
struct Page {
    ctx: egui::Context,
    view: TokenView,
    text: String,
    ends: Vec<usize>,
    plain: usize,
    time: f64,
}

impl Page {
    fn new(words: &[&str]) -> Self {
        let mut page = Self {
            ctx: egui::Context::default(),
            view: TokenView::default(),
            text: String::new(),
            ends: Vec::new(),
            plain: 0,
            time: 0.0,
        };
        words.iter().for_each(|word| page.push(word));
        page
    }

    fn push(&mut self, word: &str) {
        self.text.push_str(word);
        self.ends.push(self.text.len());
    }

    fn frame(&mut self) -> TokenOutput {
        self.time += 0.02;
        let input = RawInput {
            screen_rect: Some(Rect::from_min_size(Pos2::ZERO, vec2(700.0, 500.0))),
            time: Some(self.time),
            ..RawInput::default()
        };
        let mut output = TokenOutput::default();
        let Self {
            ctx,
            view,
            text,
            ends,
            plain,
            ..
        } = self;
        let count = ends.len() - *plain;
        ctx.run_ui(input, |ui| {
            let look = Look::of(ui);
            let start = |token: usize| token.checked_sub(1).map_or(0, |before| ends[before]);
            let shown = TokenText {
                text,
                count,
                range: &|token| start(token)..ends[token],
                probability: &|token| Some(if token % 3 == 0 { 0.95 } else { 0.1 }),
                stamp: 0,
                open: None,
            };
            output = view.show(ui, Id::unique("tokens"), &shown, &look);
        })
        .drop_without_applying_deltas();
        output
    }
}

#[test]
fn every_token_is_somewhere_once() {
    let mut page = Page::new(&["one ", "", "two\n", "\n", "three", ".\n\n", "four"]);
    assert_eq!(page.frame().drawn, 6);
    let tokens: Vec<usize> = page
        .view
        .lines
        .iter()
        .flat_map(|line| line.marks.iter().filter(|mark| mark.first))
        .map(|mark| mark.token)
        .collect();
    assert_eq!(tokens, [0, 2, 3, 4, 5, 6]);
    let lines: Vec<&str> = page
        .view
        .lines
        .iter()
        .map(|line| line.galley.text())
        .collect();
    assert_eq!(lines, ["one two↵", "↵", "three.↵\n↵", "four"]);
    // Text that no token tells of is shown too.
    page.plain = 3;
    page.view = TokenView::default();
    assert_eq!(page.frame().drawn, 3);
    let text: String = page
        .view
        .lines
        .iter()
        .map(|line| line.galley.text())
        .collect();
    assert!(text.ends_with("four"), "{text}");
}

#[test]
fn a_text_that_grows_costs_its_last_line() {
    let mut page = Page::new(&["word "; 40]);
    for _ in 0..500 {
        page.push("line ");
        page.push("ends\n");
    }
    let first = page.frame();
    assert!(page.view.laid_out() >= 500);
    assert!(first.drawn < 200, "only the page: {}", first.drawn);
    page.frame();
    assert_eq!(page.view.laid_out(), 0);
    for word in ["more ", "and ", "more\n", "x"] {
        page.push(word);
        page.frame();
        assert!(page.view.laid_out() <= 2, "{}", page.view.laid_out());
    }
    let laid: usize = page.view.lines.iter().map(|line| line.bytes.len()).sum();
    assert_eq!(laid, page.text.len());
    // Another text is laid out anew.
    page.text.replace_range(0..1, "W");
    page.frame();
    assert!(page.view.laid_out() > 500);
}

#[test]
fn words_for_probabilities() {
    for (probability, told, of) in [
        (1.0, "100%", 0),
        (0.998, "99.8%", 0),
        (0.9, "90%", 0),
        (0.8999, "90%", 1),
        (0.5, "50%", 1),
        (0.049, "4.9%", 4),
        (0.0004, "under 0.1%", 4),
    ] {
        assert_eq!(
            (percent(probability).as_str(), class(probability)),
            (told, of)
        );
    }
}

#[test]
fn text_stays_readable_on_every_tint_of_both_themes() {
    for (name, text) in [
        ("dark", include_str!("../../../../assets/theme/dark.json")),
        ("light", include_str!("../../../../assets/theme/light.json")),
    ] {
        let tokens = Tokens {
            dark: name == "dark",
            colours: serde_json::from_str(text).unwrap(),
            size: theme::Sizes::STANDARD,
        };
        let mut last = tokens.bg_panel;
        for class in 1..CLASSES.len() {
            let ground = paint::ground(&tokens, class);
            let found = contrast(tokens.text, ground);
            assert!(found >= 4.5, "{name}, class {class}: {found}");
            // Each is stronger than the one before.
            let step = contrast(ground, last);
            assert!(step > 1.12, "{name}, class {class}: {step}");
            last = ground;
        }
    }
}

#[test]
#[ignore = "prints frame times: cargo test --release -p diptych --lib token_view -- --ignored --nocapture"]
#[allow(clippy::print_stdout)]
fn frame_times_of_long_answers() {
    for count in [200, 2000, 20_000] {
        let mut page = Page::new(&[]);
        for at in 0..count {
            page.push(if at % 25 == 24 { "end.\n" } else { "word " });
        }
        page.frame();
        let begin = std::time::Instant::now();
        for at in 0..200 {
            page.push(if at % 25 == 24 { "end.\n" } else { "word " });
            page.frame();
        }
        let each = begin.elapsed().as_secs_f64() * 1e3 / 200.0;
        println!("{count:>6} tokens: {each:.2} ms a frame while streaming");
    }
}
