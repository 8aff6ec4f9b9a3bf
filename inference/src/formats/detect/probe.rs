//! Telling what one file or folder is.

mod gguf;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{ModelInfo, ModelKind, ModelLayout};
use crate::formats::diffusers;
use crate::formats::diffusion_model::{Component, DiffusionModel, open_diffusion_model};
use crate::formats::error::{FormatError, brief};
use crate::formats::gguf::{Gguf, GgufMetadata, looks_like_gguf, read_gguf};
use crate::formats::json::{MAX_CONFIG, read_json_as};
use crate::formats::ldm::{Identity, identify};
use crate::formats::safetensors::{
    Safetensors, count_dtypes, find_in_folder, looks_like_safetensors, read_any,
};
use crate::formats::torch::looks_like_torch;
use crate::formats::weights::{WeightMap, regular_file};

/// Architectures of GGUF files that are run here, by the name that the file gives.
pub(crate) const CHAT_ARCHITECTURES: [&str; 10] = [
    "llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "smollm3", "olmo2", "granite",
    "qwen3moe",
];
/// `model_type` of the Hugging Face folders that are run here.
pub(crate) const CHAT_MODEL_TYPES: [&str; 11] = [
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3_text",
    "phi3",
    "smollm3",
    "olmo2",
    "granite",
    "qwen3_moe",
];
/// Architectures of GGUF files that draw pictures or films.
const PICTURE_ARCHITECTURES: [&str; 14] = [
    "sd1",
    "sdxl",
    "sd3",
    "flux",
    "aura",
    "hidream",
    "cosmos",
    "ltxv",
    "hyvid",
    "wan",
    "lumina2",
    "qwen_image",
    "z_image",
    "chroma",
];

/// What the first bytes of a file say that it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Magic {
    Gguf,
    Safetensors,
    Pickle,
    None,
}

/// Looks at the first bytes.
pub(super) fn magic(path: &Path) -> Result<Magic, FormatError> {
    let meta = regular_file(path)?;
    let mut start = Vec::new();
    File::open(path)
        .map_err(|e| FormatError::io(path, "open", e))?
        .take(256)
        .read_to_end(&mut start)
        .map_err(|e| FormatError::io(path, "read", e))?;
    Ok(if looks_like_gguf(&start) {
        Magic::Gguf
    } else if looks_like_torch(&start) {
        Magic::Pickle
    } else if looks_like_safetensors(&start, meta.len()) {
        Magic::Safetensors
    } else {
        Magic::None
    })
}

/// Tells what lies at a path: a file, or the folder of one model.
///
/// # Errors
/// Damaged files, and files that are no model at all. A model that is known but cannot be used is no error: see
/// [`ModelInfo::usable`].
pub fn probe(path: &Path) -> Result<ModelInfo, FormatError> {
    let meta = std::fs::metadata(path).map_err(|e| FormatError::io(path, "open", e))?;
    if meta.is_dir() {
        return probe_folder(path)?.ok_or_else(|| FormatError::UnknownFormat {
            path: path.into(),
            reason: "the folder has neither model_index.json nor config.json with weights".into(),
        });
    }
    if path.file_name().is_some_and(|n| n == "model_index.json") {
        return pipeline(path.parent().unwrap_or(Path::new(".")));
    }
    if path.to_string_lossy().ends_with(".index.json") {
        return safetensors(path);
    }
    match magic(path)? {
        Magic::Gguf => gguf::gguf(path),
        Magic::Safetensors => safetensors(path),
        // Weights of torch's formats are read as any others, without running anything; whatever else is in them is told.
        Magic::Pickle => Ok(match safetensors(path) {
            Ok(mut info) => {
                info.layout = ModelLayout::Pickle;
                info
            }
            Err(fault) => pickle(path, meta.len(), &fault),
        }),
        Magic::None => {
            // A safetensors file whose header lies is told by its reader what is wrong with it.
            let named = path
                .extension()
                .is_some_and(|e| e == "safetensors" || e == "sft");
            if named {
                return safetensors(path);
            }
            Err(FormatError::UnknownFormat {
                path: path.into(),
                reason: if meta.len() == 0 {
                    "the file is empty".into()
                } else {
                    "it is neither safetensors nor GGUF".into()
                },
            })
        }
    }
}

