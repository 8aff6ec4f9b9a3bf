//! Conversations in other forms: messages as OpenAI's API has them are read; Markdown for people is written.

use serde_json::Value;

use super::file::{Bundle, Plain};
use crate::library::records::{Conversation, Message, Role, now};
use crate::library::time;
use crate::studio::chat::talk::settings_of;
use crate::studio::chat::{thoughts, tree};

/// Reads `[{"role": …, "content": …}]`, or an object that has such a list under `messages`.
///
/// # Errors
/// What is wrong with it, in a person's words.
pub fn read_messages(text: &str) -> Result<Bundle, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| super::file::fault(&error))?;
    let list = value
        .as_array()
        .or_else(|| value.get("messages").and_then(Value::as_array))
        .ok_or("it holds neither conversations of Diptych nor a list of messages")?;
    let mut system: Vec<String> = Vec::new();
    let mut turns: Vec<(Role, String)> = Vec::new();
    for (number, message) in (1..).zip(list) {
        let wrong = |what: &str| format!("message {number} of the list {what}");
        let role = message
            .get("role")
            .and_then(Value::as_str)
            .ok_or_else(|| wrong("has no role"))?;
        let words = match message.get("content") {
            Some(Value::String(words)) => words.clone(),
            Some(Value::Array(parts)) => {
                let mut words = Vec::new();
                for part in parts {
                    match part.get("text").and_then(Value::as_str) {
                        Some(text) => words.push(text.to_owned()),
                        None => return Err(wrong("has something else than text")),
                    }
                }
                words.join("\n")
            }
            _ => return Err(wrong("has no text")),
        };
        match role {
            "system" | "developer" => system.push(words),
            "user" => turns.push((Role::User, words)),
            "assistant" => turns.push((Role::Assistant, words)),
            other => {
                return Err(wrong(&format!(
                    "is of a '{other}'; only system, user and assistant can be read"
                )));
            }
        }
    }
    if turns.is_empty() {
        return Err("there is no message in it".to_owned());
    }
    let named = value.get("title").and_then(Value::as_str);
    let title = match named {
        Some(title) if !title.trim().is_empty() => title.trim().to_owned(),
        _ => tree::title(turns.first().map_or("", |(_, words)| words)),
    };
    let plain = Plain::of_turns(title, system.join("\n\n"), turns, &settings_of(None), now());
    Ok(Bundle::of_plain(vec![plain]))
}

/// The branch that is shown, for people to read.
pub fn markdown(conversation: &Conversation, branch: &[&Message]) -> String {
    let mut page = format!("# {}\n", conversation.title.replace('\n', " "));
    page.push_str(&format!(
        "\n*{}*\n",
        time::minute_here(conversation.created)
    ));
    if !conversation.system.trim().is_empty() {
        page.push_str("\n## System prompt\n\n");
        page.push_str(conversation.system.trim());
        page.push('\n');
    }
    for message in branch {
        let who = match message.role {
            Role::User => "You",
            Role::Assistant => message
                .info
                .as_ref()
                .and_then(|info| info.model.as_ref())
                .map_or("Answer", |model| model.name.as_str()),
        };
        page.push_str(&format!("\n## {who}\n\n"));
        let content = tree::content(message);
        let parts = match message.role {
            Role::Assistant => thoughts::parts(&content, false),
            Role::User => thoughts::whole(&content),
        };
        if let Some(thought) = parts.thought {
            page.push_str(&folded(thought));
        }
        if !parts.answer.trim().is_empty() {
            page.push_str(parts.answer.trim());
            page.push('\n');
        }
    }
    page
}

