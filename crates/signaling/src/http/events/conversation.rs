//! One WebSocket, from the first message to the close frame.
//!
//! One task holds it. It sends what the session's log has, reads a command only when the one before was answered, and so keeps the
//! order of replies. Every wait has an end: for the first message, for a client that does not read, for one that is silent.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message as Packet, Utf8Bytes};

use super::guarded::{Guarded, TooMuch};
use crate::events::messages::{Command, Message, ReplyOutcome};
use crate::events::{Ending, Frame, Frames, Kind, Next, read_command, transfer_time};
use crate::http::problem::Problem;
use crate::limits;
use crate::resources::{Resource, ResourceKey};
use crate::server::{Stay, Taken};
use crate::state::Signaling;

/// From the handshake to the first message.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// Largest first message in bytes; the client is not known before it.
const FIRST_MAX: usize = 64 * 1024;
/// Largest message in bytes after the first one.
const MESSAGE_MAX: usize = 1024 * 1024;
const READ_BUFFER: usize = 4 * 1024;
/// Bytes that are read before the first message is complete: the message, its frames' headers, and what is read ahead.
const FIRST_BYTES: usize = FIRST_MAX + 2 * READ_BUFFER;
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// A client from which nothing came for so long is gone.
const SILENT_AFTER: Duration = Duration::from_secs(60);
/// A client that does not take a message for so long, and the time of the message on a slow line, is too slow. It may come back and
/// resume.
const SEND_WITHIN: Duration = Duration::from_secs(10);
/// Time for the client to answer the close frame, so that it reads what came before.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// Commands over the rate that are answered with 429, without one between that was within it; after that the connection ends.
const REFUSED_MAX: u32 = 100;
/// Bad messages in a row that are answered; after that the connection ends.
const BAD_MAX: u32 = 20;

/// Pings and pongs that a client may send: 10 in a second, 100 at once. Each ping is answered by a write of its own, and small
/// frames cost the client nothing.
const CONTROL_INTERVAL: Duration = Duration::from_millis(100);
const CONTROL_DEPTH: Duration = Duration::from_secs(10);

/// Why the node ends the connection: what the client is told, and under what it is counted.
struct End {
    code: u16,
    reason: &'static str,
    ending: Ending,
}

const fn end(code: u16, reason: &'static str, ending: Ending) -> End {
    End { code, reason, ending }
}

const GONE: End = end(1006, "", Ending::Client);
const ENDED: End = end(1000, "the session ended", Ending::Session);
const STOPPING: End = end(1001, "the node stops", Ending::Stop);
const PROTOCOL: End = end(1002, "not the WebSocket protocol", Ending::Rule);
const BINARY: End = end(1003, "messages are text", Ending::Rule);
const NOT_UTF8: End = end(1007, "a text is UTF-8", Ending::Rule);
const TOO_MANY: End = end(1008, "too many commands", Ending::Rule);
const TOO_MANY_PINGS: End = end(1008, "too many pings", Ending::Rule);
const TOO_BAD: End = end(1008, "too many bad messages", Ending::Rule);
const TOO_BIG: End = end(1009, "the message is too big", Ending::Rule);
const FAILED: End = end(1011, "the server failed", Ending::Refused);
const BUSY: End = end(1013, "the room is busy, try again", Ending::Refused);
const BAD_HELLO: End = end(4400, "the first message is hello", Ending::Rule);
const NO_TOKEN: End = end(4401, "the token is missing or not valid", Ending::Refused);
const NOT_FOUND: End = end(4404, "there is no such session", Ending::Refused);
const NO_HELLO: End = end(4408, "hello did not come in time", Ending::NoHello);
const SLOW: End = end(4408, "too slow, come back and resume", Ending::Slow);
const SILENT: End = end(4408, "nothing came for too long", Ending::Silent);
const REPLACED: End = end(4409, "replaced by another connection", Ending::Replaced);

/// Holds a connection from the end of the handshake to its end.
pub(super) async fn hold(
    signaling: Signaling,
    resource: Arc<Resource>,
    unknown: Option<ResourceKey>,
    stay: Stay,
    taken: Taken,
) {
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = READ_BUFFER;
    config.write_buffer_size = 0;
    config.max_message_size = Some(MESSAGE_MAX);
    config.max_frame_size = Some(MESSAGE_MAX);
    let guarded = Guarded::new(taken.transport, FIRST_BYTES);
    let read = taken.read.to_vec();
    let socket = WebSocketStream::from_partially_read(guarded, read, Role::Server, Some(config));
    let counts = signaling.hub().counts();
    counts.opened(Kind::WebSocket);
    let mut client = Client { socket: socket.await, signaling: signaling.clone(), resource };
    let end = tokio::select! {
        end = client.talk(unknown) => end,
        () = stay.stopped() => STOPPING,
    };
    counts.closed(Kind::WebSocket, end.ending);
    client.close(&end).await;
}

