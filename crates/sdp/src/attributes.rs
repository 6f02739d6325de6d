//! The values of single attribute lines, parsed. Each function takes the text after `a=name:`; its error says what is
//! allowed, and the caller adds the place.

use model::{Fingerprint, IdError, Mid, Pt, Rid, Ssrc};

use crate::Direction;

/// A text that says what is wrong with a value.
pub type Wrong = String;

/// `a=rtpmap`: payload type, encoding name, clock rate, channels (RFC 8866 section 6.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtpMap<'a> {
    /// Payload type.
    pub pt: Pt,
    /// Encoding name.
    pub name: &'a str,
    /// RTP clock in hertz.
    pub clock_rate: u32,
    /// Audio channels; 1 when not stated.
    pub channels: u8,
}

impl<'a> RtpMap<'a> {
    /// Parses `111 opus/48000/2`.
    ///
    /// # Errors
    /// Says which field does not fit.
    pub fn parse(value: &'a str) -> Result<Self, Wrong> {
        let (pt, rest) = value.split_once(' ').unwrap_or((value, ""));
        let pt = payload_type(pt)?;
        let mut fields = rest.trim().splitn(3, '/');
        let name = fields.next().filter(|n| !n.is_empty());
        let name = name.ok_or_else(|| format!("a=rtpmap of payload type {pt} names no codec"))?;
        let clock = fields.next().unwrap_or("");
        let clock_rate = clock.trim().parse().ok().filter(|&c| c > 0).ok_or_else(|| {
            format!("a=rtpmap of payload type {pt} has clock rate {clock:?}; a number of hertz is allowed")
        })?;
        let channels = match fields.next() {
            None => 1,
            Some(text) => text.trim().parse().ok().filter(|&c| c > 0).ok_or_else(|| {
                format!("a=rtpmap of payload type {pt} has {text:?} channels; 1 to 255 are allowed")
            })?,
        };
        Ok(Self { pt, name, clock_rate, channels })
    }
}

/// Parses a payload type.
///
/// # Errors
/// Not a number from 0 to 127 (RFC 3550 section 5.1: seven bits).
pub fn payload_type(text: &str) -> Result<Pt, Wrong> {
    match text.parse::<u8>() {
        Ok(pt) if pt <= 127 => Ok(Pt(pt)),
        _ => Err(format!("payload type {text:?}; 0 to 127 are allowed")),
    }
}

/// Parses `a=sctp-port` (RFC 8841 section 5.2).
///
/// # Errors
/// Not a number from 0 to 65,535.
pub fn sctp_port(text: &str) -> Result<u16, Wrong> {
    text.parse().map_err(|_| format!("a=sctp-port:{text}; 0 to 65535 are allowed"))
}

/// Parses `a=max-message-size` (RFC 8841 section 6.2) in bytes; 0 means that there is no limit. A size of more than 32 bits is as good
/// as their largest.
///
/// # Errors
/// Not a number.
pub fn max_message_size(text: &str) -> Result<u32, Wrong> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("a=max-message-size:{text}; a number of bytes is allowed"));
    }
    Ok(text.parse().unwrap_or(u32::MAX))
}

/// `a=extmap` (RFC 8285 section 8). Attributes after the URI are tolerated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtMap<'a> {
    /// Local id.
    pub id: u8,
    /// Direction as seen by the offerer, when stated.
    pub direction: Option<Direction>,
    /// Which extension.
    pub uri: &'a str,
}

