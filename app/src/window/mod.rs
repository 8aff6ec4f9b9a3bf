//! The window: an eframe shell around the studio.

mod dialogs;
mod effects;
mod meter;
mod shortcuts;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diptych_inference::engine::DeviceChoice;
use egui::{Area, Context, Frame, Id, Order, Panel, Rect, Stroke, Ui};

pub use dialogs::{Dialogs, NativeDialogs, ScriptedDialogs};

use crate::panels::{self, Gui};
use crate::studio::command::{self, Entry, UiCommand};
use crate::studio::view::{Drawer, Overlay, Workspace};
use crate::studio::{Studio, StudioOptions};
use crate::theme::{self, ThemeError, Tokens};
use crate::widgets::toast::Toasts;
use meter::Meter;
pub use meter::launched;

/// How the window is to be opened.
#[derive(Clone, Debug)]
pub struct WindowOptions {
    /// Folder of the library.
    pub data: PathBuf,
    /// Folder of the program's own models, fonts and icons.
    pub assets: PathBuf,
    /// The device of the command line.
    pub device: Option<DeviceChoice>,
    /// Whether to look for models in the folders of other programs.
    pub look_elsewhere: bool,
    /// Whether jobs that an earlier run left go on by themselves.
    pub go_on: bool,
}

/// How long the library may take for the last changes when the window closes.
const LAST_SAVE: Duration = Duration::from_secs(5);
/// After something was typed, a frame comes at the latest then, so that it is saved within the second.
const AFTER_INPUT: Duration = Duration::from_millis(400);
/// Width of the drawer at the right.
const DRAWER: f32 = 400.0;
/// Least width of a workspace beside a drawer; where there is less, the drawer lies over it.
const LEAST_BESIDE: f32 = 520.0;
/// Height of the strip at the bottom.
const STRIP: f32 = panels::queue::BAR;
/// Its height when it is unfolded.
const STRIP_OPEN: f32 = panels::queue::OPEN;

/// The window.
pub struct Window {
    studio: Studio,
    entries: Vec<Entry>,
    dialogs: Box<dyn Dialogs>,
    focus: Option<&'static str>,
    toasts: Toasts<UiCommand>,
    sized: bool,
    meter: Meter,
}

impl Window {
    /// Opens the studio in an egui context.
    ///
    /// # Errors
    /// If fonts, icons or palettes of the program are missing.
    pub fn open(
        ctx: &Context,
        options: WindowOptions,
        dialogs: Box<dyn Dialogs>,
    ) -> Result<Self, ThemeError> {
        let look = theme::load(&options.assets)?;
        look.install(ctx, theme::ThemeChoice::default(), 1.0);
        let waker = ctx.clone();
        let studio = Studio::open(StudioOptions {
            data: options.data,
            assets: options.assets,
            device: options.device,
            look_elsewhere: options.look_elsewhere,
            go_on: options.go_on,
            wake: Arc::new(move || waker.request_repaint()),
        });
        Ok(Self {
            studio,
            entries: command::entries(),
            dialogs,
            focus: None,
            toasts: Toasts::default(),
            sized: false,
            meter: Meter::default(),
        })
    }

    /// The studio.
    pub fn studio(&self) -> &Studio {
        &self.studio
    }

    /// The studio, for tests.
    pub fn studio_mut(&mut self) -> &mut Studio {
        &mut self.studio
    }

    fn show(&mut self, ui: &mut Ui) -> Vec<UiCommand> {
        let ctx = ui.ctx().clone();
        let mut gui = Gui {
            tokens: theme::tokens(&ctx),
            entries: &self.entries,
            commands: Vec::new(),
            focus: self.focus.take(),
            dropped: false,
            notices: None,
        };
        let studio = &mut self.studio;
        gui.commands
            .extend(shortcuts::pressed(&ctx, studio, &self.entries));
        let tokens = gui.tokens.clone();
        let colours = &tokens.colours;
        Panel::left("rail")
            .exact_size(tokens.size.rail_width)
            .resizable(false)
            .show_separator_line(false)
            .frame(Frame::new().fill(colours.bg_base))
            .show(ui, |ui| panels::rail::show(ui, studio, &mut gui));
        let strip = if studio.view.queue_open {
            STRIP_OPEN
        } else {
            STRIP
        };
        Panel::bottom("queue")
            .exact_size(strip)
            .resizable(false)
            .show_separator_line(false)
            .frame(Frame::new().fill(colours.bg_base))
            .show(ui, |ui| panels::queue::show(ui, studio, &mut gui));
        let width = DRAWER.min(ui.available_width() * 0.6);
        let beside = ui.available_width() - width >= LEAST_BESIDE;
        if let Some(drawer) = studio.view.drawer.filter(|_| beside) {
            Panel::right("drawer")
                .exact_size(width)
                .resizable(false)
                .show_separator_line(false)
                .frame(
                    Frame::new()
                        .fill(colours.bg_panel)
                        .inner_margin(tokens.size.gap_l),
                )
                .show(ui, |ui| in_drawer(ui, drawer, studio, &mut gui));
        }
        let room = ui.available_rect_before_wrap();
        egui::CentralPanel::no_frame()
            .frame(Frame::new().fill(colours.bg_panel))
            .show(ui, |ui| match studio.view.workspace {
                Workspace::Create => panels::create::show(ui, studio, &mut gui),
                Workspace::Chat => panels::chat::show(ui, studio, &mut gui),
                Workspace::Compare => panels::compare::show(ui, studio, &mut gui),
                Workspace::Gallery => panels::gallery::show(ui, studio, &mut gui),
            });
        if let Some(drawer) = studio.view.drawer.filter(|_| !beside) {
            over(&ctx, room, &tokens, |ui| {
                in_drawer(ui, drawer, studio, &mut gui);
            });
        }
        match studio.view.overlay {
            Some(Overlay::Palette) => panels::palette::show(ui, studio, &mut gui),
            Some(Overlay::Keys) => panels::keys::show(ui, studio, &mut gui),
            None => {}
        }
        panels::toasts::show(&ctx, room, &mut self.toasts, studio, &mut gui);
        panels::drop::take(&ctx, studio.view.workspace, &mut gui);
        self.focus = gui.focus;
        gui.commands
    }

