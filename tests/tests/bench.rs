//! Models with random weights through the whole engine, and what `diptych bench` measures of them.

// A failing test says why by its panic.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use diptych_inference::bench::{BenchError, Options, Report, Watcher, run};
use diptych_inference::engine::{
    ChatPrompt, ChatRequest, DeviceChoice, FinishReason, ImageRequest, Outcome, Request,
};
use diptych_inference::formats::StorageDtype;
use diptych_inference::graph::ExecError;
use diptych_inference::synthesize::{self, Kind, QUANTS, synthesize};
use diptych_inference::text::sampling::SamplingParams;
use diptych_tests::{Client, repository};

fn make(folder: &Path, kind: Kind, quant: StorageDtype) -> PathBuf {
    let path = folder
        .join(format!("{}-{quant}", kind.name()).replace('.', "-"))
        .with_extension(kind.extension());
    let options = synthesize::Options {
        kind,
        quant,
        seed: 11,
    };
    synthesize(&path, options, &mut |_, _| true).unwrap();
    path
}

/// Every type of both shapes writes on the CPU and on a GPU; from its first run without a number that is none.
#[test]
fn tiny_decoders_of_every_type_write_through_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let mut clients =
        [DeviceChoice::Cpu, DeviceChoice::Gpu].map(|device| Client::start(device).unwrap());
    for (kind, quants) in [
        (Kind::LlamaTiny, &QUANTS[..]),
        (Kind::QwenTiny, &[StorageDtype::Q4K, StorageDtype::Bf16][..]),
    ] {
        for &quant in quants {
            let path = make(folder.path(), kind, quant);
            let written = clients.each_mut().map(|client| {
                let model = client.add_model(&path).unwrap();
                let prompt = ChatPrompt::Raw("The evening sky".into());
                let request = ChatRequest {
                    sampling: SamplingParams {
                        greedy: true,
                        ..SamplingParams::default()
                    },
                    max_tokens: 1,
                    ..ChatRequest::new(model, prompt)
                };
                let job = client.submit(Request::Chat(request)).unwrap();
                match client.result(job).unwrap() {
                    Outcome::Chat { tokens, reason, .. } => (tokens, reason),
                    other => panic!("{quant}: {other:?}"),
                }
            });
            // The likeliest token may be one that ends the text.
            for (tokens, reason) in written {
                assert!(
                    tokens == 1 || reason == FinishReason::Stop,
                    "{quant}: {reason:?}"
                );
            }
        }
    }
}

/// A picture of each family, in which not all is one colour.
#[test]
fn tiny_picture_models_draw_through_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    for kind in [Kind::SdTiny, Kind::SdxlTiny] {
        let path = make(folder.path(), kind, StorageDtype::F16);
        let model = client.add_model(&path).unwrap();
        let request = ImageRequest {
            steps: 2,
            guidance: 3.0,
            ..ImageRequest::new(model, "a red fox", 64, 48)
        };
        let job = client.submit(Request::Image(request)).unwrap();
        let Outcome::Image { picture, .. } = client.result(job).unwrap() else {
            panic!("{}: no picture", kind.name());
        };
        assert_eq!((picture.width, picture.height), (64, 48));
        let (least, most) = (picture.rgb.iter().min(), picture.rgb.iter().max());
        assert_ne!(least, most, "{}", kind.name());
    }
}

struct Listener(Vec<String>);

impl Watcher for Listener {
    fn next(&mut self, what: &str) {
        self.0.push(what.to_owned());
    }

    fn stop(&mut self) -> bool {
        false
    }
}

/// The built-in models, as somebody who has just installed the program measures them.
#[test]
fn the_built_in_models_are_measured() {
    let models = ["muse/muse.gguf", "sketch"].map(|name| repository("assets/models").join(name));
    let options = Options {
        device: DeviceChoice::Cpu,
        models: models.to_vec(),
        memory: None,
        assets: repository("assets"),
        quick: true,
        ops: None,
        size: None,
        prompts: Vec::new(),
    };
    let mut listener = Listener(Vec::new());
    let report = run(&options, &mut listener).unwrap();
    assert!(
        listener.0.iter().any(|what| what.contains("muse: decode")),
        "{:?}",
        listener.0
    );
    let text = serde_json::to_string(&report).unwrap();
    let again: Report = serde_json::from_str(&text).unwrap();
    let names: Vec<(&str, &str)> = again
        .models
        .iter()
        .flat_map(|model| {
            let works = model.workloads.iter();
            works.map(|work| (model.name.as_str(), work.name.as_str()))
        })
        .collect();
    assert!(names.contains(&("muse", "decode")), "{names:?}");
    assert!(names.contains(&("muse", "prefill 128")), "{names:?}");
    let drawn = names.iter().filter(|(model, _)| *model == "sketch").count();
    assert_eq!(drawn, 2, "{names:?}");
    for work in again.models.iter().flat_map(|model| &model.workloads) {
        assert!(work.per_second > 0.0 && work.seconds >= work.best_seconds);
        assert!(work.plan_seconds.unwrap() > 0.0 && work.ops > 0);
        let profile = work
            .profile
            .as_ref()
            .expect("the CPU tells the time of every op");
        // The ops are most of the run, and no more than it with its noise.
        assert!(profile.seconds > 0.0 && profile.rows.iter().all(|row| row.count > 0));
    }
}

