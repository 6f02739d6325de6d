//! The last second or so of packets of one layer.
use std::sync::Arc;
use rtp::sequence::ExtSeq;
use crate::Packet;

/// A ring of packets by extended sequence number.
#[derive(Debug)]
pub struct Cache {}

impl Cache {
    /// The packet with this number, if it is still kept.
    pub fn find(&self, _seq: ExtSeq) -> Option<&Arc<Packet>> {
        todo!()
    }
}
