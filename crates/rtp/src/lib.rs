//! RTP and RTCP as views over bytes, header extensions, codec payload headers.
