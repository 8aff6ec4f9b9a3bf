//! Single-file checkpoints against diffusers, which reads them with its own converter: the key map and inferred configurations, end to end.

use diptych_inference::formats::diffusion_model::Component;
use diptych_inference::formats::ldm::open_checkpoint;
use diptych_inference::models::autoencoder_kl::AutoencoderKlConfig;
use diptych_inference::models::clip_text::ClipTextConfig;
use diptych_inference::models::unet::UNetConfig;
use diptych_inference::models::{AutoencoderKl, ClipText, UNet};

use crate::common::{Reference, TOLERANCE, fixture, on_every_executor};

fn text_encoder(part: &Component) -> ClipText {
    let config = ClipTextConfig::from_json(&part.config_path, &part.config).unwrap();
    ClipText::new(config, part.weights.clone()).unwrap()
}

fn unet(part: &Component) -> UNet {
    let config = UNetConfig::from_json(&part.config_path, &part.config).unwrap();
    UNet::new(config, part.weights.clone()).unwrap()
}

fn vae(part: &Component) -> AutoencoderKl {
    let config = AutoencoderKlConfig::from_json(&part.config_path, &part.config).unwrap();
    AutoencoderKl::new(config, part.weights.clone()).unwrap()
}

fn check(name: &str) {
    let path = fixture("../ldm").join(format!("{name}.safetensors"));
    let model = open_checkpoint(&path).unwrap();
    let (text_encoder, unet, vae) = (
        text_encoder(&model.text_encoder),
        unet(&model.unet),
        vae(&model.vae),
    );
    let reference = Reference::of(&format!("ldm-{name}"));
    on_every_executor(&format!("single file {name}"), |subject| {
        let ids = reference.u32("ids");
        let graph = text_encoder.graph(1, 77, 0).unwrap();
        let embedding = subject.run(graph, &[("ids", ids)], &[]).remove(0);
        let key = "last_hidden_state";
        subject.compare(key, &embedding, &reference.f32(key), TOLERANCE);

        let sample = reference.f32("sample");
        let (h, w) = (sample.shape[2], sample.shape[3]);
        let timesteps = reference.f32("timesteps");
        let inputs = [
            ("sample", sample.clone()),
            ("time", unet.time_features(timesteps.as_f32())),
            ("context", embedding),
        ];
        let graph = unet.graph(1, h, w, 77).unwrap();
        let got = subject.run(graph, &inputs, &[]).remove(0);
        subject.compare("output", &got, &reference.f32("output"), TOLERANCE);

        let graph = vae.decode_graph(1, h, w).unwrap();
        let got = subject.run(graph, &[("latent", sample)], &[]).remove(0);
        subject.compare("decoded", &got, &reference.f32("decoded"), TOLERANCE);

        let picture = reference.f32("picture");
        let graph = vae
            .encode_graph(1, picture.shape[2], picture.shape[3])
            .unwrap();
        let got = subject.run(graph, &[("picture", picture)], &[]).remove(0);
        subject.compare("mean", &got, &reference.f32("mean"), TOLERANCE);
    });
}

#[test]
fn stable_diffusion_1_checkpoint() {
    check("sd1");
}

#[test]
fn stable_diffusion_2_checkpoint() {
    check("sd2");
}
