//! Whole offers like those of real clients; limits; and that no text causes a panic.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use model::{Codec, DtlsRole, MediaKind, Pt};
use proptest::prelude::*;
use sdp::{Direction, Fault, Flow, Fragment, Offer, SdpError, SectionKind};
use sfumato_sdp as sdp;

const OFFERS: [(&str, &str); 9] = [
    ("chromium-publish-simulcast", include_str!("../fixtures/chromium-publish-simulcast.sdp")),
    ("chromium-publish-data", include_str!("../fixtures/chromium-publish-data.sdp")),
    ("chromium-watch", include_str!("../fixtures/chromium-watch.sdp")),
    ("firefox-publish-simulcast", include_str!("../fixtures/firefox-publish-simulcast.sdp")),
    ("firefox-watch", include_str!("../fixtures/firefox-watch.sdp")),
    ("firefox-data", include_str!("../fixtures/firefox-data.sdp")),
    ("ffmpeg-publish", include_str!("../fixtures/ffmpeg-publish.sdp")),
    ("obs-publish-simulcast", include_str!("../fixtures/obs-publish-simulcast.sdp")),
    ("gstreamer-publish", include_str!("../fixtures/gstreamer-publish.sdp")),
];

fn text(name: &str) -> &'static str {
    OFFERS.iter().find(|(n, _)| *n == name).map(|(_, text)| *text).unwrap()
}

