//! The shelf: every model that was found, usable or not.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use diptych_inference::engine::{FoundModel, ModelRef};
use diptych_inference::formats::detect::{self, ModelInfo};
use diptych_inference::tools;

use crate::defaults::{self, Defaults};
use crate::folders;

/// A model on the shelf.
#[derive(Clone, Debug)]
pub struct Model {
    /// How requests name it; `None` while the engine does not know it, or if it cannot be used.
    pub model: Option<ModelRef>,
    /// Where it lies.
    pub path: PathBuf,
    /// Whose folder it was found in: "Built in", "Hugging Face", ...
    pub source: String,
    /// What it is.
    pub info: Option<ModelInfo>,
    /// Why it cannot be used.
    pub refused: Option<String>,
    /// What it wants where the person says nothing.
    pub defaults: Arc<Defaults>,
}

impl Model {
    /// Its name for people: the engine's, else that of its file.
    pub fn name(&self) -> String {
        match &self.model {
            Some(model) => model.name.clone(),
            None => self
                .path
                .file_stem()
                .unwrap_or(self.path.as_os_str())
                .to_string_lossy()
                .into_owned(),
        }
    }

    /// Whether it draws, and can be used.
    pub fn draws(&self) -> bool {
        self.model.is_some() && self.info.as_ref().is_some_and(ModelInfo::is_text_to_image)
    }

    /// Whether it chats, and can be used.
    pub fn chats(&self) -> bool {
        self.model.is_some() && self.info.as_ref().is_some_and(ModelInfo::is_chat)
    }

    /// A fact from the model's own files.
    pub fn detail(&self, name: &str) -> Option<&str> {
        self.info.as_ref()?.details().get(name).map(String::as_str)
    }

    /// Sizes must be multiples of this.
    pub fn size_factor(&self) -> u32 {
        self.detail("size factor")
            .and_then(|text| text.parse().ok())
            .unwrap_or(8)
    }

    /// The side of the squares that it was trained on.
    pub fn native_side(&self) -> Option<u32> {
        let (width, height) = self.detail("native size")?.split_once('x')?;
        let side = width.parse().ok()?;
        (width == height && (256..=2048).contains(&side)).then_some(side)
    }
}

/// All models that were found.
#[derive(Debug, Default)]
pub struct Shelf {
    models: Vec<Model>,
    /// Whether folders are being looked into.
    pub scanning: bool,
    /// Whether all places have been looked into once, and the engine knows what was found.
    pub ready: bool,
}

impl Shelf {
    /// All of them, in the order in which they were found; the built-in ones come first.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// Those that draw.
    pub fn drawing(&self) -> impl Iterator<Item = &Model> {
        self.models.iter().filter(|model| model.draws())
    }

    /// Those that chat.
    pub fn chatting(&self) -> impl Iterator<Item = &Model> {
        self.models.iter().filter(|model| model.chats())
    }

    /// The model that requests call so.
    pub fn find(&self, model: &ModelRef) -> Option<&Model> {
        self.models.iter().find(|known| {
            known
                .model
                .as_ref()
                .is_some_and(|known| known.name == model.name)
        })
    }

    /// The model at a path.
    pub fn at(&self, path: &Path) -> Option<&Model> {
        self.models.iter().find(|known| known.path == path)
    }

    /// Takes a model that was looked at in the background; the engine does not know it yet.
    pub(super) fn seen(&mut self, seen: Seen) {
        let Seen {
            source,
            path,
            info,
            refused,
            defaults,
        } = seen;
        match self.models.iter_mut().find(|known| known.path == path) {
            Some(known) => {
                known.info = info;
                known.refused = refused;
                known.defaults = defaults;
            }
            None => self.models.push(Model {
                model: None,
                path,
                source,
                info,
                refused,
                defaults,
            }),
        }
    }

