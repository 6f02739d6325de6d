//! The swarm against a node in this process, and against servers that refuse, hang and lie.
#![expect(clippy::unwrap_used, reason = "a test that cannot begin fails")]

mod front;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use front::{Front, Manner, Place};
use sfumato_loadtest::{
    args::Arguments,
    plan::Plan,
    report::{Report, Second, html, json, text},
};

fn plan(front: &Front, words: &str) -> Plan {
    let words = format!("sfumato-loadtest {words} --server {} --quiet --seed 1", front.url());
    Plan::resolve(Arguments::parse_from(words.split_whitespace())).unwrap()
}

fn run(front: &Front, words: &str) -> Report {
    let report = sfumato_loadtest::run(&plan(front, words), &AtomicBool::new(false)).unwrap();
    // All forms of all reports can be written.
    let (text, page) = (text::summary(&report), html::to_html(&report));
    assert!(text.contains("bots") && page.contains("</html>"));
    assert!(json::to_json(&report)["counters"]["frames"].is_u64());
    eprintln!("{text}");
    report
}

fn reasons(report: &Report) -> Vec<(&str, u64)> {
    report.failures.sorted()
}

#[test]
fn what_is_sent_arrives_whole_and_nothing_stays_behind() {
    let front = Front::start(Manner::Good);
    let flags = "--viewers 6 --join-over 300ms --duration 2500ms --fail-if frame_loss>0% --fail-if corrupted>0";
    let report = run(&front, &format!("webinar --video simulcast {flags}"));
    assert_eq!((report.bots.joined, report.bots.failed), (7, 0), "{:?}", reasons(&report));
    let c = &report.counters;
    assert!(c.frames > 6 * 40, "{} frames", c.frames);
    assert!(c.received_packets > 6 * 100 && c.sent_packets > 300);
    assert_eq!((c.corrupted, c.foreign, c.undecryptable, c.frames_lost), (0, 0, 0, 0));
    assert_eq!((report.times.join.count(), report.times.first_frame.count()), (7, 6));
    assert!(report.times.delay.quantile(0.5).unwrap() < Duration::from_millis(500));
    assert!(report.is_good());
    assert_eq!(report.bots.undeleted, 0);
    assert_eq!(front.open_sessions(), 0);
    assert!(report.timeline.len() >= 2);
}

#[test]
fn every_kind_of_media_is_known_again() {
    let front = &Front::start(Manner::Good);
    let all = [
        "--video h264 --audio off",
        "--video off --audio opus",
        "--packets 4 --payload 500 --audio-payload 80",
        "--packets 12 --audio off --gso",
        "--video real --key-packets 40-150 --key-every 20 --audio off",
        "--video real --key-packets 100 --packets 5 --key-every 30 --burst 100 --audio off",
    ];
    thread::scope(|scope| {
        for media in all {
            scope.spawn(move || {
                let words = format!("webinar --viewers 2 --join-over 0s --duration 1500ms {media}");
                let report = run(front, &words);
                let c = &report.counters;
                assert_eq!((report.bots.joined, c.corrupted, c.foreign), (3, 0, 0), "{media}");
                assert!(c.received_packets > 60 && report.times.delay.count() > 50, "{media}");
            });
        }
    });
}

#[test]
fn publishers_may_be_watched_one_by_one() {
    let front = Front::start(Manner::Good);
    let url = front.url();
    let endpoints = format!(
        "--whip {url}/whip/{{room}}?participant={{participant}} --whep {url}/whep/{{room}}/{{participant}}"
    );
    let report = run(
        &front,
        &format!(
            "meeting --publishers 3 --video off --join-over 300ms --duration 1500ms {endpoints}"
        ),
    );
    // Three publish, and each is watched by the two others.
    assert_eq!((report.bots.joined, report.bots.failed), (9, 0), "{:?}", reasons(&report));
    assert_eq!((report.times.first_frame.count(), report.counters.corrupted), (6, 0));
}

