//! RTCP in both directions. `docs/rtcp.md` lists what is done with each type.

mod incoming;
mod outgoing;
