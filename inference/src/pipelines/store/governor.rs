//! Which plans there are, what is given up when memory runs out, and in which smaller form work is done then.

use std::sync::Arc;

use super::{EMBEDDINGS, Form, Loaded, ModelStore, PLANS_PER_KIND, PlanKey, VaeWork};
use crate::graph::{ExecError, Executor, Graph, HostTensor, Interrupt, PlanId, Run, StateId};
use crate::pipelines::JobError;
use crate::pipelines::prompt::{Conditioning, EmbeddingKey};

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
        self.first_fitting(name, changes, vec![Form::new(kind, build)])
            .map(|(_, plan)| plan)
    }

    /// The plan of the first of several forms of the same work that memory suffices for, and which one that is; later forms need
    /// less memory and more time.
    ///
    /// When memory runs out, other models and then this model's plans for other work are given up; if still no form fits, weights
    /// are streamed. A later form is not taken for being ready, but only where those before it were found not to fit: what is drawn
    /// must not depend on what was drawn before.
    ///
    /// # Errors
    /// From building or preparing the graphs. That memory does not suffice is only said when nothing is left to be given up.
    pub fn first_fitting(
        &mut self,
        name: &str,
        changes: u64,
        forms: Vec<Form<'_>>,
    ) -> Result<(usize, PlanId), JobError> {
        let index = self.index(name)?;
        let Loaded {
            plans, too_large, ..
        } = &mut self.loaded[index];
        for (place, form) in forms.iter().enumerate() {
            let key = (changes, form.key);
            if let Some(there) = plans.iter().position(|(known, _)| *known == key) {
                let found = plans.remove(there);
                plans.push(found);
                return Ok((place, found.1));
            }
            if !too_large.contains(&key) {
                break;
            }
        }
        let mut graphs: Vec<(PlanKey, Arc<Graph>)> = Vec::with_capacity(forms.len());
        for form in forms {
            let graph = Arc::new((form.build)()?);
            if let Some(plan) = self.prepare((name, changes), form.key, &graph, false)? {
                return Ok((graphs.len(), plan));
            }
            let index = self.index(name)?;
            self.loaded[index].note_too_large((changes, form.key));
            graphs.push((form.key, graph));
        }
        let mut last = None;
        for (place, (key, graph)) in graphs.iter().enumerate() {
            match self.prepare((name, changes), *key, graph, true) {
                Ok(Some(plan)) => return Ok((place, plan)),
                Ok(None) => {}
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| JobError::Request(format!("'{name}' cannot be planned"))))
    }

    /// Makes a plan. Without streaming, gives nothing if memory does not suffice once all is given up that is not needed now.
    fn prepare(
        &mut self,
        (name, changes): (&str, u64),
        kind: PlanKey,
        graph: &Arc<Graph>,
        stream: bool,
    ) -> Result<Option<PlanId>, JobError> {
        let index = self.index(name)?;
        let plans = &mut self.loaded[index].plans;
        while plans
            .iter()
            .filter(|((_, known), _)| known.same_kind(kind))
            .count()
            >= PLANS_PER_KIND
        {
            let Some(oldest) = plans
                .iter()
                .position(|((_, known), _)| known.same_kind(kind))
            else {
                break;
            };
            let (_, plan) = plans.remove(oldest);
            self.executor.drop_plan(plan);
        }
        let plan = loop {
            let prepared = match stream {
                false => self.executor.prepare(Arc::clone(graph)),
                true => self.executor.prepare_streaming(Arc::clone(graph)),
            };
            match prepared {
                Ok(plan) => break plan,
                Err(error @ ExecError::OutOfMemory { needed, budget, .. }) => {
                    // Chats go to and fro between plans of one kind; pictures go on to the next.
                    let spared = |(of, known): (u64, PlanKey), _| {
                        !stream && of == changes && known.same_kind(kind) && known.is_text()
                    };
                    // What is larger than all memory would drive all else out of it for nothing. Both are rounded to MiB.
                    if needed <= budget + 1 && self.make_room((name, stream), &spared) {
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
        let index = self.index(name)?;
        self.loaded[index].plans.push(((changes, kind), plan));
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
                Err(ExecError::OutOfMemory { .. })
                    if self.make_room((name, true), &|_, _| false) => {}
                other => return Ok(other?),
            }
        }
    }

    /// Names the models that a job needs beside its own, so that they do not drive each other out at every evaluation.
    pub(in crate::pipelines) fn hold<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        self.held.clear();
        self.held.extend(names.map(str::to_owned));
    }

    /// Gives up one thing that `name` does not need just now: another model that the job does not need (or, with `all`, whichever),
    /// else a plan of its own that is not `spared`. Returns whether there was any.
    fn make_room(
        &mut self,
        (name, all): (&str, bool),
        spared: &dyn Fn((u64, PlanKey), PlanId) -> bool,
    ) -> bool {
        let held = |loaded: &Loaded| self.held.contains(&loaded.name);
        let idle = self
            .loaded
            .iter()
            .enumerate()
            .filter(|(_, loaded)| {
                loaded.name != name
                    && (all || !held(loaded))
                    && (!loaded.plans.is_empty() || loaded.chat.is_some())
            })
            .min_by_key(|(_, loaded)| (held(loaded), loaded.last_used))
            .map(|(index, _)| index);
        if let Some(index) = idle {
            let loaded = &mut self.loaded[index];
            tracing::info!("'{}' gives its memory to '{name}'", loaded.name);
            for (_, plan) in loaded.plans.drain(..) {
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
        let Some(place) = plans.iter().position(|(key, plan)| !spared(*key, *plan)) else {
            return false;
        };
        let ((_, key), plan) = plans.remove(place);
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
        if self.embeddings.len() == EMBEDDINGS {
            self.embeddings.remove(0);
        }
        self.embeddings.push((key, made));
    }

    /// Most bytes of weights that plans have sent anew in every run.
    pub fn most_streamed(&self) -> u64 {
        self.most_streamed
    }

    /// Whether a model has a plan.
    pub(crate) fn has_plan(&self, name: &str, key: (u64, PlanKey)) -> bool {
        self.index(name).is_ok_and(|index| {
            let plans = &self.loaded[index].plans;
            plans.iter().any(|(known, _)| *known == key)
        })
    }

    /// Whether a model has any plans.
    pub(in crate::pipelines) fn has_plans(&self, name: &str) -> bool {
        self.index(name)
            .is_ok_and(|index| !self.loaded[index].plans.is_empty())
    }

    /// Whether a model has a KV cache.
    pub(in crate::pipelines) fn has_state(&self, name: &str) -> bool {
        self.index(name)
            .is_ok_and(|index| self.loaded[index].chat.is_some())
    }

    /// Gives up a plan, so that a smaller form of it is taken next.
    pub fn give_up(&mut self, plan: PlanId) {
        for loaded in &mut self.loaded {
            if let Some(place) = loaded.plans.iter().position(|(_, known)| *known == plan) {
                let (key, _) = loaded.plans.remove(place);
                loaded.note_too_large(key);
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
        loop {
            let run = Run {
                inputs,
                states,
                interrupt: &mut *interrupt,
            };
            match self.executor.run(plan, run) {
                Err(error @ ExecError::OutOfMemory { .. }) => {
                    let owner = self
                        .loaded
                        .iter()
                        .find(|loaded| loaded.plans.iter().any(|(_, known)| *known == plan))
                        .map(|loaded| loaded.name.clone());
                    let found = owner.is_some_and(|name| {
                        self.make_room((&name, true), &|_, known| known == plan)
                    });
                    if !found {
                        return Err(error.into());
                    }
                }
                other => return Ok(other?),
            }
        }
    }
}
