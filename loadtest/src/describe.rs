//! The offers of bots, and what they read in an answer. Offers are templates of our own, in the form of a browser's;
//! answers are read with the parser of crate `sdp`, because an answer has the form of an offer.

use std::{fmt::Write, net::SocketAddr};

use model::{
    Codec, DtlsRole, Extension, ExtensionMap, Feedback, Fingerprint, MediaKind, Mid, Pt, StreamSsrc,
};
use sdp::SectionKind;

use crate::bot::ice::Credentials;

/// One section of an offer.
#[derive(Debug, Clone)]
pub(crate) struct OfferedSection {
    pub(crate) kind: MediaKind,
    /// Codecs in order of preference.
    pub(crate) codecs: Vec<Codec>,
    /// What the bot sends there; `None`: it receives.
    pub(crate) sending: Option<OfferedSending>,
    /// Its packets say how loud they are (RFC 6464).
    pub(crate) levels: bool,
}

/// What is sent in a section.
#[derive(Debug, Clone)]
pub(crate) enum OfferedSending {
    /// One stream.
    Single(StreamSsrc),
    /// Simulcast by rid (RFC 8853), the lowest layer first.
    Simulcast(Vec<&'static str>),
}

/// Everything else in an offer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OfferHead<'a> {
    /// `o=` line.
    pub(crate) id: u64,
    /// The number of the offer in the same line: it rises (RFC 8866 section 5.2).
    pub(crate) version: u32,
    pub(crate) credentials: &'a Credentials,
    /// Value of the `a=fingerprint` line.
    pub(crate) fingerprint: &'a str,
    pub(crate) cname: &'a str,
    /// The only candidate.
    pub(crate) candidate: SocketAddr,
}

/// The header extensions that bots offer, with their ids: the same in every section, as a bundle needs it (RFC 8843
/// section 9.2).
const EXTENSIONS: [(Extension, u8); 5] = [
    (Extension::AudioLevel, 1),
    (Extension::Mid, 4),
    (Extension::TransportCc, 3),
    (Extension::Rid, 10),
    (Extension::RepairedRid, 11),
];

/// Writes an offer.
pub(crate) fn offer(head: OfferHead<'_>, sections: &[OfferedSection]) -> String {
    let mut sdp = format!(
        "v=0\r\no=- {} {} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n",
        head.id >> 1,
        head.version
    );
    let mids: Vec<String> = (0..sections.len()).map(|mid| mid.to_string()).collect();
    _ = write!(sdp, "a=group:BUNDLE {}\r\na=msid-semantic: WMS *\r\n", mids.join(" "));
    for (mid, section) in sections.iter().enumerate() {
        media_line(&mut sdp, section);
        transport_lines(&mut sdp, head, mid == 0);
        _ = write!(sdp, "a=mid:{mid}\r\n");
        for (extension, id) in EXTENSIONS {
            let fits = match extension {
                Extension::AudioLevel => section.levels,
                Extension::Rid | Extension::RepairedRid => section.kind == MediaKind::Video,
                _ => true,
            };
            if fits {
                _ = write!(sdp, "a=extmap:{id} {}\r\n", extension.uri());
            }
        }
        let direction = if section.sending.is_some() { "sendonly" } else { "recvonly" };
        _ = write!(sdp, "a={direction}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n");
        for codec in &section.codecs {
            sdp += codec_lines(*codec);
        }
        if let Some(sending) = &section.sending {
            sending_lines(&mut sdp, sending, head.cname, mid);
        }
    }
    sdp
}

fn media_line(sdp: &mut String, section: &OfferedSection) {
    _ = write!(sdp, "m={} 9 UDP/TLS/RTP/SAVPF", section.kind.as_str());
    for codec in &section.codecs {
        let (pt, rtx) = payload_types(*codec);
        _ = write!(sdp, " {pt}");
        if let Some(rtx) = rtx {
            _ = write!(sdp, " {rtx}");
        }
    }
    *sdp += "\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n";
}

fn transport_lines(sdp: &mut String, head: OfferHead<'_>, with_candidate: bool) {
    if with_candidate {
        let priority = 126_u32 << 24 | 65_535 << 8 | 255;
        let (ip, port) = (head.candidate.ip(), head.candidate.port());
        _ = write!(sdp, "a=candidate:1 1 udp {priority} {ip} {port} typ host\r\n");
        *sdp += "a=end-of-candidates\r\n";
    }
    let Credentials { ufrag, pwd } = head.credentials;
    _ = write!(sdp, "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\na=ice-options:ice2\r\n");
    _ = write!(sdp, "a=fingerprint:{}\r\na=setup:actpass\r\n", head.fingerprint);
}

