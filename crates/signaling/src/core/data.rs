//! Data messages between the workers and the rooms.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use model::{Command, DataReceived, SessionId};
use room::{MemberCommand, Notice};

use super::Core;
use crate::data;

impl Core {
    /// Data messages of data channels that were refused so far, by their form or by the room.
    pub fn data_refused(&self) -> u64 {
        self.data_refused.load(Relaxed)
    }

    /// A message came in a data channel. There is no way to answer it there, so a refusal is counted only.
    pub(super) fn take_data(&self, now: Instant, session: SessionId, message: &DataReceived) {
        let taken = data::request(message).map_err(|refused| refused.to_string());
        let taken = taken.and_then(|request| {
            let command = MemberCommand::SendData(request);
            self.command(now, session, command).map_err(|error| error.to_string())
        });
        if let Err(reason) = taken {
            self.data_refused.fetch_add(1, Relaxed);
            tracing::debug!(session = session.0, reason, "data message refused");
        }
    }

    /// A message for members: those with data channels get it there.
    pub(super) fn send_data(&self, notice: &Notice) {
        let Notice::Data { from, message, channels, .. } = notice else { return };
        if channels.is_empty() {
            return;
        }
        let message = Arc::new(data::to_send(from.as_ref(), message));
        for &session in channels {
            self.sink.send(Command::SendData { session, message: Arc::clone(&message) });
        }
    }
}
