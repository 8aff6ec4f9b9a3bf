//! Autoencoders against diffusers.

use diptych_inference::graph::HostTensor;
use diptych_inference::models::autoencoder_kl::AutoencoderKlConfig;
use diptych_inference::models::autoencoder_tiny::AutoencoderTinyConfig;
use diptych_inference::models::{AutoencoderKl, AutoencoderTiny};

use crate::common::{Reference, TOLERANCE, config, diffusers_weights, on_every_executor};

pub fn kl(name: &str) -> AutoencoderKl {
    let (path, value) = config(name);
    let config = AutoencoderKlConfig::from_json(&path, &value).unwrap();
    AutoencoderKl::new(config, diffusers_weights(name)).unwrap()
}

pub fn tiny(name: &str) -> AutoencoderTiny {
    let (path, value) = config(name);
    let config = AutoencoderTinyConfig::from_json(&path, &value).unwrap();
    AutoencoderTiny::new(config, diffusers_weights(name)).unwrap()
}

fn size(x: &HostTensor) -> (usize, usize, usize) {
    (x.shape[0], x.shape[2], x.shape[3])
}

fn check_kl(name: &str) {
    let model = kl(name);
    let reference = Reference::of(name);
    on_every_executor(name, |subject| {
        let latent = reference.f32("latent");
        let (b, h, w) = size(&latent);
        let graph = model.decode_graph(b, h, w).unwrap();
        let got = subject.run(graph, &[("latent", latent)], &[]).remove(0);
        let factor = model.spatial_factor();
        assert_eq!(got.shape[2..], [h * factor, w * factor]);
        subject.compare("decoded", &got, &reference.f32("decoded"), TOLERANCE);

        for (input, outputs) in [
            ("picture", ["mean", "logvar"]),
            ("odd_picture", ["odd_mean", "odd_logvar"]),
        ] {
            let picture = reference.f32(input);
            let (b, h, w) = size(&picture);
            let graph = model.encode_graph(b, h, w).unwrap();
            let got = subject.run(graph, &[("picture", picture)], &[]);
            assert_eq!(got.len(), 2);
            for (key, got) in outputs.iter().zip(&got) {
                subject.compare(key, got, &reference.f32(key), TOLERANCE);
            }
        }
    });
}

#[test]
fn autoencoder_kl() {
    check_kl("vae-kl");
}

#[test]
fn autoencoder_kl_without_attention_and_quant_convolutions() {
    check_kl("vae-kl-bare");
}

#[test]
fn autoencoder_tiny() {
    let name = "vae-tiny";
    let model = tiny(name);
    let reference = Reference::of(name);
    on_every_executor(name, |subject| {
        let latent = reference.f32("latent");
        let (b, h, w) = size(&latent);
        let graph = model.decode_graph(b, h, w).unwrap();
        let got = subject.run(graph, &[("latent", latent)], &[]).remove(0);
        subject.compare("decoded", &got, &reference.f32("decoded"), TOLERANCE);

        let picture = reference.f32("picture");
        let (b, h, w) = size(&picture);
        let graph = model.encode_graph(b, h, w).unwrap();
        let got = subject.run(graph, &[("picture", picture)], &[]).remove(0);
        subject.compare("encoded", &got, &reference.f32("encoded"), TOLERANCE);
    });
}
