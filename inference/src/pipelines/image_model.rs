//! A text-to-image model: text encoder, U-Net, autoencoder, tokenizer and training schedule, whatever files they came
//! from.

use std::path::Path;
use std::sync::Arc;

use super::error::JobError;
use super::{merge, sound};
use crate::diffusion::{SchedulerConfig, TrainingSchedule};
use crate::formats::detect::ModelInfo;
use crate::formats::diffusion_model::{
    Component, DiffusionModel, Family, open_autoencoder, open_diffusion_model,
};
use crate::formats::embedding::Embedding;
use crate::formats::lora::{Lora, family_of_width};
use crate::formats::{WeightMap, split};
use crate::graph::Graph;
use crate::models::autoencoder_kl::AutoencoderKlConfig;
use crate::models::autoencoder_tiny::AutoencoderTinyConfig;
use crate::models::clip_text::ClipTextConfig;
use crate::models::unet::UNetConfig;
use crate::models::{AutoencoderKl, AutoencoderTiny, ClipText, UNet};
use crate::text::tokenizer::ClipTokenizer;

/// CLIP's merges, within the program's assets; single-file checkpoints bring no tokenizer.
const CLIP_MERGES: &str = "tokenizers/clip/merges.txt";

/// Decodes latents to pictures.
pub enum Autoencoder {
    /// Stable Diffusion's.
    Kl(Box<AutoencoderKl>),
    /// A distilled one.
    Tiny(Box<AutoencoderTiny>),
}

impl Autoencoder {
    /// The graph that decodes one picture's latents of a height and width.
    ///
    /// # Errors
    /// Weights that do not fit, sizes that cannot be addressed.
    pub fn decode_graph(&self, height: usize, width: usize) -> Result<Graph, JobError> {
        Ok(match self {
            Self::Kl(model) => model.decode_graph(1, height, width)?,
            Self::Tiny(model) => model.decode_graph(1, height, width)?,
        })
    }

    /// The graph that encodes one picture of a height and width: its latents' means and, where the encoder tells them, the
    /// logarithms of their variances.
    ///
    /// # Errors
    /// A file without an encoder; weights that do not fit, sizes that cannot be addressed.
    pub fn encode_graph(&self, height: usize, width: usize) -> Result<Graph, JobError> {
        let has_encoder = match self {
            Self::Kl(model) => model.has_encoder(),
            Self::Tiny(model) => model.has_encoder(),
        };
        if !has_encoder {
            return Err(JobError::Request(
                "this model's autoencoder can only decode, so it cannot begin from a picture; use a VAE that has an encoder".into(),
            ));
        }
        Ok(match self {
            Self::Kl(model) => model.encode_graph(1, height, width)?,
            Self::Tiny(model) => model.encode_graph(1, height, width)?,
        })
    }

    /// Pixels for each latent pixel, in each direction.
    pub fn factor(&self) -> usize {
        match self {
            Self::Kl(model) => model.spatial_factor(),
            Self::Tiny(model) => model.spatial_factor(),
        }
    }

    /// Channels of the latents.
    pub fn latent_channels(&self) -> usize {
        match self {
            Self::Kl(model) => model.config().latent_channels,
            Self::Tiny(model) => model.config().latent_channels,
        }
    }

    /// Whether it is a distilled one, which costs next to nothing.
    pub fn is_tiny(&self) -> bool {
        matches!(self, Self::Tiny(_))
    }

    /// Its weights.
    pub fn weights(&self) -> &WeightMap {
        match self {
            Self::Kl(model) => model.weights(),
            Self::Tiny(model) => model.weights(),
        }
    }

    /// What the U-Net's latents are divided by before decoding.
    pub fn scaling(&self) -> f32 {
        match self {
            Self::Kl(model) => model.config().scaling_factor as f32,
            Self::Tiny(model) => model.config().scaling_factor as f32,
        }
    }

    /// What is added after that division.
    pub fn shift(&self) -> f32 {
        match self {
            Self::Kl(model) => model.config().shift_factor as f32,
            Self::Tiny(_) => 0.0,
        }
    }
}

