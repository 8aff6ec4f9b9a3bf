//! Logits and perplexity through the engine, against transformers, on both executors; cancelled half-way; texts that do not do.

use diptych_inference::engine::{
    ChatPrompt, Command, DeviceChoice, Event, Measure, ModelRef, Outcome, Perplexity, Request,
    ScoreRequest,
};
use diptych_inference::text::template::ChatMessage;
use diptych_tests::{Client, End};
use serde_json::Value;

use crate::common::{Reference, TOLERANCE, fixture, relative_error};

const NAME: &str = "chat-folder";

fn json(file: &str) -> Value {
    let text = std::fs::read_to_string(fixture(NAME).join(file)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn request(model: &ModelRef, prompt: ChatPrompt, measure: Measure) -> Request {
    Request::Score(ScoreRequest {
        model: model.clone(),
        prompt,
        measure,
        time: 0,
    })
}

fn perplexity(outcome: Outcome) -> Perplexity {
    match outcome {
        Outcome::Perplexity(result) => result,
        other => panic!("{other:?}"),
    }
}

fn finished(client: &mut Client, request: Request) -> Outcome {
    let job = client.submit(request).unwrap();
    match client.end(job).unwrap() {
        End::Finished(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

fn text() -> String {
    json("perplexity.json")["text"].as_str().unwrap().to_owned()
}

fn equals_transformers(device: DeviceChoice) {
    let mut client = Client::start(device).unwrap();
    let model = client.add_model(&fixture(NAME)).unwrap();
    let messages = json("messages.json");
    let messages = messages.as_array().unwrap().iter().map(|message| {
        let of = |key: &str| message[key].as_str().unwrap().to_owned();
        ChatMessage::new(of("role"), of("content"))
    });
    let prompt = ChatPrompt::Messages(messages.collect());
    let outcome = finished(&mut client, request(&model, prompt, Measure::Logits));
    let Outcome::Logits { ids, logits } = outcome else {
        panic!("{outcome:?}");
    };
    let reference = Reference::file(NAME, "chat_reference.safetensors");
    assert_eq!(ids, reference.ids("ids"));
    let wanted = reference.f32("logits");
    assert_eq!(logits.shape, wanted.shape);
    let error = relative_error(logits.as_f32(), wanted.as_f32());
    println!("{device:?}: logits of a conversation, relative error {error:.1e}");
    assert!(error <= TOLERANCE, "{device:?}: {error}");

    let wanted = json("perplexity.json");
    let number = |key: &str| wanted[key].as_f64().unwrap();
    let context = wanted["context"].as_u64().unwrap() as u32;
    let measure = Measure::Perplexity { context };
    let outcome = finished(
        &mut client,
        request(&model, ChatPrompt::Raw(text()), measure),
    );
    let got = perplexity(outcome);
    println!("{device:?}: {got:?}, wanted {}", number("perplexity"));
    assert!((got.perplexity / number("perplexity") - 1.0).abs() < 2e-3);
    assert!((got.error / number("error") - 1.0).abs() < 2e-2);
    assert_eq!(got.scored, number("scored") as u64);
    assert_eq!(got.tokens, number("tokens") as u64);
    assert!(!got.beginning);
    let steps = client
        .events
        .iter()
        .filter(|event| matches!(event, Event::Step { .. }))
        .count();
    assert!(steps > 2, "progress is told");
}

#[test]
fn scores_equal_transformers_on_the_cpu() {
    equals_transformers(DeviceChoice::Cpu);
}

#[test]
fn scores_equal_transformers_on_the_gpu() {
    equals_transformers(DeviceChoice::Gpu);
}

#[test]
fn scoring_can_be_cancelled_and_says_what_does_not_do() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = client.add_model(&fixture(NAME)).unwrap();
    let measure = Measure::Perplexity { context: 64 };
    let long = ChatPrompt::Raw(text().repeat(200));
    let job = client.submit(request(&model, long, measure)).unwrap();
    client
        .wait(
            |event| matches!(event, Event::Step { job: of, index, .. } if *of == job && *index > 3),
        )
        .unwrap();
    client.send(Command::Cancel(job)).unwrap();
    match client.end(job).unwrap() {
        End::Cancelled(Some(outcome)) => assert!(perplexity(outcome).scored > 0),
        other => panic!("{other:?}"),
    }
    let mut fails = |prompt: &str, measure: Measure, wanted: &str| {
        let request = request(&model, ChatPrompt::Raw(prompt.to_owned()), measure);
        let job = client.submit(request).unwrap();
        match client.end(job).unwrap() {
            End::Failed(failure) => {
                assert!(
                    !failure.bug && failure.message.contains(wanted),
                    "{failure:?}"
                );
            }
            other => panic!("{other:?}"),
        }
    };
    fails("short", measure, "needs at least 128");
    fails(
        "short",
        Measure::Perplexity { context: 100_000 },
        "4 to 256",
    );
    fails("", Measure::Logits, "no text");
    fails(&text(), Measure::Logits, "256");
}
