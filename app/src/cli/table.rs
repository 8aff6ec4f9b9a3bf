//! Tables for the eye.

use super::error::Result;
use super::out;

/// Most characters of a column but the last.
const WIDEST: usize = 48;

/// Rows under headings, each column as wide as it needs to be, at most 48 characters; the last one is not cut.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()],
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines.
    pub fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |row: &Vec<String>, column: usize| {
            let text = out::one_line(row.get(column).map_or("", String::as_str));
            if column + 1 < columns {
                cut(&text)
            } else {
                text
            }
        };
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let lengths = self
                    .rows
                    .iter()
                    .map(|row| cell(row, column).chars().count());
                lengths.max().unwrap_or(0)
            })
            .collect();
        let line = |row: &Vec<String>| {
            let cells = widths
                .iter()
                .enumerate()
                .map(|(column, &width)| format!("{:<width$}", cell(row, column)));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }

    /// Writes the table to stdout.
    ///
    /// # Errors
    /// As [`out::line`].
    pub fn print(&self) -> Result<()> {
        self.lines().iter().try_for_each(|line| out::line(line))
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= WIDEST {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(WIDEST - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_and_nothing_plays_tricks() {
        let mut table = Table::new(&["A", "Prompt", "File"]);
        table.row(["1".into(), "лиса\n\x1b[2J".into(), "x".repeat(100)]);
        table.row(["22".into(), "y".repeat(100), "z".into()]);
        let lines = table.lines();
        let starts: Vec<Option<usize>> = lines
            .iter()
            .map(|line| line.chars().rev().position(|c| c == ' '))
            .collect();
        assert_eq!(starts, [Some(4), Some(100), Some(1)]);
        assert!(lines[1].contains("лиса \\u{1b}[2J") && lines[2].contains("yyy…"));
    }
}
