//! Icons: our own drawings in `assets/icons`, rasterised for the pixels that they cover and tinted when they are painted.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use egui::load::SizeHint;
use egui::mutex::Mutex;
use egui::{
    Color32, ColorImage, Context, Painter, Pos2, Rect, Response, Sense, TextureHandle,
    TextureOptions, Ui, Vec2,
};

use super::ThemeError;

macro_rules! icons {
    ($($name:ident => $file:literal),* $(,)?) => {
        /// What an icon shows. Each is a drawing of the same name in `assets/icons`.
        #[allow(missing_docs, reason = "the names tell")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Icon { $($name,)* }

        impl Icon {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Name of its file, without ending.
            pub const fn file(self) -> &'static str {
                match self { $(Self::$name => $file,)* }
            }
        }
    };
}

icons! {
    Image => "image",
    Chat => "chat",
    Columns => "columns",
    Grid => "grid",
    Library => "library",
    Queue => "queue",
    Settings => "settings",
    Log => "log",
    Search => "search",
    Command => "command",
    Help => "help",
    Play => "play",
    Stop => "stop",
    Pause => "pause",
    Resume => "resume",
    Refresh => "refresh",
    Dice => "dice",
    Lock => "lock",
    Unlock => "unlock",
    Plus => "plus",
    Minus => "minus",
    Close => "close",
    Check => "check",
    ChevronDown => "chevron_down",
    ChevronUp => "chevron_up",
    ChevronLeft => "chevron_left",
    ChevronRight => "chevron_right",
    ChevronsUpDown => "chevrons_up_down",
    ArrowLeft => "arrow_left",
    ArrowRight => "arrow_right",
    ArrowUp => "arrow_up",
    ArrowDown => "arrow_down",
    Drag => "drag",
    Copy => "copy",
    Save => "save",
    Folder => "folder",
    FolderOpen => "folder_open",
    Trash => "trash",
    Restore => "restore",
    Star => "star",
    StarFilled => "star_filled",
    Heart => "heart",
    HeartFilled => "heart_filled",
    Info => "info",
    Warning => "warning",
    Error => "error",
    Success => "success",
    Edit => "edit",
    Pin => "pin",
    Branch => "branch",
    Send => "send",
    Swap => "swap",
    ZoomIn => "zoom_in",
    ZoomOut => "zoom_out",
    Fit => "fit",
    ActualSize => "actual_size",
    SliderCompare => "slider_compare",
    Blink => "blink",
    Difference => "difference",
    SideBySide => "side_by_side",
    Eye => "eye",
    EyeOff => "eye_off",
    Upload => "upload",
    Import => "import",
    Export => "export",
    More => "more",
    Sun => "sun",
    Moon => "moon",
    Monitor => "monitor",
    Cpu => "cpu",
    Gpu => "gpu",
    Memory => "memory",
    Clock => "clock",
    Undo => "undo",
    Redo => "redo",
    Text => "text",
    Sparkle => "sparkle",
    External => "external",
    User => "user",
    Robot => "robot",
    Model => "model",
    Seed => "seed",
    Keyboard => "keyboard",
    Palette => "palette",
    Filter => "filter",
    Crop => "crop",
    Link => "link",
    Bolt => "bolt",
    Sidebar => "sidebar",
    Drop => "drop",
    Brush => "brush",
    Eraser => "eraser",
    Start => "start",
    Invert => "invert",
    Fill => "fill",
    Enlarge => "enlarge",
    Morph => "morph",
}

/// All drawings, and the textures made of them so far.
pub(super) struct IconSet {
    drawings: HashMap<Icon, Vec<u8>>,
    textures: Mutex<HashMap<(Icon, u32), TextureHandle>>,
}

fn rasterise(drawing: &[u8], pixels: u32) -> Result<ColorImage, String> {
    let size = SizeHint::Size {
        width: pixels,
        height: pixels,
        maintain_aspect_ratio: true,
    };
    egui_extras::image::load_svg_bytes_with_size(drawing, size, &Default::default())
}

impl IconSet {
    /// Reads every drawing and proves that it can be drawn.
    pub(super) fn load(folder: &Path) -> Result<Self, ThemeError> {
        let mut drawings = HashMap::new();
        for &icon in Icon::ALL {
            let path = folder.join(format!("{}.svg", icon.file()));
            let drawing = super::read(&path)?;
            if let Err(cause) = rasterise(&drawing, 16) {
                return Err(ThemeError::Icon { path, cause });
            }
            drawings.insert(icon, drawing);
        }
        Ok(Self {
            drawings,
            textures: Mutex::default(),
        })
    }

