//! Traces and branches through the engine: a picture goes on from any of its steps to the very bytes that it would have had, and other
//! settings take over where they are asked to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::sync::Arc;

use diptych_inference::diffusion::{Convention, NoiseSource, SamplerKind, ScheduleKind};
use diptych_inference::engine::{
    BlobRef, Command, DeviceChoice, ImageRequest, InitPicture, JobId, LoraUse, Mask, ModelRef,
    Picture, Request,
};
use diptych_inference::graph::HostTensor;
use diptych_tests::traced::{self, Drawn};
use diptych_tests::{Client, End, fixture};

const STEPS: u32 = 6;

fn request(model: &ModelRef, sampler: SamplerKind) -> ImageRequest {
    ImageRequest {
        negative_prompt: "blurry".into(),
        steps: STEPS,
        guidance: 5.0,
        sampler,
        schedule: ScheduleKind::Normal,
        seed: 77,
        trace: true,
        ..ImageRequest::new(model.clone(), "a red fox and the cat", 40, 32)
    }
}

fn drawn(client: &mut Client, job: JobId) -> Drawn {
    traced::drawn(client, job).unwrap()
}

fn draw(client: &mut Client, request: &ImageRequest) -> Drawn {
    traced::draw(client, request).unwrap()
}

fn branch(client: &mut Client, state: &[u8], request: &ImageRequest) -> Drawn {
    traced::branch(client, state, request).unwrap()
}

fn refused(client: &mut Client, state: &[u8], request: &ImageRequest) -> String {
    let job = traced::submit_branch(client, state, request).unwrap();
    match client.end(job).unwrap() {
        End::Failed(failure) if !failure.bug => failure.message,
        other => panic!("{other:?}"),
    }
}

/// Every sampler, from every step, by branch and by resume: the same bytes and the same latents on the way.
fn goes_on_to_the_same(device: DeviceChoice, samplers: &[SamplerKind]) {
    let mut client = Client::start(device).unwrap();
    let model = client.add_model(&fixture("models/tiny-sd")).unwrap();
    for &sampler in samplers {
        let mut wanted = request(&model, sampler);
        wanted.noise_source = NoiseSource::Philox;
        let whole = draw(&mut client, &wanted);
        let indices: Vec<u32> = whole.steps.iter().map(|step| step.index).collect();
        assert_eq!(indices, (0..=STEPS).collect::<Vec<_>>(), "{sampler:?}");
        assert!(
            whole
                .steps
                .windows(2)
                .all(|pair| pair[0].sigma > pair[1].sigma),
            "{sampler:?}"
        );
        assert!(
            whole
                .steps
                .iter()
                .skip(1)
                .all(|step| step.preview.is_some())
        );
        for step in &whole.steps {
            let again = branch(&mut client, &step.bytes, &wanted);
            let resumed = client.next_job();
            client
                .send(Command::Resume {
                    job: resumed,
                    checkpoint: step.bytes.clone(),
                })
                .unwrap();
            let resumed = drawn(&mut client, resumed);
            for other in [again, resumed] {
                assert_eq!(
                    other.picture.rgb, whole.picture.rgb,
                    "{sampler:?} from {}",
                    step.index
                );
                assert_eq!(other.request.branched, None);
                for later in &other.steps {
                    assert!(later.index > step.index);
                    assert_eq!(later.sha256, whole.steps[later.index as usize].sha256);
                }
                assert_eq!(other.steps.len() as u32, STEPS - step.index);
            }
        }
    }
}

#[test]
fn every_sampler_goes_on_to_the_same_bytes_on_the_cpu() {
    goes_on_to_the_same(DeviceChoice::Cpu, &SamplerKind::ALL);
}

#[test]
fn samplers_go_on_to_the_same_bytes_on_the_gpu() {
    goes_on_to_the_same(
        DeviceChoice::Gpu,
        &[
            SamplerKind::DpmPp3MSde,
            SamplerKind::EulerAncestral,
            SamplerKind::DpmPpSde,
            SamplerKind::UniPc,
            SamplerKind::Heun,
        ],
    );
}

