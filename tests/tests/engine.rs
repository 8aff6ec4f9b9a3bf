//! The engine through its protocol: order, cancelling, pausing, resuming, failures, and pictures that equal diffusers'.

// A failing test says why by its panic.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout
)]

use std::sync::Arc;

use diptych_inference::diffusion::{Convention, SamplerKind, ScheduleKind, Spacing};
use diptych_inference::engine::{
    BlobRef, ChatPrompt, ChatRequest, Command, DeviceChoice, Event, FinishReason, ImageRequest,
    JobId, ModelRef, Outcome, Picture, Place, Request,
};
use diptych_inference::graph::HostTensor;
use diptych_inference::text::prompt::PromptSyntax;
use diptych_inference::text::sampling::SamplingParams;
use diptych_inference::text::template::ChatMessage;
use diptych_tests::{Client, End, fixture, repository};

fn request(model: &ModelRef) -> ImageRequest {
    ImageRequest {
        negative_prompt: "blurry, low quality".into(),
        prompt_syntax: PromptSyntax::None,
        steps: 10,
        guidance: 5.0,
        sampler: SamplerKind::Euler,
        schedule: ScheduleKind::Normal,
        convention: Convention::Diffusers,
        spacing: Some(Spacing::Leading),
        seed: 1234,
        ..ImageRequest::new(model.clone(), "a red fox and the cat", 40, 32)
    }
}

fn image(request: &ImageRequest) -> Request {
    Request::Image(request.clone())
}

fn picture(outcome: Outcome) -> Arc<Picture> {
    match outcome {
        Outcome::Image { picture, .. } => picture,
        other => panic!("{other:?}"),
    }
}

fn tiny_sd(client: &mut Client) -> ModelRef {
    client.add_model(&fixture("models/tiny-sd")).unwrap()
}

/// Reads a tensor of a fixture as floats, whatever its type.
fn tensor(file: &str, name: &str) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(fixture(file)).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(name).unwrap();
    let values = match view.dtype() {
        safetensors::Dtype::F32 => view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect(),
        safetensors::Dtype::U8 => view.data().iter().map(|&b| f32::from(b)).collect(),
        other => panic!("{other:?}"),
    };
    (view.shape().to_vec(), values)
}

/// Whole pictures of ten steps, for both predictions, with and without guidance: at most 2 of 255 from diffusers'.
fn pictures_equal_diffusers(device: DeviceChoice) {
    let mut client = Client::start(device).unwrap();
    let samplers = [
        ("euler", SamplerKind::Euler, ScheduleKind::Normal),
        ("euler_karras", SamplerKind::Euler, ScheduleKind::Karras),
        ("euler_a", SamplerKind::EulerAncestral, ScheduleKind::Normal),
        ("dpmpp_2m", SamplerKind::DpmPp2M, ScheduleKind::Normal),
        (
            "dpmpp_2m_karras",
            SamplerKind::DpmPp2M,
            ScheduleKind::Karras,
        ),
        ("ddim", SamplerKind::Ddim, ScheduleKind::Normal),
        ("heun", SamplerKind::Heun, ScheduleKind::Normal),
    ];
    let (mut worst_picture, mut worst_latent) = (0f32, 0f32);
    for name in ["tiny-sd", "tiny-sd2"] {
        let model = client
            .add_model(&fixture(&format!("models/{name}")))
            .unwrap();
        let (shape, noise) = tensor(
            &format!("models/pictures/{name}.inputs.safetensors"),
            "noise",
        );
        let data = Arc::new(HostTensor::f32(shape, noise));
        client
            .send(Command::Blob {
                hash: name.into(),
                data,
            })
            .unwrap();
        for (file, sampler, schedule) in samplers {
            for guidance in [1, 5] {
                let mut wanted = request(&model);
                wanted.guidance = guidance as f32;
                (wanted.sampler, wanted.schedule) = (sampler, schedule);
                wanted.noise = Some(BlobRef(name.into()));
                wanted.keep_latents = true;
                let first = client.events.len();
                let job = client.submit(image(&wanted)).unwrap();
                let got = picture(client.result(job).unwrap());
                let file = format!("models/pictures/{name}.{file}.safetensors");
                let (shape, reference) = tensor(&file, &format!("g{guidance}_picture"));
                assert_eq!(shape, [got.height as usize, got.width as usize, 3]);
                let error = got
                    .rgb
                    .iter()
                    .zip(&reference)
                    .map(|(&a, &b)| (f32::from(a) - b).abs())
                    .fold(0.0, f32::max);
                assert!(error <= 2.0, "{file} guidance {guidance}: {error} of 255");
                worst_picture = worst_picture.max(error);

                let latents: Vec<f32> = client.events[first..]
                    .iter()
                    .filter_map(|event| match event {
                        Event::Latents { latents, .. } => Some(latents.as_f32().to_vec()),
                        _ => None,
                    })
                    .flatten()
                    .collect();
                let (_, reference) = tensor(&file, &format!("g{guidance}_latents"));
                let latents = &latents[latents.len() - reference.len()..];
                let scale = reference
                    .iter()
                    .fold(0f32, |scale, value| scale.max(value.abs()));
                let error = latents
                    .iter()
                    .zip(&reference)
                    .map(|(a, b)| (a - b).abs() / scale)
                    .fold(0.0, f32::max);
                assert!(
                    error <= 1e-3,
                    "{file} guidance {guidance}: latents differ by {error}"
                );
                worst_latent = worst_latent.max(error);
            }
        }
    }
    println!("{device:?}: worst picture {worst_picture} of 255, worst latent {worst_latent:.1e}");
}

