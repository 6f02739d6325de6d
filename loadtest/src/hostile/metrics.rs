//! Reads the node's metrics in the Prometheus text format, and compares them with earlier ones.

use std::collections::BTreeMap;

/// Values by name and labels, summed over the workers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Parses a page of metrics. Lines that are no samples are ignored; samples that differ only in their `worker`
    /// label are added up.
    pub(super) fn parse(text: &str) -> Metrics {
        let mut all = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            *all.entry(without_worker(name)).or_default() += value;
        }
        Metrics(all)
    }

    /// Whether no metric was read.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a metric without labels.
    pub(super) fn value(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// Drops since `earlier`, by reason, incoming and outgoing together; only reasons that rose.
    pub(super) fn drops_since(&self, earlier: &Metrics) -> BTreeMap<String, u64> {
        let mut drops = BTreeMap::new();
        for (name, value) in &self.0 {
            let Some(reason) = drop_reason(name) else { continue };
            let before = earlier.value(name).unwrap_or(0.0);
            let more = (value - before).max(0.0) as u64;
            if more > 0 {
                *drops.entry(reason.to_owned()).or_default() += more;
            }
        }
        drops
    }

    /// The workers' counters without labels that rose since `earlier`; common beginnings and ends of their names are
    /// removed.
    pub(super) fn counters_since(&self, earlier: &Metrics) -> BTreeMap<String, u64> {
        let rises = self.0.iter().filter_map(|(name, value)| {
            let short = name.strip_prefix("sfumato_worker_")?.strip_suffix("_total")?;
            let more = value - earlier.value(name).unwrap_or(0.0);
            (more >= 1.0).then(|| (short.to_owned(), more as u64))
        });
        rises.collect()
    }
}

fn drop_reason(name: &str) -> Option<&str> {
    let (name, labels) = name.split_once('{')?;
    if !name.starts_with("sfumato_worker_dropped_") {
        return None;
    }
    labels.split_once("reason=\"")?.1.split_once('"').map(|(reason, _)| reason)
}

/// The name without the label `worker`.
fn without_worker(name: &str) -> String {
    let Some((base, labels)) = name.split_once('{') else { return name.to_owned() };
    let labels = labels.trim_end_matches('}');
    let rest: Vec<&str> = labels.split(',').filter(|label| !label.starts_with("worker=")).collect();
    if rest.is_empty() { base.to_owned() } else { format!("{base}{{{}}}", rest.join(",")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "\
# TYPE sfumato_worker_dropped_in_total counter
sfumato_worker_dropped_in_total{worker=\"0\",reason=\"srtp_auth\"} 3
sfumato_worker_dropped_in_total{worker=\"1\",reason=\"srtp_auth\"} 4
sfumato_worker_sessions{worker=\"0\"} 2
sfumato_worker_sessions{worker=\"1\"} 5
sfumato_rooms 2
";

    #[test]
    fn workers_are_summed_and_drops_compared() {
        let before = Metrics::parse(BEFORE);
        assert_eq!(before.value("sfumato_worker_sessions"), Some(7.0));
        assert_eq!(before.value("sfumato_rooms"), Some(2.0));
        let after = BEFORE.replace("} 4", "} 10")
            + "sfumato_worker_dropped_out_total{worker=\"0\",reason=\"rtx_limit\"} 2\n";
        let drops = Metrics::parse(&after).drops_since(&before);
        let expected = [("rtx_limit".to_owned(), 2), ("srtp_auth".to_owned(), 6)];
        assert_eq!(drops, BTreeMap::from(expected));
        assert!(before.drops_since(&before).is_empty());
        let gone = after + "sfumato_worker_packets_let_go_total{worker=\"1\"} 7\n";
        let gone = Metrics::parse(&gone).counters_since(&before);
        assert_eq!(gone, BTreeMap::from([("packets_let_go".to_owned(), 7)]));
        assert!(Metrics::parse("<html>").is_empty());
    }
}
