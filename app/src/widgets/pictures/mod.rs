//! Pictures ready to be drawn: decoded and scaled on worker threads, kept as textures within a bound.

pub mod decode;
pub mod difference;
pub mod resample;
mod source;
mod textures;
mod workers;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use egui::{Context, TextureHandle, TextureOptions};

pub use decode::Pixels;
pub use difference::DifferenceNumbers;
pub use source::{Difference, MemoryPicture, PictureError, PictureSource};
pub use textures::{ShownPicture, paint_texture};
use workers::{Done, Job, JobKey, Pool, Product};

/// Pictures in memory with at most so many pixels are made ready at once: a preview of every step should not lag.
const AT_ONCE: u64 = 256 * 256;
/// How often a shown file is looked at for changes.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Pictures in memory that nobody has shown for so long are let go.
const MEMORY_LIFE: Duration = Duration::from_secs(3);
/// Exact sizes that are kept of a picture.
const FITTED_KEPT: usize = 3;
/// Largest side of a picture that is scaled to exactly the size shown, in pixels of the screen.
const FITTED_SIDE: usize = 4096;
/// Bytes kept unless told otherwise.
const DEFAULT_BYTES: usize = 768 << 20;

/// Whether something can be shown yet.
#[derive(Clone, Debug)]
pub enum Loaded<T> {
    /// It is being made; the wake callback tells when to look again.
    Loading,
    /// Here it is.
    Ready(T),
    /// It cannot be shown.
    Failed(Arc<PictureError>),
}

impl<T> Loaded<T> {
    /// The thing itself, if it is there.
    pub fn ready(&self) -> Option<&T> {
        match self {
            Self::Ready(thing) => Some(thing),
            Self::Loading | Self::Failed(_) => None,
        }
    }
}

/// A small picture.
#[derive(Clone)]
pub struct ShownThumbnail {
    /// Its texture.
    pub texture: TextureHandle,
    /// Width and height of the whole picture in pixels.
    pub size: [usize; 2],
}

impl std::fmt::Debug for ShownThumbnail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ShownThumbnail({}x{})", self.size[0], self.size[1])
    }
}

struct Entry {
    picture: Loaded<Arc<ShownPicture>>,
    /// A job is under way, be it the first or because the file changed.
    waiting: bool,
    fitted: Vec<([usize; 2], u64, Option<TextureHandle>)>,
    used: Used,
    checked: Instant,
}

struct ThumbnailEntry {
    thumbnail: Loaded<ShownThumbnail>,
    waiting: bool,
    modified: Option<SystemTime>,
    used: Used,
    checked: Instant,
}

#[derive(Clone, Copy)]
struct Used {
    pass: u64,
    time: Instant,
}

struct Inner {
    pool: Pool,
    pictures: HashMap<PictureSource, Entry>,
    thumbnails: HashMap<(PictureSource, usize), ThumbnailEntry>,
    most_bytes: usize,
    pass: u64,
    now: Instant,
    /// Jobs that are wanted in this pass and under way.
    wanted: Vec<JobKey>,
}

/// Pictures by where they come from. Clones share the same pictures.
#[derive(Clone)]
pub struct PictureStore {
    inner: Arc<Mutex<Inner>>,
}

impl std::fmt::Debug for PictureStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = self.lock();
        f.debug_struct("PictureStore")
            .field("pictures", &inner.pictures.len())
            .field("thumbnails", &inner.thumbnails.len())
            .finish_non_exhaustive()
    }
}

