//! Places for connections: a number in all, and a share of them for one address. Requests that only read are not
//! rate-limited, so without shares one host could hold every place by reading a little now and then.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::address_key;

/// The share of one address is the places divided by this. It is large, because networks behind one address need many
/// connections.
const SHARE: usize = 4;

/// The places of one listener.
pub(super) struct Places {
    free: Arc<Semaphore>,
    shares: Shares,
}

/// The places that each address has taken.
#[derive(Clone)]
pub(super) struct Shares {
    per_address: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One place of an address's share; given back when dropped.
pub(super) struct Share {
    address: Option<IpAddr>,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Places {
    /// `connections` places in all.
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

    /// The shares apart from the places: the client of a connection may be known only after its PROXY header.
    pub(super) fn shares(&self) -> Shares {
        self.shares.clone()
    }
}

impl Shares {
    /// Takes one place of the address's share; `None` when the share is used up. Loopback addresses have no limit:
    /// their connections come from a proxy on this machine.
    pub(super) fn take(&self, address: IpAddr) -> Option<Share> {
        let address = address.to_canonical();
        let address = (!address.is_loopback()).then(|| address_key(address));
        if let Some(address) = address {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            // An address without places has no entry, so there are at most as many entries as connections and requests
            // under way.
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
