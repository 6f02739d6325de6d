//! What a member may make the room tell the others: messages and changes are counted when they come in, and again for all the
//! copies that leave. Without the second count one member could turn a line of 2 Mbit/s into a gigabit in a room of 500.

use std::time::Instant;

use model::SessionId;

use crate::budget::Budget;
use crate::records::TrackRecord;
use crate::room::Room;
use crate::{ErrorKind, ParticipantRecord, RoomError};

/// Messages that a member may send in a second; twice as many at once.
const MESSAGES_PER_SECOND: u64 = 100;
/// Bytes of messages that a member may send in a second; twice as many at once.
const BYTES_PER_SECOND: u64 = 256 * 1_024;
/// Bytes of the copies of its messages in a second.
const COPIES_PER_SECOND: u64 = 8 << 20;
/// Bytes of copies at once: the largest message to 500 members is 32 MiB.
const COPIES_AT_ONCE: u64 = 48 << 20;
/// Bytes of the copies of all members' messages in a second. Larger than one member's share, so that one alone cannot use it up.
const ROOM_COPIES_PER_SECOND: u64 = 32 << 20;
const ROOM_COPIES_AT_ONCE: u64 = 192 << 20;
/// What a copy costs beside its bytes: it is queued, written, encrypted and sent by itself.
const COPY: u64 = 256;

/// Changes of its tracks and profile that a member may make in a second, and at once: each is told to all members.
const CHANGES_PER_SECOND: u64 = 20;
const CHANGES_AT_ONCE: u64 = 100;
/// Bytes of the records that are told by these changes, in a second and at once. A log of events keeps 256 KiB: a member that could
/// fill the logs of the others faster than they read would cut them off.
const CHANGE_BYTES_PER_SECOND: u64 = 16 * 1_024;
const CHANGE_BYTES_AT_ONCE: u64 = 128 * 1_024;
/// Bytes of a record in JSON beside its texts, and of a track in it.
const RECORD: u64 = 128;
const TRACK: u64 = 160;

/// The limits of one member.
#[derive(Debug, Clone)]
pub(crate) struct Spending {
    messages: Budget,
    bytes: Budget,
    copies: Budget,
    changes: Budget,
    change_bytes: Budget,
}

impl Default for Spending {
    fn default() -> Self {
        Self {
            messages: Budget::new(MESSAGES_PER_SECOND, 2 * MESSAGES_PER_SECOND),
            bytes: Budget::new(BYTES_PER_SECOND, 2 * BYTES_PER_SECOND),
            copies: Budget::new(COPIES_PER_SECOND, COPIES_AT_ONCE),
            changes: Budget::new(CHANGES_PER_SECOND, CHANGES_AT_ONCE),
            change_bytes: Budget::new(CHANGE_BYTES_PER_SECOND, CHANGE_BYTES_AT_ONCE),
        }
    }
}

impl Spending {
    /// Bytes of the copies of a message of this length.
    pub(crate) fn copies(length: u64, receivers: usize) -> u64 {
        (length + COPY).saturating_mul(receivers as u64)
    }

    /// Counts a message that came.
    ///
    /// # Errors
    /// `Quota`.
    pub(crate) fn message(&mut self, now: Instant, bytes: u64) -> Result<(), RoomError> {
        if !self.messages.has(now, 1) || !self.bytes.has(now, bytes) {
            return Err(quota(format!(
                "too many data messages; {MESSAGES_PER_SECOND} messages and {BYTES_PER_SECOND} bytes a second are allowed"
            )));
        }
        self.messages.take(1);
        self.bytes.take(bytes);
        Ok(())
    }

    /// Counts the copies of a message. One that alone costs more than is ever left is sent when nothing else was.
    ///
    /// # Errors
    /// `Quota`.
    pub(crate) fn sent(&mut self, now: Instant, bytes: u64) -> Result<(), RoomError> {
        let bytes = bytes.min(COPIES_AT_ONCE);
        if !self.copies.has(now, bytes) {
            return Err(quota(format!(
                "too many data messages to many receivers; {COPIES_PER_SECOND} bytes a second to all of them together are allowed"
            )));
        }
        self.copies.take(bytes);
        Ok(())
    }

