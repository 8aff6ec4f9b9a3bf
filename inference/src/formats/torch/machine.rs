//! Python's pickle machine, of which only what weights need is there: it builds numbers, texts, lists, dictionaries and *descriptions*
//! of tensors, and has nothing that could run.
//!
//! Opcodes as in Python's `pickletools.py`. Values live in one list and refer to each other by index, so that neither nesting nor
//! cycles of a hostile file cost more than its length.

use std::sync::Arc;

use super::super::error::brief;

/// Why a pickle was not read.
#[derive(Debug)]
pub enum Fault {
    /// It is damaged or uses what weights never use.
    Damaged(String),
    /// It names something that would run.
    Unsafe(String),
}

type Result<T> = std::result::Result<T, Fault>;

/// Index of a value.
pub type Id = usize;

/// A storage that tensors are views of.
#[derive(Clone, Debug, PartialEq)]
pub struct StorageRef {
    /// torch's class, such as `HalfStorage`.
    pub class: Arc<str>,
    /// Its key: the name of its file in an archive.
    pub key: Arc<str>,
    /// Elements.
    pub elements: usize,
}

/// A value. Texts are shared: few bytes of a file can name one again and again.
#[derive(Clone, Debug)]
pub enum Value {
    /// `None`.
    None,
    /// A truth value.
    Bool,
    /// A whole number; those beyond 64 bits are kept as `Other`.
    Int(i64),
    /// A number.
    Float,
    /// Text.
    Text(Arc<str>),
    /// Bytes, whose content nobody asks for.
    Bytes,
    /// A tuple.
    Tuple(Vec<Id>),
    /// A list or set.
    List(Vec<Id>),
    /// Keys and values in their order.
    Dict(Vec<(Id, Id)>),
    /// A class or function by module and name; never looked up.
    Global(Arc<str>, Arc<str>),
    /// A storage.
    Storage(StorageRef),
    /// A tensor: storage, offset, shape, strides.
    Tensor {
        /// Its storage.
        storage: Id,
        /// First element.
        offset: usize,
        /// Lengths of its axes.
        shape: Vec<usize>,
        /// Elements from one place to the next, for each axis.
        strides: Vec<usize>,
    },
    /// An object of a class that means nothing here.
    Other,
}

/// Modules whose objects training programs leave in checkpoints; they are kept as values that mean nothing.
const HARMLESS: [&str; 14] = [
    "torch",
    "collections",
    "numpy",
    "_codecs",
    "pytorch_lightning",
    "lightning",
    "lightning_fabric",
    "omegaconf",
    "argparse",
    "typing",
    "copyreg",
    "copy_reg",
    "ldm",
    "basicsr",
];
/// Of Python's own functions, those which only make plain values.
const PLAIN: [&str; 16] = [
    "dict",
    "list",
    "set",
    "frozenset",
    "tuple",
    "int",
    "float",
    "bool",
    "str",
    "bytes",
    "bytearray",
    "complex",
    "slice",
    "object",
    "unicode",
    "long",
];
/// Functions of otherwise harmless modules that load, compile or import.
const HARMFUL: [&str; 12] = [
    "load",
    "eval",
    "exec",
    "compile",
    "system",
    "runstring",
    "call",
    "import",
    "open",
    "hub",
    "jit",
    "utils.cpp_extension",
];

/// Longest name of a class or storage.
const LONGEST_NAME: usize = 1024;
/// Memory for what a pickle describes, in bytes: a checkpoint with its optimizer's state takes a few million. Without it a pickle of 256 MiB that says
/// nothing but `None` would take twenty thousand million.
pub const MEMORY_BUDGET: usize = 512 << 20;

/// Reads one pickle from the start of `bytes`; gives the values, the one that it is, and how many bytes it took.
pub fn read(bytes: &[u8]) -> Result<(Vec<Value>, Id, usize)> {
    let mut machine = Machine {
        bytes,
        at: 0,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: std::collections::HashMap::new(),
        budget: MEMORY_BUDGET,
    };
    let root = machine.run()?;
    let at = machine.at;
    Ok((machine.values, root, at))
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack at marks.
    marks: Vec<usize>,
    memo: std::collections::HashMap<u64, Id>,
    /// Memory that may still be taken.
    budget: usize,
}

fn damaged<T>(reason: impl Into<String>) -> Result<T> {
    Err(Fault::Damaged(reason.into()))
}

