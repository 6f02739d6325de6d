//! The statistics of up-tracks and down-tracks.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::time::Duration;

use model::{Ssrc, TrackId};
use rtp::rtcp::{ReportBlock, RtcpWriter};
use sfumato_router::{DownStats, LayerStats, UpStats};
use support::*;

fn picture(sequence: u16, key: bool) -> Raw {
    let vp8 = Vp8 { start: true, key, picture: sequence, long_id: true, tl0: 0 };
    // Arrivals alternate by 10 ms.
    let timestamp = u32::from(sequence) * 1_800;
    Raw { marker: true, ..Raw::new(11, VP8, sequence, timestamp, vp8.payload(&[7; 994])) }
}

#[test]
fn statistics_cover_reception_of_a_track_and_sending_of_a_slot() {
    let begin = start();
    let media = video(1, "0", &[], &[(11, 12)]);
    let mut down = down_track(&media, true, begin);
    let mut rig = Rig::new(media, begin);
    assert_eq!(rig.up.stats(begin), UpStats { layers: vec![LayerStats::default()] });
    let nothing = DownStats { track: Some(TrackId(1)), ..DownStats::default() };
    assert_eq!(down.stats(begin), nothing);
    let mut now = begin;
    for i in 0..150u16 {
        now = begin + ms(20 * u64::from(i) + 10 * u64::from(i % 2));
        let raw = picture(i, i % 50 == 0);
        // The publisher's network loses every tenth packet, and its retransmission arrives.
        let raw = if i % 10 == 5 { raw.wrapped(12, i) } else { raw };
        let packet = rig.receive(now, &raw.bytes()).unwrap();
        rig.forward(now, &mut down, &packet).unwrap();
        if i == 100 {
            down.keyframe_requested();
            let layer = down.wants_keyframe(now, &rig.mirror).unwrap();
            rig.up.request_keyframe(now, layer);
        }
        let mut buf = [0; 200];
        rig.up.poll_feedback(now, Ssrc(1), &mut RtcpWriter::new(&mut buf)).unwrap();
    }
    let mut out = [0; 1_500];
    let asked = |n: u16| (0x5107u32.wrapping_mul(0x9e37_79b1) >> 17) as u16 + n;
    for number in [asked(149), asked(149), asked(200)] {
        let _ = down.retransmit(&leave(now), &rig.mirror, number, &mut out);
    }
    down.report_block(
        now,
        &ReportBlock {
            ssrc: 0x5107,
            fraction_lost: 26,
            cumulative_lost: 9,
            jitter: 900,
            ..ReportBlock::default()
        },
    );

    let layer = rig.up.stats(now).layers[0];
    assert_eq!((layer.ssrc, layer.lost), (Some(Ssrc(11)), 0));
    assert_eq!((layer.packets, layer.octets, layer.key_frames), (150, 150_000, 3));
    assert_eq!((layer.nacked, layer.recovered, layer.keyframe_requests), (0, 0, 1));
    // 50 pictures a second of 1,000 bytes.
    assert!((380_000..420_000).contains(&layer.bitrate), "{layer:?}");
    assert!((ms(8)..=ms(11)).contains(&layer.jitter), "{layer:?}");

    let stats = down.stats(now);
    assert!((380_000..420_000).contains(&stats.bitrate), "{stats:?}");
    let expected = DownStats {
        track: Some(TrackId(1)),
        layer: Some(0),
        packets: 150,
        octets: 150_000,
        bitrate: stats.bitrate,
        rtx_packets: 1,
        rtx_octets: 1_000,
        nacked: 3,
        keyframe_requests: 1,
        key_frames: 3,
        splices: 1,
        rtt: None,
        fraction_lost: 26,
        cumulative_lost: 9,
        jitter: ms(10),
    };
    assert_eq!(stats, expected);
    down.bind(None);
    let idle = down.stats(now + Duration::from_secs(60));
    assert_eq!((idle.track, idle.layer, idle.packets), (None, None, 150));
    assert!(idle.bitrate < 10_000);
}
