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
use super::kernels::{FEW_ROWS, KernelLimits};
use super::layout::Compiled;
use super::self_test::{
    HALF_TOLERANCE, TOLERANCE, attention_error, convolution_error, gated_error,
    image_attention_error, product_error,
};
use crate::formats::StorageDtype;
use crate::graph::{ExecError, TierReport, TierState};

/// Bytes that proving may take.
const TRIAL_BYTES: u64 = 64 << 20;

/// An optional kind of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// Products of few rows with sums over subgroups, and what else subgroups are of use for.
    Subgroups,
    /// Tiled products that keep weights as 16-bit floats.
    Halves,
}

impl Tier {
    const ALL: [Self; 2] = [Self::Subgroups, Self::Halves];

    fn name(self) -> &'static str {
        match self {
            Self::Subgroups => "subgroup matrix-vector products",
            Self::Halves => "weights of tiled products in 16 bits",
        }
    }

    /// Whether there are its kernels on a device, and something is to be gained: software computes 16-bit floats by way of 32-bit ones.
    fn is_offered(self, device: &GpuDevice) -> bool {
        match self {
            Self::Subgroups => device.features.contains(wgpu::Features::SUBGROUP),
            Self::Halves => {
                device.features.contains(wgpu::Features::SHADER_F16) && device.report.hardware
            }
        }
    }

    /// Whether a kernel belongs to it.
    fn has(self, kernel: Kernel) -> bool {
        match self {
            Self::Subgroups => kernel.needs_subgroups(),
            Self::Halves => kernel.needs_halves(),
        }
    }

    fn tolerance(self) -> f32 {
        match self {
            Self::Subgroups => TOLERANCE,
            Self::Halves => HALF_TOLERANCE,
        }
    }

    /// What is tried: rows of a product, and whether it is made for a device that is busy with few workgroups. Of few rows one, those whose part of x is
    /// held, and those whose weights are; of many some tiles, whole and in parts.
    fn trials(self) -> &'static [(usize, bool)] {
        const MANY: usize = FEW_ROWS + 70;
        match self {
            Self::Subgroups => &[
                (1, false),
                (1, true),
                (3, false),
                (4, true),
                (5, false),
                (8, false),
            ],
            Self::Halves => &[(MANY, true), (MANY, false)],
        }
    }

    /// The convolutions that are tried where kernels of the tier convolve, by widths of windows, channels and widths of pictures: sizes that make whole
    /// tiles and others.
    fn convolutions(self) -> &'static [(usize, usize, usize)] {
        match self {
            Self::Subgroups => &[(3, 32, 8), (3, 16, 9), (1, 48, 8)],
            Self::Halves => &[(3, 70, 9), (1, 600, 9)],
        }
    }
}

/// What has to be proven before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tried {
    /// Products, and where there are any convolutions, with weights of a format.
    Products(WeightFormat),
    /// Attention of few rows over a cache.
    Attention,
    /// Attention of images.
    Images,
}

impl Tried {
    /// As it is kept and told.
    fn name(self) -> String {
        match self {
            Self::Products(format) => format!("{format:?}").to_lowercase(),
            Self::Attention => "attention".to_owned(),
            Self::Images => "attention of images".to_owned(),
        }
    }
}

/// One of its trials.
#[derive(Clone, Copy)]
enum Trial {
    /// A product of so many rows.
    Product(StorageDtype, usize),
    /// The same, half of which makes the gates of the other half.
    Gated(StorageDtype, usize),
    Convolution(StorageDtype),
    Attention,
    Images,
}

/// What was found out about a tier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Verdict {
    /// Checksum of the kernels' texts: others have to prove themselves anew.
    kernels: String,
    /// Largest relative error of each weight format that was tried.
    proven: BTreeMap<String, f32>,
    /// Why the tier was given up.
    demoted: Option<String>,
}

/// One tier on one device.
#[derive(Debug)]
struct Known {
    tier: Tier,
    offered: bool,
    verdict: Verdict,
}

/// The tiers of one device.
#[derive(Debug, Default)]
pub struct Tiers {
    known: Vec<Known>,
    /// Nothing has to be proven: this is the trial.
    trial: bool,
    path: Option<PathBuf>,
    #[cfg(test)]
    spoilt: bool,
}

