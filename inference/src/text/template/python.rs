//! Jinja as Python has it: how values are written, the operators and filters that `transformers` adds or that differ, and measured
//! versions of those that can make much out of little.

use std::sync::Arc;

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value};

use super::guard;
use super::limits::Budget;

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// Python's `str(value)`. The caller paid for reading the value, so the text is bounded.
pub(super) fn to_text(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_undefined() => String::new(),
        None => {
            let mut out = String::new();
            repr(value, &mut out);
            out
        }
    }
}

/// Python's `repr(value)`.
fn repr(value: &Value, out: &mut String) {
    use std::fmt::Write;
    match value.kind() {
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::String => quote(value.as_str().unwrap_or_default(), out),
        ValueKind::Seq | ValueKind::Iterable => {
            let tuple = value.is_tuple();
            out.push(if tuple { '(' } else { '[' });
            let mut count = 0;
            for item in value.try_iter().into_iter().flatten() {
                if count > 0 {
                    out.push_str(", ");
                }
                repr(&item, out);
                count += 1;
            }
            if tuple && count == 1 {
                out.push(',');
            }
            out.push(if tuple { ')' } else { ']' });
        }
        ValueKind::Map => {
            out.push('{');
            for (n, key) in value.try_iter().into_iter().flatten().enumerate() {
                if n > 0 {
                    out.push_str(", ");
                }
                repr(&key, out);
                out.push_str(": ");
                repr(&value.get_item(&key).unwrap_or_default(), out);
            }
            out.push('}');
        }
        // Writing into a string cannot fail.
        _ => {
            let _ = write!(out, "{value}");
        }
    }
}

