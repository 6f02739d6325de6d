//! A peer: it offers, checks, connects, sends and receives as a browser does. Sans-IO: datagrams and answers come in,
//! datagrams and requests go out, time is an argument.

pub(crate) mod describe;
pub(crate) mod ice;
pub(crate) mod receive;
pub(crate) mod send;

use std::{net::SocketAddr, time::Duration};

use model::SessionId;
use rtp::rtcp::{self, CompoundIter, RtcpPacket};

use crate::{
    keys::{self, Keys},
    node::{Face, NODE, Request, Response},
    rng::Rng,
};
use describe::{Answer, Answered, Offered};
use ice::Ice;
use receive::In;
use send::{Habits, Out};

/// The hello is repeated until it is answered.
const HELLO_EVERY: Duration = Duration::from_millis(100);

/// What a peer is made to do.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) face: Face,
    pub(crate) room: u8,
    /// Its name; a viewer need not have one.
    pub(crate) who: Option<u16>,
    /// It watches this participant only.
    pub(crate) whom: Option<u16>,
    pub(crate) sections: Vec<Offered>,
    pub(crate) habits: Habits,
}

impl Wish {
    pub(crate) fn sends(&self) -> bool {
        self.face != Face::Watch
    }
}

/// How far a peer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The offer is on its way.
    Offering,
    /// ICE checks and the handshake are under way.
    Connecting,
    /// Connected since then.
    Up(Duration),
    /// The session ended.
    Over(End),
}

impl Phase {
    /// How long nobody else gets the address of a peer that is in this phase when it leaves it. Translators keep an address for
    /// minutes (RFC 4787 section 4.3), and a node lets no other session check from it while it believes in the peer (threats
    /// row 61), which is for 30 s if the peer vanished or moved away. A goodbye takes its time to be heard.
    pub(crate) fn keeps_address(self) -> Duration {
        match self {
            Phase::Over(end) if !matches!(end, End::Vanished | End::Silence) => {
                Duration::from_secs(3)
            }
            _ => Duration::from_secs(31),
        }
    }
}

/// How a session ended for its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The offer was refused.
    Refused,
    /// The peer deleted its session.
    Left,
    /// The peer's machine is gone, without a goodbye.
    Vanished,
    /// The node sent a goodbye.
    Goodbye,
    /// The node stopped answering.
    Silence,
}

/// See the module's head.
pub(crate) struct Peer {
    pub(crate) id: u16,
    pub(crate) wish: Wish,
    pub(crate) phase: Phase,
    pub(crate) session: Option<SessionId>,
    /// Since when everything works: connected, and the node knows the present address.
    pub(crate) fine_since: Option<Duration>,
    /// It works again after a move, during which packets were lost whatever the line is.
    pub(crate) has_moved: bool,
    pub(crate) address: SocketAddr,
    pub(crate) out: Option<Out>,
    pub(crate) input: Option<In>,
    /// Every ufrag with password that the node gave this peer: none of them may be answered at the end.
    pub(crate) credentials: Vec<(String, String)>,
    seed: u64,
    rng: Rng,
    ice: Ice,
    /// Credentials of a restart that is on its way.
    renewed: Option<(String, String)>,
    /// Sections of a later offer that is on its way.
    offered: Option<Vec<Offered>>,
    offers: u64,
    hello_at: Option<Duration>,
    datagrams: Vec<Vec<u8>>,
}

