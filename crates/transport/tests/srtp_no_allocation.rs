//! Sealing and opening allocate nothing per packet, whether the packet is accepted or refused.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use sfumato_transport::srtp::{Profile, Receiver, Sender, SrtpError};

thread_local! {
    /// Allocator calls of this thread: other threads belong to the test harness.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    CALLS.with(|calls| calls.set(calls.get() + 1));
}

#[expect(unsafe_code, reason = "an allocator can be written in no other way")]
// SAFETY: every call goes to the system's allocator unchanged, which upholds the contract. The counter is a plain
// cell without a destructor, so counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller upholds the contract of `dealloc`, and `ptr` came from the system's allocator.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the contract of `realloc`, and `ptr` came from the system's allocator.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HEADER: usize = 12;
const LEN: usize = 1200;

fn fill_header(buf: &mut [u8], index: u32) {
    buf[..HEADER].copy_from_slice(&[0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    buf[2..4].copy_from_slice(&(index as u16).to_be_bytes());
}

/// Seals and opens one packet, then its replay and a forgery.
fn round(sender: &mut Sender, receiver: &mut Receiver, index: u32) {
    let mut buf = [0x55; 1500];
    let mut out = [0; 1500];
    fill_header(&mut buf, index);
    let len = sender.seal_rtp(&mut buf, HEADER, LEN, index >> 16).unwrap();
    let opened = receiver.open_rtp(&buf[..len], HEADER, &mut out).unwrap();
    assert_eq!((opened.len, opened.index), (LEN, u64::from(index)));
    assert_eq!(out[HEADER..LEN], [0x55; LEN - HEADER]);
    let replayed = receiver.open_rtp(&buf[..len], HEADER, &mut out);
    assert_eq!(replayed, Err(SrtpError::Replay));

    fill_header(&mut buf, index + 1);
    let forged = receiver.open_rtp(&buf[..len], HEADER, &mut out);
    assert_eq!(forged, Err(SrtpError::Auth));

    let mut report = [0; 100];
    report[..8].copy_from_slice(&[0x81, 201, 0, 7, 0, 0, 0, 1]);
    let len = sender.seal_rtcp(&mut report, 32).unwrap();
    let mut replay = report;
    assert_eq!(receiver.open_rtcp(&mut report[..len]), Ok(32));
    assert_eq!(receiver.open_rtcp(&mut replay[..len]), Err(SrtpError::Replay));
}

#[test]
fn no_packet_costs_an_allocation() {
    for &profile in Profile::ALL {
        let (key, salt) = ([7; 32], [9; 14]);
        let (key, salt) = (&key[..profile.key_len()], &salt[..profile.salt_len()]);
        let mut sender = Sender::new(profile, key, salt).unwrap();
        let mut receiver = Receiver::new(profile, key, salt).unwrap();
        round(&mut sender, &mut receiver, 65_000);
        let before = CALLS.get();
        // Over a wrap of the sequence number.
        for index in 65_001..67_000 {
            round(&mut sender, &mut receiver, index);
        }
        assert_eq!(CALLS.get(), before, "{profile:?}");
    }
}

#[test]
fn the_counter_counts() {
    let before = CALLS.get();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(CALLS.get(), before + 2);
}
