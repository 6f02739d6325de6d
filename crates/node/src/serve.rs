//! Connects the parts of the node, runs them, and stops them in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use model::{Command, WallClock};
use room::RoomConfig;
use signaling::{Certificates, CommandSink, Operations, ServerConfig, Signaling, Webhooks};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use transport::dtls::Certificate;
use worker::{Workers, WorkersHandle};

use crate::advertise;
use crate::config::Config;
use crate::metrics;
use crate::test_card::TestCard;

/// Time from the signal to the end, for goodbyes to peers and for requests under way.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Runs the node until SIGTERM or SIGINT, or until a part of it ends by a defect.
///
/// # Errors
/// What the node needs at the start and cannot get, or which part ended; with a text for the operator.
pub(crate) async fn run(config: Config) -> io::Result<()> {
    let mut signals = Signals::new()?;
    let mut running = Running::start(&config).await?;
    announce(&config, running.address, &running.candidates);
    let failure = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping");
            None
        }
        failure = running.failure() => {
            tracing::error!(%failure, "the node ends, since it cannot serve without this part; its supervisor has to start it again");
            Some(failure)
        }
    };
    tokio::select! {
        () = running.end() => {}
        signal = signals.next() => tracing::warn!(signal, "stopped at once"),
    }
    match failure {
        None => Ok(()),
        Some(failure) => Err(io::Error::other(failure)),
    }
}

