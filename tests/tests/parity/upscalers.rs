//! Upscalers against the networks of their papers, in all the layouts in which they are found.

use diptych_inference::formats::safetensors::read_safetensors;
use diptych_inference::formats::upscaler::{UpscalerConfig, open_upscaler};
use diptych_inference::models::{RrdbNet, SrVgg};

use crate::common::{Reference, TOLERANCE, fixture, on_every_executor};

fn check(file: &str, output: &str, scale: usize) {
    let folder = fixture("../upscalers");
    let file = open_upscaler(&folder.join(file)).unwrap();
    assert_eq!(file.config.scale(), scale);
    let reference = read_safetensors(&folder.join("reference.safetensors")).unwrap();
    let reference = Reference(reference.tensors);
    let picture = reference.f32("picture");
    let (h, w) = (picture.shape[2], picture.shape[3]);
    on_every_executor(&format!("upscaler {output}"), |subject| {
        let weights = file.weights.clone();
        let graph = match file.config {
            UpscalerConfig::Rrdb(config) => RrdbNet::new(config, weights).unwrap().graph(h, w),
            UpscalerConfig::Compact(config) => SrVgg::new(config, weights).unwrap().graph(h, w),
        };
        let inputs = [("picture", picture.clone())];
        let got = subject.run(graph.unwrap(), &inputs, &[]).remove(0);
        subject.compare(output, &got, &reference.f32(output), TOLERANCE);
    });
}

#[test]
fn esrgan_with_the_names_of_basicsr() {
    check("esrgan-x4.pth", "esrgan-x4", 4);
}

#[test]
fn esrgan_with_the_names_of_the_first() {
    check("esrgan-old-x4.safetensors", "esrgan-x4", 4);
    check("esrgan-old-x2.pth", "esrgan-old-x2", 2);
}

#[test]
fn esrgan_with_the_names_of_the_second() {
    check("esrgan-trunk-x4.pth", "esrgan-x4", 4);
}

#[test]
fn real_esrgan_with_pixels_folded() {
    check("esrgan-x2.safetensors", "esrgan-x2", 2);
}

#[test]
fn the_small_real_esrgan() {
    check("srvgg-x4.pth", "srvgg-x4", 4);
    check("srvgg-x2.safetensors", "srvgg-x2", 2);
}
