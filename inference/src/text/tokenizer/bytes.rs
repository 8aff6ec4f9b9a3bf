//! GPT-2's printable alphabet for bytes.
//!
//! Byte-level BPE writes each byte as one printable character, so that vocabularies are plain text: printable Latin-1 stands for itself,
//! the other 68 bytes become U+0100, U+0101, ... in order (Radford et al. 2019, `bytes_to_unicode` of the reference encoder).

/// Whether a byte is written as the Latin-1 character of the same number.
const fn stands_for_itself(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

const fn tables() -> ([char; 256], [u8; 0x44]) {
    let mut to_char = ['\0'; 256];
    let mut to_byte = [0u8; 0x44];
    let mut next = 0usize;
    let mut byte = 0usize;
    while byte < 256 {
        if stands_for_itself(byte as u8) {
            to_char[byte] = byte as u8 as char;
        } else {
            // 188 bytes stand for themselves, so `next` stays below 0x44 and the character below U+0144.
            to_char[byte] = match char::from_u32(0x100 + next as u32) {
                Some(c) => c,
                None => '\0',
            };
            to_byte[next] = byte as u8;
            next += 1;
        }
        byte += 1;
    }
    (to_char, to_byte)
}

static TABLES: ([char; 256], [u8; 0x44]) = tables();

/// The printable character that stands for `byte`.
pub(crate) fn byte_to_char(byte: u8) -> char {
    TABLES.0[byte as usize]
}

/// The byte that `c` stands for, if it is one of the 256 characters.
pub(crate) fn char_to_byte(c: char) -> Option<u8> {
    let code = c as u32;
    if let Ok(byte) = u8::try_from(code) {
        return stands_for_itself(byte).then_some(byte);
    }
    TABLES.1.get((code - 0x100) as usize).copied()
}

/// The bytes that a token of a byte-level vocabulary stands for. Characters outside the alphabet (tokens added by hand) stand for
/// their own UTF-8.
pub(crate) fn decode_token(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match char_to_byte(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character_and_comes_back() {
        let mut seen = std::collections::HashSet::new();
        for byte in 0..=255u8 {
            let c = byte_to_char(byte);
            assert!(seen.insert(c), "byte {byte} shares a character");
            assert_eq!(char_to_byte(c), Some(byte));
        }
        assert_eq!(byte_to_char(b' '), 'Ġ');
        assert_eq!(byte_to_char(b'\n'), 'Ċ');
        assert_eq!(byte_to_char(0xAD), 'Ń');
        assert_eq!(char_to_byte(' '), None);
        assert_eq!(char_to_byte('\u{144}'), None);
    }
}
