//! Wires the parts together, runs them, and ends them in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use model::{Command, WallClock};
use room::RoomConfig;
use signaling::{Certificates, CommandSink, Operations, ServerConfig, Signaling};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use transport::dtls::Certificate;
use worker::{Workers, WorkersHandle};

use crate::advertise;
use crate::config::Config;
use crate::metrics;
use crate::test_card::TestCard;

/// From the signal to the end: goodbyes to peers, answers to requests that are under way.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Runs the node until SIGTERM or SIGINT.
///
/// # Errors
/// Something that it needs at the start cannot be had. Text and all, for people.
pub(crate) async fn run(config: Config) -> io::Result<()> {
    let started = Instant::now();
    let wall_clock = WallClock::new(started, SystemTime::now());
    let mut signals = Signals::new()?;

    let listener = bind(config.http.listen, "http.listen").await?;
    let metrics_listener = match config.http.metrics_listen {
        Some(address) => Some(bind(address, "http.metrics_listen").await?),
        None => None,
    };
    let address = listener.local_addr()?;
    let server = server_config(&config)?;

    let certificate = Certificate::generate().map_err(io::Error::other)?;
    let fingerprint = certificate.fingerprint_text();
    let (events_in, events) = mpsc::unbounded_channel();
    let workers = start_workers(&config, certificate, wall_clock, events_in)?;
    let handle = workers.handle();
    let candidates = candidates(&config, &handle)?;

    let rooms = RoomConfig {
        candidates: candidates.clone(),
        fingerprint,
        cname: random_name(),
        limits: config.limits,
    };
    let measured = handle.clone();
    let inspected = handle.clone();
    let operations = Operations {
        metrics: Box::new(move |text| {
            metrics::write(&measured.metrics(), &measured.turn_ages(), started, text);
        }),
        ready: Box::new(|| true),
        stats: Box::new(move |session, reply| inspected.stats(session, reply)),
    };
    let sink = WorkerSink(handle.clone());
    let signaling = Signaling::new(signaling_config(&config), rooms, fill_random, sink, operations);
    let driver = signaling.clone();
    tokio::spawn(async move { driver.drive(events).await });

    let test_card = match &config.test_card {
        Some(room) => Some(TestCard::start(room, &signaling, &handle, wall_clock, fill_random)?),
        None => None,
    };
    announce(&config, address, &candidates);

    let (stop, stopping) = watch::channel(false);
    let public = serve(listener, signaling.router(), server, stopping.clone());
    let operators = metrics_listener.map(|listener| {
        let server = ServerConfig { limits: config.http.limits.clone(), ..ServerConfig::default() };
        serve(listener, signaling.operations_router(), server, stopping)
    });

    let signal = signals.next().await;
    tracing::info!(signal, "stopping");
    signaling.drain();
    // Nobody listens when there is no server any more, and then there is nothing to stop.
    stop.send(true).unwrap_or_default();
    let end = async {
        let goodbyes = tokio::task::spawn_blocking(move || {
            drop(test_card);
            workers.shutdown();
        });
        let operators = async {
            match operators {
                Some(task) => task.await,
                None => Ok(()),
            }
        };
        let (public, operators, goodbyes) = tokio::join!(public, operators, goodbyes);
        public.and(operators).and(goodbyes)
    };
    tokio::select! {
        ended = tokio::time::timeout(STOP_DEADLINE, end) => match ended {
            Ok(Ok(())) => tracing::info!("stopped"),
            Ok(Err(error)) => tracing::error!(%error, "a part ended by a panic"),
            Err(_) => tracing::warn!("stopped at the deadline, with requests or sessions left"),
        },
        signal = signals.next() => tracing::warn!(signal, "stopped at once"),
    }
    Ok(())
}

fn start_workers(
    config: &Config,
    certificate: Certificate,
    wall_clock: WallClock,
    events: mpsc::UnboundedSender<model::Event>,
) -> io::Result<Workers> {
    let sink: worker::EventSink = Arc::new(move |event| {
        // Signaling is gone only while the node stops; then nobody has to know.
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

fn signaling_config(config: &Config) -> signaling::Config {
    signaling::Config {
        auth: config.auth.for_signaling(),
        cors_origins: config.http.cors_origins.clone(),
        local_names_only: config.auth.is_open() && !config.auth.insecure_no_auth,
        limits: config.http.limits.clone(),
        ice_servers: config.ice.clone(),
        demo_room: config.test_card.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The public listener. Its certificate is looked after for as long as the node runs.
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
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let stop = async move {
            // An error means that the sender is gone, which is a stop as well.
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
        io::ErrorKind::AddrNotAvailable => "; it is no address of this machine",
        io::ErrorKind::PermissionDenied => "; ports below 1024 want CAP_NET_BIND_SERVICE",
        _ => "",
    };
    io::Error::new(error.kind(), format!("{what}: {error}{help}"))
}

/// Says where to look.
fn announce(config: &Config, address: SocketAddr, candidates: &[SocketAddr]) {
    let auth = if config.auth.is_open() { "none" } else { "token" };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), http = %address, ?candidates, auth, "serving");
    for name in &config.strangers {
        tracing::warn!(name, "an environment variable that is no setting");
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

/// Commands to the workers.
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
        // Keys and passwords that can be guessed are worse than no service.
        tracing::error!("the system gives no random numbers");
        std::process::abort();
    }
}

/// 96 bits of text, a CNAME for this run (RFC 7022 section 4.2).
fn random_name() -> String {
    let mut bytes = [0; 12];
    fill_random(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
