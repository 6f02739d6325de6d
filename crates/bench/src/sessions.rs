//! What sessions cost besides packets: processor time to set them up, the time of a join when all come at once, what
//! those who are connected already notice, and memory.

use std::{io, time::Duration};

use crate::{
    Bench,
    media::{PACKETS, PAYLOAD, PICTURES},
    report::Table,
    server::Server,
    swarm::{Report, Swarm, flag, time},
};

/// Sessions before the first measured one, so that allocator and thread pools have grown.
const FIRST: usize = 10;
/// Viewers that are connected when the others come.
const BYSTANDERS: usize = 50;
/// Longest life of sessions that only hold their place; they are killed when no longer needed.
const LONG: Duration = Duration::from_secs(600);
/// Time before the others come.
const CALM: Duration = Duration::from_secs(3);
const FLASH: Duration = Duration::from_secs(5);
/// Most time that joining may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(40);
/// Time until the allocator has settled.
const REST: Duration = Duration::from_secs(1);
/// Time in which media fills the caches of packets and numbers.
const FILLED: Duration = Duration::from_secs(3);

pub(crate) const CPU: &str = "processor time per session";
pub(crate) const CPU_RUSH: &str = "the same, all within a second";
pub(crate) const JOIN_P99: &str = "join p99, all within a second";
pub(crate) const FREEZES: &str = "freezes of those who watched";
pub(crate) const DELAY_P99: &str = "their delay p99";
pub(crate) const WORST: &str = "their delay p99 in the worst second";
pub(crate) const IDLE: &str = "idle session";
pub(crate) const ACTIVE: &str = "active session";
pub(crate) const VALUE: &str = "value";

/// Setting sessions up, and the memory of an idle one; one run gives both.
pub(crate) fn measure(bench: &Bench) -> io::Result<[Table; 2]> {
    let count = bench.effort.sessions;
    let mut setup = Table::new("setup", format!("setting up {count} sessions"), &[VALUE]);
    let mut memory =
        Table::new("memory", format!("resident memory of the node, {count} viewers"), &[VALUE]);
    let rush = idle(bench, count, Duration::from_secs(1))?;
    let idle = idle(bench, count, bench.effort.join_over)?;
    setup.row("sessions per processor second", "", [Some(1e3 / idle.cpu_ms)]);
    setup.row(CPU, "ms", [Some(idle.cpu_ms)]);
    setup.row(CPU_RUSH, "ms", [Some(rush.cpu_ms)]);
    setup.row("join p50, one by one", "ms", [idle.report.number("/times_ms/join/p50")]);
    setup.row("join p99, one by one", "ms", [idle.report.number("/times_ms/join/p99")]);
    note_failures(&mut setup, &idle.report);
    flash(bench, count, &mut setup)?;
    setup.note("HTTP, SDP, ICE, DTLS with ECDSA P-256, and the consent checks of those who are there already. Who comes alone pays for waking up");
    setup.note(format!(
        "within a second: {count} viewers come to a room in which {BYSTANDERS} watch 30 pictures a second of 4 packets"
    ));
    memory.row(IDLE, "KB", [Some(idle.bytes / 1e3)]);
    memory.row(ACTIVE, "KB", [Some(active(bench, count)? / 1e3)]);
    memory.note(format!("what these sessions added, over their number; {FIRST} were there before. An active one watches video"));
    Ok([setup, memory])
}

struct Idle {
    cpu_ms: f64,
    bytes: f64,
    report: Report,
}

/// Viewers of a room without media, who join over this time.
fn idle(bench: &Bench, count: usize, over: Duration) -> io::Result<Idle> {
    let server = Server::start(&bench.net, &bench.node)?;
    let _first = start(bench, &server, &empty_room(FIRST, Duration::from_secs(1), LONG))?;
    connected(&server, FIRST)?;
    std::thread::sleep(REST);
    let (memory, cpu) = (server.resident()?, server.cpu()?);
    let swarm = start(bench, &server, &empty_room(count, over, over + 4 * REST))?;
    // The scrape itself costs processor time.
    std::thread::sleep(over);
    connected(&server, FIRST + count)?;
    let cpu = server.cpu()? - cpu;
    std::thread::sleep(REST);
    let bytes = (server.resident()? as f64 - memory as f64) / count as f64;
    let report = swarm.finish()?;
    Ok(Idle { cpu_ms: cpu.as_secs_f64() * 1e3 / count as f64, bytes, report })
}

