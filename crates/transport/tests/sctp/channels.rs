//! Channels that are opened, used and closed by either side.

use std::time::Duration;

use dcsctp::api::{SendOptions, StreamId};
use model::data::MESSAGE_MAX;
use model::{Delivery, DtlsRole, Payload};
use transport::sctp::{CHANNELS_MAX, ChannelId, DataEvent, OpenError, SEND_BUFFER, SendError};

use crate::harness::{BINARY, DCEP, Net, TEXT, open};

const SECOND: Duration = Duration::from_secs(1);

fn text(text: &str) -> Payload {
    Payload::Text(text.into())
}

fn binary(bytes: &[u8]) -> Payload {
    Payload::Binary(bytes.into())
}

#[test]
fn messages_of_all_kinds_go_both_ways() {
    let (mut net, channel) = Net::with_channel(1, 0, 0);
    let long: Vec<u8> = (0..MESSAGE_MAX).map(|at| (at / 7) as u8).collect();
    net.peer_sends(0, TEXT, "grüß".into());
    net.peer_sends(0, BINARY, long.clone());
    net.peer_sends(0, BINARY, vec![1, 2, 3]);
    for (ppid, byte) in [(56, 0), (57, 0)] {
        net.peer_sends(0, dcsctp::api::PpId(ppid), vec![byte]);
    }
    let ours = [text("grüß"), binary(&long), binary(&[1, 2, 3]), text(""), binary(&[])];
    for payload in &ours {
        net.node.send(net.now, channel, payload).unwrap();
    }
    net.run_for(2 * SECOND);
    assert_eq!(net.payloads(), ours);
    let theirs: Vec<_> = net.messages.iter().map(|m| (m.ppid.0, m.payload.len())).collect();
    assert_eq!(theirs, [(51, 6), (53, MESSAGE_MAX), (53, 3), (56, 1), (57, 1)]);
    assert_eq!(net.messages[1].payload, long);
    assert!(net.longest_packet <= 1_160, "{} bytes", net.longest_packet);
    assert_eq!((net.node.waiting(), net.dropped), ((0, 0), 0));
}

#[test]
fn a_thousand_messages_arrive_in_order_at_five_percent_loss() {
    for seed in 1..=20 {
        let (mut net, channel) = Net::with_channel(seed, 0, 0);
        net.loss_percent = 5;
        for at in 0..1_000_u32 {
            net.peer_sends(0, BINARY, at.to_be_bytes().to_vec());
            net.node.send(net.now, channel, &binary(&at.to_be_bytes())).unwrap();
        }
        net.run_for(60 * SECOND);
        let expected: Vec<_> = (0..1_000_u32).map(|at| binary(&at.to_be_bytes())).collect();
        assert!(net.payloads() == expected, "seed {seed}: {} arrived", net.payloads().len());
        let theirs: Vec<_> = net.messages.iter().map(|m| binary(&m.payload)).collect();
        assert!(theirs == expected, "seed {seed}: {} arrived at the peer", theirs.len());
    }
}

#[test]
fn long_messages_arrive_whole_at_five_percent_loss() {
    let (mut net, channel) = Net::with_channel(7, 0, 0);
    net.loss_percent = 5;
    let long: Vec<u8> = (0..MESSAGE_MAX).map(|at| (at / 5) as u8).collect();
    for _ in 0..4 {
        net.peer_sends(0, BINARY, long.clone());
        net.node.send(net.now, channel, &binary(&long)).unwrap();
    }
    assert_eq!(net.node.send(net.now, channel, &binary(&[1])), Err(SendError::Full));
    net.run_for(60 * SECOND);
    assert!(net.payloads() == vec![binary(&long); 4]);
    assert!(net.messages.iter().all(|m| m.payload == long) && net.messages.len() == 4);
}

