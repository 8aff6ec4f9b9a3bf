//! The bar above the pictures: search, filters, order, size; and what can be done with several.

use egui::{Align, Id, Layout, RichText, Ui};

use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::command::UiCommand;
use crate::studio::effects::focus;
use crate::studio::gallery::{GalleryCommand, MorphCommand, Order, TILES};
use crate::theme::Icon;
use crate::widgets::button::{Button, IconButton};
use crate::widgets::combo::{Combo, ComboItem};
use crate::widgets::input::TextField;
use crate::widgets::modal::Confirm;
use crate::widgets::slider::Slider;

/// Bars narrower than this have no slider; Ctrl and the wheel do the same.
const SLIDER: f32 = 520.0;
/// Bars narrower than this do not tell how many pictures there are.
const COUNT: f32 = 620.0;

/// Shows it.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    ui.spacing_mut().item_spacing.x = 6.0;
    ui.horizontal(|ui| {
        let id = Id::unique("gallery search");
        let wide = ui.available_width();
        let field = TextField::search("Search pictures", &mut studio.gallery.sieve.text)
            .id(id)
            .width((wide * 0.3).clamp(110.0, 320.0));
        ui.add(field);
        if gui.takes_focus(focus::SEARCH) {
            ui.memory_mut(|memory| memory.request_focus(id));
        }
        let sieve = &studio.gallery.sieve;
        let favourites = sieve.favourites;
        let icon = if favourites {
            Icon::StarFilled
        } else {
            Icon::Star
        };
        let mut star = IconButton::new(icon, "Favourites alone").selected(favourites);
        if favourites {
            star = star.colour(gui.tokens.warning);
        }
        if ui.add(star).clicked() {
            gui.send(GalleryCommand::ShowFavourites(!favourites));
        }
        let trash = sieve.trash;
        if ui
            .add(IconButton::new(Icon::Trash, "The trash").selected(trash))
            .clicked()
        {
            gui.send(GalleryCommand::ShowTrash(!trash));
        }
        let items = Order::ALL.map(|order| ComboItem::new(order.label()));
        let at = Order::ALL.iter().position(|order| *order == sieve.order);
        let picked = Combo::new("Order", &items, at)
            .unlabelled()
            .width(if wide < SLIDER { 104.0 } else { 130.0 })
            .show(ui);
        if let Some(order) = picked.and_then(|index| Order::ALL.get(index)) {
            studio.gallery.sieve.order = *order;
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let details = studio.gallery.sieve.details;
            let info =
                IconButton::new(Icon::Info, "Details of the chosen picture").selected(details);
            if ui.add(info).clicked() {
                gui.send(GalleryCommand::Details);
            }
            let mut tile = studio.gallery.sieve.tile;
            let slider = Slider::new("Size of the tiles", &mut tile, TILES).step(4.0);
            if wide >= SLIDER && ui.add(slider.width(92.0)).changed() {
                gui.send(GalleryCommand::Tile(tile));
            }
            if wide < COUNT {
                return;
            }
            let count = studio.gallery.shown().len();
            let words = match count {
                1 => "1 picture".to_owned(),
                count => format!("{count} pictures"),
            };
            ui.label(RichText::new(words).small().color(gui.tokens.text_faint));
        });
    });
    let several = studio.gallery.selection.len() > 1;
    let trash = studio.gallery.sieve.trash;
    if several || trash {
        ui.add_space(4.0);
        ui.horizontal_wrapped(|ui| chosen(ui, studio, gui, several, trash));
    }
}

/// What can be done with the chosen ones, and with the trash.
fn chosen(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, several: bool, trash: bool) {
    if several {
        let words = format!("{} chosen", studio.gallery.selection.len());
        ui.label(RichText::new(words).color(gui.tokens.text));
    }
    let act = |ui: &mut Ui, gui: &mut Gui<'_>, label: &str, icon, command: GalleryCommand| {
        let reason = studio.available(&UiCommand::from(command.clone())).err();
        let button = Button::secondary(label)
            .small()
            .icon(icon)
            .unless(reason.as_deref());
        if ui.add(button).clicked() {
            gui.send(command);
        }
    };
    if trash {
        act(
            ui,
            gui,
            "Take out of the trash",
            Icon::Restore,
            GalleryCommand::RestoreChosen,
        );
        empty_trash(ui, studio, gui);
    } else {
        act(
            ui,
            gui,
            "Favourite",
            Icon::Star,
            GalleryCommand::FavouriteChosen,
        );
        act(
            ui,
            gui,
            "Move to the trash",
            Icon::Trash,
            GalleryCommand::TrashChosen,
        );
        if studio.gallery.selection.len() == 2 {
            act(
                ui,
                gui,
                "Morph between two pictures…",
                Icon::Morph,
                GalleryCommand::Morph(MorphCommand::Ask),
            );
        }
    }
    if several && ui.add(Button::quiet("Choose none").small()).clicked() {
        gui.send(GalleryCommand::PickNone);
    }
}

/// Deleting for good is asked about.
fn empty_trash(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    let count = studio.gallery.trashed();
    let reason = (count == 0).then_some("The trash is empty");
    let button = Button::secondary("Empty the trash…")
        .small()
        .icon(Icon::Trash)
        .unless(reason);
    if ui.add(button).clicked() {
        gui.send(GalleryCommand::AskEmptyTrash);
    }
    if !studio.gallery.emptying {
        return;
    }
    let text = match count {
        1 => "A picture and its file will be deleted for good.".to_owned(),
        count => format!("{count} pictures and their files will be deleted for good."),
    };
    let confirm = Confirm {
        id: "gallery empty trash",
        title: "Empty the trash?",
        text: &text,
        yes: "Delete for good",
        danger: true,
    };
    if let Some(answer) = confirm.show(ui.ctx()) {
        gui.send(match answer {
            true => GalleryCommand::EmptyTrash,
            false => GalleryCommand::KeepTrash,
        });
    }
}
