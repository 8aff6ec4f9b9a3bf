//! Whether two pictures are the same step by step, and from where on they are not: hashes of latents, and what they were computed by.

use std::collections::BTreeMap;
use std::path::Path;

use diptych_inference::engine::{Event, ImageRequest, Request};
use diptych_inference::formats::trace::{Trace, is_trace};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::library::files;
use crate::origin::build;
use crate::pictures;

const FORMAT: &str = "diptych proof";
const VERSION: u32 = 1;
/// Largest file of a proof.
const MOST_BYTES: u64 = 64 << 20;

/// Bytes in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a picture is known by: the SHA-256 of its bytes, red, green and blue.
#[must_use]
pub fn picture_hash(rgb: &[u8]) -> String {
    hex(&Sha256::digest(rgb))
}

/// The hashes of a picture's steps, and what they were computed by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    format: String,
    version: u32,
    /// Version, processor and system of the program, and the beginning of its own hash.
    build: Option<String>,
    executor: Option<String>,
    device: Option<String>,
    request: Option<Value>,
    steps: Vec<ProofStep>,
    /// SHA-256 of the picture's bytes.
    picture_sha256: Option<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ProofStep {
    /// Steps done; 0 is the beginning.
    step: u32,
    /// SHA-256 of the latents.
    sha256: String,
    /// Where another device than the first took over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<String>,
}

impl Proof {
    /// An empty proof of what is about to be drawn by this build. Reads the program's own file the first time: not for the window's thread.
    ///
    /// # Errors
    /// If the request cannot be written as JSON.
    pub fn begin(
        request: &ImageRequest,
        executor: &str,
        device: &str,
    ) -> Result<Self, serde_json::Error> {
        Ok(Self {
            format: FORMAT.into(),
            version: VERSION,
            build: Some(build()),
            executor: Some(executor.to_owned()),
            device: Some(device.to_owned()),
            request: Some(serde_json::to_value(Request::Image(request.clone()))?),
            ..Self::default()
        })
    }

    /// Takes the hash of a step; what else the engine says is left alone.
    pub fn watch(&mut self, event: &Event, device: Option<&String>) {
        if let Event::TraceStep { index, sha256, .. } = event {
            self.step(*index, sha256, device);
        }
    }

    /// Takes the hash of the latents after so many steps.
    pub fn step(&mut self, step: u32, sha256: &[u8; 32], device: Option<&String>) {
        self.steps.push(ProofStep {
            step,
            sha256: hex(sha256),
            device: device.cloned(),
        });
    }

    /// The picture is done.
    pub fn finish(&mut self, picture_sha256: String) {
        self.picture_sha256 = Some(picture_sha256);
    }

    /// The request that it is of, if it tells.
    #[must_use]
    pub fn request(&self) -> Option<&Value> {
        self.request.as_ref()
    }

    /// As a file.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Of a picture alone, which has no steps.
    #[must_use]
    pub fn of_picture(request: Option<&ImageRequest>, rgb: &[u8]) -> Self {
        let request = request.map(|request| Request::Image(request.clone()));
        Self {
            format: FORMAT.into(),
            version: VERSION,
            request: request.and_then(|request| serde_json::to_value(request).ok()),
            picture_sha256: Some(picture_hash(rgb)),
            ..Self::default()
        }
    }

    /// Of a trace.
    #[must_use]
    pub fn of_trace(trace: &Trace) -> Self {
        let head = trace.head().clone();
        let steps = trace.steps().map(|step| ProofStep {
            step: step.index,
            sha256: step.sha256.clone(),
            device: step.device.clone(),
        });
        Self {
            format: FORMAT.into(),
            version: VERSION,
            build: Some(head.build),
            executor: Some(head.executor),
            device: Some(head.device),
            request: Some(head.request),
            steps: steps.collect(),
            picture_sha256: trace.end().map(|end| end.picture_sha256.clone()),
        }
    }

