//! Parts of the window that know nothing of the studio.

mod base;
pub mod button;
pub mod canvas;
pub mod chip;
pub mod combo;
pub mod compare_view;
pub mod drawer;
pub mod empty;
pub mod gallery;
pub mod input;
pub mod key_hint;
pub mod markdown;
pub mod menu;
pub mod message_list;
pub mod modal;
pub mod number;
pub mod pictures;
pub mod progress;
pub mod prompt_editor;
pub mod row;
pub mod section;
pub mod segmented;
pub mod slider;
pub mod split;
pub mod text;
pub mod thought;
pub mod thumbnails;
pub mod toast;
pub mod toggle;
pub mod token_view;

pub use base::{ControlSize, can_be_used, popup_frame, tip};
