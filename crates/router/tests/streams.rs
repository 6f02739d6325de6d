//! Which SSRC is which stream: all negotiated streams are found, and no others (threats row 30).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::sync::OnceLock;
use std::time::Instant;

use model::{DropReason, Pt, Ssrc};
use rtp::{ParsedExtensions, RtpPacket};
use sfumato_router::StreamTable;
use support::*;

/// The table's result for a packet with these header extensions.
fn resolve(
    table: &mut StreamTable,
    ssrc: u32,
    pt: Pt,
    mid: Option<&'static str>,
    rid: Option<&'static str>,
    rrid: Option<&'static str>,
) -> Result<(u8, u8, bool), DropReason> {
    resolve_at(start(), table, ssrc, pt, mid, rid, rrid)
}

/// The same, at a given time.
fn resolve_at(
    now: Instant,
    table: &mut StreamTable,
    ssrc: u32,
    pt: Pt,
    mid: Option<&'static str>,
    rid: Option<&'static str>,
    rrid: Option<&'static str>,
) -> Result<(u8, u8, bool), DropReason> {
    let raw = Raw { mid, rid, rrid, ..Raw::new(ssrc, pt, 1, 1, vec![0; 20]) }.bytes();
    let ext = ParsedExtensions::parse(&RtpPacket::parse(&raw).unwrap(), &extensions()).unwrap();
    let found = table.resolve(now, Ssrc(ssrc), pt, &ext)?;
    assert_eq!(table.lookup(Ssrc(ssrc)), Some(found));
    Ok((found.up, found.layer, found.is_rtx))
}

/// The time of everything that needs no time of its own: always the same moment, or time would pass on a slow machine.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(support::start)
}

#[test]
fn ssrcs_of_the_offer_are_known_from_the_start() {
    let mut t = StreamTable::new(&plan(vec![audio(1, "0"), video(2, "1", &[], &[(11, 12)])]));
    assert_eq!(resolve(&mut t, 11, VP8, None, None, None), Ok((1, 0, false)));
    assert_eq!(resolve(&mut t, 12, VP8_RTX, None, None, None), Ok((1, 0, true)));
}

#[test]
fn simulcast_is_learned_by_mid_and_rid() {
    let mut t = StreamTable::new(&plan(vec![audio(1, "0"), video(2, "1", &["q", "h", "f"], &[])]));
    assert_eq!(resolve(&mut t, 21, VP8, Some("1"), Some("f"), None), Ok((1, 2, false)));
    assert_eq!(resolve(&mut t, 22, VP8_RTX, Some("1"), None, Some("f")), Ok((1, 2, true)));
    assert_eq!(resolve(&mut t, 23, VP8, Some("1"), Some("q"), None), Ok((1, 0, false)));
    // Once learned, the SSRC alone is enough.
    assert_eq!(resolve(&mut t, 21, VP8, None, None, None), Ok((1, 2, false)));
    assert_eq!(resolve(&mut t, 1, OPUS, Some("0"), None, None), Ok((0, 0, false)));
}

#[test]
fn a_publisher_without_header_extensions_is_told_by_payload_type() {
    let mut t = StreamTable::new(&plan(vec![audio(1, "0"), video(2, "1", &[], &[])]));
    assert_eq!(resolve(&mut t, 5, OPUS, None, None, None), Ok((0, 0, false)));
    assert_eq!(resolve(&mut t, 6, VP8, None, None, None), Ok((1, 0, false)));
    assert_eq!(resolve(&mut t, 7, VP8_RTX, None, None, None), Ok((1, 0, true)));
    // Two sections have that payload type: nothing tells which one is meant.
    let mut t = StreamTable::new(&plan(vec![video(1, "0", &[], &[]), video(2, "1", &[], &[])]));
    assert_eq!(resolve(&mut t, 6, VP8, None, None, None), Err(DropReason::UnknownStream));
    assert_eq!(resolve(&mut t, 6, VP8, Some("1"), None, None), Ok((1, 0, false)));
}

#[test]
fn ssrc_mid_or_rid_outside_what_was_negotiated_is_dropped() {
    use DropReason::{UnknownPayloadType, UnknownStream};
    let simulcast = video(2, "1", &["q", "h"], &[]);
    let named = video(3, "2", &[], &[(31, 32)]);
    let mut t = StreamTable::new(&plan(vec![audio(1, "0"), simulcast, named]));
    let cases = [
        (VP8, Some("9"), Some("q"), None, UnknownStream),
        (VP8, Some("1"), Some("x"), None, UnknownStream),
        (VP8, Some("1"), None, None, UnknownStream),
        (VP8, Some("1"), None, Some("q"), UnknownStream),
        (VP8_RTX, Some("1"), None, Some("x"), UnknownStream),
        (OPUS, Some("1"), Some("q"), None, UnknownPayloadType),
        (Pt(77), None, None, None, UnknownPayloadType),
        (VP8, None, None, None, UnknownStream),
    ];
    for (i, (pt, mid, rid, rrid, reason)) in cases.into_iter().enumerate() {
        assert_eq!(resolve(&mut t, 90 + i as u32, pt, mid, rid, rrid), Err(reason), "case {i}");
        assert_eq!(t.lookup(Ssrc(90 + i as u32)), None, "case {i} left a trace");
    }
}

