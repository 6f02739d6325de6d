//! The ICE-lite agent of one session: its paths, the selected one, consent, and restarts.

use std::time::{Duration, Instant};

use model::{DropReason, IceCredentials, Path};

/// Most addresses that one session may have.
pub const MAX_PATHS: usize = 8;
/// Consent of a peer lasts this long after its last authenticated check (RFC 7675 section 5.1).
pub const CONSENT_LIFETIME: Duration = Duration::from_secs(30);
/// Credentials from before a restart are honoured this long.
pub const OLD_CREDENTIALS_LIFETIME: Duration = Duration::from_secs(3);

/// What a check did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckOutcome {
    /// The response, to be sent back on the path of the request.
    pub response: Vec<u8>,
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
}

impl LiteAgent {
    /// An agent that knows no path yet.
    pub fn new(credentials: IceCredentials) -> Self {
        Self { credentials }
    }

    /// Answers a Binding request that came on `path`.
    ///
    /// # Errors
    /// The reason for which to drop the datagram; no state has changed then.
    pub fn handle_binding_request(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &[u8],
    ) -> Result<CheckOutcome, DropReason> {
        let _ = (now, path, datagram, &self.credentials);
        todo!()
    }

    /// ICE restart (RFC 8445 section 9): new credentials; the old ones live [`OLD_CREDENTIALS_LIFETIME`] more.
    pub fn restart(&mut self, now: Instant, credentials: IceCredentials) {
        let _ = (now, credentials);
        todo!()
    }

    /// Where to send: the latest nominated path, or else the latest validated one.
    pub fn selected(&self) -> Option<Path> {
        todo!()
    }

    /// Whether an authenticated check validated this path.
    pub fn is_validated(&self, path: &Path) -> bool {
        let _ = path;
        todo!()
    }

    /// Whether the peer consents to receive (RFC 7675).
    pub fn has_consent(&self, now: Instant) -> bool {
        let _ = now;
        todo!()
    }

    /// When consent ends if no further check comes; `None` before the first.
    pub fn consent_expires(&self) -> Option<Instant> {
        todo!()
    }
}
