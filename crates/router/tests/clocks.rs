//! What the sender reports to a viewer say about the capture times of a publisher's audio and video.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::time::{Duration, Instant, SystemTime};

use model::{NtpTime, Ssrc, WallClock};
use rtp::rtcp::{CompoundIter, RtcpPacket, RtcpWriter};
use sfumato_router::{DownTrack, PublisherClock};
use support::*;

/// One track from the publisher to the viewer.
struct Line {
    rig: Rig,
    down: DownTrack,
    ssrc: u32,
    clock_rate: u64,
    every: u64,
    reports_from: u64,
}

impl Line {
    /// Sends a packet with the timestamp of this moment, if one is due.
    fn step(&mut self, now: Instant, millis: u64) {
        if !millis.is_multiple_of(self.every) {
            return;
        }
        let (sequence, timestamp) = ((millis / self.every) as u16, self.timestamp(millis));
        let raw = match self.clock_rate {
            90_000 => {
                let vp8 = Vp8 { start: true, key: true, picture: sequence, long_id: true, tl0: 0 };
                Raw::new(self.ssrc, VP8, sequence, timestamp, vp8.payload(&[1; 50]))
            }
            _ => Raw {
                mid: Some("1"),
                ..Raw::new(self.ssrc, OPUS, sequence, timestamp, vec![9; 50])
            },
        };
        let packet = self.rig.receive(now, &raw.bytes()).unwrap();
        self.rig.forward(now, &mut self.down, &packet).unwrap();
    }

    fn timestamp(&self, millis: u64) -> u32 {
        (millis * self.clock_rate / 1_000) as u32
    }

    /// The publisher's sender report of this moment.
    fn report(
        &mut self,
        now: Instant,
        ntp: NtpTime,
        millis: u64,
        node: (&mut PublisherClock, &WallClock),
    ) {
        let timestamp = self.timestamp(millis);
        let told = self.rig.up.sender_report(now, Ssrc(self.ssrc), ntp, timestamp);
        let (stream, info) = told.unwrap();
        self.rig.mirror.sender_report(stream, node.0.tell(info, node.1));
    }

    /// The NTP time of timestamp 0 in milliseconds, by a report to the viewer.
    fn told(&mut self, now: Instant) -> Option<f64> {
        let mut buf = [0; 200];
        let mut rtcp = RtcpWriter::new(&mut buf);
        self.down.poll_report(now, Some(&self.rig.mirror), &mut rtcp).unwrap();
        let Some(Ok(RtcpPacket::SenderReport(sr))) = CompoundIter::new(rtcp.as_bytes()).next()
        else {
            return None;
        };
        let ntp = sr.info.ntp.0 as f64 / f64::from(u32::MAX) * 1_000.0;
        Some(ntp - f64::from(sr.info.rtp_timestamp) * 1_000.0 / self.clock_rate as f64)
    }
}

#[test]
fn reports_of_audio_and_video_use_one_clock_from_the_first_one_on() {
    // From when each track's reports are sent, in milliseconds; the publisher's clock is 100 s behind the node's.
    for (audio_from, video_from) in [(300, 6_000), (6_000, 300), (5_000, 7_000)] {
        let begin = start();
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let node = WallClock::new(begin, wall);
        let publisher = NtpTime(node.ntp(begin).0 - (100 << 32));
        let mut clock = PublisherClock::default();
        let (sound, pictures) = (audio(2, "1"), video(1, "0", &[], &[(11, 12)]));
        let mut lines = [
            Line {
                down: down_track(&sound, false, begin),
                rig: Rig::new(sound, begin),
                ssrc: 31,
                clock_rate: 48_000,
                every: 20,
                reports_from: audio_from,
            },
            Line {
                down: down_track(&pictures, true, begin),
                rig: Rig::new(pictures, begin),
                ssrc: 11,
                clock_rate: 90_000,
                every: 40,
                reports_from: video_from,
            },
        ];
        let mut told = [Vec::new(), Vec::new()];
        for millis in 0..10_000 {
            for (line, told) in lines.iter_mut().zip(&mut told) {
                // The packet was under way for 30 ms.
                let now = begin + ms(millis + 30);
                line.step(now, millis);
                if millis >= line.reports_from && millis % 1_000 == line.reports_from % 1_000 {
                    let ntp = publisher.after(ms(millis));
                    line.report(now, ntp, millis, (&mut clock, &node));
                }
                told.extend(line.told(now));
            }
        }
        assert!(told.iter().all(|t| t.len() >= 4), "{told:?}");
        let all = || told.iter().flatten().copied();
        let (least, most) = (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max));
        assert!(most - least < 45.0, "{audio_from}, {video_from}: {told:?}");
    }
}
