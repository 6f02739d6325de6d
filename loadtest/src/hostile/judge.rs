//! Judges whether the good peers were harmed in a part of the run, and whether the node showed what it must. All
//! values are compared with those of the same swarm on the same machine without attackers, and no limit of time is
//! below a second, so that a busy machine is not taken for harm.

use std::collections::BTreeMap;

use super::{attacks::Attack, child::AllDeeds, deeds::Deeds, good::View, node::Look};

/// The factor by which times, losses and freezes may exceed those without attackers.
const RATIO: f64 = 4.0;
/// Seconds that a join, and the freezes of all viewers together, may always take: a busy machine causes as much.
const LEAST_TIME: f64 = 1.0;
/// The same for the first picture. It waits for a key frame, and each layer is asked for at most one key frame per
/// second (threat 34).
const LEAST_FIRST_FRAME: f64 = 3.0;
/// The share of packets that may always be lost.
const LEAST_LOSS: f64 = 0.002;
/// The share of the viewers' time that may always be frozen, if it is more than a second.
const LEAST_FROZEN: f64 = 0.03;
/// Pictures of the good ones that can stand still at the same moment: eight viewers of two publishers. Where the swarm itself was held up
/// by the machine, all of them do.
const WATCHED: f64 = 16.0;
/// Steps of a join, each of which waits once more where the swarm itself was held up.
const STEPS: f64 = 4.0;
/// Share of the pictures of calm times that have to come. A stream that stops altogether shows no gap in its sequence numbers, so the
/// loss does not tell of it.
const PICTURES: f64 = 0.75;
/// Key-frame requests per second to one stream of the good peers. The node sends at most one a second (threat 34); the
/// half allows for one that just falls into this part.
const KEY_REQUESTS: f64 = 1.5;
/// Video streams that the good peers publish.
const STREAMS: f64 = 4.0;
/// Bytes by which the node may grow over its size in the calm part.
const GROWTH: u64 = 256 << 20;
/// Bytes per second that the node may log: enough for lines about sessions, but not for lines about datagrams.
const LOG: f64 = 256e3;
/// The share of an attacker's requests that may fail by a server error or without an answer. Some fail without a fault
/// of the node: at the end of the attack, or when the kernel is out of ports for a moment.
const BROKEN: f64 = 0.02;
/// How long an attack's own victim may receive nothing, in milliseconds.
const VICTIM_GAP: u64 = 1_000;

/// What is known of one part of the run.
#[derive(Debug, Clone)]
pub(super) struct Seen<'a> {
    pub(super) seconds: f64,
    pub(super) view: &'a View,
    /// The node before the part and after it.
    pub(super) before: &'a Look,
    pub(super) after: &'a Look,
    pub(super) attacks: &'a [&'static Attack],
    pub(super) deeds: &'a AllDeeds,
}

/// What was wrong in a part of the run, as texts; empty when nothing was. `calm` is the part without attackers, and
/// `calm_memory` the node's size at its end.
pub(super) fn judge(seen: &Seen<'_>, calm: &View, calm_memory: u64) -> Vec<String> {
    let mut findings = harm(seen.view, calm);
    findings.extend(node(seen, calm_memory));
    let mut rises = seen.after.metrics.drops_since(&seen.before.metrics);
    rises.extend(seen.after.metrics.counters_since(&seen.before.metrics));
    for attack in seen.attacks {
        let deeds = seen.deeds.get(attack.name).cloned().unwrap_or_default();
        let wrong = evidence(attack, &deeds, &rises, seen.seconds);
        findings.extend(wrong.into_iter().map(|text| format!("{}: {text}", attack.name)));
    }
    findings
}

/// The harm to the good peers.
fn harm(view: &View, calm: &View) -> Vec<String> {
    let mut findings = Vec::new();
    let counters = &view.counters;
    let mut at_most = |what: &str, value: f64, usual: f64, least: f64, unit: &str| {
        let limit = least.max(usual * RATIO);
        if value > limit {
            findings.push(format!("{what}: {value:.3}{unit}, at most {limit:.3}{unit}"));
        }
    };
    at_most("packets lost", view.loss() * 100.0, calm.loss() * 100.0, LEAST_LOSS * 100.0, " %");
    let usual = calm.frozen() / calm.viewer_seconds.max(1.0) * view.viewer_seconds;
    let lag = View::longest(&view.lag);
    let least = LEAST_TIME.max(LEAST_FROZEN * view.viewer_seconds).max(WATCHED * lag);
    at_most("frozen pictures", view.frozen(), usual, least, " s");
    let longest = |of: fn(&View) -> &_| (View::longest(of(view)), View::longest(of(calm)));
    let (value, usual) = longest(|view| &view.join);
    at_most("the longest join", value, usual, LEAST_TIME + STEPS * lag, " s");
    let (value, usual) = longest(|view| &view.first_frame);
    let least = LEAST_FIRST_FRAME + STEPS * lag;
    at_most("the longest wait for a first picture", value, usual, least, " s");
    let requests = |view: &View| view.counters.plis_received as f64 / view.seconds.max(1.0);
    let least = KEY_REQUESTS * STREAMS;
    at_most("key frames asked for in a second", requests(view), requests(calm), least, "");
    let (pictures, usual) = (view.pictures(), calm.pictures());
    if pictures < PICTURES * usual {
        findings.push(format!("pictures a second: {pictures:.1}, usually {usual:.1}"));
    }
    for (what, count) in [
        ("good peers failed", view.failed),
        ("corrupted packets", counters.corrupted),
        ("packets of others", counters.foreign),
        ("packets that cannot be decrypted", counters.undecryptable),
    ] {
        if count > 0 {
            findings.push(format!("{what}: {count}"));
        }
    }
    if view.joined == 0 {
        findings.push("no good peer joined".to_owned());
    }
    findings
}

