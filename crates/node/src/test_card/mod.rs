//! The test card: a publisher inside the node, with a moving picture and sound, so that there is something to watch
//! before the first participant publishes. The media are encoded beforehand; the node encodes nothing.

mod ivf;
mod ogg;
mod packetizer;
mod player;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::{
    Codec, CodecSpec, DtlsRole, ExtensionMap, Feedback, IceCredentials, MediaKind, Mid,
    ParticipantId, Pt, RoomId, SessionPlan, UpMedia, WallClock,
};
use room::LocalMedia;
use signaling::Signaling;
use worker::{Source, SourceError, WorkersHandle};

use ivf::Ivf;
use ogg::OggOpus;
use packetizer::{OpusPacketizer, Track, Vp8Packetizer};
use player::{AUDIO_CLOCK, Player, VIDEO_CLOCK};

static PICTURE: &[u8] = include_bytes!("../../../../media/testcard.ivf");
static SOUND: &[u8] = include_bytes!("../../../../media/testcard.ogg");

const PARTICIPANT: &str = "test-card";
const VIDEO_PT: Pt = Pt(96);
const AUDIO_PT: Pt = Pt(111);

/// The thread checks for key frame requests at least this often.
const LOOK: Duration = Duration::from_millis(10);

/// The running test card; it stops when this is dropped.
pub(crate) struct TestCard {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TestCard {
    /// Publishes the test card into a room.
    ///
    /// # Errors
    /// The media do not parse, the room or the workers refuse them, or no thread can be started.
    pub(crate) fn start(
        room: &RoomId,
        signaling: &Signaling,
        workers: &WorkersHandle,
        wall_clock: WallClock,
        mut random: impl FnMut(&mut [u8]),
    ) -> io::Result<Self> {
        let (picture, sound) = parse()?;
        let participant = ParticipantId::parse(PARTICIPANT).map_err(io::Error::other)?;
        let published = signaling
            .publish_local(room, &participant, media())
            .map_err(|e| io::Error::other(e.to_string()))?;

        // Timestamps and picture ids begin at random values (RFC 3550 section 5.1); each receiver has sequence numbers
        // of its own.
        let mut number = || {
            let mut bytes = [0; 4];
            random(&mut bytes);
            u32::from_ne_bytes(bytes)
        };
        let source = workers.attach_source(plan(&published)?);
        let [video, audio] = codecs();
        let video = Track::new(0, video.codec, video.pt, video.clock_rate);
        let audio = Track::new(1, audio.codec, audio.pt, audio.clock_rate);
        let player = Player::new(
            Instant::now(),
            wall_clock,
            picture,
            sound,
            (Vp8Packetizer::new(video, number() as u16), number()),
            (OpusPacketizer::new(audio), number()),
        );
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("test-card".into())
            .spawn(move || run(player, source, &stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for TestCard {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the test card ended by a panic");
        }
    }
}

fn run(mut player: Player, mut source: Source, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        // There is only one video track, so the track of the request does not matter.
        while source.key_frame_request().is_some() {
            player.request_key_frame();
        }
        let mut given = Ok(());
        player.play(now, |head, payload| {
            if let Err(error) = source.push(head, payload.to_vec()) {
                given = Err(error);
            }
        });
        match given {
            Ok(()) => {}
            // The packet is lost, as it might be on a network; the worker counts those that it got.
            Err(SourceError::Full) => tracing::debug!("the worker is behind"),
            Err(SourceError::Closed) => return,
        }
        let wait = player.next().saturating_duration_since(Instant::now());
        std::thread::sleep(wait.min(LOOK));
    }
}

fn parse() -> io::Result<(Ivf, OggOpus)> {
    let bad = |file: &'static str| move |why| io::Error::other(format!("{file}: {why}"));
    let picture = Ivf::parse(PICTURE).map_err(bad("testcard.ivf"))?;
    let sound = OggOpus::parse(SOUND).map_err(bad("testcard.ogg"))?;
    Ok((picture, sound))
}

/// The media of the test card: video, then audio.
fn media() -> Vec<LocalMedia> {
    codecs()
        .into_iter()
        .map(|codec| LocalMedia { kind: codec.codec.kind(), codecs: vec![codec], rids: Vec::new() })
        .collect()
}

fn codecs() -> [CodecSpec; 2] {
    [
        CodecSpec {
            pt: VIDEO_PT,
            rtx_pt: None,
            codec: Codec::Vp8,
            clock_rate: VIDEO_CLOCK,
            channels: 1,
            fmtp: String::new(),
            feedback: Feedback { pli: true, ..Feedback::default() },
            parameter_sets: None,
        },
        CodecSpec {
            pt: AUDIO_PT,
            rtx_pt: None,
            codec: Codec::Opus,
            clock_rate: AUDIO_CLOCK,
            // The rtpmap has always two channels, whatever the packets contain (RFC 7587 section 7).
            channels: 2,
            fmtp: String::new(),
            feedback: Feedback::default(),
            parameter_sets: None,
        },
    ]
}

/// A plan for a session without a peer; only its media matter.
fn plan(published: &room::LocalPublished) -> io::Result<SessionPlan> {
    let mut up = Vec::new();
    let kinds = [MediaKind::Video, MediaKind::Audio];
    for ((track, codec), kind) in published.tracks.iter().zip(codecs()).zip(kinds) {
        up.push(UpMedia {
            track: *track,
            mid: Mid::parse(kind.as_str()).map_err(io::Error::other)?,
            kind,
            codecs: vec![codec],
            rids: Vec::new(),
            ssrcs: Vec::new(),
        });
    }
    let none = String::new;
    Ok(SessionPlan {
        id: published.session,
        ice: IceCredentials {
            local_ufrag: none(),
            local_pwd: none(),
            remote_ufrag: none(),
            remote_pwd: none(),
        },
        dtls_role: DtlsRole::Passive,
        fingerprints: Vec::new(),
        extensions: ExtensionMap::new(),
        up,
        down: Vec::new(),
        rtcp_reduced_size: false,
        cname: none(),
        data: None,
        remote_candidates: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_media_are_what_the_player_expects() {
        let (picture, sound) = parse().unwrap();
        assert_eq!(picture.rate, 30);
        assert_eq!(picture.frames.len(), 300);
        assert!(picture.frames.iter().step_by(15).all(|frame| frame.key));
        assert_eq!(sound.packets.len(), 500);
        let spans = (picture.frames.len() * 50, sound.packets.len() * 30);
        assert_eq!(spans.0, spans.1, "both loops take the same time");
    }
}
