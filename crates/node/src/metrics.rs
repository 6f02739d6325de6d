//! The metrics of the workers and of the process, for Prometheus.

use std::time::{Duration, Instant};

use model::DropReason;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use worker::WorkerMetrics;

/// Metrics that go down as well as up.
const GAUGES: [&str; 9] = [
    "sessions",
    "half_open",
    "paths",
    "messages_waiting",
    "tracks",
    "waiting",
    "packet_buffers",
    "packet_bytes_used",
    "packet_bytes_limit",
];

type Encoded = Result<(), std::fmt::Error>;

/// Writes all metrics of the workers and the process. `turn_ages`: for each worker the time since its last turn.
///
/// # Errors
/// Those of the encoder.
pub(crate) fn write(
    workers: &[WorkerMetrics],
    turn_ages: &[Duration],
    started: Instant,
    encoder: &mut DescriptorEncoder<'_>,
) -> Encoded {
    write_workers(workers, encoder)?;
    write_turn_ages(turn_ages, encoder)?;
    write_process(started, encoder)
}

fn write_workers(workers: &[WorkerMetrics], encoder: &mut DescriptorEncoder<'_>) -> Encoded {
    let names: Vec<_> = workers.iter().take(1).flat_map(WorkerMetrics::counters).collect();
    for (at, (name, help, _)) in names.into_iter().enumerate() {
        let is_gauge = GAUGES.contains(&name);
        let kind = if is_gauge { MetricType::Gauge } else { MetricType::Counter };
        let name = format!("sfumato_worker_{name}");
        let mut family = encoder.encode_descriptor(&name, help, None, kind)?;
        for worker in workers {
            let value = worker.counters().nth(at).map_or(0, |(.., value)| value);
            let labels = [("worker", worker.worker)];
            let mut metric = family.encode_family(&labels)?;
            if is_gauge { metric.encode_gauge(&value)? } else { count(&mut metric, value)? }
        }
    }
    let (taken, sent) =
        ("Datagrams that went no further", "Copies for subscribers that were not sent");
    write_drops(workers, "in", taken, |worker| &worker.dropped_in, encoder)?;
    write_drops(workers, "out", sent, |worker| &worker.dropped_out, encoder)
}

fn write_drops(
    workers: &[WorkerMetrics],
    way: &str,
    help: &str,
    drops: impl Fn(&WorkerMetrics) -> &[(DropReason, u64)],
    encoder: &mut DescriptorEncoder<'_>,
) -> Encoded {
    let (name, help) = (format!("sfumato_worker_dropped_{way}"), format!("{help}, by reason."));
    let mut family = encoder.encode_descriptor(&name, &help, None, MetricType::Counter)?;
    for worker in workers {
        for (reason, dropped) in drops(worker) {
            let number = worker.worker.to_string();
            let labels = [("worker", number.as_str()), ("reason", reason.as_str())];
            count(&mut family.encode_family(&labels)?, *dropped)?;
        }
    }
    Ok(())
}

fn count(metric: &mut MetricEncoder<'_>, value: u64) -> Encoded {
    metric.encode_counter::<NoLabelSet, u64, u64>(&value, None)
}

fn write_turn_ages(ages: &[Duration], encoder: &mut DescriptorEncoder<'_>) -> Encoded {
    const NAME: &str = "sfumato_worker_last_turn_age_seconds";
    const HELP: &str = "Time since each worker turned last; it sleeps for half a second at most.";
    let mut family = encoder.encode_descriptor(NAME, HELP, None, MetricType::Gauge)?;
    for (worker, age) in ages.iter().enumerate() {
        family.encode_family(&[("worker", worker)])?.encode_gauge(&age.as_secs_f64())?;
    }
    Ok(())
}

fn write_process(started: Instant, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
    let labels = [("version", env!("CARGO_PKG_VERSION"))];
    encoder
        .encode_descriptor("sfumato_build_info", "The version.", None, MetricType::Gauge)?
        .encode_family(&labels)?
        .encode_gauge(&1_i64)?;
    let mut gauge = |name: &str, help: &str, value: f64| {
        encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    };
    gauge("sfumato_uptime_seconds", "Time since the start.", started.elapsed().as_secs_f64())?;
    if let Some(bytes) = resident_bytes() {
        gauge("process_resident_memory_bytes", "Resident memory.", bytes as f64)?;
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        gauge("process_open_fds", "Open file descriptors.", open.count() as f64)?;
    }
    if let Some(seconds) = cpu_seconds() {
        let help = "User and system time of all threads.";
        encoder
            .encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, f64, u64>(&seconds, None)?;
    }
    Ok(())
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// User and system time (proc_pid_stat(5), fields 14 and 15), in the units of 1/100 s that Linux shows to user space.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The process's name, in parentheses, may contain spaces.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    let (user, system) = (next()?, next()?);
    Some((user + system) as f64 / 100.0)
}

#[cfg(test)]
mod tests {
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::prometheus_text;
    use prometheus_client::registry::Registry;

    use super::*;

    #[derive(Debug)]
    struct Node(Vec<WorkerMetrics>);

    impl Collector for Node {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Encoded {
            let ages = [Duration::from_millis(20), Duration::from_millis(1_500)];
            write(&self.0, &ages, Instant::now(), &mut encoder)
        }
    }

    #[test]
    fn every_line_is_of_the_text_format() {
        let worker = |number, forwarded| WorkerMetrics {
            worker: number,
            forwarded,
            sessions: 2,
            dropped_in: vec![(DropReason::SrtpAuth, 3)],
            ..WorkerMetrics::default()
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Node(vec![worker(0, 5), worker(1, 6)])));
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry).unwrap();
        for expected in [
            "# HELP sfumato_worker_forwarded_total Copies sealed for a subscriber.",
            "# TYPE sfumato_worker_forwarded_total counter",
            "sfumato_worker_forwarded_total{worker=\"1\"} 6",
            "# TYPE sfumato_worker_sessions gauge",
            "sfumato_worker_sessions{worker=\"0\"} 2",
            "sfumato_worker_last_turn_age_seconds{worker=\"1\"} 1.5",
            "sfumato_worker_dropped_in_total{worker=\"0\",reason=\"srtp_auth\"} 3",
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected}\n{text}");
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(name.starts_with("sfumato_") || name.starts_with("process_"), "{line}");
        }
        assert!(resident_bytes().unwrap() > 0);
        assert!(cpu_seconds().is_some());
    }
}
