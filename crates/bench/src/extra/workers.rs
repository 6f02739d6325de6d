//! Two workers: what it costs when subscribers live in another worker than their publisher.

use std::{io, time::Duration};

use crate::{
    Bench,
    node::{Outcome, PRICE, Show, Window, per, play},
    report::Table,
};

/// Viewers of the show.
const SHOW: Show = Show::Video(500);

/// Runs the same show on a node with one worker and on one with two.
pub(crate) fn measure(bench: &Bench) -> io::Result<Table> {
    let mut table = Table::new(
        "workers",
        format!(
            "{}: one worker, and two on two cores, of which the swarm has one too",
            SHOW.name()
        ),
        &["one", "two", "publisher's", "the other"],
    );
    let one = play(bench, SHOW, &[bench.net.server_core])?;
    let cores = [bench.net.server_core, bench.net.swarm_cores[0]];
    if bench.net.shares_a_core() {
        table.note("not measured with two: there is one core");
        table.row(PRICE, "ns", [one.window.price()]);
        return Ok(table);
    }
    let two = play(bench, SHOW, &cores)?;
    let [own, other] = split(&two.window);
    table.row(
        "packets forwarded",
        "/s",
        [
            rate(&one.window, one.window.rise("forwarded")),
            rate(&two.window, two.window.rise("forwarded")),
            rate(&two.window, Some(own.forwarded)),
            rate(&two.window, Some(other.forwarded)),
        ],
    );
    table.row(PRICE, "ns", [one.window.price(), two.window.price(), None, None]);
    table.row(
        "processor time of the worker per packet",
        "ns",
        [
            per(thread(&one.window, "0"), one.window.rise("forwarded")),
            per(Some(own.cpu + other.cpu), Some(own.forwarded + other.forwarded)),
            per(Some(own.cpu), Some(own.forwarded)),
            per(Some(other.cpu), Some(other.forwarded)),
        ],
    );
    let wakeups =
        |window: &Window| per(window.rise("wakeups").map(|n| n * 1e3), window.rise("forwarded"));
    table.row(
        "wake-ups per 1,000 packets",
        "",
        [
            wakeups(&one.window),
            wakeups(&two.window),
            per(Some(own.wakeups * 1e3), Some(own.forwarded)),
            per(Some(other.wakeups * 1e3), Some(other.forwarded)),
        ],
    );
    let delay = |outcome: &Outcome, what| outcome.report.number(&format!("/times_ms/delay/{what}"));
    for what in ["p50", "p99"] {
        table.row(
            format!("delay {what}"),
            "ms",
            [delay(&one, what), delay(&two, what), None, None],
        );
    }
    for (count, outcome) in [("one", &one), ("two", &two)] {
        let failures = outcome.report.failures();
        if !failures.is_empty() {
            table.note(format!("{count}: {failures}"));
        }
    }
    table.note("the last two columns are the two workers of the second run: where the publisher lives, and where packets come by a ring");
    table.note("the second worker shares its core with the swarm: its delays and its caches suffer, its processor time less");
    Ok(table)
}

/// What one worker did.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Part {
    forwarded: f64,
    wakeups: f64,
    /// Processor time in nanoseconds.
    cpu: f64,
    accepted: f64,
}

/// The worker that owns the publisher, and the sum of the others.
fn split(window: &Window) -> [Part; 2] {
    let workers = window.after.labels("sfumato_worker_forwarded_total", "worker");
    let mut parts: Vec<Part> = workers.iter().map(|worker| part(window, worker)).collect();
    parts.sort_by(|a, b| b.accepted.total_cmp(&a.accepted));
    let own = parts.first().copied().unwrap_or_default();
    let mut other = Part::default();
    for part in parts.iter().skip(1) {
        other.forwarded += part.forwarded;
        other.wakeups += part.wakeups;
        other.cpu += part.cpu;
    }
    [own, other]
}

fn part(window: &Window, worker: &str) -> Part {
    let rise = |counter: &str| {
        let name = format!("sfumato_worker_{counter}_total");
        let at = |scrape: &crate::prometheus::Scrape| scrape.labelled(&name, "worker", worker);
        at(&window.after) - at(&window.before)
    };
    Part {
        forwarded: rise("forwarded"),
        wakeups: rise("wakeups"),
        accepted: rise("rtp_accepted"),
        cpu: thread(window, worker).unwrap_or(0.0),
    }
}

fn thread(window: &Window, worker: &str) -> Option<f64> {
    let name = format!("worker-{worker}");
    let time: Duration = window.threads.iter().find(|(thread, _)| *thread == name)?.1;
    Some(time.as_nanos() as f64)
}

fn rate(window: &Window, count: Option<f64>) -> Option<f64> {
    per(count, Some(window.lasted.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prometheus::Scrape;

    #[test]
    fn the_publishers_worker_is_the_one_that_takes_media_in() {
        let scrape = |a: u32, b: u32, accepted: u32| {
            Scrape::parse(&format!(
                "sfumato_worker_forwarded_total{{worker=\"0\"}} {a}\n\
                 sfumato_worker_forwarded_total{{worker=\"1\"}} {b}\n\
                 sfumato_worker_rtp_accepted_total{{worker=\"0\"}} 0\n\
                 sfumato_worker_rtp_accepted_total{{worker=\"1\"}} {accepted}\n"
            ))
        };
        let window = Window {
            lasted: Duration::from_secs(1),
            cpu: Duration::ZERO,
            swarm_cpu: Duration::ZERO,
            wire: Default::default(),
            before: scrape(0, 10, 0),
            after: scrape(500, 30, 100),
            prices: Vec::new(),
            resident: 0,
            threads: vec![
                ("worker-0".to_owned(), Duration::from_nanos(7)),
                ("worker-1".to_owned(), Duration::from_nanos(9)),
            ],
        };
        let [own, other] = split(&window);
        assert_eq!((own.forwarded, own.cpu, own.accepted), (20.0, 9.0, 100.0));
        assert_eq!((other.forwarded, other.cpu), (500.0, 7.0));
    }
}
