//! Two lanes on one port: media, which has to be forwarded at once, and control, which may wait a moment. The kernel
//! sorts datagrams as they arrive. So a flood of checks or handshakes fills its own buffer and never that of media,
//! and a worker need not wake up for every report of every viewer.
//!
//! Sorting is for speed only: each datagram is classified again when it is read, from either lane.

use std::{
    hash::{BuildHasher, RandomState},
    io,
};

use udp::{
    UdpSocket,
    steer::{Instruction, NETWORK, Table},
};

/// Lanes of each worker. The socket of a lane has the number `LANES * worker + lane`.
const LANES: u32 = 2;
/// Most remote addresses in the kernel's table: those of peers that moved, and whose hash names another worker. About
/// 6 MB in the kernel. Beyond this the oldest are forgotten, and their datagrams are handed over from worker to
/// worker.
const MOVED_MAX: u32 = 65_536;

/// How datagrams reach their workers: by a hash of the remote address, unless a table names the worker.
///
/// The kernel grants a table only to processes that may load programs (CAP_BPF). Without it the hash alone decides.
pub(crate) struct Steering {
    workers: u32,
    table: Option<Table>,
}

impl Steering {
    /// For this number of workers. Requests a table from the kernel.
    pub(crate) fn new(workers: u32) -> Self {
        let table = Table::new(MOVED_MAX).inspect_err(|error| {
            tracing::info!(%error, "no BPF table: datagrams of peers that move are handed over");
        });
        Self { workers, table: table.ok() }
    }

    /// Sorts the datagrams of the port of `first`, the first socket of its family: sockets that are bound to the port
    /// later are numbered after it. Uses the table if there is one and the kernel accepts its program.
    ///
    /// # Errors
    /// The kernel accepts neither program.
    /// The kernel takes neither program.
    pub(crate) fn attach(&mut self, first: &UdpSocket) -> io::Result<()> {
        let hash = hash(first.local_addr().is_ipv4(), self.workers);
        if let Some(table) = &self.table {
            match first.steer_with(table, &hash, &to_socket()) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "no BPF program with a table: datagrams of peers that move are handed over");
                    self.table = None;
                }
            }
        }
        first.steer(&[hash, to_socket().into()].concat())
    }

    /// The table that names the worker of each remote address whose hash does not lead to it. A worker makes an entry
    /// after a peer of its own has moved, and removes it when the peer moves on or ends.
    pub(crate) fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }
}

/// Sets A to the worker of a flow. Flows are spread by remote address and port, with a secret, so that an attacker
/// cannot aim flows at one worker.
fn hash(is_ipv4: bool, workers: u32) -> Vec<Instruction> {
    use Instruction as I;
    let secret = RandomState::new().hash_one(workers);
    // Odd factors lose no bits.
    let (first, second) = (secret as u32 | 1, (secret >> 32) as u32 | 1);
    // RFC 791 section 3.1, RFC 8200 section 3: the source address; RFC 768: the source port comes first. Behind IP
    // options or extension headers other bytes are at this place, but the same for a whole flow.
    let (address, port) = if is_ipv4 { (12..16, 20) } else { (8..24, 40) };
    let mut program = vec![I::half(NETWORK + port), I::times(first)];
    for word in address.step_by(4) {
        program.extend([I::keep(), I::word(NETWORK + word), I::mix(), I::times(second)]);
    }
    program.extend([I::shift_right(16), I::modulo(workers.max(1))]);
    program
}

