//! Pictures: the file first, then its row.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diptych_inference::engine::{ImageRequest, Picture};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Row, params, params_from_iter};

use super::error::{LibraryError, Result};
use super::files::{self, Existing, Told};
use super::records::{GridId, Millis, Origin, PictureId, PictureRecord, TaskId, now};
use super::{Library, PICTURES, time};

/// A picture to be kept.
#[derive(Clone, Debug)]
pub struct NewPicture {
    /// Its number.
    pub id: PictureId,
    /// The pixels.
    pub picture: Arc<Picture>,
    /// What reproduces it.
    pub request: ImageRequest,
    /// Steps that were done, of a picture that was stopped.
    pub steps_done: Option<u32>,
    /// Seconds that it took.
    pub seconds: f32,
    /// The grid that it belongs to.
    pub grid: Option<GridId>,
    /// Where it came from, if not from words alone.
    pub origin: Option<Origin>,
    /// The job that is done with it.
    pub done: Option<TaskId>,
    /// A file that the caller has written already ([`files::write`]), to be put into the index as it lies; `None` writes
    /// one into the library's own folder.
    pub file: Option<PathBuf>,
}

/// Which pictures are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PictureQuery {
    /// Words that must all occur in prompt, negative prompt or model's name; empty finds all.
    pub text: String,
    /// Only those that the person marked.
    pub favourites: bool,
    /// Only those that were thrown away; otherwise only others.
    pub trashed: bool,
    /// Only those of a grid.
    pub grid: Option<GridId>,
    /// Only those kept before this one.
    pub before: Option<PictureId>,
    /// Most pictures; 0 is all.
    pub limit: usize,
}

const COLUMNS: &str = "id, path, created, request, width, height, steps_done, seconds, favourite, trashed, grid, (SELECT origin FROM picture_origins WHERE picture_origins.id = pictures.id)";

