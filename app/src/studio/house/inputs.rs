//! What jobs are drawn over: start pictures and masks, handed to the engine before the job that needs them.
//!
//! The engine keeps a bounded number of them, so each is sent anew before each job, and jobs that would push out what
//! others wait for stay here until those are done.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use diptych_inference::engine::{Command, HostTensor, Request};

use super::{House, Later};
use crate::library::inputs::input_path;
use crate::library::records::TaskId;
use crate::pictures::{self, Blob};
use crate::studio::log::Level;
use crate::studio::queue::Stage;

/// Inputs of the jobs that are at the engine; it keeps some more than these.
const MOST_AT_ENGINE: usize = 24;

/// What an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// Red, green and blue.
    Picture,
    /// One channel.
    Mask,
}

/// An input on its way.
enum Input {
    /// A thread reads its file.
    Reading,
    /// In memory.
    Here(Arc<HostTensor>),
}

/// Inputs of the jobs that run or wait.
#[derive(Default)]
pub(super) struct Inputs(HashMap<String, Input>);

/// What a request needs beside itself, each once.
fn needed(request: &Request) -> Vec<(&str, InputKind)> {
    let mut needed: Vec<(&str, InputKind)> = Vec::new();
    match request {
        Request::Image(request) => {
            // Of a branch, also what it began with.
            let mut next = Some(request);
            while let Some(request) = next {
                if let Some(init) = &request.init {
                    needed.push((init.picture.0.as_str(), InputKind::Picture));
                    let mask = init.mask.iter();
                    needed.extend(mask.map(|mask| (mask.mask.0.as_str(), InputKind::Mask)));
                }
                let controls = request.controls.iter();
                needed.extend(controls.map(|c| (c.picture.0.as_str(), InputKind::Picture)));
                next = request.branched.as_ref().map(|branched| &*branched.from);
            }
        }
        Request::Upscale(request) => {
            needed.push((request.picture.0.as_str(), InputKind::Picture));
        }
        Request::Chat(_) | Request::Score(_) => {}
    }
    let mut seen = HashSet::new();
    needed.retain(|(hash, _)| seen.insert(*hash));
    needed
}

/// Reads an input from the library and sees that it is what it was.
fn read(folder: &Path, hash: &str, kind: InputKind) -> Result<Arc<HostTensor>, String> {
    let what = match kind {
        InputKind::Picture => "source picture",
        InputKind::Mask => "mask",
    };
    let path = input_path(folder, hash)
        .ok_or_else(|| format!("The {what} is named '{hash}', which is no name of a {what}"))?;
    if !path.is_file() {
        return Err(format!(
            "The {what} is not in the library any more ({}): choose it again",
            path.display()
        ));
    }
    let pixels = pictures::read(&path).map_err(|error| error.to_string())?;
    let blob = match kind {
        InputKind::Picture => pixels.blob(),
        InputKind::Mask => grey(&pixels),
    };
    if blob.name.0 != hash {
        return Err(format!(
            "{}: the {what} was changed: choose it again",
            path.display()
        ));
    }
    Ok(blob.data)
}

/// A mask's bytes as the engine takes them; grey pictures have three equal channels.
fn grey(pixels: &pictures::Pixels) -> Blob {
    let values = pixels.rgb.iter().step_by(3);
    let values = values.map(|value| f32::from(*value) / 255.0).collect();
    Blob::new([1, pixels.height as usize, pixels.width as usize], values)
}

impl House {
    /// Holds an input that was just made, so that its file need not be read.
    pub(in crate::studio) fn hold_input(&mut self, hash: String, data: Arc<HostTensor>) {
        self.inputs.0.insert(hash, Input::Here(data));
    }

    /// Sends the engine what a job needs. Tells whether all of it is there; if not, the job is given when it is.
    pub(super) fn send_inputs(&mut self, id: TaskId) -> bool {
        let Some(task) = self.queue.get(id) else {
            return false;
        };
        let request = Arc::clone(&task.head.request);
        let needed = needed(&request);
        if needed.is_empty() {
            return true;
        }
        let mut at_engine: HashSet<String> = HashSet::new();
        for task in self.queue.tasks().iter().filter(|task| task.job.is_some()) {
            let theirs = self::needed(&task.head.request);
            at_engine.extend(theirs.into_iter().map(|(hash, _)| hash.to_owned()));
        }
        let new = needed.iter().filter(|(hash, _)| !at_engine.contains(*hash));
        if !at_engine.is_empty() && at_engine.len() + new.count() > MOST_AT_ENGINE {
            return false;
        }
        let mut here = Vec::new();
        let mut all = true;
        for (hash, kind) in needed {
            match self.inputs.0.get(hash) {
                Some(Input::Here(data)) => here.push((hash.to_owned(), Arc::clone(data))),
                Some(Input::Reading) => all = false,
                None => {
                    all = false;
                    self.read_input(hash.to_owned(), kind);
                }
            }
        }
        // In front of the job, as the engine takes commands in their order.
        all && here
            .into_iter()
            .all(|(hash, data)| self.send(Command::Blob { hash, data }))
    }

