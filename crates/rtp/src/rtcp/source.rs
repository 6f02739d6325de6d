//! Descriptions of sources and their end: SDES, BYE, APP (RFC 3550 sections 6.5 to 6.7).

use model::Ssrc;

use super::{Raw, RtcpError, take_ssrc};

/// CNAME item of SDES (RFC 3550 section 6.5.1).
pub(crate) const ITEM_CNAME: u8 = 1;

/// SDES as a view.
#[derive(Debug, Clone, Copy)]
pub struct Sdes<'a> {
    count: u8,
    body: &'a [u8],
}

/// The description of one source.
#[derive(Debug, Clone, Copy)]
pub struct SdesChunk<'a> {
    /// The source.
    pub ssrc: Ssrc,
    items: &'a [u8],
}

impl<'a> Sdes<'a> {
    pub(crate) fn parse(raw: Raw<'a>) -> Result<Self, RtcpError> {
        let mut rest = raw.body;
        for _ in 0..raw.count {
            (_, rest) = chunk(rest)?;
        }
        Ok(Self { count: raw.count, body: raw.body })
    }

    /// The sources, 31 at most.
    pub fn chunks(&self) -> impl Iterator<Item = SdesChunk<'a>> + 'a {
        let mut rest = self.body;
        (0..self.count).map_while(move |_| {
            let (chunk, behind) = chunk(rest).ok()?;
            rest = behind;
            Some(chunk)
        })
    }
}

impl<'a> SdesChunk<'a> {
    /// The items as `(type, value)`.
    pub fn items(&self) -> impl Iterator<Item = (u8, &'a [u8])> + 'a {
        let mut rest = self.items;
        std::iter::from_fn(move || {
            let (kind, value, behind) = item(rest).ok()??;
            rest = behind;
            Some((kind, value))
        })
    }

    /// The canonical name. The RFC says UTF-8; it is not checked.
    pub fn cname(&self) -> Option<&'a [u8]> {
        self.items().find(|&(kind, _)| kind == ITEM_CNAME).map(|(_, value)| value)
    }
}

/// Splits off a chunk: an SSRC, items, a zero byte, zero bytes up to the next word.
fn chunk(data: &[u8]) -> Result<(SdesChunk<'_>, &[u8]), RtcpError> {
    let (ssrc, items) = take_ssrc(data).map_err(|_| RtcpError::Count)?;
    let mut rest = items;
    while let Some((_, _, behind)) = item(rest)? {
        rest = behind;
    }
    let used = items.len() - rest.len();
    // RFC 3550 section 6.5: the list ends with one or more null octets, the last before the next word boundary.
    let end = (used + 1).next_multiple_of(4);
    let behind = items.get(end..).ok_or(RtcpError::Length)?;
    Ok((SdesChunk { ssrc, items: items.get(..used).unwrap_or_default() }, behind))
}

/// An SDES item: its type, its value, and the bytes after it.
type Item<'a> = (u8, &'a [u8], &'a [u8]);

/// Splits off an item; `None` at the end of the list.
fn item(data: &[u8]) -> Result<Option<Item<'_>>, RtcpError> {
    match *data {
        [] | [0, ..] => Ok(None),
        [_] => Err(RtcpError::Length),
        [kind, len, ref rest @ ..] => {
            let (value, rest) = rest.split_at_checked(usize::from(len)).ok_or(RtcpError::Length)?;
            Ok(Some((kind, value, rest)))
        }
    }
}

/// BYE as a view.
#[derive(Debug, Clone, Copy)]
pub struct Bye<'a> {
    sources: &'a [u8],
    reason: &'a [u8],
}

impl<'a> Bye<'a> {
    pub(crate) fn parse(raw: Raw<'a>) -> Result<Self, RtcpError> {
        let Some((sources, rest)) = raw.body.split_at_checked(4 * usize::from(raw.count)) else {
            return Err(RtcpError::Count);
        };
        let reason = match rest.split_first() {
            None => &[],
            Some((&len, text)) => text.get(..usize::from(len)).ok_or(RtcpError::Length)?,
        };
        Ok(Self { sources, reason })
    }

    /// The sources that leave, at most 31.
    pub fn sources(&self) -> impl Iterator<Item = Ssrc> + 'a {
        self.sources.as_chunks::<4>().0.iter().map(|&word| Ssrc(u32::from_be_bytes(word)))
    }

    /// The reason, usually empty. The RFC says UTF-8; it is not checked.
    pub fn reason(&self) -> &'a [u8] {
        self.reason
    }
}

/// APP as a view.
#[derive(Debug, Clone, Copy)]
pub struct App<'a> {
    /// The sender of the packet.
    pub ssrc: Ssrc,
    /// Four characters that name the application.
    pub name: [u8; 4],
    /// The application's data.
    pub data: &'a [u8],
}

impl<'a> App<'a> {
    pub(crate) fn parse(raw: Raw<'a>) -> Result<Self, RtcpError> {
        let (ssrc, rest) = take_ssrc(raw.body)?;
        let (&name, data) = rest.split_first_chunk::<4>().ok_or(RtcpError::TooShort)?;
        Ok(Self { ssrc, name, data })
    }
}
