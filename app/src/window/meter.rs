//! How fast the window is: told in the log with `-vv`.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

static LAUNCH: OnceLock<Instant> = OnceLock::new();

/// How often frame times are told.
const TELL: Duration = Duration::from_secs(2);

/// To be called first of all in `main`.
pub fn launched() {
    LAUNCH.get_or_init(Instant::now);
}

/// Frame times since they were last told.
#[derive(Debug, Default)]
pub struct Meter {
    seen: bool,
    frames: Vec<f32>,
    told: Option<Instant>,
}

impl Meter {
    /// A frame was drawn; `seconds` is the time that the last one took on this thread.
    pub fn frame(&mut self, seconds: Option<f32>) {
        let now = Instant::now();
        if !std::mem::replace(&mut self.seen, true)
            && let Some(launch) = LAUNCH.get()
        {
            let since = now.duration_since(*launch).as_secs_f32() * 1000.0;
            tracing::info!("first frame {since:.0} ms after launch");
        }
        self.frames.extend(seconds);
        let told = *self.told.get_or_insert(now);
        if now.duration_since(told) < TELL || self.frames.is_empty() {
            return;
        }
        self.frames.sort_by(f32::total_cmp);
        let at = |share: f32| {
            let index = (self.frames.len() - 1) as f32 * share;
            self.frames.get(index as usize).copied().unwrap_or_default() * 1000.0
        };
        tracing::debug!(
            "{} frames: median {:.1} ms, 95th of 100 {:.1} ms, worst {:.1} ms",
            self.frames.len(),
            at(0.5),
            at(0.95),
            at(1.0)
        );
        self.frames.clear();
        self.told = Some(now);
    }
}
