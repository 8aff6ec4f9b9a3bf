//! The command palette: everything that can be done, found by a few letters.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diptych_inference::formats::detect::ModelKind;
use egui::{
    Align, Align2, Area, Color32, Frame, Id, Key, Label, Layout, Margin, Modal, Modifiers, Order,
    RichText, Role, ScrollArea, Sense, Stroke, TextEdit, Ui, UiKind, Vec2, WidgetInfo,
};

use super::Gui;
use crate::studio::Studio;
use crate::studio::chat::ChatCommand;
use crate::studio::command::{AppCommand, Entry, ModelsCommand, UiCommand};
use crate::studio::compare::CompareCommand;
use crate::studio::create::CreateCommand;
use crate::studio::create::control::ControlCommand;
use crate::studio::keys::Place;
use crate::studio::view::Workspace;
use crate::theme::{self, Icon, Tokens};
use crate::widgets::key_hint::KeyHint;
use crate::widgets::text;

/// Width of the palette.
const WIDTH: f32 = 600.0;
/// Height of a row.
const ROW: f32 = 36.0;
/// Most rows that are listed; whoever wants another one types more.
const MOST: usize = 60;
/// Commands that are remembered as used last.
const RECENT: usize = 5;

/// Something that can be chosen.
struct Choice {
    group: &'static str,
    label: String,
    second: String,
    icon: Icon,
    keys: Option<String>,
    commands: Vec<UiCommand>,
    /// Why not now.
    refused: Option<String>,
}

/// What the palette remembers between frames.
#[derive(Clone, Default)]
struct Open {
    search: String,
    at: usize,
    pass: u64,
    list: Arc<Mutex<List>>,
}

/// Seconds for which the list stands. With thousands of conversations to look through, each frame would take longer than one may.
const STANDS_SECS: f64 = 0.5;

