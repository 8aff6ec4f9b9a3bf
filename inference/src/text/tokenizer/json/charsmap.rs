//! SentencePiece's compiled normalization rules (Kudo and Richardson 2018): a double-array trie (Yata's darts-clone) from byte sequences to
//! replacements, which lie one after the other, each ended by a zero.

use unicode_segmentation::UnicodeSegmentation as _;

/// Longest rules that are read; real ones have 0.3 MB.
const MAX_BYTES: usize = 16 << 20;
/// Longest cluster that is looked up whole.
const MAX_GRAPHEME: usize = 6;

/// The rules.
pub(crate) struct Charsmap {
    units: Vec<u32>,
    replacements: String,
}

impl std::fmt::Debug for Charsmap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Charsmap({} units)", self.units.len())
    }
}

impl Charsmap {
    /// Reads the rules: bytes of the trie (u32), the trie, the replacements.
    pub(crate) fn new(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MAX_BYTES {
            return Err(format!("is longer than {MAX_BYTES} bytes"));
        }
        let damaged = || "is cut short".to_owned();
        let (size, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let size = u32::from_le_bytes(*size) as usize;
        let (trie, replacements) = rest.split_at_checked(size).ok_or_else(damaged)?;
        let (units, odd) = trie.as_chunks::<4>();
        if !odd.is_empty() || units.is_empty() {
            return Err("has a trie that is not whole".to_owned());
        }
        Ok(Self {
            units: units.iter().map(|unit| u32::from_le_bytes(*unit)).collect(),
            replacements: std::str::from_utf8(replacements)
                .map_err(|_| "has replacements that are not UTF-8".to_owned())?
                .to_owned(),
        })
    }

    pub(super) fn from_base64(text: &str) -> Result<Self, String> {
        Self::new(&base64(text).ok_or("is not base64")?)
    }

    /// Prefixes of `key` that have a rule: their lengths and the places of their replacements, shortest first.
    fn prefixes(&self, key: &[u8], mut found: impl FnMut(usize, usize)) {
        let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
        let unit = |at: usize| self.units.get(at).copied();
        let Some(root) = unit(0) else { return };
        let mut node = offset(root);
        for (at, &byte) in key.iter().enumerate() {
            if byte == 0 {
                return;
            }
            node ^= usize::from(byte);
            let Some(current) = unit(node) else { return };
            if current & ((1 << 31) | 0xFF) != u32::from(byte) {
                return;
            }
            node ^= offset(current);
            if (current >> 8) & 1 == 1
                && let Some(leaf) = unit(node)
            {
                found(at + 1, (leaf & 0x7FFF_FFFF) as usize);
            }
        }
    }

    fn replacement(&self, at: usize) -> Option<&str> {
        let rest = self.replacements.get(at..)?;
        rest.split('\0').next()
    }

    /// The rule for the shortest prefix of `part`, as `tokenizers` applies it to all of the part.
    fn transform(&self, part: &str) -> Option<&str> {
        let mut first = None;
        self.prefixes(part.as_bytes(), |_, at| {
            first.get_or_insert(at);
        });
        self.replacement(first?)
    }

    /// `tokenizers`' way: cluster by cluster, and where a cluster has no rule character by character.
    pub(super) fn by_grapheme(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for grapheme in text.graphemes(true) {
            if grapheme.len() < MAX_GRAPHEME
                && let Some(replacement) = self.transform(grapheme)
            {
                out.push_str(replacement);
                continue;
            }
            for (at, c) in grapheme.char_indices() {
                match self.transform(&grapheme[at..at + c.len_utf8()]) {
                    Some(replacement) => out.push_str(replacement),
                    None => out.push(c),
                }
            }
        }
        out
    }

    /// SentencePiece's own way: the longest prefix that has a rule. Gives its length and its replacement.
    pub(crate) fn longest(&self, text: &str) -> Option<(usize, &str)> {
        let mut last = None;
        // No rule is longer than some dozens of bytes; a lying trie must not make this quadratic.
        let key = &text.as_bytes()[..text.len().min(256)];
        self.prefixes(key, |length, at| last = Some((length, at)));
        let (length, at) = last?;
        if !text.is_char_boundary(length) {
            return None;
        }
        Some((length, self.replacement(at)?))
    }
}

pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut buffer, mut bits) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        buffer = buffer << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits) as u8);
            buffer &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read() {
        assert_eq!(base64("aGVsbG8=").unwrap(), b"hello");
        assert_eq!(base64("aGk=").unwrap(), b"hi");
        assert_eq!(base64("").unwrap(), b"");
        assert!(base64("a?").is_none());
    }

    #[test]
    fn lying_rules_are_refused_or_harmless() {
        assert!(Charsmap::new(&[]).is_err());
        assert!(Charsmap::new(&[255, 255, 255, 255, 0]).is_err());
        assert!(Charsmap::new(&[0, 0, 0, 0]).is_err());
        let mut bytes = vec![8, 0, 0, 0];
        bytes.extend([0xFF; 8]);
        bytes.extend(b"abc");
        let map = Charsmap::new(&bytes).unwrap();
        assert_eq!(map.by_grapheme("héllo 🦊"), "héllo 🦊");
        assert_eq!(map.longest("abc"), None);
    }
}