    /// Takes the name that the engine has for a model.
    pub(super) fn known(&mut self, found: FoundModel) {
        let Some(known) = self
            .models
            .iter_mut()
            .find(|known| known.path == found.path)
        else {
            tracing::warn!(
                "{}: the engine found what nobody asked for",
                found.path.display()
            );
            return;
        };
        known.model = found.model;
        known.refused = match found.info {
            Ok(info) => info.usable().err().map(str::to_owned),
            Err(reason) => Some(reason),
        };
    }

    /// The engine is a new one and knows nothing yet. Gives the paths to tell it, in their order.
    pub(super) fn forget_names(&mut self) -> Vec<PathBuf> {
        self.ready = false;
        self.models
            .iter_mut()
            .filter_map(|model| model.model.take().map(|_| model.path.clone()))
            .collect()
    }

    /// Where all of them lie.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.models.iter().map(|model| model.path.clone()).collect()
    }

    /// Forgets models that are no longer there.
    pub(super) fn drop_missing(&mut self, missing: &[PathBuf]) {
        self.models.retain(|model| !missing.contains(&model.path));
    }

    /// Forgets those of other programs.
    pub(super) fn drop_elsewhere(&mut self) {
        let ours = |model: &Model| model.source == BUILT_IN || model.source == ADDED;
        self.models.retain(ours);
    }

    /// Forgets what was found in a folder.
    pub(super) fn drop_below(&mut self, folder: &Path) {
        self.models.retain(|model| !model.path.starts_with(folder));
    }
}

/// A model as the looking thread tells of it.
#[derive(Debug)]
pub(super) struct Seen {
    pub source: String,
    pub path: PathBuf,
    pub info: Option<ModelInfo>,
    pub refused: Option<String>,
    pub defaults: Arc<Defaults>,
}

/// A place to look into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub source: String,
    pub path: PathBuf,
}

/// Whose the program's own models are.
pub const BUILT_IN: &str = "Built in";
/// Whose the models are that the person added.
pub const ADDED: &str = "Added by you";

/// Folders of other programs that are there.
pub(super) fn elsewhere() -> Vec<Place> {
    let mut places: Vec<Place> = folders::known_folders()
        .into_iter()
        .map(|folder| Place {
            source: folder.owner.to_owned(),
            path: folder.path,
        })
        .collect();
    if let Some(root) = folders::ollama_folder() {
        places.extend(folders::ollama_models(&root).into_iter().map(|path| Place {
            source: "Ollama".to_owned(),
            path,
        }));
    }
    places.retain(|place| place.path.exists());
    places
}

/// Looks into places one after another; for a thread of its own. Ends when nobody listens any more.
pub(super) fn look(places: &[Place], mut tell: impl FnMut(Seen) -> bool) {
    for place in places {
        let end = detect::visit(&place.path, &mut |path, info| {
            let info = info.map(|mut info| {
                if info.usable().is_ok() {
                    tools::check(&path, &mut info);
                }
                info
            });
            let (info, refused) = match info {
                Ok(info) => {
                    let refused = info.usable().err().map(str::to_owned);
                    (Some(info), refused)
                }
                Err(error) => (None, Some(error.to_string())),
            };
            let (defaults, refused) = match defaults::of_model(&path) {
                Ok(defaults) => (defaults, refused),
                Err(error) => (Defaults::default(), refused.or(Some(error.to_string()))),
            };
            let seen = Seen {
                source: place.source.clone(),
                path,
                info,
                refused,
                defaults: Arc::new(defaults),
            };
            if tell(seen) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        if end.is_break() {
            return;
        }
    }
}

/// The places, and those that they lead to.
pub(super) fn with_extra(places: Vec<Place>) -> Vec<Place> {
    let mut all: Vec<Place> = Vec::new();
    for place in places.into_iter().filter(|place| place.path.exists()) {
        let further = folders::extra_model_folders(&place.path);
        let source = place.source.clone();
        let mut add = |place: Place| {
            if !all.contains(&place) {
                all.push(place);
            }
        };
        add(place);
        for path in further {
            let source = source.clone();
            add(Place { source, path });
        }
    }
    all
}
