//! Offers and ICE fragments from templates: valid, or wrong in one way. Offers of real peers come from `peer`.

use std::{
    collections::hash_map::RandomState,
    fmt::Write,
    hash::{BuildHasher, Hasher},
};

use crate::requirement::Face;

/// An offer like a browser's, with the differences that a check needs.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub(crate) direction: &'static str,
    pub(crate) setup: &'static str,
    pub(crate) ufrag: String,
    pub(crate) pwd: String,
    pub(crate) fingerprint: bool,
    pub(crate) credentials: bool,
    pub(crate) videos: usize,
    pub(crate) simulcast: bool,
    /// The only codec of the video section is an unknown one.
    pub(crate) unknown_codec: bool,
    pub(crate) sends: bool,
}

/// The rids of a simulcast offer.
pub(crate) const RIDS: [&str; 3] = ["h", "m", "l"];

impl Template {
    pub(crate) fn new(face: Face) -> Self {
        Self {
            direction: face.offered(),
            setup: "actpass",
            ufrag: ice_text(8),
            pwd: ice_text(24),
            fingerprint: true,
            credentials: true,
            videos: 1,
            simulcast: false,
            unknown_codec: false,
            sends: face == Face::Whip,
        }
    }

    pub(crate) fn build(&self) -> String {
        let mids: Vec<String> = (0..=self.videos).map(|mid| mid.to_string()).collect();
        let session = random() >> 2;
        let mut sdp = format!(
            "v=0\r\no=- {session} 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n\
             a=extmap-allow-mixed\r\na=ice-options:trickle ice2\r\na=msid-semantic: WMS *\r\n",
            mids.join(" ")
        );
        let stream = hex(16);
        let fingerprint = fingerprint();
        self.section(&mut sdp, "audio", "111", "0", &stream, &fingerprint);
        sdp += "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n";
        self.ssrc(&mut sdp, &stream, false);
        for video in 1..=self.videos {
            let formats = if self.unknown_codec { "120" } else { "96 97 102 103" };
            self.section(&mut sdp, "video", formats, &video.to_string(), &stream, &fingerprint);
            if self.unknown_codec {
                sdp += "a=rtpmap:120 X-CONFORMANCE/90000\r\n";
                self.ssrc(&mut sdp, &stream, false);
            } else {
                sdp += VIDEO_CODECS;
                self.layers(&mut sdp, &stream);
            }
        }
        sdp
    }

    fn section(
        &self,
        sdp: &mut String,
        kind: &str,
        formats: &str,
        mid: &str,
        stream: &str,
        fingerprint: &str,
    ) {
        _ = write!(
            sdp,
            "m={kind} 9 UDP/TLS/RTP/SAVPF {formats}\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n"
        );
        if self.credentials {
            _ = write!(sdp, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", self.ufrag, self.pwd);
        }
        if self.fingerprint {
            _ = write!(sdp, "a=fingerprint:sha-256 {fingerprint}\r\n");
        }
        _ = write!(
            sdp,
            "a=setup:{}\r\na=mid:{mid}\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
             a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
             a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n",
            self.setup
        );
        if kind == "video" {
            *sdp += "a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n\
                     a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r\n";
        }
        _ = write!(sdp, "a={}\r\n", self.direction);
        if self.sends {
            _ = write!(sdp, "a=msid:{stream} {kind}-{mid}\r\n");
        }
        *sdp += "a=rtcp-mux\r\na=rtcp-mux-only\r\na=rtcp-rsize\r\n";
    }

    fn layers(&self, sdp: &mut String, stream: &str) {
        if !self.simulcast {
            self.ssrc(sdp, stream, true);
            return;
        }
        for rid in RIDS {
            _ = write!(sdp, "a=rid:{rid} send\r\n");
        }
        _ = write!(sdp, "a=simulcast:send {}\r\n", RIDS.join(";"));
    }

    fn ssrc(&self, sdp: &mut String, stream: &str, with_rtx: bool) {
        if !self.sends {
            return;
        }
        let media = random() as u32 | 1;
        let repair = media.wrapping_add(2);
        if with_rtx {
            _ = write!(sdp, "a=ssrc-group:FID {media} {repair}\r\n");
        }
        for ssrc in [media, repair].into_iter().take(if with_rtx { 2 } else { 1 }) {
            _ = write!(sdp, "a=ssrc:{ssrc} cname:{stream}\r\n");
        }
    }
}

const VIDEO_CODECS: &str = "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 ccm fir\r\n\
    a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
    a=rtpmap:102 H264/90000\r\na=rtcp-fb:102 transport-cc\r\na=rtcp-fb:102 ccm fir\r\na=rtcp-fb:102 nack\r\n\
    a=rtcp-fb:102 nack pli\r\na=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
    a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n";

/// An ICE fragment for the first section of a template (RFC 8840 section 9).
pub(crate) fn fragment(ufrag: &str, pwd: &str, mid: &str, lines: &[&str]) -> String {
    let head = format!("a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:{mid}\r\n");
    fragment_after(&head, ufrag, pwd, lines)
}

/// The same for any offer, with its own credentials, group and first section.
pub(crate) fn fragment_of(offer: &str, lines: &[&str]) -> String {
    let line = |start: &str| offer.lines().find(|line| line.starts_with(start)).unwrap_or_default();
    let value = |start: &str| line(start).strip_prefix(start).unwrap_or_default();
    let head = format!("{}\r\n{}\r\n{}\r\n", line("a=group:BUNDLE"), line("m="), line("a=mid:"));
    fragment_after(&head, value("a=ice-ufrag:"), value("a=ice-pwd:"), lines)
}

fn fragment_after(head: &str, ufrag: &str, pwd: &str, lines: &[&str]) -> String {
    let mut text =
        format!("a=ice-options:trickle ice2\r\n{head}a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n");
    for line in lines {
        text += line;
        text += "\r\n";
    }
    text
}

/// A candidate with an address that no packet reaches (RFC 5737).
pub(crate) const CANDIDATE: &str =
    "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0";

/// Random text of ICE characters (RFC 8839 section 5.4).
pub(crate) fn ice_text(len: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..len).map(|_| char::from(ALPHABET[(random() % 64) as usize])).collect()
}

