//! A WHIP publisher and WHEP viewer made of webrtc-rs, to try a node with: `webrtc-rs-client publish|watch URL`.
//!
//! Prints a line of JSON each second; the last one is the result (see `clients/README.md` for its members). Nothing is decoded.

mod count;
mod media;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use webrtc::api::APIBuilder;
use webrtc::api::interceptor_registry::register_default_interceptors;
use webrtc::api::media_engine::{MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_VP8, MediaEngine};
use webrtc::interceptor::registry::Registry;
use webrtc::peer_connection::RTCPeerConnection;
use webrtc::peer_connection::configuration::RTCConfiguration;
use webrtc::peer_connection::sdp::session_description::RTCSessionDescription;
use webrtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use webrtc::rtp_transceiver::rtp_codec::{RTCRtpCodecCapability, RTPCodecType};
use webrtc::rtp_transceiver::rtp_sender::RTCRtpSender;
use webrtc::rtp_transceiver::rtp_transceiver_direction::RTCRtpTransceiverDirection::{
    Recvonly, Sendonly,
};
use webrtc::rtp_transceiver::{RTCPFeedback, RTCRtpTransceiverInit};
use webrtc::track::track_local::TrackLocal;
use webrtc::track::track_local::track_local_static_sample::TrackLocalStaticSample;
use webrtc::track::track_remote::TrackRemote;

use count::Counts;

