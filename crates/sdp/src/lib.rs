//! Session descriptions: offers, answers and ICE fragments.

pub mod error;
pub mod limits;

pub use error::SdpError;
pub use limits::{MAX_BYTES, MAX_LINE_BYTES, MAX_LINES, MAX_SECTIONS};
