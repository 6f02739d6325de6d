//! One media section of an offer, as a typed view. It says what the peer wrote; what of it is served is decided
//! elsewhere ([`codecs`](crate::codecs), and the caller).

use std::net::SocketAddr;

use model::{Extension, Feedback, Fingerprint, MediaKind, Mid, Pt, Ssrc, StreamSsrc};
use sdp_types::{Attribute, Media};

use crate::attributes::{self, ExtMap, RidLine, RtpMap, Simulcast, SsrcGroup, Wrong};
use crate::{SdpError, candidate};

/// Most SSRCs that one section may name.
const MAX_SSRCS: usize = 64;
/// Most rids that one section may name.
const MAX_RIDS: usize = 32;
/// Most fingerprints that are kept; one of them has to match.
const MAX_FINGERPRINTS: usize = 8;

/// What a section carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SectionKind {
    /// Audio or video.
    Media(MediaKind),
    /// Data channels (`m=application`).
    Application,
    /// Anything else; never served.
    Other(String),
}

impl SectionKind {
    /// The first word of the m-line.
    pub fn as_str(&self) -> &str {
        match self {
            SectionKind::Media(kind) => kind.as_str(),
            SectionKind::Application => "application",
            SectionKind::Other(name) => name,
        }
    }
}

/// Direction of media (RFC 8866 section 6.7), as seen by the side that wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both ways; the default.
    SendRecv,
    /// The writer sends.
    SendOnly,
    /// The writer receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// The direction with this name.
    pub fn parse(text: &str) -> Option<Direction> {
        [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive]
            .into_iter()
            .find(|d| d.as_str() == text)
    }

    /// Name of the attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    /// The writer sends.
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// The writer receives.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// The same, as seen by the other side.
    pub fn reversed(self) -> Direction {
        match self {
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            both => both,
        }
    }
}

/// `a=setup` (RFC 4145 section 4, RFC 8842 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Setup {
    /// The peer takes either role.
    ActPass,
    /// The peer begins the handshake.
    Active,
    /// The peer waits for the handshake.
    Passive,
    /// No connection for now; not served.
    HoldConn,
}

/// The lines about ICE and DTLS, which stand in a section or at the head of the description.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransportLines {
    /// `a=ice-ufrag`
    pub ufrag: Option<String>,
    /// `a=ice-pwd`
    pub pwd: Option<String>,
    /// `a=ice-options`
    pub ice_options: Vec<String>,
    /// `a=fingerprint` with a hash function that is served.
    pub fingerprints: Vec<Fingerprint>,
    /// There was a fingerprint with another hash function.
    pub foreign_fingerprint: bool,
    /// `a=setup`
    pub setup: Option<Setup>,
    /// `a=candidate` of use, at most [`candidate::MAX_CANDIDATES`].
    pub candidates: Vec<SocketAddr>,
}

/// One payload type of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// Payload type.
    pub pt: Pt,
    /// Encoding name of the rtpmap; empty when there is none (static payload types).
    pub name: String,
    /// RTP clock in hertz; 0 without an rtpmap.
    pub clock_rate: u32,
    /// Audio channels; 1 when not stated.
    pub channels: u8,
    /// `a=fmtp`, empty when there is none.
    pub fmtp: String,
    /// `a=rtcp-fb` for this payload type or for all (`*`).
    pub feedback: Feedback,
}

/// One `a=extmap` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedExtension {
    /// Local id.
    pub id: u8,
    /// Direction as seen by the offerer, when stated.
    pub direction: Option<Direction>,
    /// URI.
    pub uri: String,
    /// Which one, when the node knows it.
    pub extension: Option<Extension>,
}

