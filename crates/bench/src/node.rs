//! The real binary under load: packets forwarded per second of its processor time beside the limit, and the delay and
//! loss that the receivers saw.

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{
    Bench,
    limit::{self, Cipher, LISTENERS, SOUND, Shape},
    media::{KEY_EVERY, PACKETS, PAYLOAD, PICTURES, SEED},
    net::WireStats,
    prometheus::Scrape,
    report::Table,
    server::Server,
    sessions::{pictures, video},
    swarm::{Report, Swarm, flag, time},
};

/// Least time from the moment when all are connected to the beginning of the measurement.
pub(crate) const SETTLE: Duration = Duration::from_secs(2);
/// Most time that joining may take beyond what was planned.
const JOIN_MARGIN: Duration = Duration::from_secs(15);
/// Joins a second.
const JOINS: u32 = 250;
/// Parts of the window; the price is that of the cheapest part.
const SLICES: u32 = 5;
/// Publishers stop 0.7 s before their end; the rest is a margin for what is late.
pub(crate) const TAIL: Duration = Duration::from_millis(1_500);

const DROPPED_OUT: &str = "sfumato_worker_dropped_out_total";
pub(crate) const PRICE: &str = "processor time per packet";
pub(crate) const RATE: &str = "packets per processor second";
pub(crate) const SHARE: &str = "of the limit";
pub(crate) const P50: &str = "delay p50";
pub(crate) const P99: &str = "delay p99";
/// What follows the name of a show with pictures of real sizes.
pub(crate) const REAL: &str = " real";
pub(crate) const CORES: &str = "the node's cores";

/// What is sent, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// One publisher of pictures, and this many viewers.
    Video(usize),
    /// The same with pictures of real sizes at the same rate.
    Real(usize),
    /// This many rooms of ten members who watch each other.
    Rooms(usize),
    /// The same with pictures of real sizes at the same rate.
    RealRooms(usize),
    /// One publisher of sound, one packet at a time, and many listeners.
    Sound,
}

impl Show {
    pub(crate) fn name(self) -> String {
        match self {
            Show::Video(viewers) => format!("1 x {viewers}"),
            Show::Real(viewers) => format!("1 x {viewers}{REAL}"),
            Show::Rooms(rooms) => format!("{rooms} x 10 x 10"),
            Show::RealRooms(rooms) => format!("{rooms} x 10 x 10{REAL}"),
            Show::Sound => format!("sound x {LISTENERS}"),
        }
    }

    fn publishers(self) -> usize {
        match self {
            Show::Rooms(rooms) | Show::RealRooms(rooms) => 10 * rooms,
            Show::Video(_) | Show::Real(_) | Show::Sound => 1,
        }
    }

    fn viewers(self) -> usize {
        match self {
            Show::Video(viewers) | Show::Real(viewers) => viewers,
            // A member of a room has a second session for watching.
            Show::Rooms(rooms) | Show::RealRooms(rooms) => 10 * rooms,
            Show::Sound => LISTENERS,
        }
    }

    /// Copies that should be forwarded per second.
    fn copies(self) -> f64 {
        let pictures = f64::from(PICTURES) * f64::from(PACKETS);
        match self {
            Show::Video(viewers) | Show::Real(viewers) => pictures * viewers as f64,
            Show::Rooms(rooms) | Show::RealRooms(rooms) => pictures * 10.0 * 9.0 * rooms as f64,
            Show::Sound => 50.0 * LISTENERS as f64,
        }
    }

    fn flags(self) -> Vec<String> {
        let rooms = |rooms: usize| {
            [vec!["rooms".to_owned()], [flag("rooms", rooms), flag("publishers", 10)].concat()]
        };
        let audience =
            |viewers: usize| [vec!["webinar".to_owned()], flag("viewers", viewers).to_vec()];
        let (people, media) = match self {
            Show::Video(viewers) => (audience(viewers), video(PACKETS)),
            Show::Real(viewers) => (audience(viewers), real()),
            Show::Rooms(count) => (rooms(count), video(PACKETS)),
            Show::RealRooms(count) => (rooms(count), real()),
            Show::Sound => (audience(LISTENERS), sound()),
        };
        [people.concat(), media].concat()
    }

    /// The bare sender's prices now: its best variant in a tight loop, the same paced, and paced with the cipher that
    /// the node uses.
    fn limits(self, bench: &Bench) -> io::Result<[Option<f64>; 3]> {
        if self == Show::Sound {
            let [tight, paced] = limit::sound(&bench.net, bench.effort)?;
            return Ok([Some(tight), Some(paced), None]);
        }
        let receivers = self.viewers();
        let ten = Shape::Trains(usize::from(PACKETS));
        let tight = (Cipher::Aes128, ten);
        let (paced, same) = ((Cipher::Aes128, Shape::Paced), (bench.cipher, Shape::Paced));
        let limits = limit::again(&bench.net, bench.effort, receivers, &[tight, paced, same])?;
        Ok([tight, paced, same].map(|(cipher, shape)| limits.price(cipher, shape, receivers)))
    }
}

