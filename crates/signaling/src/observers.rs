//! Who hears what happens in the rooms. All are called under a room's lock, so they only take notes.

use std::sync::Arc;

use model::RoomId;
use room::{Notice, RecordChange};

use crate::core::Observer;
use crate::events::Hub;
use crate::expiry::Expiry;
use crate::log::SessionLines;
use crate::resources::Resources;
use crate::webhooks::Webhooks;

/// Tells the notices and records of the rooms to the parts that need them.
pub(crate) struct Observers {
    pub(crate) resources: Arc<Resources>,
    pub(crate) expiry: Arc<Expiry>,
    pub(crate) lines: Arc<SessionLines>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) webhooks: Option<Arc<Webhooks>>,
}

impl Observer for Observers {
    fn notice(&self, room: &RoomId, notice: &Notice) {
        if let Notice::SessionClosed { session, .. } = notice {
            self.resources.remove(*session);
            self.expiry.remove(*session);
        }
        // The driver writes them to the log.
        if matches!(notice, Notice::SessionClosed { .. } | Notice::Incompatible { .. }) {
            self.lines.keep(notice);
        }
        self.hub.notice(room, notice);
        if let Some(webhooks) = &self.webhooks {
            webhooks.notice(room, notice);
        }
    }

    fn record(&self, room: &RoomId, change: &RecordChange) {
        self.hub.record(room, change);
        if let Some(webhooks) = &self.webhooks {
            webhooks.record(room, change);
        }
    }

    fn opened(&self, room: &RoomId) {
        if let Some(webhooks) = &self.webhooks {
            webhooks.opened(room);
        }
    }

    fn closed(&self, room: &RoomId) {
        self.hub.closed(room);
        if let Some(webhooks) = &self.webhooks {
            webhooks.closed(room);
        }
    }
}