impl PictureStore {
    /// A store whose workers call `wake` whenever something is ready, from their own threads.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self::with_limits((cores / 2).clamp(1, 4), DEFAULT_BYTES, wake)
    }

    /// A store that wakes a window.
    pub fn for_window(ctx: &Context) -> Self {
        let ctx = ctx.clone();
        Self::new(move || ctx.request_repaint())
    }

    /// The store of a window: the first call makes it, later ones give the same.
    pub fn of(ctx: &Context) -> Self {
        let id = egui::Id::unique("picture store");
        if let Some(store) = ctx.data(|data| data.get_temp(id)) {
            return store;
        }
        let store = Self::for_window(ctx);
        ctx.data_mut(|data| data.insert_temp(id, store.clone()));
        store
    }

    /// As [`PictureStore::new`], with so many threads and so many bytes for pictures that are not on the screen.
    pub fn with_limits(
        threads: usize,
        most_bytes: usize,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                pool: Pool::start(threads, Box::new(wake)),
                pictures: HashMap::new(),
                thumbnails: HashMap::new(),
                most_bytes,
                pass: 0,
                now: Instant::now(),
                wanted: Vec::new(),
            })),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A picture in full, for the canvas.
    pub fn picture(&self, ctx: &Context, source: &PictureSource) -> Loaded<Arc<ShownPicture>> {
        let mut inner = self.lock();
        inner.begin(ctx);
        inner.picture(source)
    }

    /// A picture that fits a square of `side` physical pixels. Pictures are not enlarged.
    pub fn thumbnail(
        &self,
        ctx: &Context,
        source: &PictureSource,
        side: usize,
    ) -> Loaded<ShownThumbnail> {
        let mut inner = self.lock();
        inner.begin(ctx);
        inner.thumbnail(source, side)
    }

    /// A picture scaled to exactly so many physical pixels, once it is there; until then the levels of
    /// [`ShownPicture::paint`] do. Too large ones are not made.
    pub fn fitted(
        &self,
        ctx: &Context,
        source: &PictureSource,
        size: [usize; 2],
    ) -> Option<TextureHandle> {
        let most = ctx.input(|input| input.max_texture_side).min(FITTED_SIDE);
        if size[0] > most || size[1] > most {
            return None;
        }
        let mut inner = self.lock();
        inner.begin(ctx);
        inner.fitted(source, size)
    }

    /// Forgets a file, because it was changed or removed on purpose.
    pub fn forget(&self, source: &PictureSource) {
        let mut inner = self.lock();
        inner.pictures.remove(source);
        inner.thumbnails.retain(|(of, _), _| of != source);
    }

    /// Bytes of pixels and textures in memory.
    pub fn bytes(&self) -> usize {
        self.lock().bytes()
    }

    /// Whether anything is still being made.
    pub fn busy(&self) -> bool {
        let inner = self.lock();
        inner.pictures.values().any(|entry| {
            entry.waiting || entry.fitted.iter().any(|(_, _, texture)| texture.is_none())
        }) || inner.thumbnails.values().any(|entry| entry.waiting)
    }
}

impl Inner {
    /// Once for each pass of the window: takes what the workers made, and lets go what is too much.
    fn begin(&mut self, ctx: &Context) {
        let pass = ctx.cumulative_pass_nr().max(1);
        if pass == self.pass {
            return;
        }
        let wanted = std::mem::take(&mut self.wanted);
        if !wanted.is_empty() {
            self.pool.touch(self.pass, wanted.iter());
        }
        self.pass = pass;
        self.now = Instant::now();
        for done in self.pool.take() {
            self.take(ctx, done);
        }
        self.let_go();
    }

    fn used(&self) -> Used {
        Used {
            pass: self.pass,
            time: self.now,
        }
    }

    fn push(&mut self, job: Job) {
        if let Some(given_up) = self.pool.push(self.pass, job) {
            match given_up {
                JobKey::Pixels(source) => drop(self.pictures.remove(&source)),
                JobKey::Thumbnail(source, side) => drop(self.thumbnails.remove(&(source, side))),
                JobKey::Fitted(source, size) => {
                    if let Some(entry) = self.pictures.get_mut(&source) {
                        entry.fitted.retain(|(of, _, _)| *of != size);
                    }
                }
                JobKey::Modified(_) => {}
            }
        }
    }

    /// The pixels of a picture, if they are there.
    fn known(&self, source: &PictureSource) -> Option<Arc<Pixels>> {
        let entry = self.pictures.get(source)?;
        Some(Arc::clone(entry.picture.ready()?.pixels()))
    }

    fn known_for(&self, source: &PictureSource) -> [Option<Arc<Pixels>>; 2] {
        match source {
            PictureSource::Difference(wanted) => [self.known(&wanted.a), self.known(&wanted.b)],
            _ => [None, None],
        }
    }

