//! Starting the workers, and ending them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    thread::JoinHandle,
    time::Instant,
};

use router::{PacketPool, PoolLimits};
use udp::{UdpConfig, UdpSocket};

use crate::{
    Busy, Config, Counters, WorkerId, WorkersHandle,
    commands::Order,
    core::Worker,
    handle::Contact,
    lanes,
    mesh::{Bell, Mesh},
    recv::Inbox,
    registry::Registry,
    send::Outbox,
    sessions::Sessions,
    timers::Timers,
    tracks::Tracks,
};

/// Commands that may wait for a worker.
const COMMANDS: usize = 65_536;
/// Worker ids are bytes, and one of them means "none".
const WORKERS_MAX: usize = 254;

/// The running workers of a node.
pub struct Workers {
    handle: WorkersHandle,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Binds the media port and starts the threads.
    ///
    /// # Errors
    /// The port is taken, an address is not ours, or the machine refuses sockets or threads.
    pub fn start(config: Config) -> io::Result<Self> {
        let (mut contacts, mut workers) = (Vec::new(), Vec::new());
        let count = config.workers.get().min(WORKERS_MAX);
        let (port, sockets) = bind_all(&config, count)?;
        let config = Arc::new(config);
        let bells = (0..count).map(|_| Bell::new()).collect::<io::Result<Vec<_>>>()?;
        let places = Mesh::weave(&bells);
        for (at, ((inbox, mesh), bell)) in sockets.into_iter().zip(places).zip(bells).enumerate() {
            let (commands, orders) = sync_channel(COMMANDS);
            let counters = Arc::new(Counters::default());
            contacts.push(Contact { commands, bell: bell.clone(), counters: counters.clone() });
            let id = WorkerId(at as u8);
            workers.push(Worker::new(id, config.clone(), inbox, mesh, bell, orders, counters));
        }
        let cores = if config.pin { udp::cores() } else { Vec::new() };
        let threads = workers.into_iter().enumerate().map(|(at, worker)| {
            let core = (cores.len() >= count).then(|| cores[at]);
            std::thread::Builder::new().name(format!("worker-{at}")).spawn(move || {
                if let Some(error) = core.and_then(|core| udp::pin_to_core(core).err()) {
                    tracing::warn!(%error, "the worker runs on any core");
                }
                worker.run();
            })
        });
        let threads = threads.collect::<io::Result<Vec<_>>>()?;
        Ok(Self { handle: WorkersHandle::new(port, contacts), threads })
    }

    /// A handle to speak to them.
    pub fn handle(&self) -> WorkersHandle {
        self.handle.clone()
    }

    /// Ends all sessions with their goodbyes, and the threads.
    pub fn shutdown(self) {
        // Busy workers are told again: this one command must arrive.
        while self.handle.shutdown() == Err(Busy) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker ended by a panic");
            }
        }
    }
}

impl Worker {
    pub(crate) fn new(
        id: WorkerId,
        config: Arc<Config>,
        inbox: Inbox,
        mesh: Mesh,
        bell: Bell,
        commands: Receiver<Order>,
        counters: Arc<Counters>,
    ) -> Self {
        let limits =
            PoolLimits { small: config.packet_buffers_max, large: config.packet_buffers_max };
        Self {
            id,
            bell,
            commands,
            mesh,
            inbox,
            outbox: Outbox::new(),
            registry: Registry::default(),
            sessions: Sessions::default(),
            tracks: Tracks::default(),
            sources: Vec::new(),
            timers: Timers::default(),
            pool: PacketPool::new(Instant::now(), limits),
            counters,
            half_open: 0,
            arrived: None,
            scratch: Vec::with_capacity(2_048),
            blocks: Vec::new(),
            current: None,
            stopping: false,
            config,
        }
    }
}

/// The sockets of each worker, all on one port.
pub(crate) fn bind_all(config: &Config, count: usize) -> io::Result<(u16, Vec<Inbox>)> {
    const TRIES: usize = 16;
    let mut tries = if config.port == 0 { TRIES } else { 1 };
    loop {
        tries -= 1;
        match bind_port(config, count) {
            // The port that was free for one family was not for the other.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            result => return result,
        }
    }
}

fn bind_port(config: &Config, count: usize) -> io::Result<(u16, Vec<Inbox>)> {
    let addresses = usable(&config.bind)?;
    let mut port = config.port;
    for &address in &addresses {
        // Shared ports do not tell when another program holds them: ask once for the port alone.
        let probe = UdpSocket::bind(&UdpConfig {
            reuse_port: false,
            ..UdpConfig::new(SocketAddr::new(address, port))
        })?;
        port = probe.local_addr().port();
    }
    let mut inboxes = Vec::with_capacity(count);
    let mut steered = [true; 2];
    for worker in 0..count {
        let (mut media, mut control) = ([None, None], [None, None]);
        for &address in &addresses {
            let family = usize::from(address.is_ipv6());
            let settings = UdpConfig {
                reuse_port: true,
                timestamps: true,
                send_buffer: Some(config.socket_buffer),
                recv_buffer: Some(config.socket_buffer),
                ..UdpConfig::new(SocketAddr::new(address, port))
            };
            let socket = UdpSocket::bind(&settings)?;
            if worker == 0
                && let Err(error) = socket.steer(&lanes::program(address.is_ipv4(), count as u32))
            {
                tracing::warn!(%error, "the kernel does not sort datagrams: media and the rest share sockets");
                steered[family] = false;
            }
            media[family] = Some(socket);
            if steered[family] {
                // Right behind the other one: sockets count in the order of binding.
                control[family] = Some(UdpSocket::bind(&UdpConfig { gro: false, ..settings })?);
            }
        }
        inboxes.push(Inbox::new(media, control));
    }
    Ok((port, inboxes))
}

/// The addresses to bind, without the unspecified IPv6 address on a machine that has no IPv6.
fn usable(bind: &[IpAddr]) -> io::Result<Vec<IpAddr>> {
    let works = |address: &IpAddr| {
        let any_port = UdpConfig::new(SocketAddr::new(*address, 0));
        !(address.is_ipv6() && address.is_unspecified()) || UdpSocket::bind(&any_port).is_ok()
    };
    let addresses: Vec<IpAddr> = bind.iter().copied().filter(works).collect();
    if addresses.is_empty() {
        return Err(io::Error::other("no address to bind for media"));
    }
    Ok(addresses)
}
