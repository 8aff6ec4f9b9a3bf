//! Where pictures come from, and why they cannot be shown.

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use diptych_inference::engine::Picture;

/// A picture in memory. Two are equal if they are the same allocation: pixels are never compared.
#[derive(Clone, Debug)]
pub struct MemoryPicture(pub Arc<Picture>);

impl PartialEq for MemoryPicture {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for MemoryPicture {}

impl Hash for MemoryPicture {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// The difference of two pictures as a picture of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Difference {
    /// The first picture; it gives the size.
    pub a: PictureSource,
    /// The second picture, scaled to the first if their sizes differ.
    pub b: PictureSource,
    /// What differences are multiplied by before they are coloured, in tenths.
    pub gain_tenths: u16,
}

/// What is to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PictureSource {
    /// A PNG, JPEG or WebP file.
    File(Arc<Path>),
    /// A picture in memory, such as a preview.
    Memory(MemoryPicture),
    /// The absolute difference of two others in heat colours.
    Difference(Arc<Difference>),
}

impl PictureSource {
    /// A file.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::File(path.as_ref().into())
    }

    /// A picture in memory.
    pub fn memory(picture: &Arc<Picture>) -> Self {
        Self::Memory(MemoryPicture(Arc::clone(picture)))
    }

    /// The difference of two pictures, made `gain` times as strong.
    pub fn difference(a: Self, b: Self, gain: f32) -> Self {
        let gain_tenths = (gain.clamp(0.1, 1000.0) * 10.0).round() as u16;
        Self::Difference(Arc::new(Difference { a, b, gain_tenths }))
    }

    /// Its file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Memory(_) | Self::Difference(_) => None,
        }
    }
}

impl From<&Path> for PictureSource {
    fn from(path: &Path) -> Self {
        Self::file(path)
    }
}

impl From<&Arc<Picture>> for PictureSource {
    fn from(picture: &Arc<Picture>) -> Self {
        Self::memory(picture)
    }
}

/// Why a picture cannot be shown, in a person's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// There is no such file any more.
    #[error("{}: the file is gone; put it back, or remove the picture from the library", .0.display())]
    Gone(PathBuf),
    /// The system does not let us read the file.
    #[error("{}: the file cannot be read: {reason}; check who may read it", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// The file's contents make no picture.
    #[error("{}: the picture is damaged: {reason}; restore it from a copy, or draw it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The decoder's words.
        reason: String,
    },
    /// A picture in memory whose pixels do not fit its size.
    #[error(
        "the picture in memory is not {width} by {height}: it has {bytes} bytes; please report this"
    )]
    Malformed {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Bytes of its pixels.
        bytes: usize,
    },
}
