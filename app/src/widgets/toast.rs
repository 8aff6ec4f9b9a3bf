//! Toasts: what happened, why, and what to do about it, in the upper right corner of the room that they are given. What is pressed
//! next (send, generate, go on) lies at the lower edge of most panels, so that they hang from the upper one.

use egui::{
    Align, Align2, Area, Context, Frame, Id, Label, Layout, Margin, Order, Rect, RichText, Role,
    Stroke, Ui, UiBuilder, Vec2, WidgetInfo,
};

use super::base;
use super::button::{Button, IconButton};
use crate::theme::{self, Icon, Tokens};

/// Width of a toast, where there is so much room.
const WIDTH: f32 = 340.0;

/// Most toasts that are shown at once; older ones that are no errors give way.
const MOST: usize = 5;

/// Seconds for which toasts stay after the pointer has left them.
const HOVER_SECS: f64 = 2.0;

/// Seconds for which a toast with a button stays.
const OFFER_SECS: f64 = 20.0;

/// What kind of news it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToastKind {
    /// Something to know.
    Info,
    /// Something was done.
    Success,
    /// Something to take care of.
    Warning,
    /// Something failed; stays until it is closed.
    Error,
}

impl ToastKind {
    /// Icon and colour.
    pub fn look(self, t: &Tokens) -> (Icon, egui::Color32) {
        match self {
            Self::Info => (Icon::Info, t.info),
            Self::Success => (Icon::Success, t.success),
            Self::Warning => (Icon::Warning, t.warning),
            Self::Error => (Icon::Error, t.danger_text),
        }
    }

    /// Seconds for which it is shown; `None` stays.
    fn secs(self) -> Option<f64> {
        match self {
            Self::Info | Self::Success => Some(4.0),
            Self::Warning => Some(8.0),
            Self::Error => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Info => "Note",
            Self::Success => "Done",
            Self::Warning => "Warning",
            Self::Error => "Error",
        }
    }
}

/// One piece of news. `A` is what its button asks for.
#[derive(Clone, Debug)]
pub struct Toast<A> {
    /// What kind it is.
    pub kind: ToastKind,
    /// What happened.
    pub title: String,
    /// Why; may be empty.
    pub cause: String,
    /// What to do about it; may be empty.
    pub remedy: String,
    /// A button: its text and what it asks for.
    pub action: Option<(String, A)>,
}

impl<A> Toast<A> {
    /// News with a title alone.
    pub fn new(kind: ToastKind, title: impl Into<String>) -> Self {
        Self {
            kind,
            title: title.into(),
            cause: String::new(),
            remedy: String::new(),
            action: None,
        }
    }

    /// Why it happened.
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = cause.into();
        self
    }

    /// What to do about it.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// Seconds for which it is shown; `None` stays. An offer stays long enough to be read, thought about and reached.
    fn secs(&self) -> Option<f64> {
        let least = if self.action.is_some() {
            OFFER_SECS
        } else {
            0.0
        };
        self.kind.secs().map(|secs| secs.max(least))
    }

    /// A button, and what it asks for.
    pub fn action(mut self, text: impl Into<String>, action: A) -> Self {
        self.action = Some((text.into(), action));
        self
    }
}

struct Shown<A> {
    toast: Toast<A>,
    number: u64,
    /// Seconds for which it is shown; `None` stays.
    secs: Option<f64>,
    /// When it goes, in the window's time; set when it is first seen.
    until: Option<f64>,
    /// How often the same came while it was shown.
    count: u32,
}

/// All toasts that are shown.
pub struct Toasts<A> {
    shown: Vec<Shown<A>>,
    next: u64,
}

impl<A> Default for Toasts<A> {
    fn default() -> Self {
        Self {
            shown: Vec::new(),
            next: 0,
        }
    }
}

impl<A: Clone> Toasts<A> {
    /// Shows one more. The same news twice is counted, not repeated.
    pub fn push(&mut self, toast: Toast<A>) {
        let same = self.shown.iter_mut().find(|shown| {
            shown.toast.kind == toast.kind
                && shown.toast.title == toast.title
                && shown.toast.cause == toast.cause
        });
        if let Some(same) = same {
            same.count += 1;
            same.until = None;
            return;
        }
        let number = self.next;
        self.next += 1;
        self.shown.push(Shown {
            secs: toast.secs(),
            until: None,
            toast,
            number,
            count: 1,
        });
        if self.shown.len() > MOST {
            let mild = self.shown.iter().position(|shown| shown.secs.is_some());
            self.shown.remove(mild.unwrap_or(0));
        }
    }

    /// How many are shown.
    pub fn len(&self) -> usize {
        self.shown.len()
    }

    /// Whether none is shown.
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    /// Takes all away.
    pub fn clear(&mut self) {
        self.shown.clear();
    }

