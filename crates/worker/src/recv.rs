//! Step 1: datagrams from the kernel.

use std::{
    os::fd::{AsRawFd, RawFd},
    time::{Duration, Instant},
};

use udp::{RecvBatch, UdpSocket, WakeFd};

use crate::core::Worker;

/// Messages of one receive call; each may be a train of many datagrams.
const MESSAGES: usize = 32;
/// Bytes of one message: the longest train that the kernel joins.
const TRAIN: usize = 64 << 10;
/// Receive calls for one socket in one turn: what has come in must also go out.
const CALLS_PER_TURN: usize = 4;

/// The sockets of one worker, and the buffers that datagrams come into.
pub(crate) struct Inbox {
    pub(crate) v4: Option<UdpSocket>,
    pub(crate) v6: Option<UdpSocket>,
    batch: Option<RecvBatch>,
}

impl Inbox {
    pub(crate) fn new(v4: Option<UdpSocket>, v6: Option<UdpSocket>) -> Self {
        Self { v4, v6, batch: Some(RecvBatch::new(MESSAGES, TRAIN)) }
    }

    /// Sleeps until a datagram comes, the bell rings or the time is up.
    pub(crate) fn wait(&self, bell: &WakeFd, timeout: Duration) {
        let mut fds: [RawFd; 3] = [bell.as_raw_fd(); 3];
        let mut n = 1;
        for socket in [&self.v4, &self.v6].into_iter().flatten() {
            fds[n] = socket.as_raw_fd();
            n += 1;
        }
        if let Err(error) = udp::wait(&fds[..n], Some(timeout)) {
            // Only a defect of ours makes poll fail; do not spin on it.
            tracing::error!(%error, "waiting for datagrams failed");
            std::thread::sleep(timeout.min(Duration::from_millis(10)));
        }
    }
}

impl Worker {
    /// Takes what the sockets hold, up to a bound. Returns whether there may be more.
    pub(crate) fn receive(&mut self, now: Instant) -> bool {
        let Some(mut batch) = self.inbox.batch.take() else { return false };
        let mut more = false;
        for family in 0..2 {
            for call in 0..CALLS_PER_TURN {
                let socket = if family == 0 { &self.inbox.v4 } else { &self.inbox.v6 };
                let Some(socket) = socket else { break };
                let messages = match batch.recv(socket) {
                    Ok(messages) => messages,
                    Err(error) => {
                        tracing::debug!(%error, "receiving failed");
                        break;
                    }
                };
                self.take_batch(now, &mut batch);
                if messages < MESSAGES {
                    break;
                }
                more |= call + 1 == CALLS_PER_TURN;
            }
        }
        self.inbox.batch = Some(batch);
        more
    }

    fn take_batch(&mut self, now: Instant, batch: &mut RecvBatch) {
        let read_at = Instant::now();
        for datagram in batch.datagrams() {
            self.counters.datagrams_in.add(1);
            self.counters.bytes_in.add(datagram.data.len() as u64);
            if datagram.truncated {
                self.counters.drop_in(model::DropReason::TooLarge);
                continue;
            }
            self.arrived = read_at.checked_sub(datagram.age);
            self.guarded(|w| w.take_datagram(now, datagram.path, datagram.data));
        }
        self.arrived = None;
    }
}
