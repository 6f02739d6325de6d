//! The node under attack: a process of its own on free loopback ports, with authentication on and every limit at its
//! default. It is observed over the network (`/metrics`, `/readyz`), through `/proc`, and by its log.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{http::Client, metrics::Metrics};
use crate::{proc::Usage, random::Random};

/// How long the node may take until it logs its address; then it counts as failed.
const START: Duration = Duration::from_secs(20);
/// How long the node may take to stop; then it is killed.
const STOP: Duration = Duration::from_secs(20);
/// The source address of the orchestrator's own requests, which neither the good peers nor the attackers use.
const OPERATOR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// A running node.
pub(super) struct Node {
    child: Child,
    binary: PathBuf,
    secret: String,
    log: PathBuf,
    admin: String,
    operator: Client,
    /// Its HTTP listener.
    pub(super) http: SocketAddr,
}

/// What a token grants.
#[derive(Debug, Clone, Copy)]
pub(super) enum Grant {
    /// Publish and watch.
    Both,
    /// Watch only.
    Watch,
    /// Read metrics.
    Admin,
}

/// The state of the node at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    /// Its metrics; empty when it gave none.
    pub(super) metrics: Metrics,
    /// Resident memory in bytes; 0 when the process is gone.
    pub(super) memory: u64,
    /// Bytes of its log so far.
    pub(super) log: u64,
    /// `/readyz` answers 200.
    pub(super) ready: bool,
}

impl Node {
    /// Starts `binary` with its log in `out`, and waits until it serves.
    ///
    /// # Errors
    /// The binary does not start, or logs no address within 20 s; the error contains the end of its log.
    pub(super) fn start(binary: &Path, out: &Path) -> Result<Node, String> {
        let secret = Random::new(Random::seed()).ice_text(48).replace(['+', '/'], "x");
        let log = out.join("node.log");
        let file = fs::File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let mut command = configured(binary, &secret);
        command.arg("serve").args(["--listen", "127.0.0.1:0", "--media-port", "0"]);
        command.args(["--advertise", "127.0.0.1"]).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(file).spawn();
        let mut child = child.map_err(|e| format!("{}: {e}", binary.display()))?;
        let Some(http) = serving(&mut child, &log) else {
            let _gone = child.kill();
            let _reaped = child.wait();
            return Err(format!("the node did not start:\n{}", tail(&log)));
        };
        let operator = Client::new(OPERATOR, http);
        let (binary, admin) = (binary.to_owned(), String::new());
        let mut node = Node { child, binary, secret, log, admin, operator, http };
        node.admin = node.token("*", Grant::Admin)?;
        Ok(node)
    }

    /// A new bearer token, made by the node's own command.
    ///
    /// # Errors
    /// The command fails.
    pub(super) fn token(&self, room: &str, grant: Grant) -> Result<String, String> {
        let mut command = configured(&self.binary, &self.secret);
        command.args(["token", "--room", room]).args(match grant {
            Grant::Both => &["--publish", "--subscribe"][..],
            Grant::Watch => &["--subscribe"],
            Grant::Admin => &["--admin"],
        });
        let output = command.output().map_err(|e| format!("{}: {e}", self.binary.display()))?;
        if !output.status.success() {
            return Err(format!("sfumato token: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The present state of the node.
    pub(super) fn look(&mut self) -> Look {
        let metrics = self.operator.get("/metrics", Some(&self.admin));
        let metrics = metrics.ok().filter(|reply| reply.status == 200);
        let metrics = metrics.map(|reply| Metrics::parse(&reply.text())).unwrap_or_default();
        let ready = self.operator.get("/readyz", None).is_ok_and(|reply| reply.status == 200);
        let memory = Usage::of(self.pid()).map_or(0, |usage| usage.memory);
        let log = fs::metadata(&self.log).map_or(0, |meta| meta.len());
        Look { metrics, memory, log, ready }
    }

    /// Stops the node. Returns what was wrong with its end: it had died before, did not stop in order, or panicked.
    pub(super) fn stop(mut self) -> Option<String> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Some(format!("the node died with {status}:\n{}", tail(&self.log)));
        }
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _gone = kill_process(pid, Signal::TERM);
        }
        let until = Instant::now() + STOP;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                _ if Instant::now() >= until => break None,
                _ => thread::sleep(Duration::from_millis(50)),
            }
        };
        match status {
            None => {
                let _gone = self.child.kill();
                let _reaped = self.child.wait();
                Some(format!("the node did not stop within {STOP:?}"))
            }
            Some(status) if !status.success() => Some(format!("the node stopped with {status}")),
            Some(_) => {
                let text = fs::read_to_string(&self.log).unwrap_or_default();
                let line = text.lines().find(|line| line.contains("panicked at"))?;
                Some(format!("the node panicked: {line}"))
            }
        }
    }
}

/// A run that ends early must leave no node behind.
impl Drop for Node {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The binary with a key for this run, and without the environment's settings.
fn configured(binary: &Path, secret: &str) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SFUMATO_") {
            command.env_remove(name);
        }
    }
    command.env("SFUMATO_AUTH_KEYS", format!("hostile={secret}"));
    command
}

fn serving(child: &mut Child, log: &Path) -> Option<SocketAddr> {
    let until = Instant::now() + START;
    while Instant::now() < until {
        let text = fs::read_to_string(log).unwrap_or_default();
        if let Some(address) = address_in(&text) {
            return Some(address);
        }
        if !matches!(child.try_wait(), Ok(None)) {
            return None;
        }
        thread::sleep(Duration::from_millis(50));
    }
    None
}

/// The field `http` of the log line "serving".
fn address_in(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("serving"))?;
    line.split_ascii_whitespace().find_map(|word| word.strip_prefix("http=")?.parse().ok())
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_log() {
        let log = "x\n2026  INFO serving version=\"0.1.0\" http=127.0.0.1:45621 candidates=[]\n";
        assert_eq!(address_in(log), Some("127.0.0.1:45621".parse().unwrap()));
        assert_eq!(address_in("2026 INFO stopping"), None);
    }
}
