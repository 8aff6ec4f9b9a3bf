//! Tiers: kernels that use more than every device offers. Each proves itself against the oracle before a plan uses it; one that
//! disagrees is given up for good on that device, and the portable kernels take its place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use diptych_shaders::{Kernel, WeightFormat};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::device::GpuDevice;
use super::disk;
use super::executor::GpuExecutor;
use super::layout::Compiled;
use super::self_test::{TOLERANCE, product_error};
use crate::formats::StorageDtype;
use crate::graph::{ExecError, TierReport, TierState};

/// The one optional tier that there is.
const NAME: &str = "subgroup matrix-vector products";
/// Bytes that proving may take.
const TRIAL_BYTES: u64 = 64 << 20;
/// Rows that are tried: one, and the full and part-filled kernels of several.
const ROWS: [usize; 4] = [1, 3, 5, 8];

/// What was found out about a device, as it is kept on disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Verdict {
    /// Checksum of the kernels' texts: others have to prove themselves anew.
    kernels: String,
    /// Largest relative error of each weight format that was tried.
    proven: BTreeMap<String, f32>,
    /// Why the tier was given up.
    demoted: Option<String>,
}

/// The tiers of one device.
#[derive(Debug, Default)]
pub struct Tiers {
    offered: bool,
    /// Nothing has to be proven: this is the trial.
    trial: bool,
    verdict: Verdict,
    path: Option<PathBuf>,
    #[cfg(test)]
    spoilt: bool,
}

impl Tiers {
    /// What is offered, and what an earlier run found out, if that was kept in this folder.
    pub fn new(device: &GpuDevice, folder: Option<&Path>) -> Self {
        let path = folder
            .map(|folder| folder.join(format!("tiers-{}.bin", disk::device_key(&device.report))));
        let kernels = texts();
        let known = path
            .as_deref()
            .and_then(disk::read_checked)
            .and_then(|bytes| serde_json::from_slice::<Verdict>(&bytes).ok())
            .filter(|verdict| verdict.kernels == kernels);
        Self {
            offered: device.features.contains(wgpu::Features::SUBGROUP),
            trial: false,
            verdict: known.unwrap_or(Verdict {
                kernels,
                ..Verdict::default()
            }),
            path,
            #[cfg(test)]
            spoilt: false,
        }
    }

    /// Whether plans may be made with it.
    pub fn is_on(&self) -> bool {
        self.trial || (self.offered && self.verdict.demoted.is_none())
    }

    /// What can be told about it.
    pub fn report(&self) -> TierReport {
        let worst = self.verdict.proven.values().copied().fold(0.0, f32::max);
        TierReport {
            name: NAME.to_owned(),
            state: match (&self.verdict.demoted, self.offered) {
                (_, false) => TierState::NotOffered,
                (Some(reason), _) => TierState::Demoted {
                    reason: reason.clone(),
                },
                (None, _) if self.verdict.proven.is_empty() => TierState::Untried,
                (None, _) => TierState::Proven {
                    formats: self.verdict.proven.keys().cloned().collect(),
                    worst_error: worst,
                },
            },
        }
    }

    /// Makes the next trial find an error, as it would on a faulty device.
    #[cfg(test)]
    pub fn spoil(&mut self) {
        self.spoilt = true;
    }

    fn untried(&self, compiled: &Compiled) -> BTreeSet<WeightFormat> {
        if self.trial {
            return BTreeSet::new();
        }
        compiled
            .steps
            .iter()
            .filter_map(|step| match step.dispatch.kernel {
                Kernel::MatVecSubgroups { weight, .. } => Some(weight),
                _ => None,
            })
            .filter(|format| !self.verdict.proven.contains_key(&name_of(*format)))
            .collect()
    }

