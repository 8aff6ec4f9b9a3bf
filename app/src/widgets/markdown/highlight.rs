//! Colours for code: simple rules that fit many languages.

use std::ops::Range;

/// Longer code is shown without colours.
const LONGEST: usize = 200_000;

/// What a stretch of code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// A word of the language.
    Keyword,
    /// A text.
    Text,
    /// A remark.
    Remark,
    /// A number.
    Number,
}

struct Language {
    line_remarks: &'static [&'static str],
    block_remark: Option<(&'static str, &'static str)>,
    quotes: &'static [u8],
    keywords: &'static [&'static str],
    /// Keywords in any case.
    any_case: bool,
}

const C_LIKE: &[&str] = &[
    "abstract",
    "as",
    "async",
    "auto",
    "await",
    "bool",
    "boolean",
    "break",
    "byte",
    "case",
    "catch",
    "char",
    "class",
    "const",
    "constexpr",
    "continue",
    "crate",
    "default",
    "defer",
    "delete",
    "do",
    "double",
    "dyn",
    "else",
    "enum",
    "export",
    "extends",
    "extern",
    "false",
    "final",
    "finally",
    "float",
    "fn",
    "for",
    "from",
    "func",
    "function",
    "go",
    "goto",
    "if",
    "impl",
    "implements",
    "import",
    "in",
    "instanceof",
    "int",
    "interface",
    "let",
    "long",
    "loop",
    "match",
    "mod",
    "move",
    "mut",
    "namespace",
    "new",
    "nil",
    "null",
    "nullptr",
    "of",
    "override",
    "package",
    "private",
    "protected",
    "pub",
    "public",
    "range",
    "ref",
    "return",
    "self",
    "Self",
    "short",
    "signed",
    "sizeof",
    "static",
    "struct",
    "super",
    "switch",
    "template",
    "this",
    "throw",
    "throws",
    "trait",
    "true",
    "try",
    "type",
    "typedef",
    "typename",
    "typeof",
    "undefined",
    "union",
    "unsafe",
    "unsigned",
    "use",
    "using",
    "val",
    "var",
    "virtual",
    "void",
    "volatile",
    "where",
    "while",
    "with",
    "yield",
];
const PYTHON: &[&str] = &[
    "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif",
    "else", "except", "False", "finally", "for", "from", "global", "if", "import", "in", "is",
    "lambda", "match", "case", "None", "nonlocal", "not", "or", "pass", "raise", "return", "self",
    "True", "try", "while", "with", "yield",
];
const SHELL: &[&str] = &[
    "case", "cd", "do", "done", "echo", "elif", "else", "esac", "export", "fi", "for", "function",
    "if", "in", "local", "return", "set", "source", "sudo", "then", "until", "while",
];
const SQL: &[&str] = &[
    "add",
    "all",
    "alter",
    "and",
    "as",
    "asc",
    "between",
    "by",
    "case",
    "check",
    "create",
    "default",
    "delete",
    "desc",
    "distinct",
    "drop",
    "else",
    "end",
    "exists",
    "foreign",
    "from",
    "group",
    "having",
    "in",
    "index",
    "inner",
    "insert",
    "into",
    "is",
    "join",
    "key",
    "left",
    "like",
    "limit",
    "not",
    "null",
    "on",
    "or",
    "order",
    "outer",
    "primary",
    "references",
    "right",
    "select",
    "set",
    "table",
    "then",
    "union",
    "unique",
    "update",
    "values",
    "view",
    "when",
    "where",
    "with",
];
const DATA: &[&str] = &["true", "false", "null", "yes", "no", "on", "off"];
const LUA: &[&str] = &[
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local",
    "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
];

fn language(name: &str) -> Option<Language> {
    let plain = |keywords, line_remarks: &'static [&'static str]| Language {
        line_remarks,
        block_remark: None,
        quotes: b"\"'",
        keywords,
        any_case: false,
    };
    Some(match name.to_ascii_lowercase().as_str() {
        "rust" | "rs" | "wgsl" | "glsl" | "hlsl" => Language {
            block_remark: Some(("/*", "*/")),
            quotes: b"\"",
            ..plain(C_LIKE, &["//"])
        },
        "c" | "cpp" | "c++" | "cc" | "h" | "hpp" | "cs" | "csharp" | "c#" | "java" | "kotlin"
        | "kt" | "swift" | "scala" | "dart" | "zig" | "css" | "scss" => Language {
            block_remark: Some(("/*", "*/")),
            ..plain(C_LIKE, &["//"])
        },
        "js" | "javascript" | "jsx" | "ts" | "typescript" | "tsx" | "go" | "golang" => Language {
            block_remark: Some(("/*", "*/")),
            quotes: b"\"'`",
            ..plain(C_LIKE, &["//"])
        },
        "php" => Language {
            block_remark: Some(("/*", "*/")),
            ..plain(C_LIKE, &["//", "#"])
        },
        "py" | "python" | "rb" | "ruby" | "r" | "julia" => plain(PYTHON, &["#"]),
        "sh" | "bash" | "shell" | "zsh" | "console" | "powershell" | "ps1" | "dockerfile"
        | "make" | "makefile" => plain(SHELL, &["#"]),
        "sql" => Language {
            block_remark: Some(("/*", "*/")),
            any_case: true,
            ..plain(SQL, &["--"])
        },
        "json" | "json5" | "jsonc" => Language {
            block_remark: Some(("/*", "*/")),
            ..plain(DATA, &["//"])
        },
        "toml" | "yaml" | "yml" | "ini" | "conf" => plain(DATA, &["#", ";"]),
        "lua" => Language {
            block_remark: Some(("--[[", "]]")),
            ..plain(LUA, &["--"])
        },
        "html" | "xml" | "svg" => Language {
            block_remark: Some(("<!--", "-->")),
            ..plain(&[], &[])
        },
        _ => return None,
    })
}

