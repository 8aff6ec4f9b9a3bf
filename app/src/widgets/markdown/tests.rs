use egui::{Context, Event, Modifiers, OutputCommand, PointerButton, RawInput};

use super::*;

/// One frame; what egui asks the platform to do.
fn frame(ctx: &Context, text: &mut Markdown, events: Vec<Event>, time: f64) -> Vec<OutputCommand> {
    let input = RawInput {
        screen_rect: Some(Rect::from_min_size(Pos2::ZERO, vec2(600.0, 800.0))),
        time: Some(time),
        events,
        ..RawInput::default()
    };
    let output = ctx.run_ui(input, |ui| {
        let look = Look::of(ui);
        text.show(ui, Id::unique("text"), &look, None);
    });
    let commands = output.platform_output.commands.clone();
    output.drop_without_applying_deltas();
    commands
}

#[test]
fn what_grows_is_laid_out_only_at_its_end() {
    let ctx = Context::default();
    let mut text = Markdown::default();
    let mut source = "# A\n\nsome words\n\n- one\n- two\n\n```rust\nlet a = 1;\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n".to_owned();
    text.set(&source, true);
    frame(&ctx, &mut text, Vec::new(), 0.0);
    assert_eq!(text.laid_out(), 6);
    for word in 0..20 {
        source.push_str("word ");
        text.set(&source, true);
        frame(&ctx, &mut text, Vec::new(), f64::from(word + 1));
        assert_eq!(text.laid_out(), 1, "{word}");
    }
    frame(&ctx, &mut text, Vec::new(), 30.0);
    assert_eq!(text.laid_out(), 0);
}

#[test]
fn a_link_is_opened_by_a_click_and_a_dangerous_one_is_not() {
    for (target, opens) in [
        ("https://example.org/", true),
        ("javascript:alert(1)", false),
    ] {
        let ctx = Context::default();
        let mut text = Markdown::default();
        text.set(&format!("[words]({target})"), false);
        frame(&ctx, &mut text, Vec::new(), 0.0);
        let pos = pos2(20.0, 12.0);
        let button = |pressed| Event::PointerButton {
            pos,
            button: PointerButton::Primary,
            pressed,
            modifiers: Modifiers::NONE,
        };
        frame(&ctx, &mut text, vec![Event::PointerMoved(pos)], 0.1);
        let mut commands = frame(&ctx, &mut text, vec![button(true)], 0.2);
        commands.extend(frame(&ctx, &mut text, vec![button(false)], 0.3));
        let opened = commands
            .iter()
            .any(|command| matches!(command, OutputCommand::OpenUrl(open) if open.url == target));
        assert_eq!(opened, opens, "{target}");
    }
}
