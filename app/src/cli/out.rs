//! Results to stdout, remarks to stderr. A closed pipe is no failure: whoever read had enough.

use std::io::{ErrorKind, Write};

use serde::Serialize;

use super::error::{CliError, Result};

/// Writes text to stdout as it is and sends it off at once.
///
/// # Errors
/// [`CliError::OutputClosed`] if nobody reads any more; other faults (a full disk) as failures.
pub fn text(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => CliError::OutputClosed,
            _ => CliError::Failed(format!(
                "cannot write the result to standard output: {error}"
            )),
        })
}

/// Writes a line to stdout.
///
/// # Errors
/// As [`text`].
pub fn line(line: &str) -> Result<()> {
    text(&format!("{line}\n"))
}

/// Writes a value to stdout as JSON on one line.
///
/// # Errors
/// As [`text`].
pub fn json(value: &impl Serialize) -> Result<()> {
    line(&serde_json::to_string(value).map_err(CliError::failed)?)
}

/// Writes a value to stdout as JSON for the eye: indented, over many lines.
///
/// # Errors
/// As [`text`].
pub fn json_pretty(value: &impl Serialize) -> Result<()> {
    line(&serde_json::to_string_pretty(value).map_err(CliError::failed)?)
}

/// Writes one line to stderr, if anybody listens there.
pub fn remark(message: &str) {
    // Nobody can be told that nobody listens.
    let _ = writeln!(std::io::stderr().lock(), "{}", one_line(message));
}

/// Text that may come from a file as one line without control characters, so that it cannot play tricks on a terminal.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.trim().chars() {
        match c {
            c if !c.is_control() => line.push(c),
            '\n' | '\r' | '\t' if !line.ends_with(' ') => line.push(' '),
            '\n' | '\r' | '\t' => {}
            c => line.extend(c.escape_default()),
        }
    }
    line
}

/// Bytes in a person's words: `12.3 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// Seconds in a person's words: `0.8 s`, `2:05`, `1:02:03`.
pub fn seconds(seconds: f32) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole / 3600 {
        0 => format!("{}:{:02}", whole / 60, whole % 60),
        hours => format!("{hours}:{:02}:{:02}", whole / 60 % 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_well() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(4 << 30), "4.0 GiB");
        assert_eq!(seconds(0.84), "0.8 s");
        assert_eq!(seconds(125.0), "2:05");
        assert_eq!(seconds(3723.4), "1:02:03");
    }

    #[test]
    fn a_message_is_one_line_and_harmless() {
        assert_eq!(one_line(" a\nb\r\nc\t"), "a b c");
        assert_eq!(one_line("\x1b[31mred"), "\\u{1b}[31mred");
    }
}
