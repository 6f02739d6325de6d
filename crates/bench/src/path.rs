//! The packet path in process, timed: the same scene as under callgrind, but with real receivers across the network,
//! in a tight loop. The node costs more than this because of wake-ups, HTTP and caches that are cold at its pace.

use std::io;

use crate::{
    Bench,
    limit::{self, Cipher, Shape},
    media::PACKETS,
    net::Net,
    proc::thread_cpu,
    report::Table,
    scenario,
    sinks::Sinks,
};

/// Numbers of subscribers.
const SUBSCRIBERS: [usize; 2] = [100, 500];
/// Passes; the best one counts.
const PASSES: usize = 3;
pub(crate) const DEARER: &str = "AES-CM over AES-128-GCM";

/// Measures each cipher, and the bare sender beside it.
pub(crate) fn measure(bench: &Bench) -> io::Result<Table> {
    let columns = SUBSCRIBERS.map(|n| n.to_string());
    let title = format!(
        "the packet path in process {}, in a tight loop: processor time for a forwarded packet, to so many subscribers",
        bench.net.words()
    );
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut table = Table::new("path", title, &columns);
    let ten = Shape::Trains(usize::from(PACKETS));
    let mut prices = Vec::new();
    for cipher in Cipher::ALL {
        let (mut row, mut shares) = (Vec::new(), Vec::new());
        for subscribers in SUBSCRIBERS {
            let limits = limit::again(&bench.net, bench.effort, subscribers, &[(cipher, ten)])?;
            let price = price(&bench.net, cipher, subscribers)?;
            row.push(Some(price));
            shares.push(limits.price(cipher, ten, subscribers).map(|limit| 100.0 * limit / price));
        }
        table.row(cipher.name(), "ns", row.clone());
        table.row(format!("of the limit with {}", cipher.name()), "%", shares);
        prices.push(row);
    }
    let dearer = prices[2].iter().zip(&prices[0]).map(|(cm, gcm)| Some((*cm)? / (*gcm)?));
    table.row(DEARER, "x", dearer.collect::<Vec<_>>());
    table.note("receive, demux, ingress, fan-out, egress, seal and send of one worker, as it does it; no wake-ups");
    table.note(
        "the limit: a bare sender with the same cipher in trains of ten, measured just before",
    );
    Ok(table)
}

/// Nanoseconds per forwarded packet, the best of several passes.
fn price(net: &Net, cipher: Cipher, subscribers: usize) -> io::Result<f64> {
    let sinks = Sinks::open(subscribers, net.swarm)?;
    let paths = sinks.paths(net.server);
    let mut best = f64::INFINITY;
    for _ in 0..PASSES {
        let run = || scenario::run(subscribers, pictures(subscribers), cipher, &paths, thread_cpu);
        let outcome = net.on_server(run)?;
        best = best.min(outcome.cpu.as_nanos() as f64 / outcome.forwarded as f64);
    }
    Ok(best)
}

/// As many pictures as give enough packets, but less time than sessions wait for their handshake (15 s).
fn pictures(subscribers: usize) -> u32 {
    (50_000 / subscribers.max(1)).clamp(6, 300) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_do_not_lose_their_patience() {
        assert_eq!(pictures(100), 300);
        assert_eq!(pictures(500), 100);
        assert_eq!(pictures(0), 300);
    }
}