/// One media section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Place in the description, from 1.
    pub number: usize,
    /// `a=mid`; present in every section that is not rejected.
    pub mid: Option<Mid>,
    /// What it carries.
    pub kind: SectionKind,
    /// Port 0 without `a=bundle-only`: the offerer does not want this section (any more).
    pub rejected: bool,
    /// Protocol of the m-line, as it stands.
    pub protocol: String,
    /// Formats of the m-line, as they stand.
    pub formats: String,
    /// Direction as seen by the offerer.
    pub direction: Direction,
    /// ICE and DTLS.
    pub transport: TransportLines,
    /// `a=rtcp-mux` (RFC 5761)
    pub rtcp_mux: bool,
    /// `a=rtcp-mux-only` (RFC 8858)
    pub rtcp_mux_only: bool,
    /// `a=rtcp-rsize` (RFC 5506)
    pub rtcp_rsize: bool,
    /// Payload types in the order of the m-line.
    pub payloads: Vec<Payload>,
    /// Header extensions.
    pub extensions: Vec<OfferedExtension>,
    /// `a=rid`
    pub rids: Vec<RidLine>,
    /// `a=simulcast`
    pub simulcast: Option<Simulcast>,
    /// SSRCs of `a=ssrc` lines, each once, in order of appearance.
    pub ssrcs: Vec<Ssrc>,
    /// `a=ssrc-group`
    pub groups: Vec<SsrcGroup>,
    /// `a=msid` as it stands.
    pub msid: Option<String>,
}

impl Section {
    pub(crate) fn parse(
        number: usize,
        media: &Media,
        default: Direction,
    ) -> Result<Self, SdpError> {
        let mut section = Self::head(number, media, default);
        section.read_mid(&media.attributes)?;
        // A rejected section and one that is never served are not looked into: nothing in them matters.
        let is_media = matches!(section.kind, SectionKind::Media(_));
        if section.rejected {
            return Ok(section);
        }
        if section.mid.is_none() {
            return Err(section.malformed("a=mid is missing; each section needs one (RFC 9143)"));
        }
        if is_media {
            section.read_formats().map_err(|w| section.malformed(w))?;
        }
        for attribute in &media.attributes {
            let value = attribute.value.as_deref().unwrap_or("");
            section
                .transport
                .read(&attribute.attribute, value)
                .and_then(|()| match is_media {
                    true => section.read_line(&attribute.attribute, value),
                    false => Ok(()),
                })
                .map_err(|w| section.malformed(w))?;
        }
        Ok(section)
    }

    fn head(number: usize, media: &Media, default: Direction) -> Self {
        let flag = |name: &str| media.attributes.iter().any(|a| a.attribute == name);
        let direction = media.attributes.iter().find_map(|a| Direction::parse(&a.attribute));
        Self {
            number,
            mid: None,
            kind: match media.media.as_str() {
                "audio" => SectionKind::Media(MediaKind::Audio),
                "video" => SectionKind::Media(MediaKind::Video),
                "application" => SectionKind::Application,
                other => SectionKind::Other(other.to_owned()),
            },
            // RFC 8843 section 6: port 0 with bundle-only is no rejection.
            rejected: media.port == 0 && !flag("bundle-only"),
            protocol: media.proto.clone(),
            formats: media.fmt.clone(),
            direction: direction.unwrap_or(default),
            transport: TransportLines::default(),
            rtcp_mux: flag("rtcp-mux"),
            rtcp_mux_only: flag("rtcp-mux-only"),
            rtcp_rsize: flag("rtcp-rsize"),
            payloads: Vec::new(),
            extensions: Vec::new(),
            rids: Vec::new(),
            simulcast: None,
            ssrcs: Vec::new(),
            groups: Vec::new(),
            msid: None,
        }
    }

    /// Where an error is: `media section 2 (video, mid 1)`.
    pub fn place(&self) -> String {
        let kind = self.kind.as_str();
        match self.mid {
            Some(mid) => format!("media section {} ({kind}, mid {mid})", self.number),
            None => format!("media section {} ({kind})", self.number),
        }
    }

    fn malformed(&self, wrong: impl Into<String>) -> SdpError {
        SdpError::malformed(self.place(), wrong)
    }

    fn read_mid(&mut self, attributes: &[Attribute]) -> Result<(), SdpError> {
        if let Some(line) = attributes.iter().find(|a| a.attribute == "mid") {
            let value = line.value.as_deref().unwrap_or("");
            self.mid = Some(attributes::mid(value).map_err(|w| self.malformed(w))?);
        }
        Ok(())
    }

