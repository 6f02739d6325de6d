//! RTCP packets, read and written.
