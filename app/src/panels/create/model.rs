//! The choice of the model.

use diptych_inference::formats::detect::{ModelInfo, ModelKind};
use egui::{Align, Layout, Ui};

use super::facts;
use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::command::ModelsCommand;
use crate::studio::create::CreateCommand;
use crate::studio::models::{BUILT_IN, Model, Shelf};
use crate::theme::Icon;
use crate::widgets::button::IconButton;
use crate::widgets::combo::{Combo, ComboItem};
use crate::widgets::menu::{self, MenuItem};

/// Shows it.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let gap = gui.tokens.size.gap_xs;
    let chosen = studio.create.form.model(&studio.house);
    let unload = chosen.and_then(|model| model.model.clone());
    ui.vertical(|ui| {
        ui.spacing_mut().item_spacing.y = gap;
        ui.horizontal(|ui| {
            facts::caption(ui, "Model");
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let button = ui.add(IconButton::new(Icon::FolderOpen, "Add models").small());
                menu::below(ui, &button, |ui| {
                    ui.set_max_width(super::bar::MENU);
                    let entries = [
                        ("Open a model file…", Icon::Model, ModelsCommand::ChooseFile),
                        (
                            "Add a folder of models…",
                            Icon::Folder,
                            ModelsCommand::ChooseFolder,
                        ),
                        (
                            "Look for models again",
                            Icon::Refresh,
                            ModelsCommand::Rescan,
                        ),
                    ];
                    for (label, icon, command) in entries {
                        if ui.add(MenuItem::new(label).icon(icon)).clicked() {
                            gui.send(command);
                        }
                    }
                    if let Some(model) = unload {
                        menu::separator(ui);
                        let label = format!("Unload {}", model.name);
                        let reason = studio.house.can_unload(&model).err();
                        let item = MenuItem::new(&label)
                            .icon(Icon::Memory)
                            .unless(reason.as_deref());
                        if ui.add(item).clicked() {
                            gui.send(ModelsCommand::Unload(model));
                        }
                    }
                });
            });
        });
        let models = choice(&studio.house.shelf);
        let rows: Vec<Row> = models.iter().map(|model| Row::of(model)).collect();
        let items: Vec<ComboItem<'_>> = rows.iter().map(Row::item).collect();
        let chosen = studio
            .create
            .form
            .model(&studio.house)
            .map(|model| &model.path);
        let at = models.iter().position(|model| Some(&model.path) == chosen);
        let missing = studio
            .create
            .form
            .model
            .as_ref()
            .filter(|_| chosen.is_none());
        let hint = match missing {
            Some(model) => format!("{} is not here", model.name),
            None if studio.house.shelf.scanning => "Looking for models…".to_owned(),
            None => "Choose a model".to_owned(),
        };
        let picked = Combo::new("Model", &items, at)
            .unlabelled()
            .hint(&hint)
            .empty("No model that draws was found")
            .show(ui);
        if let Some(model) = picked.and_then(|index| models.get(index)) {
            gui.send(CreateCommand::UseModel(model.model.clone()));
        }
    });
}

/// The models that draw, the built-in ones first; then those that would if they could.
fn choice(shelf: &Shelf) -> Vec<&Model> {
    let mut models: Vec<&Model> = shelf
        .models()
        .iter()
        .filter(|model| concerns(model))
        .collect();
    let mut sources: Vec<&str> = vec![BUILT_IN];
    for model in &models {
        if !sources.contains(&model.source.as_str()) {
            sources.push(&model.source);
        }
    }
    let source = |model: &Model| sources.iter().position(|source| *source == model.source);
    models.sort_by_key(|model| (source(model), !model.draws(), model.name().to_lowercase()));
    models
}

/// Whether a model belongs into the choice: it draws, or one may believe that it does.
fn concerns(model: &Model) -> bool {
    match &model.info {
        Some(info) => matches!(
            info.kind(),
            ModelKind::TextToImage | ModelKind::Denoiser | ModelKind::Other | ModelKind::Unknown
        ),
        None => model.refused.is_some(),
    }
}

/// The words of a row.
struct Row {
    name: String,
    second: String,
    size: String,
    source: String,
    reason: Option<String>,
}

impl Row {
    fn of(model: &Model) -> Self {
        let info = model.info.as_ref();
        let reason = model.refused.clone().or_else(|| match model.model {
            Some(_) => None,
            None => Some("It is being read".to_owned()),
        });
        let mut kind = info.map_or_else(String::new, |info| info.describe());
        if let Some(bytes) = info
            .map(ModelInfo::converted_bytes)
            .filter(|bytes| *bytes > 0)
        {
            let bytes = super::facts::bytes(bytes);
            kind.push_str(&format!(", {bytes} more in memory"));
        }
        Self {
            name: model.name(),
            second: kind,
            size: info.map_or_else(String::new, |info| super::facts::bytes(info.file_bytes())),
            source: model.source.clone(),
            reason,
        }
    }

    fn item(&self) -> ComboItem<'_> {
        ComboItem {
            text: &self.name,
            second: &self.second,
            trailing: &self.size,
            icon: Some(Icon::Model),
            group: &self.source,
            reason: self.reason.as_deref(),
        }
    }
}
