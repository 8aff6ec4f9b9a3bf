//! A document that grows: finished blocks are kept, only the last is parsed again.

use super::blocks::{self, Block, Inlines, Kind, Piece, Span};

/// Longer sources are not read as Markdown beyond this many bytes: the rest is plain text.
pub const LONGEST: usize = 1 << 20;

/// A document and its blocks.
#[derive(Clone, Debug, Default)]
pub struct Document {
    source: String,
    blocks: Vec<Block>,
    streaming: bool,
    /// How many pieces at the beginning are as they were before the last change.
    kept: usize,
    /// Blocks that begin after this byte were read from mended text.
    solid: usize,
}

impl Document {
    /// Takes a text; one that continues the former costs only its last block. Tells whether anything changed.
    pub fn set(&mut self, text: &str, streaming: bool) -> bool {
        if text == self.source && streaming == self.streaming {
            return false;
        }
        let grown = text.starts_with(self.source.as_str());
        let was = std::mem::replace(&mut self.streaming, streaming);
        // A reference's target may come later than its use.
        let from = if grown && was && !text.contains("]:") {
            self.settled()
        } else {
            0
        };
        self.source.clear();
        self.source.push_str(text);
        self.reparse(from);
        true
    }

    /// The text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Pieces of all blocks.
    pub fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.blocks.iter().flat_map(|block| &block.pieces)
    }

    /// The piece in which a byte of the source is, if it is one of text.
    pub fn piece_at(&self, at: usize) -> Option<usize> {
        let block = self.blocks.iter().rposition(|block| block.start <= at)?;
        let before = self.blocks.iter().take(block);
        let before: usize = before.map(|block| block.pieces.len()).sum();
        let pieces = &self.blocks.get(block)?.pieces;
        let ends_behind = |piece: &Piece| match &piece.kind {
            Kind::Text(inlines) | Kind::Heading(_, inlines) => inlines
                .origins
                .iter()
                .any(|(_, source, len)| source + len > at),
            _ => false,
        };
        Some(before + pieces.iter().position(ends_behind)?)
    }

    /// How many pieces at the beginning did not change at the last [`Document::set`].
    pub fn kept_pieces(&self) -> usize {
        self.kept
    }

    /// How many blocks nothing that follows can change: all before the last one that begins on a line which was whole.
    /// The line that is being written may yet turn out to belong to that block (`#` begins a heading, `#x` does not).
    fn settled(&self) -> usize {
        let line = self.source.rfind('\n').map_or(0, |at| at + 1);
        self.blocks
            .iter()
            .rposition(|block| block.start < line && block.start <= self.solid)
            .unwrap_or(0)
    }

    fn reparse(&mut self, keep: usize) {
        let start = match self.blocks.get(keep) {
            Some(block) if keep > 0 => block.start,
            _ => 0,
        };
        let keep = if start == 0 { 0 } else { keep };
        let old = self.blocks.split_off(keep.min(self.blocks.len()));
        let end = end_of_markdown(&self.source, start);
        let (marked, plain) = self.source.split_at(end);
        let tail = marked.get(start..).unwrap_or_default();
        let mended = (self.streaming && plain.is_empty())
            .then(|| mend(tail))
            .flatten();
        self.solid = mended.as_ref().map_or(usize::MAX, |(_, from)| start + from);
        let tail = mended.as_ref().map_or(tail, |(text, _)| text.as_str());
        self.blocks.append(&mut blocks::parse(tail, start));
        if !plain.is_empty() {
            self.blocks.push(Block {
                start: end,
                pieces: plain_pieces(plain),
            });
        }
        let same = self
            .blocks
            .iter()
            .skip(keep)
            .flat_map(|block| &block.pieces)
            .zip(old.iter().flat_map(|block| &block.pieces))
            .take_while(|(new, old)| new == old)
            .count();
        let before = self.blocks.iter().take(keep);
        self.kept = same + before.map(|block| block.pieces.len()).sum::<usize>();
    }
}

/// Where Markdown ends and plain text begins: at the end of a line.
fn end_of_markdown(source: &str, start: usize) -> usize {
    let longest = start.max(LONGEST);
    if source.len() <= longest {
        return source.len();
    }
    let mut end = longest;
    while !source.is_char_boundary(end) {
        end -= 1;
    }
    let before = source.get(..end).unwrap_or_default();
    match before.rfind('\n') {
        Some(line) if line >= start => line + 1,
        _ => end,
    }
}

