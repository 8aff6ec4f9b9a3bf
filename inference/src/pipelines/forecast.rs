//! How much memory a job will take, told before it runs: its graphs are built, and what the governor will do with them is gone
//! through with numbers only.

use std::collections::HashMap;

use super::chat_model::ChatModel;
use super::error::JobError;
use super::image_model::ImageModel;
use super::store::{ModelStore, PlanKey};
use crate::diffusion::Convention;
use crate::engine::ImageRequest;
use crate::formats::TensorKey;
use crate::graph::{Graph, MemoryForecast};
use crate::text::prompt::{chunk_prompt, split_lora_tags};

/// A plan that a job will need.
pub struct Work {
    /// By what the changed model's plans are known.
    pub changes: u64,
    /// What the plan is known by.
    pub key: PlanKey,
    /// Its graph.
    pub graph: Graph,
}

/// What one plan takes, as numbers.
#[derive(Clone, Debug)]
struct Taken {
    key: PlanKey,
    /// New weights by what they are known by: a number for each.
    weights: Vec<(usize, u64)>,
    forecast: MemoryForecast,
}

impl ModelStore {
    /// Forecasts a job that needs `works` in this order, and keeps the result for [`crate::graph::MemoryUse::forecast`].
    pub fn forecast(&mut self, name: &str, works: Vec<Work>) {
        let mut numbers: HashMap<TensorKey, usize> = HashMap::new();
        let mut taken = Vec::new();
        let mut states = 0;
        for work in works {
            if self.has_plan(name, (work.changes, work.key)) {
                continue;
            }
            let forecast = self.executor_mut().forecast(&work.graph);
            // A weight's share of the forecast: what an executor makes of it is in proportion to its bytes.
            let stored: u64 = work.graph.weight_bytes().max(1);
            let mut weights: Vec<(usize, u64)> = Vec::new();
            for weight in &work.graph.weights {
                let next = numbers.len();
                let number = *numbers.entry(weight.key()).or_insert(next);
                if weights.iter().any(|(known, _)| *known == number) {
                    continue;
                }
                let share = weight.byte_count() as u128 * u128::from(forecast.new_weights);
                let bytes = u64::try_from(share / u128::from(stored)).unwrap_or(u64::MAX);
                weights.push((number, bytes));
            }
            if !self.has_state(name) {
                states = forecast.states;
            }
            taken.push(Taken {
                key: work.key,
                weights,
                forecast,
            });
        }
        let memory = self.memory();
        let idle = !self.has_plans(name);
        let held = taken.iter().any(|plan| plan.forecast.held > 0);
        let now = memory.weights + memory.states + if held { memory.activations } else { 0 };
        let peak = highest(&taken, now, idle, states, memory.budget);
        self.forecast = peak.max(memory.peak);
        tracing::debug!(
            "'{name}' is forecast to take {} MiB of {} MiB",
            self.forecast >> 20,
            memory.budget >> 20
        );
    }
}

/// Goes through plans as the governor will: others are given up first, then plans for other work, then weights are streamed.
fn highest(works: &[Taken], now: u64, idle: bool, states: u64, budget: u64) -> u64 {
    let mut others = if idle { now } else { 0 };
    let own_before = now - others;
    let mut alive: Vec<&Taken> = Vec::new();
    let mut peak = now;
    let sum = |alive: &[&Taken], states: u64| {
        let mut seen: HashMap<usize, u64> = HashMap::new();
        for plan in alive {
            seen.extend(plan.weights.iter().copied());
        }
        let held: u64 = alive.iter().map(|plan| plan.forecast.held).sum();
        own_before + states + seen.values().sum::<u64>() + held
    };
    for work in works {
        alive.push(work);
        let transient = work.forecast.activations - work.forecast.held;
        let needed = |alive: &[&Taken], others: u64| sum(alive, states) + transient + others;
        if needed(&alive, others) > budget {
            others = 0;
        }
        while needed(&alive, others) > budget {
            let Some(place) = alive.iter().position(|plan| !plan.key.same_kind(work.key)) else {
                break;
            };
            alive.remove(place);
        }
        let needed = needed(&alive, others);
        // Where weights are streamed, a sixteenth is left free.
        peak = peak.max(if needed > budget {
            budget - budget / 16
        } else {
            needed
        });
    }
    peak
}

