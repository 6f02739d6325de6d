//! One peer's transport: demultiplexing, ICE-lite, DTLS and SRTP, sans-IO.