fn offer(name: &str) -> Offer {
    Offer::parse(text(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The agreed codecs of a section, as `opus:111 VP8:96/97 ...`.
fn codecs(offer: &Offer, section: usize, flow: Flow) -> String {
    let one = |c: &model::CodecSpec| match c.rtx_pt {
        Some(rtx) => format!("{}:{}/{rtx}", c.codec.as_str(), c.pt),
        None => format!("{}:{}", c.codec.as_str(), c.pt),
    };
    let chosen = sdp::choose(&offer.sections[section], flow, true);
    chosen.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_served_codecs_are_agreed_in_the_order_of_the_offer() {
    let table = [
        ("chromium-publish-simulcast", 0, "opus:111 red:63"),
        (
            "chromium-publish-simulcast",
            1,
            "VP8:96/97 H264:103/104 H264:107/108 H264:109/114 H264:115/116 H264:117/118 H264:39/40 \
             AV1:45/46 VP9:98/99 VP9:100/101 H265:49/50",
        ),
        ("firefox-publish-simulcast", 0, "opus:109"),
        ("firefox-publish-simulcast", 1, "VP8:120/124 VP9:121/125 H264:126/127 H264:97/98"),
        ("ffmpeg-publish", 0, "opus:111"),
        ("ffmpeg-publish", 1, "H264:106/105"),
        ("obs-publish-simulcast", 1, "H264:96/97"),
        ("gstreamer-publish", 0, "VP8:96/100"),
        ("gstreamer-publish", 1, "opus:101"),
    ];
    for (name, section, expected) in table {
        assert_eq!(codecs(&offer(name), section, Flow::FromPeer), expected, "{name} {section}");
    }
}

#[test]
fn transports_are_read_wherever_they_stand() {
    let table = [
        ("chromium-publish-simulcast", "q1Kd", DtlsRole::Passive, 0, "trickle"),
        ("chromium-publish-data", "q3Kd", DtlsRole::Passive, 1, "trickle"),
        ("firefox-watch", "9be42f70", DtlsRole::Passive, 0, "trickle"),
        ("ffmpeg-publish", "5b2e90c1", DtlsRole::Active, 0, ""),
        ("obs-publish-simulcast", "Jk2p", DtlsRole::Passive, 2, "ice2 trickle"),
        ("gstreamer-publish", "yR5kQn8DbsXxCvT4mWzEaGhJ2LpU7f1o", DtlsRole::Passive, 0, "trickle"),
    ];
    for (name, ufrag, role, candidates, options) in table {
        let peer = offer(name).peer_transport().unwrap();
        assert_eq!(peer.ufrag, ufrag, "{name}");
        assert_eq!(peer.our_role, role, "{name}");
        assert_eq!(peer.candidates.len(), candidates, "{name}");
        assert_eq!(peer.ice_options.join(" "), options, "{name}");
        assert_eq!(peer.fingerprints.len(), 1, "{name}");
        assert_eq!(peer.fingerprints[0].bytes.len(), 32, "{name}");
    }
}

#[test]
fn simulcast_layers_and_streams_are_found() {
    let layers = |name: &str| {
        let offer = offer(name);
        let last = offer.sections.last().unwrap();
        last.send_layers().iter().map(|r| r.id.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(layers("chromium-publish-simulcast"), ["q", "h", "f"]);
    assert_eq!(layers("firefox-publish-simulcast"), ["hi", "lo"]);
    assert_eq!(layers("obs-publish-simulcast"), ["2", "1", "0"]);
    assert!(layers("ffmpeg-publish").is_empty());
    let streams = |name: &str, section: usize| {
        let streams = offer(name).sections[section].streams();
        streams.iter().map(|s| (s.media.0, s.rtx.map(|r| r.0))).collect::<Vec<_>>()
    };
    assert_eq!(
        streams("firefox-publish-simulcast", 1),
        [(1_000_001, Some(1_000_003)), (1_000_002, Some(1_000_004))]
    );
    assert_eq!(streams("ffmpeg-publish", 1), [(314_159_265, Some(314_159_266))]);
    assert_eq!(streams("ffmpeg-publish", 0), [(271_828_182, None)]);
    assert_eq!(streams("chromium-publish-simulcast", 1), []);
}

#[test]
fn a_sim_group_gives_the_order_and_repair_streams_are_left_out() {
    let sdp = text("chromium-publish-data").replace(
        "a=ssrc-group:FID 1510001 1510002\r\n",
        "a=ssrc-group:SIM 9 1510001\r\na=ssrc-group:FID 1510001 1510002\r\na=ssrc-group:FEC-FR 9 8\r\na=ssrc:9 cname:x\r\na=ssrc:8 cname:x\r\n",
    );
    let streams = Offer::parse(&sdp).unwrap().sections[0].streams();
    let streams: Vec<_> = streams.iter().map(|s| (s.media.0, s.rtx.map(|r| r.0))).collect();
    assert_eq!(streams, [(9, None), (1_510_001, Some(1_510_002))]);
}

#[test]
fn kinds_directions_and_flags_are_read() {
    let data = offer("chromium-publish-data");
    assert_eq!(data.sections[1].kind, SectionKind::Application);
    assert_eq!(data.sections[0].direction, Direction::SendRecv);
    let gst = offer("gstreamer-publish");
    assert!(!gst.sections[1].rejected, "bundle-only is no rejection");
    assert_eq!(gst.sections[1].kind, SectionKind::Media(MediaKind::Audio));
    assert_eq!(gst.sections[0].mid.unwrap().as_str(), "video0");
    let watch = offer("chromium-watch");
    assert!(watch.sections.iter().all(|s| s.rtcp_mux_only && s.rtcp_rsize));
    assert!(watch.extmap_allow_mixed);
}

#[test]
fn opus_parameters_are_answered_from_our_side() {
    let fmtp = |name: &str, section: usize, flow| {
        let spec = sdp::choose(&offer(name).sections[section], flow, true);
        spec.iter().find(|c| c.codec == Codec::Opus).unwrap().fmtp.clone()
    };
    assert_eq!(fmtp("chromium-publish-simulcast", 0, Flow::FromPeer), "minptime=10;useinbandfec=1");
    assert_eq!(
        fmtp("obs-publish-simulcast", 0, Flow::FromPeer),
        "minptime=10;useinbandfec=1;stereo=1"
    );
    assert_eq!(fmtp("gstreamer-publish", 1, Flow::FromPeer), "stereo=1");
    assert_eq!(fmtp("firefox-watch", 0, Flow::ToPeer), "useinbandfec=1;sprop-stereo=1");
}

#[test]
fn a_wildcard_stands_for_all_payload_types() {
    let sdp = text("ffmpeg-publish").replace("a=rtcp-fb:106 nack", "a=rtcp-fb:* nack pli");
    let spec = sdp::choose(&Offer::parse(&sdp).unwrap().sections[1], Flow::FromPeer, true);
    assert!(spec[0].feedback.pli && !spec[0].feedback.nack);
}

#[test]
fn codecs_with_impossible_parameters_are_passed_over() {
    let base = text("ffmpeg-publish");
    for bad in [
        "packetization-mode=2;profile-level-id=42e01f",
        "packetization-mode=1;profile-level-id=xyz",
    ] {
        let sdp = base
            .replace("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d4028", bad);
        assert_eq!(codecs(&Offer::parse(&sdp).unwrap(), 1, Flow::FromPeer), "", "{bad}");
    }
    // Packets of payload types 64 to 95 would be taken for RTCP (RFC 5761 section 4).
    let sdp =
        base.replace("106 105", "72 105").replace(":106 ", ":72 ").replace("apt=106", "apt=72");
    assert_eq!(codecs(&Offer::parse(&sdp).unwrap(), 1, Flow::FromPeer), "");
}

#[test]
fn opus_is_taken_with_two_channels_one_and_none_and_answered_as_it_stands() {
    for (text, channels) in [("opus/48000/2", 2), ("opus/48000/1", 1), ("opus/48000", 1)] {
        let sdp = text_with("ffmpeg-publish", &[("opus/48000/2", text)]);
        let chosen = sdp::choose(&Offer::parse(&sdp).unwrap().sections[0], Flow::FromPeer, true);
        assert_eq!((chosen[0].codec, chosen[0].channels), (Codec::Opus, channels), "{text}");
    }
    let six = text_with("ffmpeg-publish", &[("opus/48000/2", "opus/48000/6")]);
    assert_eq!(codecs(&Offer::parse(&six).unwrap(), 0, Flow::FromPeer), "");
}

#[test]
fn h264_of_hardware_encoders_is_agreed_and_reaches_browsers() {
    // A viewer with a High decoder.
    let watch = Offer::parse(&text_with("chromium-watch", &[("4d001f", "64001f")])).unwrap();
    let viewer = sdp::choose(&watch.sections[1], Flow::ToPeer, false);
    for profile in ["4d4c28", "4d4828", "64081f", "641028", "42c01f", "42f01f", "4d001f"] {
        let sdp = text_with("ffmpeg-publish", &[("4d4028", profile)]);
        let up = sdp::choose(&Offer::parse(&sdp).unwrap().sections[1], Flow::FromPeer, true);
        assert_eq!(up.len(), 1, "{profile}");
        assert_eq!(sdp::map_payload_types(&up, &viewer).len(), 1, "{profile}");
    }
}

#[test]
fn parameter_sets_in_an_offer_are_handed_on_with_the_codec() {
    let sets = "profile-level-id=4d4028;sprop-parameter-sets=Z0LgHw==,aM4G4g==";
    let sdp = text_with("ffmpeg-publish", &[("profile-level-id=4d4028", sets)]);
    let offer = Offer::parse(&sdp).unwrap();
    let of = |flow| sdp::choose(&offer.sections[1], flow, true)[0].clone();
    let told = of(Flow::FromPeer).parameter_sets.unwrap();
    assert_eq!(told.iter().map(|s| s.len()).collect::<Vec<_>>(), [4, 4]);
    assert!(!of(Flow::FromPeer).fmtp.contains("sprop"), "the answer does not repeat them");
    assert_eq!(of(Flow::ToPeer).parameter_sets, None);
}

/// A client's offer with these replacements; the test fails if the offer lacks one of the texts.
fn text_with(name: &str, changes: &[(&str, &str)]) -> String {
    let mut sdp = text(name).to_owned();
    for (from, to) in changes {
        assert!(sdp.contains(from), "{name} has no {from}");
        sdp = sdp.replace(from, to);
    }
    sdp
}

#[test]
fn mistakes_that_browsers_tolerate_are_tolerated() {
    let plain = offer("ffmpeg-publish");
    let long = "0123456789abcdef-0123456789abcdef-audio";
    let table: [(&str, String); 9] = [
        ("a byte order mark", format!("\u{feff}{}", text("ffmpeg-publish"))),
        ("CR CR LF", text("ffmpeg-publish").replace("\r\n", "\r\r\n")),
        ("LF", text("ffmpeg-publish").replace("\r\n", "\n")),
        ("blanks at line ends", text("ffmpeg-publish").replace("\r\n", "  \r\n")),
        ("blanks before values", text_with("ffmpeg-publish", &[("a=mid:0", "a=mid: 0")])),
        ("b=AS", text_with("ffmpeg-publish", &[("a=mid:0", "b=AS:plenty\r\nb=\r\na=mid:0")])),
        ("time zones", text_with("ffmpeg-publish", &[("t=0 0", "t=0 0\r\nz=now\r\nr=x")])),
        ("setup", text_with("ffmpeg-publish", &[("a=setup:passive", "a=setup: passive ")])),
        ("keys", text_with("ffmpeg-publish", &[("t=0 0", "t=0 0\r\nk=a\r\nk=b")])),
    ];
    for (what, sdp) in table {
        let parsed = Offer::parse(&sdp).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(parsed, plain, "{what}");
    }
    // An SSRC from 2^31, as a client without unsigned integers writes it.
    let signed = text_with("ffmpeg-publish", &[("a=ssrc:271828182", "a=ssrc:-2")]);
    assert_eq!(Offer::parse(&signed).unwrap().sections[0].ssrcs, [model::Ssrc(u32::MAX - 1)]);
    let long = text_with(
        "ffmpeg-publish",
        &[("a=mid:0", &format!("a=mid:{long}")), ("BUNDLE 0", &format!("BUNDLE {long}"))],
    );
    let parsed = Offer::parse(&long).unwrap();
    assert_eq!(parsed.bundle.len(), 2);
    assert_eq!(parsed.sections[0].mid, Some(parsed.bundle[0]));
    assert!(!parsed.mids_are_theirs() && plain.mids_are_theirs());
}

#[test]
fn a_section_without_a_mid_is_taken_where_it_is_alone() {
    let sdp = text_with("ffmpeg-publish", &[("a=group:BUNDLE 0 1\r\n", ""), ("a=mid:0\r\n", "")]);
    let alone = &sdp[..sdp.find("m=video").unwrap()];
    let parsed = Offer::parse(alone).unwrap();
    let section = &parsed.sections[0];
    assert!(section.mid.is_some() && parsed.mid_text(section.mid.unwrap()).is_none());
}

/// Each row: what is changed in the ffmpeg offer, the place that the error names, and a part of its text.
#[test]
fn errors_name_the_place_and_what_is_allowed() {
    let table = [
        ("v=0", "v=1", "line 1", "v=0 is the only version"),
        ("t=0 0", "nonsense", "line 4", "a letter, '=' and a value"),
        ("a=mid:1", "a=mid:0", "media section 2 (video, mid 0)", "each needs its own"),
        ("a=mid:1\r\n", "", "media section 2 (video)", "a=mid is missing"),
        ("BUNDLE 0 1", "BUNDLE 0 7", "head of the description", "names mid 7"),
        (
            "a=rtpmap:106 H264/90000",
            "a=rtpmap:206 H264/90000",
            "media section 2 (video, mid 1)",
            "0 to 127 are allowed",
        ),
        (
            "SAVPF 106 105",
            "SAVPF 106 128",
            "media section 2 (video, mid 1)",
            "0 to 127 are allowed",
        ),
        (
            "a=rtcp-fb:106 nack",
            "a=rtcp-fb:300 nack",
            "media section 2 (video, mid 1)",
            "0 to 127 are allowed",
        ),
        (
            "a=setup:passive",
            "a=setup:both",
            "media section 1 (audio, mid 0)",
            "actpass, active and passive",
        ),
        ("a=ice-ufrag:5b2e90c1", "a=ice-ufrag:5b", "media section 1 (audio, mid 0)", "4 to 256"),
        ("a=ssrc:271828182", "a=ssrc:x", "media section 1 (audio, mid 0)", "0 to 4294967295"),
        ("a=rtcp-rsize", "a=extmap:15 urn:x", "media section 2 (video, mid 1)", "16 to 255"),
    ];
    for (from, to, place, part) in table {
        let sdp = text("ffmpeg-publish").replacen(
            from,
            to,
            if from.starts_with("a=ice") || from.starts_with("a=setup") { 1 } else { 9 },
        );
        let error = Offer::parse(&sdp).expect_err(from);
        assert_eq!(error.place(), place, "{from} -> {to}: {error}");
        assert!(error.to_string().contains(part), "{from} -> {to}: {error}");
        assert_eq!(error.fault(), Fault::Malformed);
    }
}

#[test]
fn missing_credentials_and_foreign_hashes_are_told_apart() {
    let without = |line: &str| {
        let kept = text("ffmpeg-publish").lines().filter(|l| !l.starts_with(line));
        Offer::parse(&kept.collect::<Vec<_>>().join("\n")).unwrap().peer_transport().unwrap_err()
    };
    for line in ["a=ice-ufrag", "a=ice-pwd", "a=fingerprint"] {
        let error = without(line);
        assert!(error.to_string().contains(line) && error.fault() == Fault::Malformed, "{error}");
    }
    let sha1 = text("ffmpeg-publish").replace("a=fingerprint:sha-256", "a=fingerprint:sha-1");
    let error = Offer::parse(&sha1).unwrap().peer_transport().unwrap_err();
    assert_eq!(error.fault(), Fault::Unsupported);
    let hold = text("ffmpeg-publish").replace("setup:passive", "setup:holdconn");
    assert_eq!(
        Offer::parse(&hold).unwrap().peer_transport().unwrap_err().fault(),
        Fault::Unsupported
    );
}

#[test]
fn of_two_extensions_with_one_id_in_two_sections_the_first_counts() {
    let sdp = text("gstreamer-publish")
        .replacen("a=extmap:3 http://www.ietf.org", "a=extmap:9 http://www.ietf.org", 1)
        .replacen(
            "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=ssrc:2233110099",
            "a=extmap:9 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=ssrc:2233110099",
            1,
        );
    let offer = Offer::parse(&sdp).unwrap();
    let ids = |section: usize| {
        offer.sections[section].extensions.iter().map(|e| e.id).collect::<Vec<_>>()
    };
    assert!(ids(0).contains(&9) && !ids(1).contains(&9), "{:?} {:?}", ids(0), ids(1));
    let [dropped] = &offer.dropped_extensions[..] else { panic!("{:?}", offer.dropped_extensions) };
    assert!(
        dropped.starts_with("media section 2 (audio, mid audio1): a=extmap:9 urn:ietf"),
        "{dropped}"
    );
    // Within one section it cannot be known which of the two is meant.
    let twice = sdp.replacen("a=extmap:9 http", "a=extmap:9 urn:x\r\na=extmap:9 http", 1);
    assert_eq!(Offer::parse(&twice).unwrap_err().place(), "media section 1 (video, mid video0)");
}

// Threats, row 38.
#[test]
fn descriptions_beyond_the_limits_are_refused_before_they_are_parsed() {
    let base = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";
    let sections = "m=audio 0 UDP/TLS/RTP/SAVPF 111\r\n";
    let table = [
        (format!("{base}{}", "a=x:1\r\n".repeat(40_000)), "description"),
        (format!("{base}{}", "a=x\r\n".repeat(8_189)), "line 8193"),
        (format!("{base}a=x:{}\r\n", "y".repeat(4_093)), "line 5"),
        (format!("{base}{}", sections.repeat(65)), "line 69"),
    ];
    for (text, place) in table {
        let error = Offer::parse(&text).unwrap_err();
        assert_eq!((error.place(), error.fault()), (place, Fault::Malformed), "{error}");
        assert!(error.to_string().contains("allowed"), "{error}");
    }
    assert_eq!(Offer::parse(&format!("{base}{}", sections.repeat(64))).unwrap().sections.len(), 64);
}

// Threats, row 38: text of an offer that is copied into an answer begins no new line there.
#[test]
fn a_cr_within_a_line_and_a_nul_are_refused() {
    let sdp = text("ffmpeg-publish");
    for bad in ["a=mid:0\ra=ice-lite\r\n", "a=mid:0\ra\r\r\n", "a=mid:0\0\r\n"] {
        let error = Offer::parse(&sdp.replace("a=mid:0\r\n", bad)).unwrap_err();
        assert_eq!((error.place(), error.fault()), ("line 14", Fault::Malformed), "{error}");
        assert!(sdp_fragment(bad).is_err());
    }
    // A line may end with LF alone.
    assert!(Offer::parse(&sdp.replace("\r\n", "\n")).is_ok());
    assert!(sdp_fragment("a=mid:0\n").is_ok());
}

/// Parses a fragment that has this line in its section.
fn sdp_fragment(line: &str) -> Result<Fragment, SdpError> {
    Fragment::parse(&format!("m=audio 9 RTP/AVP 0\r\n{line}"))
}

#[test]
fn rejected_sections_are_not_looked_into() {
    let sdp = text("ffmpeg-publish")
        .replace("m=video 9", "m=video 0")
        .replace("a=rtpmap:106", "a=rtpmap:999");
    let offer = Offer::parse(&sdp).unwrap();
    assert!(offer.sections[1].rejected);
    assert_eq!(offer.sections[0].payloads[0].pt, Pt(111));
}

/// An offer with a few bytes changed, lines doubled and lines lost.
fn mutated() -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8);
    (0..OFFERS.len(), prop::collection::vec(edit, 1..8)).prop_map(|(at, edits)| {
        let mut text = OFFERS[at].1.as_bytes().to_vec();
        for (index, byte, kind) in edits {
            let place = index.index(text.len());
            let line_start = text[..place].iter().rposition(|&b| b == b'\n').map_or(0, |p| p + 1);
            let line_end = text[place..]
                .iter()
                .position(|&b| b == b'\n')
                .map_or(text.len(), |p| place + p + 1);
            match kind {
                0 => text[place] = byte,
                1 => text.insert(place, byte),
                2 => drop(text.drain(line_start..line_end)),
                _ => {
                    let line = text[line_start..line_end].to_vec();
                    text.splice(line_start..line_start, line);
                }
            }
            if text.is_empty() {
                text.push(b'v');
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// Calls every function that takes the text or what was parsed of it.
fn exercise(text: &str) {
    let _ = Fragment::parse(text);
    let Ok(offer) = Offer::parse(text) else { return };
    let _ = offer.peer_transport();
    for section in &offer.sections {
        let up = sdp::choose(section, Flow::FromPeer, true);
        let down = sdp::choose(section, Flow::ToPeer, false);
        // Each payload type that this node answers is one of the offer, and maps to one of the offer.
        assert!(up.iter().all(|c| section.payloads.iter().any(|p| p.pt == c.pt)));
        for map in sdp::map_payload_types(&up, &down) {
            assert!(down.iter().any(|c| c.pt == map.down));
        }
        let _ = (section.streams(), section.send_layers());
    }
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,200}|(v=0\r\n)?([a-z]=[ -~]{0,30}\r\n){0,30}") {
        exercise(&text);
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        exercise(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn mutated_offers_are_parsed_or_refused(text in mutated()) {
        exercise(&text);
    }
}
