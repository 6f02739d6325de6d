//! The answer: values in, text out. The caller decides what is agreed; this file knows the lines.

use std::fmt::{self, Write};
use std::net::SocketAddr;

use model::{CodecSpec, DtlsRole, Rid, StreamSsrc};

use crate::candidate;
use crate::section::Direction;

/// Our side of the single transport.
#[derive(Debug, Clone)]
pub struct LocalTransport {
    /// ICE user fragment.
    pub ufrag: String,
    /// ICE password.
    pub pwd: String,
    /// Value of `a=fingerprint`.
    pub fingerprint: String,
    /// Our DTLS role.
    pub role: DtlsRole,
    /// Host candidates, the preferred one first.
    pub candidates: Vec<SocketAddr>,
}

/// A session description that answers an offer; its sections are those of the offer, in the same order.
#[derive(Debug, Clone)]
pub struct Answer {
    /// `sess-id` of the origin line; below 2^63 (RFC 8829 section 5.2.1).
    pub id: u64,
    /// `sess-version`: 1 in the first answer of a session, and one more in each that follows (RFC 3264 section 8).
    pub version: u64,
    /// `a=mid` of the accepted sections in the order of the offer's BUNDLE group; empty when the offer had none.
    pub bundle: Vec<String>,
    /// `a=extmap-allow-mixed`
    pub extmap_allow_mixed: bool,
    /// `a=ice-options`
    pub ice_options: Vec<String>,
    /// ICE and DTLS.
    pub transport: LocalTransport,
    /// Media sections.
    pub sections: Vec<AnswerSection>,
}

/// One section of an answer.
#[derive(Debug, Clone)]
pub enum AnswerSection {
    /// A rejected section (port 0).
    Rejected {
        /// First word of the offer's m-line.
        kind: String,
        /// Protocol of the offer's m-line.
        protocol: String,
        /// Formats of the offer's m-line.
        formats: String,
        /// `a=mid` of the offer.
        mid: Option<String>,
    },
    /// An accepted section.
    Accepted(Box<AcceptedSection>),
    /// An accepted section of data channels.
    Data(DataSection),
}

/// A section of data channels that is accepted (RFC 8841).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSection {
    /// `a=mid` of the offer; `None` where the offer has none.
    pub mid: Option<String>,
    /// Protocol of the offer's m-line.
    pub protocol: String,
    /// `a=sctp-port` of this node.
    pub sctp_port: u16,
    /// `a=max-message-size`: the largest message in bytes that this node takes.
    pub max_message_size: usize,
}

/// A section that is accepted.
#[derive(Debug, Clone)]
pub struct AcceptedSection {
    /// `a=mid` of the offer; `None` where the offer has none.
    pub mid: Option<String>,
    /// Protocol of the offer's m-line.
    pub protocol: String,
    /// Direction as seen by this node.
    pub direction: Direction,
    /// The agreed codecs; at least one.
    pub codecs: Vec<CodecSpec>,
    /// The agreed header extensions: id, direction as seen by this node if the offer states one, URI.
    pub extensions: Vec<(u8, Option<Direction>, String)>,
    /// The simulcast layers that this node receives.
    pub rids: Vec<RidAnswer>,
    /// Whether the offer has `a=simulcast`; the answer then lists `rids` in such a line too.
    pub simulcast: bool,
    /// `a=rtcp-mux-only`
    pub rtcp_mux_only: bool,
    /// `a=rtcp-rsize`
    pub rtcp_rsize: bool,
    /// `a=extmap-allow-mixed` of this section.
    pub extmap_allow_mixed: bool,
    /// The stream that this node sends, if it does.
    pub sending: Option<Sending>,
}

/// One `a=rid` line of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RidAnswer {
    /// Restriction id.
    pub id: Rid,
    /// The restrictions after the direction, as they are written; may be empty.
    pub restrictions: String,
}

/// The stream of a sending section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// SSRCs.
    pub ssrc: StreamSsrc,
    /// RTCP CNAME.
    pub cname: String,
    /// MediaStream id: a receiver plays the tracks of one stream in sync.
    pub stream: String,
    /// Track id.
    pub track: String,
}

