//! Answers that were cut off, and go on from their tokens as if they never had been.

use diptych_inference::engine::Written;

use super::*;

/// Of these settings, each has something that must go on where it stood: random numbers of several kinds, what was repeated, a grammar, a text that may be
/// the beginning of a stop text.
fn kinds(model: &ModelRef) -> Vec<(&'static str, ChatRequest)> {
    let seed: u64 = 11;
    let base = ChatRequest {
        sampling: SamplingParams {
            temperature: 1.4,
            top_k: 0,
            ..SamplingParams::default()
        },
        seed,
        max_tokens: 30,
        ..say(model, "tell me something about foxes and forests")
    };
    let with = |sampling: SamplingParams| ChatRequest {
        sampling,
        ..base.clone()
    };
    vec![
        ("greedy", with(greedy())),
        ("drawn", base.clone()),
        (
            "XTC and DRY",
            with(SamplingParams {
                xtc_probability: 0.5,
                xtc_threshold: 0.05,
                dry_multiplier: 0.8,
                repetition_penalty: 1.2,
                ..base.sampling.clone()
            }),
        ),
        (
            "a grammar",
            ChatRequest {
                grammar: Some(Grammar::Regex("([a-z]{2,6} ){8}end".into())),
                ..base.clone()
            },
        ),
        (
            "a stop text",
            ChatRequest {
                stop: vec![". Nobody says this".into(), " and and".into()],
                ..base
            },
        ),
    ]
}

#[test]
fn an_answer_goes_on_from_its_tokens_as_if_it_had_never_stopped() {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let mut client = Client::start(device).unwrap();
        let model = muse(&mut client);
        for (what, request) in kinds(&model) {
            let whole = answer(&mut client, request.clone());
            let ids: Vec<u32> = whole.tokens.iter().map(|token| token.id).collect();
            assert!(ids.len() > 4, "{what}: {}", whole.text);
            for cut in [1, ids.len() / 2, ids.len() - 1] {
                let begun: String = whole.tokens[..cut]
                    .iter()
                    .map(|t| t.text.as_str())
                    .collect();
                let rest = answer(
                    &mut client,
                    ChatRequest {
                        written: Some(Written {
                            tokens: ids[..cut].to_vec(),
                            bytes: begun.len() as u32,
                        }),
                        ..request.clone()
                    },
                );
                let told: Vec<u32> = rest.tokens.iter().map(|token| token.id).collect();
                assert_eq!(told, ids[cut..], "{device:?}, {what}, cut at {cut}");
                assert_eq!(format!("{begun}{}", rest.text), whole.text, "{what}");
                assert_eq!((rest.written, rest.reason), (whole.written, whole.reason));
                assert_eq!((rest.prompt, rest.used), (whole.prompt, whole.used));
                // Nothing is written again, and hardly anything read.
                assert!(
                    rest.cached as usize >= rest.prompt as usize + cut - 1,
                    "{what}"
                );
            }
        }
    }
}

#[test]
fn what_cannot_be_taken_up_is_refused_and_what_is_full_says_so() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = muse(&mut client);
    let with = |tokens: Vec<u32>, most: u32| ChatRequest {
        max_tokens: most,
        written: Some(Written { tokens, bytes: 0 }),
        ..say(&model, "hello")
    };
    let told = refused(&mut client, with(vec![5, u32::MAX], 24));
    assert!(told.contains("does not know"), "{told}");
    // As many tokens as it may have.
    let full = answer(&mut client, with(vec![300; 7], 7));
    assert_eq!((full.reason, full.written), (FinishReason::Length, 7));
    assert!(full.tokens.is_empty() && full.text.is_empty());
    // More than the context holds: it ends, or goes on without what is oldest.
    let long = with(vec![300; 5000], 5003);
    assert_eq!(
        answer(&mut client, long.clone()).reason,
        FinishReason::ContextFull
    );
    let shifted = ChatRequest {
        overflow: Overflow::Shift,
        ..long
    };
    let shifted = answer(&mut client, shifted);
    assert!(shifted.dropped > 0 && shifted.used < shifted.context);
    assert!(!shifted.tokens.is_empty() && shifted.written <= 5003);
    // Nothing that the grammar does not know is taken up.
    let wrong = ChatRequest {
        grammar: Some(Grammar::Regex("[0-9]+".into())),
        ..with(vec![300], 24)
    };
    assert!(!refused(&mut client, wrong).is_empty());
}

#[test]
fn a_shorter_context_than_the_models_own_takes_less_memory() {
    let of = |tokens: Option<usize>| {
        let mut client = Client::start_as(diptych_inference::engine::EngineOptions {
            device: DeviceChoice::Cpu,
            longest_context: tokens,
            ..Default::default()
        })
        .unwrap();
        let model = muse(&mut client);
        let context = answer(&mut client, say(&model, "hello")).context;
        client.send(Command::ReportMemory).unwrap();
        client
            .wait(|event| matches!(event, Event::Memory(_)))
            .unwrap();
        match client.events.last() {
            Some(Event::Memory(memory)) => (context, memory.states),
            other => panic!("{other:?}"),
        }
    };
    let ((whole, much), (short, little)) = (of(None), of(Some(256)));
    assert_eq!((whole, short), (1024, 256));
    assert_eq!(little * 4, much);
    // Nothing is gained by more than the model has.
    assert_eq!(of(Some(1 << 20)), (whole, much));
}
