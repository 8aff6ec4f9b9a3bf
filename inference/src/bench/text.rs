//! A chat model: reading prompts of 128 and 512 tokens, and writing.

use std::path::Path;
use std::time::{Duration, Instant};

use super::BenchError;
use super::session::{Foreseen, Naming, Session};
use crate::formats::detect::ModelInfo;
use crate::graph::candidates::{CandidateRow, EXTRAS};
use crate::graph::draw::{DRAW_WORDS, DrawSettings};
use crate::graph::{HostTensor, KV_PAGE, KvShape, NO_SLOT};
use crate::models::Llama;
use crate::models::llama::LlamaShape;
use crate::pipelines::ChatModel;

/// Tokens in the prompts.
const PROMPTS: [usize; 2] = [128, 512];
/// Tokens in the cache when writing begins.
const BEFORE_WRITING: usize = 128;
/// Most tokens written.
const WRITTEN: usize = 128;

/// Measures a model.
pub(super) fn measure(
    session: &mut Session<'_>,
    path: &Path,
    info: &ModelInfo,
) -> Result<(), BenchError> {
    let started = Instant::now();
    let model = ChatModel::load(path, info)?;
    session.opened(started);
    let llama = model.llama();
    let quick = session.options.quick;
    let longest = model.context_length();
    let wanted = match session.options.prompts.as_slice() {
        [] => PROMPTS.to_vec(),
        given => given.to_vec(),
    };
    let prompts: Vec<usize> = wanted.into_iter().filter(|&rows| rows <= longest).collect();
    let before = BEFORE_WRITING.min(longest / 2).max(1);
    let written = if quick { 48 } else { WRITTEN }
        .min(longest.saturating_sub(before + 2))
        .max(1);
    let positions = prompts
        .iter()
        .copied()
        .max()
        .unwrap_or(0)
        .max(before + written + 2);
    let pages = positions.div_ceil(KV_PAGE);
    let shape = |rows: usize| LlamaShape {
        rows,
        outputs: 1,
        sequences: 1,
        pages_per_sequence: pages,
        pages,
    };

    let ahead = session.executor.as_mut().runs_ahead();
    let kept: Vec<usize> = std::iter::once(1).chain(prompts.iter().copied()).collect();
    let graphs = kept
        .iter()
        .map(|&rows| model.choosing_graph(&shape(rows), ahead && rows == 1))
        .collect::<Result<Vec<_>, _>>()?;
    session.forecast(&graphs.iter().collect::<Vec<_>>());
    drop(graphs);

    let one = session.plan(&|| Ok(model.choosing_graph(&shape(1), ahead)?))?;
    let cache: KvShape = llama.kv_shape(pages);
    let state = session.executor.as_mut().create_kv(cache)?;
    for &rows in &prompts {
        let planned = session.plan(&|| Ok(model.choosing_graph(&shape(rows), false)?))?;
        let naming = Naming {
            name: format!("prefill {rows}"),
            unit: "tokens",
            units: rows,
            context: (rows + 1) as f64 / 2.0,
        };
        let tokens: Vec<u32> = (0..rows).map(|place| token(llama, place)).collect();
        let limits = match quick {
            true => (1, 3, Duration::from_secs(2)),
            false => (3, 10, Duration::from_secs(20)),
        };
        let mut given = |_: usize, _: &[HostTensor]| inputs(&tokens, 0, pages).into();
        session.measure(&planned, &[state], naming, limits, (&mut given, None))?;
    }

    // One more prompt, row by row through the plan that writes, would be slow: the cache holds the tokens of the last prompt.
    if prompts.is_empty() {
        for place in 0..before {
            let mut given: Vec<_> = inputs(&[token(llama, place)], place, pages).into();
            given.extend(ahead.then(draw_the_best));
            session.run(one.plan, &given, &[state])?;
        }
    }
    let naming = Naming {
        name: "decode".into(),
        unit: "tokens",
        units: 1,
        context: before as f64 + written as f64 / 2.0,
    };
    let limits = match quick {
        true => (8, written, Duration::from_secs(4)),
        false => (16, written, Duration::from_secs(30)),
    };
    let place = |run: usize| before + run.min(written);
    let mut given = |run: usize, results: &[HostTensor]| {
        // The likeliest token, as greedy decoding has it.
        let told = results.first().map_or(&[][..], HostTensor::as_f32);
        let next = likeliest(told, model.tokenizer().vocab_len());
        let mut given: Vec<_> = inputs(&[next], place(run), pages).into();
        given.extend(ahead.then(draw_the_best));
        given
    };
    let foreseen = |run: usize| {
        let mut given: Vec<_> = inputs(&[0], place(run), pages).into();
        given.retain(|(name, _)| *name != "ids");
        given.push(draw_the_best());
        given
    };
    let foreseen: Option<&Foreseen<'_>> = ahead.then_some(&foreseen);
    session.measure(&one, &[state], naming, limits, (&mut given, foreseen))?;
    session.executor.as_mut().drop_state(state);
    Ok(())
}

/// Tokens that are spread over the vocabulary.
fn token(llama: &Llama, place: usize) -> u32 {
    let spread = place.wrapping_mul(7919) % llama.vocab_size().max(1);
    u32::try_from(spread).unwrap_or(0)
}

/// The likeliest of `tokens` tokens, by what the device tells of them.
fn likeliest(told: &[f32], tokens: usize) -> u32 {
    let row = CandidateRow::read(told, tokens);
    let known = row.map(|row| row.tokens).unwrap_or_default();
    let best = known.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    best.map_or(0, |(id, _)| *id)
}

/// The input by which a device draws the likeliest token.
fn draw_the_best() -> (&'static str, HostTensor) {
    let words = DrawSettings::BEST.words().to_vec();
    ("draw", HostTensor::f32([1, DRAW_WORDS], words))
}

/// Inputs of rows of one sequence whose positions lie one after the other in the cache.
fn inputs(tokens: &[u32], start: usize, pages: usize) -> [(&'static str, HostTensor); 8] {
    let rows = tokens.len();
    let places: Vec<u32> = (start..start + rows).map(|place| place as u32).collect();
    [
        ("ids", HostTensor::u32([rows], tokens.to_vec())),
        ("positions", HostTensor::u32([rows], places.clone())),
        ("write_slots", HostTensor::u32([rows], places)),
        ("sequences", HostTensor::u32([rows], vec![0; rows])),
        (
            "block_tables",
            HostTensor::u32([1, pages], (0..pages as u32).collect()),
        ),
        (
            "output_rows",
            HostTensor::u32([1], vec![(rows as u32).saturating_sub(1)]),
        ),
        // As where nothing is penalised, at temperature 1.
        (
            "extras",
            HostTensor::u32([1, EXTRAS], vec![NO_SLOT; EXTRAS]),
        ),
        ("inverse_temperatures", HostTensor::f32([1], vec![1.0])),
    ]
}
