//! Thresholds: `loss > 0.1%` and the like, which decide the exit code, and where a ramp ends.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de};

use crate::{
    stats::{Counters, Histogram, Tally, Times},
    units,
};

/// What can be judged, and what kind of quantity it is.
const METRICS: &[(&str, Kind)] = &[
    ("loss", Kind::Share),
    ("frame_loss", Kind::Share),
    ("corrupted", Kind::Count),
    ("duplicates", Kind::Count),
    ("reordered", Kind::Count),
    ("undecryptable", Kind::Count),
    ("freezes", Kind::Count),
    ("freeze_time", Kind::Time),
    ("failed", Kind::CountOrShare),
    ("joined", Kind::Count),
    ("bitrate", Kind::Bitrate),
    ("packets", Kind::Count),
    ("delay_p50", Kind::Time),
    ("delay_p95", Kind::Time),
    ("delay_p99", Kind::Time),
    ("delay_p999", Kind::Time),
    ("delay_max", Kind::Time),
    ("join_p50", Kind::Time),
    ("join_p99", Kind::Time),
    ("join_max", Kind::Time),
    ("first_frame_p50", Kind::Time),
    ("first_frame_p99", Kind::Time),
    ("first_packet_p50", Kind::Time),
    ("first_packet_p95", Kind::Time),
    ("switch_p50", Kind::Time),
    ("switch_p95", Kind::Time),
    ("key_wait_p99", Kind::Time),
    ("jitter_p99", Kind::Time),
    ("lag_p99", Kind::Time),
    ("server_cpu", Kind::Share),
    ("server_memory", Kind::Bytes),
    ("bystander_delay_p50", Kind::Time),
    ("bystander_delay_p99", Kind::Time),
    ("bystander_freezes", Kind::Count),
    ("bystander_loss", Kind::Share),
];

/// Stands where a value would.
pub(crate) const NOT_MEASURED: &str = "not measured";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Share,
    Count,
    CountOrShare,
    Time,
    Bitrate,
    Bytes,
}

/// What a threshold is held against.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// Over the time that is judged.
    pub counters: &'a Counters,
    /// Over the same time.
    pub times: &'a Times,
    /// How long that was.
    pub duration: Duration,
    /// Bots that joined, and that failed.
    pub joined: u64,
    /// Bots that failed.
    pub failed: u64,
    /// Cores that the server used on average, where it was watched.
    pub server_cpu: Option<f64>,
    /// The most memory that it held, in bytes.
    pub server_memory: Option<u64>,
    /// What the bystanders saw over the same time, where there are any.
    pub bystanders: Option<&'a Tally>,
}

/// How a value must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// A threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    text: String,
    metric: &'static str,
    relation: Relation,
    /// Seconds, a share from 0 to 1, a count, bits per second or bytes.
    limit: f64,
    /// The limit was written with a percent sign.
    is_share: bool,
}

/// How a run stands to a threshold.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Verdict {
    /// The threshold as it was written.
    pub threshold: String,
    /// It is so: the run has failed.
    pub broken: bool,
    /// The value, for people; "not measured" when there is none.
    pub value: String,
}

