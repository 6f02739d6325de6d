//! Starts and ends the workers.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
    time::Instant,
};

use udp::{UdpConfig, UdpSocket, steer::Table};

use crate::{
    Config, Counters, Watch, WorkerFailure, WorkerId, WorkersHandle,
    buffers::warn_if_cut,
    core::Worker,
    directory::Directory,
    health::{Health, panic_text},
    lanes::Steering,
    mail::{Mail, Mailbox},
    recv::Inbox,
};

/// Most workers. Their ids are bytes, of which the directory uses two to say that a session has no owner yet, or has
/// ended.
const WORKERS_MAX: usize = 253;

/// The running workers of a node.
pub struct Workers {
    handle: WorkersHandle,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Binds the media port and starts the threads.
    ///
    /// # Errors
    /// The port is in use, an address does not belong to this machine, or the machine refuses sockets or threads.
    pub fn start(mut config: Config) -> io::Result<Self> {
        let count = config.workers.get().min(WORKERS_MAX);
        let (port, inboxes, steering) = bind_all(&config, count)?;
        config.steering = steering;
        let cores = if config.pin { udp::cores() } else { Vec::new() };
        let (handle, workers) = assemble(config, port, inboxes)?;
        let threads = workers.into_iter().enumerate().map(|(at, worker)| {
            let core = (cores.len() >= count).then(|| cores[at]);
            let health = handle.health().clone();
            std::thread::Builder::new().name(format!("worker-{at}")).spawn(move || {
                if let Some(error) = core.and_then(|core| udp::pin_to_core(core).err()) {
                    tracing::warn!(%error, "the worker runs on any core");
                }
                let ended = catch_unwind(AssertUnwindSafe(|| worker.run()));
                let reason = match ended {
                    Ok(Ok(())) => return,
                    Ok(Err(reason)) => reason,
                    Err(payload) => panic_text(payload.as_ref()),
                };
                tracing::error!(worker = at, reason, "a worker ended by a defect");
                health.fail(WorkerFailure { worker: at, reason });
            })
        });
        let threads = threads.collect::<io::Result<Vec<_>>>()?;
        Ok(Self { handle, threads })
    }

    /// A handle to send commands to the workers.
    pub fn handle(&self) -> WorkersHandle {
        self.handle.clone()
    }

    /// Resolves when a worker's thread ends by a defect. The node then serves only some of its peers, and must be
    /// ended.
    pub fn watch(&self) -> Watch {
        self.handle.watch()
    }

    /// Ends all sessions with their goodbyes, and then the threads.
    pub fn shutdown(self) {
        self.handle.shutdown();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker ended by a panic");
            }
        }
    }
}

/// Makes one worker for each inbox, none of them running yet, and the handle to send commands to them.
pub(crate) fn assemble(
    config: Config,
    port: u16,
    inboxes: Vec<Inbox>,
) -> io::Result<(WorkersHandle, Vec<Worker>)> {
    let (config, directory) = (Arc::new(config), Arc::new(Directory::default()));
    let boxes = inboxes.iter().map(|_| Mailbox::new()).collect::<io::Result<Vec<_>>>()?;
    let boxes: Arc<[Arc<Mailbox>]> = boxes.into();
    let packet_memory = config.worker_packet_memory(boxes.len(), udp::memory());
    let health = Health::new(Instant::now(), boxes.len());
    let make = |(at, inbox): (usize, Inbox)| {
        let mail = Mail::new(WorkerId(at as u8), boxes.clone());
        let counters = Arc::new(Counters::default());
        let (config, directory, health) = (config.clone(), directory.clone(), health.clone());
        Worker::new(config, directory, mail, inbox, counters, packet_memory, health)
    };
    let workers: Vec<Worker> = inboxes.into_iter().enumerate().map(make).collect();
    let counters = workers.iter().map(|worker| worker.counters.clone()).collect();
    Ok((WorkersHandle::new(port, directory, boxes, counters, health), workers))
}

/// Binds the sockets of each worker, all on one port.
pub(crate) fn bind_all(
    config: &Config,
    count: usize,
) -> io::Result<(u16, Vec<Inbox>, Option<Table>)> {
    const TRIES: usize = 16;
    let mut tries = if config.port == 0 { TRIES } else { 1 };
    loop {
        tries -= 1;
        match bind_port(config, count) {
            // The kernel chose the port for the first family; in the other family it may be in use. Then another port
            // is tried.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            result => return result,
        }
    }
}

fn bind_port(config: &Config, count: usize) -> io::Result<(u16, Vec<Inbox>, Option<Table>)> {
    let addresses = usable(&config.bind)?;
    let mut port = config.port;
    for &address in &addresses {
        // With SO_REUSEPORT, bind succeeds even when another process of this user holds the port. That process would
        // then get part of the node's datagrams. So the port is first bound once without it.
        let probe = UdpSocket::bind(&UdpConfig {
            reuse_port: false,
            ..UdpConfig::new(SocketAddr::new(address, port))
        })?;
        port = probe.local_addr().port();
    }
    let mut inboxes = Vec::with_capacity(count);
    let mut steering = Steering::new(count as u32);
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
                && let Err(error) = steering.attach(&socket)
            {
                tracing::warn!(%error, "the kernel does not sort datagrams: media and control share sockets");
                steered[family] = false;
            }
            if worker == 0 && address == addresses[0] {
                // All sockets request the same size, so one warning is enough.
                warn_if_cut(&socket, config.socket_buffer)?;
            }
            media[family] = Some(socket);
            if steered[family] {
                // Bound right after the media socket, because the kernel's program numbers the sockets in the order of
                // binding.
                control[family] = Some(UdpSocket::bind(&UdpConfig { gro: false, ..settings })?);
            }
        }
        inboxes.push(Inbox::new(media, control));
    }
    Ok((port, inboxes, steering.table().cloned()))
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
