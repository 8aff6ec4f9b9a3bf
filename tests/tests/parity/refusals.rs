//! Weights that do not fit are named before anything runs: every tensor of every model is checked when the model is made.

use diptych_inference::formats::gguf::read_gguf;
use diptych_inference::formats::{TensorData, WeightMap};
use diptych_inference::models::autoencoder_kl::AutoencoderKlConfig;
use diptych_inference::models::autoencoder_tiny::AutoencoderTinyConfig;
use diptych_inference::models::clip_text::ClipTextConfig;
use diptych_inference::models::llama::LlamaConfig;
use diptych_inference::models::unet::UNetConfig;
use diptych_inference::models::{
    AutoencoderKl, AutoencoderTiny, ClipText, Llama, ModelError, UNet,
};

use crate::common::{config, diffusers_weights, fixture, tensors};

/// Makes a model of weights, of which each in turn is missing or misshapen.
fn every_weight_is_checked<T>(
    weights: &WeightMap,
    optional: &[&str],
    make: impl Fn(WeightMap) -> Result<T, ModelError>,
) {
    make(weights.clone()).unwrap_or_else(|e| panic!("{e}"));
    let file = weights.source().display().to_string();
    for name in weights.names() {
        let mut broken = weights.clone();
        let tensor = broken.remove(name).unwrap();
        let result = make(broken.clone());
        if optional.contains(&name) {
            assert!(result.is_ok(), "{name} is optional");
        } else {
            let text = result.err().map_or(String::new(), |e| e.to_string());
            assert!(
                text.contains(name) && text.contains(&file),
                "without {name}: {text:?}"
            );
        }

        let mut shape = tensor.shape().to_vec();
        *shape.first_mut().unwrap() += 1;
        let values = vec![0.5; shape.iter().product()];
        broken.insert(name, TensorData::from_f32(name, &shape, &values).unwrap());
        let text = make(broken).err().map_or(String::new(), |e| e.to_string());
        // How many tokens a GGUF has is told by its table of embeddings alone.
        if name != "token_embd.weight" {
            assert!(text.contains(name), "misshapen {name}: {text:?}");
        }
    }
}

#[test]
fn of_text_encoders() {
    for name in ["clip-sd1", "clip-sd2"] {
        let (path, value) = config(name);
        every_weight_is_checked(&tensors(name, "model.safetensors"), &[], |weights| {
            ClipText::new(ClipTextConfig::from_json(&path, &value)?, weights)
        });
    }
}

#[test]
fn of_unets() {
    for name in ["unet-sd2", "unet-odd", "unet-plain-mid", "unet-no-mid"] {
        let (path, value) = config(name);
        every_weight_is_checked(&diffusers_weights(name), &[], |weights| {
            UNet::new(UNetConfig::from_json(&path, &value)?, weights)
        });
    }
}

#[test]
fn of_autoencoders() {
    for name in ["vae-kl", "vae-kl-bare"] {
        let (path, value) = config(name);
        every_weight_is_checked(&diffusers_weights(name), &[], |weights| {
            AutoencoderKl::new(AutoencoderKlConfig::from_json(&path, &value)?, weights)
        });
    }
    let (path, value) = config("vae-tiny");
    every_weight_is_checked(&diffusers_weights("vae-tiny"), &[], |weights| {
        AutoencoderTiny::new(AutoencoderTinyConfig::from_json(&path, &value)?, weights)
    });
}

#[test]
fn of_llamas() {
    let (path, value) = config("llama-gqa");
    every_weight_is_checked(&tensors("llama-gqa", "model.safetensors"), &[], |weights| {
        Llama::new(LlamaConfig::from_json(&path, &value)?, weights)
    });
    // Without an output matrix a GGUF is tied; without divisors its frequencies are plain.
    let optional = ["output.weight", "rope_freqs.weight"];
    for (name, file) in [
        ("llama-gqa", "model-Q8_0.gguf"),
        ("llama-tied-llama3", "model-F16.gguf"),
    ] {
        let file = read_gguf(&fixture(name).join(file)).unwrap();
        every_weight_is_checked(&file.tensors, &optional, |weights| {
            Llama::new(LlamaConfig::from_gguf(&file.metadata)?, weights)
        });
    }
}

#[test]
fn a_decoder_without_encoder_still_decodes() {
    let (path, value) = config("vae-kl");
    let config = AutoencoderKlConfig::from_json(&path, &value).unwrap();
    let mut weights = diffusers_weights("vae-kl");
    let names: Vec<String> = weights.names().map(str::to_owned).collect();
    for name in names.iter().filter(|n| n.starts_with("encoder.")) {
        weights.remove(name);
    }
    let model = AutoencoderKl::new(config, weights).unwrap();
    assert!(!model.has_encoder());
    assert!(model.decode_graph(1, 4, 4).is_ok());
    let text = model.encode_graph(1, 16, 16).unwrap_err().to_string();
    assert!(text.contains("encoder.conv_in.weight"), "{text}");
}
