//! From offers like those of real clients to answers and plans.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::*;
use model::{Codec, DtlsRole, Extension, Pt};
use proptest::prelude::*;
use sdp::{Direction, Offer};
use sfumato_room::{ErrorKind, Target};

#[test]
fn the_answer_to_ffmpeg_reads_so() {
    let (_, answer) = Node::negotiate_up(FFMPEG);
    let expected = "v=0
o=- {origin} 1 IN IP4 0.0.0.0
s=-
t=0 0
a=group:BUNDLE 0 1
a=extmap-allow-mixed
a=ice-lite
a=msid-semantic: WMS *
m=audio 7000 UDP/TLS/RTP/SAVPF 111
c=IN IP4 198.51.100.1
a=mid:0
a=recvonly
a=ice-ufrag:ABCDEFGH
a=ice-pwd:IJKLMNOPQRSTUVWXYZabcdef
a=fingerprint:{fingerprint}
a=setup:active
a=candidate:1 1 udp 2130706431 198.51.100.1 7000 typ host
a=candidate:2 1 udp 2130706175 2001:db8::1 7000 typ host
a=end-of-candidates
a=rtcp-mux
a=rtpmap:111 opus/48000/2
m=video 7000 UDP/TLS/RTP/SAVPF 106 105
c=IN IP4 198.51.100.1
a=mid:1
a=recvonly
a=ice-ufrag:ABCDEFGH
a=ice-pwd:IJKLMNOPQRSTUVWXYZabcdef
a=fingerprint:{fingerprint}
a=setup:active
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:106 H264/90000
a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d4028
a=rtcp-fb:106 nack
a=rtpmap:105 rtx/90000
a=fmtp:105 apt=106
";
    // The random bytes of the test count up: these are bytes 32 to 39, without the highest bit.
    let origin = 0x2021_2223_2425_2627_u64 >> 1;
    let expected = expected.replace("{origin}", &origin.to_string());
    assert_eq!(answer, expected.replace("{fingerprint}", FINGERPRINT).replace('\n', "\r\n"));
}

#[test]
fn every_answer_is_lite_bundled_and_complete() {
    for offer in [CHROMIUM, CHROMIUM_DATA, FIREFOX, FFMPEG, OBS, GSTREAMER] {
        check_whole(offer, &Node::negotiate_up(offer).1, Direction::RecvOnly);
    }
    for offer in [CHROMIUM_WATCH, FIREFOX_WATCH] {
        check_whole(offer, &Node::negotiate_down(offer).1, Direction::SendOnly);
    }
}

fn check_whole(offer: &str, answer: &str, direction: Direction) {
    let offered = Offer::parse(offer).unwrap();
    let parsed = Offer::parse(answer).unwrap_or_else(|e| panic!("{e}\n{answer}"));
    assert!(parsed.ice_lite);
    assert_eq!(parsed.extmap_allow_mixed, offered.extmap_allow_mixed);
    assert_eq!(parsed.sections.len(), offered.sections.len());
    let open: Vec<_> =
        parsed.sections.iter().filter(|s| !s.rejected).filter_map(|s| s.mid).collect();
    assert_eq!(parsed.bundle, open, "{answer}");
    for (theirs, ours) in offered.sections.iter().zip(&parsed.sections) {
        assert_eq!((theirs.mid, &theirs.kind), (ours.mid, &ours.kind));
        assert_eq!(theirs.protocol, ours.protocol);
        if ours.rejected {
            continue;
        }
        assert_eq!(ours.direction, direction);
        assert!(ours.rtcp_mux);
        assert_eq!(ours.rtcp_mux_only, theirs.rtcp_mux_only);
        assert_eq!(ours.rtcp_rsize, theirs.rtcp_rsize);
        // The answer has only what was offered (RFC 3264 section 6.1).
        assert!(ours.payloads.iter().all(|p| theirs.payloads.iter().any(|q| q.pt == p.pt)));
        for ext in &ours.extensions {
            assert!(theirs.extensions.iter().any(|e| e.id == ext.id && e.uri == ext.uri));
        }
    }
    assert_eq!(lines(answer, "a=candidate:").len(), 2, "candidates stand once");
    assert_eq!(lines(answer, "a=end-of-candidates").len(), 1);
    let remb = lines(answer, "a=rtcp-fb:").iter().filter(|l| l.contains("goog-remb")).count();
    // OBS offers no transport-wide feedback, so it gets REMB, for each of its payload types.
    assert_eq!(remb > 0, offer == OBS, "{answer}");
}

