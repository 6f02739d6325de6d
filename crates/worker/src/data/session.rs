//! The data channels of one session: which channel carries which topic, what the peer may send, and what waits for it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use model::{
    DataReceived, DataToSend, Delivery, Event, Payload, SessionId, data::ENVELOPE_PROTOCOL,
};
use transport::{
    Peer,
    sctp::{ChannelId, DataEvent, SendError},
};

use super::queue::DataQueue;
use crate::{Counters, RateLimits, rates::DataRates};

/// Events of the data channels taken for one session before the next session has its turn.
const EVENTS_PER_VISIT: usize = 64;
/// Bytes of messages sent to one session before the next session has its turn.
const BYTES_PER_VISIT: usize = 64 * 1024;
/// Messages sent to one session before the next session has its turn.
const MESSAGES_PER_VISIT: usize = 64;
/// When a peer that sent more than it may is read again.
const PAUSE: Duration = Duration::from_millis(50);
/// Lost messages are reported this often.
const LOST_EVERY: Duration = Duration::from_secs(1);

/// A channel that is open.
struct Open {
    id: ChannelId,
    topic: Arc<str>,
    enveloped: bool,
    delivery: Delivery,
}

/// The data channels of one session.
pub(crate) struct SessionData {
    channels: Vec<Open>,
    rates: DataRates,
    /// The message that is sent next: taken from the queue, and the peer's channel was full.
    head: Option<Arc<DataToSend>>,
    /// The association stands.
    open: bool,
    /// Reliable messages that were lost and not reported yet.
    lost: u64,
    /// When lost messages may be reported again.
    lost_due: Option<Instant>,
    /// When the session has to be visited though nothing comes.
    pub(super) due: Option<Instant>,
    /// It is in the list of those that are visited.
    pub(super) queued: bool,
}

/// What a visit did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Visit {
    /// There is more to do at once.
    pub(super) more: bool,
    /// Bytes of the messages taken and sent.
    pub(super) bytes: usize,
}

/// What a visit works with.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) id: SessionId,
    pub(super) peer: &'a mut Peer,
    pub(super) queue: Option<&'a DataQueue>,
    pub(super) limits: &'a RateLimits,
    pub(super) counters: &'a Counters,
    /// Receives the events.
    pub(super) report: &'a dyn Fn(Event),
}

/// What became of a message.
enum Sent {
    Done(usize),
    /// The channel is full: later.
    Full,
    Lost,
}

impl SessionData {
    pub(crate) fn new(now: Instant) -> Box<Self> {
        Box::new(Self {
            channels: Vec::new(),
            rates: DataRates::new(now),
            head: None,
            open: false,
            lost: 0,
            lost_due: None,
            due: None,
            queued: false,
        })
    }

    /// When it has to be visited next.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes what the peer sent, within its rate, and sends what waits for it, within a limit.
    pub(super) fn visit(&mut self, context: &mut Context<'_>) -> Visit {
        self.due = None;
        let mut visit = Visit::default();
        self.read(context, &mut visit);
        self.write(context, &mut visit);
        self.report_lost(context);
        context.peer.flush_data(context.now);
        visit
    }

    fn read(&mut self, context: &mut Context<'_>, visit: &mut Visit) {
        let now = context.now;
        for _ in 0..EVENTS_PER_VISIT {
            if !context.peer.has_data() {
                return;
            }
            if !self.rates.allow(now, context.limits) {
                // What is not taken closes the receive window of this peer, whose own channels fill then.
                self.call_at(now + PAUSE);
                return;
            }
            let Some(event) = context.peer.poll_data(now) else { return };
            match event {
                DataEvent::Open => {
                    self.open = true;
                    (context.report)(Event::DataOpen { session: context.id });
                }
                DataEvent::Closed => self.closed(context),
                DataEvent::ChannelOpened { channel, label, protocol, delivery } => {
                    // Messages are not the only ones that cost: opening and closing counts like a message.
                    self.rates.took(0);
                    let enveloped = *protocol == *ENVELOPE_PROTOCOL;
                    self.channels.push(Open { id: channel, topic: label, enveloped, delivery });
                }
                DataEvent::ChannelClosed { channel } => {
                    self.channels.retain(|open| open.id != channel);
                }
                DataEvent::Message { channel, payload } => {
                    let len = payload.as_bytes().len();
                    self.rates.took(len);
                    visit.bytes += len;
                    self.received(context, channel, payload);
                }
            }
        }
        visit.more = context.peer.has_data();
    }

