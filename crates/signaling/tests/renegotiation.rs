//! PATCH of a session with a whole offer (application/sdp): the answer, what stays as it was, and which callers may
//! send it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{
    FFMPEG, Node, PATCHES, Reply, SDP, WATCH, bearer, restart, slots, trickle, with_keys,
};
use model::{Command, SessionPlan};

/// Sends a later offer to a session.
async fn offer(node: &Node, path: &str, if_match: &str, offer: &str) -> Reply {
    node.request("PATCH", path, &[("Content-Type", SDP), ("If-Match", if_match)], offer).await
}

/// What `ffmpeg` offers before it has a picture.
fn only_audio() -> String {
    FFMPEG.replace("m=video 9", "m=video 0")
}

/// The same offer with other ICE credentials.
fn with_new_credentials(offer: &str) -> String {
    let lines = offer.lines().map(|line| match line.split(':').next().unwrap() {
        "a=ice-ufrag" => "a=ice-ufrag:another".to_owned(),
        "a=ice-pwd" => "a=ice-pwd:anotherpasswordofanotherday".to_owned(),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\r\n") + "\r\n"
}

/// The newest plan of the node's only session.
fn newest_plan(node: &Node) -> SessionPlan {
    let commands = node.commands.lock().unwrap();
    let plan = commands.iter().rev().find_map(|command| match command {
        Command::Open(plan) | Command::Update(plan) => Some(plan),
        _ => None,
    });
    SessionPlan::clone(plan.unwrap())
}

fn sections(answer: &str) -> Vec<&str> {
    answer.lines().filter(|line| line.starts_with("m=")).collect()
}

#[tokio::test]
async fn a_viewer_that_asks_for_more_sections_gets_them_under_the_same_tag() {
    let node = Node::start().await;
    for name in ["ann", "bob"] {
        node.post(&format!("/whip/r?participant={name}"), FFMPEG).await.session();
    }
    let made = node.post("/whep/r", &slots("av")).await;
    let (session, etag) = made.session();
    let before = node.commands().len();
    let first = newest_plan(&node);
    let reply = offer(&node, &session, &etag, &slots("avav")).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some(SDP)), "{}", reply.body);
    assert_eq!(reply.header("etag"), Some(etag.as_str()));
    assert_eq!((sections(&made.body).len(), sections(&reply.body).len()), (2, 4));
    assert!(sections(&reply.body).iter().all(|line| !line.contains(" 0 ")), "none is refused");
    assert_eq!(node.commands()[before..], ["update", "bind"]);
    let second = newest_plan(&node);
    for (old, new) in first.down.iter().zip(&second.down) {
        assert_eq!((old.mid, old.ssrc, &old.codecs), (new.mid, new.ssrc, &new.codecs));
    }
    assert_eq!((first.down.len(), second.down.len()), (2, 4));
    let bound = match &node.commands.lock().unwrap()[before + 1] {
        Command::Bind { slots, .. } => slots.iter().map(|(mid, _)| mid.to_string()).collect(),
        _ => Vec::new(),
    };
    assert_eq!(bound, ["2", "3"], "the new slots show the second publisher");
    // Candidates are still accepted under that tag.
    assert_eq!(node.patch(&session, Some(&etag), &trickle(WATCH)).await.status, 204);
    assert_eq!(offer(&node, &session, "*", &slots("avav")).await.status, 200);
}

