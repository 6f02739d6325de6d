//! The protocol of one connection: records come in, messages are taken by the handshake of our role, and what is sealed
//! is opened.
//!
//! What comes in the clear may be forged by anybody who can forge the peer's address. Before the handshake is done, a
//! record or message that is out of place is ignored; the first message of each number counts, since DTLS 1.2 cannot
//! tell it from a forged one, and a forged one makes the handshake fail. Once there are keys nothing in the clear is
//! looked at.

use std::sync::Arc;
use std::time::Instant;

use model::{DtlsRole, Fingerprint};

use super::failure::{Failure, alert};
use super::handshake::{Next, Shared, kind};
use super::incoming::{Incoming, Inserted, fragments};
use super::outgoing::Outgoing;
use super::record::{self, Record, records};
use super::{Certificate, client, server};
use crate::srtp;

/// Sealed records that are kept when they come before the keys: datagrams change places under way. The flight that
/// makes the keys ends with one, Finished.
const MAX_EARLY: usize = 4;

/// A DTLS 1.2 connection, as far as the protocol goes.
pub(super) struct Connection {
    shared: Shared,
    incoming: Incoming,
    /// Sealed records that came before the keys.
    early: Vec<Vec<u8>>,
    step: Step,
    /// The handshake's result, to be taken once.
    keys: Option<srtp::Keys>,
    alerted: bool,
    closed: bool,
}

enum Step {
    Server(server::Step),
    Client(client::Step),
    Connected,
    /// A step failed, and the connection is about to end.
    Failed,
}

impl Connection {
    /// As a client it sends its ClientHello at once.
    pub(super) fn new(
        now: Instant,
        role: DtlsRole,
        certificate: Arc<Certificate>,
        fingerprints: Vec<Fingerprint>,
    ) -> Result<Self, Failure> {
        let outgoing = Outgoing::default();
        let mut shared = Shared { certificate, fingerprints, outgoing, opener: None };
        let step = match role {
            DtlsRole::Passive => Step::Server(server::Step::Hello),
            DtlsRole::Active => Step::Client(client::Step::begin(now, &mut shared)?),
        };
        Ok(Self {
            shared,
            incoming: Incoming::default(),
            early: Vec::new(),
            step,
            keys: None,
            alerted: false,
            closed: false,
        })
    }

