//! Upscalers of the ESRGAN family: which network a file holds, told by its tensors, and its layers under BasicSR's names.
//!
//! Three sets of names are in use for the same network: those of the first ESRGAN, where everything is a numbered sequence; those of the
//! second (`RRDB_trunk`, `upconv1`), which BSRGAN has too; and those of BasicSR and Real-ESRGAN.

use std::path::Path;

use super::error::FormatError;
use super::safetensors::read_any;
use super::weights::{TensorData, WeightMap};

/// Most doublings of the size; real files have up to three.
const MOST_DOUBLINGS: usize = 4;

/// The shape of an ESRGAN generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RrdbConfig {
    /// Squares of so many pixels are folded into channels first.
    pub unshuffle: usize,
    /// Channels.
    pub width: usize,
    /// Channels that each convolution of a dense block adds.
    pub growth: usize,
    /// Blocks.
    pub blocks: usize,
    /// How often the size is doubled.
    pub doublings: usize,
}

/// The shape of Real-ESRGAN's small network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactConfig {
    /// Channels.
    pub width: usize,
    /// Convolutions between the first and the last.
    pub layers: usize,
    /// Pixels made of each, in each direction.
    pub scale: usize,
}

/// Which network a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpscalerConfig {
    /// ESRGAN's generator.
    Rrdb(RrdbConfig),
    /// Real-ESRGAN's small network.
    Compact(CompactConfig),
}

impl UpscalerConfig {
    /// Pixels made of each, in each direction.
    #[must_use]
    pub fn scale(self) -> usize {
        match self {
            Self::Rrdb(c) => (1 << c.doublings) / c.unshuffle.max(1),
            Self::Compact(c) => c.scale,
        }
    }

    /// What sides of pictures must be multiples of.
    #[must_use]
    pub fn multiple(self) -> usize {
        match self {
            Self::Rrdb(c) => c.unshuffle.max(1),
            Self::Compact(_) => 1,
        }
    }

    /// In words: `ESRGAN x4, 23 blocks`.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Rrdb(c) => format!("ESRGAN x{}, {} blocks", self.scale(), c.blocks),
            Self::Compact(c) => format!("Real-ESRGAN compact x{}, {} layers", c.scale, c.layers),
        }
    }
}

/// An upscaler's network and its weights by BasicSR's names.
#[derive(Clone, Debug)]
pub struct UpscalerFile {
    /// Which network.
    pub config: UpscalerConfig,
    /// The weights.
    pub weights: WeightMap,
}

/// Whether tensors are those of an upscaler, as far as a few names tell.
#[must_use]
pub fn is_upscaler(tensors: &WeightMap) -> bool {
    let plain = without_wrapper(tensors);
    let has = |name: &str| plain.contains(name);
    has("model.1.sub.0.RDB1.conv1.0.weight")
        || has("conv_first.weight")
            && (has("RRDB_trunk.0.RDB1.conv1.weight") || has("body.0.rdb1.conv1.weight"))
        || is_compact(&plain)
}

/// Numbered convolutions, a slope for each channel after the first, and nothing else.
fn is_compact(tensors: &WeightMap) -> bool {
    let dims = |name: &str| tensors.get(name).map_or(0, |tensor| tensor.shape().len());
    dims("body.0.weight") == 4
        && dims("body.1.weight") == 1
        && tensors.names().all(|name| name.starts_with("body."))
}

/// Training on several devices puts `module.` before all names.
fn without_wrapper(tensors: &WeightMap) -> WeightMap {
    let wrapped = tensors.names().all(|name| name.starts_with("module."));
    if wrapped {
        tensors.filter_prefix("module.")
    } else {
        tensors.clone()
    }
}

/// Opens a file.
///
/// # Errors
/// All faults of the file; networks that are not known, by name.
pub fn open_upscaler(path: &Path) -> Result<UpscalerFile, FormatError> {
    from_tensors(path, &read_any(path)?.tensors)
}