#[tokio::test]
async fn a_publisher_that_adds_a_track_is_answered_and_its_viewers_see_it() {
    let node = Node::start().await;
    let (session, etag) = node.post("/whip/r?participant=ann", &only_audio()).await.session();
    node.post("/whep/r", WATCH).await.session();
    let tracks = async || {
        let listing = node.request("GET", "/api/rooms/r", &[], "").await.json();
        let tracks = listing["participants"][0]["tracks"].as_array().unwrap().clone();
        tracks.iter().map(|t| (t["id"].clone(), t["kind"].clone())).collect::<Vec<_>>()
    };
    let alone = tracks().await;
    let before = node.commands().len();
    let reply = offer(&node, &session, &etag, FFMPEG).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some(SDP)), "{}", reply.body);
    assert_eq!(reply.header("etag"), Some(etag.as_str()));
    assert_eq!(node.commands()[before..], ["update", "bind"]);
    let both = tracks().await;
    assert_eq!((both.len(), &both[0], &both[1].1), (2, &alone[0], &"video".into()));
    // The publisher gives the track up again.
    assert_eq!(offer(&node, &session, &etag, &only_audio()).await.status, 200);
    assert_eq!(tracks().await, alone);
    assert_eq!(node.commands()[before + 2..], ["update", "bind"]);
}

#[tokio::test]
async fn new_credentials_in_an_offer_restart_ice_and_the_old_tag_is_stale() {
    let node = Node::start().await;
    let made = node.post("/whep/r", WATCH).await;
    let (session, old) = made.session();
    let reply = offer(&node, &session, &old, &with_new_credentials(WATCH)).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some(SDP)), "{}", reply.body);
    let new = reply.header("etag").unwrap().to_owned();
    assert!(new != old && new.starts_with('"'), "a strong one: {new}");
    let value = |text: &str, prefix: &str| {
        text.lines().find_map(|line| line.strip_prefix(prefix)).unwrap().to_owned()
    };
    for prefix in ["a=ice-ufrag:", "a=ice-pwd:"] {
        assert_ne!(value(&reply.body, prefix), value(&made.body, prefix), "ours are new too");
    }
    assert_eq!(node.commands(), ["open", "update", "restart"]);
    let newer = with_new_credentials(WATCH);
    assert_eq!(offer(&node, &session, &old, &newer).await.status, 412);
    assert_eq!(node.patch(&session, Some(&old), &restart(1)).await.status, 412);
    assert_eq!(node.patch(&session, Some(&new), &trickle(&newer)).await.status, 204);
    let again = offer(&node, &session, &new, &newer).await;
    assert_eq!((again.status, again.header("etag")), (200, Some(new.as_str())), "no restart");
    let seen = node.request("GET", &session, &[], "").await;
    assert_eq!(seen.header("etag"), Some(new.as_str()));
}

#[tokio::test]
async fn an_offer_without_a_tag_is_428_and_one_with_a_stale_tag_412() {
    let node = Node::start().await;
    for (endpoint, first) in [("/whip/r", FFMPEG), ("/whep/r", WATCH)] {
        let (session, etag) = node.post(endpoint, first).await.session();
        let before = node.commands().len();
        let missing = node.request("PATCH", &session, &[("Content-Type", SDP)], first).await;
        assert_eq!(missing.status, 428);
        for stale in ["\"stale\"", &format!("W/{etag}"), etag.trim_matches('"')] {
            assert_eq!(offer(&node, &session, stale, first).await.status, 412, "{stale}");
        }
        assert_eq!(node.commands().len(), before, "nothing has changed");
        assert_eq!(offer(&node, &session, &etag, first).await.status, 200);
    }
}

#[tokio::test]
async fn an_offer_that_cannot_follow_says_why_and_the_session_lives() {
    let node = Node::start().await;
    let (session, etag) = node.post("/whep/r", &slots("av")).await.session();
    let sending = slots("av").replace("a=recvonly", "a=sendonly").replace("m=audio 9", "m=audio 0");
    let cases = [
        (slots("a"), 422, "port 0"),
        (slots("va"), 422, "keep their order, kind and mid"),
        (slots("av").replace("0E:1B", "0E:1C"), 422, "certificate"),
        ("no description".to_owned(), 400, "line 1"),
        (String::new(), 400, "line 1"),
    ];
    for (bad, status, why) in cases {
        let reply = offer(&node, &session, &etag, &bad).await;
        assert_eq!(reply.status, status, "{}", reply.body);
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(why), "{detail:?} does not say {why:?}");
    }
    assert_eq!(node.commands(), ["open"], "nothing of them is left");
    // Media that the viewer's offer no longer asks for is paused, and the offer is not refused.
    assert_eq!(offer(&node, &session, &etag, &sending).await.status, 200);
    assert_eq!(offer(&node, &session, &etag, &slots("av")).await.status, 200);
    assert_eq!(node.request("DELETE", &session, &[], "").await.status, 200);
}

