//! Llamas against transformers: whole prefill, chunks and single steps through the paged cache, from both file formats.

use diptych_inference::formats::gguf::read_gguf;
use diptych_inference::graph::{HostTensor, KV_PAGE, NO_SLOT, StateId};
use diptych_inference::models::Llama;
use diptych_inference::models::llama::{LlamaConfig, LlamaShape};

use crate::common::{Reference, Subject, TOLERANCE, config, fixture, on_every_executor, tensors};

/// The model of a Hugging Face folder.
pub fn hugging_face(name: &str) -> Llama {
    let (path, value) = config(name);
    let config = LlamaConfig::from_json(&path, &value).unwrap();
    Llama::new(config, tensors(name, "model.safetensors")).unwrap()
}

pub fn gguf(name: &str, kind: &str) -> Llama {
    let path = fixture(name).join(format!("model-{kind}.gguf"));
    Llama::from_gguf(&read_gguf(&path).unwrap()).unwrap()
}

pub const PAGES: usize = 8;
const PAGES_PER_SEQUENCE: usize = 3;

/// Pages of two sequences, neither in order nor in one piece.
pub const TABLES: [[u32; PAGES_PER_SEQUENCE]; 2] = [[6, 1, 4], [3, 7, 0]];

/// One token of one sequence.
#[derive(Clone, Copy)]
pub struct Row {
    sequence: usize,
    position: usize,
    id: u32,
}

pub fn rows_of(sequence: usize, ids: &[u32], from: usize) -> Vec<Row> {
    ids.iter()
        .enumerate()
        .map(|(i, &id)| Row {
            sequence,
            position: from + i,
            id,
        })
        .collect()
}

/// Sizes of a graph of so many rows and outputs.
pub fn shape(rows: usize, outputs: usize) -> LlamaShape {
    LlamaShape {
        rows,
        outputs,
        sequences: TABLES.len(),
        pages_per_sequence: PAGES_PER_SEQUENCE,
        pages: PAGES,
    }
}

/// Computes rows and gives the logits of those named by `outputs`; `padding` rows are added that are none.
pub fn run(
    subject: &mut Subject,
    model: &Llama,
    cache: StateId,
    rows: &[Row],
    padding: usize,
    outputs: &[u32],
) -> Vec<f32> {
    let shape = shape(rows.len() + padding, outputs.len());
    let column = |of: &dyn Fn(&Row) -> u32, pad: u32| {
        let values = rows.iter().map(of).chain(vec![pad; padding]).collect();
        HostTensor::u32(vec![shape.rows], values)
    };
    let slot = |row: &Row| {
        let page = TABLES[row.sequence][row.position / KV_PAGE];
        page * KV_PAGE as u32 + (row.position % KV_PAGE) as u32
    };
    let mut inputs = vec![
        ("ids", column(&|row| row.id, 0)),
        ("positions", column(&|row| row.position as u32, NO_SLOT)),
        ("write_slots", column(&slot, NO_SLOT)),
        ("sequences", column(&|row| row.sequence as u32, 0)),
        (
            "block_tables",
            HostTensor::u32(vec![2, PAGES_PER_SEQUENCE], TABLES.concat()),
        ),
    ];
    if !outputs.is_empty() {
        inputs.push((
            "output_rows",
            HostTensor::u32(vec![outputs.len()], outputs.to_vec()),
        ));
    }
    let graph = model.graph(&shape).unwrap();
    let results = subject.run(graph, &inputs, &[cache]);
    assert_eq!(results.len(), usize::from(!outputs.is_empty()));
    results
        .into_iter()
        .next()
        .map(HostTensor::into_f32)
        .unwrap_or_default()
}

fn greedy(logits: &[f32]) -> (usize, f32) {
    let best = (0..logits.len())
        .rev()
        .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
        .unwrap();
    let second = (0..logits.len())
        .filter(|&i| i != best)
        .map(|i| logits[i])
        .fold(f32::MIN, f32::max);
    (best, logits[best] - second)
}

/// Logits of every row of a prompt that is prefilled whole.
pub fn all_logits(subject: &mut Subject, model: &Llama, ids: &[u32]) -> Vec<f32> {
    let cache = subject.executor.create_kv(model.kv_shape(PAGES)).unwrap();
    let all: Vec<u32> = (0..ids.len() as u32).collect();
    let logits = run(subject, model, cache, &rows_of(0, ids, 0), 0, &all);
    subject.executor.drop_state(cache);
    logits
}

/// Whole prefill of the reference's prompt. Gives the logits of every row.
pub fn prefill(
    subject: &mut Subject,
    model: &Llama,
    reference: &Reference,
    label: &str,
    tolerance: f32,
) -> Vec<f32> {
    let ids = reference.ids("ids");
    let vocab = model.vocab_size();
    let logits = all_logits(subject, model, &ids);
    let rows = reference.ids("rows");
    let chosen: Vec<f32> = rows
        .iter()
        .flat_map(|&row| logits[row as usize * vocab..][..vocab].to_vec())
        .collect();
    let got = HostTensor::f32(vec![rows.len(), vocab], chosen);
    let wanted = reference.f32("logits");
    subject.compare(label, &got, &wanted, tolerance);
    // Every row's greedy choice, except where it hangs by a thread.
    let largest = wanted.as_f32().iter().fold(0f32, |m, v| m.max(v.abs()));
    let argmax = reference.ids("argmax");
    let mut clear = 0;
    for (row, &wanted) in argmax.iter().enumerate() {
        let (best, margin) = greedy(&logits[row * vocab..][..vocab]);
        if margin > 2.0 * tolerance * largest {
            assert_eq!(best, wanted as usize, "{} {label} row {row}", subject.name);
            clear += 1;
        }
    }
    assert!(clear * 2 > argmax.len(), "{clear} rows are no evidence");
    logits
}