#[test]
fn pictures_equal_diffusers_on_the_cpu() {
    pictures_equal_diffusers(DeviceChoice::Cpu);
}

#[test]
fn pictures_equal_diffusers_on_the_gpu() {
    pictures_equal_diffusers(DeviceChoice::Gpu);
}

#[test]
fn the_same_request_gives_the_same_bytes_and_another_seed_others() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = tiny_sd(&mut client);
    let wanted = request(&model);
    let mut other = wanted.clone();
    other.seed += 1;
    let jobs = [&wanted, &wanted, &other].map(|wanted| client.submit(image(wanted)).unwrap());
    let [a, b, c] = jobs.map(|job| picture(client.result(job).unwrap()));
    assert_eq!(a.rgb, b.rgb);
    assert_ne!(a.rgb, c.rgb);
}

#[test]
fn the_outcome_names_the_model_by_hash_and_never_by_path() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = tiny_sd(&mut client);
    let job = client.submit(image(&request(&model))).unwrap();
    let Outcome::Image { request: told, .. } = client.result(job).unwrap() else {
        panic!("no picture")
    };
    let text = serde_json::to_string(&told).unwrap();
    assert!(!text.contains('/') && !text.contains('\\'), "{text}");
    let hash = told.model().hash.clone().unwrap();
    assert!(
        hash.len() == 10 && hash.chars().all(|c| c.is_ascii_hexdigit()),
        "{hash}"
    );
    // What was told draws the same picture again.
    let again = client.submit(*told).unwrap();
    client.result(again).unwrap();
}

fn started_order(client: &Client) -> Vec<JobId> {
    let started = |event: &Event| match event {
        Event::Started { job } => Some(*job),
        _ => None,
    };
    client.events.iter().filter_map(started).collect()
}

#[test]
fn jobs_run_in_the_order_of_the_queue() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = tiny_sd(&mut client);
    client.send(Command::PauseAll).unwrap();
    let wanted = image(&request(&model));
    let a = client.submit(wanted.clone()).unwrap();
    let b = client.submit(wanted.clone()).unwrap();
    let c = client.submit_at(wanted.clone(), Place::Front).unwrap();
    let d = client.submit(wanted).unwrap();
    client.send(Command::Move { job: d, to: 1 }).unwrap();
    client.send(Command::Pause(a)).unwrap();
    client
        .wait(|event| matches!(event, Event::Paused { paused: true, .. }))
        .unwrap();
    assert!(
        started_order(&client).is_empty(),
        "nothing runs while all is paused"
    );
    client.send(Command::UnpauseAll).unwrap();
    for job in [c, d, b] {
        client.result(job).unwrap();
    }
    assert_eq!(started_order(&client), [c, d, b]);
    client.send(Command::Unpause(a)).unwrap();
    client.result(a).unwrap();
}

#[test]
fn a_cancelled_picture_is_kept_as_far_as_it_was_drawn() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = tiny_sd(&mut client);
    let mut wanted = request(&model);
    wanted.steps = 900;
    let job = client.submit(image(&wanted)).unwrap();
    let waiting = client.submit(image(&request(&model))).unwrap();
    client
        .wait(|event| matches!(event, Event::Step { index, .. } if *index >= 2))
        .unwrap();
    client.send(Command::Cancel(job)).unwrap();
    let End::Cancelled(Some(outcome)) = client.end(job).unwrap() else {
        panic!("no partial picture")
    };
    assert_eq!(picture(outcome).rgb.len(), 40 * 32 * 3);
    client.result(waiting).unwrap();
    let unstarted = client.submit(image(&wanted)).unwrap();
    client.send(Command::Cancel(unstarted)).unwrap();
    assert!(matches!(client.end(unstarted).unwrap(), End::Cancelled(_)));
}