    fn keep(&self) {
        let Some(path) = &self.path else { return };
        let written = serde_json::to_vec(&self.verdict)
            .map_err(|error| error.to_string())
            .and_then(|bytes| disk::write_checked(path, &bytes).map_err(|error| error.to_string()));
        if let Err(error) = written {
            tracing::warn!("what was found out about this device was not kept: {error}");
        }
    }
}

fn name_of(format: WeightFormat) -> String {
    format!("{format:?}").to_lowercase()
}

/// Checksum of the texts of all kernels of the tier.
fn texts() -> String {
    let mut hash = Sha256::new();
    for kernel in Kernel::all() {
        if kernel.needs_subgroups() {
            hash.update(kernel.source().source.as_bytes());
        }
    }
    hash.finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn storage_of(format: WeightFormat) -> StorageDtype {
    match format {
        WeightFormat::F32 => StorageDtype::F32,
        WeightFormat::F16 => StorageDtype::F16,
        WeightFormat::Bf16 => StorageDtype::Bf16,
        WeightFormat::Q8_0 => StorageDtype::Q8_0,
        WeightFormat::Q4_0 => StorageDtype::Q4_0,
        WeightFormat::Q4K => StorageDtype::Q4K,
        WeightFormat::Q6K => StorageDtype::Q6K,
        WeightFormat::Q4_1 => StorageDtype::Q4_1,
        WeightFormat::Q5_0 => StorageDtype::Q5_0,
        WeightFormat::Q5_1 => StorageDtype::Q5_1,
        WeightFormat::Q2K => StorageDtype::Q2K,
        WeightFormat::Q3K => StorageDtype::Q3K,
        WeightFormat::Q5K => StorageDtype::Q5K,
        WeightFormat::Iq4Nl => StorageDtype::Iq4Nl,
        WeightFormat::Iq4Xs => StorageDtype::Iq4Xs,
    }
}

impl GpuExecutor {
    /// Lets kernels prove themselves that a plan would use for the first time on this device. Gives whether the plan stands; if not,
    /// it has to be made again, of portable kernels.
    ///
    /// # Errors
    /// If the device is lost, or the trial cannot be made.
    pub(super) fn prove(&mut self, compiled: &Compiled) -> Result<bool, ExecError> {
        let untried = self.tiers.untried(compiled);
        if untried.is_empty() {
            return Ok(true);
        }
        let mut trial = Self::on(Arc::clone(&self.device), Some(TRIAL_BYTES));
        trial.kernel_limits = self.kernel_limits;
        trial.tiers.trial = true;
        std::mem::swap(&mut trial.pipelines, &mut self.pipelines);
        let result = untried
            .into_iter()
            .try_for_each(|format| self.prove_format(&mut trial, format));
        std::mem::swap(&mut trial.pipelines, &mut self.pipelines);
        result?;
        self.tiers.keep();
        self.kernel_limits.subgroups = self.tiers.is_on();
        Ok(self.tiers.is_on())
    }

    fn prove_format(&mut self, trial: &mut Self, format: WeightFormat) -> Result<(), ExecError> {
        let mut worst: f32 = 0.0;
        for rows in ROWS {
            let found = product_error(trial, storage_of(format), rows);
            #[cfg(test)]
            let found = if self.tiers.spoilt { Ok(1.0) } else { found };
            let reason = match found {
                Ok(error) if error <= TOLERANCE => {
                    worst = worst.max(error);
                    continue;
                }
                Ok(error) => format!("{format:?}, {rows} rows: relative error {error:.1e}"),
                Err(error @ (ExecError::DeviceLost { .. } | ExecError::OutOfMemory { .. })) => {
                    return Err(error);
                }
                Err(error) => format!("{format:?}, {rows} rows: {error}"),
            };
            tracing::warn!(
                "{NAME} are given up on {}: {reason}; portable kernels take their place",
                self.device.report.name
            );
            self.tiers.verdict.demoted = Some(reason);
            return Ok(());
        }
        self.tiers.verdict.proven.insert(name_of(format), worst);
        Ok(())
    }
}
