//! ClientHello and ServerHello (RFC 5246 section 7.4.1, RFC 6347 section 4.2.1): reads a peer's offer and chooses from
//! it, or writes an offer and reads the peer's choice.
//!
//! Unknown extensions are skipped, and so are unknown groups, suites and schemes within known extensions.

use super::exchange::Group;
use super::failure::{Failure, alert};
use super::peer_key::{OURS, SCHEMES};
use super::record::VERSION;
use super::secrets::{SUITES, ServerKey, Suite};
use super::wire::{Reader, numbers, put_u16, put_vector};
use crate::srtp;

const SUPPORTED_GROUPS: u16 = 10;
const EC_POINT_FORMATS: u16 = 11;
const SIGNATURE_ALGORITHMS: u16 = 13;
const USE_SRTP: u16 = 14;
const EXTENDED_MASTER_SECRET: u16 = 23;
const RENEGOTIATION_INFO: u16 = 0xff01;
/// A suite that means an empty renegotiation_info (RFC 5746 section 3.3).
const RENEGOTIATION_SCSV: u16 = 0x00ff;
const NO_COMPRESSION: u8 = 0;
const UNCOMPRESSED_POINTS: u8 = 0;
/// Most extensions of a hello that are read: browsers send about twenty.
const MAX_EXTENSIONS: usize = 64;

/// The choice from a ClientHello.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) random: [u8; 32],
    pub(super) suite: Suite,
    pub(super) group: Group,
    pub(super) profile: srtp::Profile,
    /// The client sent renegotiation_info, or point formats, and expects them in the answer.
    renegotiation_info: bool,
    point_formats: bool,
}

/// The extensions that are used, as far as they are present.
#[derive(Default)]
struct Extensions<'a> {
    groups: Option<&'a [u8]>,
    schemes: Option<&'a [u8]>,
    profiles: Option<&'a [u8]>,
    /// The MKI of use_srtp (RFC 5764 section 4.1.3).
    mki: &'a [u8],
    renegotiated: Option<&'a [u8]>,
    extended_master_secret: bool,
    point_formats: bool,
}

impl<'a> Extensions<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let mut extensions = Self::default();
        if reader.is_empty() {
            return Some(extensions);
        }
        let mut list = Reader::new(reader.vector16()?);
        for _ in 0..MAX_EXTENSIONS {
            if list.is_empty() {
                return Some(extensions);
            }
            let (kind, mut body) = (list.u16()?, Reader::new(list.vector16()?));
            match kind {
                SUPPORTED_GROUPS => extensions.groups = Some(body.vector16()?),
                SIGNATURE_ALGORITHMS => extensions.schemes = Some(body.vector16()?),
                USE_SRTP => {
                    extensions.profiles = Some(body.vector16()?);
                    extensions.mki = body.vector8()?;
                }
                RENEGOTIATION_INFO => extensions.renegotiated = Some(body.vector8()?),
                EXTENDED_MASTER_SECRET => extensions.extended_master_secret = true,
                EC_POINT_FORMATS => extensions.point_formats = true,
                _ => {}
            }
        }
        None
    }
}

