//! A field for prompts: AUTOMATIC1111's weights coloured and changed by keys, earlier prompts at hand, three lines that grow to ten.

pub mod colours;
pub mod history;
pub mod switches;
pub mod syntax;
pub mod weights;

use egui::text::{CCursor, CCursorRange};
use egui::text_edit::TextEditState;
use egui::{
    Align, Event, Frame, Id, Key, Layout, Margin, Modifiers, Response, RichText, ScrollArea,
    Stroke, TextEdit, TextStyle, Ui,
};

use colours::PromptColours;
use history::HistoryPlace;
use syntax::Scan;

/// What can be told of a prompt beside its words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PromptNotes {
    /// Tokens that the model reads, and how many it reads at once.
    pub tokens: Option<(usize, usize)>,
    /// What a person should know, in whole sentences without full stop.
    pub warnings: Vec<String>,
}

/// Tells what can be told of a prompt. Called when the text has changed, not in every frame.
pub type Notes<'a> = &'a dyn Fn(&str) -> PromptNotes;

/// The field. Show it with [`PromptEditor::show`].
pub struct PromptEditor<'a> {
    id: Id,
    label: &'a str,
    text: &'a mut String,
    placeholder: &'a str,
    history: &'a [String],
    rows: (usize, usize),
    plain: bool,
    count: bool,
    colours: Option<PromptColours>,
    notes: Option<Notes<'a>>,
    tokens: Option<(usize, usize)>,
}

/// What happened in the field.
pub struct PromptOutput {
    /// The text field's own: focus, hovering, [`Response::changed`] for every change of the text, by key, paste or history.
    pub response: Response,
    /// Text that was pasted in this frame, before any change to it: it may be the settings of a picture.
    pub pasted: Option<String>,
}

/// What a field remembers from frame to frame.
#[derive(Clone, Default)]
struct Memory {
    place: HistoryPlace,
    /// The text as it was left: another text was put there from outside.
    left: Option<String>,
    /// What was told about which text.
    told: Option<(String, PromptNotes)>,
}

impl<'a> PromptEditor<'a> {
    /// A field for `text`. `label` is what screen readers say and tests look for.
    pub fn new(id: Id, label: &'a str, text: &'a mut String) -> Self {
        Self {
            id,
            label,
            text,
            placeholder: "",
            history: &[],
            rows: (3, 10),
            plain: false,
            count: true,
            colours: None,
            notes: None,
            tokens: None,
        }
    }

    /// What stands there faintly while nothing is written.
    #[must_use]
    pub fn placeholder(mut self, placeholder: &'a str) -> Self {
        self.placeholder = placeholder;
        self
    }

    /// Earlier prompts, newest first.
    #[must_use]
    pub fn history(mut self, history: &'a [String]) -> Self {
        self.history = history;
        self
    }

    /// Lines that are shown at least and at most.
    #[must_use]
    pub fn rows(mut self, least: usize, most: usize) -> Self {
        self.rows = (least.max(1), most.max(least));
        self
    }

    /// For models that have no use for weights: no colours, no weight keys.
    #[must_use]
    pub fn plain(mut self, plain: bool) -> Self {
        self.plain = plain;
        self
    }

    /// Whether the line with the number of words is shown.
    #[must_use]
    pub fn count(mut self, count: bool) -> Self {
        self.count = count;
        self
    }

    /// The theme's colours.
    #[must_use]
    pub fn colours(mut self, colours: PromptColours) -> Self {
        self.colours = Some(colours);
        self
    }

    /// Who knows more about prompts: the model's tokens, what it cannot read.
    #[must_use]
    pub fn notes(mut self, notes: Notes<'a>) -> Self {
        self.notes = Some(notes);
        self
    }

    /// Tokens of the text, and how many the model reads at once, where that is known: shown in place of the number of words.
    #[must_use]
    pub fn tokens(mut self, tokens: Option<(usize, usize)>) -> Self {
        self.tokens = tokens;
        self
    }