    /// The proof in a file: of its own, of a trace, or of a picture, which has no steps.
    ///
    /// # Errors
    /// Files that cannot be read or are none of these, in a person's words with their names.
    pub fn read(path: &Path) -> Result<Self, String> {
        if is_trace(path) {
            let trace = Trace::open(path).map_err(|error| error.to_string())?;
            return Ok(Self::of_trace(&trace));
        }
        let fault = |what: String| format!("{}: {what}", path.display());
        let unreadable = |error: std::io::Error| fault(format!("cannot be read: {error}"));
        let meta = std::fs::metadata(path).map_err(unreadable)?;
        let mut start = [0; 1];
        let begins = std::fs::File::open(path)
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start));
        if begins.is_ok() && start == *b"{" {
            if meta.len() > MOST_BYTES {
                return Err(fault("this is larger than any proof".into()));
            }
            let bytes = std::fs::read(path).map_err(unreadable)?;
            let proof: Self = serde_json::from_slice(&bytes)
                .map_err(|error| fault(format!("this is no proof of Diptych ({error})")))?;
            if proof.format != FORMAT || proof.version != VERSION {
                return Err(fault(format!(
                    "this is no proof of version {VERSION}; this program reads no other"
                )));
            }
            return Ok(proof);
        }
        let pixels = pictures::read(path).map_err(|error| error.to_string())?;
        let told = files::told(path).map(|told| told.request);
        Ok(Self::of_picture(told.as_ref(), &pixels.rgb))
    }
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether all that both tell is the same.
    pub identical: bool,
    /// The first step whose latents differ; none if none was compared that does.
    pub differs_from_step: Option<u32>,
    /// Steps compared.
    pub steps_compared: usize,
    /// Whether the pictures are the same, where both tell.
    pub same_picture: Option<bool>,
    /// What differs between the two beside, in a person's words.
    pub reasons: Vec<String>,
}

impl Verdict {
    /// In a person's words: `identical: 20 steps and the picture`, `differs from step 7: other device (one; two)`.
    #[must_use]
    pub fn told(&self) -> String {
        let why = match self.reasons.is_empty() {
            true => String::new(),
            false => format!(": {}", self.reasons.join("; ")),
        };
        match (self.identical, self.differs_from_step) {
            (true, _) if self.steps_compared == 0 => "identical: the same picture".into(),
            (true, _) => format!(
                "identical: {} steps{}",
                self.steps_compared,
                if self.same_picture == Some(true) {
                    " and the picture"
                } else {
                    ""
                }
            ),
            (false, Some(step)) => format!("differs from step {step}{why}"),
            (false, None) if self.steps_compared > 0 && self.same_picture == Some(false) => {
                format!(
                    "the {} steps are the same, the pictures differ{why}",
                    self.steps_compared
                )
            }
            (false, None) if self.same_picture == Some(false) => {
                format!("the pictures differ{why}")
            }
            (false, None) => format!("nothing could be compared{why}"),
        }
    }
}

/// Compares two proofs step by step.
#[must_use]
pub fn compare(first: &Proof, second: &Proof) -> Verdict {
    let other: BTreeMap<u32, &ProofStep> =
        second.steps.iter().map(|step| (step.step, step)).collect();
    let (mut compared, mut differs) = (0, None);
    for step in &first.steps {
        let Some(same) = other.get(&step.step) else {
            continue;
        };
        compared += 1;
        if same.sha256 != step.sha256 {
            differs = Some((step, *same));
            break;
        }
    }
    let same_picture = first
        .picture_sha256
        .as_ref()
        .zip(second.picture_sha256.as_ref())
        .map(|(a, b)| a == b);
    let identical = differs.is_none()
        && same_picture != Some(false)
        && (compared > 0 || same_picture == Some(true));
    let mut reasons = Vec::new();
    if !identical {
        settings(first, second, &mut reasons);
        let mut name = |what: &str, a: Option<&String>, b: Option<&String>| {
            if let (Some(a), Some(b)) = (a, b)
                && a != b
            {
                reasons.push(format!("other {what} ({a}; {b})"));
            }
        };
        let taken = differs.map(|(a, b)| (a.device.as_ref(), b.device.as_ref()));
        let (a, b) = taken.unwrap_or_default();
        name(
            "device",
            a.or(first.device.as_ref()),
            b.or(second.device.as_ref()),
        );
        name(
            "executor",
            first.executor.as_ref(),
            second.executor.as_ref(),
        );
        name("build", first.build.as_ref(), second.build.as_ref());
        let known = first.device.is_some() && second.device.is_some();
        if reasons.is_empty() && known && (compared > 0 || same_picture.is_some()) {
            reasons.push("same settings, device, executor and build: one of the two is damaged, or the device does not compute the same twice".into());
        }
    }
    Verdict {
        identical,
        differs_from_step: differs.map(|(step, _)| step.step),
        steps_compared: compared,
        same_picture,
        reasons,
    }
}

