//! `diptych models`: what is found where, and what a model is.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use diptych_inference::formats::FormatError;
use diptych_inference::formats::detect::{self, ModelInfo, ModelKind, ModelLayout};
use diptych_inference::tools::{self, DtypeCount};
use serde::Serialize;

use super::args::{Global, ModelsArgs, ModelsVerb};
use super::client::{check_readable, named};
use super::error::{CliError, Result};
use super::out;
use crate::folders;

/// Longest time for looking into folders; what was found until then is told.
const LONGEST: Duration = Duration::from_secs(8);
/// Models that may wait to be taken from the thread that looks.
const WAITING: usize = 64;
/// Where the program's own models are said to come from.
pub const BUILT_IN: &str = "built in";

/// What is known about one model.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// File or folder name without ending: how requests name it.
    pub name: String,
    /// Whose folder it was found in.
    pub source: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Whether it can be used here.
    pub usable: bool,
    /// Why not.
    pub reason: Option<String>,
    /// In a few words.
    pub description: Option<String>,
    /// Bytes of its files.
    pub bytes: Option<u64>,
    /// What its files tell, unless they are damaged.
    #[serde(flatten)]
    pub facts: Option<Facts>,
}

/// What a model's files tell.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// The name that the model gives itself.
    pub title: Option<String>,
    /// What it is for.
    pub kind: ModelKind,
    /// How it lies on disk.
    pub layout: ModelLayout,
    /// Its networks.
    pub architecture: String,
    /// Storage types of its weights.
    pub dtypes: Vec<Dtype>,
    /// Number of tensors.
    pub tensors: usize,
    /// Number of weights.
    pub parameters: u64,
    /// Bytes of weights that are converted while loading, and lie in main memory beside what a device holds.
    pub converted_bytes: u64,
    /// What it can do.
    pub abilities: Vec<String>,
    /// Further facts.
    pub details: BTreeMap<String, String>,
}

/// How much of a model is stored in which way.
#[derive(Clone, Debug, Serialize)]
pub struct Dtype {
    /// The type's name.
    pub dtype: String,
    /// Tensors of it.
    pub tensors: usize,
    /// Bytes of them.
    pub bytes: u64,
}

impl Entry {
    fn new(
        source: &str,
        path: PathBuf,
        info: &std::result::Result<ModelInfo, FormatError>,
    ) -> Self {
        let stem = if path.is_dir() {
            path.file_name()
        } else {
            path.file_stem()
        };
        let reason = match info {
            Err(error) => Some(error.to_string()),
            Ok(info) => info.usable().err().map(str::to_owned),
        };
        let known = info.as_ref().ok();
        Self {
            name: stem.map_or_else(
                || "model".to_owned(),
                |stem| stem.to_string_lossy().into_owned(),
            ),
            source: source.to_owned(),
            usable: reason.is_none(),
            reason: reason.map(|reason| out::one_line(&named(&path, &reason))),
            description: known.map(ModelInfo::describe),
            bytes: known.map(ModelInfo::file_bytes),
            facts: known.map(Facts::new),
            path,
        }
    }

    /// On one line.
    pub fn summary(&self) -> String {
        match (&self.reason, &self.description) {
            (Some(reason), _) => format!("{}: cannot be used: {reason}", self.name),
            (None, description) => {
                let description = description.as_deref().unwrap_or("model");
                let size = self
                    .bytes
                    .map_or(String::new(), |bytes| format!(", {}", out::bytes(bytes)));
                format!(
                    "{}: {description}{size}, {}",
                    self.name,
                    self.path.display()
                )
            }
        }
    }

