//! A big room in process, without sockets: what a join costs, how long a publisher waits for its answer, and for how
//! long the room is locked while thousands of viewers are told of a change. Beside it a small room, and the longest
//! accepted offers.

use std::{
    fmt::Write,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use model::{Command, NodeId, ParticipantId, RoomId, SessionId, WallClock};
use room::{
    Entering, Ids, Limits, Negotiator, Roles, Room, RoomConfig, RoomError, RoomSettings, Target,
};
use signaling::Core;
use transport::dtls::Certificate;
use worker::{Config, WorkersHandle, lab::Detached};

use crate::report::Table;

/// Offers as browsers and encoders make them.
pub(crate) const PUBLISH: &str = include_str!("../../sdp/fixtures/chromium-publish-simulcast.sdp");
pub(crate) const WATCH: &str = include_str!("../../sdp/fixtures/chromium-watch.sdp");

const SMALL: usize = 10;
const BIG: usize = 5_000;
/// Passes; of each quantity the best one counts.
const PASSES: usize = 3;
/// Workers of the session directory that takes the commands, in the rows that have one.
const WORKERS: usize = 2;

/// Where the rooms' commands go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// They are counted.
    Nothing,
    /// They are counted, and carried out by the session directory of two workers.
    Directory,
}

/// Times of one room's life.
#[derive(Debug, Clone)]
struct Life {
    joins: Vec<Duration>,
    /// The time of the same offers in two steps: negotiation, and the commit in the room.
    negotiations: Vec<Duration>,
    turns: Vec<Duration>,
    /// A publisher joins, and leaves.
    changes: [Change; 2],
    leaves: Vec<Duration>,
}

/// The times of a change that concerns all viewers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    /// Until whoever caused the change has an answer.
    accepted: Duration,
    commands_at_once: usize,
    /// Until the change has reached all viewers.
    all: Duration,
    longest_slice: Duration,
    slices: usize,
    commands: usize,
}

/// A core whose commands are counted, and carried out if there are workers.
struct Stage {
    core: Core,
    commands: Arc<AtomicUsize>,
    /// Keeps the workers alive while their directory is in use.
    _workers: Option<Detached>,
}

/// Measures the rooms and the offers.
///
/// # Errors
/// An offer is refused, a viewer is not told of the publisher, or the system refuses an eventfd.
pub(crate) fn measure() -> io::Result<[Table; 2]> {
    Ok([rooms()?, offers()?])
}

fn rooms() -> io::Result<Table> {
    let shows = [(SMALL, Behind::Nothing), (BIG, Behind::Nothing), (BIG, Behind::Directory)];
    let title = "viewers of one room, in process, no sockets: joining, a publisher coming and going, leaving";
    let mut table = Table::new("room", title, &["10", "5,000", "5,000, directory"]);
    let mut lives = Vec::new();
    for (viewers, behind) in shows {
        let passes: Vec<Life> =
            (0..PASSES).map(|_| live(viewers, behind)).collect::<io::Result<_>>()?;
        lives.push(passes);
    }
    rows(&mut table, &lives);
    table.note(format!(
        "the best of {PASSES} passes for each number; the offers are those of Chromium: a viewer of two sections, a publisher of simulcast"
    ));
    table.note("negotiation: under no lock; the room's turn: with the room's lock held; both measured again with a room in hand, so that a join in whole is their sum and the tables of the node");
    table.note("slice of work: for so long the room answers nobody else; the first one is the turn that accepts the publisher or lets it go");
    table.note(format!(
        "directory: the commands are carried out by the session directory of {WORKERS} workers; no session lives in a worker, so nobody is woken"
    ));
    Ok(table)
}