/// Pictures of real sizes, with the rate of the constant ones.
fn real() -> Vec<String> {
    let sizes = [flag("key-every", KEY_EVERY), flag("seed", SEED)];
    [pictures("real", PACKETS), sizes.concat()].concat()
}

/// Packets of sound, and no pictures.
pub(crate) fn sound() -> Vec<String> {
    [flag("video", "off"), flag("audio", "synthetic"), flag("audio-payload", SOUND)].concat()
}

/// What was measured between two moments.
pub(crate) struct Window {
    pub(crate) lasted: Duration,
    pub(crate) cpu: Duration,
    pub(crate) swarm_cpu: Duration,
    pub(crate) wire: WireStats,
    pub(crate) before: Scrape,
    pub(crate) after: Scrape,
    /// Nanoseconds of processor time per forwarded packet, in each part of the window.
    pub(crate) prices: Vec<f64>,
    /// Resident memory at the end of the window, in bytes.
    pub(crate) resident: u64,
    /// Processor time of each thread of the node, by name.
    pub(crate) threads: Vec<(String, Duration)>,
}

/// The result of a run.
pub(crate) struct Outcome {
    pub(crate) window: Window,
    pub(crate) report: Report,
    /// Resident memory in bytes before any session.
    pub(crate) resident_before: u64,
}

/// Runs a show on a fresh node, and measures once all are connected.
///
/// # Errors
/// The node or the swarm does not start, or not all are connected in time.
pub(crate) fn play(bench: &Bench, show: Show, cores: &[usize]) -> io::Result<Outcome> {
    let server = Server::start_on(&bench.net, &bench.node, cores)?;
    let resident_before = server.resident()?;
    let join_over =
        Duration::from_secs(1).max(Duration::from_secs(1) * show.viewers() as u32 / JOINS);
    let begins = join_over + SETTLE;
    let mut flags = show.flags();
    flags.extend(flag("join-over", time(join_over)));
    flags.extend(flag("duration", time(begins + bench.effort.window + TAIL)));
    flags.extend(bench.warm_up(begins));
    // Packets of sound are never joined (GRO), and the device would hold packets that might be joined for up to 4 ms.
    flags.extend(flag("gro", bench.gro && show != Show::Sound));
    let started = Instant::now();
    let swarm = Swarm::start(&bench.net, &bench.swarm, &server, &flags)?;
    let everybody = (show.publishers() + show.viewers()) as f64;
    server.wait_for("everybody is connected", join_over + JOIN_MARGIN, |scrape| {
        scrape.sum("sfumato_sessions_connected") == Some(everybody)
    })?;
    std::thread::sleep(begins.saturating_sub(started.elapsed()));
    let window = Window::look(bench, &server, &swarm)?;
    let report = swarm.finish()?;
    Ok(Outcome { window, report, resident_before })
}

impl Window {
    /// Measures for as long as the effort says.
    pub(crate) fn look(bench: &Bench, server: &Server, swarm: &Swarm) -> io::Result<Self> {
        let before = server.scrape()?;
        let (wire, threads) = (bench.net.stats()?, crate::proc::threads(server.pid())?);
        let (swarm_cpu, cpu, begun) = (swarm.cpu()?, server.cpu()?, Instant::now());
        let (mut prices, mut last) = (Vec::new(), (before.clone(), cpu));
        for _ in 0..SLICES {
            std::thread::sleep(bench.effort.window / SLICES);
            // The processor time of the scrape falls into the next part.
            let now = (server.cpu()?, server.scrape()?);
            let spent = (now.0 - last.1).as_nanos() as f64;
            prices.extend(per(Some(spent), now.1.rise(&last.0, "forwarded")));
            last = (now.1, now.0);
        }
        let (lasted, (after, until)) = (begun.elapsed(), last);
        let later = crate::proc::threads(server.pid())?;
        let threads = later.into_iter().map(|(name, time)| {
            let earlier = threads.iter().find(|(other, _)| *other == name).map(|(_, time)| *time);
            (name, time.saturating_sub(earlier.unwrap_or_default()))
        });
        let now = bench.net.stats()?;
        Ok(Self {
            lasted,
            cpu: until - cpu,
            swarm_cpu: swarm.cpu()?.saturating_sub(swarm_cpu),
            wire: WireStats { napi: now.napi - wire.napi, drops: now.drops - wire.drops },
            before,
            after,
            prices,
            resident: server.resident()?,
            threads: threads.collect(),
        })
    }