/// Stable Diffusion XL's second text encoder, and its tokenizer, which pads otherwise.
pub struct SecondText {
    /// The encoder, with the projection for the pooled text.
    pub encoder: ClipText,
    /// The tokenizer.
    pub tokenizer: Arc<ClipTokenizer>,
}

/// A loaded text-to-image model.
pub struct ImageModel {
    text_encoder: ClipText,
    second_text: Option<SecondText>,
    unet: UNet,
    vae: Arc<Autoencoder>,
    tokenizer: Arc<ClipTokenizer>,
    training: TrainingSchedule,
    hash: String,
    changes: u64,
    vae_changes: u64,
    text_changes: u64,
    /// Tokens of learnt words, at the end of the vocabularies.
    learnt: usize,
}

impl ImageModel {
    /// Loads a diffusers folder, a single-file checkpoint, or a model in separate files. `assets` holds CLIP's tokenizer for the latter.
    ///
    /// # Errors
    /// If files are faulty, or parts do not fit each other.
    pub fn load(
        path: &Path,
        info: &ModelInfo,
        assets: &Path,
        hash: String,
    ) -> Result<Self, JobError> {
        let files = match info.parts() {
            Some(parts) => split::open(parts)?,
            None => open_diffusion_model(path)?,
        };
        let text_encoder = text_encoder(&files.text_encoder)?;
        let unet = unet(&files.unet)?;
        let vae = autoencoder(&files.vae)?;
        let tokenizer =
            tokenizer(&files, assets)?.with_max_length(text_encoder.config().max_positions)?;
        let training =
            TrainingSchedule::new(&SchedulerConfig::from_json(&files.scheduler.to_string())?)?;
        let second_text = match &files.text_encoder_2 {
            Some(part) => Some(second_text(part, &files, assets)?),
            None => None,
        };
        let model = Self {
            text_encoder,
            second_text,
            unet,
            vae: Arc::new(vae),
            tokenizer: Arc::new(tokenizer),
            training,
            hash,
            changes: 0,
            vae_changes: 0,
            text_changes: 0,
            learnt: 0,
        };
        model.check(path)?;
        Ok(model)
    }

    /// The same model with changed weights: of each file so much is added. `number` is what plans of it are known by; `stop` is
    /// asked between layers. The autoencoder and all layers that are not changed are shared.
    ///
    /// # Errors
    /// Files made for another model; layers that do not fit; an interruption.
    pub fn with_loras(
        &self,
        files: &[(&str, Lora, f32)],
        number: u64,
        stop: &mut dyn FnMut() -> bool,
        warnings: &mut Vec<String>,
    ) -> Result<Self, JobError> {
        let ours = family_of_width(self.unet.config().cross_attention_dim);
        let foreign = |lora: &Lora| {
            let what = lora
                .family()
                .map_or("made for another kind of model".to_owned(), |family| {
                    format!("for {family}")
                });
            JobError::Request(format!(
                "{}: this LoRA is {what}; the loaded model is {}",
                lora.path().display(),
                ours.unwrap_or("of another kind")
            ))
        };
        for (_, lora, _) in files {
            let theirs = lora.family();
            if theirs.is_some() && ours.is_some() && theirs != ours {
                return Err(foreign(lora));
            }
        }
        let unet = merge::merged(self.unet.weights(), merge::Network::UNet, files, stop)?;
        let text = merge::merged(
            self.text_encoder.weights(),
            merge::Network::Text,
            files,
            stop,
        )?;
        let second = match &self.second_text {
            Some(second) => Some(merge::merged(
                second.encoder.weights(),
                merge::Network::SecondText,
                files,
                stop,
            )?),
            None => None,
        };
        for (place, (name, lora, _)) in files.iter().enumerate() {
            let used = |merged: &merge::Merged| merged.used.get(place).copied().unwrap_or(0);
            let of_second = second.as_ref().map_or(0, used);
            let used = used(&unet) + used(&text) + of_second;
            let all = lora.layers().len();
            if used == 0 {
                return Err(foreign(lora));
            }
            if let Some((count, example)) = lora.unknown() {
                warnings.push(format!(
                    "{count} tensors of the LoRA '{name}' are of a kind that is not known, such as `{example}`, and do nothing"
                ));
            }
            if used < all {
                warnings.push(format!(
                    "{} of the {all} layers of the LoRA '{name}' have no counterpart in this model and do nothing",
                    all - used
                ));
            }
        }
        let second_text = match (&self.second_text, second) {
            (Some(known), Some(merged)) => Some(SecondText {
                encoder: ClipText::new(known.encoder.config().clone(), merged.weights)?,
                tokenizer: Arc::clone(&known.tokenizer),
            }),
            _ => None,
        };
        Ok(Self {
            second_text,
            text_encoder: ClipText::new(self.text_encoder.config().clone(), text.weights)?,
            unet: UNet::new(self.unet.config().clone(), unet.weights)?,
            vae: Arc::clone(&self.vae),
            tokenizer: Arc::clone(&self.tokenizer),
            training: self.training.clone(),
            hash: self.hash.clone(),
            changes: number,
            vae_changes: self.vae_changes,
            text_changes: number,
            learnt: self.learnt,
        })
    }