/// What drawing a picture needs.
///
/// # Errors
/// From the tokenizer, or from building the graphs.
pub fn picture(
    store: &mut ModelStore,
    model: &ImageModel,
    request: &ImageRequest,
    [height, width]: [usize; 2],
) -> Result<(), JobError> {
    let tokenizer = model.tokenizer();
    let length = tokenizer.max_length();
    let mut chunks = 1;
    let mut texts = vec![&request.prompt];
    if super::prompt::is_guided(request) && model.unet().config().guidance_features.is_none() {
        texts.push(&request.negative_prompt);
    }
    for text in &texts {
        let (text, _) = split_lora_tags(text, request.prompt_syntax);
        let found = chunk_prompt(&text, request.prompt_syntax, tokenizer)?;
        chunks = chunks.max(found.chunks.len());
    }
    let skipped = super::prompt::skipped_layers(model, request);
    let (words, changes, vae) = (model.text_changes(), model.changes(), model.vae_changes());
    // Where parts are asked for, the autoencoder sees no more than one of them at once.
    let most = request.vae_tile.map_or(usize::MAX, |pixels| {
        (pixels as usize / model.factor().max(1)).max(1)
    });
    let (part_height, part_width) = (height.min(most), width.min(most));
    let mut works = Vec::new();
    let mut add = |changes, key, graph| {
        works.push(Work {
            changes,
            key,
            graph,
        });
    };
    if request.init.is_some() {
        let factor = model.factor();
        let (height, width) = (part_height * factor, part_width * factor);
        let graph = model.vae().encode_graph(height, width)?;
        add(vae, PlanKey::EncodePicture(height, width), graph);
    }
    let text = model.text_encoder();
    if model.numbers().is_some() {
        let left_out = skipped + 1;
        let graph = text.hidden_graph(1, length, left_out)?;
        add(words, PlanKey::EncodeFirst(length, left_out), graph);
        if let Some(second) = model.second_text() {
            let graph = second.encoder.hidden_graph(1, length, left_out)?;
            add(words, PlanKey::EncodeSecond(length, left_out), graph);
        }
    } else {
        // The negative prompt is read with all layers by one convention.
        let mut skips = vec![skipped];
        if texts.len() == 2 && request.convention == Convention::Diffusers && skipped > 0 {
            skips.push(0);
        }
        for skipped in skips {
            let graph = text.graph(1, length, skipped)?;
            add(words, PlanKey::Encode(1, length, skipped), graph);
        }
    }
    let (batch, length) = (super::prompt::rows(model, request), chunks * length);
    let graph = model.unet().graph(batch, height, width, length)?;
    let key = PlanKey::Denoise(batch, height, width, length);
    add(changes, key, graph);
    let graph = model.vae().decode_graph(part_height, part_width)?;
    add(vae, PlanKey::Decode(part_height, part_width), graph);
    store.forecast(&request.model.name, works);
    Ok(())
}

/// What an answer to a prompt of `tokens` tokens needs, where plans are made for these numbers of rows, smallest first.
///
/// # Errors
/// From building the graphs.
pub fn answer(
    store: &mut ModelStore,
    name: &str,
    model: &ChatModel,
    (rows, tokens): (&[usize], usize),
) -> Result<(), JobError> {
    let most = rows.last().copied().unwrap_or(1).max(1);
    let rest = tokens % most;
    // Whole pieces, the last one, and one row for each token that is written.
    let whole = (rest != tokens).then_some(most);
    let last = rows.iter().copied().find(|&rows| rest > 0 && rows >= rest);
    let mut needed: Vec<usize> = whole
        .into_iter()
        .chain(last)
        .chain(std::iter::once(1))
        .collect();
    needed.dedup();
    let works = needed
        .into_iter()
        .map(|rows| {
            Ok(Work {
                changes: 0,
                key: PlanKey::Language(rows),
                graph: model.choosing_graph(&model.shape(rows))?,
            })
        })
        .collect::<Result<Vec<_>, JobError>>()?;
    store.forecast(name, works);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(key: PlanKey, weights: &[(usize, u64)], activations: u64, held: u64) -> Taken {
        Taken {
            key,
            weights: weights.to_vec(),
            forecast: MemoryForecast {
                activations,
                held,
                ..MemoryForecast::default()
            },
        }
    }

    #[test]
    fn shared_weights_count_once_and_the_governor_is_gone_through() {
        let [one, many] = [
            plan(PlanKey::Language(1), &[(0, 100), (1, 50)], 10, 10),
            plan(PlanKey::Language(64), &[(0, 100), (1, 50)], 30, 30),
        ];
        let chat = [many, one];
        assert_eq!(highest(&chat, 0, true, 20, 1000), 20 + 150 + 30 + 10);
        // Another model of 500 bytes stays as long as it can, and goes when it must.
        assert_eq!(highest(&chat, 500, true, 20, 1000), 500 + 210);
        assert_eq!(highest(&chat, 500, true, 20, 600), 500);
        // On the processor activations are given back after each run.
        let picture = [
            plan(PlanKey::Encode(1, 77, 0), &[(0, 100)], 40, 0),
            plan(PlanKey::Denoise(2, 8, 8, 77), &[(1, 300)], 70, 0),
            plan(PlanKey::Decode(8, 8), &[(2, 50)], 90, 0),
        ];
        assert_eq!(highest(&picture, 0, true, 0, 1000), 100 + 300 + 50 + 90);
        // The text encoder makes way for the U-Net, and that for the decoder.
        assert_eq!(highest(&picture, 0, true, 0, 400), 300 + 70);
        // The U-Net alone is too large: it is streamed.
        assert_eq!(highest(&picture, 0, true, 0, 320), 300);
    }
}
