//! Chat through the engine: grammars, contexts that are full, what is told before sending, distributions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "chat_engine/cache.rs"]
mod cache;
#[path = "chat_engine/chosen.rs"]
mod chosen;
#[path = "chat_engine/ledger.rs"]
mod ledger;
#[path = "chat_engine/resumed.rs"]
mod resumed;

use diptych_inference::engine::{
    ChatPrompt, ChatRequest, Command, DeviceChoice, Event, FinishReason, Ledger, ModelRef, Outcome,
    Overflow, Request, TokenEvent,
};
use diptych_inference::graph::KvType;
use diptych_inference::text::grammar::Grammar;
use diptych_inference::text::sampling::{Distribution, Filter, SamplingParams, preview};
use diptych_inference::text::template::ChatMessage;
use diptych_tests::{Client, End, repository};

fn muse(client: &mut Client) -> ModelRef {
    client
        .add_model(&repository("assets/models/muse/muse.gguf"))
        .unwrap()
}

fn greedy() -> SamplingParams {
    SamplingParams {
        greedy: true,
        ..SamplingParams::default()
    }
}

fn say(model: &ModelRef, text: &str) -> ChatRequest {
    let messages = vec![ChatMessage::new("user", text)];
    ChatRequest {
        sampling: greedy(),
        max_tokens: 24,
        ..ChatRequest::new(model.clone(), ChatPrompt::Messages(messages))
    }
}

struct Answer {
    text: String,
    reason: FinishReason,
    prompt: u32,
    cached: u32,
    written: u32,
    dropped: u32,
    used: u32,
    context: u32,
    tokens: Vec<TokenEvent>,
}

fn answer(client: &mut Client, request: ChatRequest) -> Answer {
    let job = client.submit(Request::Chat(request)).unwrap();
    finish(client, job)
}

fn finish(client: &mut Client, job: diptych_inference::engine::JobId) -> Answer {
    let Outcome::Chat {
        text,
        reason,
        prompt_tokens,
        cached_tokens,
        tokens: written,
        dropped_tokens,
        context_used,
        context_length,
        ..
    } = client.result(job).unwrap()
    else {
        panic!("no answer")
    };
    let tokens = client.events.iter().filter_map(|event| match event {
        Event::Tokens { job: of, tokens } if *of == job => Some(tokens.clone()),
        _ => None,
    });
    Answer {
        text,
        reason,
        prompt: prompt_tokens,
        cached: cached_tokens,
        written,
        dropped: dropped_tokens,
        used: context_used,
        context: context_length,
        tokens: tokens.flatten().collect(),
    }
}

fn refused(client: &mut Client, request: ChatRequest) -> String {
    let job = client.submit(Request::Chat(request)).unwrap();
    match client.end(job).unwrap() {
        End::Failed(failure) => {
            assert!(!failure.bug, "{}", failure.message);
            failure.message
        }
        other => panic!("{other:?}"),
    }
}

fn measure(client: &mut Client, tag: u64, request: &ChatRequest) -> Result<Ledger, String> {
    client
        .send(Command::Measure {
            tag,
            request: Box::new(request.clone()),
        })
        .unwrap();
    client
        .wait(|event| matches!(event, Event::Measured { tag: of, .. } if *of == tag))
        .unwrap();
    match client.events.last() {
        Some(Event::Measured { ledger, .. }) => ledger.clone(),
        other => panic!("{other:?}"),
    }
}

fn distribution(
    client: &mut Client,
    tag: u64,
    request: &ChatRequest,
) -> Result<Distribution, String> {
    client
        .send(Command::Distribution {
            tag,
            request: Box::new(request.clone()),
        })
        .unwrap();
    client
        .wait(|event| matches!(event, Event::Distribution { tag: of, .. } if *of == tag))
        .unwrap();
    match client.events.last() {
        Some(Event::Distribution { result, .. }) => result.clone(),
        other => panic!("{other:?}"),
    }
}

const SCHEMA: &str = r#"{"type":"object","properties":{
    "prompts":{"type":"array","items":{"type":"string","maxLength":40},"minItems":2,"maxItems":2},
    "style":{"enum":["ink","oil"]}},"required":["prompts","style"],"additionalProperties":false}"#;