#[test]
fn a_lossy_channel_loses_messages_and_does_not_stall() {
    // Unordered, no retransmission.
    let (mut net, channel) = Net::with_channel(3, 0x81, 0);
    net.loss_percent = 20;
    let lossy =
        SendOptions { unordered: true, max_retransmissions: Some(0), ..SendOptions::default() };
    for at in 0..500_u32 {
        let payload = [&at.to_be_bytes()[..], &[0; 400]].concat();
        net.node.send(net.now, channel, &binary(&payload)).unwrap();
        let message = dcsctp::api::Message::new(StreamId(0), BINARY, payload);
        net.peer.send(message, &lossy).unwrap();
        net.run_for(Duration::from_millis(20));
    }
    net.run_for(5 * SECOND);
    for (side, arrived) in [("node", net.payloads().len()), ("peer", net.messages.len())] {
        assert!((250..490).contains(&arrived), "{arrived} of 500 arrived at the {side}");
    }
    // Nothing is kept for the peer that gave up on it.
    assert_eq!(net.node.waiting(), (0, 0));
    net.loss_percent = 0;
    net.node.send(net.now, channel, &text("last")).unwrap();
    net.run_for(SECOND);
    assert_eq!(net.messages.last().unwrap().payload, b"last");
}

#[test]
fn the_node_opens_channels_with_numbers_of_its_dtls_role() {
    for (role, first) in [(DtlsRole::Passive, 1), (DtlsRole::Active, 0)] {
        let mut net = Net::with_role(1, role);
        let opened = net.node.open(net.now, "topic", "sfumato", Delivery::Reliable);
        assert_eq!(opened, Err(OpenError::NotOpen));
        net.run_for(SECOND);
        let channel = net.node.open(net.now, "topic", "sfumato", Delivery::Lossy).unwrap();
        assert_eq!(channel, ChannelId(first));
        net.node.send(net.now, channel, &text("at once")).unwrap();
        assert_eq!(
            net.node.open(net.now, "other", "", Delivery::Reliable),
            Ok(ChannelId(first + 2))
        );
        net.run_for(SECOND);
        assert_eq!(net.messages[0].ppid, DCEP);
        assert_eq!(net.messages[0].payload, open(0x81, 0, "topic", "sfumato"));
        assert_eq!(net.messages[1].payload, b"at once");
        // The peer answers and uses the channel.
        net.peer_sends(first, DCEP, vec![2]);
        net.peer_sends(first, TEXT, b"hello".to_vec());
        net.run_for(SECOND);
        assert_eq!(net.payloads(), [text("hello")]);
    }
}

#[test]
fn a_channel_is_closed_by_either_side_and_its_number_used_again() {
    let (mut net, channel) = Net::with_channel(1, 0, 0);
    for round in 0..3 {
        net.peer_sends(0, TEXT, b"last".to_vec());
        net.peer.reset_streams(&[StreamId(0)]).unwrap();
        net.run_for(3 * SECOND);
        assert_eq!(
            net.events,
            [
                DataEvent::Message { channel, payload: text("last") },
                DataEvent::ChannelClosed { channel }
            ],
            "round {round}"
        );
        assert!(net.resets.contains(&StreamId(0)), "both directions are reset");
        assert_eq!(net.node.send(net.now, channel, &text("x")), Err(SendError::NotOpen));
        net.resets.clear();
        net.peer_sends(0, DCEP, open(0, 0, "again", ""));
        net.run_for(3 * SECOND);
        assert!(matches!(net.events.pop(), Some(DataEvent::ChannelOpened { .. })));
        net.events.clear();
    }
    net.node.close(net.now, channel);
    net.run_for(3 * SECOND);
    assert!(net.resets.contains(&StreamId(0)));
    assert_eq!(net.events, []);
}

#[test]
fn what_is_not_allowed_in_a_channel_closes_the_channel_and_nothing_else() {
    let (mut net, channel) = Net::with_channel(1, 0, 0);
    net.peer_sends(2, DCEP, open(0, 0, "other", ""));
    net.run_for(SECOND);
    net.events.clear();
    // Longer than the answer allowed.
    net.peer_sends(0, BINARY, vec![0; MESSAGE_MAX + 1]);
    net.run_for(5 * SECOND);
    assert_eq!(net.events, [DataEvent::ChannelClosed { channel }]);
    net.events.clear();
    // Bytes that are no text; a number of the node's parity; a malformed OPEN; a message without a channel.
    net.peer_sends(2, TEXT, vec![0xff, 0xfe]);
    net.peer_sends(3, DCEP, open(0, 0, "odd", ""));
    net.peer_sends(4, DCEP, vec![3, 9, 9]);
    net.peer_sends(6, TEXT, b"who?".to_vec());
    net.run_for(5 * SECOND);
    assert_eq!(net.events, [DataEvent::ChannelClosed { channel: ChannelId(2) }]);
    for stream in [0, 2, 3, 4, 6] {
        assert!(net.resets.contains(&StreamId(stream)), "stream {stream} was reset");
    }
    net.events.clear();
    net.peer_sends(8, DCEP, open(0, 0, "fine", ""));
    net.run_for(SECOND);
    assert!(matches!(net.events[..], [DataEvent::ChannelOpened { channel: ChannelId(8), .. }]));
    assert!(net.node.is_open());
}

