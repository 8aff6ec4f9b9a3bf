//! Model folders as Hugging Face `diffusers` writes them: `model_index.json`, and for each part a folder with config and
//! weights.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::diffusion_model::{Component, DiffusionModel, Family, Layout, TokenizerFiles};
use super::error::FormatError;
use super::json::{MAX_CONFIG, read_json_as};
use super::safetensors::{find_in_folder, read_any};
use super::weights::WeightMap;

/// Pipelines whose parts are those of Stable Diffusion 1.x and 2.x.
const KNOWN_PIPELINES: [&str; 8] = [
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusionXLInpaintPipeline",
    "StableDiffusionPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionPipelineSafe",
    "LatentConsistencyModelPipeline",
];

/// Names of weight files without their ending: diffusers', then transformers'.
const STEMS: [&str; 2] = ["diffusion_pytorch_model", "model"];

/// Reads a JSON file that must hold an object.
fn read_object(path: &Path, what: &str) -> Result<Value, FormatError> {
    let value: Value = read_json_as(path, what, MAX_CONFIG)?;
    if value.is_object() {
        return Ok(value);
    }
    Err(FormatError::InvalidJson {
        path: path.into(),
        what: what.into(),
        reason: "is not an object".into(),
    })
}

/// Whether a folder is a pipeline.
#[must_use]
pub fn is_pipeline_folder(folder: &Path) -> bool {
    folder.join("model_index.json").is_file()
}

/// Reads `model_index.json`.
///
/// # Errors
/// [`FormatError::MissingComponent`] if there is none; invalid JSON.
pub fn read_index(folder: &Path) -> Result<Value, FormatError> {
    let path = folder.join("model_index.json");
    if !path.is_file() {
        return Err(missing(folder, "model_index.json", "the list of parts"));
    }
    read_object(&path, "model_index.json")
}

/// The class of a part as the index states it; `None` if the index does not have the part.
fn class_in_index<'a>(index: &'a Value, component: &str) -> Option<&'a str> {
    index.get(component)?.get(1)?.as_str()
}

fn missing(path: &Path, component: &str, detail: &str) -> FormatError {
    FormatError::MissingComponent {
        path: path.into(),
        component: component.into(),
        detail: detail.into(),
    }
}

/// Whether the pipeline can be run here, as far as its index tells.
///
/// # Errors
/// [`FormatError::UnsupportedModel`] that names it.
pub fn check_index(folder: &Path, index: &Value) -> Result<(), FormatError> {
    let class = index.get("_class_name").and_then(Value::as_str);
    let class = class.ok_or_else(|| FormatError::InvalidConfig {
        path: folder.join("model_index.json"),
        key: "_class_name".into(),
        reason: "is missing".into(),
    })?;
    // Parts decide too: a pipeline of an own name may still be made of other networks.
    let foreign = ["transformer", "text_encoder_3", "prior", "decoder"]
        .into_iter()
        .find(|part| class_in_index(index, part).is_some());
    if KNOWN_PIPELINES.contains(&class) && foreign.is_none() {
        return Ok(());
    }
    let what = match class {
        "StableDiffusion3Pipeline" => "Stable Diffusion 3 (StableDiffusion3Pipeline)".to_owned(),
        "FluxPipeline" => "FLUX (FluxPipeline)".to_owned(),
        other => match foreign {
            Some(part) => format!("a pipeline of the class {other} with the part `{part}`"),
            None => format!("a pipeline of the class {other}"),
        },
    };
    Err(FormatError::UnsupportedModel {
        path: folder.into(),
        what,
        remedy: "use a Stable Diffusion 1.x, 2.x or XL model".into(),
    })
}

/// Opens a pipeline folder with all of its parts.
///
/// # Errors
/// Parts that are missing or only there as pickles, damaged files, pipelines of other kinds.
pub fn open_pipeline(folder: &Path) -> Result<DiffusionModel, FormatError> {
    let index = read_index(folder)?;
    check_index(folder, &index)?;
    let part = |name: &str| -> Result<Component, FormatError> {
        let class = class_in_index(&index, name)
            .ok_or_else(|| missing(folder, name, "model_index.json does not name it"))?;
        open_component(&folder.join(name), name, Some(class))
    };
    let unet = part("unet")?;
    let vae = part("vae")?;
    // The refiner has the second text encoder only.
    let refiner = class_in_index(&index, "text_encoder").is_none()
        && class_in_index(&index, "text_encoder_2").is_some();
    let (first, first_tokenizer) = match refiner {
        true => ("text_encoder_2", "tokenizer_2"),
        false => ("text_encoder", "tokenizer"),
    };
    let text_encoder = part(first)?;
    let text_encoder_2 = match class_in_index(&index, "text_encoder_2") {
        Some(_) if !refiner => Some(part("text_encoder_2")?),
        _ => None,
    };
    let scheduler_path = folder.join("scheduler").join("scheduler_config.json");
    if !scheduler_path.is_file() {
        return Err(missing(
            folder,
            "scheduler",
            "no scheduler/scheduler_config.json",
        ));
    }
    let scheduler = read_object(&scheduler_path, "scheduler_config.json")?;
    let tokenizer = tokenizer_files(&folder.join(first_tokenizer))
        .map_err(|detail| missing(folder, first_tokenizer, &detail))?;
    let tokenizer_2 = match text_encoder_2 {
        Some(_) => Some(
            tokenizer_files(&folder.join("tokenizer_2"))
                .map_err(|detail| missing(folder, "tokenizer_2", &detail))?,
        ),
        None => None,
    };
    let width = unet.config.get("cross_attention_dim");
    let family = match width.and_then(Value::as_u64) {
        _ if text_encoder_2.is_some() || refiner => Some(Family::Sdxl),
        Some(768) => Some(Family::Sd1),
        Some(1024) => Some(Family::Sd2),
        _ => None,
    };
    Ok(DiffusionModel {
        source: folder.into(),
        layout: Layout::Diffusers,
        family,
        unet,
        vae,
        text_encoder,
        text_encoder_2,
        scheduler,
        tokenizer: Some(tokenizer),
        tokenizer_2,
    })
}