    /// By how much a counter of the workers rose.
    pub(crate) fn rise(&self, counter: &str) -> Option<f64> {
        self.after.rise(&self.before, counter)
    }

    /// The reasons for which the node did not send packets that it had selected for a receiver.
    pub(crate) fn dropped_out(&self) -> Vec<String> {
        let mut reasons = self.after.labels(DROPPED_OUT, "reason");
        reasons.retain(|reason| self.dropped_out_for(reason) > 0.0);
        reasons
    }

    /// How many packets it did not send for this reason.
    pub(crate) fn dropped_out_for(&self, reason: &str) -> f64 {
        let at = |scrape: &Scrape| scrape.labelled(DROPPED_OUT, "reason", reason);
        at(&self.after) - at(&self.before)
    }

    /// Nanoseconds of the node's processor time per forwarded packet in the best part, as with the limit: disturbances
    /// can only add time.
    pub(crate) fn price(&self) -> Option<f64> {
        self.prices.iter().copied().reduce(f64::min)
    }

    /// The same over the whole window.
    fn mean_price(&self) -> Option<f64> {
        per(Some(self.cpu.as_nanos() as f64), self.rise("forwarded"))
    }

    fn cores(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.lasted.as_secs_f64()
    }
}

/// A quotient; `None` when the divisor is missing or 0.
pub(crate) fn per(over: Option<f64>, under: Option<f64>) -> Option<f64> {
    Some(over? / under?).filter(|ratio| ratio.is_finite())
}

/// Measures all shows.
pub(crate) fn measure(bench: &Bench, shows: &[Show]) -> io::Result<Table> {
    let columns: Vec<String> = shows.iter().map(|show| show.name()).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let title = format!(
        "the node {}, one worker; {PICTURES} pictures a second of {PACKETS} packets of {PAYLOAD} bytes of payload; {:.0} s each",
        bench.net.words(),
        bench.effort.window.as_secs_f64()
    );
    let mut table = Table::new("node", title, &columns);
    let mut all = Vec::new();
    for &show in shows {
        let limits = show.limits(bench)?;
        let outcome = play(bench, show, &[bench.net.server_core])
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", show.name())))?;
        let failures = outcome.report.failures();
        if !failures.is_empty() {
            table.note(format!("{}: {failures}", show.name()));
        }
        all.push(figures(show, &outcome, limits));
    }
    for (at, (name, unit, _)) in all.first().into_iter().flatten().enumerate() {
        table.row(*name, unit, all.iter().map(|figures| figures[at].2));
    }
    table.note(format!(
        "{}: agreed by node and swarm. The limit is AES-128-GCM in trains of ten in a tight loop; for sound, single sends in a tight loop",
        bench.cipher.name()
    ));
    table.note("10 x 10 x 10: ten rooms of ten who each watch the nine others, by a session for sending and one for watching; 20 x 10 x 10: half load");
    table.note(format!(
        "real: a key frame of 40 to 150 packets each {KEY_EVERY} pictures, the others spread as in the clips, {PACKETS} packets on average; how many packets a window has varies by a few percent"
    ));
    table.note("delay: from before the publisher's encryption to the receiving kernel's time stamp, all packets of all viewers");
    table.note(format!(
        "processor time: all threads of the node, user and system; the price is that of the best of {SLICES} slices. Publishers send one by one, as browsers do"
    ));
    table.note("not in it: the kernel's receiving threads of both ends, and the swarm, which have the other core");
    Ok(table)
}

type Figure = (&'static str, &'static str, Option<f64>);

