//! The node as a child process in the server's namespace: started on the server's cores, measured from outside, killed
//! when dropped.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{http, net::Net, proc, prometheus::Scrape};

/// Most time from the start until the node is ready.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// A running node without authentication.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts the binary with one worker on the server's core, and waits until it is ready.
    pub(crate) fn start(net: &Net, binary: &Path) -> io::Result<Self> {
        Self::start_on(net, binary, &[net.server_core])
    }

    /// Starts the binary with a worker on each of these cores.
    pub(crate) fn start_on(net: &Net, binary: &Path, cores: &[usize]) -> io::Result<Self> {
        // The port is free now; another program is unlikely to take it before the node does.
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
        // All clients have one address here.
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

    /// The address of its HTTP port.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn pid(&self) -> u32 {
        // `exec` replaces each tool by the next one, so this is the node's own process id.
        self.child.id()
    }

    /// All its counters now.
    pub(crate) fn scrape(&self) -> io::Result<Scrape> {
        Ok(Scrape::parse(&http::expect(self.address, "GET", "/metrics", 200)?))
    }

    /// Waits until a condition on its counters holds; returns the counters.
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

    /// Processor time so far of all its present threads.
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
        // The node keeps nothing that a clean stop would save, and all clients are ours. It may be gone already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A release binary of the workspace, beside this program's own; built now unless another is given.
pub(crate) fn binary(given: Option<PathBuf>, package: &str) -> io::Result<PathBuf> {
    if let Some(path) = given {
        // The command may be started from another directory.
        return path
            .canonicalize()
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())));
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--release", "-p", package, "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"));
    let own = std::env::current_exe()?;
    // This program is target/release/sfumato-bench.
    let target = own.parent().and_then(Path::parent);
    let target = target.ok_or_else(|| io::Error::other("this program stands nowhere"))?;
    let status = cargo.arg("--target-dir").arg(target).status()?;
    if !status.success() {
        return Err(io::Error::other(format!("building {package} ended with {status}")));
    }
    let built = target.join("release").join(package);
    if built.is_file() { Ok(built) } else { Err(io::Error::other("no binary was built")) }
}
