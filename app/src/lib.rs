//! The studio: command line and window, both clients of the engine's protocol.
//!
//! Nothing here knows a tensor, a graph or a weight. What is wanted goes to the engine as a
//! [`diptych_inference::engine::Request`], and comes back as events.

pub mod ablation;
pub mod cli;
pub mod defaults;
pub mod export;
pub mod folders;
pub mod library;
pub mod morph;
pub mod origin;
pub mod paint;
pub mod panels;
pub mod pictures;
pub mod presets;
pub mod proof;
pub mod recall;
pub mod report;
pub mod studio;
pub mod theme;
pub mod widgets;
pub mod wildcards;
pub mod window;
pub mod words;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::{Path, PathBuf};

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn each_part_knows_only_those_it_may() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut all = Vec::new();
        sources(&root, &mut all);
        assert!(all.len() > 200, "{} files", all.len());
        let inside = |module: &str| format!("diptych_inference::{module}");
        for path in all {
            let name = path
                .strip_prefix(&root)
                .unwrap()
                .to_string_lossy()
                .replace('\\', "/");
            if name == "lib.rs" {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let knows = |what: &str| text.contains(what);
            for module in [
                "graph",
                "gpu",
                "cpu",
                "pipelines",
                "models",
                "synthesize",
                "bench",
            ] {
                assert!(!knows(&inside(module)), "{name} knows {}", inside(module));
            }
            let part = name.split('/').next().unwrap();
            if part != "cli" && name != "main.rs" {
                assert!(!knows("crate::cli"), "{name} knows the command line");
            }
            let forbidden: &[&str] = match part {
                "widgets" => &[
                    "crate::studio",
                    "crate::panels",
                    "crate::library",
                    "crate::window",
                ],
                "theme" => &[
                    "crate::studio",
                    "crate::panels",
                    "crate::library",
                    "crate::widgets",
                ],
                "library" => &["crate::studio", "crate::panels", "crate::widgets", "egui"],
                "studio" => &["crate::panels", "crate::window"],
                "panels" => &["crate::window"],
                _ => &[],
            };
            for other in forbidden {
                assert!(!knows(other), "{name} knows {other}");
            }
        }
    }
}
