//! Attacks over real sockets. Attacks that cannot be shown here are tested in the crate that they concern.

use std::time::{Duration, Instant};

use model::DropReason;
use sfumato_interop::{Node, Publisher, Viewer, drive, drive_until};
use str0m::media::KeyframeRequestKind;
use transport::demux::{Kind, classify};

const LIMIT: Duration = Duration::from_secs(10);

fn dropped(node: &Node, reason: DropReason) -> u64 {
    let all = node.metrics().dropped_in;
    all.iter().find(|(r, _)| *r == reason).map_or(0, |(_, n)| *n)
}

/// A Binding request with a USERNAME but no (or a wrong) MESSAGE-INTEGRITY.
fn forged_check(username: &str, integrity: bool) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend([0x00, 0x06]);
    body.extend((username.len() as u16).to_be_bytes());
    body.extend(username.as_bytes());
    body.resize(body.len().next_multiple_of(4), 0);
    body.extend([0x00, 0x25, 0x00, 0x00]); // USE-CANDIDATE
    if integrity {
        body.extend([0x00, 0x08, 0x00, 0x14]);
        body.extend([0x5a; 20]);
    }
    let mut bytes = vec![0x00, 0x01];
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend([0x21, 0x12, 0xa4, 0x42]);
    bytes.extend([7; 12]);
    bytes.extend(body);
    bytes
}

/// The node's ufrag, from the answer: everyone who sees the signaling knows it.
fn ufrag_of(answer: &str) -> String {
    let line = answer.lines().find_map(|l| l.strip_prefix("a=ice-ufrag:"));
    line.unwrap_or_default().to_owned()
}

#[test]
fn forged_checks_and_strangers_bytes_disturb_no_call() {
    let node = Node::start(2);
    let mut publisher = Publisher::join(&node, "room", "alice");
    let mut viewer = Viewer::join(&node, "room");
    drive_until(&node, &mut [&mut publisher], &mut [&mut viewer], LIMIT, |_, v| {
        v[0].pictures().complete() >= 10
    });
    // The answer of another session of the node shows what an eavesdropper could read.
    let mut other = sfumato_interop::Peer::new(|c| c);
    let (offer, _) = other.offer(|api| {
        let (kind, dir) = (str0m::media::MediaKind::Video, str0m::media::Direction::RecvOnly);
        api.add_media(kind, dir, None, None, None)
    });
    let ufrag = ufrag_of(&node.subscribe("room", None, &offer).unwrap().answer);
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let node_at = ("127.0.0.1", node.port());
    for _ in 0..100 {
        for (user, integrity) in [
            ("nobody:x".to_owned(), true),
            (format!("{ufrag}:x"), true),
            (format!("{ufrag}:x"), false),
        ] {
            stranger.send_to(&forged_check(&user, integrity), node_at).unwrap();
        }
        // DTLS ClientHello, SRTP and SRTCP from an address that no check validated.
        stranger.send_to(&[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1], node_at).unwrap();
        stranger.send_to(&[0x80; 100], node_at).unwrap();
        stranger.send_to(&[0x81, 201, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], node_at).unwrap();
    }
    let before = viewer.pictures().complete();
    drive(&node, &mut [&mut publisher], &mut [&mut viewer], Duration::from_secs(2));
    assert!(viewer.pictures().complete() >= before + 40, "the call went on");
    assert_eq!(viewer.pictures().damaged, 0);
    assert_eq!(dropped(&node, DropReason::StunUnknownUser), 100);
    assert_eq!(dropped(&node, DropReason::StunBadIntegrity), 200);
    assert!(dropped(&node, DropReason::UnknownPath) >= 300);
    let mut answer = [0; 100];
    assert!(stranger.recv(&mut answer).is_err(), "strangers are not answered");
}

#[test]
fn a_flood_of_picture_loss_costs_the_publisher_one_key_frame_a_second() {
    let node = Node::start(2);
    let mut publisher = Publisher::join(&node, "room", "alice");
    let mut viewer = Viewer::join(&node, "room");
    drive_until(&node, &mut [&mut publisher], &mut [&mut viewer], LIMIT, |_, v| {
        v[0].pictures().complete() >= 10
    });
    let (start, before) = (Instant::now(), publisher.key_frame_requests);
    let mut asked = 0;
    drive_until(
        &node,
        &mut [&mut publisher],
        &mut [&mut viewer],
        Duration::from_secs(4),
        |_, v| {
            let mid = v[0].video[0];
            let mut api = v[0].peer.rtc.direct_api();
            if let Some(stream) = api.stream_rx_by_mid(mid, None) {
                stream.request_keyframe(KeyframeRequestKind::Pli);
                asked += 1;
            }
            false
        },
    );
    let got = publisher.key_frame_requests - before;
    let most = start.elapsed().as_secs() as u32 + 1;
    println!("{asked} asked for, {got} reached the publisher");
    assert!(asked > 100 && (1..=most).contains(&got), "{asked} asked, {got} got, {most} allowed");
}

