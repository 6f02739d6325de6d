//! Sessions end when the token expires that they were opened with, unless a newer one comes. A minute before, the member is told; after
//! the expiry there is a grace for a newer token that is on its way.
//!
//! The table has an entry for each session that may expire, and none for a session that ended, so it is as large as the sessions are many.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use model::{RoomId, SessionId};
use room::EndReason;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::config::AuthConfig;
use crate::events::messages::Message;
use crate::resources::Face;
use crate::state::Signaling;

/// How long before the expiry a member is told.
const TOLD_BEFORE: Duration = Duration::from_secs(60);
/// The longest wait for the next entry: the clock of the system may be set meanwhile, and timers do not notice.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// When the end of a session is tried again whose room was busy.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Entries that are taken from the table at a time.
const TURN: usize = 256;

/// Which sessions end when their token expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpiredSessions {
    /// Room sessions. WHIP and WHEP have no way to bring a newer token, and most of their clients come with a token that is meant for the
    /// moment of joining.
    #[default]
    Members,
    /// WHIP and WHEP sessions too.
    All,
    /// None: a token is for joining only.
    Keep,
}

impl ExpiredSessions {
    fn concerns(self, face: Face) -> bool {
        match self {
            ExpiredSessions::Members => !matches!(face, Face::Whip | Face::Whep),
            ExpiredSessions::All => true,
            ExpiredSessions::Keep => false,
        }
    }
}

/// What is to be done about a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Its member has to be told that its token expires in so many seconds.
    Soon { session: SessionId, seconds: u64 },
    /// It has to end.
    Over { session: SessionId },
}

/// When sessions expire.
pub(crate) struct Expiry {
    clock: Clock,
    grace: Duration,
    which: ExpiredSessions,
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Default)]
struct Table {
    entries: HashMap<SessionId, Entry>,
    queue: BTreeSet<(SystemTime, SessionId)>,
}

#[derive(Clone, Copy)]
struct Entry {
    expires: SystemTime,
    told: bool,
    due: SystemTime,
}

impl Table {
    fn put(&mut self, session: SessionId, entry: Entry) {
        self.remove(session);
        self.queue.insert((entry.due, session));
        self.entries.insert(session, entry);
    }

    fn remove(&mut self, session: SessionId) {
        if let Some(entry) = self.entries.remove(&session) {
            self.queue.remove(&(entry.due, session));
        }
    }
}

impl Expiry {
    /// The table that the configuration asks for.
    pub(crate) fn of(auth: &AuthConfig, clock: Clock) -> Self {
        match auth {
            AuthConfig::Open => Self::new(clock, Duration::ZERO, ExpiredSessions::Keep),
            AuthConfig::Tokens(tokens) => {
                Self::new(clock, tokens.expiry_grace, tokens.expired_sessions)
            }
        }
    }

