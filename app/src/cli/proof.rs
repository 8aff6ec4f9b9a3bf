//! `diptych proof`: whether two pictures are the same step by step, and from where on they are not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use diptych_inference::engine::{Event, ImageRequest, Request};
use diptych_inference::formats::trace::{Trace, is_trace};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::args::Global;
use super::client::{Client, Ending, check_readable};
use super::error::{CliError, Result};
use super::from;
use super::interrupt::Interrupts;
use super::models;
use super::out;
use super::progress::Progress;
use super::save::{self, Existing};
use super::short::picture_of;
use super::trace::{blobs_in, hex, picture_hash, request_in};
use crate::library::files;
use crate::origin::build;
use crate::pictures;

const FORMAT: &str = "diptych proof";
const VERSION: u32 = 1;
/// Largest file of a proof.
const MOST_BYTES: u64 = 64 << 20;

/// `diptych proof`.
#[derive(Clone, Debug, Args)]
pub struct ProofArgs {
    /// A proof (draw --proof), a trace (draw --trace) or a picture
    pub first: PathBuf,
    /// What it is compared with; without it, it is drawn again
    pub second: Option<PathBuf>,
    /// The model to draw again with, where it is not among those of 'diptych models'
    #[arg(short, long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// The hashes of a picture's steps, and what they were computed by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Proof {
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
    /// An empty proof of what a client draws.
    pub fn new(client: &Client, request: &ImageRequest) -> Result<Self> {
        Ok(Self {
            format: FORMAT.into(),
            version: VERSION,
            build: Some(build()),
            executor: Some(client.executor().to_owned()),
            device: Some(client.device().to_owned()),
            request: Some(
                serde_json::to_value(Request::Image(request.clone())).map_err(CliError::failed)?,
            ),
            ..Self::default()
        })
    }

    /// Takes the hash of a step.
    pub fn watch(&mut self, event: &Event, device: Option<&String>) {
        if let Event::TraceStep { index, sha256, .. } = event {
            self.steps.push(ProofStep {
                step: *index,
                sha256: hex(sha256),
                device: device.cloned(),
            });
        }
    }

    /// The picture is done.
    pub fn finish(&mut self, picture_sha256: String) {
        self.picture_sha256 = Some(picture_sha256);
    }

    /// Writes the proof.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(CliError::failed)?;
        bytes.push(b'\n');
        save::write(path, &bytes, Existing::Replace).map(|_| ())
    }

    /// The proof in a file: of its own, of a trace, or of a picture, which has no steps.
    fn read(path: &Path) -> Result<Self> {
        check_readable(path)?;
        if is_trace(path) {
            let trace = Trace::open(path).map_err(CliError::failed)?;
            let head = trace.head().clone();
            let steps = trace.steps().map(|step| ProofStep {
                step: step.index,
                sha256: step.sha256.clone(),
                device: step.device.clone(),
            });
            return Ok(Self {
                format: FORMAT.into(),
                version: VERSION,
                build: Some(head.build),
                executor: Some(head.executor),
                device: Some(head.device),
                request: Some(head.request),
                steps: steps.collect(),
                picture_sha256: trace.end().map(|end| end.picture_sha256.clone()),
            });
        }
        let fault = |what: String| CliError::Failed(format!("{}: {what}", path.display()));
        let meta = std::fs::metadata(path).map_err(|error| CliError::at(path, "read", error))?;
        let mut start = [0; 1];
        let begins = std::fs::File::open(path)
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start));
        if begins.is_ok() && start == *b"{" {
            if meta.len() > MOST_BYTES {
                return Err(fault("this is larger than any proof".into()));
            }
            let bytes = std::fs::read(path).map_err(|error| CliError::at(path, "read", error))?;
            let proof: Self = serde_json::from_slice(&bytes)
                .map_err(|error| fault(format!("this is no proof of Diptych ({error})")))?;
            if proof.format != FORMAT || proof.version != VERSION {
                return Err(fault(format!(
                    "this is no proof of version {VERSION}; this program reads no other"
                )));
            }
            return Ok(proof);
        }
        let pixels = pictures::read(path)?;
        let told = files::told(path).map(|told| Request::Image(told.request));
        Ok(Self {
            format: FORMAT.into(),
            version: VERSION,
            request: told.and_then(|request| serde_json::to_value(request).ok()),
            picture_sha256: Some(hex(&<sha2::Sha256 as sha2::Digest>::digest(&pixels.rgb))),
            ..Self::default()
        })
    }
}

