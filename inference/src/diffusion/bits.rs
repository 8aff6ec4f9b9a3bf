//! Exact storage of floats: as the integers of their bits, so that no text format can round them or lose infinities.

/// Serde helper for `Vec<f32>`: a sequence of `u32` bit patterns.
pub(crate) mod f32_vec {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(values: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| value.to_bits()))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
        let bits = Vec::<u32>::deserialize(deserializer)?;
        Ok(bits.into_iter().map(f32::from_bits).collect())
    }
}

/// Serde helper for `Option<Vec<f32>>`, like [`f32_vec`].
pub(crate) mod f32_vec_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(
        values: &Option<Vec<f32>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let bits: Option<Vec<u32>> = values
            .as_ref()
            .map(|values| values.iter().map(|value| value.to_bits()).collect());
        bits.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<f32>>, D::Error> {
        let bits = Option::<Vec<u32>>::deserialize(deserializer)?;
        Ok(bits.map(|bits| bits.into_iter().map(f32::from_bits).collect()))
    }
}

/// Serde helper for a single `f32`.
pub(crate) mod f32_one {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(value.to_bits())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
        u32::deserialize(deserializer).map(f32::from_bits)
    }
}

/// Serde helper for a list of buffers, like [`f32_vec`].
pub(crate) mod f32_vecs {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(values: &[Vec<f32>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|buffer| {
            buffer
                .iter()
                .map(|value| value.to_bits())
                .collect::<Vec<_>>()
        }))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Vec<f32>>, D::Error> {
        let buffers = Vec::<Vec<u32>>::deserialize(deserializer)?;
        Ok(buffers
            .into_iter()
            .map(|bits| bits.into_iter().map(f32::from_bits).collect())
            .collect())
    }
}
