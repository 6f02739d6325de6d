//! The named reasons for which a packet is not forwarded. Packets in = packets forwarded + drops by reason.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// Why a datagram or packet went no further. The label is the value of `reason` in the metrics.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[$doc])* $name,)*
        }

        impl DropReason {
            /// All reasons; the position is the discriminant.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name,)*];

            /// Label in metrics and documents.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(DropReason::$name => $label,)*
                }
            }
        }
    };
}

reasons! {
    // Datagrams.
    /// Empty, truncated, or of no known protocol (RFC 7983).
    NotClassified = "not_classified",
    /// Not a well-formed STUN message.
    StunMalformed = "stun_malformed",
    /// A ufrag that belongs to no session.
    StunUnknownUser = "stun_unknown_user",
    /// MESSAGE-INTEGRITY missing or wrong.
    StunBadIntegrity = "stun_bad_integrity",
    /// STUN of a method or class that we do not serve.
    StunUnsupported = "stun_unsupported",
    /// More addresses than one session may have.
    TooManyPaths = "too_many_paths",
    /// A check from an address at which another session is live.
    PathInUse = "path_in_use",
    /// DTLS, RTP or RTCP from an address that no authenticated check validated.
    UnknownPath = "unknown_path",
    /// DTLS records refused: half-open handshakes at their cap.
    DtlsLimit = "dtls_limit",
    /// DTLS after its session ended.
    DtlsClosed = "dtls_closed",
    // SRTP.
    /// Media before the keys.
    NoKeys = "no_keys",
    /// Authentication tag wrong.
    SrtpAuth = "srtp_auth",
    /// Already seen, or older than the replay window.
    SrtpReplay = "srtp_replay",
    /// Too short for its tag or longer than any packet of ours.
    SrtpLength = "srtp_length",
    /// A key at the end of its life (RFC 3711 section 9.2).
    KeyExhausted = "key_exhausted",
    /// Ours, and never sent: something else was sealed under its SRTP index.
    IndexUsed = "index_used",
    // RTP and RTCP.
    /// Header, padding or extension block that does not parse.
    RtpMalformed = "rtp_malformed",
    /// RTCP that does not parse.
    RtcpMalformed = "rtcp_malformed",
    /// SSRC, mid or rid outside what was negotiated.
    UnknownStream = "unknown_stream",
    /// More SSRCs than a session may have.
    TooManyStreams = "too_many_streams",
    /// Payload type outside what was negotiated.
    UnknownPayloadType = "unknown_payload_type",
    /// The packet came before (a retransmission and its original both arrived).
    Duplicate = "duplicate",
    /// Older than the packet cache reaches back.
    TooOld = "too_old",
    /// A retransmission of a packet of a stream that is not known.
    RtxUnmatched = "rtx_unmatched",
    /// Padding only: it ends here, and the gap is closed for subscribers.
    PaddingOnly = "padding_only",
    // Fan-out.
    /// No subscriber.
    NoSubscriber = "no_subscriber",
    /// Not the layer that was selected for this subscriber.
    LayerNotSelected = "layer_not_selected",
    /// Waiting for a key frame of the layer to start or splice at.
    AwaitingKeyFrame = "awaiting_key_frame",
    /// The subscriber's codecs hold nothing for this payload type.
    CodecMismatch = "codec_mismatch",
    /// Older than the last splice of this subscriber, and arrived after it.
    BeforeSplice = "before_splice",
    /// The subscriber is not connected yet, or its path is not known.
    NotConnected = "not_connected",
    // Bounds.
    /// The ring to another worker is full.
    RingFull = "ring_full",
    /// No packet buffer is free.
    PoolExhausted = "pool_exhausted",
    /// The publisher holds as many packet buffers as it may.
    SessionMemory = "session_memory",
    /// The publisher sends more bytes or packets than it may.
    MediaRate = "media_rate",
    /// More RTCP than a session may send.
    RtcpRate = "rtcp_rate",
    /// A retransmission beyond the sequence numbers that a subscriber may report missing.
    NackRate = "nack_rate",
    /// The packet would not fit into a datagram.
    TooLarge = "too_large",
    /// The exit queue of this subscriber is full.
    ExitFull = "exit_full",
    /// Waited in the exit queue of this subscriber for longer than its bound.
    ExitLate = "exit_late",
    /// The subscriber's session ended while it waited.
    SessionEnded = "session_ended",
    /// The kernel's send buffer is full.
    SendBufferFull = "send_buffer_full",
    /// A retransmission beyond the share of the bitrate that retransmissions may have.
    RtxLimit = "rtx_limit",
    /// A retransmission asked for again within one round trip.
    RtxTooSoon = "rtx_too_soon",
    /// A retransmission of a packet that is no longer kept.
    RtxExpired = "rtx_expired",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique() {
        for (i, a) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*a as usize, i);
            assert!(DropReason::ALL[i + 1..].iter().all(|b| a.as_str() != b.as_str()));
        }
    }
}
