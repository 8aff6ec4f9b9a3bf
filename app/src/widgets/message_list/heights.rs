//! What is known of the rows' heights.

use std::collections::HashMap;

use super::Rows;

/// Rows with their heights, seen or estimated, and where they begin.
#[derive(Clone, Debug, Default)]
pub struct Heights {
    version: Option<(u64, usize)>,
    width: f32,
    keys: Vec<u64>,
    heights: Vec<f32>,
    measured: Vec<bool>,
    /// Where rows begin, as far as that is known; rebuilt behind the first that changed.
    begins: Vec<f64>,
}

impl Heights {
    /// Takes the rows and the width; what is known of rows that stay is kept. Tells whether anything changed.
    pub fn sync(&mut self, rows: &Rows<'_>, width: f32) -> bool {
        let version = Some((rows.version, rows.count));
        let narrower = (self.width - width).abs() > 0.5;
        if self.version == version && !narrower {
            return false;
        }
        let known: HashMap<u64, (f32, bool)> = self
            .keys
            .iter()
            .zip(self.heights.iter().zip(&self.measured))
            .map(|(&key, (&height, &measured))| (key, (height, measured)))
            .collect();
        self.version = version;
        self.width = width;
        self.keys.clear();
        self.heights.clear();
        self.measured.clear();
        self.begins.clear();
        for index in 0..rows.count {
            let key = (rows.key)(index);
            // Another width: what was seen is no longer true, but closer than an estimate would be.
            let (height, measured) = match known.get(&key) {
                Some(&(height, measured)) => (height, measured && !narrower),
                None => ((rows.estimate)(index, width).max(1.0), false),
            };
            self.keys.push(key);
            self.heights.push(height);
            self.measured.push(measured);
        }
        self.rebuild(0);
        true
    }

    fn rebuild(&mut self, from: usize) {
        let from = from.min(self.begins.len());
        self.begins.truncate(from);
        let mut at = match from.checked_sub(1) {
            Some(before) => self.begin(before) + f64::from(self.height(before)),
            None => 0.0,
        };
        for &height in self.heights.iter().skip(from) {
            self.begins.push(at);
            at += f64::from(height);
        }
    }

    /// Height of all rows.
    pub fn total(&self) -> f64 {
        match self.heights.last() {
            Some(&last) => self.begin(self.heights.len() - 1) + f64::from(last),
            None => 0.0,
        }
    }

    /// Where a row begins.
    pub fn begin(&self, index: usize) -> f64 {
        self.begins.get(index).copied().unwrap_or_default()
    }

    /// How high a row is, or seems to be.
    pub fn height(&self, index: usize) -> f32 {
        self.heights.get(index).copied().unwrap_or_default()
    }

    /// Whether a row was seen at this width.
    pub fn is_measured(&self, index: usize) -> bool {
        self.measured.get(index).copied().unwrap_or_default()
    }

    /// Takes the height of a row that was seen; the difference to what was thought.
    pub fn measure(&mut self, index: usize, height: f32) -> f64 {
        let Some(known) = self.heights.get_mut(index) else {
            return 0.0;
        };
        let difference = f64::from(height) - f64::from(*known);
        *known = height;
        if let Some(measured) = self.measured.get_mut(index) {
            *measured = true;
        }
        if difference != 0.0 {
            self.rebuild(index + 1);
        }
        difference
    }

    /// Index of the row at a height, 0 if there is none.
    pub fn index_at(&self, y: f64) -> usize {
        self.begins
            .partition_point(|&begin| begin <= y)
            .saturating_sub(1)
    }

    /// Key of the row at a height, and how far into it that is.
    pub fn at(&self, y: f64) -> Option<(u64, f64)> {
        let index = self.index_at(y);
        let key = self.keys.get(index)?;
        Some((*key, y - self.begin(index)))
    }

    /// The height at which the same place of the same row is now.
    pub fn find(&self, key: u64, within: f64) -> Option<f64> {
        let index = self.keys.iter().position(|&known| known == key)?;
        Some(self.begin(index) + within)
    }
}
