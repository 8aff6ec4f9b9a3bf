//! The studio: command line and (next) the window, both clients of the engine's protocol.
