//! `diptych queue`: the jobs that are not done, of every window and command.

use diptych_inference::engine::{ChatPrompt, Request};
use serde::Serialize;

use super::args::{Global, QueueArgs};
use super::error::{CliError, Result};
use super::table::Table;
use super::{history, out};
use crate::library::records::{Target, TaskRecord, TaskState};
use crate::library::time::rfc3339;

/// A job of `--json`.
#[derive(Serialize)]
struct Entry {
    id: i64,
    /// `image` or `chat`.
    kind: &'static str,
    state: TaskState,
    /// Whether the run of the program that has it lives; if not, the next window takes it over.
    alive: bool,
    session: i64,
    /// What has it: `window`, `draw`, ...
    owner: Option<String>,
    progress: Option<Progress>,
    prompt: String,
    target: Target,
    position: f64,
    created: String,
    request: Request,
}

#[derive(Serialize)]
struct Progress {
    done: u32,
    total: u32,
}

impl Entry {
    fn new(task: TaskRecord, alive: bool, owner: Option<String>) -> Self {
        Self {
            id: task.id.0,
            kind: match &task.request {
                Request::Image(_) => "image",
                Request::Chat(_) => "chat",
                Request::Upscale(_) => "upscale",
                Request::Score(_) => "score",
            },
            state: task.state,
            alive,
            session: task.session.0,
            owner,
            progress: task.progress.map(|(done, total)| Progress { done, total }),
            prompt: prompt(&task.request),
            target: task.target,
            position: task.position,
            created: rfc3339(task.created),
            request: task.request,
        }
    }

    fn state(&self) -> &'static str {
        match (self.state, self.alive) {
            (TaskState::Failed, _) => "failed",
            (TaskState::Paused, true) => "paused",
            (_, false) => "left behind",
            (TaskState::Running, true) => "running",
            (TaskState::Waiting, true) => "waiting",
        }
    }
}

/// What was asked for: of a conversation, the last that was said.
fn prompt(request: &Request) -> String {
    match request {
        Request::Image(request) => request.prompt.clone(),
        Request::Upscale(request) => format!("larger by {}", request.model.name),
        Request::Chat(request) => last_said(&request.prompt),
        Request::Score(request) => last_said(&request.prompt),
    }
}

fn last_said(prompt: &ChatPrompt) -> String {
    match prompt {
        ChatPrompt::Raw(text) => text.clone(),
        ChatPrompt::Messages(messages) => messages
            .last()
            .map(|message| message.content.clone())
            .unwrap_or_default(),
    }
}

fn describe(target: &Target) -> String {
    match target {
        Target::Gallery | Target::Branch { .. } | Target::Enlarged { .. } => "the pictures".into(),
        Target::Cell { row, column, .. } => {
            format!("a comparison, row {}, column {}", row + 1, column + 1)
        }
        Target::Answer { .. } => "a conversation".into(),
        Target::Lane { lane, .. } => format!("a comparison of answers, {}", lane + 1),
        Target::Variants { .. } => "variants of a prompt".into(),
        Target::File { path } => path.display().to_string(),
        Target::Words { .. } => "which words of a picture matter".into(),
        Target::Again { .. } => "whether a picture can be made again".into(),
        Target::Way { .. } => "a way between two pictures".into(),
    }
}

/// Lists.
///
/// # Errors
/// If the library cannot be read.
pub fn run(global: &Global, args: &QueueArgs) -> Result<()> {
    let library = history::look(global)?;
    let tasks = library.tasks().map_err(CliError::failed)?;
    let mut entries = Vec::with_capacity(tasks.len());
    for (task, alive) in tasks {
        let owner = library.kind_of(task.session).map_err(CliError::failed)?;
        entries.push(Entry::new(task, alive, owner));
    }
    if args.json {
        return out::json_pretty(&entries);
    }
    if entries.is_empty() {
        out::remark("nothing waits");
        return Ok(());
    }
    let mut table = Table::new(&["State", "Done", "Kind", "Prompt", "Goes to"]);
    for entry in &entries {
        let done = entry.progress.as_ref();
        table.row([
            entry.state().to_owned(),
            done.map(|progress| format!("{}/{}", progress.done, progress.total))
                .unwrap_or_default(),
            entry.kind.to_owned(),
            entry.prompt.clone(),
            describe(&entry.target),
        ]);
    }
    table.print()
}
