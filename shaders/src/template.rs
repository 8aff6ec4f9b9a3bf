//! Joins a kernel's text from its pieces.
//!
//! Directives are comment lines, so that a `.wgsl` file with them is still highlighted as WGSL:
//! `//#include NAME` (a file of `wgsl/shared`), `//#weight` (the reader of the weight format), `//#if IDS` .. `//#else` ..
//! `//#endif`, and `//#repeat VAR COUNT` .. `//#end`, which repeats the lines between with `{VAR}` replaced by 0, 1, ..;
//! COUNT is a number, a parameter's name, or `xyzw` for vector components. Unrolled text rather than loops, because
//! sums in indexed arrays end up in memory on some drivers. Parameters are also declared as `const NAME: u32`.

/// What a template may refer to.
pub(crate) struct Scope<'a> {
    /// Numbers by name.
    pub parameters: &'a [(&'static str, u32)],
    /// Text of the weight reader.
    pub weight: Option<&'static str>,
    /// Texts by name.
    pub includes: &'a [(&'static str, &'static str)],
    /// Texts by name that were made for this one kernel.
    pub made: &'a [(&'static str, String)],
}

/// Expands a template. Unknown names give a line that is no WGSL, which the validation test would find.
pub(crate) fn expand(text: &str, scope: &Scope<'_>) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for (name, value) in scope.parameters {
        out.push_str(&format!("const {name}: u32 = {value}u;\n"));
    }
    let lines: Vec<&str> = text.lines().collect();
    expand_lines(&lines, scope, &mut out);
    out
}

fn expand_lines(lines: &[&str], scope: &Scope<'_>, out: &mut String) {
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let Some(directive) = line.trim_start().strip_prefix("//#") else {
            out.push_str(line);
            out.push('\n');
            at += 1;
            continue;
        };
        let words: Vec<&str> = directive.split_whitespace().collect();
        match words.as_slice() {
            ["include", name] => {
                let made = scope
                    .made
                    .iter()
                    .map(|(known, text)| (known, text.as_str()));
                let kept = scope.includes.iter().map(|(known, text)| (known, *text));
                match kept.chain(made).find(|(known, _)| *known == name) {
                    Some((_, text)) => expand_lines(&text.lines().collect::<Vec<_>>(), scope, out),
                    None => out.push_str(&format!("unknown include {name}\n")),
                }
            }
            ["weight"] => match scope.weight {
                Some(text) => expand_lines(&text.lines().collect::<Vec<_>>(), scope, out),
                None => out.push_str("no weight format given\n"),
            },
            ["repeat", variable, count] => {
                let end = matching(lines, at, "repeat", "end");
                let hole = format!("{{{variable}}}");
                for value in values(count, scope) {
                    let body: Vec<String> = lines[at + 1..end]
                        .iter()
                        .map(|line| line.replace(&hole, &value))
                        .collect();
                    expand_lines(
                        &body.iter().map(String::as_str).collect::<Vec<_>>(),
                        scope,
                        out,
                    );
                }
                at = end;
            }
            ["if", name] => {
                let end = matching(lines, at, "if", "endif");
                let body = &lines[at + 1..end];
                let middle = body
                    .iter()
                    .position(|line| line.trim() == "//#else")
                    .unwrap_or(body.len());
                if scope
                    .parameters
                    .iter()
                    .any(|(known, value)| known == name && *value != 0)
                {
                    expand_lines(&body[..middle], scope, out);
                } else {
                    expand_lines(body.get(middle + 1..).unwrap_or(&[]), scope, out);
                }
                at = end;
            }
            _ => out.push_str(&format!("unknown directive {directive}\n")),
        }
        at += 1;
    }
}

/// Index of the line that closes the block opened at `from` (the last line, if none does).
fn matching(lines: &[&str], from: usize, open: &str, close: &str) -> usize {
    let mut depth = 0usize;
    for (index, line) in lines.iter().enumerate().skip(from) {
        let word = line
            .trim_start()
            .strip_prefix("//#")
            .and_then(|rest| rest.split_whitespace().next());
        if word == Some(open) {
            depth += 1;
        } else if word == Some(close) {
            depth -= 1;
            if depth == 0 {
                return index;
            }
        }
    }
    lines.len().saturating_sub(1)
}

fn values(count: &str, scope: &Scope<'_>) -> Vec<String> {
    if count == "xyzw" {
        return ["x", "y", "z", "w"].map(str::to_owned).to_vec();
    }
    let parameter = scope
        .parameters
        .iter()
        .find(|(name, _)| *name == count)
        .map(|(_, value)| *value);
    let count = parameter.or_else(|| count.parse().ok()).unwrap_or(0);
    (0..count).map(|value| value.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_expanded() {
        let scope = Scope {
            parameters: &[("N", 2), ("ON", 1)],
            weight: Some("w"),
            includes: &[("piece", "//#repeat k N\np{k}\n//#end")],
            made: &[("own", "m".to_owned())],
        };
        let text = "//#include piece\n//#include own\n//#weight\n//#repeat i 2\n//#repeat j N\na{i}{j}\n//#end\n//#end\n//#if ON\nyes\n//#else\nno\n//#endif\n//#if OFF\nyes\n//#endif";
        let out = expand(text, &scope);
        let body: Vec<&str> = out.lines().skip(2).collect();
        assert_eq!(
            body,
            ["p0", "p1", "m", "w", "a00", "a01", "a10", "a11", "yes"]
        );
        assert!(expand("//#include nothing", &scope).contains("unknown include"));
    }
}