#[test]
fn lost_packets_are_asked_for_and_come() {
    let front = Front::start(Manner::Good);
    let report = run(
        &front,
        "webinar --viewers 4 --audio off --packets 6 --payload 600 --join-over 0s --duration 3s --loss 5% --delay 5ms --faulty 100%",
    );
    let c = &report.counters;
    assert!(c.dropped_by_fault > 40 && c.nacks_sent > 40 && c.recovered_packets > 40);
    assert_eq!(c.corrupted, 0);
    let lost = c.expected_packets - c.received_packets;
    assert!(lost * 200 < c.expected_packets, "{lost} of {}", c.expected_packets);
    assert!(report.times.delay.quantile(0.5).unwrap() >= Duration::from_millis(5));
}

#[test]
fn viewers_come_go_and_move() {
    let front = Front::start(Manner::Good);
    let report = run(
        &front,
        "churn --viewers 6 --churn 6 --moves 6 --silent 0 --join-over 200ms --duration 3s",
    );
    assert!(report.bots.left > 3 && report.bots.moved > 3, "{:?}", report.bots);
    assert_eq!(report.bots.failed, 0, "{:?}", reasons(&report));
    assert_eq!(report.counters.corrupted, 0);
    assert_eq!(front.open_sessions(), 0);
}

#[test]
fn a_warm_up_is_in_the_time_line_and_not_in_the_totals() {
    let front = Front::start(Manner::Good);
    let report = run(
        &front,
        "webinar --viewers 3 --audio off --packets 3 --join-over 0s --duration 3s --warm-up 1s",
    );
    let seconds = report.counted.as_secs_f64();
    assert!((1.9..2.5).contains(&seconds), "{seconds}");
    let (warm_up, rest) = report.timeline.split_at(1);
    let packets = |part: &[Second]| part.iter().map(|s| s.counters.received_packets).sum::<u64>();
    assert!(packets(warm_up) > 60);
    // What comes after the last whole second counts too.
    let (counted, seen) = (report.counters.received_packets, packets(rest));
    assert!((seen..seen + 120).contains(&counted), "{counted} {seen}");
    assert_eq!(report.times.delay.count(), counted, "each packet has a stamp");
    assert_eq!((report.times.join.count(), report.times.first_frame.count()), (4, 3));
    assert_eq!(report.counters.expected_packets, counted);
}

#[test]
fn bystanders_come_first_and_are_seen_apart() {
    let front = Front::start(Manner::Good);
    let report = run(
        &front,
        // Time enough for a handshake that loses several flights.
        "flash --bystanders 2 --viewers 4 --join-over 0s --duration 8s --loss 5% --moves 20 \
         --fail-if bystander_loss>0 --fail-if bystander_freezes>0 --fail-if bystander_delay_p99<0ms",
    );
    assert_eq!((report.bots.joined, report.bots.failed), (7, 0), "{:?}", reasons(&report));
    let bystanders = report.bystanders.as_ref().unwrap();
    assert_eq!((bystanders.joined, bystanders.failed), (2, 0));
    let (theirs, all) = (&bystanders.tally, &report.counters);
    assert!(theirs.counters.frames > 2 * 45, "{} frames", theirs.counters.frames);
    assert!(theirs.counters.frames < all.frames && all.dropped_by_fault > 0);
    assert_eq!((theirs.counters.dropped_by_fault, theirs.counters.corrupted), (0, 0));
    assert_eq!((theirs.times.join.count(), theirs.times.first_frame.count()), (2, 2));
    assert!(report.verdicts.iter().all(|verdict| verdict.value != "not measured"));
    // Nobody else was there in their first second.
    let first = report.timeline.iter().find(|second| second.viewers > 0).unwrap();
    assert_eq!((first.viewers, first.joining), (2, 0));
}

