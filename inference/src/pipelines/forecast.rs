//! How much memory a job will take, told before it runs: its graphs are built, and what the governor will do with them is gone
//! through with numbers only.

use std::collections::{HashMap, HashSet};

use super::chat_model::ChatModel;
use super::error::JobError;
use super::store::{Form, ModelStore, PlanKey, Shortage, surplus, trials};
use crate::formats::TensorKey;
use crate::graph::{Executor, Graph};

/// What a plan takes.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// Its weights on the device; those that other plans have too are there once.
    weights: Vec<(TensorKey, u64)>,
    /// Activations, while it runs.
    activations: u64,
    /// Of these, what stays taken between runs.
    pub held: u64,
    /// KV caches that it refers to.
    states: u64,
    /// Its weights that will lie in the host's memory beside the device.
    beside: Vec<(TensorKey, u64)>,
}

impl Cost {
    /// Of `streamed` bytes of its weights nothing stays on the device.
    pub fn stream(&mut self, streamed: u64) {
        let all: u64 = self.weights.iter().map(|(_, bytes)| bytes).sum();
        let left = u128::from(all.saturating_sub(streamed));
        for (_, bytes) in &mut self.weights {
            let share = u128::from(*bytes) * left / u128::from(all.max(1));
            *bytes = u64::try_from(share).unwrap_or(*bytes);
        }
    }

    fn weights(&self) -> u64 {
        self.weights.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// What a graph will take once it is made ready.
pub fn cost(executor: &dyn Executor, graph: &Graph) -> Cost {
    let forecast = executor.forecast(graph);
    // What an executor makes of a weight is in proportion to its bytes.
    let made = u128::from(forecast.new_weights + forecast.shared_weights);
    let stored = u128::from(graph.weight_bytes().max(1));
    let mut weights: HashMap<TensorKey, u64> = HashMap::new();
    let mut beside: HashMap<TensorKey, u64> = HashMap::new();
    for weight in &graph.weights {
        let bytes = weight.byte_count() as u128 * made / stored;
        weights.insert(weight.key(), u64::try_from(bytes).unwrap_or(u64::MAX));
        if executor.kind() != "cpu" && weight.made_bytes() > 0 {
            beside.insert(weight.key(), weight.made_bytes());
        }
    }
    Cost {
        weights: weights.into_iter().collect(),
        activations: forecast.activations,
        held: forecast.held,
        states: forecast.states,
        beside: beside.into_iter().collect(),
    }
}

/// A model that is loaded, and what there is of it.
#[derive(Clone, Debug, Default)]
pub struct Holding {
    /// Its name.
    pub name: String,
    /// When it was used last; rising.
    pub last_used: u64,
    /// Bytes of its KV cache.
    pub states: u64,
    /// Its plans, the latest used at the end.
    pub plans: Vec<((u64, PlanKey), Cost)>,
}

/// Work that a job will do: one plan, in the first of several forms that fits (see [`ModelStore::first_fitting`]).
pub struct Work<'a> {
    /// Name of the model.
    pub owner: String,
    /// By what the changed model's plans are known.
    pub changes: u64,
    /// The forms; later ones need less memory.
    pub forms: Vec<Form<'a>>,
    /// What is done first where it is short.
    pub shortage: Shortage,
    /// Bytes that the job holds on the device meanwhile.
    pub meanwhile: u64,
}

impl<'a> Work<'a> {
    /// Work that is done in one way only.
    pub fn new(
        owner: &str,
        changes: u64,
        key: PlanKey,
        build: impl FnOnce() -> Result<Graph, JobError> + 'a,
    ) -> Self {
        Self {
            owner: owner.to_owned(),
            changes,
            forms: vec![Form::new(key, build)],
            shortage: Shortage::Smaller,
            meanwhile: 0,
        }
    }
}

impl ModelStore {
    /// Forecasts a job that does `works` in this order, and keeps the result for [`crate::graph::MemoryUse::forecast`].
    ///
    /// # Errors
    /// From building the graphs.
    pub fn forecast(&mut self, works: Vec<Work<'_>>) -> Result<(), JobError> {
        let memory = self.memory();
        let mut house = House::new(
            self.holdings(),
            memory.budget,
            memory.weights + memory.states,
        );
        self.foreseen.clear();
        // They stay as long as their models do.
        let mut beside = self.beside();
        for work in works {
            let Work {
                owner,
                changes,
                forms,
                shortage,
                meanwhile,
            } = work;
            house.other += meanwhile;
            let mut costs: Vec<((u64, PlanKey), Cost)> = Vec::new();
            let mut done = false;
            let count = forms.len();
            let mut forms = forms.into_iter();
            for (place, stream) in trials(count, shortage) {
                if costs.len() == place
                    && let Some(form) = forms.next()
                {
                    let key = (changes, form.key());
                    if house.has(&owner, key) {
                        done = house.make(&owner, key, &Cost::default());
                        break;
                    }
                    let cost = cost(self.executor_mut(), &form.build()?);
                    beside.extend(cost.beside.iter().cloned());
                    let known = (owner.clone(), changes, key.1);
                    self.foreseen.insert(known, cost.clone());
                    costs.push((key, cost));
                }
                let Some((key, cost)) = costs.get(place) else {
                    break;
                };
                done = match stream {
                    true => house.stream(&owner, *key, cost),
                    false => house.make(&owner, *key, cost),
                };
                if done {
                    break;
                }
            }
            if !done {
                // It will be refused when it comes to it; until then all memory may be taken.
                house.peak = house.peak.max(memory.budget);
            }
            house.other -= meanwhile;
        }
        self.forecast = house.peak.max(memory.peak);
        self.beside_forecast = beside.values().sum();
        tracing::debug!(
            "the job is forecast to take {} MiB of {} MiB",
            self.forecast >> 20,
            memory.budget >> 20
        );
        Ok(())
    }
}

/// Everything that is in memory, as numbers, and what the governor does with it.
struct House {
    models: Vec<Holding>,
    budget: u64,
    /// Bytes that none of the models holds.
    other: u64,
    peak: u64,
    clock: u64,
}

impl House {
    fn new(models: Vec<Holding>, budget: u64, weights_and_states: u64) -> Self {
        let clock = models.iter().map(|model| model.last_used).max();
        let mut house = Self {
            models,
            budget,
            other: 0,
            peak: 0,
            clock: clock.unwrap_or(0),
        };
        let held = |model: &Holding| -> u64 { model.plans.iter().map(|(_, cost)| cost.held).sum() };
        let held: u64 = house.models.iter().map(held).sum();
        house.other = (weights_and_states + held).saturating_sub(house.used());
        house.peak = house.used();
        house
    }