impl Machine<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let Some(taken) = taken else {
            return damaged("it ends within a value");
        };
        self.at += count;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?.first().copied().unwrap_or(0))
    }

    fn number(&mut self, bytes: usize) -> Result<u64> {
        let taken = self.take(bytes)?;
        Ok(taken.iter().rev().fold(0, |n, b| (n << 8) | u64::from(*b)))
    }

    fn length(&mut self, bytes: usize) -> Result<usize> {
        let length = self.number(bytes)?;
        usize::try_from(length).or_else(|_| damaged("it has a value of absurd length"))
    }

    fn line(&mut self) -> Result<String> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let Some(end) = rest.iter().position(|b| *b == b'\n') else {
            return damaged("it ends within a line");
        };
        let line = self.text(end)?;
        self.at += 1;
        Ok(line)
    }

    fn text(&mut self, length: usize) -> Result<String> {
        let taken = self.take(length)?;
        Ok(String::from_utf8_lossy(taken).into_owned())
    }

    /// Charges memory that is about to be taken.
    fn spend(&mut self, bytes: usize) -> Result<()> {
        match self.budget.checked_sub(bytes) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => damaged(format!(
                "what it describes takes more than {MEMORY_BUDGET} bytes"
            )),
        }
    }

    fn push(&mut self, value: Value) -> Result<()> {
        let held = match &value {
            Value::Tensor { shape, strides, .. } => {
                (shape.capacity() + strides.capacity()) * size_of::<usize>()
            }
            Value::Tuple(items) => items.capacity() * size_of::<Id>(),
            _ => 0,
        };
        self.spend(size_of::<Value>() + held)?;
        self.values.push(value);
        self.again(self.values.len() - 1)
    }

    /// Puts a value that there is on the stack once more.
    fn again(&mut self, id: Id) -> Result<()> {
        self.spend(size_of::<Id>())?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return damaged("it takes a value that is not there");
        }
        self.stack
            .pop()
            .map_or_else(|| damaged("it takes a value that is not there"), Ok)
    }

    fn top(&self) -> Result<Id> {
        self.stack
            .last()
            .copied()
            .map_or_else(|| damaged("it names a value that is not there"), Ok)
    }

    /// All values since the last mark.
    fn since_mark(&mut self) -> Result<Vec<Id>> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => damaged("a mark is missing"),
        }
    }

    fn value(&self, id: Id) -> &Value {
        self.values.get(id).unwrap_or(&Value::Other)
    }

    fn whole(&self, id: Id) -> Option<usize> {
        match self.value(id) {
            Value::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }

    fn wholes(&self, id: Id) -> Option<Vec<usize>> {
        match self.value(id) {
            Value::Tuple(items) | Value::List(items) if items.len() <= 16 => {
                items.iter().map(|item| self.whole(*item)).collect()
            }
            _ => None,
        }
    }

    fn run(&mut self) -> Result<Id> {
        loop {
            let op = self.byte()?;
            match op {
                0x80 => {
                    let version = self.byte()?;
                    if version > 5 {
                        return damaged(format!(
                            "it is of pickle protocol {version}; 5 is the latest"
                        ));
                    }
                }
                0x95 => {
                    self.number(8)?;
                }
                b'.' => return self.pop(),
                b'(' => {
                    self.spend(size_of::<usize>())?;
                    self.marks.push(self.stack.len());
                }
                b'0' => {
                    // Either a value or a mark is taken away.
                    if self.marks.last() == Some(&self.stack.len()) {
                        self.marks.pop();
                    } else {
                        self.pop()?;
                    }
                }
                b'1' => {
                    self.since_mark()?;
                }
                b'2' => {
                    let top = self.top()?;
                    self.again(top)?;
                }
                b'N' => self.push(Value::None)?,
                0x88 | 0x89 => self.push(Value::Bool)?,
                b'J' => {
                    let number = self.number(4)? as u32;
                    self.push(Value::Int(i64::from(number.cast_signed())))?;
                }
                b'K' => {
                    let number = self.number(1)?;
                    self.push(Value::Int(number as i64))?;
                }
                b'M' => {
                    let number = self.number(2)?;
                    self.push(Value::Int(number as i64))?;
                }
                b'I' | b'L' => {
                    let line = self.line()?;
                    let value = match line.as_str() {
                        "00" | "01" => Value::Bool,
                        text => text
                            .trim_end_matches('L')
                            .parse()
                            .map_or(Value::Other, Value::Int),
                    };
                    self.push(value)?;
                }
                0x8a | 0x8b => {
                    let length = self.length(if op == 0x8a { 1 } else { 4 })?;
                    let value = long(self.take(length)?);
                    self.push(value)?;
                }
                b'F' => {
                    self.line()?;
                    self.push(Value::Float)?;
                }
                b'G' => {
                    self.take(8)?;
                    self.push(Value::Float)?;
                }
                b'S' | b'V' => {
                    let line = self.line()?;
                    self.push(Value::Text(line.trim_matches(['\'', '"']).into()))?;
                }
                b'X' | b'T' | 0x8c | b'U' | 0x8d => {
                    let length = self.length(match op {
                        b'X' | b'T' => 4,
                        0x8d => 8,
                        _ => 1,
                    })?;
                    let text = self.text(length)?;
                    self.push(Value::Text(text.into()))?;
                }
                b'B' | b'C' | 0x8e | 0x96 => {
                    let length = self.length(match op {
                        b'B' => 4,
                        b'C' => 1,
                        _ => 8,
                    })?;
                    self.take(length)?;
                    self.push(Value::Bytes)?;
                }
                b')' => self.push(Value::Tuple(Vec::new()))?,
                b']' | 0x8f => self.push(Value::List(Vec::new()))?,
                b'}' => self.push(Value::Dict(Vec::new()))?,
                b't' => {
                    let items = self.since_mark()?;
                    self.push(Value::Tuple(items))?;
                }
                b'l' | 0x91 => {
                    let items = self.since_mark()?;
                    self.push(Value::List(items))?;
                }
                b'd' => {
                    let items = self.since_mark()?;
                    let pairs = items
                        .chunks_exact(2)
                        .map(|pair| (pair[0], pair[1]))
                        .collect();
                    self.push(Value::Dict(pairs))?;
                }
                0x85..=0x87 => {
                    let mut items = Vec::new();
                    for _ in 0..=(op - 0x85) {
                        items.push(self.pop()?);
                    }
                    items.reverse();
                    self.push(Value::Tuple(items))?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' | 0x90 => {
                    let items = self.since_mark()?;
                    self.append(items)?;
                }
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.set(&[key, value])?;
                }
                b'u' => {
                    let items = self.since_mark()?;
                    self.set(&items)?;
                }
                b'q' | b'r' | b'p' | 0x94 => {
                    let key = match op {
                        b'q' => self.number(1)?,
                        b'r' => self.number(4)?,
                        b'p' => self
                            .line()?
                            .parse()
                            .or_else(|_| damaged("a memo has no number"))?,
                        _ => self.memo.len() as u64,
                    };
                    let top = self.top()?;
                    self.spend(2 * size_of::<(u64, Id)>())?;
                    self.memo.insert(key, top);
                }
                b'h' | b'j' | b'g' => {
                    let key = match op {
                        b'h' => self.number(1)?,
                        b'j' => self.number(4)?,
                        _ => self
                            .line()?
                            .parse()
                            .or_else(|_| damaged("a memo has no number"))?,
                    };
                    let Some(id) = self.memo.get(&key).copied() else {
                        return damaged("it refers to a value that it never made");
                    };
                    self.again(id)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    if module.len() > LONGEST_NAME || name.len() > LONGEST_NAME {
                        return damaged("a class has an absurdly long name");
                    }
                    self.global(module.into(), name.into())?;
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let text = |id: Id| match self.value(id) {
                        Value::Text(text) if text.len() <= LONGEST_NAME => Some(Arc::clone(text)),
                        _ => None,
                    };
                    match (text(module), text(name)) {
                        (Some(module), Some(name)) => self.global(module, name)?,
                        _ => return damaged("a class has no name"),
                    }
                }
                b'Q' => {
                    let id = self.pop()?;
                    self.persistent(id)?;
                }
                b'R' | 0x81 => {
                    let (arguments, callee) = (self.pop()?, self.pop()?);
                    self.make(callee, arguments)?;
                }
                0x92 => {
                    // Keyword arguments, too: of no weights.
                    self.pop()?;
                    self.pop()?;
                    self.pop()?;
                    self.push(Value::Other)?;
                }
                b'b' => {
                    self.pop()?;
                    self.top()?;
                }
                other => {
                    return damaged(format!(
                        "it has an instruction (0x{other:02x}) that no weights have"
                    ));
                }
            }
        }
    }

    fn append(&mut self, items: Vec<Id>) -> Result<()> {
        let top = self.top()?;
        match self.values.get_mut(top) {
            Some(Value::List(list)) => list.extend(items),
            // What objects without a meaning hold has none either.
            Some(Value::Other) => {}
            _ => return damaged("it appends to something that is no list"),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<()> {
        let top = self.top()?;
        match self.values.get_mut(top) {
            Some(Value::Dict(pairs)) => {
                pairs.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            Some(Value::Other) => {}
            _ => return damaged("it sets a key of something that is no dictionary"),
        }
        Ok(())
    }

    /// A class or function: known and harmless, or refused before anything is done with it.
    fn global(&mut self, module: Arc<str>, name: Arc<str>) -> Result<()> {
        let root = module.split('.').next().unwrap_or("");
        let whole = format!("{module}.{name}");
        let parts = || whole.split('.').skip(1);
        let python = matches!(root, "builtins" | "__builtin__");
        let harmless = match python {
            true => PLAIN.contains(&name.as_ref()),
            false => HARMLESS.contains(&root) && !parts().any(|part| HARMFUL.contains(&part)),
        };
        if !harmless {
            return Err(Fault::Unsafe(brief(&whole)));
        }
        self.push(Value::Global(module, name))
    }

    /// A storage: `('storage', class, key, location, elements)`.
    fn persistent(&mut self, id: Id) -> Result<()> {
        let Value::Tuple(items) = self.value(id) else {
            return damaged("it refers to something outside that is no storage");
        };
        let text = |place: usize| match items.get(place).map(|id| self.value(*id)) {
            Some(Value::Text(text)) if text.len() <= LONGEST_NAME => Some(Arc::clone(text)),
            Some(Value::Int(number)) => Some(Arc::from(number.to_string())),
            _ => None,
        };
        let class = match items.get(1).map(|id| self.value(*id)) {
            Some(Value::Global(_, name)) => Some(Arc::clone(name)),
            _ => None,
        };
        let elements = items.get(4).and_then(|id| self.whole(*id));
        match (text(0).as_deref(), class, text(2), elements) {
            (Some("storage"), Some(class), Some(key), Some(elements)) => {
                self.push(Value::Storage(StorageRef {
                    class,
                    key,
                    elements,
                }))
            }
            _ => damaged("it refers to something outside that is no storage"),
        }
    }

    /// What a call would give, where that is a tensor or a container; else something that means nothing. Nothing is called.
    fn make(&mut self, callee: Id, arguments: Id) -> Result<()> {
        let Value::Global(module, name) = self.value(callee).clone() else {
            return self.push(Value::Other);
        };
        // No more than are looked at: a hostile file may name one long tuple again and again.
        let items: Vec<Id> = match self.value(arguments) {
            Value::Tuple(items) => items.iter().take(8).copied().collect(),
            _ => Vec::new(),
        };
        let value = match (module.as_ref(), name.as_ref()) {
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => {
                let storage = items.first().copied();
                let offset = items.get(1).and_then(|id| self.whole(*id));
                let shape = items.get(2).and_then(|id| self.wholes(*id));
                let strides = items.get(3).and_then(|id| self.wholes(*id));
                match (storage, offset, shape, strides) {
                    (Some(storage), Some(offset), Some(shape), Some(strides))
                        if shape.len() == strides.len()
                            && matches!(self.value(storage), Value::Storage(_)) =>
                    {
                        Value::Tensor {
                            storage,
                            offset,
                            shape,
                            strides,
                        }
                    }
                    _ => return damaged("a tensor is described wrongly"),
                }
            }
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                // The tensor itself: to copy what is named would copy lists of any length, each time anew.
                return match items.first().copied() {
                    Some(tensor) => self.again(tensor),
                    None => damaged("a parameter has no tensor"),
                };
            }
            ("collections", "OrderedDict" | "defaultdict")
            | ("builtins" | "__builtin__", "dict") => Value::Dict(Vec::new()),
            ("builtins" | "__builtin__", "set" | "frozenset" | "list") => Value::List(Vec::new()),
            _ => Value::Other,
        };
        self.push(value)
    }
}

/// A little-endian number in two's complement.
fn long(bytes: &[u8]) -> Value {
    if bytes.len() > 8 {
        return Value::Other;
    }
    let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) {
        0xff
    } else {
        0
    };
    let mut whole = [fill; 8];
    for (to, from) in whole.iter_mut().zip(bytes) {
        *to = *from;
    }
    Value::Int(i64::from_le_bytes(whole))
}
