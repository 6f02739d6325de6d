//! The limit: the price of copying a packet, writing its header, sealing it for each of N receivers and giving it to
//! the kernel, and nothing else. No server on this machine can be cheaper than the best of these rows.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use model::Path;
use transport::srtp::{Profile, Sender};
use udp::{SendBatch, UdpConfig, UdpSocket};

use crate::{
    Effort,
    media::{FRAME, PACKETS, PAYLOAD},
    net::Net,
    proc::thread_cpu,
    report::Table,
    sinks::Sinks,
};

/// Receivers in the rows of sound.
pub(crate) const LISTENERS: usize = 500;
/// Bytes of payload in a packet of sound.
pub(crate) const SOUND: usize = 120;
/// Time between two packets of sound.
const SOUND_EVERY: Duration = Duration::from_millis(20);
/// Bytes of a fixed RTP header (RFC 3550 section 5.1).
const HEADER: usize = 12;
/// Socket buffers as the workers have them.
const ARENA: usize = 1 << 20;
const MESSAGES: usize = 512;
const SOCKET_BUFFER: usize = 4 << 20;
/// Passes of a measurement. The best one counts, because disturbances can only add time.
const PASSES: u32 = 5;

/// A variant: what is sent with which cipher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Variant {
    pub(crate) profile: Cipher,
    pub(crate) shape: Shape,
}

/// The SRTP profiles, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cipher {
    Aes128,
    Aes256,
    AesCm,
}

impl Cipher {
    pub(crate) const ALL: [Cipher; 3] = [Cipher::Aes128, Cipher::Aes256, Cipher::AesCm];

    pub(crate) fn profile(self) -> Profile {
        match self {
            Cipher::Aes128 => Profile::AeadAes128Gcm,
            Cipher::Aes256 => Profile::AeadAes256Gcm,
            Cipher::AesCm => Profile::Aes128CmHmacSha1_80,
        }
    }

    pub(crate) fn of(profile: Profile) -> Self {
        match profile {
            Profile::AeadAes128Gcm => Cipher::Aes128,
            Profile::AeadAes256Gcm => Cipher::Aes256,
            Profile::Aes128CmHmacSha1_80 => Cipher::AesCm,
        }
    }

    /// The cipher with this [`name`](Cipher::name).
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cipher| cipher.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Cipher::Aes128 => "AES-128-GCM",
            Cipher::Aes256 => "AES-256-GCM",
            Cipher::AesCm => "AES-CM-SHA1",
        }
    }
}

/// How packets are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    /// Sealed and not sent.
    Seal,
    /// In single datagrams, many per system call, in a tight loop.
    Singles,
    /// In trains of this many packets, in a tight loop.
    Trains(usize),
    /// In trains of ten, 30 times a second, as a node has to send: caches are cold.
    Paced,
    /// In trains of ten, through a device without segmentation offload: the kernel cuts the trains, on the sender's
    /// account.
    Cut,
}

impl Shape {
    pub(crate) fn name(self) -> String {
        match self {
            Shape::Seal => "copy, header, seal".to_owned(),
            Shape::Singles => "and sent one by one".to_owned(),
            Shape::Trains(n) => format!("and sent in trains of {n}"),
            Shape::Paced => "and sent in trains of 10, 30 times a second".to_owned(),
            Shape::Cut => "and sent in trains of 10, device without segmentation".to_owned(),
        }
    }
}

/// All prices, in nanoseconds of processor time per packet.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    video: BTreeMap<(Variant, usize), f64>,
    /// The price of a packet of sound in a tight loop, and 50 times a second.
    pub(crate) sound: Option<[f64; 2]>,
}

impl Limits {
    pub(crate) fn price(&self, profile: Cipher, shape: Shape, receivers: usize) -> Option<f64> {
        self.video.get(&(Variant { profile, shape }, receivers)).copied()
    }

    /// The price of the cheapest way to send a picture of ten packets in a tight loop.
    pub(crate) fn best(&self, profile: Cipher, receivers: usize) -> Option<f64> {
        let tight = |shape: &Shape| matches!(shape, Shape::Singles | Shape::Trains(_));
        let of_these = self.video.iter().filter(|((variant, n), _)| {
            variant.profile == profile && *n == receivers && tight(&variant.shape)
        });
        of_these.map(|(_, &price)| price).reduce(f64::min)
    }
}

