//! What a thread of bots is told, and what it tells.

use crate::{
    bot::{BotId, BotPlan, events::Events},
    signal::Answered,
    stats::Sample,
};

/// An order to a thread.
pub(crate) enum Order {
    /// A new bot.
    Join(Box<BotPlan>),
    /// The server's answer to a bot's offer.
    Answer {
        /// Which bot.
        bot: BotId,
        /// The answer.
        result: Result<Answered, String>,
    },
    /// The events of a bot's room session are open, or could not be opened.
    Events {
        /// Which bot.
        bot: BotId,
        /// The events.
        result: Result<Box<Events>, String>,
    },
    /// The server's answer to a later offer of a bot.
    LaterAnswer {
        /// Which bot.
        bot: BotId,
        /// The answer.
        result: Result<String, String>,
    },
    /// A bot leaves; `silent`: without a goodbye.
    Leave {
        /// Which bot.
        bot: BotId,
        /// Without a goodbye, as when its machine is gone.
        silent: bool,
    },
    /// A bot changes its address.
    Move {
        /// Which bot.
        bot: BotId,
    },
    /// All bots stop sending new media.
    Mute,
    /// All bots leave, and the thread ends.
    Finish,
}

/// What a thread reports.
pub(crate) enum News {
    /// A bot is connected.
    Joined(BotId),
    /// A bot has stopped reading, as planned.
    Stalled(BotId),
    /// A bot has failed.
    Failed(BotId, String),
    /// A second has ended.
    Sample(Box<Sample>),
    /// The thread has ended; what it counted since the last sample.
    Finished,
}
