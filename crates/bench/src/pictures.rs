//! A key frame to a thousand viewers: the delay of its packets, and of the packets of a small room on the same node.

use std::{
    collections::BTreeSet,
    io,
    time::{Duration, Instant},
};

use crate::{
    Bench,
    media::{PAYLOAD, PICTURES, SEED},
    node::{SETTLE, TAIL, Window, per, sound},
    report::Table,
    server::Server,
    sessions::{connected, pictures, start},
    swarm::{Report, Swarm, flag, time},
};

const VIEWERS: usize = 1_000;
/// Packets of a key frame.
const KEY_PACKETS: u16 = 100;
/// Pictures from one key frame to the next: two seconds.
const KEY_EVERY: u32 = 2 * PICTURES;
/// Packets of a picture on average, key frames included; the other pictures have one or two.
const MEAN: u16 = 3;
/// Listeners of sound in a room of their own.
const BYSTANDERS: usize = 20;
/// Time between the listeners' start and that of the viewers.
const EARLIER: Duration = Duration::from_secs(2);
/// Time over which the viewers join.
const JOIN_OVER: Duration = Duration::from_secs(4);

/// How a key frame leaves its publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    /// No pictures: the listeners alone.
    Never,
    /// In bursts of 17 packets every 5 ms, as a browser's pacer sends it.
    Paced,
    /// In one burst.
    AtOnce,
}

impl Leaves {
    const ALL: [(&str, Leaves); 3] =
        [("nobody else", Leaves::Never), ("paced", Leaves::Paced), ("at once", Leaves::AtOnce)];

    /// The flags of the swarm of a thousand viewers; `None` where there are none.
    fn flags(self) -> Option<Vec<String>> {
        let burst = match self {
            Leaves::Never => return None,
            Leaves::Paced => Vec::new(),
            Leaves::AtOnce => flag("burst", KEY_PACKETS).to_vec(),
        };
        let mut flags = vec!["webinar".to_owned()];
        flags
            .extend(flag("viewers", VIEWERS).into_iter().chain(flag("join-over", time(JOIN_OVER))));
        flags.extend(pictures("real", MEAN));
        flags.extend(
            flag("key-packets", KEY_PACKETS).into_iter().chain(flag("key-every", KEY_EVERY)),
        );
        flags.extend(flag("seed", SEED).into_iter().chain(burst));
        Some(flags)
    }
}

/// The result of a run.
struct Outcome {
    window: Window,
    /// The report of the listeners.
    bystanders: Report,
    /// The report of the viewers, if there were any.
    crowd: Option<Report>,
}

/// Measures all ways of sending a key frame.
///
/// # Errors
/// The node or a swarm does not start, or not all are connected in time.
pub(crate) fn measure(bench: &Bench) -> io::Result<Table> {
    let title = format!(
        "a key frame of {KEY_PACKETS} packets to {VIEWERS} viewers each {} s {}, one worker; {:.0} s each",
        KEY_EVERY / PICTURES,
        bench.net.words(),
        bench.effort.window.as_secs_f64()
    );
    let mut table = Table::new("pictures", title, &Leaves::ALL.map(|(name, _)| name));
    let mut outcomes = Vec::new();
    for (name, leaves) in Leaves::ALL {
        let outcome =
            play(bench, leaves).map_err(|e| io::Error::new(e.kind(), format!("{name}: {e}")))?;
        for report in outcome.crowd.iter().chain([&outcome.bystanders]) {
            let failures = report.failures();
            if !failures.is_empty() {
                table.note(format!("{name}: {failures}"));
            }
        }
        let drops = outcome.crowd.as_ref().and_then(|crowd| crowd.number(BUFFER_DROPS));
        if drops.is_some_and(|drops| drops > 0.0) {
            table.note(format!(
                "{name}: the swarm could not read as fast as it was sent to; what its kernel dropped is not the node's loss"
            ));
        }
        outcomes.push(outcome);
    }
    rows(&mut table, &outcomes);
    table.note(format!(
        "the other pictures have one or two packets of {PAYLOAD} bytes, {PICTURES} a second; paced: bursts of 17 packets each 5 ms, as browsers send; at once: one burst"
    ));
    table.note(format!(
        "bystanders: {BYSTANDERS} who hear sound in another room of the same worker, in a process of their own that goes before the others"
    ));
    table.note("delay: from before the publisher's encryption to the receiving kernel's time stamp: how late the swarm is to read does not count");
    Ok(table)
}

