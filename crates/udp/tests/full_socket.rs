//! What happens when a socket's buffer is really full: no datagram is lost, no call waits, the order stays.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "a network namespace is made by a system call")]
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod slow_line;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use model::Path;
use sfumato_udp::{RecvBatch, SendBatch, UdpConfig, UdpSocket, wait_both};
use slow_line::on_slow_line;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A sender with a buffer of 20 kB (the kernel doubles that), and a receiver.
fn pair(ip: IpAddr, gso: bool) -> (UdpSocket, UdpSocket) {
    let config = UdpConfig { gso, ..UdpConfig::new((ip, 0).into()) };
    let from = UdpSocket::bind(&UdpConfig { send_buffer: Some(20_000), ..config }).unwrap();
    let to = UdpSocket::bind(&UdpConfig { recv_buffer: Some(8 << 20), ..config }).unwrap();
    (from, to)
}

fn to(socket: &UdpSocket) -> Path {
    Path { remote: socket.local_addr(), local: socket.local_addr().ip() }
}

/// Commits a datagram of 500 bytes that carries its number; `false` if there is no room.
fn commit(batch: &mut SendBatch, number: u32) -> bool {
    let Some(space) = batch.space() else { return false };
    space[..500].fill(7);
    space[..4].copy_from_slice(&number.to_be_bytes());
    batch.commit(500);
    true
}

/// The numbers that have arrived.
fn numbers(batch: &mut RecvBatch, socket: &UdpSocket) -> Vec<u32> {
    let mut all = Vec::new();
    while batch.recv(socket).unwrap() > 0 {
        all.extend(batch.datagrams().map(|datagram| {
            assert_eq!(datagram.data.len(), 500);
            u32::from_be_bytes(datagram.data[..4].try_into().unwrap())
        }));
    }
    all
}

#[test]
fn a_line_that_is_too_slow_loses_nothing_and_keeps_the_order() {
    const COUNT: u32 = 4_000;
    for gso in [true, false] {
        on_slow_line("100mbit", || {
            let (from, dest) = pair(V4, gso);
            // Trains of ten. The arena is smaller than all that is sent, so that it is reused again and again.
            let mut batch = SendBatch::with_capacity(50_000, 64);
            let (mut recv, mut came) = (RecvBatch::new(32, 65_535), Vec::new());
            let (mut committed, mut blocked) = (0, 0);
            let begun = Instant::now();
            while came.len() < COUNT as usize {
                assert!(begun.elapsed() < Duration::from_secs(60), "{} came", came.len());
                while committed < COUNT {
                    if committed % 10 == 0 {
                        // Another source address, so that a new train begins.
                        let local = Ipv4Addr::new(127, 0, 0, 1 + (committed / 10 % 2) as u8);
                        batch.begin(Path { local: local.into(), ..to(&dest) });
                    }
                    if !commit(&mut batch, committed) {
                        break;
                    }
                    committed += 1;
                }
                let stats = batch.flush(Some(&from), None);
                let gone = batch.totals();
                assert_eq!(gone.sent_datagrams + stats.kept_datagrams, u64::from(committed));
                assert_eq!((gone.dropped_full, gone.dropped_refused), (0, 0));
                assert_eq!(batch.is_blocked_v4(), stats.kept_datagrams > 0);
                blocked += u32::from(batch.is_blocked());
                let full: &[_] = if batch.is_blocked() { &[from.as_raw_fd()] } else { &[] };
                let timeout = Some(Duration::from_secs(5));
                let ready = wait_both(&[dest.as_raw_fd()], full, timeout).unwrap();
                assert!(ready.readable | ready.writable != 0, "neither side goes on");
                came.extend(numbers(&mut recv, &dest));
            }
            assert!(blocked >= 20, "the socket was full {blocked} times (GSO: {gso})");
            assert!(came.iter().copied().eq(0..COUNT), "in order, none twice (GSO: {gso})");
            assert!(batch.is_empty());
        });
    }
}

#[test]
fn a_full_socket_is_not_writable_and_the_other_familys_socket_goes_on() {
    on_slow_line("2mbit", || {
        let (from4, dest4) = pair(V4, true);
        let (from6, dest6) = pair(V6, true);
        let mut batch = SendBatch::with_capacity(1 << 20, 1_024);
        let mut number = 0;
        while !batch.is_blocked() {
            assert!(number < 1_000, "500 kB went into a buffer of 40 kB");
            batch.begin(to(&dest4));
            assert!(commit(&mut batch, number));
            number += 1;
            batch.flush(Some(&from4), Some(&from6));
        }
        let (v4, v6) = (from4.as_raw_fd(), from6.as_raw_fd());
        let now = wait_both(&[], &[v4, v6], Some(Duration::ZERO)).unwrap();
        assert_eq!(now.writable, 0b10);

        // Behind the kept datagrams: one more for each socket.
        batch.begin(to(&dest6));
        assert!(commit(&mut batch, 77));
        batch.begin(to(&dest4));
        assert!(commit(&mut batch, number));
        let (begun, stats) = (Instant::now(), batch.flush(Some(&from4), Some(&from6)));
        assert!(begun.elapsed() < Duration::from_millis(50), "a flush does not wait");
        assert_eq!((stats.sent_datagrams, stats.kept_datagrams), (1, 2));
        assert!(batch.is_blocked_v4() && !batch.is_blocked_v6());

        let mut ready = 0;
        while ready & 1 == 0 {
            ready = wait_both(&[], &[v4], Some(Duration::from_secs(5))).unwrap().writable;
            assert_ne!(ready, 0, "it becomes writable");
        }
        let stats = batch.flush(Some(&from4), Some(&from6));
        assert_eq!((stats.sent_datagrams, stats.kept_datagrams), (2, 0));
        let (mut recv, mut came, mut came6) = (RecvBatch::new(32, 65_535), Vec::new(), Vec::new());
        while came.len() <= number as usize || came6.is_empty() {
            let fds = [dest4.as_raw_fd(), dest6.as_raw_fd()];
            assert_ne!(wait_both(&fds, &[], Some(Duration::from_secs(5))).unwrap().readable, 0);
            came.extend(numbers(&mut recv, &dest4));
            came6.extend(numbers(&mut recv, &dest6));
        }
        assert!(came.iter().copied().eq(0..=number));
        assert_eq!(came6, [77]);
    });
}
