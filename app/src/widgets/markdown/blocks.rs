//! Markdown source to a flat list of pieces, each of which is laid out by itself.

use std::ops::Range;

use pulldown_cmark::{Alignment, CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// Deeper nesting of lists and quotes is shown at this depth.
pub const DEEPEST: usize = 8;
/// Most columns of a table; further cells of a row are left out.
const MOST_COLUMNS: usize = 32;
/// Most rows of a table that is shown as one; further rows are joined into lines of text.
const MOST_ROWS: usize = 400;
/// Most characters of a list's number.
const LONGEST_NUMBER: usize = 10;

/// How a stretch of text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Emphasis {
    /// Important.
    pub strong: bool,
    /// Stressed.
    pub italic: bool,
    /// Crossed out.
    pub strike: bool,
    /// Code within text.
    pub code: bool,
}

/// A stretch of text of one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Bytes of the text.
    pub range: Range<usize>,
    /// Its look.
    pub emphasis: Emphasis,
    /// Index of the link that it is part of.
    pub link: Option<usize>,
}

/// Text with looks and links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inlines {
    /// The text as shown.
    pub text: String,
    /// Spans in order, covering the text.
    pub spans: Vec<Span>,
    /// Targets of the links.
    pub links: Vec<String>,
    /// Stretches that stand in the source as they are: where in the text, where in the source, how many bytes.
    pub origins: Vec<(usize, usize, usize)>,
}

impl Inlines {
    fn push(&mut self, text: &str, emphasis: Emphasis, link: Option<usize>, at: Option<usize>) {
        if text.is_empty() {
            return;
        }
        let start = self.text.len();
        if let Some(at) = at {
            match self.origins.last_mut() {
                Some((text_at, source_at, len))
                    if *text_at + *len == start && *source_at + *len == at =>
                {
                    *len += text.len();
                }
                _ => self.origins.push((start, at, text.len())),
            }
        }
        self.text.push_str(text);
        match self.spans.last_mut() {
            Some(last) if last.emphasis == emphasis && last.link == link => {
                last.range.end = self.text.len();
            }
            _ => self.spans.push(Span {
                range: start..self.text.len(),
                emphasis,
                link,
            }),
        }
    }
}

impl Inlines {
    /// The bytes of the text that stand for bytes of the source; at least one character behind their beginning. `None` if
    /// the text ends before them.
    pub fn of_source(&self, source: &Range<usize>) -> Option<Range<usize>> {
        let (text_at, source_at, _) = self
            .origins
            .iter()
            .find(|(_, at, len)| at + len > source.start)?;
        let start = text_at + source.start.saturating_sub(*source_at);
        let last = self.origins.iter().rfind(|(_, at, _)| *at < source.end);
        let end = last.map_or(start, |(text_at, at, len)| {
            text_at + (source.end - at).min(*len)
        });
        let first = self.text.get(start..)?.chars().next()?;
        let end = end.max(start + first.len_utf8());
        self.text.get(start..end).map(|_| start..end)
    }
}

/// How a column of a table is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// At the left.
    Left,
    /// In the middle.
    Center,
    /// At the right.
    Right,
}

/// What a piece is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A paragraph.
    Text(Inlines),
    /// A heading of level 1 to 6.
    Heading(u8, Inlines),
    /// A block of code.
    Code {
        /// First word after the fence; may be empty.
        language: String,
        /// The code without the last line break.
        text: String,
    },
    /// A rule.
    Rule,
    /// A table; the first row is its head.
    Table {
        /// One for each column.
        columns: Vec<Column>,
        /// Rows of as many cells as there are columns.
        rows: Vec<Vec<Inlines>>,
    },
}

/// What a piece is nested in, from the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A quote: a bar at its left.
    Quote,
    /// An item of a list: indented.
    Item,
}

/// What stands before the first piece of a list's item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marker {
    /// A bullet.
    Bullet,
    /// A number with its dot.
    Number(String),
    /// A box, ticked or not.
    Task(bool),
}

/// One piece: laid out, selected and drawn by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What it is.
    pub kind: Kind,
    /// What it is nested in.
    pub levels: Vec<Level>,
    /// The marker before it.
    pub marker: Option<Marker>,
    /// Whether it stands close to the piece before: items of a tight list.
    pub tight: bool,
}

/// Pieces of one top-level block, and where it begins in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Byte offset of the first line.
    pub start: usize,
    /// Its pieces.
    pub pieces: Vec<Piece>,
}

fn options() -> Options {
    Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS
}

