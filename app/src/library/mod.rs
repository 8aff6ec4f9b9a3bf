//! Everything a person makes, kept: an SQLite index, picture files, drafts and the queue.

pub mod records;
