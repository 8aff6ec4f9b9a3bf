//! Reads `config.json` of a model: every number bounded, every fault named with its key.
//!
//! Unknown keys are of two kinds. Those that change the architecture are refused by name where a model is not written for
//! them ([`ConfigReader::refuse`]); all others (training settings, names, versions) are none of our business.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::formats::FormatError;
use crate::graph::Activation;

type Result<T> = std::result::Result<T, FormatError>;

/// Most that any width, count or size in a configuration may be. It keeps arithmetic on sizes far from overflow.
pub const LARGEST: usize = 1 << 24;

/// One JSON object of configuration, with the file it came from for messages.
pub struct ConfigReader<'a> {
    path: PathBuf,
    values: &'a Map<String, Value>,
}

impl<'a> ConfigReader<'a> {
    /// Reads from `value`, which came from `path`.
    ///
    /// # Errors
    /// If it is not an object.
    pub fn new(path: &Path, value: &'a Value) -> Result<Self> {
        let values = value
            .as_object()
            .ok_or_else(|| FormatError::InvalidConfig {
                path: path.into(),
                key: "(whole file)".into(),
                reason: "is not a JSON object".into(),
            })?;
        Ok(Self {
            path: path.into(),
            values,
        })
    }

    /// An error about a key.
    #[must_use]
    pub fn invalid(&self, key: &str, reason: impl Into<String>) -> FormatError {
        FormatError::InvalidConfig {
            path: self.path.clone(),
            key: key.into(),
            reason: reason.into(),
        }
    }

    /// An error that names a model which is known but cannot be run.
    #[must_use]
    pub fn unsupported(&self, what: impl Into<String>, remedy: impl Into<String>) -> FormatError {
        FormatError::UnsupportedModel {
            path: self.path.clone(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// The value of a key, if it is there and not null.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    /// The object of a key, if it is there.
    ///
    /// # Errors
    /// If it is something else.
    pub fn object(&self, key: &str) -> Result<Option<ConfigReader<'a>>> {
        self.get(key)
            .map(|value| {
                Self::new(&self.path, value).map_err(|_| self.invalid(key, "is not an object"))
            })
            .transpose()
    }

    fn number(&self, key: &str, value: &Value, least: usize) -> Result<usize> {
        value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| (least..=LARGEST).contains(n))
            .ok_or_else(|| {
                self.invalid(
                    key,
                    format!("is {value}, needed is a whole number from {least} to {LARGEST}"),
                )
            })
    }

    /// A count or size of at least 1.
    ///
    /// # Errors
    /// If it is missing and there is no default, no whole number, or beyond [`LARGEST`].
    pub fn size(&self, key: &str, default: Option<usize>) -> Result<usize> {
        match (self.get(key), default) {
            (Some(value), _) => self.number(key, value, 1),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.invalid(key, "is missing")),
        }
    }

    /// How often something is there, such as layers: a list of so many entries takes no memory worth a word.
    ///
    /// # Errors
    /// As [`Self::size`], or above `most`.
    pub fn count(&self, key: &str, most: usize, default: Option<usize>) -> Result<usize> {
        let count = self.size(key, default)?;
        if count > most {
            return Err(self.invalid(key, format!("is {count}, at most {most} are allowed")));
        }
        Ok(count)
    }

    /// A whole number that may be 0.
    ///
    /// # Errors
    /// As [`Self::size`].
    pub fn whole(&self, key: &str, default: usize) -> Result<usize> {
        self.get(key)
            .map_or(Ok(default), |value| self.number(key, value, 0))
    }

    /// One size, or a list with one for each of `n` blocks.
    ///
    /// # Errors
    /// As [`Self::size`], or if the list has another length.
    pub fn sizes(&self, key: &str, n: usize, default: Option<usize>) -> Result<Vec<usize>> {
        let Some(Value::Array(list)) = self.get(key) else {
            return Ok(vec![self.size(key, default)?; n]);
        };
        if list.len() != n {
            return Err(self.invalid(key, format!("has {} entries for {n} blocks", list.len())));
        }
        list.iter()
            .map(|value| self.number(key, value, 1))
            .collect()
    }

    /// A list of sizes, one at least.
    ///
    /// # Errors
    /// As [`Self::size`], or if it is no list of 1 to 64 entries.
    pub fn size_list(&self, key: &str, default: &[usize]) -> Result<Vec<usize>> {
        match self.get(key) {
            None if !default.is_empty() => Ok(default.to_vec()),
            Some(Value::Array(list)) if (1..=64).contains(&list.len()) => list
                .iter()
                .map(|value| self.number(key, value, 1))
                .collect(),
            Some(_) => Err(self.invalid(key, "is not a list of 1 to 64 sizes")),
            None => Err(self.invalid(key, "is missing")),
        }
    }

