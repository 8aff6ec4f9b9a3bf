//! Where the brackets, weights and words of a prompt lie: what colours it and what the weight keys change.
//!
//! The reading is that of `diptych_inference::text::prompt::parse_attention`, which takes prompts apart for the model; here every
//! byte of the text keeps its place.

use std::ops::Range;

/// What a piece of a prompt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Words.
    Text,
    /// A backslash and what it escapes; alone, a backslash that disappears.
    Escape,
    /// An opening bracket.
    Open,
    /// A closing bracket.
    Close,
    /// `:1.2` before a closing bracket.
    Weight,
    /// The word that begins a new chunk.
    Break,
    /// `<lora:name:0.8>` and its like.
    Tag,
    /// A bracket without its partner.
    Unbalanced,
}

/// A piece of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its place in bytes.
    pub range: Range<usize>,
    /// What it is.
    pub kind: TokenKind,
    /// How much it counts: the product of the weights around it.
    pub weight: f64,
}

/// A pair of brackets. A closing one that is missing counts as the end of the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The opening bracket's byte.
    pub open: usize,
    /// What is weighted.
    pub body: Range<usize>,
    /// The number, where there is one.
    pub number: Option<Range<usize>>,
    /// The closing bracket's byte.
    pub close: Option<usize>,
    /// `[` rather than `(`.
    pub square: bool,
    /// What the number says, or the brackets alone.
    pub factor: f64,
}

impl Group {
    /// From the opening to the closing bracket, both included; `None` without the latter.
    pub fn outer(&self) -> Option<Range<usize>> {
        self.close.map(|close| self.open..close + 1)
    }
}

/// A prompt taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scan {
    /// All of the text, in order, without gaps.
    pub tokens: Vec<Token>,
    /// The pairs, in the order in which they close.
    pub groups: Vec<Group>,
}

/// What one round bracket counts.
pub const ROUND: f64 = 1.1;
/// What one square bracket counts.
pub const SQUARE: f64 = 1.0 / 1.1;
/// Brackets nested deeper than this are text, as for the model.
const MAX_DEPTH: usize = 256;
/// Tags of other programs that stand for a file rather than for words.
const TAGS: [&str; 4] = ["lora:", "lyco:", "hypernet:", "embedding:"];

impl Scan {
    /// Takes a prompt apart.
    pub fn of(text: &str) -> Self {
        let mut scanner = Scanner {
            text,
            scan: Self::default(),
            round: Vec::new(),
            square: Vec::new(),
        };
        let mut at = 0;
        while at < text.len() {
            at = scanner.step(at);
        }
        scanner.finish()
    }

    /// The smallest closed pair with `at` between its brackets.
    pub fn innermost(&self, at: usize) -> Option<&Group> {
        self.groups
            .iter()
            .filter(|group| {
                group
                    .close
                    .is_some_and(|close| group.open < at && at <= close)
            })
            .min_by_key(|group| group.close.map(|close| close - group.open))
    }

    /// The token that `at` lies within or at the end of.
    pub fn token_at(&self, at: usize) -> Option<&Token> {
        self.tokens
            .iter()
            .find(|token| token.range.start < at && at <= token.range.end)
    }

    /// Brackets without a partner.
    pub fn unbalanced(&self) -> usize {
        let faulty = |token: &&Token| token.kind == TokenKind::Unbalanced;
        self.tokens.iter().filter(faulty).count()
    }
}

/// An opening bracket that waits for its partner.
struct Opened {
    at: usize,
    /// Index of its token.
    token: usize,
}

struct Scanner<'a> {
    text: &'a str,
    scan: Scan,
    round: Vec<Opened>,
    square: Vec<Opened>,
}

