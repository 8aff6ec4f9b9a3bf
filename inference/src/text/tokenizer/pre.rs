//! Pre-tokenizers: how text is cut into words before pairs are merged.
//!
//! Every family of byte-level vocabularies was trained with its own pattern; llama.cpp names them by `tokenizer.ggml.pre`. The patterns
//! end in `\s+(?!\S)|\s+`: a run of white space without its last character, which belongs to the word that follows. Look-ahead is
//! the one thing that takes linear time away from a regular expression, so the patterns here end in plain `\s+` and the scan
//! itself gives the last character back.

use std::ops::Range;

use fancy_regex::Regex;

use crate::text::TextError;

/// GPT-2 (Radford et al. 2019).
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
/// Llama 3: contractions in any case, numbers by threes, newlines after punctuation.
const LLAMA3: &str = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
/// Qwen 2: as Llama 3, but digit by digit.
const QWEN2: &str = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
/// Qwen 3.5: as Qwen 2, with combining marks as parts of words.
const QWEN35: &str = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
/// GPT-4o: words change where lower case turns to upper case.
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";
/// Mistral's Tekken: as GPT-4o without contractions, digit by digit.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";
/// One digit at a time.
const DIGIT: &str = r"\p{N}";
/// BLOOM and its kin: words and the space before them, punctuation apart.
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
/// Falcon and the default: punctuation apart.
const PUNCTUATION: &str = r"[\p{P}$+<=>^~|`]+";
/// Three ASCII digits at a time.
const THREE_DIGITS: &str = r"[0-9][0-9][0-9]";
/// DeepSeek: Chinese and Korean by the run.
const DEEPSEEK_CJK: &str = r"[一-龥ࠀ-一가-퟿]+";
/// DeepSeek V3 after numbers and CJK are cut off.
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+"##;
/// DeepSeek LLM's letters: those with case.
const DEEPSEEK_LETTERS: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\x{1F7D}ᾀ-ᾴᾶ-ᾼ\x{1FBE}ῂ-ῄῆ-ῌῐ-\x{1FD3}ῖ-\x{1FDB}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\x{2126}ℨ\x{212A}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
/// CLIP (Radford et al. 2021): only what matches is kept.
pub(crate) const CLIP: &str = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+";

/// What a name in `tokenizer.ggml.pre` stands for.
pub(crate) struct Family {
    patterns: &'static [&'static str],
    /// Words that are tokens stay whole, whatever the merges say.
    pub(crate) whole_words: bool,
    /// Whether a beginning-of-text token is added unless the file says otherwise.
    pub(crate) add_bos: bool,
    /// Whether the name is known.
    pub(crate) known: bool,
}

const fn family(patterns: &'static [&'static str]) -> Family {
    Family {
        patterns,
        whole_words: false,
        add_bos: false,
        known: true,
    }
}