/// As [`open_upscaler`], of tensors that were read; `path` is named in messages.
///
/// # Errors
/// As [`open_upscaler`], without the faults of the file.
pub fn from_tensors(path: &Path, tensors: &WeightMap) -> Result<UpscalerFile, FormatError> {
    let tensors = without_wrapper(tensors);
    if !is_upscaler(&tensors) {
        return Err(FormatError::UnsupportedModel {
            path: path.into(),
            what: "no upscaler that is known".into(),
            remedy: "use one of the ESRGAN family (RRDBNet or SRVGGNetCompact)".into(),
        });
    }
    if is_compact(&tensors) {
        return compact(path, tensors);
    }
    if let Some(name) = tensors.names().find(|name| name.contains(".conv1x1.")) {
        return Err(FormatError::UnsupportedModel {
            path: path.into(),
            what: format!("an ESRGAN+ (it has `{name}`)"),
            remedy: "use an ESRGAN or Real-ESRGAN".into(),
        });
    }
    let mut weights = WeightMap::new(path);
    let doublings = tensors
        .names()
        .filter_map(|name| name.strip_prefix("model."))
        .filter_map(|name| name.strip_suffix(".weight")?.parse::<usize>().ok())
        .collect::<Vec<_>>();
    let layout = Old::new(&doublings);
    for (name, tensor) in tensors.iter() {
        let name = match name.strip_prefix("model.") {
            Some(rest) => layout.name(rest, &tensors),
            None => Some(trunk_name(name)),
        };
        if let Some(name) = name {
            weights.insert(name.as_str(), tensor.renamed(&name));
        }
    }
    let config = rrdb(path, &weights)?;
    Ok(UpscalerFile {
        config: UpscalerConfig::Rrdb(config),
        weights,
    })
}

/// The numbers of the convolutions of the first ESRGAN's sequence that are not in its body: those after each doubling, and
/// the last two.
struct Old {
    doublings: Vec<usize>,
    last: Option<[usize; 2]>,
}

impl Old {
    fn new(numbers: &[usize]) -> Self {
        let mut numbers: Vec<usize> = numbers.iter().copied().filter(|n| *n > 1).collect();
        numbers.sort_unstable();
        let last = match numbers
            .split_off(numbers.len().saturating_sub(2))
            .as_slice()
        {
            &[hr, last] => Some([hr, last]),
            _ => None,
        };
        Self {
            doublings: numbers,
            last,
        }
    }

    fn name(&self, rest: &str, tensors: &WeightMap) -> Option<String> {
        let (head, leaf) = rest.rsplit_once('.')?;
        if let Some(body) = head.strip_prefix("1.sub.") {
            let mut parts = body.split('.');
            let number = parts.next()?;
            let Some(dense) = parts.next() else {
                // The convolution after the last block is counted like a block.
                let next = number.parse::<usize>().ok()?.checked_add(1)?;
                let ends = !tensors.has_prefix(&format!("model.1.sub.{next}."));
                return ends.then(|| format!("conv_body.{leaf}"));
            };
            let conv = parts.next()?;
            return Some(format!(
                "body.{number}.{}.{conv}.{leaf}",
                dense.to_lowercase()
            ));
        }
        let number: usize = head.parse().ok()?;
        if number == 0 {
            return Some(format!("conv_first.{leaf}"));
        }
        if let Some([hr, last]) = self.last {
            if number == hr {
                return Some(format!("conv_hr.{leaf}"));
            }
            if number == last {
                return Some(format!("conv_last.{leaf}"));
            }
        }
        let step = self.doublings.iter().position(|known| *known == number)?;
        Some(format!("conv_up{}.{leaf}", step + 1))
    }
}

/// The second set of names in those of BasicSR, which are left as they are.
fn trunk_name(name: &str) -> String {
    const NAMES: [(&str, &str); 5] = [
        ("RRDB_trunk.", "body."),
        ("trunk_conv.", "conv_body."),
        ("upconv1.", "conv_up1."),
        ("upconv2.", "conv_up2."),
        ("HRconv.", "conv_hr."),
    ];
    for (old, new) in NAMES {
        if let Some(rest) = name.strip_prefix(old) {
            return format!("{new}{}", rest.replace(".RDB", ".rdb"));
        }
    }
    name.to_owned()
}

fn kernel<'a>(path: &Path, weights: &'a WeightMap, name: &str) -> Result<&'a [usize], FormatError> {
    let found = weights.get(name).map(TensorData::shape);
    found
        .filter(|shape| shape.len() == 4 && !shape.contains(&0))
        .ok_or_else(|| FormatError::MissingTensor {
            path: path.into(),
            tensor: name.into(),
            wanted: vec![],
        })
}

