//! A picture between two steps as bytes: checkpoints, and the states that a trace keeps. Opaque to clients, versioned and checked.
//!
//! `DIPSTEP` and the version (a byte each), the length of the content (u64, little-endian), its CRC-32 (u32), and the content deflated:
//! length of the settings (u64), the settings (JSON), and the run ([`Denoising::to_bytes`]).

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};

use super::ImageCheckpoint;
use crate::diffusion::Denoising;
use crate::engine::ImageRequest;
use crate::pipelines::JobError;

const MAGIC: &[u8; 7] = b"DIPSTEP";
const VERSION: u8 = 1;
/// Bytes before the deflated content.
const HEAD: usize = 7 + 1 + 8 + 4;
/// Longest content: several buffers of the largest picture.
const MOST_CONTENT: u64 = 2 << 30;
/// Deflate cannot do better.
const MOST_RATIO: u64 = 1032;

#[derive(Serialize, Deserialize)]
struct Settings {
    request: ImageRequest,
    seconds: f32,
    /// Whether the run is that of a second pass.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    second: bool,
}

/// Whether bytes begin as a state does.
pub(crate) fn is_state(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Writes a state.
pub(super) fn write(
    request: &ImageRequest,
    seconds: f32,
    second: bool,
    denoising: &Denoising,
) -> Result<Vec<u8>, JobError> {
    let fault = |error: String| JobError::Checkpoint(error);
    let settings = serde_json::to_vec(&Settings {
        request: request.clone(),
        seconds,
        second,
    })
    .map_err(|error| fault(error.to_string()))?;
    let mut content = (settings.len() as u64).to_le_bytes().to_vec();
    content.extend_from_slice(&settings);
    content.extend_from_slice(&denoising.to_bytes()?);
    let mut bytes = MAGIC.to_vec();
    bytes.push(VERSION);
    bytes.extend_from_slice(&(content.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&content).to_le_bytes());
    let mut encoder = ZlibEncoder::new(bytes, Compression::fast());
    let written = encoder.write_all(&content).and_then(|()| encoder.finish());
    written.map_err(|error| fault(error.to_string()))
}

/// Reads a state. Memory is bounded by what the bytes can hold.
///
/// # Errors
/// [`JobError::Checkpoint`] tells what is wrong with the bytes.
pub(crate) fn read(bytes: &[u8]) -> Result<ImageCheckpoint, JobError> {
    let fault = |what: &str| JobError::Checkpoint(what.to_owned());
    if !is_state(bytes) {
        return Err(fault("these are no bytes of a picture's state"));
    }
    let short = || fault("it ends too early");
    let version = *bytes.get(MAGIC.len()).ok_or_else(short)?;
    if version != VERSION {
        return Err(JobError::Checkpoint(format!(
            "it is of version {version}, this program reads {VERSION}"
        )));
    }
    let number = |from: usize, length: usize| -> Option<u64> {
        let bytes = bytes.get(from..from + length)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        )
    };
    let length = number(8, 8).ok_or_else(short)?;
    let checksum = number(16, 4).ok_or_else(short)?;
    let packed = bytes.get(HEAD..).ok_or_else(short)?;
    let most = (packed.len() as u64).saturating_mul(MOST_RATIO) + 64;
    if length > most.min(MOST_CONTENT) {
        return Err(fault("it claims to be larger than it can be"));
    }
    let mut content = Vec::new();
    // One byte more tells content that is longer than was said.
    ZlibDecoder::new(packed)
        .take(length + 1)
        .read_to_end(&mut content)
        .map_err(|_| fault("it is damaged"))?;
    if content.len() as u64 != length || u64::from(crc32fast::hash(&content)) != checksum {
        return Err(fault("it is damaged"));
    }
    let (size, rest) = content.split_first_chunk::<8>().ok_or_else(short)?;
    let size = usize::try_from(u64::from_le_bytes(*size)).map_err(|_| short())?;
    let (settings, run) = rest.split_at_checked(size).ok_or_else(short)?;
    let settings: Settings = serde_json::from_slice(settings)
        .map_err(|error| JobError::Checkpoint(format!("its settings: {error}")))?;
    Ok(ImageCheckpoint {
        request: settings.request,
        denoising: Some(Denoising::from_bytes(run)?),
        seconds: settings.seconds,
        second: settings.second,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{
        Beginning, Convention, NoiseSource, PredictionType, SamplerKind, SamplerSpec, ScheduleKind,
        SchedulerConfig, TrainingSchedule,
    };
    use crate::engine::ModelRef;

    fn state() -> Vec<u8> {
        let config = SchedulerConfig::stable_diffusion(PredictionType::Epsilon);
        let spec = SamplerSpec {
            sampler: SamplerKind::EulerAncestral,
            schedule: ScheduleKind::Karras,
            convention: Convention::KDiffusion,
            spacing: None,
            steps: 4,
        };
        let training = TrainingSchedule::new(&config).unwrap();
        let beginning = Beginning::of_seed(NoiseSource::Philox, 3, 64);
        let run = Denoising::new(&spec, &training, beginning).unwrap();
        let request = ImageRequest::new(ModelRef::named("m"), "a fox", 64, 64);
        write(&request, 1.5, false, &run).unwrap()
    }

    #[test]
    fn a_state_is_read_back_and_everything_else_refused() {
        let good = state();
        let read_back = read(&good).unwrap();
        assert_eq!(read_back.request.prompt, "a fox");
        assert_eq!(read_back.seconds, 1.5);
        assert_eq!(read_back.denoising.unwrap().total_steps(), 4);
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_err(), "{length}");
        }
        for place in 0..good.len() {
            let mut bytes = good.clone();
            bytes[place] ^= 0x10;
            assert!(read(&bytes).is_err(), "a flipped bit at {place}");
        }
        let mut newer = good.clone();
        newer[7] = 2;
        assert!(read(&newer).is_err_and(|e| e.to_string().contains("version 2")));
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        bytes.extend_from_slice(&(1u64 << 60).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        let mut encoder = ZlibEncoder::new(bytes.clone(), Compression::best());
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
        let error = read(&encoder.finish().unwrap()).err().unwrap().to_string();
        assert!(error.contains("larger"), "{error}");
        // A small claim with much behind it.
        bytes[8..16].copy_from_slice(&10u64.to_le_bytes());
        let mut encoder = ZlibEncoder::new(bytes, Compression::best());
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
        assert!(read(&encoder.finish().unwrap()).is_err());
    }
}
