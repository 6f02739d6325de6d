//! Members of a room as clients: offers, a WebSocket, a stream of events.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Node, Reply, WATCH};

pub const JSON: &str = "application/json";

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// An offer of a member: each letter is a section, `A` sends audio, `V` video, `a` and `v` receive; mids count from 0.
pub fn offer(sections: &str) -> String {
    let mut parts = WATCH.split("m=");
    let head = parts.next().unwrap();
    let templates: Vec<String> = parts.map(|section| format!("m={section}")).collect();
    let mids: Vec<String> = (0..sections.len()).map(|at| at.to_string()).collect();
    let mut offer = head.replace("BUNDLE 0 1", &format!("BUNDLE {}", mids.join(" ")));
    for (at, kind) in sections.chars().enumerate() {
        let which = usize::from(kind.eq_ignore_ascii_case(&'v'));
        let mut section =
            templates[which].replace(&format!("a=mid:{which}"), &format!("a=mid:{at}"));
        if kind.is_ascii_uppercase() {
            section = section.replace("a=recvonly", "a=sendonly");
        }
        offer.push_str(&section);
    }
    offer
}

impl Node {
    /// Joins with a JSON body.
    pub async fn join_with(&self, room: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
        let headers = [&[("Content-Type", JSON)], headers].concat();
        let path = format!("/v1/rooms/{room}/sessions");
        self.request("POST", &path, &headers, &body.to_string()).await
    }

    /// Joins the room `r` as this identity; returns the session's URL.
    pub async fn join(&self, identity: &str, sections: &str) -> String {
        let body = json!({ "identity": identity, "sdp": offer(sections) });
        self.join_with("r", &[], &body).await.session().0
    }

    /// Sends one command as a POST.
    pub async fn command(&self, session: &str, command: &Value) -> Reply {
        let path = format!("{session}/commands");
        self.request("POST", &path, &[("Content-Type", JSON)], &command.to_string()).await
    }

    /// Opens the events of a session.
    pub async fn try_events(&self, session: &str, headers: &[(&str, &str)]) -> Result<Events, u16> {
        let url = format!("ws://{}{session}/events", self.address);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            let name: axum::http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(self.address).await.unwrap();
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(Events { socket }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Opens the events, says hello, and reads the welcome.
    pub async fn events(&self, session: &str, after: Option<u64>) -> (Events, Value) {
        let mut events = self.try_events(session, &[]).await.unwrap();
        events.send(json!({ "type": "hello", "after": after })).await;
        let welcome = events.next().await;
        assert_eq!(welcome["type"], "welcome");
        (events, welcome)
    }

    /// Opens the events at the beginning, and reads the snapshot.
    pub async fn snapshot(&self, session: &str) -> (Events, Value) {
        let (mut events, welcome) = self.events(session, None).await;
        assert_eq!(welcome["resumed"], false);
        let snapshot = events.next().await;
        assert_eq!(snapshot["type"], "snapshot");
        assert_eq!(snapshot["seq"], welcome["seq"].as_u64().unwrap() + 1);
        (events, snapshot)
    }
}

/// A WebSocket of events.
pub struct Events {
    pub socket: WebSocketStream<TcpStream>,
}

impl Events {
    pub async fn send(&mut self, message: Value) {
        self.send_raw(Message::text(message.to_string())).await;
    }

    pub async fn send_raw(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// The next message.
    pub async fn next(&mut self) -> Value {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.unwrap();
            match next.unwrap().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next message of this type; others are passed over.
    pub async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next().await;
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Sends a command and reads the reply to it; other messages are passed over.
    pub async fn ask(&mut self, mut command: Value) -> Value {
        command["id"] = json!("q");
        self.send(command).await;
        let reply = self.next_of("reply").await;
        assert_eq!(reply["id"], "q");
        reply
    }

    /// Reads to the end: the last message, and the code of the close frame.
    pub async fn end(&mut self) -> (Option<Value>, Option<u16>) {
        let mut last = None;
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next()).await.unwrap() {
                Some(Ok(Message::Text(text))) => last = serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Close(frame))) => {
                    return (last, frame.map(|frame| u16::from(frame.code)));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return (last, None),
            }
        }
    }

    /// The code of the close frame.
    pub async fn close_code(&mut self) -> Option<u16> {
        self.end().await.1
    }
}

/// One event of a stream: its number and its message; `None` for the last one, which says why the stream ends.
pub type StreamEvent = (Option<u64>, String, Value);

/// A stream of events.
pub struct EventStream {
    lines: BufReader<TcpStream>,
    pub head: String,
}

impl EventStream {
    pub async fn open(node: &Node, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        let mut request =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(lines.read_line(&mut head).await.unwrap() > 0, "{head}");
        }
        Self { lines, head }
    }

    /// The next event: number, name and data. Comments and the lengths of chunks are passed over.
    pub async fn next(&mut self) -> StreamEvent {
        let (mut id, mut name) = (None, "message".to_owned());
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line);
            assert!(tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap() > 0, "the end");
            if let Some(text) = line.strip_prefix("id: ") {
                id = text.trim().parse().ok();
            } else if let Some(text) = line.strip_prefix("event: ") {
                text.trim().clone_into(&mut name);
            } else if let Some(text) = line.strip_prefix("data: ") {
                return (id, name, serde_json::from_str(text).unwrap());
            }
        }
    }

    /// The next message of this type; others are passed over.
    pub async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let (_, _, message) = self.next().await;
            if message["type"] == kind {
                return message;
            }
        }
    }
}
