//! The PROXY protocol, versions 1 and 2 (the specification of HAProxy, sections 2.1 and 2.2): a proxy that only copies
//! bytes writes the client's address ahead of them. It is read only from proxies that the operator named, since any
//! client can write it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// The first bytes of version 2 (section 2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, its end included (section 2.1).
const MAX_LINE: usize = 107;
/// The longest header of version 2 that is accepted: addresses have at most 216 bytes, the rest are extensions that
/// are not read here.
const MAX_BODY: usize = 2048;

/// Reads the header, and no byte beyond it. `None`: the connection is the proxy's own, or the header names no client.
///
/// # Errors
/// `InvalidData` when the bytes are no such header.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    // The shortest header of each version is longer than the signature.
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        return read_v2(stream).await;
    }
    if !start.starts_with(b"PROXY ") {
        return Err(bad("it does not begin as one"));
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= MAX_LINE {
            return Err(bad("the line is over 107 bytes"));
        }
        // Byte by byte, since the bytes after the line belong to TLS or HTTP.
        line.push(stream.read_u8().await?);
    }
    parse_v1(&line[..line.len() - 2])
}

fn parse_v1(line: &[u8]) -> io::Result<Option<IpAddr>> {
    let text = std::str::from_utf8(line).map_err(|_| bad("the line is no text"))?;
    let mut words = text.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(None);
    }
    let source = words.next().and_then(|word| word.parse::<IpAddr>().ok());
    let destination = words.next().and_then(|word| word.parse::<IpAddr>().ok());
    let ports = [words.next(), words.next()];
    let good = ports.iter().all(|port| port.is_some_and(|port| port.parse::<u16>().is_ok()))
        && words.next().is_none();
    match (family, source, destination) {
        (Some("TCP4"), Some(IpAddr::V4(from)), Some(IpAddr::V4(_))) if good => {
            Ok(Some(from.into()))
        }
        (Some("TCP6"), Some(IpAddr::V6(from)), Some(IpAddr::V6(_))) if good => {
            Ok(Some(from.into()))
        }
        _ => Err(bad("the line is malformed")),
    }
}

async fn read_v2(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version_and_command, family, len @ ..] = head;
    let len = usize::from(u16::from_be_bytes(len));
    if version_and_command >> 4 != 2 {
        return Err(bad("the version is not 2"));
    }
    if len > MAX_BODY {
        return Err(bad("the header is over 2048 bytes"));
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await?;
    match version_and_command & 0xf {
        // LOCAL: the proxy's own connection, for example a health check.
        0 => Ok(None),
        1 => parse_v2_addresses(family, &body),
        _ => Err(bad("the command is unknown")),
    }
}

/// The body begins with the addresses: source, destination, ports (section 2.2).
fn parse_v2_addresses(family: u8, body: &[u8]) -> io::Result<Option<IpAddr>> {
    let short = || bad("the addresses are cut off");
    match family >> 4 {
        1 if body.len() >= 12 => {
            let source: [u8; 4] = body[..4].try_into().map_err(|_| short())?;
            Ok(Some(Ipv4Addr::from(source).into()))
        }
        2 if body.len() >= 36 => {
            let source: [u8; 16] = body[..16].try_into().map_err(|_| short())?;
            Ok(Some(Ipv6Addr::from(source).into()))
        }
        1 | 2 => Err(short()),
        // AF_UNSPEC and AF_UNIX: "the receiver must ignore the address information".
        _ => Ok(None),
    }
}

fn bad(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result of reading the header, and how many bytes it took.
    async fn read_all(mut bytes: &[u8]) -> (Result<Option<String>, io::ErrorKind>, usize) {
        let total = bytes.len();
        let read = read(&mut bytes).await;
        let said = read.map(|ip| ip.map(|ip| ip.to_string())).map_err(|error| error.kind());
        (said, total - bytes.len())
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).unwrap();
        [&SIGNATURE[..], &[command, family], &len.to_be_bytes(), body].concat()
    }

    #[tokio::test]
    async fn both_versions_say_the_source_and_nothing_after_them_is_read() {
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0, 80];
        let with_extension = [&v4[..], &[4, 0, 1, 0]].concat();
        let cases: [(Vec<u8>, Option<&str>); 8] = [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 80\r\n".to_vec(), Some("192.0.2.7")),
            (b"PROXY TCP6 2001:db8::7 ::1 12345 80\r\n".to_vec(), Some("2001:db8::7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (v2(0x21, 0x11, &v4), Some("192.0.2.7")),
            (v2(0x21, 0x11, &with_extension), Some("192.0.2.7")),
            (v2(0x21, 0x21, &v6), Some("2001:db8::7")),
            (v2(0x20, 0x11, &v4), None),
            (v2(0x21, 0x00, &[]), None),
        ];
        for (header, expected) in cases {
            let bytes = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            let (said, took) = read_all(&bytes).await;
            assert_eq!((said.unwrap().as_deref(), took), (expected, header.len()), "{header:?}");
        }
    }

    #[tokio::test]
    async fn bytes_that_are_no_header_are_refused_within_bounds() {
        let cases: [Vec<u8>; 10] = [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 12345\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 99999\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 ::1 12345 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 80 80\r\n".to_vec(),
            [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 1_000]].concat(),
            v2(0x31, 0x11, &[0; 12]),
            v2(0x22, 0x11, &[0; 12]),
            v2(0x21, 0x11, &[0; 11]),
            v2(0x21, 0x21, &[0; 4_000]),
        ];
        for bytes in cases {
            let (said, took) = read_all(&bytes).await;
            assert_eq!(said, Err(io::ErrorKind::InvalidData), "{bytes:?}");
            assert!(took <= MAX_BODY + 16);
        }
        assert_eq!(read_all(b"PROXY TCP4 192").await.0, Err(io::ErrorKind::UnexpectedEof));
    }
}
