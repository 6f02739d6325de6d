//! Two lanes on one port: media, which has to go on at once, and control, which may wait a moment. The kernel sorts
//! them as they come, so that a flood of checks or handshakes fills its own buffer and never that of media, and so
//! that a worker need not wake up for every report of every viewer.
//!
//! Sorting is for speed alone: each datagram is classified again when it is taken in, from whichever lane it came.

use std::hash::{BuildHasher, RandomState};

use udp::steer::{Instruction, NETWORK};

/// Lanes of each worker. The socket of a lane has the number `LANES * worker + lane`.
const LANES: u32 = 2;

/// The program that sorts datagrams of one IP version among so many workers. Flows are spread by remote address and
/// port, with a secret that nobody can aim by.
pub(crate) fn program(is_ipv4: bool, workers: u32) -> Vec<Instruction> {
    use Instruction as I;
    let secret = RandomState::new().hash_one(workers);
    // Odd factors lose nothing.
    let (first, second) = (secret as u32 | 1, (secret >> 32) as u32 | 1);
    // RFC 791 section 3.1, RFC 8200 section 3: the source address; RFC 768: the source port comes first. Behind IP
    // options or extension headers something else stands there, the same for a whole flow.
    let (address, port) = if is_ipv4 { (12..16, 20) } else { (8..24, 40) };
    let mut program = vec![I::half(NETWORK + port), I::times(first)];
    for word in address.step_by(4) {
        program.extend([I::keep(), I::word(NETWORK + word), I::mix(), I::times(second)]);
    }
    program.extend([I::shift_right(16), I::modulo(workers.max(1)), I::times(LANES), I::keep()]);
    program.extend(to_lane());
    program
}

/// From X, the number of the worker's first socket, to the socket of the lane.
fn to_lane() -> [Instruction; 16] {
    use Instruction as I;
    [
        // RFC 7983 section 7: 128 to 191 is RTP and RTCP; STUN and DTLS are control.
        I::byte(0),
        I::if_at_least(128, 0, 11),
        I::if_at_least(192, 10, 0),
        // RFC 5761 section 4: of these, 192 to 223 is RTCP, the rest media.
        I::byte(1),
        I::if_at_least(192, 0, 6),
        I::if_at_least(224, 5, 0),
        // Reports may wait. Feedback (RFC 4585 section 6.1: 205 and 206) is what a picture waits for: NACK, PLI, FIR.
        I::if_at_least(207, 6, 0),
        I::if_at_least(205, 0, 5),
        // But format 15, transport-wide feedback and REMB, is about congestion, and that may wait too.
        I::byte(0),
        I::and(0x1f),
        I::if_equal(15, 2, 0),
        // Media:
        I::recall(),
        I::choose(),
        // Control:
        I::recall(),
        I::plus(1),
        I::choose(),
    ]
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket as Peer},
        os::fd::AsRawFd,
        time::Duration,
    };

    use udp::{RecvBatch, UdpConfig, UdpSocket, wait};

    use super::*;

    /// Sockets of so many workers on one steered port.
    fn sockets(ip: IpAddr, workers: u32) -> Vec<UdpSocket> {
        let first = UdpSocket::bind(&UdpConfig::new((ip, 0).into())).unwrap();
        let others = 1..LANES * workers;
        let others = others.map(|_| UdpSocket::bind(&UdpConfig::new(first.local_addr())).unwrap());
        let all: Vec<_> = std::iter::once(()).map(|()| None).chain(others.map(Some)).collect();
        first.steer(&program(ip.is_ipv4(), workers)).unwrap();
        let mut first = Some(first);
        all.into_iter().map(|socket| socket.or_else(|| first.take()).unwrap()).collect()
    }

    /// Which of the sockets a datagram arrives at.
    fn arrival(sockets: &[UdpSocket], peer: &Peer, bytes: &[u8]) -> usize {
        peer.send_to(bytes, sockets[0].local_addr()).unwrap();
        let fds: Vec<_> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        let ready = wait(&fds, Some(Duration::from_secs(5))).unwrap();
        assert_eq!(ready.count_ones(), 1, "{bytes:?}");
        let at = ready.trailing_zeros() as usize;
        RecvBatch::new(1, 2_048).recv(&sockets[at]).unwrap();
        at
    }

    #[test]
    fn media_and_what_pictures_wait_for_take_the_one_lane_and_the_rest_the_other() {
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            let Ok(peer) = Peer::bind((ip, 0)) else { continue };
            let sockets = sockets(ip, 1);
            let media: [&[u8]; 8] = [
                &[0x80, 96, 0, 1],
                &[0x80, 0x80 | 96, 0, 1],
                &[0x90, 0x80 | 127, 0, 1],
                &[0xbf, 0, 0, 1],
                &[0x81, 205, 0, 3], // NACK
                &[0x81, 206, 0, 2], // PLI
                &[0x84, 206, 0, 4], // FIR
                &[0xa1, 205, 0, 3], // NACK with padding
            ];
            let control: [&[u8]; 10] = [
                &[0, 1, 0, 0],      // STUN
                &[22, 254, 253, 0], // DTLS
                &[0x81, 200, 0, 6],
                &[0x81, 201, 0, 7],
                &[0x81, 202, 0, 7],
                &[0x81, 203, 0, 7],
                &[0x8f, 205, 0, 7], // transport-wide feedback
                &[0x8f, 206, 0, 7], // REMB
                &[0x81, 207, 0, 7],
                &[0xff, 0xff],
            ];
            for bytes in media {
                assert_eq!(arrival(&sockets, &peer, bytes), 0, "{bytes:?} {ip}");
            }
            for bytes in control {
                assert_eq!(arrival(&sockets, &peer, bytes), 1, "{bytes:?} {ip}");
            }
        }
    }

    #[test]
    fn a_flow_stays_with_one_worker_and_flows_are_spread() {
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            if Peer::bind((ip, 0)).is_err() {
                continue;
            }
            let sockets = sockets(ip, 4);
            let mut flows = [0; 4];
            for _ in 0..400 {
                let peer = Peer::bind((ip, 0)).unwrap();
                let (media, control) = (&[0x80, 96, 0, 1], &[22, 254, 253, 0]);
                let at = arrival(&sockets, &peer, media);
                assert_eq!(at % 2, 0);
                assert_eq!(arrival(&sockets, &peer, control), at + 1);
                assert_eq!(arrival(&sockets, &peer, media), at);
                flows[at / 2] += 1;
            }
            // A hundred each, give or take six times what chance does.
            assert!(flows.iter().all(|n| (48..152).contains(n)), "{flows:?} {ip}");
        }
    }
}
