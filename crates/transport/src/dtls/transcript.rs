//! All handshake messages of a connection so far, of both sides.

use aws_lc_rs::digest::{Context, Digest};

use super::secrets::Suite;

/// The messages' hash, and also their bytes as long as a signature over them may be made or verified: the hash
/// function of a signature is not known before the signature arrives.
pub(super) struct Transcript {
    bytes: Vec<u8>,
    hash: Context,
}

impl Transcript {
    /// Begins with the messages from before a suite was chosen.
    pub(super) fn new(suite: Suite, hellos: &[&[u8]]) -> Self {
        let mut transcript = Self { bytes: Vec::new(), hash: Context::new(suite.hash()) };
        hellos.iter().for_each(|hello| transcript.add(hello));
        transcript
    }

    /// Adds a message with its header.
    pub(super) fn add(&mut self, message: &[u8]) {
        self.hash.update(message);
        self.bytes.extend_from_slice(message);
    }

    /// The hash of all messages.
    pub(super) fn hash(&self) -> Digest {
        self.hash.clone().finish()
    }

    /// All messages, to be signed or verified (RFC 5246 section 7.4.8).
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
