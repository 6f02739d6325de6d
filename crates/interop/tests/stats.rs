//! The measurements of sessions, as the workers that own them give them.
#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::sync::mpsc;
use std::time::Duration;

use model::{MediaKind, SessionId, SessionStats};
use sfumato_interop::{Node, Publisher, Viewer, drive_until};

const LIMIT: Duration = Duration::from_secs(20);

/// The measurements of a session; `None` when no worker has it.
fn stats(node: &Node, session: SessionId) -> Option<SessionStats> {
    let (answer, answered) = mpsc::channel();
    node.workers().stats(session, Box::new(move |stats| answer.send(stats).unwrap_or_default()));
    answered.recv_timeout(LIMIT).ok()
}

#[test]
fn a_call_is_measured_on_both_sides_and_a_session_that_is_gone_is_not() {
    let node = Node::start(2);
    let mut publisher = Publisher::join(&node, "room", "alice");
    let mut viewer = Viewer::join(&node, "room");
    let (sends, receives) = (publisher.session.expect("a session"), viewer.session);
    // The round trip of a viewer needs a sender report and the receiver report that answers it.
    let measured =
        drive_until(&node, &mut [&mut publisher], &mut [&mut viewer], LIMIT, |_, viewers| {
            viewers[0].pictures().complete() >= 60
                && stats(&node, receives)
                    .is_some_and(|s| s.down.iter().any(|d| d.stats.rtt.is_some()))
        });
    assert!(measured, "{:?}", stats(&node, receives));

    let up = stats(&node, sends).expect("the publisher is there");
    assert!(up.path.is_some() && up.srtp_profile.is_some() && up.down.is_empty(), "{up:?}");
    let video = up.up.iter().find(|s| s.kind == MediaKind::Video).expect("a video section");
    let layer = video.stats.layers[0];
    assert!(layer.packets >= 60 && layer.octets > 0 && layer.key_frames >= 1, "{layer:?}");
    assert!(layer.bitrate > 10_000 && layer.lost == 0, "{layer:?}");

    let down = stats(&node, receives).expect("the viewer is there");
    let slot = down.down.iter().find(|s| s.kind == MediaKind::Video).expect("a video slot");
    assert_eq!(slot.stats.track, Some(video.track));
    assert!(slot.stats.packets >= 60 && slot.stats.bitrate > 10_000, "{slot:?}");
    assert_eq!((slot.stats.fraction_lost, slot.stats.layer), (0, Some(0)), "{slot:?}");

    node.close(receives);
    drive_until(&node, &mut [&mut publisher], &mut [], LIMIT, |_, _| {
        node.workers().sessions() == 1
    });
    assert_eq!(stats(&node, receives), None);
}
