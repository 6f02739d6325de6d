//! Sending with errors of the kernel, which these tests put in place of sendmmsg's result.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::Ipv4Addr,
    time::Duration,
};

use super::*;
use crate::{RecvBatch, SendBatch, UdpConfig, socket::set_option, wait};

thread_local! {
    /// The errors of the next calls, which then do not reach the kernel; `None` lets a call through.
    static PRETENDED: RefCell<VecDeque<Option<libc::c_int>>> = const { RefCell::new(VecDeque::new()) };
    /// How many messages a call that is let through may send.
    static MOST: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The headers that reach the kernel, or the error of the call.
pub(super) fn pretended(
    headers: &mut [libc::mmsghdr],
) -> Result<&mut [libc::mmsghdr], libc::c_int> {
    match PRETENDED.with_borrow_mut(|errors| errors.pop_front().flatten()) {
        Some(errno) => Err(errno),
        None => {
            let most = headers.len().min(MOST.get());
            Ok(&mut headers[..most])
        }
    }
}

fn pretend(errors: impl IntoIterator<Item = Option<libc::c_int>>) {
    PRETENDED.with_borrow_mut(|queue| *queue = errors.into_iter().collect());
}

fn loopback(gso: bool) -> UdpSocket {
    let addr = (Ipv4Addr::LOCALHOST, 0).into();
    UdpSocket::bind(&UdpConfig { gso, ..UdpConfig::new(addr) }).unwrap()
}

/// A batch of `trains` trains of ten datagrams of 100 bytes to `to`, each train from another local address so that they
/// do not join.
fn loaded(to: &UdpSocket, trains: u8) -> SendBatch {
    let mut batch = SendBatch::with_capacity(1 << 20, 1024);
    for train in 0..trains {
        let local = Ipv4Addr::new(127, 0, 0, train + 1).into();
        batch.begin(Path { remote: to.local_addr(), local });
        for number in 0..10 {
            batch.space().unwrap()[..100].fill(number);
            batch.commit(100);
        }
    }
    batch
}

/// The next `count` datagrams; the kernel may deliver a little later than the sender's call returns.
fn received(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
    let mut batch = RecvBatch::new(32, 65_535);
    let mut all = Vec::new();
    while all.len() < count {
        let ready = wait(&[socket.as_raw_fd()], Some(Duration::from_secs(5))).unwrap();
        assert_ne!(ready, 0, "{} of {count} came", all.len());
        batch.recv(socket).unwrap();
        all.extend(batch.datagrams().map(|datagram| datagram.data.to_vec()));
    }
    all
}

#[test]
fn a_device_that_cannot_segment_turns_gso_off_and_nothing_is_lost() {
    let (from, to) = (loopback(true), loopback(true));
    assert!(from.gso(), "the kernel of this machine has GSO");
    let mut batch = loaded(&to, 2);
    pretend([None, Some(libc::EIO)]);
    // The first call is let through: both trains are sent at once, whole.
    let stats = batch.flush(Some(&from), None);
    assert_eq!((stats.messages, stats.sent_datagrams, stats.syscalls), (2, 20, 1));
    assert!(from.gso());

    let mut batch = loaded(&to, 2);
    let stats = batch.flush(Some(&from), None);
    assert!(!from.gso(), "off for good");
    assert_eq!((stats.messages, stats.sent_datagrams, stats.sent_bytes), (20, 20, 2000));
    assert_eq!((stats.dropped_full, stats.dropped_refused, stats.syscalls), (0, 0, 2));
    assert_eq!(received(&to, 40).len(), 40);
}

#[test]
fn a_socket_without_gso_sends_trains_segment_by_segment() {
    let (from, to) = (loopback(false), loopback(true));
    let stats = loaded(&to, 10).flush(Some(&from), None);
    assert_eq!((stats.messages, stats.sent_datagrams, stats.syscalls), (100, 100, 2));
    let expected: Vec<Vec<u8>> = (0..100u8).map(|i| vec![i % 10; 100]).collect();
    assert_eq!(received(&to, expected.len()), expected);
}

#[test]
fn a_refused_train_is_split_and_gso_stays_on_for_the_others() {
    let (from, to) = (loopback(true), loopback(true));
    for errno in [libc::EINVAL, libc::EMSGSIZE] {
        let mut batch = loaded(&to, 3);
        pretend([Some(errno)]);
        let stats = batch.flush(Some(&from), None);
        assert!(from.gso());
        assert_eq!((stats.messages, stats.sent_datagrams, stats.syscalls), (12, 30, 2));
        assert_eq!(received(&to, 30).len(), 30);
    }
}

#[test]
fn a_train_that_the_kernel_itself_refuses_goes_in_pieces() {
    let (from, to) = (loopback(true), loopback(true));
    // Without checksums the kernel does not segment, and returns EINVAL.
    set_option(&from, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
    let stats = loaded(&to, 1).flush(Some(&from), None);
    assert_eq!((stats.sent_datagrams, stats.messages, stats.syscalls), (10, 10, 2));
    let expected: Vec<Vec<u8>> = (0..10).map(|i| vec![i; 100]).collect();
    assert_eq!(received(&to, expected.len()), expected);
}

#[test]
fn a_train_that_is_refused_in_pieces_too_costs_two_calls_only() {
    let (from, to) = (loopback(true), loopback(true));
    let mut batch = loaded(&to, 3);
    pretend([Some(libc::EINVAL), Some(libc::EINVAL)]);
    let stats = batch.flush(Some(&from), None);
    assert_eq!((stats.sent_datagrams, stats.dropped_refused, stats.syscalls), (20, 10, 3));
    assert_eq!(received(&to, 20).len(), 20);
}

/// Committed = sent + kept + dropped, and the kept datagrams are those in the batch.
fn adds_up(before: u64, committed: u64, stats: FlushStats, batch: &SendBatch) {
    let dropped = stats.dropped_full + stats.dropped_refused;
    let after = stats.sent_datagrams + stats.kept_datagrams + dropped;
    assert_eq!(before + committed, after, "{stats:?}");
    assert_eq!(stats.kept_datagrams, batch.datagrams() as u64);
    assert_eq!(batch.is_blocked(), stats.kept_datagrams > 0);
    assert_eq!(batch.is_blocked(), batch.is_blocked_v4() || batch.is_blocked_v6());
}

#[test]
fn a_full_socket_keeps_the_datagrams_and_the_next_flush_sends_them() {
    let (from, to) = (loopback(true), loopback(true));
    let mut batch = loaded(&to, 3);
    pretend([Some(libc::EAGAIN)]);
    let stats = batch.flush(Some(&from), None);
    adds_up(0, 30, stats, &batch);
    assert_eq!((stats.kept_datagrams, stats.syscalls), (30, 1), "nothing waits");
    assert!(batch.is_blocked_v4() && !batch.is_blocked_v6());

    let stats = batch.flush(Some(&from), None);
    adds_up(30, 0, stats, &batch);
    assert_eq!((stats.sent_datagrams, stats.syscalls), (30, 1));
    assert!(batch.is_empty() && !batch.is_blocked_v4());
    let expected: Vec<Vec<u8>> = (0..30u8).map(|i| vec![i % 10; 100]).collect();
    assert_eq!(received(&to, 30), expected);
    assert_eq!((batch.totals().sent_datagrams, batch.totals().kept_datagrams), (30, 0));
}

#[test]
fn a_flush_goes_on_in_the_middle_of_a_train() {
    let (from, to) = (loopback(false), loopback(true));
    let mut batch = loaded(&to, 10);
    pretend([None, Some(libc::EAGAIN)]);
    let stats = batch.flush(Some(&from), None);
    adds_up(0, 100, stats, &batch);
    assert_eq!((stats.sent_datagrams, stats.kept_datagrams), (64, 36), "a call takes 64");
    // Behind the kept ones, and in a message of its own although the path is the same.
    batch.space().unwrap()[..100].fill(10);
    batch.commit(100);
    let stats = batch.flush(Some(&from), None);
    adds_up(36, 1, stats, &batch);
    assert_eq!((stats.sent_datagrams, stats.messages), (37, 37));
    let expected = (0..100u8).map(|i| vec![i % 10; 100]).chain([vec![10; 100]]);
    assert_eq!(received(&to, 101), expected.collect::<Vec<_>>());

    // A train that is sent in pieces (EINVAL) stops after three of them; the other trains stay whole.
    let from = loopback(true);
    let mut batch = loaded(&to, 3);
    pretend([Some(libc::EINVAL), None, Some(libc::EAGAIN)]);
    MOST.set(3);
    let stats = batch.flush(Some(&from), None);
    MOST.set(usize::MAX);
    adds_up(0, 30, stats, &batch);
    assert_eq!((stats.sent_datagrams, stats.kept_datagrams), (3, 27));
    let stats = batch.flush(Some(&from), None);
    assert_eq!((stats.sent_datagrams, stats.messages), (27, 7 + 2));
    let expected: Vec<Vec<u8>> = (0..30u8).map(|i| vec![i % 10; 100]).collect();
    assert_eq!(received(&to, 30), expected);
}

#[test]
fn many_short_steps_through_a_full_socket_keep_order_and_count() {
    let (trains, pieces, to) = (loopback(true), loopback(false), loopback(true));
    let path = |local| Path { remote: to.local_addr(), local: Ipv4Addr::from(local).into() };
    // Room for some forty datagrams beyond the minimum, so that the arena has to be reused many times.
    let mut batch = SendBatch::with_capacity(12_000, 64);
    let (mut next, mut sent, mut all) = (0u32, 0, Vec::new());
    let mut stopped_within = 0;
    let mut random = 1u32;
    for _ in 0..2_000 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let wanted = random >> 28;
        batch.begin(path([127, 0, 0, 1 + (random >> 20 & 1) as u8]));
        let (before, mut committed) = (batch.datagrams() as u64, 0);
        for _ in 0..wanted {
            let Some(space) = batch.space() else { break };
            // Lengths change from time to time, so that trains end.
            let len = 200 + (next / 7 % 3) as usize * 10;
            space[..len].fill(0);
            space[..4].copy_from_slice(&next.to_be_bytes());
            batch.commit(len);
            (next, committed) = (next + 1, committed + 1);
        }
        // Nothing, a few messages or all of them are sent, with GSO or without.
        MOST.set((random >> 24 & 7) as usize + 1);
        let full = Some(libc::EAGAIN);
        pretend(match random >> 22 & 3 {
            0 => vec![],
            1 => vec![full],
            _ => vec![None, full],
        });
        let from = if random >> 21 & 1 == 0 { &trains } else { &pieces };
        let stats = batch.flush(Some(from), None);
        stopped_within += usize::from(stats.sent_datagrams > 0 && stats.kept_datagrams > 0);
        adds_up(before, committed, stats, &batch);
        sent += stats.sent_datagrams;
        all.extend(received(&to, stats.sent_datagrams as usize));
    }
    pretend([]);
    MOST.set(usize::MAX);
    let stats = batch.flush(Some(&trains), None);
    all.extend(received(&to, stats.sent_datagrams as usize));
    assert!(next > 5_000, "{next} were committed");
    assert!(stopped_within > 500, "{stopped_within} flushes sent a part");
    assert_eq!(sent + stats.sent_datagrams, u64::from(next));
    assert!(batch.is_empty());
    let numbers = all.iter().map(|data| u32::from_be_bytes(data[..4].try_into().unwrap()));
    assert!(numbers.eq(0..next), "in order, none twice, none lost");
    let lens =
        all.iter().zip(0..next).all(|(data, i)| data.len() == 200 + (i / 7 % 3) as usize * 10);
    assert!(lens);
}

#[test]
fn a_full_socket_of_one_family_does_not_hold_up_the_other() {
    let (from4, to4) = (loopback(true), loopback(true));
    let v6 = || UdpSocket::bind(&UdpConfig::new((std::net::Ipv6Addr::LOCALHOST, 0).into()));
    let (Ok(from6), Ok(to6)) = (v6(), v6()) else {
        eprintln!("no IPv6 on this machine");
        return;
    };
    let mut batch = SendBatch::with_capacity(1 << 16, 64);
    let commit = |batch: &mut SendBatch, to: &UdpSocket, fill: u8| {
        let local = to.local_addr().ip();
        batch.begin(Path { remote: to.local_addr(), local });
        for _ in 0..3 {
            batch.space().unwrap()[..50].fill(fill);
            batch.commit(50);
        }
    };
    for fill in 0..4 {
        commit(&mut batch, &to4, fill);
        commit(&mut batch, &to6, fill);
    }
    pretend([Some(libc::EAGAIN)]);
    let stats = batch.flush(Some(&from4), Some(&from6));
    adds_up(0, 24, stats, &batch);
    assert_eq!((stats.sent_datagrams, stats.kept_datagrams), (12, 12));
    assert!(batch.is_blocked_v4() && !batch.is_blocked_v6());
    assert_eq!(received(&to6, 12).len(), 12);

    // Now the other way round, with more behind: IPv4 goes on, IPv6 stays.
    commit(&mut batch, &to6, 4);
    commit(&mut batch, &to4, 4);
    pretend([None, Some(libc::EAGAIN)]);
    let stats = batch.flush(Some(&from4), Some(&from6));
    adds_up(12, 6, stats, &batch);
    assert!(!batch.is_blocked_v4() && batch.is_blocked_v6());
    let expected: Vec<Vec<u8>> = (0..15).map(|i| vec![i / 3; 50]).collect();
    assert_eq!(received(&to4, 15), expected);

    // The socket is gone: the datagrams that were kept for it are refused.
    let stats = batch.flush(Some(&from4), None);
    adds_up(3, 0, stats, &batch);
    assert_eq!(stats.dropped_refused, 3);
}

#[test]
fn a_caller_may_give_up_what_was_kept() {
    let (from, to) = (loopback(true), loopback(true));
    let mut batch = loaded(&to, 2);
    assert_eq!(batch.drop_kept(), 0, "nothing was kept yet");
    pretend([Some(libc::EAGAIN)]);
    adds_up(0, 20, batch.flush(Some(&from), None), &batch);
    batch.space().unwrap()[..70].fill(77);
    batch.commit(70);
    assert_eq!(batch.drop_kept(), 20);
    assert!(!batch.is_blocked());
    assert_eq!((batch.datagrams(), batch.totals().dropped_full), (1, 20));
    let stats = batch.flush(Some(&from), None);
    adds_up(1, 0, stats, &batch);
    assert_eq!(received(&to, 1), [[77; 70]]);
    assert_eq!((batch.totals().sent_datagrams, batch.totals().kept_datagrams), (1, 0));
}

#[test]
fn what_is_kept_takes_room_until_it_is_sent() {
    let (from, to) = (loopback(true), loopback(true));
    let mut batch = SendBatch::with_capacity(2 * crate::MIN_SPACE, 3);
    for fill in 0..2 {
        let local = Ipv4Addr::new(127, 0, 0, fill + 1).into();
        batch.begin(Path { remote: to.local_addr(), local });
        batch.space().unwrap()[..1_500].fill(fill);
        batch.commit(1_500);
        pretend([Some(libc::EAGAIN)]);
        batch.flush(Some(&from), None);
    }
    assert!(batch.space().is_none(), "less than the least room is left");
    batch.commit(1);
    let stats = batch.flush(Some(&from), None);
    assert_eq!((stats.sent_datagrams, stats.dropped_refused), (2, 1));
    assert_eq!(batch.space().unwrap().len(), 2 * crate::MIN_SPACE);
    received(&to, 2);
}

#[test]
fn a_batch_without_sockets_hands_out_each_datagram() {
    let (from, to) = (loopback(true), loopback(true));
    let mut batch = loaded(&to, 3);
    pretend([Some(libc::EAGAIN)]);
    batch.flush(Some(&from), None);
    batch.space().unwrap()[..30].fill(1);
    batch.commit(30);
    batch.space().unwrap()[..40].fill(2);
    batch.commit(40);
    let mut all = Vec::new();
    let stats = batch.drain(|path, bytes| all.push((path, bytes.to_vec())));
    adds_up(30, 2, stats, &batch);
    assert_eq!((stats.sent_datagrams, stats.sent_bytes), (32, 3_070));
    assert_eq!((stats.messages, stats.syscalls), (5, 0));
    assert!(batch.is_empty());
    for (index, (path, bytes)) in all.iter().enumerate() {
        let (train, expected) = match index {
            30 => (3, vec![1; 30]),
            31 => (3, vec![2; 40]),
            index => (index / 10 + 1, vec![(index % 10) as u8; 100]),
        };
        let local = Ipv4Addr::new(127, 0, 0, train as u8).into();
        assert_eq!(*path, Path { remote: to.local_addr(), local });
        assert_eq!(*bytes, expected);
    }
    assert_eq!(batch.drain(|_, _| panic!("it is empty")), FlushStats::default());
}

#[test]
fn signals_without_end_do_not_hold_a_flush() {
    let (from, to) = (loopback(true), loopback(true));
    let mut batch = loaded(&to, 1);
    pretend([Some(libc::EINTR)]);
    assert_eq!(batch.flush(Some(&from), None).sent_datagrams, 10);
    let mut batch = loaded(&to, 1);
    pretend([Some(libc::EINTR); 1000]);
    let stats = batch.flush(Some(&from), None);
    pretend([]);
    assert_eq!((stats.kept_datagrams, stats.syscalls), (10, u64::from(MAX_INTERRUPTS) + 1));
}

#[test]
fn no_error_number_makes_a_flush_turn_in_circles_or_lose_count() {
    let to = loopback(true);
    for errno in 1..=133 {
        let from = loopback(true);
        let mut batch = loaded(&to, 4);
        pretend([Some(errno); 1000]);
        let stats = batch.flush(Some(&from), None);
        pretend([]);
        adds_up(0, 40, stats, &batch);
        assert_eq!(stats.sent_datagrams, 0, "errno {errno}");
        assert!(stats.syscalls <= 60, "errno {errno}: {} calls", stats.syscalls);
    }
}

#[test]
fn memory_shortage_costs_a_message_when_it_lasts() {
    let (from, to) = (loopback(true), loopback(true));
    let mut batch = loaded(&to, 3);
    for (errno, before) in [(libc::ENOBUFS, 0), (libc::ENOMEM, 30)] {
        if before > 0 {
            batch = loaded(&to, 3);
        }
        pretend([Some(errno)]);
        let stats = batch.flush(Some(&from), None);
        adds_up(0, 30, stats, &batch);
        assert_eq!((stats.kept_datagrams, stats.dropped_full), (30, 0));
        // The same message fails again, and then the message behind it once: one is dropped, the other kept.
        pretend([Some(errno), Some(errno)]);
        let stats = batch.flush(Some(&from), None);
        adds_up(30, 0, stats, &batch);
        assert_eq!((stats.kept_datagrams, stats.dropped_full), (20, 10));
        let stats = batch.flush(Some(&from), None);
        adds_up(20, 0, stats, &batch);
        assert_eq!(stats.sent_datagrams, 20);
        received(&to, 20);
    }
}
