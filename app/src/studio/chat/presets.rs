//! Settings of conversations under names, for one model or for all.

use diptych_inference::engine::ModelRef;

use super::{Chat, ChatCommand};
use crate::library::records::{ChatPreset, Conversation, PresetId};
use crate::studio::house::House;
use crate::studio::log::Level;

/// Longest name, in characters.
const LONGEST: usize = 80;

/// A preset that is being named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// The preset; `None` is a new one, of the settings of now.
    pub preset: Option<PresetId>,
    /// Its name.
    pub name: String,
    /// Whether it is for the model of now alone.
    pub own: bool,
}

/// Whether settings are those of a preset.
pub fn is_of(preset: &ChatPreset, settings: &Conversation) -> bool {
    preset.system == settings.system
        && preset.sampling == settings.sampling
        && preset.max_tokens == settings.max_tokens
}

impl Chat {
    /// Presets for a model and for all models, by name.
    pub fn presets_for<'a>(
        &'a self,
        model: Option<&'a ModelRef>,
    ) -> impl Iterator<Item = &'a ChatPreset> {
        self.presets
            .iter()
            .filter(move |preset| match &preset.model {
                None => true,
                Some(of) => model.is_some_and(|model| model.name == of.name),
            })
    }

    /// The preset that was chosen last here, or one that the settings happen to be.
    pub fn preset<'a>(
        &'a self,
        settings: &Conversation,
        model: Option<&'a ModelRef>,
    ) -> Option<&'a ChatPreset> {
        let chosen = self
            .chosen_preset
            .filter(|(of, _)| *of == self.current)
            .map(|(_, id)| id);
        self.presets_for(model)
            .find(|preset| Some(preset.id) == chosen)
            .or_else(|| {
                self.presets_for(model)
                    .find(|preset| is_of(preset, settings))
            })
    }

    pub(super) fn use_preset(&mut self, id: PresetId, house: &House) {
        let Some(preset) = self.presets.iter().find(|preset| preset.id == id) else {
            return;
        };
        let preset = preset.clone();
        let now = self.settings(house);
        self.chosen_preset = Some((self.current, id));
        self.set_settings(Conversation {
            system: preset.system,
            sampling: preset.sampling,
            max_tokens: preset.max_tokens,
            ..now
        });
    }

    /// Begins to name the settings of now, or a preset anew.
    pub(super) fn begin_naming(&mut self, preset: Option<PresetId>) {
        let old = preset.and_then(|id| self.presets.iter().find(|old| old.id == id));
        self.naming = Some(Naming {
            preset: old.map(|old| old.id),
            name: old.map(|old| old.name.clone()).unwrap_or_default(),
            own: old.is_none_or(|old| old.model.is_some()),
        });
        self.settings_open = true;
    }

    /// Takes the name that was typed.
    pub(super) fn confirm_preset(&mut self, house: &House) {
        let Some(naming) = self.naming.take() else {
            return;
        };
        let name: String = naming.name.trim().chars().take(LONGEST).collect();
        if name.is_empty() {
            return;
        }
        let settings = self.settings(house);
        let model = self
            .model_of(&settings, house)
            .and_then(|model| model.model.clone());
        let old = naming
            .preset
            .and_then(|id| self.presets.iter().find(|preset| preset.id == id));
        let preset = match old {
            Some(old) => ChatPreset {
                name,
                model: if naming.own {
                    old.model.clone().or(model)
                } else {
                    None
                },
                ..old.clone()
            },
            None => ChatPreset {
                id: PresetId::new(),
                name,
                model: naming.own.then_some(model).flatten(),
                system: settings.system,
                sampling: settings.sampling,
                max_tokens: settings.max_tokens,
            },
        };
        self.chosen_preset = Some((self.current, preset.id));
        self.put_preset(preset, house);
    }

    /// Gives a preset the settings of now.
    pub(super) fn update_preset(&mut self, id: PresetId, house: &House) {
        let settings = self.settings(house);
        if let Some(old) = self.presets.iter().find(|preset| preset.id == id) {
            let preset = ChatPreset {
                system: settings.system,
                sampling: settings.sampling,
                max_tokens: settings.max_tokens,
                ..old.clone()
            };
            self.put_preset(preset, house);
        }
    }

    /// Keeps a preset, in place of the one with its number.
    pub(super) fn put_preset(&mut self, preset: ChatPreset, house: &House) {
        self.presets.retain(|other| other.id != preset.id);
        self.presets.push(preset.clone());
        self.presets
            .sort_by_cached_key(|preset| preset.name.to_lowercase());
        house.save("the preset", move |library| {
            library.put_preset(&preset)?;
            Ok(None)
        });
    }

    pub(super) fn delete_preset(&mut self, id: PresetId, house: &mut House) {
        let Some(index) = self.presets.iter().position(|preset| preset.id == id) else {
            return;
        };
        let preset = self.presets.remove(index);
        let name = preset.name.clone();
        let undo = ChatCommand::RestorePreset(Box::new(preset));
        house.save("the preset", move |library| {
            library.delete_preset(id)?;
            Ok(None)
        });
        let undo = ("Undo".to_owned(), undo.into());
        house
            .log
            .notify_with(Level::Info, "Preset deleted", name, Some(undo));
    }
}
