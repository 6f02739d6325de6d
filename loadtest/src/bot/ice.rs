//! A full ICE agent in the controlling role (RFC 8445) towards a server with known candidates: checks, nomination,
//! consent (RFC 7675), and answers to the checks of a server that is a full agent too. One local socket, so a pair is
//! named by its remote address. Sans-IO.
//!
//! Deliberately absent: STUN and TURN servers, the controlled role (a client that offers to a server controls, RFC 8445
//! section 6.1.1), trickle.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;

use super::stun::{self, Check, Class, Message, Transaction};
use crate::random::Random;

/// Time between the first checks of different pairs (RFC 8445 section 14.2: Ta).
const PACE: Duration = Duration::from_millis(50);
/// First retransmission timeout. RFC 8489 section 6.2.1 says 500 ms; on the paths of a test lab 250 ms are enough.
const FIRST_RTO: Duration = Duration::from_millis(250);
const MAX_RTO: Duration = Duration::from_secs(2);
/// Consent checks (RFC 7675 section 5.1): every 5 s, spread by a fifth.
const CONSENT_EVERY: Duration = Duration::from_secs(5);
/// Consent expires after this time without an answer (RFC 7675 section 5.1).
const CONSENT_LIFETIME: Duration = Duration::from_secs(30);
/// Most candidates of the server that are checked.
const MAX_PAIRS: usize = 8;
/// Checks that may wait for an answer at a time.
const MAX_OUTSTANDING: usize = 16;

/// What an agent reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IceEvent {
    /// This address answered: DTLS may begin.
    Selected(SocketAddr),
    /// No answer for 30 s.
    ConsentLost,
}

/// Credentials of one side.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) ufrag: String,
    pub(crate) pwd: String,
}

/// The agent.
#[derive(Debug)]
pub(crate) struct Agent {
    local: Credentials,
    local_key: hmac::Key,
    remote_key: hmac::Key,
    username: String,
    tie_breaker: u64,
    pairs: Vec<Pair>,
    outstanding: Vec<Outstanding>,
    selected: Option<SocketAddr>,
    nominated: bool,
    /// When the last check was answered.
    heard: Instant,
    /// Since when the local address is the present one.
    answered: bool,
    lost: bool,
    random: Random,
}

#[derive(Debug)]
struct Pair {
    remote: SocketAddr,
    due: Instant,
    rto: Duration,
}

#[derive(Debug)]
struct Outstanding {
    transaction: Transaction,
    remote: SocketAddr,
    nominate: bool,
}

impl Agent {
    /// An agent that begins to check `candidates`, the preferred one first.
    pub(crate) fn new(
        now: Instant,
        local: Credentials,
        remote: &Credentials,
        candidates: &[SocketAddr],
        mut random: Random,
    ) -> Agent {
        let pairs = candidates.iter().take(MAX_PAIRS).enumerate();
        Agent {
            local_key: stun::key(&local.pwd),
            remote_key: stun::key(&remote.pwd),
            username: format!("{}:{}", remote.ufrag, local.ufrag),
            local,
            tie_breaker: random.next(),
            pairs: pairs
                .map(|(at, &remote)| Pair { remote, due: now + PACE * at as u32, rto: FIRST_RTO })
                .collect(),
            outstanding: Vec::new(),
            selected: None,
            nominated: false,
            heard: now,
            answered: false,
            lost: false,
            random,
        }
    }

    /// The address to send to.
    pub(crate) fn selected(&self) -> Option<SocketAddr> {
        self.selected
    }