    fn used(&self) -> u64 {
        let mut weights: HashMap<&TensorKey, u64> = HashMap::new();
        let mut sum = self.other;
        for model in &self.models {
            sum += model.states;
            for (_, cost) in &model.plans {
                sum += cost.held;
                for (key, bytes) in &cost.weights {
                    let known = weights.entry(key).or_default();
                    *known = (*known).max(*bytes);
                }
            }
        }
        sum + weights.values().sum::<u64>()
    }

    /// Bytes of weights that are not there.
    fn new_weights(&self, cost: &Cost) -> u64 {
        let plans = self.models.iter().flat_map(|model| &model.plans);
        let there: HashSet<&TensorKey> = plans
            .flat_map(|(_, cost)| cost.weights.iter().map(|(key, _)| key))
            .collect();
        let new = cost.weights.iter().filter(|(key, _)| !there.contains(key));
        new.map(|(_, bytes)| bytes).sum()
    }

    fn index(&mut self, owner: &str) -> usize {
        self.clock += 1;
        let there = self.models.iter().position(|model| model.name == owner);
        let index = there.unwrap_or_else(|| {
            self.models.push(Holding {
                name: owner.to_owned(),
                ..Holding::default()
            });
            self.models.len() - 1
        });
        if let Some(model) = self.models.get_mut(index) {
            model.last_used = self.clock;
        }
        index
    }

    fn has(&self, owner: &str, key: (u64, PlanKey)) -> bool {
        let model = self.models.iter().find(|model| model.name == owner);
        model.is_some_and(|model| model.plans.iter().any(|(known, _)| *known == key))
    }

