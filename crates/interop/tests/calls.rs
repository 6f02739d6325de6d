//! Calls between peers of another WebRTC stack, over real sockets, through rooms and workers.

use std::time::Duration;

use sfumato_interop::{Node, Publisher, Viewer, drive, drive_until};

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn a_viewer_sees_every_picture_and_hears_every_sound() {
    let node = Node::start(2);
    let mut publisher = Publisher::join(&node, "room", "alice");
    let mut viewer = Viewer::join(&node, "room");
    let enough = drive_until(&node, &mut [&mut publisher], &mut [&mut viewer], LIMIT, |_, v| {
        v[0].pictures().complete() >= 60
    });
    let seen = viewer.pictures();
    assert!(enough, "only {} pictures came: {:?}", seen.complete(), node.metrics());
    assert_eq!((seen.damaged, seen.missing(), seen.duplicates), (0, 0, 0));
    let pictures = seen.pictures();
    assert!(pictures[0].key, "the first picture is a key frame");
    let whole = &pictures[..pictures.len() - 1];
    assert!(whole.iter().all(|p| p.packets == p.of), "pictures come whole");
    assert!(whole.windows(2).all(|w| w[1].number == w[0].number + 1), "none is left out");
    let sounds = viewer.sounds();
    assert!(sounds.sounds.len() > 80, "{} sounds", sounds.sounds.len());
    assert_eq!((sounds.damaged, sounds.missing(), sounds.duplicates), (0, 0, 0));
}

/// Media from the cache must not overtake the end of the viewer's handshake.
#[test]
fn a_viewer_that_joins_right_after_a_key_frame_gets_that_one() {
    for round in 0..4 {
        let node = Node::start(2);
        let mut publisher = Publisher::join(&node, "room", "alice");
        drive_until(&node, &mut [&mut publisher], &mut [], LIMIT, |p, _| p[0].pictures >= 6);
        let asked = publisher.key_frame_requests;
        let mut viewer = Viewer::join(&node, "room");
        drive_until(&node, &mut [&mut publisher], &mut [&mut viewer], LIMIT, |_, v| {
            v[0].pictures().complete() >= 10
        });
        let first = viewer.pictures().pictures()[0];
        assert!(first.key, "round {round}: {first:?}, {:?}", node.metrics());
        assert!(publisher.key_frame_requests <= asked + 1, "round {round}");
    }
}

#[test]
fn a_late_viewer_gets_a_key_frame_at_once() {
    let node = Node::start(2);
    let mut publisher = Publisher::join(&node, "room", "alice");
    drive(&node, &mut [&mut publisher], &mut [], Duration::from_secs(2));
    assert!(publisher.pictures > 30);
    let mut viewer = Viewer::join(&node, "room");
    let came = drive_until(&node, &mut [&mut publisher], &mut [&mut viewer], LIMIT, |_, v| {
        v[0].pictures().complete() >= 5
    });
    assert!(came, "{:?}", node.metrics());
    let connected = viewer.peer.connected_at.unwrap();
    let first = viewer.pictures().first_at.unwrap();
    assert!(viewer.pictures().pictures()[0].key);
    let wait = first.saturating_duration_since(connected);
    println!("connected to first packet: {wait:?}");
    assert!(wait < Duration::from_millis(500), "waited {wait:?}");
}

#[test]
fn a_viewer_who_comes_first_waits_for_the_publisher() {
    let node = Node::start(2);
    let mut viewer = Viewer::join(&node, "room");
    drive_until(&node, &mut [], &mut [&mut viewer], LIMIT, |_, v| v[0].peer.connected);
    let mut publisher = Publisher::join(&node, "room", "alice");
    let came = drive_until(&node, &mut [&mut publisher], &mut [&mut viewer], LIMIT, |_, v| {
        v[0].pictures().complete() >= 10
    });
    assert!(came, "{:?}", node.metrics());
}

#[test]
fn everyone_in_a_meeting_sees_everyone() {
    let node = Node::start(2);
    let names = ["ann", "ben", "cat", "dan"];
    let mut publishers: Vec<_> = names.map(|n| Publisher::join(&node, "room", n)).into();
    let mut viewers: Vec<_> =
        (0..4).map(|_| Viewer::join_with(&node, "room", None, 4, |c| c)).collect();
    let mut publishers: Vec<_> = publishers.iter_mut().collect();
    let mut viewers: Vec<_> = viewers.iter_mut().collect();
    let all = drive_until(&node, &mut publishers, &mut viewers, LIMIT, |_, viewers| {
        viewers
            .iter()
            .all(|v| v.video.iter().all(|mid| v.seen.get(mid).is_some_and(|s| s.complete() >= 15)))
    });
    let counts: Vec<Vec<usize>> = viewers
        .iter()
        .map(|v| v.video.iter().map(|m| v.seen.get(m).map_or(0, |s| s.complete())).collect())
        .collect();
    assert!(all, "{counts:?} {:?}", node.metrics());
    for viewer in &viewers {
        assert!(viewer.seen.values().all(|s| s.damaged == 0));
    }
}
