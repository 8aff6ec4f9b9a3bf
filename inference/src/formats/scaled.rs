//! Weights that are to be multiplied by numbers which lie beside them: 8-bit floats "scaled" to make use of their range.
//!
//! Two ways of writing them are about, both ComfyUI's: a marker tensor `scaled_fp8` with a `.scale_weight` beside each weight, and, later,
//! a `.weight_scale` with a description of its format in `.comfy_quant`. What is said of activations (`.scale_input`, `.input_scale`)
//! concerns products of 8-bit numbers, which are not made here. Weights become 16-bit floats, when they are first used.

use std::path::Path;

use half::f16;
use serde_json::Value;

use super::error::{FormatError, brief};
use super::weights::{StorageDtype, TensorData, WeightMap};

/// The scale of a weight, behind the name of its layer.
const SCALES: [&str; 2] = [".scale_weight", ".weight_scale"];
/// What else lies beside, and is not a weight.
const BESIDE: [&str; 3] = [".scale_input", ".input_scale", ".comfy_quant"];
/// Longest description of a format.
const MOST_DESCRIPTION: usize = 4096;

/// The tensors with all scales applied; as they are where there are none.
///
/// # Errors
/// Scales that fit no weight; formats of smaller numbers than 8-bit floats.
pub(super) fn plain(path: &Path, tensors: &WeightMap) -> Result<WeightMap, FormatError> {
    let marks = |name: &str| {
        name.ends_with("scaled_fp8") || SCALES.iter().chain(&BESIDE).any(|end| name.ends_with(end))
    };
    if !tensors.names().any(marks) {
        return Ok(tensors.clone());
    }
    let mut plain = WeightMap::new(tensors.source());
    for (name, tensor) in tensors.iter() {
        if name.ends_with(".comfy_quant") {
            check_format(path, name, tensor)?;
        }
        if !marks(name) {
            let scale = name.strip_suffix(".weight").and_then(|layer| {
                SCALES
                    .iter()
                    .find_map(|end| tensors.get(&format!("{layer}{end}")))
            });
            let tensor = match scale {
                Some(scale) => scaled(path, tensor, scale)?,
                None => tensor.clone(),
            };
            plain.insert(name, tensor);
        }
    }
    Ok(plain)
}

/// Refuses descriptions of formats that are not 8-bit floats with one scale, or one for each row.
fn check_format(path: &Path, name: &str, tensor: &TensorData) -> Result<(), FormatError> {
    let bytes = tensor.bytes();
    let text = bytes
        .get(..bytes.len().min(MOST_DESCRIPTION))
        .unwrap_or(bytes);
    let described: Option<Value> = serde_json::from_slice(text).ok();
    let format = described
        .as_ref()
        .and_then(|described| described.get("format")?.as_str());
    match format {
        Some("float8_e4m3fn" | "float8_e5m2") => Ok(()),
        other => Err(FormatError::UnsupportedModel {
            path: path.into(),
            what: format!(
                "a model with weights of the format `{}` (`{name}`)",
                brief(other.unwrap_or("(none)"))
            ),
            remedy: "use one of 8-bit or of 16-bit floats".into(),
        }),
    }
}

/// A weight times its scale: one number for all of it, or one for each row.
fn scaled(path: &Path, weight: &TensorData, scale: &TensorData) -> Result<TensorData, FormatError> {
    let wrong = |reason: String| FormatError::InvalidConfig {
        path: path.into(),
        key: scale.name().into(),
        reason,
    };
    let rows = weight.shape().first().copied().unwrap_or(1);
    if scale.elements() != 1 && (scale.elements() != rows || scale.shape().first() != Some(&rows)) {
        return Err(wrong(format!(
            "has the shape {:?}; a scale is one number, or one for each of the {rows} rows of `{}`",
            scale.shape(),
            weight.name()
        )));
    }
    let scales = scale.to_f32()?;
    if let Some(bad) = scales.iter().find(|scale| !scale.is_finite()) {
        return Err(wrong(format!("holds {bad}, which scales nothing")));
    }
    let largest = match weight.dtype() {
        StorageDtype::F8E4m3 => 448.0,
        StorageDtype::F8E5m2 => 57_344.0,
        other if other.is_float_weight() => f32::INFINITY,
        dtype => {
            return Err(FormatError::UnsupportedDtype {
                path: path.into(),
                tensor: weight.name().into(),
                dtype,
            });
        }
    };
    let most = scales
        .iter()
        .fold(0f32, |most, scale| most.max(scale.abs()));
    // Beyond it numbers do not fit into 16 bits.
    let wide = largest * most > f16::MAX.to_f32();
    let dtype = match wide {
        true => StorageDtype::F32,
        false => StorageDtype::F16,
    };
    let source = weight.clone();
    let per_scale = (weight.elements() / scales.len().max(1)).max(1);
    TensorData::made_later(weight, dtype, move || {
        // Types were checked above.
        let mut values = source.to_f32().unwrap_or_default();
        for (row, scale) in values.chunks_mut(per_scale).zip(&scales) {
            row.iter_mut().for_each(|value| *value *= scale);
        }
        match wide {
            true => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            false => halves(&values),
        }
    })
}

