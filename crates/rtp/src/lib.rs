//! RTP and RTCP as views over bytes, header extensions, codec payload headers.
//!
//! No function here copies a packet, allocates, or panics, whatever the bytes are: a view is only made if all lengths
//! are valid, and everything that it returns is inside the bytes that it was made from. There is no state and no
//! encryption: streams, gaps and statistics are handled by the router, SRTP by the transport.
//!
//! - [`packet`]: one RTP packet (RFC 3550 section 5.1), and the header of one that is still encrypted
//! - [`extensions`]: header extensions (RFC 8285), resolved with the ids of a session
//! - [`dependency_descriptor`]: the one extension that says what the payload may hide: frames, layers, key frames
//! - [`mod@write`]: a new header for a packet that is forwarded
//! - [`sequence`]: 16-bit sequence numbers and 32-bit timestamps, extended to 64 bits
//! - [`payload`]: information in the first bytes of a payload (key frame, picture id, layer)
//! - [`rtcp`]: RTCP packets, read and written

pub mod dependency_descriptor;
pub mod extensions;
pub mod packet;
pub mod payload;
pub mod rtcp;
pub mod sequence;
pub mod write;

pub use extensions::{AudioLevel, ParsedExtensions};
pub use packet::{MAX_PACKET, RtpError, RtpHeader, RtpPacket, parse_header_unprotected};
pub use payload::PayloadInfo;
pub use sequence::ExtSeq;
pub use write::HeaderWriter;
