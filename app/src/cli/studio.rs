//! `diptych` alone: the window.

use super::args::{Device, Global};
use super::error::{CliError, Result};
use super::{ABOUT, out};
use crate::folders;
use crate::window::{self, WindowOptions};

/// Opens the window and stays until it is closed.
///
/// # Errors
/// If there is no display, or the program's assets are incomplete.
pub fn run(global: &Global) -> Result<()> {
    if !has_display() {
        out::remark(ABOUT);
        return Err(CliError::Failed(
            "there is no display to open the window on; the commands above work without one".into(),
        ));
    }
    let data = folders::data(global.data_dir.as_deref()).map_err(CliError::failed)?;
    crate::report::set_folder(&data);
    let options = WindowOptions {
        data,
        assets: folders::assets(global.assets.as_deref()).map_err(CliError::failed)?,
        device: match global.device {
            // What the person settled in the window.
            Device::Auto => None,
            device => Some(device.into()),
        },
        look_elsewhere: true,
        go_on: false,
    };
    window::run(options).map_err(|error| CliError::Failed(format!("the window: {error}")))
}

/// Whether a window could be shown: on Linux an X or Wayland display must be named, elsewhere there always is one.
fn has_display() -> bool {
    if !cfg!(target_os = "linux") {
        return true;
    }
    ["WAYLAND_DISPLAY", "WAYLAND_SOCKET", "DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}
