//! The list of keys.

use std::collections::BTreeMap;

use egui::{Align, Label, Layout, RichText, ScrollArea, Ui};

use super::Gui;
use crate::studio::Studio;
use crate::studio::command::{AppCommand, Entry};
use crate::studio::keys::Place;
use crate::theme;
use crate::widgets::key_hint::KeyHint;
use crate::widgets::modal::Dialog;
use crate::widgets::text;

/// In which order places are listed.
fn rank(place: Place) -> usize {
    match place {
        Place::Everywhere => 0,
        Place::Create => 1,
        Place::Picture => 2,
        Place::Gallery => 3,
        Place::Compare => 4,
        Place::Chat => 5,
    }
}

/// Entries with keys, by place, in the order of places.
fn groups(entries: &[Entry]) -> Vec<(Place, Vec<&Entry>)> {
    let mut groups: BTreeMap<usize, (Place, Vec<&Entry>)> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| !entry.keys.is_empty()) {
        let (_, group) = groups
            .entry(rank(entry.place))
            .or_insert_with(|| (entry.place, Vec::new()));
        group.push(entry);
    }
    groups.into_values().collect()
}

/// Groups in two columns of about the same height.
fn columns<'a, 'b>(groups: &'b [(Place, Vec<&'a Entry>)]) -> [&'b [(Place, Vec<&'a Entry>)]; 2] {
    let lines = |groups: &[(Place, Vec<&Entry>)]| {
        groups
            .iter()
            .map(|(_, group)| group.len() + 2)
            .sum::<usize>()
    };
    let best = (0..=groups.len())
        .min_by_key(|&at| {
            let (a, b) = groups.split_at(at);
            lines(a).max(lines(b))
        })
        .unwrap_or(0);
    let (a, b) = groups.split_at(best);
    [a, b]
}

/// Shows it over the window.
pub fn show(ui: &mut Ui, _studio: &mut Studio, gui: &mut Gui<'_>) {
    let t = gui.tokens.clone();
    let groups = groups(gui.entries);
    let room = ui.ctx().content_rect();
    let response = Dialog::new("keys", "Keys")
        .width(760.0)
        .show(ui.ctx(), |ui| {
            let height = room.height() - 150.0;
            ScrollArea::vertical().max_height(height).show(ui, |ui| {
                if ui.available_width() > 560.0 {
                    ui.columns(2, |columns_ui| {
                        for (ui, groups) in columns_ui.iter_mut().zip(columns(&groups)) {
                            list(ui, groups);
                        }
                    });
                } else {
                    list(ui, &groups);
                }
                ui.add_space(t.size.gap_xs);
            });
        });
    if response.closed {
        gui.send(AppCommand::CloseOverlay);
    }
}

fn list(ui: &mut Ui, groups: &[(Place, Vec<&Entry>)]) {
    let t = theme::tokens(ui.ctx());
    ui.spacing_mut().item_spacing.y = 2.0;
    for (place, entries) in groups {
        ui.add_space(t.size.gap_s);
        text::label(ui, place.label());
        ui.add_space(t.size.gap_xs);
        for entry in entries {
            ui.horizontal(|ui| {
                ui.set_min_height(24.0);
                theme::icon_tinted(ui, entry.icon, t.size.icon_s, t.text_muted);
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    ui.add_space(t.size.gap_m);
                    for (at, chord) in entry.keys.iter().rev().enumerate() {
                        if at > 0 {
                            text::caption(ui, "or");
                        }
                        ui.add(KeyHint::new(&chord.text()));
                    }
                    ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                        let label = RichText::new(entry.label).color(t.text);
                        ui.add(Label::new(label).truncate());
                    });
                });
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_with_keys_is_listed_once() {
        let entries = crate::studio::command::entries();
        let wanted = entries
            .iter()
            .filter(|entry| !entry.keys.is_empty())
            .count();
        let groups = groups(&entries);
        let [a, b] = columns(&groups);
        let listed: usize = a.iter().chain(b).map(|(_, group)| group.len()).sum();
        assert_eq!(listed, wanted);
        assert!(wanted > 5);
    }
}
