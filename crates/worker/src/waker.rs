//! Waking a worker that sleeps.

use std::sync::Arc;

use ring::Parking;
use udp::WakeFd;

/// Wakes a worker that sleeps; costs a load while it is awake.
#[derive(Clone)]
pub(crate) struct Waker {
    parking: Arc<Parking>,
    fd: Arc<WakeFd>,
}

impl Waker {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { parking: Arc::new(Parking::new()), fd: Arc::new(WakeFd::new()?) })
    }

    /// To be called after the push that the sleeper must see.
    pub(crate) fn wake(&self) {
        if self.parking.should_wake() {
            self.fd.wake();
        }
    }

    /// To be called after a change that the sleeper only has to know of before the next datagram: wakes it if it does not
    /// listen to all of its sockets now.
    pub(crate) fn hint(&self) {
        if self.parking.should_wake_for_hint() {
            self.fd.wake();
        }
    }

    pub(crate) fn parking(&self) -> &Parking {
        &self.parking
    }

    pub(crate) fn fd(&self) -> &WakeFd {
        &self.fd
    }
}