    fn received(&mut self, context: &Context<'_>, channel: ChannelId, payload: Payload) {
        let Some(open) = self.channels.iter().find(|open| open.id == channel) else { return };
        context.counters.data_messages_in.add(1);
        let message = DataReceived {
            topic: Arc::clone(&open.topic),
            enveloped: open.enveloped,
            delivery: open.delivery,
            payload,
        };
        (context.report)(Event::Data { session: context.id, message });
    }

    /// The association ended: what waits for the peer is lost.
    fn closed(&mut self, context: &Context<'_>) {
        self.open = false;
        self.channels = Vec::new();
        if let Some(queue) = context.queue {
            let all = self.head.take().into_iter().chain(std::iter::from_fn(|| queue.pop()));
            // Bounded: signaling is not faster than this, and what it adds waits for another association.
            for message in all.take(65_536) {
                queue.done(&message);
                self.lost += u64::from(message.delivery == Delivery::Reliable);
            }
        }
        (context.report)(Event::DataClosed { session: context.id });
    }

    fn write(&mut self, context: &mut Context<'_>, visit: &mut Visit) {
        let Some(queue) = context.queue else { return };
        let (lost, dropped) = queue.take_dropped();
        self.lost += lost;
        context.counters.data_messages_dropped.add(lost + dropped);
        if !self.open {
            return;
        }
        let mut bytes = 0;
        for _ in 0..MESSAGES_PER_VISIT {
            if bytes >= BYTES_PER_VISIT {
                break;
            }
            let Some(message) = self.head.take().or_else(|| queue.pop()) else {
                visit.bytes += bytes;
                return;
            };
            match self.send(context, &message) {
                Sent::Done(len) => {
                    bytes += len;
                    context.counters.data_messages_out.add(1);
                }
                Sent::Full if message.delivery == Delivery::Reliable => {
                    // The peer's acknowledgements bring this session back.
                    self.head = Some(message);
                    visit.bytes += bytes;
                    return;
                }
                Sent::Full | Sent::Lost => {
                    self.lost += u64::from(message.delivery == Delivery::Reliable);
                    context.counters.data_messages_dropped.add(1);
                }
            }
            queue.done(&message);
        }
        visit.bytes += bytes;
        visit.more = true;
    }

    /// Sends a message in the channel of its topic, which is opened where there is none.
    fn send(&mut self, context: &mut Context<'_>, message: &DataToSend) -> Sent {
        let now = context.now;
        // A channel may have been closed meanwhile; then another one is opened, once.
        for _ in 0..2 {
            let Some((channel, enveloped)) = self.channel(context, message) else {
                return Sent::Lost;
            };
            let payload = if enveloped { &message.enveloped } else { &message.plain };
            match context.peer.send_data(now, channel, payload) {
                Ok(()) => return Sent::Done(payload.as_bytes().len()),
                Err(SendError::Full) => return Sent::Full,
                Err(SendError::TooLong) => return Sent::Lost,
                Err(SendError::NotOpen) => self.channels.retain(|open| open.id != channel),
            }
        }
        Sent::Lost
    }

    /// The channel of a message's topic, and whether it carries envelopes: one that delivers as the message asks, any other of the topic,
    /// or a new one.
    fn channel(
        &mut self,
        context: &mut Context<'_>,
        message: &DataToSend,
    ) -> Option<(ChannelId, bool)> {
        let of_topic = || self.channels.iter().filter(|open| open.topic == message.topic);
        let found = of_topic().find(|open| open.delivery == message.delivery);
        if let Some(open) = found.or_else(|| of_topic().next()) {
            return Some((open.id, open.enveloped));
        }
        let (topic, delivery) = (&message.topic, message.delivery);
        let id = context.peer.open_channel(context.now, topic, ENVELOPE_PROTOCOL, delivery).ok()?;
        self.channels.push(Open { id, topic: Arc::clone(topic), enveloped: true, delivery });
        Some((id, true))
    }

    fn report_lost(&mut self, context: &Context<'_>) {
        if self.lost == 0 {
            return;
        }
        match self.lost_due.filter(|due| *due > context.now) {
            Some(due) => self.call_at(due),
            None => {
                self.lost_due = Some(context.now + LOST_EVERY);
                let messages = std::mem::take(&mut self.lost);
                (context.report)(Event::DataLost { session: context.id, messages });
            }
        }
    }

    fn call_at(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}