    /// Gives up what the governor would: another model, else the owner's plan of longest ago. Returns whether there was anything.
    fn make_room(&mut self, owner: usize, spared: Option<PlanKey>) -> bool {
        let others = self.models.iter().enumerate();
        let idle = others
            .filter(|(index, model)| {
                *index != owner && (!model.plans.is_empty() || model.states > 0)
            })
            .min_by_key(|(_, model)| model.last_used)
            .map(|(index, _)| index);
        if let Some(model) = idle.and_then(|index| self.models.get_mut(index)) {
            model.plans.clear();
            model.states = 0;
            return true;
        }
        let Some(model) = self.models.get_mut(owner) else {
            return false;
        };
        let own =
            |key: PlanKey| spared.is_some_and(|spared| key.is_text() && key.same_kind(spared));
        let place = model.plans.iter().position(|((_, key), _)| !own(*key));
        place.map(|place| model.plans.remove(place)).is_some()
    }

    /// Makes a plan ready and runs it, if it fits.
    fn make(&mut self, owner: &str, key: (u64, PlanKey), cost: &Cost) -> bool {
        let index = self.index(owner);
        let Some(model) = self.models.get_mut(index) else {
            return false;
        };
        if let Some(place) = model.plans.iter().position(|(known, _)| *known == key) {
            let found = model.plans.remove(place);
            let transient = found.1.activations - found.1.held.min(found.1.activations);
            model.plans.push(found);
            while self.used() + transient > self.budget && self.make_room(index, Some(key.1)) {}
            self.peak = self.peak.max((self.used() + transient).min(self.budget));
            return true;
        }
        if model.states == 0 {
            model.states = cost.states;
        }
        let of_kind = model
            .plans
            .iter()
            .map(|((_, known), cost)| (*known, cost.held));
        for _ in 0..surplus(of_kind, key.1, self.budget) {
            let mut plans = model.plans.iter();
            if let Some(oldest) = plans.position(|((_, known), _)| known.same_kind(key.1)) {
                model.plans.remove(oldest);
            }
        }
        if cost.weights() + cost.activations > self.budget {
            return false;
        }
        loop {
            let needed = self.used() + self.new_weights(cost) + cost.activations;
            if needed <= self.budget {
                self.peak = self.peak.max(needed);
                if let Some(model) = self.models.get_mut(index) {
                    model.plans.push((key, cost.clone()));
                }
                return true;
            }
            if !self.make_room(index, Some(key.1)) {
                return false;
            }
        }
    }