#[test]
fn a_checkpoint_goes_on_to_the_very_same_picture() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = tiny_sd(&mut client);
    let mut wanted = request(&model);
    wanted.sampler = SamplerKind::EulerAncestral;
    let job = client.submit(image(&wanted)).unwrap();
    let whole = picture(client.result(job).unwrap());
    let checkpoint = client.events.iter().find_map(|event| match event {
        Event::Checkpoint { bytes, .. } => Some(Arc::clone(bytes)),
        _ => None,
    });
    let checkpoint = checkpoint.expect("a checkpoint after the first step");
    drop(client);
    // Another engine, as after a crash.
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    assert_eq!(tiny_sd(&mut client).name, model.name);
    let job = client.next_job();
    client.send(Command::Resume { job, checkpoint }).unwrap();
    assert_eq!(picture(client.result(job).unwrap()).rgb, whole.rgb);

    let job = client.next_job();
    client
        .send(Command::Resume {
            job,
            checkpoint: Arc::from(&b"{\"version\":99}"[..]),
        })
        .unwrap();
    let End::Failed(failure) = client.end(job).unwrap() else {
        panic!("rubbish was resumed")
    };
    assert!(
        failure.message.contains("checkpoint"),
        "{}",
        failure.message
    );
}

#[test]
fn a_failing_job_names_the_cause_and_the_next_one_runs() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = tiny_sd(&mut client);
    let good = request(&model);
    let broken = [
        (
            ImageRequest {
                model: ModelRef::named("nobody"),
                ..good.clone()
            },
            "nobody",
        ),
        (
            ImageRequest {
                width: 41,
                ..good.clone()
            },
            "41",
        ),
        (
            ImageRequest {
                height: 0,
                ..good.clone()
            },
            "height 0",
        ),
        (
            ImageRequest {
                width: 4_000_000_000,
                ..good.clone()
            },
            "4000000000",
        ),
        (
            ImageRequest {
                steps: 0,
                ..good.clone()
            },
            "0",
        ),
        (
            ImageRequest {
                steps: u32::MAX,
                ..good.clone()
            },
            "4294967295",
        ),
        (
            ImageRequest {
                guidance: f32::NAN,
                ..good.clone()
            },
            "NaN",
        ),
        (
            ImageRequest {
                noise: Some(BlobRef("missing".into())),
                ..good.clone()
            },
            "missing",
        ),
        (
            ImageRequest {
                sampler: SamplerKind::Ddim,
                schedule: ScheduleKind::Karras,
                ..good.clone()
            },
            "DDIM",
        ),
    ];
    for (wanted, word) in broken {
        let job = client.submit(image(&wanted)).unwrap();
        let End::Failed(failure) = client.end(job).unwrap() else {
            panic!("{wanted:?} was drawn")
        };
        assert!(
            failure.message.contains(word),
            "{word}: {}",
            failure.message
        );
        assert!(!failure.bug, "{}", failure.message);
    }
    let job = client.submit(image(&good)).unwrap();
    client.result(job).unwrap();
}

#[test]
fn guidance_one_costs_one_pass() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = tiny_sd(&mut client);
    let mut wanted = request(&model);
    wanted.guidance = 1.0;
    let job = client.submit(image(&wanted)).unwrap();
    let one = picture(client.result(job).unwrap());
    // The negative prompt has no part in it.
    wanted.negative_prompt = "something quite different".into();
    let job = client.submit(image(&wanted)).unwrap();
    assert_eq!(picture(client.result(job).unwrap()).rgb, one.rgb);
}

#[test]
fn a_client_that_reads_nothing_for_a_while_loses_nothing() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = tiny_sd(&mut client);
    let mut wanted = request(&model);
    wanted.keep_latents = true;
    wanted.steps = 400;
    let job = client.submit(image(&wanted)).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    client.result(job).unwrap();
    let steps: Vec<u32> = client
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Latents { step, .. } => Some(*step),
            _ => None,
        })
        .collect();
    assert_eq!(steps, (0..400).collect::<Vec<_>>());
}

fn muse(client: &mut Client) -> ModelRef {
    client
        .add_model(&repository("assets/models/muse/muse.gguf"))
        .unwrap()
}

fn chat(model: &ModelRef, messages: Vec<ChatMessage>) -> ChatRequest {
    ChatRequest {
        sampling: SamplingParams {
            greedy: true,
            ..SamplingParams::default()
        },
        seed: 1,
        max_tokens: 24,
        ..ChatRequest::new(model.clone(), ChatPrompt::Messages(messages))
    }
}

