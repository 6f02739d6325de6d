//! The attackers' process, one for each part of the run. It is a process of its own so that it cannot use up the descriptors and the memory
//! of the good peers' process, and so that its low priority and its one core hold for everything that it does.

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

/// Lower than everybody else's: under load the attackers get a tenth of what a good one gets.
pub(super) const PRIORITY: i32 = 10;
/// The attackers may take so long to end their sessions; then they are killed.
const END: Duration = Duration::from_secs(30);

/// What the attackers are told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Orders {
    /// Names of attacks.
    pub(super) attacks: Vec<String>,
    pub(super) milliseconds: u64,
    pub(super) http: SocketAddr,
    pub(super) good_room: String,
    /// Tokens of each attack, so that none uses up the rate of another one's: those that may watch the good ones, and those of
    /// rooms of its own, with the room.
    pub(super) tokens: BTreeMap<String, Tokens>,
    pub(super) core: Option<usize>,
    pub(super) seed: u64,
}

/// Tokens of an attack.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Tokens {
    pub(super) watch: Vec<String>,
    pub(super) own: Vec<(String, String)>,
}

/// The deeds of each attack.
pub(super) type AllDeeds = BTreeMap<String, Deeds>;

/// A process of attackers at work.
pub(super) struct Attackers(Child);

impl Attackers {
    /// Starts one.
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

    /// Waits for its end, and hears what was done.
    ///
    /// # Errors
    /// It failed, or did not end in time.
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

/// The attackers' side: hears orders, obeys, tells.
///
/// # Errors
/// The orders make no sense, or the machine gives no priority, core or randomness.
pub(super) fn attack(_part: Part) -> Result<(), String> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(|e| format!("orders: {e}"))?;
    let orders: Orders = serde_json::from_str(&text).map_err(|e| format!("orders: {e}"))?;
    // Threads that are started later inherit both.
    rustix::process::nice(PRIORITY).map_err(|e| format!("priority {PRIORITY}: {e}"))?;
    if let Some(core) = orders.core {
        udp::pin_to_core(core).map_err(|e| format!("core {core}: {e}"))?;
    }
    raise_file_limit();
    let attacks: Option<Vec<&Attack>> = orders.attacks.iter().map(|n| by_name(n)).collect();
    let attacks = attacks.ok_or("orders: an attack that there is not")?;
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