#[test]
fn an_answer_by_schema_is_json_of_that_schema() {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let mut client = Client::start(device).unwrap();
        let model = muse(&mut client);
        for seed in 0..3 {
            let request = ChatRequest {
                sampling: SamplingParams::default(),
                seed,
                max_tokens: 400,
                grammar: Some(Grammar::JsonSchema(SCHEMA.into())),
                ..say(&model, "give me two prompts")
            };
            let answer = answer(&mut client, request);
            assert_eq!(answer.reason, FinishReason::End, "{}", answer.text);
            let json: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
            assert_eq!(json["prompts"].as_array().unwrap().len(), 2);
            assert!(["ink", "oil"].contains(&json["style"].as_str().unwrap()));
            // A brace is not what the model would have said, and that is what is shown.
            let first = &answer.tokens[0];
            assert!(first.probability < 0.5, "{first:?}");
            let best = first.alternatives.first().unwrap();
            assert!(!best.piece.starts_with('{'), "{first:?}");
        }
    }
}

#[test]
fn regular_expressions_and_grammars_hold_and_faults_are_told() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = muse(&mut client);
    let with = |grammar| ChatRequest {
        grammar: Some(grammar),
        ..say(&model, "name an animal")
    };
    let regex = answer(
        &mut client,
        with(Grammar::Regex("a (red|blue) fox in [0-9]{2} trees".into())),
    );
    let digits: Vec<&str> = regex.text.split(' ').collect();
    assert!(["red", "blue"].contains(&digits[1]), "{}", regex.text);
    assert!(
        digits[4].len() == 2 && digits[4].parse::<u32>().is_ok(),
        "{}",
        regex.text
    );
    assert_eq!(regex.reason, FinishReason::End);
    let lark = Grammar::Lark("start: \"yes\" | \"no\" \",\" WORD\nWORD: /[a-z]{3}/".into());
    let lark = answer(&mut client, with(lark)).text;
    assert!(
        lark == "yes" || (lark.starts_with("no,") && lark.len() == 6),
        "{lark}"
    );
    let message = refused(
        &mut client,
        with(Grammar::JsonSchema("{\n\"type\": }".into())),
    );
    assert!(
        message.contains("JSON schema") && message.contains("line 2"),
        "{message}"
    );
    let message = refused(&mut client, with(Grammar::Lark("start: nobody".into())));
    assert!(message.contains("nobody"), "{message}");
    // And the engine goes on.
    assert!(!answer(&mut client, say(&model, "hello")).text.is_empty());
}

/// A system message and many turns; the last one asks.
fn long_talk(turns: usize) -> Vec<ChatMessage> {
    let mut messages = vec![ChatMessage::new("system", "You are brief and kind.")];
    for turn in 0..turns {
        messages.push(ChatMessage::new(
            "user",
            format!("tell me about fox number {turn} in the deep green forest"),
        ));
        messages.push(ChatMessage::new(
            "assistant",
            format!("fox number {turn} is red and sits under a tree"),
        ));
    }
    messages.push(ChatMessage::new("user", "what can you draw?"));
    messages
}

#[test]
fn a_prompt_that_is_too_long_loses_its_oldest_turns_only_when_asked() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = muse(&mut client);
    let messages = long_talk(120);
    let stop = ChatRequest {
        prompt: ChatPrompt::Messages(messages.clone()),
        ..say(&model, "")
    };
    let message = refused(&mut client, stop.clone());
    assert!(message.contains("context"), "{message}");
    let told = measure(&mut client, 1, &stop).unwrap();
    assert!(
        told.tokens > told.context_length && told.dropped == 0 && told.reserved == 0,
        "{told:?}"
    );

    let shift = ChatRequest {
        overflow: Overflow::Shift,
        ..stop
    };
    let told = measure(&mut client, 2, &shift).unwrap();
    assert!(
        told.dropped > 0 && told.tokens < told.context_length,
        "{told:?}"
    );
    assert_eq!(told.reserved, 24);
    assert_eq!((told.cached, told.new), (0, told.tokens));
    let shifted = answer(&mut client, shift);
    assert_eq!(
        (shifted.prompt, shifted.dropped),
        (told.tokens, told.dropped)
    );
    // The same as if a person had deleted the oldest turns: the least number of them that makes room, counted in quarters of the context.
    let whole = told.tokens + told.dropped;
    let need = (whole - (told.context_length - 24)).next_multiple_of(told.context_length / 4);
    let mut same = None;
    for gone in 1..120 {
        let kept = [&messages[..1], &messages[1 + 2 * gone..]].concat();
        let request = ChatRequest {
            prompt: ChatPrompt::Messages(kept),
            ..say(&model, "")
        };
        let ledger = measure(&mut client, 100 + gone as u64, &request).unwrap();
        if ledger.tokens == shifted.prompt {
            same = Some(request);
            break;
        }
        assert!(ledger.tokens > shifted.prompt, "{gone} turns: {ledger:?}");
        assert!(
            whole - ledger.tokens < need,
            "{gone} turns would have been enough"
        );
    }
    let same = answer(&mut client, same.unwrap());
    assert_eq!((same.text, same.dropped), (shifted.text, 0));
}

