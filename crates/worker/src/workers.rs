//! Starting the workers, speaking to them from other threads, and ending them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Instant,
};

use model::{Command, SessionId, SessionPlan};
use router::{PacketPool, PoolLimits};
use udp::{UdpConfig, UdpSocket};

use crate::{
    Config, Counters, Source, WorkerId, WorkerMetrics,
    commands::Order,
    core::Worker,
    lanes,
    mesh::{Bell, Mesh},
    recv::Inbox,
    registry::{Home, Registry},
    send::Outbox,
    sessions::Sessions,
    source::source,
    timers::Timers,
    tracks::Tracks,
};

/// Commands that may wait for a worker.
const COMMANDS: usize = 65_536;
/// Worker ids are bytes, and one of them means "none".
const WORKERS_MAX: usize = 254;

/// A worker has so many commands waiting that it cannot take one more. Others may have taken the command already;
/// sending it again does no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

impl std::fmt::Display for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a worker does not keep up with its commands")
    }
}

impl std::error::Error for Busy {}

/// The running workers of a node.
pub struct Workers {
    handle: WorkersHandle,
    threads: Vec<JoinHandle<()>>,
}

/// Speaks to the workers; may be cloned and used from any thread.
#[derive(Clone)]
pub struct WorkersHandle {
    shared: Arc<Shared>,
}

struct Shared {
    port: u16,
    workers: Vec<Contact>,
    /// Commands reach all workers in one order. Inside: the session whose `Open` some of them have and some do not, for
    /// all of them must share one home.
    order: std::sync::Mutex<Option<(SessionId, Arc<Home>)>>,
}

struct Contact {
    commands: SyncSender<Order>,
    bell: Bell,
    counters: Arc<Counters>,
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
        let shared = Shared { port, workers: contacts, order: std::sync::Mutex::new(None) };
        Ok(Self { handle: WorkersHandle { shared: Arc::new(shared) }, threads })
    }

    /// A handle to speak to them.
    pub fn handle(&self) -> WorkersHandle {
        self.handle.clone()
    }

    /// Ends all sessions with their goodbyes, and the threads.
    pub fn shutdown(self) {
        // Busy workers are told again: this one command must arrive.
        while self.handle.send(Command::Shutdown) == Err(Busy) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker ended by a panic");
            }
        }
    }
}

impl WorkersHandle {
    /// The UDP port of all media.
    pub fn local_port(&self) -> u16 {
        self.shared.port
    }

    /// Sends a command to all workers.
    ///
    /// # Errors
    /// [`Busy`] when a worker does not keep up; the command may then be sent again.
    pub fn send(&self, command: Command) -> Result<(), Busy> {
        match command {
            Command::Open(plan) => self.open(&plan),
            Command::Restart { session, ice } => {
                self.broadcast(|_| Order::Restart { session, ice: ice.clone() })
            }
            Command::Bind { session, mid, binding } => {
                self.broadcast(|_| Order::Bind { session, mid, binding: binding.clone() })
            }
            Command::Close { session } => self.broadcast(|_| Order::Close { session }),
            Command::Shutdown => self.broadcast(|_| Order::Shutdown),
        }
    }

    fn open(&self, plan: &Arc<SessionPlan>) -> Result<(), Busy> {
        let mut half_sent = self.order();
        let home = match &*half_sent {
            Some((id, home)) if *id == plan.id => home.clone(),
            _ => Home::new(),
        };
        *half_sent = Some((plan.id, home.clone()));
        self.push(|_| Order::Open { plan: plan.clone(), home: home.clone() })?;
        *half_sent = None;
        Ok(())
    }

    /// Starts a publisher without a peer connection. Its plan needs the session's id and the up-media with their
    /// SSRCs; everything about the peer is of no use.
    ///
    /// # Errors
    /// [`Busy`] as with [`WorkersHandle::send`].
    pub fn attach_source(&self, plan: SessionPlan) -> Result<Source, Busy> {
        let plan = Arc::new(plan);
        // Sources are spread by their id.
        let at = plan.id.0 as usize % self.shared.workers.len();
        let home = Home::at(WorkerId(at as u8));
        let (source, peer) = source(&plan, self.shared.workers[at].bell.clone());
        let mut peer = Some(Box::new(peer));
        self.broadcast(|worker| Order::Attach {
            plan: plan.clone(),
            home: home.clone(),
            peer: if worker == at { peer.take() } else { None },
        })?;
        Ok(source)
    }

    /// What the counters of each worker say now.
    pub fn metrics(&self) -> Vec<WorkerMetrics> {
        let workers = self.shared.workers.iter().enumerate();
        workers.map(|(at, contact)| contact.counters.snapshot(at)).collect()
    }

    /// Held for a few pushes; no worker ever takes it.
    fn order(&self) -> std::sync::MutexGuard<'_, Option<(SessionId, Arc<Home>)>> {
        self.shared.order.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn broadcast(&self, make: impl FnMut(usize) -> Order) -> Result<(), Busy> {
        let _order = self.order();
        self.push(make)
    }

    /// To be called with [`WorkersHandle::order`] held.
    fn push(&self, mut make: impl FnMut(usize) -> Order) -> Result<(), Busy> {
        for (at, contact) in self.shared.workers.iter().enumerate() {
            match contact.commands.try_send(make(at)) {
                Ok(()) => contact.bell.ring(),
                // The others may have it already; they take it again without harm.
                Err(TrySendError::Full(_)) => return Err(Busy),
                // A worker that has ended needs no command.
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
        Ok(())
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
