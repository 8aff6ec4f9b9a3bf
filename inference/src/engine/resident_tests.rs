//! Pictures whose latents stay on the device between steps: they are those of the host's way, nothing is read where nobody looks, and they can be stopped,
//! put aside and gone on with at any moment.

use super::memory_tests::{Hand, PLENTY, gpu};
use super::*;
use crate::diffusion::{Convention, SamplerKind, ScheduleKind};
use crate::engine::{DeviceChoice, ImageRequest, Outcome, Picture};
use crate::graph::HostTime;
use std::sync::Arc;

/// An engine whose latents stay on the device, or on the host.
fn hand(resident: bool) -> Hand {
    let executor = gpu(PLENTY).with_vectors(resident);
    Hand::with(DeviceChoice::Gpu, Box::new(executor), PLENTY)
}

fn host_time(hand: &mut Hand) -> HostTime {
    hand.worker.store.executor_mut().host_time().unwrap()
}

fn picture(outcome: Outcome) -> Arc<Picture> {
    match outcome {
        Outcome::Image { picture, .. } => picture,
        other => panic!("{other:?}"),
    }
}

fn draw(hand: &mut Hand, request: ImageRequest) -> Arc<Picture> {
    let job = hand.submit(Request::Image(request));
    picture(hand.finish(job).unwrap())
}

/// The latents after each step of the latest job.
fn latents(hand: &mut Hand) -> Vec<Vec<f32>> {
    hand.look();
    let events = std::mem::take(&mut hand.seen);
    events
        .into_iter()
        .filter_map(|event| match event {
            Event::Latents { latents, .. } => Some(latents.as_f32().to_vec()),
            _ => None,
        })
        .collect()
}