/// The same prompt in chunks, and token by token, against the logits of every row of the whole.
pub fn in_pieces(subject: &mut Subject, model: &Llama, ids: &[u32], whole: &[f32]) {
    let vocab = model.vocab_size();
    let wanted_at =
        |row: usize| HostTensor::f32(vec![vocab], whole[row * vocab..][..vocab].to_vec());

    // Chunks that fit pages neither in size nor in place, with padding rows; those before the last only fill the cache.
    let cache = subject.executor.create_kv(model.kv_shape(PAGES)).unwrap();
    let mut from = 0;
    for (size, padding) in [(37, 3), (64, 0), (20, 12)] {
        let rows = rows_of(0, &ids[from..from + size], from);
        run(subject, model, cache, &rows, padding, &[]);
        from += size;
    }
    let rows = rows_of(0, &ids[from..], from);
    let last = rows.len() as u32 - 1;
    let got = run(subject, model, cache, &rows, 5, &[last, 0]);
    let got = got.chunks(vocab).map(<[f32]>::to_vec);
    for (row, got) in [ids.len() - 1, from].into_iter().zip(got) {
        let got = HostTensor::f32(vec![vocab], got);
        subject.compare("in chunks", &got, &wanted_at(row), TOLERANCE);
    }
    subject.executor.drop_state(cache);

    // One token at a time over the end of a page, in a bucket with padding.
    let cache = subject.executor.create_kv(model.kv_shape(PAGES)).unwrap();
    let rows = rows_of(0, &ids[..60], 0);
    run(subject, model, cache, &rows, 0, &[]);
    for (position, &id) in ids.iter().enumerate().take(70).skip(60) {
        let rows = rows_of(0, &[id], position);
        let got = run(subject, model, cache, &rows, position % 2, &[0]);
        let got = HostTensor::f32(vec![vocab], got);
        subject.compare("in steps", &got, &wanted_at(position), TOLERANCE);
    }
    subject.executor.drop_state(cache);
}

fn check(name: &str, kinds: &[&str]) {
    on_every_executor(name, |subject| {
        if fixture(name).join("config.json").exists() {
            let (model, reference) = (hugging_face(name), Reference::of(name));
            prefill(subject, &model, &reference, "safetensors", TOLERANCE);
        }
        for kind in kinds {
            let model = gguf(name, kind);
            let reference = Reference::file(name, &format!("reference-{kind}.safetensors"));
            prefill(subject, &model, &reference, kind, TOLERANCE);
        }
    });
}

#[test]
fn llama_with_grouped_queries() {
    check("llama-gqa", &["F32", "F16", "BF16", "Q8_0", "Q4_0"]);
}

#[test]
fn llama_with_tied_output_and_llama3_frequencies() {
    check("llama-tied-llama3", &["F16"]);
}

#[test]
fn llama_with_linear_frequency_scaling() {
    check("llama-linear", &["F16"]);
}

#[test]
fn llama_in_k_quants() {
    check("llama-kquants", &["Q4_K_M"]);
}

#[test]
fn chunks_and_single_steps_agree_with_the_whole() {
    for (name, model) in [
        ("llama-gqa", hugging_face("llama-gqa")),
        ("llama-tied-llama3", gguf("llama-tied-llama3", "F16")),
    ] {
        on_every_executor(&format!("{name}, in steps"), |subject| {
            let file = if name == "llama-gqa" {
                "reference.safetensors"
            } else {
                "reference-F16.safetensors"
            };
            let reference = Reference::file(name, file);
            let ids = reference.ids("ids");
            let whole = prefill(subject, &model, &reference, "whole", TOLERANCE);
            in_pieces(subject, &model, &ids, &whole);
        });
    }
}

#[test]
fn sequences_side_by_side_do_not_see_each_other() {
    let name = "llama-gqa";
    let model = gguf(name, "F16");
    on_every_executor("llama-gqa, two sequences", |subject| {
        let reference = Reference::file(name, "reference-F16.safetensors");
        let ids = reference.ids("ids");
        let vocab = model.vocab_size();
        let whole = prefill(subject, &model, &reference, "alone", TOLERANCE);
        let other: Vec<u32> = ids.iter().rev().copied().collect();

        let cache = subject.executor.create_kv(model.kv_shape(PAGES)).unwrap();
        // Rows of both sequences interleaved within one run.
        let rows: Vec<Row> = rows_of(0, &ids, 0)
            .into_iter()
            .zip(rows_of(1, &other, 0))
            .flat_map(|(a, b)| [a, b])
            .collect();
        let last = rows.len() as u32 - 1;
        let got = run(subject, &model, cache, &rows, 0, &[last - 1, last]);
        let wanted = whole[(ids.len() - 1) * vocab..].to_vec();
        let wanted = HostTensor::f32(vec![vocab], wanted);
        let first = HostTensor::f32(vec![vocab], got[..vocab].to_vec());
        subject.compare("first of two", &first, &wanted, TOLERANCE);
        subject.executor.drop_state(cache);

        let cache = subject.executor.create_kv(model.kv_shape(PAGES)).unwrap();
        let rows = rows_of(1, &other, 0);
        let alone = run(subject, &model, cache, &rows, 0, &[ids.len() as u32 - 1]);
        let alone = HostTensor::f32(vec![vocab], alone);
        let second = HostTensor::f32(vec![vocab], got[vocab..].to_vec());
        subject.compare("second of two", &second, &alone, TOLERANCE);
        subject.executor.drop_state(cache);
    });
}
