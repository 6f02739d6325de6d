//! The events of a room session: a WebSocket that is opened by the HTTP threads and read by the bot's thread when its
//! socket has something. It does not block there.

use std::{
    io,
    net::TcpStream,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use tungstenite::{
    HandshakeError, Message, WebSocket,
    client::IntoClientRequest,
    http::{HeaderValue, header::AUTHORIZATION},
    protocol::WebSocketConfig,
};
use url::Url;

/// Longest message: the snapshot of a room of some thousand members.
const MAX_MESSAGE: usize = 8 << 20;
/// Messages that are read at a time. A server that sends more within one turn floods.
const MAX_AT_ONCE: usize = 4_096;

/// An open WebSocket.
#[derive(Debug)]
pub(crate) struct Events(WebSocket<TcpStream>);

impl Events {
    /// Opens the events of a session and says hello. Blocks until `deadline` at most.
    ///
    /// # Errors
    /// In a few words that are the same for the same fault.
    pub(crate) fn open(
        session: &Url,
        token: Option<&str>,
        deadline: Instant,
    ) -> Result<Events, String> {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = left.max(Duration::from_millis(1));
        let failed = |error: io::Error| format!("events: {}", error.kind());
        let addresses = session.socket_addrs(|| None).map_err(failed)?;
        let address = addresses.first().ok_or("events: the host has no address")?;
        let stream = TcpStream::connect_timeout(address, left).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        // The handshake is one exchange; each read of it waits for so long at most.
        stream.set_read_timeout(Some(left)).map_err(failed)?;
        stream.set_write_timeout(Some(left)).map_err(failed)?;
        let url = format!("{session}/events").replacen("http", "ws", 1);
        let mut request = url.into_client_request().map_err(|_| "events: the URL is not usable")?;
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            let value = value.map_err(|_| "events: the token fits in no header")?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let opened = tungstenite::client::client_with_config(request, stream, Some(config));
        let (mut socket, _) = opened.map_err(|error| match error {
            HandshakeError::Interrupted(_) => "events: no answer in time".to_owned(),
            HandshakeError::Failure(error) => failure(&error),
        })?;
        let hello = Message::text(r#"{"type":"hello"}"#);
        socket.send(hello).map_err(|error| failure(&error))?;
        socket.get_ref().set_nonblocking(true).map_err(failed)?;
        Ok(Events(socket))
    }

    /// Reads what has come, and gives each text to `take`.
    ///
    /// # Errors
    /// The connection is over, or the server floods.
    pub(crate) fn read(&mut self, mut take: impl FnMut(&str)) -> Result<(), String> {
        for _ in 0..MAX_AT_ONCE {
            match self.0.read() {
                Ok(Message::Text(text)) => take(&text),
                Ok(Message::Close(_)) => return Err("events: closed by the server".to_owned()),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    // A pong that a ping of the server asked for.
                    return flushed(self.0.flush());
                }
                Err(error) => return Err(failure(&error)),
            }
        }
        Err("events: more messages than can be read".to_owned())
    }

    /// Sends a text. What the socket does not take at once leaves with the next call of this or of [`Events::read`].
    ///
    /// # Errors
    /// The connection is over.
    pub(crate) fn send(&mut self, text: String) -> Result<(), String> {
        flushed(self.0.send(Message::text(text)))
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

fn flushed(result: Result<(), tungstenite::Error>) -> Result<(), String> {
    match result {
        Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => other.map_err(|error| failure(&error)),
    }
}

/// The same text for the same fault.
fn failure(error: &tungstenite::Error) -> String {
    match error {
        tungstenite::Error::Http(response) => format!("events: http {}", response.status()),
        tungstenite::Error::Io(error) => format!("events: {}", error.kind()),
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            "events: closed by the server".to_owned()
        }
        tungstenite::Error::Capacity(_) => "events: a message is too long".to_owned(),
        _ => "events: what came is no WebSocket".to_owned(),
    }
}
