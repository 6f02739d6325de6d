//! Messages as SCTP carries them: bytes and a payload protocol identifier (RFC 8831 section 8).

use std::sync::Arc;

use bytes::Bytes;
use model::Payload;
use model::data::MESSAGE_MAX;
use sctp_proto::PayloadProtocolIdentifier as Ppid;

/// RFC 8831 section 6.6: an empty message is one byte that the receiver ignores, since SCTP has none without bytes.
pub(super) fn encode(payload: &Payload) -> (Bytes, Ppid) {
    const IGNORED: Bytes = Bytes::from_static(&[0]);
    match payload {
        Payload::Text(text) if text.is_empty() => (IGNORED, Ppid::StringEmpty),
        Payload::Binary(bytes) if bytes.is_empty() => (IGNORED, Ppid::BinaryEmpty),
        // The bytes are shared by all receivers of a message, and copied only into their packets.
        Payload::Text(text) => {
            (Bytes::from_owner(Arc::<[u8]>::from(Arc::clone(text))), Ppid::String)
        }
        Payload::Binary(bytes) => (Bytes::from_owner(Arc::clone(bytes)), Ppid::Binary),
    }
}

/// `None`: a message that is too long, text that is not UTF-8, or an unknown payload protocol (RFC 8831 section 8).
pub(super) fn decode(ppid: Ppid, bytes: Vec<u8>) -> Option<Payload> {
    match ppid {
        _ if bytes.len() > MESSAGE_MAX => None,
        Ppid::String => Some(Payload::Text(String::from_utf8(bytes).ok()?.into())),
        Ppid::Binary => Some(Payload::Binary(bytes.into())),
        Ppid::StringEmpty => Some(Payload::Text("".into())),
        Ppid::BinaryEmpty => Some(Payload::Binary([].into())),
        Ppid::Dcep | Ppid::Unknown => None,
    }
}
