//! RTCP, both ways. What is done with each type stands in `docs/rtcp.md`.

mod incoming;
mod outgoing;
