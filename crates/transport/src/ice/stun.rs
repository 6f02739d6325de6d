//! Reading a connectivity check and writing its answer (RFC 8489, RFC 8445 section 7.3). No state.
//!
//! The codec handles Binding requests only and is our own: the `stun-types` crate logs a warning for each malformed
//! datagram, so that any host on the internet could fill the log. The tests use that crate as the independent peer.
//!
//! Not supported: long-term credentials, TURN, and requests by this side.

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::{constant_time, hmac};
use model::{DropReason, IceCredentials, Path};

/// Longest check that is read: a request fits in one packet (RFC 8489 section 6.1).
const MAX_MESSAGE: usize = 1500;
const HEADER_LEN: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// XORed onto the CRC, so that a FINGERPRINT differs from CRCs of other protocols (RFC 8489 section 14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554e;
/// Most unknown attributes named in an answer, so that its size does not grow with the request.
const MAX_UNKNOWN: usize = 8;

/// Message types (RFC 8489 section 5): method Binding, three of its classes.
mod kind {
    pub(super) const REQUEST: u16 = 0x0001;
    pub(super) const SUCCESS: u16 = 0x0101;
    pub(super) const ERROR: u16 = 0x0111;
}

/// Attribute types (RFC 8489 section 18.3, RFC 8445 section 16.1).
mod attribute {
    pub(super) const MAPPED_ADDRESS: u16 = 0x0001;
    pub(super) const USERNAME: u16 = 0x0006;
    pub(super) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(super) const ERROR_CODE: u16 = 0x0009;
    pub(super) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub(super) const REALM: u16 = 0x0014;
    pub(super) const NONCE: u16 = 0x0015;
    pub(super) const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    pub(super) const PASSWORD_ALGORITHM: u16 = 0x001d;
    pub(super) const USERHASH: u16 = 0x001e;
    pub(super) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(super) const PRIORITY: u16 = 0x0024;
    pub(super) const USE_CANDIDATE: u16 = 0x0025;
    pub(super) const FINGERPRINT: u16 = 0x8028;
    pub(super) const ICE_CONTROLLED: u16 = 0x8029;

    /// Attributes that the standard defines, used here or not: known but unexpected ones are ignored (RFC 8489 section
    /// 6.3), and not answered with 420.
    pub(super) fn is_known(kind: u16) -> bool {
        matches!(
            kind,
            MAPPED_ADDRESS
                | USERNAME
                | MESSAGE_INTEGRITY
                | ERROR_CODE
                | UNKNOWN_ATTRIBUTES
                | REALM
                | NONCE
                | MESSAGE_INTEGRITY_SHA256
                | PASSWORD_ALGORITHM
                | USERHASH
                | XOR_MAPPED_ADDRESS
                | PRIORITY
                | USE_CANDIDATE
        )
    }
}

/// The answer to a check, and the result of the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The response, to be sent back on the path of the request.
    pub response: Vec<u8>,
    /// The check succeeded: the path is the peer's. False for 420 and 487 answers, which validate no path.
    pub success: bool,
    /// The check carried USE-CANDIDATE and succeeded: the peer nominates this path (RFC 8445 section 7.3.1.5).
    pub nominated: bool,
}

/// The local ufrag that a check is addressed to: the part of USERNAME before the colon. It is not authenticated.
///
/// # Errors
/// [`DropReason::StunMalformed`], [`DropReason::StunUnsupported`] for anything but a Binding request,
/// [`DropReason::StunBadIntegrity`] without USERNAME or MESSAGE-INTEGRITY.
pub fn peek_username(datagram: &[u8]) -> Result<&str, DropReason> {
    Check::parse(datagram)?.local_ufrag()
}

/// Checks that MESSAGE-INTEGRITY was made with `password`, and that FINGERPRINT, if any, is right.
///
/// # Errors
/// As [`peek_username`], and [`DropReason::StunBadIntegrity`] if it was made with another password.
pub fn verify(datagram: &[u8], password: &str) -> Result<(), DropReason> {
    Check::parse(datagram)?.verify(&short_term_key(password))
}

