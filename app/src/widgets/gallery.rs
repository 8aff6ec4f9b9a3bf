//! All widgets in all their states on one page: what is looked at when the look changes.

use egui::{Layout, RichText, ScrollArea, Ui, Vec2};

use super::button::{Button, IconButton};
use super::chip::{Chip, ChipTone};
use super::combo::{Combo, ComboItem};
use super::empty::EmptyState;
use super::input::{TextArea, TextField};
use super::key_hint::KeyHint;
use super::menu::{self, MenuItem};
use super::number::NumberField;
use super::progress::Progress;
use super::row::ListRow;
use super::section::{Section, card, divider};
use super::segmented::{Segmented, Tabs};
use super::slider::Slider;
use super::split::Split;
use super::text;
use super::toggle::{Checkbox, Switch};
use crate::theme::{self, DIFF_COLOURS, Icon, ThemeChoice};

/// What the page's widgets hold.
pub struct Gallery {
    name: String,
    search: String,
    wrong: String,
    prompt: String,
    steps: u32,
    guidance: f32,
    rate: f64,
    width: u32,
    checked: bool,
    unchecked: bool,
    on: bool,
    off: bool,
    theme: ThemeChoice,
    tab: usize,
    sampler: Option<usize>,
    share: f32,
    /// What was pressed last.
    pub pressed: String,
}

impl Default for Gallery {
    fn default() -> Self {
        Self {
            name: "Red fox in the snow".into(),
            search: String::new(),
            wrong: "12x".into(),
            prompt: "a red fox, flat style, blue background".into(),
            steps: 20,
            guidance: 4.0,
            rate: 0.35,
            width: 512,
            checked: true,
            unchecked: false,
            on: true,
            off: false,
            theme: ThemeChoice::Dark,
            tab: 0,
            sampler: Some(1),
            share: 0.4,
            pressed: String::new(),
        }
    }
}

const SAMPLERS: [&str; 10] = [
    "Euler",
    "DPM++ 2M",
    "Euler ancestral",
    "Heun",
    "DDIM",
    "LMS",
    "UniPC",
    "DPM++ SDE",
    "DPM++ 2M SDE",
    "LCM",
];

