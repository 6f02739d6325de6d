//! Measurements of the sessions of a room.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Node, PUBLISH, WATCH, bearer, with_keys};

#[tokio::test]
async fn measurements_of_a_rooms_sessions_come_by_session_with_units_and_in_pages() {
    let node = Node::start().await;
    assert_eq!(node.post("/whip/r?participant=ann", PUBLISH).await.status, 201);
    for _ in 0..3 {
        assert_eq!(node.post("/whep/r", WATCH).await.status, 201);
    }
    assert_eq!(node.post("/whep/other", WATCH).await.status, 201);
    let reply = node.request("GET", "/api/rooms/r/stats?limit=2", &[], "").await;
    assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")));
    let stats = reply.json();
    assert_eq!(stats["room"], "r");
    let ann = &stats["sessions"][0];
    assert_eq!(
        (ann["participant"].as_str(), ann["connected"].as_bool()),
        (Some("ann"), Some(false))
    );
    assert_eq!(ann["srtp_profile"], "AEAD_AES_128_GCM");
    let layer = &ann["sends"][0]["layers"][0];
    assert_eq!((layer["rid"].as_str(), layer["packets"].as_u64()), (Some("hi"), Some(70)));
    assert_eq!(layer["bitrate"], 1_500_000);
    let slot = &ann["receives"][0];
    assert_eq!((slot["loss"].as_f64(), slot["round_trip_ms"].as_f64()), (Some(0.25), Some(12.5)));
    let last = stats["sessions"][1]["session"].as_u64().unwrap();
    let next = format!("</api/rooms/r/stats?limit=2&after={last}>; rel=\"next\"");
    assert_eq!(reply.header("link"), Some(next.as_str()));

    let path = format!("/api/rooms/r/stats?limit=2&after={last}");
    let reply = node.request("GET", &path, &[], "").await;
    let stats = reply.json();
    let sessions = stats["sessions"].as_array().unwrap();
    assert_eq!((sessions.len(), reply.header("link")), (2, None));
    let silent = sessions.iter().find(|s| s["session"] == 3).unwrap();
    assert_eq!(silent["sends"].as_array().unwrap().len(), 0, "no worker owns it");
    assert!(silent["srtp_profile"].is_null());

    assert_eq!(node.request("GET", "/api/rooms/r/stats?after=x", &[], "").await.status, 400);
    let empty = node.request("GET", "/api/rooms/nobody/stats", &[], "").await.json();
    assert_eq!(empty["sessions"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn measurements_are_for_administrators_of_the_room() {
    let node = Node::configured(with_keys()).await;
    let read = async |token: Option<String>| {
        let headers: Vec<_> =
            token.as_deref().map(|token| ("Authorization", token)).into_iter().collect();
        node.request("GET", "/api/rooms/r/stats", &headers, "").await.status
    };
    assert_eq!(read(None).await, 401);
    assert_eq!(read(Some(bearer(Some("ann"), "r", "ps"))).await, 403);
    assert_eq!(read(Some(bearer(None, "other", "a"))).await, 403);
    assert_eq!(read(Some(bearer(None, "r", "a"))).await, 200);
    assert_eq!(read(Some(bearer(None, "*", "a"))).await, 200);
}