    fn picture(&mut self, source: &PictureSource) -> Loaded<Arc<ShownPicture>> {
        let used = self.used();
        if let Some(entry) = self.pictures.get_mut(source) {
            entry.used = used;
            let picture = entry.picture.clone();
            let check = source.path().is_some()
                && !entry.waiting
                && used.time.duration_since(entry.checked) > LOOK_AGAIN;
            if entry.waiting {
                self.wanted.push(JobKey::Pixels(source.clone()));
            } else if check {
                entry.checked = used.time;
                let key = JobKey::Modified(source.clone());
                let known = [None, None];
                self.push(Job { key, known });
            }
            return picture;
        }
        let mut entry = Entry {
            picture: Loaded::Loading,
            waiting: false,
            fitted: Vec::new(),
            used,
            checked: used.time,
        };
        match source {
            PictureSource::Memory(picture)
                if u64::from(picture.0.width) * u64::from(picture.0.height) <= AT_ONCE =>
            {
                entry.picture = match decode::memory(picture) {
                    Ok(base) => ready(Pixels::new(base, None)),
                    Err(error) => Loaded::Failed(Arc::new(error)),
                };
            }
            _ => {
                entry.waiting = true;
                let known = self.known_for(source);
                let key = JobKey::Pixels(source.clone());
                self.push(Job { key, known });
            }
        }
        let picture = entry.picture.clone();
        self.pictures.insert(source.clone(), entry);
        picture
    }

    fn thumbnail(&mut self, source: &PictureSource, side: usize) -> Loaded<ShownThumbnail> {
        let used = self.used();
        let key = (source.clone(), side);
        if let Some(entry) = self.thumbnails.get_mut(&key) {
            entry.used = used;
            let thumbnail = entry.thumbnail.clone();
            let check = source.path().is_some()
                && !entry.waiting
                && used.time.duration_since(entry.checked) > LOOK_AGAIN;
            if entry.waiting {
                self.wanted.push(JobKey::Thumbnail(source.clone(), side));
            } else if check {
                entry.checked = used.time;
                let key = JobKey::Modified(source.clone());
                let known = [None, None];
                self.push(Job { key, known });
            }
            return thumbnail;
        }
        let entry = ThumbnailEntry {
            thumbnail: Loaded::Loading,
            waiting: true,
            modified: None,
            used,
            checked: used.time,
        };
        self.thumbnails.insert(key, entry);
        let known = [self.known(source), None];
        let key = JobKey::Thumbnail(source.clone(), side);
        self.push(Job { key, known });
        Loaded::Loading
    }

    fn fitted(&mut self, source: &PictureSource, size: [usize; 2]) -> Option<TextureHandle> {
        let pass = self.pass;
        let known = [Some(self.known(source)?), None];
        let entry = self.pictures.get_mut(source)?;
        if let Some((_, used, texture)) = entry.fitted.iter_mut().find(|(of, _, _)| *of == size) {
            *used = pass;
            if texture.is_none() {
                self.wanted.push(JobKey::Fitted(source.clone(), size));
            }
            return texture.clone();
        }
        if entry.fitted.len() >= FITTED_KEPT {
            let oldest = entry
                .fitted
                .iter()
                .enumerate()
                .min_by_key(|(_, kept)| kept.1);
            if let Some(index) = oldest.map(|(index, _)| index) {
                entry.fitted.swap_remove(index);
            }
        }
        entry.fitted.push((size, pass, None));
        let key = JobKey::Fitted(source.clone(), size);
        self.push(Job { key, known });
        None
    }

    fn take(&mut self, ctx: &Context, (key, result): Done) {
        match (key, result) {
            (JobKey::Pixels(source), result) => {
                if let Some(entry) = self.pictures.get_mut(&source) {
                    entry.waiting = false;
                    entry.fitted.clear();
                    entry.picture = match result {
                        Ok(Product::Pixels(pixels)) => ready(pixels),
                        Ok(_) => Loaded::Loading,
                        Err(error) => Loaded::Failed(Arc::new(error)),
                    };
                }
            }
            (JobKey::Thumbnail(source, side), result) => {
                if let Some(entry) = self.thumbnails.get_mut(&(source, side)) {
                    entry.waiting = false;
                    entry.thumbnail = match result {
                        Ok(Product::Thumbnail {
                            image,
                            size,
                            modified,
                        }) => {
                            entry.modified = modified;
                            let options = TextureOptions::LINEAR;
                            let texture = ctx.load_texture("thumbnail", image, options);
                            Loaded::Ready(ShownThumbnail { texture, size })
                        }
                        Ok(_) => Loaded::Loading,
                        Err(error) => Loaded::Failed(Arc::new(error)),
                    };
                }
            }
            (JobKey::Fitted(source, size), Ok(Product::Fitted(image))) => {
                let entry = self.pictures.get_mut(&source);
                let kept = entry.and_then(|entry| {
                    let mut kept = entry.fitted.iter_mut();
                    kept.find(|(of, _, _)| *of == size)
                });
                if let Some((_, _, texture)) = kept {
                    *texture = Some(ctx.load_texture("fitted", image, TextureOptions::LINEAR));
                }
            }
            (JobKey::Fitted(source, size), _) => {
                if let Some(entry) = self.pictures.get_mut(&source) {
                    entry.fitted.retain(|(of, _, _)| *of != size);
                }
            }
            (JobKey::Modified(source), result) => self.checked(&source, &result),
        }
    }