/// A node, all of whose parts run.
struct Running {
    address: SocketAddr,
    /// The addresses of the media port that clients are told.
    candidates: Vec<SocketAddr>,
    signaling: Signaling,
    workers: Workers,
    test_card: Option<TestCard>,
    /// Brings events of the workers to the rooms.
    driver: JoinHandle<()>,
    public: JoinHandle<()>,
    operators: Option<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Running {
    async fn start(config: &Config) -> io::Result<Self> {
        let started = Instant::now();
        let wall_clock = WallClock::new(started, SystemTime::now());
        let listener = bind(config.http.listen, "http.listen").await?;
        let metrics_listener = match config.http.metrics_listen {
            Some(address) => Some(bind(address, "http.metrics_listen").await?),
            None => None,
        };
        let address = listener.local_addr()?;
        let server = server_config(config)?;

        let certificate = Certificate::generate().map_err(io::Error::other)?;
        let fingerprint = certificate.fingerprint_text();
        let (events_in, events) = mpsc::unbounded_channel();
        let workers = start_workers(config, certificate, wall_clock, events_in)?;
        let handle = workers.handle();
        let candidates = candidates(config, &handle)?;

        let rooms = RoomConfig {
            candidates: candidates.clone(),
            fingerprint,
            cname: random_name(),
            limits: config.limits,
            default_settings: config.rooms.clone(),
        };
        let operations = operations(handle.clone(), started);
        let sink = WorkerSink(handle.clone());
        let signaling =
            Signaling::new(signaling_config(config)?, rooms, fill_random, sink, operations);
        let driven = signaling.clone();
        let driver = tokio::spawn(async move { driven.drive(events).await });
        let test_card = match &config.test_card {
            Some(room) => {
                Some(TestCard::start(room, &signaling, &handle, wall_clock, fill_random)?)
            }
            None => None,
        };
        let (stop, stopping) = watch::channel(false);
        let public = serve(listener, signaling.router(), server, stopping.clone());
        let operators = metrics_listener.map(|listener| {
            let limits = config.http.limits.clone();
            let server = ServerConfig { limits, ..ServerConfig::default() };
            serve(listener, signaling.operations_router(), server, stopping)
        });
        Ok(Self {
            address,
            candidates,
            signaling,
            workers,
            test_card,
            driver,
            public,
            operators,
            stop,
        })
    }

    /// Resolves with name and reason when a part ends that has to run as long as the node. Without that part the node
    /// would serve some clients and not others, and would look healthy from outside.
    async fn failure(&mut self) -> String {
        let operators = async {
            match &mut self.operators {
                Some(task) => task.await,
                None => std::future::pending().await,
            }
        };
        let ended = |part: &str, ended: Result<(), JoinError>| match ended {
            Ok(()) => format!("{part} ended"),
            Err(error) => format!("{part} ended: {error}"),
        };
        tokio::select! {
            failure = self.workers.watch() => failure.to_string(),
            end = &mut self.driver => ended("the driver of the rooms", end),
            end = &mut self.public => ended("the HTTP server", end),
            end = operators => ended("the HTTP server of metrics", end),
        }
    }

    /// Stops the node: goodbyes to peers, and answers to requests under way. At the deadline the rest is cut off.
    async fn end(self) {
        let Self { signaling, workers, test_card, public, operators, stop, .. } = self;
        signaling.drain();
        // An error means that no server runs any more, so none has to be stopped.
        stop.send(true).unwrap_or_default();
        let end = async {
            let goodbyes = tokio::task::spawn_blocking(move || {
                drop(test_card);
                workers.shutdown();
            });
            let operators = async {
                match operators {
                    Some(task) => finished(task).await,
                    None => Ok(()),
                }
            };
            let (public, operators, goodbyes) = tokio::join!(finished(public), operators, goodbyes);
            signaling.stop_webhooks().await;
            public.and(operators).and(goodbyes)
        };
        match tokio::time::timeout(STOP_DEADLINE, end).await {
            Ok(Ok(())) => tracing::info!("stopped"),
            Ok(Err(error)) => tracing::error!(%error, "a part ended by a panic"),
            Err(_) => tracing::warn!("stopped at the deadline, with requests or sessions left"),
        }
    }
}

/// Waits for a task whose end [`Running::failure`] may already have reported.
async fn finished(task: JoinHandle<()>) -> Result<(), JoinError> {
    if task.is_finished() { Ok(()) } else { task.await }
}

fn operations(workers: WorkersHandle, started: Instant) -> Operations {
    let (measured, inspected) = (workers.clone(), workers.clone());
    Operations {
        metrics: Box::new(move |encoder| {
            metrics::write(&measured.metrics(), &measured.turn_ages(), started, encoder)
        }),
        ready: Box::new(move || match (workers.failure(), workers.is_ready()) {
            // The panic's message stays in the log: this text is part of a public answer.
            (Some(_), _) => Err("A worker ended by a defect, and the node ends."),
            (None, false) => Err("A worker does not answer."),
            (None, true) => Ok(()),
        }),
        stats: Box::new(move |session, reply| inspected.stats(session, reply)),
    }
}

fn start_workers(
    config: &Config,
    certificate: Certificate,
    wall_clock: WallClock,
    events: mpsc::UnboundedSender<model::Event>,
) -> io::Result<Workers> {
    let sink: worker::EventSink = Arc::new(move |event| {
        // Signaling ends only while the node stops, and its rooms with it, so the event can be dropped.
        events.send(event).unwrap_or_default();
    });
    let mut settings = worker::Config::new(Arc::new(certificate), wall_clock, sink);
    settings.port = config.media.port;
    settings.pin = config.media.pin;
    settings.consent = config.media.consent;
    config.media.bounds.apply(&mut settings);
    if let Some(workers) = config.media.workers {
        settings.workers = workers;
    }
    if !config.media.bind.is_empty() {
        settings.bind.clone_from(&config.media.bind);
    }
    let port = config.media.port;
    Workers::start(settings).map_err(|e| explain(e, &format!("media.port = {port}")))
}

fn candidates(config: &Config, workers: &WorkersHandle) -> io::Result<Vec<SocketAddr>> {
    let interfaces = udp::interface_addresses()?;
    let local = config.http.is_loopback();
    let addresses = advertise::addresses(&config.media, &interfaces, local);
    if addresses.is_empty() {
        return Err(io::Error::other(
            "no address to tell clients: no interface has one that fits; set media.advertise",
        ));
    }
    let port = workers.local_port();
    Ok(addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

fn signaling_config(config: &Config) -> io::Result<signaling::Config> {
    let outbound = config.outbound.build().map_err(io::Error::other)?;
    let webhooks = config.webhooks.clone().map(|webhooks| {
        let opened = Webhooks::open(webhooks, outbound.clone());
        opened.map(Arc::new).map_err(|error| explain(error, "webhooks.dir"))
    });
    Ok(signaling::Config {
        auth: config.auth.for_signaling(&outbound).map_err(io::Error::other)?,
        cors_origins: config.http.cors_origins.clone(),
        local_names_only: config.auth.is_open() && !config.auth.insecure_no_auth,
        limits: config.http.limits.clone(),
        ice_servers: config.ice.clone(),
        webhooks: webhooks.transpose()?,
        demo_room: config.test_card.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// The configuration of the public listener. Its certificate files are checked as long as the node runs.
fn server_config(config: &Config) -> io::Result<ServerConfig> {
    let http = &config.http;
    let tls = match &http.tls {
        Some(files) => {
            let (certificate, key) = (files.certificate.clone(), files.key.clone());
            let certificates = Certificates::load(certificate, key).map_err(|error| {
                io::Error::other(format!("http.tls_cert, http.tls_key: {error}"))
            })?;
            let certificates = Arc::new(certificates);
            tokio::spawn(certificates.clone().keep_fresh());
            Some(certificates)
        }
        None => None,
    };
    Ok(ServerConfig {
        limits: http.limits.clone(),
        trusted_proxies: http.trusted_proxies.clone(),
        proxy_protocol: http.proxy_protocol,
        tls,
    })
}

fn serve(
    listener: TcpListener,
    router: axum::Router,
    server: ServerConfig,
    mut stopping: watch::Receiver<bool>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let stop = async move {
            // An error means that the sender was dropped, which is a stop as well.
            stopping.wait_for(|&stop| stop).await.map(|_| ()).unwrap_or_default();
        };
        signaling::serve(listener, router, &server, stop).await;
    })
}

async fn bind(address: SocketAddr, key: &str) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| explain(e, &format!("{key} = {address}")))
}

fn explain(error: io::Error, what: &str) -> io::Error {
    let help = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program has it (another node, perhaps): choose another port"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    };
    io::Error::new(error.kind(), format!("{what}: {error}{help}"))
}

/// Logs the URLs of the node.
fn announce(config: &Config, address: SocketAddr, candidates: &[SocketAddr]) {
    let auth = if config.auth.is_open() { "none" } else { "token" };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), http = %address, ?candidates, auth, "serving");
    for name in &config.strangers {
        tracing::warn!(
            name,
            "an environment variable has the prefix of settings and is none; it is ignored"
        );
    }
    if config.auth.is_open() && !config.http.is_loopback() {
        tracing::warn!("no authentication: everyone who reaches this node may publish and watch");
    }
    let host = match address.ip() {
        ip if ip.is_unspecified() => "localhost".to_owned(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        ip => ip.to_string(),
    };
    let scheme = if config.http.tls.is_some() { "https" } else { "http" };
    let base = format!("{scheme}://{host}:{}", address.port());
    match &config.test_card {
        Some(room) => tracing::info!("open {base}/?room={room} to see the test card and to talk"),
        None => tracing::info!("open {base}/ to talk"),
    }
    tracing::info!("publish to {base}/whip/ROOM, watch at {base}/whep/ROOM");
}

/// Delivers commands to the workers.
struct WorkerSink(WorkersHandle);

impl CommandSink for WorkerSink {
    fn send(&self, command: Command) {
        self.0.send(&command);
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

fn fill_random(bytes: &mut [u8]) {
    if aws_lc_rs::rand::fill(bytes).is_err() {
        // Without random numbers keys and passwords could be guessed, which is worse than no service.
        tracing::error!("the system gives no random numbers");
        std::process::abort();
    }
}

/// A CNAME for this run (RFC 7022 section 4.2): 96 random bits as text.
fn random_name() -> String {
    let mut bytes = [0; 12];
    fill_random(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::cli;
    use crate::config::Mode;

    async fn start() -> Running {
        let set = ["http.listen=127.0.0.1:0", "media.port=0", "media.workers=2", "media.pin=false"];
        let set = set.map(str::to_owned).to_vec();
        let flags = cli::Settings { set, ..cli::Settings::default() };
        let config = Config::load(Mode::Serve, &flags, std::iter::empty()).unwrap();
        Running::start(&config).await.unwrap()
    }

    async fn ready(running: &Running) -> String {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let request = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_worker_that_ends_by_a_defect_makes_the_node_unready_and_ends_it() {
        let mut running = start().await;
        let before = ready(&running).await;
        assert!(before.starts_with("HTTP/1.1 200"), "{before}");
        running.workers.handle().break_worker(1);
        let told = tokio::time::timeout(Duration::from_secs(60), running.failure()).await.unwrap();
        assert!(told.starts_with("worker 1 ended by a defect: "), "{told}");
        let after = ready(&running).await;
        assert!(after.starts_with("HTTP/1.1 503") && after.contains("A worker ended"), "{after}");
        // The node still stops in order: the other worker sends goodbyes to its peers.
        let address = running.address;
        tokio::time::timeout(Duration::from_secs(60), running.end()).await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_driver_that_ends_is_a_failure_of_the_node() {
        let mut running = start().await;
        running.driver.abort();
        let told = tokio::time::timeout(Duration::from_secs(60), running.failure()).await.unwrap();
        assert!(told.starts_with("the driver of the rooms ended"), "{told}");
        running.end().await;
    }
}