/// Parses a document. `offset` is added to the blocks' starts.
pub fn parse(source: &str, offset: usize) -> Vec<Block> {
    let mut builder = Builder::default();
    let mut blocks: Vec<Block> = Vec::new();
    let mut depth = 0_usize;
    for (event, range) in Parser::new_ext(source, options()).into_offset_iter() {
        let outermost = depth == 0;
        if outermost {
            let line = source
                .get(..range.start)
                .and_then(|before| before.rfind('\n'))
                .map_or(0, |at| at + 1);
            blocks.push(Block {
                start: offset + line,
                pieces: Vec::new(),
            });
        }
        match &event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        builder.at = match &event {
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text)
                if text.len() == range.len() =>
            {
                Some(offset + range.start)
            }
            // Between as many marks at either side.
            Event::Code(text) if text.len() < range.len() => {
                Some(offset + range.start + (range.len() - text.len()) / 2)
            }
            _ => None,
        };
        builder.take(event);
        if depth == 0 {
            builder.flush();
            if let Some(block) = blocks.last_mut() {
                block.pieces.append(&mut builder.pieces);
            }
        }
    }
    blocks
}

/// One list or quote that is open.
#[derive(Debug)]
enum Open {
    Quote,
    List { next: Option<u64>, tight: bool },
    Item,
}

#[derive(Debug)]
struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Inlines>>,
    row: Vec<Inlines>,
    overflow: Inlines,
}

#[derive(Default)]
struct Builder {
    pieces: Vec<Piece>,
    open: Vec<Open>,
    marker: Option<Marker>,
    /// Whether the item that is open has shown something already.
    item_begun: bool,
    inlines: Inlines,
    heading: Option<u8>,
    strong: usize,
    italic: usize,
    strike: usize,
    links: Vec<usize>,
    code: Option<(String, String)>,
    html: bool,
    table: Option<Table>,
    /// Where in the source the text of the event is.
    at: Option<usize>,
}

impl Builder {
    fn emphasis(&self) -> Emphasis {
        Emphasis {
            strong: self.strong > 0,
            italic: self.italic > 0,
            strike: self.strike > 0,
            code: false,
        }
    }

    fn text(&mut self, text: &str) {
        if let Some((_, code)) = &mut self.code {
            code.push_str(text);
        } else {
            let emphasis = self.emphasis();
            self.inlines
                .push(text, emphasis, self.links.last().copied(), self.at);
        }
    }

    fn piece(&mut self, kind: Kind) {
        let levels = self
            .open
            .iter()
            .filter_map(|open| match open {
                Open::Quote => Some(Level::Quote),
                Open::Item => Some(Level::Item),
                Open::List { .. } => None,
            })
            .take(DEEPEST)
            .collect();
        let tight = self
            .open
            .iter()
            .rev()
            .find_map(|open| match open {
                Open::List { tight, .. } => Some(*tight),
                _ => None,
            })
            .unwrap_or(false);
        let first = !self.item_begun;
        self.item_begun = true;
        self.pieces.push(Piece {
            tight: tight && (first || self.marker.is_some()),
            kind,
            levels,
            marker: self.marker.take(),
        });
    }