fn fingerprint() -> String {
    let bytes: Vec<String> = (0..32).map(|_| format!("{:02X}", random() as u8)).collect();
    bytes.join(":")
}

pub(crate) fn hex(len: usize) -> String {
    (0..len).map(|_| char::from(b"0123456789abcdef"[(random() % 16) as usize])).collect()
}

/// A random number. The standard library seeds its hash maps at random, which is good enough here.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::Sdp;

    #[test]
    fn templates_are_whole_descriptions() {
        let offer = Template::new(Face::Whip).build();
        let sdp = Sdp::parse(&offer).unwrap();
        assert_eq!(sdp.bundle(), ["0", "1"]);
        assert!(sdp.media.iter().all(|m| m.direction() == "sendonly"));
        assert!(sdp.media.iter().all(|m| m.attribute("msid").is_some()));
        assert!(offer.contains("a=ssrc-group:FID"));
        let sdp = Sdp::parse(&Template::new(Face::Whep).build()).unwrap();
        assert!(sdp.media.iter().all(|m| m.direction() == "recvonly"));
        assert!(sdp.media.iter().all(|m| m.attribute("ssrc").is_none()));
    }

    #[test]
    fn templates_differ_where_they_are_told() {
        let template = Template::new(Face::Whip);
        let two = Template { videos: 2, ..template.clone() }.build();
        assert_eq!(Sdp::parse(&two).unwrap().media.len(), 3);
        let simulcast = Template { simulcast: true, ..template.clone() }.build();
        assert!(simulcast.contains("a=simulcast:send h;m;l"));
        let bare = Template { fingerprint: false, credentials: false, ..template.clone() }.build();
        assert!(!bare.contains("fingerprint") && !bare.contains("ice-ufrag"));
        assert!(Template { unknown_codec: true, ..template }.build().contains("X-CONFORMANCE"));
    }

    #[test]
    fn fragments_name_the_first_section_of_their_offer() {
        let template = Template::new(Face::Whip);
        let text = fragment_of(&template.build(), &[CANDIDATE]);
        assert_eq!(text, fragment(&template.ufrag, &template.pwd, "0", &[CANDIDATE]));
        let sdp = Sdp::parse_fragment(&text).unwrap();
        assert_eq!(sdp.media[0].mid(), "0");
        assert_eq!(sdp.anywhere("ice-pwd"), Some(template.pwd.as_str()));
    }

    #[test]
    fn every_offer_has_credentials_of_its_own() {
        let (one, two) = (Template::new(Face::Whip), Template::new(Face::Whip));
        assert_eq!(one.pwd.len(), 24);
        assert_ne!(one.pwd, two.pwd);
    }
}