/// Why a text is no threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThresholdError(String);

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for ThresholdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ThresholdError {}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let text = text.trim();
        let wrong = |why: &str| ThresholdError(format!("{text:?} is no threshold: {why}"));
        let at = text
            .find(['<', '>'])
            .ok_or_else(|| wrong("write a metric, one of > >= < <=, and a limit"))?;
        let (name, rest) = text.split_at(at);
        let (relation, limit) = match (rest.get(..2), rest.get(..1)) {
            (Some(">="), _) => (Relation::AtLeast, &rest[2..]),
            (Some("<="), _) => (Relation::AtMost, &rest[2..]),
            (_, Some(">")) => (Relation::Above, &rest[1..]),
            _ => (Relation::Below, &rest[1..]),
        };
        let known = METRICS.iter().find(|(metric, _)| *metric == name.trim());
        let Some(&(metric, kind)) = known else {
            let names: Vec<&str> = METRICS.iter().map(|(metric, _)| *metric).collect();
            return Err(wrong(&format!("metrics are {}", names.join(", "))));
        };
        let (number, unit) = units::split(limit).ok_or_else(|| wrong("the limit is no number"))?;
        let factor = match (kind, unit) {
            (Kind::Share | Kind::CountOrShare, "%") => Some(0.01),
            (Kind::Share | Kind::Count | Kind::CountOrShare, "") => Some(1.0),
            (Kind::Time, unit) => units::seconds_of(unit),
            (Kind::Bitrate | Kind::Bytes, "") => Some(1.0),
            (Kind::Bitrate | Kind::Bytes, "k" | "kB") => Some(1e3),
            (Kind::Bitrate | Kind::Bytes, "M" | "MB") => Some(1e6),
            (Kind::Bitrate | Kind::Bytes, "G" | "GB") => Some(1e9),
            _ => None,
        };
        let factor = factor.ok_or_else(|| wrong(&format!("{metric} has no unit {unit:?}")))?;
        let limit = number * factor;
        // `loss > 1` looks like one percent and would never be broken.
        if kind == Kind::Share && metric != "server_cpu" && unit.is_empty() && limit >= 1.0 {
            return Err(wrong(&format!(
                "{metric} is a share from 0 to 1: write {number}% for percent"
            )));
        }
        Ok(Threshold { text: text.to_owned(), metric, relation, limit, is_share: unit == "%" })
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Threshold {
    /// Holds it against what was measured. What was not measured breaks a lower bound (`packets < 1`), and no upper one.
    pub fn judge(&self, judged: &Judged<'_>) -> Verdict {
        let value = self.value(judged);
        let broken = match (self.relation, value) {
            (Relation::Above, Some(value)) => value > self.limit,
            (Relation::AtLeast, Some(value)) => value >= self.limit,
            (Relation::Below, Some(value)) => value < self.limit,
            (Relation::AtMost, Some(value)) => value <= self.limit,
            (Relation::Below | Relation::AtMost, None) => true,
            (Relation::Above | Relation::AtLeast, None) => false,
        };
        let value = value.map_or_else(|| NOT_MEASURED.to_owned(), |value| self.show(value));
        Verdict { threshold: self.text.clone(), broken, value }
    }

    fn value(&self, judged: &Judged<'_>) -> Option<f64> {
        let Judged { counters, times, duration, .. } = judged;
        let count = |count: u64| Some(count as f64);
        let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let quantile = |h: &Histogram, q| h.quantile(q).map(|d| d.as_secs_f64());
        match self.metric {
            "loss" => loss(counters),
            "frame_loss" => frame_loss(counters),
            "corrupted" => count(counters.corrupted),
            "duplicates" => count(counters.duplicates),
            "reordered" => count(counters.reordered),
            "undecryptable" => count(counters.undecryptable),
            "freezes" => count(counters.freezes),
            "freeze_time" => Some(counters.freeze_us as f64 / 1e6),
            "failed" if self.is_share => share(judged.failed, judged.failed + judged.joined),
            "failed" => count(judged.failed),
            "joined" => count(judged.joined),
            "bitrate" => {
                Some(counters.received_bytes as f64 * 8.0 / duration.as_secs_f64().max(1e-3))
            }
            "packets" => count(counters.received_packets),
            "delay_p50" => quantile(&times.delay, 0.5),
            "delay_p95" => quantile(&times.delay, 0.95),
            "delay_p99" => quantile(&times.delay, 0.99),
            "delay_p999" => quantile(&times.delay, 0.999),
            "delay_max" => quantile(&times.delay, 1.0),
            "join_p50" => quantile(&times.join, 0.5),
            "join_p99" => quantile(&times.join, 0.99),
            "join_max" => quantile(&times.join, 1.0),
            "first_frame_p50" => quantile(&times.first_frame, 0.5),
            "first_frame_p99" => quantile(&times.first_frame, 0.99),
            "first_packet_p50" => quantile(&times.first_packet, 0.5),
            "first_packet_p95" => quantile(&times.first_packet, 0.95),
            "switch_p50" => quantile(&times.switch, 0.5),
            "switch_p95" => quantile(&times.switch, 0.95),
            "key_wait_p99" => quantile(&times.key_wait, 0.99),
            "jitter_p99" => quantile(&times.jitter, 0.99),
            "lag_p99" => quantile(&times.lag, 0.99),
            "server_cpu" => judged.server_cpu,
            "server_memory" => judged.server_memory.map(|bytes| bytes as f64),
            "bystander_delay_p50" => quantile(&judged.bystanders?.times.delay, 0.5),
            "bystander_delay_p99" => quantile(&judged.bystanders?.times.delay, 0.99),
            "bystander_freezes" => count(judged.bystanders?.counters.freezes),
            "bystander_loss" => loss(&judged.bystanders?.counters),
            _ => None,
        }
    }

    fn show(&self, value: f64) -> String {
        let kind = METRICS.iter().find(|(metric, _)| *metric == self.metric).map(|(_, kind)| *kind);
        match kind {
            Some(Kind::Time) => units::show_time(Duration::from_secs_f64(value.max(0.0))),
            Some(Kind::Share) => format!("{:.3} %", value * 100.0),
            Some(Kind::CountOrShare) if self.is_share => format!("{:.3} %", value * 100.0),
            Some(Kind::Bitrate) => units::show_bitrate(value),
            Some(Kind::Bytes) => format!("{:.1} MB", value / 1e6),
            _ => units::show_count(value as u64),
        }
    }
}

