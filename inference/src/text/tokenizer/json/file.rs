//! `tokenizer.json` as it is written, read within bounds: counts are checked while they are read, so that a lying file never fills the memory.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::text::tokenizer::vocab::{MAX_MERGES, MAX_TOKENS};

/// Most values in the description of one step (normalizer, pre-tokenizer, ...); real ones have some dozens.
const MAX_VALUES: usize = 1 << 16;

/// The whole file.
#[derive(Deserialize)]
pub(super) struct File {
    #[serde(default, deserialize_with = "added_tokens")]
    pub added_tokens: Vec<AddedToken>,
    #[serde(default)]
    pub normalizer: Step,
    #[serde(default)]
    pub pre_tokenizer: Step,
    #[serde(default)]
    pub post_processor: Step,
    #[serde(default)]
    pub decoder: Step,
    pub model: RawModel,
}

/// A token that was added to the model's own.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct AddedToken {
    pub id: u32,
    pub content: String,
    #[serde(default)]
    pub single_word: bool,
    #[serde(default)]
    pub lstrip: bool,
    #[serde(default)]
    pub rstrip: bool,
    #[serde(default)]
    pub normalized: bool,
    #[serde(default)]
    pub special: bool,
}

/// The model, with the fields of every kind.
#[derive(Deserialize)]
pub(super) struct RawModel {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub vocab: RawVocab,
    #[serde(default)]
    pub merges: Option<Merges>,
    #[serde(default)]
    pub dropout: Option<f64>,
    #[serde(default)]
    pub unk_token: Option<String>,
    #[serde(default)]
    pub unk_id: Option<u32>,
    #[serde(default)]
    pub continuing_subword_prefix: Option<String>,
    #[serde(default)]
    pub end_of_word_suffix: Option<String>,
    #[serde(default)]
    pub fuse_unk: Option<bool>,
    #[serde(default)]
    pub byte_fallback: Option<bool>,
    #[serde(default)]
    pub ignore_merges: Option<bool>,
    #[serde(default)]
    pub max_input_chars_per_word: Option<u64>,
}

/// Token texts with their ids, or (Unigram) in the order of their ids with their scores.
pub(super) enum RawVocab {
    Ids(Vec<(String, u32)>),
    Scores(Vec<(String, f64)>),
}

/// Pairs, best first. Old files write `left right`, new ones `["left", "right"]`.
pub(super) struct Merges(pub Vec<(String, String)>);

/// The description of one step; [`Value::Null`] where there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Step(pub Value);

impl<'de> Deserialize<'de> for RawVocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VocabVisitor;
        impl<'de> Visitor<'de> for VocabVisitor {
            type Value = RawVocab;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of ids by token, or a list of tokens with their scores")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawVocab, A::Error> {
                let mut tokens = Vec::new();
                while let Some(entry) = map.next_entry::<String, u32>()? {
                    check_count("tokens", tokens.len(), MAX_TOKENS)?;
                    tokens.push(entry);
                }
                Ok(RawVocab::Ids(tokens))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawVocab, A::Error> {
                let mut tokens = Vec::new();
                while let Some(entry) = seq.next_element::<(String, f64)>()? {
                    check_count("tokens", tokens.len(), MAX_TOKENS)?;
                    tokens.push(entry);
                }
                Ok(RawVocab::Scores(tokens))
            }
        }
        deserializer.deserialize_any(VocabVisitor)
    }
}

fn check_count<E: serde::de::Error>(what: &str, count: usize, most: usize) -> Result<(), E> {
    if count < most {
        return Ok(());
    }
    Err(E::custom(format_args!("more than {most} {what}")))
}

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MergesVisitor;
        impl<'de> Visitor<'de> for MergesVisitor {
            type Value = Merges;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of merges")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merges, A::Error> {
                let mut merges = Vec::new();
                while let Some(Pair(left, right)) = seq.next_element()? {
                    check_count("merges", merges.len(), MAX_MERGES)?;
                    merges.push((left, right));
                }
                Ok(Merges(merges))
            }
        }
        deserializer.deserialize_seq(MergesVisitor)
    }
}

struct Pair(String, String);

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairVisitor;
        impl<'de> Visitor<'de> for PairVisitor {
            type Value = Pair;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge: `left right`, or a list of the two")
            }
            fn visit_str<E: serde::de::Error>(self, line: &str) -> Result<Pair, E> {
                match line.split_once(' ') {
                    Some((left, right)) if !right.contains(' ') => {
                        Ok(Pair(left.to_owned(), right.to_owned()))
                    }
                    _ => Err(E::custom(format_args!(
                        "the merge {:?} is not two symbols parted by one space",
                        crate::text::error::excerpt(line)
                    ))),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Pair, A::Error> {
                let mut next = || {
                    seq.next_element::<String>()?
                        .ok_or_else(|| A::Error::custom("a merge has less than two symbols"))
                };
                let pair = Pair(next()?, next()?);
                match seq.next_element::<String>()? {
                    None => Ok(pair),
                    Some(_) => Err(A::Error::custom("a merge has more than two symbols")),
                }
            }
        }
        deserializer.deserialize_any(PairVisitor)
    }
}

fn added_tokens<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<AddedToken>, D::Error> {
    struct TokensVisitor;
    impl<'de> Visitor<'de> for TokensVisitor {
        type Value = Vec<AddedToken>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of added tokens")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut tokens = Vec::new();
            while let Some(token) = seq.next_element()? {
                check_count("added tokens", tokens.len(), MAX_TOKENS)?;
                tokens.push(token);
            }
            Ok(tokens)
        }
    }
    deserializer.deserialize_any(TokensVisitor)
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut left = MAX_VALUES;
        Bounded(&mut left).deserialize(deserializer).map(Step)
    }
}

/// Any JSON value of not more values than are left.
struct Bounded<'a>(&'a mut usize);

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Bounded<'_> {
    fn take<E: serde::de::Error>(&mut self) -> Result<(), E> {
        *self.0 = self
            .0
            .checked_sub(1)
            .ok_or_else(|| E::custom(format_args!("a step has more than {MAX_VALUES} values")))?;
        Ok(())
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a step of a tokenizer")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(Bounded(self.0))? {
            self.take()?;
            list.push(value);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            self.take()?;
            let value = map.next_value_seed(Bounded(self.0))?;
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}
