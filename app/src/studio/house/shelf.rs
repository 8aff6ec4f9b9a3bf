//! Looking for models, and settings.

use std::path::PathBuf;

use diptych_inference::engine::Command;

use super::{House, Later};
use crate::studio::command::ModelsCommand;
use crate::studio::effects::{AskKind, Effect};
use crate::studio::log::Level;
use crate::studio::models::{self, Seen};
use crate::studio::settings::{self, Settings, SettingsCommand};

/// Endings of model files.
pub const MODEL_ENDINGS: &[&str] = &["safetensors", "sft", "gguf", "ckpt", "pt", "pth", "bin"];

impl House {
    pub(super) fn look_for_models(&mut self) {
        let mut places = vec![models::Place {
            source: models::BUILT_IN.to_owned(),
            path: self.assets.join("models"),
        }];
        places.push(models::Place {
            source: models::ADDED.to_owned(),
            path: self.data.join("models"),
        });
        places.extend(self.settings.folders.iter().map(|path| models::Place {
            source: models::ADDED.to_owned(),
            path: path.clone(),
        }));
        let elsewhere = self.look_elsewhere && self.settings.look_elsewhere;
        self.look_into(places, elsewhere);
    }

    pub(super) fn look_into(&mut self, places: Vec<models::Place>, elsewhere: bool) {
        self.scan += 1;
        self.shelf.scanning = true;
        let (scan, reply) = (self.scan, self.reply.clone());
        let known = self.shelf.paths();
        let spawned = std::thread::Builder::new()
            .name("diptych-look".into())
            .spawn(move || {
                let missing: Vec<PathBuf> =
                    known.into_iter().filter(|path| !path.exists()).collect();
                if !missing.is_empty() {
                    reply.say(Later::Missing(missing));
                }
                let tell = |seen| reply.say(Later::Seen(Box::new(seen)));
                models::look(&models::with_extra(places), tell);
                if elsewhere {
                    models::look(&models::with_extra(models::elsewhere()), tell);
                }
                reply.say(Later::LookedEverywhere(scan));
            });
        if let Err(error) = spawned {
            self.shelf.scanning = false;
            self.log.notify(
                Level::Error,
                "Models cannot be looked for",
                format!("the system gives no thread: {error}"),
            );
        }
    }

    pub(super) fn seen(&mut self, seen: Seen) {
        let usable = seen.refused.is_none();
        let path = seen.path.clone();
        self.shelf.seen(seen);
        if usable
            && self
                .shelf
                .at(&path)
                .is_some_and(|model| model.model.is_none())
        {
            self.name_models(vec![path]);
        }
    }

    /// Has the engine give names to models.
    pub(super) fn name_models(&mut self, paths: Vec<PathBuf>) {
        for path in paths {
            if self.send(Command::AddModels(vec![path])) {
                self.unnamed += 1;
            }
        }
    }

    pub(super) fn looked_everywhere(&mut self, scan: u64) {
        if scan == self.scan {
            self.shelf.scanning = false;
            self.settle();
        }
    }

    /// When every model has its name, jobs whose model is still unknown are given to the engine all the same: it tells why
    /// they cannot be done.
    pub(super) fn settle(&mut self) {
        self.shelf.ready |= !self.shelf.scanning && self.unnamed == 0;
        self.give_all();
    }

    pub(in crate::studio) fn run_models(&mut self, command: ModelsCommand) {
        match command {
            ModelsCommand::Rescan => self.look_for_models(),
            ModelsCommand::ChooseFolder => {
                self.ask("A folder of models", AskKind::OpenFolder, |path| {
                    ModelsCommand::Add(path).into()
                });
            }
            ModelsCommand::ChooseFile => {
                let kind = AskKind::OpenFile {
                    what: "Models",
                    endings: MODEL_ENDINGS,
                };
                self.ask("A model", kind, |path| ModelsCommand::Add(path).into());
            }
            ModelsCommand::Add(path) => {
                if !self.settings.folders.contains(&path) {
                    let before = self.settings.clone();
                    self.settings.folders.push(path.clone());
                    self.save_settings(&before);
                }
                let place = models::Place {
                    source: models::ADDED.to_owned(),
                    path,
                };
                self.look_into(vec![place], false);
            }
            ModelsCommand::Unload(model) => {
                if self.can_unload(&model).is_ok() {
                    self.send(Command::Unload(model));
                }
            }
            ModelsCommand::UnloadAll => {
                for model in self.loaded.clone() {
                    self.command(ModelsCommand::Unload(model));
                }
            }
            ModelsCommand::RemoveFolder(path) => {
                let before = self.settings.clone();
                self.settings.folders.retain(|folder| *folder != path);
                self.save_settings(&before);
                self.shelf.drop_below(&path);
            }
        }
    }

    pub(in crate::studio) fn run_settings(&mut self, command: SettingsCommand) {
        let before = self.settings.clone();
        match command {
            SettingsCommand::Theme(theme) => self.settings.theme = theme,
            SettingsCommand::Scale(scale) => {
                self.settings.scale =
                    scale.clamp(*settings::SCALES.start(), *settings::SCALES.end());
            }
            SettingsCommand::Larger | SettingsCommand::Smaller => {
                let larger = command == SettingsCommand::Larger;
                self.settings.scale = settings::next_scale(self.settings.scale, larger);
            }
            SettingsCommand::Device(device) => {
                self.settings.device = device;
                self.device = None;
            }
            SettingsCommand::MemoryBudget(budget) => self.settings.memory_budget = budget,
            SettingsCommand::KvType(kv_type) => self.settings.kv_type = kv_type,
            SettingsCommand::Context(tokens) => {
                self.settings.context = settings::longest_context(tokens);
            }
            SettingsCommand::LookElsewhere(look) => self.settings.look_elsewhere = look,
            SettingsCommand::Wildcards(folder) => self.settings.wildcards = folder,
        }
        if self.settings == before {
            return;
        }
        self.save_settings(&before);
        if (self.settings.theme, self.settings.scale) != (before.theme, before.scale) {
            self.effect(Effect::Look);
        }
        let engine = |of: &Settings| (of.device, of.memory_budget, of.kv_type, of.context);
        if engine(&self.settings) != engine(&before) {
            self.restart_engine();
        }
        if self.settings.look_elsewhere != before.look_elsewhere {
            if !self.settings.look_elsewhere {
                self.shelf.drop_elsewhere();
            }
            self.run_models(ModelsCommand::Rescan);
        }
    }
}
