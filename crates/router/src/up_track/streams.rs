//! Maps the SSRCs of one session to streams (RFC 8843 section 9.2): by the offer's `a=ssrc` lines, else by the `mid`
//! and `rid` header extensions (RFC 8852), else by a payload type that only one media section has. All other packets
//! are refused (threats row 30).
//!
//! A *role* is one layer of one media section, for media or for retransmissions. One SSRC at a time is live in a role,
//! so the table is bounded by the plan, however many SSRCs a long session has used.

use std::time::{Duration, Instant};

use model::{DropReason, Mid, Pt, Rid, SessionPlan, Ssrc, TrackId, UpMedia};
use rtp::ParsedExtensions;

use crate::MAX_LAYERS;

/// Replaced SSRCs that are remembered. Their packets are refused, so that the old and the new SSRC do not alternate.
const RETIRED_MAX: usize = 16;
/// An SSRC that took a role from another one and still sends keeps it for this long. Each change makes every viewer
/// wait for a key frame, so a publisher that changes SSRC with each packet must not cause one per packet.
const HOLD: Duration = Duration::from_secs(1);
/// A holder that sent nothing for this long has stopped: a new SSRC then need not wait for the end of [`HOLD`].
const QUIET: Duration = Duration::from_millis(200);
/// A replaced SSRC gets its role back when the present holder sent nothing for this long.
const RETURN: Duration = Duration::from_secs(1);

/// The stream that an SSRC of a publisher belongs to.
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
    /// The offer named it, and it sent no packet yet.
    Named,
    /// It holds its role. The time is when it took the role from another SSRC, if it did.
    Live(Option<Instant>),
    /// Another SSRC took its role.
    Retired,
}

#[derive(Debug)]
struct Entry {
    stream: StreamRef,
    state: State,
    /// When its last accepted packet arrived; `None` before the first one.
    heard: Option<Instant>,
}

impl Entry {
    fn quiet_for(&self, now: Instant) -> Duration {
        self.heard.map_or(Duration::MAX, |heard| now.saturating_duration_since(heard))
    }
}

/// The parts of a media section that streams are told apart by.
#[derive(Debug)]
struct Media {
    track: TrackId,
    mid: Mid,
    rids: Vec<Rid>,
    /// Layers by SSRC lines; 0 or 1 without simulcast by SSRCs.
    ssrcs: usize,
    /// Payload type, and whether it is for retransmissions.
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

    /// Whether the payload type is for retransmissions; `None` if the section does not have it.
    fn role(&self, pt: Pt) -> Option<bool> {
        self.pts.iter().find(|(p, _)| *p == pt).map(|(_, is_rtx)| *is_rtx)
    }

    /// Number of layers: the number of rids or of SSRC lines, whichever is larger; at least one.
    fn layers(&self) -> usize {
        self.rids.len().max(self.ssrcs).clamp(1, MAX_LAYERS)
    }

    /// How many SSRCs may be live in the section at once.
    fn roles(&self) -> usize {
        let has_rtx = self.pts.iter().any(|(_, is_rtx)| *is_rtx);
        self.layers() * (1 + usize::from(has_rtx))
    }

    fn layer(&self, ext: &ParsedExtensions, is_rtx: bool) -> Option<u8> {
        if self.rids.is_empty() {
            // With several SSRC lines and no rid, an unknown SSRC could be any of the layers.
            return (self.ssrcs <= 1).then_some(0);
        }
        // RFC 8852 section 3: retransmissions have `repaired-rid`; some senders use `rid` for them as well.
        let rid = if is_rtx { ext.repaired_rid.or(ext.rid) } else { ext.rid }?;
        self.rids.iter().position(|r| *r == rid).map(|at| at as u8)
    }
}

/// The SSRCs of one session.
#[derive(Debug)]
pub struct StreamTable {
    media: Vec<Media>,
    entries: Vec<Entry>,
}

impl StreamTable {
    /// The table of a session, with the SSRCs that the offer named.
    pub fn new(plan: &SessionPlan) -> Self {
        let mut table = Self { media: Vec::new(), entries: Vec::new() };
        table.update(plan);
        table
    }