/// What was thought before an answer: folded where HTML in Markdown is understood, and set off as a quotation everywhere.
fn folded(thought: &str) -> String {
    let mut text = "<details>\n<summary>Thoughts</summary>\n\n".to_owned();
    for line in thought.trim().lines() {
        let line = line.trim_end();
        text.push_str(if line.is_empty() { ">" } else { "> " });
        // A mark of the fold within it would end the fold.
        text.push_str(&line.replace("</details", "&lt;/details"));
        text.push('\n');
    }
    text.push_str("\n</details>\n\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studio::chat::tree::Tree;
    use proptest::prelude::*;

    fn words(bundle: Bundle) -> Vec<(Role, String)> {
        let held = bundle.conversations.into_iter().next().unwrap().held();
        let tree = Tree::new(held.messages, held.conversation.leaf);
        let branch = tree.branch();
        branch
            .iter()
            .map(|said| (said.role, said.text.clone()))
            .collect()
    }

    #[test]
    fn lists_of_messages_are_read() {
        let text = r#"{"model":"x","messages":[{"role":"system","content":"be kind"},
            {"role":"user","content":[{"type":"text","text":"a fox"},{"type":"text","text":"red"}]},
            {"role":"assistant","content":"here"}]}"#;
        let bundle = read_messages(text).unwrap();
        assert_eq!(bundle.conversations[0].title, "a fox");
        let said = [(Role::User, "a fox\nred"), (Role::Assistant, "here")];
        assert_eq!(
            words(bundle),
            said.map(|(role, text)| (role, text.to_owned()))
        );
        assert_eq!(
            words(read_messages(r#"[{"role":"user","content":"hi"}]"#).unwrap()).len(),
            1
        );
    }

    #[test]
    fn others_are_refused_by_name() {
        for (text, told) in [
            ("{}", "neither"),
            ("[]", "no message"),
            (r#"[{"content":"x"}]"#, "no role"),
            (r#"[{"role":"tool","content":"x"}]"#, "'tool'"),
            (
                r#"[{"role":"user","content":[{"type":"image_url"}]}]"#,
                "else than text",
            ),
            (r#"[{"role":"user","content":null}]"#, "no text"),
            ("[", "damaged"),
        ] {
            let error = read_messages(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn thoughts_are_folded() {
        let text = r#"[{"role":"user","content":"<think>mine</think> hi"},
            {"role":"assistant","content":"<think>\nhm,\n\na </details> fox\n</think>\n\nA fox."},
            {"role":"user","content":"go"},
            {"role":"assistant","content":"<think>cut off"}]"#;
        let held = read_messages(text).unwrap().conversations.remove(0).held();
        let tree = Tree::new(held.messages.clone(), held.conversation.leaf);
        let page = markdown(&held.conversation, &tree.branch());
        let wanted = "## Answer\n\n<details>\n<summary>Thoughts</summary>\n\n> hm,\n>\n> a &lt;/details> fox\n\n</details>\n\nA fox.\n";
        assert!(page.contains(wanted), "{page}");
        assert!(
            page.contains("## You\n\n<think>mine</think> hi\n"),
            "{page}"
        );
        assert!(page.contains("> cut off\n\n</details>"), "{page}");
        // In the title and in what the person said.
        assert_eq!(page.matches("<think>").count(), 2, "{page}");
        // The file with everything gives the very words back, marks and all.
        let ours = Bundle::of(std::slice::from_ref(&held)).write().unwrap();
        let again = Bundle::read(std::str::from_utf8(&ours).unwrap()).unwrap();
        let said = |held: &super::super::file::Held| {
            let tree = Tree::new(held.messages.clone(), held.conversation.leaf);
            let branch = tree.branch();
            branch.iter().map(|m| m.text.clone()).collect::<Vec<_>>()
        };
        let again = again.conversations.into_iter().next().unwrap().held();
        assert_eq!(said(&again), said(&held));
    }

    /// Values that a list of messages may be made of, sound and unsound.
    fn odd() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~\n\u{e9}\u{1f98a}]{0,12}".prop_map(Value::from),
            prop::sample::select(vec![
                "user",
                "assistant",
                "system",
                "tool",
                "<think>a",
                "</think>",
                "text"
            ])
            .prop_map(Value::from),
        ];
        let named =
            prop::sample::select(vec!["role", "content", "messages", "text", "type", "title"]);
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((named.clone(), inner), 0..4).prop_map(|fields| {
                    let fields = fields
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value));
                    Value::Object(fields.collect())
                }),
            ]
        })
    }

    /// A message that may be sound.
    fn message() -> impl Strategy<Value = Value> {
        let role = prop_oneof![
            6 => prop::sample::select(vec!["user", "assistant", "system"]).prop_map(Value::from),
            1 => odd(),
        ];
        let content = prop_oneof![4 => "[ -~\n]{0,20}".prop_map(Value::from), 1 => odd()];
        (role, content)
            .prop_map(|(role, content)| serde_json::json!({"role": role, "content": content}))
    }

    proptest! {
        /// Whatever a file holds: it is refused in words, or becomes a conversation that goes out and comes back.
        #[test]
        fn any_list_is_read_or_refused(list in prop::collection::vec(message(), 0..6), other in odd(), wrapped in any::<bool>()) {
            for value in [Value::from(list), other] {
                let value = if wrapped { serde_json::json!({"messages": value, "title": "x"}) } else { value };
                match read_messages(&value.to_string()) {
                    Err(told) => prop_assert!(!told.is_empty()),
                    Ok(bundle) => {
                        let again = String::from_utf8(bundle.write().unwrap()).unwrap();
                        prop_assert_eq!(Bundle::read(&again).unwrap(), bundle.clone());
                        let said = words(bundle.clone());
                        prop_assert!(!said.is_empty());
                        let held = bundle.conversations.into_iter().next().unwrap().held();
                        let tree = Tree::new(held.messages, held.conversation.leaf);
                        let page = markdown(&held.conversation, &tree.branch());
                        prop_assert_eq!(page.matches("\n</details>\n").count(), page.matches("<summary>Thoughts</summary>").count());
                    }
                }
            }
        }

        #[test]
        fn text_that_is_no_list_is_refused(text in "\\PC{0,60}") {
            let _ = read_messages(&text);
            let _ = Bundle::is_ours(&text);
        }
    }

    #[test]
    fn markdown_is_for_people() {
        let bundle = read_messages(
            r#"[{"role":"system","content":"be kind"},{"role":"user","content":"hi"},{"role":"assistant","content":"**hello**"}]"#,
        );
        let held = bundle.unwrap().conversations.remove(0).held();
        let tree = Tree::new(held.messages, held.conversation.leaf);
        let page = markdown(&held.conversation, &tree.branch());
        assert!(page.starts_with("# hi\n\n*2"), "{page}");
        assert!(
            page.contains(
                "\n## System prompt\n\nbe kind\n\n## You\n\nhi\n\n## Answer\n\n**hello**\n"
            )
        );
    }
}
