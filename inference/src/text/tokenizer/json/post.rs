//! Post-processors: the tokens around a text.

use serde_json::Value;

use super::step::{Result, Settings};

/// Most tokens on one side.
const MAX_TOKENS: usize = 64;

/// Tokens before and after a text.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Around {
    pub prefix: Vec<u32>,
    pub suffix: Vec<u32>,
}

impl Around {
    pub(super) fn read(value: &Value) -> Result<Self> {
        let mut around = Self::default();
        around.add(value)?;
        Ok(around)
    }

    fn add(&mut self, value: &Value) -> Result<()> {
        let Some(s) = Settings::of("post-processor", value)? else {
            return Ok(());
        };
        match s.kind {
            // Only offsets are its matter.
            "ByteLevel" => Ok(()),
            "Sequence" => s.list("processors")?.iter().try_for_each(|v| self.add(v)),
            "TemplateProcessing" => self.template(&s),
            "BertProcessing" | "RobertaProcessing" => {
                self.prefix.insert(0, pair(&s, "cls")?);
                self.suffix.push(pair(&s, "sep")?);
                Ok(())
            }
            _ => s.unknown(),
        }
    }

    fn template(&mut self, s: &Settings<'_>) -> Result<()> {
        let fault = || s.fault("single", "holds what is not known here");
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let mut seen = false;
        for part in s.list("single")? {
            let part = part.as_object().and_then(|part| part.iter().next());
            let (kind, what) = part.ok_or_else(fault)?;
            let id = what.get("id").and_then(Value::as_str).ok_or_else(fault)?;
            match (kind.as_str(), id) {
                ("Sequence", "A") if !seen => seen = true,
                ("SpecialToken", name) => {
                    let ids = s
                        .get("special_tokens")
                        .and_then(|tokens| tokens.get(name)?.get("ids")?.as_array())
                        .ok_or_else(|| {
                            s.fault("special_tokens", "lacks a token of the template")
                        })?;
                    for id in ids {
                        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
                        let id =
                            id.ok_or_else(|| s.fault("special_tokens", "holds what is no id"))?;
                        if seen { &mut after } else { &mut before }.push(id);
                    }
                }
                _ => return Err(fault()),
            }
        }
        if !seen {
            return Err(s.fault("single", "has no place for the text"));
        }
        before.append(&mut self.prefix);
        self.prefix = before;
        self.suffix.append(&mut after);
        if self.prefix.len().max(self.suffix.len()) > MAX_TOKENS {
            return Err(s.fault("single", "is longer than any real one"));
        }
        Ok(())
    }
}

/// `["[SEP]", 102]`.
fn pair(s: &Settings<'_>, key: &str) -> Result<u32> {
    let id = s.get(key).and_then(|pair| pair.get(1)?.as_u64());
    id.and_then(|id| u32::try_from(id).ok())
        .ok_or_else(|| s.fault(key, "is not a token with its id"))
}
