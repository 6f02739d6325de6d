//! What the publisher sends: the test card's files as samples, in a loop.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use webrtc::media::Sample;
use webrtc::peer_connection::RTCPeerConnection;
use webrtc::peer_connection::peer_connection_state::RTCPeerConnectionState;
use webrtc::track::track_local::track_local_static_sample::TrackLocalStaticSample;

/// Sends a sample each `every`, once the peer is connected. It counts samples: the stack cuts them into packets.
pub async fn play(
    peer: Arc<RTCPeerConnection>,
    track: Arc<TrackLocalStaticSample>,
    samples: Vec<Bytes>,
    every: Duration,
    sent: impl Fn(),
) {
    let mut ticker = tokio::time::interval(every);
    for data in samples.iter().cycle() {
        ticker.tick().await;
        if peer.connection_state() != RTCPeerConnectionState::Connected {
            continue;
        }
        let sample = Sample { data: data.clone(), duration: every, ..Default::default() };
        if track.write_sample(&sample).await.is_err() {
            return;
        }
        sent();
    }
}

/// Frames of an IVF file.
pub fn ivf(path: &Path) -> Result<Vec<Bytes>> {
    let file = Bytes::from(std::fs::read(path).with_context(|| path.display().to_string())?);
    if !file.starts_with(b"DKIF") {
        bail!("{} is no IVF file", path.display());
    }
    let mut frames = Vec::new();
    let mut at = usize::from(u16::from_le_bytes([file[6], file[7]]));
    while at + 12 <= file.len() {
        let size =
            u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]) as usize;
        frames.push(file.slice(at + 12..at + 12 + size));
        at += 12 + size;
    }
    Ok(frames)
}

/// Access units of an H.264 stream with start codes: parameter sets stand before the picture that they belong to, and pictures
/// have one slice each.
pub fn h264(path: &Path) -> Result<Vec<Bytes>> {
    let file = std::fs::read(path).with_context(|| path.display().to_string())?;
    let starts: Vec<usize> = (0..file.len().saturating_sub(3))
        .filter(|&at| file[at..].starts_with(&[0, 0, 1]))
        .collect();
    let mut units = Vec::new();
    let mut begun = Vec::new();
    for (index, &start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(file.len());
        begun.extend_from_slice(&[0]);
        begun.extend_from_slice(&file[start..end]);
        // Types 1 and 5 are slices (RFC 6184 section 1.3, H.264 table 7-1).
        if matches!(file[start + 3] & 0x1f, 1 | 5) {
            units.push(Bytes::from(std::mem::take(&mut begun)));
        }
    }
    Ok(units)
}

/// The Opus packets of an Ogg file (RFC 3533 section 6), without the two that hold its head and its tags.
pub fn ogg(path: &Path) -> Result<Vec<Bytes>> {
    let file = std::fs::read(path).with_context(|| path.display().to_string())?;
    let mut packets = Vec::new();
    let mut begun = Vec::new();
    let mut at = 0;
    while at + 27 <= file.len() {
        if !file[at..].starts_with(b"OggS") {
            bail!("{}: no page at byte {at}", path.display());
        }
        let table = at + 27;
        at = table + usize::from(file[at + 26]);
        for segment in table..at.min(file.len()) {
            let size = usize::from(file[segment]);
            begun.extend_from_slice(&file[at..at + size]);
            at += size;
            if size < 255 {
                packets.push(Bytes::from(std::mem::take(&mut begun)));
            }
        }
    }
    Ok(packets.split_off(2))
}
