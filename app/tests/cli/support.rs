//! Running the program.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What a run gave.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub time: Duration,
}

/// The program with a folder of its own to work in and no models of other programs in sight.
pub struct Studio {
    pub folder: tempfile::TempDir,
    /// Where its library is.
    pub data: tempfile::TempDir,
}

impl Studio {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            data: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file with these bytes.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_diptych"));
        command.args(args).current_dir(self.folder.path());
        let nowhere = self.path("nowhere");
        for variable in [
            "HF_HUB_CACHE",
            "LLAMA_CACHE",
            "OLLAMA_MODELS",
            "HOME",
            "XDG_DATA_HOME",
        ] {
            command.env(variable, &nowhere);
        }
        command.env("DIPTYCH_DATA_DIR", self.data.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs on the CPU.
    pub fn run(&self, args: &[&str]) -> Run {
        self.run_with_input(args, None)
    }

    /// Runs on the CPU with something on standard input.
    pub fn run_with_input(&self, args: &[&str], input: Option<&str>) -> Run {
        let start = Instant::now();
        let mut command = self.command(args);
        command.args(["--device", "cpu"]);
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().unwrap();
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            stdin.write_all(input.as_bytes()).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        Run {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            time: start.elapsed(),
        }
    }
}

impl Run {
    /// Checks that it went well.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// Checks that it failed as promised: exit code 1, nothing on stdout, one line on stderr, soon. Gives the line.
    #[track_caller]
    pub fn refused(self) -> String {
        assert_eq!(self.stdout, "", "{self:#?}");
        self.failed()
    }

    /// As [`Run::refused`], but something may be on stdout.
    #[track_caller]
    pub fn failed(self) -> String {
        assert_eq!(self.code, Some(1), "{self:#?}");
        assert!(self.time < Duration::from_secs(10), "{self:#?}");
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{self:#?}");
        assert!(lines[0].starts_with("error: "), "{self:#?}");
        assert!(lines[0].len() < 1000, "{self:#?}");
        lines[0].to_owned()
    }

    /// Checks that it was wrong usage: exit code 2, nothing on stdout, something to read on stderr.
    #[track_caller]
    pub fn misused(self) -> String {
        assert_eq!(self.code, Some(2), "{self:#?}");
        assert_eq!(self.stdout, "", "{self:#?}");
        assert!(
            self.stderr.lines().any(|line| line.starts_with("error: ")),
            "{self:#?}"
        );
        self.stderr
    }

    /// All of stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Every line of stdout as JSON.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
        };
        self.stdout.lines().map(parse).collect()
    }
}

/// A file or folder of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join(path)
}

/// A text-to-image model with tiny random weights, its VAE factor 4.
pub fn tiny() -> String {
    text(&repository("tests/reference/models/tiny-sd"))
}

/// The built-in chat model.
pub fn muse() -> String {
    text(&repository("assets/models/muse"))
}

pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