    /// Those of a request that are in memory, as they are while its job runs.
    pub(super) fn held_inputs(&self, request: &Request) -> Vec<(String, Arc<HostTensor>)> {
        let held =
            needed(request)
                .into_iter()
                .filter_map(|(hash, _)| match self.inputs.0.get(hash)? {
                    Input::Here(data) => Some((hash.to_owned(), Arc::clone(data))),
                    Input::Reading => None,
                });
        held.collect()
    }

    fn read_input(&mut self, hash: String, kind: InputKind) {
        self.inputs.0.insert(hash.clone(), Input::Reading);
        let (folder, reply, name) = (self.data.clone(), self.reply(), hash.clone());
        let spawned = std::thread::Builder::new()
            .name("diptych-input".into())
            .spawn(move || {
                let data = read(&folder, &hash, kind);
                reply.say(Later::Input(hash, data));
            });
        if let Err(error) = spawned {
            self.inputs.0.remove(&name);
            let text = format!("the system gives no thread: {error}");
            self.log
                .notify(Level::Error, "The start picture cannot be read", text);
        }
    }

    /// An input has been read, or cannot be.
    pub(super) fn input_read(&mut self, hash: String, data: Result<Arc<HostTensor>, String>) {
        match data {
            Ok(data) => {
                self.inputs.0.insert(hash, Input::Here(data));
            }
            Err(reason) => {
                self.inputs.0.remove(&hash);
                let waiting: Vec<TaskId> = self
                    .queue
                    .tasks()
                    .iter()
                    .filter(|task| task.job.is_none() && task.stage == Stage::Waiting)
                    .filter(|task| {
                        let mut needed = needed(&task.head.request).into_iter();
                        needed.any(|(name, _)| name == hash)
                    })
                    .map(|task| task.head.id)
                    .collect();
                for id in waiting {
                    if let Some(task) = self.queue.get_mut(id) {
                        task.stage = Stage::Failed(reason.clone());
                        let task = task.clone();
                        self.save_task(&task);
                    }
                }
                self.log
                    .notify(Level::Error, "The picture could not be drawn", reason);
            }
        }
        self.give_all();
    }

    /// After a job has ended: lets go of what no other one needs, and gives those that waited for room.
    pub(super) fn tidy_inputs(&mut self) {
        if self.inputs.0.is_empty() {
            return;
        }
        let mut wanted: HashSet<String> = HashSet::new();
        for task in self.queue.tasks() {
            let needed = needed(&task.head.request);
            wanted.extend(needed.into_iter().map(|(hash, _)| hash.to_owned()));
        }
        self.inputs
            .0
            .retain(|hash, input| matches!(input, Input::Reading) || wanted.contains(hash));
        self.give_all();
    }

    /// Whether an input is being read.
    pub(super) fn reads_inputs(&self) -> bool {
        let mut inputs = self.inputs.0.values();
        inputs.any(|input| matches!(input, Input::Reading))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn inputs_are_what_they_were_or_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("inputs")).unwrap();
        let rgb = vec![10, 20, 30, 40, 50, 60];
        let pixels = pictures::Pixels {
            width: 2,
            height: 1,
            rgb: rgb.clone(),
            alpha: None,
        };
        let hash = pixels.blob().name.0;
        let missing = read(folder.path(), &hash, InputKind::Picture).unwrap_err();
        assert!(missing.contains("not in the library"), "{missing}");
        let path = input_path(folder.path(), &hash).unwrap();
        image::save_buffer(&path, &rgb, 2, 1, image::ExtendedColorType::Rgb8).unwrap();
        let data = read(folder.path(), &hash, InputKind::Picture).unwrap();
        assert_eq!(data.shape, [3, 1, 2]);
        image::save_buffer(&path, &[0; 6], 2, 1, image::ExtendedColorType::Rgb8).unwrap();
        let changed = read(folder.path(), &hash, InputKind::Picture).unwrap_err();
        assert!(changed.contains("was changed"), "{changed}");
        assert!(read(folder.path(), "../x", InputKind::Mask).is_err());
    }
}
