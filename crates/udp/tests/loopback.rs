//! Sockets and batches against the real kernel, over the loopback.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed step is a failed test")]

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::AsRawFd,
    time::Duration,
};

use model::Path;
use sfumato_udp::{FlushStats, MIN_SPACE, RecvBatch, SendBatch, UdpConfig, UdpSocket, wait};

fn bind(addr: &str) -> UdpSocket {
    UdpSocket::bind(&config(addr)).unwrap()
}

fn config(addr: &str) -> UdpConfig {
    UdpConfig { recv_buffer: Some(1 << 20), ..UdpConfig::new(addr.parse().unwrap()) }
}

/// A socket on the IPv6 loopback; `None` on machines without IPv6.
fn bind_v6(addr: &str) -> Option<UdpSocket> {
    let socket = UdpSocket::bind(&config(addr));
    if let Err(error) = &socket {
        assert_eq!(error.kind(), std::io::ErrorKind::AddrNotAvailable, "{error}");
        eprintln!("no IPv6 on this machine");
    }
    socket.ok()
}

fn to(socket: &UdpSocket) -> Path {
    let remote = socket.local_addr();
    let local = if remote.is_ipv4() { "0.0.0.0" } else { "::" };
    Path { remote, local: local.parse().unwrap() }
}

/// Appends a datagram of `len` bytes of `fill`.
fn append(batch: &mut SendBatch, len: usize, fill: u8) {
    batch.space().expect("room")[..len].fill(fill);
    batch.commit(len);
}

type Owned = (Path, Vec<u8>, bool);

/// The next `count` datagrams, and a check that there are no more. The loopback usually delivers before the sender's
/// call returns, but a loaded machine may do so later.
fn receive(socket: &UdpSocket, count: usize) -> Vec<Owned> {
    receive_with(&mut RecvBatch::new(32, 65_535), socket, count)
}

fn receive_with(batch: &mut RecvBatch, socket: &UdpSocket, count: usize) -> Vec<Owned> {
    let mut all: Vec<Owned> = Vec::new();
    while all.len() < count
        && wait(&[socket.as_raw_fd()], Some(Duration::from_secs(5))).unwrap() != 0
    {
        batch.recv(socket).unwrap();
        all.extend(batch.datagrams().map(|d| (d.path, d.data.to_vec(), d.truncated)));
    }
    assert_eq!(batch.recv(socket).unwrap(), 0, "nothing more");
    assert_eq!(all.len(), count);
    all
}

fn sizes(received: &[Owned]) -> Vec<usize> {
    received.iter().map(|(_, data, _)| data.len()).collect()
}

fn round_trip(a: &UdpSocket, b: &UdpSocket) {
    let mut batch = SendBatch::with_capacity(1 << 16, 16);
    let flush = |batch: &mut SendBatch, socket: &UdpSocket| match socket.local_addr() {
        SocketAddr::V4(_) => batch.flush(Some(socket), None),
        SocketAddr::V6(_) => batch.flush(None, Some(socket)),
    };
    batch.begin(to(b));
    append(&mut batch, 5, 1);
    assert_eq!(flush(&mut batch, a).sent_datagrams, 1);
    let (path, data, truncated) = receive(b, 1).remove(0);
    assert_eq!((data.as_slice(), truncated), ([1; 5].as_slice(), false));
    assert_eq!(path, Path { remote: a.local_addr(), local: b.local_addr().ip() });

    // The answer is sent on the path of the received datagram.
    batch.begin(path);
    append(&mut batch, 7, 2);
    assert_eq!(flush(&mut batch, b).sent_datagrams, 1);
    let (path, data, _) = receive(a, 1).remove(0);
    assert_eq!(data, [2; 7]);
    assert_eq!(path, Path { remote: b.local_addr(), local: a.local_addr().ip() });
}

#[test]
fn datagrams_go_there_and_back_over_ipv4() {
    round_trip(&bind("127.0.0.1:0"), &bind("127.0.0.1:0"));
}

