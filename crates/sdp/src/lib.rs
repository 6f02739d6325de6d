//! Session descriptions: offers, answers and ICE fragments.
//!
//! Floor 1, sans-IO: text in, plain values out, and back. Nothing here knows rooms or sessions; which sections are
//! accepted, and for what, is the caller's decision.
//!
//! - `form`: corrects mistakes of clients in the form of the text
//! - [`limits`]: limits that are checked before a text is parsed
//! - [`offer`]: a description of a peer, as a typed view ([`Offer`], [`Section`])
//! - [`section`]: one media section of it; `streams`: what it sends
//! - [`transport`]: the lines about ICE and DTLS
//! - [`attributes`]: the values of single attribute lines
//! - [`codecs`]: which offered codecs are agreed
//! - [`matching`]: which of a publisher's codecs fit a viewer
//! - [`h264`]: the meaning of a `profile-level-id` (RFC 6184 section 8.1)
//! - [`fmtp`]: format parameters
//! - [`parameter_sets`]: parameter sets in a description (`sprop-parameter-sets`)
//! - [`candidate`]: ICE candidates, the peer's and ours
//! - [`answer`]: the answer as values, and as text
//! - [`fragment`]: trickle and restart, `application/trickle-ice-sdpfrag` (RFC 8840)
//! - [`error`]: why a text was refused
//!
//! Unknown attributes are ignored (RFC 8866 section 5.13). No input leads to a panic.

pub mod answer;
pub mod attributes;
pub mod candidate;
pub mod codecs;
pub mod error;
pub mod fmtp;
mod form;
pub mod fragment;
pub mod h264;
pub mod limits;
pub mod matching;
pub mod offer;
pub mod parameter_sets;
pub mod section;
mod streams;
pub mod transport;

pub use answer::{
    AcceptedSection, Answer, AnswerSection, DataSection, LocalTransport, RidAnswer, Sending,
};
pub use codecs::{Flow, choose};
pub use error::{Fault, SdpError};
pub use fragment::Fragment;
pub use limits::{MAX_BYTES, MAX_LINE_BYTES, MAX_LINES, MAX_SECTIONS};
pub use matching::map_payload_types;
pub use offer::{Offer, PeerTransport};
pub use section::{Direction, MidText, Payload, Section, SectionKind};