/// The one model that a folder is, or none: then it may hold models.
pub(super) fn probe_folder(folder: &Path) -> Result<Option<ModelInfo>, FormatError> {
    if diffusers::is_pipeline_folder(folder) {
        return pipeline(folder).map(Some);
    }
    let config_path = folder.join("config.json");
    if !config_path.is_file() {
        return Ok(None);
    }
    let Ok(weights) = diffusers::find_weights(folder, "the model") else {
        // Configs lie about in many folders; beside a GGUF, for example.
        return Ok(None);
    };
    let config: Value = read_json_as(&config_path, "config.json", MAX_CONFIG)?;
    let file = read_any(&weights)?;
    let class = diffusers::config_class(&config).unwrap_or("");
    let model_type = config.get("model_type").and_then(Value::as_str);
    let kind = match class {
        "UNet2DConditionModel" => ModelKind::Denoiser,
        "AutoencoderKL" | "AutoencoderTiny" => ModelKind::Autoencoder,
        "ControlNetModel" | "ControlNetUnionModel" => ModelKind::ControlNet,
        "CLIPTextModel" | "CLIPTextModelWithProjection" | "T5EncoderModel" => {
            ModelKind::TextEncoder
        }
        name if name.ends_with("ForCausalLM") => ModelKind::Chat,
        _ => ModelKind::Other,
    };
    let architecture = if class.is_empty() {
        model_type.unwrap_or("a network of unknown architecture")
    } else {
        class
    };
    let mut info = start(
        kind,
        ModelLayout::ComponentFolder,
        architecture,
        &file.tensors,
    );
    info.set_files(weight_files(&file.tensors, &weights));
    if kind == ModelKind::Autoencoder {
        return Ok(Some(info));
    }
    if kind == ModelKind::ControlNet {
        match crate::formats::ldm::open_controlnet(folder) {
            Ok(part) => controlnet_details(&mut info, &part),
            Err(fault) => info.unusable = Some(fault.to_string()),
        }
        return Ok(Some(info));
    }
    if kind == ModelKind::Chat {
        chat_folder(&mut info, folder, &config, &file.tensors);
        return Ok(Some(info));
    }
    info.unusable = Some(format!(
        "this is a single network ({}) and not a whole model; give the folder that has model_index.json",
        brief(architecture)
    ));
    Ok(Some(info))
}

/// A language model in Hugging Face's layout.
fn chat_folder(info: &mut ModelInfo, folder: &Path, config: &Value, tensors: &WeightMap) {
    let model_type = config.get("model_type").and_then(Value::as_str);
    for (key, label) in [
        ("max_position_embeddings", "context length"),
        ("num_hidden_layers", "layers"),
        ("hidden_size", "width"),
        ("num_attention_heads", "heads"),
        ("num_key_value_heads", "key and value heads"),
        ("num_experts", "experts"),
        ("num_experts_per_tok", "experts a token"),
        ("vocab_size", "vocabulary"),
    ] {
        if let Some(number) = config.get(key).and_then(Value::as_u64) {
            info.detail(label, number);
        }
    }
    info.abilities.push("text completion".into());
    let config_text = folder.join("tokenizer_config.json");
    let has_template = folder.join("chat_template.jinja").is_file()
        || folder.join("chat_template.json").is_file()
        || read_json_as::<Value>(&config_text, "tokenizer_config.json", MAX_CONFIG)
            .is_ok_and(|config| config.get("chat_template").is_some());
    if has_template {
        info.abilities.push("chat".into());
    }
    if !model_type.is_some_and(|name| CHAT_MODEL_TYPES.contains(&name)) {
        let shown = brief(model_type.unwrap_or("(none)"));
        info.refuse(
            &format!("a model of the type `{shown}`"),
            &format!("use one of {}", CHAT_MODEL_TYPES.join(", ")),
        );
    } else if !folder.join("tokenizer.json").is_file() {
        info.unusable = Some(
            "the folder has no tokenizer.json; load its tokenizer with transformers and save it here (save_pretrained), or convert the model to GGUF"
                .into(),
        );
    } else {
        info.unusable = check_types(tensors);
    }
}