impl Library {
    /// Keeps a picture: its file, whole and safely on the disk, then its row; in the same transaction the job that made it
    /// is removed. The same number again (after a failure) makes no second file.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn save_picture(&mut self, new: NewPicture) -> Result<PictureRecord> {
        let path = match (&new.file, self.written.get(&new.id)) {
            (Some(file), _) => self.absolute(file),
            (None, Some(path)) if path.is_file() => path.clone(),
            (None, _) => {
                let path = self.write_picture(&new)?;
                self.written.insert(new.id, path.clone());
                path
            }
        };
        let record = PictureRecord {
            id: new.id,
            path,
            created: now(),
            request: new.request,
            width: new.picture.width,
            height: new.picture.height,
            steps_done: new.steps_done,
            seconds: if new.seconds.is_finite() {
                new.seconds
            } else {
                0.0
            },
            favourite: false,
            trashed: false,
            grid: new.grid,
            origin: new.origin,
        };
        self.atomically(|library| {
            library.put_picture(&record)?;
            match new.done {
                Some(task) => library.remove_task(task),
                None => Ok(()),
            }
        })?;
        Ok(record)
    }

    fn write_picture(&self, new: &NewPicture) -> Result<PathBuf> {
        let bytes = files::encode_from(
            &new.picture,
            &new.request,
            new.steps_done,
            new.origin.as_ref(),
        )?;
        let folder = self.folder.join(PICTURES).join(time::month(now()));
        if !folder.is_dir() {
            std::fs::create_dir_all(&folder)
                .map_err(|error| LibraryError::io(&folder, "make", error))?;
            files::sync_folder(files::folder_of(&folder));
        }
        let name = files::name_of(&new.request.prompt, new.request.seed);
        files::write(&folder.join(name), &bytes, Existing::Keep)
    }

    /// The file alone, as if the program had been killed before the row.
    #[cfg(test)]
    pub(super) fn write_for_test(&self, new: &NewPicture) -> PathBuf {
        self.write_picture(new).unwrap()
    }

    /// A path as records have it: absolute, links in its folder resolved.
    fn absolute(&self, path: &Path) -> PathBuf {
        let folder = super::index::absolute(files::folder_of(path));
        path.file_name()
            .map_or_else(|| path.to_owned(), |name| folder.join(name))
    }

    fn put_picture(&self, record: &PictureRecord) -> Result<()> {
        let path = self.stored(&record.path);
        // A file that was written over holds the new picture only.
        self.run(
            "DELETE FROM pictures WHERE path = ?1 AND id <> ?2",
            params![path, record.id.0],
        )?;
        self.run(
            "INSERT INTO pictures (id, path, created, request, width, height, steps_done, seconds, favourite, trashed, grid, words)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (id) DO UPDATE SET path = excluded.path, request = excluded.request, width = excluded.width,
                height = excluded.height, steps_done = excluded.steps_done, seconds = excluded.seconds,
                grid = excluded.grid, words = excluded.words",
            params![
                record.id.0,
                path,
                record.created,
                json("a picture's request", &record.request)?,
                record.width,
                record.height,
                record.steps_done,
                f64::from(record.seconds),
                record.favourite,
                record.trashed,
                record.grid.map(|grid| grid.0),
                words(&record.request),
            ],
        )?;
        if let Some(origin) = &record.origin {
            self.run(
                "INSERT OR REPLACE INTO picture_origins (id, origin) VALUES (?1, ?2)",
                params![record.id.0, json("a picture's origin", origin)?],
            )?;
        }
        Ok(())
    }

    /// Puts a picture into the index that lies in the library's folder already.
    pub(super) fn index_file(
        &mut self,
        id: PictureId,
        path: &Path,
        created: Millis,
        told: &Told,
    ) -> Result<()> {
        self.put_picture(&PictureRecord {
            id,
            path: path.to_owned(),
            created,
            request: told.request.clone(),
            width: told.request.width,
            height: told.request.height,
            steps_done: told.steps_done,
            seconds: 0.0,
            favourite: false,
            trashed: false,
            grid: None,
            origin: None,
        })
    }

    /// The path as it is stored: relative within the library's folder, so that the folder can be moved.
    fn stored(&self, path: &Path) -> Value {
        let short = path.strip_prefix(&self.folder).unwrap_or(path);
        match short.to_str() {
            Some(text) => Value::Text(text.to_owned()),
            None => Value::Blob(bytes_of(short)),
        }
    }

    fn path_from(&self, value: ValueRef<'_>) -> PathBuf {
        let path = match value {
            ValueRef::Text(bytes) => PathBuf::from(String::from_utf8_lossy(bytes).into_owned()),
            ValueRef::Blob(bytes) => path_of(bytes),
            _ => PathBuf::new(),
        };
        // An absolute one stays as it is.
        self.folder.join(path)
    }

    /// All files that the index knows.
    pub(super) fn known_paths(&self) -> Result<Vec<PathBuf>> {
        self.rows("SELECT path FROM pictures", [], |row| {
            Ok(self.path_from(row.get_ref(0)?))
        })
    }

    /// A row that cannot be read (of a program that knew more) is left out.
    fn picture_of(&self, row: &Row<'_>) -> rusqlite::Result<Option<PictureRecord>> {
        let id = PictureId(row.get(0)?);
        let request: String = row.get(3)?;
        let request = match serde_json::from_str(&request) {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!("picture {id} cannot be read: {error}");
                return Ok(None);
            }
        };
        let seconds: f64 = row.get(7)?;
        Ok(Some(PictureRecord {
            id,
            path: self.path_from(row.get_ref(1)?),
            created: row.get(2)?,
            request,
            width: row.get(4)?,
            height: row.get(5)?,
            steps_done: row.get(6)?,
            seconds: seconds as f32,
            favourite: row.get(8)?,
            trashed: row.get(9)?,
            grid: row.get::<_, Option<i64>>(10)?.map(GridId),
            // One of a later kind is left out.
            origin: row
                .get::<_, Option<String>>(11)?
                .and_then(|text| serde_json::from_str(&text).ok()),
        }))
    }

    /// Pictures, the one kept last first. Files are not looked at: they may be gone.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn pictures(&self, query: &PictureQuery) -> Result<Vec<PictureRecord>> {
        let mut sql = format!("SELECT {COLUMNS} FROM pictures WHERE trashed = ?");
        let mut values = vec![Value::from(query.trashed)];
        for word in query.text.to_lowercase().split_whitespace() {
            sql.push_str(" AND instr(words, ?) > 0");
            values.push(word.to_owned().into());
        }
        if query.favourites {
            sql.push_str(" AND favourite");
        }
        if let Some(grid) = query.grid {
            sql.push_str(" AND grid = ?");
            values.push(grid.0.into());
        }
        if let Some(before) = query.before {
            sql.push_str(" AND place < coalesce((SELECT place FROM pictures WHERE id = ?), 0)");
            values.push(before.0.into());
        }
        sql.push_str(" ORDER BY place DESC");
        if query.limit > 0 {
            sql.push_str(" LIMIT ?");
            values.push(i64::try_from(query.limit).unwrap_or(i64::MAX).into());
        }
        let rows = self.rows(&sql, params_from_iter(values), |row| self.picture_of(row))?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// A picture.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn picture(&self, id: PictureId) -> Result<Option<PictureRecord>> {
        let sql = format!("SELECT {COLUMNS} FROM pictures WHERE id = ?1");
        let rows = self.rows(&sql, [id.0], |row| self.picture_of(row))?;
        Ok(rows.into_iter().flatten().next())
    }

    /// Marks a picture, or takes the mark away.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn set_favourite(&mut self, id: PictureId, favourite: bool) -> Result<()> {
        self.set(id, "favourite", favourite)
    }

    /// Throws a picture away, or takes it back. The file stays until [`Library::empty_trash`].
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn set_trashed(&mut self, id: PictureId, trashed: bool) -> Result<()> {
        self.set(id, "trashed", trashed)
    }

    fn set(&mut self, id: PictureId, column: &'static str, value: bool) -> Result<()> {
        let sql = format!("UPDATE pictures SET {column} = ?1 WHERE id = ?2");
        self.atomically(|library| library.run(&sql, params![value, id.0]).map(|_| ()))
    }

    /// Deletes the pictures that were thrown away, and tells which. Files outside of the library's folder are the person's
    /// own and stay; only the index forgets them.
    ///
    /// # Errors
    /// Whatever the disk says. What was deleted until then is deleted.
    pub fn empty_trash(&mut self) -> Result<Vec<PictureId>> {
        let trashed = self.pictures(&PictureQuery {
            trashed: true,
            ..PictureQuery::default()
        })?;
        let own = self.folder.join(PICTURES);
        let mut gone = Vec::new();
        for picture in trashed {
            // The file first: a file without a row would come back as a lost picture.
            if picture.path.starts_with(&own) {
                match std::fs::remove_file(&picture.path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(LibraryError::io(&picture.path, "delete", error));
                    }
                    _ => {}
                }
            }
            gone.push(picture.id);
        }
        self.atomically(|library| {
            for id in &gone {
                library.run("DELETE FROM pictures WHERE id = ?1 AND trashed", [id.0])?;
                library.run("DELETE FROM picture_origins WHERE id = ?1", [id.0])?;
            }
            Ok(())
        })?;
        for id in &gone {
            self.remove_trace(*id);
        }
        Ok(gone)
    }
}

/// What is searched.
fn words(request: &ImageRequest) -> String {
    let parts = [
        &request.prompt,
        &request.negative_prompt,
        &request.model.name,
    ];
    parts.map(|part| part.to_lowercase()).join("\n")
}

/// A value as JSON.
pub(super) fn json(what: &'static str, value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| LibraryError::Record {
        what,
        reason: error.to_string(),
    })
}

#[cfg(unix)]
fn bytes_of(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str().as_bytes().to_vec()
}

#[cfg(unix)]
fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

#[cfg(not(unix))]
fn bytes_of(path: &Path) -> Vec<u8> {
    path.to_string_lossy().into_owned().into_bytes()
}

#[cfg(not(unix))]
fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}