/// Authenticates a check with the local credentials and writes the answer. It keeps no session state.
///
/// # Errors
/// As [`verify`], and [`DropReason::StunUnknownUser`] if the check is addressed to another ufrag. The caller must then
/// send no answer and change no state.
pub fn respond(datagram: &[u8], path: &Path, ice: &IceCredentials) -> Result<Answer, DropReason> {
    let check = Check::parse(datagram)?;
    if check.local_ufrag()? != ice.local_ufrag {
        return Err(DropReason::StunUnknownUser);
    }
    let key = short_term_key(&ice.local_pwd);
    check.verify(&key)?;

    if check.unknown_len > 0 {
        // RFC 8489 section 6.3.1: sent only after the request is authenticated.
        let mut writer = Writer::new(kind::ERROR, &check);
        writer.error(420, "Unknown Attribute");
        writer.unknown_attributes(&check.unknown[..check.unknown_len]);
        return Ok(Answer { response: writer.finish(&key), success: false, nominated: false });
    }
    if check.controlled {
        // RFC 8445 section 7.3.1.1: both sides claim the controlled role. A lite agent is controlled whenever the
        // other is full (section 6.1.1), and it cannot switch, since it sends no checks. So this side behaves as if
        // its tie-breaker were the smaller one, whatever the peer's is: it answers 487, and the peer switches (section
        // 7.2.5.1).
        let mut writer = Writer::new(kind::ERROR, &check);
        writer.error(487, "Role Conflict");
        return Ok(Answer { response: writer.finish(&key), success: false, nominated: false });
    }
    let mut writer = Writer::new(kind::SUCCESS, &check);
    writer.xor_mapped_address(path.remote);
    Ok(Answer { response: writer.finish(&key), success: true, nominated: check.use_candidate })
}

/// The key of MESSAGE-INTEGRITY under short-term credentials is the password (RFC 8489 section 9.1.1). An ICE
/// password is of ASCII characters, which OpaqueString leaves as they are.
fn short_term_key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

/// A Binding request, parsed and not authenticated.
struct Check<'a> {
    bytes: &'a [u8],
    username: Option<&'a [u8]>,
    /// Position and value of the MESSAGE-INTEGRITY attribute.
    integrity: Option<(usize, &'a [u8])>,
    use_candidate: bool,
    controlled: bool,
    unknown: [u16; MAX_UNKNOWN],
    unknown_len: usize,
}

