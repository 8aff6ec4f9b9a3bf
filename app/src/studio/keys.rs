//! Keys: chords, where they work, and how they are written.

use egui::{Key, KeyboardShortcut, Modifiers};

use super::view::Workspace;

/// Where a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In the whole window.
    Everywhere,
    /// In Create.
    Create,
    /// In Chat.
    Chat,
    /// In Compare.
    Compare,
    /// In the library of pictures.
    Gallery,
    /// In Create and in the library, about the picture that is shown.
    Picture,
}

impl Place {
    /// Whether a key of this place works in a workspace.
    pub fn holds(self, workspace: Workspace) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Create => workspace == Workspace::Create,
            Self::Chat => workspace == Workspace::Chat,
            Self::Compare => workspace == Workspace::Compare,
            Self::Gallery => workspace == Workspace::Gallery,
            Self::Picture => matches!(workspace, Workspace::Create | Workspace::Gallery),
        }
    }

    /// Its name in the list of keys.
    pub fn label(self) -> &'static str {
        match self {
            Self::Everywhere => "Everywhere",
            Self::Create => "Create",
            Self::Chat => "Chat",
            Self::Compare => "Compare",
            Self::Gallery => "Library",
            Self::Picture => "The picture shown",
        }
    }
}

/// A key with modifiers. `ctrl` is the command key on a Mac.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chord {
    /// Ctrl, or the command key on a Mac.
    pub ctrl: bool,
    /// Shift.
    pub shift: bool,
    /// Alt.
    pub alt: bool,
    /// The key.
    pub key: Key,
}

impl Chord {
    /// A key alone.
    pub const fn plain(key: Key) -> Self {
        Self {
            ctrl: false,
            shift: false,
            alt: false,
            key,
        }
    }

    /// A key with Ctrl.
    pub const fn ctrl(key: Key) -> Self {
        Self {
            ctrl: true,
            shift: false,
            alt: false,
            key,
        }
    }

    /// And Shift.
    #[must_use]
    pub const fn shift(mut self) -> Self {
        self.shift = true;
        self
    }

    /// And Alt.
    #[must_use]
    pub const fn alt(mut self) -> Self {
        self.alt = true;
        self
    }

    /// Whether typing text could press it.
    pub fn is_typed(self) -> bool {
        !self.ctrl && !self.alt && !matches!(self.key, Key::Escape) && !is_function_key(self.key)
    }

    /// Whether a text field has a use for it of its own (undo, copy, moving and deleting).
    pub fn is_for_text(self) -> bool {
        self.is_typed()
            || (self.ctrl
                && !self.alt
                && matches!(
                    self.key,
                    Key::Z
                        | Key::Y
                        | Key::A
                        | Key::C
                        | Key::X
                        | Key::V
                        | Key::Backspace
                        | Key::Delete
                ))
            || matches!(
                self.key,
                Key::ArrowUp | Key::ArrowDown | Key::ArrowLeft | Key::ArrowRight
            )
    }

    /// As egui has it.
    pub fn shortcut(self) -> KeyboardShortcut {
        let mut modifiers = Modifiers::NONE;
        if self.ctrl {
            modifiers = modifiers.plus(Modifiers::COMMAND);
        }
        if self.shift {
            modifiers = modifiers.plus(Modifiers::SHIFT);
        }
        if self.alt {
            modifiers = modifiers.plus(Modifiers::ALT);
        }
        KeyboardShortcut::new(modifiers, self.key)
    }

    /// The caps to draw: "Ctrl", "Shift", "K".
    pub fn caps(self) -> Vec<String> {
        let mac = cfg!(target_os = "macos");
        let mut caps = Vec::new();
        if self.ctrl {
            caps.push(if mac { "⌘" } else { "Ctrl" }.to_owned());
        }
        if self.alt {
            caps.push(if mac { "⌥" } else { "Alt" }.to_owned());
        }
        if self.shift {
            caps.push(if mac { "⇧" } else { "Shift" }.to_owned());
        }
        caps.push(match self.key {
            Key::ArrowUp => "Up".to_owned(),
            Key::ArrowDown => "Down".to_owned(),
            Key::ArrowLeft => "Left".to_owned(),
            Key::ArrowRight => "Right".to_owned(),
            Key::Questionmark => "?".to_owned(),
            Key::Escape => "Esc".to_owned(),
            key => key.symbol_or_name().to_owned(),
        });
        caps
    }

    /// In one word: `Ctrl+Shift+K`.
    pub fn text(self) -> String {
        self.caps().join("+")
    }
}

fn is_function_key(key: Key) -> bool {
    let name = key.name();
    name.len() > 1 && name.starts_with('F') && name[1..].bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chords_are_written_as_people_know_them() {
        if cfg!(not(target_os = "macos")) {
            assert_eq!(Chord::ctrl(Key::Z).shift().text(), "Ctrl+Shift+Z");
            assert_eq!(Chord::plain(Key::Questionmark).text(), "?");
        }
        assert!(Chord::plain(Key::A).is_typed());
        assert!(!Chord::plain(Key::F5).is_typed());
        assert!(Chord::plain(Key::F).is_typed());
        assert!(Chord::ctrl(Key::Z).is_for_text());
        assert!(!Chord::ctrl(Key::K).is_for_text());
    }

    #[test]
    fn no_two_commands_share_a_key_in_a_place() {
        let entries = super::super::command::entries();
        for (index, a) in entries.iter().enumerate() {
            for b in &entries[index + 1..] {
                let meet = Workspace::ALL
                    .iter()
                    .any(|workspace| a.place.holds(*workspace) && b.place.holds(*workspace));
                for chord in &a.keys {
                    assert!(
                        !(meet && b.keys.contains(chord)),
                        "{} belongs to '{}' and '{}'",
                        chord.text(),
                        a.label,
                        b.label
                    );
                }
            }
        }
    }
}
