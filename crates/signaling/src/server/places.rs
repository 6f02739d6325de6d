//! Places for connections: so many in all, and of them so many for one address. Requests that only read are not
//! rate-limited, so without a share of its own one host could sit on every place by reading a little now and then.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::address_key;

/// An address may have one of so many places. Networks behind one address are the ones that need many.
const SHARE: usize = 4;

/// The places of one listener.
pub(super) struct Places {
    free: Arc<Semaphore>,
    shares: Shares,
}

/// What each address has of the places.
#[derive(Clone)]
pub(super) struct Shares {
    per_address: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One place of an address's share, until it is dropped.
pub(super) struct Share {
    address: Option<IpAddr>,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Places {
    /// This many places in all.
    pub(super) fn new(connections: usize) -> Self {
        let connections = connections.clamp(1, Semaphore::MAX_PERMITS);
        let shares = Shares { per_address: connections.div_ceil(SHARE), taken: Arc::default() };
        Self { free: Arc::new(Semaphore::new(connections)), shares }
    }

    /// Waits until a place is free.
    pub(super) async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.free.clone().acquire_owned().await.ok()
    }

    /// The shares by themselves: whose a connection is may be known only after its PROXY header.
    pub(super) fn shares(&self) -> Shares {
        self.shares.clone()
    }
}

impl Shares {
    /// One of the address's share; `None` when all of them are taken. This machine's own addresses have no share: they are
    /// those of a proxy in front.
    pub(super) fn take(&self, address: IpAddr) -> Option<Share> {
        let address = address.to_canonical();
        let address = (!address.is_loopback()).then(|| address_key(address));
        if let Some(address) = address {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            // An address without places has no entry, so there are at most as many as connections and requests under way.
            let count = taken.entry(address).or_default();
            if *count >= self.per_address {
                return None;
            }
            *count += 1;
        }
        Some(Share { address, taken: self.taken.clone() })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_gets_a_quarter_of_the_places_and_the_others_the_rest() {
        let places = Places::new(8);
        let take = |text: &str| places.shares.take(text.parse().unwrap());
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(take("2001:db8::1").unwrap());
        }
        assert!(take("2001:db8::2").is_none(), "the same network");
        for _ in 0..2 {
            held.push(take("192.0.2.1").unwrap());
        }
        assert!(take("::ffff:192.0.2.1").is_none());
        for _ in 0..4 {
            held.push(take("127.0.0.1").unwrap());
        }
        held.remove(0);
        assert!(take("2001:db8::2").is_some());
        held.clear();
        assert!(places.shares.taken.lock().unwrap().is_empty());
    }
}
