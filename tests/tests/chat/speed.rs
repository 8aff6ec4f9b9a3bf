//! What a frame costs in conversations of any length, with the probabilities shown or not.

use std::time::{Duration, Instant};

use super::*;
use diptych::library::trace::Trace;
use diptych_inference::engine::{Alternative, TokenEvent};

const ANSWER: &str = "Some **words** about *pictures*, `code` and other things that are long enough to be wrapped.\n\n- one\n- two\n";

fn trace() -> Trace {
    let mut trace = Trace::default();
    for (at, word) in ANSWER.split_inclusive(' ').enumerate() {
        let other = |n: usize| Alternative {
            id: n as u32,
            piece: format!("o{n}"),
            text: format!("other{n} "),
            ends: false,
            probability: 0.1,
        };
        trace.push(&TokenEvent {
            id: 1,
            piece: word.to_owned(),
            text: word.to_owned(),
            probability: 1.0 / (1 + at % 7) as f32,
            alternatives: (0..5).map(|n| other(at * 3 + n)).collect(),
        });
    }
    trace
}

/// Keeps a conversation of many messages.
fn keep_long(data: &Path, count: usize) -> Result<()> {
    let mut library = Library::open(data, "window")?;
    let id = ConversationId::new();
    let trace = trace();
    library.together(|library| {
        let mut parent = None;
        for at in 0..count {
            let role = if at % 2 == 0 {
                Role::User
            } else {
                Role::Assistant
            };
            let message = Message {
                id: MessageId::new(),
                conversation: id,
                parent,
                role,
                text: if role == Role::User {
                    format!("Question {at}")
                } else {
                    ANSWER.to_owned()
                },
                attachments: Vec::new(),
                state: MessageState::Done,
                info: (role == Role::Assistant).then(AnswerInfo::default),
                created: now(),
            };
            parent = Some(message.id);
            library.put_message(&message)?;
            if role == Role::Assistant {
                library.put_tokens(message.id, &trace)?;
            }
        }
        library.put_conversation(&Conversation {
            id,
            title: "Long".to_owned(),
            created: now(),
            changed: now(),
            leaf: parent,
            ..settings_of(None)
        })
    })?;
    Ok(())
}

/// Milliseconds of a frame: the median, which a busy machine moves little, and the slowest of a hundred.
pub(super) fn frames(bench: &mut Bench, mut each: impl FnMut(&mut Bench)) -> (f64, f64) {
    let mut times: Vec<Duration> = (0..100)
        .map(|_| {
            each(bench);
            bench.harness.ctx.request_repaint();
            let begin = Instant::now();
            bench.step();
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    let milliseconds = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
    (milliseconds(times.get(50)), milliseconds(times.last()))
}

/// Turns the wheel over a place.
pub(super) fn wheel(bench: &mut Bench, at: egui::Pos2, points: f32) {
    bench.harness.event(egui::Event::PointerMoved(at));
    bench.harness.event(egui::Event::MouseWheel {
        unit: egui::MouseWheelUnit::Point,
        delta: egui::vec2(0.0, points),
        phase: egui::TouchPhase::Move,
        source: egui::MouseWheelSource::Wheel,
        modifiers: Modifiers::NONE,
    });
}

#[test]
#[ignore = "prints frame times: cargo test --release --workspace --test chat speed -- --ignored --nocapture"]
#[allow(clippy::print_stdout)]
fn frame_times_of_the_window() -> Result<()> {
    for count in [100, 10_000] {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        keep_long(&data, count)?;
        let mut bench = open_with(Setup {
            data: Some(data),
            ..Setup::default()
        })?;
        bench.click("Long");
        bench.wait("the messages", |bench| branch(bench).len() == count)?;
        for sure in [false, true] {
            if sure {
                bench.click("How sure the model was");
                bench.wait_label("90% and more")?;
                bench.harness.run_steps(8);
            }
            let still = frames(&mut bench, |_| {});
            let scrolled = frames(&mut bench, |bench| {
                wheel(bench, egui::pos2(760.0, 400.0), 60.0);
            });
            endless(&mut bench, 2000);
            let studio = bench.harness.state_mut().studio_mut();
            let mut settings = studio.chat.settings(&studio.house);
            // The small model holds few of so many messages.
            settings.drop_old = true;
            studio.chat.set_settings(settings);
            say(&mut bench, QUESTION);
            begun(&mut bench)?;
            let streamed = frames(&mut bench, |_| {});
            apply(&mut bench, ChatCommand::Stop);
            bench.wait_idle()?;
            println!(
                "{count:>6} messages, probabilities {}: still {:.1} ms (slowest {:.1}), scrolled {:.1} ({:.1}), streaming {:.1} ({:.1})",
                if sure { "shown" } else { "not shown" },
                still.0,
                still.1,
                scrolled.0,
                scrolled.1,
                streamed.0,
                streamed.1
            );
        }
    }
    Ok(())
}
