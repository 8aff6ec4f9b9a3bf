//! Prompts that change while a picture is drawn, as AUTOMATIC1111 (1.6 and later) reads them.
//!
//! `[from:to:when]` is `from` first and `to` later, `[to:when]` begins later, `[from::when]` ends then, `[a|b]` alternates. `when` is a
//! number of steps, or with a decimal point a share of them. All of that may be nested. A prompt with a stray `|` or an unfinished escape
//! is left as it is. Where brackets are left over, that program's grammar has several readings and its parser takes one of them by
//! chance of its making, sometimes as plain text; here a part that is whole always switches.
//!
//! A step is an evaluation of the network: samplers that ask twice a step have twice as many. That program compares the number of
//! evaluations done with where a part ends, so that the first part has one more than its number says and `[a|b]` begins with two `a`.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Brackets nested deeper than this are text.
const MAX_DEPTH: usize = 128;

/// What a prompt says at which steps.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptSchedule {
    /// The texts that occur, each once.
    pub texts: Vec<Arc<str>>,
    /// Each part's last step, from 1, rising, and which text it has; at least one.
    pub parts: Vec<(u32, usize)>,
}

impl PromptSchedule {
    /// A prompt that stays as it is.
    pub fn constant(prompt: &str, steps: u32) -> Self {
        Self {
            texts: vec![prompt.into()],
            parts: vec![(steps, 0)],
        }
    }

    /// Which text holds for an evaluation of the network, counted from 0.
    pub fn text_at(&self, evaluation: u32) -> usize {
        let part = self.parts.iter().find(|(end, _)| evaluation <= *end);
        part.or(self.parts.first()).map_or(0, |(_, text)| *text)
    }
}

/// A part of a prompt.
#[derive(Clone, Debug)]
enum Node {
    Text(String),
    /// Brackets that only weigh: with their signs.
    Group(Vec<Rc<Node>>),
    Scheduled {
        before: Vec<Rc<Node>>,
        after: Vec<Rc<Node>>,
        when: i64,
    },
    Alternate(Vec<Vec<Rc<Node>>>),
}

/// Reads a prompt for so many steps.
pub fn schedule(prompt: &str, steps: u32) -> PromptSchedule {
    let mut parser = Parser {
        text: prompt,
        steps,
        known: HashMap::new(),
    };
    let Some(nodes) = parser.start() else {
        return PromptSchedule::constant(prompt, steps);
    };
    let mut ends = vec![steps];
    nodes
        .iter()
        .for_each(|node| collect(node, steps, &mut ends));
    ends.sort_unstable();
    ends.dedup();
    let (mut texts, mut parts) = (Vec::<Arc<str>>::new(), Vec::<(u32, usize)>::new());
    let mut known: HashMap<Arc<str>, usize> = HashMap::new();
    for end in ends {
        let mut text = String::new();
        nodes.iter().for_each(|node| write_at(node, end, &mut text));
        let text: Arc<str> = text.into();
        let place = *known.entry(Arc::clone(&text)).or_insert_with(|| {
            texts.push(text);
            texts.len() - 1
        });
        match parts.last_mut() {
            Some((last, same)) if *same == place => *last = end,
            _ => parts.push((end, place)),
        }
    }
    PromptSchedule { texts, parts }
}

/// Where something changes.
fn collect(node: &Node, steps: u32, ends: &mut Vec<u32>) {
    let mut inner = |nodes: &[Rc<Node>]| nodes.iter().for_each(|node| collect(node, steps, ends));
    match node {
        Node::Text(_) => {}
        Node::Group(nodes) => inner(nodes),
        Node::Scheduled {
            before,
            after,
            when,
        } => {
            inner(before);
            inner(after);
            if let Some(when) = u32::try_from(*when).ok().filter(|when| *when >= 1) {
                ends.push(when);
            }
        }
        Node::Alternate(choices) => {
            choices.iter().for_each(|choice| inner(choice));
            // Once is enough, however many alternate.
            if ends.len() <= 2 * steps as usize {
                ends.extend(1..=steps);
            }
        }
    }
}

/// What a node says at a step, counted from 1.
fn write_at(node: &Node, step: u32, text: &mut String) {
    let mut inner = |nodes: &[Rc<Node>]| nodes.iter().for_each(|node| write_at(node, step, text));
    match node {
        Node::Text(part) => text.push_str(part),
        Node::Group(nodes) => inner(nodes),
        Node::Scheduled {
            before,
            after,
            when,
        } => inner(if i64::from(step) <= *when {
            before
        } else {
            after
        }),
        Node::Alternate(choices) => {
            let turn = (step.saturating_sub(1)) as usize % choices.len().max(1);
            if let Some(choice) = choices.get(turn) {
                inner(choice);
            }
        }
    }
}