#[test]
fn a_context_that_fills_up_while_writing_goes_on_only_when_asked() {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let mut client = Client::start(device).unwrap();
        let model = muse(&mut client);
        let context = measure(&mut client, 1, &say(&model, "hi"))
            .unwrap()
            .context_length;
        // A prompt that leaves 20 tokens.
        let mut words = 4 * context as usize;
        let mut request = say(&model, "");
        let ledger = loop {
            request.prompt = ChatPrompt::Raw("a fox ".repeat(words));
            let ledger = measure(&mut client, 2, &request).unwrap();
            if ledger.tokens + 20 <= context {
                break ledger;
            }
            words -= (ledger.tokens + 20 - context).div_ceil(8) as usize;
        };
        // Nothing ends the answer before its length.
        request.grammar = Some(Grammar::Regex("[a-z ,.]{2000}".into()));
        request.max_tokens = 60;
        let stopped = answer(&mut client, request.clone());
        assert_eq!(stopped.reason, FinishReason::ContextFull);
        assert_eq!(stopped.prompt + stopped.written, context);
        request.overflow = Overflow::Shift;
        let shifted = answer(&mut client, request);
        assert_eq!(shifted.reason, FinishReason::Length, "{device:?}");
        assert_eq!(shifted.written, 60);
        assert!(shifted.text.starts_with(&stopped.text));
        // Half of what is after the mark of the beginning.
        assert!(
            shifted.dropped.abs_diff(context / 2) <= 1,
            "{}",
            shifted.dropped
        );
        assert_eq!(shifted.used, shifted.prompt + 60 - shifted.dropped);
        assert!(shifted.prompt == ledger.tokens && shifted.context == context);
    }
}

#[test]
fn the_ledger_tells_what_the_answer_then_costs() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = muse(&mut client);
    let mut messages = vec![ChatMessage::new("user", "hello, who are you?")];
    let mut request = say(&model, "");
    let mut last = 0;
    for turn in 0..3 {
        request.prompt = ChatPrompt::Messages(messages.clone());
        let told = measure(&mut client, turn, &request).unwrap();
        assert_eq!(told.cached + told.new, told.tokens);
        assert!(told.cached >= last, "{told:?}");
        let done = answer(&mut client, request.clone());
        assert_eq!((told.tokens, told.cached), (done.prompt, done.cached));
        last = done.prompt;
        messages.push(ChatMessage::new("assistant", done.text));
        messages.push(ChatMessage::new("user", "and what else?"));
    }
    // Of questions that wait, only the latest with a tag is answered; a model that is not there is an error.
    let unknown = say(&ModelRef::named("nobody"), "hi");
    assert!(
        measure(&mut client, 9, &unknown)
            .unwrap_err()
            .contains("nobody")
    );
    let mut tokens = |text: &str| {
        let (model, text) = (model.clone(), text.to_owned());
        let question = Command::Tokenize {
            tag: 5,
            model,
            text,
        };
        client.send(question).unwrap();
        client
            .wait(|event| matches!(event, Event::Tokenized { tag: 5, .. }))
            .unwrap();
        let Some(Event::Tokenized { result, .. }) = client.events.last() else {
            panic!()
        };
        result.clone().unwrap()
    };
    let fox = tokens("a red fox");
    assert!((3..=9).contains(&fox), "{fox}");
    // Counted as it counts within a message: special tokens that are spelled out are text.
    assert!(tokens("<|im_end|>") > 1);
}

#[test]
fn questions_are_answered_while_a_job_writes() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = muse(&mut client);
    let mut long = say(&model, "tell me a story");
    long.max_tokens = 400;
    long.grammar = Some(Grammar::Regex("[a-z ]{3000}".into()));
    let job = client.submit(Request::Chat(long)).unwrap();
    client
        .wait(|event| matches!(event, Event::Tokens { .. }))
        .unwrap();
    measure(&mut client, 1, &say(&model, "hi")).unwrap();
    distribution(&mut client, 2, &say(&model, "hi")).unwrap();
    let ended = |event: &Event| matches!(event, Event::Finished { .. });
    assert!(!client.events.iter().any(ended));
    let whole = finish(&mut client, job);
    assert_eq!(whole.written, 400);
}

