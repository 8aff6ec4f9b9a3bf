//! Variants of a prompt, proposed by a chat model as rows of the grid.

use diptych_inference::engine::{ChatPrompt, ChatRequest, Event, ModelRef, Outcome, Request};
use diptych_inference::text::grammar::Grammar;
use diptych_inference::text::sampling::SamplingParams;
use diptych_inference::text::template::ChatMessage;
use serde::Deserialize;

use super::{Compare, Kind, MOST};
use crate::library::records::{GridId, Target, TaskId};
use crate::studio::command::{AppCommand, QueueCommand};
use crate::studio::house::House;
use crate::studio::log::Level;
use crate::studio::models::{BUILT_IN, Model};
use crate::studio::queue::TaskHead;
use crate::studio::view::Workspace;

/// How many are asked for.
const COUNT: usize = 4;
/// Longest prompt that is taken, in characters.
const LONGEST: usize = 600;
/// Most tokens of the answer.
const MAX_TOKENS: u32 = 900;
const TITLE: &str = "No variants";

/// A question to a chat model that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposing {
    /// The grid that the variants are for.
    pub grid: GridId,
    /// The job.
    pub task: TaskId,
    /// The prompt that is varied.
    pub prompt: String,
}

/// What the model is asked. The built-in model knows this question by heart, and answers with a numbered list; it is too
/// small for anything else. Others are bound to a list by a schema.
fn request(model: &Model, prompt: &str, count: usize) -> Option<ChatRequest> {
    let name = model.model.clone()?;
    let built_in = model.source == BUILT_IN;
    let words = if built_in {
        format!("Give me {count} variants of: {prompt}")
    } else {
        format!(
            "Here is a prompt for a program that draws pictures:\n\n{prompt}\n\nWrite {count} variants of it. Each keeps the subject \
             and changes something else: the style, the light, the colours, the setting or the view. Each is one line of a few \
             phrases in the language of the prompt, without explanations. Answer as JSON: {{\"prompts\": [\"...\"]}}"
        )
    };
    let own = &model.defaults;
    let usual = SamplingParams::default();
    let sampling = SamplingParams {
        temperature: own.temperature.unwrap_or(usual.temperature),
        top_k: own.top_k.unwrap_or(usual.top_k),
        top_p: own.top_p.unwrap_or(usual.top_p),
        min_p: own.min_p.unwrap_or(usual.min_p),
        repetition_penalty: own.repetition_penalty.unwrap_or(usual.repetition_penalty),
        ..usual
    };
    let prompt = ChatPrompt::Messages(vec![ChatMessage::new("user", words)]);
    Some(ChatRequest {
        sampling,
        seed: crate::origin::new_seed(),
        max_tokens: MAX_TOKENS,
        time: crate::library::records::now() / 1000,
        grammar: (!built_in).then(|| Grammar::JsonSchema(schema(count))),
        ..ChatRequest::new(name, prompt)
    })
}

fn schema(count: usize) -> String {
    serde_json::json!({
        "type": "object",
        "properties": {
            "prompts": {
                "type": "array",
                "items": { "type": "string", "minLength": 3, "maxLength": LONGEST },
                "minItems": count,
                "maxItems": count,
            }
        },
        "required": ["prompts"],
        "additionalProperties": false,
    })
    .to_string()
}