    /// A file was looked at: if it is another one now, or came back or went, it is decoded anew. What is shown stays until then.
    fn checked(&mut self, source: &PictureSource, result: &Result<Product, PictureError>) {
        let now = match result {
            Ok(Product::Modified(time)) => Some(*time),
            _ => None,
        };
        if let Some(entry) = self.pictures.get_mut(source) {
            let before = entry.picture.ready().map(|shown| shown.pixels().modified);
            if before != now && !entry.waiting {
                entry.waiting = true;
                let key = JobKey::Pixels(source.clone());
                let known = [None, None];
                self.push(Job { key, known });
            }
        }
        let changed: Vec<usize> = self
            .thumbnails
            .iter_mut()
            .filter(|((of, _), entry)| {
                let before = entry.thumbnail.ready().map(|_| entry.modified);
                of == source && before != now && !entry.waiting
            })
            .map(|((_, side), entry)| {
                entry.waiting = true;
                *side
            })
            .collect();
        for side in changed {
            let key = JobKey::Thumbnail(source.clone(), side);
            let known = [None, None];
            self.push(Job { key, known });
        }
    }

    fn bytes(&self) -> usize {
        let pictures = self.pictures.values().map(Entry::bytes);
        let thumbnails = self.thumbnails.values().map(ThumbnailEntry::bytes);
        pictures.sum::<usize>() + thumbnails.sum::<usize>()
    }

    /// Lets go what has not been on the screen for longest, until there is room. What the last pass showed stays.
    fn let_go(&mut self) {
        let (pass, now) = (self.pass, self.now);
        let is_live = |used: &Used| used.pass + 2 >= pass;
        self.pictures.retain(|source, entry| {
            let memory = !matches!(source, PictureSource::File(_));
            !memory
                || entry.waiting
                || is_live(&entry.used)
                || now.duration_since(entry.used.time) < MEMORY_LIFE
        });
        let mut bytes = self.bytes();
        while bytes > self.most_bytes {
            let picture = self
                .pictures
                .iter()
                .filter(|(_, entry)| !is_live(&entry.used))
                .min_by_key(|(_, entry)| entry.used.pass)
                .map(|(source, entry)| (entry.used.pass, source.clone(), entry.bytes()));
            let thumbnail = self
                .thumbnails
                .iter()
                .filter(|(_, entry)| !is_live(&entry.used))
                .min_by_key(|(_, entry)| entry.used.pass)
                .map(|(key, entry)| (entry.used.pass, key.clone(), entry.bytes()));
            match (picture, thumbnail) {
                (Some((used, source, freed)), other)
                    if other.as_ref().is_none_or(|(later, _, _)| used <= *later) =>
                {
                    self.pictures.remove(&source);
                    bytes = bytes.saturating_sub(freed);
                }
                (_, Some((_, key, freed))) => {
                    self.thumbnails.remove(&key);
                    bytes = bytes.saturating_sub(freed);
                }
                _ => break,
            }
        }
    }
}

fn ready(pixels: Pixels) -> Loaded<Arc<ShownPicture>> {
    Loaded::Ready(Arc::new(ShownPicture::new(Arc::new(pixels))))
}

impl Entry {
    fn bytes(&self) -> usize {
        let fitted = self
            .fitted
            .iter()
            .filter_map(|(_, _, texture)| texture.as_ref());
        self.picture.ready().map_or(0, |picture| picture.bytes())
            + fitted.map(TextureHandle::byte_size).sum::<usize>()
    }
}

impl ThumbnailEntry {
    fn bytes(&self) -> usize {
        let thumbnail = self.thumbnail.ready();
        thumbnail.map_or(0, |thumbnail| thumbnail.texture.byte_size())
    }
}
