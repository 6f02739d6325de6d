//! What a WHEP endpoint has to do (draft-ietf-wish-whep), where it differs from WHIP.

mod common;

use common::{FRAGMENT, Node, PUBLISH, SDP, WATCH, restart, trickle};
use model::Command;

#[tokio::test]
async fn a_viewer_is_answered_and_bound_to_what_is_published() {
    let node = Node::start().await;
    node.post("/whip/r?participant=ann", PUBLISH).await.session();
    let reply = node.post("/whep/r", WATCH).await;
    let (location, etag) = reply.session();
    assert!(location.starts_with("/whep/r/sessions/"));
    assert!(etag.starts_with('"'));
    assert!(reply.body.contains("a=sendonly"));
    assert_eq!(node.commands()[..2], ["open", "open"]);
    assert!(node.commands()[2..].contains(&"bind"));
    assert_eq!(node.request("GET", "/api/rooms/r", &[], "").await.json()["viewers"], 1);
}

#[tokio::test]
async fn one_participant_can_be_watched_and_only_one_kind() {
    let node = Node::start().await;
    node.post("/whip/r?participant=ann", PUBLISH).await.session();
    let bound = async |path: &str| {
        let before = node.commands.lock().unwrap().len();
        node.post(path, WATCH).await.session();
        let commands = node.commands.lock().unwrap();
        commands[before..]
            .iter()
            .map(|c| match c {
                Command::Bind { slots, .. } => slots.iter().filter(|(_, b)| b.is_some()).count(),
                _ => 0,
            })
            .sum::<usize>()
    };
    let both = bound("/whep/r/ann").await;
    assert!(both >= 1);
    assert_eq!(bound("/whep/r/bob").await, 0);
    let audio = bound("/whep/r/ann?kind=audio").await;
    let video = bound("/whep/r?kind=video").await;
    assert_eq!(audio + video, both);
    let smell = node.post("/whep/r?kind=smell", WATCH).await;
    assert_eq!(smell.status, 400);
    assert!(smell.body.contains("audio or video"), "{}", smell.body);
    assert_eq!(node.post("/whep/r/a%20b", WATCH).await.status, 400);
}

#[tokio::test]
async fn a_viewer_may_connect_before_the_publisher() {
    let node = Node::start().await;
    node.post("/whep/r", WATCH).await.session();
    assert_eq!(node.commands(), ["open"]);
    node.post("/whip/r", PUBLISH).await.session();
    assert!(node.commands().contains(&"bind"));
}

#[tokio::test]
async fn players_find_an_endpoint_by_head() {
    let node = Node::start().await;
    for path in ["/whep/r", "/whep/r/ann"] {
        for method in ["GET", "HEAD"] {
            let reply = node.request(method, path, &[], "").await;
            assert_eq!((reply.status, reply.header("content-type")), (200, Some(SDP)));
            assert_eq!(reply.body, "");
        }
    }
}

#[tokio::test]
async fn sessions_trickle_restart_and_end_as_in_whip() {
    let node = Node::start().await;
    let (session, etag) = node.post("/whep/r", WATCH).await.session();
    assert_eq!(node.patch(&session, None, &trickle(WATCH)).await.status, 428);
    assert_eq!(node.patch(&session, Some("\"x\""), &trickle(WATCH)).await.status, 412);
    assert_eq!(node.patch(&session, Some(&etag), &trickle(WATCH)).await.status, 204);
    let restarted = node.patch(&session, Some("*"), &restart(1)).await;
    assert_eq!((restarted.status, restarted.header("content-type")), (200, Some(FRAGMENT)));
    assert_ne!(restarted.header("etag"), Some(etag.as_str()));
    // A whole offer renegotiates, and its tag is checked as well.
    let stale = [("Content-Type", SDP), ("If-Match", etag.as_str())];
    assert_eq!(node.request("PATCH", &session, &stale, WATCH).await.status, 412);
    assert_eq!(node.request("DELETE", &session, &[], "").await.status, 200);
    assert_eq!(node.request("DELETE", &session, &[], "").await.status, 404);
}

#[tokio::test]
async fn offers_that_send_are_422() {
    let node = Node::start().await;
    let sending = WATCH.replace("a=recvonly", "a=sendonly");
    assert_eq!(node.post("/whep/r", &sending).await.status, 422);
    assert_eq!(node.post("/whep/r", "").await.status, 400);
    assert_eq!(node.request("POST", "/whep/r", &[], WATCH).await.status, 415);
}