    /// Shows the field and the line beneath it.
    pub fn show(self, ui: &mut Ui) -> PromptOutput {
        let Self {
            id,
            label,
            text,
            placeholder,
            history,
            rows,
            plain,
            count,
            colours,
            notes,
            tokens,
        } = self;
        let colours = colours.unwrap_or_else(|| PromptColours::of(ui.visuals()));
        let mut memory: Memory = ui.data_mut(|data| data.get_temp(id).unwrap_or_default());
        if let Some(left) = memory.left.as_ref().filter(|left| *left != text) {
            // Recalled settings, an example prompt: one undo brings back what was there.
            let old = (cursor(ui, id, left), left.clone());
            let end = CCursor::new(text.chars().count());
            record(ui, id, old, (CCursorRange::one(end), text.clone()));
        }
        let focused = ui.memory(|m| m.has_focus(id));
        let mut changed = false;
        let mut pasted = None;
        if focused {
            changed |= !plain && weight_keys(ui, id, text);
            changed |= history_keys(ui, id, text, history, &mut memory.place);
            pasted = clean_pastes(ui);
        }
        let mut response = field(ui, id, text, label, placeholder, rows, &colours, plain);
        if changed {
            response.mark_changed();
        }
        if count {
            below(ui, text, plain, (notes, tokens), &mut memory.told, &colours);
        }
        memory.left = Some(text.clone());
        ui.data_mut(|data| data.insert_temp(id, memory));
        PromptOutput { response, pasted }
    }
}

/// The framed text field, in a scrolling area once it has grown to its most lines.
#[allow(
    clippy::too_many_arguments,
    reason = "called once, and each is of another kind"
)]
fn field(
    ui: &mut Ui,
    id: Id,
    text: &mut String,
    label: &str,
    placeholder: &str,
    (least, most): (usize, usize),
    colours: &PromptColours,
    plain: bool,
) -> Response {
    let font = TextStyle::Body.resolve(ui.style());
    let row = ui.fonts_mut(|fonts| fonts.row_height(&font));
    let widgets = &ui.visuals().widgets;
    let focused = ui.memory(|m| m.has_focus(id));
    let (stroke, rounding) = if focused {
        (ui.visuals().selection.stroke, widgets.active.corner_radius)
    } else {
        (
            widgets.noninteractive.bg_stroke,
            widgets.inactive.corner_radius,
        )
    };
    let frame = Frame::new()
        .fill(ui.visuals().text_edit_bg_color())
        .stroke(Stroke::new(1.0, stroke.color))
        .corner_radius(rounding)
        .inner_margin(Margin::symmetric(8, 6));
    let mut layouter = |ui: &Ui, buffer: &dyn egui::TextBuffer, wrap: f32| {
        let job = colours::layout(buffer.as_str(), colours, &font, wrap, plain);
        ui.fonts_mut(|fonts| fonts.layout_job(job))
    };
    let response = frame
        .show(ui, |ui| {
            ScrollArea::vertical()
                .id_salt((id, "scroll"))
                .max_height(row * most as f32)
                .min_scrolled_height(row * most as f32)
                .auto_shrink([false, true])
                .show(ui, |ui| {
                    let edit = TextEdit::multiline(text)
                        .id(id)
                        .hint_text(placeholder)
                        .frame(Frame::NONE)
                        .desired_rows(least)
                        .desired_width(f32::INFINITY)
                        .layouter(&mut layouter);
                    edit.show(ui).response.response
                })
                .inner
        })
        .inner;
    let label = label.to_owned();
    ui.ctx()
        .accesskit_node_builder(id, |node| node.set_label(label));
    response
}

