//! The protocol of one connection: takes records, opens the sealed ones, and passes messages to the handshake of this
//! side's role.
//!
//! An unencrypted record may be forged by an attacker that can forge the peer's address. Before the handshake is
//! complete, a record or message that is out of place is ignored; the first message of each number is used, since DTLS
//! 1.2 cannot tell it from a forged one, and a forged one makes the handshake fail. Once there are keys, unencrypted
//! records are ignored.

use std::collections::VecDeque;
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

/// Sealed records that are kept if they arrive before the keys, since datagrams can be reordered. The flight that
/// makes the keys ends with one, Finished.
const MAX_EARLY: usize = 4;
/// Most records of application data that wait to be taken. The caller takes them after each datagram, in which there is room for 39.
const MAX_DATA: usize = 64;

/// The protocol state of a DTLS 1.2 connection.
pub(super) struct Connection {
    shared: Shared,
    incoming: Incoming,
    /// Sealed records that arrived before the keys.
    early: Vec<Vec<u8>>,
    step: Step,
    /// The result of the handshake, until it is taken.
    keys: Option<srtp::Keys>,
    alerted: bool,
    closed: bool,
    /// Application data of the latest datagrams, until it is taken; `None`: application data is dropped.
    data: Option<VecDeque<Vec<u8>>>,
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
            data: None,
        })
    }

    /// Whether nothing was sent yet: no hello arrived that could be answered.
    pub(super) fn is_fresh(&self) -> bool {
        matches!(self.step, Step::Server(server::Step::Hello))
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.step, Step::Connected)
    }

    /// Whether the peer sent close_notify.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// How many messages of the peer were taken so far.
    pub(super) fn messages_taken(&self) -> u16 {
        self.incoming.taken()
    }

    /// Whether an unencrypted alert ended the handshake since the last call. It may be forged.
    pub(super) fn take_alerted(&mut self) -> bool {
        std::mem::take(&mut self.alerted)
    }

    /// The keys, returned once.
    pub(super) fn take_keys(&mut self) -> Option<srtp::Keys> {
        self.keys.take()
    }

    /// Keeps application data from now on, for [`poll_data`](Self::poll_data).
    pub(super) fn accept_data(&mut self) {
        self.data.get_or_insert_default();
    }

    /// The content of the next record of application data.
    pub(super) fn poll_data(&mut self) -> Option<Vec<u8>> {
        let data = self.data.as_mut()?;
        let next = data.pop_front();
        if data.is_empty() {
            *data = VecDeque::new();
        }
        next
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.shared.outgoing.poll_timeout()
    }

    pub(super) fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.shared.outgoing
    }

    /// Forgets a hello that could not be answered, and everything that arrived with it.
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
                // Without renegotiation there is no third epoch.
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
            // Renegotiation, alerts, old flights: none of it is authenticated.
            return Ok(());
        }
        match record.content_type {
            record::HANDSHAKE => self.take_fragments(now, record.body, false),
            record::ALERT if !self.is_fresh() => {
                self.alerted |= ends_connection(record.body);
                Ok(())
            }
            // ChangeCipherSpec says only what the epochs of the records also say.
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
                // RFC 5246 section 7.2.1: it is answered.
                self.shared.outgoing.alert(alert::WARNING, alert::CLOSE_NOTIFY);
                self.closed = true;
                Ok(())
            }
            record::ALERT if ends_connection(&content) => Err(Failure::ENDED_BY_PEER),
            record::APPLICATION_DATA => {
                // Before the handshake is complete it may not be trusted (RFC 5246 section 7.4.9): the peer sends it again.
                if let Some(data) = self.data.as_mut().filter(|data| data.len() < MAX_DATA)
                    && matches!(self.step, Step::Connected)
                {
                    data.push_back(content);
                }
                Ok(())
            }
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
                // An unencrypted Finished proves nothing, and no other handshake message is sealed.
                continue;
            }
            match self.incoming.insert(&fragment) {
                Inserted::Kept if self.is_connected() => {
                    // Authentic and new: renegotiation (threats row 20).
                    return Err(Failure::UNEXPECTED);
                }
                Inserted::Kept => self.take_messages(now)?,
                // If Finished arrives again, in a record with a new number, our last flight was lost. Unencrypted
                // records do not get here once the connection is complete.
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

/// Whether an alert is fatal or close_notify.
fn ends_connection(content: &[u8]) -> bool {
    matches!(content, [alert::FATAL, _] | [_, alert::CLOSE_NOTIFY])
}
