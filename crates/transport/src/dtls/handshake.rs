//! What the server's and the client's handshake have in common: the kinds of messages, the messages that both send,
//! and the state that belongs to the connection instead of a single step.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;
use model::Fingerprint;

use super::certificate::{self, Certificate};
use super::failure::{Failure, alert};
use super::incoming::Message;
use super::outgoing::Outgoing;
use super::peer_key::{OURS, PeerKey, Scheme};
use super::record::{Cipher, Opener};
use super::secrets::MasterSecret;
use super::transcript::Transcript;
use super::wire::{Reader, put_u16, put_vector};
use crate::srtp;

/// Kinds of handshake messages (RFC 5246 section 7.4, RFC 6347 section 4.3.2).
pub(super) mod kind {
    pub(in super::super) const CLIENT_HELLO: u8 = 1;
    pub(in super::super) const SERVER_HELLO: u8 = 2;
    pub(in super::super) const HELLO_VERIFY_REQUEST: u8 = 3;
    pub(in super::super) const CERTIFICATE: u8 = 11;
    pub(in super::super) const SERVER_KEY_EXCHANGE: u8 = 12;
    pub(in super::super) const CERTIFICATE_REQUEST: u8 = 13;
    pub(in super::super) const SERVER_HELLO_DONE: u8 = 14;
    pub(in super::super) const CERTIFICATE_VERIFY: u8 = 15;
    pub(in super::super) const CLIENT_KEY_EXCHANGE: u8 = 16;
    pub(in super::super) const FINISHED: u8 = 20;
}

/// State that all steps of a handshake use.
pub(super) struct Shared {
    pub(super) certificate: Arc<Certificate>,
    /// Fingerprints that the peer's certificate has to match.
    pub(super) fingerprints: Vec<Fingerprint>,
    pub(super) outgoing: Outgoing,
    /// Opens the peer's sealed records once there are keys.
    pub(super) opener: Option<Opener>,
}

/// The result of a message of the peer.
pub(super) enum Next<S> {
    /// The handshake continues.
    Step(S),
    /// The handshake is complete.
    Connected(srtp::Keys),
}

/// There are keys. It remains to prove that both sides saw the same handshake.
pub(super) struct Keyed {
    pub(super) transcript: Transcript,
    pub(super) master: MasterSecret,
    pub(super) profile: srtp::Profile,
    /// Our cipher, used from our Finished on: before that the peer expects unencrypted alerts.
    pub(super) cipher: Cipher,
}

impl Shared {
    /// Adds an unencrypted message to the current flight.
    pub(super) fn push(
        &mut self,
        transcript: &mut Transcript,
        kind: u8,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut body = Vec::new();
        write(&mut body);
        transcript.add(self.outgoing.message(kind, &body));
    }

    /// Adds our Certificate message (RFC 5246 section 7.4.2) to the current flight.
    pub(super) fn push_certificate(&mut self, transcript: &mut Transcript) {
        let certificate = Arc::clone(&self.certificate);
        self.push(transcript, kind::CERTIFICATE, |out| {
            put_vector(out, 3, |out| {
                put_vector(out, 3, |out| out.extend_from_slice(certificate.der()));
            });
        });
    }

    /// Adds ChangeCipherSpec and Finished to the current flight. From here on everything that this side sends is
    /// sealed.
    pub(super) fn push_finished(
        &mut self,
        keyed: Keyed,
        by_client: bool,
    ) -> Result<Proven, Failure> {
        let Keyed { mut transcript, master, profile, cipher } = keyed;
        let verify_data = master.finished(by_client, &transcript.hash())?;
        self.outgoing.seal_with(cipher);
        transcript.add(self.outgoing.sealed_message(kind::FINISHED, &verify_data));
        Ok(Proven { transcript, master, profile })
    }

    /// Appends this side's signature of a message, after its scheme (RFC 5246 section 4.7).
    pub(super) fn put_signature(&self, out: &mut Vec<u8>, message: &[u8]) -> Result<(), Failure> {
        let signature = self.certificate.sign(message).ok_or(Failure::INTERNAL)?;
        put_u16(out, OURS.0);
        put_vector(out, 2, |out| out.extend_from_slice(signature.as_ref()));
        Ok(())
    }

    /// Reads the peer's Certificate message, and checks that the certificate has the promised fingerprint (RFC 8122
    /// section 6.2). This is checked long before there are keys.
    pub(super) fn peer_key(&self, message: &Message) -> Result<PeerKey, Failure> {
        let mut reader = Reader::new(message.body());
        let chain = reader.vector24().filter(|_| reader.is_empty()).ok_or(Failure::MALFORMED)?;
        if chain.is_empty() {
            // The fingerprint in the peer's SDP promises a certificate (RFC 8827 section 6.5).
            return Err(Failure::peer(alert::HANDSHAKE_FAILURE));
        }
        // The first certificate is the peer's own (RFC 5246 section 7.4.2); the fingerprint needs no others.
        let certificate = Reader::new(chain).vector24().ok_or(Failure::MALFORMED)?;
        if !certificate::matches(&self.fingerprints, certificate) {
            return Err(Failure::FINGERPRINT);
        }
        PeerKey::of_certificate(certificate)
    }
}

/// Our Finished is in the current flight.
pub(super) struct Proven {
    pub(super) transcript: Transcript,
    pub(super) master: MasterSecret,
    pub(super) profile: srtp::Profile,
}

/// Checks the content of a Finished (RFC 5246 section 7.4.9).
pub(super) fn check_finished(
    message: &Message,
    master: &MasterSecret,
    transcript: &Transcript,
    by_client: bool,
) -> Result<(), Failure> {
    let expected = master.finished(by_client, &transcript.hash())?;
    verify_slices_are_equal(&expected, message.body()).map_err(|_| Failure::NOT_AUTHENTIC)
}

/// Reads a signature with its scheme.
pub(super) fn read_signature<'a>(reader: &mut Reader<'a>) -> Result<(Scheme, &'a [u8]), Failure> {
    let scheme = reader.u16().ok_or(Failure::MALFORMED)?;
    let signature = reader.vector16().ok_or(Failure::MALFORMED)?;
    if !reader.is_empty() {
        return Err(Failure::MALFORMED);
    }
    Ok((Scheme(scheme), signature))
}

/// Random bytes for a hello. The four bytes that RFC 5246 section 7.4.1.2 takes from the clock are random too: this
/// crate reads no clock, and no peer checks them.
pub(super) fn random() -> Result<[u8; 32], Failure> {
    let mut random = [0; 32];
    rand::fill(&mut random).map_err(|_| Failure::INTERNAL)?;
    Ok(random)
}
