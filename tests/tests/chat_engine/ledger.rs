//! What the ledger tells before sending is what the engine then does: on every branch, with and without leaving out what is oldest.

use diptych_inference::engine::{EngineOptions, Written};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

/// An engine whose conversations are short, so that they are soon full.
fn short(tokens: usize) -> Client {
    Client::start_as(EngineOptions {
        device: DeviceChoice::Cpu,
        longest_context: Some(tokens),
        ..Default::default()
    })
    .unwrap()
}

fn ask(model: &ModelRef, messages: Vec<ChatMessage>, overflow: Overflow) -> ChatRequest {
    ChatRequest {
        prompt: ChatPrompt::Messages(messages),
        overflow,
        max_tokens: 12,
        ..say(model, "")
    }
}

#[test]
fn it_is_true_on_every_branch_with_and_without_leaving_out() {
    let number: u64 = rand::random();
    println!("seed {number}");
    let mut random = StdRng::seed_from_u64(number);
    for overflow in [Overflow::Stop, Overflow::Shift] {
        let mut client = short(256);
        let model = muse(&mut client);
        let system = ChatMessage::new("system", "You are brief and kind.");
        // Ends of branches: what was said on each, and the answer to it.
        let mut branches = vec![vec![system]];
        let (mut shared, mut dropped, mut full) = (0, 0, 0);
        for step in 0..60u64 {
            // Mostly on and on, sometimes from somewhere else.
            let last = branches.len() - 1;
            let at = if random.random_range(0..4) > 0 {
                last
            } else {
                random.random_range(0..=last)
            };
            let mut messages = branches[at].clone();
            match random.random_range(0..4) {
                // Another answer to the same, or another wording.
                0 if messages.len() > 2 => {
                    messages.pop();
                }
                1 if messages.len() > 2 => {
                    messages.truncate(messages.len() - 2);
                    messages.push(ChatMessage::new("user", format!("no, fox number {step}")));
                }
                _ => messages.push(ChatMessage::new(
                    "user",
                    format!("tell me about fox number {step} in the deep green forest ").repeat(2),
                )),
            }
            let mut request = ask(&model, messages.clone(), overflow);
            request.seed = step;
            let told = measure(&mut client, step, &request).unwrap();
            assert_eq!(told.cached + told.new, told.tokens);
            if told.tokens >= told.context_length {
                assert_eq!(overflow, Overflow::Stop);
                full += 1;
                assert!(refused(&mut client, request).contains("context"));
                continue;
            }
            let done = answer(&mut client, request);
            let what = format!("step {step}, {overflow:?}: {told:?}");
            assert_eq!(
                (done.prompt, done.cached),
                (told.tokens, told.cached),
                "{what}"
            );
            if told.reserved == 12 {
                assert_eq!(done.dropped, told.dropped, "{what}");
            } else {
                assert!(done.dropped >= told.dropped, "{what}");
            }
            shared += u32::from(told.cached * 2 > told.tokens);
            dropped += u32::from(told.dropped > 0);
            // Of a model this small an answer may be empty, which ends no branch.
            messages.push(ChatMessage::new("assistant", done.text + "."));
            branches.push(messages);
        }
        assert!(shared > 6, "{shared} prompts were mostly in the cache");
        match overflow {
            Overflow::Stop => assert!(dropped == 0 && full > 0, "{dropped} {full}"),
            Overflow::Shift => assert!(dropped > 3 && full == 0, "{dropped} {full}"),
        }
    }
}

#[test]
fn what_is_left_out_stays_left_out_so_that_the_rest_stays_cached() {
    let mut client = short(512);
    let model = muse(&mut client);
    let system = ChatMessage::new("system", "You are brief and kind, and like foxes.");
    let mut messages = vec![system.clone()];
    let (mut after, mut kept, mut times) = (0, 0, 0);
    let mut before = 0;
    let head = {
        let of = |client: &mut Client, tag, text: &str| {
            let messages = vec![system.clone(), ChatMessage::new("user", text)];
            measure(client, tag, &ask(&model, messages, Overflow::Shift)).unwrap()
        };
        // The shortest question there is, and the marks around it, are a few tokens.
        of(&mut client, 1000, "a").tokens - 12
    };
    for turn in 0..60 {
        messages.push(ChatMessage::new("user", format!("and fox {turn}?")));
        let request = ask(&model, messages.clone(), Overflow::Shift);
        let told = measure(&mut client, turn, &request).unwrap();
        let done = answer(&mut client, request);
        assert_eq!((done.prompt, done.cached), (told.tokens, told.cached));
        // Nothing is left out without need, and not more than a quarter of the context and a turn above it.
        let whole = told.tokens + told.dropped;
        assert_eq!(told.dropped > 0, whole >= told.context_length, "{told:?}");
        if told.dropped > 0 {
            let need = whole - (told.context_length - 12);
            assert!(told.dropped >= need, "{told:?}");
            assert!(told.dropped < need + 128 + 80, "{told:?} {need}");
            assert!(
                told.cached >= head,
                "the system message stays: {told:?} {head}"
            );
            after += 1;
            kept += u32::from(told.cached * 2 > told.tokens);
            times += u32::from(told.dropped != before);
            before = told.dropped;
        }
        messages.push(ChatMessage::new("assistant", done.text + "."));
    }
    println!(
        "{after} turns after the context was full, {kept} of them mostly cached, {times} cuts"
    );
    assert!(after >= 12, "{after}");
    assert!(kept * 2 >= after, "{kept} of {after}");
    assert!(times * 2 <= after, "{times} of {after}");
}

#[test]
fn an_answer_that_is_gone_on_with_is_told_too() {
    let mut client = short(256);
    let model = muse(&mut client);
    let request = ChatRequest {
        max_tokens: 20,
        grammar: Some(Grammar::Regex("[a-z ]{3000}".into())),
        ..ask(
            &model,
            vec![ChatMessage::new("user", "what is a fox?")],
            Overflow::Stop,
        )
    };
    let whole = answer(&mut client, request.clone());
    let tokens: Vec<u32> = whole.tokens.iter().map(|token| token.id).collect();
    let rest = ChatRequest {
        written: Some(Written {
            tokens: tokens[..9].to_vec(),
            bytes: 0,
        }),
        ..request.clone()
    };
    let told = measure(&mut client, 1, &rest).unwrap();
    assert_eq!((told.tokens, told.dropped), (whole.prompt + 9, 0));
    let done = answer(&mut client, rest.clone());
    assert_eq!(done.cached, told.cached);
    // More than the context holds: half of it goes, and that is told.
    let long = ChatRequest {
        written: Some(Written {
            tokens: tokens[..9].repeat(30),
            bytes: 0,
        }),
        overflow: Overflow::Shift,
        max_tokens: 275,
        ..rest
    };
    let told = measure(&mut client, 2, &long).unwrap();
    assert!(told.tokens < 256 && told.dropped > 0, "{told:?}");
    assert_eq!(told.tokens + told.dropped, whole.prompt + 270);
    let done = answer(&mut client, long);
    assert_eq!((done.dropped, done.cached), (told.dropped, told.cached));
}