    /// A table without sessions.
    pub(crate) fn new(clock: Clock, grace: Duration, which: ExpiredSessions) -> Self {
        Self { clock, grace, which, table: Mutex::default(), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session was opened with a token that expires then; `None`: with none.
    pub(crate) fn opened(&self, face: Face, session: SessionId, expires: Option<SystemTime>) {
        if let Some(expires) = expires
            && self.which.concerns(face)
        {
            self.set(session, expires);
        }
    }

    /// A session has a newer token, which expires then.
    pub(crate) fn set(&self, session: SessionId, expires: SystemTime) {
        if self.which == ExpiredSessions::Keep {
            return;
        }
        let due = expires.checked_sub(TOLD_BEFORE).unwrap_or(expires);
        self.lock().put(session, Entry { expires, told: false, due });
        self.changed.notify_one();
    }

    /// The member of a session may not know what it was told.
    pub(crate) fn tell_again(&self, session: SessionId) {
        let mut table = self.lock();
        let told = table.entries.get(&session).copied().filter(|entry| entry.told);
        // In the grace there is nothing to tell but the end, and that must not be put off.
        if let Some(entry) = told.filter(|entry| entry.expires > self.clock.now()) {
            table.put(session, Entry { told: false, due: self.clock.now(), ..entry });
            self.changed.notify_one();
        }
    }

    /// The session ended.
    pub(crate) fn remove(&self, session: SessionId) {
        self.lock().remove(session);
    }

    /// The end of a session has to be tried again.
    pub(crate) fn again(&self, session: SessionId) {
        let now = self.clock.now();
        let entry = Entry { expires: now, told: true, due: now + RETRY_AFTER };
        self.lock().put(session, entry);
        self.changed.notify_one();
    }

    /// Resolves when [`Expiry::due`] may have something.
    pub(crate) async fn wait(&self) {
        let first = self.lock().queue.first().map(|(due, _)| *due);
        let timer = async {
            match first {
                Some(due) => {
                    let left = due.duration_since(self.clock.now()).unwrap_or_default();
                    // Timers count whole milliseconds and must not end before the time they wait for.
                    let left = left + Duration::from_millis(1);
                    tokio::time::sleep(left.min(LOOK_INTERVAL)).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = timer => {}
            () = self.changed.notified() => {}
        }
    }

    /// What is to be done now, at most a few hundred things at a time. A session is told once, and ends once.
    pub(crate) fn due(&self) -> Vec<Due> {
        let (now, mut table, mut all) = (self.clock.now(), self.lock(), Vec::new());
        while let Some(&(due, session)) = table.queue.first() {
            if due > now || all.len() == TURN {
                break;
            }
            let Some(entry) = table.entries.get(&session).copied() else {
                table.queue.remove(&(due, session));
                continue;
            };
            if entry.told {
                table.remove(session);
                all.push(Due::Over { session });
            } else {
                let due = entry.expires + self.grace;
                table.put(session, Entry { told: true, due, ..entry });
                let left = entry.expires.duration_since(now).unwrap_or_default();
                all.push(Due::Soon { session, seconds: left.as_secs_f64().round() as u64 });
            }
        }
        if all.len() == TURN {
            self.changed.notify_one();
        }
        all
    }
}

impl Signaling {
    /// Tells members whose tokens expire, and ends their sessions; never returns.
    pub(crate) async fn drive_expiry(&self) {
        loop {
            self.0.expiry.wait().await;
            let mut over: HashMap<RoomId, Vec<SessionId>> = HashMap::new();
            for due in self.0.expiry.due() {
                match due {
                    Due::Soon { session, seconds } => {
                        self.hub().tell(session, &Message::TokenExpiring { seconds });
                    }
                    Due::Over { session } => {
                        if let Some(room) = self.core().room_of(session) {
                            over.entry(room).or_default().push(session);
                        }
                    }
                }
            }
            for (room, sessions) in over {
                let signaling = self.clone();
                // A task of its own, since a room that is busy must not keep the sessions of others alive. There are no more such
                // tasks than sessions.
                tokio::spawn(async move { signaling.expire(&room, sessions).await });
            }
        }
    }

    async fn expire(&self, room: &RoomId, sessions: Vec<SessionId>) {
        let (signaling, ending) = (self.clone(), sessions.clone());
        let call = move || {
            for session in ending {
                let now = tokio::time::Instant::now().into_std();
                // An error means that the session ended by itself.
                let _gone = signaling.core().end(now, session, EndReason::Expired);
            }
            signaling.0.changed.notify_one();
        };
        if self.0.calls.run(room, call).await.is_err() {
            for session in sessions {
                self.0.expiry.again(session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use tokio::time::Instant;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn start() -> SystemTime {
        UNIX_EPOCH + NOW
    }

    fn expiry(which: ExpiredSessions) -> Expiry {
        Expiry::new(Clock::following_tokio(start()), Duration::from_secs(30), which)
    }

    fn after(seconds: u64) -> SystemTime {
        start() + Duration::from_secs(seconds)
    }

    /// Everything that becomes due within this time, with the second at which it does.
    async fn watch(expiry: &Expiry, seconds: u64) -> Vec<(u64, Due)> {
        let (begin, mut all) = (Instant::now(), Vec::new());
        let look = async {
            loop {
                expiry.wait().await;
                all.extend(expiry.due().into_iter().map(|due| (begin.elapsed().as_secs(), due)));
            }
        };
        let _end = tokio::time::timeout(Duration::from_secs(seconds), look).await;
        all
    }

    const ONE: SessionId = SessionId(1);
    const TWO: SessionId = SessionId(2);

    #[tokio::test(start_paused = true)]
    async fn a_member_is_told_a_minute_before_and_its_session_ends_after_a_grace() {
        let expiry = expiry(ExpiredSessions::Members);
        expiry.opened(Face::Whip, SessionId(9), Some(after(10)));
        expiry.set(ONE, after(300));
        // This one is nearer than a minute, so it is told at once.
        expiry.set(TWO, after(20));
        let seen = watch(&expiry, 1_000).await;
        assert_eq!(
            seen,
            [
                (0, Due::Soon { session: TWO, seconds: 20 }),
                (50, Due::Over { session: TWO }),
                (240, Due::Soon { session: ONE, seconds: 60 }),
                (330, Due::Over { session: ONE }),
            ]
        );
        assert!(expiry.lock().entries.is_empty() && expiry.lock().queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_newer_token_extends_and_an_ended_session_is_forgotten() {
        let expiry = expiry(ExpiredSessions::Members);
        expiry.set(ONE, after(100));
        expiry.set(TWO, after(100));
        assert_eq!(watch(&expiry, 110).await.len(), 2, "both were told, and are in their grace");
        expiry.set(ONE, after(400));
        expiry.remove(TWO);
        let seen = watch(&expiry, 1_000).await;
        let kinds: Vec<Due> = seen.into_iter().map(|(_, due)| due).collect();
        assert_eq!(kinds, [Due::Soon { session: ONE, seconds: 60 }, Due::Over { session: ONE }]);
        expiry.again(ONE);
        assert_eq!(watch(&expiry, 10).await, [(1, Due::Over { session: ONE })]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_missed_it_is_told_again_and_ends_no_later() {
        let expiry = expiry(ExpiredSessions::Members);
        expiry.set(ONE, after(70));
        expiry.tell_again(ONE);
        assert_eq!(watch(&expiry, 50).await, [(10, Due::Soon { session: ONE, seconds: 60 })]);
        expiry.tell_again(ONE);
        assert_eq!(watch(&expiry, 30).await, [(0, Due::Soon { session: ONE, seconds: 20 })]);
        expiry.tell_again(ONE);
        expiry.tell_again(TWO);
        assert_eq!(watch(&expiry, 100).await, [(20, Due::Over { session: ONE })]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_operator_says_which_sessions_expire() {
        let opened = |which, face| {
            let expiry = expiry(which);
            expiry.opened(face, ONE, Some(after(100)));
            expiry.opened(face, TWO, None);
            expiry.lock().entries.len()
        };
        for face in [Face::Whip, Face::Whep] {
            assert_eq!(opened(ExpiredSessions::Members, face), 0);
            assert_eq!(opened(ExpiredSessions::All, face), 1);
            assert_eq!(opened(ExpiredSessions::Keep, face), 0);
        }
        let expiry = expiry(ExpiredSessions::Keep);
        expiry.set(ONE, after(1));
        assert!(watch(&expiry, 1_000).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_is_noticed_and_many_sessions_come_in_turns() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicU64, Ordering};
        let jump = Arc::new(AtomicU64::new(0));
        let (jumped, base) = (jump.clone(), Clock::following_tokio(start()));
        let clock = Clock::from_fn(move || {
            base.now() + Duration::from_secs(jumped.load(Ordering::Relaxed))
        });
        let expiry = Expiry::new(clock, Duration::from_secs(30), ExpiredSessions::All);
        for n in 0..1_000 {
            expiry.set(SessionId(n), after(100_000));
        }
        assert!(watch(&expiry, 100).await.is_empty());
        jump.store(100_000, Ordering::Relaxed);
        assert!(expiry.due().len() <= TURN);
        let seen = watch(&expiry, 65).await;
        let over = seen.iter().filter(|(_, due)| matches!(due, Due::Over { .. })).count();
        assert_eq!(over, 1_000);
    }
}