impl<'a> Check<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let malformed = DropReason::StunMalformed;
        // RFC 8489 section 5: two zero bits, magic cookie, a length that is a multiple of four.
        if bytes.len() < HEADER_LEN
            || bytes.len() > MAX_MESSAGE
            || bytes[0] & 0xc0 != 0
            || bytes[4..8] != MAGIC_COOKIE
            || usize::from(be16(bytes, 2)) != bytes.len() - HEADER_LEN
            || !bytes.len().is_multiple_of(4)
        {
            return Err(malformed);
        }
        if be16(bytes, 0) != kind::REQUEST {
            return Err(DropReason::StunUnsupported);
        }
        let mut check = Check {
            bytes,
            username: None,
            integrity: None,
            use_candidate: false,
            controlled: false,
            unknown: [0; MAX_UNKNOWN],
            unknown_len: 0,
        };
        let mut at = HEADER_LEN;
        // Bounded: each turn takes at least four bytes of at most MAX_MESSAGE.
        while at < bytes.len() {
            let kind = be16(bytes, at);
            let len = usize::from(be16(bytes, at + 2));
            let value = bytes.get(at + 4..at + 4 + len).ok_or(malformed)?;
            let next = at + 4 + len.next_multiple_of(4);
            if next > bytes.len() {
                return Err(malformed);
            }
            if kind == attribute::FINGERPRINT {
                // RFC 8489 section 14.7: it is the last attribute.
                if next != bytes.len() || value != fingerprint(&bytes[..at]) {
                    return Err(malformed);
                }
            } else if check.integrity.is_none() {
                // RFC 8489 section 14.5: attributes after MESSAGE-INTEGRITY are not protected by it, and are ignored.
                check.take(kind, value, at)?;
            }
            at = next;
        }
        Ok(check)
    }

    fn take(&mut self, kind: u16, value: &'a [u8], at: usize) -> Result<(), DropReason> {
        match kind {
            // RFC 8489 section 14: the first of several is used.
            attribute::USERNAME if self.username.is_none() => self.username = Some(value),
            attribute::MESSAGE_INTEGRITY => {
                if value.len() != 20 {
                    return Err(DropReason::StunMalformed);
                }
                self.integrity = Some((at, value));
            }
            attribute::USE_CANDIDATE => self.use_candidate = true,
            attribute::ICE_CONTROLLED => self.controlled = true,
            // RFC 8489 section 14: types below 0x8000 have to be understood.
            _ if kind < 0x8000 && !attribute::is_known(kind) => {
                if let Some(slot) = self.unknown.get_mut(self.unknown_len) {
                    *slot = kind;
                    self.unknown_len += 1;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// RFC 8445 section 7.3: USERNAME is two ufrags with a colon between; the first is the local one.
    fn local_ufrag(&self) -> Result<&'a str, DropReason> {
        if self.integrity.is_none() {
            return Err(DropReason::StunBadIntegrity);
        }
        let username = self.username.ok_or(DropReason::StunBadIntegrity)?;
        std::str::from_utf8(username)
            .ok()
            .and_then(|text| text.split_once(':'))
            .map(|(local, _)| local)
            .ok_or(DropReason::StunUnknownUser)
    }

    /// RFC 8489 section 14.5: HMAC-SHA1 over everything before the attribute, with the length field set to its end.
    fn verify(&self, key: &hmac::Key) -> Result<(), DropReason> {
        let (at, value) = self.integrity.ok_or(DropReason::StunBadIntegrity)?;
        let tag = integrity(key, &self.bytes[..at]);
        constant_time::verify_slices_are_equal(tag.as_ref(), value)
            .map_err(|_| DropReason::StunBadIntegrity)
    }
}

/// Builds a response. A success is 64 bytes (IPv4) or 76 (IPv6), less than the shortest check that browsers send, and
/// an error stays below 128: the server cannot be used for amplification.
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn new(kind: u16, request: &Check<'_>) -> Self {
        let mut bytes = Vec::with_capacity(96);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        // The magic cookie and the transaction id of the request.
        bytes.extend_from_slice(&request.bytes[4..HEADER_LEN]);
        Self { bytes }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend_from_slice(&kind.to_be_bytes());
        self.bytes.extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// RFC 8489 section 14.2.
    fn xor_mapped_address(&mut self, address: SocketAddr) {
        let mut value = [0; 20];
        let mask = &self.bytes[4..HEADER_LEN];
        let port = address.port().to_be_bytes();
        value[2] = port[0] ^ mask[0];
        value[3] = port[1] ^ mask[1];
        let len = match address.ip() {
            IpAddr::V4(ip) => {
                value[1] = 1;
                value[4..8].copy_from_slice(&ip.octets());
                8
            }
            IpAddr::V6(ip) => {
                value[1] = 2;
                value[4..20].copy_from_slice(&ip.octets());
                20
            }
        };
        for (byte, mask) in value[4..len].iter_mut().zip(mask) {
            *byte ^= mask;
        }
        self.attribute(attribute::XOR_MAPPED_ADDRESS, &value[..len]);
    }

    /// RFC 8489 section 14.8.
    fn error(&mut self, code: u16, reason: &str) {
        let mut value = Vec::with_capacity(4 + reason.len());
        value.extend_from_slice(&[0, 0, (code / 100) as u8, (code % 100) as u8]);
        value.extend_from_slice(reason.as_bytes());
        self.attribute(attribute::ERROR_CODE, &value);
    }

    /// RFC 8489 section 14.9.
    fn unknown_attributes(&mut self, kinds: &[u16]) {
        let value: Vec<u8> = kinds.iter().flat_map(|kind| kind.to_be_bytes()).collect();
        self.attribute(attribute::UNKNOWN_ATTRIBUTES, &value);
    }

    /// RFC 8489 section 9.1.3.1: the answer to an authenticated request is authenticated with the same password;
    /// RFC 8445 section 7.3: FINGERPRINT ends it.
    fn finish(mut self, key: &hmac::Key) -> Vec<u8> {
        let tag = integrity(key, &self.bytes);
        self.attribute(attribute::MESSAGE_INTEGRITY, tag.as_ref());
        let crc = fingerprint(&self.bytes);
        self.attribute(attribute::FINGERPRINT, &crc);
        let len = ((self.bytes.len() - HEADER_LEN) as u16).to_be_bytes();
        self.bytes[2..4].copy_from_slice(&len);
        self.bytes
    }
}

/// The tag of a message whose bytes before the MESSAGE-INTEGRITY attribute (24 bytes) are `before`.
fn integrity(key: &hmac::Key, before: &[u8]) -> hmac::Tag {
    let len = (before.len() - HEADER_LEN + 24) as u16;
    let mut context = hmac::Context::with_key(key);
    context.update(&before[..2]);
    context.update(&len.to_be_bytes());
    context.update(&before[4..]);
    context.sign()
}

/// The FINGERPRINT of a message whose bytes before that attribute (8 bytes) are `before` (RFC 8489 section 14.7).
fn fingerprint(before: &[u8]) -> [u8; 4] {
    let len = (before.len() - HEADER_LEN + 8) as u16;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&before[..2]);
    crc.update(&len.to_be_bytes());
    crc.update(&before[4..]);
    (crc.finalize() ^ FINGERPRINT_XOR).to_be_bytes()
}

/// Two bytes at an offset that the caller has checked; zero past the end.
fn be16(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some(pair) => u16::from_be_bytes([pair[0], pair[1]]),
        None => 0,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;
    use stun_types::attribute::{
        Attribute, AttributeFromRaw, ErrorCode, RawAttribute, UnknownAttributes, Username,
        XorMappedAddress,
    };
    use stun_types::message::{
        BINDING, IntegrityAlgorithm, Message, MessageIntegrityCredentials, MessageWrite,
        MessageWriteExt, MessageWriteVec, ShortTermCredentials,
    };

    use super::*;

    const PRIORITY: u16 = 0x0024;
    const USE_CANDIDATE: u16 = 0x0025;
    const ICE_CONTROLLED: u16 = 0x8029;
    const ICE_CONTROLLING: u16 = 0x802a;

    pub(in crate::ice) fn credentials(name: &str) -> IceCredentials {
        IceCredentials {
            local_ufrag: name.to_owned(),
            local_pwd: format!("{name}-password-of-22-characters"),
            remote_ufrag: "peer".to_owned(),
            remote_pwd: "peer-password-of-22-chars".to_owned(),
        }
    }

    pub(in crate::ice) fn path(last: u8) -> Path {
        Path {
            remote: SocketAddr::from(([192, 0, 2, last], 32853)),
            local: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
        }
    }

    fn integrity_key(password: &str) -> MessageIntegrityCredentials {
        ShortTermCredentials::new(password.to_owned()).into()
    }

    /// A check as an independent implementation writes it.
    fn check_with(username: &str, password: &str, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
        request.add_attribute(&Username::new(username).unwrap()).unwrap();
        for (kind, value) in attributes {
            request.add_attribute(&RawAttribute::new((*kind).into(), value)).unwrap();
        }
        request.add_message_integrity(&integrity_key(password), IntegrityAlgorithm::Sha1).unwrap();
        request.add_fingerprint().unwrap();
        request.finish()
    }

    pub(in crate::ice) fn check(ice: &IceCredentials, nominate: bool) -> Vec<u8> {
        let mut attributes: Vec<(u16, &[u8])> =
            vec![(PRIORITY, &[0x6e, 0x7f, 0x1e, 0xff]), (ICE_CONTROLLING, &[7; 8])];
        if nominate {
            attributes.push((USE_CANDIDATE, &[]));
        }
        let username = format!("{}:{}", ice.local_ufrag, ice.remote_ufrag);
        check_with(&username, &ice.local_pwd, &attributes)
    }

    /// Recomputes MESSAGE-INTEGRITY and FINGERPRINT of a check that was changed.
    pub(in crate::ice) fn sign_again(message: &mut [u8], password: &str) {
        let end = message.len() - 8;
        let tag = integrity(&short_term_key(password), &message[..end - 24]);
        message[end - 20..end].copy_from_slice(tag.as_ref());
        let crc = fingerprint(&message[..end]);
        message[end + 4..].copy_from_slice(&crc);
    }

    // RFC 5769 section 2.1.
    const SAMPLE_REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae\
        802200105354554e207465737420636c69656e74\
        002400046e0001ff\
        80290008932ff9b151263b36\
        000600096576746a3a68367659202020\
        000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2\
        80280004e57a3bcf";
    // RFC 5769 section 2.2.
    const SAMPLE_IPV4_RESPONSE: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae\
        8022000b7465737420766563746f7220\
        002000080001a147e112a643\
        000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7\
        80280004c07d4c96";
    // RFC 5769 section 2.3.
    const SAMPLE_IPV6_RESPONSE: &str = "010100482112a442b7e7a701bc34d686fa87dfae\
        8022000b7465737420766563746f7220\
        002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9\
        00080014a382954e4be67bf11784c97c8292c275bfe3ed41\
        80280004c8fb0b4c";
    const SAMPLE_PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn reads_the_sample_request_of_rfc_5769() {
        let request = bytes(SAMPLE_REQUEST);
        assert_eq!(peek_username(&request), Ok("evtj"));
        assert_eq!(verify(&request, SAMPLE_PASSWORD), Ok(()));
        assert_eq!(verify(&request, "another"), Err(DropReason::StunBadIntegrity));
    }

    #[test]
    fn writes_the_sample_responses_of_rfc_5769() {
        for (sample, address) in [
            (SAMPLE_IPV4_RESPONSE, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
            (
                SAMPLE_IPV6_RESPONSE,
                IpAddr::V6(Ipv6Addr::new(
                    0x2001, 0xdb8, 0x1234, 0x5678, 0x11, 0x2233, 0x4455, 0x6677,
                )),
            ),
        ] {
            let request = bytes(SAMPLE_REQUEST);
            let request = Check::parse(&request).unwrap();
            let mut writer = Writer::new(kind::SUCCESS, &request);
            // The samples have a SOFTWARE attribute padded with a blank.
            writer.bytes.extend_from_slice(&bytes("8022000b7465737420766563746f7220"));
            writer.xor_mapped_address(SocketAddr::new(address, 32853));
            assert_eq!(writer.finish(&short_term_key(SAMPLE_PASSWORD)), bytes(sample));
        }
    }

    #[test]
    fn a_check_is_answered_with_its_address_and_no_padding() {
        let ice = credentials("us");
        let v6 = Path { remote: "[2001:db8::9]:5000".parse().unwrap(), local: path(0).local };
        for (path, len) in [(path(7), 64), (v6, 76)] {
            let request = check(&ice, true);
            let answer = respond(&request, &path, &ice).unwrap();
            assert!(answer.success && answer.nominated);
            // The answer is not larger than the check, so reflection does not amplify.
            assert_eq!(answer.response.len(), len);
            assert!(answer.response.len() < request.len());
            let message = Message::from_bytes(&answer.response).unwrap();
            let asked = Message::from_bytes(&request).unwrap();
            assert_eq!(message.transaction_id(), asked.transaction_id());
            message.validate_integrity(&integrity_key(&ice.local_pwd)).unwrap();
            let mapped: XorMappedAddress = message.attribute().unwrap();
            assert_eq!(mapped.addr(message.transaction_id()), path.remote);
            let last = message.iter_attributes().last().unwrap().1;
            assert_eq!(last.get_type().value(), 0x8028);
        }
        assert!(!respond(&check(&ice, false), &path(7), &ice).unwrap().nominated);
    }

    #[test]
    fn role_conflict_is_answered_with_487() {
        let ice = credentials("us");
        for tie_breaker in [[0; 8], [0xff; 8]] {
            let request = check_with("us:peer", &ice.local_pwd, &[(ICE_CONTROLLED, &tie_breaker)]);
            let answer = respond(&request, &path(1), &ice).unwrap();
            assert!(!answer.success && !answer.nominated);
            let message = Message::from_bytes(&answer.response).unwrap();
            message.validate_integrity(&integrity_key(&ice.local_pwd)).unwrap();
            let error = message.raw_attribute(9.into()).unwrap();
            assert_eq!(ErrorCode::from_raw_ref(&error).unwrap().code(), 487);
        }
    }

    #[test]
    fn unknown_required_attributes_are_answered_with_420() {
        let ice = credentials("us");
        let many: Vec<(u16, &[u8])> = (0x7000..0x7040).map(|kind| (kind, &[][..])).collect();
        let request = check_with("us:peer", &ice.local_pwd, &many);
        let answer = respond(&request, &path(1), &ice).unwrap();
        assert!(!answer.success);
        assert!(answer.response.len() < 128, "the answer does not grow with the question");
        let message = Message::from_bytes(&answer.response).unwrap();
        let error = message.raw_attribute(9.into()).unwrap();
        assert_eq!(ErrorCode::from_raw_ref(&error).unwrap().code(), 420);
        let unknown: UnknownAttributes = message.attribute().unwrap();
        assert!(unknown.has_attribute(0x7000.into()) && unknown.has_attribute(0x7007.into()));
        // Not authenticated: no answer at all.
        let forged = check_with("us:peer", "guess", &many);
        assert_eq!(respond(&forged, &path(1), &ice), Err(DropReason::StunBadIntegrity));
        // Optional attributes, and known ones that do not belong here, are ignored.
        let optional =
            check_with("us:peer", &ice.local_pwd, &[(0xc057, &[0, 0, 0, 5]), (0x0020, &[0; 8])]);
        assert!(respond(&optional, &path(1), &ice).unwrap().success);
    }

    #[test]
    fn bad_integrity_and_unknown_ufrag_are_dropped() {
        let ice = credentials("us");
        let forged = check_with("us:peer", "guess", &[]);
        assert_eq!(respond(&forged, &path(1), &ice), Err(DropReason::StunBadIntegrity));
        let stranger = check_with("them:peer", &ice.local_pwd, &[]);
        assert_eq!(respond(&stranger, &path(1), &ice), Err(DropReason::StunUnknownUser));
        let no_colon = check_with("us", &ice.local_pwd, &[]);
        assert_eq!(respond(&no_colon, &path(1), &ice), Err(DropReason::StunUnknownUser));

        let mut bare = Message::builder_request(BINDING, MessageWriteVec::new());
        bare.add_attribute(&Username::new("us:peer").unwrap()).unwrap();
        assert_eq!(peek_username(&bare.finish()), Err(DropReason::StunBadIntegrity));
        // Attributes after MESSAGE-INTEGRITY are not protected, and are ignored.
        let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
        request.add_attribute(&Username::new("us:peer").unwrap()).unwrap();
        let key = integrity_key(&ice.local_pwd);
        request.add_message_integrity(&key, IntegrityAlgorithm::Sha1).unwrap();
        let mut request = request.finish();
        request.extend_from_slice(&[0, 0x25, 0, 0]);
        request[3] += 4;
        assert!(!respond(&request, &path(1), &ice).unwrap().nominated);
    }

    #[test]
    fn other_stun_messages_are_not_answered() {
        let ice = credentials("us");
        let indication = Message::builder_indication(BINDING, MessageWriteVec::new()).finish();
        assert_eq!(respond(&indication, &path(1), &ice), Err(DropReason::StunUnsupported));
        let answer = respond(&check(&ice, false), &path(1), &ice).unwrap().response;
        assert_eq!(respond(&answer, &path(1), &ice), Err(DropReason::StunUnsupported));
    }

    #[test]
    fn a_broken_message_is_malformed() {
        let ice = credentials("us");
        let good = check(&ice, true);
        for cut in 0..good.len() {
            assert_eq!(verify(&good[..cut], &ice.local_pwd), Err(DropReason::StunMalformed));
        }
        let mut trailing = good.clone();
        trailing.extend_from_slice(&[0; 4]);
        assert_eq!(verify(&trailing, &ice.local_pwd), Err(DropReason::StunMalformed));
        let mut wrong_fingerprint = good.clone();
        *wrong_fingerprint.last_mut().unwrap() ^= 1;
        assert_eq!(verify(&wrong_fingerprint, &ice.local_pwd), Err(DropReason::StunMalformed));
        let mut no_cookie = good.clone();
        no_cookie[5] ^= 1;
        assert_eq!(verify(&no_cookie, &ice.local_pwd), Err(DropReason::StunMalformed));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut datagram in prop::collection::vec(any::<u8>(), 0..200)) {
            let ice = credentials("us");
            let _ = respond(&datagram, &path(1), &ice);
            // Once more with a header that makes the attributes readable.
            if datagram.len() >= HEADER_LEN {
                datagram.truncate(datagram.len() / 4 * 4);
                let len = (datagram.len() - HEADER_LEN) as u8;
                datagram[..4].copy_from_slice(&[0, 1, 0, len]);
                datagram[4..8].copy_from_slice(&MAGIC_COOKIE);
                prop_assert!(respond(&datagram, &path(1), &ice).is_err());
            }
        }

        #[test]
        fn any_flipped_bit_is_noticed(at in 0usize..80, bit in 0u8..8) {
            let ice = credentials("us");
            let mut request = check(&ice, true);
            // Every byte that MESSAGE-INTEGRITY protects; the fingerprint is recomputed, as a forger would do.
            let end = request.len() - 8;
            let at = at % (end - 20);
            request[at] ^= 1 << bit;
            let crc = fingerprint(&request[..end]);
            request[end + 4..].copy_from_slice(&crc);
            prop_assert!(respond(&request, &path(1), &ice).is_err());
        }
    }
}
