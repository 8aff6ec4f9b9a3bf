//! The window's panels: they read the studio and answer with commands.