#[derive(Parser)]
struct Options {
    role: Role,
    url: String,
    /// What to publish: VP8 or H264.
    #[arg(long, default_value = "VP8")]
    codec: String,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[arg(long)]
    token: Option<String>,
    /// Directory of the test card's files.
    #[arg(long, default_value = "../../../media")]
    media: PathBuf,
    /// Descriptions to standard error.
    #[arg(long)]
    verbose: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Role {
    Publish,
    Watch,
}

/// What was seen so far.
struct Seen {
    began: Instant,
    states: Mutex<Vec<(u64, String)>>,
    video: Mutex<Counts>,
    audio: Mutex<Counts>,
    plis: AtomicUsize,
}

impl Seen {
    fn ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn line(&self, role: Role, error: Option<&str>) -> Value {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let video = self.video.lock().unwrap_or_else(PoisonError::into_inner);
        let audio = self.audio.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = json!({
            "client": "webrtc-rs 0.17.2",
            "role": if role == Role::Publish { "publish" } else { "watch" },
            "seconds": self.began.elapsed().as_secs_f64(),
            "error": error,
            "state": states.last().map_or("new", |(_, state)| state.as_str()),
            "states": *states,
            // The stack makes certificates of P-256 by default, and does not tell the SRTP profile that was agreed.
            "certificate": "EC",
            "srtp": null,
            "packets": { "video": video.packets, "audio": audio.packets },
            "frames": video.frames,
            "keyFrames": video.key_frames,
            "plis": self.plis.load(Ordering::Relaxed),
        });
        if role == Role::Watch {
            line["codec"] = json!(video.codec);
            line["gaps"] = json!(video.gaps);
            line["firstFrameMs"] = json!(video.first_frame_ms);
            line["sound"] = json!(audio.packets);
        }
        line
    }
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let seen = Arc::new(Seen {
        began: Instant::now(),
        states: Mutex::default(),
        video: Mutex::default(),
        audio: Mutex::default(),
        plis: AtomicUsize::new(0),
    });
    let mut resource = None;
    let result = run(&options, &seen, &mut resource).await;
    let error = result.err().map(|error| format!("{error:#}"));
    println!("{}", seen.line(options.role, error.as_deref()));
    if let Some(url) = resource {
        let request = authorized(reqwest::Client::new().delete(url), &options);
        let _ = request.send().await;
    }
    std::process::exit(i32::from(error.is_some()));
}

async fn run(options: &Options, seen: &Arc<Seen>, resource: &mut Option<String>) -> Result<()> {
    let mut engine = MediaEngine::default();
    engine.register_default_codecs()?;
    let registry = register_default_interceptors(Registry::new(), &mut engine)?;
    let api =
        APIBuilder::new().with_media_engine(engine).with_interceptor_registry(registry).build();
    let peer = Arc::new(api.new_peer_connection(RTCConfiguration::default()).await?);
    let noted = seen.clone();
    peer.on_peer_connection_state_change(Box::new(move |state| {
        noted
            .states
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((noted.ms(), state.to_string()));
        Box::pin(async {})
    }));
    if options.role == Role::Publish {
        publish(&peer, options, seen).await?;
    } else {
        watch(&peer, seen).await?;
    }
    exchange(&peer, options, resource).await?;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut terminated = signal(SignalKind::terminate())?;
    let end = tokio::time::sleep(Duration::from_secs(options.seconds));
    tokio::pin!(end);
    loop {
        tokio::select! {
            _ = second.tick() => println!("{}", seen.line(options.role, None)),
            _ = terminated.recv() => return Ok(()),
            () = &mut end => return Ok(()),
        }
    }
}

/// Sends the offer with all its candidates, and takes the answer.
async fn exchange(
    peer: &RTCPeerConnection,
    options: &Options,
    resource: &mut Option<String>,
) -> Result<()> {
    let mut gathered = peer.gathering_complete_promise().await;
    peer.set_local_description(peer.create_offer(None).await?).await?;
    gathered.recv().await;
    let offer = peer.local_description().await.context("no offer")?.sdp;
    if options.verbose {
        eprintln!("{offer}");
    }
    let request = reqwest::Client::new()
        .post(&options.url)
        .header("content-type", "application/sdp")
        .body(offer);
    let response = authorized(request, options).send().await?;
    let status = response.status();
    let location =
        response.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let address = response.url().clone();
    let answer = response.text().await?;
    if status != 201 {
        bail!("POST {}: {status} {answer}", options.url);
    }
    *resource = Some(address.join(&location.context("no Location")?)?.to_string());
    if options.verbose {
        eprintln!("{answer}");
    }
    Ok(peer.set_remote_description(RTCSessionDescription::answer(answer)?).await?)
}

fn authorized(request: reqwest::RequestBuilder, options: &Options) -> reqwest::RequestBuilder {
    match &options.token {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
}

async fn publish(peer: &Arc<RTCPeerConnection>, options: &Options, seen: &Arc<Seen>) -> Result<()> {
    let (mime, pictures) = match options.codec.as_str() {
        "VP8" => (MIME_TYPE_VP8, media::ivf(&options.media.join("testcard.ivf"))?),
        "H264" => (MIME_TYPE_H264, media::h264(&options.media.join("testcard.h264"))?),
        other => bail!("this client publishes VP8 and H264, not {other}"),
    };
    let sounds = media::ogg(&options.media.join("testcard.ogg"))?;
    let video = section(peer, mime, 90_000, seen).await?;
    let audio = section(peer, MIME_TYPE_OPUS, 48_000, seen).await?;
    tokio::spawn(media::play(peer.clone(), video, pictures, Duration::from_secs(1) / 30, {
        let seen = seen.clone();
        move || seen.video.lock().unwrap_or_else(PoisonError::into_inner).sent()
    }));
    tokio::spawn(media::play(peer.clone(), audio, sounds, Duration::from_millis(20), {
        let seen = seen.clone();
        move || seen.audio.lock().unwrap_or_else(PoisonError::into_inner).sent()
    }));
    Ok(())
}

async fn section(
    peer: &RTCPeerConnection,
    mime: &str,
    clock_rate: u32,
    seen: &Arc<Seen>,
) -> Result<Arc<TrackLocalStaticSample>> {
    let feedback =
        |parameter: &str| RTCPFeedback { typ: "nack".to_owned(), parameter: parameter.to_owned() };
    let capability = RTCRtpCodecCapability {
        mime_type: mime.to_owned(),
        clock_rate,
        channels: if mime == MIME_TYPE_OPUS { 2 } else { 0 },
        rtcp_feedback: vec![feedback(""), feedback("pli")],
        ..Default::default()
    };
    let track = Arc::new(TrackLocalStaticSample::new(
        capability,
        mime.replace('/', "-"),
        "client".to_owned(),
    ));
    let init = RTCRtpTransceiverInit { direction: Sendonly, send_encodings: vec![] };
    let transceiver = peer
        .add_transceiver_from_track(track.clone() as Arc<dyn TrackLocal + Send + Sync>, Some(init))
        .await?;
    tokio::spawn(listen(transceiver.sender().await, seen.clone()));
    Ok(track)
}

/// Reads what comes back for a section: without a reader the stack answers no NACK.
async fn listen(sender: Arc<RTCRtpSender>, seen: Arc<Seen>) {
    while let Ok((packets, _)) = sender.read_rtcp().await {
        for packet in packets {
            if packet.as_any().is::<PictureLossIndication>() {
                seen.plis.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

async fn watch(peer: &Arc<RTCPeerConnection>, seen: &Arc<Seen>) -> Result<()> {
    for kind in [RTPCodecType::Video, RTPCodecType::Audio] {
        let init = RTCRtpTransceiverInit { direction: Recvonly, send_encodings: vec![] };
        peer.add_transceiver_from_kind(kind, Some(init)).await?;
    }
    let (peer_of_track, seen) = (Arc::downgrade(peer), seen.clone());
    peer.on_track(Box::new(move |track, _, _| {
        if let Some(peer) = peer_of_track.upgrade() {
            tokio::spawn(take(peer, track, seen.clone()));
        }
        Box::pin(async {})
    }));
    Ok(())
}

async fn take(peer: Arc<RTCPeerConnection>, track: Arc<TrackRemote>, seen: Arc<Seen>) {
    let video = track.kind() == RTPCodecType::Video;
    let codec =
        track.codec().capability.mime_type.split('/').next_back().unwrap_or_default().to_owned();
    if video {
        // The stack does not ask for a key frame by itself.
        let ask = PictureLossIndication { sender_ssrc: 0, media_ssrc: track.ssrc() };
        let _ = peer.write_rtcp(&[Box::new(ask)]).await;
    }
    while let Ok((packet, _)) = track.read_rtp().await {
        let counts = if video { &seen.video } else { &seen.audio };
        counts.lock().unwrap_or_else(PoisonError::into_inner).take(&codec, &packet, seen.ms());
    }
}