impl Answer {
    /// The answer as `application/sdp`.
    pub fn to_text(&self) -> String {
        let mut out = String::with_capacity(4_096);
        // Writing to a String does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        write!(out, "v=0\r\no=- {} {} IN IP4 0.0.0.0\r\n", self.id, self.version)?;
        out.push_str("s=-\r\nt=0 0\r\n");
        if !self.bundle.is_empty() {
            out.push_str("a=group:BUNDLE");
            for mid in &self.bundle {
                write!(out, " {mid}")?;
            }
            out.push_str("\r\n");
        }
        if self.extmap_allow_mixed {
            out.push_str("a=extmap-allow-mixed\r\n");
        }
        // RFC 8839 section 5.3: ice-lite is a session-level attribute.
        out.push_str("a=ice-lite\r\na=msid-semantic: WMS *\r\n");
        for section in &self.sections {
            match section {
                AnswerSection::Rejected { kind, protocol, formats, mid } => {
                    // RFC 3264 section 6: port 0 rejects a section; the formats are those of the offer.
                    write!(out, "m={kind} 0 {protocol} {formats}\r\nc=IN IP4 0.0.0.0\r\n")?;
                    if let Some(mid) = mid {
                        write!(out, "a=mid:{mid}\r\n")?;
                    }
                    out.push_str("a=inactive\r\n");
                }
                AnswerSection::Accepted(section) => self.write_accepted(out, section)?,
                AnswerSection::Data(section) => self.write_data(out, section)?,
            }
        }
        Ok(())
    }

    /// Whether a section carries the candidates: the answerer-tagged one (RFC 8843 section 7.3.1).
    fn is_tagged(&self, mid: Option<&String>) -> bool {
        self.bundle.first().is_none_or(|first| mid.is_none_or(|mid| mid == first))
    }

    fn write_data(&self, out: &mut String, section: &DataSection) -> fmt::Result {
        let protocol = &section.protocol;
        let port = self.transport.candidates.first().map_or(9, SocketAddr::port);
        write!(out, "m=application {port} {protocol} webrtc-datachannel")?;
        self.write_connection(out)?;
        if let Some(mid) = &section.mid {
            write!(out, "a=mid:{mid}\r\n")?;
        }
        self.write_transport(out, section.mid.as_ref())?;
        write!(out, "a=sctp-port:{}\r\n", section.sctp_port)?;
        write!(out, "a=max-message-size:{}\r\n", section.max_message_size)
    }

    fn write_accepted(&self, out: &mut String, section: &AcceptedSection) -> fmt::Result {
        self.write_media_line(out, section)?;
        if let Some(mid) = &section.mid {
            write!(out, "a=mid:{mid}\r\n")?;
        }
        write!(out, "a={}\r\n", section.direction.as_str())?;
        self.write_transport(out, section.mid.as_ref())?;
        // RFC 8843 section 9.3: RTP and RTCP are always multiplexed. RFC 9725 section 4.4.1: rtcp-mux-only is repeated
        // in each section that has it.
        out.push_str("a=rtcp-mux\r\n");
        if section.rtcp_mux_only {
            out.push_str("a=rtcp-mux-only\r\n");
        }
        if section.rtcp_rsize {
            out.push_str("a=rtcp-rsize\r\n");
        }
        if section.extmap_allow_mixed {
            out.push_str("a=extmap-allow-mixed\r\n");
        }
        for (id, direction, uri) in &section.extensions {
            write!(out, "a=extmap:{id}")?;
            if let Some(direction) = direction {
                write!(out, "/{}", direction.as_str())?;
            }
            write!(out, " {uri}\r\n")?;
        }
        for codec in &section.codecs {
            write_codec(out, codec)?;
        }
        write_layers(out, section)?;
        section.sending.as_ref().map_or(Ok(()), |sending| write_sending(out, sending))
    }

    fn write_media_line(&self, out: &mut String, section: &AcceptedSection) -> fmt::Result {
        // RFC 8839 section 4.2.1.2: the default destination is one of the candidates.
        let default = self.transport.candidates.first();
        let kind = section.codecs.first().map_or("video", |c| c.codec.kind().as_str());
        write!(out, "m={kind} {} {}", default.map_or(9, SocketAddr::port), section.protocol)?;
        for codec in &section.codecs {
            write!(out, " {}", codec.pt)?;
        }
        for rtx in section.codecs.iter().filter_map(|c| c.rtx_pt) {
            write!(out, " {rtx}")?;
        }
        self.write_connection(out)
    }

