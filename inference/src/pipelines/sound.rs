//! Numbers that are none: what is told when a network makes NaN or infinities, which weight of which file is to blame, and what can be done about it.
//!
//! Every network's result is looked at where it is taken from the device; a picture of such numbers would be black, and nobody would be told why. Weights are
//! looked through only after that has happened, for a model's may be many gigabytes; except for those of networks that hide it (see [`check`]).

use std::fmt;
use std::path::{Path, PathBuf};

use super::image_model::ImageModel;
use super::{Context, JobError};
use crate::diffusion::DiffusionError;
use crate::engine::{ImageRequest, LoraUse, ModelRef};
use crate::formats::safetensors::read_any;
use crate::formats::{TensorData, WeightMap};

/// Elements of a weight that are looked at between two questions whether to stop.
const PIECE: usize = 1 << 22;

/// Which network made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// A text encoder.
    Words,
    /// The U-Net, in a step counted from 1 where that is known.
    Steps(Option<usize>),
    /// The autoencoder, of latents.
    Decoder,
    /// The autoencoder, of a picture.
    Encoder,
    /// An upscaler.
    Upscaler,
}

impl fmt::Display for Maker {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words => to.write_str("the text encoder made"),
            Self::Steps(Some(step)) => write!(to, "in step {step} the U-Net made"),
            Self::Steps(None) => to.write_str("the U-Net made"),
            Self::Decoder => to.write_str("the autoencoder made"),
            Self::Encoder => to.write_str("of the picture to begin from the autoencoder made"),
            Self::Upscaler => to.write_str("the upscaler made"),
        }
    }
}

impl Maker {
    /// What can be done where no weight is to blame, so that numbers grew too large on the way.
    fn remedy(self) -> &'static str {
        match self {
            Self::Words => {
                "its numbers overflowed; leave out LoRAs and learnt words, or use another copy of the model"
            }
            Self::Steps(_) => {
                "its numbers overflowed; choose less guidance or smaller weights of LoRAs and ControlNets, or use another copy of the model"
            }
            Self::Decoder => {
                "its numbers overflowed; try a VAE made for 16-bit numbers, or other settings"
            }
            Self::Encoder => "its numbers overflowed; use another VAE",
            Self::Upscaler => "its numbers overflowed; use another upscaler",
        }
    }
}

/// The first value that is no number, as the error that tells of it.
///
/// # Errors
/// [`JobError::NotNumbers`] if there is one.
pub fn require_numbers(values: &[f32], maker: Maker) -> Result<(), JobError> {
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(&value) => Err(JobError::NotNumbers {
            model: None,
            maker,
            value,
            reason: maker.remedy().to_owned(),
        }),
    }
}

impl JobError {
    /// With the name of the model whose network it was.
    pub(super) fn of_model(self, name: &str) -> Self {
        match self {
            Self::NotNumbers {
                model: None,
                maker,
                value,
                reason,
            } => Self::NotNumbers {
                model: Some(name.to_owned()),
                maker,
                value,
                reason,
            },
            other => other,
        }
    }
}

/// A weight that is no number.
#[derive(Clone, Debug, PartialEq)]
struct Fault {
    /// Its name.
    tensor: String,
    value: f32,
    /// The file that it lies in; none if it was made here, of a file's and what was added to it.
    file: Option<PathBuf>,
}

/// The first weight that is no number; `stop` is asked on the way, and if it says so nothing is found.
fn fault_of(weights: &WeightMap, stop: &mut dyn FnMut() -> bool) -> Option<Fault> {
    for (name, tensor) in weights.iter() {
        if !tensor.dtype().is_float_weight() {
            continue;
        }
        if let Some(value) = first_fault(tensor, stop)? {
            // Merged weights are no file's.
            let file = tensor.source();
            let file = file.is_absolute() || file.exists();
            return Some(Fault {
                tensor: name.to_owned(),
                value,
                file: file.then(|| tensor.source().to_owned()),
            });
        }
    }
    None
}

