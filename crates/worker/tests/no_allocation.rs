//! Once warm, a packet costs no allocation, from the publisher's datagram to the datagrams of its subscribers.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use model::{
    Binding, Codec, CodecSpec, Command, DownMedia, DtlsRole, ExtensionMap, Feedback, Fingerprint,
    IceCredentials, MediaKind, Mid, Path, Pt, PtMapping, SessionId, SessionPlan, Ssrc, StreamSsrc,
    TrackId, UpMedia, WallClock,
};
use sfumato_worker::{Config, lab::Lab};
use transport::{
    dtls::Certificate,
    srtp::{Profile, Receiver, Sender},
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call is passed to the system's allocator unchanged. Counting touches a thread-local cell without a
// destructor, which exists as long as the thread.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller keeps `alloc`'s contract, which is the system's.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: the caller keeps `dealloc`'s contract, which is the system's.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const SUBSCRIBERS: u64 = 20;
const PACKETS: u16 = 10;
const PUBLISHER: SessionId = SessionId(1);
const MEDIA: Ssrc = Ssrc(0x1234);

fn plan(id: u64, up: Vec<UpMedia>, down: Vec<DownMedia>) -> Arc<SessionPlan> {
    let text = |what: &str| format!("{what}{id:022}");
    Arc::new(SessionPlan {
        id: SessionId(id),
        ice: IceCredentials {
            local_ufrag: text("u"),
            local_pwd: text("p"),
            remote_ufrag: text("U"),
            remote_pwd: text("P"),
        },
        dtls_role: DtlsRole::Passive,
        fingerprints: vec![Fingerprint { algorithm: "sha-256".into(), bytes: vec![0; 32] }],
        extensions: ExtensionMap::new(),
        up,
        down,
        rtcp_reduced_size: true,
        cname: "test".into(),
        data: None,
        remote_candidates: Vec::new(),
    })
}

fn vp8() -> Vec<CodecSpec> {
    let feedback = Feedback { nack: true, pli: true, ..Feedback::default() };
    vec![CodecSpec {
        pt: Pt(96),
        rtx_pt: Some(Pt(97)),
        codec: Codec::Vp8,
        clock_rate: 90_000,
        channels: 1,
        fmtp: String::new(),
        feedback,
        parameter_sets: None,
    }]
}

fn contexts(seed: u8) -> Option<(Sender, Receiver)> {
    let (key, salt) = ([seed; 16], [seed; 12]);
    let profile = Profile::AeadAes128Gcm;
    Sender::new(profile, &key, &salt).ok().zip(Receiver::new(profile, &key, &salt).ok())
}

/// A peer's path; no socket is bound there.
fn path(id: u64) -> Path {
    let port = 40_000 + id as u16;
    let local = IpAddr::from(Ipv4Addr::LOCALHOST);
    Path { remote: (local, port).into(), local }
}

/// A plain VP8 packet with a picture id: the key frame first, then pictures that depend on it.
fn packet(bytes: &mut [u8], sequence: u16, picture: u16, index: u16) -> usize {
    let last = index + 1 == PACKETS;
    bytes[0] = 0x80;
    bytes[1] = 96 | if last { 0x80 } else { 0 };
    bytes[2..4].copy_from_slice(&sequence.to_be_bytes());
    bytes[4..8].copy_from_slice(&(u32::from(picture) * 3_000).to_be_bytes());
    bytes[8..12].copy_from_slice(&MEDIA.0.to_be_bytes());
    bytes[12] = if index == 0 { 0x90 } else { 0x80 };
    bytes[13] = 0x80;
    bytes[14..16].copy_from_slice(&(0x8000 | picture).to_be_bytes());
    bytes[16] = u8::from(picture > 0);
    1_100
}

#[test]
fn a_packet_costs_no_allocation_once_warm() {
    let start = Instant::now();
    let certificate = Arc::new(Certificate::generate().unwrap());
    let clock = WallClock::new(start, SystemTime::now());
    let mut config = Config::new(certificate, clock, Arc::new(|_| ()));
    config.bind = vec![Ipv4Addr::LOCALHOST.into()];
    let mut lab = Lab::new(config).unwrap();

    let mid = Mid::parse("0").unwrap();
    let up = UpMedia {
        track: TrackId(1),
        mid,
        kind: MediaKind::Video,
        codecs: vp8(),
        rids: Vec::new(),
        ssrcs: vec![StreamSsrc { media: MEDIA, rtx: None }],
    };
    lab.command(start, Command::Open(plan(1, vec![up], Vec::new())));
    let (mut publisher, receiver) = contexts(1).unwrap();
    let (unused, _) = contexts(2).unwrap();
    assert!(lab.connect(start, PUBLISHER, path(1), unused, receiver));
    for id in 2..2 + SUBSCRIBERS {
        let ssrc = StreamSsrc { media: Ssrc(id as u32), rtx: Some(Ssrc(id as u32 + 1_000)) };
        let down = DownMedia { mid, kind: MediaKind::Video, ssrc, codecs: vp8() };
        lab.command(start, Command::Open(plan(id, Vec::new(), vec![down])));
        let mapping = PtMapping {
            up: Pt(96),
            down: Pt(96),
            down_rtx: Some(Pt(97)),
            unwrap_red: false,
            clock_rate: 90_000,
        };
        let payload_types = [mapping].into();
        let binding = Some(Binding { track: TrackId(1), publisher: PUBLISHER, payload_types });
        lab.command(start, Command::Bind { session: SessionId(id), slots: vec![(mid, binding)] });
        let (sender, receiver) = contexts(id as u8).unwrap();
        assert!(lab.connect(start, SessionId(id), path(id), sender, receiver));
    }

    let (mut sequence, mut now) = (0_u16, start);
    let mut send_pictures = |lab: &mut Lab, pictures: std::ops::Range<u16>| {
        let mut bytes = [0; 1_500];
        for picture in pictures {
            for index in 0..PACKETS {
                let len = packet(&mut bytes, sequence, picture, index);
                let sealed = publisher.seal_rtp(&mut bytes, 12, len, 0).unwrap();
                lab.datagram(now, path(1), &mut bytes[..sealed]);
                sequence += 1;
            }
            lab.turn(now);
            now += Duration::from_millis(33);
        }
    };
    // The track's cache and the packet pool fill up: a good second of pictures.
    send_pictures(&mut lab, 0..150);
    let before = (ALLOCATIONS.get(), lab.metrics().forwarded);
    send_pictures(&mut lab, 150..250);
    let after = (ALLOCATIONS.get(), lab.metrics().forwarded);
    let (allocations, forwarded) = (after.0 - before.0, after.1 - before.1);
    println!("{allocations} allocations for {forwarded} packets forwarded");
    assert_eq!(forwarded, 100 * u64::from(PACKETS) * SUBSCRIBERS, "{:?}", lab.metrics());
    assert_eq!(allocations, 0);
}
