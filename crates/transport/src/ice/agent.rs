//! The ICE-lite agent of one session: its paths, the selected one, consent, and restarts.
//!
//! A path is learned, and the selected path changes, only by an authenticated check, never by media or DTLS. Authentic
//! media may renew consent on a known path ([`LiteAgent::hear`]).

use std::time::{Duration, Instant};

use model::{DropReason, IceCredentials, Path};

use super::stun;

/// Most addresses that one session may have.
pub const MAX_PATHS: usize = 8;
/// Consent of a peer lasts this long after the last authentic datagram that renews it (RFC 7675 section 5.1).
pub const CONSENT_LIFETIME: Duration = Duration::from_secs(30);
/// Credentials from before a restart are accepted for this long.
pub const OLD_CREDENTIALS_LIFETIME: Duration = Duration::from_secs(3);
/// A selected path without an authentic datagram for this long is replaced by a nominated path that is being checked:
/// a peer that nominates several paths at once (the aggressive nomination of RFC 5245) later checks only the one it
/// uses. Consent checks arrive every 4 to 6 s (RFC 7675 section 5.1), so this means that about three were lost.
pub const SELECTED_STALE: Duration = Duration::from_secs(15);

/// Result of a check.
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
    /// The path that was removed to make room for the new one.
    pub removed: Option<Path>,
}

/// ICE-lite state of one session.
#[derive(Debug)]
pub struct LiteAgent {
    credentials: IceCredentials,
    /// Credentials from before a restart, and until when they are accepted. Boxed, since most sessions never have any.
    old: Option<Box<(IceCredentials, Instant)>>,
    /// At most [`MAX_PATHS`].
    paths: Vec<KnownPath>,
    /// Position in `paths`; valid if there is a path.
    selected: usize,
    /// When consent was last renewed.
    last_consent: Option<Instant>,
}

#[derive(Debug)]
struct KnownPath {
    path: Path,
    /// When the last authentic datagram arrived on it.
    last_heard: Instant,
    nominated: bool,
}

impl LiteAgent {
    /// An agent without paths.
    pub fn new(credentials: IceCredentials) -> Self {
        Self { credentials, old: None, paths: Vec::new(), selected: 0, last_consent: None }
    }

    /// Answers a Binding request that arrived on `path`. A check that is answered with an error (420, 487) does not
    /// change the paths.
    ///
    /// # Errors
    /// The reason to drop the datagram; no state has changed.
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

    /// Notes a check that [`respond`](super::respond) authenticated and answered with success.
    pub fn accept(&mut self, now: Instant, path: Path, nominated: bool) -> PathChange {
        let mut change = PathChange::default();
        self.last_consent = Some(now);
        let at = match self.paths.iter().position(|known| known.path == path) {
            Some(at) => at,
            None => {
                change.validated = true;
                change.removed = self.make_room();
                self.paths.push(KnownPath { path, last_heard: now, nominated: false });
                self.paths.len() - 1
            }
        };
        self.paths[at].last_heard = now;
        // RFC 8445 section 7.3.1.5: the nominated flag stays with the pair.
        self.paths[at].nominated |= nominated;
        if self.should_select(now, at, nominated) {
            change.selected = self.selected != at || change.validated;
            self.selected = at;
        }
        change
    }

    /// The latest nomination is selected. Before the first one any valid path may carry data (RFC 8445 section 12.1):
    /// the first one validated is used.
    fn should_select(&self, now: Instant, at: usize, nominated: bool) -> bool {
        let selected = &self.paths[self.selected];
        nominated
            || self.paths.len() == 1
            || (self.paths[at].nominated && now >= selected.last_heard + SELECTED_STALE)
    }

    /// Notes an authentic datagram on `path` that is not a check: media of a peer that sends no checks while media
    /// flows. On the selected path it renews consent as a check does. A path that no check validated is ignored.
    pub fn hear(&mut self, now: Instant, path: &Path) {
        let Some(at) = self.paths.iter().position(|known| known.path == *path) else { return };
        self.paths[at].last_heard = now;
        if at == self.selected {
            self.last_consent = Some(now);
        }
    }