impl<'a> ExtMap<'a> {
    /// Parses `3/recvonly urn:... attributes`. Ids from 4096 to 4351 are placeholders of an offer that has no free id
    /// (RFC 8285 section 6) and give `None`.
    ///
    /// # Errors
    /// Says which field does not fit.
    pub fn parse(value: &'a str) -> Result<Option<Self>, Wrong> {
        let mut fields = value.split_ascii_whitespace();
        let first = fields.next().unwrap_or("");
        let (id, direction) = first.split_once('/').map_or((first, None), |(i, d)| (i, Some(d)));
        let number: u16 = id
            .parse()
            .map_err(|_| format!("a=extmap with id {id:?}; 1 to 14 and 16 to 255 are allowed"))?;
        if (4_096..=4_351).contains(&number) {
            return Ok(None);
        }
        // RFC 8285 section 4.2: 15 is reserved in the one-byte form; 0 is padding in both.
        let id = u8::try_from(number).ok().filter(|&i| i != 0 && i != 15).ok_or_else(|| {
            format!("a=extmap with id {number}; 1 to 14 and 16 to 255 are allowed")
        })?;
        let direction = match direction {
            None => None,
            Some(text) => Some(Direction::parse(text).ok_or_else(|| {
                format!("a=extmap:{id} with direction {text:?}; sendrecv, sendonly, recvonly and inactive are allowed")
            })?),
        };
        let uri = fields.next().ok_or_else(|| format!("a=extmap:{id} names no extension"))?;
        Ok(Some(Self { id, direction, uri }))
    }
}

/// `a=rid` (RFC 8851 section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RidLine {
    /// Restriction id.
    pub id: Rid,
    /// Whether the offerer sends it (else it receives).
    pub send: bool,
    /// Restrictions other than `pt=`, as written: `max-width=1280;max-height=720`.
    pub restrictions: String,
    /// Payload types of `pt=`; empty when there is none.
    pub payload_types: Vec<Pt>,
}

impl RidLine {
    /// Parses `h send pt=97,98;max-width=1280`.
    ///
    /// # Errors
    /// Says which field does not fit.
    pub fn parse(value: &str) -> Result<Self, Wrong> {
        let mut fields = value.split_ascii_whitespace();
        let text = fields.next().unwrap_or("");
        let id = Rid::parse(text).map_err(|e| format!("a=rid {text:?}: {e}"))?;
        let send = match fields.next() {
            Some("send") => true,
            Some("recv") => false,
            other => {
                let other = other.unwrap_or("");
                return Err(format!(
                    "a=rid:{id} has direction {other:?}; send and recv are allowed"
                ));
            }
        };
        let (mut restrictions, mut payload_types) = (String::new(), Vec::new());
        for item in fields.next().unwrap_or("").split(';').filter(|i| !i.is_empty()) {
            if let Some(list) = item.strip_prefix("pt=") {
                for pt in list.split(',') {
                    payload_types.push(payload_type(pt).map_err(|e| format!("a=rid:{id}: {e}"))?);
                }
            } else {
                if !restrictions.is_empty() {
                    restrictions.push(';');
                }
                restrictions.push_str(item);
            }
        }
        Ok(Self { id, send, restrictions, payload_types })
    }
}

/// One stream of an `a=simulcast` list: its alternatives, the preferred one first; `true` marks one that is paused at
/// first.
pub type SimulcastStream = Vec<(Rid, bool)>;

/// `a=simulcast` (RFC 8853 section 5.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Simulcast {
    /// The streams that the offerer sends.
    pub send: Vec<SimulcastStream>,
    /// The streams that the offerer receives.
    pub recv: Vec<SimulcastStream>,
}

impl Simulcast {
    /// Parses `send h;m,~n;~l recv x`. The draft form `send rid=h;m` is taken too.
    ///
    /// # Errors
    /// Says which field does not fit.
    pub fn parse(value: &str) -> Result<Self, Wrong> {
        let mut lists = Self::default();
        let mut fields = value.split_ascii_whitespace();
        while let Some(direction) = fields.next() {
            let list = match direction {
                "send" => &mut lists.send,
                "recv" => &mut lists.recv,
                other => {
                    return Err(format!(
                        "a=simulcast has direction {other:?}; send and recv are allowed"
                    ));
                }
            };
            if !list.is_empty() {
                return Err(format!("a=simulcast has {direction} twice; once is allowed"));
            }
            let text = fields.next().unwrap_or("");
            let text = text.strip_prefix("rid=").unwrap_or(text);
            for stream in text.split(';') {
                list.push(stream.split(',').map(alternative).collect::<Result<_, _>>()?);
            }
        }
        if lists.send.is_empty() && lists.recv.is_empty() {
            return Err("a=simulcast is empty; a list after send or recv is allowed".into());
        }
        Ok(lists)
    }
}

