//! Neither receiving nor sending allocates, from the first packet on.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "an allocator that counts has to be one")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    net::Ipv4Addr,
    os::fd::AsRawFd,
    time::Duration,
};

mod slow_line;

use model::Path;
use sfumato_udp::{RecvBatch, SendBatch, UdpConfig, UdpSocket, wait, wait_both};

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: the system's allocator does the work, unchanged. Counting uses a thread-local without destructor, which
// allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and every block came from `System`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn packets_cost_no_allocation() {
    let bind = |gro, gso| {
        let addr = (Ipv4Addr::LOCALHOST, 0).into();
        UdpSocket::bind(&UdpConfig { gro, gso, ..UdpConfig::new(addr) }).unwrap()
    };
    for offload in [true, false] {
        let (from, dest) = (bind(offload, offload), bind(offload, offload));
        let mut send = SendBatch::with_capacity(1 << 16, 64);
        let mut recv = RecvBatch::new(32, 65_535);
        let good = Path { remote: dest.local_addr(), local: Ipv4Addr::LOCALHOST.into() };
        let bad = Path { remote: "255.255.255.255:9".parse().unwrap(), ..good };

        let before = COUNT.get();
        assert!(before > 0, "the counter counts");
        let mut received = 0;
        for round in 0..100 {
            for (path, count) in [(good, 20), (bad, 3)] {
                send.begin(path);
                for _ in 0..count {
                    let space = send.space().unwrap();
                    space[..300].fill(7);
                    send.commit(300);
                }
            }
            let stats = send.flush(Some(&from), None);
            assert_eq!((stats.sent_datagrams, stats.dropped_refused), (20, 3));
            while received < (round + 1) * 20 {
                assert_ne!(wait(&[dest.as_raw_fd()], Some(Duration::from_secs(5))).unwrap(), 0);
                recv.recv(&dest).unwrap();
                received += recv.datagrams().filter(|d| d.data == [7; 300]).count();
            }
        }
        let allocations = COUNT.get() - before;
        assert_eq!(received, 2000);
        assert_eq!(allocations, 0, "with offload: {offload}");
    }
}

#[test]
fn a_full_socket_costs_no_allocation() {
    slow_line::on_slow_line("100mbit", || {
        let config = UdpConfig::new((Ipv4Addr::LOCALHOST, 0).into());
        let dest = UdpSocket::bind(&config).unwrap();
        let from = UdpSocket::bind(&UdpConfig { send_buffer: Some(20_000), ..config }).unwrap();
        let mut send = SendBatch::with_capacity(50_000, 64);
        let before = COUNT.get();
        let (mut committed, mut kept) = (0u32, 0);
        while kept < 50 {
            assert!(committed < 100_000, "the socket was full {kept} times only");
            // Two paths in turn, so that there are many trains.
            let local = Ipv4Addr::new(127, 0, 0, 1 + (committed % 2) as u8);
            send.begin(Path { remote: dest.local_addr(), local: local.into() });
            while let Some(space) = send.space().filter(|_| committed % 7 < 6) {
                space[..300].fill(7);
                send.commit(300);
                committed += 1;
            }
            committed += 1;
            kept += u32::from(send.flush(Some(&from), None).kept_datagrams > 0);
            if send.is_blocked() && send.space().is_none() {
                wait_both(&[], &[from.as_raw_fd()], Some(Duration::from_secs(5))).unwrap();
            }
        }
        assert!(send.drop_kept() > 0);
        assert_eq!(COUNT.get() - before, 0);
    });
}
