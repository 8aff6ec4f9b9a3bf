//! Prompts that are several: `a fox AND a forest :0.7` (Liu et al. 2022, "Compositional visual generation with composable diffusion
//! models"), as AUTOMATIC1111 reads them: split at the word `AND`, each part with a number behind its last colon that tells how much it counts.

/// The parts of a prompt, and how much each counts; a prompt without `AND` is one part.
#[must_use]
pub fn subprompts(prompt: &str) -> Vec<(&str, f32)> {
    const AND: &str = "AND";
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut parts = Vec::new();
    let (mut begin, mut from) = (0, 0);
    while let Some(found) = prompt.get(from..).and_then(|rest| rest.find(AND)) {
        let (at, end) = (from + found, from + found + AND.len());
        from = end;
        let before = prompt.get(..at).and_then(|text| text.chars().next_back());
        let after = prompt.get(end..).and_then(|text| text.chars().next());
        if !before.is_some_and(word) && !after.is_some_and(word) {
            parts.push(weighted(prompt.get(begin..at).unwrap_or("")));
            begin = end;
        }
    }
    parts.push(weighted(prompt.get(begin..).unwrap_or("")));
    parts
}

/// A part without the number at its end.
fn weighted(part: &str) -> (&str, f32) {
    let Some((text, number)) = part.rsplit_once(':') else {
        return (part, 1.0);
    };
    let number = number.trim();
    let digits = number.strip_prefix(['-', '+']).unwrap_or(number);
    // Neither exponents nor names of numbers are weights.
    let plain = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    match number.parse::<f32>() {
        Ok(weight) if plain && weight.is_finite() => (text, weight),
        _ => (part, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_split_as_automatic1111_splits_them() {
        for (prompt, wanted) in [
            ("a fox", vec![("a fox", 1.0)]),
            ("", vec![("", 1.0)]),
            ("a AND b", vec![("a ", 1.0), (" b", 1.0)]),
            (
                "a :1.2 AND b:-0.5 AND c: .5 ",
                vec![("a ", 1.2), (" b", -0.5), (" c", 0.5)],
            ),
            ("sAND, ANDy _AND and", vec![("sAND, ANDy _AND and", 1.0)]),
            (
                "(a:1.2)AND[b:c:0.5]",
                vec![("(a:1.2)", 1.0), ("[b:c:0.5]", 1.0)],
            ),
            (
                "a:b AND b:1e3 AND c:inf",
                vec![("a:b ", 1.0), (" b:1e3 ", 1.0), (" c:inf", 1.0)],
            ),
            ("a:1. AND :2 AND", vec![("a", 1.0), (" ", 2.0), ("", 1.0)]),
            ("é AND ü:0.3", vec![("é ", 1.0), (" ü", 0.3)]),
            ("AND", vec![("", 1.0), ("", 1.0)]),
        ] {
            assert_eq!(subprompts(prompt), wanted, "{prompt}");
        }
    }
}
