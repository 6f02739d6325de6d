//! Numbers out of the Prometheus text format: enough of it for the node's `/metrics`.

use std::collections::HashMap;

/// Samples of one scrape, summed over their labels.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scrape(HashMap<String, f64>);

impl Scrape {
    /// Reads what can be read; comments and lines of another form are passed over.
    pub(crate) fn parse(text: &str) -> Self {
        let mut sums = HashMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = sample(line) else { continue };
            *sums.entry(name.to_owned()).or_insert(0.0) += value;
        }
        Self(sums)
    }

    /// The sum over all labels of a metric.
    pub(crate) fn sum(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// By how much a counter of the workers rose since `before`.
    pub(crate) fn rise(&self, before: &Scrape, counter: &str) -> Option<f64> {
        let name = format!("sfumato_worker_{counter}_total");
        Some(self.sum(&name)? - before.sum(&name).unwrap_or(0.0))
    }
}

/// Name and value of a line `name{label="value",..} value [timestamp]`.
fn sample(line: &str) -> Option<(&str, f64)> {
    let end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
    let (name, rest) = line.split_at(end);
    // Label values may hold spaces and braces, but numbers follow the last brace.
    let values = if rest.starts_with('{') { rest.rsplit_once('}')?.1 } else { rest };
    Some((name, values.split_ascii_whitespace().next()?.parse().ok()?))
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
    }
}
