//! How a prompt is coloured.

use std::ops::Range;

use egui::text::{LayoutJob, TextFormat};
use egui::{Color32, FontId, Stroke, Visuals};

use super::switches::signs;
use super::syntax::{Scan, TokenKind};

/// The colours of a prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PromptColours {
    /// Words.
    pub text: Color32,
    /// Brackets and backslashes.
    pub bracket: Color32,
    /// Weights.
    pub number: Color32,
    /// Words that count much more.
    pub strong: Color32,
    /// Words that count much less.
    pub weak: Color32,
    /// `BREAK` and tags.
    pub sign: Color32,
    /// What is wrong.
    pub fault: Color32,
}

/// Words that count this much more or less have the full colour.
const FULL: f64 = 0.5;

impl PromptColours {
    /// Colours that fit egui's own.
    pub fn of(visuals: &Visuals) -> Self {
        let dark = visuals.dark_mode;
        let pick = |on_dark: [u8; 3], on_light: [u8; 3]| {
            let [r, g, b] = if dark { on_dark } else { on_light };
            Color32::from_rgb(r, g, b)
        };
        Self {
            text: visuals.text_color(),
            bracket: visuals.weak_text_color(),
            number: pick([214, 166, 94], [150, 92, 10]),
            strong: pick([255, 196, 120], [176, 84, 0]),
            weak: visuals.weak_text_color(),
            sign: pick([140, 170, 255], [52, 88, 200]),
            fault: visuals.error_fg_color,
        }
    }

    fn words(&self, weight: f64) -> Color32 {
        let t = (((weight - 1.0) / FULL).clamp(-1.0, 1.0)) as f32;
        match t {
            t if t > 0.0 => self.text.lerp_to_gamma(self.strong, 0.35 + 0.65 * t),
            t if t < 0.0 => self.text.lerp_to_gamma(self.weak, 0.35 - 0.65 * t),
            _ => self.text,
        }
    }
}

/// A prompt's text with its colours; `plain` where the model has no use for weights.
pub fn layout(
    text: &str,
    colours: &PromptColours,
    font: &FontId,
    wrap: f32,
    plain: bool,
) -> LayoutJob {
    let mut job = LayoutJob::default();
    job.wrap.max_width = wrap;
    // Hidden white space at the ends of lines feels strange when writing.
    job.keep_trailing_whitespace = true;
    if plain {
        job.append(text, 0.0, TextFormat::simple(font.clone(), colours.text));
        return job;
    }
    let signs = signs(text);
    let mut signs = signs.as_slice();
    for token in Scan::of(text).tokens {
        let colour = match token.kind {
            TokenKind::Text => colours.words(token.weight),
            TokenKind::Escape | TokenKind::Open | TokenKind::Close => colours.bracket,
            TokenKind::Weight => colours.number,
            TokenKind::Break | TokenKind::Tag => colours.sign,
            TokenKind::Unbalanced => colours.fault,
        };
        let mut format = TextFormat::simple(font.clone(), colour);
        if token.kind == TokenKind::Unbalanced {
            format.underline = Stroke::new(1.5, colours.fault);
            format.background = colours.fault.gamma_multiply(0.25);
        }
        // What switches words stands out from what weighs them.
        let mut from = token.range.start;
        while let Some(sign) = signs.first() {
            let (start, end) = (sign.start.max(from), sign.end.min(token.range.end));
            if start >= token.range.end {
                break;
            }
            let mut put = |range: Range<usize>, colour: Option<Color32>| {
                let mut format = format.clone();
                format.color = colour.unwrap_or(format.color);
                if !range.is_empty() {
                    job.append(text.get(range).unwrap_or_default(), 0.0, format);
                }
            };
            put(from..start, None);
            put(start..end, Some(colours.sign));
            from = end;
            if sign.end > token.range.end {
                break;
            }
            signs = signs.get(1..).unwrap_or_default();
        }
        if from < token.range.end {
            let rest = text.get(from..token.range.end).unwrap_or_default();
            job.append(rest, 0.0, format);
        }
    }
    job
}

#[cfg(test)]
mod tests {
    use super::*;
    use egui::epaint::text::ByteRangeExt as _;

    #[test]
    fn all_of_the_text_is_laid_out() {
        let colours = PromptColours::of(&Visuals::dark());
        let font = FontId::proportional(14.0);
        for text in [
            "",
            "a (red fox:1.4) BREAK [b] (c",
            "äß\n語 ))",
            "[ä|(b:1.2)] [a:b: 3 ] {c|[d|e]} __x/y__ BREAK",
        ] {
            for plain in [false, true] {
                let job = layout(text, &colours, &font, 100.0, plain);
                assert_eq!(job.text, text);
                assert_eq!(
                    job.sections
                        .iter()
                        .map(|s| s.byte_range.as_usize().len())
                        .sum::<usize>(),
                    text.len()
                );
            }
        }
    }

    #[test]
    fn heavier_words_stand_out_and_faults_are_marked() {
        let colours = PromptColours::of(&Visuals::dark());
        let font = FontId::proportional(14.0);
        let job = layout("a (b:1.5) (c:1.1) d) [e]", &colours, &font, 100.0, false);
        let colour_of = |piece: &str| {
            let found = job
                .sections
                .iter()
                .find(|s| &job.text[s.byte_range.as_usize()] == piece);
            found.unwrap().format.color
        };
        assert_eq!(colour_of("b"), colours.strong);
        assert_eq!(colour_of("a "), colours.text);
        assert!(![colours.text, colours.strong].contains(&colour_of("c")));
        assert_ne!(colour_of("e"), colours.text);
        let job2 = layout("a [b|c]", &colours, &font, 100.0, false);
        let bar = job2
            .sections
            .iter()
            .find(|s| &job2.text[s.byte_range.as_usize()] == "|")
            .unwrap();
        assert_eq!(bar.format.color, colours.sign);
        let fault = job
            .sections
            .iter()
            .find(|s| s.format.underline != Stroke::NONE)
            .unwrap();
        assert_eq!(&job.text[fault.byte_range.as_usize()], ")");
    }
}