    /// The payload types of the m-line. The protocol is judged later, by who knows what is served.
    fn read_formats(&mut self) -> Result<(), Wrong> {
        for format in self.formats.split_ascii_whitespace() {
            let pt = attributes::payload_type(format)?;
            if !self.payloads.iter().any(|p| p.pt == pt) {
                self.payloads.push(Payload {
                    pt,
                    name: String::new(),
                    clock_rate: 0,
                    channels: 1,
                    fmtp: String::new(),
                    feedback: Feedback::default(),
                });
            }
        }
        Ok(())
    }

    fn read_line(&mut self, name: &str, value: &str) -> Result<(), Wrong> {
        match name {
            "rtpmap" => {
                let map = RtpMap::parse(value)?;
                if let Some(payload) = self.payloads.iter_mut().find(|p| p.pt == map.pt) {
                    payload.name = map.name.to_owned();
                    payload.clock_rate = map.clock_rate;
                    payload.channels = map.channels;
                }
            }
            "fmtp" => self.read_fmtp(value)?,
            "rtcp-fb" => self.read_feedback(value)?,
            "extmap" => self.read_extmap(value)?,
            "rid" => {
                let rid = RidLine::parse(value)?;
                if self.rids.iter().any(|r| r.id == rid.id) {
                    return Err(format!("a=rid:{} is there twice; once is allowed", rid.id));
                }
                if self.rids.len() == MAX_RIDS {
                    return Err(format!("one a=rid too many; {MAX_RIDS} are allowed"));
                }
                self.rids.push(rid);
            }
            // Draft forms came beside the final one; the first line counts.
            "simulcast" if self.simulcast.is_none() => {
                self.simulcast = Some(Simulcast::parse(value)?);
            }
            "ssrc" => {
                let ssrc = attributes::ssrc_line(value)?;
                if !self.ssrcs.contains(&ssrc) {
                    if self.ssrcs.len() == MAX_SSRCS {
                        return Err(format!("one SSRC too many; {MAX_SSRCS} are allowed"));
                    }
                    self.ssrcs.push(ssrc);
                }
            }
            "ssrc-group" => {
                if self.groups.len() == MAX_SSRCS {
                    return Err(format!("one a=ssrc-group too many; {MAX_SSRCS} are allowed"));
                }
                self.groups.push(SsrcGroup::parse(value)?);
            }
            "msid" => self.msid = Some(value.to_owned()),
            _ => {}
        }
        Ok(())
    }

    fn read_fmtp(&mut self, value: &str) -> Result<(), Wrong> {
        let (pt, parameters) = value.split_once(' ').unwrap_or((value, ""));
        let pt = attributes::payload_type(pt).map_err(|w| format!("a=fmtp: {w}"))?;
        if let Some(payload) = self.payloads.iter_mut().find(|p| p.pt == pt)
            && payload.fmtp.is_empty()
        {
            payload.fmtp = parameters.trim().to_owned();
        }
        Ok(())
    }