fn tokenizer_files(folder: &Path) -> Result<TokenizerFiles, String> {
    let present = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
    let needed = |name: &str| present(name).ok_or_else(|| format!("no tokenizer/{name}"));
    Ok(TokenizerFiles {
        vocab: needed("vocab.json")?,
        merges: needed("merges.txt")?,
        config: present("tokenizer_config.json"),
        special_tokens: present("special_tokens_map.json"),
    })
}

/// Opens one part: a folder with `config.json` and weights. `component` names it in messages; `class` is what the index says
/// that it is.
///
/// # Errors
/// Missing or damaged files.
pub fn open_component(
    folder: &Path,
    component: &str,
    class: Option<&str>,
) -> Result<Component, FormatError> {
    if !folder.is_dir() {
        return Err(missing(folder, component, "there is no such folder"));
    }
    let config_path = folder.join("config.json");
    if !config_path.is_file() {
        return Err(missing(folder, component, "no config.json"));
    }
    let config = read_object(&config_path, "config.json")?;
    let class = config_class(&config)
        .or(class)
        .ok_or_else(|| FormatError::InvalidConfig {
            path: config_path.clone(),
            key: "_class_name".into(),
            reason: "is missing, so the kind of the network is unknown".into(),
        })?
        .to_owned();
    let weights_path = find_weights(folder, component)?;
    let mut weights = read_any(&weights_path)?.tensors;
    if class == "AutoencoderKL" {
        weights = rename_old_attention(&weights)?;
    }
    Ok(Component {
        class,
        config,
        config_path,
        weights,
    })
}

/// `_class_name` of diffusers, or the first of `architectures` of transformers.
#[must_use]
pub fn config_class(config: &Value) -> Option<&str> {
    let diffusers = config.get("_class_name").and_then(Value::as_str);
    diffusers.or_else(|| config.get("architectures")?.get(0)?.as_str())
}

/// The weight file of a part.
///
/// # Errors
/// [`FormatError::MissingComponent`].
pub fn find_weights(folder: &Path, component: &str) -> Result<PathBuf, FormatError> {
    let found = STEMS
        .iter()
        .find_map(|stem| find_in_folder(folder, stem))
        .or_else(|| only_safetensors(folder));
    if let Some(path) = found {
        return Ok(path);
    }
    // Weights of torch's own format are read without running anything of them.
    let pickles = [
        "diffusion_pytorch_model.bin",
        "pytorch_model.bin",
        "diffusion_pytorch_model.fp16.bin",
        "pytorch_model.fp16.bin",
    ];
    if let Some(name) = pickles.iter().find(|name| folder.join(name).is_file()) {
        return Ok(folder.join(name));
    }
    let detail = format!("no {}.safetensors or {}.safetensors", STEMS[0], STEMS[1]);
    Err(missing(folder, component, &detail))
}

/// A folder with exactly one safetensors file leaves no doubt, whatever its name.
fn only_safetensors(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut files = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors") && path.is_file());
    let first = files.next()?;
    files.next().is_none().then_some(first)
}

