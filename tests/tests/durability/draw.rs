//! `diptych draw`, killed: every path that it told is a whole picture and in the history.

use std::path::Path;
use std::time::{Duration, Instant};

use diptych::library::files;
use diptych_tests::fixture;
use rand::Rng as _;

use crate::ledger::check_index;
use crate::{child, generator, kills};

fn start(folder: &Path, count: &str) -> child::Running {
    let model = fixture("models/tiny-sd");
    let words = [
        "draw",
        "a fox",
        "--model",
        model.to_str().unwrap(),
        "--steps",
        "2",
        "--size",
        "32x40",
        "--quiet",
        "--device",
        "cpu",
        "--count",
        count,
        "--data-dir",
        "data",
    ];
    child::start("cli", &words, folder)
}

fn paths(said: &[String]) -> Vec<&String> {
    said.iter().filter(|line| line.ends_with(".png")).collect()
}

fn history(folder: &Path) -> Vec<serde_json::Value> {
    let said = child::start("cli", &["history", "--json", "--data-dir", "data"], folder).finish();
    let text = said.join("\n");
    let (start, end) = (text.find('[').unwrap(), text.rfind(']').unwrap());
    serde_json::from_str(&text[start..=end]).unwrap()
}

#[test]
fn every_path_that_was_told_is_whole_and_known() {
    let mut random = generator("draw");
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let first = start(folder.path(), "50").finish();
    let whole = begun.elapsed();
    assert_eq!(paths(&first).len(), 50);
    let mut told: Vec<String> = paths(&first).into_iter().cloned().collect();
    let mut cut = 0;
    for round in 0..kills() {
        let mut drawing = start(folder.path(), "50");
        drawing.run_for(Duration::from_secs_f64(
            random.random_range(0.0..whole.as_secs_f64()),
        ));
        let (said, ended) = drawing.kill();
        let new = paths(&said);
        cut += u32::from(!ended && !new.is_empty() && new.len() < 50);
        told.extend(new.into_iter().cloned());
        check_index(&folder.path().join("data"));
        let history = history(folder.path());
        let here = folder.path().canonicalize().unwrap();
        for path in &told {
            let path = here.join(path);
            let picture = image::open(&path)
                .unwrap_or_else(|error| panic!("round {round}: {}: {error}", path.display()));
            assert_eq!((picture.width(), picture.height()), (32, 40));
            let known = history
                .iter()
                .find(|one| one["path"] == path.to_str().unwrap());
            let known = known.unwrap_or_else(|| {
                panic!("round {round}: {} is not in the history", path.display())
            });
            assert_eq!(known["present"], true);
            assert_eq!(known["seed"], files::told(&path).unwrap().request.seed);
        }
    }
    println!(
        "{} pictures; {cut} of {} runs were cut in the middle; a whole one takes {whole:.1?}",
        told.len(),
        kills()
    );
    assert!(cut > 0, "no run was cut in the middle");
}
