//! ComfyUI's graph in its API form: `{"3": {"class_type": "KSampler", "inputs": {"seed": 5, "model": ["4", 0], ...}}, ...}`.
//!
//! A graph may have many samplers. Told is the first pass: from the node that saves the picture, the chain of latents is followed
//! back as far as there are samplers on it, because that pass has the seed and the size that the composition comes from.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::PictureInfo;
use super::json_forms::{clip_skip, float, whole, whole32};

/// Inputs that lead from conditioning to conditioning.
const CONDITIONING: [&str; 7] = [
    "conditioning",
    "conditioning_1",
    "conditioning_2",
    "conditioning_to",
    "conditioning_from",
    "cond1",
    "cond2",
];
/// Inputs that hold prompts; the second of the pair is another wording for another encoder.
const TEXTS: [&str; 6] = ["text", "text_g", "text_l", "t5xxl", "clip_l", "prompt"];
/// Inputs that tell at which layer text encoders stop.
const LAST_LAYERS: [&str; 2] = ["stop_at_clip_layer", "clip_skip"];
/// Inputs of nodes that only hold a value for others.
const VALUES: [&str; 9] = [
    "value",
    "string",
    "text",
    "prompt",
    "seed",
    "noise_seed",
    "int",
    "float",
    "number",
];
/// Inputs that lead from a picture or latent to what it was made from.
const IMAGES: [&str; 10] = [
    "images",
    "image",
    "samples",
    "latent_image",
    "latent",
    "pixels",
    "image1",
    "samples_to",
    "latents",
    "input",
];
/// Longest chain that is followed.
const MAX_CHAIN: usize = 256;

type Node = Map<String, Value>;

struct Graph<'a> {
    nodes: &'a Map<String, Value>,
}

/// Node and number of its output that an input is linked to.
fn link(value: &Value) -> Option<(String, u64)> {
    let pair = value.as_array().filter(|pair| pair.len() == 2)?;
    let id = match &pair[0] {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        _ => return None,
    };
    Some((id, pair[1].as_u64()?))
}

impl<'a> Graph<'a> {
    fn inputs(&self, id: &str) -> Option<&'a Node> {
        self.nodes.get(id)?.get("inputs")?.as_object()
    }

    fn class(&self, id: &str) -> &'a str {
        let class = self.nodes.get(id).and_then(|node| node.get("class_type"));
        class.and_then(Value::as_str).unwrap_or("")
    }

    fn is_sampler(&self, id: &str) -> bool {
        let Some(inputs) = self.inputs(id) else {
            return false;
        };
        let has = |key: &str| inputs.contains_key(key);
        let class = self.class(id);
        let named = class.contains("Sampler") && !class.contains("Select");
        // Extensions name theirs as they like.
        let seeded = has("seed") || has("noise_seed") || has("noise");
        let guided = has("positive") || has("guider") || has("conditioning");
        let on_latents = has("latent_image") || has("latent") || has("samples");
        seeded && guided && (named || on_latents)
    }

    /// The value of an input; where it is linked, that of the node which holds it.
    fn value(&self, inputs: &'a Node, key: &str) -> Option<&'a Value> {
        let mut value = inputs.get(key)?;
        let mut preferred = key.to_owned();
        for _ in 0..16 {
            let Some((id, _)) = link(value) else {
                return Some(value);
            };
            let inputs = self.inputs(&id)?;
            let keys = std::iter::once(preferred.as_str()).chain(VALUES);
            let (key, next) = keys
                .filter_map(|key| Some((key.to_owned(), inputs.get(&key.to_owned())?)))
                .next()?;
            value = next;
            preferred = key;
        }
        None
    }

    /// Inputs of the node that `key` is linked to.
    fn linked(&self, inputs: &Node, key: &str) -> Option<(String, &'a Node)> {
        let (id, _) = link(inputs.get(key)?)?;
        let inputs = self.inputs(&id)?;
        Some((id, inputs))
    }

    /// All prompts that flow into a link, in the order of the graph.
    fn prompts(&self, start: &Value) -> Vec<String> {
        let mut texts: Vec<String> = Vec::new();
        let mut seen = HashSet::new();
        let mut open: Vec<(String, u64)> = link(start).into_iter().collect();
        while let Some((id, output)) = open.pop() {
            if !seen.insert((id.clone(), output)) {
                continue;
            }
            let Some(inputs) = self.inputs(&id) else {
                continue;
            };
            let held = TEXTS
                .iter()
                .filter_map(|key| self.value(inputs, key)?.as_str());
            let before = texts.len();
            for text in held.map(str::trim).filter(|text| !text.is_empty()) {
                if !texts.iter().any(|known| known == text) {
                    texts.push(text.to_owned());
                }
            }
            if texts.len() > before {
                continue;
            }
            // Nodes with both, such as ControlNet's, give the positive first.
            let both = inputs.contains_key("positive") && inputs.contains_key("negative");
            let through: &[&str] = match (both, output) {
                (true, 0) => &["positive"],
                (true, _) => &["negative"],
                (false, _) => &CONDITIONING,
            };
            // A stack: the last pushed is looked at first.
            let next = through
                .iter()
                .rev()
                .filter_map(|key| link(inputs.get(*key)?));
            open.extend(next);
        }
        texts
    }

    /// The name of the model file that flows into `model`.
    fn model(&self, inputs: &'a Node) -> Option<String> {
        let mut inputs = inputs;
        for _ in 0..MAX_CHAIN {
            let names = ["ckpt_name", "unet_name", "model_name", "gguf_name"];
            let name = names
                .iter()
                .find_map(|key| self.value(inputs, key)?.as_str());
            if let Some(name) = name {
                return Some(name.to_owned());
            }
            let (_, next) = ["model", "model1", "MODEL"]
                .iter()
                .find_map(|key| self.linked(inputs, key))?;
            inputs = next;
        }
        None
    }

    /// How many layers of the text encoder are read at most, counted from its end, by the first node on the way of `clip` from a sampler's prompts that
    /// says so (`CLIPSetLastLayer`, or a loader with a number of its own): 1 is all of them.
    fn clip_skip(&self, start: &Value) -> Option<u64> {
        let mut seen = HashSet::new();
        let mut open: Vec<String> = link(start).into_iter().map(|(id, _)| id).collect();
        while let Some(id) = open.pop() {
            if seen.len() >= MAX_CHAIN || !seen.insert(id.clone()) {
                continue;
            }
            let Some(inputs) = self.inputs(&id) else {
                continue;
            };
            let says = LAST_LAYERS
                .iter()
                .find_map(|key| float(self.value(inputs, key)?));
            if let Some(layer) = says {
                // Written from the end on: -2 leaves the last layer out.
                let whole = layer.fract() == 0.0 && (-100.0..=-1.0).contains(&layer);
                return whole.then_some(-layer as u64);
            }
            // A stack: `clip` is looked at before the conditioning that a node is handed.
            let through = CONDITIONING.iter().chain(&["positive", "clip"]);
            open.extend(through.filter_map(|key| Some(link(inputs.get(*key)?)?.0)));
        }
        None
    }

    /// What a node is made from, one step back.
    fn back(&self, id: &str) -> Option<String> {
        let inputs = self.inputs(id)?;
        IMAGES
            .iter()
            .find_map(|key| Some(link(inputs.get(*key)?)?.0))
    }

    /// The samplers on the chain that ends in `id`, last pass first.
    fn samplers_before(&self, id: &str) -> Vec<String> {
        let (mut samplers, mut seen) = (Vec::new(), HashSet::new());
        let mut current = Some(id.to_owned());
        while let Some(id) = current.filter(|_| seen.len() < MAX_CHAIN) {
            if !seen.insert(id.clone()) {
                break;
            }
            if self.is_sampler(&id) {
                samplers.push(id.clone());
            }
            current = self.back(&id);
        }
        samplers
    }

    /// The size of the empty latent that a sampler begins with.
    fn size(&self, sampler: &str) -> Option<(u32, u32)> {
        let mut current = Some(sampler.to_owned());
        for _ in 0..MAX_CHAIN {
            let id = current?;
            let inputs = self.inputs(&id)?;
            let side = |key: &str| self.value(inputs, key).and_then(whole32);
            if let (Some(width), Some(height)) = (side("width"), side("height")) {
                return Some((width, height));
            }
            current = self.back(&id);
        }
        None
    }
}

