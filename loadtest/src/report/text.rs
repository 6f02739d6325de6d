//! The summary that a person reads.

use std::fmt::Write;

use super::Report;
use crate::{
    stats::Histogram,
    threshold::{NOT_MEASURED, frame_loss, loss},
    units::{show_bitrate, show_count, show_time},
};

/// The summary.
pub fn summary(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string never fails.
    _ = write_summary(&mut text, report);
    text
}

fn write_summary(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(out, "{}", report.description)?;
    let ended = if report.interrupted { ", interrupted" } else { "" };
    let counted = match report.counted {
        counted if counted == report.played => String::new(),
        counted => format!("; what follows is of the last {}", show_time(counted)),
    };
    writeln!(out, "ran for {}{ended}{counted}\n", show_time(report.played))?;
    bots_and_reasons(out, report)?;
    media(out, report)?;
    table(out, report)?;
    costs(out, report)?;
    verdicts(out, report)
}

fn bots_and_reasons(out: &mut String, report: &Report) -> std::fmt::Result {
    let bots = &report.bots;
    let after = match bots.broken_off {
        0 => String::new(),
        some => format!(" ({} of them after they had joined)", show_count(some)),
    };
    writeln!(
        out,
        "bots       {} joined, {} failed{after}, {} left, {} moved",
        show_count(bots.joined),
        show_count(bots.failed),
        show_count(bots.left),
        show_count(bots.moved),
    )?;
    for (reason, count) in report.failures.sorted() {
        writeln!(out, "           {:>6} x {reason}", show_count(count))?;
    }
    if bots.replaced > 0 {
        writeln!(out, "           {} came in the place of failed ones", show_count(bots.replaced))?;
    }
    if bots.stalled > 0 {
        let stalled = show_count(bots.stalled);
        writeln!(out, "           {stalled} stopped reading, as they were told")?;
    }
    if bots.deferred > 0 {
        writeln!(out, "           {} requests put off by the server", show_count(bots.deferred))?;
    }
    if bots.undeleted > 0 {
        writeln!(out, "           {} sessions not deleted", show_count(bots.undeleted))?;
    }
    Ok(())
}

fn media(out: &mut String, report: &Report) -> std::fmt::Result {
    let c = &report.counters;
    let sent =
        format!("{} packets, {} again", show_count(c.sent_packets), show_count(c.resent_packets));
    writeln!(out, "sent       {sent}, {} key frames", show_count(c.key_frames_sent))?;
    writeln!(
        out,
        "received   {} packets, {}, {} frames",
        show_count(c.received_packets),
        show_bitrate(report.bitrate()),
        show_count(c.frames),
    )?;
    writeln!(
        out,
        "lost       {} of packets ({} recovered), {} of frames",
        share(loss(c)),
        show_count(c.recovered_packets),
        share(frame_loss(c)),
    )?;
    writeln!(
        out,
        "wrong      {} duplicates, {} out of order, {} corrupted, {} undecryptable, {} foreign",
        show_count(c.duplicates),
        show_count(c.reordered),
        show_count(c.corrupted),
        show_count(c.undecryptable),
        show_count(c.foreign),
    )?;
    writeln!(
        out,
        "frozen     {} times, {:.1} s in all; {} key frames and {} packets asked for",
        show_count(c.freezes),
        c.freeze_us as f64 / 1e6,
        show_count(c.plis_sent),
        show_count(c.nacks_sent),
    )?;
    if c.event_messages > 0 {
        writeln!(
            out,
            "events     {} messages; {} renegotiations, {} choices without a picture",
            show_count(c.event_messages),
            show_count(c.renegotiations),
            show_count(c.unswitched),
        )?;
    }
    if let Some(bystanders) = &report.bystanders {
        let c = &bystanders.tally.counters;
        writeln!(
            out,
            "bystanders {} joined, {} failed; lost {} of packets, {} of frames; frozen {} times, {:.1} s in all",
            show_count(bystanders.joined),
            show_count(bystanders.failed),
            share(loss(c)),
            share(frame_loss(c)),
            show_count(c.freezes),
            c.freeze_us as f64 / 1e6,
        )?;
    }
    if c.unsendable + c.dropped_by_fault > 0 {
        writeln!(
            out,
            "own        {} datagrams not taken by the kernel, {} dropped by faults asked for",
            show_count(c.unsendable),
            show_count(c.dropped_by_fault),
        )?;
    }

    if report.buffer_drops > 0 {
        let drops = show_count(report.buffer_drops);
        // Those of viewers who do not read are full, as they are meant to be.
        let meant = if report.bots.stalled > 0 { ", those of the stalled too" } else { "" };
        writeln!(
            out,
            "own        {drops} datagrams dropped by this machine: receive buffers were full{meant}"
        )?;
    }
    Ok(())
}

