//! Fonts, sizes and colours of Markdown.

use std::hash::{Hash as _, Hasher as _};

use egui::text::TextFormat;
use egui::{Color32, FontFamily, FontId, Stroke, Ui};

use super::blocks::Emphasis;
use super::highlight::Token;
use crate::theme;

/// How Markdown looks: fonts, sizes in points, colours.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Size of text.
    pub size: f32,
    /// Height of a line of text over its size.
    pub leading: f32,
    /// Family of text.
    pub regular: FontFamily,
    /// Family of important text and headings.
    pub strong: FontFamily,
    /// Family of stressed text; `None` slants the regular one.
    pub italic: Option<FontFamily>,
    /// Family of code.
    pub mono: FontFamily,
    /// Size of code.
    pub mono_size: f32,
    /// Colour of text.
    pub text: Color32,
    /// Colour of headings and important text.
    pub bright: Color32,
    /// Colour of markers, labels and quotes.
    pub dim: Color32,
    /// Colour of links.
    pub link: Color32,
    /// Fill behind blocks of code and heads of tables.
    pub fill: Color32,
    /// Fill behind code within text.
    pub inline_fill: Color32,
    /// Lines of tables, rules and frames.
    pub line: Color32,
    /// Colours of code: words of the language, text, remarks, numbers.
    pub code: [Color32; 4],
}

impl Look {
    /// The look of the theme that is shown.
    pub fn of(ui: &Ui) -> Self {
        let theme = theme::tokens(ui.ctx());
        let size = theme.size.font_body + 1.5;
        let regular = theme::regular(size).family;
        let italic = theme::italic(ui.ctx(), size).family;
        Self {
            size,
            leading: 1.55,
            strong: theme::semibold(ui.ctx(), size).family,
            italic: (italic != regular).then_some(italic),
            regular,
            mono: theme::mono(size).family,
            mono_size: theme.size.font_body,
            text: theme.text,
            bright: theme.text,
            dim: theme.text_muted,
            link: theme.accent_text,
            fill: theme.bg_input,
            inline_fill: theme.bg_raised,
            line: theme.stroke,
            code: [
                theme.accent_text,
                theme.success,
                theme.text_faint,
                theme.warning,
            ],
        }
    }

    /// A number that differs where texts would have to be laid out anew.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        for size in [self.size, self.leading, self.mono_size] {
            size.to_bits().hash(&mut hasher);
        }
        (&self.regular, &self.strong, &self.italic, &self.mono).hash(&mut hasher);
        [
            self.text,
            self.bright,
            self.dim,
            self.link,
            self.fill,
            self.inline_fill,
            self.line,
        ]
        .hash(&mut hasher);
        self.code.hash(&mut hasher);
        hasher.finish()
    }

    /// Size of headings of level 1 to 6.
    pub fn heading_size(&self, level: u8) -> f32 {
        let factor = match level {
            1 => 1.5,
            2 => 1.28,
            3 => 1.12,
            _ => 1.0,
        };
        (self.size * factor).round()
    }

    /// The format of a stretch of text; headings are strong and of their own size.
    pub fn format(&self, emphasis: Emphasis, link: bool, heading: Option<u8>) -> TextFormat {
        let size = heading.map_or(self.size, |level| self.heading_size(level));
        let strong = emphasis.strong || heading.is_some();
        let leading = if heading.is_some() { 1.3 } else { self.leading };
        let mut slant = false;
        let font_id = if emphasis.code {
            FontId::new(size * self.mono_size / self.size, self.mono.clone())
        } else if emphasis.italic && !strong {
            slant = self.italic.is_none();
            let family = self.italic.as_ref().unwrap_or(&self.regular);
            FontId::new(size, family.clone())
        } else {
            slant = emphasis.italic;
            let family = if strong { &self.strong } else { &self.regular };
            FontId::new(size, family.clone())
        };
        let color = match (link, strong) {
            (true, _) => self.link,
            (false, true) => self.bright,
            (false, false) => self.text,
        };
        TextFormat {
            font_id,
            color,
            italics: slant,
            line_height: Some((size * leading).round()),
            background: if emphasis.code {
                self.inline_fill
            } else {
                Color32::TRANSPARENT
            },
            expand_bg: 2.0,
            underline: if link {
                Stroke::new(1.0, self.link.gamma_multiply(0.6))
            } else {
                Stroke::NONE
            },
            strikethrough: if emphasis.strike {
                Stroke::new(1.0, color)
            } else {
                Stroke::NONE
            },
            ..TextFormat::default()
        }
    }

    /// The format of code of a kind.
    pub fn code_format(&self, token: Option<Token>) -> TextFormat {
        let [keyword, string, comment, number] = self.code;
        let color = match token {
            None => self.text,
            Some(Token::Keyword) => keyword,
            Some(Token::Text) => string,
            Some(Token::Remark) => comment,
            Some(Token::Number) => number,
        };
        TextFormat {
            font_id: FontId::new(self.mono_size, self.mono.clone()),
            color,
            line_height: Some((self.mono_size * 1.45).round()),
            ..TextFormat::default()
        }
    }
}
