//! Answers whose tokens the device draws ahead of the host: the same words, whatever is asked for, and whatever happens in between.

use super::memory_tests::{Hand, PLENTY, gpu};
use super::*;
use crate::engine::{ChatPrompt, ChatRequest, DeviceChoice, Outcome, TokenEvent};
use crate::graph::HostTime;
use crate::text::sampling::SamplingParams;
use crate::text::template::ChatMessage;

/// An engine whose device draws ahead, or does not.
fn hand(ahead: bool) -> Hand {
    let executor = gpu(PLENTY).with_foresight(ahead);
    Hand::with(DeviceChoice::Gpu, Box::new(executor), PLENTY)
}

fn host_time(hand: &mut Hand) -> HostTime {
    hand.worker.store.executor_mut().host_time().unwrap()
}

fn request(hand: &Hand, said: &str, sampling: SamplingParams) -> ChatRequest {
    ChatRequest {
        model: hand.model("muse"),
        prompt: ChatPrompt::Messages(vec![ChatMessage::new("user", said)]),
        sampling,
        seed: 11,
        max_tokens: 60,
        time: 0,
        stop: Vec::new(),
        grammar: None,
        tools: Vec::new(),
        overflow: crate::engine::Overflow::default(),
        written: None,
    }
}

/// The tokens of an answer, with what was told of each.
fn answer(hand: &mut Hand, request: ChatRequest) -> Vec<TokenEvent> {
    hand.look();
    hand.seen.clear();
    let job = hand.submit(Request::Chat(request));
    match hand.finish(job) {
        Ok(Outcome::Chat { .. }) => tokens(hand, job),
        other => panic!("{other:?}"),
    }
}

fn tokens(hand: &mut Hand, job: JobId) -> Vec<TokenEvent> {
    hand.look();
    let of_job = |event: &Event| match event {
        Event::Tokens { job: of, tokens } if *of == job => tokens.clone(),
        _ => Vec::new(),
    };
    hand.seen.iter().flat_map(of_job).collect()
}

#[test]
fn answers_drawn_ahead_are_the_same() {
    let (mut ahead, mut plain) = (hand(true), hand(false));
    let settings: [(&str, SamplingParams); 6] = [
        ("as usual", SamplingParams::default()),
        (
            "greedy",
            SamplingParams {
                greedy: true,
                ..SamplingParams::default()
            },
        ),
        (
            "hot",
            SamplingParams {
                temperature: 1.6,
                top_k: 0,
                ..SamplingParams::default()
            },
        ),
        (
            "no bounds at all",
            SamplingParams {
                temperature: 1.2,
                top_k: 0,
                top_p: 1.0,
                min_p: 0.0,
                ..SamplingParams::default()
            },
        ),
        (
            "penalties",
            SamplingParams {
                repetition_penalty: 1.3,
                ..SamplingParams::default()
            },
        ),
        (
            "still",
            SamplingParams {
                temperature: 0.0,
                ..SamplingParams::default()
            },
        ),
    ];
    for (name, sampling) in settings {
        let before = host_time(&mut ahead);
        let (mut got, mut written) = (0, 0);
        for said in ["a picture of a fox", "something with snow and a red boat"] {
            let asked = request(&ahead, said, sampling.clone());
            let told = answer(&mut ahead, asked.clone());
            assert_eq!(told, answer(&mut plain, asked), "{name}: {said}");
            written += told.len() as u64;
            got += 1;
        }
        let after = host_time(&mut ahead);
        let begun = after.begun_runs - before.begun_runs;
        let taken = after.taken_up - before.taken_up;
        println!("{name}: {written} tokens, {begun} begun, {taken} taken up");
        match name {
            "penalties" => assert_eq!(begun, 0, "{name}"),
            // Where the whole row must be read at times, and what is begun is given up for it.
            "no bounds at all" | "hot" => {}
            // Each answer's last is begun in vain; some are measured, and each page's first has no place yet.
            _ => assert!(
                taken + 3 * got >= begun && begun * 10 >= written * 6,
                "{name}"
            ),
        }
    }
    assert_eq!(host_time(&mut plain).begun_runs, 0);
}

#[test]
fn an_answer_that_is_stopped_leaves_nothing_behind() {
    let (mut ahead, mut plain) = (hand(true), hand(false));
    for stopped_after in [5usize, 9, 23] {
        for hand in [&mut ahead, &mut plain] {
            let asked = request(hand, "a picture of a fox", SamplingParams::default());
            let job = hand.submit(Request::Chat(asked));
            hand.seen.clear();
            while tokens(hand, job).len() < stopped_after && hand.end(job).is_none() {
                hand.worker.advance(job);
            }
            hand.worker.apply(Command::Cancel(job));
        }
        // What the device was told to write for the next token lies where others write now.
        for said in ["a picture of a fox", "a picture of a fox in the snow"] {
            let asked = request(&ahead, said, SamplingParams::default());
            let got = answer(&mut ahead, asked.clone());
            assert_eq!(got, answer(&mut plain, asked), "{stopped_after}: {said}");
        }
        assert!(host_time(&mut ahead).taken_up > 0);
    }
}

#[test]
fn answers_that_take_turns_with_others_are_the_same() {
    let (mut ahead, mut plain) = (hand(true), hand(false));
    let said = ["a picture of a fox", "tell me of a boat"];
    let mut both = Vec::new();
    for said in said {
        let asked = request(&ahead, said, SamplingParams::default());
        both.push(ahead.submit(Request::Chat(asked)));
    }
    ahead.seen.clear();
    // By hand, each in its turn, on one plan: what is begun for the one is in vain for the other.
    while both.iter().any(|&job| ahead.end(job).is_none()) {
        for &job in &both {
            if ahead.end(job).is_none() {
                ahead.worker.advance(job);
            }
        }
    }
    for (said, job) in said.into_iter().zip(both) {
        let got = tokens(&mut ahead, job);
        let asked = request(&plain, said, SamplingParams::default());
        assert_eq!(got, answer(&mut plain, asked), "{said}");
    }
    let told = host_time(&mut ahead);
    println!("{} begun, {} taken up", told.begun_runs, told.taken_up);
    // It soon notices.
    assert!(told.begun_runs < 40, "{}", told.begun_runs);
}

#[test]
fn answers_that_are_written_together_are_the_same() {
    // Three in a plan for four: one row is padding.
    let said = ["a picture of a fox", "tell me of a boat", "snow on a hill"];
    let mut told = Vec::new();
    for ahead in [true, false] {
        let mut hand = hand(ahead);
        let jobs: Vec<JobId> = said
            .iter()
            .map(|said| {
                let asked = request(&hand, said, SamplingParams::default());
                hand.submit(Request::Chat(asked))
            })
            .collect();
        hand.seen.clear();
        while jobs.iter().any(|&job| hand.end(job).is_none()) {
            let unended = jobs.iter().copied().find(|&job| hand.end(job).is_none());
            hand.worker.advance_answers(unended.unwrap());
        }
        let answers: Vec<_> = jobs.iter().map(|&job| tokens(&mut hand, job)).collect();
        let time = host_time(&mut hand);
        let written: usize = answers.iter().map(Vec::len).sum();
        println!(
            "{written} tokens, {} begun, {} taken up",
            time.begun_runs, time.taken_up
        );
        assert_eq!(time.taken_up > 8, ahead);
        told.push(answers);
    }
    assert_eq!(told[0], told[1]);
}