fn measured(device: DeviceChoice, kinds: &[Kind], ops: bool) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let models = kinds.iter().map(|&kind| {
        let quant = match kind.draws() {
            true => StorageDtype::F16,
            false => StorageDtype::Q4K,
        };
        make(folder.path(), kind, quant)
    });
    let options = Options {
        device,
        models: models.collect(),
        memory: None,
        assets: repository("assets"),
        quick: true,
        ops: ops.then(String::new),
        size: Some((64, 64)),
        prompts: Vec::new(),
    };
    run(&options, &mut Listener(Vec::new())).unwrap()
}

/// What must hold whatever the machine.
fn check(report: &Report) {
    let text = serde_json::to_string(report).unwrap();
    let back: Report = serde_json::from_str(&text).unwrap();
    assert_eq!(back.models.len(), report.models.len());
    assert!(
        report.limits.bandwidth > 1e8 && report.limits.flops > 1e8,
        "{:?}",
        report.limits
    );
    for model in &report.models {
        assert!(model.load_seconds() > 0.0);
        assert!(model.memory.peak > 0 && model.memory.forecast > 0);
        let ratio = model.memory.forecast as f64 / model.memory.peak as f64;
        assert!(
            (0.9..1.1).contains(&ratio),
            "{}: {:?}",
            model.name,
            model.memory
        );
        for work in &model.workloads {
            assert!(work.runs > 0 && work.seconds > 0.0 && work.seconds.is_finite());
            assert!(work.best_seconds <= work.seconds);
            assert!((work.per_second * work.seconds / work.units as f64 - 1.0).abs() < 1e-6);
            assert!(work.flops > 0.0 && work.weight_bytes > 0.0 && work.bytes > work.weight_bytes);
            assert!(work.flops_share > 0.0 && work.bandwidth_share > 0.0);
            assert_eq!(work.dispatches.is_some(), report.device.executor == "gpu");
            let profile = work.profile.as_ref().expect("both executors tell");
            let total: f64 = profile.rows.iter().map(|row| row.share).sum();
            assert!((total - 1.0).abs() < 1e-6, "{}: {total}", work.name);
            assert!(
                profile
                    .rows
                    .iter()
                    .any(|row| row.op == "linear" || row.op == "conv2d")
            );
        }
    }
}

#[test]
fn both_kinds_of_models_are_measured_on_the_cpu() {
    let report = measured(DeviceChoice::Cpu, &[Kind::LlamaTiny, Kind::SdTiny], true);
    check(&report);
    let names = |model: usize| -> Vec<&str> {
        let workloads = &report.models[model].workloads;
        workloads.iter().map(|work| work.name.as_str()).collect()
    };
    assert_eq!(names(0), ["prefill 128", "prefill 512", "decode"]);
    assert_eq!(names(1), ["step 64x64", "vae decode 64x64"]);
    assert!(
        report
            .ops
            .iter()
            .any(|op| op.name.ends_with("Q4_K") && op.candle_seconds.is_some())
    );
    assert!(
        report
            .ops
            .iter()
            .all(|op| op.seconds > 0.0 && op.flops_per_second > 0.0)
    );
}

#[test]
fn both_kinds_of_models_are_measured_on_a_gpu() {
    let report = measured(DeviceChoice::Gpu, &[Kind::QwenTiny, Kind::SdTiny], false);
    check(&report);
    let decode = report.models[0].workloads.last().unwrap();
    assert!(decode.dispatches.unwrap() > 10 && decode.host_us_per_dispatch.unwrap() > 0.0);
    assert!(decode.submits.unwrap() >= 1 && decode.host_idle_us_per_dispatch.unwrap() > 0.0);
    assert_eq!(decode.profile.as_ref().unwrap().clock, "timestamps");
}

/// What a card of two gigabytes does with Stable Diffusion 1.5.
#[test]
fn parts_that_do_not_fit_together_are_measured_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options {
        device: DeviceChoice::Cpu,
        memory: None,
        models: vec![make(folder.path(), Kind::SdTiny, StorageDtype::F16)],
        assets: repository("assets"),
        quick: true,
        ops: None,
        size: Some((64, 64)),
        prompts: Vec::new(),
    };
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        options.device = device;
        options.memory = None;
        let roomy = run(&options, &mut Listener(Vec::new())).unwrap();
        options.memory = Some(roomy.models[0].memory.peak * 9 / 10);
        let tight = run(&options, &mut Listener(Vec::new())).unwrap();
        check(&tight);
        assert!(tight.models[0].memory.peak < roomy.models[0].memory.peak);
        let names = |report: &Report| -> Vec<String> {
            let works = report.models[0].workloads.iter();
            works.map(|work| work.name.clone()).collect()
        };
        assert_eq!(names(&tight), names(&roomy));
    }
}

#[test]
fn a_stop_ends_the_measuring() {
    struct Hasty;
    impl Watcher for Hasty {
        fn next(&mut self, _: &str) {}

        fn stop(&mut self) -> bool {
            true
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        device: DeviceChoice::Cpu,
        models: vec![make(folder.path(), Kind::LlamaTiny, StorageDtype::F16)],
        memory: None,
        assets: repository("assets"),
        quick: true,
        ops: None,
        size: None,
        prompts: Vec::new(),
    };
    let error = run(&options, &mut Hasty).unwrap_err();
    assert!(
        matches!(error, BenchError::Exec(ExecError::Interrupted)),
        "{error}"
    );
}
