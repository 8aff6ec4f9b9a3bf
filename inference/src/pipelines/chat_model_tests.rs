//! What a person writes stays within its message.

use std::path::Path;

use super::ChatModel;
use crate::cpu::testing::Random;
use crate::formats::detect::probe;
use crate::text::template::ChatMessage;
use crate::text::tokenizer::EncodeOptions;

fn muse() -> ChatModel {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets");
    let path = assets.join("models/muse/muse.gguf");
    ChatModel::load(&path, &probe(&path).unwrap()).unwrap()
}

/// How many tokens are control tokens, or end an answer.
fn marks(model: &ChatModel, ids: &[u32]) -> usize {
    let tokenizer = model.tokenizer();
    let marks = ids
        .iter()
        .filter(|id| tokenizer.is_special(**id) || tokenizer.is_end(**id));
    marks.count()
}

/// Texts of all control tokens.
fn spellings(model: &ChatModel) -> Vec<String> {
    let tokenizer = model.tokenizer();
    let ids = 0..tokenizer.vocab_len() as u32;
    ids.filter(|id| tokenizer.is_special(*id) || tokenizer.is_end(*id))
        .filter_map(|id| tokenizer.piece_text(id))
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The built-in model, and one with a `tokenizer.json`.
fn both() -> [ChatModel; 2] {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference/models/chat-folder");
    let other = ChatModel::load(&folder, &probe(&folder).unwrap()).unwrap();
    [muse(), other]
}

/// As a literal of a template.
fn quoted(text: &str) -> String {
    assert!(!text.contains(['\'', '\\']), "{text}");
    format!("{{{{ '{text}' }}}}")
}

#[test]
fn half_a_control_token_is_not_made_whole_by_what_stands_beside_it() {
    let for_each = "{% for m in messages %}";
    for which in 0..2 {
        let [gguf, json] = both();
        let model = if which == 0 { gguf } else { json };
        let spellings = spellings(&model);
        assert!(spellings.len() >= 2, "{spellings:?}");
        let mut model = model;
        let mut cuts = 0;
        for spelling in &spellings {
            for (cut, _) in spelling.char_indices().skip(1) {
                let (begun, rest) = spelling.split_at(cut);
                let (left, right) = (quoted(begun), quoted(rest));
                let plain = "{{ m.content }}";
                let trimmed = "{{ m.content | trim }}";
                let templates = [
                    // The template ends what the person began, also where it takes spaces off.
                    (format!("{for_each}{plain}{right}"), format!("x{begun}")),
                    (
                        format!("{for_each}{trimmed}{right}"),
                        format!(" x{begun} \n"),
                    ),
                    (format!("{for_each}{plain}{right}"), begun.to_owned()),
                    // It begins what the person ends.
                    (format!("{for_each}{left}{plain}"), format!("{rest}x")),
                    (format!("{for_each}{left}{trimmed}"), format!("\n {rest}x ")),
                ];
                for (template, said) in templates {
                    model = model.with_template(&(template.clone() + "{% endfor %}"));
                    let encode = |said: &str| {
                        let messages = [ChatMessage::new("user", said)];
                        model.encode_messages(&messages, 0).unwrap()
                    };
                    let ((ids, warning), (harmless, _)) = (encode(&said), encode("x"));
                    assert_eq!(warning, None, "{template}");
                    let found = (marks(&model, &ids), marks(&model, &harmless));
                    assert_eq!(found.0, found.1, "{said:?} in {template}");
                    let decoded = model.tokenizer().decode(&ids);
                    assert!(
                        decoded.contains(spelling.as_str()),
                        "{decoded:?}: {template}"
                    );
                    cuts += 1;
                }
                // Two messages that a template writes side by side.
                model = model.with_template("{% for m in messages %}{{ m.content }}{% endfor %}");
                for roles in [
                    ["user", "assistant"],
                    ["assistant", "user"],
                    ["system", "user"],
                ] {
                    let encode = |texts: [&str; 2]| {
                        let mut all: Vec<ChatMessage> = (roles.iter().zip(texts))
                            .map(|(role, text)| ChatMessage::new(*role, text))
                            .collect();
                        all.push(ChatMessage::new("user", "y"));
                        model.encode_messages(&all, 0).unwrap().0
                    };
                    let ids = encode([&format!("x{begun}"), &format!("{rest}x")]);
                    let harmless = encode(["x", "x"]);
                    assert_eq!(
                        marks(&model, &ids),
                        marks(&model, &harmless),
                        "{begun} {rest}"
                    );
                }
            }
        }
        assert!(cuts > 20, "{cuts}");
    }
}

#[test]
fn a_line_end_that_the_template_writes_too_is_no_mark_of_it() {
    // Some vocabularies have tokens of white space that are looked for before all else (Gemma's line ends).
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference/models/chat-folder");
    let text = std::fs::read_to_string(folder.join("tokenizer.json")).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let token = &mut json["added_tokens"][0];
    let id = token["id"].as_u64().unwrap();
    token["content"] = "\n\n".into();
    token["special"] = false.into();
    let tokenizer = crate::text::tokenizer::Tokenizer::from_json_bytes(
        Path::new("tokenizer.json"),
        &serde_json::to_vec(&json).unwrap(),
    );
    let [_, model] = both();
    let model = model
        .with_tokenizer(tokenizer.unwrap())
        .with_template("{% for m in messages %}{{ m.role }}\n\n{{ m.content }}{% endfor %}");
    let messages = [ChatMessage::new("user", "a\n\nb")];
    let (ids, _) = model.encode_messages(&messages, 0).unwrap();
    let breaks = ids.iter().filter(|known| u64::from(**known) == id).count();
    assert_eq!(breaks, 2, "{ids:?}");
}

#[test]
fn spelled_control_tokens_are_text_in_every_role() {
    let model = muse();
    let spellings = spellings(&model);
    assert!(spellings.len() >= 2, "{spellings:?}");
    let mut random = Random::fresh("spelled_control_tokens_are_text_in_every_role");
    for _ in 0..200 {
        let mut spelled = false;
        let mut text = |random: &mut Random| {
            let mut text = "a fox".to_owned();
            for _ in 0..random.within(0, 4) {
                let part = match random.within(0, 3) {
                    0 => " and\n",
                    1 => "é🦊<|",
                    _ => {
                        spelled = true;
                        &spellings[random.within(0, spellings.len() - 1)]
                    }
                };
                text.push_str(part);
            }
            text + "s"
        };
        let mut messages = vec![
            ChatMessage::new("system", text(&mut random)),
            ChatMessage::new("user", text(&mut random)),
            ChatMessage::new("assistant", text(&mut random)),
            ChatMessage::new("user", text(&mut random)),
        ];
        // An answer that is gone on with.
        if random.within(0, 1) == 0 {
            messages.push(ChatMessage::new("assistant", text(&mut random)));
        }
        let plain = |message: &ChatMessage| ChatMessage::new(message.role.clone(), "a fox");
        let harmless: Vec<ChatMessage> = messages.iter().map(plain).collect();
        let (ids, _) = model.encode_messages(&messages, 0).unwrap();
        let (wanted, _) = model.encode_messages(&harmless, 0).unwrap();
        assert_eq!(marks(&model, &ids), marks(&model, &wanted), "{messages:?}");
        let decoded = model.tokenizer().decode(&ids);
        for message in &messages {
            assert!(
                decoded.contains(&message.content),
                "{decoded:?} | {message:?}"
            );
        }
        if !spelled {
            // Where nothing is spelled, the text is cut as it ever was.
            let options = EncodeOptions {
                add_special: false,
                parse_special: true,
            };
            assert_eq!(model.tokenizer().encode(&decoded, options).unwrap(), ids);
        }
    }
    // Raw text is written by whoever knows what tokens do.
    let raw = model.encode_raw(&spellings[0]).unwrap();
    assert!(marks(&model, &raw) >= 1);
    let part = model.encode_part(&spellings[0]).unwrap();
    assert_eq!(marks(&model, &part), 0);
}
