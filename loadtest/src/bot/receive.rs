//! What a bot's socket receives: demultiplexed, decrypted, and given to ICE, DTLS, publisher or watcher.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use rtp::{parse_header_unprotected, rtcp::CompoundIter};
use transport::{
    demux::{Kind, classify},
    dtls::{DtlsEvent, Endpoint},
};
use udp::SendBatch;

use super::{
    BATCH, Bot, BotEvent, Buffers, Shared, closed, frames::Context, ice::IceEvent, outlet::Outlet,
};
use crate::stats::Tally;

impl Bot {
    /// Reads the socket. `crowded`: more than one message is expected.
    pub(crate) fn receive(
        &mut self,
        crowded: bool,
        shared: &Shared,
        buffers: &mut Buffers,
        tally: &mut Tally,
    ) -> Option<BotEvent> {
        // Bounded, so that a flood to one bot does not delay the others.
        for _ in 0..4 {
            let Buffers { incoming, single, outgoing, plain } = &mut *buffers;
            let incoming = if crowded { incoming } else { single };
            let count = match incoming.recv(&self.socket) {
                Ok(count) => count,
                // For example an ICMP error for an earlier datagram.
                Err(_) => return self.settle(None),
            };
            let now = Instant::now();
            for datagram in incoming.datagrams() {
                if datagram.truncated {
                    continue;
                }
                let from = datagram.path.remote;
                // The kernel's receive time: time that the datagram waited for this thread is the swarm's, not the
                // server's.
                let now = now.checked_sub(datagram.age).unwrap_or(now);
                if let Some(link) = &mut self.link {
                    if !link.receive(now, from, datagram.data.to_vec()) {
                        tally.counters.dropped_by_fault += 1;
                    }
                    continue;
                }
                let plain = plain.as_mut_slice();
                self.take(now, from, datagram.data, shared, outgoing, plain, tally);
            }
            // Fewer messages than there was room for: the socket is empty. Otherwise the next turn reads the rest.
            if count < BATCH {
                break;
            }
        }
        let mut event = self.news.take();
        if std::mem::take(&mut self.dtls_is_busy) {
            event = event.or(self.drain_dtls(Instant::now(), shared, &mut buffers.outgoing, tally));
        }
        if !buffers.outgoing.is_empty() {
            let mut outlet = Outlet {
                now: Instant::now(),
                socket: &self.socket,
                batch: &mut buffers.outgoing,
                link: self.link.as_deref_mut(),
                counters: &mut tally.counters,
            };
            outlet.flush();
        }
        let event = self.settle(event);
        event.or_else(|| self.stall(tally))
    }

    /// Datagrams that the bad line has delayed until now.
    pub(super) fn take_delayed(
        &mut self,
        now: Instant,
        shared: &Shared,
        buffers: &mut Buffers,
        tally: &mut Tally,
    ) {
        while let Some((at, from, mut bytes)) = self.link.as_mut().and_then(|l| l.due_in(now)) {
            let Buffers { outgoing, plain, .. } = &mut *buffers;
            self.take(at, from, &mut bytes, shared, outgoing, plain.as_mut_slice(), tally);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "parts of the thread that are borrowed apart")]
    fn take(
        &mut self,
        now: Instant,
        from: SocketAddr,
        data: &mut [u8],
        shared: &Shared,
        outgoing: &mut SendBatch,
        plain: &mut [u8],
        tally: &mut Tally,
    ) {
        let kind = classify(data);
        self.stirred |= kind != Kind::Rtp;
        match kind {
            Kind::Rtp => self.take_rtp(now, data, shared, plain, tally),
            Kind::Rtcp => self.take_rtcp(now, from, data, outgoing, tally),
            Kind::Stun => self.take_stun(now, from, data, shared, outgoing, tally),
            Kind::Dtls => {
                // Datagrams that are not DTLS, or come after its end, are ignored.
                let _refused = self.dtls.as_mut().map(|dtls| dtls.handle(now, data));
                if self.keys.is_some() {
                    self.dtls_is_busy = true;
                    return;
                }
                // The first media may directly follow the end of the handshake.
                let news = self.drain_dtls(Instant::now(), shared, outgoing, tally);
                self.news = self.news.take().or(news);
            }
            Kind::TurnChannel | Kind::Unknown => {}
        }
    }