fn rows(table: &mut Table, lives: &[Vec<Life>]) {
    let mut row = |name: &str, unit, of: &dyn Fn(&Life) -> f64| {
        let best = |passes: &Vec<Life>| passes.iter().map(of).reduce(f64::min);
        table.row(name, unit, lives.iter().map(best));
    };
    row("viewer joins: mean", "us", &|l| us(mean(&l.joins)));
    row("viewer joins: worst", "us", &|l| us(worst(&l.joins)));
    row("viewer joins: negotiation: mean", "us", &|l| us(mean(&l.negotiations)));
    row("viewer joins: room's turn: mean", "us", &|l| us(mean(&l.turns)));
    row("viewer joins: room's turn: worst", "us", &|l| us(worst(&l.turns)));
    for (at, what) in ["publisher comes", "publisher leaves"].into_iter().enumerate() {
        let of = |life: &Life| life.changes[at];
        row(&format!("{what}: answered"), "ms", &|l| ms(of(l).accepted));
        row(&format!("{what}: commands by then"), "", &|l| of(l).commands_at_once as f64);
        row(&format!("{what}: all viewers told"), "ms", &|l| ms(of(l).all));
        row(&format!("{what}: longest slice"), "ms", &|l| ms(of(l).longest_slice));
        row(&format!("{what}: slices of work"), "", &|l| of(l).slices as f64);
        row(&format!("{what}: commands"), "", &|l| of(l).commands as f64);
    }
    row("viewer leaves: mean", "us", &|l| us(mean(&l.leaves)));
    row("viewer leaves: worst", "us", &|l| us(worst(&l.leaves)));
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn mean(times: &[Duration]) -> Duration {
    times.iter().sum::<Duration>() / times.len().max(1) as u32
}

fn worst(times: &[Duration]) -> Duration {
    times.iter().max().copied().unwrap_or_default()
}

/// One room: viewers join, a publisher joins and leaves, the viewers leave.
fn live(viewers: usize, behind: Behind) -> io::Result<Life> {
    // Lets the allocator finish the work that the last room left, so that it is not measured here.
    negotiated(Roles::FromPeer, PUBLISH, 1)?;
    let stage = Stage::set(behind)?;
    let (core, now) = (&stage.core, Instant::now());
    let mut sessions: Vec<SessionId> = Vec::with_capacity(viewers);
    let mut joins = Vec::with_capacity(viewers);
    for _ in 0..viewers {
        let begun = Instant::now();
        let joined = core.subscribe(now, &room()?, None, Target::any(), WATCH).map_err(refused)?;
        joins.push(begun.elapsed());
        sessions.push(joined.session);
    }
    // The room is kept until the end: freeing it makes work for the allocator in the middle of later measurements.
    let (_room, negotiations, turns) = step_by_step(viewers)?;
    let mut publisher = SessionId(0);
    let come = stage.change(|core| {
        publisher =
            core.publish(now, &room()?, &publisher_name()?, PUBLISH).map_err(refused)?.session;
        Ok(())
    })?;
    let go = stage.change(|core| core.close(now, publisher).map_err(refused))?;
    let told = |change: Change| change.commands == viewers + 1;
    if !told(come) || !told(go) {
        let text = format!("{viewers} viewers were not told once each: {come:?}, {go:?}");
        return Err(io::Error::other(text));
    }
    let mut leaves = Vec::with_capacity(viewers);
    for session in sessions {
        let begun = Instant::now();
        core.close(now, session).map_err(refused)?;
        leaves.push(begun.elapsed());
    }
    if core.counts() != room::Counts::default() {
        return Err(io::Error::other(format!("somebody stayed behind: {:?}", core.counts())));
    }
    Ok(Life { joins, negotiations, turns, changes: [come, go], leaves })
}

/// Viewers join a room that is held directly: the time of each negotiation, and of each commit in the room.
fn step_by_step(viewers: usize) -> io::Result<(Room, Vec<Duration>, Vec<Duration>)> {
    let (config, ids, now) = (room_config(), Ids::default(), Instant::now());
    let mut random = random;
    let mut room = Room::new(room()?, NodeId(1), 1);
    let (mut negotiations, mut turns) = (Vec::new(), Vec::new());
    for _ in 0..viewers {
        let begun = Instant::now();
        let agreed = Negotiator::new(&config, &ids, &mut random).answer(Roles::ToPeer, WATCH);
        let agreed = agreed.map_err(refused)?;
        negotiations.push(begun.elapsed());
        let entering =
            Entering { participant: None, identity: None, target: Target::any(), admission: None };
        let begun = Instant::now();
        room.enter(now, &config, entering, agreed).map_err(refused)?;
        while room.poll_command().is_some() {}
        turns.push(begun.elapsed());
    }
    Ok((room, negotiations, turns))
}

impl Stage {
    fn set(behind: Behind) -> io::Result<Self> {
        let workers = match behind {
            Behind::Nothing => None,
            Behind::Directory => Some(workers(WORKERS, Instant::now())?),
        };
        let commands = Arc::new(AtomicUsize::new(0));
        let counter = commands.clone();
        let handle: Option<WorkersHandle> = workers.as_ref().map(|w| w.handle().clone());
        let core = core(move |command| {
            counter.fetch_add(1, Relaxed);
            if let Some(handle) = &handle {
                handle.send(&command);
            }
        });
        Ok(Self { core, commands, _workers: workers })
    }

    /// Makes a change, and works until it has reached all viewers.
    fn change(&self, bring: impl FnOnce(&Core) -> io::Result<()>) -> io::Result<Change> {
        let before = self.commands.load(Relaxed);
        let since = || self.commands.load(Relaxed) - before;
        let begun = Instant::now();
        bring(&self.core)?;
        let accepted = begun.elapsed();
        let commands_at_once = since();
        let (mut longest_slice, mut slices) = (accepted, 0);
        while self.core.has_work() {
            let slice = Instant::now();
            self.core.work();
            longest_slice = longest_slice.max(slice.elapsed());
            slices += 1;
        }
        let all = begun.elapsed();
        Ok(Change { accepted, commands_at_once, all, longest_slice, slices, commands: since() })
    }
}

/// The longest offers that are accepted, beside usual ones.
fn offers() -> io::Result<Table> {
    let title = "offers, in process: how long the negotiation takes, and a room's turn after it";
    let mut table = Table::new("offers", title, &["usual", "longest"]);
    let publish = longest("sendonly", 0);
    let crowd: Vec<String> = (0..CROWD).map(|viewer| longest("recvonly", viewer)).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    let shows = [(&[WATCH; CROWD][..], PUBLISH), (&crowd[..], publish.as_str())];
    let mut all = Vec::new();
    for (crowd, publish) in shows {
        let mut best = [f64::INFINITY; 5];
        for _ in 0..PASSES {
            let pass = offer_pass(crowd, publish)?;
            best.iter_mut().zip(pass).for_each(|(best, time)| *best = best.min(time));
        }
        all.push(best);
    }
    let names = [
        "viewer: negotiation",
        "publisher: negotiation",
        "viewer joins an empty room",
        "publisher comes to that viewer",
        CROWDED,
    ];
    table.row("bytes of the viewer's", "", shows.map(|(crowd, _)| Some(crowd[0].len() as f64)));
    for (at, name) in names.into_iter().enumerate() {
        table.row(name, "ms", all.iter().map(|best| Some(best[at])));
    }
    table.note(format!(
        "longest: {SECTIONS} sections of {CODECS} codecs each, no two viewers alike; the limits are {} bytes, {} lines and {} sections",
        sdp_limits::BYTES,
        sdp_limits::LINES,
        SECTIONS
    ));
    table.note("negotiation: from the text to the answer's text, under no lock; the rows below are whole requests, without HTTP");
    Ok(table)
}

fn offer_pass(crowd: &[&str], publish: &str) -> io::Result<[f64; 5]> {
    let viewer = negotiated(Roles::ToPeer, crowd[0], 1)?;
    let publisher = negotiated(Roles::FromPeer, publish, 1)?;
    let now = Instant::now();
    let timed = |ask: &dyn Fn() -> Result<room::Accepted, RoomError>| {
        let begun = Instant::now();
        ask().map(|_| begun.elapsed()).map_err(refused)
    };
    let (room, name) = (room()?, publisher_name()?);
    let (one, many) = (Stage::set(Behind::Nothing)?, Stage::set(Behind::Nothing)?);
    let joined = timed(&|| one.core.subscribe(now, &room, None, Target::any(), crowd[0]))?;
    let came = timed(&|| one.core.publish(now, &room, &name, publish))?;
    for offer in crowd {
        many.core.subscribe(now, &room, None, Target::any(), offer).map_err(refused)?;
    }
    let came_to_many = timed(&|| many.core.publish(now, &room, &name, publish))?;
    Ok([viewer, publisher, joined, came, came_to_many].map(ms))
}

/// Limits of descriptions in `sdp`; the longest offer stays below them.
mod sdp_limits {
    pub(super) const BYTES: usize = 256 * 1024;
    pub(super) const LINES: usize = 8_192;
}
/// Viewers that are told in the same turn that accepts a publisher.
const CROWD: usize = 64;
const CROWDED: &str = "publisher comes to 64 such viewers";
const SECTIONS: usize = 64;
/// Codecs of a section: as many as fit, with their parameters, into its share of the longest description.
const CODECS: u8 = 40;

/// As many sections as are accepted, and in each more codecs than are kept, no two of which mean the same: H.264
/// profiles that nobody knows. The order of the codecs is turned by so many.
fn longest(direction: &str, turned: usize) -> String {
    const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-ufrag:q2Kd\r\na=ice-pwd:u0mYlBc8xVQhJ2tZr5nW2eGp\r\na=fingerprint:sha-256 0E:1B:28:35:42:4F:5C:69:76:83:90:9D:AA:B7:C4:D1:DE:EB:F8:05:12:1F:2C:39:46:53:60:6D:7A:87:94:A1\r\na=setup:actpass\r\n";
    let mut types: Vec<u8> = (0..CODECS - 32).chain(96..128).collect();
    types.rotate_left(turned % usize::from(CODECS));
    let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(" ");
    let mut offer = HEAD.to_owned();
    let mids = list(&mut (0..SECTIONS).map(|mid| mid.to_string()));
    offer += &format!("a=group:BUNDLE {mids}\r\n");
    for section in 0..SECTIONS {
        let payloads = list(&mut types.iter().map(u8::to_string));
        offer += &format!(
            "m=video 9 UDP/TLS/RTP/SAVPF {payloads}\r\nc=IN IP4 0.0.0.0\r\na=mid:{section}\r\na={direction}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n"
        );
        for &pt in &types {
            // Profiles from 0x70 on: 128 of them, so that those of a section differ.
            let profile = 0x70 + (usize::from(pt) + section) % 128;
            let fmtp = format!("packetization-mode=1;profile-level-id={profile:02x}001f");
            // Writing to a String does not fail.
            write!(offer, "a=rtpmap:{pt} H264/90000\r\na=fmtp:{pt} {fmtp}\r\n").unwrap_or_default();
        }
    }
    offer
}

/// The time of one negotiation, as the mean of several.
fn negotiated(roles: Roles, offer: &str, times: usize) -> io::Result<Duration> {
    let (config, ids) = (room_config(), Ids::default());
    let mut random = random;
    let begun = Instant::now();
    for _ in 0..times {
        Negotiator::new(&config, &ids, &mut random).answer(roles, offer).map_err(refused)?;
    }
    Ok(begun.elapsed() / times.max(1) as u32)
}

/// All rooms of a node, with a sink for their commands.
pub(crate) fn core(sink: impl Fn(Command) + Send + Sync + 'static) -> Core {
    Core::new(room_config(), 1, random, sink, |_: &room::Notice| ())
}

pub(crate) fn room_config() -> RoomConfig {
    RoomConfig {
        candidates: vec![([192, 0, 2, 1], 7000).into(), ([198, 51, 100, 1], 7000).into()],
        fingerprint: ["AB"; 32].join(":"),
        cname: "bench".into(),
        limits: Limits { sessions: 100_000, ..Limits::default() },
        default_settings: RoomSettings::default(),
    }
}

/// Workers without sockets, whose events are ignored.
pub(crate) fn workers(count: usize, now: Instant) -> io::Result<Detached> {
    let certificate = Certificate::generate().map_err(io::Error::other)?;
    let clock = WallClock::new(now, SystemTime::now());
    Detached::new(Config::new(Arc::new(certificate), clock, Arc::new(|_| ())), now, count)
}

pub(crate) fn random(bytes: &mut [u8]) {
    // The operating system's random generator does not fail once it is seeded.
    aws_lc_rs::rand::fill(bytes).unwrap_or_default();
}

fn room() -> io::Result<RoomId> {
    RoomId::parse("room").map_err(io::Error::other)
}

fn publisher_name() -> io::Result<ParticipantId> {
    ParticipantId::parse("publisher").map_err(io::Error::other)
}

pub(crate) fn refused(error: RoomError) -> io::Error {
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_viewer_is_told_once_and_most_of_them_later() {
        for behind in [Behind::Nothing, Behind::Directory] {
            let life = live(300, behind).unwrap();
            assert_eq!((life.joins.len(), life.leaves.len()), (300, 300));
            for change in life.changes {
                assert_eq!(change.commands, 301);
                assert!(change.commands_at_once < 100 && change.slices > 0, "{change:?}");
                assert!(change.all >= change.longest_slice);
            }
        }
    }

    #[test]
    fn the_longest_offer_is_accepted_and_one_section_more_is_not() {
        let offer = longest("recvonly", 0);
        assert!(offer.len() < sdp_limits::BYTES && offer.lines().count() < sdp_limits::LINES);
        negotiated(Roles::ToPeer, &offer, 1).unwrap();
        negotiated(Roles::FromPeer, &longest("sendonly", 0), 1).unwrap();
        let section = &offer[offer.rfind("m=").unwrap()..];
        assert!(negotiated(Roles::ToPeer, &format!("{offer}{section}"), 1).is_err());
    }
}