/// What can be told of any set of tensors.
fn start(
    kind: ModelKind,
    layout: ModelLayout,
    architecture: &str,
    tensors: &WeightMap,
) -> ModelInfo {
    ModelInfo {
        kind,
        layout,
        name: None,
        architecture: brief(architecture),
        dtypes: count_dtypes(tensors),
        tensors: tensors.len(),
        parameters: tensors.total_elements(),
        file_bytes: 0,
        converted_bytes: tensors.iter().map(|(_, tensor)| tensor.made_bytes()).sum(),
        abilities: Vec::new(),
        details: BTreeMap::new(),
        unusable: None,
        remembers: None,
        files: Vec::new(),
        parts: None,
    }
}

impl ModelInfo {
    fn set_files(&mut self, files: Vec<PathBuf>) {
        let sizes = files.iter().filter_map(|f| std::fs::metadata(f).ok());
        self.file_bytes = sizes.map(|meta| meta.len()).sum();
        self.files = files;
    }

    fn detail(&mut self, name: &str, value: impl ToString) {
        self.details.insert(name.into(), brief(&value.to_string()));
    }

    fn refuse(&mut self, what: &str, remedy: &str) {
        self.unusable = Some(format!(
            "this is {what}, which Diptych cannot run yet; {remedy}"
        ));
    }
}

/// The files that the tensors lie in, in order of name; the file itself if there are none.
fn weight_files(tensors: &WeightMap, path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = tensors.iter().map(|(_, t)| t.source().into()).collect();
    files.sort();
    files.dedup();
    if files.is_empty() {
        files.push(path.into());
    }
    files
}

/// The first weight of a type that cannot be computed with. Tables of numbers that come along with weights do not count.
fn check_types(tensors: &WeightMap) -> Option<String> {
    let counts =
        |name: &str| !name.ends_with("position_ids") && !name.ends_with("num_batches_tracked");
    let (name, tensor) = tensors
        .iter()
        .find(|(name, tensor)| !tensor.dtype().is_float_weight() && counts(name))?;
    let fault = FormatError::UnsupportedDtype {
        path: tensor.source().into(),
        tensor: name.into(),
        dtype: tensor.dtype(),
    };
    Some(fault.to_string())
}