/// The line beneath: how long the prompt is, and what is to be known of it.
fn below(
    ui: &mut Ui,
    text: &str,
    plain: bool,
    (notes, tokens): (Option<Notes<'_>>, Option<(usize, usize)>),
    told: &mut Option<(String, PromptNotes)>,
    colours: &PromptColours,
) {
    let known = told.as_ref().filter(|(of, _)| of == text);
    let told_notes = match known {
        Some((_, known)) => known.clone(),
        None => {
            let fresh = notes.map(|notes| notes(text)).unwrap_or_default();
            *told = Some((text.to_owned(), fresh.clone()));
            fresh
        }
    };
    let scan = Scan::of(text);
    let mut remarks = match plain {
        true => Vec::new(),
        false => syntax::remarks(&scan, text),
    };
    remarks.extend(told_notes.warnings);
    let words = match tokens.or(told_notes.tokens) {
        Some((tokens, at_once)) => format!("{tokens} of {at_once} tokens"),
        None => match syntax::count_words(&scan, text) {
            1 => "1 word".to_owned(),
            words => format!("{words} words"),
        },
    };
    ui.with_layout(Layout::right_to_left(Align::Min), |ui| {
        ui.add(egui::Label::new(RichText::new(words).small().weak()).selectable(false));
        ui.with_layout(Layout::top_down(Align::Min), |ui| {
            for remark in remarks {
                ui.label(RichText::new(remark).small().color(colours.fault));
            }
        });
    });
}

/// Where the cursor is in a field.
fn cursor(ui: &Ui, id: Id, text: &str) -> CCursorRange {
    TextEditState::load(ui.ctx(), id)
        .and_then(|state| state.cursor.char_range())
        .unwrap_or_else(|| CCursorRange::one(CCursor::new(text.chars().count())))
}

/// Lets the field's undo take back a change that was not typed, in one step, and nothing that was typed with it.
fn record(ui: &Ui, id: Id, old: (CCursorRange, String), new: (CCursorRange, String)) {
    let mut state = TextEditState::load(ui.ctx(), id).unwrap_or_default();
    let mut undoer = state.undoer();
    undoer.add_undo(&old);
    undoer.add_undo(&new);
    // With another state than the newest this forgets what could be redone: it does not fit any more.
    let _ = undoer.redo(&old);
    state.set_undoer(undoer);
    state.cursor.set_char_range(Some(new.0));
    state.store(ui.ctx(), id);
}

/// Ctrl+Up and Ctrl+Down.
fn weight_keys(ui: &Ui, id: Id, text: &mut String) -> bool {
    let steps = ui.input_mut(|input| {
        let up = input.count_and_consume_key(Modifiers::COMMAND, Key::ArrowUp);
        let down = input.count_and_consume_key(Modifiers::COMMAND, Key::ArrowDown);
        i32::try_from(up).unwrap_or(0) - i32::try_from(down).unwrap_or(0)
    });
    if steps == 0 {
        return false;
    }
    let range = cursor(ui, id, text);
    let selection = range.as_sorted_char_range();
    let Some(edit) = weights::change_weight(text, selection.start.0..selection.end.0, steps) else {
        return false;
    };
    let select = CCursorRange::two(
        CCursor::new(edit.selection.start),
        CCursor::new(edit.selection.end),
    );
    record(ui, id, (range, text.clone()), (select, edit.text.clone()));
    *text = edit.text;
    true
}

/// Alt+Up and Alt+Down.
fn history_keys(
    ui: &Ui,
    id: Id,
    text: &mut String,
    history: &[String],
    place: &mut HistoryPlace,
) -> bool {
    let (older, newer) = ui.input_mut(|input| {
        (
            input.consume_key(Modifiers::ALT, Key::ArrowUp),
            input.consume_key(Modifiers::ALT, Key::ArrowDown),
        )
    });
    let found = match (older, newer) {
        (true, false) => place.older(history, text),
        (false, true) => place.newer(history, text),
        _ => None,
    };
    let Some(found) = found else {
        return false;
    };
    let end = CCursorRange::one(CCursor::new(found.chars().count()));
    let old = (cursor(ui, id, text), text.clone());
    record(ui, id, old, (end, found.clone()));
    *text = found;
    true
}

/// Makes what is pasted plain: line ends of other systems, spaces that do not break, signs that are not seen. Gives what was pasted.
fn clean_pastes(ui: &Ui) -> Option<String> {
    ui.input_mut(|input| {
        let mut pasted = None;
        for event in &mut input.events {
            if let Event::Paste(text) = event {
                pasted = Some(text.clone());
                *text = plain_text(text);
            }
        }
        pasted
    })
}

/// Text as a keyboard would have written it.
pub fn plain_text(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .filter_map(|c| match c {
            '\r' | '\u{2028}' | '\u{2029}' => Some('\n'),
            '\u{a0}' | '\u{202f}' | '\u{2007}' | '\t' => Some(' '),
            '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{ad}' => None,
            '\n' => Some('\n'),
            c if c.is_control() => None,
            c => Some(c),
        })
        .collect()
}

#[cfg(test)]
mod tests;
