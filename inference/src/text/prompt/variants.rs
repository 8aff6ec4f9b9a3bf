//! Prompts that leave something open: `{a|b}` takes one, `{2$$a|b|c}` two, `{1-2$$ and $$a|b|c}` one or two with ` and ` between them,
//! `{3::a|b}` the first three times as often; `__name__` takes a line of a list. All of that may be nested, and lists may hold it too.
//! `\{` is a bracket. As the Dynamic Prompts extension of AUTOMATIC1111 reads them; which one is taken follows from the seed alone.

use crate::text::rng::TokenRng;

/// Lists within lists, brackets within brackets.
const MAX_DEPTH: usize = 16;
/// Choices in one prompt; more are a list that names itself.
const MOST_CHOICES: usize = 2000;
/// Bytes of a resolved prompt.
const MOST_BYTES: usize = 256 << 10;
/// Told apart from the prompt's own choices.
const NEGATIVE: u64 = 0x6e65_6761_7469_7665;

/// What a template became.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The prompt.
    pub text: String,
    /// What could not be taken as meant, in words for the person.
    pub warnings: Vec<String>,
}

/// Whether a prompt leaves anything open.
pub fn is_template(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '{', '_']) {
        let (_, here) = rest.split_at(at);
        if here.starts_with('{') && matching(here).is_some() || wildcard_name(here).is_some() {
            return true;
        }
        let step = if here.starts_with('\\') { 2 } else { 1 };
        rest = here
            .char_indices()
            .nth(step)
            .map_or("", |(at, _)| &here[at..]);
    }
    false
}

/// Resolves a template. `list` gives the lines of a list by its name (which may hold `*` and `/`), or nothing if there is none.
pub fn resolve(
    template: &str,
    seed: u64,
    negative: bool,
    list: &mut dyn FnMut(&str) -> Option<Vec<String>>,
) -> Resolved {
    let mut resolver = Resolver {
        rng: TokenRng::new(if negative { seed ^ NEGATIVE } else { seed }),
        list,
        warnings: Vec::new(),
        choices: 0,
        bytes: 0,
    };
    let text = resolver.text(template, 0);
    Resolved {
        text,
        warnings: resolver.warnings,
    }
}

struct Resolver<'a> {
    rng: TokenRng,
    list: &'a mut dyn FnMut(&str) -> Option<Vec<String>>,
    warnings: Vec<String>,
    choices: usize,
    bytes: usize,
}