#[test]
fn the_distribution_is_what_the_first_token_is_drawn_from() {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let mut client = Client::start(device).unwrap();
        let model = muse(&mut client);
        let mut request = say(&model, "give me a prompt idea");
        let thought = distribution(&mut client, 7, &request).unwrap();
        let first = answer(&mut client, request.clone());
        assert_eq!(thought.recent.len(), first.prompt as usize);
        assert!(
            first.cached >= first.prompt - 1,
            "the prompt was computed for the question"
        );
        let bars = preview(&thought, &request.sampling).unwrap();
        assert_eq!(bars[0].id, first.tokens[0].id);
        assert_eq!(
            (bars[0].after, bars[1].removed_by),
            (1.0, Some(Filter::Best))
        );
        for (bar, other) in bars.iter().zip(&first.tokens[0].alternatives) {
            assert_eq!(bar.id, other.id);
            assert!(
                (bar.before - other.probability).abs() < 1e-4,
                "{bar:?} {other:?}"
            );
        }
        for (candidate, bar) in thought.candidates.iter().zip(&bars) {
            let by_sum = (candidate.logit - thought.log_sum_exp).exp();
            assert!((by_sum - bar.before).abs() < 1e-4);
        }
        // A grammar's word counts in it.
        request.grammar = Some(Grammar::Regex("[0-9]{3}".into()));
        let numbers = distribution(&mut client, 8, &request).unwrap();
        let bars = preview(&numbers, &SamplingParams::default()).unwrap();
        assert!(
            bars.iter()
                .zip(&numbers.candidates)
                .all(|(bar, c)| bar.after == 0.0 || c.piece.bytes().all(|b| b.is_ascii_digit())),
            "{bars:?}"
        );
        assert!(
            bars.iter()
                .any(|bar| bar.removed_by == Some(Filter::Grammar))
        );
    }
}

/// Four seeds of one question.
fn variants(model: &ModelRef) -> Vec<ChatRequest> {
    (0..4)
        .map(|seed| ChatRequest {
            sampling: SamplingParams::default(),
            seed,
            max_tokens: 40,
            ..say(model, "tell me something about foxes and forests")
        })
        .collect()
}

#[test]
fn answers_written_together_are_those_written_alone() {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let mut client = Client::start(device).unwrap();
        let model = muse(&mut client);
        let mut requests = variants(&model);
        requests[2].prompt =
            ChatPrompt::Messages(vec![ChatMessage::new("user", "what is a seed?")]);
        requests[3].grammar = Some(Grammar::Regex("[a-z ]{9,60}".into()));
        let alone: Vec<Answer> = requests
            .iter()
            .map(|request| answer(&mut client, request.clone()))
            .collect();
        client.send(Command::Unload(model.clone())).unwrap();
        let jobs: Vec<_> = requests
            .iter()
            .map(|request| client.submit(Request::Chat(request.clone())).unwrap())
            .collect();
        let together: Vec<Answer> = jobs.iter().map(|&job| finish(&mut client, job)).collect();
        for (one, same) in alone.iter().zip(&together) {
            assert_eq!(one.text, same.text, "{device:?}");
            assert_eq!((one.reason, one.written), (same.reason, same.written));
            for (a, b) in one.tokens.iter().zip(&same.tokens) {
                assert!((a.probability - b.probability).abs() < 1e-4, "{a:?} {b:?}");
            }
        }
        // The second shares all but the last token of the first one's prompt, although that was still being written.
        assert_eq!(together[1].cached, together[1].prompt - 1);
        // They came in turns: the second had begun before the first had ended.
        let at = |wanted: &dyn Fn(&Event) -> bool| client.events.iter().position(wanted).unwrap();
        let begun = at(&|event| matches!(event, Event::Tokens { job, .. } if *job == jobs[1]));
        let ended = at(&|event| matches!(event, Event::Finished { job, .. } if *job == jobs[0]));
        assert!(begun < ended);
    }
}