/// The first value of a tensor that is no number; nothing at all if it was stopped.
fn first_fault(tensor: &TensorData, stop: &mut dyn FnMut() -> bool) -> Option<Option<f32>> {
    let rows = tensor.shape().first().copied().unwrap_or(1).max(1);
    let row = (tensor.elements() / rows).max(1);
    let most = (PIECE / row).max(1);
    let mut first = 0;
    while first < rows {
        if stop() {
            return None;
        }
        let count = most.min(rows - first);
        // What cannot be cut into rows is read whole.
        let values = match tensor.rows_to_f32(first, count) {
            Ok(values) => values,
            Err(_) => {
                first = 0;
                tensor.to_f32().unwrap_or_default()
            }
        };
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Some(Some(*value));
        }
        if values.len() >= tensor.elements() {
            return Some(None);
        }
        first += count;
    }
    Some(None)
}

/// Refuses weights that are no numbers, of networks that would hide it: what is no number ends at a ReLU as 0, so that the result is a wrong picture
/// rather than none. They are small.
///
/// # Errors
/// [`JobError::Request`] with the name of the weight.
pub fn check(what: &str, path: &Path, weights: &WeightMap) -> Result<(), JobError> {
    match fault_of(weights, &mut || false) {
        None => Ok(()),
        Some(fault) => Err(JobError::Request(format!(
            "{}: a weight of this {what} is {} (`{}`): the file is damaged; fetch it again, or use another one",
            path.display(),
            fault.value,
            fault.tensor
        ))),
    }
}

/// What a picture's job was made with, to look for what is to blame.
pub struct Suspects<'a> {
    /// Its request.
    pub request: &'a ImageRequest,
    /// LoRAs of request and prompts.
    pub loras: Vec<LoraUse>,
    /// The model with all changes, if it was loaded.
    pub model: Option<&'a ImageModel>,
    /// ControlNets by name.
    pub nets: Vec<(&'a str, &'a WeightMap)>,
}

/// An error of a job, with the weight that is to blame for it where numbers are none; other errors as they are.
pub fn explained(context: &mut Context<'_>, suspects: &Suspects<'_>, error: JobError) -> JobError {
    let (model, maker, value) = match error {
        JobError::NotNumbers {
            model,
            maker,
            value,
            ..
        } => (model, maker, value),
        JobError::Diffusion(DiffusionError::NotFinite { step, value, .. }) => {
            (None, Maker::Steps(Some(step + 1)), value)
        }
        error => return error,
    };
    let reason = to_blame(context, suspects, maker);
    JobError::NotNumbers {
        model: model.or_else(|| Some(suspects.request.model.name.clone())),
        maker,
        value,
        reason: reason.unwrap_or_else(|| maker.remedy().to_owned()),
    }
}

/// Which weight is to blame, and what to do; none where all are numbers.
fn to_blame(context: &mut Context<'_>, suspects: &Suspects<'_>, maker: Maker) -> Option<String> {
    let request = suspects.request;
    let draws = matches!(maker, Maker::Words | Maker::Steps(_));
    // What was added comes first: merged with it, the model's own weights are no numbers either.
    let mut files: Vec<(&str, &ModelRef)> = Vec::new();
    if draws {
        let used = suspects.loras.iter().filter(|lora| lora.weight != 0.0);
        files.extend(used.map(|lora| ("LoRA", &lora.model)));
        files.extend(request.embeddings.iter().map(|word| ("embedding", word)));
    }
    for (what, model) in files {
        let Ok((path, _)) = context.store.registry_mut().find(model) else {
            continue;
        };
        let path = path.to_owned();
        let Ok(file) = read_any(&path) else {
            continue;
        };
        if let Some(fault) = fault_of(&file.tensors, &mut || context.interrupt.poll()) {
            return Some(format!(
                "the {what} '{}' is damaged: its weight `{}` is {}; leave it out, or fetch it again",
                model.name, fault.tensor, fault.value
            ));
        }
    }
    for (name, weights) in &suspects.nets {
        if !matches!(maker, Maker::Steps(_)) {
            break;
        }
        if let Some(fault) = fault_of(weights, &mut || context.interrupt.poll()) {
            return Some(damaged(&format!("the ControlNet '{name}'"), &fault));
        }
    }
    let model = suspects.model?;
    let parts: Vec<(String, &WeightMap)> = match maker {
        Maker::Words => {
            let second = model.second_text();
            let second =
                second.map(|text| ("its second text encoder".to_owned(), text.encoder.weights()));
            std::iter::once((
                "its text encoder".to_owned(),
                model.text_encoder().weights(),
            ))
            .chain(second)
            .collect()
        }
        Maker::Steps(_) => vec![("its U-Net".to_owned(), model.unet().weights())],
        Maker::Decoder | Maker::Encoder => {
            let whose = match &request.vae {
                Some(vae) => format!("the VAE '{}'", vae.name),
                None => "its autoencoder".to_owned(),
            };
            vec![(whose, model.vae().weights())]
        }
        Maker::Upscaler => Vec::new(),
    };
    for (part, weights) in parts {
        if let Some(fault) = fault_of(weights, &mut || context.interrupt.poll()) {
            return Some(damaged(&part, &fault));
        }
    }
    None
}