/// Text that is too long for Markdown: paragraphs of bounded length.
fn plain_pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut paragraph = String::new();
    let mut push = |paragraph: &mut String| {
        let text = std::mem::take(paragraph);
        if text.trim().is_empty() {
            return;
        }
        let spans = vec![Span {
            range: 0..text.len(),
            emphasis: blocks::Emphasis::default(),
            link: None,
        }];
        pieces.push(Piece {
            kind: Kind::Text(Inlines {
                text,
                spans,
                links: Vec::new(),
                origins: Vec::new(),
            }),
            levels: Vec::new(),
            marker: None,
            tight: false,
        });
    };
    for line in text.split_inclusive('\n') {
        if paragraph.len() + line.len() > 4096 {
            push(&mut paragraph);
        }
        paragraph.push_str(line);
    }
    push(&mut paragraph);
    pieces
}

/// What an unfinished end will most likely be: emphasis and code that are open are closed, a table's head is a table.
/// Also tells the byte before which nothing was touched. `None` if nothing is open.
fn mend(source: &str) -> Option<(String, usize)> {
    let mut fence: Option<(u8, usize)> = None;
    let mut paragraph = 0;
    let mut at = 0;
    for line in source.split_inclusive('\n') {
        let trimmed = line.trim_start();
        let mark = trimmed.as_bytes().first().copied().unwrap_or_default();
        let run = trimmed.bytes().take_while(|&byte| byte == mark).count();
        let is_fence = matches!(mark, b'`' | b'~') && run >= 3;
        let ends = trimmed
            .get(run..)
            .is_some_and(|rest| rest.trim().is_empty());
        match fence {
            Some((kind, length)) if is_fence && kind == mark && run >= length && ends => {
                fence = None;
                paragraph = at + line.len();
            }
            Some(_) => {}
            None if is_fence
                && !(mark == b'`' && trimmed.get(run..).is_some_and(|rest| rest.contains('`'))) =>
            {
                fence = Some((mark, run));
            }
            None if trimmed.trim_end().is_empty() => paragraph = at + line.len(),
            None => {}
        }
        at += line.len();
    }
    if fence.is_some() {
        // An open fence runs to the end, as it should. A line that may become the closing one is not shown.
        let last = source.rfind('\n').map_or(0, |at| at + 1);
        let (before, line) = source.split_at(last);
        let closing = !line.is_empty() && last > 0 && line.trim().bytes().all(|byte| byte == b'`');
        return (closing && !line.trim().is_empty()).then(|| (before.to_owned(), paragraph));
    }
    let tail = source.get(paragraph..).unwrap_or_default();
    if let Some(table) = mend_table(tail) {
        let before = source.get(..paragraph).unwrap_or_default();
        return Some((format!("{before}{table}"), paragraph));
    }
    mend_inlines(tail).map(|tail| {
        let before = source.get(..paragraph).unwrap_or_default();
        (format!("{before}{tail}"), paragraph)
    })
}

/// A table's head whose second line is not whole yet.
fn mend_table(tail: &str) -> Option<String> {
    let mut lines = tail.trim_end_matches('\n').split('\n');
    let head = lines.next()?;
    let trimmed = head.trim();
    if !trimmed.starts_with('|') {
        return None;
    }
    let second = lines.next();
    if lines.next().is_some() {
        return None;
    }
    if second.is_some_and(|line| !line.chars().all(|c| matches!(c, '|' | '-' | ':' | ' '))) {
        return None;
    }
    let closed = trimmed.len() > 1 && trimmed.ends_with('|') && !trimmed.ends_with("\\|");
    let bars = trimmed
        .char_indices()
        .filter(|&(at, c)| c == '|' && !trimmed.get(..at).is_some_and(|b| b.ends_with('\\')))
        .count();
    let columns = if closed { bars - 1 } else { bars };
    if columns == 0 || columns > 64 || (second.is_none() && columns < 2) {
        return None;
    }
    let end = if closed { "" } else { " |" };
    Some(format!("{head}{end}\n|{}\n", "---|".repeat(columns)))
}