impl Tiers {
    /// What is offered, and what an earlier run found out, if that was kept in this folder.
    pub fn new(device: &GpuDevice, folder: Option<&Path>) -> Self {
        let path = folder
            .map(|folder| folder.join(format!("tiers-{}.bin", disk::device_key(&device.report))));
        let mut kept: BTreeMap<String, Verdict> = path
            .as_deref()
            .and_then(disk::read_checked)
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let known = Tier::ALL.map(|tier| {
            let kernels = texts(tier);
            let verdict = kept
                .remove(tier.name())
                .filter(|verdict| verdict.kernels == kernels)
                .unwrap_or(Verdict {
                    kernels,
                    ..Verdict::default()
                });
            Known {
                tier,
                offered: tier.is_offered(device),
                verdict,
            }
        });
        Self {
            known: known.into(),
            trial: false,
            path,
            #[cfg(test)]
            spoilt: false,
        }
    }

    /// Lets plans be made with those that are offered and were not given up, and with no others.
    pub fn set(&self, limits: &mut KernelLimits) {
        let on = |tier| {
            let mut known = self.known.iter();
            known
                .any(|known| known.tier == tier && known.offered && known.verdict.demoted.is_none())
        };
        limits.subgroups = on(Tier::Subgroups);
        limits.halves = on(Tier::Halves);
    }

    /// What can be told about them.
    pub fn report(&self) -> Vec<TierReport> {
        self.known
            .iter()
            .map(
                |Known {
                     tier,
                     offered,
                     verdict,
                 }| TierReport {
                    name: tier.name().to_owned(),
                    state: match (&verdict.demoted, offered) {
                        (_, false) => TierState::NotOffered,
                        (Some(reason), _) => TierState::Demoted {
                            reason: reason.clone(),
                        },
                        (None, _) if verdict.proven.is_empty() => TierState::Untried,
                        (None, _) => TierState::Proven {
                            formats: verdict.proven.keys().cloned().collect(),
                            worst_error: verdict.proven.values().copied().fold(0.0, f32::max),
                        },
                    },
                },
            )
            .collect()
    }

    /// Makes the next trial find an error, as it would on a faulty device.
    #[cfg(test)]
    pub fn spoil(&mut self) {
        self.spoilt = true;
    }

    /// Offers 16-bit floats where only the device's kind speaks against them, so that software can show what they compute.
    #[cfg(test)]
    pub fn offer_halves(&mut self, device: &GpuDevice) -> bool {
        let has = device.features.contains(wgpu::Features::SHADER_F16);
        for known in &mut self.known {
            known.offered |= known.tier == Tier::Halves && has;
        }
        has
    }

    /// What a plan would use for the first time.
    fn untried(&self, compiled: &Compiled) -> BTreeSet<(Tier, Tried)> {
        if self.trial {
            return BTreeSet::new();
        }
        let used = compiled.steps.iter().filter_map(|step| {
            let kernel = step.dispatch.kernel;
            let known = self.known.iter().find(|known| known.tier.has(kernel))?;
            let tried = match (kernel, kernel.weight()) {
                (Kernel::AttentionAcross { .. }, _) => Tried::Images,
                (_, Some(format)) => Tried::Products(format),
                (_, None) => Tried::Attention,
            };
            Some((known, tried))
        });
        used.filter(|(known, tried)| !known.verdict.proven.contains_key(&tried.name()))
            .map(|(known, tried)| (known.tier, tried))
            .collect()
    }

    fn verdict(&mut self, tier: Tier) -> Option<&mut Verdict> {
        let known = self.known.iter_mut().find(|known| known.tier == tier);
        known.map(|known| &mut known.verdict)
    }

    fn keep(&self) {
        let Some(path) = &self.path else { return };
        let verdicts: BTreeMap<&str, &Verdict> = self
            .known
            .iter()
            .map(|known| (known.tier.name(), &known.verdict))
            .collect();
        let written = serde_json::to_vec(&verdicts)
            .map_err(|error| error.to_string())
            .and_then(|bytes| disk::write_checked(path, &bytes).map_err(|error| error.to_string()));
        if let Err(error) = written {
            tracing::warn!("what was found out about this device was not kept: {error}");
        }
    }
}