/// What to do about a weight that is no number.
fn damaged(part: &str, fault: &Fault) -> String {
    let Fault {
        tensor,
        value,
        file,
    } = fault;
    match file {
        Some(file) => format!(
            "{part} is damaged: its weight `{tensor}` is {value}; fetch {} again, or use another copy",
            file.display()
        ),
        None => format!(
            "with the LoRAs that were added its weight `{tensor}` became {value}; add less of them"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::StorageDtype;

    fn weights(values: &[f32]) -> WeightMap {
        let mut map = WeightMap::new("m.safetensors");
        let good = TensorData::from_f32("a", &[2, 2], &[1.0; 4]).unwrap();
        map.insert("a", good);
        let shape = [values.len()];
        map.insert("b", TensorData::from_f32("b", &shape, values).unwrap());
        let ids = TensorData::new_owned("ids", &[1], StorageDtype::I64, vec![255; 8]).unwrap();
        map.insert("ids", ids);
        map
    }

    #[test]
    fn the_weight_to_blame_is_named() {
        assert_eq!(fault_of(&weights(&[1.0, -65504.0]), &mut || false), None);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let map = weights(&[1.0, bad, 2.0]);
            let fault = fault_of(&map, &mut || false).unwrap();
            assert_eq!((fault.tensor.as_str(), fault.file), ("b", None));
            assert_eq!(fault.value.to_bits(), bad.to_bits());
            assert_eq!(fault_of(&map, &mut || true), None, "it was stopped");
            let told = check("VAE", Path::new("m.safetensors"), &map).unwrap_err();
            let told = told.to_string();
            assert!(
                told.contains("`b`") && told.contains("m.safetensors"),
                "{told}"
            );
        }
        // As 16 bits, and in 8.
        for (dtype, bytes) in [
            (StorageDtype::F16, vec![0, 0x3c, 0, 0x7e]),
            (StorageDtype::Bf16, vec![0x80, 0x3f, 0xc0, 0x7f]),
            (StorageDtype::F8E4m3, vec![0x38, 0x7f]),
        ] {
            let mut map = WeightMap::new("m");
            map.insert(
                "w",
                TensorData::new_owned("w", &[1, 2], dtype, bytes).unwrap(),
            );
            assert!(fault_of(&map, &mut || false).is_some(), "{dtype:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_told_with_its_maker() {
        assert!(require_numbers(&[0.0, 1e30], Maker::Decoder).is_ok());
        let told = |maker| {
            require_numbers(&[0.0, f32::NAN], maker)
                .unwrap_err()
                .to_string()
        };
        assert!(told(Maker::Words).starts_with("the text encoder made NaN"));
        assert!(told(Maker::Steps(Some(3))).starts_with("in step 3 the U-Net made NaN"));
        assert!(told(Maker::Decoder).contains("VAE made for 16-bit"));
    }
}