#[test]
fn an_oversized_datagram_is_dropped_and_counted() {
    let node = Node::start(1);
    let mut publisher = Publisher::join(&node, "room", "alice");
    let mut viewer = Viewer::join(&node, "room");
    drive_until(&node, &mut [&mut publisher], &mut [&mut viewer], LIMIT, |_, v| {
        v[0].pictures().complete() >= 3
    });
    let mut bytes = vec![0x80; 9_000];
    bytes[1] = 96;
    publisher.peer.send_raw(&bytes, ([127, 0, 0, 1], node.port()).into());
    drive(&node, &mut [&mut publisher], &mut [&mut viewer], Duration::from_millis(300));
    assert_eq!(dropped(&node, DropReason::TooLarge), 1);
}

/// Datagrams of media that a publisher sends within this time.
fn tap(
    node: &Node,
    publisher: &mut Publisher,
    viewer: &mut Viewer,
    time: Duration,
) -> Vec<Vec<u8>> {
    publisher.peer.tapped = Some(Vec::new());
    drive(node, &mut [publisher], &mut [viewer], time);
    let mut tapped = publisher.peer.tapped.take().unwrap_or_default();
    tapped.retain(|datagram| matches!(classify(datagram), Kind::Rtp | Kind::Rtcp));
    tapped
}

#[test]
fn replayed_and_changed_media_is_counted_and_never_forwarded() {
    let node = Node::start(2);
    let mut publisher = Publisher::join(&node, "room", "alice");
    let mut viewer = Viewer::join(&node, "room");
    drive_until(&node, &mut [&mut publisher], &mut [&mut viewer], LIMIT, |_, v| {
        v[0].pictures().complete() >= 5
    });
    let media = tap(&node, &mut publisher, &mut viewer, Duration::from_secs(1));
    assert!(media.len() > 150, "{} datagrams", media.len());
    let to = ([127, 0, 0, 1], node.port()).into();
    let (replays, forgeries) = (DropReason::SrtpReplay, DropReason::SrtpAuth);
    assert_eq!((dropped(&node, replays), dropped(&node, forgeries)), (0, 0));
    for datagram in &media {
        publisher.peer.send_raw(datagram, to);
        let mut changed = datagram.clone();
        let last = changed.len() - 1;
        // The last bytes of SRTP are the tag. SRTCP has the index after its tag, and the index is authenticated too.
        changed[last] ^= 1;
        // On an SSRC of its own, so that it counts as a bad tag and not as a replay.
        let ssrc = if classify(datagram) == Kind::Rtcp { 4 } else { 8 };
        changed[ssrc] ^= 0x80;
        publisher.peer.send_raw(&changed, to);
    }
    let damaged = viewer.pictures().damaged;
    let before = viewer.pictures().complete();
    drive(&node, &mut [&mut publisher], &mut [&mut viewer], Duration::from_secs(1));
    let each = media.len() as u64;
    assert_eq!((dropped(&node, replays), dropped(&node, forgeries)), (each, each));
    assert!(viewer.pictures().complete() >= before + 20, "the call went on");
    assert_eq!(viewer.pictures().damaged, damaged);
    assert_eq!(viewer.pictures().duplicates, 0);
}

#[test]
fn a_viewer_that_neither_reads_nor_answers_hurts_no_other() {
    let node = Node::start(2);
    let mut publisher = Publisher::join(&node, "room", "alice");
    let mut viewers = [Viewer::join(&node, "room"), Viewer::join(&node, "room")];
    let [deaf, good] = &mut viewers;
    drive_until(&node, &mut [&mut publisher], &mut [deaf, good], LIMIT, |_, v| {
        v.iter_mut().all(|v| v.pictures().complete() >= 5)
    });
    // The socket is never read again, so the kernel's buffer fills and overflows.
    deaf.peer.dead = true;
    let before = good.pictures().complete();
    drive(&node, &mut [&mut publisher], &mut [good], Duration::from_secs(3));
    let seen = good.pictures();
    assert!(seen.complete() >= before + 80, "{} of 90 pictures", seen.complete() - before);
    assert_eq!(seen.damaged, 0);
    let metrics = node.metrics();
    let buffers = metrics.packet_buffers;
    assert!(buffers < 4_096, "{buffers} buffers held for somebody who reads nothing");
    assert_eq!(metrics.panics, 0);
}
