//! Rooms of members with room sessions, over the network: memory of a member, the price of those who are silent, the time
//! of a switch to another track, and of a join until the first media.

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{
    Bench,
    report::Table,
    server::Server,
    sessions::{VALUE, connected, note_failures, start},
    swarm::{Report, Swarm, flag, time},
};

/// Members in all, whatever the size of their rooms.
const MEMBERS: usize = 200;
/// Members with a camera in the large room.
const CAMERAS: usize = 20;
/// Members of another room before the first measured one, so that allocator and thread pools have grown.
const FIRST: usize = 4;
/// Members of the silent room: the most that a room has by default.
const SILENT: usize = 500;
/// Members of the room that is joined.
const JOINED: usize = 20;
/// Joins a second, so that joins do not disturb each other.
const JOINS: u32 = 40;
/// Time until caches of packets and numbers are full, and the last messages about who joined are out.
const FILLED: Duration = Duration::from_secs(6);
/// From one choice to the next.
const SWITCH_EVERY: Duration = Duration::from_millis(500);
/// Longest life of members that only hold their place; they are killed when no longer needed.
const LONG: Duration = Duration::from_secs(600);

/// Measures all of it.
///
/// # Errors
/// The node or the swarm fails, or not all members join.
pub(crate) fn measure(bench: &Bench) -> io::Result<[Table; 3]> {
    Ok([memory(bench)?, silence(bench)?, times(bench)?])
}

/// The flags of members in rooms of this size.
fn members(rooms: usize, publishers: usize, lasting: Duration) -> Vec<String> {
    let over = Duration::from_secs(1).mul_f64((rooms * publishers) as f64 / f64::from(JOINS));
    let mut flags = vec!["meeting".to_owned()];
    flags.extend(flag("mode", "room").into_iter().chain(flag("rooms", rooms)));
    flags.extend(flag("publishers", publishers).into_iter().chain(flag("viewers", 0)));
    flags.extend(flag("join-over", time(over)).into_iter().chain(flag("duration", time(lasting))));
    flags
}

/// Pictures of so many a second, four packets each.
fn pictures(fps: u32) -> Vec<String> {
    let flags = [flag("video", "synthetic"), flag("fps", fps), flag("packets", 4)];
    flags.into_iter().flatten().collect()
}

/// Memory of a member that sends and receives, by the size of its room.
fn memory(bench: &Bench) -> io::Result<Table> {
    let title = format!("memory of the node for each of {MEMBERS} members, by members of a room");
    let mut table = Table::new("members-memory", title, &["2", "20", "200"]);
    let (mut each, mut connected) = (Vec::new(), Vec::new());
    for (size, cameras) in [(2, 2), (20, 20), (MEMBERS, CAMERAS)] {
        let (bytes, members) = memory_in_rooms_of(bench, size, cameras)?;
        each.push(Some(bytes / 1e3));
        connected.push(Some(members));
    }
    table.row("a member", "KB", each);
    table.row("members connected", "", connected);
    table.note(format!(
        "all send sound; pictures (10 a second of 4 packets of 1,100 bytes) all in rooms of 2 and 20, and {CAMERAS} in the room of {MEMBERS}. A member has 4 slots for sound, 9 for pictures, and its events"
    ));
    table.note(format!(
        "resident memory that these members added, {} s after the last one joined, over their number; {FIRST} were there before",
        FILLED.as_secs()
    ));
    Ok(table)
}

fn memory_in_rooms_of(bench: &Bench, size: usize, cameras: usize) -> io::Result<(f64, f64)> {
    let server = Server::start(&bench.net, &bench.node)?;
    let flags = [members(1, FIRST, LONG), pictures(10)].concat();
    let _first = start(bench, &server, &flags)?;
    connected(&server, FIRST)?;
    std::thread::sleep(FILLED);
    let before = server.resident()?;
    let mut flags = [members(MEMBERS / size, size, LONG), pictures(10)].concat();
    flags.extend(flag("cameras", cameras));
    let _members = start(bench, &server, &flags)?;
    connected(&server, FIRST + MEMBERS)?;
    std::thread::sleep(FILLED);
    let bytes = server.resident()? as f64 - before as f64;
    let scrape = server.scrape()?;
    let there = scrape.sum("sfumato_sessions_connected").unwrap_or(0.0) - FIRST as f64;
    Ok((bytes / MEMBERS as f64, there))
}

/// Processor time of a member in a room in which nobody speaks.
fn silence(bench: &Bench) -> io::Result<Table> {
    let title = format!("a room of {SILENT} members in which nobody speaks");
    let columns = ["silence", "silence, muted", "no microphone"];
    let mut table = Table::new("members-silent", title, &columns);
    let dtx = flag("audio", "dtx").to_vec();
    let muted = [dtx.clone(), vec!["--muted".to_owned()]].concat();
    let kinds = [dtx, muted, flag("audio", "off").to_vec()];
    let mut quiets = Vec::new();
    for kind in &kinds {
        let quiet = quiet(bench, kind)?;
        note_failures(&mut table, &quiet.report);
        quiets.push(quiet);
    }
    let share = |quiet: &Quiet| quiet.cpu.as_secs_f64() / quiet.lasted.as_secs_f64();
    let member = |quiet: &Quiet| 1e6 * share(quiet) / SILENT as f64;
    let none = quiets.last().map_or(0.0, member);
    table.row("of a core", "%", quiets.iter().map(|quiet| Some(100.0 * share(quiet))));
    table.row("each member, per second", "us", quiets.iter().map(|quiet| Some(member(quiet))));
    table.row(
        "the same above a member without a microphone",
        "us",
        quiets.iter().map(|quiet| Some(member(quiet) - none)),
    );
    table.row("joined", "", quiets.iter().map(|quiet| Some(quiet.report.joined())));
    let received = |quiet: &Quiet| {
        let seconds = quiet.report.number("/counted_seconds")?;
        let packets = quiet.report.number("/counters/received_packets")?;
        Some(packets / seconds / SILENT as f64)
    };
    table.row("packets that a member receives, per second", "", quiets.iter().map(received));
    table.note("silence: a packet of 36 bytes every 400 ms, as an encoder with discontinuous transmission sends it. A member has 4 slots for sound and its events; nobody has a camera");
    table.note("the mean of the window, with consent checks, reports and what the kernel does for the node");
    Ok(table)
}