/// Runs one way of sending on a fresh node, and measures once all are connected.
fn play(bench: &Bench, leaves: Leaves) -> io::Result<Outcome> {
    let server = Server::start(&bench.net, &bench.node)?;
    let started = Instant::now();
    let begins = EARLIER + JOIN_OVER + SETTLE;
    let window = bench.effort.window;
    let mut flags = vec!["webinar".to_owned()];
    flags.extend(flag("viewers", BYSTANDERS).into_iter().chain(flag("join-over", "1s")));
    flags.extend(flag("duration", time(begins + window + TAIL)));
    // Packets of sound are never joined (GRO).
    flags.extend(bench.warm_up(begins).into_iter().chain(flag("gro", false)));
    flags.extend(sound());
    let bystanders = Swarm::start_urgent(&bench.net, &bench.swarm, &server, &flags)?;
    connected(&server, BYSTANDERS + 1)?;
    std::thread::sleep(EARLIER.saturating_sub(started.elapsed()));
    let crowd = match leaves.flags() {
        None => None,
        Some(mut flags) => {
            flags.extend(flag("duration", time(JOIN_OVER + SETTLE + window + TAIL)));
            flags.extend(
                bench.warm_up(JOIN_OVER + SETTLE).into_iter().chain(flag("gro", bench.gro)),
            );
            let crowd = start(bench, &server, &flags)?;
            connected(&server, BYSTANDERS + 1 + VIEWERS + 1)?;
            Some(crowd)
        }
    };
    std::thread::sleep(begins.saturating_sub(started.elapsed()));
    let window = Window::look(bench, &server, crowd.as_ref().unwrap_or(&bystanders))?;
    let crowd = crowd.map(Swarm::finish).transpose()?;
    Ok(Outcome { window, bystanders: bystanders.finish()?, crowd })
}

const BUFFER_DROPS: &str = "/swarm/buffer_drops";

