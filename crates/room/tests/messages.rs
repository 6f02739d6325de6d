//! Data messages: who may send, who receives and how, and how much.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use model::data::{MESSAGE_MAX, TOPIC_MAX};
use model::{CloseReason, Delivery, Event, ParticipantId, Payload, Permissions, SessionId};
use sfumato_room::{
    AdminCommand, Admission, DataRequest, ErrorKind, MemberCommand, Notice, RoomError, Target,
};

fn message(to: Option<&[&str]>) -> DataRequest {
    DataRequest {
        topic: "chat".into(),
        to: to.map(|names| names.iter().map(|name| who(name)).collect()),
        delivery: Delivery::Reliable,
        payload: Payload::Text("hello".into()),
    }
}

fn bytes(length: usize) -> DataRequest {
    DataRequest { payload: Payload::Binary(vec![7; length].into()), ..message(None) }
}

fn send(node: &mut Node, from: SessionId, request: DataRequest) -> Result<(), RoomError> {
    node.command(from, MemberCommand::SendData(request))
}

/// Sender, message, and receivers over channels and over events, of the only message since the last call.
type Told = (Option<ParticipantId>, Arc<DataRequest>, Vec<SessionId>, Vec<SessionId>);

fn told(node: &mut Node) -> Option<Told> {
    let mut all = node.notices().into_iter().filter_map(|notice| match notice {
        Notice::Data { from, message, channels, events } => Some((from, message, channels, events)),
        _ => None,
    });
    let first = all.next();
    assert!(all.next().is_none(), "one message");
    first
}

#[test]
fn a_message_goes_to_everybody_else_by_the_way_that_each_has() {
    let mut node = Node::new();
    let (ann, bob, cem) = (node.meet("ann"), node.meet("bob"), node.meet("cem"));
    let hidden = Permissions { hidden: true, ..Permissions::ALL };
    let admission = Admission { permissions: hidden, ..Admission::default() };
    let eve = node.join("eve", admission, &slots("a")).unwrap();
    node.publish("cam", FFMPEG).unwrap();
    node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    node.event(Event::DataOpen { session: bob });
    node.event(Event::DataOpen { session: ann });
    send(&mut node, ann, message(None)).unwrap();
    let (from, sent, channels, events) = told(&mut node).unwrap();
    assert_eq!((from, &*sent), (Some(who("ann")), &message(None)));
    assert_eq!((channels, events), (vec![bob], vec![cem, eve]));
    node.event(Event::DataClosed { session: bob });
    send(&mut node, cem, message(None)).unwrap();
    let (_, _, channels, events) = told(&mut node).unwrap();
    assert_eq!((channels, events), (vec![ann], vec![bob, eve]));
    // From the application to all.
    node.administer(AdminCommand::SendData(message(None))).unwrap();
    let (from, _, channels, events) = told(&mut node).unwrap();
    assert_eq!((from, channels, events), (None, vec![ann], vec![bob, cem, eve]));
}

/// By whatever way the message comes, the receiver is not told that the sender is in the room.
#[test]
fn the_sender_of_a_message_is_not_named_when_it_is_hidden() {
    let mut node = Node::new();
    let (ann, bob) = (node.meet("ann"), node.meet("bob"));
    let hidden = Permissions { hidden: true, ..Permissions::ALL };
    let admission = Admission { permissions: hidden, ..Admission::default() };
    let eve = node.join("eve", admission, &slots("a")).unwrap();
    node.event(Event::DataOpen { session: bob });
    send(&mut node, eve, message(None)).unwrap();
    let (from, _, channels, events) = told(&mut node).unwrap();
    assert_eq!((from, channels, events), (None, vec![bob], vec![ann]));
}

#[test]
fn names_that_are_not_there_are_skipped_unless_no_other_is() {
    let mut node = Node::new();
    let (ann, bob) = (node.meet("ann"), node.meet("bob"));
    send(&mut node, ann, message(Some(&["nobody", "bob", "bob"]))).unwrap();
    let (_, sent, _, events) = told(&mut node).unwrap();
    assert_eq!((sent.to.as_deref(), events), (Some(&[who("bob")][..]), vec![bob]));
    for to in [&["nobody"][..], &[]] {
        let refused = send(&mut node, ann, message(Some(to))).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound);
        let refused = node.administer(AdminCommand::SendData(message(Some(to)))).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound);
    }
    // A hidden member is not found by its name, except by the application.
    let hidden = Permissions { hidden: true, ..Permissions::ALL };
    let admission = Admission { permissions: hidden, ..Admission::default() };
    let eve = node.join("eve", admission, &slots("a")).unwrap();
    let refused = send(&mut node, ann, message(Some(&["eve"]))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    node.administer(AdminCommand::SendData(message(Some(&["eve"])))).unwrap();
    assert_eq!(told(&mut node).unwrap().3, [eve]);
    // Messages to a member whose connection is lost are not kept.
    node.event(Event::Closed { session: bob, reason: CloseReason::ConsentExpired });
    send(&mut node, ann, message(Some(&["bob"]))).unwrap();
    assert!(told(&mut node).is_none());
}

