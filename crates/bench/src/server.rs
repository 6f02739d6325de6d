//! The node as a child process: started on free loopback ports, measured from outside, killed when dropped.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{http, proc, prometheus::Scrape};

/// From the start to readiness.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// A running node that everyone may use.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts the binary and waits until it takes sessions.
    pub(crate) fn start(binary: &Path) -> io::Result<Self> {
        // The port is free now; that nobody takes it before the node does is likely enough.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = Command::new(binary);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SFUMATO_") {
                command.env_remove(name);
            }
        }
        command.args(["serve", "--insecure-no-auth", "--advertise", "127.0.0.1"]);
        command.args(["--listen", &address.to_string(), "--media-port", "0"]);
        command.args(["--log-level", "error", "--set", "demo.test_card=false"]);
        // All clients are one address here.
        command.args(["--set", "http.requests_per_second=0"]);
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
            if http::expect(self.address, "GET", "/readyz", "", 200).is_ok() {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(io::Error::other("the node is not ready"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Answer to an offer that wants to publish.
    pub(crate) fn publish(&self, room: &str, offer: &str) -> io::Result<String> {
        http::expect(self.address, "POST", &format!("/whip/{room}"), offer, 201)
    }

    /// Answer to an offer that wants to watch.
    pub(crate) fn watch(&self, room: &str, offer: &str) -> io::Result<String> {
        http::expect(self.address, "POST", &format!("/whep/{room}"), offer, 201)
    }

    /// All its counters now.
    pub(crate) fn scrape(&self) -> io::Result<Scrape> {
        Ok(Scrape::parse(&http::expect(self.address, "GET", "/metrics", "", 200)?))
    }

    /// Processor time so far.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        proc::process_cpu(self.child.id())
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> io::Result<u64> {
        proc::resident(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It keeps nothing that a clean stop would save, and its clients are ours. One that is gone already is as good.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The node's binary: built now, next to this one, unless another is given.
pub(crate) fn binary(given: Option<PathBuf>) -> io::Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path);
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--release", "-p", "sfumato", "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"));
    let own = std::env::current_exe()?;
    // target/release/sfumato-bench
    if let Some(target) = own.parent().and_then(Path::parent) {
        cargo.arg("--target-dir").arg(target);
    }
    let status = cargo.status()?;
    if !status.success() {
        return Err(io::Error::other(format!("building the node ended with {status}")));
    }
    let built = own.parent().and_then(Path::parent).map(|target| target.join("release/sfumato"));
    built.filter(|path| path.is_file()).ok_or_else(|| io::Error::other("no binary was built"))
}
