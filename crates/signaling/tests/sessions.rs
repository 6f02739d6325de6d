//! The session API over HTTP: joining, changing, leaving.

mod common;

use common::members::{JSON, offer};
use common::{FRAGMENT, Node, SDP, bearer, restart, trickle, with_ice_servers, with_keys};
use serde_json::json;

const PATCHES: &str = "application/trickle-ice-sdpfrag, application/sdp, application/json";

#[tokio::test]
async fn a_member_joins_with_json_or_with_sdp() {
    let node = Node::configured(with_ice_servers()).await;
    let body = json!({
        "sdp": offer("AVav"),
        "identity": "ann",
        "name": "Ann",
        "metadata": "{\"seat\":3}",
        "tracks": [{ "mid": "1", "source": "screen", "name": "slides", "muted": true }],
        "subscribe": { "policy": "auto", "pinned": ["bob"] },
    });
    let reply = node.join_with("r", &[], &body).await;
    let (location, etag) = reply.session();
    assert!(location.starts_with("/v1/rooms/r/sessions/") && etag.starts_with('"'));
    assert_eq!(reply.header("content-type"), Some(JSON));
    assert_eq!(reply.header("accept-patch"), Some(PATCHES));
    assert_eq!(reply.all("link").len(), 2);
    let answer = reply.json();
    assert_eq!(answer["identity"], "ann");
    assert!(answer["sdp"].as_str().unwrap().starts_with("v=0\r\n"));
    assert!(answer["session"].as_str().unwrap().parse::<u64>().is_ok());

    let (_events, snapshot) = node.snapshot(&location).await;
    let me = &snapshot["members"][0];
    assert_eq!((&me["identity"], &me["name"]), (&json!("ann"), &json!("Ann")));
    assert_eq!((&me["metadata"], &me["kind"]), (&json!("{\"seat\":3}"), &json!("session")));
    assert_eq!(me["presence"], "connecting");
    let tracks = me["tracks"].as_array().unwrap();
    assert_eq!(tracks.len(), 2);
    assert_eq!((&tracks[0]["source"], &tracks[0]["kind"]), (&json!("microphone"), &json!("audio")));
    assert_eq!((&tracks[1]["source"], &tracks[1]["muted"]), (&json!("screen"), &json!(true)));
    assert_eq!((&tracks[1]["name"], &tracks[1]["codecs"][0]), (&json!("slides"), &json!("VP8")));

    let path = "/v1/rooms/r/sessions?identity=bob&name=Bob";
    let bob = node.post(path, &offer("Av")).await;
    bob.session();
    assert_eq!(bob.header("content-type"), Some(SDP));
    assert!(bob.body.starts_with("v=0\r\n"));
    let guest = node.join_with("r", &[], &json!({ "sdp": offer("a") })).await.json();
    assert!(guest["identity"].as_str().unwrap().starts_with("guest-"));
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let node = Node::start().await;
    let status = async |body: &serde_json::Value| {
        let reply = node.join_with("r", &[], body).await;
        (reply.status, reply.json()["type"].as_str().unwrap().to_owned())
    };
    let (bad, wrong) = ("urn:sfumato:problem:bad-command", "urn:sfumato:problem:bad-participant");
    let field = "urn:sfumato:problem:bad-field";
    let refused = [
        (json!({}), 400, bad),
        (json!({ "sdp": 1 }), 400, bad),
        (json!({ "sdp": offer("A"), "identity": "a/b" }), 400, wrong),
        (json!({ "sdp": offer("A"), "name": "n".repeat(257) }), 422, field),
        (json!({ "sdp": offer("A"), "metadata": "n".repeat(4_097) }), 422, field),
        (json!({ "sdp": offer("A"), "tracks": [{ "mid": "0", "source": "tv" }] }), 400, bad),
        (json!({ "sdp": offer("A"), "subscribe": { "policy": "none" } }), 400, bad),
    ];
    for (body, code, kind) in refused {
        assert_eq!(status(&body).await, (code, kind.to_owned()), "{body}");
    }
    let path = "/v1/rooms/r/sessions";
    let reply = node.request("POST", path, &[("Content-Type", "text/plain")], "x").await;
    assert_eq!(
        (reply.status, reply.header("accept-post")),
        (415, Some("application/sdp, application/json"))
    );
    let headers = [("Content-Type", JSON), ("Accept", "text/html")];
    let body = json!({ "sdp": offer("A") }).to_string();
    assert_eq!(node.request("POST", path, &headers, &body).await.status, 406);
    assert_eq!(node.request("PUT", path, &[], "").await.status, 405);
    assert_eq!(node.request("OPTIONS", path, &[], "").await.status, 200);
    assert_eq!(node.request("GET", path, &[], "").await.status, 200);
    assert!(node.commands().is_empty());
}

