//! Where things lie: the program's own assets, the person's data, and the models that other programs have fetched.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

/// The program's assets were not found.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Nowhere.
    #[error("the program's assets were not found; looked in {0}; name their folder with --assets")]
    NoAssets(String),
    /// Not where the person said.
    #[error("{}: there is no such folder; --assets names the folder that holds 'models'", .0.display())]
    NotThere(PathBuf),
    /// The platform tells no data folder.
    #[error(
        "this system tells no folder for data ({0}); name one with --data-dir or DIPTYCH_DATA_DIR"
    )]
    NoData(String),
}

/// Folders where the assets may be, in the order in which they are looked for.
pub fn asset_candidates() -> Vec<PathBuf> {
    let mut candidates = Vec::new();
    let program = std::env::current_exe().and_then(std::fs::canonicalize);
    if let Some(beside) = program.ok().as_deref().and_then(Path::parent) {
        candidates.push(beside.join("assets"));
        if let Some(above) = beside.parent() {
            candidates.push(above.join("share/diptych/assets"));
            // Within a macOS bundle.
            candidates.push(above.join("Resources/assets"));
        }
    }
    if let Some(tree) = Path::new(env!("CARGO_MANIFEST_DIR")).parent() {
        candidates.push(tree.join("assets"));
    }
    candidates
}

/// The assets folder: the one given, else the first of [`asset_candidates`] that has models in it.
///
/// # Errors
/// If there is none; names the places where it was looked for.
pub fn assets(given: Option<&Path>) -> Result<PathBuf, FolderError> {
    if let Some(given) = given {
        return if given.is_dir() {
            Ok(given.to_owned())
        } else {
            Err(FolderError::NotThere(given.to_owned()))
        };
    }
    let candidates = asset_candidates();
    match candidates
        .iter()
        .find(|folder| folder.join("models").is_dir())
    {
        Some(folder) => Ok(folder.clone()),
        None => {
            let looked: Vec<_> = candidates
                .iter()
                .map(|folder| folder.display().to_string())
                .collect();
            Err(FolderError::NoAssets(looked.join(", ")))
        }
    }
}

/// Names the folder of the person's data where no option does.
pub const DATA_VARIABLE: &str = "DIPTYCH_DATA_DIR";

/// The person's data: the folder given, else the one that `DIPTYCH_DATA_DIR` names, else the platform's data folder for
/// this program.
///
/// # Errors
/// If the platform tells none.
pub fn data(given: Option<&Path>) -> Result<PathBuf, FolderError> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    if let Some(named) = std::env::var_os(DATA_VARIABLE).filter(|name| !name.is_empty()) {
        return Ok(PathBuf::from(named));
    }
    let base =
        etcetera::choose_base_strategy().map_err(|error| FolderError::NoData(error.to_string()))?;
    Ok(base.data_dir().join("diptych"))
}

/// Where compiled kernels and the like are kept, which can be made again: below a folder of data.
pub fn cache_of(data: &Path) -> PathBuf {
    data.join("cache")
}

/// A folder in which models of other programs may lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownFolder {
    /// Whose it is.
    pub owner: &'static str,
    /// Where it is; it need not exist.
    pub path: PathBuf,
}

/// Whose models are looked for.
pub const OWNERS: [&str; 9] = [
    "ComfyUI",
    "AUTOMATIC1111",
    "Forge",
    "InvokeAI",
    "Stability Matrix",
    "LM Studio",
    "Ollama",
    "llama.cpp",
    "Hugging Face",
];

/// Folders of other programs, as their own environment variables and defaults say.
pub fn known_folders() -> Vec<KnownFolder> {
    known_folders_with(
        &|name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        },
        home(),
    )
}

fn home() -> Option<PathBuf> {
    etcetera::home_dir().ok()
}

