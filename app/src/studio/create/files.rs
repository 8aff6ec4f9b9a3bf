//! Pictures out of the studio: saved under a name of the person's, or onto the clipboard. Files are read and written in the background.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diptych_inference::engine::Picture;

use crate::library::files;
use crate::studio::command::UiCommand;
use crate::studio::create::CreateCommand;
use crate::studio::effects::AskKind;
use crate::studio::gallery::Item;
use crate::studio::house::{House, Reply};
use crate::studio::log::Level;

/// Asks where to save a picture.
pub fn ask(item: &Item, house: &mut House) {
    let id = item.record.id;
    let request = &item.record.request;
    let name = files::name_of(&request.prompt, request.seed);
    let kind = AskKind::SaveFile {
        name: name.to_string_lossy().into_owned(),
        what: "PNG picture",
        endings: &["png"],
    };
    house.ask("Save the picture as", kind, move |path| {
        UiCommand::Create(CreateCommand::SaveTo(id, path))
    });
}

/// What a picture is copied from.
#[derive(Clone)]
enum Pixels {
    Memory(Arc<Picture>),
    File(PathBuf),
}

fn pixels(item: &Item) -> Pixels {
    match &item.memory {
        Some(picture) => Pixels::Memory(picture.clone()),
        None => Pixels::File(item.record.path.clone()),
    }
}

/// Saves a picture with everything that reproduces it.
pub fn save(item: &Item, path: PathBuf, house: &mut House) {
    let (pixels, record) = (pixels(item), item.record.clone());
    in_background(house, "The picture was not saved", move |reply| {
        let (path, existing) = files::as_png(path)?;
        let bytes = match pixels {
            Pixels::File(from) => std::fs::read(&from)
                .map_err(|error| format!("{}: cannot be read: {error}", from.display()))?,
            Pixels::Memory(picture) => files::encode(&picture, &record.request, record.steps_done)
                .map_err(|error| error.to_string())?,
        };
        let written = files::write(&path, &bytes, existing).map_err(|error| error.to_string())?;
        reply.notice(Level::Success, "Saved", written.display().to_string());
        Ok(())
    });
}

/// Copies a picture; its pixels come as [`CreateCommand::Copied`].
pub fn copy(item: &Item, house: &mut House) {
    let pixels = pixels(item);
    in_background(house, "The picture was not copied", move |reply| {
        let picture = match pixels {
            Pixels::Memory(picture) => picture,
            Pixels::File(path) => Arc::new(read(&path)?),
        };
        reply.command(UiCommand::Create(CreateCommand::Copied(picture)));
        Ok(())
    });
}

fn read(path: &Path) -> Result<Picture, String> {
    let fault =
        |error: &dyn std::fmt::Display| format!("{}: cannot be read: {error}", path.display());
    let image = image::ImageReader::open(path)
        .and_then(image::ImageReader::with_guessed_format)
        .map_err(|error| fault(&error))?
        .decode()
        .map_err(|error| fault(&error))?
        .into_rgb8();
    Ok(Picture {
        width: image.width(),
        height: image.height(),
        rgb: image.into_raw(),
    })
}

/// Does what takes its time on a thread of its own; what went wrong is told.
pub(super) fn in_background(
    house: &mut House,
    failure: &'static str,
    work: impl FnOnce(&Reply) -> Result<(), String> + Send + 'static,
) {
    let reply = house.reply();
    let spawned = std::thread::Builder::new()
        .name("diptych-files".into())
        .spawn(move || {
            if let Err(reason) = work(&reply) {
                reply.notice(Level::Error, failure, reason);
            }
        });
    if let Err(error) = spawned {
        let text = format!("the system gives no thread: {error}");
        house.log.notify(Level::Error, failure, text);
    }
}
