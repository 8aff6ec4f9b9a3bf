//! `diptych history`: what is in the library.

use std::path::Path;

use diptych_inference::engine::ImageRequest;
use serde::Serialize;
use serde_json::{Value, json};

use super::args::{Global, HistoryArgs};
use super::error::{CliError, Result};
use super::out;
use super::table::Table;
use crate::folders;
use crate::library::records::{Conversation, PictureRecord};
use crate::library::time::{minute, rfc3339};
use crate::library::{Library, LibraryError, PictureQuery};

/// How many a table shows where nobody says.
const SHOWN: usize = 30;

/// A picture of `--json`.
#[derive(Serialize)]
struct Entry<'a> {
    id: i64,
    path: &'a str,
    /// Whether the file is still there.
    present: bool,
    created: String,
    prompt: &'a str,
    negative: &'a str,
    seed: u64,
    model: &'a str,
    size: String,
    width: u32,
    height: u32,
    sampler: &'static str,
    schedule: &'static str,
    steps: u32,
    steps_done: u32,
    guidance: f32,
    seconds: f32,
    favourite: bool,
    grid: Option<i64>,
    request: &'a ImageRequest,
}

impl<'a> Entry<'a> {
    fn new(picture: &'a PictureRecord, path: &'a str) -> Self {
        let request = &picture.request;
        Self {
            id: picture.id.0,
            path,
            present: picture.path.is_file(),
            created: rfc3339(picture.created),
            prompt: &request.prompt,
            negative: &request.negative_prompt,
            seed: request.seed,
            model: &request.model.name,
            size: size(picture),
            width: picture.width,
            height: picture.height,
            sampler: request.sampler.label(),
            schedule: request.schedule.label(),
            steps: request.steps,
            steps_done: picture.steps_done.unwrap_or(request.steps),
            guidance: request.guidance,
            seconds: picture.seconds,
            favourite: picture.favourite,
            grid: picture.grid.map(|grid| grid.0),
            request,
        }
    }
}

fn size(picture: &PictureRecord) -> String {
    format!("{}x{}", picture.width, picture.height)
}

/// Opens the library to look into it.
///
/// # Errors
/// If it cannot be read.
pub fn look(global: &Global) -> Result<Library> {
    let folder = folders::data(global.data_dir.as_deref()).map_err(CliError::failed)?;
    Library::open_read_only(&folder).map_err(CliError::failed)
}

/// Lists.
///
/// # Errors
/// If the library cannot be read.
pub fn run(global: &Global, args: &HistoryArgs) -> Result<()> {
    let library = look(global)?;
    // One more than is shown tells whether there are more.
    let shown = match (args.limit, args.json) {
        (Some(limit), _) => Some(limit as usize),
        (None, true) => None,
        (None, false) => Some(SHOWN),
    };
    if args.chats {
        chats(&library, args, shown)
    } else {
        pictures(&library, args, shown)
    }
}

fn pictures(library: &Library, args: &HistoryArgs, shown: Option<usize>) -> Result<()> {
    let mut found = library
        .pictures(&PictureQuery {
            text: args.search.clone().unwrap_or_default(),
            favourites: args.favourites,
            limit: shown.map_or(0, |shown| shown + 1),
            ..PictureQuery::default()
        })
        .map_err(CliError::failed)?;
    let more = shown.is_some_and(|shown| found.len() > shown);
    found.truncate(shown.unwrap_or(usize::MAX));
    let paths: Vec<String> = found
        .iter()
        .map(|picture| picture.path.to_string_lossy().into_owned())
        .collect();
    if args.json {
        let entries: Vec<Entry<'_>> = found
            .iter()
            .zip(&paths)
            .map(|(picture, path)| Entry::new(picture, path))
            .collect();
        return out::json_pretty(&entries);
    }
    if found.is_empty() {
        return nothing(library.folder(), args, "pictures");
    }
    let mut table = Table::new(&["Made (UTC)", "", "Prompt", "Seed", "Size", "Model", "File"]);
    for (picture, path) in found.iter().zip(paths) {
        let gone = if picture.path.is_file() {
            ""
        } else {
            " (the file is gone)"
        };
        table.row([
            minute(picture.created),
            if picture.favourite { "★" } else { "" }.to_owned(),
            picture.request.prompt.clone(),
            picture.request.seed.to_string(),
            size(picture),
            picture.request.model.name.clone(),
            format!("{path}{gone}"),
        ]);
    }
    table.print()?;
    tell_more(more);
    Ok(())
}