impl Offer {
    /// Reads a ClientHello and chooses from it.
    ///
    /// # Errors
    /// A hello that cannot be read, that has nothing in common with this side, or that has no SRTP profile.
    pub(super) fn read(body: &[u8]) -> Result<Self, Failure> {
        let mut reader = Reader::new(body);
        let hello = ClientHello::read(&mut reader).ok_or(Failure::MALFORMED)?;
        // Versions of DTLS count down (RFC 6347 section 4.1): a later version has a lower number, and is answered with
        // 1.2.
        if hello.version[0] != VERSION[0] || hello.version[1] > VERSION[1] {
            return Err(Failure::NOTHING_IN_COMMON);
        }
        if !hello.compressions.contains(&NO_COMPRESSION) {
            return Err(Failure::NOTHING_IN_COMMON);
        }
        let offers = |list: &[u8], number: u16| numbers(list).any(|offered| offered == number);
        let ours = SUITES.iter().filter(|suite| suite.server_key == ServerKey::Ecdsa);
        let suite = ours
            .copied()
            .find(|suite| offers(hello.suites, suite.id))
            .ok_or(Failure::NOTHING_IN_COMMON)?;
        let extensions = &hello.extensions;
        // Without the extension any group is allowed (RFC 8422 section 4); all clients support P-256.
        let group = extensions.groups.map_or(Some(Group::P256), |groups| {
            Group::ALL.into_iter().find(|group| offers(groups, group.id()))
        });
        let group = group.ok_or(Failure::NOTHING_IN_COMMON)?;
        // Without the extension a client expects SHA-1 (RFC 5246 section 7.4.1.4.1), which is not used here.
        if !extensions.schemes.is_some_and(|schemes| offers(schemes, OURS.0)) {
            return Err(Failure::NOTHING_IN_COMMON);
        }
        // Without it the SRTP keys are not bound to this handshake (RFC 7627 section 1), and every WebRTC stack
        // supports it.
        if !extensions.extended_master_secret {
            return Err(Failure::NOTHING_IN_COMMON);
        }
        // RFC 5746 section 3.6: this is no renegotiation.
        if extensions.renegotiated.is_some_and(|data| !data.is_empty()) {
            return Err(Failure::NOTHING_IN_COMMON);
        }
        let profiles = extensions.profiles.unwrap_or_default();
        let profile = srtp::Profile::ALL
            .iter()
            .copied()
            .find(|profile| offers(profiles, profile.dtls_id()))
            .ok_or(Failure::NO_SRTP_PROFILE)?;
        let renegotiation_info =
            extensions.renegotiated.is_some() || offers(hello.suites, RENEGOTIATION_SCSV);
        let point_formats = extensions.point_formats;
        Ok(Self { random: hello.random, suite, group, profile, renegotiation_info, point_formats })
    }

    /// Writes the ServerHello that answers the offer.
    pub(super) fn put_answer(&self, out: &mut Vec<u8>, server_random: &[u8; 32]) {
        out.extend_from_slice(&VERSION);
        out.extend_from_slice(server_random);
        // No session id: nothing is resumed.
        out.push(0);
        put_u16(out, self.suite.id);
        out.push(NO_COMPRESSION);
        put_vector(out, 2, |out| {
            // Only extensions that the client sent are allowed (RFC 5246 section 7.4.1.4).
            if self.renegotiation_info {
                put_extension(out, RENEGOTIATION_INFO, |out| out.push(0));
            }
            put_extension(out, EXTENDED_MASTER_SECRET, |_| {});
            if self.point_formats {
                put_point_formats(out);
            }
            put_profiles(out, &[self.profile]);
        });
    }
}

struct ClientHello<'a> {
    version: [u8; 2],
    random: [u8; 32],
    suites: &'a [u8],
    compressions: &'a [u8],
    extensions: Extensions<'a>,
}

impl<'a> ClientHello<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let (version, random) = (reader.array()?, reader.array()?);
        let (_session, _cookie) = (reader.vector8()?, reader.vector8()?);
        let (suites, compressions) = (reader.vector16()?, reader.vector8()?);
        let extensions = Extensions::read(reader)?;
        Some(Self { version, random, suites, compressions, extensions })
    }
}

