//! Pictures as files: with everything that reproduces them inside, and only named once they are safely on the disk.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use diptych_inference::diffusion::Convention;
use diptych_inference::engine::{
    ControlUse, HiresUpscaler, ImageRequest, Picture, Preprocessor, Request,
};
use diptych_inference::formats::metadata::{PictureInfo, REQUEST_KEY, a1111};
use diptych_inference::formats::picture::{ai_disclosure, encode_png, inspect_picture};
use diptych_inference::text::prompt::Emphasis;

use super::error::{LibraryError, Result};
use super::records::Origin;

/// Names that are tried before giving up.
const MOST_NAMES: u32 = 100_000;
/// Most characters of the prompt in a name.
const NAME_LENGTH: usize = 48;
/// Most bytes of the prompt in a name: file systems allow 255, and endings and numbers come on top.
const NAME_BYTES: usize = 160;
/// How temporary files begin, before they get their name.
pub(super) const TEMPORARY_PREFIX: &str = ".diptych-";
/// How they end.
pub(super) const TEMPORARY_SUFFIX: &str = ".tmp";
/// What a stopped picture's steps are called in its file.
const STEPS_DONE: &str = "Steps done";

/// How a picture is told about in AUTOMATIC1111's words. `steps_done` is given for a picture that was cancelled.
pub fn picture_info(
    request: &ImageRequest,
    picture: &Picture,
    steps_done: Option<u32>,
) -> PictureInfo {
    // AUTOMATIC1111 says in the prompt which LoRAs are added.
    let mut prompt = request.prompt.clone();
    for lora in &request.loras {
        prompt.push_str(&format!("<lora:{}:{}>", lora.model.name, lora.weight));
    }
    let mut info = PictureInfo {
        software: Some("Diptych".into()),
        prompt: Some(prompt),
        negative_prompt: Some(request.negative_prompt.clone()),
        seed: Some(request.seed),
        steps: Some(request.steps),
        sampler: Some(request.sampler.label().into()),
        schedule: Some(request.schedule.label().into()),
        cfg_scale: shortest(request.guidance),
        width: Some(picture.width),
        height: Some(picture.height),
        model: Some(request.model.name.clone()),
        model_hash: request.model.hash.clone(),
        ..PictureInfo::default()
    };
    let mut extra = |key: &str, value: String| info.extra.insert(key.into(), value);
    extra("RNG", request.noise_source.a1111_name().into());
    if let Some(variation) = request.variation.filter(|v| v.strength != 0.0) {
        extra("Variation seed", variation.seed.to_string());
        extra("Variation seed strength", variation.strength.to_string());
    }
    if request.guidance_rescale != 0.0 {
        extra("CFG Rescale", request.guidance_rescale.to_string());
    }
    if let Some(vae) = &request.vae {
        extra("VAE", vae.name.clone());
    }
    if let Some(init) = &request.init {
        extra("Denoising strength", init.strength.to_string());
        if let Some(mask) = &init.mask {
            extra("Mask blur", mask.blur.to_string());
            if let Some(padding) = mask.only_masked {
                extra("Inpaint area", "Only masked".into());
                extra("Masked area padding", padding.to_string());
            }
        }
    }
    if let Some(hires) = &request.hires {
        extra("Hires upscale", hires.scale.to_string());
        if let Some(steps) = hires.steps {
            extra("Hires steps", steps.to_string());
        }
        let upscaler = match &hires.upscaler {
            HiresUpscaler::Latent => "Latent",
            HiresUpscaler::Lanczos => "Lanczos",
            HiresUpscaler::Model(model) => &model.name,
        };
        extra("Hires upscaler", upscaler.into());
        extra("Denoising strength", hires.strength.to_string());
    }
    if !request.embeddings.is_empty() {
        let names = request.embeddings.iter().map(|word| word.name.as_str());
        extra("TI", names.collect::<Vec<_>>().join(", "));
    }
    for (place, control) in request.controls.iter().enumerate() {
        extra(&format!("ControlNet {place}"), control_text(control));
    }
    if request.clip_skip != 1 {
        extra("Clip skip", request.clip_skip.to_string());
    }
    if request.emphasis != Emphasis::default() {
        extra("Emphasis", request.emphasis.label().into());
    }
    if let Some(template) = &request.template {
        // As the Dynamic Prompts extension writes them.
        extra("Template", template.prompt.clone());
        if !template.negative_prompt.is_empty() {
            extra("Negative Template", template.negative_prompt.clone());
        }
    }
    extra("Version", format!("Diptych {}", env!("CARGO_PKG_VERSION")));
    if request.convention != Convention::default() {
        extra("Convention", request.convention.label().into());
    }
    if let Some(spacing) = request.spacing {
        extra("Spacing", spacing.label().into());
    }
    if let Some(done) = steps_done {
        extra(STEPS_DONE, done.to_string());
    }
    info
}

