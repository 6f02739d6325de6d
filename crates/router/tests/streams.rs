//! Which SSRC is what: everything that was negotiated is found, and nothing else (threats row 30).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod support;

use model::{DropReason, Pt, Ssrc};
use rtp::{ParsedExtensions, RtpPacket};
use sfumato_router::StreamTable;
use support::*;

/// What the table says to a packet with these header extensions.
fn resolve(
    table: &mut StreamTable,
    ssrc: u32,
    pt: Pt,
    mid: Option<&'static str>,
    rid: Option<&'static str>,
    rrid: Option<&'static str>,
) -> Result<(u8, u8, bool), DropReason> {
    let raw = Raw { mid, rid, rrid, ..Raw::new(ssrc, pt, 1, 1, vec![0; 20]) }.bytes();
    let ext = ParsedExtensions::parse(&RtpPacket::parse(&raw).unwrap(), &extensions()).unwrap();
    let found = table.resolve(Ssrc(ssrc), pt, &ext)?;
    assert_eq!(table.lookup(Ssrc(ssrc)), Some(found));
    Ok((found.up, found.layer, found.is_rtx))
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
    // Two sections with that payload type: nothing tells them apart.
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
    // The offer named the SSRC of this section, and only a payload type speaks for another one.
    let mut t = StreamTable::new(&plan(vec![video(3, "2", &[], &[(31, 32)])]));
    assert_eq!(resolve(&mut t, 99, VP8, None, None, None), Err(UnknownStream));
    assert_eq!(resolve(&mut t, 31, VP8, None, None, None), Ok((0, 0, false)));
}

#[test]
fn a_session_has_at_most_20_ssrcs() {
    let mut t = StreamTable::new(&plan(vec![video(1, "0", &["q", "h", "f"], &[])]));
    for ssrc in 0..20 {
        assert!(resolve(&mut t, ssrc, VP8, Some("0"), Some("q"), None).is_ok());
    }
    for ssrc in 20..1_000 {
        let refused = resolve(&mut t, ssrc, VP8, Some("0"), Some("h"), None);
        assert_eq!(refused, Err(DropReason::TooManyStreams));
    }
}

#[test]
fn a_new_ssrc_takes_over_and_the_old_one_does_not_come_back() {
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
