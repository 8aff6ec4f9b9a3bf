//! In what form a conversation is kept where nothing was settled: in 32 bits where that fits, else in 16.

use diptych_inference::engine::{EngineOptions, KvChoice};

use super::*;

/// What an engine of so many bytes keeps a conversation in, and how much its cache takes after an answer.
fn kept(device: DeviceChoice, bytes: u64, kv_type: KvChoice) -> (KvType, u64, String) {
    let mut client = Client::start_as(EngineOptions {
        device,
        kv_type,
        memory_budget: Some(bytes),
        ..Default::default()
    })
    .unwrap();
    let model = muse(&mut client);
    let request = say(&model, &"tell me about the red fox ".repeat(40));
    let told = measure(&mut client, 1, &request).unwrap();
    let text = answer(&mut client, request).text;
    let memory = memory(&mut client);
    assert!(memory.weights + memory.states + memory.activations <= bytes);
    (told.kv_type, memory.states, text)
}

/// Whether a cache is of that size; a GPU rounds up what goes with it.
fn about(bytes: u64, wanted: u64) -> bool {
    bytes.abs_diff(wanted) * 100 <= wanted
}

fn memory(client: &mut Client) -> diptych_inference::engine::MemoryUse {
    client.send(Command::ReportMemory).unwrap();
    client
        .wait(|event| matches!(event, Event::Memory(_)))
        .unwrap();
    match client.events.last() {
        Some(Event::Memory(memory)) => *memory,
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_is_kept_in_16_bits_only_where_32_do_not_fit() {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let mut roomy = Client::start(device).unwrap();
        let model = muse(&mut roomy);
        answer(
            &mut roomy,
            say(&model, &"tell me about the red fox ".repeat(40)),
        );
        let used = memory(&mut roomy);
        // Room for others is made, too.
        let one = used.states / 2;
        let beside = used.weights + used.activations;
        println!("{device:?}: {used:?}");

        let much = beside + 4 * one;
        let (auto, two, exact) = kept(device, much, KvChoice::Auto);
        assert_eq!(auto, KvType::F32, "{device:?}");
        assert!(about(two, 2 * one), "{device:?}: {two}, {one}");
        // Room for one conversation in 32 bits is worth more than room for two in 16.
        let (auto, single, same) = kept(device, beside + one * 3 / 2, KvChoice::Auto);
        assert_eq!((auto, &same), (KvType::F32, &exact), "{device:?}");
        assert!(about(single, one), "{device:?}: {single}, {one}");
        // What is streamed is not joined, and takes a little more beside the weights.
        let little = beside + one * 7 / 8;
        let (auto, half, narrow) = kept(device, little, KvChoice::Auto);
        assert_eq!(auto, KvType::F16, "{device:?}");
        assert!(about(half, one / 2), "{device:?}: {half}, {one}");
        // As if it had been chosen.
        let (chosen, _, again) = kept(device, much, KvChoice::F16);
        assert_eq!((chosen, again), (KvType::F16, narrow));
        // What was chosen stays chosen, whatever it costs.
        let (chosen, whole, slow) = kept(device, little, KvChoice::F32);
        assert_eq!((chosen, slow), (KvType::F32, exact));
        assert!(about(whole, one), "{device:?}: {whole}, {one}");
    }
}