#[tokio::test]
async fn a_patch_of_another_type_is_told_both_types() {
    let node = Node::start().await;
    let (session, etag) = node.post("/whep/r", WATCH).await.session();
    for kind in ["application/json", "application/sdpx", "text/plain"] {
        let headers = [("Content-Type", kind), ("If-Match", etag.as_str())];
        let reply = node.request("PATCH", &session, &headers, WATCH).await;
        assert_eq!((reply.status, reply.header("accept-patch")), (415, Some(PATCHES)), "{kind}");
    }
    let untyped = [("If-Match", etag.as_str())];
    assert_eq!(node.request("PATCH", &session, &untyped, WATCH).await.status, 415);
    let with_charset = [("Content-Type", "application/sdp; charset=utf-8"), ("If-Match", "*")];
    assert_eq!(node.request("PATCH", &session, &with_charset, WATCH).await.status, 200);
}

#[tokio::test]
async fn an_offer_for_a_foreign_or_unknown_session_is_404() {
    let node = Node::configured(with_keys()).await;
    let patch = async |path: &str, token: Option<&str>| {
        let mut headers = vec![("Content-Type", SDP), ("If-Match", "*")];
        headers.extend(token.map(|token| ("Authorization", token)));
        node.request("PATCH", path, &headers, FFMPEG).await.status
    };
    let ann = bearer(Some("ann"), "r", "ps");
    let headers = [("Content-Type", SDP), ("Authorization", ann.as_str())];
    let made = node.request("POST", "/whip/r", &headers, FFMPEG).await;
    let (session, _) = made.session();
    let token = session.rsplit('/').next().unwrap();
    let other_face = format!("/whep/r/sessions/{token}");
    let unknown = format!("/whip/r/sessions/{}", "A".repeat(token.len()));
    for path in [session.as_str(), &unknown, &other_face] {
        assert_eq!(patch(path, None).await, 401, "{path}");
        for stranger in [bearer(Some("bob"), "r", "ps"), bearer(Some("ann"), "s", "ps")] {
            assert_eq!(patch(path, Some(&stranger)).await, 404, "{path}");
        }
    }
    assert_eq!(patch(&unknown, Some(&ann)).await, 404);
    assert_eq!(patch(&other_face, Some(&ann)).await, 404);
    assert_eq!(node.commands(), ["open"]);
    assert_eq!(patch(&session, Some(&ann)).await, 200);
    let auth = [("Authorization", ann.as_str())];
    assert_eq!(node.request("DELETE", &session, &auth, "").await.status, 200);
    assert_eq!(patch(&session, Some(&ann)).await, 404, "it is over");
}

#[tokio::test]
async fn a_draining_node_still_renegotiates_its_sessions() {
    let node = Node::start().await;
    let (session, etag) = node.post("/whep/r", &slots("av")).await.session();
    node.signaling.drain();
    assert_eq!(offer(&node, &session, &etag, &slots("avav")).await.status, 200);
}

#[tokio::test]
async fn of_two_offers_at_once_each_is_answered_or_told_to_come_again() {
    let node = Node::start().await;
    let (session, etag) = node.post("/whep/r", &slots("av")).await.session();
    let (more, most) = (slots("avav"), slots("avavav"));
    let (a, b) =
        tokio::join!(offer(&node, &session, &etag, &more), offer(&node, &session, &etag, &most));
    // Patches of one session run one after the other; the shorter offer cannot follow the longer one.
    assert!(matches!((a.status, b.status), (200 | 422, 200)), "{} {}", a.status, b.status);
    let plan = newest_plan(&node);
    assert_eq!(plan.down.len(), 6);
}
