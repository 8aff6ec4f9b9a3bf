//! A picture from elsewhere: dropped, pasted or opened, to be looked at and to take settings from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diptych_inference::engine::Picture;
use diptych_inference::formats::metadata::PictureInfo;

use crate::recall;
use crate::studio::command::UiCommand;
use crate::studio::create::CreateCommand;
use crate::studio::house::House;
use crate::studio::log::Level;

/// Where a guest's pixels are.
#[derive(Clone, Debug, PartialEq)]
pub enum GuestSource {
    /// In a file.
    File(PathBuf),
    /// In memory: it was pasted.
    Memory(Arc<Picture>),
    /// Nowhere: only settings were pasted, as text.
    Nowhere,
}

/// A picture from elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Guest {
    /// What to call it.
    pub name: String,
    /// Its pixels.
    pub source: GuestSource,
    /// How it was made.
    ///
    /// # Errors
    /// Why nobody knows, in a person's words.
    pub info: Result<Box<PictureInfo>, String>,
}

impl Guest {
    /// The prompt, or the file's name.
    pub fn title(&self) -> &str {
        match &self.info {
            Ok(info) => info.prompt.as_deref().unwrap_or(&self.name),
            Err(_) => &self.name,
        }
    }

    /// A picture that was pasted: the clipboard hands on pixels alone.
    pub fn pasted(picture: Arc<Picture>) -> Self {
        Self {
            name: "Pasted picture".to_owned(),
            source: GuestSource::Memory(picture),
            info: Err("A pasted picture carries no settings; drop its file instead".to_owned()),
        }
    }

    /// Settings that were pasted as text, if it is such a text.
    pub fn from_text(text: &str) -> Option<Self> {
        let info = recall::read_text(text)?;
        Some(Self {
            name: "Pasted settings".to_owned(),
            source: GuestSource::Nowhere,
            info: Ok(Box::new(info)),
        })
    }

    fn read(path: PathBuf) -> Self {
        let info = recall::read_file(&path)
            .map(Box::new)
            .map_err(|error| error.to_string());
        let name = path.file_name().unwrap_or(path.as_os_str());
        Self {
            name: name.to_string_lossy().into_owned(),
            source: GuestSource::File(path),
            info,
        }
    }
}

/// Endings of picture files that can be looked at.
pub const PICTURE_ENDINGS: &[&str] = &["png", "jpg", "jpeg", "webp"];

/// Whether a path looks like a picture.
pub fn is_picture(path: &Path) -> bool {
    let ending = path
        .extension()
        .map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| PICTURE_ENDINGS.contains(&ending.as_str()))
}

/// Reads a file in the background; it comes as [`CreateCommand::Welcome`].
pub fn invite(path: PathBuf, house: &mut House) {
    let reply = house.reply();
    let spawned = std::thread::Builder::new()
        .name("diptych-guest".into())
        .spawn(move || {
            let guest = Guest::read(path);
            reply.command(UiCommand::Create(CreateCommand::Welcome(Box::new(guest))));
        });
    if let Err(error) = spawned {
        let text = format!("the system gives no thread: {error}");
        house
            .log
            .notify(Level::Error, "The picture cannot be read", text);
    }
}
