//! Data messages among the members of a room: who may send, and who receives. The messages themselves leave as
//! [`Notice::Data`]; the encoding of data channels and events is signaling's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use model::data::{MESSAGE_MAX, TOPIC_MAX};
use model::{MemberKind, ParticipantId, SessionId};

use crate::room::Room;
use crate::spending::Spending;
use crate::{DataRequest, ErrorKind, Notice, ParticipantRecord, RoomError};

/// Receivers that a message may name.
const TO_MAX: usize = 500;

impl Room {
    /// A data message from a member.
    pub(crate) fn send_from(
        &mut self,
        now: Instant,
        session: SessionId,
        request: DataRequest,
    ) -> Result<(), RoomError> {
        check(&request)?;
        let member = self.member_mut(session)?;
        if !member.permissions.data {
            let text = "the member has no permission to send data messages";
            return Err(RoomError::new(ErrorKind::Forbidden, text));
        }
        let length = (request.payload.as_bytes().len() + request.topic.len()) as u64;
        member.spending.message(now, length)?;
        let from = self.session(session)?.identity.clone();
        let Some((message, receivers)) = self.route(from, request)? else { return Ok(()) };
        let sent = Spending::copies(length, receivers);
        // The room is asked last: who is over its own limit takes nothing from the others.
        self.member_mut(session)?.spending.sent(now, sent)?;
        self.forwarding.spend(now, sent)?;
        self.notices.push_back(message);
        Ok(())
    }

    /// A data message from the application.
    pub(crate) fn send_from_application(&mut self, request: DataRequest) -> Result<(), RoomError> {
        check(&request)?;
        let routed = self.route(None, request)?;
        self.notices.extend(routed.map(|(message, _)| message));
        Ok(())
    }

    /// Finds the receivers. Names that nobody in the room has are left out, as long as one name is known: members leave
    /// while messages to them are under way. A member whose connection is lost gets nothing, since messages are not
    /// kept. Returns the notice and the number of receivers; `None` when nobody gets it.
    fn route(
        &self,
        from: Option<ParticipantId>,
        mut request: DataRequest,
    ) -> Result<Option<(Notice, usize)>, RoomError> {
        let names: Option<BTreeSet<ParticipantId>> =
            request.to.as_ref().map(|names| names.iter().cloned().collect());
        let is_meant = |record: &&Arc<ParticipantRecord>| match &names {
            // A member that names a hidden one is answered as if nobody had that name: it could find hidden members otherwise.
            Some(names) => {
                let sees = from.as_ref().is_none_or(|from| record.is_seen_by(from));
                sees && names.contains(&record.id)
            }
            None => Some(&record.id) != from.as_ref(),
        };
        let records = self.publishers.iter().map(|publisher| &publisher.record);
        let records: Vec<Arc<ParticipantRecord>> = records.filter(is_meant).cloned().collect();
        if let Some(to) = &mut request.to {
            if records.is_empty() {
                let text = format!("room {}: none of the receivers is in it", self.id());
                return Err(RoomError::new(ErrorKind::NotFound, text));
            }
            *to = records.iter().map(|record| record.id.clone()).collect();
        }
        let (mut channels, mut events) = (Vec::new(), Vec::new());
        for record in records {
            let session = self.sessions.get(&record.session);
            match session.and_then(|session| session.member.as_ref()) {
                Some(member) if member.has_channels => channels.push(record.session),
                // A WHIP publisher has neither data channels nor events.
                Some(_) if record.kind == MemberKind::Session => events.push(record.session),
                _ => {}
            }
        }
        let receivers = channels.len() + events.len();
        if receivers == 0 {
            return Ok(None);
        }
        // A hidden sender is named to nobody.
        let from = from.filter(|id| self.publishers.of(id).is_some_and(|record| !record.hidden));
        let message = Arc::new(request);
        Ok(Some((Notice::Data { from, message, channels, events }, receivers)))
    }
}

fn check(request: &DataRequest) -> Result<(), RoomError> {
    let wrong = |text: String| Err(RoomError::new(ErrorKind::Unsupported, text));
    if !request.has_valid_topic() {
        let is = request.topic.len();
        return wrong(format!("the topic has {is} bytes; 1 to {TOPIC_MAX} are allowed"));
    }
    let bytes = request.payload.as_bytes().len();
    if bytes > MESSAGE_MAX {
        return wrong(format!("the message has {bytes} bytes; at most {MESSAGE_MAX} are allowed"));
    }
    let names = request.to.as_ref().map_or(0, Vec::len);
    if names > TO_MAX {
        return wrong(format!("the message names {names} receivers; at most {TO_MAX} are allowed"));
    }
    Ok(())
}
