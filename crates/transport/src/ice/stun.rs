//! Reading a connectivity check and writing its answer (RFC 8489, RFC 8445 section 7.3). No state.
//!
//! A codec of our own, for Binding requests alone: the `stun-types` crate logs a warning for each malformed datagram,
//! which would let anyone on the internet fill the log. It stands in the tests as the independent other side.
//!
//! What it is not: no long-term credentials, no TURN, no requests of ours.

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::{constant_time, hmac};
use model::{DropReason, IceCredentials, Path};

/// No check that we read is longer: requests stay within a packet (RFC 8489 section 6.1).
const MAX_MESSAGE: usize = 1500;
const HEADER_LEN: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// XORed onto the CRC, so that a FINGERPRINT differs from CRCs of other protocols (RFC 8489 section 14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554e;
/// An answer names at most so many unknown attributes: it must not grow with what a peer makes up.
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

    /// Attributes that the standard knows, ours or not: known but unexpected ones are ignored
    /// (RFC 8489 section 6.3), and not answered with 420.
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

/// What to send back for a check, and what the check said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The response, to be sent back on the path of the request.
    pub response: Vec<u8>,
    /// The check succeeded: the path is the peer's. False for 420 and 487 answers, which prove nothing.
    pub success: bool,
    /// The check carried USE-CANDIDATE and succeeded: the peer nominates this path (RFC 8445 section 7.3.1.5).
    pub nominated: bool,
}

/// The ufrag of ours that a check is addressed to: what stands before the colon in USERNAME.
/// Nothing is authenticated yet.
///
/// # Errors
/// [`DropReason::StunMalformed`], [`DropReason::StunUnsupported`] for anything but a Binding request,
/// [`DropReason::StunBadIntegrity`] without USERNAME or MESSAGE-INTEGRITY.
pub fn peek_username(datagram: &[u8]) -> Result<&str, DropReason> {
    Check::parse(datagram)?.local_ufrag()
}

/// Whether a check carries a MESSAGE-INTEGRITY made with `password` (and a right FINGERPRINT, if any).
///
/// # Errors
/// As [`peek_username`], and [`DropReason::StunBadIntegrity`] when the password is another.
pub fn verify(datagram: &[u8], password: &str) -> Result<(), DropReason> {
    Check::parse(datagram)?.verify(&short_term_key(password))
}

/// Authenticates a check with our credentials and writes the answer, without any session state.
///
/// # Errors
/// As [`verify`], and [`DropReason::StunUnknownUser`] when the check is addressed to another ufrag. Nothing must be
/// answered then, and nothing must change.
pub fn respond(datagram: &[u8], path: &Path, ice: &IceCredentials) -> Result<Answer, DropReason> {
    let check = Check::parse(datagram)?;
    if check.local_ufrag()? != ice.local_ufrag {
        return Err(DropReason::StunUnknownUser);
    }
    let key = short_term_key(&ice.local_pwd);
    check.verify(&key)?;

    if check.unknown_len > 0 {
        // RFC 8489 section 6.3.1: only after the request is known to be the peer's.
        let mut writer = Writer::new(kind::ERROR, &check);
        writer.error(420, "Unknown Attribute");
        writer.unknown_attributes(&check.unknown[..check.unknown_len]);
        return Ok(Answer { response: writer.finish(&key), success: false, nominated: false });
    }
    if check.controlled {
        // RFC 8445 section 7.3.1.1: both sides claim the controlled role. A lite agent is controlled whenever the
        // other is full (section 6.1.1), and it cannot switch, since it sends no checks. So we act as the one with
        // the smaller tie-breaker, whatever the peer's is: 487, and the peer switches (section 7.2.5.1).
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
    /// Where the MESSAGE-INTEGRITY attribute begins, and its value.
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
        // Each turn takes four bytes or more of at most MAX_MESSAGE.
        while at < bytes.len() {
            let kind = be16(bytes, at);
            let len = usize::from(be16(bytes, at + 2));
            let value = bytes.get(at + 4..at + 4 + len).ok_or(malformed)?;
            let next = at + 4 + len.next_multiple_of(4);
            if next > bytes.len() {
                return Err(malformed);
            }
            if kind == attribute::FINGERPRINT {
                // RFC 8489 section 14.7: the last attribute.
                if next != bytes.len() || value != fingerprint(&bytes[..at]) {
                    return Err(malformed);
                }
            } else if check.integrity.is_none() {
                // RFC 8489 section 14.5: what follows MESSAGE-INTEGRITY is not protected by it, and is ignored.
                check.take(kind, value, at)?;
            }
            at = next;
        }
        Ok(check)
    }

    fn take(&mut self, kind: u16, value: &'a [u8], at: usize) -> Result<(), DropReason> {
        match kind {
            // RFC 8489 section 14: of several, the first counts.
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

    /// RFC 8445 section 7.3: USERNAME is two values with a colon between; the first is ours.
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

    /// RFC 8489 section 14.5: HMAC-SHA1 over all before the attribute, with a length that ends with it.
    fn verify(&self, key: &hmac::Key) -> Result<(), DropReason> {
        let (at, value) = self.integrity.ok_or(DropReason::StunBadIntegrity)?;
        let tag = integrity(key, &self.bytes[..at]);
        constant_time::verify_slices_are_equal(tag.as_ref(), value)
            .map_err(|_| DropReason::StunBadIntegrity)
    }
}

/// Builds a response. The answers are 64 to 100 bytes: never longer than the request that asked for them would be
/// with its own MESSAGE-INTEGRITY and USERNAME by more than an address, so reflection gains nothing.
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
    let mut crc = crc32(!0, &before[..2]);
    crc = crc32(crc, &len.to_be_bytes());
    crc = crc32(crc, &before[4..]);
    (!crc ^ FINGERPRINT_XOR).to_be_bytes()
}

/// The CRC-32 of ITU V.42, as in Ethernet.
fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(crc, |crc, byte| (crc >> 8) ^ CRC_TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize])
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

/// Two bytes at an offset that the caller has checked; zero past the end.
fn be16(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some(pair) => u16::from_be_bytes([pair[0], pair[1]]),
        None => 0,
    }
}
