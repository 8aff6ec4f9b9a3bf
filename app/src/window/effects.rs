//! What the studio wants of the window.

use egui::{ColorImage, Context, OpenUrl, ViewportCommand};

use super::Window;
use crate::studio::effects::Effect;
use crate::studio::log::Level;
use crate::theme;

impl Window {
    pub(super) fn do_effects(&mut self, ctx: &Context, frame: &eframe::Frame) {
        for effect in self.studio.house.take_effects() {
            match effect {
                Effect::CopyText(text) => ctx.copy_text(text),
                Effect::CopyPicture(picture) => {
                    let size = [picture.width as usize, picture.height as usize];
                    ctx.copy_image(ColorImage::from_rgb(size, &picture.rgb));
                }
                Effect::Ask(ask) => {
                    let reply = self.studio.house.reply();
                    self.dialogs.ask(ask, frame, reply);
                }
                Effect::Reveal(path) => {
                    let reply = self.studio.house.reply();
                    let folder = path.parent().unwrap_or(&path).to_owned();
                    let spawned = std::thread::Builder::new().spawn(move || {
                        if let Err(error) = open::that_detached(&folder) {
                            let text = format!("{}: {error}", folder.display());
                            reply.notice(Level::Error, "The folder cannot be shown", text);
                        }
                    });
                    if let Err(error) = spawned {
                        tracing::error!("no thread to show a folder: {error}");
                    }
                }
                Effect::OpenUrl(url) => ctx.open_url(OpenUrl::new_tab(url)),
                Effect::Focus(name) => {
                    self.focus = Some(name);
                    ctx.request_repaint();
                }
                Effect::Look => {
                    let settings = &self.studio.house.settings;
                    theme::choose(ctx, settings.theme, settings.scale);
                }
                Effect::Size => {
                    let view = &self.studio.view;
                    if view.maximised {
                        ctx.send_viewport_cmd(ViewportCommand::Maximized(true));
                    } else if let Some(size) = view.size {
                        ctx.send_viewport_cmd(ViewportCommand::InnerSize(size.into()));
                    }
                    self.sized = true;
                }
                Effect::FullScreen => {
                    let full = ctx.input(|input| input.viewport().fullscreen);
                    let full = !full.unwrap_or(false);
                    ctx.send_viewport_cmd(ViewportCommand::Fullscreen(full));
                }
                Effect::Quit => ctx.send_viewport_cmd(ViewportCommand::Close),
            }
        }
    }
}

impl Window {
    /// Remembers the size of the window, once it has the one of the earlier run.
    pub(super) fn remember_size(&mut self, ctx: &Context) {
        if !self.sized {
            return;
        }
        let (rect, maximised) = ctx.input(|input| {
            let viewport = input.viewport();
            (viewport.inner_rect, viewport.maximized)
        });
        let view = &mut self.studio.view;
        view.maximised = maximised.unwrap_or(false);
        if let Some(rect) = rect.filter(|rect| !view.maximised && rect.is_positive()) {
            // Viewport commands speak of points at the window's own scale.
            view.size = Some([rect.width().round(), rect.height().round()]);
        }
    }
}