fn sending_lines(sdp: &mut String, sending: &OfferedSending, cname: &str, mid: usize) {
    _ = write!(sdp, "a=msid:{cname} {cname}-{mid}\r\n");
    match sending {
        OfferedSending::Single(StreamSsrc { media, rtx }) => {
            if let Some(rtx) = rtx {
                _ = write!(sdp, "a=ssrc-group:FID {media} {rtx}\r\n");
            }
            for ssrc in [Some(media), rtx.as_ref()].into_iter().flatten() {
                _ = write!(sdp, "a=ssrc:{ssrc} cname:{cname}\r\n");
            }
        }
        OfferedSending::Simulcast(rids) => {
            for rid in rids {
                _ = write!(sdp, "a=rid:{rid} send\r\n");
            }
            _ = write!(sdp, "a=simulcast:send {}\r\n", rids.join(";"));
        }
    }
}

/// Payload types that bots offer: media, retransmissions.
fn payload_types(codec: Codec) -> (u8, Option<u8>) {
    match codec {
        Codec::H264 => (102, Some(103)),
        Codec::Opus | Codec::Red => (111, None),
        _ => (96, Some(97)),
    }
}

fn codec_lines(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => {
            "a=rtpmap:102 H264/90000\r\na=rtcp-fb:102 transport-cc\r\na=rtcp-fb:102 ccm fir\r\n\
             a=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\n\
             a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
             a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n"
        }
        Codec::Opus | Codec::Red => {
            "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n\
             a=fmtp:111 minptime=10;useinbandfec=1\r\n"
        }
        _ => {
            "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 ccm fir\r\n\
             a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\n\
             a=fmtp:97 apt=96\r\n"
        }
    }
}

/// What an answer agreed to.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) credentials: Credentials,
    /// The bot's DTLS role.
    pub(crate) role: DtlsRole,
    pub(crate) fingerprints: Vec<Fingerprint>,
    pub(crate) candidates: Vec<SocketAddr>,
    pub(crate) extensions: ExtensionMap,
    /// Sections that were not rejected.
    pub(crate) sections: Vec<AnsweredSection>,
}

/// One section of an answer.
#[derive(Debug, Clone)]
pub(crate) struct AnsweredSection {
    /// The index of its section in the offer.
    pub(crate) index: usize,
    pub(crate) mid: Mid,
    pub(crate) codecs: Vec<AnsweredCodec>,
    /// Streams that the server named.
    pub(crate) streams: Vec<StreamSsrc>,
    /// The server will receive simulcast.
    pub(crate) simulcast: bool,
}

/// One codec of a section.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnsweredCodec {
    pub(crate) codec: Codec,
    pub(crate) pt: Pt,
    pub(crate) rtx_pt: Option<Pt>,
    pub(crate) feedback: Feedback,
}

impl Answer {
    /// Reads an answer.
    ///
    /// # Errors
    /// What is wrong with it, in a few words that are the same for the same fault.
    pub(crate) fn parse(text: &str) -> Result<Answer, String> {
        let parsed = sdp::Offer::parse(text).map_err(|e| format!("answer: {e}"))?;
        // Checked first: an answer without any section has no transport either.
        if parsed.sections.iter().all(|section| section.rejected) {
            return Err("answer: every section is rejected".to_owned());
        }
        let peer = parsed.peer_transport().map_err(|e| format!("answer: {e}"))?;
        let mut extensions = ExtensionMap::new();
        let mut sections = Vec::new();
        for (index, section) in parsed.sections.iter().enumerate() {
            let (SectionKind::Media(_), Some(mid), false) =
                (&section.kind, section.mid, section.rejected)
            else {
                continue;
            };
            for offered in &section.extensions {
                if let Some(extension) = offered.extension {
                    extensions.set(extension, offered.id);
                }
            }
            sections.push(AnsweredSection {
                index,
                mid,
                codecs: section.payloads.iter().filter_map(|p| codec(section, p)).collect(),
                streams: section.streams(),
                simulcast: section.simulcast.is_some(),
            });
        }
        if sections.is_empty() {
            return Err("answer: no section of media".to_owned());
        }
        Ok(Answer {
            credentials: Credentials { ufrag: peer.ufrag, pwd: peer.pwd },
            role: peer.our_role,
            fingerprints: peer.fingerprints,
            candidates: peer.candidates,
            extensions,
            sections,
        })
    }
}

