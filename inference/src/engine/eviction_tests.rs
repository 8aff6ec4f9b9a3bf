//! More models than have room: the one that was used longest ago goes, whenever it was loaded, and the others stay.

use std::path::{Path, PathBuf};

use super::memory_tests::{Hand, PLENTY, unet_size};
use super::*;
use crate::engine::{DeviceChoice, ImageRequest, ModelRef, Outcome, Picture};
use crate::pipelines::PlanKey;
use std::sync::Arc;

const NAMES: [&str; 4] = ["one", "two", "three", "four"];
/// A prompt for each use, so that words are encoded each time.
const PROMPTS: [&str; 8] = [
    "a red fox",
    "a blue house",
    "a green tree",
    "a yellow boat",
    "a fox",
    "a house",
    "a tree",
    "a boat",
];

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// An engine that knows four models of one size, none of which is loaded.
struct Shelf {
    hand: Hand,
    /// What the network of such a picture is known by.
    key: PlanKey,
    uses: usize,
}

impl Shelf {
    fn new(folder: &Path, device: DeviceChoice, budget: u64) -> Self {
        let mut hand = Hand::new(device, budget);
        let (side, length) = unet_size(&hand);
        let paths: Vec<PathBuf> = NAMES.iter().map(|name| folder.join(name)).collect();
        hand.worker.apply(Command::AddModels(paths));
        Self {
            hand,
            key: PlanKey::Denoise(2, side, side, length),
            uses: 0,
        }
    }

    /// Draws with a model.
    fn draw(&mut self, name: &str) -> Arc<Picture> {
        let request = ImageRequest {
            model: ModelRef::named(name),
            ..self.hand.picture(PROMPTS[self.uses])
        };
        self.uses += 1;
        let job = self.hand.submit(Request::Image(request));
        match self.hand.finish(job).unwrap() {
            Outcome::Image { picture, .. } => picture,
            other => panic!("{other:?}"),
        }
    }

    /// The models whose networks are in memory.
    fn there(&self) -> Vec<&'static str> {
        let store = &self.hand.worker.store;
        let known = NAMES.into_iter();
        known
            .filter(|name| store.has_plan(name, (0, self.key)))
            .collect()
    }

    /// What the engine says that weights take.
    fn weights(&mut self) -> u64 {
        self.hand.worker.apply(Command::ReportMemory);
        self.hand.look();
        let told = self.hand.seen.iter().rev().find_map(|event| match event {
            Event::Memory(memory) => Some(memory.weights),
            _ => None,
        });
        told.unwrap()
    }
}

#[test]
fn of_several_models_the_one_used_longest_ago_goes() {
    let folder = tempfile::tempdir().unwrap();
    let sketch = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/models/sketch");
    for name in NAMES {
        copy(&sketch, &folder.path().join(name));
    }
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        // Where all have room.
        let mut rich = Shelf::new(folder.path(), device, PLENTY);
        let mut peaks = Vec::new();
        for name in NAMES {
            rich.draw(name);
            peaks.push(rich.hand.worker.store.memory().peak);
        }
        assert_eq!(rich.there(), NAMES, "{device:?}");
        let of_four = rich.weights();
        // Room for three of them, and not for four.
        let budget = peaks[2] + (peaks[3] - peaks[2]) / 2;
        let mut shelf = Shelf::new(folder.path(), device, budget);
        for name in ["one", "two", "three"] {
            shelf.draw(name);
        }
        assert_eq!(shelf.there(), ["one", "two", "three"], "{device:?}");
        let of_three = shelf.weights();
        assert_eq!(of_three, of_four / 4 * 3, "{device:?}");
        // The latest that was loaded is now the one that was used longest ago.
        shelf.draw("two");
        shelf.draw("one");
        assert_eq!(shelf.there(), ["one", "two", "three"], "{device:?}");
        shelf.draw("four");
        assert_eq!(shelf.there(), ["one", "two", "four"], "{device:?}");
        assert_eq!(shelf.weights(), of_three, "{device:?}");
        // Of those the first that was loaded was not used for the longest time only once another was.
        shelf.draw("two");
        let again = shelf.draw("three");
        assert_eq!(shelf.there(), ["two", "three", "four"], "{device:?}");
        assert_eq!(shelf.weights(), of_three, "{device:?}");
        let memory = shelf.hand.worker.store.memory();
        assert!(memory.peak <= budget, "{device:?}: {memory:?}");
        assert_eq!(
            shelf.hand.worker.store.most_streamed(),
            0,
            "{device:?}: each of them has room"
        );
        // What was given up and came back draws what it drew.
        let mut fresh = Shelf::new(folder.path(), device, PLENTY);
        fresh.uses = shelf.uses - 1;
        assert_eq!(fresh.draw("three"), again, "{device:?}");
    }
}
