//! Words to the embeddings that the U-Net is conditioned on.

mod parts;
mod weights;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::Context;
use super::error::JobError;
use super::image::layers_left_out;
use super::image_model::ImageModel;
use super::sound::{Maker, require_numbers};
use super::store::PlanKey;
use crate::diffusion::Convention;
use crate::engine::{ImageRequest, Toward};
use crate::graph::{Activation, HostTensor, PlanId};
use crate::models::ClipText;
use crate::models::unet::AddedConfig;
use crate::text::prompt::schedule::{PromptSchedule, schedule};
use crate::text::prompt::{
    Emphasis, PromptChunk, PromptChunks, PromptSyntax, chunk_prompt, split_lora_tags,
};
use crate::text::tokenizer::ClipTokenizer;

pub(super) use parts::{is_guided, rows};
use parts::{part_weights, parts};
use weights::{multiply, weigh, weigh_from};

/// Different texts of one prompt; each goes through the text encoder once.
const MOST_TEXTS: usize = 1000;

/// What the refiner is told of the prompt's picture and of the negative prompt's, as AUTOMATIC1111, ComfyUI and diffusers tell it.
const AESTHETIC: [f32; 2] = [6.0, 2.5];

/// Embeddings for one picture.
pub struct Conditioning {
    /// Rows that the network is asked about: the negative prompt where `guided`, then the prompt, or each of its parts.
    pub batch: usize,
    /// Whether the first row is the negative prompt's.
    pub guided: bool,
    /// How much the other rows count.
    pub weights: Vec<f32>,
    /// Length in tokens, a multiple of the text encoder's.
    pub length: usize,
    /// What the network is told, each once.
    words: Vec<Words>,
    /// The first evaluation of the network from which on some of `words` hold; rising, the first 0.
    turns: Vec<(u32, usize)>,
    /// What a person should know about the prompts.
    warnings: Vec<String>,
}

/// All that embeddings depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingKey {
    model: String,
    hash: String,
    changes: u64,
    prompt: String,
    /// Where it is used.
    negative_prompt: Option<String>,
    toward: Option<Toward>,
    syntax: PromptSyntax,
    emphasis: Emphasis,
    evaluations: u32,
    clip_skip: u32,
    convention: Convention,
    /// Where the text encoders are told of it.
    size: Option<(u32, u32)>,
}

impl EmbeddingKey {
    /// Name of the model.
    pub fn model(&self) -> &str {
        &self.model
    }

    fn new(model: &ImageModel, request: &ImageRequest) -> Self {
        // Prompts that say the same in all steps depend on no number of steps; telling which do is not worth a parse.
        let course = |text: &String| text.contains('[');
        let toward = request.toward.as_ref();
        let in_turn = [Some(&request.prompt), Some(&request.negative_prompt)]
            .into_iter()
            .chain(
                toward
                    .map(|toward| [Some(&toward.prompt), Some(&toward.negative_prompt)])
                    .into_iter()
                    .flatten(),
            )
            .flatten()
            .any(course);
        Self {
            model: request.model.name.clone(),
            hash: model.hash().to_owned(),
            changes: model.text_changes(),
            prompt: request.prompt.clone(),
            negative_prompt: is_guided(request).then(|| request.negative_prompt.clone()),
            toward: request.toward.clone(),
            syntax: request.prompt_syntax,
            emphasis: request.emphasis,
            evaluations: if in_turn { evaluations(request) } else { 0 },
            clip_skip: request.clip_skip,
            convention: request.convention,
            size: model.numbers().map(|_| (request.width, request.height)),
        }
    }
}

/// What the network is told in one evaluation.
#[derive(Clone)]
pub struct Words {
    /// `[batch, length, width]`.
    pub embeddings: HostTensor,
    /// What Stable Diffusion XL is told beside: `[batch, width]`.
    pub added: Option<HostTensor>,
}

impl Conditioning {
    /// Bytes of all embeddings.
    pub fn bytes(&self) -> u64 {
        let of = |words: &Words| {
            words.embeddings.len() + words.added.as_ref().map_or(0, HostTensor::len)
        };
        4 * self.words.iter().map(of).sum::<usize>() as u64
    }

