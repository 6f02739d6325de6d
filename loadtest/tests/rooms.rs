//! Members of rooms against a whole node in this process: rooms with their session API, events and workers.
#![expect(clippy::unwrap_used, reason = "a test that cannot begin fails")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant, SystemTime},
};

use clap::Parser;
use model::{Command, WallClock};
use room::{RoomConfig, RoomSettings};
use sfumato_loadtest::{args::Arguments, plan::Plan, report::Report};
use signaling::{Config, Limits, Operations, Rate, ServerConfig, Signaling, serve};
use tokio::{net::TcpListener, runtime::Runtime, sync::mpsc::unbounded_channel};
use transport::dtls::Certificate;
use worker::Workers;

/// A node on loopback.
struct Node {
    address: SocketAddr,
    // The last to go: the tasks of signaling run in it.
    _workers: Workers,
    _runtime: Runtime,
}

impl Node {
    fn start() -> Node {
        let runtime = Runtime::new().unwrap();
        let (events, received) = unbounded_channel();
        let certificate = Arc::new(Certificate::generate().unwrap());
        let fingerprint = certificate.fingerprint_text();
        let clock = WallClock::new(Instant::now(), SystemTime::now());
        let report = Arc::new(move |event| events.send(event).unwrap_or_default());
        let mut config = worker::Config::new(certificate, clock, report);
        config.workers = NonZeroUsize::new(1).unwrap();
        config.bind = vec![Ipv4Addr::LOCALHOST.into()];
        config.pin = false;
        let workers = Workers::start(config).unwrap();
        let handle = workers.handle();
        let rooms = RoomConfig {
            candidates: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, handle.local_port()))],
            fingerprint,
            cname: "sfumato".into(),
            limits: room::Limits::default(),
            default_settings: RoomSettings::default(),
        };
        // All bots have one address.
        let unlimited = Rate { per_second: 0.0, burst: 1 };
        let limits = Limits { per_address: unlimited, per_token: unlimited, ..Limits::default() };
        let server = ServerConfig { limits: limits.clone(), ..ServerConfig::default() };
        let inspected = handle.clone();
        let operations = Operations {
            metrics: Box::new(|_| Ok(())),
            ready: Box::new(|| Ok(())),
            stats: Box::new(move |session, reply| inspected.stats(session, reply)),
        };
        let address = runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let signaling = Signaling::new(
                Config { limits, ..Config::default() },
                rooms,
                |bytes| aws_lc_rs::rand::fill(bytes).unwrap(),
                move |command: Command| handle.send(&command),
                operations,
            );
            let (driven, router) = (signaling.clone(), signaling.router());
            tokio::spawn(async move { driven.drive(received).await });
            tokio::spawn(async move {
                serve(listener, router, &server, std::future::pending()).await;
            });
            address
        });
        Node { address, _workers: workers, _runtime: runtime }
    }

    fn run(&self, words: &str) -> Report {
        let words = format!(
            "sfumato-loadtest {words} --mode room --server http://{} --quiet --seed 1",
            self.address
        );
        let plan = Plan::resolve(Arguments::parse_from(words.split_whitespace())).unwrap();
        let report = sfumato_loadtest::run(&plan, &AtomicBool::new(false)).unwrap();
        eprintln!("{}", sfumato_loadtest::report::text::summary(&report));
        report
    }
}

fn whole(report: &Report, joined: u64) {
    let reasons = report.failures.sorted();
    assert_eq!((report.bots.joined, report.bots.failed), (joined, 0), "{reasons:?}");
    let c = &report.counters;
    assert_eq!((c.corrupted, c.foreign, c.undecryptable), (0, 0, 0));
    assert_eq!(report.bots.undeleted, 0);
}

#[test]
fn members_hear_and_see_each_other_and_are_told_of_it() {
    let node = Node::start();
    let report = node.run(
        "meeting --publishers 3 --viewers 1 --video synthetic --packets 3 --speaker-every 500ms --join-over 300ms --duration 3s",
    );
    whole(&report, 4);
    // Three others have pictures for each who sends, and all three for the one who does not: two of nine at least.
    let c = &report.counters;
    assert!(c.frames > 9 * 20, "{} frames", c.frames);
    assert_eq!((report.times.first_frame.count(), report.times.first_packet.count()), (4, 4));
    // At least a welcome, a snapshot, and the members who came later.
    assert!(c.event_messages > 4 * 2 + 6, "{} messages", c.event_messages);
}

#[test]
fn slots_grow_as_the_room_does() {
    let node = Node::start();
    let report = node.run(
        "meeting --publishers 4 --grow --audio-slots 3 --video-slots 3 --video synthetic --packets 2 --join-over 500ms --duration 4s",
    );
    whole(&report, 4);
    let c = &report.counters;
    assert!(c.renegotiations >= 4, "{} renegotiations", c.renegotiations);
    // With one slot of each kind everybody would receive as much as it sends, and no more.
    let (sent, received) = (c.sent_packets, c.received_packets);
    assert!(2 * received > 3 * sent, "{received} packets received, {sent} sent");
}

#[test]
fn a_viewer_chooses_tracks_and_the_time_is_taken() {
    let node = Node::start();
    let report = node.run(
        "meeting --publishers 2 --viewers 1 --switch-every 400ms --video synthetic --packets 2 --join-over 300ms --duration 4s",
    );
    whole(&report, 3);
    let switch = &report.times.switch;
    assert!(switch.count() >= 3, "{} switches", switch.count());
    assert!(switch.quantile(0.5).unwrap() < Duration::from_secs(1));
}

#[test]
fn who_is_muted_or_has_nothing_to_send_is_a_member() {
    let node = Node::start();
    let report = node.run(
        "meeting --publishers 3 --video off --audio dtx --muted --join-over 300ms --duration 2500ms",
    );
    whole(&report, 3);
    assert!((3..60).contains(&report.counters.sent_packets), "every 400 ms");
    assert_eq!(report.counters.received_packets, 0, "a muted track flows nowhere");
    let report =
        node.run("meeting --publishers 3 --video off --audio off --join-over 0s --duration 2s");
    whole(&report, 3);
    assert_eq!(report.counters.sent_packets, 0);
    assert!(report.counters.event_messages >= 6);
}

#[test]
fn impossible_plans_of_members_are_refused_with_a_reason() {
    let refused = |words: &str| {
        let words = format!("sfumato-loadtest meeting {words}");
        Plan::resolve(Arguments::parse_from(words.split_whitespace())).unwrap_err()
    };
    assert!(refused("--server https://127.0.0.1 --mode room").contains("http"));
    assert!(refused("--server 127.0.0.1 --mode room --audio-slots 99").contains("31"));
    assert!(refused("--server 127.0.0.1 --mode room --switch-every 1ms").contains("100ms"));
    assert!(
        refused("--server 127.0.0.1 --mode room --whip http://127.0.0.1/{room}")
            .contains("--server")
    );
    assert!(refused("--server 127.0.0.1 --cameras 2").contains("mode = room"));
}