#[test]
fn roles_and_ice_options_follow_the_offer() {
    let table = [
        (CHROMIUM, "a=setup:passive", DtlsRole::Passive, "a=ice-options:trickle"),
        (FFMPEG, "a=setup:active", DtlsRole::Active, ""),
        (OBS, "a=setup:passive", DtlsRole::Passive, "a=ice-options:ice2 trickle"),
    ];
    for (offer, setup, role, options) in table {
        let (plan, answer) = Node::negotiate_up(offer);
        assert!(lines(&answer, "a=setup").iter().all(|l| *l == setup));
        assert_eq!(plan.dtls_role, role);
        assert_eq!(lines(&answer, "a=ice-options").first().copied().unwrap_or(""), options);
    }
    let active = OBS.replace("setup:actpass", "setup:active");
    assert_eq!(Node::negotiate_up(&active).0.dtls_role, DtlsRole::Passive);
}

#[test]
fn chromium_publishes_three_layers_with_feedback_and_extensions() {
    let (plan, answer) = Node::negotiate_up(CHROMIUM);
    let video = &plan.up[1];
    assert_eq!(video.rids.iter().map(|r| r.as_str()).collect::<Vec<_>>(), ["q", "h", "f"]);
    assert!(video.ssrcs.is_empty());
    assert_eq!(lines(&answer, "a=rid:"), ["a=rid:q recv", "a=rid:h recv", "a=rid:f recv"]);
    assert_eq!(lines(&answer, "a=simulcast:"), ["a=simulcast:recv q;h;f"]);
    let vp8 = &video.codecs[0];
    assert_eq!((vp8.codec, vp8.pt, vp8.rtx_pt), (Codec::Vp8, Pt(96), Some(Pt(97))));
    assert!(vp8.feedback.nack && vp8.feedback.pli && vp8.feedback.fir && vp8.feedback.transport_cc);
    assert!(!vp8.feedback.remb);
    assert_eq!(
        plan.up[0].codecs.iter().map(|c| c.codec).collect::<Vec<_>>(),
        [Codec::Opus, Codec::Red]
    );
    for (extension, id) in [
        (Extension::Mid, 4),
        (Extension::Rid, 10),
        (Extension::RepairedRid, 11),
        (Extension::AbsSendTime, 2),
        (Extension::TransportCc, 3),
        (Extension::AudioLevel, 14),
        (Extension::VideoOrientation, 13),
        (Extension::PlayoutDelay, 5),
        (Extension::DependencyDescriptor, 12),
    ] {
        assert_eq!(plan.extensions.id(extension), Some(id), "{extension:?}");
    }
    assert_eq!(lines(&section(&answer, 1), "a=extmap:").len(), 8);
    assert!(plan.rtcp_reduced_size);
    assert!(
        !answer.contains("flexfec") && !answer.contains("ulpfec") && !answer.contains("telephone")
    );
}

#[test]
fn directions_of_extensions_are_reversed_and_obeyed() {
    let (plan, answer) = Node::negotiate_up(FIREFOX);
    // Firefox offers to receive playout-delay; to agree, it would have to send it.
    assert_eq!(plan.extensions.id(Extension::PlayoutDelay), None);
    assert!(
        answer.contains("a=extmap:8/recvonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n")
    );
    let (plan, answer) = Node::negotiate_down(FIREFOX_WATCH);
    assert_eq!(plan.extensions.id(Extension::PlayoutDelay), Some(6));
    assert!(answer.contains("a=extmap:6/sendonly http"));
}