    /// Makes a plan ready that does not fit: all else is given up, and weights are streamed, with a sixteenth left free where that can be. Returns whether
    /// that is possible: one weight at least must fit at a time.
    fn stream(&mut self, owner: &str, key: (u64, PlanKey), cost: &Cost) -> bool {
        let largest = cost.weights.iter().map(|(_, bytes)| *bytes).max();
        let least = self.other + cost.states + cost.activations + largest.unwrap_or(0);
        if least > self.budget {
            return false;
        }
        let index = self.index(owner);
        while self.make_room(index, None) {}
        let most = (self.budget - self.budget / 16).max(least);
        let needed = self.used() + cost.weights() + cost.activations;
        let mut cost = cost.clone();
        cost.stream(needed.saturating_sub(most));
        self.peak = self.peak.max(needed.min(most));
        if let Some(model) = self.models.get_mut(index) {
            model.plans.push((key, cost));
        }
        true
    }
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
    let ahead = store.executor().runs_ahead();
    let works = needed.into_iter().map(|rows| {
        Work::new(name, 0, PlanKey::Language(rows), move || {
            model.choosing_graph(&model.shape(rows), ahead && rows == 1)
        })
    });
    store.forecast(works.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::TensorData;

    /// Weights of so many bytes.
    fn keys(bytes: &[u64]) -> Vec<(TensorKey, u64)> {
        let key = |bytes: &u64| {
            let tensor = TensorData::from_f32("w", &[1], &[0.0]).unwrap();
            (tensor.key(), *bytes)
        };
        bytes.iter().map(key).collect()
    }

    fn cost(weights: &[(TensorKey, u64)], activations: u64, held: u64) -> Cost {
        Cost {
            weights: weights.to_vec(),
            activations,
            held,
            ..Cost::default()
        }
    }

    /// The peak of work done one after the other.
    fn highest(works: &[(PlanKey, Cost)], models: Vec<Holding>, used: u64, budget: u64) -> u64 {
        let mut house = House::new(models, budget, used);
        for (key, cost) in works {
            let key = (0, *key);
            assert!(house.make("own", key, cost) || house.stream("own", key, cost));
        }
        house.peak
    }

    fn other(bytes: u64) -> Vec<Holding> {
        let plans = vec![((0, PlanKey::Decode(1, 1)), cost(&keys(&[bytes]), 0, 0))];
        vec![Holding {
            name: "other".into(),
            last_used: 1,
            states: 0,
            plans,
        }]
    }

    #[test]
    fn shared_weights_count_once_and_the_governor_is_gone_through() {
        let shared = keys(&[100, 50]);
        let mut many = cost(&shared, 30, 30);
        many.states = 20;
        let chat = [
            (PlanKey::Language(64), many),
            (PlanKey::Language(1), cost(&shared, 10, 10)),
        ];
        assert_eq!(highest(&chat, vec![], 0, 1000), 20 + 150 + 30 + 10);
        // Another model of 500 bytes stays as long as it can, and goes when it must.
        assert_eq!(highest(&chat, other(500), 500, 1000), 500 + 210);
        assert_eq!(highest(&chat, other(500), 500, 600), 500);
        // What nobody gives back stays.
        assert_eq!(highest(&chat, vec![], 33, 1000), 33 + 210);
        // On the processor activations are given back after each run.
        let picture = [
            (PlanKey::Encode(1, 77, 0), cost(&keys(&[100]), 40, 0)),
            (
                PlanKey::Denoise(2, 8, 8, 77),
                cost(&keys(&[100, 100, 100]), 70, 0),
            ),
            (PlanKey::Decode(8, 8), cost(&keys(&[50]), 90, 0)),
        ];
        assert_eq!(highest(&picture, vec![], 0, 1000), 100 + 300 + 50 + 90);
        // The text encoder makes way for the U-Net, and that for the decoder.
        assert_eq!(highest(&picture, vec![], 0, 400), 300 + 70);
        // The U-Net alone is too large: it is streamed.
        assert_eq!(highest(&picture, vec![], 0, 320), 300);
    }

    #[test]
    fn what_cannot_be_streamed_either_is_known() {
        let mut house = House::new(vec![], 320, 0);
        let decode = (0, PlanKey::Decode(8, 8));
        // One weight must fit at a time, beside the activations.
        assert!(!house.stream("own", decode, &cost(&keys(&[100, 100]), 221, 0)));
        assert!(house.models.is_empty());
        assert!(house.stream("own", decode, &cost(&keys(&[100, 100]), 220, 0)));
        assert_eq!(house.peak, 320);
    }

    #[test]
    fn forms_are_tried_in_the_order_of_the_work() {
        let order = |forms, shortage| trials(forms, shortage).collect::<Vec<_>>();
        let smaller = [(0, false), (1, false), (0, true), (1, true)];
        assert_eq!(order(2, Shortage::Smaller), smaller);
        let streamed = [(0, false), (0, true), (1, false), (1, true)];
        assert_eq!(order(2, Shortage::Stream), streamed);
        assert_eq!(order(0, Shortage::Smaller), []);
    }

    #[test]
    fn plans_of_one_kind_hold_a_part_of_the_memory() {
        let held = |bytes: u64| std::iter::repeat_n((PlanKey::Decode(1, 1), bytes), 3);
        assert_eq!(surplus(held(10), PlanKey::Decode(2, 2), 1000), 0);
        // Of 120 only 100 may stay.
        assert_eq!(surplus(held(40), PlanKey::Decode(2, 2), 800), 1);
        assert_eq!(surplus(held(4000), PlanKey::Decode(2, 2), 800), 3);
        assert_eq!(surplus(held(4000), PlanKey::Upscale(2, 2), 800), 0);
        // Chats go to and fro between theirs; only their number counts.
        let text = std::iter::repeat_n((PlanKey::Language(1), 4000), 3);
        assert_eq!(surplus(text, PlanKey::Language(2), 800), 0);
        let many = std::iter::repeat_n((PlanKey::Language(1), 1), 12);
        assert_eq!(surplus(many, PlanKey::Language(2), 800), 1);
    }
}
