//! The real window, driven without a display: egui_kittest on software Vulkan.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use diptych::studio::command::UiCommand;
use diptych::studio::settings::SettingsCommand;
use diptych::theme::ThemeChoice;
use diptych::window::{ScriptedDialogs, Window, WindowOptions};
use diptych_inference::engine::DeviceChoice;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use egui_kittest::{Harness, Node};

use crate::repository;

/// Longer than anything takes on a slow machine; a hang must end all the same.
const PATIENCE: Duration = Duration::from_secs(180);

/// A window with a library of its own.
pub struct Bench {
    /// The harness, for everything that is not here.
    pub harness: Harness<'static, Window>,
    /// Answers to dialogs.
    pub dialogs: ScriptedDialogs,
    data: PathBuf,
    /// Removed with the bench, unless the data were given.
    _folder: Option<tempfile::TempDir>,
}

/// How a window is opened.
pub struct Setup {
    /// Size in points.
    pub size: [f32; 2],
    /// Pixels of the screen to a point.
    pub scale: f32,
    /// The theme; `None` is dark.
    pub theme: egui::Theme,
    /// Folder of the library; `None` is a new one.
    pub data: Option<PathBuf>,
    /// Whether to wait until models are known and nothing runs.
    pub wait: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            size: [1280.0, 800.0],
            scale: 1.0,
            theme: egui::Theme::Dark,
            data: None,
            wait: true,
        }
    }
}

impl Bench {
    /// Opens a window with the built-in models on the CPU, and waits until it is ready.
    ///
    /// # Errors
    /// If it does not become ready.
    pub fn open() -> anyhow::Result<Self> {
        Self::with(Setup::default())
    }

    /// Opens a window.
    ///
    /// # Errors
    /// If it does not become ready.
    pub fn with(setup: Setup) -> anyhow::Result<Self> {
        let (folder, data) = match setup.data {
            Some(data) => (None, data),
            None => {
                let folder = tempfile::tempdir()?;
                let data = folder.path().join("data");
                (Some(folder), data)
            }
        };
        let dialogs = ScriptedDialogs::default();
        let options = WindowOptions {
            data: data.clone(),
            assets: repository("assets"),
            device: Some(DeviceChoice::Cpu),
            look_elsewhere: false,
            go_on: false,
        };
        let scripted = dialogs.clone();
        let mut failure = None;
        let harness = Harness::builder()
            .with_size(setup.size)
            .with_pixels_per_point(setup.scale)
            .with_theme(setup.theme)
            .with_max_steps(64)
            .wgpu()
            .build_eframe(
                |cc| match Window::open(&cc.egui_ctx, options, Box::new(scripted)) {
                    Ok(window) => window,
                    #[expect(
                        clippy::panic,
                        reason = "a test without a window has nothing to go on with"
                    )]
                    Err(error) => {
                        failure = Some(error.to_string());
                        panic!("{error}")
                    }
                },
            );
        let mut bench = Self {
            harness,
            dialogs,
            data,
            _folder: folder,
        };
        if setup.wait {
            bench.wait_idle()?;
            let theme = match setup.theme {
                egui::Theme::Dark => ThemeChoice::Dark,
                egui::Theme::Light => ThemeChoice::Light,
            };
            let studio = bench.harness.state_mut().studio_mut();
            studio.apply(SettingsCommand::Theme(theme).into());
            bench.wait_idle()?;
        }
        Ok(bench)
    }

    /// Folder of the library.
    pub fn data(&self) -> &std::path::Path {
        &self.data
    }

    /// One frame.
    pub fn step(&mut self) {
        self.harness.step();
    }

    /// Frames until a condition holds.
    ///
    /// # Errors
    /// If it does not hold after a long time.
    pub fn wait(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&mut Self) -> bool,
    ) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            self.harness.step();
            if holds(self) {
                return Ok(());
            }
            anyhow::ensure!(
                begin.elapsed() < PATIENCE,
                "waited too long for: {what}; shown are: {}",
                self.labels().join(" | ")
            );
            std::thread::sleep(Duration::from_millis(15));
        }
    }

    /// Frames until nothing runs, waits or is being saved.
    ///
    /// # Errors
    /// If something goes on for a long time.
    pub fn wait_idle(&mut self) -> anyhow::Result<()> {
        self.wait("an idle studio", |bench| {
            bench.harness.state().studio().is_idle()
        })?;
        self.harness.run_steps(3);
        Ok(())
    }

    /// Frames until a control or text with this label is there.
    ///
    /// # Errors
    /// If it does not appear.
    pub fn wait_label(&mut self, label: &str) -> anyhow::Result<()> {
        self.wait(label, |bench| {
            bench
                .harness
                .query_all_by_label_contains(label)
                .next()
                .is_some()
        })
    }

    /// Whether a control or text whose label contains this is there.
    pub fn has(&self, label: &str) -> bool {
        self.harness
            .query_all_by_label_contains(label)
            .next()
            .is_some()
    }

    /// Clicks the control with this label.
    pub fn click(&mut self, label: &str) {
        self.harness.get_by_label(label).click();
        self.harness.run_steps(4);
    }

    /// The control with this label.
    pub fn get<'a>(&'a self, label: &'a str) -> Node<'a> {
        self.harness.get_by_label(label)
    }

    /// Gives the control with this label the keyboard, and types.
    pub fn type_into(&mut self, label: &str, text: &str) {
        self.harness.get_by_label(label).focus();
        self.harness.run_steps(2);
        self.harness.get_by_label(label).type_text(text);
        self.harness.run_steps(2);
    }

    /// Presses a key with modifiers.
    pub fn press(&mut self, modifiers: egui::Modifiers, key: egui::Key) {
        self.harness.key_press_modifiers(modifiers, key);
        self.harness.run_steps(3);
    }

    /// Does what a button, key or menu would do.
    pub fn apply(&mut self, command: impl Into<UiCommand>) {
        self.harness.state_mut().studio_mut().apply(command.into());
        self.harness.run_steps(3);
    }

    /// Draws a picture by the button, and waits until it is kept.
    ///
    /// # Errors
    /// If there is none after a long time.
    pub fn draw(&mut self, prompt: &str) -> anyhow::Result<()> {
        let before = self.harness.state().studio().gallery.items().len();
        prompt.clone_into(&mut self.harness.state_mut().studio_mut().create.form.prompt);
        self.harness.run_steps(2);
        self.click("Generate");
        self.wait("a picture", |bench| {
            bench.harness.state().studio().gallery.items().len() > before
        })?;
        self.wait_idle()
    }

    /// Every label on the window, for messages.
    pub fn labels(&self) -> Vec<String> {
        let mut labels = Vec::new();
        let mut nodes = vec![self.harness.root()];
        while let Some(node) = nodes.pop() {
            let node_told = node.accesskit_node();
            // What is only shown has its words as its value.
            if let Some(label) = node_told.label().or_else(|| node_told.value()) {
                labels.push(label);
            }
            nodes.extend(node.children());
        }
        labels
    }

    /// Draws the window into a picture file, to be looked at.
    ///
    /// # Errors
    /// If it cannot be drawn or written.
    pub fn screenshot(&mut self, path: &std::path::Path) -> anyhow::Result<()> {
        let picture = self.harness.render().map_err(anyhow::Error::msg)?;
        picture.save(path)?;
        Ok(())
    }

    /// Closes the window as a person does, and gives the folder of its library for another one.
    pub fn close(mut self) -> Option<tempfile::TempDir> {
        self.harness
            .state_mut()
            .studio_mut()
            .close(Duration::from_secs(10));
        self._folder.take()
    }
}
