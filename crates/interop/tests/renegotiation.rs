//! Later offers of live sessions, from peers of another stack over real sockets: what is added works, and what was
//! there before goes on undisturbed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use sfumato_interop::{Node, Publisher, Seen, Viewer, drive, drive_until};

const LIMIT: Duration = Duration::from_secs(10);

/// The received packets have no gap, no double and no wrong byte.
fn assert_whole(seen: &Seen, what: &str) {
    assert!(!seen.sequences.is_empty(), "{what}: nothing came");
    assert_eq!((seen.damaged, seen.missing(), seen.duplicates), (0, 0, 0), "{what}");
}

/// All pictures from the first one on are whole, except the last, whose packets may still be on their way.
fn assert_every_picture(seen: &Seen, what: &str) {
    assert_whole(seen, what);
    let pictures = seen.pictures();
    let whole = &pictures[..pictures.len() - 1];
    assert!(whole.iter().all(|p| p.packets == p.of), "{what}: pictures come whole");
    assert!(whole.windows(2).all(|w| w[1].number == w[0].number + 1), "{what}: none is left out");
}

fn key_frames(seen: &Seen) -> usize {
    seen.pictures().iter().filter(|p| p.key).count()
}

/// Sounds by number: none is missing between the first and the last.
fn assert_every_sound(seen: &Seen, what: &str) {
    assert_whole(seen, what);
    let (first, last) = (seen.sounds.first().unwrap(), seen.sounds.last().unwrap());
    assert_eq!((last - first + 1) as usize, seen.sounds.len(), "{what}: a sound is left out");
}

#[test]
fn a_viewer_adds_a_section_and_sees_a_second_publisher_while_the_first_goes_on() {
    for workers in [1, 2] {
        let node = Node::start(workers);
        let mut ann = Publisher::join(&node, "room", "ann");
        let mut ben = Publisher::join(&node, "room", "ben");
        let mut viewer = Viewer::join(&node, "room");
        let (first, sound) = (viewer.video[0], viewer.audio[0]);
        let came = drive_until(
            &node,
            &mut [&mut ann, &mut ben],
            &mut [&mut viewer],
            LIMIT,
            |publishers, viewers| {
                publishers.iter().all(|p| p.pictures > 20) && viewers[0].pictures().complete() >= 20
            },
        );
        assert!(came, "{workers} workers: {:?}", node.metrics());
        let requests = ann.key_frame_requests;
        let keys = key_frames(&viewer.seen[&first]);
        let second = viewer.add_video(&node);
        let came = drive_until(
            &node,
            &mut [&mut ann, &mut ben],
            &mut [&mut viewer],
            LIMIT,
            |_, viewers| {
                viewers[0].seen.get(&second).is_some_and(|s| s.complete() >= 30)
                    && viewers[0].pictures().complete() >= 50
            },
        );
        assert!(came, "{workers} workers: {:?}", node.metrics());
        let what = format!("{workers} workers, {:?}", node.metrics());
        assert_every_picture(&viewer.seen[&second], &format!("{what}, the new section"));
        assert!(viewer.seen[&second].pictures()[0].key, "{what}: it begins with a key frame");
        assert_every_picture(&viewer.seen[&first], &format!("{what}, the old section"));
        assert_every_sound(&viewer.seen[&sound], &format!("{what}, the sound"));
        // What was there before needed no new key frame.
        assert_eq!(ann.key_frame_requests, requests, "{what}");
        assert_eq!(key_frames(&viewer.seen[&first]), keys, "{what}");
        assert!(viewer.peer.connected && !viewer.peer.closed, "{what}");
    }
}

#[test]
fn a_publisher_adds_its_camera_in_mid_stream_and_the_sound_goes_on() {
    for workers in [1, 2] {
        let what = format!("{workers} workers");
        let node = Node::start(workers);
        let mut publisher = Publisher::join_with_sound_alone(&node, "room", "ann");
        let mut viewer = Viewer::join(&node, "room");
        let came = drive_until(&node, &mut [&mut publisher], &mut [&mut viewer], LIMIT, |_, v| {
            v[0].sounds().sounds.len() >= 50
        });
        assert!(came, "{what}: {:?}", node.metrics());
        assert!(viewer.pictures().sequences.is_empty(), "{what}: nobody sends pictures yet");
        publisher.add_video(&node);
        let came = drive_until(&node, &mut [&mut publisher], &mut [&mut viewer], LIMIT, |_, v| {
            v[0].pictures().complete() >= 30 && v[0].sounds().sounds.len() >= 100
        });
        assert!(came, "{what}: {:?}", node.metrics());
        assert_every_picture(viewer.pictures(), &format!("{what}, the pictures"));
        assert!(viewer.pictures().pictures()[0].key, "{what}: they begin with a key frame");
        assert_every_sound(viewer.sounds(), &format!("{what}, the sound"));
        assert!(publisher.peer.connected && !publisher.peer.closed, "{what}");
    }
}

#[test]
fn many_renegotiations_under_way_lose_nothing() {
    const SECTIONS: usize = 8;
    let node = Node::start(2);
    let mut ann = Publisher::join(&node, "room", "ann");
    let mut viewer = Viewer::join(&node, "room");
    let came = drive_until(&node, &mut [&mut ann], &mut [&mut viewer], LIMIT, |_, v| {
        v[0].pictures().complete() >= 5
    });
    assert!(came, "{:?}", node.metrics());
    let keys = key_frames(viewer.pictures());
    for _ in 0..SECTIONS {
        viewer.add_video(&node);
        drive(&node, &mut [&mut ann], &mut [&mut viewer], Duration::from_millis(50));
    }
    drive(&node, &mut [&mut ann], &mut [&mut viewer], Duration::from_millis(500));
    assert_every_picture(viewer.pictures(), "the first section");
    assert_eq!(key_frames(viewer.pictures()), keys);
    assert_every_sound(viewer.sounds(), "the sound");
    // There is one publisher only, so the added section stays empty.
    let added = &viewer.video[1..];
    assert_eq!(added.len(), SECTIONS);
    assert!(added.iter().all(|mid| !viewer.seen.contains_key(mid)));
}