impl Gallery {
    /// Shows the page.
    pub fn show(&mut self, ui: &mut Ui) {
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            let t = theme::tokens(ui.ctx());
            let columns = if ui.available_width() > 1100.0 { 3 } else { 2 };
            ui.spacing_mut().item_spacing = Vec2::new(t.size.gap_xl, t.size.gap_s);
            ui.columns(columns, |columns| {
                let count = columns.len();
                for (at, ui) in columns.iter_mut().enumerate() {
                    ui.spacing_mut().item_spacing = Vec2::splat(t.size.gap_s);
                    match (count, at) {
                        (3, 0) | (2, 0) => {
                            self.buttons(ui);
                            self.fields(ui);
                        }
                        (3, 1) => self.choices(ui),
                        (3, _) => self.views(ui),
                        _ => {
                            self.choices(ui);
                            self.views(ui);
                        }
                    }
                }
            });
            ui.add_space(t.size.gap_l);
            self.icons(ui);
        });
    }

    fn press(&mut self, ui: &mut Ui, button: Button<'_>, what: &str) {
        if ui.add(button).clicked() {
            self.pressed = what.into();
        }
    }

    fn buttons(&mut self, ui: &mut Ui) {
        text::heading(ui, "Buttons");
        ui.horizontal_wrapped(|ui| {
            self.press(ui, Button::primary("Create").icon(Icon::Sparkle), "Create");
            self.press(ui, Button::secondary("Copy").icon(Icon::Copy), "Copy");
            self.press(ui, Button::quiet("Cancel"), "Cancel");
            self.press(ui, Button::danger("Delete").icon(Icon::Trash), "Delete");
        });
        ui.horizontal_wrapped(|ui| {
            let reason = Some("There is no model yet");
            ui.add(
                Button::primary("Disabled")
                    .icon(Icon::Sparkle)
                    .unless(reason),
            );
            ui.add(Button::secondary("Disabled").enabled(false));
            ui.add(Button::quiet("Disabled").enabled(false));
            ui.add(Button::secondary("Selected").icon(Icon::Pin).selected(true));
        });
        let main = Button::primary("Create picture").icon(Icon::Sparkle);
        self.press(
            ui,
            main.keys("Ctrl Enter").large().full_width(),
            "Create picture",
        );
        ui.horizontal_wrapped(|ui| {
            ui.add(Button::secondary("Small").small());
            ui.add(Button::quiet("Small").small().icon(Icon::Plus));
            ui.add(
                Button::secondary("More")
                    .small()
                    .trailing(Icon::ChevronDown),
            );
        });
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing.x = 2.0;
            ui.add(IconButton::new(Icon::ZoomOut, "Zoom out").shortcut("Ctrl+-"));
            ui.add(IconButton::new(Icon::Fit, "Fit to view").selected(true));
            ui.add(IconButton::new(Icon::ActualSize, "Actual size").shortcut("Ctrl+1"));
            ui.add(IconButton::new(Icon::ZoomIn, "Zoom in"));
            ui.add(IconButton::new(Icon::Trash, "Delete picture").enabled(false));
            let t = theme::tokens(ui.ctx());
            ui.add(IconButton::new(Icon::StarFilled, "Favourite").colour(t.warning));
            ui.add(
                IconButton::new(Icon::Lock, "Lock seed")
                    .small()
                    .selected(true),
            );
            ui.add(IconButton::new(Icon::Dice, "New seed").small());
            ui.add_space(8.0);
            let more = ui.add(IconButton::new(Icon::More, "More actions"));
            menu::below(ui, &more, |ui| {
                let copy = MenuItem::new("Copy picture").icon(Icon::Copy);
                if ui.add(copy.shortcut(Some("Ctrl+C"))).clicked() {
                    self.pressed = "Copy picture".into();
                }
                ui.add(
                    MenuItem::new("Save as")
                        .icon(Icon::Save)
                        .shortcut(Some("Ctrl+S")),
                );
                let reason = Some("Only one picture is here");
                ui.add(MenuItem::new("Compare").icon(Icon::Columns).unless(reason));
                ui.add(MenuItem::new("Show grid").checked(true));
                menu::separator(ui);
                ui.add(MenuItem::new("Delete").icon(Icon::Trash).danger());
            });
        });
        ui.horizontal(|ui| {
            ui.add(KeyHint::new("Ctrl+K"));
            ui.add(KeyHint::new("Ctrl+Shift+Enter"));
            ui.add(KeyHint::new("?"));
            ui.add(KeyHint::new("ArrowLeft"));
        });
        divider(ui);
    }

    fn fields(&mut self, ui: &mut Ui) {
        text::heading(ui, "Fields");
        ui.add(TextField::new("Name", &mut self.name).clearable());
        ui.add(TextField::search("Search models", &mut self.search));
        ui.add(
            TextField::new("Seed", &mut self.wrong)
                .mono()
                .error(Some("A seed is a whole number")),
        );
        ui.add(TextArea::new("Prompt", &mut self.prompt).rows(3, 8));
        ui.add(
            NumberField::new("Steps", &mut self.steps, 1..=60)
                .default_value(20)
                .tooltip("More steps take longer and give more detail"),
        );
        ui.add(
            NumberField::new("Guidance", &mut self.guidance, 1.0..=20.0)
                .step(0.5)
                .default_value(4.0),
        );
        ui.horizontal(|ui| {
            let half = (ui.available_width() - ui.spacing().item_spacing.x) / 2.0;
            ui.add(
                NumberField::new("Width", &mut self.width, 64..=2048)
                    .step(64.0)
                    .unit("px")
                    .plain()
                    .width(half),
            );
            ui.add(
                NumberField::new("Rate", &mut self.rate, 0.01..=10.0)
                    .step(0.01)
                    .logarithmic()
                    .width(half),
            );
        });
        ui.add(Slider::new("Size of tiles", &mut self.width, 64..=2048).width(180.0));
        ui.add_enabled(
            false,
            NumberField::new("Strength", &mut 0.6_f32, 0.0..=1.0).step(0.05),
        );
    }

    fn choices(&mut self, ui: &mut Ui) {
        text::heading(ui, "Choices");
        Segmented::new("Theme")
            .option_icon(ThemeChoice::System, "System", Icon::Monitor)
            .option_icon(ThemeChoice::Dark, "Dark", Icon::Moon)
            .option_icon(ThemeChoice::Light, "Light", Icon::Sun)
            .full_width()
            .show(ui, &mut self.theme);
        ui.horizontal(|ui| {
            Segmented::new("Comparison")
                .option_icon(0, "Slider", Icon::SliderCompare)
                .option_icon(1, "Side by side", Icon::SideBySide)
                .option_icon(2, "Blink", Icon::Blink)
                .option_icon(3, "Difference", Icon::Difference)
                .icons_only()
                .show(ui, &mut self.tab);
            Segmented::new("Count")
                .option(0, "1")
                .option(1, "4")
                .option(2, "9")
                .small()
                .show(ui, &mut self.tab);
        });
        let mut items: Vec<ComboItem<'_>> = SAMPLERS.map(ComboItem::new).into();
        for (at, item) in items.iter_mut().enumerate() {
            item.group = if at < 5 { "Common" } else { "More" };
            item.trailing = if at == 1 { "Recommended" } else { "" };
            item.reason = (at == 9).then_some("Only for models that were distilled for it");
        }
        let picked = Combo::new("Sampler", &items, self.sampler).show(ui);
        self.sampler = picked.or(self.sampler);
        Combo::new("Model", &[], None)
            .unlabelled()
            .hint("No model chosen")
            .empty("No models were found")
            .show(ui);
        ui.horizontal(|ui| {
            ui.add(Checkbox::new(&mut self.checked, "Checked"));
            ui.add(Checkbox::new(&mut self.unchecked, "Unchecked"));
            ui.add_enabled(false, Checkbox::new(&mut true, "Disabled"));
        });
        ui.add(
            Switch::new(&mut self.on, "Write settings into pictures")
                .note("Other programs can read them, and so can whoever you send a picture to."),
        );
        ui.add(Switch::new(&mut self.off, "Show previews"));
        ui.add_enabled(false, Switch::new(&mut true, "Disabled"));
        ui.horizontal_wrapped(|ui| {
            ui.add(Chip::new("SD 1.5"));
            ui.add(Chip::new("F16").tone(ChipTone::Accent));
            ui.add(Chip::new("Ready").tone(ChipTone::Success).icon(Icon::Check));
            ui.add(Chip::new("Slow").tone(ChipTone::Warning));
            ui.add(Chip::new("Unusable").tone(ChipTone::Danger));
            ui.add(Chip::new("Warnings").selected(true));
            ui.add(Chip::new("Notes").selected(false));
            ui.add(Chip::new("fox").removable());
        });
        ui.horizontal_wrapped(|ui| {
            for column in 0..DIFF_COLOURS {
                let name = format!("Column {}", column + 1);
                ui.add(
                    Chip::new(&name)
                        .tone(ChipTone::Column(column))
                        .icon(Icon::Seed),
                );
            }
        });
        Tabs::new("Result")
            .tab_count(0, "Pictures", 24)
            .tab(1, "Settings")
            .tab_count(2, "Notes", 3)
            .show(ui, &mut self.tab);
        ui.add(Progress::new("Drawing", Some(0.62)));
        ui.add(Progress::new("Waiting", Some(0.3)).paused(true));
        ui.add(Progress::new("Loading", None));
        divider(ui);
    }

    fn views(&mut self, ui: &mut Ui) {
        text::heading(ui, "Views");
        ui.scope(|ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            let t = theme::tokens(ui.ctx());
            let first = ListRow::new("sketch").second("Stable Diffusion, 64 × 64");
            ui.add(first.trailing("11.9 MB").icon(Icon::Image).selected(true));
            let second = ListRow::new("muse").second("Llama, 2.8 M parameters");
            ui.add(second.trailing("3.1 MB").icon(Icon::Chat));
            let third =
                ListRow::new("broken.gguf").second("The file ends in the middle of a tensor");
            ui.add(third.icon_tinted(Icon::Warning, t.warning).enabled(false));
        });
        Section::new("Advanced")
            .note("Karras, seed 7")
            .show(ui, |ui| {
                card(ui, |ui| {
                    text::title(ui, "A card");
                    text::muted(ui, "What belongs together lies on one.");
                    text::caption(ui, "3 minutes ago");
                    text::path(
                        ui,
                        "~/models/checkpoints/a-rather-long-name-of-a-file.safetensors",
                    );
                });
            });
        Section::new("Folded")
            .closed()
            .show(ui, |ui| text::muted(ui, "Not to be seen"));
        let room = Vec2::new(ui.available_width(), 70.0);
        ui.allocate_ui_with_layout(room, Layout::top_down(egui::Align::Min), |ui| {
            Split::columns("Divider", &mut self.share)
                .least(60.0, 60.0)
                .show(
                    ui,
                    |ui| text::muted(ui, "Left view"),
                    |ui| {
                        ui.horizontal(|ui| {
                            ui.add_space(12.0);
                            text::muted(ui, "Right view");
                        })
                    },
                );
        });
        ui.horizontal_wrapped(|ui| {
            let font = theme::semibold(ui.ctx(), 13.0);
            ui.label(RichText::new("Semibold").font(font));
            let font = theme::medium(ui.ctx(), 13.0);
            ui.label(RichText::new("Medium").font(font));
            ui.label("Regular");
            let font = theme::italic(ui.ctx(), 13.0);
            ui.label(RichText::new("Italic").font(font));
            ui.label(RichText::new("mono 0O 1lI").monospace());
            ui.hyperlink_to("A link", "https://example.org");
        });
        let room = Vec2::new(ui.available_width(), 240.0);
        ui.allocate_ui(room, |ui| {
            let empty = EmptyState::new(
                Icon::Image,
                "No pictures yet",
                "Write what you want to see, or begin with an idea of ours.",
            );
            if empty
                .action("Draw a red fox", Icon::Sparkle, None)
                .show(ui)
                .is_some()
            {
                self.pressed = "Draw a red fox".into();
            }
        });
    }

    fn icons(&self, ui: &mut Ui) {
        text::heading(ui, "Icons");
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = Vec2::splat(10.0);
            for &icon in Icon::ALL {
                theme::icon(ui, icon, 20.0);
            }
        });
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = Vec2::splat(8.0);
            for &icon in Icon::ALL {
                theme::icon(ui, icon, 16.0);
            }
        });
    }
}
