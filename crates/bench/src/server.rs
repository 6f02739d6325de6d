//! The node as a child process in the server's place: started on the server's cores, measured from outside, killed when
//! dropped.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{http, net::Net, proc, prometheus::Scrape};

/// From the start to readiness.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// A running node that everyone may use.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts the binary with one worker on the server's core, and waits until it takes sessions.
    pub(crate) fn start(net: &Net, binary: &Path) -> io::Result<Self> {
        Self::start_on(net, binary, &[net.server_core])
    }

    /// Starts the binary with a worker on each of these cores.
    pub(crate) fn start_on(net: &Net, binary: &Path, cores: &[usize]) -> io::Result<Self> {
        // The port is free now; that nobody takes it before the node does is likely enough.
        let ip = net.server;
        let address =
            net.on_server(move || TcpListener::bind((ip, 0)).and_then(|it| it.local_addr()))?;
        let mut command = net.server_command(cores, binary);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SFUMATO_") {
                command.env_remove(name);
            }
        }
        let workers = cores.len().to_string();
        command.args(["serve", "--insecure-no-auth", "--advertise", &ip.to_string()]);
        command.args(["--listen", &address.to_string(), "--media-port", "0"]);
        command.args(["--workers", &workers, "--log-level", "error"]);
        // All clients are one address here.
        for setting in [
            "demo.test_card=false",
            "http.requests_per_second=0",
            "http.token_requests_per_second=0",
        ] {
            command.args(["--set", setting]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", binary.display())))?;
        let mut server = Self { child, address };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> io::Result<()> {
        let end = Instant::now() + READY_WITHIN;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the node ended with {status}")));
            }
            if http::expect(self.address, "GET", "/readyz", 200).is_ok() {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(io::Error::other("the node is not ready"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where it is asked.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn pid(&self) -> u32 {
        // The tools before it have each become the next.
        self.child.id()
    }

    /// All its counters now.
    pub(crate) fn scrape(&self) -> io::Result<Scrape> {
        Ok(Scrape::parse(&http::expect(self.address, "GET", "/metrics", 200)?))
    }

    /// Waits until a condition on its counters holds; the counters then.
    pub(crate) fn wait_for(
        &self,
        what: &str,
        patience: Duration,
        mut holds: impl FnMut(&Scrape) -> bool,
    ) -> io::Result<Scrape> {
        let end = Instant::now() + patience;
        loop {
            let scrape = self.scrape()?;
            if holds(&scrape) {
                return Ok(scrape);
            }
            if Instant::now() > end {
                let seconds = patience.as_secs_f64();
                let connected = scrape.sum("sfumato_sessions_connected").unwrap_or(0.0);
                return Err(io::Error::other(format!(
                    "not within {seconds:.0} s: {what}; {connected} sessions are connected"
                )));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Processor time so far, of all threads that there are.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        proc::process_cpu(self.pid())
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> io::Result<u64> {
        proc::resident(self.pid())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It keeps nothing that a clean stop would save, and its clients are ours. One that is gone already is as good.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A release binary of the workspace: built now, next to this one, unless another is given.
pub(crate) fn binary(given: Option<PathBuf>, package: &str) -> io::Result<PathBuf> {
    if let Some(path) = given {
        // What is started elsewhere needs to find it.
        return path
            .canonicalize()
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())));
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--release", "-p", package, "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"));
    let own = std::env::current_exe()?;
    // target/release/sfumato-bench
    let target = own.parent().and_then(Path::parent);
    let target = target.ok_or_else(|| io::Error::other("this program stands nowhere"))?;
    let status = cargo.arg("--target-dir").arg(target).status()?;
    if !status.success() {
        return Err(io::Error::other(format!("building {package} ended with {status}")));
    }
    let built = target.join("release").join(package);
    if built.is_file() { Ok(built) } else { Err(io::Error::other("no binary was built")) }
}
