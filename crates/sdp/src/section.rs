//! One media section of an offer, as a typed view of what the peer wrote. What of it is served is decided elsewhere
//! ([`codecs`](crate::codecs), and the caller).

use model::{Extension, Feedback, MediaKind, Mid, Pt, Ssrc};
use sdp_types::{Attribute, Media};

use crate::SdpError;
use crate::attributes::{self, ExtMap, RidLine, RtpMap, Simulcast, SsrcGroup, Wrong};
use crate::transport::TransportLines;

/// The number of SSRCs that one section may name.
const MAX_SSRCS: usize = 64;
/// The number of rids that one section may name.
const MAX_RIDS: usize = 32;
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
    /// Neither side sends.
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

    /// The same direction, as seen by the other side.
    pub fn reversed(self) -> Direction {
        match self {
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            both => both,
        }
    }
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

/// The `a=mid` of a section.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum MidText {
    /// The text is that of [`Section::mid`].
    #[default]
    Same,
    /// This text, which is longer than [`Mid`] can be; [`Section::mid`] is a name that the node made up.
    Long(String),
    /// There is no `a=mid`, which is allowed for the only section of a description; [`Section::mid`] is a name that
    /// the node made up.
    Absent,
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
    /// The extension, if the node knows its URI.
    pub extension: Option<Extension>,
}

/// One media section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Position in the description, from 1.
    pub number: usize,
    /// The section's name inside the node; present in every section that is not rejected. It is the text of `a=mid`,
    /// unless `mid_text` says otherwise.
    pub mid: Option<Mid>,
    /// What the peer wrote in `a=mid`.
    pub mid_text: MidText,
    /// What it carries.
    pub kind: SectionKind,
    /// Port 0 without `a=bundle-only`: the offerer does not want this section, or no longer.
    pub rejected: bool,
    /// Protocol of the m-line, as written.
    pub protocol: String,
    /// Formats of the m-line, as written.
    pub formats: String,
    /// Direction as seen by the offerer.
    pub direction: Direction,
    /// The ICE and DTLS lines of the section.
    pub transport: TransportLines,
    /// `a=rtcp-mux` (RFC 5761)
    pub rtcp_mux: bool,
    /// `a=rtcp-mux-only` (RFC 8858)
    pub rtcp_mux_only: bool,
    /// `a=rtcp-rsize` (RFC 5506)
    pub rtcp_rsize: bool,
    /// `a=extmap-allow-mixed` (RFC 8285 section 6) for this section.
    pub extmap_allow_mixed: bool,
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
    /// `a=msid`, as written.
    pub msid: Option<String>,
    /// `a=sctp-port` (RFC 8841 section 5) of a data channel section.
    pub sctp_port: Option<u16>,
    /// `a=max-message-size` (RFC 8841 section 6) of a data channel section, in bytes; 0: no limit.
    pub max_message_size: Option<u32>,
    /// `a=content` names slides (RFC 4796 section 5): a shared screen.
    pub slides: bool,
}

impl Section {
    /// `is_alone`: the description has no other section.
    pub(crate) fn parse(
        number: usize,
        media: &Media,
        default: Direction,
        is_alone: bool,
    ) -> Result<Self, SdpError> {
        let mut section = Self::head(number, media, default);
        section.read_mid(&media.attributes)?;
        // Sections that are rejected or never served are not parsed further, since nothing in them matters.
        let is_media = matches!(section.kind, SectionKind::Media(_));
        if section.rejected {
            return Ok(section);
        }
        if section.mid.is_none() && section.mid_text == MidText::Same {
            if !is_alone {
                return Err(
                    section.malformed("a=mid is missing; each section needs one (RFC 9143)")
                );
            }
            section.mid_text = MidText::Absent;
        }
        if is_media {
            section.read_formats().map_err(|w| section.malformed(w))?;
        }
        for attribute in &media.attributes {
            let (name, value) = (attribute.attribute.as_str(), value_of(attribute));
            section
                .transport
                .read(name, value)
                .and_then(|()| match section.kind {
                    SectionKind::Media(_) => section.read_line(name, value),
                    SectionKind::Application => section.read_data_line(name, value),
                    SectionKind::Other(_) => Ok(()),
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
            mid_text: MidText::Same,
            kind: match media.media.as_str() {
                "audio" => SectionKind::Media(MediaKind::Audio),
                "video" => SectionKind::Media(MediaKind::Video),
                "application" => SectionKind::Application,
                other => SectionKind::Other(other.to_owned()),
            },
            // RFC 8843 section 6: port 0 with bundle-only does not reject the section.
            rejected: media.port == 0 && !flag("bundle-only"),
            protocol: media.proto.clone(),
            formats: media.fmt.clone(),
            direction: direction.unwrap_or(default),
            transport: TransportLines::default(),
            rtcp_mux: flag("rtcp-mux"),
            rtcp_mux_only: flag("rtcp-mux-only"),
            rtcp_rsize: flag("rtcp-rsize"),
            extmap_allow_mixed: flag("extmap-allow-mixed"),
            payloads: Vec::new(),
            extensions: Vec::new(),
            rids: Vec::new(),
            simulcast: None,
            ssrcs: Vec::new(),
            groups: Vec::new(),
            msid: None,
            sctp_port: None,
            max_message_size: None,
            slides: false,
        }
    }

    /// The name of the section in errors: `media section 2 (video, mid 1)`.
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
            let value = value_of(line);
            self.mid = attributes::mid(value).map_err(|w| self.malformed(w))?;
            if self.mid.is_none() {
                self.mid_text = MidText::Long(value.to_owned());
            }
        }
        Ok(())
    }

    /// Parses the payload types of the m-line. The caller judges the protocol, since it knows which ones are served.
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
            // Some clients write draft forms beside the final one; the first line is taken.
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
            // RFC 4796 section 5: a list of tokens; unknown ones are ignored.
            "content" => self.slides |= value.split(',').any(|token| token.trim() == "slides"),
            _ => {}
        }
        Ok(())
    }

    fn read_data_line(&mut self, name: &str, value: &str) -> Result<(), Wrong> {
        match name {
            "sctp-port" => self.sctp_port = Some(attributes::sctp_port(value)?),
            "max-message-size" => {
                self.max_message_size = Some(attributes::max_message_size(value)?);
            }
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
        // RFC 4585 section 4.2: `*` means all payload types of the section.
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
}

/// The value of an attribute line, without blanks around it.
pub(crate) fn value_of(attribute: &Attribute) -> &str {
    attribute.value.as_deref().unwrap_or("").trim_ascii()
}
