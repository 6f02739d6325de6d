//! Sessions come and go for a long time: whether every packet is accounted for, and whether all resources are given
//! back when everyone has left.

use std::{io, time::Duration};

use super::DIFFERENCE;
use crate::{
    Bench, proc,
    prometheus::Scrape,
    report::Table,
    server::Server,
    sessions::{note_failures, start},
    swarm::{Report, flag, time},
};

/// Time before the first reading, in which things that are made once are made.
const WARM_UP: Duration = Duration::from_secs(10);
/// A session that left without a goodbye ends after 30 s.
const GONE_WITHIN: Duration = Duration::from_secs(60);

pub(crate) const ASTRAY: &str = "packets that nobody accounts for";

/// The resources that a node holds at one moment.
struct Holdings {
    files: usize,
    threads: usize,
    resident: u64,
    scrape: Scrape,
}

/// Runs the soak for so long.
pub(crate) fn measure(bench: &Bench, lasting: Duration) -> io::Result<Table> {
    let server = Server::start(&bench.net, &bench.node)?;
    run(bench, &server, WARM_UP)?;
    let before = gone(&server)?;
    let report = run(bench, &server, lasting)?;
    let after = gone(&server)?;

    let title = format!(
        "{:.0} minutes of coming and going, changing addresses and leaving silently",
        lasting.as_secs_f64() / 60.0
    );
    let mut table = Table::new("soak", title, &["before", "after", DIFFERENCE]);
    let mut row = |name: &str, unit, before: f64, after: f64| {
        table.row(name, unit, [Some(before), Some(after), Some(after - before)]);
    };
    row("open files", "", before.files as f64, after.files as f64);
    row("threads", "", before.threads as f64, after.threads as f64);
    row("resident memory", "MB", before.resident as f64 / 1e6, after.resident as f64 / 1e6);
    for gauge in ["sfumato_sessions", "sfumato_rooms", "sfumato_worker_tracks"] {
        let of = |scrape: &Scrape| scrape.sum(gauge).unwrap_or(0.0);
        row(gauge, "", of(&before.scrape), of(&after.scrape));
    }
    let scrape = &after.scrape;
    for counter in ["sessions_connected", "rtp_accepted", "offered", "forwarded", "panics"] {
        let of = |scrape: &Scrape| total(scrape, counter);
        row(counter, "", of(&before.scrape), of(scrape));
    }
    for way in ["in", "out"] {
        let name = format!("sfumato_worker_dropped_{way}_total");
        for reason in scrape.labels(&name, "reason") {
            let of = |scrape: &Scrape| scrape.labelled(&name, "reason", &reason);
            row(&format!("dropped {way}: {reason}"), "", of(&before.scrape), of(scrape));
        }
    }
    row(ASTRAY, "", astray(&before.scrape), astray(scrape));
    table.row("joined, by the swarm", "", [None, Some(report.joined()), None]);
    table.row(
        "lost, by the swarm",
        "%",
        [None, report.number("/loss").map(|share| 100.0 * share), None],
    );
    note_failures(&mut table, &report);
    table.note("what came = STUN + DTLS + RTCP + accepted + handed over + dropped by reason; what was offered = forwarded + dropped by reason");
    Ok(table)
}

fn run(bench: &Bench, server: &Server, lasting: Duration) -> io::Result<Report> {
    let mut flags = vec!["soak".to_owned()];
    flags.extend(flag("duration", time(lasting)));
    start(bench, server, &flags)?.finish()
}

/// Waits until all sessions are gone, and returns what the node holds then.
fn gone(server: &Server) -> io::Result<Holdings> {
    let scrape = server.wait_for("everyone has gone", GONE_WITHIN, |scrape| {
        scrape.sum("sfumato_sessions") == Some(0.0)
            && scrape.sum("sfumato_worker_sessions") == Some(0.0)
    })?;
    let pid = server.pid();
    Ok(Holdings {
        files: proc::open_files(pid)?,
        threads: proc::threads(pid)?.len(),
        resident: server.resident()?,
        scrape,
    })
}

fn total(scrape: &Scrape, counter: &str) -> f64 {
    scrape.sum(&format!("sfumato_worker_{counter}_total")).unwrap_or(0.0)
}

/// The difference between the two sides of the node's packet sums; 0 when every packet is accounted for.
fn astray(scrape: &Scrape) -> f64 {
    let total = |counter| total(scrape, counter);
    let taken = ["stun", "dtls", "rtcp", "rtp_accepted", "handed_over", "dropped_in"];
    let came = total("datagrams_in") - taken.into_iter().map(total).sum::<f64>();
    let went = total("offered") - total("forwarded") - total("dropped_out");
    let between = total("relayed") - total("relays_taken") - total("relays_refused");
    came.abs() + went.abs() + between.abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_that_vanishes_is_missed() {
        let scrape = |datagrams: u32, forwarded: u32| {
            Scrape::parse(&format!(
                "sfumato_worker_datagrams_in_total{{worker=\"0\"}} {datagrams}\n\
                 sfumato_worker_stun_total{{worker=\"0\"}} 2\n\
                 sfumato_worker_rtp_accepted_total{{worker=\"0\"}} 5\n\
                 sfumato_worker_dropped_in_total{{worker=\"0\",reason=\"a\"}} 2\n\
                 sfumato_worker_dropped_in_total{{worker=\"0\",reason=\"b\"}} 1\n\
                 sfumato_worker_offered_total{{worker=\"0\"}} 50\n\
                 sfumato_worker_forwarded_total{{worker=\"0\"}} {forwarded}\n"
            ))
        };
        assert_eq!(astray(&scrape(10, 50)), 0.0);
        assert_eq!(astray(&scrape(11, 50)), 1.0);
        assert_eq!(astray(&scrape(10, 47)), 3.0);
    }
}
