//! One message to several settings or models at once.

use std::ops::Range;
use std::time::Instant;

use diptych_inference::engine::{ChatPrompt, ChatRequest, Event, FinishReason, ModelRef, Outcome};
use diptych_inference::text::sampling::SamplingParams;
use diptych_inference::text::template::ChatMessage;
use serde::{Deserialize, Serialize};

use crate::library::records::{GridId, GridRecord, Millis, TaskId, now};
use crate::studio::house::House;
use crate::studio::models::Model;

/// Most lanes.
pub const MOST_LANES: usize = 4;
/// Marks chat comparisons among the records.
const KIND: &str = "lanes";
/// Where neither person nor model say anything.
const MAX_TOKENS: u32 = 512;

/// How far a lane is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneState {
    /// Nothing was asked yet.
    #[default]
    Empty,
    /// It waits or writes.
    Writing,
    /// It is whole.
    Done,
    /// The person stopped it, or the program ended.
    Stopped,
    /// It failed.
    Failed(String),
}

/// How an answer came about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LaneInfo {
    /// The model that answered.
    pub model: String,
    /// The seed of the choice.
    pub seed: u64,
    /// Tokens written.
    pub tokens: u32,
    /// Seconds until the first token.
    pub first_token_seconds: f32,
    /// Seconds of writing the rest.
    pub decode_seconds: f32,
    /// Why it ended.
    pub reason: Option<FinishReason>,
}

impl LaneInfo {
    /// Tokens a second after the first.
    pub fn tokens_per_second(&self) -> Option<f32> {
        let rest = self.tokens.saturating_sub(1);
        (rest > 0 && self.decode_seconds > 0.0).then(|| rest as f32 / self.decode_seconds)
    }
}

/// One way to answer. `None` is the model's own choice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lane {
    /// Its number within the comparison.
    pub id: u32,
    /// The model; `None` is the first that chats.
    pub model: Option<ModelRef>,
    /// What the model is told about its part.
    pub system: Option<String>,
    /// Temperature.
    pub temperature: Option<f32>,
    /// Only the likeliest tokens that together are this probable.
    pub top_p: Option<f32>,
    /// Seed of the choice; `None` is a new one each time.
    pub seed: Option<u64>,
    /// Most tokens of the answer.
    pub max_tokens: Option<u32>,
    /// The answer.
    pub answer: String,
    /// Where each of its tokens ends, in bytes.
    pub ends: Vec<u32>,
    /// How far it is.
    pub state: LaneState,
    /// How the answer came about.
    pub info: LaneInfo,
    /// The job that writes it, in this run; events of earlier ones do not count any more.
    #[serde(skip)]
    pub(super) task: Option<TaskId>,
}

impl Lane {
    /// The model that it means.
    pub fn model<'a>(&self, house: &'a House) -> Option<&'a Model> {
        match &self.model {
            Some(model) => house.shelf.find(model).filter(|model| model.chats()),
            None => house.shelf.chatting().next(),
        }
    }

    /// Temperature that it comes to with a model.
    pub fn temperature_with(&self, model: Option<&Model>) -> f32 {
        let own = model.and_then(|model| model.defaults.temperature);
        let usual = SamplingParams::default().temperature;
        self.temperature.or(own).unwrap_or(usual)
    }

    /// Top-p that it comes to with a model.
    pub fn top_p_with(&self, model: Option<&Model>) -> f32 {
        let own = model.and_then(|model| model.defaults.top_p);
        let usual = SamplingParams::default().top_p;
        self.top_p.or(own).unwrap_or(usual)
    }

    /// What the model is asked.
    ///
    /// # Errors
    /// Why it cannot be asked, in a person's words.
    pub fn request(&self, message: &str, house: &House) -> Result<ChatRequest, String> {
        let model = self.model(house).ok_or_else(|| match &self.model {
            Some(model) => format!("The model '{}' is not there", model.name),
            None => "There is no model to talk with yet".to_owned(),
        })?;
        let name = model
            .model
            .clone()
            .ok_or("The model is still being looked at")?;
        let own = &model.defaults;
        let usual = SamplingParams::default();
        let sampling = SamplingParams {
            temperature: self.temperature_with(Some(model)),
            top_p: self.top_p_with(Some(model)),
            top_k: own.top_k.unwrap_or(usual.top_k),
            min_p: own.min_p.unwrap_or(usual.min_p),
            repetition_penalty: own.repetition_penalty.unwrap_or(usual.repetition_penalty),
            ..usual
        };
        let system = self.system.clone().or(own.system.clone());
        let mut messages = Vec::new();
        if let Some(system) = system.filter(|system| !system.trim().is_empty()) {
            messages.push(ChatMessage::new("system", system));
        }
        messages.push(ChatMessage::new("user", message));
        Ok(ChatRequest {
            sampling,
            seed: self.seed.unwrap_or_else(crate::origin::new_seed),
            max_tokens: self.max_tokens.or(own.max_tokens).unwrap_or(MAX_TOKENS),
            time: now() / 1000,
            ..ChatRequest::new(name, ChatPrompt::Messages(messages))
        })
    }

    /// Begins anew.
    pub(super) fn begin(&mut self, request: &ChatRequest) {
        self.answer.clear();
        self.ends.clear();
        self.state = LaneState::Writing;
        self.info = LaneInfo {
            model: request.model.name.clone(),
            seed: request.seed,
            ..LaneInfo::default()
        };
    }

    /// Takes in what the engine says.
    pub(super) fn hear(&mut self, task: TaskId, event: &Event) {
        if *self.task.get_or_insert(task) != task {
            return;
        }
        match event {
            Event::Started { .. } => {
                // From its beginning, perhaps once more: by another engine.
                self.state = LaneState::Writing;
                self.answer.clear();
                self.ends.clear();
                self.info.tokens = 0;
            }
            Event::Tokens { tokens, .. } => {
                self.state = LaneState::Writing;
                for token in tokens {
                    self.answer.push_str(&token.text);
                    self.ends
                        .push(u32::try_from(self.answer.len()).unwrap_or(u32::MAX));
                }
                let count = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
                self.info.tokens = self.info.tokens.saturating_add(count);
            }
            Event::TextTail { text, .. } => self.answer.push_str(text),
            Event::Finished { outcome, .. } => self.end(outcome, LaneState::Done),
            Event::Cancelled { partial, .. } => {
                self.state = LaneState::Stopped;
                if let Some(outcome) = partial {
                    self.end(outcome, LaneState::Stopped);
                }
            }
            Event::Failed { failure, .. } => {
                self.state = LaneState::Failed(failure.message.clone());
            }
            _ => {}
        }
    }

    fn end(&mut self, outcome: &Outcome, state: LaneState) {
        let Outcome::Chat {
            text,
            reason,
            tokens,
            first_token_seconds,
            decode_seconds,
            ..
        } = outcome
        else {
            return;
        };
        self.answer.clone_from(text);
        self.state = state;
        self.info.tokens = *tokens;
        self.info.first_token_seconds = *first_token_seconds;
        self.info.decode_seconds = *decode_seconds;
        self.info.reason = Some(*reason);
    }
}