fn known_folders_with(
    variable: &dyn Fn(&str) -> Option<PathBuf>,
    home: Option<PathBuf>,
) -> Vec<KnownFolder> {
    let mut folders = Vec::new();
    let mut add =
        |owner, path: Option<PathBuf>| folders.extend(path.map(|path| KnownFolder { owner, path }));
    let at_home = |below: &str| home.as_ref().map(|home| home.join(below));
    let cache = |below: &str| {
        let cache = variable("XDG_CACHE_HOME").or_else(|| at_home(".cache"));
        cache.map(|cache| cache.join(below))
    };
    let hub = variable("HF_HUB_CACHE")
        .or_else(|| variable("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| variable("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| cache("huggingface/hub"));
    add("Hugging Face", hub);
    add("LM Studio", at_home(".lmstudio/models"));
    add("LM Studio", at_home(".cache/lm-studio/models"));
    let llama = variable("LLAMA_CACHE").or_else(|| {
        if cfg!(target_os = "macos") {
            at_home("Library/Caches/llama.cpp")
        } else if cfg!(windows) {
            variable("LOCALAPPDATA").map(|local| local.join("llama.cpp"))
        } else {
            cache("llama.cpp")
        }
    });
    add("llama.cpp", llama);
    // These programs are unpacked wherever the person likes; what is looked for are the places of their own guides.
    add(
        "ComfyUI",
        variable("COMFYUI_PATH").map(|path| path.join("models")),
    );
    for (owner, below) in [
        ("ComfyUI", "ComfyUI/models"),
        ("ComfyUI", "Documents/ComfyUI/models"),
        ("AUTOMATIC1111", "stable-diffusion-webui/models"),
        ("Forge", "stable-diffusion-webui-forge/models"),
        ("InvokeAI", "invokeai/models"),
        ("Stability Matrix", "StabilityMatrix/Models"),
        ("Stability Matrix", ".local/share/StabilityMatrix/Models"),
    ] {
        add(owner, at_home(below));
    }
    folders
}

/// Name of the file in which ComfyUI is told of further folders.
const EXTRA_PATHS: &str = "extra_model_paths.yaml";

/// Further folders of models that a ComfyUI at `folder` (or whose `models` folder it is) was told of. A file that cannot be
/// read is passed over, with a line in the log: it belongs to another program.
pub fn extra_model_folders(folder: &Path) -> Vec<PathBuf> {
    let candidates = [Some(folder), folder.parent()];
    let mut found = Vec::new();
    for root in candidates.into_iter().flatten() {
        let file = root.join(EXTRA_PATHS);
        let small = std::fs::metadata(&file)
            .is_ok_and(|meta| meta.is_file() && meta.len() <= LARGEST_MANIFEST);
        if !small {
            continue;
        }
        match std::fs::read_to_string(&file) {
            Ok(text) => found.extend(extra_paths(&text, root, home().as_deref())),
            Err(error) => tracing::warn!("{}: {error}", file.display()),
        }
    }
    found.retain(|path| path.is_dir());
    found.sort();
    found.dedup();
    found
}

/// What an `extra_model_paths.yaml` names: sections with a `base_path` and, for each kind of model, one folder a line.
fn extra_paths(text: &str, root: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    use saphyr::{LoadableYamlNode as _, Yaml};
    let documents = match Yaml::load_from_str(text) {
        Ok(documents) => documents,
        Err(error) => {
            tracing::warn!("{}: {error}", root.join(EXTRA_PATHS).display());
            return Vec::new();
        }
    };
    let at_home = |path: &str| match (path.strip_prefix("~/"), home) {
        (Some(below), Some(home)) => home.join(below),
        _ => PathBuf::from(path),
    };
    let sections = documents.iter().filter_map(Yaml::as_mapping).flatten();
    let mut found = Vec::new();
    for (_, section) in sections {
        let Some(section) = section.as_mapping() else {
            continue;
        };
        let of = |name: &str| {
            section
                .iter()
                .find(|(key, _)| key.as_str() == Some(name))
                .and_then(|(_, value)| value.as_str())
        };
        let base = root.join(at_home(of("base_path").unwrap_or("")));
        for (key, value) in section {
            if matches!(
                key.as_str(),
                None | Some("base_path" | "is_default" | "custom_nodes")
            ) {
                continue;
            }
            let lines = value.as_str().unwrap_or("").lines().map(str::trim);
            let folders = lines.filter(|line| !line.is_empty());
            found.extend(folders.map(|line| base.join(at_home(line))));
        }
    }
    found
}

/// Ollama's folder; it need not exist.
pub fn ollama_folder() -> Option<PathBuf> {
    let variable = std::env::var_os("OLLAMA_MODELS")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from);
    variable.or_else(|| home().map(|home| home.join(".ollama/models")))
}

/// Manifests are small; a larger file is none.
const LARGEST_MANIFEST: u64 = 1 << 20;
/// `registry/namespace/model/tag`.
const MANIFEST_DEPTH: usize = 4;

/// The models that Ollama's folder holds. Its blobs have no names; manifests tell which of them are models.
pub fn ollama_models(root: &Path) -> Vec<PathBuf> {
    let mut level = vec![root.join("manifests")];
    for _ in 0..MANIFEST_DEPTH {
        let entries = level
            .iter()
            .filter_map(|folder| std::fs::read_dir(folder).ok())
            .flatten()
            .flatten();
        level = entries.map(|entry| entry.path()).take(10_000).collect();
    }
    let mut models: Vec<PathBuf> = level
        .iter()
        .filter_map(|manifest| model_of_manifest(root, manifest))
        .collect();
    models.sort();
    models.dedup();
    models
}

