//! The settings of the workers. Values only; the node reads them from its configuration.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use model::{Event, WallClock};

use crate::RateLimits;

/// How workers report to signaling. Called on a worker's thread: it must not block.
pub type EventSink = Arc<dyn Fn(Event) + Send + Sync>;

/// Settings of all workers of a node.
#[derive(Clone)]
pub struct Config {
    /// The UDP port of all media; 0 takes any free one.
    pub port: u16,
    /// Addresses to bind, at most one of each family. An IPv6 address that the machine does not have
    /// is an error, except the unspecified one (a machine may run without IPv6).
    pub bind: Vec<IpAddr>,
    /// Number of threads.
    pub workers: NonZeroUsize,
    /// Pin each worker to a core of its own, if there are enough cores.
    pub pin: bool,
    /// Kernel buffer of each socket in bytes, for each direction.
    pub socket_buffer: usize,
    /// How long packets of a picture may wait for the rest of it, so that they leave as one train. The last packet of
    /// a picture, and audio, never wait.
    pub train_window: Duration,
    /// Bytes that the packets of all workers may take. `None`: a quarter of the memory that the process may use, and
    /// 128 MiB for each worker at most.
    pub packet_memory: Option<usize>,
    /// Bytes that the packets of one publisher may take. At the limit its oldest packets are dropped from the caches,
    /// so that its viewers can request fewer of them again.
    pub session_packet_memory: usize,
    /// How much one session may send.
    pub rates: RateLimits,
    /// What keeps a session alive and permits sending to its peer.
    pub consent: transport::Consent,
    /// The node's certificate.
    pub certificate: Arc<transport::dtls::Certificate>,
    /// Maps the monotonic clock to NTP time.
    pub wall_clock: WallClock,
    /// Receives the workers' events.
    pub events: EventSink,
    /// The kernel's table of addresses whose datagrams go to another worker than their hash tells. Set when the
    /// sockets are bound.
    pub(crate) steering: Option<udp::steer::Table>,
}

impl Config {
    /// Settings for a node with this certificate: all interfaces, any port, a worker for each core.
    pub fn new(
        certificate: Arc<transport::dtls::Certificate>,
        wall_clock: WallClock,
        events: EventSink,
    ) -> Self {
        Self {
            port: 0,
            bind: vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            workers: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            pin: true,
            socket_buffer: 4 << 20,
            train_window: Duration::from_millis(2),
            packet_memory: None,
            session_packet_memory: 16 << 20,
            rates: RateLimits::default(),
            consent: transport::Consent::default(),
            certificate,
            wall_clock,
            events,
            steering: None,
        }
    }
}

/// Packet memory of one worker if nothing is configured: 75,000 packets of full size.
const WORKER_PACKET_MEMORY: u64 = 128 << 20;
/// The least packet memory of a worker, even if less is configured: a second of 50 Mbit/s.
const WORKER_PACKET_MEMORY_MIN: u64 = 8 << 20;

impl Config {
    /// Bytes that the packets of one worker may take, with this number of workers, on a machine where the process may
    /// use `memory` bytes.
    pub(crate) fn worker_packet_memory(&self, workers: usize, memory: Option<u64>) -> usize {
        let workers = workers.max(1) as u64;
        let all = match self.packet_memory {
            Some(bytes) => bytes as u64,
            // The rest is for the kernel's socket buffers, sessions, HTTP and the page cache.
            None => memory.map_or(u64::MAX, |bytes| bytes / 4).min(workers * WORKER_PACKET_MEMORY),
        };
        usize::try_from((all / workers).max(WORKER_PACKET_MEMORY_MIN)).unwrap_or(usize::MAX)
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("port", &self.port)
            .field("bind", &self.bind)
            .field("workers", &self.workers)
            .field("pin", &self.pin)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_memory_follows_the_machine_and_the_configuration() {
        const MIB: usize = 1 << 20;
        let certificate = Arc::new(transport::dtls::Certificate::generate().unwrap());
        let clock = WallClock::new(std::time::Instant::now(), std::time::SystemTime::now());
        let mut config = Config::new(certificate, clock, Arc::new(|_| ()));
        assert_eq!(config.worker_packet_memory(4, Some(64 << 30)), 128 * MIB);
        assert_eq!(config.worker_packet_memory(4, None), 128 * MIB, "the memory is unknown");
        assert_eq!(config.worker_packet_memory(4, Some(1 << 30)), 64 * MIB, "a quarter of it");
        assert_eq!(config.worker_packet_memory(4, Some(1 << 20)), 8 * MIB, "and enough to work");
        config.packet_memory = Some(600 * MIB);
        assert_eq!(config.worker_packet_memory(4, Some(1 << 30)), 150 * MIB);
    }
}