fn tell_more(more: bool) {
    if more {
        out::remark("there are more; --limit shows them");
    }
}

fn nothing(folder: &Path, args: &HistoryArgs, what: &str) -> Result<()> {
    let which = if args.search.is_some() || args.favourites {
        "such "
    } else {
        ""
    };
    out::remark(&format!("no {which}{what} in {}", folder.display()));
    Ok(())
}

/// A conversation of `--json`: everything that is kept, times as text.
fn chat_json(
    library: &Library,
    conversation: &Conversation,
) -> std::result::Result<Value, LibraryError> {
    let mut value = to_json(conversation);
    let messages = library.messages(conversation.id)?;
    let messages = messages.iter().map(|message| {
        let mut value = to_json(message);
        set_time(&mut value, "created", message.created);
        value
    });
    let messages: Vec<Value> = messages.collect();
    set_time(&mut value, "created", conversation.created);
    set_time(&mut value, "changed", conversation.changed);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("messages".into(), messages.into());
    }
    Ok(value)
}

fn to_json(value: &impl Serialize) -> Value {
    // The same was read from JSON a moment ago.
    serde_json::to_value(value).unwrap_or_else(|error| json!({"unreadable": error.to_string()}))
}

fn set_time(value: &mut Value, key: &str, time: i64) {
    if let Some(fields) = value.as_object_mut() {
        fields.insert(key.to_owned(), rfc3339(time).into());
    }
}

fn chats(library: &Library, args: &HistoryArgs, shown: Option<usize>) -> Result<()> {
    let mut conversations = library.conversations().map_err(CliError::failed)?;
    let mut excerpts = std::collections::HashMap::new();
    if let Some(text) = &args.search {
        let found = library
            .search_conversations(text, usize::MAX)
            .map_err(CliError::failed)?;
        for one in found {
            let excerpt = excerpts.entry(one.conversation).or_insert(String::new());
            if excerpt.is_empty() {
                *excerpt = one.excerpt;
            }
        }
        conversations.retain(|conversation| excerpts.contains_key(&conversation.id));
    }
    let more = shown.is_some_and(|shown| conversations.len() > shown);
    conversations.truncate(shown.unwrap_or(usize::MAX));
    if args.json {
        let all: std::result::Result<Vec<Value>, _> = conversations
            .iter()
            .map(|conversation| chat_json(library, conversation))
            .collect();
        return out::json_pretty(&all.map_err(CliError::failed)?);
    }
    if conversations.is_empty() {
        return nothing(library.folder(), args, "conversations");
    }
    let last = if args.search.is_some() {
        "Found"
    } else {
        "Model"
    };
    let mut table = Table::new(&["Changed (UTC)", "Messages", "Title", last]);
    for conversation in &conversations {
        let messages = library
            .messages(conversation.id)
            .map_err(CliError::failed)?;
        let model = conversation.model.as_ref().map(|model| model.name.clone());
        let last = match excerpts.remove(&conversation.id) {
            Some(excerpt) => excerpt,
            None => model.unwrap_or_default(),
        };
        table.row([
            minute(conversation.changed),
            messages.len().to_string(),
            conversation.title.clone(),
            last,
        ]);
    }
    table.print()?;
    tell_more(more);
    Ok(())
}
