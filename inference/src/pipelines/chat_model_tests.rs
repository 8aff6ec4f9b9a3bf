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