fn table(out: &mut String, report: &Report) -> std::fmt::Result {
    if rows(&report.times).iter().all(|(_, histogram)| histogram.count() == 0) {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:<12}{:>10}{:>11}{:>11}{:>11}{:>11}{:>11}",
        "", "samples", "p50", "p95", "p99", "p99.9", "max"
    )?;
    for (name, histogram) in rows(&report.times) {
        row(out, name, histogram)?;
        if let ("delay", Some(bystanders)) = (name, &report.bystanders) {
            row(out, "  bystanders", &bystanders.tally.times.delay)?;
        }
    }
    Ok(())
}

fn costs(out: &mut String, report: &Report) -> std::fmt::Result {
    let c = &report.counters;
    if let Some(own) = &report.own {
        let packets = c.received_packets + c.sent_packets + c.resent_packets;
        let per_packet = match packets {
            0 => String::new(),
            packets => format!(", {:.2} µs a packet", own.cpu_seconds * 1e6 / packets as f64),
        };
        let megabytes = own.memory as f64 / 1e6;
        let threads = report.threads;
        writeln!(
            out,
            "\nswarm      {:.1} s of CPU ({:.1} user, {:.1} system){per_packet}, {megabytes:.1} MB, {threads} thread{}",
            own.cpu_seconds,
            own.user_seconds,
            own.system_seconds,
            if threads == 1 { "" } else { "s" },
        )?;
    }
    if let (Some(cpu), Some(memory)) = (report.server_cpu, report.server_memory) {
        let megabytes = memory as f64 / 1e6;
        writeln!(out, "server     {cpu:.2} cores on average, {megabytes:.1} MB at most")?;
    }
    Ok(())
}

fn verdicts(out: &mut String, report: &Report) -> std::fmt::Result {
    if let Some(ramp) = &report.ramp {
        let viewers = ramp.viewers;
        match ramp.broken.first() {
            None => writeln!(out, "\nramp       came to its top of {viewers} viewers")?,
            Some(_) => {
                writeln!(out, "\nramp       broke at {viewers} viewers; {} held", ramp.held)?;
            }
        }
        for verdict in &ramp.broken {
            writeln!(out, "           {} (it was {})", verdict.threshold, verdict.value)?;
        }
    }
    if !report.verdicts.is_empty() {
        writeln!(out)?;
    }
    for verdict in &report.verdicts {
        let word = match (verdict.broken, verdict.value.as_str()) {
            (true, _) => "BROKEN",
            (false, NOT_MEASURED) => "-",
            _ => "ok",
        };
        writeln!(out, "{word:<10} {} (it is {})", verdict.threshold, verdict.value)?;
    }
    if report.bots.joined == 0 {
        writeln!(out, "FAILED     no peer could join")?;
    }
    Ok(())
}

/// The times of a report with their names.
pub(crate) fn rows(times: &crate::stats::Times) -> [(&'static str, &Histogram); 11] {
    [
        ("delay", &times.delay),
        ("key delay", &times.key_delay),
        ("viewer p99", &times.viewer_p99),
        ("viewer worst", &times.viewer_worst),
        ("join", &times.join),
        ("first frame", &times.first_frame),
        ("first packet", &times.first_packet),
        ("switch", &times.switch),
        ("key wait", &times.key_wait),
        ("jitter", &times.jitter),
        ("swarm lag", &times.lag),
    ]
}

fn row(out: &mut String, name: &str, histogram: &Histogram) -> std::fmt::Result {
    if histogram.count() == 0 {
        return Ok(());
    }
    write!(out, "{name:<12}{:>10}", show_count(histogram.count()))?;
    for q in [0.5, 0.95, 0.99, 0.999, 1.0] {
        write!(out, "{:>11}", histogram.quantile(q).map(show_time).unwrap_or_default())?;
    }
    writeln!(out)
}

fn share(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.3} %", share * 100.0))
}
