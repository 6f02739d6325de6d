//! Data channels between members of a room, by another WebRTC stack, over real sockets, DTLS, workers and rooms.

use std::time::Duration;

use model::{Delivery, Event, Payload, data::MESSAGE_MAX};
use room::DataRequest;
use sfumato_interop::{DataMember, Node, channel, drive_data};

const LIMIT: Duration = Duration::from_secs(30);

fn open(node: &Node, members: &mut [&mut DataMember]) {
    let open = drive_data(node, members, LIMIT, |all| all.iter().all(|member| member.is_open()));
    assert!(open, "{:?}", node.events());
}

fn envelope(header: &str, payload: &[u8]) -> Vec<u8> {
    [&(header.len() as u16).to_be_bytes()[..], header.as_bytes(), payload].concat()
}

fn from_application(topic: &str, payload: Payload) -> DataRequest {
    DataRequest { topic: topic.into(), to: None, delivery: Delivery::Reliable, payload }
}

#[test]
fn members_send_to_everybody_to_some_and_in_channels_of_their_own_protocol() {
    let node = Node::start(2);
    let chat = || channel("chat", "sfumato", false);
    let mut ann = DataMember::join(&node, "room", "ann", chat());
    let mut ben = DataMember::join(&node, "room", "ben", chat());
    // It has no channel with envelopes for the topic, so it gets the bytes as they are.
    let mut cat = DataMember::join(&node, "room", "cat", channel("chat", "", false));
    // It has no channel for the topic: the node opens one.
    let mut dan = DataMember::join(&node, "room", "dan", channel("other", "sfumato", false));
    let all = &mut [&mut ann, &mut ben, &mut cat, &mut dan];
    open(&node, all);
    all[0].send(false, br#"{"text":"to all"}"#);
    all[0].send(false, br#"{"to":["ben","nobody"],"text":"to ben"}"#);
    all[0].send(true, &envelope(r#"{"to":["dan"]}"#, &[1, 2, 3]));
    all[2].send(false, b"plain");
    let done = drive_data(&node, all, LIMIT, |all| {
        all.iter().map(|member| member.got.len()).sum::<usize>() >= 8
    });
    let got: Vec<Vec<String>> =
        all.iter().map(|member| member.got.iter().map(|got| got.text()).collect()).collect();
    assert!(done, "{got:?} {:?}", node.metrics());
    let mut bens = got[1].clone();
    bens.sort();
    assert_eq!(got[0], [r#"{"from":"cat","text":"plain"}"#]);
    let to_all = r#"{"from":"ann","text":"to all"}"#;
    let to_ben = r#"{"from":"ann","text":"to ben"}"#;
    assert_eq!(bens, [to_all, to_ben, r#"{"from":"cat","text":"plain"}"#]);
    assert_eq!(got[2], ["to all"]);
    assert_eq!(got[3].len(), 3);
    assert!(all[3].got.iter().all(|got| got.topic == "chat"));
    let bytes = all[3].got.iter().find(|got| got.binary).unwrap();
    assert_eq!(bytes.bytes, envelope(r#"{"from":"ann"}"#, &[1, 2, 3]));
    assert_eq!(node.data_refused(), 0);
}

#[test]
fn the_longest_message_arrives_whole_at_five_percent_loss() {
    let node = Node::start(2);
    let mut ann = DataMember::join(&node, "room", "ann", channel("file", "", false));
    let mut ben = DataMember::join(&node, "room", "ben", channel("file", "", false));
    open(&node, &mut [&mut ann, &mut ben]);
    for member in [&mut ann, &mut ben] {
        (member.peer.network.loss_in, member.peer.network.loss_out) = (5, 5);
    }
    let long: Vec<u8> = (0..MESSAGE_MAX).map(|at| (at / 3) as u8).collect();
    assert!(ann.send(true, &long));
    let came = drive_data(&node, &mut [&mut ann, &mut ben], LIMIT, |all| all[1].got.len() == 1);
    assert!(came && ben.got[0].bytes == long, "{:?}", node.metrics());
}

/// Faster than the rate: the node does not read on, and nothing is lost.
#[test]
fn messages_above_the_rate_wait_at_the_sender_and_arrive_in_order() {
    let node = Node::start(1);
    let mut ann = DataMember::join(&node, "room", "ann", channel("log", "", false));
    let mut ben = DataMember::join(&node, "room", "ben", channel("log", "", false));
    open(&node, &mut [&mut ann, &mut ben]);
    let mut sent = 0_u32;
    let done = drive_data(&node, &mut [&mut ann, &mut ben], LIMIT, |all| {
        while sent < 350 && all[0].send(true, &sent.to_be_bytes()) {
            sent += 1;
        }
        all[1].got.len() >= 350
    });
    assert!(done, "{} of {sent}, {:?}", ben.got.len(), node.metrics());
    let numbers: Vec<Vec<u8>> = ben.got.iter().map(|got| got.bytes.clone()).collect();
    let expected: Vec<Vec<u8>> = (0..350_u32).map(|at| at.to_be_bytes().to_vec()).collect();
    assert_eq!(numbers, expected);
    assert_eq!(node.data_refused(), 0);
}

#[test]
fn a_member_that_reads_nothing_loses_messages_and_the_others_do_not_wait_for_it() {
    let node = Node::start(1);
    let mut ann = DataMember::join(&node, "room", "ann", channel("news", "", false));
    let mut ben = DataMember::join(&node, "room", "ben", channel("news", "", false));
    open(&node, &mut [&mut ann, &mut ben]);
    ann.peer.dead = true;
    let silent = ann.session;
    let mut told = 0;
    // In steps, so that the one who reads is never the one whose queue is full.
    let done = drive_data(&node, &mut [&mut ann, &mut ben], LIMIT, |all| {
        if told < 300 && told <= all[1].got.len() + 20 {
            let payload = Payload::Binary(vec![told as u8; 8_000].into());
            node.tell("room", from_application("news", payload)).unwrap();
            told += 1;
        }
        all[1].got.len() >= 300
    });
    assert!(done, "{} came: {:?}", ben.got.len(), node.metrics());
    let lost = |node: &Node| -> u64 {
        let lost = |event: &Event| match event {
            Event::DataLost { session, messages } if *session == silent => *messages,
            Event::DataLost { .. } => panic!("the one who reads lost messages"),
            _ => 0,
        };
        node.events().iter().map(lost).sum()
    };
    // They are reported once a second.
    drive_data(&node, &mut [&mut ann, &mut ben], LIMIT, |_| lost(&node) >= 100);
    let lost = lost(&node);
    // It holds a send buffer and a queue, and not more.
    assert!((100..300).contains(&lost), "{lost} were reported as lost");
}

#[test]
fn messages_of_a_wrong_form_are_counted_and_end_nothing() {
    let node = Node::start(1);
    let mut ann = DataMember::join(&node, "room", "ann", channel("chat", "sfumato", false));
    let mut ben = DataMember::join(&node, "room", "ben", channel("chat", "sfumato", false));
    open(&node, &mut [&mut ann, &mut ben]);
    for wrong in [&b"no envelope"[..], b"{}", br#"{"to":["nobody"],"text":"x"}"#] {
        ann.send(false, wrong);
    }
    ann.send(true, &[0, 9, b'{']);
    ann.send(false, br#"{"text":"right"}"#);
    let came = drive_data(&node, &mut [&mut ann, &mut ben], LIMIT, |all| !all[1].got.is_empty());
    assert!(came, "{:?}", node.metrics());
    assert_eq!(ben.got[0].text(), r#"{"from":"ann","text":"right"}"#);
    assert_eq!(node.data_refused(), 4);
}
