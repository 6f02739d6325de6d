//! What the machine itself costs: copying, encrypting and sending media, and nothing else. The floor under every
//! figure of the node.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use model::Path;
use transport::srtp::{Profile, Sender};
use udp::{RecvBatch, SendBatch, UdpConfig, UdpSocket};

use crate::{
    media::{FRAME, PAYLOAD},
    proc::thread_cpu,
    report::Table,
};

/// Addresses that are sent to.
const SINKS: usize = 100;
/// Packets of one picture.
const PACKETS: usize = 10;
/// Bytes of a fixed RTP header (RFC 3550 section 5.1).
const HEADER: usize = 12;
/// As the workers have it.
const ARENA: usize = 1 << 20;
const MESSAGES: usize = 512;
const SOCKET_BUFFER: usize = 4 << 20;
/// Parts of one measurement; the median counts.
const PARTS: usize = 5;

pub(crate) const SEAL: &str = "copy, header, seal";
pub(crate) const TRAINS: &str = "and sent in trains of 10";
pub(crate) const PACED: &str = "and sent in trains of 10, 30 times a second";
pub(crate) const SINGLE: &str = "and sent one by one";

/// Measures for about `lasting` each.
pub(crate) fn measure(lasting: Duration) -> io::Result<Table> {
    let title = format!("processor time for a packet of {PAYLOAD} bytes of payload");
    let mut table = Table::new("machine", title, &["no GRO", "GRO"]);
    let seal = seal_only(lasting)?;
    table.row(SEAL, "ns", [Some(seal), Some(seal)]);
    let mut lost = 0;
    for (name, train, pause) in
        [(TRAINS, PACKETS, Duration::ZERO), (PACED, PACKETS, FRAME), (SINGLE, 1, Duration::ZERO)]
    {
        let mut prices = Vec::new();
        for gro in [false, true] {
            let (price, missing) = send(lasting, gro, train, pause)?;
            prices.push(Some(price));
            lost += missing;
        }
        table.row(name, "ns", prices);
    }
    table.note(format!(
        "AES-128-GCM with {SINKS} keys in turn, to {SINKS} loopback sockets that another thread drains"
    ));
    table.note("the columns say whether the receiving sockets set UDP_GRO; on loopback the sender pays for their way through the kernel");
    if lost > 0 {
        table.note(format!("{lost} packets found a full socket, and cost less for that"));
    }
    Ok(table)
}

/// A packet, and the keys of all receivers.
struct Media {
    template: Vec<u8>,
    senders: Vec<Sender>,
    sequence: u16,
    roc: u32,
}

impl Media {
    fn new() -> io::Result<Self> {
        let sender = |at: usize| {
            let (mut key, salt) = ([7; 16], [9; 12]);
            key[..8].copy_from_slice(&(at as u64).to_be_bytes());
            Sender::new(Profile::AeadAes128Gcm, &key, &salt).map_err(io::Error::other)
        };
        let mut template = vec![0x5a; HEADER + PAYLOAD];
        template[..2].copy_from_slice(&[0x80, 96]);
        Ok(Self {
            template,
            senders: (0..SINKS).map(sender).collect::<io::Result<_>>()?,
            sequence: 0,
            roc: 0,
        })
    }

    /// The next round has new numbers: the same nonce never comes twice.
    fn next(&mut self, by: u16) {
        let (sequence, wrapped) = self.sequence.overflowing_add(by);
        (self.sequence, self.roc) = (sequence, self.roc + u32::from(wrapped));
    }

    /// Writes packet `index` for a receiver; its length.
    fn write(&mut self, sink: usize, index: u16, out: &mut [u8]) -> io::Result<usize> {
        let len = self.template.len();
        out[..len].copy_from_slice(&self.template);
        out[2..4].copy_from_slice(&self.sequence.wrapping_add(index).to_be_bytes());
        out[4..8].copy_from_slice(&self.roc.to_be_bytes());
        out[8..12].copy_from_slice(&(sink as u32).to_be_bytes());
        self.senders[sink].seal_rtp(out, HEADER, len, self.roc).map_err(io::Error::other)
    }
}

fn seal_only(lasting: Duration) -> io::Result<f64> {
    let mut media = Media::new()?;
    let mut arena = vec![0; ARENA];
    let room = HEADER + PAYLOAD + 16;
    median(lasting, || {
        let begun = thread_cpu();
        for sink in 0..SINKS {
            for index in 0..PACKETS {
                let at = (sink * PACKETS + index) * room % (ARENA - room);
                media.write(sink, index as u16, &mut arena[at..at + room])?;
            }
        }
        media.next(PACKETS as u16);
        std::hint::black_box(&arena);
        Ok(thread_cpu() - begun)
    })
}