#[test]
fn a_branch_draws_something_else_and_its_request_draws_it_again() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = client.add_model(&fixture("models/tiny-sd")).unwrap();
    let lora = client
        .add_model(&fixture("jobs/lora-kohya.safetensors"))
        .unwrap();
    let first = request(&model, SamplerKind::DpmPp2MSde);
    let whole = draw(&mut client, &first);
    let changes: Vec<(&str, ImageRequest)> = vec![
        (
            "prompt",
            ImageRequest {
                prompt: "a blue whale".into(),
                ..first.clone()
            },
        ),
        (
            "negative prompt",
            ImageRequest {
                negative_prompt: "a fox".into(),
                ..first.clone()
            },
        ),
        (
            "guidance",
            ImageRequest {
                guidance: 1.0,
                ..first.clone()
            },
        ),
        (
            "LoRA",
            ImageRequest {
                loras: vec![LoraUse {
                    model: lora,
                    weight: 1.0,
                }],
                ..first.clone()
            },
        ),
    ];
    for (what, changed) in &changes {
        let state = &whole.steps[2].bytes;
        let other = branch(&mut client, state, changed);
        assert_ne!(other.picture.rgb, whole.picture.rgb, "{what}");
        let branched = other.request.branched.as_ref().unwrap();
        assert_eq!(branched.step, 2);
        assert_eq!(branched.from.prompt, first.prompt);
        // Drawn as a whole by what its file tells.
        let again = draw(&mut client, &other.request);
        assert_eq!(again.picture.rgb, other.picture.rgb, "{what}");
        assert_eq!(again.request, other.request, "{what}");
        // The first steps are those of the first picture.
        for (a, b) in again.steps.iter().zip(&whole.steps).take(3) {
            assert_eq!(a.sha256, b.sha256, "{what}");
        }
        // A branch of the branch, and back to the first settings before the branch.
        let further = branch(&mut client, &other.steps[1].bytes, &first);
        let chain = further.request.branched.as_ref().unwrap();
        assert_eq!(
            (chain.step, chain.from.branched.as_ref().unwrap().step),
            (4, 2)
        );
        let again = draw(&mut client, &further.request);
        assert_eq!(again.picture.rgb, further.picture.rgb, "{what}");
        let early = &again.steps[1].bytes;
        let straight = branch(&mut client, early, &first);
        assert_eq!(straight.picture.rgb, whole.picture.rgb, "{what}");
        assert_eq!(straight.request.branched, None);
        // A checkpoint in the middle of the branch goes on with it.
        let job = client.next_job();
        let checkpoint = again.steps[3].bytes.clone();
        client.send(Command::Resume { job, checkpoint }).unwrap();
        assert_eq!(
            drawn(&mut client, job).picture.rgb,
            further.picture.rgb,
            "{what}"
        );
    }
}

