//! Whether viewers that do not read, or that have bad lines, hurt the viewers beside them.

use std::{io, time::Duration};

use super::DIFFERENCE;
use crate::{
    Bench,
    media::PACKETS,
    report::Table,
    server::Server,
    sessions::{note_failures, start, video},
    swarm::{Report, flag, time},
};

pub(crate) const STALLED: &str = "beside 10 who do not read";
pub(crate) const FAULTY: &str = "beside 10 with 30 % loss and 200 kbit/s";
const GOOD: &str = "beside 10 with good lines";

const BYSTANDERS: usize = 50;
const OTHERS: usize = 10;
/// Time until all viewers are connected and the slow ones have become slow.
const WARM_UP: Duration = Duration::from_secs(6);

/// Measures good viewers beside slow viewers of each kind.
pub(crate) fn measure(bench: &Bench) -> io::Result<Table> {
    let kinds: [(&str, Vec<String>); 3] = [
        (GOOD, Vec::new()),
        (STALLED, flag("stalled", "100%").to_vec()),
        (FAULTY, [flag("faulty", "100%"), flag("loss", "30%"), flag("rate", "200k")].concat()),
    ];
    let title = format!("delay p99 of {BYSTANDERS} viewers beside others, 1 publisher");
    let mut table =
        Table::new("slow", title, &["delay p50", "delay p99", DIFFERENCE, "lost %", "freezes"]);
    let mut good = None;
    for (name, flags) in kinds {
        let report = run(bench, &flags)?;
        let p99 = report.number("/bystanders/times_ms/delay/p99");
        good = good.or(p99);
        let moved = p99.zip(good).map(|(p99, good)| p99 - good);
        let loss = report.number("/bystanders/loss").map(|share| 100.0 * share);
        let p50 = report.number("/bystanders/times_ms/delay/p50");
        let freezes = report.number("/bystanders/counters/freezes");
        table.row(name, "ms", [p50, p99, moved, loss, freezes]);
        note_failures(&mut table, &report);
    }
    table.note("the difference is that to the first row");
    Ok(table)
}

fn run(bench: &Bench, others: &[String]) -> io::Result<Report> {
    let server = Server::start(&bench.net, &bench.node)?;
    let mut flags = vec!["webinar".to_owned()];
    flags.extend(flag("bystanders", BYSTANDERS).into_iter().chain(flag("viewers", OTHERS)));
    flags.extend(flag("join-over", "1s"));
    flags.extend(flag("duration", time(WARM_UP + 2 * bench.effort.window)));
    flags.extend(bench.warm_up(WARM_UP));
    flags.extend(video(PACKETS));
    flags.extend_from_slice(others);
    start(bench, &server, &flags)?.finish()
}