    /// All that is known, a fact a line.
    fn print(&self) -> Result<()> {
        let row = |key: &str, value: &str| {
            out::line(&format!(
                "{:<18} {}",
                out::one_line(key),
                out::one_line(value)
            ))
        };
        row("name", &self.name)?;
        row("path", &self.path.display().to_string())?;
        if let Some(description) = &self.description {
            row("description", description)?;
        }
        if let Some(bytes) = self.bytes {
            row("size", &out::bytes(bytes))?;
        }
        if let Some(facts) = &self.facts {
            if let Some(title) = &facts.title {
                row("title", title)?;
            }
            row("architecture", &facts.architecture)?;
            row("layout", facts.layout.name())?;
            let dtype = |dtype: &Dtype| {
                format!(
                    "{} ({} tensors, {})",
                    dtype.dtype,
                    dtype.tensors,
                    out::bytes(dtype.bytes)
                )
            };
            row(
                "types",
                &facts
                    .dtypes
                    .iter()
                    .map(dtype)
                    .collect::<Vec<_>>()
                    .join(", "),
            )?;
            if facts.converted_bytes > 0 {
                let bytes = out::bytes(facts.converted_bytes);
                row(
                    "converted",
                    &format!(
                        "{bytes} of weights while loading; they lie in main memory beside what the device holds"
                    ),
                )?;
            }
            let abilities = facts.abilities.join(", ");
            row(
                "abilities",
                if abilities.is_empty() {
                    "none"
                } else {
                    &abilities
                },
            )?;
            facts
                .details
                .iter()
                .try_for_each(|(key, value)| row(key, value))?;
        }
        row("usable", if self.usable { "yes" } else { "no" })
    }
}

impl Facts {
    fn new(info: &ModelInfo) -> Self {
        let dtype = |count: &DtypeCount| Dtype {
            dtype: count.dtype.to_string(),
            tensors: count.tensors,
            bytes: count.bytes,
        };
        Self {
            title: info.name().map(str::to_owned),
            kind: info.kind(),
            layout: info.layout(),
            architecture: info.architecture().to_owned(),
            dtypes: info.dtypes().iter().map(dtype).collect(),
            tensors: info.tensors(),
            parameters: info.parameters(),
            converted_bytes: info.converted_bytes(),
            abilities: info.abilities().to_vec(),
            details: info.details().clone(),
        }
    }
}

/// What there is at a path.
pub fn look(path: &Path, source: &str) -> Vec<Entry> {
    if !path.exists() {
        return Vec::new();
    }
    tools::scan(path)
        .into_iter()
        .map(|(path, info)| Entry::new(source, path, &info))
        .collect()
}

/// Lists models, or tells about one.
///
/// # Errors
/// If a folder that was named is not there; for `show`, why the model cannot be used.
pub fn run(global: &Global, args: &ModelsArgs) -> Result<()> {
    match &args.verb {
        Some(ModelsVerb::Show { path, json }) => show(path, *json),
        Some(ModelsVerb::Synthesize(args)) => super::synthesize::run(args),
        None => list(global, args),
    }
}

fn show(path: &Path, json: bool) -> Result<()> {
    check_readable(path)?;
    let mut found = look(path, "named");
    let entry = match (found.len(), found.pop()) {
        (1, Some(entry)) => entry,
        (0, _) | (_, None) => {
            return Err(CliError::Failed(format!(
                "{}: no model was found here",
                path.display()
            )));
        }
        (count, Some(last)) => {
            return Err(CliError::Failed(format!(
                "{} holds {count} models; name one of them, such as {}",
                path.display(),
                last.path.display()
            )));
        }
    };
    // Of a damaged file there is nothing to tell but the damage.
    if entry.facts.is_some() || json {
        if json {
            out::json_pretty(&entry)?;
        } else {
            entry.print()?;
        }
    }
    entry
        .reason
        .map_or(Ok(()), |reason| Err(CliError::Failed(reason)))
}

/// What `--json` gives.
#[derive(Serialize)]
struct List {
    models: Vec<Entry>,
    folders: Vec<Looked>,
    /// False if time ran out.
    complete: bool,
}

/// A place where models were looked for.
#[derive(Clone, Debug, Serialize)]
struct Looked {
    source: String,
    path: PathBuf,
    present: bool,
}

