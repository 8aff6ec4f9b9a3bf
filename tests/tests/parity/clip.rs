//! CLIP text encoders against transformers.

use diptych_inference::graph::HostTensor;
use diptych_inference::models::ClipText;
use diptych_inference::models::clip_text::ClipTextConfig;

use crate::common::{Reference, TOLERANCE, config, on_every_executor, tensors};

pub fn model(name: &str) -> ClipText {
    let (path, value) = config(name);
    let config = ClipTextConfig::from_json(&path, &value).unwrap();
    ClipText::new(config, tensors(name, "model.safetensors")).unwrap()
}

fn check(name: &str) {
    let model = model(name);
    let reference = Reference::of(name);
    on_every_executor(name, |subject| {
        let embed = |subject: &mut crate::common::Subject, ids: &HostTensor, skip: usize| {
            let graph = model.graph(ids.shape[0], ids.shape[1], skip).unwrap();
            let inputs = [("ids", ids.clone())];
            subject.run(graph, &inputs, &[]).remove(0)
        };
        let ids = reference.u32("ids");
        for (skip, key) in [(0, "last_hidden_state"), (1, "skip_1"), (2, "skip_2")] {
            let got = embed(subject, &ids, skip);
            subject.compare(key, &got, &reference.f32(key), TOLERANCE);
        }
        let short = reference.u32("short_ids");
        let got = embed(subject, &short, 0);
        let key = "short_last_hidden_state";
        subject.compare(key, &got, &reference.f32(key), TOLERANCE);
    });
}

#[test]
fn stable_diffusion_1_text_encoder() {
    check("clip-sd1");
}

#[test]
fn stable_diffusion_2_text_encoder() {
    check("clip-sd2");
}

#[test]
fn impossible_graphs_are_refused() {
    let model = model("clip-sd1");
    assert!(model.graph(1, 78, 0).is_err());
    assert!(model.graph(1, 0, 0).is_err());
    assert!(model.graph(1, 77, 4).is_err());
    assert!(model.graph(1, 77, 3).is_ok());
}