fn codec(section: &sdp::Section, payload: &sdp::Payload) -> Option<AnsweredCodec> {
    let known = [Codec::Vp8, Codec::H264, Codec::Opus];
    let codec = known.into_iter().find(|c| c.as_str().eq_ignore_ascii_case(&payload.name))?;
    let repairs = |p: &&sdp::Payload| {
        p.name.eq_ignore_ascii_case("rtx") && p.fmtp.contains(&format!("apt={}", payload.pt))
    };
    let rtx_pt = section.payloads.iter().find(repairs).map(|p| p.pt);
    Some(AnsweredCodec { codec, pt: payload.pt, rtx_pt, feedback: payload.feedback })
}

#[cfg(test)]
mod tests {
    use model::Ssrc;

    use super::*;

    fn head(credentials: &Credentials) -> OfferHead<'_> {
        OfferHead {
            id: 99,
            version: 1,
            credentials,
            fingerprint: "sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF",
            cname: "bot",
            candidate: "127.0.0.1:5".parse().unwrap(),
        }
    }

    fn credentials() -> Credentials {
        Credentials { ufrag: "abcd".into(), pwd: "p".repeat(24) }
    }

    #[test]
    fn offers_have_the_form_that_servers_read() {
        let single = StreamSsrc { media: Ssrc(11), rtx: Some(Ssrc(12)) };
        let audio = StreamSsrc { media: Ssrc(13), rtx: None };
        let sections = [
            OfferedSection {
                kind: MediaKind::Audio,
                codecs: vec![Codec::Opus],
                sending: Some(OfferedSending::Single(audio)),
                levels: true,
            },
            OfferedSection {
                kind: MediaKind::Video,
                codecs: vec![Codec::Vp8, Codec::H264],
                sending: Some(OfferedSending::Single(single)),
                levels: false,
            },
            OfferedSection {
                kind: MediaKind::Video,
                codecs: vec![Codec::Vp8],
                sending: Some(OfferedSending::Simulcast(vec!["l", "m", "h"])),
                levels: false,
            },
            OfferedSection {
                kind: MediaKind::Audio,
                codecs: vec![Codec::Opus],
                sending: None,
                levels: false,
            },
        ];
        let credentials = credentials();
        let text = offer(head(&credentials), &sections);
        let read = sdp::Offer::parse(&text).unwrap();
        assert_eq!(read.bundle.len(), 4);
        assert_eq!(read.sections[1].streams(), [single]);
        assert!(read.sections[2].simulcast.is_some());
        assert_eq!(read.sections[2].rids.len(), 3);
        let directions: Vec<_> = read.sections.iter().map(|s| s.direction.as_str()).collect();
        assert_eq!(directions, ["sendonly", "sendonly", "sendonly", "recvonly"]);
        let peer = read.peer_transport().unwrap();
        assert_eq!((peer.ufrag.as_str(), peer.candidates.len()), ("abcd", 1));
    }

    #[test]
    fn answers_are_read_and_faults_are_named() {
        let credentials = credentials();
        let section = OfferedSection {
            kind: MediaKind::Video,
            codecs: vec![Codec::H264, Codec::Vp8],
            sending: None,
            levels: false,
        };
        let text = offer(head(&credentials), &[section]).replace("actpass", "passive");
        let answer = Answer::parse(&text).unwrap();
        assert_eq!(answer.role, DtlsRole::Active);
        let codecs = &answer.sections[0].codecs;
        assert_eq!(
            (codecs[0].codec, codecs[0].pt, codecs[0].rtx_pt),
            (Codec::H264, Pt(102), Some(Pt(103)))
        );
        assert!(codecs[1].feedback.nack && codecs[1].feedback.transport_cc);
        assert_eq!(answer.extensions.id(Extension::Mid), Some(4));

        let bare = text.replace("a=fingerprint", "a=x");
        assert!(Answer::parse(&bare).unwrap_err().contains("a=fingerprint is missing"));
        assert!(Answer::parse("<html>").is_err());
        let rejected = text.replace("m=video 9", "m=video 0");
        assert!(Answer::parse(&rejected).unwrap_err().contains("rejected"));
    }
}
