//! Which plans there are, what is given up when memory runs out, and in which smaller form work is done then.

use std::sync::Arc;

use super::{
    EMBEDDING_BYTES, Form, KIND_SHARE, Loaded, ModelStore, PLANS_PER_KIND, PlanKey, Ready, VaeWork,
};
use crate::graph::{
    DeviceVectors, ExecError, Executor, Fed, Graph, HostTensor, Interrupt, NeverInterrupt, Next,
    PlanId, Run, StateId, VectorsId,
};
use crate::pipelines::JobError;
use crate::pipelines::forecast::{Holding, cost};
use crate::pipelines::prompt::{Conditioning, EmbeddingKey};

/// How many of a model's plans, the oldest of `kind` first, make way for another of that kind: where there are many, or what they hold is too much.
pub(in crate::pipelines) fn surplus(
    plans: impl Iterator<Item = (PlanKey, u64)>,
    kind: PlanKey,
    budget: u64,
) -> usize {
    let of_kind = plans.filter(|(known, _)| known.same_kind(kind));
    let held: Vec<u64> = of_kind.map(|(_, held)| held).collect();
    let mut sum: u64 = held.iter().sum();
    let mut count = held.len();
    let mut gone = 0;
    for bytes in held {
        // Chats go to and fro between theirs.
        if count < PLANS_PER_KIND && (kind.is_text() || sum <= budget / KIND_SHARE) {
            break;
        }
        (sum, count, gone) = (sum - bytes, count - 1, gone + 1);
    }
    gone
}

/// What is done first where memory is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// A smaller form is taken, and weights are streamed only where none fits: for work that is done again and again.
    Smaller,
    /// Weights are streamed before a smaller form is taken: for work that is done once, and better in one piece.
    Stream,
}

/// Which of so many forms are tried, and whether with their weights streamed, in this order. Governor and forecast both go by it.
pub(in crate::pipelines) fn trials(
    forms: usize,
    shortage: Shortage,
) -> impl Iterator<Item = (usize, bool)> {
    (0..2 * forms).map(move |trial| match shortage {
        Shortage::Smaller => (trial % forms, trial >= forms),
        Shortage::Stream => (trial / 2, trial % 2 == 1),
    })
}

/// Forms that are remembered as too large, of one model.
const TOO_LARGE: usize = 32;

impl Loaded {
    fn note_too_large(&mut self, key: (u64, PlanKey)) {
        if !self.too_large.contains(&key) {
            if self.too_large.len() == TOO_LARGE {
                self.too_large.remove(0);
            }
            self.too_large.push(key);
        }
    }
}

impl ModelStore {
    /// The plan of a loaded model for a key, made if need be; see [`Self::first_fitting`].
    ///
    /// # Errors
    /// From building or preparing the graph.
    pub fn plan(
        &mut self,
        name: &str,
        changes: u64,
        kind: PlanKey,
        build: impl FnOnce() -> Result<Graph, JobError>,
    ) -> Result<PlanId, JobError> {
        self.plan_while(&mut NeverInterrupt, name, changes, kind, build)
    }

    /// As [`Self::plan`]; `interrupt` is asked between weights.
    ///
    /// # Errors
    /// As [`Self::plan`]; an interruption.
    pub fn plan_while(
        &mut self,
        interrupt: &mut dyn Interrupt,
        name: &str,
        changes: u64,
        kind: PlanKey,
        build: impl FnOnce() -> Result<Graph, JobError>,
    ) -> Result<PlanId, JobError> {
        let forms = vec![Form::new(kind, build)];
        self.first_fitting((name, changes), forms, Shortage::Smaller, interrupt)
            .map(|(_, plan)| plan)
    }