/// Autoencoders written before diffusers 0.18 (among them that of Stable Diffusion 1.5) name the projections of their
/// attention differently, and some store them as 1x1 convolutions.
fn rename_old_attention(weights: &WeightMap) -> Result<WeightMap, FormatError> {
    const NAMES: [(&str, &str); 4] = [
        ("query", "to_q"),
        ("key", "to_k"),
        ("value", "to_v"),
        ("proj_attn", "to_out.0"),
    ];
    let mut renamed = WeightMap::new(weights.source());
    for (name, tensor) in weights.iter() {
        let new = name.split_once(".attentions.").and_then(|(head, tail)| {
            let (number, rest) = tail.split_once('.')?;
            let (old, leaf) = rest.split_once('.')?;
            let (_, new) = NAMES.iter().find(|(known, _)| *known == old)?;
            Some(format!("{head}.attentions.{number}.{new}.{leaf}"))
        });
        let name = new.as_deref().unwrap_or(name);
        let tensor = match (name.contains(".attentions."), tensor.shape()) {
            (true, &[out, inner, 1, 1]) => tensor.with_shape(&[out, inner])?,
            _ => tensor.clone(),
        };
        renamed.insert(name, tensor);
    }
    Ok(renamed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::safetensors::write_safetensors;

    fn put(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn pipeline() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        put(
            &at("model_index.json"),
            r#"{"_class_name":"StableDiffusionPipeline","unet":["diffusers","UNet2DConditionModel"],
               "vae":["diffusers","AutoencoderKL"],"text_encoder":["transformers","CLIPTextModel"],
               "safety_checker":[null,null],"tokenizer":["transformers","CLIPTokenizer"]}"#,
        );
        put(
            &at("scheduler/scheduler_config.json"),
            r#"{"prediction_type":"v_prediction"}"#,
        );
        put(&at("tokenizer/vocab.json"), "{}");
        put(&at("tokenizer/merges.txt"), "#version: 0.2\n");
        put(&at("unet/config.json"), r#"{"cross_attention_dim":1024}"#);
        put(
            &at("vae/config.json"),
            r#"{"_class_name":"AutoencoderKL","latent_channels":4}"#,
        );
        put(
            &at("text_encoder/config.json"),
            r#"{"architectures":["CLIPTextModel"]}"#,
        );
        let one = |path: &str, name: &str, shape: &[usize]| {
            let values = vec![0.5f32; shape.iter().product()];
            write_safetensors(&at(path), &[(name, shape, values)]).unwrap();
        };
        one(
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "conv_in.weight",
            &[1, 1, 3, 3],
        );
        one(
            "vae/diffusion_pytorch_model.safetensors",
            "decoder.mid_block.attentions.0.proj_attn.weight",
            &[2, 2, 1, 1],
        );
        one(
            "text_encoder/model.safetensors",
            "text_model.final_layer_norm.bias",
            &[2],
        );
        folder
    }

    #[test]
    fn a_folder_gives_all_parts() {
        let folder = pipeline();
        let model = open_pipeline(folder.path()).unwrap();
        assert_eq!(model.unet.class, "UNet2DConditionModel");
        assert_eq!(model.text_encoder.class, "CLIPTextModel");
        assert_eq!(model.prediction_type(), "v_prediction");
        assert_eq!(model.family, Some(Family::Sd2));
        assert!(model.unet.weights.contains("conv_in.weight"));
        let new_name = "decoder.mid_block.attentions.0.to_out.0.weight";
        assert!(model.vae.weights.require(new_name, &[2, 2]).is_ok());
        assert!(model.tokenizer.unwrap().merges.ends_with("merges.txt"));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (gone, component) in [
            ("unet/config.json", "unet"),
            ("unet/diffusion_pytorch_model.fp16.safetensors", "unet"),
            ("vae/config.json", "vae"),
            ("scheduler/scheduler_config.json", "scheduler"),
            ("tokenizer/merges.txt", "tokenizer"),
            ("model_index.json", "model_index.json"),
        ] {
            let folder = pipeline();
            std::fs::remove_file(folder.path().join(gone)).unwrap();
            let fault = open_pipeline(folder.path()).unwrap_err();
            assert!(
                matches!(fault, FormatError::MissingComponent { .. }),
                "{gone}: {fault:?}"
            );
            assert!(fault.to_string().contains(component), "{gone}: {fault}");
        }
    }

    #[test]
    fn weights_of_torch_are_read_where_there_are_no_others() {
        let folder = pipeline();
        let vae = folder.path().join("vae");
        std::fs::remove_file(vae.join("diffusion_pytorch_model.safetensors")).unwrap();
        let flat = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference/torch/flat.pth");
        std::fs::copy(&flat, vae.join("diffusion_pytorch_model.bin")).unwrap();
        let model = open_pipeline(folder.path()).unwrap();
        assert_eq!(
            model.vae.weights.len(),
            read_any(&flat).unwrap().tensors.len()
        );
        std::fs::write(vae.join("diffusion_pytorch_model.bin"), b"PK no archive").unwrap();
        assert!(open_pipeline(folder.path()).is_err());
    }

    #[test]
    fn other_pipelines_are_refused_by_name() {
        for (index, name) in [
            (r#"{"_class_name":"FluxPipeline"}"#, "FLUX"),
            (r#"{"_class_name":"WanPipeline"}"#, "WanPipeline"),
            (
                r#"{"_class_name":"StableDiffusionPipeline","transformer":["diffusers","X"]}"#,
                "transformer",
            ),
        ] {
            let folder = pipeline();
            put(&folder.path().join("model_index.json"), index);
            let fault = open_pipeline(folder.path()).unwrap_err();
            assert!(
                matches!(fault, FormatError::UnsupportedModel { .. }),
                "{fault:?}"
            );
            assert!(fault.to_string().contains(name), "{fault}");
        }
        for broken in ["[]", "{", r#"{"_class_name":7}"#] {
            let folder = pipeline();
            put(&folder.path().join("model_index.json"), broken);
            assert!(open_pipeline(folder.path()).is_err());
        }
    }
}
