//! What a pool guarantees: recycling, bounds, and that no account takes memory from another.

use std::collections::VecDeque;

use super::*;

fn pool(bytes: usize, account_bytes: usize) -> PacketPool {
    PacketPool::new(crate::fixtures::start(), PoolLimits { bytes, account_bytes })
}

const LARGE_COST: usize = cost(LARGE);

/// Shares packets until the account is refused.
fn fill(pool: &mut PacketPool, account: Account) -> (Vec<Arc<Packet>>, DropReason) {
    let mut held = Vec::new();
    loop {
        match pool.alloc(account, 1_000) {
            Ok(buf) => held.push(pool.share(buf)),
            Err(reason) => return (held, reason),
        }
    }
}

#[test]
fn once_warm_nothing_is_allocated() {
    let mut pool = pool(1 << 20, 1 << 20);
    let account = pool.open();
    let mut held = VecDeque::new();
    for i in 0..10_000 {
        let len = if i % 3 == 0 { 100 } else { 1_200 };
        let mut buf = pool.alloc(account, len).expect("there is room");
        assert!(buf.space().len() >= len);
        held.push_back(pool.share(buf));
        if held.len() > 20 {
            held.pop_front();
        }
    }
    let stats = pool.stats();
    assert!(stats.misses < 60, "{stats:?}");
    assert_eq!((stats.refused, stats.buffers as u64), (0, stats.misses));
    assert!(stats.probes < 20_100, "two packets are looked at for each: {stats:?}");
}

#[test]
fn a_pool_is_bounded() {
    let mut pool = pool(800 * LARGE_COST, 10_000 * LARGE_COST);
    let account = pool.open();
    let (held, reason) = fill(&mut pool, account);
    // The bound is what is free of seven eighths of the pool.
    assert_eq!((held.len(), reason), (350, DropReason::SessionMemory));
    let others: Vec<Account> = (0..200).map(|_| pool.open()).collect();
    let all: Vec<_> = others.iter().map(|account| fill(&mut pool, *account).0).collect();
    assert!(pool.stats().owned_bytes <= 800 * LARGE_COST);
    assert_eq!(all.iter().map(Vec::len).sum::<usize>(), 450);
    drop(held);
    assert!(pool.alloc(account, 1_000).is_ok());
    assert_eq!(pool.alloc(account, 1_505).err(), Some(DropReason::TooLarge));
}

#[test]
fn an_account_that_fills_its_budget_costs_no_other_account_anything() {
    let mut pool = pool(100 * LARGE_COST, 20 * LARGE_COST);
    let (greedy, other) = (pool.open(), pool.open());
    let (held, reason) = fill(&mut pool, greedy);
    assert_eq!((held.len(), reason), (20, DropReason::SessionMemory));
    let (held, _) = fill(&mut pool, other);
    assert_eq!(held.len(), 20);
}

#[test]
fn a_new_account_finds_room_at_once_among_greedy_ones_and_its_share_in_time() {
    const ALL: usize = 8_000;
    let mut pool = pool(ALL * LARGE_COST, ALL * LARGE_COST);
    let mut accounts: Vec<_> = (0..20)
        .map(|_| {
            let account = pool.open();
            (account, VecDeque::from(fill(&mut pool, account).0))
        })
        .collect();
    assert!(accounts[0].1.len() > ALL / 3, "the first holds half of what there is for all");
    let newcomer = pool.open();
    let held = VecDeque::from(fill(&mut pool, newcomer).0);
    assert!(held.len() * LARGE_COST > FLOOR / 2, "{}", held.len());
    accounts.push((newcomer, held));
    // All publishers go on sending. One that is refused releases its own oldest packets.
    for _ in 0..8_000 {
        for (account, held) in &mut accounts {
            match pool.alloc(*account, 1_000) {
                Ok(buf) => held.push_back(pool.share(buf)),
                Err(reason) => {
                    assert_eq!(reason, DropReason::SessionMemory);
                    held.drain(..(held.len() / 8).max(1).min(held.len()));
                    pool.reclaim_oldest(*account);
                }
            }
        }
    }
    let shares: Vec<usize> = accounts.iter().map(|(_, held)| held.len()).collect();
    assert!(shares.iter().all(|held| (160..640).contains(held)), "{shares:?}");
}

#[test]
fn a_refusal_checks_few_packets_however_many_are_held() {
    let mut pool = pool(10_000 * LARGE_COST, 10_000 * LARGE_COST);
    let account = pool.open();
    let (held, _) = fill(&mut pool, account);
    assert!(held.len() > 4_000);
    let before = pool.stats();
    for _ in 0..1_000 {
        assert_eq!(pool.alloc(account, 1_000).err(), Some(DropReason::SessionMemory));
    }
    let after = pool.stats();
    assert_eq!(after.refused - before.refused, 1_000);
    assert!(after.probes - before.probes <= 8_000, "{after:?}");
}

