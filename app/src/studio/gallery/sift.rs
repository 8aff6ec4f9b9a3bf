//! Which pictures are shown, and in what order.

use serde::{Deserialize, Serialize};

use super::{Item, TILES};

/// In what order pictures are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The last one first.
    #[default]
    Newest,
    /// The first one first.
    Oldest,
    /// By the words of the prompt.
    Prompt,
    /// By the model's name.
    Model,
    /// The largest first.
    Largest,
}

impl Order {
    /// All of them, in the order of the menu.
    pub const ALL: [Self; 5] = [
        Self::Newest,
        Self::Oldest,
        Self::Prompt,
        Self::Model,
        Self::Largest,
    ];

    /// Its name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Newest => "Newest first",
            Self::Oldest => "Oldest first",
            Self::Prompt => "By prompt",
            Self::Model => "By model",
            Self::Largest => "Largest first",
        }
    }
}

/// Which pictures are shown, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sieve {
    /// Words that must all occur in prompt, negative prompt, model, sampler or seed.
    #[serde(skip)]
    pub text: String,
    /// Only those that the person marked.
    pub favourites: bool,
    /// Only those that were thrown away; otherwise only others.
    #[serde(skip)]
    pub trash: bool,
    /// In what order.
    pub order: Order,
    /// Size of a tile in points.
    pub tile: f32,
    /// Whether the details of the chosen one are shown.
    pub details: bool,
}

impl Default for Sieve {
    fn default() -> Self {
        Self {
            text: String::new(),
            favourites: false,
            trash: false,
            order: Order::Newest,
            tile: 168.0,
            details: true,
        }
    }
}

impl Sieve {
    /// Indices of what passes, in the order wanted.
    pub fn sift(&self, items: &[Item]) -> Vec<usize> {
        let words: Vec<String> = self
            .text
            .split_whitespace()
            .map(str::to_lowercase)
            .collect();
        let passes = |item: &Item| {
            let record = &item.record;
            record.trashed == self.trash
                && (record.favourite || !self.favourites)
                && has_words(item, &words)
        };
        let mut found: Vec<usize> = items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| passes(item).then_some(index))
            .collect();
        let request = |index: &usize| items.get(*index).map(|item| &item.record.request);
        let area = |index: &usize| {
            let record = items.get(*index).map(|item| &item.record);
            record.map_or(0, |record| {
                u64::from(record.width) * u64::from(record.height)
            })
        };
        match self.order {
            Order::Newest => {}
            Order::Oldest => found.reverse(),
            Order::Prompt => found.sort_by_cached_key(|index| {
                request(index).map(|request| request.prompt.to_lowercase())
            }),
            Order::Model => found.sort_by_cached_key(|index| {
                request(index).map(|request| request.model.name.to_lowercase())
            }),
            Order::Largest => found.sort_by_key(|index| std::cmp::Reverse(area(index))),
        }
        found
    }

    /// Whether anything is left out beside the trash.
    pub fn is_narrow(&self) -> bool {
        self.favourites || !self.text.trim().is_empty()
    }

    /// As an older version or another hand may have written it, mended.
    pub(super) fn healed(mut self) -> Self {
        self.tile = if self.tile.is_finite() {
            self.tile.clamp(*TILES.start(), *TILES.end())
        } else {
            Self::default().tile
        };
        self
    }
}

fn has_words(item: &Item, words: &[String]) -> bool {
    if words.is_empty() {
        return true;
    }
    let request = &item.record.request;
    let text = format!(
        "{}\n{}\n{}\n{}\n{}\n{}x{}",
        request.prompt,
        request.negative_prompt,
        request.model.name,
        request.sampler.label(),
        request.seed,
        item.record.width,
        item.record.height
    )
    .to_lowercase();
    words.iter().all(|word| text.contains(word.as_str()))
}