fn rows(table: &mut Table, outcomes: &[Outcome]) {
    let mut row = |name: &str, unit, of: &dyn Fn(&Outcome) -> Option<f64>| {
        table.row(name, unit, outcomes.iter().map(of));
    };
    let crowd = |at: &'static str, times: f64| {
        move |outcome: &Outcome| Some(outcome.crowd.as_ref()?.number(at)? * times)
    };
    let bystanders = |at: &'static str, times: f64| {
        move |outcome: &Outcome| Some(outcome.bystanders.number(at)? * times)
    };
    row("key frames sent", "", &crowd("/counters/key_frames_sent", 1.0));
    row("key frame's packets: delay p50", "ms", &crowd("/times_ms/key_delay/p50", 1.0));
    row("key frame's packets: delay p99", "ms", &crowd("/times_ms/key_delay/p99", 1.0));
    row("key frame's packets: delay worst", "ms", &crowd("/times_ms/key_delay/max", 1.0));
    row("viewers who saw half of the worst", "%", &crowd("/viewers_near_worst", 100.0));
    row("all packets: delay p50", "ms", &crowd("/times_ms/delay/p50", 1.0));
    row("all packets: delay p99", "ms", &crowd("/times_ms/delay/p99", 1.0));
    row("all packets: delay worst", "ms", &crowd("/times_ms/delay/max", 1.0));
    row("the worst viewer's delay p99", "ms", &crowd("/times_ms/viewer_p99/max", 1.0));
    row("lost", "%", &crowd("/loss", 100.0));
    row("asked for again, and came", "", &crowd("/counters/recovered_packets", 1.0));
    row("freezes", "", &crowd("/counters/freezes", 1.0));
    row("bystanders: delay p50", "ms", &bystanders("/times_ms/delay/p50", 1.0));
    row("bystanders: delay p99", "ms", &bystanders("/times_ms/delay/p99", 1.0));
    row("bystanders: delay worst", "ms", &bystanders("/times_ms/delay/max", 1.0));
    row("bystanders: lost", "%", &bystanders("/loss", 100.0));
    row("the node's cores", "", &|outcome| {
        per(Some(outcome.window.cpu.as_secs_f64()), Some(outcome.window.lasted.as_secs_f64()))
    });
    row("processor time per packet", "ns", &|outcome| outcome.window.price());
    row("datagrams per message (train)", "", &|outcome| {
        per(outcome.window.rise("datagrams_out"), outcome.window.rise("messages_out"))
    });
    let reasons: BTreeSet<String> = outcomes.iter().flat_map(|o| o.window.dropped_out()).collect();
    for reason in &reasons {
        let name = format!("dropped by the node: {reason}");
        row(&name, "", &|outcome| Some(outcome.window.dropped_out_for(reason)));
    }
    if reasons.is_empty() {
        row("dropped by the node", "", &|_| Some(0.0));
    }
    row("messages that found the wire full", "", &|o| Some(o.window.wire.drops as f64));
    row("dropped by the swarm's full buffers", "", &crowd(BUFFER_DROPS, 1.0));
    row("the publisher's own kernel refused", "", &crowd("/counters/unsendable", 1.0));
    row("swarm's own lag p99", "ms", &crowd("/times_ms/swarm_lag/p99", 1.0));
    row("bystanders' swarm's own lag p99", "ms", &bystanders("/times_ms/swarm_lag/p99", 1.0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prometheus::Scrape;

    fn outcome(crowd: Option<&str>, dropped: u32) -> Outcome {
        let scrape = |forwarded: u32, dropped: u32| {
            Scrape::parse(&format!(
                "sfumato_worker_forwarded_total{{worker=\"0\"}} {forwarded}\n\
                 sfumato_worker_dropped_out_total{{worker=\"0\",reason=\"socket_full\"}} {dropped}\n\
                 sfumato_worker_dropped_out_total{{worker=\"0\",reason=\"other\"}} 5\n"
            ))
        };
        let window = Window {
            lasted: Duration::from_secs(2),
            cpu: Duration::from_secs(1),
            swarm_cpu: Duration::ZERO,
            wire: Default::default(),
            before: scrape(0, 1),
            after: scrape(10, 1 + dropped),
            prices: vec![700.0],
            resident: 0,
            threads: Vec::new(),
        };
        let bystanders = "{\"times_ms\": {\"delay\": {\"max\": 3.5}}, \"loss\": 0.01}";
        Outcome {
            window,
            bystanders: Report::parse(bystanders).unwrap(),
            crowd: crowd.map(|text| Report::parse(text).unwrap()),
        }
    }

    #[test]
    fn rows_tell_the_key_frame_the_bystanders_and_what_was_dropped() {
        let crowd = "{\"times_ms\": {\"key_delay\": {\"max\": 60}, \"delay\": {\"max\": 61}},\n\
                     \"viewers_near_worst\": 0.4, \"swarm\": {\"buffer_drops\": 9}}";
        let mut table = Table::new("pictures", "", &["nobody else", "at once"]);
        rows(&mut table, &[outcome(None, 0), outcome(Some(crowd), 7)]);
        let both = |name: &str| [table.value(name, "nobody else"), table.value(name, "at once")];
        assert_eq!(both("key frame's packets: delay worst"), [None, Some(60.0)]);
        assert_eq!(both("all packets: delay worst"), [None, Some(61.0)]);
        assert_eq!(both("viewers who saw half of the worst"), [None, Some(40.0)]);
        assert_eq!(both("bystanders: delay worst"), [Some(3.5), Some(3.5)]);
        assert_eq!(both("bystanders: lost"), [Some(1.0), Some(1.0)]);
        assert_eq!(both("the node's cores"), [Some(0.5), Some(0.5)]);
        assert_eq!(both("dropped by the node: socket_full"), [Some(0.0), Some(7.0)]);
        assert_eq!(both("dropped by the node: other"), [None, None], "none of them in the window");
        assert_eq!(both("dropped by the swarm's full buffers"), [None, Some(9.0)]);
    }

    #[test]
    fn a_key_frame_leaves_paced_or_at_once() {
        assert_eq!(Leaves::Never.flags(), None);
        let (paced, at_once) = (Leaves::Paced.flags().unwrap(), Leaves::AtOnce.flags().unwrap());
        assert_eq!(at_once[..paced.len()], paced);
        assert_eq!(at_once[paced.len()..], ["--burst", "100"]);
        assert!(paced.join(" ").contains("--viewers 1000 "));
        assert!(paced.join(" ").contains("--key-packets 100 --key-every 60"));
    }
}
