//! Prompts that work: for the first picture, and for those who do not know what to draw.

use crate::studio::models::{BUILT_IN, Model};

/// What the built-in model draws well.
const SKETCH: [&str; 8] = [
    "a red fox, flat style",
    "three apples, noto style",
    "a blue house, 3d style, meadow",
    "four stars, flat style, night sky",
    "a purple cat, noto style",
    "a penguin in the snow",
    "a sun above a house, noto style, blue sky",
    "a panda, 3d style, green background",
];

/// What larger models draw well.
const OTHERS: [&str; 8] = [
    "a lighthouse on a cliff at dusk, oil painting, warm light",
    "portrait of an old sailor, weathered face, soft window light, photograph",
    "a small greenhouse full of ferns, morning mist, film photograph",
    "a paper-cut landscape of mountains and clouds, layered, pastel colours",
    "a red fox curled up in fresh snow, close-up, shallow depth of field",
    "an isometric model of a tiny bookshop, miniature, studio light",
    "a night market in the rain, neon reflections, wide angle",
    "botanical illustration of a poppy, ink and watercolour on cream paper",
];

/// Prompts for a model.
pub fn ideas(model: Option<&Model>) -> &'static [&'static str] {
    match model {
        Some(model) if model.source != BUILT_IN => &OTHERS,
        _ => &SKETCH,
    }
}

/// The first idea that was not drawn lately.
pub(super) fn any(model: Option<&Model>, history: &[String]) -> String {
    let ideas = ideas(model);
    let fresh = ideas.iter().find(|idea| {
        !history
            .iter()
            .take(ideas.len() - 1)
            .any(|known| known == *idea)
    });
    fresh
        .or(ideas.first())
        .map_or_else(String::new, |idea| (*idea).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ideas_come_in_turn_and_begin_anew() {
        let mut history: Vec<String> = Vec::new();
        for round in 0..3 {
            for idea in SKETCH {
                assert_eq!(any(None, &history), idea, "round {round}");
                history.insert(0, idea.to_owned());
            }
        }
    }
}