/// A ControlNet in the words of AUTOMATIC1111's extension.
fn control_text(control: &ControlUse) -> String {
    let module = match control.preprocessor {
        Preprocessor::None => "none".to_owned(),
        Preprocessor::Invert => "invert".to_owned(),
        Preprocessor::Canny { low, high } => {
            format!("canny, Threshold A: {low}, Threshold B: {high}")
        }
    };
    let hash = control.model.hash.as_ref();
    let hash = hash.map_or_else(String::new, |hash| format!(" [{hash}]"));
    // Of a net for several kinds of pictures.
    let kind = control.kind;
    let kind = kind.map_or_else(String::new, |kind| format!(", Kind: {}", kind.name()));
    format!(
        "Module: {module}, Model: {}{hash}, Weight: {}, Guidance Start: {}, Guidance End: {}{kind}",
        control.model.name, control.weight, control.start, control.end
    )
}

/// The decimal number that was meant: 7.3 rather than 7.300000190734863.
fn shortest(value: f32) -> Option<f64> {
    value.to_string().parse().ok()
}

/// A picture as a PNG file with the request that reproduces it.
///
/// # Errors
/// If the picture is no picture.
pub fn encode(
    picture: &Picture,
    request: &ImageRequest,
    steps_done: Option<u32>,
) -> Result<Vec<u8>> {
    encode_from(picture, request, steps_done, None)
}

/// As [`encode`], of a picture that came from another one: the request is that of the one it was made of, and what was done to it
/// is told in AUTOMATIC1111's words.
///
/// # Errors
/// As [`encode`].
pub fn encode_from(
    picture: &Picture,
    request: &ImageRequest,
    steps_done: Option<u32>,
    origin: Option<&Origin>,
) -> Result<Vec<u8>> {
    let mut info = picture_info(request, picture, steps_done);
    if let Some(Origin::Enlarged { with, foreign, .. }) = origin {
        let times = f64::from(picture.width) / f64::from(request.width.max(1));
        let times = (times * 100.0).round() / 100.0;
        if *foreign {
            // Nobody knows more of it.
            info = PictureInfo {
                software: info.software,
                prompt: info.prompt,
                width: info.width,
                height: info.height,
                ..PictureInfo::default()
            };
        }
        let mut extra = |key: &str, value: String| info.extra.insert(key.into(), value);
        extra("Postprocess upscaler", with.clone());
        extra("Postprocess upscale by", times.to_string());
    }
    let own = serde_json::to_string(&Request::Image(request.clone()))
        .map_err(|error| LibraryError::Encode(error.to_string()))?;
    let texts = [
        ("parameters".to_owned(), a1111::write(&info)),
        (REQUEST_KEY.to_owned(), own),
        ai_disclosure(),
    ];
    encode_png(&picture.rgb, picture.width, picture.height, &texts)
        .map_err(|error| LibraryError::Encode(error.to_string()))
}

/// What one of our own pictures tells about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The request that reproduces it.
    pub request: ImageRequest,
    /// Steps that were done, of a picture that was stopped.
    pub steps_done: Option<u32>,
}

/// Reads back what [`encode`] wrote; `None` for pictures of other programs and files that are no pictures.
pub fn told(path: &Path) -> Option<Told> {
    let info = inspect_picture(path).ok()?;
    let Request::Image(request) = serde_json::from_value(info.request?).ok()? else {
        return None;
    };
    let steps_done = info.extra.get(STEPS_DONE);
    Some(Told {
        request,
        steps_done: steps_done.and_then(|text| text.parse().ok()),
    })
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// `fox.png` for the first, `fox-2.png` for the second.
pub fn numbered(path: &Path, number: u32) -> PathBuf {
    if number <= 1 {
        return path.to_owned();
    }
    let mut name: OsString = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number}"));
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    path.with_file_name(name)
}

/// A name of prompt and seed: `a-red-fox-flat-style-1234.png`.
pub fn name_of(prompt: &str, seed: u64) -> PathBuf {
    let mut name = String::new();
    for c in prompt.chars().flat_map(char::to_lowercase) {
        match c.is_alphanumeric() {
            true => name.push(c),
            false if !name.is_empty() && !name.ends_with('-') => name.push('-'),
            false => {}
        }
        if name.chars().count() >= NAME_LENGTH || name.len() >= NAME_BYTES {
            break;
        }
    }
    let words = name.trim_end_matches('-');
    PathBuf::from(format!(
        "{}-{seed}.png",
        if words.is_empty() { "picture" } else { words }
    ))
}

/// Whether a file of the same name is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced.
    Replace,
    /// Another number is put to the name.
    Keep,
}

/// Endings of other formats, in which a PNG must not be hidden.
pub const OTHER_FORMATS: [&str; 9] = [
    "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "avif", "jxl",
];

