//! Rate limits by key: token buckets in a bounded table. A request is counted after its headers were read, so a limit
//! saves the work of answering it, but not that of reading it.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Rate;

/// Token buckets by key.
///
/// Each bucket is stored as one instant: when it will be full again. A full bucket needs no entry, so full ones are
/// removed when the table reaches its size; if none is full, all new keys share one bucket.
#[derive(Debug)]
pub(crate) struct Limiter<K> {
    rate: Rate,
    size: usize,
    table: Mutex<Table<K>>,
}

#[derive(Debug)]
struct Table<K> {
    full_at: HashMap<K, Instant>,
    overflow_full_at: Option<Instant>,
    swept: Option<Instant>,
}

/// The removal of full buckets walks the whole table, so it runs at most this often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

impl<K: Hash + Eq> Limiter<K> {
    /// A limiter that remembers at most `size` keys.
    pub(crate) fn new(rate: Rate, size: usize) -> Self {
        let table = Table { full_at: HashMap::new(), overflow_full_at: None, swept: None };
        Self { rate, size, table: Mutex::new(table) }
    }

    /// Takes one request from the key's bucket.
    ///
    /// # Errors
    /// The time after which the same request would pass.
    pub(crate) fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        if self.rate.per_second <= 0.0 {
            return Ok(());
        }
        let interval = Duration::from_secs_f64((1.0 / self.rate.per_second).min(3600.0));
        let depth = interval.saturating_mul(self.rate.burst.max(1));
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.full_at.len() >= self.size && !table.full_at.contains_key(&key) {
            table.sweep(now);
            if table.full_at.len() >= self.size {
                let full_at = table.overflow_full_at.get_or_insert(now);
                return spend(full_at, now, interval, depth);
            }
        }
        spend(table.full_at.entry(key).or_insert(now), now, interval, depth)
    }
}

impl<K: Hash + Eq> Table<K> {
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|at| now.saturating_duration_since(at) < SWEEP_INTERVAL) {
            return;
        }
        self.swept = Some(now);
        self.full_at.retain(|_, full_at| *full_at > now);
    }
}

/// Takes one request from a bucket that will be full again at `full_at`; `depth` is the time in which an empty bucket fills.
///
/// # Errors
/// The time after which the request would pass.
pub(crate) fn spend(
    full_at: &mut Instant,
    now: Instant,
    interval: Duration,
    depth: Duration,
) -> Result<(), Duration> {
    let after = (*full_at).max(now) + interval;
    let empty_by = (after - now).saturating_sub(depth);
    if empty_by > Duration::ZERO {
        return Err(empty_by);
    }
    *full_at = after;
    Ok(())
}

/// The part of an address that usually belongs to one customer: the whole IPv4 address, the /64 of an IPv6 address.
pub(crate) fn address_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(per_second: f64, burst: u32, size: usize) -> Limiter<u32> {
        Limiter::new(Rate { per_second, burst }, size)
    }

    #[test]
    fn lets_a_burst_pass_then_says_when_to_come_back() {
        let (limiter, now) = (limiter(2.0, 3, 10), Instant::now());
        for _ in 0..3 {
            assert_eq!(limiter.take(1, now), Ok(()));
        }
        assert_eq!(limiter.take(1, now), Err(Duration::from_millis(500)));
        assert_eq!(limiter.take(2, now), Ok(()), "another key has its own bucket");
        let later = now + Duration::from_millis(500);
        assert_eq!(limiter.take(1, later), Ok(()));
        assert!(limiter.take(1, later).is_err());
    }

    #[test]
    fn refused_requests_cost_nothing() {
        let (limiter, now) = (limiter(1.0, 1, 10), Instant::now());
        assert_eq!(limiter.take(1, now), Ok(()));
        for _ in 0..100 {
            assert!(limiter.take(1, now).is_err());
        }
        assert_eq!(limiter.take(1, now + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn table_stays_bounded_and_newcomers_share_a_bucket() {
        let (limiter, now) = (limiter(1.0, 1, 100), Instant::now());
        let passed = (0..1_000).filter(|key| limiter.take(*key, now).is_ok()).count();
        assert_eq!(passed, 101, "a hundred keys and the shared bucket");
        assert_eq!(limiter.table.lock().unwrap().full_at.len(), 100);
        let later = now + Duration::from_secs(5);
        assert_eq!(limiter.take(5_000, later), Ok(()));
        assert_eq!(limiter.table.lock().unwrap().full_at.len(), 1, "full buckets were swept");
    }

    #[test]
    fn zero_turns_the_limit_off() {
        let (limiter, now) = (limiter(0.0, 0, 1), Instant::now());
        assert!((0..1_000).all(|key| limiter.take(key, now).is_ok()));
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let key = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1:2:3"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
