//! Parsers of data channels: SCTP packets inside DTLS, the messages that open channels, and envelopes.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use ::signaling::data;
use ::transport::sctp::{Association, DataEvent, SEND_BUFFER, SEND_MESSAGES_MAX, fuzz_dcep};
use crc::{CRC_32_ISCSI, Crc};
use model::data::MESSAGE_MAX;
use model::{DataPlan, DataReceived, Delivery, DtlsRole, Mid, ParticipantId, Payload};

/// The time at which each run starts.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);
/// The verification tag that the peer chose.
const PEER_TAG: u32 = 7;
/// The peer's first TSN; seeds begin with it.
const FIRST_TSN: u32 = 1;

/// An SCTP packet with this tag and a correct checksum.
fn packet(tag: u32, chunks: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x13, 0x88, 0x13, 0x88];
    bytes.extend_from_slice(&tag.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(chunks);
    let sum = Crc::<u32>::new(&CRC_32_ISCSI).checksum(&bytes);
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn init() -> Vec<u8> {
    let mut chunk = vec![1, 0, 0, 28];
    chunk.extend_from_slice(&PEER_TAG.to_be_bytes());
    chunk.extend_from_slice(&[0, 1, 0, 0, 1, 0, 1, 0]);
    chunk.extend_from_slice(&FIRST_TSN.to_be_bytes());
    // FORWARD TSN and RE-CONFIG are supported.
    chunk.extend_from_slice(&[0x80, 8, 0, 6, 192, 130, 0, 0]);
    chunk
}

/// The value of the parameter 7, State Cookie, of an INIT ACK.
fn cookie(mut parameters: &[u8]) -> Option<&[u8]> {
    while let Some(&[k0, k1, l0, l1]) = parameters.first_chunk::<4>() {
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        if [k0, k1] == [0, 7] {
            return parameters.get(4..len);
        }
        parameters = parameters.get(len.next_multiple_of(4)..)?;
    }
    None
}

/// An association that stands, and the tag of its packets.
fn connected() -> Option<(Association, u32)> {
    let plan = DataPlan { mid: Mid::parse("0").ok()?, sctp_port: 5_000, max_message_size: 0 };
    let mut node = Association::new(*START, &plan, DtlsRole::Passive);
    node.handle(*START, &packet(0, &init()));
    node.flush(*START);
    let answer = node.poll_transmit()?;
    let tag = u32::from_be_bytes(*answer.get(16..)?.first_chunk()?);
    let cookie = cookie(answer.get(32..)?)?;
    let mut echo = vec![10, 0];
    echo.extend_from_slice(&(cookie.len() as u16 + 4).to_be_bytes());
    echo.extend_from_slice(cookie);
    echo.resize(echo.len().next_multiple_of(4), 0);
    node.handle(*START, &packet(tag, &echo));
    Some((node, tag))
}

/// Packets of a peer whose DTLS handshake is done. The bytes are the chunks of packets, each after two bytes with their length. What
/// goes back is bounded by what came, and messages have the length that the answer allows.
pub fn sctp(bytes: &[u8]) {
    let Some((mut node, tag)) = connected() else { panic!("a correct handshake failed") };
    let mut now = *START;
    let mut rest = bytes;
    while let Some((len, tail)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*len)).min(tail.len()).min(1_400);
        let (chunks, tail) = tail.split_at(len);
        rest = tail;
        now += Duration::from_millis(10);
        node.handle(now, &packet(tag, chunks));
        node.handle_timeout(now);
        while let Some(event) = node.poll_event(now) {
            match event {
                DataEvent::Message { channel, payload } => {
                    assert!(payload.as_bytes().len() <= MESSAGE_MAX);
                    let _refused = node.send(now, channel, &payload);
                }
                DataEvent::ChannelOpened { channel, .. } if len % 2 == 0 => {
                    node.close(now, channel);
                }
                _ => {}
            }
        }
        node.flush(now);
        let mut sent = 0;
        while let Some(packet) = node.poll_transmit() {
            assert!(packet.len() <= 1_160, "a packet of {} bytes", packet.len());
            sent += packet.len();
        }
        let (bytes, messages) = node.waiting();
        assert!(sent <= 2 * SEND_BUFFER, "{sent} bytes in answer to {len}");
        assert!(bytes <= SEND_BUFFER && messages <= SEND_MESSAGES_MAX);
    }
}

/// A message that opens a data channel (RFC 8832).
pub fn dcep(bytes: &[u8]) {
    fuzz_dcep(bytes);
}

/// An envelope of a member, as text and as bytes. What is accepted is within its limits, and reaches the receivers as it was.
pub fn envelope(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for (payload, enveloped) in [
        (Payload::Binary(bytes.into()), true),
        (Payload::Text(text.as_ref().into()), true),
        (Payload::Text(text.as_ref().into()), false),
    ] {
        let topic = "topic".into();
        let received = DataReceived { topic, enveloped, delivery: Delivery::Reliable, payload };
        let Ok(request) = data::request(&received) else { continue };
        assert!(request.has_valid_topic());
        assert!(request.to.as_ref().is_none_or(|to| to.len() <= data::TO_MAX));
        assert!(
            request.payload.as_bytes().len() <= received.payload.as_bytes().len().max(bytes.len())
        );
        let Ok(from) = ParticipantId::parse("ann") else { panic!("a name") };
        let sent = data::to_send(Some(&from), &request);
        assert_eq!(sent.plain, request.payload);
        // A receiver finds the same payload in the envelope, by the same rules.
        let payload = sent.enveloped;
        let again = DataReceived { payload, enveloped: true, ..received };
        let Ok(again) = data::request(&again) else { panic!("an envelope of ours is refused") };
        assert_eq!((again.to, again.payload), (None, request.payload));
    }
}
