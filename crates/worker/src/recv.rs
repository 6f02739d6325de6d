//! Step 1: reads datagrams from the kernel, in two lanes.
//!
//! A worker has a socket for media and one for control ([`crate::lanes`]). Media wakes it at once. So does control,
//! unless control is so frequent that waking up for each datagram would cost more than the datagrams: then it is read
//! when the worker is awake anyway, and after [`HOLD`] at the latest.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
    sync::Arc,
    time::{Duration, Instant},
};

use udp::{RecvBatch, UdpSocket, WakeFd};

use crate::{core::Worker, send::Sockets};

/// Messages of one receive call for media; each may be a train of many datagrams.
const MESSAGES: usize = 32;
/// Bytes of one message: the longest train that the kernel joins.
const TRAIN: usize = 64 << 10;
/// Receive calls for one socket in one turn. The limit lets received packets be sent before more are read.
const CALLS_PER_TURN: usize = 4;
/// Datagrams of one receive call for control. Each datagram of a handshake may cost a third of a millisecond.
const CONTROL_MESSAGES: usize = 8;
/// Bytes of one control datagram.
const CONTROL_MAX: usize = 2_048;
/// After this long on control, media has its turn again.
const CONTROL_SHARE: Duration = Duration::from_millis(1);
/// How long control may wait where it is frequent.
const HOLD: Duration = Duration::from_millis(20);

/// Which socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Media,
    Control,
}

/// The sockets of one worker, and the buffers that datagrams are read into.
pub(crate) struct Inbox {
    /// For media. Everything is sent through these sockets, too.
    media: Arc<Sockets>,
    /// For control, where the kernel sorts datagrams; IPv4 and IPv6.
    control: [Option<UdpSocket>; 2],
    /// `None` while its datagrams are handled.
    media_batch: Option<RecvBatch>,
    control_batch: Option<RecvBatch>,
    /// Sockets that may have something to read: bits of [`Inbox::wait`].
    ready: u32,
    /// Control sockets that ever had something to read.
    used: u32,
    moderation: Moderation,
}

/// Bits of `ready`: the waker, media of both families, control of both families.
const WOKEN: u32 = 1;
const MEDIA: [u32; 2] = [1 << 1, 1 << 2];
const CONTROL: [u32; 2] = [1 << 3, 1 << 4];
const ALL: u32 = 0b1_1111;

impl Inbox {
    pub(crate) fn new(media: [Option<UdpSocket>; 2], control: [Option<UdpSocket>; 2]) -> Self {
        let [v4, v6] = media;
        Self {
            media: Arc::new(Sockets { v4, v6 }),
            control,
            media_batch: Some(RecvBatch::new(MESSAGES, TRAIN)),
            control_batch: Some(RecvBatch::new(CONTROL_MESSAGES, CONTROL_MAX)),
            ready: ALL,
            used: 0,
            moderation: Moderation::default(),
        }
    }

    /// The sockets that everything is sent through.
    pub(crate) fn media_sockets(&self) -> Arc<Sockets> {
        self.media.clone()
    }

    fn socket(&self, lane: Lane, family: usize) -> Option<&UdpSocket> {
        match (lane, family) {
            (Lane::Media, 0) => self.media.v4.as_ref(),
            (Lane::Media, _) => self.media.v6.as_ref(),
            (Lane::Control, _) => self.control.get(family)?.as_ref(),
        }
    }

    /// Marks all sockets as readable. Needed when no wait tells which of them are.
    pub(crate) fn look_everywhere(&mut self) {
        self.ready = ALL;
    }

    /// Until when control does not wake the worker in a sleep that begins now. `may_hold`: no session is connecting.
    pub(crate) fn held(&self, now: Instant, may_hold: bool) -> Option<Instant> {
        self.moderation.until.filter(|until| may_hold && now < *until)
    }