/// What a comparison found.
#[derive(Debug, PartialEq, Serialize)]
struct Verdict {
    identical: bool,
    /// The first step whose latents differ; none if none was compared that does.
    differs_from_step: Option<u32>,
    /// Steps compared.
    steps_compared: usize,
    /// Whether the pictures are the same, where both tell.
    same_picture: Option<bool>,
    /// What differs between the two beside, in a person's words.
    reasons: Vec<String>,
}

/// Compares.
///
/// # Errors
/// Files that are no proofs; pictures that differ (exit code 1).
pub fn run(global: &Global, args: &ProofArgs) -> Result<()> {
    let first = Proof::read(&args.first)?;
    let second = match &args.second {
        Some(path) => Proof::read(path)?,
        None => again(global, args, &first)?,
    };
    let verdict = compare(&first, &second);
    if args.json {
        out::json_pretty(&verdict)?;
    } else {
        out::line(&verdict.told())?;
    }
    if verdict.identical {
        Ok(())
    } else {
        Err(CliError::Said)
    }
}

impl Verdict {
    fn told(&self) -> String {
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

fn compare(first: &Proof, second: &Proof) -> Verdict {
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

/// Draws what a proof is of once more.
fn again(global: &Global, args: &ProofArgs, proof: &Proof) -> Result<Proof> {
    let untold = || {
        CliError::Failed(format!(
            "{}: it does not tell the settings to draw it again with; name a second file to compare it with",
            args.first.display()
        ))
    };
    let value = proof.request.clone().ok_or_else(untold)?;
    let trace = match is_trace(&args.first) {
        true => Some(Trace::open(&args.first).map_err(CliError::failed)?),
        false => None,
    };
    let mut request = match &trace {
        Some(trace) => request_in(trace, &value)?,
        None => match serde_json::from_value(value) {
            Ok(Request::Image(request)) => request,
            _ => return Err(untold()),
        },
    };
    let beside = request.init.is_some() || request.noise.is_some() || !request.controls.is_empty();
    if trace.is_none() && beside {
        return Err(CliError::Failed(format!(
            "{}: it was drawn over or guided by pictures (or noise) that are not kept with it, so it cannot be drawn again from it alone; \
             prove its trace (draw --trace), or name a second file to compare it with",
            args.first.display()
        )));
    }
    let known = models::known(global);
    let path = match &args.model {
        Some(path) => path.clone(),
        None => from::model_of(&known, &request, &args.first)?,
    };
    let mut progress = Progress::new(args.quiet);
    progress.passing("starting");
    let client = Client::start(global.engine_options()?, Interrupts::install()?)?;
    request.model.name = client.add_model(&path)?.0.name;
    from::prepare(&known, &client, &mut request)?;
    for blob in trace
        .as_ref()
        .map(blobs_in)
        .transpose()?
        .into_iter()
        .flatten()
    {
        client.send_blob(blob.name.0, blob.data)?;
    }
    (request.trace, request.preview, request.keep_latents) = (true, false, false);
    let mut second = Proof::new(&client, &request)?;
    let ending = client.run(Request::Image(request), |event| {
        progress.watch(event);
        second.watch(event, None);
        Ok(())
    });
    progress.clear();
    let Ending::Finished(outcome) = ending? else {
        return Err(CliError::Interrupted);
    };
    let (picture, _) = picture_of(outcome)?;
    second.finish(picture_hash(&picture));
    Ok(second)
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
