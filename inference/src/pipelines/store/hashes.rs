//! Hashes of models, which take a second for each gigabyte to compute: kept between runs of the program, and made anew when files change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::formats::atomic::write_atomically;
use crate::formats::detect::ModelInfo;
use crate::pipelines::JobError;

/// Name of the file in the folder of what is kept between runs.
const FILE: &str = "model-hashes.json";
const VERSION: u32 = 1;
/// Models whose hashes are kept; those that were looked up longest ago go first.
const MOST: usize = 4096;
/// Longest file that is read: it is ours, but may have been tampered with.
const MOST_BYTES: u64 = 16 << 20;
/// A file that was changed so lately may change again within the resolution of its time; its hash is not kept between runs.
const SETTLED: Duration = Duration::from_secs(3);

/// By what a file that was replaced in place is told from what it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct FileStamp {
    path: PathBuf,
    length: u64,
    /// Nanoseconds since 1970.
    modified: Option<u128>,
}

/// The same of all of a model's files.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::pipelines) struct Stamp(Vec<FileStamp>);

impl Stamp {
    /// As the files are now.
    pub fn of(info: &ModelInfo) -> Self {
        let stamp = |path: &PathBuf| {
            // Whoever opens it says what is wrong.
            let found = std::fs::metadata(path).ok();
            let modified = found.as_ref().and_then(|found| found.modified().ok());
            let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            FileStamp {
                path: path.clone(),
                length: found.map_or(0, |found| found.len()),
                modified: modified.map(|time| time.as_nanos()),
            }
        };
        Self(info.files().iter().map(stamp).collect())
    }

    /// Whether the files can be told from what becomes of them later.
    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let Ok(before) = now.map(|now| now.saturating_sub(SETTLED).as_nanos()) else {
            return false;
        };
        self.0
            .iter()
            .all(|file| file.modified.is_some_and(|time| time <= before))
    }
}

#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    /// The latest last.
    models: Vec<(Stamp, String)>,
}

/// Hashes by the state of a model's files.
#[derive(Default)]
pub(in crate::pipelines) struct Hashes {
    known: BTreeMap<Stamp, String>,
    /// Of an earlier run, the latest last; read when first needed.
    kept: Option<Vec<(Stamp, String)>>,
    folder: Option<PathBuf>,
}

impl Hashes {
    /// Where they are kept between runs.
    pub fn set_folder(&mut self, folder: Option<PathBuf>) {
        self.folder = folder;
        self.kept = None;
    }

    /// A model's hash ([`ModelInfo::short_hash`]), computed only if it is not known of these very files. `stop` is asked while it is computed.
    ///
    /// # Errors
    /// What the operating system says; an interruption.
    pub fn of(
        &mut self,
        info: &ModelInfo,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<String, JobError> {
        let stamp = Stamp::of(info);
        if let Some(hash) = self.known.get(&stamp) {
            return Ok(hash.clone());
        }
        let folder = self.folder.clone();
        let kept = self.kept.get_or_insert_with(|| match &folder {
            Some(folder) => read(&folder.join(FILE)),
            None => Vec::new(),
        });
        let earlier = kept.iter().rev().find(|(known, _)| *known == stamp);
        if let Some((_, hash)) = earlier {
            let hash = hash.clone();
            self.known.insert(stamp, hash.clone());
            return Ok(hash);
        }
        let hash = info.short_hash_while(stop)?;
        let hash = hash.ok_or(crate::graph::ExecError::Interrupted)?;
        // Changed while it was read, it is nobody's hash.
        if Stamp::of(info) == stamp {
            self.known.insert(stamp.clone(), hash.clone());
            if stamp.is_settled() {
                self.keep(stamp, &hash);
            }
        }
        Ok(hash)
    }

    /// Writes what is known; that it cannot be written costs time only.
    fn keep(&mut self, stamp: Stamp, hash: &str) {
        let Some(folder) = &self.folder else {
            return;
        };
        let path = folder.join(FILE);
        // Another window may have written since.
        let mut models = read(&path);
        let paths = |stamp: &Stamp| -> Vec<PathBuf> {
            stamp.0.iter().map(|file| file.path.clone()).collect()
        };
        let same = paths(&stamp);
        models.retain(|(known, _)| paths(known) != same);
        models.push((stamp, hash.to_owned()));
        let surplus = models.len().saturating_sub(MOST);
        models.drain(..surplus);
        let kept = Kept {
            version: VERSION,
            models,
        };
        let written = std::fs::create_dir_all(folder)
            .map_err(|error| error.to_string())
            .and_then(|()| serde_json::to_vec(&kept).map_err(|error| error.to_string()))
            .and_then(|bytes| {
                write_atomically(&path, |out| out.write_all(&bytes))
                    .map_err(|error| error.to_string())
            });
        if let Err(error) = written {
            tracing::warn!("hashes of models are not kept: {error}");
        }
        self.kept = Some(kept.models);
    }
}

/// What an earlier run kept; nothing where the file is damaged or of another version: it is made anew.
fn read(path: &Path) -> Vec<(Stamp, String)> {
    let length = std::fs::metadata(path).map(|found| found.len());
    if !length.is_ok_and(|length| length <= MOST_BYTES) {
        return Vec::new();
    }
    let kept: Option<Kept> = std::fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    kept.filter(|kept| kept.version == VERSION)
        .map(|kept| kept.models)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::safetensors::write_safetensors;
    use crate::models::check;

    fn model(path: &Path, value: f32) -> ModelInfo {
        write_safetensors(path, &[("emb_params", vec![2, 8], vec![value; 16])]).unwrap();
        check::scan(path).remove(0).1.unwrap()
    }

    /// As if it had been changed long ago.
    fn settle(path: &Path, seconds: u64) {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds))
            .unwrap();
    }

    #[test]
    fn a_hash_is_kept_until_the_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("word.safetensors");
        let cache = folder.path().join("cache");
        let fresh = || {
            let mut hashes = Hashes::default();
            hashes.set_folder(Some(cache.clone()));
            hashes
        };
        let info = model(&path, 1.0);
        let hash = info.short_hash().unwrap();
        // A file of this moment is not trusted to stay.
        assert_eq!(fresh().of(&info, &mut || false).unwrap(), hash);
        assert!(!cache.join(FILE).exists());
        settle(&path, 1_000_000);
        assert_eq!(fresh().of(&info, &mut || false).unwrap(), hash);
        // Read from what was kept: nothing is computed, so nobody is asked whether to stop.
        let mut never = || panic!("computed again");
        assert_eq!(fresh().of(&info, &mut never).unwrap(), hash);
        // Another content of the same length and another time.
        let info = model(&path, 2.0);
        settle(&path, 2_000_000);
        let other = fresh().of(&info, &mut || false).unwrap();
        assert_ne!(other, hash);
        assert_eq!(other, info.short_hash().unwrap());
        // A damaged file is as good as none.
        std::fs::write(cache.join(FILE), b"{ \"version\": 1, \"models\": 7 }").unwrap();
        assert_eq!(fresh().of(&info, &mut || false).unwrap(), other);
    }

    #[test]
    fn hashing_can_be_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let info = model(&folder.path().join("word.safetensors"), 1.0);
        let error = Hashes::default().of(&info, &mut || true).unwrap_err();
        let stopped = matches!(error, JobError::Exec(crate::graph::ExecError::Interrupted));
        assert!(stopped, "{error}");
    }
}