fn alternative(text: &str) -> Result<(Rid, bool), Wrong> {
    let (id, paused) = text.strip_prefix('~').map_or((text, false), |id| (id, true));
    Rid::parse(id)
        .map(|id| (id, paused))
        .map_err(|e| format!("a=simulcast names rid {text:?}: {e}"))
}

/// `a=ssrc-group` (RFC 5576 section 4.2): semantics and members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SsrcGroup {
    /// `FID`, `SIM`, `FEC-FR`, ...
    pub semantics: String,
    /// Members in their order.
    pub ssrcs: Vec<Ssrc>,
}

impl SsrcGroup {
    /// Parses `FID 1001 1002`.
    ///
    /// # Errors
    /// A member is not a 32 bit number.
    pub fn parse(value: &str) -> Result<Self, Wrong> {
        let mut fields = value.split_ascii_whitespace();
        let semantics = fields.next().unwrap_or("").to_owned();
        let ssrcs = fields.map(|t| ssrc(t, "a=ssrc-group")).collect::<Result<_, _>>()?;
        Ok(Self { semantics, ssrcs })
    }
}

/// The SSRC at the start of an `a=ssrc` line.
///
/// # Errors
/// It is not a 32 bit number.
pub fn ssrc_line(value: &str) -> Result<Ssrc, Wrong> {
    ssrc(value.split_ascii_whitespace().next().unwrap_or(""), "a=ssrc")
}

fn ssrc(text: &str, line: &str) -> Result<Ssrc, Wrong> {
    // Clients without unsigned integers write SSRCs from 2^31 as negative numbers.
    let signed = |text: &str| text.parse::<i32>().ok().map(i32::cast_unsigned);
    let number = text.parse().ok().or_else(|| signed(text));
    number.map(Ssrc).ok_or_else(|| format!("{line} names {text:?}; 0 to 4294967295 are allowed"))
}

/// Longest `a=mid`. No RFC bounds it; some clients write UUIDs.
const MAX_MID: usize = 64;

/// `a=mid` (RFC 5888 section 4). `None` for a valid mid that is longer than the header extension is meant for.
///
/// # Errors
/// Says which rule of a mid the text breaks.
pub fn mid(value: &str) -> Result<Option<Mid>, Wrong> {
    let wrong = |e| format!("a=mid {value:?}: {e}");
    match Mid::parse(value) {
        Err(IdError::TooLong(_)) if value.len() <= MAX_MID => Ok(None),
        Err(IdError::TooLong(_)) => Err(wrong(IdError::TooLong(MAX_MID))),
        mid => mid.map(Some).map_err(wrong),
    }
}

/// `a=fingerprint` (RFC 8122 section 5): `sha-256 AB:CD:...`. `None` for a hash function that is not supported.
///
/// # Errors
/// The hash is not colon separated bytes, or has the wrong length for its function.
pub fn fingerprint(value: &str) -> Result<Option<Fingerprint>, Wrong> {
    let (algorithm, hash) = value.trim().split_once(' ').unwrap_or((value, ""));
    let algorithm = algorithm.to_ascii_lowercase();
    let length = match algorithm.as_str() {
        "sha-256" => 32,
        "sha-384" => 48,
        "sha-512" => 64,
        _ => return Ok(None),
    };
    let bytes: Option<Vec<u8>> = hash
        .trim()
        .split(':')
        .map(|b| match b.as_bytes() {
            // `from_str_radix` alone would also accept a sign.
            [high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                u8::from_str_radix(b, 16).ok()
            }
            _ => None,
        })
        .collect();
    match bytes {
        Some(bytes) if bytes.len() == length => Ok(Some(Fingerprint { algorithm, bytes })),
        _ => Err(format!(
            "a=fingerprint of {algorithm}; {length} bytes as two hexadecimal digits each, joined by ':', are allowed"
        )),
    }
}