    fn texture(&self, ctx: &Context, icon: Icon, pixels: u32) -> Option<TextureHandle> {
        let pixels = pixels.clamp(8, 512);
        if let Some(texture) = self.textures.lock().get(&(icon, pixels)) {
            return Some(texture.clone());
        }
        let image = rasterise(self.drawings.get(&icon)?, pixels).ok()?;
        let name = format!("icon {} {pixels}", icon.file());
        let texture = ctx.load_texture(name, image, TextureOptions::LINEAR);
        self.textures.lock().insert((icon, pixels), texture.clone());
        Some(texture)
    }
}

/// Paints an icon of `size` points around `centre`, on whole pixels, in the colour given.
pub fn paint_icon(painter: &Painter, centre: Pos2, size: f32, icon: Icon, colour: Color32) {
    let ctx = painter.ctx();
    let Some(set): Option<Arc<IconSet>> = super::icon_set(ctx) else {
        return;
    };
    let scale = ctx.pixels_per_point();
    let pixels = (size * scale).round().max(1.0);
    let Some(texture) = set.texture(ctx, icon, pixels as u32) else {
        return;
    };
    let size = Vec2::splat(pixels / scale);
    let corner = centre - size / 2.0;
    // Off the pixel grid, thin lines blur.
    let corner = Pos2::new(
        (corner.x * scale).round() / scale,
        (corner.y * scale).round() / scale,
    );
    let uv = Rect::from_min_max(Pos2::ZERO, Pos2::new(1.0, 1.0));
    painter.image(texture.id(), Rect::from_min_size(corner, size), uv, colour);
}

/// An icon in the flow of a layout, in the colour of the text around it; an ornament without a name of its own.
pub fn icon(ui: &mut Ui, icon: Icon, size: f32) -> Response {
    let colour = ui.visuals().text_color();
    icon_tinted(ui, icon, size, colour)
}

/// As [`icon`], in a colour of one's own.
pub fn icon_tinted(ui: &mut Ui, icon: Icon, size: f32, colour: Color32) -> Response {
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(size), Sense::hover());
    if ui.is_rect_visible(rect) {
        paint_icon(ui.painter(), rect.center(), size, icon, colour);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::PathBuf;

    use super::*;

    fn folder() -> PathBuf {
        crate::folders::assets(None).unwrap().join("icons")
    }

    #[test]
    fn every_drawing_has_a_name_and_every_name_a_drawing() {
        let files: HashSet<String> = std::fs::read_dir(folder())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let named: HashSet<String> = Icon::ALL
            .iter()
            .map(|icon| format!("{}.svg", icon.file()))
            .collect();
        assert_eq!(files, named);
        assert_eq!(named.len(), Icon::ALL.len());
    }

    #[test]
    fn drawings_keep_to_the_house_style() {
        for icon in Icon::ALL {
            let path = folder().join(format!("{}.svg", icon.file()));
            let text = std::fs::read_to_string(path).unwrap();
            assert!(text.contains(r#"viewBox="0 0 24 24""#), "{icon:?}");
            assert!(text.contains(r#"stroke-width="1.75""#), "{icon:?}");
            // Tinting multiplies: anything but white would stain every theme.
            let colours = text.match_indices('#').map(|(at, _)| &text[at..at + 4]);
            assert!(
                colours.into_iter().all(|colour| colour == "#fff"),
                "{icon:?}"
            );
            let image = rasterise(text.as_bytes(), 32).unwrap();
            assert_eq!(image.size, [32, 32]);
            let inked = image.pixels.iter().filter(|pixel| pixel.a() > 127).count();
            assert!((16..700).contains(&inked), "{icon:?}: {inked} pixels");
            let edge = |x: usize, y: usize| image.pixels[y * 32 + x].a();
            for at in 0..32 {
                let outside = edge(at, 0)
                    .max(edge(at, 31))
                    .max(edge(0, at))
                    .max(edge(31, at));
                assert!(outside < 40, "{icon:?} touches its edge");
            }
        }
    }

    #[test]
    fn a_missing_drawing_is_named() {
        let empty = tempfile::tempdir().unwrap();
        let error = IconSet::load(empty.path()).err().unwrap().to_string();
        assert!(error.contains("image.svg"), "{error}");
        let broken = tempfile::tempdir().unwrap();
        std::fs::write(broken.path().join("image.svg"), "<svg").unwrap();
        let error = IconSet::load(broken.path()).err().unwrap().to_string();
        assert!(error.contains("image.svg"), "{error}");
    }
}