fn list(global: &Global, args: &ModelsArgs) -> Result<()> {
    for folder in &args.folder {
        check_readable(folder)?;
    }
    let places = places(global, args);
    let (models, complete) = gather(&places);
    if args.json {
        let folders = places.into_iter().map(|(folder, _)| folder).collect();
        return out::json_pretty(&List {
            models,
            folders,
            complete,
        });
    }
    let mut source = None;
    for entry in &models {
        if source != Some(&entry.source) {
            out::line(&format!("{}:", entry.source))?;
            source = Some(&entry.source);
        }
        out::line(&format!("  {}", out::one_line(&entry.summary())))?;
    }
    if !complete {
        out::remark(&format!(
            "note: there is more than can be looked at in {} seconds",
            LONGEST.as_secs()
        ));
    }
    if models.is_empty() {
        let looked: Vec<String> = places
            .iter()
            .map(|(place, _)| place.path.display().to_string())
            .collect();
        out::remark(&format!(
            "no models were found; looked in {}",
            looked.join(", ")
        ));
    }
    Ok(())
}

/// All models that are found on this machine, usable or not.
pub(super) fn known(global: &Global) -> Vec<Entry> {
    let everywhere = ModelsArgs {
        verb: None,
        folder: Vec::new(),
        json: false,
    };
    gather(&places(global, &everywhere)).0
}

/// Where to look, and the paths to look at there.
fn places(global: &Global, args: &ModelsArgs) -> Vec<(Looked, Vec<PathBuf>)> {
    let mut places = Vec::new();
    let mut add = |source: &str, path: PathBuf, inside: Option<Vec<PathBuf>>| {
        let present = path.is_dir() || path.is_file();
        let paths = inside.unwrap_or_else(|| vec![path.clone()]);
        places.push((
            Looked {
                source: source.to_owned(),
                path,
                present,
            },
            paths,
        ));
    };
    match folders::assets(global.assets.as_deref()) {
        Ok(assets) => add(BUILT_IN, assets.join("models"), None),
        Err(error) => tracing::warn!("{error}"),
    }
    for folder in &args.folder {
        add("named", folder.clone(), None);
        for path in folders::extra_model_folders(folder) {
            add("named", path, None);
        }
    }
    match folders::data(global.data_dir.as_deref()) {
        Ok(data) => add("data folder", data.join("models"), None),
        Err(error) => tracing::warn!("{error}"),
    }
    for folder in super::window::settings(global).folders {
        let further = folders::extra_model_folders(&folder);
        add("added by you", folder, None);
        for path in further {
            add("added by you", path, None);
        }
    }
    for folder in folders::known_folders() {
        let further = folders::extra_model_folders(&folder.path);
        add(folder.owner, folder.path, None);
        for path in further {
            add(folder.owner, path, None);
        }
    }
    if let Some(root) = folders::ollama_folder() {
        let models = folders::ollama_models(&root);
        add("Ollama", root, Some(models));
    }
    places
}

/// Looks at all places on a thread of its own, so that a dead network folder cannot hold the program up.
fn gather(places: &[(Looked, Vec<PathBuf>)]) -> (Vec<Entry>, bool) {
    let deadline = Instant::now() + LONGEST;
    let (sender, receiver) = bounded(WAITING);
    let work: Vec<(String, Vec<PathBuf>)> = places
        .iter()
        .filter(|(place, _)| place.present)
        .map(|(place, paths)| (place.source.clone(), paths.clone()))
        .collect();
    let look = move || {
        for (source, paths) in work {
            for path in paths {
                let end = detect::visit(&path, &mut |path, mut info| {
                    if let Ok(info) = &mut info {
                        tools::check(&path, info);
                    }
                    // Nobody takes it any more once time is up.
                    match sender.send(Entry::new(&source, path, &info)) {
                        Ok(()) => ControlFlow::Continue(()),
                        Err(_) => ControlFlow::Break(()),
                    }
                });
                if end.is_break() {
                    return;
                }
            }
        }
    };
    match std::thread::Builder::new()
        .name("diptych-models".into())
        .spawn(look)
    {
        Ok(_) => take_until(&receiver, deadline),
        Err(error) => {
            tracing::error!("no thread to look for models: {error}");
            (Vec::new(), false)
        }
    }
}

fn take_until(receiver: &Receiver<Entry>, deadline: Instant) -> (Vec<Entry>, bool) {
    let mut entries = Vec::new();
    loop {
        match receiver.recv_deadline(deadline) {
            Ok(entry) => entries.push(entry),
            Err(RecvTimeoutError::Disconnected) => return (entries, true),
            Err(RecvTimeoutError::Timeout) => return (entries, false),
        }
    }
}