#[test]
fn a_session_has_a_bounded_number_of_channels() {
    let mut net = Net::connected(1);
    for at in 0..CHANNELS_MAX as u16 {
        net.peer_sends(2 * at, DCEP, open(0, 0, "x", ""));
    }
    net.run_for(SECOND);
    assert_eq!(net.events.len(), CHANNELS_MAX);
    net.events.clear();
    net.peer_sends(200, DCEP, open(0, 0, "one more", ""));
    net.run_for(2 * SECOND);
    assert_eq!((net.events.len(), &net.resets[..]), (0, &[StreamId(200)][..]));
    let opened = net.node.open(net.now, "mine", "", Delivery::Reliable);
    assert_eq!(opened, Err(OpenError::TooMany));
    let long = "x".repeat(200);
    assert_eq!(net.node.open(net.now, &long, "", Delivery::Reliable), Err(OpenError::TooLong));
}

#[test]
fn a_peer_that_does_not_read_fills_the_send_buffer_and_no_more() {
    let (mut net, channel) = Net::with_channel(1, 0, 0);
    net.peer_takes = false;
    net.loss_percent = 100;
    let mut sent = 0;
    while net.node.send(net.now, channel, &binary(&[7; 1_000])).is_ok() {
        sent += 1_000;
        net.flush();
    }
    assert!((SEND_BUFFER - 1_000..=SEND_BUFFER).contains(&sent), "{sent} bytes");
    let (mut net, channel) = Net::with_channel(1, 0, 0);
    net.loss_percent = 100;
    let messages = std::iter::repeat_with(|| net.node.send(net.now, channel, &text("")))
        .take_while(Result::is_ok)
        .count();
    assert_eq!(messages, transport::sctp::SEND_MESSAGES_MAX);
    net.loss_percent = 0;
    net.run_for(60 * SECOND);
    assert_eq!(net.node.waiting(), (0, 0));
    assert_eq!(net.messages.len(), messages);
}

#[test]
fn messages_that_are_not_taken_close_the_window_of_this_peer() {
    let (mut net, channel) = Net::with_channel(1, 0, 0);
    net.takes = false;
    for at in 0..1_000_u32 {
        net.peer_sends(0, BINARY, [&at.to_be_bytes()[..], &[0; 1_000]].concat());
    }
    net.run_for(20 * SECOND);
    let waits = net.peer.buffered_amount(StreamId(0));
    assert!(waits > 600_000, "{waits} bytes wait at the peer");
    // The other direction goes on.
    net.node.send(net.now, channel, &text("still here")).unwrap();
    net.run_for(SECOND);
    assert_eq!(net.messages.last().unwrap().payload, b"still here");
    net.takes = true;
    net.run_for(60 * SECOND);
    let numbers: Vec<_> = net.payloads().iter().map(|p| p.as_bytes()[..4].to_vec()).collect();
    let expected: Vec<_> = (0..1_000_u32).map(|at| at.to_be_bytes().to_vec()).collect();
    assert!(numbers == expected, "{} arrived", numbers.len());
}

#[test]
fn the_end_of_the_association_ends_its_channels_and_another_may_begin() {
    let (mut net, channel) = Net::with_channel(1, 0, 0);
    net.peer.shutdown();
    net.run_for(2 * SECOND);
    assert_eq!(net.events, [DataEvent::Closed]);
    assert_eq!(net.node.send(net.now, channel, &text("x")), Err(SendError::NotOpen));
    net.events.clear();
    net.peer.connect();
    net.run_for(SECOND);
    assert_eq!(net.events, [DataEvent::Open]);
    net.peer.close();
    net.run_for(SECOND);
    assert_eq!(net.events, [DataEvent::Open, DataEvent::Closed]);
}