impl Peer {
    /// A peer that has offered nothing yet.
    pub(crate) fn new(seed: u64, id: u16, wish: Wish, address: SocketAddr, mut rng: Rng) -> Self {
        let ice = Ice::new(&mut rng);
        Self {
            id,
            wish,
            phase: Phase::Offering,
            session: None,
            fine_since: None,
            has_moved: false,
            address,
            out: None,
            input: None,
            credentials: Vec::new(),
            seed,
            rng,
            ice,
            renewed: None,
            offered: None,
            offers: 0,
            hello_at: None,
            datagrams: Vec::new(),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over(_))
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up(_))
    }

    /// The request that begins everything.
    pub(crate) fn offer(&mut self) -> Request {
        self.offers += 1;
        let Wish { face, room, who, whom, sections, .. } = self.wish.clone();
        let offer = describe::offer(self.offers, &self.ice.ufrag, &self.ice.pwd, &sections);
        Request::Enter { face, room, who, whom, offer, sections }
    }

    /// The request for an ICE restart. `None` while another request is under way.
    pub(crate) fn restart(&mut self) -> Option<Request> {
        let session = self.session.filter(|_| self.is_idle())?;
        let (ufrag, pwd) = self.ice.renew(&mut self.rng);
        let fragment = describe::restart(&ufrag, &pwd);
        self.renewed = Some((ufrag, pwd));
        Some(Request::Restart { session, fragment })
    }

    /// A later offer, with new ICE credentials perhaps. `None` while another request is under way.
    pub(crate) fn renegotiate(
        &mut self,
        sections: Vec<Offered>,
        restarts: bool,
    ) -> Option<Request> {
        let session = self.session.filter(|_| self.is_idle())?;
        if restarts {
            self.renewed = Some(self.ice.renew(&mut self.rng));
        }
        self.offers += 1;
        let current = (self.ice.ufrag.clone(), self.ice.pwd.clone());
        let (ufrag, pwd) = self.renewed.clone().unwrap_or(current);
        let offer = describe::offer(self.offers, &ufrag, &pwd, &sections);
        self.offered = Some(sections.clone());
        Some(Request::Renegotiate { session, offer, sections })
    }

    /// Whether no request is under way.
    fn is_idle(&self) -> bool {
        !matches!(self.phase, Phase::Offering | Phase::Over(_))
            && self.renewed.is_none()
            && self.offered.is_none()
    }

    /// The peer sends from another address from now on.
    pub(crate) fn moved(&mut self, now: Duration, address: SocketAddr, aware: bool) {
        self.address = address;
        self.fine_since = None;
        self.has_moved = true;
        self.ice.moved(now, aware);
    }

    /// Ends the peer; it sends nothing any more.
    pub(crate) fn end(&mut self, how: End) {
        if !self.is_over() {
            self.phase = Phase::Over(how);
        }
        self.fine_since = None;
        self.ice.end();
        self.hello_at = None;
        self.datagrams.clear();
    }

    /// Takes what signaling answered.
    ///
    /// # Errors
    /// Something that no correct node answers.
    pub(crate) fn take_response(
        &mut self,
        now: Duration,
        response: Response,
    ) -> Result<(), String> {
        if self.is_over() {
            return Ok(());
        }
        match response {
            Response::Accepted { session, answer } => self.take_answer(now, session, &answer),
            Response::Renegotiated { answer } => self.take_later_answer(now, &answer),
            Response::Restarted { fragment } => {
                let (ufrag, pwd) = describe::restarted(&fragment)?;
                self.take_credentials(now, ufrag, pwd)
            }
            Response::Closed => Ok(()),
            Response::Refused(why) if self.phase == Phase::Offering => {
                self.end(End::Refused);
                Err(format!("the offer of peer {} was refused: {why}", self.id))
            }
            // The session may have ended meanwhile; the peer learns that by other ways.
            Response::Refused(_) => {
                (self.renewed, self.offered) = (None, None);
                Ok(())
            }
        }
    }

    fn take_answer(
        &mut self,
        now: Duration,
        session: SessionId,
        answer: &str,
    ) -> Result<(), String> {
        let answer = describe::answer(answer)?;
        if answer.node.to_string() != NODE {
            return Err(format!("the answer's candidate is {}, and not {NODE}", answer.node));
        }
        let agreed = agreed(&self.wish.sections, &answer)?;
        let keys = Keys::of(self.seed, session);
        let crypto = |e| format!("keys: {e}");
        let sender = keys.peer_sender().map_err(crypto)?;
        let receiver = keys.peer_receiver().map_err(crypto)?;
        let out = Out::new(now, self.id, sender, self.wish.habits, &agreed, &mut self.rng);
        let own = describe::ssrc(self.id, 0xff, self.rng.next());
        let mut input = In::new(now, receiver, own);
        input.update(None, agreed.iter().map(|(_, answered)| answered))?;
        (self.out, self.input) = (Some(out), Some(input));
        self.session = Some(session);
        self.phase = Phase::Connecting;
        self.credentials.push((answer.ufrag.clone(), answer.pwd.clone()));
        self.ice.begin(now, answer.ufrag, answer.pwd);
        Ok(())
    }

    fn take_later_answer(&mut self, now: Duration, answer: &str) -> Result<(), String> {
        let Some(sections) = self.offered.take() else { return Ok(()) };
        let answer = describe::answer(answer)?;
        let agreed = agreed(&sections, &answer)?;
        self.wish.sections = sections;
        if let (Some(out), Some(input)) = (&mut self.out, &mut self.input) {
            out.update(now, &agreed, &mut self.rng);
            input.update(Some(now), agreed.iter().map(|(_, answered)| answered))?;
        }
        let current = self.credentials.last().is_some_and(|(ufrag, _)| *ufrag == answer.ufrag);
        match (current, self.renewed.is_some()) {
            (true, false) => Ok(()),
            (false, true) => self.take_credentials(now, answer.ufrag, answer.pwd),
            (true, true) => Err("a restart was answered with the credentials of before".into()),
            (false, false) => Err("new credentials, and no restart was asked for".into()),
        }
    }

    /// ICE begins anew, with the credentials that both sides have now.
    fn take_credentials(
        &mut self,
        now: Duration,
        ufrag: String,
        pwd: String,
    ) -> Result<(), String> {
        let Some((ours, our_pwd)) = self.renewed.take() else { return Ok(()) };
        (self.ice.ufrag, self.ice.pwd) = (ours, our_pwd);
        self.credentials.push((ufrag.clone(), pwd.clone()));
        self.ice.begin(now, ufrag, pwd);
        Ok(())
    }

    /// Takes a datagram that came to the present address.
    ///
    /// # Errors
    /// Something that no correct node sends.
    pub(crate) fn take_datagram(
        &mut self,
        now: Duration,
        datagram: &mut [u8],
    ) -> Result<(), String> {
        if self.is_over() {
            return Ok(());
        }
        match datagram.first() {
            Some(0..=3) => self.take_stun(now, datagram),
            Some(20..=63) => {
                if keys::read_done(datagram).is_some_and(|s| Some(s) == self.session) {
                    self.shaken(now);
                }
                Ok(())
            }
            // Media before the keys, or media for a peer that had this address before.
            _ if !self.is_up() => Ok(()),
            // RFC 5761 section 4.
            Some(128..=191) if matches!(datagram.get(1), Some(192..=223)) => {
                self.take_rtcp(now, datagram)
            }
            Some(128..=191) => match &mut self.input {
                Some(input) => input.take_rtp(now, datagram),
                None => Ok(()),
            },
            _ => Err(format!("a datagram that begins with {:?}", datagram.first())),
        }
    }

    fn take_stun(&mut self, now: Duration, datagram: &[u8]) -> Result<(), String> {
        if self.ice.take(now, self.address, datagram)? {
            if self.is_up() {
                self.fine_since = Some(now);
            } else {
                self.hello_at = Some(now);
            }
        }
        Ok(())
    }

    fn shaken(&mut self, now: Duration) {
        if self.phase == Phase::Connecting {
            self.phase = Phase::Up(now);
            self.hello_at = None;
            self.fine_since = self.ice.is_confirmed().then_some(now);
        }
    }

    fn take_rtcp(&mut self, now: Duration, datagram: &mut [u8]) -> Result<(), String> {
        let (Some(input), Some(out)) = (&mut self.input, &mut self.out) else { return Ok(()) };
        let Some(len) = input.open_rtcp(datagram)? else { return Ok(()) };
        let compound = &datagram[..len];
        rtcp::validate(compound).map_err(|e| format!("RTCP of the node: {e:?}"))?;
        let mut goodbye = false;
        for packet in CompoundIter::new(compound).flatten() {
            match packet {
                RtcpPacket::SenderReport(report) => input.take_sender_report(now, &report),
                RtcpPacket::Nack(nack) => {
                    out.missing(now, nack.media, nack.lost(), &mut self.datagrams);
                }
                RtcpPacket::Pli { media, .. } => out.key_frame(media),
                RtcpPacket::Fir(fir) => fir.entries().for_each(|e| out.key_frame(e.ssrc)),
                RtcpPacket::Bye(_) => goodbye = true,
                RtcpPacket::ReceiverReport(report) => {
                    if let Some(block) = report.blocks().find(|b| !out.knows(b.ssrc())) {
                        return Err(format!("a report about SSRC {}, not ours", block.ssrc));
                    }
                }
                _ => {}
            }
        }
        if goodbye {
            self.end(End::Goodbye);
        }
        Ok(())
    }

    /// When [`Peer::handle_timeout`] has to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        if self.is_over() {
            return None;
        }
        let media = self.is_up().then(|| {
            let out = self.out.iter().map(Out::poll_timeout);
            out.chain(self.input.iter().map(In::poll_timeout)).min()
        });
        let all = [self.ice.poll_timeout(), self.hello_at, media.flatten()];
        all.into_iter().flatten().min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Duration) {
        if self.ice.is_gone(now) {
            self.end(End::Silence);
            return;
        }
        if let Some(check) = self.ice.poll_check(now, &mut self.rng) {
            self.datagrams.push(check);
        }
        if let (Some(at), Some(session)) = (self.hello_at, self.session)
            && at <= now
        {
            // Only from an address that the node knows; it ignores others.
            if self.ice.is_confirmed() {
                self.datagrams.push(keys::hello(session));
            }
            self.hello_at = Some(now + HELLO_EVERY);
        }
        if !self.is_up() {
            return;
        }
        let (Some(input), Some(out)) = (&mut self.input, &mut self.out) else { return };
        out.handle_timeout(now, &mut self.datagrams);
        if let Some(rtcp) = input.handle_timeout(now) {
            self.datagrams.extend(out.seal_rtcp(rtcp));
        }
    }

    /// What the peer sends, in order.
    pub(crate) fn poll_datagrams(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.datagrams)
    }
}

/// Compares an answer with its offer. Stopped sections are left out.
fn agreed(offered: &[Offered], answer: &Answer) -> Result<Vec<(Offered, Answered)>, String> {
    let mut agreed = Vec::new();
    for section in offered {
        let answered = answer.sections.iter().find(|a| a.mid == section.mid);
        if section.stopped {
            if answered.is_some() {
                return Err(format!("section {} was stopped, and is answered", section.mid));
            }
            continue;
        }
        let wrong = || format!("section {} is not answered as it was offered", section.mid);
        let answered = answered.filter(|a| a.kind == section.kind).cloned().ok_or_else(wrong)?;
        if answered.receives != section.sends || answered.sends.is_some() != section.receives {
            return Err(wrong());
        }
        agreed.push((section.clone(), answered));
    }
    Ok(agreed)
}