/// Price, and packets that did not arrive.
fn send(lasting: Duration, gro: bool, train: usize, pause: Duration) -> io::Result<(f64, u64)> {
    let sinks = Sinks::open(gro)?;
    let socket = UdpSocket::bind(&UdpConfig {
        reuse_port: false,
        send_buffer: Some(SOCKET_BUFFER),
        ..UdpConfig::new((Ipv4Addr::LOCALHOST, 0).into())
    })?;
    let mut media = Media::new()?;
    let mut batch = SendBatch::with_capacity(ARENA, MESSAGES);
    let (mut sent, mut missing) = (0, 0);
    let price = median(lasting, || {
        // What came before is drained first, so that no socket fills up.
        missing += sinks.wait_for(&mut sent);
        std::thread::sleep(pause);
        let begun = thread_cpu();
        for first in (0..PACKETS).step_by(train) {
            for (sink, &path) in sinks.paths.iter().enumerate() {
                batch.begin(path);
                for index in first..first + train {
                    if batch.space().is_none() {
                        sent += batch.flush(Some(&socket), None).sent_datagrams;
                    }
                    let Some(out) = batch.space() else { continue };
                    let len = media.write(sink, index as u16, out)?;
                    batch.commit(len);
                }
            }
        }
        sent += batch.flush(Some(&socket), None).sent_datagrams;
        media.next(PACKETS as u16);
        Ok(thread_cpu() - begun)
    })?;
    missing += sinks.wait_for(&mut sent);
    Ok((price, missing))
}

/// Repeats a round of all packets to all receivers, which says what it spent; median over the parts, in nanoseconds of
/// a packet.
fn median(lasting: Duration, mut round: impl FnMut() -> io::Result<Duration>) -> io::Result<f64> {
    round()?;
    let mut prices = Vec::with_capacity(PARTS);
    for _ in 0..PARTS {
        let end = Instant::now() + lasting / PARTS as u32;
        let (mut spent, mut packets) = (Duration::ZERO, 0);
        while packets == 0 || Instant::now() < end {
            spent += round()?;
            packets += SINKS * PACKETS;
        }
        prices.push(spent.as_nanos() as f64 / packets as f64);
    }
    prices.sort_by(f64::total_cmp);
    Ok(prices[PARTS / 2])
}

/// Sockets that a thread of its own drains.
struct Sinks {
    paths: Vec<Path>,
    drained: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sinks {
    fn open(gro: bool) -> io::Result<Self> {
        let config = UdpConfig {
            reuse_port: false,
            recv_buffer: Some(SOCKET_BUFFER),
            gro,
            ..UdpConfig::new((Ipv4Addr::LOCALHOST, 0).into())
        };
        let sockets =
            (0..SINKS).map(|_| UdpSocket::bind(&config)).collect::<io::Result<Vec<_>>>()?;
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        let paths = sockets.iter().map(|s| Path { remote: s.local_addr(), local }).collect();
        let (drained, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, ended) = (drained.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut batch = RecvBatch::new(16, if gro { 65_535 } else { 2_048 });
            while !ended.load(Relaxed) {
                let before = batch.stats().datagrams;
                for socket in &sockets {
                    // An error shows as packets that never arrive.
                    while batch.recv(socket).is_ok_and(|messages| messages == batch.capacity()) {}
                }
                count.store(batch.stats().datagrams, Relaxed);
                if batch.stats().datagrams == before {
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
        });
        Ok(Self { paths, drained, stop, thread: Some(thread) })
    }

    /// Waits until everything sent is drained; gives up on what does not come, and says how much that was.
    fn wait_for(&self, sent: &mut u64) -> u64 {
        let end = Instant::now() + Duration::from_millis(500);
        loop {
            let drained = self.drained.load(Relaxed);
            if drained >= *sent {
                return 0;
            }
            if Instant::now() > end {
                let missing = *sent - drained;
                *sent = drained;
                return missing;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed already.
            let _panicked = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_sent_arrives() {
        let table = measure(Duration::from_millis(20)).unwrap();
        for name in [SEAL, TRAINS, PACED, SINGLE] {
            assert!((0..2).all(|column| table.value(name, column).unwrap() > 0.0), "{name}");
        }
        assert!(!table.notes.iter().any(|note| note.contains("full socket")), "{table}");
    }
}