impl Scanner<'_> {
    /// Reads what begins at `at`, and gives where the next begins.
    fn step(&mut self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        let Some(c) = rest.chars().next() else {
            return self.text.len();
        };
        let one = at + c.len_utf8();
        match c {
            '\\' => {
                let escaped = rest.chars().nth(1);
                let end = match escaped {
                    Some('(' | ')' | '[' | ']' | '\\') => one + 1,
                    _ => one,
                };
                self.push(at..end, TokenKind::Escape);
                end
            }
            '(' | '[' => {
                if self.round.len() + self.square.len() >= MAX_DEPTH {
                    self.push(at..one, TokenKind::Text);
                } else {
                    let opened = Opened {
                        at,
                        token: self.scan.tokens.len(),
                    };
                    match c {
                        '(' => self.round.push(opened),
                        _ => self.square.push(opened),
                    }
                    self.push(at..one, TokenKind::Open);
                }
                one
            }
            ')' => {
                match self.round.pop() {
                    Some(opened) => self.close(&opened, at, None, ROUND, false),
                    None => self.push(at..one, TokenKind::Unbalanced),
                }
                one
            }
            ']' => {
                match self.square.pop() {
                    Some(opened) => self.close(&opened, at, None, SQUARE, true),
                    None => self.push(at..one, TokenKind::Unbalanced),
                }
                one
            }
            ':' => self.colon(at),
            '<' => match tag_end(rest) {
                Some(length) => {
                    self.push(at..at + length, TokenKind::Tag);
                    at + length
                }
                None => self.words(at),
            },
            _ => self.words(at),
        }
    }

    /// A colon: the beginning of a weight, or a sign like others.
    fn colon(&mut self, at: usize) -> usize {
        let after = self.text.get(at + 1..).unwrap_or_default();
        let read = weight_after(after).filter(|_| !self.round.is_empty());
        let weight = read.and_then(|(number, bracket)| {
            let value: f64 = after.get(number.clone())?.parse().ok()?;
            let usable = value.is_finite() && value.abs() <= f64::from(f32::MAX);
            usable.then_some((number, bracket, value))
        });
        match (weight, self.round.last().is_some()) {
            (Some((number, bracket, value)), true) => {
                let number = at + 1 + number.start..at + 1 + number.end;
                let close = at + 1 + bracket;
                self.push(at..close, TokenKind::Weight);
                if let Some(opened) = self.round.pop() {
                    self.close(&opened, close, Some((at, number)), value, false);
                }
                close + 1
            }
            _ => {
                self.push(at..at + 1, TokenKind::Text);
                at + 1
            }
        }
    }

    fn close(
        &mut self,
        opened: &Opened,
        close: usize,
        weight: Option<(usize, Range<usize>)>,
        factor: f64,
        square: bool,
    ) {
        for token in self.scan.tokens.iter_mut().skip(opened.token) {
            token.weight *= factor;
        }
        self.push(close..close + 1, TokenKind::Close);
        if let Some(token) = self.scan.tokens.last_mut() {
            token.weight = factor;
        }
        let body_end = weight.as_ref().map_or(close, |(colon, _)| *colon);
        self.scan.groups.push(Group {
            open: opened.at,
            body: opened.at + 1..body_end,
            number: weight.map(|(_, number)| number),
            close: Some(close),
            square,
            factor,
        });
    }

    /// Words up to the next sign, `BREAK` told apart.
    fn words(&mut self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        let first = rest.chars().next().map_or(1, char::len_utf8);
        let signs = ['\\', '(', ')', '[', ']', ':', '<'];
        let end = rest
            .get(first..)
            .and_then(|tail| tail.find(signs))
            .map_or(self.text.len(), |found| at + first + found);
        let mut from = at;
        for found in breaks(self.text.get(at..end).unwrap_or_default()) {
            let range = at + found.start..at + found.end;
            if from < range.start {
                self.push(from..range.start, TokenKind::Text);
            }
            from = range.end;
            self.push(range, TokenKind::Break);
        }
        if from < end {
            self.push(from..end, TokenKind::Text);
        }
        end
    }

    fn push(&mut self, range: Range<usize>, kind: TokenKind) {
        self.scan.tokens.push(Token {
            range,
            kind,
            weight: 1.0,
        });
    }

    /// What was never closed counts to the end of the text.
    fn finish(mut self) -> Scan {
        let end = self.text.len();
        let round = self.round.iter().map(|opened| (opened, ROUND, false));
        let square = self.square.iter().map(|opened| (opened, SQUARE, true));
        for (opened, factor, is_square) in round.chain(square) {
            for token in self.scan.tokens.iter_mut().skip(opened.token) {
                token.weight *= factor;
            }
            if let Some(token) = self.scan.tokens.get_mut(opened.token) {
                token.kind = TokenKind::Unbalanced;
            }
            self.scan.groups.push(Group {
                open: opened.at,
                body: opened.at + 1..end,
                number: None,
                close: None,
                square: is_square,
                factor,
            });
        }
        self.scan
    }
}

