//! Which SSRC is what, in one session: from the offer's `a=ssrc` lines, or learned from the `mid` and `rid` header
//! extensions (RFC 8843 section 9.2, RFC 8852), or, for publishers that send none of these, from a payload type that
//! only one media section has. Everything else is refused (threats row 30).

use model::{DropReason, Mid, Pt, Rid, SessionPlan, Ssrc, TrackId, UpMedia};
use rtp::ParsedExtensions;

use crate::MAX_LAYERS;

/// SSRCs that one session may use, those given up included.
const MAX_STREAMS: usize = 20;

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

impl StreamRef {
    fn has_role_of(&self, other: &StreamRef) -> bool {
        (self.up, self.layer, self.is_rtx) == (other.up, other.layer, other.is_rtx)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The offer named it.
    Named,
    /// It was learned from a packet.
    Learned,
    /// Another SSRC took its role; what still comes of it is refused, so that the two do not take turns.
    Retired,
}

#[derive(Debug)]
struct Entry {
    stream: StreamRef,
    state: State,
}

/// A media section, as far as streams are told apart by it.
#[derive(Debug)]
struct Media {
    track: TrackId,
    mid: Mid,
    rids: Vec<Rid>,
    /// Layers by SSRC lines; 0 or 1 without simulcast of the old style.
    ssrcs: usize,
    /// Payload type, and whether it is one of retransmissions.
    pts: Vec<(Pt, bool)>,
}

impl Media {
    fn new(up: &UpMedia) -> Self {
        let pts = up
            .codecs
            .iter()
            .flat_map(|c| std::iter::once((c.pt, false)).chain(c.rtx_pt.map(|pt| (pt, true))));
        Self {
            track: up.track,
            mid: up.mid,
            rids: up.rids.iter().take(MAX_LAYERS).copied().collect(),
            ssrcs: up.ssrcs.len(),
            pts: pts.collect(),
        }
    }

    /// Whether the payload type is one of retransmissions; `None` when it is not of this section.
    fn role(&self, pt: Pt) -> Option<bool> {
        self.pts.iter().find(|(p, _)| *p == pt).map(|(_, is_rtx)| *is_rtx)
    }

    fn layer(&self, ext: &ParsedExtensions, is_rtx: bool) -> Option<u8> {
        if self.rids.is_empty() {
            // Several SSRC lines and no rid: an unknown SSRC could be any of the layers.
            return (self.ssrcs <= 1).then_some(0);
        }
        // RFC 8852 section 3: retransmissions say `repaired-rid`; some senders say `rid` there as well.
        let rid = if is_rtx { ext.repaired_rid.or(ext.rid) } else { ext.rid }?;
        self.rids.iter().position(|r| *r == rid).map(|at| at as u8)
    }
}

/// The SSRCs of one session: at most 20, learned from the plan and from header extensions.
#[derive(Debug)]
pub struct StreamTable {
    media: Vec<Media>,
    entries: Vec<Entry>,
}

impl StreamTable {
    /// The table of a session; knows the SSRCs that the offer named.
    pub fn new(plan: &SessionPlan) -> Self {
        let mut table = Self { media: Vec::new(), entries: Vec::with_capacity(MAX_STREAMS) };
        table.update(plan);
        table
    }

    /// Takes a renegotiated plan. SSRCs of layers of tracks that are still there stay, wherever the tracks stand now.
    pub fn update(&mut self, plan: &SessionPlan) {
        let media: Vec<Media> = plan.up.iter().take(usize::from(u8::MAX)).map(Media::new).collect();
        let before = std::mem::replace(&mut self.media, media);
        let media = &self.media;
        self.entries.retain_mut(|e| {
            let Some(old) = before.get(usize::from(e.stream.up)) else { return false };
            let Some(up) = media.iter().position(|m| m.track == old.track) else { return false };
            e.stream.up = up as u8;
            usize::from(e.stream.layer) < media[up].rids.len().max(media[up].ssrcs).max(1)
        });
        for (up, media) in plan.up.iter().enumerate().take(self.media.len()) {
            for (layer, named) in media.ssrcs.iter().enumerate().take(MAX_LAYERS) {
                let (up, layer) = (up as u8, layer as u8);
                self.name(StreamRef { up, layer, is_rtx: false, ssrc: named.media });
                if let Some(ssrc) = named.rtx {
                    self.name(StreamRef { up, layer, is_rtx: true, ssrc });
                }
            }
        }
    }