#[test]
fn a_mask_may_change_or_be_laid_on_and_keeps_what_it_covers() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = client.add_model(&fixture("models/tiny-sd")).unwrap();
    let (width, height) = (40, 32);
    let blob = |name: &str, shape: [usize; 3], values: Vec<f32>| {
        let data = Arc::new(HostTensor::f32(shape, values));
        let hash = name.to_owned();
        client.send(Command::Blob { hash, data }).unwrap();
        BlobRef(name.to_owned())
    };
    let half = |left: f32| -> Vec<f32> {
        (0..width * height)
            .map(|place| {
                if place % width < width / 2 {
                    left
                } else {
                    1.0 - left
                }
            })
            .collect()
    };
    let picture = blob(
        "picture",
        [3, height, width],
        (0..3 * width * height)
            .map(|i| (i % 7) as f32 / 7.0)
            .collect(),
    );
    let left = blob("left", [1, height, width], half(1.0));
    let right = blob("right", [1, height, width], half(0.0));
    let init = |mask: Option<&BlobRef>| {
        Some(InitPicture {
            picture: picture.clone(),
            strength: 1.0,
            mask: mask.map(|mask| Mask {
                mask: mask.clone(),
                blur: 0.0,
                only_masked: None,
            }),
        })
    };
    let plain = request(&model, SamplerKind::EulerAncestral);
    let with = |mask: Option<&BlobRef>| ImageRequest {
        init: init(mask),
        ..plain.clone()
    };
    let of_left = draw(&mut client, &with(Some(&left)));
    let changed = branch(&mut client, &of_left.steps[3].bytes, &with(Some(&right)));
    let same = branch(&mut client, &of_left.steps[3].bytes, &with(Some(&left)));
    assert_eq!(same.picture.rgb, of_left.picture.rgb);
    assert_ne!(changed.picture.rgb, of_left.picture.rgb);
    let again = draw(&mut client, &changed.request);
    assert_eq!(again.picture.rgb, changed.picture.rgb);
    // What the mask keeps is the picture that was given, to the bit: now on the left.
    let kept = |picture: &Picture, columns: std::ops::Range<usize>| {
        (0..height).all(|y| {
            columns.clone().all(|x| {
                (0..3).all(|c| {
                    let place = y * width + x;
                    let old = ((c * width * height + place) % 7) as f32 / 7.0;
                    picture.rgb[3 * place + c] == (old * 255.0).round() as u8
                })
            })
        })
    };
    assert!(kept(&of_left.picture, 20..40) && !kept(&of_left.picture, 0..20));
    assert!(kept(&changed.picture, 0..20) && !kept(&changed.picture, 20..40));
    // Laid on a picture that began from nothing.
    let free = draw(&mut client, &plain);
    let laid = branch(&mut client, &free.steps[2].bytes, &with(Some(&right)));
    assert!(kept(&laid.picture, 0..20) && !kept(&laid.picture, 20..40));
    let again = draw(&mut client, &laid.request);
    assert_eq!(again.picture.rgb, laid.picture.rgb);
    for request in [
        with(None),
        ImageRequest {
            init: None,
            ..plain.clone()
        },
    ] {
        let message = refused(&mut client, &of_left.steps[2].bytes, &{
            let mut request = request;
            if let Some(init) = &mut request.init {
                init.strength = 0.5;
            }
            request
        });
        assert!(message.contains("picture to begin from"), "{message}");
    }
}

#[test]
fn what_cannot_change_and_what_is_no_state_is_refused_by_name() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = client.add_model(&fixture("models/tiny-sd")).unwrap();
    let v_model = client.add_model(&fixture("models/tiny-sd2")).unwrap();
    let first = request(&model, SamplerKind::Euler);
    let whole = draw(&mut client, &first);
    let state = whole.steps[2].bytes.clone();
    let change = |change: &dyn Fn(&mut ImageRequest)| {
        let mut request = first.clone();
        change(&mut request);
        request
    };
    let cases = [
        ("size", change(&|r| r.width = 48)),
        ("steps", change(&|r| r.steps = 9)),
        ("sampler", change(&|r| r.sampler = SamplerKind::Heun)),
        ("schedule", change(&|r| r.schedule = ScheduleKind::Karras)),
        (
            "convention",
            change(&|r| r.convention = Convention::Diffusers),
        ),
        ("seed", change(&|r| r.seed = 1)),
        (
            "source of noise",
            change(&|r| r.noise_source = NoiseSource::Philox),
        ),
        (
            "model of another kind",
            change(&|r| r.model = v_model.clone()),
        ),
        ("nowhere", change(&|r| r.model = ModelRef::named("nowhere"))),
    ];
    for (word, request) in cases {
        let message = refused(&mut client, &state, &request);
        assert!(message.contains(word), "{word}: {message}");
    }
    for length in [0, 3, 7, 8, 19, 20, 21, state.len() / 2, state.len() - 1] {
        let message = refused(&mut client, &state[..length], &first);
        assert!(message.contains("cannot be continued"), "{message}");
    }
    // Chains that lead nowhere.
    let mut chain = first.clone();
    for step in [9, 3] {
        chain.branched = Some(diptych_inference::engine::Branched {
            step,
            from: Box::new(ImageRequest {
                seed: if step == 3 { 5 } else { first.seed },
                ..first.clone()
            }),
        });
        let job = client.submit(Request::Image(chain.clone())).unwrap();
        assert!(matches!(client.end(job).unwrap(), End::Failed(f) if !f.bug));
    }
    // The engine is as well as before.
    assert_eq!(draw(&mut client, &first).picture.rgb, whole.picture.rgb);
}