/// RFC 8843 section 9.2: SSRC, then mid, then payload type.
#[test]
fn an_ssrc_that_the_offer_does_not_name_is_told_by_its_payload_type() {
    let mut t = StreamTable::new(&plan(vec![audio(1, "0"), video(3, "2", &[], &[(31, 32)])]));
    assert_eq!(resolve(&mut t, 99, VP8, None, None, None), Ok((1, 0, false)));
    assert_eq!(resolve(&mut t, 98, VP8_RTX, None, None, None), Ok((1, 0, true)));
    // An SSRC that the offer named gets the role as soon as it sends.
    assert_eq!(resolve(&mut t, 31, VP8, None, None, None), Ok((1, 0, false)));
    assert_eq!(resolve(&mut t, 99, VP8, None, None, None), Err(DropReason::UnknownStream));
}

#[test]
fn an_ssrc_that_changes_in_mid_stream_without_a_mid_is_followed() {
    let mut t = StreamTable::new(&plan(vec![audio(1, "0"), video(3, "2", &[], &[(31, 32)])]));
    let mut now = start();
    // A camera that gets a new SSRC each minute, for a day.
    for ssrc in 100..1_540 {
        for _ in 0..3 {
            let found = resolve_at(now, &mut t, ssrc, VP8, None, None, None);
            assert_eq!(found, Ok((1, 0, false)), "SSRC {ssrc}");
            now += ms(20_000);
        }
        assert_eq!(resolve_at(now, &mut t, 1, OPUS, Some("0"), None, None), Ok((0, 0, false)));
    }
}

#[test]
fn a_replaced_ssrc_comes_back_when_the_other_one_is_silent_and_not_before() {
    let mut t = StreamTable::new(&plan(vec![video(3, "2", &[], &[])]));
    let mut at = |after, ssrc| resolve_at(start() + ms(after), &mut t, ssrc, VP8, None, None, None);
    assert_eq!(at(0, 1), Ok((0, 0, false)));
    assert_eq!(at(1_000, 2), Ok((0, 0, false)));
    for after in (1_010..5_000).step_by(10) {
        assert_eq!(at(after, 1), Err(DropReason::UnknownStream));
        assert_eq!(at(after, 2), Ok((0, 0, false)));
    }
    assert_eq!(at(5_900, 1), Err(DropReason::UnknownStream), "silent for less than a second");
    assert_eq!(at(6_000, 1), Ok((0, 0, false)));
    assert_eq!(at(6_010, 2), Err(DropReason::UnknownStream));
}

/// Threats, row 30.
#[test]
fn ssrcs_by_the_thousand_change_hands_once_a_second_and_leave_no_trace() {
    let mut t = StreamTable::new(&plan(vec![audio(1, "0"), video(2, "1", &["q", "h", "f"], &[])]));
    let mut changes = 0;
    for ssrc in 0..10_000 {
        let now = start() + ms(u64::from(ssrc));
        match resolve_at(now, &mut t, 10 + ssrc, VP8, Some("1"), Some("q"), None) {
            Ok(_) => changes += 1,
            Err(reason) => assert_eq!(reason, DropReason::TooManyStreams),
        }
        // The SSRC that holds the role continues, and so do the other streams.
        let live = (0..=ssrc).rev().find(|s| t.lookup(Ssrc(10 + s)).is_some()).unwrap();
        assert!(resolve_at(now, &mut t, 10 + live, VP8, None, None, None).is_ok());
        assert!(resolve_at(now, &mut t, 1, OPUS, Some("0"), None, None).is_ok());
    }
    assert_eq!(changes, 11, "the first change is free");
    let known = (0..20_000).filter(|s| t.lookup(Ssrc(*s)).is_some()).count();
    assert_eq!(known, 2, "one in the role that changed hands, and the sound");
    // Audio, and three layers with retransmissions each; and 16 replaced SSRCs.
    assert_eq!(t.ssrcs_max(), 1 + 3 * 2 + 16);
}

#[test]
fn a_renegotiation_that_names_other_ssrcs_is_followed() {
    let mut t = StreamTable::new(&plan(vec![video(1, "0", &[], &[(31, 32)])]));
    assert!(resolve(&mut t, 31, VP8, None, None, None).is_ok());
    t.update(&plan(vec![video(1, "0", &[], &[(41, 42)])]));
    assert!(resolve(&mut t, 31, VP8, None, None, None).is_ok(), "until the new one sends");
    assert_eq!(resolve(&mut t, 41, VP8, None, None, None), Ok((0, 0, false)));
    assert_eq!(resolve(&mut t, 31, VP8, None, None, None), Err(DropReason::UnknownStream));
    assert_eq!(t.lookup(Ssrc(32)), None, "it never sent, and is not named any more");
}

#[test]
fn a_new_ssrc_replaces_the_old_one_which_stays_refused() {
    let mut t = StreamTable::new(&plan(vec![video(1, "0", &[], &[(31, 32)])]));
    assert_eq!(resolve(&mut t, 33, VP8, Some("0"), None, None), Ok((0, 0, false)));
    assert_eq!(resolve(&mut t, 31, VP8, Some("0"), None, None), Err(DropReason::UnknownStream));
    assert_eq!(t.lookup(Ssrc(31)), None);
    assert_eq!(t.lookup(Ssrc(32)).map(|s| s.is_rtx), Some(true));
}

#[test]
fn renegotiation_keeps_what_is_still_there() {
    let mut t = StreamTable::new(&plan(vec![audio(1, "0"), video(2, "1", &["q", "h"], &[])]));
    assert!(resolve(&mut t, 1, OPUS, Some("0"), None, None).is_ok());
    assert!(resolve(&mut t, 2, VP8, Some("1"), Some("h"), None).is_ok());
    t.update(&plan(vec![audio(1, "0"), video(2, "1", &["q"], &[])]));
    assert!(t.lookup(Ssrc(1)).is_some());
    assert_eq!(t.lookup(Ssrc(2)), None);
    assert_eq!(resolve(&mut t, 2, VP8, Some("1"), Some("h"), None), Err(DropReason::UnknownStream));
}