    /// When the last authentic datagram arrived on a path; `None` if the path is not the peer's.
    pub fn last_heard(&self, path: &Path) -> Option<Instant> {
        self.paths.iter().find(|known| known.path == *path).map(|known| known.last_heard)
    }

    /// If there is no room for another path, removes the one that was silent longest, except the selected one.
    fn make_room(&mut self) -> Option<Path> {
        if self.paths.len() < MAX_PATHS {
            return None;
        }
        let selected = self.selected;
        let oldest = (0..self.paths.len())
            .filter(|at| *at != selected)
            .min_by_key(|at| self.paths[*at].last_heard)?;
        if oldest < selected {
            self.selected -= 1;
        }
        Some(self.paths.remove(oldest).path)
    }

    /// ICE restart (RFC 8445 section 9): new credentials; the old ones are accepted for [`OLD_CREDENTIALS_LIFETIME`].
    /// Data flows on the selected path until the peer nominates another.
    pub fn restart(&mut self, now: Instant, credentials: IceCredentials) {
        if credentials.local_ufrag == self.credentials.local_ufrag {
            // Called again with the same credentials: the old ones must not be replaced.
            self.credentials = credentials;
            return;
        }
        let old = std::mem::replace(&mut self.credentials, credentials);
        self.old = Some(Box::new((old, now + OLD_CREDENTIALS_LIFETIME)));
    }

    /// The path to send on: the latest nominated one, or before that the first one validated.
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

    /// Whether the peer consents to receive (RFC 7675 section 5.1). Each authenticated check renews consent: a full
    /// agent checks the pair it uses, so a lite one need not send checks. [`LiteAgent::hear`] renews it too.
    pub fn has_consent(&self, now: Instant) -> bool {
        self.consent_expires().is_some_and(|end| now < end)
    }

