//! The parts of a model that lie about its U-Net: in the same folder, and in the folders that ComfyUI has for them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::formats::detect::{ModelInfo, ModelKind, probe, scan};

use super::text::TextFile;

/// Folders that ComfyUI and Forge keep U-Nets in.
const UNETS: [&str; 3] = ["diffusion_models", "unet", "Stable-diffusion"];
/// Those beside them for the other parts.
const OTHERS: [&str; 5] = ["text_encoders", "text_encoder", "clip", "vae", "VAE"];
/// Folders above the U-Net's that are looked at.
const DEPTH: usize = 3;
/// Most files beside the U-Net that are looked at.
const MOST_FILES: usize = 500;

/// What lies about a U-Net.
pub(super) struct Near {
    found: Vec<(PathBuf, ModelKind)>,
}

impl Near {
    /// Looks about a file. Files that cannot be read are nothing to it.
    pub fn of(unet: &Path) -> Self {
        let unet = unet.canonicalize().unwrap_or_else(|_| unet.to_owned());
        let mut near = Self { found: Vec::new() };
        let mut seen = HashSet::new();
        let mut take = |path: PathBuf, info: ModelInfo| {
            let wanted = matches!(info.kind(), ModelKind::TextEncoder | ModelKind::Autoencoder);
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            if wanted && seen.insert(real) {
                near.found.push((path, info.kind()));
            }
        };
        let folder = unet.parent().unwrap_or(Path::new("."));
        let mut files: Vec<PathBuf> = match std::fs::read_dir(folder) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(_) => Vec::new(),
        };
        files.sort();
        for path in files
            .into_iter()
            .filter(|path| path.is_file())
            .take(MOST_FILES)
        {
            if path != unet
                && let Ok(info) = probe(&path)
            {
                take(path, info);
            }
        }
        for folder in unet.ancestors().skip(1).take(DEPTH) {
            let named = folder.file_name().and_then(|name| name.to_str());
            let (Some(_), Some(above)) = (named.filter(|n| UNETS.contains(n)), folder.parent())
            else {
                continue;
            };
            for other in OTHERS {
                for (path, info) in scan(&above.join(other)) {
                    if let Ok(info) = info {
                        take(path, info);
                    }
                }
            }
        }
        near.found.sort_by(|(a, _), (b, _)| a.cmp(b));
        near
    }

    /// CLIP text encoders; others (T5) are passed over.
    pub fn text_encoders(&mut self) -> Vec<TextFile> {
        self.of_kind(ModelKind::TextEncoder)
            .iter()
            .filter_map(|path| TextFile::open(path).ok())
            .collect()
    }

    /// Autoencoders that can be opened; not the distilled ones that are for previews, which nobody wants who did not ask for them.
    pub fn autoencoders(&mut self) -> Vec<PathBuf> {
        let mut found = self.of_kind(ModelKind::Autoencoder);
        found.retain(|path| {
            let part = crate::formats::diffusion_model::open_autoencoder(path);
            part.is_ok_and(|part| part.class != "AutoencoderTiny")
        });
        found
    }

    fn of_kind(&self, kind: ModelKind) -> Vec<PathBuf> {
        let of_kind = self.found.iter().filter(|(_, found)| *found == kind);
        of_kind.map(|(path, _)| path.clone()).collect()
    }
}
