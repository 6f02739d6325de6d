//! The ICE-lite agent of one session: its paths, the selected one, consent, and restarts.
//!
//! A path is learned, and the selected path moves, on an authenticated check only, never on media or DTLS.

use std::time::{Duration, Instant};

use model::{DropReason, IceCredentials, Path};

use super::stun;

/// Most addresses that one session may have.
pub const MAX_PATHS: usize = 8;
/// Consent of a peer lasts this long after its last authenticated check (RFC 7675 section 5.1).
pub const CONSENT_LIFETIME: Duration = Duration::from_secs(30);
/// Credentials from before a restart are honoured this long.
pub const OLD_CREDENTIALS_LIFETIME: Duration = Duration::from_secs(3);
/// A selected path without a check for this long gives way to a nominated path that is being checked: a peer that
/// nominates several paths at once (the aggressive nomination of RFC 5245) checks only the one it uses afterwards.
/// Consent checks come every 4 to 6 s (RFC 7675 section 5.1), so this is three of them lost.
pub const SELECTED_STALE: Duration = Duration::from_secs(15);

/// What a check did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckOutcome {
    /// The response, to be sent back on the path of the request.
    pub response: Vec<u8>,
    /// What changed about the path.
    pub change: PathChange,
}

/// What a check changed about the paths of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathChange {
    /// The path was not valid before, and is now.
    pub validated: bool,
    /// The path was not selected before, and is now.
    pub selected: bool,
    /// The path that had to go for the new one.
    pub removed: Option<Path>,
}

/// ICE-lite state of one session.
#[derive(Debug)]
pub struct LiteAgent {
    credentials: IceCredentials,
    /// Credentials from before a restart, and when they end. In a box: most sessions never have any.
    old: Option<Box<(IceCredentials, Instant)>>,
    /// At most [`MAX_PATHS`].
    paths: Vec<KnownPath>,
    /// Position in `paths`; meaningful when there is a path.
    selected: usize,
    last_check: Option<Instant>,
}

#[derive(Debug)]
struct KnownPath {
    path: Path,
    last_check: Instant,
    nominated: bool,
}

impl LiteAgent {
    /// An agent that knows no path yet.
    pub fn new(credentials: IceCredentials) -> Self {
        Self { credentials, old: None, paths: Vec::new(), selected: 0, last_check: None }
    }

    /// Answers a Binding request that came on `path`. A check that is answered with an error (420, 487) changes
    /// nothing about the paths.
    ///
    /// # Errors
    /// The reason for which to drop the datagram; no state has changed then.
    pub fn handle_binding_request(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &[u8],
    ) -> Result<CheckOutcome, DropReason> {
        let answer = match (stun::respond(datagram, &path, &self.credentials), &self.old) {
            (Err(DropReason::StunUnknownUser), Some(old)) if now < old.1 => {
                stun::respond(datagram, &path, &old.0)?
            }
            (answer, _) => answer?,
        };
        let change = if answer.success {
            self.accept(now, path, answer.nominated)
        } else {
            PathChange::default()
        };
        Ok(CheckOutcome { response: answer.response, change })
    }

    /// Takes note of a check that [`respond`](super::respond) authenticated and answered with success.
    pub fn accept(&mut self, now: Instant, path: Path, nominated: bool) -> PathChange {
        let mut change = PathChange::default();
        self.last_check = Some(now);
        let at = match self.paths.iter().position(|known| known.path == path) {
            Some(at) => at,
            None => {
                change.validated = true;
                change.removed = self.make_room();
                self.paths.push(KnownPath { path, last_check: now, nominated: false });
                self.paths.len() - 1
            }
        };
        self.paths[at].last_check = now;
        // RFC 8445 section 7.3.1.5: the nominated flag stays with the pair.
        self.paths[at].nominated |= nominated;
        if self.should_select(now, at, nominated) {
            change.selected = self.selected != at || change.validated;
            self.selected = at;
        }
        change
    }

    /// The latest nomination wins. Before the first one, any valid path may carry data (RFC 8445 section 12.1): the
    /// first one found does.
    fn should_select(&self, now: Instant, at: usize, nominated: bool) -> bool {
        let selected = &self.paths[self.selected];
        nominated
            || self.paths.len() == 1
            || (self.paths[at].nominated && now >= selected.last_check + SELECTED_STALE)
    }

    /// Drops the path that was checked longest ago, the selected one apart, if there is no room for another.
    fn make_room(&mut self) -> Option<Path> {
        if self.paths.len() < MAX_PATHS {
            return None;
        }
        let selected = self.selected;
        let oldest = (0..self.paths.len())
            .filter(|at| *at != selected)
            .min_by_key(|at| self.paths[*at].last_check)?;
        if oldest < selected {
            self.selected -= 1;
        }
        Some(self.paths.remove(oldest).path)
    }

    /// ICE restart (RFC 8445 section 9): new credentials; the old ones live [`OLD_CREDENTIALS_LIFETIME`] more.
    /// Data flows on the selected path until the peer nominates another.
    pub fn restart(&mut self, now: Instant, credentials: IceCredentials) {
        if credentials.local_ufrag == self.credentials.local_ufrag {
            // Told twice: the old ones must not be forgotten for it.
            self.credentials = credentials;
            return;
        }
        let old = std::mem::replace(&mut self.credentials, credentials);
        self.old = Some(Box::new((old, now + OLD_CREDENTIALS_LIFETIME)));
    }

    /// Where to send: the latest nominated path, or before that the first one validated.
    pub fn selected(&self) -> Option<Path> {
        self.paths.get(self.selected).map(|known| known.path)
    }

    /// Whether the peer has nominated the selected path.
    pub fn is_nominated(&self) -> bool {
        self.paths.get(self.selected).is_some_and(|known| known.nominated)
    }

    /// Whether an authenticated check validated this path.
    pub fn is_validated(&self, path: &Path) -> bool {
        self.paths.iter().any(|known| known.path == *path)
    }

    /// All paths of the peer, the oldest first.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().map(|known| &known.path)
    }

    /// Whether the peer consents to receive (RFC 7675 section 5.1). Each authenticated check renews it: a full agent
    /// checks the pair it uses, and so a lite one learns consent without asking.
    pub fn has_consent(&self, now: Instant) -> bool {
        self.consent_expires().is_some_and(|end| now < end)
    }

    /// When consent ends if no further check comes; `None` before the first.
    pub fn consent_expires(&self) -> Option<Instant> {
        self.last_check.map(|at| at + CONSENT_LIFETIME)
    }
}
