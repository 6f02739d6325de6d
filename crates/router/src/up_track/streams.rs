//! Which SSRC is what, in one session.
use model::{DropReason, Pt, SessionPlan, Ssrc};
use rtp::ParsedExtensions;

/// What an SSRC of a publisher stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamRef {
    /// Position in `SessionPlan::up`.
    pub up: u8,
    /// Layer of that track.
    pub layer: u8,
    /// The SSRC carries retransmissions (RFC 4588).
    pub is_rtx: bool,
    /// The SSRC itself.
    pub ssrc: Ssrc,
}

/// The SSRCs of one session: at most 20, learned from the plan and from header extensions.
#[derive(Debug)]
pub struct StreamTable {}

impl StreamTable {
    /// The table of a session; knows the SSRCs that the offer named.
    pub fn new(_plan: &SessionPlan) -> Self {
        todo!()
    }

    /// Takes a renegotiated plan. Media sections keep their position; SSRCs learned stay.
    pub fn update(&mut self, _plan: &SessionPlan) {
        todo!()
    }

    /// What a known SSRC stands for. A scan over at most 20 words.
    pub fn lookup(&self, _ssrc: Ssrc) -> Option<StreamRef> {
        todo!()
    }

    /// Looks an SSRC up, and learns it when it is new. Call it for authenticated packets only.
    ///
    /// # Errors
    /// `UnknownStream`, `UnknownPayloadType`, `TooManyStreams`.
    pub fn resolve(&mut self, _ssrc: Ssrc, _pt: Pt, _ext: &ParsedExtensions) -> Result<StreamRef, DropReason> {
        todo!()
    }
}