struct Client {
    socket: WebSocketStream<Guarded>,
    signaling: Signaling,
    resource: Arc<Resource>,
}

/// A command that is being done; gives the reply.
type Pending = Pin<Box<dyn Future<Output = Message> + Send>>;

/// A command that was begun.
struct Asked {
    reply: Pending,
    /// It ends the session.
    leaves: bool,
}

impl Client {
    async fn talk(&mut self, unknown: Option<ResourceKey>) -> End {
        let hello = timeout(HELLO_WITHIN, self.first()).await.unwrap_or(Err(NO_HELLO));
        let (token, after) = match hello {
            Ok(hello) => hello,
            Err(end) => return end,
        };
        if let Some(key) = unknown {
            if let Some(token) = &token {
                self.signaling.auth().learn(token).await;
            }
            match self.identify(&key, token.as_deref()) {
                Ok(resource) => self.resource = resource,
                Err(end) => return end,
            }
        }
        self.socket.get_mut().open();
        let Some(feed) = self.signaling.hub().feed(self.resource.session) else {
            return NOT_FOUND;
        };
        let (first, frames) = match self.signaling.follow(&feed, after).await {
            Ok(begun) => begun,
            Err(problem) => return refusal(&problem),
        };
        let replaced = frames.replaced();
        tokio::select! {
            Err(end) = self.serve(first, frames) => end,
            () = replaced => REPLACED,
        }
    }

    async fn serve(&mut self, first: Vec<Frame>, frames: Frames) -> Result<Infallible, End> {
        for frame in first {
            self.send(Packet::text(frame.text)).await?;
        }
        self.signaling.hub().counts().sent(2);
        self.go_on(frames).await
    }

    /// Reads the first message: token and number of the last message that the client has.
    async fn first(&mut self) -> Result<(Option<String>, Option<u64>), End> {
        loop {
            let text = match self.socket.next().await {
                Some(Ok(Packet::Text(text))) => text,
                Some(Ok(Packet::Ping(_) | Packet::Pong(_))) => continue,
                Some(Ok(Packet::Binary(_))) => return Err(BINARY),
                Some(Ok(_)) | None => return Err(GONE),
                Some(Err(error)) => return Err(broken(&error)),
            };
            if text.len() > FIRST_MAX {
                return Err(TOO_BIG);
            }
            return match read_command(&text).map(|message| message.command) {
                Ok(Command::Hello { token, after }) => Ok((token, after)),
                _ => Err(BAD_HELLO),
            };
        }
    }

    fn identify(&self, key: &ResourceKey, token: Option<&str>) -> Result<Arc<Resource>, End> {
        let caller = token.and_then(|token| self.signaling.auth().of_token(token).ok());
        let caller = caller.ok_or(NO_TOKEN)?;
        self.signaling.0.resources.find(key, &caller).map_err(|_| NOT_FOUND)
    }