    /// Ends the m-line, and writes the address of the default destination.
    fn write_connection(&self, out: &mut String) -> fmt::Result {
        match self.transport.candidates.first() {
            Some(SocketAddr::V4(v4)) => write!(out, "\r\nc=IN IP4 {}\r\n", v4.ip()),
            Some(SocketAddr::V6(v6)) => write!(out, "\r\nc=IN IP6 {}\r\n", v6.ip()),
            None => out.write_str("\r\nc=IN IP4 0.0.0.0\r\n"),
        }
    }

    /// The ICE and DTLS lines of a section. In a bundle one section would be enough. The candidates are only in the
    /// tagged section; the other lines are repeated in each section, since several clients look for them there.
    fn write_transport(&self, out: &mut String, mid: Option<&String>) -> fmt::Result {
        let transport = &self.transport;
        write!(out, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", transport.ufrag, transport.pwd)?;
        if !self.ice_options.is_empty() {
            write!(out, "a=ice-options:{}\r\n", self.ice_options.join(" "))?;
        }
        let setup = match transport.role {
            DtlsRole::Passive => "passive",
            DtlsRole::Active => "active",
        };
        write!(out, "a=fingerprint:{}\r\na=setup:{setup}\r\n", transport.fingerprint)?;
        if self.is_tagged(mid) {
            candidate::write_hosts(out, &transport.candidates)?;
        }
        Ok(())
    }
}

fn write_codec(out: &mut String, codec: &CodecSpec) -> fmt::Result {
    let pt = codec.pt;
    write!(out, "a=rtpmap:{pt} {}/{}", codec.codec.as_str(), codec.clock_rate)?;
    if codec.channels > 1 {
        write!(out, "/{}", codec.channels)?;
    }
    out.push_str("\r\n");
    if !codec.fmtp.is_empty() {
        write!(out, "a=fmtp:{pt} {}\r\n", codec.fmtp)?;
    }
    let feedback = codec.feedback;
    for (agreed, text) in [
        (feedback.transport_cc, "transport-cc"),
        (feedback.fir, "ccm fir"),
        (feedback.nack, "nack"),
        (feedback.pli, "nack pli"),
        (feedback.remb, "goog-remb"),
    ] {
        if agreed {
            write!(out, "a=rtcp-fb:{pt} {text}\r\n")?;
        }
    }
    if let Some(rtx) = codec.rtx_pt {
        // RFC 4588 section 8.1
        write!(out, "a=rtpmap:{rtx} rtx/{}\r\na=fmtp:{rtx} apt={pt}\r\n", codec.clock_rate)?;
    }
    Ok(())
}

fn write_layers(out: &mut String, section: &AcceptedSection) -> fmt::Result {
    for rid in &section.rids {
        let space = if rid.restrictions.is_empty() { "" } else { " " };
        write!(out, "a=rid:{} recv{space}{}\r\n", rid.id, rid.restrictions)?;
    }
    // RFC 8853 section 5.3.2: the layers that the offerer sends are received here.
    if section.simulcast && !section.rids.is_empty() {
        let list: Vec<&str> = section.rids.iter().map(|r| r.id.as_str()).collect();
        write!(out, "a=simulcast:recv {}\r\n", list.join(";"))?;
    }
    Ok(())
}

fn write_sending(out: &mut String, sending: &Sending) -> fmt::Result {
    let Sending { ssrc, cname, stream, track } = sending;
    write!(out, "a=msid:{stream} {track}\r\n")?;
    if let Some(rtx) = ssrc.rtx {
        write!(out, "a=ssrc-group:FID {} {rtx}\r\n", ssrc.media)?;
    }
    for ssrc in [Some(ssrc.media), ssrc.rtx].into_iter().flatten() {
        // The second line is for clients that read the track from a=ssrc and not from a=msid.
        write!(out, "a=ssrc:{ssrc} cname:{cname}\r\na=ssrc:{ssrc} msid:{stream} {track}\r\n")?;
    }
    Ok(())
}
