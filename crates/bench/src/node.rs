//! The real binary: one publisher and its viewers over HTTP and loopback, measured from outside.

use std::{
    io,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::{
    client::{Buffers, Camera, Client, Seen, connect},
    media::{PACKETS, PAYLOAD},
    prometheus::Scrape,
    report::Table,
    server::Server,
};

const VIEWERS: usize = 100;
/// The viewer that has a thread of its own: in the middle of the others.
const PROBE: usize = 50;
const WARM_UP: Duration = Duration::from_millis(1_500);
/// How long the node is looked at before there is media.
const REST: Duration = Duration::from_secs(1);
/// What was sent at the end is given this long to arrive.
const LATE: Duration = Duration::from_millis(300);

pub(crate) const PRICE: &str = "processor time per packet";

/// Measures for so long, once for viewers without UDP_GRO and once for viewers with it.
pub(crate) fn measure(binary: &Path, lasting: Duration) -> io::Result<Table> {
    let title = format!(
        "1 publisher, {VIEWERS} viewers over loopback, 30 pictures/s of {PACKETS} packets of {PAYLOAD} bytes of payload, \
         {:.0} s",
        lasting.as_secs_f64()
    );
    let mut table = Table::new("node", title, &["no GRO", "GRO"]);
    let runs = [run(binary, false, lasting)?, run(binary, true, lasting)?];
    for (at, (name, unit, _)) in runs[0].iter().enumerate() {
        table.row(*name, unit, runs.iter().map(|run| run[at].2));
    }
    table.note("the columns say whether the viewers set UDP_GRO: without it the kernel cuts trains up for them, on the server's account");
    table.note(
        "packets without GRO come datagram by datagram, as str0m peers and browsers read them",
    );
    table.note("delay: from the publisher's write to the viewer's receive; 99 viewers share a thread that looks every 0.5 ms, one has its own");
    Ok(table)
}

type Figure = (&'static str, &'static str, Option<f64>);

fn run(binary: &Path, gro: bool, lasting: Duration) -> io::Result<Vec<Figure>> {
    let server = Server::start(binary)?;
    let mut buffers = Buffers::new();
    let epoch = Instant::now();
    let mut publisher = Client::publish(&server, "bench")?;
    connect(&mut [&mut publisher], &mut buffers)?;
    let mut viewers = Vec::with_capacity(VIEWERS);
    for _ in 0..VIEWERS {
        viewers.push(Client::watch(&server, "bench", gro)?);
        publisher.poll(&mut buffers, |_, _| ())?;
    }
    let all = viewers.iter_mut().chain([&mut publisher]);
    connect(&mut all.collect::<Vec<_>>(), &mut buffers)?;
    let rest = at_rest(&server, &mut viewers, &mut publisher, &mut buffers)?;
    let mut probe = [viewers.swap_remove(PROBE)];
    let camera = Camera::new(publisher, epoch);

    let (stop, pictures) = (AtomicBool::new(false), AtomicU32::new(0));
    let (window, crowd, alone) = std::thread::scope(|scope| {
        let shown = scope.spawn(|| show(camera, &stop, &pictures));
        let crowd = scope.spawn(|| watch(&mut viewers, epoch, &stop));
        let alone = scope.spawn(|| watch(&mut probe, epoch, &stop));
        let window = Window::measure(&server, &pictures, lasting);
        std::thread::sleep(LATE);
        stop.store(true, Relaxed);
        join(shown)?;
        Ok::<_, io::Error>((window?, join(crowd)?, join(alone)?))
    })?;
    if viewers.iter().chain(&probe).any(Client::is_closed) {
        return Err(io::Error::other("a viewer lost its session"));
    }
    let mut figures = window.figures(&crowd, &alone);
    figures.insert(2, ("processor time before there is media", "%", Some(100.0 * rest)));
    Ok(figures)
}

/// Share of a processor that the node takes while everyone is connected and nothing flows.
fn at_rest(
    server: &Server,
    viewers: &mut [Client],
    publisher: &mut Client,
    buffers: &mut Buffers,
) -> io::Result<f64> {
    let (begun, cpu) = (Instant::now(), server.cpu()?);
    while begun.elapsed() < REST {
        for client in viewers.iter_mut().chain([&mut *publisher]) {
            client.poll(buffers, |_, _| ())?;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok((server.cpu()? - cpu).as_secs_f64() / begun.elapsed().as_secs_f64())
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("a client ended by a panic")))
}

fn show(mut camera: Camera, stop: &AtomicBool, pictures: &AtomicU32) -> io::Result<()> {
    let mut buffers = Buffers::new();
    while !stop.load(Relaxed) {
        camera.turn(&mut buffers, Duration::from_millis(20))?;
        pictures.store(camera.pictures, Relaxed);
    }
    Ok(())
}

/// Lets viewers watch: one alone waits for its datagrams, many are looked after in turn.
fn watch(viewers: &mut [Client], epoch: Instant, stop: &AtomicBool) -> io::Result<Seen> {
    let (mut buffers, mut seen) = (Buffers::new(), Seen::default());
    while !stop.load(Relaxed) {
        for viewer in viewers.iter_mut() {
            viewer.poll(&mut buffers, |arrived, payload| seen.take(epoch, arrived, payload))?;
        }
        if let [alone] = viewers {
            let idle = alone.idle_for().min(Duration::from_millis(20));
            udp::wait(&[alone.fd()], Some(idle))?;
        } else {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
    Ok(seen)
}

/// What happened between two moments.
struct Window {
    lasted: Duration,
    cpu: Duration,
    before: Scrape,
    after: Scrape,
    /// Pictures that were sent in it.
    pictures: std::ops::Range<u32>,
}

impl Window {
    fn measure(server: &Server, pictures: &AtomicU32, lasting: Duration) -> io::Result<Self> {
        std::thread::sleep(WARM_UP);
        let (before, cpu) = (server.scrape()?, server.cpu()?);
        let (begun, first) = (Instant::now(), pictures.load(Relaxed) + 1);
        std::thread::sleep(lasting);
        let (lasted, cpu) = (begun.elapsed(), server.cpu()? - cpu);
        let last = pictures.load(Relaxed);
        if last <= first {
            return Err(io::Error::other("the publisher sent nothing"));
        }
        Ok(Self { lasted, cpu, before, after: server.scrape()?, pictures: first..last })
    }

    fn figures(&self, crowd: &Seen, alone: &Seen) -> Vec<Figure> {
        let rise = |counter| self.after.rise(&self.before, counter);
        let per = |over: Option<f64>, under: Option<f64>| {
            Some(over? / under?).filter(|ratio| ratio.is_finite())
        };
        let (seconds, cpu) = (self.lasted.as_secs_f64(), self.cpu.as_secs_f64());
        let forwarded = rise("forwarded");
        let range = self.pictures.start as usize..self.pictures.end as usize;
        let received: u64 = [crowd, alone]
            .iter()
            .filter_map(|seen| seen.pictures.get(range.clone()))
            .flatten()
            .sum();
        let sent = (range.len() * usize::from(PACKETS) * VIEWERS) as f64;
        let delay = |seen: &Seen, share| {
            let within = seen.delays.iter().filter(|(picture, _)| self.pictures.contains(picture));
            percentile(within.map(|(_, delay)| *delay).collect(), share)
        };
        vec![
            ("packets forwarded", "/s", per(forwarded, Some(seconds))),
            ("server's processor time", "%", Some(100.0 * cpu / seconds)),
            ("packets per processor second", "", per(forwarded, Some(cpu))),
            (PRICE, "ns", per(Some(cpu * 1e9), forwarded)),
            ("received at viewers", "", Some(received as f64)),
            ("lost", "%", Some(100.0 * (1.0 - received as f64 / sent))),
            ("delay p50, viewer with own thread", "ms", delay(alone, 0.50)),
            ("delay p99, viewer with own thread", "ms", delay(alone, 0.99)),
            ("delay p50, the other viewers", "ms", delay(crowd, 0.50)),
            ("delay p99, the other viewers", "ms", delay(crowd, 0.99)),
            ("datagrams per message (train)", "", per(rise("datagrams_out"), rise("messages_out"))),
            ("messages per send call", "", per(rise("messages_out"), rise("send_calls"))),
            ("wake-ups", "/s", per(rise("wakeups"), Some(seconds))),
            ("packets per wake-up", "", per(forwarded, rise("wakeups"))),
            (
                "refused by the kernel",
                "",
                Some(rise("send_full").unwrap_or(0.0) + rise("send_refused").unwrap_or(0.0)),
            ),
        ]
    }
}

/// In milliseconds.
fn percentile(mut delays: Vec<Duration>, share: f64) -> Option<f64> {
    let last = delays.len().checked_sub(1)?;
    delays.sort_unstable();
    Some(delays[(last as f64 * share).round() as usize].as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_there_is() {
        let delays = |n| (1..=n).map(Duration::from_millis).collect();
        assert_eq!(percentile(delays(101), 0.5), Some(51.0));
        assert_eq!(percentile(delays(101), 0.99), Some(100.0));
        assert_eq!(percentile(delays(1), 0.99), Some(1.0));
        assert_eq!(percentile(Vec::new(), 0.5), None);
    }

    #[test]
    fn figures_come_from_the_window_alone() {
        let scrape = |forwarded: u32| {
            Scrape::parse(&format!("sfumato_worker_forwarded_total{{worker=\"0\"}} {forwarded}"))
        };
        let window = Window {
            lasted: Duration::from_secs(2),
            cpu: Duration::from_secs(1),
            before: scrape(500),
            after: scrape(2_500),
            pictures: 1..3,
        };
        let ms = Duration::from_millis;
        let crowd = Seen { pictures: vec![5, 990, 880, 7], delays: vec![(0, ms(9)), (2, ms(1))] };
        let alone = Seen { pictures: vec![1, 10, 10], delays: Vec::new() };
        let figures = window.figures(&crowd, &alone);
        let value = |name| figures.iter().find(|f| f.0 == name).unwrap().2;
        assert_eq!(value("packets per processor second"), Some(2_000.0));
        assert_eq!(value(PRICE), Some(500_000.0));
        assert_eq!(value("received at viewers"), Some(1_890.0));
        assert!((value("lost").unwrap() - 5.5).abs() < 1e-9);
        assert_eq!(value("delay p50, the other viewers"), Some(1.0));
        assert_eq!(value("delay p50, viewer with own thread"), None);
        assert_eq!(value("wake-ups"), None);
    }
}