    /// What the network is told in an evaluation, counted from 0.
    pub fn at(&self, evaluation: u32) -> Option<&Words> {
        let turn = self.turns.partition_point(|(from, _)| *from <= evaluation);
        let (_, words) = self.turns.get(turn.saturating_sub(1))?;
        self.words.get(*words)
    }
}

/// One text.
struct Text {
    name: &'static str,
    text: String,
    chunks: PromptChunks,
    /// The same for the second text encoder.
    second: Option<PromptChunks>,
    /// Layers left out at the end of the text encoders.
    skipped: usize,
}

/// A prompt over the evaluations; its texts begin at a place among all.
struct Course {
    schedule: PromptSchedule,
    first: usize,
}

impl Course {
    fn text_at(&self, evaluation: u32) -> usize {
        self.first + self.schedule.text_at(evaluation)
    }
}

/// The states of a text, and the pooled text.
type Encoded = (Vec<f32>, Vec<f32>);

/// Encodes prompt and, if guidance is not 1, negative prompt, to one length: whatever they say over the steps, and whatever they are
/// mixed with. Prompts that were encoded lately are not encoded again.
///
/// # Errors
/// From tokenizer, text encoder or executor; more texts than any prompt needs.
pub fn encode(
    context: &mut Context<'_>,
    model: &ImageModel,
    request: &ImageRequest,
) -> Result<Arc<Conditioning>, JobError> {
    let key = EmbeddingKey::new(model, request);
    if let Some(known) = context.store.embeddings(&key) {
        for warning in &known.warnings {
            context.warn(warning.clone());
        }
        return Ok(known);
    }
    let made = Arc::new(encode_anew(context, model, request)?);
    context.store.keep_embeddings(key, Arc::clone(&made));
    Ok(made)
}

fn encode_anew(
    context: &mut Context<'_>,
    model: &ImageModel,
    request: &ImageRequest,
) -> Result<Conditioning, JobError> {
    let tokenizer = model.tokenizer();
    let second = model.second_text();
    let skipped = skipped_layers(model, request);
    let evaluations = evaluations(request);
    let toward = request.toward.as_ref();
    // What LoRA tags mean was taken care of with the model.
    let plain = |text: &String| split_lora_tags(text, request.prompt_syntax).0;
    let (prompt, prompt_there) = (plain(&request.prompt), toward.map(|t| plain(&t.prompt)));
    let here = parts(&prompt, request.prompt_syntax);
    let there = prompt_there
        .as_ref()
        .map(|prompt| parts(prompt, request.prompt_syntax));
    let weights = part_weights(model, &here, there.as_deref(), request)?;
    let mut given = Vec::new();
    // A network that is told the guidance needs nothing to be guided away from.
    let guided = is_guided(request) && model.unet().config().guidance_features.is_none();
    let (negative, negative_there) = (
        plain(&request.negative_prompt),
        toward.map(|toward| plain(&toward.negative_prompt)),
    );
    if guided {
        // diffusers reads the negative prompt with all layers, whatever is skipped for the prompt.
        let whole = request.convention == Convention::Diffusers;
        let skipped = if whole { 0 } else { skipped };
        given.push((
            "negative prompt",
            negative.as_ref(),
            negative_there.as_deref(),
            skipped,
        ));
    }
    for (place, (part, _)) in here.iter().enumerate() {
        let there = there.as_ref().and_then(|there| there.get(place));
        given.push(("prompt", *part, there.map(|(part, _)| *part), skipped));
    }
    let (mut texts, mut warnings) = (Vec::new(), Vec::new());
    let mut sides = Vec::new();
    for (name, here, there, skipped) in given {
        let here = course(
            context,
            model,
            request,
            (name, here, skipped),
            evaluations,
            &mut texts,
            &mut warnings,
        )?;
        let there = match there {
            Some(there) => Some(course(
                context,
                model,
                request,
                (name, there, skipped),
                evaluations,
                &mut texts,
                &mut warnings,
            )?),
            None => None,
        };
        sides.push((here, there));
    }
    let count = |text: &Text| {
        let second = text.second.as_ref().map_or(0, |chunks| chunks.chunks.len());
        text.chunks.chunks.len().max(second)
    };
    let most = texts.iter().map(count).max().unwrap_or(1);
    let mut encoded: Vec<Encoded> = Vec::with_capacity(texts.len());
    let mut empty = Empty::default();
    for mut text in texts {
        text.chunks.pad_to(most, tokenizer);
        if let (Some(second), Some(chunks)) = (second, &mut text.second) {
            chunks.pad_to(most, &second.tokenizer);
        }
        let Some(numbers) = model.numbers() else {
            let states = encode_chunks(context, model, request, &text, &mut empty)?;
            encoded.push((states, Vec::new()));
            continue;
        };
        let (mut states, mut pooled) = encode_pooled(context, model, request, &text, &mut empty)?;
        let negative = text.name == "negative prompt";
        // ComfyUI encodes an empty text like any other; nothing at all is a node of its own there.
        let nothing = text.text.trim().is_empty() && request.prompt_syntax != PromptSyntax::ComfyUi;
        if negative && nothing && second.is_some() {
            // As AUTOMATIC1111 and diffusers: an empty negative prompt is nothing at all to this family.
            states.fill(0.0);
            pooled.fill(0.0);
        }
        let (width, height) = (request.width as f32, request.height as f32);
        let told: &[f32] = if numbers == AddedConfig::NUMBERS {
            // Original size, corner of the crop, size wanted.
            &[height, width, 0.0, 0.0, height, width]
        } else {
            // The refiner is told how beautiful the picture is, in place of the size wanted.
            let score = AESTHETIC[usize::from(negative)];
            &[height, width, 0.0, 0.0, score]
        };
        pooled.append(&mut model.unet().number_features(told));
        encoded.push((states, pooled));
    }
    let sizes = [sides.len(), most * tokenizer.max_length()];
    let amount = toward.map_or(0.0, |toward| toward.amount);
    let mut made = in_turn(model, &sides, &encoded, amount, sizes, evaluations);
    (made.warnings, made.guided, made.weights) = (warnings, guided, weights);
    Ok(made)
}

