//! The client's side of a handshake (RFC 5246 section 7.3): which message is awaited, and which messages answer it.

use std::time::Instant;

use super::exchange::{Exchange, Group};
use super::failure::{Failure, alert};
use super::handshake::{Keyed, Next, Proven, Shared, check_finished, kind, random, read_signature};
use super::hello::{Choice, put_client_hello};
use super::incoming::Message;
use super::peer_key::{CERTIFICATE_TYPES, Kind, OURS, PeerKey};
use super::record::Opener;
use super::secrets::{MasterSecret, Randoms, ServerKey};
use super::transcript::Transcript;
use super::wire::{Reader, numbers, put_vector};

/// named_curve (RFC 8422 section 5.4).
const NAMED_CURVE: u8 = 3;

/// The message of the server that is awaited.
pub(super) enum Step {
    /// ServerHello, or HelloVerifyRequest if none has arrived yet.
    Hello(Begun),
    Certificate(Agreed),
    KeyExchange(Agreed, PeerKey),
    /// CertificateRequest, or ServerHelloDone of a server that requests no certificate.
    Request(Exchanging),
    Done(Exchanging),
    Finished(Proven),
}

/// Our ClientHello was sent.
pub(super) struct Begun {
    random: [u8; 32],
    /// The ClientHello as it is hashed.
    hello: Vec<u8>,
    has_cookie: bool,
}

/// What was negotiated by both hellos.
pub(super) struct Agreed {
    choice: Choice,
    randoms: Randoms,
    transcript: Transcript,
}

/// The server's half of the key exchange has arrived.
pub(super) struct Exchanging {
    agreed: Agreed,
    group: Group,
    theirs: Vec<u8>,
    certificate_wanted: bool,
}

impl Step {
    /// Begins a handshake.
    pub(super) fn begin(now: Instant, shared: &mut Shared) -> Result<Self, Failure> {
        Ok(send_hello(now, shared, random()?, &[]))
    }

    /// Takes the next message of the server.
    pub(super) fn take(
        self,
        now: Instant,
        shared: &mut Shared,
        message: &Message,
    ) -> Result<Next<Self>, Failure> {
        let step = match (self, message.kind()) {
            (Step::Hello(begun), kind::HELLO_VERIFY_REQUEST) if !begun.has_cookie => {
                let mut reader = Reader::new(message.body());
                let _version = reader.u16();
                let cookie = reader.vector8().ok_or(Failure::MALFORMED)?;
                // RFC 6347 section 4.2.1: the same hello again, and neither the first nor this message is hashed.
                send_hello(now, shared, begun.random, cookie)
            }
            (Step::Hello(begun), kind::SERVER_HELLO) => {
                let choice = Choice::read(message.body())?;
                let randoms = Randoms { client: begun.random, server: choice.random };
                let transcript = Transcript::new(choice.suite, &[&begun.hello, &message.raw]);
                Step::Certificate(Agreed { choice, randoms, transcript })
            }
            (Step::Certificate(mut agreed), kind::CERTIFICATE) => {
                let key = shared.peer_key(message)?;
                agreed.transcript.add(&message.raw);
                let is_rsa = key.kind == Kind::Rsa;
                if is_rsa != (agreed.choice.suite.server_key == ServerKey::Rsa) {
                    return Err(Failure::peer(alert::ILLEGAL_PARAMETER));
                }
                Step::KeyExchange(agreed, key)
            }
            (Step::KeyExchange(agreed, key), kind::SERVER_KEY_EXCHANGE) => {
                Step::Request(read_key_exchange(agreed, &key, message)?)
            }
            (Step::Request(mut exchanging), kind::CERTIFICATE_REQUEST) => {
                check_request(message.body())?;
                exchanging.certificate_wanted = true;
                exchanging.agreed.transcript.add(&message.raw);
                Step::Done(exchanging)
            }
            (Step::Request(exchanging) | Step::Done(exchanging), kind::SERVER_HELLO_DONE) => {
                Step::Finished(answer(now, shared, exchanging, message)?)
            }
            (Step::Finished(proven), kind::FINISHED) => {
                check_finished(message, &proven.master, &proven.transcript, false)?;
                shared.outgoing.forget_flight();
                return Ok(Next::Connected(proven.master.srtp_keys(proven.profile, true)?));
            }
            _ => return Err(Failure::UNEXPECTED),
        };
        Ok(Next::Step(step))
    }
}

