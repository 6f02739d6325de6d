//! Packets in = packets forwarded + drops by named reason, over whole runs.

use std::time::{Duration, Instant};

use model::DropReason;
use sfumato_interop::{Network, Node, Publisher, Viewer, drive};
use worker::WorkerMetrics;

fn sum(drops: &[(DropReason, u64)]) -> u64 {
    drops.iter().map(|(_, n)| n).sum()
}

/// Waits until nothing moves, so that the rings are empty and the counters agree.
fn at_rest(node: &Node) -> WorkerMetrics {
    let end = Instant::now() + Duration::from_secs(5);
    let mut last = node.metrics();
    loop {
        std::thread::sleep(Duration::from_millis(50));
        let now = node.metrics();
        if (now.datagrams_in, now.offered) == (last.datagrams_in, last.offered) {
            return now;
        }
        assert!(Instant::now() < end, "the node does not come to rest");
        last = now;
    }
}

#[test]
fn what_comes_in_is_forwarded_or_dropped_for_a_reason() {
    let node = Node::start(3);
    let mut publishers: Vec<_> =
        ["ann", "ben"].map(|name| Publisher::join(&node, "room", name)).into();
    let mut viewers: Vec<_> =
        (0..6).map(|_| Viewer::join_with(&node, "room", None, 2, |c| c)).collect();
    publishers[0].peer.network = Network { loss_in: 5, loss_out: 5, seed: 7 };
    viewers[0].peer.network = Network { loss_in: 10, loss_out: 5, seed: 8 };
    let mut all: Vec<_> = publishers.iter_mut().collect();
    let mut watching: Vec<_> = viewers.iter_mut().collect();
    drive(&node, &mut all, &mut watching, Duration::from_secs(4));
    // Datagrams of strangers count too.
    let to = ([127, 0, 0, 1], node.port()).into();
    for len in [0_usize, 1, 20, 200, 1_499, 1_600] {
        for first in [0x00, 0x16, 0x80, 0x81, 0x40, 0xff] {
            let mut bytes = vec![0x5a; len];
            bytes.iter_mut().take(1).for_each(|b| *b = first);
            watching[1].peer.send_raw(&bytes, to);
        }
    }
    drive(&node, &mut all, &mut watching, Duration::from_millis(500));
    for viewer in viewers.drain(3..) {
        node.close(viewer.session);
    }
    let mut all: Vec<_> = publishers.iter_mut().collect();
    let mut watching: Vec<_> = viewers.iter_mut().collect();
    drive(&node, &mut all, &mut watching, Duration::from_secs(1));

    let m = at_rest(&node);
    println!("{m:#?}");
    let taken = m.stun + m.dtls + m.rtcp + m.rtp_accepted + m.handed_over;
    assert_eq!(m.datagrams_in, taken + sum(&m.dropped_in), "datagrams");
    assert_eq!(m.offered, m.forwarded + sum(&m.dropped_out), "copies for subscribers");
    assert_eq!(m.relayed, m.relays_taken + m.relays_refused, "packets between workers");
    assert!(m.forwarded > 5_000, "{} forwarded", m.forwarded);
    assert!(m.relayed > 0, "three workers had to share");
    assert!(m.dropped_in.iter().any(|(r, _)| *r == DropReason::NotClassified));
    assert_eq!(m.panics, 0);
}

#[test]
fn a_room_that_empties_leaves_nothing_behind() {
    let mut node = Node::start(2);
    for round in 0..3 {
        let mut publisher = Publisher::join(&node, "room", "alice");
        let mut viewer = Viewer::join(&node, "room");
        drive(&node, &mut [&mut publisher], &mut [&mut viewer], Duration::from_secs(1));
        assert!(viewer.pictures().complete() > 5, "round {round}");
        node.close(publisher.session.unwrap());
        node.close(viewer.session);
        drive(&node, &mut [&mut publisher], &mut [&mut viewer], Duration::from_millis(700));
        assert!(publisher.peer.closed && viewer.peer.closed, "both heard the goodbye");
        let m = node.metrics();
        assert_eq!((m.sessions, m.tracks), (0, 0), "round {round}: {m:?}");
    }
    node.shutdown();
}
