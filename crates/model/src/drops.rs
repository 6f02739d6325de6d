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
    /// Already there (a retransmission that came beside the original).
    Duplicate = "duplicate",
    /// Older than the packet cache reaches back.
    TooOld = "too_old",
    /// A retransmission for a packet that we do not know.
    RtxUnmatched = "rtx_unmatched",
    /// Padding only: it ends here, and the gap is closed for subscribers.
    PaddingOnly = "padding_only",
    // Fan-out.
    /// Nobody subscribes.
    NoSubscriber = "no_subscriber",
    /// A layer that this subscriber does not get.
    LayerNotSelected = "layer_not_selected",
    /// Waiting for a key frame of the layer to start or splice at.
    AwaitingKeyFrame = "awaiting_key_frame",
    /// The subscriber's codecs hold nothing for this payload type.
    CodecMismatch = "codec_mismatch",
    /// Came after the splice that it belongs before.
    BeforeSplice = "before_splice",
    /// The subscriber is not connected yet, or its path is not known.
    NotConnected = "not_connected",
    // Bounds.
    /// The ring to another worker is full.
    RingFull = "ring_full",
    /// No packet buffer is free.
    PoolExhausted = "pool_exhausted",
    /// The packet would not fit into a datagram.
    TooLarge = "too_large",
    /// More waits for this subscriber than may.
    ExitFull = "exit_full",
    /// Waited for this subscriber for longer than it would be of use.
    ExitLate = "exit_late",
    /// The subscriber's session ended while it waited.
    SessionEnded = "session_ended",
    /// The kernel's send buffer is full.
    SendBufferFull = "send_buffer_full",
    /// A retransmission over its share of the bitrate.
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