    /// Sleeps until a datagram arrives, another thread wakes the worker or the time is up. `blocked`: also until a
    /// full socket accepts datagrams again.
    ///
    /// # Errors
    /// The kernel refuses to wait. The call takes time all the same, so that the loop does not spin.
    pub(crate) fn wait(
        &mut self,
        waker: &WakeFd,
        now: Instant,
        timeout: Duration,
        held: Option<Instant>,
        blocked: bool,
    ) -> io::Result<()> {
        let timeout = held.map_or(timeout, |until| timeout.min(until - now));
        let mut fds: [RawFd; 5] = [waker.as_raw_fd(); 5];
        let mut bits = [WOKEN; 5];
        let mut n = 1;
        let lanes: &[Lane] =
            if held.is_some() { &[Lane::Media] } else { &[Lane::Media, Lane::Control] };
        for &lane in lanes {
            for family in 0..2 {
                if let Some(socket) = self.socket(lane, family) {
                    fds[n] = socket.as_raw_fd();
                    bits[n] = bit(lane, family);
                    n += 1;
                }
            }
        }
        // Control that was held, or arrives while media is handled, need not wake the worker: it is awake, so these
        // sockets are read in any case.
        self.ready = self.used;
        let (mut full, mut count) = ([waker.as_raw_fd(); 2], 0);
        for family in (0..2).filter(|_| blocked) {
            if let Some(socket) = self.socket(Lane::Media, family) {
                full[count] = socket.as_raw_fd();
                count += 1;
            }
        }
        let waited = match udp::wait_both(&fds[..n], &full[..count], Some(timeout)) {
            Ok(udp::Ready { readable: ready, .. }) => {
                let bits = bits.iter().enumerate().filter(|(at, _)| ready & (1 << at) != 0);
                self.ready |= bits.fold(0, |all, (_, bit)| all | bit);
                Ok(())
            }
            Err(error) => {
                std::thread::sleep(timeout.min(Duration::from_millis(10)));
                self.ready = ALL;
                Err(error)
            }
        };
        if self.ready & WOKEN != 0 {
            waker.drain();
        }
        waited
    }
}

fn bit(lane: Lane, family: usize) -> u32 {
    match lane {
        Lane::Media => MEDIA[family],
        Lane::Control => CONTROL[family],
    }
}

/// When control is held back, as network cards do with interrupts: not for a single datagram, but when datagrams
/// follow each other.
#[derive(Debug, Default)]
struct Moderation {
    /// When something was read last.
    last: Option<Instant>,
    /// Control is not read before this time, unless the worker is awake anyway.
    until: Option<Instant>,
}

impl Moderation {
    fn read(&mut self, now: Instant, some: bool) {
        if !some {
            self.until = None;
            return;
        }
        // A datagram that was held for the longest time allowed counts as following the one before.
        let frequent =
            self.last.is_some_and(|last| now.saturating_duration_since(last) <= 2 * HOLD);
        self.until = frequent.then(|| now + HOLD);
        self.last = Some(now);
    }
}

impl Worker {
    /// Reads the sockets of a lane, up to a limit. Returns whether there may be more.
    pub(crate) fn receive(&mut self, now: Instant, lane: Lane) -> bool {
        let batch = match lane {
            Lane::Media => &mut self.inbox.media_batch,
            Lane::Control => &mut self.inbox.control_batch,
        };
        let Some(mut batch) = batch.take() else { return false };
        let (mut more, mut some, mut asked) = (false, false, false);
        for family in 0..2 {
            if self.inbox.ready & bit(lane, family) == 0 {
                continue;
            }
            asked = true;
            for call in 0..CALLS_PER_TURN {
                let Some(socket) = self.inbox.socket(lane, family) else { break };
                let messages = match batch.recv(socket) {
                    Ok(messages) => messages,
                    Err(error) => {
                        tracing::debug!(%error, "receiving failed");
                        break;
                    }
                };
                if messages > 0 {
                    some = true;
                    // A peer sends a check only after signaling announced its session, but that may have been after
                    // this turn took its notices.
                    self.guarded(|w| _ = w.take_notices(now));
                    if lane == Lane::Control {
                        self.inbox.used |= bit(lane, family);
                    }
                }
                self.take_batch(now, &mut batch);
                if messages < if lane == Lane::Media { MESSAGES } else { CONTROL_MESSAGES } {
                    break;
                }
                let spent = self.clock.now().saturating_duration_since(now);
                let enough = lane == Lane::Control && spent > CONTROL_SHARE;
                more |= enough || call + 1 == CALLS_PER_TURN;
                if enough {
                    break;
                }
            }
        }
        match lane {
            Lane::Media => self.inbox.media_batch = Some(batch),
            Lane::Control => {
                self.inbox.control_batch = Some(batch);
                if asked {
                    self.inbox.moderation.read(now, some);
                }
            }
        }
        more
    }

