//! The page, health and metrics.

mod common;

use common::{Node, PUBLISH};

#[tokio::test]
async fn the_page_is_served_with_a_strict_policy() {
    let node = Node::start().await;
    let page = node.request("GET", "/", &[], "").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert!(!policy.contains("unsafe"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert!(!page.body.contains("<script>") && !page.body.contains("style=\""), "nothing inline");

    // Every file that the page names exists.
    let files = page.body.split(['"', '\'']).filter(|text| {
        [".js", ".css", ".svg"].iter().any(|end| text.ends_with(end)) && !text.contains(' ')
    });
    let mut count = 0;
    for file in files {
        let path = format!("/{}", file.trim_start_matches(['.', '/']));
        let reply = node.request("GET", &path, &[], "").await;
        assert_eq!(reply.status, 200, "{path}");
        let kind = reply.header("content-type").unwrap();
        assert_eq!(kind.starts_with("text/javascript"), path.ends_with(".js"), "{path}: {kind}");
        count += 1;
    }
    assert!(count >= 2);
}

#[tokio::test]
async fn files_are_cached_and_revalidated() {
    let node = Node::start().await;
    let first = node.request("GET", "/", &[], "").await;
    let etag = first.header("etag").unwrap();
    let again = node.request("GET", "/", &[("If-None-Match", etag)], "").await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    let head = node.request("HEAD", "/", &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn paths_without_a_file_are_404() {
    let node = Node::start().await;
    for path in ["/nothing.js", "/../Cargo.toml", "/..%2fCargo.toml", "/js", "/whip", "/whip/"] {
        assert_eq!(node.request("GET", path, &[], "").await.status, 404, "{path}");
    }
    assert_eq!(node.request("DELETE", "/index.html", &[], "").await.status, 405);
}

#[tokio::test]
async fn a_full_node_is_ready_and_says_that_it_is_full() {
    let limits = room::Limits { sessions: 2, rooms: 1, ..room::Limits::default() };
    let node = Node::with(sfumato_signaling::Config::default(), limits).await;
    let ready = async || node.request("GET", "/readyz", &[], "").await;
    assert_eq!((ready().await.status, ready().await.body.as_str()), (200, "ready\n"));
    for name in ["a", "b"] {
        node.post(&format!("/whip/r?participant={name}"), PUBLISH).await.session();
    }
    let full = ready().await;
    assert_eq!(full.status, 200);
    assert_eq!(full.body, "ready, but full: 2 of 2 sessions, 1 of 1 rooms\n");
}

#[tokio::test]
async fn health_and_metrics_tell_of_the_node() {
    let node = Node::start().await;
    assert_eq!(node.request("GET", "/healthz", &[], "").await.status, 200);
    assert_eq!(node.request("GET", "/readyz", &[], "").await.status, 200);
    node.signaling.drain();
    assert_eq!(node.request("GET", "/healthz", &[], "").await.status, 200);
    let leaving = node.request("GET", "/readyz", &[], "").await;
    assert!(leaving.status == 503 && leaving.body.contains("leaving"), "{leaving:?}");
    let metrics = node.request("GET", "/metrics", &[], "").await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "of_the_node 1",
        "sfumato_rooms 0",
        "sfumato_http_responses_total{method=\"GET\",status=\"503\"} 1",
    ] {
        assert!(metrics.body.lines().any(|l| l == line), "{line}\n{}", metrics.body);
    }
}