    /// The same model with another autoencoder, which the latents of this one must suit; it keeps this one's scale, unless it is a distilled one.
    ///
    /// # Errors
    /// Faulty files; an autoencoder of another kind of latents.
    pub fn with_vae(&self, path: &Path, number: u64) -> Result<Self, JobError> {
        let mut part = open_autoencoder(path)?;
        // A distilled one has its own scale: it takes latents as the U-Net has them.
        let own_scale = part.class == "AutoencoderTiny";
        if let Some(config) = part.config.as_object_mut().filter(|_| !own_scale) {
            config.insert("scaling_factor".into(), self.vae.scaling().into());
            config.insert("shift_factor".into(), self.vae.shift().into());
        }
        let vae = autoencoder(&part)?;
        let (theirs, ours) = (
            (vae.latent_channels(), vae.factor()),
            (self.vae.latent_channels(), self.vae.factor()),
        );
        if theirs != ours {
            return Err(JobError::Request(format!(
                "{}: this VAE makes latents of {} channels, one for {} pixels; the loaded model needs {} channels, one for {}",
                path.display(),
                theirs.0,
                theirs.1,
                ours.0,
                ours.1
            )));
        }
        let second_text = self.second_text.as_ref().map(|second| SecondText {
            encoder: second.encoder.clone(),
            tokenizer: Arc::clone(&second.tokenizer),
        });
        Ok(Self {
            second_text,
            text_encoder: self.text_encoder.clone(),
            unet: self.unet.clone(),
            vae: Arc::new(vae),
            tokenizer: Arc::clone(&self.tokenizer),
            training: self.training.clone(),
            hash: self.hash.clone(),
            changes: self.changes,
            vae_changes: number,
            text_changes: self.text_changes,
            learnt: self.learnt,
        })
    }

    /// Whether a learnt word was made for this model's text encoders.
    ///
    /// # Errors
    /// If not, with both in words.
    pub fn check_word(&self, name: &str, word: &Embedding) -> Result<(), JobError> {
        let second = self.second_text.as_ref().map(|text| &text.encoder);
        let ours: Vec<usize> = std::iter::once(&self.text_encoder)
            .chain(second)
            .map(|encoder| encoder.config().hidden_size)
            .collect();
        let theirs: Vec<usize> = word.parts().iter().map(|part| part.width).collect();
        if theirs == ours {
            return Ok(());
        }
        let wide = |widths: &[usize]| {
            let widths: Vec<String> = widths.iter().map(usize::to_string).collect();
            widths.join(" and ")
        };
        let model = match self.second_text {
            Some(_) => Some("SDXL"),
            None => ours.first().and_then(|width| family_of_width(*width)),
        };
        Err(JobError::Request(format!(
            "'{name}': this embedding is for {} ({} wide); the loaded model is {} ({} wide)",
            word.made_for(),
            wide(&theirs),
            model.unwrap_or("of another kind"),
            wide(&ours)
        )))
    }

