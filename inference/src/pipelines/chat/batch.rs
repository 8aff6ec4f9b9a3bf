//! Several answers of one model advance together: one token each from one run of the decoder, which reads the weights once for all of them.
//!
//! The jobs stay apart for the client. They share the pages of a common beginning, since a computed prompt is left in the cache for others at once.

use super::choice::{self, Told, draw_input, row_of, without_ids};
use super::{ChatJob, Part, stream_inputs};
use crate::engine::{JobId, Outbox};
use crate::graph::{ExecError, HostTensor, Interrupt};
use crate::pipelines::chat_model::ChatModel;
use crate::pipelines::store::PlanKey;
use crate::pipelines::{Context, JobError, ModelStore, Progress};

/// Answers that advance together at most.
pub const MOST_STREAMS: usize = 8;
/// Streams that plans are made for; fewer are filled up to the next.
const STREAMS: [usize; 3] = [2, 4, MOST_STREAMS];

/// What became of a job in a step of all.
pub type Advanced = (JobId, Result<Progress, JobError>);

impl ChatJob {
    /// The model's name.
    pub fn model_name(&self) -> &str {
        &self.request.model.name
    }

    /// Whether the next step is one token behind others that are all computed, so that it can be done together with other answers.
    pub fn is_decoding(&self) -> bool {
        let Some(model) = &self.model else {
            return false;
        };
        let computed = self.sequence.as_ref().map_or(0, |(_, s)| s.len());
        self.sampler.is_some()
            && computed > 0
            && computed + 1 == self.tokens.len()
            && self.written < self.request.max_tokens
            && self.tokens.len() < model.context_length()
    }
}

/// Advances answers of one model, each by a token. Those for which there is no page in the cache wait. An empty result means that nothing could be
/// done together: the jobs are to be advanced one by one.
///
/// # Errors
/// Interruption and loss of the device, which concern all: nothing has been done then.
pub fn decode_together(
    jobs: &mut [(JobId, &mut ChatJob)],
    store: &mut ModelStore,
    outbox: &mut Outbox,
    interrupt: &mut dyn Interrupt,
) -> Result<Vec<Advanced>, JobError> {
    let most = jobs.len().min(MOST_STREAMS);
    let jobs = &mut jobs[..most];
    let Some((name, model)) = jobs
        .first()
        .and_then(|(_, job)| Some((job.model_name().to_owned(), job.model.clone()?)))
    else {
        return Ok(Vec::new());
    };
    let rows = jobs.len();
    let Some(streams) = STREAMS.into_iter().find(|&streams| streams >= rows) else {
        return Ok(Vec::new());
    };
    let draws = store.executor().runs_ahead();
    let plan = store.plan(&name, 0, PlanKey::Streams(streams), || {
        model.choosing_graph(&model.shape_of_streams(streams), draws)
    });
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            tracing::warn!("answers are written one by one: {error}");
            return Ok(Vec::new());
        }
    };
    // Making the plan may have cost the cache its place.
    let chat = store.chat_state(&name)?;
    let state = chat.state;
    let mut parts = Vec::with_capacity(rows);
    let mut failed = Vec::new();
    for (index, (id, job)) in jobs.iter_mut().enumerate() {
        let Some((of, start)) = job.sequence.as_ref().map(|(of, s)| (*of, s.len())) else {
            continue;
        };
        if of != state || start + 1 != job.tokens.len() {
            continue;
        }
        let token = job.tokens[start];
        if let Err(error) = job.ask(true) {
            failed.push((*id, Err(error)));
            continue;
        }
        if let Some((_, sequence)) = &mut job.sequence
            && let Ok(slots) = chat.cache.extend(sequence, &[token])
        {
            parts.push(Part {
                index,
                position: start,
                token,
                slot: slots[0],
            });
        }
    }
    if parts.is_empty() {
        return Ok(failed);
    }
    let mut inputs = inputs_of(&parts, jobs, &model, streams);
    let job = |part: &Part| &jobs[part.index].1;
    inputs.extend(choice::inputs(
        parts.iter().map(|part| &job(part).question),
        streams,
    ));
    let mut next = None;
    if draws {
        let settings = parts.iter().map(|part| job(part).drawn_by(0));
        inputs.push(draw_input(settings, streams));
        next = foreseen(&parts, jobs, &model, streams);
    }
    let given = (inputs.as_slice(), next.as_deref());
    let result = choice::run(store, (plan, state), given, interrupt);
    let words = match result {
        Ok(results) => results.into_iter().next().map(HostTensor::into_f32),
        Err(error) => {
            // What was not computed is not in the cache.
            if let Ok(chat) = store.chat_state(&name)
                && chat.state == state
            {
                for part in &parts {
                    if let Some((_, sequence)) = &mut jobs[part.index].1.sequence {
                        chat.cache.truncate(sequence, part.position);
                    }
                }
            }
            if matches!(
                error,
                JobError::Exec(ExecError::Interrupted | ExecError::DeviceLost { .. })
            ) {
                return Err(error);
            }
            let message = error.to_string();
            let fail = |part: &Part| (jobs[part.index].0, Err(JobError::Request(message.clone())));
            failed.extend(parts.iter().map(fail));
            return Ok(failed);
        }
    };
    let words = words.unwrap_or_default();
    let mut advanced = failed;
    for (row, part) in parts.iter().enumerate() {
        let (job, answer) = &mut jobs[part.index];
        let mut context = Context {
            job: *job,
            store,
            outbox,
            interrupt,
        };
        let told = Told {
            kept: (plan, row),
            words: row_of(&words, row),
        };
        let progress = answer.choose(&mut context, &model, &told);
        advanced.push((*job, progress));
    }
    Ok(advanced)
}

/// What a run of these parts is given of tokens, places and pages.
fn inputs_of(
    parts: &[Part],
    jobs: &[(JobId, &mut ChatJob)],
    model: &ChatModel,
    streams: usize,
) -> Vec<(&'static str, HostTensor)> {
    let tables = parts.iter().filter_map(|part| {
        let (_, sequence) = jobs[part.index].1.sequence.as_ref()?;
        Some(sequence.pages())
    });
    stream_inputs(parts, tables, streams, model.pages_per_sequence())
}

/// What the run after the coming one is given, but for the tokens; if that is known of all answers.
fn foreseen(
    parts: &[Part],
    jobs: &[(JobId, &mut ChatJob)],
    model: &ChatModel,
    streams: usize,
) -> Option<Vec<(&'static str, HostTensor)>> {
    let coming = parts.iter().map(|part| {
        let job = &jobs[part.index].1;
        job.foreseen(model, &job.sequence.as_ref()?.1)
    });
    let coming = coming.collect::<Option<Vec<_>>>()?;
    let later: Vec<Part> = parts
        .iter()
        .zip(&coming)
        .map(|(part, coming)| Part {
            index: part.index,
            position: coming.position,
            token: 0,
            slot: coming.slot,
        })
        .collect();
    let mut next = without_ids(inputs_of(&later, jobs, model, streams));
    let questions = coming.iter().map(|coming| &coming.question);
    next.extend(choice::inputs(questions, streams));
    let settings = coming.iter().map(|coming| coming.settings);
    next.push(draw_input(settings, streams));
    Some(next)
}