/// Measures all variants, and returns the tables.
pub(crate) fn measure(net: &Net, effort: Effort) -> io::Result<Vec<Table>> {
    let mut limits = Limits::default();
    let mut dropped = 0.0_f64;
    for &receivers in effort.receivers {
        let sinks = Sinks::open(receivers, net.swarm)?;
        let mut stand = Stand::new(sinks.paths(net.server), PAYLOAD, effort);
        for (profile, shape) in variants(receivers) {
            if shape == Shape::Cut {
                net.segmentation_offload(false)?;
            }
            let before = net.stats()?.drops;
            let pass = net.on_server(|| stand.measure(profile.profile(), shape));
            net.segmentation_offload(true)?;
            let (price, messages) = pass?;
            let drops = (net.stats()?.drops - before) as f64;
            // A train that was cut is dropped in single datagrams.
            let pieces = if shape == Shape::Cut { u64::from(PACKETS) } else { 1 };
            dropped = dropped.max(drops / (messages * pieces).max(1) as f64);
            limits.video.insert((Variant { profile, shape }, receivers), price);
        }
    }
    limits.sound = Some(sound(net, effort)?);
    Ok(vec![table(&limits, net, effort.receivers, dropped), sound_table(&limits, net)])
}

/// Measures these variants again, just before the node is measured: on a shared machine the speed of a core changes
/// from minute to minute.
pub(crate) fn again(
    net: &Net,
    effort: Effort,
    receivers: usize,
    variants: &[(Cipher, Shape)],
) -> io::Result<Limits> {
    let sinks = Sinks::open(receivers, net.swarm)?;
    let mut stand = Stand::new(sinks.paths(net.server), PAYLOAD, effort);
    let mut limits = Limits::default();
    for &(profile, shape) in variants {
        let (price, _) = net.on_server(|| stand.measure(profile.profile(), shape))?;
        limits.video.insert((Variant { profile, shape }, receivers), price);
    }
    Ok(limits)
}

/// Prices of a packet of sound, in a tight loop and 50 times a second.
pub(crate) fn sound(net: &Net, effort: Effort) -> io::Result<[f64; 2]> {
    let sinks = Sinks::open(LISTENERS, net.swarm)?;
    let mut stand = Stand::new(sinks.paths(net.server), SOUND, effort);
    net.on_server(|| stand.sound())
}

/// The variants that are worth measuring for this number of receivers.
fn variants(receivers: usize) -> Vec<(Cipher, Shape)> {
    let ten = usize::from(PACKETS);
    let mut all = vec![
        (Cipher::Aes128, Shape::Seal),
        (Cipher::Aes128, Shape::Singles),
        (Cipher::Aes128, Shape::Trains(2)),
        (Cipher::Aes128, Shape::Trains(4)),
    ];
    for cipher in Cipher::ALL {
        all.extend([(cipher, Shape::Trains(ten)), (cipher, Shape::Paced)]);
    }
    if receivers == 100 {
        all.push((Cipher::Aes128, Shape::Cut));
    }
    all
}

fn table(limits: &Limits, net: &Net, receivers: &[usize], dropped: f64) -> Table {
    let columns: Vec<String> = receivers.iter().map(ToString::to_string).collect();
    let title = format!(
        "a bare sender {}: processor time for a packet of {PAYLOAD} bytes of payload, to so many receivers",
        net.words()
    );
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut table = Table::new("limit", title, &columns);
    let variants: Vec<Variant> = limits.video.keys().map(|&(variant, _)| variant).collect();
    let mut seen = Vec::new();
    for variant in variants {
        if seen.contains(&variant) {
            continue;
        }
        seen.push(variant);
        let Variant { profile, shape } = variant;
        let prices = receivers.iter().map(|&n| limits.price(profile, shape, n));
        table.row(format!("{}: {}", profile.name(), shape.name()), "ns", prices);
    }
    let best = receivers.iter().map(|&n| Some(1e9 / limits.best(Cipher::Aes128, n)?));
    table.row("the limit: packets per processor second", "", best);
    table.note("user and system time of the sending thread, the best of five passes; each receiver has a key and a socket of its own");
    table.note("receivers set UDP_GRO and drop what they get; \"30 times a second\" finds cold caches, as a node does: it is the fair floor");
    if dropped > 0.001 {
        table.note(format!(
            "at worst {:.1} % of the messages found the wire full, and cost less for that",
            100.0 * dropped
        ));
    }
    table
}

