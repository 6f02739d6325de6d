//! A publisher that restarts its source all the time: each number that a viewer is sent stays one packet, and every
//! source begins with a key frame.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod support;

use rtp::ParsedExtensions;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use model::{Codec, DropReason, Ssrc};
use sfumato_router::{Packet, StreamId, StreamRef, Written};
use support::*;

/// More restarts than a counter of one byte can tell apart.
const RESTARTS: u16 = 300;

/// What was sealed under which index of an SSRC: header and payload, to the last bit.
#[derive(Default)]
struct Sealed(BTreeMap<(u32, u64), Vec<u8>>);

impl Sealed {
    /// Threats row 55: other bytes under the same index would use a nonce twice.
    fn seal(&mut self, written: &Written, bytes: &[u8]) {
        let before = self.0.insert((written.ssrc.0, written.seq.0), bytes.to_vec());
        match before {
            Some(before) if written.exact => assert_eq!(before, bytes, "{written:?}"),
            Some(_) => panic!("used twice: {written:?}"),
            None => {}
        }
    }
}

/// Receives a packet, whatever SSRCs the session had before: whether the SSRC is allowed is not tested here.
fn take(rig: &mut Rig, now: Instant, raw: &Raw) -> Arc<Packet> {
    let bytes = raw.bytes();
    let mut buf = rig.pool.alloc(rig.account, bytes.len()).unwrap();
    buf.space()[..bytes.len()].copy_from_slice(&bytes);
    let stream = StreamRef { up: 0, layer: 0, is_rtx: false, ssrc: Ssrc(raw.ssrc) };
    rig.up.ingest(now, stream, &mut buf, bytes.len(), &ParsedExtensions::default()).unwrap();
    let packet = rig.pool.share(buf);
    rig.mirror.receive(Arc::clone(&packet));
    packet
}

/// Runs a publisher that restarts within half a second; `ssrc` gives the SSRC after a restart, and by how far the
/// sequence number jumps.
fn run(rtx: bool, restart: impl Fn(u16) -> (u32, u16)) {
    let begin = start();
    let media = video(1, "0", &[], &[]);
    let mut rig = Rig::new(media.clone(), begin);
    let mut down = down_track(&media, rtx, begin);
    let mut sealed = Sealed::default();
    let mut begun: BTreeSet<StreamId> = BTreeSet::new();
    let (mut seen, mut resent) = (Vec::<u16>::new(), 0);
    let mut sequence = 0u16;
    for round in 0..=RESTARTS {
        let (ssrc, jump) = restart(round);
        sequence = sequence.wrapping_add(jump);
        // Every other source sends delta frames only; the others send a key frame after some of them.
        for place in 0..6u16 {
            let now = begin + ms(u64::from(round) * 3 / 2);
            let key = round % 2 == 0 && place == 2;
            let vp8 = Vp8 { start: true, key, picture: round * 6 + place, long_id: true, tl0: 0 };
            let payload = vp8.payload(&[round as u8, place as u8, key as u8]);
            sequence = sequence.wrapping_add(1);
            let raw = Raw {
                mid: Some("0"),
                marker: true,
                ..Raw::new(ssrc, VP8, sequence, u32::from(round) * 700 + u32::from(place), payload)
            };
            let packet = take(&mut rig, now, &raw);
            match rig.forward(now, &mut down, &packet) {
                Ok((written, bytes)) => {
                    let is_first = begun.insert(packet.meta.stream);
                    assert!(!is_first || Seen::parse(&bytes, Codec::Vp8).key, "{round} {place}");
                    sealed.seal(&written, &bytes);
                    seen.push(written.seq.low());
                }
                Err(reason) => assert_eq!(reason, DropReason::AwaitingKeyFrame),
            }
            // The viewer requests all packets, also ones that were never sent.
            let newest = seen.last().copied().unwrap_or(0);
            for back in 0..40 {
                let mut out = vec![0; 2_048];
                let asked = newest.wrapping_add(5).wrapping_sub(back);
                if let Ok(written) = down.retransmit(&leave(now), &rig.mirror, asked, &mut out) {
                    sealed.seal(&written, &out[..written.len]);
                    resent += 1;
                }
            }
        }
    }
    assert_eq!(begun.len(), usize::from(RESTARTS / 2 + 1));
    assert!(resent > 50, "{resent}");
    assert!(seen.windows(2).all(|w| w[1] == w[0].wrapping_add(1)), "no gaps");
}

#[test]
fn no_index_is_used_for_two_packets_however_often_a_source_restarts() {
    for rtx in [false, true] {
        // By jumps of the sequence number; by another SSRC; by two SSRCs that alternate and continue their numbers.
        run(rtx, |_| (11, 5_000));
        run(rtx, |round| (11 + u32::from(round % 15), 7));
        run(rtx, |round| (11 + u32::from(round % 2), 0));
    }
}
