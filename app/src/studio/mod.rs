//! The state of the studio, and everything that can be done with it; no window is needed to run it.
