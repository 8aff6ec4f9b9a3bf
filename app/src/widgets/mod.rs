//! Parts of the window that know nothing of the studio.

pub mod prompt_editor;
