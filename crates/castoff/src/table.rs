//! Tables, sizes and ages, as docker's commands show them.

use std::fmt;

/// Rows of text in columns, three blanks apart unless said otherwise.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
    gap: usize,
}

impl Table {
    /// Returns a table with these headings.
    pub fn new(headings: &[&str]) -> Table {
        Table::with_gap(3, headings)
    }

    /// Returns a table whose columns are some blanks apart.
    pub fn with_gap(gap: usize, headings: &[&str]) -> Table {
        Table { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()], gap }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}{:gap$}", "", gap = self.gap));
            }
            writeln!(formatter, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Returns a size with three digits and a decimal unit.
pub fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match (unit, value) {
        (0, _) => 0,
        (_, value) if value < 9.995 => 2,
        (_, value) if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{}", units[unit])
}

/// Returns how long ago an instant was, roughly, as docker says it.
pub fn ago(created: Option<&str>, now_ms: i64) -> String {
    let Some(created) = created.and_then(|text| text.parse::<jiff::Timestamp>().ok()) else {
        return "N/A".to_owned();
    };
    let seconds = (now_ms - created.as_millisecond()) / 1000;
    let (count, unit) = match seconds {
        ..60 => (seconds.max(0), "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        172_800..1_209_600 => (seconds / 86_400, "day"),
        1_209_600..5_184_000 => (seconds / 604_800, "week"),
        5_184_000..63_072_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago")
}

#[cfg(test)]
mod tests {
    use super::{Table, ago, bytes};

    #[test]
    fn sizes_have_three_digits() {
        assert_eq!(bytes(0), "0B");
        assert_eq!(bytes(999), "999B");
        assert_eq!(bytes(1000), "1.00kB");
        assert_eq!(bytes(12_345_678), "12.3MB");
        assert_eq!(bytes(999_999), "1.00MB");
        assert_eq!(bytes(123_456_789_012), "123GB");
    }

    #[test]
    fn ages_are_rough() {
        let now = 1_000_000_000_000;
        let check = |created: &str, expected: &str| assert_eq!(ago(Some(created), now), expected);
        check("2001-09-09T01:46:40Z", "0 seconds ago");
        check("2001-09-09T01:45:00Z", "1 minute ago");
        check("2001-09-08T01:46:40Z", "24 hours ago");
        check("2001-09-01T01:46:40Z", "8 days ago");
        check("1970-01-01T00:00:00Z", "31 years ago");
        assert_eq!(ago(None, now), "N/A");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["A", "BB"]);
        table.row(["long".to_owned(), "x".to_owned()]);
        assert_eq!(table.to_string(), "A      BB\nlong   x\n");
    }
}