/// Reads a number and a closing bracket: where the number lies, and where the bracket does.
fn weight_after(text: &str) -> Option<(Range<usize>, usize)> {
    let start = text.len() - text.trim_start().len();
    let number = text.get(start..)?;
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    let count = digits
        .bytes()
        .take_while(|b| b.is_ascii_digit() || *b == b'.')
        .count();
    if count == 0 {
        return None;
    }
    let end = start + number.len() - digits.len() + count;
    let rest = text.get(end..)?.trim_start();
    rest.starts_with(')')
        .then(|| (start..end, text.len() - rest.len()))
}

/// Length of a tag that begins here.
fn tag_end(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('<')?;
    TAGS.iter().find(|name| inner.starts_with(*name))?;
    let end = inner.find(['>', '<', '\n', '(', ')', '[', ']', '\\'])?;
    inner.get(end..)?.starts_with('>').then_some(end + 2)
}

/// Where `BREAK` stands as a word of its own.
fn breaks(text: &str) -> Vec<Range<usize>> {
    const WORD: &str = "BREAK";
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let alone = |start: usize| {
        let before = text.get(..start).and_then(|t| t.chars().next_back());
        let after = text
            .get(start + WORD.len()..)
            .and_then(|t| t.chars().next());
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    };
    text.match_indices(WORD)
        .filter(|(start, _)| alone(*start))
        .map(|(start, _)| start..start + WORD.len())
        .collect()
}

/// The words of a prompt, as a person would count them: without brackets, weights and tags.
pub fn count_words(scan: &Scan, text: &str) -> usize {
    let plain: String = scan
        .tokens
        .iter()
        .map(|token| match token.kind {
            TokenKind::Text => text.get(token.range.clone()).unwrap_or_default(),
            TokenKind::Break | TokenKind::Tag | TokenKind::Weight => " ",
            _ => "",
        })
        .collect();
    plain
        .split(|c: char| c.is_whitespace() || ",;.!?:|".contains(c))
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .count()
}

