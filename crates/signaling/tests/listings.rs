//! Listings come in pages.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Node, PUBLISH};
use sfumato_signaling::{Config, Limits, Rate};

async fn node() -> Node {
    let off = Rate { per_second: 0.0, burst: 1 };
    let limits = Limits { per_address: off, per_token: off, ..Limits::default() };
    Node::configured(Config { limits, ..Config::default() }).await
}

/// The target of an answer's `Link`.
fn next(reply: &common::Reply) -> Option<String> {
    let link = reply.header("link")?;
    let (path, relation) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
    assert_eq!(relation, "; rel=\"next\"");
    Some(path.to_owned())
}

#[tokio::test]
async fn the_participants_of_a_room_come_in_pages_and_in_order_of_arrival() {
    let node = node().await;
    let names = ["g", "f", "e", "d", "c", "b", "a"];
    let mut sessions = Vec::new();
    for name in names {
        sessions.push(node.post(&format!("/whip/r?participant={name}"), PUBLISH).await.session().0);
    }
    let listed = |reply: &common::Reply| -> Vec<String> {
        let listing = reply.json();
        let all = listing["participants"].as_array().unwrap().iter();
        all.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    let whole = node.request("GET", "/api/rooms/r", &[], "").await;
    assert_eq!((listed(&whole), next(&whole)), (names.map(str::to_owned).to_vec(), None));

    let (mut seen, mut pages) = (Vec::new(), 0);
    let mut path = Some("/api/rooms/r?limit=3".to_owned());
    while let Some(at) = path {
        let page = node.request("GET", &at, &[], "").await;
        assert_eq!(page.status, 200, "{at}");
        seen.extend(listed(&page));
        path = next(&page);
        pages += 1;
    }
    assert_eq!((seen, pages), (names.map(str::to_owned).to_vec(), 3));

    // The last participant of a page leaves before the next page is requested.
    let second = next(&node.request("GET", "/api/rooms/r?limit=3", &[], "").await).unwrap();
    node.request("DELETE", &sessions[2], &[], "").await;
    assert_eq!(node.request("GET", &second, &[], "").await.status, 410);
}

#[tokio::test]
async fn rooms_come_in_pages_by_name() {
    let node = node().await;
    for room in ["c", "a", "e", "b", "d"] {
        assert_eq!(node.post(&format!("/whip/{room}"), PUBLISH).await.status, 201);
    }
    let (mut seen, mut path) = (Vec::new(), Some("/api/rooms?limit=2".to_owned()));
    while let Some(at) = path {
        let page = node.request("GET", &at, &[], "").await;
        let rooms = page.json();
        let names = rooms.as_array().unwrap().iter();
        seen.push(names.map(|one| one["room"].as_str().unwrap().to_owned()).collect::<String>());
        path = next(&page);
    }
    assert_eq!(seen, ["ab", "cd", "e"]);
    // The name of a room that is gone still marks a place in the order of names.
    let after = node.request("GET", "/api/rooms?after=bb", &[], "").await;
    assert_eq!(after.json().as_array().unwrap().len(), 3);
    for query in ["limit=0", "limit=1001", "limit=x", "limit=1&limit=2"] {
        let refused = node.request("GET", &format!("/api/rooms?{query}"), &[], "").await;
        assert_eq!(refused.status, 400, "{query}");
    }
}