#[test]
fn datagrams_go_there_and_back_over_ipv6() {
    if let (Some(a), Some(b)) = (bind_v6("[::1]:0"), bind_v6("[::1]:0")) {
        round_trip(&a, &b);
    }
}

#[test]
fn one_batch_holds_both_families() {
    let (a4, b4) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let (Some(a6), Some(b6)) = (bind_v6("[::1]:0"), bind_v6("[::1]:0")) else { return };
    let mut batch = SendBatch::with_capacity(1 << 16, 16);
    for number in 0..3 {
        batch.begin(to(&b4));
        append(&mut batch, 40, number);
        batch.begin(to(&b6));
        append(&mut batch, 60, number);
        append(&mut batch, 60, number);
    }
    let stats = batch.flush(Some(&a4), Some(&a6));
    assert_eq!((stats.sent_datagrams, stats.messages, stats.syscalls), (9, 6, 2));
    assert_eq!(sizes(&receive(&b4, 3)), [40; 3]);
    assert_eq!(sizes(&receive(&b6, 6)), [60; 6]);

    batch.begin(to(&b6));
    append(&mut batch, 60, 9);
    append(&mut batch, 60, 9);
    batch.begin(to(&b4));
    append(&mut batch, 40, 9);
    let stats = batch.flush(Some(&a4), None);
    assert_eq!((stats.sent_datagrams, stats.dropped_refused), (1, 2), "no socket for IPv6");
    assert_eq!(sizes(&receive(&b4, 1)), [40]);
}

#[test]
fn trains_of_unequal_sizes_become_as_few_messages_as_can_be() {
    let (from, dest) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut batch = SendBatch::with_capacity(1 << 20, 64);
    batch.begin(to(&dest));
    // [100 100 60] [100 99] [100] [101 101 101 1] [2]
    let lens = [100, 100, 60, 100, 99, 100, 101, 101, 101, 1, 2];
    for (number, len) in lens.into_iter().enumerate() {
        batch.begin(to(&dest));
        append(&mut batch, len, number as u8);
    }
    assert_eq!(batch.datagrams(), lens.len());
    let stats = batch.flush(Some(&from), None);
    assert_eq!(
        stats,
        FlushStats {
            sent_datagrams: 11,
            sent_bytes: lens.iter().sum::<usize>() as u64,
            messages: 5,
            syscalls: 1,
            ..FlushStats::default()
        }
    );
    assert!(batch.is_empty());
    let received = receive(&dest, lens.len());
    for (number, ((path, data, truncated), len)) in received.iter().zip(lens).enumerate() {
        assert_eq!(data, &vec![number as u8; len]);
        assert_eq!((path.remote, *truncated), (from.local_addr(), false));
    }
}

#[test]
fn a_long_train_is_cut_at_what_the_kernel_takes() {
    let (from, dest) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut batch = SendBatch::with_capacity(1 << 20, 64);
    batch.begin(to(&dest));
    for number in 0..150 {
        append(&mut batch, 1200, number);
    }
    let stats = batch.flush(Some(&from), None);
    // 54 segments of 1,200 bytes are 64,800.
    assert_eq!((stats.sent_datagrams, stats.messages, stats.dropped_refused), (150, 3, 0));
    let received = receive(&dest, 150);
    assert!(received.iter().enumerate().all(|(i, (_, data, _))| data == &vec![i as u8; 1200]));
}