/// Numbers in 16 bits, little endian.
pub(super) fn halves(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| f16::from_f32(*value).to_le_bytes())
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn map(tensors: Vec<TensorData>) -> WeightMap {
        let mut map = WeightMap::new("m.safetensors");
        for tensor in tensors {
            map.insert(tensor.name().to_owned(), tensor);
        }
        map
    }

    /// 1, 2, -1.5 and 0.5 as 8-bit floats.
    fn eighths() -> TensorData {
        let bytes = vec![0x38, 0x40, 0xbc, 0x30];
        TensorData::new_owned("a.weight", &[2, 2], StorageDtype::F8E4m3, bytes).unwrap()
    }

    #[test]
    fn scales_are_applied_and_left_out() {
        let one = TensorData::from_f32("a.scale_weight", &[], &[0.25]).unwrap();
        let mark = TensorData::from_f32("scaled_fp8", &[0], &[]).unwrap();
        let input = TensorData::from_f32("a.scale_input", &[1], &[9.0]).unwrap();
        let bias = TensorData::from_f32("a.bias", &[2], &[3.0, 4.0]).unwrap();
        let given = map(vec![eighths(), one, mark, input, bias]);
        let got = plain(Path::new("m"), &given).unwrap();
        assert_eq!(got.names().collect::<Vec<_>>(), ["a.bias", "a.weight"]);
        let weight = got.get("a.weight").unwrap();
        assert_eq!(weight.dtype(), StorageDtype::F16);
        assert_eq!(weight.byte_count(), 8);
        assert_eq!(weight.to_f32().unwrap(), [0.25, 0.5, -0.375, 0.125]);
        // One for each row; too large for 16 bits.
        let rows = TensorData::from_f32("a.weight_scale", &[2, 1], &[2.0, 1e6]).unwrap();
        let text = br#"{"format": "float8_e4m3fn"}"#.to_vec();
        let quant =
            TensorData::new_owned("a.comfy_quant", &[text.len()], StorageDtype::U8, text).unwrap();
        let got = plain(Path::new("m"), &map(vec![eighths(), rows, quant])).unwrap();
        let weight = got.get("a.weight").unwrap();
        assert_eq!(weight.dtype(), StorageDtype::F32);
        assert_eq!(weight.to_f32().unwrap(), [2.0, 4.0, -1.5e6, 0.5e6]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |scale: TensorData, word: &str| {
            let error = plain(Path::new("m"), &map(vec![eighths(), scale])).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        };
        let scale = |shape: &[usize], values: &[f32]| {
            TensorData::from_f32("a.scale_weight", shape, values).unwrap()
        };
        refused(scale(&[3], &[1.0; 3]), "each of the 2 rows");
        refused(scale(&[1, 2], &[1.0; 2]), "each of the 2 rows");
        refused(scale(&[1], &[f32::NAN]), "NaN");
        refused(scale(&[0], &[]), "each of the 2 rows");
        let text = br#"{"format": "nvfp4"}"#.to_vec();
        let quant =
            TensorData::new_owned("a.comfy_quant", &[text.len()], StorageDtype::U8, text).unwrap();
        refused(quant, "nvfp4");
    }
}
