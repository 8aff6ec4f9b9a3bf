//! Models in separate files: U-Nets in GGUF and in scaled 8-bit floats against diffusers on the very values of their weights. The text encoder
//! and the autoencoder are found beside them.

use diptych_inference::formats::split::{ModelParts, complete, open};
use diptych_inference::models::unet::UNetConfig;
use diptych_inference::models::{UNet, check};

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
fn unets_in_gguf() {
    parity("unet-Q8_0.gguf", "output_Q8_0");
    parity("unet-Q4_0.gguf", "output_Q4_0");
}

#[test]
fn a_unet_of_scaled_8_bit_floats() {
    parity("unet-scaled.safetensors", "output_scaled");
}
