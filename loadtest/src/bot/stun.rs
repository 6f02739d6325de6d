//! STUN Binding messages as an ICE agent with the controlling role sends and answers them (RFC 8489, RFC 8445 section
//! 7). Requests, success and error responses with short-term credentials; nothing else. No state.

use std::net::{IpAddr, SocketAddr};
#[cfg(test)]
use std::net::{Ipv4Addr, Ipv6Addr};

use aws_lc_rs::{constant_time, hmac};

const HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const FINGERPRINT_XOR: u32 = 0x5354_554e;
/// Longest message that is read.
const MAX_MESSAGE: usize = 1_500;

const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const ERROR: u16 = 0x0111;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLING: u16 = 0x802a;

/// RFC 8445 section 5.1.2: a peer-reflexive candidate of the only component, which is what a check may discover.
const PRFLX_PRIORITY: u32 = 110 << 24 | 65_535 << 8 | 255;

/// Transaction id.
pub(crate) type Transaction = [u8; 12];

/// The key of MESSAGE-INTEGRITY (RFC 8489 section 9.1.1): the password itself.
pub(crate) fn key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

/// A check.
pub(crate) struct Check<'a> {
    pub(crate) transaction: Transaction,
    /// The server's ufrag, a colon, ours (RFC 8445 section 7.2.2).
    pub(crate) username: &'a str,
    pub(crate) tie_breaker: u64,
    pub(crate) nominate: bool,
    /// The server's password.
    pub(crate) key: &'a hmac::Key,
}

impl Check<'_> {
    /// The request.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new(REQUEST, self.transaction);
        writer.attribute(USERNAME, self.username.as_bytes());
        writer.attribute(PRIORITY, &PRFLX_PRIORITY.to_be_bytes());
        writer.attribute(ICE_CONTROLLING, &self.tie_breaker.to_be_bytes());
        if self.nominate {
            writer.attribute(USE_CANDIDATE, &[]);
        }
        writer.finish(self.key)
    }
}

/// The success response to a request of the other side that came from `remote`.
pub(crate) fn success(request: &Message<'_>, remote: SocketAddr, key: &hmac::Key) -> Vec<u8> {
    let mut writer = Writer::new(SUCCESS, request.transaction);
    writer.xor_mapped_address(remote);
    writer.finish(key)
}

/// The kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Request,
    Success,
    Error,
}

/// A Binding message, parsed and not authenticated.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) class: Class,
    pub(crate) transaction: Transaction,
    pub(crate) username: Option<&'a [u8]>,
    /// The code of an error response; 0 when there is none.
    pub(crate) error_code: u16,
    mapped: Option<&'a [u8]>,
    bytes: &'a [u8],
    integrity: Option<(usize, &'a [u8])>,
}

impl<'a> Message<'a> {
    /// Reads a message; `None` for anything but a well-formed Binding message.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Message<'a>> {
        if bytes.len() < HEADER
            || bytes.len() > MAX_MESSAGE
            || bytes[4..8] != COOKIE
            || usize::from(be16(bytes, 2)) != bytes.len() - HEADER
        {
            return None;
        }
        let class = match be16(bytes, 0) {
            REQUEST => Class::Request,
            SUCCESS => Class::Success,
            ERROR => Class::Error,
            _ => return None,
        };
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&bytes[8..HEADER]);
        let (username, mapped, integrity) = (None, None, None);
        let mut message =
            Message { class, transaction, username, error_code: 0, mapped, bytes, integrity };
        let mut at = HEADER;
        // Each turn takes four bytes or more.
        while at + 4 <= bytes.len() {
            let len = usize::from(be16(bytes, at + 2));
            let value = bytes.get(at + 4..at + 4 + len)?;
            // RFC 8489 section 14.5: attributes after MESSAGE-INTEGRITY are not protected.
            if message.integrity.is_none() {
                message.take(be16(bytes, at), value, at);
            }
            at += 4 + len.next_multiple_of(4);
        }
        Some(message)
    }

    fn take(&mut self, kind: u16, value: &'a [u8], at: usize) {
        match kind {
            USERNAME => self.username = Some(value),
            XOR_MAPPED_ADDRESS => self.mapped = Some(value),
            ERROR_CODE if value.len() >= 4 => {
                self.error_code = u16::from(value[2] & 7) * 100 + u16::from(value[3]);
            }
            MESSAGE_INTEGRITY => self.integrity = Some((at, value)),
            _ => {}
        }
    }

    /// Whether it was authenticated with this key.
    pub(crate) fn is_authentic(&self, key: &hmac::Key) -> bool {
        self.integrity.is_some_and(|(at, value)| {
            let tag = integrity(key, &self.bytes[..at]);
            constant_time::verify_slices_are_equal(tag.as_ref(), value).is_ok()
        })
    }

    /// Our address as the server sees it; nothing here depends on it.
    #[cfg(test)]
    pub(crate) fn mapped_address(&self) -> Option<SocketAddr> {
        let value = self.mapped?;
        let mask = &self.bytes[4..HEADER];
        let port = be16(value.get(..4)?, 2) ^ be16(mask, 0);
        let octet = |at: usize| value[4 + at] ^ mask[at];
        let ip: IpAddr = match (value[1], value.len()) {
            (1, 8) => Ipv4Addr::from(std::array::from_fn::<u8, 4, _>(octet)).into(),
            (2, 20) => Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(octet)).into(),
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u16, transaction: Transaction) -> Writer {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&COOKIE);
        bytes.extend_from_slice(&transaction);
        Writer(bytes)
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.0.extend_from_slice(&kind.to_be_bytes());
        self.0.extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// RFC 8489 section 14.2.
    fn xor_mapped_address(&mut self, address: SocketAddr) {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let mut value = vec![0, if ip.len() == 4 { 1 } else { 2 }];
        let plain = address.port().to_be_bytes().into_iter();
        let mask = &self.0[4..HEADER];
        value.extend(plain.zip(mask).map(|(byte, mask)| byte ^ mask));
        value.extend(ip.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
        self.attribute(XOR_MAPPED_ADDRESS, &value);
    }

    fn finish(mut self, key: &hmac::Key) -> Vec<u8> {
        let tag = integrity(key, &self.0);
        self.attribute(MESSAGE_INTEGRITY, tag.as_ref());
        // RFC 8489 section 14.7: over a header whose length counts the attribute itself.
        let len = (self.0.len() + 8 - HEADER) as u16;
        self.0[2..4].copy_from_slice(&len.to_be_bytes());
        let crc = crc32fast::hash(&self.0) ^ FINGERPRINT_XOR;
        self.attribute(FINGERPRINT, &crc.to_be_bytes());
        self.0
    }
}

