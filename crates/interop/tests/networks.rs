//! Calls over bad networks: loss, and peers whose address moves.

use std::time::{Duration, Instant};

use sfumato_interop::{Network, Node, Publisher, Viewer, drive, drive_until};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn loses_a_twentieth_of_all_packets_and_recovers() {
    let node = Node::start(2);
    let mut publisher = Publisher::join(&node, "room", "alice");
    let mut viewer = Viewer::join(&node, "room");
    let seed = 0xfeed;
    drive_until(&node, &mut [&mut publisher], &mut [&mut viewer], LIMIT, |_, v| {
        v[0].pictures().complete() >= 5
    });
    publisher.peer.network = Network { loss_in: 5, loss_out: 5, seed };
    viewer.peer.network = Network { loss_in: 5, loss_out: 5, seed: seed + 1 };
    drive(&node, &mut [&mut publisher], &mut [&mut viewer], Duration::from_secs(6));
    publisher.peer.network = Network::default();
    viewer.peer.network = Network::default();
    drive(&node, &mut [&mut publisher], &mut [&mut viewer], Duration::from_secs(1));
    let metrics = node.metrics();
    let seen = viewer.pictures();
    let (all, whole) = (seen.pictures().len(), seen.complete());
    println!("{whole} of {all} pictures whole, {} packets sent again", metrics.retransmitted);
    assert!(metrics.retransmitted > 0, "seed {seed}: nothing was sent again");
    assert!(all > 150, "seed {seed}: {all} pictures");
    // What NACK does not repair in time, a key frame repairs; only a few pictures may be lost on the way.
    assert!(whole * 100 >= all * 95, "seed {seed}: {whole} of {all}, {metrics:?}");
    assert_eq!(seen.damaged, 0, "seed {seed}");
}

#[test]
fn a_viewer_whose_address_moves_stays_in_the_call() {
    let node = Node::start(2);
    let mut publisher = Publisher::join(&node, "room", "alice");
    let mut viewer = Viewer::join(&node, "room");
    drive_until(&node, &mut [&mut publisher], &mut [&mut viewer], LIMIT, |_, v| {
        v[0].pictures().complete() >= 10
    });
    // The kernel maps each new port to a worker at random; with five moves both workers are reached.
    for moved in 0..5 {
        viewer.peer.move_address();
        let at = Instant::now();
        let before = viewer.pictures().complete();
        let goes_on =
            drive_until(&node, &mut [&mut publisher], &mut [&mut viewer], LIMIT, |_, v| {
                v[0].pictures().complete() >= before + 10
            });
        assert!(goes_on, "move {moved}: {:?}", node.metrics_by_worker());
        println!("move {moved}: pictures again after {:?}", at.elapsed());
    }
    assert_eq!(viewer.pictures().damaged, 0);
}

#[test]
fn a_publisher_whose_address_moves_to_another_worker_is_handed_over() {
    let node = Node::start(4);
    let mut publisher = Publisher::join(&node, "room", "alice");
    let mut viewer = Viewer::join(&node, "room");
    drive_until(&node, &mut [&mut publisher], &mut [&mut viewer], LIMIT, |_, v| {
        v[0].pictures().complete() >= 10
    });
    for moved in 0..6 {
        publisher.peer.move_address();
        let before = publisher.pictures;
        let goes_on =
            drive_until(&node, &mut [&mut publisher], &mut [&mut viewer], LIMIT, |p, v| {
                let seen = v[0].pictures().pictures();
                p[0].pictures > before && seen.iter().filter(|s| s.number > before).count() >= 10
            });
        assert!(goes_on, "move {moved}: {:?}", node.metrics_by_worker());
    }
    // Six ports on four workers: the chance that all map to the first worker is one in four thousand.
    assert!(node.metrics().handed_over > 0, "{:?}", node.metrics_by_worker());
}
