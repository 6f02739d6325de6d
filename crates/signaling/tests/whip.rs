//! What a WHIP endpoint and its sessions have to do (RFC 9725), status by status.

mod common;

use common::{FFMPEG, FRAGMENT, Node, PATCHES, PUBLISH, SDP, restart, trickle, with_ice_servers};
use model::{CloseReason, Command, Event};

#[tokio::test]
async fn an_offer_is_answered_with_a_session() {
    let node = Node::configured(with_ice_servers()).await;
    let reply = node.post("/whip/r?participant=ann", PUBLISH).await;
    let (location, etag) = reply.session();
    assert_eq!(reply.header("content-type"), Some(SDP));
    assert!(reply.body.starts_with("v=0\r\n"));
    assert!(reply.body.contains("a=recvonly") && reply.body.contains("a=ice-lite"));
    let token = location.strip_prefix("/whip/r/sessions/").unwrap();
    assert!(token.len() >= 22, "at least 128 bits in base64");
    assert!(etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"'), "strong: {etag}");
    assert_eq!(reply.header("accept-patch"), Some(PATCHES));
    assert_eq!(
        reply.all("link"),
        [
            "<stun:s.example>; rel=\"ice-server\"",
            "<turn:t.example>; rel=\"ice-server\"; username=\"u\"; credential=\"turn-password\"; \
             credential-type=\"password\"",
        ]
    );
    assert_eq!(node.commands(), ["open"]);
    let listing = node.request("GET", "/api/rooms/r", &[], "").await.json();
    assert_eq!(listing["participants"][0]["id"], "ann");

    let other = node.post("/whip/r", FFMPEG).await.session();
    assert_ne!(other, (location, etag));
    let listing = node.request("GET", "/api/rooms/r", &[], "").await.json();
    let made_up = listing["participants"][1]["id"].as_str().unwrap();
    assert!(made_up.starts_with("guest-"));
}

#[tokio::test]
async fn offers_of_the_wrong_type_are_415() {
    let node = Node::start().await;
    for headers in
        [&[][..], &[("Content-Type", "application/json")], &[("Content-Type", "text/plain")]]
    {
        let reply = node.request("POST", "/whip/r", headers, PUBLISH).await;
        assert_eq!((reply.status, reply.header("accept-post")), (415, Some(SDP)));
    }
    let charset = [("Content-Type", "application/sdp; charset=utf-8")];
    assert_eq!(node.request("POST", "/whip/r", &charset, PUBLISH).await.status, 201);
}

#[tokio::test]
async fn offers_that_do_not_parse_are_400_and_those_not_served_422() {
    let node = Node::start().await;
    for bad in ["", "v=0", "hello", "v=0\r\nm=audio\r\n"] {
        assert_eq!(node.post("/whip/r", bad).await.status, 400, "{bad:?}");
    }
    let codec = "a=rtpmap:";
    let without: Vec<&str> = PUBLISH.lines().filter(|line| !line.starts_with(codec)).collect();
    let refused = node.post("/whip/r", &(without.join("\r\n") + "\r\n")).await;
    assert!(matches!(refused.status, 400 | 422), "{}", refused.body);
    let watching = PUBLISH.replace("a=sendonly", "a=recvonly").replace("a=sendrecv", "a=recvonly");
    assert_eq!(node.post("/whip/r", &watching).await.status, 422);
    assert_eq!(
        node.request("GET", "/api/rooms/r", &[], "").await.json()["participants"][0]["id"],
        serde_json::Value::Null
    );
    assert!(node.commands().is_empty(), "nothing of them is left");
}

#[tokio::test]
async fn an_answer_that_is_not_accepted_is_406() {
    let node = Node::start().await;
    let post = async |accept| {
        let headers = [("Content-Type", SDP), ("Accept", accept)];
        node.request("POST", "/whip/r", &headers, PUBLISH).await.status
    };
    assert_eq!(post("application/json").await, 406);
    assert_eq!(post("*/*").await, 201);
    assert_eq!(post("application/sdp").await, 201);
}

#[tokio::test]
async fn bodies_over_256_kib_are_413_and_the_client_gets_to_read_it() {
    let node = Node::start().await;
    let huge = "a".repeat(256 * 1024 + 1);
    assert_eq!(node.post("/whip/r", &huge).await.status, 413);
    // The same with a chunked body, whose length is not announced.
    let mut chunked = format!(
        "POST /whip/r HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {SDP}\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    for _ in 0..5 {
        chunked += &format!("10000\r\n{}\r\n", "a".repeat(65_536));
    }
    chunked += "0\r\n\r\n";
    assert_eq!(node.exchange(chunked.as_bytes(), false).await.status, 413);
}

#[tokio::test]
async fn offers_may_come_in_chunks() {
    let node = Node::start().await;
    let mut request = format!(
        "POST /whip/r HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {SDP}\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    for chunk in PUBLISH.as_bytes().chunks(700) {
        request += &format!("{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap());
    }
    request += "0\r\n\r\n";
    assert_eq!(node.exchange(request.as_bytes(), false).await.status, 201);
}

#[tokio::test]
async fn rooms_and_participants_that_are_no_ids_are_400() {
    let node = Node::start().await;
    let long = format!("/whip/{}", "x".repeat(65));
    for path in [
        "/whip/a%20b",
        "/whip/%ff",
        &long,
        "/whip/r?participant=a%2Fb",
        "/whip/r?participant=a&participant=b",
    ] {
        assert_eq!(node.post(path, PUBLISH).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_405_with_the_allowed_ones() {
    let node = Node::start().await;
    let (session, _) = node.post("/whip/r", PUBLISH).await.session();
    for method in ["PUT", "PATCH", "DELETE", "TRACE"] {
        let reply = node.request(method, "/whip/r", &[], "").await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD, POST, OPTIONS")));
    }
    for method in ["PUT", "POST"] {
        let reply = node.request(method, &session, &[("Content-Type", SDP)], "x").await;
        let allowed = Some("GET, HEAD, PATCH, DELETE, OPTIONS");
        assert_eq!((reply.status, reply.header("allow")), (405, allowed));
    }
}

#[tokio::test]
async fn get_and_head_succeed_with_nothing_in_them() {
    let node = Node::start().await;
    let (session, etag) = node.post("/whip/r", PUBLISH).await.session();
    for method in ["GET", "HEAD"] {
        let endpoint = node.request(method, "/whip/r", &[], "").await;
        assert_eq!((endpoint.status, endpoint.body.as_str()), (200, ""));
        let reply = node.request(method, &session, &[], "").await;
        assert_eq!((reply.status, reply.body.as_str()), (200, ""));
        assert_eq!(reply.header("etag"), Some(etag.as_str()));
    }
}

#[tokio::test]
async fn options_says_what_may_be_sent_and_no_secrets() {
    let node = Node::configured(with_ice_servers()).await;
    let (session, _) = node.post("/whip/r", PUBLISH).await.session();
    for headers in
        [&[][..], &[("Origin", "https://a.example"), ("Access-Control-Request-Method", "POST")]]
    {
        let reply = node.request("OPTIONS", "/whip/r", headers, "").await;
        assert_eq!((reply.status, reply.header("accept-post")), (200, Some(SDP)));
        assert!(reply.all("link").is_empty());
        let reply = node.request("OPTIONS", &session, headers, "").await;
        assert_eq!((reply.status, reply.header("accept-patch")), (200, Some(PATCHES)));
        assert!(reply.all("link").is_empty());
    }
}

#[tokio::test]
async fn candidates_trickle_with_the_tag() {
    let node = Node::start().await;
    let (session, etag) = node.post("/whip/r", PUBLISH).await.session();
    let fragment = trickle(PUBLISH);
    let reply = node.patch(&session, Some(&etag), &fragment).await;
    assert_eq!((reply.status, reply.header("etag")), (204, None));
    assert_eq!(node.patch(&session, Some("*"), &fragment).await.status, 204);
    assert_eq!(node.patch(&session, Some(&format!("\"x\", {etag}")), &fragment).await.status, 204);
    assert_eq!(node.commands(), ["open"]);
}

#[tokio::test]
async fn a_missing_tag_is_428_and_a_stale_one_412_and_the_session_lives() {
    let node = Node::start().await;
    let (session, etag) = node.post("/whip/r", PUBLISH).await.session();
    let fragment = trickle(PUBLISH);
    assert_eq!(node.patch(&session, None, &fragment).await.status, 428);
    // One client library sends the tag like this.
    let wrong_field = [("Content-Type", FRAGMENT), ("ETag", etag.as_str())];
    assert_eq!(node.request("PATCH", &session, &wrong_field, &fragment).await.status, 428);
    for stale in ["\"stale\"", &format!("W/{etag}"), etag.trim_matches('"')] {
        assert_eq!(node.patch(&session, Some(stale), &fragment).await.status, 412, "{stale}");
    }
    assert_eq!(node.patch(&session, Some("\"stale\""), &restart(1)).await.status, 412);
    assert_eq!(node.patch(&session, Some(&etag), &fragment).await.status, 204);
    assert_eq!(node.commands(), ["open"]);
}

#[tokio::test]
async fn ice_restarts_get_new_credentials_and_a_new_tag() {
    let node = Node::start().await;
    let reply = node.post("/whip/r", PUBLISH).await;
    let (session, old) = reply.session();
    let restarted = node.patch(&session, Some("*"), &restart(1)).await;
    assert_eq!((restarted.status, restarted.header("content-type")), (200, Some(FRAGMENT)));
    let new = restarted.header("etag").unwrap().to_owned();
    assert_ne!(new, old);
    let value = |text: &str, prefix: &str| {
        text.lines().find_map(|line| line.strip_prefix(prefix)).unwrap().to_owned()
    };
    for prefix in ["a=ice-ufrag:", "a=ice-pwd:"] {
        assert_ne!(value(&restarted.body, prefix), value(&reply.body, prefix));
    }
    assert!(restarted.body.contains("a=ice-lite") && restarted.body.contains("a=candidate:"));
    assert_eq!(node.commands(), ["open", "restart"]);

    assert_eq!(node.patch(&session, Some(&old), &restart(1)).await.status, 412);
    assert_eq!(node.patch(&session, Some(&new), &restart(1)).await.status, 204, "trickles on");
    // The star in quotes, as in the RFC's example; new credentials under the current tag restart ICE as well.
    assert_eq!(node.patch(&session, Some("\"*\""), &restart(2)).await.status, 200);
    let third = node.patch(&session, Some("*"), &restart(3)).await;
    let tag = third.header("etag").unwrap().to_owned();
    assert_eq!(node.patch(&session, Some(&tag), &restart(4)).await.status, 200);
}

#[tokio::test]
async fn a_restart_that_fails_leaves_the_session_alive() {
    let node = Node::start().await;
    let (session, etag) = node.post("/whip/r", PUBLISH).await.session();
    let no_pwd: String = restart(1)
        .lines()
        .filter(|line| !line.starts_with("a=ice-pwd"))
        .map(|l| format!("{l}\r\n"))
        .collect();
    assert_eq!(node.patch(&session, Some("*"), &no_pwd).await.status, 400);
    assert_eq!(node.patch(&session, Some("*"), "nonsense").await.status, 400);
    assert_eq!(node.patch(&session, Some(&etag), &trickle(PUBLISH)).await.status, 204);
    assert_eq!(node.commands(), ["open"]);
}

#[tokio::test]
async fn patches_of_the_wrong_type_are_415() {
    let node = Node::start().await;
    let (session, etag) = node.post("/whip/r", PUBLISH).await.session();
    for kind in ["application/json", "text/plain"] {
        let headers = [("Content-Type", kind), ("If-Match", etag.as_str())];
        let reply = node.request("PATCH", &session, &headers, &trickle(PUBLISH)).await;
        assert_eq!((reply.status, reply.header("accept-patch")), (415, Some(PATCHES)));
    }
}

#[tokio::test]
async fn delete_ends_the_session_whatever_if_match_says() {
    let node = Node::start().await;
    let (session, _) = node.post("/whip/r", PUBLISH).await.session();
    let reply = node.request("DELETE", &session, &[("If-Match", "\"stale\"")], "").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, ""));
    assert_eq!(node.commands(), ["open", "close"]);
    assert_eq!(node.request("DELETE", &session, &[], "").await.status, 404);
    assert_eq!(node.request("GET", &session, &[], "").await.status, 404);
    let metrics = node.request("GET", "/metrics", &[], "").await;
    assert!(metrics.body.lines().any(|line| line == "sfumato_sessions 0"), "{}", metrics.body);
}

#[tokio::test]
async fn unknown_and_foreign_resources_answer_alike() {
    let node = Node::start().await;
    let (session, etag) = node.post("/whip/r", PUBLISH).await.session();
    let token = session.rsplit('/').next().unwrap();
    let unknown = "A".repeat(token.len());
    let paths = [
        format!("/whip/r/sessions/{unknown}"),
        format!("/whip/other/sessions/{token}"),
        format!("/whep/r/sessions/{token}"),
        format!("/whip/a%20b/sessions/{token}"),
        "/whip/r/sessions/x".into(),
    ];
    let mut bodies = Vec::new();
    for path in &paths {
        for method in ["GET", "DELETE", "PATCH"] {
            let headers = [("Content-Type", FRAGMENT), ("If-Match", etag.as_str())];
            let reply = node.request(method, path, &headers, &trickle(PUBLISH)).await;
            assert_eq!(reply.status, 404, "{method} {path}");
            let mut problem = reply.json();
            problem["instance"] = "".into();
            bodies.push(problem);
        }
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(node.request("GET", &session, &[], "").await.status, 200);
}

#[tokio::test]
async fn a_session_that_the_workers_end_is_gone() {
    let node = Node::start().await;
    let (session, _) = node.post("/whip/r", PUBLISH).await.session();
    let id = match &node.commands.lock().unwrap()[0] {
        Command::Open(plan) => plan.id,
        other => panic!("{other:?}"),
    };
    node.events.send(Event::Connected { session: id }).unwrap();
    node.events.send(Event::Closed { session: id, reason: CloseReason::PeerClosed }).unwrap();
    for _ in 0..100 {
        if node.request("GET", &session, &[], "").await.status == 404 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the resource is still there");
}

#[tokio::test]
async fn a_session_that_never_connects_is_freed_within_15_seconds() {
    let node = Node::start().await;
    let (session, _) = node.post("/whip/r", PUBLISH).await.session();
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_millis(15_100)).await;
    tokio::time::resume();
    // No request is made before this check, so the timer ended the session.
    for _ in 0..1_000 {
        if node.commands() == ["open", "close"] {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(node.commands(), ["open", "close"]);
    assert_eq!(node.request("GET", &session, &[], "").await.status, 404);
}

#[tokio::test]
async fn a_draining_or_full_node_answers_503_with_retry_after() {
    let node = Node::start().await;
    let (session, etag) = node.post("/whip/r", PUBLISH).await.session();
    node.signaling.drain();
    assert_eq!(node.post("/whip/r", PUBLISH).await.status, 503);
    assert_eq!(node.patch(&session, Some(&etag), &trickle(PUBLISH)).await.status, 204);
    assert_eq!(node.request("DELETE", &session, &[], "").await.status, 200);

    let limits = room::Limits { sessions: 1, ..room::Limits::default() };
    let node = Node::with(sfumato_signaling::Config::default(), limits).await;
    assert_eq!(node.post("/whip/r?participant=a", PUBLISH).await.status, 201);
    assert_eq!(node.post("/whip/r?participant=b", PUBLISH).await.status, 503);
}