fn sound_table(limits: &Limits, net: &Net) -> Table {
    let title = format!(
        "a bare sender {}: a lonely packet of {SOUND} bytes of payload to each of {LISTENERS} receivers, AES-128-GCM",
        net.words()
    );
    let mut table = Table::new("limit_sound", title, &["ns a packet", "per CPU s"]);
    let names = ["in a tight loop", "50 times a second"];
    for (name, price) in names.iter().zip(limits.sound.into_iter().flatten()) {
        table.row(*name, "", [Some(price), Some(1e9 / price)]);
    }
    table
}

/// One measurement: receivers, the packet, and scratch memory.
struct Stand {
    paths: Vec<Path>,
    template: Vec<u8>,
    arena: Vec<u8>,
    effort: Effort,
    sequence: u32,
}

impl Stand {
    fn new(paths: Vec<Path>, payload: usize, effort: Effort) -> Self {
        let mut template = vec![0x5a; HEADER + payload];
        template[..2].copy_from_slice(&[0x80, 96]);
        Self { paths, template, arena: vec![0; ARENA], effort, sequence: 0 }
    }

    /// The price of a packet, and the number of messages given to the kernel.
    fn measure(&mut self, profile: Profile, shape: Shape) -> io::Result<(f64, u64)> {
        let mut senders = self.senders(profile)?;
        let ten = usize::from(PACKETS);
        if shape == Shape::Seal {
            let packets = self.paths.len() * ten;
            let price =
                best(self.effort, packets, Duration::ZERO, || self.seal(&mut senders, ten))?;
            return Ok((price, 0));
        }
        let (train, pause) = match shape {
            Shape::Seal | Shape::Singles => (1, Duration::ZERO),
            Shape::Trains(n) => (n, Duration::ZERO),
            Shape::Paced => (ten, FRAME),
            Shape::Cut => (ten, Duration::ZERO),
        };
        self.send(&mut senders, ten, train, pause)
    }

    /// Prices of a packet of sound in a tight loop and 50 times a second.
    fn sound(&mut self) -> io::Result<[f64; 2]> {
        let mut senders = self.senders(Profile::AeadAes128Gcm)?;
        let (tight, _) = self.send(&mut senders, 1, 1, Duration::ZERO)?;
        let (paced, _) = self.send(&mut senders, 1, 1, SOUND_EVERY)?;
        Ok([tight, paced])
    }

    fn senders(&self, profile: Profile) -> io::Result<Vec<Sender>> {
        let sender = |at: usize| {
            let (mut key, salt) = (vec![7; profile.key_len()], vec![9; profile.salt_len()]);
            key[..8].copy_from_slice(&(at as u64).to_be_bytes());
            Sender::new(profile, &key, &salt).map_err(io::Error::other)
        };
        (0..self.paths.len()).map(sender).collect()
    }

    fn seal(&mut self, senders: &mut [Sender], count: usize) -> io::Result<Duration> {
        let room = self.template.len() + 32;
        let begun = thread_cpu();
        for (sink, sender) in senders.iter_mut().enumerate() {
            for index in 0..count {
                let at = (sink * count + index) * room % (ARENA - room);
                let out = &mut self.arena[at..at + room];
                write(&self.template, sender, self.sequence + index as u32, sink, out)?;
            }
        }
        self.sequence += count as u32;
        Ok(thread_cpu() - begun)
    }