impl Resolver<'_> {
    fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) && self.warnings.len() < 8 {
            self.warnings.push(warning);
        }
    }

    /// Whether one more choice may be made.
    fn may_choose(&mut self, depth: usize) -> bool {
        self.choices += 1;
        let may = depth < MAX_DEPTH && self.choices <= MOST_CHOICES && self.bytes <= MOST_BYTES;
        if !may {
            self.warn("the lists and variants of this prompt lead to no end; what is too deep was left out".into());
        }
        may
    }

    fn text(&mut self, template: &str, depth: usize) -> String {
        let mut text = String::new();
        let mut rest = template;
        while let Some(at) = rest.find(['\\', '{', '_']) {
            let (before, here) = rest.split_at(at);
            text.push_str(before);
            if let Some(escaped) = here.strip_prefix('\\') {
                let mut chars = escaped.chars();
                match chars.next() {
                    Some(bracket @ ('{' | '}')) => text.push(bracket),
                    Some(other) => text.extend(['\\', other]),
                    None => text.push('\\'),
                }
                rest = chars.as_str();
            } else if let Some((inner, after)) = matching(here) {
                if self.may_choose(depth) {
                    let chosen = self.variant(inner, depth);
                    text.push_str(&chosen);
                }
                rest = after;
            } else if let Some((name, after)) = wildcard_name(here) {
                if self.may_choose(depth) {
                    let chosen = self.line(name, depth);
                    text.push_str(&chosen);
                }
                rest = after;
            } else {
                if here.starts_with('{') {
                    self.warn("a '{' without its '}' was read as text".into());
                }
                let sign = here.chars().next().map_or(0, char::len_utf8);
                let (sign, after) = here.split_at(sign);
                text.push_str(sign);
                rest = after;
            }
        }
        text.push_str(rest);
        self.bytes += text.len();
        text
    }

    /// What is taken of `a|b|c`.
    fn variant(&mut self, inner: &str, depth: usize) -> String {
        let (count, separator, rest) = heading(inner);
        let mut choices: Vec<(f64, &str)> = split(rest).into_iter().map(weighted).collect();
        let (least, most) = count.unwrap_or((1, 1));
        let (least, most) = (least.min(choices.len()), most.min(choices.len()));
        let count = if least < most {
            least + self.below(most - least + 1)
        } else {
            most.max(least)
        };
        let mut taken = Vec::new();
        for _ in 0..count {
            let place = self.choose(&choices);
            if place < choices.len() {
                taken.push(choices.remove(place).1);
            }
        }
        let single = taken.len() == 1;
        let texts: Vec<String> = taken
            .into_iter()
            .map(|choice| {
                let text = self.text(choice, depth + 1);
                if single { text } else { text.trim().to_owned() }
            })
            .collect();
        texts.join(separator)
    }

    /// A line of a list.
    fn line(&mut self, name: &str, depth: usize) -> String {
        let Some(lines) = (self.list)(name).filter(|lines| !lines.is_empty()) else {
            self.warn(format!(
                "there is no list '{name}'; __{name}__ was read as text"
            ));
            return format!("__{name}__");
        };
        let choices: Vec<(f64, &str)> = lines.iter().map(|line| weighted(line)).collect();
        let place = self.choose(&choices);
        let line = choices.get(place).map_or("", |(_, line)| *line);
        self.text(line, depth + 1)
    }

    fn below(&mut self, count: usize) -> usize {
        ((self.rng.unit_f64() * count as f64) as usize).min(count.saturating_sub(1))
    }

    /// A place among weighted ones.
    fn choose(&mut self, choices: &[(f64, &str)]) -> usize {
        let whole: f64 = choices.iter().map(|(weight, _)| weight).sum();
        let mut point = self.rng.unit_f64() * whole;
        for (place, (weight, _)) in choices.iter().enumerate() {
            if point < *weight {
                return place;
            }
            point -= weight;
        }
        // Rounding, or weights of 0 alone.
        choices.len().saturating_sub(1)
    }
}

/// The inside of a bracket that `text` begins with, and what follows it.
fn matching(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('{')?;
    let mut depth = 0usize;
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '{' => depth += 1,
            '}' if depth == 0 => {
                let (inside, after) = inner.split_at(at);
                return Some((inside, after.strip_prefix('}')?));
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The name in `__name__`, which `text` begins with, and what follows it.
fn wildcard_name(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix("__")?;
    let (name, after) = inner.split_once("__")?;
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | '*' | '.' | ' ');
    (!name.trim().is_empty() && name.chars().all(fits)).then_some((name.trim(), after))
}

/// `2$$`, `1-2$$`, `2$$ and $$` before the choices: how many, and what stands between them.
fn heading(inner: &str) -> (Option<(usize, usize)>, &str, &str) {
    const COMMA: &str = ", ";
    let Some((count, rest)) = inner.split_once("$$") else {
        return (None, COMMA, inner);
    };
    let number = |text: &str| text.trim().parse::<usize>().ok();
    let count = match count.split_once('-') {
        Some((least, most)) => match (least.trim(), most.trim()) {
            ("", "") => None,
            ("", most) => number(most).map(|most| (0, most)),
            (least, "") => number(least).map(|least| (least, usize::MAX)),
            (least, most) => number(least).zip(number(most)),
        },
        None => number(count).map(|count| (count, count)),
    };
    let Some((least, most)) = count else {
        return (None, COMMA, inner);
    };
    let count = Some((least.min(most), most.max(least)));
    match rest.split_once("$$") {
        Some((separator, choices)) if !separator.contains(['|', '{', '}']) => {
            (count, separator, choices)
        }
        _ => (count, COMMA, rest),
    }
}

/// Splits at `|` outside of brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut depth) = (Vec::new(), 0, 0usize);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => {
                parts.extend(text.get(from..at));
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.extend(text.get(from..));
    parts
}

