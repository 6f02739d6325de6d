//! Wakes a sleeping worker.

use std::sync::Arc;

use ring::Parking;
use udp::WakeFd;

/// Wakes a sleeping worker. While the worker is awake a call costs only a load.
#[derive(Clone)]
pub(crate) struct Waker {
    parking: Arc<Parking>,
    fd: Arc<WakeFd>,
}

impl Waker {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { parking: Arc::new(Parking::new()), fd: Arc::new(WakeFd::new()?) })
    }

    /// To be called after a push that the sleeping worker must see.
    pub(crate) fn wake(&self) {
        if self.parking.should_wake() {
            self.fd.wake();
        }
    }

    /// To be called after a change that the sleeping worker needs to know only before its next datagram: wakes it if
    /// it does not wait on all of its sockets now.
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