/// A whole model of the Stable Diffusion family.
pub(in crate::formats) fn describe_diffusion(model: &DiffusionModel) -> ModelInfo {
    let layout = match model.layout {
        crate::formats::diffusion_model::Layout::Diffusers => ModelLayout::DiffusersFolder,
        crate::formats::diffusion_model::Layout::Ldm => ModelLayout::Safetensors,
        crate::formats::diffusion_model::Layout::Split => ModelLayout::SplitFiles,
    };
    let architecture = match model.family {
        Some(family) => family.name(),
        None => "Stable Diffusion",
    };
    let parts = [
        ("unet", &model.unet),
        ("vae", &model.vae),
        ("text_encoder", &model.text_encoder),
    ];
    let parts: Vec<(&str, &Component)> = parts
        .into_iter()
        .chain(
            model
                .text_encoder_2
                .as_ref()
                .map(|part| ("text_encoder_2", part)),
        )
        .collect();
    let mut all = WeightMap::new(model.source.as_path());
    for (name, part) in &parts {
        for (tensor_name, tensor) in part.weights.iter() {
            all.insert(format!("{name}.{tensor_name}"), tensor.clone());
        }
    }
    let mut info = start(ModelKind::TextToImage, layout, architecture, &all);
    info.set_files(weight_files(&all, &model.source));
    info.abilities.push("text to image".into());
    let number = |part: &Component, key: &str| part.config.get(key).and_then(Value::as_u64);
    info.detail("prediction", model.prediction_type());
    let levels = model.vae.config.get("block_out_channels");
    let levels = levels.and_then(Value::as_array).map_or(0, Vec::len);
    // Only what makes sense as a number of pixels is told.
    if (1..16).contains(&levels) {
        let factor = 1u64 << (levels - 1);
        info.detail("size factor", factor);
        let native = number(&model.unet, "sample_size").and_then(|size| size.checked_mul(factor));
        if let Some(side) = native {
            info.detail("native size", format!("{side}x{side}"));
        }
    }
    if let Some(channels) = number(&model.vae, "latent_channels") {
        info.detail("latent channels", channels);
    }
    if let Some(width) = number(&model.unet, "cross_attention_dim") {
        info.detail("text width", width);
    }
    for (name, part) in &parts {
        info.detail(&format!("{name} parameters"), part.weights.total_elements());
    }
    info.detail("autoencoder", &model.vae.class);
    if model
        .unet
        .config
        .get("time_cond_proj_dim")
        .is_some_and(Value::is_u64)
    {
        info.detail("told the guidance", "yes");
    }
    if let Some(kind) = distillation(model) {
        info.detail("distilled", kind);
    }
    let class = |part: &Component, known: &[&str]| known.contains(&part.class.as_str());
    if !class(&model.unet, &["UNet2DConditionModel"])
        || !class(&model.vae, &["AutoencoderKL", "AutoencoderTiny"])
        || !class(
            &model.text_encoder,
            &["CLIPTextModel", "CLIPTextModelWithProjection"],
        )
    {
        let classes: Vec<&str> = parts.iter().map(|(_, part)| part.class.as_str()).collect();
        let classes = classes.join(", ");
        info.refuse(
            &format!("a pipeline of the networks {}", brief(&classes)),
            "use a Stable Diffusion 1.x, 2.x or XL model",
        );
    } else {
        info.unusable = check_types(&all);
    }
    info
}

/// How a model was distilled to draw in a few steps, as far as its configs tell: by its scheduler, or a network that is told the guidance.
fn distillation(model: &DiffusionModel) -> Option<&'static str> {
    let scheduler = &model.scheduler;
    let text = |key: &str| scheduler.get(key).and_then(Value::as_str);
    let flag = |key: &str| scheduler.get(key).and_then(Value::as_bool) == Some(true);
    let class = text("_class_name");
    if class == Some("LCMScheduler")
        || model
            .unet
            .config
            .get("time_cond_proj_dim")
            .is_some_and(Value::is_u64)
    {
        return Some("LCM");
    }
    // Models with a schedule down to no signal at all also begin at the very end of it, and are not distilled.
    let last = text("timestep_spacing") == Some("trailing") && !flag("rescale_betas_zero_snr");
    let euler = matches!(
        class,
        Some("EulerAncestralDiscreteScheduler" | "EulerDiscreteScheduler")
    );
    (last && euler && model.layout == crate::formats::diffusion_model::Layout::Diffusers)
        .then_some("Turbo")
}

/// The same, as the metadata of a single file tell it (Stability's model specification).
fn stated_distillation(metadata: &BTreeMap<String, String>) -> Option<&'static str> {
    const WORDS: [(&str, &str); 5] = [
        ("lightning", "Lightning"),
        ("turbo", "Turbo"),
        ("lcm", "LCM"),
        ("latent consistency", "LCM"),
        ("hyper-sd", "Hyper"),
    ];
    let keys = ["architecture", "title", "description", "tags", "usage_hint"];
    let stated = keys.iter().filter_map(|key| {
        let text = metadata.get(&format!("modelspec.{key}"))?;
        Some(text.to_lowercase())
    });
    let stated: Vec<String> = stated.collect();
    let (_, kind) = WORDS
        .iter()
        .find(|(word, _)| stated.iter().any(|text| text.contains(word)))?;
    Some(kind)
}

/// Faults that make a known model unusable, in contrast to damage.
fn is_refusal(fault: &FormatError) -> bool {
    matches!(
        fault,
        FormatError::UnsupportedModel { .. }
            | FormatError::MissingComponent { .. }
            | FormatError::OtherParts { .. }
    )
}