/// Everything that can be chosen, and what of it matches, as it was when it was last looked up.
#[derive(Default)]
struct List {
    built: Option<f64>,
    choices: Vec<Choice>,
    /// What was searched for, and what of the choices matches, each under its group.
    found: Option<(String, Vec<(&'static str, usize)>)>,
}

impl List {
    /// Builds it anew if it is too old at `now`, in seconds; otherwise tells in how many seconds it will be.
    fn renew(&mut self, now: f64, build: impl FnOnce() -> Vec<Choice>) -> Option<f64> {
        let left = self.built.map_or(0.0, |built| built + STANDS_SECS - now);
        if left > 0.0 {
            return Some(left);
        }
        (self.built, self.choices, self.found) = (Some(now), build(), None);
        None
    }

    /// What matches, as far as it is listed.
    fn find(&mut self, search: &str, recent: &[String]) -> Vec<(&'static str, &Choice)> {
        let (of, found) = self.found.get_or_insert_with(|| {
            let found = found(&self.choices, search, recent);
            (search.to_owned(), found)
        });
        if of != search {
            search.clone_into(of);
            *found = self::found(&self.choices, search, recent);
        }
        let choice = |(group, at): &(&'static str, usize)| Some((*group, self.choices.get(*at)?));
        found.iter().filter_map(choice).collect()
    }
}

/// How well letters match a text: `None` not at all, higher is better. Letters must come in order; those that begin words
/// and those that follow one another count most.
fn score(search: &str, text: &str) -> Option<i32> {
    let mut points = 0;
    for word in search.split_whitespace() {
        points += score_word(word, text)?;
    }
    // Of texts that match alike, the shorter one is meant.
    Some(
        points * 8
            - i32::try_from(text.chars().count())
                .unwrap_or(i32::MAX)
                .min(200)
                / 8,
    )
}

fn score_word(word: &str, text: &str) -> Option<i32> {
    let wanted: Vec<char> = word.chars().flat_map(char::to_lowercase).collect();
    let letters: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
    let begins = |at: usize| {
        at.checked_sub(1)
            .and_then(|before| letters.get(before))
            .is_none_or(|before| !before.is_alphanumeric())
    };
    let mut best = None;
    // Greedy from each place where the first letter stands.
    for start in 0..letters.len() {
        if letters.get(start) != wanted.first() {
            continue;
        }
        let mut points = 0;
        let mut at = start;
        let mut last: Option<usize> = None;
        let mut whole = true;
        for letter in &wanted {
            let rest = letters.get(at..).unwrap_or_default();
            let Some(found) = rest.iter().position(|other| other == letter) else {
                whole = false;
                break;
            };
            let place = at + found;
            points += 1;
            if last.is_some_and(|last| last + 1 == place) {
                points += 4;
            }
            if begins(place) {
                points += 3;
            }
            last = Some(place);
            at = place + 1;
        }
        if whole {
            best = best.max(Some(points));
        }
    }
    best
}

fn choices(studio: &Studio, gui: &Gui<'_>) -> Vec<Choice> {
    let workspace = studio.view.workspace;
    // What belongs to the workspace that is shown comes first, what belongs to others last.
    let rank = |place: Place| match place {
        Place::Everywhere => (1, "Everywhere"),
        place if place.holds(workspace) => (0, workspace.label()),
        place => (2 + place as u8, place.label()),
    };
    let mut entries: Vec<&Entry> = gui
        .entries
        .iter()
        .filter(|entry| !matches!(entry.command, UiCommand::App(AppCommand::Palette)))
        .collect();
    // What can be done now comes before what cannot.
    entries.sort_by_cached_key(|entry| {
        let refused = studio.available(&entry.command).is_err();
        (rank(entry.place).0, refused)
    });
    let mut choices: Vec<Choice> = entries
        .into_iter()
        .map(|entry| Choice {
            group: rank(entry.place).1,
            label: entry.label.to_owned(),
            second: String::new(),
            icon: entry.icon,
            keys: entry.keys.first().map(|chord| chord.text()),
            commands: vec![entry.command.clone()],
            refused: studio.available(&entry.command).err(),
        })
        .collect();
    for model in studio.house.shelf.drawing() {
        let about = model.info.as_ref().map(|info| info.describe());
        choices.push(Choice {
            group: "Models",
            label: format!("Draw with {}", model.name()),
            second: about.unwrap_or_default(),
            icon: Icon::Model,
            keys: None,
            commands: vec![
                CreateCommand::UseModel(model.model.clone()).into(),
                AppCommand::Show(Workspace::Create).into(),
            ],
            refused: None,
        });
    }
    for model in studio.house.shelf.chatting() {
        let about = model.info.as_ref().map(|info| info.describe());
        choices.push(Choice {
            group: "Models",
            label: format!("Chat with {}", model.name()),
            second: about.unwrap_or_default(),
            icon: Icon::Model,
            keys: None,
            commands: vec![
                ChatCommand::SetModel(model.model.clone()).into(),
                AppCommand::Show(Workspace::Chat).into(),
            ],
            refused: None,
        });
    }
    choices.extend(additions(studio));
    for model in &studio.house.loaded {
        let command = ModelsCommand::Unload(model.clone()).into();
        choices.push(Choice {
            group: "Models",
            label: format!("Unload {} from memory", model.name),
            second: String::new(),
            icon: Icon::Memory,
            keys: None,
            refused: studio.available(&command).err(),
            commands: vec![command],
        });
    }
    let chat_model = studio.chat_model();
    for preset in studio.chat.presets_for(chat_model.as_ref()) {
        choices.push(Choice {
            group: "Chat",
            label: format!("Use the settings “{}”", preset.name),
            second: "Settings of a conversation".to_owned(),
            icon: Icon::Settings,
            keys: None,
            commands: vec![
                ChatCommand::UsePreset(preset.id).into(),
                AppCommand::Show(Workspace::Chat).into(),
            ],
            refused: None,
        });
    }
    for (id, title) in studio.compare.earlier_titles() {
        choices.push(Choice {
            group: "Compare",
            label: title,
            second: "Comparison".to_owned(),
            icon: Icon::Columns,
            keys: None,
            commands: vec![
                CompareCommand::Open(id).into(),
                AppCommand::Show(Workspace::Compare).into(),
            ],
            refused: None,
        });
    }
    for talk in studio.chat.listed() {
        choices.push(Choice {
            group: "Conversations",
            label: talk.conversation.title.clone(),
            second: "Conversation".to_owned(),
            icon: Icon::Chat,
            keys: None,
            commands: vec![
                ChatCommand::Open(talk.id()).into(),
                AppCommand::Show(Workspace::Chat).into(),
            ],
            refused: None,
        });
    }
    choices
}

/// What can be added to the model that draws.
fn additions(studio: &Studio) -> Vec<Choice> {
    let mut choices = Vec::new();
    for model in studio.house.shelf.models() {
        let (Some(reference), Some(info)) = (&model.model, &model.info) else {
            continue;
        };
        let reference = reference.clone();
        let (label, command) = match info.kind() {
            ModelKind::Lora => (
                format!("Add the LoRA {}", reference.name),
                CreateCommand::AddLora(reference),
            ),
            ModelKind::ControlNet => (
                format!("Guide by the ControlNet {}", reference.name),
                CreateCommand::Control(ControlCommand::Add(reference)),
            ),
            ModelKind::Autoencoder => (
                format!("Use the autoencoder {}", reference.name),
                CreateCommand::UseVae(Some(reference)),
            ),
            _ => continue,
        };
        let command = UiCommand::Create(command);
        choices.push(Choice {
            group: "Models",
            label,
            second: info.describe(),
            icon: Icon::Model,
            keys: None,
            refused: studio.available(&command).err(),
            commands: vec![command, AppCommand::Show(Workspace::Create).into()],
        });
    }
    choices
}

/// What matches, best first; without a search, what was used last comes first. No more than is listed.
fn found(choices: &[Choice], search: &str, recent: &[String]) -> Vec<(&'static str, usize)> {
    if search.trim().is_empty() {
        let used = recent.iter().filter_map(|label| {
            let at = choices.iter().position(|choice| choice.label == *label)?;
            Some(("Used last", at))
        });
        let others = choices
            .iter()
            .enumerate()
            .filter(|(_, choice)| !recent.contains(&choice.label))
            .map(|(at, choice)| (choice.group, at));
        return used.chain(others).take(MOST).collect();
    }
    let mut found: Vec<(i32, usize)> = choices
        .iter()
        .enumerate()
        .filter_map(|(at, choice)| {
            let points = score(search, &choice.label);
            let second = score(search, &choice.second).map(|points| points / 2);
            let mut points = points.max(second)?;
            if choice.refused.is_some() {
                points /= 2;
            }
            Some((points, at))
        })
        .collect();
    found.sort_by_key(|(points, _)| std::cmp::Reverse(*points));
    let listed = found.into_iter().take(MOST);
    listed.map(|(_, at)| ("", at)).collect()
}

/// Shows it over the window.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let t = gui.tokens.clone();
    let ctx = ui.ctx().clone();
    let id = Id::unique("palette");
    let pass = ctx.cumulative_pass_nr();
    let mut open: Open = ctx.data(|data| data.get_temp(id)).unwrap_or_default();
    let fresh = open.pass + 1 < pass;
    if fresh {
        open = Open::default();
    }
    open.pass = pass;
    let recent_id = id.with("recent");
    let mut recent: Vec<String> = ctx
        .data(|data| data.get_temp(recent_id))
        .unwrap_or_default();

    let list = Arc::clone(&open.list);
    let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
    let now = ctx.input(|input| input.time);
    if let Some(left) = list.renew(now, || choices(studio, gui)) {
        ctx.request_repaint_after(Duration::from_secs_f64(left));
    }
    let room = ctx.content_rect();
    let width = WIDTH.min(room.width() - 2.0 * t.size.gap_xl);
    let top = (room.height() * 0.14).min(120.0);
    let area = Area::new(id)
        .kind(UiKind::Modal)
        .sense(Sense::hover())
        .order(Order::Foreground)
        .default_size(Vec2::new(width, room.height() - top))
        .anchor(Align2::CENTER_TOP, Vec2::new(0.0, top));
    let frame = Frame::new()
        .fill(t.bg_raised)
        .stroke(Stroke::new(1.0, t.stroke_strong))
        .corner_radius(t.size.radius_l + 2.0)
        .shadow(t.shadow_dialog());
    let mut chosen = None;
    let modal = Modal::new(id)
        .area(area)
        .backdrop_color(t.scrim)
        .frame(frame)
        .show(&ctx, |ui| {
            ui.set_width(width);
            ui.spacing_mut().item_spacing.y = 0.0;
            let before = open.search.clone();
            field(ui, &t, id, &mut open.search, fresh);
            let searched = open.search != before;
            if searched {
                open.at = 0;
            }
            let found = list.find(&open.search, &recent);
            let moved = keys(ui, &mut open.at, found.len());
            let enter = ui.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Enter));
            // Half a row peeks out below, so that one sees that there is more.
            let fit = ((room.height() - top - 160.0) / ROW)
                .clamp(3.0, 10.0)
                .floor();
            let height = (fit + 0.5) * ROW + 30.0;
            let pressed = rows(
                ui,
                &t,
                &found,
                &mut open.at,
                moved || searched || fresh,
                height,
            );
            let at = pressed.or((enter && !fresh).then_some(open.at));
            chosen = at.and_then(|at| found.get(at)).map(|(_, choice)| {
                let commands = choice.commands.clone();
                (choice.label.clone(), choice.refused.is_none(), commands)
            });
        });
    ctx.data_mut(|data| data.insert_temp(id, open));
    let beside = modal.should_close();
    match chosen {
        Some((label, true, commands)) => {
            recent.retain(|other| *other != label);
            recent.insert(0, label);
            recent.truncate(RECENT);
            ctx.data_mut(|data| data.insert_temp(recent_id, recent));
            gui.send(AppCommand::CloseOverlay);
            for command in commands {
                gui.send(command);
            }
        }
        _ if beside => gui.send(AppCommand::CloseOverlay),
        _ => {}
    }
}