    /// A list of names.
    ///
    /// # Errors
    /// If it is no list of 1 to 1024 strings.
    pub fn names(&self, key: &str, default: &[&'a str]) -> Result<Vec<&'a str>> {
        let wrong = || self.invalid(key, "is not a list of 1 to 1024 names");
        match self.get(key) {
            None => Ok(default.to_vec()),
            Some(Value::Array(list)) if (1..=1024).contains(&list.len()) => list
                .iter()
                .map(|value| value.as_str().ok_or_else(wrong))
                .collect(),
            Some(_) => Err(wrong()),
        }
    }

    /// A list of numbers from 0 on.
    ///
    /// # Errors
    /// If it is missing or no list of 1 to 65536 such numbers.
    pub fn numbers(&self, key: &str) -> Result<Vec<f32>> {
        let wrong = || self.invalid(key, "is not a list of numbers from 0 on");
        match self.get(key) {
            Some(Value::Array(list)) if (1..=1 << 16).contains(&list.len()) => list
                .iter()
                .map(|value| value.as_f64().map(|n| n as f32))
                .map(|n| n.filter(|n| n.is_finite() && *n >= 0.0).ok_or_else(wrong))
                .collect(),
            Some(_) => Err(wrong()),
            None => Err(self.invalid(key, "is missing")),
        }
    }

    /// A finite number.
    ///
    /// # Errors
    /// If it is none.
    pub fn float(&self, key: &str, default: f64) -> Result<f64> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        value
            .as_f64()
            .filter(|n| n.is_finite())
            .ok_or_else(|| self.invalid(key, format!("is {value}, needed is a number")))
    }

    /// A finite number above 0.
    ///
    /// # Errors
    /// If it is none.
    pub fn positive(&self, key: &str, default: f64) -> Result<f64> {
        let n = self.float(key, default)?;
        if n > 0.0 {
            Ok(n)
        } else {
            Err(self.invalid(key, format!("is {n}, needed is a number above 0")))
        }
    }

    /// The small number that a norm adds to a variance: 0 to 1.
    ///
    /// # Errors
    /// If it is none.
    pub fn epsilon(&self, key: &str, default: f64) -> Result<f32> {
        let n = self.float(key, default)?;
        if (0.0..=1.0).contains(&n) {
            Ok(n as f32)
        } else {
            Err(self.invalid(key, format!("is {n}, needed is a number from 0 to 1")))
        }
    }

    /// A truth value.
    ///
    /// # Errors
    /// If it is none.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        value
            .as_bool()
            .ok_or_else(|| self.invalid(key, format!("is {value}, needed is true or false")))
    }

    /// One truth value, or a list with one for each of `n` blocks.
    ///
    /// # Errors
    /// If it is neither.
    pub fn flags(&self, key: &str, n: usize, default: bool) -> Result<Vec<bool>> {
        let Some(Value::Array(list)) = self.get(key) else {
            return Ok(vec![self.flag(key, default)?; n]);
        };
        let flags: Vec<bool> = list.iter().filter_map(Value::as_bool).collect();
        if flags.len() != n || list.len() != n {
            return Err(self.invalid(key, format!("is not a list of {n} times true or false")));
        }
        Ok(flags)
    }

    /// A name.
    ///
    /// # Errors
    /// If it is no string.
    pub fn text(&self, key: &str, default: &'a str) -> Result<&'a str> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        value
            .as_str()
            .ok_or_else(|| self.invalid(key, format!("is {value}, needed is a name")))
    }

    /// An activation function by its name in transformers and diffusers.
    ///
    /// # Errors
    /// Names that are not known.
    pub fn activation(&self, key: &str, default: &'a str) -> Result<Activation> {
        match self.text(key, default)? {
            "silu" | "swish" => Ok(Activation::Silu),
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "quick_gelu" => Ok(Activation::QuickGelu),
            "relu" => Ok(Activation::Relu),
            other => Err(self.unsupported(
                format!("a model with the activation function `{other}` ({key})"),
                "silu, gelu, gelu_new, quick_gelu and relu are known",
            )),
        }
    }

    /// Refuses a key that changes the architecture, unless it is absent, null, false or one of the `harmless` values.
    ///
    /// # Errors
    /// [`FormatError::UnsupportedModel`] that names key and value.
    pub fn refuse(&self, key: &str, harmless: &[Value], remedy: &str) -> Result<()> {
        match self.get(key) {
            None | Some(Value::Bool(false)) => Ok(()),
            Some(value) if harmless.iter().any(|h| same(h, value)) => Ok(()),
            Some(value) => {
                let mut shown = value.to_string();
                if shown.chars().count() > 80 {
                    shown = shown.chars().take(77).chain("...".chars()).collect();
                }
                Err(self.unsupported(format!("a model with `{key}` = {shown}"), remedy))
            }
        }
    }
}

/// Equality of JSON values in which 1 is 1.0.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn faults_are_named_with_file_and_key() {
        let value = json!({
            "width": -3, "huge": 1e30, "heads": [1, 2], "flag": "yes", "eps": 2.0, "act_fn": "mish",
            "class_embed_type": "timestep", "scale": 1, "nothing": null,
        });
        let c = ConfigReader::new(Path::new("unet/config.json"), &value).unwrap();
        for (key, error) in [
            ("width", c.size("width", None).unwrap_err()),
            ("absent", c.size("absent", None).unwrap_err()),
            ("huge", c.whole("huge", 0).unwrap_err()),
            ("heads", c.sizes("heads", 3, None).unwrap_err()),
            ("flag", c.flag("flag", false).unwrap_err()),
            ("eps", c.epsilon("eps", 1e-5).unwrap_err()),
            ("act_fn", c.activation("act_fn", "silu").unwrap_err()),
            (
                "class_embed_type",
                c.refuse("class_embed_type", &[], "use another")
                    .unwrap_err(),
            ),
        ] {
            let text = error.to_string();
            assert!(
                text.contains("unet/config.json") && text.contains(key),
                "{text}"
            );
        }
        assert_eq!(c.size("nothing", Some(7)).unwrap(), 7);
        assert_eq!(c.count("scale", 1, None).unwrap(), 1);
        let error = c.count("nothing", 6, Some(7)).unwrap_err().to_string();
        assert!(error.contains("nothing") && error.contains('6'), "{error}");
        assert_eq!(c.sizes("heads", 2, None).unwrap(), [1, 2]);
        assert_eq!(c.sizes("scale", 3, None).unwrap(), [1, 1, 1]);
        c.refuse("scale", &[json!(1.0)], "").unwrap();
        assert!(ConfigReader::new(Path::new("x"), &json!([1])).is_err());
    }
}
