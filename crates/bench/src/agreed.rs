//! Which SRTP profile node and swarm agree on. Both use this workspace's DTLS, so a handshake in process tells it,
//! without reading the network.

use std::{io, sync::Arc, time::Instant};

use model::DtlsRole;
use transport::dtls::{Certificate, DtlsEvent, Endpoint};

use crate::limit::Cipher;

/// Most flights of a handshake before it is given up; a real one takes four.
const FLIGHTS: usize = 16;

/// Makes a handshake in process, and returns the cipher that it agreed on.
///
/// # Errors
/// The handshake does not complete.
pub(crate) fn cipher() -> io::Result<Cipher> {
    let certificate = Arc::new(Certificate::generate().map_err(io::Error::other)?);
    let now = Instant::now();
    let end = |role| {
        Endpoint::new(now, role, certificate.clone(), vec![certificate.fingerprint().clone()])
    };
    let (mut client, mut server) = (end(DtlsRole::Active), end(DtlsRole::Passive));
    let mut datagram = Vec::new();
    for _ in 0..FLIGHTS {
        while client.poll_transmit(&mut datagram) {
            server.handle(now, &datagram).map_err(|e| io::Error::other(e.as_str()))?;
        }
        if let Some(DtlsEvent::Connected(keys)) = server.poll_event() {
            return Ok(Cipher::of(keys.profile));
        }
        while server.poll_transmit(&mut datagram) {
            client.handle(now, &datagram).map_err(|e| io::Error::other(e.as_str()))?;
        }
    }
    Err(io::Error::other("a handshake with ourselves has no end"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_agree_on_a_cheap_cipher() {
        assert_ne!(super::cipher().unwrap(), super::Cipher::AesCm);
    }
}