fn field(ui: &mut Ui, t: &Tokens, id: Id, search: &mut String, fresh: bool) {
    let frame = Frame::new().inner_margin(Margin::symmetric(16, 13));
    let shown = frame.show(ui, |ui| {
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 12.0;
            theme::icon_tinted(ui, Icon::Search, t.size.icon_m, t.text_faint);
            let hint = RichText::new("What do you want to do?").color(t.text_faint);
            let field = TextEdit::singleline(search)
                .id(id.with("search"))
                .frame(Frame::NONE)
                .font(theme::regular(t.size.font_title))
                .text_color(t.text)
                .hint_text(hint)
                .align(Align2::LEFT_CENTER)
                .desired_width(ui.available_width());
            let response = ui.add(field).accessible_name("Find a command");
            // Nothing else here takes the keyboard.
            if fresh || !response.has_focus() {
                response.request_focus();
            }
        });
    });
    let line = Stroke::new(1.0, t.stroke_strong);
    let rect = shown.response.rect;
    ui.painter()
        .hline(ui.max_rect().x_range(), rect.bottom(), line);
}

/// Moves with the arrow keys; answers whether it moved.
fn keys(ui: &Ui, at: &mut usize, count: usize) -> bool {
    let last = count.saturating_sub(1);
    let before = *at;
    ui.input_mut(|input| {
        if input.consume_key(Modifiers::NONE, Key::ArrowDown) {
            *at = if *at >= last { 0 } else { *at + 1 };
        }
        if input.consume_key(Modifiers::NONE, Key::ArrowUp) {
            *at = if *at == 0 { last } else { *at - 1 };
        }
        if input.consume_key(Modifiers::NONE, Key::PageDown) {
            *at += 8;
        }
        if input.consume_key(Modifiers::NONE, Key::PageUp) {
            *at = at.saturating_sub(8);
        }
    });
    *at = (*at).min(last);
    *at != before
}