#[test]
fn layers_restricted_to_payload_types_keep_the_agreed_ones() {
    let (plan, answer) = Node::negotiate_up(OBS);
    assert_eq!(
        lines(&answer, "a=rid:"),
        ["a=rid:2 recv pt=96", "a=rid:1 recv pt=96", "a=rid:0 recv pt=96"]
    );
    assert_eq!(plan.up[1].rids.len(), 3);
    let other = OBS.replace("a=rid:1 send pt=96", "a=rid:1 send pt=55;max-width=640");
    assert_eq!(lines(&Node::negotiate_up(&other).1, "a=simulcast:"), ["a=simulcast:recv 2;0"]);
}

#[test]
fn alternatives_and_paused_layers_are_answered_by_their_first_choice() {
    let offer = CHROMIUM
        .replace("a=simulcast:send q;h;f", "a=simulcast:send ~q;h,f;x,f")
        .replace("a=rid:h send", "a=rid:h send max-width=640;max-fps=15");
    let (plan, answer) = Node::negotiate_up(&offer);
    assert_eq!(lines(&answer, "a=simulcast:"), ["a=simulcast:recv q;h;f"]);
    assert!(answer.contains("a=rid:h recv max-width=640;max-fps=15\r\n"));
    assert_eq!(plan.up[1].rids.len(), 3);
}

#[test]
fn simulcast_needs_an_extension_to_tell_layers_apart() {
    let offer: String = CHROMIUM
        .lines()
        .filter(|l| !l.contains("sdes:rtp-stream-id"))
        .map(|l| format!("{l}\r\n"))
        .collect();
    let (plan, answer) = Node::negotiate_up(&offer);
    assert!(plan.up[1].rids.is_empty());
    assert!(lines(&answer, "a=simulcast").is_empty() && lines(&answer, "a=rid").is_empty());
}