/// Closes code, strong and emphasis that are open at the end of a paragraph.
fn mend_inlines(tail: &str) -> Option<String> {
    // Only the last line of a list or quote is looked at; what is open does not run over items.
    let start = tail
        .rfind("\n- ")
        .or_else(|| tail.rfind("\n* "))
        .map_or(0, |at| at + 3);
    let body = tail.get(start..).unwrap_or_default();
    if body.len() > 16_384 {
        return None;
    }
    let bytes = body.as_bytes();
    let mut open: Vec<&str> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'`' => {
                let run = run_of(bytes, at);
                let closing = find_run(bytes, at + run, run);
                match closing {
                    Some(end) => at = end + run - 1,
                    None => {
                        // Everything after it is code. A lone mark at the end is not shown yet.
                        if at + run >= bytes.len() {
                            let kept = body.get(..at).unwrap_or_default();
                            let before = tail.get(..start).unwrap_or_default();
                            return Some(close(before, kept, &open));
                        }
                        let before = tail.get(..start).unwrap_or_default();
                        let marks = "`".repeat(run);
                        let kept = format!("{}{marks}", body.trim_end());
                        return Some(close(before, &kept, &open));
                    }
                }
            }
            b'*' => {
                let run = run_of(bytes, at);
                let next = bytes.get(at + run).copied();
                let before = at.checked_sub(1).and_then(|i| bytes.get(i)).copied();
                let can_open = next.is_some_and(|b| !b.is_ascii_whitespace());
                let can_close = before.is_some_and(|b| !b.is_ascii_whitespace());
                let mut left = run;
                while left > 0 {
                    let mark = if left >= 2 { "**" } else { "*" };
                    if can_close && open.last() == Some(&mark) {
                        open.pop();
                    } else if can_open {
                        open.push(mark);
                    } else if next.is_none() {
                        // Begun, but nothing in it yet.
                        let kept = body.get(..at).unwrap_or_default();
                        let before = tail.get(..start).unwrap_or_default();
                        return Some(close(before, kept, &open));
                    }
                    left -= mark.len();
                }
                at += run - 1;
            }
            _ => {}
        }
        at += 1;
    }
    if open.is_empty() {
        return None;
    }
    let before = tail.get(..start).unwrap_or_default();
    Some(close(before, body, &open))
}

fn close(before: &str, body: &str, open: &[&str]) -> String {
    let mut text = format!("{before}{}", body.trim_end_matches([' ', '\n']));
    // A mark right at the end opens nothing.
    for mark in open.iter().rev() {
        match text.strip_suffix(mark) {
            Some(short) => text.truncate(short.len()),
            None => text.push_str(mark),
        }
    }
    text
}

fn run_of(bytes: &[u8], at: usize) -> usize {
    let first = bytes.get(at);
    bytes
        .iter()
        .skip(at)
        .take_while(|byte| Some(*byte) == first)
        .count()
}

