//! Lists that prompts take lines from (`__name__`): text files in a folder, a line each, `#` begins a remark.

use std::path::{Path, PathBuf};

use diptych_inference::engine::{ImageRequest, PromptTemplate};
use diptych_inference::text::prompt::PromptSyntax;
use diptych_inference::text::prompt::variants::{is_template, resolve};

/// Name of the folder among the person's data.
pub const FOLDER: &str = "wildcards";
/// Longest list that is read.
const LONGEST: u64 = 8 << 20;
/// Most lists that a name with `*` takes in.
const MOST_LISTS: usize = 1000;
/// Folders within folders.
const DEEPEST: usize = 8;

/// A list that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownList {
    /// Its name: what stands between `__` and `__`.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// How many lines it has.
    pub lines: usize,
}

/// The lists of a folder.
#[derive(Clone, Debug)]
pub struct Wildcards {
    folder: PathBuf,
}

impl Wildcards {
    /// The lists of a folder, which need not be there.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// All lists, by name. Reads every one of them.
    pub fn all(&self) -> Vec<KnownList> {
        let mut files = Vec::new();
        gather(&self.folder, "", 0, &mut files);
        files.sort();
        let known = files.into_iter().take(MOST_LISTS).map(|(name, path)| {
            let lines = read(&path).len();
            KnownList { name, path, lines }
        });
        known.collect()
    }

    /// The whole text of a list's file.
    ///
    /// # Errors
    /// Files that cannot be read, are too large, or hold no text.
    pub fn text(path: &Path) -> Result<String, String> {
        let fault = |reason: &dyn std::fmt::Display| {
            format!("{}: cannot be read: {reason}", path.display())
        };
        let meta = std::fs::metadata(path).map_err(|error| fault(&error))?;
        if meta.len() > LONGEST {
            return Err(fault(&"it is larger than any list"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| fault(&error))?;
        Ok(text.trim_start_matches('\u{feff}').to_owned())
    }

    /// The lines of a list, or of all lists whose names fit: `colours`, `clothes/hats`, `clothes/*`. Letter case does not matter.
    /// Nothing if there is no such list.
    pub fn lines(&self, name: &str) -> Option<Vec<String>> {
        let mut files = Vec::new();
        gather(&self.folder, "", 0, &mut files);
        files.sort();
        let wanted = name.to_lowercase();
        let (mut lines, mut found) = (Vec::new(), 0);
        for (known, path) in files {
            if !fits(&wanted, &known) || found == MOST_LISTS {
                continue;
            }
            found += 1;
            lines.extend(read(&path));
        }
        (found > 0).then_some(lines)
    }

    /// Resolves the variants and lists of a request's prompts by its seed, and keeps what they were made of. Gives what could not be
    /// taken as meant. A request that was resolved before is resolved anew from its template.
    pub fn apply(&self, request: &mut ImageRequest) -> Vec<String> {
        if request.prompt_syntax == PromptSyntax::None {
            return Vec::new();
        }
        let (prompt, negative) = match &request.template {
            Some(template) => (template.prompt.clone(), template.negative_prompt.clone()),
            None => (request.prompt.clone(), request.negative_prompt.clone()),
        };
        if !is_template(&prompt) && !is_template(&negative) {
            return Vec::new();
        }
        let mut list = |name: &str| self.lines(name);
        let first = resolve(&prompt, request.seed, false, &mut list);
        let second = resolve(&negative, request.seed, true, &mut list);
        (request.prompt, request.negative_prompt) = (first.text, second.text);
        request.template = Some(PromptTemplate {
            prompt,
            negative_prompt: negative,
        });
        let mut warnings = first.warnings;
        warnings.extend(second.warnings);
        warnings
    }
}

/// The text files of a folder by their names: without ending, with `/` between folders, in small letters.
fn gather(folder: &Path, before: &str, depth: usize, found: &mut Vec<(String, PathBuf)>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if found.len() >= 10 * MOST_LISTS {
            return;
        }
        let path = entry.path();
        let Some(stem) = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().to_lowercase())
        else {
            continue;
        };
        // Links are not followed, so that no list lies outside of the folder.
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() && depth < DEEPEST {
            let name = entry.file_name().to_string_lossy().to_lowercase();
            gather(&path, &format!("{before}{name}/"), depth + 1, found);
        } else if kind.is_file() && path.extension().is_some_and(|end| end == "txt") {
            found.push((format!("{before}{stem}"), path));
        }
    }
}