/// The name that a person gave a picture, with its ending. Whoever chose a name without one was not asked about the file that
/// has it, which therefore stays.
///
/// # Errors
/// For names of other formats, in a person's words.
pub fn as_png(path: PathBuf) -> std::result::Result<(PathBuf, Existing), String> {
    let ending = path
        .extension()
        .map(|ending| ending.to_string_lossy().to_lowercase());
    match ending.as_deref() {
        Some("png") => Ok((path, Existing::Replace)),
        Some(other) if OTHER_FORMATS.contains(&other) => Err(format!(
            "{}: pictures are written as PNG, not as {other}; choose a name that ends in .png",
            path.display()
        )),
        _ => {
            let mut name = path.into_os_string();
            name.push(".png");
            Ok((PathBuf::from(name), Existing::Keep))
        }
    }
}

/// Writes a file whole or not at all, and gives its name once it is safely on the disk.
///
/// # Errors
/// Whatever the disk says; no half file is left behind.
pub fn write(path: &Path, bytes: &[u8], existing: Existing) -> Result<PathBuf> {
    let fault = |error: std::io::Error| LibraryError::io(path, "write", error);
    // A link is followed, so that what it leads to is replaced rather than the link.
    let target = match existing {
        Existing::Replace => path.canonicalize().unwrap_or_else(|_| path.to_owned()),
        Existing::Keep => path.to_owned(),
    };
    let folder = folder_of(&target);
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY_PREFIX).suffix(TEMPORARY_SUFFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As any new file: the umask takes away what the person does not want.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder).map_err(fault)?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().sync_all())
        .map_err(fault)?;
    let written = match existing {
        Existing::Replace => {
            file.persist(&target).map_err(|error| fault(error.error))?;
            path.to_owned()
        }
        Existing::Keep => persist_beside(file, path)?,
    };
    sync_folder(folder);
    Ok(written)
}

fn persist_beside(mut file: tempfile::NamedTempFile, path: &Path) -> Result<PathBuf> {
    for number in 1..=MOST_NAMES {
        let name = numbered(path, number);
        match file.persist_noclobber(&name) {
            Ok(_) => return Ok(name),
            Err(refused) if refused.error.kind() == std::io::ErrorKind::AlreadyExists => {
                file = refused.file;
            }
            Err(refused) => return Err(LibraryError::io(&name, "write", refused.error)),
        }
    }
    Err(LibraryError::NamesTaken {
        path: path.to_owned(),
        count: MOST_NAMES,
    })
}

/// Makes new names in a folder survive a crash of the machine. Where folders cannot be opened (Windows) the file system
/// sees to it.
pub(super) fn sync_folder(folder: &Path) {
    if !cfg!(unix) {
        return;
    }
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    if let Err(error) = synced {
        // Some network file systems refuse this; the file itself is there.
        tracing::warn!(
            "{}: the folder could not be synchronised: {error}",
            folder.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_prompts_are_names_of_files() {
        assert_eq!(
            name_of("A red fox, flat style", 12),
            Path::new("a-red-fox-flat-style-12.png")
        );
        assert_eq!(
            name_of("../../etc/passwd", 1),
            Path::new("etc-passwd-1.png")
        );
        assert_eq!(name_of("???", 0), Path::new("picture-0.png"));
        assert_eq!(name_of("лиса", 3), Path::new("лиса-3.png"));
        assert!(name_of(&"x".repeat(5000), 7).as_os_str().len() < 80);
        assert!(name_of(&"狐".repeat(5000), 7).as_os_str().len() < 200);
    }

    #[test]
    fn numbers_go_before_the_ending() {
        assert_eq!(numbered(Path::new("a/fox.png"), 1), Path::new("a/fox.png"));
        assert_eq!(
            numbered(Path::new("a/fox.png"), 3),
            Path::new("a/fox-3.png")
        );
        assert_eq!(numbered(Path::new("fox"), 2), Path::new("fox-2"));
    }

    #[test]
    fn names_of_pictures_end_in_png() {
        let name = |path: &str| as_png(PathBuf::from(path));
        let whole = |path: &str| Ok((PathBuf::from(path), Existing::Replace));
        let added = |path: &str| Ok((PathBuf::from(path), Existing::Keep));
        assert_eq!(name("a/fox.png"), whole("a/fox.png"));
        assert_eq!(name("a/fox.PNG"), whole("a/fox.PNG"));
        assert_eq!(name("a/fox"), added("a/fox.png"));
        assert_eq!(name("a/fox v1.5"), added("a/fox v1.5.png"));
        assert!(name("a/fox.jpg").unwrap_err().contains(".png"));
    }

    #[test]
    fn files_are_replaced_or_kept_as_asked_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        assert_eq!(write(&path, b"1", Existing::Keep).unwrap(), path);
        let second = write(&path, b"2", Existing::Keep).unwrap();
        assert_eq!(second, folder.path().join("a-2.png"));
        write(&path, b"3", Existing::Replace).unwrap();
        assert_eq!(
            (
                std::fs::read(&path).unwrap(),
                std::fs::read(&second).unwrap()
            ),
            (b"3".to_vec(), b"2".to_vec())
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(write(&folder.path().join("no/a.png"), b"", Existing::Replace).is_err());
    }
}
