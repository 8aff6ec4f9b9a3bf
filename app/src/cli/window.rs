//! What a person has settled in the window, for the command line.

use super::args::Global;
use crate::folders;
use crate::library::Library;
use crate::studio::settings::Settings;

/// The window's settings; the usual ones where there is no library yet, or it cannot be read.
pub(super) fn settings(global: &Global) -> Settings {
    let read = || {
        let data = folders::data(global.data_dir.as_deref()).ok()?;
        let library = Library::open_read_only(&data);
        let kept = library.and_then(|library| library.settings());
        kept.map_err(|error| tracing::debug!("the window's settings: {error}"))
            .ok()
    };
    Settings::read(&read().unwrap_or_default())
}
