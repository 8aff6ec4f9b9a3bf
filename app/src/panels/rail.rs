//! The rail at the left: workspaces above, drawers below.

use egui::{Align2, Rect, Response, Role, Sense, Ui, UiBuilder, WidgetInfo, vec2};

use super::Gui;
use crate::studio::Studio;
use crate::studio::command::{AppCommand, UiCommand};
use crate::studio::view::{Drawer, Overlay, Workspace};
use crate::theme::{self, Icon};

/// Shows the rail.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let size = gui.tokens.size.clone();
    ui.spacing_mut().item_spacing = vec2(0.0, size.gap_xs);
    ui.add_space(size.gap_s);
    for workspace in Workspace::ALL {
        let icon = match workspace {
            Workspace::Create => Icon::Image,
            Workspace::Chat => Icon::Chat,
            Workspace::Compare => Icon::Columns,
            Workspace::Gallery => Icon::Library,
        };
        let chosen = studio.view.workspace == workspace;
        let command = AppCommand::Show(workspace);
        tab(ui, gui, workspace.label(), icon, chosen, false, command);
    }
    let below = [
        (
            "Find",
            Icon::Search,
            AppCommand::Palette,
            studio.view.overlay == Some(Overlay::Palette),
        ),
        (
            "Models",
            Icon::Model,
            AppCommand::Drawer(Drawer::Models),
            studio.view.drawer == Some(Drawer::Models),
        ),
        (
            "Log",
            Icon::Log,
            AppCommand::Drawer(Drawer::Log),
            studio.view.drawer == Some(Drawer::Log),
        ),
        (
            "Settings",
            Icon::Settings,
            AppCommand::Drawer(Drawer::Settings),
            studio.view.drawer == Some(Drawer::Settings),
        ),
    ];
    let height = TAB * below.len() as f32 + size.gap_xs * below.len() as f32 + size.gap_s;
    let rest = ui.available_rect_before_wrap();
    let rect = Rect::from_min_max(
        egui::pos2(rest.left(), (rest.bottom() - height).max(rest.top())),
        rest.max,
    );
    let trouble = studio.house.log.unread() > 0 && studio.view.drawer != Some(Drawer::Log);
    ui.scope_builder(UiBuilder::new().max_rect(rect), |ui| {
        for (label, icon, command, chosen) in below {
            let marked = label == "Log" && trouble;
            tab(ui, gui, label, icon, chosen, marked, command);
        }
    });
}

/// Height of a tab.
const TAB: f32 = 52.0;

fn tab(
    ui: &mut Ui,
    gui: &mut Gui<'_>,
    label: &str,
    icon: Icon,
    chosen: bool,
    marked: bool,
    command: AppCommand,
) -> Response {
    let (colours, size) = (&gui.tokens.colours, &gui.tokens.size);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), TAB), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, chosen, label));
    let colour = match (chosen, response.hovered() || response.has_focus()) {
        (true, _) => colours.text,
        (false, true) => colours.text,
        (false, false) => colours.text_muted,
    };
    let plate = rect.shrink2(vec2(2.0, 1.0));
    if chosen {
        ui.painter()
            .rect_filled(plate, gui.tokens.corner_m(), colours.bg_active);
    } else if response.hovered() {
        ui.painter()
            .rect_filled(plate, gui.tokens.corner_m(), colours.bg_hover);
    }
    if response.has_focus() {
        let ring = egui::Stroke::new(1.5, colours.accent);
        ui.painter()
            .rect_stroke(plate, gui.tokens.corner_m(), ring, egui::StrokeKind::Inside);
    }
    let at = Rect::from_center_size(
        egui::pos2(rect.center().x, rect.top() + 19.0),
        egui::Vec2::splat(size.icon_l),
    );
    let tint = if chosen { colours.accent_text } else { colour };
    theme::paint_icon(ui.painter(), at.center(), size.icon_l, icon, tint);
    if marked {
        ui.painter()
            .circle_filled(at.right_top(), 3.5, colours.danger);
    }
    ui.painter().text(
        egui::pos2(rect.center().x, rect.bottom() - 7.0),
        Align2::CENTER_BOTTOM,
        label,
        theme::medium(ui.ctx(), size.font_caption - 0.5),
        colour,
    );
    let command: UiCommand = command.into();
    let tip = match gui.keys(&command) {
        Some(keys) => format!("{label} ({keys})"),
        None => label.to_owned(),
    };
    if response.clicked() {
        gui.send(command);
    }
    response.on_hover_text(tip)
}
