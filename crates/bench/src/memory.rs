//! What sessions cost besides packets: memory while they are idle and while they receive, and processor time to set
//! them up.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    client::{Buffers, Camera, Client, connect},
    report::Table,
    server::Server,
};

/// Viewers that are connected at once before they are given time to finish, as when a show begins.
const GROUP: usize = 25;
/// Sessions before the first measured one: the allocator and the thread pools have made themselves at home.
const WARM_UP: usize = 10;

/// Measures with so many idle and so many receiving viewers.
pub(crate) fn measure(binary: &Path, idle: usize, active: usize) -> io::Result<Table> {
    let mut table = Table::new("memory", "sessions", &["value"]);
    let (idle_bytes, cpu) = idle_viewers(binary, idle)?;
    table.row(format!("memory per idle viewer ({idle})"), "KB", [Some(idle_bytes / 1e3)]);
    let active_bytes = active_viewers(binary, active)?;
    table.row(format!("memory per receiving viewer ({active})"), "KB", [Some(active_bytes / 1e3)]);
    let each = cpu.as_secs_f64() / idle as f64;
    table.row("processor time per session set up", "ms", [Some(each * 1e3)]);
    table.row("sessions per processor second", "", [Some(1.0 / each)]);
    table.note("resident memory of the node: what the sessions added, over their number");
    table.note("setting up: HTTP, SDP, ICE, DTLS with ECDSA P-256, until the client is connected");
    Ok(table)
}

/// Bytes per viewer of an empty room, and processor time of the node for all of them.
fn idle_viewers(binary: &Path, count: usize) -> io::Result<(f64, Duration)> {
    let server = Server::start(binary)?;
    let mut buffers = Buffers::new();
    let mut viewers = Vec::new();
    add_viewers(&server, &mut viewers, WARM_UP, &mut buffers, &mut || Ok(()))?;
    let (memory, cpu) = (server.resident()?, server.cpu()?);
    add_viewers(&server, &mut viewers, count, &mut buffers, &mut || Ok(()))?;
    let cpu = server.cpu()? - cpu;
    Ok((added(memory, server.resident()?, count), cpu))
}

/// Bytes per viewer that receives.
fn active_viewers(binary: &Path, count: usize) -> io::Result<f64> {
    const SETTLED: Duration = Duration::from_secs(2);
    let server = Server::start(binary)?;
    let (mut buffers, mut others) = (Buffers::new(), Buffers::new());
    let mut publisher = Client::publish(&server, "bench")?;
    connect(&mut [&mut publisher], &mut buffers)?;
    let mut camera = Camera::new(publisher, Instant::now());
    let mut viewers = Vec::new();
    let mut show = || camera.turn(&mut others, Duration::ZERO);
    // With a first viewer, and with as much of the past as the node keeps.
    add_viewers(&server, &mut viewers, 1, &mut buffers, &mut show)?;
    let run = |viewers: &mut [Client], buffers: &mut Buffers, show: &mut dyn FnMut() -> _| {
        let end = Instant::now() + SETTLED;
        while Instant::now() < end {
            show()?;
            viewers.iter_mut().try_for_each(|viewer| viewer.poll(buffers, |_, _| ()))?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok::<_, io::Error>(())
    };
    run(&mut viewers, &mut buffers, &mut show)?;
    let memory = server.resident()?;
    add_viewers(&server, &mut viewers, count, &mut buffers, &mut show)?;
    run(&mut viewers, &mut buffers, &mut show)?;
    Ok(added(memory, server.resident()?, count))
}

/// Connects more viewers, group by group; `meanwhile` is called again and again.
fn add_viewers(
    server: &Server,
    viewers: &mut Vec<Client>,
    count: usize,
    buffers: &mut Buffers,
    meanwhile: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let goal = viewers.len() + count;
    while viewers.len() < goal {
        let first = viewers.len();
        for _ in 0..GROUP.min(goal - first) {
            viewers.push(Client::watch(server, "bench", false)?);
            meanwhile()?;
        }
        connect(&mut viewers[first..].iter_mut().collect::<Vec<_>>(), buffers)?;
        for viewer in &mut *viewers {
            viewer.poll(buffers, |_, _| ())?;
        }
    }
    Ok(())
}

fn added(before: u64, after: u64, count: usize) -> f64 {
    (after as f64 - before as f64) / count as f64
}