    fn take_batch(&mut self, now: Instant, batch: &mut RecvBatch) {
        let read_at = self.clock.now();
        for datagram in batch.datagrams() {
            self.counters.datagrams_in.add(1);
            self.counters.bytes_in.add(datagram.data.len() as u64);
            if datagram.truncated {
                self.counters.drop_in(model::DropReason::TooLarge);
                continue;
            }
            self.arrived = read_at.checked_sub(datagram.age);
            self.guarded(|w| w.take_datagram(now, datagram.path, datagram.data));
        }
        self.arrived = None;
    }
}

#[cfg(test)]
mod tests {
    use model::Command;

    use super::*;

    fn bind() -> UdpSocket {
        let any = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
        let config = udp::UdpConfig { reuse_port: false, ..udp::UdpConfig::new(any) };
        UdpSocket::bind(&config).unwrap()
    }

    #[test]
    fn a_session_that_is_told_of_in_the_middle_of_a_turn_is_known_to_its_first_check() {
        let control = bind();
        let to_control = control.local_addr();
        let mut bench = crate::core::tests::bench();
        bench.worker.inbox = Inbox::new([None, None], [Some(control), None]);
        let plan = crate::core::tests::plan(1);
        let check = crate::threats::check(&plan.ice);
        bench.command(Command::Open(plan));
        let peer = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        peer.send_to(&check, to_control).unwrap();
        // A turn takes its notices first; this is the part that follows.
        bench.worker.receive(Instant::now(), Lane::Control);
        assert_eq!(bench.worker.counters.stun.value(), 1);
    }

    #[test]
    fn a_flood_of_control_does_not_keep_media_waiting() {
        let (media, control) = (bind(), bind());
        let (to_media, to_control) = (media.local_addr(), control.local_addr());
        let mut bench = crate::core::tests::bench();
        let worker = &mut bench.worker;
        worker.inbox = Inbox::new([Some(media), None], [Some(control), None]);
        let peer = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        let flood = 2 * CALLS_PER_TURN * CONTROL_MESSAGES;
        for _ in 0..flood {
            peer.send_to(&[20, 254, 253, 0], to_control).unwrap();
        }
        let now = Instant::now();
        let waker = worker.mail.waker().clone();
        worker.inbox.wait(waker.fd(), now, Duration::from_secs(5), None, false).unwrap();
        assert_eq!(worker.inbox.ready, CONTROL[0], "only control woke it");
        assert!(worker.turn(), "there is more of it");
        peer.send_to(&[0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0], to_media).unwrap();
        let before = worker.counters.datagrams_in.value();
        worker.turn();
        // Fewer if another process had the processor meanwhile.
        let turn = (CALLS_PER_TURN * CONTROL_MESSAGES) as u64;
        assert!((2..=turn + 1).contains(&(worker.counters.datagrams_in.value() - before)));
        let media = worker.inbox.socket(Lane::Media, 0).unwrap();
        let left = RecvBatch::new(1, TRAIN).recv(media);
        assert_eq!(left.unwrap(), 0, "media came too");
    }

    #[test]
    fn lonely_control_is_read_at_once_and_frequent_control_is_held() {
        let start = Instant::now();
        let mut moderation = Moderation::default();
        moderation.read(start, true);
        assert_eq!(moderation.until, None);
        let soon = start + HOLD / 2;
        moderation.read(soon, true);
        assert_eq!(moderation.until, Some(soon + HOLD));
        let held = soon + HOLD + HOLD / 10;
        moderation.read(held, true);
        assert_eq!(moderation.until, Some(held + HOLD), "it was frequent, and is");
        // Nothing is there any more, so the next datagram is a single one.
        moderation.read(held + HOLD, false);
        assert_eq!(moderation.until, None);
        moderation.read(held + 10 * HOLD, true);
        assert_eq!(moderation.until, None);
    }
}