    /// The plan of the first of several forms of the same work that memory suffices for, and which one that is; later forms need
    /// less memory and more time.
    ///
    /// When memory runs out, other models and then this model's plans for other work are given up; what comes next, `shortage` tells. A later form is not
    /// taken for being ready, but only where those before it were found not to fit: what is drawn must not depend on what was drawn before.
    ///
    /// # Errors
    /// From building or preparing the graphs. That memory does not suffice is only said when nothing is left to be given up.
    pub fn first_fitting(
        &mut self,
        (name, changes): (&str, u64),
        forms: Vec<Form<'_>>,
        shortage: Shortage,
        interrupt: &mut dyn Interrupt,
    ) -> Result<(usize, PlanId), JobError> {
        let index = self.index(name)?;
        let Loaded {
            plans, too_large, ..
        } = &mut self.loaded[index];
        for (place, form) in forms.iter().enumerate() {
            let key = (changes, form.key);
            if let Some(there) = plans.iter().position(|ready| ready.key == key) {
                let found = plans.remove(there);
                let plan = found.plan;
                plans.push(found);
                return Ok((place, plan));
            }
            if !too_large.contains(&key) {
                break;
            }
        }
        let mut last = None;
        let mut graphs: Vec<(PlanKey, Arc<Graph>)> = Vec::with_capacity(forms.len());
        let count = forms.len();
        let mut forms = forms.into_iter();
        for (place, stream) in trials(count, shortage) {
            if graphs.len() == place
                && let Some(form) = forms.next()
            {
                graphs.push((form.key, Arc::new((form.build)()?)));
            }
            let Some((key, graph)) = graphs.get(place) else {
                break;
            };
            match self.make_ready((name, changes), *key, graph, stream, interrupt) {
                Ok(Some(plan)) => return Ok((place, plan)),
                Ok(None) => {}
                Err(error @ JobError::Exec(ExecError::Interrupted)) => return Err(error),
                Err(error) if stream => last = Some(error),
                Err(error) => return Err(error),
            }
            if stream || shortage == Shortage::Smaller {
                let key = (changes, *key);
                let index = self.index(name)?;
                self.loaded[index].note_too_large(key);
            }
        }
        Err(last.unwrap_or_else(|| JobError::Request(format!("'{name}' cannot be planned"))))
    }

