//! Keys and values in 16 and 8 bits against 32: whole prefill (tiles), single steps (row by row), on all executors.

use diptych_inference::graph::{HostTensor, KvType};

use super::llama::{PAGES, hugging_face, rows_of, run};
use crate::common::{Reference, on_every_executor};

/// Largest error of logits in any row, relative to the largest of those in f32. Random weights magnify what is rounded.
fn tolerance(kv_type: KvType) -> f32 {
    match kv_type {
        KvType::F32 => 1e-3,
        KvType::F16 => 4e-3,
        KvType::Q8 => 8e-2,
    }
}

#[test]
fn narrower_caches_give_nearly_the_same_logits() {
    let name = "llama-gqa";
    let model = hugging_face(name);
    let vocab = model.vocab_size();
    let ids = Reference::of(name).ids("ids");
    on_every_executor("llama-gqa, narrower caches", |subject| {
        let all: Vec<u32> = (0..ids.len() as u32).collect();
        let mut wide = Vec::new();
        let mut bytes = Vec::new();
        for kv_type in KvType::ALL {
            let model = model.clone().with_kv_type(kv_type);
            let shape = model.kv_shape(PAGES);
            let before = subject.executor.memory().states;
            let cache = subject.executor.create_kv(shape).unwrap();
            assert_eq!(
                subject
                    .executor
                    .forecast(&model.graph(&super::llama::shape(4, 1)).unwrap())
                    .states,
                shape.bytes()
            );
            bytes.push((subject.executor.memory().states - before) as f64);
            let whole = run(subject, &model, cache, &rows_of(0, &ids, 0), 0, &all);
            if kv_type == KvType::F32 {
                wide.clone_from(&whole);
            }
            let tensor = |values: &[f32]| HostTensor::f32(vec![values.len()], values.to_vec());
            let label = format!("{} whole", kv_type.name());
            subject.compare(&label, &tensor(&whole), &tensor(&wide), tolerance(kv_type));
            if kv_type != KvType::F32 {
                assert!(whole != wide, "nothing was rounded");
            }
            subject.executor.drop_state(cache);

            // Token by token over the end of a page, after a copy of the page that they go on from.
            let cache = subject.executor.create_kv(shape).unwrap();
            let table = super::llama::TABLES[0];
            run(subject, &model, cache, &rows_of(0, &ids[..60], 0), 0, &[]);
            subject.executor.copy_kv_page(cache, table[0], 2).unwrap();
            run(subject, &model, cache, &rows_of(0, &ids[30..60], 0), 0, &[]);
            subject.executor.copy_kv_page(cache, 2, table[0]).unwrap();
            for position in 60..70 {
                let rows = rows_of(0, &ids[position..=position], position);
                let got = run(subject, &model, cache, &rows, position % 2, &[0]);
                let wanted = &wide[position * vocab..][..vocab];
                let label = format!("{} in steps", kv_type.name());
                subject.compare(&label, &tensor(&got), &tensor(wanted), tolerance(kv_type));
            }
            subject.executor.drop_state(cache);
        }
        println!("{}: bytes {bytes:?}", subject.name);
        // Beside the caches the GPU holds a page on its way.
        assert!((bytes[1] / bytes[0] - 0.5).abs() < 0.01, "{bytes:?}");
        // Heads of eight elements: eight bytes, and a word for the scale.
        assert!(bytes[2] / bytes[0] < 0.38, "{bytes:?}");
    });
}