/// Checks `a=ice-ufrag` (`least` 4) and `a=ice-pwd` (`least` 22): RFC 8839 section 5.4. All visible ASCII characters
/// but ':' are accepted, since some peers pad their Base64; ':' separates the ufrags in the USERNAME of checks.
///
/// # Errors
/// Says which length or characters are allowed; the value itself is not repeated.
pub fn ice_text(name: &str, value: &str, least: usize) -> Result<String, Wrong> {
    if !(least..=256).contains(&value.len()) {
        return Err(format!(
            "a={name} of {} characters; {least} to 256 are allowed",
            value.chars().count()
        ));
    }
    if !value.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
        return Err(format!("a={name} holds a character outside letters, digits, '+' and '/'"));
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_types_over_127_are_refused_with_the_range() {
        assert_eq!(payload_type("127"), Ok(Pt(127)));
        for bad in ["128", "255", "256", "-1", "", "x"] {
            assert!(payload_type(bad).unwrap_err().contains("0 to 127"), "{bad}");
        }
    }

    #[test]
    fn rtpmaps_parse_with_and_without_channels() {
        let map = RtpMap::parse("111 opus/48000/2").unwrap();
        assert_eq!((map.pt, map.name, map.clock_rate, map.channels), (Pt(111), "opus", 48_000, 2));
        assert_eq!(RtpMap::parse("96 VP8/90000").unwrap().channels, 1);
        for bad in ["96", "96 VP8", "96 VP8/0", "96 VP8/x", "96 /90000", "96 opus/48000/0"] {
            assert!(RtpMap::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn extmaps_take_directions_and_attributes() {
        let plain = ExtMap::parse("4 urn:ietf:params:rtp-hdrext:sdes:mid").unwrap().unwrap();
        assert_eq!((plain.id, plain.direction), (4, None));
        let full = ExtMap::parse("2/sendonly urn:x-y some attributes").unwrap().unwrap();
        assert_eq!((full.id, full.direction, full.uri), (2, Some(Direction::SendOnly), "urn:x-y"));
        assert_eq!(ExtMap::parse("4096 urn:x"), Ok(None));
        for bad in ["0 urn:x", "15 urn:x", "256 urn:x", "1/up urn:x", "1", ""] {
            assert!(ExtMap::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn simulcast_lists_hold_alternatives_and_paused_streams() {
        let parsed = Simulcast::parse("send 1,~4;2;~3 recv r").unwrap();
        let rid = |t| Rid::parse(t).unwrap();
        assert_eq!(
            parsed.send,
            [
                vec![(rid("1"), false), (rid("4"), true)],
                vec![(rid("2"), false)],
                vec![(rid("3"), true)]
            ]
        );
        assert_eq!(parsed.recv, [vec![(rid("r"), false)]]);
        assert_eq!(Simulcast::parse("send rid=h;m").unwrap().send.len(), 2);
        for bad in ["", "send", "send a send b", "both a", "send a;;b", "send a,"] {
            assert!(Simulcast::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rids_keep_their_restrictions_apart_from_payload_types() {
        let rid = RidLine::parse("h send pt=96,98;max-width=1280;max-fps=30").unwrap();
        assert_eq!(rid.payload_types, [Pt(96), Pt(98)]);
        assert_eq!(rid.restrictions, "max-width=1280;max-fps=30");
        assert!(rid.send);
        for bad in ["", "h", "h both", "h send pt=200", "averyveryverylongrid send"] {
            assert!(RidLine::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fingerprints_have_the_length_of_their_hash() {
        let text = format!("SHA-256 {}", vec!["aB"; 32].join(":"));
        let parsed = fingerprint(&text).unwrap().unwrap();
        assert_eq!((parsed.algorithm.as_str(), parsed.bytes), ("sha-256", vec![0xab; 32]));
        assert_eq!(fingerprint("sha-1 AB:CD"), Ok(None));
        for bad in ["sha-256", "sha-256 AB:CD", "sha-512 zz"] {
            assert!(fingerprint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ice_texts_are_bounded_and_never_repeated_in_errors() {
        assert!(ice_text("ice-ufrag", "F7gI", 4).is_ok());
        for bad in ["abc", "a:bc", "a bc", &"x".repeat(257)] {
            let error = ice_text("ice-ufrag", bad, 4).unwrap_err();
            assert!(!error.contains(bad), "{error}");
        }
    }
}