    fn ask_for_frames(&self, ctx: &Context) {
        if ctx.input(|input| !input.events.is_empty()) {
            ctx.request_repaint_after(AFTER_INPUT);
        }
    }
}

/// What is in a drawer.
fn in_drawer(ui: &mut Ui, drawer: Drawer, studio: &mut Studio, gui: &mut Gui<'_>) {
    match drawer {
        Drawer::Settings => panels::settings::show(ui, studio, gui),
        Drawer::Log => panels::log::show(ui, studio, gui),
        Drawer::Models => panels::models::show(ui, studio, gui),
        Drawer::Lists => panels::lists::show(ui, studio, gui),
    }
}

/// A drawer at the right of the workspace, over it.
fn over(ctx: &Context, room: Rect, tokens: &Tokens, content: impl FnOnce(&mut Ui)) {
    let width = DRAWER.min(room.width() - 2.0 * tokens.size.gap_l);
    let rect = room.with_min_x(room.right() - width);
    let margin = tokens.size.gap_l;
    Area::new(Id::unique("drawer over the workspace"))
        .order(Order::Middle)
        .movable(false)
        .constrain(false)
        .fixed_pos(rect.min)
        .default_size(rect.size())
        .show(ctx, |ui| {
            let frame = Frame::new()
                .fill(tokens.colours.bg_panel)
                .stroke(Stroke::new(1.0, tokens.colours.stroke_strong))
                .shadow(tokens.shadow_dialog())
                .inner_margin(margin);
            frame.show(ui, |ui| {
                let inner = rect.shrink(margin);
                ui.set_clip_rect(rect);
                ui.set_width(inner.width());
                ui.set_height(inner.height());
                content(ui);
            });
        });
}

impl eframe::App for Window {
    fn logic(&mut self, _ctx: &Context, _frame: &mut eframe::Frame) {
        self.studio.tick();
    }

    fn ui(&mut self, ui: &mut Ui, frame: &mut eframe::Frame) {
        let ctx = ui.ctx().clone();
        let commands = self.show(ui);
        if !commands.is_empty() {
            ctx.request_repaint();
        }
        for command in commands {
            self.studio.apply(command);
        }
        self.do_effects(&ctx, frame);
        self.remember_size(&ctx);
        self.meter.frame(frame.info().cpu_usage);
        self.ask_for_frames(&ctx);
    }

    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        visuals.panel_fill.to_normalized_gamma_f32()
    }

    fn on_exit(&mut self) {
        self.studio.close(LAST_SAVE);
    }
}

/// Opens the window and stays until it is closed. If the graphics device of the window is lost, another window is opened with
/// everything that was in the first; jobs go on.
///
/// # Errors
/// If the system gives no window, or the program's assets are incomplete.
pub fn run(mut options: WindowOptions) -> Result<(), eframe::Error> {
    loop {
        let lost = Arc::new(AtomicBool::new(false));
        run_once(options.clone(), lost.clone())?;
        if !lost.load(Ordering::Relaxed) {
            return Ok(());
        }
        tracing::warn!("the window's graphics device was lost; opening the window anew");
        options.go_on = true;
    }
}

fn run_once(options: WindowOptions, lost: Arc<AtomicBool>) -> Result<(), eframe::Error> {
    let mut viewport = egui::ViewportBuilder::default()
        .with_title("Diptych")
        .with_app_id("diptych")
        .with_inner_size([1280.0, 800.0])
        .with_min_inner_size([800.0, 520.0]);
    match icon(&options.assets) {
        Ok(icon) => viewport = viewport.with_icon(icon),
        Err(error) => tracing::warn!("the window has no icon: {error}"),
    }
    let native = eframe::NativeOptions {
        viewport,
        centered: true,
        ..Default::default()
    };
    eframe::run_native(
        "Diptych",
        native,
        Box::new(move |cc| {
            if let Some(state) = &cc.wgpu_render_state {
                let ctx = cc.egui_ctx.clone();
                state
                    .device
                    .set_device_lost_callback(move |reason, message| {
                        // Our own closing of the window destroys the device, too.
                        if !matches!(reason, eframe::wgpu::DeviceLostReason::Destroyed) {
                            tracing::error!("the window's graphics device was lost: {message}");
                            lost.store(true, Ordering::Relaxed);
                            ctx.send_viewport_cmd(egui::ViewportCommand::Close);
                        }
                    });
            }
            let window = Window::open(&cc.egui_ctx, options, Box::new(NativeDialogs))?;
            Ok(Box::new(window))
        }),
    )
}

/// The program's icon.
fn icon(assets: &std::path::Path) -> Result<egui::IconData, String> {
    const SIDE: u32 = 128;
    let path = assets.join("linux/diptych.svg");
    let drawing = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let size = egui::SizeHint::Size {
        width: SIDE,
        height: SIDE,
        maintain_aspect_ratio: true,
    };
    let picture =
        egui_extras::image::load_svg_bytes_with_size(&drawing, size, &Default::default())?;
    Ok(egui::IconData {
        width: SIDE,
        height: SIDE,
        rgba: picture
            .pixels
            .iter()
            .flat_map(egui::Color32::to_srgba_unmultiplied)
            .collect(),
    })
}