/// `0.5::words`: how often, and the words.
fn weighted(choice: &str) -> (f64, &str) {
    if let Some((weight, words)) = choice.split_once("::")
        && let Ok(weight) = weight.trim().parse::<f64>()
        && weight.is_finite()
        && weight >= 0.0
    {
        return (weight, words);
    }
    (1.0, choice)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn list(name: &str) -> Option<Vec<String>> {
        let lines: &[&str] = match name {
            "colour" => &["red", "green", "0::never"],
            "animal" => &["a __colour__ fox", "a {big|small} cat"],
            "loop" => &["x __loop__ y __loop__"],
            "empty" => &[],
            _ => return None,
        };
        Some(lines.iter().map(|line| (*line).to_owned()).collect())
    }

    fn of(template: &str, seed: u64) -> Resolved {
        resolve(template, seed, false, &mut list)
    }

    fn seen(template: &str) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for seed in 0..400 {
            *counts.entry(of(template, seed).text).or_default() += 1;
        }
        counts
    }

    #[test]
    fn every_choice_comes_up_and_none_beside() {
        let keys = |template: &str| seen(template).into_keys().collect::<Vec<_>>();
        assert_eq!(keys("a {red|blue} hat"), ["a blue hat", "a red hat"]);
        assert_eq!(keys("{2$$a|b|c}").len(), 6);
        assert_eq!(keys("{1-2$$ and $$a|b}"), ["a", "a and b", "b", "b and a"]);
        assert_eq!(keys("{-1$$a|b}"), ["", "a", "b"]);
        assert_eq!(keys("{5$$a|b}"), ["a, b", "b, a"]);
        assert_eq!(keys("{a|{b|c}}"), ["a", "b", "c"]);
        assert_eq!(keys("{a|}x"), ["ax", "x"]);
        assert_eq!(keys("{[a|b]|c}"), ["[a|b]", "c"]);
        assert_eq!(keys("__colour__!"), ["green!", "red!"]);
        assert_eq!(
            keys("__animal__"),
            ["a big cat", "a green fox", "a red fox", "a small cat"]
        );
        let weights = seen("{9::a|1::b|0::c}");
        assert!(
            weights["a"] > 300 && weights["b"] > 15 && weights.len() == 2,
            "{weights:?}"
        );
    }

    #[test]
    fn a_seed_always_takes_the_same() {
        // Written down, so that no later version takes others.
        let texts: Vec<String> = (0..6)
            .map(|seed| of("{a|b|c} {1|2} __colour__", seed).text)
            .collect();
        let again: Vec<String> = (0..6)
            .map(|seed| of("{a|b|c} {1|2} __colour__", seed).text)
            .collect();
        assert_eq!(texts, again);
        let both = |seed| {
            let negative = resolve("{a|b|c|d|e|f}", seed, true, &mut list).text;
            (of("{a|b|c|d|e|f}", seed).text, negative)
        };
        assert!((0..20).any(|seed| both(seed).0 != both(seed).1));
    }

    #[test]
    fn what_is_no_template_stays() {
        for text in [
            "a red fox",
            "[a|b] (c:1.2)",
            "a_b__c",
            "__",
            "____",
            "a } b",
            "snake_case __a",
            "1::2",
            "$$",
            "é_ü",
            "\\",
        ] {
            assert_eq!(of(text, 1).text, text);
            assert!(!is_template(text), "{text}");
        }
        assert_eq!(of("\\{a|b\\} \\(c\\)", 1).text, "{a|b} \\(c\\)");
        for text in ["{a}", "x __colour__ y", "a {b|c}"] {
            assert!(is_template(text), "{text}");
        }
        let open = of("a {b|c", 1);
        assert_eq!(open.text, "a {b|c");
        assert!(open.warnings[0].contains("'{'"), "{:?}", open.warnings);
        let missing = of("__nothing__ __empty__", 1);
        assert_eq!(missing.text, "__nothing__ __empty__");
        assert_eq!(missing.warnings.len(), 2);
    }

    #[test]
    fn endless_templates_end() {
        let endless = of("__loop__", 3);
        assert!(endless.text.len() < 1 << 20);
        assert!(
            endless.warnings[0].contains("no end"),
            "{:?}",
            endless.warnings
        );
        for piece in ["{", "{a|", "__", "{1$$", "}", "{{a|b}"] {
            let hostile = of(&piece.repeat(20_000), 1);
            assert!(hostile.text.len() < 1 << 20);
        }
    }
}
