//! The process that is killed: this very program, run again for one test that does what it is told.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser as _;
use diptych::cli::args::Cli;

/// What the child is to do: `write`, `studio`, `fill`, or `cli`.
const PART: &str = "DIPTYCH_TEST_PART";
/// Its words, as a JSON list.
const WORDS: &str = "DIPTYCH_TEST_WORDS";
/// Longer than anything takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process that can be killed, and what it said.
pub struct Running {
    child: Child,
    lines: crossbeam_channel::Receiver<String>,
    /// Every whole line so far.
    pub said: Vec<String>,
}

/// Starts the program as another process. Standard error goes to ours.
pub fn start(part: &str, words: &[&str], folder: &Path) -> Running {
    start_in(
        Command::new(std::env::current_exe().unwrap()),
        part,
        words,
        folder,
    )
}

/// As [`start`], through another program that runs this one in its place.
pub fn start_in(mut command: Command, part: &str, words: &[&str], folder: &Path) -> Running {
    command
        .args([
            "child::play_the_part",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(PART, part)
        .env(WORDS, serde_json::to_string(words).unwrap())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = crossbeam_channel::bounded(1 << 16);
    std::thread::Builder::new()
        .name("reader".into())
        .spawn(move || read(stdout, &sender))
        .unwrap();
    Running {
        child,
        lines,
        said: Vec::new(),
    }
}

/// Whole lines only: what was cut off by the kill was not said.
fn read(
    mut stdout: BufReader<std::process::ChildStdout>,
    sender: &crossbeam_channel::Sender<String>,
) {
    let mut line = String::new();
    while stdout.read_line(&mut line).unwrap_or(0) > 0 && line.ends_with('\n') {
        if sender.send(line.trim_end().to_owned()).is_err() {
            return;
        }
        line.clear();
    }
}

impl Running {
    /// Waits for a line that begins so; gives it.
    pub fn wait_for(&mut self, beginning: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_deadline(deadline) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.starts_with(beginning) {
                        return line;
                    }
                }
                Err(error) => panic!("no '{beginning}': {error}; only {:?}", self.said),
            }
        }
    }

    /// Lets it run for a while, or to its end.
    pub fn run_for(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while let Ok(line) = self.lines.recv_deadline(deadline) {
            self.said.push(line);
        }
    }

    /// SIGKILL. Gives everything that it said, and whether it had ended by itself.
    pub fn kill(mut self) -> (Vec<String>, bool) {
        let ended = self.child.try_wait().unwrap().is_some();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.said.extend(self.lines.iter());
        (self.said, ended)
    }

    /// Waits for its end, which must be a good one.
    pub fn finish(mut self) -> Vec<String> {
        self.said.extend(self.lines.iter());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {:?}", self.said);
        self.said
    }
}

/// Says a line; once this returns it is out of the process.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Not a test but the child process; without a part it has nothing to do.
#[test]
fn play_the_part() {
    let Ok(part) = std::env::var(PART) else {
        return;
    };
    let words: Vec<String> = serde_json::from_str(&std::env::var(WORDS).unwrap()).unwrap();
    // The test's own beginning of a line ends here.
    say("");
    match part.as_str() {
        "write" => crate::writers::write(&words),
        "studio" => crate::studio::work(&words),
        "fill" => crate::limits::fill(&words),
        "cli" => {
            let words = std::iter::once("diptych".to_owned()).chain(words);
            diptych::cli::run(Cli::try_parse_from(words).unwrap()).unwrap();
        }
        other => panic!("no part '{other}'"),
    }
}
