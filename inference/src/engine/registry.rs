//! Which models are known, and by what names requests call them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::protocol::FoundModel;
use super::request::ModelRef;
use crate::formats::detect::{ModelInfo, ModelKind};
use crate::formats::split::ModelParts;
use crate::models::check;

/// A model that is not known under a name.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No such name.
    #[error("there is no model named '{name}'; known models: {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// Its files were replaced by something else.
    #[error("the files of '{name}' were replaced, and what is there now cannot be used: {fault}")]
    Replaced {
        /// The name asked for.
        name: String,
        /// What is wrong with them.
        fault: String,
    },
}

/// Known models by name.
#[derive(Debug, Default)]
pub struct Registry {
    models: BTreeMap<String, (PathBuf, ModelInfo)>,
}

impl Registry {
    /// Looks at files and folders, keeps what can be used, and tells about all that was found.
    pub fn add(&mut self, paths: &[PathBuf]) -> Vec<FoundModel> {
        let mut found = Vec::new();
        for path in paths {
            for (path, info) in check::scan(path) {
                let model = match &info {
                    Ok(info) if info.usable().is_ok() => {
                        Some(ModelRef::named(self.insert(&path, info.clone())))
                    }
                    _ => None,
                };
                found.push(FoundModel {
                    model,
                    path,
                    info: info.map_err(|error| error.to_string()),
                });
            }
        }
        found
    }

    /// Keeps a model in separate files, and tells about it under the path of its U-Net.
    pub fn add_parts(&mut self, parts: &ModelParts) -> FoundModel {
        let info = check::of_parts(parts);
        let model = match &info {
            Ok(info) if info.usable().is_ok() => {
                Some(ModelRef::named(self.insert(&parts.unet, info.clone())))
            }
            _ => None,
        };
        FoundModel {
            model,
            path: parts.unet.clone(),
            info: info.map_err(|error| error.to_string()),
        }
    }

    fn insert(&mut self, path: &Path, info: ModelInfo) -> String {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        // One U-Net may be used with several autoencoders.
        let known = self
            .models
            .iter_mut()
            .find(|(_, (known, told))| *known == path && told.parts() == info.parts());
        if let Some((name, (_, told))) = known {
            // What lies there may be another file by now.
            *told = info;
            return name.clone();
        }
        let stem = if path.is_dir() {
            path.file_name()
        } else {
            path.file_stem()
        };
        let stem = stem.map_or_else(
            || "model".to_owned(),
            |stem| stem.to_string_lossy().into_owned(),
        );
        let mut name = stem.clone();
        let mut number = 2;
        while self.models.contains_key(&name) {
            name = format!("{stem} ({number})");
            number += 1;
        }
        self.models.insert(name.clone(), (path, info));
        name
    }

    /// Looks again at a model whose files were replaced.
    ///
    /// # Errors
    /// If what lies there now cannot be used; it is then no longer known.
    pub fn look_again(&mut self, model: &ModelRef, path: &Path) -> Result<(), RegistryError> {
        let Some((_, known)) = self.models.get(&model.name) else {
            return Ok(());
        };
        let info = match known.parts() {
            Some(parts) => check::of_parts(parts),
            None => match check::scan(path)
                .into_iter()
                .find(|(found, _)| found == path)
            {
                Some((_, info)) => info,
                // Gone: opening it says so.
                None => return Ok(()),
            },
        };
        let fault = match info {
            Ok(info) => match info.usable() {
                Ok(()) => {
                    self.models
                        .insert(model.name.clone(), (path.to_owned(), info));
                    return Ok(());
                }
                Err(reason) => reason.to_owned(),
            },
            Err(error) => error.to_string(),
        };
        self.models.remove(&model.name);
        Err(RegistryError::Replaced {
            name: model.name.clone(),
            fault,
        })
    }

    /// Names of all models of a kind, in order.
    pub fn names_of(&self, kind: ModelKind) -> Vec<String> {
        let of_kind = self
            .models
            .iter()
            .filter(|(_, (_, info))| info.kind() == kind);
        of_kind.map(|(name, _)| name.clone()).collect()
    }

    /// Path and description of a model.
    ///
    /// # Errors
    /// If the name is not known.
    pub fn find(&self, model: &ModelRef) -> Result<(&Path, &ModelInfo), RegistryError> {
        self.models
            .get(&model.name)
            .map(|(path, info)| (path.as_path(), info))
            .ok_or_else(|| RegistryError::Unknown {
                name: model.name.clone(),
                known: match self
                    .models
                    .keys()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", ")
                {
                    names if names.is_empty() => "none".to_owned(),
                    names => names,
                },
            })
    }
}
