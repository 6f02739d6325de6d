//! Two thousand idle sessions and five hundred active ones on one core at once.

use std::{io, time::Duration};

use crate::{
    Bench,
    media::PACKETS,
    node::Window,
    report::Table,
    server::Server,
    sessions::{VALUE, connected, empty_room, note_failures, start, video},
    swarm::{flag, time},
};

const IDLE: usize = 2_000;
const ACTIVE: usize = 500;
/// Time over which the idle sessions join, and the active ones.
const IDLE_OVER: Duration = Duration::from_secs(10);
const ACTIVE_OVER: Duration = Duration::from_secs(4);
const SETTLE: Duration = Duration::from_secs(3);
const TAIL: Duration = Duration::from_secs(3);

/// Measures the delay and the price of the active sessions beside the idle ones.
pub(crate) fn measure(bench: &Bench) -> io::Result<Table> {
    let server = Server::start(&bench.net, &bench.node)?;
    let before = server.resident()?;
    let window = bench.effort.window;
    let lasting = IDLE_OVER + ACTIVE_OVER + 2 * SETTLE + window + 4 * TAIL;
    let idle = start(bench, &server, &empty_room(IDLE, IDLE_OVER, lasting))?;
    connected(&server, IDLE)?;
    let mut flags = vec!["webinar".to_owned()];
    flags.extend(flag("viewers", ACTIVE).into_iter().chain(flag("join-over", time(ACTIVE_OVER))));
    flags.extend(flag("duration", time(ACTIVE_OVER + SETTLE + window + TAIL)));
    flags.extend(bench.warm_up(ACTIVE_OVER + SETTLE));
    flags.extend(video(PACKETS));
    let active = start(bench, &server, &flags)?;
    connected(&server, IDLE + ACTIVE + 1)?;
    std::thread::sleep(SETTLE);
    let window = Window::look(bench, &server, &active)?;
    let active = active.finish()?;
    let sessions = window.after.sum("sfumato_sessions_connected");
    let idle = idle.finish()?;

    let title = format!("{IDLE} idle sessions and {ACTIVE} that watch, at once");
    let mut table = Table::new("crowd", title, &[VALUE]);
    table.row("sessions connected", "", [sessions]);
    table.row("idle ones joined", "", [Some(idle.joined())]);
    table.row("active ones joined, and who they watch", "", [Some(active.joined())]);
    table.row("processor time per packet", "ns", [window.price()]);
    table.row(
        "the node's cores",
        "",
        [Some(window.cpu.as_secs_f64() / window.lasted.as_secs_f64())],
    );
    for (name, what) in [("p50", "p50"), ("p99", "p99"), ("p99.9", "p999")] {
        let delay = active.number(&format!("/times_ms/delay/{what}"));
        table.row(format!("delay {name}"), "ms", [delay]);
    }
    table.row("lost", "%", [active.number("/loss").map(|share| 100.0 * share)]);
    let bytes = window.resident as f64 - before as f64;
    table.row("resident memory", "MB", [Some(window.resident as f64 / 1e6)]);
    table.row("memory per session", "KB", [Some(bytes / 1e3 / (IDLE + ACTIVE + 1) as f64)]);
    note_failures(&mut table, &idle);
    note_failures(&mut table, &active);
    Ok(table)
}