    /// Makes a piece of the text so far.
    fn flush(&mut self) {
        let inlines = std::mem::take(&mut self.inlines);
        let blank = inlines.text.trim().is_empty();
        if !blank || self.heading.is_some() {
            let kind = match self.heading {
                Some(level) => Kind::Heading(level, inlines),
                None => Kind::Text(inlines),
            };
            self.piece(kind);
        }
    }

    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => self.text(&text),
            Event::Html(text) | Event::InlineHtml(text) => self.text(&text),
            Event::Code(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                let emphasis = Emphasis {
                    code: true,
                    ..self.emphasis()
                };
                self.inlines
                    .push(&text, emphasis, self.links.last().copied(), self.at);
            }
            Event::FootnoteReference(label) => self.text(&format!("[{label}]")),
            // Models break lines where they mean it.
            Event::SoftBreak | Event::HardBreak => self.text("\n"),
            Event::Rule => {
                self.flush();
                self.piece(Kind::Rule);
            }
            Event::TaskListMarker(done) => self.marker = Some(Marker::Task(done)),
        }
    }

    fn link(&mut self, target: &str) {
        self.inlines.links.push(target.to_owned());
        self.links.push(self.inlines.links.len() - 1);
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph => {
                // A loose list: its items hold paragraphs.
                if let [.., Open::List { tight, .. }, Open::Item] = self.open.as_mut_slice() {
                    *tight = false;
                }
            }
            Tag::Heading { level, .. } => {
                self.flush();
                self.heading = Some(level as u8);
            }
            Tag::BlockQuote(_) => {
                self.flush();
                self.open.push(Open::Quote);
            }
            Tag::CodeBlock(kind) => {
                self.flush();
                let language = match kind {
                    CodeBlockKind::Fenced(info) => info
                        .split([' ', ',', '{', '\t'])
                        .next()
                        .unwrap_or_default()
                        .chars()
                        .take(24)
                        .collect(),
                    CodeBlockKind::Indented => String::new(),
                };
                self.code = Some((language, String::new()));
            }
            Tag::HtmlBlock => {
                self.flush();
                self.html = true;
            }
            Tag::List(first) => {
                self.flush();
                self.open.push(Open::List {
                    next: first,
                    tight: true,
                });
            }
            Tag::Item => {
                self.flush();
                let marker = match self.open.last_mut() {
                    Some(Open::List {
                        next: Some(next), ..
                    }) => {
                        let number = next.to_string();
                        *next = next.saturating_add(1);
                        Marker::Number(number.chars().take(LONGEST_NUMBER).chain(['.']).collect())
                    }
                    _ => Marker::Bullet,
                };
                // An item within an empty item: each shows its own marker.
                if self.marker.is_some() {
                    self.piece(Kind::Text(Inlines::default()));
                }
                self.marker = Some(marker);
                self.item_begun = false;
                self.open.push(Open::Item);
            }
            Tag::Table(columns) => {
                self.flush();
                self.table = Some(Table {
                    columns: columns
                        .iter()
                        .take(MOST_COLUMNS)
                        .map(|column| match column {
                            Alignment::None | Alignment::Left => Column::Left,
                            Alignment::Center => Column::Center,
                            Alignment::Right => Column::Right,
                        })
                        .collect(),
                    rows: Vec::new(),
                    row: Vec::new(),
                    overflow: Inlines::default(),
                });
            }
            Tag::TableHead | Tag::TableRow | Tag::TableCell => {}
            Tag::Emphasis => self.italic += 1,
            Tag::Strong => self.strong += 1,
            Tag::Strikethrough => self.strike += 1,
            Tag::Link { dest_url, .. } => self.link(&dest_url),
            // Nothing is fetched: a picture is a link to it.
            Tag::Image { dest_url, .. } => {
                self.link(&dest_url);
                self.text("Picture: ");
            }
            Tag::FootnoteDefinition(_)
            | Tag::DefinitionList
            | Tag::DefinitionListTitle
            | Tag::DefinitionListDefinition
            | Tag::Superscript
            | Tag::Subscript
            | Tag::MetadataBlock(_) => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph => self.flush(),
            TagEnd::Heading(_) => {
                self.flush();
                self.heading = None;
            }
            TagEnd::BlockQuote(_) | TagEnd::List(_) => {
                self.flush();
                self.open.pop();
            }
            TagEnd::Item => {
                self.flush();
                if self.marker.is_some() {
                    self.piece(Kind::Text(Inlines::default()));
                }
                self.open.pop();
                self.item_begun = true;
            }
            TagEnd::CodeBlock => {
                if let Some((language, mut text)) = self.code.take() {
                    if text.ends_with('\n') {
                        text.pop();
                    }
                    self.piece(Kind::Code { language, text });
                }
            }
            TagEnd::HtmlBlock => {
                self.html = false;
                while self.inlines.text.ends_with('\n') {
                    self.inlines.text.pop();
                }
                let end = self.inlines.text.len();
                for span in &mut self.inlines.spans {
                    span.range.end = span.range.end.min(end);
                }
                self.flush();
            }
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.inlines);
                if let Some(table) = &mut self.table
                    && table.row.len() < table.columns.len()
                {
                    table.row.push(cell);
                }
            }
            TagEnd::TableHead | TagEnd::TableRow => {
                if let Some(table) = &mut self.table {
                    let mut row = std::mem::take(&mut table.row);
                    row.resize_with(table.columns.len(), Inlines::default);
                    if table.rows.len() < MOST_ROWS {
                        table.rows.push(row);
                    } else {
                        let cells: Vec<&str> = row.iter().map(|cell| cell.text.as_str()).collect();
                        let line = format!("{}\n", cells.join(" | "));
                        table.overflow.push(&line, Emphasis::default(), None, None);
                    }
                }
            }
            TagEnd::Table => {
                if let Some(table) = self.table.take() {
                    self.piece(Kind::Table {
                        columns: table.columns,
                        rows: table.rows,
                    });
                    self.inlines = table.overflow;
                    self.flush();
                }
            }
            TagEnd::Emphasis => self.italic = self.italic.saturating_sub(1),
            TagEnd::Strong => self.strong = self.strong.saturating_sub(1),
            TagEnd::Strikethrough => self.strike = self.strike.saturating_sub(1),
            TagEnd::Link | TagEnd::Image => {
                self.links.pop();
            }
            TagEnd::FootnoteDefinition
            | TagEnd::DefinitionList
            | TagEnd::DefinitionListTitle
            | TagEnd::DefinitionListDefinition
            | TagEnd::Superscript
            | TagEnd::Subscript
            | TagEnd::MetadataBlock(_) => {}
        }
    }
}

#[cfg(test)]
#[path = "blocks_tests.rs"]
mod tests;