/// The prompts in an answer: of JSON, or of a list with numbers or bullets. Those that say the same as `known` ones are
/// left out.
pub fn read(answer: &str, known: &[&str], most: usize) -> Vec<String> {
    #[derive(Deserialize)]
    struct Prompts {
        prompts: Vec<String>,
    }
    let begin = answer.find('{').unwrap_or(answer.len());
    let end = answer.rfind('}').map_or(0, |at| at + 1);
    let json = answer.get(begin..end).unwrap_or_default();
    let found = match serde_json::from_str::<Prompts>(json) {
        Ok(found) => found.prompts,
        Err(_) => answer.lines().filter_map(item).collect(),
    };
    let same = |text: &str| {
        let letters = text.chars().filter(|c| c.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect::<String>()
    };
    let mut seen: Vec<String> = known.iter().map(|known| same(known)).collect();
    let mut prompts = Vec::new();
    for prompt in found {
        let prompt = prompt.split_whitespace().collect::<Vec<_>>().join(" ");
        let prompt = prompt.trim_matches(['"', '“', '”', '`', '*', '\'']).trim();
        let letters = same(prompt);
        if letters.is_empty() || prompt.chars().count() > LONGEST || seen.contains(&letters) {
            continue;
        }
        seen.push(letters);
        prompts.push(prompt.to_owned());
        if prompts.len() == most {
            break;
        }
    }
    prompts
}

/// What stands behind the number or bullet of a line, if it has one.
fn item(line: &str) -> Option<String> {
    let line = line.trim();
    let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = line.get(digits..)?;
    let rest = if digits > 0 {
        rest.strip_prefix(['.', ')', ':'])?
    } else {
        rest.strip_prefix(['-', '*', '•'])?
    };
    rest.starts_with(' ').then(|| rest.trim().to_owned())
}

impl Compare {
    /// Whether variants can be asked for.
    ///
    /// # Errors
    /// Why not, in a person's words.
    pub(super) fn can_propose(&self, prompt: &str, house: &House) -> Result<(), String> {
        if prompt.trim().is_empty() {
            return Err("Write a prompt first".to_owned());
        }
        if self.proposing.is_some() {
            return Err("Variants are being thought of already".to_owned());
        }
        if self.room_for(prompt) == 0 {
            return Err(format!("A grid has at most {MOST} prompts"));
        }
        if house.shelf.chatting().next().is_none() {
            return Err("There is no chat model; add one (GGUF) in Models".to_owned());
        }
        Ok(())
    }

    /// How many rows may still be added, the prompt itself not counted.
    fn room_for(&self, prompt: &str) -> usize {
        let variants = &self.grid.setup.variants;
        let used = variants
            .iter()
            .filter(|variant| !variant.prompt.trim().is_empty())
            .count();
        let there = variants
            .iter()
            .any(|variant| variant.prompt.trim() == prompt.trim());
        MOST.saturating_sub(used + usize::from(!there))
    }

    /// Asks a chat model for variants of a prompt; they become rows of the grid that is open.
    pub(super) fn propose(&mut self, prompt: &str, model: Option<&ModelRef>, house: &mut House) {
        let prompt = prompt.trim().to_owned();
        let model = model
            .and_then(|model| house.shelf.find(model))
            .filter(|model| model.chats())
            .or_else(|| house.shelf.chatting().next());
        let count = COUNT.min(self.room_for(&prompt));
        let Some(request) = model.and_then(|model| request(model, &prompt, count)) else {
            let text = "There is no chat model; add one (GGUF) in Models.";
            house.log.notify(Level::Warning, TITLE, text);
            return;
        };
        let there = |text: &str| text.trim() == prompt;
        let variants = &mut self.grid.setup.variants;
        if !variants.iter().any(|variant| there(&variant.prompt)) {
            match variants
                .iter_mut()
                .find(|variant| variant.prompt.trim().is_empty())
            {
                Some(blank) => blank.prompt.clone_from(&prompt),
                None => drop(self.grid.setup.add_variant(prompt.clone())),
            }
        }
        self.look.kind = Kind::Pictures;
        self.look.viewing = false;
        house.command(AppCommand::Show(Workspace::Compare));
        let grid = self.grid.id;
        let target = Target::Variants { grid };
        let task = house.submit(Request::Chat(request), target, false);
        self.proposing = Some(Proposing { grid, task, prompt });
    }

    /// Takes in what the engine says of variants.
    pub(super) fn hear_variants(&mut self, head: &TaskHead, event: &Event, house: &mut House) {
        let Target::Variants { grid } = head.target else {
            return;
        };
        let ours = |proposing: &Proposing| proposing.task == head.id;
        let outcome = match event {
            Event::Finished { outcome, .. } => Some(outcome),
            Event::Cancelled { .. } => None,
            Event::Failed { .. } => {
                // What failed is told already.
                house.command(QueueCommand::Cancel(head.id));
                None
            }
            _ => return,
        };
        let prompt = match self.proposing.take_if(|proposing| ours(proposing)) {
            Some(proposing) => proposing.prompt,
            None => String::new(),
        };
        let Some(Outcome::Chat { text, .. }) = outcome else {
            return;
        };
        let Some(of) = self.grid_mut(grid) else {
            return;
        };
        let written = |variant: &&super::Variant| !variant.prompt.trim().is_empty();
        let room = MOST.saturating_sub(of.setup.variants.iter().filter(written).count());
        let known: Vec<&str> = of
            .setup
            .variants
            .iter()
            .map(|variant| variant.prompt.as_str())
            .chain([prompt.as_str()])
            .collect();
        let prompts = read(text, &known, room.min(COUNT));
        if prompts.is_empty() {
            let began: String = text.trim().chars().take(160).collect();
            let words = if began.is_empty() {
                "The model had nothing to say. Try again, or choose another chat model.".to_owned()
            } else {
                format!(
                    "The model's answer has no prompts in it; try again, or choose another chat model. It said: “{began}”"
                )
            };
            house.log.notify(Level::Warning, TITLE, words);
            return;
        }
        let count = prompts.len();
        for prompt in prompts {
            let blank = of
                .setup
                .variants
                .iter_mut()
                .find(|variant| variant.prompt.trim().is_empty());
            match blank {
                Some(variant) => variant.prompt = prompt,
                None => drop(of.setup.add_variant(prompt)),
            }
        }
        let words = match count {
            1 => "1 variant is a row of the grid now.".to_owned(),
            count => format!("{count} variants are rows of the grid now."),
        };
        house.log.notify(Level::Success, "Variants", words);
        self.keep_earlier(grid, house);
    }

    /// A question that never reached the engine was thrown away.
    pub(super) fn forget_variants(&mut self, head: &TaskHead) {
        self.proposing
            .take_if(|proposing| proposing.task == head.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_json_are_read() {
        let muse = "Four variants:\n1. a red fox, flat style, blue background\n2. a red fox, 3d style\n3. A red fox!\n4. \"a fox at night\"";
        let want = [
            "a red fox, flat style, blue background",
            "a red fox, 3d style",
            "a fox at night",
        ];
        assert_eq!(read(muse, &["a red fox"], 9), want);
        assert_eq!(read(muse, &["a red fox"], 1).len(), 1);
        let json = "Sure!\n```json\n{\"prompts\": [\"a  den\", \"A den.\", \"\", \"hills\\nat dusk\"]}\n```";
        assert_eq!(read(json, &[], 9), ["a den", "hills at dusk"]);
        assert_eq!(
            read("- one fox\n* **two foxes**\n• three", &[], 9),
            ["one fox", "two foxes", "three"]
        );
    }

    #[test]
    fn other_answers_have_none() {
        for answer in [
            "",
            "I cannot do that.",
            "{\"prompts\": 3}",
            "{\"prompts\": [",
            "1.no",
            "10 foxes",
            "1. !!",
        ] {
            assert!(read(answer, &[], 9).is_empty(), "{answer}");
        }
        let long = format!("1. {}", "x".repeat(LONGEST + 1));
        assert!(read(&long, &[], 9).is_empty());
    }

    #[test]
    fn the_schema_is_one() {
        let grammar = Grammar::JsonSchema(schema(4));
        assert_eq!(grammar.check(), Ok(()));
    }
}
