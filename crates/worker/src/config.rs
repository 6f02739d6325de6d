//! What the workers need to know before they start. Values only; where they come from is the node's affair.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use model::{Event, WallClock};

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
    /// Pin each worker to a core of its own, as far as there are enough.
    pub pin: bool,
    /// Kernel buffer of each socket, each way, in bytes.
    pub socket_buffer: usize,
    /// How long packets of a picture may wait for the rest of it, so that they leave as one train. The
    /// last packet of a picture, and audio, never wait.
    pub train_window: Duration,
    /// Most packet buffers that a worker keeps; at the bound new media is dropped and counted.
    pub packet_buffers_max: usize,
    /// What keeps a session alive, and lets it be sent to.
    pub consent: transport::Consent,
    /// The node's certificate.
    pub certificate: Arc<transport::dtls::Certificate>,
    /// Ties the monotonic clock to NTP time.
    pub wall_clock: WallClock,
    /// Where events go.
    pub events: EventSink,
    /// The kernel's table of addresses whose datagrams go to another worker than their hash says. Set when the sockets are
    /// bound.
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
            packet_buffers_max: 65_536,
            consent: transport::Consent::default(),
            certificate,
            wall_clock,
            events,
            steering: None,
        }
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