/// A bracket that was read, and where it ends; none if it is no more than a sign.
type Bracket = Option<(Rc<Node>, usize)>;

struct Parser<'a> {
    text: &'a str,
    steps: u32,
    /// What was found at each opening bracket, so that stray ones cost no more than others.
    known: HashMap<usize, Bracket>,
}

impl Parser<'_> {
    fn rest(&self, at: usize) -> &str {
        self.text.get(at..).unwrap_or("")
    }

    fn begins(&self, at: usize, sign: char) -> bool {
        self.rest(at).starts_with(sign)
    }

    /// The whole prompt, stray brackets and colons being text; nothing if it cannot be read at all.
    fn start(&mut self) -> Option<Vec<Rc<Node>>> {
        let mut nodes = Vec::new();
        let mut at = 0;
        while at < self.text.len() {
            let (mut inner, end) = self.prompt(at, 0);
            nodes.append(&mut inner);
            at = end;
            let Some(sign) = self.rest(at).chars().next() else {
                break;
            };
            // Only these may stand alone; `|` and an escape of nothing may not.
            if !"[]():".contains(sign) {
                return None;
            }
            nodes.push(Rc::new(Node::Text(sign.to_string())));
            at += sign.len_utf8();
        }
        Some(nodes)
    }

    /// As much as is whole from here on, and where it ends.
    fn prompt(&mut self, mut at: usize, depth: usize) -> (Vec<Rc<Node>>, usize) {
        let mut nodes = Vec::new();
        loop {
            let plain = plain_length(self.rest(at));
            if plain > 0 {
                let text = self.rest(at).get(..plain).unwrap_or("").to_owned();
                nodes.push(Rc::new(Node::Text(text)));
                at += plain;
            } else if self.begins(at, '[') || self.begins(at, '(') {
                match self.bracket(at, depth) {
                    Some((node, end)) => {
                        nodes.push(node);
                        at = end;
                    }
                    None => return (nodes, at),
                }
            } else {
                return (nodes, at);
            }
        }
    }

    fn bracket(&mut self, at: usize, depth: usize) -> Bracket {
        if depth >= MAX_DEPTH {
            return None;
        }
        if let Some(known) = self.known.get(&at) {
            return known.clone();
        }
        let found = match self.begins(at, '(') {
            true => self.round(at, depth),
            false => self.square(at, depth),
        };
        self.known.insert(at, found.clone());
        found
    }

    /// `(words)` or `(words:words)`.
    fn round(&mut self, at: usize, depth: usize) -> Bracket {
        let sign = |text: &str| Rc::new(Node::Text(text.to_owned()));
        let mut nodes = vec![sign("(")];
        let (mut inner, mut end) = self.prompt(at + 1, depth + 1);
        nodes.append(&mut inner);
        if self.begins(end, ':') {
            nodes.push(sign(":"));
            let (mut inner, after) = self.prompt(end + 1, depth + 1);
            nodes.append(&mut inner);
            end = after;
        }
        if !self.begins(end, ')') {
            return None;
        }
        nodes.push(sign(")"));
        Some((Rc::new(Node::Group(nodes)), end + 1))
    }

    /// `[words]`, `[a|b]`, or one of the three that change with time.
    fn square(&mut self, at: usize, depth: usize) -> Bracket {
        let (first, end) = self.prompt(at + 1, depth + 1);
        match self.rest(end).chars().next()? {
            ']' => {
                let sign = |text: &str| Rc::new(Node::Text(text.to_owned()));
                let mut nodes = vec![sign("[")];
                nodes.extend(first);
                nodes.push(sign("]"));
                Some((Rc::new(Node::Group(nodes)), end + 1))
            }
            '|' => {
                let mut choices = vec![first];
                let mut at = end;
                while self.begins(at, '|') {
                    let (choice, end) = self.prompt(at + 1, depth + 1);
                    choices.push(choice);
                    at = end;
                }
                self.begins(at, ']')
                    .then(|| (Rc::new(Node::Alternate(choices)), at + 1))
            }
            ':' => {
                if let Some((when, end)) = self.when(end + 1) {
                    let node = Node::Scheduled {
                        before: Vec::new(),
                        after: first,
                        when,
                    };
                    return Some((Rc::new(node), end));
                }
                let (after, end) = self.prompt(end + 1, depth + 1);
                if !self.begins(end, ':') {
                    return None;
                }
                let (when, end) = self.when(end + 1)?;
                let node = Node::Scheduled {
                    before: first,
                    after,
                    when,
                };
                Some((Rc::new(node), end))
            }
            _ => None,
        }
    }

    /// A number and the closing bracket: the last step of what is before, and where the bracket ends.
    fn when(&self, at: usize) -> Option<(i64, usize)> {
        let rest = self.rest(at);
        let number = rest.trim_start();
        let length = number_length(number)?;
        let (number, after) = number.split_at_checked(length)?;
        let after = after.trim_start().strip_prefix(']')?;
        let mut value: f64 = number.trim_start_matches('+').parse().ok()?;
        if number.contains('.') {
            value *= f64::from(self.steps);
        }
        // Truncated towards zero, and no later than the end.
        let when = (value.min(f64::from(self.steps))) as i64;
        Some((when, self.text.len() - after.len()))
    }
}