/// Share of the packets sent to us that never came, retransmissions included.
pub(crate) fn loss(counters: &Counters) -> Option<f64> {
    let (expected, received) = (counters.expected_packets, counters.received_packets);
    (expected > 0).then(|| expected.saturating_sub(received) as f64 / expected as f64)
}

/// Share of the frames that never came whole.
pub(crate) fn frame_loss(counters: &Counters) -> Option<f64> {
    let all = counters.frames + counters.frames_lost;
    (all > 0).then(|| counters.frames_lost as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: &str, counters: Counters, times: &Times, failed: u64) -> Verdict {
        let judged = Judged {
            counters: &counters,
            times,
            duration: Duration::from_secs(10),
            joined: 90,
            failed,
            server_cpu: None,
            server_memory: None,
            bystanders: None,
        };
        text.parse::<Threshold>().unwrap().judge(&judged)
    }

    #[test]
    fn thresholds_judge_what_they_say() {
        let counters = Counters {
            expected_packets: 1_000,
            received_packets: 998,
            received_bytes: 1_250_000,
            freezes: 3,
            ..Counters::default()
        };
        let mut times = Times::default();
        times.join.record(Duration::from_millis(2_500));
        let broken = |text: &str| judge(text, counters, &times, 10).broken;
        assert!(broken("loss > 0.1%") && !broken("loss>0.2%") && broken("loss >= 0.002"));
        assert!(broken("join_p99 > 2s") && !broken("join_p99 > 2600 ms"));
        assert!(broken("freezes >= 3") && !broken("freezes > 3"));
        assert!(broken("failed > 5%") && !broken("failed > 10%") && broken("failed > 9"));
        assert!(broken("bitrate < 2M") && !broken("bitrate < 500k"));
        assert_eq!(judge("loss > 1%", counters, &times, 0).value, "0.200 %");
    }

    #[test]
    fn bystanders_are_judged_apart() {
        let counters = Counters {
            freezes: 2,
            expected_packets: 100,
            received_packets: 99,
            ..Counters::default()
        };
        let mut bystanders = Tally { counters, times: Times::default() };
        bystanders.times.delay.record(Duration::from_millis(30));
        let broken = |text: &str, bystanders| {
            let judged = Judged {
                counters: &Counters::default(),
                times: &Times::default(),
                duration: Duration::from_secs(1),
                joined: 1,
                failed: 0,
                server_cpu: None,
                server_memory: None,
                bystanders,
            };
            text.parse::<Threshold>().unwrap().judge(&judged).broken
        };
        for (text, expected) in [
            ("bystander_delay_p99 > 20ms", true),
            ("bystander_delay_p50 > 40ms", false),
            ("bystander_freezes > 1", true),
            ("bystander_loss > 0.5%", true),
            ("bystander_loss > 1%", false),
        ] {
            assert_eq!(broken(text, Some(&bystanders)), expected, "{text}");
            assert!(!broken(text, None), "{text}");
        }
    }

    #[test]
    fn what_was_not_measured_breaks_lower_bounds_only() {
        let times = Times::default();
        let verdict = judge("delay_p99 > 1s", Counters::default(), &times, 0);
        assert_eq!((verdict.broken, verdict.value.as_str()), (false, "not measured"));
        assert!(judge("server_cpu < 1", Counters::default(), &times, 0).broken);
        assert!(judge("packets < 1", Counters::default(), &times, 0).broken);
    }

    #[test]
    fn other_texts_are_refused_with_a_reason() {
        let error = |text: &str| text.parse::<Threshold>().unwrap_err().to_string();
        assert!(error("loss").contains("one of > >= < <="));
        assert!(error("losses > 1").contains("frame_loss"));
        assert!(error("loss > much").contains("no number"));
        assert!(error("loss > 1s").contains("no unit"));
        assert!(error("loss > 1").contains("write 1%"));
        assert!("server_cpu > 1.5".parse::<Threshold>().is_ok());
        assert!("failed > 1".parse::<Threshold>().is_ok());
        assert!(error("join_p99 > 1%").contains("no unit"));
    }
}