#[test]
fn a_message_out_of_its_bounds_is_refused() {
    let mut node = Node::new();
    let ann = node.meet("ann");
    node.meet("bob");
    let topic = |length: usize| DataRequest { topic: "x".repeat(length).into(), ..message(None) };
    let crowd: Vec<String> = (0..501).map(|n| format!("p{n}")).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    let wrong = [topic(0), topic(TOPIC_MAX + 1), bytes(MESSAGE_MAX + 1), message(Some(&crowd))];
    for request in wrong {
        let refused = send(&mut node, ann, request.clone()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
        let refused = node.administer(AdminCommand::SendData(request)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
    }
    for request in [topic(TOPIC_MAX), bytes(MESSAGE_MAX)] {
        send(&mut node, ann, request).unwrap();
        assert!(told(&mut node).is_some());
    }
}

#[test]
fn who_has_no_permission_to_send_still_receives() {
    let mut node = Node::new();
    let ann = node.meet("ann");
    let quiet = Permissions { data: false, ..Permissions::ALL };
    let admission = Admission { permissions: quiet, ..Admission::default() };
    let bob = node.join("bob", admission, &slots("a")).unwrap();
    let refused = send(&mut node, bob, message(None)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Forbidden);
    send(&mut node, ann, message(None)).unwrap();
    assert_eq!(told(&mut node).unwrap().3, [bob]);
    node.administer(AdminCommand::ChangePermissions(who("bob"), Permissions::ALL)).unwrap();
    send(&mut node, bob, message(None)).unwrap();
    assert_eq!(told(&mut node).unwrap().3, [ann]);
    let cam = node.publish("cam", FFMPEG).unwrap().session;
    assert_eq!(send(&mut node, cam, message(None)).unwrap_err().kind(), ErrorKind::Forbidden);
    let viewer = node.watch(Target::any(), CHROMIUM_WATCH).unwrap().session;
    assert_eq!(send(&mut node, viewer, message(None)).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_member_that_floods_is_refused_by_messages_and_by_bytes_and_others_are_not() {
    let mut node = Node::new();
    let (ann, bob) = (node.meet("ann"), node.meet("bob"));
    let mut passed = [0_usize; 2];
    // Ten seconds, a thousand small messages or ten of 64 KiB in each.
    for (at, (request, step)) in [(bytes(10), 1), (bytes(MESSAGE_MAX), 100)].into_iter().enumerate()
    {
        node.wait(Duration::from_secs(60));
        for _ in 0..10_000 / step {
            match send(&mut node, ann, request.clone()) {
                Ok(()) => passed[at] += 1,
                Err(refused) => assert_eq!(refused.kind(), ErrorKind::Quota),
            }
            node.wait(Duration::from_millis(step));
        }
        send(&mut node, bob, message(None)).unwrap();
    }
    assert!((1_150..=1_200).contains(&passed[0]), "{passed:?}");
    assert!((40..=48).contains(&passed[1]), "{passed:?}");
}

#[test]
fn one_member_cannot_multiply_its_line_by_the_size_of_the_room() {
    let mut node = Node::new();
    let ann = node.meet("ann");
    let others: Vec<SessionId> = (0..60).map(|at| node.meet(&format!("m{at}"))).collect();
    node.wait(Duration::from_secs(60));
    node.notices();
    let mut copies = [0; 2];
    // Twenty seconds: as many bytes as one member may send, and as many small messages.
    for (at, (request, step)) in
        [(bytes(MESSAGE_MAX), 250), (bytes(10), 10)].into_iter().enumerate()
    {
        for _ in 0..20_000 / step {
            if send(&mut node, ann, request.clone()).is_ok() {
                copies[at] += told(&mut node).unwrap().3.len();
            }
            node.wait(Duration::from_millis(step));
        }
    }
    // 48 MiB at once and 8 MiB a second, of 20 s.
    let most = (48 + 20 * 8) << 20;
    assert!(copies[0] * MESSAGE_MAX <= most, "{copies:?}");
    assert!(copies[0] * MESSAGE_MAX >= most * 3 / 4, "{copies:?}");
    assert_eq!(copies[1], 2_000 * others.len(), "small messages to 60 are within the limit");
    // Others still send, until the limit of the room.
    let asked = others.iter().map(|from| send(&mut node, *from, bytes(MESSAGE_MAX)));
    let passed = asked.filter(Result::is_ok).count();
    assert!((45..60).contains(&passed), "{passed}");
    node.wait(Duration::from_secs(1));
    send(&mut node, others[59], message(None)).unwrap();
}

#[test]
fn lost_messages_are_told_to_members() {
    let mut node = Node::new();
    let ann = node.meet("ann");
    let viewer = node.watch(Target::any(), CHROMIUM_WATCH).unwrap().session;
    node.notices();
    for session in [ann, viewer] {
        node.event(Event::DataLost { session, messages: 3 });
    }
    assert_eq!(node.notices(), [Notice::DataLost { session: ann, messages: 3 }]);
}
