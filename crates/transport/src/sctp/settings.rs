//! The settings of the protocol library.

use std::sync::Arc;

use model::data::MESSAGE_MAX;
use sctp_proto::{EndpointConfig, ServerConfig, TransportConfig};

use super::{PACKET_MAX, RECEIVE_WINDOW, STREAMS_MAX};

/// SCTP common header and the header of a DATA chunk (RFC 9260 sections 3.1 and 3.3.1).
const HEADERS: usize = 28;
/// Milliseconds. Shorter than RFC 9260 section 16 has it: the path was just used by ICE and DTLS, and a user waits. The least must be
/// longer than a delayed acknowledgement of the peer, 200 ms.
const RTO_INITIAL_MS: u64 = 500;
const RTO_MIN_MS: u64 = 400;
/// Milliseconds. After an interruption data comes again within this time; ICE consent ends the session after 30 s anyway.
const RTO_MAX_MS: u64 = 5_000;

pub(super) fn endpoint_config() -> Arc<EndpointConfig> {
    let mut config = EndpointConfig::new();
    config.max_payload_size((PACKET_MAX - HEADERS) as u32);
    Arc::new(config)
}

pub(super) fn server_config(message_max: usize) -> Arc<ServerConfig> {
    let transport = TransportConfig::default()
        .with_max_receive_buffer_size(RECEIVE_WINDOW)
        // The library ends the association at a longer message. Up to twice the allowed length only its channel is closed.
        .with_max_receive_message_size(2 * MESSAGE_MAX as u32)
        .with_max_send_message_size(message_max.max(1) as u32)
        .with_max_num_inbound_streams(STREAMS_MAX)
        .with_max_num_outbound_streams(STREAMS_MAX)
        .with_max_data_retransmits(None)
        .with_rto_initial_ms(RTO_INITIAL_MS)
        .with_rto_min_ms(RTO_MIN_MS)
        .with_rto_max_ms(RTO_MAX_MS);
    let mut config = ServerConfig::new();
    config.transport = Arc::new(transport);
    Arc::new(config)
}