fn rrdb(path: &Path, weights: &WeightMap) -> Result<RrdbConfig, FormatError> {
    let first = kernel(path, weights, "conv_first.weight")?;
    let refused = |what: String| FormatError::UnsupportedModel {
        path: path.into(),
        what,
        remedy: "use an upscaler that takes and gives pictures of three colours".into(),
    };
    let unshuffle = match first[1] {
        3 => 1,
        12 => 2,
        48 => 4,
        other => return Err(refused(format!("an ESRGAN that takes {other} channels"))),
    };
    let last = kernel(path, weights, "conv_last.weight")?;
    if last[0] != 3 {
        return Err(refused(format!(
            "an ESRGAN that gives {} channels",
            last[0]
        )));
    }
    let count = |prefix: &str, first: usize| {
        (first..=weights.len())
            .take_while(|n| weights.has_prefix(&format!("{prefix}{n}.")))
            .count()
    };
    let doublings = count("conv_up", 1);
    if doublings > MOST_DOUBLINGS || 1 << doublings < unshuffle {
        return Err(refused(format!(
            "an ESRGAN that doubles the size {doublings} times"
        )));
    }
    Ok(RrdbConfig {
        unshuffle,
        width: first[0],
        growth: kernel(path, weights, "body.0.rdb1.conv1.weight")?[0],
        blocks: count("body.", 0),
        doublings,
    })
}

fn compact(path: &Path, weights: WeightMap) -> Result<UpscalerFile, FormatError> {
    let numbers = weights
        .names()
        .filter_map(|name| name.strip_prefix("body.")?.split('.').next()?.parse().ok());
    let last: usize = numbers.max().unwrap_or(0);
    let width = kernel(path, &weights, "body.0.weight")?[0];
    let made = kernel(path, &weights, &format!("body.{last}.weight"))?[0];
    // Three colours for each of the pixels that one becomes.
    let scale = (1..=16).find(|scale| 3 * scale * scale == made);
    let (Some(scale), true) = (scale, last >= 2 && last.is_multiple_of(2)) else {
        return Err(FormatError::UnsupportedModel {
            path: path.into(),
            what: format!("a network whose last layer, {last}, makes {made} channels"),
            remedy: "use one that takes and gives pictures of three colours".into(),
        });
    };
    Ok(UpscalerFile {
        config: UpscalerConfig::Compact(CompactConfig {
            width,
            layers: last / 2 - 1,
            scale,
        }),
        weights,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(shapes: &[(&str, &[usize])]) -> WeightMap {
        let mut map = WeightMap::new("up.pth");
        for (name, shape) in shapes {
            let values = vec![0.0; shape.iter().product()];
            map.insert(*name, TensorData::from_f32(name, shape, &values).unwrap());
        }
        map
    }

    #[test]
    fn other_networks_are_refused_by_name() {
        let path = Path::new("up.pth");
        let base: [(&str, &[usize]); 3] = [
            ("conv_first.weight", &[4, 5, 3, 3]),
            ("body.0.rdb1.conv1.weight", &[2, 4, 3, 3]),
            ("conv_last.weight", &[3, 4, 3, 3]),
        ];
        let plus: [(&str, &[usize]); 2] = [
            ("model.1.sub.0.RDB1.conv1.0.weight", &[2, 4, 3, 3]),
            ("model.1.sub.0.RDB1.conv1x1.weight", &[2, 4, 1, 1]),
        ];
        let odd: [(&str, &[usize]); 3] = [
            ("body.0.weight", &[4, 3, 3, 3]),
            ("body.1.weight", &[4]),
            ("body.2.weight", &[5, 4, 3, 3]),
        ];
        let none: [(&str, &[usize]); 1] = [("head.weight", &[4])];
        for (shapes, word) in [
            (&base[..], "5 channels"),
            (&plus[..], "ESRGAN+"),
            (&odd[..], "5 channels"),
            (&none[..], "no upscaler"),
        ] {
            let error = from_tensors(path, &file(shapes)).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("up.pth"), "{error}");
        }
    }
}