#[test]
fn gro_brings_a_train_as_one_message_and_it_splits_right() {
    let (from, dest) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    assert!(from.gso() && dest.gro(), "the kernel of this machine has both");
    let mut batch = SendBatch::with_capacity(1 << 20, 64);
    batch.begin(to(&dest));
    for number in 0..20 {
        append(&mut batch, if number == 19 { 7 } else { 500 }, number);
    }
    batch.flush(Some(&from), None);
    let mut recv = RecvBatch::new(4, 65_535);
    assert_eq!(wait(&[dest.as_raw_fd()], Some(Duration::from_secs(5))).unwrap(), 1);
    assert_eq!(recv.recv(&dest).unwrap(), 1);
    let message = recv.messages().next().unwrap();
    assert_eq!(message.path().remote, from.local_addr());
    let lens: Vec<(usize, u8)> = message.datagrams().map(|d| (d.data.len(), d.data[0])).collect();
    let expected: Vec<(usize, u8)> =
        (0..20).map(|number| (if number == 19 { 7 } else { 500 }, number)).collect();
    assert_eq!(lens, expected);
    let stats = recv.stats();
    assert_eq!((stats.messages, stats.datagrams, stats.bytes), (1, 20, 19 * 500 + 7));
}

#[test]
fn without_gro_the_datagrams_come_one_by_one() {
    let from = bind("127.0.0.1:0");
    let dest = UdpSocket::bind(&UdpConfig { gro: false, ..config("127.0.0.1:0") }).unwrap();
    let mut batch = SendBatch::with_capacity(1 << 16, 64);
    batch.begin(to(&dest));
    for number in 0..10 {
        append(&mut batch, 500, number);
    }
    assert_eq!(batch.flush(Some(&from), None).messages, 1);
    let mut recv = RecvBatch::new(32, 2048);
    let received = receive_with(&mut recv, &dest, 10);
    assert!(received.iter().enumerate().all(|(i, (_, data, _))| data == &[i as u8; 500]));
    assert_eq!((recv.stats().messages, recv.stats().datagrams), (10, 10));
}

#[test]
fn what_does_not_fit_into_its_buffer_is_flagged() {
    let from = bind("127.0.0.1:0");
    let dest = UdpSocket::bind(&UdpConfig { gro: false, ..config("127.0.0.1:0") }).unwrap();
    let mut batch = SendBatch::with_capacity(1 << 16, 64);
    batch.begin(to(&dest));
    for len in [1001, 1000, 1] {
        append(&mut batch, len, 3);
    }
    batch.flush(Some(&from), None);
    let mut recv = RecvBatch::new(32, 1000);
    let received = receive_with(&mut recv, &dest, 3);
    let got: Vec<(usize, bool)> =
        received.iter().map(|(_, data, cut)| (data.len(), *cut)).collect();
    assert_eq!(got, [(1000, true), (1000, false), (1, false)]);
    assert_eq!(recv.stats().truncated, 1);
}

#[test]
fn of_a_cut_train_only_the_end_is_flagged() {
    let (from, dest) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut batch = SendBatch::with_capacity(1 << 16, 64);
    batch.begin(to(&dest));
    for number in 0..5 {
        append(&mut batch, 400, number);
    }
    batch.flush(Some(&from), None);
    let mut recv = RecvBatch::new(32, 1000);
    wait(&[dest.as_raw_fd()], Some(Duration::from_secs(5))).unwrap();
    assert_eq!(recv.recv(&dest).unwrap(), 1);
    let got: Vec<(usize, bool)> = recv.datagrams().map(|d| (d.data.len(), d.truncated)).collect();
    assert_eq!(got, [(400, false), (400, false), (200, true)]);
}

#[test]
fn an_empty_datagram_is_an_empty_datagram() {
    let dest = bind("127.0.0.1:0");
    let plain = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    plain.send_to(&[], dest.local_addr()).unwrap();
    let received = receive(&dest, 1);
    assert_eq!((received[0].0.remote, received[0].1.len()), (plain.local_addr().unwrap(), 0));
}