    fn take_rtp(
        &mut self,
        now: Instant,
        data: &[u8],
        shared: &Shared,
        plain: &mut [u8],
        tally: &mut Tally,
    ) {
        let (Some(keys), Some(watcher)) = (&mut self.keys, &mut self.watcher) else { return };
        tally.counters.received_bytes += data.len() as u64;
        let opened = parse_header_unprotected(data)
            .ok()
            .and_then(|header| keys.1.open_rtp(data, header.header_len(), plain).ok());
        let Some(opened) = opened else {
            tally.counters.undecryptable += 1;
            return;
        };
        let joined_ns = shared.clock.ns(self.started);
        let mut context = Context {
            now,
            run: shared.run,
            clock: &shared.clock,
            directory: &shared.directory,
            tally,
            delays: &mut self.delays,
            joined_ns,
            awaits: self.plan.role.awaits(),
            has_begun: &mut self.has_begun,
            has_heard: &mut self.has_heard,
            awaited: self.conversation.as_mut().map(|conversation| &mut conversation.awaited),
        };
        watcher.handle_rtp(&mut context, &plain[..opened.len]);
    }

    fn take_rtcp(
        &mut self,
        now: Instant,
        from: SocketAddr,
        data: &mut [u8],
        outgoing: &mut SendBatch,
        tally: &mut Tally,
    ) {
        let Some(keys) = &mut self.keys else { return };
        let Ok(len) = keys.1.open_rtcp(data) else {
            tally.counters.undecryptable += 1;
            return;
        };
        let mut outlet = Outlet {
            now,
            socket: &self.socket,
            batch: outgoing,
            link: self.link.as_deref_mut(),
            counters: &mut tally.counters,
        };
        for packet in CompoundIter::new(&data[..len]).map_while(Result::ok) {
            if let Some(watcher) = &mut self.watcher {
                watcher.handle_rtcp(now, &packet);
            }
            if let Some(publisher) = &mut self.publisher {
                publisher.handle_rtcp(&packet, from, &mut keys.0, &mut outlet);
            }
        }
    }

    fn take_stun(
        &mut self,
        now: Instant,
        from: SocketAddr,
        data: &[u8],
        shared: &Shared,
        outgoing: &mut SendBatch,
        tally: &mut Tally,
    ) {
        let Some(agent) = &mut self.agent else { return };
        let mut outlet = Outlet {
            now,
            socket: &self.socket,
            batch: outgoing,
            link: self.link.as_deref_mut(),
            counters: &mut tally.counters,
        };
        let event = agent.handle(now, from, data, |to, bytes| outlet.datagram(to, bytes));
        if let (Some(IceEvent::Selected(_)), None, Some(answer)) = (event, &self.dtls, &self.answer)
        {
            let certificate = Arc::clone(&shared.certificate);
            let prints = answer.fingerprints.clone();
            self.dtls_is_busy = true;
            self.dtls = Some(Box::new(Endpoint::new(now, answer.role, certificate, prints)));
            // The nomination is sent at once, without waiting for a timer.
            agent.handle_timeout(now, |to, bytes| outlet.datagram(to, bytes));
        }
    }

    /// Sends what DTLS has to send, and takes what it reports.
    pub(super) fn drain_dtls(
        &mut self,
        now: Instant,
        shared: &Shared,
        outgoing: &mut SendBatch,
        tally: &mut Tally,
    ) -> Option<BotEvent> {
        let dtls = self.dtls.as_mut()?;
        let to = self.agent.as_ref()?.selected()?;
        let mut outlet = Outlet {
            now,
            socket: &self.socket,
            batch: outgoing,
            link: self.link.as_deref_mut(),
            counters: &mut tally.counters,
        };
        while dtls.poll_transmit(&mut self.scratch) {
            outlet.datagram(to, &self.scratch);
        }
        outlet.flush();
        self.scratch = Vec::new();
        let mut event = None;
        while let Some(dtls_event) = self.dtls.as_mut().and_then(|dtls| dtls.poll_event()) {
            event = match dtls_event {
                DtlsEvent::Connected(keys) => {
                    tally.times.join.record(now.saturating_duration_since(self.started));
                    Some(self.connected(now, &keys, shared))
                }
                DtlsEvent::Closed(reason) => Some(self.fail(closed(reason, self.phase))),
            };
        }
        event
    }
}