/// Where an answer leaves another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaves {
    /// The token, counted from 1.
    pub token: usize,
    /// Its bytes; empty if the answer ends where the other goes on.
    pub range: Range<usize>,
}

/// The token with which an answer leaves another one; `None` as long as they are the same.
fn leaves(lane: &Lane, other: &Lane) -> Option<Leaves> {
    let (own, others) = (lane.answer.as_bytes(), other.answer.as_bytes());
    let same = own.iter().zip(others).take_while(|(a, b)| a == b).count();
    let goes_on = |lane: &Lane| lane.state == LaneState::Writing;
    if same == own.len() && (same == others.len() || goes_on(lane)) {
        return None;
    }
    if same == others.len() && goes_on(other) {
        return None;
    }
    let at = lane.ends.iter().position(|&end| end as usize > same);
    let (token, range) = match at {
        Some(at) => {
            let end = |at: usize| lane.ends.get(at).map_or(0, |&end| end as usize);
            (at, at.checked_sub(1).map_or(0, end)..end(at))
        }
        // The end of the answer, or one of a program that did not note its tokens.
        None if lane.ends.is_empty() => {
            let begin = (0..=same)
                .rev()
                .find(|&at| lane.answer.is_char_boundary(at));
            let begin = begin.unwrap_or(0);
            let rest = lane.answer.get(begin..).unwrap_or_default();
            let first = rest.chars().next().map_or(0, char::len_utf8);
            (0, begin..begin + first)
        }
        None => (lane.ends.len(), own.len()..own.len()),
    };
    lane.answer.get(range.clone())?;
    Some(Leaves {
        token: token + 1,
        range,
    })
}

/// A chat comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lanes {
    /// Its number in the library.
    #[serde(skip, default = "GridId::new")]
    pub id: GridId,
    /// What is being written.
    pub message: String,
    /// What was asked last.
    pub asked: String,
    /// The ways to answer.
    pub lanes: Vec<Lane>,
    next: u32,
    #[serde(skip)]
    created: Millis,
    /// When the lanes were asked, in this run.
    #[serde(skip)]
    pub since: Option<Instant>,
}

impl Default for Lanes {
    fn default() -> Self {
        let mut lanes = Self {
            id: GridId::new(),
            message: String::new(),
            asked: String::new(),
            lanes: Vec::new(),
            next: 1,
            created: now(),
            since: None,
        };
        for temperature in [0.2, 1.0] {
            lanes.add(Lane {
                temperature: Some(temperature),
                seed: Some(1),
                ..Lane::default()
            });
        }
        lanes
    }
}

impl Lanes {
    /// Adds a lane, if there is room.
    pub fn add(&mut self, mut lane: Lane) -> Option<u32> {
        if self.lanes.len() >= MOST_LANES {
            return None;
        }
        let used = self.lanes.iter().map(|lane| lane.id).max().unwrap_or(0);
        lane.id = self.next.max(used.saturating_add(1));
        self.next = lane.id.saturating_add(1);
        let id = lane.id;
        self.lanes.push(lane);
        Some(id)
    }

