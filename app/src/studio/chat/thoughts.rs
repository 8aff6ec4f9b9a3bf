//! What a model thinks before it answers: models that were trained to do so write it between marks.

/// Marks before and after thoughts: of Qwen3, DeepSeek, SmolLM3 and Phi-4, of others, and of Mistral's.
const MARKS: [(&str, &str); 3] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
];

/// An answer, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// What was thought; `None` if nothing was.
    pub thought: Option<&'a str>,
    /// Whether the thought has no end yet.
    pub open: bool,
    /// What was answered.
    pub answer: &'a str,
    /// The byte at which that begins.
    pub begin: usize,
}

/// A text in which nothing is a thought.
pub fn whole(text: &str) -> Parts<'_> {
    Parts {
        thought: None,
        open: false,
        answer: text,
        begin: 0,
    }
}

/// Takes an answer apart. Only what stands at its beginning is a thought; some templates write the first mark themselves, so that the answer has only the
/// second one. Of an answer that is being written, what may become a mark is no text yet.
pub fn parts(text: &str, writing: bool) -> Parts<'_> {
    let bare = text.trim_start();
    let whole = whole(text);
    let behind = |thought: &'_ str, from: usize| {
        let answer = text.get(from..).unwrap_or_default();
        let begin = text.len() - answer.trim_start().len();
        (thought.trim().len(), begin)
    };
    for (first, last) in MARKS {
        if let Some(body) = bare.strip_prefix(first) {
            let from = text.len() - body.len();
            let Some(at) = body.find(last) else {
                return Parts {
                    thought: Some(body.trim()).filter(|thought| !thought.is_empty() || writing),
                    open: true,
                    answer: "",
                    begin: text.len(),
                };
            };
            let thought = body.get(..at).unwrap_or_default();
            let (length, begin) = behind(thought, from + at + last.len());
            return Parts {
                thought: (length > 0).then_some(thought.trim()),
                open: false,
                answer: text.get(begin..).unwrap_or_default(),
                begin,
            };
        }
        if writing && !bare.is_empty() && first.starts_with(bare) {
            return Parts {
                answer: "",
                begin: text.len(),
                ..whole
            };
        }
    }
    for (first, last) in MARKS {
        if let Some((thought, _)) = text.split_once(last)
            && !thought.contains(first)
            && !thought.contains('`')
        {
            let (length, begin) = behind(thought, thought.len() + last.len());
            return Parts {
                thought: (length > 0).then_some(thought.trim()),
                open: false,
                answer: text.get(begin..).unwrap_or_default(),
                begin,
            };
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (Option<&str>, &str) {
        let parts = parts(text, false);
        assert_eq!(&text[parts.begin..], parts.answer);
        (parts.thought, parts.answer)
    }

    #[test]
    fn thoughts_are_told_from_answers() {
        assert_eq!(
            of("<think>\nhm, a fox\n</think>\n\nA fox."),
            (Some("hm, a fox"), "A fox.")
        );
        assert_eq!(of("  <thinking>a</thinking>b"), (Some("a"), "b"));
        assert_eq!(of("[THINK]a[/THINK]b"), (Some("a"), "b"));
        // The template wrote the first mark.
        assert_eq!(of("hm\n</think>\nA fox."), (Some("hm"), "A fox."));
        // Nothing was thought.
        assert_eq!(of("<think>\n\n</think>\n\nA fox."), (None, "A fox."));
        assert_eq!(of("A fox."), (None, "A fox."));
        assert_eq!(of(""), (None, ""));
        // Cut off while thinking.
        assert_eq!(of("<think>hm"), (Some("hm"), ""));
        // What is told of marks is no thought.
        let told = "Models write `<think>` and `</think>`.";
        assert_eq!(of(told), (None, told));
        let late = "A fox. <think>hm</think> Or two.";
        assert_eq!(of(late), (None, late));
    }

    #[test]
    fn a_mark_that_is_being_written_is_no_text() {
        for length in 1.."<think>".len() {
            let begun = parts(&"<think>"[..length], true);
            assert_eq!((begun.thought, begun.answer), (None, ""), "{length}");
        }
        let thinking = parts("<think>", true);
        assert!(thinking.open && thinking.thought == Some(""));
        assert_eq!(parts("<b>", true).answer, "<b>");
        assert_eq!(parts("<", false).answer, "<");
    }
}