/// Which settings differ.
fn settings(first: &Proof, second: &Proof, reasons: &mut Vec<String>) {
    const NOTHING: [&str; 5] = ["keep_latents", "preview", "trace", "template", "model"];
    let of = |proof: &Proof| -> serde_json::Map<String, Value> {
        let request = proof
            .request
            .as_ref()
            .and_then(|request| request.get("image"));
        request
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    let (a, b) = (of(first), of(second));
    if a.is_empty() || b.is_empty() {
        return;
    }
    let model = |map: &serde_json::Map<String, Value>, key: &str| {
        map.get("model").and_then(|model| model.get(key)).cloned()
    };
    let hashes = (model(&a, "hash"), model(&b, "hash"));
    let other_model = match hashes {
        (Some(a), Some(b)) => a != b,
        _ => model(&a, "name") != model(&b, "name"),
    };
    let mut names: Vec<&str> = a
        .keys()
        .chain(b.keys())
        .map(String::as_str)
        .filter(|key| !NOTHING.contains(key) && a.get(*key) != b.get(*key))
        .collect();
    if other_model {
        names.push("model");
    }
    names.sort_unstable();
    names.dedup();
    if !names.is_empty() {
        let names: Vec<String> = names.iter().map(|name| name.replace('_', " ")).collect();
        reasons.push(format!("other settings ({})", names.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(hashes: &[&str], device: &str, picture: &str) -> Proof {
        Proof {
            device: Some(device.into()),
            executor: Some("cpu".into()),
            build: Some("1".into()),
            request: Some(serde_json::json!({"image": {"seed": 1, "model": {"name": "m"}}})),
            steps: (0..)
                .zip(hashes)
                .map(|(step, hash)| ProofStep {
                    step,
                    sha256: (*hash).into(),
                    device: None,
                })
                .collect(),
            picture_sha256: Some(picture.into()),
            ..Proof::default()
        }
    }

    #[test]
    fn what_differs_is_told_from_its_first_step_on_and_why() {
        let first = proof(&["a", "b", "c"], "one", "p");
        assert_eq!(
            compare(&first, &first).told(),
            "identical: 3 steps and the picture"
        );
        let other = proof(&["a", "x", "y"], "two", "q");
        assert_eq!(
            compare(&first, &other).told(),
            "differs from step 1: other device (one; two)"
        );
        let mut seed = proof(&["z"], "one", "q");
        seed.request = Some(serde_json::json!({"image": {"seed": 2, "model": {"name": "m"}}}));
        assert_eq!(
            compare(&first, &seed).told(),
            "differs from step 0: other settings (seed)"
        );
        let same = compare(&first, &proof(&["a", "x"], "one", "p")).told();
        assert!(same.contains("does not compute the same twice"), "{same}");
        // A run that went on elsewhere in the middle.
        let mut moved = proof(&["a", "x"], "one", "q");
        moved.steps[1].device = Some("three".into());
        let told = compare(&first, &moved).told();
        assert_eq!(told, "differs from step 1: other device (one; three)");
        let bare = |picture: &str| Proof {
            picture_sha256: Some(picture.into()),
            ..Proof::default()
        };
        assert_eq!(
            compare(&bare("p"), &first).told(),
            "identical: the same picture"
        );
        assert!(!compare(&bare("q"), &first).identical);
        assert!(!compare(&Proof::default(), &first).identical);
    }
}