/// What is written for another program and would be read otherwise here, in a person's words.
pub fn remarks(scan: &Scan, text: &str) -> Vec<String> {
    let mut remarks = Vec::new();
    match scan.unbalanced() {
        0 => {}
        1 => remarks.push("A bracket has no partner".to_owned()),
        count => remarks.push(format!("{count} brackets have no partner")),
    }
    let mut tags = scan.tokens.iter().filter(|t| t.kind == TokenKind::Tag);
    let strange = tags.find_map(|tag| {
        let tag = text.get(tag.range.clone())?;
        (!tag.starts_with("<lora:") && !tag.starts_with("<lyco:")).then_some(tag)
    });
    if let Some(tag) = strange {
        remarks.push(format!("{tag} is read as words: it cannot be used yet"));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;
    use diptych_inference::text::prompt::{PromptPart, parse_attention};

    fn kinds(text: &str) -> Vec<(&str, TokenKind)> {
        let scan = Scan::of(text);
        let kind = |token: &Token| (&text[token.range.clone()], token.kind);
        scan.tokens.iter().map(kind).collect()
    }

    #[test]
    fn weights_escapes_breaks_and_tags_are_told_apart() {
        use TokenKind::*;
        assert_eq!(
            kinds(r"a (red fox:1.2) \(x\) BREAK <lora:ink:0.8> :)"),
            [
                ("a ", Text),
                ("(", Open),
                ("red fox", Text),
                (":1.2", Weight),
                (")", Close),
                (" ", Text),
                (r"\(", Escape),
                ("x", Text),
                (r"\)", Escape),
                (" ", Text),
                ("BREAK", Break),
                (" ", Text),
                ("<lora:ink:0.8>", Tag),
                (" ", Text),
                (":", Text),
                (")", Unbalanced),
            ]
        );
        assert_eq!(kinds("BREAKFAST a_BREAK"), [("BREAKFAST a_BREAK", Text)]);
        assert_eq!(kinds("<b>"), [("<b>", Text)]);
    }

    #[test]
    fn what_is_not_closed_is_marked() {
        let scan = Scan::of("a (b [c");
        assert_eq!(scan.unbalanced(), 2);
        assert_eq!(scan.tokens[1].kind, TokenKind::Unbalanced);
        assert!((scan.tokens[2].weight - 1.1).abs() < 1e-9);
        assert!((scan.tokens[4].weight - 1.0).abs() < 1e-9);
        assert_eq!(Scan::of("(a:1.2.3)").tokens[2].kind, TokenKind::Text);
    }

    #[test]
    fn groups_know_their_bodies() {
        let text = "x ((a:1.3) b)";
        let scan = Scan::of(text);
        assert_eq!(&text[scan.groups[0].body.clone()], "a");
        assert_eq!(&text[scan.groups[1].body.clone()], "(a:1.3) b");
        assert_eq!(&text[scan.groups[0].number.clone().unwrap()], "1.3");
        assert_eq!(scan.innermost(5).unwrap().factor, 1.3);
        assert_eq!(scan.innermost(12).unwrap().factor, ROUND);
        assert!(scan.innermost(2).is_none());
    }

    /// Every word counts as much as the model's own parser says, and nothing of the text is left out.
    #[test]
    fn weights_agree_with_the_models_parser() {
        let cases = [
            "",
            "plain words",
            "(a) [b] (c:1.3) ((d)) [[e]]",
            "((a:1.2) b:0.5) (c",
            "[a (b:1.4) c] d]",
            r"\(a\) (b\):1.3)",
            "(a BREAK b:1.2) BREAK c",
            "([a)] b",
            "(a: 1.5 ) : 2) (:3)",
            "äß (語:1.25) é",
            "(a:b:1.2) x:y",
            "(a:+1.5)(b:-.5)",
            "<lora:x:0.5> <y> (z:1.1)",
        ];
        for text in cases {
            let scan = Scan::of(text);
            let mut end = 0;
            for token in &scan.tokens {
                assert_eq!(token.range.start, end, "{text}");
                end = token.range.end;
            }
            assert_eq!(end, text.len(), "{text}");
            let mut ours = Vec::new();
            for token in &scan.tokens {
                let piece = &text[token.range.clone()];
                let piece = match token.kind {
                    TokenKind::Text | TokenKind::Tag => piece,
                    TokenKind::Unbalanced if piece == ")" || piece == "]" => piece,
                    TokenKind::Escape => &piece[1..],
                    _ => continue,
                };
                let letters = piece.chars().filter(|c| !c.is_whitespace());
                ours.extend(letters.map(|c| (c, (token.weight * 1e4).round())));
            }
            let mut theirs = Vec::new();
            for part in parse_attention(text).parts {
                if let PromptPart::Text { text, weight } = part {
                    let letters = text.chars().filter(|c| !c.is_whitespace());
                    let weight = (f64::from(weight) * 1e4).round();
                    theirs.extend(letters.map(|c| (c, weight)).collect::<Vec<_>>());
                }
            }
            assert_eq!(ours, theirs, "{text}");
        }
    }

    #[test]
    fn words_are_counted_as_a_person_would() {
        let count = |text: &str| count_words(&Scan::of(text), text);
        assert_eq!(count(""), 0);
        assert_eq!(count("a red fox, flat style"), 5);
        assert_eq!(count("a (red fox:1.2) BREAK night <lora:x:1>"), 4);
        assert_eq!(count("re(d fo)x"), 2);
    }

    #[test]
    fn what_other_programs_mean_is_said() {
        let remarks = |text: &str| remarks(&Scan::of(text), text).join("\n");
        assert_eq!(remarks("a (red:1.2) [fox]"), "");
        assert!(remarks("(a").contains("no partner"));
        assert_eq!(remarks("<lora:ink:1> a"), "");
        assert!(remarks("<hypernet:ink:1> a").contains("<hypernet:ink:1>"));
        assert_eq!(remarks("[a:b:0.5] [c|d]"), "");
    }

    #[test]
    fn endless_brackets_are_read_in_time() {
        let text = "(".repeat(5000) + &"a:".repeat(5000);
        assert_eq!(Scan::of(&text).unbalanced(), MAX_DEPTH);
    }
}