    /// When [`Agent::handle_timeout`] has to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.lost {
            return None;
        }
        let checks = self.pairs.iter().map(|pair| pair.due).min();
        let consent = self.selected.map(|_| self.heard + CONSENT_LIFETIME);
        [checks, consent].into_iter().flatten().min()
    }

    /// Sends the checks that are due.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        mut send: impl FnMut(SocketAddr, &[u8]),
    ) -> Option<IceEvent> {
        if self.lost {
            return None;
        }
        if self.selected.is_some() && now >= self.heard + CONSENT_LIFETIME {
            self.lost = true;
            return Some(IceEvent::ConsentLost);
        }
        for at in 0..self.pairs.len() {
            if self.pairs[at].due > now {
                continue;
            }
            let remote = self.pairs[at].remote;
            let nominate = self.selected == Some(remote);
            let bytes = self.check(remote, nominate);
            send(remote, &bytes);
            let spread = 0.8 + 0.4 * self.random.unit();
            let pair = &mut self.pairs[at];
            let settled = self.nominated && self.answered;
            if nominate && settled && self.heard + CONSENT_EVERY * 2 > now {
                pair.due = now + CONSENT_EVERY.mul_f64(spread);
            } else {
                pair.due = now + pair.rto;
                pair.rto = (pair.rto * 2).min(MAX_RTO);
            }
        }
        None
    }

    /// Takes a STUN message. One that is not for this agent or not authentic is ignored (RFC 8489 section 6.3).
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &[u8],
        mut send: impl FnMut(SocketAddr, &[u8]),
    ) -> Option<IceEvent> {
        let message = Message::parse(bytes)?;
        match message.class {
            Class::Request => {
                self.answer(from, &message, &mut send);
                None
            }
            Class::Success => self.succeed(now, from, &message),
            // A refused check is repeated until the time to join is over.
            Class::Error => None,
        }
    }

    /// The local address has changed: the pair in use is checked at once, and again until there is an answer.
    pub(crate) fn moved(&mut self, now: Instant) {
        self.answered = false;
        for pair in &mut self.pairs {
            pair.due = now;
            pair.rto = FIRST_RTO;
        }
    }

    fn check(&mut self, remote: SocketAddr, nominate: bool) -> Vec<u8> {
        let mut transaction = [0; 12];
        transaction[..8].copy_from_slice(&self.random.next().to_be_bytes());
        transaction[8..].copy_from_slice(&self.random.ssrc().to_be_bytes());
        if self.outstanding.len() == MAX_OUTSTANDING {
            self.outstanding.remove(0);
        }
        self.outstanding.push(Outstanding { transaction, remote, nominate });
        let (username, key, tie_breaker) = (&self.username, &self.remote_key, self.tie_breaker);
        Check { transaction, username, tie_breaker, nominate, key }.to_bytes()
    }

    /// RFC 8445 section 7.3. This agent is controlling, and a server that answers an offer is controlled, so there is
    /// never a role conflict.
    fn answer(
        &self,
        from: SocketAddr,
        request: &Message<'_>,
        send: &mut impl FnMut(SocketAddr, &[u8]),
    ) {
        let ours = request.username.and_then(|name| name.split(|byte| *byte == b':').next());
        if ours == Some(self.local.ufrag.as_bytes()) && request.is_authentic(&self.local_key) {
            send(from, &stun::success(request, from, &self.local_key));
        }
    }

    fn succeed(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &Message<'_>,
    ) -> Option<IceEvent> {
        let at = self.outstanding.iter().position(|o| o.transaction == message.transaction)?;
        // RFC 8445 section 7.2.5.2.1: an answer from another address proves nothing.
        if self.outstanding[at].remote != from || !message.is_authentic(&self.remote_key) {
            return None;
        }
        let nominate = self.outstanding.remove(at).nominate;
        self.heard = now;
        if self.selected.is_none() {
            self.selected = Some(from);
            // The other pairs are not needed any more; this one is nominated at once (RFC 8445 section 8.1.1).
            self.pairs.retain(|pair| pair.remote == from);
            self.moved(now);
            return Some(IceEvent::Selected(from));
        }
        if nominate {
            (self.nominated, self.answered) = (true, true);
            let spread = 0.8 + 0.4 * self.random.unit();
            for pair in &mut self.pairs {
                pair.due = now + CONSENT_EVERY.mul_f64(spread);
                pair.rto = FIRST_RTO;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use model::{IceCredentials, Path};
    use transport::ice::LiteAgent;

    use super::*;

    const SERVER: &str = "192.0.2.1:443";
    const ELSEWHERE: &str = "192.0.2.99:443";
    const US: &str = "198.51.100.1:5000";

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn agents(now: Instant) -> (Agent, LiteAgent) {
        let local = Credentials { ufrag: "usus".into(), pwd: "u".repeat(24) };
        let remote = Credentials { ufrag: "them".into(), pwd: "t".repeat(24) };
        let lite = LiteAgent::new(IceCredentials {
            local_ufrag: remote.ufrag.clone(),
            local_pwd: remote.pwd.clone(),
            remote_ufrag: local.ufrag.clone(),
            remote_pwd: local.pwd.clone(),
        });
        let candidates = [addr(ELSEWHERE), addr(SERVER)];
        (Agent::new(now, local, &remote, &candidates, Random::new(1)), lite)
    }

    /// Lets both sides exchange messages until nothing is left; the server receives only what goes to its address.
    fn run(agent: &mut Agent, lite: &mut LiteAgent, from: Instant, to: Instant) -> Vec<IceEvent> {
        let mut events = Vec::new();
        let mut now = from;
        while let Some(due) = agent.poll_timeout().filter(|due| *due <= to) {
            now = now.max(due);
            let mut sent = Vec::new();
            events.extend(agent.handle_timeout(now, |to, bytes| sent.push((to, bytes.to_vec()))));
            for (to, bytes) in sent {
                if to != addr(SERVER) {
                    continue;
                }
                let path = Path { remote: addr(US), local: addr(SERVER).ip() };
                let outcome = lite.handle_binding_request(now, path, &bytes).unwrap();
                let event = agent.handle(now, addr(SERVER), &outcome.response, |_, _| {
                    panic!("nothing to say to an answer")
                });
                events.extend(event);
            }
        }
        events
    }

    #[test]
    fn the_candidate_that_answers_is_selected_nominated_and_kept() {
        let start = Instant::now();
        let (mut agent, mut lite) = agents(start);
        let events = run(&mut agent, &mut lite, start, start + Duration::from_secs(1));
        assert_eq!(events, [IceEvent::Selected(addr(SERVER))]);
        assert!(lite.is_nominated());
        let hour = start + Duration::from_secs(600);
        assert_eq!(run(&mut agent, &mut lite, start, hour), []);
        assert!(lite.has_consent(hour), "checks went on");
    }

    #[test]
    fn silence_ends_consent_after_half_a_minute() {
        let start = Instant::now();
        let (mut agent, mut lite) = agents(start);
        run(&mut agent, &mut lite, start, start + Duration::from_secs(1));
        let mut checks = 0;
        let (lost, now) = loop {
            let now = agent.poll_timeout().unwrap();
            if let Some(event) = agent.handle_timeout(now, |_, _| checks += 1) {
                break (event, now);
            }
        };
        assert_eq!(lost, IceEvent::ConsentLost);
        assert!((29..=31).contains(&(now - start).as_secs()));
        assert!((5..40).contains(&checks), "{checks}");
        assert_eq!(agent.poll_timeout(), None);
    }

    #[test]
    fn after_a_move_checks_go_on_until_one_is_answered() {
        let start = Instant::now();
        let (mut agent, mut lite) = agents(start);
        run(&mut agent, &mut lite, start, start + Duration::from_secs(1));
        let moved = start + Duration::from_secs(2);
        agent.moved(moved);
        let mut sent = Vec::new();
        // The network loses the first two.
        for _ in 0..2 {
            let due = agent.poll_timeout().unwrap();
            agent.handle_timeout(due, |_, _| sent.push(due - moved));
        }
        assert_eq!(sent, [Duration::ZERO, FIRST_RTO]);
        let later = moved + Duration::from_secs(1);
        run(&mut agent, &mut lite, moved, later);
        let next = agent.poll_timeout().unwrap() - later;
        assert!(next > Duration::from_secs(2), "then it is as before: {next:?}");
    }

    #[test]
    fn answers_that_nobody_asked_for_change_nothing() {
        let now = Instant::now();
        let (mut agent, mut lite) = agents(now);
        let mut sent = Vec::new();
        agent.handle_timeout(now + PACE, |to, bytes| sent.push((to, bytes.to_vec())));
        let (_, bytes) = sent.iter().find(|(to, _)| *to == addr(SERVER)).unwrap();
        let path = Path { remote: addr(US), local: addr(SERVER).ip() };
        let answer = lite.handle_binding_request(now, path, bytes).unwrap().response;
        assert_eq!(agent.handle(now, addr(ELSEWHERE), &answer, |_, _| ()), None);
        let mut forged = answer.clone();
        *forged.last_mut().unwrap() ^= 1;
        forged[30] ^= 1;
        assert_eq!(agent.handle(now, addr(SERVER), &forged, |_, _| ()), None);
        assert_eq!(agent.selected(), None);
        assert!(agent.handle(now, addr(SERVER), &answer, |_, _| ()).is_some());
    }

    #[test]
    fn checks_of_a_full_server_are_answered() {
        let now = Instant::now();
        let (mut agent, _) = agents(now);
        let key = stun::key(&"u".repeat(24));
        let request = |username, key: &hmac::Key| {
            let (transaction, tie_breaker) = ([3; 12], 1);
            Check { transaction, username, tie_breaker, nominate: false, key }.to_bytes()
        };
        let mut answers = Vec::new();
        let mut ask = |bytes: &[u8]| {
            agent.handle(now, addr(SERVER), bytes, |to, bytes| answers.push((to, bytes.to_vec())));
        };
        ask(&request("other:them", &key));
        ask(&request("usus:them", &stun::key("wrong")));
        ask(&request("usus:them", &key));
        assert_eq!(answers.len(), 1);
        let message = Message::parse(&answers[0].1).unwrap();
        assert_eq!(message.mapped_address(), Some(addr(SERVER)));
        assert!(message.is_authentic(&key));
    }
}
