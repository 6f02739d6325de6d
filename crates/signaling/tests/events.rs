//! The events of room sessions: what members are told, and how a connection goes on after it was cut.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::members::{EventStream, offer};
use common::{Node, bearer, with_keys};
use model::{Event, SessionId};
use serde_json::{Value, json};
use sfumato_signaling::{Config, Limits, Rate};

/// The session that the welcome names.
fn number(welcome: &Value) -> SessionId {
    SessionId(welcome["session"].as_str().unwrap().parse().unwrap())
}

fn identities(members: &Value) -> Vec<&str> {
    members.as_array().unwrap().iter().map(|member| member["identity"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn members_see_each_other_come_change_and_leave() {
    let node = Node::start().await;
    let ann = node.join("ann", "AVav").await;
    let (mut events, snapshot) = node.snapshot(&ann).await;
    assert_eq!((&snapshot["me"], identities(&snapshot["members"])), (&json!("ann"), vec!["ann"]));
    assert_eq!(snapshot["room"]["id"], "r");
    assert_eq!(snapshot["room"]["settings"]["newer_wins"], true);
    assert_eq!(snapshot["permissions"]["publish"][0], "camera");
    assert_eq!(snapshot["slots"].as_array().unwrap().len(), 2);
    assert_eq!(snapshot["slots"][0]["state"], "empty");

    let bob = node.join("bob", "Av").await;
    let came = events.next_of("member").await;
    assert_eq!(
        (&came["member"]["identity"], &came["member"]["presence"]),
        (&json!("bob"), &json!("connecting"))
    );
    // The slot that shows the newcomer is told after the newcomer itself, so it can be named.
    let shown = events.next_of("slots").await;
    assert_eq!(shown["slots"][0]["member"], "bob");
    let (mut of_bob, snapshot) = node.snapshot(&bob).await;
    assert_eq!(identities(&snapshot["members"]), ["ann", "bob"]);

    let reply = of_bob.ask(json!({ "type": "update_me", "name": "Robert" })).await;
    assert_eq!(reply["ok"], true);
    loop {
        let member = events.next_of("member").await;
        if member["member"]["name"] == "Robert" {
            break;
        }
    }
    let track = snapshot["members"][1]["tracks"][0]["id"].clone();
    let mute = json!({ "type": "update_track", "track": track, "muted": true });
    assert_eq!(of_bob.ask(mute).await["ok"], true);
    while events.next_of("member").await["member"]["tracks"][0]["muted"] != true {}

    let leave = of_bob.ask(json!({ "type": "leave" })).await;
    assert_eq!(leave["ok"], true);
    let (last, code) = of_bob.end().await;
    let last = last.unwrap();
    assert_eq!(
        (&last["type"], &last["reason"], code),
        (&json!("closed"), &json!("deleted"), Some(1000))
    );
    let left = events.next_of("member_left").await;
    assert_eq!((&left["identity"], &left["reason"]), (&json!("bob"), &json!("deleted")));
}

#[tokio::test]
async fn a_slot_names_a_member_that_just_came_and_the_member_is_told_before() {
    let node = Node::start().await;
    let ann = node.join("ann", "AVav").await;
    let (mut events, _) = node.snapshot(&ann).await;
    let _bob = node.join("bob", "AV").await;
    let (mut known, mut named) = (false, 0);
    while named < 2 {
        let message = events.next().await;
        known |= message["type"] == "member" && message["member"]["identity"] == "bob";
        let Some(slots) = message["slots"].as_array() else { continue };
        assert!(known, "the slots come before the member: {message}");
        for slot in slots {
            assert_eq!((&slot["member"], &slot["state"]), (&json!("bob"), &json!("flowing")));
            named += 1;
        }
    }
}

#[tokio::test]
async fn a_change_of_a_record_that_shows_nothing_new_is_not_told() {
    let node = Node::start().await;
    let ann = node.join("ann", "Aa").await;
    let (mut events, _) = node.snapshot(&ann).await;
    let bob = node.join("bob", "A").await;
    let (_, welcome) = node.events(&bob, None).await;
    let core = node.signaling.core();
    let (bob, start) = (number(&welcome), std::time::Instant::now());
    core.handle_event(start, Event::Connected { session: bob });
    // The time ends for which the tracks count as live before their first packet; members are not told of that.
    core.handle_timeout(start + std::time::Duration::from_secs(4));
    core.handle_event(start, Event::Lost { session: bob });
    let mut presences = Vec::new();
    while presences.last() != Some(&json!("lost")) {
        presences.push(events.next_of("member").await["member"]["presence"].clone());
    }
    assert_eq!(presences, [json!("connecting"), json!("connected"), json!("lost")]);
}

#[tokio::test]
async fn a_track_whose_source_is_forbidden_is_no_track_of_its_member() {
    let node = Node::start().await;
    let (ann, bob) = (node.join("ann", "Aa").await, node.join("bob", "AV").await);
    let (mut events, snapshot) = node.snapshot(&ann).await;
    let sources = |member: &Value| {
        let tracks = member["tracks"].as_array().unwrap().iter();
        tracks.map(|track| track["source"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(sources(&snapshot["members"][1]), ["microphone", "camera"]);
    let (_, welcome) = node.events(&bob, None).await;
    let publish = model::Sources::NONE.with(model::TrackSource::Microphone);
    let fewer = model::Permissions { publish, ..model::Permissions::ALL };
    let now = std::time::Instant::now();
    node.signaling.core().change_permissions_of(now, number(&welcome), fewer).unwrap();
    assert_eq!(sources(&events.next_of("member").await["member"]), ["microphone"]);
}

#[tokio::test]
async fn messages_are_numbered_without_a_gap_and_data_reaches_who_it_is_for() {
    let node = Node::start().await;
    let (ann, bob) = (node.join("ann", "Aa").await, node.join("bob", "Aa").await);
    let (mut of_ann, _) = node.snapshot(&ann).await;
    let (mut of_bob, snapshot) = node.snapshot(&bob).await;
    let mut last = snapshot["seq"].as_u64().unwrap();
    for text in ["one", "two"] {
        let data = json!({ "type": "send_data", "topic": "chat", "text": text });
        assert_eq!(of_ann.ask(data).await["ok"], true);
    }
    let bytes = json!({ "type": "send_data", "topic": "b", "to": ["bob"], "base64": "AAEC", "delivery": "lossy" });
    assert_eq!(of_ann.ask(bytes).await["ok"], true);
    let mut heard = Vec::new();
    while heard.len() < 3 {
        let message = of_bob.next().await;
        last += 1;
        assert_eq!(message["seq"], last);
        if message["type"] == "data" {
            heard.push(message);
        }
    }
    assert_eq!(
        (&heard[0]["from"], &heard[0]["topic"], &heard[0]["text"]),
        (&json!("ann"), &json!("chat"), &json!("one"))
    );
    assert_eq!(heard[1]["text"], "two");
    assert_eq!((&heard[2]["base64"], &heard[2]["delivery"]), (&json!("AAEC"), &json!("lossy")));
    assert!(heard[2].get("text").is_none());

    let refused = [
        json!({ "type": "send_data", "topic": "", "text": "x" }),
        json!({ "type": "send_data", "topic": "t" }),
        json!({ "type": "send_data", "topic": "t", "text": "x", "base64": "AA==" }),
        json!({ "type": "send_data", "topic": "t", "base64": "?" }),
        json!({ "type": "send_data", "topic": "t", "text": "x".repeat(65_537) }),
        json!({ "type": "update_track", "track": "+1", "muted": true }),
        json!({ "type": "subscribe", "policy": "manual", "slots": [{ "mid": "1", "track": "1", "width": 5 }] }),
    ];
    for command in refused {
        let reply = of_ann.ask(command.clone()).await;
        assert_eq!(
            (&reply["ok"], &reply["problem"]["type"]),
            (&json!(false), &json!("urn:sfumato:problem:bad-field")),
            "{command}"
        );
    }
    let reply = of_ann.ask(json!({ "type": "hello" })).await;
    assert_eq!(reply["problem"]["type"], "urn:sfumato:problem:bad-command");
    let nobody = json!({ "type": "send_data", "topic": "t", "to": ["carl"], "text": "x" });
    assert_eq!(of_ann.ask(nobody).await["problem"]["status"], 404);
}

#[tokio::test]
async fn a_connection_that_was_cut_goes_on_with_what_it_missed() {
    let node = Node::start().await;
    let ann = node.join("ann", "Aa").await;
    let (events, snapshot) = node.snapshot(&ann).await;
    let number = snapshot["seq"].as_u64().unwrap();
    // The network fails: no close frame.
    drop(events);
    node.join("bob", "Aa").await;
    let (mut events, welcome) = node.events(&ann, Some(number)).await;
    assert_eq!((&welcome["resumed"], &welcome["seq"]), (&json!(true), &json!(number)));
    let mut missed = events.next().await;
    assert_eq!(missed["seq"], number + 1);
    if missed["type"] != "member" {
        missed = events.next_of("member").await;
    }
    assert_eq!(missed["member"]["identity"], "bob");
    drop(events);

    // A number that the log does not reach, or that was never given.
    for after in [0, number + 10_000] {
        let (mut events, welcome) = node.events(&ann, Some(after)).await;
        assert_eq!(welcome["resumed"], false);
        let snapshot = events.next().await;
        assert_eq!(snapshot["type"], "snapshot");
        assert_eq!(identities(&snapshot["members"]), ["ann", "bob"]);
    }
}

#[tokio::test]
async fn who_misses_more_than_the_log_holds_gets_a_snapshot() {
    let node = Node::start().await;
    let (ann, bob) = (node.join("ann", "Aa").await, node.join("bob", "Aa").await);
    let (events, snapshot) = node.snapshot(&ann).await;
    let number = snapshot["seq"].as_u64().unwrap();
    drop(events);
    let (mut of_bob, _) = node.snapshot(&bob).await;
    // More bytes than a log keeps.
    for _ in 0..6 {
        let data = json!({ "type": "send_data", "topic": "t", "text": "x".repeat(60_000) });
        assert_eq!(of_bob.ask(data).await["ok"], true);
    }
    let (mut events, welcome) = node.events(&ann, Some(number)).await;
    assert_eq!(welcome["resumed"], false);
    let snapshot = events.next().await;
    assert_eq!(snapshot["type"], "snapshot");
    assert!(snapshot["seq"].as_u64().unwrap() > number + 6, "numbers go on");
}

#[tokio::test]
async fn the_newest_connection_of_a_session_wins() {
    let node = Node::start().await;
    let ann = node.join("ann", "Aa").await;
    let (mut first, _) = node.snapshot(&ann).await;
    let (mut second, _) = node.snapshot(&ann).await;
    assert_eq!(first.close_code().await, Some(4409));
    let path = format!("{ann}/events");
    let mut third = EventStream::open(&node, &path, &[]).await;
    assert_eq!(third.next().await.2["type"], "welcome");
    assert_eq!(second.close_code().await, Some(4409));
    let (_fourth, _) = node.snapshot(&ann).await;
    loop {
        let (_, name, data) = third.next().await;
        if name == "close" {
            assert_eq!(data["code"], 4409);
            break;
        }
    }
}

#[tokio::test]
async fn an_identity_that_joins_again_replaces_itself_and_nobody_left() {
    let node = Node::start().await;
    let watcher = node.join("wim", "a").await;
    let ann = node.join("ann", "Aa").await;
    let (mut events, welcome) = node.events(&ann, None).await;
    events.next_of("snapshot").await;
    let (mut seen, _) = node.snapshot(&watcher).await;
    node.events.send(Event::Connected { session: number(&welcome) }).unwrap();
    seen.next_of("member").await;
    let again = node.join("ann", "Aa").await;
    let (mut newer, welcome) = node.events(&again, None).await;
    newer.next_of("snapshot").await;
    node.events.send(Event::Connected { session: number(&welcome) }).unwrap();
    let (last, code) = events.end().await;
    assert_eq!((&last.unwrap()["reason"], code), (&json!("replaced"), Some(1000)));
    let leave = newer.ask(json!({ "type": "leave" })).await;
    assert_eq!(leave["ok"], true);
    // The first that is told to have left is the newer session, not the older one.
    let mut kinds = Vec::new();
    loop {
        let message = seen.next().await;
        kinds.push(message["type"].as_str().unwrap().to_owned());
        if message["type"] == "member_left" {
            assert_eq!(message["reason"], "deleted");
            break;
        }
    }
    assert_eq!(kinds.iter().filter(|kind| *kind == "member_left").count(), 1);
}

#[tokio::test]
async fn whom_an_administrator_removes_is_told_and_so_are_the_others() {
    let node = Node::start().await;
    let (ann, bob) = (node.join("ann", "Aa").await, node.join("bob", "Aa").await);
    let (mut of_ann, _) = node.snapshot(&ann).await;
    let (mut of_bob, _) = node.snapshot(&bob).await;
    let (room, who) =
        (model::RoomId::parse("r").unwrap(), model::ParticipantId::parse("bob").unwrap());
    let ask = |command| {
        let core = node.signaling.core();
        core.administer(std::time::Instant::now(), &room, command).unwrap();
    };
    let fewer = model::Permissions { data: false, ..model::Permissions::ALL };
    ask(room::AdminCommand::ChangePermissions(who.clone(), fewer));
    assert_eq!(of_bob.next_of("permissions").await["permissions"]["data"], false);
    let data = json!({ "type": "send_data", "topic": "t", "text": "x" });
    assert_eq!(of_bob.ask(data).await["problem"]["status"], 403);
    let change = room::SettingsChange { audible: Some(7), ..room::SettingsChange::default() };
    ask(room::AdminCommand::ChangeRoom(change));
    assert_eq!(of_ann.next_of("room").await["room"]["settings"]["audible"], 7);
    ask(room::AdminCommand::Remove(who));
    let (last, code) = of_bob.end().await;
    let last = last.unwrap();
    assert_eq!(
        (&last["type"], &last["reason"], code),
        (&json!("closed"), &json!("removed"), Some(1000))
    );
    assert_eq!(of_ann.next_of("member_left").await["reason"], "removed");
    assert_eq!(node.try_events(&bob, &[]).await.err(), Some(404));
    ask(room::AdminCommand::Close);
    assert_eq!(of_ann.end().await.0.unwrap()["reason"], "room_closed");
}

#[tokio::test]
async fn a_hidden_member_is_named_to_itself_alone() {
    let node = Node::configured(with_keys()).await;
    let token = |identity| bearer(Some(identity), "r", "ps");
    let join = async |identity| {
        let token = token(identity);
        let body = json!({ "sdp": offer("Aa") });
        let session = node.join_with("r", &[("Authorization", &token)], &body).await.session().0;
        let mut events = node.try_events(&session, &[("Authorization", &token)]).await.unwrap();
        events.send(json!({ "type": "hello" })).await;
        events.next_of("snapshot").await;
        events
    };
    let mut of_ann = join("ann").await;
    let mut of_bob = join("bob").await;
    assert_eq!(of_ann.next_of("member").await["member"]["identity"], "bob");
    let (room, bob) =
        (model::RoomId::parse("r").unwrap(), model::ParticipantId::parse("bob").unwrap());
    let hidden = model::Permissions { hidden: true, ..model::Permissions::ALL };
    let command = room::AdminCommand::ChangePermissions(bob, hidden);
    node.signaling.core().administer(std::time::Instant::now(), &room, command).unwrap();
    let left = of_ann.next_of("member_left").await;
    assert_eq!((&left["identity"], &left["reason"]), (&json!("bob"), &json!("hidden")));
    let token = token("ann");
    let listing = node.request("GET", "/api/rooms/r", &[("Authorization", &token)], "").await;
    let listing = listing.json();
    let named = listing["participants"].as_array().unwrap().iter().map(|one| &one["id"]);
    assert_eq!(named.collect::<Vec<_>>(), [&json!("ann")], "{listing}");
    let reply = of_bob.ask(json!({ "type": "update_me", "name": "Nobody" })).await;
    assert_eq!(reply["ok"], true);
    let data = json!({ "type": "send_data", "topic": "t", "text": "who am I" });
    assert_eq!(of_bob.ask(data).await["ok"], true);
    let data = loop {
        let message = of_ann.next().await;
        assert!(message["type"] != "member" || message["member"]["identity"] != "bob", "{message}");
        if message["type"] == "data" {
            break message;
        }
    };
    assert_eq!(data["from"], Value::Null);
}

#[tokio::test]
async fn events_come_as_a_stream_with_commands_as_posts() {
    let node = Node::start().await;
    let ann = node.join("ann", "Aa").await;
    let path = format!("{ann}/events");
    assert_eq!(node.request("GET", &path, &[], "").await.status, 406);
    let accept = [("Accept", "text/event-stream")];
    assert_eq!(node.request("HEAD", &path, &accept, "").await.status, 200);
    let mut stream = EventStream::open(&node, &path, &[]).await;
    assert!(stream.head.to_lowercase().contains("content-type: text/event-stream"));
    let (id, _, welcome) = stream.next().await;
    assert_eq!(
        (id, &welcome["type"], &welcome["resumed"]),
        (None, &json!("welcome"), &json!(false))
    );
    let (id, _, snapshot) = stream.next().await;
    assert_eq!((id, &snapshot["type"]), (snapshot["seq"].as_u64(), &json!("snapshot")));

    let reply = node.command(&ann, &json!({ "id": "7", "type": "update_me", "name": "A" })).await;
    assert_eq!(
        (reply.status, reply.json()),
        (200, json!({ "type": "reply", "id": "7", "ok": true }))
    );
    assert_eq!(
        node.command(&ann, &json!({ "type": "ping" })).await.json(),
        json!({ "type": "pong" })
    );
    let bad = node.command(&ann, &json!({ "type": "dance" })).await;
    assert_eq!((bad.status, &bad.json()["type"]), (400, &json!("urn:sfumato:problem:bad-command")));
    let last = loop {
        let (last, _, message) = stream.next().await;
        assert_eq!(last, message["seq"].as_u64());
        if message["type"] == "member" {
            assert_eq!(message["member"]["name"], "A");
            break last;
        }
    };
    drop(stream);

    node.join("bob", "Aa").await;
    let last = last.unwrap().to_string();
    let mut stream = EventStream::open(&node, &path, &[("Last-Event-ID", &last)]).await;
    assert_eq!(stream.next().await.2["resumed"], true);
    assert_eq!(stream.next_of("member").await["member"]["identity"], "bob");
    let after = format!("{path}?after={last}");
    let mut stream = EventStream::open(&node, &after, &[]).await;
    assert_eq!(stream.next().await.2["resumed"], true);
    node.request("DELETE", &ann, &[], "").await;
    loop {
        let (_, name, data) = stream.next().await;
        if name == "close" {
            assert_eq!(data["code"], 1000);
            break;
        }
    }
}

#[tokio::test]
async fn a_snapshot_of_five_hundred_members_is_one_message() {
    let per = Rate { per_second: 0.0, burst: 0 };
    let limits = Limits { per_address: per, per_token: per, ..Limits::default() };
    let room_limits = room::Limits { participants_per_room: 500, ..room::Limits::default() };
    let node = Node::with(Config { limits, ..Config::default() }, room_limits).await;
    let first = node.join("m000", "AVav").await;
    for n in 1..500 {
        node.join(&format!("m{n:03}"), "AV").await;
    }
    let begin = std::time::Instant::now();
    let (_events, snapshot) = node.snapshot(&first).await;
    let took = begin.elapsed();
    let members = snapshot["members"].as_array().unwrap();
    assert_eq!(members.len(), 500);
    assert_eq!(members[499]["tracks"].as_array().unwrap().len(), 2);
    let bytes = snapshot.to_string().len();
    println!("a snapshot of 500 members with two tracks: {bytes} bytes, {took:?}");
    assert!(bytes < 400_000, "{bytes} bytes");
}
