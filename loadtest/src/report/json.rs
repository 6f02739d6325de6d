//! The report for machines. Times are in milliseconds, shares from 0 to 1, rates in bits per second.

use serde_json::{Map, Value, json};

use super::{Bystanders, Report, Second, text::rows};
use crate::{
    stats::{Histogram, Tally, Times},
    threshold::{frame_loss, loss},
};

/// The report as JSON.
pub fn to_json(report: &Report) -> Value {
    json!({
        "tool": concat!("sfumato-loadtest ", env!("CARGO_PKG_VERSION")),
        "scenario": report.scenario,
        "description": report.description,
        "seconds": report.played.as_secs_f64(),
        "counted_seconds": report.counted.as_secs_f64(),
        "interrupted": report.interrupted,
        "good": report.is_good(),
        "bots": report.bots,
        "failures": report.failures,
        "counters": report.counters,
        "loss": loss(&report.counters),
        "frame_loss": frame_loss(&report.counters),
        "bitrate": report.bitrate(),
        "times_ms": times(&report.times),
        "viewers_near_worst": report.times.viewers_near_worst(),
        "bystanders": report.bystanders.as_ref().map(bystanders),
        "ramp": report.ramp,
        "thresholds": report.verdicts,
        "server": { "cores": report.server_cpu, "memory": report.server_memory },
        "swarm": { "usage": report.own, "threads": report.threads, "buffer_drops": report.buffer_drops },
        "timeline": report.timeline.iter().map(second).collect::<Vec<_>>(),
    })
}

fn bystanders(bystanders: &Bystanders) -> Value {
    let mut seen = seen(&bystanders.tally);
    seen["joined"] = bystanders.joined.into();
    seen["failed"] = bystanders.failed.into();
    seen
}

fn seen(tally: &Tally) -> Value {
    json!({
        "counters": tally.counters,
        "loss": loss(&tally.counters),
        "frame_loss": frame_loss(&tally.counters),
        "times_ms": times(&tally.times),
    })
}

fn second(second: &Second) -> Value {
    json!({
        "at": second.at,
        "publishers": second.publishers,
        "viewers": second.viewers,
        "joining": second.joining,
        "joined": second.joined,
        "failed": second.failed,
        "counters": second.counters,
        "loss": loss(&second.counters),
        "times_ms": times(&second.times),
        "bystanders": second.bystanders.as_ref().map(seen),
        "server_cores": second.server_cpu,
        "server_memory": second.server_memory,
        "swarm_cores": second.swarm_cpu,
    })
}

fn times(times: &Times) -> Value {
    let all = rows(times).into_iter().filter(|(_, histogram)| histogram.count() > 0);
    let all = all.map(|(name, histogram)| (name.replace(' ', "_"), quantiles(histogram)));
    Value::Object(all.collect::<Map<_, _>>())
}

fn quantiles(histogram: &Histogram) -> Value {
    let ms = |q: f64| histogram.quantile(q).map(|d| d.as_secs_f64() * 1e3);
    json!({
        "count": histogram.count(),
        "mean": histogram.mean().map(|d| d.as_secs_f64() * 1e3),
        "p50": ms(0.5),
        "p95": ms(0.95),
        "p99": ms(0.99),
        "p999": ms(0.999),
        "max": ms(1.0),
    })
}