fn read(path: &Path) -> Vec<String> {
    let small = std::fs::metadata(path).is_ok_and(|meta| meta.len() <= LONGEST);
    let bytes = if small {
        std::fs::read(path).unwrap_or_default()
    } else {
        Vec::new()
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.trim_start_matches('\u{feff}').lines();
    lines
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// Whether a name fits a pattern in which `*` stands for anything. A name without folder also finds a list in a folder.
fn fits(pattern: &str, name: &str) -> bool {
    fn matches(pattern: &str, name: &str) -> bool {
        let mut parts = pattern.split('*');
        let first = parts.next().unwrap_or("");
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            match rest.find(part) {
                Some(at) => rest = rest.get(at + part.len()..).unwrap_or(""),
                None => return false,
            }
        }
        true
    }
    let last = name.rsplit('/').next().unwrap_or(name);
    matches(pattern, name) || !pattern.contains('/') && matches(pattern, last)
}

#[cfg(test)]
mod tests {
    use diptych_inference::engine::ModelRef;

    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("Clothes")).unwrap();
        for (name, text) in [
            ("colour.txt", "\u{feff}red\n# a remark\n\n  blue \n"),
            ("Clothes/hats.txt", "a top hat\na cap"),
            ("Clothes/shoes.txt", "boots"),
            ("note.md", "not a list"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn lists_are_found_by_name_and_pattern() {
        let folder = folder();
        let lists = Wildcards::new(folder.path());
        let lines = |name: &str| lists.lines(name).map(|lines| lines.join("|"));
        assert_eq!(lines("Colour").as_deref(), Some("red|blue"));
        assert_eq!(lines("clothes/hats").as_deref(), Some("a top hat|a cap"));
        assert_eq!(lines("hats").as_deref(), Some("a top hat|a cap"));
        assert_eq!(lines("clothes/*").as_deref(), Some("a top hat|a cap|boots"));
        assert_eq!(lines("*s").as_deref(), Some("a top hat|a cap|boots"));
        for none in ["note", "../colour", "colou", "/colour", "clothes"] {
            assert_eq!(lines(none), None, "{none}");
        }
        assert_eq!(Wildcards::new(folder.path().join("none")).lines("a"), None);
    }

    #[test]
    fn a_request_keeps_what_it_was_made_of() {
        let folder = folder();
        let lists = Wildcards::new(folder.path());
        let mut request = ImageRequest {
            seed: 4,
            negative_prompt: "{blur|noise}".into(),
            ..ImageRequest::new(ModelRef::named("m"), "a __colour__ {fox|cat}", 64, 64)
        };
        assert!(lists.apply(&mut request).is_empty());
        let first = request.clone();
        assert!(!first.prompt.contains(['_', '{']) && !first.negative_prompt.contains('{'));
        assert_eq!(
            first.template.as_ref().unwrap().prompt,
            "a __colour__ {fox|cat}"
        );
        // Again the same; with other seeds, others.
        lists.apply(&mut request);
        assert_eq!(request, first);
        let others = (0..20).map(|seed| {
            request.seed = seed;
            lists.apply(&mut request);
            request.prompt.clone()
        });
        assert_eq!(others.collect::<std::collections::BTreeSet<_>>().len(), 4);
        let mut plain = ImageRequest::new(ModelRef::named("m"), "a [fox|cat]", 64, 64);
        assert!(lists.apply(&mut plain).is_empty());
        assert_eq!(
            (plain.prompt.as_str(), plain.template),
            ("a [fox|cat]", None)
        );
        let mut missing = ImageRequest::new(ModelRef::named("m"), "a __beast__", 64, 64);
        assert!(lists.apply(&mut missing)[0].contains("beast"));
    }
}
