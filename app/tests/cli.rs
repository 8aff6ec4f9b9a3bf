//! The program as a person or a script runs it. One binary, so that it is linked once.
// Helpers of tests fail by panicking, as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "cli/support.rs"]
mod support;

#[path = "cli/additions.rs"]
mod additions;
#[path = "cli/again.rs"]
mod again;
#[path = "cli/answers.rs"]
mod answers;
#[path = "cli/bad_files.rs"]
mod bad_files;
#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/compare.rs"]
mod compare;
#[path = "cli/draw.rs"]
mod draw;
#[path = "cli/hostile.rs"]
mod hostile;
#[path = "cli/library.rs"]
mod library;
#[path = "cli/look.rs"]
mod look;
#[path = "cli/text.rs"]
mod text;
#[path = "cli/usage.rs"]
mod usage;