fn pipeline(folder: &Path) -> Result<ModelInfo, FormatError> {
    let fault = match open_diffusion_model(folder) {
        Ok(model) => return Ok(describe_diffusion(&model)),
        Err(fault) if is_refusal(&fault) => fault,
        Err(fault) => return Err(fault),
    };
    let class = diffusers::read_index(folder)?;
    let class = class.get("_class_name").and_then(Value::as_str);
    let mut info = start(
        ModelKind::TextToImage,
        ModelLayout::DiffusersFolder,
        class.unwrap_or("a pipeline without a class"),
        &WeightMap::new(folder),
    );
    if matches!(fault, FormatError::UnsupportedModel { .. }) {
        info.kind = ModelKind::Other;
    }
    info.unusable = Some(fault.to_string());
    Ok(info)
}

fn safetensors(path: &Path) -> Result<ModelInfo, FormatError> {
    let file = read_any(path)?;
    let identity = identify(&file.tensors);
    if identity == Identity::StableDiffusion {
        match crate::formats::ldm::convert_checkpoint(path, &file) {
            Ok(model) => {
                let mut info = describe_diffusion(&model);
                info.name = file.metadata.get("modelspec.title").map(|t| brief(t));
                if let Some(kind) = stated_distillation(&file.metadata) {
                    info.detail("distilled", kind);
                }
                // All of the file, with what is not used.
                info.set_files(weight_files(&file.tensors, path));
                return Ok(info);
            }
            Err(fault) if is_refusal(&fault) => {
                let kind = ModelKind::TextToImage;
                let mut info = described(&file, path, kind, "Stable Diffusion");
                info.unusable = Some(fault.to_string());
                return Ok(info);
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(match identity {
        Identity::Other { what } => {
            let mut info = described(&file, path, ModelKind::Other, what);
            let remedy = match what {
                "a T2I adapter" => "use a ControlNet of the same kind in its place",
                "an IP-Adapter" | "a CLIP image encoder" | "an AnimateDiff motion module" => {
                    "it adds to a model; leave it out"
                }
                _ => "use a Stable Diffusion 1.x, 2.x or XL model",
            };
            info.refuse(what, remedy);
            info
        }
        Identity::Part { what } => part(&file, path, what),
        Identity::StableDiffusion | Identity::Unknown => {
            let what = "safetensors file of no known kind";
            let mut info = described(&file, path, ModelKind::Unknown, what);
            info.unusable = Some(
                "the tensors are not those of a model that Diptych knows; use a Stable Diffusion 1.x, 2.x or XL model".into(),
            );
            info
        }
    })
}

fn described(file: &Safetensors, path: &Path, kind: ModelKind, what: &str) -> ModelInfo {
    let mut info = start(kind, ModelLayout::Safetensors, what, &file.tensors);
    info.set_files(weight_files(&file.tensors, path));
    let name = ["modelspec.title", "ss_output_name"];
    let name = name.iter().find_map(|key| file.metadata.get(*key));
    info.name = name.map(|text| brief(text));
    for (key, label) in [
        ("modelspec.architecture", "stated architecture"),
        ("ss_base_model_version", "made for"),
        ("ss_network_dim", "rank"),
        ("ss_network_alpha", "alpha"),
    ] {
        if let Some(value) = file.metadata.get(key) {
            info.detail(label, value);
        }
    }
    info
}

fn part(file: &Safetensors, path: &Path, what: &str) -> ModelInfo {
    let (kind, remedy) = match what {
        "a LoRA" => {
            let mut info = described(file, path, ModelKind::Lora, "");
            match crate::formats::lora::Lora::from_tensors(path, &file.tensors) {
                Ok(lora) => {
                    if let Some(family) = lora.family() {
                        info.detail("for", family);
                    }
                    info.detail("layers", lora.layers().len());
                }
                Err(fault) => info.unusable = Some(fault.to_string()),
            }
            return info;
        }
        "a ControlNet" => {
            let mut info = described(file, path, ModelKind::ControlNet, "");
            match crate::formats::ldm::convert_controlnet(path, &file.tensors) {
                Ok(part) => controlnet_details(&mut info, &part),
                Err(fault) => info.unusable = Some(fault.to_string()),
            }
            return info;
        }
        "an upscaler" => {
            let mut info = described(file, path, ModelKind::Upscaler, "");
            match crate::formats::upscaler::from_tensors(path, &file.tensors) {
                Ok(file) => {
                    info.detail("network", file.config.describe());
                    info.detail("scale", file.config.scale());
                }
                Err(fault) => info.unusable = Some(fault.to_string()),
            }
            return info;
        }
        "a textual inversion embedding" => {
            let mut info = described(file, path, ModelKind::Embedding, "");
            match crate::formats::embedding::Embedding::from_tensors(path, &file.tensors) {
                Ok(word) => {
                    info.detail("for", word.made_for());
                    info.detail("vectors", word.count());
                }
                Err(fault) => info.unusable = Some(fault.to_string()),
            }
            return info;
        }
        "an autoencoder (VAE)" | "a tiny autoencoder (TAESD)" => {
            let mut info = described(file, path, ModelKind::Autoencoder, "");
            if let Err(fault) = crate::formats::diffusion_model::open_autoencoder(path) {
                info.unusable = Some(fault.to_string());
            }
            return info;
        }
        w if w.contains("autoencoder") => (
            ModelKind::Autoencoder,
            "a whole checkpoint or diffusers folder is needed",
        ),
        w if w.contains("CLIP text encoder") => (
            ModelKind::TextEncoder,
            "name the U-Net that it belongs to, and it beside that (on the command line --model and --clip), or give a whole checkpoint",
        ),
        w if w.contains("text encoder") => (
            ModelKind::TextEncoder,
            "a whole checkpoint or diffusers folder is needed",
        ),
        w if w.contains("U-Net") => (
            ModelKind::Denoiser,
            "its text encoder and autoencoder are needed too, or a whole checkpoint or diffusers folder",
        ),
        w if w.contains("language model") => (
            ModelKind::Chat,
            "name its folder, which must have config.json and tokenizer.json, or use a GGUF file",
        ),
        _ => (ModelKind::Other, "a whole model is needed"),
    };
    let mut info = described(file, path, kind, "");
    info.unusable = Some(format!("this file is {what} only: {remedy}"));
    info
}

/// For which family a ControlNet was made.
fn controlnet_details(info: &mut ModelInfo, part: &Component) {
    let width = part.config.get("cross_attention_dim");
    let width = width
        .and_then(Value::as_u64)
        .and_then(|width| usize::try_from(width).ok());
    if let Some(family) = width.and_then(crate::formats::lora::family_of_width) {
        info.detail("for", family);
    }
    // One for several kinds (ControlNet Union).
    if let Some(kinds) = part.config.get("num_control_type").and_then(Value::as_u64) {
        info.detail("picture kinds", kinds);
    }
}

/// A file of torch that cannot be used, and why.
fn pickle(path: &Path, bytes: u64, fault: &FormatError) -> ModelInfo {
    let what = "PyTorch pickle";
    let mut info = start(
        ModelKind::Unknown,
        ModelLayout::Pickle,
        what,
        &WeightMap::new(path),
    );
    info.file_bytes = bytes;
    info.files = vec![path.into()];
    info.unusable = Some(fault.to_string());
    info
}

/// The weights of a folder that are no model by themselves: shards of an index, further parts of a split GGUF.
pub(super) fn is_further_part(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
        return false;
    };
    let Some((head, _)) = name.rsplit_once("-of-") else {
        return false;
    };
    let Some((stem, number)) = head.rsplit_once('-') else {
        return false;
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    let first = number.trim_start_matches('0') == "1";
    let indexed = path
        .parent()
        .is_some_and(|folder| find_in_folder(folder, stem).is_some());
    !first && name.ends_with(".gguf") || indexed && name.ends_with(".safetensors")
}
