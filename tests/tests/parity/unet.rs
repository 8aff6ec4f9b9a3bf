//! U-Nets against diffusers.

use diptych_inference::models::UNet;
use diptych_inference::models::unet::UNetConfig;

use crate::common::{Reference, TOLERANCE, config, diffusers_weights, on_every_executor};

pub fn model(name: &str) -> UNet {
    let (path, value) = config(name);
    let config = UNetConfig::from_json(&path, &value).unwrap();
    UNet::new(config, diffusers_weights(name)).unwrap()
}

fn check(name: &str) {
    let model = model(name);
    let reference = Reference::of(name);
    on_every_executor(name, |subject| {
        let mut cases = 0;
        while reference.has(&format!("sample_{cases}")) {
            let sample = reference.f32(&format!("sample_{cases}"));
            let context = reference.f32(&format!("context_{cases}"));
            let timesteps = reference.f32(&format!("timesteps_{cases}"));
            let graph = model
                .graph(
                    sample.shape[0],
                    sample.shape[2],
                    sample.shape[3],
                    context.shape[1],
                )
                .unwrap();
            let inputs = [
                ("time", model.time_features(timesteps.as_f32())),
                ("sample", sample),
                ("context", context),
            ];
            let got = subject.run(graph, &inputs, &[]).remove(0);
            let key = format!("output_{cases}");
            subject.compare(&key, &got, &reference.f32(&key), TOLERANCE);
            cases += 1;
        }
        assert!(cases >= 2);
    });
}

#[test]
fn stable_diffusion_1_unet() {
    check("unet-sd1");
}

#[test]
fn stable_diffusion_2_unet() {
    check("unet-sd2");
}

#[test]
fn unet_with_an_odd_config_at_odd_sizes() {
    check("unet-odd");
}

#[test]
fn unet_with_a_plain_middle() {
    check("unet-plain-mid");
}

#[test]
fn unet_without_a_middle() {
    check("unet-no-mid");
}
