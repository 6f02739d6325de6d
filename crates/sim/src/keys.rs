//! SRTP keys in place of a DTLS handshake, and two datagrams in its place: the peer sends a hello until the node
//! answers done. Both look like DTLS to a demultiplexer (RFC 7983).

use model::SessionId;
use transport::srtp::{Profile, Receiver, Sender, SrtpError};

use crate::rng::Rng;

const HELLO: [u8; 4] = [22, 0xfe, 0xfd, 1];
const DONE: [u8; 4] = [22, 0xfe, 0xfd, 2];

/// The keys of one session, as both sides have them.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    profile: Profile,
    peer: [u8; 46],
    node: [u8; 46],
}

impl Keys {
    /// The keys of a session in the run with this seed.
    pub(crate) fn of(seed: u64, session: SessionId) -> Self {
        let mut rng = Rng::new(seed).fork(0x4b45_5953).fork(session.0);
        let profile = match rng.below(8) {
            0 => Profile::Aes128CmHmacSha1_80,
            1 => Profile::AeadAes256Gcm,
            _ => Profile::AeadAes128Gcm,
        };
        let (mut peer, mut node) = ([0; 46], [0; 46]);
        rng.fill(&mut peer);
        rng.fill(&mut node);
        Self { profile, peer, node }
    }

    /// The peer's sender.
    pub(crate) fn peer_sender(&self) -> Result<Sender, SrtpError> {
        let (key, salt) = self.split(&self.peer);
        Sender::new(self.profile, key, salt)
    }

    /// The peer's receiver, also for checks that read what is sent to the peer.
    pub(crate) fn peer_receiver(&self) -> Result<Receiver, SrtpError> {
        let (key, salt) = self.split(&self.node);
        // Two SSRCs for each slot.
        Ok(Receiver::new(self.profile, key, salt)?.with_ssrc_limit(200))
    }

    /// The node's sender.
    pub(crate) fn node_sender(&self) -> Result<Sender, SrtpError> {
        let (key, salt) = self.split(&self.node);
        Sender::new(self.profile, key, salt)
    }

    /// The node's receiver.
    pub(crate) fn node_receiver(&self) -> Result<Receiver, SrtpError> {
        let (key, salt) = self.split(&self.peer);
        Receiver::new(self.profile, key, salt)
    }

    fn split<'a>(&self, material: &'a [u8; 46]) -> (&'a [u8], &'a [u8]) {
        let (key, salt) = material.split_at(32);
        (&key[..self.profile.key_len()], &salt[..self.profile.salt_len()])
    }
}

pub(crate) fn hello(session: SessionId) -> Vec<u8> {
    [&HELLO[..], &session.0.to_be_bytes()].concat()
}

pub(crate) fn done(session: SessionId) -> Vec<u8> {
    [&DONE[..], &session.0.to_be_bytes()].concat()
}

pub(crate) fn read_hello(datagram: &[u8]) -> Option<SessionId> {
    read(&HELLO, datagram)
}

pub(crate) fn read_done(datagram: &[u8]) -> Option<SessionId> {
    read(&DONE, datagram)
}

fn read(head: &[u8; 4], datagram: &[u8]) -> Option<SessionId> {
    let rest = datagram.strip_prefix(head)?;
    Some(SessionId(u64::from_be_bytes(rest.try_into().ok()?)))
}