/// A string literal as Python writes it.
fn quote(text: &str, out: &mut String) {
    let mark = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(mark);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == mark => {
                out.push('\\');
                out.push(c);
            }
            c if u32::from(c) < 0x20 || c == '\x7f' => {
                out.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push(mark);
}

/// How JSON is laid out.
struct Layout {
    indent: Option<usize>,
    between: String,
    colon: String,
    sort_keys: bool,
    ascii: bool,
}

/// `json.dumps` as `transformers` calls it.
fn json(value: &Value, layout: &Layout, depth: usize, out: &mut String) -> Result<(), Error> {
    let newline = |out: &mut String, depth: usize| {
        if let Some(indent) = layout.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    match value.kind() {
        ValueKind::Undefined => return Err(invalid("undefined values cannot be written as JSON")),
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            let mut empty = true;
            for item in value.try_iter()? {
                if !empty {
                    out.push_str(&layout.between);
                }
                newline(out, depth + 1);
                json(&item, layout, depth + 1, out)?;
                empty = false;
            }
            if !empty {
                newline(out, depth);
            }
            out.push(']');
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if layout.sort_keys {
                keys.sort();
            }
            out.push('{');
            for (n, key) in keys.iter().enumerate() {
                if n > 0 {
                    out.push_str(&layout.between);
                }
                newline(out, depth + 1);
                json_string(&to_text(key), layout.ascii, out);
                out.push_str(&layout.colon);
                json(&value.get_item(key)?, layout, depth + 1, out)?;
            }
            if !keys.is_empty() {
                newline(out, depth);
            }
            out.push('}');
        }
        ValueKind::String => json_string(value.as_str().unwrap_or_default(), layout.ascii, out),
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

fn json_string(text: &str, ascii: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 || ascii && !c.is_ascii() => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn tojson(value: &Value, kwargs: &Kwargs) -> Result<Value, Error> {
    let indent = kwargs.get::<Option<usize>>("indent")?.map(|n| n.min(16));
    let (between, colon) = match kwargs.get::<Option<Value>>("separators")? {
        Some(pair) => (
            to_text(&pair.get_item_by_index(0)?),
            to_text(&pair.get_item_by_index(1)?),
        ),
        None => (
            (if indent.is_some() { "," } else { ", " }).to_owned(),
            ": ".to_owned(),
        ),
    };
    if between.len() + colon.len() > 16 {
        return Err(invalid("tojson: the separators are too long"));
    }
    let layout = Layout {
        indent,
        between,
        colon,
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
    };
    kwargs.assert_all_used()?;
    let mut out = String::new();
    json(value, &layout, 0, &mut out)?;
    Ok(Value::from(out))
}

/// `a + b`.
fn add(budget: &Budget, a: &Value, b: &Value) -> Result<Value, Error> {
    if let (Some(left), Some(right)) = (a.as_str(), b.as_str()) {
        budget.spend(left.len() + right.len())?;
        return Ok(Value::from(format!("{left}{right}")));
    }
    if matches!(a.kind(), ValueKind::Seq) && matches!(b.kind(), ValueKind::Seq) {
        let items: Vec<Value> = a.try_iter()?.chain(b.try_iter()?).collect();
        let joined = if a.is_tuple() && b.is_tuple() {
            Value::from(minijinja::value::Tuple::from(items))
        } else {
            Value::from(items)
        };
        return budget.made(&joined);
    }
    if let (Some(left), Some(right)) = (integer(a), integer(b)) {
        return left
            .checked_add(right)
            .map(Value::from)
            .ok_or_else(|| invalid("the sum is too large"));
    }
    match (float(a), float(b)) {
        (Some(left), Some(right)) => Ok(Value::from(left + right)),
        _ => Err(invalid(format!("cannot add {} and {}", a.kind(), b.kind()))),
    }
}

/// `a * b`.
fn mul(budget: &Budget, a: &Value, b: &Value) -> Result<Value, Error> {
    if let (Some(left), Some(right)) = (integer(a), integer(b)) {
        return left
            .checked_mul(right)
            .map(Value::from)
            .ok_or_else(|| invalid("the product is too large"));
    }
    let repeated = [(a, b), (b, a)].into_iter().find_map(|(thing, count)| {
        let count = usize::try_from(integer(count)?.max(0)).ok()?;
        matches!(thing.kind(), ValueKind::String | ValueKind::Seq).then_some((thing, count))
    });
    if let Some((thing, count)) = repeated {
        if let Some(text) = thing.as_str() {
            budget.spend_many(text.len(), count)?;
            return Ok(Value::from(text.repeat(count)));
        }
        budget.spend_many(thing.len().unwrap_or(0).saturating_mul(64), count)?;
        let items: Vec<Value> = thing.try_iter()?.collect();
        let items: Vec<Value> =
            std::iter::repeat_n(&items, if items.is_empty() { 0 } else { count })
                .flatten()
                .cloned()
                .collect();
        return budget.made(&Value::from(items));
    }
    match (float(a), float(b)) {
        (Some(left), Some(right)) => Ok(Value::from(left * right)),
        _ => Err(invalid(format!(
            "cannot multiply {} and {}",
            a.kind(),
            b.kind()
        ))),
    }
}

/// Integers, and truth values as Python counts them.
fn integer(value: &Value) -> Option<i64> {
    match value.kind() {
        ValueKind::Bool => Some(value.is_true().into()),
        _ if value.is_integer() => value.as_i64(),
        _ => None,
    }
}

fn float(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Number | ValueKind::Bool => f64::try_from(value.clone())
            .ok()
            .or_else(|| integer(value).map(|n| n as f64)),
        _ => None,
    }
}

/// Pays for `text.replace(from, to)`.
fn pay_replace(budget: &Budget, text: &str, from: &str, to: &str) -> Result<(), Error> {
    let count = text.matches(from).count();
    budget.spend(text.len())?;
    budget.spend_many(count, to.len())
}

/// Format strings that pad are refused: `{:>1000000000}` is an attack, and no chat template pads.
fn check_format(budget: &Budget, format: &str, args: &[Value]) -> Result<(), Error> {
    let longest_number = format
        .split(|c: char| !c.is_ascii_digit())
        .map(str::len)
        .max()
        .unwrap_or(0);
    if longest_number > 3 || format.contains('*') {
        return Err(invalid(
            "format: widths of more than three digits are not supported",
        ));
    }
    let longest = args.iter().map(|arg| to_text(arg).len()).max().unwrap_or(0);
    let places = format.matches(['{', '%']).count();
    budget.spend_many(places, longest + 1000)
}

/// Methods of Python's types, measured where they can make much out of little.
fn method(
    budget: &Budget,
    state: &mut State,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        match (name, args) {
            ("replace", [from, to, ..]) => {
                if let (Some(from), Some(to)) = (from.as_str(), to.as_str()) {
                    pay_replace(budget, text, from, to)?;
                }
            }
            ("join", [items]) => budget.spend_many(items.len().unwrap_or(0), text.len())?,
            ("format", args) => check_format(budget, text, args)?,
            _ => {}
        }
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

fn join(
    budget: &Budget,
    value: &Value,
    separator: Option<&str>,
    attribute: Option<&str>,
) -> Result<Value, Error> {
    let separator = separator.unwrap_or("");
    let mut out = String::new();
    for (n, item) in value.try_iter()?.enumerate() {
        let item = match attribute {
            Some(name) => item.get_attr(name)?,
            None => item,
        };
        budget.read(&item)?;
        let text = to_text(&item);
        budget.spend(text.len() + separator.len())?;
        if n > 0 {
            out.push_str(separator);
        }
        out.push_str(&text);
    }
    Ok(Value::from(out))
}

fn indent(
    budget: &Budget,
    text: &str,
    width: usize,
    first: bool,
    blank: bool,
) -> Result<Value, Error> {
    budget.spend_many(text.matches('\n').count() + 1, width)?;
    let pad = " ".repeat(width);
    let mut out = String::with_capacity(text.len());
    for (n, line) in text.split('\n').enumerate() {
        if n > 0 {
            out.push('\n');
        }
        if (n > 0 || first) && (blank || !line.is_empty()) {
            out.push_str(&pad);
        }
        out.push_str(line);
    }
    Ok(Value::from(out))
}

/// Days since 1970-01-01 as year, month, day (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (
        yoe + era * 400 + i64::from(month <= 2),
        month,
        doy - (153 * mp + 2) / 5 + 1,
    )
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
];

/// `strftime` in English; unknown letters stay as they are.
pub(super) fn strftime(format: &str, now: i64) -> String {
    // Years beyond these have no use, and would overflow somewhere.
    let now = now.clamp(-62_135_596_800, 253_402_300_799);
    let (days, seconds) = (now.div_euclid(86_400), now.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let pick = |names: &[&'static str], index: i64| {
        usize::try_from(index)
            .ok()
            .and_then(|n| names.get(n))
            .copied()
            .unwrap_or("")
    };
    let month_name = pick(&MONTHS, month - 1);
    let day_name = pick(&DAYS, days.rem_euclid(7));
    let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let letter = chars.next();
        // `%-d` is `%d` without padding.
        let (letter, padded) = match letter {
            Some('-') => (chars.next(), false),
            other => (other, true),
        };
        let number = |n: i64| {
            if padded {
                format!("{n:02}")
            } else {
                n.to_string()
            }
        };
        match letter {
            Some('Y') => out.push_str(&format!("{year:04}")),
            Some('y') => out.push_str(&number(year % 100)),
            Some('m') => out.push_str(&number(month)),
            Some('d') => out.push_str(&number(day)),
            Some('H') => out.push_str(&number(hour)),
            Some('I') => out.push_str(&number(twelve)),
            Some('M') => out.push_str(&number(minute)),
            Some('S') => out.push_str(&number(second)),
            Some('p') => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            Some('B') => out.push_str(month_name),
            Some('b' | 'h') => out.push_str(month_name.get(..3).unwrap_or("")),
            Some('A') => out.push_str(day_name),
            Some('a') => out.push_str(day_name.get(..3).unwrap_or("")),
            Some('F') => out.push_str(&format!("{year:04}-{month:02}-{day:02}")),
            Some('T') => out.push_str(&format!("{hour:02}:{minute:02}:{second:02}")),
            Some('%') => out.push('%'),
            Some(other) => {
                out.push('%');
                out.push(other);
            }
            None => out.push('%'),
        }
    }
    out
}

/// Writes a value and counts it.
fn write_value(budget: &Budget, out: &mut Output, value: &Value) -> Result<(), Error> {
    let fault = |_| invalid("writing failed");
    if let Some(text) = value.as_str() {
        budget.write(text.len())?;
        return out.write_str(text).map_err(fault);
    }
    budget.read(value)?;
    let text = to_text(value);
    budget.write(text.len())?;
    out.write_str(&text).map_err(fault)
}

/// Whether Python's loops can go through a value.
fn goes_through(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::String
            | ValueKind::Seq
            | ValueKind::Map
            | ValueKind::Iterable
            | ValueKind::Undefined
    )
}

/// An environment in which everything is measured. `now` is in seconds since 1970, UTC.
pub(super) fn environment<'a>(budget: &Arc<Budget>, now: i64) -> Environment<'a> {
    let mut env = Environment::new();
    // These make much out of little, or tell of the host, and no chat template needs them.
    for name in [
        "batch",
        "slice",
        "chain",
        "zip",
        "pprint",
        "urlencode",
        "escape",
        "e",
        "groupby",
    ] {
        env.remove_filter(name);
    }
    env.remove_global("debug");

    let own = budget.clone();
    env.set_formatter(move |out, _, value| write_value(&own, out, value));
    let own = budget.clone();
    env.set_unknown_method_callback(move |state, value, name, args| {
        method(&own, state, value, name, args)
    });

    let own = budget.clone();
    env.add_filter(guard::MADE, move |value: Value| own.made(&value));
    let own = budget.clone();
    env.add_filter(guard::READ, move |value: Value| {
        own.read(&value).map(|()| value)
    });
    let own = budget.clone();
    env.add_filter(guard::TEXT_READ, move |value: Value| {
        own.spend(
            value
                .as_str()
                .map_or(1, |text| text.len().saturating_mul(4)),
        )?;
        Ok::<_, Error>(value)
    });
    env.add_filter(guard::RAW, |value: Value| value);
    let own = budget.clone();
    env.add_filter(guard::ADD, move |a: Value, b: Value| add(&own, &a, &b));
    let own = budget.clone();
    env.add_filter(guard::MUL, move |a: Value, b: Value| mul(&own, &a, &b));
    let own = budget.clone();
    env.add_filter(guard::CONCAT, move |a: Value, b: Value| {
        own.read(&a)?;
        own.read(&b)?;
        let (a, b) = (to_text(&a), to_text(&b));
        own.spend(a.len() + b.len())?;
        Ok::<_, Error>(Value::from(a + &b))
    });

    env.add_filter("tojson", |value: Value, kwargs: Kwargs| {
        tojson(&value, &kwargs)
    });
    env.add_filter("string", |value: Value| to_text(&value));
    let own = budget.clone();
    env.add_filter("replace", move |text: Value, from: String, to: String| {
        let text = to_text(&text);
        pay_replace(&own, &text, &from, &to)?;
        Ok::<_, Error>(text.replace(&from, &to))
    });
    let own = budget.clone();
    env.add_filter(
        "join",
        move |value: Value, separator: Option<String>, kwargs: Kwargs| {
            let named = kwargs.get::<Option<String>>("d")?;
            let attribute = kwargs.get::<Option<String>>("attribute")?;
            kwargs.assert_all_used()?;
            join(
                &own,
                &value,
                separator.or(named).as_deref(),
                attribute.as_deref(),
            )
        },
    );
    let own = budget.clone();
    env.add_filter(
        "indent",
        move |text: String,
              width: Option<usize>,
              first: Option<bool>,
              blank: Option<bool>,
              kwargs: Kwargs| {
            let width = width.or(kwargs.get("width")?).unwrap_or(4);
            let first = first.or(kwargs.get("first")?).unwrap_or(false);
            let blank = blank.or(kwargs.get("blank")?).unwrap_or(false);
            kwargs.assert_all_used()?;
            indent(&own, &text, width, first, blank)
        },
    );
    let own = budget.clone();
    env.add_filter("format", move |format: String, args: Rest<Value>| {
        check_format(&own, &format, &args)?;
        minijinja::formatting::format(minijinja::formatting::FormatStyle::Printf, &format, &args)
    });

    // Nothing can be gone through that is none; a text, a map and what is unknown can.
    env.add_test("iterable", |value: Value| goes_through(&value));
    env.add_test("sequence", |value: Value| goes_through(&value));

    let own = budget.clone();
    env.add_function(
        "raise_exception",
        move |message: Value| -> Result<Value, Error> {
            let message = to_text(&message);
            own.refuse(message.clone());
            Err(invalid(message))
        },
    );
    env.add_function("strftime_now", move |format: String| strftime(&format, now));
    env
}