    async fn go_on(&mut self, mut frames: Frames) -> Result<Infallible, End> {
        let (mut refused, mut bad) = (0, 0);
        let mut pending: Option<Pending> = None;
        let (mut busy, mut leaving) = (false, false);
        let mut heard = Instant::now();
        let mut controls_full_at = heard.into_std();
        let mut ping = interval(PING_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.reset();
        // What was said between the first messages and now.
        self.send_all(&mut frames).await?;
        loop {
            let answer = async {
                match &mut pending {
                    Some(command) => command.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                reply = answer => {
                    (pending, busy) = (None, false);
                    self.say(&reply).await?;
                    self.send_all(&mut frames).await?;
                }
                // The reply to `leave` comes before the session's last message.
                () = frames.changed(), if !leaving => {
                    self.send_all(&mut frames).await?;
                }
                packet = self.socket.next(), if !busy => {
                    heard = Instant::now();
                    if let Some(text) = text_of(packet)? {
                        let asked = self.hear(&text, &mut refused, &mut bad).await?;
                        leaving = asked.as_ref().is_some_and(|asked| asked.leaves);
                        pending = asked.map(|asked| asked.reply);
                        busy = pending.is_some();
                    } else {
                        let at = heard.into_std();
                        limits::spend(&mut controls_full_at, at, CONTROL_INTERVAL, CONTROL_DEPTH)
                            .map_err(|_| TOO_MANY_PINGS)?;
                    }
                }
                _ = ping.tick() => {
                    if heard.elapsed() >= SILENT_AFTER {
                        return Err(SILENT);
                    }
                    self.send(Packet::Ping(Default::default())).await?;
                }
            }
        }
    }

    /// Takes a message of the client: begins a command, or answers that there is none.
    async fn hear(
        &mut self,
        text: &str,
        refused: &mut u32,
        bad: &mut u32,
    ) -> Result<Option<Asked>, End> {
        let session = self.resource.session;
        let feed = self.signaling.hub().feed(session);
        // A session without a log ended; its last message is on the way.
        let limited = feed.map_or(Ok(()), |feed| feed.take_command(std::time::Instant::now()));
        if let Err(wait) = limited {
            *refused += 1;
            if *refused > REFUSED_MAX {
                return Err(TOO_MANY);
            }
            let id = read_command(text).ok().and_then(|message| message.id);
            self.say(&reply(id, Err(crate::http::gate::too_many(wait)))).await?;
            return Ok(None);
        }
        *refused = 0;
        let message = match read_command(text) {
            Ok(message) => message,
            Err(problem) => {
                *bad += 1;
                if *bad >= BAD_MAX {
                    return Err(TOO_BAD);
                }
                self.say(&reply(None, Err(problem))).await?;
                return Ok(None);
            }
        };
        *bad = 0;
        if message.command == Command::Ping {
            self.say(&Message::Pong).await?;
            return Ok(None);
        }
        let (signaling, resource) = (self.signaling.clone(), self.resource.clone());
        let leaves = message.command == Command::Leave;
        let reply =
            Box::pin(
                async move { reply(message.id, signaling.obey(&resource, message.command).await) },
            );
        Ok(Some(Asked { reply, leaves }))
    }

    async fn send_all(&mut self, frames: &mut Frames) -> Result<(), End> {
        loop {
            let next = match frames.take() {
                Ok(next) => next,
                Err(Next::Ended) => return Err(ENDED),
                Err(Next::Replaced) => return Err(REPLACED),
                Err(Next::Behind) => return Err(SLOW),
                Err(Next::Wait | Next::Messages(..)) => return Ok(()),
            };
            self.signaling.hub().counts().sent(next.len());
            for frame in next {
                self.send(Packet::text(frame.text)).await?;
            }
        }
    }

    async fn say(&mut self, message: &Message) -> Result<(), End> {
        let text = serde_json::to_string(message).map_err(|_| FAILED)?;
        self.send(Packet::text(text)).await
    }

    async fn send(&mut self, packet: Packet) -> Result<(), End> {
        let within = SEND_WITHIN + transfer_time(packet.len());
        match timeout(within, self.socket.send(packet)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(GONE),
            Err(_) => Err(SLOW),
        }
    }

    /// Sends the close frame, and waits for the client's (RFC 6455 section 7.1.2).
    async fn close(mut self, end: &End) {
        let closing = async {
            if end.code != GONE.code {
                let reason = Utf8Bytes::from_static(end.reason);
                let frame = CloseFrame { code: CloseCode::from(end.code), reason };
                self.socket.close(Some(frame)).await?;
                // What the client still sends is of no interest.
                self.socket.get_mut().open();
                while self.socket.next().await.is_some_and(|packet| packet.is_ok()) {}
            }
            Ok::<(), Error>(())
        };
        // Whether the client answers makes no difference: it had its time.
        let _ended = timeout(CLOSE_WITHIN, closing).await;
    }
}

/// The text of a packet; `None` for one that is not for us.
fn text_of(packet: Option<Result<Packet, Error>>) -> Result<Option<Utf8Bytes>, End> {
    match packet {
        Some(Ok(Packet::Text(text))) => Ok(Some(text)),
        Some(Ok(Packet::Binary(_))) => Err(BINARY),
        Some(Ok(_)) => Ok(None),
        Some(Err(error)) => Err(broken(&error)),
        None => Err(GONE),
    }
}

fn broken(error: &Error) -> End {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => TOO_BIG,
        Error::Utf8(_) => NOT_UTF8,
        Error::Protocol(_) => PROTOCOL,
        Error::Io(error) if error.get_ref().is_some_and(|error| error.is::<TooMuch>()) => TOO_BIG,
        _ => GONE,
    }
}

fn refusal(problem: &Problem) -> End {
    match problem.details().status {
        404 => NOT_FOUND,
        503 => BUSY,
        _ => FAILED,
    }
}

/// The reply to a command.
pub(super) fn reply(id: Option<String>, done: Result<(), Problem>) -> Message {
    let problem = done.err().map(|problem| problem.details());
    Message::Reply { id, outcome: ReplyOutcome { ok: problem.is_none(), problem } }
}
