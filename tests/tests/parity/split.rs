//! Models in separate files: U-Nets in GGUF and in scaled 8-bit floats against diffusers on the very values of their weights. The text encoder
//! and the autoencoder are found beside them.

use diptych_inference::formats::detect::ModelKind;
use diptych_inference::formats::split::{ModelParts, complete, open};
use diptych_inference::models::clip_text::ClipTextConfig;
use diptych_inference::models::unet::UNetConfig;
use diptych_inference::models::{ClipText, UNet, check};

use crate::common::{Reference, TOLERANCE, fixture, on_every_executor};

fn parity(file: &str, output: &str) {
    let path = fixture("../split").join(file);
    let found = check::scan(&path);
    let (_, info) = &found[0];
    assert_eq!(info.as_ref().unwrap().usable(), Ok(()), "{file}");
    let parts = complete(&ModelParts::of(&path)).unwrap();
    assert!(parts.text_encoders[0].ends_with("clip.safetensors"));
    assert!(parts.vae.as_ref().unwrap().ends_with("vae.safetensors"));
    let part = open(&parts).unwrap().unet;
    let config = UNetConfig::from_json(&part.config_path, &part.config).unwrap();
    let unet = UNet::new(config, part.weights).unwrap();
    let reference = Reference::file("../split", "reference.safetensors");
    let sample = reference.f32("sample");
    let inputs = [
        ("sample", sample.clone()),
        (
            "time",
            unet.time_features(reference.f32("timesteps").as_f32()),
        ),
        ("context", reference.f32("context")),
    ];
    on_every_executor(&format!("split {file}"), |subject| {
        let graph = unet.graph(1, sample.shape[2], sample.shape[3], 77).unwrap();
        let got = subject.run(graph, &inputs, &[]).remove(0);
        subject.compare("output", &got, &reference.f32(output), TOLERANCE);
    });
}

#[test]
fn a_text_encoder_in_gguf() {
    let folder = fixture("../split");
    let clip = folder.join("text/clip-Q8_0.gguf");
    let info = check::scan(&clip).remove(0).1.unwrap();
    assert_eq!(info.kind(), ModelKind::TextEncoder);
    assert!(info.usable().unwrap_err().contains("--clip"));
    let parts = ModelParts {
        text_encoders: vec![clip],
        ..ModelParts::of(folder.join("unet-Q8_0.gguf"))
    };
    let part = open(&complete(&parts).unwrap()).unwrap().text_encoder;
    let config = ClipTextConfig::from_json(&part.config_path, &part.config).unwrap();
    let text = ClipText::new(config, part.weights).unwrap();
    let reference = Reference::file("../split", "reference.safetensors");
    let inputs = [("ids", reference.u32("ids"))];
    on_every_executor("split clip-Q8_0.gguf", |subject| {
        let graph = text.graph(1, 77, 0).unwrap();
        let got = subject.run(graph, &inputs, &[]).remove(0);
        let wanted = reference.f32("text_Q8_0");
        subject.compare("text", &got, &wanted, TOLERANCE);
    });
}

#[test]
fn unets_in_gguf() {
    parity("unet-Q8_0.gguf", "output_Q8_0");
    parity("unet-Q4_0.gguf", "output_Q4_0");
}

#[test]
fn a_unet_of_scaled_8_bit_floats() {
    parity("unet-scaled.safetensors", "output_scaled");
}