/// The list; answers the row that was clicked.
fn rows(
    ui: &mut Ui,
    t: &Tokens,
    found: &[(&'static str, &Choice)],
    at: &mut usize,
    follow: bool,
    height: f32,
) -> Option<usize> {
    if found.is_empty() {
        ui.add_space(t.size.gap_xl);
        ui.vertical_centered(|ui| text::muted(ui, "No command is called so."));
        ui.add_space(t.size.gap_xl);
        return None;
    }
    let mut clicked = None;
    let pointer_moved = ui.input(|input| input.pointer.delta() != Vec2::ZERO);
    let frame = Frame::new().inner_margin(Margin::same(6));
    frame.show(ui, |ui| {
        ScrollArea::vertical().max_height(height).show(ui, |ui| {
            let mut group = "";
            for (index, (of, choice)) in found.iter().enumerate() {
                if *of != group {
                    group = of;
                    ui.add_space(t.size.gap_s);
                    ui.horizontal(|ui| {
                        ui.add_space(10.0);
                        text::caption(ui, group);
                    });
                    ui.add_space(t.size.gap_xs);
                }
                let response = row(ui, t, choice, index == *at);
                if response.clicked() {
                    clicked = Some(index);
                }
                if response.hovered() && pointer_moved {
                    *at = index;
                }
                if index == *at && follow {
                    response.scroll_to_me(None);
                }
            }
        });
    });
    clicked
}

fn row(ui: &mut Ui, t: &Tokens, choice: &Choice, at: bool) -> egui::Response {
    let size = Vec2::new(ui.available_width(), ROW);
    let (rect, response) = ui.allocate_exact_size(size, Sense::click());
    let usable = choice.refused.is_none();
    response.widget_info(|| WidgetInfo::selected(Role::ListBoxOption, usable, at, &choice.label));
    if !ui.is_rect_visible(rect) {
        return response;
    }
    let fill = if at {
        t.bg_active
    } else {
        Color32::TRANSPARENT
    };
    ui.painter().rect_filled(rect, t.corner_m(), fill);
    let colour = if usable { t.text } else { t.text_faint };
    let tint = if usable { t.text_muted } else { t.text_faint };
    let inner = rect.shrink2(Vec2::new(10.0, 0.0));
    let builder = egui::UiBuilder::new()
        .max_rect(inner)
        .layout(Layout::left_to_right(Align::Center));
    ui.scope_builder(builder, |ui| {
        ui.spacing_mut().item_spacing.x = 12.0;
        theme::icon_tinted(ui, choice.icon, t.size.icon_m, tint);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if let Some(keys) = &choice.keys {
                ui.add(KeyHint::new(keys));
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                ui.add(Label::new(RichText::new(&choice.label).color(colour)).extend());
                let second = choice.refused.as_deref().unwrap_or(&choice.second);
                if !second.is_empty() {
                    let font = theme::regular(t.size.font_caption);
                    let second = RichText::new(second).font(font).color(t.text_faint);
                    ui.add(Label::new(second).truncate());
                }
            });
        });
    });
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(search: &str, labels: &[&str]) -> Vec<String> {
        let choices: Vec<Choice> = labels
            .iter()
            .map(|label| Choice {
                group: "Commands",
                label: (*label).to_owned(),
                second: String::new(),
                icon: Icon::Search,
                keys: None,
                commands: Vec::new(),
                refused: None,
            })
            .collect();
        let found = found(&choices, search, &["Quit".to_owned()]);
        found
            .iter()
            .map(|(_, at)| choices[*at].label.clone())
            .collect()
    }

    fn named(label: String) -> Choice {
        Choice {
            group: "Conversations",
            label,
            second: String::new(),
            icon: Icon::Chat,
            keys: None,
            commands: Vec::new(),
            refused: None,
        }
    }

    #[test]
    fn the_list_is_built_twice_a_second_at_most_and_searched_once_for_each_wording() {
        let (mut list, mut built) = (List::default(), 0);
        // Two seconds of frames.
        for frame in 0..120 {
            let left = list.renew(f64::from(frame) / 60.0, || {
                built += 1;
                vec![named(format!("fox {built}")), named("boat".to_owned())]
            });
            assert!(left.is_none_or(|left| left <= STANDS_SECS));
            let search = if frame % 2 == 0 { "fox" } else { "boat" };
            let found = list.find(search, &[]);
            assert_eq!(found.len(), 1);
            // What is shown is never of an older list.
            let wanted = if search == "fox" {
                format!("fox {built}")
            } else {
                search.to_owned()
            };
            assert_eq!(found[0].1.label, wanted);
        }
        assert_eq!(built, 4);
        // No more than is listed is kept.
        list.renew(99.0, || {
            (0..5000).map(|at| named(format!("fox {at}"))).collect()
        });
        assert_eq!(list.find("fox", &[]).len(), MOST);
        assert_eq!(
            list.find("", &["fox 4000".to_owned()])[0].1.label,
            "fox 4000"
        );
    }

    #[test]
    fn letters_find_what_is_meant() {
        let labels = [
            "Go to Create",
            "Go to Chat",
            "Dark theme",
            "Light theme",
            "Quit",
        ];
        assert_eq!(order("dark", &labels), ["Dark theme"]);
        assert_eq!(order("gtch", &labels), ["Go to Chat"]);
        assert_eq!(order("gtc", &labels).len(), 2);
        assert_eq!(order("theme", &labels), ["Dark theme", "Light theme"]);
        assert_eq!(order("th li", &labels)[0], "Light theme");
        assert!(order("xyz", &labels).is_empty());
        assert_eq!(order("  ", &labels)[0], "Quit", "what was used last");
        assert_eq!(order("", &labels).len(), labels.len());
    }

    #[test]
    fn whole_words_go_before_scattered_letters() {
        assert_eq!(
            order("save", &["Show all variants, even", "Save as…"])[0],
            "Save as…"
        );
        assert!(score("ß", "Straße").is_some());
        assert!(score("a", "").is_none());
    }
}
