//! How a bot sends during one turn: into the thread's batch, or through the bot's bad line.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Instant,
};

use model::Path;
use udp::{SendBatch, UdpSocket};

use super::link::Link;
use crate::stats::Counters;

/// Longest datagram that goes out.
const MAX_DATAGRAM: usize = 1_500;

/// Takes what a bot sends. Flush it at the end.
pub(crate) struct Outlet<'a> {
    pub(crate) now: Instant,
    pub(crate) socket: &'a UdpSocket,
    pub(crate) batch: &'a mut SendBatch,
    /// The bad line, if faults were asked for.
    pub(crate) link: Option<&'a mut Link>,
    pub(crate) counters: &'a mut Counters,
}

impl Outlet<'_> {
    /// Sends a datagram.
    pub(crate) fn datagram(&mut self, to: SocketAddr, bytes: &[u8]) {
        self.write(to, |out| {
            out.get_mut(..bytes.len())?.copy_from_slice(bytes);
            Some(bytes.len())
        });
    }

    /// Sends what `write` puts into its buffer (1,500 bytes or more), unless that is nothing. Returns the length.
    pub(crate) fn write(
        &mut self,
        to: SocketAddr,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> usize {
        if let Some(link) = &mut self.link {
            let mut room = vec![0; MAX_DATAGRAM];
            let Some(len) = write(&mut room) else { return 0 };
            room.truncate(len);
            if !link.send(self.now, to, room) {
                self.counters.dropped_by_fault += 1;
            }
            return len;
        }
        begin(self.batch, to);
        if self.batch.space().is_none() {
            self.flush();
        }
        let Some(len) = self.batch.space().and_then(write) else { return 0 };
        self.batch.commit(len);
        len
    }

    /// Sends what the bad line has delayed until now.
    pub(crate) fn release(&mut self) {
        let Some(link) = self.link.take() else { return };
        while let Some((to, bytes)) = link.due_out(self.now) {
            self.datagram(to, &bytes);
        }
        self.link = Some(link);
    }

    /// Gives everything to the kernel.
    pub(crate) fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let stats = self.batch.flush(Some(self.socket), Some(self.socket));
        self.counters.unsendable += stats.dropped_full + stats.dropped_refused;
    }
}

fn begin(batch: &mut SendBatch, remote: SocketAddr) {
    // The kernel chooses the source.
    let local = match remote {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    batch.begin(Path { remote, local });
}
