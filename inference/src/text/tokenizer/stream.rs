//! Bytes to text as they come: a token may end in the middle of a character.

/// Turns pieces of bytes into text, never showing a broken character.
///
/// Invalid bytes become U+FFFD by the rule of [`String::from_utf8_lossy`]; bytes that may still become a character are held back.
#[derive(Debug, Default, Clone)]
pub struct StreamDecoder {
    pending: Vec<u8>,
}

impl StreamDecoder {
    /// A decoder that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes, gives the text that is complete.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.pending.len());
        let mut at = 0;
        loop {
            match std::str::from_utf8(&self.pending[at..]) {
                Ok(rest) => {
                    text.push_str(rest);
                    at = self.pending.len();
                    break;
                }
                Err(error) => {
                    let good = at + error.valid_up_to();
                    if let Ok(part) = std::str::from_utf8(&self.pending[at..good]) {
                        text.push_str(part);
                    }
                    at = good;
                    match error.error_len() {
                        Some(bad) => {
                            text.push(char::REPLACEMENT_CHARACTER);
                            at += bad;
                        }
                        None => break,
                    }
                }
            }
        }
        self.pending.drain(..at);
        text
    }

    /// Ends the text: what is held back can no longer become a character, and is U+FFFD. The decoder is empty afterwards.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn characters_come_whole() {
        let mut decoder = StreamDecoder::new();
        let llama = "🦙".as_bytes();
        assert_eq!(decoder.push(&llama[..1]), "");
        assert_eq!(decoder.push(&llama[1..3]), "");
        assert_eq!(decoder.push(&llama[3..]), "🦙");
        assert_eq!(decoder.push(b"a\xF0\x9F"), "a");
        assert_eq!(decoder.push(b"b"), "\u{FFFD}b");
        assert_eq!(decoder.push(b"\xE2\x82"), "");
        assert_eq!(decoder.finish(), "\u{FFFD}");
        assert_eq!(decoder.finish(), "");
    }

    proptest! {
        #[test]
        fn equals_the_lossy_text_however_it_is_cut(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xE2), Just(0x82), Just(0xF0), Just(0x9F)], 0..80),
            cuts in prop::collection::vec(1usize..5, 0..80),
        ) {
            let mut decoder = StreamDecoder::new();
            let mut text = String::new();
            let mut rest = &bytes[..];
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                text.push_str(&decoder.push(now));
                rest = later;
            }
            text.push_str(&decoder.push(rest));
            text.push_str(&decoder.finish());
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