const DEFAULT: &[&str] = &[r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", THREE_DIGITS];

/// The family of a pre-tokenizer name; unknown names get the default pattern and say so.
pub(crate) fn family_of(name: Option<&str>) -> Family {
    let Some(name) = name else {
        return Family {
            known: false,
            ..family(DEFAULT)
        };
    };
    match name {
        "default" => family(DEFAULT),
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0"
        | "lfm2" => Family {
            whole_words: true,
            add_bos: true,
            ..family(&[LLAMA3])
        },
        "tekken" => Family {
            whole_words: true,
            add_bos: true,
            ..family(&[TEKKEN])
        },
        "dbrx" | "smaug-bpe" | "glm4" | "chatglm-bpe" => family(&[LLAMA3]),
        "qwen2" | "deepseek-r1-qwen" | "stablelm2" | "megrez" | "hunyuan" | "kormo"
        | "solar-open" => family(&[QWEN2]),
        "qwen35" => family(&[QWEN35]),
        "gpt-4o" | "llama4" | "kanana2" | "minimax-m2" => family(&[GPT4O]),
        "gpt-2" | "phi-2" | "jina-es" | "jina-de" | "jina-v1-en" | "jina-v2-es" | "jina-v2-de"
        | "jina-v2-code" | "roberta-bpe" | "gigachat" | "a.x-4.0" | "mellum" | "modern-bert"
        | "mpt" | "olmo" | "jais" | "exaone4" | "trillion" | "granite-docling" => family(&[GPT2]),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" => {
            family(&[DIGIT, GPT2])
        }
        "falcon" => family(&[PUNCTUATION, GPT2, THREE_DIGITS]),
        "bloom" | "gpt3-finnish" | "poro-chat" => family(&[BLOOM]),
        "viking" => family(&[BLOOM, DIGIT]),
        "deepseek-llm" => family(&[
            r"[\r\n]",
            DEEPSEEK_LETTERS,
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            DEEPSEEK_CJK,
            r"\p{N}+",
        ]),
        "deepseek-coder" => family(&[
            r"[\r\n]",
            r"\s?\p{L}+",
            r"\s?\p{P}+",
            DEEPSEEK_CJK,
            r"\p{N}",
        ]),
        "deepseek-v3" | "hunyuan-dense" => family(&[r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3]),
        _ => Family {
            known: false,
            ..family(DEFAULT)
        },
    }
}

struct Stage {
    regex: Regex,
    /// The pattern ends in `\s+`, which leaves its last character to the word that follows.
    gives_space_back: bool,
    /// The pattern has `\s*[\r\n]+` before that: white space that ends in a newline is whole.
    keeps_newlines: bool,
}

/// A compiled pre-tokenizer: patterns applied one after the other, each to the pieces that the one before left.
pub(crate) struct PreTokenizer {
    stages: Vec<Stage>,
}

impl std::fmt::Debug for PreTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let patterns: Vec<&str> = self.stages.iter().map(|s| s.regex.as_str()).collect();
        f.debug_struct("PreTokenizer")
            .field("patterns", &patterns)
            .finish()
    }
}

fn pattern_error(error: fancy_regex::Error) -> TextError {
    TextError::Pattern {
        cause: error.to_string(),
    }
}

impl PreTokenizer {
    pub(crate) fn new(family: &Family) -> Result<Self, TextError> {
        let stages = family
            .patterns
            .iter()
            .map(|pattern| {
                Ok(Stage {
                    regex: Regex::new(pattern).map_err(pattern_error)?,
                    gives_space_back: pattern.ends_with(r"|\s+"),
                    keeps_newlines: pattern.contains(r"|\s*[\r\n]+|"),
                })
            })
            .collect::<Result<_, TextError>>()?;
        Ok(Self { stages })
    }

    /// Cuts `text` into words; together they are the whole text.
    pub(crate) fn split(&self, text: &str) -> Result<Vec<Range<usize>>, TextError> {
        let whole = 0..text.len();
        let mut pieces: Vec<Range<usize>> = if text.is_empty() {
            Vec::new()
        } else {
            vec![whole]
        };
        for stage in &self.stages {
            let mut cut = Vec::with_capacity(pieces.len());
            for piece in pieces {
                stage.split(&text[piece.clone()], piece.start, &mut cut)?;
            }
            pieces = cut;
        }
        Ok(pieces)
    }
}

impl Stage {
    /// Matches and the gaps between them, both shifted by `base`.
    fn split(&self, text: &str, base: usize, out: &mut Vec<Range<usize>>) -> Result<(), TextError> {
        let mut at = 0;
        while at < text.len() {
            let Some(found) = self.regex.find_from_pos(text, at).map_err(pattern_error)? else {
                break;
            };
            let (start, mut end) = (found.start(), found.end());
            if end <= start {
                break; // no pattern here matches nothing
            }
            if self.gives_space_back
                && end < text.len()
                && !(self.keeps_newlines && text[start..end].ends_with(['\r', '\n']))
            {
                end -= give_back(&text[start..end]);
            }
            if start > at {
                out.push(base + at..base + start);
            }
            out.push(base + start..base + end);
            at = end;
        }
        if at < text.len() {
            out.push(base + at..base + text.len());
        }
        Ok(())
    }
}

