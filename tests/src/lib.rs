//! Helpers for the whole-program tests of Diptych.
