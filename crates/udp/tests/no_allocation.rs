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

use model::Path;
use sfumato_udp::{RecvBatch, SendBatch, UdpConfig, UdpSocket, wait};

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: the system's allocator does the work, unchanged. Counting uses a thread-local without destructor, which allocates nothing.
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