/// All viewers come within a second to a room that has viewers already.
fn flash(bench: &Bench, count: usize, table: &mut Table) -> io::Result<()> {
    let server = Server::start(&bench.net, &bench.node)?;
    let room = flag("room", "bench");
    let mut flags = vec!["webinar".to_owned()];
    flags.extend(flag("viewers", BYSTANDERS).into_iter().chain(flag("join-over", "1s")));
    flags.extend(flag("duration", time(CALM + FLASH)).into_iter().chain(bench.warm_up(CALM)));
    flags.extend(video(4).into_iter().chain(room.clone()));
    // The first viewers run in a process of their own with a higher priority: the others keep the swarm's core busy
    // with their side of the handshakes, and that delay is not the server's.
    let watching = Swarm::start_urgent(&bench.net, &bench.swarm, &server, &flags)?;
    connected(&server, BYSTANDERS + 1)?;
    std::thread::sleep(CALM.saturating_sub(REST));
    let mut flags = vec!["flash".to_owned()];
    flags.extend(flag("publishers", 0).into_iter().chain(flag("viewers", count)));
    flags.extend(flag("join-over", "1s").into_iter().chain(flag("duration", time(FLASH))));
    flags.extend(room);
    let coming = start(bench, &server, &flags)?.finish()?;
    let watching = watching.finish()?;
    for report in [&coming, &watching] {
        note_failures(table, report);
    }
    table.row("joined within a second", "", [Some(coming.joined())]);
    table.row("join p50, all within a second", "ms", [coming.number("/times_ms/join/p50")]);
    table.row(JOIN_P99, "ms", [coming.number("/times_ms/join/p99")]);
    table.row(FREEZES, "", [watching.number("/counters/freezes")]);
    table.row("their delay p50", "ms", [watching.number("/times_ms/delay/p50")]);
    table.row(DELAY_P99, "ms", [watching.number("/times_ms/delay/p99")]);
    table.row(WORST, "ms", [watching.worst_second("/times_ms/delay/p99")]);
    table.row("their loss", "%", [watching.number("/loss").map(|share| 100.0 * share)]);
    table.row("their swarm's own lag p99", "ms", [watching.number("/times_ms/swarm_lag/p99")]);
    Ok(())
}

/// Bytes of memory per viewer that receives video.
fn active(bench: &Bench, count: usize) -> io::Result<f64> {
    let server = Server::start(&bench.net, &bench.node)?;
    let mut flags = vec!["webinar".to_owned()];
    flags.extend(flag("viewers", FIRST).into_iter().chain(flag("room", "bench")));
    flags.extend(flag("join-over", "1s").into_iter().chain(flag("duration", time(LONG))));
    flags.extend(video(PACKETS));
    let _first = start(bench, &server, &flags)?;
    connected(&server, FIRST + 1)?;
    std::thread::sleep(FILLED);
    let memory = server.resident()?;
    let over = bench.effort.join_over / 2;
    let mut flags = empty_room(count, over, over + 10 * REST);
    flags.extend(flag("room", "bench"));
    let _others = start(bench, &server, &flags)?;
    connected(&server, FIRST + 1 + count)?;
    std::thread::sleep(FILLED);
    Ok((server.resident()? as f64 - memory as f64) / count as f64)
}

/// Viewers without a publisher.
pub(crate) fn empty_room(viewers: usize, over: Duration, lasting: Duration) -> Vec<String> {
    let mut flags = vec!["webinar".to_owned()];
    flags.extend(flag("publishers", 0).into_iter().chain(flag("viewers", viewers)));
    flags.extend(flag("join-over", time(over)).into_iter().chain(flag("duration", time(lasting))));
    flags
}

/// Pictures of this many packets, without sound.
pub(crate) fn video(packets: u16) -> Vec<String> {
    pictures("synthetic", packets)
}

/// Pictures of a kind that the swarm knows, of this many packets on average, without sound.
pub(crate) fn pictures(kind: &str, packets: u16) -> Vec<String> {
    let flags = [
        flag("video", kind),
        flag("audio", "off"),
        flag("fps", PICTURES),
        flag("packets", packets),
        flag("payload", PAYLOAD),
    ];
    flags.into_iter().flatten().collect()
}

pub(crate) fn start(bench: &Bench, server: &Server, flags: &[String]) -> io::Result<Swarm> {
    Swarm::start(&bench.net, &bench.swarm, server, flags)
}

pub(crate) fn connected(server: &Server, count: usize) -> io::Result<()> {
    let everybody = count as f64;
    server.wait_for(&format!("{count} sessions are connected"), CONNECT_WITHIN, |scrape| {
        scrape.sum("sfumato_sessions_connected").is_some_and(|n| n >= everybody)
    })?;
    Ok(())
}

pub(crate) fn note_failures(table: &mut Table, report: &Report) {
    let failures = report.failures();
    if !failures.is_empty() {
        table.note(failures);
    }
}
