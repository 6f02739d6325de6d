//! Results: tables of numbers with units, for people as text and for machines as JSON.

use std::fmt::{self, Write};

use serde_json::{Map, Value, json};

/// One table: rows of numbers under the same columns.
#[derive(Debug)]
pub(crate) struct Table {
    /// Key in the JSON.
    pub(crate) id: &'static str,
    pub(crate) title: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Row>,
    /// Notes that are needed to read the numbers.
    pub(crate) notes: Vec<String>,
}

/// A quantity, one value per column; `None` where it was not measured.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) values: Vec<Option<f64>>,
    /// Whether its mark is reached, if it has one.
    pub(crate) reached: Option<bool>,
}

/// What a value should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mark {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

impl Table {
    pub(crate) fn new(id: &'static str, title: impl Into<String>, columns: &[&str]) -> Self {
        Self {
            id,
            title: title.into(),
            columns: columns.iter().map(|&c| c.to_owned()).collect(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn row(
        &mut self,
        name: impl Into<String>,
        unit: &'static str,
        values: impl IntoIterator<Item = Option<f64>>,
    ) {
        self.rows.push(Row {
            name: name.into(),
            unit,
            values: values.into_iter().collect(),
            reached: None,
        });
    }

    /// A measured value beside its mark: at most or at least.
    pub(crate) fn mark(
        &mut self,
        name: impl Into<String>,
        unit: &'static str,
        measured: f64,
        mark: Mark,
    ) {
        let (value, reached) = match mark {
            Mark::AtMost(value) => (value, measured <= value),
            Mark::AtLeast(value) => (value, measured >= value),
        };
        self.row(name, unit, [Some(measured), Some(value)]);
        if let Some(row) = self.rows.last_mut() {
            row.reached = Some(reached);
        }
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The value of a row in a column.
    pub(crate) fn value(&self, name: &str, column: &str) -> Option<f64> {
        let column = self.columns.iter().position(|other| other == column)?;
        *self.rows.iter().find(|row| row.name == name)?.values.get(column)?
    }

    pub(crate) fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let columns = self.columns.iter().cloned();
            let values: Map<String, Value> =
                columns.zip(row.values.iter().map(|value| json!(value))).collect();
            let mut all = json!({ "name": row.name, "unit": row.unit, "values": values });
            if let Some(reached) = row.reached {
                all["reached"] = reached.into();
            }
            all
        });
        json!({ "title": self.title, "rows": rows.collect::<Vec<_>>(), "notes": self.notes })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const VALUE: usize = 12;
        let name = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).max(24);
        let unit = self.rows.iter().map(|row| row.unit.len()).max().unwrap_or(0);
        let mut head = String::new();
        let widths: Vec<usize> =
            self.columns.iter().map(|column| column.chars().count().max(VALUE)).collect();
        for (column, width) in self.columns.iter().zip(&widths) {
            write!(head, " {column:>width$}")?;
        }
        writeln!(f, "{}: {}", self.id, self.title)?;
        writeln!(f, "  {:name$} {:unit$}{head}", "", "")?;
        for row in &self.rows {
            write!(f, "  {:name$} {:unit$}", row.name, row.unit)?;
            for (value, width) in row.values.iter().zip(&widths) {
                let text = value.map_or_else(|| "-".to_owned(), number);
                write!(f, " {text:>width$}")?;
            }
            if let Some(reached) = row.reached {
                write!(f, "  {}", if reached { "yes" } else { "no" })?;
            }
            writeln!(f)?;
        }
        for note in &self.notes {
            writeln!(f, "  * {note}")?;
        }
        Ok(())
    }
}

/// As many digits as the measurement supports: three or four, with a mark between thousands.
fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 10.0 {
        return format!("{value:.2}");
    }
    if value.abs() < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_names() {
        let mut table = Table::new("node", "", &["1 x 100", "20 x 10 x 10 real"]);
        table.row("delay", "ms", [Some(1.0), Some(2.0)]);
        let text = table.to_string();
        let ends: Vec<usize> = text.lines().skip(1).map(|line| line.chars().count()).collect();
        assert_eq!(ends[0], ends[1], "{text}");
    }

    #[test]
    fn numbers_have_thousands_and_few_digits() {
        assert_eq!(number(1_234_567.4), "1,234,567");
        assert_eq!(number(-1_000.0), "-1,000");
        assert_eq!(number(100.0), "100");
        assert_eq!(number(99.95), "100.0");
        assert_eq!(number(0.0), "0.0");
        assert_eq!(number(1.234), "1.23");
    }

    #[test]
    fn text_and_json_say_the_same() {
        let mut table = Table::new("core", "in process", &["1", "10"]);
        table.row("seal", "ns", [Some(209.0), None]);
        table.note("alone");
        let text = table.to_string();
        assert!(
            text.contains("seal") && text.contains("209") && text.contains("* alone"),
            "{text}"
        );
        assert_eq!(table.json()["rows"][0]["values"], json!({ "1": 209.0, "10": null }));
        assert_eq!(table.value("seal", "1"), Some(209.0));
        assert_eq!(table.value("seal", "10"), None);
        assert_eq!(table.value("open", "1"), None);
    }

    #[test]
    fn marks_say_whether_they_are_reached() {
        let mut table = Table::new("targets", "", &["measured", "mark"]);
        table.mark("share", "%", 55.0, Mark::AtLeast(50.0));
        table.mark("memory", "KB", 55.0, Mark::AtMost(48.0));
        assert_eq!(table.json()["rows"][0]["reached"], true);
        assert_eq!(table.json()["rows"][1]["reached"], false);
        let text = table.to_string();
        assert!(text.contains("  yes\n") && text.contains("  no\n"), "{text}");
    }
}
