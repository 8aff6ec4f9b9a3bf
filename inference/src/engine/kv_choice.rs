//! How keys and values of conversations are to be kept, as a person chooses it.

use serde::{Deserialize, Serialize};

use crate::graph::KvType;

/// How keys and values of conversations are to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvChoice {
    /// 32-bit floats where a whole conversation of them fits into memory beside the model, else 16-bit ones.
    #[default]
    Auto,
    /// 32-bit floats, also where weights then have to stay outside of the device.
    F32,
    /// 16-bit floats.
    F16,
    /// 8-bit integers.
    #[serde(rename = "q8_0")]
    Q8,
}

impl KvChoice {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Auto, Self::F32, Self::F16, Self::Q8];

    /// What was settled; `None` where it is left to the engine.
    #[must_use]
    pub const fn settled(self) -> Option<KvType> {
        match self {
            Self::Auto => None,
            Self::F32 => Some(KvType::F32),
            Self::F16 => Some(KvType::F16),
            Self::Q8 => Some(KvType::Q8),
        }
    }

    /// Its name in settings and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.settled() {
            None => "auto",
            Some(kv_type) => kv_type.name(),
        }
    }
}

impl From<KvType> for KvChoice {
    fn from(kv_type: KvType) -> Self {
        match kv_type {
            KvType::F32 => Self::F32,
            KvType::F16 => Self::F16,
            KvType::Q8 => Self::Q8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_settings() {
        for choice in KvChoice::ALL {
            assert_eq!(serde_json::to_value(choice).unwrap(), choice.name());
        }
        for kv_type in KvType::ALL {
            assert_eq!(KvChoice::from(kv_type).settled(), Some(kv_type));
        }
    }
}
