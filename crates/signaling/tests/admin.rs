//! The admin API: rooms, members, tracks and messages, and what members are told of what is done to them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::members::JSON;
use common::{Node, Reply, bearer, with_keys};
use model::{Event, Quality, SessionId};
use serde_json::{Value, json};
use sfumato_signaling::Config;

async fn ask(node: &Node, method: &str, path: &str, body: &Value) -> Reply {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    node.request(method, path, &[("Content-Type", JSON)], &body).await
}

/// As [`ask`], for a request that has to succeed with this status; returns the JSON.
async fn done(node: &Node, method: &str, path: &str, body: Value, status: u16) -> Value {
    let reply = ask(node, method, path, &body).await;
    assert_eq!(reply.status, status, "{method} {path}: {}", reply.body);
    if reply.body.is_empty() { Value::Null } else { reply.json() }
}

/// As [`ask`], for a request that has to fail: its status, its slug and its explanation.
async fn fails(node: &Node, method: &str, path: &str, body: Value) -> (u16, String, String) {
    let reply = ask(node, method, path, &body).await;
    assert!(reply.status >= 400, "{method} {path}: {}", reply.status);
    let problem = reply.json();
    let slug = problem["type"].as_str().unwrap().strip_prefix("urn:sfumato:problem:").unwrap();
    (reply.status, slug.to_owned(), problem["detail"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_room_is_created_once_and_has_the_settings_that_were_asked_for() {
    let node = Node::start().await;
    let body = json!({ "id": "standup", "metadata": "m", "settings": {
        "members_max": 20, "audible": 3, "codecs": ["opus", "vp8"], "empty_timeout_seconds": 60,
        "lifetime_seconds": 3600, "newer_wins": false } });
    let reply = ask(&node, "POST", "/v1/rooms", &body).await;
    assert_eq!((reply.status, reply.header("location")), (201, Some("/v1/rooms/standup")));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let expected = json!({ "id": "standup", "metadata": "m", "members": 0, "viewers": 0, "settings": {
        "members_max": 20, "audible": 3, "codecs": ["opus", "VP8"], "empty_timeout_seconds": 60,
        "lost_timeout_seconds": 30, "lifetime_seconds": 3600, "newer_wins": false } });
    assert_eq!(reply.json(), expected);
    assert_eq!(done(&node, "GET", "/v1/rooms/standup", Value::Null, 200).await, expected);

    // The same again, and a part of it, change nothing; other settings are a conflict.
    assert_eq!(done(&node, "POST", "/v1/rooms", body, 200).await, expected);
    let part = json!({ "id": "standup", "settings": { "audible": 3 } });
    assert_eq!(done(&node, "POST", "/v1/rooms", part, 200).await, expected);
    let other = json!({ "id": "standup", "settings": { "audible": 4 } });
    let (status, slug, _) = fails(&node, "POST", "/v1/rooms", other).await;
    assert_eq!((status, slug.as_str()), (409, "room-exists"));

    // Without an id the node makes one, a new one each time.
    let first = done(&node, "POST", "/v1/rooms", json!({}), 201).await;
    let second = done(&node, "POST", "/v1/rooms", json!({}), 201).await;
    assert_ne!(first["id"], second["id"]);
    let path = format!("/v1/rooms/{}", first["id"].as_str().unwrap());
    assert_eq!(done(&node, "GET", &path, Value::Null, 200).await, first);
}

#[tokio::test]
async fn a_change_of_a_room_is_what_it_names_and_members_are_told() {
    let node = Node::start().await;
    let ann = node.join("ann", "AVav").await;
    let (mut events, _) = node.snapshot(&ann).await;
    let body = json!({ "settings": { "lifetime_seconds": 600, "audible": 2 } });
    let room = done(&node, "PATCH", "/v1/rooms/r", body, 200).await;
    assert_eq!(room["settings"]["lifetime_seconds"], 600);
    assert_eq!((&room["settings"]["audible"], &room["members"]), (&json!(2), &json!(1)));
    assert_eq!(events.next_of("room").await["room"]["settings"]["audible"], 2);

    let body = json!({ "metadata": "x", "settings": { "lifetime_seconds": null } });
    let headers = [("Content-Type", "application/merge-patch+json")];
    let reply = node.request("PATCH", "/v1/rooms/r", &headers, &body.to_string()).await;
    let told = events.next_of("room").await["room"].clone();
    assert_eq!(told["settings"]["lifetime_seconds"], Value::Null);
    assert_eq!((&told["settings"]["audible"], &told["metadata"]), (&json!(2), &json!("x")));
    assert_eq!(reply.json()["settings"], told["settings"]);

    // Nothing named: nothing changes.
    let same = done(&node, "PATCH", "/v1/rooms/r", json!({}), 200).await;
    assert_eq!(same["settings"], told["settings"]);
}

#[tokio::test]
async fn closing_a_room_ends_its_sessions() {
    let node = Node::start().await;
    let ann = node.join("ann", "Aa").await;
    let (mut events, _) = node.snapshot(&ann).await;
    done(&node, "DELETE", "/v1/rooms/r", Value::Null, 204).await;
    let (last, code) = events.end().await;
    assert_eq!((&last.unwrap()["reason"], code), (&json!("room_closed"), Some(1000)));
    assert_eq!(fails(&node, "DELETE", "/v1/rooms/r", Value::Null).await.0, 404);
    assert_eq!(fails(&node, "GET", "/v1/rooms/r", Value::Null).await.2, "There is no room r.");
    assert_eq!(node.request("GET", &ann, &[], "").await.status, 404);
}

#[tokio::test]
async fn a_member_is_shown_with_what_it_may_do_and_how_its_connection_is() {
    let node = Node::start().await;
    let ann = node.join("ann", "AVav").await;
    let (mut events, _) = node.snapshot(&ann).await;
    let member = done(&node, "GET", "/v1/rooms/r/members/ann", Value::Null, 200).await;
    assert_eq!(member["kind"], "session");
    assert_eq!(member["presence"], "connecting");
    assert_eq!((&member["hidden"], &member["quality"]), (&json!(false), &Value::Null));
    assert_eq!(member["permissions"]["publish"].as_array().unwrap().len(), 4);
    assert_eq!(member["tracks"][0]["source"], "microphone");
    assert_eq!(member["tracks"][1]["source"], "camera");

    let session = SessionId(member["session"].as_str().unwrap().parse().unwrap());
    let quality = Quality::Poor;
    node.events.send(Event::Quality { session, quality }).unwrap();
    events.next_of("quality").await;
    let list = done(&node, "GET", "/v1/rooms/r/members", Value::Null, 200).await;
    assert_eq!(list["members"][0]["quality"], "poor");
    assert_eq!(list["next"], Value::Null);
    // A publisher over WHIP is a member, a viewer over WHEP is not.
    node.post("/whip/r?participant=obs", common::PUBLISH).await.session();
    node.post("/whep/r", common::WATCH).await.session();
    let list = done(&node, "GET", "/v1/rooms/r/members", Value::Null, 200).await;
    assert_eq!(list["members"].as_array().unwrap().len(), 2);
    assert_eq!(list["members"][1]["kind"], "whip");
    let room = done(&node, "GET", "/v1/rooms/r", Value::Null, 200).await;
    assert_eq!((&room["members"], &room["viewers"]), (&json!(2), &json!(1)));
}

#[tokio::test]
async fn listings_come_in_pages() {
    let node = Node::start().await;
    for id in ["a", "b", "c"] {
        done(&node, "POST", "/v1/rooms", json!({ "id": id }), 201).await;
        node.join(&format!("member-{id}"), "a").await;
    }
    for (path, list, ids) in [
        ("/v1/rooms", "rooms", ["a", "b", "c", "r"].as_slice()),
        ("/v1/rooms/r/members", "members", &["member-a", "member-b", "member-c"]),
    ] {
        let key = if list == "rooms" { "id" } else { "identity" };
        let (mut next, mut found) = (Some(format!("{path}?limit=2")), Vec::new());
        while let Some(path) = next.take() {
            let reply = ask(&node, "GET", &path, &Value::Null).await;
            let page = reply.json();
            found.extend(page[list].as_array().unwrap().iter().map(|e| e[key].clone()));
            next = page["next"].as_str().map(str::to_owned);
            let link = next.as_ref().map(|path| format!("<{path}>; rel=\"next\""));
            assert_eq!(reply.header("link"), link.as_deref());
        }
        assert_eq!(found, ids);
    }
    assert_eq!(fails(&node, "GET", "/v1/rooms?limit=0", Value::Null).await.1, "bad-query");
    let gone = fails(&node, "GET", "/v1/rooms/r/members?after=x", Value::Null).await;
    assert_eq!((gone.0, gone.1.as_str()), (410, "page-gone"));
}

#[tokio::test]
async fn a_member_that_is_removed_is_told_and_the_others_are_too() {
    let node = Node::start().await;
    let (ann, bob) = (node.join("ann", "Aa").await, node.join("bob", "Aa").await);
    let (mut ann, _) = node.snapshot(&ann).await;
    let (mut bob, _) = node.snapshot(&bob).await;
    done(&node, "DELETE", "/v1/rooms/r/members/bob", Value::Null, 204).await;
    let (last, _) = bob.end().await;
    assert_eq!(last.unwrap()["reason"], "removed");
    let left = ann.next_of("member_left").await;
    assert_eq!((&left["identity"], &left["reason"]), (&json!("bob"), &json!("removed")));
    let (status, slug, why) = fails(&node, "DELETE", "/v1/rooms/r/members/bob", Value::Null).await;
    assert_eq!(
        (status, slug.as_str(), why.as_str()),
        (404, "not-found", "room r has no member bob.")
    );
}

#[tokio::test]
async fn a_track_that_is_muted_is_shown_so_and_its_member_is_told() {
    let node = Node::start().await;
    let (ann, bob) = (node.join("ann", "AVav").await, node.join("bob", "av").await);
    let (mut ann, snapshot) = node.snapshot(&ann).await;
    let (mut bob, _) = node.snapshot(&bob).await;
    let track = snapshot["members"][0]["tracks"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/rooms/r/members/ann/tracks/{track}");
    let shown = done(&node, "PATCH", &path, json!({ "muted": true }), 200).await;
    assert_eq!((&shown["id"], &shown["muted"]), (&json!(track), &json!(true)));
    let told = ann.next_of("muted").await;
    assert_eq!((&told["track"], &told["muted"]), (&json!(track), &json!(true)));
    assert_eq!(bob.next_of("member").await["member"]["tracks"][0]["muted"], true);
    done(&node, "PATCH", &path, json!({ "muted": false }), 200).await;
    assert_eq!(ann.next_of("muted").await["muted"], false);
    for path in ["ann/tracks/999", "ann/tracks/x", "bob/tracks/1", "nobody/tracks/1"] {
        let path = format!("/v1/rooms/r/members/{path}");
        let (status, slug, _) = fails(&node, "PATCH", &path, json!({ "muted": true })).await;
        assert_eq!((status, slug.as_str()), (404, "not-found"), "{path}");
    }
}

#[tokio::test]
async fn permissions_that_are_taken_away_are_gone_at_once() {
    let node = Node::start().await;
    let (ann, bob) = (node.join("ann", "AVav").await, node.join("bob", "av").await);
    let (mut ann, _) = node.snapshot(&ann).await;
    let (mut bob, _) = node.snapshot(&bob).await;
    let path = "/v1/rooms/r/members/ann";
    let body = json!({ "permissions": { "publish": ["microphone"], "data": false } });
    let shown = done(&node, "PATCH", path, body, 200).await;
    let expected = json!({ "publish": ["microphone"], "subscribe": true, "data": false,
        "update_self": true, "hidden": false, "admin": true });
    assert_eq!(shown["permissions"], expected);
    assert_eq!(ann.next_of("permissions").await["permissions"], expected);
    let refused = ann.ask(json!({ "type": "send_data", "topic": "t", "text": "x" })).await;
    assert_eq!(refused["problem"]["type"], "urn:sfumato:problem:forbidden");

    let body = json!({ "name": "Ann", "metadata": "{}", "permissions": { "hidden": true } });
    let shown = done(&node, "PATCH", path, body, 200).await;
    assert_eq!((&shown["name"], &shown["hidden"]), (&json!("Ann"), &json!(true)));
    assert_eq!(shown["permissions"]["data"], false);
    assert_eq!(bob.next_of("member_left").await["identity"], "ann");
    let (status, ..) = fails(&node, "PATCH", "/v1/rooms/r/members/nobody", json!({})).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn messages_of_the_application_come_without_a_sender() {
    let node = Node::start().await;
    let (ann, bob) = (node.join("ann", "a").await, node.join("bob", "a").await);
    let (mut ann, _) = node.snapshot(&ann).await;
    let (mut bob, _) = node.snapshot(&bob).await;
    let path = "/v1/rooms/r/data";
    let to_bob = json!({ "topic": "t", "to": ["bob"], "base64": "AQI=", "delivery": "lossy" });
    done(&node, "POST", path, to_bob, 204).await;
    done(&node, "POST", path, json!({ "topic": "t", "text": "all" }), 204).await;
    let message = bob.next_of("data").await;
    assert_eq!((&message["from"], &message["base64"]), (&Value::Null, &json!("AQI=")));
    assert_eq!(bob.next_of("data").await["text"], "all");
    assert_eq!(ann.next_of("data").await["text"], "all");
    let nobody = json!({ "topic": "t", "to": ["x"], "text": "" });
    assert_eq!(fails(&node, "POST", path, nobody).await.0, 404);
    for wrong in [
        json!({ "topic": "", "text": "x" }),
        json!({ "topic": "t" }),
        json!({ "topic": "t", "text": "x", "base64": "" }),
        json!({ "topic": "t", "base64": "?" }),
        json!({ "topic": "t", "text": "x", "delivery": "maybe" }),
        json!({ "topic": "t", "text": "x", "to": ["a b"] }),
        json!({ "topic": "t", "text": "x".repeat(70_000) }),
    ] {
        let (status, slug, why) = fails(&node, "POST", path, wrong).await;
        assert_eq!((status, slug.as_str()), (422, "bad-field"), "{why}");
    }
}

#[tokio::test]
async fn wrong_bodies_are_refused_with_the_name_of_the_field() {
    let node = Node::start().await;
    node.join("ann", "Aa").await;
    let (room, member) = ("/v1/rooms/r", "/v1/rooms/r/members/ann");
    for (method, path, body, names) in [
        ("POST", "/v1/rooms", json!({ "audible": 2 }), "audible"),
        ("POST", "/v1/rooms", json!({ "id": "a b" }), "id"),
        ("POST", "/v1/rooms", json!({ "id": null }), "id"),
        ("POST", "/v1/rooms", json!({ "settings": { "audible": 0 } }), "audible: 0; 1 to 16"),
        ("PATCH", room, json!({ "settings": { "audibel": 2 } }), "settings.audibel"),
        ("PATCH", room, json!({ "settings": { "audible": "2" } }), "settings.audible"),
        ("PATCH", room, json!({ "settings": { "audible": 17 } }), "1 to 16 are allowed"),
        ("PATCH", room, json!({ "settings": { "members_max": -1 } }), "settings.members_max"),
        ("PATCH", room, json!({ "settings": { "newer_wins": null } }), "settings.newer_wins"),
        ("PATCH", room, json!({ "settings": { "codecs": ["theora"] } }), "settings.codecs"),
        ("PATCH", room, json!({ "settings": { "empty_timeout_seconds": 604_801 } }), "604800"),
        ("PATCH", room, json!({ "settings": { "lifetime_seconds": 31_622_401 } }), "31622400"),
        ("PATCH", room, json!({ "metadata": "x".repeat(16_385) }), "16384"),
        ("PATCH", room, json!({ "id": "other" }), "id"),
        ("PATCH", room, json!([]), "no JSON object"),
        ("PATCH", room, json!({ "settings": [9] }), "settings: it is no JSON object"),
        ("PATCH", member, json!({ "name": "x".repeat(257) }), "name is over 256 bytes"),
        ("PATCH", member, json!({ "permissions": { "publsh": [] } }), "permissions.publsh"),
        (
            "PATCH",
            member,
            json!({ "permissions": { "publish": ["tv"] } }),
            "permissions.publish[0]",
        ),
        ("PATCH", &format!("{member}/tracks/1"), json!({}), "muted"),
        ("POST", "/v1/rooms/r/data", json!({ "topic": "t", "txt": "x" }), "txt"),
    ] {
        let (status, slug, why) = fails(&node, method, path, body).await;
        assert_eq!((status, slug.as_str()), (422, "bad-field"), "{why}");
        assert!(why.contains(names), "{why}");
    }
    for text in ["", "{", "{} x"] {
        let reply = node.request("PATCH", room, &[("Content-Type", JSON)], text).await;
        assert_eq!(
            (reply.status, reply.json()["type"].as_str().unwrap()),
            (400, "urn:sfumato:problem:bad-body")
        );
    }
    let reply = node.request("PATCH", room, &[("Content-Type", "text/plain")], "{}").await;
    assert_eq!(reply.status, 415);
    assert_eq!(
        reply.header("accept-patch"),
        Some("application/json, application/merge-patch+json")
    );
    assert_eq!(ask(&node, "PUT", room, &json!({})).await.status, 405);
}

#[tokio::test]
async fn a_token_administers_its_room_and_no_other() {
    let node = Node::configured(Config { ..with_keys() }).await;
    let (all, one) = (bearer(Some("root"), "*", "a"), bearer(Some("host"), "r", "a"));
    let member = bearer(Some("ann"), "r", "ps");
    let other = bearer(Some("host"), "other", "a");
    let create = json!({ "id": "r" }).to_string();
    for (method, path, body, allowed) in [
        ("GET", "/v1/rooms", "", &[&all][..]),
        ("POST", "/v1/rooms", "{}", &[&all]),
        ("POST", "/v1/rooms", create.as_str(), &[&all, &one]),
        ("GET", "/v1/rooms/r", "", &[&all, &one]),
        ("PATCH", "/v1/rooms/r", "{}", &[&all, &one]),
        ("GET", "/v1/rooms/r/members", "", &[&all, &one]),
        ("GET", "/v1/rooms/r/members/x", "", &[&all, &one]),
        ("PATCH", "/v1/rooms/r/members/x", "{}", &[&all, &one]),
        ("DELETE", "/v1/rooms/r/members/x", "", &[&all, &one]),
        ("PATCH", "/v1/rooms/r/members/x/tracks/1", r#"{"muted":true}"#, &[&all, &one]),
        ("POST", "/v1/rooms/r/data", r#"{"topic":"t","text":"x"}"#, &[&all, &one]),
        ("DELETE", "/v1/rooms/r", "", &[&all, &one]),
    ] {
        let send = async |token: Option<&str>| {
            let mut headers = vec![("Content-Type", JSON)];
            headers.extend(token.map(|token| ("Authorization", token)));
            node.request(method, path, &headers, body).await.status
        };
        assert_eq!(send(None).await, 401, "{method} {path}");
        for token in [&member, &other, &one, &all] {
            let status = send(Some(token)).await;
            assert_eq!(status != 403, allowed.contains(&token), "{method} {path}: {status}");
        }
        if method == "DELETE" {
            continue;
        }
        node.request(
            "POST",
            "/v1/rooms",
            &[("Content-Type", JSON), ("Authorization", &all)],
            &create,
        )
        .await;
    }
}

#[tokio::test]
async fn a_node_that_is_full_or_leaves_creates_no_room_and_administers_those_it_has() {
    let limits = room::Limits { rooms: 1, ..room::Limits::default() };
    let node = Node::with(Config::default(), limits).await;
    done(&node, "POST", "/v1/rooms", json!({ "id": "a" }), 201).await;
    let (status, slug, _) = fails(&node, "POST", "/v1/rooms", json!({ "id": "b" })).await;
    assert_eq!((status, slug.as_str()), (503, "unavailable"));
    done(&node, "POST", "/v1/rooms", json!({ "id": "a" }), 200).await;
    node.signaling.drain();
    assert_eq!(fails(&node, "POST", "/v1/rooms", json!({ "id": "a" })).await.0, 503);
    done(&node, "PATCH", "/v1/rooms/a", json!({ "metadata": "last call" }), 200).await;
    done(&node, "DELETE", "/v1/rooms/a", Value::Null, 204).await;
}

#[tokio::test]
async fn a_lifetime_that_is_over_already_ends_the_room() {
    let node = Node::start().await;
    let ann = node.join("ann", "Aa").await;
    let (mut events, _) = node.snapshot(&ann).await;
    let body = json!({ "settings": { "lifetime_seconds": 0 } });
    done(&node, "PATCH", "/v1/rooms/r", body, 204).await;
    assert_eq!(events.end().await.0.unwrap()["reason"], "room_closed");
}

#[tokio::test]
async fn what_is_inside_the_node_is_shown_and_can_neither_be_removed_nor_permitted() {
    let node = Node::start().await;
    let (room, card) =
        (model::RoomId::parse("r").unwrap(), model::ParticipantId::parse("card").unwrap());
    let codec = model::CodecSpec {
        pt: model::Pt(96),
        rtx_pt: None,
        codec: model::Codec::Vp8,
        clock_rate: 90_000,
        channels: 1,
        fmtp: String::new(),
        feedback: model::Feedback::default(),
        parameter_sets: None,
    };
    let media =
        room::LocalMedia { kind: model::MediaKind::Video, codecs: vec![codec], rids: vec![] };
    node.signaling.publish_local(&room, &card, vec![media]).unwrap();
    let path = "/v1/rooms/r/members/card";
    assert_eq!(done(&node, "GET", path, Value::Null, 200).await["kind"], "local");
    assert_eq!(fails(&node, "DELETE", path, Value::Null).await.0, 409);
    let body = json!({ "permissions": { "publish": [] } });
    assert_eq!(fails(&node, "PATCH", path, body).await.0, 409);
    assert_eq!(done(&node, "PATCH", path, json!({ "name": "Card" }), 200).await["name"], "Card");
}