fn node(seen: &Seen<'_>, calm_memory: u64) -> Vec<String> {
    let mut findings = Vec::new();
    let (before, after) = (seen.before, seen.after);
    if after.memory == 0 {
        findings.push("the node is gone".to_owned());
        return findings;
    }
    if !after.ready {
        findings.push("the node is not ready".to_owned());
    }
    if after.metrics.is_empty() {
        findings.push("the node gave no metrics".to_owned());
    }
    let grown = after.memory.saturating_sub(calm_memory);
    if grown > GROWTH {
        let (grown, most) = (grown >> 20, GROWTH >> 20);
        findings.push(format!("the node grew by {grown} MiB, at most {most} MiB"));
    }
    let log = after.log.saturating_sub(before.log) as f64 / seen.seconds;
    if log > LOG {
        let (log, most) = (log / 1e3, LOG / 1e3);
        findings.push(format!("the node logged {log:.0} kB a second, at most {most:.0} kB"));
    }
    findings
}

/// Whether the attack took place, and the node showed what it must.
fn evidence(
    attack: &Attack,
    deeds: &Deeds,
    rises: &BTreeMap<String, u64>,
    seconds: f64,
) -> Vec<String> {
    let mut findings = Vec::new();
    let expects = &attack.expects;
    let (what, rate) = expects.least;
    let (done, least) = (deeds.count(what), (rate * seconds).max(1.0) as u64);
    if done < least {
        findings.push(format!("no attack: {what} {done}, at least {least}"));
    }
    let rose = rises.keys().any(|name| expects.rises.iter().any(|p| name.starts_with(p)));
    let fast = done as f64 >= expects.counted_from * seconds;
    if fast && !expects.rises.is_empty() && !rose {
        let list = expects.rises.join("*, ");
        findings.push(format!("nothing was counted under a name like {list}*"));
    }
    let came = |statuses: &[u16]| -> u64 {
        statuses.iter().filter_map(|status| deeds.answers.get(status)).sum()
    };
    if !expects.answers.is_empty() && came(expects.answers) == 0 {
        findings.push(format!("none of the answers {:?}", expects.answers));
    }
    let (broken, all) = (came(expects.never), deeds.answers.values().sum::<u64>());
    if broken as f64 > BROKEN * all as f64 {
        findings.push(format!("{broken} of {all} answers are {:?} (0: none came)", expects.never));
    }
    if let Some(gap) = deeds.victim_gap_ms.filter(|gap| *gap > VICTIM_GAP) {
        findings.push(format!("nothing came to its victim for {gap} ms, at most {VICTIM_GAP} ms"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        hostile::{attacks::by_name, metrics::Metrics},
        stats::{Counters, Histogram},
    };

    fn calm() -> View {
        let mut join = Histogram::default();
        join.record(Duration::from_millis(40));
        let counters = Counters {
            frames: 2_000,
            expected_packets: 10_000,
            received_packets: 10_000,
            plis_received: 20,
            ..Counters::default()
        };
        let (seconds, viewer_seconds) = (10.0, 80.0);
        let first_frame = join.clone();
        View { seconds, viewer_seconds, counters, joined: 30, join, first_frame, ..View::default() }
    }

    fn look(drops: &str) -> Look {
        let metrics = Metrics::parse(&format!("sfumato_rooms 2\n{drops}"));
        Look { metrics, memory: 100 << 20, log: 1_000, ready: true }
    }

    fn deeds(name: &str, what: &str, times: u64) -> AllDeeds {
        let mut deeds = Deeds::default();
        deeds.did(what, times);
        AllDeeds::from([(name.to_owned(), deeds)])
    }

    fn judged(view: &View, after: &Look, attack: &str, deeds: &AllDeeds) -> Vec<String> {
        let before = look("");
        let attacks: Vec<_> = by_name(attack).into_iter().collect();
        let (attacks, seconds) = (attacks.as_slice(), view.seconds);
        let seen = Seen { seconds, view, before: &before, after, attacks, deeds };
        judge(&seen, &calm(), 100 << 20)
    }

    const RTX: &str = "sfumato_worker_dropped_out_total{worker=\"0\",reason=\"rtx_limit\"} 9";

    #[test]
    fn good_peers_within_the_limits_are_not_harmed() {
        let deeds = deeds("feedback", "requests", 100_000);
        let none: [String; 0] = [];
        assert_eq!(judged(&calm(), &look(RTX), "feedback", &deeds), none);
        // A slow machine: a freeze and a join below a second.
        let mut view = calm();
        view.join.record(Duration::from_millis(990));
        view.counters.freeze_us = 900_000;
        assert_eq!(judged(&view, &look(RTX), "feedback", &deeds), none);
        // A swarm that was held up for a third of a second: so were all its pictures, and its joins.
        view.counters.freeze_us = 5_000_000;
        view.join.record(Duration::from_millis(2_200));
        assert_eq!(judged(&view, &look(RTX), "feedback", &deeds).len(), 2);
        view.lag.record(Duration::from_millis(333));
        assert_eq!(judged(&view, &look(RTX), "feedback", &deeds), none);
    }

    #[test]
    fn each_harm_is_a_finding_of_its_own() {
        let harmed = |change: fn(&mut View)| {
            let mut view = calm();
            change(&mut view);
            harm(&view, &calm())
        };
        for (change, expected) in [
            ((|v| v.counters.received_packets = 9_900) as fn(&mut View), "packets lost"),
            (|v| v.counters.freeze_us = 5_000_000, "frozen pictures"),
            (|v| v.join.record(Duration::from_secs(2)), "longest join"),
            (|v| v.first_frame.record(Duration::from_secs(4)), "first picture"),
            (|v| v.counters.plis_received = 1_000, "key frames asked for"),
            (|v| v.counters.frames = 1_000, "pictures a second"),
            (|v| v.failed = 1, "failed: 1"),
            (|v| v.counters.foreign = 1, "of others"),
            (|v| v.counters.corrupted = 1, "corrupted"),
            (|v| v.counters.undecryptable = 1, "decrypt"),
            (|v| v.joined = 0, "no good peer joined"),
        ] {
            let findings = harmed(change);
            assert_eq!(findings.len(), 1, "{expected}: {findings:?}");
            assert!(findings[0].contains(expected), "{findings:?}");
        }
    }

    #[test]
    fn a_node_that_suffers_is_a_finding() {
        let deeds = deeds("feedback", "requests", 100_000);
        let whole = look(RTX);
        for (after, expected) in [
            (Look { memory: 0, ..whole.clone() }, "gone"),
            (Look { ready: false, ..whole.clone() }, "not ready"),
            (Look { memory: 400 << 20, ..whole.clone() }, "grew by 300 MiB"),
            (Look { log: 1 << 30, ..whole.clone() }, "logged"),
        ] {
            let findings = judged(&calm(), &after, "feedback", &deeds);
            assert_eq!(findings.len(), 1, "{expected}: {findings:?}");
            assert!(findings[0].contains(expected), "{findings:?}");
        }
    }

    #[test]
    fn an_attack_that_did_not_take_place_proves_nothing() {
        let idle = judged(&calm(), &look(RTX), "feedback", &AllDeeds::new());
        assert!(idle[0].contains("no attack"), "{idle:?}");
        let unnoticed =
            judged(&calm(), &look(""), "feedback", &deeds("feedback", "requests", 100_000));
        assert!(unnoticed[0].contains("rtx_"), "{unnoticed:?}");
    }

    #[test]
    fn a_limit_shows_only_to_those_who_reach_it() {
        let none: [String; 0] = [];
        let of = |packets| judged(&calm(), &look(""), "media", &deeds("media", "packets", packets));
        assert_eq!(of(100_000), none, "10,000 a second, on a machine that is busy");
        assert!(of(1_000_000)[0].contains("media_rate"));
    }

    #[test]
    fn answers_and_victims_are_judged() {
        let mut listings = deeds("listings", "requests", 1_000);
        let of = |deeds: &AllDeeds, name| judged(&calm(), &look(""), name, deeds);
        assert!(of(&listings, "listings")[0].contains("none of the answers [200]"));
        let answers = &mut listings.get_mut("listings").unwrap().answers;
        answers.extend([(200, 99), (500, 1)]);
        assert!(of(&listings, "listings").is_empty(), "one of a hundred may break");
        listings.get_mut("listings").unwrap().answers.insert(500, 9);
        assert!(of(&listings, "listings")[0].contains("9 of 108"));
        let mut roaming = deeds("roaming", "checks", 1_000);
        let held = look("sfumato_worker_dropped_in_total{worker=\"0\",reason=\"path_in_use\"} 9");
        let of = |deeds: &AllDeeds| judged(&calm(), &held, "roaming", deeds);
        assert!(of(&roaming).is_empty());
        roaming.get_mut("roaming").unwrap().victim_gap_ms = Some(2_500);
        assert!(of(&roaming)[0].contains("2500 ms"));
    }
}