    /// Whether nothing was sent yet: no hello has come that could be answered.
    pub(super) fn is_fresh(&self) -> bool {
        matches!(self.step, Step::Server(server::Step::Hello))
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.step, Step::Connected)
    }

    /// Whether the peer said goodbye.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// How many messages of the peer were taken so far.
    pub(super) fn messages_taken(&self) -> u16 {
        self.incoming.taken()
    }

    /// Whether an alert in the clear said that the handshake is over, since the last time that this was asked. It may
    /// be forged.
    pub(super) fn take_alerted(&mut self) -> bool {
        std::mem::take(&mut self.alerted)
    }

    /// The keys, once.
    pub(super) fn take_keys(&mut self) -> Option<srtp::Keys> {
        self.keys.take()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.shared.outgoing.poll_timeout()
    }

    pub(super) fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.shared.outgoing
    }

    /// Forgets a hello that could not be answered, and all that came with it.
    pub(super) fn begin_anew(&mut self) {
        self.step = Step::Server(server::Step::Hello);
        self.incoming = Incoming::default();
        self.early = Vec::new();
    }

    /// Takes a datagram for which [`record::is_admissible`] is true.
    pub(super) fn handle(&mut self, now: Instant, datagram: &[u8]) -> Result<(), Failure> {
        for record in records(datagram) {
            match record.epoch {
                0 => self.take_plain(now, &record)?,
                1 => self.take_sealed(now, &record)?,
                // There is no third epoch without renegotiation.
                _ => {}
            }
            if self.shared.opener.is_some() && !self.early.is_empty() {
                for early in std::mem::take(&mut self.early) {
                    if let Some(record) = records(&early).next() {
                        self.take_sealed(now, &record)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn take_plain(&mut self, now: Instant, record: &Record<'_>) -> Result<(), Failure> {
        if self.is_connected() {
            // Renegotiation, alerts, old flights: nothing vouches for them.
            return Ok(());
        }
        match record.content_type {
            record::HANDSHAKE => self.take_fragments(now, record.body, false),
            record::ALERT if !self.is_fresh() => {
                self.alerted |= ends_connection(record.body);
                Ok(())
            }
            // ChangeCipherSpec says what the epochs of the records say too.
            _ => Ok(()),
        }
    }

    fn take_sealed(&mut self, now: Instant, record: &Record<'_>) -> Result<(), Failure> {
        let Some(opener) = &mut self.shared.opener else {
            if self.early.len() < MAX_EARLY && !self.is_fresh() {
                self.early.push(record.raw.to_vec());
            }
            return Ok(());
        };
        let Some(content) = opener.open(record) else {
            return Ok(());
        };
        match record.content_type {
            record::HANDSHAKE => self.take_fragments(now, &content, true),
            record::ALERT if content[..] == [alert::WARNING, alert::CLOSE_NOTIFY] => {
                // RFC 5246 section 7.2.1: answer it.
                self.shared.outgoing.alert(alert::WARNING, alert::CLOSE_NOTIFY);
                self.closed = true;
                Ok(())
            }
            record::ALERT if ends_connection(&content) => Err(Failure::TOLD_BY_PEER),
            // Application data: this is where data channels will take it. Until then it is dropped.
            _ => Ok(()),
        }
    }

    fn take_fragments(
        &mut self,
        now: Instant,
        content: &[u8],
        sealed: bool,
    ) -> Result<(), Failure> {
        for fragment in fragments(content) {
            let fresh = self.is_fresh();
            let Some(fragment) = fragment else {
                return if fresh { Err(Failure::MALFORMED) } else { Ok(()) };
            };
            if sealed != (fragment.kind == kind::FINISHED) && !self.is_connected() {
                // Finished proves nothing in the clear, and nothing else of a handshake is sealed.
                continue;
            }
            match self.incoming.insert(&fragment) {
                Inserted::Kept if self.is_connected() => {
                    // Authentic, and new: renegotiation (threats row 20).
                    return Err(Failure::UNEXPECTED);
                }
                Inserted::Kept => self.take_messages(now)?,
                // Our last flight was lost if Finished comes again, in a record of a new number. What is in the clear
                // does not come here once we are connected.
                Inserted::Old if !fresh => self.shared.outgoing.peer_repeats(now),
                Inserted::Refused if fresh => return Err(Failure::MALFORMED),
                Inserted::Old | Inserted::Refused => {}
            }
        }
        Ok(())
    }

    fn take_messages(&mut self, now: Instant) -> Result<(), Failure> {
        while let Some(message) = self.incoming.pop() {
            let shared = &mut self.shared;
            let keys = match std::mem::replace(&mut self.step, Step::Failed) {
                Step::Server(step) => match step.take(now, shared, &message)? {
                    Next::Step(step) => {
                        self.step = Step::Server(step);
                        continue;
                    }
                    Next::Connected(keys) => keys,
                },
                Step::Client(step) => match step.take(now, shared, &message)? {
                    Next::Step(step) => {
                        self.step = Step::Client(step);
                        continue;
                    }
                    Next::Connected(keys) => keys,
                },
                Step::Connected | Step::Failed => return Err(Failure::UNEXPECTED),
            };
            self.step = Step::Connected;
            self.keys = Some(keys);
            self.incoming.clear();
            self.early = Vec::new();
            self.shared.fingerprints = Vec::new();
        }
        Ok(())
    }
}

/// A fatal alert, or close_notify.
fn ends_connection(content: &[u8]) -> bool {
    matches!(content, [alert::FATAL, _] | [_, alert::CLOSE_NOTIFY])
}
