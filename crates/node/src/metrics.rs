//! The workers' counters and the process's own numbers in the Prometheus text format (version 0.0.4).

use std::fmt::Write;
use std::time::{Duration, Instant};

use model::DropReason;
use worker::WorkerMetrics;

/// Numbers that go down as well as up.
const GAUGES: [&str; 6] =
    ["sessions", "tracks", "waiting", "packet_buffers", "packet_bytes_used", "packet_bytes_limit"];

/// Appends all numbers of the workers and the process. `turn_ages`: how long ago each worker turned last.
pub(crate) fn write(
    workers: &[WorkerMetrics],
    turn_ages: &[Duration],
    started: Instant,
    text: &mut String,
) {
    // Writing to a String does not fail.
    write_workers(workers, text).unwrap_or_default();
    write_turn_ages(turn_ages, text).unwrap_or_default();
    write_process(started, text).unwrap_or_default();
}

fn write_workers(workers: &[WorkerMetrics], text: &mut String) -> std::fmt::Result {
    let names: Vec<&str> = workers.iter().take(1).flat_map(|w| w.counters()).map(|c| c.0).collect();
    for (at, name) in names.into_iter().enumerate() {
        let (kind, suffix) =
            if GAUGES.contains(&name) { ("gauge", "") } else { ("counter", "_total") };
        writeln!(text, "# TYPE sfumato_worker_{name}{suffix} {kind}")?;
        for worker in workers {
            let value = worker.counters().nth(at).map_or(0, |(_, value)| value);
            let number = worker.worker;
            writeln!(text, "sfumato_worker_{name}{suffix}{{worker=\"{number}\"}} {value}")?;
        }
    }
    write_drops(workers, "in", |worker| &worker.dropped_in, text)?;
    write_drops(workers, "out", |worker| &worker.dropped_out, text)
}

fn write_drops(
    workers: &[WorkerMetrics],
    way: &str,
    drops: impl Fn(&WorkerMetrics) -> &[(DropReason, u64)],
    text: &mut String,
) -> std::fmt::Result {
    let name = format!("sfumato_worker_dropped_{way}_total");
    writeln!(text, "# TYPE {name} counter")?;
    for worker in workers {
        for (reason, count) in drops(worker) {
            let (number, reason) = (worker.worker, reason.as_str());
            writeln!(text, "{name}{{worker=\"{number}\",reason=\"{reason}\"}} {count}")?;
        }
    }
    Ok(())
}

fn write_turn_ages(ages: &[Duration], text: &mut String) -> std::fmt::Result {
    const NAME: &str = "sfumato_worker_last_turn_age_seconds";
    writeln!(text, "# TYPE {NAME} gauge")?;
    for (worker, age) in ages.iter().enumerate() {
        writeln!(text, "{NAME}{{worker=\"{worker}\"}} {:.3}", age.as_secs_f64())?;
    }
    Ok(())
}

fn write_process(started: Instant, text: &mut String) -> std::fmt::Result {
    let version = env!("CARGO_PKG_VERSION");
    writeln!(text, "# TYPE sfumato_build_info gauge")?;
    writeln!(text, "sfumato_build_info{{version=\"{version}\"}} 1")?;
    writeln!(text, "# TYPE sfumato_uptime_seconds gauge")?;
    writeln!(text, "sfumato_uptime_seconds {:.3}", started.elapsed().as_secs_f64())?;
    if let Some(bytes) = resident_bytes() {
        writeln!(text, "# TYPE process_resident_memory_bytes gauge")?;
        writeln!(text, "process_resident_memory_bytes {bytes}")?;
    }
    if let Some(seconds) = cpu_seconds() {
        writeln!(text, "# TYPE process_cpu_seconds_total counter")?;
        writeln!(text, "process_cpu_seconds_total {seconds:.2}")?;
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        writeln!(text, "# TYPE process_open_fds gauge")?;
        writeln!(text, "process_open_fds {}", open.count())?;
    }
    Ok(())
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// User and system time (proc_pid_stat(5), fields 14 and 15), in the 1/100 s that Linux counts for user space.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The process's name, in parentheses, may hold spaces.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    let (user, system) = (next()?, next()?);
    Some((user + system) as f64 / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_of_the_text_format() {
        let worker = |number, forwarded| WorkerMetrics {
            worker: number,
            forwarded,
            sessions: 2,
            dropped_in: vec![(DropReason::SrtpAuth, 3)],
            ..WorkerMetrics::default()
        };
        let mut text = String::new();
        let ages = [Duration::from_millis(20), Duration::from_millis(1_500)];
        write(&[worker(0, 5), worker(1, 6)], &ages, Instant::now(), &mut text);
        for expected in [
            "# TYPE sfumato_worker_forwarded_total counter",
            "sfumato_worker_forwarded_total{worker=\"1\"} 6",
            "# TYPE sfumato_worker_sessions gauge",
            "sfumato_worker_sessions{worker=\"0\"} 2",
            "sfumato_worker_last_turn_age_seconds{worker=\"1\"} 1.500",
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
