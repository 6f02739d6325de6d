//! Reading a connectivity check and writing its answer (RFC 8489, RFC 8445 section 7.3). No state.

use model::{DropReason, IceCredentials, Path};

/// What to send back for a check, and what the check said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The response, to be sent back on the path of the request.
    pub response: Vec<u8>,
    /// The check succeeded: the path is the peer's. False for 420 and 487 answers, which prove nothing.
    pub success: bool,
    /// The check carried USE-CANDIDATE: the peer nominates this path (RFC 8445 section 7.3.1.5).
    pub nominated: bool,
}

/// The ufrag of ours that a check is addressed to: what stands before the colon in USERNAME.
/// Nothing is authenticated yet.
///
/// # Errors
/// The reason for which to drop the datagram.
pub fn peek_username(datagram: &[u8]) -> Result<&str, DropReason> {
    let _ = datagram;
    todo!()
}

/// Whether a check carries a MESSAGE-INTEGRITY made with `password` (and a right FINGERPRINT, if any).
///
/// # Errors
/// The reason for which to drop the datagram.
pub fn verify(datagram: &[u8], password: &str) -> Result<(), DropReason> {
    let _ = (datagram, password);
    todo!()
}

/// Authenticates a check with our credentials and writes the answer, without any session state.
///
/// # Errors
/// The reason for which to drop the datagram: nothing must be answered, nothing must change.
pub fn respond(datagram: &[u8], path: &Path, ice: &IceCredentials) -> Result<Answer, DropReason> {
    let _ = (datagram, path, ice);
    todo!()
}
