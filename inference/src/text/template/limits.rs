//! What a chat template may use: a budget of work and memory, and values that are small and shallow.
//!
//! The template engine counts instructions ("fuel"), but one instruction can double a string, so a few dozen of them would fill any memory.
//! Every value that a template makes is therefore measured, and what it costs to make and to read it is taken from one budget.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

/// Values nested deeper than this are refused: reading, comparing and freeing them would eat the stack.
const MAX_DEPTH: usize = 48;
/// What a look at one value costs: about as long as copying that many bytes.
const VISIT: usize = 32;
/// What an element of a new list or map costs beside its value.
const ELEMENT: usize = 64;

/// The budget of one rendering.
#[derive(Debug)]
pub(super) struct Budget {
    /// Bytes and their like that may still be made or read.
    left: AtomicI64,
    /// Bytes that may still be written, captured text included.
    output: AtomicI64,
    /// What `raise_exception` said.
    refusal: Mutex<Option<String>>,
}

fn exceeded(what: &str) -> Error {
    Error::new(
        ErrorKind::InvalidOperation,
        format!("the template needs too much {what}; it is broken or malicious"),
    )
}

impl Budget {
    pub(super) fn new(work: usize, output: usize) -> Self {
        let limit = |n: usize| AtomicI64::new(i64::try_from(n).unwrap_or(i64::MAX));
        Self {
            left: limit(work),
            output: limit(output),
            refusal: Mutex::new(None),
        }
    }

    /// Takes `cost` bytes of work.
    pub(super) fn spend(&self, cost: usize) -> Result<(), Error> {
        let cost = i64::try_from(cost).map_err(|_| exceeded("memory"))?;
        if self.left.fetch_sub(cost, Ordering::Relaxed) < cost {
            // Stays exhausted: a template cannot go on by smaller steps.
            self.left.store(0, Ordering::Relaxed);
            return Err(exceeded("memory"));
        }
        Ok(())
    }

    /// Takes `count` things of `size` bytes each.
    pub(super) fn spend_many(&self, count: usize, size: usize) -> Result<(), Error> {
        self.spend(count.checked_mul(size).ok_or_else(|| exceeded("memory"))?)
    }

    /// Takes bytes of output.
    pub(super) fn write(&self, bytes: usize) -> Result<(), Error> {
        let bytes = i64::try_from(bytes).map_err(|_| exceeded("output"))?;
        if self.output.fetch_sub(bytes, Ordering::Relaxed) < bytes {
            self.output.store(0, Ordering::Relaxed);
            return Err(exceeded("output"));
        }
        Ok(())
    }

    /// Remembers what `raise_exception` said.
    pub(super) fn refuse(&self, message: String) {
        if let Ok(mut refusal) = self.refusal.lock() {
            refusal.get_or_insert(message);
        }
    }

    pub(super) fn refusal(&self) -> Option<String> {
        self.refusal.lock().ok().and_then(|refusal| refusal.clone())
    }

    /// Pays for reading all of a value. After that its written-out size is known to be bounded.
    pub(super) fn read(&self, value: &Value) -> Result<(), Error> {
        self.walk(value, 0, true)
    }

    fn walk(&self, value: &Value, depth: usize, bytes: bool) -> Result<(), Error> {
        self.spend(VISIT)?;
        if depth > MAX_DEPTH {
            return Err(exceeded("nesting"));
        }
        match value.kind() {
            ValueKind::String | ValueKind::Bytes if bytes => {
                self.spend(
                    value
                        .as_str()
                        .map_or_else(|| value.len().unwrap_or(0), str::len),
                )?;
            }
            ValueKind::Seq => {
                for item in value.try_iter()? {
                    self.walk(&item, depth + 1, bytes)?;
                }
            }
            ValueKind::Map => {
                for key in value.try_iter()? {
                    self.walk(&key, depth + 1, bytes)?;
                    self.walk(&value.get_item(&key)?, depth + 1, bytes)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Pays for a value that was just made: its own size, and a look at everything below. What is lazy becomes a list now: lazy values
    /// over lazy values would cost nothing here and everything later.
    pub(super) fn made(&self, value: &Value) -> Result<Value, Error> {
        match value.kind() {
            ValueKind::Iterable => {
                let mut items: Vec<Value> = Vec::new();
                for item in value.try_iter()? {
                    self.spend(ELEMENT)?;
                    self.walk(&item, 1, false)?;
                    items.push(item);
                }
                return Ok(Value::from(items));
            }
            ValueKind::String | ValueKind::Bytes => {
                self.spend(
                    value
                        .as_str()
                        .map_or_else(|| value.len().unwrap_or(0), str::len),
                )?;
            }
            ValueKind::Seq | ValueKind::Map => {
                self.spend_many(value.len().unwrap_or(0), ELEMENT)?;
                self.walk(value, 0, false)?;
            }
            _ => {}
        }
        Ok(value.clone())
    }
}