/// Reads a graph; `None` if it has no sampler.
pub(super) fn read(value: &Value) -> Option<PictureInfo> {
    let nodes = value.as_object()?;
    let graph = Graph { nodes };
    let saves = |id: &&String| {
        let class = graph.class(id);
        class.contains("SaveImage")
            || class.contains("PreviewImage")
            || class.contains("Image Save")
    };
    // The first pass of the longest chain that ends in a saved picture.
    let chains = nodes
        .keys()
        .filter(saves)
        .map(|id| graph.samplers_before(id));
    let longest = chains.fold(Vec::new(), |best, chain| {
        if chain.len() > best.len() {
            chain
        } else {
            best
        }
    });
    let sampler = longest.last().cloned();
    let sampler = sampler.or_else(|| nodes.keys().find(|id| graph.is_sampler(id)).cloned())?;
    let inputs = graph.inputs(&sampler)?;

    // Newer graphs part the sampler's settings into nodes of their own.
    let part = |key: &str| graph.linked(inputs, key).map(|(_, inputs)| inputs);
    let (noise, guider) = (part("noise"), part("guider"));
    let (select, sigmas) = (part("sampler"), part("sigmas"));
    let find = |keys: &[(&'static str, Option<&Node>)]| -> Option<Value> {
        keys.iter()
            .find_map(|(key, place)| graph.value((*place)?, key).cloned())
    };
    let own = Some(inputs);
    let text = |value: Value| value.as_str().map(str::to_owned);
    let conditioning = |key: &str| -> Option<&Value> {
        inputs
            .get(key)
            .or_else(|| guider?.get(key))
            .or_else(|| (key == "positive").then(|| guider?.get("conditioning"))?)
    };
    let joined = |key: &str| conditioning(key).map(|link| graph.prompts(link).join("\n"));
    let size = graph.size(&sampler);
    let skipped = conditioning("positive").and_then(|link| graph.clip_skip(link));
    Some(PictureInfo {
        extra: clip_skip(skipped),
        software: Some("ComfyUI".into()),
        prompt: joined("positive").or_else(|| joined("conditioning")),
        negative_prompt: joined("negative"),
        seed: find(&[("seed", own), ("noise_seed", own), ("noise_seed", noise)])
            .and_then(|v| whole(&v)),
        steps: find(&[("steps", own), ("steps", sigmas)]).and_then(|v| whole32(&v)),
        sampler: find(&[("sampler_name", own), ("sampler_name", select)]).and_then(text),
        schedule: find(&[("scheduler", own), ("scheduler", sigmas)]).and_then(text),
        cfg_scale: find(&[("cfg", own), ("cfg", guider)]).and_then(|v| float(&v)),
        width: size.map(|(width, _)| width),
        height: size.map(|(_, height)| height),
        model: [own, guider, sigmas]
            .into_iter()
            .flatten()
            .find_map(|inputs| graph.model(inputs)),
        ..PictureInfo::default()
    })
}