fn model_of_manifest(root: &Path, manifest: &Path) -> Option<PathBuf> {
    if !std::fs::metadata(manifest)
        .is_ok_and(|meta| meta.is_file() && meta.len() <= LARGEST_MANIFEST)
    {
        return None;
    }
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(manifest).ok()?).ok()?;
    let layers = manifest.get("layers")?.as_array()?;
    let model = layers.iter().find(|layer| {
        layer.get("mediaType").and_then(|kind| kind.as_str())
            == Some("application/vnd.ollama.image.model")
    })?;
    let digest = model.get("digest")?.as_str()?;
    let hex = digest.strip_prefix("sha256:")?;
    // A manifest must not lead anywhere else.
    let sound = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let blob = root.join("blobs").join(format!("sha256-{hex}"));
    (sound && blob.is_file()).then_some(blob)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_whose_models_are_looked_for_are_told() {
        let folders = known_folders_with(&|_| Some("/x".into()), Some("/home/me".into()));
        for folder in &folders {
            assert!(OWNERS.contains(&folder.owner), "{}", folder.owner);
        }
        for owner in OWNERS.into_iter().filter(|owner| *owner != "Ollama") {
            assert!(
                folders.iter().any(|folder| folder.owner == owner),
                "{owner}"
            );
        }
    }

    #[test]
    fn variables_come_before_defaults() {
        let home = Some(PathBuf::from("/home/a"));
        let of = |folders: &[KnownFolder], owner| {
            folders
                .iter()
                .find(|folder| folder.owner == owner)
                .map(|folder| folder.path.clone())
        };
        let plain = known_folders_with(&|_| None, home.clone());
        assert_eq!(
            of(&plain, "Hugging Face"),
            Some("/home/a/.cache/huggingface/hub".into())
        );
        assert_eq!(
            of(&plain, "LM Studio"),
            Some("/home/a/.lmstudio/models".into())
        );
        let set = |name: &str| match name {
            "HF_HOME" => Some(PathBuf::from("/hf")),
            "LLAMA_CACHE" => Some(PathBuf::from("/llama")),
            _ => None,
        };
        let told = known_folders_with(&set, home.clone());
        assert_eq!(of(&told, "Hugging Face"), Some("/hf/hub".into()));
        assert_eq!(of(&told, "llama.cpp"), Some("/llama".into()));
        let hub = |name: &str| {
            (name == "HF_HUB_CACHE")
                .then(|| PathBuf::from("/cache"))
                .or_else(|| set(name))
        };
        assert_eq!(
            of(&known_folders_with(&hub, home), "Hugging Face"),
            Some("/cache".into())
        );
        assert!(known_folders_with(&|_| None, None).is_empty());
    }

    #[test]
    fn extra_paths_of_comfyui_are_followed() {
        let text = "\
# a comment
comfyui:
    base_path: /big/comfy
    is_default: true
    checkpoints: models/checkpoints/
    text_encoders: |
        models/text_encoders/
        /elsewhere/clip
a111:
    base_path: ~/webui
    loras: models/Lora
other:
    vae: shared/vae
";
        let found = extra_paths(text, Path::new("/comfy"), Some(Path::new("/home/a")));
        let expected = [
            "/big/comfy/models/checkpoints/",
            "/big/comfy/models/text_encoders/",
            "/elsewhere/clip",
            "/home/a/webui/models/Lora",
            "/comfy/shared/vae",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
        for faulty in ["a: [", "- 1", "", "a: 1", "a:\n  b: [1, 2]\n", "\u{0}"] {
            assert!(
                extra_paths(faulty, Path::new("/"), None).is_empty(),
                "{faulty}"
            );
        }
        let folder = tempfile::tempdir().unwrap();
        let more = folder.path().join("more");
        std::fs::create_dir_all(folder.path().join("models")).unwrap();
        std::fs::create_dir_all(&more).unwrap();
        let text = "x:\n  checkpoints: more\n  vae: missing\n";
        std::fs::write(folder.path().join(EXTRA_PATHS), text).unwrap();
        let found = [more];
        assert_eq!(extra_model_folders(folder.path()), found);
        assert_eq!(extra_model_folders(&folder.path().join("models")), found);
    }

    #[test]
    fn ollama_manifests_lead_to_blobs_and_nowhere_else() {
        let root = tempfile::tempdir().unwrap();
        let digest = "ab".repeat(32);
        let folder = root
            .path()
            .join("manifests/registry.ollama.ai/library/tiny");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(root.path().join("blobs")).unwrap();
        std::fs::write(root.path().join(format!("blobs/sha256-{digest}")), "GGUF").unwrap();
        let manifest = |digest: &str| {
            format!(
                r#"{{"layers":[{{"mediaType":"application/vnd.ollama.image.template","digest":"sha256:00"}},
                {{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:{digest}"}}]}}"#
            )
        };
        std::fs::write(folder.join("latest"), manifest(&digest)).unwrap();
        std::fs::write(folder.join("same"), manifest(&digest)).unwrap();
        std::fs::write(folder.join("evil"), manifest("../../../../etc/passwd")).unwrap();
        std::fs::write(folder.join("broken"), "{").unwrap();
        assert_eq!(
            ollama_models(root.path()),
            [root.path().join(format!("blobs/sha256-{digest}"))]
        );
    }

    #[test]
    fn assets_that_are_not_there_are_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(assets(Some(folder.path())).unwrap(), folder.path());
        let nowhere = folder.path().join("nowhere");
        assert!(
            assets(Some(&nowhere))
                .unwrap_err()
                .to_string()
                .contains("nowhere")
        );
    }
}