struct Answer {
    text: String,
    reason: FinishReason,
    cached: u32,
    prompt: u32,
}

fn answer(client: &mut Client, request: ChatRequest) -> Answer {
    let first = client.events.len();
    let job = client.submit(Request::Chat(request)).unwrap();
    let Outcome::Chat {
        text,
        reason,
        cached_tokens,
        prompt_tokens,
        ..
    } = client.result(job).unwrap()
    else {
        panic!("no answer")
    };
    let mut streamed = String::new();
    for event in &client.events[first..] {
        match event {
            Event::Tokens { tokens, .. } => {
                for token in tokens {
                    assert!(token.probability > 0.0 && token.probability <= 1.0);
                    streamed.push_str(&token.text);
                }
            }
            Event::TextTail { text, .. } => streamed.push_str(text),
            _ => {}
        }
    }
    assert_eq!(streamed, text, "what was streamed is the answer");
    Answer {
        text,
        reason,
        cached: cached_tokens,
        prompt: prompt_tokens,
    }
}

#[test]
fn a_later_turn_takes_the_earlier_one_from_the_cache() {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let mut client = Client::start(device).unwrap();
        let model = muse(&mut client);
        let mut messages = vec![ChatMessage::new("user", "hello, who are you?")];
        let first = answer(&mut client, chat(&model, messages.clone()));
        assert!(!first.text.trim().is_empty());
        assert_eq!(first.cached, 0);
        messages.push(ChatMessage::new("assistant", first.text.clone()));
        messages.push(ChatMessage::new("user", "what can you draw?"));
        let second = answer(&mut client, chat(&model, messages.clone()));
        assert!(
            second.cached >= first.prompt,
            "{device:?}: {} of {} cached",
            second.cached,
            second.prompt
        );
        // The cache changes nothing: a fresh engine says the same.
        let mut fresh = Client::start(device).unwrap();
        let model = muse(&mut fresh);
        assert_eq!(answer(&mut fresh, chat(&model, messages)).text, second.text);
    }
}

#[test]
fn an_answer_that_is_begun_is_gone_on_with() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = muse(&mut client);
    let question = ChatMessage::new("user", "Expand this prompt: a red fox");
    let whole = ChatRequest {
        max_tokens: 64,
        ..chat(&model, vec![question.clone()])
    };
    let first = client.events.len();
    let text = answer(&mut client, whole.clone()).text;
    let mut begun = String::new();
    let mut others = Vec::new();
    for event in &client.events[first..] {
        if let Event::Tokens { tokens, .. } = event {
            for token in tokens {
                if others.len() < 3 {
                    begun.push_str(&token.text);
                    others.push(token.alternatives.clone());
                }
            }
        }
    }
    assert!(text.starts_with(&begun) && text.len() > begun.len());
    // Its best alternative is what a greedy model has chosen, with the very text.
    let best: String = others.iter().map(|all| all[0].text.as_str()).collect();
    assert_eq!(best, begun);
    let go_on = |begun: &str| ChatRequest {
        prompt: ChatPrompt::Messages(vec![question.clone(), ChatMessage::new("assistant", begun)]),
        ..whole.clone()
    };
    let rest = answer(&mut client, go_on(&begun));
    assert_eq!(format!("{begun}{}", rest.text), text);
    assert!(
        rest.cached > 8,
        "the prompt and its beginning are in the cache"
    );
    // Other words lead elsewhere.
    let other = &others[0][1];
    assert!(!other.ends && !other.text.is_empty(), "{other:?}");
    let fork = answer(&mut client, go_on(&other.text));
    assert_ne!(format!("{}{}", other.text, fork.text), text);
}

#[test]
fn both_executors_chat_alike() {
    let texts = [DeviceChoice::Cpu, DeviceChoice::Gpu].map(|device| {
        let mut client = Client::start(device).unwrap();
        let model = muse(&mut client);
        answer(
            &mut client,
            chat(
                &model,
                vec![ChatMessage::new("user", "give me a prompt idea")],
            ),
        )
        .text
    });
    assert_eq!(texts[0], texts[1]);
}