/// How many sequences a request's longest text takes, and the numbers of layers that are left out at the end of the text encoders for its texts; nothing is
/// encoded.
///
/// # Errors
/// As [`encode`], from the tokenizer.
pub fn sizes(model: &ImageModel, request: &ImageRequest) -> Result<(usize, Vec<usize>), JobError> {
    let guided = is_guided(request) && model.unet().config().guidance_features.is_none();
    let toward = request.toward.as_ref();
    let prompts = std::iter::once(&request.prompt).chain(toward.map(|to| &to.prompt));
    let negative = std::iter::once(&request.negative_prompt);
    let negative = negative.chain(toward.map(|to| &to.negative_prompt));
    let mut chunks = 1;
    for text in prompts.chain(negative.filter(|_| guided)) {
        let (plain, _) = split_lora_tags(text, request.prompt_syntax);
        for (part, _) in parts(&plain, request.prompt_syntax) {
            let schedule = match request.prompt_syntax {
                PromptSyntax::A1111 => schedule(part, evaluations(request)),
                PromptSyntax::None | PromptSyntax::ComfyUi => PromptSchedule::constant(part, 1),
            };
            for text in schedule.texts.iter().take(MOST_TEXTS) {
                let found = chunk_prompt(text, request.prompt_syntax, model.tokenizer())?;
                chunks = chunks.max(found.chunks.len());
            }
        }
    }
    Ok((chunks, layers_left_out(model, request, guided)))
}

/// Layers of the text encoders that a request leaves out at the end, beside those that the model itself leaves out.
pub fn skipped_layers(model: &ImageModel, request: &ImageRequest) -> usize {
    left_out(request.convention, penultimate(model), request.clip_skip)
}

/// Whether a model was trained on what its text encoder says before its last layer: Stable Diffusion 2.x, whose files leave that layer out, and XL, of
/// which [`encode_pooled`] leaves it out. OpenCLIP's activation is what tells 2.x.
fn penultimate(model: &ImageModel) -> bool {
    model.numbers().is_some() || model.text_encoder().config().activation == Activation::Gelu
}