    /// Applies a renegotiated plan. SSRCs of tracks and layers that still exist stay, also if the position of the
    /// track changed.
    pub fn update(&mut self, plan: &SessionPlan) {
        let media: Vec<Media> = plan.up.iter().take(usize::from(u8::MAX)).map(Media::new).collect();
        let before = std::mem::replace(&mut self.media, media);
        let media = &self.media;
        self.entries.retain_mut(|e| {
            let Some(old) = before.get(usize::from(e.stream.up)) else { return false };
            let Some(up) = media.iter().position(|m| m.track == old.track) else { return false };
            e.stream.up = up as u8;
            // SSRCs that the last offer named and that never sent are added again below, if this offer still names
            // them.
            e.state != State::Named && usize::from(e.stream.layer) < media[up].layers()
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

    /// Most SSRCs that the session must tell apart at once: one in each role, and those that were replaced recently.
    /// Other tables by SSRC (SRTP contexts) need room for as many.
    pub fn ssrcs_max(&self) -> usize {
        self.media.iter().map(Media::roles).sum::<usize>() + RETIRED_MAX
    }

    /// The stream of an SSRC that the offer named or that holds a role. It scans at most [`StreamTable::ssrcs_max`]
    /// entries, and those that a later offer named and that sent nothing yet.
    pub fn lookup(&self, ssrc: Ssrc) -> Option<StreamRef> {
        self.entry(ssrc).filter(|e| e.state != State::Retired).map(|e| e.stream)
    }

    /// The stream of a packet's SSRC, which gets its role if it is new. Call it for authenticated packets only.
    ///
    /// # Errors
    /// - `UnknownStream`: its mid or rid was not negotiated, nothing tells which stream it is, or the SSRC was
    ///   replaced by another one that still sends.
    /// - `UnknownPayloadType`: its media section has no such payload type.
    /// - `TooManyStreams`: another SSRC took the same role less than a second ago and still sends.
    pub fn resolve(
        &mut self,
        now: Instant,
        ssrc: Ssrc,
        pt: Pt,
        ext: &ParsedExtensions,
    ) -> Result<StreamRef, DropReason> {
        let Some(at) = self.entries.iter().position(|e| e.stream.ssrc == ssrc) else {
            return self.learn(now, ssrc, pt, ext);
        };
        let entry = &mut self.entries[at];
        let stream = entry.stream;
        if let State::Live(_) = entry.state {
            entry.heard = Some(now);
            return Ok(stream);
        }
        if entry.state == State::Retired
            && self.holder(&stream).is_some_and(|holder| holder.quiet_for(now) < RETURN)
        {
            return Err(DropReason::UnknownStream);
        }
        Ok(self.take_role(now, stream))
    }

    fn learn(
        &mut self,
        now: Instant,
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
        let stream = StreamRef { up, layer, is_rtx, ssrc };
        if let Some(holder) = self.holder(&stream)
            && let State::Live(Some(since)) = holder.state
            && now.saturating_duration_since(since) < HOLD
            && holder.quiet_for(now) < QUIET
        {
            return Err(DropReason::TooManyStreams);
        }
        if ext.mid.is_some() {
            // A mid is the publisher's own statement that the SSRC belongs to the section, whatever the offer named. A
            // payload type says less: then an SSRC that the offer named still takes the role when it sends.
            self.retire(|e| e.state == State::Named && e.stream.has_role_of(&stream));
        }
        Ok(self.take_role(now, stream))
    }

    /// Makes an SSRC the live one of its role.
    fn take_role(&mut self, now: Instant, stream: StreamRef) -> StreamRef {
        let since = self.holder(&stream).map(|_| now);
        self.entries.retain(|e| e.stream.ssrc != stream.ssrc);
        self.retire(|e| matches!(e.state, State::Live(_)) && e.stream.has_role_of(&stream));
        self.entries.push(Entry { stream, state: State::Live(since), heard: Some(now) });
        stream
    }

    /// Marks SSRCs as replaced. If there are more than [`RETIRED_MAX`], those that were silent longest are forgotten.
    fn retire(&mut self, which: impl Fn(&Entry) -> bool) {
        self.entries.iter_mut().filter(|e| which(e)).for_each(|e| e.state = State::Retired);
        let is_retired = |e: &Entry| e.state == State::Retired;
        while self.entries.iter().filter(|e| is_retired(e)).count() > RETIRED_MAX {
            let retired = self.entries.iter().enumerate().filter(|(_, e)| is_retired(e));
            let Some((oldest, _)) = retired.min_by_key(|(_, e)| e.heard) else { break };
            self.entries.remove(oldest);
        }
    }

    /// The SSRC that is live in a role.
    fn holder(&self, stream: &StreamRef) -> Option<&Entry> {
        let mut live = self.entries.iter().filter(|e| matches!(e.state, State::Live(_)));
        live.find(|e| e.stream.has_role_of(stream))
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

    /// Adds an SSRC that the offer names. One that is already known in that role is not changed.
    fn name(&mut self, stream: StreamRef) {
        if self.entry(stream.ssrc).is_some_and(|e| e.stream == stream) {
            return;
        }
        self.entries.retain(|e| e.stream.ssrc != stream.ssrc);
        self.entries.push(Entry { stream, state: State::Named, heard: None });
    }

    fn entry(&self, ssrc: Ssrc) -> Option<&Entry> {
        self.entries.iter().find(|e| e.stream.ssrc == ssrc)
    }
}
