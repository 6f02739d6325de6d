//! The replay windows of a session's SSRCs. The number of windows is bounded, and no packet is ever accepted twice.
//!
//! When all places are taken, the SSRC that was silent longest is evicted for a new one. Its newest index is kept: if
//! the SSRC sends again, only later packets are accepted, so that no earlier one is accepted twice (RFC 3711 section
//! 3.3.2), and its rollover counter is still known (section 3.3.1).

use super::SrtpError;
use super::window::Window;

/// Most evicted SSRCs in the life of a session. They cannot be forgotten: an attacker that recorded their packets
/// could replay them. A source that changes its SSRC each minute reaches this after 34 hours.
const EVICTED_MAX: usize = 2_048;

/// The replay windows of all SSRCs of one direction and protocol.
pub(super) struct Contexts {
    entries: Vec<Context>,
    /// Number of places; at least one.
    most: u32,
    /// Position of the entry that was found last: packets of an SSRC arrive in runs.
    last: u32,
    /// Boxed, since most sessions have none.
    evicted: Option<Box<Evicted>>,
}

/// One SSRC.
pub(super) struct Context {
    ssrc: u32,
    window: Window,
    /// How many authentic packets the session had when the last one of this SSRC arrived. The SSRC with the lowest
    /// count was silent longest.
    used: u64,
}

/// Evicted SSRCs. Two lists, since only one of them is searched.
#[derive(Default)]
struct Evicted {
    ssrcs: Vec<u32>,
    /// Newest index of each.
    newest: Vec<u64>,
}

/// State of the SSRC of a packet.
pub(super) enum Known<'a> {
    /// It has a place: its window, and its `used` count, which the caller sets if the packet is authentic.
    Placed(&'a mut Window, &'a mut u64),
    /// It was evicted.
    Evicted(Window),
    /// It is new.
    New,
}

impl Contexts {
    pub(super) fn new(most: usize) -> Self {
        let mut contexts = Self { entries: Vec::new(), most: 1, last: 0, evicted: None };
        contexts.set_most(most);
        contexts
    }

    /// Sets the number of places. SSRCs beyond it are evicted when a new one needs a place.
    pub(super) fn set_most(&mut self, most: usize) {
        self.most = u32::try_from(most).unwrap_or(u32::MAX).max(1);
    }

    pub(super) fn find(&mut self, ssrc: u32) -> Known<'_> {
        if self.entries.get(self.last as usize).is_none_or(|context| context.ssrc != ssrc) {
            let Some(at) = self.entries.iter().position(|context| context.ssrc == ssrc) else {
                return self.find_evicted(ssrc);
            };
            self.last = at as u32;
        }
        match self.entries.get_mut(self.last as usize) {
            Some(context) => Known::Placed(&mut context.window, &mut context.used),
            None => Known::New,
        }
    }

    fn find_evicted(&self, ssrc: u32) -> Known<'_> {
        let evicted = self.evicted.as_ref();
        match evicted.and_then(|e| Some(e.newest[e.ssrcs.iter().position(|s| *s == ssrc)?])) {
            Some(newest) => Known::Evicted(Window::resumed(newest)),
            None => Known::New,
        }
    }

    /// Refuses an SSRC for which there can be no place, before its packet is decrypted.
    pub(super) fn has_place(&self) -> Result<(), SrtpError> {
        let is_full = self.entries.len() >= self.most as usize;
        if is_full && self.evicted.as_ref().is_some_and(|e| e.ssrcs.len() >= EVICTED_MAX) {
            return Err(SrtpError::TooManyStreams);
        }
        Ok(())
    }

    /// Gives an SSRC a place after its first authentic packet, or its first one since it was evicted.
    pub(super) fn add(&mut self, ssrc: u32, window: Window, used: u64) {
        if let Some(evicted) = &mut self.evicted
            && let Some(at) = evicted.ssrcs.iter().position(|s| *s == ssrc)
        {
            evicted.ssrcs.swap_remove(at);
            evicted.newest.swap_remove(at);
        }
        while self.entries.len() >= self.most as usize {
            self.evict();
        }
        // Memory for one entry only: most sessions see one to four SSRCs.
        self.entries.reserve_exact(1);
        self.entries.push(Context { ssrc, window, used });
    }

    fn evict(&mut self) {
        let silent = self.entries.iter().enumerate().min_by_key(|(_, context)| context.used);
        let Some((at, _)) = silent else { return };
        let context = self.entries.swap_remove(at);
        let evicted = self.evicted.get_or_insert_default();
        evicted.ssrcs.push(context.ssrc);
        evicted.newest.push(context.window.newest());
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.evicted.is_none()
    }
}