    /// Shows them within `room`, newest at the top; answers what a button that was pressed asks for. Those that have no room wait.
    pub fn show(&mut self, ctx: &Context, room: Rect) -> Option<A> {
        let t = theme::tokens(ctx);
        let mut asked = None;
        let mut closed = Vec::new();
        let mut seen = Vec::new();
        let mut hovered = false;
        let mut top = room.top() + t.size.gap_m;
        let width = WIDTH.min(room.width() - 2.0 * t.size.gap_m);
        for shown in self.shown.iter().rev() {
            let id = Id::unique(("toast", shown.number));
            let before = ctx.memory(|memory| memory.area_rect(id));
            let height = before.map_or(0.0, |rect| rect.height());
            if !seen.is_empty() && top + height > room.bottom() {
                break;
            }
            seen.push(shown.number);
            let arrival = ctx.animate_bool_with_time_and_easing(
                id.with("arrival"),
                !base::first_time(ctx, id.with("seen")),
                t.size.time_normal,
                egui::emath::easing::cubic_out,
            );
            let at = egui::pos2(room.right() - t.size.gap_m + (1.0 - arrival) * 24.0, top);
            let area = Area::new(id)
                .order(Order::Foreground)
                .pivot(Align2::RIGHT_TOP)
                .fixed_pos(at)
                .constrain(false)
                .default_width(width)
                .accessible_name(shown.toast.kind.word())
                .show(ctx, |ui| {
                    ui.set_opacity(arrival.max(0.05));
                    card(ui, &shown.toast, shown.count, width)
                });
            hovered |= area.response.contains_pointer();
            match area.inner {
                Some(CardAction::Close) => closed.push(shown.number),
                Some(CardAction::Act) => {
                    asked = shown
                        .toast
                        .action
                        .as_ref()
                        .map(|(_, action)| action.clone());
                    closed.push(shown.number);
                }
                None => {}
            }
            top = area.response.rect.bottom() + t.size.gap_s;
        }
        let now = ctx.input(|input| input.time);
        self.age(now, hovered, &seen);
        self.shown.retain(|shown| {
            !closed.contains(&shown.number) && shown.until.is_none_or(|until| until > now)
        });
        let next = self
            .shown
            .iter()
            .filter_map(|shown| shown.until)
            .reduce(f64::min);
        if let Some(next) = next {
            let wait = (next - now).clamp(0.0, 60.0);
            ctx.request_repaint_after(std::time::Duration::from_secs_f64(wait));
        }
        asked
    }

    /// Begins the time of those that are seen for the first time, and gives all of them some more while the pointer is on one.
    fn age(&mut self, now: f64, hovered: bool, seen: &[u64]) {
        for shown in &mut self.shown {
            let Some(secs) = shown.secs.filter(|_| seen.contains(&shown.number)) else {
                continue;
            };
            let until = shown.until.get_or_insert(now + secs);
            if hovered {
                *until = until.max(now + HOVER_SECS);
            }
        }
    }
}

/// What was pressed on a toast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CardAction {
    Close,
    Act,
}

fn card<A>(ui: &mut Ui, toast: &Toast<A>, count: u32, width: f32) -> Option<CardAction> {
    let t = theme::tokens(ui.ctx());
    let (icon, colour) = toast.kind.look(&t);
    let mut pressed = None;
    let frame = Frame::new()
        .fill(t.bg_raised)
        .stroke(Stroke::new(1.0, t.stroke_strong))
        .corner_radius(t.corner_l())
        .shadow(t.shadow_popup())
        .inner_margin(Margin::same(t.size.gap_m as i8));
    let shown = frame.show(ui, |ui| {
        ui.set_width(width - 2.0 * t.size.gap_m);
        let top = ui.cursor().min;
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = 0.0;
            // The icon is painted into this room below.
            ui.add_space(t.size.icon_m + 10.0);
            ui.vertical(|ui| {
                ui.set_width(width - 2.0 * t.size.gap_m - t.size.icon_m - 10.0 - 30.0);
                ui.spacing_mut().item_spacing.y = 3.0;
                let font = theme::medium(ui.ctx(), t.size.font_body);
                let title = if count > 1 {
                    format!("{} ({count})", toast.title)
                } else {
                    toast.title.clone()
                };
                let line = |ui: &mut Ui, text: RichText| ui.add(Label::new(text).wrap());
                line(ui, RichText::new(title).font(font).color(t.text));
                if !toast.cause.is_empty() {
                    line(ui, RichText::new(&toast.cause).color(t.text_muted));
                }
                if !toast.remedy.is_empty() {
                    line(ui, RichText::new(&toast.remedy).color(t.text_muted));
                }
                if let Some((text, _)) = &toast.action {
                    ui.add_space(t.size.gap_xs);
                    if ui.add(Button::secondary(text).small()).clicked() {
                        pressed = Some(CardAction::Act);
                    }
                }
            });
        });
        let centre = egui::pos2(top.x + t.size.icon_m / 2.0, top.y + 8.5);
        theme::paint_icon(ui.painter(), centre, t.size.icon_m, icon, colour);
        top
    });
    let corner = egui::pos2(
        shown.response.rect.right() - t.size.gap_s,
        shown.inner.y - 4.0,
    );
    let cross = Rect::from_min_size(
        egui::pos2(corner.x - t.size.control_s, corner.y),
        Vec2::splat(t.size.control_s),
    );
    let builder = UiBuilder::new()
        .max_rect(cross)
        .layout(Layout::left_to_right(Align::Center));
    ui.scope_builder(builder, |ui| {
        let name = format!("Dismiss: {}", toast.title);
        if ui
            .add(IconButton::new(Icon::Close, &name).small())
            .clicked()
        {
            pressed = Some(CardAction::Close);
        }
    });
    let words = format!("{}. {} {}", toast.title, toast.cause, toast.remedy);
    shown
        .response
        .widget_info(|| WidgetInfo::labeled(Role::Alert, true, words.trim()));
    pressed
}
