//! Textual inversion (Gal et al. 2022, "An Image is Worth One Word"): learnt words for text encoders, in the forms in which they are found.
//!
//! AUTOMATIC1111 writes `emb_params`, or a `string_to_param` with one entry; for Stable Diffusion XL there are `clip_l` and `clip_g`; diffusers writes one tensor
//! under the word itself.

use std::path::{Path, PathBuf};

use super::error::FormatError;
use super::lora::family_of_width;
use super::safetensors::read_any;
use super::weights::{TensorData, WeightMap};

/// Most vectors of a word; a sequence has 75 places.
const MOST_VECTORS: usize = 75;
/// Widths of text encoders, by which a lone tensor of any name is known.
const WIDTHS: [usize; 3] = [768, 1024, 1280];

/// A learnt word for one text encoder: `count` vectors of `width`, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    /// Width of the text encoder.
    pub width: usize,
    /// Number of vectors.
    pub count: usize,
    /// `count * width` values.
    pub values: Vec<f32>,
}

/// A learnt word.
#[derive(Clone, Debug)]
pub struct Embedding {
    path: PathBuf,
    /// For a model's only text encoder, or its first.
    first: Vectors,
    /// For the second, in Stable Diffusion XL.
    second: Option<Vectors>,
}

/// Whether tensors are those of a learnt word, as far as names and shapes tell.
#[must_use]
pub fn is_embedding(tensors: &WeightMap) -> bool {
    let has = |name: &str| tensors.contains(name);
    if has("emb_params") || has("clip_l") || has("clip_g") || tensors.has_prefix("string_to_param.")
    {
        return true;
    }
    let mut all = tensors.iter();
    let (Some((name, tensor)), None) = (all.next(), all.next()) else {
        return false;
    };
    let shape = tensor.shape();
    let width = shape.last().copied().unwrap_or(0);
    let in_brackets = name.starts_with('<') && name.ends_with('>');
    (1..=2).contains(&shape.len())
        && (WIDTHS.contains(&width) || in_brackets)
        && (shape.len() == 1 || shape.first().is_some_and(|count| *count <= MOST_VECTORS))
}

impl Embedding {
    /// Reads a file.
    ///
    /// # Errors
    /// All faults of the file; files that hold no learnt word.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        Self::from_tensors(path, &read_any(path)?.tensors)
    }

    /// As [`Self::open`], of tensors that were read; `path` is named in messages.
    ///
    /// # Errors
    /// As [`Self::open`], without the faults of the file.
    pub fn from_tensors(path: &Path, tensors: &WeightMap) -> Result<Self, FormatError> {
        if !is_embedding(tensors) {
            return Err(FormatError::UnknownFormat {
                path: path.into(),
                reason: "it holds no textual inversion embedding".into(),
            });
        }
        let vectors = |name: &str| tensors.get(name).map(|tensor| vectors(path, tensor));
        let (first, second) = match (vectors("clip_l"), vectors("clip_g")) {
            (Some(first), Some(second)) => (first?, Some(second?)),
            (Some(only), None) | (None, Some(only)) => (only?, None),
            (None, None) => {
                let found = tensors.get("emb_params").or_else(|| {
                    let word = |name: &str| name.starts_with("string_to_param.");
                    let named = tensors.iter().find(|(name, _)| word(name));
                    named.or_else(|| tensors.iter().next()).map(|(_, t)| t)
                });
                match found {
                    Some(tensor) => (self::vectors(path, tensor)?, None),
                    None => {
                        return Err(FormatError::UnknownFormat {
                            path: path.into(),
                            reason: "it holds no tensor".into(),
                        });
                    }
                }
            }
        };
        if let Some(second) = &second
            && second.count != first.count
        {
            return Err(FormatError::InvalidConfig {
                path: path.into(),
                key: "clip_g".into(),
                reason: format!(
                    "has {} vectors, and clip_l {}; they must be as many",
                    second.count, first.count
                ),
            });
        }
        Ok(Self {
            path: path.into(),
            first,
            second,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Vectors for each text encoder.
    #[must_use]
    pub fn parts(&self) -> Vec<&Vectors> {
        std::iter::once(&self.first).chain(&self.second).collect()
    }

    /// How many tokens it takes the place of.
    #[must_use]
    pub fn count(&self) -> usize {
        self.first.count
    }

    /// For what it was made, in words: `SD 1.5`, or how wide it is.
    #[must_use]
    pub fn made_for(&self) -> String {
        match (&self.second, family_of_width(self.first.width)) {
            (Some(_), _) => "SDXL".into(),
            // 1280 alone is SDXL's second text encoder, which its refiner has too.
            (None, Some(family)) => family.into(),
            (None, None) => format!("a text encoder {} wide", self.first.width),
        }
    }
}

fn vectors(path: &Path, tensor: &TensorData) -> Result<Vectors, FormatError> {
    let (count, width) = match *tensor.shape() {
        [width] => (1, width),
        [count, width] => (count, width),
        _ => (0, 0),
    };
    if count == 0 || width == 0 || count > MOST_VECTORS {
        return Err(FormatError::InvalidConfig {
            path: path.into(),
            key: tensor.name().into(),
            reason: format!(
                "has the shape {:?}; needed are 1 to {MOST_VECTORS} vectors",
                tensor.shape()
            ),
        });
    }
    let values = tensor.to_f32()?;
    if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
        return Err(FormatError::InvalidConfig {
            path: path.into(),
            key: tensor.name().into(),
            reason: format!("holds {bad}; train or download it again"),
        });
    }
    Ok(Vectors {
        width,
        count,
        values,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(shapes: &[(&str, &[usize])]) -> WeightMap {
        let mut map = WeightMap::new("word.pt");
        for (name, shape) in shapes {
            let values = vec![0.5; shape.iter().product()];
            map.insert(*name, TensorData::from_f32(name, shape, &values).unwrap());
        }
        map
    }

    fn open(shapes: &[(&str, &[usize])]) -> Result<Embedding, FormatError> {
        Embedding::from_tensors(Path::new("word.pt"), &file(shapes))
    }

    #[test]
    fn all_forms_are_read() {
        for (shapes, count, made_for) in [
            (&[("emb_params", &[3usize, 768][..])][..], 3, "SD 1.5"),
            (&[("string_to_param.*", &[2, 1024])], 2, "SD 2.x"),
            (&[("<cat-toy>", &[768])], 1, "SD 1.5"),
            (&[("clip_l", &[2, 768]), ("clip_g", &[2, 1280])], 2, "SDXL"),
            (&[("anything", &[4, 768])], 4, "SD 1.5"),
        ] {
            let word = open(shapes).unwrap();
            assert_eq!(word.count(), count);
            assert_eq!(word.made_for(), made_for);
        }
    }

    #[test]
    fn faulty_files_are_refused_by_name() {
        for (shapes, word) in [
            (&[("emb_params", &[1000usize, 768][..])][..], "vectors"),
            (&[("emb_params", &[2, 2, 768])], "vectors"),
            (&[("clip_l", &[2, 768]), ("clip_g", &[3, 1280])], "as many"),
            (&[("noise", &[5])], "no textual inversion"),
        ] {
            let error = open(shapes).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("word.pt"), "{error}");
        }
    }
}
