//! Data channels on virtual time: an `Association` of this crate, and as its peer `dcsctp`, by the authors of Chromium's stack,
//! which shares no code with the library used here.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

// The name that the rest of the workspace uses for the crate.
extern crate sfumato_transport as transport;

mod channels;
mod floods;
mod harness;
mod over_dtls;