/// Writes our ClientHello.
pub(super) fn put_client_hello(out: &mut Vec<u8>, random: &[u8; 32], cookie: &[u8]) {
    out.extend_from_slice(&VERSION);
    out.extend_from_slice(random);
    // No session to resume.
    out.push(0);
    put_vector(out, 1, |out| out.extend_from_slice(cookie));
    put_vector(out, 2, |out| SUITES.iter().for_each(|suite| put_u16(out, suite.id)));
    put_vector(out, 1, |out| out.push(NO_COMPRESSION));
    put_vector(out, 2, |out| {
        put_extension(out, RENEGOTIATION_INFO, |out| out.push(0));
        put_extension(out, EXTENDED_MASTER_SECRET, |_| {});
        put_extension(out, SUPPORTED_GROUPS, |out| {
            put_vector(out, 2, |out| {
                Group::ALL.iter().for_each(|group| put_u16(out, group.id()));
            });
        });
        put_point_formats(out);
        put_extension(out, SIGNATURE_ALGORITHMS, put_schemes);
        put_profiles(out, srtp::Profile::ALL);
    });
}

/// A server's choice from our ClientHello.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) random: [u8; 32],
    pub(super) suite: Suite,
    pub(super) profile: srtp::Profile,
}

impl Choice {
    /// Reads a ServerHello.
    ///
    /// # Errors
    /// A hello that cannot be read, that chose something that was not offered, or no SRTP profile.
    pub(super) fn read(body: &[u8]) -> Result<Self, Failure> {
        let mut reader = Reader::new(body);
        let (hello, extensions) = read_server_hello(&mut reader).ok_or(Failure::MALFORMED)?;
        let illegal = Failure::peer(alert::ILLEGAL_PARAMETER);
        let suite = SUITES.iter().copied().find(|suite| suite.id == hello.suite);
        let suite = suite.filter(|_| hello.compression == NO_COMPRESSION).ok_or(illegal)?;
        if hello.version != VERSION
            || !extensions.extended_master_secret
            || extensions.renegotiated.is_some_and(|data| !data.is_empty())
        {
            return Err(Failure::NOTHING_IN_COMMON);
        }
        let Some(chosen) = extensions.profiles else {
            return Err(Failure::NO_SRTP_PROFILE);
        };
        // RFC 5764 section 4.1.1: exactly one. Section 4.1.3: no MKI, since none was offered.
        let profile = srtp::Profile::ALL
            .iter()
            .copied()
            .find(|profile| chosen == profile.dtls_id().to_be_bytes())
            .filter(|_| extensions.mki.is_empty())
            .ok_or(illegal)?;
        Ok(Self { random: hello.random, suite, profile })
    }
}

struct ServerHello {
    version: [u8; 2],
    random: [u8; 32],
    suite: u16,
    compression: u8,
}

fn read_server_hello<'a>(reader: &mut Reader<'a>) -> Option<(ServerHello, Extensions<'a>)> {
    let (version, random) = (reader.array()?, reader.array()?);
    let _session = reader.vector8()?;
    let (suite, compression) = (reader.u16()?, reader.u8()?);
    let extensions = Extensions::read(reader)?;
    Some((ServerHello { version, random, suite, compression }, extensions))
}

/// The list of schemes that are verified, as in signature_algorithms and in a CertificateRequest.
pub(super) fn put_schemes(out: &mut Vec<u8>) {
    put_vector(out, 2, |out| SCHEMES.iter().for_each(|scheme| put_u16(out, scheme.0)));
}

fn put_extension(out: &mut Vec<u8>, kind: u16, write: impl FnOnce(&mut Vec<u8>)) {
    put_u16(out, kind);
    put_vector(out, 2, write);
}

fn put_point_formats(out: &mut Vec<u8>) {
    put_extension(out, EC_POINT_FORMATS, |out| {
        put_vector(out, 1, |out| out.push(UNCOMPRESSED_POINTS));
    });
}

/// use_srtp without MKI (RFC 5764 section 4.1.1).
fn put_profiles(out: &mut Vec<u8>, profiles: &[srtp::Profile]) {
    put_extension(out, USE_SRTP, |out| {
        put_vector(out, 2, |out| {
            profiles.iter().for_each(|profile| put_u16(out, profile.dtls_id()));
        });
        out.push(0);
    });
}

#[cfg(test)]
mod tests;
