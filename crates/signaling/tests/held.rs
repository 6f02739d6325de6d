//! A room whose lock is held for long does not delay the others, over HTTP and on a runtime of two threads.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Node, PUBLISH, WATCH, restart, trickle};
use model::{Command, Event};
use sfumato_signaling::{Config, Limits, Rate, ServerConfig};

/// The test waits for nothing that takes long, except on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_is_held_stalls_no_other_rooms_requests() {
    let hold = Arc::new(AtomicBool::new(false));
    let (entered, has_entered) = channel();
    let (release, released) = channel::<()>();
    let (asked, released) = (hold.clone(), Mutex::new(released));
    let wait = move |_: &Command| {
        if asked.swap(false, Ordering::AcqRel) {
            entered.send(()).unwrap();
            // The sender is dropped when the test ends.
            let _over = released.lock().unwrap().recv();
        }
    };
    let off = Rate { per_second: 0.0, burst: 1 };
    let limits = Limits { per_address: off, per_token: off, ..Limits::default() };
    let config = Config { limits, ..Config::default() };
    let (rooms, server) = (room::Limits::default(), ServerConfig::default());
    let node = Arc::new(Node::held(config, rooms, server, wait).await);

    // Room a gets two sessions; then its lock is held, and one request of each kind is sent to it.
    let (publisher, etag) = node.post("/whip/a?participant=p", PUBLISH).await.session();
    node.post("/whep/a", WATCH).await.session();
    let opened = |at: usize| node.commands.lock().unwrap()[at].session();
    let (in_a, watching_a) = (opened(0), opened(1));
    hold.store(true, Ordering::Release);
    let mut stuck = Vec::new();
    for at in 0..12 {
        let (node, publisher, etag) = (node.clone(), publisher.clone(), etag.clone());
        stuck.push(tokio::spawn(async move {
            match at % 4 {
                0 => node.post("/whep/a", WATCH).await,
                1 => node.patch(&publisher, Some(&etag), &restart(at)).await,
                2 => node.request("GET", "/api/rooms/a", &[], "").await,
                _ => node.request("GET", &publisher, &[], "").await,
            }
        }));
    }
    tokio::task::spawn_blocking(move || has_entered.recv_timeout(LIMIT)).await.unwrap().unwrap();
    for session in [in_a, watching_a] {
        node.events.send(Event::Connected { session }).unwrap();
    }

    let others = async {
        assert_eq!(node.request("GET", "/healthz", &[], "").await.status, 200);
        assert_eq!(node.request("GET", "/readyz", &[], "").await.status, 200);
        assert_eq!(node.request("GET", "/metrics", &[], "").await.status, 200);
        assert_eq!(node.request("GET", "/", &[], "").await.status, 200);
        let before = node.commands.lock().unwrap().len();
        let (session, etag) = node.post("/whip/b?participant=q", PUBLISH).await.session();
        node.post("/whep/b", WATCH).await.session();
        let patched = node.patch(&session, Some(&etag), &trickle(PUBLISH)).await;
        assert_eq!(patched.status, 204);
        // An event of room b is handled while those of room a wait.
        node.events.send(Event::Connected { session: opened(before) }).unwrap();
        loop {
            let listing = node.request("GET", "/api/rooms/b", &[], "").await.json();
            if listing["participants"][0]["connected"] == true {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(node.request("DELETE", &session, &[], "").await.status, 200);
    };
    tokio::time::timeout(LIMIT, others).await.expect("others wait for room a");
    assert!(stuck.iter().filter(|request| !request.is_finished()).count() > 0, "it was not held");

    drop(release);
    for request in stuck {
        let status = tokio::time::timeout(LIMIT, request).await.unwrap().unwrap().status;
        // One of the restarts is first; the tag of the others is stale then.
        assert!(matches!(status, 200 | 201 | 412 | 503), "{status}");
    }
}