    /// The same model with learnt words, each by the name that prompts call it; they fit ([`Self::check_word`]). `number` is what plans of the
    /// text encoders are known by.
    ///
    /// # Errors
    /// Words that do not fit.
    pub fn with_words(&self, words: &[(String, Embedding)], number: u64) -> Result<Self, JobError> {
        let mut names = Vec::new();
        let mut vectors = [Vec::new(), Vec::new()];
        let mut count = 0u32;
        for (name, word) in words {
            self.check_word(name, word)?;
            let size = word.count() as u32;
            names.push((name.clone(), count..count + size));
            count += size;
            for (all, part) in vectors.iter_mut().zip(word.parts()) {
                all.extend_from_slice(&part.values);
            }
        }
        let learn = |encoder: &ClipText, tokenizer: &ClipTokenizer, values: &[f32]| {
            let first = encoder.config().vocab_size as u32;
            let words = names
                .iter()
                .map(|(name, ids)| (name.clone(), first + ids.start..first + ids.end))
                .collect();
            let encoder = encoder.with_tokens(values)?;
            Ok::<_, JobError>((encoder, Arc::new(tokenizer.with_words(words))))
        };
        let [first, second] = &vectors;
        let (text_encoder, tokenizer) = learn(&self.text_encoder, &self.tokenizer, first)?;
        let second_text = match &self.second_text {
            Some(text) => {
                let (encoder, tokenizer) = learn(&text.encoder, &text.tokenizer, second)?;
                Some(SecondText { encoder, tokenizer })
            }
            None => None,
        };
        Ok(Self {
            text_encoder,
            second_text,
            unet: self.unet.clone(),
            vae: Arc::clone(&self.vae),
            tokenizer,
            training: self.training.clone(),
            hash: self.hash.clone(),
            changes: self.changes,
            vae_changes: self.vae_changes,
            text_changes: number,
            learnt: self.learnt + count as usize,
        })
    }

    /// As [`Self::changes`], of the text encoders.
    pub fn text_changes(&self) -> u64 {
        self.text_changes
    }

    /// Tokens of learnt words, which are the last of the text encoders' vocabularies.
    pub fn learnt(&self) -> usize {
        self.learnt
    }

    /// As [`Self::changes`], of the autoencoder.
    pub fn vae_changes(&self) -> u64 {
        self.vae_changes
    }

    /// By what plans of this model are known: 0 for the model as it lies in its files.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Parts of different models can lie in one folder.
    fn check(&self, path: &Path) -> Result<(), JobError> {
        let unet = self.unet.config();
        let misfit = |what: String| {
            JobError::Request(format!(
                "{}: its parts do not belong together: {what}",
                path.display()
            ))
        };
        let latent = self.vae.latent_channels();
        // Networks made for inpainting also see a mask and the masked picture.
        if unet.in_channels != latent && unet.in_channels != 2 * latent + 1
            || unet.out_channels != self.vae.latent_channels()
        {
            return Err(misfit(format!(
                "the U-Net takes {} channels and gives {}, the autoencoder has {}",
                unet.in_channels,
                unet.out_channels,
                self.vae.latent_channels()
            )));
        }
        let second = self.second_text.as_ref();
        let (width, wanted) = (
            self.text_encoder.config().hidden_size
                + second.map_or(0, |text| text.encoder.config().hidden_size),
            unet.cross_attention_dim,
        );
        let fits = match unet.added {
            None => second.is_none(),
            Some(added) => {
                let last = second.map_or(&self.text_encoder, |text| &text.encoder);
                let pooled = last.pooled_width();
                pooled.is_some_and(|pooled| added.numbers(pooled).is_some())
            }
        };
        if !fits {
            return Err(misfit(
                "the U-Net and the second text encoder do not speak of the same pooled text".into(),
            ));
        }
        if width != wanted {
            return Err(misfit(format!(
                "the text encoder is {width} wide, the U-Net wants {wanted}"
            )));
        }
        Ok(())
    }

    /// The text encoder.
    pub fn text_encoder(&self) -> &ClipText {
        &self.text_encoder
    }

    /// The second text encoder, in Stable Diffusion XL.
    pub fn second_text(&self) -> Option<&SecondText> {
        self.second_text.as_ref()
    }

