//! Which of the models at hand made a picture.

use super::{Against, KnownModel, Recalled};

/// Endings of model files that other programs leave in their names.
const ENDINGS: [&str; 7] = ["safetensors", "sft", "ckpt", "gguf", "pth", "pt", "bin"];
/// Fewer digits of a hash say too little.
const LEAST_DIGITS: usize = 8;
/// Where no model tells what sizes it draws.
const FACTOR: u32 = 8;

/// Takes the model over, if it is here, and gives what sizes must be multiples of.
pub(super) fn take(
    recalled: &mut Recalled,
    name: Option<&str>,
    hash: Option<&str>,
    against: &Against<'_>,
) -> u32 {
    let hash = hash.and_then(digits);
    let same_hash = |known: &&KnownModel| {
        let known = known.model.hash.as_deref().and_then(digits);
        matches!((&hash, &known), (Some(a), Some(b)) if a.starts_with(b.as_str()) || b.starts_with(a.as_str()))
    };
    let by_hash = against.models.iter().find(same_hash);
    let by_name = || {
        let wanted = plain(name?);
        against.models.iter().find(|known| {
            let file = known.path.file_name().map(|name| name.to_string_lossy());
            plain(&known.model.name) == wanted
                || file.is_some_and(|file| plain(&file) == wanted)
                || known
                    .title
                    .as_deref()
                    .is_some_and(|title| plain(title) == wanted)
        })
    };
    let found = match by_hash {
        Some(found) => Some(found),
        None => {
            let found = by_name();
            if let Some(found) = found {
                let known = found.model.hash.as_deref().and_then(digits);
                // Hashes of another length are of another kind and say nothing.
                let differs = matches!((&hash, &known), (Some(a), Some(b)) if a.len() == b.len());
                if differs {
                    recalled.note(format!(
                        "The model '{}' that is here is another version than the one that made the picture",
                        found.model.name
                    ));
                }
            }
            found
        }
    };
    let chosen = against.model.and_then(|chosen| {
        against
            .models
            .iter()
            .find(|known| known.model.name == chosen)
    });
    match found {
        Some(found) => recalled.model = Some(found.model.clone()),
        None => {
            let kept = match against.model {
                Some(model) => format!("; kept '{model}'"),
                None => String::new(),
            };
            let said = match (name, &hash) {
                (Some(name), Some(hash)) => {
                    let short: String = hash.chars().take(10).collect();
                    format!(
                        "It was made with '{}' ({short}), which was not found{kept}",
                        short_name(name)
                    )
                }
                (Some(name), None) => {
                    format!(
                        "It was made with '{}', which was not found{kept}",
                        short_name(name)
                    )
                }
                (None, Some(hash)) => {
                    let short: String = hash.chars().take(10).collect();
                    format!("It was made with a model ({short}) that was not found{kept}")
                }
                (None, None) => format!("The picture does not name its model{kept}"),
            };
            recalled.note(said);
        }
    }
    found.or(chosen).map_or(FACTOR, |model| model.factor)
}

/// The digits of a hash, if it can be compared: `0x` and names of other kinds are left out.
fn digits(hash: &str) -> Option<String> {
    let hash = hash.trim();
    let hash = hash.strip_prefix("sha256:").unwrap_or(hash);
    let usable = hash.len() >= LEAST_DIGITS && hash.bytes().all(|b| b.is_ascii_hexdigit());
    usable.then(|| hash.to_ascii_lowercase())
}

/// Without folders: these are another person's.
fn short_name(name: &str) -> String {
    let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
    file.chars().take(80).collect()
}

/// A name as it is compared: without folder, ending, letter case and kind of separator.
fn plain(name: &str) -> String {
    let file = name
        .rsplit(['/', '\\'])
        .find(|part| !part.is_empty())
        .unwrap_or(name);
    let stem = match file.rsplit_once('.') {
        Some((stem, ending)) if ENDINGS.contains(&ending.to_ascii_lowercase().as_str()) => stem,
        _ => file,
    };
    let words = stem
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_what_programs_add() {
        assert_eq!(
            plain("sd15/Dream_Shaper-8.safetensors"),
            plain("dream shaper 8")
        );
        assert_eq!(plain(r"C:\models\x.ckpt"), "x");
        assert_eq!(plain("v1.5-pruned"), "v1 5 pruned");
        assert_ne!(plain("a"), plain("b"));
    }

    #[test]
    fn only_hashes_of_contents_are_compared() {
        assert_eq!(digits("C0D1994c73").as_deref(), Some("c0d1994c73"));
        assert_eq!(digits("sha256:c0d1994c73").as_deref(), Some("c0d1994c73"));
        for other in ["", "0x1234567890", "blake3:abcdefabcdef", "c0d19"] {
            assert_eq!(digits(other), None, "{other}");
        }
    }
}