    /// A lane.
    pub fn lane(&self, id: u32) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.id == id)
    }

    pub(super) fn lane_mut(&mut self, id: u32) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| lane.id == id)
    }

    /// Where each answer first leaves that of the first lane; the first lane, where the first of the others leaves it.
    pub fn differences(&self) -> Vec<Option<Leaves>> {
        let Some((first, others)) = self.lanes.split_first() else {
            return Vec::new();
        };
        let told = |lane: &&Lane| !lane.answer.is_empty();
        let mut found = vec![
            others
                .iter()
                .filter(told)
                .filter_map(|other| leaves(first, other))
                .min_by_key(|leaves| (leaves.range.start, leaves.token)),
        ];
        found.extend(others.iter().map(|lane| {
            let both = told(&lane) && told(&first);
            both.then(|| leaves(lane, first)).flatten()
        }));
        if first.answer.is_empty()
            && let Some(of_first) = found.first_mut()
        {
            *of_first = None;
        }
        found
    }

    /// Whether nothing was written or asked.
    pub fn is_blank(&self) -> bool {
        self.message.trim().is_empty() && self.asked.is_empty()
    }

    /// A comparison as the library kept it; `None` if it is something else.
    pub fn read(record: &GridRecord) -> Option<Self> {
        if record.spec.get("kind").and_then(|kind| kind.as_str()) != Some(KIND) {
            return None;
        }
        match serde_json::from_value::<Self>(record.spec.clone()) {
            Ok(mut lanes) => {
                lanes.id = record.id;
                lanes.created = record.created;
                lanes.lanes.truncate(MOST_LANES);
                for lane in &mut lanes.lanes {
                    if lane.state == LaneState::Writing {
                        lane.state = LaneState::Stopped;
                    }
                }
                Some(lanes)
            }
            Err(error) => {
                tracing::error!("comparison {} cannot be read: {error}", record.id);
                None
            }
        }
    }

    /// The comparison as the library keeps it.
    pub fn record(&self) -> serde_json::Result<GridRecord> {
        let mut spec = serde_json::to_value(self)?;
        if let Some(spec) = spec.as_object_mut() {
            spec.insert("kind".into(), KIND.into());
        }
        let title = if self.asked.is_empty() {
            &self.message
        } else {
            &self.asked
        };
        Ok(GridRecord {
            id: self.id,
            title: title.chars().take(60).collect(),
            spec,
            created: self.created,
            changed: now(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(answers: &[(&[&str], LaneState)]) -> Vec<Option<Leaves>> {
        let mut all = Lanes::default();
        all.lanes.clear();
        for (tokens, state) in answers {
            let mut lane = Lane {
                state: state.clone(),
                ..Lane::default()
            };
            for token in *tokens {
                lane.answer.push_str(token);
                lane.ends.push(lane.answer.len() as u32);
            }
            all.add(lane);
        }
        all.differences()
    }

    #[test]
    fn a_job_that_begins_again_writes_its_answer_once() {
        use diptych_inference::engine::{JobId, TokenEvent};
        let (mut lane, task, job) = (Lane::default(), TaskId::new(), JobId(1));
        let token = TokenEvent {
            id: 1,
            piece: "a fox".into(),
            text: "a fox".into(),
            probability: 0.5,
            alternatives: Vec::new(),
        };
        for _ in 0..2 {
            lane.hear(task, &Event::Started { job });
            let tokens = vec![token.clone()];
            lane.hear(task, &Event::Tokens { job, tokens });
        }
        assert_eq!(
            (lane.answer.as_str(), lane.ends.as_slice()),
            ("a fox", &[5][..])
        );
        assert_eq!(lane.info.tokens, 1);
    }

    #[test]
    fn the_first_token_that_differs_is_found() {
        let done = || LaneState::Done;
        let at = |token, range| Some(Leaves { token, range });
        let found = lanes(&[
            (&["a ", "red ", "fox"], done()),
            (&["a ", "re", "ed ", "fox"], done()),
            (&["a ", "red ", "fox"], done()),
            (&["a ", "red ", "fox", "!"], done()),
        ]);
        assert_eq!(found, [at(2, 2..6), at(3, 4..7), None, at(4, 9..10)]);
        // What is still written may yet turn out to be the same.
        let writing = || LaneState::Writing;
        assert_eq!(
            lanes(&[(&["a ", "b"], done()), (&["a "], writing())]),
            [None, None]
        );
        assert_eq!(
            lanes(&[(&["a ", "b"], done()), (&["a "], done())]),
            [at(2, 2..3), at(2, 2..2)]
        );
        assert_eq!(lanes(&[(&[], writing()), (&["a"], done())]), [None, None]);
        // Of an earlier program: a character.
        let mut all = Lanes::default();
        all.lanes[0].answer = "für".into();
        all.lanes[1].answer = "fär".into();
        let found = all.differences();
        assert_eq!(found[1], at(1, 1..3));
    }
}
