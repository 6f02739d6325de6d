//! A minimal HTTP/1.1 client: one request without a body per connection, blocking. No TLS, no redirects, no chunked
//! encoding.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer in bytes that is read.
const ANSWER_MAX: u64 = 4 << 20;

/// Sends a request, and returns the body of the answer if it has this status.
///
/// # Errors
/// No connection, no answer in time, an answer that is not HTTP, or another status.
pub(crate) fn expect(
    server: SocketAddr,
    method: &str,
    target: &str,
    status: u16,
) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    match parse(&String::from_utf8_lossy(&answer)) {
        Some((got, body)) if got == status => Ok(body),
        Some((got, body)) => Err(io::Error::other(format!(
            "{method} {target}: status {got} instead of {status}: {body}"
        ))),
        None => Err(io::Error::other(format!("{method} {target}: the answer is no HTTP"))),
    }
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    if fields.any(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding")) {
        return None;
    }
    // The server closes the connection after its answer (Connection: close), so everything after the head is the body.
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_body_are_read() {
        let answer = "HTTP/1.1 201 Created\r\ncontent-length: 5\r\n\r\nv=0\r\n";
        assert_eq!(parse(answer), Some((201, "v=0\r\n".to_owned())));
        assert_eq!(parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0"), None);
        assert_eq!(parse("SSH-2.0\r\n\r\n"), None);
        assert_eq!(parse("HTTP/1.1 200 OK"), None);
    }
}
