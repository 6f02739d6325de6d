//! The server's side of a handshake (RFC 5246 section 7.3): which message is awaited, and which messages answer it.
//!
//! There is no HelloVerifyRequest. Its cookie would prove that the client can receive at its source address (RFC 6347
//! section 4.2.1). The ICE check that validated the path has proved that already, with a password, and a cookie would
//! cost a round trip.

use std::time::Instant;

use super::exchange::Exchange;
use super::failure::Failure;
use super::handshake::{Keyed, Next, Proven, Shared, check_finished, kind, random, read_signature};
use super::hello::{Offer, put_schemes};
use super::incoming::Message;
use super::peer_key::{CERTIFICATE_TYPES, PeerKey};
use super::record::Opener;
use super::secrets::{MasterSecret, Randoms, Suite};
use super::transcript::Transcript;
use super::wire::{Reader, put_u16, put_vector};
use crate::srtp;

/// named_curve (RFC 8422 section 5.4).
const NAMED_CURVE: u8 = 3;

/// The message of the client that is awaited.
pub(super) enum Step {
    /// ClientHello. Nothing has been sent yet.
    Hello,
    Certificate(Agreed),
    KeyExchange(Agreed, PeerKey),
    CertificateVerify(Keyed, PeerKey),
    Finished(Keyed),
}

/// What was negotiated by both hellos.
pub(super) struct Agreed {
    suite: Suite,
    profile: srtp::Profile,
    randoms: Randoms,
    exchange: Exchange,
    transcript: Transcript,
}

impl Step {
    /// Takes the next message of the client.
    pub(super) fn take(
        self,
        now: Instant,
        shared: &mut Shared,
        message: &Message,
    ) -> Result<Next<Self>, Failure> {
        let step = match (self, message.kind()) {
            (Step::Hello, kind::CLIENT_HELLO) => Step::Certificate(answer(now, shared, message)?),
            (Step::Certificate(mut agreed), kind::CERTIFICATE) => {
                let key = shared.peer_key(message)?;
                agreed.transcript.add(&message.raw);
                Step::KeyExchange(agreed, key)
            }
            (Step::KeyExchange(agreed, key), kind::CLIENT_KEY_EXCHANGE) => {
                Step::CertificateVerify(exchange_keys(shared, agreed, message)?, key)
            }
            (Step::CertificateVerify(mut keyed, key), kind::CERTIFICATE_VERIFY) => {
                let (scheme, signature) = read_signature(&mut Reader::new(message.body()))?;
                key.verify(scheme, keyed.transcript.bytes(), signature)?;
                keyed.transcript.add(&message.raw);
                Step::Finished(keyed)
            }
            (Step::Finished(mut keyed), kind::FINISHED) => {
                check_finished(message, &keyed.master, &keyed.transcript, true)?;
                keyed.transcript.add(&message.raw);
                shared.outgoing.begin_flight();
                let Proven { master, profile, .. } = shared.push_finished(keyed, false)?;
                shared.outgoing.send_last(now);
                return Ok(Next::Connected(master.srtp_keys(profile, false)?));
            }
            _ => return Err(Failure::UNEXPECTED),
        };
        Ok(Next::Step(step))
    }
}

/// Answers a ClientHello: ServerHello, Certificate, ServerKeyExchange, CertificateRequest, ServerHelloDone.
fn answer(now: Instant, shared: &mut Shared, message: &Message) -> Result<Agreed, Failure> {
    let offer = Offer::read(message.body())?;
    let exchange = Exchange::new(offer.group)?;
    let randoms = Randoms { client: offer.random, server: random()? };
    let key_exchange = key_exchange(shared, &offer, &randoms, exchange.public())?;
    let mut transcript = Transcript::new(offer.suite, &[&message.raw]);
    shared.outgoing.begin_flight();
    shared.push(&mut transcript, kind::SERVER_HELLO, |out| offer.put_answer(out, &randoms.server));
    shared.push_certificate(&mut transcript);
    shared.push(&mut transcript, kind::SERVER_KEY_EXCHANGE, |out| *out = key_exchange);
    shared.push(&mut transcript, kind::CERTIFICATE_REQUEST, |out| {
        put_vector(out, 1, |out| out.extend_from_slice(&CERTIFICATE_TYPES));
        put_schemes(out);
        // Certificates of any issuer.
        put_vector(out, 2, |_| {});
    });
    shared.push(&mut transcript, kind::SERVER_HELLO_DONE, |_| {});
    shared.outgoing.send(now);
    let (suite, profile) = (offer.suite, offer.profile);
    Ok(Agreed { suite, profile, randoms, exchange, transcript })
}

/// The body of ServerKeyExchange: our public key, signed together with both random numbers (RFC 8422 section 5.4).
fn key_exchange(
    shared: &Shared,
    offer: &Offer,
    randoms: &Randoms,
    public: &[u8],
) -> Result<Vec<u8>, Failure> {
    let mut body = vec![NAMED_CURVE];
    put_u16(&mut body, offer.group.id());
    put_vector(&mut body, 1, |out| out.extend_from_slice(public));
    let signed = [&randoms.client[..], &randoms.server, &body].concat();
    shared.put_signature(&mut body, &signed)?;
    Ok(body)
}

/// Takes ClientKeyExchange (RFC 8422 section 5.7): from here on there are keys.
fn exchange_keys(shared: &mut Shared, agreed: Agreed, message: &Message) -> Result<Keyed, Failure> {
    let Agreed { suite, profile, randoms, exchange, mut transcript } = agreed;
    transcript.add(&message.raw);
    let mut reader = Reader::new(message.body());
    let theirs = reader.vector8().filter(|_| reader.is_empty()).ok_or(Failure::MALFORMED)?;
    let session_hash = transcript.hash();
    let master = exchange
        .agree(theirs, |secret| MasterSecret::new(suite, randoms, secret, &session_hash))?;
    let (client, cipher) = master.ciphers()?;
    shared.opener = Some(Opener::new(client));
    Ok(Keyed { transcript, master, profile, cipher })
}