    /// When consent ends if nothing renews it; `None` before the first check.
    pub fn consent_expires(&self) -> Option<Instant> {
        self.last_consent.map(|at| at + CONSENT_LIFETIME)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stun::tests::{check, credentials, path};
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "virtual time needs an instant to start at")]
    fn start() -> Instant {
        Instant::now()
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    struct Session {
        agent: LiteAgent,
        ice: IceCredentials,
        now: Instant,
    }

    impl Session {
        fn new() -> Self {
            let ice = credentials("us");
            Self { agent: LiteAgent::new(ice.clone()), ice, now: start() }
        }

        fn check(&mut self, from: u8, nominate: bool) -> PathChange {
            let request = check(&self.ice, nominate);
            self.agent.handle_binding_request(self.now, path(from), &request).unwrap().change
        }
    }

    #[test]
    fn the_first_valid_path_serves_until_one_is_nominated() {
        let mut session = Session::new();
        assert_eq!(session.agent.selected(), None);
        let first = PathChange { validated: true, selected: true, removed: None };
        assert_eq!(session.check(1, false), first);
        assert!(!session.agent.is_nominated());
        assert_eq!(session.check(2, false), PathChange { selected: false, ..first });
        assert_eq!(session.agent.selected(), Some(path(1)));
        assert_eq!(session.check(2, true), PathChange { validated: false, ..first });
        assert_eq!(session.agent.selected(), Some(path(2)));
        assert!(session.agent.is_nominated());
        assert_eq!(session.check(2, true), PathChange::default());
    }

    #[test]
    fn the_latest_nomination_wins() {
        let mut session = Session::new();
        session.check(1, true);
        assert!(session.check(2, true).selected);
        assert!(session.check(1, true).selected);
        assert_eq!(session.agent.selected(), Some(path(1)));
    }

    #[test]
    fn a_path_that_is_no_longer_checked_gives_way_to_a_nominated_one_that_is() {
        let mut session = Session::new();
        session.check(1, true);
        session.check(3, false);
        session.check(2, true);
        for _ in 0..2 {
            session.now += seconds(5);
            assert!(!session.check(1, false).selected);
        }
        session.now += seconds(5);
        assert!(!session.check(3, false).selected, "never nominated");
        assert!(session.check(1, false).selected);
        assert_eq!(session.agent.selected(), Some(path(1)));
    }

    #[test]
    fn a_session_has_at_most_eight_addresses_and_keeps_the_selected_one() {
        let mut session = Session::new();
        for from in 1..=8 {
            session.now += seconds(1);
            assert_eq!(session.check(from, from == 1).removed, None);
        }
        for from in 9..=200 {
            session.now += seconds(1);
            // The oldest path except the selected one is removed.
            assert_eq!(session.check(from, false).removed, Some(path(from - 7)));
            assert_eq!(session.agent.paths().count(), MAX_PATHS);
            assert_eq!(session.agent.selected(), Some(path(1)));
        }
        assert!(session.agent.is_validated(&path(200)));
        assert!(!session.agent.is_validated(&path(193 - 1)));
        // The position of the selected path may change when others are removed.
        assert!(session.check(200, true).selected);
        session.check(201, false);
        session.check(202, false);
        assert_eq!(session.agent.selected(), Some(path(200)));
    }

    #[test]
    fn consent_lasts_30_seconds_after_the_last_authenticated_check() {
        let mut session = Session::new();
        assert!(!session.agent.has_consent(session.now));
        session.check(1, true);
        let end = session.now + CONSENT_LIFETIME;
        let mut forged = check(&session.ice, true);
        let at = forged.len() - 12;
        forged[at] ^= 1;
        session.now += seconds(29);
        assert!(session.agent.handle_binding_request(session.now, path(1), &forged).is_err());
        assert!(session.agent.has_consent(session.now));
        assert_eq!(session.agent.consent_expires(), Some(end));
        assert!(!session.agent.has_consent(end));
        session.check(1, false);
        assert!(session.agent.has_consent(end));
    }

    #[test]
    fn old_credentials_live_three_seconds_after_a_restart() {
        let mut session = Session::new();
        session.check(1, true);
        let old = session.ice.clone();
        session.ice = credentials("new");
        session.agent.restart(session.now, session.ice.clone());
        assert_eq!(session.agent.selected(), Some(path(1)), "data goes on");

        let late = check(&old, false);
        let just_before = session.now + OLD_CREDENTIALS_LIFETIME - Duration::from_millis(1);
        assert!(session.agent.handle_binding_request(just_before, path(1), &late).is_ok());
        // Called again with the same credentials: the deadline stays.
        session.agent.restart(just_before, session.ice.clone());
        session.now += OLD_CREDENTIALS_LIFETIME;
        assert_eq!(
            session.agent.handle_binding_request(session.now, path(1), &late),
            Err(DropReason::StunUnknownUser)
        );
        assert!(session.check(2, true).selected);
    }

    #[test]
    fn media_renews_consent_on_the_selected_path_and_moves_nothing() {
        let mut session = Session::new();
        session.check(1, true);
        session.check(2, false);
        for _ in 0..10 {
            session.now += seconds(20);
            session.agent.hear(session.now, &path(1));
            assert!(session.agent.has_consent(session.now));
        }
        session.now += seconds(20);
        session.agent.hear(session.now, &path(2));
        session.agent.hear(session.now, &path(3));
        assert_eq!(session.agent.selected(), Some(path(1)));
        assert_eq!(session.agent.last_heard(&path(2)), Some(session.now));
        assert!(!session.agent.is_validated(&path(3)), "media makes no path known");
        session.now += seconds(10);
        assert!(!session.agent.has_consent(session.now), "another path speaks for itself only");
    }

    #[test]
    fn an_error_answer_proves_nothing_about_the_path() {
        let mut session = Session::new();
        let mut conflicting = check(&session.ice, true);
        // ICE-CONTROLLING becomes ICE-CONTROLLED, and the message is signed again.
        let at = conflicting.windows(2).position(|pair| pair == [0x80, 0x2a]).unwrap();
        conflicting[at + 1] = 0x29;
        stun::tests::sign_again(&mut conflicting, &session.ice.local_pwd);
        let outcome =
            session.agent.handle_binding_request(session.now, path(1), &conflicting).unwrap();
        assert_eq!(outcome.change, PathChange::default());
        assert!(!outcome.response.is_empty());
        assert_eq!(session.agent.selected(), None);
        assert!(!session.agent.has_consent(session.now));
    }
}