    /// How many numbers the network is told beside a pooled text: six in Stable Diffusion XL, five in its refiner.
    pub fn numbers(&self) -> Option<usize> {
        let last = self
            .second_text
            .as_ref()
            .map_or(&self.text_encoder, |text| &text.encoder);
        self.unet.config().added?.numbers(last.pooled_width()?)
    }

    /// The noise predictor.
    pub fn unet(&self) -> &UNet {
        &self.unet
    }

    /// The autoencoder.
    pub fn vae(&self) -> &Autoencoder {
        &self.vae
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &ClipTokenizer {
        &self.tokenizer
    }

    /// The schedule of noise that it was trained with.
    pub fn training(&self) -> &TrainingSchedule {
        &self.training
    }

    /// Pixels for each latent pixel, in each direction.
    pub fn factor(&self) -> usize {
        self.vae.factor()
    }

    /// Channels of the latents.
    pub fn latent_channels(&self) -> usize {
        self.vae.latent_channels()
    }

    /// First ten digits of the SHA-256 of its weights.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

fn text_encoder(part: &Component) -> Result<ClipText, JobError> {
    let config = ClipTextConfig::from_json(&part.config_path, &part.config)?;
    Ok(ClipText::new(config, part.weights.clone())?)
}

fn second_text(
    part: &Component,
    files: &DiffusionModel,
    assets: &Path,
) -> Result<SecondText, JobError> {
    let encoder = text_encoder(part)?;
    let tokenizer = match &files.tokenizer_2 {
        Some(tokenizer) => {
            let folder = tokenizer.vocab.parent().unwrap_or(Path::new("."));
            ClipTokenizer::from_folder(folder)?
        }
        // OpenCLIP pads with token 0.
        None => ClipTokenizer::from_merges(&assets.join(CLIP_MERGES), "!")?,
    };
    let tokenizer = tokenizer.with_max_length(encoder.config().max_positions)?;
    Ok(SecondText {
        encoder,
        tokenizer: Arc::new(tokenizer),
    })
}

fn unet(part: &Component) -> Result<UNet, JobError> {
    let config = UNetConfig::from_json(&part.config_path, &part.config)?;
    Ok(UNet::new(config, part.weights.clone())?)
}

fn autoencoder(part: &Component) -> Result<Autoencoder, JobError> {
    if part.class == "AutoencoderTiny" {
        let config = AutoencoderTinyConfig::from_json(&part.config_path, &part.config)?;
        sound::check("VAE", part.weights.source(), &part.weights)?;
        return Ok(Autoencoder::Tiny(Box::new(AutoencoderTiny::new(
            config,
            part.weights.clone(),
        )?)));
    }
    let config = AutoencoderKlConfig::from_json(&part.config_path, &part.config)?;
    Ok(Autoencoder::Kl(Box::new(AutoencoderKl::new(
        config,
        part.weights.clone(),
    )?)))
}

/// The tokenizer of the first text encoder of a model; of its files only headers and configs are read.
///
/// # Errors
/// If they cannot be read.
pub(super) fn tokenizer_at(path: &Path, assets: &Path) -> Result<ClipTokenizer, JobError> {
    let files = open_diffusion_model(path)?;
    let part = &files.text_encoder;
    let config = ClipTextConfig::from_json(&part.config_path, &part.config)?;
    Ok(tokenizer(&files, assets)?.with_max_length(config.max_positions)?)
}

fn tokenizer(files: &DiffusionModel, assets: &Path) -> Result<ClipTokenizer, JobError> {
    if let Some(tokenizer) = &files.tokenizer {
        let folder = tokenizer.vocab.parent().unwrap_or(Path::new("."));
        return Ok(ClipTokenizer::from_folder(folder)?);
    }
    // SD 1.x pads with the end token, OpenCLIP's training (2.x) with token 0, "!".
    let open_clip = files.family == Some(Family::Sd2)
        || files.family == Some(Family::Sdxl) && files.text_encoder_2.is_none();
    let pad = if open_clip { "!" } else { "<|endoftext|>" };
    Ok(ClipTokenizer::from_merges(&assets.join(CLIP_MERGES), pad)?)
}
