//! The full ICE agent of a peer: checks towards the one candidate of an ICE-lite node, nomination, consent, restarts. It judges answers
//! with an independent implementation of STUN.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use stun_types::{
    attribute::{RawAttribute, Username, XorMappedAddress},
    message::{
        BINDING, IntegrityAlgorithm, Message, MessageClass, MessageIntegrityCredentials,
        MessageType, MessageWrite, MessageWriteExt, MessageWriteVec, ShortTermCredentials,
    },
};

use crate::rng::Rng;

/// The first retry of a check comes after this time; each later one after twice the time, up to a bound.
const RETRY: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_millis(400);
/// Without an answer for this long the peer gives the node up.
const GONE: Duration = Duration::from_secs(6);
/// Checks that may wait for an answer at a time.
const PENDING_MAX: usize = 32;

const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const ICE_CONTROLLING: u16 = 0x802a;

struct Pending {
    id: u128,
    nominates: bool,
    /// Which of the peer's addresses it was sent from.
    address: u32,
}

/// See the module's head.
pub(crate) struct Ice {
    pub(crate) ufrag: String,
    pub(crate) pwd: String,
    remote: Option<(String, String)>,
    /// Nominates with the first check, as old browsers did (RFC 5245 section 8.1.1.2), or after the first answer.
    aggressive: bool,
    valid: bool,
    /// The node answered a nominating check from the present address.
    confirmed: bool,
    address: u32,
    pending: VecDeque<Pending>,
    next: Option<Duration>,
    retry: Duration,
    consent: Duration,
    /// When the last answer came; before the first one, when checks began.
    heard: Duration,
}

impl Ice {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self {
            ufrag: rng.text(4),
            pwd: rng.text(24),
            remote: None,
            aggressive: rng.chance(500),
            valid: false,
            confirmed: false,
            address: 0,
            pending: VecDeque::new(),
            next: None,
            retry: RETRY,
            consent: rng.millis(1_500, 3_000),
            heard: Duration::ZERO,
        }
    }

    /// Takes the node's credentials and begins to check.
    pub(crate) fn begin(&mut self, now: Duration, ufrag: String, pwd: String) {
        if self.remote.is_none() {
            self.heard = now;
        }
        self.remote = Some((ufrag, pwd));
        (self.next, self.retry) = (Some(now), RETRY);
    }

    /// New credentials of the peer; used from [`Ice::begin`] on.
    pub(crate) fn renew(&mut self, rng: &mut Rng) -> (String, String) {
        (rng.text(4), rng.text(24))
    }

    /// The peer's address changed. A peer that knows of it checks at once; another one with its next consent check.
    pub(crate) fn moved(&mut self, now: Duration, aware: bool) {
        self.address += 1;
        (self.valid, self.confirmed) = (false, false);
        if aware && self.next.is_some() {
            (self.next, self.retry) = (Some(now), RETRY);
        }
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        self.next
    }

    /// The check that is due.
    pub(crate) fn poll_check(&mut self, now: Duration, rng: &mut Rng) -> Option<Vec<u8>> {
        if self.next.is_none_or(|at| at > now) {
            return None;
        }
        let (ufrag, pwd) = self.remote.clone()?;
        let nominates = self.aggressive || self.valid;
        let id = u128::from(rng.next()) << 32 | u128::from(rng.next() as u32);
        if self.pending.len() == PENDING_MAX {
            self.pending.pop_front();
        }
        self.pending.push_back(Pending { id, nominates, address: self.address });
        self.next = Some(now + self.retry);
        // A consent check that is not answered is repeated soon (RFC 7675 section 5.1).
        self.retry = if self.confirmed { RETRY_MAX } else { (self.retry * 2).min(RETRY_MAX) };
        check(id, &format!("{ufrag}:{}", self.ufrag), &pwd, nominates).ok()
    }

    /// Takes an answer. `Ok(true)`: it confirms the present address.
    ///
    /// # Errors
    /// Something that no correct node answers.
    pub(crate) fn take(
        &mut self,
        now: Duration,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<bool, String> {
        let answer = Message::from_bytes(datagram).map_err(|e| format!("STUN: {e:?}"))?;
        let id = u128::from(answer.transaction_id());
        let Some(at) = self.pending.iter().position(|p| p.id == id) else {
            // An answer that came twice, or to a check that is forgotten.
            return Ok(false);
        };
        if !answer.has_class(MessageClass::Success) {
            return Err("a check was answered with an error".into());
        }
        // Credentials may have changed since.
        let Some((_, pwd)) = &self.remote else { return Ok(false) };
        let key: MessageIntegrityCredentials = ShortTermCredentials::new(pwd.clone()).into();
        let Some(pending) = self.pending.remove(at) else { return Ok(false) };
        if answer.validate_integrity(&key).is_err() {
            return Ok(false);
        }
        let mapped = answer.attribute::<XorMappedAddress>().map_err(|e| format!("STUN: {e:?}"))?;
        if pending.address != self.address {
            return Ok(false);
        }
        let mapped = mapped.addr(answer.transaction_id());
        if mapped != from {
            return Err(format!("a check from {from} was answered as one from {mapped}"));
        }
        self.heard = now;
        let first = !self.valid;
        self.valid = true;
        if pending.nominates && !self.confirmed {
            self.confirmed = true;
            self.next = Some(now + self.consent);
            return Ok(true);
        }
        if first && !self.confirmed {
            // Nominated now.
            (self.next, self.retry) = (Some(now), RETRY);
        }
        if self.confirmed {
            self.next = Some(now + self.consent);
        }
        Ok(false)
    }

    /// Whether the node has stopped answering.
    pub(crate) fn is_gone(&self, now: Duration) -> bool {
        self.next.is_some() && now.saturating_sub(self.heard) > GONE
    }

    /// Ends the checks.
    pub(crate) fn end(&mut self) {
        self.next = None;
    }
}

/// A Binding request (RFC 8445 section 7.2.4).
///
/// # Errors
/// The STUN implementation refuses the text.
pub(crate) fn check(
    id: u128,
    username: &str,
    password: &str,
    nominates: bool,
) -> Result<Vec<u8>, String> {
    let kind = MessageType::from_class_method(MessageClass::Request, BINDING);
    let mut request = Message::builder(kind, id.into(), MessageWriteVec::new());
    let wrong = |e: &dyn std::fmt::Debug| format!("STUN: {e:?}");
    let username = Username::new(username).map_err(|e| wrong(&e))?;
    request.add_attribute(&username).map_err(|e| wrong(&e))?;
    let priority = RawAttribute::new(PRIORITY.into(), &[0x6e, 0x7f, 0x1e, 0xff]);
    request.add_attribute(&priority).map_err(|e| wrong(&e))?;
    let controlling = RawAttribute::new(ICE_CONTROLLING.into(), &[7; 8]);
    request.add_attribute(&controlling).map_err(|e| wrong(&e))?;
    if nominates {
        let nominate = RawAttribute::new(USE_CANDIDATE.into(), &[]);
        request.add_attribute(&nominate).map_err(|e| wrong(&e))?;
    }
    let key: MessageIntegrityCredentials = ShortTermCredentials::new(password.into()).into();
    request.add_message_integrity(&key, IntegrityAlgorithm::Sha1).map_err(|e| wrong(&e))?;
    request.add_fingerprint().map_err(|e| wrong(&e))?;
    Ok(request.finish())
}