#[tokio::test]
async fn a_session_is_changed_and_left_as_with_whip() {
    let node = Node::start().await;
    let first = offer("Aa");
    let reply = node.join_with("r", &[], &json!({ "sdp": first, "identity": "ann" })).await;
    let (location, etag) = reply.session();
    let patch = async |kind: &str, tag: Option<&str>, body: &str| {
        let mut headers = vec![("Content-Type", kind)];
        headers.extend(tag.map(|tag| ("If-Match", tag)));
        node.request("PATCH", &location, &headers, body).await
    };
    assert_eq!(patch(FRAGMENT, Some(&etag), &trickle(&first)).await.status, 204);
    assert_eq!(patch(SDP, None, &offer("Aaa")).await.status, 428);
    assert_eq!(patch(SDP, Some("\"old\""), &offer("Aaa")).await.status, 412);
    assert_eq!(patch("text/plain", Some(&etag), "x").await.status, 415);
    let later = patch(SDP, Some(&etag), &offer("Aaa")).await;
    assert_eq!((later.status, later.header("content-type")), (200, Some(SDP)));
    let body = json!({
        "sdp": offer("AaaV"),
        "tracks": [{ "mid": "0", "source": "microphone" }, { "mid": "3", "source": "screen" }],
    });
    let later = patch(JSON, Some(&etag), &body.to_string()).await;
    assert_eq!((later.status, later.header("content-type")), (200, Some(JSON)));
    assert!(later.json()["sdp"].as_str().unwrap().contains("a=mid:3"));
    let (_events, snapshot) = node.snapshot(&location).await;
    assert_eq!(snapshot["members"][0]["tracks"][1]["source"], "screen");
    assert_eq!(snapshot["slots"].as_array().unwrap().len(), 2);
    let restarted = patch(FRAGMENT, Some("*"), &restart(1)).await;
    assert_eq!(restarted.status, 200);
    let seen = node.request("GET", &location, &[], "").await;
    assert_eq!((seen.status, seen.header("etag")), (200, restarted.header("etag")));
    assert_eq!(seen.header("accept-patch"), Some(PATCHES));
    assert_eq!(node.request("HEAD", &location, &[], "").await.status, 200);

    assert_eq!(node.request("DELETE", &location, &[], "").await.status, 200);
    for method in ["GET", "DELETE"] {
        assert_eq!(node.request(method, &location, &[], "").await.status, 404);
    }
    assert_eq!(node.try_events(&location, &[]).await.err(), Some(404));
    assert_eq!(node.command(&location, &json!({ "type": "ping" })).await.status, 404);
}

#[tokio::test]
async fn tokens_say_who_joins_and_what_it_may_do() {
    let node = Node::configured(with_keys()).await;
    let body = json!({ "sdp": offer("AVav") });
    assert_eq!(node.join_with("r", &[], &body).await.status, 401);
    let nothing = bearer(Some("ann"), "r", "");
    assert_eq!(node.join_with("r", &[("Authorization", &nothing)], &body).await.status, 403);
    let watches = bearer(Some("ann"), "r", "s");
    let refused = node.join_with("r", &[("Authorization", &watches)], &body).await;
    assert_eq!(refused.status, 403, "it may not send");
    let ann = bearer(Some("ann"), "r", "ps");
    assert_eq!(node.join_with("s", &[("Authorization", &ann)], &body).await.status, 403);
    let other = json!({ "sdp": offer("AVav"), "identity": "bob" });
    assert_eq!(node.join_with("r", &[("Authorization", &ann)], &other).await.status, 403);
    let joined = node.join_with("r", &[("Authorization", &ann)], &body).await;
    let (location, _) = joined.session();
    assert_eq!(joined.json()["identity"], "ann");
    let bob = bearer(Some("bob"), "r", "ps");
    for headers in [&[][..], &[("Authorization", bob.as_str())]] {
        let status = node.request("DELETE", &location, headers, "").await.status;
        assert_eq!(status, if headers.is_empty() { 401 } else { 404 });
    }
}