/// A window in which nothing is said.
struct Quiet {
    lasted: Duration,
    cpu: Duration,
    report: Report,
}

fn quiet(bench: &Bench, kind: &[String]) -> io::Result<Quiet> {
    let server = Server::start(&bench.net, &bench.node)?;
    // Less than 1 % of a core each: the window has to be long for the hundredths of a second of the kernel's clock.
    let window = 2 * bench.effort.window;
    let over = Duration::from_secs(SILENT as u64 / u64::from(JOINS));
    let lasting = over + 2 * FILLED + window + Duration::from_secs(3);
    let mut flags = members(1, SILENT, lasting);
    flags.extend(flag("video", "off").into_iter().chain(flag("video-slots", 0)));
    flags.extend(kind.iter().cloned().chain(bench.warm_up(over + FILLED)));
    let swarm: Swarm = start(bench, &server, &flags)?;
    connected(&server, SILENT)?;
    std::thread::sleep(FILLED);
    let (cpu, begun) = (server.cpu()?, Instant::now());
    std::thread::sleep(window);
    let (cpu, lasted) = (server.cpu()?.saturating_sub(cpu), begun.elapsed());
    Ok(Quiet { lasted, cpu, report: swarm.finish()? })
}

/// Times that a member waits.
fn times(bench: &Bench) -> io::Result<Table> {
    let title = format!("what a member waits for: another track, and media in a room of {JOINED}");
    let mut table = Table::new("members-times", title, &[VALUE]);
    let switched = switches(bench)?;
    let joined = joins(bench)?;
    let rows = [
        ("another track", &switched, "switch"),
        ("first packet after the request to join", &joined, "first_packet"),
    ];
    for (name, report, what) in rows {
        for quantile in ["count", "p50", "p95"] {
            let unit = if quantile == "count" { "" } else { "ms" };
            let value = report.number(&format!("/times_ms/{what}/{quantile}"));
            table.row(format!("{name}: {quantile}"), unit, [value]);
        }
        note_failures(&mut table, report);
    }
    let unswitched = switched.number("/counters/unswitched");
    table.row("choices of which nothing came within half a second", "", [unswitched]);
    table.row("joins: DTLS is done, p50", "ms", [joined.number("/times_ms/join/p50")]);
    table.row("the swarm's own lag p99", "ms", [joined.number("/times_ms/swarm_lag/p99")]);
    table.note("another track: from the command over the events to the first packet of that track, four who send pictures (30 a second of 4 packets)");
    table.note(format!(
        "joins: two a second of the {JOINED} members leave and others come in their place; all send and receive sound and pictures"
    ));
    Ok(table)
}

fn switches(bench: &Bench) -> io::Result<Report> {
    let server = Server::start(&bench.net, &bench.node)?;
    let count = if bench.effort.window > Duration::from_secs(5) { 100 } else { 30 };
    // The first choice fills an empty slot, and is none.
    let lasting = Duration::from_secs(3) + SWITCH_EVERY * (count + 2);
    let mut flags = [members(1, 4, lasting), pictures(30)].concat();
    flags.extend(flag("switch-every", time(SWITCH_EVERY)));
    set(&mut flags, "viewers", "1");
    start(bench, &server, &flags)?.finish()
}

fn joins(bench: &Bench) -> io::Result<Report> {
    let server = Server::start(&bench.net, &bench.node)?;
    let lasting = FILLED + 5 * bench.effort.window;
    let mut flags = [members(1, JOINED, lasting), pictures(30)].concat();
    flags.extend(flag("churn", 2).into_iter().chain(flag("silent", 0)));
    flags.extend(bench.warm_up(FILLED));
    start(bench, &server, &flags)?.finish()
}

/// Changes the value of a flag that is there.
fn set(flags: &mut [String], name: &str, value: &str) {
    let name = format!("--{name}");
    if let Some(at) = flags.iter().position(|flag| *flag == name)
        && let Some(old) = flags.get_mut(at + 1)
    {
        value.clone_into(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_given_once() {
        let mut flags = members(1, 4, LONG);
        set(&mut flags, "viewers", "1");
        let viewers: Vec<_> = flags.iter().filter(|flag| *flag == "--viewers").collect();
        assert_eq!(viewers.len(), 1);
        let at = flags.iter().position(|flag| flag == "--viewers").unwrap();
        assert_eq!(flags[at + 1], "1");
        assert_eq!(members(100, 2, LONG)[7..9], ["--viewers", "0"].map(str::to_owned)[..]);
    }

    #[test]
    fn rooms_of_all_sizes_have_the_same_number_of_members() {
        for size in [2, 20, MEMBERS] {
            assert!(MEMBERS.is_multiple_of(size));
        }
    }
}