#[test]
fn stop_texts_lengths_and_full_contexts_end_an_answer() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = muse(&mut client);
    let messages = vec![ChatMessage::new("user", "what is a seed?")];
    let mut wanted = chat(&model, messages.clone());
    wanted.max_tokens = 3;
    assert_eq!(answer(&mut client, wanted).reason, FinishReason::Length);
    let mut wanted = chat(&model, messages.clone());
    wanted.max_tokens = 200;
    let whole = answer(&mut client, wanted.clone());
    assert_eq!(whole.reason, FinishReason::End);
    let word = whole.text.split_whitespace().nth(2).unwrap().to_owned();
    wanted.stop = vec![word.clone()];
    let stopped = answer(&mut client, wanted);
    assert_eq!(stopped.reason, FinishReason::Stop);
    assert!(!stopped.text.contains(&word) && whole.text.starts_with(&stopped.text));

    let long = "tell me about the fox and the seed and the sampler. ".repeat(400);
    let job = client
        .submit(Request::Chat(chat(
            &model,
            vec![ChatMessage::new("user", long)],
        )))
        .unwrap();
    let End::Failed(failure) = client.end(job).unwrap() else {
        panic!("an overlong prompt was answered")
    };
    assert!(failure.message.contains("context"), "{}", failure.message);
    // A context that fills up while writing is said, too.
    let mut wanted = chat(&model, messages);
    wanted.prompt = ChatPrompt::Raw("a fox, ".repeat(200));
    wanted.max_tokens = 5000;
    wanted.sampling = SamplingParams {
        repetition_penalty: 1.0,
        ..SamplingParams::default()
    };
    let reason = answer(&mut client, wanted).reason;
    assert!(
        matches!(reason, FinishReason::ContextFull | FinishReason::End),
        "{reason:?}"
    );
}

#[test]
fn chat_goes_before_denoising_and_both_finish() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let (painter, talker) = (tiny_sd(&mut client), muse(&mut client));
    let mut wanted = request(&painter);
    wanted.steps = 300;
    let drawing = client.submit(image(&wanted)).unwrap();
    client
        .wait(|event| matches!(event, Event::Step { .. }))
        .unwrap();
    let talking = client
        .submit(Request::Chat(chat(
            &talker,
            vec![ChatMessage::new("user", "hi")],
        )))
        .unwrap();
    client.result(talking).unwrap();
    let drawn = client
        .events
        .iter()
        .any(|event| matches!(event, Event::Finished { job, .. } if *job == drawing));
    assert!(!drawn, "the answer came while the picture was being drawn");
    client.result(drawing).unwrap();
}

/// On a GPU the latents stay on the device, and the host is a step behind: no moment is a bad one.
#[test]
fn a_picture_on_the_gpu_is_the_same_whatever_comes_between() {
    let mut client = Client::start(DeviceChoice::Gpu).unwrap();
    let (model, talker) = (tiny_sd(&mut client), muse(&mut client));
    let mut wanted = request(&model);
    (wanted.sampler, wanted.steps) = (SamplerKind::EulerAncestral, 60);
    let job = client.submit(image(&wanted)).unwrap();
    let whole = picture(client.result(job).unwrap());
    for at in [1, 2, 5] {
        let job = client.submit(image(&wanted)).unwrap();
        let reached = |event: &Event| matches!(event, Event::Step { index, job: of, .. } if *of == job && *index >= at);
        client.wait(reached).unwrap();
        client.send(Command::Pause(job)).unwrap();
        client
            .wait(|event| matches!(event, Event::Paused { paused: true, .. }))
            .unwrap();
        let hello = chat(&talker, vec![ChatMessage::new("user", "hi")]);
        let talking = client.submit(Request::Chat(hello)).unwrap();
        client.result(talking).unwrap();
        client.send(Command::Unpause(job)).unwrap();
        assert_eq!(picture(client.result(job).unwrap()).rgb, whole.rgb, "{at}");
        let steps = client.events.iter().filter_map(|event| match event {
            Event::Step { job: of, index, .. } if *of == job => Some(*index),
            _ => None,
        });
        assert!(steps.eq(1..=60), "every step is told once, in order");
    }
    let checkpoint = client.events.iter().find_map(|event| match event {
        Event::Checkpoint { bytes, .. } => Some(Arc::clone(bytes)),
        _ => None,
    });
    let (checkpoint, job) = (checkpoint.expect("a checkpoint"), client.next_job());
    client.send(Command::Resume { job, checkpoint }).unwrap();
    assert_eq!(picture(client.result(job).unwrap()).rgb, whole.rgb);
    wanted.steps = 900;
    let job = client.submit(image(&wanted)).unwrap();
    client
        .wait(|event| matches!(event, Event::Step { index: 2.., job: of, .. } if *of == job))
        .unwrap();
    client.send(Command::Cancel(job)).unwrap();
    let End::Cancelled(Some(outcome)) = client.end(job).unwrap() else {
        panic!("no partial picture")
    };
    assert_eq!(picture(outcome).rgb.len(), 40 * 32 * 3);
}
