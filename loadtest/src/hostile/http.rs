//! A minimal HTTP/1.1 client for attackers. It chooses its source address, since the node counts requests by address,
//! and it may close a connection without reading the answer. It is not meant for anything else.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

/// How long an answer may take; then the connection is closed.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The longest body that is read.
const MAX_BODY: u64 = 4 << 20;
const MAX_HEADERS: usize = 64;

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    /// The status.
    pub(super) status: u16,
    /// The path of the `Location`, if there is one.
    pub(super) location: Option<String>,
    /// The body.
    pub(super) body: Vec<u8>,
    /// The time from the request to the end of the answer.
    pub(super) took: Duration,
}

impl Reply {
    /// The body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client with one connection, which is opened when needed.
#[derive(Debug)]
pub(super) struct Client {
    source: Ipv4Addr,
    server: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    /// A client whose connections come from `source`, any address of 127.0.0.0/8.
    pub(super) fn new(source: Ipv4Addr, server: SocketAddr) -> Client {
        Client { source, server, stream: None }
    }

    /// From now on requests come from this address, over a new connection.
    pub(super) fn move_to(&mut self, source: Ipv4Addr) {
        (self.source, self.stream) = (source, None);
    }

    /// Sends a GET.
    ///
    /// # Errors
    /// Those of the connection; `InvalidData` when the answer is not HTTP.
    pub(super) fn get(&mut self, path: &str, token: Option<&str>) -> io::Result<Reply> {
        self.request("GET", path, token, "")
    }

    /// Ends a session with DELETE.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(super) fn delete(&mut self, path: &str, token: &str) -> io::Result<Reply> {
        self.request("DELETE", path, Some(token), "")
    }

    /// Posts an offer.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(super) fn post(&mut self, path: &str, token: &str, offer: &str) -> io::Result<Reply> {
        self.request("POST", path, Some(token), offer)
    }

    /// Opens a WebSocket over a connection of its own; `None` when the answer is not 101.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(super) fn websocket(
        &self,
        path: &str,
        token: &str,
    ) -> io::Result<(Reply, Option<WebSocket>)> {
        let mut stream = BufReader::new(self.open()?);
        let text = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
            self.server
        );
        stream.get_mut().write_all(text.as_bytes())?;
        let (reply, _) = read_reply(&mut stream)?;
        let socket = (reply.status == 101).then(|| WebSocket(stream.into_inner()));
        Ok((reply, socket))
    }

    fn request(
        &mut self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &str,
    ) -> io::Result<Reply> {
        let begun = Instant::now();
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.server);
        if let Some(token) = token {
            text += &format!("authorization: Bearer {token}\r\n");
        }
        if !body.is_empty() {
            text += &format!("content-type: application/sdp\r\ncontent-length: {}\r\n", body.len());
        }
        text += "\r\n";
        text += body;
        // The server may have closed an idle connection: the request is sent once more over a new one.
        let reused = self.stream.is_some();
        let mut reply = self.exchange(&text);
        if reply.is_err() && reused {
            reply = self.exchange(&text);
        }
        reply.map(|reply| Reply { took: begun.elapsed(), ..reply })
    }

    fn exchange(&mut self, text: &str) -> io::Result<Reply> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(self.open()?),
        };
        stream.get_mut().write_all(text.as_bytes())?;
        let (reply, stays) = read_reply(&mut stream)?;
        self.stream = stays.then_some(stream);
        Ok(reply)
    }

    fn open(&self) -> io::Result<TcpStream> {
        let fd = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&fd, &SocketAddr::new(IpAddr::V4(self.source), 0))?;
        connect(&fd, &self.server)?;
        let stream = TcpStream::from(fd);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        Ok(stream)
    }
}

/// A WebSocket that only writes (RFC 6455 section 5.2). What comes stays in the kernel's buffers, or is thrown away.
#[derive(Debug)]
pub(super) struct WebSocket(TcpStream);

impl WebSocket {
    /// Sends a text, masked with zeros.
    ///
    /// # Errors
    /// Those of the connection: also when the node takes nothing for long.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        let mut frame = vec![0x81];
        match text.len() {
            len @ 0..=125 => frame.push(0x80 | len as u8),
            len @ 126..=0xffff => {
                frame.push(0x80 | 126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(0x80 | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.0.write_all(&frame)
    }

    /// Throws away what is there to read now.
    ///
    /// # Errors
    /// Those of the connection; `UnexpectedEof` when the node ended it.
    pub(super) fn discard(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        self.0.set_nonblocking(true)?;
        // As much as the buffers of the kernel may hold.
        let read = (0..1_024).find_map(|_| match self.0.read(&mut buffer) {
            Ok(0) => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(Ok(())),
            Err(error) => Some(Err(error)),
        });
        self.0.set_nonblocking(false)?;
        read.unwrap_or(Ok(()))
    }
}

/// Reads an answer. Returns it, and whether the connection can be used again.
fn read_reply(stream: &mut impl BufRead) -> io::Result<(Reply, bool)> {
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let line = read_line(stream)?;
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(bad)?;
    let (mut length, mut chunked, mut stays, mut location) = (0, false, true, None);
    for _ in 0..MAX_HEADERS {
        let line = read_line(stream)?;
        let Some((name, value)) = line.split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().map_err(|_| bad())?,
            "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => stays = !value.eq_ignore_ascii_case("close"),
            "location" => location = Some(path_of(value)),
            _ => {}
        }
    }
    let mut body = Vec::new();
    if chunked {
        read_chunks(stream, &mut body)?;
    } else {
        if length > MAX_BODY {
            return Err(bad());
        }
        stream.take(length).read_to_end(&mut body)?;
    }
    Ok((Reply { status, location, body, took: Duration::ZERO }, stays))
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if stream.take(16 << 10).read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    // Each turn reads a chunk; the last chunk is empty. A body over the bound is an error.
    while (body.len() as u64) < MAX_BODY {
        let length = u64::from_str_radix(&read_line(stream)?, 16);
        let length = length.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        stream.take(length.min(MAX_BODY)).read_to_end(body)?;
        read_line(stream)?;
        if length == 0 {
            return Ok(());
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// The path of a `Location`, which may be an absolute URL.
fn path_of(location: &str) -> String {
    match location.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]).to_owned(),
        None => location.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> io::Result<(Reply, bool)> {
        read_reply(&mut text.as_bytes())
    }

    #[test]
    fn answers_are_read_with_both_kinds_of_bodies() {
        let (reply, stays) = read(
            "HTTP/1.1 201 Created\r\nLocation: http://x:1/whip/a\r\nContent-Length: 3\r\n\r\nabc",
        )
        .unwrap();
        assert_eq!((reply.status, reply.location.as_deref()), (201, Some("/whip/a")));
        assert_eq!((reply.text().as_str(), stays), ("abc", true));
        let (reply, stays) = read(
            "HTTP/1.1 429 x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
             2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        )
        .unwrap();
        assert_eq!((reply.status, reply.text().as_str(), stays), (429, "abc", false));
    }

    #[test]
    fn bytes_that_are_no_http_answer_are_an_error() {
        for text in ["", "SSH-2.0", "HTTP/1.1 200 x\r\nContent-Length: 99999999999\r\n\r\n"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