/// What stands out in code, in order; the rest is plain. Languages that are not known have nothing.
pub fn tokens(name: &str, code: &str) -> Vec<(Range<usize>, Token)> {
    let mut found = Vec::new();
    let Some(language) = language(name) else {
        return found;
    };
    if code.len() > LONGEST {
        return found;
    }
    let mut at = 0;
    while let Some(rest) = code.get(at..).filter(|rest| !rest.is_empty()) {
        let (length, token) = next(rest, code.get(..at).unwrap_or_default(), &language);
        if let Some(token) = token {
            found.push((at..at + length, token));
        }
        at += length.max(1);
    }
    found
}

/// Length of the next stretch, and what it is.
fn next(rest: &str, before: &str, language: &Language) -> (usize, Option<Token>) {
    if let Some((begin, end)) = language.block_remark
        && rest.starts_with(begin)
    {
        let length = rest
            .get(begin.len()..)
            .and_then(|inner| inner.find(end))
            .map_or(rest.len(), |at| begin.len() + at + end.len());
        return (length, Some(Token::Remark));
    }
    let spaced = before.ends_with([' ', '\t', '\n']) || before.is_empty();
    if language
        .line_remarks
        .iter()
        .any(|mark| rest.starts_with(mark) && (mark.len() > 1 || spaced))
    {
        return (rest.find('\n').unwrap_or(rest.len()), Some(Token::Remark));
    }
    let first = rest.as_bytes().first().copied().unwrap_or_default();
    if language.quotes.contains(&first) {
        return (quoted(rest, first), Some(Token::Text));
    }
    if first.is_ascii_digit() {
        let length = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'))
            .count();
        return (length, Some(Token::Number));
    }
    let word: usize = rest
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .map(char::len_utf8)
        .sum();
    if word > 0 {
        let text = rest.get(..word).unwrap_or_default();
        let is_keyword = if language.any_case {
            language
                .keywords
                .iter()
                .any(|keyword| keyword.eq_ignore_ascii_case(text))
        } else {
            language.keywords.contains(&text)
        };
        return (word, is_keyword.then_some(Token::Keyword));
    }
    (rest.chars().next().map_or(1, char::len_utf8), None)
}

/// Length of a text in quotes; one that is not closed ends with its line, a triple one with the code.
fn quoted(rest: &str, quote: u8) -> usize {
    let bytes = rest.as_bytes();
    let triple = [quote; 3];
    if quote != b'`' && bytes.starts_with(&triple) {
        let end = bytes
            .windows(3)
            .skip(3)
            .position(|window| window == triple)
            .map(|at| at + 6);
        return end.unwrap_or(rest.len());
    }
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'\n' if quote != b'`' => return at,
            _ if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(name: &str, code: &str) -> Vec<(String, Token)> {
        tokens(name, code)
            .into_iter()
            .map(|(range, token)| (code[range].to_owned(), token))
            .collect()
    }

    #[test]
    fn common_languages_are_coloured() {
        let got = shown("rust", "let a = \"x\\\"y\"; // no \"text\"\n7_u8 'a");
        let want = [
            ("let", Token::Keyword),
            ("\"x\\\"y\"", Token::Text),
            ("// no \"text\"", Token::Remark),
            ("7_u8", Token::Number),
        ];
        assert_eq!(got, want.map(|(text, token)| (text.to_owned(), token)));
        assert_eq!(shown("py", "'''a\nb''' # c")[0].0, "'''a\nb'''");
        assert_eq!(shown("SQL", "SELECT x")[0].1, Token::Keyword);
        assert!(shown("brainfuck", "let + 1").is_empty());
    }

    proptest! {
        #[test]
        fn tokens_are_in_order_and_within(code in "[a-z0-9\"'`/*#\\\\ \né-]{0,80}") {
            for name in ["rust", "js", "py", "sql", "lua", "html", "json"] {
                let mut end = 0;
                for (range, _) in tokens(name, &code) {
                    prop_assert!(range.start >= end && range.end <= code.len() && range.start < range.end);
                    prop_assert!(code.get(range.clone()).is_some());
                    end = range.end;
                }
            }
        }
    }
}