/// RFC 8489 section 14.5: over all before the attribute, with a length that ends with it.
fn integrity(key: &hmac::Key, before: &[u8]) -> hmac::Tag {
    let len = (before.len() - HEADER + 24) as u16;
    let mut context = hmac::Context::with_key(key);
    context.update(&before[..2]);
    context.update(&len.to_be_bytes());
    context.update(&before[4..]);
    context.sign()
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests {
    use model::{IceCredentials, Path};

    use super::*;

    const PWD: &str = "a-password-of-enough-length";

    fn check(key: &hmac::Key, nominate: bool) -> Vec<u8> {
        let (transaction, tie_breaker) = ([7; 12], 9);
        Check { transaction, username: "them:us", tie_breaker, nominate, key }.to_bytes()
    }

    fn credentials() -> IceCredentials {
        IceCredentials {
            local_ufrag: "them".into(),
            local_pwd: PWD.into(),
            remote_ufrag: "us".into(),
            remote_pwd: "x".into(),
        }
    }

    #[test]
    fn a_lite_server_takes_our_checks_and_we_take_its_answers() {
        let key = key(PWD);
        for remote in ["192.0.2.7:4711", "[2001:db8::7]:4711"] {
            let remote: SocketAddr = remote.parse().unwrap();
            let path = Path { remote, local: remote.ip() };
            for nominate in [false, true] {
                let answer =
                    transport::ice::respond(&check(&key, nominate), &path, &credentials()).unwrap();
                assert_eq!((answer.success, answer.nominated), (true, nominate));
                let message = Message::parse(&answer.response).unwrap();
                assert_eq!((message.class, message.transaction), (Class::Success, [7; 12]));
                assert!(message.is_authentic(&key));
                assert_eq!(message.mapped_address(), Some(remote));
            }
        }
    }

    #[test]
    fn a_wrong_password_is_seen() {
        let bytes = check(&key(PWD), false);
        let message = Message::parse(&bytes).unwrap();
        assert!(message.is_authentic(&key(PWD)));
        assert!(!message.is_authentic(&key("another")));
        assert_eq!(message.username, Some(&b"them:us"[..]));
    }

    #[test]
    fn our_answer_reads_as_one() {
        let bytes = check(&key(PWD), false);
        let request = Message::parse(&bytes).unwrap();
        let remote = "198.51.100.1:9".parse().unwrap();
        let answer = success(&request, remote, &key(PWD));
        let answer = Message::parse(&answer).unwrap();
        assert_eq!((answer.class, answer.mapped_address()), (Class::Success, Some(remote)));
        assert!(answer.is_authentic(&key(PWD)));
    }

    #[test]
    fn garbage_is_no_message() {
        let good = check(&key(PWD), true);
        for len in 0..good.len() {
            assert!(Message::parse(&good[..len]).is_none(), "{len}");
        }
        let mut lie = good.clone();
        lie[HEADER + 2] = 0xff;
        assert!(Message::parse(&lie).is_none());
        let mut other = good;
        other[1] = 0x11;
        assert!(Message::parse(&other).is_none());
    }

    #[test]
    fn error_codes_are_read() {
        let mut writer = Writer::new(ERROR, [1; 12]);
        writer.attribute(ERROR_CODE, &[0, 0, 4, 87, b'R']);
        let bytes = writer.finish(&key(PWD));
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.class, message.error_code), (Class::Error, 487));
    }
}
