//! Which workspace is shown, and what lies over it.

use serde::{Deserialize, Serialize};

use crate::library::Restored;

/// A workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workspace {
    /// Drawing.
    #[default]
    Create,
    /// Conversations.
    Chat,
    /// Side by side.
    Compare,
    /// All pictures.
    Gallery,
}

impl Workspace {
    /// All of them, in the order of the rail.
    pub const ALL: [Self; 4] = [Self::Create, Self::Chat, Self::Compare, Self::Gallery];

    /// Its name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Create => "Create",
            Self::Chat => "Chat",
            Self::Compare => "Compare",
            Self::Gallery => "Library",
        }
    }
}

/// A drawer at the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Drawer {
    /// Settings.
    Settings,
    /// What happened.
    Log,
    /// Models.
    Models,
    /// Lists of words.
    Lists,
}

/// What lies over the whole window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Overlay {
    /// The command palette.
    Palette,
    /// The list of keys.
    Keys,
}

/// What is shown.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct View {
    /// The workspace.
    pub workspace: Workspace,
    /// Whether the queue strip is unfolded.
    pub queue_open: bool,
    /// Width and height of the window in points, when it is not maximised.
    pub size: Option<[f32; 2]>,
    /// Whether the window is maximised.
    pub maximised: bool,
    /// The drawer.
    #[serde(skip)]
    pub drawer: Option<Drawer>,
    /// What lies over all.
    #[serde(skip)]
    pub overlay: Option<Overlay>,
}

const DRAFT: &str = "view";

impl View {
    /// Takes over what an earlier run left.
    pub fn restore(&mut self, restored: &Restored) {
        if let Some(view) = restored
            .drafts
            .get(DRAFT)
            .and_then(|text| super::drafts::take_up(text, &Self::default(), self))
        {
            *self = Self {
                drawer: self.drawer,
                overlay: self.overlay,
                ..view
            };
        }
    }

    /// What is to be kept.
    pub fn drafts(&self) -> Vec<(String, String)> {
        super::drafts::draft(DRAFT, self).into_iter().collect()
    }
}