#[test]
fn those_who_stall_read_nothing_more_and_lose_nothing() {
    let front = Front::start(Manner::Good);
    let report = run(
        &front,
        "webinar --viewers 4 --packets 4 --join-over 0s --duration 3s --stalled 50% --moves 10",
    );
    let (bots, c) = (&report.bots, &report.counters);
    assert_eq!((bots.joined, bots.failed, bots.stalled), (5, 0, 2), "{:?}", reasons(&report));
    // Who moves loses what his old socket held, and sound is not sent again.
    let lost = c.expected_packets - c.received_packets;
    assert!(lost <= bots.moved && c.freezes == 0, "{lost} lost");
    assert_eq!(report.times.first_frame.count(), 4);
    let last = report.timeline.last().unwrap();
    let each = last.counters.frames / 2;
    assert!((25..35).contains(&each), "two of four still watch: {} frames", last.counters.frames);
    assert_eq!((front.open_sessions(), bots.undeleted), (0, 0));
}

#[test]
fn places_of_failed_viewers_are_taken_one_by_one() {
    thread::scope(|scope| {
        scope.spawn(|| {
            let front = Front::start(Manner::RefusesHalf);
            let flags = "--viewers 6 --churn 3 --silent 0 --join-over 200ms --duration 4s";
            let report = run(&front, &format!("churn {flags}"));
            let bots = &report.bots;
            assert!(bots.failed > 2 && bots.replaced > 2, "{bots:?}");
            assert!(bots.replaced <= bots.failed && bots.replaced < 12, "{bots:?}");
            assert_eq!(reasons(&report).len(), 1);
        });
        let front = Front::start(Manner::Refuses);
        let report = run(&front, "churn --viewers 20 --churn 2 --join-over 0s --duration 4s");
        // Twenty-one of the beginning; then, from a second later on, two a second.
        assert!((22..=30).contains(&front.requests()), "{} requests", front.requests());
        assert_eq!(u64::from(front.requests()), 21 + report.bots.replaced);
    });
}

#[test]
fn a_ramp_ends_where_a_threshold_breaks() {
    let front = Front::start(Manner::Good);
    let report = run(
        &front,
        "ramp --step 2 --step-time 2s --max-viewers 20 --duration 30s --fail-if packets>1",
    );
    let ramp = report.ramp.as_ref().unwrap();
    assert_eq!((ramp.viewers, ramp.held, ramp.broken.len()), (2, 0, 1));
    assert!(
        text::summary(&report)
            .contains("broke at 2 viewers; 0 held\n           packets>1 (it was ")
    );
    assert!(html::to_html(&report).contains("The ramp broke at 2 viewers"));
    assert_eq!(json::to_json(&report)["ramp"]["broken"][0]["threshold"], "packets>1");
    assert!(report.is_good(), "to break is what a ramp is for");
    assert!(report.played < Duration::from_secs(10));
}

#[test]
fn a_refusal_has_its_reason() {
    let report =
        run(&Front::start(Manner::Refuses), "webinar --viewers 3 --join-over 0s --duration 1s");
    assert_eq!(reasons(&report), [("http 503: Closed today", 4)]);
    assert!(!report.is_good());
}

#[test]
fn what_is_put_off_is_asked_again() {
    let front = Front::start(Manner::PutsOffOnce);
    let report = run(&front, "webinar --viewers 1 --join-over 0s --duration 2500ms");
    assert_eq!((report.bots.joined, report.bots.failed), (2, 0));
    assert_eq!(report.bots.deferred, 1);
}

#[test]
fn lies_and_silence_have_their_reasons() {
    let all = [
        (Manner::TalksNonsense, "answer: "),
        (Manner::ForgetsLocation, "http 201 without a Location"),
        (Manner::ForeignCertificate, "dtls: the certificate is not the one of the answer"),
        (Manner::DeadCandidate, "ice: no candidate answers"),
        (Manner::RejectsAll, "answer: every section is rejected"),
        (Manner::TalksForEver, "http: the answer is longer than"),
        (Manner::SendsRoundInCircles, "http: redirected too often"),
        (Manner::WantsToken, "http 401: No such token"),
        (Manner::Resets, "http: connection reset"),
        (Manner::Hangs, "http: no answer in time"),
        (Manner::HangsUp, "http: "),
    ];
    thread::scope(|scope| {
        for (manner, reason) in all {
            scope.spawn(move || {
                let front = Front::start(manner);
                let report = run(&front, "webinar --viewers 0 --join-timeout 1s --duration 1500ms");
                let found = reasons(&report);
                assert_eq!(found.len(), 1, "{manner:?}: {found:?}");
                assert!(found[0].0.starts_with(reason), "{manner:?}: {found:?}");
                assert_eq!((report.bots.joined, report.bots.failed), (0, 1), "{manner:?}");
            });
        }
    });
}

