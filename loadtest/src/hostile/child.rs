//! The attackers' process, one for each part of the run. It is a process of its own, so that it cannot use up the
//! descriptors and the memory of the good peers, and so that its low priority and its single core apply to all that it
//! does.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use transport::dtls::Certificate;

use super::{
    attacks::{Attack, Scene, by_name},
    deeds::Deeds,
    options::Part,
};
use crate::proc::raise_file_limit;

/// Lower than the priority of the good peers: under load the attackers get a tenth of the CPU time that those get.
pub(super) const PRIORITY: i32 = 10;
/// How long the attackers may take to end their sessions; then they are killed.
const END: Duration = Duration::from_secs(30);

/// The orders for a process of attackers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Orders {
    /// The names of the attacks.
    pub(super) attacks: Vec<String>,
    pub(super) milliseconds: u64,
    pub(super) http: SocketAddr,
    pub(super) good_room: String,
    /// The tokens of each attack, so that no attack uses up the rate limits of another's: those that may watch the
    /// good peers, and those of its own rooms, with the room.
    pub(super) tokens: BTreeMap<String, Tokens>,
    pub(super) core: Option<usize>,
    pub(super) seed: u64,
}

/// The tokens of one attack.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Tokens {
    pub(super) watch: Vec<String>,
    pub(super) own: Vec<(String, String)>,
}

/// What was done, by attack.
pub(super) type AllDeeds = BTreeMap<String, Deeds>;

/// A running process of attackers.
pub(super) struct Attackers(Child);

impl Attackers {
    /// Starts the process and sends it its orders.
    ///
    /// # Errors
    /// The process does not start.
    pub(super) fn start(orders: &Orders) -> Result<Attackers, String> {
        let program = std::env::current_exe().map_err(|e| format!("our own program: {e}"))?;
        let mut command = Command::new(program);
        command.arg("attack").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| format!("attackers: {e}"))?;
        let text = serde_json::to_string(orders).map_err(|e| e.to_string())?;
        let told = child.stdin.take().map(|mut stdin| stdin.write_all(text.as_bytes()));
        told.transpose().map_err(|e| format!("attackers: {e}"))?;
        Ok(Attackers(child))
    }

    /// Waits for the end of the process. Returns what was done.
    ///
    /// # Errors
    /// The process failed, or did not end in time.
    pub(super) fn end(mut self) -> Result<AllDeeds, String> {
        let stdout = self.0.stdout.take();
        let reader = thread::spawn(move || {
            let mut text = String::new();
            stdout.map(|mut stdout| stdout.read_to_string(&mut text));
            text
        });
        let until = Instant::now() + END;
        let mut status = None;
        while status.is_none() && Instant::now() < until {
            status = self.0.try_wait().map_err(|e| format!("attackers: {e}"))?;
            thread::sleep(Duration::from_millis(10));
        }
        if status.is_none() {
            let _gone = self.0.kill();
            let _reaped = self.0.wait();
            return Err(format!("the attackers did not end within {END:?}"));
        }
        let text = reader.join().unwrap_or_default();
        serde_json::from_str(&text).map_err(|e| format!("attackers: {e} in {text:?}"))
    }
}

/// The child process: reads its orders, runs the attacks, and writes what was done.
///
/// # Errors
/// The orders are invalid, or the system refuses priority, core or random numbers.
pub(super) fn attack(_part: Part) -> Result<(), String> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(|e| format!("orders: {e}"))?;
    let orders: Orders = serde_json::from_str(&text).map_err(|e| format!("orders: {e}"))?;
    // Threads that are started later inherit priority and core.
    rustix::process::nice(PRIORITY).map_err(|e| format!("priority {PRIORITY}: {e}"))?;
    if let Some(core) = orders.core {
        udp::pin_to_core(core).map_err(|e| format!("core {core}: {e}"))?;
    }
    raise_file_limit();
    let attacks: Option<Vec<&Attack>> = orders.attacks.iter().map(|n| by_name(n)).collect();
    let attacks = attacks.ok_or("orders: an unknown attack")?;
    let certificate = Arc::new(Certificate::generate().map_err(|e| e.to_string())?);
    let until = Instant::now() + Duration::from_millis(orders.milliseconds);
    let scene = |attack: &Attack| {
        let Tokens { watch, own } = orders.tokens.get(attack.name).cloned().unwrap_or_default();
        let (certificate, good_room) = (Arc::clone(&certificate), orders.good_room.clone());
        Scene { http: orders.http, certificate, good_room, watch, own, until }
    };
    let deeds: AllDeeds = thread::scope(|scope| {
        let all: Vec<_> = attacks
            .iter()
            .enumerate()
            .map(|(number, attack)| {
                let (scene, seed) = (scene(attack), orders.seed.wrapping_add(number as u64));
                (attack.name, scope.spawn(move || attack.perform(&scene, seed)))
            })
            .collect();
        let ended = all
            .into_iter()
            .map(|(name, thread)| (name.to_owned(), thread.join().unwrap_or_default()));
        ended.collect()
    });
    let text = serde_json::to_string(&deeds).map_err(|e| e.to_string())?;
    io::stdout().write_all(text.as_bytes()).map_err(|e| e.to_string())
}