    /// Counts a change after which so many bytes are told to each member.
    fn change(&mut self, now: Instant, bytes: u64) -> Result<(), RoomError> {
        let bytes = bytes.min(CHANGE_BYTES_AT_ONCE);
        if !self.changes.has(now, 1) || !self.change_bytes.has(now, bytes) {
            return Err(quota(format!(
                "too many changes; {CHANGES_PER_SECOND} a second are allowed, and {CHANGE_BYTES_PER_SECOND} bytes of what they tell to each member"
            )));
        }
        self.changes.take(1);
        self.change_bytes.take(bytes);
        Ok(())
    }
}

/// The limit of all members together: the copies that leave the room.
#[derive(Debug)]
pub(crate) struct Forwarding(Budget);

impl Default for Forwarding {
    fn default() -> Self {
        Self(Budget::new(ROOM_COPIES_PER_SECOND, ROOM_COPIES_AT_ONCE))
    }
}

impl Forwarding {
    /// Counts the copies of a message.
    ///
    /// # Errors
    /// `Quota`.
    pub(crate) fn spend(&mut self, now: Instant, bytes: u64) -> Result<(), RoomError> {
        let bytes = bytes.min(ROOM_COPIES_AT_ONCE);
        if !self.0.has(now, bytes) {
            return Err(quota(format!(
                "too many data messages in the room; {ROOM_COPIES_PER_SECOND} bytes a second of all members together are allowed"
            )));
        }
        self.0.take(bytes);
        Ok(())
    }
}

impl Room {
    /// Counts a change of the member's record, which is told to all members whole, with `new` bytes of new texts.
    ///
    /// # Errors
    /// `Quota`; `NotFound` when the session is not of a member.
    pub(crate) fn spend_change(
        &mut self,
        now: Instant,
        session: SessionId,
        new: u64,
    ) -> Result<(), RoomError> {
        let told = self.record_of(session).map_or(0, told);
        self.member_mut(session)?.spending.change(now, told + new)
    }

    /// Counts the record of a participant that enters. Whoever is in the room already spends what its session has left: otherwise new
    /// sessions would be a way around all limits.
    ///
    /// # Errors
    /// `Quota`.
    pub(crate) fn spend_entry(
        &self,
        now: Instant,
        record: &ParticipantRecord,
    ) -> Result<Spending, RoomError> {
        let successor = self.successors.get(&record.id).map(|record| record.session);
        let before = successor.or_else(|| self.publishers.session_of(&record.id));
        let member = before.and_then(|id| self.sessions.get(&id)?.member.as_ref());
        let mut spending = member.map(|member| member.spending.clone()).unwrap_or_default();
        spending.change(now, told(record))?;
        Ok(spending)
    }

    /// Counts the tracks of a later offer as a change, when the others are told of other tracks than before.
    ///
    /// # Errors
    /// `Quota`.
    pub(crate) fn spend_tracks(
        &mut self,
        now: Instant,
        session: SessionId,
        tracks: &[TrackRecord],
    ) -> Result<(), RoomError> {
        let same = |(old, new): (&TrackRecord, &TrackRecord)| {
            (old.id, old.source, old.muted, &old.name) == (new.id, new.source, new.muted, &new.name)
        };
        match self.record_of(session).map(|record| &record.tracks) {
            Some(old) if old.len() != tracks.len() || !old.iter().zip(tracks).all(same) => {
                let new = tracks.iter().map(|track| json_length(&track.name)).sum();
                self.spend_change(now, session, new)
            }
            _ => Ok(()),
        }
    }
}

/// About how many bytes a record has when it is told.
fn told(record: &ParticipantRecord) -> u64 {
    let profile = json_length(&record.profile.name) + json_length(&record.profile.metadata);
    let tracks = record.tracks.iter().map(|track| TRACK + json_length(&track.name));
    RECORD + profile + tracks.sum::<u64>()
}

/// The bytes of a text in JSON, which writes control characters with six (RFC 8259 section 7).
pub(crate) fn json_length(text: &str) -> u64 {
    let of_byte = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    text.bytes().map(of_byte).sum()
}

fn quota(text: String) -> RoomError {
    RoomError::new(ErrorKind::Quota, text)
}