/// From A, the number of the worker, to the socket of the lane.
fn to_socket() -> [Instruction; 18] {
    use Instruction as I;
    [
        // X = the number of the worker's first socket.
        I::times(LANES),
        I::keep(),
        // RFC 7983 section 7: 128 to 191 is RTP and RTCP; STUN and DTLS are control.
        I::byte(0),
        I::if_at_least(128, 0, 11),
        I::if_at_least(192, 10, 0),
        // RFC 5761 section 4: of these, 192 to 223 is RTCP, the rest media.
        I::byte(1),
        I::if_at_least(192, 0, 6),
        I::if_at_least(224, 5, 0),
        // Reports may wait. Pictures wait for feedback (RFC 4585 section 6.1: 205 and 206): NACK, PLI, FIR.
        I::if_at_least(207, 6, 0),
        I::if_at_least(205, 0, 5),
        // But format 15, transport-wide feedback and REMB, is about congestion, and may wait too.
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

    use udp::{RecvBatch, UdpConfig, wait};

    use super::*;

    const IPS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

    /// Steering by the hash alone, and with a table if the kernel allows one.
    fn both_ways(workers: u32) -> Vec<Steering> {
        let (by_hash, with_table) = (Steering { workers, table: None }, Steering::new(workers));
        if with_table.table().is_none() {
            eprintln!("skipped: the kernel allows no BPF tables here");
            return vec![by_hash];
        }
        vec![by_hash, with_table]
    }

    /// The sockets of the workers on one steered port; `None` if the machine lacks the IP version.
    fn sockets(ip: IpAddr, steering: &mut Steering) -> Option<Vec<UdpSocket>> {
        let had_table = steering.table().is_some();
        let first = UdpSocket::bind(&UdpConfig::new((ip, 0).into())).ok()?;
        steering.attach(&first).unwrap();
        assert_eq!(steering.table().is_some(), had_table, "where tables are allowed, programs are");
        let config = UdpConfig::new(first.local_addr());
        let others = 1..LANES * steering.workers;
        let others = others.map(|_| UdpSocket::bind(&config).unwrap());
        Some(std::iter::once(first).chain(others).collect())
    }

    /// The socket at which a datagram arrives.
    fn arrival(sockets: &[UdpSocket], peer: &Peer, bytes: &[u8]) -> usize {
        peer.send_to(bytes, sockets[0].local_addr()).unwrap();
        let fds: Vec<_> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        let ready = wait(&fds, Some(Duration::from_secs(5))).unwrap();
        assert_eq!(ready.count_ones(), 1, "{bytes:?}");
        let at = ready.trailing_zeros() as usize;
        RecvBatch::new(1, 2_048).recv(&sockets[at]).unwrap();
        at
    }

    fn sorts_into_lanes(sockets: &[UdpSocket], peer: &Peer) {
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
            assert_eq!(arrival(sockets, peer, bytes), 0, "{bytes:?}");
        }
        for bytes in control {
            assert_eq!(arrival(sockets, peer, bytes), 1, "{bytes:?}");
        }
    }

    #[test]
    fn media_and_the_feedback_that_pictures_wait_for_take_the_media_lane_and_the_rest_the_control_lane()
     {
        for mut steering in both_ways(1) {
            for ip in IPS {
                let Some(sockets) = sockets(ip, &mut steering) else { continue };
                let peer = Peer::bind((ip, 0)).unwrap();
                sorts_into_lanes(&sockets, &peer);
                if let Some(table) = steering.table() {
                    // Worker 0, by the table this time.
                    table.set(peer.local_addr().unwrap(), 0).unwrap();
                    sorts_into_lanes(&sockets, &peer);
                }
            }
        }
    }

    const MEDIA: [u8; 4] = [0x80, 96, 0, 1];
    const CONTROL: [u8; 4] = [22, 254, 253, 0];

    /// The worker that gets the datagrams of `peer`. Checks that each kind arrives in its lane.
    fn worker_of(sockets: &[UdpSocket], peer: &Peer) -> usize {
        let at = arrival(sockets, peer, &MEDIA);
        assert_eq!(at % 2, 0);
        assert_eq!(arrival(sockets, peer, &CONTROL), at + 1);
        assert_eq!(arrival(sockets, peer, &MEDIA), at);
        at / 2
    }

    #[test]
    fn a_flow_stays_with_one_worker_and_flows_are_spread() {
        for mut steering in both_ways(4) {
            for ip in IPS {
                let Some(sockets) = sockets(ip, &mut steering) else { continue };
                let mut flows = [0; 4];
                for _ in 0..400 {
                    flows[worker_of(&sockets, &Peer::bind((ip, 0)).unwrap())] += 1;
                }
                // A hundred each, give or take six standard deviations.
                assert!(flows.iter().all(|n| (48..152).contains(n)), "{flows:?} {ip}");
            }
        }
    }

    #[test]
    fn the_table_brings_a_peer_to_the_worker_that_it_names() {
        for mut steering in both_ways(4) {
            for ip in IPS {
                let Some(sockets) = sockets(ip, &mut steering) else { continue };
                let Some(table) = steering.table() else { continue };
                let (peer, neighbour) =
                    (Peer::bind((ip, 0)).unwrap(), Peer::bind((ip, 0)).unwrap());
                let (own, beside) = (worker_of(&sockets, &peer), worker_of(&sockets, &neighbour));
                let remote = peer.local_addr().unwrap();
                for other in (0..4).map(|step| (own + step) % 4) {
                    table.set(remote, other as u32).unwrap();
                    assert_eq!(worker_of(&sockets, &peer), other);
                    assert_eq!(worker_of(&sockets, &neighbour), beside);
                }
                table.remove(remote).unwrap();
                assert_eq!(worker_of(&sockets, &peer), own);
                // A worker that does not exist: the kernel gives the datagram to some socket of the port.
                table.set(remote, 1_000).unwrap();
                arrival(&sockets, &peer, &MEDIA);
            }
        }
    }
}