fn worst(a: &Picture, b: &Picture) -> u8 {
    let pairs = a.rgb.iter().zip(&b.rgb);
    pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

#[test]
fn every_sampler_draws_on_the_device_what_it_draws_on_the_host() {
    let (mut there, mut here) = (hand(true), hand(false));
    let mut worst_latent = 0f32;
    for sampler in SamplerKind::ALL {
        for convention in [Convention::KDiffusion, Convention::Diffusers] {
            let request = ImageRequest {
                sampler,
                convention,
                schedule: ScheduleKind::Normal,
                keep_latents: true,
                steps: 4,
                ..there.picture("a red fox")
            };
            let job = here.submit(Request::Image(request.clone()));
            let Ok(wanted) = here.finish(job).map(picture) else {
                // There is none in this convention.
                assert_eq!(convention, Convention::Diffusers, "{sampler:?}");
                continue;
            };
            let got = draw(&mut there, request);
            let what = format!("{sampler:?} {convention:?}");
            assert!(worst(&got, &wanted) <= 2, "{what}");
            let (got, wanted) = (latents(&mut there), latents(&mut here));
            assert_eq!((got.len(), wanted.len()), (4, 4), "{what}");
            for (step, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
                let scale = wanted.iter().fold(0f32, |a, b| a.max(b.abs()));
                for (got, wanted) in got.iter().zip(wanted) {
                    let off = (got - wanted).abs() / scale;
                    worst_latent = worst_latent.max(off);
                    assert!(off < 1e-3, "{what} step {step}: {got} {wanted}");
                }
            }
        }
    }
    assert!(host_time(&mut there).fed_runs > 80);
    assert_eq!(host_time(&mut here).fed_runs, 0);
    println!("latents at most {worst_latent:.1e} of their scale apart");
}

#[test]
fn guidance_in_every_form_is_that_of_the_host() {
    let (mut there, mut here) = (hand(true), hand(false));
    let plain = there.picture("a red fox");
    let requests = [
        (
            "one row",
            ImageRequest {
                guidance: 1.0,
                ..plain.clone()
            },
        ),
        (
            "rescaled",
            ImageRequest {
                guidance: 9.0,
                guidance_rescale: 0.7,
                ..plain.clone()
            },
        ),
        (
            "several prompts",
            ImageRequest {
                prompt: "a red fox AND a blue house :0.6".into(),
                guidance_rescale: 0.3,
                ..plain.clone()
            },
        ),
        (
            "words that change",
            ImageRequest {
                prompt: "a [red:blue:0.5] fox".into(),
                ..plain.clone()
            },
        ),
        (
            "no step but one",
            ImageRequest {
                stop_after: Some(1),
                ..plain
            },
        ),
    ];
    for (what, request) in requests {
        let before = host_time(&mut there).fed_runs;
        let wanted = draw(&mut here, request.clone());
        let got = draw(&mut there, request);
        assert!(host_time(&mut there).fed_runs > before, "{what}");
        assert!(worst(&got, &wanted) <= 1, "{what}");
    }
}

#[test]
fn where_nobody_looks_nothing_is_read_between_steps() {
    let mut hand = hand(true);
    let steps = 8;
    for preview in [false, true] {
        let request = ImageRequest {
            steps,
            preview,
            ..hand.picture("a red fox")
        };
        let started = Instant::now();
        let job = hand.submit(Request::Image(request));
        // The words, and the beginning.
        hand.worker.advance(job);
        let begun = host_time(&mut hand);
        let (mut reads, mut known) = (0, begun.bytes_read);
        for _ in 0..steps {
            hand.worker.advance(job);
            let now = host_time(&mut hand).bytes_read;
            reads += u32::from(now > known);
            known = now;
        }
        assert_eq!(
            host_time(&mut hand).fed_runs - begun.fed_runs,
            u64::from(steps)
        );
        // A checkpoint at the beginning, and then one in two seconds.
        let seconds = started.elapsed().as_secs() as u32;
        match preview {
            false => assert!(reads <= 1 + seconds / 2, "{reads} reads in {seconds} s"),
            true => assert_eq!(reads, steps - 1),
        }
        hand.finish(job).unwrap();
        hand.look();
        let told = hand
            .seen
            .iter()
            .filter(|event| matches!(event, Event::Step { job: of, .. } if *of == job));
        assert_eq!(told.count(), steps as usize);
    }
}

/// Whether the latents stay on the device or not, and whoever looks.
#[test]
fn from_the_second_step_to_the_last_nothing_is_made_on_the_device() {
    let steps = 7;
    for resident in [true, false] {
        let mut hand = hand(resident);
        let made = host_time(&mut hand).made;
        for sampler in [SamplerKind::Euler, SamplerKind::DpmPp2MSde] {
            for seen in [false, true] {
                let what = format!("{sampler:?}, resident {resident}, seen {seen}");
                let request = ImageRequest {
                    steps,
                    sampler,
                    preview: seen,
                    trace: seen,
                    guidance_rescale: 0.5,
                    ..hand.picture("a red fox")
                };
                let job = hand.submit(Request::Image(request));
                // The beginning, and two steps: what the first led to is seen, and its preview decoded, while the second runs.
                for _ in 0..3 {
                    hand.worker.advance(job);
                }
                let told = |hand: &mut Hand| {
                    let memory = hand.worker.store.memory();
                    let used = [memory.weights, memory.activations, memory.states];
                    (used, memory.peak, host_time(hand).made)
                };
                let before = told(&mut hand);
                // That they are counted at all.
                assert!(before.2 > made, "{what}: {before:?}");
                for step in 2..steps {
                    let dispatches = host_time(&mut hand).dispatches;
                    hand.worker.advance(job);
                    assert!(
                        host_time(&mut hand).dispatches > dispatches,
                        "{what} {step}"
                    );
                    assert_eq!(told(&mut hand), before, "{what}, step {step}");
                }
                hand.finish(job).unwrap();
            }
        }
    }
}

#[test]
fn it_can_be_put_aside_at_any_moment() {
    let mut hand = hand(true);
    let request = ImageRequest {
        sampler: SamplerKind::DpmPpSde,
        ..hand.picture("a red fox")
    };
    let wanted = draw(&mut hand, request.clone());
    // Two for each step, but one for the last; and the beginning.
    let evaluations = 2 * request.steps as usize - 1;
    for aside in 1..=evaluations + 1 {
        let job = hand.submit(Request::Image(request.clone()));
        for _ in 0..aside {
            hand.worker.advance(job);
        }
        hand.worker.rest(job);
        // All that was told to the device is told of.
        hand.look();
        let mut told: Vec<u32> = Vec::new();
        for event in &hand.seen {
            if let Event::Step { job: of, index, .. } = event
                && *of == job
            {
                told.push(*index);
            }
        }
        let done = aside - 1;
        let whole = match done == evaluations {
            true => request.steps as usize,
            false => done / 2,
        };
        assert_eq!(told.len(), whole, "after {done} evaluations: {told:?}");
        let got = picture(hand.finish(job).unwrap());
        assert_eq!(got, wanted, "put aside after {done} evaluations");
    }
}

#[test]
fn what_is_cancelled_is_kept_as_far_as_the_device_was_told() {
    let (mut there, mut here) = (hand(true), hand(false));
    let mut pictures = Vec::new();
    for hand in [&mut there, &mut here] {
        let request = ImageRequest {
            steps: 6,
            ..hand.picture("a red fox")
        };
        let job = hand.submit(Request::Image(request));
        for _ in 0..4 {
            hand.worker.advance(job);
        }
        hand.worker.apply(Command::Cancel(job));
        hand.look();
        let found = hand.seen.iter().find_map(|event| match event {
            Event::Cancelled { job: of, partial } if *of == job => partial.clone(),
            _ => None,
        });
        pictures.push(picture(found.unwrap()));
    }
    assert!(worst(&pictures[0], &pictures[1]) <= 1);
    // The next one is drawn as ever.
    let request = there.picture("a red fox");
    let wanted = draw(&mut here, request.clone());
    assert!(worst(&draw(&mut there, request), &wanted) <= 1);
}

#[test]
fn what_is_seen_changes_nothing() {
    let mut hand = hand(true);
    let request = hand.picture("a red fox");
    let wanted = draw(&mut hand, request.clone());
    let looked_at = ImageRequest {
        trace: true,
        preview: true,
        keep_latents: true,
        ..request.clone()
    };
    assert_eq!(draw(&mut hand, looked_at), wanted);
    hand.look();
    let mut states: Vec<(u32, Arc<[u8]>)> = Vec::new();
    for event in &hand.seen {
        if let Event::TraceStep { index, bytes, .. } = event {
            states.push((*index, bytes.clone()));
        }
    }
    assert_eq!(states.len(), 4);
    // And from each state it goes on to the same.
    for (index, state) in states {
        let job = JobId(1000 + u64::from(index));
        hand.worker.apply(Command::Resume {
            job,
            checkpoint: state,
        });
        let got = picture(hand.finish(job).unwrap());
        assert_eq!(got, wanted, "from step {index}");
    }
}

/// What a step takes and sends to and fro both ways, in turn. Run by hand, on a machine that does nothing else:
/// `cargo test --release --workspace --lib resident_tests::both_ways -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn both_ways_in_turn() {
    let mut ways = [(true, hand(true)), (false, hand(false))];
    for sampler in [
        SamplerKind::Euler,
        SamplerKind::DpmPp2M,
        SamplerKind::DpmPp2MSde,
    ] {
        for _ in 0..2 {
            for (resident, hand) in &mut ways {
                let request = ImageRequest {
                    steps: 20,
                    sampler,
                    ..hand.picture("a red fox")
                };
                let job = hand.submit(Request::Image(request));
                hand.worker.advance(job);
                let (before, started) = (host_time(hand), Instant::now());
                for _ in 0..20 {
                    hand.worker.advance(job);
                }
                let seconds = started.elapsed().as_secs_f64();
                let after = host_time(hand);
                hand.finish(job).unwrap();
                println!(
                    "{sampler:?}, latents on the {}: {:.2} ms a step, {} bytes sent and {} read a step",
                    if *resident { "device" } else { "host" },
                    1e3 * seconds / 20.0,
                    (after.bytes_sent - before.bytes_sent) / 20,
                    (after.bytes_read - before.bytes_read) / 20
                );
            }
        }
    }
}
