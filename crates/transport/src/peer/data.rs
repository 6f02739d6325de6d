//! Data channels of a peer: SCTP packets out of DTLS records, and into them.

use std::time::Instant;

use model::{DataPlan, Delivery, DtlsRole, Payload, SessionPlan};

use super::{Peer, Phase};
use crate::sctp::{Association, ChannelId, DataEvent, OpenError, SendError};

/// What a peer keeps for data channels.
pub(super) struct Data {
    plan: DataPlan,
    /// Created when the first packet comes.
    association: Option<Association>,
}

impl Data {
    pub(super) fn planned(plan: &SessionPlan) -> Option<Box<Self>> {
        plan.data.map(|plan| Box::new(Self { plan, association: None }))
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(association) = &mut self.association
            && association.poll_timeout().is_some_and(|due| now >= due)
        {
            association.handle_timeout(now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.association.as_ref()?.poll_timeout()
    }

    fn association(&mut self, now: Instant, role: DtlsRole) -> &mut Association {
        let plan = &self.plan;
        self.association.get_or_insert_with(|| Association::new(now, plan, role))
    }
}

/// Data channels. After one or several of these calls, and after a `handle_*`, comes [`flush_data`](Peer::flush_data), before
/// [`poll_transmit`](Peer::poll_transmit).
impl Peer {
    /// A renegotiation agreed on data channels: from now on the peer may begin an association. Where there is one, it stays as it is.
    pub fn allow_data(&mut self, plan: DataPlan) {
        if self.data.is_none() {
            self.data = Some(Box::new(Data { plan, association: None }));
            if let Some(dtls) = &mut self.dtls {
                dtls.accept_data();
            }
        }
    }

    /// The next event of the data channels. A caller that takes no more closes the receive window of this peer.
    pub fn poll_data(&mut self, now: Instant) -> Option<DataEvent> {
        self.association()?.poll_event(now)
    }

    /// Whether [`poll_data`](Peer::poll_data) may return something.
    pub fn has_data(&self) -> bool {
        let association = self.data.as_ref().and_then(|data| data.association.as_ref());
        association.is_some_and(Association::has_events)
    }

    /// Opens a data channel.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_channel(
        &mut self,
        now: Instant,
        label: &str,
        protocol: &str,
        delivery: Delivery,
    ) -> Result<ChannelId, OpenError> {
        let association = self.association().ok_or(OpenError::NotOpen)?;
        association.open(now, label, protocol, delivery)
    }

    /// Sends a message in a data channel.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent.
    pub fn send_data(
        &mut self,
        now: Instant,
        channel: ChannelId,
        payload: &Payload,
    ) -> Result<(), SendError> {
        let association = self.association().ok_or(SendError::NotOpen)?;
        association.send(now, channel, payload)
    }

    /// Closes a data channel. No event follows.
    pub fn close_channel(&mut self, now: Instant, channel: ChannelId) {
        if let Some(association) = self.association() {
            association.close(now, channel);
        }
    }

    /// Makes the datagrams of the data channels that are due.
    pub fn flush_data(&mut self, now: Instant) {
        if let Some(association) = self.association() {
            association.flush(now);
        }
    }

    /// Bytes and messages of data channels that wait for the peer's acknowledgement.
    pub fn data_waiting(&mut self) -> (usize, usize) {
        self.association().map_or((0, 0), Association::waiting)
    }

    fn association(&mut self) -> Option<&mut Association> {
        let connected = self.phase == Phase::Connected;
        self.data.as_mut().filter(|_| connected)?.association.as_mut()
    }

    /// Takes the application data of the latest datagram.
    pub(super) fn take_data(&mut self, now: Instant) {
        let (Some(data), Some(dtls)) = (&mut self.data, &mut self.dtls) else { return };
        while let Some(packet) = dtls.poll_data() {
            data.association(now, self.role).handle(now, &packet);
        }
    }

    /// Writes the next SCTP packet as a datagram.
    pub(super) fn seal_data(&mut self, out: &mut Vec<u8>) -> bool {
        if self.phase != Phase::Connected {
            return false;
        }
        let (Some(data), Some(dtls)) = (&mut self.data, &mut self.dtls) else { return false };
        let packet = data.association.as_mut().and_then(Association::poll_transmit);
        packet.is_some_and(|packet| dtls.seal(&packet, out))
    }
}