#[test]
fn what_is_let_go_of_the_oldest_makes_room_for_new_packets() {
    let mut pool = pool(1_000 * LARGE_COST, 80 * LARGE_COST);
    let account = pool.open();
    let mut held = VecDeque::new();
    for seq in 0..80 {
        let mut buf = pool.alloc(account, 1_000).expect("within the budget");
        buf.packet_mut().expect("unshared").meta.seq = rtp::sequence::ExtSeq(seq);
        held.push_back(pool.share(buf));
    }
    assert!(pool.alloc(account, 1_000).is_err());
    let oldest: Vec<u64> = pool.oldest(account).map(|p| p.meta.seq.0).collect();
    // The refusal checked the first few packets and moved them to the back.
    assert_eq!(oldest.len(), 10);
    held.retain(|p| !oldest.contains(&p.meta.seq.0));
    assert!(pool.reclaim_oldest(account));
    let more: Vec<_> = (0..10).filter_map(|_| pool.alloc(account, 1_000).ok()).collect();
    assert_eq!(more.len(), 10);
}

#[test]
fn packets_that_are_held_for_long_do_not_block_the_others() {
    let mut pool = pool(256 * LARGE_COST, 64 * LARGE_COST);
    let account = pool.open();
    let start = crate::fixtures::start();
    let share = |pool: &mut PacketPool, i: u32| {
        let mut buf = pool.alloc(account, 1_000).expect("half of the budget is free");
        buf.packet_mut().expect("unshared").meta.arrival =
            start + std::time::Duration::from_millis(200) * i;
        pool.share(buf)
    };
    let stale: Vec<_> = (0..32).map(|i| share(&mut pool, i)).collect();
    for i in 32..1_000 {
        drop(share(&mut pool, i));
    }
    assert_eq!((stale.len(), pool.stats().refused), (32, 0));
    assert!(pool.stats().buffers <= 64);
}

#[test]
fn memory_of_silent_and_of_closed_accounts_serves_the_others() {
    let mut pool = pool(100 * LARGE_COST, 50 * LARGE_COST);
    let (silent, gone) = (pool.open(), pool.open());
    let held = (fill(&mut pool, silent).0, fill(&mut pool, gone).0);
    pool.close(gone);
    drop(held);
    assert!(pool.stats().used_bytes > 50 * LARGE_COST, "nobody has looked yet");
    for _ in 0..4 {
        pool.tidy();
    }
    assert_eq!(pool.stats().used_bytes, 0);
    let other = pool.open();
    assert!(fill(&mut pool, other).0.len() >= 43);
}

#[test]
fn free_buffers_of_one_size_make_room_for_the_other() {
    let mut pool = pool(10 * LARGE_COST, 10 * LARGE_COST);
    let account = pool.open();
    let mut held = Vec::new();
    while let Ok(buf) = pool.alloc(account, 100) {
        held.push(pool.share(buf));
    }
    assert!(pool.stats().owned_bytes > 9 * LARGE_COST);
    held.clear();
    pool.tidy_all();
    assert_eq!(fill(&mut pool, account).0.len(), 10);
    assert!(pool.stats().owned_bytes <= 10 * LARGE_COST);
}

#[test]
fn released_buffers_are_used_again() {
    let mut pool = pool(1 << 20, 1 << 20);
    let account = pool.open();
    for _ in 0..10 {
        let buf = pool.alloc(account, 10).expect("released");
        pool.release(buf);
    }
    let stats = pool.stats();
    assert_eq!((stats.buffers, stats.misses, stats.used_bytes), (1, 1, 0));
}

#[test]
fn a_buffer_that_was_lost_counts_until_its_account_is_closed() {
    let mut pool = pool(1 << 20, 1 << 20);
    let account = pool.open();
    let held: Vec<_> =
        (0..3).filter_map(|_| pool.alloc(account, 1_000).ok().map(|buf| pool.share(buf))).collect();
    drop(pool.alloc(account, 1_000).expect("there is room"));
    drop(pool.alloc(account, 10).expect("there is room"));
    pool.close(account);
    let stats = pool.stats();
    assert_eq!((stats.buffers, stats.used_bytes), (3, 3 * LARGE_COST));
    assert_eq!(stats.owned_bytes, 3 * LARGE_COST);
    drop(held);
    pool.tidy();
    assert_eq!(pool.stats().used_bytes, 0);
}