/// How many bytes a match must give back to be what `\s+(?!\S)|\s+` would have matched before a character which is not white space:
/// the last character of a run of at least two. (The run was matched greedily, so what follows it is not white space.)
pub(super) fn give_back(run: &str) -> usize {
    let mut chars = run.chars();
    let Some(last) = chars.next_back() else {
        return 0;
    };
    if chars.as_str().is_empty() || !run.chars().all(char::is_whitespace) {
        return 0;
    }
    last.len_utf8()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<'a>(name: &str, text: &'a str) -> Vec<&'a str> {
        let pre = PreTokenizer::new(&family_of(Some(name))).unwrap();
        let pieces = pre.split(text).unwrap();
        let mut at = 0;
        for piece in &pieces {
            assert_eq!(piece.start, at, "pieces must follow one another");
            assert!(piece.end > at);
            at = piece.end;
        }
        assert_eq!(at, text.len());
        pieces.into_iter().map(|r| &text[r]).collect()
    }

    #[test]
    fn gpt2_words() {
        assert_eq!(
            words("gpt-2", "Hello world's  end"),
            ["Hello", " world", "'s", " ", " end"]
        );
        assert_eq!(
            words("gpt-2", "a\n\n\nb \t"),
            ["a", "\n\n", "\n", "b", " \t"]
        );
        assert_eq!(words("gpt-2", "\n ="), ["\n", " ="]);
        assert_eq!(words("gpt-2", "x1234.."), ["x", "1234", ".."]);
        assert_eq!(words("gpt-2", "IT'S"), ["IT", "'", "S"]);
    }

    #[test]
    fn llama3_and_qwen2_words() {
        assert_eq!(words("llama-bpe", "12345 IT'S"), ["123", "45", " IT", "'S"]);
        assert_eq!(words("qwen2", "123 it's"), ["1", "2", "3", " it", "'s"]);
        assert_eq!(
            words("llama-bpe", "x  \n \n  y"),
            ["x", "  \n \n", " ", " y"]
        );
        assert_eq!(
            words("llama-bpe", "a (b)\n\nc"),
            ["a", " (", "b", ")\n\n", "c"]
        );
        assert_eq!(words("llama-bpe", "a   1"), ["a", "  ", " ", "1"]);
        assert_eq!(
            words("llama-bpe", "\u{3000}\u{3000}字"),
            ["\u{3000}", "\u{3000}字"]
        );
    }

    #[test]
    fn digits_and_cases() {
        assert_eq!(words("smollm", "a 12"), ["a", " ", "1", "2"]);
        assert_eq!(
            words("gpt-4o", "HelloWorld ABc it's"),
            ["Hello", "World", " ABc", " it's"]
        );
        assert_eq!(
            words("default", "a,b 12345"),
            ["a", ",", "b", " ", "123", "45"]
        );
        assert_eq!(
            words("deepseek-v3", "a1234中b"),
            ["a", "123", "4", "中", "b"]
        );
    }

    #[test]
    fn every_pattern_compiles_and_long_runs_stay_linear() {
        for name in [
            "default",
            "llama-bpe",
            "tekken",
            "dbrx",
            "qwen2",
            "qwen35",
            "gpt-4o",
            "gpt-2",
            "smollm",
            "falcon",
            "bloom",
            "viking",
            "deepseek-llm",
            "deepseek-coder",
            "deepseek-v3",
            "no-such-thing",
        ] {
            let start = std::time::Instant::now();
            for text in [
                " ".repeat(200_000) + "x",
                "A".repeat(200_000),
                "\n ".repeat(100_000) + "x",
                "'".repeat(200_000),
            ] {
                words(name, &text);
            }
            // Linear takes a few ms per text; quadratic would take minutes.
            assert!(
                start.elapsed().as_secs() < 20,
                "{name} took {:?}",
                start.elapsed()
            );
        }
    }
}
