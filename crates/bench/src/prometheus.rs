//! Reads numbers from the Prometheus text format, as far as the node's `/metrics` needs it.

use std::collections::HashMap;

/// Samples of one scrape.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scrape {
    /// Summed over their labels.
    sums: HashMap<String, f64>,
    /// By name and labels, in the order of the text.
    all: Vec<(String, String, f64)>,
}

impl Scrape {
    /// Reads the samples; comments and lines of another form are skipped.
    pub(crate) fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, labels, value)) = sample(line) else { continue };
            *scrape.sums.entry(name.to_owned()).or_insert(0.0) += value;
            scrape.all.push((name.to_owned(), labels.to_owned(), value));
        }
        scrape
    }

    /// The sum over all labels of a metric.
    pub(crate) fn sum(&self, name: &str) -> Option<f64> {
        self.sums.get(name).copied()
    }

    /// The sum of those samples of a metric that have this label.
    pub(crate) fn labelled(&self, name: &str, label: &str, value: &str) -> f64 {
        let label = format!("{label}=\"{value}\"");
        let these = self.all.iter().filter(|(n, labels, _)| n == name && labels.contains(&label));
        these.map(|(_, _, value)| value).fold(0.0, |sum, value| sum + value)
    }

    /// The values that a label of a metric has, each once.
    pub(crate) fn labels(&self, name: &str, label: &str) -> Vec<String> {
        let begins = format!("{label}=\"");
        let these = self.all.iter().filter(|(n, _, _)| n == name);
        let mut values: Vec<String> = these
            .filter_map(|(_, labels, _)| labels.split_once(&begins)?.1.split('"').next())
            .map(str::to_owned)
            .collect();
        values.sort_unstable();
        values.dedup();
        values
    }

    /// By how much a counter of the workers rose since `before`.
    pub(crate) fn rise(&self, before: &Scrape, counter: &str) -> Option<f64> {
        let name = format!("sfumato_worker_{counter}_total");
        Some(self.sum(&name)? - before.sum(&name).unwrap_or(0.0))
    }
}

/// Name, labels and value of a line `name{label="value",..} value [timestamp]`.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    let end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
    let (name, rest) = line.split_at(end);
    // Label values may hold spaces and braces, but numbers follow the last brace.
    let (labels, values) = if rest.starts_with('{') { rest.rsplit_once('}')? } else { ("", rest) };
    Some((name, labels, values.split_ascii_whitespace().next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_over_labels() {
        let before = Scrape::parse("sfumato_worker_forwarded_total{worker=\"0\"} 5\n");
        let after = Scrape::parse(
            "# TYPE sfumato_worker_forwarded_total counter\n\
             sfumato_worker_forwarded_total{worker=\"0\"} 15\n\
             sfumato_worker_forwarded_total{worker=\"1\",why=\"a } b\"} 20 1700000000\n\
             process_resident_memory_bytes 1.5e6\n\
             nonsense\n",
        );
        assert_eq!(after.rise(&before, "forwarded"), Some(30.0));
        assert_eq!(after.rise(&before, "wakeups"), None);
        assert_eq!(after.sum("process_resident_memory_bytes"), Some(1.5e6));
        assert_eq!(after.labelled("sfumato_worker_forwarded_total", "worker", "1"), 20.0);
        assert_eq!(after.labels("sfumato_worker_forwarded_total", "worker"), ["0", "1"]);
        assert!(after.labels("process_resident_memory_bytes", "worker").is_empty());
    }
}