#[test]
fn tokens_open_doors_and_wrong_ones_are_a_reason() {
    let words = "webinar --join-over 0s --duration 1s";
    thread::scope(|scope| {
        scope.spawn(|| {
            let front = Front::start(Manner::WantsToken);
            let report = run(&front, &format!("{words} --viewers 1 --token open"));
            assert_eq!((report.bots.joined, report.bots.failed), (2, 0), "{:?}", reasons(&report));
            assert_eq!((report.bots.undeleted, front.open_sessions()), (0, 0), "goodbyes need it");
        });
        let front = Front::start(Manner::WantsToken);
        let path = std::env::temp_dir().join(format!("loadtest-tokens-{}", std::process::id()));
        std::fs::write(&path, "open\n\n  shut \n").unwrap();
        let report = run(&front, &format!("{words} --viewers 4 --tokens {}", path.display()));
        std::fs::remove_file(&path).unwrap();
        // In turn: the publisher and every second viewer have the good one.
        assert_eq!((report.bots.joined, report.bots.failed), (3, 2));
        assert_eq!(reasons(&report), [("http 401: No such token", 2)]);
    });
}

#[test]
fn certificates_are_checked_unless_told_otherwise() {
    let front = Front::start_at(Manner::Good, Place { tls: true, v6: false });
    let words = "webinar --viewers 1 --join-over 0s --duration 1s";
    thread::scope(|scope| {
        scope.spawn(|| {
            let report = run(&front, words);
            let reason = "http: tls: nobody we trust vouches for the certificate";
            assert_eq!(reasons(&report), [(reason, 2)]);
        });
        let report = run(&front, &format!("{words} --insecure"));
        assert_eq!((report.bots.joined, report.bots.failed), (2, 0), "{:?}", reasons(&report));
        assert!(report.counters.frames > 10);
        assert_eq!(report.bots.undeleted, 0);
    });
    assert_eq!(front.open_sessions(), 0);
}

#[test]
fn all_of_it_goes_over_ipv6() {
    let front = Front::start_at(Manner::Good, Place { v6: true, tls: false });
    assert!(front.url().contains("[::1]"));
    let report = run(&front, "webinar --viewers 2 --join-over 0s --duration 1500ms --moves 2");
    assert_eq!((report.bots.joined, report.bots.failed), (3, 0), "{:?}", reasons(&report));
    assert!(report.counters.frames > 2 * 20 && report.counters.corrupted == 0);
    assert_eq!((report.bots.undeleted, front.open_sessions()), (0, 0));
}

#[test]
fn nobody_at_home_is_a_reason() {
    let front = Front::start(Manner::Good);
    let mut plan = plan(&front, "webinar --viewers 2 --join-over 0s --duration 1s");
    plan.quiet = true;
    drop(front);
    let report = sfumato_loadtest::run(&plan, &AtomicBool::new(false)).unwrap();
    assert_eq!(report.bots.failed, 3);
    assert_eq!(report.failures.total(), 3);
}

#[test]
fn an_interruption_ends_in_order_with_what_was_seen() {
    let front = Front::start(Manner::Good);
    let plan = plan(&front, "webinar --viewers 2 --join-over 0s --duration 60s");
    let interrupted = AtomicBool::new(false);
    let start = Instant::now();
    let report = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(1_500));
            interrupted.store(true, Ordering::Relaxed);
        });
        sfumato_loadtest::run(&plan, &interrupted).unwrap()
    });
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(report.interrupted && report.is_good());
    assert_eq!(report.bots.joined, 3);
    assert!(report.counters.frames > 20);
    assert_eq!(front.open_sessions(), 0);
}
