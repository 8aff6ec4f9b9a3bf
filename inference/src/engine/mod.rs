//! The protocol, and the background thread that owns the device and all models.
