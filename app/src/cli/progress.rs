//! What is going on, on stderr: one living line on a terminal, a few plain lines elsewhere, nothing if so wished.

use std::io::{IsTerminal, Write};

use diptych_inference::engine::Event;

use super::out;

/// Characters of the bar itself.
const BAR: usize = 24;
/// Plain lines for each picture.
const PLAIN_LINES: u32 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Quiet,
    Plain,
    Live,
}

/// Tells a person how far a job is.
#[derive(Debug)]
pub struct Progress {
    mode: Mode,
    /// Before every line, such as `2/3: `.
    prefix: String,
    /// A living line stands on the terminal.
    drawn: bool,
    /// A plain line that is only told if something comes of it: a failure is to stand alone.
    held: Option<String>,
    /// Quarters told on plain lines.
    told: Option<u64>,
    /// Mean seconds of a step so far.
    pace: Option<f32>,
}

impl Progress {
    /// Looks at what stderr is.
    pub fn new(quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let mode = match (quiet, std::io::stderr().is_terminal() && !dumb) {
            (true, _) => Mode::Quiet,
            (false, true) => Mode::Live,
            (false, false) => Mode::Plain,
        };
        Self {
            mode,
            prefix: String::new(),
            drawn: false,
            held: None,
            told: None,
            pace: None,
        }
    }

    /// Begins the next of several.
    pub fn begin(&mut self, number: u32, of: u32) {
        (self.pace, self.told) = (None, None);
        self.prefix = if of > 1 {
            format!("{number}/{of}: ")
        } else {
            String::new()
        };
    }

    /// Tells about an event, if it is of interest.
    pub fn watch(&mut self, event: &Event) {
        match event {
            Event::Loading { model, bytes, .. } => {
                self.passing(&format!("loading {model} ({})", out::bytes(*bytes)));
            }
            Event::Warning { message, .. } => self.say(&format!("note: {message}")),
            Event::DeviceLost { reason } => {
                self.say(&format!("note: the graphics device was lost ({reason})"));
            }
            Event::DeviceRebuilt { device } => self.say(&format!("note: going on with {device}")),
            Event::Step {
                index,
                total,
                seconds,
                ..
            } => self.step(*index, *total, *seconds),
            _ => {}
        }
    }

    fn step(&mut self, index: u32, total: u32, seconds: f32) {
        let pace = self.pace.map_or(seconds, |pace| 0.7 * pace + 0.3 * seconds);
        self.pace = Some(pace);
        let left = out::seconds(pace * total.saturating_sub(index) as f32);
        match self.mode {
            Mode::Quiet => {}
            Mode::Live => {
                let line = format!(
                    "{} step {index}/{total}  {pace:.2} s/step  {left} left",
                    bar(index, total)
                );
                self.draw(&line);
            }
            Mode::Plain => {
                // After the first step, which tells how long it will take, and at every quarter. A step may be skipped
                // when this side is slow, so that quarters are compared with the last one told.
                let quarter = u64::from(index) * u64::from(PLAIN_LINES) / u64::from(total.max(1));
                if self.told.is_none_or(|told| quarter > told) {
                    self.told = Some(quarter);
                    self.say(&format!("step {index}/{total}, {left} left"));
                }
            }
        }
    }

    /// A state that the next one replaces.
    pub fn passing(&mut self, message: &str) {
        match self.mode {
            Mode::Quiet => {}
            Mode::Plain => self.held = Some(format!("{}{message}", self.prefix)),
            Mode::Live => self.draw(message),
        }
    }

    /// A line that stays.
    pub fn say(&mut self, message: &str) {
        if self.mode != Mode::Quiet {
            self.release();
            out::remark(&format!("{}{message}", self.prefix));
        }
    }

    /// Takes the living line away, and tells the line that was held back.
    pub fn release(&mut self) {
        self.clear();
        if let Some(held) = self.held.take() {
            out::remark(&held);
        }
    }

    fn draw(&mut self, message: &str) {
        let line: String = out::one_line(&format!("{}{message}", self.prefix))
            .chars()
            .take(78)
            .collect();
        // Nobody can be told that nobody listens.
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "\r\x1b[2K{line}").and_then(|()| stderr.flush());
        self.drawn = true;
    }

    /// Takes the living line away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[2K").and_then(|()| stderr.flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn bar(index: u32, total: u32) -> String {
    let filled = (BAR as u64 * u64::from(index.min(total)) / u64::from(total.max(1))) as usize;
    format!("[{}{}]", "#".repeat(filled), ".".repeat(BAR - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fill() {
        assert_eq!(bar(0, 20), format!("[{}]", ".".repeat(BAR)));
        assert_eq!(bar(20, 20), format!("[{}]", "#".repeat(BAR)));
        assert_eq!(bar(30, 20), bar(20, 20));
        assert_eq!(bar(0, 0).len(), BAR + 2);
    }
}