    fn read_feedback(&mut self, value: &str) -> Result<(), Wrong> {
        let mut fields = value.split_ascii_whitespace();
        let target = fields.next().unwrap_or("");
        // RFC 4585 section 4.2: `*` stands for all payload types of the section.
        let only = match target {
            "*" => None,
            pt => Some(attributes::payload_type(pt).map_err(|w| format!("a=rtcp-fb: {w}"))?),
        };
        let kind = (fields.next().unwrap_or(""), fields.next());
        for payload in self.payloads.iter_mut().filter(|p| only.is_none_or(|pt| p.pt == pt)) {
            let feedback = &mut payload.feedback;
            match kind {
                ("nack", None) => feedback.nack = true,
                ("nack", Some("pli")) => feedback.pli = true,
                ("ccm", Some("fir")) => feedback.fir = true,
                ("transport-cc", None) => feedback.transport_cc = true,
                ("goog-remb", None) => feedback.remb = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_extmap(&mut self, value: &str) -> Result<(), Wrong> {
        let Some(map) = ExtMap::parse(value)? else { return Ok(()) };
        if let Some(other) = self.extensions.iter().find(|e| e.id == map.id) {
            if other.uri == map.uri {
                return Ok(());
            }
            return Err(format!(
                "a=extmap:{} stands for {} and for {}; one is allowed",
                map.id, other.uri, map.uri
            ));
        }
        self.extensions.push(OfferedExtension {
            id: map.id,
            direction: map.direction,
            uri: map.uri.to_owned(),
            extension: Extension::from_uri(map.uri),
        });
        Ok(())
    }

    /// The streams that the section names by SSRC: in the order of a SIM group when there is one, else of appearance;
    /// retransmissions beside their media by FID groups (RFC 5576 section 4.2, RFC 4588 section 8.3).
    pub fn streams(&self) -> Vec<StreamSsrc> {
        let pairs = |semantics: &'static str| {
            self.groups.iter().filter(move |g| g.semantics == semantics && g.ssrcs.len() == 2)
        };
        let rtx_of = |ssrc: Ssrc| pairs("FID").find(|g| g.ssrcs[0] == ssrc).map(|g| g.ssrcs[1]);
        let is_secondary = |ssrc: Ssrc| {
            // Repair streams of FlexFEC are not asked for, and so never come.
            pairs("FID").chain(pairs("FEC-FR")).any(|g| g.ssrcs[1] == ssrc)
        };
        let simulcast = self.groups.iter().find(|g| g.semantics == "SIM");
        let in_order = simulcast.map_or(&self.ssrcs, |g| &g.ssrcs);
        let mut streams: Vec<StreamSsrc> = Vec::new();
        for &media in in_order {
            if !is_secondary(media) && !streams.iter().any(|s| s.media == media) {
                streams.push(StreamSsrc { media, rtx: rtx_of(media) });
            }
        }
        streams
    }

    /// The simulcast layers that the offerer would send, one rid for each stream: the first alternative that an
    /// `a=rid` line describes (RFC 8853 section 5.2). A single `a=rid` without `a=simulcast` counts as one layer.
    pub fn send_layers(&self) -> Vec<&RidLine> {
        let line = |id| self.rids.iter().find(|r| r.send && r.id == id);
        match &self.simulcast {
            Some(lists) => {
                let first = |stream: &attributes::SimulcastStream| {
                    stream.iter().find_map(|&(id, _paused)| line(id))
                };
                let mut layers: Vec<&RidLine> = Vec::new();
                for layer in lists.send.iter().filter_map(first) {
                    if !layers.iter().any(|l| l.id == layer.id) {
                        layers.push(layer);
                    }
                }
                layers
            }
            None => {
                let mut sent = self.rids.iter().filter(|r| r.send);
                match (sent.next(), sent.next()) {
                    (Some(only), None) => vec![only],
                    _ => Vec::new(),
                }
            }
        }
    }
}

impl TransportLines {
    pub(crate) fn read(&mut self, name: &str, value: &str) -> Result<(), Wrong> {
        match name {
            "ice-ufrag" => self.ufrag = Some(attributes::ice_text(name, value, 4)?),
            "ice-pwd" => self.pwd = Some(attributes::ice_text(name, value, 22)?),
            "ice-options" => {
                // RFC 8839 section 5.6 parts them by spaces; libdatachannel writes commas.
                let tags = value.split([' ', ',']).filter(|t| !t.is_empty());
                self.ice_options = tags.map(str::to_owned).collect();
            }
            "fingerprint" => match attributes::fingerprint(value)? {
                Some(f) if self.fingerprints.len() < MAX_FINGERPRINTS => self.fingerprints.push(f),
                Some(_) => {}
                None => self.foreign_fingerprint = true,
            },
            "setup" => {
                self.setup = Some(match value {
                    "actpass" => Setup::ActPass,
                    "active" => Setup::Active,
                    "passive" => Setup::Passive,
                    "holdconn" => Setup::HoldConn,
                    other => {
                        return Err(format!(
                            "a=setup:{other}; actpass, active and passive are allowed"
                        ));
                    }
                });
            }
            "candidate" if self.candidates.len() < candidate::MAX_CANDIDATES => {
                self.candidates.extend(candidate::parse(value));
            }
            _ => {}
        }
        Ok(())
    }
}