#[test]
fn the_answer_leaves_from_the_address_that_was_reached() {
    let server = bind("0.0.0.0:0");
    let port = server.local_addr().port();
    let client = bind("127.0.0.1:0");
    let mut batch = SendBatch::with_capacity(1 << 16, 64);
    for (number, last) in [(1, 1), (2, 2), (3, 77)] {
        let reached = Ipv4Addr::new(127, 0, 0, last);
        batch.begin(Path { remote: (reached, port).into(), local: IpAddr::from([0; 4]) });
        append(&mut batch, 50, number);
        batch.flush(Some(&client), None);
        let (path, ..) = receive(&server, 1).remove(0);
        assert_eq!(path, Path { remote: client.local_addr(), local: reached.into() });

        // Single and as a train: both carry the source address.
        batch.begin(path);
        for len in [60, 60, 60, 61] {
            append(&mut batch, len, number);
        }
        assert_eq!(batch.flush(Some(&server), None).messages, 2);
        for (answer, ..) in receive(&client, 4) {
            assert_eq!(answer.remote, SocketAddr::from((reached, port)));
        }
    }
}

#[test]
fn two_sockets_share_a_port_and_its_flows() {
    let first = bind("127.0.0.1:0");
    let second = bind(&first.local_addr().to_string());
    let clients: Vec<_> =
        (0..64).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for _ in 0..2 {
        for client in &clients {
            client.send_to(b"hello", first.local_addr()).unwrap();
        }
    }
    let mut seen = [Vec::new(), Vec::new()];
    let mut batch = RecvBatch::new(64, 65_535);
    while seen[0].len() + seen[1].len() < 2 * clients.len() {
        let fds = [first.as_raw_fd(), second.as_raw_fd()];
        assert_ne!(wait(&fds, Some(Duration::from_secs(5))).unwrap(), 0, "some are missing");
        for (socket, seen) in [&first, &second].into_iter().zip(&mut seen) {
            batch.recv(socket).unwrap();
            seen.extend(batch.datagrams().map(|d| d.path.remote));
        }
    }
    for remotes in &mut seen {
        let all = remotes.len();
        remotes.sort_unstable();
        remotes.dedup();
        assert_eq!(all, 2 * remotes.len(), "both datagrams of a flow reach one socket");
    }
    assert_eq!(seen[0].len() + seen[1].len(), clients.len());
    assert!(!seen[0].is_empty() && !seen[1].is_empty(), "the kernel spread the flows");
}

#[test]
fn receivers_that_cannot_be_reached_do_not_hurt_the_others() {
    let (from, dest) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut batch = SendBatch::with_capacity(1 << 20, 64);
    let any = IpAddr::from([0; 4]);
    // Forbidden without SO_BROADCAST; no port; a source address that this machine does not have. Below: a port without
    // a socket, which UDP does not report.
    let bad = [
        Path { remote: "255.255.255.255:9".parse().unwrap(), local: any },
        Path { remote: "127.0.0.1:0".parse().unwrap(), local: any },
        Path { remote: dest.local_addr(), local: "203.0.113.5".parse().unwrap() },
    ];
    for path in bad {
        batch.begin(path);
        append(&mut batch, 100, 0);
        append(&mut batch, 100, 0);
        batch.begin(to(&dest));
        append(&mut batch, 100, 1);
        append(&mut batch, 100, 1);
    }
    batch.begin(Path { remote: "127.0.0.1:9".parse().unwrap(), local: any });
    append(&mut batch, 100, 0);
    batch.begin(to(&dest));
    append(&mut batch, 100, 1);
    let stats = batch.flush(Some(&from), None);
    assert_eq!((stats.dropped_refused, stats.sent_datagrams, stats.dropped_full), (6, 8, 0));
    assert!(from.gso());
    let received = receive(&dest, 7);
    assert!(received.iter().all(|(_, data, _)| data == &[1; 100]));
}

#[test]
fn a_datagram_beyond_what_udp_carries_is_refused_and_counted() {
    let (from, dest) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut batch = SendBatch::with_capacity(1 << 20, 64);
    batch.begin(to(&dest));
    append(&mut batch, 65_535, 0);
    append(&mut batch, 100, 1);
    let stats = batch.flush(Some(&from), None);
    assert_eq!((stats.dropped_refused, stats.sent_datagrams), (1, 1));
    assert_eq!(sizes(&receive(&dest, 1)), [100]);
}

