//! The look: design tokens, fonts, icons.
