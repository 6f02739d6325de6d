//! What an event looks like.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::RoomId;
use room::{ParticipantRecord, TrackRecord};
use serde::Serialize;

/// Something that happened in a room.
#[derive(Debug)]
pub(super) struct Happening {
    pub(super) room: RoomId,
    pub(super) at: SystemTime,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    RoomStarted,
    RoomEnded,
    Joined(Arc<ParticipantRecord>),
    Left { record: Arc<ParticipantRecord>, reason: &'static str, stayed: Duration },
    Published(Arc<ParticipantRecord>, TrackRecord),
    Unpublished(Arc<ParticipantRecord>, TrackRecord),
}

#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    r#type: &'static str,
    time: String,
    node: Node,
    room: Room<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<Member<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    track: Option<Track<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_seconds: Option<u64>,
}

#[derive(Serialize)]
struct Node {
    epoch: u64,
}

#[derive(Serialize)]
struct Room<'a> {
    id: &'a str,
}

#[derive(Serialize)]
struct Member<'a> {
    identity: &'a str,
    name: &'a str,
    metadata: &'a str,
    kind: &'static str,
    hidden: bool,
}

#[derive(Serialize)]
struct Track<'a> {
    id: String,
    kind: &'static str,
    source: &'static str,
    name: &'a str,
    muted: bool,
}

impl Happening {
    /// The body of the request, as JSON.
    pub(super) fn body(&self, id: &str, epoch: u64) -> String {
        let mut body = Body {
            id,
            r#type: "",
            time: rfc3339(self.at),
            node: Node { epoch },
            room: Room { id: self.room.as_str() },
            member: None,
            track: None,
            reason: None,
            duration_seconds: None,
        };
        match &self.what {
            What::RoomStarted => body.r#type = "room_started",
            What::RoomEnded => body.r#type = "room_ended",
            What::Joined(record) => {
                body.r#type = "member_joined";
                body.member = Some(member(record));
            }
            What::Left { record, reason, stayed } => {
                body.r#type = "member_left";
                body.member = Some(member(record));
                body.reason = Some(reason);
                body.duration_seconds = Some(stayed.as_secs());
            }
            What::Published(record, record_of_track) => {
                body.r#type = "track_published";
                body.member = Some(member(record));
                body.track = Some(track(record_of_track));
            }
            What::Unpublished(record, record_of_track) => {
                body.r#type = "track_unpublished";
                body.member = Some(member(record));
                body.track = Some(track(record_of_track));
            }
        }
        // Nothing in it can fail to be written.
        serde_json::to_string(&body).unwrap_or_default()
    }
}

fn member(record: &ParticipantRecord) -> Member<'_> {
    Member {
        identity: record.id.as_str(),
        name: &record.profile.name,
        metadata: &record.profile.metadata,
        kind: record.kind.as_str(),
        hidden: record.hidden,
    }
}

fn track(record: &TrackRecord) -> Track<'_> {
    Track {
        id: record.id.0.to_string(),
        kind: record.kind.as_str(),
        source: record.source.as_str(),
        name: &record.name,
        muted: record.muted,
    }
}

/// A new id: a UUID of version 7 (RFC 9562 section 5.7), which begins with the time.
pub(super) fn new_id(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut random = [0; 16];
    // Without random numbers the ids of one millisecond would be the same, and a receiver would take their events for one. The
    // system gives them, or the node would not have started.
    aws_lc_rs::rand::fill(&mut random).unwrap_or_default();
    let random = u128::from_be_bytes(random);
    let time = (since.as_millis() & ((1 << 48) - 1)) << 80;
    let uuid = time | 7 << 76 | (random >> 52 & 0xfff) << 64 | 2 << 62 | random & ((1 << 62) - 1);
    let hex = format!("{uuid:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A time in UTC with milliseconds (RFC 3339 section 5.6).
fn rfc3339(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days are counted from the 1st of March of the year 0, so that leap days come last in their year.
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let millis = since.subsec_millis();
    format!(
        "{year:04}-{month:02}-{day_of_month:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_others_read_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.250Z"),
            (951_782_400, "2000-02-29T00:00:00.250Z"),
            (951_868_799, "2000-02-29T23:59:59.250Z"),
            (1_709_251_199, "2024-02-29T23:59:59.250Z"),
            (1_735_689_599, "2024-12-31T23:59:59.250Z"),
            (4_107_542_400, "2100-03-01T00:00:00.250Z"),
        ] {
            let at = UNIX_EPOCH + Duration::from_millis(seconds * 1_000 + 250);
            assert_eq!(rfc3339(at), text);
        }
    }

    #[test]
    fn ids_are_uuids_that_rise_with_time() {
        let at = |millis| new_id(UNIX_EPOCH + Duration::from_millis(millis));
        let (one, other) = (at(1_000), at(1_000));
        assert_ne!(one, other);
        assert!(one < at(1_001));
        assert_eq!(one.len(), 36);
        assert_eq!((&one[14..15], "89ab".contains(&one[19..20])), ("7", true), "{one}");
    }
}