fn figures(show: Show, outcome: &Outcome, limits: [Option<f64>; 3]) -> Vec<Figure> {
    let Outcome { window, report, resident_before } = outcome;
    let rise = |counter| window.rise(counter);
    let price = window.price();
    let forwarded = rise("forwarded");
    let seconds = Some(window.lasted.as_secs_f64());
    let share = |limit: Option<f64>| per(limit, price).map(|share| 100.0 * share);
    let [tight, paced, same] = limits.map(share);
    let delay = |what: &str| report.number(&format!("/times_ms/delay/{what}"));
    let percent = |share: Option<f64>| share.map(|share| 100.0 * share);
    let sessions = (show.viewers() + show.publishers()) as f64;
    let memory = (window.resident as f64 - *resident_before as f64) / sessions;
    vec![
        ("packets forwarded", "/s", per(forwarded, seconds)),
        (
            "of what was to be forwarded",
            "%",
            percent(per(per(forwarded, seconds), Some(show.copies()))),
        ),
        (CORES, "", Some(window.cores(window.cpu))),
        (RATE, "", per(Some(1e9), price)),
        (PRICE, "ns", price),
        ("the same, mean of the window", "ns", window.mean_price()),
        ("the limit, measured just before", "ns", limits[0]),
        (SHARE, "%", tight),
        ("of the limit at the node's pace", "%", paced),
        ("of the same with the same cipher", "%", same),
        (P50, "ms", delay("p50")),
        (P99, "ms", delay("p99")),
        ("delay p99.9", "ms", delay("p999")),
        ("delay worst", "ms", delay("max")),
        ("viewers who saw half of the worst", "%", percent(report.number("/viewers_near_worst"))),
        ("the worst viewer's delay p99", "ms", report.number("/times_ms/viewer_p99/max")),
        ("lost", "%", percent(report.number("/loss"))),
        ("wake-ups per 1,000 packets", "", per(rise("wakeups").map(|n| n * 1e3), forwarded)),
        ("datagrams per message (train)", "", per(rise("datagrams_out"), rise("messages_out"))),
        ("messages per send call", "", per(rise("messages_out"), rise("send_calls"))),
        ("memory per session", "KB", Some(memory / 1e3)),
        ("not billed: swarm", "cores", Some(window.cores(window.swarm_cpu))),
        ("not billed: receiving threads", "cores", Some(window.cores(window.wire.napi))),
        ("messages that found the wire full", "", Some(window.wire.drops as f64)),
        ("swarm's own lag p99", "ms", report.number("/times_ms/swarm_lag/p99")),
        ("dropped by the swarm's full buffers", "", report.number("/swarm/buffer_drops")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(forwarded: u32, wakeups: u32) -> Scrape {
        Scrape::parse(&format!(
            "sfumato_worker_forwarded_total{{worker=\"0\"}} {forwarded}\n\
             sfumato_worker_wakeups_total{{worker=\"0\"}} {wakeups}\n"
        ))
    }

    #[test]
    fn figures_come_from_the_window() {
        let window = Window {
            lasted: Duration::from_secs(2),
            cpu: Duration::from_millis(500),
            swarm_cpu: Duration::from_secs(1),
            wire: WireStats { napi: Duration::from_secs(1), drops: 3 },
            before: scrape(1_000, 5),
            after: scrape(61_000, 65),
            prices: vec![9_000.0, 8_000.0, 8_500.0],
            resident: 20_000_000,
            threads: Vec::new(),
        };
        let report = Report::parse(
            "{\"loss\": 0.01, \"times_ms\": {\"delay\": {\"p50\": 1.5, \"max\": 7.5}}}",
        );
        let outcome = Outcome { window, report: report.unwrap(), resident_before: 9_900_000 };
        let figures = figures(Show::Video(100), &outcome, [Some(4_000.0), None, None]);
        let value = |name| figures.iter().find(|f| f.0 == name).unwrap().2;
        assert_eq!(value("packets forwarded"), Some(30_000.0));
        assert_eq!(value("of what was to be forwarded"), Some(100.0));
        assert_eq!(value(RATE), Some(125_000.0));
        assert_eq!(value(PRICE), Some(8_000.0));
        assert_eq!(value(CORES), Some(0.25));
        assert_eq!(value(P50), Some(1.5));
        assert_eq!(value("delay worst"), Some(7.5));
        assert_eq!(value("lost"), Some(1.0));
        assert_eq!(value("wake-ups per 1,000 packets"), Some(1.0));
        assert_eq!(value("memory per session"), Some(100.0));
        assert_eq!(value(SHARE), Some(50.0));
    }

    #[test]
    fn shows_know_how_much_they_are() {
        assert_eq!(Show::Video(100).copies(), 30_000.0);
        assert_eq!(Show::Rooms(10).copies(), 270_000.0);
        assert_eq!(Show::Sound.copies(), 25_000.0);
        assert!(Show::Sound.flags().contains(&"--audio-payload".to_owned()));
        assert_eq!(Show::RealRooms(20).copies(), Show::Rooms(20).copies());
        assert_eq!(Show::RealRooms(20).name(), "20 x 10 x 10 real");
        assert_eq!(Show::Real(500).publishers(), 1);
        assert_eq!(Show::RealRooms(2).publishers(), 20);
    }

    #[test]
    fn flags_name_the_people_and_the_media() {
        let flags = |show: Show| show.flags().join(" ");
        let constant = "--video synthetic --audio off --fps 30 --packets 10 --payload 1100";
        assert_eq!(flags(Show::Video(100)), format!("webinar --viewers 100 {constant}"));
        assert_eq!(flags(Show::Rooms(20)), format!("rooms --rooms 20 --publishers 10 {constant}"));
        assert!(flags(Show::Real(100)).ends_with("--payload 1100 --key-every 75 --seed 7"));
        assert!(flags(Show::RealRooms(20)).contains("--publishers 10 --video real"));
    }
}