/// Checksum of the texts of all kernels of a tier.
fn texts(tier: Tier) -> String {
    let mut hash = Sha256::new();
    for kernel in Kernel::all() {
        if tier.has(kernel) {
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
    /// it has to be made again, without those that failed.
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
        let mut stands = true;
        let result: Result<(), ExecError> = untried.into_iter().try_for_each(|(tier, tried)| {
            stands &= self.prove_tried(&mut trial, tier, tried)?;
            Ok(())
        });
        std::mem::swap(&mut trial.pipelines, &mut self.pipelines);
        result?;
        self.tiers.keep();
        Ok(stands)
    }

    /// Whether a tier computes what the oracle computes. Where it does not, it is used no more.
    fn prove_tried(
        &mut self,
        trial: &mut Self,
        tier: Tier,
        tried: Tried,
    ) -> Result<bool, ExecError> {
        // By what was found for another format just now.
        if self
            .tiers
            .verdict(tier)
            .is_some_and(|verdict| verdict.demoted.is_some())
        {
            return Ok(false);
        }
        let mut worst: f32 = 0.0;
        let mut failed = None;
        let busy = trial.kernel_limits.busy_groups;
        let name = tried.name();
        let trials: Vec<(Trial, bool)> = match tried {
            Tried::Attention => vec![(Trial::Attention, false)],
            Tried::Images => vec![(Trial::Images, false)],
            Tried::Products(format) => {
                let dtype = storage_of(format);
                let products = tier.trials().iter();
                let products = products.map(|&(rows, few)| (Trial::Product(dtype, rows), few));
                // Where lanes read one after the other, many rows are for subgroups, too: a tile of 32 and one of 16.
                let serial = tier == Tier::Subgroups && trial.kernel_limits.serial_lanes;
                let many = [Trial::Product(dtype, 45), Trial::Gated(dtype, 45)];
                let many = many.into_iter().filter(|_| serial).map(|one| (one, false));
                let convolves = (serial || tier == Tier::Halves) && !format.is_wide();
                let convolutions = [false, true].map(|few| (Trial::Convolution(dtype), few));
                let convolutions = convolutions.into_iter().filter(|_| convolves);
                products.chain(many).chain(convolutions).collect()
            }
        };
        for (one, few_groups) in trials {
            trial.kernel_limits.busy_groups = if few_groups { 1 } else { busy.max(64) };
            let (what, found) = match one {
                Trial::Product(dtype, rows) => {
                    (format!(", {rows} rows"), product_error(trial, dtype, rows))
                }
                Trial::Gated(dtype, rows) => (
                    format!(", {rows} rows with gates"),
                    gated_error(trial, dtype, rows),
                ),
                Trial::Convolution(dtype) => (
                    ", a convolution".to_owned(),
                    convolution_error(trial, dtype, tier.convolutions()),
                ),
                Trial::Attention => (String::new(), attention_error(trial)),
                Trial::Images => (String::new(), image_attention_error(trial)),
            };
            #[cfg(test)]
            let found = if self.tiers.spoilt { Ok(1.0) } else { found };
            match found {
                Ok(error) if error <= tier.tolerance() => worst = worst.max(error),
                Ok(error) => {
                    failed = Some(format!("{name}{what}: relative error {error:.1e}"));
                }
                Err(error @ (ExecError::DeviceLost { .. } | ExecError::OutOfMemory { .. })) => {
                    return Err(error);
                }
                Err(error) => failed = Some(format!("{name}{what}: {error}")),
            }
            if failed.is_some() {
                break;
            }
        }
        trial.kernel_limits.busy_groups = busy;
        let stands = failed.is_none();
        if let Some(verdict) = self.tiers.verdict(tier) {
            match &failed {
                Some(_) => verdict.demoted.clone_from(&failed),
                None => {
                    verdict.proven.insert(name, worst);
                }
            }
        }
        if let Some(reason) = failed {
            let (name, device) = (tier.name(), &self.device.report.name);
            tracing::warn!(
                "{name} are given up on {device}: {reason}; portable kernels take their place"
            );
            let limits = &mut self.kernel_limits;
            for limits in [limits, &mut trial.kernel_limits] {
                match tier {
                    Tier::Subgroups => limits.subgroups = false,
                    Tier::Halves => limits.halves = false,
                }
            }
        }
        Ok(stands)
    }
}