    /// Sends pictures of `count` packets; returns the price of a packet, and the number of messages.
    fn send(
        &mut self,
        senders: &mut [Sender],
        count: usize,
        train: usize,
        pause: Duration,
    ) -> io::Result<(f64, u64)> {
        let local = self.paths.first().map(|path| path.local);
        let local = local.ok_or_else(|| io::Error::other("nobody to send to"))?;
        let socket = UdpSocket::bind(&UdpConfig {
            reuse_port: false,
            send_buffer: Some(SOCKET_BUFFER),
            ..UdpConfig::new(SocketAddr::new(local, 0))
        })?;
        let mut batch = SendBatch::with_capacity(ARENA, MESSAGES);
        let packets = self.paths.len() * count;
        let price = best(self.effort, packets, pause, || {
            let begun = thread_cpu();
            for first in (0..count).step_by(train) {
                for (sink, (&path, sender)) in self.paths.iter().zip(&mut *senders).enumerate() {
                    batch.begin(path);
                    for index in first..(first + train).min(count) {
                        if batch.space().is_none() {
                            batch.flush(Some(&socket), None);
                        }
                        let Some(out) = batch.space() else { continue };
                        let sequence = self.sequence + index as u32;
                        let len = write(&self.template, sender, sequence, sink, out)?;
                        batch.commit(len);
                    }
                }
            }
            batch.flush(Some(&socket), None);
            self.sequence += count as u32;
            Ok(thread_cpu() - begun)
        })?;
        let totals = batch.totals();
        if totals.dropped_refused > 0 || totals.sent_datagrams == 0 {
            return Err(io::Error::other(format!("the kernel does not send: {totals:?}")));
        }
        Ok((price, totals.messages))
    }
}

/// Copies the packet, numbers it for a receiver and seals it; returns its length. The numbers only rise, so no nonce
/// is used twice.
fn write(
    template: &[u8],
    sender: &mut Sender,
    sequence: u32,
    sink: usize,
    out: &mut [u8],
) -> io::Result<usize> {
    let len = template.len();
    out[..len].copy_from_slice(template);
    out[2..4].copy_from_slice(&(sequence as u16).to_be_bytes());
    out[4..8].copy_from_slice(&sequence.to_be_bytes());
    out[8..12].copy_from_slice(&(sink as u32).to_be_bytes());
    sender.seal_rtp(out, HEADER, len, sequence >> 16).map_err(io::Error::other)
}

/// Repeats a round of this many packets, which returns its processor time. Returns the best pass, in nanoseconds per
/// packet.
fn best(
    effort: Effort,
    packets: usize,
    pause: Duration,
    mut round: impl FnMut() -> io::Result<Duration>,
) -> io::Result<f64> {
    round()?;
    let mut best = f64::INFINITY;
    // A paced variant needs several rounds until caches are as cold as they will be.
    let lasting = if pause.is_zero() { effort.pass } else { effort.pass.max(pause * 6) };
    for _ in 0..PASSES {
        let end = Instant::now() + lasting;
        let (mut spent, mut sent) = (Duration::ZERO, 0);
        while sent == 0 || Instant::now() < end {
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
            spent += round()?;
            sent += packets;
        }
        best = best.min(spent.as_nanos() as f64 / sent as f64);
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_of_tight_loops_of_one_profile() {
        let mut limits = Limits::default();
        let mut add = |profile, shape, price| {
            limits.video.insert((Variant { profile, shape }, 10), price);
        };
        add(Cipher::Aes128, Shape::Seal, 100.0);
        add(Cipher::Aes128, Shape::Singles, 900.0);
        add(Cipher::Aes128, Shape::Trains(10), 300.0);
        add(Cipher::Aes128, Shape::Paced, 250.0);
        add(Cipher::Aes256, Shape::Trains(10), 200.0);
        assert_eq!(limits.best(Cipher::Aes128, 10), Some(300.0));
        assert_eq!(limits.best(Cipher::Aes128, 100), None);
        assert_eq!(limits.price(Cipher::Aes128, Shape::Paced, 10), Some(250.0));
    }

    #[test]
    fn a_bare_sender_sends_over_loopback_too() {
        let sinks = Sinks::open(3, std::net::Ipv4Addr::LOCALHOST.into()).unwrap();
        let paths = sinks.paths(std::net::Ipv4Addr::LOCALHOST.into());
        let effort = Effort { pass: Duration::from_millis(2), ..Effort::quick() };
        let mut stand = Stand::new(paths, PAYLOAD, effort);
        for cipher in Cipher::ALL {
            for shape in [Shape::Seal, Shape::Singles, Shape::Trains(10)] {
                let (price, _) = stand.measure(cipher.profile(), shape).unwrap();
                assert!(price > 0.0 && price.is_finite());
            }
        }
    }
}
