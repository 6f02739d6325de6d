//! One worker's view of a track.
use std::sync::Arc;
use std::time::Instant;
use model::{TrackId, UpMedia};
use crate::{Packet, SenderInfo};

/// What the down-tracks of one worker need of a track. The owner of the track has one too.
#[derive(Debug)]
pub struct TrackMirror {}

impl TrackMirror {
    /// A mirror that has seen nothing yet.
    pub fn new(_media: &UpMedia) -> Self {
        todo!()
    }

    /// The track.
    pub fn track(&self) -> TrackId {
        todo!()
    }

    /// Takes a packet in, in the order in which the up-track accepted it; call it before the packet is forwarded.
    pub fn receive(&mut self, _packet: Arc<Packet>) {
        todo!()
    }

    /// Takes a sender report of a layer in.
    pub fn sender_report(&mut self, _layer: u8, _epoch: u8, _info: SenderInfo) {
        todo!()
    }

    /// When the last packet of any layer came.
    pub fn last_arrival(&self) -> Option<Instant> {
        todo!()
    }
}