#[test]
fn a_full_batch_says_so_and_has_room_after_a_flush() {
    let (from, dest) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut batch = SendBatch::with_capacity(3 * MIN_SPACE, 64);
    assert!(batch.space().is_none(), "no path yet");
    batch.begin(to(&dest));
    assert_eq!(batch.space().unwrap().len(), 3 * MIN_SPACE);
    append(&mut batch, MIN_SPACE, 1);
    append(&mut batch, MIN_SPACE, 2);
    assert_eq!(batch.space().unwrap().len(), MIN_SPACE);
    append(&mut batch, 1, 3);
    assert!(batch.space().is_none(), "less than the least room is left");
    assert_eq!(batch.flush(Some(&from), None).sent_datagrams, 3);
    append(&mut batch, 10, 4);
    assert_eq!(batch.flush(Some(&from), None).sent_datagrams, 1, "the path stays");
    assert_eq!(sizes(&receive(&dest, 4)), [MIN_SPACE, MIN_SPACE, 1, 10]);

    let mut batch = SendBatch::with_capacity(1 << 20, 2);
    batch.begin(to(&dest));
    append(&mut batch, 10, 0);
    append(&mut batch, 11, 0);
    assert!(batch.space().is_none(), "two messages, no more");
    assert_eq!(batch.flush(Some(&from), None), batch.totals());
    assert_eq!(batch.flush(Some(&from), None), FlushStats::default());
    receive(&dest, 2);
}

#[test]
fn commits_that_make_no_sense_are_counted_and_send_nothing() {
    let (from, dest) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut batch = SendBatch::with_capacity(4096, 64);
    batch.commit(10);
    batch.begin(to(&dest));
    batch.commit(0);
    batch.commit(4097);
    batch.commit(usize::MAX);
    assert!(batch.is_empty());
    let stats = batch.flush(Some(&from), None);
    assert_eq!(stats, FlushStats { dropped_refused: 4, ..FlushStats::default() });
}

#[test]
fn nothing_there_is_no_error() {
    let socket = bind("127.0.0.1:0");
    let mut batch = RecvBatch::new(0, 0);
    assert_eq!(batch.capacity(), 1);
    assert_eq!(batch.recv(&socket).unwrap(), 0);
    assert_eq!(batch.datagrams().count(), 0);
    assert_eq!(batch.stats().syscalls, 1);
}

#[test]
fn a_datagram_that_waited_tells_how_long() {
    for addr in ["127.0.0.1:0", "[::1]:0"] {
        let stamped = UdpConfig { timestamps: true, ..config(addr) };
        if addr.starts_with('[') && bind_v6(addr).is_none() {
            continue;
        }
        let (dest, plain) = (UdpSocket::bind(&stamped).unwrap(), bind(addr));
        // The kernel begins to take timestamps a moment after the first socket asked for them.
        std::thread::sleep(Duration::from_millis(100));
        let from = std::net::UdpSocket::bind(addr).unwrap();
        from.send_to(b"early", dest.local_addr()).unwrap();
        from.send_to(b"early", plain.local_addr()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        from.send_to(b"late", dest.local_addr()).unwrap();
        let mut batch = RecvBatch::new(8, 2_048);
        assert_eq!(batch.recv(&dest).unwrap(), 2);
        let ages: Vec<Duration> = batch.datagrams().map(|d| d.age).collect();
        assert!(ages[0] >= Duration::from_millis(50), "{ages:?}");
        assert!(ages[0] - ages[1] >= Duration::from_millis(45), "{ages:?}");
        assert_eq!(batch.recv(&plain).unwrap(), 1);
        assert!(
            batch.datagrams().all(|d| d.age.is_zero()),
            "the socket did not ask for timestamps"
        );
    }
}
