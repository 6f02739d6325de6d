//! `GET /api/rooms/{room}/stats`: what was measured of each session of a room, by the workers that own them.
//!
//! Counts are those since a layer or a slot began, so two requests give what happened between them. Bitrates are those of the last whole
//! second, in bits per second; times are milliseconds; `loss` is a share from 0 to 1.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use model::{DownSection, LayerStats, SessionId, SessionStats, UpSection};
use room::SessionInfo;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::http::api::{Page, PageQuery, fresh};
use crate::http::offer;
use crate::http::problem::{Problem, ProblemKind};
use crate::state::Signaling;

/// How long to wait for the workers' answers. A worker answers within one of its turns; one that does not is stuck,
/// and its sessions are shown without measurements.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RoomMeasurements")]
pub(crate) struct RoomStats<'a> {
    room: &'a str,
    sessions: Vec<SessionView<'a>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionMeasurements")]
pub(crate) struct SessionView<'a> {
    session: u64,
    participant: Option<&'a str>,
    connected: bool,
    /// The peer's address as the node sees it.
    address: Option<String>,
    srtp_profile: Option<&'static str>,
    round_trip_ms: Option<f64>,
    sends: Vec<UpView<'a>>,
    receives: Vec<DownView<'a>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SendingMeasurements")]
pub(crate) struct UpView<'a> {
    mid: &'a str,
    track: u64,
    kind: &'static str,
    layers: Vec<LayerView<'a>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LayerMeasurements")]
pub(crate) struct LayerView<'a> {
    rid: Option<&'a str>,
    ssrc: Option<u32>,
    packets: u64,
    bytes: u64,
    bitrate: u64,
    lost: u64,
    recovered: u64,
    nacks: u64,
    key_frames: u64,
    key_frame_requests: u64,
    jitter_ms: f64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReceivingMeasurements")]
pub(crate) struct DownView<'a> {
    mid: &'a str,
    kind: &'static str,
    ssrc: u32,
    track: Option<u64>,
    layer: Option<u8>,
    packets: u64,
    bytes: u64,
    bitrate: u64,
    retransmitted: u64,
    retransmitted_bytes: u64,
    nacks: u64,
    key_frames: u64,
    key_frame_requests: u64,
    splices: u64,
    loss: f64,
    lost: i32,
    jitter_ms: f64,
    round_trip_ms: Option<f64>,
}

/// `GET /api/rooms/{room}/stats?limit=&after=`: sessions by rising number, for administrators of the room. `after` is
/// the number of the last session of the previous page. A room that does not exist is shown as empty.
pub(crate) async fn stats(
    State(signaling): State<Signaling>,
    Path(room): Path<String>,
    query: Result<Query<PageQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let caller = signaling.auth().caller(&headers)?;
    let room = offer::room(&room)?;
    caller.may_administer_room(&room)?;
    let page = Page::read(query)?;
    let after = page.after.as_deref().map(session_number).transpose()?;
    let mut sessions = signaling.sessions_of(&room, after, page.wanted()).await?;
    let link = page
        .cut(&mut sessions)
        .map(|last| page.next(&format!("/api/rooms/{room}/stats"), &last.session.0.to_string()));
    // Questions to workers are queued without a bound, so only a few requests may ask at a time.
    let turn = signaling.measuring().acquire().await;
    let measured = measure(&signaling, &sessions).await;
    drop(turn);
    let views = sessions.iter().map(|info| view(info, measured.get(&info.session)));
    let view = RoomStats { room: room.as_str(), sessions: views.collect() };
    Ok(fresh(Json(view).into_response(), link))
}

fn session_number(text: &str) -> Result<SessionId, Problem> {
    text.parse().map(SessionId).map_err(|_| {
        Problem::new(
            ProblemKind::BAD_QUERY,
            "after is the number of the last session of the page before.",
        )
    })
}

/// Asks the workers for the measurements of these sessions. Sessions without an answer are missing in the result.
async fn measure(
    signaling: &Signaling,
    sessions: &[SessionInfo],
) -> HashMap<SessionId, SessionStats> {
    // The channel has room for each session's answer, so a worker never waits.
    let (answers, mut received) = mpsc::channel(sessions.len().max(1));
    for info in sessions {
        let answers = answers.clone();
        // The receiver is gone when an answer comes too late; the answer is dropped.
        let reply = move |stats: SessionStats| answers.try_send(stats).unwrap_or_default();
        (signaling.operations().stats)(info.session, Box::new(reply));
    }
    // The wait ends when all senders are dropped. A session without an answer drops its sender.
    drop(answers);
    let mut measured = HashMap::new();
    let collect = async {
        while let Some(stats) = received.recv().await {
            measured.insert(stats.session, stats);
        }
    };
    if tokio::time::timeout(ANSWERS_WITHIN, collect).await.is_err() {
        tracing::debug!("a worker did not answer in time for the measurements of its sessions");
    }
    measured
}

fn view<'a>(info: &'a SessionInfo, stats: Option<&'a SessionStats>) -> SessionView<'a> {
    SessionView {
        session: info.session.0,
        participant: info.identity.as_ref().map(model::ParticipantId::as_str),
        connected: info.connected,
        address: stats.and_then(|s| s.path).map(|path| path.remote.to_string()),
        srtp_profile: stats.and_then(|s| s.srtp_profile),
        round_trip_ms: stats.and_then(|s| s.round_trip).map(millis),
        sends: stats.map(|s| s.up.iter().map(up).collect()).unwrap_or_default(),
        receives: stats.map(|s| s.down.iter().map(down).collect()).unwrap_or_default(),
    }
}

fn up(section: &UpSection) -> UpView<'_> {
    let layer = |(at, stats): (usize, &LayerStats)| LayerView {
        rid: section.rids.get(at).map(model::Rid::as_str),
        ssrc: stats.ssrc.map(|ssrc| ssrc.0),
        packets: stats.packets,
        bytes: stats.octets,
        bitrate: stats.bitrate,
        lost: stats.lost,
        recovered: stats.recovered,
        nacks: stats.nacked,
        key_frames: stats.key_frames,
        key_frame_requests: stats.keyframe_requests,
        jitter_ms: millis(stats.jitter),
    };
    UpView {
        mid: section.mid.as_str(),
        track: section.track.0,
        kind: section.kind.as_str(),
        layers: section.stats.layers.iter().enumerate().map(layer).collect(),
    }
}

fn down(section: &DownSection) -> DownView<'_> {
    let stats = &section.stats;
    DownView {
        mid: section.mid.as_str(),
        kind: section.kind.as_str(),
        ssrc: section.ssrc.0,
        track: stats.track.map(|track| track.0),
        layer: stats.layer,
        packets: stats.packets,
        bytes: stats.octets,
        bitrate: stats.bitrate,
        retransmitted: stats.rtx_packets,
        retransmitted_bytes: stats.rtx_octets,
        nacks: stats.nacked,
        key_frames: stats.key_frames,
        key_frame_requests: stats.keyframe_requests,
        splices: stats.splices,
        loss: f64::from(stats.fraction_lost) / 256.0,
        lost: stats.cumulative_lost,
        jitter_ms: millis(stats.jitter),
        round_trip_ms: stats.rtt.map(millis),
    }
}

/// Milliseconds, to the microsecond.
fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}
