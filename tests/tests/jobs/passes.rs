//! Jobs that end in the middle of their second pass go on there, and end as they would have.

use std::sync::Arc;

use diptych_inference::engine::{
    Command, DeviceChoice, Event, ImageRequest, Outcome, Picture, Request,
};
use diptych_tests::{Client, fixture};
use serde_json::json;

use super::named;

/// An engine that knows what the job needs, and the job's request.
fn ready(name: &str, device: DeviceChoice) -> (Client, ImageRequest) {
    let job = named(name);
    let mut client = Client::start(device).unwrap();
    let model = client
        .add_model(&fixture(job["model"].as_str().unwrap()))
        .unwrap();
    for addition in job["additions"].as_array().into_iter().flatten() {
        client
            .add_model(&fixture(addition.as_str().unwrap()))
            .unwrap();
    }
    let mut request = job["request"].clone();
    request["model"] = json!({ "name": model.name });
    request["trace"] = json!(true);
    (client, serde_json::from_value(request).unwrap())
}

fn picture(outcome: Outcome) -> Arc<Picture> {
    match outcome {
        Outcome::Image { picture, .. } => picture,
        other => panic!("{other:?}"),
    }
}

fn goes_on_in_the_second_pass(name: &str, device: DeviceChoice) {
    let (mut client, request) = ready(name, device);
    let first = request.steps;
    let job = client.submit(Request::Image(request)).unwrap();
    let whole = picture(client.result(job).unwrap());
    let states: Vec<(u32, u32, Arc<[u8]>)> = client
        .events
        .iter()
        .filter_map(|event| match event {
            Event::TraceStep {
                index,
                total,
                bytes,
                ..
            } => Some((*index, *total, bytes.clone())),
            _ => None,
        })
        .collect();
    let (_, total, _) = states[0];
    let of_second: Vec<_> = states.iter().filter(|(index, ..)| *index > first).collect();
    assert!(
        total > first && of_second.len() >= 2,
        "{name}: {total} of {first}"
    );
    drop(client);
    for (index, _, bytes) in of_second {
        // Another run of the program, after a crash, knows nothing but these bytes and the models.
        let (mut client, _) = ready(name, device);
        let job = client.next_job();
        let checkpoint = bytes.clone();
        client.send(Command::Resume { job, checkpoint }).unwrap();
        let drawn = picture(client.result(job).unwrap());
        assert_eq!(drawn, whole, "{name} on {device:?} from step {index}");
        let steps = client.events.iter().filter_map(|event| match event {
            Event::Step { index, total, .. } => Some((*index, *total)),
            _ => None,
        });
        let steps: Vec<_> = steps.collect();
        // No step is done twice, and they are counted through both passes.
        assert!(steps.len() <= (total - index) as usize, "{name}: {steps:?}");
        assert!(
            steps.iter().all(|(at, of)| at > index && *of == total),
            "{name}: {steps:?}"
        );
    }
}

#[test]
fn second_passes_go_on_where_they_were_stopped() {
    for name in ["hires-latent", "hires-lanczos", "hires-model"] {
        goes_on_in_the_second_pass(name, DeviceChoice::Cpu);
    }
}

#[test]
fn a_second_pass_goes_on_where_it_was_stopped_on_the_gpu() {
    goes_on_in_the_second_pass("hires-lanczos", DeviceChoice::Gpu);
}
