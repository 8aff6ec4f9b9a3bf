//! The real window, driven as a person would: what the shell does, over all panels.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cramped;
mod deeds;
mod narrow;
mod notices;
mod readme;
mod shell;
mod shots;
mod workspaces;