/// [`skipped_layers`] of these numbers.
///
/// diffusers counts from there. For AUTOMATIC1111 (which has a number for 1.x alone), Forge and ComfyUI 2 means the last layer but one for every model, so
/// that 1 and 2 are the same where a model leaves one out itself.
fn left_out(convention: Convention, penultimate: bool, clip_skip: u32) -> usize {
    let counted = match penultimate && convention != Convention::Diffusers {
        true => clip_skip.max(2) - 1,
        false => clip_skip,
    };
    counted.saturating_sub(1) as usize
}

/// Evaluations of the network that AUTOMATIC1111 counts with: twice as many where a sampler asks twice.
fn evaluations(request: &ImageRequest) -> u32 {
    request
        .steps
        .saturating_mul(if request.sampler.asks_twice() { 2 } else { 1 })
}

/// Reads a prompt over the steps and puts its texts to the others.
fn course(
    context: &mut Context<'_>,
    model: &ImageModel,
    request: &ImageRequest,
    (name, prompt, skipped): (&'static str, &str, usize),
    evaluations: u32,
    texts: &mut Vec<Text>,
    warnings: &mut Vec<String>,
) -> Result<Course, JobError> {
    let schedule = match request.prompt_syntax {
        PromptSyntax::A1111 => schedule(prompt, evaluations),
        PromptSyntax::None | PromptSyntax::ComfyUi => PromptSchedule::constant(prompt, evaluations),
    };
    if schedule.texts.len() > MOST_TEXTS {
        return Err(JobError::Request(format!(
            "the {name} says {} different things over the steps; at most {MOST_TEXTS} can be read",
            schedule.texts.len()
        )));
    }
    let first = texts.len();
    for text in &schedule.texts {
        let mut chunks = chunk_prompt(text, request.prompt_syntax, model.tokenizer())?;
        for warning in std::mem::take(&mut chunks.warnings) {
            // What is wrong with one of its texts is mostly wrong with all.
            if texts.len() == first {
                let warning = format!("{name}: {warning}");
                context.warn(warning.clone());
                warnings.push(warning);
            }
        }
        let second = match model.second_text() {
            Some(second) => Some(chunk_prompt(
                text,
                request.prompt_syntax,
                &second.tokenizer,
            )?),
            None => None,
        };
        texts.push(Text {
            name,
            text: text.to_string(),
            chunks,
            second,
            skipped,
        });
    }
    Ok(Course { schedule, first })
}

/// Puts together what the network is told, evaluation by evaluation.
fn in_turn(
    model: &ImageModel,
    sides: &[(Course, Option<Course>)],
    encoded: &[Encoded],
    amount: f32,
    [batch, length]: [usize; 2],
    evaluations: u32,
) -> Conditioning {
    let width = model.unet().config().cross_attention_dim;
    let (mut words, mut turns) = (Vec::new(), Vec::<(u32, usize)>::new());
    let mut known: HashMap<Vec<[usize; 2]>, usize> = HashMap::new();
    for evaluation in 0..evaluations.max(1) {
        let places: Vec<[usize; 2]> = sides
            .iter()
            .map(|(here, there)| {
                let place = here.text_at(evaluation);
                [
                    place,
                    there
                        .as_ref()
                        .map_or(place, |there| there.text_at(evaluation)),
                ]
            })
            .collect();
        let which = *known.entry(places).or_insert_with_key(|places| {
            let (mut states, mut added) = (Vec::new(), Vec::new());
            for [here, there] in places {
                let (Some(here), Some(there)) = (encoded.get(*here), encoded.get(*there)) else {
                    continue;
                };
                mix(&mut states, &here.0, &there.0, amount);
                mix(&mut added, &here.1, &there.1, amount);
            }
            words.push(Words {
                embeddings: HostTensor::f32([batch, length, width], states),
                added: model
                    .unet()
                    .config()
                    .added
                    .map(|config| HostTensor::f32([batch, config.width], added)),
            });
            words.len() - 1
        });
        if turns.last().is_none_or(|(_, last)| *last != which) {
            turns.push((evaluation, which));
        }
    }
    Conditioning {
        batch,
        length,
        words,
        turns,
        warnings: Vec::new(),
        guided: false,
        weights: Vec::new(),
    }
}

/// Appends what lies between two embeddings.
fn mix(to: &mut Vec<f32>, here: &[f32], there: &[f32], amount: f32) {
    if amount == 0.0 {
        to.extend_from_slice(here);
    } else {
        let pairs = here.iter().zip(there);
        to.extend(pairs.map(|(a, b)| a + (b - a) * amount));
    }
}

/// Encodes each sequence by itself and joins them, as AUTOMATIC1111 does.
fn encode_chunks(
    context: &mut Context<'_>,
    model: &ImageModel,
    request: &ImageRequest,
    text: &Text,
    empty: &mut Empty,
) -> Result<Vec<f32>, JobError> {
    let encoder = model.text_encoder();
    let mut joined = Vec::new();
    for chunk in &text.chunks.chunks {
        let length = chunk.ids.len();
        let key = PlanKey::Encode(1, length, text.skipped);
        let name = &request.model.name;
        let plan = (context.store).plan_while(
            context.interrupt,
            name,
            model.text_changes(),
            key,
            || Ok(encoder.graph(1, length, text.skipped)?),
        )?;
        let key = (0, text.skipped);
        let nothing = empty.states(
            context,
            request,
            plan,
            encoder,
            model.tokenizer(),
            key,
            text,
        )?;
        let mut output = run(context, plan, encoder, chunk, request.emphasis, nothing)?;
        joined.append(&mut output.next().unwrap_or_default());
    }
    Ok(joined)
}

/// Stable Diffusion XL: for each token the states of both encoders (in the refiner of its only one) before their last layers, side by side; and the pooled
/// text of the last encoder, of the first sequence.
fn encode_pooled(
    context: &mut Context<'_>,
    model: &ImageModel,
    request: &ImageRequest,
    text: &Text,
    empty: &mut Empty,
) -> Result<Encoded, JobError> {
    let (mut joined, mut pooled) = (Vec::new(), None);
    let name = &request.model.name;
    let left_out = text.skipped + 1;
    let second = model.second_text().zip(text.second.as_ref());
    for (place, chunk) in text.chunks.chunks.iter().enumerate() {
        let mut encoders = vec![(model.text_encoder(), chunk)];
        if let Some((second, chunks)) = second
            && let Some(chunk) = chunks.chunks.get(place)
        {
            encoders.push((&second.encoder, chunk));
        }
        let last = encoders.len() - 1;
        let mut halves = Vec::new();
        for (which, (encoder, chunk)) in encoders.into_iter().enumerate() {
            let length = chunk.ids.len();
            let key = match which {
                0 => PlanKey::EncodeFirst(length, left_out),
                _ => PlanKey::EncodeSecond(length, left_out),
            };
            let plan = (context.store).plan_while(
                context.interrupt,
                name,
                model.text_changes(),
                key,
                || Ok(encoder.hidden_graph(1, length, left_out)?),
            )?;
            let tokenizer = match second {
                Some((second, _)) if which > 0 => second.tokenizer.as_ref(),
                _ => model.tokenizer(),
            };
            let key = (which, text.skipped);
            let nothing = empty.states(context, request, plan, encoder, tokenizer, key, text)?;
            let mut output = run(context, plan, encoder, chunk, request.emphasis, nothing)?;
            let width = encoder.config().hidden_size;
            halves.push((output.next().unwrap_or_default(), width.max(1)));
            if which == last && pooled.is_none() {
                let states = output.next().unwrap_or_default();
                // Learnt words have the highest ids, and do not end a text.
                let known = encoder.config().vocab_size.saturating_sub(model.learnt());
                let plain = |id: &u32| if (*id as usize) < known { *id } else { 0 };
                let ids: Vec<u32> = chunk.ids.iter().map(plain).collect();
                pooled = encoder.pooled(&ids, &states)?;
            }
        }
        for token in 0..chunk.ids.len() {
            for (states, width) in &halves {
                let row = states.iter().skip(token * width).take(*width);
                joined.extend(row);
            }
        }
    }
    Ok((joined, pooled.unwrap_or_default()))
}

/// Runs a text encoder on one sequence; the first output is weighted as the prompt says.
fn run(
    context: &mut Context<'_>,
    plan: PlanId,
    encoder: &ClipText,
    chunk: &PromptChunk,
    emphasis: Emphasis,
    nothing: Option<&[f32]>,
) -> Result<impl Iterator<Item = Vec<f32>> + use<>, JobError> {
    let vocabulary = encoder.config().vocab_size as u32;
    if let Some(id) = chunk.ids.iter().find(|&&id| id >= vocabulary) {
        return Err(JobError::Request(format!(
            "the tokenizer makes token {id}, but the text encoder knows only {vocabulary}: the two do not belong together"
        )));
    }
    let inputs = [(
        "ids",
        HostTensor::u32([1, chunk.ids.len()], chunk.ids.clone()),
    )];
    let output = context.store.run(plan, &inputs, &[], context.interrupt)?;
    let mut values: Vec<Vec<f32>> = output.into_iter().map(HostTensor::into_f32).collect();
    for states in &values {
        require_numbers(states, Maker::Words)?;
    }
    if let Some(first) = values.first_mut()
        && chunk.weights.iter().any(|&weight| weight != 1.0)
    {
        match (emphasis, nothing) {
            (Emphasis::ComfyUi, Some(nothing)) => weigh_from(first, chunk, nothing),
            (Emphasis::NoNorm, _) => multiply(first, chunk),
            _ => weigh(first, chunk),
        }
    }
    Ok(values.into_iter())
}

/// What an empty prompt is to the text encoders, where weights are counted from there.
#[derive(Default)]
struct Empty {
    known: HashMap<(usize, usize), Vec<f32>>,
}

impl Empty {
    /// The states of one encoder; `key` tells which, and how many layers are left out.
    #[allow(clippy::too_many_arguments)]
    fn states(
        &mut self,
        context: &mut Context<'_>,
        request: &ImageRequest,
        plan: PlanId,
        encoder: &ClipText,
        tokenizer: &ClipTokenizer,
        key: (usize, usize),
        text: &Text,
    ) -> Result<Option<&[f32]>, JobError> {
        let unweighted = text.chunks.unweighted();
        if request.emphasis != Emphasis::ComfyUi || unweighted {
            return Ok(None);
        }
        if let Entry::Vacant(place) = self.known.entry(key) {
            let (ids, _) = tokenizer.sequence(&[]);
            let chunk = PromptChunk {
                weights: vec![1.0; ids.len()],
                ids,
            };
            let mut output = run(context, plan, encoder, &chunk, Emphasis::NoNorm, None)?;
            place.insert(output.next().unwrap_or_default());
        }
        Ok(self.known.get(&key).map(Vec::as_slice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2 is what SDXL's and SD 2.x's pictures of other programs were drawn with, and reads no layer deeper.
    #[test]
    fn clip_skip_counts_from_the_last_layer_except_for_diffusers() {
        let cases = [
            (Convention::KDiffusion, false, [0, 0, 1, 2]),
            (Convention::KDiffusion, true, [0, 0, 0, 1]),
            (Convention::Diffusers, false, [0, 0, 1, 2]),
            (Convention::Diffusers, true, [0, 0, 1, 2]),
        ];
        for (convention, penultimate, wanted) in cases {
            let got = [0, 1, 2, 3].map(|skip| left_out(convention, penultimate, skip));
            assert_eq!(got, wanted, "{convention:?} {penultimate}");
        }
    }

    #[test]
    fn evaluations_are_told_their_words() {
        let words = |value: f32| Words {
            embeddings: HostTensor::f32([1], vec![value]),
            added: None,
        };
        let conditioning = Conditioning {
            batch: 1,
            length: 1,
            words: vec![words(0.0), words(1.0)],
            turns: vec![(0, 0), (3, 1), (5, 0)],
            warnings: Vec::new(),
            guided: false,
            weights: vec![1.0],
        };
        let told: Vec<f32> = (0..8)
            .map(|at| conditioning.at(at).unwrap().embeddings.as_f32()[0])
            .collect();
        assert_eq!(told, [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    }
}