    /// Makes a plan. Without streaming, gives nothing if memory does not suffice once all is given up that is not needed now.
    fn make_ready(
        &mut self,
        (name, changes): (&str, u64),
        kind: PlanKey,
        graph: &Arc<Graph>,
        stream: bool,
        interrupt: &mut dyn Interrupt,
    ) -> Result<Option<PlanId>, JobError> {
        let index = self.index(name)?;
        let budget = self.executor.memory().budget;
        let plans = &mut self.loaded[index].plans;
        let of_kind = plans.iter().map(|ready| (ready.key.1, ready.cost.held));
        for _ in 0..surplus(of_kind, kind, budget) {
            let found = plans.iter().position(|ready| ready.key.1.same_kind(kind));
            let Some(oldest) = found else { break };
            self.executor.drop_plan(plans.remove(oldest).plan);
        }
        let seen = self.foreseen.remove(&(name.to_owned(), changes, kind));
        let mut cost = seen.unwrap_or_else(|| cost(self.executor.as_ref(), graph));
        let plan = loop {
            let prepared = self
                .executor
                .make_ready(Arc::clone(graph), stream, interrupt);
            match prepared {
                Ok(plan) => break plan,
                Err(error @ ExecError::OutOfMemory { needed, budget, .. }) => {
                    // Chats go to and fro between plans of one kind; pictures go on to the next.
                    let spared = |(of, known): (u64, PlanKey), _| {
                        !stream && of == changes && known.same_kind(kind) && known.is_text()
                    };
                    // What is larger than all memory would drive all else out of it for nothing. Both are rounded to MiB.
                    if needed <= budget + 1 && self.make_room(name, &spared) {
                        continue;
                    }
                    if stream {
                        return Err(error.into());
                    }
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        };
        let streamed = self.executor.memory().streamed;
        self.most_streamed = self.most_streamed.max(streamed);
        if stream {
            cost.stream(streamed);
        }
        let key = (changes, kind);
        let on_device = self.executor.kind() != "cpu";
        let index = self.index(name)?;
        let loaded = &mut self.loaded[index];
        if on_device {
            for weight in graph.weights.iter().filter(|w| w.bytes_there() > 0) {
                let key = (changes, weight.key());
                loaded.beside.insert(key, weight.bytes_there());
            }
        }
        loaded.plans.push(Ready { key, plan, cost });
        Ok(Some(plan))
    }

    /// Does something that allocates; when memory runs out, gives up what was used longest ago and tries again.
    pub(super) fn with_room<T>(
        &mut self,
        name: &str,
        mut allocate: impl FnMut(&mut dyn Executor) -> Result<T, ExecError>,
    ) -> Result<T, JobError> {
        loop {
            match allocate(self.executor.as_mut()) {
                Err(ExecError::OutOfMemory { .. }) if self.make_room(name, &|_, _| false) => {}
                other => return Ok(other?),
            }
        }
    }

    /// Gives up one thing that `name` does not need just now: another model, else a plan of its own that is not `spared`. Returns whether there was any.
    fn make_room(&mut self, name: &str, spared: &dyn Fn((u64, PlanKey), PlanId) -> bool) -> bool {
        let idle = self
            .loaded
            .iter()
            .enumerate()
            .filter(|(_, loaded)| {
                loaded.name != name && (!loaded.plans.is_empty() || loaded.chat.is_some())
            })
            .min_by_key(|(_, loaded)| loaded.last_used)
            .map(|(index, _)| index);
        if let Some(index) = idle {
            let loaded = &mut self.loaded[index];
            tracing::info!("'{}' gives its memory to '{name}'", loaded.name);
            for Ready { plan, .. } in loaded.plans.drain(..) {
                self.executor.drop_plan(plan);
            }
            if let Some(chat) = loaded.chat.take() {
                self.executor.drop_state(chat.state);
            }
            return true;
        }
        let Ok(index) = self.index(name) else {
            return false;
        };
        let plans = &mut self.loaded[index].plans;
        let mut all = plans.iter();
        let Some(place) = all.position(|ready| !spared(ready.key, ready.plan)) else {
            return false;
        };
        let Ready {
            key: (_, key),
            plan,
            ..
        } = plans.remove(place);
        tracing::info!("'{name}' gives up its plan {key:?} to make room");
        self.executor.drop_plan(plan);
        true
    }

    /// In parts of how many latent pixels an autoencoder's work of a size was done, if it did not fit at once: model, work, rows, columns.
    pub(in crate::pipelines) fn vae_tile(&self, key: (&str, &str, usize, usize)) -> Option<usize> {
        let found = self
            .vae_tiles
            .iter()
            .find(|((name, work, h, w), _)| (name.as_str(), *work, *h, *w) == key);
        found.map(|(_, tile)| *tile)
    }

    /// Keeps that for the next picture.
    pub(in crate::pipelines) fn keep_vae_tile(&mut self, key: VaeWork, tile: usize) {
        self.vae_tiles.retain(|(known, _)| *known != key);
        if self.vae_tiles.len() == TOO_LARGE {
            self.vae_tiles.remove(0);
        }
        self.vae_tiles.push((key, tile));
    }

    /// Embeddings of prompts, if they were made lately.
    pub(in crate::pipelines) fn embeddings(
        &mut self,
        key: &EmbeddingKey,
    ) -> Option<Arc<Conditioning>> {
        let place = self.embeddings.iter().position(|(known, _)| known == key)?;
        let found = self.embeddings.remove(place);
        let made = Arc::clone(&found.1);
        self.embeddings.push(found);
        Some(made)
    }

    /// Keeps embeddings for the next picture of the same words.
    pub(in crate::pipelines) fn keep_embeddings(
        &mut self,
        key: EmbeddingKey,
        made: Arc<Conditioning>,
    ) {
        self.embeddings.push((key, made));
        let bytes = |(_, made): &(EmbeddingKey, Arc<Conditioning>)| made.bytes();
        let mut held: u64 = self.embeddings.iter().map(bytes).sum();
        while held > EMBEDDING_BYTES && !self.embeddings.is_empty() {
            held -= bytes(&self.embeddings.remove(0));
        }
    }

    /// Most bytes of weights that plans have sent anew in every run.
    pub fn most_streamed(&self) -> u64 {
        self.most_streamed
    }

    /// Whether a model has a plan.
    #[cfg(test)]
    pub(crate) fn has_plan(&self, name: &str, key: (u64, PlanKey)) -> bool {
        self.index(name).is_ok_and(|index| {
            let plans = &self.loaded[index].plans;
            plans.iter().any(|ready| ready.key == key)
        })
    }

    /// What there is, as numbers.
    pub(in crate::pipelines) fn holdings(&self) -> Vec<Holding> {
        let of = |loaded: &Loaded| Holding {
            name: loaded.name.clone(),
            last_used: loaded.last_used,
            states: loaded.chat.as_ref().map_or(0, |chat| chat.bytes),
            plans: (loaded
                .plans
                .iter()
                .map(|ready| (ready.key, ready.cost.clone())))
            .collect(),
        };
        self.loaded.iter().map(of).collect()
    }

    /// Gives up a plan, so that a smaller form of it is taken next.
    pub fn give_up(&mut self, plan: PlanId) {
        for loaded in &mut self.loaded {
            if let Some(place) = loaded.plans.iter().position(|ready| ready.plan == plan) {
                let ready = loaded.plans.remove(place);
                loaded.note_too_large(ready.key);
            }
        }
        self.executor.drop_plan(plan);
    }

    /// Runs a plan. When memory runs out all the same, as it does when other programs take it, what is not needed just now is given
    /// up and the run tried again.
    ///
    /// # Errors
    /// From the executor.
    pub fn run(
        &mut self,
        plan: PlanId,
        inputs: &[(&str, HostTensor)],
        states: &[StateId],
        interrupt: &mut dyn Interrupt,
    ) -> Result<Vec<HostTensor>, JobError> {
        self.again_with_room(plan, |executor| {
            let run = Run {
                inputs,
                states,
                interrupt: &mut *interrupt,
            };
            executor.run(plan, run)
        })
    }

    /// As [`Self::run`], where it is known what the plan will be given next.
    ///
    /// # Errors
    /// From the executor.
    pub fn run_then(
        &mut self,
        plan: PlanId,
        (inputs, next): (&[(&str, HostTensor)], &Next<'_>),
        states: &[StateId],
        interrupt: &mut dyn Interrupt,
    ) -> Result<Vec<HostTensor>, JobError> {
        self.again_with_room(plan, |executor| {
            let run = Run {
                inputs,
                states,
                interrupt: &mut *interrupt,
            };
            executor.run_then(plan, run, next)
        })
    }

    /// As [`Self::run`], with vectors that stay on the device; or only begins it.
    ///
    /// # Errors
    /// From the executor.
    pub fn run_fed(
        &mut self,
        plan: PlanId,
        inputs: &[(&str, HostTensor)],
        (fed, only_begin): (&Fed<'_>, bool),
        interrupt: &mut dyn Interrupt,
    ) -> Result<(), JobError> {
        self.again_with_room(plan, |executor| {
            let run = Run {
                inputs,
                states: &[],
                interrupt: &mut *interrupt,
            };
            let vectors = executor.vectors().ok_or(NO_VECTORS)?;
            match only_begin {
                true => vectors.begin_fed(plan, run, fed),
                false => vectors.run_fed(plan, run, fed),
            }
        })
    }

    /// Runs a plan as long as there is something to be given up when memory runs out.
    fn again_with_room<T>(
        &mut self,
        plan: PlanId,
        mut run: impl FnMut(&mut dyn Executor) -> Result<T, ExecError>,
    ) -> Result<T, JobError> {
        loop {
            match run(self.executor.as_mut()) {
                Err(error @ ExecError::OutOfMemory { .. }) => {
                    let owner = self
                        .loaded
                        .iter()
                        .find(|loaded| loaded.plans.iter().any(|ready| ready.plan == plan))
                        .map(|loaded| loaded.name.clone());
                    let found =
                        owner.is_some_and(|name| self.make_room(&name, &|_, known| known == plan));
                    if !found {
                        return Err(error.into());
                    }
                }
                other => return Ok(other?),
            }
        }
    }

    /// Vectors that stay on the device, where the executor has any use for them.
    pub fn vectors(&mut self) -> Result<&mut dyn DeviceVectors, JobError> {
        Ok(self.executor.vectors().ok_or(NO_VECTORS)?)
    }

    /// Makes vectors for a job of a loaded model, which gives them back.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn create_vectors(
        &mut self,
        name: &str,
        [vectors, elements, seen]: [usize; 3],
    ) -> Result<VectorsId, JobError> {
        self.with_room(name, |executor| {
            let device = executor.vectors().ok_or(NO_VECTORS)?;
            device.create_vectors(vectors, elements, seen)
        })
    }
}

const NO_VECTORS: ExecError = ExecError::Unknown {
    what: "device that keeps vectors",
    id: 0,
};
