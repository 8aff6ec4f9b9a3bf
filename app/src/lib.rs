//! The studio: command line and window, both clients of the engine's protocol.
//!
//! Nothing here knows a tensor, a graph or a weight. What is wanted goes to the engine as a
//! [`diptych_inference::engine::Request`], and comes back as events.

pub mod cli;
pub mod defaults;
pub mod export;
pub mod folders;
pub mod library;
pub mod paint;
pub mod panels;
pub mod presets;
pub mod recall;
pub mod report;
pub mod studio;
pub mod theme;
pub mod widgets;
pub mod wildcards;
pub mod window;
pub mod words;