#[test]
fn one_of_several_can_be_stopped_and_one_that_fails_stops_no_other() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = muse(&mut client);
    let mut requests = variants(&model);
    for request in &mut requests {
        request.max_tokens = 150;
        request.grammar = Some(Grammar::Regex("[a-z ]{3000}".into()));
    }
    requests[1].grammar = Some(Grammar::Lark("start: nobody".into()));
    let jobs: Vec<_> = requests
        .iter()
        .map(|request| client.submit(Request::Chat(request.clone())).unwrap())
        .collect();
    client
        .wait(|event| matches!(event, Event::Tokens { job, .. } if *job == jobs[3]))
        .unwrap();
    client.send(Command::Cancel(jobs[0])).unwrap();
    let End::Cancelled(Some(Outcome::Chat { tokens, .. })) = client.end(jobs[0]).unwrap() else {
        panic!("not cancelled")
    };
    assert!(tokens > 0 && tokens < 150);
    assert!(matches!(client.end(jobs[1]).unwrap(), End::Failed(_)));
    for &job in &jobs[2..] {
        assert_eq!(finish(&mut client, job).written, 150);
    }
}

#[test]
fn a_conversation_goes_on_in_a_narrower_cache_as_in_a_fresh_one() {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let mut bytes = Vec::new();
        for kv_type in KvType::ALL {
            let mut client = Client::start_with(device, kv_type).unwrap();
            let model = muse(&mut client);
            let mut messages = vec![ChatMessage::new("user", "hello, who are you?")];
            let first = answer(&mut client, say(&model, "hello, who are you?"));
            messages.push(ChatMessage::new("assistant", first.text));
            messages.push(ChatMessage::new("user", "what can you draw?"));
            let request = ChatRequest {
                prompt: ChatPrompt::Messages(messages),
                ..say(&model, "")
            };
            let second = answer(&mut client, request.clone());
            assert!(second.cached >= first.prompt);
            client.send(Command::ReportMemory).unwrap();
            client
                .wait(|event| matches!(event, Event::Memory(_)))
                .unwrap();
            if let Some(Event::Memory(memory)) = client.events.last() {
                bytes.push(memory.states as f64);
            }
            let mut fresh = Client::start_with(device, kv_type).unwrap();
            muse(&mut fresh);
            let again = answer(&mut fresh, request);
            assert_eq!(again.text, second.text, "{device:?} {kv_type:?}");
        }
        println!("{device:?}: {bytes:?} bytes");
        assert!((bytes[1] / bytes[0] - 0.5).abs() < 0.01, "{bytes:?}");
        // Its heads are of one block each: 32 bytes, and a word for the scale.
        assert!(
            (bytes[2] / bytes[0] - 36.0 / 128.0).abs() < 0.01,
            "{bytes:?}"
        );
    }
}

/// Seconds for 96 tokens each of so many answers.
fn seconds(client: &mut Client, model: &ModelRef, streams: usize) -> f64 {
    let jobs: Vec<_> = (0..streams)
        .map(|seed| {
            let request = ChatRequest {
                seed: seed as u64,
                max_tokens: 96,
                sampling: SamplingParams {
                    logit_bias: Vec::new(),
                    ..SamplingParams::default()
                },
                grammar: Some(Grammar::Regex("[a-z ]{4000}".into())),
                ..say(model, "tell me a long story")
            };
            client.submit(Request::Chat(request)).unwrap()
        })
        .collect();
    let mut slowest = 0.0f64;
    for job in jobs {
        let Outcome::Chat {
            decode_seconds,
            tokens,
            ..
        } = client.result(job).unwrap()
        else {
            panic!("no answer")
        };
        assert_eq!(tokens, 96);
        slowest = slowest.max(f64::from(decode_seconds));
    }
    slowest
}

/// What several answers cost against one. `DIPTYCH_CHAT_MODEL` names another model than the built-in one.
#[test]
#[ignore = "a measurement, for a quiet machine"]
fn cost_of_streams() {
    let path = std::env::var_os("DIPTYCH_CHAT_MODEL").map_or_else(
        || repository("assets/models/muse/muse.gguf"),
        std::path::PathBuf::from,
    );
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        // With room for the weights as they are multiplied: read anew for each token, they would be all that is measured.
        let mut client = Client::start_roomy(device, 12 << 30).unwrap();
        let model = client.add_model(&path).unwrap();
        for streams in [1, 2, 4, 8] {
            seconds(&mut client, &model, streams);
        }
        let one = seconds(&mut client, &model, 1);
        for streams in [1, 2, 4, 8] {
            let best = (0..3)
                .map(|_| seconds(&mut client, &model, streams))
                .fold(f64::INFINITY, f64::min);
            println!(
                "{device:?}: {streams} streams {best:.3} s, {:.2} times one, {:.0} tokens/s",
                best / one,
                96.0 * streams as f64 / best
            );
        }
    }
}