#[test]
fn data_channels_are_rejected_and_the_rest_is_not() {
    let (plan, answer) = Node::negotiate_up(CHROMIUM_DATA);
    assert!(answer.contains("m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
    assert!(answer.contains("a=group:BUNDLE 0\r\n"));
    assert_eq!(plan.up.len(), 1);
    assert_eq!(plan.up[0].ssrcs[0].rtx.map(|r| r.0), Some(1_510_002));
    assert_eq!(plan.remote_candidates, ["203.0.113.20:58112".parse().unwrap()]);
}

#[test]
fn viewers_get_slots_with_streams_of_their_own() {
    let (plan, answer) = Node::negotiate_down(CHROMIUM_WATCH);
    assert_eq!(plan.down.len(), 2);
    let video = &plan.down[1];
    let (media, rtx) = (video.ssrc.media, video.ssrc.rtx.unwrap());
    assert!(plan.down[0].ssrc.rtx.is_none(), "no retransmission format for audio was offered");
    let text = section(&answer, 1);
    assert!(text.contains(&format!("a=ssrc-group:FID {media} {rtx}\r\n")));
    assert!(text.contains(&format!("a=ssrc:{rtx} cname:node\r\n")));
    assert_eq!(lines(&text, "a=msid:"), ["a=msid:s0 video0"]);
    assert_eq!(lines(&section(&answer, 0), "a=msid:"), ["a=msid:s0 audio0"]);
    assert_eq!(lines(&answer, "a=rtcp-mux-only").len(), 2);
    // The node has no sender-side estimator that would read the reports.
    assert_eq!(plan.extensions.id(Extension::TransportCc), None);
    assert!(!answer.contains("transport-cc") && !answer.contains("transport-wide-cc"));
    assert!(video.codecs.iter().all(|c| c.feedback.nack && c.feedback.pli && c.feedback.fir));
    for extension in [Extension::Mid, Extension::AbsSendTime, Extension::DependencyDescriptor] {
        assert!(plan.extensions.id(extension).is_some());
    }
}

#[test]
fn inactive_and_rejected_sections_are_answered_in_place() {
    let inactive = FFMPEG.replacen("a=sendonly", "a=inactive", 1);
    let (plan, answer) = Node::negotiate_up(&inactive);
    assert_eq!(plan.up.len(), 1);
    assert!(section(&answer, 0).contains("a=inactive\r\n"));
    assert!(answer.contains("a=group:BUNDLE 0 1\r\n"));
    let rejected = FFMPEG.replacen("m=audio 9", "m=audio 0", 1);
    let (plan, answer) = Node::negotiate_up(&rejected);
    assert_eq!(plan.up.len(), 1);
    assert!(section(&answer, 0).starts_with("m=audio 0 UDP/TLS/RTP/SAVPF 111\r\n"));
    assert!(answer.contains("a=group:BUNDLE 1\r\n"));
    assert_eq!(lines(&section(&answer, 1), "a=candidate").len(), 2, "the tagged section has them");
}

#[test]
fn both_directions_are_answered_by_one() {
    let up = FFMPEG.replace("a=sendonly", "a=sendrecv");
    assert_eq!(lines(&Node::negotiate_up(&up).1, "a=recvonly").len(), 2);
    let (plan, answer) = Node::negotiate_down(&up);
    assert_eq!(lines(&answer, "a=sendonly").len(), 2);
    assert!(plan.up.is_empty());
}

/// Each row: what is changed in an offer, whether it publishes, the kind of the error and a part of its text.
#[test]
fn offers_that_cannot_be_served_are_refused_whole() {
    let none = |offer: &str, keep: &str| offer.replace(keep, "a=sendonly");
    let table = [
        (CHROMIUM_WATCH.to_owned(), true, ErrorKind::Unsupported, "no section sends"),
        (FFMPEG.to_owned(), false, ErrorKind::Unsupported, "no section receives"),
        (none(CHROMIUM_WATCH, "a=recvonly"), false, ErrorKind::Unsupported, "no section receives"),
        (
            FFMPEG.replace("H264", "H263"),
            true,
            ErrorKind::Unsupported,
            "media section 2 (video, mid 1): no codec",
        ),
        (
            FFMPEG.replacen("UDP/TLS/RTP/SAVPF", "RTP/AVP", 1),
            true,
            ErrorKind::Unsupported,
            "UDP/TLS/RTP/SAVPF",
        ),
        (
            FFMPEG.replacen("a=rtcp-mux\r\n", "", 1),
            true,
            ErrorKind::Unsupported,
            "a=rtcp-mux is missing",
        ),
        (
            FFMPEG.replace("BUNDLE 0 1", "BUNDLE 0"),
            true,
            ErrorKind::Unsupported,
            "outside the BUNDLE group",
        ),
        (
            FFMPEG.replace("a=group:BUNDLE 0 1\r\n", ""),
            true,
            ErrorKind::Unsupported,
            "outside the BUNDLE group",
        ),
        (
            FFMPEG.replace("t=0 0", "t=0 0\r\na=ice-lite"),
            true,
            ErrorKind::Unsupported,
            "full agent",
        ),
        (
            FFMPEG.replace("m=audio", "m=text"),
            true,
            ErrorKind::Unsupported,
            "audio, video and application",
        ),
        (
            FFMPEG.replace("a=ssrc:314159265", "a=ssrc:271828182"),
            true,
            ErrorKind::BadSdp,
            "named twice",
        ),
        (FFMPEG.replace("a=rtpmap:111", "a=rtpmap:211"), true, ErrorKind::BadSdp, "0 to 127"),
        (String::new(), true, ErrorKind::BadSdp, "v=0"),
        ("hello".to_owned(), false, ErrorKind::BadSdp, "line 1"),
    ];
    for (offer, publishes, kind, part) in table {
        let mut node = Node::new();
        let result = match publishes {
            true => node.publish("p", &offer),
            false => node.watch(Target::any(), &offer),
        };
        let error = result.expect_err(part);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert!(node.commands().is_empty());
        assert!(node.rooms.get(&room("r")).is_none(), "a refused offer leaves no room behind");
    }
}

#[test]
fn at_most_twenty_streams_are_agreed() {
    let many = |count: u32| {
        let lines: String =
            (0..count).map(|i| format!("a=ssrc:{} cname:x\r\n", 7_000 + i)).collect();
        FFMPEG.replace("a=rtpmap:111", &format!("{lines}a=rtpmap:111"))
    };
    assert_eq!(Node::negotiate_up(&many(17)).0.up[0].ssrcs.len(), 18);
    let error = Node::new().publish("p", &many(18)).unwrap_err();
    assert_eq!(error.status(), 422);
    assert!(error.to_string().contains("at most 20"), "{error}");
}

#[test]
fn one_section_needs_no_bundle() {
    let alone = FFMPEG.replace("a=group:BUNDLE 0 1\r\n", "");
    let alone = &alone[..alone.find("m=video").unwrap()];
    let (plan, answer) = Node::negotiate_up(alone);
    assert_eq!(plan.up.len(), 1);
    assert!(lines(&answer, "a=group").is_empty());
    assert_eq!(lines(&answer, "a=candidate").len(), 2);
}

#[test]
fn a_section_without_a_mid_is_answered_without_one() {
    let alone = FFMPEG.replace("a=group:BUNDLE 0 1\r\n", "").replace("a=mid:0\r\n", "");
    let alone = &alone[..alone.find("m=video").unwrap()];
    let (plan, answer) = Node::negotiate_up(alone);
    assert_eq!(plan.up.len(), 1);
    assert!(lines(&answer, "a=mid").is_empty() && lines(&answer, "a=group").is_empty());
    assert_eq!(lines(&answer, "a=candidate").len(), 2);
}

#[test]
fn a_long_mid_is_answered_in_full_and_no_extension_carries_it() {
    let long = "section-of-the-camera-0123456789-0123456789-0123456789";
    let offer = CHROMIUM
        .replace("a=mid:1\r\n", &format!("a=mid:{long}\r\n"))
        .replace("BUNDLE 0 1", &format!("BUNDLE 0 {long}"));
    let (plan, answer) = Node::negotiate_up(&offer);
    assert!(answer.contains(&format!("a=group:BUNDLE 0 {long}\r\n")), "{answer}");
    assert!(section(&answer, 1).contains(&format!("a=mid:{long}\r\n")));
    assert_eq!(plan.extensions.id(Extension::Mid), None);
    assert!(!answer.contains("sdes:mid"));
    let longer = offer.replace(long, &"x".repeat(65));
    let error = Node::new().publish("p", &longer).unwrap_err();
    assert!(error.to_string().contains("longer than 64"), "{error}");
    // The answer to an ICE restart repeats the long mids.
    let mut node = Node::new();
    let session = node.publish("p", &offer).unwrap().session;
    let fragment = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n";
    let restarted = node.rooms.restart(node.now, session, fragment).unwrap();
    assert!(restarted.contains(&format!("a=group:BUNDLE 0 {long}\r\n")), "{restarted}");
}

#[test]
fn mixed_forms_of_extensions_are_answered_where_they_were_offered() {
    let count = |answer: &str| lines(answer, "a=extmap-allow-mixed").len();
    let (_, answer) = Node::negotiate_up(CHROMIUM);
    assert_eq!(count(&answer), 1);
    assert!(answer.split("m=").next().unwrap().contains("a=extmap-allow-mixed\r\n"));
    // The same with the attribute in each section instead of at the session level.
    let moved = CHROMIUM
        .replace("a=extmap-allow-mixed\r\n", "")
        .replace("a=rtcp-mux\r\n", "a=rtcp-mux\r\na=extmap-allow-mixed\r\n");
    let (_, answer) = Node::negotiate_up(&moved);
    assert_eq!(count(&answer), 2);
    assert!(!answer.split("m=").next().unwrap().contains("a=extmap-allow-mixed"));
}

#[test]
fn viewers_that_do_not_allow_mixed_forms_get_extensions_of_one_byte_only() {
    let descriptor = |offer: &str| {
        let (plan, answer) = Node::negotiate_down(offer);
        let agreed = plan.extensions.id(Extension::DependencyDescriptor).is_some();
        assert_eq!(agreed, answer.contains("dependency-descriptor"));
        (agreed, plan.extensions.clone())
    };
    assert!(descriptor(CHROMIUM_WATCH).0);
    let without = CHROMIUM_WATCH.replace("a=extmap-allow-mixed\r\n", "");
    assert!(!descriptor(&without).0, "it may be longer than 16 bytes");
    let high = without.replace("a=extmap:14 urn", "a=extmap:16 urn");
    let (_, extensions) = descriptor(&high);
    assert_eq!(extensions.id(Extension::AudioLevel), None);
    assert!(extensions.id(Extension::Mid).is_some() && !extensions.needs_two_byte());
    let each = without.replace("a=rtcp-mux\r\n", "a=rtcp-mux\r\na=extmap-allow-mixed\r\n");
    assert!(descriptor(&each).0);
}

#[test]
fn an_extension_whose_id_is_taken_is_absent_from_the_answer_and_told() {
    let offer = FFMPEG
        .replace("a=mid:0\r\n", "a=mid:0\r\na=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid\r\n")
        .replace("a=mid:1\r\n", "a=mid:1\r\na=extmap:3 urn:3gpp:video-orientation\r\n");
    let mut node = Node::new();
    let agreed = node.rooms.negotiated(sfumato_room::Roles::FromPeer, &offer);
    let [remark] = agreed.remarks() else { panic!("{:?}", agreed.remarks()) };
    assert!(remark.contains("a=extmap:3 urn:3gpp:video-orientation"), "{remark}");
    let (plan, answer) = Node::negotiate_up(&offer);
    assert_eq!(plan.extensions.id(Extension::Mid), Some(3));
    assert!(!answer.contains("video-orientation"));
}

#[test]
fn credentials_are_long_and_never_repeat() {
    let mut node = Node::new();
    let mut seen = std::collections::BTreeSet::new();
    for name in ["a", "b", "c"] {
        node.publish(name, FFMPEG).unwrap();
    }
    for command in node.commands() {
        let ice = plan(&command).ice.clone();
        assert!(ice.local_ufrag.len() >= 8 && ice.local_pwd.len() >= 24);
        assert!(seen.insert(ice.local_ufrag));
    }
}

proptest! {
    /// Offers with lines lost or doubled get an answer that parses, or are refused.
    #[test]
    fn offers_with_lines_lost_or_doubled_are_answered_or_refused(
        which in 0..8_usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..6),
    ) {
        let offers = [CHROMIUM, CHROMIUM_DATA, CHROMIUM_WATCH, FIREFOX, FIREFOX_WATCH, FFMPEG, OBS, GSTREAMER];
        let mut text: Vec<&str> = offers[which].lines().collect();
        for (index, double) in edits {
            let at = index.index(text.len());
            if double {
                text.insert(at, text[at]);
            } else {
                text.remove(at);
            }
        }
        let offer = text.join("\r\n");
        let mut node = Node::new();
        let answers = [node.publish("p", &offer), node.watch(Target::any(), &offer)];
        for accepted in answers.into_iter().flatten() {
            let parsed = Offer::parse(&accepted.answer);
            prop_assert!(parsed.is_ok(), "{parsed:?}\n{}", accepted.answer);
        }
    }
}
