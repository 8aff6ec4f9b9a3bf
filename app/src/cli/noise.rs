//! Latents in and out: noise to start from, and the latents after every step.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diptych_inference::engine::{BlobRef, Event, HostTensor};
use diptych_inference::tools::{StorageDtype, read_safetensors, write_safetensors};
use sha2::{Digest as _, Sha256};

use super::error::{CliError, Result};

/// Key of the noise in its file.
const KEY: &str = "noise";

/// Noise of one picture, as the engine takes it.
#[derive(Clone, Debug)]
pub struct Noise {
    /// What requests refer to it by.
    pub blob: BlobRef,
    /// `[1, C, h, w]`.
    pub data: Arc<HostTensor>,
}

/// Reads noise for `count` pictures: as many as the file has, or its only one for all.
///
/// # Errors
/// If the file is faulty or does not hold what is needed.
pub fn read(path: &Path, count: u32) -> Result<Vec<Noise>> {
    let file = read_safetensors(path).map_err(CliError::failed)?;
    let fault = |reason: String| CliError::Failed(format!("{}: {reason}", path.display()));
    let tensor = file.tensors.get(KEY).ok_or_else(|| {
        let found: Vec<_> = file.tensors.names().take(5).collect();
        fault(format!(
            "it has no tensor named '{KEY}' (it has: {})",
            found.join(", ")
        ))
    })?;
    let wanted = format!("'{KEY}' must be f32 of shape [{count} or 1, channels, height, width]");
    let &[pictures, channels, height, width] = tensor.shape() else {
        return Err(fault(format!(
            "{wanted}; it has shape {:?}",
            tensor.shape()
        )));
    };
    if tensor.dtype() != StorageDtype::F32 {
        return Err(fault(format!("{wanted}; it is {:?}", tensor.dtype())));
    }
    if pictures != 1 && pictures != count as usize || tensor.elements() == 0 {
        return Err(fault(format!(
            "{wanted}; it has shape {:?}",
            tensor.shape()
        )));
    }
    let values = tensor.to_f32().map_err(CliError::failed)?;
    if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
        return Err(fault(format!("'{KEY}' holds {bad}, which is no noise")));
    }
    let shape = [1, channels, height, width];
    let each = values.chunks_exact(channels * height * width);
    Ok(each
        .map(|values| of_picture(shape, values.to_vec()))
        .collect())
}

fn of_picture(shape: [usize; 4], values: Vec<f32>) -> Noise {
    let mut hash = Sha256::new();
    for value in &values {
        hash.update(value.to_le_bytes());
    }
    let hash = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Noise {
        blob: BlobRef(hash),
        data: Arc::new(HostTensor::f32(shape, values)),
    }
}

/// The latents of one picture, step by step.
#[derive(Debug, Default)]
pub struct Dump {
    steps: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl Dump {
    /// Keeps the latents of an event, if it is one of them.
    pub fn watch(&mut self, event: &Event) {
        if let Event::Latents { step, latents, .. } = event {
            self.steps.push((
                format!("step_{step:02}"),
                latents.shape.clone(),
                latents.as_f32().to_vec(),
            ));
        }
    }

    /// Writes all that was kept.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn write(&self, path: &Path) -> Result<PathBuf> {
        write_safetensors(path, &self.steps).map_err(CliError::failed)?;
        Ok(path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, shape: &[usize], values: &[f32], key: &str) -> PathBuf {
        let path = folder.join("noise.safetensors");
        write_safetensors(&path, &[(key, shape, values)]).unwrap();
        path
    }

    #[test]
    fn noise_is_cut_into_pictures_and_named_by_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), &[2, 1, 1, 2], &[0.0, 1.0, 2.0, 3.0], KEY);
        let noise = read(&path, 2).unwrap();
        assert_eq!(noise.len(), 2);
        assert_eq!(noise[1].data.as_f32(), [2.0, 3.0]);
        assert_eq!(noise[1].data.shape, [1, 1, 1, 2]);
        // SHA-256 of 00000000 0000803f.
        assert_eq!(
            noise[0].blob.0,
            "22b6f43bd8d27738d3213f29e96b62d01d9d6c0ab4f9732aaae803186f51eab7"
        );
        assert_ne!(noise[0].blob, noise[1].blob);
        let single = file(folder.path(), &[1, 1, 1, 2], &[0.0, 1.0], KEY);
        assert_eq!(read(&single, 7).unwrap()[0].blob, noise[0].blob);
    }

    #[test]
    fn noise_that_does_not_fit_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let cases: [(&[usize], &[f32], &str, &str); 4] = [
            (
                &[2, 1, 1, 1],
                &[0.0, 1.0],
                "latents",
                "no tensor named 'noise'",
            ),
            (&[2, 1, 1, 1], &[0.0, 1.0], KEY, "shape [2, 1, 1, 1]"),
            (&[2, 1], &[0.0, 1.0], KEY, "shape [2, 1]"),
            (&[1, 1, 1, 2], &[0.0, f32::NAN], KEY, "NaN"),
        ];
        for (shape, values, key, message) in cases {
            let path = file(folder.path(), shape, values, key);
            let error = read(&path, 3).unwrap_err().to_string();
            assert!(
                error.contains(message) && error.contains("noise.safetensors"),
                "{error}"
            );
        }
    }
}
