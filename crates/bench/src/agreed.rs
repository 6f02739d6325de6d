//! Which SRTP profile node and swarm agree on. Both use the DTLS of this workspace, so a handshake in process tells, without
//! listening on the wire.

use std::{io, sync::Arc, time::Instant};

use model::DtlsRole;
use transport::dtls::{Certificate, DtlsEvent, Endpoint};

use crate::limit::Cipher;

/// Flights of a handshake are four; more is no handshake.
const FLIGHTS: usize = 16;

/// Shakes hands.
///
/// # Errors
/// The handshake does not come to its end.
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