/// Bytes of `([^\\\[\]():|]|\\.)+`.
fn plain_length(text: &str) -> usize {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '[' | ']' | '(' | ')' | ':' | '|' => return at,
            '\\' => match chars.next() {
                Some((_, escaped)) if escaped != '\n' => {}
                _ => return at,
            },
            _ => {}
        }
    }
    text.len()
}

/// Bytes of a decimal number with an optional sign and exponent.
fn number_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        let rest = bytes.get(from..).unwrap_or(&[]);
        rest.iter().take_while(|b| b.is_ascii_digit()).count()
    };
    let mut at = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let whole = digits(at);
    at += whole;
    let mut part = 0;
    if bytes.get(at) == Some(&b'.') {
        part = digits(at + 1);
        if whole + part > 0 {
            at += 1 + part;
        }
    }
    if whole + part == 0 {
        return None;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let signed = at + 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(signed);
        if exponent > 0 {
            at = signed + exponent;
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every part on its own, as that program lists them.
    fn listed(prompt: &str, steps: u32) -> Vec<(u32, String)> {
        let schedule = schedule(prompt, steps);
        let text = |place: usize| schedule.texts[place].to_string();
        schedule
            .parts
            .iter()
            .map(|(end, place)| (*end, text(*place)))
            .collect()
    }

    /// Whether every bracket has its partner.
    fn balanced(prompt: &str) -> bool {
        let mut open = Vec::new();
        let mut chars = prompt.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => {
                    chars.next();
                }
                '[' | '(' => open.push(c),
                ']' if open.pop() != Some('[') => return false,
                ')' if open.pop() != Some('(') => return false,
                _ => {}
            }
        }
        open.is_empty()
    }

    #[test]
    fn schedules_equal_automatic1111s() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/reference/text/schedules.json"
        );
        type Case = (String, u32, Vec<(u32, String)>);
        let cases: Vec<Case> =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(cases.len() > 1000);
        let (mut scheduled, mut other) = (0, 0);
        for (prompt, steps, mut wanted) in cases {
            // Parts that say the same are one here.
            wanted.reverse();
            wanted.dedup_by(|earlier, later| earlier.1 == later.1);
            wanted.reverse();
            let ours = listed(&prompt, steps);
            if ours != wanted && !balanced(&prompt) {
                other += 1;
                continue;
            }
            assert_eq!(ours, wanted, "{prompt:?} in {steps}");
            scheduled += usize::from(wanted.len() > 1);
        }
        assert!(scheduled > 200, "{scheduled}");
        // Of a thousand with stray brackets.
        assert!(other <= 26, "{other}");
    }

    #[test]
    fn evaluations_find_their_part_as_that_program_does() {
        let at = |prompt: &str, steps: u32| -> String {
            let schedule = schedule(prompt, steps);
            (0..steps)
                .map(|evaluation| schedule.texts[schedule.text_at(evaluation)].to_string())
                .collect()
        };
        assert_eq!(at("[a:b:3]", 6), "aaaabb");
        assert_eq!(at("[a|b]", 6), "aababa");
        assert_eq!(at("[a:b:0.5]", 6), "aaaabb");
        assert_eq!(at("[a:b:0]", 3), "bbb");
        assert_eq!(at("[a::2]b", 4), "abababb");
    }

    #[test]
    fn hostile_prompts_cost_little() {
        for piece in [
            "[", "(", "[a:", "[a|", "[[a:b:3]", "\\", "[a|b]", "([", "[a:1:",
        ] {
            let prompt = piece.repeat(50_000);
            let schedule = schedule(&prompt, 20);
            assert!(!schedule.parts.is_empty());
        }
        let many = schedule("[a:b:1e999][c:d:-1e999][e:f:.1e9]", 10_000);
        assert_eq!(many.parts.last().unwrap().0, 10_000);
    }
}