    /// What a known SSRC stands for. A scan over at most 20 entries.
    pub fn lookup(&self, ssrc: Ssrc) -> Option<StreamRef> {
        self.entry(ssrc).filter(|e| e.state != State::Retired).map(|e| e.stream)
    }

    /// Looks an SSRC up, and learns it when it is new. Call it for authenticated packets only.
    ///
    /// # Errors
    /// - `UnknownStream`: mid or rid were not negotiated, or nothing tells which stream it is.
    /// - `UnknownPayloadType`: its media section has no such payload type.
    /// - `TooManyStreams`: the session used up its 20 SSRCs.
    pub fn resolve(
        &mut self,
        ssrc: Ssrc,
        pt: Pt,
        ext: &ParsedExtensions,
    ) -> Result<StreamRef, DropReason> {
        match self.entry(ssrc) {
            Some(Entry { state: State::Retired, .. }) => Err(DropReason::UnknownStream),
            Some(entry) => Ok(entry.stream),
            None => self.learn(ssrc, pt, ext),
        }
    }

    fn learn(
        &mut self,
        ssrc: Ssrc,
        pt: Pt,
        ext: &ParsedExtensions,
    ) -> Result<StreamRef, DropReason> {
        let (up, is_rtx) = match ext.mid {
            Some(mid) => self.by_mid(mid, pt)?,
            None => self.by_payload_type(pt)?,
        };
        let media = self.media.get(usize::from(up)).ok_or(DropReason::UnknownStream)?;
        let layer = media.layer(ext, is_rtx).ok_or(DropReason::UnknownStream)?;
        if self.entries.len() >= MAX_STREAMS {
            return Err(DropReason::TooManyStreams);
        }
        let stream = StreamRef { up, layer, is_rtx, ssrc };
        for entry in self.entries.iter_mut().filter(|e| e.stream.has_role_of(&stream)) {
            if entry.state == State::Named && ext.mid.is_none() {
                // The offer named another SSRC, and nothing but the payload type speaks for this one.
                return Err(DropReason::UnknownStream);
            }
            entry.state = State::Retired;
        }
        self.entries.push(Entry { stream, state: State::Learned });
        Ok(stream)
    }

    fn by_mid(&self, mid: Mid, pt: Pt) -> Result<(u8, bool), DropReason> {
        let at = self.media.iter().position(|m| m.mid == mid).ok_or(DropReason::UnknownStream)?;
        let is_rtx = self.media[at].role(pt).ok_or(DropReason::UnknownPayloadType)?;
        Ok((at as u8, is_rtx))
    }

    fn by_payload_type(&self, pt: Pt) -> Result<(u8, bool), DropReason> {
        let mut found =
            self.media.iter().enumerate().filter_map(|(at, m)| Some((at as u8, m.role(pt)?)));
        let only = found.next().ok_or(DropReason::UnknownPayloadType)?;
        match found.next() {
            None => Ok(only),
            Some(_) => Err(DropReason::UnknownStream),
        }
    }

    fn name(&mut self, stream: StreamRef) {
        if self.entry(stream.ssrc).is_none() && self.entries.len() < MAX_STREAMS {
            self.entries.push(Entry { stream, state: State::Named });
        }
    }

    fn entry(&self, ssrc: Ssrc) -> Option<&Entry> {
        self.entries.iter().find(|e| e.stream.ssrc == ssrc)
    }
}