fn send_hello(now: Instant, shared: &mut Shared, random: [u8; 32], cookie: &[u8]) -> Step {
    let mut body = Vec::new();
    put_client_hello(&mut body, &random, cookie);
    shared.outgoing.begin_flight();
    let hello = shared.outgoing.message(kind::CLIENT_HELLO, &body).to_vec();
    shared.outgoing.send(now);
    Step::Hello(Begun { random, hello, has_cookie: !cookie.is_empty() })
}

/// Takes ServerKeyExchange (RFC 8422 section 5.4).
fn read_key_exchange(
    mut agreed: Agreed,
    key: &PeerKey,
    message: &Message,
) -> Result<Exchanging, Failure> {
    let body = message.body();
    let mut reader = Reader::new(body);
    let (curve_type, group) = (reader.u8(), reader.u16());
    let theirs = reader.vector8().ok_or(Failure::MALFORMED)?;
    let group = Group::ALL
        .into_iter()
        .find(|known| curve_type == Some(NAMED_CURVE) && group == Some(known.id()))
        .ok_or(Failure::peer(alert::ILLEGAL_PARAMETER))?;
    let randoms = &agreed.randoms;
    let signed = [&randoms.client[..], &randoms.server, &body[..4 + theirs.len()]].concat();
    let (scheme, signature) = read_signature(&mut reader)?;
    key.verify(scheme, &signed, signature)?;
    agreed.transcript.add(&message.raw);
    Ok(Exchanging { agreed, group, theirs: theirs.to_vec(), certificate_wanted: false })
}

/// Takes CertificateRequest (RFC 5246 section 7.4.4). Our certificate is ECDSA on P-256 and signs with SHA-256.
fn check_request(body: &[u8]) -> Result<(), Failure> {
    let mut reader = Reader::new(body);
    let types = reader.vector8().ok_or(Failure::MALFORMED)?;
    let schemes = reader.vector16().ok_or(Failure::MALFORMED)?;
    let takes_ours =
        types.contains(&CERTIFICATE_TYPES[0]) && numbers(schemes).any(|scheme| scheme == OURS.0);
    takes_ours.then_some(()).ok_or(Failure::NOTHING_IN_COMMON)
}

/// Answers the server's flight: Certificate, ClientKeyExchange, CertificateVerify, Finished.
fn answer(
    now: Instant,
    shared: &mut Shared,
    exchanging: Exchanging,
    done: &Message,
) -> Result<Proven, Failure> {
    let Exchanging { agreed, group, theirs, certificate_wanted } = exchanging;
    let Agreed { choice, randoms, mut transcript } = agreed;
    transcript.add(&done.raw);
    let exchange = Exchange::new(group)?;
    shared.outgoing.begin_flight();
    if certificate_wanted {
        shared.push_certificate(&mut transcript);
    }
    shared.push(&mut transcript, kind::CLIENT_KEY_EXCHANGE, |out| {
        put_vector(out, 1, |out| out.extend_from_slice(exchange.public()));
    });
    let session_hash = transcript.hash();
    let master = exchange
        .agree(&theirs, |secret| MasterSecret::new(choice.suite, randoms, secret, &session_hash))?;
    if certificate_wanted {
        let mut verify = Vec::new();
        shared.put_signature(&mut verify, transcript.bytes())?;
        shared.push(&mut transcript, kind::CERTIFICATE_VERIFY, |out| *out = verify);
    }
    let (cipher, server) = master.ciphers()?;
    shared.opener = Some(Opener::new(server));
    let keyed = Keyed { transcript, master, profile: choice.profile, cipher };
    let proven = shared.push_finished(keyed, true)?;
    shared.outgoing.send(now);
    Ok(proven)
}
