//! Places for connections: so many in all, and of them so many for one address. Requests that only read are not
//! rate-limited, so without a share of its own one host could sit on every place by reading a little now and then.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::address_key;

/// An address may have one of so many places. Proxies on other hosts are the ones who need many.
const SHARE: usize = 4;

/// The places of one listener.
pub(crate) struct Places {
    free: Arc<Semaphore>,
    per_address: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place, until it is dropped.
pub(crate) struct Place {
    address: Option<IpAddr>,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Places {
    /// This many places in all.
    pub(crate) fn new(connections: usize) -> Self {
        let connections = connections.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(connections)),
            per_address: connections.div_ceil(SHARE),
            taken: Arc::default(),
        }
    }

    /// Waits until a place is free.
    pub(crate) async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.free.clone().acquire_owned().await.ok()
    }

    /// Gives the place that was waited for to a connection; `None` when its address has its share. This machine's own
    /// addresses have no share: they are those of a proxy in front.
    pub(crate) fn give(
        &self,
        permit: Option<OwnedSemaphorePermit>,
        address: SocketAddr,
    ) -> Option<Place> {
        let ip = address.ip().to_canonical();
        let address = (!ip.is_loopback()).then(|| address_key(ip));
        if let Some(address) = address {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            // As many entries as connections, and so no more than places.
            let count = taken.entry(address).or_default();
            if *count >= self.per_address {
                return None;
            }
            *count += 1;
        }
        Some(Place { address, taken: self.taken.clone(), _permit: permit })
    }
}

impl Drop for Place {
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

    #[tokio::test]
    async fn one_address_gets_a_quarter_of_the_places_and_the_others_the_rest() {
        let places = Places::new(8);
        let from = |text: &str| SocketAddr::new(text.parse().unwrap(), 1);
        let give = async |text: &str| places.give(places.wait().await, from(text));
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(give("2001:db8::1").await.unwrap());
        }
        assert!(give("2001:db8::2").await.is_none(), "the same network");
        for _ in 0..2 {
            held.push(give("192.0.2.1").await.unwrap());
        }
        assert!(give("::ffff:192.0.2.1").await.is_none());
        for _ in 0..4 {
            held.push(give("127.0.0.1").await.unwrap());
        }
        assert_eq!(places.free.available_permits(), 0, "refused ones hold nothing");
        held.remove(0);
        assert!(give("2001:db8::2").await.is_some());
        held.clear();
        assert_eq!(places.free.available_permits(), 8);
        assert!(places.taken.lock().unwrap().is_empty());
    }
}