/// Where the next run of exactly `length` backticks begins.
fn find_run(bytes: &[u8], mut at: usize, length: usize) -> Option<usize> {
    while at < bytes.len() {
        if bytes.get(at) == Some(&b'`') {
            let run = run_of(bytes, at);
            if run == length {
                return Some(at);
            }
            at += run;
        } else {
            at += 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(text: &str) -> Vec<Piece> {
        let mut document = Document::default();
        document.set(text, false);
        document.pieces().cloned().collect()
    }

    fn words(document: &Document) -> Vec<String> {
        let text = |inlines: &Inlines| inlines.text.clone();
        document
            .pieces()
            .map(|piece| match &piece.kind {
                Kind::Text(inlines) | Kind::Heading(_, inlines) => text(inlines),
                Kind::Code { text, .. } => format!("code:{text}"),
                Kind::Rule => "rule".into(),
                Kind::Table { rows, .. } => {
                    let cells: Vec<String> = rows.iter().flatten().map(text).collect();
                    format!("table:{}", cells.join(","))
                }
            })
            .collect()
    }

    fn streamed(text: &str) -> Vec<String> {
        let mut document = Document::default();
        document.set(text, true);
        words(&document)
    }

    #[test]
    fn finished_blocks_are_kept() {
        let mut document = Document::default();
        document.set("# a\n\nb\n\n```\nc\n```\n\nd", true);
        assert_eq!(document.pieces().count(), 4);
        document.set("# a\n\nb\n\n```\nc\n```\n\nd and", true);
        assert_eq!(document.kept_pieces(), 3);
        document.set("# a\n\nb\n\n```\nc\n```\n\nd and\n\n- e", true);
        assert_eq!(document.kept_pieces(), 4);
        assert!(!document.set("# a\n\nb\n\n```\nc\n```\n\nd and\n\n- e", true));
        // Another text is read anew; what is the same is not laid out again.
        document.set("# a\n\nx", true);
        assert_eq!(document.kept_pieces(), 1);
        assert_eq!(words(&document), ["a", "x"]);
    }

    #[test]
    fn unfinished_ends_show_sensibly() {
        assert_eq!(streamed("a **b"), ["a b"]);
        assert_eq!(streamed("a **"), ["a "].map(str::trim_end));
        assert_eq!(streamed("a `b c"), ["a b c"]);
        assert_eq!(streamed("a `"), ["a"]);
        assert_eq!(streamed("2 * 3"), ["2 * 3"]);
        assert_eq!(streamed("- **a** b\n- *c"), ["a b", "c"]);
        assert_eq!(streamed("```py\nx = 1\n"), ["code:x = 1"]);
        assert_eq!(streamed("```py\nx = 1\n``"), ["code:x = 1"]);
        assert_eq!(streamed("| a | b"), ["table:a,b"]);
        assert_eq!(streamed("| a | b |\n|--"), ["table:a,b"]);
        assert_eq!(streamed("| a | b |\n|--|--|\n| c"), ["table:a,b,c,"]);
    }

    #[test]
    fn emphasis_that_is_open_looks_so() {
        let mut document = Document::default();
        document.set("a **b", true);
        let piece = document.pieces().next().cloned();
        let Some(Kind::Text(inlines)) = piece.map(|piece| piece.kind) else {
            panic!()
        };
        assert!(
            inlines
                .spans
                .last()
                .is_some_and(|span| span.emphasis.strong)
        );
    }

    #[test]
    fn too_long_a_text_is_whole_all_the_same() {
        let text = format!("**a**\n\n{}", "word ä\n".repeat(200_000));
        let shown: usize = whole(&text)
            .iter()
            .map(|piece| match &piece.kind {
                Kind::Text(inlines) => inlines.text.matches("word").count(),
                _ => 0,
            })
            .sum();
        assert_eq!(shown, 200_000);
    }

    fn markdown() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            Just("# h".to_owned()),
            Just("para **b** *i*".to_owned()),
            Just("- item".to_owned()),
            Just("  - inner".to_owned()),
            Just("1. one".to_owned()),
            Just("> quote".to_owned()),
            Just("```rs".to_owned()),
            Just("```".to_owned()),
            Just("``` x`y".to_owned()),
            Just("~~~".to_owned()),
            Just("    indented".to_owned()),
            Just("---".to_owned()),
            Just("===".to_owned()),
            Just("| a | b |".to_owned()),
            Just("|---|:-:|".to_owned()),
            Just("<div>".to_owned()),
            Just("<!-- c".to_owned()),
            Just("[r]: http://x".to_owned()),
            Just("see [r] and [l](http://y)".to_owned()),
            Just(String::new()),
            "[ -~]{0,12}",
            "[*_`#|>~\\-=+0-9. \\[\\]()a<]{0,8}",
            "\\PC{0,6}",
        ];
        prop::collection::vec(line, 0..14).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]
        #[test]
        fn in_parts_as_at_once(text in markdown(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
            let mut ends: Vec<usize> = cuts
                .iter()
                .map(|cut| cut.index(text.len() + 1))
                .filter(|&end| text.is_char_boundary(end))
                .collect();
            ends.sort_unstable();
            let mut document = Document::default();
            for end in ends {
                document.set(&text[..end], true);
            }
            // The last parse is incremental too, and not mended.
            document.set(&text, false);
            let got: Vec<Piece> = document.pieces().cloned().collect();
            prop_assert_eq!(got, whole(&text));
        }

        #[test]
        fn any_end_can_be_mended(text in "[*`|\\-# \n>a~\\[\\]()é]{0,40}") {
            let mut document = Document::default();
            document.set(&text, true);
            prop_assert_eq!(document.source(), text.as_str());
        }
    }
}
