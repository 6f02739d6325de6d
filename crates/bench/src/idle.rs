//! The memory of a node with many workers and many idle sessions, in process and without sockets. It runs in a process
//! of its own, because memory that other parts freed would distort the figure.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use model::{Command, IceCredentials, ParticipantId, Path, RoomId, SessionId, SessionPlan};
use room::Target;
use serde_json::{Value, json};
use stun_types::{
    attribute::{RawAttribute, Username},
    message::{
        BINDING, IntegrityAlgorithm, Message, MessageWrite, MessageWriteExt, MessageWriteVec,
        ShortTermCredentials,
    },
};
use transport::srtp::{Profile, Receiver, Sender};
use worker::lab::Detached;

use crate::{
    proc::resident,
    report::Table,
    room::{PUBLISH, WATCH, core, refused, workers},
};

const WORKERS: usize = 64;
const SESSIONS: usize = 20_000;
/// Viewers of each room; each room has one publisher besides.
const ROOM: usize = 1_000;
/// The most bytes that a node of this size should take.
const MARK: u64 = 1_500_000_000;
/// Turns of all workers after which they have to be idle.
const ROUNDS: usize = 1_000;

/// Starts the measuring process, and reads its result.
///
/// # Errors
/// The process fails, or prints something other than the result.
pub(crate) fn measure() -> io::Result<Table> {
    let output = std::process::Command::new(std::env::current_exe()?)
        .args(["idle", &WORKERS.to_string(), &SESSIONS.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let said = || io::Error::other(format!("the process of the idle node said {text:?}"));
    let value: Value = serde_json::from_str(&text).map_err(|_| said())?;
    let number = |name: &str| value[name].as_f64().ok_or_else(said);
    let [start, empty, opened, connected] = ["start", "empty", "opened", "connected"].map(number);
    let (start, empty, opened, connected) = (start?, empty?, opened?, connected?);
    Ok(table(start, empty, opened, connected))
}

fn table(start: f64, empty: f64, opened: f64, connected: f64) -> Table {
    let title = format!(
        "resident memory of {WORKERS} workers and {SESSIONS} idle viewers of two slots each, in process"
    );
    let mut table = Table::new("idle", title, &["in all", "for each"]);
    let (mb, each) = (1e6, SESSIONS as f64);
    let mut row = |name: &str, bytes: f64, per: Option<f64>| {
        table.row(name, "MB, bytes", [Some(bytes / mb), per.map(|count| bytes / count)]);
    };
    row("empty workers", empty - start, Some(WORKERS as f64));
    row("sessions, opened: rooms and directory", opened - empty, Some(each));
    row("sessions, connected: the worker's part", connected - opened, Some(each));
    row("sessions, in all", connected - empty, Some(each));
    row("the whole process", connected, None);
    table.note(format!(
        "{} publishers of simulcast are in it, one for {ROOM} viewers, to whom all slots are bound; no media flows, so the caches of packets are empty",
        SESSIONS / ROOM
    ));
    table.note("in it: the room's state, plan, directory entry, ICE, SRTP keys of both ways, tracks; each session lives in one of the workers");
    table.note("not in it: the state of DTLS, since keys take the place of the handshake; sockets and their buffers in the kernel; threads' stacks; HTTP resources (a URL and a tag)");
    table.note(format!(
        "mark: the whole under {} MB: {}",
        MARK / 1_000_000,
        if connected < MARK as f64 { "yes" } else { "no" }
    ));
    table
}

/// The measuring process itself; returns what it prints.
///
/// # Errors
/// An offer is refused, or a session does not connect.
pub(crate) fn run_alone(workers: usize, sessions: usize) -> io::Result<String> {
    let memory = || resident(std::process::id());
    let start = memory()?;
    let now = Instant::now();
    let mut node = Node::set(workers, now)?;
    let empty = memory()?;
    node.open(sessions)?;
    let opened = memory()?;
    node.connect()?;
    node.settle()?;
    let connected = memory()?;
    let numbers =
        json!({ "start": start, "empty": empty, "opened": opened, "connected": connected });
    Ok(numbers.to_string())
}

/// A whole node in one thread.
struct Node {
    now: Instant,
    workers: Detached,
    count: usize,
    core: signaling::Core,
    /// Plans of sessions that are not connected yet.
    plans: Arc<Mutex<Vec<Arc<SessionPlan>>>>,
    /// Connected sessions, and the worker that owns each.
    homes: Vec<(SessionId, usize)>,
}

impl Node {
    fn set(count: usize, now: Instant) -> io::Result<Self> {
        let workers = workers(count, now)?;
        let plans: Arc<Mutex<Vec<Arc<SessionPlan>>>> = Arc::default();
        let (opened, handle) = (plans.clone(), workers.handle().clone());
        let core = core(move |command| {
            if let Command::Open(plan) = &command {
                opened.lock().unwrap_or_else(PoisonError::into_inner).push(plan.clone());
            }
            handle.send(&command);
        });
        Ok(Self { now, workers, count, core, plans, homes: Vec::new() })
    }

    /// Opens rooms of one publisher and viewers until there are enough viewers.
    fn open(&self, viewers: usize) -> io::Result<()> {
        let publisher = ParticipantId::parse("publisher").map_err(io::Error::other)?;
        for viewer in 0..viewers {
            let room =
                RoomId::parse(&format!("room{}", viewer / ROOM)).map_err(io::Error::other)?;
            if viewer % ROOM == 0 {
                self.core.publish(self.now, &room, &publisher, PUBLISH).map_err(refused)?;
            }
            self.core.subscribe(self.now, &room, None, Target::any(), WATCH).map_err(refused)?;
        }
        while self.core.work() {}
        Ok(())
    }

    /// Connects each session: it checks its path in one worker, the next session in the next worker, and gets its keys
    /// there.
    fn connect(&mut self) -> io::Result<()> {
        let plans = std::mem::take(&mut *self.plans.lock().unwrap_or_else(PoisonError::into_inner));
        for (number, plan) in plans.iter().enumerate() {
            let at = number % self.count;
            let failed = |what: &str| io::Error::other(format!("session {}: {what}", plan.id));
            let [a, b, c, d] = (number as u32 + 0x0a00_0001).to_be_bytes();
            let path = Path {
                remote: SocketAddr::from(([a, b, c, d], 5_000)),
                local: Ipv4Addr::LOCALHOST.into(),
            };
            self.workers.datagram(at, self.now, path, &mut check(&plan.ice)?);
            self.workers.turn(at, self.now);
            if self.workers.sent(at).is_empty() {
                return Err(failed("its check was not answered"));
            }
            let key = [number as u8; 16];
            let sender =
                Sender::new(Profile::AeadAes128Gcm, &key, &[9; 12]).map_err(io::Error::other)?;
            let receiver =
                Receiver::new(Profile::AeadAes128Gcm, &key, &[9; 12]).map_err(io::Error::other)?;
            if !self.workers.connect(at, self.now, plan.id, sender, receiver) {
                return Err(failed("it was not connected"));
            }
            self.core.handle_event(self.now, model::Event::Connected { session: plan.id });
            self.homes.push((plan.id, at));
        }
        Ok(())
    }

    /// Runs turns until the workers have handled what they sent each other.
    fn settle(&mut self) -> io::Result<()> {
        for _ in 0..ROUNDS {
            let mut busy = false;
            for at in 0..self.count {
                busy |= self.workers.has_mail(at);
                busy |= self.workers.turn(at, self.now);
                // Datagrams to peers are thrown away.
                self.workers.sent(at);
            }
            if !busy {
                return self.verify();
            }
        }
        Err(io::Error::other("the workers do not come to rest"))
    }

    fn verify(&self) -> io::Result<()> {
        let astray = self.homes.iter().find(|(id, at)| self.workers.owner(*id) != Some(*at));
        let counts = self.core.counts();
        if let Some((id, at)) = astray {
            return Err(io::Error::other(format!("session {id} does not live in worker {at}")));
        }
        if counts.connected != self.homes.len() || counts.sessions != self.homes.len() {
            return Err(io::Error::other(format!("not all are connected: {counts:?}")));
        }
        Ok(())
    }
}

/// A connectivity check that nominates its path (RFC 8445 section 7.1.1).
fn check(ice: &IceCredentials) -> io::Result<Vec<u8>> {
    let wrong = |e: stun_types::message::StunWriteError| io::Error::other(e);
    let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
    let username = format!("{}:{}", ice.local_ufrag, ice.remote_ufrag);
    let username = Username::new(&username).map_err(io::Error::other)?;
    request.add_attribute(&username).map_err(wrong)?;
    let (use_candidate, controlling) =
        (RawAttribute::new(0x25.into(), &[]), RawAttribute::new(0x802a.into(), &[9; 8]));
    request.add_attribute(&use_candidate).map_err(wrong)?;
    request.add_attribute(&controlling).map_err(wrong)?;
    let password = ShortTermCredentials::new(ice.local_pwd.clone()).into();
    request.add_message_integrity(&password, IntegrityAlgorithm::Sha1).map_err(wrong)?;
    request.add_fingerprint().map_err(wrong)?;
    Ok(request.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_live_in_the_workers_that_answered_their_checks() {
        let mut node = Node::set(3, Instant::now()).unwrap();
        node.open(20).unwrap();
        node.connect().unwrap();
        node.settle().unwrap();
        assert_eq!(node.homes.len(), 21);
        assert_eq!(node.workers.handle().sessions(), 21);
    }

    #[test]
    fn memory_is_told_for_each_session() {
        let table = table(1e6, 65e6, 105e6, 205e6);
        assert_eq!(table.value("empty workers", "for each"), Some(1e6));
        assert_eq!(table.value("sessions, in all", "for each"), Some(7_000.0));
        assert_eq!(table.value("the whole process", "in all"), Some(205.0));
    }
}
